//! Whether an answer that comes before the end of a large upload arrives.

use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;
use bypeer_wire::app::Method;

use super::fate::{Fate, Fates, Seen, longest};
use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::connection::{Broken, Buffers, Connection, Step};
use crate::habit::{Habit, Tolerance, Value};
use crate::http::{AnswerReader, Fed, Request};
use crate::prober::{NOBODYS_PATH, Options, Prober};

pub(super) static CHECK: Check = Check {
    id: "early-answer",
    title: "whether an answer to a large upload arrives when it comes early",
    manual: include_str!("early_answer.md"),
    opt_in: false,
    turn: Turn::Together,
    habits: &[
        &STATUS,
        &EARLY,
        &LOST_WRITES_ON,
        &LOST_WATCHES,
        &EXPECT,
        &TAKES,
        &ENDS_BY,
        &LINGERS,
    ],
    plan,
    run,
};

/// What the upload is answered with.
pub static STATUS: Habit = Habit {
    name: "early-answer.status",
    what: "status of the answer to a large upload",
    tolerance: Tolerance::Exact,
};
/// Whether the answer comes before all was sent.
pub static EARLY: Habit = Habit {
    name: "early-answer.early",
    what: "the answer comes before the upload is over",
    tolerance: Tolerance::Exact,
};
/// Answers that a client that writes to the end cannot read.
pub static LOST_WRITES_ON: Habit = Habit {
    name: "early-answer.lost-writes-on",
    what: "answers lost to a client that writes to the end and reads only then",
    tolerance: Tolerance::Never,
};
/// Answers that a client that reads while it writes does not get.
pub static LOST_WATCHES: Habit = Habit {
    name: "early-answer.lost-watches",
    what: "answers lost to a client that reads while it writes, and stops at the answer",
    tolerance: Tolerance::Never,
};
/// What `Expect: 100-continue` is answered with.
pub static EXPECT: Habit = Habit {
    name: "early-answer.expect",
    what: "what Expect: 100-continue gets: continue, final, silence",
    tolerance: Tolerance::Exact,
};
/// How much is taken after the answer.
pub static TAKES: Habit = Habit {
    name: "early-answer.takes",
    what: "bytes of the upload that the server takes after its answer",
    tolerance: Tolerance::Never,
};
/// How the server ends it when the client stops at the answer.
pub static ENDS_BY: Habit = Habit {
    name: "early-answer.ends-by",
    what: "how it ends when the client stops at the answer: fin, fin-reset, reset, kept",
    tolerance: Tolerance::Exact,
};
/// How long after its answer.
pub static LINGERS: Habit = Habit {
    name: "early-answer.ends-after",
    what: "how long after the answer it does",
    tolerance: Tolerance::Within(Duration::from_millis(1100), 0.1),
};

/// Rounds of each way.
const ROUNDS: u32 = 3;
/// Clients that wait for 100 wait about so long: curl does.
const EXPECT_WAIT: Duration = Duration::from_secs(1);
/// How long a stopped upload is watched at most.
const STOPPED_WATCH: Duration = Duration::from_secs(8);
/// "Sent" means that it is with the server, but for so much.
const SEND_BUFFER: Buffers = Buffers {
    receive: None,
    send: Some(32 << 10),
};
/// How the upload is done. The first is the control.
const WAYS: [Way; 5] = [Way::Without, Way::WritesOn, Way::Watches, Way::HalfCloses, Way::Expects];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// No body: the control.
    Without,
    /// Writes to the end, or to the error, and reads only then.
    WritesOn,
    /// Reads while it writes, stops writing at the answer, and waits.
    Watches,
    /// The same, and half-closes then.
    HalfCloses,
    /// Asks with `Expect: 100-continue`, and stops at a final answer.
    Expects,
}

/// One upload.
#[derive(Debug)]
struct Round {
    way: Way,
    seen: Seen,
    /// Body bytes handed to the kernel before the answer's head was here; `None` where it did not come.
    before: Option<usize>,
    /// Body bytes handed to the kernel in all.
    sent: usize,
    /// What `Expect` got, and how soon.
    expect: Option<(Expectation, Duration)>,
    /// FIN and reset, counted from the answer's end, where the client stopped there.
    fin: Option<Duration>,
    reset: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    Continue,
    Final,
    Silence,
}

