//! What bytes behind a request do to its answer.

use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;
use bypeer_wire::app::Method;

use super::fate::{Fate, Fates, SMALL, Seen, longest, unread_for};
use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::habit::{Habit, Tolerance, Value};
use crate::prober::{Options, Prober};

pub(super) static CHECK: Check = Check {
    id: "trailing-bytes",
    title: "what bytes behind a request do to its answer",
    manual: include_str!("trailing_bytes.md"),
    opt_in: false,
    turn: Turn::First,
    habits: &[&LINE_END, &SURPLUS, &PIPELINED, &BEHIND_CLOSE],
    plan,
    run,
};

/// A line end behind a body.
pub static LINE_END: Habit = Habit {
    name: "trailing-bytes.line-end",
    what: "the answer with a line end behind the request's body: whole, reset-behind, reset-after-fin, cut, none",
    tolerance: Tolerance::Exact,
};
/// A byte more than `Content-Length`.
pub static SURPLUS: Habit = Habit {
    name: "trailing-bytes.surplus",
    what: "the answer with one byte more than Content-Length: whole, reset-behind, reset-after-fin, cut, none",
    tolerance: Tolerance::Exact,
};
/// A second request behind the first.
pub static PIPELINED: Habit = Habit {
    name: "trailing-bytes.pipelined",
    what: "a second request behind the first: both, first-only, reset-behind, reset-after-fin, cut, none",
    tolerance: Tolerance::Exact,
};
/// A second request behind one that says close.
pub static BEHIND_CLOSE: Habit = Habit {
    name: "trailing-bytes.behind-close",
    what: "the answer to a request that says close, with another behind it: whole, reset-behind, reset-after-fin, cut, none",
    tolerance: Tolerance::Exact,
};

/// Rounds of each situation.
const ROUNDS: u32 = 3;
/// Bytes of a body that something follows.
const BODY: usize = 8;
/// How late the bytes behind are, where they come in a write of their own.
const LATE: Duration = Duration::from_millis(20);
const SITUATIONS: [Behind; 7] = [
    Behind::NothingBehindBody,
    Behind::LineEnd,
    Behind::Surplus,
    Behind::NothingBehindGet,
    Behind::Pipelined,
    Behind::NothingBehindClose,
    Behind::SaidClose,
];

/// What lies behind the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// Control: a POST with a body.
    NothingBehindBody,
    /// CR LF behind that, as old clients send it.
    LineEnd,
    /// One byte more.
    Surplus,
    /// Control: a GET.
    NothingBehindGet,
    /// A second GET behind that.
    Pipelined,
    /// Control: a GET that says close.
    NothingBehindClose,
    /// A second GET behind that.
    SaidClose,
}

#[derive(Debug)]
struct Round {
    behind: Behind,
    /// The bytes behind came in a write of their own.
    apart: bool,
    seen: Seen,
    /// The answer to the second request, where one was sent and the first came whole.
    second: Option<Seen>,
}

/// Each with its control, in one write and in two.
fn rounds() -> Vec<(Behind, bool)> {
    let one = SITUATIONS.into_iter().map(|behind| (behind, false));
    let two = SITUATIONS
        .into_iter()
        .filter(|behind| !behind.is_control())
        .map(|behind| (behind, true));
    let each: Vec<(Behind, bool)> = one.chain(two).collect();
    each.iter()
        .copied()
        .cycle()
        .take(each.len() * ROUNDS as usize)
        .collect()
}

impl Behind {
    fn is_control(self) -> bool {
        matches!(
            self,
            Behind::NothingBehindBody | Behind::NothingBehindGet | Behind::NothingBehindClose
        )
    }
}

fn plan(options: &Options) -> Plan {
    let connections = rounds().len() as u32;
    let one = longest(options, 2);
    Plan {
        what: format!(
            "sends {connections} requests with a line end, a byte or a second request behind them, or nothing; leaves the answers unread for \
             a moment"
        ),
        connections,
        requests: connections + ROUNDS * 4,
        longest: if options.serial == Some(true) {
            one * connections
        } else {
            one * connections.div_ceil(options.at_once.max(1))
        },
    }
}

