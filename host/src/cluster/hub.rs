//! One tenant's clients on this node: who is in which room, what members see and in which order, what other nodes are
//! told and what they say. A state machine without task, channel, clock or chance.
//!
//! [`Hub::step`] takes one [`Input`] and appends [`Output`]s, which whoever drives it carries out in their order. An
//! input may cause much: a step does a part of it, and until [`Hub::is_busy`] says that nothing is left, steps without
//! an input go on with it. So whoever drives it decides the pace, and what waits to be sent
//! is what one effect, one answer of the store or one joiner's beginning has caused.

mod catch_up;
mod deliver;
mod last_seen;
mod local_users;
mod order;
mod outbox;
mod presence_grace;
mod receive;
mod remote_presence;
mod room_membership;
mod rooms;
#[cfg(test)]
mod simulation;
mod visibility;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexSet;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::bus::{Broadcast, ClientSelector, NodeId};
use super::connection::{Connection, InFlightGuard, Outgoing};
use super::handle::Delivery;
use crate::capability::Packet;
use crate::error::EventError;
use crate::id::{RoomId, UserId};
use crate::store::{Message, Range};
use catch_up::CatchUp;
use deliver::PendingEvent;
use last_seen::LastSeenUsers;
use local_users::LocalUsers;
use presence_grace::PresenceGrace;
use remote_presence::RemotePresence;
use room_membership::RoomMembership;
use rooms::Rooms;

/// A step sends about this much, in the units of [`Outgoing::weight`], before other tenants have a turn.
const STEP_WEIGHT: u64 = 256 * 1024;
/// Effects, entries and the like of one step: most send nothing, and cost a few microseconds.
const STEP_PIECES: usize = 32;

/// The time of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// For what waits.
    pub(super) instant: Instant,
    /// For what people read: milliseconds since the Unix epoch.
    pub(super) unix_ms: u64,
}

/// How often and how much a hub catches up with other nodes.
#[derive(Debug, Clone)]
pub struct FleetLimits {
    /// Between two looks into the store for what Redis may have lost.
    pub sweep: Duration,
    /// Between two looks while Redis is away.
    pub poll: Duration,
    /// Rooms that a connection may be made to join from elsewhere.
    pub rooms_per_connection: usize,
}

/// What a hub learns.
pub(super) enum Input {
    /// Events whose writes are durable, in the order of their commit.
    Deliver(Vec<Delivery>),
    /// A connection has come, at this time in milliseconds since the Unix epoch.
    Connect { connection: Arc<Connection>, at_ms: u64 },
    /// A connection has gone.
    Disconnect {
        connection: Arc<Connection>,
        at_ms: u64,
        done: oneshot::Sender<()>,
    },
    /// The answer to a join that was held: see [`HubHandle::release`](super::HubHandle::release).
    Release {
        connection: Arc<Connection>,
        room: RoomId,
        from_seq: u64,
        last_seq: Option<u64>,
        first: Option<Outgoing>,
        done: oneshot::Sender<bool>,
    },
    /// What the room gets is held back from a connection that is in it.
    Hold { connection: Arc<Connection>, room: RoomId },
    /// A connection leaves rooms without an event of its own.
    Leave {
        connection: Arc<Connection>,
        rooms: Vec<RoomId>,
    },
    /// The way to the other nodes is there; what was said before may be lost.
    Up,
    /// It is lost.
    Down,
    /// Another node has an event for clients here.
    Broadcast(Broadcast),
    /// Another server has clients join rooms.
    MakeJoin {
        clients: ClientSelector,
        rooms: Vec<String>,
    },
    /// Another server has clients leave rooms.
    MakeLeave {
        clients: ClientSelector,
        rooms: Vec<String>,
    },
    /// Another server disconnects clients.
    DisconnectSockets { clients: ClientSelector },
    /// Another server asks clients to acknowledge an event.
    Ask {
        broadcast: Broadcast,
        clients: oneshot::Sender<u64>,
        answers: mpsc::Sender<Packet>,
    },
    /// What another node says of a user.
    Entry {
        node: NodeId,
        user: UserId,
        entry: Option<Bytes>,
    },
    /// All that another node says of users, in place of what it has said.
    Node {
        node: NodeId,
        entries: Vec<(UserId, Bytes)>,
    },
    /// The store's answer to [`Output::ReadMessages`]; empty when it could not be read.
    MessagesRead { room: RoomId, messages: Vec<Message> },
    /// Last messages of rooms, a part of the answer to [`Output::ReadLastSeqs`].
    LastSeqs(Vec<(RoomId, u64)>),
    /// That was all of them, or the store does not serve.
    LastSeqsDone { complete: bool },
}

