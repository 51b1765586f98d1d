//! The state of one session, whatever its transport.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engineioxide_core::{Str, TransportType};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::admission::{Limits, SessionPermit};
use crate::outbox::{self, OutPacket, Outbox, OutgoingMessage};
use crate::socket::DisconnectReason;
use crate::translate::{Encoding, Translate, Translator};

/// How a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseKind {
    /// By the server: what waits is sent first.
    Server,
    /// By the client, in the protocol's words.
    Client,
    /// At once: nothing more is written.
    Aborted,
}

/// What the transports of a session are doing.
#[derive(Debug, Default)]
struct SessionState {
    ended: Option<CloseKind>,
    /// A poll waits for packets.
    polling: bool,
    /// A body is being read.
    posting: bool,
    /// A WebSocket is on its way to take over.
    upgrading: bool,
    /// It has ended between two polls, and the next one is to be told.
    final_poll: bool,
    /// That WebSocket has said so: polls are answered, so that the client can pause them.
    probed: bool,
    /// Transports that still run.
    active_transports: usize,
    /// Requests for a namespace that are left.
    connects: u32,
    /// Since when those of a joined session are counted.
    connects_since: Option<Instant>,
}

type OnClose = Box<dyn Fn(DisconnectReason) + Send + Sync>;

pub(crate) struct Session {
    pub(crate) outbox: Outbox,
    state: Mutex<SessionState>,
    transport: AtomicU8,
    /// `state` or `transport` has changed in a way that a transport waits for.
    pub(crate) changed: Notify,
    /// A pong has come.
    pub(crate) pong: Notify,
    /// In no namespace yet. Kept apart from the place, since every packet asks.
    unauthenticated: AtomicBool,
    /// A CONNECT of a client that was in a namespace before is not answered yet.
    pub(crate) connect_unanswered: AtomicBool,
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
            unauthenticated: AtomicBool::new(permit.is_some()),
            connect_unanswered: AtomicBool::new(false),
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

    /// How the client writes packets.
    pub(crate) fn encoding(&self) -> Encoding {
        Encoding::from_bits(self.encoding.load(Ordering::Relaxed))
    }

    pub(crate) fn set_encoding(&self, encoding: Encoding) {
        self.encoding.store(encoding as u8, Ordering::Relaxed);
    }

    /// What speaks the other encoding, if the server has one.
    pub(crate) fn translator(&self) -> Option<&dyn Translate> {
        self.translator.as_ref().map(|translator| &*translator.0)
    }

    /// A packet as it goes to the client.
    pub(crate) fn encode(&self, text: Str, attachments: impl IntoIterator<Item = Bytes>) -> OutgoingMessage {
        match self.translator() {
            Some(translator) if self.encoding() == Encoding::Translated => {
                let attachments: Vec<_> = attachments.into_iter().collect();
                match translator.write(&text, &attachments) {
                    Some(packet) => OutgoingMessage::from_iter([OutPacket::Binary(packet)]),
                    // A client that misses a packet without a word would be worse off than one that connects again.
                    None => {
                        self.close(CloseKind::Aborted, DisconnectReason::TransportError);
                        OutgoingMessage::new()
                    }
                }
            }
            _ => outbox::outgoing_message(OutPacket::Text(text), attachments),
        }
    }

    /// In no namespace yet.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        self.unauthenticated.load(Ordering::Relaxed)
    }

    /// The server has let the session into a namespace.
    pub(crate) fn set_authenticated(&self) {
        self.connect_unanswered.store(false, Ordering::Release);
        if self.unauthenticated.swap(false, Ordering::Relaxed)
            && let Some(permit) = &*self.permit.lock()
        {
            permit.authenticated();
        }
    }

    /// Whether the session may ask for a namespace once more: a few times before it is in one, as often in a second
    /// afterwards.
    pub(crate) fn may_connect(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        if !self.is_unauthenticated() {
            let since = *state.connects_since.get_or_insert(now);
            if now.duration_since(since) >= Duration::from_secs(1) {
                state.connects_since = Some(now);
                state.connects = self.limits.connects;
            }
        }
        match state.connects.checked_sub(1) {
            Some(left) => {
                state.connects = left;
                true
            }
            None => false,
        }
    }

    pub(crate) fn ended(&self) -> Option<CloseKind> {
        self.state.lock().ended
    }

    /// Ends the session, once. A client between two polls finds it gone.
    pub(crate) fn close(&self, ended: CloseKind, reason: DisconnectReason) {
        self.end_with(ended, reason, false);
    }

    /// Ends the session, once. A client between two polls is told by the next one: see [`awaits_final_poll`].
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
                // What was to be sent first is not: there is no more time.
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

    /// Whether the session has ended between two polls and the next one is to be told. Until [`discard`] it keeps what
    /// waits for that poll, and its place.
    ///
    /// [`discard`]: Self::discard
    pub(crate) fn awaits_final_poll(&self) -> bool {
        self.state.lock().final_poll
    }

    /// Gives up what a session keeps for one more poll.
    pub(crate) fn discard(&self) {
        self.outbox.clear();
        self.permit.lock().take();
    }

    /// Waits until the session has ended and no transport writes for it any more.
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

    /// A poll begins; none when another is waiting.
    pub(crate) fn begin_poll(self: &Arc<Self>) -> Option<TransportGuard> {
        self.begin(TransportKind::Poll)
    }

    /// A body is about to be read; none when another is.
    pub(crate) fn begin_post(self: &Arc<Self>) -> Option<TransportGuard> {
        self.begin(TransportKind::Post)
    }

    /// A WebSocket is on its way; none when another is.
    pub(crate) fn begin_upgrade(self: &Arc<Self>) -> Option<TransportGuard> {
        self.begin(TransportKind::Upgrade)
    }

    /// A WebSocket is the session's transport.
    pub(crate) fn begin_websocket(self: &Arc<Self>) -> Option<TransportGuard> {
        self.begin(TransportKind::WebSocket)
    }

    /// The WebSocket that is on its way has sent its probe.
    pub(crate) fn set_probed(&self) {
        self.state.lock().probed = true;
        self.changed.notify_waiters();
    }

    pub(crate) fn is_probed(&self) -> bool {
        self.state.lock().probed
    }

    /// The WebSocket that was on its way is the transport from now on.
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

/// A transport that runs, until this is dropped.
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

/// A handle on a session, in the extensions of the request that opened it.
#[derive(Debug, Clone)]
pub struct SessionHandle(pub(crate) Arc<Session>);

impl SessionHandle {
    /// Ends the transport as a network does that fails: nothing more is written, and the client connects again.
    pub fn abort(&self) {
        self.0.close(CloseKind::Aborted, DisconnectReason::TransportClose);
    }

    /// Ends the session as a server does that stops: what waits is sent, then the transport is closed.
    pub fn close(&self) {
        self.0
            .close_with_final_poll(CloseKind::Server, DisconnectReason::ClosingServer);
    }

    /// How the client writes packets.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.0.encoding()
    }

    /// Whether nothing waits to be written to the transport.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.0.outbox.is_empty()
    }

    /// Waits until the queue has room for a message, or the session has ended.
    pub async fn wait_capacity(&self) {
        self.0.outbox.wait_capacity().await;
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.0.outbox.bytes()
    }
}
