//! How much in what time: token buckets.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;

/// A setting as buckets count, clamped to what they can.
#[must_use]
pub fn number(n: usize) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
}

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

/// A bucket from which something is also taken that is known only afterwards, such as processor time, or what other
/// nodes have let in: it can be overdrawn, and gives nothing more until that is made up for.
pub struct Budget {
    rate: Rate,
    /// What it is filled with in a second.
    per_second: u64,
    /// Spent, and not taken from the bucket yet.
    owed: AtomicU64,
    /// What is owed at most: beyond it, what was spent is forgiven rather than nothing given for a long while.
    most: u64,
    /// Held by who makes up for what is owed.
    paying: Mutex<()>,
}

/// For how many seconds nothing is given at most, however much was spent.
const MAKING_UP: u64 = 60;

impl Budget {
    /// Fills with `per_second`, up to `burst`, and can be overdrawn by as much.
    #[must_use]
    pub fn new(per_second: usize, burst: usize) -> Self {
        Self::of(per_second, burst, burst as u64)
    }

    /// Of processor time, in microseconds, `per_second` in each second, of which two seconds' worth can be saved up.
    /// What events use that were let in before is made up for, whatever it is.
    #[must_use]
    pub fn of_time(per_second: Duration) -> Self {
        Self::of_two_seconds(usize::try_from(per_second.as_micros()).unwrap_or(usize::MAX))
    }

    /// Of bytes, the same.
    #[must_use]
    pub fn of_bytes(per_second: usize) -> Self {
        Self::of_two_seconds(per_second)
    }

    fn of_two_seconds(per_second: usize) -> Self {
        let most = (per_second as u64).saturating_mul(MAKING_UP);
        Self::of(per_second, per_second.saturating_mul(2), most)
    }

    fn of(per_second: usize, burst: usize, most: u64) -> Self {
        Self {
            rate: Rate::new(per_second, burst),
            per_second: (per_second as u64).max(1),
            owed: AtomicU64::new(0),
            most,
            paying: Mutex::new(()),
        }
    }

    /// Whether nothing is owed.
    ///
    /// # Errors
    /// When it is overdrawn: after how long it is not, if nobody spends more.
    pub fn admit(&self) -> Result<(), Duration> {
        if self.owed.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        // One pays at a time, or two would pay for the same.
        let _paying = self.paying.lock();
        self.pay()
    }

    /// Takes what is owed from the bucket, as far as it goes in whole parts. For who holds `paying`.
    fn pay(&self) -> Result<(), Duration> {
        loop {
            let owed = self.owed.load(Ordering::Relaxed);
            // The bucket never gives more at once than it holds.
            let part = owed.min(u64::from(self.rate.full));
            if part == 0 {
                return Ok(());
            }
            self.rate
                .take(usize::try_from(part).unwrap_or(usize::MAX))
                .map_err(|wait| {
                    let rest = owed.saturating_sub(part) as f64 / self.per_second as f64;
                    wait.saturating_add(Duration::from_secs_f64(rest))
                })?;
            self.owed.fetch_sub(part, Ordering::Relaxed);
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
        let add = |owed: u64| Some(owed.saturating_add(n).min(self.most));
        // It never fails: there is always something to write.
        let _ = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        // At once: a full bucket gets no fuller while it waits to be asked. Whoever else pays now pays this too.
        if let Some(_paying) = self.paying.try_lock() {
            let _ = self.pay();
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
        assert_eq!(budget.owed.load(Ordering::Relaxed), 0, "the bucket had it");
        budget.spend(1_500_000);
        assert_eq!(
            budget.owed.load(Ordering::Relaxed),
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
        assert!(wait <= Duration::from_secs(MAKING_UP), "{wait:?}");
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
