//! The store in one SQLite file, for one node.
//!
//! # Threads
//! One **writer** thread owns the only connection that writes. It takes a batch at a time over a channel, makes it
//! one transaction and answers after the commit, which with a write-ahead log and `synchronous=FULL` includes the
//! `fsync`. Two **reader** threads own a read-only connection each and share one queue; thanks to the log they see
//! the last commit and never wait for the writer. Connections never change threads, and no async task ever waits for
//! the disk.
//!
//! # Tables
//! `migrations/sqlite/` has the schema: `tenants` and `rooms` give names numbers; `messages` is one tree ordered by
//! (room, seq) with a unique index on (tenant, id); `receipts` is ordered by (room, seq, user); `kv` by (tenant,
//! handler, key). A room's last `seq` is the greatest of its messages and is kept nowhere else, so it cannot
//! disagree with them; the writer remembers it. Whoever should come to prune old messages must leave a room's last.
//!
//! # Who may open it
//! One process at a time, held by an advisory lock (`flock`) on the file `<database>.lock` beside it. The file stays
//! when the server ends and means nothing by itself; the lock ends with the process, also with `kill -9`. Reading
//! and backing up do not need it, with SQLite's own tools neither; [`restore`] does.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{KvKey, Message, Page, Range, Rejected, Store, StoreError, Usage, WriteSet, Written};
use crate::id::{MessageId, RoomId, TenantId};

mod backup;
mod catalog;
mod error;
mod integrity;
mod open;
mod reader;
mod removal;
mod row_cache;
#[cfg(test)]
mod tests;
mod usage_cache;
mod writer;

pub use backup::{BackupError, Restored, backup, restore};
pub use open::{OpenError, check_path};

/// Reader threads, each with a connection and a page cache of its own.
const READERS: usize = 2;
/// Batches, and as many questions, that may wait before the next one waits to be taken on.
const QUEUE: usize = 256;

/// See the [module](self). Cheap to ask from any number of tasks; share it in an [`Arc`].
pub struct SqliteStore {
    writer: mpsc::Sender<writer::Command>,
    readers: mpsc::Sender<reader::Command>,
    /// Taken by [`SqliteStore::close`].
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it if there is none, and brings its schema up to date. The directory
    /// must be there. Looks for damage for as long as `check_time`. Blocks on the disk; meant for the start of the
    /// server.
    ///
    /// # Errors
    /// Each says what is wrong with which file and what to do about it.
    pub fn open(path: &Path, check_time: Duration) -> Result<Self, OpenError> {
        let opened = open::open(path, check_time)?;
        let lock = Arc::new(opened.lock);
        let spawn_failed = |source: std::io::Error| OpenError::Failed {
            path: path.display().to_string(),
            source: source.into(),
        };

        let (readers, questions) = mpsc::channel(QUEUE);
        let questions = Arc::new(Mutex::new(questions));
        let mut threads = Vec::with_capacity(READERS + 1);
        for n in 0..READERS {
            let db = open::open_reader(&opened.path)?;
            let (questions, lock) = (Arc::clone(&questions), Arc::clone(&lock));
            let run = move || reader::run(db, &questions, lock);
            threads.push(
                thread::Builder::new()
                    .name(format!("store-read-{n}"))
                    .spawn(run)
                    .map_err(spawn_failed)?,
            );
        }
        let (writer, batches) = mpsc::channel(QUEUE);
        let run = move || writer::WriterThread::new(opened.writer, lock).run(batches);
        threads.push(
            thread::Builder::new()
                .name("store-write".to_owned())
                .spawn(run)
                .map_err(spawn_failed)?,
        );
        Ok(Self {
            writer,
            readers,
            threads: Mutex::new(threads),
        })
    }

    /// Finishes what was asked before, folds the write-ahead log into the database and ends the threads. What is
    /// asked afterwards is [`StoreError::Unavailable`]. Without it nothing is lost, but the next start has the log
    /// to read, and for a moment the database may still be locked.
    pub async fn close(&self) {
        for _ in 0..READERS {
            // Sending and waiting fail only when the threads have ended.
            let (reply, closed) = oneshot::channel();
            let _ = self.readers.send(reader::Command::Close(reply)).await;
            let _ = closed.await;
        }
        // The writer goes last, for the last connection to close removes the log.
        let (reply, closed) = oneshot::channel();
        let _ = self.writer.send(writer::Command::Close { reply }).await;
        let _ = closed.await;
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        }
    }

    async fn write<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> writer::Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(job(reply)).await.map_err(|_| error::closed())?;
        answer.await.map_err(|_| error::closed())?
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let ask = Box::new(move |db: &Connection| {
            // Whoever asked may have gone: then nobody needs the answer.
            if !reply.is_closed() {
                let _ = reply.send(question(db));
            }
        });
        self.readers
            .send(reader::Command::Query(ask))
            .await
            .map_err(|_| error::closed())?;
        answer
            .await
            .map_err(|_| error::closed())?
            .map_err(error::to_store_error)
    }
}

/// A [`commit`](Store::commit) whose caller goes away is carried out all the same.
#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<Result<Vec<Written>, Rejected>>, StoreError> {
        self.write(|reply| writer::Command::Commit { write_sets, reply }).await
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |db| reader::message(db, &tenant, id)).await
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        let (tenant, room) = (tenant.clone(), room.clone());
        self.read(move |db| reader::history(db, &tenant, &room, range)).await
    }

    async fn last_seq(&self, tenant: &TenantId, room: &RoomId) -> Result<u64, StoreError> {
        let (tenant, room) = (tenant.clone(), room.clone());
        self.read(move |db| reader::last_seq(db, &tenant, &room)).await
    }

    async fn last_seqs(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<u64>, StoreError> {
        let (tenant, rooms) = (tenant.clone(), rooms.to_vec());
        self.read(move |db| rooms.iter().map(|room| reader::last_seq(db, &tenant, room)).collect())
            .await
    }

    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError> {
        let tenant = tenant.clone();
        self.run(move |writer| match writer.rows.find_tenant(&writer.db, &tenant)? {
            Some(row) => usage_cache::read(&writer.db, row),
            None => Ok(Usage::default()),
        })
        .await
    }

    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError> {
        loop {
            let tenant = tenant.clone();
            if !self.run(move |writer| removal::step(writer, &tenant)).await? {
                return Ok(());
            }
        }
    }

    async fn kv_get(&self, tenant: &TenantId, key: &KvKey, now: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let (tenant, key) = (tenant.clone(), key.clone());
        self.read(move |db| reader::kv_get(db, &tenant, &key, now)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.write(|reply| writer::Command::Ping { reply }).await
    }
}
