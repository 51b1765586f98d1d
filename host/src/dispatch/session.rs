//! One connection's events, one at a time and in the order sent (promise 5).
//!
//! An idle connection has no task: the first event starts one among its tenant's, which ends when the queue is empty.

mod notice;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::deduplication::InFlightMessages;
use super::packet::ClientPacket;
use super::session_event::SessionEvent;
use super::typing::Typing;
use crate::capability::{ATTACHMENTS_MAX, Chance};
use crate::cluster::{Connection, Responder, token_expiring};
use crate::commit::Committer;
use crate::error::{Code, EventError};
use crate::logs::LogHub;
use crate::scheduler::Quantum;
use crate::store::Outage;
use crate::tenant::{ConnectionPermit, Settings, Tenant, TokenBucket};

/// After how long a client whose queue was full may try again: a guess, as it depends on its own events.
const QUEUE_FULL_RETRY: Duration = Duration::from_millis(500);

/// What all sessions use.
pub struct Services {
    /// Makes effects durable and visible.
    pub committer: Committer,
    /// Metrics of events.
    pub metrics: Metrics,
    /// Shows what handlers log.
    pub logs: LogHub,
    /// Where chance comes from.
    pub random: Arc<dyn RandomSource>,
    /// Reads of messages that fail, as the log shows them.
    pub reads: Mutex<OutageLog>,
    /// Set when the server shuts down: what comes from then on is refused.
    pub draining: AtomicBool,
    /// The node sends its clients to other nodes: nobody connects any more, who is connected is served.
    pub leaving: AtomicBool,
}

#[derive(Default)]
struct EventQueue {
    /// At most `limits.queue_events` events of at most `limits.queue_bytes` bytes, the two marks, as many ends of typing
    /// as a connection has rooms to type in, and the ends of questions, which handlers have asked at their expense.
    events: VecDeque<SessionEvent>,
    bytes: usize,
    running: bool,
    /// Nothing is taken after the connection has gone.
    closed: bool,
}

/// A connection with its tenant and its waiting events. Owned by the socket's handlers and the running task.
pub struct Session {
    /// Whose handlers decide.
    pub tenant: Arc<Tenant>,
    /// Who asks.
    pub connection: Arc<Connection>,
    pub(super) services: Arc<Services>,
    queue: Mutex<EventQueue>,
    /// Messages that it has sent and that may not be in the store yet.
    pub(super) in_flight: InFlightMessages,
    event_count: AtomicU64,
    rates: ArcSwap<ConnectionRates>,
    /// Where it types. Locked after the queue, where both are.
    typing: Mutex<Typing>,
    /// A task waits for typing to end.
    typing_timer_runs: AtomicBool,
    /// The expiry of the token that the client was told of last, in milliseconds since the Unix epoch; 0 for none.
    notified_expiry: AtomicU64,
    /// It is about to be hung up.
    leaving: AtomicBool,
    /// Given back when the last of its events has ended and its farewell was said: what a client leaves behind counts
    /// until it is done, however often the client comes and goes.
    permit: Mutex<Option<ConnectionPermit>>,
}

/// What the connection may send in what time, by the settings that it was made from.
struct ConnectionRates {
    settings: Arc<Settings>,
    events: TokenBucket,
    bytes: TokenBucket,
}

impl ConnectionRates {
    fn of(settings: Arc<Settings>) -> Self {
        let limits = &settings.client_limits;
        Self {
            events: TokenBucket::new(limits.events_per_second, limits.event_burst),
            bytes: TokenBucket::new(limits.bytes_per_second, limits.byte_burst),
            settings,
        }
    }
}

impl Session {
    /// A session that will begin with the connection's arrival, once [`start`](Self::start) or the first event
    /// sets it going.
    #[must_use]
    pub fn new(
        tenant: Arc<Tenant>,
        connection: Arc<Connection>,
        services: Arc<Services>,
        permit: ConnectionPermit,
    ) -> Arc<Self> {
        let events = VecDeque::from([SessionEvent::Connected]);
        Self::build(tenant, connection, services, Some(permit), events)
    }