fn plan(options: &Options) -> Plan {
    let connections = ROUNDS * WAYS.len() as u32;
    let uploads = ROUNDS as usize * (WAYS.len() - 1);
    let one = longest(options, 1) + stopped_watch(options);
    Plan {
        what: format!(
            "POSTs {uploads} bodies of {:.1} MiB ({:.0} MiB in all at most) to {}, with clients that write on, watch, half-close or ask first",
            options.upload_size as f64 / f64::from(1 << 20),
            (uploads * options.upload_size) as f64 / f64::from(1 << 20),
            if options.upload_path.is_some() {
                "--upload-path"
            } else {
                "a path that nobody has"
            }
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
    let count = ROUNDS * WAYS.len() as u32;
    prober.doing("uploading", Instant::now() + (CHECK.plan)(prober.options).longest);
    let rounds = prober.side_by_side(count, |index| upload(prober, WAYS[index as usize % WAYS.len()]));
    let mut outcome = judge(prober, &rounds);
    if rounds.iter().any(|round| round.seen.fate == Fate::Stopped) || rounds.len() < count as usize {
        outcome.status = Status::Cut("stopped before all uploads were done".to_owned());
    }
    outcome
}

/// How long a stopped upload is watched.
fn stopped_watch(options: &Options) -> Duration {
    STOPPED_WATCH.min(options.patience)
}

fn path(options: &Options) -> &str {
    options.upload_path.as_deref().unwrap_or(NOBODYS_PATH)
}

fn upload(prober: &Prober<'_>, way: Way) -> Round {
    let mut round = Round {
        way,
        seen: Seen::without_answer(Fate::Stopped),
        before: None,
        sent: 0,
        expect: None,
        fin: None,
        reset: None,
    };
    let mut connection = match prober.open_with(SEND_BUFFER) {
        Ok(connection) => connection,
        Err(error) => {
            round.seen = Seen::unopened(&error, prober);
            return round;
        }
    };
    let request = prober.request(Method::Post, path(prober.options));
    let request = match way {
        Way::Without => request.with_body(0),
        Way::Expects => request
            .with("Expect", "100-continue")
            .with_body(prober.options.upload_size),
        _ => request.with_body(prober.options.upload_size),
    };
    let until = Instant::now() + prober.options.patience;
    match way {
        Way::Without => {
            let _ = connection.send_all(&request.head(), until);
            round.seen = Seen::read(&mut connection, prober, &Method::Post);
        }
        Way::WritesOn => {
            let head = request.head().len();
            // What comes stays unread until all is sent, or cannot be.
            let _ = connection.send_all(&request.bytes(), until);
            round.sent = (connection.log().sent as usize).saturating_sub(head);
            let failed = connection.log().send_failed.map(|(_, broken)| broken);
            round.seen = Seen::read(&mut connection, prober, &Method::Post);
            round.seen.send_failed = failed;
        }
        Way::Watches | Way::HalfCloses => {
            let body = request.body.as_deref().unwrap_or_default();
            if connection.send_all(&request.head(), until).is_ok() {
                write_watching(&mut connection, &mut round, body, until);
            }
            finish(prober, &mut connection, &mut round);
        }
        Way::Expects => {
            expect(&mut connection, &mut round, &request, until);
            finish(prober, &mut connection, &mut round);
        }
    }
    round
}

/// Sends the body, and stops as soon as the head of an answer is here, or sending fails.
fn write_watching(connection: &mut Connection, round: &mut Round, body: &[u8], until: Instant) {
    let mut reader = AnswerReader::new(&Method::Post);
    let mut held = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        match connection.step(rest, until) {
            Step::Sent(sent) => {
                rest = &rest[sent..];
                round.sent += sent;
            }
            Step::Received(_) => {
                let bytes = connection.take();
                let fed = reader.feed(&bytes, Instant::now());
                held.extend_from_slice(&bytes);
                if reader.has_head() {
                    round.before = Some(round.sent);
                    break;
                }
                if fed == Fed::NotHttp {
                    break;
                }
            }
            _ => break,
        }
    }
    connection.put_back(&held);
}

/// Sends a head that asks for leave, waits for an answer as clients do, and sends the body unless a final one came.
fn expect(connection: &mut Connection, round: &mut Round, request: &Request, until: Instant) {
    if connection.send_all(&request.head(), until).is_err() {
        return;
    }
    let asked = Instant::now();
    let wait = (asked + EXPECT_WAIT).min(until);
    let mut reader = AnswerReader::new(&Method::Post);
    let mut held = Vec::new();
    let mut has_final = false;
    let expectation = loop {
        match connection.step(&[], wait) {
            Step::Received(_) => {
                let bytes = connection.take();
                let fed = reader.feed(&bytes, Instant::now());
                held.extend_from_slice(&bytes);
                if fed == Fed::NotHttp {
                    break None;
                }
                if reader.has_interim() {
                    break Some(Expectation::Continue);
                }
                if reader.has_head() {
                    // An interim answer that came together with it counts: leave was given, and then not waited for.
                    has_final = true;
                    let interim = reader.finish().is_some_and(|answer| !answer.interim.is_empty());
                    break Some(if interim {
                        Expectation::Continue
                    } else {
                        Expectation::Final
                    });
                }
            }
            Step::TimedOut => break Some(Expectation::Silence),
            _ => break None,
        }
    };
    round.expect = expectation.map(|expectation| (expectation, asked.elapsed()));
    connection.put_back(&held);
    if !has_final && expectation.is_some() {
        // Interim answers are read with the final one.
        let held = connection.take();
        write_watching(connection, round, request.body.as_deref().unwrap_or_default(), until);
        connection.put_back(&held);
    }
}

/// Reads the answer; where the upload stopped at it, waits for the server's end.
fn finish(prober: &Prober<'_>, connection: &mut Connection, round: &mut Round) {
    let all_sent = round.sent >= prober.options.upload_size;
    let exchange = connection.answer(&Method::Post, Instant::now() + prober.options.patience);
    let last = connection.log().last_received.unwrap_or_else(Instant::now);
    if round.way == Way::HalfCloses && !all_sent {
        connection.half_close();
    }
    round.seen = Seen::of(connection, prober, &exchange);
    round.seen.send_failed = connection.log().send_failed.map(|(_, broken)| broken);
    if !round.seen.is_whole() || all_sent {
        return;
    }
    if round.way == Way::Watches && connection.log().reset.is_none() {
        connection.afterwards((last + stopped_watch(prober.options)).max(Instant::now()));
    }
    let since = |at: Instant| at.saturating_duration_since(last);
    round.fin = connection.log().fin.map(since);
    round.reset = connection.log().reset.map(|(at, _)| since(at));
    if prober.stopped() {
        round.seen.fate = Fate::Stopped;
    }
}

fn judge(prober: &Prober<'_>, rounds: &[Round]) -> Outcome {
    let mut outcome = Outcome::default();
    let by = |way: Way| Fates::of(rounds, |round| (round.way == way).then_some(&round.seen));
    let [without, writes_on, watches, half_closes, expects] = WAYS.map(by);
    if writes_on.count() + watches.count() == 0 {
        return outcome;
    }
    let status = [&watches, &expects, &writes_on].iter().find_map(|fates| fates.status());
    let early: Vec<&Round> = rounds
        .iter()
        .filter(|round| round.way == Way::Watches && round.before.is_some())
        .collect();
    if let Some(status) = status {
        outcome.measure(&STATUS, Value::Count(u64::from(status)));
    }
    let is_early = !early.is_empty();
    if watches.that(|seen| seen.status.is_some()) > 0 {
        outcome.measure(&EARLY, Value::Flag(is_early));
    }
    let size = prober.options.upload_size as f64 / f64::from(1 << 20);
    let named = status.map_or_else(|| "no answer".to_owned(), |status| format!("answer {status}"));
    outcome.saw(match early.iter().filter_map(|round| round.before).max() {
        Some(before) => format!(
            "{named} to an upload of {size:.1} MiB, after {} KiB of it at most: it is early",
            before >> 10
        ),
        None => format!("{named} to an upload of {size:.1} MiB, not before all of it was sent"),
    });
    for (words, fates) in [
        ("a client that writes to the end and reads only then", &writes_on),
        ("one that reads while it writes and stops at the answer", &watches),
        ("one that half-closes then", &half_closes),
        ("one that asks with Expect: 100-continue", &expects),
    ] {
        if fates.count() > 0 {
            let failed = fates.that(|seen| seen.send_failed.is_some());
            let failed = if failed > 0 {
                format!("; sending failed in {failed}")
            } else {
                String::new()
            };
            let cut = fates
                .cut_words()
                .map_or_else(String::new, |words| format!(" ({words})"));
            outcome.saw(format!("{words}: {}{cut}{failed}", fates.words()));
        }
    }
    expectations(&mut outcome, rounds);
    if is_early {
        endings(&mut outcome, rounds, stopped_watch(prober.options));
    }
    let share = |fates: &Fates<'_>| Value::Share {
        of: fates.count() as u64,
        had: fates.lost() as u64,
    };
    outcome.measure(&LOST_WRITES_ON, share(&writes_on));
    outcome.measure(&LOST_WATCHES, share(&watches));
    if without.are_well(2) {
        outcome
            .risks
            .extend(risk(status, &without, &writes_on, &watches, &half_closes, &expects));
    } else if without.count() > 0 {
        outcome.saw("the same request without a body is not well either: what that is, an upload does not tell; see close-manners");
    }
    outcome
}

