//! How many requests a connection may carry, and whether the last answer says so.

use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;

use super::life::{By, End, Life, Pace, by, live};
use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::habit::{Habit, Tolerance, Value};
use crate::prober::{Options, Prober};

pub(super) static CHECK: Check = Check {
    id: "request-limit",
    title: "how many requests a connection carries, and whether the last answer says so",
    manual: include_str!("request_limit.md"),
    opt_in: false,
    // So many requests can use up a worker's budget, which closes what others wait for.
    turn: Turn::Alone,
    habits: &[&REQUESTS, &ANNOUNCED, &PROMISED],
    plan,
    run,
};

/// Requests per connection.
pub static REQUESTS: Habit = Habit {
    name: "request-limit.requests",
    what: "requests that a connection carries before the server closes it",
    tolerance: Tolerance::Exact,
};
/// Whether the last answer says that it is.
pub static ANNOUNCED: Habit = Habit {
    name: "request-limit.announced",
    what: "whether the last answer before that close says so",
    tolerance: Tolerance::Exact,
};
/// What the first answer's `Keep-Alive: max` promises.
pub static PROMISED: Habit = Habit {
    name: "request-limit.promised",
    what: "what Keep-Alive: max promises in the first answer",
    tolerance: Tolerance::Exact,
};

/// Connections.
const LIVES: u32 = 2;
/// Requests on each, at most: above the limits that products ship with (100, 999, 1000).
const MOST: u32 = 1200;
/// Bytes of answers on each, at most.
const BYTES: u64 = 64 << 20;
/// Longest time for each.
const LONGEST: Duration = Duration::from_secs(30);
/// After each answer, on the faster connection; on the other it is twice as long, so that an age is not taken for a number.
const PAUSE: Duration = Duration::from_millis(4);
/// Ends that are no further apart are one event.
const SAME_MOMENT: Duration = Duration::from_millis(100);

fn longest(options: &Options) -> Duration {
    LONGEST.min(options.longest_wait)
}

fn plan(options: &Options) -> Plan {
    Plan {
        what: format!(
            "asks {MOST} times over each of {LIVES} connections, one request after the other, for {:.0} s at most",
            longest(options).as_secs_f64()
        ),
        connections: LIVES,
        requests: LIVES * MOST,
        // One at a time, they follow each other.
        longest: longest(options) * if options.serial == Some(true) { LIVES } else { 1 } + options.patience,
    }
}

fn run(prober: &Prober<'_>) -> Outcome {
    let longest = longest(prober.options);
    prober.doing("asking many times over one connection", Instant::now() + longest);
    let lives = prober.side_by_side(LIVES, |index| {
        let pace = Pace {
            pause: PAUSE * (index + 1),
            requests: MOST,
            bytes: BYTES,
            until: Instant::now() + longest,
        };
        live(prober, &pace)
    });
    judge(&lives)
}

fn judge(lives: &[Life]) -> Outcome {
    let mut outcome = Outcome::default();
    for life in lives {
        match &life.end {
            End::Never(why) => return Outcome::failed(why.clone()),
            End::Stopped => outcome.status = Status::Cut("stopped while it was asking".to_owned()),
            End::Slowed(status) => {
                outcome.status = Status::Cut(format!(
                    "the server answered {status} after {} requests: it was left in peace",
                    life.answered
                ));
            }
            _ => {}
        }
    }
    if let Some(max) = lives.iter().find_map(|life| life.first_max) {
        outcome.measure(&PROMISED, Value::Count(u64::from(max)));
    }
    let over: Vec<&Life> = lives.iter().filter(|life| life.is_over()).collect();
    if over.is_empty() {
        let fewest = lives.iter().map(|life| life.answered).min().unwrap_or(0);
        if fewest > 0 {
            outcome.saw(format!("no limit within {fewest} requests"));
            outcome.measure(&REQUESTS, Value::MoreThan(u64::from(fewest)));
        }
        return outcome;
    }
    let announced = over.iter().filter(|life| life.announced).count();
    let numbers: Vec<String> = over.iter().map(|life| life.answered.to_string()).collect();
    let number = match by(lives, Duration::ZERO) {
        By::Requests(number) => number,
        // A limit of one or two is over before ages can differ.
        _ if over.len() == lives.len()
            && lives.len() > 1
            && lives.iter().all(|life| life.answered == over[0].answered) =>
        {
            over[0].answered
        }
        _ => {
            outcome.saw(uneven(lives, &over, &numbers.join(" and "), announced));
            outcome.measure(&ANNOUNCED, Value::Flag(announced == over.len()));
            return outcome;
        }
    };
    outcome.measure(&REQUESTS, Value::Count(u64::from(number)));
    outcome.measure(&ANNOUNCED, Value::Flag(announced == over.len()));
    if number == 1 {
        outcome.saw("each connection carries one request");
        // Whether that is announced, and what it can lose, is the question of persistence.
        return outcome;
    }
    if announced == over.len() {
        outcome.saw(format!(
            "{number} requests per connection; the last answer says Connection: close"
        ));
        return outcome;
    }
    let lost = over.iter().filter(|life| life.end == End::Lost).count();
    outcome.saw(format!(
        "{number} requests per connection; then the server closes, and the last answer does not say so"
    ));
    let mut because = vec![format!(
        "{} of {} connections were closed after {} requests, at different ages ({}), none of them idle for longer than {:.0} ms",
        over.len(),
        lives.len(),
        numbers.join(" and "),
        over.iter()
            .filter_map(|life| life.age())
            .map(|age| format!("{:.1} s", age.as_secs_f64()))
            .collect::<Vec<_>>()
            .join(" and "),
        over.iter()
            .filter_map(|life| life.idle())
            .max()
            .unwrap_or_default()
            .as_secs_f64()
            * 1000.0
    )];
    if lost > 0 {
        because.push(format!(
            "on {lost} of them the next request had been sent, and got no answer"
        ));
    }
    if let Some(left) = over.iter().filter_map(|life| life.last_max).find(|left| *left > 0) {
        because.push(format!("the last answer's Keep-Alive: max={left} promised more"));
    }
    outcome.risks.push(Risk {
        cause: "proxy-max-requests",
        what: format!(
            "the server closes after {number} requests and does not say so: the next request on that connection gets no answer"
        ),
        severity: Severity::Trap,
        loses: Loses::Request,
        sure: if announced == 0 { Confidence::Certain } else { Confidence::Likely },
        because,
        remedy: Remedy::Either,
        clauses: vec!["RFC 9112 §9.6", "RFC 9112 §9.3.1"],
    });
    outcome
}

/// Connections ended, but not by the number of their own requests.
fn uneven(lives: &[Life], over: &[&Life], numbers: &str, announced: usize) -> String {
    let said = match announced {
        0 => "no answer said so",
        some if some == over.len() => "the last answers said so",
        _ => "not every last answer said so",
    };
    let ends = || over.iter().filter_map(|life| life.ended);
    let apart = ends()
        .max()
        .zip(ends().min())
        .map_or(Duration::MAX, |(last, first)| last.saturating_duration_since(first));
    if over.len() < lives.len() {
        format!(
            "of {} connections {} ended, after {numbers} requests; {said}",
            lives.len(),
            over.len()
        )
    } else if over.len() > 1 && apart < SAME_MOMENT {
        format!(
            "connections ended at the same moment, after {numbers} requests, {} together, as a worker's do that is retired or restarted; \
             {said}",
            over.iter().map(|life| life.answered).sum::<u32>()
        )
    } else {
        format!("connections ended after {numbers} requests: not by their number, or by one that differs; {said}")
    }
}

#[cfg(test)]
mod tests;
