//! Empties the write-ahead log of text that was removed from the database.

use std::time::{Duration, Instant};

use super::open::BUSY_TIMEOUT;
use super::revise::removes_text;
use super::writer::WriterThread;
use crate::WriteSet;

/// How long the log may have text that was removed from messages, while there are commits and no reader needs the log.
/// Emptying it takes a sync of the database.
const LOG_KEEPS_REMOVED: Duration = if cfg!(test) {
    Duration::ZERO
} else {
    Duration::from_secs(30)
};

/// How long emptying the log waits for readers. Commits wait meanwhile. Under short reads one after the other it took at
/// most 44 ms; a backup needs the log for as long as it copies.
const WAIT_FOR_READERS: Duration = Duration::from_millis(100);
/// After how long the log is tried again that a reader needed.
const TRIED_AGAIN_AFTER: Duration = if cfg!(test) {
    Duration::ZERO
} else {
    Duration::from_secs(5)
};

impl WriterThread {
    /// Notes that text was removed, which the log still has.
    pub(super) fn text_removed(&mut self) {
        self.empty_log_at
            .get_or_insert_with(|| Instant::now() + LOG_KEEPS_REMOVED);
    }

    /// Empties the log. Returns `false` when a reader needs it. After that, as after an error, it is tried again with a later
    /// commit.
    pub(super) fn empty_log_now(&mut self) -> rusqlite::Result<bool> {
        self.text_removed();
        self.db.busy_timeout(WAIT_FOR_READERS)?;
        let emptied = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, bool>(0).map(|busy| !busy)
        });
        self.db.busy_timeout(BUSY_TIMEOUT)?;
        let emptied = emptied?;
        if emptied {
            self.empty_log_at = None;
        }
        Ok(emptied)
    }

    /// Empties the log some time after text was removed from messages, which it still has.
    pub(super) fn empty_log(&mut self, write_sets: &[WriteSet]) {
        let is_due = self.empty_log_at.is_some_and(|at| at <= Instant::now());
        // A reader may need the log, or the disk may be full.
        if is_due && !self.empty_log_now().unwrap_or(false) {
            self.empty_log_at = Some(Instant::now() + TRIED_AGAIN_AFTER);
        }
        let mut writes = write_sets.iter().flat_map(|write_set| &write_set.writes);
        if writes.any(|write| removes_text(write)) {
            self.text_removed();
        }
    }
}
