//! Compresses messages (permessage-deflate, RFC 7692).
//!
//! Each message is compressed on its own (`no_context_takeover`), so that an idle connection needs no memory for a
//! window.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use http::{HeaderMap, header};
use rustix::time::{ClockId, clock_gettime};

use crate::frame::{FrameError, SizeLimits};

/// Enables permessage-deflate for clients that offer it, as a request extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// Messages of at least this many bytes are compressed. Compressing a short one gains nothing.
    pub min_bytes: usize,
}

/// The server's answer to an offer that it accepts.
pub(crate) const ACCEPTED_EXTENSION: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The compression level, 0 to 9. Higher levels cost several times as much processor time for a few bytes less.
const LEVEL: u32 = 3;
/// The end of a flushed message, which is not sent (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];
/// The bytes by which an output buffer grows.
const BUFFER_STEP: usize = 4 * 1024;
/// The inflated bytes that a connection may send in a second. A byte on the wire can inflate to a thousand.
const INFLATED_PER_SECOND: usize = 2 * 1024 * 1024;
/// The inflated bytes that a connection may send at once.
const INFLATED_AT_ONCE: usize = 4 * 1024 * 1024;
/// The processor time that inflating a connection's messages may take in a second: six times what
/// [`INFLATED_PER_SECOND`] takes. Empty blocks inflate to nothing and take some 600 ns a byte, ends of streams in the midst
/// of a message 2 µs a byte.
const INFLATING_PER_SECOND: Duration = Duration::from_millis(50);
/// The processor time that it may take at once.
const INFLATING_AT_ONCE: Duration = Duration::from_millis(50);
/// The processor time that it may take right after the connection has begun, since it has shown no token yet.
const INFLATING_AT_FIRST: Duration = Duration::from_millis(5);
/// The bytes of a message that are inflated before the time is looked at.
const CHUNK: usize = 4 * 1024;

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Limits what inflating the messages of one connection may cost.
#[derive(Debug)]
pub(crate) struct InflateBudget {
    left: InflateCost,
    since: Instant,
    /// Whether the client has shown a token.
    is_admitted: bool,
}

/// What inflating costs a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InflateCost {
    /// Inflated bytes.
    bytes: usize,
    /// Processor time.
    time: Duration,
}

impl InflateBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: InflateCost {
                bytes: INFLATED_AT_ONCE,
                time: INFLATING_AT_FIRST,
            },
            since: now,
            is_admitted: false,
        }
    }

    /// Inflates a message within the limits.
    pub(crate) fn inflate(&mut self, payload: &[u8], sizes: SizeLimits, now: Instant) -> Result<Vec<u8>, FrameError> {
        if sizes.is_admitted {
            self.admit();
        }
        let mut left = self.left(now);
        left.bytes = left.bytes.min(sizes.message);
        let (inflated, cost) = decompress(payload, left)?;
        self.spend(cost);
        Ok(inflated)
    }

    /// Notes that the client has shown a token: it gets the rest of what inflating may cost at once.
    fn admit(&mut self) {
        if !std::mem::replace(&mut self.is_admitted, true) {
            self.left.time += INFLATING_AT_ONCE.saturating_sub(INFLATING_AT_FIRST);
        }
    }

    /// What a message may cost now.
    fn left(&mut self, now: Instant) -> InflateCost {
        let since = now.saturating_duration_since(self.since);
        let millis = usize::try_from(since.as_millis()).unwrap_or(usize::MAX);
        if millis > 0 {
            let bytes = millis.saturating_mul(INFLATED_PER_SECOND / 1000);
            let time = since
                .min(Duration::from_secs(60))
                .mul_f64(INFLATING_PER_SECOND.as_secs_f64());
            self.left = InflateCost {
                bytes: self.left.bytes.saturating_add(bytes).min(INFLATED_AT_ONCE),
                time: self.left.time.saturating_add(time).min(INFLATING_AT_ONCE),
            };
            self.since = now;
        }
        self.left
    }

    /// Counts what a message has cost.
    fn spend(&mut self, cost: InflateCost) {
        self.left = InflateCost {
            bytes: self.left.bytes.saturating_sub(cost.bytes),
            time: self.left.time.saturating_sub(cost.time),
        };
    }
}

