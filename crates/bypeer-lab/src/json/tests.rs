use serde_json::Value;

use super::*;
use crate::sample::{cut, death, nowhere, program, reset, well};
use crate::scenario::{Claim, Truth};
use crate::verdict::{Told, Verdict};

#[path = "../../../bypeer-report/src/json/schema_check.rs"]
mod schema_check;

fn check(written: &[u8], schema: &str) -> Value {
    let text = std::str::from_utf8(written).unwrap();
    assert!(text.ends_with('\n') && text.lines().count() == 1, "one line: {text}");
    let record: Value = serde_json::from_str(text).unwrap();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/schema")
        .join(schema);
    let schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        schema_check::faults(&schema, &record),
        Vec::<String>::new(),
        "{record:#}"
    );
    record
}

fn variant() -> Variant {
    Variant {
        scenario: "a-scenario".to_owned(),
        cause: Some("unread-request-body".to_owned()),
        title: "What happens".to_owned(),
        fix: Some((
            "a-change".to_owned(),
            "server".to_owned(),
            "a change".to_owned(),
            Claim::Helps,
        )),
        real: Some("gunicorn".to_owned()),
        set: BTreeMap::from([("size".to_owned(), "600kB".to_owned())]),
        deterministic: true,
    }
}

/// With everything that a round may have.
fn full() -> Round {
    let mut round = cut();
    round.accounts.push(program("proxy", "exit 1", ""));
    let mut listeners = reset();
    (listeners.reason, listeners.destination) = (None, nowhere());
    listeners.stack.clear();
    round.resets.push(("server".to_owned(), listeners));
    round.deaths.push(("server".to_owned(), death(None)));
    round.accounts[0].deeds[0].local = None;
    round.verdict = Verdict::of(&round, &Truth::default(), Told::Nothing);
    round.verdict.complaints.push("it did not come true".to_owned());
    round.verdict.unchecked.push("it could not be looked at".to_owned());
    round
}

#[test]
fn rounds_are_as_their_schema_says() {
    let verdicts = [
        Explained::Right,
        Explained::Fair,
        Explained::Undecided,
        Explained::Silent,
        Explained::Wrong,
    ];
    for (variant, round) in [(variant(), full()), (Variant::default(), well())] {
        for verdict in verdicts {
            let explained = [("client".to_owned(), verdict), ("server".to_owned(), Explained::Right)];
            let mut out = Vec::new();
            write_round(&mut out, &variant, &round, &explained).unwrap();
            let record = check(&out, "lab-round-1.json");
            assert_eq!(record["explained"]["client"], verdict.name());
        }
    }
    let mut out = Vec::new();
    write_round(&mut out, &variant(), &full(), &[]).unwrap();
    let record = check(&out, "lab-round-1.json");
    assert_eq!(record["shown"], false);
    assert_eq!(record["failed"], true);
    assert_eq!(record["bytes_lost"], 4000);
    assert_eq!(record["fix"]["claim"], "helps");
    assert_eq!(record["hosts"][1]["address"], "198.18.0.2");
    assert_eq!(record["accounts"][1]["ending"], "ECONNRESET");
    assert_eq!(record["accounts"][1]["deeds"][2]["expected"], 5000);
    assert_eq!(record["kernel_resets"][0]["path"], "close-unread");
    assert_eq!(record["kernel_resets"][1]["reason"], Value::Null);
    assert_eq!(record["deaths"][0]["unread"], 22);
    assert_eq!(record["counters"]["server"]["TCPAbortOnClose"], 1);
    assert_eq!(record["marks"][0]["name"], "idle");
}

#[test]
fn tallies_are_as_their_schema_says() {
    let mut tally = Tally::new(variant());
    for round in [full(), well()] {
        tally.add(&round);
    }
    tally.add_explained("client", Explained::Wrong, Some("likely silent-drop: …".to_owned()));
    tally.add_explained("server", Explained::Right, None);
    let mut without = Tally::new(Variant::default());
    without.add(&full());
    for without in [None, Some(&without)] {
        let mut out = Vec::new();
        write_tally(&mut out, &tally, without).unwrap();
        let record = check(&out, "lab-1.json");
        assert_eq!(record["claim_holds"].is_null(), without.is_none());
        assert_eq!(record["rounds"], 2);
        assert_eq!(record["shown"]["events"], 1);
        assert_eq!(record["explained"]["client"]["wrong"], 1);
        assert_eq!(record["kernel_resets"].as_array().unwrap().len(), 2);
    }
    // Of no rounds nothing is known.
    let mut out = Vec::new();
    write_tally(&mut out, &Tally::new(Variant::default()), None).unwrap();
    let record = check(&out, "lab-1.json");
    for unknown in ["cause", "fix", "real", "bytes_lost_median", "client_time_median"] {
        assert_eq!(record[unknown], Value::Null, "{unknown}");
    }
}

#[test]
fn scenarios_are_as_their_schema_says() {
    let scenarios = Scenario::all().unwrap();
    assert!(!scenarios.is_empty());
    for scenario in &scenarios {
        let mut out = Vec::new();
        write_scenario(&mut out, scenario).unwrap();
        let record = check(&out, "lab-scenario-1.json");
        assert_eq!(record["scenario"], scenario.id.as_str());
        assert_eq!(record["fixes"].as_array().unwrap().len(), scenario.fixes.len());
    }
}
