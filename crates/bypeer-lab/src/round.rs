//! One run of a scenario: everybody is started, watched and ended; what they saw is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bypeer_wire::Timestamp;
use nix::sys::signal::{Signal as UnixSignal, killpg};
use nix::unistd::Pid;

use crate::actor::{Deed, FromActor, Job, Signal, ToActor};
use crate::kernel::{Counters, Death, ResetEvent, ResetTrace, find_tracefs};
use crate::leftovers;
use crate::process::{ActorProgram, Event, Process};
use crate::sandbox::{HostPlan, Sandbox};
use crate::scenario::{Does, HostDoes, Plan};
use crate::verdict::{Told, Verdict};
use crate::wire::Recording;

pub use crate::round_error::RoundError;

/// How long a server may take until it listens.
const LISTEN_WITHIN: Duration = Duration::from_secs(20);
/// From one round's port to the next: `port +N` of a script lies between.
const STRIDE: u16 = 16;
/// Looked at again this often, where nobody tells.
const GLANCE: Duration = Duration::from_millis(2);
/// How long the kernel may take to tell of a socket's death.
const DEATHS_WITHIN: Duration = Duration::from_millis(500);
/// Ports of the rounds: below those that kernels choose for clients.
const PORTS: std::ops::Range<u16> = 8000..30000;
/// What a shell ends with when it cannot start a program: it is not executable, or not there (POSIX, 2.8.2).
const NOT_STARTED: [Option<i32>; 2] = [Some(126), Some(127)];

/// What a process did, by its own account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Its host.
    pub host: String,
    /// It runs a script; otherwise any program, which has no deeds.
    pub scripted: bool,
    /// What it did, in order.
    pub deeds: Vec<Deed>,
    /// How it ended, if it did before the round was over: `exit 0`, `signal 9`.
    pub ended: Option<String>,
    /// The end of what it printed.
    pub output: String,
    /// When it was started, and when it ended or its script did.
    pub lived: (Timestamp, Option<Timestamp>),
}

impl Account {
    /// Is it a client's?
    pub fn is_client(&self) -> bool {
        self.host.starts_with("client")
    }

    /// How its part ended: `ok`, or what went wrong first: an errno, `EOF`, `timeout`, `exit 56`.
    pub fn ending(&self) -> String {
        let failed = self
            .deeds
            .iter()
            .filter(|deed| deed.counts)
            .find_map(|deed| deed.error.clone());
        match (&self.ended, failed) {
            (_, Some(error)) => error,
            (Some(ended), None) if !self.scripted && ended != "exit 0" => ended.clone(),
            (Some(ended), None) if self.scripted && ended.starts_with("signal") => ended.clone(),
            // The lab ended it: its own patience was longer than the scenario's deadline.
            (None, None) if self.lived.1.is_none() => "unfinished".to_owned(),
            _ => "ok".to_owned(),
        }
    }
}

/// Everything that a round showed.
#[derive(Clone, Debug)]
pub struct Round {
    /// From 1.
    pub number: u32,
    /// Of the wire's randomness.
    pub seed: u64,
    /// Where servers listened.
    pub port: u16,
    /// The hosts, in the order of the wire's ports, with their addresses.
    pub hosts: Vec<(String, Ipv4Addr)>,
    /// When it began.
    pub began: Timestamp,
    /// When it was over. Who was left then is ended after it: what comes of that belongs to no round.
    pub ended: Timestamp,
    /// From the first process until nobody was left.
    pub took: Duration,
    /// Packets at each host.
    pub recording: Recording,
    /// What each process says.
    pub accounts: Vec<Account>,
    /// Resets by the kernels' own account, with the host whose it was; none where that may not be read.
    pub resets: Vec<(String, ResetEvent)>,
    /// Sockets that died, by host.
    pub deaths: Vec<(String, Death)>,
    /// Counters that moved, by host.
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
    /// Points that were reached.
    pub marks: Vec<(Timestamp, String)>,
    /// Events that the kernel could not hand over.
    pub lost_events: u64,
    /// Whether it shows what its scenario claims.
    pub verdict: Verdict,
}

/// What kernels told of a round.
#[derive(Debug)]
struct KernelEvents {
    /// With the host that sent it.
    resets: Vec<(String, ResetEvent)>,
    /// With the host whose it was.
    deaths: Vec<(String, Death)>,
    /// Events that could not be handed over.
    lost: u64,
}

