//! Servers of ours with a fault each, asked by `bypeer probe`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use super::sight::{Sight, Sights};
use super::{Arguments, Measured, NO_FAULT, Row};
use crate::misdelivered::alarms::of_the_family;
use crate::misdelivered::servers::has;
use crate::process::Process;

/// A fault of `faulty.js`, and the cause that it is.
const FAULTS: [(&str, &str); 6] = [
    ("one-slot", "desync-shared-state"),
    ("ids-of-hosts", "desync-shared-state"),
    ("shifted-by-aborts", "desync-shared-state"),
    ("answered-twice", "desync-unsolicited-response"),
    ("closed-twice", CLOSED_TWICE),
    ("none", NO_FAULT),
];
const CLOSED_TWICE: &str = "desync-fd-reuse-double-close";
/// What a check says of a server that is there no more.
const DIED: &str = "the server died";
const PROGRAM: &str = include_str!("../programs/faulty.js");
const ECHO: &str = "/echo?q={nonce}";
const CHECKS: [&str; 2] = ["answers-fit", "answers-fit-load"];

/// Servers that are asked at the same moment: most of the time is waiting.
const AT_ONCE: usize = 12;

/// Asks each of them, as often as is wanted.
///
/// # Errors
/// When one cannot be started, or the probe fails.
pub fn play(arguments: &Arguments, binary: &Path) -> Result<Measured> {
    let mut measured = Measured::default();
    if !has("node") {
        measured.lacking.push("the probe's servers: lack node".to_owned());
        return Ok(measured);
    }
    'faults: for (fault, cause) in FAULTS.into_iter().filter(|(fault, _)| arguments.wants(fault)) {
        let [mut gentle, mut load] = [Sights::default(); 2];
        let mut not_shown = 0;
        for (check, sights) in CHECKS.into_iter().zip([&mut gentle, &mut load]) {
            let asked = match many(arguments.runs, || ask(binary, (fault, cause), check)) {
                Ok(asked) => asked,
                // What one of them could not be asked says nothing of the others.
                Err(error) => {
                    measured.lacking.push(format!("{fault}, {check}: {error:#}"));
                    measured.failed = true;
                    continue 'faults;
                }
            };
            for (sight, struck) in asked {
                if struck || cause == NO_FAULT {
                    sights.add(sight);
                } else {
                    not_shown += 1;
                }
            }
            eprintln!("probed by {check}: {fault}");
        }
        measured.rows.push(Row {
            cause: cause.to_owned(),
            scenario: format!("a server that is probed: {fault}"),
            real: Some("node".to_owned()),
            rounds: u64::from(arguments.runs) * CHECKS.len() as u64,
            not_shown,
            server: None,
            client: None,
            both: None,
            live: None,
            probe: Some(gentle),
            probe_load: Some(load),
        });
    }
    Ok(measured)
}

/// Does it so often, some at once.
fn many<T: Send>(times: u32, one: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    let left = AtomicU32::new(times);
    let take = |left: u32| left.checked_sub(1);
    let worker = || -> Result<Vec<T>> {
        let mut all = Vec::new();
        while left.fetch_update(Relaxed, Relaxed, take).is_ok() {
            all.push(one()?);
        }
        Ok(all)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| anyhow!("a thread that probes panicked"))??);
        }
        Ok(all)
    })
}

/// What the check says of a fresh server, and whether the fault did something meanwhile.
fn ask(binary: &Path, (fault, cause): (&str, &str), check: &str) -> Result<(Sight, bool)> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("faulty.js"), PROGRAM)?;
    let address = own_address()?;
    let mut command = Command::new("node");
    command.args([
        "faulty.js",
        fault,
        &address.ip().to_string(),
        &address.port().to_string(),
    ]);
    let mut server = Process::start(&mut command, folder.path())?.alone();
    // That somebody can connect does not show it: a program that another thread starts at the same moment has a copy of the socket that held
    // the port, until it is executed.
    server.says("listens")?;
    let output = Command::new(binary)
        .args([
            "probe",
            "--format",
            "json",
            "--only",
            check,
            "--also",
            check,
            "--echo-path",
            ECHO,
        ])
        .arg(format!("http://{address}/"))
        .stdin(Stdio::null())
        .output()
        .context("bypeer probe")?;
    let said = String::from_utf8(output.stdout)?;
    let struck = server.said().contains("struck");
    let card = said
        .lines()
        .last()
        .context("no card")
        .and_then(|line| Ok(serde_json::from_str::<Card>(line)?));
    let told = card.map(|card| card.checks.into_iter().find(|told| told.check == check));
    let asked = match told {
        Ok(Some(asked)) if matches!(asked.status.as_str(), "done" | "cut") => asked,
        // The fault ended the server, or struck while the probe had its first look: it gives up, and has seen nothing.
        _ if struck || server.ends(Duration::ZERO)?.is_some() => return Ok((Sight::Unseen, struck)),
        _ => bail!("{}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr)),
    };
    let of_this = asked.risks.iter().filter_map(|risk| risk.sight(cause));
    let died = asked.seen.iter().any(|line| line.contains(DIED)).then_some(Sight::Died);
    Ok((of_this.chain(died).max().unwrap_or(Sight::Unseen), struck))
}

impl Risk {
    fn sight(&self, cause: &str) -> Option<Sight> {
        let undecided = self.confidence == "undecided";
        let names = || {
            cause == CLOSED_TWICE
                && self
                    .because
                    .iter()
                    .any(|line| line.contains("a descriptor that was closed twice"))
        };
        match of_the_family(&self.cause) || self.loses == "identity" {
            true if undecided => Some(Sight::Suspected),
            true => Some(Sight::Found),
            // Requests that were closed upon: it is among the candidates.
            false => (undecided && names()).then_some(Sight::Suspected),
        }
    }
}

/// An address of loopback for each server: none of the many connections that are open meanwhile can have its port there.
fn own_address() -> Result<SocketAddr> {
    // 127.77.0.0 is none.
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [.., high, low] = NEXT.fetch_add(1, Relaxed).to_be_bytes();
    Ok(TcpListener::bind((Ipv4Addr::new(127, 77, high, low), 0))?.local_addr()?)
}

#[derive(Deserialize)]
struct Card {
    checks: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    check: String,
    status: String,
    seen: Vec<String>,
    risks: Vec<Risk>,
}

#[derive(Deserialize)]
struct Risk {
    cause: String,
    loses: String,
    confidence: String,
    because: Vec<String>,
}
