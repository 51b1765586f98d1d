//! The store that all nodes share, and each node's access to it, in which faults happen.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;
use parking_lot::Mutex;
use parlance_store::catalog::{AuditEntry, Catalog, Conflict, Put, Record};
use parlance_store::memory::{MemoryCatalog, MemoryStore};
use parlance_store::{
    ChangeRange, Changes, Epoch, Expired, Imported, KvKey, KvPage, KvRange, Maintenance, Message, Page, Place, Range,
    ReadSet, Reader, RemovedMessages, RoomList, RoomSpan, SeqSpan, StoreError, StoredKey, StoredMark, StoredReceipt,
    Usage, WriteSet, WriteSetResult, Writer,
};
use parlance_types::id::{MessageId, RoomId, TenantId, UserId};
use tokio::time::sleep;

use crate::log::Log;
use crate::process::Process;
use crate::rng::Rng;

/// The longest time that the store takes without faults, in milliseconds.
const USUAL_MS: u64 = 6;

/// The contents of the store.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) data: MemoryStore,
    pub(crate) catalog: MemoryCatalog,
}

/// The current faults.
#[derive(Default)]
struct StoreFaults {
    down: bool,
    down_for: Vec<usize>,
    answer_loss_percent: u64,
    slow_ms: u64,
}

/// The store, with its faults.
#[derive(Clone)]
pub(crate) struct SimulatedStore {
    pub(crate) contents: Arc<Contents>,
    faults: Arc<Mutex<StoreFaults>>,
    rng: Rng,
    log: Log,
}

impl SimulatedStore {
    pub(crate) fn new(rng: Rng, log: Log) -> Self {
        Self {
            contents: Arc::default(),
            faults: Arc::default(),
            rng,
            log,
        }
    }

    pub(crate) fn set_down(&self, node: Option<usize>, down: bool) {
        let mut faults = self.faults.lock();
        match node {
            None => faults.down = down,
            Some(node) if down => faults.down_for.push(node),
            Some(node) => faults.down_for.retain(|other| *other != node),
        }
    }

    pub(crate) fn set_answer_loss(&self, percent: u64) {
        self.faults.lock().answer_loss_percent = percent;
    }

    pub(crate) fn set_slow(&self, most_ms: u64) {
        self.faults.lock().slow_ms = most_ms;
    }

    pub(crate) fn heal(&self) {
        *self.faults.lock() = StoreFaults::default();
    }

    /// A node's access to the store.
    pub(crate) fn client(&self, process: Arc<Process>) -> Arc<StoreClient> {
        Arc::new(StoreClient {
            store: self.clone(),
            process,
        })
    }
}

/// A node's access to the store.
pub(crate) struct StoreClient {
    store: SimulatedStore,
    process: Arc<Process>,
}

impl StoreClient {
    async fn delay(&self) {
        let slow = self.store.faults.lock().slow_ms;
        sleep(self.store.rng.time(slow.max(USUAL_MS))).await;
    }

    /// Waits for the time that the store takes. Never returns in a process that has died.
    async fn available(&self) -> Result<(), StoreError> {
        self.delay().await;
        self.process.block_if_dead().await;
        let faults = self.store.faults.lock();
        if faults.down || faults.down_for.contains(&self.process.index()) {
            return Err(StoreError::Unavailable(anyhow!("the store is down")));
        }
        Ok(())
    }

    async fn deliver<T>(&self, answer: T) -> T {
        self.process.block_if_dead().await;
        answer
    }

    /// Whether the store carries out a write. It may carry out one of a process that has died since.
    async fn accepts_write(&self) -> bool {
        self.process.block_if_dead().await;
        self.delay().await;
        !self.process.is_dead() || self.store.rng.percent(self.process.committed_percent())
    }
}

#[async_trait]
impl Reader for StoreClient {
    fn epoch(&self) -> Epoch {
        self.store.contents.data.epoch()
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        self.available().await?;
        self.deliver(self.store.contents.data.message(tenant, id).await).await
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        self.available().await?;
        let page = self.store.contents.data.history(tenant, room, range).await;
        self.delay().await;
        self.deliver(page).await
    }

    async fn changed_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        range: ChangeRange,
    ) -> Result<Changes, StoreError> {
        self.available().await?;
        let changes = self.store.contents.data.changed_messages(tenant, room, range).await;
        self.delay().await;
        self.deliver(changes).await
    }

    async fn places(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<Place>, StoreError> {
        self.available().await?;
        let places = self.store.contents.data.places(tenant, rooms).await;
        self.delay().await;
        self.deliver(places).await
    }

    async fn kv_get_many(
        &self,
        tenant: &TenantId,
        keys: &[KvKey],
        now: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.available().await?;
        self.deliver(self.store.contents.data.kv_get_many(tenant, keys, now).await)
            .await
    }

    async fn kv_scan(
        &self,
        tenant: &TenantId,
        range: &KvRange,
        limit: u32,
        bytes: u64,
        now: u64,
    ) -> Result<KvPage, StoreError> {
        self.available().await?;
        self.deliver(self.store.contents.data.kv_scan(tenant, range, limit, bytes, now).await)
            .await
    }

    async fn reads_hold(&self, tenant: &TenantId, reads: &ReadSet) -> Result<bool, StoreError> {
        self.available().await?;
        self.deliver(self.store.contents.data.reads_hold(tenant, reads).await)
            .await
    }
}