/// An action that the driver takes for a hub.
pub(super) enum Output {
    /// Send to a client.
    Send(Arc<Connection>, Outgoing),
    /// End a client's transport, as a network does that fails: it connects again and asks for what it has missed.
    HangUp(Arc<Connection>),
    /// Tell a client that it is disconnected.
    Disconnect(Arc<Connection>),
    /// Have a connection leave rooms in the turn of its own events; when it has none any more, by [`Input::Leave`].
    RequestLeave(Arc<Connection>, Vec<RoomId>),
    /// Ask clients to acknowledge, and pass on what they answer.
    RequestAcks(Box<AckRequest>),
    /// An event is visible, or its failure has been told.
    Completed(Box<CompletedEvent>),
    /// A connection that has gone is in no room any more.
    Disconnected(oneshot::Sender<()>),
    /// Whether a held join was released.
    Released(oneshot::Sender<bool>, bool),
    /// Tell the other nodes to send this to their clients.
    Publish(Box<Broadcast>),
    /// Tell the other nodes of a user.
    PublishPresence(UserId, Option<Bytes>),
    /// Tell servers that send to rooms whether this node has one, or a connection of this id.
    AnnounceRoom { name: Arc<str>, here: bool },
    /// Read messages of a room, and give them back as [`Input::MessagesRead`].
    ReadMessages { room: RoomId, range: Range },
    /// Read the last messages of rooms, and give them back as [`Input::LastSeqs`].
    ReadLastSeqs(Vec<RoomId>),
    /// A step is due at this time, in place of any that was said before.
    WakeAt(Option<Instant>),
}

/// What clients are asked, and where their answers go.
pub(super) struct AckRequest {
    pub(super) asked: Vec<Arc<Connection>>,
    pub(super) packet: Packet,
    /// How many were asked.
    pub(super) clients: oneshot::Sender<u64>,
    pub(super) answers: mpsc::Sender<Packet>,
}

/// The end of an event.
pub(super) struct CompletedEvent {
    pub(super) result: Result<(), EventError>,
    pub(super) done: Option<oneshot::Sender<Result<(), EventError>>>,
    pub(super) received: std::time::Instant,
    pub(super) in_flight: Option<InFlightGuard>,
    /// Given back when the event's answer may have gone out.
    pub(super) in_flight_permit: Option<OwnedSemaphorePermit>,
}

/// See the [module](self).
pub(super) struct Hub {
    /// There is no other node, ever.
    alone: bool,
    limits: FleetLimits,
    /// The time of the step that is being made.
    now: Now,
    rooms: Rooms,
    users: LocalUsers,
    /// Users in rooms, those of other nodes too.
    membership: RoomMembership,
    grace: PresenceGrace,
    last_seen: LastSeenUsers,
    /// Users on other nodes.
    remote: RemotePresence,
    /// Users of whom the others are to be told something new, and when.
    changed_users: IndexSet<UserId>,
    publish_presence_at: Option<Instant>,
    catch_up: CatchUp,
    /// The unfinished part of the input.
    work: Option<PendingWork>,
    /// When a step is due, as was said last.
    wake_at: Option<Instant>,
    out: Vec<Output>,
}

/// The unfinished part of an input that takes several pieces.
enum PendingWork {
    /// Events, and what is left of the first one.
    Events(std::vec::IntoIter<Delivery>, Option<Box<PendingEvent>>),
    /// What a node says of users.
    Entries(NodeId, std::vec::IntoIter<(UserId, Option<Bytes>)>),
    /// Connections that are to join or leave rooms.
    Moves(std::vec::IntoIter<(Arc<Connection>, RoomId, Move)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// When it is in fewer rooms than it may be in.
    Join,
    Leave,
}

impl Hub {
    /// One without clients; `alone` when there is no other node, ever.
    pub(super) fn new(alone: bool, limits: FleetLimits, now: Now) -> Self {
        Self {
            alone,
            catch_up: CatchUp::new(!alone, (!alone).then_some(now.instant + limits.poll)),
            limits,
            now,
            rooms: Rooms::default(),
            users: LocalUsers::default(),
            membership: RoomMembership::default(),
            grace: PresenceGrace::default(),
            last_seen: LastSeenUsers::default(),
            remote: RemotePresence::default(),
            changed_users: IndexSet::new(),
            publish_presence_at: None,
            work: None,
            wake_at: None,
            out: Vec::new(),
        }
    }

    /// How long a user whose last connection went is still shown as before.
    pub(super) fn set_presence_grace(&mut self, grace: Duration) {
        self.grace.duration = grace;
    }

    /// Whether something is left of the last input. It takes another one only when not.
    pub(super) fn is_busy(&self) -> bool {
        self.work.is_some() || self.rooms.has_outgoing()
    }

    /// Takes an input, or goes on with the last one, or looks at what it is time for. Gives how much it sent, in the
    /// units of [`Outgoing::weight`].
    pub(super) fn step(&mut self, now: Now, input: Option<Input>, out: &mut Vec<Output>) -> u64 {
        self.now = now;
        std::mem::swap(&mut self.out, out);
        match input {
            Some(input) => self.handle(input),
            None if self.is_busy() => {}
            None => self.run_timers(),
        }
        for _ in 0..STEP_PIECES {
            let sent = self.rooms.sent();
            if sent >= STEP_WEIGHT {
                break;
            }
            // What was caused is sent before anything else happens: its recipients are those of now.
            if self.rooms.has_outgoing() {
                self.rooms.send_part(STEP_WEIGHT - sent, &mut self.out);
            } else if !self.continue_work() {
                break;
            }
        }
        let wake_at = self.next_timer();
        if self.wake_at != wake_at {
            self.wake_at = wake_at;
            self.out.push(Output::WakeAt(wake_at));
        }
        std::mem::swap(&mut self.out, out);
        self.rooms.take_sent()
    }

