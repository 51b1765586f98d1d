//! The Socket.IO server as a layer for the HTTP router, and its shutdown.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use engineioxide::{Admission, Deflate};
use socketioxide::{ParserConfig, SocketIo};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::HandshakeLimits;
use super::adapter::{Adapter, Adapters};
use super::connect_rate::ConnectRateLimiter;
use super::namespace::{SessionRegistry, register};
use super::session_limits::AdmissionReport;
use super::transports::Transports;
use crate::dispatch::{Services, Session, now_ms};
use crate::error::{Code, EventError};
use crate::tenant::Tenant;

/// Packets up to this many times `limits.packet` are read and answered `too-large`; a larger one ends the
/// connection, since nothing can be told of it without reading it.
const OVERSIZE_FACTOR: usize = 32;
/// Attachments of one packet that are read, so that one with too many can be answered; more end the connection.
const ATTACHMENTS_READ_MAX: usize = 255;
/// Bytes read at once from a WebSocket. Counts for each connection; larger messages take more reads.
const READ_BUFFER: usize = 512;
/// Time for what was sent last to leave the sockets' own queues, which cannot be looked into.
const FLUSH_TIME: Duration = Duration::from_millis(100);
/// How long transports may take to close once they are told to.
const CLOSE_TIME: Duration = Duration::from_millis(1500);
/// How often tokens are looked at: so long may a connection outlive its token.
const TOKEN_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two steps of sending clients away.
const DRAIN_STEP: Duration = Duration::from_millis(100);
/// Time between two looks at what is left.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What connections are held to; `[limits]` in the config.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Bytes of one packet.
    pub packet: usize,
    /// Packets in a socket's own queue.
    pub outbound_packets: usize,
    /// Bytes that may wait for one client beyond that queue.
    pub outbound_bytes: usize,
    /// How long a client may read nothing while something waits for it.
    pub write_stall: Duration,
    /// Messages of WebSockets are compressed for clients that offer it.
    pub compression: bool,
    /// Times in a second that one transport may ask to be connected to a namespace.
    pub connects_per_second: usize,
    /// Times at once that one transport may ask to be connected to a namespace.
    pub connect_burst: usize,
    /// Connections.
    pub connections: usize,
    /// Sessions from one address.
    pub connections_per_address: usize,
    /// Sessions that are in no namespace yet.
    pub unauthenticated: usize,
    /// Those of one address.
    pub unauthenticated_per_address: usize,
    /// New sessions a second.
    pub handshakes_per_second: usize,
    /// New sessions a second from one address.
    pub handshakes_per_second_per_address: usize,
    /// How often clients are asked for a sign of life.
    pub ping_interval: Duration,
    /// How long they may take to give one.
    pub ping_timeout: Duration,
    /// The path of the protocol, without a slash at its end.
    pub path: String,
    /// What of a handshake handlers get.
    pub handshake: HandshakeLimits,
    /// How long a transport may take to connect to a namespace.
    pub connect_timeout: Duration,
}

/// A namespace on its way out. No other may be opened at its path before it is gone, which would take the new one
/// along.
#[derive(Clone)]
pub struct ClosingNamespace(tokio::sync::watch::Receiver<()>);

impl ClosingNamespace {
    /// Whether it is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Waits until it is gone, which takes some seconds at most.
    pub async fn closed(mut self) {
        // Nothing is ever sent: the sender goes when the namespace has.
        while self.0.changed().await.is_ok() {}
    }
}

/// Shorter messages are not worth compressing.
const COMPRESSION: Deflate = Deflate { min_bytes: 1024 };

/// The Socket.IO server.
pub struct Server {
    io: SocketIo<Adapter>,
    adapters: Adapters,
    sessions: SessionRegistry,
    connect_rate: ConnectRateLimiter,
    admission: Arc<Admission>,
    services: Arc<Services>,
    limits: ServerLimits,
}