/// A scenario with its hosts, ready for rounds.
#[derive(Debug)]
pub struct Bench {
    plan: Plan,
    sandbox: Sandbox,
    program: ActorProgram,
    trace: Result<ResetTrace, String>,
    folder: PathBuf,
    _temporary: tempfile::TempDir,
    events: (Sender<Event>, Receiver<Event>),
    port: u16,
    /// How many processes were started in all rounds.
    processes: usize,
    stop: Arc<AtomicBool>,
}

impl Bench {
    /// Makes the hosts.
    ///
    /// `lab` is the process id of the lab as the machine counts it, and `number` one that this lab did not use before: they tell its events
    /// and addresses from those of other labs. `stop`, once true, ends the round.
    ///
    /// # Errors
    /// What could not be made.
    pub fn new(
        plan: Plan,
        program: ActorProgram,
        lab: u32,
        number: u32,
        stop: Arc<AtomicBool>,
    ) -> Result<Bench, RoundError> {
        let hosts: Vec<HostPlan> = plan.hosts.iter().map(host_plan).collect();
        let mut sandbox = Sandbox::build(&hosts, lab)?;
        let temporary = leftovers::folder(lab, number).map_err(system("make a temporary folder"))?;
        let events = mpsc::channel();
        let (_, unused) = mpsc::channel();
        let marks = std::mem::replace(&mut sandbox.marks, unused);
        let sender = events.0.clone();
        thread::spawn(move || {
            for mark in marks {
                if sender.send(Event::WireMark(mark)).is_err() {
                    return;
                }
            }
        });
        Ok(Bench {
            plan,
            sandbox,
            program,
            trace: find_tracefs()
                .and_then(|tracefs| ResetTrace::open(&tracefs, &format!("{lab}-{number}")))
                .map_err(|error| error.to_string()),
            folder: temporary.path().to_owned(),
            _temporary: temporary,
            events,
            // Resets of a listener on all addresses are told apart by its port alone, and labs whose numbers differ by a multiple of
            // 512 have the same addresses: labs side by side have other ports.
            port: PORTS.start + (number.wrapping_mul(97).wrapping_add(lab.wrapping_mul(7919)) % 20_000) as u16,
            processes: 0,
            stop,
        })
    }

    /// Why the kernel's reset events cannot be read, if so.
    pub fn no_trace(&self) -> Option<&str> {
        self.trace.as_ref().err().map(String::as_str)
    }

    /// Runs the scenario once.
    ///
    /// # Errors
    /// When it could not be run; that it did not show its cause is in the verdict.
    pub fn round(&mut self, number: u32, seed: u64) -> Result<Round, RoundError> {
        self.port = if self.port + STRIDE < PORTS.end {
            self.port + STRIDE
        } else {
            PORTS.start
        };
        // What came after the last round belongs to none.
        while self.events.1.try_recv().is_ok() {}
        let folder = self.folder.join(number.to_string());
        let mut stage = Stage::new(self, folder, seed)?;
        let (clock, began) = (Instant::now(), now());
        // From here on the wire keeps out what the sockets of earlier rounds still send; what they did before is forgotten.
        stage.bench.sandbox.wire.begin(stage.bench.plan.wire.clone(), seed);
        stage.bench.kernel_events()?;
        let before = stage.bench.counters()?;
        stage.play()?;
        let ended = now();
        let (accounts, marks) = (stage.accounts(), std::mem::take(&mut stage.marks));
        // While the rules still hold: without them a retransmission may come through and be answered.
        let mut told = stage.bench.kernel_events()?;
        stage.bench.await_deaths(&before, &mut told)?;
        let KernelEvents {
            resets,
            deaths,
            lost: lost_events,
        } = told;
        let after = stage.bench.counters()?;
        let recording = stage.bench.sandbox.wire.end();
        drop(stage);
        let counters = after
            .iter()
            .filter_map(|(host, counters)| Some((host.clone(), counters.since(before.get(host)?))))
            .collect();
        let mut round = Round {
            number,
            seed,
            port: self.port,
            hosts: self
                .sandbox
                .hosts
                .iter()
                .map(|host| (host.name.clone(), host.address))
                .collect(),
            began,
            ended,
            took: clock.elapsed(),
            recording,
            accounts,
            resets,
            deaths,
            counters,
            marks,
            lost_events,
            verdict: Verdict::default(),
        };
        round.verdict = Verdict::of(&round, &self.plan.truth, self.told());
        Ok(round)
    }

