//! The servers of stories 1, 3 and 5: the card names the fault and the settings, as one reads them in JSON.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server::Server;
use crate::servers::python::gunicorn_with;

/// Hand-written, single-threaded; it closes after each answer without a word.
const CLOSES: &str = include_str!("../../../../xtask/src/settings/programs/closes.py");
/// Node's, whose answers say nothing of its limit.
const SILENT: &str = include_str!("../../../../xtask/src/settings/programs/silent.js");
/// Reads no body, and answers with 600 kB, as story 5's view does.
const IGNORES: &str = "
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '614400')])
    return [b'x' * 614400]
";

/// The card, and the exit status.
fn card(server: &Server, options: &[&str]) -> (Value, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_bypeer"))
        .args(["probe", &server.url(), "--format", "json"])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_else(|| panic!("{told}"));
    let card: Value = serde_json::from_str(last).unwrap();
    assert_eq!(card["schema"], "bypeer.probe/1", "{last}");
    (card, output.status.code().unwrap())
}

/// Every risk of the card.
fn risks(card: &Value) -> Vec<&Value> {
    let checks = card["checks"].as_array().unwrap();
    checks
        .iter()
        .flat_map(|check| check["risks"].as_array().unwrap())
        .collect()
}

/// The lines that the card has for a client.
fn lines<'a>(card: &'a Value, client: &str) -> Vec<&'a str> {
    let clients = card["client_settings"].as_array().unwrap();
    let of_client = clients.iter().filter(|settings| settings["software"] == client);
    of_client
        .flat_map(|settings| settings["lines"].as_array().unwrap())
        .map(|line| line["text"].as_str().unwrap())
        .collect()
}

#[test]
#[ignore = "needs python3"]
fn story_1_closes_after_each_answer_and_does_not_say_so() {
    let server = Server::new()
        .file("closes.py", CLOSES)
        .start("python3 {dir}/closes.py {host} {port}");
    let (card, status) = card(&server, &["--longest-wait", "2s"]);
    let fault = risks(&card)
        .into_iter()
        .find(|risk| risk["cause"] == "unannounced-close-each-response");
    let fault = fault.unwrap_or_else(|| panic!("{card:#}"));
    assert_eq!(fault["severity"], "fault", "{fault:#}");
    assert_eq!(fault["confidence"], "certain", "{fault:#}");
    assert_eq!(card["client_rule"]["no_reuse"], true, "{card:#}");
    assert_eq!(lines(&card, "go-client"), ["DisableKeepAlives: true,"], "{card:#}");
    assert_eq!(status, 1);
}

#[test]
#[ignore = "needs node"]
fn story_3_keeps_for_5_s_and_does_not_say_so() {
    let server = Server::new()
        .file("silent.js", SILENT)
        .start("node {dir}/silent.js {host} {port} 5000");
    let (card, status) = card(&server, &["--longest-wait", "8s"]);
    let trap = risks(&card)
        .into_iter()
        .find(|risk| risk["cause"] == "idle-timeout-inversion");
    let trap = trap.unwrap_or_else(|| panic!("{card:#}"));
    assert_eq!(trap["severity"], "trap", "{trap:#}");
    assert_eq!(trap["remedy"], "client", "{trap:#}");
    let checks = card["checks"].as_array().unwrap();
    let idle = checks.iter().find(|check| check["check"] == "idle-timeout").unwrap();
    let measured = |habit: &str| {
        let all = idle["measured"].as_array().unwrap();
        all.iter()
            .find(|measured| measured["habit"] == habit)
            .unwrap_or(&Value::Null)
    };
    // The 5 s that it was told, and a second of Node's.
    let median = measured("idle-timeout.after-one")["median"].as_f64().unwrap();
    assert!((5.98..6.1).contains(&median), "{median}");
    assert_eq!(measured("idle-timeout.promised"), &Value::Null, "it says so after all");
    let limit = card["client_rule"]["pool_idle_seconds"].as_f64().unwrap();
    assert!((4.0..5.8).contains(&limit), "{limit}");
    let line = format!("IdleConnTimeout: {:.0} * time.Millisecond,", (limit * 1000.0).floor());
    assert_eq!(lines(&card, "go-client"), [line.as_str()], "{card:#}");
    assert_eq!(status, 0);
}

#[test]
#[ignore = "needs gunicorn"]
fn story_5_does_not_read_the_body_and_no_client_can_help() {
    let server = gunicorn_with(IGNORES, "--worker-class sync --workers 2");
    let (card, status) = card(&server, &["--longest-wait", "2s", "--body-path", "/"]);
    let fault = risks(&card)
        .into_iter()
        .find(|risk| risk["cause"] == "unread-request-body");
    let fault = fault.unwrap_or_else(|| panic!("{card:#}"));
    assert_eq!(fault["severity"], "fault", "{fault:#}");
    assert_eq!(fault["remedy"], "server", "{fault:#}");
    assert_eq!(fault["beyond_clients"], true, "{fault:#}");
    assert_eq!(card["beyond_clients"], true, "{card:#}");
    assert_eq!(status, 1);
}
