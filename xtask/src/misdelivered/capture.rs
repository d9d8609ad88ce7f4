//! tcpdump on the loopback interface, and packets that get lost there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::process::Process;

const HEARS_WITHIN: Duration = Duration::from_secs(10);
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// The kernel hands over a block that is not full after tcpdump's timeout of a second.
const LINGER: Duration = Duration::from_millis(1200);
/// A file that has not grown for so long has all of it, on a busy machine too.
const STILL: Duration = Duration::from_millis(300);
/// KiB.
const BUFFER: &str = "65536";

/// A capture that is being made.
pub struct Capture {
    tcpdump: Process,
    pub file: PathBuf,
}

impl Capture {
    /// Listens from here on.
    ///
    /// # Errors
    /// When tcpdump does not.
    pub fn start(folder: &Path, name: &str) -> Result<Capture> {
        let file = folder.join(name).with_extension("pcap");
        let mut command = Command::new("tcpdump");
        command
            .args(["-i", "lo", "-n", "-s", "0", "-B", BUFFER, "-U", "-Z", "root", "-w"])
            .arg(&file)
            .arg("tcp");
        let tcpdump = Process::start(&mut command, folder)?;
        let began = Instant::now();
        while !tcpdump.said().contains("listening on") {
            ensure!(
                began.elapsed() < HEARS_WITHIN,
                "tcpdump does not listen: {}",
                tcpdump.said()
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Capture { tcpdump, file })
    }

    /// Listens no longer. How many packets it missed.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end(mut self) -> Result<u64> {
        thread::sleep(LINGER);
        let began = Instant::now();
        let length = || self.file.metadata().map(|file| file.len()).ok();
        let mut before = None;
        while began.elapsed() < ENDS_WITHIN && before != length() {
            before = length();
            thread::sleep(STILL);
        }
        self.tcpdump.signal(Signal::INT)?;
        let ended = self.tcpdump.ends(ENDS_WITHIN)?;
        ensure!(ended.is_some(), "tcpdump does not end");
        let said = self.tcpdump.said();
        let missed = said
            .lines()
            .find_map(|line| line.strip_suffix(" packets dropped by kernel")?.trim().parse().ok());
        missed.with_context(|| format!("tcpdump does not say what it missed: {said}"))
    }
}

/// While it lives, one packet in so many is lost: half of them on the way out, before the capture, half after it.
pub struct Loss;

impl Loss {
    /// Begins.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn of_one_in(packets: u32) -> Result<Loss> {
        let rules = format!(
            "table ip loss {{
                chain out {{ type filter hook output priority 0; tcp dport 1-65535 numgen random mod {0} == 0 drop; }}
                chain in {{ type filter hook input priority 0; tcp dport 1-65535 numgen random mod {0} == 0 drop; }}
            }}",
            2 * packets
        );
        nft(&rules)?;
        Ok(Loss)
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        if let Err(error) = nft("delete table ip loss") {
            eprintln!("{error:#}");
        }
    }
}

fn nft(rules: &str) -> Result<()> {
    let output = Command::new("nft").arg(rules).output().context("nft")?;
    ensure!(
        output.status.success(),
        "nft: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