    fn told(&self) -> Told {
        match &self.trace {
            Ok(trace) if trace.tells_of_those_without_a_socket() => Told::All,
            Ok(_) => Told::OfSockets,
            Err(_) => Told::Nothing,
        }
    }

    fn counters(&self) -> Result<BTreeMap<String, Counters>, RoundError> {
        let mut all = BTreeMap::new();
        for host in &self.sandbox.hosts {
            all.insert(
                host.name.clone(),
                host.counters().map_err(system("read a host's counters"))?,
            );
        }
        Ok(all)
    }

    /// Waits for the deaths of sockets that were closed with data unread, as many as the hosts' counters tell of: the kernel reports
    /// a death from a work queue, on a busy machine later than a round may take.
    fn await_deaths(&mut self, before: &BTreeMap<String, Counters>, told: &mut KernelEvents) -> Result<(), RoundError> {
        let end = Instant::now() + DEATHS_WITHIN;
        loop {
            let counters = self.counters()?;
            let complete = counters.iter().all(|(host, counters)| {
                let count = |counters: &Counters| counters.get("TCPAbortOnClose").unwrap_or(0);
                let closed = count(counters) - before.get(host).map_or(0, count);
                let died = told.deaths.iter().filter(|(of, _)| of == host);
                closed <= died.filter(|(_, death)| death.unread != Some(0)).count() as u64
            });
            if complete || Instant::now() >= end {
                return Ok(());
            }
            thread::sleep(GLANCE);
            let KernelEvents { resets, deaths, lost } = self.kernel_events()?;
            told.resets.extend(resets);
            told.deaths.extend(deaths);
            told.lost += lost;
        }
    }

    /// What the kernel told since the last call.
    fn kernel_events(&mut self) -> Result<KernelEvents, RoundError> {
        let mut lost = 0;
        let mut resets = Vec::new();
        if let Ok(trace) = &mut self.trace {
            let before = trace.lost() + trace.unreadable();
            let events = trace.take().map_err(system("read the kernel's reset events"))?;
            lost += trace.lost() + trace.unreadable() - before;
            for event in events {
                if let Some(host) = self.sender_of(&event) {
                    resets.push((host, event));
                }
            }
        }
        let mut deaths = Vec::new();
        for host in &mut self.sandbox.hosts {
            let (died, missed) = host.deaths.take().map_err(system("read which sockets died"))?;
            lost += missed;
            let of_this = died
                .into_iter()
                .filter(|death| !is_earlier(self.port, [&death.local, &death.remote]));
            deaths.extend(of_this.map(|death| (host.name.clone(), death)));
        }
        Ok(KernelEvents { resets, deaths, lost })
    }

    /// Whose kernel sent a reset; none: another lab's, or the machine's own.
    fn sender_of(&self, event: &ResetEvent) -> Option<String> {
        if is_earlier(self.port, [&event.source, &event.destination]) {
            return None;
        }
        let ours = |address: &SocketAddr| self.sandbox.hosts.iter().find(|host| host.address == address.ip());
        if let Some(host) = ours(&event.source) {
            return Some(host.name.clone());
        }
        // A listener on all addresses is named without one.
        let unnamed = event.source.ip().is_unspecified() && event.source.port() == self.port;
        let addressed = ours(&event.destination).is_some() || event.destination.ip().is_unspecified();
        (unnamed && addressed).then(|| "server".to_owned())
    }
}

/// Whether it is of a round before the one at `port`: they have one port after the other, and the last one's sockets may have been
/// ended, or told of, late.
fn is_earlier(port: u16, ends: [&SocketAddr; 2]) -> bool {
    ends.iter().any(|end| PORTS.contains(&end.port()) && end.port() < port)
}

fn host_plan(host: &HostDoes) -> HostPlan {
    HostPlan {
        name: host.name.clone(),
        shares_address_of: host.shares_address_of.clone(),
        sysctls: host.sysctls.clone(),
    }
}

