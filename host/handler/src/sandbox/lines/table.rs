//! The table itself: how it is written, checked and looked up.

use std::iter;
use std::num::NonZeroU32;

/// Most source files.
pub(super) const FILES_MAX: usize = 1 << 14;
/// Most bytes of a file's path.
pub(super) const PATH_MAX: usize = 100;
/// Most places.
pub(super) const PLACES_MAX: usize = 1 << 20;
/// Most rows.
pub(super) const ROWS_MAX: usize = 1 << 20;
/// Most bytes of an encoded table.
pub(in crate::sandbox) const TABLE_MAX: usize = 8 * 1024 * 1024;
/// Most places of one address: that of the code, and where it was inlined.
const CHAIN_MAX: usize = 64;

/// The number of a place, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PlaceId(NonZeroU32);

impl PlaceId {
    /// The place at this index.
    fn new(index: usize) -> Option<Self> {
        let number = u32::try_from(index).ok()?.checked_add(1)?;
        NonZeroU32::new(number).map(Self)
    }

    fn index(self) -> usize {
        usize::try_from(self.0.get().saturating_sub(1)).unwrap_or(usize::MAX)
    }
}

/// A line of a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The index of the file.
    pub(super) file: u32,
    pub(super) line: u32,
    /// Where the function of this line was inlined. An earlier place, so a chain of them ends.
    pub(super) caller: Option<PlaceId>,
}

/// Where the code from an offset on comes from, up to the next row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// Bytes from the beginning of the component's file.
    pub(super) offset: u32,
    /// `None`: nobody knows.
    pub(super) place: Option<PlaceId>,
}

/// The source lines of a component's code.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::sandbox) struct LineTable {
    files: Vec<Box<str>>,
    places: Vec<Place>,
    /// By ascending offset.
    rows: Vec<Row>,
}

impl LineTable {
    /// The lines of the code at an offset in the component's file, with their files: the line itself, then where its
    /// function was inlined, then where that one was. None if nobody knows.
    pub(in crate::sandbox) fn at(&self, offset: usize) -> impl Iterator<Item = (&str, u32)> {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let after = self.rows.partition_point(|row| row.offset <= offset);
        let row = after.checked_sub(1).and_then(|index| self.rows.get(index));
        let first = row.and_then(|row| row.place).and_then(|place| self.place(place));
        let chain = iter::successors(first, |place| self.place(place.caller?));
        chain.take(CHAIN_MAX).map(|place| {
            let file = usize::try_from(place.file).ok().and_then(|file| self.files.get(file));
            (file.map_or("", |file| file), place.line)
        })
    }

    fn place(&self, id: PlaceId) -> Option<&Place> {
        self.places.get(id.index())
    }

    /// Adds a file. `None` if there are too many.
    pub(super) fn add_file(&mut self, path: &str) -> Option<u32> {
        let index = self.files.len();
        (index < FILES_MAX).then(|| self.files.push(path.into()))?;
        u32::try_from(index).ok()
    }

    /// Adds a place. `None` if there are too many.
    pub(super) fn add_place(&mut self, place: Place) -> Option<PlaceId> {
        let index = self.places.len();
        (index < PLACES_MAX).then(|| self.places.push(place))?;
        PlaceId::new(index)
    }

    /// Adds a row after the others. A row at the offset of the last one takes its place. One before the last one is left
    /// out, and one that says the same as the last one. `None` if there are too many.
    pub(super) fn add_row(&mut self, row: Row) -> Option<()> {
        match self.rows.last() {
            Some(last) if last.offset > row.offset => return Some(()),
            Some(last) if last.offset == row.offset => drop(self.rows.pop()),
            _ => {}
        }
        if self
            .rows
            .last()
            .map_or(row.place.is_none(), |last| last.place == row.place)
        {
            return Some(());
        }
        (self.rows.len() < ROWS_MAX).then(|| self.rows.push(row))
    }

    /// The table as bytes; none at all for an empty one. Numbers are LEB128. Rows and places are written as differences,
    /// most of which take a byte.
    pub(in crate::sandbox) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.rows.is_empty() {
            return out;
        }
        for count in [self.files.len(), self.places.len(), self.rows.len()] {
            put(&mut out, count);
        }
        for file in &self.files {
            put(&mut out, file.len());
            out.extend_from_slice(file.as_bytes());
        }
        let mut line = 0;
        for (index, place) in self.places.iter().enumerate() {
            put(&mut out, place.file as usize);
            put_difference(&mut out, line, place.line);
            // How far back its caller is; 0 for none.
            put(
                &mut out,
                place.caller.map_or(0, |caller| index.saturating_sub(caller.index())),
            );
            line = place.line;
        }
        let (mut offset, mut at) = (0, 0);
        for row in &self.rows {
            put(&mut out, row.offset.saturating_sub(offset) as usize);
            let place = row.place.map_or(0, |place| place.0.get());
            put_difference(&mut out, at, place);
            (offset, at) = (row.offset, place);
        }
        out
    }

    /// Reads a table that [`encode`](Self::encode) has written. `None` if the bytes are anything else: each number is
    /// checked, since the process that wrote them had read a tenant's component.
    pub(in crate::sandbox) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let mut bytes = Bytes(bytes);
        let mut count = |max| bytes.number().map(|count| count as usize).filter(|count| *count <= max);
        let (files, places, rows) = (count(FILES_MAX)?, count(PLACES_MAX)?, count(ROWS_MAX)?);
        if rows == 0 {
            return None;
        }
        let mut table = Self::default();
        for _ in 0..files {
            let length = bytes.number().filter(|length| *length as usize <= PATH_MAX)?;
            let path = bytes.take(length as usize)?;
            table.files.push(std::str::from_utf8(path).ok()?.into());
        }
        let mut line = 0;
        for index in 0..places {
            let file = bytes.number().filter(|file| (*file as usize) < files)?;
            line = bytes.difference(line)?;
            let caller = match bytes.number()? as usize {
                0 => None,
                back => Some(PlaceId::new(index.checked_sub(back)?)?),
            };
            table.places.push(Place { file, line, caller });
        }
        let (mut offset, mut at) = (0_u32, 0);
        for index in 0..rows {
            let step = bytes.number().filter(|step| index == 0 || *step > 0)?;
            offset = offset.checked_add(step)?;
            at = bytes.difference(at).filter(|place| *place as usize <= places)?;
            let place = NonZeroU32::new(at).map(PlaceId);
            table.rows.push(Row { offset, place });
        }
        bytes.0.is_empty().then_some(table)
    }
}

