//! Limits the concurrent reads of one tenant, so that its reads do not delay those of other tenants.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use parlance_store::{
    ChangeRange, Changes, Epoch, KvKey, KvPage, KvRange, Message, Page, Place, Range, ReadSet, Reader, StoreError,
};
use parlance_types::id::{MessageId, RoomId, TenantId};

/// Reads of one tenant at once; further ones wait. The store has few readers, and the reads of all tenants share one
/// queue.
const READ_SLOTS: usize = 4;

/// A store that makes at most [`READ_SLOTS`] reads at once.
pub(super) struct ReadLimitedStore {
    store: Arc<dyn Reader>,
    slots: Semaphore,
}

impl ReadLimitedStore {
    pub(super) fn of(store: Arc<dyn Reader>) -> Self {
        Self {
            store,
            slots: Semaphore::new(READ_SLOTS),
        }
    }

    /// Waits for a slot. The semaphore is never closed, so this always gives one.
    async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        self.slots.acquire().await.ok()
    }
}

#[async_trait::async_trait]
impl Reader for ReadLimitedStore {
    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    fn last_commit(&self) -> u64 {
        self.store.last_commit()
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        let _slot = self.slot().await;
        self.store.message(tenant, id).await
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        let _slot = self.slot().await;
        self.store.history(tenant, room, range).await
    }

    async fn changed_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        range: ChangeRange,
    ) -> Result<Changes, StoreError> {
        let _slot = self.slot().await;
        self.store.changed_messages(tenant, room, range).await
    }

    async fn places(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<Place>, StoreError> {
        let _slot = self.slot().await;
        self.store.places(tenant, rooms).await
    }

    async fn kv_get_many(
        &self,
        tenant: &TenantId,
        keys: &[KvKey],
        now: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let _slot = self.slot().await;
        self.store.kv_get_many(tenant, keys, now).await
    }

    async fn kv_scan(
        &self,
        tenant: &TenantId,
        range: &KvRange,
        limit: u32,
        bytes: u64,
        now: u64,
    ) -> Result<KvPage, StoreError> {
        let _slot = self.slot().await;
        self.store.kv_scan(tenant, range, limit, bytes, now).await
    }

    async fn reads_hold(&self, tenant: &TenantId, reads: &ReadSet) -> Result<bool, StoreError> {
        let _slot = self.slot().await;
        self.store.reads_hold(tenant, reads).await
    }
}
