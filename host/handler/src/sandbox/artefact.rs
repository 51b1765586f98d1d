//! What compiling makes of a component: its code, what is known of its instrumentation, and the table of its
//! source lines.
//!
//! All are together in what the compiling process writes and in the files of the cache: the length of the code, a byte
//! that is 1 if the component was instrumented, by how much its parts have moved then, the code, the table. The table comes
//! last, so that the code is there whatever becomes of a process that reads debug information.

use super::lines::TABLE_MAX;
use super::reset::{SHIFTS_BYTES, Shifts};
use super::trusted_code::TrustedCode;

/// Bytes of the length.
const LENGTH: usize = size_of::<u64>();
/// Bytes of what stands before the code.
pub(super) const HEADER: usize = LENGTH + 1 + SHIFTS_BYTES;
/// Most bytes that an artefact has besides its code.
pub(super) const BESIDES_CODE_MAX: usize = HEADER + TABLE_MAX;

/// A compiled component.
pub(super) struct Artefact {
    pub(super) code: TrustedCode,
    /// Present if the code has what [`reset`](super::reset) needs.
    pub(super) shifts: Option<Shifts>,
    /// The encoded table of source lines, which is checked when it is read; empty if there is none.
    pub(super) lines: Vec<u8>,
}

/// What stands before the code.
pub(super) fn header(code: &[u8], shifts: Option<Shifts>) -> Vec<u8> {
    let length = u64::try_from(code.len()).unwrap_or(u64::MAX).to_le_bytes();
    let shifts_bytes = shifts.unwrap_or_default().to_bytes();
    [&length[..], &[u8::from(shifts.is_some())], &shifts_bytes].concat()
}

/// The parts of an artefact, as bytes that nobody vouches for yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<B> {
    pub(super) code: B,
    pub(super) shifts: Option<Shifts>,
    pub(super) lines: B,
}

/// The parts in the bytes of an artefact. `None` if the code is not whole.
pub(super) fn split(bytes: &[u8]) -> Option<Parts<&[u8]>> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let (is_instrumented, rest) = rest.split_first()?;
    let (shifts, rest) = rest.split_first_chunk::<SHIFTS_BYTES>()?;
    let (code, lines) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some(Parts {
        code,
        shifts: (*is_instrumented == 1).then(|| Shifts::from_bytes(shifts)),
        lines,
    })
}

/// As [`split`], without a copy of the code.
pub(super) fn take_apart(mut bytes: Vec<u8>) -> Option<Parts<Vec<u8>>> {
    let Parts { code, shifts, lines } = split(&bytes)?;
    let (end, lines) = (HEADER.saturating_add(code.len()), lines.to_vec());
    bytes.truncate(end);
    bytes.drain(..HEADER);
    Some(Parts {
        code: bytes,
        shifts,
        lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_is_not_whole_is_refused() {
        let shifts = Some(Shifts::default());
        let mut bytes = header(b"code", shifts);
        bytes.extend_from_slice(b"codelines");
        let whole = Parts {
            code: &b"code"[..],
            shifts,
            lines: &b"lines"[..],
        };
        assert_eq!(split(&bytes), Some(whole));
        let taken = take_apart(bytes.clone()).unwrap();
        assert_eq!(
            (taken.code, taken.shifts, taken.lines),
            (b"code".to_vec(), shifts, b"lines".to_vec())
        );
        let whole = HEADER + 4;
        assert_eq!(split(&bytes[..whole]).unwrap().lines, b"");
        for end in 0..whole {
            assert_eq!(split(&bytes[..end]), None, "{end}");
        }
        assert_eq!(split(&[0xff; 100]), None);
    }
}