/// What `Expect` got.
fn expectations(outcome: &mut Outcome, rounds: &[Round]) {
    let got: Vec<(Expectation, Duration)> = rounds.iter().filter_map(|round| round.expect).collect();
    let Some((first, _)) = got.first() else { return };
    let same = got.iter().all(|(expectation, _)| expectation == first);
    let after = got
        .iter()
        .map(|(_, after)| *after)
        .max()
        .unwrap_or_default()
        .as_millis();
    let (word, line) = match first {
        Expectation::Continue => ("continue", format!("Expect: 100-continue gets 100 within {after} ms")),
        Expectation::Final => (
            "final",
            format!("Expect: 100-continue gets a final answer within {after} ms, before any of the body"),
        ),
        Expectation::Silence => (
            "silence",
            format!(
                "Expect: 100-continue gets nothing within {} ms: clients that wait for it lose that time",
                EXPECT_WAIT.as_millis()
            ),
        ),
    };
    if same {
        outcome.measure(&EXPECT, Value::Word(word));
        outcome.saw(line);
    } else {
        outcome.saw("Expect: 100-continue gets now this, now that");
    }
}

/// How the server ends a connection whose upload stopped, and how much it takes of one that does not.
fn endings(outcome: &mut Outcome, rounds: &[Round], watched: Duration) {
    let before = rounds.iter().filter_map(|round| round.before).min().unwrap_or(0);
    let on: Vec<&Round> = rounds
        .iter()
        .filter(|round| round.way == Way::WritesOn && round.seen.is_judged())
        .collect();
    if let Some(least) = on.iter().map(|round| round.sent).min() {
        let takes_all = on.iter().all(|round| round.seen.send_failed.is_none());
        let takes = least.saturating_sub(before) as u64;
        if takes_all {
            outcome.measure(&TAKES, Value::MoreThan(takes));
            outcome.saw("it takes all of the upload all the same");
        } else {
            outcome.measure(&TAKES, Value::Count(takes));
            outcome.saw(format!(
                "it takes about {} KiB after its answer, then sending fails",
                takes >> 10
            ));
        }
    }
    let stopped = rounds
        .iter()
        .find(|round| round.way == Way::Watches && round.before.is_some() && round.seen.is_whole());
    let Some(stopped) = stopped else { return };
    let (word, line, at) = match (stopped.fin, stopped.reset) {
        (None, None) => (
            "kept",
            format!(
                "when the client stops at the answer it keeps the connection open for longer than {:.0} s",
                watched.as_secs_f64()
            ),
            None,
        ),
        (Some(fin), None) => (
            "fin",
            format!(
                "when the client stops at the answer: FIN after {:.3} s, and no reset",
                fin.as_secs_f64()
            ),
            Some(fin),
        ),
        (None, Some(reset)) => (
            "reset",
            format!(
                "when the client stops at the answer: a reset after {:.3} s, without a FIN",
                reset.as_secs_f64()
            ),
            Some(reset),
        ),
        (Some(fin), Some(reset)) => (
            "fin-reset",
            format!(
                "when the client stops at the answer: FIN after {:.3} s, a reset after {:.3} s",
                fin.as_secs_f64(),
                reset.as_secs_f64()
            ),
            Some(reset),
        ),
    };
    outcome.measure(&ENDS_BY, Value::Word(word));
    outcome.saw(line);
    match at {
        Some(at) => outcome
            .measured
            .extend(crate::habit::Spread::of([at]).map(|spread| crate::habit::Measured {
                habit: &LINGERS,
                value: Value::Time(spread),
            })),
        None => outcome.measure(&LINGERS, Value::LongerThan(watched)),
    }
}

