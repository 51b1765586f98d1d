//! A client of the library, with a queue of all that it received.

use std::env;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::adapter::Client;
use crate::socketio::{Payload, TransportType};

/// What the library told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    Connected,
    Closed(String),
    Error(String),
    Event(String, Vec<Value>),
    Bytes(String, Vec<u8>),
}

/// An argument of an acknowledgement: the library gives text and the first attachment apart.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Json(Value),
    Bytes(Vec<u8>),
}

pub struct User {
    pub client: Client,
    inbox: Receiver<Told>,
}

/// How long to wait for anything.
pub fn patience() -> Duration {
    let seconds = env::var("PARLANCE_PATIENCE").expect("PARLANCE_PATIENCE is set");
    Duration::from_secs(seconds.parse().expect("a number of seconds"))
}

/// The room of this case.
pub fn room() -> String {
    env::var("PARLANCE_ROOM").expect("PARLANCE_ROOM is set")
}

/// The token in the environment variable `NAME_TOKEN`.
fn token_of(name: &str) -> String {
    env::var(format!("{}_TOKEN", name.to_uppercase())).expect("the token is set")
}

/// How to connect.
pub struct Options<'a> {
    pub auth: Option<Value>,
    pub namespace: &'a str,
    pub query: &'a str,
    pub transport: TransportType,
    /// Whether the library connects again by itself.
    pub again: bool,
}

impl Options<'_> {
    /// The server's address, with the query.
    pub fn url(&self) -> String {
        format!(
            "{}/{}",
            env::var("PARLANCE_URL").expect("PARLANCE_URL is set"),
            self.query
        )
    }

    /// Begins a connection. The library does not wait for the server's answer.
    pub fn begin(self) -> User {
        let (told, inbox) = channel();
        let told = Mutex::new(told);
        let tell = move |what| drop(told.lock().expect("no handler panicked").send(what));
        User {
            client: Client::begin(self, Arc::new(tell)),
            inbox,
        }
    }
}

impl User {
    /// A connected user of the main namespace.
    pub fn connect(name: &str, transport: TransportType) -> Self {
        Self::enter(name, "/", transport)
    }

    /// A connected user of a namespace, whose token is in `NAME_TOKEN`.
    pub fn enter(name: &str, namespace: &str, transport: TransportType) -> Self {
        Self::begin(name, namespace, transport, true)
    }

    /// A connected user whom the library does not connect again.
    pub fn connect_once(name: &str, transport: TransportType) -> Self {
        Self::begin(name, "/", transport, false)
    }

    fn begin(name: &str, namespace: &str, transport: TransportType, again: bool) -> Self {
        let user = Options {
            auth: Some(json!({"token": token_of(name)})),
            namespace,
            query: "",
            transport,
            again,
        }
        .begin();
        user.until(|told| *told == Told::Connected);
        user
    }

    /// The next thing told, if anything is told in time.
    pub fn next(&self, time: Duration) -> Option<Told> {
        match self.inbox.recv_timeout(time) {
            Ok(told) => Some(told),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the library dropped its handlers"),
        }
    }

    /// The next thing told that fulfils this; others before it are dropped.
    pub fn until(&self, wanted: impl Fn(&Told) -> bool) -> Told {
        let mut others = Vec::new();
        loop {
            let told = self
                .next(patience())
                .unwrap_or_else(|| panic!("waited in vain; told before: {others:?}"));
            if wanted(&told) {
                return told;
            }
            others.push(told);
        }
    }

    /// The arguments of the next event with this name.
    pub fn event(&self, name: &str) -> Vec<Value> {
        match self.until(|told| matches!(told, Told::Event(own, _) if own == name)) {
            Told::Event(_, arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    /// The bytes of the next binary event with this name.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        match self.until(|told| matches!(told, Told::Bytes(own, _) if own == name)) {
            Told::Bytes(_, bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    /// The content of the next message.
    pub fn message(&self) -> String {
        let message = self.event("new-message");
        message[0]["content"].as_str().expect("a content").to_owned()
    }

    /// Why it was closed, or what went wrong.
    pub fn closed(&self) -> String {
        match self.until(|told| matches!(told, Told::Closed(_))) {
            Told::Closed(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// What the library says of a refused connect.
    pub fn refused(&self) -> String {
        match self.until(|told| matches!(told, Told::Error(_))) {
            Told::Error(why) => why,
            other => panic!("{other:?}"),
        }
    }

    pub fn emit(&self, event: &str, payload: impl Into<Payload>) {
        self.client.emit(event, payload.into());
    }

    /// Emits; the first `parts` things that the library hands over of the acknowledgement.
    pub fn parts(&self, event: &str, arguments: Vec<Value>, parts: usize) -> Vec<Answer> {
        let (told, answers) = channel();
        let told = Mutex::new(told);
        let answered = move |answer| drop(told.lock().expect("no handler panicked").send(answer));
        self.client.ask(event, arguments.into(), Arc::new(answered));
        let next = || {
            answers
                .recv_timeout(patience())
                .unwrap_or_else(|_| panic!("no acknowledgement of {event}"))
        };
        (0..parts).map(|_| next()).collect()
    }

    /// Emits; the arguments of the acknowledgement, an array.
    pub fn ask(&self, event: &str, arguments: Vec<Value>) -> Value {
        match self.parts(event, arguments, 1).remove(0) {
            Answer::Json(value) => value,
            Answer::Bytes(bytes) => panic!("bytes: {bytes:?}"),
        }
    }

    /// Emits; the answer must have `ok`.
    pub fn must(&self, event: &str, arguments: Vec<Value>) -> Value {
        let answer = self.ask(event, arguments);
        assert_eq!(answer[0]["ok"], true, "{event}: {answer}");
        answer[0].clone()
    }

    pub fn join(&self) -> Value {
        self.must("join-room", vec![json!(room())])
    }

    pub fn post(&self, content: &str) -> Value {
        self.must("send-message", vec![draft(content)])["message"].clone()
    }
}

pub fn draft(content: &str) -> Value {
    json!({"roomId": room(), "content": content})
}