/// A round while it runs.
struct Stage<'a> {
    bench: &'a mut Bench,
    folder: PathBuf,
    processes: Vec<Process>,
    accounts: Vec<Account>,
    listening: BTreeSet<usize>,
    marks: Vec<(Timestamp, String)>,
    deadline: Instant,
    seed: u64,
    /// The number of its first process in events. Those of earlier rounds are lower: what is still told of them is ignored.
    first: usize,
}

impl<'a> Stage<'a> {
    fn new(bench: &'a mut Bench, folder: PathBuf, seed: u64) -> Result<Stage<'a>, RoundError> {
        fs::create_dir(&folder).map_err(system("make the round's folder"))?;
        let deadline = Instant::now() + bench.plan.deadline;
        let first = bench.processes;
        let stage = Stage {
            bench,
            folder,
            processes: Vec::new(),
            accounts: Vec::new(),
            listening: BTreeSet::new(),
            marks: Vec::new(),
            deadline,
            seed,
            first,
        };
        for (name, text) in &stage.bench.plan.files {
            let path = stage.folder.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(system("make the round's folder"))?;
            }
            fs::write(&path, stage.fill(text)).map_err(system(&format!("write {name}")))?;
        }
        Ok(stage)
    }

    fn play(&mut self) -> Result<(), RoundError> {
        let hosts = self.bench.plan.hosts.clone();
        let clients = |host: &&HostDoes| host.name.starts_with("client");
        // Whoever else connects must not come before there is something to connect to.
        let (first, then): (Vec<_>, Vec<_>) = hosts
            .iter()
            .filter(|host| !clients(host))
            .partition(|host| host.does.listens());
        for host in first.into_iter().chain(then) {
            for _ in 0..host.count {
                self.start(host)?;
            }
        }
        // The round's time begins when everybody who serves is ready.
        self.deadline = Instant::now() + self.bench.plan.deadline;
        for host in hosts.iter().filter(clients) {
            for _ in 0..host.count {
                self.start(host)?;
            }
        }
        while self.clients_left() && Instant::now() < self.deadline {
            self.wait(GLANCE * 5)?;
        }
        // Late segments and their resets belong to the round, also one that the wire has not read yet.
        let ended = Instant::now();
        let settle = self.bench.plan.settle;
        while self.bench.sandbox.wire.quiet_for().min(ended.elapsed()) < settle && Instant::now() < self.deadline {
            self.wait(GLANCE)?;
        }
        Ok(())
    }

    fn clients_left(&self) -> bool {
        self.accounts
            .iter()
            .any(|account| account.is_client() && account.lived.1.is_none())
    }

    fn start(&mut self, host: &HostDoes) -> Result<(), RoundError> {
        let (index, number) = (self.processes.len(), self.first + self.processes.len());
        let machine = self.bench.sandbox.host(&host.name);
        let Some(machine) = machine else { return Ok(()) };
        let events = &self.bench.events.0;
        let (process, scripted) = match &host.does {
            Does::Nothing => return Ok(()),
            Does::Script(script) => {
                let job = self.job(self.fill(script), &host.name, machine.address, number);
                (Process::actor(machine, &self.bench.program, &job, number, events), true)
            }
            Does::Command(line) => {
                let line = self.fill(line);
                (
                    Process::command(
                        machine,
                        &line,
                        host.folder.as_ref().unwrap_or(&self.folder),
                        number,
                        events,
                    ),
                    false,
                )
            }
        };
        let mut process = process.map_err(system(&format!("start the process of {}", host.name)))?;
        // What was reached before it was there counts for it too.
        for (_, name) in &self.marks {
            process.tell(&ToActor::Marked(name.clone()));
        }
        self.processes.push(process);
        self.bench.processes += 1;
        self.accounts.push(Account {
            host: host.name.clone(),
            scripted,
            lived: (now(), None),
            ..Account::default()
        });
        if host.does.listens() && !host.name.starts_with("client") {
            self.until_it_listens(index, host)?;
        }
        Ok(())
    }

    fn job(&self, script: String, host: &str, own: Ipv4Addr, number: usize) -> Job {
        let port = self.bench.port;
        let hosts: BTreeMap<String, SocketAddrV4> = self
            .bench
            .sandbox
            .hosts
            .iter()
            .map(|host| (host.name.clone(), SocketAddrV4::new(host.address, port)))
            .collect();
        let own = SocketAddrV4::new(own, port);
        // Each process has random numbers of its own, the same ones for each seed.
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
        Job {
            host: host.to_owned(),
            script,
            own,
            server: hosts.get("server").copied().unwrap_or(own),
            hosts,
            seed,
        }
    }

