//! Reads, one statement each, on any connection. They wait for no writer.

use std::collections::HashMap;

use super::batch::{USAGE, usage_sum};
use super::batch_state::live;
use super::decode::{self, by_ordinal_mut, get, message_columns, with_marks};
use super::error::PostgresError;
use super::pool::ConnectionPool;
use crate::read_set::{PageBuilder, rows_of_page};
use crate::{ChangeRange, Changes, End, KvKey, KvPage, KvRange, Message, Page, Place, Range, Usage};
use parlance_types::id::{MessageId, RoomId, TenantId};

const TENANTS: &str = "SELECT name, id FROM tenants WHERE name = ANY ($1::text[])";
const CREATE_TENANTS: &str = "INSERT INTO tenants (name)
    SELECT w.name FROM unnest($1::text[]) WITH ORDINALITY AS w (name, n) ORDER BY w.n ON CONFLICT DO NOTHING";
const MESSAGE: &str = concat!(
    "SELECT ",
    message_columns!(),
    ", r.name FROM messages m JOIN rooms r ON r.id = m.room_id",
    with_marks!(),
    "WHERE m.tenant_id = (SELECT id FROM tenants WHERE name = $1) AND m.id = $2"
);
macro_rules! history {
    () => {
        concat!(
            "SELECT ",
            message_columns!(),
            " FROM messages m",
            with_marks!(),
            "WHERE m.room_id = (SELECT id FROM rooms
                     WHERE tenant_id = (SELECT id FROM tenants WHERE name = $1) AND name = $2)"
        )
    };
}
const HISTORY_BACKWARDS: &str = concat!(
    history!(),
    " AND m.seq > $3 AND m.seq < $4 ORDER BY m.seq DESC LIMIT $5"
);
const HISTORY_FORWARDS: &str = concat!(history!(), " AND m.seq > $3 AND m.seq < $4 ORDER BY m.seq LIMIT $5");
/// `OFFSET 0` as in [`PLACES`].
const CHANGES: &str = concat!(
    "SELECT ",
    message_columns!(),
    ", c.n = $5 FROM (SELECT room_id, seq, rev, row_number() OVER (ORDER BY rev) AS n FROM messages
             WHERE room_id = (SELECT id FROM rooms
                     WHERE tenant_id = (SELECT id FROM tenants WHERE name = $1) AND name = $2)
             AND rev > $3 ORDER BY rev LIMIT $5) c
     JOIN LATERAL (SELECT * FROM messages WHERE room_id = c.room_id AND seq = c.seq OFFSET 0) m ON true",
    with_marks!(),
    "WHERE c.seq <= $4 OR c.n = $5 ORDER BY c.rev LIMIT $6"
);
/// `OFFSET 0` has each row looked up by its whole key, also by a plan that was made while the table was empty.
const PLACES: &str = "SELECT w.n, r.last_seq, r.last_rev
    FROM unnest($2::text[]) WITH ORDINALITY AS w (name, n)
    JOIN LATERAL (SELECT last_seq, last_rev FROM rooms
                  WHERE tenant_id = (SELECT id FROM tenants WHERE name = $1) AND name = w.name OFFSET 0) r ON true";
/// `OFFSET 0` as in [`PLACES`].
const KEYS: &str = "SELECT w.n, k.value, k.expires_at
    FROM unnest($2::text[], $3::bytea[]) WITH ORDINALITY AS w (handler, key, n)
    JOIN LATERAL (SELECT value, expires_at FROM kv
                  WHERE tenant_id = (SELECT id FROM tenants WHERE name = $1) AND handler = w.handler AND key = w.key
                  OFFSET 0) k ON true";
/// Each key of a part of the range, and its value if it is live and belongs to the page: $6 keys of it, and none once their
/// values have $7 bytes.
const SCAN: &str = "SELECT key, CASE WHEN live AND n <= $6 AND before < $7 THEN value END, live
    FROM (SELECT key, value, live, count(*) FILTER (WHERE live) OVER so_far AS n,
                 coalesce(sum(octet_length(value)) FILTER (WHERE live) OVER so_far, 0)
                 - CASE WHEN live THEN octet_length(value) ELSE 0 END AS before
          FROM (SELECT key, value, (expires_at IS NULL OR expires_at > $5 OR expires_at < 0) AS live FROM kv
                WHERE tenant_id = (SELECT id FROM tenants WHERE name = $1) AND handler = $2 AND key >= $3 AND key < $4
                ORDER BY key LIMIT $8) part
          WINDOW so_far AS (ORDER BY key)) sums
    ORDER BY key";
/// Above every key: no text in UTF-8 has this byte.
pub(super) const AFTER_ALL: &[u8] = &[0xff];

