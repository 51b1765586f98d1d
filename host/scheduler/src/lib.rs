//! Decides which task runs next, on which thread, and for how long.
//!
//! It schedules the tasks of connections, each of which handles one event at a time, the guests that they call, and each
//! tenant's hub. A busy tenant must not delay the others, and long events must not delay quick ones. The rules, in order:
//!
//! 1. **Turns by tenant** ([`FairScheduler`]). The runtime sees a tenant's tasks as a few groups, as many as it has
//!    threads. A group runs for a [`Quantum`], then the other groups have a turn. So a tenant with a thousand busy
//!    connections gets as many turns as a tenant with one. Hubs yield after a quantum in the same way.
//! 2. **Long quanta without contention** ([`Contention`]). A quantum is 0.2 ms, or 4 ms while only one tenant has had turns
//!    lately, since small pieces cost a busy server a third of its throughput.
//! 3. **Long events run in the background** (`CpuProfile`, `BackgroundPool`). A guest lets others run at each tick. If its
//!    version's events have used more than a twentieth of a processor lately, the guest runs on background threads, half
//!    as many as processors, where tenants take turns as well. What comes before and after the guest runs in the
//!    foreground, on the server's other threads.
//! 4. **The background has a tenth of the share** of the foreground on a busy processor: niceness 10. It is not
//!    `SCHED_IDLE`, with which a tenant's events took minutes beside three busy processes.
//! 5. **Short time slices** ([`request_short_time_slices`]). The kernel preempts a thread after 0.1 ms, or at its next
//!    tick, if another thread waits.
//!
//! The processor time of guests and hubs is measured by their thread's clock, to 50 µs ([`CpuTimer`]). Two more rules live
//! with what they share out: `commit` fills batches by tenant, and waits for more jobs where that delays nobody; hubs send
//! in parts, at the tenant's pace (`parlance_hub`).
//!
//! # What each rule is worth
//!
//! Each rule was measured with and without it, in turns; the figures are medians of (this many) windows. They are the p99
//! of a tenant with 200 messages/s during an attack of `parlance-bench attacks`, or the processor time of a message of its
//! `fan200` and `nofan`. The server had one core, Linux 6.18, and its database on tmpfs. The machine was busy, and windows
//! differ by a third.
//!
//! | rule | measured by | with | without | |
//! | --- | --- | --- | --- | --- |
//! | turns by tenant | look-ups by 400 connections at once | 18 ms (3) | 43 ms (3) | stays |
//! | long quanta | `fan200` | 420 µs (9) | 640 µs (4) | stays |
//! | the profile | huge returns | 4.4 ms (7) | 12.7 ms (4) | stays |
//! | the background | huge returns | 4.4 ms (7) | 59 ms (2), p50 0.3 → 5 ms | stays |
//! | to the background after 2 ms of an event | huge returns | 4.4 ms (7) | 4.0 ms (4) | taken out |
//! | niceness 10 | `fan200` beside three tenants that loop, pairs | 248, 156, 328 k/s | 102, 99, 205 k/s | stays |
//! | short time slices | `fan200` as above; waits for a lock (below) | 248, 156, 328 k/s; 8 ms | 157, 170, 323 k/s; 24 ms | stays, for locks; beside two busy processes a loop cost 17 ms with and 11 ms without (3) |
//! | polls for packets after 8 polls of tasks, not tokio's 61 | `fan200`; all attacks | 519 µs (6); no difference | 417 µs (6) | taken out |
//! | gathering without contention | `fan200` | 420 µs (9) | 513 µs (4) | stays |
//! | gathering under contention | `nofan`, `fan200`, on a disk | 44, 1,119 µs (2) | 49, 1,393 µs (2) | stays; on tmpfs it costs: 937 and 784 µs (3) |
//! | batches by tenant | a flood of writes | 4.3 ms (3) | 5.1 ms (3) | no effect within the default quotas; bounds what higher quotas let in |
//! | parts, quanta and pace of hubs | a flood of packets | 4.2 ms (3) | 4.1, 4.7, 5.5 ms (3) | only the pace has an effect |
//!
//! # Locks
//!
//! If the kernel preempts a background thread while it holds a lock, every thread that needs the lock waits until the
//! background thread runs again, with its tenth of the share. This was measured with a mutex that a thread of niceness 10
//! holds for 5 µs of each 55, beside one busy thread on the same core: one in fifteen of another thread's attempts waited,
//! at most 8 ms, or 24 ms without short slices; beside three busy threads 22 and 88 ms. So background threads take no lock
//! of the server's that foreground threads need. A task returns from the background before it releases its permits,
//! commits or logs. Tasks move through channels, the profile is an atomic, and the rooms of a connection are read without
//! a lock. The remaining locks are those of the warm pools when all slots are taken, and locks inside libraries, which are
//! held for a few instructions: in tokio's channels and run queues, in its semaphores when a task waits for a read of the
//! store or an instance, in wasmtime's pool, in the allocator, and in connection pools.

mod background;
mod contention;
mod cpu_profile;
mod cpu_timer;
mod fair;
mod kernel;
mod quantum;

use std::task::Poll;

pub use background::Background;
pub use background::BackgroundPool;
pub use contention::Contention;
pub use cpu_profile::CpuProfile;
pub use cpu_timer::CpuTimer;
pub use fair::FairScheduler;
pub use kernel::request_short_time_slices;
pub use quantum::Quantum;

/// Lets every task that is ready now run first. tokio's own `yield_now` defers the task until the runtime next polls
/// for I/O, which on a busy server is dozens of polls later.
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
