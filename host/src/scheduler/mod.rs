//! Whose work runs next, where, and for how long.
//!
//! A runtime serves its tasks in the order in which they became ready. So a thousand connections of one tenant that all
//! have something to do at once would come before the next step of everybody else, and an event takes several steps. Here
//! the runtime sees a few tasks for each tenant, its groups, however many the tenant has: each group works for a quantum of
//! time, then everybody else has a turn.

mod background;
mod contention;
mod cpu_profile;
mod cpu_timer;
mod fair;
mod kernel;
mod quantum;

use std::io;
use std::task::Poll;

use tokio::runtime::{Builder, Runtime};

pub use background::Background;
pub(crate) use background::BackgroundPool;
pub use contention::Contention;
pub(crate) use cpu_profile::CpuProfile;
pub use cpu_timer::CpuTimer;
pub use fair::FairScheduler;
pub use kernel::request_short_time_slices;
pub use quantum::Quantum;

/// Polls of tasks between two looks for packets. On a busy server a packet waits for so many polls, each as long as a
/// quantum; tokio's own 61 are for tasks that are shorter.
const EVENT_INTERVAL: u32 = 8;

/// Starts the threads of the server.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()
}

/// Whatever is ready now has a turn first. tokio's own `yield_now` would wait until the runtime looks for packets, which
/// on a busy one is dozens of turns later.
pub async fn pause() {
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
