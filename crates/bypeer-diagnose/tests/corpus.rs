//! Every folder under `corpus/` is a capture of real software with the kernel's account of it, made by `tools/corpus`.
//! Its truths are labels: a label names a mechanism, and several causes can be right for it (`xtask/labels.toml`). The
//! terms are those of `cargo xtask score`; the cases in `cases/` are stricter, and fewer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bypeer_diagnose::causes::CAUSES;
use bypeer_diagnose::{Confidence, Finding};
use serde::Deserialize;

use common::{folders, judge};

/// Clocks of capture and kernel may differ by this much, in seconds.
const SLACK: f64 = 0.05;

/// Causes that are right in one scenario, though its label does not have them: scenario, cause, why.
const ALSO_RIGHT: [(&str, &str, &str); 1] = [(
    "fw_reject_icmp_port_unreachable",
    "icmp-error-abort",
    "the firewall rejects by an ICMP error, and that is all that a capture can see of it",
)];

#[derive(Deserialize)]
struct Truth {
    done: String,
    connections: Vec<TrueConnection>,
}

#[derive(Deserialize)]
struct TrueConnection {
    client: String,
    server: String,
    /// First and last packet, in seconds since the epoch: they tell uses of one 4-tuple apart.
    t_syn: f64,
    t_last: f64,
    label: String,
    /// What a capture alone may fairly say instead.
    #[serde(default)]
    also_ok: Vec<String>,
    #[serde(default)]
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Score {
    Right,
    Wrong,
    Undecided,
    /// It died, and nothing was said.
    NotSeen,
    /// It ended well, and something was said that is not harmless.
    Accused,
}

struct Labels(BTreeMap<String, Vec<String>>);

impl Labels {
    fn load() -> Labels {
        Labels(toml::from_str(include_str!("../../../xtask/labels.toml")).unwrap())
    }

    fn causes(&self, label: &str) -> &[String] {
        self.0
            .get(label)
            .unwrap_or_else(|| panic!("the label {label} is not in xtask/labels.toml"))
    }

    /// The patterns of the causes that are right. `other` beside a label means that the kernel's account has a second
    /// reading, not that anything goes.
    fn allowed(&self, truth: &TrueConnection) -> Vec<&str> {
        std::iter::once(&truth.label)
            .chain(truth.also_ok.iter().filter(|label| *label != "other"))
            .flat_map(|label| self.causes(label))
            .map(String::as_str)
            .collect()
    }
}

fn matches(pattern: &str, cause: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => cause.starts_with(start),
        None => cause == pattern,
    }
}

fn score(scenario: &str, truth: &TrueConnection, labels: &Labels, said: Option<&Finding>) -> Score {
    let clean = truth.label == "clean";
    let may_be_clean = clean || truth.also_ok.iter().any(|label| label == "clean");
    let Some(finding) = said else {
        return if may_be_clean { Score::Right } else { Score::NotSeen };
    };
    let allowed = labels
        .allowed(truth)
        .into_iter()
        .any(|pattern| matches(pattern, finding.cause.id))
        || ALSO_RIGHT
            .iter()
            .any(|(place, cause, _)| *place == scenario && *cause == finding.cause.id);
    match finding.confidence == Confidence::Undecided {
        _ if finding.harmless && may_be_clean => Score::Right,
        false if allowed => Score::Right,
        _ if clean => Score::Accused,
        true => Score::Undecided,
        false => Score::Wrong,
    }
}

/// What was said of each connection, by 4-tuple and time; of several findings the accusing one. Then the findings that
/// are about no connection of the truth.
fn assign<'a>(truths: &[TrueConnection], findings: &'a [Finding]) -> (Vec<Option<&'a Finding>>, Vec<&'a Finding>) {
    let mut said: Vec<Option<&Finding>> = vec![None; truths.len()];
    let mut strays = Vec::new();
    for finding in findings {
        let (client, server) = (finding.client.to_string(), finding.server.to_string());
        let (opened, ended) = (finding.began().as_secs_f64(), finding.ended.as_secs_f64());
        let nearest = truths
            .iter()
            .enumerate()
            .filter(|(_, truth)| truth.client == client && truth.server == server)
            .filter(|(_, truth)| opened <= truth.t_last + SLACK && ended >= truth.t_syn - SLACK)
            .min_by(|(_, one), (_, other)| (opened - one.t_syn).abs().total_cmp(&(opened - other.t_syn).abs()));
        match nearest {
            None => strays.push(finding),
            Some((index, _)) => {
                if said[index].is_none_or(|before| before.harmless && !finding.harmless) {
                    said[index] = Some(finding);
                }
            }
        }
    }
    (said, strays)
}

