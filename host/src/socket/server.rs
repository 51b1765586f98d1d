//! The Socket.IO server: a layer of the HTTP router, the namespaces of tenants, and the shutdown.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use engineioxide::{Admission, Deflate};
use parking_lot::Mutex;
use socketioxide::{ParserConfig, SocketIo};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::adapter::{Adapter, Adapters};
use super::connect_rate::ConnectRateLimiter;
use super::metrics::Metrics;
use super::namespace::{SessionRegistry, register};
use super::session_limits::AdmissionReport;
use super::settings::{OVERSIZE_FACTOR, ServerLimits};
use super::transports::Transports;
use crate::dispatch::{Services, Session, now_ms};
use crate::tenant::Tenant;
use parlance_types::error::{Code, EventError};

/// Attachments of one packet that are read, so that a packet with too many can be answered with `too-large`. More than
/// this end the connection.
const ATTACHMENTS_READ_MAX: usize = 255;
/// The read buffer of an idle WebSocket, in bytes. Every connection has one, so it is small; larger messages take more
/// reads.
const READ_BUFFER: usize = 512;
/// Time for the last packets to leave socketioxide's queues, whose length it does not tell.
const FLUSH_TIME: Duration = Duration::from_millis(100);
/// How long a transport may take to close once it is told to.
const CLOSE_TIME: Duration = Duration::from_millis(1500);
/// How often tokens are checked, which is how long a connection may outlive its token.
const TOKEN_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two steps of draining.
const DRAIN_STEP: Duration = Duration::from_millis(100);
/// Time between two checks of a condition that the shutdown waits for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A namespace that is being closed. Another one may be opened at its path only once it is closed, because the close
/// removes whatever is at the path.
#[derive(Clone)]
pub struct ClosingNamespace(tokio::sync::watch::Receiver<()>);

impl ClosingNamespace {
    /// Whether the namespace is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Waits until the namespace is closed, which takes a few seconds at most.
    pub async fn closed(mut self) {
        // No value is ever sent. The sender is dropped once the namespace is closed.
        while self.0.changed().await.is_ok() {}
    }
}

/// Compressing shorter messages gains nothing.
const COMPRESSION: Deflate = Deflate { min_bytes: 1024 };

/// The Socket.IO server.
pub struct Server {
    io: SocketIo<Adapter>,
    adapters: Adapters,
    sessions: SessionRegistry,
    connect_rate: ConnectRateLimiter,
    admission: Arc<Admission>,
    services: Arc<Services>,
    limits: Arc<ServerLimits>,
    /// Tasks that close namespaces.
    closing: Mutex<JoinSet<()>>,
}

