//! Removes old messages, in small transactions that hold the lock of one room each.

use super::decode::{get, largest_count};
use super::error::PostgresError;
use super::pool::{Connection, ConnectionPool, Statement};
use super::transaction::{AttemptError, Transaction, TransactionId, begin, commit};
use super::write::ADD_USAGE;
use crate::{Expired, Place, RemovedMessages, RoomSpan};
use parlance_types::id::RoomId;

const ROOMS: &str = "SELECT r.name, r.last_seq, r.last_rev, m.seq, m.sent_at
    FROM (SELECT id, name, last_seq, last_rev FROM rooms
          WHERE tenant_id = $1 AND name > $2 AND last_seq > 0 ORDER BY name LIMIT $3) r
    LEFT JOIN LATERAL (SELECT seq, sent_at FROM messages WHERE room_id = r.id ORDER BY seq LIMIT 1) m ON true
    ORDER BY r.name";
/// Locks the room as a batch does.
const LOCK_ROOM: &str = "SELECT id FROM rooms WHERE tenant_id = $1 AND name = $2 FOR UPDATE";
const OLDEST: &str = "SELECT seq, sent_at, (128 + octet_length(content) + coalesce(octet_length(metadata), 0))::bigint
    FROM messages WHERE room_id = $1 ORDER BY seq LIMIT $2";
/// Returns how many it has chosen. By their places, since a plan that was made while the table was small would compare the
/// chosen ones with all of the room.
const REMOVE_RECEIPTS: &str = "WITH chosen AS MATERIALIZED (
      SELECT ctid FROM receipts WHERE room_id = $1 AND seq <= $2 ORDER BY seq, reader LIMIT $3),
    gone AS (DELETE FROM receipts WHERE ctid = ANY (ARRAY(SELECT ctid FROM chosen)))
    SELECT count(*) FROM chosen";
/// As [`REMOVE_RECEIPTS`].
const REMOVE_MARKS: &str = "WITH chosen AS MATERIALIZED (
      SELECT ctid FROM marks WHERE room_id = $1 AND seq <= $2 ORDER BY seq, kind, value, marked_by LIMIT $3),
    gone AS (DELETE FROM marks WHERE ctid = ANY (ARRAY(SELECT ctid FROM chosen)))
    SELECT count(*) FROM chosen";
const REMOVE_MESSAGES: &str = "DELETE FROM messages WHERE room_id = $1 AND seq <= $2";

/// See [`Maintenance::rooms`](crate::Maintenance::rooms).
pub(super) async fn rooms(
    pool: &ConnectionPool,
    tenant: i64,
    after: Option<&RoomId>,
    limit: u32,
) -> Result<Vec<RoomSpan>, PostgresError> {
    let after = after.map_or("", RoomId::as_str);
    let rows = pool.query(ROOMS, &[&tenant, &after, &i64::from(limit)]).await?;
    let span = |row| {
        let number = |column| Ok::<_, PostgresError>(get::<i64>(row, column)?.cast_unsigned());
        let first: Option<i64> = get(row, 3)?;
        let place = Place {
            seq: number(1)?,
            rev: number(2)?,
        };
        Ok(RoomSpan {
            room: RoomId::new(get(row, 0)?).map_err(|error| PostgresError::Corrupt(error.into()))?,
            first: first.map_or(place.seq + 1, i64::cast_unsigned),
            first_sent_at: get::<Option<i64>>(row, 4)?.map(i64::cast_unsigned),
            place,
        })
    };
    rows.iter().map(span).collect()
}

/// One step of the removal of a room's messages.
pub(super) struct RemovalStep {
    pub(super) tenant: i64,
    pub(super) usage_shard: i16,
    pub(super) room: RoomId,
    pub(super) expired: Expired,
    pub(super) limit: u32,
}

#[async_trait::async_trait]
impl Transaction for RemovalStep {
    type Output = RemovedMessages;

    async fn run(
        &mut self,
        connection: &Connection,
        id: &TransactionId,
    ) -> Result<RemovedMessages, AttemptError<RemovedMessages>> {
        let id = id.bytes();
        let name = self.room.as_str();
        let mut statements = begin(&id);
        statements.push(Statement::Prepared(LOCK_ROOM, vec![&self.tenant, &name]));
        let rooms = connection.pipeline(statements).await?.pop().unwrap_or_default();
        let room: i64 = match rooms.first() {
            Some(row) => get(row, 0)?,
            None => {
                connection.pipeline(vec![Statement::Simple("ROLLBACK")]).await?;
                return Ok(RemovedMessages::default());
            }
        };
        let limit = i64::from(self.limit);
        let oldest = connection
            .pipeline(vec![Statement::Prepared(OLDEST, vec![&room, &limit])])
            .await?
            .pop()
            .unwrap_or_default();
        let (mut last, mut bytes, mut removed) = (0_i64, 0_i64, RemovedMessages::default());
        for row in &oldest {
            let (seq, sent_at): (i64, i64) = (get(row, 0)?, get(row, 1)?);
            if !self.expired.covers(seq.cast_unsigned(), sent_at.cast_unsigned()) {
                break;
            }
            last = seq;
            bytes += get::<i64>(row, 2)?;
            removed.messages += 1;
        }
        if removed.messages == 0 {
            connection.pipeline(vec![Statement::Simple("ROLLBACK")]).await?;
            return Ok(removed);
        }
        removed.more = removed.messages == u64::from(self.limit);
        let (tenants, none) = (vec![self.tenant], vec![0_i64]);
        let message_bytes = vec![-bytes];
        let belonging = connection
            .pipeline(vec![
                Statement::Prepared(REMOVE_RECEIPTS, vec![&room, &last, &limit]),
                Statement::Prepared(REMOVE_MARKS, vec![&room, &last, &limit]),
            ])
            .await?;
        let mut statements = Vec::new();
        if largest_count(&belonging)? >= limit {
            removed = RemovedMessages {
                messages: 0,
                more: true,
            };
        } else {
            statements.push(Statement::Prepared(REMOVE_MESSAGES, vec![&room, &last]));
            statements.push(Statement::Prepared(
                ADD_USAGE,
                vec![&tenants, &self.usage_shard, &message_bytes, &none, &none],
            ));
        }
        commit(connection, statements, removed).await
    }
}
