//! The reader threads, and the queries that they run.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::types::{FromSqlError, ToSqlOutput};
use rusqlite::{Connection, OptionalExtension as _, Result, Row, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::open::Lock;
use super::recent::{Entry, SharedRecent};
use crate::read_set::PageBuilder;
use crate::revision::MarksCollector;
use crate::{
    ChangeRange, Changes, ClientRef, DueKey, DueSpace, End, KvKey, KvPage, KvRange, Message, Page, Place, Range,
    RequestDigest, Revision,
};
use parlance_types::id::{MessageId, RoomId, TenantId, UserId};

/// What a reader thread is told to do. The thread that takes a command from the shared queue carries it out.
pub(super) enum ReaderCommand {
    /// Runs a query, which sends its own answer.
    Run(Box<dyn FnOnce(&Connection) + Send>),
    /// Closes the connection, answers, and ends the thread.
    Close(oneshot::Sender<()>),
}

/// Runs a reader thread until it is told to close or no sender is left.
pub(super) fn run(db: Connection, commands: &Mutex<mpsc::Receiver<ReaderCommand>>, lock: Arc<Lock>) {
    let reply = loop {
        // One thread waits for the next command and holds the mutex meanwhile; the other waits for the mutex.
        let command = commands.lock().blocking_recv();
        match command {
            Some(ReaderCommand::Run(query)) => query(&db),
            Some(ReaderCommand::Close(reply)) => break Some(reply),
            None => break None,
        }
    };
    drop(db);
    // Another process may take the database only when the connection is closed.
    drop(lock);
    if let Some(reply) = reply {
        let _ = reply.send(());
    }
}

/// A message that is not recent.
pub(super) fn message(db: &Connection, tenant: &TenantId, id: MessageId) -> Result<Option<Message>> {
    db.prepare_cached(
        "SELECT m.seq, m.id, m.sender, m.content, m.metadata, m.sent_at, m.username, m.client_id, m.request,
                m.rev, m.edited_at, m.deleted_at, m.room_id, r.name
         FROM message_ids i JOIN messages m ON m.room_id = i.room_id AND m.seq = i.seq JOIN rooms r ON r.id = i.room_id
         WHERE i.tenant_id = (SELECT id FROM tenants WHERE name = ?1) AND i.id = ?2",
    )?
    .query_row(params![tenant.as_str(), id.to_bytes()], |row| {
        let room = room_id(row, 13)?;
        read_message(db, row, room)
    })
    .optional()
}

macro_rules! history {
    () => {
        "SELECT seq, id, sender, content, metadata, sent_at, username, client_id, request,
                rev, edited_at, deleted_at, room_id FROM messages
         WHERE room_id = ?1 AND seq > ?2 AND seq < ?3 ORDER BY seq"
    };
}

pub(super) fn history(
    db: &Connection,
    recent: &SharedRecent,
    tenant: &TenantId,
    room: &RoomId,
    range: Range,
) -> Result<Page> {
    let limit = usize::try_from(range.limit).unwrap_or(usize::MAX);
    // One message more than the limit tells whether the page is complete.
    let most = limit.saturating_add(1);
    loop {
        let page = recent.read().page(tenant, room, range, most);
        let mut messages = Vec::new();
        if range.from == End::Oldest || page.messages.len() < most {
            let before = match (range.before, page.first) {
                (Some(before), Some(first)) => Some(before.min(first)),
                (before, first) => before.or(first),
            };
            messages = merged_history(db, tenant, room, Range { before, ..range })?;
        }
        // Otherwise the room may have got messages meanwhile of which this read has seen a part: those that were changed,
        // or that a merge has come to.
        if page.first.is_none() {
            let now = recent.read();
            if now.merges() != page.merges || now.first(tenant, room).is_some() {
                continue;
            }
        }
        for entry in page.messages {
            if range.from == End::Oldest && messages.len() >= most {
                break;
            }
            match entry {
                Entry::Recent(message) => messages.push(Message::clone(&message)),
                Entry::Changed { seq, .. } => messages.extend(merged_message(db, tenant, room, seq)?),
            }
        }
        let found = Page {
            messages,
            complete: true,
        };
        return Ok(found.truncate(range.from, limit));
    }
}

/// A message that is merged, by its place. `None` if the room was removed meanwhile.
fn merged_message(db: &Connection, tenant: &TenantId, room: &RoomId, seq: u64) -> Result<Option<Message>> {
    let this = Range {
        after: seq - 1,
        before: Some(seq + 1),
        from: End::Oldest,
        limit: 1,
    };
    Ok(merged_history(db, tenant, room, this)?.pop())
}

/// The messages of the range that are not recent, and one more than its limit.
fn merged_history(db: &Connection, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Vec<Message>> {
    let Some(row) = room_row(db, tenant, room)? else {
        return Ok(Vec::new());
    };
    // SQLite's integers hold every `seq`, so clamping the bounds changes no answer.
    let after = i64::try_from(range.after).unwrap_or(i64::MAX);
    let before = range
        .before
        .map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    let limit = i64::from(range.limit).saturating_add(1);
    let mut statement = db.prepare_cached(match range.from {
        End::Newest => concat!(history!(), " DESC LIMIT ?4"),
        End::Oldest => concat!(history!(), " LIMIT ?4"),
    })?;
    let mut messages = statement
        .query_map(params![row, after, before, limit], |row| {
            read_message(db, row, room.clone())
        })?
        .collect::<Result<Vec<_>>>()?;
    if range.from == End::Newest {
        messages.reverse();
    }
    Ok(messages)
}

/// See [`Reader::changed_messages`](crate::Reader::changed_messages). What has changed is merged.
pub(super) fn changes(db: &Connection, tenant: &TenantId, room: &RoomId, range: ChangeRange) -> Result<Changes> {
    let Some(row) = room_row(db, tenant, room)? else {
        return Ok(Changes {
            messages: Vec::new(),
            complete: true,
        });
    };
    let clamp = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    // Reads nothing but the index, in which a `seq` follows each `rev`.
    let mut changed =
        db.prepare_cached("SELECT seq FROM messages WHERE room_id = ?1 AND rev > ?2 ORDER BY rev LIMIT ?3")?;
    let mut message = db.prepare_cached(
        "SELECT seq, id, sender, content, metadata, sent_at, username, client_id, request,
                rev, edited_at, deleted_at, room_id FROM messages WHERE room_id = ?1 AND seq = ?2",
    )?;
    let (up_to, most) = (clamp(range.up_to_seq), range.most_looked_at());
    let limit = usize::try_from(range.limit).unwrap_or(usize::MAX);
    let mut found = Changes {
        messages: Vec::new(),
        complete: true,
    };
    let _snapshot = snapshot(db)?;
    let seqs = changed.query_map(params![row, clamp(range.after), most], |row| row.get::<_, i64>(0))?;
    for (seq, looked_at) in seqs.zip(1..) {
        let (seq, is_last) = (seq?, looked_at == most);
        if seq <= up_to || is_last {
            let message = message.query_row([row, seq], |row| read_message(db, row, room.clone()))?;
            found.messages.push(message);
            found.complete = !is_last;
        }
        // One more than the limit tells that there are more.
        if found.messages.len() > limit {
            break;
        }
    }
    Ok(found.truncate(limit))
}

/// What has become of the message at this place.
fn read_revision(db: &Connection, room: i64, seq: i64, revision: Revision) -> Result<Box<Revision>> {
    let mut revision = Box::new(revision);
    let mut statement = db.prepare_cached(
        "SELECT kind, value, user FROM marks WHERE room_id = ?1 AND seq = ?2 ORDER BY marked_at, kind, value, user",
    )?;
    let mut rows = statement.query([room, seq])?;
    let mut marks = MarksCollector::default();
    while let Some(row) = rows.next()? {
        let user = user_id(row, 2)?;
        marks.add(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?, user);
    }
    revision.marks = marks.finish();
    Ok(revision)
}

pub(super) fn place(db: &Connection, recent: &SharedRecent, tenant: &TenantId, room: &RoomId) -> Result<Place> {
    if let Some(place) = recent.read().place(tenant, room) {
        return Ok(place);
    }
    let stored = db
        .prepare_cached(
            "SELECT max(r.removed_up_to, coalesce((SELECT max(seq) FROM messages WHERE room_id = r.id), 0)), r.last_rev
             FROM rooms r WHERE r.tenant_id = (SELECT id FROM tenants WHERE name = ?1) AND r.name = ?2",
        )?
        .query_row(params![tenant.as_str(), room.as_str()], |row| {
            Ok(Place {
                seq: unsigned(row, 0)?,
                rev: unsigned(row, 1)?,
            })
        })
        .optional()?;
    let Some(stored) = stored else {
        return Ok(Place::default());
    };
    // Messages that came meanwhile may have changed, and be seen as they were for a moment.
    let now = recent.read().place(tenant, room);
    Ok(now.unwrap_or(stored))
}

/// The values of keys that are live at `now`, in the order of `keys`.
pub(super) fn kv_get_many(
    db: &Connection,
    tenant: &TenantId,
    keys: &[KvKey],
    now: u64,
) -> Result<Vec<Option<Vec<u8>>>> {
    // One transaction, so that all are as of one moment; a single read is one by itself.
    let snapshot = (keys.len() > 1).then(|| snapshot(db)).transpose()?;
    let mut select = db.prepare_cached(
        "SELECT value, expires_at FROM kv
         WHERE tenant_id = (SELECT id FROM tenants WHERE name = ?1) AND handler = ?2 AND key = ?3",
    )?;
    let values = keys.iter().map(|key| {
        let found: Option<(Vec<u8>, Option<i64>)> = select
            .query_row(params![tenant.as_str(), &*key.handler, key.key], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        Ok(found.and_then(|(value, expires_at)| live(expires_at, now).then_some(value)))
    });
    let values = values.collect();
    drop(select);
    drop(snapshot);
    values
}

/// A transaction that reads, and is rolled back when it is dropped.
pub(super) fn snapshot(db: &Connection) -> Result<Transaction<'_>> {
    Transaction::new_unchecked(db, TransactionBehavior::Deferred)
}

/// What [`range`] does after a row.
pub(super) enum Walk {
    /// It goes on to the next row.
    On,
    /// It stops after this row.
    Stop,
}

/// Calls `next` with each key of a range in order, with its value if that is live at `now`, until `next` stops it.
pub(super) fn range(
    db: &Connection,
    tenant: i64,
    range: &KvRange,
    now: u64,
    mut next: impl FnMut(&str, Option<&[u8]>) -> Walk,
) -> Result<()> {
    let mut select = db.prepare_cached(
        "SELECT key, value, expires_at FROM kv
         WHERE tenant_id = ?1 AND handler = ?2 AND key >= ?3 AND key < ?4 ORDER BY key",
    )?;
    // Every blob is above every text, so the range always has an upper bound, and ends where the index says so.
    let until = match &range.until {
        Some(until) => ToSqlOutput::from(until.as_str()),
        None => ToSqlOutput::from(&[][..]),
    };
    let mut rows = select.query(params![tenant, &*range.handler, range.from, until])?;
    while let Some(row) = rows.next()? {
        let value = if live(row.get(2)?, now) {
            Some(row.get_ref(1)?.as_bytes()?)
        } else {
            None
        };
        if matches!(next(row.get_ref(0)?.as_str()?, value), Walk::Stop) {
            break;
        }
    }
    Ok(())
}

/// See [`Reader::kv_scan`](crate::Reader::kv_scan).
pub(super) fn kv_scan(
    db: &Connection,
    tenant: &TenantId,
    of: &KvRange,
    limit: u32,
    bytes: u64,
    now: u64,
) -> Result<KvPage> {
    let mut page = PageBuilder::of(limit, bytes);
    if let Some(tenant) = tenant_row(db, tenant)? {
        range(db, tenant, of, now, |key, value| {
            if page.add(key, value) { Walk::On } else { Walk::Stop }
        })?;
    }
    Ok(page.done())
}

pub(super) fn tenant_row(db: &Connection, tenant: &TenantId) -> Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM tenants WHERE name = ?1")?
        .query_row([tenant.as_str()], |row| row.get(0))
        .optional()
}

/// See [`Schedule::due_spaces`](crate::Schedule::due_spaces).
pub(super) fn due_spaces(db: &Connection, now: u64) -> Result<Vec<DueSpace>> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut select = db.prepare_cached(
        "SELECT t.name, d.handler FROM (
           SELECT tenant_id, handler, min(due_at) AS oldest FROM kv WHERE due_at IS NOT NULL AND due_at <= ?1
           GROUP BY tenant_id, handler) d
         JOIN tenants t ON t.id = d.tenant_id ORDER BY d.oldest",
    )?;
    let space = |row: &Row<'_>| {
        Ok(DueSpace {
            tenant: row.get(0)?,
            handler: row.get_ref(1)?.as_str()?.into(),
        })
    };
    select.query_map([now], space)?.collect()
}

