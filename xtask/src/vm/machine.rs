use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::kernel::Kernel;
use super::tool::QEMU;
use super::transcript::Transcript;

/// How much later than its owner the guest turns itself off.
const GRACE: Duration = Duration::from_secs(60);
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// Lines of the guest's kernel that are shown when it failed.
const LAST_LINES: usize = 20;

/// How the guest's processor is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By this machine's processor.
    Kvm,
    /// In software: QEMU's translator.
    Tcg,
}

impl Accelerator {
    pub fn what(self) -> &'static str {
        match self {
            Accelerator::Kvm => "with KVM",
            Accelerator::Tcg => "its processor emulated",
        }
    }

    fn options(self) -> [&'static str; 4] {
        match self {
            Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // The two processors take turns. Each with a thread of its own, one may run into the breakpoint that the other's kernel sets
            // while it rewrites its code, as it does when tracing begins: QEMU 7.2 then lets Linux 6.12 panic ("Oops: int3").
            Accelerator::Tcg => ["-accel", "tcg,thread=single", "-cpu", "max"],
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The job's exit status.
    Job(u8),
    /// It took longer than it may.
    TimedOut,
    /// Somebody told this process to stop.
    Interrupted,
}

/// The guest did not run its job to the end.
#[derive(Debug)]
pub struct Failure {
    what: &'static str,
    began: bool,
    last_words: String,
}

impl Failure {
    /// Did the job begin?
    pub fn had_begun(&self) -> bool {
        self.began
    }
}

impl std::error::Error for Failure {}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.what, self.last_words)
    }
}

/// A virtual machine without disk and network: two processors, a gigabyte, and two serial ports for what is said.
pub struct Machine<'a> {
    kernel: &'a Kernel,
    initramfs: &'a Path,
    /// What the guest's kernel says.
    console: PathBuf,
    /// What QEMU says.
    complaints: PathBuf,
    bound: Duration,
}

impl Machine<'_> {
    pub fn new<'a>(kernel: &'a Kernel, initramfs: &'a Path, store: &Path, bound: Duration) -> Machine<'a> {
        Machine {
            kernel,
            initramfs,
            console: store.join(format!("{}.console", kernel.release)),
            complaints: store.join(format!("{}.qemu", kernel.release)),
            bound,
        }
    }

    pub fn release(&self) -> &str {
        &self.kernel.release
    }

    /// Boots, gives each line of the job to `print` as it comes, and ends the machine: when the job has ended, after the bound,
    /// when `stop` is set, or when the job does not begin within `begins_within`.
    ///
    /// # Errors
    /// When QEMU is missing, or a [`Failure`] of the guest.
    pub fn boot(
        &self,
        accelerator: Accelerator,
        begins_within: Option<Duration>,
        stop: &AtomicBool,
        mut print: impl FnMut(&str),
    ) -> Result<Ending> {
        let mut qemu = Qemu::start(self, accelerator)?;
        let lines = qemu.lines();
        let started = Instant::now();
        let mut transcript = Transcript::default();
        let failure = |what, transcript| Failure {
            what,
            began: transcript != Transcript::Booting,
            last_words: self.last_words(),
        };
        loop {
            match lines.recv_timeout(LOOK_AROUND) {
                Ok(line) => {
                    if let Some(printed) = transcript.line(&line) {
                        print(printed);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) if stop.load(Ordering::Relaxed) => return Ok(Ending::Interrupted),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(failure("the machine ended before its job did", transcript).into());
                }
            }
            if let Transcript::Ended(status) = transcript {
                return Ok(Ending::Job(status));
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(Ending::Interrupted);
            }
            if started.elapsed() > self.bound {
                return Ok(Ending::TimedOut);
            }
            if transcript == Transcript::Booting && begins_within.is_some_and(|within| started.elapsed() > within) {
                return Err(failure("the machine does not boot", transcript).into());
            }
        }
    }

    /// The end of what the guest's kernel and QEMU said.
    pub fn last_words(&self) -> String {
        let mut words = String::new();
        for file in [&self.console, &self.complaints] {
            let text = fs::read(file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                words.extend(["  ", line.trim_end(), "\n"]);
            }
        }
        words.push_str(&format!("all of it: {}", self.console.display()));
        words
    }
}

/// The process of a machine. Dropped, it is killed.
struct Qemu(Child);

impl Qemu {
    fn start(machine: &Machine<'_>, accelerator: Accelerator) -> Result<Qemu> {
        let bound = (machine.bound + GRACE).as_secs();
        // A guest that panics ends: it would restart at once (panic=-1), which -no-reboot makes the end.
        let append = format!("console=ttyS0 quiet loglevel=4 panic=-1 bound={bound}");
        let complaints = File::create(&machine.complaints)
            .with_context(|| format!("cannot write {}", machine.complaints.display()))?;
        let mut console = std::ffi::OsString::from("file:");
        console.push(&machine.console);
        let child = Command::new(QEMU.name)
            .args(accelerator.options())
            .args([
                "-smp", "2", "-m", "1024", "-nic", "none", "-display", "none", "-monitor", "none",
            ])
            .args(["-no-reboot", "-append", &append])
            .arg("-kernel")
            .arg(machine.kernel.image())
            .arg("-initrd")
            .arg(machine.initramfs)
            .arg("-serial")
            .arg(console)
            .args(["-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(complaints)
            // The terminal's Ctrl-C is for us, who end it.
            .process_group(0)
            .spawn()
            .map_err(|error| QEMU.cannot_run(error))?;
        Ok(Qemu(child))
    }

    /// What comes by the second serial port, line by line. To be called once.
    fn lines(&mut self) -> Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        if let Some(output) = self.0.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n') {
                    let Ok(line) = line else { return };
                    let line = String::from_utf8_lossy(&line);
                    if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                        return;
                    }
                }
            });
        }
        receiver
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
