//! Cores, and what was used of them.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid as NixPid;
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

/// What a process has used of processors so far, all of its threads together, to the nanosecond: what `/proc` says may be a tick old.
///
/// # Errors
/// When it is no more.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let told = || {
        let id = i32::try_from(pid).map_err(|_| Errno::ESRCH)?;
        clock_gettime(clock_getcpuclockid(NixPid::from_raw(id))?)
    };
    let time = told().with_context(|| format!("the processor time of process {pid} is not told"))?;
    Ok(Duration::from(time))
}
