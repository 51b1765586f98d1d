//! The store in PostgreSQL 13 or later, for any number of nodes.
//!
//! # One batch
//! A batch is one transaction in **two round trips**, however many events it has: the first flight begins it, locks
//! the rooms and keys that it touches and loads what it has to know; the batch is then worked out in memory, with
//! every write set taken back that is refused; the second flight writes what has changed, one statement for each table,
//! and commits. A batch that makes rooms takes one more, a tenant's first one two more. Statements are prepared once
//! on each connection; nothing is sent event by event.
//!
//! # Many nodes
//! A room's row is locked from the first flight to the commit, so that two nodes which write to one room at once take
//! turns, and the room's `seq` has no gaps. `batch` says in which order locks are taken. What conflicts all the same
//! is tried again, a bounded number of times.
//!
//! What a tenant keeps is counted with each commit, by each node in a row of its own; a quota is compared with the
//! sum as it was when the batch began. Several nodes that write for one tenant at the same moment can thus take it
//! past its quota by what the batches of the others hold, once.
//!
//! # A lost connection
//! What becomes of a transaction whose connection is lost while it commits is found out as soon as the server is back
//! (`once` says how), within `statement_time`. An event is answered with `unavailable` when nothing of it was
//! written, or when that time has passed; a client that sends it again under the same id gets one message.
//!
//! # Who may open it
//! Any number of nodes. The schema is brought up to date by one of them, under an advisory lock.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::{KvKey, Message, Page, Range, Rejected, Store, StoreError, Usage, WriteSet, Written};
use crate::id::{MessageId, RoomId, TenantId};

mod batch;
mod batch_state;
mod catalog;
mod decode;
mod error;
mod open;
mod pool;
mod reader;
mod removal;
#[cfg(test)]
mod tests;
mod tls;
mod transaction;
mod url;
mod write;

pub use open::OpenError;

use error::PostgresError;
use pool::ConnectionPool;

/// Tenants whose numbers are remembered before the memory starts afresh; one takes about 150 bytes.
const MAX_CACHED_TENANTS: usize = 65_536;
/// Over so many parts the usage of a tenant is spread. Two nodes that have drawn the same one wait for each other's
/// commits.
const USAGE_SHARDS: u8 = 64;

/// How the database is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections at most, at least 2.
    pub connections: usize,
    /// How long connecting may take, and waiting for a connection.
    pub connect_time: Duration,
    /// How long one statement may take, and waiting for a lock.
    pub statement_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 8,
            connect_time: Duration::from_secs(3),
            statement_time: Duration::from_secs(5),
        }
    }
}

/// See the [module](self). Cheap to ask from any number of tasks; share it in an [`Arc`](std::sync::Arc).
pub struct PostgresStore {
    pool: ConnectionPool,
    /// Which part of each tenant's usage is added to.
    usage_shard: i16,
    /// The numbers of tenants; they never change, and no tenant's row is ever removed.
    tenant_ids: Mutex<HashMap<TenantId, i64>>,
    sweeper: AbortOnDropHandle<()>,
    address: String,
}

impl PostgresStore {
    /// Opens the database at a `postgres://` URL and brings its schema up to date.
    ///
    /// # Errors
    /// Each says what is wrong with which database and what to do about it.
    pub async fn open(url: &str, settings: Settings) -> Result<Self, OpenError> {
        let target = url::parse(url, &settings)?;
        let address = url::address(&target.config);
        let tls = tls::connector(target.check, target.roots.as_deref()).map_err(|error| OpenError::Url {
            problem: format!("{error:#}"),
        })?;
        let warnings = open::open(&target.config, tls.clone(), &address, settings.connect_time).await?;
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
            address,
        })
    }

    /// Where the data is, without the password.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends the connections that are idle, and others as soon as they are. What is asked afterwards is
    /// [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.sweeper.abort();
        self.pool.close();
    }

    /// Does a transaction, also when whoever asked goes away meanwhile.
    async fn run_detached<W: transaction::Transaction + 'static>(
        &self,
        transaction: W,
    ) -> Result<W::Output, StoreError> {
        let pool = self.pool.clone();
        let task = tokio::spawn(async move { transaction::execute(&pool, transaction).await });
        task.await.map_err(|error| {
            StoreError::Unavailable(anyhow::Error::new(error).context("the database cannot serve now"))
        })?
    }

    /// The numbers of tenants, made for those that are new.
    async fn ensure_tenants(&self, write_sets: &[WriteSet]) -> Result<HashMap<TenantId, i64>, PostgresError> {
        let mut numbers = HashMap::with_capacity(1);
        let mut unknown: Vec<&TenantId> = Vec::new();
        {
            let known = self.tenant_ids.lock();
            for write_set in write_sets {
                match known.get(&write_set.tenant) {
                    Some(number) => drop(numbers.insert(write_set.tenant.clone(), *number)),
                    None => unknown.push(&write_set.tenant),
                }
            }
        }
        if unknown.is_empty() {
            return Ok(numbers);
        }
        unknown.sort_unstable();
        unknown.dedup();
        let names: Vec<&str> = unknown.iter().map(|tenant| tenant.as_str()).collect();
        reader::create_tenants(&self.pool, &names).await?;
        let found = reader::tenant_ids(&self.pool, &names).await?;
        let mut known = self.tenant_ids.lock();
        if known.len() + found.len() > MAX_CACHED_TENANTS {
            known.clear();
        }
        for tenant in unknown {
            let number = found
                .get(tenant.as_str())
                .ok_or_else(|| decode::corrupt("a tenant that is gone"))?;
            known.insert(tenant.clone(), *number);
            numbers.insert(tenant.clone(), *number);
        }
        Ok(numbers)
    }

    /// The number of a tenant that is there.
    async fn tenant_id(&self, tenant: &TenantId) -> Result<Option<i64>, PostgresError> {
        let name = tenant.as_str();
        Ok(reader::tenant_ids(&self.pool, &[name]).await?.get(name).copied())
    }
}

/// A [`commit`](Store::commit) whose caller goes away is carried out all the same.
#[async_trait::async_trait]
impl Store for PostgresStore {
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<Result<Vec<Written>, Rejected>>, StoreError> {
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

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        Ok(reader::message(&self.pool, tenant, id).await?)
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        Ok(reader::history(&self.pool, tenant, room, range).await?)
    }

    async fn last_seq(&self, tenant: &TenantId, room: &RoomId) -> Result<u64, StoreError> {
        let seqs = reader::last_seqs(&self.pool, tenant, std::slice::from_ref(room)).await?;
        Ok(seqs.first().copied().unwrap_or(0))
    }

    async fn last_seqs(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<u64>, StoreError> {
        Ok(reader::last_seqs(&self.pool, tenant, rooms).await?)
    }

    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError> {
        match self.tenant_id(tenant).await? {
            Some(number) => Ok(reader::usage(&self.pool, number).await?),
            None => Ok(Usage::default()),
        }
    }

    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError> {
        match self.tenant_id(tenant).await? {
            Some(number) => removal::delete_tenant(&self.pool, number, self.usage_shard).await,
            None => Ok(()),
        }
    }

    async fn kv_get(&self, tenant: &TenantId, key: &KvKey, now: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(reader::kv_get(&self.pool, tenant, key, now).await?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let id = transaction::TransactionId::new()?;
        self.pool.query(transaction::INSERT_ID, &[&id.bytes()]).await?;
        Ok(())
    }
}
