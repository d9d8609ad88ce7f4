//! Three scenarios of the lab, heard by a real watch.

use std::process::Command;

#[path = "support/program.rs"]
mod program;

#[test]
#[ignore = "needs root, namespaces, tracefs"]
fn three_scenarios_are_heard_right_with_their_owners() {
    let bypeer = program::bypeer();
    let check = Command::new(&bypeer)
        .args(["watch", "--check"])
        .output()
        .expect("watch --check");
    if !String::from_utf8_lossy(&check.stdout).contains("would listen by bpf") {
        println!("skipped: three scenarios heard by the watch: this kernel takes no program of its own");
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args([
            "hear",
            "unread-request-body",
            "so-linger-zero",
            "closed-port",
            "--loopback",
            "--json",
        ])
        .arg("--binary")
        .arg(bypeer)
        .output()
        .expect("xtask");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rows: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(rows.len(), 6, "three in the lab and three on loopback: {said}");
    for (number, row) in rows.iter().enumerate() {
        let verdict = if number < 3 { "right" } else { "owners alone" };
        assert_eq!(row["verdict"], verdict, "{row:#}");
        assert_eq!(row["owners_wrong"], serde_json::json!([]), "{row:#}");
        assert_eq!(row["owners_unknown"], 0, "{row:#}");
        assert!(row["owners_right"].as_u64() >= Some(1), "{row:#}");
    }
}
