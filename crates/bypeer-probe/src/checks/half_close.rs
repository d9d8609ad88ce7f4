//! What becomes of an answer when the client half-closes behind its request, and how TLS is ended.

use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;
use bypeer_wire::app::{Framing, Method};

use super::fate::{Fate, Fates, SMALL, Seen, longest, unread_for};
use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::connection::{Buffers, Connection};
use crate::habit::{Habit, Tolerance, Value};
use crate::http::{Exchange, Writing};
use crate::prober::{Options, Prober};

pub(super) static CHECK: Check = Check {
    id: "half-close",
    title: "what a half-close behind a request does, and how TLS is ended",
    manual: include_str!("half_close.md"),
    opt_in: false,
    turn: Turn::Together,
    habits: &[
        &AT_ONCE,
        &IN_ANSWER,
        &IN_BODY,
        &ALERT_ONLY,
        &FIN_ONLY,
        &ENDS_WITH_ALERT,
        &IDLE_ENDS_WITH_ALERT,
        &ALERT_RESET,
    ],
    plan,
    run,
};

/// FIN right behind the request.
pub static AT_ONCE: Habit = Habit {
    name: "half-close.at-once",
    what: "the answer when FIN follows the request at once: answered, cut, none",
    tolerance: Tolerance::Exact,
};
/// FIN while the answer is under way.
pub static IN_ANSWER: Habit = Habit {
    name: "half-close.in-answer",
    what: "the answer when FIN comes while it is under way: answered, cut, none",
    tolerance: Tolerance::Exact,
};
/// FIN in the middle of a body.
pub static IN_BODY: Habit = Habit {
    name: "half-close.in-body",
    what: "what a FIN in the middle of a body gets: answer, closed, reset, kept",
    tolerance: Tolerance::Exact,
};
/// Only close_notify.
pub static ALERT_ONLY: Habit = Habit {
    name: "half-close.tls-alert-only",
    what: "the answer when close_notify without FIN follows the request: answered, cut, none",
    tolerance: Tolerance::Exact,
};
/// Only FIN.
pub static FIN_ONLY: Habit = Habit {
    name: "half-close.tls-fin-only",
    what: "the answer when FIN without close_notify follows the request: answered, cut, none",
    tolerance: Tolerance::Exact,
};
/// How the server ends TLS after an answer.
pub static ENDS_WITH_ALERT: Habit = Habit {
    name: "half-close.tls-ends-with-alert",
    what: "its FIN after Connection: close has a close_notify before it",
    tolerance: Tolerance::Exact,
};
/// How the server ends TLS that was idle.
pub static IDLE_ENDS_WITH_ALERT: Habit = Habit {
    name: "half-close.tls-idle-ends-with-alert",
    what: "its FIN on an idle connection has a close_notify before it",
    tolerance: Tolerance::Exact,
};
/// What our close_notify gets.
pub static ALERT_RESET: Habit = Habit {
    name: "half-close.tls-alert-reset",
    what: "a close_notify that answers the server's is answered by a reset",
    tolerance: Tolerance::Exact,
};

/// Rounds of each situation.
const ROUNDS: u32 = 3;
/// How long a server may take to make up its mind about half a body.
const BODY_WAIT: Duration = Duration::from_secs(3);
/// How long an idle connection is waited for, when no other check waits for one.
const IDLE_WAIT: Duration = Duration::from_secs(10);
/// How long a server may take to close.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

const EVERYWHERE: [Half; 5] = [Half::Not, Half::AtOnce, Half::NotSlow, Half::InAnswer, Half::InBody];
const WITH_TLS: [Half; 3] = [Half::AlertOnly, Half::FinOnly, Half::ServerEnds];

/// When the client half-closes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    /// Control.
    Not,
    /// Right behind the request; with TLS close_notify and FIN.
    AtOnce,
    /// Control: read late, through a small window.
    NotSlow,
    /// The same, and the half-close while the answer is under way.
    InAnswer,
    /// In the middle of a body.
    InBody,
    /// TLS: close_notify, no FIN.
    AlertOnly,
    /// TLS: FIN, no close_notify.
    FinOnly,
    /// TLS: the server ends first, because the request says close.
    ServerEnds,
    /// TLS: the server ends first, because the connection is idle.
    IdleEnds,
}

