//! The messages of Node's adapter `createShardedAdapter`, over the sharded channels of Redis 7. Each message is `{uid,
//! nsp, type, data}`, in MessagePack where it may contain binary data, else in JSON.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::adapter_message::{AdapterMessage, OutgoingRequest, Request, Requester, Response};
use super::json::{self, ReceivedOptions, RoomName, SentOptions, SentSocket, read_sockets, room_names};
use super::packet::{self, keys, map, number};
use super::{Broadcast, ClientSelector};
use crate::msgpack::{self, CodecError, Reader, write_string};
use parlance_handler::capability::Packet;
use parlance_types::id::TenantId;

// The types of `ClusterAdapter` in `socket.io-adapter`. Types 1, 2 and 13 are sent only by adapters that count each
// other by heartbeats, which this one does not.
const BROADCAST: u64 = 3;
const JOIN: u64 = 4;
const LEAVE: u64 = 5;
const DISCONNECT: u64 = 6;
const FETCH: u64 = 7;
const SOCKETS: u64 = 8;
const EMIT: u64 = 9;
const DATA: u64 = 10;
const CLIENTS: u64 = 11;
const ACKNOWLEDGED: u64 = 12;

/// Encodes an event. `None` when it has no clients.
pub(super) fn broadcast(
    uid: &str,
    tenant: &TenantId,
    broadcast: &Broadcast,
    max_bytes: usize,
) -> Result<Option<Bytes>, CodecError> {
    let mut out = Vec::with_capacity(broadcast.packet.text.len() + 160);
    head(&mut out, uid, &tenant.namespace(), BROADCAST);
    map(&mut out, 2);
    write_string(&mut out, "packet");
    let between = |out: &mut Vec<u8>| write_string(out, "opts");
    let written = packet::write(&mut out, tenant, broadcast, max_bytes, between)?;
    Ok(written.then(|| out.into()))
}

/// Writes what stands before the data of a message in MessagePack.
fn head(out: &mut Vec<u8>, uid: &str, namespace: &str, kind: u64) {
    map(out, 4);
    write_string(out, "uid");
    write_string(out, uid);
    write_string(out, "nsp");
    write_string(out, namespace);
    write_string(out, "type");
    number(out, kind);
    write_string(out, "data");
}

#[derive(Serialize)]
struct Sent<'a> {
    uid: &'a str,
    nsp: &'a str,
    #[serde(rename = "type")]
    kind: u64,
    data: SentData<'a>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct SentData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opts: Option<SentOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packet: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<Vec<SentSocket<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_count: Option<u64>,
}

/// Encodes a request, with an id if responses are wanted. `None` when it selects no clients.
pub(super) fn request(
    uid: &str,
    id: Option<&str>,
    namespace: &str,
    request: &OutgoingRequest,
) -> Result<Option<Bytes>, CodecError> {
    let mut data = SentData {
        request_id: id,
        ..SentData::default()
    };
    let (kind, clients) = match request {
        OutgoingRequest::DisconnectSockets { clients, close } => {
            data.close = Some(*close);
            (DISCONNECT, Some(clients))
        }
        OutgoingRequest::FetchSockets(clients) => (FETCH, Some(clients)),
        OutgoingRequest::ServerSideEmit(arguments) => {
            data.packet = json::raw(arguments);
            (EMIT, None)
        }
    };
    if let Some(clients) = clients {
        let Some(options) = SentOptions::of(clients) else {
            return Ok(None);
        };
        data.opts = Some(options);
    }
    sent(uid, namespace, kind, data).map(Some)
}

fn sent(uid: &str, nsp: &str, kind: u64, data: SentData<'_>) -> Result<Bytes, CodecError> {
    json::write(&Sent { uid, nsp, kind, data })
}

