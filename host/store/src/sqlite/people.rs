//! Lists and imports what a tenant stores, and forgets users.

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Result, Transaction, TransactionBehavior, params};

use super::reader;
use super::writer::WriterThread;
use crate::quota::message_bytes;
use crate::{Imported, KvKey, Message, Place, SeqSpan, StorageQuota, StoredKey, StoredMark, StoredReceipt, Usage};
use parlance_types::id::{RoomId, TenantId, UserId};

/// A number as SQLite has it. Its integers hold every `seq`.
fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// See [`Maintenance::marks`](crate::Maintenance::marks).
pub(super) fn marks(
    db: &Connection,
    tenant: &TenantId,
    room: &RoomId,
    span: SeqSpan,
    user: Option<&UserId>,
    after: Option<&StoredMark>,
    limit: u32,
) -> Result<Vec<StoredMark>> {
    let Some(row) = reader::room_row(db, tenant, room)? else {
        return Ok(Vec::new());
    };
    let mut select = db.prepare_cached(
        "SELECT seq, kind, value, user, marked_at FROM marks
         WHERE room_id = ?1 AND (seq, kind, value, user) > (?2, ?3, ?4, ?5) AND seq <= ?6
         AND (?7 IS NULL OR user = ?7) ORDER BY seq, kind, value, user LIMIT ?8",
    )?;
    // No mark has the `seq` of the span's beginning, but for one with empty names that sorts before all.
    let (seq, kind, value, last) = after.map_or((span.after.saturating_add(1), "", "", ""), |mark| {
        (mark.seq, mark.kind.as_str(), mark.value.as_str(), mark.user.as_str())
    });
    let parameters = params![
        row,
        clamp(seq),
        kind,
        value,
        last,
        clamp(span.up_to),
        user.map(UserId::as_str),
        limit
    ];
    let mark = |row: &rusqlite::Row<'_>| {
        Ok(StoredMark {
            seq: reader::unsigned(row, 0)?,
            kind: row.get(1)?,
            value: row.get(2)?,
            user: reader::user_id(row, 3)?,
            at: row.get::<_, i64>(4)?.cast_unsigned(),
        })
    };
    select.query_map(parameters, mark)?.collect()
}

/// See [`Maintenance::receipts`](crate::Maintenance::receipts).
pub(super) fn receipts(
    db: &Connection,
    tenant: &TenantId,
    room: &RoomId,
    span: SeqSpan,
    user: Option<&UserId>,
    after: Option<&StoredReceipt>,
    limit: u32,
) -> Result<Vec<StoredReceipt>> {
    let Some(row) = reader::room_row(db, tenant, room)? else {
        return Ok(Vec::new());
    };
    let mut select = db.prepare_cached(
        "SELECT seq, user, read_at FROM receipts WHERE room_id = ?1 AND (seq, user) > (?2, ?3) AND seq <= ?4
         AND (?5 IS NULL OR user = ?5) ORDER BY seq, user LIMIT ?6",
    )?;
    let (seq, last) = after.map_or((span.after.saturating_add(1), ""), |receipt| {
        (receipt.seq, receipt.user.as_str())
    });
    let parameters = params![
        row,
        clamp(seq),
        last,
        clamp(span.up_to),
        user.map(UserId::as_str),
        limit
    ];
    let receipt = |row: &rusqlite::Row<'_>| {
        Ok(StoredReceipt {
            seq: reader::unsigned(row, 0)?,
            user: reader::user_id(row, 1)?,
            at: row.get::<_, i64>(2)?.cast_unsigned(),
        })
    };
    select.query_map(parameters, receipt)?.collect()
}

