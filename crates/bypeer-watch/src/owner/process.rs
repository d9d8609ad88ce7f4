use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use super::cgroup::Belonging;
use crate::recent::Recent;

/// Processes that are remembered when they are gone.
const MOST: usize = 4096;
/// A program may replace itself.
const FRESH: Duration = Duration::from_secs(1);
const LONGEST_COMMAND: usize = 200;
/// Nanoseconds of a tick as `/proc` counts them: `USER_HZ` is 100 on all Linux that we run on.
const TICK: u64 = 10_000_000;

/// What can be read of a process while it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) uid: u32,
    pub(super) name: String,
    pub(super) program: Option<String>,
    pub(super) command: Option<String>,
    pub(super) belonging: Belonging,
    /// Paths of its cgroups: one, or with version 1 several, separated by commas.
    pub(super) cgroup: Option<String>,
}

/// Processes as they were when they were last seen.
#[derive(Debug)]
pub(super) struct Processes {
    /// By id and start in ticks since boot: ids are used again.
    seen: Recent<(u32, u64), Seen>,
}

#[derive(Debug)]
struct Seen {
    process: Process,
    at: Instant,
}

impl Processes {
    pub(super) fn new() -> Processes {
        Processes {
            seen: Recent::new(MOST, usize::MAX),
        }
    }

    /// The process with this id that had begun when a task of it started: `started` nanoseconds after boot, `None` for the one that lives
    /// now. `None` when it was never seen alive.
    pub(super) fn of(&mut self, pid: u32, started: Option<u64>, name: &str) -> Option<Process> {
        let asked = started.map(|started| started / TICK);
        // The clocks round apart.
        let keys = asked
            .into_iter()
            .flat_map(|ticks| [ticks, ticks.wrapping_sub(1), ticks + 1]);
        for key in keys {
            let Some(seen) = self.seen.get(&(pid, key)) else {
                continue;
            };
            if seen.at.elapsed() < FRESH && (name.is_empty() || seen.process.name == name) {
                return Some(seen.process.clone());
            }
        }
        let living = begun(pid);
        // A thread is younger than its process; one with this id that is younger than the thread is another process.
        if let Some(begun) = living.filter(|begun| asked.is_none_or(|asked| *begun <= asked + 1)) {
            let known = self.seen.get(&(pid, begun)).map(|seen| seen.process.clone());
            let process = Process::read(pid).keeping(known);
            // It may have ended meanwhile, and another begun.
            if self::begun(pid).is_none_or(|again| again == begun) {
                self.remember(pid, begun, &process);
                asked.iter().for_each(|asked| self.remember(pid, *asked, &process));
                return Some(process);
            }
        }
        let keys = asked
            .into_iter()
            .flat_map(|ticks| [ticks, ticks.wrapping_sub(1), ticks + 1]);
        let mut known = keys.filter_map(|key| self.seen.get(&(pid, key)).map(|seen| seen.process.clone()));
        known.next()
    }

    fn remember(&mut self, pid: u32, begun: u64, process: &Process) {
        let seen = Seen {
            process: process.clone(),
            at: Instant::now(),
        };
        self.seen.insert((pid, begun), seen, 1);
    }
}

impl Process {
    fn read(pid: u32) -> Process {
        let at = |name: &str| format!("/proc/{pid}/{name}");
        let text = |name: &str| fs::read_to_string(at(name)).unwrap_or_default();
        let program = fs::read_link(at("exe")).ok().map(|path| {
            let path = path.to_string_lossy();
            path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned()
        });
        let mut command = Vec::new();
        let read =
            File::open(at("cmdline")).and_then(|file| file.take(LONGEST_COMMAND as u64).read_to_end(&mut command));
        let command = read.ok().map(|_| words(&command)).filter(|command| !command.is_empty());
        Process {
            uid: fs::metadata(at("")).map_or(0, |metadata| metadata.uid()),
            name: text("comm").trim_end().to_owned(),
            program,
            command,
            belonging: Belonging::parse(&text("cgroup")),
            cgroup: paths(&text("cgroup")),
        }
    }

    /// One that is about to end tells no longer what it was.
    fn keeping(self, known: Option<Process>) -> Process {
        let Some(known) = known.filter(|_| self.program.is_none()) else {
            return self;
        };
        Process {
            program: known.program,
            command: self.command.or(known.command),
            belonging: known.belonging,
            cgroup: known.cgroup,
            ..self
        }
    }
}

/// When the process that has this id now began, in ticks since boot: field 22 of `stat`. The name before may hold anything.
fn begun(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = String::from_utf8_lossy(stat.get(after + 2..)?);
    rest.split(' ').nth(19)?.parse().ok()
}

/// Words that zeros end, with spaces between.
fn words(command: &[u8]) -> String {
    let trimmed = command.strip_suffix(&[0]).unwrap_or(command);
    String::from_utf8_lossy(trimmed).replace('\0', " ")
}

/// The paths in `/proc/PID/cgroup` that say something, each once.
fn paths(text: &str) -> Option<String> {
    let mut paths: Vec<&str> = text
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .filter(|path| *path != "/")
        .collect();
    paths.sort_unstable();
    paths.dedup();
    (!paths.is_empty()).then(|| paths.join(","))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_after_it_is_gone_but_not_under_its_successors_id() {
        let mut processes = Processes::new();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        // It is another program before `execve`, and for a moment one without a command.
        while fs::read(format!("/proc/{pid}/cmdline")).unwrap() != b"sleep\x0060\0" {
            std::thread::yield_now();
        }
        let started = begun(pid).unwrap() * TICK + 1234;
        // Its predecessor's last event comes late.
        assert_eq!(processes.of(pid, Some(started - 100 * TICK), ""), None);
        let process = processes.of(pid, Some(started), "sleep").unwrap();
        assert!(process.program.as_deref().unwrap().ends_with("sleep"));
        assert_eq!(
            (process.name.as_str(), process.command.as_deref()),
            ("sleep", Some("sleep 60"))
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(processes.of(pid, Some(started), ""), Some(process.clone()));
        // Also when what is remembered is old.
        for seen in [0, 1] {
            if let Some(seen) = processes.seen.get(&(pid, started / TICK + seen)) {
                seen.at = Instant::now().checked_sub(FRESH).unwrap();
            }
        }
        assert_eq!(processes.of(pid, Some(started), ""), Some(process));
        assert_eq!(processes.of(pid, Some(started + 100 * TICK), ""), None);
        assert_eq!(processes.of(pid, None, ""), None);
    }

    #[test]
    fn a_zombie_is_what_it_was() {
        let mut processes = Processes::new();
        let mut child = Command::new("sh")
            .args(["-c", "read line"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        while fs::read_link(format!("/proc/{pid}/exe")).unwrap() == std::env::current_exe().unwrap() {
            std::thread::yield_now();
        }
        let alive = processes.of(pid, None, "").unwrap();
        assert!(alive.program.is_some());
        drop(child.stdin.take());
        let start = Instant::now();
        while fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(10));
        }
        let dead = processes.of(pid, None, "").unwrap();
        assert_eq!((dead.program, dead.command), (alive.program, alive.command));
        child.wait().unwrap();
    }

    #[test]
    fn ours_is_read() {
        let process = Process::read(std::process::id());
        assert_eq!(process.program.as_deref(), std::env::current_exe().unwrap().to_str());
        assert!(process.command.unwrap().len() <= LONGEST_COMMAND);
        assert_eq!(process.uid, rustix::process::geteuid().as_raw());
        assert_eq!(words(b"a\0b c\0\0"), "a b c ");
        assert_eq!(words(b"a\0b"), "a b");
    }
}
