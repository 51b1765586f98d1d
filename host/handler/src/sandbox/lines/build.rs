//! Makes the table of a component.

use std::collections::HashMap;
use std::ops::Range;

use super::modules::{self, Module};
use super::table::{LineTable, Place, PlaceId, Row, TABLE_MAX};
use super::units;

/// Steps that reading a component's debug information may take: two seconds, and 400 MiB of memory. That of a small
/// handler takes a fiftieth.
const STEPS_MAX: u64 = 1 << 26;

/// Why a component has no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::sandbox) enum NoLines {
    /// It cannot be read. The compiler says why.
    #[error("the component cannot be read")]
    Malformed,
    /// There is too much to read, or to keep.
    #[error("the component has too much debug information; build it with debug = \"line-tables-only\"")]
    TooMuch,
}

/// The source lines of a component, from the debug information in its core modules, as an encoded [`LineTable`]; an empty
/// one if there is none. What is malformed there is left out.
///
/// # Errors
/// When there is too much of it. The component runs as well without.
pub(in crate::sandbox) fn of_component(component: &[u8]) -> Result<Vec<u8>, NoLines> {
    let mut builder = Builder::default();
    for module in modules::find(component).map_err(|_| NoLines::Malformed)? {
        let code = units::read(&module, &mut builder)?;
        builder.add(code, &module)?;
    }
    let bytes = builder.table.encode();
    if bytes.len() > TABLE_MAX {
        return Err(NoLines::TooMuch);
    }
    Ok(bytes)
}

/// The steps that reading may still take.
#[derive(Debug)]
pub(super) struct Allowance(u64);

impl Allowance {
    pub(super) fn take(&mut self, steps: usize) -> Result<(), NoLines> {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        self.0 = self.0.checked_sub(steps).ok_or(NoLines::TooMuch)?;
        Ok(())
    }
}

/// What the debug information says of a core module's code. Addresses count from the beginning of the code section.
#[derive(Default)]
pub(super) struct Code {
    /// Ends of sequences too, with neither file nor line.
    pub(super) rows: Vec<CodeRow>,
    /// Ranges of `rows`, whose addresses ascend.
    pub(super) sequences: Vec<Range<usize>>,
    /// Functions that were inlined, each after the one that it was inlined in.
    pub(super) inlined: Vec<Inlined>,
    pub(super) inlined_at: Vec<InlinedAt>,
}

/// A row of a line table.
#[derive(Debug, Clone, Copy)]
pub(super) struct CodeRow {
    pub(super) address: u32,
    /// A file of the table and a line; `None` where the compiler knew none.
    pub(super) line: Option<(u32, u32)>,
}

/// A function that was inlined: where it is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inlined {
    /// A file of the table and a line; `None` where the compiler knew none.
    pub(super) line: Option<(u32, u32)>,
    /// The index of the function that it was inlined in, if that was inlined itself.
    pub(super) parent: Option<usize>,
}

/// Addresses of an inlined function.
#[derive(Debug, Clone, Copy)]
pub(super) struct InlinedAt {
    pub(super) start: u32,
    pub(super) end: u32,
    /// Its index.
    pub(super) inlined: usize,
}

/// A table that is being made.
#[derive(Default)]
pub(super) struct Builder {
    table: LineTable,
    files: HashMap<String, u32>,
    places: HashMap<Place, PlaceId>,
    pub(super) allowance: Allowance,
}

impl Default for Allowance {
    fn default() -> Self {
        Self(STEPS_MAX)
    }
}

impl Builder {
    /// The file of the table with this path.
    pub(super) fn file(&mut self, path: String) -> Result<u32, NoLines> {
        if let Some(file) = self.files.get(&path) {
            return Ok(*file);
        }
        let file = self.table.add_file(&path).ok_or(NoLines::TooMuch)?;
        self.files.insert(path, file);
        Ok(file)
    }

    fn place(&mut self, place: Place) -> Result<PlaceId, NoLines> {
        if let Some(id) = self.places.get(&place) {
            return Ok(*id);
        }
        let id = self.table.add_place(place).ok_or(NoLines::TooMuch)?;
        self.places.insert(place, id);
        Ok(id)
    }

