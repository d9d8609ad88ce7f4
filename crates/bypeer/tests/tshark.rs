//! Against another reading of the same captures: connections are as many as Wireshark's streams, and a finding's stream is
//! Wireshark's stream between the same ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The two ends of each of Wireshark's streams.
type Streams = BTreeMap<u64, BTreeSet<String>>;

const FIELDS: [&str; 7] = [
    "tcp.stream",
    "ip.src",
    "ipv6.src",
    "tcp.srcport",
    "ip.dst",
    "ipv6.dst",
    "tcp.dstport",
];

#[test]
#[ignore = "needs tshark"]
fn connections_are_the_streams_of_wireshark() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bypeer-diagnose/cases");
    let mut captures: Vec<PathBuf> = std::fs::read_dir(cases)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("capture.pcap.zst"))
        .filter(|path| path.exists())
        .collect();
    captures.sort();
    assert!(captures.len() >= 40, "the cases are gone: {} captures", captures.len());
    for capture in captures {
        let streams = wiresharks(&capture);
        let records = ours(&capture);
        let (summary, findings) = records.split_last().unwrap();
        let name = capture.display();
        assert_eq!(summary["connections"], streams.len(), "{name}");
        for finding in findings {
            let stream = finding["stream"].as_u64().unwrap();
            let ends = ["client", "server"].map(|end| finding[end].as_str().unwrap().to_owned());
            assert_eq!(
                streams.get(&stream),
                Some(&BTreeSet::from(ends)),
                "{name}: stream {stream}"
            );
        }
    }
}

fn ours(capture: &Path) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_bypeer"))
        .args(["explain", "--format", "json"])
        .arg(capture)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn wiresharks(capture: &Path) -> Streams {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        // What an ICMP error quotes is no segment of the stream.
        .args(["-Y", "tcp && !icmp && !icmpv6", "-T", "fields", "-E", "occurrence=l"])
        .args(FIELDS.iter().flat_map(|field| ["-e", field]))
        .output()
        .expect("tshark runs");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.is_empty(), "tshark reads no TCP in {}", capture.display());
    let mut streams = Streams::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [stream, from4, from6, from_port, to4, to6, to_port] = fields[..] else {
            panic!("tshark printed {line:?}");
        };
        let end = |v4: &str, v6: &str, port: &str| match v6 {
            "" => format!("{v4}:{port}"),
            _ => format!("[{v6}]:{port}"),
        };
        let ends = streams.entry(stream.parse().unwrap()).or_default();
        ends.insert(end(from4, from6, from_port));
        ends.insert(end(to4, to6, to_port));
    }
    streams
}
