//! Lists a tenant's rooms.

use super::decode::get;
use super::error::PostgresError;
use super::pool::ConnectionPool;
use crate::{Place, RoomList};
use parlance_types::id::{RoomId, TenantId};

/// The column compares byte by byte.
const ROOMS: &str = "SELECT name, last_seq, last_rev FROM rooms
    WHERE tenant_id = (SELECT id FROM tenants WHERE name = $1) AND name > $2 ORDER BY name LIMIT $3";

/// See [`Maintenance::rooms_of`](crate::Maintenance::rooms_of).
pub(super) async fn rooms_of(
    pool: &ConnectionPool,
    tenant: &TenantId,
    after: Option<&RoomId>,
    limit: u32,
) -> Result<RoomList, PostgresError> {
    // No room has an empty id.
    let after = after.map_or("", RoomId::as_str);
    // One more than the limit tells whether there are more.
    let rows = i64::from(limit).saturating_add(1);
    let rows = pool.query(ROOMS, &[&tenant.as_str(), &after, &rows]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let room = RoomId::new(get(row, 0)?).map_err(|error| PostgresError::Corrupt(error.into()))?;
        let place = Place {
            seq: get::<i64>(row, 1)?.cast_unsigned(),
            rev: get::<i64>(row, 2)?.cast_unsigned(),
        };
        found.push((room, place));
    }
    Ok(RoomList::of(found, limit))
}
