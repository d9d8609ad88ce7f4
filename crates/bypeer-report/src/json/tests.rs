use super::schema_check::faults;
use super::*;
use crate::terminal::example::{SO_LINGER_ZERO, UNREAD_BODY, finding, heard_finding, hearing};
use bypeer_diagnose::testimony::{Predecessor, Told};
use bypeer_diagnose::{Accounts, Rival};
use bypeer_wire::{Issues, Timestamp};
use serde_json::Value;

const FINDING_SCHEMA: &str = include_str!("../../../../docs/schema/finding-1.json");
const SUMMARY_SCHEMA: &str = include_str!("../../../../docs/schema/summary-1.json");

fn finding_record(finding: &Finding) -> Value {
    let mut out = Vec::new();
    write_finding(&mut out, finding).expect("a vector takes all");
    parse_line(&out)
}

fn summary_record(summary: &Summary, insights: &[Insight]) -> Value {
    let mut out = Vec::new();
    write_summary(&mut out, summary, insights, Exit::Findings).expect("a vector takes all");
    parse_line(&out)
}

fn parse_line(line: &[u8]) -> Value {
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
    assert_eq!(line.last(), Some(&b'\n'));
    serde_json::from_slice(line).expect("JSON")
}

/// Valid by its schema, and without a key that the schema does not describe: the schema lets readers meet keys of later
/// versions, we may not write one that is not in it.
fn hold_to_schema(schema: &str, record: &Value) {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let faults = faults(&schema, record);
    assert!(faults.is_empty(), "{faults:#?}\n{record:#}");
}

fn full() -> Finding {
    let mut finding = finding(&UNREAD_BODY, 7);
    finding.confidence = Confidence::Undecided;
    finding.rivals = vec![Rival {
        cause: &SO_LINGER_ZERO,
        because: "everything may have been read".to_owned(),
    }];
    finding
}

fn bare() -> Finding {
    let mut finding = finding(&UNREAD_BODY, 0);
    finding.server_software = None;
    finding.lost.response_bytes = None;
    finding.settle = None;
    finding.evidence.clear();
    finding.clauses.clear();
    finding.fixes.clear();
    finding
}

#[test]
fn findings_keep_to_their_schema() {
    for finding in [full(), bare()] {
        hold_to_schema(FINDING_SCHEMA, &finding_record(&finding));
    }
}

#[test]
fn every_spelling_of_the_core_is_in_the_schema() {
    use bypeer_diagnose::{Fix, Owner, Party, Retry};
    let parties = [
        Party::ClientProgram,
        Party::ClientKernel,
        Party::ServerProgram,
        Party::ServerKernel,
        Party::Between,
        Party::Operator,
        Party::Nobody,
    ];
    let retries = [Retry::Safe, Retry::Unsafe, Retry::Unknown, Retry::NotNeeded];
    let owners = [Owner::Server, Owner::Client, Owner::Proxy, Owner::Network];
    let confidences = [Confidence::Certain, Confidence::Likely, Confidence::Undecided];
    for index in 0..7 {
        let mut finding = full();
        finding.blame = parties[index];
        finding.retry = retries[index % retries.len()];
        finding.confidence = confidences[index % confidences.len()];
        finding.fixes = vec![Fix {
            owner: owners[index % owners.len()],
            what: "change it".to_owned(),
        }];
        hold_to_schema(FINDING_SCHEMA, &finding_record(&finding));
    }
}

#[test]
fn the_schema_would_notice() {
    let schema: Value = serde_json::from_str(FINDING_SCHEMA).expect("JSON");
    let good = finding_record(&full());
    for key in good.as_object().expect("an object").keys() {
        let mut bad = good.clone();
        bad.as_object_mut().expect("an object").remove(key);
        assert!(!faults(&schema, &bad).is_empty(), "a record without {key} passes");
    }
    for (key, value) in [
        ("confidence", "sure"),
        ("retry", "maybe"),
        ("schema", "bypeer.finding/2"),
        ("client", "localhost"),
        ("surplus", "key"),
    ] {
        let mut bad = good.clone();
        bad[key] = value.into();
        assert!(!faults(&schema, &bad).is_empty(), "{key} = {value} passes");
    }
}

