//! Handles the events of one connection one at a time, in the order in which they were sent (promise 5).
//!
//! An idle session has no task. The first event spawns one in its tenant's scheduler, which ends when the queue is
//! empty.

mod admission;
mod changes;
mod notice;
mod rates;
mod without_client;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::deduplication::InFlightMessages;
use super::metrics::Metrics;
use super::packet::ClientPacket;
use super::session_event::SessionEvent;
use super::typing::Typing;
use crate::logs::LogHub;
use crate::tenant::{ConnectionPermit, Tenant};
use admission::Admission;
use parlance_handler::capability::{ATTACHMENTS_MAX, RandomSource};
use parlance_hub::commit::Committer;
use parlance_hub::{Connection, Responder, token_expiring};
use parlance_scheduler::Quantum;
use parlance_store::OutageLog;
use parlance_types::error::{Code, EventError};
use rates::ConnectionRates;
pub(super) use without_client::queued_bytes_full;

/// The time after which a client whose queue was full may try again: a guess, for nobody knows how long its events take.
const QUEUE_FULL_RETRY: Duration = Duration::from_millis(500);

/// The services that all sessions share.
pub struct Services {
    /// Makes effects durable and visible.
    pub committer: Committer,
    /// Metrics of events.
    pub metrics: Metrics,
    /// Publishes what handlers log.
    pub logs: LogHub,
    /// The random numbers of handlers.
    pub random: Arc<dyn RandomSource>,
    /// Logs failed reads of history, at most once in a while.
    pub reads: Mutex<OutageLog>,
    /// Set when the server shuts down: it refuses new events.
    pub shutting_down: AtomicBool,
    /// Set while the node sends its clients to other nodes: it refuses new connections, and serves those it has.
    pub draining: AtomicBool,
}

/// The events of one session that wait for their turn.
#[derive(Default)]
struct EventQueue {
    /// Bounded by `limits.queue_events` and `limits.queue_bytes` for events of the client. Besides them it holds one
    /// `Connected` and one `Disconnected`, at most one `TypingExpired` for each room in which the client is typing, and
    /// the ends of the questions that handlers have asked.
    events: VecDeque<SessionEvent>,
    bytes: usize,
    /// Whether the session's task runs.
    running: bool,
    /// Set when the client has gone: the queue takes no more events.
    closed: bool,
}

/// A connection with its tenant and its waiting events. The socket's handlers and the session's own task share it.
pub struct Session {
    /// The tenant, whose handlers decide.
    pub tenant: Arc<Tenant>,
    /// The connection, whose events these are.
    pub connection: Arc<Connection>,
    pub(super) services: Arc<Services>,
    queue: Mutex<EventQueue>,
    /// Messages with a `clientId` that may not be in the store yet.
    pub(super) in_flight: InFlightMessages,
    event_count: AtomicU64,
    rates: ArcSwap<ConnectionRates>,
    /// The rooms in which the client is typing. Code that locks the queue too locks the queue first.
    typing: Mutex<Typing>,
    /// Whether the task runs that waits for typing to expire.
    typing_timer_runs: AtomicBool,
    /// The latest token expiry that the client was notified of, in milliseconds since the Unix epoch; 0 for none.
    notified_expiry: AtomicU64,
    /// Set when the node drains: the session takes no more events, and its transport is aborted once it is idle.
    refuses_events: AtomicBool,
    /// Set when the client is cut off, since it kept sending events that were refused. Its later events are dropped
    /// without an answer.
    is_cut_off: AtomicBool,
    /// Released when the session's last event, the `disconnect`, has ended. So the queued events of a client that has
    /// gone still count as a connection, and a client gains nothing by connecting again and again.
    permit: Mutex<Option<ConnectionPermit>>,
    /// What the handler of new connections has decided, until the connection is open.
    admission: Admission,
}

impl Session {
    /// Creates a session that is not running. [`start`](Self::start) or the first event spawns its task, which handles
    /// the connect first.
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

