//! Whether a connection that is never idle is closed for its age, and whether that is announced.

use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;

use super::life::{By, End, Life, Pace, by, live};
use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::habit::{Habit, Tolerance, Value};
use crate::prober::{Options, Prober};

pub(super) static CHECK: Check = Check {
    id: "lifetime",
    title: "whether busy connections are closed for their age",
    manual: include_str!("lifetime.md"),
    opt_in: false,
    turn: Turn::Together,
    habits: &[&AGE, &ANNOUNCED],
    plan,
    run,
};

/// Age at which busy connections are closed.
pub static AGE: Habit = Habit {
    name: "lifetime.age",
    what: "age at which a connection is closed that is never idle",
    tolerance: Tolerance::Within(Duration::from_millis(1600), 0.05),
};
/// Whether the last answer says so.
pub static ANNOUNCED: Habit = Habit {
    name: "lifetime.announced",
    what: "whether the last answer before that close says so",
    tolerance: Tolerance::Exact,
};

/// After each answer, on the two connections: a limit by requests strikes them at ages that differ, a limit by age at numbers that do.
const PAUSES: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(600)];
/// Whoever waits for less than this needs shorter pauses to tell them apart.
const LONG: Duration = Duration::from_secs(60);
/// Tries to find a pause that is shorter than the server's idle limit: each time a quarter of it.
const TRIES: u32 = 3;
/// The second connection begins so much later than the first, so that a restart is not taken for an age.
const APART: Duration = Duration::from_secs(4);
/// Bytes of answers on each, at most.
const BYTES: u64 = 64 << 20;

/// The pauses that fit the wait.
fn pauses(longest: Duration) -> [Duration; 2] {
    let share = (longest.as_secs_f64() / LONG.as_secs_f64()).min(1.0);
    PAUSES.map(|pause| pause.mul_f64(share))
}

/// Requests on a connection, at most.
fn requests(longest: Duration, pause: Duration) -> u32 {
    (longest.as_secs_f64() / pause.as_secs_f64()).ceil() as u32 + 1
}

fn apart(longest: Duration) -> Duration {
    APART.min(longest / 8)
}

fn plan(options: &Options) -> Plan {
    let longest = options.longest_wait;
    Plan {
        what: format!(
            "asks over and over on {} connections, once in {:.1} to {:.1} s, for as long as it waits",
            PAUSES.len(),
            pauses(longest)[1].as_secs_f64(),
            pauses(longest)[0].as_secs_f64()
        ),
        connections: PAUSES.len() as u32 * TRIES,
        requests: pauses(longest)
            .iter()
            .map(|pause| requests(longest, *pause) + 2 * TRIES)
            .sum(),
        longest: longest + options.patience,
    }
}

fn run(prober: &Prober<'_>) -> Outcome {
    if prober.serial {
        return Outcome::skipped(
            "it takes two connections at once to tell an age from a number of requests, and this server works on one",
        );
    }
    let longest = prober.options.longest_wait;
    let until = Instant::now() + longest;
    prober.doing("keeping connections busy", until);
    let lives = prober.side_by_side(PAUSES.len() as u32, |index| {
        prober.pause(apart(longest) * index);
        keep(prober, pauses(longest)[index as usize], until)
    });
    let pauses: Vec<Duration> = lives.iter().map(|(_, pause)| *pause).collect();
    let lives: Vec<Life> = lives.into_iter().map(|(life, _)| life).collect();
    judge(prober, &lives, pauses.into_iter().max().unwrap_or_default())
}

/// Keeps a connection busy, with a shorter pause where the server does not wait that long. The life, and the pause that it had.
fn keep(prober: &Prober<'_>, mut pause: Duration, until: Instant) -> (Life, Duration) {
    let most = requests(prober.options.longest_wait, pause);
    for _ in 1..TRIES {
        let pace = Pace {
            pause,
            requests: most,
            bytes: BYTES,
            until,
        };
        let life = live(prober, &pace);
        // It ended in the first pauses: that is an idle limit, or the end after each answer.
        let too_slow = life.is_over() && !life.announced && life.answered <= 2;
        if !too_slow || prober.stopped() {
            return (life, pause);
        }
        pause /= 4;
    }
    let pace = Pace {
        pause,
        requests: most,
        bytes: BYTES,
        until,
    };
    (live(prober, &pace), pause)
}