    fn until_it_listens(&mut self, number: usize, host: &HostDoes) -> Result<(), RoundError> {
        let end = Instant::now() + LISTEN_WITHIN;
        loop {
            let scripted = self.accounts[number].scripted;
            if scripted && self.listening.contains(&number) {
                return Ok(());
            }
            let machine = self.bench.sandbox.host(&host.name);
            if let (false, Some(machine)) = (scripted, machine)
                && machine
                    .listens(self.bench.port)
                    .map_err(system("look for a listener"))?
            {
                return Ok(());
            }
            let ended = self.accounts[number].ended.clone();
            if ended.is_none() && Instant::now() < end {
                self.wait(GLANCE)?;
                continue;
            }
            let command = match &host.does {
                Does::Command(line) => self.fill(line),
                _ => "a script".to_owned(),
            };
            let output = printed(&self.processes[number].output());
            let (name, port) = (host.name.clone(), self.bench.port);
            return Err(match ended {
                Some(status) => RoundError::EndedEarly {
                    host: name,
                    port,
                    status,
                    command,
                    output,
                },
                None => RoundError::NeverListened {
                    host: name,
                    address: self
                        .bench
                        .sandbox
                        .host(&host.name)
                        .map_or(Ipv4Addr::UNSPECIFIED, |host| host.address),
                    port,
                    seconds: LISTEN_WITHIN.as_secs(),
                    command,
                    output,
                },
            });
        }
    }

