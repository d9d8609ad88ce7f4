//! How long an idle connection is kept, by what it did before, and how it is closed.

use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;
use bypeer_wire::app::{Framing, Method};

use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::connection::{Connection, Step};
use crate::habit::{Habit, Spread, Tolerance, Value};
use crate::http::{AnswerReader, Ending, Fed, Writing};
use crate::prober::{Options, Prober, STAGGER};

pub(super) static CHECK: Check = Check {
    id: super::IDLE,
    title: "how long idle connections are kept, and how they are closed",
    manual: include_str!("idle_timeout.md"),
    opt_in: false,
    turn: Turn::Together,
    habits: &[
        &AFTER_ONE,
        &AFTER_SEVERAL,
        &UNUSED,
        &IN_HEAD,
        &IN_BODY,
        &KEPT,
        &ENDS_BY,
        &PROMISED,
    ],
    plan,
    run,
};

/// Idle limit after one request.
pub static AFTER_ONE: Habit = Habit {
    name: "idle-timeout.after-one",
    what: "idle limit after one request",
    tolerance: LIMIT,
};
/// Idle limit after several requests.
pub static AFTER_SEVERAL: Habit = Habit {
    name: "idle-timeout.after-several",
    what: "idle limit after several requests",
    tolerance: LIMIT,
};
/// Limit before the first request.
pub static UNUSED: Habit = Habit {
    name: "idle-timeout.unused",
    what: "limit before the first request",
    tolerance: LIMIT,
};
/// Limit inside a half-sent head.
pub static IN_HEAD: Habit = Habit {
    name: "idle-timeout.in-head",
    what: "limit inside a half-sent head",
    tolerance: LIMIT,
};
/// Limit inside a half-sent body.
pub static IN_BODY: Habit = Habit {
    name: "idle-timeout.in-body",
    what: "limit inside a half-sent body",
    tolerance: LIMIT,
};
/// Whether a connection outlives its first answer.
pub static KEPT: Habit = Habit {
    name: "idle-timeout.kept",
    what: "what becomes of a connection after its answer: kept, closed as announced, closed unannounced",
    tolerance: Tolerance::Exact,
};
/// How idle connections end.
pub static ENDS_BY: Habit = Habit {
    name: "idle-timeout.ends-by",
    what: "how an idle connection ends: fin, reset, answer",
    tolerance: Tolerance::Exact,
};
/// What `Keep-Alive: timeout` promises.
pub static PROMISED: Habit = Habit {
    name: "idle-timeout.promised",
    what: "idle limit that Keep-Alive: timeout promises",
    tolerance: Tolerance::Exact,
};

/// Timers of servers tick by the second, some less often.
const LIMIT: Tolerance = Tolerance::Within(Duration::from_millis(1100), 0.05);
/// Longest wait on a connection that keeps a worker busy: gunicorn gives a worker up after 30 s.
const BUSY: Duration = Duration::from_secs(40);
/// Requests in "several".
const SEVERAL: u32 = 3;
/// A server that closes this soon does not wait for another request: it closes after its answer.
const AT_ONCE: Duration = Duration::from_millis(150);

fn plan(options: &Options) -> Plan {
    let each = each(options);
    let all = each * SITUATIONS.len() as u32;
    let one = options.longest_wait + options.patience * SEVERAL + options.handshake_patience * 2;
    Plan {
        what: format!("leaves {all} connections idle, {each} in each of five situations, until the server closes them"),
        connections: all,
        requests: each * (1 + SEVERAL + 2),
        longest: if options.serial == Some(true) {
            one * all
        } else {
            STAGGER * all + one * all.div_ceil(options.at_once.max(1))
        },
    }
}

/// Connections in each situation: one at a time, each of them is a wait of its own.
fn each(options: &Options) -> u32 {
    if options.serial == Some(true) {
        1
    } else {
        options.connections
    }
}

/// In which situation a connection is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    AfterOne,
    AfterSeveral,
    Unused,
    InHead,
    InBody,
}

impl Left {
    /// An answer came before.
    fn is_used(self) -> bool {
        matches!(self, Left::AfterOne | Left::AfterSeveral)
    }
}

