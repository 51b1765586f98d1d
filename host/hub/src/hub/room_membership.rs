//! The users of each room, on all nodes together.

use std::collections::HashMap;

use indexmap::IndexMap;

use parlance_types::id::{RoomId, UserId};

/// Counts for each user in a room the nodes on which they are in it: this node counts once for all of the user's
/// connections, each other node once. So the first join and the last leave of a user are found without looking at other
/// members.
#[derive(Default)]
pub(super) struct RoomMembership {
    rooms: HashMap<RoomId, IndexMap<UserId, u32>>,
}

impl RoomMembership {
    /// Adds a node on which the user is in the room. Returns whether it is the first one.
    pub(super) fn add(&mut self, room: &RoomId, user: &UserId) -> bool {
        let nodes = self
            .rooms
            .entry(room.clone())
            .or_default()
            .entry(user.clone())
            .or_default();
        *nodes += 1;
        *nodes == 1
    }

    /// Removes a node on which the user was in the room. Returns whether it was the last one.
    pub(super) fn remove(&mut self, room: &RoomId, user: &UserId) -> bool {
        let Some(users) = self.rooms.get_mut(room) else {
            return false;
        };
        let Some(nodes) = users.get_mut(user) else {
            return false;
        };
        *nodes -= 1;
        if *nodes > 0 {
            return false;
        }
        users.swap_remove(user);
        if users.is_empty() {
            self.rooms.remove(room);
        }
        true
    }

    /// Whether the user is in the room on any node.
    pub(super) fn contains(&self, room: &RoomId, user: &UserId) -> bool {
        self.rooms.get(room).is_some_and(|users| users.contains_key(user))
    }

    /// The number of users in the room.
    pub(super) fn count(&self, room: &RoomId) -> usize {
        self.rooms.get(room).map_or(0, IndexMap::len)
    }

    /// At most `limit` users in the room, each once, in no particular order.
    pub(super) fn users(&self, room: &RoomId, limit: usize) -> Vec<UserId> {
        let users = self.rooms.get(room).into_iter().flat_map(IndexMap::keys);
        users.take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_join_and_the_last_leave_of_a_user_are_found() {
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
