//! Checks what nodes and clients know of users in the end.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use parlance_handler::capability::Status;
use parlance_types::id::{RoomId, UserId};

impl World {
    /// Checks that all nodes agree on each user's true state, and that clients which were told of joins and leaves know
    /// who is in a room.
    pub(super) fn check_presence(&self) {
        let mut rooms: BTreeMap<String, BTreeSet<UserId>> = BTreeMap::new();
        let mut statuses: BTreeMap<String, (Status, u32)> = BTreeMap::new();
        for client in &self.clients {
            let Some(session) = &client.session else { continue };
            for room in session.connection.rooms() {
                rooms
                    .entry(room.as_str().to_owned())
                    .or_default()
                    .insert(client.user.clone());
            }
            // The status as the client's own node has it: a user who was away and connects again is still away.
            let hub = self.nodes[session.node].hub.as_ref().unwrap();
            let here = hub.users.summary(&client.user).unwrap();
            let entry = statuses
                .entry(client.user.as_str().to_owned())
                .or_insert((here.status, 0));
            entry.1 += 1;
            if here.status == Status::Online {
                entry.0 = Status::Online;
            }
        }
        for (number, client) in self.clients.iter().enumerate() {
            let Some(session) = &client.session else { continue };
            assert!(session.join.is_none(), "client {number} waits for its join");
            let waits = session.reads && !client.unanswered.is_empty();
            assert!(!waits, "client {number} waits for {:?}", client.unanswered);
            let hub = self.nodes[session.node].hub.as_ref().unwrap();
            let own = hub.rooms_of(&client.user);
            for (room, members) in &rooms {
                let id = RoomId::new(room).unwrap();
                let told: BTreeSet<UserId> = hub.members(&id, usize::MAX).into_iter().collect();
                assert_eq!(&told, members, "members of {room} on node {}", session.node);
            }
            for other in &self.clients {
                let truth = statuses.get(other.user.as_str()).copied();
                let is_seen = own.iter().any(|room| {
                    let members = rooms.get(room.as_str());
                    members.is_some_and(|members| members.contains(&other.user))
                });
                let state = hub.presence_of(&other.user, &client.user, &own);
                if let Some((status, connections)) = truth
                    && (is_seen || other.user == client.user)
                {
                    assert_eq!(
                        (state.status, state.connections),
                        (status, connections),
                        "{} on node {}",
                        other.user,
                        session.node
                    );
                } else if truth.is_none() {
                    assert_eq!(state.status, Status::Offline, "{}", other.user);
                }
            }
            for (room, joined_room) in session.rooms.iter().filter(|_| session.reads) {
                for (user, is_there) in &joined_room.members {
                    let user = UserId::new(user).unwrap();
                    let members = rooms.get(room.as_str());
                    let truth = members.is_some_and(|members| members.contains(&user));
                    assert_eq!(*is_there, truth, "client {number} on {user} in {room}");
                }
            }
        }
    }
}
