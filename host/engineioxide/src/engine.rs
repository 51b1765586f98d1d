//! The engine: opens, finds and ends sessions, and handles their packets.

use std::collections::HashMap;
use std::sync::Arc;
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
use crate::heartbeat::heartbeat;
use crate::payload::{self, SEPARATOR};
use crate::request::Secret;
use crate::session::{CloseKind, Session, SessionHandle, TransportGuard};
use crate::socket::{CONNECT, DisconnectReason, Sid, Socket};
use crate::translate::{Encoding, Translator};
use crate::websocket::{NORMAL_CLOSURE, PacketOutcome, WebSocket};

/// The packet type of Socket.IO's DISCONNECT, with which a client leaves a namespace (Socket.IO protocol 5).
const DISCONNECT: u8 = b'1';
/// The packet types of events, and of those and acknowledgements that attachments follow.
const EVENT: u8 = b'2';
const BINARY_EVENT: u8 = b'5';
const BINARY_ACK: u8 = b'6';

pub(crate) struct Engine<H: EngineIoHandler> {
    pub(crate) config: EngineIoConfig,
    handler: Arc<H>,
    sessions: Mutex<HashMap<Secret, Arc<Socket<H::Data>>>>,
    /// Sessions that ended between two polls, until the next poll tells their clients.
    awaiting_final_poll: Mutex<HashMap<Secret, Arc<Session>>>,
}

/// How long a session that has ended waits for its final poll. A client takes less time between two polls.
const FINAL_POLL_TIME: Duration = Duration::from_secs(5);

/// A new session with its OPEN packet.
pub(crate) type NewSession<D> = (Arc<Socket<D>>, String);

/// Why a session is not opened.
pub(crate) enum OpenError {
    Refused(Refusal),
    /// The system's random number generator failed.
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

    /// Keeps a session that has ended until its client polls, but at most for [`FINAL_POLL_TIME`].
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

    /// Takes a session that has ended and still waits for its final poll.
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

    /// The size limits of the client's WebSocket messages. They are lower while the session is unauthenticated.
    pub(crate) fn sizes(&self, session: &Session) -> SizeLimits {
        let most = if session.is_unauthenticated() {
            session.limits().unauthenticated_bytes
        } else {
            usize::MAX
        };
        SizeLimits {
            message: self.config.ws_max_message_size.min(most),
            frame: self.config.ws_max_frame_size.min(most),
            is_admitted: !session.is_unauthenticated(),
        }
    }

    /// The size limit of the client's request bodies. It is lower while the session is unauthenticated.
    pub(crate) fn body_size(&self, session: &Session) -> usize {
        let most = if session.is_unauthenticated() {
            session.limits().unauthenticated_bytes
        } else {
            usize::MAX
        };
        usize::try_from(self.config.max_payload).unwrap_or(usize::MAX).min(most)
    }

    /// Handles the packets of a request body, up to the first one that is not valid Engine.IO.
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

