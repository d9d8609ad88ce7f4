//! Cores, and what was used of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// One of the cores that this program may use.
#[derive(Clone, Copy, Debug)]
pub struct Core(usize);

impl Core {
    /// The last two: what the machine does of itself is done by the first ones. The same twice where there is but one.
    ///
    /// # Errors
    /// When the kernel does not tell which there are.
    pub fn two() -> Result<[Core; 2]> {
        let allowed = sched_getaffinity(None).context("which cores may be used is not told")?;
        let mut last = (0..CpuSet::MAX_CPU).rev().filter(|core| allowed.is_set(*core));
        let server = last.next().context("no core may be used")?;
        Ok([Core(server), Core(last.next().unwrap_or(server))])
    }

    /// Keeps the calling thread, and what it starts from now on, on this core.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn hold_me(self) -> Result<()> {
        self.hold(None)
    }

    /// Keeps a process of one thread on this core.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn hold(self, pid: Option<Pid>) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(self.0);
        sched_setaffinity(pid, &set).with_context(|| format!("cannot be kept on core {}", self.0))
    }
}

/// What the threads that a process has now have used of processors.
///
/// # Errors
/// When it is no more.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(&folder).context(folder)? {
        // Nanoseconds on a processor, nanoseconds in the queue, slices. A thread may have ended meanwhile.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let first = text.split(' ').next().unwrap_or_default();
        nanoseconds += first.parse::<u64>().with_context(|| format!("schedstat: {text:?}"))?;
    }
    ensure!(nanoseconds > 0, "the kernel does not tell the processor time of {pid}");
    Ok(Duration::from_nanos(nanoseconds))
}
