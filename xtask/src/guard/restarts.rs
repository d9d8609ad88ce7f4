//! Restarts while requests come: of the guard, and of the server behind it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::account::Account;
use super::meeting::{self, Server};
use crate::process::Process;
use crate::proxy::{Product, Proxy};

/// From one restart to the next, from when the last one is over.
const PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
const NODE: (&str, &str) = ("node.js", include_str!("programs/node.js"));
const NODE_LINE: &str = "node node.js {host} {port}";
const APP: (&str, &str) = ("app.py", include_str!("programs/app.py"));
/// Twenty clients over one pool, GET and POST in turn. Go keeps two idle connections of it and opens the others afresh.
const CLIENT: &str = "http://{addr}/ {requests} 20 20ms GET,POST shared";

/// What is restarted, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    GuardHandedOver,
    GuardReplaced,
    GuardReloaded,
    Gunicorn,
    Node,
    TwoNodes,
}

/// What came of it.
#[derive(Serialize)]
pub struct Restarted {
    pub what: &'static str,
    /// Without a guard; `None` where there is nothing to do without one.
    pub direct: Option<(u32, Account)>,
    /// By what was between: how often, and what became of the requests.
    pub through: Vec<(&'static str, u32, Account)>,
}

impl Restart {
    pub const ALL: [Restart; 6] = [
        Restart::GuardHandedOver,
        Restart::GuardReplaced,
        Restart::GuardReloaded,
        Restart::Gunicorn,
        Restart::Node,
        Restart::TwoNodes,
    ];

    fn what(self) -> &'static str {
        match self {
            Restart::GuardHandedOver => "guard: SIGUSR2, the new one takes over the listening sockets",
            Restart::GuardReplaced => "guard: SIGTERM, and a new one on the same listening socket (`LISTEN_FDS`)",
            Restart::GuardReloaded => "guard: SIGHUP",
            Restart::Gunicorn => "gunicorn (gthread) behind: SIGHUP",
            Restart::Node => "Node behind: SIGTERM, and a new one when the old one has ended",
            Restart::TwoNodes => "two Nodes behind, restarted in turn in the same way",
        }
    }

    /// With requests coming, directly where that makes sense, and through the proxies; only a guard is restarted itself.
    ///
    /// # Errors
    /// When somebody cannot be started.
    pub fn play(self, proxies: &[Product], go_client: &Path, requests: u32) -> Result<Restarted> {
        let load = Load {
            line: format!("{} {CLIENT}", go_client.display()).replace("{requests}", &requests.to_string()),
        };
        let direct = match self {
            Restart::Gunicorn => Some(gunicorn(None, &load)?),
            Restart::Node => Some(nodes(1, None, &load)?),
            _ => None,
        };
        let mut through = Vec::new();
        for proxy in proxies {
            let is_guard = matches!(proxy, Product::Guard(_));
            let (count, account) = match self {
                Restart::Gunicorn => gunicorn(Some(proxy), &load)?,
                Restart::Node => nodes(1, Some(proxy), &load)?,
                Restart::TwoNodes => nodes(2, Some(proxy), &load)?,
                Restart::GuardHandedOver if is_guard => handed_over(proxy, &load)?,
                Restart::GuardReplaced if is_guard => replaced(proxy, &load)?,
                Restart::GuardReloaded if is_guard => reloaded(proxy, &load)?,
                _ => continue,
            };
            eprintln!(
                "  {}, {count} times: {} right, {}",
                proxy.name(),
                account.right,
                account.ways()
            );
            through.push((proxy.name(), count, account));
        }
        Ok(Restarted {
            what: self.what(),
            direct,
            through,
        })
    }
}

impl Restarted {
    /// Nothing was lost through the guard.
    pub fn is_right(&self) -> bool {
        let mut guards = self.through.iter().filter(|(name, ..)| *name == "guard");
        guards.all(|(_, _, account)| account.lost().events == 0)
    }
}

struct Load {
    line: String,
}

impl Load {
    /// Requests come, and this is done again and again until they are over.
    fn while_it_lasts(&self, address: SocketAddr, mut restart: impl FnMut() -> Result<()>) -> Result<(u32, Account)> {
        let folder = tempfile::tempdir()?;
        std::thread::scope(|scope| {
            let client = scope.spawn(|| meeting::ask(folder.path(), &self.line, address));
            let mut restarts = 0;
            let mut last = Instant::now();
            while !client.is_finished() {
                // In short naps, so as not to restart once more when all is over.
                if last.elapsed() < PAUSE {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                restart()?;
                restarts += 1;
                last = Instant::now();
            }
            let said = client
                .join()
                .map_err(|_| anyhow!("the thread of the client panicked"))??;
            ensure!(restarts > 0, "too few requests for one restart");
            Ok((restarts, meeting::account(&said)?))
        })
    }
}

/// SIGUSR2 again and again.
fn handed_over(guard: &Product, load: &Load) -> Result<(u32, Account)> {
    let server = Server::start(NODE_LINE, &[NODE])?;
    let proxy = guard.start(&[server.address], None)?;
    let mut line = Generations::of(&proxy)?;
    load.while_it_lasts(proxy.address, || line.hand_over())
        .with_context(|| proxy.process.said())
}

/// Guards of which each started the next.
struct Generations {
    pids: Vec<Pid>,
}

impl Generations {
    fn of(proxy: &Proxy) -> Result<Generations> {
        // Whose parent has ended becomes ours, so that no number is anybody else's as long as we do not ask how it ended.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let pid = i32::try_from(proxy.process.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.context("a process without a number")?;
        when("the guard catches SIGUSR2", || {
            Ok(catches(pid, Signal::USR2)?.then_some(()))
        })?;
        Ok(Generations { pids: vec![pid] })
    }