impl Server {
    /// Creates the server, without namespaces, and adds its layers to the router.
    pub fn attach(
        mut router: Router,
        services: Arc<Services>,
        metrics: Metrics,
        limits: ServerLimits,
    ) -> (Router, Self) {
        let adapters = Adapters::default();
        let (protocol, connections) = (&limits.protocol, &limits.connections);
        let answered = limits.packet.saturating_mul(OVERSIZE_FACTOR);
        let (layer, io) = SocketIo::builder()
            .req_path(protocol.path.clone())
            .max_payload(answered as u64)
            .ws_max_message_size(answered)
            .ws_max_frame_size(answered)
            .ws_read_buffer_size(READ_BUFFER)
            .max_buffer_size(connections.outbound_packets)
            .ping_interval(connections.ping_interval)
            .ping_timeout(connections.ping_timeout)
            .connect_timeout(connections.connect_timeout)
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(ATTACHMENTS_READ_MAX)
                    .max_incoming_binary_buf_size(answered),
            )
            .with_adapter::<Adapter>(adapters.clone())
            .build_layer();
        router = router.layer(layer);
        if protocol.compression {
            router = router.layer(axum::Extension(COMPRESSION));
        }
        let sessions = SessionRegistry::new(metrics);
        let connect_rate = ConnectRateLimiter::new(connections.connects_per_second, connections.connect_burst);
        let admission = super::session_limits::admission(connections);
        (
            router
                .layer(axum::Extension(admission.clone()))
                .layer(axum::Extension(super::msgpack::translator()))
                .layer(axum::middleware::from_fn(super::session_limits::add_peer_address)),
            Self {
                io,
                adapters,
                sessions,
                connect_rate,
                admission,
                services,
                limits: Arc::new(limits),
                closing: Mutex::default(),
            },
        )
    }

    /// What all sessions share.
    #[must_use]
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Opens the tenant's namespace. An older one at the same path must be closed; see [`ClosingNamespace`].
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

    /// Disconnects the tenant's clients with an `error` event that says why.
    pub fn disconnect(&self, tenant: &Arc<Tenant>, why: &'static str) {
        disconnect_tenant(&self.sessions, tenant, why);
    }

    /// Closes the tenant's namespace: refuses new clients and disconnects the others with a reason.
    pub fn close(&self, tenant: &Arc<Tenant>, why: &'static str) -> ClosingNamespace {
        tenant.set_suspended(true);
        self.disconnect(tenant, why);
        let path = tenant.id().namespace();
        let (io, adapters, sessions) = (self.io.clone(), self.adapters.clone(), self.sessions.clone());
        let closed = adapters.lock().get(&path).cloned();
        let tenant = tenant.clone();
        let (gone, closing) = tokio::sync::watch::channel(());
        let mut tasks = self.closing.lock();
        // Those that have ended would stay in the set.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            // Deleting the namespace drops the packets that still wait, so the clients get time to read them.
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
            // Clients that were being admitted when the close began.
            disconnect_tenant(&sessions, &tenant, why);
            let mut adapters = adapters.lock();
            // A new tenant of the same name may have opened the path meanwhile; its namespace stays.
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

    /// Spawns the task that checks every connection's token once a second ([`Session::check_token`]). It ends when the
    /// handle is dropped.
    ///
    /// A pass over a hundred thousand connections takes some ten milliseconds, so the task yields after each thousand.
    pub fn enforce_tokens(&self) -> AbortOnDropHandle<()> {
        let (sessions, connect_rate) = (self.sessions.clone(), self.connect_rate.clone());
        let metrics = self.sessions.metrics.clone();
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

    /// Sends the clients to other nodes, evenly spread over `time` so that they do not all connect again at once.
    /// Returns how many connections are left.
    ///
    /// In each step some sessions stop taking events. Once such a session is idle, or its client does not read, its
    /// transport is aborted, and the client connects again by itself. New handshakes are refused from the beginning, and
    /// `/readyz` reports that the node is draining.
    pub async fn drain(&self, time: Duration) -> usize {
        self.services.draining.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + time;
        let mut finishing: Vec<ClosingSession> = Vec::new();
        loop {
            let now = Instant::now();
            finishing.retain_mut(|closing| {
                let ready = match closing.progress() {
                    // The last acknowledgement may still be in socketioxide's queue.
                    Progress::Done => closing.begun.elapsed() >= FLUSH_TIME,
                    Progress::Reading => now >= deadline + CLOSE_TIME,
                    Progress::Stalled => true,
                };
                if ready {
                    closing.session.connection.sink.hang_up();
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
            finishing.extend(chosen.map(ClosingSession::new));
            if self.sessions.len() == 0 {
                return 0;
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }

    /// Refuses new events, finishes those that came before, and closes every transport within `time`.
    ///
    /// A client sees what it would see when Node's Socket.IO server closes, and reconnects by itself. Returns how many
    /// clients were aborted, because they did not read what was sent to them or their events did not end in time.
    ///
    /// The listener still accepts meanwhile, since a polling client needs new requests to learn that its session has
    /// ended. The HTTP router refuses new handshakes while `shutting_down` is set. When all sessions have ended, `stop`
    /// ends the listener.
    pub async fn shut_down(&self, time: Duration, transports: &Transports, stop: oneshot::Sender<()>) -> usize {
        let deadline = Instant::now() + time;
        self.services.shutting_down.store(true, Ordering::Relaxed);
        // Clients that read get everything that the last events send.
        wait_until(deadline, || {
            let done = |session: &Arc<Session>| session.is_idle() || !session.connection.sink.is_flushed();
            self.sessions.list().iter().all(done)
        })
        .await;
        let sessions = self.sessions.take_all();
        // Each transport is closed before `io.close()`. That removes the namespaces first, and would then find no
        // socket for a transport that ends later, so the socket and its session would never be dropped.
        let mut reading: Vec<_> = sessions.iter().cloned().map(ClosingSession::new).collect();
        let mut aborted = 0;
        while !reading.is_empty() {
            let late = Instant::now() >= deadline;
            reading.retain_mut(|closing| match closing.progress() {
                Progress::Done => {
                    closing.session.connection.sink.close_when_sent();
                    false
                }
                Progress::Reading if !late => true,
                Progress::Reading | Progress::Stalled => {
                    closing.session.connection.sink.hang_up();
                    aborted += 1;
                    false
                }
            });
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        sessions.iter().for_each(Session::end);
        // The handlers of disconnects write too. An aborted connection may have events that never end, hence the
        // deadline.
        wait_until(deadline, || sessions.iter().all(|session| session.has_ended())).await;
        let _ = tokio::time::timeout_at(deadline, self.io.close()).await;
        // The listener now closes connections without a request. Sessions without a namespace are not waited for: they
        // have lost nothing. A listener that has gone already has closed its connections.
        let _ = stop.send(());
        let gone = || transports.busy_count() <= self.admission.unauthenticated();
        wait_until(deadline.min(Instant::now() + CLOSE_TIME), gone).await;
        aborted
    }
}

/// A session whose transport is closed once its client has read everything.
struct ClosingSession {
    session: Arc<Session>,
    begun: Instant,
    /// The unread bytes at the last check that saw the client read.
    unread: usize,
    /// When that check was.
    since: Instant,
}

enum Progress {
    /// The client has read everything, and its events are done.
    Done,
    Reading,
    /// The client has read nothing for [`CLOSE_TIME`].
    Stalled,
}

impl ClosingSession {
    fn new(session: Arc<Session>) -> Self {
        let now = Instant::now();
        Self {
            session,
            begun: now,
            unread: usize::MAX,
            since: now,
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

/// Disconnects the clients of this tenant, but not those of a newer tenant with the same name.
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
