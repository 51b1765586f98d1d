//! Reads and writes WebSocket frames as a server (RFC 6455, section 5), with compression where that was negotiated.
//!
//! The payload of a message is unmasked as it arrives. So a connection uses memory only for bytes that it has received,
//! not for the length that a frame announces.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use crate::deflate::{self, Deflate};

/// The reserved bit that marks the first frame of a compressed message (RFC 7692, section 6).
const COMPRESSED: u8 = 0x40;
/// The longest payload of a control frame, in bytes.
const CONTROL_MAX: usize = 125;

/// A message or a control frame of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    /// A close frame, with its status code if it has one.
    Close(Option<u16>),
}

/// Why the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameError {
    Protocol,
    TooLarge,
    NotUtf8,
    /// Inflating the connection's messages takes too much processor time.
    TooCostly,
}

impl FrameError {
    /// The status code for the close frame (RFC 6455, section 7.4.1).
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooCostly => 1008,
            Self::TooLarge => 1009,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn of(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return Err(FrameError::Protocol),
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    last: bool,
    mask: [u8; 4],
    /// Bytes of its payload that have not been received yet.
    missing: usize,
}

/// The largest accepted message and the largest accepted frame, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SizeLimits {
    pub(crate) message: usize,
    pub(crate) frame: usize,
    /// Whether the client has shown a token.
    pub(crate) is_admitted: bool,
}

/// A message whose last frame has not been read yet.
#[derive(Debug, Clone, Copy)]
struct PartialMessage {
    text: bool,
    compressed: bool,
}

/// Decodes messages from received bytes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Received bytes that have not been decoded yet.
    pub(crate) input: BytesMut,
    /// Set when the client may compress its messages.
    inflate_budget: Option<deflate::InflateBudget>,
    frame: Option<Frame>,
    partial: Option<PartialMessage>,
    /// The unmasked payload of the partial message so far.
    payload: Vec<u8>,
}

impl Decoder {
    /// Creates a decoder. `inflates` tells whether compression was negotiated.
    pub(crate) fn new(inflates: bool) -> Self {
        Self {
            inflate_budget: inflates.then(|| deflate::InflateBudget::new(Instant::now())),
            ..Self::default()
        }
    }

    /// Decodes the next message, if it is complete.
    pub(crate) fn next(&mut self, sizes: SizeLimits) -> Result<Option<Message>, FrameError> {
        loop {
            let Some(frame) = &mut self.frame else {
                match self.header(sizes)? {
                    Some(frame) => self.frame = Some(frame),
                    None => return Ok(None),
                }
                continue;
            };
            if frame.opcode.is_control() {
                if self.input.len() < frame.missing {
                    return Ok(None);
                }
                let mut payload = self.input.split_to(frame.missing);
                unmask(&mut payload, frame.mask);
                let opcode = frame.opcode;
                self.frame = None;
                return Ok(Some(match opcode {
                    Opcode::Ping => Message::Ping(payload.freeze()),
                    Opcode::Pong => Message::Pong,
                    _ => Message::Close(close_code(&payload)?),
                }));
            }
            let available = frame.missing.min(self.input.len());
            let begin = self.payload.len();
            self.payload
                .extend_from_slice(self.input.get(..available).unwrap_or_default());
            self.input.advance(available);
            unmask(self.payload.get_mut(begin..).unwrap_or_default(), frame.mask);
            frame.missing -= available;
            frame.mask.rotate_left(available % 4);
            if frame.missing > 0 {
                return Ok(None);
            }
            let last = frame.last;
            self.frame = None;
            if let Some(PartialMessage { text, compressed }) = self.partial.take_if(|_| last) {
                let mut payload = std::mem::take(&mut self.payload);
                if let Some(budget) = self.inflate_budget.as_mut().filter(|_| compressed) {
                    payload = budget.inflate(&payload, sizes, Instant::now())?;
                }
                return Ok(Some(if text {
                    Message::Text(String::from_utf8(payload).map_err(|_| FrameError::NotUtf8)?)
                } else {
                    Message::Binary(payload.into())
                }));
            }
        }
    }

