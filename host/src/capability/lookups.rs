//! What a tenant may look up of names, for the HTTP requests of its handlers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Names of one tenant that are looked up at once; further ones wait. All tenants share the places for look-ups, and a
/// name whose DNS server does not answer keeps its place for many seconds.
pub const LOOKUPS_AT_ONCE: usize = 4;

/// A tenant's share of the look-ups. Clones are the same share.
#[derive(Debug, Clone)]
pub struct LookupShare(Arc<Semaphore>);

impl Default for LookupShare {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)))
    }
}

impl LookupShare {
    /// Waits until one look-up more of this tenant may be under way. `None` never: the share is not closed.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().acquire_owned().await.ok()
    }
}
