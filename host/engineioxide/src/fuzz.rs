//! Properties that must hold for any bytes of a client. The unit tests below and the fuzz targets in `tests/fuzz` check
//! them.

use bytes::Bytes;

use crate::frame::{Decoder, Message, SizeLimits};
use crate::payload;

/// Bytes of the largest message and of the largest frame.
const MOST: usize = 4096;

/// The outcome of reading the bytes of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The number of messages that were read.
    pub messages: usize,
    /// Whether the connection is closed because of an error.
    pub refused: bool,
}

/// Reads WebSocket frames that arrive in pieces of `piece` bytes. With `compressed` the client may compress messages.
///
/// # Panics
/// When the decoder holds more memory than its bound, or when the messages depend on the pieces.
#[must_use]
pub fn frames(bytes: &[u8], piece: usize, compressed: bool) -> Read {
    let read = messages(bytes, piece, compressed);
    // The budget for decompression depends on the clock, so two readings may differ.
    assert!(
        compressed || messages(bytes, usize::MAX, compressed) == read,
        "pieces of {piece}"
    );
    let (messages, refused) = read;
    Read {
        messages: messages.len(),
        refused,
    }
}

fn messages(bytes: &[u8], piece: usize, compressed: bool) -> (Vec<Message>, bool) {
    let sizes = SizeLimits {
        message: MOST,
        frame: MOST,
        is_admitted: true,
    };
    let mut decoder = Decoder::new(compressed);
    let mut messages = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        decoder.input.extend_from_slice(piece);
        loop {
            match decoder.next(sizes) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
        let held = decoder.input.capacity();
        assert!(held <= 8 * MOST.max(piece.len()), "{held} bytes are held");
    }
    (messages, false)
}

/// Decodes a binary packet of the polling transport, without its leading `b`.
#[must_use]
pub fn binary(text: &str) -> Option<Bytes> {
    payload::decode_binary(text)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use proptest::test_runner::TestRunner;

    use super::*;

    /// A frame as a client sends it. In one of ten, a byte near the beginning is changed.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let opcode = select(&[0x0_u8, 0x1, 0x1, 0x2, 0x2, 0x8, 0x9, 0xa][..]);
        let last = prop_oneof![7 => Just(0x80_u8), 1 => Just(0)];
        let text = vec(prop_oneof![7 => 0..0x80_u8, 1 => any::<u8>()], 0..120);
        let payload = prop_oneof![19 => text, 1 => vec(0..0x80_u8, 0..2 * MOST)];
        let broken = proptest::option::weighted(0.1, (any::<Index>(), any::<u8>()));
        (opcode, last, payload, any::<[u8; 4]>(), broken).prop_map(|(opcode, last, payload, mask, broken)| {
            let mut bytes = vec![last | opcode];
            match u8::try_from(payload.len()) {
                Ok(short @ 0..=125) => bytes.push(0x80 | short),
                _ => {
                    bytes.push(0x80 | 126);
                    bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
                }
            }
            bytes.extend(mask);
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            if let Some((at, byte)) = broken {
                let at = at.index(bytes.len().min(16));
                bytes[at] = byte;
            }
            bytes
        })
    }

    #[test]
    fn broken_frames_are_refused_within_the_bounds() {
        let (cases, read, refused) = (2_000, Cell::new(0), Cell::new(0));
        let connection = (vec(frame(), 1..9), 1..300_usize, any::<bool>());
        TestRunner::new(ProptestConfig::with_cases(cases))
            .run(&connection, |(sent, piece, compressed)| {
                let connection = frames(&sent.concat(), piece, compressed);
                read.set(read.get() + connection.messages);
                refused.set(refused.get() + u32::from(connection.refused));
                Ok(())
            })
            .unwrap();
        // The strategy must produce enough of both.
        assert!(read.get() > cases as usize / 2, "{} messages", read.get());
        assert!(refused.get() > cases / 10, "{} refusals", refused.get());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn base64_is_decoded_with_and_without_padding(bytes: Vec<u8>) {
            use base64::Engine as _;
            use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

            for text in [STANDARD.encode(&bytes), STANDARD_NO_PAD.encode(&bytes), URL_SAFE.encode(&bytes)] {
                prop_assert_eq!(binary(&text), Some(Bytes::from(bytes.clone())));
            }
        }

        #[test]
        fn decoding_base64_never_panics(text: String) {
            let _ = binary(&text);
        }
    }
}
