//! The tripwires for Node: silent over good traffic, and each fault is named with the line that did it.

#![allow(clippy::unwrap_used)]

use std::process::Command;

/// What a server with a fault, or with none, says on standard error with the tripwires loaded.
fn told(fault: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("tripwire.js");
    std::fs::write(&script, bypeer_lab::tripwire::NODE).unwrap();
    // Another Node than that of the PATH, to look at old ones.
    let node = std::env::var_os("BYPEER_NODE").unwrap_or_else(|| "node".into());
    let output = Command::new(node)
        .arg("-r")
        .arg(&script)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tripwire/server.js"))
        .arg(fault)
        .env_remove("NODE_OPTIONS")
        .output()
        .unwrap();
    let told: Vec<String> = String::from_utf8(output.stderr)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(output.status.code(), Some(0), "{fault}: {told:#?}");
    let served = String::from_utf8(output.stdout).unwrap();
    assert_eq!(served == "served\n", fault != "list", "{fault}: {served}");
    told
}

/// The words behind the time.
fn kinds(told: &[String]) -> Vec<&str> {
    told.iter()
        .map(|line| line.split_whitespace().nth(2).unwrap_or_default().trim_end_matches(':'))
        .collect()
}

#[test]
#[ignore = "needs node"]
fn good_traffic_trips_nothing() {
    // Kept connections, new ones, bodies, pipelining, HEAD, clients that leave, nonsense, temporary files.
    assert_eq!(told("none"), Vec::<String>::new());
}

#[test]
#[ignore = "needs node"]
fn a_stray_close_is_named_before_the_swap_that_it_leads_to() {
    let told = told("stray");
    assert_eq!(
        kinds(&told)[..4],
        ["STRAY-CLOSE", "FD-ALIAS", "FOREIGN-REQUEST", "FOREIGN-ANSWER"],
        "{told:#?}"
    );
    assert!(
        told[0].contains("theCleanUpThatDoesNotKnow") && told[0].contains("server.js:"),
        "{}",
        told[0]
    );
    assert!(told[3].contains("the answer to GET /a"), "{}", told[3]);
}

#[test]
#[ignore = "needs node"]
fn each_fault_is_named() {
    // At least so often: Node 12 and 14 come to end() where 20 has thrown in writeHead().
    for (fault, kind, least) in [
        ("stale", "STALE-CLOSE", 2),
        ("parser", "PARSER-DOUBLE-FREE", 1),
        ("list", "PARSER-SHARED", 1),
        ("twice", "SECOND-ANSWER", 2),
        ("map", "SECOND-ANSWER", 1),
    ] {
        let told = told(fault);
        assert!(told.len() >= least, "{fault}: {told:#?}");
        assert_eq!(kinds(&told), vec![kind; told.len()], "{fault}: {told:#?}");
        assert!(told[0].contains("server.js:"), "{fault}: where: {}", told[0]);
    }
}
