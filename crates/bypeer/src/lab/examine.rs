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

/// Holds the findings of `host`'s capture against the truth; the words tell of a wrong one.
///
/// A round that did not fail, because a change cured it or chance spared it, has nothing to find: an accusation is wrong then.
pub(super) fn judge(
    outcome: &Outcome,
    host: &str,
    cause: Option<&str>,
    truth: &Truth,
    shown: bool,
) -> (Explained, Option<String>) {
    let empty = Vec::new();
    let right: Vec<&str> = match truth.finds.get(host) {
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
    if let Some(wrong) = wrong {
        return (Explained::Wrong, Some(wrong));
    }
    let verdict = if seen || right.is_empty() || !shown && !fair && !undecided {
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
