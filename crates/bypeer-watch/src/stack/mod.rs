//! A copied stack → the functions that were being executed, with file and line.
//!
//! Programs are seldom built with frame pointers: their unwind tables (`.eh_frame`) are used, frame pointers only where there are none.
//! The files of other processes are read as input from anybody: in bounded sizes and in bounded time, without panic.

mod demangle;
mod elf;
mod lines;
mod maps;
mod module;
mod open;
mod perf_map;
mod symbols;
mod unwind;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bypeer_diagnose::testimony::Frame;

use self::demangle::demangled;
use self::lines::Place;
use self::maps::{Backing, Mapping, Maps};
use self::module::{Identity, Module};
use self::open::open_mapped;
use self::unwind::{Processor, Registers, Step};
use crate::event::UserStack;
use crate::recent::Recent;

/// Frames of one stack, functions inlined included.
const MOST_FRAMES: usize = 64;
/// For one stack. What is found out by then is told.
const LONGEST: Duration = Duration::from_secs(1);
/// Programs and libraries that are remembered, and what they may take up.
const MOST_MODULES: usize = 128;
const MOST_MEMORY: usize = 256 << 20;

/// Turns copied stacks into frames, and remembers the programs and libraries that it met.
#[derive(Debug)]
pub struct Stacks {
    modules: Recent<Identity, Module>,
    longest: Duration,
}

impl Default for Stacks {
    fn default() -> Stacks {
        Stacks::new()
    }
}

/// A place in a process: an address to look up, and what is mapped there.
struct Position {
    /// Of the instruction: one less than the return address, which may be the next function's.
    lookup: u64,
    /// What to show: the instruction pointer, or the return address.
    shown: u64,
    mapping: Option<Mapping>,
}

impl Stacks {
    /// Knows no program yet.
    pub fn new() -> Stacks {
        Stacks {
            modules: Recent::new(MOST_MODULES, MOST_MEMORY),
            longest: LONGEST,
        }
    }

    /// The frames of a stack, innermost first: at most 64.
    ///
    /// `pid` is the process as `/proc` here knows it. Empty when it is gone, when `/proc` may not tell what it has mapped, or when it is
    /// another one: the stack's instruction pointer is in no code of it.
    pub fn frames(&mut self, pid: u32, stack: &UserStack) -> Vec<Frame> {
        let deadline = Instant::now() + self.longest;
        let maps = Maps::read(pid);
        if maps.of(stack.ip).is_none() {
            return Vec::new();
        }
        let positions = self.positions(pid, &maps, stack, deadline);
        let mut frames = Vec::new();
        for position in &positions {
            frames.extend(self.frames_at(pid, position, deadline));
        }
        frames.truncate(MOST_FRAMES);
        name_compiled_at_run_time(pid, &positions, &mut frames);
        frames
    }

    /// Where each function that was being executed stands, innermost first.
    fn positions(&mut self, pid: u32, maps: &Maps, stack: &UserStack, deadline: Instant) -> Vec<Position> {
        let position = |address: u64, is_instruction: bool| Position {
            lookup: if is_instruction {
                address
            } else {
                address.wrapping_sub(1)
            },
            shown: address,
            mapping: maps.of(address).cloned(),
        };
        let mut positions = vec![position(stack.ip, true)];
        let ended = self.unwind(pid, maps, stack, deadline, |address, interrupted| {
            positions.push(position(address, interrupted));
        });
        // Frame pointers tell where the copy ends, or nothing was copied.
        let others = stack.by_frame_pointers.iter().filter(|address| **address != stack.ip);
        let is_code = |address: &&u64| maps.of(**address).is_some();
        let others: Vec<u64> = others.take_while(is_code).take(MOST_FRAMES).copied().collect();
        if ended != Step::Root && others.len() + 1 > positions.len() {
            positions.truncate(1);
            positions.extend(others.into_iter().map(|address| position(address, false)));
        }
        positions
    }

    /// Tells `found` each caller's address, and whether it was interrupted there instead of calling; returns how it ended.
    fn unwind(
        &mut self,
        pid: u32,
        maps: &Maps,
        stack: &UserStack,
        deadline: Instant,
        mut found: impl FnMut(u64, bool),
    ) -> Step {
        let first = maps
            .of(stack.ip)
            .and_then(|mapping| self.module(pid, mapping, deadline));
        // Code compiled at run time does not tell; this program's own kind is that of the machine.
        let processor = match first {
            Some(module) => module.processor,
            None => Processor::native(),
        };
        let Some(processor) = processor else {
            return Step::Lost;
        };
        let mut registers = Registers::of(stack, processor);
        let mut address = stack.ip;
        for _ in 0..MOST_FRAMES {
            let lookup = if registers.interrupted {
                address
            } else {
                address.wrapping_sub(1)
            };
            let mapping = maps.of(lookup);
            let by_tables = mapping.and_then(|mapping| {
                let module = self.module(pid, mapping, deadline)?;
                let address = module.address(mapping, lookup)?;
                module.tables.as_ref()?.step(address, &mut registers)
            });
            let step = match by_tables {
                Some(step) => step,
                None => registers.step_by_frame_pointer(|address| maps.of(address).is_some()),
            };
            match step {
                Step::Caller(caller) if maps.of(caller).is_some() && Instant::now() < deadline => {
                    found(caller, registers.interrupted);
                    address = caller;
                }
                Step::Root => return Step::Root,
                _ => return Step::Lost,
            }
        }
        Step::Lost
    }