fn load(folder: &Path) -> Truth {
    let text = std::fs::read_to_string(folder.join("truth.json")).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// Right ones, and all.
#[derive(Clone, Copy, Default)]
struct Tally {
    right: usize,
    all: usize,
}

impl Tally {
    fn count(&mut self, right: bool) {
        self.right += usize::from(right);
        self.all += 1;
    }

    fn mostly_right(self) -> bool {
        self.right * 2 > self.all
    }
}

#[test]
fn findings_agree_with_what_was_done() {
    let labels = Labels::load();
    let mut complaints = Vec::new();
    let mut excused = BTreeSet::new();
    let (mut certain, mut likely, mut undecided) = (Tally::default(), Tally::default(), 0);
    let mut by_label: BTreeMap<String, BTreeMap<String, Tally>> = BTreeMap::new();
    let folders = folders("corpus");
    assert!(folders.len() >= 300, "the corpus is gone: {} folders", folders.len());
    for folder in &folders {
        let truth = load(folder);
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (verdicts, connections) = judge(folder);
        assert!(
            connections >= truth.connections.len() as u64,
            "{name}: {connections} connections seen, {} are known",
            truth.connections.len()
        );
        let (said, strays) = assign(&truth.connections, &verdicts.findings);
        for stray in strays.into_iter().filter(|finding| !finding.harmless) {
            let id = stray.cause.id;
            complaints.push(format!(
                "{name}: {id} about {} → {}, which the truth does not name",
                stray.client, stray.server
            ));
        }
        for (connection, finding) in truth.connections.iter().zip(said) {
            // Whatever is said of `other` is right: that it is accounted for was asserted by `judge`.
            if connection.label == "other" {
                continue;
            }
            let score = score(&name, connection, &labels, finding);
            let right = score == Score::Right;
            by_label
                .entry(connection.label.clone())
                .or_default()
                .entry(name.clone())
                .or_default()
                .count(right);
            undecided += usize::from(score == Score::Undecided);
            if let Some(finding) = finding {
                let is_excuse = |(place, cause, _): &&(&str, &str, &str)| *place == name && *cause == finding.cause.id;
                excused.extend(ALSO_RIGHT.iter().find(is_excuse).map(|(place, _, _)| *place));
                match finding.confidence {
                    _ if finding.harmless => {}
                    Confidence::Certain => certain.count(right),
                    Confidence::Likely => likely.count(right),
                    Confidence::Undecided => {}
                }
            }
            let certainly = finding.is_some_and(|finding| finding.confidence == Confidence::Certain);
            if score == Score::Accused || (score == Score::Wrong && certainly) {
                let said = finding.map_or("nothing".to_owned(), |finding| {
                    format!("{} ({}): {}", finding.cause.id, finding.confidence, finding.verdict)
                });
                complaints.push(format!(
                    "{score:?}: {name}, {} → {}\n  done: {}\n  true: {} {:?}, because {}\n  said: {said}",
                    connection.client,
                    connection.server,
                    truth.done,
                    connection.label,
                    connection.also_ok,
                    connection.why
                ));
            }
        }
    }
    for (label, scenarios) in &by_label {
        let right = scenarios.values().filter(|tally| tally.mostly_right()).count();
        let connections: usize = scenarios.values().map(|tally| tally.all).sum();
        println!(
            "{label}: right in {right} of {} scenarios, {connections} connections",
            scenarios.len()
        );
        if right * 2 <= scenarios.len() {
            let not: Vec<&String> = scenarios
                .iter()
                .filter(|(_, tally)| !tally.mostly_right())
                .map(|(name, _)| name)
                .collect();
            complaints.push(format!(
                "{label}: right in {right} of {} scenarios; not in {not:?}",
                scenarios.len()
            ));
        }
    }
    println!(
        "certain {} of {}, likely {} of {}, undecided {undecided}",
        certain.right, certain.all, likely.right, likely.all
    );
    if likely.right * 10 < likely.all * 9 {
        complaints.push(format!("likely findings right {} of {}", likely.right, likely.all));
    }
    for (scenario, cause, _) in ALSO_RIGHT {
        if !excused.contains(scenario) {
            complaints.push(format!("{scenario}: {cause} is allowed, and nobody says it"));
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// A label that has lost its scenarios, or whose scenarios say nothing, would pass unseen.
#[test]
fn every_label_has_scenarios() {
    let labels = Labels::load();
    let mut scenarios: BTreeMap<&str, BTreeSet<String>> =
        labels.0.keys().map(|label| (label.as_str(), BTreeSet::new())).collect();
    for folder in folders("corpus") {
        for connection in load(&folder).connections {
            let of_label = scenarios.get_mut(connection.label.as_str());
            let of_label = of_label.unwrap_or_else(|| panic!("{}: label {}", folder.display(), connection.label));
            of_label.insert(folder.display().to_string());
        }
    }
    let few: Vec<(&str, usize)> = scenarios
        .iter()
        .map(|(label, scenarios)| (*label, scenarios.len()))
        .filter(|(_, count)| *count < 4)
        .collect();
    assert!(few.is_empty(), "labels with less than 4 scenarios: {few:?}");
    for (scenario, cause, why) in ALSO_RIGHT {
        assert!(
            CAUSES.iter().any(|known| known.id == cause),
            "{scenario}: no cause {cause} ({why})"
        );
    }
}
