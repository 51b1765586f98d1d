//! One connection, as everything below the socket sees it.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::questions::Questions;
use crate::auth::Identity;
use crate::capability::{HandshakeData, Packet, Question};
use crate::id::{ConnectionId, RoomId, TenantId};

/// What a packet counts besides its bytes.
const PACKET_BYTES: usize = 512;

/// What goes out to a client.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// An event.
    Event(Packet),
    /// An event that the client is to acknowledge. The connection that sends it keeps the question.
    Question(Packet, Arc<Question>),
    /// An acknowledgement: the JSON array of its arguments.
    Acknowledgement {
        /// The client's number for it.
        id: i64,
        /// The arguments.
        text: Bytes,
        /// What the placeholders in the arguments stand for.
        attachments: Vec<Bytes>,
    },
}

impl Outgoing {
    /// An event, which a question makes one that the client is to acknowledge.
    #[must_use]
    pub fn event(packet: Packet, question: Option<Arc<Question>>) -> Self {
        match question {
            Some(question) => Self::Question(packet, question),
            None => Self::Event(packet),
        }
    }

    /// An acknowledgement without attachments.
    #[must_use]
    pub fn acknowledgement(id: i64, text: Bytes) -> Self {
        Self::Acknowledgement {
            id,
            text,
            attachments: Vec::new(),
        }
    }

    /// Bytes it takes, about.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Event(packet) | Self::Question(packet, _) => packet.bytes(),
            Self::Acknowledgement { text, attachments, .. } => {
                text.len() + attachments.iter().map(Bytes::len).sum::<usize>()
            }
        }
    }

    /// What a tenant is charged for sending it to one client: its place in a queue, its header, its frame and the work
    /// of sending it cost as much as a few hundred bytes do.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.len().saturating_add(PACKET_BYTES) as u64
    }

    /// Never so; for completeness beside [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The connection cannot take more: it is too slow or gone, and is being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendFailed;

/// Resolves to the client's acknowledgement, or to nothing when none comes.
pub type PendingAcknowledgement = Pin<Box<dyn Future<Output = Option<Packet>> + Send>>;

/// Work for a session's queue that is no packet of its client's; it has its turn among those.
#[derive(Debug)]
pub enum SessionNotice {
    /// The connection is to leave these rooms, as another server wishes.
    Leave(Vec<RoomId>),
    /// Another server has sent an event, and may wait for an answer. Goes to the session that stands for servers.
    ServerEvent(String, Option<oneshot::Sender<String>>),
    /// What the client has answered to the question of this number ([`Connection::take_question`]); `None` when the
    /// answer is missing.
    Answer(u64, Option<Packet>),
}

type NoticeHandler = Box<dyn Fn(SessionNotice) -> bool + Send + Sync>;

/// The way to the client. Sending never waits.
pub trait ClientSink: Send + Sync {
    /// Sends, in order.
    ///
    /// # Errors
    /// When the client does not keep up; the connection is then closed by the outlet itself.
    fn send(&self, outgoing: Outgoing) -> Result<(), SendFailed>;

    /// Sends an event that the client is to acknowledge within `time`; `None`, and nothing is sent, when the client is
    /// behind in reading. Gives the acknowledgement's arguments, a JSON array that nobody has checked, or nothing when
    /// none comes.
    fn ask(&self, packet: Packet, time: Duration) -> Option<PendingAcknowledgement> {
        let _ = (packet, time);
        None
    }

    /// Tells the client that it is disconnected, after what was sent before.
    fn disconnect(&self);

    /// Ends the transport, as a network does that fails: the client connects again by itself, and finds its way to
    /// another node where there is one.
    fn hang_up(&self);

    /// Ends the transport after what was sent before: the client connects again by itself.
    fn close_when_sent(&self) {
        self.hang_up();
    }

    /// Sends nothing any more; the client has gone.
    fn mark_gone(&self);