    /// Creates the session that handles the events of other servers, and registers its connection with the tenant's
    /// hub.
    ///
    /// It has no client and is in no room, so other clients do not see it. Returns `None` if the hub has gone.
    #[must_use]
    pub fn for_servers(tenant: Arc<Tenant>, services: Arc<Services>) -> Option<Arc<Self>> {
        let connection = Arc::new(Connection::for_servers(tenant.id())?);
        let session = Self::build(tenant, connection, services, None, VecDeque::new());
        session
            .tenant
            .hub
            .set_server_connection(session.connection.clone())
            .ok()?;
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
            refuses_events: AtomicBool::new(false),
            is_cut_off: AtomicBool::new(false),
            permit: Mutex::new(permit),
            admission: Admission::default(),
        });
        let weak = Arc::downgrade(&session);
        session
            .connection
            .set_notice_handler(move |notice| weak.upgrade().is_some_and(|session| session.take_notice(notice)));
        session
    }

    /// Handles the connect. To be called once the CONNECT packet has been sent.
    pub fn start(self: &Arc<Self>) {
        self.spawn_if_idle(&mut self.queue.lock());
    }

    /// Queues an event of the client without waiting, or sends an error when the session or its tenant cannot take it.
    pub fn receive(self: &Arc<Self>, packet: ClientPacket) {
        let settings = self.tenant.settings();
        let limits = &settings.limits.call.client;
        let mut queue = self.queue.lock();
        if queue.closed || self.is_cut_off.load(Ordering::Relaxed) {
            return;
        }
        let (length, held) = (packet.len(), packet.held_bytes());
        let bytes = queue.bytes.saturating_add(length);
        let refusal = if length > limits.packet {
            let (got, max) = (length, limits.packet);
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
        } else if self.services.shutting_down.load(Ordering::Relaxed) || self.refuses_events.load(Ordering::Relaxed) {
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
        } else if !self.tenant.reserve_queued_bytes(held) {
            Some(queued_bytes_full())
        } else {
            self.admit(&settings, length)
                .inspect_err(|_| self.tenant.release_queued_bytes(held))
                .err()
        };
        if let Some(error) = refusal {
            drop(queue);
            self.refuse(&packet, &error);
            return;
        }
        self.tenant.count_admitted();
        queue.bytes = bytes;
        queue.events.push_back(SessionEvent::Packet(packet));
        self.spawn_if_idle(&mut queue);
    }

    /// Ends the session when its client has gone. The events that it sent before are still handled, then the
    /// disconnect. A session that never ran ends without a trace.
    pub fn end(self: &Arc<Self>) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            queue.closed = true;
            if !queue.running && matches!(queue.events.front(), Some(SessionEvent::Connected)) {
                queue.events = VecDeque::new();
                self.release_permit();
                return;
            }
            let missing = self.connection.close_questions();
            let missing = missing
                .into_iter()
                .map(|question| SessionEvent::QuestionEnded(question, None));
            queue.events.extend(missing.chain([SessionEvent::Disconnected]));
            self.spawn_if_idle(&mut queue);
        }
    }

    /// Stops counting the connection, when all of its events have ended.
    pub(super) fn release_permit(&self) {
        self.permit.lock().take();
    }

    /// Refuses further events of the client, so that the session becomes idle and its transport can be aborted without
    /// a loss. Returns `false` when the session already refuses them.
    pub fn stop_accepting(&self) -> bool {
        !self.refuses_events.swap(true, Ordering::Relaxed)
    }

    /// Disconnects the client after an `error` event that says why.
    pub fn disconnect(&self, what: &'static str, error: EventError) {
        Responder::new(None, what).fail(&self.connection, &error);
        self.connection.sink.disconnect();
    }

    /// Notifies the client, once for each token, that its token is about to expire. Disconnects the client when the
    /// token has expired or been revoked, or when the tenant is suspended.
    pub fn check_token(&self, now_ms: u64) {
        let identity = self.connection.identity.load();
        let settings = self.tenant.settings();
        if self.tenant.is_suspended() {
            // The suspension has disconnected all clients but those that were just being admitted.
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
                // The sink disconnects a client that does not keep up.
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

    /// Why the client's events are denied, although it is not disconnected yet: its token has been revoked, or its
    /// tenant suspended.
    #[must_use]
    pub fn denial(&self) -> Option<&'static str> {
        let identity = self.connection.identity.load();
        if self.tenant.settings().authenticator.is_revoked(&identity) {
            return Some("the token has been revoked");
        }
        self.tenant.is_suspended().then_some("the tenant is suspended")
    }

    /// Whether no event waits, runs or is in flight, and no packet waits for the client.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let is_handled = {
            let queue = self.queue.lock();
            !queue.running && queue.events.is_empty() && !self.connection.has_in_flight()
        };
        // Without the queue's lock, which a sink takes that disconnects while its own is held.
        is_handled && self.connection.sink.is_flushed()
    }

    /// Whether the client has gone. Events that it sent before may still wait.
    pub(super) fn is_client_gone(&self) -> bool {
        self.queue.lock().closed
    }

    /// Whether the session has ended, and none of its events waits, runs or is in flight.
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
            // The event's bytes count until it is handled, because it is in memory while it waits for an instance too.
            let _counted = QueuedBytes::of(&self.tenant, &event);
            super::handle(&self, event, &quantum).await;
            quantum.yield_if_over().await;
        }
    }

    fn next(&self) -> Option<SessionEvent> {
        let mut queue = self.queue.lock();
        let event = queue.events.pop_front();
        match &event {
            Some(event) => queue.bytes = queue.bytes.saturating_sub(event.bytes()),
            None => {
                queue.running = false;
                // An idle session keeps no buffer.
                queue.events = VecDeque::new();
            }
        }
        event
    }

    /// Records that the client has begun or ended typing in the room. Returns the room whose typing ended because there
    /// are too many.
    pub(super) fn set_typing(self: &Arc<Self>, room: &str, typing: bool) -> Option<String> {
        if !typing || !self.connection.is_in(room) {
            self.typing.lock().end(room);
            return None;
        }
        let until = tokio::time::Instant::now() + self.tenant.settings().limits.call.client.typing_timeout;
        let given_up = self.typing.lock().begin(room, until);
        if !self.typing_timer_runs.swap(true, Ordering::AcqRel) {
            // Outside the tenant's task groups: it only sleeps and queues events, which its session then handles in the
            // tenant's turn. It ends when the session has gone.
            tokio::spawn(run_typing_timer(Arc::downgrade(self)));
        }
        given_up
    }

    /// Ends typing in a room that the connection leaves. Returns whether the client was typing there.
    pub(super) fn stop_typing(&self, room: &str) -> bool {
        self.typing.lock().end(room)
    }

    /// Whether the client is typing in the room.
    pub(super) fn is_typing(&self, room: &str) -> bool {
        self.typing.lock().is_in(room)
    }

    /// Removes and returns all rooms in which the client was typing, when it has gone.
    pub(super) fn take_typing(&self) -> Vec<String> {
        self.typing.lock().take()
    }

    /// Queues the end of typing that has expired. Returns when the next typing expires, if any.
    fn expire_typing(self: &Arc<Self>) -> Option<tokio::time::Instant> {
        let mut queue = self.queue.lock();
        // The disconnect ends the rest.
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

    /// The number of this connection's next event, for the log.
    pub(super) fn next_event_number(&self) -> u64 {
        self.event_count.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Events are dropped without being handled when the process ends.
        let held = self.queue.get_mut().events.iter().map(SessionEvent::held_bytes).sum();
        self.tenant.release_queued_bytes(held);
    }
}

/// Ends the session's typing when it expires. Returns when the client is typing nowhere.
async fn run_typing_timer(session: Weak<Session>) {
    loop {
        let Some(next) = session.upgrade().and_then(|session| session.expire_typing()) else {
            return;
        };
        tokio::time::sleep_until(next).await;
    }
}

/// The bytes of the event that is being handled. Dropping this releases them from the tenant's queued bytes.
struct QueuedBytes<'a>(&'a Tenant, usize);

impl<'a> QueuedBytes<'a> {
    fn of(tenant: &'a Tenant, event: &SessionEvent) -> Self {
        Self(tenant, event.held_bytes())
    }
}

impl Drop for QueuedBytes<'_> {
    fn drop(&mut self) {
        self.0.release_queued_bytes(self.1);
    }
}

/// Spawns a new task for the session's other events when an event has panicked and so ended the task.
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
