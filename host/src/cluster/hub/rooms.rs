//! The rooms of one tenant on this node: their members, and the packets that wait to be sent to them.
//!
//! Everything for several connections goes through one outbox and leaves it in parts, so that whoever drives this can
//! keep to a pace. The outbox is emptied before anybody else comes or goes; members are those of then.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use super::Output;
use super::order::RoomOrder;
use super::outbox::{Fanout, Recipients};
use crate::cluster::connection::{Connection, Outgoing};
use crate::id::RoomId;

/// A connection in a room.
pub(super) struct Member {
    pub(super) connection: Arc<Connection>,
    /// Messages up to here are not delivered: it has them from the acknowledgement of its join.
    from_seq: u64,
    /// While the acknowledgement of its join is being prepared, what the room gets waits here, so that the client
    /// sees the past before the present. Lives for one read of the store.
    held: Option<HeldPackets>,
}

/// What waits for a join to be answered.
#[derive(Default)]
struct HeldPackets {
    packets: Vec<(Option<u64>, Outgoing)>,
    bytes: usize,
}

impl Member {
    /// Sends, or holds; `seq` when it is a message.
    fn send(&mut self, seq: Option<u64>, outgoing: &Outgoing, out: &mut Vec<Output>) {
        match &mut self.held {
            Some(held) if held.packets.len() < HELD_MAX && held.bytes < HELD_BYTES => {
                held.bytes = held.bytes.saturating_add(outgoing.len());
                held.packets.push((seq, outgoing.clone()));
            }
            // It is to connect again and ask for what it has missed.
            Some(_) => out.push(Output::HangUp(self.connection.clone())),
            None if seq.is_some_and(|seq| seq <= self.from_seq) => {}
            None => out.push(Output::Send(self.connection.clone(), outgoing.clone())),
        }
    }
}

/// Packets held for one joining connection; a busier room makes the joiner's connection too slow.
const HELD_MAX: usize = 4096;
/// Bytes of those packets.
const HELD_BYTES: usize = 4 * 1024 * 1024;

#[derive(Default)]
struct Room {
    members: Vec<Member>,
    /// Where in `members` a connection is, by its address, so that coming and going costs the same in a room of any
    /// size.
    positions: HashMap<usize, usize>,
    order: RoomOrder,
}

impl Room {
    fn position(&self, connection: &Arc<Connection>) -> Option<usize> {
        self.positions.get(&address(connection)).copied()
    }

    fn member(&mut self, connection: &Arc<Connection>) -> Option<&mut Member> {
        let position = self.position(connection)?;
        self.members.get_mut(position)
    }

    fn remove(&mut self, connection: &Arc<Connection>) {
        let Some(position) = self.positions.remove(&address(connection)) else {
            return;
        };
        self.members.swap_remove(position);
        if let Some(moved) = self.members.get(position) {
            self.positions.insert(address(&moved.connection), position);
        }
    }
}

/// Tells connections apart while they live.
fn address(connection: &Arc<Connection>) -> usize {
    Arc::as_ptr(connection).addr()
}

#[derive(Default)]
pub(super) struct Rooms {
    rooms: IndexMap<RoomId, Room>,
    outbox: VecDeque<Fanout>,
    /// Bytes that were sent and not accounted for yet, each recipient's counted.
    sent: u64,
}

/// What a room still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// Nothing.
    None,
    /// Messages that come before others that are here.
    Missing,
}

