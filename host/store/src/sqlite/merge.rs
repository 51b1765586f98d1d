//! Merges recent messages into the trees of `messages` and `message_ids`.
//!
//! A merge takes all messages that are recent when it begins, and goes on in slices, each in the transaction of a batch:
//! first the messages in the order of `messages`, then their ids in the order of `message_ids`, then they are deleted
//! from `recent_messages`, the oldest first. In memory each stays until that is committed, so a read finds it in memory
//! or merged. What a process leaves in `recent_messages` is merged when the database is opened next; some of it may be
//! merged already.
//!
//! Merging is two thirds of what a message costs in SQLite. So it goes over the messages themselves, which are in memory,
//! and not over the rows of `recent_messages`.

use std::sync::Arc;

use rusqlite::{Connection, Result, Transaction, TransactionBehavior, params};

use crate::Message;
use parlance_types::id::TenantId;

/// Recent messages with which a merge begins. The more there are, the more of them share a page of the trees: of a
/// million ids, 8,192 new ones have 5,600 pages, and 32,768 have 10,000. In tests few, so that all of them see merges.
const MERGE_MESSAGES: usize = if cfg!(test) { 16 } else { 32_768 };
/// Bytes of recent messages with which a merge begins, whatever their number.
const MERGE_BYTES: usize = 24 * 1024 * 1024;
/// Messages of one slice, which takes less than a millisecond.
const SLICE: usize = if cfg!(test) { 3 } else { 128 };
/// How much larger a slice is than a large batch. A merge goes over its messages three times, so with less than three a
/// merge would take so long that the next one has more messages.
const SLICE_PER_BATCH: usize = 6;

/// Adds messages to their tree, which may have them already: one that was changed was merged before.
macro_rules! insert_messages {
    () => {
        "INSERT OR IGNORE INTO messages
           (room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id, request) "
    };
}

/// Copies recent messages. What follows says which ones, or in which order.
macro_rules! insert_recent {
    () => {
        concat!(
            insert_messages!(),
            "SELECT room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username, client_id, request
             FROM recent_messages"
        )
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
    /// In the order of the phase. Those that are deleted are not there any more.
    rows: Vec<RecentRow>,
    phase: Phase,
    /// Rows of this phase that are done and committed.
    done: usize,
}

/// The recent messages that wait for a merge, and the merge under way.
#[derive(Default)]
pub(super) struct Merger {
    /// In the order of `n`.
    waiting: Vec<RecentRow>,
    /// About how many bytes of memory they take, also those that were changed or deleted meanwhile.
    waiting_bytes: usize,
    merge: Option<Merge>,
}

impl Merger {
    /// Adds messages that have been committed, in their order.
    pub(super) fn add(&mut self, rows: Vec<RecentRow>) {
        self.waiting_bytes += rows.iter().map(|row| weight(&row.message)).sum::<usize>();
        self.waiting.extend(rows);
    }

    /// Whether a merge can begin, and enough messages wait for it.
    pub(super) fn is_due(&self) -> bool {
        self.can_begin() && (self.waiting.len() >= MERGE_MESSAGES || self.waiting_bytes >= MERGE_BYTES)
    }

    /// Whether a merge could begin.
    pub(super) fn can_begin(&self) -> bool {
        self.merge.is_none() && !self.waiting.is_empty()
    }

    /// Begins a merge. To be called after [`RecentMessages::merge_begins`](super::recent::RecentMessages::merge_begins).
    pub(super) fn begin(&mut self) {
        let mut rows = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        // With the keys beside each other: those in the messages are all over the memory.
        rows.sort_by_cached_key(|row| (row.room_row, row.message.seq));
        self.merge = Some(Merge {
            rows,
            phase: Phase::Messages,
            done: 0,
        });
    }

    /// Does the next slice of the merge under way, in the current transaction, which has `batch` messages. Returns how
    /// many rows it has done, for [`Merger::committed`].
    pub(super) fn slice(&self, db: &Connection, batch: usize) -> Result<usize> {
        let Some(Merge { rows, phase, done }) = &self.merge else {
            return Ok(0);
        };
        let left = rows.get(*done..).unwrap_or_default();
        let count = left.len().min(SLICE.max(SLICE_PER_BATCH * batch));
        let slice = left.get(..count).unwrap_or_default();
        match phase {
            Phase::Messages => {
                let mut insert = db.prepare_cached(concat!(
                    insert_messages!(),
                    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
                ))?;
                for RecentRow {
                    tenant_row,
                    room_row,
                    message,
                    ..
                } in slice
                {
                    let client = message.client.as_ref();
                    insert.execute(params![
                        room_row,
                        message.seq.cast_signed(),
                        tenant_row,
                        message.id.to_bytes(),
                        message.sender.as_str(),
                        message.content,
                        message.metadata,
                        message.sent_at.cast_signed(),
                        &*message.username,
                        client.map(|client| &*client.id),
                        client.map(|client| client.request.to_bytes()),
                    ])?;
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
                // The oldest are the last ones.
                if let Some(newest) = rows.get(rows.len() - count) {
                    db.prepare_cached("DELETE FROM recent_messages WHERE n <= ?1")?
                        .execute([newest.n])?;
                }
            }
        }
        Ok(count)
    }

    /// Goes on to what follows the slice that was just committed, with this many rows. Returns the messages that are not
    /// recent any more.
    pub(super) fn committed(&mut self, count: usize) -> Vec<RecentRow> {
        let Some(merge) = &mut self.merge else {
            return Vec::new();
        };
        if merge.phase == Phase::Deletion {
            let mut deleted = merge.rows.split_off(merge.rows.len() - count);
            deleted.reverse();
            self.merge = self.merge.take().filter(|merge| !merge.rows.is_empty());
            return deleted;
        }
        merge.done += count;
        if merge.done == merge.rows.len() {
            merge.done = 0;
            if merge.phase == Phase::Messages {
                merge.phase = Phase::Ids;
                merge
                    .rows
                    .sort_by_cached_key(|row| (row.tenant_row, row.message.id.to_bytes()));
            } else {
                merge.phase = Phase::Deletion;
                merge.rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.n));
            }
        }
        Vec::new()
    }
}

/// About how many bytes of memory a message takes.
fn weight(message: &Message) -> usize {
    const OVERHEAD: usize = 512;
    OVERHEAD + message.bytes()
}

/// Merges the message of one row. The row stays, without what people wrote and who they are, until a merge deletes it: its
/// number must not be given to another message before.
pub(super) fn merge_one(db: &Connection, n: i64) -> Result<()> {
    db.prepare_cached(concat!(insert_recent!(), " WHERE n = ?1"))?
        .execute([n])?;
    db.prepare_cached(
        "INSERT OR IGNORE INTO message_ids (tenant_id, id, room_id, seq)
         SELECT tenant_id, id, room_id, seq FROM recent_messages WHERE n = ?1",
    )?
    .execute([n])?;
    db.prepare_cached(
        "UPDATE recent_messages SET sender = '', content = '', metadata = NULL, username = NULL, client_id = NULL,
             request = NULL
         WHERE n = ?1",
    )?
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
