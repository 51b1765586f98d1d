//! Measures what a message costs in a SQLite database on a real disk: processor time and elapsed time, for batches of
//! several sizes, in few and many rooms, in a new database and in one that has messages; then what it costs more when its
//! handler had read keys: such as have not changed since, and such as the commit reads again.
//!
//! `cargo bench -p parlance-store --features sqlite --bench append -- [DIRECTORY]`
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints its figures and may fail loudly"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parlance_store::sqlite::SqliteStore;
use parlance_store::{
    ClientRef, Draft, KeyRead, KvKey, ReadSet, Reader as _, RequestDigest, StorageQuota, Write, WriteSet, Writer as _,
};
use parlance_types::id::{MessageId, RoomId, TenantId, UserId};

/// Messages of one measurement.
const MESSAGES: u64 = 40_000;

struct Messages {
    tenant: TenantId,
    rooms: Vec<RoomId>,
    sender: UserId,
    username: Arc<str>,
    /// How many there were so far.
    count: u64,
    /// Keys that the handler of each message has read.
    keys_read: u64,
    /// The commit that the reads have seen.
    commit: u64,
    keys: Vec<(KvKey, Vec<u8>)>,
}

/// Keys that are stored, with a value each.
const KEYS: u64 = 10_000;

fn key(number: u64) -> KvKey {
    KvKey {
        handler: "message".into(),
        key: format!("a-key-of-a-user/{number:06}"),
    }
}

fn value(number: u64) -> Vec<u8> {
    format!("{{\"words\":{number},\"since\":1700000000000}}").into_bytes()
}

impl Messages {
    fn next(&mut self) -> WriteSet {
        self.count += 1;
        let room = &self.rooms[usize::try_from(self.count).expect("few") % self.rooms.len()];
        let content = format!("{:0100}", self.count);
        // As ids of messages with a client's id: a digest, so without order.
        let digest = RequestDigest::of(room.as_str(), &content, None);
        let reads = self.reads();
        WriteSet {
            tenant: self.tenant.clone(),
            reads,
            writes: vec![Arc::new(Write::Append(Draft {
                id: MessageId::from_bytes(digest.to_bytes()),
                room: room.clone(),
                sender: self.sender.clone(),
                username: self.username.clone(),
                content,
                metadata: None,
                sent_at: 1_700_000_000_000,
                client: Some(ClientRef {
                    id: format!("client-{}", self.count).into(),
                    request: digest,
                }),
                reject_repeated: true,
            }))],
            quota: StorageQuota::UNLIMITED,
        }
    }

    /// What the handler has read. The event has its keys and values anyway; here they are made once.
    fn reads(&self) -> ReadSet {
        let mut reads = ReadSet::default();
        let first = usize::try_from(self.count * 7919 % (KEYS - 8)).expect("few");
        let keys = self.keys.iter().skip(first).step_by(2);
        for (key, value) in keys.take(usize::try_from(self.keys_read).expect("few")) {
            reads.add_key_seen_after(self.commit, key, Some(value));
        }
        reads
    }

    async fn append(&mut self, store: &SqliteStore, messages: u64, batch: u64) {
        for _ in 0..messages / batch {
            let write_sets = (0..batch).map(|_| self.next()).collect();
            let results = store.commit(write_sets).await.expect("it commits");
            assert!(results.iter().all(Result::is_ok), "a message was rejected");
        }
    }
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let directory = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let directory = directory.map_or_else(std::env::temp_dir, PathBuf::from);
    let temporary = tempfile::tempdir_in(directory).expect("a directory");
    println!("| rooms | stored before | batch | processor time a message, µs | elapsed, µs |");
    println!("| --- | --- | --- | --- | --- |");
    for (rooms, stored) in [(20, 0), (100, 0), (100, 400_000)] {
        let path = temporary.path().join(format!("{rooms}-{stored}.db"));
        let store = SqliteStore::open(&path, Duration::ZERO).expect("it opens");
        let mut messages = Messages {
            tenant: TenantId::for_tests("default").expect("a valid id"),
            rooms: (0..rooms)
                .map(|n| RoomId::new(&format!("room-{n}")).expect("a valid id"))
                .collect(),
            sender: UserId::new("alice").expect("a valid id"),
            username: "Alice".into(),
            count: 0,
            keys_read: 0,
            commit: KeyRead::UNKNOWN_COMMIT,
            keys: (0..KEYS).map(|number| (key(number), value(number))).collect(),
        };
        messages.append(&store, stored, 2000).await;
        for batch in [10, 40, 160] {
            let (began, before) = (Instant::now(), processor_time());
            messages.append(&store, MESSAGES, batch).await;
            let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(u32::try_from(MESSAGES).expect("few"));
            let (used, elapsed) = (each(processor_time().saturating_sub(before)), each(began.elapsed()));
            println!("| {rooms} | {stored} | {batch} | {used:.1} | {elapsed:.1} |");
        }
        if stored > 0 {
            println!();
            measure_reads(&store, &mut messages).await;
        }
        store.close().await;
    }
}

/// Measures messages whose handlers had read keys, in turn with some that had not.
async fn measure_reads(store: &SqliteStore, messages: &mut Messages) {
    let set = |number| {
        Arc::new(Write::KvSet {
            key: key(number),
            value: value(number),
            expires_at: None,
        })
    };
    let keys = WriteSet {
        tenant: messages.tenant.clone(),
        reads: ReadSet::default(),
        writes: (0..KEYS).map(set).collect(),
        quota: StorageQuota::UNLIMITED,
    };
    assert!(
        store.commit(vec![keys]).await.expect("it commits")[0].is_ok(),
        "the keys"
    );
    println!("| keys read | compared by the commit | batch | processor time a message, µs |");
    println!("| --- | --- | --- | --- |");
    for (keys_read, is_compared) in [(0, true), (4, true), (4, false), (8, true), (8, false)].repeat(3) {
        messages.keys_read = keys_read;
        messages.commit = if is_compared {
            KeyRead::UNKNOWN_COMMIT
        } else {
            store.last_commit()
        };
        let before = processor_time();
        messages.append(store, MESSAGES, 40).await;
        let used = processor_time().saturating_sub(before).as_secs_f64() * 1e6;
        let each = used / f64::from(u32::try_from(MESSAGES).expect("few"));
        println!(
            "| {keys_read} | {} | 40 | {each:.2} |",
            if is_compared { "yes" } else { "no" }
        );
    }
}