#[test]
fn summaries_keep_to_their_schema() {
    let mut issues = Issues::default();
    issues.note(Issue::TornRecord);
    issues.note(Issue::NotTcp);
    issues.note(Issue::NotTcp);
    let summary = Summary {
        accounts: Accounts {
            connections: 10,
            ended_well: 5,
            found: 1,
            harmless: 1,
            undecided: 1,
            not_judged: vec![(NotJudged::StillOpen, 2)],
        },
        unexplained: vec![7],
        issues,
        files: vec!["a.pcap".to_owned()],
        packets: 100,
        first: Some(Timestamp(1_767_355_445_000_001_000)),
        last: Some(Timestamp(1_767_355_446_000_000_000)),
        findings: 3,
        selection: Some("of the cause silent-drop".to_owned()),
        interrupted: false,
        answers: vec!["one connection fits".to_owned()],
        endings: vec!["stream 3: it ended well".to_owned()],
        notes: vec!["a note".to_owned()],
    };
    let insight = Insight {
        cause: &UNREAD_BODY,
        server: full().server,
        what: "each request in two segments".to_owned(),
        connections: 3,
    };
    let record = summary_record(&summary, &[insight]);
    hold_to_schema(SUMMARY_SCHEMA, &record);
    assert_eq!(record["issues"]["not-tcp"], 2);
    assert_eq!(record["not_judged"]["still-open"], 2);
    assert_eq!(record["not_judged"]["evicted"], 0);
    assert_eq!(
        record["answers"],
        serde_json::json!(["one connection fits", "stream 3: it ended well"])
    );
    assert_eq!(record["first_packet"].to_string(), "1767355445.000001");
    hold_to_schema(SUMMARY_SCHEMA, &summary_record(&Summary::default(), &[]));
}

#[test]
fn strings_keep_their_content_and_hide_nothing() {
    let evil = "\"a\\b\n\x1b[2J\u{7f}\u{9b}\u{202e}\u{feff}\u{e0041}ä漢😀";
    let mut finding = bare();
    finding.server_software = Some(evil.to_owned());
    let mut out = Vec::new();
    write_finding(&mut out, &finding).expect("a vector takes all");
    let text = String::from_utf8(out.clone()).expect("UTF-8");
    assert!(!text.trim_end_matches('\n').chars().any(is_treacherous), "{text:?}");
    assert!(text.contains("ä漢😀"), "what is harmless stays readable");
    assert_eq!(parse_line(&out)["server_software"], evil);
}

#[test]
fn unknown_is_null_and_every_key_is_there() {
    let (full, bare) = (finding_record(&full()), finding_record(&bare()));
    let keys = |record: &Value| {
        record
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&full), keys(&bare));
    assert!(bare["settle"].is_null() && bare["server_software"].is_null() && bare["lost"]["response_bytes"].is_null());
    let group = full["evidence"]
        .as_array()
        .and_then(|items| items.last())
        .expect("evidence")
        .clone();
    assert_eq!(group["source"], "group");
    assert!(group["number"].is_null() && group["time"].is_null());
}

#[test]
fn what_kernels_said_is_held_to_the_schemas() {
    let record = finding_record(&heard_finding());
    hold_to_schema(FINDING_SCHEMA, &record);
    assert_eq!(record["stream"], Value::Null);
    assert_eq!(
        record["display_filter"],
        "ip.addr == 192.0.2.1 && tcp.port == 40001 && ip.addr == 192.0.2.80 && tcp.port == 8000"
    );
    assert_eq!(record["kernel"]["process"]["stack"][0]["line"], 11);
    assert_eq!(record["kernel"]["peer"]["told"], "reset-received");
    assert!(
        !record.to_string().contains("hunter2"),
        "a command line may hold secrets"
    );
    assert_eq!(finding_record(&full())["kernel"], Value::Null);

    let mut retaken = hearing();
    let closer = retaken.deciding.actor.clone().expect("an actor");
    retaken.deciding.told = Told::Retaken;
    retaken.deciding.predecessor = Some(Predecessor {
        local: "192.0.2.80:8000".parse().expect("an address"),
        remote: "192.0.2.1:40000".parse().expect("an address"),
        descriptor: 9,
        read_at: retaken.deciding.at,
        closed: Some((retaken.deciding.at, closer)),
    });
    let mut out = Vec::new();
    write_unexplained(&mut out, &retaken).expect("a vector takes all");
    let record = parse_line(&out);
    hold_to_schema(include_str!("../../../../docs/schema/unexplained-1.json"), &record);
    assert_eq!(record["kernel"]["told"], "retaken");
    let predecessor = &record["kernel"]["predecessor"];
    assert_eq!(predecessor["remote"], "192.0.2.1:40000");
    assert_eq!(predecessor["process"]["stack"][0]["line"], 11);

    let mut out = Vec::new();
    write_unexplained(&mut out, &hearing()).expect("a vector takes all");
    hold_to_schema(
        include_str!("../../../../docs/schema/unexplained-1.json"),
        &parse_line(&out),
    );

    let summary = crate::WatchSummary {
        source: "bpf",
        tier: Some("resets"),
        unknown: vec!["what applications read before the watch began".to_owned()],
        lost: vec![("events lost", 3)],
        by_cause: [("unread-request-body", 2)].into(),
        ..crate::WatchSummary::default()
    };
    let mut out = Vec::new();
    write_watch_summary(&mut out, &summary, Exit::Findings).expect("a vector takes all");
    hold_to_schema(
        include_str!("../../../../docs/schema/watch-summary-1.json"),
        &parse_line(&out),
    );
}
