//! What the requests around a close say, in words, numbers and risks.

use std::time::Duration;

use bypeer_diagnose::Confidence;

use super::{CROSSING, Fate, LATE, NEXT_LOST, Place, REACH, Role, Sent, WIDTH};
use crate::check::{Loses, Outcome, Remedy, Risk, Severity, Status};
use crate::habit::{Spread, Value};
use crate::prober::Prober;

/// Lost requests from which on chance is no explanation.
const ENOUGH: usize = 2;

/// Around the close of idle connections.
pub(super) fn around_close(prober: &Prober<'_>, limits: &Spread, sent: &[Sent]) -> Outcome {
    let mut outcome = Outcome::default();
    let round_trip = sent
        .iter()
        .map(|sent| sent.handshake)
        .fold(prober.round_trip, Duration::min);
    outcome.saw(format!(
        "idle connections were closed after {}; {} requests were sent around that",
        range(limits.low(), limits.high()),
        sent.len()
    ));
    let answered: Vec<&Sent> = sent
        .iter()
        .filter(|sent| sent.place == Place::Before && sent.is_answered())
        .collect();
    if let Some(idle) = Spread::of(answered.iter().map(|sent| sent.idle)) {
        outcome.saw(format!(
            "sent before the close: {} requests, idle for {}: answered",
            answered.len(),
            range(idle.low(), idle.high())
        ));
    }
    let silent = sent
        .iter()
        .filter(|sent| sent.place == Place::Before && !sent.is_answered())
        .count();
    if silent > 0 {
        outcome.saw(format!(
            "{silent} requests got neither answer nor end within {:.0} s: lost in silence, or the server is slow",
            prober.options.patience.as_secs_f64()
        ));
    }
    late(&mut outcome, sent);
    // Sent that long before the close came, a request is safe.
    let safe = answered
        .iter()
        .map(|sent| sent.idle)
        .max()
        .map(|idle| limits.median().saturating_sub(idle));
    let lost = crossing(round_trip, safe, &mut outcome, sent);
    let control = answered
        .iter()
        .any(|sent| matches!(sent.role, Role::Halfway | Role::Before(_)));
    if !control {
        outcome.saw("no request well before the close was answered: nothing can be said about the close itself");
    } else if let Some(lost) = lost {
        outcome.risks.push(risk(round_trip, &lost, answered.len()));
    }
    if sent.is_empty() {
        outcome.status = Status::Failed("no request could be sent at the moment that was meant for it".to_owned());
    }
    outcome
}

