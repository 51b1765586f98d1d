//! Where the writer's tenants and rooms are: their row numbers and each room's last `seq`, kept in memory so that an
//! append costs one insert and no look-up.
//!
//! What is remembered may run ahead of what is committed. Hence the two ways to forget: everything when a
//! transaction failed, one tenant when a write set of that tenant was rolled back, so that a tenant whose write sets are
//! refused all day slows nobody else.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Result, params};

use crate::id::{RoomId, TenantId};

/// Rooms remembered over all tenants before the memory starts afresh; one takes about 150 bytes.
const MAX_CACHED_ROOMS: usize = 65_536;

/// A room's row and the `seq` of its last message, 0 for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomRow {
    pub(super) tenant: i64,
    pub(super) room: i64,
    pub(super) last_seq: i64,
}

struct TenantRows {
    row: i64,
    rooms: HashMap<RoomId, RoomRow>,
}

#[derive(Default)]
pub(super) struct RowCache {
    tenants: HashMap<TenantId, TenantRows>,
    rooms: usize,
}

impl RowCache {
    /// The room's place, to be advanced by the caller. A room or tenant that is new gets its row.
    pub(super) fn room(&mut self, db: &Connection, tenant: &TenantId, room: &RoomId) -> Result<&mut RoomRow> {
        let known = self
            .tenants
            .get(tenant)
            .is_some_and(|known| known.rooms.contains_key(room));
        if !known && self.rooms >= MAX_CACHED_ROOMS {
            self.clear();
        }
        let row = self.ensure_tenant(db, tenant)?;
        let rooms = &mut self
            .tenants
            .entry(tenant.clone())
            .or_insert_with(|| TenantRows {
                row,
                rooms: HashMap::new(),
            })
            .rooms;
        match rooms.entry(room.clone()) {
            std::collections::hash_map::Entry::Occupied(place) => Ok(place.into_mut()),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let place = load_room(db, row, room)?;
                self.rooms += 1;
                Ok(vacant.insert(place))
            }
        }
    }

    /// The tenant's row, made when it is new.
    pub(super) fn ensure_tenant(&mut self, db: &Connection, tenant: &TenantId) -> Result<i64> {
        if let Some(row) = self.find_tenant(db, tenant)? {
            return Ok(row);
        }
        let row = db
            .prepare_cached("INSERT INTO tenants (name) VALUES (?1) RETURNING id")?
            .query_row([tenant.as_str()], |row| row.get(0))?;
        self.tenants.insert(
            tenant.clone(),
            TenantRows {
                row,
                rooms: HashMap::new(),
            },
        );
        Ok(row)
    }

    /// The tenant's row if it has one, for writes that must not make it: those that may be refused.
    pub(super) fn find_tenant(&mut self, db: &Connection, tenant: &TenantId) -> Result<Option<i64>> {
        if let Some(known) = self.tenants.get(tenant) {
            return Ok(Some(known.row));
        }
        let row = db
            .prepare_cached("SELECT id FROM tenants WHERE name = ?1")?
            .query_row([tenant.as_str()], |row| row.get(0))
            .optional()?;
        if let Some(row) = row {
            self.tenants.insert(
                tenant.clone(),
                TenantRows {
                    row,
                    rooms: HashMap::new(),
                },
            );
        }
        Ok(row)
    }

    /// Forgets everything: a transaction failed.
    pub(super) fn clear(&mut self) {
        self.tenants.clear();
        self.rooms = 0;
    }

    /// Forgets one tenant: a write set of it was rolled back.
    pub(super) fn forget_tenant(&mut self, tenant: &TenantId) {
        if let Some(tenant) = self.tenants.remove(tenant) {
            self.rooms = self.rooms.saturating_sub(tenant.rooms.len());
        }
    }
}

fn load_room(db: &Connection, tenant: i64, name: &RoomId) -> Result<RoomRow> {
    let room: Option<i64> = db
        .prepare_cached("SELECT id FROM rooms WHERE tenant_id = ?1 AND name = ?2")?
        .query_row(params![tenant, name.as_str()], |row| row.get(0))
        .optional()?;
    let Some(room) = room else {
        let room = db
            .prepare_cached("INSERT INTO rooms (tenant_id, name) VALUES (?1, ?2) RETURNING id")?
            .query_row(params![tenant, name.as_str()], |row| row.get(0))?;
        return Ok(RoomRow {
            tenant,
            room,
            last_seq: 0,
        });
    };
    let last_seq = db
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM messages WHERE room_id = ?1")?
        .query_row([room], |row| row.get(0))?;
    Ok(RoomRow { tenant, room, last_seq })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_counts_what_it_forgets() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../migrations/sqlite/V1__messages.sql"))
            .unwrap();
        let tenant = |name| TenantId::for_tests(name).unwrap();
        let mut rows = RowCache::default();
        for n in 0..MAX_CACHED_ROOMS {
            let of = if n == 0 { tenant("small") } else { tenant("large") };
            rows.room(&db, &of, &RoomId::new(&format!("r{n}")).unwrap()).unwrap();
        }
        assert_eq!(rows.rooms, MAX_CACHED_ROOMS);
        rows.forget_tenant(&tenant("small"));
        assert_eq!(rows.rooms, MAX_CACHED_ROOMS - 1);
        for n in 0..2 {
            rows.room(&db, &tenant("small"), &RoomId::new(&format!("r{n}")).unwrap())
                .unwrap();
        }
        assert_eq!(rows.rooms, 1, "one too many, so all were forgotten but the last");
        assert!(rows.tenants.values().all(|tenant| tenant.rooms.len() == 1));
    }
}