fn judge(prober: &Prober<'_>, lives: &[Life], slowest: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    for life in lives {
        match &life.end {
            End::Never(why) => return Outcome::failed(why.clone()),
            End::Stopped => outcome.status = Status::Cut("stopped while connections were still busy".to_owned()),
            End::Slowed(status) => {
                outcome.status = Status::Cut(format!(
                    "the server answered {status} after {} requests: it was left in peace",
                    life.answered
                ));
            }
            _ => {}
        }
    }
    if lives.iter().all(|life| life.is_over() && life.answered <= 1) {
        return Outcome::skipped(format!(
            "connections do not outlive one answer, or an idle time of {:.0} ms",
            slowest.as_secs_f64() * 1000.0
        ));
    }
    let over: Vec<&Life> = lives.iter().filter(|life| life.is_over()).collect();
    if over.is_empty() {
        let youngest = lives
            .iter()
            .map(|life| life.last_answer.saturating_duration_since(life.began))
            .min();
        if let Some(youngest) = youngest.filter(|age| *age > Duration::ZERO) {
            outcome.saw(format!(
                "busy connections are kept for longer than {:.1} s ({} requests)",
                youngest.as_secs_f64(),
                lives
                    .iter()
                    .map(|life| life.answered.to_string())
                    .collect::<Vec<_>>()
                    .join(" and ")
            ));
            outcome.measure(&AGE, Value::LongerThan(youngest));
        }
        return outcome;
    }
    let ends: Vec<String> = over
        .iter()
        .map(|life| {
            format!(
                "after {:.1} s and {} requests",
                life.age().unwrap_or_default().as_secs_f64(),
                life.answered
            )
        })
        .collect();
    let ends = ends.join(", ");
    let announced = over.iter().filter(|life| life.announced).count();
    // The next answer tells of an age that has come meanwhile.
    match by(lives, slowest + slowest / 2 + prober.first_took) {
        By::Requests(number) => {
            outcome.saw(format!(
                "closed for the number of requests, {number}, and not for the age: {ends}"
            ));
        }
        By::Moment => outcome.saw(format!(
            "closed at the same moment, whatever the age, as a restart or a retired worker does: {ends}"
        )),
        By::Unknown => outcome.saw(format!("closed, but whether for the age cannot be told: {ends}")),
        By::Age(ages) => {
            let said = if announced == over.len() {
                "the last answer says Connection: close"
            } else {
                "the last answer does not say so"
            };
            outcome.saw(format!("closed for the age: {ends}; {said}"));
            outcome.measure(&ANNOUNCED, Value::Flag(announced == over.len()));
            if announced < over.len() {
                let lost = over.iter().filter(|life| life.end == End::Lost).count();
                let mut because = vec![format!(
                    "two connections of different pace were closed at the same age, though not at the same moment: {ends}"
                )];
                if lost > 0 {
                    because.push(format!(
                        "on {lost} of them the next request had been sent, and got no answer"
                    ));
                }
                outcome.risks.push(Risk {
                    cause: "proxy-max-requests",
                    what: format!(
                        "connections are closed at the age of {:.1} s and no answer says so: a request sent just then gets no answer",
                        ages.low().as_secs_f64()
                    ),
                    severity: Severity::Trap,
                    loses: Loses::Request,
                    sure: Confidence::Likely,
                    because,
                    remedy: Remedy::Either,
                    clauses: vec!["RFC 9112 §9.6", "RFC 9112 §9.5"],
                });
            }
            outcome.measure(&AGE, Value::Time(ages));
        }
    }
    outcome
}

#[cfg(test)]
mod tests;