    fn hand_over(&mut self) -> Result<()> {
        let last = *self.pids.last().context("no guard")?;
        let before = children(last)?;
        kill_process(last, Signal::USR2).context("the guard is gone")?;
        let next = when("the guard starts another one", || {
            Ok(children(last)?.into_iter().find(|child| !before.contains(child)))
        })?;
        // Before, the signal would end it.
        when("the new guard catches SIGUSR2", || {
            Ok(catches(next, Signal::USR2)?.then_some(()))
        })?;
        self.pids.push(next);
        Ok(())
    }
}

impl Drop for Generations {
    fn drop(&mut self) {
        // The first one is the proxy's. The others end when they have drained; nothing here needs that.
        for pid in &self.pids[1..] {
            let _ = kill_process(*pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(*pid), rustix::process::WaitOptions::NOHANG);
        }
    }
}

/// As systemd restarts what it holds the socket of, but without a wait for the old one's end.
fn replaced(guard: &Product, load: &Load) -> Result<(u32, Account)> {
    let server = Server::start(NODE_LINE, &[NODE])?;
    let folder = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let line = guard.command(folder.path(), &address.to_string(), &[server.address.to_string()])?;
    let start = || -> Result<Process> {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec {line}"),
        ]);
        command.stdin(Stdio::from(OwnedFd::from(listener.try_clone()?)));
        Ok(Process::start(&mut command, folder.path())?.alone())
    };
    let mut guards = vec![start()?];
    guards[0].answers(address)?;
    let outcome = load.while_it_lasts(address, || {
        guards.last().context("no guard")?.signal(Signal::TERM)?;
        guards.push(start()?);
        let new = guards.last_mut().context("no guard")?;
        let pid = i32::try_from(new.pid())
            .ok()
            .and_then(Pid::from_raw)
            .context("no number")?;
        when("the new guard catches SIGTERM", || {
            Ok(catches(pid, Signal::TERM)?.then_some(()))
        })
    });
    outcome.with_context(|| guards.iter().map(Process::said).collect::<String>())
}

/// SIGHUP again and again.
fn reloaded(guard: &Product, load: &Load) -> Result<(u32, Account)> {
    let server = Server::start(NODE_LINE, &[NODE])?;
    let proxy = guard.start(&[server.address], None)?;
    load.while_it_lasts(proxy.address, || proxy.process.signal(Signal::HUP))
}

/// gunicorn starts new workers and lets the old ones finish.
fn gunicorn(guard: Option<&Product>, load: &Load) -> Result<(u32, Account)> {
    let line = "gunicorn --bind {addr} --workers 2 --worker-class gthread --threads 16 --log-level critical app:small";
    let server = Server::start(line, &[APP])?;
    let proxy = guard.map(|guard| guard.start(&[server.address], None)).transpose()?;
    let address = proxy.as_ref().map_or(server.address, |proxy| proxy.address);
    load.while_it_lasts(address, || server.process.signal(Signal::HUP))
}

/// One or two, one after the other: there is a time in which nobody listens at the one's address.
fn nodes(count: usize, guard: Option<&Product>, load: &Load) -> Result<(u32, Account)> {
    let mut servers = (0..count)
        .map(|_| Server::start(NODE_LINE, &[NODE]))
        .collect::<Result<Vec<_>>>()?;
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let proxy = guard.map(|guard| guard.start(&addresses, None)).transpose()?;
    let address = proxy.as_ref().map_or(addresses[0], |proxy| proxy.address);
    let mut turn = 0;
    load.while_it_lasts(address, || {
        let server = &mut servers[turn % count];
        turn += 1;
        server.process.signal(Signal::TERM)?;
        ensure!(server.process.ends(PATIENCE)?.is_some(), "Node does not end");
        server.process = Server::again(NODE_LINE, server.folder.path(), server.address)?;
        Ok(())
    })
}

/// Waits for something.
fn when<T>(what: &str, mut come: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(value) = come()? {
            return Ok(value);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("in vain was waited for this: {what}")
}

/// The processes that one has started, and that still are.
fn children(pid: Pid) -> Result<Vec<Pid>> {
    let mut all = Vec::new();
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    for task in std::fs::read_dir(&tasks).with_context(|| tasks.clone())? {
        // A thread may have ended meanwhile.
        let text = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        all.extend(
            text.split_whitespace()
                .filter_map(|word| Pid::from_raw(word.parse().ok()?)),
        );
    }
    Ok(all)
}

/// Whether a process has a handler for a signal. One that is not there yet, or no more, has none.
fn catches(pid: Pid, signal: Signal) -> Result<bool> {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    caught(&text, signal).with_context(|| format!("{path} has no SigCgt"))
}

fn caught(status: &str, signal: Signal) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask >> (signal.as_raw() - 1) & 1 == 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn which_signals_are_caught() {
        let status = "Name:\tguard\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004a01\n";
        assert_eq!(caught(status, Signal::HUP), Some(true));
        assert_eq!(caught(status, Signal::USR2), Some(true));
        assert_eq!(caught(status, Signal::TERM), Some(true));
        assert_eq!(caught(status, Signal::INT), Some(false));
        assert_eq!(caught("Name:\tguard\n", Signal::INT), None);
    }

    #[test]
    fn whose_children_there_are() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let own = rustix::process::getpid();
        let pid = Pid::from_raw(child.id() as i32).unwrap();
        assert!(children(own).unwrap().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children(own).unwrap().contains(&pid));
    }
}