    /// Handles one text packet. `keep` makes an owned message of the part after the packet's type.
    fn handle_text(
        &self,
        socket: &Arc<Socket<H::Data>>,
        packet: &str,
        keep: impl FnOnce(&str) -> Str,
    ) -> PacketOutcome {
        let Some((kind, rest)) = packet.split_at_checked(1) else {
            return PacketOutcome::Invalid;
        };
        if !matches!(kind, "4" | "b") && !socket.session.may_send_other(packet.len(), Instant::now()) {
            return PacketOutcome::Invalid;
        }
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
            // These types mean nothing from a client at this point. Node's server ignores them too.
            "0" | "5" | "6" => PacketOutcome::Accepted,
            _ => PacketOutcome::Invalid,
        }
    }

    /// Handles the text of a Socket.IO packet. Its attachments follow as binary messages.
    fn handle_packet(
        &self,
        socket: &Arc<Socket<H::Data>>,
        packet: &str,
        keep: impl FnOnce(&str) -> Str,
    ) -> PacketOutcome {
        let kind = packet.as_bytes().first();
        let is_known_above = match kind {
            Some(&CONNECT) => true,
            Some(&(EVENT | BINARY_EVENT)) => socket.session.is_in_namespace(namespace_of(packet)),
            _ => false,
        };
        if !is_known_above && !socket.session.may_send_other(packet.len(), Instant::now()) {
            return PacketOutcome::Invalid;
        }
        if socket.session.is_unauthenticated() || kind == Some(&CONNECT) {
            match kind {
                // It waits until it is answered, so it is never larger than before the first one.
                Some(&CONNECT) if packet.len() > socket.session.limits().unauthenticated_bytes => {
                    return PacketOutcome::Invalid;
                }
                Some(&CONNECT) if socket.session.may_connect(Instant::now()) => {}
                Some(&DISCONNECT) => {}
                // Node's server also closes the session of a client that sends to a namespace that it is not in.
                other => {
                    let known = other.is_some_and(u8::is_ascii_digit);
                    if let Some(translator) = socket.session.translator().filter(|_| !known) {
                        translator.report_unknown();
                    }
                    return PacketOutcome::Invalid;
                }
            }
        }
        if let Some(&(BINARY_EVENT | BINARY_ACK)) = kind {
            let count = packet.get(1..).and_then(|rest| rest.split('-').next()?.parse().ok());
            let now = Instant::now();
            socket
                .session
                .expect_attachments(count.unwrap_or(0), is_known_above, now);
        }
        if kind == Some(&DISCONNECT) {
            // The client does not want the answer any more.
            socket.session.connect_answered(namespace_of(packet));
        }
        let packet = keep(packet);
        if kind == Some(&CONNECT) && !socket.session.is_unauthenticated() {
            self.retry_connect(socket, packet.clone());
        }
        self.handler.on_message(packet, socket.clone());
        PacketOutcome::Accepted
    }

    /// Passes a CONNECT on again until it is answered, if the client was in a namespace before.
    ///
    /// socketioxide ignores a CONNECT while the task of the client's previous CONNECT still runs, and the client would
    /// wait forever.
    fn retry_connect(&self, socket: &Arc<Socket<H::Data>>, packet: Str) {
        let Some(number) = socket.session.begin_connect_retry(namespace_of(&packet)) else {
            return;
        };
        let (handler, socket) = (self.handler.clone(), socket.clone());
        tokio::spawn(async move {
            for pause in CONNECT_RETRIES {
                tokio::time::sleep(pause).await;
                if socket.session.ended().is_some() || !socket.session.is_connect_unanswered(number) {
                    break;
                }
                // It would break off a packet whose attachments are still to come.
                if !socket.session.lacks_attachments(Duration::ZERO, Instant::now()) {
                    handler.on_message(packet.clone(), socket.clone());
                }
            }
            socket.session.end_connect_retry(number);
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
                    if !session.attachment_came(attachment.len(), Instant::now()) {
                        return PacketOutcome::Invalid;
                    }
                    self.handler.on_binary(attachment, socket.clone());
                }
                PacketOutcome::Accepted
            }
            // A binary message is an attachment of an event, which needs a namespace.
            _ if session.is_unauthenticated() => PacketOutcome::Invalid,
            _ if !session.attachment_came(bytes.len(), Instant::now()) => PacketOutcome::Invalid,
            _ => {
                self.handler.on_binary(bytes, socket.clone());
                PacketOutcome::Accepted
            }
        }
    }

    /// Runs a new session over a WebSocket until it ends.
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
        // Takes effect only if nothing else has ended the session: the transport is gone.
        session.close(CloseKind::Aborted, DisconnectReason::TransportClose);
        drop(running);
    }

    /// Closes the WebSocket of an upgrade that the session cannot take: it has a WebSocket or is upgrading already.
    pub(crate) async fn reject_websocket<S>(self: Arc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        WebSocket::new(stream, &self.config, None).close(NORMAL_CLOSURE).await;
    }

    /// Upgrades a session from polling to a WebSocket (Engine.IO protocol, "Upgrade"). If the WebSocket fails before
    /// the client's UPGRADE packet, the session stays with polling.
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

/// The namespace of a packet, from its text.
pub(crate) fn namespace_of(packet: &str) -> &str {
    // Before it are the packet's type and the number of attachments.
    let rest = packet.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '-');
    match rest.split(',').next() {
        Some(namespace) if rest.starts_with('/') => namespace,
        _ => "/",
    }
}

/// The pauses before a CONNECT without an answer is passed on again. socketioxide ignores it if the first one is still
/// being handled.
const CONNECT_RETRIES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(2),
];

fn new_secret() -> Option<Secret> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    payload::encode_secret(bytes)
}

/// Copies the request that opens a session, and moves its extensions. The original's strings are slices of the
/// connection's read buffer, which they would keep in memory as long as the session lives.
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
    // A handle to the request's connection, which the session must not keep.
    request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    request.into_parts().0
}
