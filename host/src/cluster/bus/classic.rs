//! The words of Node's adapter `createAdapter` and of its emitter: broadcasts and acknowledgements in MessagePack,
//! requests and answers in JSON.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::adapter_message::{AdapterMessage, Request, Requester, Response};
use super::channels::{place, target};
use super::json::{self, Name, Options, Places, SentSocket, read_sockets, texts};
use super::packet::{self, array, keys, map, number};
use super::{Broadcast, BroadcastTarget, ClientSelector};
use crate::capability::Packet;
use crate::id::TenantId;
use crate::msgpack::{self, CodecError, Reader, write_name};

const IDS: u8 = 0;
const ROOMS: u8 = 1;
const JOIN: u8 = 2;
const LEAVE: u8 = 3;
const DISCONNECT: u8 = 4;
const FETCH: u8 = 5;
const EMIT: u8 = 6;
const ASK: u8 = 7;
const CLIENTS: u8 = 8;
const ACKNOWLEDGED: u8 = 9;

/// Writes a broadcast, `[uid, packet, options]`; `None` when nobody is to get it.
pub(super) fn broadcast(
    uid: &str,
    tenant: &TenantId,
    broadcast: &Broadcast,
    max: usize,
) -> Result<Option<Bytes>, CodecError> {
    let mut out = Vec::with_capacity(broadcast.packet.text.len() + 128);
    array(&mut out, 3);
    write_name(&mut out, uid);
    let between = |_: &mut Vec<u8>| {};
    let written = packet::write(&mut out, tenant, broadcast, max, between)?;
    Ok(written.then(|| out.into()))
}