    /// Decodes and checks the header of the next frame.
    fn header(&mut self, sizes: SizeLimits) -> Result<Option<Frame>, FrameError> {
        let &[first, second, ref rest @ ..] = &*self.input else {
            return Ok(None);
        };
        let (last, reserved) = (first & 0x80 != 0, first & 0x70);
        let opcode = Opcode::of(first & 0x0F)?;
        // Only the first frame of a message may have the bit (RFC 7692, section 6).
        let compressed =
            reserved == COMPRESSED && self.inflate_budget.is_some() && matches!(opcode, Opcode::Text | Opcode::Binary);
        // A client must mask its frames (section 5.1).
        if reserved != 0 && !compressed || second & 0x80 == 0 {
            return Err(FrameError::Protocol);
        }
        let (length, wide) = match second & 0x7F {
            126 => match rest.first_chunk() {
                Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 8),
                None => return Ok(None),
            },
            short => (u64::from(short), 0),
        };
        let Some(mask) = rest.get(wide..).and_then(|rest| rest.first_chunk()).copied() else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| FrameError::TooLarge)?;
        if opcode.is_control() {
            if !last || length > CONTROL_MAX {
                return Err(FrameError::Protocol);
            }
        } else {
            match (opcode, self.partial) {
                (Opcode::Continuation, Some(_)) => {}
                (Opcode::Continuation, None) | (_, Some(_)) => return Err(FrameError::Protocol),
                (opcode, None) => {
                    self.partial = Some(PartialMessage {
                        text: opcode == Opcode::Text,
                        compressed,
                    });
                }
            }
            if length > sizes.frame || length > sizes.message.saturating_sub(self.payload.len()) {
                return Err(FrameError::TooLarge);
            }
        }
        self.input.advance(2 + wide + mask.len());
        Ok(Some(Frame {
            opcode,
            last,
            mask,
            missing: length,
        }))
    }

    /// Whether no part of a message waits.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.input.is_empty() && self.frame.is_none() && self.partial.is_none()
    }
}

/// Parses the status code in a close frame's payload (RFC 6455, sections 5.5.1 and 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(FrameError::Protocol)
        };
    };
    let code = u16::from_be_bytes(*code);
    // The codes that a frame may have, and those of libraries and applications.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(FrameError::Protocol);
    }
    std::str::from_utf8(reason).map_err(|_| FrameError::NotUtf8)?;
    Ok(Some(code))
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends a text frame with a packet: its type, then its text.
pub(crate) fn write_text(out: &mut Vec<u8>, kind: u8, [head, body]: [&[u8]; 2], deflate: Option<Deflate>) {
    write_message(out, 0x1, [&[kind], head, body], deflate);
}

/// Appends a binary frame.
pub(crate) fn write_binary(out: &mut Vec<u8>, bytes: &[u8], deflate: Option<Deflate>) {
    write_message(out, 0x2, [&[], &[], bytes], deflate);
}

