//! From a Socket.IO packet's text to an event.

use bytes::Bytes;
use socketioxide_core::packet::{Packet, PacketData};
use socketioxide_core::parser::{Parse, ParseConfig, ParseError, ParserState};
use socketioxide_core::{Str, Value};
use socketioxide_parser_common::CommonParser;

/// Reads the packets of one connection.
#[derive(Default)]
pub(crate) struct Reader {
    config: ParseConfig,
    /// A packet whose attachments have not all come.
    state: ParserState,
}

impl Reader {
    /// Reads a packet's text. `None` when the connection is closed for it.
    pub(crate) fn text(&self, text: &str) -> Option<()> {
        whole(CommonParser.decode_str(&self.config, &self.state, Str::from(text.to_owned())))
    }

    /// Reads an attachment. `None` when the connection is closed for it.
    pub(crate) fn attachment(&self, bytes: Bytes) -> Option<()> {
        whole(CommonParser.decode_bin(&self.config, &self.state, bytes))
    }
}

fn whole(read: Result<Packet, ParseError>) -> Option<()> {
    match read {
        Ok(packet) => {
            let said = format!("{packet:?}");
            let Value::Str(text, attachments) = CommonParser.encode(packet.clone()) else {
                panic!("a packet that is no text: {said}")
            };
            assert_reads(&packet, &text, attachments.into_iter().flatten());
            if let PacketData::Event(value, _) | PacketData::BinaryEvent(value, _) = &packet.inner {
                event(value);
            }
            Some(())
        }
        Err(ParseError::NeedsMoreBinaryData) => Some(()),
        Err(_) => None,
    }
}

/// What was written of a packet is read as that packet.
fn assert_reads(packet: &Packet, text: &Str, attachments: impl Iterator<Item = Bytes>) {
    let (config, state) = (ParseConfig::default(), ParserState::default());
    let mut again = CommonParser.decode_str(&config, &state, text.clone());
    for attachment in attachments {
        again = CommonParser.decode_bin(&config, &state, attachment);
    }
    // An acknowledgement without a number is nobody's.
    if !matches!(packet.inner, PacketData::EventAck(_, -1) | PacketData::BinaryAck(_, -1)) {
        assert_eq!(again.ok().as_ref(), Some(packet), "{text}");
    }
}

fn event(value: &Value) {
    let name = CommonParser.read_event(value).map(|name| format!("\"{name}\""));
    let Value::Str(text, attachments) = value else {
        panic!("an event that is no text")
    };
    assert!(name.is_ok_and(|name| text.contains(&name)), "{text}");
    let attachments = attachments.iter().flatten().cloned().collect();
    parlance::dispatch::fuzz::event(text, attachments);
}
