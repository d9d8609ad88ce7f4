//! Which versions of HTTP are spoken, how they are agreed on, and how an idle HTTP/2 connection is closed.

mod ask;

use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;
use bypeer_wire::app::Version;

use self::ask::{Asked, Http1, Idle, Spoken, alpn, http10, idle, prior_knowledge, upgrade};
use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::habit::{Habit, Spread, Tolerance, Value};
use crate::prober::{Options, Prober};
use crate::target::Scheme;

pub(super) static CHECK: Check = Check {
    id: "versions",
    title: "which versions of HTTP are spoken, and how idle HTTP/2 connections are closed",
    manual: include_str!("versions.md"),
    opt_in: false,
    turn: Turn::Together,
    habits: &[
        &HTTP10,
        &HTTP11,
        &ALPN,
        &NO_ALPN,
        &PRIOR_KNOWLEDGE,
        &UPGRADE,
        &H2_IDLE,
        &H2_ENDS_BY,
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

/// What HTTP/1.0 is answered with.
pub static HTTP10: Habit = habit("versions.http10", "what a request of HTTP/1.0 is answered with");
/// What HTTP/1.1 is answered with.
pub static HTTP11: Habit = habit("versions.http11", "what a request of HTTP/1.1 is answered with");
/// What ALPN chooses.
pub static ALPN: Habit = habit("versions.alpn", "what ALPN chooses of h2 and http/1.1");
/// What is spoken without ALPN.
pub static NO_ALPN: Habit = habit(
    "versions.no-alpn",
    "what is spoken over TLS when the client offers nothing by ALPN",
);
/// h2c at once.
pub static PRIOR_KNOWLEDGE: Habit = habit("versions.h2c-prior", "HTTP/2 without TLS, spoken at once");
/// h2c by Upgrade.
pub static UPGRADE: Habit = habit("versions.h2c-upgrade", "HTTP/2 without TLS, offered by Upgrade");
/// Idle limit of HTTP/2.
pub static H2_IDLE: Habit = Habit {
    name: "versions.h2-idle",
    what: "idle limit of an HTTP/2 connection",
    tolerance: Tolerance::Within(Duration::from_millis(1100), 0.05),
};
/// How an idle HTTP/2 connection ends.
pub static H2_ENDS_BY: Habit = habit(
    "versions.h2-ends-by",
    "how an idle HTTP/2 connection ends: goaway, fin, reset",
);

/// Rounds for what looks wrong.
const ROUNDS: usize = 3;
/// HTTP/2 connections that are left idle.
const IDLE: u32 = 2;
/// A server that does not understand the first words of HTTP/2 may wait for more.
const PATIENCE: Duration = Duration::from_secs(5);

fn plan(options: &Options) -> Plan {
    let rounds = ROUNDS as u32;
    Plan {
        what: "asks in HTTP/1.0, and for HTTP/2 in each way there is; leaves 2 HTTP/2 connections idle".to_owned(),
        // HTTP/1.0 and Upgrade, each with its control; prior knowledge; two kinds of ALPN.
        connections: rounds * 3 + 3 + IDLE,
        requests: rounds * 3 + 3 + IDLE,
        longest: options.longest_wait * if options.serial == Some(true) { IDLE } else { 1 }
            + options.patience * (rounds * 3 + 3),
    }
}

fn run(prober: &Prober<'_>) -> Outcome {
    prober.doing("asking in each version", Instant::now() + prober.options.patience);
    let mut outcome = Outcome::default();
    let first = prober.first.head.version;
    outcome.saw(format!("HTTP/1.1 is answered with HTTP/{}", number(first)));
    outcome.measure(&HTTP11, Value::Word(number(first)));
    old(prober, &mut outcome);
    let way = match prober.target.scheme {
        Scheme::Https => secure(prober, &mut outcome),
        Scheme::Http => clear(prober, &mut outcome),
    };
    if let Some(way) = way
        && !prober.stopped()
    {
        prober.doing(
            "waiting for the server to close idle HTTP/2 connections",
            Instant::now() + prober.options.longest_wait,
        );
        let ends = prober.side_by_side(IDLE, |_| idle(prober, way));
        judge_idle(prober, &mut outcome, &ends);
    }
    if prober.stopped() && outcome.status == Status::Done {
        outcome.status = Status::Cut("stopped before every version was asked for".to_owned());
    }
    outcome
}

fn number(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    }
}

/// HTTP/1.0.
fn old(prober: &Prober<'_>, outcome: &mut Outcome) {
    let found = http10(prober);
    let (word, line) = match &found {
        Http1::Answered {
            version,
            status,
            chunked,
        } => {
            let refused = *status >= 400 && prober.first.head.status < 400;
            let word = if refused { "refused" } else { number(*version) };
            let body = if *chunked { ", and a chunked body" } else { "" };
            (
                word,
                format!("is answered with HTTP/{} {status}{body}", number(*version)),
            )
        }
        Http1::Ended(why) => ("no-answer", format!("gets no answer: {why}")),
        Http1::Silent => ("silent", "gets no answer, and is kept waiting".to_owned()),
        Http1::Failed(why) => {
            outcome.saw(format!("HTTP/1.0 could not be asked: {why}"));
            return;
        }
        Http1::Stopped => return,
    };
    outcome.saw(format!("HTTP/1.0 {line}"));
    outcome.measure(&HTTP10, Value::Word(word));
    let chunked = |found: &Http1| matches!(found, Http1::Answered { chunked: true, .. });
    if chunked(&found) && (1..ROUNDS).all(|_| chunked(&http10(prober))) {
        outcome.risks.push(Risk {
            cause: "incomplete-response",
            what: "a request of HTTP/1.0 is answered with a chunked body, which HTTP/1.0 does not know: its client takes the chunks' \
                   lengths for content, or sees no end"
                .to_owned(),
            severity: Severity::Trap,
            loses: Loses::Answer,
            sure: Confidence::Certain,
            because: vec![format!("{ROUNDS} of {ROUNDS} answers to HTTP/1.0 carried Transfer-Encoding: chunked")],
            remedy: Remedy::Either,
            clauses: vec!["RFC 9112 §6.1"],
        });
    }
}

/// Over TLS: ALPN. The way to HTTP/2, where there is one.
fn secure(prober: &Prober<'_>, outcome: &mut Outcome) -> Option<ask::Way> {
    let both = alpn(prober, &[b"h2", b"http/1.1"]);
    match &both {
        Asked::Found { chosen, spoken } => {
            let word = match chosen.as_deref() {
                Some("h2") => "h2",
                Some("http/1.1") => "http/1.1",
                Some(_) => "other",
                None => "none",
            };
            outcome.saw(format!("of h2 and http/1.1, ALPN chooses {word}; {}", spoken.tell()));
            outcome.measure(&ALPN, Value::Word(word));
        }
        Asked::Failed(why) => {
            outcome.saw(format!("offering h2 and http/1.1 by ALPN: {why}"));
            outcome.measure(&ALPN, Value::Word("refused"));
        }
        Asked::Stopped => return None,
    }
    match alpn(prober, &[]) {
        Asked::Found { chosen: _, spoken } => {
            outcome.saw(format!("without ALPN: {}", spoken.tell()));
            outcome.measure(
                &NO_ALPN,
                Value::Word(if spoken.is_answer() { "http/1.1" } else { "no-answer" }),
            );
        }
        Asked::Failed(why) => {
            outcome.saw(format!("without ALPN: {why}"));
            outcome.measure(&NO_ALPN, Value::Word("refused"));
        }
        Asked::Stopped => return None,
    }
    match both {
        Asked::Found {
            chosen: Some(chosen),
            spoken,
        } if chosen == "h2" && spoken.is_answer() => Some(ask::Way::Alpn),
        _ => None,
    }
}

/// Without TLS: h2c. The way to HTTP/2, where there is one.
fn clear(prober: &Prober<'_>, outcome: &mut Outcome) -> Option<ask::Way> {
    let prior = prior_knowledge(prober);
    if prior != Spoken::Stopped {
        outcome.saw(format!("HTTP/2 spoken at once (h2c): {}", prior.tell()));
        outcome.measure(&PRIOR_KNOWLEDGE, Value::Word(prior.word()));
    }
    let offered = upgrade(prober);
    if offered != Spoken::Stopped {
        let ignored = if offered.word() == "ignored" { "ignored; " } else { "" };
        outcome.saw(format!("HTTP/2 offered by Upgrade (h2c): {ignored}{}", offered.tell()));
        outcome.measure(&UPGRADE, Value::Word(offered.word()));
    }
    if offered.is_lost() {
        judge_upgrade(prober, outcome, &offered);
    }
    if prior.is_h2() {
        Some(ask::Way::PriorKnowledge)
    } else if offered.is_h2() {
        Some(ask::Way::Upgrade)
    } else {
        None
    }
}

/// Java's HttpClient offers h2c with its first request unless it is told not to.
fn judge_upgrade(prober: &Prober<'_>, outcome: &mut Outcome, offered: &Spoken) {
    let control = |_| ask::plain(prober).is_answer();
    let again = |round: usize| upgrade(prober).is_lost() && control(round);
    if !control(0) || !(1..ROUNDS).all(again) {
        return;
    }
    outcome.risks.push(Risk {
        cause: "upstream-no-response-close",
        what: "a request that offers HTTP/2 by Upgrade, as Java's HttpClient does by default, gets no answer"
            .to_owned(),
        severity: Severity::Trap,
        loses: Loses::Outcome,
        sure: Confidence::Certain,
        because: vec![
            format!("{ROUNDS} of {ROUNDS} times: {}", offered.tell()),
            format!("the same request without Upgrade is answered, {ROUNDS} of {ROUNDS} times"),
        ],
        remedy: Remedy::Either,
        clauses: vec!["RFC 9110 §7.8"],
    });
}

fn judge_idle(prober: &Prober<'_>, outcome: &mut Outcome, ends: &[Idle]) {
    let closed: Vec<(Duration, Option<Duration>, bool)> = ends
        .iter()
        .filter_map(|end| match end {
            Idle::Closed { after, goaway, reset } => Some((*after, *goaway, *reset)),
            _ => None,
        })
        .collect();
    let failed = ends.iter().find_map(|end| match end {
        Idle::Failed(why) => Some(why),
        _ => None,
    });
    if let Some(why) = failed {
        outcome.saw(format!("an HTTP/2 connection could not be left idle: {why}"));
    }
    if ends.contains(&Idle::Stopped) {
        outcome.status = Status::Cut("stopped while HTTP/2 connections were idle".to_owned());
    }
    let kept = ends.iter().filter(|end| **end == Idle::Kept).count();
    let Some(times) = Spread::of(closed.iter().map(|(after, ..)| *after)) else {
        if kept > 0 {
            let longest = prober.options.longest_wait;
            outcome.saw(format!(
                "idle HTTP/2 connections are kept for longer than {:.0} s",
                longest.as_secs_f64()
            ));
            outcome.measure(&H2_IDLE, Value::LongerThan(longest));
        }
        return;
    };
    let with_goaway = closed.iter().filter(|(_, goaway, _)| goaway.is_some()).count();
    let (word, how) = match (with_goaway, closed.iter().any(|(.., reset)| *reset)) {
        (0, false) => ("fin", "without GOAWAY"),
        (0, true) => ("reset", "with a reset, without GOAWAY"),
        (some, _) if some == closed.len() => ("goaway", "with GOAWAY"),
        _ => ("varies", "with GOAWAY or without"),
    };
    let ahead = closed
        .iter()
        .filter_map(|(after, goaway, _)| Some(after.saturating_sub((*goaway)?)))
        .min();
    let ahead = ahead.map_or_else(String::new, |ahead| {
        format!(", which comes {:.0} ms before the end", ahead.as_secs_f64() * 1000.0)
    });
    outcome.saw(format!(
        "idle HTTP/2 connections are closed after {:.3} s, {how}{ahead}",
        times.median().as_secs_f64()
    ));
    outcome.measure(&H2_ENDS_BY, Value::Word(word));
    if with_goaway == 0 && kept == 0 {
        outcome.risks.push(Risk {
            cause: "keepalive-race-unannounced-close",
            what: "idle HTTP/2 connections are closed without GOAWAY: of a request sent just then nobody knows whether it was processed"
                .to_owned(),
            severity: Severity::Trap,
            loses: Loses::Outcome,
            sure: if closed.len() > 1 { Confidence::Certain } else { Confidence::Likely },
            because: vec![format!(
                "{} of {} connections ended after {:.3} to {:.3} s with no GOAWAY before",
                closed.len(),
                closed.len(),
                times.low().as_secs_f64(),
                times.high().as_secs_f64()
            )],
            remedy: Remedy::Either,
            clauses: vec!["RFC 9113 §6.8"],
        });
    }
    if kept == 0 {
        outcome.measure(&H2_IDLE, Value::Time(times));
    }
}

#[cfg(test)]
mod tests;
