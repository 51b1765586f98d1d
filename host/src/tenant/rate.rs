//! How much in what time: token buckets.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// A bucket that fills steadily and that many take from.
pub struct Rate {
    bucket: DefaultDirectRateLimiter,
    clock: DefaultClock,
    /// What it holds when it is full.
    full: u32,
}

impl Rate {
    /// Fills with `per_second`, up to `burst`; both count from 1 to 2^32 - 1 and are clamped to that.
    #[must_use]
    pub fn new(per_second: usize, burst: usize) -> Self {
        let number = |n: usize| NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        let full = number(burst);
        Self {
            bucket: RateLimiter::direct(Quota::per_second(number(per_second)).allow_burst(full)),
            clock: DefaultClock::default(),
            full: full.get(),
        }
    }

    /// Takes `n`; what is more than the bucket ever holds counts as all of it.
    ///
    /// # Errors
    /// When there is not enough: after how long there will be, if nobody else takes it.
    pub fn take(&self, n: usize) -> Result<(), Duration> {
        let wanted = u32::try_from(n).unwrap_or(u32::MAX).min(self.full);
        let Some(wanted) = NonZeroU32::new(wanted) else {
            return Ok(());
        };
        match self.bucket.check_n(wanted) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.clock.now())),
            // Cannot be, as it is clamped to what the bucket holds.
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

/// A budget of processor time: spent first and known only afterwards, so that it can be overdrawn, and nothing more is
/// admitted until it is made up for.
pub struct CpuBudget {
    /// In microseconds.
    rate: Rate,
    /// Microseconds that were spent and not taken from the bucket yet.
    owed: AtomicU64,
}

impl CpuBudget {
    /// `per_second` of processor time in each second, of which two seconds' worth can be saved up.
    #[must_use]
    pub fn new(per_second: Duration) -> Self {
        let micros = usize::try_from(per_second.as_micros()).unwrap_or(usize::MAX);
        Self {
            rate: Rate::new(micros, micros.saturating_mul(2)),
            owed: AtomicU64::new(0),
        }
    }

    /// Whether something may run.
    ///
    /// # Errors
    /// When the budget is overdrawn: after how long it may.
    pub fn admit(&self) -> Result<(), Duration> {
        let owed = self.owed.swap(0, Ordering::Relaxed);
        if owed == 0 {
            return Ok(());
        }
        let taken = self.rate.take(usize::try_from(owed).unwrap_or(usize::MAX));
        if taken.is_err() {
            self.owed.fetch_add(owed, Ordering::Relaxed);
        }
        taken
    }

    /// So much was spent.
    pub fn spend(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.owed.fetch_add(micros, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_holds_and_says_when_there_is_more() {
        let rate = Rate::new(1, 3);
        assert_eq!(rate.take(2), Ok(()));
        assert_eq!(rate.take(1), Ok(()));
        let wait = rate.take(1).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[test]
    fn more_than_a_bucket_holds_takes_all_of_it() {
        let rate = Rate::new(1, 3);
        assert_eq!(rate.take(1000), Ok(()));
        assert!(rate.take(1).is_err());
    }

    #[test]
    fn an_overdrawn_budget_admits_nothing_until_it_is_made_up_for() {
        let budget = CpuBudget::new(Duration::from_millis(1));
        budget.spend(Duration::from_millis(2));
        assert_eq!(budget.admit(), Ok(()), "so much was saved up");
        budget.spend(Duration::from_micros(500));
        assert!(budget.admit().is_err());
        assert!(budget.admit().is_err(), "asking does not make up for it");
    }
}
