//! The server runs cached code, so an entry from anyone else must be refused or compiled again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::super::engine::compiling_engine;
use super::*;

const MIB: usize = 1024 * 1024;

fn key(n: u8) -> CacheKey {
    CacheKey::of(&compiling_engine().unwrap(), &[n; 32])
}

fn compiled(code: &[u8], lines: &[u8]) -> Artefact {
    Artefact {
        code: TrustedCode::assume_trusted(code.to_vec()),
        shifts: None,
        libraries: Vec::new(),
        lines: lines.to_vec(),
    }
}

/// A cache with one entry, and the entry's file.
fn filled(home: &tempfile::TempDir) -> (CodeCache, PathBuf) {
    let cache = CodeCache::open(&home.path().join("cache"), MIB, MIB).unwrap();
    cache.put(&key(1), &compiled(b"compiled", b"lines"));
    let path = cache.path(&key(1));
    assert!(path.exists());
    (cache, path)
}

#[test]
fn an_entry_is_found_again_also_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (cache, _) = filled(&home);
    let found = |cache: &CodeCache| {
        let artefact = cache.get(&key(1)).unwrap();
        (artefact.code.bytes().to_vec(), artefact.lines)
    };
    let expected = (b"compiled".to_vec(), b"lines".to_vec());
    assert_eq!(found(&cache), expected);
    assert!(cache.get(&key(2)).is_none());
    let next = CodeCache::open(&home.path().join("cache"), MIB, MIB).unwrap();
    assert_eq!(found(&next), expected);
}

#[test]
fn a_modified_truncated_or_renamed_entry_is_removed() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [Damage; 4] = [
        |mut bytes| {
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        },
        |mut bytes| {
            *bytes.first_mut().unwrap() ^= 1;
            bytes
        },
        |mut bytes| {
            bytes.truncate(20);
            bytes
        },
        |_| Vec::new(),
    ];
    for damage in damages {
        let home = tempfile::tempdir().unwrap();
        let (cache, path) = filled(&home);
        fs::write(&path, damage(fs::read(&path).unwrap())).unwrap();
        assert!(cache.get(&key(1)).is_none());
        assert!(!path.exists(), "it is dropped");
    }
    let home = tempfile::tempdir().unwrap();
    let (cache, path) = filled(&home);
    fs::rename(&path, cache.path(&key(2))).unwrap();
    assert!(cache.get(&key(2)).is_none(), "another component's code under this name");
}

#[test]
fn an_entry_signed_with_another_key_is_refused() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (cache, path) = filled(&home);
    let (_, foreign) = filled(&other);
    fs::copy(foreign, &path).unwrap();
    assert!(cache.get(&key(1)).is_none());
}

#[test]
fn a_directory_or_key_that_others_may_access_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (_, path) = filled(&home);
    let directory = path.parent().unwrap().to_owned();
    let open = |mode, path: &PathBuf| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        CodeCache::open(&directory, MIB, MIB)
    };
    for mode in [0o750, 0o705, 0o777] {
        let error = open(mode, &directory).err().unwrap();
        assert!(error.to_string().contains("is open to others"), "{error}");
    }
    assert!(open(0o700, &directory).is_ok());
    assert!(open(0o640, &directory.join("key")).is_err());
    assert!(open(0o600, &directory.join("key")).is_ok());
    fs::write(directory.join("key"), b"short").unwrap();
    assert!(CodeCache::open(&directory, MIB, MIB).is_err());
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&directory, &link).unwrap();
    assert!(CodeCache::open(&link, MIB, MIB).is_err());
}

#[test]
fn stale_temporary_files_are_removed_and_current_ones_kept() {
    let home = tempfile::tempdir().unwrap();
    let (cache, _) = filled(&home);
    let left = |name: &str, age| {
        let path = cache.directory.join(name);
        let file = fs::File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age))
            .unwrap();
        path
    };
    let (old, new) = (left(".new-aaaa", 61), left(".new-bbbb", 0));
    CodeCache::open(&cache.directory, MIB, MIB).unwrap();
    assert!(!old.exists() && new.exists());
    assert!(cache.get(&key(1)).is_some());
}

#[test]
fn the_least_recently_used_entry_is_evicted() {
    let home = tempfile::tempdir().unwrap();
    let header = artefact::split(&[0; 1000]).map_or(0, |parts| 1000 - parts.lines.len());
    let cache = CodeCache::open(&home.path().join("cache"), 3 * (TAG_BYTES + header + 92), MIB).unwrap();
    let old = |n: u8, seconds| {
        let file = fs::File::open(cache.path(&key(n))).unwrap();
        file.set_modified(SystemTime::now() - std::time::Duration::from_secs(seconds))
            .unwrap();
    };
    for n in 1..=3 {
        cache.put(&key(n), &compiled(&[n; 60], &[n; 32]));
        old(n, 100 - u64::from(n));
    }
    assert!(cache.get(&key(1)).is_some(), "used just now");
    cache.put(&key(4), &compiled(&[4; 60], &[4; 32]));
    let left: Vec<bool> = (1..=4).map(|n| cache.path(&key(n)).exists()).collect();
    assert_eq!(left, [true, false, true, true]);
}
