//! Whether an event's requests wait for what others are doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests of one event wait for others, or gave up waiting for them. An event that runs out of time then is
/// not to blame. Clones count together.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox) struct HostWait(Arc<AtomicUsize>);

impl HostWait {
    /// Waits for something that others have. Who does not get it in time stays counted, since the request may give up a
    /// moment before its event is judged.
    pub(in crate::sandbox) async fn track<F: Future>(&self, there: F) -> F::Output {
        self.0.fetch_add(1, Ordering::Relaxed);
        let there = there.await;
        self.0.fetch_sub(1, Ordering::Relaxed);
        there
    }

    pub(in crate::sandbox) fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}
