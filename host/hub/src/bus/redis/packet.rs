//! Events in MessagePack: `{type, data, nsp}` and `{rooms, except, flags}`.
//!
//! Two more keys are for nodes of Parlance; Node servers ignore them. `parlance` has a message's `seq`, what connections
//! are to do after the event, or a handler's question. `parlance.json` has the event's JSON, where decoding the MessagePack would not give it back byte for byte.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::channels::{self, room_name, target_room};
use super::{AfterEvent, Broadcast, BroadcastTarget, TargetRoom};
use crate::msgpack::{self, CodecError, Fidelity, Reader};
use parlance_handler::capability::{ANSWER_TIME_MAX, ANSWER_TIME_MIN, Packet, Question, TAG_MAX};
use parlance_types::id::{RoomId, TenantId};
use parlance_types::text::json::{Placeholders, Tokens, exceeds_depth};

/// The packet types of an event: [EVENT and BINARY_EVENT](https://socket.io/docs/v4/socket-io-protocol/#packet-types).
const EVENT: u64 = 2;
const BINARY_EVENT: u64 = 5;
/// The key of an event's JSON. It does not say, as the key `parlance` does, that the rooms are not ids of connections.
const TEXT_KEY: &str = "parlance.json";
/// The most rooms that one packet may name.
const ROOMS_MAX: u32 = 65_536;
/// The most keys of a map. A Socket.IO server never sends more.
const KEYS_MAX: u32 = 64;

/// Writes an event and its clients. `between` writes what stands between the two. Returns `false` when the event has no
/// clients; then what was written must be discarded.
pub(super) fn write(
    out: &mut Vec<u8>,
    tenant: &TenantId,
    broadcast: &Broadcast,
    max: usize,
    between: impl FnOnce(&mut Vec<u8>),
) -> Result<bool, CodecError> {
    let Some(rooms) = channels::rooms(&broadcast.to) else {
        return Ok(false);
    };
    let packet = &broadcast.packet;
    map(out, 3);
    msgpack::write_string(out, "type");
    number(out, EVENT);
    msgpack::write_string(out, "data");
    let written = msgpack::write_data(out, &packet.text, &packet.attachments, max)?;
    msgpack::write_string(out, "nsp");
    msgpack::write_string(out, &tenant.namespace());
    between(out);
    write_options(out, &rooms, broadcast, text_beside(written, packet));
    Ok(true)
}

/// The event's JSON, if decoding what was written gives other bytes. Not if only the attachments were renumbered: the
/// text would not fit the order in which they are read.
fn text_beside(written: Fidelity, packet: &Packet) -> Option<&str> {
    match written {
        Fidelity::Exactly | Fidelity::Renumbered => None,
        Fidelity::ByValue => std::str::from_utf8(&packet.text).ok(),
    }
}

fn write_options(out: &mut Vec<u8>, rooms: &[String], broadcast: &Broadcast, text: Option<&str>) {
    let exact = has_exact_rooms(broadcast);
    map(out, 3 + u32::from(text.is_some()) + u32::from(exact));
    msgpack::write_string(out, "rooms");
    names(out, rooms.iter().map(String::as_str));
    msgpack::write_string(out, "except");
    let except: Vec<String> = broadcast.except.iter().map(room_name).collect();
    names(out, except.iter().map(String::as_str));
    msgpack::write_string(out, "flags");
    map(out, 0);
    if let Some(text) = text {
        msgpack::write_string(out, TEXT_KEY);
        msgpack::write_string(out, text);
    }
    if !exact {
        return;
    }
    msgpack::write_string(out, "parlance");
    let message = broadcast.message.as_ref().map(|message| ("seq", message));
    let order = message.or(broadcast.after.as_ref().map(|message| ("after", message)));
    let question = broadcast.question.as_ref();
    map(
        out,
        if order.is_some() { 2 } else { 0 }
            + u32::from(broadcast.rev.is_some())
            + u32::from(broadcast.then.is_some())
            + if question.is_some() { 3 } else { 0 },
    );
    if let Some((key, (room, seq))) = order {
        msgpack::write_string(out, "room");
        msgpack::write_string(out, room.as_str());
        msgpack::write_string(out, key);
        number(out, *seq);
    }
    if let Some(rev) = broadcast.rev {
        msgpack::write_string(out, "rev");
        number(out, rev);
    }
    match &broadcast.then {
        Some(AfterEvent::LeaveRoom(room)) => {
            msgpack::write_string(out, "leave");
            msgpack::write_string(out, room);
        }
        Some(AfterEvent::Disconnect) => {
            msgpack::write_string(out, "disconnect");
            number(out, 1);
        }
        None => {}
    }
    if let Some(question) = question {
        msgpack::write_string(out, "asker");
        msgpack::write_string(out, &question.handler);
        msgpack::write_string(out, "tag");
        msgpack::write_string(out, &question.tag);
        msgpack::write_string(out, "time");
        number(out, u64::try_from(question.time.as_millis()).unwrap_or(u64::MAX));
    }
}

