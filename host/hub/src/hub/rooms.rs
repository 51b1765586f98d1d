//! The rooms of one tenant on this node: their members, and the packets that wait to be sent.
//!
//! Every packet for several connections goes through one outbox, which is emptied in parts, so that the driver can keep
//! to a pace. The outbox is emptied before the members change, so its recipients are those of the time when the packet
//! was put in.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use tokio::time::Instant;

use super::Output;
use super::fanout::{Fanout, Recipients};
use super::order::{Number, OrderedPacket, RoomOrder};
use super::outbox::Outbox;
use crate::connection::{Connection, Outgoing};
use parlance_store::Place;
use parlance_types::id::RoomId;

/// A connection in a room.
pub(super) struct Member {
    pub(super) connection: Arc<Connection>,
    /// Messages and changes up to here are not delivered: the client has them from its join's answer.
    has: Place,
    /// Packets that are held back while the answer to the join is prepared, so that the client sees the past before the
    /// present. It takes one read of the store.
    held: Option<HeldPackets>,
}

/// Packets that wait for the answer to a join.
#[derive(Default)]
struct HeldPackets {
    packets: Vec<(Option<Number>, Outgoing)>,
    bytes: usize,
}

impl Member {
    /// Sends a packet or holds it back.
    pub(super) fn send(&mut self, number: Option<Number>, outgoing: &Outgoing, out: &mut Vec<Output>) {
        match &mut self.held {
            Some(held) if held.packets.len() < HELD_MAX && held.bytes < HELD_BYTES => {
                held.bytes = held.bytes.saturating_add(outgoing.len());
                held.packets.push((number, outgoing.clone()));
            }
            // Too much is held back. The client connects again and asks for what it has missed.
            Some(_) => out.push(Output::HangUp(self.connection.clone())),
            None if number.is_some_and(|number| number.is_within(self.has)) => {}
            None => out.push(Output::Send(self.connection.clone(), outgoing.clone())),
        }
    }
}

/// The most packets that are held back for one joining connection. In a busier room the joining client counts as too
/// slow.
const HELD_MAX: usize = 4096;
/// The most bytes of these packets.
const HELD_BYTES: usize = 4 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Room {
    pub(super) members: Vec<Member>,
    /// The index in `members` of each connection, by its address, so that joining and leaving cost the same in a room
    /// of any size.
    positions: HashMap<usize, usize>,
    /// The order of the messages, by `seq`.
    order: RoomOrder,
    /// The order of the changes, by `rev`, each of which then follows the message that it changes.
    changes: RoomOrder,
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

/// Identifies a connection while it lives.
fn address(connection: &Arc<Connection>) -> usize {
    Arc::as_ptr(connection).addr()
}

pub(super) struct Rooms {
    rooms: IndexMap<RoomId, Room>,
    pub(super) outbox: Outbox,
    /// What was sent since [`take_sent`](Self::take_sent), in the units of [`Outgoing::weight`].
    sent: u64,
}

/// What has numbers in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Series {
    Messages,
    Changes,
}

/// Whether a room's messages have a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    None,
    /// A message is missing though a later one is known.
    Missing,
}

