//! What other nodes say.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::presence_grace::ChangeCause;
use super::remote_presence::PresenceRecord;
use super::rooms::Gap;
use super::{Hub, Move, Output, PendingWork};
use crate::cluster::bus::{Broadcast, BroadcastTarget, ClientSelector, NodeId, TargetRoom};
use crate::cluster::connection::{Connection, Outgoing};
use crate::id::{RoomId, UserId};

impl Hub {
    /// Another node has an event for clients here.
    pub(super) fn receive(&mut self, broadcast: &Broadcast) {
        let outgoing = Outgoing::event(broadcast.packet.clone(), broadcast.question.clone());
        if let Some((room, seq)) = &broadcast.message {
            if self.rooms.offer(room, *seq, &outgoing) == Gap::Missing {
                self.schedule_check(room);
            }
            return;
        }
        // A packet about a message comes after the message, which is read from the store when it does not come otherwise.
        if let Some((room, seq)) = &broadcast.after {
            self.note_message(room, *seq);
        }
        // What a room gets keeps its place among the room's messages. Whoever is excepted is hardly ever here.
        if let BroadcastTarget::Rooms(places) = &broadcast.to
            && let Some(name) = self.one_room(places)
            && let Ok(room) = RoomId::new(name)
            && self.rooms.order(&room).is_some()
            && self.connections_in(&broadcast.except).is_empty()
        {
            return self.rooms.follow(&room, None, &outgoing);
        }
        let selection = ClientSelector {
            to: broadcast.to.clone(),
            except: broadcast.except.clone(),
        };
        let clients = self.select(&selection);
        self.rooms.send_to(clients, &outgoing);
    }

    /// The name of the room, when nothing else is meant.
    fn one_room<'p>(&self, places: &'p [TargetRoom]) -> Option<&'p str> {
        match places {
            [TargetRoom::Room(name)] => Some(name),
            [TargetRoom::RoomOrSocket(name)] if self.users.by_connection_id(name).is_none() => Some(name),
            _ => None,
        }
    }

    /// The connections here that are in any of the places, each once.
    fn connections_in(&self, places: &[TargetRoom]) -> Vec<Arc<Connection>> {
        let mut seen: HashSet<*const Connection> = HashSet::new();
        let mut found = Vec::new();
        let mut add = |connection: &Arc<Connection>| {
            if seen.insert(Arc::as_ptr(connection)) {
                found.push(connection.clone());
            }
        };
        for place in places {
            match place {
                TargetRoom::User(user) => self.users.connections_of(user).for_each(&mut add),
                TargetRoom::Room(name) | TargetRoom::RoomOrSocket(name) => {
                    if let Ok(room) = RoomId::new(name) {
                        self.rooms.connections(&room).for_each(&mut add);
                    }
                    if matches!(place, TargetRoom::RoomOrSocket(_)) {
                        self.users.by_connection_id(name).into_iter().for_each(&mut add);
                    }
                }
            }
        }
        found
    }

    /// The connections here that a request is about.
    pub(in crate::cluster) fn select(&self, selection: &ClientSelector) -> Vec<Arc<Connection>> {
        let mut found = match &selection.to {
            BroadcastTarget::Rooms(places) => self.connections_in(places),
            BroadcastTarget::AllClients => self.users.all_connections().cloned().collect(),
        };
        if !selection.except.is_empty() {
            let except: HashSet<*const Connection> =
                self.connections_in(&selection.except).iter().map(Arc::as_ptr).collect();
            found.retain(|connection| !except.contains(&Arc::as_ptr(connection)));
        }
        found
    }

    /// Has connections join or leave rooms, one after the other: who hears of one is decided before the next.
    pub(super) fn apply_moves(&mut self, moves: Vec<(Arc<Connection>, RoomId, Move)>) {
        self.work = Some(PendingWork::Moves(moves.into_iter()));
    }

    /// Another server has clients join rooms.
    pub(super) fn sockets_join(&mut self, clients: &ClientSelector, rooms: &[String]) {
        let rooms: Vec<RoomId> = rooms.iter().filter_map(|room| RoomId::new(room).ok()).collect();
        let clients = self.select(clients);
        let joins = clients
            .iter()
            .flat_map(|connection| rooms.iter().map(|room| (connection.clone(), room.clone(), Move::Join)));
        self.apply_moves(joins.collect());
        // Where they came in is asked of the store.
        self.sweep_soon();
    }

    /// Another server has clients leave rooms.
    pub(super) fn sockets_leave(&mut self, clients: &ClientSelector, rooms: &[String]) {
        let rooms: Vec<RoomId> = rooms.iter().filter_map(|room| RoomId::new(room).ok()).collect();
        for connection in self.select(clients) {
            // What the connection does in the rooms, such as typing, ends first: its session sees to that.
            let own: Vec<RoomId> = rooms
                .iter()
                .filter(|room| connection.is_in(room.as_str()))
                .cloned()
                .collect();
            if !own.is_empty() {
                self.out.push(Output::RequestLeave(connection, own));
            }
        }
    }

    /// What a node says of a user.
    pub(super) fn set_remote_presence(&mut self, node: &NodeId, user: &UserId, entry: Option<&[u8]>) {
        let entry = entry.and_then(PresenceRecord::decode);
        let before = self.presence_view(user);
        let (connections, newest) = entry.as_ref().map_or((0, 0), |entry| (entry.connections, entry.newest));
        let was = self.remote.set(node, user, entry, &mut self.membership);
        let (were, newest_was) = was.map_or((0, newest), |was| (was.connections, was.newest));
        let cause = match connections.cmp(&were) {
            Ordering::Less => ChangeCause::Disconnected,
            // One connection has taken another's place, as at a quick reconnect.
            Ordering::Equal if newest != newest_was => ChangeCause::Disconnected,
            Ordering::Equal => ChangeCause::StatusSet,
            Ordering::Greater => ChangeCause::Added,
        };
        self.user_changed(user, before, cause, self.now.unix_ms);
    }

    /// All that a node says, in place of what it has said.
    pub(super) fn replace_node_presence(&mut self, node: NodeId, entries: Vec<(UserId, Bytes)>) {
        let said: HashSet<&UserId> = entries.iter().map(|(user, _)| user).collect();
        let gone = self.remote.users_of(&node).filter(|user| !said.contains(user));
        let gone: Vec<UserId> = gone.cloned().collect();
        let said = entries.into_iter().map(|(user, entry)| (user, Some(entry)));
        let entries: Vec<_> = said.chain(gone.into_iter().map(|user| (user, None))).collect();
        self.work = Some(PendingWork::Entries(node, entries.into_iter()));
    }
}
