//! Whether a version's events run long: then they have threads of their own (`background.rs`).
//!
//! A tick is short, but many guests that begin at once each have theirs, on every thread, before anybody else's turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An event that uses so much processor time is a long one.
const LONG_EVENT: Duration = Duration::from_micros(50);
/// Long events may use one part in so many of a processor before the version counts as one that runs long.
const ALLOWED_SHARE: u32 = 20;
/// What is forgiven: so much on top of that share, for the odd event that is long. The first event of a version that runs
/// long is in nobody's way any more when it has used this much.
const BACKGROUND_AFTER: Duration = Duration::from_millis(10);
/// What is remembered at most, so that it is forgotten within ten seconds: a tenant whose processor time is used up may
/// have to wait for seconds, and its version must not begin anew after each wait.
const REMEMBERED_MAX: Duration = Duration::from_millis(500);

/// What long events have used lately: a bucket that drains with time. One number, so that no thread holds up another.
#[derive(Debug)]
pub(crate) struct CpuProfile {
    began: Instant,
    /// When the bucket will be empty, in microseconds after `began`.
    empty_at: AtomicU64,
}

impl Default for CpuProfile {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            empty_at: AtomicU64::new(0),
        }
    }
}

impl CpuProfile {
    /// An event has used this much.
    pub(crate) fn observe(&self, cpu: Duration) {
        if cpu >= LONG_EVENT {
            self.observe_at(cpu, self.began.elapsed());
        }
    }

    /// Whether events are to run where they are in nobody's way.
    pub(crate) fn runs_long(&self) -> bool {
        let empty_at = self.empty_at.load(Ordering::Relaxed);
        // Versions without long events skip the look at the clock.
        empty_at > 0 && self.runs_long_at(self.began.elapsed())
    }

    fn observe_at(&self, cpu: Duration, now: Duration) {
        let more = |empty_at: u64| {
            let drains = Duration::from_micros(empty_at).saturating_sub(now);
            let drains = drains.saturating_add(cpu.saturating_mul(ALLOWED_SHARE)).min(REMEMBERED_MAX * ALLOWED_SHARE);
            u64::try_from(now.saturating_add(drains).as_micros()).ok()
        };
        // It fails only where the clock does.
        let _ = self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn runs_long_at(&self, now: Duration) -> bool {
        let empty_at = Duration::from_micros(self.empty_at.load(Ordering::Relaxed));
        empty_at.saturating_sub(now) > BACKGROUND_AFTER * ALLOWED_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn quick_events_are_never_held_against_a_version() {
        let cpu_profile = CpuProfile::default();
        for _ in 0..10_000 {
            cpu_profile.observe(LONG_EVENT - Duration::from_nanos(1));
        }
        assert!(!cpu_profile.runs_long());
    }

    #[test]
    fn a_few_long_events_are_forgiven_and_many_are_remembered_for_a_while() {
        let cpu_profile = CpuProfile::default();
        // A twentieth of a processor.
        for n in 0..100 {
            cpu_profile.observe_at(ms(5), ms(100 * n));
            assert!(!cpu_profile.runs_long_at(ms(100 * n)));
        }
        // Half of one.
        for n in 0..100 {
            cpu_profile.observe_at(ms(5), ms(20_000 + 10 * n));
        }
        let last = ms(20_990);
        assert!(cpu_profile.runs_long_at(last));
        assert!(cpu_profile.runs_long_at(last + ms(5_000)), "a pause changes nothing");
        assert!(!cpu_profile.runs_long_at(last + REMEMBERED_MAX * ALLOWED_SHARE));
        cpu_profile.observe_at(ms(1), ms(60_000));
        assert!(!cpu_profile.runs_long_at(ms(60_000)), "long ago");
    }
}
