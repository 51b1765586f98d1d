//! One tenant's connections, rooms and users on this node, as a state machine without I/O, tasks, clock or randomness.
//!
//! [`Hub::step`] takes an [`Input`] and appends [`Output`]s, which the driver carries out in their order. One input may
//! have many effects. A step does a part of them; while [`Hub::is_busy`], steps without an input continue. So the
//! driver decides the pace, and the outbox never has more than what one effect, one read of the store or one join has
//! caused.
//!
//! Terms: a room's messages have the numbers 1, 2, 3 … (`seq`), and so have the changes of its messages (`rev`). A *gap* is
//! a number that is missing though a later one is known. A *sweep* reads the last numbers of all rooms from the store, to
//! find what the bus lost. A *baseline* is the place up to which the first members of a room need nothing delivered.

mod catch_up;
mod deliver;
mod fanout;
mod kicks;
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

use super::bus::{Broadcast, Inbound, NodeId, RemoteSocket};
use super::connection::{Connection, InFlightGuard, Outgoing};
use super::delivery::{Delivery, Done};
use catch_up::CatchUp;
use deliver::PendingEvent;
use kicks::Kicks;
use last_seen::LastSeenUsers;
use local_users::LocalUsers;
use parlance_handler::capability::Packet;
use parlance_store::{ChangeRange, Message, Place, Range, Written};
use parlance_types::error::EventError;
use parlance_types::id::{RoomId, UserId};
use parlance_types::settings::{Time, millis, secs, settings};
use presence_grace::PresenceGrace;
use remote_presence::RemotePresence;
use room_membership::RoomMembership;
use rooms::Rooms;

/// About how much a step sends, in the units of [`Outgoing::weight`], before other tenants have a turn.
const STEP_WEIGHT: u64 = 256 * 1024;
/// The most pieces of work (effects, presence records and the like) of one step. Most send nothing, and take a few
/// microseconds.
const STEP_PIECES: usize = 32;

/// The time of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// The time for deadlines.
    pub(super) instant: Instant,
    /// The time that clients see, in milliseconds since the Unix epoch.
    pub(super) unix_ms: u64,
}

settings! {
    /// How often a hub catches up with other nodes.
    pub struct CatchUpPace of the server in "redis" {
        /// How often the store is asked for messages that Redis has lost without a sign; so late may one be then.
        sweep: Duration = secs(5), Time(millis(100), secs(600));
        /// How often the store is asked for messages while Redis is away, which is how rooms go on meanwhile.
        poll: Duration = secs(1), Time(millis(50), secs(60));
    }
}

/// An input of the hub.
pub(super) enum Input {
    /// Events whose writes are durable, in the order of their commits.
    Deliver(Vec<Delivery>),
    /// A connection has been opened. `at_ms` is in milliseconds since the Unix epoch.
    Connect { connection: Arc<Connection>, at_ms: u64 },
    /// A connection has been closed.
    Disconnect {
        connection: Arc<Connection>,
        at_ms: u64,
        done: oneshot::Sender<()>,
    },
    /// Ends the holding of a joined room's packets: see [`HubHandle::release`](super::HubHandle::release).
    Release {
        connection: Arc<Connection>,
        room: RoomId,
        has: Place,
        answered: Option<Place>,
        first: Option<Outgoing>,
        done: oneshot::Sender<bool>,
    },
    /// Holds back a room's packets from a connection that is in the room.
    Hold { connection: Arc<Connection>, room: RoomId },
    /// A connection leaves rooms without an event of its own.
    Leave {
        connection: Arc<Connection>,
        rooms: Vec<RoomId>,
    },
    /// A message of the bus.
    Inbound(Inbound),
    /// The result of [`Output::ReadMessages`]: the stored messages of the range. `up_to` is that of the output; `None` when
    /// the read failed.
    MessagesRead {
        room: RoomId,
        messages: Vec<Message>,
        up_to: Option<u64>,
    },
    /// The result of [`Output::ReadChanges`]: all changes of the range up to the `rev` `up_to`. `None` when the read failed.
    ChangesRead {
        room: RoomId,
        messages: Vec<Message>,
        up_to: Option<u64>,
    },
    /// A part of the result of [`Output::ReadPlaces`].
    Places(Vec<(RoomId, Place)>),
    /// The end of the result of [`Output::ReadPlaces`]. `complete` is `false` when a read failed.
    PlacesDone { complete: bool },
}

