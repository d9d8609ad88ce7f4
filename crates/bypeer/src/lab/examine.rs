//! What `explain` makes of a host's capture, held against what the scenario says is true.

use bypeer_diagnose::{Confidence, Finding};
use bypeer_lab::scenario::Truth;
use bypeer_lab::tally::Explained;
use bypeer_wire::capture::{Parser, Step};

use crate::engine::{Engine, Outcome};
use crate::selection::Selection;

/// Whose captures are explained: the two ends', and those of whom the truth speaks.
pub(super) fn hosts(truth: &Truth) -> Vec<&str> {
    let mut hosts = vec!["client", "server"];
    for host in truth.finds.keys().chain(truth.also.keys()) {
        if !hosts.contains(&host.as_str()) {
            hosts.push(host);
        }
    }
    hosts
}

/// Runs the engine over a capture in memory.
pub(super) fn explain(capture: &[u8]) -> Outcome {
    let mut engine = Engine::new(Selection::default(), false);
    let mut parser = Parser::new();
    let mut rest = capture;
    while let Ok(step) = parser.next(rest) {
        match step {
            Step::Frame { consumed, frame } => {
                engine.frame(&frame);
                rest = rest.get(consumed..).unwrap_or_default();
            }
            Step::Skipped { consumed, .. } => rest = rest.get(consumed..).unwrap_or_default(),
            _ => break,
        }
    }
    engine.finish()
}

/// What there is to find in a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Happened {
    /// A client did not get what it asked for.
    pub(super) failed: bool,
    /// It was what the scenario claims.
    pub(super) shown: bool,
    /// A reset was on the wire.
    pub(super) reset: bool,
}

/// Holds the findings of `host`'s capture against the truth; the words tell of a wrong one.
///
/// A round that a change cured, or that chance spared, has nothing to find: any accusation is wrong then. A retry cures the client and leaves
/// the reset: that may still be found. So may what the change puts in the cause's place.
pub(super) fn judge(
    outcome: &Outcome,
    host: &str,
    cause: Option<&str>,
    truth: &Truth,
    happened: Happened,
) -> (Explained, Option<String>) {
    let empty = Vec::new();
    let instead = truth.finds_instead.get(host);
    let right: Vec<&str> = match instead.or(truth.finds.get(host)) {
        Some(finds) => finds.iter().map(String::as_str).collect(),
        None => cause.into_iter().collect(),
    };
    let also = truth.also.get(host).unwrap_or(&empty);
    let is_right = |id: &str| right.contains(&id);
    let is_fair = |id: &str| also.iter().any(|fair| fair == id);
    let (mut seen, mut fair, mut undecided, mut wrong) = (false, false, false, None);
    for finding in &outcome.findings {
        let candidates = || std::iter::once(finding.cause.id).chain(finding.rivals.iter().map(|rival| rival.cause.id));
        if finding.confidence == Confidence::Undecided {
            if candidates().any(|id| is_right(id) || is_fair(id)) {
                undecided = true;
            } else if !finding.harmless {
                wrong = Some(words(finding));
            }
        } else if is_right(finding.cause.id) {
            seen = true;
        } else if is_fair(finding.cause.id) {
            fair = true;
        } else if !finding.harmless {
            wrong = Some(words(finding));
        }
    }
    let nothing_happened = !happened.failed && !happened.shown && !happened.reset;
    let is_put_there = |id: &str| instead.is_some_and(|instead| instead.iter().any(|put| put == id));
    let accuses = |finding: &&Finding| !finding.harmless && !is_put_there(finding.cause.id);
    let accused = outcome.findings.iter().find(accuses);
    if let (true, Some(accused)) = (nothing_happened, accused) {
        wrong = Some(words(accused));
    }
    if let Some(wrong) = wrong {
        return (Explained::Wrong, Some(wrong));
    }
    let found = seen || fair || undecided;
    let nothing_to_find = right.is_empty() || !happened.failed && !happened.shown;
    let verdict = if seen || nothing_to_find && !found {
        Explained::Right
    } else if fair {
        Explained::Fair
    } else if undecided {
        Explained::Undecided
    } else {
        Explained::Silent
    };
    (verdict, None)
}

fn words(finding: &Finding) -> String {
    format!(
        "{} {}: {}",
        confidence(finding.confidence),
        finding.cause.id,
        finding.verdict
    )
}

fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Certain => "certain",
        Confidence::Likely => "likely",
        Confidence::Undecided => "undecided",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const FAILED: Happened = Happened {
        failed: true,
        shown: true,
        reset: true,
    };
    const SPARED: Happened = Happened {
        failed: false,
        shown: false,
        reset: false,
    };

    fn verdict_of_silence(truth: &Truth, happened: Happened) -> Explained {
        judge(&explain(&[]), "client", Some("closed-port"), truth, happened).0
    }

    #[test]
    fn silence_is_right_only_where_there_is_nothing_to_find() {
        let truth = Truth::default();
        assert_eq!(verdict_of_silence(&truth, FAILED), Explained::Silent);
        assert_eq!(verdict_of_silence(&truth, SPARED), Explained::Right);
        let otherwise = Happened { shown: false, ..FAILED };
        assert_eq!(verdict_of_silence(&truth, otherwise), Explained::Silent);
    }

    #[test]
    fn a_change_may_put_another_trouble_in_the_causes_place() {
        let instead = Truth {
            finds_instead: BTreeMap::from([("client".to_owned(), vec!["silent-drop".to_owned()])]),
            ..Truth::default()
        };
        assert_eq!(verdict_of_silence(&instead, FAILED), Explained::Silent);
        assert_eq!(verdict_of_silence(&instead, SPARED), Explained::Right);
    }

    #[test]
    fn a_truth_may_say_that_a_capture_holds_nothing_to_find() {
        let nothing = Truth {
            finds: BTreeMap::from([("client".to_owned(), Vec::new())]),
            ..Truth::default()
        };
        assert_eq!(verdict_of_silence(&nothing, FAILED), Explained::Right);
        let fair = Truth {
            also: BTreeMap::from([("client".to_owned(), vec!["closed-port".to_owned()])]),
            ..Truth::default()
        };
        assert_eq!(verdict_of_silence(&fair, FAILED), Explained::Silent);
    }
}
