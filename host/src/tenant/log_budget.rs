//! Limits how much a tenant's handlers may write to the server's log.

use std::sync::atomic::{AtomicU64, Ordering};

use super::rate::TokenBucket;

/// How many seconds' worth of bytes may be logged at once.
const BURST: usize = 8;

/// A bucket of bytes, and a count of the lines that did not fit.
pub struct LogBudget {
    bytes: TokenBucket,
    suppressed: AtomicU64,
}

impl LogBudget {
    /// Allows this many bytes a second on average.
    #[must_use]
    pub fn new(per_second: usize) -> Self {
        Self {
            bytes: TokenBucket::new(per_second, per_second.saturating_mul(BURST)),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Takes the bytes of one line. Returns `None` when the line must be left out, and otherwise how many lines were
    /// left out since the last one that fitted.
    pub fn take(&self, bytes: usize) -> Option<u64> {
        if self.bytes.take(bytes).is_err() {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_budget_are_left_out_and_counted() {
        let budget = LogBudget::new(1);
        assert_eq!(budget.take(BURST), Some(0));
        assert_eq!(budget.take(BURST), None);
        assert_eq!(budget.take(BURST), None);
        assert_eq!(budget.suppressed.load(Ordering::Relaxed), 2);
        assert_eq!(
            budget.take(0),
            Some(2),
            "an empty line fits, and reports those before it"
        );
        assert_eq!(budget.take(0), Some(0));
    }
}
