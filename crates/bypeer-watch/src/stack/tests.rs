#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::*;

/// Its own stack, stopped for a moment as the kernel part finds it: within a call.
fn stack_of(pid: u32, bytes: usize) -> UserStack {
    let id = Pid::from_raw(pid.cast_signed());
    ptrace::attach(id).unwrap();
    waitpid(id, None).unwrap();
    let registers = ptrace::getregs(id).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut copied = vec![0; bytes];
    // The stack may end before.
    let length = memory.read_at(&mut copied, registers.rsp).unwrap();
    copied.truncate(length);
    ptrace::detach(id, None).unwrap();
    UserStack {
        ip: registers.rip,
        sp: registers.rsp,
        bp: registers.rbp,
        bytes: copied,
        by_frame_pointers: Vec::new(),
    }
}

/// On a machine that is busy with other tests.
fn patient() -> Stacks {
    let mut stacks = Stacks::new();
    stacks.longest = Duration::from_secs(60);
    stacks
}

/// A child process that says a line when it is where it should be, and goes on until its input ends.
struct Waiting(Child);

impl Waiting {
    fn start(command: &mut Command) -> Waiting {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.as_mut().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        // It says so before it waits.
        let start = Instant::now();
        let waits = |child: &Child| {
            let call = fs::read_to_string(format!("/proc/{}/syscall", child.id())).unwrap();
            // read, nanosleep, clock_nanosleep, select, poll and their like: all but a write.
            !call.starts_with("running") && !call.starts_with("1 ")
        };
        while !waits(&child) {
            assert!(start.elapsed() < Duration::from_secs(10), "it does not wait");
            std::thread::sleep(Duration::from_millis(1));
        }
        Waiting(child)
    }

    fn frames(&self, bytes: usize) -> (Vec<Frame>, UserStack) {
        let stack = stack_of(self.0.id(), bytes);
        (patient().frames(self.0.id(), &stack), stack)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SERVER: &str = r#"#include <stdio.h>
#include <unistd.h>
#include <alloca.h>
#include <string.h>

static volatile int kept;

static inline __attribute__((always_inline)) void take(char *into, int length) {
    kept += read(0, into, length); /* line 9 */
}

__attribute__((noinline)) static void finish_response(int length) {
    char *room = alloca(length);
    memset(room, 0, length);
    take(room, length); /* line 15 */
    kept += room[1];
}

__attribute__((noinline)) static void handle_request(int length) {
    char filler[100];
    memset(filler, length, sizeof filler);
    finish_response(length * 2); /* line 22 */
    kept += filler[3];
}

int main(void) {
    puts("ready");
    fflush(stdout);
    handle_request(60); /* line 29 */
    kept++;
    return 0;
}
"#;

fn compile(folder: &Path) -> PathBuf {
    let source = folder.join("srv.c");
    fs::write(&source, SERVER).unwrap();
    let program = folder.join("srv");
    let flags = ["-g", "-O2", "-fomit-frame-pointer", "-Wl,--build-id", "-o"];
    run(Command::new("cc").args(flags).arg(&program).arg(&source));
    program
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// The frames, and for those who look: how long it took with nothing in mind, and again.
fn timed(what: &str, pid: u32, stack: &UserStack) -> Vec<Frame> {
    let mut stacks = patient();
    let mut once = || {
        let start = Instant::now();
        let frames = stacks.frames(pid, stack);
        (frames, start.elapsed())
    };
    let (frames, cold) = once();
    let (again, warm) = once();
    assert_eq!(again, frames);
    println!(
        "{what}: {} frames in {cold:?}, then {warm:?}: {}",
        frames.len(),
        in_one_line(&frames)
    );
    frames
}

/// Names of functions, inner to outer, up to main.
fn up_to_main(frames: &[Frame]) -> Vec<&str> {
    let mut names: Vec<&str> = frames
        .iter()
        .map(|frame| frame.function.as_deref().unwrap_or("?"))
        .collect();
    let main = names.iter().position(|name| *name == "main");
    names.truncate(main.expect("main is among them") + 1);
    names
}

#[test]
#[ignore = "needs cc"]
fn each_function_up_to_main_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let server = Waiting::start(&mut Command::new(compile(folder.path())));
    let (frames, stack) = server.frames(4096);
    assert_eq!(timed("C", server.0.id(), &stack), frames);
    let line = in_one_line(&frames);
    let expected = "read < take srv.c:9 < finish_response srv.c:15 < handle_request srv.c:22 < main srv.c:29";
    assert_eq!(line, expected);
    assert_eq!(frames.last().unwrap().function.as_deref(), Some("_start"));
    let main = &frames[4];
    assert_eq!(main.module.as_deref(), Some("srv"));
    assert_eq!(
        main.file.as_deref(),
        Some(folder.path().join("srv.c").to_str().unwrap())
    );
    // The kernel part copies no more than it has room for.
    let (cut, _) = server.frames(300);
    assert_eq!(cut[..3], frames[..3]);
}

#[test]
#[ignore = "needs cc strip objcopy"]
fn a_stripped_program_has_what_its_debug_file_knows() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path());
    let (stripped, debug) = (folder.path().join("stripped"), folder.path().join("srv.debug"));
    run(Command::new("strip").arg("-o").arg(&stripped).arg(&program));
    let server = Waiting::start(&mut Command::new(&stripped));
    let (frames, stack) = server.frames(4096);
    // Its shape is known, its names are not.
    let names: Vec<Option<&str>> = frames.iter().map(|frame| frame.function.as_deref()).collect();
    assert_eq!(names[1..4], [None; 3], "{}", in_one_line(&frames));
    let own = frames
        .iter()
        .filter(|frame| frame.module.as_deref() == Some("stripped"));
    assert_eq!(own.count(), 4, "finish_response, handle_request, main, _start");
    drop(server);

