//! Debug information as compilers write it, and as nobody should.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::sync::Arc;

use gimli::write::{
    Address, AttributeValue, DwarfUnit, EndianVec, LineProgram, LineString, Range, RangeList, Sections,
};
use gimli::{Encoding, Format, LineEncoding, LittleEndian};
use proptest::prelude::*;

use super::build::NoLines;
use super::{LineTable, of_component};
use crate::sandbox::LoadError;
use crate::sandbox::tests::{refused, small_sandbox};

type Section = (&'static str, Vec<u8>);

/// Where the code section's content begins in the file of [`component`].
fn code_start(component: &[u8]) -> usize {
    let mut payloads = wasmparser::Parser::new(0).parse_all(component);
    let code = payloads.find_map(|payload| match payload.unwrap() {
        wasmparser::Payload::CodeSectionStart { range, .. } => Some(range.start),
        _ => None,
    });
    code.unwrap()
}

/// A component whose instantiation traps in a function that another one calls. The addresses in its code section:
/// `check` is at 2 and traps at 10, `init` is at 13 and calls it at 16. All is 22 bytes.
pub(in crate::sandbox) fn component(sections: &[Section]) -> Vec<u8> {
    let mut custom = String::new();
    for (name, bytes) in sections {
        let bytes = bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "\\{byte:02x}").unwrap();
            text
        });
        writeln!(custom, "(@custom {name:?} \"{bytes}\")").unwrap();
    }
    let text = format!(
        r#"(component
            (core module $module
                (memory 1)
                (func $check (i32.store (i32.const 0) (i32.const 7)) unreachable)
                (func $init nop nop call $check)
                (start $init)
                (func (export "handle"))
                {custom})
            (core instance $instance (instantiate $module))
            (func $handle (canon lift (core func $instance "handle")))
            (instance $on-event (export "handle" (func $handle)))
            (export "parlance:chat/on-event@0.1.0" (instance $on-event)))"#
    );
    wat::parse_str(text).unwrap()
}

/// The debug information of [`component`]'s sources. The call at 16 is code of the standard library, which was inlined
/// into a function, which was inlined into `init`.
pub(in crate::sandbox) fn sections(version: u16) -> Vec<Section> {
    let encoding = Encoding {
        format: Format::Dwarf32,
        version,
        address_size: 4,
    };
    let mut dwarf = DwarfUnit::new(encoding);
    let text = |text: &str| LineString::String(text.into());
    let directory = "/guests/greeter";
    let mut lines = LineProgram::new(
        encoding,
        LineEncoding::default(),
        text(directory),
        None,
        text("src/lib.rs"),
        None,
    );
    let source = lines.add_directory(text("src"));
    let library = lines.add_directory(text("/rustc/59807616e1/library/core/src"));
    let main = lines.add_file(text("src/lib.rs"), lines.default_directory(), None);
    let words = lines.add_file(text("words.rs"), source, None);
    let option = lines.add_file(text("option.rs"), library, None);
    for (begin, rows, end) in [
        (2, &[(2, words, 6), (10, words, 7)][..], 12),
        (13, &[(13, main, 30), (16, option, 970), (18, main, 31)], 19),
    ] {
        lines.begin_sequence(Some(Address::Constant(begin)));
        for (address, file, line) in rows {
            let row = lines.row();
            (row.address_offset, row.file, row.line) = (address - begin, *file, *line);
            lines.generate_row();
        }
        lines.end_sequence(end - begin);
    }
    dwarf.unit.line_program = lines;
    let root = dwarf.unit.root();
    let string = |text: &str| AttributeValue::String(text.into());
    dwarf.unit.get_mut(root).set(gimli::DW_AT_comp_dir, string(directory));
    dwarf.unit.get_mut(root).set(gimli::DW_AT_name, string("src/lib.rs"));
    let init = dwarf.unit.add(root, gimli::DW_TAG_subprogram);
    let outer = dwarf.unit.add(init, gimli::DW_TAG_inlined_subroutine);
    let block = dwarf.unit.add(outer, gimli::DW_TAG_lexical_block);
    let inner = dwarf.unit.add(block, gimli::DW_TAG_inlined_subroutine);
    // Two ranges, of which the other one has no code.
    let range = |begin, end| Range::StartEnd {
        begin: Address::Constant(begin),
        end: Address::Constant(end),
    };
    let ranges = dwarf.unit.ranges.add(RangeList(vec![range(16, 18), range(200, 300)]));
    for (entry, file, line) in [(outer, main, 30), (inner, words, 20)] {
        let entry = dwarf.unit.get_mut(entry);
        entry.set(gimli::DW_AT_call_file, AttributeValue::FileIndex(Some(file)));
        entry.set(gimli::DW_AT_call_line, AttributeValue::Udata(line));
        // Of an origin nothing is read, so a circle of them does no harm.
        entry.set(gimli::DW_AT_abstract_origin, AttributeValue::UnitRef(outer));
    }
    let low_pc = AttributeValue::Address(Address::Constant(16));
    dwarf.unit.get_mut(outer).set(gimli::DW_AT_low_pc, low_pc);
    let outer = dwarf.unit.get_mut(outer);
    outer.set(gimli::DW_AT_high_pc, AttributeValue::Udata(2));
    let inner = dwarf.unit.get_mut(inner);
    inner.set(gimli::DW_AT_ranges, AttributeValue::RangeListRef(ranges));
    let mut written = Sections::new(EndianVec::new(LittleEndian));
    dwarf.write(&mut written).unwrap();
    let mut sections = Vec::new();
    let mut keep = |id: gimli::SectionId, bytes: &EndianVec<LittleEndian>| {
        if !bytes.slice().is_empty() {
            sections.push((id.name(), bytes.slice().to_vec()));
        }
        Ok::<_, gimli::write::Error>(())
    };
    written.for_each(&mut keep).unwrap();
    sections
}

