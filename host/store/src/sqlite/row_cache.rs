//! The writer's cache of row numbers and of each room's last `seq`, so that an append costs one insert and no look-up.
//!
//! The cache may run ahead of what is committed. So the writer clears it when a transaction fails, and forgets one
//! tenant when a write set of that tenant is rolled back: a tenant whose write sets are rejected all day slows no other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{Connection, OptionalExtension as _, Result, params};

use parlance_types::id::{RoomId, TenantId};

/// The most rooms of all tenants in the cache, about 150 bytes each. One more empties it.
const MAX_CACHED_ROOMS: usize = 65_536;

/// A room's row number, its tenant's, and how far it has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomRow {
    pub(super) tenant: i64,
    pub(super) row: i64,
    /// The `seq` of its last message; 0 for none.
    pub(super) last_seq: i64,
    /// The `rev` of its last change; 0 for none.
    pub(super) last_rev: i64,
}

struct TenantRows {
    row: i64,
    rooms: HashMap<RoomId, RoomRow>,
}

impl TenantRows {
    fn new(row: i64) -> Self {
        Self {
            row,
            rooms: HashMap::new(),
        }
    }
}

#[derive(Default)]
pub(super) struct RowCache {
    tenants: HashMap<TenantId, TenantRows>,
    /// Rooms of all tenants.
    rooms: usize,
}

impl RowCache {
    /// The room's row, created if there is none, like that of its tenant. The caller advances it. `recent` gives
    /// the `seq` of the room's last message if that one is not merged.
    pub(super) fn room(
        &mut self,
        db: &Connection,
        tenant: &TenantId,
        room: &RoomId,
        recent: impl FnOnce() -> Option<u64>,
    ) -> Result<&mut RoomRow> {
        let cached = self
            .tenants
            .get(tenant)
            .is_some_and(|cached| cached.rooms.contains_key(room));
        if !cached && self.rooms >= MAX_CACHED_ROOMS {
            self.clear();
        }
        let row = self.ensure_tenant(db, tenant)?;
        let cached = self
            .tenants
            .entry(tenant.clone())
            .or_insert_with(|| TenantRows::new(row));
        match cached.rooms.entry(room.clone()) {
            Entry::Occupied(room) => Ok(room.into_mut()),
            Entry::Vacant(vacant) => {
                let room = load_room(db, row, room, recent())?;
                self.rooms += 1;
                Ok(vacant.insert(room))
            }
        }
    }

    /// The tenant's row, created if there is none.
    pub(super) fn ensure_tenant(&mut self, db: &Connection, tenant: &TenantId) -> Result<i64> {
        if let Some(row) = self.find_tenant(db, tenant)? {
            return Ok(row);
        }
        let row = db
            .prepare_cached("INSERT INTO tenants (name) VALUES (?1) RETURNING id")?
            .query_row([tenant.as_str()], |row| row.get(0))?;
        self.tenants.insert(tenant.clone(), TenantRows::new(row));
        Ok(row)
    }

    /// The tenant's row, if there is one. For writes that may be rejected, which must not create it.
    pub(super) fn find_tenant(&mut self, db: &Connection, tenant: &TenantId) -> Result<Option<i64>> {
        if let Some(cached) = self.tenants.get(tenant) {
            return Ok(Some(cached.row));
        }
        let row = db
            .prepare_cached("SELECT id FROM tenants WHERE name = ?1")?
            .query_row([tenant.as_str()], |row| row.get(0))
            .optional()?;
        if let Some(row) = row {
            self.tenants.insert(tenant.clone(), TenantRows::new(row));
        }
        Ok(row)
    }

    /// Forgets everything, after a failed transaction.
    pub(super) fn clear(&mut self) {
        self.tenants.clear();
        self.rooms = 0;
    }

    /// Forgets one tenant, after one of its write sets was rolled back.
    pub(super) fn forget_tenant(&mut self, tenant: &TenantId) {
        if let Some(tenant) = self.tenants.remove(tenant) {
            self.rooms = self.rooms.saturating_sub(tenant.rooms.len());
        }
    }
}

fn load_room(db: &Connection, tenant: i64, name: &RoomId, recent: Option<u64>) -> Result<RoomRow> {
    let stored: Option<(i64, i64, i64)> = db
        .prepare_cached("SELECT id, last_rev, removed_up_to FROM rooms WHERE tenant_id = ?1 AND name = ?2")?
        .query_row(params![tenant, name.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((row, last_rev, removed_up_to)) = stored else {
        let row = db
            .prepare_cached("INSERT INTO rooms (tenant_id, name) VALUES (?1, ?2) RETURNING id")?
            .query_row(params![tenant, name.as_str()], |row| row.get(0))?;
        return Ok(RoomRow {
            tenant,
            row,
            last_seq: 0,
            last_rev: 0,
        });
    };
    let last_seq = match recent {
        Some(last) => last.cast_signed(),
        None => db
            .prepare_cached("SELECT coalesce(max(seq), ?2) FROM messages WHERE room_id = ?1")?
            .query_row([row, removed_up_to], |row| row.get(0))?,
    };
    Ok(RoomRow {
        tenant,
        row,
        last_seq,
        last_rev,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_counts_what_it_forgets() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../migrations/sqlite/V1__messages.sql"))
            .unwrap();
        for column in ["last_rev", "removed_up_to"] {
            db.execute_batch(&format!(
                "ALTER TABLE rooms ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0"
            ))
            .unwrap();
        }
        let tenant = |name| TenantId::for_tests(name).unwrap();
        let mut rows = RowCache::default();
        for n in 0..MAX_CACHED_ROOMS {
            let of = if n == 0 { tenant("small") } else { tenant("large") };
            rows.room(&db, &of, &RoomId::new(&format!("r{n}")).unwrap(), || None)
                .unwrap();
        }
        assert_eq!(rows.rooms, MAX_CACHED_ROOMS);
        rows.forget_tenant(&tenant("small"));
        assert_eq!(rows.rooms, MAX_CACHED_ROOMS - 1);
        for n in 0..2 {
            rows.room(&db, &tenant("small"), &RoomId::new(&format!("r{n}")).unwrap(), || None)
                .unwrap();
        }
        assert_eq!(rows.rooms, 1, "one room too many empties the cache first");
        assert!(rows.tenants.values().all(|tenant| tenant.rooms.len() == 1));
    }
}