impl Rooms {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            rooms: IndexMap::new(),
            outbox: Outbox::new(now),
            sent: 0,
        }
    }

    /// Counts a packet that was sent without the outbox.
    pub(super) fn count_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// What was sent since [`take_sent`](Self::take_sent).
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Takes the count of what was sent.
    pub(super) fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }

    /// Adds a connection to a room. With `held` its packets are held back. Returns `false` when it was in the room
    /// already.
    pub(super) fn join(&mut self, room: &RoomId, connection: &Arc<Connection>, held: bool) -> bool {
        let Room { members, positions, .. } = self.rooms.entry(room.clone()).or_default();
        if positions.contains_key(&address(connection)) {
            return false;
        }
        positions.insert(address(connection), members.len());
        members.push(Member {
            connection: connection.clone(),
            has: Place::default(),
            held: held.then(HeldPackets::default),
        });
        connection.join_room(room.clone());
        true
    }

    /// Holds back a room's packets from a connection that is in the room.
    pub(super) fn hold(&mut self, room: &RoomId, connection: &Arc<Connection>) {
        if let Some(member) = self.member(room, connection) {
            member.held.get_or_insert_default();
        }
    }

    fn member(&mut self, room: &RoomId, connection: &Arc<Connection>) -> Option<&mut Member> {
        self.rooms.get_mut(room)?.member(connection)
    }

    /// Ends the holding: sends `first`, then the held packets without messages and changes up to `has`.
    ///
    /// Returns `false`, and sends nothing, when `first` ends at `answered` but the room's baseline lies after it, since
    /// another member that joined at the same time was told of more: what is between would never come.
    pub(super) fn release(
        &mut self,
        room: &RoomId,
        connection: &Arc<Connection>,
        has: Place,
        answered: Option<Place>,
        first: Option<Outgoing>,
        out: &mut Vec<Output>,
    ) -> bool {
        let baseline = self.baseline(room);
        if answered.is_some_and(|answered| answered.seq < baseline.seq || answered.rev < baseline.rev) {
            return false;
        }
        if let Some(first) = first {
            self.count_sent(first.weight());
            out.push(Output::Send(connection.clone(), first));
        }
        let Some(member) = self.member(room, connection) else {
            return true;
        };
        member.has = Place {
            seq: member.has.seq.max(has.seq),
            rev: member.has.rev.max(has.rev),
        };
        let has = member.has;
        for (number, outgoing) in member.held.take().unwrap_or_default().packets {
            if number.is_none_or(|number| !number.is_within(has)) {
                out.push(Output::Send(connection.clone(), outgoing));
            }
        }
        true
    }

    /// Removes a connection from a room, after sending it the text that waits for more. Returns `false` when it was not
    /// in the room.
    pub(super) fn leave(&mut self, room: &RoomId, connection: &Arc<Connection>, out: &mut Vec<Output>) -> bool {
        let Some(found) = self.rooms.get_mut(room) else {
            return false;
        };
        let Some(member) = found.member(connection) else {
            return false;
        };
        if let Some((number, appended)) = self.outbox.appended_waiting(room) {
            member.send(Some(number), &appended, out);
        }
        found.remove(connection);
        if found.members.is_empty() {
            self.rooms.swap_remove(room);
        }
        connection.leave_room(room);
        true
    }

    /// Sends the packets of the outbox to some more recipients: to about this `weight`, in the units of
    /// [`Outgoing::weight`], but to at least one.
    pub(super) fn send_part(&mut self, weight: u64, out: &mut Vec<Output>) {
        let mut left = weight;
        while let Some(fanout) = self.outbox.front_mut() {
            let each = fanout.outgoing.weight().max(1);
            let most = usize::try_from((left / each).max(1)).unwrap_or(usize::MAX);
            let part = fanout.send_part(most, &mut self.rooms, out);
            let sent = each.saturating_mul(part.sent as u64);
            self.sent += sent;
            if !part.is_last {
                return;
            }
            self.outbox.pop_front();
            left = left.saturating_sub(sent);
            if left == 0 {
                return;
            }
        }
    }

    /// Whether the outbox is not empty.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Puts a packet for these connections into the outbox, whatever rooms they are in.
    pub(super) fn send_to(&mut self, connections: Vec<Arc<Connection>>, outgoing: &Outgoing) {
        let to = Recipients::Connections(connections);
        self.outbox.push(Fanout::new(to, None, outgoing));
    }

    /// Takes a message of a room, from any source. Members get it in its turn.
    pub(super) fn offer(&mut self, id: &RoomId, seq: u64, outgoing: &Outgoing) -> Gap {
        let Self { rooms, outbox, .. } = self;
        let Some(Room { order, .. }) = rooms.get_mut(id) else {
            return Gap::None;
        };
        order.offer(seq, outgoing, &mut |packet| {
            outbox.push_ordered(id, &packet);
        });
        gap(order)
    }

    /// Takes another packet of a room. It does not overtake the messages before it.
    pub(super) fn follow(&mut self, id: &RoomId, except: Option<&Arc<Connection>>, outgoing: &Outgoing) {
        let Self { rooms, outbox, .. } = self;
        if let Some(Room { order, .. }) = rooms.get_mut(id) {
            order.follow(None, except, outgoing, &mut |packet| outbox.push_ordered(id, &packet));
        }
    }

    /// Takes a change of a message, from any source. Members get it in its turn, after the message. Returns the gaps of
    /// the messages and of the changes.
    pub(super) fn offer_change(&mut self, id: &RoomId, seq: u64, rev: u64, outgoing: &Outgoing) -> (Gap, Gap) {
        let Self { rooms, outbox, .. } = self;
        let Some(Room { order, changes, .. }) = rooms.get_mut(id) else {
            return (Gap::None, Gap::None);
        };
        if order.has_started() {
            order.note_exists(seq);
        }
        if !order.takes_changes() {
            changes.note_exists(rev);
            return (gap(order), gap(changes));
        }
        changes.offer(rev, outgoing, &mut follows(id, order, outbox));
        (gap(order), gap(changes))
    }

    /// Takes a changed message that was read from the store, as it is now. [`skip_changes`](Self::skip_changes) follows.
    pub(super) fn send_changed(&mut self, id: &RoomId, seq: u64, rev: u64, outgoing: &Outgoing) {
        let Self { rooms, outbox, .. } = self;
        if let Some(Room { order, changes, .. }) = rooms.get_mut(id)
            && changes.is_ahead(rev)
        {
            order.note_exists(seq);
            order.follow(Some(Number::Rev(rev)), None, outgoing, &mut |packet| {
                outbox.push_ordered(id, &packet)
            });
        }
    }

    /// Notes that changed messages up to this `rev` were sent as they are now.
    pub(super) fn skip_changes(&mut self, id: &RoomId, rev: u64) {
        let Self { rooms, outbox, .. } = self;
        if let Some(Room { order, changes, .. }) = rooms.get_mut(id) {
            changes.skip_to(rev, &mut follows(id, order, outbox));
        }
    }

    /// Notes that messages up to this `seq` that have not come were removed from the store.
    pub(super) fn skip_removed(&mut self, id: &RoomId, seq: u64) {
        let Self { rooms, outbox, .. } = self;
        if let Some(Room { order, .. }) = rooms.get_mut(id) {
            order.skip_missing(seq, &mut |packet| outbox.push_ordered(id, &packet));
        }
    }

    /// Sets the room's baseline: its first members have everything up to `last`. Returns the gaps of the messages and of
    /// the changes.
    pub(super) fn start_after(&mut self, id: &RoomId, last: Place) -> (Gap, Gap) {
        let Self { rooms, outbox, .. } = self;
        let Some(Room { order, changes, .. }) = rooms.get_mut(id) else {
            return (Gap::None, Gap::None);
        };
        order.start_after(last.seq, &mut |packet| outbox.push_ordered(id, &packet));
        changes.start_after(last.rev, &mut follows(id, order, outbox));
        (gap(order), gap(changes))
    }

    /// Notes that the room has come this far, as a sweep has found. If the baseline is not known, it is here; but while
    /// the answer to a join is prepared, that answer decides. Returns the gaps of the messages and of the changes.
    pub(super) fn note_exists(&mut self, id: &RoomId, last: Place) -> (Gap, Gap) {
        let Some(Room {
            members,
            order,
            changes,
            ..
        }) = self.rooms.get_mut(id)
        else {
            return (Gap::None, Gap::None);
        };
        if order.has_started() {
            order.note_exists(last.seq);
            changes.note_exists(last.rev);
            return (gap(order), gap(changes));
        }
        if members.iter().any(|member| member.held.is_some()) {
            return (gap(order), gap(changes));
        }
        // What arrived before the sweep's result is new to the members.
        let before = |order: &RoomOrder, last: u64| {
            let first = order.first_pending();
            first.map_or(last, |first| last.min(first.saturating_sub(1)))
        };
        let last = Place {
            seq: before(order, last.seq),
            rev: before(changes, last.rev),
        };
        self.start_after(id, last)
    }

    /// The room's baseline.
    fn baseline(&self, room: &RoomId) -> Place {
        self.rooms.get(room).map_or_else(Place::default, |room| Place {
            seq: room.order.baseline(),
            rev: room.changes.baseline(),
        })
    }

    /// The order of the room's messages, if the room has members here.
    pub(super) fn order(&mut self, room: &RoomId) -> Option<&mut RoomOrder> {
        self.series(room, Series::Messages)
    }

    /// The order of this series of the room, if the room has members here.
    pub(super) fn series(&mut self, room: &RoomId, series: Series) -> Option<&mut RoomOrder> {
        self.rooms.get_mut(room).map(|room| match series {
            Series::Messages => &mut room.order,
            Series::Changes => &mut room.changes,
        })
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

    /// The number of this node's connections in a room.
    pub(super) fn member_count(&self, room: &RoomId) -> usize {
        self.rooms.get(room).map_or(0, |room| room.members.len())
    }

    /// Puts a packet for a room's members into the outbox, whatever messages are missing.
    pub(super) fn send_to_room(&mut self, room: &RoomId, except: Option<&Arc<Connection>>, outgoing: &Outgoing) {
        let to = Recipients::Room(room.clone(), except.cloned());
        self.outbox.push(Fanout::new(to, None, outgoing));
    }

    /// Puts a packet into the outbox for every connection that is in any of the rooms but in none of `known`. Each gets
    /// it once.
    pub(super) fn send_to_members(&mut self, rooms: IndexSet<RoomId>, known: IndexSet<RoomId>, outgoing: &Outgoing) {
        let to = Recipients::members(rooms, known);
        self.outbox.push(Fanout::new(to, None, outgoing));
    }

    /// The number of rooms with members on this node.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }
}

/// Delivers the changes of a room whose turn has come: each follows the messages that are known. An order names its numbers
/// as those of messages; here they are those of changes.
fn follows<'f>(id: &'f RoomId, order: &'f mut RoomOrder, outbox: &'f mut Outbox) -> impl FnMut(OrderedPacket<'_>) + 'f {
    move |change| {
        let number = change.number.map(|number| match number {
            Number::Seq(rev) | Number::Rev(rev) => Number::Rev(rev),
        });
        order.follow(number, change.except, change.outgoing, &mut |packet| {
            outbox.push_ordered(id, &packet);
        });
    }
}

fn gap(order: &RoomOrder) -> Gap {
    match order.first_missing() {
        Some(_) => Gap::Missing,
        None => Gap::None,
    }
}
