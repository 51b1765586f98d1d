//! The JSON in which Node's adapters say what holds no binary.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::channels::{self, place, room_name, target};
use super::{ClientSelector, RemoteSocket};
use crate::msgpack::CodecError;
use crate::text::without_lone_surrogates;

/// The text of a message. Node writes half of a surrogate pair as an escape, which is U+FFFD here.
pub(super) fn text(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    without_lone_surrogates(&text).into_owned()
}

/// Reads a text.
pub(super) fn read<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, CodecError> {
    serde_json::from_str(text).map_err(|_| CodecError::Malformed("JSON that does not fit its type"))
}

/// Writes a message.
pub(super) fn write<T: Serialize>(message: &T) -> Result<bytes::Bytes, CodecError> {
    let written = serde_json::to_vec(message);
    written
        .map(Into::into)
        .map_err(|_| CodecError::Malformed("a value that JSON cannot hold"))
}

/// A JSON value as it is, or `None` for what is none.
pub(super) fn raw(json: &str) -> Option<&RawValue> {
    serde_json::from_str(json).ok()
}

/// A room's name, which a Node server may have as a number.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Name {
    Text(String),
    Number(serde_json::Number),
}

impl Name {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

pub(super) fn texts(names: Option<Vec<Name>>) -> Vec<String> {
    names.into_iter().flatten().map(Name::into_text).collect()
}

/// The clients of a message that is read.
#[derive(Debug, Deserialize)]
pub(super) struct Options {
    rooms: Option<Vec<Name>>,
    except: Option<Vec<Name>>,
    #[serde(default)]
    pub(super) flags: Option<Flags>,
}

/// The flags that a server heeds.
#[derive(Debug, Deserialize)]
pub(super) struct Flags {
    /// Milliseconds.
    #[serde(default)]
    pub(super) timeout: Option<f64>,
}

impl Options {
    /// The clients it is about; `None` when it does not say, which is not everybody.
    pub(super) fn clients(self) -> Option<ClientSelector> {
        Some(ClientSelector {
            to: target(&texts(Some(self.rooms?))),
            except: texts(self.except).iter().map(|room| place(room)).collect(),
        })
    }
}

/// The clients of a message that is written.
#[derive(Debug, Serialize)]
pub(super) struct Places {
    rooms: Vec<String>,
    except: Vec<String>,
}

impl Places {
    /// `None` when they are nobody, for which the wire has no word.
    pub(super) fn of(clients: &ClientSelector) -> Option<Self> {
        Some(Self {
            rooms: channels::rooms(&clients.to)?,
            except: clients.except.iter().map(room_name).collect(),
        })
    }
}

/// A socket that is read.
#[derive(Deserialize)]
pub(super) struct Socket<'r> {
    id: String,
    #[serde(borrow, default)]
    handshake: Option<&'r RawValue>,
    #[serde(default)]
    rooms: Option<Vec<Name>>,
    #[serde(borrow, default)]
    data: Option<&'r RawValue>,
}

/// Reads sockets, and passes over what is none.
pub(super) fn read_sockets(sockets: &[&RawValue]) -> Vec<RemoteSocket> {
    let read = |socket: &&RawValue| {
        let socket: Socket<'_> = serde_json::from_str(socket.get()).ok()?;
        let text = |raw: Option<&RawValue>, none: &str| raw.map_or(none, RawValue::get).to_owned();
        Some(RemoteSocket {
            id: socket.id,
            rooms: texts(socket.rooms),
            handshake: text(socket.handshake, "{}"),
            data: text(socket.data, "null"),
        })
    };
    sockets.iter().filter_map(read).collect()
}

/// A socket that is written: what is not JSON is null.
#[derive(Serialize)]
pub(super) struct SentSocket<'a> {
    id: &'a str,
    handshake: Option<&'a RawValue>,
    rooms: &'a [String],
    data: Option<&'a RawValue>,
}

impl<'a> From<&'a RemoteSocket> for SentSocket<'a> {
    fn from(socket: &'a RemoteSocket) -> Self {
        Self {
            id: &socket.id,
            handshake: raw(&socket.handshake),
            rooms: &socket.rooms,
            data: raw(&socket.data),
        }
    }
}
