//! Reads DWARF: the compilation units of a core module, their line tables and the functions that were inlined.
//!
//! Reading an entry, an attribute or a range costs one step of the allowance; keeping something of it costs eight. A few
//! bytes can refer to any number of others, so bytes are paid for each time that they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gimli::{
    Abbreviation, Abbreviations, AttributeValue, DebugAbbrev, DebugAbbrevOffset, Dwarf, EndianSlice, EntriesRaw,
    FileEntry, LineProgramHeader, LittleEndian, Reader as _, Section as _, SectionId, Unit, UnitHeader, constants,
};

use super::build::{Builder, Code, CodeRow, Inlined, InlinedAt, NoLines};
use super::modules::Module;
use super::paths;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Steps for each thing that is kept.
const KEPT: usize = 8;
/// Steps for each byte of abbreviations, each of which takes twenty times the memory when it is read.
const ABBREVIATIONS: usize = 16;
/// Most bytes of a line table's header, which has its files.
const LINE_HEADER_MAX: usize = 256 * 1024;
/// Most bytes of a part of a path.
const PATH_PART_MAX: usize = 4096;
/// Bytes of text that are looked through, or copied, in a step.
const TEXT_PER_STEP: usize = 32;

/// Why a unit is not read to its end.
enum Stop {
    /// It is malformed.
    Malformed,
    /// There is too much of everything.
    TooMuch(NoLines),
}

impl From<gimli::Error> for Stop {
    fn from(_: gimli::Error) -> Self {
        Self::Malformed
    }
}

impl From<NoLines> for Stop {
    fn from(error: NoLines) -> Self {
        Self::TooMuch(error)
    }
}

/// What a module's debug information says. A unit that is malformed is read up to there.
pub(super) fn read(module: &Module<'_>, builder: &mut Builder) -> Result<Code, NoLines> {
    let section = |id: SectionId| Ok::<_, NoLines>(EndianSlice::new(module.section(id.name()), LittleEndian));
    let dwarf = Dwarf::load(section)?;
    let mut headers = Vec::new();
    let mut all = dwarf.units();
    while let Ok(Some(header)) = all.next() {
        builder.allowance.take(KEPT)?;
        headers.push(header);
    }
    let abbreviations = read_abbreviations(&dwarf, &headers, builder)?;
    let texts = [SectionId::DebugStr, SectionId::DebugLineStr].map(|id| longest_text(module.section(id.name())));
    let text_steps = texts.into_iter().max().unwrap_or_default() / TEXT_PER_STEP;
    let mut code = Code::default();
    for header in headers {
        let Some(abbreviations) = abbreviations.get(&header.debug_abbrev_offset().0) else {
            continue;
        };
        let mut reader = UnitReader {
            dwarf: &dwarf,
            builder: &mut *builder,
            code: &mut code,
            size: module.code.len(),
            text_steps,
            files: BTreeMap::new(),
        };
        if let Err(Stop::TooMuch(error)) = reader.read(header, abbreviations) {
            return Err(error);
        }
    }
    Ok(code)
}

