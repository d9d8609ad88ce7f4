//! The lab as one runs it: scenarios on this machine's kernel, judged by the records that it prints.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod coverage;
mod fixes;
mod guide;
mod records;
mod scenarios;

#[path = "../../../bypeer-report/src/json/schema_check.rs"]
mod schema_check;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// `nobody`.
const ORDINARY_USER: u32 = 65534;

const LISTED: &str = "bypeer.lab-scenario/1";
const ROUND: &str = "bypeer.lab-round/1";
const TALLY: &str = "bypeer.lab/1";

/// One lab at a time: they measure milliseconds, and tests share the processors.
fn alone() -> MutexGuard<'static, ()> {
    static LAB: Mutex<()> = Mutex::new(());
    LAB.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who runs the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    /// Whoever runs the tests.
    Oneself,
    /// A user without privileges.
    OrdinaryUser,
}

/// A folder of the test's own with the program in it, where any user may look and write.
struct Place {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let program = folder.path().join("bypeer");
        // By another process: what this one has open for writing, a child of another test's may have too, and is then busy.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_bypeer"))
            .arg(&program)
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        Place { folder, program }
    }

    /// `bypeer lab`, in this folder.
    fn lab(&self, who: As, arguments: &[&str]) -> Ran {
        let mut command = Command::new(&self.program);
        command
            .arg("lab")
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .env_remove("NO_COLOR");
        // Of root's own: a user who is not root stays who they are.
        if who == As::OrdinaryUser && is_root() {
            command.uid(ORDINARY_USER).gid(ORDINARY_USER);
        }
        command.output().unwrap().into()
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// What became of a command.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        ran
    }
}

impl Ran {
    /// The JSON records of a kind.
    fn records(&self, schema: &str) -> Vec<Value> {
        let records = self.out.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}\n{}", self.err))
        });
        records.filter(|record| record["schema"] == schema).collect()
    }

    /// Scenarios that were left out, with why: commands that are not here.
    fn skipped(&self) -> Vec<(&str, &str)> {
        let lines = self
            .err
            .lines()
            .filter_map(|line| line.strip_prefix("bypeer: skipped: "));
        lines.filter_map(|line| line.split_once(": ")).collect()
    }
}

/// Says that something was not tested, past the harness that swallows what passing tests print. `./test` counts these lines.
fn report_skipped(what: &str) {
    // Nobody to tell when standard error is closed.
    let _ = std::io::stderr().write_all(format!("\nskipped: {what}\n").as_bytes());
}

/// Complaints by what they are about; the same one is counted.
#[derive(Default)]
struct Complaints(BTreeMap<String, BTreeMap<String, u32>>);

impl Complaints {
    fn add(&mut self, about: &str, complaint: impl Into<String>) {
        let of = self.0.entry(about.to_owned()).or_default();
        *of.entry(complaint.into()).or_default() += 1;
    }

    /// Fails with all of them.
    fn none(&self) {
        let mut text = String::new();
        for (about, complaints) in &self.0 {
            text += &format!("\n{about}");
            for (complaint, count) in complaints {
                text += &format!("\n  {count}: {complaint}");
            }
        }
        assert!(self.0.is_empty(), "{} are not as they should be:{text}\n", self.0.len());
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What `lab list` says there is.
fn listed() -> Vec<Value> {
    let ran = Place::new().lab(As::Oneself, &["list", "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let scenarios = ran.records(LISTED);
    assert!(scenarios.len() > 10, "{scenarios:#?}");
    scenarios
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_else(|| panic!("{key} in {record:#}"))
}