impl Rooms {
    /// So much was sent, as [`Outgoing::weight`] counts.
    pub(super) fn count_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// What was sent and not taken account of yet.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Takes account of what was sent.
    pub(super) fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }

    /// Puts the connection in, held or live. `false` when it was in already.
    pub(super) fn join(&mut self, room: &RoomId, connection: &Arc<Connection>, held: bool) -> bool {
        let Room { members, positions, .. } = self.rooms.entry(room.clone()).or_default();
        if positions.contains_key(&address(connection)) {
            return false;
        }
        positions.insert(address(connection), members.len());
        members.push(Member {
            connection: connection.clone(),
            from_seq: 0,
            held: held.then(HeldPackets::default),
        });
        connection.enter(room.clone());
        true
    }

    /// Holds back what the room gets from a connection that is in it.
    pub(super) fn hold(&mut self, room: &RoomId, connection: &Arc<Connection>) {
        if let Some(member) = self.member(room, connection) {
            member.held.get_or_insert_default();
        }
    }

    fn member(&mut self, room: &RoomId, connection: &Arc<Connection>) -> Option<&mut Member> {
        self.rooms.get_mut(room)?.member(connection)
    }

    /// Lets what was held go, after `first`, which goes out before it, and without messages up to `from_seq`.
    ///
    /// `false`, and nothing is done, when `first` says that the room's last message is `told` and the room has begun
    /// behind that, as another member was told who came in at the same time: what is between would never come.
    pub(super) fn release(
        &mut self,
        room: &RoomId,
        connection: &Arc<Connection>,
        from_seq: u64,
        told: Option<u64>,
        first: Option<Outgoing>,
        out: &mut Vec<Output>,
    ) -> bool {
        let baseline = self.order(room).map_or(0, |order| order.baseline());
        if told.is_some_and(|told| told < baseline) {
            return false;
        }
        if let Some(first) = first {
            self.count_sent(first.weight());
            out.push(Output::Send(connection.clone(), first));
        }
        let Some(member) = self.member(room, connection) else {
            return true;
        };
        member.from_seq = member.from_seq.max(from_seq);
        let from_seq = member.from_seq;
        for (seq, outgoing) in member.held.take().unwrap_or_default().packets {
            if seq.is_none_or(|seq| seq > from_seq) {
                out.push(Output::Send(connection.clone(), outgoing));
            }
        }
        true
    }

    /// Takes the connection out. `false` when it was not in.
    pub(super) fn leave(&mut self, room: &RoomId, connection: &Arc<Connection>) -> bool {
        let Some(found) = self.rooms.get_mut(room) else {
            return false;
        };
        if found.position(connection).is_none() {
            return false;
        }
        found.remove(connection);
        if found.members.is_empty() {
            self.rooms.swap_remove(room);
        }
        connection.exit(room);
        true
    }

    /// Sends what is in the outbox to some connections more: about so much in the units of [`Outgoing::weight`], and to
    /// one at least.
    pub(super) fn send_part(&mut self, weight: u64, out: &mut Vec<Output>) {
        let mut left = weight;
        while let Some(fanout) = self.outbox.front_mut() {
            let each = fanout.outgoing.weight().max(1);
            let most = usize::try_from((left / each).max(1)).unwrap_or(usize::MAX);
            let (before, seq, outgoing) = (fanout.done, fanout.seq, &fanout.outgoing);
            let until = before.saturating_add(most);
            let count = match &fanout.to {
                Recipients::Room(room, except) => {
                    let members = self.rooms.get_mut(room).map(|room| room.members.as_mut_slice());
                    let members = members.unwrap_or_default();
                    let count = members.len();
                    for member in members.get_mut(before..until.min(count)).unwrap_or_default() {
                        if except
                            .as_ref()
                            .is_none_or(|except| !Arc::ptr_eq(except, &member.connection))
                        {
                            member.send(seq, outgoing, out);
                        }
                    }
                    count
                }
                Recipients::Members(members) => {
                    for (room, connection) in members.get(before..until.min(members.len())).unwrap_or_default() {
                        if let Some(member) = self.rooms.get_mut(room).and_then(|room| room.member(connection)) {
                            member.send(seq, outgoing, out);
                        }
                    }
                    members.len()
                }
                Recipients::Connections(connections) => {
                    for connection in connections
                        .get(before..until.min(connections.len()))
                        .unwrap_or_default()
                    {
                        out.push(Output::Send(connection.clone(), outgoing.clone()));
                    }
                    connections.len()
                }
            };
            fanout.done = until.min(count);
            let sent = each.saturating_mul(fanout.done.saturating_sub(before) as u64);
            self.sent += sent;
            if fanout.done < count {
                return;
            }
            self.outbox.pop_front();
            left = left.saturating_sub(sent);
            if left == 0 {
                return;
            }
        }
    }

    /// Whether something waits to be sent.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Something for these connections, whatever rooms they are in.
    pub(super) fn send_to(&mut self, connections: Vec<Arc<Connection>>, outgoing: &Outgoing) {
        let to = Recipients::Connections(connections);
        self.outbox.push_back(Fanout::new(to, None, outgoing));
    }

    /// A message of a room, from wherever: the members get it when it is its turn.
    pub(super) fn offer(&mut self, id: &RoomId, seq: u64, outgoing: &Outgoing) -> Gap {
        let Self { rooms, outbox, .. } = self;
        let Some(Room { order, .. }) = rooms.get_mut(id) else {
            return Gap::None;
        };
        order.offer(seq, outgoing, &mut |due| outbox.push_back(Fanout::due(id, &due)));
        gap(order)
    }

    /// Another packet of a room: it does not overtake the messages before it.
    pub(super) fn follow(&mut self, id: &RoomId, except: Option<&Arc<Connection>>, outgoing: &Outgoing) {
        let Self { rooms, outbox, .. } = self;
        if let Some(Room { order, .. }) = rooms.get_mut(id) {
            order.follow(except, outgoing, &mut |due| outbox.push_back(Fanout::due(id, &due)));
        }
    }

    /// The room's first members have everything up to `last`.
    pub(super) fn start_after(&mut self, id: &RoomId, last: u64) -> Gap {
        let Self { rooms, outbox, .. } = self;
        let Some(Room { order, .. }) = rooms.get_mut(id) else {
            return Gap::None;
        };
        order.start_after(last, &mut |due| outbox.push_back(Fanout::due(id, &due)));
        gap(order)
    }

    /// The room has a message with this number, as the store says. Where nobody knows where the first member came in,
    /// it is here and now; while a join is being answered, that answer decides.
    pub(super) fn note_exists(&mut self, id: &RoomId, last: u64) -> Gap {
        let Self { rooms, outbox, .. } = self;
        let Some(Room { members, order, .. }) = rooms.get_mut(id) else {
            return Gap::None;
        };
        if order.has_started() {
            order.note_exists(last);
        } else if members.iter().all(|member| member.held.is_none()) {
            // What has arrived before this answer is new to the members too.
            let last = order
                .first_pending()
                .map_or(last, |first| last.min(first.saturating_sub(1)));
            order.start_after(last, &mut |due| outbox.push_back(Fanout::due(id, &due)));
        }
        gap(order)
    }

    /// The room's order, when anybody is in it.
    pub(super) fn order(&mut self, room: &RoomId) -> Option<&mut RoomOrder> {
        self.rooms.get_mut(room).map(|room| &mut room.order)
    }

    /// The rooms with members on this node.
    pub(super) fn ids(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.keys()
    }

    /// The connections in a room.
    pub(super) fn connections(&self, room: &RoomId) -> impl Iterator<Item = &Arc<Connection>> {
        let members = self.rooms.get(room).map(|room| room.members.as_slice());
        members.unwrap_or_default().iter().map(|member| &member.connection)
    }

    /// How many connections of this node are in a room.
    pub(super) fn member_count(&self, room: &RoomId) -> usize {
        self.rooms.get(room).map_or(0, |room| room.members.len())
    }

    /// Something for the members, whatever messages are missing.
    pub(super) fn send_to_room(&mut self, room: &RoomId, except: Option<&Arc<Connection>>, outgoing: &Outgoing) {
        let to = Recipients::Room(room.clone(), except.cloned());
        self.outbox.push_back(Fanout::new(to, None, outgoing));
    }

    /// Something for every connection that is in any of the rooms and in none of `known`, once.
    pub(super) fn send_to_members(&mut self, rooms: &IndexSet<RoomId>, known: &IndexSet<RoomId>, outgoing: &Outgoing) {
        let mut told: HashSet<*const Connection> = HashSet::new();
        let mut to = Vec::new();
        for id in rooms {
            let Some(Room { members, .. }) = self.rooms.get(id) else {
                continue;
            };
            for Member { connection, .. } in members {
                if !connection.is_in_any(known) && told.insert(Arc::as_ptr(connection)) {
                    to.push((id.clone(), connection.clone()));
                }
            }
        }
        self.outbox
            .push_back(Fanout::new(Recipients::Members(to), None, outgoing));
    }

    /// Rooms with a member on this node.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }
}