/// See [`Schedule::due_keys`](crate::Schedule::due_keys). A space has few keys, which are together in the table.
pub(super) fn due_keys(db: &Connection, space: &DueSpace, now: u64, limit: u32) -> Result<Vec<DueKey>> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut select = db.prepare_cached(
        "SELECT key, value, due_at FROM kv
         WHERE tenant_id = (SELECT id FROM tenants WHERE name = ?1) AND handler = ?2 AND +due_at <= ?3
         ORDER BY due_at, key LIMIT ?4",
    )?;
    let due = |row: &Row<'_>| {
        Ok(DueKey {
            key: KvKey {
                handler: space.handler.clone(),
                key: row.get(0)?,
            },
            value: row.get(1)?,
            due_at: unsigned(row, 2)?,
        })
    };
    select
        .query_map(params![space.tenant, &*space.handler, now, limit], due)?
        .collect()
}

/// Whether a key with this `expires_at` column exists at `now`.
pub(super) fn live(expires_at: Option<i64>, now: u64) -> bool {
    expires_at.is_none_or(|at| at.cast_unsigned() > now)
}

pub(super) fn room_row(db: &Connection, tenant: &TenantId, room: &RoomId) -> Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM rooms WHERE tenant_id = (SELECT id FROM tenants WHERE name = ?1) AND name = ?2")?
        .query_row(params![tenant.as_str(), room.as_str()], |row| row.get(0))
        .optional()
}

