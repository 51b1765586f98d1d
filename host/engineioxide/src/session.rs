//! The state of one session, independent of its transport.

mod incoming;

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use engineioxide_core::{Str, TransportType};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;

use crate::admission::{Limits, SessionPermit};
use crate::outbox::{self, OutPacket, Outbox, OutgoingMessage, Text};
use crate::socket::DisconnectReason;
use crate::translate::{Encoding, Translate, Translator};
use incoming::Attachments;

/// How a session was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseKind {
    /// The server closed it. Waiting packets are sent first.
    Server,
    /// The client closed it with a CLOSE packet or a close frame.
    Client,
    /// It was aborted. Nothing more is written.
    Aborted,
}

/// The mutable state of a session.
#[derive(Debug, Default)]
struct SessionState {
    /// Set when the session has ended.
    ended: Option<CloseKind>,
    /// Whether a poll waits for packets.
    polling: bool,
    /// Whether a request body is being read.
    posting: bool,
    /// Whether a WebSocket is taking over from polling.
    upgrading: bool,
    /// Set when the session has ended between two polls and the next poll is to tell the client.
    final_poll: bool,
    /// Set when the upgrading WebSocket has sent its probe. From then on polls are answered soon, so that the client
    /// can pause polling.
    probed: bool,
    /// Requests and WebSockets that still run.
    active_transports: usize,
    /// CONNECTs that the client may still send.
    connects: u32,
    /// When the current second of CONNECTs began, for a session that has been in a namespace.
    connects_since: Option<Instant>,
    /// Packets that are not events, which the client may still send in this second, and when it began.
    other_packets: Option<(u32, Instant)>,
    /// The attachments of a packet that are still to come.
    attachments: Option<Attachments>,
    /// CONNECTs that wait to be passed on again, by their numbers, and the namespace of each until it is answered.
    connect_retries: Vec<(u64, Option<Box<str>>)>,
    /// The number of the last one.
    last_connect_retry: u64,
    /// The namespaces that the client is in, or is about to enter. `None` until it is about to enter one.
    namespaces: Option<Vec<Str>>,
    /// When the client left its last namespace, while it is in none.
    outside_since: Option<Instant>,
}

type OnClose = Box<dyn Fn(DisconnectReason) + Send + Sync>;

pub(crate) struct Session {
    pub(crate) outbox: Outbox,
    state: Mutex<SessionState>,
    transport: AtomicU8,
    /// Notified when `state` or `transport` has changed in a way that a transport waits for.
    pub(crate) changed: Notify,
    /// Notified when a pong has been received.
    pub(crate) pong: Notify,
    /// Notified when the session has left its last namespace and there are too many of those, or when a packet could not
    /// be encoded for it.
    pub(crate) must_end: Notify,
    /// Whether a packet could not be encoded for the client.
    has_lost_packet: AtomicBool,
    /// Whether the session has not been in a namespace yet.
    unauthenticated: AtomicBool,
    permit: Mutex<Option<SessionPermit>>,
    limits: Limits,
    encoding: AtomicU8,
    translator: Option<Translator>,
    on_close: OnceLock<OnClose>,
}

impl Session {
    pub(crate) fn new(
        transport: TransportType,
        permit: Option<SessionPermit>,
        translator: Option<Translator>,
        messages: usize,
    ) -> Self {
        let limits = permit.as_ref().map_or(Limits::NONE, |permit| *permit.limits());
        Self {
            outbox: Outbox::new(messages, limits.queue_bytes),
            state: Mutex::new(SessionState {
                connects: limits.connects,
                ..SessionState::default()
            }),
            transport: AtomicU8::new(transport as u8),
            changed: Notify::new(),
            pong: Notify::new(),
            must_end: Notify::new(),
            has_lost_packet: AtomicBool::new(false),
            unauthenticated: AtomicBool::new(permit.is_some()),
            permit: Mutex::new(permit),
            limits,
            encoding: AtomicU8::new(Encoding::Undecided as u8),
            translator,
            on_close: OnceLock::new(),
        }
    }

