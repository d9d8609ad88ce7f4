//! Requests sent around the moment in which the server closes an idle connection: which are answered, and what becomes of the others.

mod tell;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bypeer_wire::app::Framing;

use crate::check::{Check, Outcome, Plan, Status, Turn};
use crate::connection::{Broken, Connection, Step};
use crate::habit::{Habit, Spread, Tolerance};
use crate::http::{Ending, Exchange, Writing};
use crate::prober::{Options, Prober};

pub(super) static CHECK: Check = Check {
    id: "closing-window",
    title: "what becomes of requests sent as the server closes an idle connection",
    manual: include_str!("closing_window.md"),
    opt_in: false,
    turn: Turn::Together,
    habits: &[&WIDTH, &CROSSING, &LATE, &NEXT_LOST],
    plan,
    run,
};

/// How long before the end's arrival lost requests were sent.
static WIDTH: Habit = Habit {
    name: "closing-window.width",
    what: "how long before the FIN or reset arrived those requests were sent that were lost",
    tolerance: Tolerance::Never,
};
/// What clients see whose request crosses the close.
static CROSSING: Habit = Habit {
    name: "closing-window.crossing",
    what: "how a request ends that crosses the close: eof, reset, silence, answer-408, mixed",
    tolerance: Tolerance::Never,
};
/// What a request meets that is sent after the FIN has come.
static LATE: Habit = Habit {
    name: "closing-window.late",
    what: "what a request meets that is sent after the FIN has come: reset, swallowed, answered, mixed",
    // Servers that close in steps (Tomcat) change between two of these words.
    tolerance: Tolerance::Never,
};
/// Of servers that close after each answer without saying so.
static NEXT_LOST: Habit = Habit {
    name: "closing-window.next-lost",
    what: "requests sent behind an answer, before the close had come, that got no answer",
    tolerance: Tolerance::Never,
};

/// A server that closes this soon does not wait for another request: it closes after its answer.
const AT_ONCE: Duration = Duration::from_millis(150);
/// The connections that are watched begin so much after the idle-timeout check's, to know the limit in time.
const BEHIND: Duration = Duration::from_secs(1);
/// The sweep reaches so far on both sides of the close, and three round trips more.
const REACH: Duration = Duration::from_millis(20);
/// So far before the close a request is safe from it, unless the server's clock jumps.
const COARSE: Duration = Duration::from_millis(200);
/// Until when the reset that answers a late request has come, and a round trip more.
const RESET_COMES: Duration = Duration::from_millis(300);
/// Between two looks at what others have learnt of the limit.
const LOOK: Duration = Duration::from_millis(10);
/// Between the last look for a FIN and the sending; more means that we were held up, and what was sent cannot be placed.
const HELD_UP: Duration = Duration::from_millis(2);

/// Places of the sweep, in parts of its reach.
const SWEEP: [f64; 12] = [-1.0, -0.75, -0.5, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5, 0.75];
/// Delays behind the FIN.
const BEHIND_FIN: [Duration; 6] = [
    Duration::ZERO,
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(200),
];
/// Delays behind an answer, where the server closes after each.
const BEHIND_ANSWER: [Duration; 16] = {
    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }
    [
        micros(0),
        micros(0),
        micros(0),
        micros(0),
        micros(0),
        micros(0),
        micros(0),
        micros(0),
        micros(50),
        micros(100),
        micros(200),
        micros(500),
        micros(1_000),
        micros(2_000),
        micros(5_000),
        micros(20_000),
    ]
};
/// One that only shows the limit, one whose request comes halfway, one that comes a little before; then those above.
const CONNECTIONS: u32 = 3 + SWEEP.len() as u32 + BEHIND_FIN.len() as u32;