/// What can be lost, and by whom.
fn risk(
    status: Option<u16>,
    without: &Fates<'_>,
    writes_on: &Fates<'_>,
    watches: &Fates<'_>,
    half_closes: &Fates<'_>,
    expects: &Fates<'_>,
) -> Option<Risk> {
    let refusal = status.is_none_or(|status| status >= 400);
    let cause = if refusal {
        "early-error-body-limit"
    } else {
        "unread-request-body"
    };
    let clauses = vec!["RFC 9112 §9.6", "RFC 9112 §9.3", "RFC 9112 §9.5", "RFC 9110 §10.1.1"];
    let share = |fates: &Fates<'_>| format!("{} of {}", fates.lost(), fates.count());
    let because = vec![
        format!(
            "lost to a client that writes on: {}, that watches: {}, that half-closes: {}, that asks first: {}",
            share(writes_on),
            share(watches),
            share(half_closes),
            share(expects)
        ),
        format!("the same without a body: 0 of {} reset", without.count()),
    ];
    let certain = |fates: &Fates<'_>| {
        if fates.lost() == fates.count() && fates.count() >= 3 {
            Confidence::Certain
        } else {
            Confidence::Likely
        }
    };
    // Nobody saw an answer.
    if status.is_none() && watches.lost() + writes_on.lost() >= 2 {
        return Some(Risk {
            cause,
            what: "the server resets connections during the upload, and nobody saw an answer: it refuses without a word, or it answers and \
                   closes under the upload, which destroys the answer"
                .to_owned(),
            severity: Severity::Trap,
            loses: Loses::Outcome,
            sure: Confidence::Undecided,
            because,
            remedy: Remedy::Server,
            clauses,
        });
    }
    if watches.lost() >= 2 {
        let helps = expects.lost() == 0 && expects.count() > 0;
        return Some(Risk {
            cause,
            what: format!(
                "the server answers before the upload is over and closes under it: even a client that reads while it sends loses the \
                 answer{}",
                if helps {
                    "; one that asks with Expect: 100-continue gets it"
                } else {
                    ", and Expect: 100-continue does not help"
                }
            ),
            severity: if helps { Severity::Trap } else { Severity::Fault },
            loses: watches.loses(),
            sure: certain(watches),
            because,
            remedy: if helps { Remedy::Either } else { Remedy::Server },
            clauses,
        });
    }
    if writes_on.lost() >= 2 {
        return Some(Risk {
            cause,
            what: "the server answers before the upload is over and closes under it: a client that writes on cannot read the answer any \
                   more; one that reads while it sends gets it"
                .to_owned(),
            severity: Severity::Trap,
            loses: writes_on.loses(),
            sure: certain(writes_on),
            because,
            remedy: Remedy::Either,
            clauses,
        });
    }
    let failed = writes_on.that(|seen| seen.is_whole() && seen.send_failed.is_some_and(is_end));
    let behind = writes_on.reset_behind() + watches.reset_behind();
    (failed + behind >= 2).then(|| Risk {
        cause,
        what: "the server answers before the upload is over and closes under it: sending fails, and only a client that reads after that \
               error sees the answer; where a packet is lost, or the client's system drops what is unread, it is gone"
            .to_owned(),
        severity: Severity::Trap,
        loses: Loses::Answer,
        sure: if failed >= 3 || behind >= 3 { Confidence::Certain } else { Confidence::Likely },
        because: [
            format!(
                "sending failed in {failed} of {}, and the whole answer could still be read after that",
                writes_on.count()
            ),
            format!("a reset right behind the answer in {behind} of {}", writes_on.count() + watches.count()),
        ]
        .into_iter()
        .chain(because)
        .collect(),
        remedy: Remedy::Either,
        clauses,
    })
}

fn is_end(broken: Broken) -> bool {
    matches!(broken, Broken::Reset | Broken::Pipe)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
