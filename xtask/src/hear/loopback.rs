//! The scenarios' actors on this machine's loopback, without namespaces and wire: both ends are told by one kernel, and whose socket it
//! was must be right all the same. What happens may differ from what the scenario claims: of causes nothing is judged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bypeer_lab::actor::{FromActor, Job, Signal, ToActor};
use bypeer_lab::scenario::{Does, Scenario};
use rustix::process::{Pid, Signal as UnixSignal, kill_process};

use super::records::{Account, Host, LabRound};

/// Connections on loopback to any address of 127.0.0.0/8 come from this one.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The first port; rounds are 16 apart. Below those that kernels choose for clients.
const PORT: u16 = 30_100;
/// How long what the kernels still do belongs to the round.
const SETTLE: Duration = Duration::from_millis(100);

/// One client and one server, actors both, and a wire that only delays?
pub fn fits(scenario: &Scenario) -> bool {
    let hosts = scenario.hosts.iter().all(|(name, host)| {
        let script = host.script.as_deref().unwrap_or_default();
        let alone = !script.lines().any(|line| line.trim_start().starts_with("run "));
        matches!(name.as_str(), "client" | "server") && host.script.is_some() && host.sysctl.is_empty() && alone
    });
    let delays = |line: &str| {
        line.is_empty() || line.starts_with(['#', '{']) || line.starts_with("delay") || line.starts_with("limit")
    };
    hosts && scenario.wire.script.lines().all(|line| delays(line.trim()))
}

/// Plays a scenario's scripts, as round `number` of this run.
///
/// # Errors
/// When they cannot be played.
pub fn play(binary: &Path, scenario: &Scenario, number: u16) -> Result<LabRound> {
    let plan = scenario.plan(&BTreeMap::new(), None)?;
    let port = PORT + number * 16;
    let (sender, said) = channel();
    let began = now();
    let mut stage = Stage {
        actors: Vec::new(),
        said,
    };
    let deadline = Instant::now() + plan.deadline;
    let (clients, servers): (Vec<_>, Vec<_>) = plan.hosts.iter().partition(|host| host.name == "client");
    for host in servers.into_iter().chain(clients) {
        let Does::Script(script) = &host.does else { continue };
        for _ in 0..host.count {
            let job = job(&host.name, script, port);
            stage.start(binary, &host.name, &job, &sender)?;
        }
        if host.name == "server" && script.lines().any(|line| line.trim_start().starts_with("listen")) {
            stage.until(deadline, |stage| stage.actors[0].listening)?;
        }
    }
    let played = stage.until(deadline, |stage| {
        let mut clients = stage.actors.iter().filter(|actor| actor.host == "client");
        clients.all(|actor| actor.ended)
    });
    // A client that waits for longer than its scenario lasts is ended with it.
    if let Err(error) = played
        && Instant::now() < deadline
    {
        return Err(error);
    }
    std::thread::sleep(SETTLE);
    let ended = now();
    Ok(LabRound {
        scenario: scenario.id.clone(),
        cause: None,
        real: None,
        round: 1,
        began,
        ended,
        port,
        hosts: [("client", CLIENT), ("server", SERVER)]
            .map(|(name, address)| Host {
                name: name.to_owned(),
                address: address.into(),
            })
            .to_vec(),
        shown: true,
        failed: false,
        accounts: stage
            .actors
            .iter()
            .map(|actor| Account {
                host: actor.host.clone(),
                scripted: true,
                deeds: Vec::new(),
            })
            .collect(),
        kernel_resets: Vec::new(),
        counters: BTreeMap::new(),
    })
}

fn job(host: &str, script: &str, port: u16) -> Job {
    let (client, server) = (SocketAddrV4::new(CLIENT, port), SocketAddrV4::new(SERVER, port));
    Job {
        host: host.to_owned(),
        script: script.to_owned(),
        own: if host == "client" { client } else { server },
        server,
        hosts: BTreeMap::from([("client".to_owned(), client), ("server".to_owned(), server)]),
        seed: 1,
    }
}

/// The actors of a round.
struct Stage {
    actors: Vec<Actor>,
    said: Receiver<(usize, FromActor)>,
}

struct Actor {
    host: String,
    child: Child,
    input: ChildStdin,
    listening: bool,
    ended: bool,
}

impl Stage {
    fn start(&mut self, binary: &Path, host: &str, job: &Job, sender: &Sender<(usize, FromActor)>) -> Result<()> {
        let mut child = Command::new(binary)
            .args(["lab", "actor"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("an actor cannot be started")?;
        let mut input = child.stdin.take().context("an actor without input")?;
        let output = child.stdout.take().context("an actor without output")?;
        writeln!(input, "{}", serde_json::to_string(job)?)?;
        let (number, sender) = (self.actors.len(), sender.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(message) = serde_json::from_str(&line)
                    && sender.send((number, message)).is_err()
                {
                    return;
                }
            }
            // Killed, or its script's `exit`: nobody listens when the round is over.
            let _ = sender.send((number, FromActor::Ended));
        });
        self.actors.push(Actor {
            host: host.to_owned(),
            child,
            input,
            listening: false,
            ended: false,
        });
        Ok(())
    }

    /// Does what actors ask for until it is so.
    fn until(&mut self, deadline: Instant, reached: impl Fn(&Stage) -> bool) -> Result<()> {
        while !reached(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((number, message)) = self.said.recv_timeout(left) else {
                bail!("the actors are not done in time");
            };
            match message {
                FromActor::Listening => self.actors[number].listening = true,
                FromActor::Ended => self.actors[number].ended = true,
                FromActor::Mark(name) => self.tell(name),
                FromActor::Signal { host, signal } => {
                    for actor in self.actors.iter().filter(|actor| actor.host == host) {
                        actor.signal(signal);
                    }
                    self.tell(format!("signal {host}"));
                }
                FromActor::Unable(why) => bail!("the actor of {}: {why}", self.actors[number].host),
                FromActor::Run { .. } | FromActor::Did(_) => {}
            }
        }
        Ok(())
    }

    fn tell(&mut self, reached: String) {
        let line = serde_json::to_string(&ToActor::Marked(reached)).unwrap_or_default();
        for actor in &mut self.actors {
            // One that was killed cannot be told.
            let _ = writeln!(actor.input, "{line}");
        }
    }
}

impl Actor {
    fn signal(&self, signal: Signal) {
        let signal = match signal {
            Signal::Kill => UnixSignal::KILL,
            Signal::Stop => UnixSignal::STOP,
            Signal::Continue => UnixSignal::CONT,
        };
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may just have ended.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds since the epoch.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64()
}