/// Encodes a response. `None` for one that this adapter does not have.
pub(super) fn response(
    uid: &str,
    id: &str,
    namespace: &str,
    response: &Response,
    max_bytes: usize,
) -> Result<Option<Bytes>, CodecError> {
    let mut data = SentData {
        request_id: Some(id),
        ..SentData::default()
    };
    let kind = match response {
        Response::Sockets(sockets) => {
            data.sockets = Some(sockets.iter().map(SentSocket::from).collect());
            SOCKETS
        }
        Response::Data(value) => {
            data.packet = json::raw(value);
            DATA
        }
        Response::Clients(clients) => {
            data.client_count = Some(*clients);
            CLIENTS
        }
        Response::Acknowledged(packet) => {
            let mut out = Vec::with_capacity(packet.text.len() + 128);
            head(&mut out, uid, namespace, ACKNOWLEDGED);
            map(&mut out, 2);
            write_string(&mut out, "requestId");
            write_string(&mut out, id);
            write_string(&mut out, "packet");
            msgpack::write_data(&mut out, &packet.text, &packet.attachments, max_bytes)?;
            return Ok(Some(out.into()));
        }
        Response::Ids(_) | Response::Rooms(_) => return Ok(None),
    };
    sent(uid, namespace, kind, data).map(Some)
}

/// Decodes a message for a namespace. `None` when the node with the id `own` has sent it, or when it does not matter
/// here: a node never receives responses that it did not ask for.
pub(super) fn read(bytes: Bytes, own: &str, namespace: &str) -> Result<Option<AdapterMessage>, CodecError> {
    if bytes.first() == Some(&b'{') {
        let text = json::text(&bytes);
        let head: Head<'_> = json::read(&text)?;
        return match head.data {
            _ if head.uid == own => Ok(None),
            Some(data) if head.nsp == namespace => message_from_json(head.uid, head.kind, data.get(), namespace),
            None if head.nsp == namespace => Ok(None),
            _ => Err(OTHER_NAMESPACE),
        };
    }
    let mut input = Reader::new(bytes);
    let (mut uid, mut nsp, mut kind, mut data) = (None, None, None, None);
    for _ in 0..keys(&mut input)? {
        match input.name()?.as_str() {
            "uid" => uid = Some(input.name()?),
            "nsp" => nsp = Some(input.name()?),
            "type" => kind = Some(input.unsigned()?),
            "data" => {
                // The type may come later, and decides how the data is decoded.
                data = Some(input.clone());
                input.skip()?;
            }
            _ => input.skip()?,
        }
    }
    let (Some(uid), Some(kind), Some(mut data)) = (uid, kind, data) else {
        return Err(CodecError::Malformed("a message without sender, type or data"));
    };
    if uid == own {
        return Ok(None);
    }
    if nsp.as_deref() != Some(namespace) {
        return Err(OTHER_NAMESPACE);
    }
    match kind {
        BROADCAST => read_broadcast(uid, &mut data, namespace).map(Some),
        _ => {
            let packet = msgpack::read_data(&mut data)?;
            message_from_json(uid, kind, &with_bytes_as_json(&packet)?, namespace)
        }
    }
}

const OTHER_NAMESPACE: CodecError = CodecError::Malformed("a message for another namespace");
const NO_ID: CodecError = CodecError::Malformed("a message without the id of its request");

fn read_broadcast(uid: String, data: &mut Reader, namespace: &str) -> Result<AdapterMessage, CodecError> {
    let (mut id, mut packet, mut options) = (None, None, None);
    for _ in 0..keys(data)? {
        match data.name()?.as_str() {
            "requestId" => id = Some(data.name()?),
            "packet" => packet = Some(packet::read(data, namespace)?),
            "opts" => options = Some(packet::read_options(data)?),
            _ => data.skip()?,
        }
    }
    let (Some(packet), Some(options)) = (packet, options) else {
        return Err(CodecError::Malformed("an event without a packet or options"));
    };
    let timeout = options.timeout;
    let broadcast = options.broadcast(packet)?;
    event(uid, id, broadcast, timeout)
}

/// An event, with a requester if the message has the id of a request.
fn event(
    uid: String,
    id: Option<String>,
    broadcast: Broadcast,
    timeout: Option<Duration>,
) -> Result<AdapterMessage, CodecError> {
    Ok(match id {
        Some(id) => AdapterMessage::BroadcastWithAck {
            requester: requester(uid, id)?,
            broadcast,
            timeout,
        },
        None => AdapterMessage::Broadcast(broadcast),
    })
}

/// The most bytes of a server's id. Those of Node servers have 16.
const UID_MAX: usize = 64;

/// Checks the id of the server that asks, since it becomes part of the channel for the response.
fn requester(uid: String, id: String) -> Result<Requester, CodecError> {
    if uid.is_empty() || uid.len() > UID_MAX || uid.contains(|c: char| c == '#' || c.is_control()) {
        return Err(CodecError::Malformed("a malformed server id"));
    }
    Ok(Requester { uid: Some(uid), id })
}

