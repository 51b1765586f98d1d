//! The store in PostgreSQL 13 or later, for any number of nodes.
//!
//! # Batches
//! A batch is one transaction in **two round trips**, however many events it has. The first round trip begins the
//! transaction, locks the rooms and keys that the batch touches, and loads what the batch must know. The batch is then
//! applied in memory, where rejected write sets are undone. The second round trip writes the changes, one statement for
//! each table, and commits. A batch that creates rooms takes one more round trip, a tenant's first batch two more. Each
//! connection prepares a statement once. No statement is sent for each event.
//!
//! # Concurrent nodes
//! A batch holds the lock on a room's row from its first round trip to the commit. So nodes that write to one room take
//! turns, and the room's `seq` has no gaps. `batch` says in which order locks are taken. A transaction that conflicts
//! all the same is tried again, a bounded number of times.
//!
//! Each node counts what it adds to a tenant's usage in a row of its own, as part of the batch. A quota is compared with
//! the sum of these rows when the batch begins. Nodes that write for one tenant at the same moment can therefore exceed
//! its quota once, by what each other's batches add.
//!
//! # Lost connections
//! When a connection is lost during a commit, the store finds out whether the commit was done once the server is back,
//! within `statement_time`; `transaction` says how. An event is answered `unavailable` when nothing of it was written,
//! or when that time has passed. A client that sends the message again under the same id posts it once in both cases.
//!
//! # Schema
//! Any number of nodes may open a database. One of them migrates the schema, under an advisory lock.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{
    ChangeRange, Changes, DueKey, DueSpace, Epoch, Health, KvKey, KvPage, KvRange, Message, Page, Place, Range,
    ReadSet, Reader, Schedule, StoreError, WriteSet, WriteSetResult, Writer,
};
use parlance_types::id::{MessageId, RoomId, TenantId};
use parlance_types::settings::{Count, Time, millis, secs, settings};

mod batch;
mod batch_state;
mod catalog;
mod decode;
mod error;
mod key_reads;
mod maintenance;
mod open;
mod people;
mod pool;
mod reader;
mod removal;
mod retention;
mod revise;
mod rooms_of;
mod schedule;
#[cfg(test)]
mod tests;
mod tls;
mod transaction;
mod url;
mod write;

pub use open::OpenError;

use error::PostgresError;
use pool::ConnectionPool;
use transaction::{Transaction, TransactionId};

/// The most tenants whose row ids are cached, about 150 bytes each. One more empties the cache.
const MAX_CACHED_TENANTS: usize = 65_536;
/// How long `close` waits for transactions under way.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Rows over which a tenant's usage is spread. Each node draws one, so that nodes seldom wait for each other's commits.
const USAGE_SHARDS: u8 = 64;

settings! {
    /// How PostgreSQL is used.
    pub struct PostgresSettings of the server in "store" {
        /// Connections to PostgreSQL, of this node.
        connections: usize = 8, Count(2, 1000);
        /// How long connecting to PostgreSQL may take, and waiting for one of its connections.
        connect_time: Duration = secs(3), Time(millis(100), secs(60));
        /// How long one statement may take in PostgreSQL, waiting for other nodes included.
        statement_time: Duration = secs(5), Time(millis(100), secs(600));
    }
}

/// An open PostgreSQL database. See the [module](self).
///
/// Any number of tasks may share it in an [`Arc`](std::sync::Arc).
pub struct PostgresStore {
    pool: ConnectionPool,
    /// The row of each tenant's usage that this node adds to.
    usage_shard: i16,
    /// A cache of tenants' row ids. An id never changes, and no tenant's row is ever deleted.
    tenant_ids: Mutex<HashMap<TenantId, i64>>,
    sweeper: AbortOnDropHandle<()>,
    /// Tasks that run transactions to their end.
    transactions: TaskTracker,
    address: String,
    epoch: Epoch,
}

impl PostgresStore {
    /// Opens the database at a `postgres://` URL and migrates its schema.
    ///
    /// # Errors
    /// Each error names the database, what is wrong with it, and what to do.
    pub async fn open(url: &str, settings: PostgresSettings) -> Result<Self, OpenError> {
        let target = url::parse(url, &settings)?;
        let address = url::address(&target.config);
        let tls = tls::connector(target.check, target.roots.as_deref()).map_err(|error| OpenError::Url {
            problem: format!("{error:#}"),
        })?;
        let (warnings, epoch) = open::open(&target.config, tls.clone(), &address, settings.connect_time).await?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let unsuitable = |error: String| OpenError::Unsuitable {
            server: address.clone(),
            problem: error,
        };
        let pool = ConnectionPool::new(target.config, tls, settings).map_err(|error| unsuitable(error.to_string()))?;
        let mut chance = [0];
        getrandom::fill(&mut chance).map_err(|error| unsuitable(error.to_string()))?;
        let usage_shard = i16::from(chance[0] % USAGE_SHARDS);
        let sweeper = AbortOnDropHandle::new(tokio::spawn(removal::sweep(pool.clone(), usage_shard)));
        Ok(Self {
            pool,
            usage_shard,
            tenant_ids: Mutex::default(),
            sweeper,
            transactions: TaskTracker::new(),
            address,
            epoch,
        })
    }