#[derive(Debug)]
struct Round {
    half: Half,
    seen: Seen,
    /// The server's FIN came, with or without close_notify before it.
    alert: Option<bool>,
    /// Our close_notify behind that was answered by a reset.
    reset: Option<bool>,
    /// Only the end of the connection tells the end of the answer.
    until_close: bool,
}

fn situations(tls: bool) -> Vec<Half> {
    let mut all: Vec<Half> = Vec::new();
    // Longest first.
    all.extend(tls.then_some(Half::IdleEnds));
    for _ in 0..ROUNDS {
        all.extend(EVERYWHERE);
        all.extend(WITH_TLS.iter().filter(|_| tls));
    }
    all
}

fn plan(options: &Options) -> Plan {
    // Whether TLS is spoken is not known here: the larger number holds for both.
    let connections = situations(true).len() as u32;
    let one = longest(options, 1) + CLOSE_WAIT;
    Plan {
        what: format!(
            "half-closes behind, and inside, some of at most {connections} requests ({} without TLS); with TLS watches one idle connection",
            situations(false).len()
        ),
        connections,
        requests: connections,
        longest: idle_wait(options)
            + if options.serial == Some(true) {
                one * connections
            } else {
                one * connections.div_ceil(options.at_once.max(1))
            },
    }
}

/// As long as the check of the idle limit, where that is done too.
fn idle_wait(options: &Options) -> Duration {
    let others = crate::chosen(options).unwrap_or_default();
    if others.iter().any(|check| check.id == super::IDLE) {
        options.longest_wait
    } else {
        IDLE_WAIT.min(options.longest_wait)
    }
}

fn run(prober: &Prober<'_>) -> Outcome {
    let situations = situations(prober.dial().tls.is_some());
    prober.doing("half-closing", Instant::now() + (CHECK.plan)(prober.options).longest);
    let rounds = prober.side_by_side(situations.len() as u32, |index| {
        let half = situations[index as usize];
        match half {
            Half::ServerEnds | Half::IdleEnds => server_ends(prober, half),
            _ => half_close(prober, half),
        }
    });
    let mut outcome = judge(&rounds);
    if rounds.iter().any(|round| round.seen.fate == Fate::Stopped) || rounds.len() < situations.len() {
        outcome.status = Status::Cut("stopped before all was seen".to_owned());
    }
    outcome
}

impl Round {
    fn of(half: Half, seen: Seen) -> Round {
        Round {
            half,
            seen,
            alert: None,
            reset: None,
            until_close: false,
        }
    }
}

fn half_close(prober: &Prober<'_>, half: Half) -> Round {
    let buffers = match half {
        Half::NotSlow | Half::InAnswer => SMALL,
        _ => Buffers::default(),
    };
    let mut connection = match prober.open_with(buffers) {
        Ok(connection) => connection,
        Err(error) => return Round::of(half, Seen::unopened(&error, prober)),
    };
    let request = match half {
        Half::InBody => prober.request(Method::Post, prober.body_path()).with_body(64),
        _ => prober.get(),
    };
    let mut bytes = request.bytes();
    if half == Half::InBody {
        bytes.truncate(bytes.len() - 32);
    }
    let until = Instant::now() + prober.options.patience;
    if connection.send_all(&bytes, until).is_ok() {
        if matches!(half, Half::NotSlow | Half::InAnswer) {
            connection.hold(Instant::now() + unread_for(prober));
        }
        match half {
            Half::Not | Half::NotSlow => {}
            Half::AlertOnly => connection.close_notify(),
            Half::FinOnly => connection.half_close(),
            _ => {
                connection.close_notify();
                connection.half_close();
            }
        }
        if matches!(half, Half::NotSlow | Half::InAnswer) {
            // Time for the server to see it, before there is room for more of the answer.
            connection.hold(Instant::now() + prober.round_trip * 2 + Duration::from_millis(80));
        }
    }
    let patience = match half {
        Half::InBody => BODY_WAIT.min(prober.options.patience),
        _ => prober.options.patience,
    };
    let exchange = connection.answer(&request.method, Instant::now() + patience);
    Round::of(half, Seen::of(&mut connection, prober, &exchange))
}

