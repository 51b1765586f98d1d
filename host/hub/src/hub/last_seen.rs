//! Users who have left, so that others who shared a room with them can ask when they were last seen.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parlance_types::id::{RoomId, UserId};

/// The most users that are remembered for one tenant. Those who left first are forgotten first.
const USERS_MAX: usize = 4096;
/// The most rooms that are remembered of each user.
const ROOMS_MAX: usize = 32;

/// A user who has left.
pub(super) struct LastSeen {
    /// When they left, in milliseconds since the Unix epoch.
    pub(super) since: u64,
    /// Their name.
    pub(super) name: Arc<str>,
    /// Rooms that they were in.
    pub(super) rooms: Box<[RoomId]>,
}

/// The remembered users, by id.
#[derive(Default)]
pub(super) struct LastSeenUsers {
    users: HashMap<UserId, LastSeen>,
    /// The users in the order in which they left. A user who came back and left again is in it twice, with both times.
    order: VecDeque<(UserId, u64)>,
}

impl LastSeenUsers {
    /// Remembers a user who has left.
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

    /// Forgets a user who has come back.
    pub(super) fn forget(&mut self, user: &UserId) {
        self.users.remove(user);
    }

    /// The record of a user.
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
    fn the_last_users_to_leave_are_remembered_up_to_the_bound() {
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
    fn a_user_who_leaves_often_takes_no_more_memory_than_the_bound() {
        let mut last_seen = LastSeenUsers::default();
        for n in 0..USERS_MAX * 2 {
            last_seen.forget(&user(0));
            last_seen.remember(&user(0), n as u64, "name".into(), std::iter::empty());
        }
        assert_eq!((last_seen.users.len(), last_seen.order.len()), (1, USERS_MAX));
        assert_eq!(last_seen.get(&user(0)).unwrap().since, USERS_MAX as u64 * 2 - 1);
    }
}
