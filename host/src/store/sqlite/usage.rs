//! What each tenant keeps, as the writer knows it: read once, counted in memory, written with each transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::super::quota::{message_bytes, over};
use super::super::{Rejected, StorageQuota, Usage, Write};

/// Tenants remembered before the memory starts afresh.
const MAX_TENANTS: usize = 65_536;

#[derive(Default)]
pub(super) struct Usages {
    known: HashMap<i64, Counted>,
}

#[derive(Clone, Copy)]
struct Counted {
    usage: Usage,
    changed: bool,
}

/// At most what a write set can add.
fn bound(writes: &[Arc<Write>]) -> Usage {
    let mut bound = Usage::default();
    for write in writes {
        match &**write {
            Write::Append(draft) => {
                bound.message_bytes += message_bytes(draft);
                bound.rooms += 1;
            }
            Write::KvSet { key, value, .. } => bound.kv_bytes += (key.key.len() + value.len()) as u64,
            // A number of 64 bits has at most 20 characters.
            Write::KvIncrement { key, .. } => bound.kv_bytes += key.key.len() as u64 + 20,
            Write::MarkRead { .. } | Write::KvDelete { .. } => {}
        }
    }
    bound
}

impl Usages {
    fn counted(&mut self, db: &Connection, tenant: i64) -> Result<&mut Counted> {
        match self.known.entry(tenant) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => Ok(unknown.insert(Counted {
                usage: read(db, tenant)?,
                changed: false,
            })),
        }
    }

    pub(super) fn of(&mut self, db: &Connection, tenant: i64) -> Result<Usage> {
        Ok(self.counted(db, tenant)?.usage)
    }

    /// Whether some write of the write set may meet the quota, so that the write set may have to be taken back.
    pub(super) fn is_tight(
        &mut self,
        db: &Connection,
        tenant: i64,
        writes: &[Arc<Write>],
        quota: StorageQuota,
    ) -> Result<bool> {
        Ok(over(self.of(db, tenant)?, bound(writes), quota).is_some())
    }

    /// Counts what a write adds, if there is room for it.
    pub(super) fn add(
        &mut self,
        db: &Connection,
        tenant: i64,
        more: Usage,
        quota: StorageQuota,
    ) -> Result<std::result::Result<(), Rejected>> {
        let counted = self.counted(db, tenant)?;
        if let Some(kept) = over(counted.usage, more, quota) {
            return Ok(Err(Rejected::QuotaExceeded(kept)));
        }
        let usage = &mut counted.usage;
        usage.message_bytes += more.message_bytes;
        usage.kv_bytes += more.kv_bytes;
        usage.rooms += more.rooms;
        counted.changed = true;
        Ok(Ok(()))
    }

    /// Counts what is there no more.
    pub(super) fn remove_kv(&mut self, db: &Connection, tenant: i64, bytes: u64) -> Result<()> {
        let counted = self.counted(db, tenant)?;
        counted.usage.kv_bytes = counted.usage.kv_bytes.saturating_sub(bytes);
        counted.changed = true;
        Ok(())
    }

    /// As it was before a write set that was taken back.
    pub(super) fn restore(&mut self, tenant: i64, usage: Usage) {
        if let Some(counted) = self.known.get_mut(&tenant) {
            counted.usage = usage;
        }
    }

    /// Writes what has changed; for the end of a transaction.
    pub(super) fn write(&mut self, db: &Connection) -> Result<()> {
        for (tenant, counted) in self.known.iter_mut().filter(|(_, counted)| counted.changed) {
            let Usage {
                message_bytes,
                kv_bytes,
                rooms,
            } = counted.usage;
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
            counted.changed = false;
        }
        if self.known.len() > MAX_TENANTS {
            self.known.clear();
        }
        Ok(())
    }

    /// Forgets what no transaction has written yet, for a tenant that was never there.
    pub(super) fn forget_new(&mut self, tenant: i64) {
        self.known.remove(&tenant);
    }

    /// Forgets everything: a transaction failed.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

/// As of the last transaction.
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
