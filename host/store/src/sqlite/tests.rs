//! What only the SQLite store promises: files, locks, schema, a full disk.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::catalog::{Catalog, Put, RecordKey, RecordKind};
use crate::conformance::{Store, catalog_tests_of, tests_of};
use crate::{Draft, End, Maintenance, StorageQuota, Write, Written};
use parlance_types::id::UserId;

mod backup;
mod merges;
mod paths;
mod removed_people;
mod removed_text;

/// A directory and the path of a database in it.
fn home() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.db");
    (dir, path)
}

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, Duration::from_secs(60))
}

async fn empty() -> (Arc<dyn Store>, TempDir) {
    let (dir, path) = home();
    (Arc::new(open(&path).unwrap()), dir)
}

tests_of!(empty);

async fn empty_catalog() -> (Arc<dyn Catalog>, TempDir) {
    let (dir, path) = home();
    (Arc::new(open(&path).unwrap()), dir)
}

catalog_tests_of!(empty_catalog);

#[tokio::test]
async fn tombstones_of_deleted_documents_go_at_the_start_and_revisions_go_on() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    let put = async |name: &str, document: Option<&str>| {
        let put = Put {
            key: RecordKey {
                kind: RecordKind::Revocation,
                tenant: "acme".to_owned(),
                name: name.to_owned(),
            },
            document: document.map(str::to_owned),
            expect: None,
            component: None,
        };
        store.put(vec![put], vec![]).await.unwrap().unwrap()
    };
    put("a", Some("{}")).await;
    put("a", None).await;
    put("b", Some("{}")).await;
    put("c", None).await;
    store.collect_garbage().await.unwrap();
    let left: Vec<u64> = store
        .changes(0)
        .await
        .unwrap()
        .iter()
        .map(|record| record.revision)
        .collect();
    assert_eq!(left, [3, 4], "the existing document, and the last revision");
    assert_eq!(put("a", Some("{}")).await, 5);
}

fn acme() -> TenantId {
    TenantId::for_tests("acme").unwrap()
}

fn lobby() -> RoomId {
    RoomId::new("lobby").unwrap()
}

fn append(n: u128, content: &str) -> WriteSet {
    let draft = Draft {
        id: MessageId::from_bytes(n.to_be_bytes()),
        room: lobby(),
        sender: UserId::new("ann").unwrap(),
        username: "Ann".into(),
        content: content.to_owned(),
        metadata: None,
        sent_at: 1,
        client: None,
        reject_repeated: false,
    };
    WriteSet {
        tenant: acme(),
        reads: crate::ReadSet::default(),
        writes: vec![Arc::new(Write::Append(draft))],
        quota: StorageQuota::UNLIMITED,
    }
}

fn set(name: &str, expires_at: Option<u64>) -> WriteSet {
    let key = KvKey {
        handler: "h".into(),
        key: name.to_owned(),
    };
    WriteSet {
        tenant: acme(),
        reads: crate::ReadSet::default(),
        writes: vec![Arc::new(Write::KvSet {
            key,
            value: b"v".to_vec(),
            expires_at,
        })],
        quota: StorageQuota::UNLIMITED,
    }
}

fn seq(outcomes: &[WriteSetResult]) -> u64 {
    match outcomes {
        [Ok(written)] => match written[..] {
            [Written::Appended { seq, .. }] => seq,
            _ => panic!("{written:?}"),
        },
        _ => panic!("{outcomes:?}"),
    }
}

impl SqliteStore {
    /// Runs a query on the writer's connection.
    async fn inspect<T: Send + 'static>(&self, query: impl FnOnce(&Connection) -> T + Send + 'static) -> T {
        self.write(move |writer| Ok(query(&writer.db))).await.unwrap()
    }

    async fn number(&self, sql: &'static str) -> i64 {
        self.inspect(move |db| db.query_row(sql, [], |row| row.get(0)).unwrap())
            .await
    }
}

