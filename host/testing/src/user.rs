//! The test's users, and what their clients receive.

use std::sync::Arc;

use parking_lot::Mutex;
use parlance_handler::capability::HandshakeData;
use parlance_hub::{ClientSink, Outgoing, SendFailed};
use serde_json::{Map, Value};

use crate::outcome::Acknowledged;

/// A user with the claims of a token. A `&str` converts to a user with that id and no other claims.
#[derive(Debug, Clone)]
pub struct User {
    pub(crate) id: String,
    pub(crate) claims: Map<String, Value>,
    pub(crate) handshake: HandshakeData,
}

impl User {
    /// A user with this id: the claim `sub`.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            claims: Map::new(),
            handshake: HandshakeData::default(),
        }
    }

    /// Sets the display name: the claim `name`.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.claim("name", name)
    }

    /// Sets a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a field to the `auth` that the user's client sends besides its token when it connects.
    #[must_use]
    pub fn auth(mut self, name: &str, value: impl Into<Value>) -> Self {
        let mut auth: Map<String, Value> = serde_json::from_str(&self.handshake.auth).unwrap_or_default();
        auth.insert(name.to_owned(), value.into());
        self.handshake.auth = Value::Object(auth).to_string().into();
        self
    }

    /// Adds a parameter to the query of the request that opens the user's connection.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.handshake.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a header to that request, as if `server.handshake_headers` named it.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.handshake
            .headers
            .push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }
}

impl From<&str> for User {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

/// An event that a client received.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Its name.
    pub event: String,
    /// Its arguments.
    pub arguments: Vec<Value>,
    /// The attachments that placeholders in the arguments refer to.
    pub attachments: Vec<Vec<u8>>,
}

/// What was sent to one client and the test has not read yet, in order.
#[derive(Clone, Default)]
pub(crate) struct ClientInbox(Arc<Mutex<Vec<Outgoing>>>);

impl ClientSink for ClientInbox {
    fn send(&self, outgoing: Outgoing) -> Result<(), SendFailed> {
        self.0.lock().push(outgoing);
        Ok(())
    }

    fn disconnect(&self) {}

    fn hang_up(&self) {}

    fn mark_gone(&self) {}

    fn is_flushed(&self) -> bool {
        true
    }
}

impl ClientInbox {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn truncate(&self, len: usize) {
        self.0.lock().truncate(len);
    }

    /// Removes and returns the acknowledgement.
    pub(crate) fn acknowledgement(&self) -> Option<Acknowledged> {
        let mut all = self.0.lock();
        let at = all
            .iter()
            .position(|one| matches!(one, Outgoing::Acknowledgement { .. }))?;
        match all.remove(at) {
            Outgoing::Acknowledgement { text, attachments, .. } => Some(Acknowledged {
                arguments: json(&text),
                attachments: attachments.iter().map(|bytes| bytes.to_vec()).collect(),
            }),
            Outgoing::Event(_) | Outgoing::Question(..) => None,
        }
    }

    /// Removes everything and returns the events.
    pub(crate) fn events(&self) -> Vec<Received> {
        let taken = std::mem::take(&mut *self.0.lock());
        let events = taken.into_iter().filter_map(|one| match one {
            Outgoing::Event(packet) | Outgoing::Question(packet, _) => Some(packet),
            Outgoing::Acknowledgement { .. } => None,
        });
        events
            .map(|packet| {
                let mut arguments = json(&packet.text).into_iter();
                let event = arguments
                    .next()
                    .as_ref()
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned();
                let attachments = packet.attachments.iter().map(|bytes| bytes.to_vec()).collect();
                Received {
                    event,
                    arguments: arguments.collect(),
                    attachments,
                }
            })
            .collect()
    }
}

/// Parses a JSON array that the server wrote.
pub(crate) fn json(text: &[u8]) -> Vec<Value> {
    match serde_json::from_slice(text) {
        Ok(Value::Array(elements)) => elements,
        other => panic!("the server wrote something that is not a JSON array: {other:?}"),
    }
}
