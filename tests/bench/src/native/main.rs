//! A native chat server: socketioxide, axum, messages in memory. It handles the client events of `node/server.mjs` as
//! such a server is commonly written, so that `make bench` shows what the sandbox and the disk cost Parlance.
//!
//! The workspace replaces the crates engineioxide and socketioxide-parser-common by its own (`[patch]` in the top
//! `Cargo.toml`), so this server has Parlance's Engine.IO and its JSON, and the published socketioxide.
//!
//! Environment: `JWT_SECRET` (required, HS256), `PORT` (default 3000; 0 lets the system choose).

mod store;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::socket::Sid;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::store::{Message, Store, now};

/// The most bytes of a message's content.
const MAX_CONTENT: usize = 16 * 1024;
/// The most messages of a page.
const PAGE: usize = 50;
/// Packets that may wait for one client. A broadcast drops what exceeds it, which the default of 128 does under load.
const CLIENT_QUEUE: usize = 16 * 1024;

/// The user of a connection, from its token.
#[derive(Debug, Clone, Deserialize)]
struct User {
    #[serde(rename = "sub", alias = "id")]
    id: String,
    #[serde(default, alias = "username")]
    name: Option<String>,
}

/// What the client sends with CONNECT.
#[derive(Debug, Deserialize)]
struct Credentials {
    token: String,
}

/// State that all connections share.
#[derive(Default)]
struct State {
    store: Store,
    /// Users of verified connections whose handlers are not registered yet.
    verified: Mutex<HashMap<Sid, User>>,
}

/// The state that a connection's handlers need.
struct Session {
    state: Arc<State>,
    user: User,
}

/// The arguments of `join-room`.
#[derive(Deserialize)]
struct Join(String, #[serde(default)] Missed);

#[derive(Default, Deserialize)]
struct Missed {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    last: Option<usize>,
}

/// The argument of `send-message`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Post {
    room_id: String,
    content: String,
    #[serde(default)]
    metadata: Option<Value>,
}

/// The arguments of `typing`.
#[derive(Deserialize)]
struct Typing(String, #[serde(default = "yes")] bool);

fn yes() -> bool {
    true
}

/// The argument of `history`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct History {
    room_id: String,
    #[serde(default)]
    after: u64,
    #[serde(default)]
    before: Option<u64>,
    #[serde(default)]
    limit: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seq: Option<u64>,
    messages: Vec<Arc<Message>>,
    complete: bool,
}

/// An answer to a client: the acknowledgement's argument, or why the event is refused.
type Answer<T = Value> = Result<T, Refusal>;

/// A code and a text.
type Refusal = (&'static str, &'static str);

const NOT_JOINED: Refusal = ("denied", "join the room first");

#[tokio::main]
async fn main() -> Result<()> {
    let secret = std::env::var("JWT_SECRET").context("JWT_SECRET is not set")?;
    let port: u16 = match std::env::var("PORT") {
        Ok(port) => port.parse().context("PORT is not a number")?,
        Err(_) => 3000,
    };

    let (layer, io) = SocketIo::builder().max_buffer_size(CLIENT_QUEUE).build_layer();
    let state = Arc::new(State::default());
    let key = DecodingKey::from_secret(secret.as_bytes());
    let authenticate = {
        let state = Arc::clone(&state);
        move |socket: SocketRef, Data(credentials): Data<Credentials>| {
            let verified = jsonwebtoken::decode::<User>(credentials.token, &key, &Validation::new(Algorithm::HS256));
            let registered = verified.map(|token| drop(state.verified.lock().insert(socket.id, token.claims)));
            std::future::ready(registered)
        }
    };
    let connect = move |socket: SocketRef| {
        let user = state.verified.lock().remove(&socket.id);
        if let Some(user) = user {
            register(&socket, Arc::new(Session { state, user }));
        }
        std::future::ready(())
    };
    io.ns("/", connect.with(authenticate));

    let app = Router::new().route("/readyz", get(|| async { "ready" })).layer(layer);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|tcp| {
        // Without it, the server still works; small packets then wait.
        let _ = tcp.set_nodelay(true);
    });
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = async { axum::serve(listener, app).await } => served?,
        _ = terminate.recv() => io.close().await,
    }
    Ok(())
}

