//! The store in one SQLite file, for one node.
//!
//! # Threads
//! One **writer** thread owns the only connection that writes. It takes one batch at a time from a channel, makes it one
//! transaction, and answers after the commit. With a write-ahead log and `synchronous=FULL` a commit includes the
//! `fsync`. Two **reader** threads own a read-only connection each and share one queue. The write-ahead log lets them
//! read the last commit without waiting for the writer. A connection never changes threads, and no async task waits for
//! the disk.
//!
//! # Tables
//! `migrations/sqlite/` has the schema. `tenants` and `rooms` give each name a row number. A commit appends its messages
//! to `recent_messages`. The writer merges them later (module `merge`) into `messages`, a tree in the order of (room,
//! seq), and `message_ids`, one in the order of (tenant, id); until then they are in memory too (module `recent`).
//! `receipts` is in the order of (room, seq, user), `kv` in that of (tenant, handler, key). A room's last `seq` is the
//! greatest of its messages, so that it cannot disagree with them, or the last one that was removed; the writer caches it.
//!
//! # Locking
//! One process at a time opens the database: it holds an advisory lock (`flock`) on the file `<database>.lock` beside
//! it. The lock ends with the process, also with `kill -9`; the file stays, and has no meaning without the lock. Reads
//! and backups, also by SQLite's own tools, need no lock. [`restore`] does.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    ChangeRange, Changes, DueKey, DueSpace, Epoch, Health, KvKey, KvPage, KvRange, Message, Page, Place, Range,
    ReadSet, Reader, SLOTS, Schedule, StoreError, WriteSet, WriteSetResult, Writer,
};
use key_changes::LastCommit;
use known_ids::KnownIds;
use parlance_types::id::{MessageId, RoomId, TenantId};
use reader::ReaderCommand;
use recent::SharedRecent;
use writer::{WriterCommand, WriterThread};

mod backup;
mod catalog;
mod error;
mod integrity;
mod key_changes;
mod known_ids;
mod kv;
mod log;
mod maintenance;
mod merge;
mod open;
mod people;
mod reader;
mod recent;
mod removal;
mod retention;
mod revise;
mod rooms_of;
mod row_cache;
#[cfg(test)]
mod tests;
mod usage_cache;
mod writer;

pub use backup::{BackupError, Restored, backup, restore};
pub use open::{OpenError, check_path};

/// Reader threads, each with its own connection and page cache.
const READERS: usize = 2;
/// Commands that the writer's queue and the readers' queue hold each. Callers of a full queue wait.
const QUEUE: usize = 256;

/// An open SQLite database. See the [module](self).
///
/// Any number of tasks may share it in an [`Arc`].
pub struct SqliteStore {
    writer: mpsc::Sender<WriterCommand>,
    readers: mpsc::Sender<ReaderCommand>,
    recent: SharedRecent,
    known_ids: Arc<KnownIds>,
    epoch: Epoch,
    last_commit: LastCommit,
    /// Emptied by [`SqliteStore::close`].
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the database at `path`, creates it if it does not exist, and migrates its schema. The directory must exist.
    ///
    /// Looks for damage for at most `check_time`. Blocks on the disk, so call it only while the server starts.
    ///
    /// # Errors
    /// Each error names the file, what is wrong with it, and what to do.
    pub fn open(path: &Path, check_time: Duration) -> Result<Self, OpenError> {
        let opened = open::open(path, check_time)?;
        let lock = Arc::new(opened.lock);
        let spawn_failed = |source: std::io::Error| OpenError::Failed {
            path: path.display().to_string(),
            source: source.into(),
        };

        let (readers, commands) = mpsc::channel(QUEUE);
        let commands = Arc::new(Mutex::new(commands));
        let mut threads = Vec::with_capacity(READERS + 1);
        for n in 0..READERS {
            let db = open::open_reader(&opened.path)?;
            let (commands, lock) = (Arc::clone(&commands), Arc::clone(&lock));
            let run = move || reader::run(db, &commands, lock);
            threads.push(
                thread::Builder::new()
                    .name(format!("store-read-{n}"))
                    .spawn(run)
                    .map_err(spawn_failed)?,
            );
        }
        let (writer, commands) = mpsc::channel(QUEUE);
        let recent = SharedRecent::default();
        let known_ids = KnownIds::new(opened.messages);
        let thread = WriterThread::new(opened.writer, recent.clone(), known_ids.clone(), lock.clone());
        let last_commit = thread.key_changes.last_commit();
        let run = move || thread.run(commands);
        threads.push(
            thread::Builder::new()
                .name("store-write".to_owned())
                .spawn(run)
                .map_err(spawn_failed)?,
        );
        let known = known_ids.clone();
        // The queue is empty, so it has room.
        let _ = readers.try_send(ReaderCommand::Run(Box::new(move |db| known.read(db))));
        Ok(Self {
            writer,
            readers,
            recent,
            known_ids,
            epoch: opened.epoch,
            last_commit,
            threads: Mutex::new(threads),
        })
    }