/// A message from the columns seq, id, sender, content, metadata, sent_at, username, client_id, request, rev, edited_at,
/// deleted_at, room_id.
fn read_message(db: &Connection, row: &Row<'_>, room: RoomId) -> Result<Message> {
    let client = match (row.get_ref(7)?.as_str_or_null()?, row.get(8)?) {
        (Some(id), Some(request)) => Some(ClientRef {
            id: id.into(),
            request: RequestDigest::from_bytes(request),
        }),
        _ => None,
    };
    let time = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(i64::cast_unsigned));
    let revision = match row.get::<_, Option<i64>>(9)? {
        Some(rev) => {
            let revision = Revision {
                rev: rev.cast_unsigned(),
                edited_at: time(10)?,
                deleted_at: time(11)?,
                marks: Vec::new(),
            };
            Some(read_revision(db, row.get(12)?, row.get(0)?, revision)?)
        }
        None => None,
    };
    let sender = user_id(row, 2)?;
    Ok(Message {
        id: MessageId::from_bytes(row.get(1)?),
        room,
        seq: unsigned(row, 0)?,
        username: row.get_ref(6)?.as_str_or_null()?.unwrap_or(sender.as_str()).into(),
        sender,
        content: row.get(3)?,
        metadata: row.get(4)?,
        sent_at: row.get::<_, i64>(5)?.cast_unsigned(),
        client,
        revision,
    })
}

/// The room whose id is in a column.
pub(super) fn room_id(row: &Row<'_>, column: usize) -> Result<RoomId> {
    Ok(RoomId::new(row.get_ref(column)?.as_str()?).map_err(|e| FromSqlError::Other(Box::new(e)))?)
}

/// The user whose id is in a column.
pub(super) fn user_id(row: &Row<'_>, column: usize) -> Result<UserId> {
    Ok(UserId::new(row.get_ref(column)?.as_str()?).map_err(|e| FromSqlError::Other(Box::new(e)))?)
}

/// A number that is stored, which is never negative.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    Ok(u64::try_from(value).map_err(|_| FromSqlError::OutOfRange(value))?)
}
