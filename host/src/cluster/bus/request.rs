//! Requests and answers that are JSON.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::channels::{place, target};
use super::{RemoteSocket, Selection, Target};
use crate::text::without_lone_surrogates;

/// A room's name, which a Node server may have as a number.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Name {
    Text(String),
    Number(serde_json::Number),
}

impl Name {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

fn texts(names: Option<Vec<Name>>) -> Vec<String> {
    names.into_iter().flatten().map(Name::into_text).collect()
}

/// What somebody wants to know, or to be done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'r> {
    /// Who asks; an emitter does not say.
    pub(super) uid: Option<String>,
    /// The answer's address.
    pub(super) request_id: Option<String>,
    /// What; see the constants.
    #[serde(rename = "type")]
    pub(super) kind: u8,
    #[serde(default)]
    opts: Option<Options>,
    #[serde(default)]
    rooms: Option<Vec<Name>>,
    /// One socket, as versions before 7 of the adapter say it.
    #[serde(default)]
    sid: Option<String>,
    #[serde(default)]
    room: Option<Name>,
    /// Whether to close the transport too.
    #[serde(default)]
    pub(super) close: Option<bool>,
    /// The server-side event.
    #[serde(borrow, default)]
    pub(super) data: Option<&'r RawValue>,
}

#[derive(Debug, Deserialize)]
struct Options {
    rooms: Option<Vec<Name>>,
    except: Option<Vec<Name>>,
}

pub(super) const SOCKETS: u8 = 0;
pub(super) const ALL_ROOMS: u8 = 1;
pub(super) const JOIN: u8 = 2;
pub(super) const LEAVE: u8 = 3;
pub(super) const DISCONNECT: u8 = 4;
pub(super) const FETCH: u8 = 5;
pub(super) const SERVER_SIDE_EMIT: u8 = 6;
pub(super) const CLIENT_COUNT: u8 = 8;

impl Request<'_> {
    /// The clients it is about; `None` when it does not say, which is not everybody.
    pub(super) fn clients(&mut self) -> Option<Selection> {
        if let Some(options) = self.opts.take() {
            let except = texts(options.except);
            return Some(Selection {
                to: target(&texts(Some(options.rooms?))),
                except: except.iter().map(|room| place(room)).collect(),
            });
        }
        self.sid.take().map(|sid| Selection {
            to: Target::Places(vec![place(&sid)]),
            except: Vec::new(),
        })
    }

    /// The rooms to join or leave, or those whose sockets are asked for.
    pub(super) fn rooms(&mut self) -> Vec<String> {
        let mut rooms = texts(self.rooms.take());
        rooms.extend(self.room.take().map(Name::into_text));
        rooms
    }
}

/// The same, to send.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked<'a> {
    pub(super) uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a str>,
    #[serde(rename = "type")]
    pub(super) kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opts: Option<Places<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rooms: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) close: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<&'a RawValue>,
}

/// The clients of a request.
#[derive(Debug, Serialize)]
pub(super) struct Places<'a> {
    pub(super) rooms: &'a [String],
    pub(super) except: &'a [String],
}

/// An answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'r> {
    pub(super) request_id: Option<String>,
    #[serde(borrow, default)]
    sockets: Option<Vec<&'r RawValue>>,
    #[serde(default)]
    rooms: Option<Vec<Name>>,
    #[serde(default)]
    client_count: Option<u64>,
    #[serde(borrow, default)]
    data: Option<&'r RawValue>,
}

/// What an answer says.
#[derive(Debug)]
pub(super) enum Said {
    Sockets(Vec<RemoteSocket>),
    Rooms(Vec<String>),
    Clients(u64),
    Data(String),
}

#[derive(Deserialize)]
struct Socket<'r> {
    id: String,
    #[serde(borrow, default)]
    handshake: Option<&'r RawValue>,
    #[serde(default)]
    rooms: Option<Vec<Name>>,
    #[serde(borrow, default)]
    data: Option<&'r RawValue>,
}

impl Answer<'_> {
    /// What it says.
    pub(super) fn said(self) -> Said {
        if let Some(sockets) = self.sockets {
            let read = |socket: &RawValue| {
                let socket: Socket<'_> = serde_json::from_str(socket.get()).ok()?;
                let text = |raw: Option<&RawValue>, none: &str| raw.map_or(none, RawValue::get).to_owned();
                Some(RemoteSocket {
                    id: socket.id,
                    rooms: texts(socket.rooms),
                    handshake: text(socket.handshake, "{}"),
                    data: text(socket.data, "null"),
                })
            };
            return Said::Sockets(sockets.into_iter().filter_map(read).collect());
        }
        if let Some(rooms) = self.rooms {
            return Said::Rooms(texts(Some(rooms)));
        }
        if let Some(clients) = self.client_count {
            return Said::Clients(clients);
        }
        // `undefined` is left out by JSON.
        Said::Data(self.data.map_or("null", RawValue::get).to_owned())
    }
}

/// The answers to send.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answered<'a> {
    pub(super) request_id: &'a str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sockets: Option<Vec<Box<RawValue>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rooms: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Box<RawValue>>,
}

impl<'a> Answered<'a> {
    /// One without content.
    pub(super) fn to(request: &'a str) -> Self {
        Self {
            request_id: request,
            kind: None,
            sockets: None,
            rooms: None,
            client_count: None,
            data: None,
        }
    }
}

#[derive(Serialize)]
struct SentSocket<'a> {
    id: &'a str,
    handshake: Option<&'a RawValue>,
    rooms: &'a [String],
    data: Option<&'a RawValue>,
}

/// A socket as it is sent: what is not JSON is null.
pub(super) fn socket(socket: &RemoteSocket) -> Option<Box<RawValue>> {
    let sent = SentSocket {
        id: &socket.id,
        handshake: serde_json::from_str(&socket.handshake).ok(),
        rooms: &socket.rooms,
        data: serde_json::from_str(&socket.data).ok(),
    };
    serde_json::value::to_raw_value(&sent).ok()
}

/// A request or an answer as text. Node writes half of a surrogate pair as an escape, which is U+FFFD here.
pub(super) fn text(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    without_lone_surrogates(&text).into_owned()
}
