//! Backups, restores and damaged databases.

use std::io::{Seek as _, SeekFrom, Write as _};

use super::*;
use crate::sqlite::integrity::{self, Integrity};

/// Creates a database with so many messages and closes it.
async fn stored(path: &Path, messages: u128) {
    let store = open(path).unwrap();
    let write_sets = (1..=messages).map(|n| append(n, &"text ".repeat(100))).collect();
    store.commit(write_sets).await.unwrap();
    store.close().await;
}

async fn last(path: &Path) -> u64 {
    let store = open(path).unwrap();
    let last = store.place(&acme(), &lobby()).await.unwrap().seq;
    store.close().await;
    last
}

fn names(dir: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn shorten(path: &Path, by: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - by).unwrap();
}

/// Damages a database file.
type Damage = fn(&Path);

/// Ways to damage a database, each with a word of the error that it causes.
const DAMAGE: [(&str, Damage); 4] = [
    ("malformed", |path| shorten(path, fs::metadata(path).unwrap().len() / 2)),
    ("last 1 bytes", |path| shorten(path, 1)),
    // The first byte of a page tells its type.
    ("page", |path| {
        let pages = fs::metadata(path).unwrap().len() / 4096;
        overwrite(path, (pages - 2) * 4096, &[0xff]);
    }),
    ("beginning", |path| overwrite(path, 0, b"sqlite")),
];

#[tokio::test]
async fn a_backup_of_an_open_database_has_what_was_committed_and_is_one_file() {
    let (dir, path) = home();
    let store = open(&path).unwrap();
    store.commit(vec![append(1, "x"), append(2, "x")]).await.unwrap();
    let copy = dir.path().join("copy.db");
    assert_eq!(backup(&path, &copy, false).unwrap(), fs::metadata(&copy).unwrap().len());
    store.commit(vec![append(3, "x")]).await.unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&copy).unwrap().permissions()) & 0o777,
        0o600
    );
    store.close().await;
    assert_eq!(names(&dir), ["chat.db", "chat.db.lock", "copy.db"]);
    assert_eq!((last(&copy).await, last(&path).await), (2, 3));
}

#[tokio::test]
async fn a_restore_leaves_nothing_of_the_log_of_a_server_that_was_killed() {
    let (dir, path) = home();
    let store = open(&path).unwrap();
    store.commit(vec![append(1, "x")]).await.unwrap();
    let copy = dir.path().join("copy.db");
    backup(&path, &copy, false).unwrap();
    store.commit(vec![append(2, "x")]).await.unwrap();
    // The files as `kill -9` leaves them.
    let killed = tempfile::tempdir().unwrap();
    for end in ["", "-wal", "-shm"] {
        fs::copy(
            dir.path().join(format!("chat.db{end}")),
            killed.path().join(format!("chat.db{end}")),
        )
        .unwrap();
    }
    store.close().await;
    let path = killed.path().join("chat.db");
    let aside = killed.path().join("chat.db.before-restore");
    let Restored { bytes, aside: kept } = restore(&path, &copy, false).unwrap();
    assert_eq!(
        (bytes, kept.as_deref()),
        (fs::metadata(&copy).unwrap().len(), Some(&*aside))
    );
    assert_eq!(names(&killed), ["chat.db", "chat.db.before-restore", "chat.db.lock"]);
    assert_eq!((last(&path).await, last(&aside).await), (1, 2));
    // A second restore does not overwrite the kept database without `--force`.
    assert!(matches!(
        restore(&path, &copy, false),
        Err(BackupError::AsideExists { .. })
    ));
    assert_eq!(restore(&path, &copy, true).unwrap().aside, None);
    assert_eq!((last(&path).await, last(&aside).await), (1, 2));
}

#[tokio::test]
async fn a_restore_needs_no_database_to_replace_and_takes_one_that_is_damaged() {
    let (dir, path) = home();
    let copy = dir.path().join("copy.db");
    stored(&copy, 3).await;
    assert_eq!(restore(&path, &copy, false).unwrap().aside, None);
    assert_eq!(last(&path).await, 3);
    for (word, damage) in DAMAGE {
        damage(&path);
        fs::write(dir.path().join("chat.db-wal"), "left over").unwrap();
        assert!(restore(&path, &copy, true).is_ok(), "{word}");
        assert_eq!(last(&path).await, 3);
    }
}

