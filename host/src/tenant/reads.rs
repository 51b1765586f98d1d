//! The store as one tenant's events read it: a few reads at once, so that others come in between.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::id::{MessageId, RoomId, TenantId};
use crate::store::{KvKey, Message, Page, Range, Reader, StoreError};

/// Reads of one tenant at once; further ones wait. The store has few readers, and everybody's reads stand in one line.
const READS_AT_ONCE: usize = 4;

/// A store of which few reads are made at once.
pub(super) struct Reads {
    store: Arc<dyn Reader>,
    places: Semaphore,
}

impl Reads {
    pub(super) fn of(store: Arc<dyn Reader>) -> Self {
        Self {
            store,
            places: Semaphore::new(READS_AT_ONCE),
        }
    }

    /// It is never closed.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }
}

#[async_trait::async_trait]
impl Reader for Reads {
    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        let _place = self.place().await;
        self.store.message(tenant, id).await
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        let _place = self.place().await;
        self.store.history(tenant, room, range).await
    }

    async fn last_seqs(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<u64>, StoreError> {
        let _place = self.place().await;
        self.store.last_seqs(tenant, rooms).await
    }

    async fn kv_get(&self, tenant: &TenantId, key: &KvKey, now: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let _place = self.place().await;
        self.store.kv_get(tenant, key, now).await
    }
}