/// The abbreviations of all units, by their offsets. Those of one unit end before those of the next, so each byte is read
/// once.
fn read_abbreviations(
    dwarf: &Dwarf<Slice<'_>>,
    headers: &[UnitHeader<Slice<'_>>],
    builder: &mut Builder,
) -> Result<BTreeMap<usize, Arc<Abbreviations>>, NoLines> {
    let section = dwarf.debug_abbrev.reader().slice();
    let offsets: BTreeSet<usize> = headers.iter().map(|header| header.debug_abbrev_offset().0).collect();
    let ends = offsets.iter().copied().skip(1).chain([section.len()]);
    let mut read = BTreeMap::new();
    for (offset, end) in offsets.iter().copied().zip(ends) {
        let Some(bytes) = section.get(offset..end.min(section.len())) else {
            continue;
        };
        builder.allowance.take(bytes.len().saturating_mul(ABBREVIATIONS))?;
        let own = DebugAbbrev::new(bytes, LittleEndian).abbreviations(DebugAbbrevOffset(0));
        read.extend(own.ok().map(|own| (offset, Arc::new(own))));
    }
    Ok(read)
}

/// The length of the longest text in a section, which is what reading one may take.
fn longest_text(section: &[u8]) -> usize {
    let texts = section.split(|byte| *byte == 0);
    texts.map(<[u8]>::len).max().unwrap_or_default()
}

struct UnitReader<'a, 'b> {
    dwarf: &'b Dwarf<Slice<'a>>,
    builder: &'b mut Builder,
    code: &'b mut Code,
    /// Bytes of the code section.
    size: usize,
    /// Steps for a text.
    text_steps: usize,
    /// The files of the unit's line table that are in the table, by their numbers.
    files: BTreeMap<u64, Option<u32>>,
}

impl<'a> UnitReader<'a, '_> {
    fn read(&mut self, header: UnitHeader<Slice<'a>>, abbreviations: &Arc<Abbreviations>) -> Result<(), Stop> {
        self.pay_for_root(&header, abbreviations)?;
        let unit = Unit::new_with_abbreviations(self.dwarf, header, abbreviations.clone())?;
        self.rows(&unit)?;
        self.inlined(&unit)
    }

    /// Pays for what gimli reads of a unit at once: the attributes of its first entry, the name and the directory among
    /// them, and the line table that they name.
    fn pay_for_root(&mut self, header: &UnitHeader<Slice<'a>>, abbreviations: &Abbreviations) -> Result<(), Stop> {
        let mut entries = header.entries_raw(abbreviations, None)?;
        let root = entries.read_abbreviation()?.ok_or(Stop::Malformed)?;
        self.pay(KEPT, root.attributes().len())?;
        self.pay(2, self.text_steps)?;
        for spec in root.attributes() {
            let attribute = entries.read_attribute(*spec)?;
            if let (constants::DW_AT_stmt_list, AttributeValue::DebugLineRef(offset)) =
                (attribute.name(), attribute.value())
            {
                let mut table = *self.dwarf.debug_line.reader();
                table.skip(offset.0)?;
                let (length, format) = table.read_initial_length()?;
                let mut table = table.split(length)?;
                self.pay(KEPT, length)?;
                if table.read_u16()? >= 5 {
                    // The sizes of an address and of a segment.
                    table.skip(2)?;
                }
                if table.read_length(format)? > LINE_HEADER_MAX {
                    return Err(Stop::Malformed);
                }
            }
        }
        Ok(())
    }

    /// Reads the unit's line table.
    fn rows(&mut self, unit: &Unit<Slice<'a>>) -> Result<(), Stop> {
        let Some(program) = unit.line_program.clone() else {
            return Ok(());
        };
        let mut rows = program.rows();
        let mut begin = self.code.rows.len();
        while let Some((header, row)) = rows.next_row()? {
            let line = match row.line() {
                Some(line) if !row.end_sequence() => self.line(unit, header, row.file_index(), line.get())?,
                _ => None,
            };
            if let Some(address) = self.address(row.address()) {
                self.code.rows.push(CodeRow { address, line });
            }
            if row.end_sequence() {
                self.code.sequences.push(begin..self.code.rows.len());
                begin = self.code.rows.len();
            }
        }
        Ok(())
    }

    /// Reads the functions that were inlined.
    fn inlined(&mut self, unit: &Unit<Slice<'a>>) -> Result<(), Stop> {
        let mut entries = unit.entries_raw(None)?;
        // The functions around the next entry, outermost first, with their depths and, if inlined, their indices.
        let mut around: Vec<(isize, Option<usize>)> = Vec::new();
        while !entries.is_empty() {
            let depth = entries.next_depth();
            self.pay(1, 1)?;
            let Some(entry) = entries.read_abbreviation()? else {
                continue;
            };
            self.pay(1, entry.attributes().len())?;
            while around.last().is_some_and(|(outer, _)| *outer >= depth) {
                around.pop();
            }
            let function = match entry.tag() {
                constants::DW_TAG_inlined_subroutine => {
                    let parent = around.last().and_then(|(_, inlined)| *inlined);
                    Some(self.inlined_function(unit, &mut entries, entry, parent)?)
                }
                tag => {
                    entries.skip_attributes(entry.attributes())?;
                    if tag != constants::DW_TAG_subprogram {
                        continue;
                    }
                    None
                }
            };
            if entry.has_children() {
                self.pay(KEPT, 1)?;
                around.push((depth, function));
            }
        }
        Ok(())
    }

    fn inlined_function(
        &mut self,
        unit: &Unit<Slice<'a>>,
        entries: &mut EntriesRaw<'_, Slice<'a>>,
        entry: &Abbreviation,
        parent: Option<usize>,
    ) -> Result<usize, Stop> {
        let (mut low, mut high, mut size, mut ranges) = (None, None, None, None);
        let (mut file, mut line) = (None, None);
        for spec in entry.attributes() {
            let attribute = entries.read_attribute(*spec)?;
            let value = attribute.value();
            match attribute.name() {
                constants::DW_AT_low_pc => low = self.dwarf.attr_address(unit, value)?,
                constants::DW_AT_high_pc => match value {
                    AttributeValue::Udata(bytes) => size = Some(bytes),
                    value => high = self.dwarf.attr_address(unit, value)?,
                },
                constants::DW_AT_ranges => ranges = self.dwarf.attr_ranges_offset(unit, value)?,
                constants::DW_AT_call_file => {
                    if let AttributeValue::FileIndex(number) = value {
                        file = Some(number);
                    }
                }
                constants::DW_AT_call_line => line = attribute.udata_value(),
                _ => {}
            }
        }
        let called = match (&unit.line_program, file, line) {
            (Some(program), Some(file), Some(line)) => self.line(unit, program.header(), file, line)?,
            _ => None,
        };
        let inlined = self.code.inlined.len();
        self.pay(KEPT, 1)?;
        self.code.inlined.push(Inlined { line: called, parent });
        if let Some(offset) = ranges {
            // gimli skips ranges that are empty, so they are counted first.
            let mut raw = self.dwarf.raw_ranges(unit, offset)?;
            while raw.next()?.is_some() {
                self.pay(1, 1)?;
            }
            let mut ranges = self.dwarf.ranges(unit, offset)?;
            while let Some(range) = ranges.next()? {
                self.range(inlined, range.begin, range.end)?;
            }
        } else if let (Some(low), Some(high)) = (
            low,
            high.or(low.zip(size).and_then(|(low, size)| low.checked_add(size))),
        ) {
            self.range(inlined, low, high)?;
        }
        Ok(inlined)
    }

    fn range(&mut self, inlined: usize, start: u64, end: u64) -> Result<(), Stop> {
        // Address 0 stands for code that the linker has left out.
        if let (Some(start @ 1..), Some(end)) = (self.address(start), self.address(end))
            && start < end
        {
            self.pay(KEPT, 1)?;
            self.code.inlined_at.push(InlinedAt { start, end, inlined });
        }
        Ok(())
    }

    /// An address in the module's code, or its end.
    fn address(&self, address: u64) -> Option<u32> {
        let address = usize::try_from(address).ok().filter(|address| *address <= self.size)?;
        u32::try_from(address).ok()
    }

    /// A line of a file, of which the number in the unit's line table is given. `None` if it is not there, or the compiler
    /// knew none.
    fn line(
        &mut self,
        unit: &Unit<Slice<'a>>,
        header: &LineProgramHeader<Slice<'a>>,
        number: u64,
        line: u64,
    ) -> Result<Option<(u32, u32)>, Stop> {
        let file = match self.files.get(&number) {
            Some(known) => *known,
            None => {
                self.pay(KEPT, 1)?;
                // Before version 5, 0 is no file.
                let is_file = number > 0 || header.version() >= 5;
                let file = match header.file(number).filter(|_| is_file) {
                    Some(entry) => Some(self.file(unit, header, entry)?),
                    None => None,
                };
                self.files.insert(number, file);
                file
            }
        };
        let line = u32::try_from(line).ok().filter(|line| *line > 0);
        Ok(file.zip(line))
    }

    fn file(
        &mut self,
        unit: &Unit<Slice<'a>>,
        header: &LineProgramHeader<Slice<'a>>,
        entry: &FileEntry<Slice<'a>>,
    ) -> Result<u32, Stop> {
        let compiled_in = unit.comp_dir.map(path_part).transpose()?.unwrap_or_default();
        let mut path = compiled_in.clone();
        for part in entry.directory(header).into_iter().chain([entry.path_name()]) {
            self.pay(1, self.text_steps)?;
            path = paths::join(&path, &path_part(self.dwarf.attr_string(unit, part)?)?);
        }
        self.pay(1, path.len() / TEXT_PER_STEP)?;
        Ok(self.builder.file(paths::shown(&path, &compiled_in))?)
    }

    fn pay(&mut self, steps: usize, times: usize) -> Result<(), Stop> {
        Ok(self.builder.allowance.take(steps.saturating_mul(times))?)
    }
}

fn path_part(bytes: Slice<'_>) -> Result<String, Stop> {
    if bytes.len() > PATH_PART_MAX {
        return Err(Stop::Malformed);
    }
    Ok(bytes.to_string_lossy().into_owned())
}