    /// Bytes that were sent and that the client has not taken yet, as far as is known here.
    fn unread_bytes(&self) -> usize {
        0
    }

    /// Whether nothing waits for a slow client.
    fn is_flushed(&self) -> bool;
}

/// A question that has ended. It counts among its connection's until this is dropped.
pub struct EndedQuestion {
    /// The question.
    pub question: Arc<Question>,
    connection: Arc<Connection>,
}

impl Drop for EndedQuestion {
    fn drop(&mut self) {
        self.connection.questions.lock().done();
    }
}

/// Effects of a connection's event that have neither arrived nor failed.
pub struct InFlightGuard(Arc<Connection>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_in_flight.notify_waiters();
        }
    }
}

/// Takes nothing: there is no client.
struct NullSink;

impl ClientSink for NullSink {
    fn send(&self, _: Outgoing) -> Result<(), SendFailed> {
        Err(SendFailed)
    }

    fn disconnect(&self) {}

    fn hang_up(&self) {}

    fn mark_gone(&self) {}

    fn is_flushed(&self) -> bool {
        true
    }
}

/// One connection. Shared by its socket, its events and the hub; lives until the last of them lets go.
pub struct Connection {
    /// Its public id.
    pub id: ConnectionId,
    /// Who it is; replaced by `refresh-token` with the same user's newer token.
    pub identity: ArcSwap<Identity>,
    /// The way to the client.
    pub sink: Box<dyn ClientSink>,
    /// How it began.
    pub handshake: Arc<HandshakeData>,
    /// The rooms it is in. The hub alone changes it; at most `limits.rooms_per_connection`. Handlers ask for it in the
    /// background too, where a lock might be held for long.
    rooms: ArcSwap<Vec<RoomId>>,
    /// What handlers keep with it: a JSON object.
    data: Mutex<Option<Arc<str>>>,
    /// What handlers have asked its client.
    questions: Mutex<Questions>,
    /// Its session, once it has one.
    notice: OnceLock<NoticeHandler>,
    /// Events that have left their handler and are not settled yet.
    in_flight: AtomicUsize,
    none_in_flight: Notify,
}

impl Connection {
    /// For events that other servers cause, in place of a client's connection: nothing can be sent to it.
    #[must_use]
    pub fn for_servers(tenant: &TenantId) -> Option<Self> {
        let identity = Identity::for_server_events(tenant.clone()).ok()?;
        Some(Self::new(
            ConnectionId::from_bits(0),
            Arc::new(identity),
            Box::new(NullSink),
        ))
    }

    /// Makes one that is in no room.
    #[must_use]
    pub fn new(id: ConnectionId, identity: Arc<Identity>, sink: Box<dyn ClientSink>) -> Self {
        Self {
            id,
            identity: ArcSwap::new(identity),
            sink,
            handshake: Arc::default(),
            rooms: ArcSwap::default(),
            data: Mutex::new(None),
            questions: Mutex::default(),
            notice: OnceLock::new(),
            in_flight: AtomicUsize::new(0),
            none_in_flight: Notify::new(),
        }
    }

    /// Notes how it began.
    #[must_use]
    pub fn with_handshake(self, handshake: HandshakeData) -> Self {
        Self {
            handshake: Arc::new(handshake),
            ..self
        }
    }

    pub(super) fn set_data(&self, data: Arc<str>) {
        *self.data.lock() = Some(data);
    }

    /// What handlers keep with it, a JSON object; none when they keep nothing.
    #[must_use]
    pub fn data(&self) -> Option<Arc<str>> {
        self.data.lock().clone()
    }

    /// Notices go to `take` from now on, which says whether it takes them.
    pub fn set_notice_handler(&self, take: impl Fn(SessionNotice) -> bool + Send + Sync + 'static) {
        let _ = self.notice.set(Box::new(take));
    }

    /// Whether its session has taken the notice; one that has ended, or has never been, does not.
    pub(super) fn notify(&self, notice: SessionNotice) -> bool {
        self.notice.get().is_some_and(|take| take(notice))
    }

