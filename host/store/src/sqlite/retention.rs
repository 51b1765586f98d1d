//! Removes old messages, in small transactions of their own, so that batches run in between.
//!
//! Only merged messages are removed. Where those that are not merged have expired too, they are merged first.

use rusqlite::{Connection, OptionalExtension as _, Result, Transaction, TransactionBehavior, params};

use super::reader;
use super::recent::SharedRecent;
use super::writer::WriterThread;
use crate::quota::MESSAGE_OVERHEAD;
use crate::{Expired, RemovedMessages, RoomSpan};
use parlance_types::id::{RoomId, TenantId};

/// See [`Maintenance::rooms`](crate::Maintenance::rooms).
pub(super) fn rooms(
    db: &Connection,
    recent: &SharedRecent,
    tenant: &TenantId,
    after: Option<&RoomId>,
    limit: u32,
) -> Result<Vec<RoomSpan>> {
    let Some(row) = reader::tenant_row(db, tenant)? else {
        return Ok(Vec::new());
    };
    let mut select = db.prepare_cached(
        "SELECT id, name, removed_up_to FROM rooms WHERE tenant_id = ?1 AND name > ?2 ORDER BY name LIMIT ?3",
    )?;
    let mut rows = select.query(params![row, after.map_or("", RoomId::as_str), limit])?;
    let mut first_merged =
        db.prepare_cached("SELECT seq, sent_at FROM messages WHERE room_id = ?1 ORDER BY seq LIMIT 1")?;
    let mut spans = Vec::new();
    while let Some(row) = rows.next()? {
        let room = reader::room_id(row, 1)?;
        // First what is in memory: what is merged meanwhile is in the database afterwards.
        let recent_first = recent.read().first(tenant, &room);
        let merged = first_merged
            .query_row([row.get::<_, i64>(0)?], |row| {
                Ok((reader::unsigned(row, 0)?, row.get::<_, i64>(1)?.cast_unsigned()))
            })
            .optional()?;
        // A recent message that was changed is merged before those that are older.
        let first = merged.into_iter().chain(recent_first).min();
        let removed_up_to = reader::unsigned(row, 2)?;
        spans.push(RoomSpan {
            place: reader::place(db, recent, tenant, &room)?,
            first: first.map_or(removed_up_to + 1, |(seq, _)| seq),
            first_sent_at: first.map(|(_, sent_at)| sent_at),
            room,
        });
    }
    Ok(spans)
}

/// See [`Maintenance::remove_messages`](crate::Maintenance::remove_messages).
pub(super) fn remove(
    writer: &mut WriterThread,
    tenant: &TenantId,
    room: &RoomId,
    expired: Expired,
    limit: u32,
) -> Result<RemovedMessages> {
    let Some(tenant_row) = writer.rows.find_tenant(&writer.db, tenant)? else {
        return Ok(RemovedMessages::default());
    };
    let Some(room_row) = reader::room_row(&writer.db, tenant, room)? else {
        return Ok(RemovedMessages::default());
    };
    let recent_first = writer.recent.read().first(tenant, room);
    let found = expired_messages(&writer.db, room_row, expired, recent_first.map(|(seq, _)| seq), limit)?;
    let Found { last, ids, bytes, more } = found;
    let Some(last) = last else {
        // Those that are not merged may have expired as well.
        let expired_recent = recent_first.is_some_and(|(seq, sent_at)| expired.covers(seq, sent_at));
        if expired_recent {
            writer.merge_now()?;
        }
        return Ok(RemovedMessages {
            messages: 0,
            more: expired_recent,
        });
    };
    if delete_what_belongs_to(&writer.db, room_row, last, limit)? {
        return Ok(RemovedMessages {
            messages: 0,
            more: true,
        });
    }
    let removed = RemovedMessages {
        messages: ids.len() as u64,
        more: more || recent_first.is_some_and(|(seq, sent_at)| expired.covers(seq, sent_at)),
    };
    let usage = writer.usages.remove_message_bytes(&writer.db, tenant_row, bytes);
    let done = usage.and_then(|()| {
        let transaction = Transaction::new_unchecked(&writer.db, TransactionBehavior::Immediate)?;
        delete(&transaction, tenant_row, room_row, last, &ids)?;
        writer.usages.write(&transaction)?;
        transaction.commit()
    });
    if done.is_err() {
        // The caches may be ahead of the database now.
        writer.rows.clear();
        writer.usages.clear();
    }
    writer.text_removed();
    done.map(|()| removed)
}

