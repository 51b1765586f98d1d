//! The writer thread: runs one job after another, and makes each batch one transaction.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::key_changes::KeyChanges;
use super::known_ids::KnownIds;
use super::kv;
use super::merge::{self, Merger, RecentRow};
use super::open::Lock;
use super::reader;
use super::recent::{RecentMessages, SharedRecent};
use super::revise::Revised;
use super::row_cache::{RoomRow, RowCache};
use super::usage_cache::UsageCache;
use crate::quota::message_bytes;
use crate::{Draft, End, KvKey, Message, Rejected, Usage, Write, WriteSet, WriteSetResult, Written};
use parlance_types::id::{MessageId, RoomId, TenantId, UserId};

/// What the writer thread is told to do.
pub(super) enum WriterCommand {
    /// Runs a job, which sends its own answer.
    Run(Box<dyn FnOnce(&mut WriterThread) + Send>),
    /// Closes the connection, answers, and ends the thread.
    Close(oneshot::Sender<()>),
}

/// Why a write failed.
pub(super) enum WriteError {
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
    pub(super) key_changes: KeyChanges,
    pub(super) recent: SharedRecent,
    known_ids: Arc<KnownIds>,
    pub(super) merger: Merger,
    sweeps: kv::Sweeps,
    /// When the log is to be emptied, which may have text that was removed from messages.
    pub(super) empty_log_at: Option<Instant>,
    /// Fields are dropped in this order, so the lock is held until the connection is closed.
    _lock: Arc<Lock>,
}

impl WriterThread {
    pub(super) fn new(db: Connection, recent: SharedRecent, known_ids: Arc<KnownIds>, lock: Arc<Lock>) -> Self {
        Self {
            db,
            rows: RowCache::default(),
            usages: UsageCache::default(),
            key_changes: KeyChanges::new(),
            recent,
            known_ids,
            merger: Merger::default(),
            sweeps: kv::Sweeps::default(),
            empty_log_at: None,
            _lock: lock,
        }
    }