    /// Adds a module's code after that of the modules before it in the file.
    fn add(&mut self, code: Code, module: &Module<'_>) -> Result<(), NoLines> {
        let (mut callers, mut cuts) = (Callers::new(&code.inlined), Cuts::new(code.inlined_at));
        let of = |rows: &Range<usize>| code.rows.get(rows.clone()).unwrap_or_default();
        let mut sequences: Vec<_> = code.sequences.iter().map(of).collect();
        sequences.sort_by_key(|rows| rows.first().map(|row| row.address));
        let mut end = 0;
        for rows in sequences {
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
                continue;
            };
            // Sequences do not overlap, unless they are made up. Address 0 is the number of functions, and stands for code
            // that the linker has left out.
            if first.address < end || first.address == 0 {
                continue;
            }
            end = last.address;
            for pair in rows.windows(2) {
                let [row, next] = pair else { continue };
                let mut address = row.address;
                while address < next.address {
                    let (inlined, until) = cuts.at(address);
                    let caller = callers.place(inlined, self)?;
                    let place = match row.line {
                        Some((file, line)) => Some(self.place(Place { file, line, caller })?),
                        None => caller,
                    };
                    self.row(module, address, place)?;
                    address = until.min(next.address);
                }
            }
            self.row(module, end, None)?;
        }
        Ok(())
    }

    fn row(&mut self, module: &Module<'_>, address: u32, place: Option<PlaceId>) -> Result<(), NoLines> {
        let offset = module
            .code
            .start
            .saturating_add(usize::try_from(address).unwrap_or(usize::MAX));
        let offset = u32::try_from(offset).map_err(|_| NoLines::TooMuch)?;
        self.table.add_row(Row { offset, place }).ok_or(NoLines::TooMuch)
    }
}

/// The places at which functions were inlined, added to the table when code of them is.
struct Callers<'a> {
    inlined: &'a [Inlined],
    /// By index; the inner `None` where no place is known.
    places: HashMap<usize, Option<PlaceId>>,
}

impl<'a> Callers<'a> {
    fn new(inlined: &'a [Inlined]) -> Self {
        Self {
            inlined,
            places: HashMap::new(),
        }
    }

    /// The place at which a function was inlined.
    fn place(&mut self, inlined: Option<usize>, builder: &mut Builder) -> Result<Option<PlaceId>, NoLines> {
        // Outwards to the first one that is in the table, then back.
        let (mut new, mut next) = (Vec::new(), inlined);
        let mut caller = loop {
            let Some((index, known)) = next.map(|index| (index, self.places.get(&index))) else {
                break None;
            };
            if let Some(known) = known {
                break *known;
            }
            new.push(index);
            next = self.inlined.get(index).and_then(|inlined| inlined.parent);
        };
        for index in new.into_iter().rev() {
            if let Some((file, line)) = self.inlined.get(index).and_then(|inlined| inlined.line) {
                caller = Some(builder.place(Place { file, line, caller })?);
            }
            self.places.insert(index, caller);
        }
        Ok(caller)
    }
}

/// Which inlined function an address belongs to: the innermost of those that contain it. Asked for ascending addresses.
struct Cuts {
    /// From which address on it is which function.
    cuts: Vec<(u32, Option<usize>)>,
    next: usize,
    current: Option<usize>,
}

impl Cuts {
    fn new(mut inlined_at: Vec<InlinedAt>) -> Self {
        // An outer function before the inner ones: it begins earlier, ends later, or has the smaller index.
        inlined_at.sort_by_key(|at| (at.start, std::cmp::Reverse(at.end), at.inlined));
        let mut cuts = Vec::new();
        let mut open: Vec<InlinedAt> = Vec::new();
        let close = |open: &mut Vec<InlinedAt>, cuts: &mut Vec<(u32, Option<usize>)>| {
            if let Some(closed) = open.pop() {
                cuts.push((closed.end, open.last().map(|outer| outer.inlined)));
            }
        };
        for mut at in inlined_at {
            while open.last().is_some_and(|outer| outer.end <= at.start) {
                close(&mut open, &mut cuts);
            }
            // One that ends after the function around it is made up.
            at.end = at.end.min(open.last().map_or(u32::MAX, |outer| outer.end));
            cuts.push((at.start, Some(at.inlined)));
            open.push(at);
        }
        while !open.is_empty() {
            close(&mut open, &mut cuts);
        }
        Self {
            cuts,
            next: 0,
            current: None,
        }
    }

    /// The function at an address, and the next address that may belong to another one.
    fn at(&mut self, address: u32) -> (Option<usize>, u32) {
        loop {
            match self.cuts.get(self.next) {
                Some((from, inlined)) if *from <= address => {
                    self.current = *inlined;
                    self.next = self.next.saturating_add(1);
                }
                next => return (self.current, next.map_or(u32::MAX, |(from, _)| *from)),
            }
        }
    }
}
