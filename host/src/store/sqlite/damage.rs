//! Looks for damage in a database.
//!
//! SQLite keeps no checksums. What can be found is what contradicts itself: a file that is shorter than its header
//! says, pages that are in no tree or in two, keys out of order, rows that do not fit their table. A bit that was
//! flipped within the text of a message is not among that.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

/// Steps of SQLite's virtual machine, or pages, between two looks at the clock.
const STEPS_PER_LOOK: i32 = 100;

/// What a look at a database has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing is wrong with it.
    Whole,
    /// Nothing was wrong with what the time was enough for.
    Unfinished,
    /// It is damaged: the first thing that is wrong.
    Damaged(String),
}

/// Looks through the database at `path`, which `db` has open, for at most `time`; without one, through all of it.
pub(super) fn look(db: &mut Connection, path: &Path, time: Option<Duration>) -> rusqlite::Result<Condition> {
    found(examine(db, path, time))
}

/// Takes an error of SQLite that tells of damage, or that the time is over, for what was found.
pub(super) fn found(result: rusqlite::Result<Condition>) -> rusqlite::Result<Condition> {
    result.or_else(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(Condition::Damaged(error.to_string())),
        Some(ErrorCode::OperationInterrupted) => Ok(Condition::Unfinished),
        _ => Err(error),
    })
}

fn examine(db: &mut Connection, path: &Path, time: Option<Duration>) -> rusqlite::Result<Condition> {
    if let Some(missing) = missing_bytes(db, path)? {
        return Ok(Condition::Damaged(format!(
            "the last {missing} bytes of the file are missing"
        )));
    }
    if time.is_some_and(|time| time.is_zero()) {
        return Ok(Condition::Unfinished);
    }
    let end = time.and_then(|time| Instant::now().checked_add(time));
    if let Some(end) = end {
        db.progress_handler(STEPS_PER_LOOK, Some(move || Instant::now() >= end))?;
    }
    let found = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    db.progress_handler(STEPS_PER_LOOK, None::<fn() -> bool>)?;
    Ok(match found?.as_str() {
        "ok" => Condition::Whole,
        finding => Condition::Damaged(finding.lines().collect::<Vec<_>>().join(" ")),
    })
}

/// Bytes that the file at `path` lacks. SQLite misses whole pages itself, and reads what is gone of one as zeros.
fn missing_bytes(db: &Connection, path: &Path) -> rusqlite::Result<Option<u64>> {
    let number = |pragma: &str| db.query_row(pragma, [], |row| row.get::<_, u32>(0)).map(u64::from);
    let expected = number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?);
    let length = |path: &Path| std::fs::metadata(path).map(|file| file.len()).unwrap_or(0);
    // What is in the write-ahead log need not be in the file yet.
    if length(&super::open::beside(path, "-wal")) > 0 {
        return Ok(None);
    }
    Ok(expected.checked_sub(length(path)).filter(|missing| *missing > 0))
}
