use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bypeer_diagnose::causes::CAUSES;
use bypeer_diagnose::{Confidence, Finding};

use crate::prometheus::{self, header, sample};

const CONFIDENCES: [Confidence; 3] = [Confidence::Undecided, Confidence::Likely, Confidence::Certain];

/// Counters of a watch, for Prometheus. All labels are from fixed tables: no address and no name of a process is among them.
///
/// Every series is there from the beginning, at 0: Prometheus sees no increase in one that appears with its first event, and what bypeer
/// counts may happen once in weeks.
#[derive(Debug)]
pub struct Metrics {
    source: String,
    version: String,
    /// By cause, confidence, and whether they are harmless.
    findings: Vec<[[AtomicU64; 2]; 3]>,
    resets_sent: AtomicU64,
    resets_received: AtomicU64,
    connections_failed: AtomicU64,
    events_lost: AtomicU64,
    stacks_left_out: AtomicU64,
}

impl Metrics {
    /// What [`render`](Metrics::render) gives: Prometheus's text format.
    pub const CONTENT_TYPE: &'static str = prometheus::CONTENT_TYPE;

    /// All zero. `source` is where the watch has its events from ("ebpf"), `version` this program's.
    pub fn new(source: &str, version: &str) -> Metrics {
        Metrics {
            source: source.to_owned(),
            version: version.to_owned(),
            findings: CAUSES.iter().map(|_| Default::default()).collect(),
            resets_sent: AtomicU64::new(0),
            resets_received: AtomicU64::new(0),
            connections_failed: AtomicU64::new(0),
            events_lost: AtomicU64::new(0),
            stacks_left_out: AtomicU64::new(0),
        }
    }

    /// Counts a finding.
    pub fn finding(&self, finding: &Finding) {
        let cause = CAUSES.iter().position(|cause| *cause == finding.cause);
        let confidence = CONFIDENCES
            .iter()
            .position(|confidence| *confidence == finding.confidence);
        // Both are always found: the tables hold all there are.
        if let (Some(cause), Some(confidence)) = (cause, confidence) {
            self.findings[cause][confidence][usize::from(finding.harmless)].fetch_add(1, Relaxed);
        }
    }

    /// Counts a reset that this machine's kernel sent.
    pub fn reset_sent(&self) {
        self.resets_sent.fetch_add(1, Relaxed);
    }

    /// Counts a reset that this machine's kernel received for a socket.
    pub fn reset_received(&self) {
        self.resets_received.fetch_add(1, Relaxed);
    }

    /// Counts a connection that died of an error other than a reset: a timeout, an ICMP error.
    pub fn connection_failed(&self) {
        self.connections_failed.fetch_add(1, Relaxed);
    }

    /// Sets how many events the kernel could not hand over, since the beginning. A smaller number than before changes nothing.
    pub fn set_events_lost(&self, total: u64) {
        self.events_lost.fetch_max(total, Relaxed);
    }

    /// Sets how many events came without the stack that they should have had, since the beginning.
    pub fn set_stacks_left_out(&self, total: u64) {
        self.stacks_left_out.fetch_max(total, Relaxed);
    }

    /// All of them in Prometheus's text format.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(24 << 10);
        header(
            &mut out,
            "bypeer_findings_total",
            "counter",
            "Connections that a finding was made about.",
        );
        for (cause, counts) in CAUSES.iter().zip(&self.findings) {
            for (confidence, counts) in CONFIDENCES.iter().zip(counts) {
                for (harmless, count) in [false, true].into_iter().zip(counts) {
                    let labels = [
                        ("cause", cause.id),
                        ("confidence", &confidence.to_string()),
                        ("harmless", if harmless { "true" } else { "false" }),
                    ];
                    sample(&mut out, "bypeer_findings_total", &labels, count.load(Relaxed));
                }
            }
        }
        let name = "bypeer_resets_total";
        header(
            &mut out,
            name,
            "counter",
            "Resets that this machine sent, or received for a socket of its own.",
        );
        sample(&mut out, name, &[("direction", "sent")], self.resets_sent.load(Relaxed));
        sample(
            &mut out,
            name,
            &[("direction", "received")],
            self.resets_received.load(Relaxed),
        );
        let plain = [
            (
                "bypeer_connections_failed_total",
                "Connections that died of an error other than a reset.",
                &self.connections_failed,
            ),
            (
                "bypeer_events_lost_total",
                "Events that the kernel could not hand over: what they were about is not counted above.",
                &self.events_lost,
            ),
            (
                "bypeer_stacks_left_out_total",
                "Events whose stack was not copied: who closed is then known less exactly.",
                &self.stacks_left_out,
            ),
        ];
        for (name, help, count) in plain {
            header(&mut out, name, "counter", help);
            sample(&mut out, name, &[], count.load(Relaxed));
        }
        header(&mut out, "bypeer_watch_info", "gauge", "What watches: always 1.");
        let labels = [("source", self.source.as_str()), ("version", &self.version)];
        sample(&mut out, "bypeer_watch_info", &labels, 1);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new("ebpf", "0.1.0");
        let finding = example::finding(bypeer_diagnose::causes::CAUSES[0], 1);
        metrics.finding(&finding);
        metrics.finding(&finding);
        metrics.reset_sent();
        metrics.set_events_lost(7);
        metrics.set_events_lost(5);
        let text = metrics.render();
        let expected = [
            format!(
                "bypeer_findings_total{{cause=\"{}\",confidence=\"{}\",harmless=\"{}\"}} 2",
                finding.cause.id, finding.confidence, finding.harmless
            ),
            "bypeer_resets_total{direction=\"sent\"} 1".to_owned(),
            "bypeer_resets_total{direction=\"received\"} 0".to_owned(),
            "bypeer_connections_failed_total 0".to_owned(),
            "bypeer_events_lost_total 7".to_owned(),
            "bypeer_stacks_left_out_total 0".to_owned(),
            "bypeer_watch_info{source=\"ebpf\",version=\"0.1.0\"} 1".to_owned(),
        ];
        for line in expected {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_series_is_there_once_and_follows_its_type() {
        let text = Metrics::new("ebpf", "0.1.0").render();
        assert!(text.ends_with('\n'));
        let mut seen = std::collections::HashSet::new();
        let mut family = "";
        for line in text.lines() {
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                family = typed.split(' ').next().unwrap_or_default();
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap_or_default();
                assert!(series.starts_with(family), "{line}");
                assert!(value.parse::<u64>().is_ok(), "{line}");
                assert!(seen.insert(series), "{line} twice");
            }
        }
        assert_eq!(seen.len(), CAUSES.len() * 6 + 2 + 3 + 1);
    }

    #[test]
    fn labels_are_escaped() {
        let text = Metrics::new("a\"b\\c\nd", "1").render();
        assert!(text.contains("source=\"a\\\"b\\\\c\\nd\""), "{text}");
    }
}