/// Behind the answers of a server that closes after each and does not say so.
pub(super) fn behind_answers(sent: &[Sent]) -> Outcome {
    let mut outcome = Outcome::default();
    let before: Vec<&Sent> = sent
        .iter()
        .filter(|sent| matches!(sent.place, Place::Before | Place::Crossing(_)))
        .collect();
    // One that got neither answer nor end may be with a server that is slow.
    let lost: Vec<&Sent> = before
        .iter()
        .copied()
        .filter(|sent| !sent.is_answered() && sent.lead().is_some())
        .collect();
    outcome.saw(format!(
        "the server closes after each answer; {} requests were sent behind one, up to 20 ms later",
        sent.len()
    ));
    outcome.measure(
        &NEXT_LOST,
        Value::Share {
            of: before.len() as u64,
            had: lost.len() as u64,
        },
    );
    outcome.saw(if before.is_empty() {
        "the close had come each time before the next request was sent: from here a client is safe that looks for the end before it sends"
            .to_owned()
    } else {
        format!(
            "sent before the close had come: {} of {} got no answer{}",
            lost.len(),
            before.len(),
            ended_by(&lost)
        )
    });
    late(&mut outcome, sent);
    if lost.is_empty() {
        return outcome;
    }
    outcome.measure(&CROSSING, Value::Word(one_word(&lost)));
    outcome.saw(retry(&lost));
    outcome.risks.push(Risk {
        cause: "unannounced-close-each-response",
        what: "a client that uses the connection again, as it may, loses that request in the close".to_owned(),
        severity: Severity::Fault,
        loses: loses(&lost),
        sure: if lost.len() > ENOUGH {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        because: vec![
            format!(
                "{} of {} requests that were sent before the close had come got no answer{}",
                lost.len(),
                before.len(),
                ended_by(&lost)
            ),
            format!(
                "each connection's first request was answered, without Connection: close ({} of them)",
                sent.len()
            ),
        ],
        remedy: Remedy::Either,
        clauses: vec!["RFC 9112 §9.6", "RFC 9112 §9.3"],
    });
    outcome
}

/// What requests met that were sent after the FIN had come.
fn late(outcome: &mut Outcome, sent: &[Sent]) {
    let late: Vec<(&Sent, Duration)> = sent
        .iter()
        .filter_map(|sent| match sent.place {
            Place::After(late) => Some((sent, late)),
            _ => None,
        })
        .collect();
    let Some(times) = Spread::of(late.iter().map(|(_, late)| *late)) else {
        return;
    };
    let count = |is: fn(&Fate) -> bool| late.iter().filter(|(sent, _)| is(&sent.fate)).count();
    let reset = count(|fate| matches!(fate, Fate::Pipe | Fate::Reset));
    let swallowed = count(|fate| *fate == Fate::Silence);
    let answered = count(|fate| matches!(fate, Fate::Answered(_)));
    let all = late.len();
    let (word, words) = if reset == all {
        (
            "reset",
            "each met a reset (after the end of file that was there to read: EPIPE)".to_owned(),
        )
    } else if swallowed == all {
        (
            "swallowed",
            "each was swallowed without a reset: the server lingers, and throws away what comes".to_owned(),
        )
    } else if answered == all {
        ("answered", "each was answered".to_owned())
    } else {
        (
            "mixed",
            format!("{reset} met a reset, {swallowed} were swallowed without one, {answered} were answered"),
        )
    };
    outcome.measure(&LATE, Value::Word(word));
    outcome.saw(format!(
        "sent {} after the close had come: {all} requests; {words}",
        range(times.low(), times.high())
    ));
}

/// What became of requests that crossed the close; those that were lost, where there are any.
fn crossing<'a>(
    round_trip: Duration,
    safe: Option<Duration>,
    outcome: &mut Outcome,
    sent: &'a [Sent],
) -> Option<Vec<&'a Sent>> {
    let crossing: Vec<&Sent> = sent
        .iter()
        .filter(|sent| matches!(sent.place, Place::Crossing(_)))
        .collect();
    let leads = Spread::of(crossing.iter().filter_map(|sent| sent.lead()));
    let Some(leads) = leads else {
        outcome.saw(format!(
            "no request met the close itself: here it is dangerous for about a round trip ({}), and chance decides whether one of {} \
             meets that",
            millis(round_trip),
            sent.len()
        ));
        return None;
    };
    outcome.measure(&WIDTH, Value::Time(leads.clone()));
    outcome.measure(&CROSSING, Value::Word(one_word(&crossing)));
    outcome.saw(format!(
        "sent {} before the close came, too late for the server: {} requests{}",
        range(leads.low(), leads.high()),
        crossing.len(),
        ended_by(&crossing)
    ));
    let natural = round_trip * 2 + REACH;
    let most = safe
        .filter(|safe| *safe > leads.high())
        .map_or_else(|| "more".to_owned(), millis);
    outcome.saw(format!(
        "so the dangerous time before the close is {} to {most} long, and a round trip takes {}",
        millis(leads.high()),
        millis(round_trip)
    ));
    if leads.high() > natural {
        outcome.saw("that is far more than a round trip: the server no longer reads some time before it closes");
    }
    let lost: Vec<&Sent> = crossing
        .into_iter()
        .filter(|sent| sent.fate != Fate::Answered(408))
        .collect();
    if lost.is_empty() {
        outcome.saw("a 408 was their answer: it says that the request was not taken, and it may be sent again");
        return None;
    }
    outcome.saw(retry(&lost));
    Some(lost)
}

