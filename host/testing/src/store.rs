//! A store in memory that a test can make fail.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::anyhow;
use parlance_store::memory::MemoryStore;
use parlance_store::{
    ChangeRange, Changes, DueKey, DueKind, Epoch, KvKey, KvPage, KvRange, Message, Page, Place, Range, ReadSet, Reader,
    Schedule as _, StoreError, WriteSet, WriteSetResult, Writer,
};
use parlance_types::id::{MessageId, RoomId, TenantId};

#[derive(Default)]
pub(crate) struct TestStore {
    inner: MemoryStore,
    down: AtomicBool,
    /// Commits fail; reads do not.
    commits_fail: AtomicBool,
    /// Reads and writes never complete.
    silent: AtomicBool,
}

impl TestStore {
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    pub(crate) fn set_commits_fail(&self, fail: bool) {
        self.commits_fail.store(fail, Ordering::Relaxed);
    }

    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// The first timer that is due at `now`. Requests have due times too; a test answers them.
    pub(crate) async fn next_due(&self, now: u64) -> Result<Option<DueKey>, StoreError> {
        let store = self.available().await?;
        let spaces = store.due_spaces(&[], now).await?;
        let kind = |space: &str| DueKind::of_space(space).map(|(_, kind)| kind);
        match spaces.iter().find(|space| kind(&space.handler) == Some(DueKind::Timer)) {
            Some(space) => Ok(store.due_keys(space, now, 1).await?.into_iter().next()),
            None => Ok(None),
        }
    }

    /// The store as it is behind the test's faults.
    pub(crate) fn behind_faults(&self) -> &MemoryStore {
        &self.inner
    }

    async fn available(&self) -> Result<&MemoryStore, StoreError> {
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.down.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable(anyhow!("the test has taken the store down")));
        }
        Ok(&self.inner)
    }
}

#[async_trait::async_trait]
impl Reader for TestStore {
    fn epoch(&self) -> Epoch {
        self.inner.epoch()
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        self.available().await?.message(tenant, id).await
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        self.available().await?.history(tenant, room, range).await
    }

    async fn changed_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        range: ChangeRange,
    ) -> Result<Changes, StoreError> {
        self.available().await?.changed_messages(tenant, room, range).await
    }

    async fn places(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<Place>, StoreError> {
        self.available().await?.places(tenant, rooms).await
    }

    async fn kv_get_many(
        &self,
        tenant: &TenantId,
        keys: &[KvKey],
        now: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.available().await?.kv_get_many(tenant, keys, now).await
    }

    async fn kv_scan(
        &self,
        tenant: &TenantId,
        range: &KvRange,
        limit: u32,
        bytes: u64,
        now: u64,
    ) -> Result<KvPage, StoreError> {
        self.available().await?.kv_scan(tenant, range, limit, bytes, now).await
    }

    async fn reads_hold(&self, tenant: &TenantId, reads: &ReadSet) -> Result<bool, StoreError> {
        self.available().await?.reads_hold(tenant, reads).await
    }
}

#[async_trait::async_trait]
impl Writer for TestStore {
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<WriteSetResult>, StoreError> {
        let store = self.available().await?;
        if self.commits_fail.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable(anyhow!("the test makes commits fail")));
        }
        store.commit(write_sets).await
    }
}