/// Whether the server can accept one of the client's offers (section 5.1).
pub(crate) fn is_offered(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(is_acceptable)
}

fn is_acceptable(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate"))
    {
        return false;
    }
    let mut seen = Vec::new();
    parts.all(|parameter| {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        if seen.contains(&name) {
            return false;
        }
        seen.push(name);
        match (name, value) {
            // The answer does not limit the client's window, so any limit that the client supports will do.
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(bits)) => matches!(bits.parse::<u8>(), Ok(8..=15)),
            _ => false,
        }
    })
}

/// Compresses a message of three parts. Returns `None` if that would not make it shorter.
pub(crate) fn compress(parts: [&[u8]; 3]) -> Option<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    COMPRESS.with_borrow_mut(|state| {
        state.reset();
        let mut out = Vec::with_capacity(length / 2 + BUFFER_STEP);
        let flushes = [FlushCompress::None, FlushCompress::None, FlushCompress::Sync];
        for (mut input, flush) in parts.into_iter().zip(flushes) {
            loop {
                let before = state.total_in();
                state.compress_vec(input, &mut out, flush).ok()?;
                let taken = usize::try_from(state.total_in() - before).ok()?;
                input = input.get(taken..)?;
                // The flush is complete when it has left room in the buffer.
                if input.is_empty() && out.len() < out.capacity() {
                    break;
                }
                if out.len() >= length {
                    return None;
                }
                out.reserve(BUFFER_STEP);
            }
        }
        out.truncate(out.strip_suffix(&TAIL)?.len());
        (out.len() < length).then_some(out)
    })
}

/// Inflates a message that may cost this much. Returns what it has cost.
///
/// The time is that of the thread, so that it does not count when a busy machine runs others meanwhile. Reading it takes a
/// system call.
fn decompress(payload: &[u8], max: InflateCost) -> Result<(Vec<u8>, InflateCost), FrameError> {
    let begun = thread_time();
    let used = || thread_time().saturating_sub(begun);
    DECOMPRESS.with_borrow_mut(|state| {
        state.reset(false);
        let mut out = Vec::with_capacity(
            payload
                .len()
                .saturating_mul(2)
                .clamp(64, BUFFER_STEP)
                .min(max.bytes.saturating_add(1)),
        );
        for mut input in payload.chunks(CHUNK).chain([&TAIL[..]]) {
            loop {
                let before = state.total_in();
                let status = state
                    .decompress_vec(input, &mut out, FlushDecompress::Sync)
                    .map_err(|_| FrameError::Protocol)?;
                let taken = usize::try_from(state.total_in() - before).unwrap_or(usize::MAX);
                input = input.get(taken..).unwrap_or_default();
                if out.len() > max.bytes {
                    return Err(FrameError::TooLarge);
                }
                // Another block may follow a final one (section 7.2.1). It starts with an empty window.
                if status == Status::StreamEnd {
                    state.reset(false);
                    if input.is_empty() {
                        break;
                    }
                    continue;
                }
                if out.len() == out.capacity() {
                    out.reserve(BUFFER_STEP.min(max.bytes.saturating_add(1).saturating_sub(out.len()).max(1)));
                } else if input.is_empty() {
                    break;
                } else if taken == 0 {
                    return Err(FrameError::Protocol);
                }
            }
            if used() > max.time {
                return Err(FrameError::TooCostly);
            }
        }
        let bytes = out.len();
        Ok((out, InflateCost { bytes, time: used() }))
    })
}

