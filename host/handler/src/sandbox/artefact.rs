//! What compiling makes of a component: its code, and the table of its source lines.
//!
//! Both are together in what the compiling process writes and in the files of the cache: the length of the code, the code,
//! the table. The code comes first, so that it is there whatever becomes of a process that reads debug information.

use super::lines::TABLE_MAX;
use super::trusted_code::TrustedCode;

/// Bytes of the length.
const HEADER: usize = size_of::<u64>();
/// Most bytes that an artefact has besides its code.
pub(super) const BESIDES_CODE_MAX: usize = HEADER + TABLE_MAX;

/// A compiled component.
pub(super) struct Artefact {
    pub(super) code: TrustedCode,
    /// The encoded table of source lines, which is checked when it is read; empty if there is none.
    pub(super) lines: Vec<u8>,
}

/// What stands before the code.
pub(super) fn header(code: &[u8]) -> [u8; HEADER] {
    u64::try_from(code.len()).unwrap_or(u64::MAX).to_le_bytes()
}

/// The code and the table in the bytes of an artefact. `None` if the code is not whole.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<HEADER>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// As [`split`], without a copy of the code.
pub(super) fn take_apart(mut bytes: Vec<u8>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (code, lines) = split(&bytes)?;
    let (end, lines) = (HEADER.saturating_add(code.len()), lines.to_vec());
    bytes.truncate(end);
    bytes.drain(..HEADER);
    Some((bytes, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_is_not_whole_is_refused() {
        let mut bytes = header(b"code").to_vec();
        bytes.extend_from_slice(b"codelines");
        assert_eq!(split(&bytes), Some((&b"code"[..], &b"lines"[..])));
        assert_eq!(take_apart(bytes.clone()), Some((b"code".to_vec(), b"lines".to_vec())));
        assert_eq!(split(&bytes[..12]), Some((&b"code"[..], &b""[..])));
        for end in 0..12 {
            assert_eq!(split(&bytes[..end]), None, "{end}");
        }
        assert_eq!(split(&[0xff; 100]), None);
    }
}
