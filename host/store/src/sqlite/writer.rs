//! The writer thread: runs one job after another, and makes each batch one transaction.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::open::Lock;
use super::reader::{self, live};
use super::row_cache::RowCache;
use super::usage_cache::UsageCache;
use crate::quota::message_bytes;
use crate::{Draft, KvKey, Rejected, Usage, Write, WriteSet, WriteSetResult, Written, counter};
use parlance_types::id::{MessageId, UserId};

/// How often a batch also removes expired keys, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The most expired keys that one sweep removes, so that no batch waits long for it.
const SWEEP_KEYS: i64 = 200;
/// How long an expired key stays in the table. Reads judge expiry by the time of their event; the sweep judges by the
/// machine's clock, and must not remove a key that an event in flight may still see.
const SWEEP_GRACE: Duration = Duration::from_secs(60);

/// What the writer thread is told to do.
pub(super) enum WriterCommand {
    /// Runs a job, which sends its own answer.
    Run(Box<dyn FnOnce(&mut WriterThread) + Send>),
    /// Closes the connection, answers, and ends the thread.
    Close(oneshot::Sender<()>),
}

/// Why a write failed.
enum WriteError {
    /// The write rejects its write set.
    Rejected(Rejected),
    /// The whole batch fails.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Rejected> for WriteError {
    fn from(rejection: Rejected) -> Self {
        Self::Rejected(rejection)
    }
}

/// The only connection that writes, with what it caches. Its thread owns it.
pub(super) struct WriterThread {
    pub(super) db: Connection,
    pub(super) rows: RowCache,
    pub(super) usages: UsageCache,
    swept: Option<Instant>,
    /// Fields are dropped in this order, so the lock is held until the connection is closed.
    _lock: Arc<Lock>,
}

impl WriterThread {
    pub(super) fn new(db: Connection, lock: Arc<Lock>) -> Self {
        Self {
            db,
            rows: RowCache::default(),
            usages: UsageCache::default(),
            swept: None,
            _lock: lock,
        }
    }

