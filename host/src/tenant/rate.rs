//! How much in what time: token buckets.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;

/// A setting as buckets count, clamped to what they can.
#[must_use]
pub fn nonzero(n: usize) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
}

/// A bucket that fills steadily and that many take from.
pub struct TokenBucket {
    bucket: DefaultDirectRateLimiter,
    clock: DefaultClock,
    /// What it holds when it is full.
    capacity: u32,
}

impl TokenBucket {
    /// Fills with `per_second`, up to `burst`; both count from 1 to 2^32 - 1 and are clamped to that.
    #[must_use]
    pub fn new(per_second: usize, burst: usize) -> Self {
        let capacity = nonzero(burst);
        Self {
            bucket: RateLimiter::direct(Quota::per_second(nonzero(per_second)).allow_burst(capacity)),
            clock: DefaultClock::default(),
            capacity: capacity.get(),
        }
    }

    /// Takes `n`; what is more than the bucket ever holds counts as all of it.
    ///
    /// # Errors
    /// When there is not enough: after how long there will be, if nobody else takes it.
    pub fn take(&self, n: usize) -> Result<(), Duration> {
        let wanted = u32::try_from(n).unwrap_or(u32::MAX).min(self.capacity);
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

/// A bucket from which something is also taken that is known only afterwards, such as processor time, or what other
/// nodes have let in: it can be overdrawn, and gives nothing more until that is made up for.
pub struct Budget {
    rate: TokenBucket,
    /// What it is filled with in a second.
    per_second: u64,
    /// Spent, and not taken from the bucket yet.
    debt: AtomicU64,
    /// What is owed at most: beyond it, what was spent is forgiven rather than nothing given for a long while.
    debt_max: u64,
    /// Held by who makes up for what is owed.
    repaying: Mutex<()>,
}

/// For how many seconds nothing is given at most, however much was spent.
const DEBT_SECONDS_MAX: u64 = 60;

impl Budget {
    /// Fills with `per_second`, up to `burst`, and can be overdrawn by as much.
    #[must_use]
    pub fn new(per_second: usize, burst: usize) -> Self {
        Self::with(per_second, burst, burst as u64)
    }

    /// Of processor time, in microseconds, `per_second` in each second, of which two seconds' worth can be saved up.
    /// What events use that were let in before is made up for, whatever it is.
    #[must_use]
    pub fn of_time(per_second: Duration) -> Self {
        Self::with_two_seconds_burst(usize::try_from(per_second.as_micros()).unwrap_or(usize::MAX))
    }

    /// Of bytes, the same.
    #[must_use]
    pub fn of_bytes(per_second: usize) -> Self {
        Self::with_two_seconds_burst(per_second)
    }

    fn with_two_seconds_burst(per_second: usize) -> Self {
        let debt_max = (per_second as u64).saturating_mul(DEBT_SECONDS_MAX);
        Self::with(per_second, per_second.saturating_mul(2), debt_max)
    }

    fn with(per_second: usize, burst: usize, debt_max: u64) -> Self {
        Self {
            rate: TokenBucket::new(per_second, burst),
            per_second: (per_second as u64).max(1),
            debt: AtomicU64::new(0),
            debt_max,
            repaying: Mutex::new(()),
        }
    }

    /// Whether nothing is owed.
    ///
    /// # Errors
    /// When it is overdrawn: after how long it is not, if nobody spends more.
    pub fn admit(&self) -> Result<(), Duration> {
        if self.debt.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        // One pays at a time, or two would pay for the same.
        let _repaying = self.repaying.lock();
        self.repay()
    }

    /// Takes what is owed from the bucket, as far as it goes in whole parts. For who holds `repaying`.
    fn repay(&self) -> Result<(), Duration> {
        loop {
            let debt = self.debt.load(Ordering::Relaxed);
            // The bucket never gives more at once than it holds.
            let part = debt.min(u64::from(self.rate.capacity));
            if part == 0 {
                return Ok(());
            }
            self.rate
                .take(usize::try_from(part).unwrap_or(usize::MAX))
                .map_err(|wait| {
                    let rest = debt.saturating_sub(part) as f64 / self.per_second as f64;
                    wait.saturating_add(Duration::from_secs_f64(rest))
                })?;
            self.debt.fetch_sub(part, Ordering::Relaxed);
        }
    }

    /// Takes `n` when nothing is owed.
    ///
    /// # Errors
    /// When there is not enough: after how long there will be, if nobody else takes it.
    pub fn take(&self, n: usize) -> Result<(), Duration> {
        self.admit()?;
        self.rate.take(n)
    }

    /// So much was spent.
    pub fn spend(&self, n: u64) {
        let add = |debt: u64| Some(debt.saturating_add(n).min(self.debt_max));
        // It never fails: there is always something to write.
        let _ = self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        // At once: a full bucket gets no fuller while it waits to be asked. Whoever else pays now pays this too.
        if let Some(_repaying) = self.repaying.try_lock() {
            let _ = self.repay();
        }
    }

    /// So much time was spent.
    pub fn spend_time(&self, time: Duration) {
        self.spend(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_holds_and_says_when_there_is_more() {
        let rate = TokenBucket::new(1, 3);
        assert_eq!(rate.take(2), Ok(()));
        assert_eq!(rate.take(1), Ok(()));
        let wait = rate.take(1).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[test]
    fn more_than_a_bucket_holds_takes_all_of_it() {
        let rate = TokenBucket::new(1, 3);
        assert_eq!(rate.take(1000), Ok(()));
        assert!(rate.take(1).is_err());
    }

    #[test]
    fn an_overdrawn_budget_admits_nothing_until_it_is_made_up_for() {
        let budget = Budget::of_time(Duration::from_millis(1));
        budget.spend_time(Duration::from_millis(2));
        assert_eq!(budget.admit(), Ok(()), "so much was saved up");
        budget.spend_time(Duration::from_micros(500));
        assert!(budget.admit().is_err());
        assert!(budget.admit().is_err(), "asking does not make up for it");
    }

    #[test]
    fn what_is_spent_while_nobody_asks_is_taken_as_it_is_spent() {
        let budget = Budget::of_bytes(1_000_000);
        budget.spend(1_000_000);
        assert_eq!(budget.debt.load(Ordering::Relaxed), 0, "the bucket had it");
        budget.spend(1_500_000);
        assert_eq!(
            budget.debt.load(Ordering::Relaxed),
            1_500_000,
            "and has not so much any more"
        );
    }

    #[test]
    fn what_was_spent_beyond_what_the_bucket_holds_is_made_up_for_too() {
        let budget = Budget::of_time(Duration::from_millis(100));
        budget.spend_time(Duration::from_secs(2));
        let wait = budget.admit().unwrap_err();
        // It held 200 ms; the rest comes at 100 ms in a second.
        assert!(
            wait > Duration::from_secs(17) && wait < Duration::from_secs(19),
            "{wait:?}"
        );
        budget.spend_time(Duration::from_secs(1000));
        let wait = budget.admit().unwrap_err();
        assert!(wait <= Duration::from_secs(DEBT_SECONDS_MAX), "{wait:?}");
    }

    #[test]
    fn what_was_spent_elsewhere_is_missing_here_and_is_forgiven_beyond_a_burst() {
        let budget = Budget::new(1, 10);
        budget.spend(4);
        assert_eq!(budget.take(6), Ok(()));
        assert!(budget.take(1).is_err());
        let budget = Budget::new(1000, 10);
        budget.spend(1_000_000);
        assert_eq!(budget.admit(), Ok(()));
        let wait = budget.take(1).unwrap_err();
        assert!(wait <= Duration::from_millis(1), "{wait:?}");
    }
}
