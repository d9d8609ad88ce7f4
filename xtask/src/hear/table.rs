//! The table for people, and the same as JSON Lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use bypeer_lab::scenario::Truth;
use serde::Serialize;

use super::judge::{self, Verdict};
use super::owners::{Owners, owners, wrong_end};
use super::records::{Hearing, LabRound};
use super::round::Heard;

/// Wider cells are broken at their commas.
const WIDEST: usize = 70;

/// All rounds that were judged.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    scenario: String,
    round: u32,
    cause: Option<String>,
    /// The lab's round showed what its scenario claims.
    shown: bool,
    heard: BTreeMap<String, usize>,
    verdict: &'static str,
    #[serde(skip)]
    judged: Option<Verdict>,
    unexplained: usize,
    reasons: (usize, usize),
    owners_right: usize,
    owners_unknown: usize,
    owners_wrong: Vec<String>,
}

impl Row {
    fn owners(&self) -> usize {
        self.owners_right + self.owners_unknown + self.owners_wrong.len()
    }
}

impl Table {
    /// Judges a round.
    pub fn add(&mut self, round: &LabRound, truth: &Truth, heard: &Heard<'_>) {
        let judged = judge::judge(round, truth, heard);
        let right = |hearing: &&&Hearing| judge::of_one(round, truth, hearing) == Verdict::Right;
        let ends = heard.hearings.iter().filter(right);
        let wrong: Vec<String> = ends.filter_map(|hearing| wrong_end(round, truth, hearing)).collect();
        self.push(round, heard, Some(judged), judge::reasons(round, truth, heard));
        if let Some(row) = self.rows.last_mut() {
            row.owners_wrong.extend(wrong);
        }
    }

    /// Judges the owners alone.
    pub fn add_owners(&mut self, round: &LabRound, heard: &Heard<'_>) {
        self.push(round, heard, None, (0, 0));
    }

    fn push(&mut self, round: &LabRound, heard: &Heard<'_>, judged: Option<Verdict>, reasons: (usize, usize)) {
        let mut words: BTreeMap<String, usize> = BTreeMap::new();
        let mut all = Owners::default();
        for hearing in &heard.hearings {
            *words.entry(in_words(hearing)).or_default() += 1;
            all += owners(round, hearing);
        }
        let mut scenario = round.scenario.clone();
        if let Some(real) = &round.real {
            scenario = format!("{scenario}+{real}");
        }
        if judged.is_none() {
            scenario.push_str(" on loopback");
        }
        self.rows.push(Row {
            scenario,
            round: round.round,
            cause: round.cause.clone(),
            shown: round.shown,
            heard: words,
            verdict: judged.map_or("owners alone", Verdict::name),
            judged,
            unexplained: heard.hearings.iter().filter(|hearing| hearing.cause.is_none()).count(),
            reasons,
            owners_right: all.right,
            owners_unknown: all.unknown,
            owners_wrong: all.wrong,
        });
    }

    /// Nothing is wrong, no owner either.
    pub fn is_good(&self) -> bool {
        let bad = |row: &Row| row.judged >= Some(Verdict::Astray) || !row.owners_wrong.is_empty();
        !self.rows.is_empty() && !self.rows.iter().any(bad)
    }

    /// A line for each round.
    ///
    /// # Errors
    /// None that can happen.
    pub fn json(&self) -> Result<String> {
        let mut text = String::new();
        for row in &self.rows {
            writeln!(text, "{}", serde_json::to_string(row)?)?;
        }
        Ok(text)
    }

    /// For people.
    pub fn text(&self) -> String {
        let heading = ["scenario", "cause", "verdict", "reasons", "owners", "heard"].map(str::to_owned);
        let cells: Vec<[String; 6]> = std::iter::once(heading).chain(self.rows.iter().map(cells)).collect();
        let mut widths = [0; 6];
        for row in &cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let before: usize = widths[..5].iter().map(|width| width + 2).sum();
        let mut text = String::new();
        for row in &cells {
            let mut line = String::new();
            for (cell, width) in row[..5].iter().zip(widths) {
                let _ = write!(line, "{cell:width$}  ");
            }
            let broken = broken(&row[5]).join(&format!("\n{:before$}", ""));
            let _ = writeln!(text, "{}", format!("{line}{broken}").trim_end());
        }
        text.push_str(&self.totals());
        text
    }

