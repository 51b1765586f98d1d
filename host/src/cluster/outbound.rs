//! What a tenant sends to its clients: counted, and held to `quota.outbound_bytes_per_second`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much may go out at once, as the time in which that much may go out: what others wait for when it comes at the
/// wrong moment.
const AT_ONCE: Duration = Duration::from_millis(10);

/// A tenant's bytes to clients. Its hub and the tasks of its connections share it, so that all that they send is held
/// to one rate.
#[derive(Debug)]
pub(super) struct Outbound {
    began: Instant,
    /// Bytes that may go out in a second.
    rate: AtomicU64,
    /// When what was sent would have gone out at that rate, in nanoseconds after `began`.
    sent_by: AtomicU64,
    /// Bytes that the tenant has not been charged for yet.
    uncharged: AtomicU64,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            rate: AtomicU64::new(u64::MAX),
            sent_by: AtomicU64::new(0),
            uncharged: AtomicU64::new(0),
        }
    }
}

impl Outbound {
    /// So many bytes may go out in a second from now on.
    pub(super) fn set_rate(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Counts bytes that go out. Gives until when whatever sent them sends nothing more; `None` when it may go on.
    pub(super) fn spend(&self, bytes: u64, now: Instant) -> Option<Instant> {
        if bytes == 0 {
            return None;
        }
        self.uncharged.fetch_add(bytes, Ordering::Relaxed);
        let rate = self.rate.load(Ordering::Relaxed).max(1);
        if rate == u64::MAX {
            return None;
        }
        // In whole nanoseconds; a wait of centuries is as good as one of years.
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let takes = u64::try_from(takes).unwrap_or(u64::MAX);
        let nanos = |moment: Instant| {
            let since = moment.saturating_duration_since(self.began).as_nanos();
            u64::try_from(since).unwrap_or(u64::MAX)
        };
        let earliest = now.checked_sub(AT_ONCE).map_or(0, nanos);
        let later = |sent_by: u64| sent_by.max(earliest).saturating_add(takes);
        // The closure always gives something, so this never fails.
        let before = self
            .sent_by
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sent_by| Some(later(sent_by)));
        let sent_by = later(before.unwrap_or_else(|sent_by| sent_by));
        (sent_by > nanos(now))
            .then(|| self.began.checked_add(Duration::from_nanos(sent_by)))
            .flatten()
    }

    /// Bytes since this was asked last.
    pub(super) fn take_uncharged(&self) -> u64 {
        match self.uncharged.load(Ordering::Relaxed) {
            // The usual case writes nothing that other threads read.
            0 => 0,
            _ => self.uncharged.swap(0, Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_sent_together_is_held_to_the_rate() {
        let outbound = Outbound::default();
        outbound.set_rate(1000);
        let now = outbound.began + Duration::from_secs(100);
        assert_eq!(outbound.spend(0, now), None);
        assert_eq!(outbound.spend(10, now), None, "so much may go out at once");
        let wait = |bytes, now| outbound.spend(bytes, now).map(|until| until - now);
        assert_eq!(wait(500, now), Some(Duration::from_millis(500)));
        assert_eq!(wait(500, now), Some(Duration::from_millis(1000)), "behind the others");
        let later = now + Duration::from_millis(900);
        assert_eq!(wait(100, later), Some(Duration::from_millis(200)));
        assert_eq!(
            wait(10, later + Duration::from_secs(60)),
            None,
            "a pause saves nothing up but a burst"
        );
        assert_eq!(
            wait(20, later + Duration::from_secs(60)),
            Some(Duration::from_millis(20))
        );
        assert_eq!(outbound.take_uncharged(), 1140);
        assert_eq!(outbound.take_uncharged(), 0);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let outbound = Outbound::default();
        assert_eq!(outbound.spend(1 << 40, Instant::now()), None);
    }
}
