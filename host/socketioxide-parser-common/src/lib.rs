//! Socket.IO's default parser: packets as text, followed by their binary attachments.
//!
//! ```text
//! TYPE[ATTACHMENTS-][NAMESPACE,][ACK_ID][JSON]
//! ```
//!
//! Replaces the published crate of this name; see `README.md`.

mod packet;
mod payload;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use socketioxide_core::packet::{Packet, PacketData};
use socketioxide_core::parser::{
    Parse, ParseConfig, ParseError, ParserError, ParserState, PartialBinPacket, is_de_tuple, is_ser_tuple,
};
use socketioxide_core::{Str, Value};

/// Parses and writes packets in the protocol's text encoding.
#[derive(Debug, Default, Clone, Copy)]
pub struct CommonParser;

/// The value is of another parser, since it is not text.
#[derive(Debug, thiserror::Error)]
#[error("the value is not text")]
struct NotText;

fn text(value: &Value) -> Result<&Str, ParserError> {
    value.as_str().ok_or_else(|| ParserError::new(NotText))
}

/// The attachments of a binary packet.
fn attachments(packet: &mut Packet) -> Option<&mut Option<VecDeque<Bytes>>> {
    match &mut packet.inner {
        PacketData::BinaryEvent(Value::Str(_, attachments), _)
        | PacketData::BinaryAck(Value::Str(_, attachments), _) => Some(attachments),
        _ => None,
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Parse for CommonParser {
    fn encode(self, packet: Packet) -> Value {
        packet::write(packet)
    }

    fn decode_str(self, config: &ParseConfig, state: &ParserState, data: Str) -> Result<Packet, ParseError> {
        let mut partial = lock(&state.partial_bin_packet);
        if partial.is_some() {
            return Err(ParseError::UnexpectedStringPacket);
        }
        let (packet, expected) = packet::read(&data)?;
        if expected > config.max_incoming_binaries {
            return Err(ParseError::TooManyAttachments {
                got: expected,
                max: config.max_incoming_binaries,
            });
        }
        if expected == 0 {
            return Ok(packet);
        }
        state.incoming_binary_cnt.store(expected, Ordering::Relaxed);
        *partial = Some(PartialBinPacket::new(packet));
        Err(ParseError::NeedsMoreBinaryData)
    }

    fn decode_bin(self, config: &ParseConfig, state: &ParserState, bin: Bytes) -> Result<Packet, ParseError> {
        let mut partial = lock(&state.partial_bin_packet);
        let waiting = partial.as_mut().ok_or(ParseError::UnexpectedBinaryPacket)?;
        if waiting.initial_packet_recv.elapsed() > config.packet_completion_timeout {
            return Err(ParseError::TimeoutWhileWaitingAttachments);
        }
        let got = attachments(&mut waiting.packet).ok_or(ParseError::UnexpectedBinaryPacket)?;
        let got = got.get_or_insert_default();
        let bytes = got.iter().map(Bytes::len).sum::<usize>().saturating_add(bin.len());
        if bytes > config.max_incoming_binary_buf_size {
            return Err(ParseError::AttachmentsTooHeavy {
                current: bytes,
                max: config.max_incoming_binary_buf_size,
            });
        }
        got.push_back(bin);
        if got.len() < state.incoming_binary_cnt.load(Ordering::Relaxed) {
            return Err(ParseError::NeedsMoreBinaryData);
        }
        partial
            .take()
            .map(|whole| whole.packet)
            .ok_or(ParseError::UnexpectedBinaryPacket)
    }

    /// Serializes bytes inside of `data` as arrays of numbers; see `README.md`.
    fn encode_value<T: ?Sized + Serialize>(self, data: &T, event: Option<&str>) -> Result<Value, ParserError> {
        let mut json = serde_json::to_string(data).map_err(ParserError::new)?;
        if !is_ser_tuple(data) {
            json = format!("[{json}]");
        }
        let Some(event) = event else {
            return Ok(Value::Str(json.into(), None));
        };
        let name = serde_json::to_string(event).map_err(ParserError::new)?;
        let arguments = json.strip_prefix('[').unwrap_or(&json);
        let comma = if arguments == "]" { "" } else { "," };
        Ok(Value::Str(format!("[{name}{comma}{arguments}").into(), None))
    }

    fn decode_value<'de, T: Deserialize<'de>>(self, value: &'de mut Value, with_event: bool) -> Result<T, ParserError> {
        let all: Vec<&RawValue> = serde_json::from_str(text(value)?).map_err(ParserError::new)?;
        let arguments = all.get(usize::from(with_event)..).unwrap_or_default();
        let data = if is_de_tuple::<T>() {
            serde_json::to_string(arguments).map_err(ParserError::new)?
        } else {
            arguments.first().map_or("null", |first| first.get()).to_owned()
        };
        // The result borrows from the value, so the text to parse is stored in the value.
        *value = Value::Str(data.into(), None);
        serde_json::from_str(text(value)?).map_err(ParserError::new)
    }

    fn decode_default<'de, T: Deserialize<'de>>(self, value: Option<&'de Value>) -> Result<T, ParserError> {
        let json = value.map_or(Ok("{}"), |value| text(value).map(Str::as_str))?;
        serde_json::from_str(json).map_err(ParserError::new)
    }

    fn encode_default<T: ?Sized + Serialize>(self, data: &T) -> Result<Value, ParserError> {
        let json = serde_json::to_string(data).map_err(ParserError::new)?;
        Ok(Value::Str(json.into(), None))
    }

    /// Returns the name as it is written in the packet, in which only `"`, `\` and control characters are escaped.
    /// `decode_str` has rewritten any other escapes.
    fn read_event(self, value: &Value) -> Result<&str, ParserError> {
        Ok(payload::raw_name(text(value)?).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
