//! All sessions: how they are opened, found and ended, and what becomes of each packet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engineioxide_core::{ProtocolVersion, Str, TransportType};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Uri};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::admission::{Admission, PeerAddress, Refusal};
use crate::config::EngineIoConfig;
use crate::deflate::Deflate;
use crate::frame::{Message, SizeLimits};
use crate::handler::EngineIoHandler;
use crate::payload::{self, SEPARATOR};
use crate::request::Secret;
use crate::session::{CloseKind, Session, SessionHandle, TransportGuard};
use crate::socket::{CONNECT, DisconnectReason, Sid, Socket};
use crate::translate::{Encoding, Translator};
use crate::websocket::{NORMAL_CLOSURE, PacketOutcome, WebSocket};

/// The type of a Socket.IO packet with which a client leaves a namespace (Socket.IO protocol 5, DISCONNECT).
const DISCONNECT: u8 = b'1';

pub(crate) struct Engine<H: EngineIoHandler> {
    pub(crate) config: EngineIoConfig,
    handler: Arc<H>,
    sessions: Mutex<HashMap<Secret, Arc<Socket<H::Data>>>>,
    /// Sessions that have ended and of which the next poll is to be told.
    awaiting_final_poll: Mutex<HashMap<Secret, Arc<Session>>>,
}

/// How long a session that has ended waits for a poll: longer than a client takes from one to the next.
const FINAL_POLL_TIME: Duration = Duration::from_secs(5);

/// A session, and the packet that tells its client so.
pub(crate) type NewSession<D> = (Arc<Socket<D>>, String);

/// What the server refuses or cannot do.
pub(crate) enum OpenError {
    Refused(Refusal),
    /// The system has no random bytes.
    NoSecret,
}

