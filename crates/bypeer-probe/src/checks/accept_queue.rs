//! How many requests a server works on at once, and what becomes of connections beyond that.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;
use bypeer_wire::app::Method;

use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::connection::{Connection, OpenError, Step};
use crate::habit::{Habit, Tolerance, Value};
use crate::http::{Ending, Writing};
use crate::prober::{Options, Prober};
use crate::target::Place;

pub(super) static CHECK: Check = Check {
    id: "accept-queue",
    title: "how many requests are worked on at once, and what becomes of connections beyond that",
    manual: include_str!("accept_queue.md"),
    opt_in: true,
    turn: Turn::Alone,
    habits: &[&HEADS, &BODIES, &OVERFLOW, &AGAIN],
    plan,
    run,
};

/// Half-sent heads that leave no room.
static HEADS: Habit = Habit {
    name: "accept-queue.heads",
    what: "half-sent heads that keep another request from being answered",
    tolerance: Tolerance::Exact,
};
/// Half-sent bodies that leave no room.
static BODIES: Habit = Habit {
    name: "accept-queue.bodies",
    what: "half-sent bodies that keep another request from being answered",
    tolerance: Tolerance::Exact,
};
/// What becomes of connections when all workers are busy.
static OVERFLOW: Habit = Habit {
    name: "accept-queue.overflow",
    what: "what becomes of connections beyond those worked on: none, syn-dropped, refused, reset, lost",
    tolerance: Tolerance::Exact,
};
/// Whether it answers afterwards.
static AGAIN: Habit = Habit {
    name: "accept-queue.answers-again",
    what: "whether the server answers when all is over",
    tolerance: Tolerance::Exact,
};

/// Most connections at once, whatever is allowed.
const MOST: u32 = 64;
/// With fewer nothing can be found out.
const LEAST: u32 = 4;
/// A handshake this long had its SYN, or the answer to it, dropped: Linux repeats it after 1 s.
const DROPPED: Duration = Duration::from_millis(900);
/// So often a request may be late for no reason that comes again.
const HICCUPS: u32 = 3;
/// A handshake this short had not.
const PROMPT: Duration = Duration::from_millis(500);
/// How soon a server answers a half-sent request that it does not wait for.
const NO_WAIT: Duration = Duration::from_millis(100);

fn plan(options: &Options) -> Plan {
    let room = room(options);
    Plan {
        what: format!("keeps up to {room} connections busy with half-sent requests, and asks beside them"),
        // Two kinds of halves, each held one by one with one request beside each, and again after each that was late; two rounds of
        // waiting; controls.
        connections: room * 2 * (2 + 2 * (HICCUPS + 1)) + room * 2 + 16,
        requests: room * 2 * (2 + 2 * (HICCUPS + 1)) + room * 2 + 16,
        longest: options.patience * 12 + options.handshake_patience * 6,
    }
}

fn room(options: &Options) -> u32 {
    options.at_once.min(MOST)
}

/// What keeps a worker busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Head,
    Body,
}

/// What holding requests open showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// So many leave no room for another.
    For(u32),
    /// So many do leave some.
    MoreThan(u32),
    /// The server does not wait for the rest.
    NotHeld,
    /// No clear answer.
    Unclear,
}

/// What became of one that waited.
#[derive(Debug)]
struct Waited {
    /// How long connect(2) took.
    connect: Result<Duration, OpenError>,
    ending: Option<Ending>,
}

/// All that waited, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    all: u32,
    answered: u32,
    /// connect(2) took a second or more, or gave up.
    dropped: u32,
    refused: u32,
    /// A reset before any byte.
    reset: u32,
    closed: u32,
    /// Connected, and no answer even when there was room again.
    silent: u32,
    /// Dropped or silent, or both.
    stuck: u32,
    slowest: Duration,
    quickest: Duration,
}

