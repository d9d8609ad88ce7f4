//! What root hears without BPF: the kernel's trace of resets as text (tracefs), joined with the sockets that died (sock_diag).
//!
//! A reset comes with its reason and its way through the kernel, and for those that a process sent itself with that process; the socket's
//! sums come from its death, which for a close follows at once. A socket whose reset *came* dies only when its program closes it: after
//! [`PATIENCE`] the event is told without sums.
//!
//! The trace is the whole machine's, deaths are those of one network namespace: events of others have no sums, no side and nobody known to
//! listen.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use bypeer_diagnose::Testimony;
use bypeer_diagnose::testimony::{Act, Actor, Closed, Known, ResetPath, State, Told};
use bypeer_wire::Timestamp;

use crate::heard::{Heard, Hears};
use crate::kernel::{Deaths, ResetEvent, ResetTrace, TraceEvent, TraceUnavailable, find_tracefs};
use crate::sock_diag::{Ending, Surroundings};

/// What this source never tells.
pub const UNKNOWN: [&str; 4] = [
    "no line of code: the trace has the kernel's functions, not the program's",
    "no process behind a reset that answers a segment, nor behind one that came",
    "no sums of connections in other network namespaces",
    "no exit status and no signal",
];

/// For so long an event waits for its socket to die, and a death for its event.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// For so long a death is remembered: a TIME_WAIT that answers late data lasts as long.
const MEMORY: Duration = Duration::from_secs(60);
/// Deaths, and connections already told of, that are remembered.
const MEMORIES: usize = 20_000;

/// The source.
#[derive(Debug)]
pub struct Tracefs {
    trace: ResetTrace,
    deaths: Option<Deaths>,
    facts: Surroundings,
    book: Book,
    lost: u64,
    untold: u64,
    number: u64,
}

impl Tracefs {
    /// Begins to record. `pid` is this process's id as the machine counts: another's instance that has it is taken for a leftover.
    pub fn open(pid: u32) -> Result<Tracefs, TraceUnavailable> {
        Tracefs::open_at(&find_tracefs()?, pid)
    }

    fn open_at(tracefs: &Path, pid: u32) -> Result<Tracefs, TraceUnavailable> {
        static OPENED: AtomicU32 = AtomicU32::new(1);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        // First the deaths: every reset of a process is before its socket's death.
        let deaths = Deaths::open().ok();
        Ok(Tracefs {
            trace: ResetTrace::open_all(tracefs, &format!("{pid}-{number}"))?,
            deaths,
            facts: Surroundings::read(),
            book: Book::default(),
            lost: 0,
            untold: 0,
            number: 0,
        })
    }
}

impl Hears for Tracefs {
    fn take(&mut self) -> io::Result<Vec<Heard>> {
        let (deaths, lost_deaths) = match &mut self.deaths {
            Some(deaths) => deaths.take()?,
            None => (Vec::new(), 0),
        };
        let lost_before = self.trace.lost();
        let events = self.trace.take_all()?;
        let lost = lost_deaths + self.trace.lost().saturating_sub(lost_before);
        self.lost = self.lost.saturating_add(lost);
        self.untold = self.untold.saturating_add(lost);
        let endings = self.facts.endings(&deaths);
        // The kernel puts no times on deaths: those that are read now were before now, and after the events that they are joined with.
        for (death, ending) in deaths.iter().zip(endings) {
            self.book.note_death(death.local, death.remote, death.cookie, ending);
        }
        for event in events {
            self.book.note_event(event);
        }
        let mut heard = self.book.take(now());
        for one in &mut heard {
            if one.testimony.listening.is_none() && is_ours(one.local) {
                one.testimony.listening = self.facts.listening(one.local);
            }
            if let Some(actor) = &mut one.testimony.actor {
                look_up(actor);
            }
            self.number += 1;
            one.testimony.number = self.number;
            if one.testimony.tick.is_zero() {
                one.testimony.tick = self.facts.tick();
            }
            one.lost = std::mem::take(&mut self.untold);
        }
        Ok(heard)
    }

    fn lost(&self) -> u64 {
        self.lost
    }

    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.trace.unreadable() > 0 {
            let count = self.trace.unreadable();
            complaints.push(format!(
                "{count} trace events have a text that is not understood: a newer kernel?"
            ));
        }
        if !self.trace.has_stacks() {
            complaints
                .push("this kernel's trace has no stacks: the way of a reset is known from its reason only".to_owned());
        }
        if !self.trace.has_received() {
            complaints.push("this kernel does not trace resets that it receives".to_owned());
        }
        if !self.trace.has_errors() {
            complaints.push("this kernel does not trace errors of sockets: timeouts are not seen".to_owned());
        }
        if self.deaths.is_none() {
            complaints.push("sock_diag is missing: nothing is known of what was unread".to_owned());
        }
        complaints
    }
}

/// Joins events with deaths.
#[derive(Debug, Default)]
struct Book {
    /// Events that wait for a death, oldest first.
    waiting: Vec<Heard>,
    /// Deaths of the last [`MEMORY`].
    dead: VecDeque<Dead>,
    told: HashSet<Ends>,
    told_order: VecDeque<Ends>,
    ready: Vec<Heard>,
}