impl<H: EngineIoHandler> Engine<H> {
    pub(crate) fn new(handler: Arc<H>, config: EngineIoConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            handler,
            sessions: Mutex::default(),
            awaiting_final_poll: Mutex::default(),
        })
    }

    pub(crate) fn find(&self, secret: &Secret) -> Option<Arc<Socket<H::Data>>> {
        self.sessions.lock().get(secret).cloned()
    }

    /// Keeps a session that has ended until a poll asks for it, for a while.
    fn keep_for_final_poll(self: Arc<Self>, secret: Secret, session: Arc<Session>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return session.discard();
        };
        self.awaiting_final_poll.lock().insert(secret, session);
        runtime.spawn(async move {
            tokio::time::sleep(FINAL_POLL_TIME).await;
            if let Some(session) = self.take_awaiting_final_poll(&secret) {
                session.discard();
            }
        });
    }

    /// A session that has ended and of which no poll has been told.
    pub(crate) fn take_awaiting_final_poll(&self, secret: &Secret) -> Option<Arc<Session>> {
        self.awaiting_final_poll.lock().remove(secret)
    }

    /// Opens a session.
    pub(crate) fn open(
        self: &Arc<Self>,
        parts: &mut Parts,
        transport: TransportType,
    ) -> Result<NewSession<H::Data>, OpenError> {
        let permit = match parts.extensions.get::<Arc<Admission>>() {
            Some(admission) => {
                let address = parts.extensions.get::<PeerAddress>().copied();
                Some(admission.admit(address, Instant::now()).map_err(OpenError::Refused)?)
            }
            None => None,
        };
        let secret = new_secret().ok_or(OpenError::NoSecret)?;
        let translator = parts.extensions.get::<Translator>().cloned();
        let session = Arc::new(Session::new(transport, permit, translator, self.config.max_buffer_size));
        let mut req_parts = owned_parts(parts);
        req_parts.extensions.insert(SessionHandle(session.clone()));
        let socket = Arc::new(Socket {
            id: Sid::new(),
            protocol: ProtocolVersion::V4,
            data: H::Data::default(),
            req_parts,
            session: session.clone(),
        });
        let engine = Arc::downgrade(self);
        session.set_on_close(Box::new(move |reason| {
            let Some(engine) = engine.upgrade() else { return };
            let socket = engine.find(&secret);
            if let Some(socket) = socket {
                if socket.session.awaits_final_poll() {
                    engine.clone().keep_for_final_poll(secret, socket.session.clone());
                }
                engine.sessions.lock().remove(&secret);
                engine.handler.on_disconnect(socket, reason);
            }
        }));
        self.sessions.lock().insert(secret, socket.clone());
        let now = Instant::now();
        tokio::spawn(heartbeat(
            session,
            now,
            self.config.ping_interval,
            self.config.ping_timeout,
        ));
        self.handler.clone().on_connect(socket.clone());
        let upgrades = transport == TransportType::Polling && self.config.allowed_transport(TransportType::Websocket);
        let opened = format!(
            r#"0{{"sid":"{}","upgrades":[{}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            std::str::from_utf8(&secret).unwrap_or_default(),
            if upgrades { r#""websocket""# } else { "" },
            self.config.ping_interval.as_millis(),
            self.config.ping_timeout.as_millis(),
            self.config.max_payload,
        );
        Ok((socket, opened))
    }

    /// The largest message that the session may send now.
    pub(crate) fn sizes(&self, session: &Session) -> SizeLimits {
        let most = if session.is_unauthenticated() {
            session.limits().unauthenticated_bytes
        } else {
            usize::MAX
        };
        SizeLimits {
            message: self.config.ws_max_message_size.min(most),
            frame: self.config.ws_max_frame_size.min(most),
        }
    }

    /// The largest body that the session may send now.
    pub(crate) fn body_size(&self, session: &Session) -> usize {
        let most = if session.is_unauthenticated() {
            session.limits().unauthenticated_bytes
        } else {
            usize::MAX
        };
        usize::try_from(self.config.max_payload).unwrap_or(usize::MAX).min(most)
    }

    /// Takes the packets of a request's body. The session ends at one that is not Engine.IO.
    pub(crate) fn handle_payload(&self, socket: &Arc<Socket<H::Data>>, body: &str) -> PacketOutcome {
        for (n, packet) in body.split(SEPARATOR).enumerate() {
            if n >= socket.session.limits().payload_packets {
                return PacketOutcome::Invalid;
            }
            if socket.session.ended().is_some() {
                break;
            }
            if let PacketOutcome::Invalid = self.handle_text(socket, packet, Str::copy_from_slice) {
                return PacketOutcome::Invalid;
            }
        }
        PacketOutcome::Accepted
    }

    /// Takes one packet as text; `keep` makes a message of what follows its type.
    fn handle_text(
        &self,
        socket: &Arc<Socket<H::Data>>,
        packet: &str,
        keep: impl FnOnce(&str) -> Str,
    ) -> PacketOutcome {
        let Some((kind, rest)) = packet.split_at_checked(1) else {
            return PacketOutcome::Invalid;
        };
        match kind {
            "4" => {
                match socket.session.encoding() {
                    Encoding::Undecided => socket.session.set_encoding(Encoding::Default),
                    Encoding::Default => {}
                    Encoding::Translated => return PacketOutcome::Invalid,
                }
                self.handle_packet(socket, rest, keep)
            }
            "3" => {
                socket.session.pong.notify_waiters();
                PacketOutcome::Accepted
            }
            "b" => match payload::decode_binary(rest) {
                Some(bytes) => self.handle_binary(socket, bytes),
                None => PacketOutcome::Invalid,
            },
            "1" => {
                let session = &socket.session;
                session.close_with_final_poll(CloseKind::Client, DisconnectReason::TransportClose);
                PacketOutcome::Accepted
            }
            // Without a meaning where they come; ignored as Node's server does.
            "0" | "5" | "6" => PacketOutcome::Accepted,
            _ => PacketOutcome::Invalid,
        }
    }

    /// Takes a Socket.IO packet, its attachments excepted.
    fn handle_packet(
        &self,
        socket: &Arc<Socket<H::Data>>,
        packet: &str,
        keep: impl FnOnce(&str) -> Str,
    ) -> PacketOutcome {
        let kind = packet.as_bytes().first();
        if socket.session.is_unauthenticated() || kind == Some(&CONNECT) {
            match kind {
                Some(&CONNECT) if socket.session.may_connect(Instant::now()) => {}
                Some(&DISCONNECT) => {}
                // Node's server closes too when a client speaks in a namespace that it is not in.
                other => {
                    let known = other.is_some_and(u8::is_ascii_digit);
                    if let Some(translator) = socket.session.translator().filter(|_| !known) {
                        translator.report_unknown();
                    }
                    return PacketOutcome::Invalid;
                }
            }
        }
        let packet = keep(packet);
        if kind == Some(&CONNECT) && !socket.session.is_unauthenticated() {
            self.retry_connect(socket, packet.clone());
        }
        self.handler.on_message(packet, socket.clone());
        PacketOutcome::Accepted
    }

    /// Passes a CONNECT of a client that was in a namespace before on again, until it is answered: socketioxide passes over
    /// one that comes before the task of the client's CONNECT before it has quite ended, and the client would wait for
    /// ever.
    fn retry_connect(&self, socket: &Arc<Socket<H::Data>>, packet: Str) {
        socket.session.connect_unanswered.store(true, Ordering::Release);
        let (handler, socket) = (self.handler.clone(), socket.clone());
        tokio::spawn(async move {
            for pause in CONNECT_RETRIES {
                tokio::time::sleep(pause).await;
                if socket.session.ended().is_some() || !socket.session.connect_unanswered.load(Ordering::Acquire) {
                    return;
                }
                handler.on_message(packet.clone(), socket.clone());
            }
        });
    }

    fn handle_binary(&self, socket: &Arc<Socket<H::Data>>, bytes: Bytes) -> PacketOutcome {
        let session = &socket.session;
        match (session.encoding(), session.translator()) {
            (Encoding::Undecided | Encoding::Translated, Some(translator)) => {
                let Some((packet, attachments)) = translator.read(bytes) else {
                    if session.encoding() == Encoding::Undecided {
                        translator.report_unknown();
                    }
                    return PacketOutcome::Invalid;
                };
                session.set_encoding(Encoding::Translated);
                if let PacketOutcome::Invalid = self.handle_packet(socket, &packet, Str::copy_from_slice) {
                    return PacketOutcome::Invalid;
                }
                for attachment in attachments {
                    self.handler.on_binary(attachment, socket.clone());
                }
                PacketOutcome::Accepted
            }
            // A binary message belongs to an event, which needs a namespace.
            _ if session.is_unauthenticated() => PacketOutcome::Invalid,
            _ => {
                self.handler.on_binary(bytes, socket.clone());
                PacketOutcome::Accepted
            }
        }
    }

    /// Carries a new session over a WebSocket until it ends.
    pub(crate) async fn run_websocket<S>(
        self: Arc<Self>,
        socket: Arc<Socket<H::Data>>,
        opened: String,
        stream: S,
        deflate: Option<Deflate>,
    ) where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let mut websocket = WebSocket::new(stream, &self.config, deflate);
        let Some(running) = socket.session.begin_websocket() else {
            return;
        };
        let (kind, rest) = opened.split_at_checked(1).unwrap_or_default();
        let kind = kind.bytes().next().unwrap_or_default();
        if websocket
            .send_text(kind, rest, self.config.ping_timeout)
            .await
            .is_none()
        {
            socket
                .session
                .close(CloseKind::Aborted, DisconnectReason::TransportError);
            return;
        }
        self.run(socket, websocket, running).await;
    }

    async fn run<S>(self: Arc<Self>, socket: Arc<Socket<H::Data>>, websocket: WebSocket<S>, running: TransportGuard)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let session = socket.session.clone();
        let small = self.config.ws_read_buffer_size.max(1);
        let sizes = |session: &Session| self.sizes(session);
        let take = |message| match message {
            Message::Text(text) => {
                let packet = Str::from(text);
                let rest = packet.clone();
                self.handle_text(&socket, &packet, move |_| rest.slice(1..))
            }
            Message::Binary(bytes) => self.handle_binary(&socket, bytes),
            Message::Ping(_) | Message::Pong | Message::Close(_) => PacketOutcome::Accepted,
        };
        websocket.run(&session, sizes, small, take).await;
        // The last word where none was said: the transport is gone.
        session.close(CloseKind::Aborted, DisconnectReason::TransportClose);
        drop(running);
    }

    /// Closes a WebSocket for a session that has one, or has one on its way.
    pub(crate) async fn reject_websocket<S>(self: Arc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        WebSocket::new(stream, &self.config, None).close(NORMAL_CLOSURE).await;
    }

    /// Lets a WebSocket take over from polling (Engine.IO protocol, "Upgrade"). Until the client's last word a WebSocket
    /// that fails leaves the session as it was.
    pub(crate) async fn run_upgrade<S>(
        self: Arc<Self>,
        socket: Arc<Socket<H::Data>>,
        upgrading: TransportGuard,
        stream: S,
        deflate: Option<Deflate>,
    ) where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let session = &socket.session;
        let mut websocket = WebSocket::new(stream, &self.config, deflate);
        let ready = async {
            let time = self.config.upgrade_timeout;
            let sizes = self.sizes(session);
            if websocket.receive_text(sizes, time).await? != "2probe" {
                return None;
            }
            websocket.send_text(b'3', "probe", time).await?;
            session.set_probed();
            (websocket.receive_text(sizes, time).await? == "5").then_some(())
        };
        let ready = tokio::select! {
            ready = ready => ready,
            () = session.wait_ended() => None,
        };
        if ready.is_none() {
            drop(upgrading);
            websocket.close(NORMAL_CLOSURE).await;
            return;
        }
        let Some(running) = session.begin_websocket() else {
            return;
        };
        session.set_websocket();
        drop(upgrading);
        self.run(socket, websocket, running).await;
    }
}

