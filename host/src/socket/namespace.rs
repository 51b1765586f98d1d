//! A tenant's namespace: who may connect, and what a connection begins with.

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
use socketioxide_core::Str;
use socketioxide_core::packet::Sid;

use super::adapter::{Adapter, Adapters};
use super::address::ClientAddress;
use super::client_sink::{NamespaceSender, SocketSink};
use super::connect_rate::ConnectRateLimiter;
use super::handshake::{HandshakeLimits, ParsedHandshake};
use super::ingress::{Ingress, RemoveOnDisconnect};
use super::server::ServerLimits;
use crate::cluster::Connection;
use crate::dispatch::{Services, Session, now_ms};
use crate::error::{Code, EventError};
use crate::id::{ConnectionId, TenantId};
use crate::tenant::{Parser, Tenant};
use crate::throttle::LogThrottle;

/// After how long somebody who met a full server may try again.
const FULL_RETRY: Duration = Duration::from_secs(5);

/// Which session: an Engine.IO connection may be in the namespaces of several tenants.
pub(super) type SessionKey = (Sid, TenantId);

/// Every session of the server.
#[derive(Clone)]
pub(super) struct SessionRegistry {
    by_key: Arc<Mutex<HashMap<SessionKey, Arc<Session>>>>,
    metrics: Arc<Metrics>,
}

impl SessionRegistry {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            by_key: Arc::default(),
            metrics,
        }
    }

    /// Adds a session. One that is still there under the same key ends: its client left the namespace and has come
    /// back over the same transport before that was noticed.
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

    /// Ends this session, once; not another one that has taken its key.
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
        // The socket's id may be in use again: nothing of this session may reach the next.
        session.connection.sink.mark_gone();
        session.end();
    }

    /// All of them, and none are left.
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

/// Why a connection is refused; the text is the `connect_error`'s message.
#[derive(Debug, Clone)]
struct ConnectError(String);

impl From<&EventError> for ConnectError {
    /// `code: words`, and `; retryAfterMs=n` at the end where a limit was hit: clients get nothing but a text, so the
    /// form is a promise (`host/clients.md`, "Refusals").
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

/// What it takes to let somebody in.
struct ConnectMiddleware {
    tenant: Arc<Tenant>,
    services: Arc<Services>,
    sessions: SessionRegistry,
    connect_rate: ConnectRateLimiter,
    sender: Arc<NamespaceSender>,
    handshake: HandshakeLimits,
    connections: usize,
    log: RefusalLog,
    /// What stands for other servers; it lives as long as the door does.
    _server_session: Option<Arc<Session>>,
}

/// What refused connections leave in the log: for each reason one line a second, of each tenant.
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
    limits: &ServerLimits,
) {
    let path = tenant.id().namespace();
    // The adapter exists once the namespace does, the door only once the adapter does.
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
            // The connect packet is out: from here on the client may hear of others.
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
    let sender = Arc::new(NamespaceSender {
        adapter,
        namespace: Str::from(path),
        overflow_bytes: limits.outbound_bytes,
        write_stall: limits.write_stall,
        too_slow: services.metrics.too_slow.clone(),
    });
    let _ = connect.set(ConnectMiddleware {
        _server_session: Session::for_servers(tenant.clone(), services.clone()),
        tenant,
        services,
        sessions,
        connect_rate,
        sender,
        handshake: limits.handshake.clone(),
        connections: limits.connections,
        log: RefusalLog::default(),
    });
}

impl ConnectMiddleware {
    /// Verifies the token and sets up everything the connection needs: the connect packet goes out right after, and
    /// what the client sends then must find its handlers in place.
    async fn admit(&self, socket: &SocketRef<Adapter>, auth: Option<&RawValue>) -> Result<(), ConnectError> {
        let transport = socket.req_parts().extensions.get::<SessionHandle>().cloned();
        let transport =
            transport.ok_or_else(|| ConnectError("unavailable: the transport has no session".to_owned()))?;
        let address = socket.req_parts().extensions.get::<ClientAddress>().copied();
        let refused = &self.services.metrics.refused;
        self.check_accepting(&transport)?;
        self.connect_rate.check(socket.id).map_err(|wait| {
            refused.quota.inc();
            let often = "this transport asks to be connected too often";
            self.log_refusal(&self.log.rate, address, &often);
            ConnectError::from(&EventError::limited(Code::RateLimited, often, wait))
        })?;
        let ParsedHandshake { token, handshake } = self
            .handshake
            .read(auth, socket.req_parts())
            .map_err(|error| ConnectError::from(&error))?;
        let settings = self.tenant.settings();
        self.check_parser(settings.parser, transport.encoding(), address)?;
        let verified = settings.authenticator.verify_fresh(&token, now_ms()).await;
        let identity = verified.map_err(|error| self.token_error(address, &error))?;
        if self.sessions.len() >= self.connections {
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
        let id = ConnectionId::of_socket(socket.id.as_str());
        let from = address.map(|address| address.to_string());
        tracing::debug!(tenant = %self.tenant.id(), connection = %id, user = %identity.user(), address = from, "connected");
        let connection = Connection::new(id, Arc::new(identity), Box::new(sink));
        let connection = Arc::new(connection.with_handshake(handshake));
        let session = Session::new(self.tenant.clone(), connection, self.services.clone(), permit);
        let key = (socket.id, self.tenant.id().clone());
        self.sessions.add(key.clone(), session.clone());
        // What is decided from here on finds the session. What was decided while the token was being verified, which
        // may have waited for a key set, did not.
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
        self.services.metrics.connected.inc();
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

    /// Whether anybody is let in now.
    fn check_accepting(&self, transport: &SessionHandle) -> Result<(), ConnectError> {
        let closed = |code, why: &'static str| {
            self.sessions.metrics.refused.closed.inc();
            Err((&EventError::new(code, why)).into())
        };
        if self.services.draining.load(Ordering::Relaxed) || self.services.leaving.load(Ordering::Relaxed) {
            // A client that is refused does not try again; one whose transport ends does.
            transport.abort();
            return closed(Code::Unavailable, "the server is shutting down");
        }
        if self.tenant.is_suspended() {
            return closed(Code::Denied, "the tenant is suspended");
        }
        Ok(())
    }

    /// Whether the client writes packets as the tenant's clients do. The refusal goes out as the client writes, so that it
    /// is understood and the client does not try again.
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
        self.services.metrics.refused.token.inc();
        self.log_refusal(&self.log.token, address, why);
        ConnectError(why.to_string())
    }

    fn log_refusal(&self, throttle: &LogThrottle, address: Option<ClientAddress>, why: &dyn fmt::Display) {
        if let Some(left_out) = throttle.pass() {
            let address = address.map(|address| address.to_string());
            tracing::info!(tenant = %self.tenant.id(), address, left_out, "a connection was refused: {why}");
        }
    }
}
