//! Paths that are not, or cannot be, a database of Parlance.

use super::*;

#[tokio::test]
async fn what_is_no_database_of_ours_is_refused_and_left_alone() {
    let (dir, path) = home();
    for content in ["x", &"no database. ".repeat(1_000)] {
        fs::write(&path, content).unwrap();
        let error = why(&path);
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    let other = dir.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    let before = fs::read(&other).unwrap();
    let error = why(&other);
    assert!(matches!(error, OpenError::NotParlance { .. }), "{error:?}");
    assert_eq!(fs::read(&other).unwrap(), before);
}

#[tokio::test]
async fn a_path_that_cannot_be_says_why() {
    let (dir, path) = home();
    assert!(matches!(why(dir.path()), OpenError::IsDirectory { .. }));
    let nowhere = dir.path().join("missing").join("chat.db");
    let error = why(&nowhere);
    assert!(matches!(error, OpenError::NoDirectory { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains(&dir.path().join("missing").display().to_string())
    );
    fs::write(dir.path().join("file"), "").unwrap();
    let error = why(&dir.path().join("file").join("chat.db"));
    assert!(matches!(error, OpenError::NoDirectory { .. }), "{error:?}");
    // Not even root may create a file in this directory.
    let error = why(std::path::Path::new("/sys/chat.db"));
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    fs::create_dir(dir.path().join("chat.db.lock")).unwrap();
    let error = why(&path);
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("chat.db.lock"));
}
