//! `bypeer chain` as one runs it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod guide;
#[cfg(target_os = "linux")]
mod live;
mod verb;

#[path = "../../../bypeer-report/src/json/schema_check.rs"]
mod schema_check;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What a run of the program printed.
struct Ran {
    out: String,
    err: String,
    code: i32,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chain")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs `bypeer chain` in a folder.
fn chain_in(folder: &Path, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_bypeer"))
        .arg("chain")
        .args(arguments)
        .current_dir(folder)
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    Ran {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

fn chain(arguments: &[&str]) -> Ran {
    chain_in(&data(), arguments)
}

/// The record that `--format json` prints, held to its schema.
fn record(folder: &Path, arguments: &[&str]) -> Value {
    let ran = chain_in(folder, &[arguments, &["--format", "json"]].concat());
    assert!(ran.err.is_empty(), "{}", ran.err);
    assert_eq!(ran.out.lines().count(), 1);
    let record: Value = serde_json::from_str(&ran.out).unwrap();
    let schema = std::fs::read(repository().join("docs/schema/chain-1.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    assert_eq!(
        schema_check::faults(&schema, &record),
        Vec::<String>::new(),
        "{record:#}"
    );
    let is_fault = record["faults"].as_u64().unwrap() > 0;
    assert_eq!(ran.code, i32::from(is_fault), "{record:#}");
    record
}
