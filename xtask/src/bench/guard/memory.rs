//! Memory that a proxy takes for clients that do nothing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::steady::Client;

/// Until what was needed for the requests alone has been given back.
const SETTLES: Duration = Duration::from_secs(1);

/// A proxy's memory, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// With one client.
    pub at_first: u64,
    /// For each one more.
    pub per_client: f64,
}

/// With so many clients that have asked once, and keep their connections.
///
/// # Errors
/// When the proxy refuses one.
pub fn of_idle(address: SocketAddr, pid: u32, clients: u32) -> Result<Memory> {
    // One client first: what is made with the first connection is not this one's.
    let mut all = vec![asked(address)?];
    std::thread::sleep(SETTLES);
    let before = proportional(pid)?;
    for number in 0..clients {
        all.push(asked(address).with_context(|| format!("client {number} of {clients}"))?);
    }
    std::thread::sleep(SETTLES);
    let after = proportional(pid)?;
    // They are there still.
    for client in [0, all.len() - 1] {
        all[client].ask().context("an idle connection is gone")?;
    }
    Ok(Memory {
        at_first: before,
        per_client: (after as f64 - before as f64) / f64::from(clients),
    })
}

fn asked(address: SocketAddr) -> Result<Client> {
    let mut client = Client::connect(address)?;
    client.ask()?;
    Ok(client)
}

/// As many descriptors as may be had, here and in what is started from here.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_descriptors() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).context("the limit of descriptors")
}

/// A process's memory in bytes, of what it shares its part (PSS).
fn proportional(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    told(&text).with_context(|| format!("{path} has no Pss"))
}

fn told(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_of_memory() {
        let text = "55d2a3a4c000-7ffd000 ---p 00000000 00:00 0  [rollup]\nRss:                1764 kB\nPss:                 213 kB\nPss_Dirty:  80 kB\n";
        assert_eq!(told(text), Some(213 * 1024));
        assert_eq!(told("Rss: 1 kB\n"), None);
        assert!(proportional(std::process::id()).unwrap() > 100_000);
    }
}
