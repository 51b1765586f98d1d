//! Checks whether a database is damaged.
//!
//! SQLite keeps no checksums, so a check finds only contradictions: a file that is shorter than its header says, a page
//! that belongs to no tree or to two, keys out of order, rows that do not fit their table. It does not find a flipped
//! bit in the text of a message.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

/// Steps of SQLite's virtual machine, or pages, between two reads of the clock.
const STEPS_PER_CLOCK_READ: i32 = 100;

/// The result of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Integrity {
    /// Nothing is wrong.
    Intact,
    /// Time ran out. Nothing was wrong with what was checked until then.
    Unfinished,
    /// The database is damaged; this is the first contradiction.
    Damaged(String),
}

/// Checks the database at `path`, which `db` has open, for at most `time`; without a time, all of it.
pub(super) fn check(db: &mut Connection, path: &Path, time: Option<Duration>) -> rusqlite::Result<Integrity> {
    from_error(examine(db, path, time))
}

/// Turns those errors of SQLite that mean damage, or that time ran out, into the result of a check.
pub(super) fn from_error(result: rusqlite::Result<Integrity>) -> rusqlite::Result<Integrity> {
    result.or_else(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Ok(Integrity::Damaged(error.to_string())),
        Some(ErrorCode::OperationInterrupted) => Ok(Integrity::Unfinished),
        _ => Err(error),
    })
}

fn examine(db: &mut Connection, path: &Path, time: Option<Duration>) -> rusqlite::Result<Integrity> {
    if let Some(missing) = missing_bytes(db, path)? {
        return Ok(Integrity::Damaged(format!(
            "the last {missing} bytes of the file are missing"
        )));
    }
    if time.is_some_and(|time| time.is_zero()) {
        return Ok(Integrity::Unfinished);
    }
    let end = time.and_then(|time| Instant::now().checked_add(time));
    if let Some(end) = end {
        db.progress_handler(STEPS_PER_CLOCK_READ, Some(move || Instant::now() >= end))?;
    }
    let found = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    db.progress_handler(STEPS_PER_CLOCK_READ, None::<fn() -> bool>)?;
    Ok(match found?.as_str() {
        "ok" => Integrity::Intact,
        finding => Integrity::Damaged(finding.lines().collect::<Vec<_>>().join(" ")),
    })
}

/// Bytes missing at the end of the file at `path`. SQLite notices missing pages itself, but reads the missing part of a
/// page as zeros.
fn missing_bytes(db: &Connection, path: &Path) -> rusqlite::Result<Option<u64>> {
    let number = |pragma: &str| db.query_row(pragma, [], |row| row.get::<_, u32>(0)).map(u64::from);
    let expected = number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?);
    let length = |path: &Path| std::fs::metadata(path).map(|file| file.len()).unwrap_or(0);
    // Pages in the write-ahead log need not be in the file yet.
    if length(&super::open::with_suffix(path, "-wal")) > 0 {
        return Ok(None);
    }
    Ok(expected.checked_sub(length(path)).filter(|missing| *missing > 0))
}