/// Messages that are to be removed.
struct Found {
    /// The `seq` of the last one.
    last: Option<i64>,
    ids: Vec<Vec<u8>>,
    /// What they count for in the usage.
    bytes: u64,
    /// Whether more may follow.
    more: bool,
}

/// The oldest messages of a room that have expired, and are merged: those before `recent_first`.
fn expired_messages(
    db: &Connection,
    room: i64,
    expired: Expired,
    recent_first: Option<u64>,
    limit: u32,
) -> Result<Found> {
    let mut select = db.prepare_cached(
        "SELECT seq, sent_at, octet_length(content) + coalesce(octet_length(metadata), 0), id FROM messages
         WHERE room_id = ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = select.query(params![room, limit])?;
    let mut found = Found {
        last: None,
        ids: Vec::new(),
        bytes: 0,
        more: true,
    };
    while let Some(row) = rows.next()? {
        let (seq, sent_at) = (reader::unsigned(row, 0)?, row.get::<_, i64>(1)?.cast_unsigned());
        if !expired.covers(seq, sent_at) || recent_first.is_some_and(|recent| seq >= recent) {
            found.more = false;
            break;
        }
        found.last = Some(seq.cast_signed());
        found.bytes += row.get::<_, i64>(2)?.cast_unsigned() + MESSAGE_OVERHEAD;
        found.ids.push(row.get(3)?);
    }
    found.more &= found.ids.len() as u64 == u64::from(limit);
    Ok(found)
}

/// Deletes receipts and marks of a room's messages up to `last`, at most `limit` of each. Returns whether there may be
/// more.
fn delete_what_belongs_to(db: &Connection, room: i64, last: i64, limit: u32) -> Result<bool> {
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let mut more = false;
    for statement in [
        "DELETE FROM receipts WHERE (room_id, seq, user) IN
         (SELECT room_id, seq, user FROM receipts WHERE room_id = ?1 AND seq <= ?2 LIMIT ?3)",
        "DELETE FROM marks WHERE (room_id, seq, kind, value, user) IN
         (SELECT room_id, seq, kind, value, user FROM marks WHERE room_id = ?1 AND seq <= ?2 LIMIT ?3)",
    ] {
        let removed = transaction
            .prepare_cached(statement)?
            .execute(params![room, last, limit])?;
        more |= removed as u64 >= u64::from(limit);
    }
    transaction.commit()?;
    Ok(more)
}

/// Deletes a room's messages up to `last`, which have these ids and nothing that belongs to them.
fn delete(db: &Connection, tenant: i64, room: i64, last: i64, ids: &[Vec<u8>]) -> Result<()> {
    for statement in [
        "DELETE FROM messages WHERE room_id = ?1 AND seq <= ?2",
        "UPDATE rooms SET removed_up_to = max(removed_up_to, ?2) WHERE id = ?1",
    ] {
        db.prepare_cached(statement)?.execute([room, last])?;
    }
    let mut ids: Vec<&Vec<u8>> = ids.iter().collect();
    // In the order of the tree.
    ids.sort_unstable();
    let mut delete = db.prepare_cached("DELETE FROM message_ids WHERE tenant_id = ?1 AND id = ?2")?;
    for id in ids {
        delete.execute(params![tenant, id])?;
    }
    Ok(())
}
