use std::ops::Range;
use std::time::Instant;

use gimli::{
    AttributeValue, DebugInfoOffset, Dwarf, DwarfSections, EndianSlice, FileEntry, LineProgramHeader, LittleEndian,
    SectionId, UnitOffset, UnitRef, constants as dw,
};

use super::elf::Elf;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Of all sections that are read together. Larger ones (a browser's) are left: the symbol table still names functions.
const LARGEST: u64 = 128 << 20;
/// Names refer to other entries, those to others.
const MOST_REFERENCES: usize = 16;
/// Functions inlined into one another at one place.
const MOST_INLINED: usize = 64;

/// The debug information of an ELF file: which line of which source each place in its code comes from.
///
/// All walks are loops with a deadline: DWARF can be written to make a reader nest, or go round, without end.
#[derive(Debug)]
pub(super) struct Lines {
    sections: DwarfSections<Vec<u8>>,
    /// Where the code of each unit is, and where the unit is in `.debug_info`.
    units: Vec<(Range<u64>, usize)>,
    /// Where each unit begins, in order.
    starts: Vec<usize>,
    weight: usize,
}

/// A function and the line in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Mangled, if the language does that.
    pub(super) function: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

/// A function's entry that covers an address.
struct Covering {
    entry: UnitOffset,
    depth: isize,
    /// Where it was called, if it is inlined: file's number, line.
    called: Option<(u64, u32)>,
}

impl Lines {
    /// `None` when there is none, too much, or it is not to be understood. What time does not suffice for is left out.
    pub(super) fn read(elf: &Elf, deadline: Instant) -> Option<Lines> {
        let mut left = LARGEST;
        let sections = DwarfSections::load(|id: SectionId| {
            let section = is_of_use(id).then(|| elf.section(id.name())).flatten();
            let data = match section {
                Some(section) => elf.data(section, left).ok_or(())?,
                None => Vec::new(),
            };
            left -= data.len() as u64;
            Ok::<_, ()>(data)
        })
        .ok()?;
        if left == LARGEST {
            return None;
        }
        let mut lines = Lines {
            sections,
            units: Vec::new(),
            starts: Vec::new(),
            weight: 0,
        };
        let (units, starts) = list_units(&lines.dwarf(), deadline);
        let lists = units.len() * size_of::<(Range<u64>, usize)>() + starts.len() * size_of::<usize>();
        lines.weight = (LARGEST - left) as usize + lists;
        (lines.units, lines.starts) = (units, starts);
        Some(lines)
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    fn dwarf(&self) -> Dwarf<Slice<'_>> {
        self.sections.borrow(|section| EndianSlice::new(section, LittleEndian))
    }

    /// The functions at an address of the file, the innermost first: those inlined, then the one that holds them. Empty when it is not
    /// known, or not found out in time.
    pub(super) fn places(&self, address: u64, deadline: Instant) -> Vec<Place> {
        let dwarf = self.dwarf();
        let candidates = self.units.iter().filter(|(range, _)| range.contains(&address)).take(4);
        for (_, start) in candidates {
            let unit = dwarf
                .unit_header(DebugInfoOffset(*start))
                .and_then(|header| dwarf.unit(header));
            let Ok(unit) = unit else { continue };
            let places = self.places_in(unit.unit_ref(&dwarf), address, deadline);
            if !places.is_empty() {
                return places;
            }
        }
        Vec::new()
    }

    fn places_in(&self, unit: UnitRef<'_, Slice<'_>>, address: u64, deadline: Instant) -> Vec<Place> {
        let mut position = line(unit, address, deadline);
        let mut places = Vec::new();
        for covering in covering(unit, address, deadline).iter().rev() {
            let (file, line) = position.take().unwrap_or_default();
            places.push(Place {
                function: self.name(unit, covering.entry, MOST_REFERENCES),
                file,
                line,
            });
            position = covering
                .called
                .map(|(file, line)| (file_of(unit, file), Some(line).filter(|line| *line != 0)));
        }
        match position {
            Some((file, line)) if places.is_empty() => vec![Place {
                function: None,
                file,
                line,
            }],
            _ => places,
        }
    }

    /// The name of an entry, or of the one that it is an instance of.
    fn name(&self, unit: UnitRef<'_, Slice<'_>>, entry: UnitOffset, references: usize) -> Option<String> {
        let entry = unit.entry(entry).ok()?;
        let text = |attribute| {
            let value = unit.attr_string(entry.attr_value(attribute)?).ok()?;
            Some(value.to_string_lossy().into_owned())
        };
        if let Some(name) = [dw::DW_AT_linkage_name, dw::DW_AT_MIPS_linkage_name, dw::DW_AT_name]
            .into_iter()
            .find_map(text)
        {
            return Some(name);
        }
        let references = references.checked_sub(1)?;
        let origin = entry
            .attr_value(dw::DW_AT_abstract_origin)
            .or_else(|| entry.attr_value(dw::DW_AT_specification))?;
        match origin {
            AttributeValue::UnitRef(offset) => self.name(unit, offset, references),
            // Into another unit: link-time optimisation.
            AttributeValue::DebugInfoRef(offset) => {
                let after = self.starts.partition_point(|start| *start <= offset.0);
                let start = *self.starts[..after].last()?;
                let header = unit.dwarf.unit_header(DebugInfoOffset(start)).ok()?;
                let inner = offset.to_unit_offset(&header)?;
                let other = unit.dwarf.unit(header).ok()?;
                self.name(other.unit_ref(unit.dwarf), inner, references)
            }
            _ => None,
        }
    }
}

fn is_of_use(id: SectionId) -> bool {
    matches!(
        id,
        SectionId::DebugAbbrev
            | SectionId::DebugAddr
            | SectionId::DebugInfo
            | SectionId::DebugLine
            | SectionId::DebugLineStr
            | SectionId::DebugRanges
            | SectionId::DebugRngLists
            | SectionId::DebugStr
            | SectionId::DebugStrOffsets
    )
}

/// The code ranges of all units, and where all units begin.
fn list_units(dwarf: &Dwarf<Slice<'_>>, deadline: Instant) -> (Vec<(Range<u64>, usize)>, Vec<usize>) {
    let (mut ranges, mut starts) = (Vec::new(), Vec::new());
    let mut headers = dwarf.units();
    while let Ok(Some(header)) = headers.next()
        && Instant::now() < deadline
    {
        let Some(start) = header.debug_info_offset() else {
            continue;
        };
        starts.push(start.0);
        let Ok(unit) = dwarf.unit(header) else { continue };
        let Ok(mut of_unit) = dwarf.unit_ranges(&unit) else {
            continue;
        };
        while let Ok(Some(range)) = of_unit.next() {
            // What the linker has thrown away begins at 0.
            if range.begin != 0 && range.begin < range.end {
                ranges.push((range.begin..range.end, start.0));
            }
        }
    }
    (ranges, starts)
}

/// The entries of functions that cover an address, the outermost first; each lies within the one before.
fn covering(unit: UnitRef<'_, Slice<'_>>, address: u64, deadline: Instant) -> Vec<Covering> {
    let mut found: Vec<Covering> = Vec::new();
    let Ok(mut entries) = unit.entries_raw(None) else {
        return found;
    };
    let mut count: u32 = 0;
    while !entries.is_empty() && found.len() < MOST_INLINED {
        count = count.wrapping_add(1);
        if count.is_multiple_of(64) && Instant::now() >= deadline {
            break;
        }
        let (offset, depth) = (entries.next_offset(), entries.next_depth());
        let abbreviation = match entries.read_abbreviation() {
            Ok(Some(abbreviation)) => abbreviation,
            Ok(None) => continue,
            Err(_) => break,
        };
        let specifications = abbreviation.attributes();
        if entries.skip_attributes(specifications).is_err() {
            break;
        }
        if found.first().is_some_and(|outermost| depth <= outermost.depth) {
            break;
        }
        let is_function = match abbreviation.tag() {
            dw::DW_TAG_subprogram => found.is_empty(),
            dw::DW_TAG_inlined_subroutine => found.last().is_some_and(|last| depth > last.depth),
            _ => false,
        };
        let has_code = |name| matches!(name, dw::DW_AT_low_pc | dw::DW_AT_ranges);
        if !is_function || !specifications.iter().any(|attribute| has_code(attribute.name())) {
            continue;
        }
        let Ok(entry) = unit.entry(offset) else { break };
        let Ok(mut ranges) = unit.die_ranges(&entry) else {
            continue;
        };
        let mut covers = false;
        while let Ok(Some(range)) = ranges.next() {
            covers |= range.begin != 0 && range.begin <= address && address < range.end;
        }
        if covers {
            let number = |attribute| entry.attr_value(attribute).and_then(|value| value.udata_value());
            let file = match entry.attr_value(dw::DW_AT_call_file) {
                Some(AttributeValue::FileIndex(file)) => Some(file),
                _ => number(dw::DW_AT_call_file),
            };
            let line = number(dw::DW_AT_call_line).and_then(|line| u32::try_from(line).ok());
            found.push(Covering {
                entry: offset,
                depth,
                called: file.map(|file| (file, line.unwrap_or_default())),
            });
        }
    }
    found
}

/// Source file and line of an address, as the unit's line table has them.
fn line(unit: UnitRef<'_, Slice<'_>>, address: u64, deadline: Instant) -> Option<(Option<String>, Option<u32>)> {
    let mut rows = unit.line_program.clone()?.rows();
    // The row before, in the same sequence: its address, file and line.
    let mut before: Option<(u64, u64, Option<u32>)> = None;
    let mut count: u32 = 0;
    while let Ok(Some((_, row))) = rows.next_row() {
        count = count.wrapping_add(1);
        if count.is_multiple_of(1024) && Instant::now() >= deadline {
            return None;
        }
        if let Some((start, file, line)) = before
            && start <= address
            && address < row.address()
            && start != 0
        {
            return Some((file_of(unit, file), line));
        }
        let line = row.line().and_then(|line| u32::try_from(line.get()).ok());
        before = (!row.end_sequence()).then(|| (row.address(), row.file_index(), line));
    }
    None
}

/// The path of a file of the unit's line table.
fn file_of(unit: UnitRef<'_, Slice<'_>>, number: u64) -> Option<String> {
    let header = unit.line_program.as_ref()?.header();
    path(unit, header, header.file(number)?)
}

fn path<'a>(
    unit: UnitRef<'_, Slice<'a>>,
    header: &LineProgramHeader<Slice<'a>>,
    file: &FileEntry<Slice<'a>>,
) -> Option<String> {
    let name = unit.attr_string(file.path_name()).ok()?.to_string_lossy().into_owned();
    if name.starts_with('/') {
        return Some(name);
    }
    let folder = file
        .directory(header)
        .and_then(|folder| unit.attr_string(folder).ok())
        .map(|folder| folder.to_string_lossy().into_owned())
        .unwrap_or_default();
    let base = unit
        .comp_dir
        .filter(|_| !folder.starts_with('/'))
        .map(|base| base.to_string_lossy().into_owned());
    let parts = base.into_iter().chain([folder, name]);
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    Some(parts.join("/"))
}