    pub(crate) fn set_on_close(&self, act: OnClose) {
        let _ = self.on_close.set(act);
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn transport(&self) -> TransportType {
        if self.transport.load(Ordering::Acquire) == TransportType::Websocket as u8 {
            TransportType::Websocket
        } else {
            TransportType::Polling
        }
    }

    /// The encoding of the client's packets.
    pub(crate) fn encoding(&self) -> Encoding {
        Encoding::from_bits(self.encoding.load(Ordering::Relaxed))
    }

    pub(crate) fn set_encoding(&self, encoding: Encoding) {
        self.encoding.store(encoding as u8, Ordering::Relaxed);
    }

    /// The translator of the other encoding, if the server has one.
    pub(crate) fn translator(&self) -> Option<&dyn Translate> {
        self.translator.as_ref().map(|translator| &*translator.0)
    }

    /// Encodes a packet as the client expects it.
    pub(crate) fn encode(&self, text: Text, attachments: impl IntoIterator<Item = Bytes>) -> OutgoingMessage {
        match self.translator() {
            // What comes after a lost packet would hide the loss.
            Some(_) if self.has_lost_packet() => OutgoingMessage::new(),
            Some(translator) if self.encoding() == Encoding::Translated => {
                let attachments: Vec<_> = attachments.into_iter().collect();
                let whole = format!("{}{}", &*text.head, text.body());
                match translator.write(&whole, &attachments) {
                    Some(packet) => OutgoingMessage::from_iter([OutPacket::Binary(packet)]),
                    // Without the packet the client would miss something for good, so it has to connect again. The
                    // caller may hold locks that the end of a session takes, so the heartbeat ends it.
                    None => {
                        self.has_lost_packet.store(true, Ordering::Release);
                        self.must_end.notify_one();
                        OutgoingMessage::new()
                    }
                }
            }
            _ => outbox::outgoing_message(OutPacket::Text(text), attachments),
        }
    }

    /// Whether a packet could not be encoded for the client, so that the session must be aborted.
    pub(crate) fn has_lost_packet(&self) -> bool {
        self.has_lost_packet.load(Ordering::Acquire)
    }

    /// Whether the session has not been in a namespace yet.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        self.unauthenticated.load(Ordering::Relaxed)
    }

    /// How the session has ended, if it has.
    pub(crate) fn ended(&self) -> Option<CloseKind> {
        self.state.lock().ended
    }

    /// Ends the session, if it has not ended. A client that is between two polls finds it gone.
    pub(crate) fn close(&self, ended: CloseKind, reason: DisconnectReason) {
        self.end_with(ended, reason, false);
    }

    /// Ends the session, if it has not ended. A client that is between two polls is told by its next poll; see
    /// [`awaits_final_poll`].
    ///
    /// [`awaits_final_poll`]: Self::awaits_final_poll
    pub(crate) fn close_with_final_poll(&self, ended: CloseKind, reason: DisconnectReason) {
        self.end_with(ended, reason, true);
    }

    fn end_with(&self, ended: CloseKind, reason: DisconnectReason, final_poll: bool) {
        let (read, final_poll) = {
            let mut state = self.state.lock();
            match (state.ended, ended) {
                (None, _) => state.ended = Some(ended),
                // An abort also drops the packets that a close by the server would still send.
                (Some(_), CloseKind::Aborted) => {
                    state.ended = Some(ended);
                    drop(state);
                    self.outbox.clear();
                    self.changed.notify_waiters();
                    return;
                }
                (Some(_), _) => return,
            }
            let polled = state.polling || self.transport() == TransportType::Websocket;
            state.final_poll = final_poll && !polled;
            (ended == CloseKind::Server && (polled || final_poll), state.final_poll)
        };
        self.outbox.close();
        if !read {
            self.outbox.clear();
        }
        if !final_poll {
            self.permit.lock().take();
        }
        self.changed.notify_waiters();
        if let Some(act) = self.on_close.get() {
            act(reason);
        }
    }

    /// Whether the session has ended between two polls and the next poll is to tell the client. Until [`discard`] it
    /// keeps its packets and its permit.
    ///
    /// [`discard`]: Self::discard
    pub(crate) fn awaits_final_poll(&self) -> bool {
        self.state.lock().final_poll
    }

    /// Drops what the session has kept for its final poll.
    pub(crate) fn discard(&self) {
        self.outbox.clear();
        self.permit.lock().take();
    }

