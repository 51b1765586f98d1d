//! Decides whether a version's events usually run long. Such events run in the background (`background.rs`).
//!
//! Ticks alone are not enough: when many guests start at once, each runs for a tick on every thread before another
//! tenant has a turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An event that uses this much processor time is long.
const LONG_EVENT: Duration = Duration::from_micros(50);
/// Long events may use one part in this many of a processor before the version counts as one that runs long.
const ALLOWED_SHARE: u32 = 20;
/// Processor time of long events beyond that share after which a version runs in the background. It tolerates an
/// occasional long event, and moves even the first event of a version that runs long once it has used this much.
const BACKGROUND_AFTER: Duration = Duration::from_millis(10);
/// Most processor time that is remembered, so that it is forgotten within ten seconds. It is more than
/// [`BACKGROUND_AFTER`]: a tenant that has used up its processor time may have to wait for seconds, and its version
/// must not return to the foreground after each wait.
const REMEMBERED_MAX: Duration = Duration::from_millis(500);

/// What long events have used lately: a leaky bucket. It is one atomic number, so that threads never wait for each
/// other.
#[derive(Debug)]
pub struct CpuProfile {
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
    /// Records that an event has used this much processor time.
    pub fn observe(&self, cpu: Duration) {
        if cpu >= LONG_EVENT {
            self.observe_at(cpu, self.began.elapsed());
        }
    }

    /// Whether the version's events should run in the background.
    pub fn runs_long(&self) -> bool {
        let empty_at = self.empty_at.load(Ordering::Relaxed);
        // Fast path: versions with no long events skip the clock read.
        empty_at > 0 && self.runs_long_at(self.began.elapsed())
    }

    fn observe_at(&self, cpu: Duration, now: Duration) {
        let more = |empty_at: u64| {
            let drains = Duration::from_micros(empty_at).saturating_sub(now);
            let drains = drains
                .saturating_add(cpu.saturating_mul(ALLOWED_SHARE))
                .min(REMEMBERED_MAX * ALLOWED_SHARE);
            u64::try_from(now.saturating_add(drains).as_micros()).ok()
        };
        // It fails only if the time does not fit 64 bits.
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
    fn quick_events_never_move_a_version_to_the_background() {
        let cpu_profile = CpuProfile::default();
        for _ in 0..10_000 {
            cpu_profile.observe(LONG_EVENT - Duration::from_nanos(1));
        }
        assert!(!cpu_profile.runs_long());
    }

    #[test]
    fn a_few_long_events_are_tolerated_and_many_are_remembered() {
        let cpu_profile = CpuProfile::default();
        // These use a twentieth of a processor.
        for n in 0..100 {
            cpu_profile.observe_at(ms(5), ms(100 * n));
            assert!(!cpu_profile.runs_long_at(ms(100 * n)));
        }
        // These use half a processor.
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