/// The lines at addresses of the component's code section.
fn lines_at(component: &[u8], address: usize) -> Vec<(String, u32)> {
    let table = LineTable::parse(&of_component(component).unwrap()).unwrap();
    let places = table.at(code_start(component) + address);
    places.map(|(file, line)| (file.to_owned(), line)).collect()
}

#[test]
fn code_has_the_lines_of_its_source_and_of_where_it_was_inlined() {
    for version in [4, 5] {
        let component = component(&sections(version));
        let at = |address| lines_at(&component, address);
        let line = |file: &str, line| (file.to_owned(), line);
        assert_eq!(at(9), [line("src/words.rs", 6)]);
        assert_eq!(at(10), [line("src/words.rs", 7)]);
        assert_eq!(at(12), [], "between two functions");
        assert_eq!(at(15), [line("src/lib.rs", 30)]);
        let inlined = [
            line("library/core/src/option.rs", 970),
            line("src/words.rs", 20),
            line("src/lib.rs", 30),
        ];
        assert_eq!(at(16), inlined);
        assert_eq!(at(17), inlined);
        assert_eq!(at(18), [line("src/lib.rs", 31)]);
        assert_eq!(at(19), []);
    }
}

#[test]
fn a_component_without_debug_information_has_an_empty_table() {
    assert_eq!(of_component(&component(&[])), Ok(Vec::new()));
}

#[test]
fn a_backtrace_names_files_and_lines() {
    let sandbox = Arc::new(small_sandbox());
    let stopped = |component: &[u8]| match refused(&sandbox, component) {
        LoadError::Instantiate(why) => why,
        other => format!("{other:?}"),
    };
    let bytes = component(&sections(4));
    let start = code_start(&bytes);
    assert_eq!(
        stopped(&bytes),
        format!(
            "wasm trap: wasm `unreachable` instruction executed\
             \n    0: check at src/words.rs:7 ({:#x})\
             \n    1: init at library/core/src/option.rs:970, inlined at src/words.rs:20, inlined at src/lib.rs:30 ({:#x})",
            start + 10,
            start + 16
        )
    );
    let bytes = component(&[]);
    let start = code_start(&bytes);
    assert_eq!(
        stopped(&bytes),
        format!(
            "wasm trap: wasm `unreachable` instruction executed\n    0: check at {:#x}\n    1: init at {:#x}",
            start + 10,
            start + 16
        )
    );
}

