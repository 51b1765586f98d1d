//! A client's connection, as the code below the socket sees it.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::questions::Questions;
use parlance_handler::capability::{HandshakeData, Packet, Question};
use parlance_types::auth::Identity;
use parlance_types::id::{ConnectionId, RoomId, TenantId};

/// What a packet counts besides its bytes.
pub(crate) const PACKET_BYTES: usize = 512;

/// A packet for a client.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// An event.
    Event(Packet),
    /// An event that the client should acknowledge. The connection that sends it keeps the question open until then.
    Question(Packet, Arc<Question>),
    /// An acknowledgement: the JSON array of its arguments.
    Acknowledgement {
        /// The client's number for the acknowledgement.
        id: i64,
        /// The arguments.
        text: Bytes,
        /// The attachments, to which placeholders in the arguments refer.
        attachments: Vec<Bytes>,
    },
}

impl Outgoing {
    /// An event. With a question, one that the client should acknowledge.
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

    /// About how many bytes the packet takes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Event(packet) | Self::Question(packet, _) => packet.bytes(),
            Self::Acknowledgement { text, attachments, .. } => {
                text.len() + attachments.iter().map(Bytes::len).sum::<usize>()
            }
        }
    }

    /// What a tenant is charged for sending the packet to one client, in bytes. Queueing, framing and sending a packet
    /// cost as much as a few hundred bytes, which are counted too.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.len().saturating_add(PACKET_BYTES) as u64
    }

    /// Always `false`; clippy wants it beside [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The packet was not sent: the client is too slow or gone, and its connection is being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendFailed;

/// Resolves to the client's acknowledgement, or to `None` when none comes in time.
pub type PendingAcknowledgement = Pin<Box<dyn Future<Output = Option<Packet>> + Send>>;

/// Work for a session's queue that is not a packet of its client. It takes its turn among the packets.
#[derive(Debug)]
pub enum SessionNotice {
    /// The connection should leave these rooms, as another server asks.
    Leave(Vec<RoomId>),
    /// Another server has sent an event, and may wait for a response. Only for the session that handles such events.
    ServerEvent(String, Option<oneshot::Sender<String>>),
    /// The client's answer to the question with this number ([`Connection::take_question`]). `None` when there is no
    /// answer.
    Answer(u64, Option<Packet>),
}

type NoticeHandler = Box<dyn Fn(SessionNotice) -> bool + Send + Sync>;

/// Sends packets to one client. No method waits.
pub trait ClientSink: Send + Sync {
    /// Sends a packet, in order.
    ///
    /// # Errors
    /// The client does not keep up. The sink then closes the connection itself.
    fn send(&self, outgoing: Outgoing) -> Result<(), SendFailed>;

    /// Sends an event that the client should acknowledge within `time`. Returns `None`, and sends nothing, when the
    /// client is behind in reading. The result is the acknowledgement's arguments, an unchecked JSON array, or `None`
    /// when there is none in time.
    fn ask(&self, packet: Packet, time: Duration) -> Option<PendingAcknowledgement> {
        let _ = (packet, time);
        None
    }

    /// Tells the client that it is disconnected, after what was sent before.
    fn disconnect(&self);

    /// Ends the transport at once, as a failing network does. The client connects again by itself, to another node
    /// where there is one.
    fn hang_up(&self);

    /// Ends the transport after what was sent before. The client connects again by itself.
    fn close_when_sent(&self) {
        self.hang_up();
    }

    /// Drops all further packets, since the client has gone.
    fn mark_gone(&self);

    /// Bytes that were sent but not taken by the client yet, as far as is known here.
    fn unread_bytes(&self) -> usize {
        0
    }

    /// Whether no packet waits for a slow client.
    fn is_flushed(&self) -> bool;
}

/// A question that has ended. It counts among the open questions of its connection until this is dropped.
pub struct EndedQuestion {
    /// The question.
    pub question: Arc<Question>,
    connection: Arc<Connection>,
}

impl Drop for EndedQuestion {
    fn drop(&mut self) {
        self.connection.questions.lock().finish();
    }
}

/// Counts an event of a connection as in flight until this is dropped.
pub struct InFlightGuard(Arc<Connection>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_in_flight.notify_waiters();
        }
    }
}

/// A sink without a client.
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

