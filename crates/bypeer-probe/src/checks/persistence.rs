//! Whether connections persist after each kind of answer, and whether what the answer says of that is done.

mod attempt;
mod cases;

use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;

use self::attempt::{Attempt, Word, attempt};
use self::cases::{CASES, Case, Kind};
use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::habit::{Habit, Tolerance, Value};
use crate::prober::{Options, Prober};

pub(super) static CHECK: Check = Check {
    id: "persistence",
    title: "whether connections persist, and whether answers say so truly",
    manual: include_str!("persistence.md"),
    opt_in: false,
    turn: Turn::Together,
    habits: &[
        &BY_DEFAULT,
        &CLOSE,
        &KEEP_ALIVE,
        &HTTP10,
        &HTTP10_KEEP_ALIVE,
        &HEAD,
        &NOT_MODIFIED,
        &OPTIONS,
        &NOT_FOUND,
        &UNKNOWN_METHOD,
        &UNKNOWN_EXPECT,
    ],
    plan,
    run,
};

const fn habit(name: &'static str, what: &'static str) -> Habit {
    Habit {
        name,
        what,
        tolerance: Tolerance::Exact,
    }
}

/// After a plain HTTP/1.1 request.
pub static BY_DEFAULT: Habit = habit("persistence.default", "after HTTP/1.1 without Connection");
/// After `Connection: close`.
pub static CLOSE: Habit = habit("persistence.close", "after HTTP/1.1 with Connection: close");
/// After `Connection: keep-alive`.
pub static KEEP_ALIVE: Habit = habit("persistence.keep-alive", "after HTTP/1.1 with Connection: keep-alive");
/// After HTTP/1.0.
pub static HTTP10: Habit = habit("persistence.http10", "after HTTP/1.0");
/// After HTTP/1.0 with `Connection: keep-alive`.
pub static HTTP10_KEEP_ALIVE: Habit = habit(
    "persistence.http10-keep-alive",
    "after HTTP/1.0 with Connection: keep-alive",
);
/// After HEAD.
pub static HEAD: Habit = habit("persistence.head", "after HEAD");
/// After a conditional GET.
pub static NOT_MODIFIED: Habit = habit("persistence.not-modified", "after a conditional GET (304)");
/// After OPTIONS.
pub static OPTIONS: Habit = habit("persistence.options", "after OPTIONS");
/// After a path that nobody has.
pub static NOT_FOUND: Habit = habit("persistence.not-found", "after a path that nobody has");
/// After an unknown method.
pub static UNKNOWN_METHOD: Habit = habit("persistence.unknown-method", "after an unknown method");
/// After an unknown `Expect`.
pub static UNKNOWN_EXPECT: Habit = habit("persistence.unknown-expect", "after an unknown Expect");

/// Rounds: one for each kind of request, and more for what looks wrong.
const ROUNDS: u32 = 3;

fn plan(options: &Options) -> Plan {
    let connections = CASES.len() as u32 * ROUNDS;
    Plan {
        what: format!(
            "sends {} kinds of requests over a connection each, and another request after it; up to {ROUNDS} times where something is amiss",
            CASES.len()
        ),
        connections,
        requests: connections * 2,
        // Each round waits for an answer, for the end of the connection, and for another answer; one at a time, that adds up.
        longest: options.patience
            * 3
            * if options.serial == Some(true) {
                connections
            } else {
                ROUNDS
            },
    }
}

fn run(prober: &Prober<'_>) -> Outcome {
    let cases: Vec<(usize, &Case)> = CASES.iter().enumerate().collect();
    let mut attempts: Vec<Vec<Attempt>> = vec![Vec::new(); cases.len()];
    let mut left = cases;
    for _ in 0..ROUNDS {
        prober.doing("one request of each kind", Instant::now() + prober.options.patience * 3);
        let tried = prober.side_by_side(left.len() as u32, |index| {
            let (place, case) = left[index as usize];
            (case.request)(prober).map(|request| (place, attempt(prober, case, &request)))
        });
        for (place, attempt) in tried.into_iter().flatten() {
            attempts[place].push(attempt);
        }
        // What is as it should be needs no second look; the plain request is the control of all others.
        let plain = attempts[0].first().map(|attempt| attempt.word);
        left = CASES
            .iter()
            .enumerate()
            .filter(|(place, case)| {
                let word = attempts[*place].first().map(|attempt| attempt.word);
                word.is_some_and(|word| case.kind == Kind::Plain || !word.is_well() && Some(word) != plain)
            })
            .collect();
        if left.len() <= 1 || prober.stopped() {
            break;
        }
    }
    judge(prober, &attempts)
}

