//! Events on the wire: `{type, data, nsp}` and `{rooms, except, flags}`, and with `parlance` what the nodes of Parlance
//! need besides: a message's place, and the event's JSON where MessagePack would not give it back byte for byte. Node
//! servers overlook keys that they do not know.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::channels::{self, place, room_name};
use super::{Broadcast, BroadcastTarget, TargetRoom};
use crate::capability::{ANSWER_TIME_MAX, ANSWER_TIME_MIN, Packet, Question, TAG_MAX};
use crate::id::{RoomId, TenantId};
use crate::msgpack::{self, CodecError, Fidelity, Reader};
use crate::text::json::{Placeholders, Tokens, exceeds_depth};

/// The packet type of an event (Socket.IO protocol, "Packet types"); with attachments it may also be 5.
const EVENT: u64 = 2;
const BINARY_EVENT: u64 = 5;
/// The key of an event's JSON, which also stands where rooms may be connections' ids.
const TEXT_KEY: &str = "parlance.json";
/// Most rooms that one packet may name.
const ROOMS_MAX: u32 = 65_536;
/// Keys of a map that is read; whoever writes more is not a Socket.IO server.
const KEYS_MAX: u32 = 64;

/// Writes an event and whom it is for, with what `between` writes between the two. `false`, and what was written is to be
/// let fall, when nobody is to get it.
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
    msgpack::write_name(out, "type");
    number(out, EVENT);
    msgpack::write_name(out, "data");
    let written = msgpack::write_data(out, &packet.text, &packet.attachments, max)?;
    msgpack::write_name(out, "nsp");
    msgpack::write_name(out, &tenant.namespace());
    between(out);
    write_options(out, &rooms, broadcast, text_beside(written, packet));
    Ok(true)
}

/// The event's JSON, when reading what was written gives other bytes. With attachments in another order it is not the
/// JSON of those that are read.
fn text_beside(written: Fidelity, packet: &Packet) -> Option<&str> {
    match written {
        Fidelity::Exactly | Fidelity::Renumbered => None,
        Fidelity::ByValue => std::str::from_utf8(&packet.text).ok(),
    }
}

fn write_options(out: &mut Vec<u8>, rooms: &[String], broadcast: &Broadcast, text: Option<&str>) {
    let own = is_own(broadcast);
    map(out, 3 + u32::from(text.is_some()) + u32::from(own));
    msgpack::write_name(out, "rooms");
    names(out, rooms.iter().map(String::as_str));
    msgpack::write_name(out, "except");
    let except: Vec<String> = broadcast.except.iter().map(room_name).collect();
    names(out, except.iter().map(String::as_str));
    msgpack::write_name(out, "flags");
    map(out, 0);
    if let Some(text) = text {
        msgpack::write_name(out, TEXT_KEY);
        msgpack::write_name(out, text);
    }
    if !own {
        return;
    }
    msgpack::write_name(out, "parlance");
    let message = broadcast.message.as_ref().map(|place| ("seq", place));
    let place = message.or(broadcast.after.as_ref().map(|place| ("after", place)));
    let question = broadcast.question.as_ref();
    map(
        out,
        if place.is_some() { 2 } else { 0 } + if question.is_some() { 3 } else { 0 },
    );
    if let Some((key, (room, seq))) = place {
        msgpack::write_name(out, "room");
        msgpack::write_name(out, room.as_str());
        msgpack::write_name(out, key);
        number(out, *seq);
    }
    if let Some(question) = question {
        msgpack::write_name(out, "asker");
        msgpack::write_name(out, &question.handler);
        msgpack::write_name(out, "tag");
        msgpack::write_name(out, &question.tag);
        msgpack::write_name(out, "time");
        number(out, u64::try_from(question.time.as_millis()).unwrap_or(u64::MAX));
    }
}

/// Whether rooms are rooms and no connections' ids, which nodes of Parlance tell each other with the key `parlance`.
fn is_own(broadcast: &Broadcast) -> bool {
    let to = match &broadcast.to {
        BroadcastTarget::Rooms(places) => places.as_slice(),
        BroadcastTarget::AllClients => &[],
    };
    let mut places = to.iter().chain(&broadcast.except);
    !places.any(|place| matches!(place, TargetRoom::RoomOrSocket(_)))
}

fn names<'n>(out: &mut Vec<u8>, names: impl ExactSizeIterator<Item = &'n str>) {
    array(out, u32::try_from(names.len()).unwrap_or(u32::MAX));
    names.for_each(|name| msgpack::write_name(out, name));
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

/// The number of a map's keys.
pub(super) fn keys(input: &mut Reader) -> Result<u32, CodecError> {
    let keys = input.map()?;
    if keys > KEYS_MAX {
        return Err(CodecError::TooLarge);
    }
    Ok(keys)
}

/// Reads an event, which is for this namespace if it says for which.
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
        return Err(CodecError::Malformed("a packet that is no event"));
    };
    check(kind, to.as_deref(), namespace)?;
    check_name(&packet.text)?;
    Ok(packet)
}

