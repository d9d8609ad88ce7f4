//! `bypeer watch` as a child, from the moment that it listens.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use wait4::Wait4;

/// About as long as loading and attaching take.
pub const TAKES_TO_START: Duration = Duration::from_millis(500);

/// What it says when it listens: the second in place of the first with `--format json --metrics`, which is silent otherwise.
const LISTENS: [&str; 2] = ["listening in the kernel", "counts are at"];

/// A watch that listens. Dropped, it is killed.
pub struct Attached {
    /// None once it has ended.
    child: Option<Child>,
    pid: u32,
    /// Open until the end: what cannot complain fails.
    errors: Option<BufReader<ChildStderr>>,
    reader: Option<JoinHandle<std::io::Result<String>>>,
}

/// How it ended.
pub struct Ended {
    /// The last kilobytes of what it printed.
    pub last: String,
    /// Greatest resident set, from the start on.
    pub peak_bytes: u64,
}

impl Attached {
    /// Starts it and waits until its programs are attached.
    ///
    /// # Errors
    /// When it cannot listen, with its own words.
    pub fn start(binary: &Path, options: &[impl AsRef<OsStr>]) -> Result<Attached> {
        let mut child = Command::new(binary)
            .args(["watch", "--source", "bpf"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        let output = child.stdout.take().context("the watch has no output")?;
        let errors = child.stderr.take().context("the watch has no error output")?;
        let mut attached = Attached {
            pid: child.id(),
            child: Some(child),
            errors: None,
            reader: Some(std::thread::spawn(move || last_of(output))),
        };
        let mut errors = BufReader::new(errors);
        let mut said = String::new();
        while errors.read_line(&mut said)? > 0 {
            if LISTENS.iter().any(|words| said.contains(words)) {
                attached.errors = Some(errors);
                return Ok(attached);
            }
        }
        let hint = if rustix::process::geteuid().is_root() {
            ""
        } else {
            "\nThis benchmark loads eBPF: run it as root, or with CAP_BPF and CAP_PERFMON."
        };
        bail!("the watch does not listen: {}{hint}", said.trim())
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it as Ctrl-C does.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn end(mut self) -> Result<Ended> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process")?, Signal::INT).context("the watch cannot be told to end")?;
        let used = self.child.take().context("no process")?.wait4()?;
        ensure!(
            matches!(used.status.code(), Some(0 | 1)),
            "the watch ended with {}",
            used.status
        );
        let last = match self.reader.take().map(JoinHandle::join) {
            Some(Ok(last)) => last?,
            _ => bail!("what the watch told was not read"),
        };
        Ok(Ended {
            last,
            peak_bytes: used.rusage.maxrss,
        })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may just have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads all of it and keeps the end. Cheap: what it takes is taken from what is measured.
fn last_of(mut output: impl Read) -> std::io::Result<String> {
    const KEPT: usize = 64 << 10;
    let mut buffer = vec![0; 1 << 20];
    let mut end: Vec<u8> = Vec::new();
    loop {
        let read = output.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        end.extend_from_slice(&buffer[..read]);
        let surplus = end.len().saturating_sub(KEPT);
        end.drain(..surplus);
    }
    Ok(String::from_utf8_lossy(&end).into_owned())
}
