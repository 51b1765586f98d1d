//! The writer's cache of each tenant's usage: read once, counted in memory, written with each transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Result, params};

use crate::quota::{exceeded, message_bytes};
use crate::{Change, Rejected, StorageQuota, Usage, Write};

/// The most tenants in the cache. One more empties it after the next transaction.
const MAX_CACHED_TENANTS: usize = 65_536;

#[derive(Default)]
pub(super) struct UsageCache {
    by_tenant: HashMap<i64, CachedUsage>,
}

#[derive(Clone, Copy)]
struct CachedUsage {
    usage: Usage,
    /// The database does not have it yet.
    changed: bool,
}

/// The most that these writes can add to a tenant's usage.
fn upper_bound(writes: &[Arc<Write>]) -> Usage {
    let mut upper_bound = Usage::default();
    for write in writes {
        match &**write {
            Write::Append(draft) => {
                upper_bound.message_bytes += message_bytes(&draft.content, draft.metadata.as_deref());
                upper_bound.rooms += 1;
            }
            Write::KvSet { key, value, .. } | Write::DueSet { key, value, .. } => {
                upper_bound.kv_bytes += (key.key.len() + value.len()) as u64
            }
            // A 64-bit number has at most 20 characters.
            Write::KvIncrement { key, .. } | Write::KvRaise { key, .. } => {
                upper_bound.kv_bytes += key.key.len() as u64 + 20
            }
            Write::Revise(revise) => {
                upper_bound.message_bytes += match &revise.change {
                    Change::Edit { content, metadata } => message_bytes(content, metadata.as_deref()),
                    Change::Append { fragment, .. } => fragment.len() as u64,
                    Change::Delete | Change::Mark { .. } => 0,
                }
            }
            Write::MarkRead { .. } | Write::KvDelete { .. } => {}
        }
    }
    upper_bound
}

impl UsageCache {
    fn entry(&mut self, db: &Connection, tenant: i64) -> Result<&mut CachedUsage> {
        match self.by_tenant.entry(tenant) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => Ok(unknown.insert(CachedUsage {
                usage: read(db, tenant)?,
                changed: false,
            })),
        }
    }

    pub(super) fn get(&mut self, db: &Connection, tenant: i64) -> Result<Usage> {
        Ok(self.entry(db, tenant)?.usage)
    }

    /// Whether the quota may reject one of these writes.
    pub(super) fn may_exceed(
        &mut self,
        db: &Connection,
        tenant: i64,
        writes: &[Arc<Write>],
        quota: StorageQuota,
    ) -> Result<bool> {
        Ok(exceeded(self.get(db, tenant)?, upper_bound(writes), quota).is_some())
    }

    /// Counts what a write adds, or rejects the write when that would exceed the quota.
    pub(super) fn add(
        &mut self,
        db: &Connection,
        tenant: i64,
        more: Usage,
        quota: StorageQuota,
    ) -> Result<std::result::Result<(), Rejected>> {
        let cached = self.entry(db, tenant)?;
        if let Some(kind) = exceeded(cached.usage, more, quota) {
            return Ok(Err(Rejected::QuotaExceeded(kind)));
        }
        let usage = &mut cached.usage;
        usage.message_bytes += more.message_bytes;
        usage.kv_bytes += more.kv_bytes;
        usage.rooms += more.rooms;
        cached.changed = true;
        Ok(Ok(()))
    }

    /// Counts that a key's bytes are gone.
    pub(super) fn remove_kv(&mut self, db: &Connection, tenant: i64, bytes: u64) -> Result<()> {
        let cached = self.entry(db, tenant)?;
        cached.usage.kv_bytes = cached.usage.kv_bytes.saturating_sub(bytes);
        cached.changed = true;
        Ok(())
    }

    /// Counts that bytes of messages are gone.
    pub(super) fn remove_message_bytes(&mut self, db: &Connection, tenant: i64, bytes: u64) -> Result<()> {
        let cached = self.entry(db, tenant)?;
        cached.usage.message_bytes = cached.usage.message_bytes.saturating_sub(bytes);
        cached.changed = true;
        Ok(())
    }

    /// Sets the usage back to what it was before a write set that is rolled back.
    pub(super) fn restore(&mut self, tenant: i64, usage: Usage) {
        if let Some(cached) = self.by_tenant.get_mut(&tenant) {
            cached.usage = usage;
        }
    }

    /// Writes each usage that has changed, at the end of a transaction.
    pub(super) fn write(&mut self, db: &Connection) -> Result<()> {
        for (tenant, cached) in self.by_tenant.iter_mut().filter(|(_, cached)| cached.changed) {
            let Usage {
                message_bytes,
                kv_bytes,
                rooms,
            } = cached.usage;
            db.prepare_cached(
                "INSERT INTO usage (tenant_id, message_bytes, kv_bytes, rooms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET message_bytes = excluded.message_bytes, kv_bytes = excluded.kv_bytes,
                 rooms = excluded.rooms",
            )?
            .execute(params![
                tenant,
                message_bytes.cast_signed(),
                kv_bytes.cast_signed(),
                rooms.cast_signed()
            ])?;
            cached.changed = false;
        }
        if self.by_tenant.len() > MAX_CACHED_TENANTS {
            self.by_tenant.clear();
        }
        Ok(())
    }

    /// Forgets a tenant whose row is rolled back.
    pub(super) fn discard(&mut self, tenant: i64) {
        self.by_tenant.remove(&tenant);
    }

    /// Forgets everything, after a failed transaction.
    pub(super) fn clear(&mut self) {
        self.by_tenant.clear();
    }
}

/// The tenant's usage as of the last transaction.
pub(super) fn read(db: &Connection, tenant: i64) -> Result<Usage> {
    let usage = db
        .prepare_cached("SELECT message_bytes, kv_bytes, rooms FROM usage WHERE tenant_id = ?1")?
        .query_row([tenant], |row| {
            let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
            Ok(Usage {
                message_bytes: number(0)?,
                kv_bytes: number(1)?,
                rooms: number(2)?,
            })
        })
        .optional()?;
    Ok(usage.unwrap_or_default())
}