    /// Hosts and name of the database, without the password, for the log.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Closes idle connections, and the others as soon as they are idle. Later calls fail with
    /// [`StoreError::Unavailable`]. Waits a moment for transactions under way.
    pub async fn close(&self) {
        self.sweeper.abort();
        self.pool.close();
        self.transactions.close();
        if tokio::time::timeout(CLOSE_TIME, self.transactions.wait())
            .await
            .is_err()
        {
            let transactions = self.transactions.len();
            tracing::warn!(transactions, "the database has not ended some transactions in time");
        }
    }

    /// Runs a transaction to its end, even when the caller drops this future.
    async fn run_detached<T: Transaction + 'static>(&self, transaction: T) -> Result<T::Output, StoreError> {
        let pool = self.pool.clone();
        let task = self
            .transactions
            .spawn(async move { transaction::execute(&pool, transaction).await });
        task.await.map_err(|error| {
            StoreError::Unavailable(anyhow::Error::new(error).context("the database cannot serve now"))
        })?
    }

    /// The row ids of all tenants of these write sets. Creates rows for new tenants.
    async fn ensure_tenants(&self, write_sets: &[WriteSet]) -> Result<HashMap<TenantId, i64>, PostgresError> {
        let mut ids = HashMap::with_capacity(1);
        let mut unknown: Vec<&TenantId> = Vec::new();
        {
            let cached = self.tenant_ids.lock();
            for write_set in write_sets {
                match cached.get(&write_set.tenant) {
                    Some(id) => drop(ids.insert(write_set.tenant.clone(), *id)),
                    None => unknown.push(&write_set.tenant),
                }
            }
        }
        if unknown.is_empty() {
            return Ok(ids);
        }
        unknown.sort_unstable();
        unknown.dedup();
        let names: Vec<&str> = unknown.iter().map(|tenant| tenant.as_str()).collect();
        reader::create_tenants(&self.pool, &names).await?;
        let found = reader::tenant_ids(&self.pool, &names).await?;
        let mut cached = self.tenant_ids.lock();
        if cached.len() + found.len() > MAX_CACHED_TENANTS {
            cached.clear();
        }
        for tenant in unknown {
            let id = found
                .get(tenant.as_str())
                .ok_or_else(|| decode::corrupt("a tenant's row is missing"))?;
            cached.insert(tenant.clone(), *id);
            ids.insert(tenant.clone(), *id);
        }
        Ok(ids)
    }

    /// The tenant's row id, if it has a row.
    async fn tenant_id(&self, tenant: &TenantId) -> Result<Option<i64>, PostgresError> {
        let name = tenant.as_str();
        Ok(reader::tenant_ids(&self.pool, &[name]).await?.get(name).copied())
    }
}

#[async_trait::async_trait]
impl Reader for PostgresStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        Ok(reader::message(&self.pool, tenant, id).await?)
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        Ok(reader::history(&self.pool, tenant, room, range).await?)
    }

    async fn changed_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        range: ChangeRange,
    ) -> Result<Changes, StoreError> {
        Ok(reader::changes(&self.pool, tenant, room, range).await?)
    }

    async fn places(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<Place>, StoreError> {
        Ok(reader::places(&self.pool, tenant, rooms).await?)
    }

    async fn kv_get_many(
        &self,
        tenant: &TenantId,
        keys: &[KvKey],
        now: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        Ok(reader::kv_get_many(&self.pool, tenant, keys, now).await?)
    }

    async fn kv_scan(
        &self,
        tenant: &TenantId,
        range: &KvRange,
        limit: u32,
        bytes: u64,
        now: u64,
    ) -> Result<KvPage, StoreError> {
        Ok(reader::kv_scan(&self.pool, tenant, range, limit, bytes, now).await?)
    }

    async fn reads_hold(&self, tenant: &TenantId, reads: &ReadSet) -> Result<bool, StoreError> {
        Ok(key_reads::reads_hold(&self.pool, tenant, reads).await?)
    }
}

#[async_trait::async_trait]
impl Writer for PostgresStore {
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<WriteSetResult>, StoreError> {
        if write_sets.is_empty() {
            return Ok(Vec::new());
        }
        let tenant_ids = self.ensure_tenants(&write_sets).await?;
        let batch = batch::Batch {
            write_sets: write_sets.into(),
            tenant_ids,
            usage_shard: self.usage_shard,
        };
        self.run_detached(batch).await
    }
}

#[async_trait::async_trait]
impl Schedule for PostgresStore {
    async fn own_slots(&self, node: &str, lease: Duration) -> Result<Vec<u16>, StoreError> {
        Ok(schedule::own_slots(&self.pool, node, lease).await?)
    }

    async fn leave(&self, node: &str) -> Result<(), StoreError> {
        Ok(schedule::leave(&self.pool, node).await?)
    }

    async fn due_spaces(&self, slots: &[u16], now: u64) -> Result<Vec<DueSpace>, StoreError> {
        Ok(schedule::due_spaces(&self.pool, slots, now).await?)
    }

    async fn due_keys(&self, space: &DueSpace, now: u64, limit: u32) -> Result<Vec<DueKey>, StoreError> {
        Ok(schedule::due_keys(&self.pool, space, now, limit).await?)
    }
}

#[async_trait::async_trait]
impl Health for PostgresStore {
    async fn ping(&self) -> Result<(), StoreError> {
        let id = TransactionId::new()?;
        self.pool.query(transaction::INSERT_ID, &[&id.bytes()]).await?;
        Ok(())
    }
}
