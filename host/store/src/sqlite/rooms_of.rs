//! Lists a tenant's rooms.

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Result, params};

use super::reader;
use super::recent::SharedRecent;
use crate::RoomList;
use parlance_types::id::{RoomId, TenantId};

/// See [`Maintenance::rooms_of`](crate::Maintenance::rooms_of).
pub(super) fn rooms_of(
    db: &Connection,
    recent: &SharedRecent,
    tenant: &TenantId,
    after: Option<&RoomId>,
    limit: u32,
) -> Result<RoomList> {
    let Some(row) = reader::tenant_row(db, tenant)? else {
        return Ok(RoomList::default());
    };
    // No room has an empty id.
    let after = after.map_or("", RoomId::as_str);
    let rooms = db
        .prepare_cached("SELECT name FROM rooms WHERE tenant_id = ?1 AND name > ?2 ORDER BY name LIMIT ?3")?
        // One more than the limit tells whether there are more.
        .query_map(params![row, after, i64::from(limit).saturating_add(1)], |row| {
            Ok(RoomId::new(row.get_ref(0)?.as_str()?).map_err(|e| FromSqlError::Other(Box::new(e)))?)
        })?
        .collect::<Result<Vec<RoomId>>>()?;
    let place = |room: RoomId| {
        let place = reader::place(db, recent, tenant, &room)?;
        Ok((room, place))
    };
    let found = rooms.into_iter().map(place).collect::<Result<Vec<_>>>()?;
    Ok(RoomList::of(found, limit))
}
