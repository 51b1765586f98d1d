//! A packet on its way to several connections, sent in parts.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use super::Output;
use super::order::Number;
use super::rooms::{Member, Room};
use crate::connection::{Connection, Outgoing};
use parlance_types::id::RoomId;

/// The most that a part of a [`Recipients::Members`] looks at, in members and in rooms that they are in. Most of the
/// members may not be concerned.
const LOOKED_AT_MAX: usize = 256;
/// How many members are looked at before that is compared.
const MEMBERS_AT_ONCE: usize = 16;

/// The connections that get a packet.
pub(super) enum Recipients {
    /// All members of a room, or all but one.
    Room(RoomId, Option<Arc<Connection>>),
    /// The members of these rooms that are in none of `known`. Each gets the packet once.
    Members {
        rooms: IndexSet<RoomId>,
        known: IndexSet<RoomId>,
        /// The index of the room that is next.
        next: usize,
        /// The members of earlier rooms, by their connections' addresses, if there are several rooms.
        seen: HashSet<usize>,
    },
    /// These connections, whatever rooms they are in.
    Connections(Vec<Arc<Connection>>),
}

impl Recipients {
    /// The members of these rooms that are in none of `known`.
    pub(super) fn members(rooms: IndexSet<RoomId>, known: IndexSet<RoomId>) -> Self {
        Self::Members {
            rooms,
            known,
            next: 0,
            seen: HashSet::new(),
        }
    }
}

/// A packet, its recipients, and how far sending has come.
pub(super) struct Fanout {
    to: Recipients,
    /// How many recipients have had their turn; of a [`Recipients::Members`], members of the next room.
    done: usize,
    /// The number of a message or a change; `None` for another packet.
    number: Option<Number>,
    pub(super) outgoing: Outgoing,
}

/// What a part of a fan-out has done.
pub(super) struct Part {
    /// How many connections were concerned. Some of them may have the message already, or it is held back for them.
    pub(super) sent: usize,
    /// Whether all recipients have got the packet.
    pub(super) is_last: bool,
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

    /// Sends the packet to some more recipients, to at most `most` of them.
    pub(super) fn send_part(&mut self, most: usize, rooms: &mut IndexMap<RoomId, Room>, out: &mut Vec<Output>) -> Part {
        let Self {
            to,
            done,
            number,
            outgoing,
        } = self;
        match to {
            Recipients::Room(room, except) => {
                let (members, is_last) = some_members(rooms, room, *done, most);
                let is_meant = |member: &&mut Member| {
                    let is_except = |except: &Arc<Connection>| Arc::ptr_eq(except, &member.connection);
                    !except.as_ref().is_some_and(is_except)
                };
                *done += members.len();
                let mut sent = 0;
                for member in members.iter_mut().filter(is_meant) {
                    member.send(*number, outgoing, out);
                    sent += 1;
                }
                Part { sent, is_last }
            }
            Recipients::Members {
                rooms: all,
                known,
                next,
                seen,
            } => {
                let (mut sent, mut looked_at) = (0, 0);
                while let Some(room) = all.get_index(*next)
                    && sent < most
                    && looked_at < LOOKED_AT_MAX
                {
                    let at_most = (most - sent).min(MEMBERS_AT_ONCE);
                    let (members, is_last) = some_members(rooms, room, *done, at_most);
                    looked_at += members.len().max(1);
                    *done += members.len();
                    for member in members {
                        let connection = &member.connection;
                        if all.len() > 1 && !seen.insert(Arc::as_ptr(connection).addr()) {
                            continue;
                        }
                        if !known.is_empty() {
                            looked_at += connection.room_count();
                        }
                        if !connection.is_in_any(known) {
                            member.send(*number, outgoing, out);
                            sent += 1;
                        }
                    }
                    if is_last {
                        (*next, *done) = (*next + 1, 0);
                    }
                }
                let is_last = *next >= all.len();
                Part { sent, is_last }
            }
            Recipients::Connections(connections) => {
                let rest = connections.get(*done..).unwrap_or_default();
                let sent = most.min(rest.len());
                for connection in rest.iter().take(sent) {
                    out.push(Output::Send(connection.clone(), outgoing.clone()));
                }
                *done += sent;
                let is_last = sent == rest.len();
                Part { sent, is_last }
            }
        }
    }
}

/// At most `most` members of a room, after the first `done`, and whether they are the last ones.
fn some_members<'r>(
    rooms: &'r mut IndexMap<RoomId, Room>,
    room: &RoomId,
    done: usize,
    most: usize,
) -> (&'r mut [Member], bool) {
    let members = rooms.get_mut(room).map(|room| room.members.as_mut_slice());
    let rest = members.unwrap_or_default().get_mut(done..).unwrap_or_default();
    let count = most.min(rest.len());
    let is_last = count == rest.len();
    (rest.get_mut(..count).unwrap_or_default(), is_last)
}