/// The row ids of those tenants that have a row, by name.
pub(super) async fn tenant_ids(pool: &ConnectionPool, names: &[&str]) -> Result<HashMap<String, i64>, PostgresError> {
    let rows = pool.query(TENANTS, &[&names]).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

/// Creates a row for each tenant that has none.
pub(super) async fn create_tenants(pool: &ConnectionPool, names: &[&str]) -> Result<(), PostgresError> {
    pool.query(CREATE_TENANTS, &[&names]).await.map(drop)
}

pub(super) async fn message(
    pool: &ConnectionPool,
    tenant: &TenantId,
    id: MessageId,
) -> Result<Option<Message>, PostgresError> {
    let id = id.to_bytes();
    let rows = pool.query(MESSAGE, &[&tenant.as_str(), &&id[..]]).await?;
    let message = |row| {
        let room = RoomId::new(get(row, 15)?).map_err(|error| PostgresError::Corrupt(error.into()))?;
        decode::message(row, room)
    };
    rows.first().map(message).transpose()
}

pub(super) async fn history(
    pool: &ConnectionPool,
    tenant: &TenantId,
    room: &RoomId,
    range: Range,
) -> Result<Page, PostgresError> {
    // The column holds every `seq`, so clamping the bounds changes no answer.
    let clamp = |bound: u64| i64::try_from(bound).unwrap_or(i64::MAX);
    let (after, before) = (clamp(range.after), range.before.map_or(i64::MAX, clamp));
    // One message more than the limit tells whether the page is complete.
    let limit = i64::from(range.limit).saturating_add(1);
    let sql = match range.from {
        End::Newest => HISTORY_BACKWARDS,
        End::Oldest => HISTORY_FORWARDS,
    };
    let rows = pool
        .query(sql, &[&tenant.as_str(), &room.as_str(), &after, &before, &limit])
        .await?;
    let mut messages = rows
        .iter()
        .map(|row| decode::message(row, room.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    if range.from == End::Newest {
        messages.reverse();
    }
    let found = Page {
        messages,
        complete: true,
    };
    Ok(found.truncate(range.from, usize::try_from(range.limit).unwrap_or(usize::MAX)))
}

pub(super) async fn changes(
    pool: &ConnectionPool,
    tenant: &TenantId,
    room: &RoomId,
    range: ChangeRange,
) -> Result<Changes, PostgresError> {
    let clamp = |bound: u64| i64::try_from(bound).unwrap_or(i64::MAX);
    let (after, up_to) = (clamp(range.after), clamp(range.up_to_seq));
    // One more than the limit tells whether there are more.
    let limit = i64::from(range.limit).saturating_add(1);
    let most = i64::from(range.most_looked_at());
    let rows = pool
        .query(
            CHANGES,
            &[&tenant.as_str(), &room.as_str(), &after, &up_to, &most, &limit],
        )
        .await?;
    let mut found = Changes {
        messages: Vec::with_capacity(rows.len()),
        complete: true,
    };
    for row in &rows {
        found.complete &= !get::<bool>(row, 15)?;
        found.messages.push(decode::message(row, room.clone())?);
    }
    Ok(found.truncate(usize::try_from(range.limit).unwrap_or(usize::MAX)))
}

pub(super) async fn places(
    pool: &ConnectionPool,
    tenant: &TenantId,
    rooms: &[RoomId],
) -> Result<Vec<Place>, PostgresError> {
    let names: Vec<&str> = rooms.iter().map(RoomId::as_str).collect();
    let mut places = vec![Place::default(); rooms.len()];
    for row in pool.query(PLACES, &[&tenant.as_str(), &names]).await? {
        *by_ordinal_mut(&mut places, &row)? = Place {
            seq: get::<i64>(&row, 1)?.cast_unsigned(),
            rev: get::<i64>(&row, 2)?.cast_unsigned(),
        };
    }
    Ok(places)
}

pub(super) async fn usage(pool: &ConnectionPool, tenant: i64) -> Result<Usage, PostgresError> {
    let rows = pool.query(USAGE, &[&vec![tenant]]).await?;
    let Some(row) = rows.first() else {
        return Ok(Usage::default());
    };
    Ok(Usage {
        message_bytes: usage_sum(row, 1)?,
        kv_bytes: usage_sum(row, 2)?,
        rooms: usage_sum(row, 3)?,
    })
}

pub(super) async fn kv_get_many(
    pool: &ConnectionPool,
    tenant: &TenantId,
    keys: &[KvKey],
    now: u64,
) -> Result<Vec<Option<Vec<u8>>>, PostgresError> {
    let handlers: Vec<&str> = keys.iter().map(|key| &*key.handler).collect();
    let names: Vec<&[u8]> = keys.iter().map(|key| key.key.as_bytes()).collect();
    let mut values = vec![None; keys.len()];
    for row in pool.query(KEYS, &[&tenant.as_str(), &handlers, &names]).await? {
        let value = by_ordinal_mut(&mut values, &row)?;
        if live(get(&row, 2)?, now) {
            *value = Some(get(&row, 1)?);
        }
    }
    Ok(values)
}

pub(super) async fn kv_scan(
    pool: &ConnectionPool,
    tenant: &TenantId,
    range: &KvRange,
    limit: u32,
    bytes: u64,
    now: u64,
) -> Result<KvPage, PostgresError> {
    let until = range.until.as_ref().map_or(AFTER_ALL, String::as_bytes);
    let clamp = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    // One more than the page looks at, which tells whether there is one.
    let rows = i64::from(rows_of_page(limit)).saturating_add(1);
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
        &tenant.as_str(),
        &&*range.handler,
        &range.from.as_bytes(),
        &until,
        &clamp(now),
        &i64::from(limit),
        &clamp(bytes),
        &rows,
    ];
    let mut page = PageBuilder::of(limit, bytes);
    for row in &pool.query(SCAN, &parameters).await? {
        let key = std::str::from_utf8(get(row, 0)?).map_err(|error| PostgresError::Corrupt(error.into()))?;
        // The value of a live key beyond the page is not loaded; the builder does not take it either.
        let value: Option<&[u8]> = get(row, 1)?;
        let value = if get(row, 2)? {
            Some(value.unwrap_or_default())
        } else {
            None
        };
        if !page.add(key, value) {
            break;
        }
    }
    Ok(page.done())
}