    /// Sends to the client, and keeps the question if it is one.
    ///
    /// # Errors
    /// When the client does not keep up, as [`ClientSink::send`].
    pub(super) fn send(self: &Arc<Self>, outgoing: Outgoing) -> Result<(), SendFailed> {
        match outgoing {
            Outgoing::Question(packet, question) => self.ask(packet, &question),
            outgoing => self.sink.send(outgoing),
        }
    }

    fn ask(self: &Arc<Self>, packet: Packet, question: &Arc<Question>) -> Result<(), SendFailed> {
        let Some(number) = self.questions.lock().open(question) else {
            return self.sink.send(Outgoing::Event(packet));
        };
        let time = question.time;
        let asked = self.sink.ask(packet.clone(), time);
        let sent = match &asked {
            Some(_) => Ok(()),
            None => self.sink.send(Outgoing::Event(packet)),
        };
        let connection = Arc::downgrade(self);
        tokio::spawn(async move {
            let answer = match asked {
                Some(asked) => asked.await,
                // Not at once: a handler that asks again when no answer comes would do so without an end.
                None => {
                    tokio::time::sleep(time).await;
                    None
                }
            };
            if let Some(connection) = connection.upgrade() {
                connection.notify(SessionNotice::Answer(number, answer));
            }
        });
        sent
    }

    /// Takes an open question out; `None` when it has ended otherwise.
    pub fn take_question(self: &Arc<Self>, number: u64) -> Option<EndedQuestion> {
        let question = self.questions.lock().take(number)?;
        Some(self.ended(question))
    }

    fn ended(self: &Arc<Self>, question: Arc<Question>) -> EndedQuestion {
        EndedQuestion {
            question,
            connection: self.clone(),
        }
    }

    /// The questions that the client has not answered, now that it has gone. It is asked no others.
    pub fn close_questions(self: &Arc<Self>) -> Vec<EndedQuestion> {
        let given_up = self.questions.lock().give_up();
        given_up.into_iter().map(|question| self.ended(question)).collect()
    }

    /// Whether it is in the room.
    #[must_use]
    pub fn is_in(&self, room: &str) -> bool {
        self.rooms.load().iter().any(|id| id.as_str() == room)
    }

    /// Whether it is in any of the rooms.
    pub(super) fn is_in_any(&self, rooms: &indexmap::IndexSet<RoomId>) -> bool {
        !rooms.is_empty() && self.rooms.load().iter().any(|id| rooms.contains(id))
    }

    /// How many rooms it is in.
    #[must_use]
    pub fn room_count(&self) -> usize {
        self.rooms.load().len()
    }

    /// The rooms it is in.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        Vec::clone(&self.rooms.load())
    }

    pub(super) fn enter(&self, room: RoomId) {
        let mut rooms = self.rooms();
        rooms.push(room);
        self.rooms.store(Arc::new(rooms));
    }

    /// It is in no room any more. Gives those that it was in.
    pub(super) fn exit_all(&self) -> Arc<Vec<RoomId>> {
        self.rooms.swap(Arc::default())
    }

    pub(super) fn exit(&self, room: &RoomId) {
        if !self.is_in(room.as_str()) {
            return;
        }
        let mut rooms = self.rooms();
        rooms.retain(|id| id != room);
        self.rooms.store(Arc::new(rooms));
    }

    /// An event's effects are on their way until what this gives is dropped.
    pub fn begin_in_flight(self: &Arc<Self>) -> InFlightGuard {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlightGuard(self.clone())
    }

    /// Whether anything is on its way.
    #[must_use]
    pub fn has_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) != 0
    }

    /// Waits until nothing is on its way.
    pub async fn wait_in_flight(&self) {
        loop {
            let notified = self.none_in_flight.notified();
            if !self.has_in_flight() {
                return;
            }
            notified.await;
        }
    }
}
