//! wrk, and what it says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::core::Core;

/// What it is to do.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub address: SocketAddr,
    pub path: &'a str,
    /// All of them busy all of the time.
    pub connections: u32,
    /// A script in Lua.
    pub script: Option<&'a Path>,
    /// A connection for each request.
    pub close: bool,
    pub seconds: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Whole ones, with whatever status.
    pub answered: u64,
    pub elapsed: Duration,
    /// Of the answered, those whose status is not 2xx or 3xx.
    pub refused: u64,
    /// Errors of sockets, of whatever kind.
    pub errors: u64,
}

impl Ask<'_> {
    /// From its start to its end, on this core.
    ///
    /// # Errors
    /// When wrk is not installed or fails.
    pub fn ask(&self, core: Core) -> Result<Answers> {
        let mut command = Command::new("wrk");
        command.args(["--threads", "1", "--connections", &self.connections.to_string()]);
        command.args(["--duration", &format!("{}s", self.seconds)]);
        if self.close {
            command.args(["--header", "Connection: close"]);
        }
        if let Some(script) = self.script {
            command.arg("--script").arg(script);
        }
        command.arg(format!("http://{}{}", self.address, self.path));
        let run = || {
            core.hold_me()?;
            command.stdin(Stdio::null()).output().context("wrk")
        };
        let output = std::thread::scope(|scope| scope.spawn(run).join())
            .map_err(|_| anyhow!("a thread of the benchmark panicked"))??;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "wrk: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Answers::said(&text).with_context(|| format!("wrk says:\n{text}"))
    }
}

impl Answers {
    /// Reads them from what wrk prints.
    fn said(text: &str) -> Option<Answers> {
        let (answered, elapsed) = requests(text)?;
        // `  Non-2xx or 3xx responses: 12`
        let refused = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Non-2xx or 3xx responses:"));
        // `  Socket errors: connect 0, read 5, write 0, timeout 0`
        let errors = text.lines().find_map(|line| line.trim().strip_prefix("Socket errors:"));
        Some(Answers {
            answered,
            elapsed,
            refused: refused.map_or(Some(0), |count| count.trim().parse().ok())?,
            errors: errors.map_or(Some(0), |kinds| {
                let counts = kinds
                    .split(',')
                    .map(|kind| kind.split_whitespace().nth(1)?.parse::<u64>().ok());
                counts.sum()
            })?,
        })
    }
}

/// `  123456 requests in 1.10s, 40.2MB read`
pub fn requests(text: &str) -> Option<(u64, Duration)> {
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    let (count, rest) = line.trim().split_once(" requests in ")?;
    let time = rest.split(',').next()?;
    let seconds: f64 = match time.strip_suffix("ms") {
        Some(milliseconds) => milliseconds.parse::<f64>().ok()? / 1e3,
        None => time.strip_suffix('s')?.parse().ok()?,
    };
    Some((count.parse().ok()?, Duration::try_from_secs_f64(seconds).ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says() {
        let text = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 32 connections\n  52786 requests in 1.10s, 42.23MB read\n";
        assert_eq!(requests(text).unwrap(), (52786, Duration::from_millis(1100)));
        assert_eq!(
            requests("  1 requests in 900.00ms, 1B read").unwrap(),
            (1, Duration::from_millis(900))
        );
        assert!(requests("unable to connect").is_none());
    }

    #[test]
    fn what_wrk_says_of_failures() {
        let good = "  7 requests in 1.00s, 42.23MB read\n";
        let all = Answers::said(good).unwrap();
        assert_eq!((all.answered, all.refused, all.errors), (7, 0, 0));
        let bad =
            format!("{good}  Socket errors: connect 1, read 20, write 0, timeout 300\n  Non-2xx or 3xx responses: 5\n");
        let all = Answers::said(&bad).unwrap();
        assert_eq!((all.answered, all.refused, all.errors), (7, 5, 321));
        assert!(Answers::said(&bad.replace("20", "many")).is_none());
    }
}