/// A client's connection. Its socket, its events and the hub share it.
pub struct Connection {
    /// The public id.
    pub id: ConnectionId,
    /// The user. `refresh-token` replaces it by the same user's newer token.
    pub identity: ArcSwap<Identity>,
    /// The sink for the client's packets.
    pub sink: Box<dyn ClientSink>,
    /// The handshake with which it was opened.
    pub handshake: Arc<HandshakeData>,
    /// The rooms that the connection is in, at most `limits.rooms_per_connection`. Only the hub changes them. Not
    /// behind a lock, since handlers in the background read them, where a lock could be held for long.
    rooms: ArcSwap<Vec<RoomId>>,
    /// What handlers keep with the connection: a JSON object.
    data: Mutex<Option<Arc<str>>>,
    /// The open questions of handlers to the client.
    questions: Mutex<Questions>,
    /// Takes notices for the session, once there is one.
    notice_handler: OnceLock<NoticeHandler>,
    /// The number of events in flight: they have left their handler, but are not visible yet.
    in_flight: AtomicUsize,
    none_in_flight: Notify,
}

impl Connection {
    /// The connection that stands for other servers, whose events are handled like those of clients. Nothing can be
    /// sent to it.
    #[must_use]
    pub fn for_servers(tenant: &TenantId) -> Option<Self> {
        let identity = Identity::for_server_events(tenant.clone()).ok()?;
        Some(Self::new(
            ConnectionId::from_bits(0),
            Arc::new(identity),
            Box::new(NullSink),
        ))
    }

    /// A connection that is in no room.
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
            notice_handler: OnceLock::new(),
            in_flight: AtomicUsize::new(0),
            none_in_flight: Notify::new(),
        }
    }

    /// Sets the handshake.
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

    /// What handlers keep with the connection: a JSON object, if anything.
    #[must_use]
    pub fn data(&self) -> Option<Arc<str>> {
        self.data.lock().clone()
    }

    /// Sets what takes notices for the session. It returns whether it has taken the notice.
    pub fn set_notice_handler(&self, take: impl Fn(SessionNotice) -> bool + Send + Sync + 'static) {
        let _ = self.notice_handler.set(Box::new(take));
    }

    /// Hands a notice to the session. Returns `false` when there is no session, or when it has ended.
    pub(super) fn notify(&self, notice: SessionNotice) -> bool {
        self.notice_handler.get().is_some_and(|take| take(notice))
    }

    /// Sends a packet to the client. A question is kept open.
    ///
    /// # Errors
    /// The client does not keep up, as with [`ClientSink::send`].
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
                // The client was not asked. The handler is told so only when the time is over: a handler that asks
                // again at once would do so without end.
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

    /// Takes an open question out. `None` when it has ended already.
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

    /// Takes out all questions that the client has not answered, since it has gone. No further ones are opened.
    pub fn close_questions(self: &Arc<Self>) -> Vec<EndedQuestion> {
        let open = self.questions.lock().close();
        open.into_iter().map(|question| self.ended(question)).collect()
    }

    /// Whether the connection is in the room.
    #[must_use]
    pub fn is_in(&self, room: &str) -> bool {
        self.rooms.load().iter().any(|id| id.as_str() == room)
    }

    /// Whether the connection is in any of the rooms.
    pub(super) fn is_in_any(&self, rooms: &indexmap::IndexSet<RoomId>) -> bool {
        !rooms.is_empty() && self.rooms.load().iter().any(|id| rooms.contains(id))
    }

    /// The number of rooms that the connection is in.
    #[must_use]
    pub fn room_count(&self) -> usize {
        self.rooms.load().len()
    }

    /// The rooms that the connection is in.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomId> {
        Vec::clone(&self.rooms.load())
    }

    pub(super) fn join_room(&self, room: RoomId) {
        let mut rooms = self.rooms();
        rooms.push(room);
        self.rooms.store(Arc::new(rooms));
    }

    /// Leaves all rooms. Returns them.
    pub(super) fn leave_all_rooms(&self) -> Arc<Vec<RoomId>> {
        self.rooms.swap(Arc::default())
    }

    pub(super) fn leave_room(&self, room: &RoomId) {
        if !self.is_in(room.as_str()) {
            return;
        }
        let mut rooms = self.rooms();
        rooms.retain(|id| id != room);
        self.rooms.store(Arc::new(rooms));
    }

    /// Counts an event as in flight until the result is dropped.
    pub fn begin_in_flight(self: &Arc<Self>) -> InFlightGuard {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlightGuard(self.clone())
    }

    /// Whether any event is in flight.
    #[must_use]
    pub fn has_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) != 0
    }

    /// Waits until no event is in flight.
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
