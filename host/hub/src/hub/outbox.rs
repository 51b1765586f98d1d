//! A packet on its way to several connections.

use std::sync::Arc;

use super::order::{Number, OrderedPacket};
use crate::connection::{Connection, Outgoing};
use parlance_types::id::RoomId;

/// The connections that get a packet.
pub(super) enum Recipients {
    /// All members of a room, or all but one.
    Room(RoomId, Option<Arc<Connection>>),
    /// These members of rooms, if they are still members when their turn comes.
    Members(Vec<(RoomId, Arc<Connection>)>),
    /// These connections, whatever rooms they are in.
    Connections(Vec<Arc<Connection>>),
}

/// A packet, its recipients, and how far sending has come.
pub(super) struct Fanout {
    pub(super) to: Recipients,
    /// How many recipients have got it.
    pub(super) done: usize,
    /// The number of a message or a change; `None` for another packet.
    pub(super) number: Option<Number>,
    pub(super) outgoing: Outgoing,
}

impl Fanout {
    pub(super) fn new(to: Recipients, number: Option<Number>, outgoing: &Outgoing) -> Self {
        Self {
            to,
            done: 0,
            number,
            outgoing: outgoing.clone(),
        }
    }

    /// A packet that has come out of a room's order.
    pub(super) fn ordered(room: &RoomId, packet: &OrderedPacket<'_>) -> Self {
        Self::new(
            Recipients::Room(room.clone(), packet.except.cloned()),
            packet.number,
            packet.outgoing,
        )
    }
}