/// Whether no room may also be the id of a connection. Nodes of Parlance tell each other so by the key `parlance`.
fn has_exact_rooms(broadcast: &Broadcast) -> bool {
    let to = match &broadcast.to {
        BroadcastTarget::Rooms(rooms) => rooms.as_slice(),
        BroadcastTarget::AllClients => &[],
    };
    let mut rooms = to.iter().chain(&broadcast.except);
    !rooms.any(|room| matches!(room, TargetRoom::RoomOrSocket(_)))
}

fn names<'n>(out: &mut Vec<u8>, names: impl ExactSizeIterator<Item = &'n str>) {
    array(out, u32::try_from(names.len()).unwrap_or(u32::MAX));
    names.for_each(|name| msgpack::write_string(out, name));
}

// Writing to memory cannot fail.
pub(super) fn array(out: &mut Vec<u8>, count: u32) {
    let _ = rmp::encode::write_array_len(out, count);
}

pub(super) fn map(out: &mut Vec<u8>, count: u32) {
    let _ = rmp::encode::write_map_len(out, count);
}

pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    let _ = rmp::encode::write_uint(out, number);
}

/// Reads the number of keys of a map.
pub(super) fn keys(input: &mut Reader) -> Result<u32, CodecError> {
    let keys = input.map()?;
    if keys > KEYS_MAX {
        return Err(CodecError::TooLarge);
    }
    Ok(keys)
}

/// Reads an event. If it names a namespace, that must be this one.
pub(super) fn read(input: &mut Reader, namespace: &str) -> Result<Packet, CodecError> {
    let (mut kind, mut data, mut to) = (None, None, None);
    for _ in 0..keys(input)? {
        match input.name()?.as_str() {
            "type" => kind = Some(input.unsigned()?),
            "data" => data = Some(msgpack::read_data(input)?),
            "nsp" => to = Some(input.name()?),
            _ => input.skip()?,
        }
    }
    let (Some(kind), Some(packet)) = (kind, data) else {
        return Err(CodecError::Malformed("a packet that is not an event"));
    };
    check_header(kind, to.as_deref(), namespace)?;
    check_name(&packet.text)?;
    Ok(packet)
}

/// Reads an event from JSON. If it names a namespace, that must be this one.
pub(super) fn from_json(kind: u64, to: Option<&str>, data: &str, namespace: &str) -> Result<Packet, CodecError> {
    check_header(kind, to, namespace)?;
    check_json(data, 0)?;
    Ok(Packet {
        text: Bytes::copy_from_slice(data.as_bytes()),
        attachments: Vec::new(),
    })
}

fn check_header(kind: u64, to: Option<&str>, namespace: &str) -> Result<(), CodecError> {
    if !matches!(kind, EVENT | BINARY_EVENT) {
        return Err(CodecError::Malformed("a packet that is not an event"));
    }
    // The sharded adapter leaves the namespace out.
    if to.is_some_and(|to| to != namespace) {
        return Err(CodecError::Malformed("a packet for another namespace"));
    }
    Ok(())
}

/// Refuses an event without a name, since clients close the connection when they get one.
fn check_name(text: &[u8]) -> Result<(), CodecError> {
    if text.starts_with(b"[\"") {
        return Ok(());
    }
    Err(CodecError::Malformed("an event without a name"))
}

/// Checks the JSON that came beside an event, since it is no more to be trusted than the rest: clients close the
/// connection when it is malformed, or refers to a missing attachment.
fn check_json(text: &str, attachments: usize) -> Result<(), CodecError> {
    let malformed = CodecError::Malformed("a text that is not an event");
    let walk = Tokens::parse(text).ok_or(malformed)?;
    check_name(text.as_bytes())?;
    // The values inside are a level, too.
    if exceeds_depth(text, msgpack::DEPTH_MAX - 1) {
        return Err(malformed);
    }
    let mut placeholders = Placeholders::default();
    let mut found = walk.filter_map(|token| placeholders.observe(&token));
    if attachments > 0 && !found.all(|placeholder| placeholder.is_attached(attachments)) {
        return Err(malformed);
    }
    Ok(())
}

/// The clients of an event, and how it is sent.
#[derive(Default)]
pub(super) struct Options {
    rooms: Vec<String>,
    except: Vec<String>,
    /// How long the sender waits for acknowledgements, if it wants any.
    pub(super) timeout: Option<Duration>,
    /// The content of the key `parlance`.
    parlance: Option<ParlanceOptions>,
    /// The content of the key `parlance.json`.
    text: Option<Bytes>,
}

