//! JSON Lines: one `bypeer.finding/1` a finding, and a last `bypeer.summary/1`. `docs/schema` holds the JSON Schemas.
//!
//! Within a version keys may be added, never removed or given another meaning. What is not known is `null`, never absent.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bypeer_diagnose::misdelivered::astray::Asked;
use bypeer_diagnose::{Confidence, Finding, Insight, NotJudged, Source};
use bypeer_wire::{Endpoint, Issue};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::escape::is_treacherous;
use crate::time::epoch_seconds;
use crate::{Exit, Summary};

mod kernel;

use kernel::KernelRecord;
pub use kernel::{UNEXPLAINED, WATCH_SUMMARY, write_unexplained, write_watch_summary};

/// Schema of a finding's record.
pub const FINDING: &str = "bypeer.finding/1";
/// Schema of the last record.
pub const SUMMARY: &str = "bypeer.summary/1";

/// Writes a finding and a newline.
pub fn write_finding(out: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    write_record(out, &FindingRecord::of(finding))
}

/// Writes the summary and a newline.
pub fn write_summary(out: &mut dyn Write, summary: &Summary, insights: &[Insight], exit: Exit) -> io::Result<()> {
    write_record(out, &SummaryRecord::of(summary, insights, exit))
}

/// Writes any record and a newline, as compact JSON that cannot steer a terminal.
pub fn write_record(out: &mut dyn Write, record: &impl Serialize) -> io::Result<()> {
    record.serialize(&mut Serializer::with_formatter(&mut *out, Visible))?;
    out.write_all(b"\n")
}

/// Compact JSON that is safe to look at: what could steer a terminal or reorder text is written as `\u` escapes, so that
/// nothing is lost and nothing is hidden. (JSON itself asks for that only below U+0020.)
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_treacherous) {
            let (before, after) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = after.chars();
            if let Some(character) = characters.next() {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[derive(Serialize)]
struct FindingRecord<'a> {
    schema: &'static str,
    cause: &'a str,
    title: &'a str,
    confidence: &'static str,
    rivals: Vec<&'a str>,
    rival_reasons: Vec<RivalRecord<'a>>,
    follows: Option<FollowsRecord<'a>>,
    harmless: bool,
    blame: &'static str,
    verdict: &'a str,
    closing: &'a str,
    client: String,
    server: String,
    server_software: Option<&'a str>,
    stream: Option<u32>,
    display_filter: String,
    opened: Option<f64>,
    ended: f64,
    lost: LostRecord<'a>,
    retry: &'static str,
    retry_reason: &'a str,
    evidence: Vec<EvidenceRecord<'a>>,
    clauses: Vec<&'a str>,
    fixes: Vec<FixRecord<'a>>,
    settle: Option<&'a str>,
    misdelivered: Option<MisdeliveredRecord<'a>>,
    kernel: Option<KernelRecord<'a>>,
}

#[derive(Serialize)]
struct RivalRecord<'a> {
    cause: &'a str,
    because: &'a str,
}

#[derive(Serialize)]
struct FollowsRecord<'a> {
    stream: u32,
    server: String,
    cause: &'a str,
}

#[derive(Serialize)]
struct MisdeliveredRecord<'a> {
    due: AskedRecord<'a>,
    given: AskedRecord<'a>,
    packet: u64,
    time: f64,
    disclosed: &'a str,
}

#[derive(Serialize)]
struct AskedRecord<'a> {
    stream: u32,
    client: String,
    request: &'a str,
    packet: u64,
    time: f64,
}

impl AskedRecord<'_> {
    fn of(asked: &Asked) -> AskedRecord<'_> {
        AskedRecord {
            stream: asked.stream,
            client: asked.client.to_string(),
            request: &asked.route,
            packet: asked.at.number,
            time: epoch_seconds(asked.at.time),
        }
    }
}

#[derive(Serialize)]
struct LostRecord<'a> {
    requests: u32,
    response_bytes: Option<u64>,
    what: &'a str,
}

#[derive(Serialize)]
struct EvidenceRecord<'a> {
    source: &'static str,
    number: Option<u64>,
    time: Option<f64>,
    what: &'a str,
}

#[derive(Serialize)]
struct FixRecord<'a> {
    owner: &'static str,
    what: &'a str,
}

