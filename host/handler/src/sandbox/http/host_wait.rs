//! Records whether an event's requests wait for other tenants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests of one event wait for other tenants, or gave up waiting. If the event runs out of time meanwhile,
/// that is not its handler's fault. Clones share one count.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox) struct HostWait(Arc<AtomicUsize>);

impl HostWait {
    /// Waits for a future, and counts the request meanwhile. A request that is dropped while it waits stays counted,
    /// since it may give up a moment before its event is judged.
    pub(in crate::sandbox) async fn track<F: Future>(&self, future: F) -> F::Output {
        self.0.fetch_add(1, Ordering::Relaxed);
        let output = future.await;
        self.0.fetch_sub(1, Ordering::Relaxed);
        output
    }

    pub(in crate::sandbox) fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}
