//! Whose work runs next, where, and for how long.
//!
//! What is scheduled: the tasks of connections, each of which handles one event at a time, the guests that they call, and
//! the hall of each tenant. A tenant with much to do must not delay the others, and what takes long must not delay what is
//! quick. The rules, in order:
//!
//! 1. **Turns by tenant** ([`FairScheduler`]). The runtime sees a tenant's tasks as a few groups, as many as it has threads.
//!    A group works for a [`Quantum`], then everybody else has a turn. So a tenant with a thousand busy connections has as
//!    many turns as one with a single one. Halls share their quanta in the same way.
//! 2. **Long quanta without contention** ([`Contention`]). A quantum is 0.2 ms, and 4 ms while only one tenant has had turns
//!    lately, since small pieces cost a busy server a third of its throughput.
//! 3. **Long events run in the background** (`CpuProfile`, `BackgroundPool`). A guest lets others run at each tick. When
//!    its version's events have used more than a twentieth of a processor lately, the guest runs on threads of their own,
//!    half as many as processors, where tenants take turns as well. What comes before and after the guest runs on the
//!    server's threads.
//! 4. **The background has a tenth of the share** of the other threads where a processor is busy: niceness 10. It is not
//!    `SCHED_IDLE`, with which a tenant's events took minutes beside three busy processes.
//! 5. **Short time slices** ([`request_short_time_slices`]). The kernel interrupts each thread after 0.1 ms where others
//!    wait, or at its next tick.
//!
//! Each guest's and hall's processor time is counted by the clock of its thread ([`CpuTimer`]). Two more rules are about what
//! they share out, and stand there: `commit` fills batches by tenant and waits for more jobs where that costs nobody
//! anything, and halls send in parts, at the tenant's pace (`cluster::outbound`).
//!
//! # What each is worth
//!
//! With the rule and without it, in turns, medians of (so many) windows: p99 of a tenant with 200 messages/s during an attack
//! of `parlance-bench attacks`, or the processor time of a message of its `fan200` and `nofan`. The server had one core,
//! Linux 6.18, database on tmpfs; the machine was busy, and windows differ by a third.
//!
//! | rule | measured by | with | without | |
//! | --- | --- | --- | --- | --- |
//! | turns by tenant | look-ups by 400 connections at once | 18 ms (3) | 43 ms (3) | stays |
//! | long quanta | `fan200` | 420 µs (9) | 640 µs (4) | stays |
//! | the profile | huge returns | 4.4 ms (7) | 12.7 ms (4) | stays |
//! | the background | the same | 4.4 ms (7) | 59 ms (2), p50 0.3 → 5 ms | stays |
//! | to the background after 2 ms of an event | the same | 4.4 ms (7) | 4.0 ms (4) | taken out |
//! | niceness 10 | `fan200` beside three tenants that loop, pairs | 248, 156, 328 k/s | 102, 99, 205 k/s | stays |
//! | short time slices | the same; waits for a lock (below) | 248, 156, 328 k/s; 8 ms | 157, 170, 323 k/s; 24 ms | stays, for locks; beside two busy processes a loop cost 17 ms with and 11 ms without (3) |
//! | packets looked for after 8 polls, not tokio's 61 | `fan200`; all attacks | 519 µs (6); as without | 417 µs (6) | taken out |
//! | gathering without contention | `fan200` | 420 µs (9) | 513 µs (4) | stays |
//! | gathering under contention | `nofan`, `fan200`, on a disk | 44, 1,119 µs (2) | 49, 1,393 µs (2) | stays; on tmpfs it costs: 937 and 784 µs (3) |
//! | batches by tenant | a flood of writes | 4.3 ms (3) | 5.1 ms (3) | not seen within the default quotas; bounds what lifted ones let in |
//! | parts of the hall, its quanta, its pace | a flood of packets | 4.2 ms (3) | 4.1, 4.7, 5.5 ms (3) | only the pace is seen |
//!
//! # Locks
//!
//! A thread with a tenth of the share that the kernel sets aside while it holds a lock holds up each thread that needs it.
//! Measured with one mutex that a thread of niceness 10 holds for 5 µs of each 55, beside one busy thread on the same
//! core: of another thread's attempts one in fifteen waited, at most 8 ms, and 24 ms without short slices; beside three
//! busy threads 22 and 88 ms. So background threads take no lock of ours that the server's threads need. A task returns
//! from the background before it gives its permits back, commits or logs; tasks go over through channels; the profile is
//! an atomic, and which rooms a connection is in is read without a lock. What is left are the
//! warm pools' locks where all places are taken, and locks inside libraries, held for some instructions each: of tokio's
//! channels and run queues, of its semaphores where a read of the store or an instance must be waited for, of wasmtime's
//! pool, of the allocator, and of connection pools.

mod background;
mod contention;
mod cpu_profile;
mod cpu_timer;
mod fair;
mod kernel;
mod quantum;

use std::task::Poll;

pub use background::Background;
pub(crate) use background::BackgroundPool;
pub use contention::Contention;
pub(crate) use cpu_profile::CpuProfile;
pub use cpu_timer::CpuTimer;
pub use fair::FairScheduler;
pub use kernel::request_short_time_slices;
pub use quantum::Quantum;

/// Whatever is ready now has a turn first. tokio's own `yield_now` would wait until the runtime looks for packets, which
/// on a busy one is dozens of turns later.
pub async fn yield_now() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
