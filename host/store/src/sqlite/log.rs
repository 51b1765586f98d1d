//! Empties the write-ahead log of text that was removed from the database.

use std::time::{Duration, Instant};

use super::revise::removes_text;
use super::writer::WriterThread;
use crate::WriteSet;

/// How long the log may have text that was removed from messages, while there are commits. Emptying it takes a sync of the
/// database.
const LOG_KEEPS_REMOVED: Duration = if cfg!(test) {
    Duration::ZERO
} else {
    Duration::from_secs(30)
};

impl WriterThread {
    /// Notes that text was removed, which the log still has.
    pub(super) fn text_removed(&mut self) {
        self.removed.get_or_insert_with(Instant::now);
    }

    /// Empties the log if it has text that was removed. Returns `false` when a reader needs the log.
    pub(super) fn empty_log_of_removed(&mut self) -> rusqlite::Result<bool> {
        if self.removed.is_none() {
            return Ok(true);
        }
        let emptied = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, bool>(0).map(|busy| !busy)
        })?;
        if emptied {
            self.removed = None;
        }
        Ok(emptied)
    }

    /// Empties the log some time after text was removed from messages, which it still has.
    pub(super) fn empty_log(&mut self, write_sets: &[WriteSet]) {
        if self.removed.is_some_and(|since| since.elapsed() >= LOG_KEEPS_REMOVED) {
            // A reader may need the log, or the disk may be full: the next commit tries again.
            let _ = self.empty_log_of_removed();
        }
        let mut writes = write_sets.iter().flat_map(|write_set| &write_set.writes);
        if writes.any(|write| removes_text(write)) {
            self.removed.get_or_insert_with(Instant::now);
        }
    }
}