fn run(prober: &Prober<'_>) -> Outcome {
    let all = rounds();
    prober.doing(
        "sending more than a request",
        Instant::now() + (CHECK.plan)(prober.options).longest,
    );
    let rounds = prober.side_by_side(all.len() as u32, |index| {
        let (behind, apart) = all[index as usize];
        send(prober, behind, apart)
    });
    let mut outcome = judge(&rounds);
    if rounds.iter().any(|round| round.seen.fate == Fate::Stopped) || rounds.len() < all.len() {
        outcome.status = Status::Cut("stopped before all requests were sent".to_owned());
    }
    outcome
}

fn send(prober: &Prober<'_>, behind: Behind, apart: bool) -> Round {
    let mut round = Round {
        behind,
        apart,
        seen: Seen::without_answer(Fate::Stopped),
        second: None,
    };
    let mut connection = match prober.open_with(SMALL) {
        Ok(connection) => connection,
        Err(error) => {
            round.seen = Seen::unopened(&error, prober);
            return round;
        }
    };
    let first = match behind {
        Behind::NothingBehindBody | Behind::LineEnd | Behind::Surplus => {
            prober.request(Method::Post, prober.body_path()).with_body(BODY)
        }
        Behind::NothingBehindGet | Behind::Pipelined => prober.get(),
        Behind::NothingBehindClose | Behind::SaidClose => prober.get().with("Connection", "close"),
    };
    let until = Instant::now() + prober.options.patience;
    let mut bytes = first.bytes();
    let more = match behind {
        Behind::LineEnd => b"\r\n".to_vec(),
        Behind::Surplus => b"x".to_vec(),
        Behind::Pipelined | Behind::SaidClose => prober.get().bytes(),
        Behind::NothingBehindBody | Behind::NothingBehindGet | Behind::NothingBehindClose => Vec::new(),
    };
    let sent = if apart {
        connection.send_all(&bytes, until).and_then(|()| {
            connection.hold(Instant::now() + LATE);
            connection.send_all(&more, until)
        })
    } else {
        bytes.extend_from_slice(&more);
        connection.send_all(&bytes, until)
    };
    if sent.is_ok() {
        connection.hold(Instant::now() + unread_for(prober));
    }
    if behind != Behind::Pipelined {
        round.seen = Seen::read(&mut connection, prober, &first.method);
        return round;
    }
    let exchange = connection.answer(&first.method, Instant::now() + prober.options.patience);
    if !exchange.is_whole() {
        round.seen = Seen::of(&mut connection, prober, &exchange);
        return round;
    }
    // What comes behind the first is the second, or an end.
    let second = connection.answer(&Method::Get, Instant::now() + prober.options.patience);
    let second = Seen::of(&mut connection, prober, &second);
    round.seen = Seen::whole(
        &exchange,
        match &second.fate {
            Fate::Nothing(_) if connection.log().fin.is_some() => Fate::ResetAfterFin,
            Fate::Nothing(_) => Fate::ResetBehind(Duration::ZERO),
            Fate::Empty if connection.log().reset.is_some() => Fate::ResetAfterFin,
            Fate::Empty => Fate::Fin,
            Fate::Stopped => Fate::Stopped,
            _ => Fate::Open,
        },
    );
    round.second = Some(second);
    round
}

fn judge(rounds: &[Round]) -> Outcome {
    let mut outcome = Outcome::default();
    for (behind, control, habit, words) in [
        (
            Behind::LineEnd,
            Behind::NothingBehindBody,
            &LINE_END,
            "a line end behind the body",
        ),
        (
            Behind::Surplus,
            Behind::NothingBehindBody,
            &SURPLUS,
            "one byte more than Content-Length",
        ),
        (
            Behind::Pipelined,
            Behind::NothingBehindGet,
            &PIPELINED,
            "a second request behind the first",
        ),
        (
            Behind::SaidClose,
            Behind::NothingBehindClose,
            &BEHIND_CLOSE,
            "a request behind one that says close",
        ),
    ] {
        let of = |behind: Behind, apart: Option<bool>| {
            let mine = move |round: &Round| round.behind == behind && apart.is_none_or(|apart| round.apart == apart);
            Fates::of(rounds, move |round| mine(round).then_some(&round.seen))
        };
        let (tried, control) = (of(behind, None), of(control, None));
        if tried.count() == 0 {
            continue;
        }
        let seconds: Vec<&Seen> = rounds
            .iter()
            .filter(|round| round.behind == behind)
            .filter_map(|round| round.second.as_ref())
            .collect();
        let word = word(&tried, &seconds, behind == Behind::Pipelined);
        let told = |fates: &Fates<'_>| {
            let cut = fates
                .cut_words()
                .map_or_else(String::new, |words| format!(" ({words})"));
            format!("{}{cut}", fates.words())
        };
        let [one, two] = [false, true].map(|apart| of(behind, Some(apart)));
        outcome.saw(format!(
            "{words}: in the same write {}; {} ms later {}; without it {}{}",
            told(&one),
            LATE.as_millis(),
            told(&two),
            control.words(),
            also(&seconds)
        ));
        outcome.measure(habit, Value::Word(word));
        if !control.are_well(2) {
            outcome
                .saw("  it is not well without that either: what that is, such bytes do not tell; see close-manners");
        } else {
            outcome
                .risks
                .extend(risk(behind, words, [&one, &two], &tried, &control));
        }
    }
    outcome
}

