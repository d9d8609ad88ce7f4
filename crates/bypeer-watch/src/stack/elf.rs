use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;

/// Of section names together.
const LARGEST_NAMES: u64 = 1 << 20;
const MOST_SEGMENTS: usize = 1024;
const MOST_SECTIONS: usize = 1 << 16;
/// `sh_flags`: the section begins with a `Chdr`, compressed bytes follow.
const COMPRESSED: u64 = 1 << 11;
/// `sh_type`: nothing of it is in the file.
const NOBITS: u32 = 8;

/// A 64-bit little-endian ELF file: where its parts are. They are read when asked for, in sizes that the caller bounds: nobody vouches for
/// what the files of other processes hold. (They are not mapped, as whoever owns one may cut it short meanwhile.)
#[derive(Debug)]
pub(super) struct Elf {
    file: File,
    length: u64,
    /// `e_machine`.
    pub(super) machine: u16,
    /// What is loaded, in the file's order.
    pub(super) segments: Vec<Segment>,
    sections: Vec<Section>,
}

/// A part of the file that is mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) offset: u64,
    /// As the file has it: without the base that the loader chose.
    pub(super) address: u64,
    /// Bytes of it in the file.
    pub(super) size: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: String,
    /// `sh_type`
    pub(super) kind: u32,
    pub(super) address: u64,
    /// Of another section that this one refers to.
    pub(super) link: u32,
    flags: u64,
    offset: u64,
    size: u64,
}

impl Elf {
    pub(super) fn read(file: File) -> Option<Elf> {
        let length = file.metadata().ok()?.len();
        let mut header = [0; 64];
        file.read_exact_at(&mut header, 0).ok()?;
        // 64 bits, little-endian.
        if header[..6] != *b"\x7fELF\x02\x01" {
            return None;
        }
        let mut elf = Elf {
            file,
            length,
            machine: u16_at(&header, 18)?,
            segments: Vec::new(),
            sections: Vec::new(),
        };
        let segments = elf.table(u64_at(&header, 32)?, 56, u16_at(&header, 56)?.into(), MOST_SEGMENTS)?;
        elf.segments = segments.chunks_exact(56).filter_map(Segment::parse).collect();
        // A file without sections is cut down, not wrong.
        elf.sections = elf.read_sections(&header).unwrap_or_default();
        Some(elf)
    }

    fn read_sections(&self, header: &[u8]) -> Option<Vec<Section>> {
        let count = u16_at(header, 60)?.into();
        let table = self.table(u64_at(header, 40)?, 64, count, MOST_SECTIONS)?;
        let raw: Vec<&[u8]> = table.chunks_exact(64).collect();
        let names = Section::parse(raw.get(usize::from(u16_at(header, 62)?))?)?;
        let names = self.bytes(names.offset, names.size, LARGEST_NAMES)?;
        // None is left out: they refer to each other by number.
        let named = |raw: &&[u8]| {
            let name = u32_at(raw, 0).and_then(|start| until_zero(names.get(start as usize..)?));
            Some(Section {
                name: name.unwrap_or_default(),
                ..Section::parse(raw)?
            })
        };
        raw.iter().map(named).collect()
    }

    /// Entries of a size, as many as there are and may be.
    fn table(&self, offset: u64, entry: usize, count: usize, most: usize) -> Option<Vec<u8>> {
        let size = (entry * count.min(most)) as u64;
        self.bytes(offset, size, size)
    }

    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    pub(super) fn section_of_kind(&self, kind: u32) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }

    /// The section that another refers to.
    pub(super) fn linked(&self, section: &Section) -> Option<&Section> {
        self.sections.get(section.link as usize)
    }

    /// What a section holds, decompressed; `None` when that is more than `most` bytes.
    pub(super) fn data(&self, section: &Section, most: u64) -> Option<Vec<u8>> {
        if section.kind == NOBITS {
            return None;
        }
        let bytes = self.bytes(section.offset, section.size, most)?;
        if section.flags & COMPRESSED == 0 {
            return Some(bytes);
        }
        let (kind, size) = (u32_at(&bytes, 0)?, u64_at(&bytes, 8)?);
        if size > most {
            return None;
        }
        let packed = bytes.get(24..)?;
        let mut unpacked = Vec::new();
        match kind {
            1 => flate2::read::ZlibDecoder::new(packed)
                .take(size)
                .read_to_end(&mut unpacked),
            2 => zstd::Decoder::new(packed).ok()?.take(size).read_to_end(&mut unpacked),
            _ => return None,
        }
        .ok()?;
        Some(unpacked)
    }

    /// The file's own bytes.
    pub(super) fn bytes(&self, offset: u64, size: u64, most: u64) -> Option<Vec<u8>> {
        // A file may claim anything of itself.
        if size > most || offset.checked_add(size)? > self.length {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }

    /// The whole file, to be read once: two readers would disturb each other.
    pub(super) fn file_from_start(&self) -> Option<File> {
        let mut file = self.file.try_clone().ok()?;
        file.rewind().ok()?;
        Some(file)
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// What `.note.gnu.build-id` holds: the same in a program and its separate debug information.
    pub(super) fn build_id(&self) -> Option<Vec<u8>> {
        let note = self.data(self.section(".note.gnu.build-id")?, 1024)?;
        let name = (u32_at(&note, 0)? as usize).checked_next_multiple_of(4)?;
        let start = name.checked_add(12)?;
        let id = note.get(start..start.checked_add(u32_at(&note, 4)? as usize)?)?;
        (id.len() >= 8).then(|| id.to_vec())
    }

    /// What `.gnu_debuglink` holds: a file's name, and the CRC-32 of that file.
    pub(super) fn debug_link(&self) -> Option<(String, u32)> {
        let link = self.data(self.section(".gnu_debuglink")?, 4096)?;
        let name = until_zero(&link)?;
        let sum = u32_at(&link, (name.len() + 1).next_multiple_of(4))?;
        let is_plain = !name.is_empty() && !name.contains('/') && name != "..";
        is_plain.then_some((name, sum))
    }
}

impl Segment {
    /// `PT_LOAD` only.
    fn parse(raw: &[u8]) -> Option<Segment> {
        (u32_at(raw, 0)? == 1).then_some(Segment {
            offset: u64_at(raw, 8)?,
            address: u64_at(raw, 16)?,
            size: u64_at(raw, 32)?,
        })
    }
}

impl Section {
    /// Where it is in the file, and its length there.
    #[cfg(test)]
    pub(super) fn place(&self) -> (usize, usize) {
        (self.offset as usize, self.size as usize)
    }

    /// Without its name.
    fn parse(raw: &[u8]) -> Option<Section> {
        Some(Section {
            name: String::new(),
            kind: u32_at(raw, 4)?,
            flags: u64_at(raw, 8)?,
            address: u64_at(raw, 16)?,
            offset: u64_at(raw, 24)?,
            size: u64_at(raw, 32)?,
            link: u32_at(raw, 40)?,
        })
    }
}

/// The text that a zero ends.
pub(super) fn until_zero(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(4096).position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(array_at(bytes, at)?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(array_at(bytes, at)?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(array_at(bytes, at)?))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
