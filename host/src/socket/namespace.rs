//! A tenant's Socket.IO namespace: decides about each CONNECT and sets up the session of a client that it admits.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engineioxide::{Encoding, SessionHandle};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use socketioxide::SocketIo;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide_core::packet::Sid;

use super::adapter::{Adapter, Adapters};
use super::address::ClientAddress;
use super::client_sink::{NamespaceSender, SocketSink};
use super::connect_rate::ConnectRateLimiter;
use super::handshake::ParsedHandshake;
use super::ingress::{Ingress, RemoveOnDisconnect};
use super::metrics::Metrics;
use super::settings::ServerLimits;
use crate::dispatch::{Services, Session, now_ms};
use crate::tenant::{Parser, Tenant};
use parlance_hub::Connection;
use parlance_types::error::{Code, EventError};
use parlance_types::id::{ConnectionId, TenantId};
use parlance_types::throttle::LogThrottle;

/// The time after which a client that met a full server may try again.
const FULL_RETRY: Duration = Duration::from_secs(5);

/// Identifies a session. One Engine.IO session may be in the namespaces of several tenants.
pub(super) type SessionKey = (Sid, TenantId);

/// All sessions of the server.
#[derive(Clone)]
pub(super) struct SessionRegistry {
    by_key: Arc<Mutex<HashMap<SessionKey, Arc<Session>>>>,
    pub(super) metrics: Arc<Metrics>,
}

impl SessionRegistry {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            by_key: Arc::default(),
            metrics: Arc::new(metrics),
        }
    }

    /// Adds a session, and ends an older one under the same key: its client left the namespace and came back over the
    /// same transport before the server noticed.
    fn add(&self, key: SessionKey, session: Arc<Session>) {
        let replaced = self.by_key.lock().insert(key, session);
        self.metrics.connections.inc();
        if let Some(replaced) = replaced {
            self.end(&replaced);
        }
    }

    fn get(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.by_key.lock().get(key).cloned()
    }

    /// Ends the session and removes it, unless another session has taken its key.
    pub(super) fn remove(&self, key: &SessionKey, session: &Arc<Session>) {
        let mut by_key = self.by_key.lock();
        if by_key.get(key).is_some_and(|found| Arc::ptr_eq(found, session)) {
            by_key.remove(key);
            drop(by_key);
            self.end(session);
        }
    }

    fn end(&self, session: &Arc<Session>) {
        self.metrics.connections.dec();
        // Another session may already use the socket's id, and must get nothing of this one.
        session.connection.sink.mark_gone();
        session.end();
    }

    /// Removes and returns all sessions.
    pub(super) fn take_all(&self) -> Vec<Arc<Session>> {
        let sessions: Vec<_> = std::mem::take(&mut *self.by_key.lock()).into_values().collect();
        sessions.iter().for_each(|_| self.metrics.connections.dec());
        sessions
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.lock().len()
    }

    pub(super) fn list(&self) -> Vec<Arc<Session>> {
        self.by_key.lock().values().cloned().collect()
    }
}

/// Why a CONNECT is refused. The text becomes the message of the client's `connect_error`.
#[derive(Debug, Clone)]
struct ConnectError(String);

