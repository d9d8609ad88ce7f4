//! What bypeer makes of a capture: what it counts, and what it says of answers on wrong requests.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bypeer_input::{Event, Input, Source};
use bypeer_wire::app::Protocol;
use bypeer_wire::conn::{Connection, Limits, Table};
use bypeer_wire::packet::{Decoded, Decoder};
use serde::{Deserialize, Serialize};

use super::table::Sight;

/// What the reader of captures counts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counted {
    pub connections: u64,
    /// Of HTTP/1, and commands of Redis.
    pub requests: u64,
    pub packets: u64,
    /// Segments whose bytes had been sent before.
    pub sent_again: u64,
}

/// Counts as `bypeer explain` does: by the same code.
///
/// # Errors
/// When the capture cannot be read.
pub fn count(capture: &Path) -> Result<Counted> {
    let mut counted = Counted::default();
    let mut decoder = Decoder::new();
    let mut table = Table::new(Limits::default());
    let mut packets = 0;
    let mut take = |connection: Connection| {
        counted.connections += 1;
        counted.sent_again += u64::from(connection.to_server.retransmissions + connection.to_client.retransmissions);
        if matches!(connection.app.protocol, Protocol::Http1 | Protocol::Redis) {
            let unasked = connection
                .app
                .exchanges
                .iter()
                .filter(|exchange| exchange.request.is_none())
                .count();
            counted.requests += u64::from(connection.app.exchanges.total).saturating_sub(unasked as u64);
        }
    };
    Input::new(vec![Source::open(capture)?])?.for_each(|event| {
        if let Event::Frame(frame) = event {
            packets += 1;
            if let Decoded::Tcp(segment) = decoder.decode(frame.link, frame.data, frame.original_len, frame.at.time) {
                table.push_from(frame.at, frame.interface, &segment, &mut take);
            }
        }
        ControlFlow::Continue(())
    })?;
    table.finish(&mut take);
    counted.packets = packets;
    Ok(counted)
}

/// What `explain` says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Said {
    /// Of the family: what would be an accusation.
    pub alarms: Vec<Alarm>,
    /// Of the family, and harmless.
    pub notes: u64,
    /// All findings, by cause.
    pub findings: BTreeMap<String, u64>,
}

/// A finding that tells of an answer on the wrong request, or suspects it.
#[derive(Clone, Debug, Serialize)]
pub struct Alarm {
    pub cause: String,
    pub confidence: String,
    pub connection: String,
    pub verdict: String,
}

#[derive(Deserialize)]
#[serde(tag = "schema")]
enum Record {
    #[serde(rename = "bypeer.finding/1")]
    Finding(Finding),
    #[serde(rename = "bypeer.summary/1")]
    Summary { insights: Vec<Insight> },
    #[serde(other)]
    Other,
}

/// A finding, as far as it matters here.
#[derive(Deserialize)]
pub struct Finding {
    cause: String,
    confidence: String,
    rivals: Vec<String>,
    pub harmless: bool,
    client: String,
    server: String,
    verdict: String,
}

impl Finding {
    /// What it tells of this truth.
    pub fn sight(&self, truth: &str) -> Sight {
        Sight::of(&self.cause, &self.rivals, self.confidence != "undecided", truth)
    }
}

#[derive(Deserialize)]
struct Insight {
    cause: String,
    server: String,
    what: String,
}

/// Causes that tell of answers on wrong requests.
pub fn of_the_family(cause: &str) -> bool {
    cause.starts_with("desync-") || cause == "nat-entry-lost"
}

/// What `explain` says of the family in this capture.
///
/// # Errors
/// When it fails.
pub fn explain(binary: &Path, capture: &Path) -> Result<Said> {
    said(&ask(binary, capture)?)
}

/// All of its findings.
///
/// # Errors
/// When it fails.
pub fn findings(binary: &Path, capture: &Path) -> Result<Vec<Finding>> {
    let records = records(&ask(binary, capture)?)?;
    let findings = records.into_iter().filter_map(|record| match record {
        Record::Finding(finding) => Some(finding),
        _ => None,
    });
    Ok(findings.collect())
}

fn ask(binary: &Path, capture: &Path) -> Result<String> {
    let output = std::process::Command::new(binary)
        .args(["explain", "--format", "json"])
        .arg(capture)
        .output()
        .with_context(|| binary.display().to_string())?;
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "bypeer explain {}: {} {}",
        capture.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn records(lines: &str) -> Result<Vec<Record>> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

fn said(lines: &str) -> Result<Said> {
    let mut said = Said::default();
    for record in records(lines)? {
        match record {
            Record::Finding(finding) => said.take(finding),
            Record::Summary { insights } => {
                let of_it = insights.into_iter().filter(|insight| of_the_family(&insight.cause));
                said.alarms.extend(of_it.map(|insight| Alarm {
                    cause: insight.cause,
                    confidence: "insight".to_owned(),
                    connection: insight.server,
                    verdict: insight.what,
                }));
            }
            Record::Other => {}
        }
    }
    Ok(said)
}

impl Said {
    fn take(&mut self, finding: Finding) {
        *self.findings.entry(finding.cause.clone()).or_default() += 1;
        let mut named = std::iter::once(&finding.cause).chain(&finding.rivals);
        let Some(cause) = named.find(|cause| of_the_family(cause)).cloned() else {
            return;
        };
        if finding.harmless {
            self.notes += 1;
            return;
        }
        self.alarms.push(Alarm {
            cause,
            confidence: finding.confidence,
            connection: format!("{} → {}", finding.client, finding.server),
            verdict: finding.verdict,
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn finding(cause: &str, confidence: &str, rivals: &[&str], harmless: bool) -> String {
        serde_json::json!({
            "schema": "bypeer.finding/1", "cause": cause, "confidence": confidence, "rivals": rivals, "harmless": harmless,
            "client": "127.0.0.1:1", "server": "127.0.0.1:2", "verdict": "so it is",
        })
        .to_string()
    }

    #[test]
    fn a_suspect_among_rivals_is_an_alarm_and_what_is_harmless_is_none() {
        let lines = [
            finding("so-linger-zero", "certain", &[], false),
            finding("client-cancel", "undecided", &["client-cancel", "desync-shared-state"], false),
            finding("desync-unsolicited-response", "likely", &[], true),
            finding("nat-entry-lost", "certain", &[], false),
            r#"{"schema":"bypeer.summary/1","insights":[{"cause":"desync-x","server":"s","what":"w","connections":2}]}"#.to_owned(),
        ];
        let said = said(&lines.join("\n")).unwrap();
        let causes: Vec<&str> = said.alarms.iter().map(|alarm| alarm.cause.as_str()).collect();
        assert_eq!(causes, ["desync-shared-state", "nat-entry-lost", "desync-x"]);
        assert_eq!(said.notes, 1);
        assert_eq!(said.findings.values().sum::<u64>(), 4);
    }
}
