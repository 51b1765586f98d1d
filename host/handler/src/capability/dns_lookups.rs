//! A tenant's limit of concurrent DNS look-ups, which its handlers' HTTP requests need.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Concurrent look-ups of one tenant; further ones wait. All tenants share the server's look-ups, and one whose DNS
/// server does not answer takes many seconds.
pub const DNS_LOOKUPS_PER_TENANT: usize = 4;

/// A tenant's limit of concurrent look-ups. Clones share one limit.
#[derive(Debug, Clone)]
pub struct DnsLookupLimit(Arc<Semaphore>);

impl Default for DnsLookupLimit {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(DNS_LOOKUPS_PER_TENANT)))
    }
}

impl DnsLookupLimit {
    /// Waits until the tenant may start one more look-up. Never `None`, since the semaphore is not closed.
    pub(crate) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().acquire_owned().await.ok()
    }
}