/// See [`Maintenance::keys`](crate::Maintenance::keys).
pub(super) fn keys(db: &Connection, tenant: &TenantId, after: Option<&KvKey>, limit: u32) -> Result<Vec<StoredKey>> {
    let Some(row) = reader::tenant_row(db, tenant)? else {
        return Ok(Vec::new());
    };
    let mut select = db.prepare_cached(
        "SELECT handler, key, value, expires_at, due_at FROM kv
         WHERE tenant_id = ?1 AND (handler, key) > (?2, ?3) ORDER BY handler, key LIMIT ?4",
    )?;
    let (handler, key) = after.map_or(("", ""), |after| (&*after.handler, after.key.as_str()));
    let time =
        |row: &rusqlite::Row<'_>, at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(i64::cast_unsigned));
    let stored = |row: &rusqlite::Row<'_>| {
        Ok(StoredKey {
            key: KvKey {
                handler: row.get_ref(0)?.as_str()?.into(),
                key: row.get(1)?,
            },
            value: row.get(2)?,
            expires_at: time(row, 3)?,
            due_at: time(row, 4)?,
        })
    };
    select.query_map(params![row, handler, key, limit], stored)?.collect()
}

/// See [`Maintenance::forget_user`](crate::Maintenance::forget_user).
pub(super) fn forget_user(
    writer: &mut WriterThread,
    tenant: &TenantId,
    room: &RoomId,
    span: SeqSpan,
    user: &UserId,
) -> Result<u64> {
    let Some(row) = reader::room_row(&writer.db, tenant, room)? else {
        return Ok(0);
    };
    let (after, up_to) = (clamp(span.after), clamp(span.up_to));
    let transaction = Transaction::new_unchecked(&writer.db, TransactionBehavior::Immediate)?;
    let receipts = transaction
        .prepare_cached(
            // From one message that has receipts to the next, since each may have many of other users.
            "WITH RECURSIVE has_receipts (seq) AS (
               SELECT min(seq) FROM receipts WHERE room_id = ?1 AND seq > ?2 AND seq <= ?3
               UNION ALL SELECT (SELECT min(r.seq) FROM receipts r
                                 WHERE r.room_id = ?1 AND r.seq > before.seq AND r.seq <= ?3)
               FROM has_receipts before WHERE before.seq IS NOT NULL)
             DELETE FROM receipts WHERE room_id = ?1 AND user = ?4 AND seq IN (SELECT seq FROM has_receipts)",
        )?
        .execute(params![row, after, up_to, user.as_str()])?;
    // Messages that were deleted are merged, and `recent_messages` has nothing of them.
    transaction
        .prepare_cached(
            "UPDATE messages SET username = NULL, client_id = NULL, request = NULL
             WHERE room_id = ?1 AND seq > ?2 AND seq <= ?3 AND sender = ?4 AND deleted_at IS NOT NULL
             AND (username IS NOT NULL OR client_id IS NOT NULL OR request IS NOT NULL)",
        )?
        .execute(params![row, after, up_to, user.as_str()])?;
    transaction.commit()?;
    writer.text_removed();
    Ok(receipts as u64)
}

/// See [`Maintenance::import`](crate::Maintenance::import).
pub(super) fn import(writer: &mut WriterThread, tenant: &TenantId, pieces: &[Imported]) -> Result<bool> {
    let done = import_all(writer, tenant, pieces);
    // The caches know neither the rooms nor, after an error, what is stored.
    writer.rows.forget_tenant(tenant);
    writer.key_changes.change_all();
    match done {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            writer.rows.clear();
            writer.usages.clear();
            Ok(false)
        }
        Err(error) => {
            writer.rows.clear();
            writer.usages.clear();
            Err(error)
        }
        Ok(is_done) => {
            for piece in pieces {
                if let Imported::Message(message) = piece {
                    writer.known_ids().insert(message.id);
                }
            }
            Ok(is_done)
        }
    }
}

