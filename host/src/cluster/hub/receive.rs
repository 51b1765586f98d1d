//! What other nodes say.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::elsewhere::Entry;
use super::grace::Cause;
use super::rooms::Gap;
use super::{Hub, Move, Output, Work};
use crate::cluster::bus::{Broadcast, NodeId, Place, Selection, Target};
use crate::cluster::connection::{Connection, Outgoing};
use crate::id::{RoomId, UserId};

impl Hub {
    /// Another node has an event for clients here.
    pub(super) fn receive(&mut self, broadcast: &Broadcast) {
        let outgoing = Outgoing::event(broadcast.packet.clone(), broadcast.question.clone());
        if let Some((room, seq)) = &broadcast.message {
            if self.rooms.offer(room, *seq, &outgoing) == Gap::Missing {
                self.watch(room);
            }
            return;
        }
        // A packet about a message comes after the message, which is read from the store when it does not come otherwise.
        if let Some((room, seq)) = &broadcast.after {
            self.hint(room, *seq);
        }
        // What a room gets keeps its place among the room's messages. Whoever is excepted is hardly ever here.
        if let Target::Places(places) = &broadcast.to
            && let Some(name) = self.one_room(places)
            && let Ok(room) = RoomId::new(name)
            && self.rooms.order(&room).is_some()
            && self.places(&broadcast.except).is_empty()
        {
            return self.rooms.follow(&room, None, &outgoing);
        }
        let selection = Selection {
            to: broadcast.to.clone(),
            except: broadcast.except.clone(),
        };
        let clients = self.select(&selection);
        self.rooms.send_to(clients, &outgoing);
    }

    /// The name of the room, when nothing else is meant.
    fn one_room<'p>(&self, places: &'p [Place]) -> Option<&'p str> {
        match places {
            [Place::Room(name)] => Some(name),
            [Place::Named(name)] if self.users.with_id(name).is_none() => Some(name),
            _ => None,
        }
    }

    /// The connections here that are in any of the places, each once.
    fn places(&self, places: &[Place]) -> Vec<Arc<Connection>> {
        let mut seen: HashSet<*const Connection> = HashSet::new();
        let mut found = Vec::new();
        let mut add = |connection: &Arc<Connection>| {
            if seen.insert(Arc::as_ptr(connection)) {
                found.push(connection.clone());
            }
        };
        for place in places {
            match place {
                Place::User(user) => self.users.connections(user).for_each(&mut add),
                Place::Room(name) | Place::Named(name) => {
                    if let Ok(room) = RoomId::new(name) {
                        self.rooms.connections(&room).for_each(&mut add);
                    }
                    if matches!(place, Place::Named(_)) {
                        self.users.with_id(name).into_iter().for_each(&mut add);
                    }
                }
            }
        }
        found
    }

    /// The connections here that a request is about.
    pub(in crate::cluster) fn select(&self, selection: &Selection) -> Vec<Arc<Connection>> {
        let mut found = match &selection.to {
            Target::Places(places) => self.places(places),
            Target::Everybody => self.users.everybody().cloned().collect(),
        };
        if !selection.except.is_empty() {
            let except: HashSet<*const Connection> = self.places(&selection.except).iter().map(Arc::as_ptr).collect();
            found.retain(|connection| !except.contains(&Arc::as_ptr(connection)));
        }
        found
    }

    /// Has connections join or leave rooms, one after the other: who hears of one is decided before the next.
    pub(super) fn move_all(&mut self, moves: Vec<(Arc<Connection>, RoomId, Move)>) {
        self.work = Some(Work::Moves(moves.into_iter()));
    }

    /// Another server has clients join rooms.
    pub(super) fn make_join(&mut self, clients: &Selection, rooms: &[String]) {
        let rooms: Vec<RoomId> = rooms.iter().filter_map(|room| RoomId::new(room).ok()).collect();
        let clients = self.select(clients);
        let joins = clients
            .iter()
            .flat_map(|connection| rooms.iter().map(|room| (connection.clone(), room.clone(), Move::In)));
        self.move_all(joins.collect());
        // Where they came in is asked of the store.
        self.sweep_soon();
    }

    /// Another server has clients leave rooms.
    pub(super) fn make_leave(&mut self, clients: &Selection, rooms: &[String]) {
        let rooms: Vec<RoomId> = rooms.iter().filter_map(|room| RoomId::new(room).ok()).collect();
        for connection in self.select(clients) {
            // What the connection does in the rooms, such as typing, ends first: its session sees to that.
            let own: Vec<RoomId> = rooms
                .iter()
                .filter(|room| connection.is_in(room.as_str()))
                .cloned()
                .collect();
            if !own.is_empty() {
                self.out.push(Output::AskToLeave(connection, own));
            }
        }
    }

    /// What a node says of a user.
    pub(super) fn entry(&mut self, node: &NodeId, user: &UserId, entry: Option<&[u8]>) {
        let entry = entry.and_then(Entry::decode);
        let before = self.sight(user);
        let (connections, newest) = entry.as_ref().map_or((0, 0), |entry| (entry.connections, entry.newest));
        let was = self.elsewhere.put(node, user, entry, &mut self.population);
        let (were, newest_was) = was.map_or((0, newest), |was| (was.connections, was.newest));
        let cause = match connections.cmp(&were) {
            Ordering::Less => Cause::Went,
            // One connection has taken another's place, as at a quick reconnect.
            Ordering::Equal if newest != newest_was => Cause::Went,
            Ordering::Equal => Cause::Chose,
            Ordering::Greater => Cause::Came,
        };
        self.changed(user, before, cause, self.now.unix_ms);
    }

    /// All that a node says, in place of what it has said.
    pub(super) fn node(&mut self, node: NodeId, entries: Vec<(UserId, Bytes)>) {
        let said: HashSet<&UserId> = entries.iter().map(|(user, _)| user).collect();
        let gone = self.elsewhere.users_of(&node).filter(|user| !said.contains(user));
        let gone: Vec<UserId> = gone.cloned().collect();
        let said = entries.into_iter().map(|(user, entry)| (user, Some(entry)));
        let entries: Vec<_> = said.chain(gone.into_iter().map(|user| (user, None))).collect();
        self.work = Some(Work::Entries(node, entries.into_iter()));
    }
}