/// Registers the handlers of a connection.
fn register(socket: &SocketRef, session: Arc<Session>) {
    socket.on("join-room", {
        let session = Arc::clone(&session);
        async move |socket: SocketRef, Data(Join(room, missed)): Data<Join>, ack: AckSender| {
            answer(&socket, ack, "join-room", session.join(&socket, room, &missed));
        }
    });
    socket.on(
        "leave-room",
        async |socket: SocketRef, Data(room): Data<String>, ack: AckSender| {
            socket.leave(room);
            answer(&socket, ack, "leave-room", Ok(json!({ "ok": true })));
        },
    );
    socket.on("send-message", {
        let session = Arc::clone(&session);
        async move |socket: SocketRef, Data(post): Data<Post>, ack: AckSender| {
            let answered = session.send(&socket, post).await;
            answer(&socket, ack, "send-message", answered);
        }
    });
    socket.on("typing", {
        let session = Arc::clone(&session);
        async move |socket: SocketRef, Data(typing): Data<Typing>, ack: AckSender| {
            let answered = session.typing(&socket, typing).await;
            answer(&socket, ack, "typing", answered);
        }
    });
    socket.on("read-message", {
        let session = Arc::clone(&session);
        async move |socket: SocketRef, Data(message): Data<String>, ack: AckSender| {
            let answered = session.read(&socket, message).await;
            answer(&socket, ack, "read-message", answered);
        }
    });
    socket.on(
        "history",
        async move |socket: SocketRef, Data(asked): Data<History>, ack: AckSender| {
            answer(&socket, ack, "history", session.history(&socket, &asked));
        },
    );
}

impl Session {
    fn join(&self, socket: &SocketRef, room: String, missed: &Missed) -> Answer<Page> {
        if room.is_empty() {
            return Err(("invalid", "roomId is missing"));
        }
        socket.join(room.clone());
        let store = &self.state.store;
        let last_seq = store.last_seq(&room);
        let messages = store.page(&room, missed.after, None, missed.last.unwrap_or(PAGE).min(PAGE));
        Ok(Page {
            ok: true,
            complete: messages.len() as u64 >= last_seq.saturating_sub(missed.after),
            last_seq: Some(last_seq),
            messages,
        })
    }

    async fn send(&self, socket: &SocketRef, post: Post) -> Answer {
        if post.content.is_empty() {
            return Err(("invalid", "content is missing"));
        }
        if post.content.len() > MAX_CONTENT {
            return Err(("too-large", "content is too long"));
        }
        if !is_in(socket, &post.room_id) {
            return Err(NOT_JOINED);
        }
        let store = &self.state.store;
        let message = store.append(post.room_id.clone(), &self.user.id, post.content, post.metadata);
        emit(socket, &post.room_id, "new-message", &*message).await;
        Ok(json!({
            "ok": true,
            "message": { "id": message.id, "seq": message.seq, "sentAt": message.sent_at },
        }))
    }

    async fn typing(&self, socket: &SocketRef, Typing(room, typing): Typing) -> Answer {
        if !is_in(socket, &room) {
            return Err(NOT_JOINED);
        }
        let event = json!({
            "roomId": room,
            "userId": self.user.id,
            "username": self.user.name,
            "typing": typing,
        });
        // A client whose queue is full loses the event, and the load generator finds that out.
        let _ = socket.to(room).emit("user-typing", &event).await;
        Ok(json!({ "ok": true }))
    }

    async fn read(&self, socket: &SocketRef, message: String) -> Answer {
        let room = self.state.store.room_of(&message).filter(|room| is_in(socket, room));
        let Some(room) = room else {
            return Err(("not-found", "no such message"));
        };
        let event = json!({ "messageId": message, "roomId": room, "userId": self.user.id, "readAt": now() });
        emit(socket, &room, "message-read", &event).await;
        Ok(json!({ "ok": true }))
    }

    fn history(&self, socket: &SocketRef, asked: &History) -> Answer<Page> {
        if !is_in(socket, &asked.room_id) {
            return Err(NOT_JOINED);
        }
        let limit = asked.limit.unwrap_or(PAGE).min(PAGE);
        let messages = self.state.store.page(&asked.room_id, asked.after, asked.before, limit);
        Ok(Page {
            ok: true,
            last_seq: None,
            complete: messages.first().is_none_or(|first| first.seq == asked.after + 1),
            messages,
        })
    }
}

fn is_in(socket: &SocketRef, room: &str) -> bool {
    socket.rooms().iter().any(|joined| joined == room)
}

/// Emits to all members of the room, the sender included.
async fn emit(socket: &SocketRef, room: &str, event: &str, data: &impl Serialize) {
    // A client whose queue is full loses the event, and the load generator finds that out.
    let _ = socket.within(room.to_owned()).emit(event, data).await;
}

fn answer(socket: &SocketRef, ack: AckSender, event: &str, answered: Answer<impl Serialize>) {
    match answered {
        // The client may be gone by now.
        Ok(value) => drop(ack.send(&value)),
        Err((code, message)) => refuse(socket, ack, event, code, message),
    }
}

/// Reports a refusal in the acknowledgement, and as `error-event` for clients that wait for none.
fn refuse(socket: &SocketRef, ack: AckSender, event: &str, code: &str, message: &str) {
    let error = json!({ "code": code, "message": message, "retryable": false });
    let _ = ack.send(&json!({ "ok": false, "error": error }));
    let _ = socket.emit(
        "error-event",
        &json!({ "event": event, "code": code, "message": message }),
    );
}