    /// Runs until it is told to close or no sender is left.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<WriterCommand>) {
        while let Some(command) = commands.blocking_recv() {
            match command {
                WriterCommand::Run(job) => job(&mut self),
                WriterCommand::Close(reply) => {
                    self.merge_and_checkpoint();
                    drop(self);
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    /// Commits a batch as one transaction.
    pub(super) fn commit(&mut self, write_sets: &[WriteSet]) -> rusqlite::Result<Vec<WriteSetResult>> {
        let Applied {
            results,
            appended,
            revised,
            merged,
        } = self.transact(write_sets).inspect_err(|_| {
            // The caches may be ahead of the database now.
            self.rows.clear();
            self.usages.clear();
        })?;
        let merged = self.merger.committed(merged);
        let mut recent = self.recent.write();
        for row in &appended {
            recent.push(&row.tenant, row.n, row.message.clone(), row.room_rev);
            self.known_ids.insert(row.message.id);
        }
        for (tenant, id) in revised.recent {
            recent.message_changed(&tenant, id);
        }
        for (tenant, room, rev) in revised.rooms {
            recent.note_change(&tenant, &room, rev);
        }
        for row in &merged {
            recent.remove(&row.tenant, &row.message, End::Oldest);
        }
        drop(recent);
        self.merger.add(appended);
        if self.merger.is_due() {
            self.begin_merge();
        }
        self.empty_log(write_sets);
        Ok(results)
    }

    /// The filter of the ids of messages.
    pub(super) fn known_ids(&self) -> &KnownIds {
        &self.known_ids
    }

    fn transact(&mut self, write_sets: &[WriteSet]) -> rusqlite::Result<Applied> {
        // Dropping the transaction before its commit rolls it back. SQLite itself rolls back on some errors, such as a
        // full disk, so nothing may be executed after an error: `?` leaves at once.
        let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        self.sweeps
            .sweep_if_due(&transaction, &mut self.usages, &mut self.key_changes)?;
        let recent = self.recent.read();
        let mut batch = Batch {
            db: &transaction,
            rows: &mut self.rows,
            usages: &mut self.usages,
            key_changes: &mut self.key_changes,
            recent: &recent,
            known_ids: &self.known_ids,
            pending: RecentMessages::default(),
            appended: Vec::new(),
            revised: Revised::default(),
        };
        let mut results = Vec::with_capacity(write_sets.len());
        for write_set in write_sets {
            results.push(batch.apply_write_set(write_set)?);
        }
        let Batch { appended, revised, .. } = batch;
        self.usages.write(&transaction)?;
        let merged = self.merger.slice(&transaction, appended.len())?;
        drop(recent);
        transaction.commit()?;
        self.key_changes.committed();
        Ok(Applied {
            results,
            appended,
            revised,
            merged,
        })
    }

    /// Whether messages of the tenant are not merged yet.
    pub(super) fn has_recent(&self, tenant: &TenantId) -> bool {
        self.recent.read().has(tenant)
    }

    /// Merges some of the recent messages now, in a transaction of its own.
    pub(super) fn merge_now(&mut self) -> rusqlite::Result<()> {
        if self.merger.can_begin() {
            self.begin_merge();
        }
        self.commit(&[]).map(drop)
    }

    fn begin_merge(&mut self) {
        self.recent.write().merge_begins();
        self.merger.begin();
    }

    /// Writes to the disk, and needs new pages for it, so that it fails when the next append would.
    pub(super) fn ping(&self) -> rusqlite::Result<()> {
        let probe = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        probe.execute("INSERT INTO probe (filler) VALUES (zeroblob(16384))", [])?;
        probe.execute("DELETE FROM probe", [])?;
        probe.commit()
    }

    /// Leaves one file in which every message has its place.
    fn merge_and_checkpoint(&self) {
        let done = merge::merge_all(&self.db)
            .and_then(|()| self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        if let Err(error) = done {
            // Nothing is lost: the next process to open the database reads what the log has, and merges.
            tracing::warn!(%error, "could not checkpoint the write-ahead log on closing");
        }
    }
}

/// What a transaction has committed.
struct Applied {
    results: Vec<WriteSetResult>,
    /// The messages, in order.
    appended: Vec<RecentRow>,
    revised: Revised,
    /// Rows of the slice of the merge under way, for [`Merger::committed`].
    merged: usize,
}

/// A transaction under way.
pub(super) struct Batch<'a> {
    pub(super) db: &'a Connection,
    rows: &'a mut RowCache,
    pub(super) usages: &'a mut UsageCache,
    key_changes: &'a mut KeyChanges,
    /// Messages of earlier transactions that are not merged.
    pub(super) recent: &'a RecentMessages,
    known_ids: &'a KnownIds,
    /// The messages that this transaction has appended so far: to be looked up, and in order.
    pub(super) pending: RecentMessages,
    appended: Vec<RecentRow>,
    pub(super) revised: Revised,
}

impl Batch<'_> {
    fn apply_write_set(&mut self, write_set: &WriteSet) -> rusqlite::Result<WriteSetResult> {
        // The tenant's usage before; a new tenant has none.
        let (may_exceed, before) = match self.rows.find_tenant(self.db, &write_set.tenant)? {
            Some(row) => (
                self.usages
                    .may_exceed(self.db, row, &write_set.writes, write_set.quota)?,
                Some((row, self.usages.get(self.db, row)?)),
            ),
            None => (true, None),
        };
        let tenant = before.map(|(row, _)| row);
        if !write_set.reads.is_empty() && !kv::reads_hold(self.db, tenant, &write_set.reads, Some(self.key_changes))? {
            return Ok(Err(Rejected::ReadsChanged));
        }
        // Only a write set that may be rejected after its first write needs a savepoint.
        let guarded = may_exceed || write_set.writes.iter().skip(1).any(|write| can_reject(write));
        if guarded {
            self.db.prepare_cached("SAVEPOINT write_set")?.execute([])?;
        }
        let (appended, revised) = (self.appended.len(), self.revised.counts());
        let mut written = Vec::with_capacity(write_set.writes.len());
        for write in &write_set.writes {
            match self.apply(write_set, write) {
                Ok(one) => written.push(one),
                Err(WriteError::Failed(error)) => return Err(error),
                Err(WriteError::Rejected(rejection)) => {
                    if guarded {
                        self.revised.truncate(revised);
                        self.roll_back(write_set, before, appended)?;
                    }
                    return Ok(Err(rejection));
                }
            }
        }
        if guarded {
            self.db.prepare_cached("RELEASE write_set")?.execute([])?;
        }
        Ok(Ok(written))
    }

    /// Undoes the writes of a write set that is rejected. `before` is the tenant's row and usage before it, `appended`
    /// the number of messages.
    fn roll_back(
        &mut self,
        write_set: &WriteSet,
        before: Option<(i64, Usage)>,
        appended: usize,
    ) -> rusqlite::Result<()> {
        let created = self.rows.find_tenant(self.db, &write_set.tenant)?;
        self.db.prepare_cached("ROLLBACK TO write_set")?.execute([])?;
        self.db.prepare_cached("RELEASE write_set")?.execute([])?;
        for row in self.appended.drain(appended..).rev() {
            self.pending.remove(&row.tenant, &row.message, End::Newest);
        }
        self.rows.forget_tenant(&write_set.tenant);
        match (before, created) {
            (Some((row, usage)), _) => self.usages.restore(row, usage),
            // The tenant's row is rolled back as well, and another tenant may get its number.
            (None, Some(row)) => self.usages.discard(row),
            (None, None) => {}
        }
        Ok(())
    }

    fn apply(&mut self, write_set: &WriteSet, write: &Write) -> Result<Written, WriteError> {
        let (db, tenant) = (self.db, &write_set.tenant);
        match write {
            Write::Append(draft) => self.append(write_set, draft),
            Write::MarkRead { id, user, at, .. } => self.mark_read(tenant, *id, user, *at),
            Write::Revise(revise) => self.revise(write_set, revise),
            Write::KvSet { key, value, expires_at } => {
                let row = self.row_for(tenant, key)?;
                let times = kv::Times {
                    expires_at: expires_at.map(u64::cast_signed),
                    due_at: None,
                };
                kv::replace(db, self.usages, row, write_set, key, value, times)?;
                Ok(Written::Done)
            }
            Write::DueSet { key, value, due_at } => {
                let row = self.row_for(tenant, key)?;
                let times = kv::Times {
                    expires_at: None,
                    due_at: Some(i64::try_from(*due_at).unwrap_or(i64::MAX)),
                };
                kv::replace(db, self.usages, row, write_set, key, value, times)?;
                Ok(Written::Done)
            }
            Write::KvDelete { key } => {
                if let Some(row) = self.rows.find_tenant(db, tenant)? {
                    self.key_changes.change(row, key);
                    let size = kv::size(db, row, key)?;
                    db.prepare_cached("DELETE FROM kv WHERE tenant_id = ?1 AND handler = ?2 AND key = ?3")?
                        .execute(params![row, &*key.handler, key.key])?;
                    self.usages.remove_kv(db, row, size)?;
                }
                Ok(Written::Done)
            }
            // Creating the tenant here is safe: only a stored value can reject, and then the tenant has a row.
            Write::KvIncrement { key, by, at } => {
                let row = self.row_for(tenant, key)?;
                kv::increment(db, self.usages, row, write_set, key, *by, *at)
            }
            Write::KvRaise { key, to } => {
                let row = self.row_for(tenant, key)?;
                kv::raise(db, self.usages, row, write_set, key, *to)
            }
        }
    }

    /// The tenant's row, for a write of this key.
    fn row_for(&mut self, tenant: &TenantId, key: &KvKey) -> rusqlite::Result<i64> {
        let row = self.rows.ensure_tenant(self.db, tenant)?;
        self.key_changes.change(row, key);
        Ok(row)
    }

    /// A message that is not merged, and was not changed by an earlier transaction.
    fn recent_message(&self, tenant: &TenantId, id: MessageId) -> Option<&Arc<Message>> {
        match self.pending.message(tenant, id) {
            // Nearly each message is a new one: the filter spares its look-ups, here and in the index.
            None if self.known_ids.may_have(id) => self.recent.message(tenant, id),
            pending => pending,
        }
    }

    /// The room's row. The caller advances `last_seq`.
    pub(super) fn room(&mut self, tenant: &TenantId, room: &RoomId) -> rusqlite::Result<&mut RoomRow> {
        let (recent, pending) = (self.recent, &self.pending);
        let last = || {
            let place = pending.place(tenant, room).or_else(|| recent.place(tenant, room));
            place.map(|place| place.seq)
        };
        self.rows.room(self.db, tenant, room, last)
    }

    /// The row and `seq` of the message with this id, if there is one.
    pub(super) fn place(&mut self, tenant: &TenantId, id: MessageId) -> rusqlite::Result<Option<(i64, i64)>> {
        let recent = self
            .recent_message(tenant, id)
            .map(|message| (message.room.clone(), message.seq));
        if let Some((room, seq)) = recent {
            return Ok(Some((self.room(tenant, &room)?.row, seq.cast_signed())));
        }
        self.merged_place(tenant, id)
    }

    /// The row and `seq` of the message with this id, if there is one that is merged.
    fn merged_place(&mut self, tenant: &TenantId, id: MessageId) -> rusqlite::Result<Option<(i64, i64)>> {
        if !self.known_ids.may_have(id) {
            return Ok(None);
        }
        let Some(row) = self.rows.find_tenant(self.db, tenant)? else {
            return Ok(None);
        };
        self.db
            .prepare_cached("SELECT room_id, seq FROM message_ids WHERE tenant_id = ?1 AND id = ?2")?
            .query_row(params![row, id.to_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    }

    fn append(&mut self, write_set: &WriteSet, draft: &Draft) -> Result<Written, WriteError> {
        let tenant = &write_set.tenant;
        // A sender may have used its own id before; a random id is stored already only by mistake. Look before the room
        // is created, since a duplicate needs no room.
        if let Some(first) = self.recent_message(tenant, draft.id) {
            return Ok(draft.resolve_duplicate(first.request(), (&**first).into())?);
        }
        if self.merged_place(tenant, draft.id)?.is_some() {
            let first = reader::message(self.db, tenant, draft.id)?;
            let first = first.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            return Ok(draft.resolve_duplicate(first.request(), (&first).into())?);
        }
        let room = self.room(tenant, &draft.room)?;
        room.last_seq += 1;
        let room = *room;
        let client = draft.client.as_ref();
        self.db
            .prepare_cached(
                "INSERT INTO recent_messages
                   (room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id, request)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                room.row,
                room.last_seq,
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
        let seq = room.last_seq.cast_unsigned();
        let message = Arc::new(draft.message(seq));
        let room_rev = room.last_rev.cast_unsigned();
        let n = self.db.last_insert_rowid();
        self.pending.push(tenant, n, message.clone(), room_rev);
        self.appended.push(RecentRow {
            n,
            tenant_row: room.tenant,
            room_row: room.row,
            room_rev,
            tenant: tenant.clone(),
            message,
        });
        let more = Usage {
            message_bytes: message_bytes(&draft.content, draft.metadata.as_deref()),
            rooms: u64::from(seq == 1),
            ..Usage::default()
        };
        self.usages.add(self.db, room.tenant, more, write_set.quota)??;
        Ok(Written::Appended {
            seq,
            sent_at: draft.sent_at,
            duplicate: false,
        })
    }

    fn mark_read(&mut self, tenant: &TenantId, id: MessageId, user: &UserId, at: u64) -> Result<Written, WriteError> {
        let (room, seq) = self.place(tenant, id)?.ok_or(Rejected::NotFound)?;
        let first = self
            .db
            .prepare_cached(
                "INSERT INTO receipts (room_id, seq, user, read_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )?
            .execute(params![room, seq, user.as_str(), at.cast_signed()])?;
        if first == 1 {
            return Ok(Written::Read { at, first: true });
        }
        let at: i64 = self
            .db
            .prepare_cached("SELECT read_at FROM receipts WHERE room_id = ?1 AND seq = ?2 AND user = ?3")?
            .query_row(params![room, seq, user.as_str()], |row| row.get(0))?;
        Ok(Written::Read {
            at: at.cast_unsigned(),
            first: false,
        })
    }
}

fn can_reject(write: &Write) -> bool {
    match write {
        Write::Append(_)
        | Write::MarkRead { .. }
        | Write::Revise(_)
        | Write::KvIncrement { .. }
        | Write::KvRaise { .. }
        | Write::DueSet { .. } => true,
        Write::KvSet { .. } | Write::KvDelete { .. } => false,
    }
}