fn run(prober: &Prober<'_>) -> Outcome {
    if prober.serial {
        return Outcome::skipped(
            "the server works on one connection at a time: all others wait in the kernel's queue, and this needs several at once",
        );
    }
    let room = room(prober.options);
    if room < LEAST {
        return Outcome::skipped("it needs at least four connections at once (--at-once)");
    }
    let Some(before) = alone(prober) else {
        return Outcome::failed("the server did not answer a request of its own before anything was done");
    };
    let mut outcome = Outcome::default();
    let overflows = overflows(prober);
    let mut busiest: Option<(Half, u32)> = None;
    for (half, habit) in [(Half::Head, &HEADS), (Half::Body, &BODIES)] {
        let found = hold(prober, half, room - 1);
        tell_room(&mut outcome, half, habit, found);
        if let Room::For(count) = found
            && busiest.is_none_or(|(_, known)| count < known)
        {
            busiest = Some((half, count));
        }
    }
    let mut tallies = vec![wait_together(prober, busiest, room)];
    if tallies[0].overflowed() {
        answers_again(prober);
        tallies.push(wait_together(prober, busiest, room));
    }
    tell_waiting(&mut outcome, busiest, &tallies);
    if let (Some(before), Some(after)) = (overflows, self::overflows(prober)) {
        outcome.saw(format!(
            "this machine's kernel, which is the server's too, counts {} overflows of listen queues meanwhile (TcpExtListenOverflows)",
            after.saturating_sub(before)
        ));
    }
    outcome.saw(
        "not to be seen from here: how long the queue is, and what was accepted (on the server: `ss -ltn`, Recv-Q of Send-Q; `nstat -az \
         TcpExtListenOverflows TcpExtListenDrops`)",
    );
    let again = answers_again(prober);
    outcome.measure(&AGAIN, Value::Flag(again.is_some()));
    match again {
        Some(time) => outcome.saw(format!(
            "all connections were closed; the server answers again, {} later",
            millis(time)
        )),
        None => outcome.saw("all connections were closed, but the server has not answered since: look after it"),
    }
    judge(&mut outcome, before, &tallies);
    if prober.stopped() {
        outcome.status = Status::Cut("stopped in between".to_owned());
    }
    outcome
}

/// One request on a connection of its own: how long the handshake took.
fn alone(prober: &Prober<'_>) -> Option<Duration> {
    let mut connection = prober.open().ok()?;
    let exchange = connection.exchange(&prober.get(), Writing::AtOnce, prober.options.patience);
    exchange.answer.map(|_| connection.log().handshake())
}

/// Until the server answers; how long that took.
fn answers_again(prober: &Prober<'_>) -> Option<Duration> {
    let began = Instant::now();
    loop {
        if alone(prober).is_some() {
            return Some(began.elapsed());
        }
        if began.elapsed() >= prober.options.patience || !prober.pause(Duration::from_millis(100)) {
            return None;
        }
    }
}

/// Longest wait for a request that nothing stands in the way of.
fn unhindered(prober: &Prober<'_>) -> Duration {
    (prober.first_took * 8 + Duration::from_millis(700)).min(Duration::from_secs(2))
}

fn half(prober: &Prober<'_>, half: Half) -> Vec<u8> {
    match half {
        Half::Head => {
            let head = prober.get().head();
            head[..head.len() - 2].to_vec()
        }
        Half::Body => {
            let mut bytes = prober.request(Method::Post, prober.body_path()).with_body(64).bytes();
            bytes.truncate(bytes.len() - 32);
            bytes
        }
    }
}

/// A connection on which half a request was sent.
fn held(prober: &Prober<'_>, half: &[u8]) -> Option<Connection> {
    let mut connection = prober.open().ok()?;
    let until = Instant::now() + prober.options.patience;
    connection.send_all(half, until).ok()?;
    Some(connection)
}

/// Holds one more half-sent request each time, until another request is not answered beside them.
fn hold(prober: &Prober<'_>, kind: Half, most: u32) -> Room {
    let half = half(prober, kind);
    let mut holds: Vec<Connection> = Vec::new();
    let mut hiccups = 0;
    let until = Instant::now() + prober.options.patience * 2;
    for count in 1..=most {
        // A slow server is asked less often.
        if count > 1 && Instant::now() >= until {
            return Room::MoreThan(count - 1);
        }
        prober.doing(
            "holds half-sent requests open",
            Instant::now() + prober.options.patience,
        );
        while (holds.len() as u32) < count {
            let Some(connection) = held(prober, &half) else {
                return Room::Unclear;
            };
            holds.push(connection);
        }
        if count == 1 && !matches!(holds[0].step(&[], Instant::now() + NO_WAIT), Step::TimedOut) {
            return Room::NotHeld;
        }
        match beside(prober, &mut holds) {
            Some(true) => {}
            Some(false) => match confirmed(prober, &half, count) {
                Some(true) => return Room::For(count),
                // The machine was slow, not the server full.
                Some(false) if hiccups < HICCUPS => hiccups += 1,
                _ => return Room::Unclear,
            },
            None => return Room::Unclear,
        }
    }
    Room::MoreThan(most)
}