/// The processor time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const ALL: InflateCost = InflateCost {
        bytes: usize::MAX,
        time: Duration::MAX,
    };

    fn inflate(payload: &[u8], bytes: usize) -> Result<Vec<u8>, FrameError> {
        decompress(payload, InflateCost { bytes, ..ALL }).map(|(inflated, _)| inflated)
    }

    #[test]
    fn compressed_messages_inflate_to_the_originals() {
        for length in [1, 10, 1000, 70_000, 1_000_000] {
            let text: String = (0..)
                .map(|n| format!("{{\"n\":{n}}},"))
                .flat_map(|part| part.chars().collect::<Vec<_>>())
                .take(length)
                .collect();
            let Some(compressed) = compress([b"4", &[], text.as_bytes()]) else {
                assert!(length <= 10, "{length}");
                continue;
            };
            assert!(compressed.len() < length / 2, "{length}: {}", compressed.len());
            let back = inflate(&compressed, length + 1).unwrap();
            assert_eq!(back, [b"4", text.as_bytes()].concat());
            assert_eq!(inflate(&compressed, length), Err(FrameError::TooLarge));
        }
    }

    #[test]
    fn a_message_that_would_not_get_shorter_is_not_compressed() {
        let mut chance = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (chance >> 56) as u8
        })
        .take(10_000)
        .collect();
        assert!(compress([b"4", &[], &noise]).is_none());
    }

    #[test]
    fn what_inflating_costs_is_limited_for_each_connection() {
        let begun = Instant::now();
        let mut budget = InflateBudget::new(begun);
        let all = InflateCost {
            bytes: INFLATED_AT_ONCE,
            time: INFLATING_AT_ONCE,
        };
        assert_eq!(budget.left(begun).time, INFLATING_AT_FIRST);
        budget.admit();
        budget.admit();
        assert_eq!(budget.left(begun), all);
        let later = begun + Duration::from_secs(3600);
        assert_eq!(budget.left(later), all);
        budget.spend(all);
        let nothing = InflateCost {
            bytes: 0,
            time: Duration::ZERO,
        };
        assert_eq!(budget.left(later), nothing);
        let half = budget.left(later + Duration::from_millis(500));
        assert!(half.bytes.abs_diff(INFLATED_PER_SECOND / 2) < 2000);
        assert_eq!(half.time, INFLATING_PER_SECOND / 2);
    }

    #[test]
    fn a_message_that_takes_long_and_inflates_to_nothing_is_refused() {
        for (what, block) in [
            ("ends of streams", &[0x03, 0x00][..]),
            ("empty blocks", &[0x02, 0x00, 0x00, 0x00, 0xFF, 0xFF]),
        ] {
            let payload = block.repeat(500_000);
            let max = InflateCost {
                time: INFLATING_AT_ONCE,
                ..ALL
            };
            assert_eq!(decompress(&payload, max), Err(FrameError::TooCostly), "{what}");
        }
    }

    #[test]
    fn a_decompression_bomb_is_refused() {
        let zeros = vec![0; 50_000_000];
        let bomb = compress([&[], &[], &zeros]).unwrap();
        assert!(bomb.len() < 300_000);
        assert_eq!(inflate(&bomb, 1 << 20), Err(FrameError::TooLarge));
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // Section 7.2.3.1 and 7.2.3.3 (no compression), 7.2.3.4 (a last block).
        assert_eq!(
            inflate(&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00], 5).unwrap(),
            b"Hello"
        );
        assert_eq!(
            inflate(&[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00], 5).unwrap(),
            b"Hello"
        );
        assert_eq!(
            inflate(&[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00], 5).unwrap(),
            b"Hello"
        );
        assert_eq!(inflate(&[0x00], 5).unwrap(), b"", "an empty message, section 7.2.3.6");
        for broken in [&[0xFF; 20][..], &[0x07], &[0x06, 0x00]] {
            assert_eq!(inflate(broken, 100), Err(FrameError::Protocol), "{broken:?}");
        }
    }

    #[test]
    fn only_offers_that_the_server_supports_are_accepted() {
        let taken = |offer: &str| {
            let headers = HeaderMap::from_iter([(header::SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap())]);
            is_offered(&headers)
        };
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "Permessage-Deflate;server_no_context_takeover ; client_max_window_bits=10",
            "x-other, permessage-deflate; client_max_window_bits=\"15\"",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ] {
            assert!(taken(offer), "{offer}");
        }
        for offer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; unheard_of",
        ] {
            assert!(!taken(offer), "{offer}");
        }
    }
}
