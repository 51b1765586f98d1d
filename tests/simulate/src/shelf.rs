//! The store that all nodes share, and each node's access to it, in which faults happen.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;
use parking_lot::Mutex;
use parlance_store::catalog::{AuditEntry, Catalog, Conflict, Put, Record};
use parlance_store::memory::{MemoryCatalog, MemoryStore};
use parlance_store::{
    KvKey, Maintenance, Message, Page, Range, Reader, StoreError, Usage, WriteSet, WriteSetResult, Writer,
};
use parlance_types::id::{MessageId, RoomId, TenantId};
use tokio::time::sleep;

use crate::chance::Dice;
use crate::life::Life;
use crate::log::Log;

/// The longest time that the store takes without faults, in milliseconds.
const USUAL_MS: u64 = 6;

/// The contents of the store.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) store: MemoryStore,
    pub(crate) catalog: MemoryCatalog,
}

/// The current faults.
#[derive(Default)]
struct Weather {
    away: bool,
    away_for: Vec<usize>,
    lost_percent: u64,
    slow_ms: u64,
}

/// The whole store.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) kept: Arc<Kept>,
    weather: Arc<Mutex<Weather>>,
    dice: Dice,
    log: Log,
}

impl Shelf {
    pub(crate) fn new(dice: Dice, log: Log) -> Self {
        Self {
            kept: Arc::default(),
            weather: Arc::default(),
            dice,
            log,
        }
    }

    pub(crate) fn set_away(&self, node: Option<usize>, away: bool) {
        let mut weather = self.weather.lock();
        match node {
            None => weather.away = away,
            Some(node) if away => weather.away_for.push(node),
            Some(node) => weather.away_for.retain(|other| *other != node),
        }
    }

    pub(crate) fn set_lost(&self, percent: u64) {
        self.weather.lock().lost_percent = percent;
    }

    pub(crate) fn set_slow(&self, most_ms: u64) {
        self.weather.lock().slow_ms = most_ms;
    }

    pub(crate) fn heal(&self) {
        *self.weather.lock() = Weather::default();
    }

    /// A node's access to the store.
    pub(crate) fn way(&self, life: Arc<Life>) -> Arc<Way> {
        Arc::new(Way {
            shelf: self.clone(),
            life,
        })
    }
}

/// A node's access to the store.
pub(crate) struct Way {
    shelf: Shelf,
    life: Arc<Life>,
}

impl Way {
    async fn travel(&self) {
        let slow = self.shelf.weather.lock().slow_ms;
        sleep(self.shelf.dice.time(slow.max(USUAL_MS))).await;
    }

    /// Waits for the time that the store takes. Never returns in a process that has died.
    async fn arrive(&self) -> Result<(), StoreError> {
        self.travel().await;
        self.life.pass().await;
        let weather = self.shelf.weather.lock();
        if weather.away || weather.away_for.contains(&self.life.index()) {
            return Err(StoreError::Unavailable(anyhow!("the store is away")));
        }
        Ok(())
    }

    async fn leave<T>(&self, answer: T) -> T {
        self.life.pass().await;
        answer
    }

    /// Whether the store carries out a write. A write of a process that has died since may be carried out all the same.
    async fn is_done(&self) -> bool {
        self.life.pass().await;
        self.travel().await;
        !self.life.is_over() || self.shelf.dice.percent(self.life.done_percent())
    }
}

#[async_trait]
impl Reader for Way {
    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        self.arrive().await?;
        self.leave(self.shelf.kept.store.message(tenant, id).await).await
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        self.arrive().await?;
        let page = self.shelf.kept.store.history(tenant, room, range).await;
        self.travel().await;
        self.leave(page).await
    }

    async fn last_seqs(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<u64>, StoreError> {
        self.arrive().await?;
        let last = self.shelf.kept.store.last_seqs(tenant, rooms).await;
        self.travel().await;
        self.leave(last).await
    }

    async fn kv_get(&self, tenant: &TenantId, key: &KvKey, now: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.arrive().await?;
        self.leave(self.shelf.kept.store.kv_get(tenant, key, now).await).await
    }
}

#[async_trait]
impl Writer for Way {
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<WriteSetResult>, StoreError> {
        if !self.is_done().await {
            self.life.pass().await;
        }
        let (lost, away) = {
            let weather = self.shelf.weather.lock();
            let away = weather.away || weather.away_for.contains(&self.life.index());
            (weather.lost_percent, away)
        };
        if away {
            sleep(Duration::from_millis(1)).await;
            return self
                .leave(Err(StoreError::Unavailable(anyhow!("the store is away"))))
                .await;
        }
        let count = write_sets.len();
        for write_set in &write_sets {
            self.shelf.log.note(format_args!(
                "store {} <- {} {:?}",
                self.life.index(),
                write_set.tenant,
                write_set.writes
            ));
        }
        let done = self.shelf.kept.store.commit(write_sets).await;
        self.shelf.log.note(format_args!("store -> {done:?}"));
        self.shelf.log.count("transactions", 1);
        self.shelf.log.count("transactions' events", count as u64);
        if self.life.springs_trap() {
            self.shelf
                .log
                .note(format_args!("node {} dies after a commit", self.life.index()));
        }
        self.travel().await;
        if lost > 0 && self.shelf.dice.percent(lost) {
            self.shelf.log.count("answers of commits lost", 1);
            return self
                .leave(Err(StoreError::Unavailable(anyhow!("the answer is lost"))))
                .await;
        }
        self.leave(done).await
    }
}

#[async_trait]
impl Maintenance for Way {
    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError> {
        self.arrive().await?;
        self.shelf.kept.store.usage(tenant).await
    }

    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError> {
        self.arrive().await?;
        self.shelf.kept.store.delete_data(tenant).await
    }
}

#[async_trait]
impl Catalog for Way {
    async fn revision(&self) -> Result<u64, StoreError> {
        self.arrive().await?;
        self.shelf.kept.catalog.revision().await
    }

    async fn changes(&self, after: u64) -> Result<Vec<Record>, StoreError> {
        self.arrive().await?;
        let changes = self.shelf.kept.catalog.changes(after).await;
        self.leave(changes).await
    }

    async fn put(&self, puts: Vec<Put>, audit: Vec<AuditEntry>) -> Result<Result<u64, Conflict>, StoreError> {
        self.arrive().await?;
        let keys: Vec<_> = puts.iter().map(|put| put.key.clone()).collect();
        let put = self.shelf.kept.catalog.put(puts, audit).await;
        self.shelf
            .log
            .note(format_args!("catalog {} <- {keys:?} -> {put:?}", self.life.index()));
        self.travel().await;
        self.leave(put).await
    }

    async fn component(&self, tenant: &str, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.arrive().await?;
        self.leave(self.shelf.kept.catalog.component(tenant, sha256).await)
            .await
    }

    async fn collect_garbage(&self) -> Result<u64, StoreError> {
        self.arrive().await?;
        self.shelf.kept.catalog.collect_garbage().await
    }

    async fn audit(
        &self,
        tenant: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        self.arrive().await?;
        self.shelf.kept.catalog.audit(tenant, before, limit).await
    }

    async fn prune_audit(&self, before_ms: u64, limit: u32) -> Result<u64, StoreError> {
        self.arrive().await?;
        self.shelf.kept.catalog.prune_audit(before_ms, limit).await
    }
}