const SITUATIONS: [Left; 5] = [
    Left::AfterOne,
    Left::AfterSeveral,
    Left::Unused,
    Left::InHead,
    Left::InBody,
];

/// What became of one connection that was left alone.
#[derive(Clone, Debug)]
struct Fate {
    left: Left,
    /// From the last byte of either side to the end; `None`: it was not closed while we waited.
    after: Option<Duration>,
    /// When that was.
    ended: Option<Instant>,
    end: End,
    /// The last answer said that the connection would close.
    announced: bool,
    /// Its `Keep-Alive: timeout`, seconds.
    promised: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// FIN.
    Fin,
    /// Reset.
    Reset,
    /// An answer first: its status.
    Answer(u16),
    /// Nothing, as long as we waited.
    Kept,
    /// It did not come so far: why.
    Never(String),
    /// The user stopped.
    Stopped,
}

fn run(prober: &Prober<'_>) -> Outcome {
    prober.doing(
        "waiting for the server to close idle connections",
        Instant::now() + plan(prober.options).longest,
    );
    let fates = prober.side_by_side(each(prober.options) * SITUATIONS.len() as u32, |index| {
        // Situations take turns, so that one that is stopped early has some of each.
        leave(prober, SITUATIONS[index as usize % SITUATIONS.len()])
    });
    judge(prober, &fates)
}

/// Brings a connection into the situation, and waits.
fn leave(prober: &Prober<'_>, left: Left) -> Fate {
    let mut fate = Fate {
        left,
        after: None,
        ended: None,
        end: End::Stopped,
        announced: false,
        promised: None,
    };
    let mut connection = match prober.open() {
        Ok(connection) => connection,
        Err(error) => {
            fate.end = if prober.stopped() {
                End::Stopped
            } else {
                End::Never(error.to_string())
            };
            return fate;
        }
    };
    let requests = match left {
        Left::AfterOne => 1,
        Left::AfterSeveral => SEVERAL,
        Left::Unused | Left::InHead | Left::InBody => 0,
    };
    for _ in 0..requests {
        let exchange = connection.exchange(&prober.get(), Writing::AtOnce, prober.options.patience);
        let Some(answer) = exchange.answer.filter(|_| exchange.ending == Ending::Whole) else {
            fate.end = match exchange.ending {
                Ending::Stopped => End::Stopped,
                _ if fate.announced => break,
                ending => End::Never(format!("a request got no whole answer ({ending})")),
            };
            return fate;
        };
        // An answer that ends with the connection says so by that.
        fate.announced = answer.head.connection.closes() || answer.framing == Framing::Close;
        fate.promised = answer.head.keep_alive_timeout;
        if connection.log().fin.is_some() {
            break;
        }
    }
    let sent = match left {
        Left::InHead => connection.send_all(half_a_head(prober).as_slice(), Instant::now() + prober.options.patience),
        Left::InBody => connection.send_all(half_a_body(prober).as_slice(), Instant::now() + prober.options.patience),
        Left::AfterOne | Left::AfterSeveral | Left::Unused => Ok(()),
    };
    if sent.is_err() {
        fate.end = if prober.stopped() {
            End::Stopped
        } else {
            End::Never("the half request could not be sent".to_owned())
        };
        return fate;
    }
    let log = connection.log();
    let since = [log.last_received, log.last_sent, log.secured, Some(log.opened)]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(log.opened);
    // The close may have been read with the answer already.
    let (end, at) = match log.ended_by_server() {
        Some(at) => (if log.was_reset() { End::Reset } else { End::Fin }, Some(at)),
        None => wait(&mut connection, since + longest(prober, left)),
    };
    fate.end = end;
    fate.after = at.map(|at| at.saturating_duration_since(since));
    fate.ended = at;
    if left == Left::AfterOne
        && let Some(after) = fate.after
    {
        prober.idle.tell(after);
    }
    fate
}