fn plan(options: &Options) -> Plan {
    Plan {
        what: format!(
            "leaves {CONNECTIONS} connections idle after one request, and sends one more on each around the moment in which the server \
             closes it"
        ),
        connections: CONNECTIONS,
        requests: 2 * CONNECTIONS,
        longest: BEHIND * 2 + options.longest_wait + options.patience * 2,
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    /// It shows the limit.
    Scout,
    /// Its request comes halfway: does the server answer a second one at all?
    Halfway,
    /// So long before the close that is expected.
    Before(Duration),
    /// At this part of the sweep's reach.
    Around(f64),
    /// So long after the FIN.
    After(Duration),
}

/// A request, where it was sent, and what became of it.
#[derive(Clone, Debug)]
struct Sent {
    role: Role,
    /// From the last byte of the answer before it.
    idle: Duration,
    place: Place,
    fate: Fate,
    /// A reset came behind its FIN.
    reset_after: bool,
    /// How long the connection's handshake took: a round trip or more.
    handshake: Duration,
}

/// Where a request was sent, as seen from our end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the end had come, and it was not lost.
    Before,
    /// So long before the end came.
    Crossing(Duration),
    /// So long after the end had come.
    After(Duration),
    /// We were held up: nobody knows.
    Unknown,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// The whole answer came.
    Answered(u16),
    /// FIN, and no byte of an answer.
    Eof,
    /// ECONNRESET.
    Reset,
    /// EPIPE: a reset behind a FIN that had been seen.
    Pipe,
    /// Nothing came, not even an end; on a connection that had ended, not even a reset.
    Silence,
    /// Something else: a part of an answer, no HTTP.
    Other(String),
}

/// What the connections learn together.
#[derive(Default)]
struct Learnt {
    limits: Mutex<Vec<Duration>>,
    /// Of handshakes: the shortest is nearest to a round trip.
    handshakes: Mutex<Vec<Duration>>,
    /// The one that shows the limit was not closed.
    none: Mutex<Option<String>>,
}