    fn totals(&self) -> String {
        let count = |verdict: Verdict| self.rows.iter().filter(|row| row.judged == Some(verdict)).count();
        let counted: Vec<String> = Verdict::ALL
            .iter()
            .filter(|verdict| count(**verdict) > 0)
            .map(|verdict| format!("{} {}", verdict.name(), count(*verdict)))
            .collect();
        let sum = |of: fn(&Row) -> usize| self.rows.iter().map(of).sum::<usize>();
        let mut text = format!(
            "\n{} rounds: {}\nreasons that the lab claims: {} of {} heard\nowners: {} of {} right, {} unknown, {} wrong\n\
             unexplained connections: {}\n",
            self.rows.iter().filter(|row| row.judged.is_some()).count(),
            counted.join(", "),
            sum(|row| row.reasons.0),
            sum(|row| row.reasons.1),
            sum(|row| row.owners_right),
            sum(Row::owners),
            sum(|row| row.owners_unknown),
            sum(|row| row.owners_wrong.len()),
            sum(|row| row.unexplained),
        );
        let hidden: Vec<&str> = self
            .rows
            .iter()
            .filter(|row| !row.shown)
            .map(|row| row.scenario.as_str())
            .collect();
        if !hidden.is_empty() {
            let _ = writeln!(text, "not shown by the lab itself: {}", hidden.join(", "));
        }
        for row in &self.rows {
            for wrong in &row.owners_wrong {
                let _ = writeln!(text, "wrong owner in {} {}: {wrong}", row.scenario, row.round);
            }
        }
        text
    }
}

fn cells(row: &Row) -> [String; 6] {
    let heard: Vec<String> = row
        .heard
        .iter()
        .map(|(words, count)| {
            if *count == 1 {
                words.clone()
            } else {
                format!("{count} × {words}")
            }
        })
        .collect();
    [
        row.scenario.clone(),
        row.cause.clone().unwrap_or_else(|| "-".to_owned()),
        format!("{}{}", row.verdict, if row.shown { "" } else { " (not shown)" }),
        match row.reasons {
            (_, 0) => "-".to_owned(),
            (told, all) => format!("{told}/{all}"),
        },
        match row.owners() {
            0 => "-".to_owned(),
            all => format!("{}/{all}", row.owners_right),
        },
        if heard.is_empty() {
            "-".to_owned()
        } else {
            heard.join(", ")
        },
    ]
}

/// `certain so-linger-zero`, `unexplained server reset-sent TCP_FLAGS answer`.
fn in_words(hearing: &Hearing) -> String {
    let by = &hearing.kernel.deciding;
    let side = by.side.as_deref().unwrap_or("?");
    let Some(cause) = &hearing.cause else {
        let mut words = format!("unexplained ({side} {}", by.told);
        for part in [&by.reason, &by.path, &by.state].into_iter().flatten() {
            words.push_str(&format!(" {part}"));
        }
        if let Some(error) = by.error {
            words.push_str(&format!(" errno {error}"));
        }
        return words + ")";
    };
    let confidence = if hearing.harmless {
        "harmless"
    } else {
        hearing.confidence.as_deref().unwrap_or("?")
    };
    let rivals: String = hearing.rivals.iter().map(|rival| format!(" | {rival}")).collect();
    format!("{confidence} {cause}{rivals} ({side})")
}

fn broken(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for part in text.split_inclusive(", ") {
        match lines.last_mut() {
            Some(last) if last.is_empty() || last.chars().count() + part.trim_end().chars().count() <= WIDEST => {
                last.push_str(part);
            }
            _ => lines.push(part.to_owned()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}
