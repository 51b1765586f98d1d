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
use crate::frame::{Message, Sizes};
use crate::handler::EngineIoHandler;
use crate::payload::{self, SEPARATOR};
use crate::request::Secret;
use crate::session::{Ended, Running, Session, SessionHandle};
use crate::socket::{CONNECT, DisconnectReason, Sid, Socket};
use crate::translate::{Encoding, Translator};
use crate::websocket::{NORMAL, Taken, WebSocket};

/// The type of a Socket.IO packet with which a client leaves a namespace (Socket.IO protocol 5, DISCONNECT).
const DISCONNECT: u8 = b'1';

pub(crate) struct Engine<H: EngineIoHandler> {
    pub(crate) config: EngineIoConfig,
    handler: Arc<H>,
    sessions: Mutex<HashMap<Secret, Arc<Socket<H::Data>>>>,
    /// Sessions that have ended and of which the next poll is to be told.
    departing: Mutex<HashMap<Secret, Arc<Session>>>,
}

/// How long a session that has ended waits for a poll: longer than a client takes from one to the next.
const FAREWELL: Duration = Duration::from_secs(5);

/// A session, and the packet that tells its client so.
pub(crate) type Opened<D> = (Arc<Socket<D>>, String);

/// What the server refuses or cannot do.
pub(crate) enum NotOpened {
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
            departing: Mutex::default(),
        })
    }

    pub(crate) fn find(&self, secret: &Secret) -> Option<Arc<Socket<H::Data>>> {
        self.sessions.lock().get(secret).cloned()
    }

    /// Keeps a session that has ended until a poll asks for it, for a while.
    fn keep_for_a_poll(self: Arc<Self>, secret: Secret, session: Arc<Session>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return session.dismiss();
        };
        self.departing.lock().insert(secret, session);
        runtime.spawn(async move {
            tokio::time::sleep(FAREWELL).await;
            if let Some(session) = self.take_departing(&secret) {
                session.dismiss();
            }
        });
    }

    /// A session that has ended and of which no poll has been told.
    pub(crate) fn take_departing(&self, secret: &Secret) -> Option<Arc<Session>> {
        self.departing.lock().remove(secret)
    }

    /// Opens a session.
    pub(crate) fn open(
        self: &Arc<Self>,
        parts: &mut Parts,
        transport: TransportType,
    ) -> Result<Opened<H::Data>, NotOpened> {
        let place = match parts.extensions.get::<Arc<Admission>>() {
            Some(admission) => {
                let address = parts.extensions.get::<PeerAddress>().copied();
                Some(admission.admit(address, Instant::now()).map_err(NotOpened::Refused)?)
            }
            None => None,
        };
        let secret = new_secret().ok_or(NotOpened::NoSecret)?;
        let translator = parts.extensions.get::<Translator>().cloned();
        let session = Arc::new(Session::new(transport, place, translator, self.config.max_buffer_size));
        let mut req_parts = copied(parts);
        req_parts.extensions.insert(SessionHandle(session.clone()));
        let socket = Arc::new(Socket {
            id: Sid::new(),
            protocol: ProtocolVersion::V4,
            data: H::Data::default(),
            req_parts,
            session: session.clone(),
        });
        let engine = Arc::downgrade(self);
        session.when_closed(Box::new(move |reason| {
            let Some(engine) = engine.upgrade() else { return };
            let socket = engine.find(&secret);
            if let Some(socket) = socket {
                if socket.session.has_farewell() {
                    engine.clone().keep_for_a_poll(secret, socket.session.clone());
                }
                engine.sessions.lock().remove(&secret);
                engine.handler.on_disconnect(socket, reason);
            }
        }));
        self.sessions.lock().insert(secret, socket.clone());
        let now = Instant::now();
        tokio::spawn(beat(session, now, self.config.ping_interval, self.config.ping_timeout));
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
    pub(crate) fn sizes(&self, session: &Session) -> Sizes {
        let most = if session.is_waiting() {
            session.limits().waiting_bytes
        } else {
            usize::MAX
        };
        Sizes {
            message: self.config.ws_max_message_size.min(most),
            frame: self.config.ws_max_frame_size.min(most),
        }
    }

    /// The largest body that the session may send now.
    pub(crate) fn body_size(&self, session: &Session) -> usize {
        let most = if session.is_waiting() {
            session.limits().waiting_bytes
        } else {
            usize::MAX
        };
        usize::try_from(self.config.max_payload).unwrap_or(usize::MAX).min(most)
    }

    /// Takes the packets of a request's body. The session ends at one that is not Engine.IO.
    pub(crate) fn take_payload(&self, socket: &Arc<Socket<H::Data>>, body: &str) -> Taken {
        for (n, packet) in body.split(SEPARATOR).enumerate() {
            if n >= socket.session.limits().payload_packets {
                return Taken::Bad;
            }
            if socket.session.ended().is_some() {
                break;
            }
            if let Taken::Bad = self.take_text(socket, packet, Str::copy_from_slice) {
                return Taken::Bad;
            }
        }
        Taken::Goes
    }

    /// Takes one packet as text; `keep` makes a message of what follows its type.
    fn take_text(&self, socket: &Arc<Socket<H::Data>>, packet: &str, keep: impl FnOnce(&str) -> Str) -> Taken {
        let Some((kind, rest)) = packet.split_at_checked(1) else {
            return Taken::Bad;
        };
        match kind {
            "4" => {
                match socket.session.encoding() {
                    Encoding::Undecided => socket.session.set_encoding(Encoding::Default),
                    Encoding::Default => {}
                    Encoding::Translated => return Taken::Bad,
                }
                self.take_packet(socket, rest, keep)
            }
            "3" => {
                socket.session.pong.notify_waiters();
                Taken::Goes
            }
            "b" => match payload::decode_binary(rest) {
                Some(bytes) => self.take_binary(socket, bytes),
                None => Taken::Bad,
            },
            "1" => {
                let session = &socket.session;
                session.close_with_farewell(Ended::Client, DisconnectReason::TransportClose);
                Taken::Goes
            }
            // Without a meaning where they come; ignored as Node's server does.
            "0" | "5" | "6" => Taken::Goes,
            _ => Taken::Bad,
        }
    }

    /// Takes a Socket.IO packet, its attachments excepted.
    fn take_packet(&self, socket: &Arc<Socket<H::Data>>, packet: &str, keep: impl FnOnce(&str) -> Str) -> Taken {
        let kind = packet.as_bytes().first();
        if socket.session.is_waiting() || kind == Some(&CONNECT) {
            match kind {
                Some(&CONNECT) if socket.session.may_connect(Instant::now()) => {}
                Some(&DISCONNECT) => {}
                // Node's server closes too when a client speaks in a namespace that it is not in.
                other => {
                    let known = other.is_some_and(u8::is_ascii_digit);
                    if let Some(translator) = socket.session.translator().filter(|_| !known) {
                        translator.unknown();
                    }
                    return Taken::Bad;
                }
            }
        }
        let packet = keep(packet);
        if kind == Some(&CONNECT) && !socket.session.is_waiting() {
            self.ask_again(socket, packet.clone());
        }
        self.handler.on_message(packet, socket.clone());
        Taken::Goes
    }

    /// Passes a CONNECT of a client that was in a namespace before on again, until it is answered: socketioxide passes over
    /// one that comes before the task of the client's CONNECT before it has quite ended, and the client would wait for
    /// ever.
    fn ask_again(&self, socket: &Arc<Socket<H::Data>>, packet: Str) {
        socket.session.asks.store(true, Ordering::Release);
        let (handler, socket) = (self.handler.clone(), socket.clone());
        tokio::spawn(async move {
            for pause in ASK_AGAIN {
                tokio::time::sleep(pause).await;
                if socket.session.ended().is_some() || !socket.session.asks.load(Ordering::Acquire) {
                    return;
                }
                handler.on_message(packet.clone(), socket.clone());
            }
        });
    }

    fn take_binary(&self, socket: &Arc<Socket<H::Data>>, bytes: Bytes) -> Taken {
        let session = &socket.session;
        match (session.encoding(), session.translator()) {
            (Encoding::Undecided | Encoding::Translated, Some(translator)) => {
                let Some((packet, attachments)) = translator.read(bytes) else {
                    if session.encoding() == Encoding::Undecided {
                        translator.unknown();
                    }
                    return Taken::Bad;
                };
                session.set_encoding(Encoding::Translated);
                if let Taken::Bad = self.take_packet(socket, &packet, Str::copy_from_slice) {
                    return Taken::Bad;
                }
                for attachment in attachments {
                    self.handler.on_binary(attachment, socket.clone());
                }
                Taken::Goes
            }
            // A binary message belongs to an event, which needs a namespace.
            _ if session.is_waiting() => Taken::Bad,
            _ => {
                self.handler.on_binary(bytes, socket.clone());
                Taken::Goes
            }
        }
    }

    /// Carries a new session over a WebSocket until it ends.
    pub(crate) async fn carry_new<S>(
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
            socket.session.close(Ended::Aborted, DisconnectReason::TransportError);
            return;
        }
        self.carry(socket, websocket, running).await;
    }

    async fn carry<S>(self: Arc<Self>, socket: Arc<Socket<H::Data>>, websocket: WebSocket<S>, running: Running)
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
                self.take_text(&socket, &packet, move |_| rest.slice(1..))
            }
            Message::Binary(bytes) => self.take_binary(&socket, bytes),
            Message::Ping(_) | Message::Pong | Message::Close(_) => Taken::Goes,
        };
        websocket.carry(&session, sizes, small, take).await;
        // The last word where none was said: the transport is gone.
        session.close(Ended::Aborted, DisconnectReason::TransportClose);
        drop(running);
    }

    /// Closes a WebSocket for a session that has one, or has one on its way.
    pub(crate) async fn turn_away<S>(self: Arc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        WebSocket::new(stream, &self.config, None).close(NORMAL).await;
    }

    /// Lets a WebSocket take over from polling (Engine.IO protocol, "Upgrade"). Until the client's last word a WebSocket
    /// that fails leaves the session as it was.
    pub(crate) async fn carry_upgrade<S>(
        self: Arc<Self>,
        socket: Arc<Socket<H::Data>>,
        upgrading: Running,
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
            if websocket.first_text(sizes, time).await? != "2probe" {
                return None;
            }
            websocket.send_text(b'3', "probe", time).await?;
            session.set_probed();
            (websocket.first_text(sizes, time).await? == "5").then_some(())
        };
        let ready = tokio::select! {
            ready = ready => ready,
            () = session.end() => None,
        };
        if ready.is_none() {
            drop(upgrading);
            websocket.close(NORMAL).await;
            return;
        }
        let Some(running) = session.begin_websocket() else {
            return;
        };
        session.set_websocket();
        drop(upgrading);
        self.carry(socket, websocket, running).await;
    }
}

/// When a CONNECT that is not answered is passed on again. One that is still being decided is passed over.
const ASK_AGAIN: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(2),
];

/// By how much a timer may be late without more time for the client, whose own clock is not late.
const TIMER_LATE: Duration = Duration::from_millis(10);

/// Asks a client for a sign of life, until it gives none (Engine.IO protocol, "Heartbeat").
async fn beat(session: Arc<Session>, mut since: Instant, interval: Duration, timeout: Duration) {
    loop {
        let due = since + interval;
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = session.end() => return,
        }
        // A machine that stood still gives its clients the whole time.
        let asked = if due.elapsed() < TIMER_LATE {
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
                return session.close(Ended::Aborted, DisconnectReason::HeartbeatTimeout);
            }
            () = session.end() => return,
        }
        since = Instant::now();
    }
}

fn new_secret() -> Option<Secret> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    payload::letters(bytes)
}

/// The request that opens a session, in memory of its own: its texts are slices of the buffer of the connection that it
/// came over, which would stay as long as the session.
fn copied(parts: &mut Parts) -> Parts {
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
