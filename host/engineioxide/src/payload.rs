//! The payload of polling requests and responses: packets with separators (Engine.IO protocol, "HTTP long-polling").

use base64::Engine as _;
use base64::engine::GeneralPurposeConfig;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, general_purpose};
use bytes::Bytes;

use crate::outbox::{OutPacket, Outbox};

/// Separates two packets.
pub(crate) const SEPARATOR: char = '\x1e';

/// Decodes base64 with or without padding, as Node does.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes a binary packet. Java clients add line breaks to base64, and Node also takes the URL-safe alphabet.
pub(crate) fn decode_binary(text: &str) -> Option<Bytes> {
    let decoded = if text.contains(['\r', '\n', ' ', '-', '_']) {
        let letters = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
        let standard: Vec<u8> = letters
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                byte => byte,
            })
            .collect();
        LENIENT.decode(standard)
    } else {
        LENIENT.decode(text)
    };
    decoded.ok().map(Bytes::from)
}

/// Takes waiting packets as a payload of about `max` bytes, or at least one packet if there is any.
pub(crate) fn drain(outbox: &Outbox, max: usize) -> String {
    let mut payload = String::new();
    while payload.len() < max {
        let Some(packet) = outbox.take() else { break };
        if !payload.is_empty() {
            payload.push(SEPARATOR);
        }
        match packet {
            OutPacket::Text(text) => {
                payload.push('4');
                payload.push_str(&text.head);
                payload.push_str(text.body());
            }
            OutPacket::Binary(bytes) => {
                payload.push('b');
                STANDARD.encode_string(bytes, &mut payload);
            }
            OutPacket::Ping => payload.push('2'),
        }
    }
    payload
}

/// Encodes random bytes as a session's secret.
pub(crate) fn encode_secret(bytes: [u8; 16]) -> Option<crate::request::Secret> {
    let mut letters = [0; crate::request::SECRET_LENGTH];
    general_purpose::URL_SAFE_NO_PAD
        .encode_slice(bytes, &mut letters)
        .ok()?;
    Some(letters)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use engineioxide_core::Str;

    use super::*;
    use crate::outbox::Text;

    #[test]
    fn base64_is_read_as_node_reads_it() {
        for text in ["AQID", "AQ\r\nID", "AQID\n", "AQ ID"] {
            assert_eq!(decode_binary(text).unwrap(), [1, 2, 3].as_slice(), "{text:?}");
        }
        assert_eq!(decode_binary("-_-_").unwrap(), [0xFB, 0xFF, 0xBF].as_slice());
        assert_eq!(decode_binary("AQ==").unwrap(), [1].as_slice());
        assert_eq!(decode_binary("AQ").unwrap(), [1].as_slice());
        assert_eq!(decode_binary("").unwrap(), [].as_slice());
        assert!(decode_binary("é").is_none());
    }

    #[test]
    fn a_payload_has_the_waiting_packets_up_to_its_size() {
        let outbox = Outbox::new(9, usize::MAX);
        for text in ["aaaa", "bbbb", "cccc"] {
            outbox.reserve().unwrap();
            outbox.push_reserved([OutPacket::Text(Str::from(text).into())]);
        }
        outbox.ping();
        outbox.reserve().unwrap();
        outbox.push_reserved([OutPacket::Binary(Bytes::from_static(&[1, 2, 3]))]);
        assert_eq!(drain(&outbox, 6), "4aaaa\x1e4bbbb");
        assert_eq!(drain(&outbox, 100), "4cccc\x1e2\x1ebAQID");
        assert_eq!(drain(&outbox, 100), "");
    }

    #[test]
    fn a_text_in_two_parts_is_one_packet() {
        let outbox = Outbox::new(9, usize::MAX);
        for body in ["[\"a\"]", "[\"ä\"]"] {
            outbox.reserve().unwrap();
            outbox.push_reserved([OutPacket::Text(Text {
                head: "2/acme,".into(),
                body: Bytes::from_static(body.as_bytes()),
            })]);
        }
        assert_eq!(outbox.bytes(), 7 + 5 + 7 + 6);
        assert_eq!(drain(&outbox, 100), "42/acme,[\"a\"]\x1e42/acme,[\"ä\"]");
        assert_eq!(outbox.bytes(), 0);
    }
}
