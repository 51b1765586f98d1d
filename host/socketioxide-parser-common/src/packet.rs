//! Parses and writes the text of packets.

use std::collections::VecDeque;

use bytes::Bytes;
use socketioxide_core::packet::{Packet, PacketData};
use socketioxide_core::parser::ParseError;
use socketioxide_core::{Str, Value};

use crate::payload;

/// The fields of a packet.
struct Head<'a> {
    kind: u8,
    attachments: usize,
    namespace: &'a str,
    /// The id of the acknowledgement that an event asks for, or that this packet is.
    ack_id: Option<i64>,
    payload: &'a str,
}

/// Splits the text after the longest prefix of bytes for which `is` holds.
fn split_while(text: &str, is: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !is(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Splits a packet into its fields, without parsing the payload.
fn head(text: &str) -> Result<Head<'_>, ParseError> {
    let kind = text.bytes().next().ok_or(ParseError::InvalidPacketType)?;
    let mut rest = text.get(1..).ok_or(ParseError::InvalidPacketType)?;
    let mut attachments = 0;
    if matches!(kind, b'5' | b'6') {
        let (count, behind) = rest.split_once('-').ok_or(ParseError::InvalidAttachments)?;
        // A missing count means zero. Node's server closes the connection on a missing count and on zero, but accepting
        // them does no harm.
        if !count.is_empty() {
            let digits = count.bytes().all(|byte| byte.is_ascii_digit());
            let read = digits.then(|| count.parse().ok()).flatten();
            attachments = read.ok_or(ParseError::InvalidAttachments)?;
        }
        rest = behind;
    }
    let mut namespace = "/";
    if rest.starts_with('/') {
        // A client may leave out the comma if nothing follows the namespace.
        (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
    }
    let (digits, payload) = split_while(rest, |byte| byte.is_ascii_digit());
    let ack_id = match digits {
        "" => None,
        digits => Some(digits.parse().map_err(|_| ParseError::InvalidAckId)?),
    };
    let (_, payload) = split_while(payload, |byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    Ok(Head {
        kind,
        attachments,
        namespace,
        ack_id,
        payload,
    })
}

/// Makes a shared slice of `text` from `part`, which borrows from it.
fn slice_of(text: &Str, part: &str) -> Str {
    let start = part.as_ptr().addr().wrapping_sub(text.as_str().as_ptr().addr());
    text.slice(start..start.wrapping_add(part.len()))
}

/// Parses a packet. Returns it with the number of attachments that follow.
///
/// # Errors
/// The text is not a packet that a client may send.
pub(crate) fn read(text: &Str) -> Result<(Packet, usize), ParseError> {
    let head = head(text)?;
    let value = |json| Value::Str(json, None);
    let inner = match head.kind {
        b'0' => {
            let auth = payload::check_connect(head.payload)?;
            PacketData::Connect(auth.then(|| value(slice_of(text, head.payload))))
        }
        b'1' if head.payload.is_empty() => PacketData::Disconnect,
        b'2' | b'5' => {
            let payload = payload::check_event(head.payload)?;
            let payload = payload.unwrap_or_else(|| slice_of(text, head.payload));
            if head.kind == b'2' {
                PacketData::Event(value(payload), head.ack_id)
            } else {
                PacketData::BinaryEvent(value(payload), head.ack_id)
            }
        }
        b'3' | b'6' => {
            payload::check_acknowledgement(head.payload)?;
            let payload = value(slice_of(text, head.payload));
            // Ids count from 0, so -1 acknowledges nothing.
            let ack_id = head.ack_id.unwrap_or(-1);
            if head.kind == b'3' {
                PacketData::EventAck(payload, ack_id)
            } else {
                PacketData::BinaryAck(payload, ack_id)
            }
        }
        b'1' => return Err(ParseError::InvalidData),
        _ => return Err(ParseError::InvalidPacketType),
    };
    let ns = match head.namespace {
        "/" => Str::from("/"),
        namespace => slice_of(text, namespace),
    };
    Ok((Packet { inner, ns }, head.attachments))
}

/// The bytes of a packet besides its payload and namespace, with room for two numbers.
const HEAD: usize = 48;

/// Writes a packet.
pub(crate) fn write(packet: Packet) -> Value {
    let (payload, attachments, ack_id) = match &packet.inner {
        PacketData::Connect(value) => (value.as_ref().and_then(Value::as_str), None, None),
        PacketData::Disconnect | PacketData::ConnectError(_) => (None, None, None),
        PacketData::Event(value, ack_id) => (value.as_str(), None, *ack_id),
        PacketData::EventAck(value, ack_id) => (value.as_str(), None, Some(*ack_id)),
        PacketData::BinaryEvent(value, ack_id) => (value.as_str(), Some(count(value)), *ack_id),
        PacketData::BinaryAck(value, ack_id) => (value.as_str(), Some(count(value)), Some(*ack_id)),
    };
    let payload = payload.map(Str::as_str).unwrap_or_default();
    let mut text = String::with_capacity(HEAD + packet.ns.len() + payload.len());
    push_number(&mut text, packet.inner.index());
    if let Some(attachments) = attachments {
        push_number(&mut text, attachments);
        text.push('-');
    }
    if !matches!(packet.ns.as_str(), "" | "/") {
        if !packet.ns.starts_with('/') {
            text.push('/');
        }
        text.push_str(&packet.ns);
        text.push(',');
    }
    if let Some(ack_id) = ack_id {
        push_number(&mut text, ack_id);
    }
    match &packet.inner {
        PacketData::ConnectError(message) => {
            text.push_str("{\"message\":");
            text.push_str(&payload::to_json_string(message));
            text.push('}');
        }
        _ => text.push_str(payload),
    }
    Value::Str(text.into(), into_attachments(packet.inner))
}

fn push_number(text: &mut String, number: impl std::fmt::Display) {
    use std::fmt::Write as _;
    // Writing to a string does not fail.
    let _ = write!(text, "{number}");
}

fn count(value: &Value) -> usize {
    match value {
        Value::Str(_, Some(attachments)) => attachments.len(),
        Value::Str(_, None) | Value::Bytes(_) => 0,
    }
}

fn into_attachments(data: PacketData) -> Option<VecDeque<Bytes>> {
    match data {
        PacketData::BinaryEvent(Value::Str(_, attachments), _)
        | PacketData::BinaryAck(Value::Str(_, attachments), _) => attachments,
        _ => None,
    }
}
