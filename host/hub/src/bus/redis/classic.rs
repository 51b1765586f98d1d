//! The messages of Node's adapter `createAdapter` and of its emitter: broadcasts and acknowledgements in MessagePack,
//! other requests and responses in JSON.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::adapter_message::{AdapterMessage, OutgoingRequest, Request, Requester, Response};
use super::channels::{target, target_room};
use super::json::{self, ReceivedOptions, RoomName, SentOptions, SentSocket, read_sockets, room_names};
use super::packet::{self, array, keys, map, number};
use super::{Broadcast, BroadcastTarget, ClientSelector};
use crate::msgpack::{self, CodecError, Reader, write_string};
use parlance_handler::capability::Packet;
use parlance_types::id::TenantId;

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

/// Encodes a broadcast, `[uid, packet, options]`. `None` when it has no clients.
pub(super) fn broadcast(
    uid: &str,
    tenant: &TenantId,
    broadcast: &Broadcast,
    max_bytes: usize,
) -> Result<Option<Bytes>, CodecError> {
    let mut out = Vec::with_capacity(broadcast.packet.text.len() + 128);
    array(&mut out, 3);
    write_string(&mut out, uid);
    let between = |_: &mut Vec<u8>| {};
    let written = packet::write(&mut out, tenant, broadcast, max_bytes, between)?;
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
    opts: Option<SentOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// Encodes a request, with an id if responses are wanted. `None` when it selects no clients.
pub(super) fn request(uid: &str, id: Option<&str>, request: &OutgoingRequest) -> Result<Option<Bytes>, CodecError> {
    let mut sent = SentRequest {
        uid,
        request_id: id,
        ..SentRequest::default()
    };
    let clients = match request {
        OutgoingRequest::DisconnectSockets { clients, close } => {
            (sent.kind, sent.close) = (DISCONNECT, Some(*close));
            Some(clients)
        }
        OutgoingRequest::FetchSockets(clients) => {
            sent.kind = FETCH;
            Some(clients)
        }
        OutgoingRequest::ServerSideEmit(arguments) => {
            (sent.kind, sent.data) = (EMIT, json::raw(arguments));
            None
        }
    };
    if let Some(clients) = clients {
        let Some(options) = SentOptions::of(clients) else {
            return Ok(None);
        };
        sent.opts = Some(options);
    }
    json::write(&sent).map(Some)
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct SentResponse<'a> {
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

/// Encodes a response.
pub(super) fn response(id: &str, response: &Response, max_bytes: usize) -> Result<Bytes, CodecError> {
    let mut sent = SentResponse {
        request_id: id,
        ..SentResponse::default()
    };
    match response {
        Response::Ids(ids) => sent.sockets = Some(Sockets::Ids(ids)),
        Response::Sockets(sockets) => {
            sent.sockets = Some(Sockets::Whole(sockets.iter().map(SentSocket::from).collect()))
        }
        Response::Rooms(rooms) => sent.rooms = Some(rooms),
        Response::Clients(clients) => (sent.kind, sent.client_count) = (Some(CLIENTS), Some(*clients)),
        Response::Data(data) => (sent.kind, sent.data) = (Some(EMIT), json::raw(data)),
        Response::Acknowledged(packet) => return acknowledged(id, packet, max_bytes),
    }
    json::write(&sent)
}

fn acknowledged(id: &str, packet: &Packet, max_bytes: usize) -> Result<Bytes, CodecError> {
    let mut out = Vec::new();
    map(&mut out, 3);
    write_string(&mut out, "type");
    number(&mut out, ACKNOWLEDGED.into());
    write_string(&mut out, "requestId");
    write_string(&mut out, id);
    write_string(&mut out, "packet");
    msgpack::write_data(&mut out, &packet.text, &packet.attachments, max_bytes)?;
    Ok(out.into())
}

/// Decodes a broadcast for a namespace. `None` when the node with the id `own` has sent it.
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

/// Decodes a message of the channel for requests. `None` when the node with the id `own` has sent it.
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

/// Decodes a message of the channel for responses. `None` for a client's acknowledgement: only Node servers ask for
/// those, and every server receives all responses.
pub(super) fn read_response(bytes: Bytes) -> Result<Option<AdapterMessage>, CodecError> {
    if bytes.first() == Some(&b'{') {
        let text = json::text(&bytes);
        let mut received: Received<'_> = json::read(&text)?;
        let id = received.request_id.take();
        let id = id.ok_or(CodecError::Malformed("a response without an id"))?;
        let response = received.response();
        return Ok(Some(AdapterMessage::Response { id, response }));
    }
    if Binary::read(bytes)?.kind != ACKNOWLEDGED {
        return Err(CodecError::Malformed("a response of an unknown type"));
    }
    Ok(None)
}

/// A request or a response in MessagePack.
struct Binary {
    kind: u8,
    uid: Option<String>,
    request_id: String,
    /// The event of a request for acknowledgements, or the acknowledgement of a response.
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
    opts: Option<ReceivedOptions>,
    #[serde(default)]
    rooms: Option<Vec<RoomName>>,
    /// The id of one socket. Versions of the adapter before 7 send it in place of `opts`.
    #[serde(default)]
    sid: Option<String>,
    #[serde(default)]
    room: Option<RoomName>,
    #[serde(default)]
    close: Option<bool>,
    #[serde(borrow, default)]
    sockets: Option<Vec<&'r RawValue>>,
    #[serde(borrow, default)]
    data: Option<&'r RawValue>,
}

impl Received<'_> {
    fn clients(&mut self) -> Result<ClientSelector, CodecError> {
        let of_sid = |sid: String| ClientSelector {
            to: BroadcastTarget::Rooms(vec![target_room(&sid)]),
            except: Vec::new(),
        };
        let clients = match self.opts.take() {
            Some(options) => options.clients(),
            None => self.sid.take().map(of_sid),
        };
        clients.ok_or(CodecError::Malformed("a request without clients"))
    }

    /// The rooms to join or leave, or the rooms whose sockets are asked for.
    fn rooms(&mut self) -> Vec<String> {
        let mut rooms = room_names(self.rooms.take());
        rooms.extend(self.room.take().map(RoomName::into_text));
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
        match self.sockets {
            Some(sockets) => Response::Sockets(read_sockets(&sockets)),
            // JSON leaves out `undefined`.
            None => Response::Data(self.data.map_or("null", RawValue::get).to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