impl FindingRecord<'_> {
    fn of(finding: &Finding) -> FindingRecord<'_> {
        FindingRecord {
            schema: FINDING,
            cause: finding.cause.id,
            title: finding.cause.title,
            confidence: match finding.confidence {
                Confidence::Certain => "certain",
                Confidence::Likely => "likely",
                Confidence::Undecided => "undecided",
            },
            rivals: finding.rivals.iter().map(|rival| rival.cause.id).collect(),
            follows: finding.follows.as_ref().map(|follows| FollowsRecord {
                stream: follows.stream,
                server: follows.server.to_string(),
                cause: follows.cause.id,
            }),
            rival_reasons: finding
                .rivals
                .iter()
                .map(|rival| RivalRecord {
                    cause: rival.cause.id,
                    because: &rival.because,
                })
                .collect(),
            harmless: finding.harmless,
            blame: finding.blame.id(),
            verdict: &finding.verdict,
            closing: &finding.closing,
            client: finding.client.to_string(),
            server: finding.server.to_string(),
            server_software: finding.server_software.as_deref(),
            stream: finding.heard.is_none().then_some(finding.stream),
            display_filter: display_filter(finding),
            opened: finding.opened.map(epoch_seconds),
            ended: epoch_seconds(finding.ended),
            lost: LostRecord {
                requests: finding.lost.requests,
                response_bytes: finding.lost.response_bytes,
                what: &finding.lost.what,
            },
            retry: finding.retry.id(),
            retry_reason: &finding.retry_reason,
            evidence: finding
                .evidence
                .iter()
                .map(|item| {
                    let numbered = item.source != Source::Group;
                    EvidenceRecord {
                        source: item.source.id(),
                        number: numbered.then_some(item.number),
                        time: numbered.then(|| epoch_seconds(item.time)),
                        what: &item.what,
                    }
                })
                .collect(),
            clauses: finding.clauses.iter().map(|clause| clause.id.as_str()).collect(),
            fixes: finding
                .fixes
                .iter()
                .map(|fix| FixRecord {
                    owner: fix.owner.id(),
                    what: &fix.what,
                })
                .collect(),
            settle: finding.settle.as_deref(),
            misdelivered: finding.misdelivered.as_deref().map(|astray| MisdeliveredRecord {
                due: AskedRecord::of(&astray.due),
                given: AskedRecord::of(&astray.given),
                packet: astray.answer.number,
                time: epoch_seconds(astray.answer.time),
                disclosed: &astray.disclosed,
            }),
            kernel: finding.heard.as_deref().map(KernelRecord::of),
        }
    }
}

/// What shows the connection in Wireshark. What kernels told of has no stream there: its ends pick it.
fn display_filter(finding: &Finding) -> String {
    if finding.heard.is_none() {
        return format!("tcp.stream eq {}", finding.stream);
    }
    let end = |end: Endpoint| {
        let field = if end.addr.is_ipv4() { "ip.addr" } else { "ipv6.addr" };
        format!("{field} == {} && tcp.port == {}", end.addr, end.port)
    };
    format!("{} && {}", end(finding.client), end(finding.server))
}

#[derive(Serialize)]
struct SummaryRecord<'a> {
    schema: &'static str,
    files: &'a [String],
    packets: u64,
    first_packet: Option<f64>,
    last_packet: Option<f64>,
    connections: u64,
    ended_well: u64,
    found: u64,
    harmless: u64,
    undecided: u64,
    not_judged: BTreeMap<&'static str, u64>,
    findings: u64,
    selection: Option<&'a str>,
    insights: Vec<InsightRecord<'a>>,
    issues: BTreeMap<&'static str, u64>,
    answers: Vec<&'a str>,
    notes: &'a [String],
    interrupted: bool,
    exit: u8,
    exit_meaning: &'static str,
}

#[derive(Serialize)]
struct InsightRecord<'a> {
    cause: &'a str,
    server: String,
    what: &'a str,
    connections: u32,
}

impl InsightRecord<'_> {
    fn of(insight: &Insight) -> InsightRecord<'_> {
        InsightRecord {
            cause: insight.cause.id,
            server: insight.server.to_string(),
            what: &insight.what,
            connections: insight.connections,
        }
    }
}

impl SummaryRecord<'_> {
    fn of<'a>(summary: &'a Summary, insights: &'a [Insight], exit: Exit) -> SummaryRecord<'a> {
        let accounts = &summary.accounts;
        let mut not_judged: BTreeMap<&'static str, u64> = [
            NotJudged::StillOpen,
            NotJudged::TooLittleSeen,
            NotJudged::NoCauseFits,
            NotJudged::Evicted,
        ]
        .map(|reason| (reason.id(), 0))
        .into();
        for (reason, count) in &accounts.not_judged {
            *not_judged.entry(reason.id()).or_default() += count;
        }
        let mut issues = BTreeMap::new();
        for (issue, count) in summary.issues.iter() {
            *issues.entry(issue_id(issue)).or_default() += count;
        }
        SummaryRecord {
            schema: SUMMARY,
            files: &summary.files,
            packets: summary.packets,
            first_packet: summary.first.map(epoch_seconds),
            last_packet: summary.last.map(epoch_seconds),
            connections: accounts.connections,
            ended_well: accounts.ended_well,
            found: accounts.found,
            harmless: accounts.harmless,
            undecided: accounts.undecided,
            not_judged,
            findings: summary.findings,
            selection: summary.selection.as_deref(),
            insights: insights.iter().map(InsightRecord::of).collect(),
            issues,
            answers: summary
                .answers
                .iter()
                .chain(&summary.endings)
                .map(String::as_str)
                .collect(),
            notes: &summary.notes,
            interrupted: summary.interrupted,
            exit: exit.code(),
            exit_meaning: exit.meaning(),
        }
    }
}

/// An issue as the schema spells it.
fn issue_id(issue: Issue) -> &'static str {
    match issue {
        Issue::TornRecord => "torn-record",
        Issue::CorruptRecord => "corrupt-record",
        Issue::UnknownBlock => "unknown-block",
        Issue::UnknownLinkType => "unknown-link-type",
        Issue::HeaderCut => "header-cut",
        Issue::Malformed => "malformed",
        Issue::FragmentIncomplete => "fragment-incomplete",
        Issue::FragmentsDropped => "fragments-dropped",
        Issue::TunnelTooDeep => "tunnel-too-deep",
        Issue::NotTcp => "not-tcp",
        Issue::NotIp => "not-ip",
        Issue::Duplicate => "duplicate",
        Issue::Encrypted => "encrypted",
        Issue::Evicted => "evicted",
        Issue::TimeWentBack => "time-went-back",
        _ => "other",
    }
}

#[cfg(test)]
mod schema_check;
#[cfg(test)]
mod tests;