fn risk(round_trip: Duration, lost: &[&Sent], answered: usize) -> Risk {
    let leads = Spread::of(lost.iter().filter_map(|sent| sent.lead()));
    let (low, high) = leads.map_or((Duration::ZERO, Duration::ZERO), |leads| (leads.low(), leads.high()));
    Risk {
        cause: "keepalive-race-unannounced-close",
        what: "a request that crosses the close of an idle connection gets no answer".to_owned(),
        severity: Severity::Trap,
        loses: loses(lost),
        sure: if lost.len() >= ENOUGH {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        because: vec![
            format!(
                "{} requests, sent {} before the close came here, got no answer{}",
                lost.len(),
                range(low, high),
                ended_by(lost)
            ),
            format!(
                "{answered} requests on connections like them, sent before that, were answered; a round trip takes {}",
                millis(round_trip)
            ),
        ],
        remedy: Remedy::Either,
        clauses: vec!["RFC 9112 §9.5", "RFC 9112 §9.3.1", "RFC 9110 §9.2.2"],
    }
}

/// A FIN and then a reset: the server's kernel answered, after its program had closed. In all other cases nobody can tell.
fn loses(lost: &[&Sent]) -> Loses {
    if lost.iter().all(|sent| sent.was_late()) {
        Loses::Request
    } else {
        Loses::Outcome
    }
}

fn retry(lost: &[&Sent]) -> String {
    match loses(lost) {
        Loses::Request => {
            "from inside: end of file, then a reset; the request came after the close and was not processed: a retry is safe".to_owned()
        }
        _ => "from inside nobody can tell whether such a request was processed: a retry is safe for idempotent methods only".to_owned(),
    }
}

/// ": 2 EOF, 1 ECONNRESET"; nothing of nothing.
fn ended_by(sent: &[&Sent]) -> String {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for sent in sent {
        let words = sent.words();
        match kinds.iter_mut().find(|(known, _)| *known == words) {
            Some((_, count)) => *count += 1,
            None => kinds.push((words, 1)),
        }
    }
    let list: Vec<String> = kinds.iter().map(|(words, count)| format!("{count} {words}")).collect();
    if list.is_empty() {
        String::new()
    } else {
        format!(": {}", list.join(", "))
    }
}

fn one_word(sent: &[&Sent]) -> &'static str {
    let word = |sent: &Sent| match &sent.fate {
        Fate::Answered(408) => "answer-408",
        Fate::Answered(_) | Fate::Other(_) => "mixed",
        Fate::Eof => "eof",
        Fate::Reset | Fate::Pipe => "reset",
        Fate::Silence => "silence",
    };
    let mut words = sent.iter().map(|sent| word(sent));
    let first = words.next().unwrap_or("mixed");
    if words.all(|word| word == first) {
        first
    } else {
        "mixed"
    }
}

impl Sent {
    /// By the server's program; a 408 says that it was not.
    fn is_answered(&self) -> bool {
        matches!(self.fate, Fate::Answered(status) if status != 408)
    }

    fn lead(&self) -> Option<Duration> {
        match self.place {
            Place::Crossing(lead) => Some(lead),
            _ => None,
        }
    }

    fn was_late(&self) -> bool {
        self.fate == Fate::Pipe || self.fate == Fate::Eof && self.reset_after
    }

    fn words(&self) -> String {
        match &self.fate {
            Fate::Answered(status) => format!("answered {status}"),
            Fate::Eof if self.reset_after => "end of file, then a reset (EPIPE)".to_owned(),
            Fate::Eof => "end of file, without a reset".to_owned(),
            Fate::Reset => "ECONNRESET".to_owned(),
            Fate::Pipe => "EPIPE".to_owned(),
            Fate::Silence => "no answer and no end".to_owned(),
            Fate::Other(words) => words.clone(),
        }
    }
}

fn range(low: Duration, high: Duration) -> String {
    let unit = |time: Duration| {
        if high >= Duration::from_secs(1) {
            format!("{:.3}", time.as_secs_f64())
        } else {
            format!("{:.1}", time.as_secs_f64() * 1000.0)
        }
    };
    let name = if high >= Duration::from_secs(1) { "s" } else { "ms" };
    let (low, high) = (unit(low), unit(high));
    if low == high {
        format!("{low} {name}")
    } else {
        format!("{low} to {high} {name}")
    }
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