/// An action that the driver carries out for the hub.
pub(super) enum Output {
    /// Send a packet to a client.
    Send(Arc<Connection>, Outgoing),
    /// End a client's transport, as a failing network does. The client connects again and asks for what it has missed.
    HangUp(Arc<Connection>),
    /// Tell a client that it is disconnected.
    Disconnect(Arc<Connection>),
    /// Have a connection leave rooms after its earlier events. If its session has ended, the hub gets [`Input::Leave`].
    RequestLeave(Arc<Connection>, Vec<RoomId>),
    /// Ask clients for acknowledgements and pass them on.
    RequestAcks(Box<AckRequest>),
    /// An event is visible, or its failure has been answered.
    Completed(Box<CompletedEvent>),
    /// A closed connection has left all rooms.
    Disconnected(oneshot::Sender<()>),
    /// Says whether the held packets were released.
    Released(oneshot::Sender<bool>, bool),
    /// Answer a `fetchSockets` with these connections.
    Sockets(oneshot::Sender<Vec<RemoteSocket>>, Vec<Arc<Connection>>),
    /// Answer an `allRooms` with these names.
    AllRooms(oneshot::Sender<Vec<String>>, Vec<String>),
    /// Give the event of another server to a handler. The server may wait for a response.
    ServerEvent(String, Option<oneshot::Sender<String>>),
    /// Publish an event for clients on other nodes.
    Publish(Box<Broadcast>),
    /// Publish this node's presence record of a user. `None` withdraws it.
    PublishPresence(UserId, Option<Bytes>),
    /// Tell other servers whether this node has a room, or a connection with this id.
    AnnounceRoom { name: Arc<str>, present: bool },
    /// Read messages of a room. The result is [`Input::MessagesRead`]. Those of the range up to `up_to` were posted before.
    ReadMessages { room: RoomId, range: Range, up_to: u64 },
    /// Read changed messages of a room. The result is [`Input::ChangesRead`].
    ReadChanges { room: RoomId, range: ChangeRange },
    /// Read how far rooms have come. The result is [`Input::Places`].
    ReadPlaces(Vec<RoomId>),
    /// Make a step without an input at this time. Replaces earlier times.
    WakeAt(Option<Instant>),
}

/// A request for acknowledgements.
pub(super) struct AckRequest {
    pub(super) connections: Vec<Arc<Connection>>,
    pub(super) packet: Packet,
    /// Takes the number of clients that were asked.
    pub(super) clients: oneshot::Sender<u64>,
    pub(super) answers: mpsc::Sender<Packet>,
}

/// The end of an event: what must be told and released when it is visible.
pub(super) struct CompletedEvent {
    /// The results of the writes if somebody waits for them.
    pub(super) result: Result<Vec<Written>, EventError>,
    pub(super) done: Option<oneshot::Sender<Done>>,
    pub(super) received: std::time::Instant,
    pub(super) in_flight: Option<InFlightGuard>,
    /// Released when the tenant's rate allows the event's answer to go out.
    pub(super) in_flight_permit: Option<OwnedSemaphorePermit>,
}

/// The state of a tenant's hub.
pub(super) struct Hub {
    /// The fleet has only this node.
    single_node: bool,
    pace: CatchUpPace,
    /// The most rooms that other servers may have a connection join.
    rooms_per_connection: usize,
    /// The time of the current step.
    now: Now,
    rooms: Rooms,
    kicks: Kicks,
    users: LocalUsers,
    /// The users of each room, those of other nodes too.
    membership: RoomMembership,
    grace: PresenceGrace,
    last_seen: LastSeenUsers,
    /// Users of other nodes.
    remote: RemotePresence,
    /// Users whose presence records must be published, and when.
    changed_users: IndexSet<UserId>,
    /// Those whose records are being published, some at a time.
    publishing: indexmap::set::IntoIter<UserId>,
    publish_presence_at: Option<Instant>,
    catch_up: CatchUp,
    /// The unfinished part of the last input.
    work: Option<PendingWork>,
    /// The last [`Output::WakeAt`].
    wake_at: Option<Instant>,
    out: Vec<Output>,
}