    /// A session for what other servers cause, in place of a client's, of which the tenant's hub is told. Nobody sees it
    /// come or go.
    #[must_use]
    pub fn for_servers(tenant: Arc<Tenant>, services: Arc<Services>) -> Option<Arc<Self>> {
        let connection = Arc::new(Connection::for_servers(tenant.id())?);
        let session = Self::build(tenant, connection, services, None, VecDeque::new());
        session.tenant.hall.set_for_servers(session.connection.clone()).ok()?;
        Some(session)
    }

    fn build(
        tenant: Arc<Tenant>,
        connection: Arc<Connection>,
        services: Arc<Services>,
        permit: Option<ConnectionPermit>,
        events: VecDeque<SessionEvent>,
    ) -> Arc<Self> {
        let rates = ConnectionRates::of(tenant.settings());
        let queue = EventQueue {
            events,
            ..EventQueue::default()
        };
        let session = Arc::new(Self {
            tenant,
            connection,
            services,
            queue: Mutex::new(queue),
            in_flight: InFlightMessages::default(),
            event_count: AtomicU64::new(0),
            rates: ArcSwap::from_pointee(rates),
            typing: Mutex::default(),
            typing_timer_runs: AtomicBool::new(false),
            notified_expiry: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            permit: Mutex::new(permit),
        });
        let weak = Arc::downgrade(&session);
        session
            .connection
            .set_notice_handler(move |notice| weak.upgrade().is_some_and(|session| session.take_notice(notice)));
        session
    }

    /// The client is connected.
    pub fn start(self: &Arc<Self>) {
        self.spawn_if_idle(&mut self.queue.lock());
    }

    /// The client sends an event. Never waits: a full queue refuses it.
    pub fn receive(self: &Arc<Self>, packet: ClientPacket) {
        let settings = self.tenant.settings();
        let limits = &settings.client_limits;
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        let length = packet.len();
        let bytes = queue.bytes.saturating_add(length);
        let refusal = if packet.len() > limits.packet {
            let (got, max) = (packet.len(), limits.packet);
            Some(EventError::new(
                Code::TooLarge,
                format!("the packet has {got} bytes; at most {max} are allowed"),
            ))
        } else if packet.attachments.len() > ATTACHMENTS_MAX {
            let got = packet.attachments.len();
            Some(EventError::new(
                Code::TooLarge,
                format!("the packet has {got} attachments; at most {ATTACHMENTS_MAX} are allowed"),
            ))
        } else if self.services.draining.load(Ordering::Relaxed) || self.leaving.load(Ordering::Relaxed) {
            Some(EventError::new(
                Code::Unavailable,
                "the server is shutting down; reconnect and try again",
            ))
        } else if queue.events.len() >= limits.queue_events || bytes > limits.queue_bytes {
            self.services.metrics.queue_full.inc();
            Some(EventError::limited(
                Code::RateLimited,
                "too many events are waiting; slow down",
                QUEUE_FULL_RETRY,
            ))
        } else if !self.tenant.reserve_queued_bytes(length) {
            Some(EventError::limited(
                Code::RateLimited,
                "too many bytes of this tenant's events are waiting; slow down",
                QUEUE_FULL_RETRY,
            ))
        } else {
            self.admit(&settings, length)
                .inspect_err(|_| self.tenant.release_queued_bytes(length))
                .err()
        };
        if let Some(error) = refusal {
            drop(queue);
            if error.retry_after.is_some() {
                self.tenant.count_refused();
            }
            let name = std::str::from_utf8(&packet.text)
                .map(super::event::name)
                .unwrap_or_default()
                .to_owned();
            let responder = Responder::new(packet.ack, name);
            self.tenant.hub.refuse(&self.connection, &responder, &error);
            return;
        }
        self.tenant.count_admitted();
        queue.bytes = bytes;
        queue.events.push_back(SessionEvent::Packet(packet));
        self.spawn_if_idle(&mut queue);
    }

