//! What compiling makes of a component: its code, what is known of its instrumentation, its [libraries](super::library),
//! and the table of its source lines.
//!
//! All are together in what the compiling process writes and in the files of the cache: the length of the code, a byte
//! that is 1 if the component was instrumented, by how much its parts have moved then, the number of libraries, each with
//! the length of its code, the code, the libraries' codes, the table. The table comes last, so that the code is there
//! whatever becomes of a process that reads debug information. A library's code is left out where it is known already, and
//! in the cache, where it has a file of its own.

use super::library::{LIBRARIES_MAX, LIBRARY_BYTES, Library};
use super::lines::TABLE_MAX;
use super::reset::{SHIFTS_BYTES, Shifts};
use super::trusted_code::TrustedCode;

/// Bytes of a length.
const LENGTH: usize = size_of::<u64>();
/// Most bytes of what stands before the code.
const HEADER_MAX: usize = LENGTH + 1 + SHIFTS_BYTES + 1 + LIBRARIES_MAX * (LIBRARY_BYTES + LENGTH);
/// Most bytes that an artefact has besides its code.
pub(super) const BESIDES_CODE_MAX: usize = HEADER_MAX + TABLE_MAX;

/// A compiled component.
pub(super) struct Artefact {
    pub(super) code: TrustedCode,
    /// Present if the code has what [`reset`](super::reset) needs.
    pub(super) shifts: Option<Shifts>,
    /// The libraries that the component imports, in the order of their numbers.
    pub(super) libraries: Vec<Library>,
    /// The encoded table of source lines, which is checked when it is read; empty if there is none.
    pub(super) lines: Vec<u8>,
}

impl Artefact {
    /// That of a library, which is nothing but code.
    pub(super) fn of_library(code: TrustedCode) -> Self {
        Self {
            code,
            shifts: None,
            libraries: Vec::new(),
            lines: Vec::new(),
        }
    }
}

/// The parts of an artefact, as bytes that nobody vouches for yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<B> {
    pub(super) code: B,
    pub(super) shifts: Option<Shifts>,
    /// Each with its code, which is empty where it was left out.
    pub(super) libraries: Vec<(Library, B)>,
    pub(super) lines: B,
}

impl<B: AsRef<[u8]>> Parts<B> {
    /// Bytes of all code.
    pub(super) fn code_bytes(&self) -> usize {
        let libraries = self.libraries.iter().map(|(_, code)| code.as_ref().len());
        self.code.as_ref().len().saturating_add(libraries.sum())
    }

    /// What stands before the code.
    pub(super) fn header(&self) -> Vec<u8> {
        let length = |code: &B| u64::try_from(code.as_ref().len()).unwrap_or(u64::MAX).to_le_bytes();
        let mut header = length(&self.code).to_vec();
        header.push(u8::from(self.shifts.is_some()));
        header.extend(self.shifts.unwrap_or_default().to_bytes());
        header.push(u8::try_from(self.libraries.len()).unwrap_or(u8::MAX));
        for (library, code) in &self.libraries {
            header.extend(library.to_bytes());
            header.extend(length(code));
        }
        header
    }
}

impl Parts<&[u8]> {
    pub(super) fn to_owned(&self) -> Parts<Vec<u8>> {
        let libraries = self
            .libraries
            .iter()
            .map(|(library, code)| (library.clone(), code.to_vec()));
        Parts {
            code: self.code.to_vec(),
            shifts: self.shifts,
            libraries: libraries.collect(),
            lines: self.lines.to_vec(),
        }
    }
}

/// The parts in the bytes of an artefact. `None` if the code is not whole.
pub(super) fn split(bytes: &[u8]) -> Option<Parts<&[u8]>> {
    let (code_length, rest) = length(bytes)?;
    let (is_instrumented, rest) = rest.split_first()?;
    let (shifts, rest) = rest.split_first_chunk::<SHIFTS_BYTES>()?;
    let (count, mut rest) = rest.split_first()?;
    let mut libraries = Vec::new();
    for _ in 0..*count {
        let (library, after) = rest.split_first_chunk::<LIBRARY_BYTES>()?;
        let (length, after) = length(after)?;
        libraries.push((Library::from_bytes(library), length));
        rest = after;
    }
    let (code, mut rest) = rest.split_at_checked(code_length)?;
    let mut with_code = Vec::with_capacity(libraries.len());
    for (library, length) in libraries {
        let (code, after) = rest.split_at_checked(length)?;
        with_code.push((library, code));
        rest = after;
    }
    Some(Parts {
        code,
        shifts: (*is_instrumented == 1).then(|| Shifts::from_bytes(shifts)),
        libraries: with_code,
        lines: rest,
    })
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    Some((usize::try_from(u64::from_le_bytes(*length)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_is_not_whole_is_refused() {
        let library = |byte: u8| Library::from_bytes(&[byte; LIBRARY_BYTES]);
        let parts = Parts {
            code: &b"code"[..],
            shifts: Some(Shifts::default()),
            libraries: vec![(library(1), &b"of one"[..]), (library(2), &[][..])],
            lines: &b"lines"[..],
        };
        assert_eq!(parts.code_bytes(), 10);
        let code = parts.header().len()..parts.header().len() + 10;
        let bytes = [&parts.header()[..], b"codeof onelines"].concat();
        assert_eq!(split(&bytes), Some(parts));
        assert_eq!(split(&bytes[..code.end]).unwrap().lines, b"");
        for end in 0..code.end {
            assert_eq!(split(&bytes[..end]), None, "{end}");
        }
        assert_eq!(split(&[0xff; 100]), None);
        assert_eq!(split(&[0xff; 100_000]), None);
    }
}