/// How long to wait for the close. Where an open connection keeps a worker busy, not for long beyond the time limits of workers.
fn longest(prober: &Prober<'_>, left: Left) -> Duration {
    let keeps_busy = prober.serial && matches!(left, Left::Unused | Left::InHead | Left::InBody);
    let longest = prober.options.longest_wait;
    if keeps_busy { longest.min(BUSY) } else { longest }
}

/// Half of a head: what servers that wait for heads wait for.
fn half_a_head(prober: &Prober<'_>) -> Vec<u8> {
    let head = prober.get().head();
    head[..head.len() - 2].to_vec()
}

/// A whole head that promises a body, and half of that.
fn half_a_body(prober: &Prober<'_>) -> Vec<u8> {
    let mut bytes = prober.request(Method::Post, prober.body_path()).with_body(64).bytes();
    bytes.truncate(bytes.len() - 32);
    bytes
}

/// Until the server ends it; when that was.
fn wait(connection: &mut Connection, until: Instant) -> (End, Option<Instant>) {
    let mut reader = AnswerReader::new(&Method::Get);
    let mut answered = None;
    loop {
        match connection.step(&[], until) {
            Step::Received(_) => {
                let bytes = connection.take();
                if let Fed::Whole(_) | Fed::More = reader.feed(&bytes, Instant::now())
                    && reader.has_head()
                    && answered.is_none()
                {
                    answered = Some(Instant::now());
                }
            }
            Step::Stopped => return (End::Stopped, None),
            Step::TimedOut if answered.is_none() => return (End::Kept, None),
            Step::Sent(_) => {}
            step => {
                let log = connection.log();
                let ended = log.ended_by_server();
                let status = reader.finish().map(|answer| answer.head.status);
                return match (status, step) {
                    (Some(status), _) => (End::Answer(status), answered.or(ended)),
                    (None, Step::Closed | Step::Over) => (End::Fin, ended),
                    (None, _) => (End::Reset, ended),
                };
            }
        }
    }
}

/// The fates of one situation, summed up.
struct Group {
    times: Option<Spread>,
    /// Not closed while we waited.
    kept: usize,
    ends: Vec<End>,
}

impl Group {
    fn of(fates: &[Fate], left: Left) -> Group {
        let mine = || fates.iter().filter(|fate| fate.left == left);
        Group {
            times: Spread::of(mine().filter_map(|fate| fate.after)),
            kept: mine().filter(|fate| fate.end == End::Kept).count(),
            ends: mine().map(|fate| fate.end.clone()).collect(),
        }
    }

    fn ended_by(&self, is: impl Fn(&End) -> bool) -> usize {
        self.ends.iter().filter(|end| is(end)).count()
    }
}

fn judge(prober: &Prober<'_>, fates: &[Fate]) -> Outcome {
    let mut outcome = Outcome::default();
    // Where only some answers say that they are the last, what follows those is no idle limit.
    let is_last = |fate: &&Fate| fate.left.is_used() && fate.announced;
    let some_last = fates.iter().any(|fate| is_last(&fate));
    let all_last = fates
        .iter()
        .filter(|fate| fate.left.is_used())
        .all(|fate| fate.announced);
    let kept: Vec<Fate>;
    let fates = if some_last && !all_last {
        outcome.saw("some answers said that the connection would close, and others not; what is told is of the others");
        kept = fates.iter().filter(|fate| !is_last(fate)).cloned().collect();
        &kept
    } else {
        fates
    };
    let mut never = None;
    for (left, habit, words) in [
        (Left::AfterOne, &AFTER_ONE, "after one request"),
        (Left::AfterSeveral, &AFTER_SEVERAL, "after three requests"),
        (Left::Unused, &UNUSED, "before any request"),
        (Left::InHead, &IN_HEAD, "inside a half-sent head"),
        (Left::InBody, &IN_BODY, "inside a half-sent body"),
    ] {
        let group = Group::of(fates, left);
        for end in &group.ends {
            if let End::Never(why) = end {
                never.get_or_insert_with(|| format!("{words}: {why}"));
            }
        }
        let waited = longest(prober, left);
        let Some(line) = tell(&group, words, waited) else {
            continue;
        };
        outcome.saw(line);
        match (&group.times, group.kept) {
            (Some(times), 0) => outcome.measure(habit, Value::Time(times.clone())),
            (None, 1..) => outcome.measure(habit, Value::LongerThan(waited)),
            _ => {}
        }
    }
    let used: Vec<&Fate> = fates.iter().filter(|fate| fate.left.is_used()).collect();
    if let Some(promised) = used.iter().find_map(|fate| fate.promised) {
        outcome.measure(&PROMISED, Value::Count(u64::from(promised)));
    }
    let all_at_once = all_at_once(fates);
    outcome.seen.extend(all_at_once.clone());
    persistence(prober, &mut outcome, &used, all_at_once);
    if fates.iter().any(|fate| fate.end == End::Stopped) {
        outcome.status = Status::Cut("stopped while connections were still open".to_owned());
    } else if let Some(why) = never {
        outcome.saw(format!("not all connections came so far; {why}"));
    }
    outcome
}

