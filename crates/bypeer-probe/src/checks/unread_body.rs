//! Whether an answer survives a request body that its handler does not read.

use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;
use bypeer_wire::app::Method;

use super::fate::{Fate, Fates, SMALL, Seen, longest, unread_for};
use crate::check::{Check, Loses, Outcome, Plan, Remedy, Risk, Severity, Status, Turn};
use crate::connection::{Connection, Step};
use crate::habit::{Habit, Measured, Tolerance, Value};
use crate::http::{AnswerReader, Fed, Request};
use crate::prober::{NOBODYS_PATH, Options, Prober};

pub(super) static CHECK: Check = Check {
    id: "unread-body",
    title: "whether answers survive a request body that is not read",
    manual: include_str!("unread_body.md"),
    opt_in: false,
    turn: Turn::First,
    habits: &[&ANSWER, &LOST_AT_ONCE, &LOST_APART, &LOST_LATE, &SIZE, &NEXT],
    plan,
    run,
};

/// What becomes of the answer, at worst.
pub static ANSWER: Habit = Habit {
    name: "unread-body.answer",
    what: "an answer beside a request body: whole, reset-after-fin, reset-behind, short, cut",
    tolerance: Tolerance::Exact,
};
/// Answers lost with head and body in one write.
pub static LOST_AT_ONCE: Habit = Habit {
    name: "unread-body.lost-at-once",
    what: "answers lost with head and body in one write",
    tolerance: Tolerance::Never,
};
/// Answers lost with head and body in two writes.
pub static LOST_APART: Habit = Habit {
    name: "unread-body.lost-apart",
    what: "answers lost with the body in a second write",
    tolerance: Tolerance::Never,
};
/// Answers lost with a pause between head and body.
pub static LOST_LATE: Habit = Habit {
    name: "unread-body.lost-late",
    what: "answers lost with the body 60 ms behind the head",
    tolerance: Tolerance::Never,
};
/// Size of the answers.
pub static SIZE: Habit = Habit {
    name: "unread-body.size",
    what: "bytes of the answer that was tried",
    tolerance: Tolerance::Never,
};
/// What becomes of the next request on the connection.
pub static NEXT: Habit = Habit {
    name: "unread-body.next-request",
    what: "the next request on a connection with a body before it: answered, misread",
    tolerance: Tolerance::Exact,
};

/// Bytes of the bodies, in turns: one line of a form, one byte, more than the first read of most servers.
const SIZES: [usize; 5] = [22, 1, 16_000, 7, 22];
/// How late a late body is.
const LATE: Duration = Duration::from_millis(60);
/// How head and body are written.
const WAYS: [Way; 4] = [Way::Without, Way::AtOnce, Way::Apart, Way::Late];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// No body: the control.
    Without,
    /// Head and body in one write.
    AtOnce,
    /// The body in a second write, directly after the first.
    Apart,
    /// The body in a second write, later.
    Late,
}

/// What is asked for.
#[derive(Clone, Debug)]
struct Place {
    method: Method,
    path: String,
    /// For people; without the query.
    shown: String,
}

/// One round.
#[derive(Debug)]
struct Round {
    place: usize,
    way: Way,
    /// Bytes of its body.
    size: usize,
    seen: Seen,
    /// The status of the next request on the same connection; `None` where there was none or it was not answered.
    next: Option<u16>,
}

fn plan(options: &Options) -> Plan {
    let (places, what) = match &options.body_path {
        Some(_) => (1, "POST to --body-path"),
        None => (2, "GET to the URL's path and POST to a path that nobody has"),
    };
    let connections = places * WAYS.len() as u32 * options.connections;
    let one = longest(options, 2);
    Plan {
        what: format!(
            "sends {connections} requests, each followed by one more where the connection stays: {what}, without a body, and with one of \
             1 to {} bytes, written with the head, apart and late; leaves the answers unread for a moment",
            SIZES.iter().max().unwrap_or(&0)
        ),
        connections,
        requests: connections * 2,
        longest: if options.serial == Some(true) {
            one * connections
        } else {
            one * connections.div_ceil(options.at_once.max(1))
        },
    }
}

