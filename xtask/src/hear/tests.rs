//! Small records of lab and watch, joined and judged.

use std::collections::BTreeSet;

use bypeer_lab::actor::process_name;
use bypeer_lab::scenario::{KernelClaim, Scenario, Truth};
use serde_json::{Value, json};

use super::judge::{Verdict, judge, reasons};
use super::owners::{Owners, owners};
use super::records::{Hearing, LabRound, hearings, rounds};
use super::round::Heard;
use super::table::Table;

/// From 100 s to 101 s, servers at port 9000, a reset for unread bytes; `with` puts other values in.
fn round(with: &Value) -> LabRound {
    let mut record = json!({
        "schema": "bypeer.lab-round/1", "scenario": "a-scenario", "cause": "unread-request-body", "real": null, "round": 1,
        "began": 100.0, "ended": 101.0, "port": 9000, "shown": true, "failed": true,
        "hosts": [
            {"name": "client", "address": "198.18.0.1"}, {"name": "server", "address": "198.18.0.2"},
            {"name": "fresh", "address": "198.18.0.2"},
        ],
        "accounts": [
            {"host": "server", "scripted": true, "deeds": [{"error": null}]},
            {"host": "client", "scripted": true, "deeds": [{"error": "ECONNRESET"}]},
        ],
        "kernel_resets": [{"host": "server", "reason": "TCP_ABORT_ON_CLOSE"}],
        "counters": {"client": {"EstabResets": 1, "InSegs": 4}},
    });
    merge(&mut record, with);
    rounds(&record.to_string()).unwrap().remove(0)
}

/// What the watch tells of that reset.
fn hearing(with: &Value) -> Hearing {
    let testimony = |told: &str, side: &str, name: &str| {
        json!({"time": 100.5, "told": told, "side": side, "reason": null, "path": null, "state": "CLOSED", "error": null,
            "process": {"name": name}})
    };
    let mut kernel = testimony("reset-sent", "server", "lab-server");
    merge(
        &mut kernel,
        &json!({"reason": "TCP_ABORT_ON_CLOSE", "path": "close-unread"}),
    );
    kernel["peer"] = testimony("reset-received", "client", "lab-client");
    let mut record = json!({
        "schema": "bypeer.finding/1", "cause": "unread-request-body", "confidence": "likely", "rivals": [], "harmless": false,
        "client": "198.18.0.1:40000", "server": "198.18.0.2:9000", "kernel": kernel,
    });
    merge(&mut record, with);
    hearings(&[record.to_string()]).unwrap().remove(0)
}

fn merge(into: &mut Value, with: &Value) {
    for (key, value) in with.as_object().unwrap() {
        match value {
            Value::Object(_) if into[key].is_object() && key != "counters" => merge(&mut into[key], value),
            _ => into[key] = value.clone(),
        }
    }
}

fn unexplained() -> Hearing {
    hearing(&json!({"schema": "bypeer.unexplained/1", "cause": null}))
}

fn verdict(round: &LabRound, truth: &Truth, heard: &[Hearing]) -> Verdict {
    judge(round, truth, &Heard::of(round, heard))
}

#[test]
fn a_connection_belongs_to_the_round_of_its_hosts_port_and_time() {
    let round = round(&json!({}));
    let belongs = |with: Value| Heard::of(&round, &[hearing(&with)]).hearings.len() == 1;
    assert!(belongs(json!({})));
    assert!(belongs(json!({"server": "198.18.0.2:9015"})), "port +15 of a script");
    assert!(!belongs(json!({"server": "198.18.0.2:9016"})), "the next round's");
    assert!(!belongs(json!({"client": "198.18.7.1:40000"})), "another lab's");
    assert!(!belongs(json!({"kernel": {"time": 99.9}})), "before");
    assert!(!belongs(json!({"kernel": {"time": 101.001}})), "killed with the round");
    assert!(belongs(json!({"client": "198.18.0.1:0"})), "a port that was not told");
    assert!(
        belongs(json!({"client": "0.0.0.0:40000"})),
        "an address that was not told"
    );
}

