//! Counts what a tenant sends to its clients, and holds it to `quota.outbound_bytes_per_second`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The burst that may go out at once, as the time that it takes at the tenant's rate. Other tenants may have to wait
/// for it that long.
const BURST: Duration = Duration::from_millis(10);
/// How far answers whose sender does not wait can put off what the tenant sends next.
const CHARGED_AHEAD: Duration = Duration::from_secs(1);

/// The limiter of one tenant's bytes to clients. The hub and the tasks of the tenant's connections share it, so that
/// all that they send is held to one rate.
#[derive(Debug)]
pub(super) struct OutboundLimiter {
    began: Instant,
    /// The rate, in bytes a second.
    rate: AtomicU64,
    /// When all that was sent would have gone out at the rate, in nanoseconds after `began`.
    sent_by: AtomicU64,
    /// Bytes that the tenant has not been charged for yet.
    uncharged: AtomicU64,
}

impl Default for OutboundLimiter {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            rate: AtomicU64::new(u64::MAX),
            sent_by: AtomicU64::new(0),
            uncharged: AtomicU64::new(0),
        }
    }
}

impl OutboundLimiter {
    /// Sets the rate.
    pub(super) fn set_rate(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Counts bytes that go out. Returns the time until which their sender must pause, or `None` if it may continue.
    pub(super) fn spend(&self, bytes: u64, now: Instant) -> Option<Instant> {
        self.count(bytes, now, None)
    }

    /// Counts bytes that go out and whose sender does not pause. Others pause for them, but no longer than
    /// [`CHARGED_AHEAD`].
    pub(super) fn charge(&self, bytes: u64, now: Instant) {
        self.count(bytes, now, now.checked_add(CHARGED_AHEAD));
    }

    /// Counts bytes. They do not move `sent_by` beyond `latest`.
    fn count(&self, bytes: u64, now: Instant, latest: Option<Instant>) -> Option<Instant> {
        if bytes == 0 {
            return None;
        }
        self.uncharged.fetch_add(bytes, Ordering::Relaxed);
        let rate = self.rate.load(Ordering::Relaxed).max(1);
        if rate == u64::MAX {
            return None;
        }
        // In whole nanoseconds, saturating: a wait of centuries is as good as one of years.
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let takes = u64::try_from(takes).unwrap_or(u64::MAX);
        let nanos = |moment: Instant| {
            let since = moment.saturating_duration_since(self.began).as_nanos();
            u64::try_from(since).unwrap_or(u64::MAX)
        };
        let earliest = now.checked_sub(BURST).map_or(0, nanos);
        let latest = latest.map_or(u64::MAX, nanos);
        let later = |sent_by: u64| {
            let later = sent_by.max(earliest).saturating_add(takes);
            later.min(latest).max(sent_by)
        };
        // The closure always returns a value, so this cannot fail.
        let before = self
            .sent_by
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sent_by| Some(later(sent_by)));
        let sent_by = later(before.unwrap_or_else(|sent_by| sent_by));
        (sent_by > nanos(now))
            .then(|| self.began.checked_add(Duration::from_nanos(sent_by)))
            .flatten()
    }

    /// Takes the bytes since the last call.
    pub(super) fn take_uncharged(&self) -> u64 {
        match self.uncharged.load(Ordering::Relaxed) {
            // The common case does not write, so cores do not contend for the cache line.
            0 => 0,
            _ => self.uncharged.swap(0, Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_senders_together_are_held_to_the_rate() {
        let outbound = OutboundLimiter::default();
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
    fn answers_whose_sender_does_not_wait_put_the_others_off_for_a_second_at_most() {
        let outbound = OutboundLimiter::default();
        outbound.set_rate(1000);
        let now = outbound.began + Duration::from_secs(100);
        let wait = |bytes| outbound.spend(bytes, now).map(|until| until - now);
        outbound.charge(110, now);
        assert_eq!(wait(100), Some(Duration::from_millis(200)));
        outbound.charge(1 << 40, now);
        assert_eq!(wait(500), Some(Duration::from_millis(1500)));
        outbound.charge(1, now);
        assert_eq!(
            wait(500),
            Some(Duration::from_millis(2000)),
            "nor do they bring it forward"
        );
        assert_eq!(outbound.take_uncharged(), 1211 + (1 << 40), "all of it is charged");
    }

    #[test]
    fn without_a_rate_no_sender_waits() {
        let outbound = OutboundLimiter::default();
        assert_eq!(outbound.spend(1 << 40, Instant::now()), None);
    }
}
