//! What the answers say, in words, numbers and risks.

use std::net::IpAddr;

use bypeer_diagnose::Confidence;

use super::judge::{During, Seen, Surplus, Wrong};
use super::shape::Ways;
use super::{OWNER, PIPELINING, Size};
use crate::check::{Loses, Outcome, Remedy, Risk, Severity};
use crate::habit::Value;

const CAUSE: &str = "desync-unsolicited-response";

pub(super) fn tell(seen: &Seen, ways: &Ways, size: &Size, sources: &[Option<IpAddr>]) -> Outcome {
    let mut outcome = Outcome::default();
    let (owner, how) = match (ways.tagged, ways.differ()) {
        (true, _) => ("token", "each second answer or more holds its request's token"),
        (false, true) => (
            "shape",
            "by what answers look like, which is weaker than tokens (--echo-path '/PATH?q={nonce}' gives some)",
        ),
        (false, false) => (
            "count",
            "only counted: the URL and a path that nobody has look alike (--echo-path '/PATH?q={nonce}' makes owners known)",
        ),
    };
    outcome.saw(format!(
        "{} requests over {} connections from {} addresses of ours, {} whole answers; their owners: {how}",
        seen.requests,
        seen.connections,
        sources.len(),
        seen.answers
    ));
    if size.whole {
        outcome.measure(&OWNER, Value::Word(owner));
    }
    owners(&mut outcome, seen, ways, size);
    surplus(&mut outcome, seen, size);
    pipelining(&mut outcome, seen, size);
    others(&mut outcome, seen);
    outcome
}

fn owners(outcome: &mut Outcome, seen: &Seen, ways: &Ways, size: &Size) {
    let swapped = seen.page_as_other + seen.other_as_page;
    // One direction alone has innocent reasons: two versions of a program behind one address, a page that is gone for a moment.
    let both_ways = seen.page_as_other > 0 && seen.other_as_page > 0;
    let wrong = seen.wrong.len() as u32 + if both_ways { swapped } else { 0 };
    let checked = if ways.differ() {
        seen.answers
    } else {
        seen.own + seen.wrong.len() as u32
    };
    if ways.tagged || ways.differ() {
        outcome.measure(
            size.wrong,
            Value::Share {
                of: u64::from(checked),
                had: u64::from(wrong),
            },
        );
    }
    if wrong == 0 && swapped == 0 {
        if ways.tagged || ways.differ() {
            outcome.saw(match seen.own {
                0 => "no answer came to another request".to_owned(),
                own => format!("no answer came to another request ({own} held their own token)"),
            });
        }
        return;
    }
    if !seen.wrong.is_empty() {
        let kinds = kinds(seen);
        outcome.saw(format!(
            "{} answers held another request's token: {kinds}",
            seen.wrong.len()
        ));
        let sure = if seen.wrong.len() > 1 {
            Confidence::Certain
        } else {
            Confidence::Likely
        };
        let because = vec![
            format!(
                "{} of {checked} answers held another request's token and not their own: {kinds}",
                seen.wrong.len()
            ),
            format!(
                "{} answers held their own, as did those that were asked for one at a time before",
                seen.own
            ),
        ];
        outcome.risks.push(mixed_up(CAUSE, sure, because));
    }
    if swapped == 0 {
        return;
    }
    let sides = format!(
        "{} answers to the URL looked like those to the other path, {} the other way round",
        seen.page_as_other, seen.other_as_page
    );
    if !both_ways {
        outcome.saw(format!("{sides}: undecided; --echo-path would tell"));
        return;
    }
    outcome.saw(sides.clone());
    if seen.wrong.is_empty() {
        let because = vec![sides, "asked for one at a time, each looked as it should".to_owned()];
        outcome.risks.push(Risk {
            what: "answers seem to come to requests of others: a client gets what was meant for somebody else"
                .to_owned(),
            ..mixed_up(CAUSE, Confidence::Likely, because)
        });
    }
}

/// The server gives answers to requests of others.
pub(super) fn mixed_up(cause: &'static str, sure: Confidence, because: Vec<String>) -> Risk {
    Risk {
        cause,
        what: "answers come to requests of others: a client gets what was meant for somebody else".to_owned(),
        severity: Severity::Fault,
        loses: Loses::Identity,
        sure,
        because,
        remedy: Remedy::Server,
        clauses: vec!["RFC 9112 §9.2"],
    }
}