    // Removed as a distribution does, with a link to what was removed.
    run(Command::new("objcopy")
        .args(["--only-keep-debug", "--compress-debug-sections=zlib"])
        .args([&program, &debug]));
    run(Command::new("objcopy")
        .current_dir(folder.path())
        .args(["--add-gnu-debuglink=srv.debug", "stripped"]));
    let server = Waiting::start(&mut Command::new(&stripped));
    let (frames, _) = server.frames(4096);
    let expected = ["take", "finish_response", "handle_request", "main"];
    assert_eq!(up_to_main(&frames)[1..], expected, "{}", in_one_line(&frames));
    assert_eq!(frames[1].line, Some(9));

    // Another process under the same id: nothing.
    assert_eq!(Stacks::new().frames(server.0.id(), &stack), []);
    let gone = server.0.id();
    drop(server);
    assert_eq!(Stacks::new().frames(gone, &stack), []);
}

#[test]
#[ignore = "needs cc"]
fn a_program_that_was_replaced_is_still_named() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path());
    let server = Waiting::start(&mut Command::new(&program));
    fs::remove_file(&program).unwrap();
    fs::write(&program, "another").unwrap();
    let (frames, _) = server.frames(4096);
    if fs::metadata(format!("/proc/{}/map_files", server.0.id())).is_err() || frames.len() < 3 {
        println!("skipped: the mapped file of a replaced program: may not be opened here");
        return;
    }
    assert!(up_to_main(&frames).contains(&"handle_request"));
    assert_eq!(frames[2].module.as_deref(), Some("srv"));
}

#[test]
#[ignore = "needs cc"]
fn without_a_copy_frame_pointers_have_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let server = Waiting::start(&mut Command::new(compile(folder.path())));
    let (frames, stack) = server.frames(4096);
    let by_frame_pointers: Vec<u64> = frames.iter().map(|frame| frame.address).collect();
    let bare = UserStack {
        bytes: Vec::new(),
        by_frame_pointers,
        ..stack
    };
    let again = patient().frames(server.0.id(), &bare);
    let names = up_to_main(&again);
    assert_eq!(names[0], "read");
    assert!(names.ends_with(&["handle_request", "main"]), "{names:?}");
}

#[test]
#[ignore = "needs rustc"]
fn rust_has_its_own_names() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("server.rs");
    let text = "mod http {
    #[inline(never)]
    pub fn finish_response(input: &mut impl std::io::Read) -> usize {
        let length = input.read(&mut [0; 10]).unwrap();
        std::hint::black_box(length) + 1
    }
}
fn main() {
    println!(\"ready\");
    std::process::exit(http::finish_response(&mut std::io::stdin()) as i32 + 1);
}
";
    fs::write(&source, text).unwrap();
    let program = folder.path().join("server");
    run(Command::new("rustc")
        .args(["-g", "-O", "-o"])
        .arg(&program)
        .arg(&source));
    let server = Waiting::start(&mut Command::new(program));
    let (frames, _) = server.frames(8192);
    let line = in_one_line(&frames);
    assert!(line.starts_with("read < "), "{line}");
    assert!(line.contains("::http::finish_response"), "{line}");
    assert!(line.contains(" server.rs:4 < server::main server.rs:10 < "), "{line}");
}

#[test]
#[ignore = "needs python3"]
fn python_is_many_frames_of_c() {
    let text = "import sys, threading
def first(): return second()
def second():
    print('ready', flush=True)
    return sorted([1, 2], key=lambda _: sys.stdin.buffer.raw.read(1))
first()
";
    // The command may be a script that looks for the program.
    let program = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .unwrap();
    let program = String::from_utf8(program.stdout).unwrap();
    let python = Waiting::start(Command::new(program.trim()).args(["-c", text]));
    let pid = python.0.id();
    let stack = stack_of(pid, 64 << 10);
    let frames = timed("python3", pid, &stack);
    assert!(frames.len() > 10, "{}", in_one_line(&frames));
}

