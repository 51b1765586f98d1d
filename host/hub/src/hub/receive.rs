//! Handles messages of the bus.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::presence_grace::ChangeCause;
use super::remote_presence::PresenceRecord;
use super::rooms::Gap;
use super::{AckRequest, Hub, Move, Output, PendingWork};
use crate::bus::{AfterEvent, Broadcast, BroadcastTarget, ClientSelector, Inbound, NodeId, TargetRoom};
use crate::connection::{Connection, Outgoing};
use parlance_types::id::{RoomId, UserId};

impl Hub {
    /// Handles a message of the bus.
    pub(super) fn receive(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Connected => self.set_bus_connected(true),
            Inbound::Disconnected => self.set_bus_connected(false),
            Inbound::Broadcast(broadcast) => self.receive_broadcast(&broadcast),
            Inbound::PresenceChanged { node, user, record } => {
                self.work = Some(PendingWork::Presence(node, vec![(user, record)].into_iter()));
            }
            Inbound::NodePresence { node, records } => self.replace_node_presence(node, records),
            Inbound::NodeLeft { node } => self.replace_node_presence(node, Vec::new()),
            Inbound::SocketsJoin { clients, rooms } => self.sockets_join(&clients, &rooms),
            Inbound::SocketsLeave { clients, rooms } => self.sockets_leave(&clients, &rooms),
            // A Node server ends the transport too when `close` is set. Here the client is only told that it is
            // disconnected: a client whose transport just ends connects again.
            Inbound::DisconnectSockets { clients, .. } => {
                let clients = self.select(&clients);
                self.out.extend(clients.into_iter().map(Output::Disconnect));
            }
            Inbound::BroadcastWithAck {
                broadcast,
                clients,
                answers,
            } => {
                let Broadcast { packet, to, except, .. } = broadcast;
                let connections = self.select(&ClientSelector { to, except });
                self.out.push(Output::RequestAcks(Box::new(AckRequest {
                    connections,
                    packet,
                    clients,
                    answers,
                })));
            }
            Inbound::FetchSockets { clients, reply } => {
                let clients = self.select(&clients);
                self.out.push(Output::Sockets(reply, clients));
            }
            Inbound::AllRooms { reply } => {
                let names = self.room_names();
                self.out.push(Output::AllRooms(reply, names));
            }
            Inbound::ServerSideEmit { arguments, reply } => self.out.push(Output::ServerEvent(arguments, reply)),
        }
    }

    /// Delivers another node's event to clients of this node.
    fn receive_broadcast(&mut self, broadcast: &Broadcast) {
        let outgoing = Outgoing::event(broadcast.packet.clone(), broadcast.question.clone());
        if let Some((room, seq)) = &broadcast.message {
            let gap = self.rooms.offer(room, *seq, &outgoing);
            self.schedule_checks(room, (gap, Gap::None));
            return;
        }
        if let (Some((room, seq)), Some(rev)) = (&broadcast.after, broadcast.rev) {
            let gaps = self.rooms.offer_change(room, *seq, rev, &outgoing);
            self.schedule_checks(room, gaps);
            return;
        }
        // The packet is about a message and must follow it. If the message is not here yet, it is read from the store.
        if let Some((room, seq)) = &broadcast.after {
            self.note_message(room, *seq);
        }
        // A packet for a single room keeps its place among the room's messages. `except` names connections of the
        // sending node, so none of them is here in most cases.
        if let BroadcastTarget::Rooms(rooms) = &broadcast.to
            && let Some(name) = self.single_room(rooms)
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
        match (&broadcast.then, &broadcast.to) {
            (Some(then), BroadcastTarget::Rooms(rooms)) => {
                if let [TargetRoom::User(user)] = &rooms[..] {
                    self.send_and_act(user, clients, &outgoing, then);
                }
            }
            _ => self.rooms.send_to(clients, &outgoing),
        }
    }

    /// Sends a packet to a user's connections, which are few, and does with them what follows it. It passes the outbox by,
    /// so that it is there first.
    pub(super) fn send_and_act(
        &mut self,
        user: &UserId,
        connections: Vec<Arc<Connection>>,
        outgoing: &Outgoing,
        then: &AfterEvent,
    ) {
        for connection in &connections {
            self.send(connection, outgoing.clone());
        }
        match then {
            AfterEvent::LeaveRoom(room) => {
                let Ok(room) = RoomId::new(room) else { return };
                // At once, whatever the connection's own events still wait for.
                for connection in &connections {
                    self.leave(&room, connection);
                }
                self.kicks.note(user.clone(), room, self.now.instant.into());
            }
            AfterEvent::Disconnect => self.out.extend(connections.into_iter().map(Output::Disconnect)),
        }
    }

    /// The name of the room, if the target is exactly one room.
    fn single_room<'r>(&self, rooms: &'r [TargetRoom]) -> Option<&'r str> {
        match rooms {
            [TargetRoom::Room(name)] => Some(name),
            [TargetRoom::RoomOrSocket(name)] if self.users.by_connection_id(name).is_none() => Some(name),
            _ => None,
        }
    }

    /// The connections of this node that are in any of these rooms, each once.
    fn connections_in(&self, rooms: &[TargetRoom]) -> Vec<Arc<Connection>> {
        let mut seen: HashSet<*const Connection> = HashSet::new();
        let mut found = Vec::new();
        let mut add = |connection: &Arc<Connection>| {
            if seen.insert(Arc::as_ptr(connection)) {
                found.push(connection.clone());
            }
        };
        for room in rooms {
            match room {
                TargetRoom::User(user) => self.users.connections_of(user).for_each(&mut add),
                TargetRoom::Room(name) | TargetRoom::RoomOrSocket(name) => {
                    if let Ok(room) = RoomId::new(name) {
                        self.rooms.connections(&room).for_each(&mut add);
                    }
                    if matches!(room, TargetRoom::RoomOrSocket(_)) {
                        self.users.by_connection_id(name).into_iter().for_each(&mut add);
                    }
                }
            }
        }
        found
    }

    /// The connections of this node that the selector names.
    fn select(&self, selection: &ClientSelector) -> Vec<Arc<Connection>> {
        let mut found = match &selection.to {
            BroadcastTarget::Rooms(rooms) => self.connections_in(rooms),
            BroadcastTarget::AllClients => self.users.all_connections().cloned().collect(),
        };
        if !selection.except.is_empty() {
            let except: HashSet<*const Connection> =
                self.connections_in(&selection.except).iter().map(Arc::as_ptr).collect();
            found.retain(|connection| !except.contains(&Arc::as_ptr(connection)));
        }
        found
    }

    /// Has connections join or leave rooms, one after the other: each change is announced to the members of its time.
    pub(super) fn apply_moves(&mut self, moves: Vec<(Arc<Connection>, RoomId, Move)>) {
        self.work = Some(PendingWork::Moves(moves.into_iter()));
    }

    /// Has clients join rooms, as another server asks.
    fn sockets_join(&mut self, clients: &ClientSelector, rooms: &[String]) {
        let rooms: Vec<RoomId> = rooms.iter().filter_map(|room| RoomId::new(room).ok()).collect();
        let clients = self.select(clients);
        let joins = clients
            .iter()
            .flat_map(|connection| rooms.iter().map(|room| (connection.clone(), room.clone(), Move::Join)));
        self.apply_moves(joins.collect());
        // A sweep finds the baselines of these rooms.
        self.sweep_soon();
    }

    /// Has clients leave rooms, as another server asks.
    fn sockets_leave(&mut self, clients: &ClientSelector, rooms: &[String]) {
        let rooms: Vec<RoomId> = rooms.iter().filter_map(|room| RoomId::new(room).ok()).collect();
        self.request_leave(self.select(clients), &rooms);
    }

    fn request_leave(&mut self, connections: Vec<Arc<Connection>>, rooms: &[RoomId]) {
        for connection in connections {
            // The session first ends what the connection does in the rooms, such as typing.
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

    /// Sets a node's presence record of a user. `None` removes it.
    pub(super) fn set_remote_presence(&mut self, node: &NodeId, user: &UserId, record: Option<&[u8]>) {
        let record = record.and_then(PresenceRecord::decode);
        let before = self.presence_view(user);
        let (connections, newest) = record
            .as_ref()
            .map_or((0, 0), |record| (record.connections, record.newest));
        let was = self.remote.set(node, user, record, &mut self.membership);
        let (were, newest_was) = was.map_or((0, newest), |was| (was.connections, was.newest));
        let cause = match connections.cmp(&were) {
            Ordering::Less => ChangeCause::Disconnected,
            // A new connection has replaced another one, as after a quick reconnect.
            Ordering::Equal if newest != newest_was => ChangeCause::Disconnected,
            Ordering::Equal => ChangeCause::StatusSet,
            Ordering::Greater => ChangeCause::Added,
        };
        self.user_changed(user, before, cause, self.now.unix_ms);
    }

    /// Replaces all presence records of a node.
    fn replace_node_presence(&mut self, node: NodeId, records: Vec<(UserId, Bytes)>) {
        let named: HashSet<&UserId> = records.iter().map(|(user, _)| user).collect();
        let gone = self.remote.users_of(&node).filter(|user| !named.contains(user));
        let gone: Vec<UserId> = gone.cloned().collect();
        let changed = records.into_iter().map(|(user, record)| (user, Some(record)));
        let changes: Vec<_> = changed.chain(gone.into_iter().map(|user| (user, None))).collect();
        self.work = Some(PendingWork::Presence(node, changes.into_iter()));
    }
}