/// Lets the server end first, and answers its close_notify.
fn server_ends(prober: &Prober<'_>, half: Half) -> Round {
    let mut connection = match prober.open() {
        Ok(connection) => connection,
        Err(error) => return Round::of(half, Seen::unopened(&error, prober)),
    };
    let (request, wait) = match half {
        Half::IdleEnds => (prober.get(), idle_wait(prober.options)),
        _ => (prober.get().with("Connection", "close"), CLOSE_WAIT),
    };
    let exchange = connection.exchange(&request, Writing::AtOnce, prober.options.patience);
    if exchange.is_whole() && connection.log().fin.is_none() {
        connection.watch(Instant::now() + wait);
    }
    let mut round = Round::of(half, Seen::of(&mut connection, prober, &exchange));
    round.until_close = is_until_close(&exchange);
    let log = connection.log();
    if log.fin.is_some() && log.reset.is_none() {
        round.alert = Some(log.close_notify.is_some());
        round.reset = round
            .alert
            .filter(|alert| *alert)
            .and_then(|_| answered_by_reset(prober, &mut connection));
    }
    round
}

fn answered_by_reset(prober: &Prober<'_>, connection: &mut Connection) -> Option<bool> {
    connection.close_notify();
    connection.hold(Instant::now() + Duration::from_millis(150) + prober.round_trip * 2);
    (!prober.stopped()).then(|| connection.log().hung_up.is_some())
}

fn is_until_close(exchange: &Exchange) -> bool {
    let framing = exchange.answer.as_ref().map(|answer| answer.framing);
    matches!(framing, Some(Framing::Close | Framing::Unknown))
}

fn judge(rounds: &[Round]) -> Outcome {
    let mut outcome = Outcome::default();
    let of = |half: Half| Fates::of(rounds, |round| (round.half == half).then_some(&round.seen));
    let mut dropped = Vec::new();
    for (half, control, habit, words) in [
        (
            Half::AtOnce,
            Half::Not,
            &AT_ONCE,
            "a half-close right behind the request",
        ),
        (
            Half::InAnswer,
            Half::NotSlow,
            &IN_ANSWER,
            "a half-close while the answer is under way",
        ),
        (
            Half::AlertOnly,
            Half::Not,
            &ALERT_ONLY,
            "close_notify without FIN behind the request",
        ),
        (
            Half::FinOnly,
            Half::Not,
            &FIN_ONLY,
            "FIN without close_notify behind the request",
        ),
    ] {
        let (tried, control) = (of(half), of(control));
        if tried.count() == 0 {
            continue;
        }
        let gone = tried.missing();
        let word = match gone {
            0 => "answered",
            _ if tried.that(|seen| seen.status.is_some() && !seen.is_whole()) > 0 => "cut",
            _ => "none",
        };
        outcome.saw(format!("{words}: {}; without it {}", tried.words(), control.words()));
        outcome.measure(habit, Value::Word(word));
        // An end without close_notify may be an attack: to drop the request then is prudent.
        if matches!(half, Half::AtOnce | Half::InAnswer) && gone >= 2 && control.count() >= 2 && control.missing() == 0
        {
            dropped.push((words, tried, control));
        }
    }
    outcome.risks.extend(risk(&dropped, &of(Half::FinOnly)));
    in_body(&mut outcome, &of(Half::InBody));
    ends(&mut outcome, rounds);
    outcome
}

