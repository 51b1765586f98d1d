//! Text that was edited away or deleted is in none of the database's files.

use super::*;
use crate::{Change, Revise};

pub(super) fn revise(n: u128, change: Change) -> WriteSet {
    WriteSet {
        tenant: acme(),
        reads: crate::ReadSet::default(),
        writes: vec![Arc::new(Write::Revise(Revise {
            id: MessageId::from_bytes(n.to_be_bytes()),
            room: lobby(),
            seq: 1,
            user: UserId::new("ann").unwrap(),
            at: 1,
            change,
        }))],
        quota: StorageQuota::UNLIMITED,
    }
}

/// Whether any file of the database has the text.
pub(super) fn files_have(path: &Path, text: &str) -> bool {
    let files = ["", "-wal", "-shm"].map(|end| open::with_suffix(path, end));
    let contents = files.iter().filter_map(|file| fs::read(file).ok());
    contents
        .into_iter()
        .any(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_text_is_in_no_file() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    // Some of several pages. In tests a merge begins with 16 messages, so all have been in two tables, but for the last.
    let said = |n: u128| {
        format!(
            "secret-{n}-{}",
            "x".repeat(if n.is_multiple_of(7) { 20_000 } else { 50 })
        )
    };
    for n in 1..=120 {
        store.commit(vec![append(n, &said(n))]).await.unwrap();
    }
    let secret = |n: u128| format!("secret-{n}-");
    for n in (1..=120).step_by(2) {
        let change = if n % 4 == 1 {
            Change::Delete
        } else {
            Change::Edit {
                content: "something else".to_owned(),
                metadata: None,
            }
        };
        assert!(store.commit(vec![revise(n, change)]).await.unwrap()[0].is_ok());
    }
    // The log is emptied with one of the commits after that.
    for n in 121..=123 {
        store.commit(vec![append(n, "later")]).await.unwrap();
    }
    let found: Vec<u128> = (1..=120).filter(|n| files_have(&path, &secret(*n))).collect();
    assert_eq!(found, (2..=120).step_by(2).collect::<Vec<_>>());
    store.close().await;
    let found: Vec<u128> = (1..=120).filter(|n| files_have(&path, &secret(*n))).collect();
    assert_eq!(found, (2..=120).step_by(2).collect::<Vec<_>>());
}

/// A backup reads for as long as it copies. Commits go on, and the log is emptied after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_do_not_wait_for_a_reader_that_needs_the_log() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    store.commit(vec![append(1, "secret")]).await.unwrap();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM rooms").unwrap();
    let began = std::time::Instant::now();
    store.commit(vec![revise(1, Change::Delete)]).await.unwrap();
    for n in 2..=5 {
        // The log is tried to be emptied with each commit here.
        store.commit(vec![append(n, "later")]).await.unwrap();
    }
    assert!(began.elapsed() < open::BUSY_TIMEOUT, "{:?}", began.elapsed());
    assert!(files_have(&path, "secret"));
    reader.execute_batch("COMMIT").unwrap();
    store.commit(vec![append(6, "later")]).await.unwrap();
    assert!(!files_have(&path, "secret"));
}