/// Writes a broadcast whose acknowledgements are wanted.
pub(super) fn ask(
    uid: &str,
    id: &str,
    tenant: &TenantId,
    broadcast: &Broadcast,
    max: usize,
) -> Result<Option<Bytes>, CodecError> {
    let mut out = Vec::new();
    map(&mut out, 5);
    write_name(&mut out, "uid");
    write_name(&mut out, uid);
    write_name(&mut out, "requestId");
    write_name(&mut out, id);
    write_name(&mut out, "type");
    number(&mut out, ASK.into());
    write_name(&mut out, "packet");
    let between = |out: &mut Vec<u8>| write_name(out, "opts");
    let written = packet::write(&mut out, tenant, broadcast, max, between)?;
    Ok(written.then(|| out.into()))
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct SentRequest<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    opts: Option<Places>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// Writes a request, with an id when it is to be answered; `None` when it is about nobody, or is one that no server of
/// Parlance makes.
pub(super) fn request(uid: &str, id: Option<&str>, request: &Request) -> Result<Option<Bytes>, CodecError> {
    let mut sent = SentRequest {
        uid,
        request_id: id,
        ..SentRequest::default()
    };
    let clients = match request {
        Request::SocketsJoin { clients, rooms } => {
            (sent.kind, sent.rooms) = (JOIN, Some(rooms.as_slice()));
            Some(clients)
        }
        Request::SocketsLeave { clients, rooms } => {
            (sent.kind, sent.rooms) = (LEAVE, Some(rooms.as_slice()));
            Some(clients)
        }
        Request::DisconnectSockets { clients, close } => {
            (sent.kind, sent.close) = (DISCONNECT, Some(*close));
            Some(clients)
        }
        Request::FetchSockets(clients) => {
            sent.kind = FETCH;
            Some(clients)
        }
        Request::ServerSideEmit(arguments) => {
            (sent.kind, sent.data) = (EMIT, json::raw(arguments));
            None
        }
        Request::AllRooms => {
            sent.kind = ROOMS;
            None
        }
        Request::SocketIds(_) => return Ok(None),
    };
    if let Some(clients) = clients {
        let Some(places) = Places::of(clients) else {
            return Ok(None);
        };
        sent.opts = Some(places);
    }
    json::write(&sent).map(Some)
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct SentAnswer<'a> {
    request_id: &'a str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<Sockets<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Sockets<'a> {
    Ids(&'a [String]),
    Whole(Vec<SentSocket<'a>>),
}

/// Writes an answer.
pub(super) fn answer(id: &str, answer: &Response, max: usize) -> Result<Bytes, CodecError> {
    let mut sent = SentAnswer {
        request_id: id,
        ..SentAnswer::default()
    };
    match answer {
        Response::Ids(ids) => sent.sockets = Some(Sockets::Ids(ids)),
        Response::Sockets(sockets) => {
            sent.sockets = Some(Sockets::Whole(sockets.iter().map(SentSocket::from).collect()))
        }
        Response::Rooms(rooms) => sent.rooms = Some(rooms),
        Response::Clients(clients) => (sent.kind, sent.client_count) = (Some(CLIENTS), Some(*clients)),
        Response::Data(data) => (sent.kind, sent.data) = (Some(EMIT), json::raw(data)),
        Response::Acknowledged(packet) => return acknowledged(id, packet, max),
    }
    json::write(&sent)
}

fn acknowledged(id: &str, packet: &Packet, max: usize) -> Result<Bytes, CodecError> {
    let mut out = Vec::new();
    map(&mut out, 3);
    write_name(&mut out, "type");
    number(&mut out, ACKNOWLEDGED.into());
    write_name(&mut out, "requestId");
    write_name(&mut out, id);
    write_name(&mut out, "packet");
    msgpack::write_data(&mut out, &packet.text, &packet.attachments, max)?;
    Ok(out.into())
}

/// Reads a broadcast for a namespace; `None` when it is `own`, its sender's echo.
pub(super) fn read_broadcast(bytes: Bytes, own: &str, namespace: &str) -> Result<Option<AdapterMessage>, CodecError> {
    let mut input = Reader::new(bytes);
    if input.array()? != 3 {
        return Err(CodecError::Malformed("not a packet with its options"));
    }
    if input.name()? == own {
        return Ok(None);
    }
    let packet = packet::read(&mut input, namespace)?;
    let options = packet::read_options(&mut input)?;
    if !input.is_empty() {
        return Err(CodecError::Malformed("more than a packet"));
    }
    Ok(Some(AdapterMessage::Broadcast(options.broadcast(packet)?)))
}

/// Reads what came on a channel of requests; `None` when it is `own`.
pub(super) fn read_request(bytes: Bytes, own: &str, namespace: &str) -> Result<Option<AdapterMessage>, CodecError> {
    if bytes.first() == Some(&b'{') {
        let text = json::text(&bytes);
        let mut received: Received<'_> = json::read(&text)?;
        if received.uid.as_deref() == Some(own) {
            return Ok(None);
        }
        let request = received.request()?;
        let uid = received.uid;
        let requester = received.request_id.map(|id| Requester { uid, id });
        return Ok(Some(AdapterMessage::Request { requester, request }));
    }
    let mut binary = Binary::read(bytes)?;
    if binary.uid.as_deref() == Some(own) {
        return Ok(None);
    }
    let (ASK, Some(options)) = (binary.kind, binary.options) else {
        return Err(CodecError::Malformed("a request of an unknown type"));
    };
    let packet = packet::read(&mut binary.packet, namespace)?;
    let (uid, id) = (binary.uid, binary.request_id);
    Ok(Some(AdapterMessage::BroadcastWithAck {
        requester: Requester { uid, id },
        timeout: options.timeout,
        broadcast: options.broadcast(packet)?,
    }))
}

/// Reads what came on a channel of answers.
pub(super) fn read_answer(bytes: Bytes) -> Result<AdapterMessage, CodecError> {
    if bytes.first() == Some(&b'{') {
        let text = json::text(&bytes);
        let mut received: Received<'_> = json::read(&text)?;
        let id = received.request_id.take();
        let id = id.ok_or(CodecError::Malformed("an answer without an id"))?;
        let response = received.response();
        return Ok(AdapterMessage::Response { id, response });
    }
    let mut binary = Binary::read(bytes)?;
    if binary.kind != ACKNOWLEDGED {
        return Err(CodecError::Malformed("an answer of an unknown type"));
    }
    Ok(AdapterMessage::Response {
        id: binary.request_id,
        response: Response::Acknowledged(msgpack::read_data(&mut binary.packet)?),
    })
}

/// A request or an answer in MessagePack.
struct Binary {
    kind: u8,
    uid: Option<String>,
    request_id: String,
    /// An event where acknowledgements are asked for, or the acknowledgement itself.
    packet: Reader,
    options: Option<packet::Options>,
}

impl Binary {
    fn read(bytes: Bytes) -> Result<Self, CodecError> {
        let mut input = Reader::new(bytes);
        let (mut kind, mut uid, mut request_id, mut packet, mut options) = (0, None, None, None, None);
        for _ in 0..keys(&mut input)? {
            match input.name()?.as_str() {
                "type" => kind = input.unsigned()?,
                "uid" => uid = Some(input.name()?),
                "requestId" => request_id = Some(input.name()?),
                "packet" => {
                    packet = Some(input.clone());
                    input.skip()?;
                }
                "opts" => options = Some(packet::read_options(&mut input)?),
                _ => input.skip()?,
            }
        }
        let (Some(request_id), Some(packet)) = (request_id, packet) else {
            return Err(CodecError::Malformed("a request without an id or a packet"));
        };
        Ok(Self {
            kind: u8::try_from(kind).unwrap_or(u8::MAX),
            uid,
            request_id,
            packet,
            options,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received<'r> {
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    request_id: Option<String>,
    #[serde(rename = "type", default)]
    kind: Option<u8>,
    #[serde(default)]
    opts: Option<Options>,
    #[serde(default)]
    rooms: Option<Vec<Name>>,
    /// One socket, as versions before 7 of the adapter say it.
    #[serde(default)]
    sid: Option<String>,
    #[serde(default)]
    room: Option<Name>,
    #[serde(default)]
    close: Option<bool>,
    #[serde(borrow, default)]
    sockets: Option<Vec<&'r RawValue>>,
    #[serde(default)]
    client_count: Option<u64>,
    #[serde(borrow, default)]
    data: Option<&'r RawValue>,
}

impl Received<'_> {
    fn clients(&mut self) -> Result<ClientSelector, CodecError> {
        let of_sid = |sid: String| ClientSelector {
            to: BroadcastTarget::Rooms(vec![place(&sid)]),
            except: Vec::new(),
        };
        let clients = match self.opts.take() {
            Some(options) => options.clients(),
            None => self.sid.take().map(of_sid),
        };
        clients.ok_or(CodecError::Malformed("a request without clients"))
    }

    /// The rooms to join or leave, or those whose sockets are asked for.
    fn rooms(&mut self) -> Vec<String> {
        let mut rooms = texts(self.rooms.take());
        rooms.extend(self.room.take().map(Name::into_text));
        rooms
    }

    fn request(&mut self) -> Result<Request, CodecError> {
        Ok(match self.kind {
            Some(JOIN) => Request::SocketsJoin {
                clients: self.clients()?,
                rooms: self.rooms(),
            },
            Some(LEAVE) => Request::SocketsLeave {
                clients: self.clients()?,
                rooms: self.rooms(),
            },
            Some(DISCONNECT) => Request::DisconnectSockets {
                clients: self.clients()?,
                close: self.close.unwrap_or_default(),
            },
            Some(EMIT) => {
                let arguments = self
                    .data
                    .ok_or(CodecError::Malformed("a server's event without data"))?;
                Request::ServerSideEmit(arguments.get().to_owned())
            }
            Some(IDS) => Request::SocketIds(target(&self.rooms())),
            Some(FETCH) => Request::FetchSockets(self.clients()?),
            Some(ROOMS) => Request::AllRooms,
            _ => return Err(CodecError::Malformed("a request of an unknown type")),
        })
    }

    fn response(self) -> Response {
        match self {
            Self {
                sockets: Some(sockets), ..
            } => Response::Sockets(read_sockets(&sockets)),
            Self { rooms: Some(rooms), .. } => Response::Rooms(texts(Some(rooms))),
            Self {
                client_count: Some(clients),
                ..
            } => Response::Clients(clients),
            // `undefined` is left out by JSON.
            Self { data, .. } => Response::Data(data.map_or("null", RawValue::get).to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