/// What only nodes of Parlance send.
#[derive(Default)]
struct ParlanceOptions {
    message: Option<(RoomId, u64)>,
    after: Option<(RoomId, u64)>,
    rev: Option<u64>,
    then: Option<AfterEvent>,
    question: Option<Arc<Question>>,
}

impl Options {
    /// The event for these clients.
    pub(super) fn broadcast(self, mut packet: Packet) -> Result<Broadcast, CodecError> {
        if let Some(bytes) = self.text {
            let text = std::str::from_utf8(&bytes).map_err(|_| CodecError::Malformed("a text that is not UTF-8"))?;
            check_json(text, packet.attachments.len())?;
            packet.text = bytes;
        }
        let exact = self.parlance.is_some();
        let only_room = |target| match target {
            TargetRoom::RoomOrSocket(room) if exact => TargetRoom::Room(room),
            target => target,
        };
        let to = match channels::target(&self.rooms) {
            BroadcastTarget::Rooms(rooms) => BroadcastTarget::Rooms(rooms.into_iter().map(only_room).collect()),
            BroadcastTarget::AllClients => BroadcastTarget::AllClients,
        };
        let ParlanceOptions {
            message,
            after,
            rev,
            then,
            question,
        } = self.parlance.unwrap_or_default();
        Ok(Broadcast {
            packet,
            to,
            except: self.except.iter().map(|room| only_room(target_room(room))).collect(),
            message,
            after,
            rev,
            then,
            question,
        })
    }
}

/// Reads the options of a packet.
pub(super) fn read_options(input: &mut Reader) -> Result<Options, CodecError> {
    let mut options = Options::default();
    let mut has_rooms = false;
    for _ in 0..keys(input)? {
        match input.name()?.as_str() {
            "rooms" => {
                options.rooms = read_names(input)?;
                has_rooms = true;
            }
            "except" => options.except = read_names(input)?,
            "flags" => options.timeout = read_timeout(input)?,
            "parlance" => options.parlance = Some(read_parlance_options(input)?),
            TEXT_KEY => options.text = Some(input.text_bytes()?),
            _ => input.skip()?,
        }
    }
    // A missing list must not be read as an empty one, which means all clients.
    if !has_rooms {
        return Err(CodecError::Malformed("a packet without rooms"));
    }
    Ok(options)
}

fn read_names(input: &mut Reader) -> Result<Vec<String>, CodecError> {
    let count = input.array()?;
    if count > ROOMS_MAX {
        return Err(CodecError::TooLarge);
    }
    (0..count).map(|_| input.name()).collect()
}

fn read_timeout(input: &mut Reader) -> Result<Option<Duration>, CodecError> {
    let mut flags = input.clone();
    input.skip()?;
    // The flags may be nil.
    let Ok(count) = keys(&mut flags) else { return Ok(None) };
    for _ in 0..count {
        if flags.name()? == "timeout" {
            return Ok(flags.unsigned().ok().map(Duration::from_millis));
        }
        flags.skip()?;
    }
    Ok(None)
}

fn read_parlance_options(input: &mut Reader) -> Result<ParlanceOptions, CodecError> {
    let (mut room, mut seq, mut after, mut rev): (Option<RoomId>, _, _, _) = (None, None, None, None);
    let (mut asker, mut tag, mut time): (Option<String>, Option<String>, _) = (None, None, None);
    let mut then = None;
    for _ in 0..keys(input)? {
        match input.name()?.as_str() {
            "room" => room = RoomId::new(&input.name()?).ok(),
            "seq" => seq = Some(input.unsigned()?),
            "after" => after = Some(input.unsigned()?),
            "rev" => rev = Some(input.unsigned()?),
            "leave" => then = Some(AfterEvent::LeaveRoom(input.name()?.into())),
            "disconnect" => {
                then = Some(input.unsigned()?)
                    .filter(|close| *close == 1)
                    .map(|_| AfterEvent::Disconnect)
            }
            "asker" => asker = Some(input.name()?),
            "tag" => tag = Some(input.name()?).filter(|tag| tag.len() <= TAG_MAX),
            "time" => time = Some(Duration::from_millis(input.unsigned()?)),
            _ => input.skip()?,
        }
    }
    let question = asker.zip(tag).zip(time).map(|((handler, tag), time)| Question {
        handler: handler.into(),
        tag: tag.into(),
        time: time.clamp(ANSWER_TIME_MIN, ANSWER_TIME_MAX),
    });
    Ok(ParlanceOptions {
        message: room.clone().zip(seq),
        after: room.zip(after),
        rev,
        then,
        question: question.map(Arc::new),
    })
}
