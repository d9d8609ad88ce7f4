//! Damaged captures through the whole way of the data: whatever comes, it ends, accounts for every connection, and what it
//! writes keeps to the schema.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use bypeer::engine::{Engine, Outcome};
use bypeer::selection::Selection;
use bypeer_diagnose::Finding;
use bypeer_report::{Exit, Look, Summary, json, report};
use bypeer_wire::capture::{Parser, Step};
use serde_json::Value;

#[path = "../../bypeer-report/src/json/schema_check.rs"]
mod schema_check;

const CAPTURES: [&str; 3] = [
    "race_node_1s_go_post",
    "tls_openssl_s_client_quits",
    "killed_stopped_go_upload",
];

fn capture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.pcap.zst"));
    zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()
}

/// Reads `bytes` as a capture; `None` when they are none.
fn explain(bytes: &[u8]) -> Option<(Vec<Finding>, Outcome)> {
    let mut parser = Parser::new();
    let mut engine = Engine::new(Selection::default(), false);
    let mut early = Vec::new();
    let mut rest = bytes;
    let (mut steps, mut interfaces) = (0_usize, 0);
    loop {
        steps += 1;
        assert!(steps <= bytes.len() + 2, "every step consumes something");
        match parser.next(rest) {
            Ok(Step::Frame { consumed, frame }) => {
                engine.frame(&frame);
                if frame.at.number.is_multiple_of(64) {
                    early.extend(engine.advance(frame.at.time));
                }
                rest = &rest[consumed..];
            }
            Ok(Step::Skipped { consumed }) => {
                rest = &rest[consumed..];
                while let Some(interface) = parser.interface(interfaces) {
                    engine.interface(&interface);
                    interfaces += 1;
                }
            }
            Ok(Step::NeedMore { .. }) => break,
            Err(_) => return None,
        }
    }
    parser.end(rest).ok()?;
    Some((early, engine.finish()))
}

struct Judged {
    connections: u64,
}

/// Holds what comes out to what must always be true.
fn check(bytes: &[u8], schemas: &Schemas) -> Option<Judged> {
    let (early, outcome) = explain(bytes)?;
    let accounts = &outcome.accounts;
    let not_judged: u64 = accounts.not_judged.iter().map(|(_, count)| count).sum();
    let sum = accounts.ended_well + accounts.found + accounts.harmless + accounts.undecided + not_judged;
    assert_eq!(
        accounts.connections, sum,
        "every connection is accounted for: {accounts:?}"
    );
    let findings: Vec<&Finding> = early.iter().chain(&outcome.findings).collect();
    assert_eq!(
        findings.len() as u64,
        accounts.found + accounts.harmless + accounts.undecided,
        "{accounts:?}"
    );

    let mut groups = outcome.groups;
    for finding in findings {
        let mut line = Vec::new();
        json::write_finding(&mut line, finding).unwrap();
        schemas.hold(&line);
        groups.add(finding.clone());
    }
    let summary = Summary {
        accounts: outcome.accounts.clone(),
        issues: outcome.issues.clone(),
        packets: outcome.packets,
        ..Summary::default()
    };
    let mut line = Vec::new();
    json::write_summary(&mut line, &summary, &outcome.insights, Exit::Nothing).unwrap();
    schemas.hold(&line);
    let text = report(&groups, &outcome.insights, &summary, true, Look::PLAIN);
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "control characters in {text:?}"
    );
    assert!(!text.contains("not accounted for"), "{text}");
    Some(Judged {
        connections: summary.accounts.connections,
    })
}

struct Schemas {
    finding: Value,
    summary: Value,
}

impl Schemas {
    fn load() -> Schemas {
        Schemas {
            finding: serde_json::from_str(include_str!("../../../docs/schema/finding-1.json")).unwrap(),
            summary: serde_json::from_str(include_str!("../../../docs/schema/summary-1.json")).unwrap(),
        }
    }

    fn hold(&self, line: &[u8]) {
        let record: Value = serde_json::from_slice(line).unwrap();
        let schema = match record["schema"].as_str() {
            Some("bypeer.finding/1") => &self.finding,
            _ => &self.summary,
        };
        let faults = schema_check::faults(schema, &record);
        assert!(faults.is_empty(), "{faults:#?}\n{record:#}");
    }
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(12) {
        let at = random.below(bytes.len());
        let length = random.below(200).min(bytes.len() - at);
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at..at + length].fill([0, 0xff][random.below(2)]),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let piece = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            5 => bytes.truncate(at.max(64)),
            // Words of headers: lengths, sequence numbers, times.
            _ => {
                let word = [0_u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX][random.below(5)].to_le_bytes();
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&word[..end - at]);
            }
        }
        if bytes.is_empty() {
            return;
        }
    }
}

#[test]
fn the_captures_themselves_are_explained() {
    let schemas = Schemas::load();
    for (name, connections) in CAPTURES.into_iter().zip([37, 5, 6]) {
        let judged = check(&capture(name), &schemas).unwrap();
        assert!(
            judged.connections >= connections,
            "{name}: {} connections",
            judged.connections
        );
    }
}

#[test]
fn every_prefix_ends_well() {
    let schemas = Schemas::load();
    for name in CAPTURES {
        let bytes = capture(name);
        // All short ones, then a sample whose step shares no factor with the sizes of records.
        let step = (bytes.len() / 400).max(1) | 1;
        let mut explained = 0;
        for end in (0..200.min(bytes.len())).chain((200..bytes.len()).step_by(step)) {
            explained += usize::from(check(&bytes[..end], &schemas).is_some());
        }
        assert!(explained > 300, "{name}: only {explained} prefixes were captures");
    }
}

#[test]
fn thousands_of_mutations_end_well() {
    let schemas = Schemas::load();
    let seed = std::env::var("BYPEER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x5eed_u64);
    println!("seed {seed} (set BYPEER_SEED for another)");
    for name in CAPTURES {
        let original = capture(name);
        let rounds = if original.len() > 100_000 { 400 } else { 3000 };
        let mut random = Random(seed | 1);
        let mut with_connections = 0;
        for round in 0..rounds {
            let mut bytes = original.clone();
            mutate(&mut bytes, &mut random);
            let result = std::panic::catch_unwind(|| check(&bytes, &schemas));
            let judged = result.unwrap_or_else(|_| panic!("{name}, seed {seed}, round {round}"));
            with_connections += usize::from(judged.is_some_and(|judged| judged.connections > 0));
        }
        // Otherwise the mutations break the file's head and test nothing behind it.
        assert!(
            with_connections > rounds / 2,
            "{name}: {with_connections} of {rounds} had connections"
        );
    }
}