/// Writes a number as LEB128.
fn put(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

/// Writes the difference between two numbers, of which small ones of either sign are short.
fn put_difference(out: &mut Vec<u8>, from: u32, to: u32) {
    let difference = i64::from(to) - i64::from(from);
    let folded = (difference << 1) ^ (difference >> 63);
    put(out, usize::try_from(folded).unwrap_or_default());
}

/// Bytes that are being read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of at most 34 bits, which the difference of two takes.
    fn wide(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn number(&mut self) -> Option<u32> {
        self.wide().and_then(|number| u32::try_from(number).ok())
    }

    fn difference(&mut self, from: u32) -> Option<u32> {
        let folded = i64::try_from(self.wide()?).ok()?;
        let difference = (folded >> 1) ^ -(folded & 1);
        u32::try_from(i64::from(from).checked_add(difference)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> LineTable {
        let mut table = LineTable::default();
        let (lib, words) = (
            table.add_file("src/lib.rs").unwrap(),
            table.add_file("src/words.rs").unwrap(),
        );
        let outer = table
            .add_place(Place {
                file: lib,
                line: 40,
                caller: None,
            })
            .unwrap();
        let inner = table
            .add_place(Place {
                file: words,
                line: 7,
                caller: Some(outer),
            })
            .unwrap();
        for (offset, place) in [
            (100, Some(outer)),
            (110, Some(inner)),
            (110, Some(inner)),
            (120, None),
            (130, None),
        ] {
            table.add_row(Row { offset, place }).unwrap();
        }
        table
    }

    fn at(table: &LineTable, offset: usize) -> Vec<(&str, u32)> {
        table.at(offset).collect()
    }

    #[test]
    fn a_row_holds_up_to_the_next_one() {
        let table = sample();
        assert_eq!(at(&table, 99), []);
        assert_eq!(at(&table, 100), [("src/lib.rs", 40)]);
        assert_eq!(at(&table, 109), [("src/lib.rs", 40)]);
        assert_eq!(at(&table, 119), [("src/words.rs", 7), ("src/lib.rs", 40)]);
        assert_eq!(at(&table, 120), []);
        assert_eq!(at(&table, usize::MAX), []);
        assert_eq!(table.rows.len(), 3, "rows that say nothing new are left out");
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        assert_eq!(LineTable::parse(&sample().encode()), Some(sample()));
        assert!(LineTable::default().encode().is_empty());
        assert_eq!(LineTable::parse(&[]), Some(LineTable::default()));
    }

    #[test]
    fn a_table_that_refers_to_what_it_does_not_have_is_refused() {
        // Counts of files, places and rows; the file "a"; a place: file, line, how far back its caller is; a row.
        assert!(LineTable::parse(&[1, 1, 1, 1, b'a', 0, 2, 0, 9, 2]).is_some());
        for (bytes, why) in [
            (&[1, 1, 1, 1, b'a', 1, 2, 0, 9, 2][..], "no such file"),
            (&[1, 1, 1, 1, b'a', 0, 2, 1, 9, 2], "no earlier place"),
            (&[1, 1, 1, 1, b'a', 0, 2, 0, 9, 4], "no such place"),
            (&[1, 1, 1, 1, b'a', 0, 1, 0, 9, 2], "a negative line"),
            (&[1, 1, 1, 1, 0xff, 0, 2, 0, 9, 2], "no text"),
            (&[1, 1, 1, 1, b'a', 0, 2, 0, 9, 2, 0], "more bytes"),
            (&[1, 1, 1, 1, b'a', 0, 2, 0, 9], "fewer bytes"),
            (&[1, 1, 2, 1, b'a', 0, 2, 0, 9, 2, 0, 0], "the same offset twice"),
            (&[0xff, 0xff, 0xff, 0xff, 0xf, 1, 1], "too many files"),
            (&[1, 0, 0, 1, b'a'], "no row"),
        ] {
            assert_eq!(LineTable::parse(bytes), None, "{why}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_can_be_looked_up_and_written_again(bytes in proptest::collection::vec(0_u8..12, 0..64), offset: u16) {
            if let Some(table) = LineTable::parse(&bytes) {
                prop_assert!(at(&table, offset.into()).len() <= CHAIN_MAX);
                prop_assert_eq!(LineTable::parse(&table.encode()), Some(table));
            }
        }
    }
}