impl Learnt {
    fn closed_after(&self, limit: Duration) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).push(limit);
    }

    fn limits(&self) -> Option<Spread> {
        Spread::of(
            self.limits
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .copied(),
        )
    }

    fn handshake_took(&self, time: Duration) {
        self.handshakes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(time);
    }

    fn round_trip(&self, first: Duration) -> Duration {
        let times = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        times.iter().copied().fold(first, Duration::min)
    }

    fn none(&self) -> Option<String> {
        self.none.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn run(prober: &Prober<'_>) -> Outcome {
    let (scout, announced) = match used(prober) {
        Ok(used) => used,
        Err(why) => return Outcome::failed(why),
    };
    let mut scout = scout;
    let at_once = Instant::now() + AT_ONCE + prober.round_trip * 2;
    if scout.watch(at_once) {
        drop(scout);
        if announced {
            return Outcome::skipped(
                "the server closes after each answer and says so: no client sends another request there",
            );
        }
        let sent = prober.side_by_side(BEHIND_ANSWER.len() as u32, |index| {
            behind_answer(prober, BEHIND_ANSWER[index as usize])
        });
        let sent: Vec<Sent> = sent.into_iter().flatten().collect();
        return tell::behind_answers(&sent);
    }
    if prober.serial {
        return Outcome::skipped("it needs connections side by side, and the server works on one at a time");
    }
    around_close(prober, scout)
}

fn around_close(prober: &Prober<'_>, scout: Connection) -> Outcome {
    let roles: Vec<Role> = [Role::Scout, Role::Halfway, Role::Before(COARSE)]
        .into_iter()
        .chain(BEHIND_FIN.map(Role::After))
        .chain(SWEEP.map(Role::Around))
        .collect();
    let learnt = Learnt::default();
    let scout = Mutex::new(Some(scout));
    let sent = prober.side_by_side(roles.len() as u32, |index| {
        let role = roles[index as usize];
        if role == Role::Scout {
            let scout = scout.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(scout) = scout {
                watch_scout(prober, scout, &learnt);
            }
            return None;
        }
        prober.pause(BEHIND);
        match used(prober) {
            Ok((connection, _)) => {
                learnt.handshake_took(connection.log().handshake());
                send_around(prober, connection, role, &learnt)
            }
            Err(_) => None,
        }
    });
    let sent: Vec<Sent> = sent.into_iter().flatten().collect();
    let mut outcome = match (learnt.limits(), learnt.none()) {
        (Some(limits), _) => tell::around_close(prober, &limits, &sent),
        (None, Some(why)) => Outcome::skipped(why),
        (None, None) => Outcome::failed("no connection was closed, and none could be watched to the end"),
    };
    if prober.stopped() {
        outcome.status = Status::Cut("stopped before the server closed".to_owned());
    }
    outcome
}

/// A connection with one request answered; whether that said that the connection would close.
fn used(prober: &Prober<'_>) -> Result<(Connection, bool), String> {
    let mut connection = prober.open().map_err(|error| error.to_string())?;
    let exchange = connection.exchange(&prober.get(), Writing::AtOnce, prober.options.patience);
    match exchange.answer {
        // An answer that ends with the connection says so by that.
        Some(answer) if exchange.ending == Ending::Whole => {
            let announced = answer.head.connection.closes() || answer.framing == Framing::Close;
            Ok((connection, announced))
        }
        _ => Err(format!("a request got no whole answer ({})", exchange.ending)),
    }
}

/// From when a connection is idle.
fn idle_since(connection: &Connection) -> Instant {
    let log = connection.log();
    log.last_received.unwrap_or(log.opened)
}

fn watch_scout(prober: &Prober<'_>, mut scout: Connection, learnt: &Learnt) {
    let since = idle_since(&scout);
    let until = since + prober.options.longest_wait;
    prober.doing("waits for the idle limit", until);
    if scout.watch(until) {
        learnt.closed_after(since.elapsed());
    } else {
        let why = format!(
            "the server keeps idle connections for longer than {:.0} s (--longest-wait waits longer)",
            prober.options.longest_wait.as_secs_f64()
        );
        *learnt.none.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

/// Waits for the moment of its role, and sends; `None` when that does not come.
fn send_around(prober: &Prober<'_>, mut connection: Connection, role: Role, learnt: &Learnt) -> Option<Sent> {
    let since = idle_since(&connection);
    let until = since + prober.options.longest_wait;
    loop {
        if prober.stopped() || Instant::now() >= until || learnt.none().is_some() {
            return None;
        }
        let limits = learnt.limits().or_else(|| {
            let told = prober.idle.wait(Instant::now(), prober);
            Spread::of(told)
        });
        let planned = limits
            .and_then(|limits| moment(learnt.round_trip(prober.round_trip), role, &limits))
            .map(|idle| since + idle);
        let look = Instant::now() + LOOK;
        if connection.watch(planned.map_or(look, |planned| planned.min(look))) {
            learnt.closed_after(since.elapsed());
            let delay = match (role, planned) {
                (Role::After(delay), _) => delay,
                // It came before the moment that was meant: then that is behind it.
                (_, Some(planned)) => planned.saturating_duration_since(Instant::now()),
                (_, None) => Duration::ZERO,
            };
            return send_after(prober, connection, role, since, delay);
        }
        if planned.is_some_and(|planned| Instant::now() >= planned) {
            return send_now(prober, connection, role, since);
        }
    }
}

/// How long idle it is when it sends; `None`: its moment is counted from the FIN.
fn moment(round_trip: Duration, role: Role, limits: &Spread) -> Option<Duration> {
    let reach = round_trip * 3 + REACH + (limits.high() - limits.low()) / 2;
    let limit = limits.median();
    match role {
        Role::Scout | Role::After(_) => None,
        Role::Halfway => Some(limit / 2),
        Role::Before(before) => Some(limits.low().saturating_sub(before.max(limit / 20).min(limit / 3))),
        Role::Around(part) if part < 0.0 => Some(limit.saturating_sub(reach.mul_f64(-part))),
        Role::Around(part) => Some(limit + reach.mul_f64(part)),
    }
}

/// Sends on a connection on which no end has come so far.
fn send_now(prober: &Prober<'_>, mut connection: Connection, role: Role, since: Instant) -> Option<Sent> {
    if connection.log().ended_by_server().is_some() {
        // It was read with the answer.
        return send_after(prober, connection, role, since, Duration::ZERO);
    }
    let looked = Instant::now();
    match connection.step(&[], looked) {
        Step::TimedOut => {}
        // What it says before it closes; the end is behind it.
        Step::Received(_) | Step::Closed | Step::Broken(_) | Step::Over => {
            return send_after(prober, connection, role, since, Duration::ZERO);
        }
        _ => return None,
    }
    let exchange = connection.exchange(&prober.get(), Writing::AtOnce, prober.options.patience);
    let fate = fate(&exchange)?;
    let reset_after = fate == Fate::Eof && resets(prober, &mut connection);
    if fate == Fate::Answered(408) {
        connection.watch(Instant::now() + RESET_COMES);
    }
    let log = connection.log();
    let sent = log.last_sent.unwrap_or(exchange.began);
    let place = match (&fate, log.ended_by_server()) {
        _ if sent.saturating_duration_since(looked) > HELD_UP => Place::Unknown,
        (Fate::Answered(status), _) if *status != 408 => Place::Before,
        (_, Some(end)) => Place::Crossing(end.saturating_duration_since(sent)),
        (_, None) => Place::Before,
    };
    Some(Sent {
        role,
        idle: sent.saturating_duration_since(since),
        place,
        fate,
        reset_after,
        handshake: log.handshake(),
    })
}

/// Sends on a connection whose end has come, as a client does that does not look.
fn send_after(
    prober: &Prober<'_>,
    mut connection: Connection,
    role: Role,
    since: Instant,
    delay: Duration,
) -> Option<Sent> {
    if !prober.pause(delay) {
        return None;
    }
    // What it says before it closes (408) is not the answer to what is sent now.
    let now = Instant::now();
    while let Step::Received(_) = connection.step(&[], now) {
        connection.take();
    }
    let end = connection.log().ended_by_server()?;
    let patience = RESET_COMES + prober.round_trip * 2;
    let exchange = connection.exchange(&prober.get(), Writing::AtOnce, patience);
    let log = connection.log();
    let sent = log.last_sent.map_or(exchange.began, |last| last.max(exchange.began));
    let fate = match fate(&exchange)? {
        // The end was read already: what is new is the reset, or nothing.
        Fate::Eof if log.was_reset() => Fate::Pipe,
        Fate::Eof => Fate::Silence,
        fate => fate,
    };
    Some(Sent {
        role,
        idle: sent.saturating_duration_since(since),
        place: Place::After(sent.saturating_duration_since(end)),
        fate,
        reset_after: false,
        handshake: log.handshake(),
    })
}

/// Behind an answer of a server that closes after each: the next request, so much later.
fn behind_answer(prober: &Prober<'_>, delay: Duration) -> Option<Sent> {
    let (mut connection, announced) = used(prober).ok()?;
    if announced {
        return None;
    }
    let since = idle_since(&connection);
    let role = Role::After(delay);
    if !delay.is_zero() && connection.watch(Instant::now() + delay) {
        return send_after(prober, connection, role, since, delay.saturating_sub(since.elapsed()));
    }
    send_now(prober, connection, role, since)
}

/// Whether a reset comes behind the FIN: the request was answered by the server's kernel, not taken by its program.
fn resets(prober: &Prober<'_>, connection: &mut Connection) -> bool {
    let until = Instant::now() + RESET_COMES + prober.round_trip * 2;
    loop {
        match connection.step(&[], until) {
            Step::Broken(_) => return true,
            Step::Received(_) => {
                connection.take();
            }
            _ => return connection.log().was_reset(),
        }
    }
}

/// `None`: the user asked to stop.
fn fate(exchange: &Exchange) -> Option<Fate> {
    let fate = match (&exchange.ending, &exchange.answer) {
        (Ending::Stopped, _) => return None,
        (Ending::Whole, Some(answer)) => Fate::Answered(answer.head.status),
        (_, Some(_)) => Fate::Other("a part of an answer".to_owned()),
        (Ending::Broken(Broken::Reset), None) => Fate::Reset,
        (Ending::Broken(Broken::Pipe), None) => Fate::Pipe,
        (Ending::Broken(other), None) => Fate::Other(other.to_string()),
        (Ending::Closed | Ending::Whole, None) if exchange.send_failed.is_some() => Fate::Pipe,
        (Ending::Closed | Ending::Whole, None) => Fate::Eof,
        (Ending::TimedOut, None) if exchange.send_failed.is_some() => Fate::Pipe,
        (Ending::TimedOut, None) => Fate::Silence,
        (Ending::TlsBroken(why), None) => Fate::Other(why.clone()),
        (Ending::NotHttp(_), None) => Fate::Other("what is no HTTP answer".to_owned()),
    };
    Some(fate)
}