type Ends = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Dead {
    local: SocketAddr,
    remote: SocketAddr,
    cookie: u64,
    testimony: Box<Testimony>,
    /// Nobody else has told of it: it is told by itself when nothing comes.
    is_news: bool,
}

impl Book {
    fn note_death(&mut self, local: SocketAddr, remote: SocketAddr, cookie: u64, ending: Ending) {
        let (testimony, is_news) = match ending {
            Ending::Unconnected => return,
            Ending::InOrder(testimony) => (testimony, false),
            Ending::Broken(testimony) => (testimony, true),
        };
        let dead = Dead {
            local,
            remote,
            cookie,
            is_news: is_news && !self.told.contains(&(local, remote)),
            testimony,
        };
        if let Some(index) = self.waiting.iter().position(|heard| is_its_death(heard, &dead)) {
            let mut heard = self.waiting.remove(index);
            complete(&mut heard, &dead);
            self.tell(heard);
        } else {
            self.dead.push_back(dead);
        }
    }

    fn note_event(&mut self, event: TraceEvent) {
        let mut heard = match event {
            // tcp_disconnect() reports an error to its own caller.
            TraceEvent::Failed { remote, .. } if remote.port() == 0 => return,
            TraceEvent::Failed {
                local, remote, error, ..
            } if let Some(earlier) = self.latest_mut(local, remote) => {
                earlier.testimony.error.get_or_insert(error);
                return;
            }
            event => heard_of(event),
        };
        // The latest of that name: ports are used again.
        let index = self.dead.iter().rposition(|dead| is_its_death(&heard, dead));
        match index.and_then(|index| self.dead.get_mut(index)) {
            Some(dead) if is_answer(&heard) && !dead.is_news => {
                heard.testimony.closed = Some(closed(&dead.testimony));
                heard.testimony.side = dead.testimony.side;
                self.tell(heard);
            }
            Some(dead) => {
                dead.is_news = false;
                complete(&mut heard, dead);
                self.tell(heard);
            }
            // A listener, or nothing at all: no death will come.
            None if heard.remote.port() == 0
                || heard.testimony.state.is_none_or(|state| state == State::TimeWait) && is_answer(&heard) =>
            {
                self.tell(heard)
            }
            None => self.waiting.push(heard),
        }
    }

    /// What is ready, by time: told as soon as its socket has died, or has not for [`PATIENCE`].
    fn take(&mut self, now: Timestamp) -> Vec<Heard> {
        let is_due = |heard: &Heard| since(heard.testimony.at, now) > PATIENCE;
        for heard in self.waiting.extract_if(.., |heard| is_due(heard)).collect::<Vec<_>>() {
            self.tell(heard);
        }
        let mut news = Vec::new();
        for dead in &mut self.dead {
            if dead.is_news && since(dead.testimony.at, now) > PATIENCE {
                dead.is_news = false;
                news.push(Heard {
                    local: dead.local,
                    remote: dead.remote,
                    cookie: dead.cookie,
                    testimony: (*dead.testimony).clone(),
                    lost: 0,
                });
            }
        }
        self.ready.extend(news);
        let is_old = |dead: &Dead| since(dead.testimony.at, now) > MEMORY;
        while self.dead.len() > MEMORIES || self.dead.front().is_some_and(is_old) {
            self.dead.pop_front();
        }
        self.ready.sort_by_key(|heard| heard.testimony.at);
        std::mem::take(&mut self.ready)
    }

    fn tell(&mut self, heard: Heard) {
        let ends = (heard.local, heard.remote);
        if self.told.insert(ends) {
            self.told_order.push_back(ends);
        }
        if self.told_order.len() > MEMORIES
            && let Some(oldest) = self.told_order.pop_front()
        {
            self.told.remove(&oldest);
        }
        self.ready.push(heard);
    }