fn places(prober: &Prober<'_>) -> Vec<Place> {
    let without_query = |path: &str| path.split_once('?').map_or(path, |(path, _)| path).to_owned();
    let post = |path: &str| Place {
        method: Method::Post,
        path: path.to_owned(),
        shown: format!("POST {}", without_query(path)),
    };
    match &prober.options.body_path {
        Some(path) => vec![post(path)],
        None => vec![
            Place {
                method: Method::Get,
                path: prober.target.path.clone(),
                shown: format!("GET {}", prober.target.shown_path()),
            },
            post(NOBODYS_PATH),
        ],
    }
}

fn run(prober: &Prober<'_>) -> Outcome {
    let places = places(prober);
    let each = if prober.serial {
        prober.options.connections.min(3)
    } else {
        prober.options.connections
    };
    let count = each * (places.len() * WAYS.len()) as u32;
    prober.doing(
        "sending bodies that may not be read",
        Instant::now() + (CHECK.plan)(prober.options).longest,
    );
    let rounds = prober.side_by_side(count, |index| {
        // Ways and places take turns, so that what disturbs one disturbs all.
        let index = index as usize;
        let way = WAYS[index % WAYS.len()];
        let place = index / WAYS.len() % places.len();
        let size = SIZES[index / (WAYS.len() * places.len()) % SIZES.len()];
        let (seen, next) = try_one(prober, &places[place], way, size);
        Round {
            place,
            way,
            size,
            seen,
            next,
        }
    });
    let mut outcome = Outcome::default();
    let mut worst = None;
    for (index, place) in places.iter().enumerate() {
        let rounds: Vec<&Round> = rounds.iter().filter(|round| round.place == index).collect();
        let judged = judge(&mut outcome, place, &rounds);
        if worst
            .as_ref()
            .is_none_or(|worst: &Judged| judged.badness > worst.badness)
        {
            worst = Some(judged);
        }
    }
    // One habit of one server: it is told once, where it shows worst.
    if let Some(worst) = worst {
        outcome.measured.extend(worst.measured);
        outcome.risks.extend(worst.risk);
    }
    next_requests(prober, &mut outcome, &rounds);
    if rounds.iter().any(|round| round.seen.fate == Fate::Stopped) || rounds.len() < count as usize {
        outcome.status = Status::Cut("stopped before all requests were sent".to_owned());
    }
    outcome
}

/// One request, written in this way; the answer is left unread for a moment.
fn try_one(prober: &Prober<'_>, place: &Place, way: Way, size: usize) -> (Seen, Option<u16>) {
    let mut connection = match prober.open_with(SMALL) {
        Ok(connection) => connection,
        Err(error) => return (Seen::unopened(&error, prober), None),
    };
    let request = prober.request(place.method.clone(), &place.path);
    let request = match (way, &place.method) {
        (Way::Without, Method::Get) => request,
        (Way::Without, _) => request.with_body(0),
        _ => request.with_body(size),
    };
    let seen = provoke(prober, &mut connection, &request, way);
    if seen.fate != Fate::Open || seen.announced || seen.surplus > 0 {
        return (seen, None);
    }
    let next = next_status(prober, &mut connection);
    (seen, next)
}

/// The status of one more request on the connection. Its body is not waited for: through a small window that takes long.
fn next_status(prober: &Prober<'_>, connection: &mut Connection) -> Option<u16> {
    let until = Instant::now() + prober.options.patience;
    connection.send_all(&prober.get().bytes(), until).ok()?;
    let mut reader = AnswerReader::new(&Method::Get);
    while !reader.has_head() {
        match connection.step(&[], until) {
            Step::Received(_) => {
                if reader.feed(&connection.take(), Instant::now()) == Fed::NotHttp {
                    return None;
                }
            }
            _ => return None,
        }
    }
    reader.finish().map(|answer| answer.head.status)
}