/// What all attempts agree in.
fn agreed(attempts: &[Attempt]) -> Option<Word> {
    let word = attempts.first()?.word;
    attempts.iter().all(|attempt| attempt.word == word).then_some(word)
}

fn judge(prober: &Prober<'_>, attempts: &[Vec<Attempt>]) -> Outcome {
    let mut outcome = Outcome::default();
    let plain = agreed(&attempts[0]);
    let mut wrong: Vec<(&Case, &[Attempt], Word)> = Vec::new();
    for (case, attempts) in CASES.iter().zip(attempts) {
        let told: Vec<Attempt> = attempts
            .iter()
            .filter(|attempt| attempt.word != Word::Stopped)
            .cloned()
            .collect();
        if told.len() < attempts.len() {
            outcome.status = Status::Cut("stopped before every kind was asked".to_owned());
        }
        let Some(first) = told.first() else { continue };
        match agreed(&told) {
            Some(word) => {
                outcome.saw(format!("{}: {}", case.words, first.tell()));
                outcome.measure(case.habit, Value::Word(word.name()));
                if !word.is_well() && attempts.len() == told.len() {
                    wrong.push((case, attempts, word));
                }
            }
            None => {
                let each: Vec<String> = told.iter().map(Attempt::tell).collect();
                outcome.saw(format!("{}: it varies: {}", case.words, each.join("; ")));
                outcome.measure(case.habit, Value::Word("varies"));
            }
        }
    }
    for (word, risk) in RISKS {
        let of: Vec<(&Case, &[Attempt])> = wrong
            .iter()
            .filter(|(.., found)| found == word)
            .map(|(case, attempts, _)| (*case, *attempts))
            .collect();
        if !of.is_empty() {
            outcome.risks.extend(risk(prober, plain, &of));
        }
    }
    outcome
}