#[test]
fn what_is_no_connection_is_left_out() {
    let lines = [r#"{"schema":"bypeer.watch-summary/1","exit":1}"#.to_owned()];
    assert!(hearings(&lines).unwrap().is_empty());
    assert!(hearings(&["nonsense".to_owned()]).is_err());
    assert!(rounds(r#"{"schema":"bypeer.lab/1"}"#).unwrap().is_empty());
}

#[test]
fn findings_are_held_to_the_truth() {
    let round = round(&json!({}));
    let truth = Truth {
        also: [("client".to_owned(), vec!["so-linger-zero".to_owned()])].into(),
        ..Truth::default()
    };
    let of = |with: Value| verdict(&round, &truth, &[hearing(&with)]);
    assert_eq!(of(json!({})), Verdict::Right);
    assert_eq!(of(json!({"cause": "so-linger-zero"})), Verdict::Fair);
    assert_eq!(of(json!({"cause": "closed-port"})), Verdict::Wrong);
    assert_eq!(of(json!({"cause": "closed-port", "harmless": true})), Verdict::Silent);
    let undecided = |rivals: &[&str]| of(json!({"cause": "closed-port", "confidence": "undecided", "rivals": rivals}));
    assert_eq!(undecided(&["unread-request-body"]), Verdict::Undecided);
    assert_eq!(undecided(&["process-killed"]), Verdict::Astray);
    assert_eq!(verdict(&round, &truth, &[unexplained()]), Verdict::Unexplained);
    assert_eq!(verdict(&round, &truth, &[]), Verdict::Silent);
}

#[test]
fn a_wrong_finding_outweighs_a_right_one_and_a_right_one_what_is_unexplained() {
    let (round, truth) = (round(&json!({})), Truth::default());
    let wrong = hearing(&json!({"cause": "closed-port"}));
    assert_eq!(verdict(&round, &truth, &[hearing(&json!({})), wrong]), Verdict::Wrong);
    assert_eq!(
        verdict(&round, &truth, &[unexplained(), hearing(&json!({}))]),
        Verdict::Right
    );
}

#[test]
fn where_nothing_is_to_be_found_silence_is_right_and_any_accusation_wrong() {
    let clean = round(&json!({"cause": null, "failed": false}));
    let truth = Truth::default();
    assert_eq!(verdict(&clean, &truth, &[]), Verdict::Right);
    assert_eq!(verdict(&clean, &truth, &[hearing(&json!({}))]), Verdict::Wrong);
    assert_eq!(verdict(&clean, &truth, &[unexplained()]), Verdict::Unexplained);
    let spared = round(&json!({"failed": false, "shown": false, "kernel_resets": []}));
    assert_eq!(verdict(&spared, &truth, &[]), Verdict::Right);
    assert_eq!(verdict(&spared, &truth, &[hearing(&json!({}))]), Verdict::Wrong);
}

#[test]
fn a_round_in_which_no_kernel_ended_anything_has_nothing_to_tell() {
    let quiet = |error: &str, counter: &str| {
        let deeds = json!([{"host": "client", "scripted": true, "deeds": [{"error": error}]}]);
        round(&json!({"kernel_resets": [], "accounts": deeds, "counters": {"client": {counter: 1}}}))
    };
    let of = |round: LabRound| verdict(&round, &Truth::default(), &[]);
    assert_eq!(of(quiet("EOF", "InSegs")), Verdict::NothingToTell);
    assert_eq!(of(quiet("timeout", "InSegs")), Verdict::NothingToTell);
    assert_eq!(of(quiet("EBADF", "InSegs")), Verdict::NothingToTell);
    assert_eq!(of(quiet("ETIMEDOUT", "InSegs")), Verdict::Silent);
    assert_eq!(of(quiet("timeout", "ListenOverflows")), Verdict::Silent);
    assert_eq!(of(round(&json!({}))), Verdict::Silent);
}

fn claim(host: &str, reason: &str, path: &str) -> KernelClaim {
    KernelClaim {
        host: host.to_owned(),
        reason: vec![reason.to_owned()],
        state: Vec::new(),
        path: vec![path.to_owned()],
    }
}

#[test]
fn claims_about_resets_are_looked_for() {
    let round = round(&json!({}));
    let truth = Truth {
        kernel: vec![
            claim("server", "TCP_ABORT_ON_CLOSE", "close-unread"),
            claim("client", "TCP_ABORT_ON_CLOSE", "close-unread"),
            claim("server", "NO_SOCKET", "close-unread"),
            claim("server", "TCP_ABORT_ON_CLOSE", "linger-zero"),
        ],
        ..Truth::default()
    };
    let heard = [hearing(&json!({}))];
    assert_eq!(reasons(&round, &truth, &Heard::of(&round, &heard)), (1, 4));
}

#[test]
fn each_end_is_owned_by_its_hosts_actor() {
    let one = round(&json!({}));
    let of = |with: Value| owners(&one, &hearing(&with));
    let both = Owners {
        right: 2,
        ..Owners::default()
    };
    assert_eq!(of(json!({})), both);
    let fresh = json!({"kernel": {"process": {"name": "lab-fresh"}}});
    assert_eq!(of(fresh), both, "it has the server's address");
    let wire = of(json!({"kernel": {"peer": {"process": {"name": "wire"}}}}));
    assert_eq!(wire.wrong, ["wire at 198.18.0.1:40000, not lab-client"]);
    let swapped = of(json!({"kernel": {"process": {"name": "lab-client"}}}));
    assert_eq!(swapped.wrong.len(), 1);
    assert_eq!(of(json!({"kernel": {"process": null}})).unknown, 1);
    let nobody = of(json!({"kernel": {"process": null, "state": null, "peer": null}}));
    assert_eq!(nobody, Owners::default(), "a kernel that has no socket for it");
    let real = round(&json!({"accounts": [{"host": "server", "scripted": false, "deeds": []}]}));
    let python = hearing(&json!({"kernel": {"process": {"name": "python3"}}}));
    assert_eq!(
        owners(&real, &python).right,
        1,
        "of the server's program only the name is unknown"
    );
}

#[test]
fn the_table_counts_and_decides() {
    let (round, truth) = (round(&json!({})), Truth::default());
    let add = |table: &mut Table, hearing: Hearing| {
        let heard = [hearing];
        table.add(&round, &truth, &Heard::of(&round, &heard));
    };
    let mut table = Table::default();
    assert!(!table.is_good(), "nothing was played");
    add(&mut table, hearing(&json!({})));
    add(&mut table, unexplained());
    assert!(table.is_good());
    let text = table.text();
    assert!(text.contains("2 rounds: right 1, unexplained 1\n"), "{text}");
    assert!(text.contains("owners: 4 of 4 right, 0 unknown, 0 wrong\n"), "{text}");
    assert_eq!(table.json().unwrap().lines().count(), 2);
    let mut strange = Table::default();
    add(&mut strange, hearing(&json!({"kernel": {"process": {"name": "wire"}}})));
    assert!(!strange.is_good(), "an owner is wrong");
    let mut turned = Table::default();
    let client = hearing(&json!({"kernel": {"side": "client", "process": {"name": "lab-client"}, "peer": null}}));
    let truth = Truth {
        kernel: vec![claim("server", "TCP_ABORT_ON_CLOSE", "close-unread")],
        ..Truth::default()
    };
    turned.add(&round, &truth, &Heard::of(&round, &[client]));
    assert!(!turned.is_good(), "the truth says that the server closed");
    let mut wrong = Table::default();
    add(&mut wrong, hearing(&json!({"cause": "closed-port"})));
    assert!(!wrong.is_good());
}

#[test]
fn names_of_processes_tell_a_scenarios_hosts_apart() {
    assert_eq!(process_name("server").as_c_str(), c"lab-server");
    assert_eq!(process_name("client-announced").as_c_str(), c"lab-client-anno");
    for scenario in Scenario::all().unwrap() {
        let names: BTreeSet<_> = scenario.hosts.keys().map(|host| process_name(host)).collect();
        assert_eq!(names.len(), scenario.hosts.len(), "{}", scenario.id);
    }
}

#[test]
fn only_what_needs_no_wire_is_played_on_loopback() {
    let fits = |id: &str| super::loopback::fits(&Scenario::built_in(id).unwrap().unwrap());
    for id in ["unread-request-body", "so-linger-zero", "closed-port"] {
        assert!(fits(id), "{id}");
    }
    for id in [
        "fin-never-arrives",
        "half-open-after-reboot",
        "acked-silence-proxy-gives-up",
        "netfilter-reject",
    ] {
        assert!(!fits(id), "{id}");
    }
}
