//! Bytes by chance, and frames with something wrong: nothing panics, and nothing is held beyond its bound.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use crate::frame::{Decoder, SizeLimits};
use crate::payload;

/// The largest message and frame here.
const MOST: usize = 4096;

/// xorshift64: the same run for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        // Text, as a rule.
        let end = if self.below(8) == 0 { 256 } else { 128 };
        (0..length).map(|_| u8::try_from(self.below(end)).unwrap()).collect()
    }
}

/// A frame as a client sends it, with a byte of it changed now and then.
fn frame(chance: &mut Chance) -> Vec<u8> {
    let most = if chance.below(20) == 0 { 2 * MOST } else { 120 };
    let payload = chance.bytes(most);
    let opcode = [0x0, 0x1, 0x1, 0x2, 0x2, 0x8, 0x9, 0xa][chance.below(8)];
    let last = if chance.below(8) == 0 { 0 } else { 0x80 };
    let mut bytes = vec![last | opcode];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    let mask: [u8; 4] = std::array::from_fn(|_| u8::try_from(chance.below(256)).unwrap());
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    if chance.below(8) == 0 {
        let at = chance.below(bytes.len().min(16));
        bytes[at] = u8::try_from(chance.below(256)).unwrap();
    }
    bytes
}

#[test]
fn broken_input_never_harms() {
    // More by PARLANCE_FUZZ_ROUNDS, for an hour of it.
    let rounds = std::env::var("PARLANCE_FUZZ_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(5_000);
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let sizes = SizeLimits {
        message: MOST,
        frame: MOST,
    };
    let (mut read, mut refused) = (0, 0);
    for _ in 0..rounds {
        let mut decoder = Decoder::new(chance.below(2) == 0);
        let mut held = 0;
        'connection: for _ in 0..1 + chance.below(8) {
            let bytes = frame(&mut chance);
            for piece in bytes.chunks(1 + chance.below(300)) {
                decoder.input.extend_from_slice(piece);
                loop {
                    match decoder.next(sizes) {
                        Ok(Some(_)) => read += 1,
                        Ok(None) => break,
                        Err(_) => {
                            refused += 1;
                            break 'connection;
                        }
                    }
                }
                held = held.max(decoder.input.capacity());
            }
        }
        assert!(held <= 8 * MOST, "{held} bytes are held");
        let text = String::from_utf8_lossy(&chance.bytes(100)).into_owned();
        let _ = payload::decode_binary(&text);
    }
    assert!(
        read > rounds / 2 && refused > rounds / 10,
        "{read} messages, {refused} refusals"
    );
}