    /// Waits until the session has ended and none of its transports runs.
    pub(crate) async fn wait_closed(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let state = self.state.lock();
                if state.ended.is_some() && state.active_transports == 0 {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Waits until the session has ended.
    pub(crate) async fn wait_ended(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.ended().is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Returns `None` when a transport of this kind already runs.
    fn begin(self: &Arc<Self>, kind: TransportKind) -> Option<TransportGuard> {
        let mut state = self.state.lock();
        let taken = match kind {
            TransportKind::Poll => std::mem::replace(&mut state.polling, true),
            TransportKind::Post => std::mem::replace(&mut state.posting, true),
            TransportKind::Upgrade => std::mem::replace(&mut state.upgrading, true),
            TransportKind::WebSocket => false,
        };
        if taken {
            return None;
        }
        state.active_transports += 1;
        drop(state);
        Some(TransportGuard {
            session: self.clone(),
            kind,
        })
    }

    /// Begins a poll. Returns `None` while another one waits.
    pub(crate) fn begin_poll(self: &Arc<Self>) -> Option<TransportGuard> {
        self.begin(TransportKind::Poll)
    }

    /// Begins to read a request body. Returns `None` while another one is read.
    pub(crate) fn begin_post(self: &Arc<Self>) -> Option<TransportGuard> {
        self.begin(TransportKind::Post)
    }

    /// Begins an upgrade to a WebSocket. Returns `None` during another one.
    pub(crate) fn begin_upgrade(self: &Arc<Self>) -> Option<TransportGuard> {
        self.begin(TransportKind::Upgrade)
    }

    /// Begins to use a WebSocket as the session's transport.
    pub(crate) fn begin_websocket(self: &Arc<Self>) -> Option<TransportGuard> {
        self.begin(TransportKind::WebSocket)
    }

    /// Records that the upgrading WebSocket has sent its probe.
    pub(crate) fn set_probed(&self) {
        self.state.lock().probed = true;
        self.changed.notify_waiters();
    }

    pub(crate) fn is_probed(&self) -> bool {
        self.state.lock().probed
    }

    /// Makes the upgraded WebSocket the session's transport.
    pub(crate) fn set_websocket(&self) {
        self.transport.store(TransportType::Websocket as u8, Ordering::Release);
        self.changed.notify_waiters();
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("transport", &self.transport())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransportKind {
    Poll,
    Post,
    Upgrade,
    WebSocket,
}

/// Counts a running transport of a session until this is dropped.
#[derive(Debug)]
pub(crate) struct TransportGuard {
    session: Arc<Session>,
    kind: TransportKind,
}

impl TransportGuard {
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for TransportGuard {
    fn drop(&mut self) {
        {
            let mut state = self.session.state.lock();
            match self.kind {
                TransportKind::Poll => state.polling = false,
                TransportKind::Post => state.posting = false,
                TransportKind::Upgrade => (state.upgrading, state.probed) = (false, false),
                TransportKind::WebSocket => {}
            }
            state.active_transports -= 1;
        }
        self.session.changed.notify_waiters();
    }
}

/// A handle to a session. The request that opened the session has it as an extension.
#[derive(Debug, Clone)]
pub struct SessionHandle(pub(crate) Arc<Session>);

impl SessionHandle {
    /// Ends the transport as a network failure would: nothing more is written, and the client connects again.
    pub fn abort(&self) {
        self.0.close(CloseKind::Aborted, DisconnectReason::TransportClose);
    }

    /// Records that the client is about to enter a namespace. [`leave_namespace`](Self::leave_namespace) is to follow, also
    /// if it is refused.
    pub fn enter_namespace(&self, namespace: Str) {
        self.0.state.lock().namespaces.get_or_insert_default().push(namespace);
    }

    /// Records that the client has left a namespace, or was refused.
    pub fn leave_namespace(&self, namespace: &str) {
        self.0.leave_namespace(namespace);
    }

    /// Ends the session as a server shutdown does: waiting packets are sent, then the transport is closed.
    pub fn close(&self) {
        self.0
            .close_with_final_poll(CloseKind::Server, DisconnectReason::ClosingServer);
    }

    /// Queues a text message, in two parts, with binary ones directly behind it. `body` must be UTF-8. Clones of it are
    /// copied only into what is written to each client.
    ///
    /// # Errors
    /// `Full` if too many packets wait for the client, `Closed` if the session has ended.
    pub fn send(
        &self,
        head: Str,
        body: Bytes,
        attachments: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), TrySendError<()>> {
        self.0.outbox.reserve()?;
        let message = self.0.encode(Text { head, body }, attachments);
        self.0.outbox.push_reserved(message);
        Ok(())
    }

    /// The encoding of the client's packets.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.0.encoding()
    }

    /// Whether no packet waits to be written to the transport.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.0.outbox.is_empty()
    }

    /// Waits until the queue can take a message, or the session has ended.
    pub async fn wait_capacity(&self) {
        self.0.outbox.wait_capacity().await;
    }

    /// The bytes of the packets that wait to be written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.0.outbox.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::Translate;

    /// Knows no packets.
    #[derive(Debug)]
    struct Nothing;

    impl Translate for Nothing {
        fn read(&self, _: Bytes) -> Option<(String, Vec<Bytes>)> {
            None
        }

        fn write(&self, _: &str, _: &[Bytes]) -> Option<Bytes> {
            None
        }

        fn report_unknown(&self) {}
    }

    fn session() -> Arc<Session> {
        let translator = Translator(Arc::new(Nothing));
        Arc::new(Session::new(TransportType::Websocket, None, Some(translator), 8))
    }

    #[test]
    fn an_answer_to_one_connect_is_none_to_another() {
        let session = session();
        let [acme, slow] = ["/acme", "/slow"].map(|namespace| session.begin_connect_retry(namespace).unwrap_or(0));
        session.connect_answered("/acme");
        assert!(!session.is_connect_unanswered(acme) && session.is_connect_unanswered(slow));
        session.end_connect_retry(slow);
        assert!(!session.is_connect_unanswered(slow));
    }

    #[test]
    fn a_packet_that_cannot_be_encoded_ends_nothing_while_it_is_sent() {
        let session = session();
        session.set_encoding(Encoding::Translated);
        let send = || SessionHandle(session.clone()).send(Str::from("2[]"), Bytes::new(), []);
        assert!(send().is_ok() && send().is_ok());
        // The sender may hold locks that ending the session takes, so the heartbeat ends it.
        assert_eq!(session.ended(), None);
        assert!(session.has_lost_packet() && session.outbox.is_empty());
    }
}