    /// Whether the connection's rates and the tenant's budgets let one more event in.
    fn admit(&self, settings: &Arc<Settings>, bytes: usize) -> Result<(), EventError> {
        let mut rates = self.rates.load();
        if !Arc::ptr_eq(&rates.settings, settings) {
            self.rates.store(Arc::new(ConnectionRates::of(settings.clone())));
            rates = self.rates.load();
        }
        let limited = |what: &'static str, wait| EventError::limited(Code::RateLimited, what, wait);
        rates
            .events
            .take(1)
            .map_err(|wait| limited("too many events from this connection; slow down", wait))?;
        rates
            .bytes
            .take(bytes)
            .map_err(|wait| limited("too many bytes from this connection; slow down", wait))?;
        self.tenant.admit()
    }

    /// The client has gone. What it sent before is still handled. One that was never set going leaves no trace.
    pub fn end(self: &Arc<Self>) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            queue.closed = true;
            if !queue.running && matches!(queue.events.front(), Some(SessionEvent::Connected)) {
                queue.events = VecDeque::new();
                self.release_permit();
                return;
            }
            let missing = self.connection.give_up_questions();
            let missing = missing
                .into_iter()
                .map(|question| SessionEvent::QuestionEnded(question, None));
            queue.events.extend(missing.chain([SessionEvent::Disconnected]));
            self.spawn_if_idle(&mut queue);
        }
    }

    /// Nothing of the connection is left.
    pub(super) fn release_permit(&self) {
        self.permit.lock().take();
    }

    /// Refuses what the client sends from now on, so that the connection becomes idle and can be hung up without
    /// anything being lost. `false` when it has been told so before.
    pub fn stop_accepting(&self) -> bool {
        !self.leaving.swap(true, Ordering::Relaxed)
    }

    /// Disconnects the client, telling it why.
    pub fn disconnect(&self, what: &'static str, error: EventError) {
        Responder::new(None, what).fail(&self.connection, &error);
        self.connection.sink.disconnect();
    }

    /// Tells the client, once for each token, that its token is about to expire; disconnects it when the token has
    /// expired or has been revoked, or the tenant is suspended.
    pub fn check_token(&self, now_ms: u64) {
        let identity = self.connection.identity.load();
        let settings = self.tenant.settings();
        if self.tenant.is_suspended() {
            // Everybody has been disconnected, but for those who were still on their way in.
            return self.disconnect("tenant", EventError::new(Code::Denied, "the tenant is suspended"));
        }
        let why = if settings.authenticator.has_expired(&identity, now_ms) {
            "the token has expired"
        } else if settings.authenticator.is_revoked(&identity) {
            "the token has been revoked"
        } else {
            let expires_at = identity.expires_at_ms();
            let notice = settings.authenticator.expiring_notice().as_millis();
            let notice = u64::try_from(notice).unwrap_or(u64::MAX);
            let near = expires_at.saturating_sub(notice) <= now_ms;
            if near && self.notified_expiry.swap(expires_at, Ordering::Relaxed) != expires_at {
                // A client that does not keep up is closed by its sink.
                let _ = self.connection.sink.send(token_expiring(expires_at));
            }
            return;
        };
        tracing::debug!(connection = %self.connection.id, "disconnected: {why}");
        self.disconnect("token", EventError::new(Code::Denied, why));
    }

    /// Whether the connection's token has expired.
    #[must_use]
    pub fn has_expired(&self, now_ms: u64) -> bool {
        self.tenant
            .settings()
            .authenticator
            .has_expired(&self.connection.identity.load(), now_ms)
    }

    /// Why nothing is done for this client any more, although it has not been disconnected yet.
    #[must_use]
    pub fn denial(&self) -> Option<&'static str> {
        let identity = self.connection.identity.load();
        if self.tenant.settings().authenticator.is_revoked(&identity) {
            return Some("the token has been revoked");
        }
        self.tenant.is_suspended().then_some("the tenant is suspended")
    }

    /// Whether nothing waits and nothing is under way, in either direction.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        !queue.running
            && queue.events.is_empty()
            && !self.connection.has_in_flight()
            && self.connection.sink.is_flushed()
    }

    /// Whether the client has gone. Some of what it sent may still wait.
    pub(super) fn is_client_gone(&self) -> bool {
        self.queue.lock().closed
    }

    /// Whether it has ended, and nothing of it is under way.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let queue = self.queue.lock();
        queue.closed && !queue.running && queue.events.is_empty() && !self.connection.has_in_flight()
    }

    fn spawn_if_idle(self: &Arc<Self>, queue: &mut EventQueue) {
        if !queue.running && !queue.events.is_empty() {
            queue.running = true;
            self.tenant.scheduler.spawn(|quantum| self.clone().run(quantum));
        }
    }

    async fn run(self: Arc<Self>, quantum: Quantum) {
        let _resume = ResumeOnPanic(self.clone());
        while let Some(event) = self.next() {
            // It counts until it is done: it is in memory while it waits for an instance, too.
            let _counted = QueuedBytes::of(&self.tenant, &event);
            super::handle(&self, event, &quantum).await;
            quantum.share().await;
        }
    }

    fn next(&self) -> Option<SessionEvent> {
        let mut queue = self.queue.lock();
        let event = queue.events.pop_front();
        match &event {
            Some(event) => queue.bytes = queue.bytes.saturating_sub(event.bytes()),
            None => {
                queue.running = false;
                // An idle connection keeps no buffer.
                queue.events = VecDeque::new();
            }
        }
        event
    }

    /// The client types in the room, or does not any more. Gives a room in which it does not count as typing any more
    /// because it types in too many.
    pub(super) fn set_typing(self: &Arc<Self>, room: &str, typing: bool) -> Option<String> {
        if !typing || !self.connection.is_in(room) {
            self.typing.lock().end(room);
            return None;
        }
        let until = tokio::time::Instant::now() + self.tenant.settings().client_limits.typing_timeout;
        let given_up = self.typing.lock().begin(room, until);
        if !self.typing_timer_runs.swap(true, Ordering::AcqRel) {
            tokio::spawn(run_typing_timer(Arc::downgrade(self)));
        }
        given_up
    }

    /// The connection leaves the room. Gives whether it was typing there.
    pub(super) fn stop_typing(&self, room: &str) -> bool {
        self.typing.lock().end(room)
    }

    /// Whether the client types in the room.
    pub(super) fn is_typing(&self, room: &str) -> bool {
        self.typing.lock().is_in(room)
    }

    /// Every room in which the client was typing, now that it has gone.
    pub(super) fn take_typing(&self) -> Vec<String> {
        self.typing.lock().take()
    }

    /// Has the typing end that was not renewed in time. Gives when to look again; `None` when there is nothing to look
    /// at.
    fn expire_typing(self: &Arc<Self>) -> Option<tokio::time::Instant> {
        let mut queue = self.queue.lock();
        // The farewell ends the rest.
        if queue.closed {
            return None;
        }
        let mut typing = self.typing.lock();
        let ended = typing.take_ended(tokio::time::Instant::now());
        queue.events.extend(ended.into_iter().map(SessionEvent::TypingExpired));
        self.spawn_if_idle(&mut queue);
        let next = typing.next_end();
        if next.is_none() {
            self.typing_timer_runs.store(false, Ordering::Release);
        }
        next
    }

    /// Numbers this connection's events, for the log.
    pub(super) fn next_event_number(&self) -> u64 {
        self.event_count.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What is never handled, as when the process ends.
        self.tenant.release_queued_bytes(self.queue.get_mut().bytes);
    }
}

/// Lets a session know when typing has not been renewed, as long as it types anywhere.
async fn run_typing_timer(session: Weak<Session>) {
    loop {
        let Some(next) = session.upgrade().and_then(|session| session.expire_typing()) else {
            return;
        };
        tokio::time::sleep_until(next).await;
    }
}

/// The bytes of the event that is being handled, among those of its tenant.
struct QueuedBytes<'a>(&'a Tenant, usize);

impl<'a> QueuedBytes<'a> {
    fn of(tenant: &'a Tenant, event: &SessionEvent) -> Self {
        Self(tenant, event.bytes())
    }
}

impl Drop for QueuedBytes<'_> {
    fn drop(&mut self) {
        self.0.release_queued_bytes(self.1);
    }
}

/// An event that panics ends its task; the connection's other events, its farewell among them, go on in another.
struct ResumeOnPanic(Arc<Session>);

impl Drop for ResumeOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = self.0.queue.lock();
            queue.running = false;
            self.0.spawn_if_idle(&mut queue);
        }
    }
}