    /// Completes the calls made so far, checkpoints the write-ahead log, and ends the threads. Later calls fail with
    /// [`StoreError::Unavailable`].
    ///
    /// A process that ends without closing loses nothing, but its next start has the log to read, and the database may
    /// still be locked for a moment.
    pub async fn close(&self) {
        self.known_ids.stop();
        for _ in 0..READERS {
            // Sending and waiting fail only when the threads have ended.
            let (reply, closed) = oneshot::channel();
            let _ = self.readers.send(ReaderCommand::Close(reply)).await;
            let _ = closed.await;
        }
        // The writer goes last, because SQLite removes the log with the last connection.
        let (reply, closed) = oneshot::channel();
        let _ = self.writer.send(WriterCommand::Close(reply)).await;
        let _ = closed.await;
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        }
    }

    /// Runs `job` on the writer thread, even when the caller drops this future.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut WriterThread) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |writer: &mut WriterThread| {
            // Sending fails when the caller has dropped its future.
            let _ = reply.send(job(writer));
        });
        self.writer
            .send(WriterCommand::Run(job))
            .await
            .map_err(|_| error::closed())?;
        received(answer).await
    }

    /// Runs `query` on a reader thread, unless the caller drops this future first.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let query = Box::new(move |db: &Connection| {
            if !reply.is_closed() {
                let _ = reply.send(query(db));
            }
        });
        self.readers
            .send(ReaderCommand::Run(query))
            .await
            .map_err(|_| error::closed())?;
        received(answer).await
    }
}

/// Waits for the answer of a thread.
async fn received<T>(answer: oneshot::Receiver<rusqlite::Result<T>>) -> Result<T, StoreError> {
    answer
        .await
        .map_err(|_| error::closed())?
        .map_err(error::to_store_error)
}

#[async_trait::async_trait]
impl Reader for SqliteStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn last_commit(&self) -> u64 {
        self.last_commit.get()
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        if !self.known_ids.may_have(id) {
            return Ok(None);
        }
        if let Some(message) = self.recent.read().message(tenant, id) {
            return Ok(Some(Message::clone(message)));
        }
        let tenant = tenant.clone();
        self.read(move |db| reader::message(db, &tenant, id)).await
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        let (tenant, room, recent) = (tenant.clone(), room.clone(), self.recent.clone());
        self.read(move |db| reader::history(db, &recent, &tenant, &room, range))
            .await
    }

    async fn changed_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        range: ChangeRange,
    ) -> Result<Changes, StoreError> {
        let (tenant, room) = (tenant.clone(), room.clone());
        self.read(move |db| reader::changes(db, &tenant, &room, range)).await
    }

    async fn places(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<Place>, StoreError> {
        let (tenant, rooms, recent) = (tenant.clone(), rooms.to_vec(), self.recent.clone());
        self.read(move |db| {
            let place = |room| reader::place(db, &recent, &tenant, room);
            rooms.iter().map(place).collect()
        })
        .await
    }

    async fn kv_get_many(
        &self,
        tenant: &TenantId,
        keys: &[KvKey],
        now: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let (tenant, keys) = (tenant.clone(), keys.to_vec());
        self.read(move |db| reader::kv_get_many(db, &tenant, &keys, now)).await
    }

    async fn kv_scan(
        &self,
        tenant: &TenantId,
        range: &KvRange,
        limit: u32,
        bytes: u64,
        now: u64,
    ) -> Result<KvPage, StoreError> {
        let (tenant, range) = (tenant.clone(), range.clone());
        self.read(move |db| reader::kv_scan(db, &tenant, &range, limit, bytes, now))
            .await
    }

    async fn reads_hold(&self, tenant: &TenantId, reads: &ReadSet) -> Result<bool, StoreError> {
        let (tenant, reads) = (tenant.clone(), reads.clone());
        self.read(move |db| {
            let _snapshot = reader::snapshot(db)?;
            kv::reads_hold(db, reader::tenant_row(db, &tenant)?, &reads, None)
        })
        .await
    }
}

#[async_trait::async_trait]
impl Writer for SqliteStore {
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<WriteSetResult>, StoreError> {
        self.write(move |writer| writer.commit(&write_sets)).await
    }
}

#[async_trait::async_trait]
impl Schedule for SqliteStore {
    async fn own_slots(&self, _: &str, _: Duration) -> Result<Vec<u16>, StoreError> {
        // No other process has the database open.
        Ok((0..SLOTS).collect())
    }

    async fn leave(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn due_spaces(&self, _: &[u16], now: u64) -> Result<Vec<DueSpace>, StoreError> {
        self.read(move |db| reader::due_spaces(db, now)).await
    }

    async fn due_keys(&self, space: &DueSpace, now: u64, limit: u32) -> Result<Vec<DueKey>, StoreError> {
        let space = space.clone();
        self.read(move |db| reader::due_keys(db, &space, now, limit)).await
    }
}

#[async_trait::async_trait]
impl Health for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.write(|writer| writer.ping()).await
    }
}