fn provoke(prober: &Prober<'_>, connection: &mut Connection, request: &Request, way: Way) -> Seen {
    let until = Instant::now() + prober.options.patience;
    let body = request.body.as_deref().unwrap_or_default();
    let sent = match way {
        Way::Without | Way::AtOnce => connection.send_all(&request.bytes(), until),
        Way::Apart => connection
            .send_all(&request.head(), until)
            .and_then(|()| connection.send_all(body, until)),
        Way::Late => connection.send_all(&request.head(), until).and_then(|()| {
            connection.hold(Instant::now() + LATE);
            connection.send_all(body, until)
        }),
    };
    // A send that fails is no end: what came before the reset can still be read.
    if sent.is_ok() {
        connection.hold(Instant::now() + unread_for(prober));
    }
    let mut seen = Seen::read(connection, prober, &request.method);
    seen.send_failed = connection.log().send_failed.map(|(_, broken)| broken);
    seen
}

/// What was measured at one place.
struct Judged {
    badness: u8,
    measured: Vec<Measured>,
    risk: Option<Risk>,
}

fn judge(outcome: &mut Outcome, place: &Place, rounds: &[&Round]) -> Judged {
    let by = |way: Way| Fates::of(rounds, |round| (round.way == way).then_some(&round.seen));
    let [without, at_once, apart, late] = WAYS.map(by);
    let all = Fates(
        [&at_once, &apart, &late]
            .iter()
            .flat_map(|fates| fates.0.clone())
            .collect(),
    );
    let status = without
        .status()
        .map_or_else(String::new, |status| format!(" ({status}, {} bytes)", without.size()));
    outcome.saw(format!("{}{status}: without a body {}", place.shown, without.words()));
    for (words, fates, way) in [
        ("a body in the same write", &at_once, Way::AtOnce),
        ("in a second write", &apart, Way::Apart),
        ("60 ms later", &late, Way::Late),
    ] {
        let mine: Vec<&Round> = rounds.iter().copied().filter(|round| round.way == way).collect();
        let sizes = numbers(&lost_sizes(&mine));
        let cut = fates
            .cut_words()
            .map_or_else(String::new, |words| format!(" (bodies of {sizes} bytes: {words})"));
        outcome.saw(format!("  {words}: {}{cut}", fates.words()));
    }
    let unread = all.that(|seen| seen.send_failed.is_some() && seen.got > 0);
    if unread > 0 {
        outcome.saw(format!(
            "  in {unread} the body could not be sent any more, and the answer could still be read after that error: many clients do not look"
        ));
    }
    let mut judged = Judged {
        badness: 0,
        measured: Vec::new(),
        risk: None,
    };
    if without.count() == 0 || all.count() == 0 {
        return judged;
    }
    let after_fin = all.that(|seen| seen.fate == Fate::ResetAfterFin);
    let behind_proxy = all.that(|seen| is_short(seen, without.status()));
    let (badness, word) = match (all.lost(), behind_proxy, all.reset_behind(), after_fin) {
        (1.., _, _, _) => (5, "cut"),
        (0, 1.., _, _) => (4, "short"),
        (0, 0, 1.., _) => (3, "reset-behind"),
        (0, 0, 0, 1..) => (2, "reset-after-fin"),
        (0, 0, 0, 0) => (1, "whole"),
    };
    judged.badness = badness;
    let mut measured = Outcome::default();
    let share = |fates: &Fates<'_>| Value::Share {
        of: fates.count() as u64,
        had: fates.lost() as u64,
    };
    measured.measure(&ANSWER, Value::Word(word));
    measured.measure(&LOST_AT_ONCE, share(&at_once));
    measured.measure(&LOST_APART, share(&apart));
    measured.measure(&LOST_LATE, share(&late));
    measured.measure(&SIZE, Value::Count(without.size()));
    judged.measured = measured.measured;
    if !without.are_well(1) {
        outcome.saw("  it is not well without a body either: what that is, a body does not tell; see close-manners");
        return judged;
    }
    let tried = Tried {
        without: &without,
        at_once: &at_once,
        apart: &apart,
        late: &late,
    };
    judged.risk = match word {
        "cut" => Some(tried.cut(place, &all, &lost_sizes(rounds))),
        "short" => tried.short(place, behind_proxy, all.count()),
        "reset-behind" => Some(tried.reset_behind(place, &all)),
        "reset-after-fin" => Some(tried.reset_after_fin(place, after_fin, all.count())),
        _ => None,
    };
    judged
}

/// The answers at one place, by the way in which the body was written.
struct Tried<'a> {
    without: &'a Fates<'a>,
    at_once: &'a Fates<'a>,
    apart: &'a Fates<'a>,
    late: &'a Fates<'a>,
}

