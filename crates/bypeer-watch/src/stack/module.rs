use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::elf::{Elf, Segment};
use super::lines::{Lines, Place};
use super::maps::Mapping;
use super::open::open_in_root;
use super::symbols::Symbols;
use super::unwind::{Processor, Tables};

/// Places of one module that are remembered.
const MOST_PLACES: usize = 4096;
/// A file that could not be read in time is read again after this: by then the system may have it in memory.
const RETRY: Duration = Duration::from_secs(30);
/// A separate file is summed up only when nothing better tells whether it belongs.
const LARGEST_SUMMED: u64 = 256 << 20;
/// Where separate debug information is installed.
const DEBUG_ROOT: &str = "/usr/lib/debug";

/// Which file, and which state of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

impl Identity {
    pub(super) fn of(file: &File) -> Option<Identity> {
        let metadata = file.metadata().ok()?;
        Some(Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            length: metadata.len(),
        })
    }
}

/// A program or library: all that is needed to leave its functions, and to name them.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) processor: Option<&'static Processor>,
    pub(super) tables: Option<Tables>,
    segments: Vec<Segment>,
    symbols: Vec<Symbols>,
    lines: Option<Lines>,
    /// When reading it was given up for want of time.
    given_up: Option<Instant>,
    /// By address in the file.
    places: HashMap<u64, Vec<Place>>,
}

impl Module {
    /// `path` is where the process has it. A file that is not ELF gives a module that knows nothing.
    pub(super) fn read(file: File, pid: u32, path: &str, deadline: Instant) -> Module {
        let mut module = Module {
            processor: None,
            tables: None,
            segments: Vec::new(),
            symbols: Vec::new(),
            lines: None,
            given_up: None,
            places: HashMap::new(),
        };
        let Some(elf) = Elf::read(file) else {
            return module;
        };
        module.processor = Processor::of(elf.machine);
        module.tables = Tables::read(&elf);
        module.symbols.push(Symbols::read(&elf));
        module.lines = Lines::read(&elf, deadline);
        if module.lines.is_none()
            && Instant::now() < deadline
            && let Some(separate) = separate(&elf, pid, path)
        {
            module.symbols.push(Symbols::read(&separate));
            module.lines = Lines::read(&separate, deadline);
        }
        module.segments = elf.segments;
        module.given_up = Some(Instant::now()).filter(|now| *now >= deadline);
        module
    }

    /// Something of it is missing for want of time, and it is time to try again.
    pub(super) fn is_worth_another_try(&self) -> bool {
        self.given_up.is_some_and(|at| at.elapsed() >= RETRY)
    }

    /// Bytes of memory, roughly.
    pub(super) fn weight(&self) -> usize {
        let parts = [
            self.tables.as_ref().map_or(0, Tables::weight),
            self.symbols.iter().map(Symbols::weight).sum(),
            self.lines.as_ref().map_or(0, Lines::weight),
        ];
        parts.iter().sum::<usize>() + size_of::<Module>()
    }

    /// The address that the file has for an address in the process.
    pub(super) fn address(&self, mapping: &Mapping, address: u64) -> Option<u64> {
        let offset = address
            .checked_sub(mapping.addresses.start)?
            .checked_add(mapping.offset)?;
        let holds = |segment: &&Segment| {
            offset
                .checked_sub(segment.offset)
                .is_some_and(|within| within < segment.size)
        };
        let segment = self.segments.iter().find(holds)?;
        segment.address.checked_add(offset - segment.offset)
    }

    /// The functions at an address of the file, innermost first; one without a name when nothing is known of it.
    pub(super) fn places(&mut self, address: u64, deadline: Instant) -> Vec<Place> {
        if let Some(places) = self.places.get(&address) {
            return places.clone();
        }
        let mut places = match &self.lines {
            Some(lines) => lines.places(address, deadline),
            None => Vec::new(),
        };
        if places.is_empty() {
            places.push(Place::default());
        }
        if let Some(outermost) = places.last_mut() {
            outermost.function = self.name(address, outermost.function.take());
        }
        // glibc's `read` has part of itself inlined under another name.
        let has_own_name = |place: &Place| !place.function.as_deref().unwrap_or_default().starts_with("__GI_");
        if places.last().is_some_and(has_own_name) {
            places.retain(has_own_name);
        }
        if Instant::now() < deadline {
            if self.places.len() >= MOST_PLACES {
                self.places.clear();
            }
            self.places.insert(address, places.clone());
        }
        places
    }

    /// The function's name: from the debug information, or from a symbol table where that has none, or knows a name that is made for
    /// readers (`read` for libc's `__GI___libc_read`).
    fn name(&self, address: u64, known: Option<String>) -> Option<String> {
        if known.as_deref().is_some_and(|name| !name.starts_with("__")) {
            return known;
        }
        let names = self.symbols.iter().rev().filter_map(|symbols| symbols.name(address));
        let underscores = |name: &String| name.bytes().take_while(|byte| *byte == b'_').count();
        known.into_iter().chain(names).min_by_key(underscores)
    }
}

/// The file with the debug information that was taken out of another, in the process's root or in ours.
fn separate(elf: &Elf, pid: u32, path: &str) -> Option<Elf> {
    let id = elf.build_id();
    let open = |path: &str| {
        [pid, std::process::id()]
            .into_iter()
            .find_map(|root| open_in_root(root, path))
    };
    if let Some(id) = &id {
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let (folder, rest) = hex.split_at(2);
        let by_id = open(&format!("{DEBUG_ROOT}/.build-id/{folder}/{rest}.debug")).and_then(Elf::read);
        if let Some(found) = by_id.filter(|found| found.build_id() == elf.build_id()) {
            return Some(found);
        }
    }
    let (name, sum) = elf.debug_link()?;
    let folder = Path::new(path).parent()?.to_str()?.trim_end_matches('/');
    let candidates = [
        format!("{folder}/{name}"),
        format!("{folder}/.debug/{name}"),
        format!("{DEBUG_ROOT}{folder}/{name}"),
    ];
    let belongs = |found: &Elf| match (&id, found.build_id()) {
        (Some(id), Some(found)) => *id == found,
        _ => check_sum(found) == Some(sum),
    };
    let mut found = candidates.iter().filter_map(|path| open(path).and_then(Elf::read));
    found.find(belongs)
}

fn check_sum(elf: &Elf) -> Option<u32> {
    let mut sum = flate2::Crc::new();
    let mut bytes = vec![0; 1 << 16];
    let mut file = elf.file_from_start().filter(|_| elf.length() <= LARGEST_SUMMED)?;
    loop {
        match file.read(&mut bytes) {
            Ok(0) => return Some(sum.sum()),
            Ok(length) => sum.update(&bytes[..length]),
            Err(_) => return None,
        }
    }
}
