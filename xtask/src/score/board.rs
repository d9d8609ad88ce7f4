//! The count of all scenarios, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::compare::{Score, assign, score};
use super::explained::{Explained, Finding};
use super::truth::Scenario;

/// What was counted.
#[derive(Default)]
pub struct Board {
    /// By label and scenario.
    tallies: BTreeMap<String, BTreeMap<String, Tally>>,
    /// How often something that is not right was said.
    verdicts: BTreeMap<Verdict, u64>,
    /// Findings that are not harmless, about connections that the truth does not name: for the reader to judge.
    strays: BTreeMap<(String, String), u64>,
    failures: Vec<String>,
    /// Label `other`: anything may be said of them.
    free: u64,
    scenarios: u64,
}

#[derive(Default)]
struct Tally(BTreeMap<Score, u64>);

impl Tally {
    fn of(&self, score: Score) -> u64 {
        self.0.get(&score).copied().unwrap_or(0)
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Most of its connections are right.
    fn is_right(&self) -> bool {
        self.of(Score::Right) * 2 > self.total()
    }
}

/// What was said, and in what it differs from what is true.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Verdict {
    scenario: String,
    label: String,
    score: Score,
    said: String,
    allowed: String,
}

impl Board {
    /// Counts a scenario.
    pub fn count(&mut self, scenario: &Scenario, explained: &Explained) {
        self.scenarios += 1;
        let summary = &explained.summary;
        let (seen, known) = (summary.connections, scenario.connections.len() as u64);
        if seen < known {
            self.fail(
                &scenario.name,
                format!("{} of {known} connections are not accounted for", known - seen),
            );
        }
        if summary.accounted() != seen {
            self.fail(
                &scenario.name,
                format!("{seen} connections, but the parts sum up to {}", summary.accounted()),
            );
        }
        let (said, strays) = assign(&scenario.connections, &explained.findings);
        for (truth, said) in scenario.connections.iter().zip(said) {
            if truth.free {
                self.free += 1;
                continue;
            }
            let score = score(truth, said);
            let tally = self.tallies.entry(truth.label.clone()).or_default();
            *tally
                .entry(scenario.name.clone())
                .or_default()
                .0
                .entry(score)
                .or_default() += 1;
            if score != Score::Right {
                let verdict = Verdict {
                    scenario: scenario.name.clone(),
                    label: truth.label.clone(),
                    score,
                    said: said.map_or("nothing".to_owned(), describe),
                    allowed: truth.causes.join(" "),
                };
                *self.verdicts.entry(verdict).or_default() += 1;
            }
        }
        for stray in strays.into_iter().filter(|finding| !finding.harmless) {
            *self.strays.entry((scenario.name.clone(), describe(stray))).or_default() += 1;
        }
    }

    /// Notes that a scenario failed altogether.
    pub fn fail(&mut self, scenario: &str, why: String) {
        self.failures.push(format!("{scenario}: {why}"));
    }

    /// Why the whole is not good; empty when it is.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self.failures.clone();
        for (label, scenarios) in &self.tallies {
            let accused: u64 = scenarios.values().map(|tally| tally.of(Score::Accused)).sum();
            if accused > 0 {
                complaints.push(format!("{label}: {accused} connections that ended well are accused"));
            }
            let right = scenarios.values().filter(|tally| tally.is_right()).count();
            if right * 2 <= scenarios.len() {
                complaints.push(format!("{label}: right in {right} of {} scenarios", scenarios.len()));
            }
        }
        complaints
    }

    /// All of it, for people.
    pub fn print(&self) -> String {
        let mut out = String::new();
        self.print_verdicts(&mut out);
        self.print_labels(&mut out);
        for complaint in self.complaints() {
            let _ = writeln!(out, "FAILED  {complaint}");
        }
        out
    }

    fn print_verdicts(&self, out: &mut String) {
        let mut scenario = "";
        for (verdict, count) in &self.verdicts {
            if scenario != verdict.scenario {
                scenario = &verdict.scenario;
                let _ = writeln!(out, "{scenario}");
            }
            let Verdict {
                label,
                score,
                said,
                allowed,
                ..
            } = verdict;
            let _ = writeln!(out, "{count:>6}  {:<9}  {label}: said {said}", score.name());
            if !allowed.is_empty() {
                let _ = writeln!(out, "{:>19}right would be: {allowed}", "");
            }
        }
        if !self.strays.is_empty() {
            let _ = writeln!(out, "\nAbout connections that the truth does not name:");
        }
        for ((scenario, said), count) in &self.strays {
            let _ = writeln!(out, "{count:>6}  {scenario}: said {said}");
        }
        out.push('\n');
    }

    fn print_labels(&self, out: &mut String) {
        let width = self.tallies.keys().map(String::len).max().unwrap_or(0).max(5);
        let _ = write!(out, "{:<width$}", "label");
        for score in Score::ALL {
            let _ = write!(out, "{:>11}", score.name());
        }
        let _ = writeln!(out, "   scenarios right");
        let (mut right, mut all) = (Tally::default(), (0, 0));
        for (label, scenarios) in &self.tallies {
            let _ = write!(out, "{label:<width$}");
            for score in Score::ALL {
                let count: u64 = scenarios.values().map(|tally| tally.of(score)).sum();
                *right.0.entry(score).or_default() += count;
                let _ = write!(out, "{count:>11}");
            }
            let good = scenarios.values().filter(|tally| tally.is_right()).count();
            all = (all.0 + good, all.1 + scenarios.len());
            let _ = write!(out, "   {good} of {}", scenarios.len());
            let bad: BTreeSet<&str> = scenarios
                .iter()
                .filter(|(_, tally)| !tally.is_right())
                .map(|(name, _)| name.as_str())
                .collect();
            if !bad.is_empty() {
                let _ = write!(out, "; not {}", bad.into_iter().collect::<Vec<_>>().join(", "));
            }
            out.push('\n');
        }
        let _ = write!(out, "{:<width$}", "all");
        for score in Score::ALL {
            let _ = write!(out, "{:>11}", right.of(score));
        }
        let _ = writeln!(out, "   {} of {}", all.0, all.1);
        let _ = writeln!(
            out,
            "\n{} captures; {} connections of which anything may be said are accounted for, not judged",
            self.scenarios, self.free
        );
    }
}

fn describe(finding: &Finding) -> String {
    let mut text = format!("{} ({})", finding.cause, finding.confidence);
    if finding.harmless {
        text.push_str(", harmless");
    }
    if !finding.rivals.is_empty() {
        let _ = write!(text, ", rivals {}", finding.rivals.join(" "));
    }
    text
}
