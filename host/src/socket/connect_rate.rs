//! How often one transport asks to be connected to a namespace. Each time costs the check of a token, and nothing else
//! that a client sends is let in before it.

use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use socketioxide_core::packet::Sid;

use crate::tenant::nonzero;

/// A bucket for each Engine.IO session that has asked lately.
#[derive(Clone)]
pub(super) struct ConnectRateLimiter {
    buckets: Arc<RateLimiter<Sid, HashMapStateStore<Sid>, DefaultClock>>,
    clock: DefaultClock,
}

impl ConnectRateLimiter {
    /// So many in a second on average, and so many at once.
    pub(super) fn new(per_second: usize, burst: usize) -> Self {
        let quota = Quota::per_second(nonzero(per_second)).allow_burst(nonzero(burst));
        Self {
            buckets: Arc::new(RateLimiter::hashmap(quota)),
            clock: DefaultClock::default(),
        }
    }

    /// One more of this session.
    ///
    /// # Errors
    /// When there were too many: after how long there may be another.
    pub(super) fn check(&self, session: Sid) -> Result<(), Duration> {
        let taken = self.buckets.check_key(&session);
        taken.map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Forgets the sessions that might ask as often as new ones. Call it now and then.
    pub(super) fn forget_idle(&self) {
        self.buckets.retain_recent();
        self.buckets.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_asks_too_often_waits_and_no_other_does() {
        let connect_rate = ConnectRateLimiter::new(1, 3);
        for _ in 0..3 {
            assert_eq!(connect_rate.check(Sid::ZERO), Ok(()));
        }
        let wait = connect_rate.check(Sid::ZERO).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(connect_rate.check(Sid::new()), Ok(()));
        connect_rate.forget_idle();
        assert_eq!(connect_rate.buckets.len(), 2, "neither is as good as new");
        assert!(connect_rate.check(Sid::ZERO).is_err());
    }
}
