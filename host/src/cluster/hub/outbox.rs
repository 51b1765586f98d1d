//! A packet that a hub is sending to several connections.

use std::sync::Arc;

use super::order::OrderedPacket;
use crate::cluster::connection::{Connection, Outgoing};
use crate::id::RoomId;

/// The connections that get a packet.
pub(super) enum Recipients {
    /// The members of a room but one.
    Room(RoomId, Option<Arc<Connection>>),
    /// Some members of some rooms.
    Members(Vec<(RoomId, Arc<Connection>)>),
    /// These connections, whatever rooms they are in.
    Connections(Vec<Arc<Connection>>),
}

/// A packet, the connections that get it, and how far sending it has come.
pub(super) struct Fanout {
    pub(super) to: Recipients,
    /// How many of them have got it.
    pub(super) done: usize,
    /// When it is a message.
    pub(super) seq: Option<u64>,
    pub(super) outgoing: Outgoing,
}

impl Fanout {
    pub(super) fn new(to: Recipients, seq: Option<u64>, outgoing: &Outgoing) -> Self {
        Self {
            to,
            done: 0,
            seq,
            outgoing: outgoing.clone(),
        }
    }

    /// What has come out of a room's order.
    pub(super) fn due(room: &RoomId, due: &OrderedPacket<'_>) -> Self {
        Self::new(
            Recipients::Room(room.clone(), due.except.cloned()),
            due.seq,
            due.outgoing,
        )
    }
}
