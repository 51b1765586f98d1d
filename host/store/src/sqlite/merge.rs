//! Merges recent messages into the trees of `messages` and `message_ids`.
//!
//! A merge takes all messages that are recent when it begins, and goes on in slices, each in the transaction of a batch:
//! first the messages in the order of `messages`, then their ids in the order of `message_ids`, then they are deleted
//! from `recent_messages`. In memory they stay until the last slice is committed, so a read finds each message in memory
//! or merged. What a process leaves in `recent_messages` is merged when the database is opened next; some of it may be
//! merged already.

use std::sync::Arc;

use rusqlite::{Connection, Result, Transaction, TransactionBehavior, params};

use super::recent::RecentMessages;
use crate::{End, Message};
use parlance_types::id::TenantId;

/// Recent messages with which a merge begins. The more there are, the more of them share a page of the trees: of a
/// million ids, 8,192 new ones have 5,600 pages. In tests few, so that all of them see merges.
const MERGE_MESSAGES: usize = if cfg!(test) { 16 } else { 8192 };
/// Bytes of recent messages with which a merge begins, whatever their number.
const MERGE_BYTES: usize = 8 * 1024 * 1024;
/// Messages of one slice, which takes less than a millisecond.
const SLICE: usize = if cfg!(test) { 3 } else { 128 };
/// How much larger a slice is than a large batch. A merge goes over its messages three times, so with less than three a
/// merge would take so long that the next one has more messages.
const SLICE_PER_BATCH: usize = 6;

/// Copies recent messages. What follows says which ones, or in which order.
macro_rules! insert_recent {
    () => {
        "INSERT OR IGNORE INTO messages
           (room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id, request)
         SELECT room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id, request
         FROM recent_messages"
    };
}

/// A recent message, with the numbers of its rows.
pub(super) struct RecentRow {
    pub(super) n: i64,
    pub(super) tenant_row: i64,
    pub(super) room_row: i64,
    /// The `rev` of the room's last change when the message was appended.
    pub(super) room_rev: u64,
    pub(super) tenant: TenantId,
    pub(super) message: Arc<Message>,
}

/// What a merge does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Messages,
    Ids,
    Deletion,
}

/// A merge under way.
struct Merge {
    rows: Vec<RecentRow>,
    phase: Phase,
    /// Rows of this phase that are done and committed.
    done: usize,
    /// The greatest `n` among the rows.
    last_n: i64,
}

/// The recent messages that wait for a merge, and the merge under way.
#[derive(Default)]
pub(super) struct Merger {
    /// In the order of `n`.
    waiting: Vec<RecentRow>,
    merge: Option<Merge>,
}

impl Merger {
    /// Adds messages that have been committed, in their order.
    pub(super) fn add(&mut self, rows: impl IntoIterator<Item = RecentRow>) {
        self.waiting.extend(rows);
    }

    /// The number of a recent message's row.
    pub(super) fn row_number(&self, room_row: i64, seq: i64) -> Option<i64> {
        let under_way = self.merge.iter().flat_map(|merge| &merge.rows);
        let mut rows = self.waiting.iter().rev().chain(under_way);
        let row = rows.find(|row| row.room_row == room_row && row.message.seq.cast_signed() == seq);
        row.map(|row| row.n)
    }

    /// Begins a merge if enough messages wait for one, or if there are any and it is to begin `now`.
    pub(super) fn begin(&mut self, recent: &mut RecentMessages, now: bool) {
        let enough = self.waiting.len() >= MERGE_MESSAGES || recent.bytes() >= MERGE_BYTES;
        if self.merge.is_some() || self.waiting.is_empty() || !(enough || now) {
            return;
        }
        let mut rows = std::mem::take(&mut self.waiting);
        let last_n = rows.last().map_or(0, |row| row.n);
        rows.sort_unstable_by_key(|row| (row.room_row, row.message.seq));
        recent.merge_begins();
        self.merge = Some(Merge {
            rows,
            phase: Phase::Messages,
            done: 0,
            last_n,
        });
    }