#[test]
#[ignore = "needs node"]
fn what_was_compiled_at_run_time_has_the_names_that_its_runtime_wrote() {
    let text = "const fs = require('fs');
function finishResponse() { return fs.readSync(0, Buffer.alloc(1)); }
function handleRequest() { return finishResponse(); }
fs.writeSync(1, 'ready\\n');
handleRequest();
";
    // It leaves logs where it runs.
    let folder = tempfile::tempdir().unwrap();
    let node = Waiting::start(Command::new("node").current_dir(folder.path()).args([
        "--perf-basic-prof",
        "--interpreted-frames-native-stack",
        "-e",
        text,
    ]));
    let pid = node.0.id();
    let frames = timed("node", pid, &stack_of(pid, 16 << 10));
    drop(node);
    let _ = fs::remove_file(format!("/tmp/perf-{pid}.map"));
    let named = |part: &str| {
        let mut names = frames.iter().filter_map(|frame| frame.function.as_deref());
        names.any(|name| name.contains(part))
    };
    assert!(
        frames[0].function.as_deref() == Some("read"),
        "{}",
        in_one_line(&frames)
    );
    assert!(
        named("finishResponse") && named("handleRequest"),
        "{}",
        in_one_line(&frames)
    );
}

/// A small program with everything that is read: tables, symbols, debug information.
#[test]
#[ignore = "needs cc"]
fn no_file_is_too_broken() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path());
    let mut bytes = Vec::new();
    File::open(&program).unwrap().read_to_end(&mut bytes).unwrap();
    let path = folder.path().join("broken");
    let good = explore(&path, &bytes);
    assert!(good.contains("handle_request"), "{good}");
    for end in (0..bytes.len()).step_by(bytes.len() / 200) {
        explore(&path, &bytes[..end]);
    }
    // Each seed gives the same numbers again.
    let mut random = Random(0x1234_5678);
    let start = Instant::now();
    for _ in 0..400 {
        let mut broken = bytes.clone();
        for _ in 0..=random.below(8) {
            // Most of a file is padding; headers and tables matter.
            let at = match random.below(4) {
                0 => random.below(1024),
                1 => bytes.len() - 1 - random.below(3000),
                _ => random.below(bytes.len()),
            };
            let value = [0, 1, 0x7f, 0x80, 0xff, random.below(256) as u8][random.below(6)];
            broken[at] = value;
        }
        explore(&path, &broken);
    }
    // Sections with debug information only: most changes hit something.
    let elf = super::elf::Elf::read(File::open(&program).unwrap()).unwrap();
    for name in [
        ".eh_frame",
        ".eh_frame_hdr",
        ".debug_info",
        ".debug_abbrev",
        ".debug_line",
        ".debug_rnglists",
    ] {
        let Some(section) = elf.section(name) else { continue };
        let (start, length) = section.place();
        for _ in 0..100 {
            let mut broken = bytes.clone();
            for _ in 0..=random.below(4) {
                broken[start + random.below(length)] = random.below(256) as u8;
            }
            explore(&path, &broken);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
}

/// Everything that is ever done to a file; returns the names found.
fn explore(path: &Path, bytes: &[u8]) -> String {
    fs::write(path, bytes).unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    let file = File::open(path).unwrap();
    let mut module = Module::read(file, std::process::id(), "/broken", deadline);
    let stack = UserStack {
        ip: 0x1200,
        sp: 0x7fff_0000,
        bp: 0x7fff_0010,
        bytes: (0..2048).map(|number| (number % 251) as u8).collect(),
        by_frame_pointers: Vec::new(),
    };
    let mut names = String::new();
    for address in (0x1000..0x1400).step_by(5) {
        if let Some(tables) = &module.tables {
            let mut registers = Registers::of(&stack, Processor::native().unwrap());
            tables.step(address, &mut registers);
        }
        for place in module.places(address, deadline) {
            names += &place.function.as_deref().map(demangled).unwrap_or_default();
        }
    }
    names
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn a_stack_of_nobody_is_empty() {
    assert_eq!(Stacks::new().frames(u32::MAX, &UserStack::default()), []);
    assert_eq!(Stacks::new().frames(std::process::id(), &UserStack::default()), []);
}

#[test]
fn one_line_names_what_is_known() {
    let frame = |function: Option<&str>, file: Option<&str>, line, module: Option<&str>| Frame {
        address: 0x1234,
        function: function.map(str::to_owned),
        file: file.map(str::to_owned),
        line,
        module: module.map(str::to_owned),
    };
    let frames = [
        frame(Some("close"), None, None, Some("libc.so.6")),
        frame(Some("finish_response"), Some("/src/app/srv.c"), Some(11), Some("srv")),
        frame(None, None, None, Some("srv")),
        frame(None, None, None, None),
        frame(Some("main"), Some("srv.c"), None, Some("srv")),
    ];
    assert_eq!(
        in_one_line(&frames),
        "close < finish_response srv.c:11 < srv@0x1234 < 0x1234 < main"
    );
    assert_eq!(in_one_line(&[]), "");
}
