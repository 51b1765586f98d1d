//! How much of what a tenant's handlers say goes into the log.

use std::sync::atomic::{AtomicU64, Ordering};

use super::rate::TokenBucket;

/// How many seconds' worth may come at once.
const BURST: usize = 8;

/// A bucket of bytes; what does not fit is left out and counted.
pub struct LogBudget {
    bytes: TokenBucket,
    left_out: AtomicU64,
}

impl LogBudget {
    /// So many bytes in a second, on average.
    #[must_use]
    pub fn new(per_second: usize) -> Self {
        Self {
            bytes: TokenBucket::new(per_second, per_second.saturating_mul(BURST)),
            left_out: AtomicU64::new(0),
        }
    }

    /// Whether a text of so many bytes may be logged: `None` when not, else how many were left out since the last that
    /// was.
    pub fn take(&self, bytes: usize) -> Option<u64> {
        if self.bytes.take(bytes).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let budget = LogBudget::new(1);
        assert_eq!(budget.take(BURST), Some(0));
        assert_eq!(budget.take(BURST), None);
        assert_eq!(budget.take(BURST), None);
        assert_eq!(budget.left_out.load(Ordering::Relaxed), 2);
        assert_eq!(
            budget.take(0),
            Some(2),
            "nothing costs nothing, and says what went before"
        );
        assert_eq!(budget.take(0), Some(0));
    }
}