fn why(path: &std::path::Path) -> OpenError {
    match open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn what_was_committed_survives_reopening() {
    let (_dir, path) = home();
    for n in 1..=3 {
        let store = open(&path).unwrap();
        assert_eq!(seq(&store.commit(vec![append(u128::from(n), "x")]).await.unwrap()), n);
        store.close().await;
    }
}

#[tokio::test]
async fn closing_leaves_one_whole_file_and_an_answer_for_latecomers() {
    let (dir, path) = home();
    let store = open(&path).unwrap();
    store.commit(vec![append(1, "x")]).await.unwrap();
    store.close().await;
    let mut files: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["chat.db", "chat.db.lock"]);
    assert!(matches!(
        store.commit(vec![append(2, "x")]).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        store.place(&acme(), &lobby()).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    store.close().await;
}

#[tokio::test]
async fn commits_are_made_to_survive_the_loss_of_power() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    assert_eq!(store.number("PRAGMA synchronous").await, 2, "FULL");
    assert_eq!(store.number("PRAGMA foreign_keys").await, 1);
    assert_eq!(
        store
            .inspect(|db| db.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0)))
            .await,
        Ok("wal".to_owned())
    );
}

#[tokio::test]
async fn a_database_is_for_its_owner_to_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, path) = home();
    let store = open(&path).unwrap();
    store.commit(vec![append(1, "x")]).await.unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.file_name()
        );
    }
}

#[tokio::test]
async fn a_full_disk_fails_the_whole_batch_and_the_store_recovers() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    store.commit(vec![append(1, "before"), set("k", None)]).await.unwrap();
    store.ping().await.unwrap();
    let pages = store.number("PRAGMA page_count").await;
    store
        .inspect(move |db| db.pragma_update(None, "max_page_count", pages))
        .await
        .unwrap();

    let large = "x".repeat(200_000);
    let failed = store
        .commit(vec![append(2, "small"), set("k2", None), append(3, &large)])
        .await
        .unwrap_err();
    assert!(matches!(failed, StoreError::Unavailable(_)), "{failed:?}");
    assert_eq!(failed.to_string(), "the database's disk is full");
    assert_eq!(
        store.place(&acme(), &lobby()).await.unwrap().seq,
        1,
        "nothing of the batch is there"
    );
    let key = KvKey {
        handler: "h".into(),
        key: "k2".to_owned(),
    };
    assert_eq!(store.kv_get(&acme(), &key, 0).await.unwrap(), None);

    // Messages that fit are still appended, without a gap in `seq`, until no page is left.
    let mut last = 1;
    while let Ok(outcomes) = store.commit(vec![append(100 + u128::from(last), "fits?")]).await {
        last += 1;
        assert_eq!(seq(&outcomes), last);
        assert!(last < 10_000, "it fills up");
    }
    assert!(store.ping().await.is_err(), "not ready");

    store
        .inspect(|db| db.pragma_update(None, "max_page_count", i32::MAX))
        .await
        .unwrap();
    store.ping().await.unwrap();
    assert_eq!(seq(&store.commit(vec![append(3, &large)]).await.unwrap()), last + 1);
    store.close().await;
    let store = open(&path).unwrap();
    assert_eq!(store.place(&acme(), &lobby()).await.unwrap().seq, last + 1);
}

#[tokio::test]
async fn another_programs_write_lock_makes_it_unavailable_and_no_more() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    store
        .inspect(|db| db.busy_timeout(std::time::Duration::ZERO))
        .await
        .unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = store.commit(vec![append(1, "x")]).await.unwrap_err();
    assert_eq!(failed.to_string(), "another program holds the database locked");
    assert_eq!(store.place(&acme(), &lobby()).await.unwrap().seq, 0, "reads go on");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(seq(&store.commit(vec![append(1, "x")]).await.unwrap()), 1);
}

#[tokio::test]
async fn what_cannot_be_right_is_corrupt_and_shows_no_sql() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    store.commit(vec![append(1, "x")]).await.unwrap();
    // From the database, not from memory.
    store.close().await;
    let store = open(&path).unwrap();
    store
        .inspect(|db| db.execute("UPDATE messages SET sender = ''", []))
        .await
        .unwrap();
    let range = Range {
        after: 0,
        before: None,
        limit: 1,
        from: End::Newest,
    };
    let error = store.history(&acme(), &lobby(), range).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");

    store
        .inspect(|db| db.execute_batch("PRAGMA foreign_keys = OFF; DROP TABLE kv"))
        .await
        .unwrap();
    let error = store.commit(vec![set("k", None)]).await.unwrap_err();
    assert_eq!(error.to_string(), "the database cannot serve now");
    let StoreError::Unavailable(inner) = error else {
        panic!("{error:?}")
    };
    assert!(
        format!("{inner:#}").contains("no such table"),
        "the log has it: {inner:#}"
    );
}

