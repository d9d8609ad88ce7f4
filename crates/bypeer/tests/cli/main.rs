//! The program as one runs it: what goes to standard output, what to standard error, and the exit status.

#![allow(clippy::unwrap_used)]

mod ask;
mod inputs;
mod interfaces;
mod selection;
mod streams;
mod verbs;

#[path = "../../../bypeer-report/src/json/schema_check.rs"]
mod schema_check;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// 37 connections, 9 of them met the server's close; see `tests/data/README.md`.
const RACE: &str = "race_node_1s_go_post";
/// 5 connections, none harmed.
const CLEAN: &str = "tls_openssl_s_client_quits";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.pcap.zst"))
}

fn raw(name: &str) -> Vec<u8> {
    zstd::decode_all(std::fs::File::open(data(name)).unwrap()).unwrap()
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bypeer"));
    command.env_remove("NO_COLOR").env("TZ", "UTC").stdin(Stdio::null());
    command
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        ran
    }
}

fn run(arguments: &[&str]) -> Ran {
    command().args(arguments).output().unwrap().into()
}

fn explain(path: &Path, options: &[&str]) -> Ran {
    command()
        .arg("explain")
        .arg(path)
        .args(options)
        .output()
        .unwrap()
        .into()
}

fn explain_bytes(bytes: &[u8], options: &[&str]) -> Ran {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    explain(file.path(), options)
}

/// The records of `--format json`, each held to its schema: findings, then the summary.
fn records(ran: &Ran) -> (Vec<Value>, Value) {
    let schema = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let finding = schema(include_str!("../../../../docs/schema/finding-1.json"));
    let summary = schema(include_str!("../../../../docs/schema/summary-1.json"));
    let mut records: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = records.pop().expect("at least the summary");
    assert_eq!(schema_check::faults(&summary, &last), Vec::<String>::new(), "{last:#}");
    for record in &records {
        assert_eq!(
            schema_check::faults(&finding, record),
            Vec::<String>::new(),
            "{record:#}"
        );
    }
    assert_eq!(last["findings"], records.len());
    assert_eq!(last["exit"], ran.code);
    (records, last)
}