/// What a word means, for the cases that show it.
type Judge = fn(&Prober<'_>, Option<Word>, &[(&Case, &[Attempt])]) -> Option<Risk>;

const RISKS: &[(Word, Judge)] = &[
    (Word::Surplus, surplus),
    (Word::ClosedThoughKeepAlive, closed_though_keep_alive),
    (Word::ClosedUnannounced, closed_unannounced),
    (Word::OpenThoughClose, open_though_close),
    (Word::ClosedLate, closed_late),
    (Word::NoAnswer, no_answer),
];

/// "after HEAD: HTTP/1.1 200, …" for each case.
fn because(of: &[(&Case, &[Attempt])]) -> Vec<String> {
    of.iter()
        .map(|(case, attempts)| {
            format!(
                "{}, {} of {} times: {}",
                case.words,
                attempts.len(),
                attempts.len(),
                attempts.first().map(Attempt::tell).unwrap_or_default()
            )
        })
        .collect()
}

fn names(of: &[(&Case, &[Attempt])]) -> String {
    of.iter().map(|(case, _)| case.words).collect::<Vec<_>>().join(", ")
}

/// Certain only where each case was repeated.
fn sure(of: &[(&Case, &[Attempt])]) -> Confidence {
    if of.iter().all(|(_, attempts)| attempts.len() as u32 >= ROUNDS) {
        Confidence::Certain
    } else {
        Confidence::Likely
    }
}

fn surplus(_: &Prober<'_>, plain: Option<Word>, of: &[(&Case, &[Attempt])]) -> Option<Risk> {
    let mut because = because(of);
    if plain == Some(Word::Kept) {
        because.push("after a plain GET nothing is left over".to_owned());
    }
    Some(Risk {
        cause: "desync-unsolicited-response",
        what: format!(
            "{}: the server sends more than the answer holds; a client that goes on takes it for the next answer",
            names(of)
        ),
        severity: Severity::Fault,
        loses: Loses::Identity,
        sure: sure(of),
        because,
        remedy: Remedy::Server,
        clauses: vec!["RFC 9112 §6.3", "RFC 9112 §9.2"],
    })
}

fn closed_though_keep_alive(_: &Prober<'_>, plain: Option<Word>, of: &[(&Case, &[Attempt])]) -> Option<Risk> {
    Some(Risk {
        cause: "unannounced-close-each-response",
        what: format!(
            "{}: the answer says Connection: keep-alive, and the server closes: the next request is sent into the close",
            names(of)
        ),
        severity: Severity::Fault,
        loses: Loses::Outcome,
        sure: sure(of),
        because: because(of),
        remedy: Remedy::Either,
        clauses: vec!["RFC 9112 §9.3", "RFC 9112 §9.6"],
    })
    // Where even the plain answer is followed by a close that nobody announced, that has been said by the check of idle limits.
    .filter(|_| plain != Some(Word::ClosedUnannounced))
}

fn closed_unannounced(prober: &Prober<'_>, plain: Option<Word>, of: &[(&Case, &[Attempt])]) -> Option<Risk> {
    // Later, an idle limit that is very short could be what closed.
    let at_once = of
        .iter()
        .flat_map(|(_, attempts)| attempts.iter())
        .all(|attempt| attempt.after.is_some_and(|after| after <= soon(prober)));
    let control = match plain {
        Some(Word::Kept) => "after a plain GET the connection is kept",
        Some(Word::ClosedAnnounced) => "the answer to a plain GET says that the connection will be closed",
        _ => return None,
    };
    let mut because = because(of);
    because.push(control.to_owned());
    at_once.then(|| Risk {
        cause: "keepalive-race-unannounced-close",
        what: format!(
            "{}: the server closes, and the answer does not say so: a client that keeps the connection sends its next request into the \
             close",
            names(of)
        ),
        severity: if of.iter().any(|(case, _)| case.kind == Kind::Everyday) {
            Severity::Fault
        } else {
            // No client meets it.
            Severity::Note
        },
        loses: Loses::Outcome,
        sure: sure(of),
        because,
        remedy: Remedy::Either,
        clauses: vec!["RFC 9112 §9.6", "RFC 9112 §9.3"],
    })
}

fn open_though_close(prober: &Prober<'_>, _: Option<Word>, of: &[(&Case, &[Attempt])]) -> Option<Risk> {
    Some(Risk {
        cause: "keepalive-race-announced-close",
        what: format!(
            "{}: the connection has to be closed, and the server leaves it open: a client that waits for its end waits for {:.0} s or \
             longer",
            names(of),
            attempt::patience(prober).as_secs_f64()
        ),
        severity: Severity::Trap,
        loses: Loses::Nothing,
        sure: sure(of),
        because: because(of),
        remedy: Remedy::Server,
        clauses: vec!["RFC 9112 §9.6"],
    })
}

fn closed_late(_: &Prober<'_>, _: Option<Word>, of: &[(&Case, &[Attempt])]) -> Option<Risk> {
    let longest = of
        .iter()
        .flat_map(|(_, attempts)| attempts.iter().filter_map(|attempt| attempt.after))
        .max()
        .unwrap_or_default();
    Some(Risk {
        cause: "keepalive-race-announced-close",
        what: format!(
            "{}: the connection has to be closed, and the server does so late: a client that waits for its end waits for {:.1} s",
            names(of),
            longest.as_secs_f64()
        ),
        severity: Severity::Note,
        loses: Loses::Nothing,
        sure: sure(of),
        because: because(of),
        remedy: Remedy::Server,
        clauses: vec!["RFC 9112 §9.6"],
    })
}

/// Only for what clients do send.
fn no_answer(_: &Prober<'_>, plain: Option<Word>, of: &[(&Case, &[Attempt])]) -> Option<Risk> {
    let everyday: Vec<(&Case, &[Attempt])> = of
        .iter()
        .copied()
        .filter(|(case, _)| case.kind == Kind::Everyday)
        .collect();
    if everyday.is_empty() || !matches!(plain, Some(Word::Kept | Word::ClosedAnnounced)) {
        return None;
    }
    let mut because = because(&everyday);
    because.push("a plain GET is answered".to_owned());
    Some(Risk {
        cause: "upstream-no-response-close",
        what: format!("{}: the server closes without an answer", names(&everyday)),
        severity: Severity::Trap,
        loses: Loses::Outcome,
        sure: sure(&everyday),
        because,
        remedy: Remedy::Server,
        clauses: vec!["RFC 9112 §9.3"],
    })
}

/// How long an end is awaited that may follow an answer at once.
fn soon(prober: &Prober<'_>) -> Duration {
    Duration::from_millis(300) + prober.round_trip * 4
}

#[cfg(test)]
mod tests;
