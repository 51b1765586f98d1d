//! The JSON messages of Node's adapters. They use MessagePack only where there may be binary data.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::channels::{self, room_name, target, target_room};
use super::{ClientSelector, RemoteSocket};
use crate::msgpack::CodecError;
use parlance_types::text::without_lone_surrogates;

/// The text of a message. Node writes one half of a surrogate pair as an escape; here it becomes U+FFFD.
pub(super) fn text(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    without_lone_surrogates(&text).into_owned()
}

/// Parses JSON into a type.
pub(super) fn read<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, CodecError> {
    serde_json::from_str(text).map_err(|_| CodecError::Malformed("JSON that does not fit its type"))
}

/// Encodes a message as JSON.
pub(super) fn write<T: Serialize>(message: &T) -> Result<bytes::Bytes, CodecError> {
    let written = serde_json::to_vec(message);
    written
        .map(Into::into)
        .map_err(|_| CodecError::Malformed("a value that JSON cannot hold"))
}

/// A JSON value as it is. `None` if the text is not JSON.
pub(super) fn raw(json: &str) -> Option<&RawValue> {
    serde_json::from_str(json).ok()
}

/// The name of a room. Node servers may use a number.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum RoomName {
    Text(String),
    Number(serde_json::Number),
}

impl RoomName {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

pub(super) fn room_names(names: Option<Vec<RoomName>>) -> Vec<String> {
    names.into_iter().flatten().map(RoomName::into_text).collect()
}

/// `opts` of a message that was received: its clients.
#[derive(Debug, Deserialize)]
pub(super) struct ReceivedOptions {
    rooms: Option<Vec<RoomName>>,
    except: Option<Vec<RoomName>>,
    #[serde(default)]
    pub(super) flags: Option<Flags>,
}

/// The flags that servers act on.
#[derive(Debug, Deserialize)]
pub(super) struct Flags {
    /// In milliseconds.
    #[serde(default)]
    pub(super) timeout: Option<f64>,
}

impl ReceivedOptions {
    /// The clients. `None` when there is no list of rooms, which is not the same as an empty list: that means all
    /// clients.
    pub(super) fn clients(self) -> Option<ClientSelector> {
        Some(ClientSelector {
            to: target(&room_names(Some(self.rooms?))),
            except: room_names(self.except).iter().map(|room| target_room(room)).collect(),
        })
    }
}

/// `opts` of a message that is sent: its clients.
#[derive(Debug, Serialize)]
pub(super) struct SentOptions {
    rooms: Vec<String>,
    except: Vec<String>,
}

impl SentOptions {
    /// `None` when there are no rooms, which the wire cannot express.
    pub(super) fn of(clients: &ClientSelector) -> Option<Self> {
        Some(Self {
            rooms: channels::rooms(&clients.to)?,
            except: clients.except.iter().map(room_name).collect(),
        })
    }
}

/// A socket of a response that was received.
#[derive(Deserialize)]
pub(super) struct ReceivedSocket<'r> {
    id: String,
    #[serde(borrow, default)]
    handshake: Option<&'r RawValue>,
    #[serde(default)]
    rooms: Option<Vec<RoomName>>,
    #[serde(borrow, default)]
    data: Option<&'r RawValue>,
}

/// Reads sockets, and skips what is not one.
pub(super) fn read_sockets(sockets: &[&RawValue]) -> Vec<RemoteSocket> {
    let read = |socket: &&RawValue| {
        let socket: ReceivedSocket<'_> = serde_json::from_str(socket.get()).ok()?;
        let text = |raw: Option<&RawValue>, none: &str| raw.map_or(none, RawValue::get).to_owned();
        Some(RemoteSocket {
            id: socket.id,
            rooms: room_names(socket.rooms),
            handshake: text(socket.handshake, "{}"),
            data: text(socket.data, "null"),
        })
    };
    sockets.iter().filter_map(read).collect()
}

/// A socket of a response that is sent. A part that is not JSON becomes `null`.
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