/// Whether a request is answered beside those held. Where it is not, they are given up, and then it must be: otherwise nothing is known.
fn beside(prober: &Prober<'_>, holds: &mut Vec<Connection>) -> Option<bool> {
    let mut asking = prober.open().ok()?;
    match asking
        .exchange(&prober.get(), Writing::AtOnce, unhindered(prober))
        .ending
    {
        Ending::Whole => Some(true),
        Ending::TimedOut => {
            holds.clear();
            let until = Instant::now() + prober.options.patience;
            (asking.answer(&Method::Get, until).ending == Ending::Whole).then_some(false)
        }
        _ => None,
    }
}

/// Once more: with one less it is answered, with as many it is not.
fn confirmed(prober: &Prober<'_>, half: &[u8], count: u32) -> Option<bool> {
    answers_again(prober)?;
    let mut holds: Vec<Connection> = (1..count).filter_map(|_| held(prober, half)).collect();
    if holds.len() as u32 + 1 != count || !beside(prober, &mut holds)? {
        return None;
    }
    holds.extend(held(prober, half));
    Some(!beside(prober, &mut holds)?)
}

/// Keeps the server busy, where that is known how; as many as there is room for connect and ask at the same moment; then all is given up.
fn wait_together(prober: &Prober<'_>, busiest: Option<(Half, u32)>, room: u32) -> Tally {
    let (kind, count) = busiest.unwrap_or((Half::Head, 0));
    let half = half(prober, kind);
    let holds: Vec<Connection> = (0..count).filter_map(|_| held(prober, &half)).collect();
    let waiting = room.saturating_sub(count);
    prober.doing(
        "lets connections wait",
        Instant::now() + unhindered(prober) + prober.options.patience,
    );
    let waited: Vec<Waited> = thread::scope(|scope| {
        let started: Vec<_> = (0..waiting).map(|_| scope.spawn(|| wait(prober))).collect();
        prober.pause(unhindered(prober));
        drop(holds);
        started
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    Tally::of(&waited)
}

fn wait(prober: &Prober<'_>) -> Waited {
    let mut connection = match prober.open() {
        Ok(connection) => connection,
        Err(error) => {
            return Waited {
                connect: Err(error),
                ending: None,
            };
        }
    };
    let patience = unhindered(prober) + prober.options.patience;
    let exchange = connection.exchange(&prober.get(), Writing::AtOnce, patience);
    Waited {
        connect: Ok(connection.log().handshake()),
        ending: Some(match exchange.answer {
            Some(_) => Ending::Whole,
            None => exchange.ending,
        }),
    }
}

impl Tally {
    fn of(waited: &[Waited]) -> Tally {
        let mut tally = Tally {
            all: waited.len() as u32,
            quickest: Duration::MAX,
            ..Tally::default()
        };
        for one in waited {
            let dropped = match &one.connect {
                Ok(time) => *time >= DROPPED,
                Err(error) => matches!(error, OpenError::Silent { .. }),
            };
            let silent = one.ending == Some(Ending::TimedOut);
            tally.dropped += u32::from(dropped);
            tally.silent += u32::from(silent);
            tally.stuck += u32::from(dropped || silent);
            match &one.connect {
                Ok(time) => {
                    tally.slowest = tally.slowest.max(*time);
                    tally.quickest = tally.quickest.min(*time);
                }
                Err(OpenError::Refused(_)) => tally.refused += 1,
                Err(_) => {}
            }
            match &one.ending {
                Some(Ending::Whole) => tally.answered += 1,
                Some(Ending::Broken(_)) => tally.reset += 1,
                Some(Ending::Closed) => tally.closed += 1,
                _ => {}
            }
        }
        tally
    }

    fn overflowed(&self) -> bool {
        self.stuck + self.refused + self.reset > 0
    }

    fn word(&self) -> &'static str {
        if self.refused > 0 {
            "refused"
        } else if self.reset > 0 {
            "reset"
        } else if self.dropped > 0 {
            "syn-dropped"
        } else if self.silent > 0 {
            "lost"
        } else {
            "none"
        }
    }
}

fn tell_room(outcome: &mut Outcome, half: Half, habit: &'static Habit, room: Room) {
    let what = match half {
        Half::Head => "half-sent heads",
        Half::Body => "half-sent bodies",
    };
    match room {
        Room::For(count) => {
            outcome.measure(habit, Value::Count(u64::from(count)));
            outcome.saw(format!(
                "{count} {what} leave no room: another request waited until they were given up; with one less it was answered"
            ));
        }
        Room::MoreThan(count) => {
            outcome.measure(habit, Value::MoreThan(u64::from(count)));
            outcome.saw(format!("beside {count} {what} another request is answered as ever"));
        }
        Room::NotHeld => outcome.saw(format!(
            "{what} keep nothing busy: the server answers without waiting for the rest"
        )),
        Room::Unclear => outcome.saw(format!(
            "{what}: no clear answer; requests beside them failed otherwise, or not each time"
        )),
    }
}

fn tell_waiting(outcome: &mut Outcome, busiest: Option<(Half, u32)>, tallies: &[Tally]) {
    let busy = match busiest {
        Some((Half::Head, count)) => format!("while {count} half-sent heads kept it busy"),
        Some((Half::Body, count)) => format!("while {count} half-sent bodies kept it busy"),
        None => "at the same moment".to_owned(),
    };
    for tally in tallies {
        let times = if tally.quickest == Duration::MAX {
            String::new()
        } else {
            format!(
                " (connect(2) took {} to {})",
                millis(tally.quickest),
                millis(tally.slowest)
            )
        };
        outcome.saw(format!(
            "{} connections asked {busy}{times}: {} were answered in the end",
            tally.all, tally.answered
        ));
        if tally.overflowed() || tally.closed > 0 {
            outcome.saw(format!(
                "of them {} had their SYN dropped (connect(2) took 1 s or more, or gave up), {} were refused, {} reset before any byte, {} \
                 closed, {} connected and never answered",
                tally.dropped, tally.refused, tally.reset, tally.closed, tally.silent
            ));
        }
    }
    let word = tallies.iter().map(Tally::word).find(|word| *word != "none");
    outcome.measure(&OVERFLOW, Value::Word(word.unwrap_or("none")));
}

/// One connection alone was prompt, and in both rounds connections were dropped.
fn judge(outcome: &mut Outcome, before: Duration, tallies: &[Tally]) {
    let [first, second] = tallies else { return };
    if before >= PROMPT {
        outcome.saw(format!(
            "a connection alone took {} already: whether the queue is too short cannot be told",
            millis(before)
        ));
        return;
    }
    let least = |count: fn(&Tally) -> u32| count(first).min(count(second));
    let (dropped, broken) = (least(|tally| tally.stuck), least(|tally| tally.reset + tally.refused));
    let (cause, what, count) = if broken > 0 {
        (
            "backlog-overflow-rst",
            "connections beyond the listen queue are reset or refused, before any byte",
            broken,
        )
    } else if dropped > 0 {
        (
            "backlog-overflow-drop",
            "connections beyond the listen queue get no answer to their SYN: they wait for one second and more, or give up",
            dropped,
        )
    } else {
        outcome.saw("only one round of two had such connections: undecided");
        return;
    };
    let lost = tallies.iter().map(|tally| tally.all - tally.answered).sum::<u32>();
    outcome.risks.push(Risk {
        cause,
        what: what.to_owned(),
        severity: Severity::Trap,
        loses: if lost > 0 { Loses::Request } else { Loses::Nothing },
        sure: if count > 1 {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        because: vec![
            format!("{count} or more of {} in each of two rounds", first.all),
            format!("a connection alone, before that, took {}", millis(before)),
        ],
        remedy: Remedy::Server,
        clauses: vec![],
    });
}

/// The kernel's count of overflows, where the server's kernel is ours.
fn overflows(prober: &Prober<'_>) -> Option<u64> {
    let Place::Tcp(addresses) = &prober.dial().place else {
        return None;
    };
    let is_loopback = |ip: IpAddr| ip.is_loopback();
    if !addresses.iter().all(|address| is_loopback(address.ip())) {
        return None;
    }
    listen_overflows(&std::fs::read_to_string("/proc/net/netstat").ok()?)
}

/// From the names and the values of `TcpExt`, a line each.
fn listen_overflows(netstat: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(name, _)| *name == "ListenOverflows")?.1.parse().ok()
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
