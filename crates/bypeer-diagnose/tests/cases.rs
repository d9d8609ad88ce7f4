//! Every folder under `cases/` is a capture of real software together with what was done: the truth that findings are
//! held to. One check serves all; a failure prints what was done and what bypeer said.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bypeer_diagnose::causes::CAUSES;
use bypeer_diagnose::{Confidence, Finding};
use serde::Deserialize;

use common::{folders, judge};

#[derive(Deserialize)]
struct Case {
    done: String,
    made_with: Vec<String>,
    connection: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    client: String,
    server: String,
    /// Causes that are right; none: it ended well and must not be accused.
    expect: Vec<String>,
    /// What a capture alone may fairly say instead.
    #[serde(default)]
    also: Vec<String>,
    /// Of one that ended well: what a capture alone may be undecided about, against no fault at all.
    #[serde(default)]
    doubt: Vec<String>,
    /// Proof from the kernel.
    kernel_resets: Vec<String>,
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Score {
    Right,
    /// Undecided, and the truth is among the rivals.
    Undecided,
    /// Undecided, and the truth is not among the rivals.
    Astray,
    Wrong,
    NotSeen,
    Accused,
}

fn load(folder: &Path) -> Case {
    let text = std::fs::read_to_string(folder.join("case.toml")).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

fn score(expected: &Expected, finding: Option<&Finding>) -> Score {
    let allowed = |id: &str| expected.expect.iter().chain(&expected.also).any(|right| right == id);
    match finding {
        None if expected.expect.is_empty() => Score::Right,
        None => Score::NotSeen,
        Some(finding) if expected.expect.is_empty() => {
            let doubted = expected.doubt.iter().any(|doubt| doubt == finding.cause.id) && finding.rivals.is_empty();
            let right = match finding.confidence {
                Confidence::Undecided => doubted,
                _ => allowed(finding.cause.id),
            };
            if finding.harmless || right {
                Score::Right
            } else {
                Score::Accused
            }
        }
        Some(finding) if finding.confidence == Confidence::Undecided => {
            let among = allowed(finding.cause.id) || finding.rivals.iter().any(|rival| allowed(rival.cause.id));
            if among { Score::Undecided } else { Score::Astray }
        }
        Some(finding) if allowed(finding.cause.id) => Score::Right,
        Some(_) => Score::Wrong,
    }
}

#[test]
fn findings_agree_with_what_was_done() {
    let mut complaints = String::new();
    let (mut certain, mut likely) = ((0, 0), (0, 0));
    let (mut undecided, mut all_blamable) = (0, 0);
    let folders = folders("cases");
    assert!(folders.len() >= 40, "the cases are gone: {} folders", folders.len());
    for folder in &folders {
        let case = load(folder);
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (verdicts, _) = judge(folder);
        let mut blamable = 0;
        for expected in &case.connection {
            let mut of_it: Vec<&Finding> = verdicts
                .findings
                .iter()
                .filter(|finding| {
                    finding.client.to_string() == expected.client && finding.server.to_string() == expected.server
                })
                .collect();
            of_it.sort_by_key(|finding| finding.harmless);
            let finding = of_it.first().copied();
            let score = score(expected, finding);
            blamable += usize::from(!expected.expect.is_empty());
            undecided += usize::from(score == Score::Undecided);
            if let Some(finding) = finding.filter(|finding| !finding.harmless) {
                let good = usize::from(score == Score::Right);
                match finding.confidence {
                    Confidence::Certain => certain = (certain.0 + good, certain.1 + 1),
                    Confidence::Likely => likely = (likely.0 + good, likely.1 + 1),
                    Confidence::Undecided => {}
                }
            }
            let fatal = match score {
                Score::Right | Score::Undecided => false,
                Score::Wrong => finding.is_some_and(|finding| finding.confidence == Confidence::Certain),
                Score::Astray | Score::NotSeen | Score::Accused => true,
            };
            if fatal {
                let said = finding.map_or("nothing".to_owned(), |finding| {
                    format!("{} ({}): {}", finding.cause.id, finding.confidence, finding.verdict)
                });
                writeln!(
                    complaints,
                    "{score:?}: {name}, {} → {}\n  done: {}\n  with: {}\n  true: {:?}, because {} (kernel: {:?})\n  said: {said}",
                    expected.client,
                    expected.server,
                    case.done,
                    case.made_with.join(", "),
                    expected.expect,
                    expected.why,
                    expected.kernel_resets
                )
                .unwrap();
            }
        }
        all_blamable += blamable;
    }
    println!(
        "certain {} of {}, likely {} of {}, undecided {undecided}",
        certain.0, certain.1, likely.0, likely.1
    );
    assert!(
        likely.0 * 10 >= likely.1 * 9,
        "likely findings right {} of {}\n{complaints}",
        likely.0,
        likely.1
    );
    // Undecided is honest where a capture cannot tell; a habit of it would be silence.
    assert!(
        undecided * 10 <= all_blamable,
        "{undecided} of {all_blamable} undecided"
    );
    assert!(complaints.is_empty(), "\n{complaints}");
}

/// A cause without a case of its own is a claim without proof.
#[test]
fn every_cause_has_a_case() {
    let mut cases: BTreeMap<&str, usize> = CAUSES.iter().map(|cause| (cause.id, 0)).collect();
    for folder in folders("cases") {
        for expected in load(&folder).connection {
            if let Some(count) = expected.expect.first().and_then(|id| cases.get_mut(id.as_str())) {
                *count += 1;
            }
        }
    }
    let without: Vec<&str> = cases
        .into_iter()
        .filter(|(_, count)| *count == 0)
        .map(|(id, _)| id)
        .collect();
    assert!(without.is_empty(), "no case for {without:?}");
}