fn import_all(writer: &mut WriterThread, tenant: &TenantId, pieces: &[Imported]) -> Result<bool> {
    let transaction = Transaction::new_unchecked(&writer.db, TransactionBehavior::Immediate)?;
    let tenant_row = writer.rows.ensure_tenant(&transaction, tenant)?;
    let mut more = Usage::default();
    for piece in pieces {
        let room = match piece {
            Imported::Room { .. } | Imported::Key(_) => None,
            Imported::Message(message) => Some(&message.room),
            Imported::Mark(room, _) | Imported::Receipt(room, _) => Some(room),
        };
        let room = match room {
            Some(room) => {
                // A room that gets messages from clients at the same time is not one of the import alone.
                let is_in_use = writer.recent.read().first(tenant, room).is_some();
                match room_of(&transaction, tenant_row, room)?.filter(|_| !is_in_use) {
                    Some(row) => row,
                    None => return Ok(false),
                }
            }
            None => 0,
        };
        match piece {
            Imported::Room {
                room,
                removed_up_to,
                place,
            } => more.rooms += import_room(&transaction, tenant_row, room, *removed_up_to, *place)?,
            Imported::Message(message) => {
                import_message(&transaction, (tenant_row, room), message)?;
                more.message_bytes += message_bytes(&message.content, message.metadata.as_deref());
            }
            Imported::Mark(_, mark) => drop(
                transaction
                    .prepare_cached(
                        "INSERT INTO marks (room_id, seq, kind, value, user, marked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![
                        room,
                        clamp(mark.seq),
                        mark.kind,
                        mark.value,
                        mark.user.as_str(),
                        mark.at.cast_signed()
                    ])?,
            ),
            Imported::Receipt(_, receipt) => drop(
                transaction
                    .prepare_cached("INSERT INTO receipts (room_id, seq, user, read_at) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![
                        room,
                        clamp(receipt.seq),
                        receipt.user.as_str(),
                        receipt.at.cast_signed()
                    ])?,
            ),
            Imported::Key(stored) => {
                let StoredKey { key, value, .. } = stored;
                more.kv_bytes += (key.key.len() + value.len()) as u64;
                transaction
                    .prepare_cached(
                        "INSERT INTO kv (tenant_id, handler, key, value, expires_at, due_at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![
                        tenant_row,
                        &*key.handler,
                        key.key,
                        value,
                        stored.expires_at.map(u64::cast_signed),
                        stored.due_at.map(clamp)
                    ])?;
            }
        }
    }
    // Nothing exceeds this quota.
    let _ = writer
        .usages
        .add(&transaction, tenant_row, more, StorageQuota::UNLIMITED)?;
    writer.usages.write(&transaction)?;
    transaction.commit()?;
    Ok(true)
}

/// The room's row, if it has one.
fn room_of(db: &Connection, tenant: i64, room: &RoomId) -> Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM rooms WHERE tenant_id = ?1 AND name = ?2")?
        .query_row(params![tenant, room.as_str()], |row| row.get(0))
        .optional()
}

/// Returns how many rooms it has created: one or none.
fn import_room(db: &Connection, tenant: i64, room: &RoomId, removed_up_to: u64, place: Place) -> Result<u64> {
    let created = room_of(db, tenant, room)?.is_none();
    db.prepare_cached(
        "INSERT INTO rooms (tenant_id, name, last_rev, removed_up_to) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (tenant_id, name) DO UPDATE SET last_rev = excluded.last_rev,
         removed_up_to = excluded.removed_up_to",
    )?
    .execute(params![tenant, room.as_str(), clamp(place.rev), clamp(removed_up_to)])?;
    Ok(u64::from(created))
}

fn import_message(db: &Connection, (tenant, room): (i64, i64), message: &Message) -> Result<()> {
    let (seq, id) = (clamp(message.seq), message.id.to_bytes());
    let client = message.client.as_ref();
    let revision = message.revision.as_deref();
    let time = |at: Option<u64>| at.map(u64::cast_signed);
    // A message that was erased has no name but the sender's id.
    let username = (*message.username != *message.sender.as_str()).then_some(&*message.username);
    db.prepare_cached(
        "INSERT INTO messages (room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id,
           request, rev, edited_at, deleted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        room,
        seq,
        tenant,
        id,
        message.sender.as_str(),
        message.content,
        message.metadata,
        message.sent_at.cast_signed(),
        username,
        client.map(|client| &*client.id),
        client.map(|client| client.request.to_bytes()),
        revision.map(|revision| clamp(revision.rev)),
        time(revision.and_then(|revision| revision.edited_at)),
        time(revision.and_then(|revision| revision.deleted_at)),
    ])?;
    db.prepare_cached("INSERT INTO message_ids (tenant_id, id, room_id, seq) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![tenant, id, room, seq])?;
    Ok(())
}
