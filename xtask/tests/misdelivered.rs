//! What is said of answers on wrong requests: nothing where there is none, by real servers and clients.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

#[path = "support/program.rs"]
mod program;

#[test]
#[ignore = "needs root, namespaces, tcpdump, nft, node, nginx, redis-server"]
fn clean_traffic_raises_no_alarm() {
    let rows = clean(
        &["--requests=2000", "--only=Node", "--only=nginx", "--only=Redis"],
        2000,
    );
    assert!(rows.len() >= 9, "{rows:#?}");
}

#[test]
#[ignore = "needs long, root, namespaces, tcpdump, nft, node, nginx, go, gunicorn, uvicorn, uwsgi, puma, haproxy, lighttpd, apache2"]
fn a_hundred_thousand_clean_requests_raise_no_alarm() {
    let rows = clean(&[], 100_000);
    let servers: BTreeSet<&str> = rows.iter().filter_map(|row| row["server"].as_str()).collect();
    assert!(servers.len() >= 10, "{servers:?}");
}

/// What was measured, after it was seen to hold so many requests and no alarm, of the captures as they are and of damaged ones.
fn clean(arguments: &[&str], requests: u64) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["misdelivered", "clean", "--json", "--binary"])
        .arg(program::bypeer())
        .args(arguments)
        .output()
        .expect("xtask");
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    let rows: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let asked: u64 = rows.iter().filter_map(|row| row["requests"].as_u64()).sum();
    assert!(asked >= requests, "{asked} requests: {told}");
    for row in &rows {
        assert_eq!(row["said"]["alarms"], serde_json::json!([]), "{row:#}");
        for (witness, said) in row["damaged"].as_object().expect("damaged captures") {
            assert_eq!(
                said["alarms"],
                serde_json::json!([]),
                "{} and others, {witness}",
                row["server"]
            );
        }
    }
    assert!(output.status.success(), "{told}");
    rows
}