    fn module(&mut self, pid: u32, mapping: &Mapping, deadline: Instant) -> Option<&mut Module> {
        let Backing::File { path, .. } = &mapping.backing else {
            return None;
        };
        let file = open_mapped(pid, mapping)?;
        let identity = Identity::of(&file)?;
        if self
            .modules
            .get(&identity)
            .is_none_or(|module| module.is_worth_another_try())
        {
            let module = Module::read(file, pid, path, deadline);
            let weight = module.weight();
            self.modules.insert(identity, module, weight);
        }
        self.modules.get(&identity)
    }

    /// The frames of one position: of functions inlined there too.
    fn frames_at(&mut self, pid: u32, position: &Position, deadline: Instant) -> Vec<Frame> {
        let bare = Frame {
            address: position.shown,
            module: position.mapping.as_ref().and_then(module_name),
            ..Frame::default()
        };
        let Some(mapping) = &position.mapping else {
            return vec![bare];
        };
        let places = self.module(pid, mapping, deadline).and_then(|module| {
            let address = module.address(mapping, position.lookup)?;
            Some(module.places(address, deadline))
        });
        let Some(places) = places else {
            return vec![bare];
        };
        let frame = |place: Place| Frame {
            function: place.function.as_deref().map(demangled),
            file: place.file,
            line: place.line,
            ..bare.clone()
        };
        places.into_iter().map(frame).collect()
    }
}

/// A file's name without folders, or what the kernel calls it.
fn module_name(mapping: &Mapping) -> Option<String> {
    match &mapping.backing {
        Backing::File { path, .. } => path.rsplit('/').next().map(str::to_owned),
        Backing::Named(name) => Some(name.clone()),
        Backing::Anonymous => None,
    }
}

/// Code without a file has names only in a list that its runtime wrote.
fn name_compiled_at_run_time(pid: u32, positions: &[Position], frames: &mut [Frame]) {
    let is_nameless = |position: &&Position| {
        let backing = position.mapping.as_ref().map(|mapping| &mapping.backing);
        matches!(backing, Some(Backing::Anonymous))
    };
    let nameless: Vec<&Position> = positions.iter().filter(is_nameless).collect();
    let addresses: Vec<u64> = nameless.iter().map(|position| position.lookup).collect();
    for (position, name) in nameless.iter().zip(perf_map::names(pid, &addresses)) {
        let shown = position.shown;
        let unnamed = |frame: &&mut Frame| frame.address == shown && frame.function.is_none();
        if let Some(frame) = frames.iter_mut().find(unnamed) {
            frame.function = name;
        }
    }
}

/// Frames in one line: `close < finish_response srv.c:11 < handle_request srv.c:18 < main`.
///
/// A frame without a name is told by its module and address. A line number goes with its file's name without folders, and is left out for
/// the C library; what called `main` is left out too.
pub fn in_one_line(frames: &[Frame]) -> String {
    let main = frames
        .iter()
        .rposition(|frame| frame.function.as_deref() == Some("main"));
    let mut text = String::new();
    for (index, frame) in frames[..main.map_or(frames.len(), |main| main + 1)].iter().enumerate() {
        let separator = if index == 0 { "" } else { " < " };
        text.push_str(separator);
        match (&frame.function, &frame.module) {
            (Some(function), _) => text.push_str(function),
            // Writing to a string cannot fail.
            (None, Some(module)) => _ = write!(text, "{module}@{:#x}", frame.address),
            (None, None) => _ = write!(text, "{:#x}", frame.address),
        }
        if let (Some(file), Some(line), false) = (&frame.file, frame.line, is_of_c_library(frame)) {
            let name = file.rsplit('/').next().unwrap_or_default();
            _ = write!(text, " {name}:{line}");
        }
    }
    text
}

/// glibc's and musl's names.
fn is_of_c_library(frame: &Frame) -> bool {
    let starts = ["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "libc.musl"];
    let module = frame.module.as_deref().unwrap_or_default();
    starts.iter().any(|start| module.starts_with(start))
}
