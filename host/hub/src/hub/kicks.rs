//! Remembers who was kicked out of which room lately. A join that was decided before the kick came here must not bring the
//! user back in: it has read the store before the ban, or the handler has decided before the membership ended.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parlance_types::id::{RoomId, UserId};

/// For how long a kick is remembered: longer than an event takes from its arrival to its delivery.
const REMEMBERED: Duration = Duration::from_secs(120);
/// From how many kicks on those are looked for that can be forgotten.
const MANY: usize = 1024;
/// The most kicks that are remembered. A tenant with more in two minutes loses the memory of them.
const MOST: usize = 65_536;

#[derive(Default)]
pub(super) struct Kicks {
    last: HashMap<(UserId, RoomId), Instant>,
}

impl Kicks {
    /// A user is kicked out of a room now.
    pub(super) fn note(&mut self, user: UserId, room: RoomId, now: Instant) {
        if self.last.len() >= MANY {
            self.last
                .retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED);
        }
        if self.last.len() >= MOST {
            self.last.clear();
        }
        self.last.insert((user, room), now);
    }

    /// Whether the user was kicked out of the room since an event arrived.
    pub(super) fn since(&self, user: &UserId, room: &RoomId, received: Instant) -> bool {
        if self.last.is_empty() {
            return false;
        }
        let last = self.last.get(&(user.clone(), room.clone()));
        last.is_some_and(|at| *at >= received)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_kick_counts_for_events_that_arrived_before_it_and_is_forgotten_in_time() {
        let (user, room) = (UserId::new("ann").unwrap(), RoomId::new("r").unwrap());
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        let (before, kick, after) = (at(0), at(1), at(2));
        let mut kicks = Kicks::default();
        assert!(!kicks.since(&user, &room, before));
        kicks.note(user.clone(), room.clone(), kick);
        assert!(kicks.since(&user, &room, before));
        assert!(!kicks.since(&user, &room, after), "a later event joins");
        assert!(!kicks.since(&user, &RoomId::new("other").unwrap(), before));
        for n in 0..MANY {
            kicks.note(user.clone(), RoomId::new(&n.to_string()).unwrap(), at(1000));
        }
        assert!(kicks.last.len() <= MANY + 1);
        kicks.note(user.clone(), room.clone(), at(2000));
        assert_eq!(kicks.last.len(), 1, "the old ones are forgotten");
    }
}