#[test]
fn debug_information_that_is_cut_anywhere_is_read_up_to_there() {
    for version in [4, 5] {
        let whole = sections(version);
        for cut in 0..whole.len() {
            for length in 0..whole[cut].1.len() {
                let mut sections = whole.clone();
                sections[cut].1.truncate(length);
                let lines = of_component(&component(&sections)).unwrap();
                assert!(LineTable::parse(&lines).is_some(), "{} of {length}", whole[cut].0);
            }
        }
    }
}

/// A number as LEB128.
fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A unit of DWARF 4 with these entries.
fn unit(entries: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(entries.len() + 7).unwrap().to_le_bytes().to_vec();
    bytes.extend([4, 0, 0, 0, 0, 0, 4]);
    bytes.extend(entries);
    bytes
}

/// An abbreviation: its code, tag, whether it has children, and its attributes with their forms.
fn abbreviation(code: u8, tag: gimli::DwTag, children: bool, attributes: &[(gimli::DwAt, gimli::DwForm)]) -> Vec<u8> {
    let mut bytes = vec![code];
    bytes.extend(leb(tag.0.into()));
    bytes.push(children.into());
    for (attribute, form) in attributes {
        bytes.extend(leb(attribute.0.into()));
        bytes.extend(leb(form.0.into()));
    }
    bytes.extend([0, 0]);
    bytes
}

/// A line table whose header has these numbers of the standard opcodes' operands, and what `files` says. Its length is
/// right, unless it is given.
fn line_table(version: u8, operands: &[u8], files: &[u8], length: Option<u32>, program: &[u8]) -> Vec<u8> {
    let mut header = vec![1, 1, 1, 0, 1, u8::try_from(operands.len()).unwrap() + 1];
    header.extend(operands);
    header.extend(files);
    let mut rest = vec![version, 0];
    if version >= 5 {
        rest.extend([4, 0]);
    }
    rest.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    rest.extend(header);
    rest.extend(program);
    let mut bytes = length
        .unwrap_or(u32::try_from(rest.len()).unwrap())
        .to_le_bytes()
        .to_vec();
    bytes.extend(rest);
    bytes
}

const STMT_LIST: (gimli::DwAt, gimli::DwForm) = (gimli::DW_AT_stmt_list, gimli::DW_FORM_sec_offset);

/// What becomes of debug information whose parts these are.
fn outcome(abbreviations: Vec<u8>, info: Vec<u8>, others: &[Section]) -> Result<Vec<u8>, NoLines> {
    let mut sections = vec![(".debug_abbrev", abbreviations), (".debug_info", info)];
    sections.extend_from_slice(others);
    of_component(&component(&sections))
}

#[test]
fn counts_and_lengths_beyond_what_is_there_are_harmless() {
    let abbreviations = abbreviation(1, gimli::DW_TAG_compile_unit, false, &[STMT_LIST]);
    // A count of files that ends nowhere, whose entries take no bytes, or one that is far too large for its header.
    let many = leb(u64::MAX);
    let files = |format: &[u8]| [format, &many].concat();
    for table in [
        line_table(5, &[], &files(&[0]), None, &[]),
        line_table(5, &[], &files(&[1, 1, 8]), None, &[]),
        line_table(5, &[], &[&[0, 0], &files(&[1, 1, 8])[..]].concat(), None, &[]),
        line_table(4, &[], &[0, 0], Some(u32::MAX - 16), &[]),
        line_table(4, &[], &[0, 0], Some(3), &[]),
    ] {
        let info = unit(&[1, 0, 0, 0, 0]);
        let lines = outcome(abbreviations.clone(), info, &[(".debug_line", table)]);
        assert_eq!(lines, Ok(Vec::new()));
    }
    let info = u32::to_le_bytes(u32::MAX - 16).to_vec();
    assert_eq!(outcome(abbreviations, info, &[]), Ok(Vec::new()));
}