/// What half-closes lose, where they do: with the words for each, and the controls.
fn risk(dropped: &[(&str, Fates<'_>, Fates<'_>)], fin_only: &Fates<'_>) -> Option<Risk> {
    let (words, tried, control) = dropped.first()?;
    let cut = dropped
        .iter()
        .any(|(_, tried, _)| tried.that(|seen| seen.status.is_some() && !seen.is_whole()) > 0);
    // With TLS a half-close is a record too. Where resets follow it, and none follows a bare FIN, it is that record that lay unread.
    let is_record = fin_only.count() >= 2
        && fin_only.missing() == 0
        && dropped.iter().all(|(_, tried, _)| tried.lost() == tried.missing());
    let what = if is_record {
        format!(
            "{words} is a TLS record that stays unread when the server closes, and the reset that follows cuts off the answer"
        )
    } else {
        format!("the server takes {words} for a client that has gone, and gives no whole answer")
    };
    let mut because: Vec<String> = Vec::new();
    for (words, tried, control) in dropped {
        because.push(format!("{words}: {}; without it {}", tried.words(), control.words()));
    }
    if is_record {
        because.push(format!("a FIN without close_notify: {}", fin_only.words()));
    }
    Some(Risk {
        cause: if is_record {
            "unread-tls-record"
        } else {
            "client-cancel"
        },
        what: format!("{what}: clients must half-close only behind the answer"),
        severity: Severity::Trap,
        loses: if cut { Loses::Answer } else { Loses::Outcome },
        sure: if tried.missing() + tried.reset_behind() == tried.count() && tried.count() >= 3 && control.count() >= 3 {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        because,
        remedy: Remedy::Either,
        clauses: if is_record {
            vec!["RFC 9112 §9.6", "RFC 9112 §9.8", "RFC 9293 §3.6.1"]
        } else {
            vec!["RFC 9293 §3.6.1"]
        },
    })
}

fn in_body(outcome: &mut Outcome, tried: &Fates<'_>) {
    let Some(first) = tried.0.first() else { return };
    let word = match &first.fate {
        _ if first.status.is_some() => "answer",
        Fate::Empty => "closed",
        Fate::Nothing(_) => "reset",
        _ => "kept",
    };
    let words = match (word, first.status) {
        ("answer", Some(status)) => format!("the answer {status}"),
        ("closed", _) => "a FIN and no answer".to_owned(),
        ("reset", _) => "a reset and no answer".to_owned(),
        _ => format!("nothing within {:.0} s", BODY_WAIT.as_secs_f64()),
    };
    outcome.saw(format!("a half-close in the middle of a body gets {words}"));
    outcome.measure(&IN_BODY, Value::Word(word));
}

/// How the server ends TLS.
fn ends(outcome: &mut Outcome, rounds: &[Round]) {
    for (half, habit, words) in [
        (Half::ServerEnds, &ENDS_WITH_ALERT, "after Connection: close"),
        (Half::IdleEnds, &IDLE_ENDS_WITH_ALERT, "on an idle connection"),
    ] {
        let alerts: Vec<bool> = rounds
            .iter()
            .filter(|round| round.half == half)
            .filter_map(|round| round.alert)
            .collect();
        if alerts.is_empty() {
            if rounds
                .iter()
                .any(|round| round.half == half && round.seen.fate == Fate::Open)
            {
                outcome.saw(format!("{words} it did not end TLS while that was watched"));
            }
            continue;
        }
        let with = alerts.iter().filter(|alert| **alert).count();
        outcome.measure(habit, Value::Flag(with == alerts.len()));
        outcome.saw(format!(
            "{words} its FIN has a close_notify before it in {with} of {}",
            alerts.len()
        ));
        let until_close = rounds.iter().any(|round| round.half == half && round.until_close);
        if half == Half::ServerEnds && with == 0 && alerts.len() >= 2 {
            outcome.risks.push(unannounced_end(until_close, alerts.len()));
        }
    }
    let resets: Vec<bool> = rounds.iter().filter_map(|round| round.reset).collect();
    let reset = resets.iter().filter(|reset| **reset).count();
    if resets.is_empty() {
        return;
    }
    outcome.measure(&ALERT_RESET, Value::Flag(reset > 0));
    if reset > 0 {
        outcome.risks.push(Risk {
            cause: "tls-close-notify-answer-rst",
            what: "the server closes without waiting for the client's close_notify, and a reset answers it: noise in captures and counters"
                .to_owned(),
            severity: Severity::Note,
            loses: Loses::Nothing,
            sure: if reset >= 3 { Confidence::Certain } else { Confidence::Likely },
            because: vec![format!("our close_notify behind its own was answered by a reset in {reset} of {}", resets.len())],
            remedy: Remedy::Server,
            clauses: vec!["RFC 8446 §6.1", "RFC 9112 §9.8"],
        });
    }
}

fn unannounced_end(until_close: bool, times: usize) -> Risk {
    Risk {
        cause: "incomplete-response",
        what: if until_close {
            "the server ends TLS without close_notify, and its answers end with the connection: one that is cut off on the way looks whole"
                .to_owned()
        } else {
            "the server ends TLS without close_notify: strict clients report a truncation, although the answer's length shows that it is whole"
                .to_owned()
        },
        severity: if until_close { Severity::Trap } else { Severity::Note },
        loses: if until_close { Loses::Answer } else { Loses::Nothing },
        sure: if times >= 3 {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        because: vec![format!(
            "0 of {times} FINs after Connection: close had a close_notify before them"
        )],
        remedy: Remedy::Server,
        clauses: vec!["RFC 9112 §9.8", "RFC 8446 §6.1"],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
