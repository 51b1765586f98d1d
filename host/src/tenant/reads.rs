//! The store as one tenant's events read it: a few reads at once, so that others come in between.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::id::{MessageId, RoomId, TenantId};
use crate::store::{KvKey, Message, Page, Range, Rejected, Store, StoreError, Usage, WriteSet, Written};

/// Reads of one tenant at once; further ones wait. The store has few readers, and everybody's reads stand in one line.
const READS_AT_ONCE: usize = 4;

/// A store of which few reads are made at once.
pub(super) struct Reads {
    store: Arc<dyn Store>,
    places: Semaphore,
}

impl Reads {
    pub(super) fn of(store: Arc<dyn Store>) -> Self {
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
impl Store for Reads {
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<Result<Vec<Written>, Rejected>>, StoreError> {
        self.store.commit(write_sets).await
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        let _place = self.place().await;
        self.store.message(tenant, id).await
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        let _place = self.place().await;
        self.store.history(tenant, room, range).await
    }

    async fn last_seq(&self, tenant: &TenantId, room: &RoomId) -> Result<u64, StoreError> {
        let _place = self.place().await;
        self.store.last_seq(tenant, room).await
    }

    async fn last_seqs(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<u64>, StoreError> {
        let _place = self.place().await;
        self.store.last_seqs(tenant, rooms).await
    }

    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError> {
        self.store.usage(tenant).await
    }

    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError> {
        self.store.delete_data(tenant).await
    }

    async fn kv_get(&self, tenant: &TenantId, key: &KvKey, now: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let _place = self.place().await;
        self.store.kv_get(tenant, key, now).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }
}