fn write_message(out: &mut Vec<u8>, opcode: u8, parts: [&[u8]; 3], deflate: Option<Deflate>) {
    let length = parts.iter().map(|part| part.len()).sum();
    let compressed = deflate
        .filter(|deflate| length >= deflate.min_bytes)
        .and_then(|_| deflate::compress(parts));
    if let Some(compressed) = compressed {
        write_header(out, COMPRESSED | opcode, compressed.len());
        out.extend_from_slice(&compressed);
        return;
    }
    write_header(out, opcode, length);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends a pong with the payload of its ping.
pub(crate) fn write_pong(out: &mut Vec<u8>, bytes: &[u8]) {
    write_header(out, 0xA, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a close frame.
pub(crate) fn write_close(out: &mut Vec<u8>, code: Option<u16>) {
    let code = code.map(u16::to_be_bytes);
    let payload = code.as_ref().map_or(&[][..], |code| code);
    write_header(out, 0x8, payload.len());
    out.extend_from_slice(payload);
}

fn write_header(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.push(short),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{Frame as Theirs, FrameHeader};

    use super::*;

    const SIZES: SizeLimits = SizeLimits {
        message: 1 << 20,
        frame: 1 << 20,
        is_admitted: true,
    };

    fn masked(opcode: Data, last: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Theirs::message(payload.to_vec(), OpCode::Data(opcode), last);
        let header: &mut FrameHeader = frame.header_mut();
        header.mask = Some([7, 99, 0, 255]);
        let mut bytes = Vec::new();
        frame.format(&mut bytes).unwrap();
        bytes
    }

    /// Decodes the bytes in pieces of this size.
    fn read_in_pieces(bytes: &[u8], piece: usize) -> Vec<Message> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        for piece in bytes.chunks(piece) {
            decoder.input.extend_from_slice(piece);
            while let Some(message) = decoder.next(SIZES).unwrap() {
                messages.push(message);
            }
        }
        assert!(decoder.is_idle());
        messages
    }

    #[test]
    fn messages_are_decoded_from_pieces_of_any_size() {
        let long = "héllo ".repeat(20_000);
        let mut bytes = masked(Data::Text, true, b"4hello");
        bytes.extend(masked(Data::Binary, false, &[1; 300]));
        bytes.extend([0x89, 0x83, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3]);
        bytes.extend(masked(Data::Continue, true, &[2; 70_000]));
        bytes.extend(masked(Data::Text, true, long.as_bytes()));
        bytes.extend(masked(Data::Text, true, b""));
        let mut binary = vec![1; 300];
        binary.extend([2; 70_000]);
        for piece in [1, 2, 3, 7, 4096, usize::MAX >> 1] {
            let expected = [
                Message::Text("4hello".into()),
                Message::Ping(Bytes::from_static(b"abc")),
                Message::Binary(binary.clone().into()),
                Message::Text(long.clone()),
                Message::Text(String::new()),
            ];
            assert!(read_in_pieces(&bytes, piece) == expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn frames_that_the_protocol_forbids_are_refused() {
        let refused = |bytes: &[u8]| {
            let mut decoder = Decoder::default();
            decoder.input.extend_from_slice(bytes);
            loop {
                match decoder.next(SIZES) {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{bytes:?} is taken"),
                    Err(error) => return error,
                }
            }
        };
        assert_eq!(refused(&[0x81, 0x01, b'x']), FrameError::Protocol, "not masked");
        assert_eq!(
            refused(&[0xC1, 0x80, 0, 0, 0, 0]),
            FrameError::Protocol,
            "a reserved bit"
        );
        assert_eq!(
            refused(&[0x83, 0x80, 0, 0, 0, 0]),
            FrameError::Protocol,
            "an unknown opcode"
        );
        assert_eq!(
            refused(&[0x80, 0x80, 0, 0, 0, 0]),
            FrameError::Protocol,
            "continues nothing"
        );
        assert_eq!(
            refused(&[0x09, 0x80, 0, 0, 0, 0]),
            FrameError::Protocol,
            "a ping in pieces"
        );
        assert_eq!(
            refused(&[0x89, 0xFE, 0, 126, 0, 0, 0, 0]),
            FrameError::Protocol,
            "a long ping"
        );
        let mut two = masked(Data::Text, false, b"a");
        two.extend(masked(Data::Text, true, b"b"));
        assert_eq!(refused(&two), FrameError::Protocol, "a message within a message");
        assert_eq!(refused(&masked(Data::Text, true, &[0xFF])), FrameError::NotUtf8);
        assert_eq!(
            refused(&[0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]),
            FrameError::TooLarge
        );
    }

    #[test]
    fn a_close_frame_is_read_with_its_code() {
        let read = |payload: &[u8]| {
            let mut decoder = Decoder::default();
            decoder
                .input
                .extend_from_slice(&[0x88, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0]);
            decoder.input.extend_from_slice(payload);
            decoder.next(SIZES)
        };
        assert_eq!(read(&[]), Ok(Some(Message::Close(None))));
        for code in [1000u16, 1001, 1014, 3000, 4999] {
            let mut payload = code.to_be_bytes().to_vec();
            payload.extend("bye é".bytes());
            assert_eq!(read(&payload), Ok(Some(Message::Close(Some(code)))), "{code}");
        }
        for code in [0u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert_eq!(read(&code.to_be_bytes()), Err(FrameError::Protocol), "{code}");
        }
        assert_eq!(read(&[3]), Err(FrameError::Protocol), "half a code");
        assert_eq!(read(&[3, 232, 0xFF]), Err(FrameError::NotUtf8));
    }

    #[test]
    fn size_limits_are_exact_to_the_byte() {
        let sizes = SizeLimits {
            message: 10,
            frame: 6,
            is_admitted: true,
        };
        let read = |parts: &[(Data, bool, usize)]| {
            let mut decoder = Decoder::default();
            for (opcode, last, length) in parts {
                decoder
                    .input
                    .extend_from_slice(&masked(*opcode, *last, &vec![b'x'; *length]));
            }
            decoder.next(sizes)
        };
        assert!(read(&[(Data::Text, true, 6)]).unwrap().is_some());
        assert_eq!(read(&[(Data::Text, true, 7)]), Err(FrameError::TooLarge));
        assert!(
            read(&[(Data::Text, false, 6), (Data::Continue, true, 4)])
                .unwrap()
                .is_some()
        );
        assert_eq!(
            read(&[(Data::Text, false, 6), (Data::Continue, true, 5)]),
            Err(FrameError::TooLarge)
        );
    }

    #[test]
    fn another_implementation_reads_what_is_written() {
        for length in [0, 1, 124, 125, 126, 65_534, 65_535, 65_536, 100_000] {
            let mut out = Vec::new();
            write_text(&mut out, b'4', [b"", "x".repeat(length).as_bytes()], None);
            let mut input = std::io::Cursor::new(&out);
            let (header, payload) = FrameHeader::parse(&mut input).unwrap().unwrap();
            assert!(header.is_final && header.mask.is_none());
            assert_eq!(header.opcode, OpCode::Data(Data::Text));
            assert_eq!(usize::try_from(payload).unwrap(), length + 1);
            assert_eq!(out.len() - usize::try_from(input.position()).unwrap(), length + 1);
        }
    }
}