#[async_trait]
impl Writer for StoreClient {
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<WriteSetResult>, StoreError> {
        if !self.accepts_write().await {
            self.process.block_if_dead().await;
        }
        let (lost, down) = {
            let faults = self.store.faults.lock();
            let down = faults.down || faults.down_for.contains(&self.process.index());
            (faults.answer_loss_percent, down)
        };
        if down {
            sleep(Duration::from_millis(1)).await;
            return self
                .deliver(Err(StoreError::Unavailable(anyhow!("the store is down"))))
                .await;
        }
        let count = write_sets.len();
        for write_set in &write_sets {
            self.store.log.note(format_args!(
                "store {} <- {} {:?}",
                self.process.index(),
                write_set.tenant,
                write_set.writes
            ));
        }
        let done = self.store.contents.data.commit(write_sets).await;
        self.store.log.note(format_args!("store -> {done:?}"));
        self.store.log.count("transactions", 1);
        self.store.log.count("transactions' events", count as u64);
        if self.process.kill_if_armed() {
            self.store
                .log
                .note(format_args!("node {} dies after a commit", self.process.index()));
        }
        self.delay().await;
        if lost > 0 && self.store.rng.percent(lost) {
            self.store.log.count("answers of commits lost", 1);
            return self
                .deliver(Err(StoreError::Unavailable(anyhow!("the answer is lost"))))
                .await;
        }
        self.deliver(done).await
    }
}

#[async_trait]
impl Maintenance for StoreClient {
    async fn rooms_of(&self, tenant: &TenantId, after: Option<&RoomId>, limit: u32) -> Result<RoomList, StoreError> {
        self.available().await?;
        self.store.contents.data.rooms_of(tenant, after, limit).await
    }

    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError> {
        self.available().await?;
        self.store.contents.data.usage(tenant).await
    }

    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError> {
        self.available().await?;
        self.store.contents.data.delete_data(tenant).await
    }

    async fn is_in_slots(&self, tenant: &TenantId, slots: &[u16]) -> Result<bool, StoreError> {
        self.available().await?;
        self.store.contents.data.is_in_slots(tenant, slots).await
    }

    async fn rooms(&self, of: &TenantId, after: Option<&RoomId>, limit: u32) -> Result<Vec<RoomSpan>, StoreError> {
        self.available().await?;
        self.store.contents.data.rooms(of, after, limit).await
    }

    async fn remove_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        expired: Expired,
        limit: u32,
    ) -> Result<RemovedMessages, StoreError> {
        self.available().await?;
        self.store
            .contents
            .data
            .remove_messages(tenant, room, expired, limit)
            .await
    }

    async fn marks(
        &self,
        of: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: Option<&UserId>,
        after: Option<&StoredMark>,
        limit: u32,
    ) -> Result<Vec<StoredMark>, StoreError> {
        self.available().await?;
        self.store.contents.data.marks(of, room, span, user, after, limit).await
    }

    async fn receipts(
        &self,
        of: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: Option<&UserId>,
        after: Option<&StoredReceipt>,
        limit: u32,
    ) -> Result<Vec<StoredReceipt>, StoreError> {
        self.available().await?;
        self.store
            .contents
            .data
            .receipts(of, room, span, user, after, limit)
            .await
    }

    async fn keys(&self, of: &TenantId, after: Option<&KvKey>, limit: u32) -> Result<Vec<StoredKey>, StoreError> {
        self.available().await?;
        self.store.contents.data.keys(of, after, limit).await
    }

    async fn forget_user(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: &UserId,
    ) -> Result<u64, StoreError> {
        self.available().await?;
        self.store.contents.data.forget_user(tenant, room, span, user).await
    }

    async fn finish_removal(&self) -> Result<(), StoreError> {
        self.available().await?;
        self.store.contents.data.finish_removal().await
    }

    async fn import(&self, tenant: &TenantId, pieces: Vec<Imported>) -> Result<bool, StoreError> {
        self.available().await?;
        self.store.contents.data.import(tenant, pieces).await
    }
}

#[async_trait]
impl Catalog for StoreClient {
    async fn revision(&self) -> Result<u64, StoreError> {
        self.available().await?;
        self.store.contents.catalog.revision().await
    }

    async fn changes(&self, after: u64) -> Result<Vec<Record>, StoreError> {
        self.available().await?;
        let changes = self.store.contents.catalog.changes(after).await;
        self.deliver(changes).await
    }

    async fn put(&self, puts: Vec<Put>, audit: Vec<AuditEntry>) -> Result<Result<u64, Conflict>, StoreError> {
        self.available().await?;
        let keys: Vec<_> = puts.iter().map(|put| put.key.clone()).collect();
        let put = self.store.contents.catalog.put(puts, audit).await;
        self.store
            .log
            .note(format_args!("catalog {} <- {keys:?} -> {put:?}", self.process.index()));
        self.delay().await;
        self.deliver(put).await
    }

    async fn component(&self, tenant: &str, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.available().await?;
        self.deliver(self.store.contents.catalog.component(tenant, sha256).await)
            .await
    }

    async fn collect_garbage(&self) -> Result<u64, StoreError> {
        self.available().await?;
        self.store.contents.catalog.collect_garbage().await
    }

    async fn audit(
        &self,
        tenant: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        self.available().await?;
        self.store.contents.catalog.audit(tenant, before, limit).await
    }

    async fn prune_audit(&self, before_ms: u64, limit: u32) -> Result<u64, StoreError> {
        self.available().await?;
        self.store.contents.catalog.prune_audit(before_ms, limit).await
    }
}
