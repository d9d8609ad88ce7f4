//! The settings of the probe's card, in a real client against the servers of stories 1 and 3.

use std::process::Command;

use serde_json::Value;

#[path = "support/program.rs"]
mod program;

#[test]
#[ignore = "needs long, root, namespaces, go, node, python3"]
fn the_cards_settings_bring_failures_to_none() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["settings", "--json", "--binary"])
        .arg(program::bypeer())
        .output()
        .expect("xtask");
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    let all: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let stories: Vec<u64> = all.iter().filter_map(|measured| measured["story"].as_u64()).collect();
    assert_eq!(stories, [1, 3], "{said}{told}");
    for (measured, cause) in all
        .iter()
        .zip(["unannounced-close-each-response", "idle-timeout-inversion"])
    {
        assert_eq!(measured["cause"], cause, "{measured:#}");
        assert!(failed(&measured["before"]) > 0, "{measured:#}");
        assert_eq!(failed(&measured["after"]), 0, "{measured:#}");
        for account in ["before", "after"] {
            assert_eq!(measured[account]["requests"], 10_000, "{measured:#}");
        }
    }
    assert!(output.status.success(), "{said}{told}");
}

fn failed(account: &Value) -> u64 {
    let failures = account["failures"].as_object().expect("failures");
    failures.values().filter_map(Value::as_u64).sum()
}