/// When a CONNECT that is not answered is passed on again. One that is still being decided is passed over.
const CONNECT_RETRIES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(2),
];

/// By how much a timer may be late without more time for the client, whose own clock is not late.
const TIMER_TOLERANCE: Duration = Duration::from_millis(10);

/// Asks a client for a sign of life, until it gives none (Engine.IO protocol, "Heartbeat").
async fn heartbeat(session: Arc<Session>, mut since: Instant, interval: Duration, timeout: Duration) {
    loop {
        let due = since + interval;
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = session.wait_ended() => return,
        }
        // A machine that stood still gives its clients the whole time.
        let asked = if due.elapsed() < TIMER_TOLERANCE {
            due
        } else {
            Instant::now()
        };
        let mut pong = std::pin::pin!(session.pong.notified());
        pong.as_mut().enable();
        session.outbox.ping();
        tokio::select! {
            () = pong => {}
            () = tokio::time::sleep_until((asked + timeout).into()) => {
                return session.close(CloseKind::Aborted, DisconnectReason::HeartbeatTimeout);
            }
            () = session.wait_ended() => return,
        }
        since = Instant::now();
    }
}

fn new_secret() -> Option<Secret> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    payload::encode_secret(bytes)
}

/// The request that opens a session, in memory of its own: its texts are slices of the buffer of the connection that it
/// came over, which would stay as long as the session.
fn owned_parts(parts: &mut Parts) -> Parts {
    let mut request = http::Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = parts.version;
    if let Ok(uri) = Uri::try_from(parts.uri.to_string()) {
        *request.uri_mut() = uri;
    }
    let mut headers = HeaderMap::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        let own = (
            HeaderName::from_bytes(name.as_str().as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        );
        if let (Ok(name), Ok(value)) = own {
            headers.append(name, value);
        }
    }
    *request.headers_mut() = headers;
    *request.extensions_mut() = std::mem::take::<Extensions>(&mut parts.extensions);
    // Handles on the connection that the request came over.
    request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    request.into_parts().0
}