fn word(tried: &Fates<'_>, seconds: &[&Seen], pipelined: bool) -> &'static str {
    let answered = seconds.iter().filter(|second| second.is_whole()).count();
    let after_fin = tried.that(|seen| seen.fate == Fate::ResetAfterFin);
    match (
        tried.lost(),
        tried.reset_behind(),
        after_fin,
        tried.that(Seen::is_whole),
    ) {
        (1.., _, _, _) => "cut",
        (_, 1.., _, _) => "reset-behind",
        (_, _, 1.., _) => "reset-after-fin",
        (_, _, _, 0) => "none",
        _ if !pipelined => "whole",
        _ if answered == tried.count() => "both",
        _ => "first-only",
    }
}

/// What became of second requests.
fn also(seconds: &[&Seen]) -> String {
    if seconds.is_empty() {
        return String::new();
    }
    let answered = seconds.iter().filter(|second| second.is_whole()).count();
    format!("; the second was answered in {answered} of {}", seconds.len())
}

fn risk(
    behind: Behind,
    words: &str,
    by_write: [&Fates<'_>; 2],
    tried: &Fates<'_>,
    control: &Fates<'_>,
) -> Option<Risk> {
    let hit = |fates: &Fates<'_>| fates.lost() + fates.reset_behind();
    let [in_write, late] = by_write;
    // One alone may be something else that ended in that moment.
    if hit(tried) < 2 {
        return None;
    }
    // What comes later may meet a closed socket: that is the risk of whoever sends behind a request that says close.
    let only_late = hit(in_write) == 0;
    if only_late && behind == Behind::SaidClose {
        return None;
    }
    let advice = match behind {
        Behind::LineEnd => "clients must not send one",
        Behind::Surplus => "clients must send what they declare",
        Behind::Pipelined => "clients must not pipeline to it",
        _ => "clients must not send behind a request that says close",
    };
    let lost = tried.lost() > 0;
    let how = if only_late {
        "that comes a little later finds the server closing or closed"
    } else {
        "stays unread when the server closes"
    };
    let effect = if lost {
        "the reset that follows cuts off the answer to the first".to_owned()
    } else {
        format!(
            "a reset follows the answer, whose {} bytes came whole here; a larger one, or one on a path that loses packets, would not",
            tried.size()
        )
    };
    let always = by_write
        .iter()
        .any(|fates| fates.count() >= 3 && hit(fates) == fates.count());
    Some(Risk {
        cause: if only_late {
            "late-data-after-close"
        } else {
            "unread-trailing-bytes"
        },
        what: format!("{words} {how}, and {effect}: {advice}; a server that closes in stages loses nothing"),
        severity: Severity::Trap,
        loses: if lost { tried.loses() } else { Loses::Answer },
        sure: if always && control.count() >= 3 {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        because: vec![
            format!("with it in the same write: {}", in_write.words()),
            format!("with it {} ms later: {}", LATE.as_millis(), late.words()),
            format!("without it: 0 of {} reset", control.count()),
        ],
        remedy: Remedy::Either,
        clauses: match behind {
            Behind::LineEnd => vec!["RFC 9112 §9.6", "RFC 9112 §2.2", "RFC 9293 §3.6.1"],
            Behind::Surplus => vec!["RFC 9112 §9.6", "RFC 9112 §6.3", "RFC 9293 §3.6.1"],
            _ => vec!["RFC 9112 §9.6", "RFC 9112 §9.3.2", "RFC 9293 §3.6.1"],
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
