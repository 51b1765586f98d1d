//! Users who have gone, so that those who were in a room with them can ask since when.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::id::{RoomId, UserId};

/// Users that one tenant's memory of the departed holds; the ones who left first are forgotten first.
const USERS_MAX: usize = 4096;
/// Rooms that are remembered of each.
const ROOMS_MAX: usize = 32;

/// A user who has gone.
pub(super) struct LastSeen {
    /// When they went, in milliseconds since the Unix epoch.
    pub(super) since: u64,
    /// What to call them.
    pub(super) name: Arc<str>,
    /// Rooms that they were in.
    pub(super) rooms: Box<[RoomId]>,
}

/// All of them, within a bound.
#[derive(Default)]
pub(super) struct LastSeenUsers {
    users: HashMap<UserId, LastSeen>,
    /// In the order in which they left. One who came back and left again is in it twice, with the time of each.
    order: VecDeque<(UserId, u64)>,
}

impl LastSeenUsers {
    /// A user has gone.
    pub(super) fn remember<'r>(
        &mut self,
        user: &UserId,
        since: u64,
        name: Arc<str>,
        rooms: impl Iterator<Item = &'r RoomId>,
    ) {
        let rooms = rooms.take(ROOMS_MAX).cloned().collect();
        self.users.insert(user.clone(), LastSeen { since, name, rooms });
        self.order.push_back((user.clone(), since));
        while self.order.len() > USERS_MAX
            && let Some((first, left)) = self.order.pop_front()
        {
            if self.users.get(&first).is_some_and(|known| known.since == left) {
                self.users.remove(&first);
            }
        }
    }

    /// The user is back.
    pub(super) fn forget(&mut self, user: &UserId) {
        self.users.remove(user);
    }

    /// Gives what is remembered of the user.
    pub(super) fn get(&self, user: &UserId) -> Option<&LastSeen> {
        self.users.get(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: usize) -> UserId {
        UserId::new(&format!("user-{n}")).unwrap()
    }

    #[test]
    fn the_last_to_leave_are_remembered_and_no_more_than_so_many() {
        let room = RoomId::new("r").unwrap();
        let mut last_seen = LastSeenUsers::default();
        for n in 0..USERS_MAX + 10 {
            last_seen.remember(
                &user(n),
                n as u64,
                "name".into(),
                std::iter::repeat_n(&room, ROOMS_MAX + 5),
            );
        }
        assert_eq!((last_seen.users.len(), last_seen.order.len()), (USERS_MAX, USERS_MAX));
        assert!(last_seen.get(&user(9)).is_none());
        let last = last_seen.get(&user(USERS_MAX + 9)).unwrap();
        assert_eq!(last.since, USERS_MAX as u64 + 9);
        assert_eq!(last.rooms.len(), ROOMS_MAX);
    }

    #[test]
    fn one_who_comes_and_goes_takes_no_more_memory_than_the_bound() {
        let mut last_seen = LastSeenUsers::default();
        for n in 0..USERS_MAX * 2 {
            last_seen.forget(&user(0));
            last_seen.remember(&user(0), n as u64, "name".into(), std::iter::empty());
        }
        assert_eq!((last_seen.users.len(), last_seen.order.len()), (1, USERS_MAX));
        assert_eq!(last_seen.get(&user(0)).unwrap().since, USERS_MAX as u64 * 2 - 1);
    }
}