impl Server {
    /// Sets the server up, without a namespace yet, and lets the router serve it.
    pub fn attach(
        mut router: Router,
        services: Arc<Services>,
        metrics: Metrics,
        limits: ServerLimits,
    ) -> (Router, Self) {
        let adapters = Adapters::default();
        let answered = limits.packet.saturating_mul(OVERSIZE_FACTOR);
        let (layer, io) = SocketIo::builder()
            .req_path(limits.path.clone())
            .max_payload(answered as u64)
            .ws_max_message_size(answered)
            .ws_max_frame_size(answered)
            .ws_read_buffer_size(READ_BUFFER)
            .max_buffer_size(limits.outbound_packets)
            .ping_interval(limits.ping_interval)
            .ping_timeout(limits.ping_timeout)
            .connect_timeout(limits.connect_timeout)
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(ATTACHMENTS_READ_MAX)
                    .max_incoming_binary_buf_size(answered),
            )
            .with_adapter::<Adapter>(adapters.clone())
            .build_layer();
        router = router.layer(layer);
        if limits.compression {
            router = router.layer(axum::Extension(COMPRESSION));
        }
        let sessions = SessionRegistry::new(services.metrics.clone());
        let admission = super::session_limits::admission(&limits);
        (
            router
                .layer(axum::Extension(admission.clone()))
                .layer(axum::Extension(super::msgpack::translator()))
                .layer(axum::middleware::from_fn(super::session_limits::add_peer_address)),
            Self {
                io,
                adapters,
                sessions,
                connect_rate: ConnectRateLimiter::new(limits.connects_per_second, limits.connect_burst),
                admission,
                services,
                limits,
            },
        )
    }

    /// Opens the tenant's namespace. One that was at its path before must be gone; see [`ClosingNamespace`].
    pub fn open(&self, tenant: Arc<Tenant>) {
        register(
            &self.io,
            &self.adapters,
            tenant,
            self.services.clone(),
            self.sessions.clone(),
            self.connect_rate.clone(),
            &self.limits,
        );
    }

    /// Disconnects the tenant's clients, telling them why.
    pub fn disconnect(&self, tenant: &Arc<Tenant>, why: &'static str) {
        disconnect_tenant(&self.sessions, tenant, why);
    }

    /// Closes the tenant's namespace: its clients are disconnected with a reason, and nobody connects any more.
    pub fn close(&self, tenant: &Arc<Tenant>, why: &'static str) -> ClosingNamespace {
        tenant.set_suspended(true);
        self.disconnect(tenant, why);
        let path = tenant.id().namespace();
        let (io, adapters, sessions) = (self.io.clone(), self.adapters.clone(), self.sessions.clone());
        let closed = adapters.lock().get(&path).cloned();
        let tenant = tenant.clone();
        let (gone, closing) = tokio::sync::watch::channel(());
        tokio::spawn(async move {
            // What was sent last still has to leave, and the namespace would take it along.
            let deadline = Instant::now() + CLOSE_TIME;
            let mut unflushed = sessions.list();
            unflushed.retain(|session| Arc::ptr_eq(&session.tenant, &tenant));
            while Instant::now() < deadline {
                unflushed.retain(|session| !session.connection.sink.is_flushed());
                if unflushed.is_empty() {
                    break;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            tokio::time::sleep(FLUSH_TIME).await;
            // Whoever was being let in when it began to close.
            disconnect_tenant(&sessions, &tenant, why);
            let mut adapters = adapters.lock();
            // A tenant of the same name may have been made meanwhile: that one's namespace stays.
            let ours = |(now, closed): (&Arc<Adapter>, &Arc<Adapter>)| Arc::ptr_eq(now, closed);
            if adapters.get(&path).zip(closed.as_ref()).is_some_and(ours) {
                adapters.remove(&path);
                io.delete_ns(path);
            }
            drop(adapters);
            drop(gone);
        });
        ClosingNamespace(closing)
    }

    /// Tells clients whose token is about to expire, and disconnects those who may no longer be here
    /// ([`Session::check_token`]), for as long as the handle is kept. It looks at every connection once a second, which for a
    /// hundred thousand of them takes some ten milliseconds; after each thousand it lets others run.
    pub fn enforce_tokens(&self) -> AbortOnDropHandle<()> {
        let (sessions, connect_rate) = (self.sessions.clone(), self.connect_rate.clone());
        let metrics = self.services.metrics.clone();
        let mut report = AdmissionReport::new(self.admission.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(TOKEN_CHECK_INTERVAL).await;
                connect_rate.forget_idle();
                report.report(&metrics);
                let now = now_ms();
                for (n, session) in sessions.list().into_iter().enumerate() {
                    session.check_token(now);
                    if n % 1000 == 999 {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }))
    }

    /// Sends the clients to other nodes, evenly spread over `time`, so that those are not run over: in each step some
    /// sessions are told to finish, and those that have are hung up, on which clients connect again by themselves. Gives
    /// how many connections are left.
    ///
    /// New handshakes are refused from the beginning, and `/readyz` says that the node is leaving.
    pub async fn drain(&self, time: Duration) -> usize {
        self.services.leaving.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + time;
        let mut finishing: Vec<(Instant, Arc<Session>)> = Vec::new();
        loop {
            let now = Instant::now();
            finishing.retain(|(since, session)| {
                // Time for the last answer to leave the socket's own queue.
                let ready = now >= *since + FLUSH_TIME && session.is_idle() || now >= *since + CLOSE_TIME;
                if ready {
                    session.connection.sink.hang_up();
                }
                !ready
            });
            let steps = deadline.saturating_duration_since(now).as_millis() / DRAIN_STEP.as_millis();
            if steps == 0 && finishing.is_empty() {
                return self.sessions.len();
            }
            let sessions = self.sessions.list();
            let share = sessions
                .len()
                .div_ceil(usize::try_from(steps).unwrap_or(usize::MAX).max(1));
            let chosen = sessions
                .into_iter()
                .filter(|session| session.stop_accepting())
                .take(share);
            finishing.extend(chosen.map(|session| (now, session)));
            if self.sessions.len() == 0 {
                return 0;
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }

    /// Refuses new events, finishes those that came before, and closes every transport: clients see the same as when
    /// a usual Socket.IO server closes, and reconnect by themselves. Gives how many were cut off: they did not read what
    /// was sent to them, or their events did not end in time.
    ///
    /// The listener still accepts meanwhile, since a polling client needs new requests to hear of its end; the HTTP
    /// side refuses new handshakes while `draining` is set. When all sessions have ended, `stop` tells it to end too.
    pub async fn shut_down(&self, time: Duration, transports: &Transports, stop: oneshot::Sender<()>) -> usize {
        let deadline = Instant::now() + time;
        self.services.draining.store(true, Ordering::Relaxed);
        // What the last events send reaches everybody who reads.
        wait_until(deadline, || {
            let done = |session: &Arc<Session>| session.is_idle() || !session.connection.sink.is_flushed();
            self.sessions.list().iter().all(done)
        })
        .await;
        let sessions = self.sessions.take_all();
        // Each by itself, and before the namespaces go: socketioxide forgets those first when it closes, finds no socket
        // of a transport that ends after that, and would keep each socket with its session for ever.
        let mut reading: Vec<_> = sessions.iter().map(DrainingSession::new).collect();
        let mut aborted = 0;
        while !reading.is_empty() {
            let late = Instant::now() >= deadline;
            reading.retain_mut(|draining| match draining.progress() {
                Progress::Done => {
                    draining.session.connection.sink.close_when_sent();
                    false
                }
                Progress::Reading if !late => true,
                Progress::Reading | Progress::Stalled => {
                    draining.session.connection.sink.hang_up();
                    aborted += 1;
                    false
                }
            });
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        sessions.iter().for_each(Session::end);
        // What a connection's end does is written too. One that was cut off may have events that will never be read.
        wait_until(deadline, || sessions.iter().all(|session| session.has_ended())).await;
        let _ = tokio::time::timeout_at(deadline, self.io.close()).await;
        // Whoever keeps a connection alive without a request is no client that has to be waited for. If the listener is
        // gone already, so are its connections. Strangers, who are in no namespace, are not waited for.
        let _ = stop.send(());
        let gone = || transports.busy_count() <= self.admission.unauthenticated();
        wait_until(deadline.min(Instant::now() + CLOSE_TIME), gone).await;
        aborted
    }
}

/// A session that is told to go once its client has read everything.
struct DrainingSession<'a> {
    session: &'a Arc<Session>,
    /// Bytes that the client had not read when it read last, and when that was.
    unread: usize,
    since: Instant,
}

enum Progress {
    /// It has read everything, and its events are done.
    Done,
    Reading,
    /// It has read nothing for [`CLOSE_TIME`].
    Stalled,
}

impl<'a> DrainingSession<'a> {
    fn new(session: &'a Arc<Session>) -> Self {
        Self {
            session,
            unread: usize::MAX,
            since: Instant::now(),
        }
    }

    fn progress(&mut self) -> Progress {
        if self.session.is_idle() {
            return Progress::Done;
        }
        let unread = self.session.connection.sink.unread_bytes();
        if unread < self.unread || unread == 0 {
            (self.unread, self.since) = (unread, Instant::now());
        }
        if self.since.elapsed() >= CLOSE_TIME {
            return Progress::Stalled;
        }
        Progress::Reading
    }
}

/// Disconnects this very tenant's clients, not those of another one of its name.
fn disconnect_tenant(sessions: &SessionRegistry, tenant: &Arc<Tenant>, why: &'static str) {
    for session in sessions.list() {
        if Arc::ptr_eq(&session.tenant, tenant) {
            session.disconnect("tenant", EventError::new(Code::Denied, why));
        }
    }
}

async fn wait_until(deadline: Instant, done: impl Fn() -> bool) {
    while Instant::now() < deadline && !done() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