#[tokio::test]
async fn keys_that_expired_long_ago_are_deleted() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    let mut batch: Vec<_> = (0..250).map(|n| set(&format!("old {n}"), Some(1))).collect();
    batch.extend([
        set("for good", None),
        set("later", Some(u64::MAX)),
        set("soon", Some(i64::MAX as u64)),
    ]);
    store.commit(batch).await.unwrap();
    let count = "SELECT count(*) FROM kv";
    assert_eq!(
        store.number(count).await,
        253,
        "the sweep comes before the batch, and once a second"
    );
    // The first batch after a database is opened always sweeps.
    for left in [53, 3, 3] {
        store.close().await;
        let store = open(&path).unwrap();
        store.commit(vec![append(left, "x")]).await.unwrap();
        assert_eq!(
            u128::try_from(store.number(count).await).unwrap(),
            left,
            "a bounded number at a time"
        );
        store.close().await;
    }
}

#[tokio::test]
async fn a_reader_does_not_wait_for_the_writer() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    store.commit(vec![append(1, "x")]).await.unwrap();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let busy = store.inspect(move |db| {
        let batch = rusqlite::Transaction::new_unchecked(db, rusqlite::TransactionBehavior::Immediate).unwrap();
        batch.execute("DELETE FROM messages", []).unwrap();
        let _ = held.recv();
    });
    // If the read waited for the writer, both would wait for ever.
    let read = async {
        let last = store.place(&acme(), &lobby()).await;
        drop(hold);
        last
    };
    assert_eq!(tokio::join!(busy, read).1.unwrap().seq, 1);
}

#[tokio::test]
async fn a_commit_whose_caller_is_gone_is_completed() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    // One poll hands the batch over; then the future is dropped.
    assert!(futures_util::FutureExt::now_or_never(store.commit(vec![append(1, "x")])).is_none());
    assert_eq!(seq(&store.commit(vec![append(2, "x")]).await.unwrap()), 2);
}

#[tokio::test]
async fn a_second_store_is_refused_by_every_name_of_the_file() {
    let (dir, path) = home();
    let store = open(&path).unwrap();
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for name in [&path, &link, &dir.path().join(".").join("chat.db")] {
        assert!(matches!(why(name), OpenError::InUse { .. }), "{}", name.display());
    }
    assert!(why(&path).to_string().contains("chat.db.lock"));
    store.close().await;
    open(&link).unwrap().close().await;
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let (dir, path) = home();
    open(&path).unwrap().close().await;
    // util-linux's `flock` is another process that holds the lock while its command reads.
    let mut other = Command::new("flock")
        .arg("--exclusive")
        .arg(dir.path().join("chat.db.lock"))
        .args(["sh", "-c", "echo held; read _"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(other.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "held\n");
    assert!(matches!(why(&path), OpenError::InUse { .. }));
    drop(other.stdin.take());
    other.wait().unwrap();
    open(&path).unwrap().close().await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (_dir, path) = home();
    open(&path).unwrap().close().await;
    let db = Connection::open(&path).unwrap();
    db.execute(
        "INSERT INTO refinery_schema_history VALUES (99, 'x', '2026-01-01T00:00:00Z', '1')",
        [],
    )
    .unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    let error = why(&path);
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 99,
                known: 8,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn an_empty_file_or_a_start_that_was_cut_short_becomes_a_database() {
    let (_dir, path) = home();
    fs::write(&path, "").unwrap();
    open(&path).unwrap().close().await;
    // As a crash leaves the file after the `application_id` is set and before the tables are created.
    fs::remove_file(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "application_id", 0x5061_726c)
        .unwrap();
    let store = open(&path).unwrap();
    assert_eq!(seq(&store.commit(vec![append(1, "x")]).await.unwrap()), 1);
}