    /// The event that an error belongs to: the reset that came or went just before.
    fn latest_mut(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<&mut Heard> {
        let all = self.waiting.iter_mut().chain(&mut self.ready);
        all.filter(|heard| (heard.local, heard.remote) == (local, remote))
            .last()
    }
}

fn is_answer(heard: &Heard) -> bool {
    heard.testimony.path == Some(ResetPath::Answer)
}

/// Whether this is the socket. A disconnected one has lost its peer's port.
fn is_its_death(heard: &Heard, dead: &Dead) -> bool {
    if heard.cookie != 0 && dead.cookie != 0 {
        return heard.cookie == dead.cookie;
    }
    let disconnects = [
        ResetPath::LingerZero,
        ResetPath::Disconnected,
        ResetPath::ListenerClosed,
    ]
    .map(Some);
    let is_peer = dead.remote == heard.remote
        || (dead.remote == SocketAddr::new(heard.remote.ip(), 0) && disconnects.contains(&heard.testimony.path));
    dead.local == heard.local && is_peer
}

/// Puts the dead socket's sums into the event's testimony.
fn complete(heard: &mut Heard, dead: &Dead) {
    let (event, sums) = (&mut heard.testimony, &dead.testimony);
    heard.cookie = dead.cookie;
    event.side = sums.side;
    event.listening = sums.listening;
    event.unread = sums.unread;
    event.unsent = sums.unsent;
    event.unacked = sums.unacked;
    event.received = sums.received;
    event.acked = sums.acked;
    event.fin_received = sums.fin_received;
    event.round_trip = sums.round_trip;
    event.retransmits = sums.retransmits;
    event.segment_size = sums.segment_size;
    // These were counted up to the death: for a close the same moment. Else it is as late as it was read, or earlier.
    let later = match event.path {
        Some(ResetPath::CloseUnread) => Duration::ZERO,
        _ => since(event.at, sums.at),
    };
    event.tick = sums.tick.saturating_add(later);
    event.since_received = sums.since_received.map(|time| time.saturating_sub(later));
    event.since_sent = sums.since_sent.map(|time| time.saturating_sub(later));
}

/// How a socket that died in order had been closed.
fn closed(death: &Testimony) -> Closed {
    Closed {
        at: death.at,
        received: death.received.unwrap_or(0),
        sent: death.acked.unwrap_or(0),
        since_received: death.since_received.unwrap_or_default(),
        since_sent: death.since_sent.unwrap_or_default(),
        half: false,
    }
}

fn heard_of(event: TraceEvent) -> Heard {
    match event {
        TraceEvent::Sent { event, task, tid } => {
            let path = event.path();
            let by_itself = !matches!(path, ResetPath::Answer | ResetPath::Timer | ResetPath::Other);
            Heard {
                local: event.source,
                remote: event.destination,
                testimony: Testimony {
                    at: event.time,
                    told: Told::ResetSent,
                    path: Some(path),
                    state: state(&event.state),
                    actor: by_itself.then(|| actor(&event, path, task, tid)),
                    peer_is_local: event.source.ip() == event.destination.ip(),
                    reason: event.reason,
                    ..Testimony::default()
                },
                ..Heard::default()
            }
        }
        TraceEvent::Received {
            time,
            local,
            remote,
            cookie,
        } => Heard {
            local,
            remote,
            cookie,
            testimony: Testimony {
                at: time,
                told: Told::ResetReceived,
                peer_is_local: local.ip() == remote.ip(),
                ..Testimony::default()
            },
            ..Heard::default()
        },
        TraceEvent::Failed {
            time,
            local,
            remote,
            error,
        } => Heard {
            local,
            remote,
            testimony: Testimony {
                at: time,
                told: Told::Failed,
                error: Some(error),
                peer_is_local: local.ip() == remote.ip(),
                ..Testimony::default()
            },
            ..Heard::default()
        },
    }
}

fn actor(event: &ResetEvent, path: ResetPath, name: String, tid: u32) -> Actor {
    let (act, call) = match path {
        ResetPath::Killed => (Act::Destroy, None),
        ResetPath::Disconnected => (Act::Disconnect, Some("connect")),
        _ => act(&event.stack),
    };
    Actor {
        pid: tid,
        tid,
        name,
        act,
        call: call.map(str::to_owned),
        known: Known::InCall,
        ..Actor::default()
    }
}

/// What a process did that closed a socket, by the kernel's functions.
fn act(stack: &[String]) -> (Act, Option<&'static str>) {
    for function in stack {
        match function.split(['+', '.']).next().unwrap_or(function) {
            // Of its own will or by a signal: with which status is not told.
            "do_exit" | "do_group_exit" => return (Act::Unknown, Some("exit_group")),
            "begin_new_exec" | "do_close_on_exec" => return (Act::Exec, Some("execve")),
            "do_dup2" => return (Act::Close, Some("dup2")),
            name if name.ends_with("sys_close") => return (Act::Close, Some("close")),
            _ => {}
        }
    }
    match stack {
        [] => (Act::Unknown, None),
        _ => (Act::Close, None),
    }
}

/// The process of the thread, where it still lives and is visible: process ids of a trace are the machine's.
fn look_up(actor: &mut Actor) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", actor.tid)).unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
    };
    if field("Name") != Some(&actor.name) {
        return;
    }
    if let Some(pid) = field("Tgid").and_then(|pid| pid.parse().ok()) {
        actor.pid = pid;
    }
    let effective = field("Uid").and_then(|ids| ids.split('\t').nth(1)?.parse().ok());
    actor.uid = effective.unwrap_or(actor.uid);
}

/// Whether the address is of this network namespace.
fn is_ours(local: SocketAddr) -> bool {
    UdpSocket::bind((local.ip(), 0)).is_ok()
}

/// From the kernel's name without `TCP_`.
fn state(name: &str) -> Option<State> {
    const NAMES: [&str; 12] = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
    ];
    let index = NAMES.iter().position(|known| *known == name)?;
    State::of(u32::try_from(index + 1).ok()?)
}

/// Nothing when it is not later.
fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_nanos(u64::try_from(later.0.saturating_sub(earlier.0)).unwrap_or(0))
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
