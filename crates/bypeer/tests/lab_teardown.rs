//! Whatever ends a lab, nothing of it is left: no processes, no namespaces, no tracefs instances, no folders.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// What was promised is a second; this much more for a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(3);

#[test]
#[ignore = "needs namespaces"]
fn ctrl_c_ends_everything_in_order() {
    let mut lab = Lab::in_the_middle_of_a_round();
    killpg(lab.pid(), Signal::SIGINT).unwrap();
    let (status, said) = lab.end();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(
        said.contains("stopped; 0 rounds of keepalive-timeout are counted"),
        "{said}"
    );
    lab.assert_that_nothing_is_left();
}

#[test]
#[ignore = "needs namespaces"]
fn sigterm_to_the_front_process_ends_everything_in_order() {
    let mut lab = Lab::in_the_middle_of_a_round();
    kill(lab.pid(), Signal::SIGTERM).unwrap();
    let (status, said) = lab.end();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("stopped; 0 rounds"), "{said}");
    lab.assert_that_nothing_is_left();
}

#[test]
#[ignore = "needs namespaces"]
fn a_command_of_a_script_does_not_hold_a_stopped_lab_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slow.toml");
    fs::write(
        &file,
        "title = \"x\"\nabout = \"x\"\n[server]\n[client]\nscript = \"run client \\\"sleep 60\\\"\"\n[truth]\n",
    )
    .unwrap();
    let mut lab = Lab::start(&[file.to_str().unwrap()]);
    lab.until_it_runs("sleep");
    kill(lab.pid(), Signal::SIGTERM).unwrap();
    let (status, said) = lab.end();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("stopped"), "{said}");
    lab.assert_that_nothing_is_left();
}

#[test]
#[ignore = "needs namespaces"]
fn the_next_lab_tidies_up_after_one_that_was_killed() {
    let mut lab = Lab::in_the_middle_of_a_round();
    kill(lab.pid(), Signal::SIGKILL).unwrap();
    lab.end();
    lab.assert_that_no_process_is_left();
    assert!(!lab.folders().is_empty(), "it had no time to remove its folder");

    let next = Command::new(env!("CARGO_BIN_EXE_bypeer"))
        .args(["lab", "run", "closed-port", "--rounds", "1"])
        .env("TMPDIR", lab.temporary.path())
        .output()
        .unwrap();
    assert_eq!(next.status.code(), Some(0), "{}", String::from_utf8_lossy(&next.stderr));
    lab.assert_that_nothing_is_left();
}

#[test]
#[ignore = "needs namespaces"]
fn labs_side_by_side_do_not_meet() {
    let start = |scenario: &str| {
        Command::new(env!("CARGO_BIN_EXE_bypeer"))
            .args(["lab", "run", scenario, "--rounds", "5", "--format", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    // One of them sends no reset: what the kernel tells of the other's must not be taken for its own.
    for lab in [start("closed-port"), start("clean-exchanges")] {
        let output = lab.wait_with_output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A lab with a temporary folder of its own, in a process group of its own.
struct Lab {
    child: Child,
    temporary: tempfile::TempDir,
    /// Its descendants, when it was looked at last.
    processes: BTreeSet<i32>,
    /// Their network namespaces, but for ours.
    namespaces: BTreeSet<PathBuf>,
}

impl Lab {
    fn start(what: &[&str]) -> Lab {
        let temporary = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bypeer"))
            .args(["lab", "run", "--rounds", "50"])
            .args(what)
            .env("TMPDIR", temporary.path())
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Lab {
            child,
            temporary,
            processes: BTreeSet::new(),
            namespaces: BTreeSet::new(),
        }
    }

    /// Rounds of this scenario take seconds, in which actors wait.
    fn in_the_middle_of_a_round() -> Lab {
        let mut lab = Lab::start(&["keepalive-timeout"]);
        lab.until_it_runs("actor");
        lab
    }

    /// Waits until a descendant has this word in its command line.
    fn until_it_runs(&mut self, word: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let runs = |process: &i32| {
                let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
                line.split(|byte| *byte == 0)
                    .any(|argument| argument == word.as_bytes())
            };
            if descendants(self.pid().as_raw()).iter().any(runs) {
                break;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status}: {}", self.said());
            }
            assert!(Instant::now() < end, "no process {word:?} after 20 s");
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(200));
        self.processes = descendants(self.pid().as_raw());
        let own = namespace_of(std::process::id() as i32);
        self.namespaces = self
            .processes
            .iter()
            .filter_map(|process| namespace_of(*process))
            .collect();
        self.namespaces.retain(|namespace| Some(namespace) != own.as_ref());
        assert!(
            !self.namespaces.is_empty(),
            "its processes are in our network namespace"
        );
        assert!(!self.folders().is_empty(), "it has no temporary folder");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn end(&mut self) -> (ExitStatus, String) {
        let end = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.said());
            }
            assert!(Instant::now() < end, "it runs on {SOON:?} after it was told to stop");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    fn folders(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn assert_that_nothing_is_left(&self) {
        self.assert_that_no_process_is_left();
        assert_eq!(self.folders(), Vec::<PathBuf>::new());
        let own = format!("bypeer-lab-{}-", self.child.id());
        // An ordinary user sees none, and made none.
        for entry in fs::read_dir("/sys/kernel/tracing/instances").into_iter().flatten() {
            let name = entry.unwrap().file_name();
            assert!(!name.to_string_lossy().starts_with(&own), "{name:?} is left");
        }
    }

    fn assert_that_no_process_is_left(&self) {
        let end = Instant::now() + SOON;
        loop {
            let left: Vec<i32> = all_processes()
                .into_iter()
                .filter(|process| namespace_of(*process).is_some_and(|namespace| self.namespaces.contains(&namespace)))
                .collect();
            let living: Vec<&i32> = self.processes.iter().filter(|process| is_alive(**process)).collect();
            if left.is_empty() && living.is_empty() {
                return;
            }
            assert!(
                Instant::now() < end,
                "{living:?} live on, {left:?} are in the lab's namespaces"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // After a failed assertion only; otherwise it has ended.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn all_processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn descendants(of: i32) -> BTreeSet<i32> {
    let parents: Vec<(i32, i32)> = all_processes()
        .into_iter()
        .filter_map(|process| Some((process, parent_and_state(process)?.0)))
        .collect();
    let mut found = BTreeSet::new();
    let mut open = vec![of];
    while let Some(parent) = open.pop() {
        for (process, _) in parents.iter().filter(|(_, other)| *other == parent) {
            found.insert(*process);
            open.push(*process);
        }
    }
    found
}

fn is_alive(process: i32) -> bool {
    parent_and_state(process).is_some_and(|(_, state)| state != "Z" && state != "X")
}

/// From /proc/PID/stat: `PID (NAME) STATE PARENT …`; the name may hold anything.
fn parent_and_state(process: i32) -> Option<(i32, String)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((fields.next()?.parse().ok()?, state))
}

fn namespace_of(process: i32) -> Option<PathBuf> {
    fs::read_link(Path::new("/proc").join(process.to_string()).join("ns/net")).ok()
}
