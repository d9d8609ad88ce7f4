//! The kernel's own account of the watch's programs: how often they ran, and for how long.
//!
//! What the machine does beside lengthens these times and a request's alike, so that their ratio is exact where pairs of slices only say
//! that a cost is lost in the noise. The kernel looks at the clock before and after each run, which is in the times it tells; the way into
//! the program and out of it is not.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::attached::Attached;
use super::{Slice, Traffic};
use crate::bench::core::processor_time;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
const SLICES: u32 = 12;

/// What it cost, by request.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    runs: f64,
    in_programs: Duration,
    /// Of the watch's own process.
    in_watch: Duration,
    /// Of server and client, programs of the watch included.
    processor: Duration,
}

impl Account {
    /// Keeps the books over some slices.
    ///
    /// # Errors
    /// When the kernel does not keep them, or traffic fails.
    pub fn of(attached: &Attached, traffic: &mut dyn Traffic, span: Duration) -> Result<Account> {
        let _switch = Switch::on()?;
        let pid = attached.pid();
        let (before, own) = (Runs::of(pid)?, processor_time(pid)?);
        let slices = (0..SLICES)
            .map(|_| traffic.slice(span))
            .collect::<Result<Vec<Slice>>>()?;
        let (after, own_then) = (Runs::of(pid)?, processor_time(pid)?);
        let requests = slices.iter().map(|slice| slice.requests).sum::<u64>().max(1) as f64;
        let processor: Duration = slices.iter().map(|slice| slice.processor).sum();
        Ok(Account {
            runs: (after.count - before.count) as f64 / requests,
            in_programs: (after.time - before.time).div_f64(requests),
            in_watch: own_then.saturating_sub(own).div_f64(requests),
            processor: processor.div_f64(requests),
        })
    }

    /// The share of a request's processor time that the watch is, its process included.
    pub fn share(&self) -> f64 {
        let of_the_watch = (self.in_programs + self.in_watch).as_secs_f64();
        let without = self.processor.saturating_sub(self.in_programs).as_secs_f64();
        of_the_watch / without.max(f64::MIN_POSITIVE)
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{:.3} runs of its programs a request, {:.3} µs in them, {:.3} µs of its own process: {:.2} %",
            self.runs,
            self.in_programs.as_secs_f64() * 1e6,
            self.in_watch.as_secs_f64() * 1e6,
            self.share() * 100.0
        )
    }
}

/// The kernel counts while this lives, and then as before.
struct Switch {
    before: String,
}

impl Switch {
    fn on() -> Result<Switch> {
        let before = fs::read_to_string(SWITCH).context(SWITCH)?;
        fs::write(SWITCH, "1").context(SWITCH)?;
        Ok(Switch { before })
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Best left as it was; the next boot does so in any case.
        let _ = fs::write(SWITCH, self.before.trim());
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Runs {
    count: u64,
    time: Duration,
}

impl Runs {
    /// Of all programs that a process holds.
    fn of(pid: u32) -> Result<Runs> {
        let folder = PathBuf::from(format!("/proc/{pid}/fdinfo"));
        let mut sum = Runs::default();
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            // A descriptor may be closed meanwhile.
            let Ok(text) = fs::read_to_string(entry?.path()) else {
                continue;
            };
            let of_one = Runs::told(&text);
            sum.count += of_one.count;
            sum.time += of_one.time;
        }
        Ok(sum)
    }

    /// From a descriptor's `fdinfo`; nothing where it is no program's.
    fn told(text: &str) -> Runs {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Runs {
            count: field("run_cnt:"),
            time: Duration::from_nanos(field("run_time_ns:")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says() {
        let text =
            "pos:\t0\nprog_type:\t26\nprog_jited:\t1\nrun_time_ns:\t123456\nrun_cnt:\t789\nrecursion_misses:\t0\n";
        let runs = Runs {
            count: 789,
            time: Duration::from_nanos(123_456),
        };
        assert_eq!(Runs::told(text), runs);
        assert_eq!(Runs::told("pos:\t0\nflags:\t02\n"), Runs::default());
    }

    #[test]
    fn a_share_is_of_the_request_without_the_watch() {
        let account = Account {
            runs: 1.0,
            in_programs: Duration::from_nanos(300),
            in_watch: Duration::from_nanos(100),
            processor: Duration::from_nanos(10_300),
        };
        assert!((account.share() - 0.04).abs() < 1e-9);
    }
}