    /// Takes what happens, for as long as something does and `time` at the most.
    fn wait(&mut self, time: Duration) -> Result<(), RoundError> {
        if self.bench.stop.load(Ordering::Relaxed) {
            return Err(RoundError::Stopped);
        }
        let mut next = self.bench.events.1.recv_timeout(time).ok();
        while let Some(event) = next {
            self.take(event)?;
            next = self.bench.events.1.try_recv().ok();
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<(), RoundError> {
        match event {
            Event::WireMark(name) => self.reached(name),
            Event::Exited(number, status) => {
                let Some(index) = number.checked_sub(self.first) else {
                    return Ok(());
                };
                let text = match &status {
                    Ok(status) => status_text(*status),
                    Err(error) => error.to_string(),
                };
                if let (Some(process), Some(account)) = (self.processes.get_mut(index), self.accounts.get_mut(index)) {
                    process.exit = status.ok();
                    account.ended = Some(text);
                    account.lived.1.get_or_insert_with(now);
                    // A server's is told by who waits for it to listen.
                    if account.is_client() && !account.scripted && NOT_STARTED.contains(&process.exit_code()) {
                        return Err(self.not_started(index));
                    }
                }
            }
            Event::Said(number, message) => {
                if let Some(index) = number.checked_sub(self.first) {
                    self.heard(index, message)?;
                }
            }
        }
        Ok(())
    }

    fn not_started(&self, index: usize) -> RoundError {
        let host = self.accounts[index].host.clone();
        let command = self.bench.plan.hosts.iter().find_map(|does| match &does.does {
            Does::Command(line) if does.name == host => Some(self.fill(line)),
            _ => None,
        });
        RoundError::NotStarted {
            host,
            command: command.unwrap_or_default(),
            output: printed(&self.processes[index].output()),
        }
    }

    fn heard(&mut self, number: usize, message: FromActor) -> Result<(), RoundError> {
        let Some(account) = self.accounts.get_mut(number) else {
            return Ok(());
        };
        match message {
            FromActor::Listening => {
                self.listening.insert(number);
            }
            FromActor::Mark(name) => {
                self.bench.sandbox.wire.mark(&name);
                self.reached(name);
            }
            FromActor::Signal { host, signal } => {
                let signal = match signal {
                    Signal::Kill => UnixSignal::SIGKILL,
                    Signal::Stop => UnixSignal::SIGSTOP,
                    Signal::Continue => UnixSignal::SIGCONT,
                };
                for (process, account) in self.processes.iter().zip(&self.accounts) {
                    if account.host == host {
                        process.signal(signal);
                    }
                }
                self.tell_all(&ToActor::Marked(format!("signal {host}")));
            }
            FromActor::Run { host, command } => self.run_command(&host, &command)?,
            FromActor::Did(deed) => account.deeds.push(deed),
            FromActor::Ended => account.lived.1 = Some(now()),
            FromActor::Unable(why) => {
                return Err(RoundError::Actor {
                    host: account.host.clone(),
                    why,
                });
            }
        }
        Ok(())
    }

    /// Runs a command of a script on a host, to its end.
    fn run_command(&mut self, host: &str, command: &str) -> Result<(), RoundError> {
        let Some(machine) = self.bench.sandbox.host(host) else {
            return Ok(());
        };
        let what = format!("run {command:?} on {host}");
        // A file: it may say more than a pipe holds, and what it leaves running may keep its output open.
        let said = self.folder.join("run.stderr");
        let stderr = fs::File::create(&said).map_err(system(&what))?;
        let mut shell = std::process::Command::new("/bin/sh");
        shell
            .args(["-c", command])
            .current_dir(&self.folder)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(stderr);
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut child = machine.spawn(&mut shell).map_err(system(&what))?;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(system(&what))? {
                break status;
            }
            if self.bench.stop.load(Ordering::Relaxed) || Instant::now() >= self.deadline {
                // With whatever it started, which has its output too. It may just have ended.
                let _ = killpg(Pid::from_raw(child.id() as i32), UnixSignal::SIGKILL);
            }
            thread::sleep(GLANCE);
        };
        if self.bench.stop.load(Ordering::Relaxed) {
            return Err(RoundError::Stopped);
        }
        if !status.success() {
            let said = fs::read(&said).map_err(system(&what))?;
            let error = io::Error::other(format!(
                "{}:\n{}",
                status_text(status),
                tail(&String::from_utf8_lossy(&said))
            ));
            return Err(RoundError::System { what, error });
        }
        self.tell_all(&ToActor::Marked(format!("run {host}")));
        Ok(())
    }

    fn reached(&mut self, name: String) {
        self.tell_all(&ToActor::Marked(name.clone()));
        self.marks.push((now(), name));
    }

    fn tell_all(&mut self, message: &ToActor) {
        for process in &mut self.processes {
            process.tell(message);
        }
    }

    fn accounts(&mut self) -> Vec<Account> {
        for (process, account) in self.processes.iter().zip(&mut self.accounts) {
            account.output = process.output();
        }
        std::mem::take(&mut self.accounts)
    }

    /// Puts addresses and the folder in their places.
    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let port = self.bench.port;
        for host in &self.bench.sandbox.hosts {
            text = text
                .replace(&format!("{{{}.addr}}", host.name), &format!("{}:{port}", host.address))
                .replace(&format!("{{{}.host}}", host.name), &host.address.to_string());
            if host.name == "server" {
                text = text
                    .replace("{addr}", &format!("{}:{port}", host.address))
                    .replace("{host}", &host.address.to_string());
            }
        }
        text.replace("{port}", &port.to_string())
            .replace("{dir}", &self.folder.to_string_lossy())
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // Killed, not asked: how they would end is no part of the round, and a server may take its time.
        self.processes.clear();
        // What their sockets still say to each other belongs to no round, the next one neither.
        thread::sleep(self.bench.plan.settle);
        let end = Instant::now() + self.bench.plan.settle * 10;
        while self.bench.sandbox.wire.quiet_for() < self.bench.plan.settle && Instant::now() < end {
            thread::sleep(GLANCE);
        }
        // Nothing depends on it: the folder above goes with the bench.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn status_text(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// For an error about a program: the last lines of what it printed.
fn printed(text: &str) -> String {
    if text.trim().is_empty() {
        return "\nIt printed nothing.".to_owned();
    }
    format!("\nIt printed:\n{}", tail(text))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let from = lines.len().saturating_sub(12);
    lines[from..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn system(what: &str) -> impl FnOnce(io::Error) -> RoundError + use<> {
    let what = what.to_owned();
    move |error| RoundError::System { what, error }
}

/// CLOCK_REALTIME.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_nanos() as i64)
}

/// Commands of `needs` that are not in the PATH.
pub fn missing(needs: &[String]) -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let exists = |need: &str| {
        Path::new(need).is_absolute() && Path::new(need).exists()
            || std::env::split_paths(&path).any(|folder| folder.join(need).is_file())
    };
    needs.iter().filter(|need| !exists(need)).cloned().collect()
}
