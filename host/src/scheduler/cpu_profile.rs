//! Whether a version's events run long: then they have threads of their own (`background.rs`).
//!
//! A tick is short, but many guests that begin at once each have theirs, on every thread, before anybody else's turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// An event that uses so much processor time is a long one.
const LONG: Duration = Duration::from_micros(50);
/// An event of a version that does not run long as a rule goes on elsewhere once it has used this much: whoever goes there
/// waits behind those who belong there.
pub(crate) const BACKGROUND_AFTER: Duration = Duration::from_millis(2);
/// Long events may use one part in so many of a processor before the version counts as one that runs long.
const SHARE: u32 = 20;
/// What is forgiven: so much on top of that share, for the odd event that is long.
const FORGIVEN: Duration = Duration::from_millis(10);
/// What is remembered at most, so that it is forgotten within ten seconds: a tenant whose processor time is used up may
/// have to wait for seconds, and its version must not begin anew after each wait.
const MOST: Duration = Duration::from_millis(500);

/// What long events have used lately.
#[derive(Debug)]
pub(crate) struct CpuProfile {
    began: Instant,
    /// What is remembered, and since when, after `began`.
    used: Mutex<(Duration, Duration)>,
    /// Until when it counts as one that runs long, in microseconds after `began`.
    until: AtomicU64,
}

impl Default for CpuProfile {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            used: Mutex::default(),
            until: AtomicU64::new(0),
        }
    }
}

impl CpuProfile {
    /// An event has used this much.
    pub(crate) fn observe(&self, cpu: Duration) {
        if cpu >= LONG {
            self.observe_at(cpu, self.began.elapsed());
        }
    }

    /// Whether events are to run where they are in nobody's way.
    pub(crate) fn runs_long(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        // Of a version without long events not even the clock is looked at.
        until > 0 && self.began.elapsed() < Duration::from_micros(until)
    }

    fn observe_at(&self, cpu: Duration, now: Duration) {
        let mut used = self.used.lock();
        let (sum, since) = *used;
        let sum = sum
            .saturating_sub(now.saturating_sub(since) / SHARE)
            .saturating_add(cpu)
            .min(MOST);
        *used = (sum, now);
        let until = now.saturating_add(sum.saturating_sub(FORGIVEN).saturating_mul(SHARE));
        if until > now {
            let micros = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
            self.until.store(micros, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn until(cpu_profile: &CpuProfile) -> Duration {
        Duration::from_micros(cpu_profile.until.load(Ordering::Relaxed))
    }

    #[test]
    fn quick_events_are_never_held_against_a_version() {
        let cpu_profile = CpuProfile::default();
        for _ in 0..10_000 {
            cpu_profile.observe(LONG - Duration::from_nanos(1));
        }
        assert!(!cpu_profile.runs_long());
    }

    #[test]
    fn a_few_long_events_are_forgiven_and_many_are_remembered_for_a_while() {
        let cpu_profile = CpuProfile::default();
        // A twentieth of a processor.
        for n in 0..100 {
            cpu_profile.observe_at(ms(5), ms(100 * n));
        }
        assert_eq!(until(&cpu_profile), Duration::ZERO);
        // Half of one.
        for n in 0..100 {
            cpu_profile.observe_at(ms(5), ms(20_000 + 10 * n));
        }
        let last = ms(20_990);
        assert!(
            until(&cpu_profile) > last && until(&cpu_profile) <= last + MOST * SHARE,
            "{:?}",
            until(&cpu_profile)
        );
        cpu_profile.observe_at(ms(1), ms(60_000));
        assert!(until(&cpu_profile) < ms(60_000), "long ago");
    }
}