/// Connections that were left alone one after the other and ended together: one event ended them all, or a timer that looks at all of them
/// now and then. From outside they look alike.
fn all_at_once(fates: &[Fate]) -> Option<String> {
    /// Starts this far apart show whether ends follow them.
    const APART: Duration = Duration::from_millis(150);
    let ended: Vec<(&Fate, Instant, Instant)> = fates
        .iter()
        .filter(|fate| matches!(fate.end, End::Fin | End::Reset))
        .filter_map(|fate| Some((fate, fate.ended?.checked_sub(fate.after?)?, fate.ended?)))
        .collect();
    let situations = SITUATIONS
        .iter()
        .filter(|left| ended.iter().any(|(fate, ..)| fate.left == **left));
    // One situation alone may have been served by one tick.
    if situations.count() < 3 {
        return None;
    }
    let spread = |of: &mut dyn Iterator<Item = Instant>| {
        let (low, high) = of.fold((None, None), |(low, high): (Option<Instant>, Option<Instant>), at| {
            (
                Some(low.map_or(at, |low| low.min(at))),
                Some(high.map_or(at, |high| high.max(at))),
            )
        });
        high?.checked_duration_since(low?)
    };
    let began = spread(&mut ended.iter().map(|(_, began, _)| *began))?;
    let over = spread(&mut ended.iter().map(|(.., over)| *over))?;
    (began >= APART && over * 5 <= began).then(|| {
        format!(
            "all {} connections ended within {:.0} ms, although they had been left alone over {:.0} ms: the server looks at them once in a \
             while, or something ended all of them (a restart?); measuring again tells",
            ended.len(),
            over.as_secs_f64() * 1000.0,
            began.as_secs_f64() * 1000.0
        )
    })
}

/// A line about a situation; `None` where nothing came of it.
fn tell(group: &Group, words: &str, longest: Duration) -> Option<String> {
    let kept = format!("kept for longer than {:.0} s", longest.as_secs_f64());
    let Some(times) = &group.times else {
        return (group.kept > 0)
            .then(|| format!("{words}: {kept}, as long as was waited (--longest-wait waits longer)"));
    };
    let resets = group.ended_by(|end| *end == End::Reset);
    let answers: Vec<u16> = group
        .ends
        .iter()
        .filter_map(|end| {
            if let End::Answer(status) = end {
                Some(*status)
            } else {
                None
            }
        })
        .collect();
    let how = match (resets, answers.first()) {
        (0, None) => "with FIN".to_owned(),
        (0, Some(status)) => format!("after the answer {status}"),
        (resets, _) if resets == times.count() => "with a reset".to_owned(),
        (resets, _) => format!("{resets} of {} with a reset, the others with FIN", times.count()),
    };
    let spread = match times.high().saturating_sub(times.low()) {
        apart if apart < Duration::from_millis(20) => String::new(),
        _ => format!(
            " ({:.3} to {:.3} s over {})",
            times.low().as_secs_f64(),
            times.high().as_secs_f64(),
            times.count()
        ),
    };
    let also = if group.kept > 0 {
        format!("; {} were {kept}", group.kept)
    } else {
        String::new()
    };
    // When it closes is another question, which `early-answer` asks.
    if let (0, Some(status)) = (resets, answers.iter().find(|status| **status != 408))
        && times.high() <= AT_ONCE
    {
        return Some(format!(
            "{words}: answered {status} after {:.3} s{spread}, without waiting for the rest{also}",
            times.median().as_secs_f64()
        ));
    }
    Some(format!(
        "{words}: closed after {:.3} s{spread}, {how}{also}",
        times.median().as_secs_f64()
    ))
}

