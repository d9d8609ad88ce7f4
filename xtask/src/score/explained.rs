//! What `bypeer explain --format json` says of a capture.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// All that was said.
#[derive(Debug)]
pub struct Explained {
    pub findings: Vec<Finding>,
    pub summary: Summary,
}

/// The fields of `bypeer.finding/1` that a score needs.
#[derive(Debug, Deserialize)]
pub struct Finding {
    pub cause: String,
    pub confidence: String,
    pub rivals: Vec<String>,
    pub harmless: bool,
    pub client: String,
    pub server: String,
    pub opened: f64,
    pub ended: f64,
}

impl Finding {
    pub fn undecided(&self) -> bool {
        self.confidence == "undecided"
    }
}

/// The fields of `bypeer.summary/1` that account for every connection.
#[derive(Debug, Default, Deserialize)]
pub struct Summary {
    pub connections: u64,
    ended_well: u64,
    found: u64,
    harmless: u64,
    undecided: u64,
    not_judged: BTreeMap<String, u64>,
}

impl Summary {
    /// The sum of its parts: `connections`, when every connection is accounted for.
    pub fn accounted(&self) -> u64 {
        self.ended_well + self.found + self.harmless + self.undecided + self.not_judged.values().sum::<u64>()
    }
}

/// Runs the binary on a capture.
///
/// # Errors
/// When it fails or says something that is not in its schema.
pub fn explain(binary: &Path, capture: &Path) -> Result<Explained> {
    let output = Command::new(binary)
        .args(["explain", "--format", "json"])
        .arg(capture)
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    // 0: nothing found, 1: findings; 2, a panic's 101 and signals are failures.
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "bypeer failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    parse(&String::from_utf8(output.stdout)?)
}

#[derive(Deserialize)]
struct Record {
    schema: String,
}

fn parse(lines: &str) -> Result<Explained> {
    let mut findings = Vec::new();
    let mut summary = None;
    for line in lines.lines() {
        ensure!(summary.is_none(), "a record after the summary: {line}");
        match serde_json::from_str::<Record>(line)
            .context("not a record")?
            .schema
            .as_str()
        {
            "bypeer.finding/1" => findings.push(serde_json::from_str(line)?),
            "bypeer.summary/1" => summary = Some(serde_json::from_str(line)?),
            other => bail!("unknown schema {other}"),
        }
    }
    let summary = summary.context("no summary")?;
    Ok(Explained { findings, summary })
}