/// The unfinished part of an input that takes several pieces of work.
enum PendingWork {
    /// Events, and the unfinished part of the first one.
    Events(std::vec::IntoIter<Delivery>, Option<Box<PendingEvent>>),
    /// Presence records of a node.
    Presence(NodeId, std::vec::IntoIter<(UserId, Option<Bytes>)>),
    /// Connections that join or leave rooms.
    Moves(std::vec::IntoIter<(Arc<Connection>, RoomId, Move)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// Only if the connection is below its limit of rooms.
    Join,
    Leave,
}

impl Hub {
    /// A hub without connections.
    pub(super) fn new(single_node: bool, pace: CatchUpPace, now: Now) -> Self {
        Self {
            single_node,
            catch_up: CatchUp::new(!single_node, (!single_node).then_some(now.instant + pace.poll)),
            pace,
            rooms_per_connection: usize::MAX,
            now,
            rooms: Rooms::new(now.instant),
            kicks: Kicks::default(),
            users: LocalUsers::default(),
            membership: RoomMembership::default(),
            grace: PresenceGrace::default(),
            last_seen: LastSeenUsers::default(),
            remote: RemotePresence::default(),
            changed_users: IndexSet::new(),
            publishing: IndexSet::new().into_iter(),
            publish_presence_at: None,
            work: None,
            wake_at: None,
            out: Vec::new(),
        }
    }

    /// Sets for how long a user whose last connection was lost is still shown as before.
    pub(super) fn set_presence_grace(&mut self, grace: Duration) {
        self.grace.duration = grace;
    }

    /// Sets in how many rooms a connection may be for other servers to have it join another one.
    pub(super) fn set_rooms_per_connection(&mut self, most: usize) {
        self.rooms_per_connection = most;
    }

    /// Sends the text that was added to messages and waits for more.
    pub(super) fn send_appended(&mut self) {
        self.rooms.outbox.send_all_appended();
    }

    /// Whether the last input is unfinished. If so, the hub must not get another one.
    pub(super) fn is_busy(&self) -> bool {
        self.work.is_some() || self.rooms.has_outgoing()
    }

    /// Takes an input, continues with the last one, or runs the timers that are due. Returns how much the step sent, in
    /// the units of [`Outgoing::weight`].
    pub(super) fn step(&mut self, now: Now, input: Option<Input>, out: &mut Vec<Output>) -> u64 {
        self.now = now;
        self.rooms.outbox.now = now.instant;
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
            // The outbox is emptied before other work, since its recipients are the members of now.
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
                has,
                answered,
                first,
                done,
            } => {
                let out = &mut self.out;
                let released = self.rooms.release(&room, &connection, has, answered, first, out);
                if released {
                    self.set_baseline(&room, answered);
                }
                self.out.push(Output::Released(done, released));
            }
            Input::Hold { connection, room } => self.rooms.hold(&room, &connection),
            Input::Leave { connection, rooms } => {
                let moves = rooms.into_iter().map(|room| (connection.clone(), room, Move::Leave));
                self.apply_moves(moves.collect());
            }
            Input::Inbound(inbound) => self.receive(inbound),
            Input::MessagesRead { room, messages, up_to } => self.messages_read(room, messages, up_to),
            Input::ChangesRead { room, messages, up_to } => self.changes_read(room, messages, up_to),
            Input::Places(places) => self.note_places(places),
            Input::PlacesDone { complete } => self.end_sweep(complete),
        }
    }

    /// Does the next piece of pending work. Returns `false` when there is none.
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
            Some(PendingWork::Presence(node, mut records)) => {
                if let Some((user, record)) = records.next() {
                    self.set_remote_presence(&node, &user, record.as_deref());
                    self.work = Some(PendingWork::Presence(node, records));
                }
            }
            Some(PendingWork::Moves(mut moves)) => {
                if let Some((connection, room, which)) = moves.next() {
                    match which {
                        Move::Join if connection.room_count() >= self.rooms_per_connection => {}
                        Move::Join => self.join(&room, &connection, false),
                        Move::Leave => self.leave(&room, &connection),
                    }
                    self.work = Some(PendingWork::Moves(moves));
                }
            }
        }
        true
    }

    /// The number of rooms with members on this node.
    pub(super) fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// The users in a room on all nodes, each once, in no particular order.
    pub(super) fn members(&self, room: &RoomId, limit: usize) -> Vec<UserId> {
        self.membership.users(room, limit)
    }

    /// The number of users in a room, `user` counted as one of them.
    pub(super) fn member_count(&self, room: &RoomId, user: &UserId) -> usize {
        self.membership.count(room) + usize::from(!self.membership.contains(room, user))
    }

    /// All connections.
    pub(super) fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.users.all_connections()
    }

    /// The names that `allRooms` of a Node server returns. A connection's id is one of them, since each Node socket is
    /// in a room of its own.
    fn room_names(&self) -> Vec<String> {
        let connections = self.connections().map(|connection| connection.id.as_str().to_owned());
        let rooms = self.rooms.ids().map(|room| room.as_str().to_owned());
        rooms.chain(connections).collect()
    }
}