impl From<&EventError> for ConnectError {
    /// Formats `code: message`, with `; retryAfterMs=n` at the end where a limit was hit. Clients parse it, since they
    /// get nothing but this text, so the form must stay as `host/clients.md` has it ("Refusals").
    fn from(error: &EventError) -> Self {
        let mut text = format!("{}: {}", error.code.as_str(), error.message);
        if let Some(wait) = error.retry_after_ms() {
            text.push_str(&format!("; retryAfterMs={wait}"));
        }
        Self(text)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The middleware of one tenant's namespace, which admits or refuses clients.
struct ConnectMiddleware {
    tenant: Arc<Tenant>,
    services: Arc<Services>,
    sessions: SessionRegistry,
    connect_rate: ConnectRateLimiter,
    sender: Arc<NamespaceSender>,
    limits: Arc<ServerLimits>,
    log: RefusalLog,
    /// The session that handles events of other servers. It lives as long as the namespace.
    _server_session: Option<Arc<Session>>,
}

/// Limits the log lines about refused connections to one a second for each tenant and reason.
#[derive(Default)]
struct RefusalLog {
    token: LogThrottle,
    parser: LogThrottle,
    quota: LogThrottle,
    server_full: LogThrottle,
    rate: LogThrottle,
}

/// Opens the tenant's namespace.
pub(super) fn register(
    io: &SocketIo<Adapter>,
    adapters: &Adapters,
    tenant: Arc<Tenant>,
    services: Arc<Services>,
    sessions: SessionRegistry,
    connect_rate: ConnectRateLimiter,
    limits: &Arc<ServerLimits>,
) {
    let path = tenant.id().namespace();
    // The middleware needs the adapter, which exists only once the namespace is registered with its middleware.
    let connect: Arc<std::sync::OnceLock<ConnectMiddleware>> = Arc::default();
    let middleware = {
        let connect = connect.clone();
        move |socket: SocketRef<Adapter>, TryData(auth): TryData<Box<RawValue>>| {
            let connect = connect.clone();
            async move {
                let starting = || ConnectError::from(&EventError::new(Code::Unavailable, "the server is starting"));
                let connect = connect.get().ok_or_else(starting)?;
                connect.admit(&socket, auth.ok().as_deref()).await
            }
        }
    };
    let connected = {
        let (sessions, tenant) = (sessions.clone(), tenant.id().clone());
        move |socket: SocketRef<Adapter>| async move {
            // socketioxide has sent the CONNECT packet, so other packets may follow it from now on.
            if let Some(session) = sessions.get(&(socket.id, tenant)) {
                session.start();
            }
        }
    };
    io.ns(path.clone(), connected.with(middleware));
    let Some(adapter) = adapters.lock().get(&path).cloned() else {
        tracing::error!(path, "the namespace has no adapter; nobody can connect to it");
        return;
    };
    let too_slow = sessions.metrics.too_slow.clone();
    let sender = Arc::new(NamespaceSender::new(adapter, &limits.connections, too_slow));
    let _ = connect.set(ConnectMiddleware {
        _server_session: Session::for_servers(tenant.clone(), services.clone()),
        tenant,
        services,
        sessions,
        connect_rate,
        sender,
        limits: limits.clone(),
        log: RefusalLog::default(),
    });
}

impl ConnectMiddleware {
    /// Verifies the token and sets up the session.
    ///
    /// socketioxide sends the CONNECT packet right after this returns, and the client's events may follow at once, so
    /// the handlers must be in place by then.
    async fn admit(&self, socket: &SocketRef<Adapter>, auth: Option<&RawValue>) -> Result<(), ConnectError> {
        let transport = socket.req_parts().extensions.get::<SessionHandle>().cloned();
        let transport =
            transport.ok_or_else(|| ConnectError("unavailable: the transport has no session".to_owned()))?;
        let address = socket.req_parts().extensions.get::<ClientAddress>().copied();
        let refused = &self.sessions.metrics.refused;
        self.check_accepting(&transport)?;
        self.connect_rate.check(socket.id).map_err(|wait| {
            refused.quota.inc();
            let often = "this transport asks to be connected too often";
            self.log_refusal(&self.log.rate, address, &often);
            ConnectError::from(&EventError::limited(Code::RateLimited, often, wait))
        })?;
        let ParsedHandshake { token, handshake } = ParsedHandshake::read(&self.limits, auth, socket.req_parts())
            .map_err(|error| ConnectError::from(&error))?;
        let settings = self.tenant.settings();
        self.check_parser(settings.limits.clients.parser, transport.encoding(), address)?;
        let verified = settings.authenticator.verify_fresh(&token, now_ms()).await;
        let identity = verified.map_err(|error| self.token_error(address, &error))?;
        if self.sessions.len() >= self.limits.connections.connections {
            refused.server_full.inc();
            let full = "the server has no room for another connection";
            self.log_refusal(&self.log.server_full, address, &full);
            return Err((&EventError::limited(Code::Unavailable, full, FULL_RETRY)).into());
        }
        let permit = self.tenant.connection_permit(identity.user()).map_err(|error| {
            refused.quota.inc();
            self.log_refusal(&self.log.quota, address, &error.message);
            ConnectError::from(&error)
        })?;
        let sink = SocketSink::new(socket.id, self.sender.clone(), transport.clone());
        let id = ConnectionId::from_socket_id(socket.id.as_str());
        let from = address.map(|address| address.to_string());
        tracing::debug!(tenant = %self.tenant.id(), connection = %id, user = %identity.user(), address = from, "connected");
        let connection = Connection::new(id, Arc::new(identity), Box::new(sink));
        let connection = Arc::new(connection.with_handshake(handshake));
        let session = Session::new(self.tenant.clone(), connection, self.services.clone(), permit);
        let key = (socket.id, self.tenant.id().clone());
        self.sessions.add(key.clone(), session.clone());
        // A suspension or revocation from now on finds the session in the registry. One that was decided while the
        // token was being verified, which may have waited for a key set, has not found it and must be checked again.
        let still_admitted = self.check_accepting(&transport).and_then(|()| {
            let now = self.tenant.settings();
            let identity = session.connection.identity.load();
            if Arc::ptr_eq(&now, &settings) && !now.authenticator.is_revoked(&identity) {
                return Ok(());
            }
            let verified = now.authenticator.verify(&token, now_ms());
            verified.map(drop).map_err(|error| self.token_error(address, &error))
        });
        if let Err(refused) = still_admitted {
            self.sessions.remove(&key, &session);
            return Err(refused);
        }
        if let Err(error) = session.admit_client().await {
            self.sessions.remove(&key, &session);
            refused.handler.inc();
            return Err((&error).into());
        }
        self.sessions.metrics.connected.inc();
        socket.on_disconnect(RemoveOnDisconnect {
            session: session.clone(),
            key: key.clone(),
            sessions: self.sessions.clone(),
        });
        socket.on_fallback(Ingress {
            session,
            key,
            sessions: self.sessions.clone(),
        });
        Ok(())
    }

    /// Checks that neither the server nor the tenant refuses all clients now.
    fn check_accepting(&self, transport: &SessionHandle) -> Result<(), ConnectError> {
        let closed = |code, why: &'static str| {
            self.sessions.metrics.refused.closed.inc();
            Err((&EventError::new(code, why)).into())
        };
        if self.services.shutting_down.load(Ordering::Relaxed) || self.services.draining.load(Ordering::Relaxed) {
            // The official client does not connect again after a `connect_error`, but does when its transport ends.
            transport.abort();
            return closed(Code::Unavailable, "the server is shutting down");
        }
        if self.tenant.is_suspended() {
            return closed(Code::Denied, "the tenant is suspended");
        }
        Ok(())
    }

    /// Checks that the client uses the tenant's parser. The refusal goes out in the client's own encoding, so that the
    /// client understands it and does not try again.
    fn check_parser(
        &self,
        parser: Parser,
        encoding: Encoding,
        address: Option<ClientAddress>,
    ) -> Result<(), ConnectError> {
        let why = match (parser, encoding) {
            (Parser::Default, Encoding::Translated) => {
                "this tenant's clients use Socket.IO's default parser; leave the client's option `parser` out"
            }
            (Parser::MessagePack, Encoding::Default | Encoding::Undecided) => {
                "this tenant's clients use socket.io-msgpack-parser; give it as the client's option `parser`"
            }
            _ => return Ok(()),
        };
        self.log_refusal(&self.log.parser, address, &why);
        Err((&EventError::new(Code::Invalid, why)).into())
    }

    fn token_error(&self, address: Option<ClientAddress>, why: &dyn fmt::Display) -> ConnectError {
        self.sessions.metrics.refused.token.inc();
        self.log_refusal(&self.log.token, address, why);
        ConnectError(why.to_string())
    }

    fn log_refusal(&self, throttle: &LogThrottle, address: Option<ClientAddress>, why: &dyn fmt::Display) {
        if let Some(suppressed) = throttle.pass() {
            let address = address.map(|address| address.to_string());
            tracing::info!(tenant = %self.tenant.id(), address, suppressed, "a connection was refused: {why}");
        }
    }
}
