//! Limits how often one Engine.IO session may ask to be connected to a namespace.
//!
//! Each CONNECT costs the verification of a token, and it is all that a client may send before it has shown one.

use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use socketioxide_core::packet::Sid;

use crate::tenant::nonzero;

/// A token bucket for each Engine.IO session that has asked lately.
#[derive(Clone)]
pub(super) struct ConnectRateLimiter {
    buckets: Arc<RateLimiter<Sid, HashMapStateStore<Sid>, DefaultClock>>,
    clock: DefaultClock,
}

impl ConnectRateLimiter {
    /// Allows each session `per_second` CONNECTs a second on average, and `burst` at once.
    pub(super) fn new(per_second: usize, burst: usize) -> Self {
        let quota = Quota::per_second(nonzero(per_second)).allow_burst(nonzero(burst));
        Self {
            buckets: Arc::new(RateLimiter::hashmap(quota)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts one CONNECT of the session.
    ///
    /// # Errors
    /// The session has asked too often. The error is the time to wait.
    pub(super) fn check(&self, session: Sid) -> Result<(), Duration> {
        let taken = self.buckets.check_key(&session);
        taken.map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Drops the buckets that are full again. Must be called regularly, or the map grows with every session.
    pub(super) fn forget_idle(&self) {
        self.buckets.retain_recent();
        self.buckets.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_session_that_asks_too_often_must_wait() {
        let connect_rate = ConnectRateLimiter::new(1, 3);
        for _ in 0..3 {
            assert_eq!(connect_rate.check(Sid::ZERO), Ok(()));
        }
        let wait = connect_rate.check(Sid::ZERO).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(connect_rate.check(Sid::new()), Ok(()));
        connect_rate.forget_idle();
        assert_eq!(connect_rate.buckets.len(), 2, "neither bucket is full again");
        assert!(connect_rate.check(Sid::ZERO).is_err());
    }
}