impl Tried<'_> {
    /// How sure it is that the body does it, when it was seen so often in each way.
    fn sure(&self, seen: impl Fn(&Fates<'_>) -> usize) -> Confidence {
        let control = self.without.count() >= 3;
        let always = [self.late, self.apart, self.at_once]
            .iter()
            .any(|fates| fates.count() >= 3 && seen(fates) == fates.count());
        let total: usize = [self.late, self.apart, self.at_once]
            .iter()
            .map(|fates| seen(fates))
            .sum();
        match (control, always, total) {
            (true, true, _) => Confidence::Certain,
            (true, false, 3..) => Confidence::Likely,
            _ => Confidence::Undecided,
        }
    }

    fn control(&self) -> String {
        format!("the same without a body: 0 of {} reset", self.without.count())
    }

    fn cut(&self, place: &Place, all: &Fates<'_>, sizes: &[usize]) -> Risk {
        let sure = self.sure(|fates| fates.lost());
        let share = |fates: &Fates<'_>| format!("{} of {}", fates.lost(), fates.count());
        Risk {
            cause: "unread-request-body",
            what: format!(
                "the server closes with the request's body unread, and the reset that follows cuts off its answer to {}; no setting of a \
                 client prevents it, and writing head and body at once at best makes it rarer",
                place.shown
            ),
            severity: if sure == Confidence::Undecided {
                Severity::Trap
            } else {
                Severity::Fault
            },
            loses: all.loses(),
            sure,
            because: vec![
                format!(
                    "lost with the body late: {}, in a second write: {}, in the same write: {}",
                    share(self.late),
                    share(self.apart),
                    share(self.at_once)
                ),
                self.control(),
                format!(
                    "{}; bodies of {} bytes",
                    all.cut_words().unwrap_or_default(),
                    numbers(sizes)
                ),
            ],
            remedy: Remedy::Server,
            clauses: vec!["RFC 9112 §9.6", "RFC 9112 §9.3", "RFC 9293 §3.6.1"],
        }
    }

    /// A proxy in front turns its server's reset into an end of its own: a FIN too early, or a 502.
    fn short(&self, place: &Place, short: usize, of: usize) -> Option<Risk> {
        let status = self.without.status();
        let count = |fates: &Fates<'_>| fates.that(|seen| is_short(seen, status));
        // A gateway that says 502 now and then says so without a body, too.
        if short < 2 || self.without.count() < 3 || count(self.without) > 0 {
            return None;
        }
        let share = |fates: &Fates<'_>| format!("{} of {}", count(fates), fates.count());
        let always = [self.late, self.apart, self.at_once]
            .iter()
            .any(|fates| fates.count() >= 3 && count(fates) == fates.count());
        // A FIN in place of any answer may be how a server refuses bodies.
        let has_begun = [self.late, self.apart, self.at_once]
            .iter()
            .any(|fates| fates.that(|seen| is_short(seen, status) && seen.fate != Fate::Empty) > 0);
        let shown = always && has_begun;
        Some(Risk {
            cause: "unread-request-body",
            what: format!(
                "answers to {} end too early, or become 502, when the request has a body: a proxy answers, and the server behind it closes \
                 with the body unread; its error log says so (reset by peer)",
                place.shown
            ),
            severity: if shown { Severity::Fault } else { Severity::Trap },
            loses: Loses::Answer,
            // It is seen through somebody else.
            sure: if shown {
                Confidence::Likely
            } else {
                Confidence::Undecided
            },
            because: vec![
                format!(
                    "with the body late: {}, in a second write: {}, in the same write: {} ({short} of {of})",
                    share(self.late),
                    share(self.apart),
                    share(self.at_once)
                ),
                format!("the same without a body: 0 of {}", self.without.count()),
            ],
            remedy: Remedy::Server,
            clauses: vec!["RFC 9112 §9.6", "RFC 9112 §9.3", "RFC 9110 §15.6.3"],
        })
    }

    fn reset_behind(&self, place: &Place, all: &Fates<'_>) -> Risk {
        Risk {
            cause: "unread-request-body",
            what: format!(
                "the server closes with the request's body unread, and a reset follows its answer to {}: the {} bytes came whole here, but \
                 a larger answer, a lost packet or a client system that drops what is unread loses it",
                place.shown,
                all.size()
            ),
            severity: Severity::Trap,
            loses: Loses::Answer,
            // A body that is late meets a closed socket, for the same reason: nobody waits for it.
            sure: self.sure(|fates| fates.reset_behind() + fates.that(|seen| seen.fate == Fate::ResetAfterFin)),
            because: vec![
                format!(
                    "reset right behind the answer, no FIN before: {} of {} with a body",
                    all.reset_behind(),
                    all.count()
                ),
                self.control(),
            ],
            remedy: Remedy::Server,
            clauses: vec!["RFC 9112 §9.6", "RFC 9112 §9.3", "RFC 9293 §3.6.1"],
        }
    }

    fn reset_after_fin(&self, place: &Place, count: usize, of: usize) -> Risk {
        Risk {
            cause: "late-data-after-close",
            what: format!(
                "the server answers {} and closes before the body is there, and resets when it comes: the answer was here by then",
                place.shown
            ),
            severity: Severity::Note,
            loses: Loses::Nothing,
            sure: self.sure(|fates| fates.that(|seen| seen.fate == Fate::ResetAfterFin)),
            because: vec![
                format!("whole answer, FIN, then a reset: {count} of {of} with a body"),
                self.control(),
            ],
            remedy: Remedy::Server,
            clauses: vec!["RFC 9112 §9.6"],
        }
    }
}