fn surplus(outcome: &mut Outcome, seen: &Seen, size: &Size) {
    outcome.measure(size.surplus, Value::Count(seen.surplus.len() as u64));
    if seen.surplus.is_empty() {
        return;
    }
    let answers = seen
        .surplus
        .iter()
        .filter(|(surplus, _)| matches!(surplus, Surplus::Answer(_)))
        .count();
    let bytes = seen.surplus.len() - answers;
    let only_after_head = seen.surplus.iter().all(|(_, during)| *during == During::AfterHead);
    let words = format!(
        "{answers} answers and {bytes} times other bytes came unasked: {}",
        moments(seen)
    );
    outcome.saw(words.clone());
    outcome.risks.push(Risk {
        cause: CAUSE,
        what: if only_after_head {
            "a body follows the answer to HEAD: the next request of that connection takes it for its answer".to_owned()
        } else {
            "the server sends more than was asked for: the next request of that connection takes it for its answer"
                .to_owned()
        },
        severity: Severity::Fault,
        loses: Loses::Identity,
        sure: if seen.surplus.len() > 1 {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        because: vec![
            words,
            "every answer that was due had come, to its declared end".to_owned(),
        ],
        remedy: Remedy::Server,
        clauses: vec!["RFC 9112 §9.2", "RFC 9112 §6.3"],
    });
}

fn pipelining(outcome: &mut Outcome, seen: &Seen, size: &Size) {
    let word = match seen.pairs {
        (_, 0) => return,
        (both, all) if both == all => "all-answered",
        (0, _) => "first-only",
        _ => "mixed",
    };
    let (both, all) = seen.pairs;
    outcome.saw(format!("of {all} pipelined pairs {both} got both answers"));
    if size.whole {
        outcome.measure(&PIPELINING, Value::Word(word));
    }
}

fn others(outcome: &mut Outcome, seen: &Seen) {
    if seen.goodbyes > 0 {
        outcome.saw(format!(
            "{} times 400 or 408 came unasked, as some servers take leave",
            seen.goodbyes
        ));
    }
    unanswered(outcome, seen);
    if let (count @ 1.., Some(why)) = &seen.unopened {
        outcome.saw(format!("{count} connections could not be had; {why}"));
    }
    if seen.refused > 0 {
        outcome.saw("nobody listens there any more: the server died, or was stopped, while it was asked; look at its exit status");
    }
    for note in &seen.notes {
        outcome.saw(note.clone());
    }
}

/// No answer to a sound request that was not given up. Whether something went wrong, or a limit or a restart met the request, is not told.
fn unanswered(outcome: &mut Outcome, seen: &Seen) {
    let [closed, reset, silent] = seen.unanswered;
    if closed + reset + silent == 0 {
        return;
    }
    let words = format!("requests without an answer: {closed} closed, {reset} reset, {silent} silent");
    outcome.saw(words.clone());
    if closed > 0 {
        outcome.risks.push(Risk {
            cause: "upstream-no-response-close",
            what: "requests are closed upon in place of an answer".to_owned(),
            severity: Severity::Trap,
            loses: Loses::Outcome,
            sure: Confidence::Undecided,
            because: vec![
                format!("of {} requests, those that were given up included: {words}", seen.requests),
                "undecided between a worker that ends or fails, a limit that the request met, and a descriptor that was closed twice: the server's \
                 log at that moment tells the first, `bypeer watch --calls` the last"
                    .to_owned(),
            ],
            remedy: Remedy::Server,
            clauses: vec!["RFC 9112 §9.6"],
        });
    }
}

/// "3 of another address's connection (at the same time), …".
fn kinds(seen: &Seen) -> String {
    counted(seen.wrong.iter().map(|(wrong, during)| {
        let whose = match wrong {
            Wrong::SameConnection => "of another request of the same connection",
            Wrong::SameSource => "of another connection",
            Wrong::OtherSource => "of another address's connection",
            Wrong::Aborted => "of a request that had been given up",
        };
        format!("{whose} ({})", words(*during))
    }))
}

fn moments(seen: &Seen) -> String {
    counted(seen.surplus.iter().map(|(_, during)| words(*during).to_owned()))
}

fn counted(all: impl Iterator<Item = String>) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for words in all {
        match counts.iter_mut().find(|(known, _)| *known == words) {
            Some((_, count)) => *count += 1,
            None => counts.push((words, 1)),
        }
    }
    let list: Vec<String> = counts.iter().map(|(words, count)| format!("{count} {words}")).collect();
    list.join(", ")
}

fn words(during: During) -> &'static str {
    match during {
        During::Steady => "side by side",
        During::Pipelined => "pipelined",
        During::Single => "on connections for one request each",
        During::Abort => "beside an aborted request",
        During::AfterAbort => "after an aborted request",
        During::SlowBody => "beside a slow body",
        During::AfterHead => "after HEAD",
        During::Idle => "on an idle connection",
    }
}
