//! How a server closes after an answer that says so.

use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;
use bypeer_wire::app::Method;

use super::fate::{Fate, Fates, SMALL, Seen, longest, unread_for};
use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::connection::{Buffers, Connection};
use crate::habit::{Habit, Spread, Tolerance, Value};
use crate::http::Request;
use crate::prober::{Options, Prober};

pub(super) static CHECK: Check = Check {
    id: "close-manners",
    title: "how it closes after an answer: FIN or reset, at once or in stages",
    manual: include_str!("close_manners.md"),
    opt_in: false,
    turn: Turn::Together,
    habits: &[&ENDS_BY, &FIN_AFTER, &SLOW_READER, &LINGERS, &LINGERS_FOR],
    plan,
    run,
};

/// How a connection ends whose request said close.
pub static ENDS_BY: Habit = Habit {
    name: "close-manners.ends-by",
    what: "how it ends after Connection: close: fin, reset, kept",
    tolerance: Tolerance::Exact,
};
/// How soon the FIN comes.
pub static FIN_AFTER: Habit = Habit {
    name: "close-manners.fin-after",
    what: "time from the answer's last byte to the FIN",
    tolerance: Tolerance::Within(Duration::from_millis(500), 0.2),
};
/// What a client gets that reads late.
pub static SLOW_READER: Habit = Habit {
    name: "close-manners.slow-reader",
    what: "an answer that is read late, through a small window: whole, cut",
    tolerance: Tolerance::Exact,
};
/// Whether it reads on after its FIN.
pub static LINGERS: Habit = Habit {
    name: "close-manners.lingers",
    what: "it reads on after its FIN: bytes that come then are not answered by a reset",
    tolerance: Tolerance::Exact,
};
/// How long.
pub static LINGERS_FOR: Habit = Habit {
    name: "close-manners.lingers-for",
    what: "how long it does, at least",
    tolerance: Tolerance::Never,
};

/// Rounds of each kind, where a number of connections asks for no more.
const ROUNDS: u32 = 3;
/// How long a server may take to close.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How much longer than an attentive client a slow reader waits.
const SLOW: Duration = Duration::from_millis(500);
/// How long after the FIN a byte comes: each on a connection of its own, for servers that linger on as long as something comes.
const LATE: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(1200),
    Duration::from_millis(2500),
    Duration::from_millis(4000),
    Duration::from_millis(8000),
];

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// Reads all at once, and never closes.
    Prompt,
    /// Reads late, through a small window.
    Slow,
    /// Reads all, and sends a byte so long after the FIN.
    Late(Duration),
}

#[derive(Debug)]
struct Round {
    client: Client,
    seen: Seen,
    /// From the answer's last byte to the FIN.
    fin: Option<Duration>,
    /// A late byte was answered by a reset.
    refused: Option<bool>,
}

fn clients(rounds: u32, late: &[Duration]) -> Vec<Client> {
    let pairs = (0..rounds).flat_map(|_| [Client::Prompt, Client::Slow]);
    pairs.chain(late.iter().copied().map(Client::Late)).collect()
}

fn plan(options: &Options) -> Plan {
    let connections = clients(ROUNDS, &LATE).len() as u32;
    let one = longest(options, 1) + CLOSE_WAIT + LATE[LATE.len() - 1];
    Plan {
        what: format!(
            "GETs {connections} answers with Connection: close; some are read late; on some a byte is sent up to {:.0} s after the FIN",
            LATE[LATE.len() - 1].as_secs_f64()
        ),
        connections,
        requests: connections,
        longest: if options.serial == Some(true) {
            one * connections
        } else {
            one * connections.div_ceil(options.at_once.max(1))
        },
    }
}

fn run(prober: &Prober<'_>) -> Outcome {
    // One at a time, a server that lingers would be kept from its work for long.
    let late: Vec<Duration> = LATE
        .into_iter()
        .filter(|late| *late <= prober.options.patience)
        .take(if prober.serial { 1 } else { LATE.len() })
        .collect();
    let clients = clients(ROUNDS, &late);
    prober.doing(
        "watching how it closes",
        Instant::now() + (CHECK.plan)(prober.options).longest,
    );
    let rounds = prober.side_by_side(clients.len() as u32, |index| ask(prober, clients[index as usize]));
    let mut outcome = judge(&rounds, close_wait(prober.options));
    if rounds.iter().any(|round| round.seen.fate == Fate::Stopped) || rounds.len() < clients.len() {
        outcome.status = Status::Cut("stopped before all was seen".to_owned());
    }
    outcome
}

