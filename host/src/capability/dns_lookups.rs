//! What a tenant may look up of names, for the HTTP requests of its handlers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Names of one tenant that are looked up at once; further ones wait. All tenants share the places for look-ups, and a
/// name whose DNS server does not answer keeps its place for many seconds.
pub const DNS_LOOKUPS_PER_TENANT: usize = 4;

/// A tenant's share of the look-ups. Clones are the same share.
#[derive(Debug, Clone)]
pub struct DnsLookupLimit(Arc<Semaphore>);

impl Default for DnsLookupLimit {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(DNS_LOOKUPS_PER_TENANT)))
    }
}

impl DnsLookupLimit {
    /// Waits until one look-up more of this tenant may be under way. `None` never: the share is not closed.
    pub(crate) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().acquire_owned().await.ok()
    }
}
