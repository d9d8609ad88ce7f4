//! Runs tools side by side and tells what each used.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use wait4::Wait4;

/// A command line around a capture's path.
pub struct Tool {
    pub name: String,
    program: PathBuf,
    before: Vec<String>,
    after: Vec<String>,
    once: bool,
    good_status: i32,
}

/// What a run used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub wall: Duration,
    /// User and system time of all threads.
    pub cpu: Duration,
    /// Greatest resident set.
    pub peak_bytes: u64,
}

impl Tool {
    pub fn new(name: &str, program: impl AsRef<OsStr>, before: &[&str], after: &[&str]) -> Tool {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Tool {
            name: name.to_owned(),
            program: PathBuf::from(program.as_ref()),
            before: owned(before),
            after: owned(after),
            once: false,
            good_status: 0,
        }
    }

    /// Runs it in the first round only: it is slow.
    pub fn once(mut self) -> Tool {
        self.once = true;
        self
    }

    /// An exit status that is no failure, beside 0.
    pub fn with_good_status(mut self, status: i32) -> Tool {
        self.good_status = status;
        self
    }

    fn run(&self, capture: &Path) -> Result<Usage> {
        let mut command = Command::new(&self.program);
        command.args(&self.before).arg(capture).args(&self.after);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begin = Instant::now();
        let child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!("not installed"),
            _ => error.into(),
        })?;
        let used = child.wait4()?;
        let wall = begin.elapsed();
        let status = used.status.code();
        ensure!(status == Some(0) || status == Some(self.good_status), "{}", used.status);
        Ok(Usage {
            wall,
            cpu: used.rusage.utime + used.rusage.stime,
            peak_bytes: used.rusage.maxrss,
        })
    }
}

/// Reads a capture once, so that no tool pays for the disk, and tells its size.
///
/// # Errors
/// When it cannot be read.
pub fn warm(capture: &Path) -> Result<String> {
    let mut file = File::open(capture).with_context(|| capture.display().to_string())?;
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => bytes += read as u64,
        }
    }
    Ok(format!("{:.1} MB, in the page cache", bytes as f64 / 1e6))
}

/// Runs the tools in turn, round after round, and gives the median of each; an error for a tool that does not run here.
///
/// # Errors
/// When bypeer, the first tool, fails: then there is nothing to compare.
pub fn run(tools: &[Tool], capture: &Path, rounds: u32) -> Result<Vec<(String, Result<Usage>)>> {
    let mut runs: Vec<Result<Vec<Usage>>> = tools.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..rounds {
        for (tool, runs) in tools.iter().zip(&mut runs) {
            let Ok(so_far) = runs else { continue };
            if round > 0 && tool.once {
                continue;
            }
            match tool.run(capture) {
                Ok(usage) => so_far.push(usage),
                Err(error) => *runs = Err(error),
            }
        }
    }
    let mut rows = Vec::new();
    for (tool, runs) in tools.iter().zip(runs) {
        let row = runs.map(|runs| median(&runs));
        if tool.name == "bypeer" {
            let usage = row.with_context(|| format!("bypeer failed on {}", capture.display()))?;
            rows.push((tool.name.clone(), Ok(usage)));
        } else {
            rows.push((tool.name.clone(), row));
        }
    }
    Ok(rows)
}

/// The median of each, the lower one of an even number. At least one run.
fn median(runs: &[Usage]) -> Usage {
    fn middle<T: Ord + Copy>(mut values: Vec<T>) -> T {
        values.sort_unstable();
        values[(values.len() - 1) / 2]
    }
    Usage {
        wall: middle(runs.iter().map(|usage| usage.wall).collect()),
        cpu: middle(runs.iter().map(|usage| usage.cpu).collect()),
        peak_bytes: middle(runs.iter().map(|usage| usage.peak_bytes).collect()),
    }
}
