//! Token buckets, and budgets that can be overdrawn.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;

/// Clamps a setting to the numbers that buckets take, from 1 to 2^32 - 1.
#[must_use]
pub fn nonzero(n: usize) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
}

/// A token bucket that fills at a steady rate.
pub struct TokenBucket {
    bucket: DefaultDirectRateLimiter,
    clock: DefaultClock,
    /// The tokens of the full bucket.
    capacity: u32,
}

impl TokenBucket {
    /// Creates a full bucket with `burst` tokens that fills by `per_second`. Both are clamped to 1 to 2^32 - 1.
    #[must_use]
    pub fn new(per_second: usize, burst: usize) -> Self {
        let capacity = nonzero(burst);
        Self {
            bucket: RateLimiter::direct(Quota::per_second(nonzero(per_second)).allow_burst(capacity)),
            clock: DefaultClock::default(),
            capacity: capacity.get(),
        }
    }

    /// Takes `n` tokens. More than the full bucket holds takes all of it.
    ///
    /// # Errors
    /// The bucket has too few tokens. The error is the time until it has enough, if no other caller takes them.
    pub fn take(&self, n: usize) -> Result<(), Duration> {
        let wanted = u32::try_from(n).unwrap_or(u32::MAX).min(self.capacity);
        let Some(wanted) = NonZeroU32::new(wanted) else {
            return Ok(());
        };
        match self.bucket.check_n(wanted) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.clock.now())),
            // Never happens, since `wanted` is at most what the bucket holds.
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

/// A token bucket that can be overdrawn, for costs that are known only afterwards, such as processor time or the events
/// that other nodes have admitted. It admits nothing until its debt is repaid.
pub struct Budget {
    rate: TokenBucket,
    /// The tokens that the bucket fills by in a second.
    per_second: u64,
    /// Tokens that were spent but not taken from the bucket yet.
    debt: AtomicU64,
    /// The largest debt. Spending beyond it is forgiven, so that a tenant is not blocked for too long.
    debt_max: u64,
    /// Held while the debt is repaid, so that two callers do not repay it twice.
    repaying: Mutex<()>,
}

/// The largest debt in seconds: how long a budget may admit nothing, however much was spent.
const DEBT_SECONDS_MAX: u64 = 60;

impl Budget {
    /// Creates a budget that fills by `per_second`, up to `burst`, and can be overdrawn by `burst`.
    #[must_use]
    pub fn new(per_second: usize, burst: usize) -> Self {
        Self::with(per_second, burst, burst as u64)
    }

    /// Creates a budget of processor time, counted in microseconds, that fills by `per_second` and saves up two
    /// seconds' worth. Its debt is at most a minute's worth.
    #[must_use]
    pub fn of_time(per_second: Duration) -> Self {
        Self::with_two_seconds_burst(usize::try_from(per_second.as_micros()).unwrap_or(usize::MAX))
    }

    /// Creates a budget of bytes that fills by `per_second` and saves up two seconds' worth. Its debt is at most a
    /// minute's worth.
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

    /// Checks that the budget is not overdrawn.
    ///
    /// # Errors
    /// The budget is overdrawn. The error is the time until it is not, if nothing more is spent.
    pub fn admit(&self) -> Result<(), Duration> {
        if self.debt.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let _repaying = self.repaying.lock();
        self.repay()
    }

    /// Repays the debt from the bucket, in parts of up to a full bucket. The caller holds `repaying`.
    fn repay(&self) -> Result<(), Duration> {
        loop {
            let debt = self.debt.load(Ordering::Relaxed);
            // The bucket cannot give more than its capacity at once.
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

    /// Takes `n` tokens if the budget is not overdrawn.
    ///
    /// # Errors
    /// The budget is overdrawn or has too few tokens. The error is the time until it has enough, if no other caller
    /// takes them.
    pub fn take(&self, n: usize) -> Result<(), Duration> {
        self.admit()?;
        self.rate.take(n)
    }

    /// Spends `n` tokens, whether or not the bucket has them.
    pub fn spend(&self, n: u64) {
        let add = |debt: u64| Some(debt.saturating_add(n).min(self.debt_max));
        // The closure always returns a value, so the update never fails.
        let _ = self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        // The debt is repaid at once, because a full bucket would waste what it fills by until the next `admit`. A
        // caller that is repaying now repays this too.
        if let Some(_repaying) = self.repaying.try_lock() {
            let _ = self.repay();
        }
    }

    /// Spends processor time of a budget made by [`Budget::of_time`].
    pub fn spend_time(&self, time: Duration) {
        self.spend(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_bucket_tells_the_time_until_it_has_enough() {
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
    fn an_overdrawn_budget_admits_nothing_until_its_debt_is_repaid() {
        let budget = Budget::of_time(Duration::from_millis(1));
        budget.spend_time(Duration::from_millis(2));
        assert_eq!(budget.admit(), Ok(()), "two seconds' worth was saved up");
        budget.spend_time(Duration::from_micros(500));
        assert!(budget.admit().is_err());
        assert!(budget.admit().is_err(), "asking repays nothing");
    }

    #[test]
    fn spending_is_taken_from_the_bucket_at_once() {
        let budget = Budget::of_bytes(1_000_000);
        budget.spend(1_000_000);
        assert_eq!(budget.debt.load(Ordering::Relaxed), 0, "the bucket had enough");
        budget.spend(1_500_000);
        assert_eq!(
            budget.debt.load(Ordering::Relaxed),
            1_500_000,
            "the bucket has too little left"
        );
    }

    #[test]
    fn a_debt_larger_than_the_bucket_is_repaid_up_to_its_maximum() {
        let budget = Budget::of_time(Duration::from_millis(100));
        budget.spend_time(Duration::from_secs(2));
        let wait = budget.admit().unwrap_err();
        // The bucket held 200 ms; the rest comes at 100 ms in a second.
        assert!(
            wait > Duration::from_secs(17) && wait < Duration::from_secs(19),
            "{wait:?}"
        );
        budget.spend_time(Duration::from_secs(1000));
        let wait = budget.admit().unwrap_err();
        assert!(wait <= Duration::from_secs(DEBT_SECONDS_MAX), "{wait:?}");
    }

    #[test]
    fn a_budget_of_events_is_overdrawn_by_a_burst_at_most() {
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