fn close_wait(options: &Options) -> Duration {
    CLOSE_WAIT.min(options.patience)
}

fn ask(prober: &Prober<'_>, client: Client) -> Round {
    let mut round = Round {
        client,
        seen: Seen::without_answer(Fate::Stopped),
        fin: None,
        refused: None,
    };
    let buffers = if client == Client::Slow {
        SMALL
    } else {
        Buffers::default()
    };
    let mut connection = match prober.open_with(buffers) {
        Ok(connection) => connection,
        Err(error) => {
            round.seen = Seen::unopened(&error, prober);
            return round;
        }
    };
    let request = closing(prober);
    let sent = connection.send_all(&request.bytes(), Instant::now() + prober.options.patience);
    if client == Client::Slow && sent.is_ok() {
        connection.hold(Instant::now() + unread_for(prober) + SLOW);
    }
    let exchange = connection.answer(&Method::Get, Instant::now() + prober.options.patience);
    if exchange.is_whole() {
        // The FIN may take its time: that is a part of the manners.
        connection.watch(Instant::now() + close_wait(prober.options));
    }
    let last = connection.log().last_received.unwrap_or_else(Instant::now);
    round.seen = Seen::of(&mut connection, prober, &exchange);
    round.fin = connection.log().fin.map(|fin| fin.saturating_duration_since(last));
    if let (Client::Late(late), Some(fin), None) = (client, connection.log().fin, connection.log().reset) {
        round.refused = send_late(prober, &mut connection, fin + late);
    }
    round
}

fn closing(prober: &Prober<'_>) -> Request {
    prober.get().with("Connection", "close")
}

/// Whether a byte is answered by a reset; `None` when it could not be sent, or the user stops.
fn send_late(prober: &Prober<'_>, connection: &mut Connection, at: Instant) -> Option<bool> {
    connection.hold(at);
    if connection.log().hung_up.is_some() || prober.stopped() {
        return None;
    }
    // A line end: the one thing that may follow a request without meaning anything.
    connection
        .send_all(b"\r\n", Instant::now() + prober.options.patience)
        .ok()?;
    connection.hold(Instant::now() + Duration::from_millis(200) + prober.round_trip * 2);
    if prober.stopped() {
        return None;
    }
    Some(connection.log().hung_up.is_some())
}