/// Reads an event from JSON, which is for this namespace if it says for which.
pub(super) fn from_json(kind: u64, to: Option<&str>, data: &str, namespace: &str) -> Result<Packet, CodecError> {
    check(kind, to, namespace)?;
    check_text(data, 0)?;
    Ok(Packet {
        text: Bytes::copy_from_slice(data.as_bytes()),
        attachments: Vec::new(),
    })
}

fn check(kind: u64, to: Option<&str>, namespace: &str) -> Result<(), CodecError> {
    if !matches!(kind, EVENT | BINARY_EVENT) {
        return Err(CodecError::Malformed("a packet that is no event"));
    }
    // The sharded adapter leaves it out.
    if to.is_some_and(|to| to != namespace) {
        return Err(CodecError::Malformed("a packet for another namespace"));
    }
    Ok(())
}

/// Clients end the connection when an event has no name.
fn check_name(text: &[u8]) -> Result<(), CodecError> {
    if text.starts_with(b"[\"") {
        return Ok(());
    }
    Err(CodecError::Malformed("an event without a name"))
}

/// The JSON that came beside an event. It is as little to be believed as all else: clients end the connection when it is
/// none, or names an attachment that is not there.
fn check_text(text: &str, attachments: usize) -> Result<(), CodecError> {
    let malformed = CodecError::Malformed("a text that is no event");
    let walk = Tokens::parse(text).ok_or(malformed)?;
    check_name(text.as_bytes())?;
    if exceeds_depth(text, msgpack::DEPTH_MAX) {
        return Err(malformed);
    }
    let mut placeholders = Placeholders::default();
    let attached = |number: Option<u64>| number.is_some_and(|number| number < attachments as u64);
    if attachments > 0 && !walk.filter_map(|token| placeholders.observe(&token)).all(attached) {
        return Err(malformed);
    }
    Ok(())
}

/// Whom an event is for, and how it is sent.
#[derive(Default)]
pub(super) struct Options {
    rooms: Vec<String>,
    except: Vec<String>,
    /// How long the sender waits for acknowledgements, when it wants any.
    pub(super) timeout: Option<Duration>,
    /// What a node of Parlance says besides.
    own: Option<Own>,
    /// The event's JSON, when it came beside.
    text: Option<Bytes>,
}

/// See [`is_own`].
#[derive(Default)]
struct Own {
    message: Option<(RoomId, u64)>,
    after: Option<(RoomId, u64)>,
    question: Option<Arc<Question>>,
}

impl Options {
    /// The event with it.
    pub(super) fn broadcast(self, mut packet: Packet) -> Result<Broadcast, CodecError> {
        if let Some(bytes) = self.text {
            let text = std::str::from_utf8(&bytes).map_err(|_| CodecError::Malformed("a text that is none"))?;
            check_text(text, packet.attachments.len())?;
            packet.text = bytes;
        }
        let is_own = self.own.is_some();
        let only_room = |place| match place {
            TargetRoom::RoomOrSocket(room) if is_own => TargetRoom::Room(room),
            place => place,
        };
        let to = match channels::target(&self.rooms) {
            BroadcastTarget::Rooms(places) => BroadcastTarget::Rooms(places.into_iter().map(only_room).collect()),
            BroadcastTarget::AllClients => BroadcastTarget::AllClients,
        };
        let Own {
            message,
            after,
            question,
        } = self.own.unwrap_or_default();
        Ok(Broadcast {
            packet,
            to,
            except: self.except.iter().map(|room| only_room(place(room))).collect(),
            message,
            after,
            question,
        })
    }
}

/// Reads them.
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
            "parlance" => options.own = Some(read_own(input)?),
            TEXT_KEY => options.text = Some(input.text_bytes()?),
            _ => input.skip()?,
        }
    }
    // No list is not an empty list, which would be everybody.
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
    // It may be nil.
    let Ok(count) = keys(&mut flags) else { return Ok(None) };
    for _ in 0..count {
        if flags.name()? == "timeout" {
            return Ok(flags.unsigned().ok().map(Duration::from_millis));
        }
        flags.skip()?;
    }
    Ok(None)
}

fn read_own(input: &mut Reader) -> Result<Own, CodecError> {
    let (mut room, mut seq, mut after): (Option<RoomId>, _, _) = (None, None, None);
    let (mut asker, mut tag, mut time): (Option<String>, Option<String>, _) = (None, None, None);
    for _ in 0..keys(input)? {
        match input.name()?.as_str() {
            "room" => room = RoomId::new(&input.name()?).ok(),
            "seq" => seq = Some(input.unsigned()?),
            "after" => after = Some(input.unsigned()?),
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
    Ok(Own {
        message: room.clone().zip(seq),
        after: room.zip(after),
        question: question.map(Arc::new),
    })
}