#[tokio::test]
async fn a_damaged_database_is_refused_at_the_start_and_not_backed_up_or_restored() {
    for (word, damage) in DAMAGE {
        let (dir, path) = home();
        stored(&path, 200).await;
        let whole = dir.path().join("whole.db");
        backup(&path, &whole, false).unwrap();
        damage(&path);
        let error = why(&path).to_string();
        assert!(
            error.contains(word) && error.contains("parlance restore FILE"),
            "{error}"
        );
        let copy = dir.path().join("copy.db");
        let error = backup(&path, &copy, false).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        let error = restore(&whole, &path, false).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        let left = names(&dir);
        assert!(
            !left.iter().any(|name| name.contains("copy") || name.contains("restor")),
            "{word}: {left:?}"
        );
        assert_eq!(last(&whole).await, 200);
    }
}

#[tokio::test]
async fn a_start_looks_for_damage_no_longer_than_it_may() {
    let (_dir, path) = home();
    stored(&path, 200).await;
    let check = |time| {
        let mut db = Connection::open(&path).unwrap();
        integrity::check(&mut db, &path, time).unwrap()
    };
    assert_eq!(check(None), Integrity::Intact);
    assert_eq!(check(Some(Duration::from_secs(60))), Integrity::Intact);
    assert_eq!(check(Some(Duration::from_nanos(1))), Integrity::Unfinished);
    let (_, damage) = DAMAGE[2];
    damage(&path);
    assert!(matches!(check(None), Integrity::Damaged(_)));
    SqliteStore::open(&path, Duration::ZERO).unwrap().close().await;
    assert!(matches!(why(&path), OpenError::Damaged { .. }));
}

#[tokio::test]
async fn nothing_is_overwritten_that_was_not_meant() {
    let (dir, path) = home();
    let copy = dir.path().join("copy.db");
    assert!(matches!(backup(&path, &copy, false), Err(BackupError::Missing { .. })));
    assert!(matches!(restore(&path, &copy, false), Err(BackupError::Missing { .. })));
    stored(&path, 1).await;
    fs::write(&copy, "mine").unwrap();
    assert!(matches!(backup(&path, &copy, false), Err(BackupError::Exists { .. })));
    assert_eq!(fs::read_to_string(&copy).unwrap(), "mine");
    backup(&path, &copy, true).unwrap();
    for own in ["chat.db", "chat.db-wal", "chat.db.lock"] {
        let error = backup(&path, &dir.path().join(own), true);
        assert!(matches!(error, Err(BackupError::IsDatabase { .. })), "{own}: {error:?}");
    }
    assert!(matches!(
        restore(&path, &path, true),
        Err(BackupError::IsDatabase { .. })
    ));
    let store = open(&path).unwrap();
    let error = restore(&path, &copy, true).unwrap_err();
    assert!(matches!(error, BackupError::Open(OpenError::InUse { .. })), "{error:?}");
    store.close().await;
    let other = dir.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    let error = restore(&path, &other, true).unwrap_err();
    assert!(
        matches!(error, BackupError::Open(OpenError::NotParlance { .. })),
        "{error:?}"
    );
    let error = backup(&other, &dir.path().join("theirs.db"), false).unwrap_err();
    assert!(
        matches!(error, BackupError::Open(OpenError::NotParlance { .. })),
        "{error:?}"
    );
    assert_eq!(last(&path).await, 1);
}

#[tokio::test]
async fn a_restored_database_has_another_epoch() {
    let (dir, path) = home();
    stored(&path, 1).await;
    let epoch = async || {
        let store = open(&path).unwrap();
        let epoch = store.epoch();
        store.close().await;
        epoch
    };
    let first = epoch().await;
    assert_eq!(epoch().await, first, "it is the same after a restart");
    let copy = dir.path().join("copy.db");
    backup(&path, &copy, false).unwrap();
    let mut seen = vec![first];
    for replace in [false, true, true] {
        restore(&path, &copy, replace).unwrap();
        let now = epoch().await;
        assert!(!seen.contains(&now));
        seen.push(now);
    }
}