fn gap(order: &RoomOrder) -> Gap {
    match order.first_missing() {
        Some(_) => Gap::Missing,
        None => Gap::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Identity;
    use crate::cluster::tests::{Inbox, packet, random, send_all};
    use crate::id::ConnectionId;

    /// A client on its way into the room.
    struct Client {
        connection: Arc<Connection>,
        inbox: Inbox,
        /// The store's last message when it was read for this client.
        read: Option<u64>,
        /// What it was told.
        told: Option<u64>,
    }

    #[test]
    fn whoever_comes_in_misses_nothing_behind_what_they_were_told_whatever_order_things_happen_in() {
        const MESSAGES: u64 = 20;
        let room = RoomId::new("room").unwrap();
        for seed in 0..3000_u64 {
            let mut random = random(seed);
            let mut random = move |below: usize| usize::try_from(random(below as u64)).unwrap();
            let (mut rooms, mut out) = (Rooms::default(), Vec::new());
            let mut clients: Vec<Client> = Vec::new();
            let mut in_flight: Vec<u64> = Vec::new();
            let mut committed = 0;
            while committed < MESSAGES || !in_flight.is_empty() || clients.iter().any(|client| client.told.is_none()) {
                match random(5) {
                    0 if committed < MESSAGES => {
                        committed += 1;
                        in_flight.push(committed);
                    }
                    1 if !in_flight.is_empty() => {
                        let seq = in_flight.swap_remove(random(in_flight.len()));
                        rooms.offer(&room, seq, &packet(seq));
                    }
                    2 if clients.len() < 4 => {
                        let identity = Arc::new(Identity::for_tests("t", "alice").unwrap());
                        let inbox = Inbox::default();
                        let id = ConnectionId::from_bits(clients.len() as u64);
                        let connection = Arc::new(Connection::new(id, identity, Box::new(inbox.clone())));
                        rooms.join(&room, &connection, true);
                        clients.push(Client {
                            connection,
                            inbox,
                            read: None,
                            told: None,
                        });
                    }
                    _ if clients.is_empty() => {}
                    n => {
                        let at = random(clients.len());
                        let client = &mut clients[at];
                        match (client.read, client.told) {
                            (None, _) => client.read = Some(committed),
                            (Some(read), None) if n == 4 => {
                                if rooms.release(&room, &client.connection, read, Some(read), None, &mut out) {
                                    rooms.start_after(&room, read);
                                    client.told = Some(read);
                                } else {
                                    client.read = None;
                                }
                            }
                            _ => {}
                        }
                    }
                }
                // Before the next input the outbox is emptied, in parts of any size.
                while rooms.has_outgoing() {
                    rooms.send_part(seed % 3, &mut out);
                }
                send_all(&mut out);
            }
            for client in clients {
                let expected: Vec<String> = (client.told.unwrap() + 1..=MESSAGES).map(|n| n.to_string()).collect();
                assert_eq!(client.inbox.texts(), expected, "seed {seed}");
            }
        }
    }

    #[test]
    fn connections_come_and_go_in_any_order_and_each_gets_what_is_sent_while_it_is_in() {
        let room = RoomId::new("room").unwrap();
        for seed in 0..200_u64 {
            let mut random = random(seed);
            let (mut rooms, mut out) = (Rooms::default(), Vec::new());
            let clients: Vec<_> = (0..12)
                .map(|n| {
                    let identity = Arc::new(Identity::for_tests("t", "alice").unwrap());
                    let inbox = Inbox::default();
                    let connection = Connection::new(ConnectionId::from_bits(n), identity, Box::new(inbox.clone()));
                    (Arc::new(connection), inbox)
                })
                .collect();
            let mut expected = vec![Vec::new(); clients.len()];
            for step in 0..200 {
                let at = usize::try_from(random(12)).unwrap();
                let (connection, _) = &clients[at];
                let is_in = connection.is_in("room");
                match random(3) {
                    0 => assert_eq!(rooms.join(&room, connection, false), !is_in, "seed {seed}"),
                    1 => assert_eq!(rooms.leave(&room, connection), is_in, "seed {seed}"),
                    _ => {
                        rooms.send_to_room(&room, Some(connection), &packet(step));
                        while rooms.has_outgoing() {
                            rooms.send_part(seed, &mut out);
                        }
                        send_all(&mut out);
                        for (other, (connection, _)) in clients.iter().enumerate() {
                            if other != at && connection.is_in("room") {
                                expected[other].push(step.to_string());
                            }
                        }
                    }
                }
            }
            for ((_, inbox), expected) in clients.iter().zip(expected) {
                assert_eq!(inbox.texts(), expected, "seed {seed}");
            }
        }
    }
}
