//! A minimal Socket.IO client over a WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::packet::{self, Incoming};

/// How long a server may take over one step of a connection.
const STEP: Duration = Duration::from_secs(30);
/// Bytes of the read buffer: about thirty deliveries. It is zeroed at each read, and each of 5,000 connections has one.
const READ_BUFFER: usize = 8 * 1024;
/// Lifetime of a token, in seconds: longer than any run.
const TOKEN_LIFETIME: u64 = 6 * 3600;

/// The WebSocket under a connection.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// The claims of a token, which the usual server and Parlance both understand.
#[derive(Serialize)]
struct Claims {
    sub: String,
    name: String,
    iat: u64,
    exp: u64,
}

/// The id of the user with this number.
pub(crate) fn user(number: u16) -> String {
    format!("bench-{number}")
}

/// A token for the user with this number.
pub(crate) fn token(user: u16, secret: &str) -> Result<String> {
    let iat = jsonwebtoken::get_current_timestamp();
    let claims = Claims {
        sub: self::user(user),
        name: format!("Bench {user}"),
        iat,
        exp: iat + TOKEN_LIFETIME,
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).context("a token could not be signed")
}

/// Connects over a WebSocket and authenticates on the namespace: `/`, or `/NAME` of another tenant.
///
/// # Errors
/// When the server refuses, or a step takes longer than half a minute.
pub(crate) async fn connect(address: SocketAddr, namespace: &str, token: &str) -> Result<Socket> {
    let tcp = timeout(STEP, TcpStream::connect(address)).await.context("connect")??;
    tcp.set_nodelay(true)?;
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let upgrade = client_async_with_config(url, tcp, Some(config));
    let (mut socket, _) = timeout(STEP, upgrade).await.context("WebSocket handshake")??;
    // Engine.IO's open packet comes first; then the client connects to the namespace.
    expect(&mut socket, "0").await.context("Engine.IO handshake")?;
    socket.send(Message::text(packet::connect(namespace, token))).await?;
    expect(&mut socket, "40").await.context("Socket.IO handshake")?;
    Ok(socket)
}

/// Joins a room and waits for the acknowledgement.
pub(crate) async fn join(socket: &mut Socket, namespace: &str, room: &str) -> Result<()> {
    socket.send(Message::text(packet::join(namespace, room))).await?;
    let joined = expect(socket, "43").await;
    joined.map(drop).with_context(|| format!("join-room {room}"))
}

/// Posts a message in a tenant's namespace and waits for the acknowledgement.
pub(crate) async fn post(socket: &mut Socket, namespace: &str, room: &str, content: &str) -> Result<()> {
    let message = serde_json::json!(["send-message", { "roomId": room, "content": content }]);
    let posted = ask(socket, format!("42{namespace},0{message}")).await;
    posted.map(drop).with_context(|| format!("send-message to {room}"))
}

/// Sends an event and returns the packet of its acknowledgement. The connection must wait for no other one.
pub(crate) async fn ask(socket: &mut Socket, event: String) -> Result<Utf8Bytes> {
    socket.send(Message::text(event)).await?;
    expect(socket, "43").await
}

/// Waits for a packet that begins with `prefix`, and answers pings meanwhile.
async fn expect(socket: &mut Socket, prefix: &str) -> Result<Utf8Bytes> {
    loop {
        let next = timeout(STEP, socket.next()).await.context("no answer")?;
        let message = next.context("the server closed the connection")??;
        let Message::Text(text) = message else { continue };
        match packet::read(&text) {
            Incoming::Ping => socket.send(Message::text(packet::PONG)).await?,
            Incoming::Refused(packet) => bail!("refused: {packet}"),
            _ if text.starts_with(prefix) => return Ok(text),
            // For example the presence of users who join.
            _ => {}
        }
    }
}