    fn handle(&mut self, input: Input) {
        debug_assert!(!self.is_busy(), "one input at a time");
        match input {
            Input::Deliver(events) => self.work = Some(PendingWork::Events(events.into_iter(), None)),
            Input::Connect { connection, at_ms } => self.connect(&connection, at_ms),
            Input::Disconnect {
                connection,
                at_ms,
                done,
            } => {
                self.disconnect(&connection, at_ms);
                self.out.push(Output::Disconnected(done));
            }
            Input::Release {
                connection,
                room,
                from_seq,
                last_seq,
                first,
                done,
            } => {
                let out = &mut self.out;
                let released = self.rooms.release(&room, &connection, from_seq, last_seq, first, out);
                if released {
                    self.set_baseline(&room, last_seq);
                }
                self.out.push(Output::Released(done, released));
            }
            Input::Hold { connection, room } => self.rooms.hold(&room, &connection),
            Input::Leave { connection, rooms } => {
                let moves = rooms.into_iter().map(|room| (connection.clone(), room, Move::Leave));
                self.apply_moves(moves.collect());
            }
            Input::Up => self.set_bus_connected(true),
            Input::Down => self.set_bus_connected(false),
            Input::Broadcast(broadcast) => self.receive(&broadcast),
            Input::MakeJoin { clients, rooms } => self.sockets_join(&clients, &rooms),
            Input::MakeLeave { clients, rooms } => self.sockets_leave(&clients, &rooms),
            Input::DisconnectSockets { clients } => {
                let clients = self.select(&clients);
                self.out.extend(clients.into_iter().map(Output::Disconnect));
            }
            Input::Ask {
                broadcast,
                clients,
                answers,
            } => {
                let Broadcast { packet, to, except, .. } = broadcast;
                let asked = self.select(&ClientSelector { to, except });
                self.out.push(Output::RequestAcks(Box::new(AckRequest {
                    asked,
                    packet,
                    clients,
                    answers,
                })));
            }
            Input::Entry { node, user, entry } => {
                self.work = Some(PendingWork::Entries(node, vec![(user, entry)].into_iter()));
            }
            Input::Node { node, entries } => self.replace_node_presence(node, entries),
            Input::MessagesRead { room, messages } => self.messages_read(room, messages),
            Input::LastSeqs(last) => self.note_last_seqs(last),
            Input::LastSeqsDone { complete } => self.end_sweep(complete),
        }
    }

    /// Does the next piece of what is left. `false` when nothing is.
    fn continue_work(&mut self) -> bool {
        match self.work.take() {
            None => return false,
            Some(PendingWork::Events(mut events, event)) => {
                let event = event.or_else(|| events.next().map(|delivery| Box::new(PendingEvent::new(delivery))));
                if let Some(event) = event {
                    let left = self.apply_next(event);
                    self.work = Some(PendingWork::Events(events, left));
                }
            }
            Some(PendingWork::Entries(node, mut entries)) => {
                if let Some((user, entry)) = entries.next() {
                    self.set_remote_presence(&node, &user, entry.as_deref());
                    self.work = Some(PendingWork::Entries(node, entries));
                }
            }
            Some(PendingWork::Moves(mut moves)) => {
                if let Some((connection, room, which)) = moves.next() {
                    match which {
                        Move::Join if connection.room_count() >= self.limits.rooms_per_connection => {}
                        Move::Join => self.join(&room, &connection, false),
                        Move::Leave => self.leave(&room, &connection),
                    }
                    self.work = Some(PendingWork::Moves(moves));
                }
            }
        }
        true
    }

    /// Rooms with a member on this node.
    pub(super) fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// Users in a room on all nodes, each once, in no order.
    pub(super) fn members(&self, room: &RoomId, limit: usize) -> Vec<UserId> {
        self.membership.users(room, limit)
    }

    /// How many users are in a room, `user` counted as one of them.
    pub(super) fn member_count(&self, room: &RoomId, user: &UserId) -> usize {
        self.membership.count(room) + usize::from(!self.membership.contains(room, user))
    }

    /// Every connection.
    pub(super) fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.users.all_connections()
    }

    /// What `allRooms` of a Node server names: a connection is a room there, as each of its own sockets is.
    pub(super) fn room_names(&self) -> Vec<String> {
        let connections = self.connections().map(|connection| connection.id.as_str().to_owned());
        let rooms = self.rooms.ids().map(|room| room.as_str().to_owned());
        rooms.chain(connections).collect()
    }
}