    /// Does the next slice of the merge under way, in the current transaction, which has `batch` messages. Returns how
    /// many rows of the phase are done with it, for [`Merger::committed`].
    pub(super) fn slice(&self, db: &Connection, batch: usize) -> Result<usize> {
        let Some(merge) = &self.merge else {
            return Ok(0);
        };
        let most = SLICE.max(SLICE_PER_BATCH * batch);
        let end = merge.rows.len().min(merge.done.saturating_add(most));
        let slice = merge.rows.get(merge.done..end).unwrap_or_default();
        match merge.phase {
            Phase::Messages => {
                let mut insert = db.prepare_cached(concat!(insert_recent!(), " WHERE n = ?1"))?;
                for row in slice {
                    insert.execute([row.n])?;
                }
            }
            Phase::Ids => {
                let mut insert = db.prepare_cached(
                    "INSERT OR IGNORE INTO message_ids (tenant_id, id, room_id, seq) VALUES (?1, ?2, ?3, ?4)",
                )?;
                for row in slice {
                    let seq = row.message.seq.cast_signed();
                    insert.execute(params![row.tenant_row, row.message.id.to_bytes(), row.room_row, seq])?;
                }
            }
            Phase::Deletion => {
                db.prepare_cached(
                    "DELETE FROM recent_messages WHERE n IN
                     (SELECT n FROM recent_messages WHERE n <= ?1 ORDER BY n LIMIT ?2)",
                )?
                .execute(params![merge.last_n, i64::try_from(most).unwrap_or(i64::MAX)])?;
            }
        }
        Ok(end)
    }

    /// Goes on to what follows the slice that was just committed. After the last one, the messages are not recent any
    /// more.
    pub(super) fn committed(&mut self, done: usize, recent: &mut RecentMessages) {
        let Some(merge) = &mut self.merge else {
            return;
        };
        merge.done = done;
        if done < merge.rows.len() {
            return;
        }
        merge.done = 0;
        match merge.phase {
            Phase::Messages => {
                merge
                    .rows
                    .sort_unstable_by_key(|row| (row.tenant_row, row.message.id.to_bytes()));
                merge.phase = Phase::Ids;
            }
            Phase::Ids => merge.phase = Phase::Deletion,
            Phase::Deletion => {
                for row in self.merge.take().into_iter().flat_map(|merge| merge.rows) {
                    recent.remove(&row.tenant, &row.message, End::Oldest);
                }
            }
        }
    }
}

/// Merges the message of one row. The row stays, without the text, until a merge deletes it: its number must not be given
/// to another message before.
pub(super) fn merge_one(db: &Connection, n: i64) -> Result<()> {
    db.prepare_cached(concat!(insert_recent!(), " WHERE n = ?1"))?
        .execute([n])?;
    db.prepare_cached(
        "INSERT OR IGNORE INTO message_ids (tenant_id, id, room_id, seq)
         SELECT tenant_id, id, room_id, seq FROM recent_messages WHERE n = ?1",
    )?
    .execute([n])?;
    db.prepare_cached("UPDATE recent_messages SET content = '', metadata = NULL WHERE n = ?1")?
        .execute([n])?;
    Ok(())
}

/// Merges all recent messages at once, when no read needs them in memory: before the first one, where a process that was
/// killed has left some, and after the last one.
pub(super) fn merge_all(db: &Connection) -> Result<()> {
    if !db.query_row("SELECT EXISTS (SELECT 1 FROM recent_messages)", [], |row| {
        row.get::<_, bool>(0)
    })? {
        return Ok(());
    }
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    transaction.execute_batch(concat!(
        insert_recent!(),
        " ORDER BY room_id, seq;
         INSERT OR IGNORE INTO message_ids (tenant_id, id, room_id, seq)
         SELECT tenant_id, id, room_id, seq FROM recent_messages ORDER BY tenant_id, id;
         DELETE FROM recent_messages;",
    ))?;
    transaction.commit()
}
