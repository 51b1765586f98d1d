//! The users of each room, on all nodes together.

use std::collections::HashMap;

use indexmap::IndexMap;

use crate::id::{RoomId, UserId};

/// Counts, for each user in a room, from how many sides they are in it: this node's connections are one side, each
/// other node is another. So the first and the last step of a user in a room are found without looking at other members.
#[derive(Default)]
pub(super) struct RoomMembership {
    rooms: HashMap<RoomId, IndexMap<UserId, u32>>,
}

impl RoomMembership {
    /// A side has the user in the room from now on. Gives whether no other side had.
    pub(super) fn add(&mut self, room: &RoomId, user: &UserId) -> bool {
        let sides = self
            .rooms
            .entry(room.clone())
            .or_default()
            .entry(user.clone())
            .or_default();
        *sides += 1;
        *sides == 1
    }

    /// A side has the user in the room no more. Gives whether no other side has.
    pub(super) fn remove(&mut self, room: &RoomId, user: &UserId) -> bool {
        let Some(users) = self.rooms.get_mut(room) else {
            return false;
        };
        let Some(sides) = users.get_mut(user) else {
            return false;
        };
        *sides -= 1;
        if *sides > 0 {
            return false;
        }
        users.swap_remove(user);
        if users.is_empty() {
            self.rooms.remove(room);
        }
        true
    }

    /// Whether any side has the user in the room.
    pub(super) fn contains(&self, room: &RoomId, user: &UserId) -> bool {
        self.rooms.get(room).is_some_and(|users| users.contains_key(user))
    }

    /// How many users are in the room.
    pub(super) fn count(&self, room: &RoomId) -> usize {
        self.rooms.get(room).map_or(0, IndexMap::len)
    }

    /// Users in the room, each once, in no order.
    pub(super) fn users(&self, room: &RoomId, limit: usize) -> Vec<UserId> {
        let users = self.rooms.get(room).into_iter().flat_map(IndexMap::keys);
        users.take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_step_of_a_user_are_told_apart_from_all_others() {
        let (room, ann) = (RoomId::new("r").unwrap(), UserId::new("ann").unwrap());
        let mut membership = RoomMembership::default();
        assert!(membership.add(&room, &ann));
        assert!(!membership.add(&room, &ann), "from another node too");
        assert_eq!((membership.count(&room), membership.users(&room, 9).len()), (1, 1));
        assert!(!membership.remove(&room, &ann));
        assert!(membership.contains(&room, &ann));
        assert!(membership.remove(&room, &ann));
        assert!(!membership.remove(&room, &ann), "they are not in it any more");
        assert!(membership.rooms.is_empty(), "an empty room takes no memory");
    }
}