/// The JSON of what cannot have attachments here: events for servers, and what servers keep with their sockets. Bytes
/// become what `JSON.stringify` makes of a `Buffer`.
fn with_bytes_as_json(packet: &Packet) -> Result<String, CodecError> {
    let text = std::str::from_utf8(&packet.text).map_err(|_| CodecError::Malformed("a text that is not UTF-8"))?;
    let (mut json, mut rest) = (String::with_capacity(text.len()), text);
    for (at, bytes) in packet.attachments.iter().enumerate() {
        // Placeholders stand in the order of their numbers.
        let Some((before, after)) = rest.split_once(&msgpack::placeholder(at)) else {
            break;
        };
        json.push_str(before);
        json.push_str(&format!(r#"{{"type":"Buffer","data":{:?}}}"#, bytes.as_ref()));
        rest = after;
    }
    json.push_str(rest);
    Ok(json)
}

#[derive(Deserialize)]
struct Head<'r> {
    uid: String,
    nsp: String,
    #[serde(rename = "type")]
    kind: u64,
    #[serde(borrow, default)]
    data: Option<&'r RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'r> {
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    opts: Option<ReceivedOptions>,
    #[serde(default)]
    rooms: Option<Vec<RoomName>>,
    #[serde(default)]
    close: Option<bool>,
    #[serde(borrow, default)]
    packet: Option<&'r RawValue>,
    #[serde(borrow, default)]
    sockets: Option<Vec<&'r RawValue>>,
}

#[derive(Deserialize)]
struct Event<'r> {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(borrow)]
    data: &'r RawValue,
    #[serde(default)]
    nsp: Option<String>,
}

impl Data<'_> {
    fn clients(&mut self) -> Result<ClientSelector, CodecError> {
        let clients = self.opts.take().and_then(ReceivedOptions::clients);
        clients.ok_or(CodecError::Malformed("a message without clients"))
    }

    fn packet(&self) -> Result<&str, CodecError> {
        let packet = self.packet.map(RawValue::get);
        packet.ok_or(CodecError::Malformed("a message without a packet"))
    }

    fn event(&mut self, namespace: &str) -> Result<(Broadcast, Option<Duration>), CodecError> {
        let event: Event<'_> = json::read(self.packet()?)?;
        let packet = packet::from_json(event.kind, event.nsp.as_deref(), event.data.get(), namespace)?;
        let flags = self.opts.as_ref().and_then(|options| options.flags.as_ref());
        let ms = flags.and_then(|flags| flags.timeout);
        let timeout = ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
        let ClientSelector { to, except } = self.clients()?;
        Ok((Broadcast::event(packet, to, except), timeout))
    }
}

fn message_from_json(
    uid: String,
    kind: u64,
    data: &str,
    namespace: &str,
) -> Result<Option<AdapterMessage>, CodecError> {
    let mut data: Data<'_> = json::read(data)?;
    let id = data.request_id.take();
    let request = match kind {
        BROADCAST => {
            let (broadcast, timeout) = data.event(namespace)?;
            return event(uid, id, broadcast, timeout).map(Some);
        }
        JOIN => Request::SocketsJoin {
            clients: data.clients()?,
            rooms: room_names(data.rooms),
        },
        LEAVE => Request::SocketsLeave {
            clients: data.clients()?,
            rooms: room_names(data.rooms),
        },
        DISCONNECT => Request::DisconnectSockets {
            clients: data.clients()?,
            close: data.close.unwrap_or_default(),
        },
        FETCH => Request::FetchSockets(data.clients()?),
        EMIT => Request::ServerSideEmit(data.packet()?.to_owned()),
        _ => return response_from_json(kind, id, data),
    };
    let requester = id.map(|id| requester(uid, id)).transpose()?;
    Ok(Some(AdapterMessage::Request { requester, request }))
}

fn response_from_json(kind: u64, id: Option<String>, data: Data<'_>) -> Result<Option<AdapterMessage>, CodecError> {
    let value = data.packet.map_or("null", RawValue::get);
    let response = match kind {
        SOCKETS => Response::Sockets(read_sockets(&data.sockets.unwrap_or_default())),
        DATA => Response::Data(value.to_owned()),
        _ => return Ok(None),
    };
    let id = id.ok_or(NO_ID)?;
    Ok(Some(AdapterMessage::Response { id, response }))
}

#[cfg(test)]
mod tests;