#[test]
fn what_is_read_again_and_again_has_an_end() {
    const MANY: usize = 20_000;
    // Each unit names one and the same line table, of a hundred thousand rows.
    let abbreviations = abbreviation(1, gimli::DW_TAG_compile_unit, false, &[STMT_LIST]);
    let table = line_table(4, &[], b"\0a\0\0\0\0\0", None, &[0xff; 100_000]);
    let units = unit(&[1, 0, 0, 0, 0]).repeat(MANY);
    let lines = outcome(abbreviations, units, &[(".debug_line", table)]);
    assert_eq!(lines, Err(NoLines::TooMuch));

    // Each entry has a thousand attributes that take no bytes.
    let flags = vec![(gimli::DW_AT_external, gimli::DW_FORM_flag_present); 1000];
    let mut abbreviations = abbreviation(1, gimli::DW_TAG_compile_unit, true, &[]);
    abbreviations.extend(abbreviation(2, gimli::DW_TAG_variable, false, &flags));
    let entries = [&[1][..], &[2; 100_000], &[0]].concat();
    assert_eq!(outcome(abbreviations, unit(&entries), &[]), Err(NoLines::TooMuch));

    // Each inlined function has all ranges.
    let ranges = (gimli::DW_AT_ranges, gimli::DW_FORM_sec_offset);
    let mut abbreviations = abbreviation(1, gimli::DW_TAG_compile_unit, true, &[]);
    abbreviations.extend(abbreviation(2, gimli::DW_TAG_inlined_subroutine, false, &[ranges]));
    let entries = [&[1][..], &[2, 0, 0, 0, 0].repeat(MANY), &[0]].concat();
    let list = [[2, 0, 0, 0, 9, 0, 0, 0].repeat(MANY), vec![0; 8]].concat();
    let lines = outcome(abbreviations, unit(&entries), &[(".debug_ranges", list)]);
    assert_eq!(lines, Err(NoLines::TooMuch));
}

#[test]
fn a_text_that_is_looked_through_again_and_again_has_an_end() {
    // Each unit has the name of a megabyte, and one that never ends.
    for end in [vec![0], Vec::new()] {
        let name = (gimli::DW_AT_name, gimli::DW_FORM_strp);
        let abbreviations = abbreviation(1, gimli::DW_TAG_compile_unit, false, &[name]);
        let text = [vec![b'a'; 1 << 20], end].concat();
        let units = unit(&[1, 0, 0, 0, 0]).repeat(2000);
        let lines = outcome(abbreviations, units, &[(".debug_str", text)]);
        assert_eq!(lines, Err(NoLines::TooMuch));
    }
}

#[test]
fn functions_inlined_in_each_other_without_end_do_not_exhaust_the_stack() {
    let called = [
        (gimli::DW_AT_low_pc, gimli::DW_FORM_addr),
        (gimli::DW_AT_high_pc, gimli::DW_FORM_data1),
        (gimli::DW_AT_call_file, gimli::DW_FORM_data1),
        (gimli::DW_AT_call_line, gimli::DW_FORM_data2),
    ];
    let mut abbreviations = abbreviation(1, gimli::DW_TAG_compile_unit, true, &[STMT_LIST]);
    abbreviations.extend(abbreviation(2, gimli::DW_TAG_inlined_subroutine, true, &called));
    let deep = |depth: u32| {
        let mut entries = vec![1, 0, 0, 0, 0];
        for line in 0..depth {
            entries.extend([2, 6, 0, 0, 0, 6, 1]);
            entries.extend(u16::try_from(line % 1000 + 1).unwrap().to_le_bytes());
        }
        unit(&entries)
    };
    // Rows from address 6 to 12 of the file "a".
    let program = [0, 5, 2, 6, 0, 0, 0, 1, 2, 6, 0, 1, 1];
    let operands = [0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];
    let line = line_table(4, &operands, b"\0a\0\0\0\0\0", None, &program);
    let sections = |info| {
        vec![
            (".debug_abbrev", abbreviations.clone()),
            (".debug_info", info),
            (".debug_line", line.clone()),
        ]
    };
    let shallow = component(&sections(deep(2)));
    let expected = [("a".to_owned(), 1), ("a".to_owned(), 2), ("a".to_owned(), 1)];
    assert_eq!(lines_at(&shallow, 9), expected);
    assert_eq!(lines_at(&component(&sections(deep(200_000))), 9).len(), 64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn debug_information_that_is_damaged_anywhere_gives_a_table_or_none(
        version in 4_u16..6,
        damages in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut sections = sections(version);
        for (section, at, byte) in damages {
            let bytes = &mut section.get_mut(&mut sections[..]).1;
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(lines) = of_component(&component(&sections)) {
            let table = LineTable::parse(&lines).unwrap();
            prop_assert_eq!(table.encode(), lines);
        }
    }
}