/// What becomes of a connection after an answer, and what that can lose.
fn persistence(prober: &Prober<'_>, outcome: &mut Outcome, used: &[&Fate], all_at_once: Option<String>) {
    let judged: Vec<&&Fate> = used
        .iter()
        .filter(|fate| fate.after.is_some() || fate.end == End::Kept)
        .collect();
    if judged.is_empty() {
        return;
    }
    let at_once = AT_ONCE + prober.round_trip * 2;
    let closes_at_once = judged
        .iter()
        .all(|fate| fate.after.is_some_and(|after| after <= at_once));
    let announced = judged.iter().filter(|fate| fate.announced).count();
    if announced == judged.len() {
        outcome.measure(&KEPT, Value::Word("closed-announced"));
        return;
    }
    if closes_at_once {
        outcome.measure(&KEPT, Value::Word("closed-unannounced"));
        outcome.risks.push(Risk {
            cause: "unannounced-close-each-response",
            what: "the server closes after each answer and does not say so: a client that keeps the connection sends its next request \
                   into the close"
                .to_owned(),
            severity: Severity::Fault,
            loses: Loses::Outcome,
            sure: if judged.len() >= 3 { Confidence::Certain } else { Confidence::Likely },
            because: vec![format!(
                "{} of {} connections were closed within {:.0} ms of an answer that is HTTP/1.1 and has no Connection: close",
                judged.len(),
                judged.len(),
                judged.iter().filter_map(|fate| fate.after).max().unwrap_or_default().as_secs_f64() * 1000.0
            )],
            remedy: Remedy::Either,
            clauses: vec!["RFC 9112 §9.6", "RFC 9112 §9.3"],
        });
        return;
    }
    outcome.measure(&KEPT, Value::Word("kept"));
    let ends: Vec<&End> = judged
        .iter()
        .map(|fate| &fate.end)
        .filter(|end| **end != End::Kept)
        .collect();
    let word = match ends.first() {
        None => return,
        Some(End::Reset) => "reset",
        Some(End::Answer(_)) => "answer",
        Some(_) => "fin",
    };
    outcome.measure(&ENDS_BY, Value::Word(word));
    let times = Spread::of(judged.iter().filter_map(|fate| fate.after));
    let Some(times) = times else { return };
    let promised = judged.iter().find_map(|fate| fate.promised);
    match promised {
        Some(promised) if times.low() + Duration::from_millis(50) < Duration::from_secs(u64::from(promised)) => {
            outcome.saw(format!("Keep-Alive: timeout={promised} promises more than is kept"));
        }
        Some(promised) => outcome.saw(format!("Keep-Alive: timeout={promised} says so beforehand")),
        None => outcome.saw("the limit is not announced (no Keep-Alive: timeout)"),
    }
    outcome.risks.push(Risk {
        cause: "idle-timeout-inversion",
        what: format!(
            "idle connections are closed after {:.1} s: a client that reuses one that was idle for longer, or that sends as it closes, \
             gets no answer",
            times.low().as_secs_f64()
        ),
        severity: Severity::Trap,
        loses: Loses::Request,
        sure: match all_at_once {
            None => Confidence::Certain,
            Some(_) => Confidence::Likely,
        },
        because: std::iter::once(format!(
            "measured on {} connections: {:.3} to {:.3} s",
            times.count(),
            times.low().as_secs_f64(),
            times.high().as_secs_f64()
        ))
        .chain(all_at_once)
        .collect(),
        remedy: Remedy::Client,
        clauses: vec!["RFC 9112 §9.5"],
    });
}

#[cfg(test)]
mod tests;
