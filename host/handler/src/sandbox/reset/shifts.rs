//! Where code is in the author's component, of code whose place is known in the instrumented one.

use std::array;

use wasmparser::{Parser, Payload};

/// Most modules of a component that get exports, so that what follows them moves.
pub(super) const MODULES_MAX: usize = 4;
/// Bytes of a number.
const NUMBER: usize = size_of::<u32>();
/// Bytes of all of it.
pub(in crate::sandbox) const SHIFTS_BYTES: usize = MODULES_MAX * 2 * NUMBER;

/// By how many bytes the parts of a component have moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::sandbox) struct Shifts([Shift; MODULES_MAX]);

/// What has moved from an offset on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shift {
    /// Bytes from the beginning of the instrumented component.
    from: u32,
    by: u32,
}

impl Shifts {
    /// Compares where the code of the modules is in both. `None` if there are too many differences.
    pub(super) fn between(original: &[u8], instrumented: &[u8]) -> Option<Self> {
        let mut shifts = Self::default();
        let mut free = shifts.0.iter_mut();
        let mut last = 0;
        for (before, after) in code_places(original)?.into_iter().zip(code_places(instrumented)?) {
            let by = after.checked_sub(before)?;
            if by != last {
                *free.next()? = Shift { from: after, by };
                last = by;
            }
        }
        Some(shifts)
    }

    /// The offset in the author's component.
    pub(in crate::sandbox) fn original(&self, offset: usize) -> usize {
        let passed = |shift: &&Shift| usize::try_from(shift.from).is_ok_and(|from| from <= offset);
        let last = self.0.iter().filter(passed).map(|shift| shift.by).max().unwrap_or(0);
        offset.saturating_sub(usize::try_from(last).unwrap_or(0))
    }

    pub(in crate::sandbox) fn to_bytes(self) -> [u8; SHIFTS_BYTES] {
        let mut bytes = [0; SHIFTS_BYTES];
        let numbers = self.0.iter().flat_map(|shift| [shift.from, shift.by]);
        for (place, number) in bytes.chunks_mut(NUMBER).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub(in crate::sandbox) fn from_bytes(bytes: &[u8; SHIFTS_BYTES]) -> Self {
        let (numbers, _) = bytes.as_chunks::<NUMBER>();
        let mut numbers = numbers.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or(0);
        Self(array::from_fn(|_| Shift {
            from: next(),
            by: next(),
        }))
    }
}

/// Where the code section of each core module begins, in the order of the file.
fn code_places(component: &[u8]) -> Option<Vec<u32>> {
    let mut places = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::CodeSectionStart { range, .. } = payload.ok()? {
            places.push(u32::try_from(range.start).ok()?);
        }
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_that_of_the_authors_component() {
        let mut shifts = Shifts::default();
        assert_eq!(shifts.original(7), 7);
        shifts.0[0] = Shift { from: 100, by: 10 };
        shifts.0[1] = Shift { from: 300, by: 25 };
        for (offset, original) in [(0, 0), (99, 99), (100, 90), (299, 289), (300, 275), (1000, 975)] {
            assert_eq!(shifts.original(offset), original);
        }
        assert_eq!(Shifts::from_bytes(&shifts.to_bytes()), shifts);
    }
}