fn judge(rounds: &[Round], waited: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    let of = |is: fn(Client) -> bool| Fates::of(rounds, move |round| is(round.client).then_some(&round.seen));
    let prompt = of(|client| client != Client::Slow);
    let slow = of(|client| client == Client::Slow);
    if prompt.count() == 0 {
        return outcome;
    }
    let cut = |fates: &Fates<'_>| {
        fates
            .cut_words()
            .map_or_else(String::new, |words| format!(" ({words})"))
    };
    outcome.saw(format!(
        "an answer of {} bytes, after Connection: close: {}{}",
        prompt.size(),
        prompt.words(),
        cut(&prompt)
    ));
    let resets = prompt.lost() + prompt.reset_behind() + prompt.that(|seen| seen.fate == Fate::ResetAfterFin);
    let kept = prompt.that(|seen| seen.fate == Fate::Open);
    let fins = Spread::of(
        rounds
            .iter()
            .filter(|round| round.client != Client::Slow)
            .filter_map(|round| round.fin),
    );
    outcome.measure(
        &ENDS_BY,
        Value::Word(match (resets, kept) {
            (1.., _) => "reset",
            (0, 1..) => "kept",
            (0, 0) => "fin",
        }),
    );
    if kept > 0 {
        outcome.saw(format!(
            "it keeps {kept} of {} open for longer than {:.0} s, although the request said close: a client that waits for the end waits in vain",
            prompt.count(),
            waited.as_secs_f64()
        ));
    }
    if let Some(fins) = fins {
        outcome.saw(format!(
            "its FIN comes {:.1} ms after the last byte (at most {:.1} ms)",
            millis(fins.median()),
            millis(fins.high())
        ));
        outcome.measure(&FIN_AFTER, Value::Time(fins));
    }
    if slow.count() > 0 {
        outcome.saw(format!(
            "read late, through a small window: {}{}",
            slow.words(),
            cut(&slow)
        ));
        let word = if slow.lost() + slow.that(|seen| seen.fate == Fate::Short) > 0 {
            "cut"
        } else {
            "whole"
        };
        outcome.measure(&SLOW_READER, Value::Word(word));
    }
    lingering(&mut outcome, rounds);
    outcome.risks.extend(resetting(&prompt, &slow));
    outcome
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Whether it reads on after its FIN, and until when.
fn lingering(outcome: &mut Outcome, rounds: &[Round]) {
    let mut late: Vec<(Duration, bool)> = rounds
        .iter()
        .filter_map(|round| match (round.client, round.refused) {
            (Client::Late(late), Some(refused)) => Some((late, refused)),
            _ => None,
        })
        .collect();
    late.sort_unstable();
    let Some((first, _)) = late.first() else { return };
    let taken = late.iter().take_while(|(_, refused)| !refused).last();
    let refused = late.iter().find(|(_, refused)| *refused);
    match (taken, refused) {
        (None, _) => {
            outcome.measure(&LINGERS, Value::Flag(false));
            outcome.saw(format!(
                "it closes in one step: a byte {:.1} s after its FIN is answered by a reset",
                first.as_secs_f64()
            ));
        }
        (Some((taken, _)), refused) => {
            outcome.measure(&LINGERS, Value::Flag(true));
            outcome.measure(&LINGERS_FOR, Value::LongerThan(*taken));
            let until = refused.map_or_else(
                || "longer was not tried".to_owned(),
                |(refused, _)| format!("one after {:.1} s is answered by a reset", refused.as_secs_f64()),
            );
            outcome.saw(format!(
                "it closes in stages: a byte {:.1} s after its FIN is swallowed; {until}",
                taken.as_secs_f64()
            ));
        }
    }
}

/// Resets in place of FINs, when all was asked properly and nothing is unread.
fn resetting(prompt: &Fates<'_>, slow: &Fates<'_>) -> Option<Risk> {
    let lost = prompt.lost() + slow.lost();
    // Nothing was sent behind the request: even behind a FIN a reset is an abort.
    let aborts = |fates: &Fates<'_>| {
        fates.lost() + fates.that(|seen| matches!(seen.fate, Fate::ResetBehind(_) | Fate::ResetAfterFin))
    };
    let resets = aborts(prompt) + aborts(slow);
    let all = prompt.count() + slow.count();
    if resets < 3 {
        return None;
    }
    let always = resets == all;
    Some(Risk {
        cause: "so-linger-zero",
        what: if lost > 0 {
            "the server ends connections with a reset in place of a FIN, and its answers are cut: it aborts them (SO_LINGER 0), or leaves \
             a part of the request's head unread"
                .to_owned()
        } else {
            "the server ends connections with a reset in place of a FIN: the answer came whole here, one that is still under way would not; \
             it aborts them (SO_LINGER 0), or leaves a part of the request's head unread"
                .to_owned()
        },
        severity: if lost >= 2 && always {
            Severity::Fault
        } else {
            Severity::Trap
        },
        loses: if prompt.lost() > 0 {
            prompt.loses()
        } else {
            Loses::Answer
        },
        // The packet is the same for both of its reasons.
        sure: if always {
            Confidence::Likely
        } else {
            Confidence::Undecided
        },
        because: vec![
            format!("read at once: {}", prompt.words()),
            format!("read late: {}", slow.words()),
            "each request was a whole GET with Connection: close, and nothing was sent behind it".to_owned(),
        ],
        remedy: Remedy::Server,
        clauses: vec!["RFC 9112 §9.6", "RFC 9293 §3.6", "RFC 9293 §3.10.5"],
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