/// It ended with a FIN before its end, or a gateway made a 502 or 504 of it.
fn is_short(seen: &Seen, control: Option<u16>) -> bool {
    let gateway = matches!(seen.status, Some(502 | 504)) && seen.status != control;
    gateway || matches!(seen.fate, Fate::Short | Fate::Empty)
}

/// The sizes of the bodies beside which answers were lost.
fn lost_sizes(rounds: &[&Round]) -> Vec<usize> {
    let lost = rounds
        .iter()
        .filter(|round| round.way != Way::Without && round.seen.is_lost());
    let mut sizes: Vec<usize> = lost.map(|round| round.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn numbers(sizes: &[usize]) -> String {
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    sizes.join(", ")
}

/// Whether a body that was not read is taken for the next request.
fn next_requests(prober: &Prober<'_>, outcome: &mut Outcome, rounds: &[Round]) {
    let expected = prober.first.head.status;
    let next = |with_body: bool| -> Vec<u16> {
        let mine = rounds.iter().filter(|round| (round.way != Way::Without) == with_body);
        mine.filter_map(|round| round.next).collect()
    };
    let (with, without) = (next(true), next(false));
    if with.is_empty() {
        return;
    }
    let misread: Vec<u16> = with
        .iter()
        .copied()
        .filter(|status| *status != expected && matches!(status, 400 | 405 | 501 | 505))
        .collect();
    let control_is_well = without.len() >= 2 && without.iter().all(|status| *status == expected);
    if misread.is_empty() {
        outcome.measure(&NEXT, Value::Word("answered"));
        return;
    }
    let status = misread[0];
    outcome.saw(format!(
        "the next request on the same connection got {status} in place of {expected} in {} of {} behind a body, in {} of {} without one",
        misread.len(),
        with.len(),
        without.iter().filter(|status| **status != expected).count(),
        without.len()
    ));
    // One alone may be something else that went wrong in that moment.
    if !control_is_well || misread.len() < 2 {
        return;
    }
    outcome.measure(&NEXT, Value::Word("misread"));
    outcome.risks.push(Risk {
        cause: "desync-unsolicited-response",
        what: "a body that is not read is taken for the beginning of the next request on the connection: answers go wrong, and who \
               chooses the body chooses a request"
            .to_owned(),
        severity: Severity::Fault,
        loses: Loses::Identity,
        sure: if misread.len() >= 3 { Confidence::Certain } else { Confidence::Likely },
        because: vec![
            format!("the next request got {status} in {} of {} behind a body of x's", misread.len(), with.len()),
            format!("and {expected} in {} of {} without a body before it", without.len(), without.len()),
        ],
        remedy: Remedy::Server,
        clauses: vec!["RFC 9112 §9.3", "RFC 9112 §11.2"],
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