    /// Runs until it is told to close or no sender is left.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<WriterCommand>) {
        while let Some(command) = commands.blocking_recv() {
            match command {
                WriterCommand::Run(job) => job(&mut self),
                WriterCommand::Close(reply) => {
                    self.checkpoint();
                    drop(self);
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    /// Commits a batch as one transaction.
    pub(super) fn commit(&mut self, write_sets: &[WriteSet]) -> rusqlite::Result<Vec<WriteSetResult>> {
        let results = self.transact(write_sets);
        if results.is_err() {
            // The caches may be ahead of the database now.
            self.rows.clear();
            self.usages.clear();
        }
        results
    }

    fn transact(&mut self, write_sets: &[WriteSet]) -> rusqlite::Result<Vec<WriteSetResult>> {
        // Dropping the transaction before its commit rolls it back. SQLite itself rolls back on some errors, such as a
        // full disk, so nothing may be executed after an error: `?` leaves at once.
        let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        if self.swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            sweep(&transaction, &mut self.usages)?;
            self.swept = Some(Instant::now());
        }
        let mut results = Vec::with_capacity(write_sets.len());
        for write_set in write_sets {
            results.push(apply_write_set(
                &transaction,
                &mut self.rows,
                &mut self.usages,
                write_set,
            )?);
        }
        self.usages.write(&transaction)?;
        transaction.commit()?;
        Ok(results)
    }

    /// Writes to the disk, and needs new pages for it, so that it fails when the next append would.
    pub(super) fn ping(&self) -> rusqlite::Result<()> {
        let probe = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        probe.execute("INSERT INTO probe (filler) VALUES (zeroblob(16384))", [])?;
        probe.execute("DELETE FROM probe", [])?;
        probe.commit()
    }

    fn checkpoint(&self) {
        let done = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = done {
            // Nothing is lost: the next process to open the database reads what the log has.
            tracing::warn!(%error, "could not checkpoint the write-ahead log on closing");
        }
    }
}

fn apply_write_set(
    db: &Connection,
    rows: &mut RowCache,
    usages: &mut UsageCache,
    write_set: &WriteSet,
) -> rusqlite::Result<WriteSetResult> {
    // The tenant's usage before; a new tenant has none.
    let (may_exceed, before) = match rows.find_tenant(db, &write_set.tenant)? {
        Some(row) => (
            usages.may_exceed(db, row, &write_set.writes, write_set.quota)?,
            Some((row, usages.get(db, row)?)),
        ),
        None => (true, None),
    };
    // Only a write set that may be rejected after its first write needs a savepoint.
    let guarded = may_exceed || write_set.writes.iter().skip(1).any(|write| can_reject(write));
    if guarded {
        db.prepare_cached("SAVEPOINT write_set")?.execute([])?;
    }
    let mut written = Vec::with_capacity(write_set.writes.len());
    for write in &write_set.writes {
        match apply(db, rows, usages, write_set, write) {
            Ok(one) => written.push(one),
            Err(WriteError::Failed(error)) => return Err(error),
            Err(WriteError::Rejected(rejection)) => {
                if guarded {
                    let created = rows.find_tenant(db, &write_set.tenant)?;
                    db.prepare_cached("ROLLBACK TO write_set")?.execute([])?;
                    db.prepare_cached("RELEASE write_set")?.execute([])?;
                    rows.forget_tenant(&write_set.tenant);
                    match (before, created) {
                        (Some((row, usage)), _) => usages.restore(row, usage),
                        // The tenant's row is rolled back as well, and another tenant may get its number.
                        (None, Some(row)) => usages.discard(row),
                        (None, None) => {}
                    }
                }
                return Ok(Err(rejection));
            }
        }
    }
    if guarded {
        db.prepare_cached("RELEASE write_set")?.execute([])?;
    }
    Ok(Ok(written))
}

fn can_reject(write: &Write) -> bool {
    match write {
        Write::MarkRead { .. } | Write::KvIncrement { .. } => true,
        Write::Append(draft) => draft.client.is_some(),
        Write::KvSet { .. } | Write::KvDelete { .. } => false,
    }
}

fn apply(
    db: &Connection,
    rows: &mut RowCache,
    usages: &mut UsageCache,
    write_set: &WriteSet,
    write: &Write,
) -> Result<Written, WriteError> {
    let tenant = &write_set.tenant;
    match write {
        Write::Append(draft) => append(db, rows, usages, write_set, draft),
        Write::MarkRead { id, user, at, .. } => match rows.find_tenant(db, tenant)? {
            Some(row) => mark_read(db, row, *id, user, *at),
            None => Err(Rejected::NotFound.into()),
        },
        Write::KvSet { key, value, expires_at } => {
            let row = rows.ensure_tenant(db, tenant)?;
            kv_replace(db, usages, row, write_set, key, value, expires_at.map(u64::cast_signed))?;
            Ok(Written::Done)
        }
        Write::KvDelete { key } => {
            if let Some(row) = rows.find_tenant(db, tenant)? {
                let size = kv_size(db, row, key)?;
                db.prepare_cached("DELETE FROM kv WHERE tenant_id = ?1 AND handler = ?2 AND key = ?3")?
                    .execute(params![row, &*key.handler, key.key])?;
                usages.remove_kv(db, row, size)?;
            }
            Ok(Written::Done)
        }
        Write::KvIncrement { key, by, at } => {
            // Creating the tenant here is safe: only a stored value can reject, and then the tenant has a row.
            let row = rows.ensure_tenant(db, tenant)?;
            kv_increment(db, usages, row, write_set, key, *by, *at)
        }
    }
}

fn append(
    db: &Connection,
    rows: &mut RowCache,
    usages: &mut UsageCache,
    write_set: &WriteSet,
    draft: &Draft,
) -> Result<Written, WriteError> {
    // A sender may have used its own id before. Look before the room is created, since a duplicate needs no room.
    if draft.client.is_some()
        && let Some(first) = reader::message(db, &write_set.tenant, draft.id)?
    {
        return Ok(draft.resolve_duplicate(first.request(), (&first).into())?);
    }
    let room = rows.room(db, &write_set.tenant, &draft.room)?;
    let seq = room.last_seq + 1;
    let client = draft.client.as_ref();
    let appended = db
        .prepare_cached(
            "INSERT INTO messages
               (room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id, request)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (tenant_id, id) DO NOTHING",
        )?
        .execute(params![
            room.row,
            seq,
            room.tenant,
            draft.id.to_bytes(),
            draft.sender.as_str(),
            draft.content,
            draft.metadata,
            draft.sent_at.cast_signed(),
            &*draft.username,
            client.map(|client| &*client.id),
            client.map(|client| client.request.to_bytes()),
        ])?;
    if appended == 0 {
        // A random id is stored already only by mistake; it gets the answer of a duplicate.
        let first = reader::message(db, &write_set.tenant, draft.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        return Ok(draft.resolve_duplicate(first.request(), (&first).into())?);
    }
    room.last_seq = seq;
    let more = Usage {
        message_bytes: message_bytes(&draft.content, draft.metadata.as_deref()),
        rooms: u64::from(seq == 1),
        ..Usage::default()
    };
    usages.add(db, room.tenant, more, write_set.quota)??;
    Ok(Written::Appended {
        seq: seq.cast_unsigned(),
        sent_at: draft.sent_at,
        duplicate: false,
    })
}

fn mark_read(db: &Connection, tenant: i64, id: MessageId, user: &UserId, at: u64) -> Result<Written, WriteError> {
    let found: Option<(i64, i64)> = db
        .prepare_cached("SELECT room_id, seq FROM messages WHERE tenant_id = ?1 AND id = ?2")?
        .query_row(params![tenant, id.to_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (room, seq) = found.ok_or(Rejected::NotFound)?;
    let first = db
        .prepare_cached(
            "INSERT INTO receipts (room_id, seq, user, read_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute(params![room, seq, user.as_str(), at.cast_signed()])?;
    if first == 1 {
        return Ok(Written::Read { at, first: true });
    }
    let at: i64 = db
        .prepare_cached("SELECT read_at FROM receipts WHERE room_id = ?1 AND seq = ?2 AND user = ?3")?
        .query_row(params![room, seq, user.as_str()], |row| row.get(0))?;
    Ok(Written::Read {
        at: at.cast_unsigned(),
        first: false,
    })
}

fn kv_set(db: &Connection, tenant: i64, key: &KvKey, value: &[u8], expires_at: Option<i64>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO kv (tenant_id, handler, key, value, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at",
    )?
    .execute(params![tenant, &*key.handler, key.key, value, expires_at])?;
    Ok(())
}

/// Bytes that a key and its value count for; 0 for an absent key.
fn kv_size(db: &Connection, tenant: i64, key: &KvKey) -> rusqlite::Result<u64> {
    let value: Option<i64> = db
        .prepare_cached("SELECT octet_length(value) FROM kv WHERE tenant_id = ?1 AND handler = ?2 AND key = ?3")?
        .query_row(params![tenant, &*key.handler, key.key], |row| row.get(0))
        .optional()?;
    Ok(value.map_or(0, |bytes| bytes.cast_unsigned() + key.key.len() as u64))
}

/// Sets a key and counts the difference in bytes.
fn kv_replace(
    db: &Connection,
    usages: &mut UsageCache,
    tenant: i64,
    write_set: &WriteSet,
    key: &KvKey,
    value: &[u8],
    expires_at: Option<i64>,
) -> Result<(), WriteError> {
    let (before, after) = (kv_size(db, tenant, key)?, (key.key.len() + value.len()) as u64);
    match after.checked_sub(before) {
        Some(more) => {
            let more = Usage {
                kv_bytes: more,
                ..Usage::default()
            };
            usages.add(db, tenant, more, write_set.quota)??;
        }
        None => usages.remove_kv(db, tenant, before - after)?,
    }
    Ok(kv_set(db, tenant, key, value, expires_at)?)
}

fn kv_increment(
    db: &Connection,
    usages: &mut UsageCache,
    tenant: i64,
    write_set: &WriteSet,
    key: &KvKey,
    by: i64,
    at: u64,
) -> Result<Written, WriteError> {
    let current: Option<(Vec<u8>, Option<i64>)> = db
        .prepare_cached("SELECT value, expires_at FROM kv WHERE tenant_id = ?1 AND handler = ?2 AND key = ?3")?
        .query_row(params![tenant, &*key.handler, key.key], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let current = current.filter(|(_, expires_at)| live(*expires_at, at));
    let sum = counter::add(current.as_ref().map(|(value, _)| value.as_slice()), by)?;
    let expires_at = current.and_then(|(_, expires_at)| expires_at);
    kv_replace(
        db,
        usages,
        tenant,
        write_set,
        key,
        sum.to_string().as_bytes(),
        expires_at,
    )?;
    Ok(Written::Done)
}

/// Removes some of the keys that expired more than [`SWEEP_GRACE`] ago.
fn sweep(db: &Connection, usages: &mut UsageCache) -> rusqlite::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = i64::try_from(now.saturating_sub(SWEEP_GRACE).as_millis()).unwrap_or(i64::MAX);
    // From 0, because times beyond 2^63 are stored as negative numbers and lie far in the future.
    let removed: Vec<(i64, i64)> = db
        .prepare_cached(
            "DELETE FROM kv WHERE (tenant_id, handler, key) IN
             (SELECT tenant_id, handler, key FROM kv WHERE expires_at BETWEEN 0 AND ?1 LIMIT ?2)
             RETURNING tenant_id, octet_length(key) + octet_length(value)",
        )?
        .query_map([until, SWEEP_KEYS], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (tenant, bytes) in removed {
        usages.remove_kv(db, tenant, bytes.cast_unsigned())?;
    }
    Ok(())
}
