use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;
use http::{Method, StatusCode, Version};

use super::ending::{Ending, How};
use super::found::{Found, found};
use super::log::{AccessLog, Target};
use super::metrics::Metrics;
use super::reporter::Reporter;
use super::summary::summary;
use super::*;
use crate::account::{Account, Attempt};
use crate::failure::Failure;

pub(super) fn account() -> Account {
    Account {
        began: Instant::now(),
        client: Some("127.0.0.1:40000".parse().unwrap()),
        client_requests_before: 2,
        method: Method::GET,
        path: "/cards".to_owned(),
        version: Version::HTTP_11,
        status: None,
        attempts: Vec::new(),
        request_bytes: 0,
        response_bytes: 0,
        failure: None,
        ended: None,
    }
}

pub(super) fn attempt(failure: Option<Failure>) -> Attempt {
    Attempt {
        to: "127.0.0.1:8000".into(),
        connection: 7,
        requests_before: 0,
        idle: None,
        first_byte: None,
        send_failed: false,
        surplus: 0,
        failure,
    }
}

fn kept(idle: u64, failure: Option<Failure>) -> Attempt {
    Attempt {
        requests_before: 3,
        idle: Some(Duration::from_millis(idle)),
        ..attempt(failure)
    }
}

fn with(attempts: Vec<Attempt>, failure: Option<Failure>, status: u16) -> Account {
    Account {
        attempts,
        failure,
        status: Some(StatusCode::from_u16(status).unwrap()),
        ..account()
    }
}

fn found_in(account: &Account) -> Vec<Found> {
    found(account, || "http://app:8000".to_owned())
}

/// The one thing that is found.
fn one(account: &Account) -> Found {
    let mut all = found_in(account);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn ids(found: &Found) -> (&'static str, Vec<&'static str>) {
    (found.cause.id, found.rivals.iter().map(|cause| cause.id).collect())
}

#[test]
fn most_exchanges_show_nothing() {
    assert_eq!(found_in(&with(vec![attempt(None)], None, 200)), []);
    assert_eq!(found_in(&with(vec![kept(5000, None)], None, 500)), []);
    // The server was slow, and no connection died of it.
    assert_eq!(
        found_in(&with(vec![attempt(None)], Some(Failure::AnswerTimeout), 504)),
        []
    );
}

#[test]
fn a_stale_connection_is_told_from_a_server_that_does_not_answer() {
    let stale = || Failure::Stale { reset: false };
    let saved = one(&with(vec![kept(5000, Some(stale())), attempt(None)], None, 200));
    assert_eq!(ids(&saved), ("keepalive-race-unannounced-close", vec![]));
    assert_eq!((saved.confidence, saved.saved), (Confidence::Likely, true));
    assert!(!saved.fixes.is_empty() && saved.verdict.contains("5.00 s"), "{saved:?}");

    let restarted = one(&with(vec![kept(5400, Some(stale())), attempt(None)], None, 200));
    assert_eq!(
        ids(&restarted),
        ("keepalive-race-unannounced-close", vec!["process-killed"])
    );
    assert_eq!((restarted.confidence, restarted.saved), (Confidence::Undecided, true));

    let lost = one(&with(vec![kept(5000, None)], Some(stale()), 502));
    assert_eq!(lost.confidence, Confidence::Undecided);
    assert!(lost.rivals.iter().any(|cause| cause.id == "upstream-no-response-close"));
    assert!(lost.fixes.is_empty() && lost.settle.is_some() && !lost.saved);

    let soon = one(&with(vec![kept(2, Some(stale())), attempt(None)], None, 200));
    assert_eq!(
        (soon.cause.id, soon.confidence),
        ("unannounced-close-each-response", Confidence::Undecided)
    );

    let fresh = one(&with(vec![attempt(None)], Some(Failure::ClosedUnanswered), 502));
    assert_eq!(
        (fresh.cause.id, fresh.confidence),
        ("upstream-no-response-close", Confidence::Undecided)
    );
    // gunicorn's `--max-requests`: a worker that ends closes what it had just accepted.
    assert!(fresh.rivals.iter().any(|cause| cause.id == "process-killed"));
}

#[test]
fn a_reset_is_judged_by_the_engine_and_by_what_the_guard_knows_beside_it() {
    let reset = || Failure::Reset { acknowledged: None };
    let fresh = one(&with(vec![attempt(None)], Some(reset()), 502));
    let (_, rivals) = ids(&fresh);
    assert_eq!(fresh.confidence, Confidence::Undecided);
    let all: Vec<&str> = rivals.iter().copied().chain([fresh.cause.id]).collect();
    assert!(
        all.contains(&"process-killed") && all.contains(&"so-linger-zero"),
        "{all:?}"
    );
    assert!(
        !all.contains(&"keepalive-race-unannounced-close"),
        "a fresh connection was kept by nobody: {all:?}"
    );
    assert!(!all.contains(&"half-open-after-reboot"), "{all:?}");
    assert!(!all.contains(&"unread-request-body"), "there was no body: {all:?}");
    let posted = Account {
        request_bytes: 9,
        ..with(vec![attempt(None)], Some(reset()), 502)
    };
    let posted = one(&posted);
    let all = [vec![posted.cause.id], ids(&posted).1].concat();
    assert!(all.contains(&"unread-request-body"), "{all:?}");

    let stale = one(&with(
        vec![kept(5000, Some(Failure::Stale { reset: true })), attempt(None)],
        None,
        200,
    ));
    let all = [vec![stale.cause.id], ids(&stale).1].concat();
    assert!(all.contains(&"keepalive-race-unannounced-close"), "{all:?}");
    assert!(!all.contains(&"unread-request-body"), "{all:?}");
    assert!(stale.saved && stale.confidence == Confidence::Undecided);
    assert!(stale.settle.as_ref().unwrap().contains("bypeer watch"), "{stale:?}");

    let cut = |bytes| Account {
        request_bytes: bytes,
        ..with(
            vec![attempt(None)],
            Some(Failure::Incomplete {
                have: 10,
                expected: Some(20),
                reset: true,
            }),
            200,
        )
    };
    let (without, with) = (one(&cut(0)), one(&cut(22)));
    let is_among =
        |found: &Found| found.cause.id == "unread-request-body" || ids(found).1.contains(&"unread-request-body");
    assert!(is_among(&with) && !is_among(&without), "{with:?}");
    assert!(with.verdict.contains("after 10 of 20 bytes"));
}

#[test]
fn other_ends_have_their_causes() {
    let cases = [
        (Failure::Refused, 502, "closed-port", Confidence::Likely),
        (
            Failure::Incomplete {
                have: 1,
                expected: Some(9),
                reset: false,
            },
            200,
            "incomplete-response",
            Confidence::Likely,
        ),
        (
            Failure::Unsolicited { bytes: 5 },
            502,
            "desync-unsolicited-response",
            Confidence::Likely,
        ),
        (Failure::ClientGone, 400, "client-cancel", Confidence::Likely),
    ];
    for (failure, status, cause, confidence) in cases {
        let found = one(&with(vec![attempt(None)], Some(failure), status));
        assert_eq!((found.cause.id, found.confidence), (cause, confidence));
        assert!(!found.saved && !found.fixes.is_empty(), "{found:?}");
    }
    let early = one(&with(Vec::new(), Some(Failure::Refused), 502));
    assert_eq!(early.server.as_deref(), Some("http://app:8000"));
    let silent = one(&with(vec![attempt(None)], Some(Failure::ConnectTimeout), 504));
    assert_eq!(
        silent.confidence,
        Confidence::Undecided,
        "silence has several reasons: {silent:?}"
    );
}

#[test]
fn an_answer_that_was_saved_is_told_of() {
    let early = Attempt {
        send_failed: true,
        ..attempt(None)
    };
    let account = Account {
        request_bytes: 1 << 20,
        ..with(vec![early], None, 413)
    };
    let found = one(&account);
    assert_eq!((found.cause.id, found.saved), ("early-error-body-limit", true));
    assert_eq!(Ending::of(&account), Ending::Saved(How::ReadOn));
    let account = Account {
        status: Some(StatusCode::OK),
        ..account
    };
    assert_eq!(
        ids(&one(&account)),
        ("unread-request-body", vec!["late-data-after-close"])
    );
    let surplus = Attempt {
        surplus: 12,
        ..attempt(None)
    };
    let found = one(&with(vec![surplus], None, 200));
    assert_eq!((found.cause.id, found.saved), ("desync-unsolicited-response", true));
}

#[test]
fn a_failure_that_stands_in_both_places_counts_once() {
    let account = with(
        vec![attempt(Some(Failure::ClosedUnanswered))],
        Some(Failure::ClosedUnanswered),
        502,
    );
    assert_eq!(one(&account).cause.id, "upstream-no-response-close");
    assert_eq!(Ending::of(&account), Ending::Failed);
    let cut = Failure::Incomplete {
        have: 5,
        expected: None,
        reset: false,
    };
    assert_eq!(Ending::of(&with(vec![attempt(None)], Some(cut), 200)), Ending::Cut);
    let unread = with(vec![attempt(None)], Some(Failure::ClientStalled), 200);
    assert_eq!(Ending::of(&unread), Ending::ClientGone);
    assert!(found_in(&unread).is_empty(), "it is not the server's doing");
}

#[test]
fn after_a_reload_the_server_is_the_new_one() {
    let (reporter, said) = reporter(None, None);
    let refused = || with(Vec::new(), Some(Failure::Refused), 502);
    for port in [8001, 8002] {
        reporter.expect(&crate::config::Upstream {
            to: vec![crate::config::Destination {
                host: "app".to_owned(),
                port,
                tls: false,
                unix: None,
            }],
            ..Default::default()
        });
        (0..9).for_each(|_| reporter.exchange(&refused()));
    }
    let said = said.lock().unwrap();
    assert!(said[0].contains(" at http://app:8001: "), "{said:#?}");
    assert!(said[1].contains(" at http://app:8002: "), "{said:#?}");
}

fn reporter(log: Option<AccessLog>, idle: Option<Duration>) -> (Reporter, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let tell = Box::new(move |line: &str| heard.lock().unwrap().push(line.to_owned()));
    let upstream = crate::config::Upstream {
        idle,
        ..Default::default()
    };
    let metrics = Arc::new(Metrics::new("0.1.0"));
    (Reporter::new(log, metrics, &upstream, tell), said)
}

#[test]
fn a_kind_is_told_of_at_the_first_and_then_at_each_tenfold() {
    let (reporter, said) = reporter(None, None);
    let account = with(vec![attempt(None)], Some(Failure::ClosedUnanswered), 502);
    (0..120).for_each(|_| reporter.exchange(&account));
    let said = said.lock().unwrap();
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(
        said[0]
            .starts_with("undecided upstream-no-response-close (or process-killed) at 127.0.0.1:8000: the server closed a fresh connection")
    );
    assert!(said[2].ends_with(", 100 times so far"));
}

#[test]
fn the_example_of_a_finding_is_short() {
    let (reporter, _) = reporter(None, None);
    let mut account = with(vec![attempt(None)], Some(Failure::ClosedUnanswered), 502);
    account.method = Method::from_bytes(&[b'X'; 3000]).unwrap();
    reporter.exchange(&account);
    let example = reporter.tally().kinds()[0].example.clone();
    assert_eq!(example, format!("{} {}", "X".repeat(32), account.path));
}

#[test]
fn a_failure_without_a_cause_is_told_of_as_well() {
    let (reporter, said) = reporter(None, None);
    let timeout = with(vec![attempt(None)], Some(Failure::AnswerTimeout), 504);
    let certificate = with(
        Vec::new(),
        Some(Failure::Certificate("its issuer is not known".to_owned())),
        502,
    );
    (0..12).for_each(|_| reporter.exchange(&timeout));
    reporter.exchange(&certificate);
    reporter.exchange(&with(vec![attempt(None)], Some(Failure::DrainEnded), 503));
    reporter.exchange(&with(Vec::new(), Some(Failure::Request("x".to_owned())), 400));
    let said = said.lock().unwrap();
    assert_eq!(
        *said,
        [
            "127.0.0.1:8000: the server did not answer in time",
            "127.0.0.1:8000: the server did not answer in time, 10 times so far",
            ": the certificate of the server is not trusted: its issuer is not known",
        ]
    );
}

#[test]
fn an_address_that_no_connection_came_of_is_told_of_though_another_answered() {
    let (reporter, said) = reporter(None, None);
    let dialled = |to: &str, failure| Attempt {
        connection: 0,
        to: to.into(),
        ..attempt(Some(failure))
    };
    for _ in 0..3 {
        let unnamed = dialled("app:8000", Failure::NameNotFound("app".to_owned()));
        reporter.exchange(&with(vec![unnamed, attempt(None)], None, 200));
        for port in [8001, 8002] {
            let refused = dialled(&format!("127.0.0.1:{port}"), Failure::Refused);
            reporter.exchange(&with(vec![refused, attempt(None)], None, 200));
        }
    }
    let said = said.lock().unwrap();
    assert_eq!(said.len(), 3, "one for each address: {said:#?}");
    assert_eq!(
        said[0],
        "app:8000: the name of the server was not found: app; the client got its answer"
    );
    assert!(
        said[1].starts_with("likely closed-port at 127.0.0.1:8001: "),
        "{said:#?}"
    );
    let text = reporter.metrics().render(None);
    for line in [
        "bypeer_guard_failed_tries_total{error=\"dns_error\"} 3",
        "bypeer_guard_failed_tries_total{error=\"connection_refused\"} 6",
        "bypeer_guard_exchanges_total{ending=\"saved-by-retry\"} 9",
        "bypeer_guard_retries_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn a_handshake_of_tls_that_is_not_answered_is_no_lost_syn() {
    let silent = with(vec![attempt(None)], Some(Failure::HandshakeTimeout), 504);
    assert_eq!(found_in(&silent), []);
    let (reporter, said) = reporter(None, None);
    reporter.exchange(&silent);
    let said = said.lock().unwrap();
    assert!(said[0].ends_with("does it speak TLS on this port?"), "{said:#?}");
}

#[test]
fn failures_that_differ_are_not_counted_as_the_last() {
    let (reporter, said) = reporter(None, None);
    for number in 0..10 {
        let why = ["its status line is not valid", "its head is not valid"][number % 2];
        reporter.exchange(&with(vec![attempt(None)], Some(Failure::Malformed(why)), 502));
    }
    assert_eq!(
        *said.lock().unwrap(),
        [
            "127.0.0.1:8000: the answer of the server is not valid HTTP: its status line is not valid",
            "127.0.0.1:8000: the answer of the server is not valid HTTP: its head is not valid; the last of 10 such failures, not all for the \
             same reason",
        ]
    );
}

#[test]
fn a_wrong_idle_limit_is_contradicted() {
    let (reporter, said) = reporter(None, Some(Duration::from_secs(60)));
    let event = Event::ClosedIdle {
        to: "127.0.0.1:8000",
        connection: 1,
        idle: Duration::from_secs(5),
        requests: 3,
        reset: false,
    };
    (0..3).for_each(|_| reporter.server(&event));
    let said = said.lock().unwrap();
    assert_eq!(said.len(), 1);
    assert!(
        said[0].contains("after 5.0 s, and upstream.idle says 60.0 s"),
        "{said:?}"
    );
}

#[test]
fn metrics_count_what_happened() {
    let (reporter, _) = reporter(None, None);
    reporter.client("127.0.0.1:1".parse().unwrap(), Change::Opened);
    reporter.client("127.0.0.1:1".parse().unwrap(), Change::Opened);
    reporter.client("127.0.0.1:1".parse().unwrap(), Change::Closed(Why::Announced));
    reporter.exchange(&with(
        vec![kept(5000, Some(Failure::Stale { reset: false })), attempt(None)],
        None,
        200,
    ));
    reporter.exchange(&with(vec![attempt(None)], Some(Failure::Refused), 502));
    let mut slow = with(vec![attempt(None)], None, 204);
    slow.ended = Some(slow.began + Duration::from_millis(30));
    slow.response_bytes = 1234;
    reporter.exchange(&slow);
    reporter.refused(
        "127.0.0.1:1".parse().unwrap(),
        Refusal {
            status: None,
            why: "no HTTP".to_owned(),
            line: None,
        },
    );
    let text = reporter.metrics().render(None);
    for line in [
        "bypeer_guard_requests_total{status=\"2xx\"} 2",
        "bypeer_guard_requests_total{status=\"5xx\"} 1",
        "bypeer_guard_exchanges_total{ending=\"saved-by-retry\"} 1",
        "bypeer_guard_exchanges_total{ending=\"failed\"} 1",
        "bypeer_guard_failed_tries_total{error=\"connection_terminated\"} 1",
        "bypeer_guard_failed_tries_total{error=\"connection_refused\"} 1",
        "bypeer_guard_findings_total{cause=\"closed-port\",confidence=\"likely\"} 1",
        "bypeer_guard_findings_total{cause=\"keepalive-race-unannounced-close\",confidence=\"likely\"} 1",
        "bypeer_guard_retries_total 1",
        "bypeer_guard_reused_total 1",
        "bypeer_guard_refused_total 1",
        "bypeer_guard_client_connections 1",
        "bypeer_guard_client_connections_closed_total{why=\"announced\"} 1",
        "bypeer_guard_exchange_seconds_bucket{le=\"0.05\"} 3",
        "bypeer_guard_exchange_seconds_count 3",
        "bypeer_guard_exchange_seconds_sum 0.03",
        "bypeer_guard_response_bytes_total 1234",
        "bypeer_guard_info{version=\"0.1.0\"} 1",
    ] {
        // The two quick ones took some microseconds.
        let found = text
            .lines()
            .any(|found| found == line || line.contains("_sum") && found.starts_with(line));
        assert!(found, "{line}\n{text}");
    }
}

#[test]
fn every_series_is_there_once_and_follows_its_type() {
    let text = Metrics::new("1").render(None);
    let mut seen = std::collections::HashSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            family = typed.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(family), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series), "{line} twice");
        }
    }
    assert!(seen.len() > 100, "{}", seen.len());
}

#[test]
fn every_failure_has_its_series() {
    let failures = [
        Failure::NameNotFound(String::new()),
        Failure::Refused,
        Failure::NoSocket(String::new()),
        Failure::SocketForbidden {
            path: String::new(),
            user: 1,
        },
        Failure::Unreachable(std::io::Error::other("")),
        Failure::ConnectTimeout,
        Failure::HandshakeTimeout,
        Failure::ConnectionLimit { limit: 1 },
        Failure::Descriptors,
        Failure::Tls(String::new()),
        Failure::Certificate(String::new()),
        Failure::Stale { reset: true },
        Failure::ClosedUnanswered,
        Failure::Reset { acknowledged: None },
        Failure::StreamReset(h2::Reason::REFUSED_STREAM),
        Failure::GoAway(h2::Reason::NO_ERROR),
        Failure::NoHttp2,
        Failure::AnswerTimeout,
        Failure::Incomplete {
            have: 0,
            expected: None,
            reset: true,
        },
        Failure::BodyTimeout,
        Failure::WriteTimeout,
        Failure::Malformed("x"),
        Failure::HeadTooLarge { limit: 1 },
        Failure::Unsolicited { bytes: 1 },
        Failure::Other(std::io::Error::other("")),
    ];
    let (reporter, _) = reporter(None, None);
    let count = failures.len() as u64;
    for failure in failures {
        let status = failure.status().as_u16();
        reporter.exchange(&with(vec![attempt(None)], Some(failure), status));
    }
    let text = reporter.metrics().render(None);
    let of = |line: &str| {
        line.starts_with("bypeer_guard_failed_tries_total{")
            .then(|| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert_eq!(text.lines().filter_map(of).flatten().sum::<u64>(), count, "{text}");
}

#[test]
fn the_summary_says_what_was_saved_and_what_to_change() {
    let (reporter, _) = reporter(None, None);
    reporter.exchange(&with(vec![attempt(None)], None, 200));
    reporter.exchange(&with(
        vec![kept(5000, Some(Failure::Stale { reset: false })), attempt(None)],
        None,
        200,
    ));
    reporter.exchange(&with(
        vec![attempt(None)],
        Some(Failure::Reset { acknowledged: None }),
        502,
    ));
    let text = summary(&reporter, Duration::from_secs(12), None);
    for part in [
        "3 requests in 12 s\n",
        "         1  answered by the server at the first try\n",
        "         1  saved: tried again",
        "keepalive-race-unannounced-close at 127.0.0.1:8000 · once: 1 saved, 0 not · the first was GET /cards\n",
        "  fix      client: Drop idle connections",
        "undecided: the server's end reset a fresh connection",
        "  or       process-killed: The server's process died\n",
        "  confirm  the same on the server's machine",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn the_log_keeps_to_its_schema_and_to_its_silence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = AccessLog::start(Target::file(path.clone()).unwrap(), |complaint| panic!("{complaint}")).unwrap();
    let (reporter, _) = reporter(Some(log), None);
    let mut saved = with(
        vec![kept(5000, Some(Failure::Stale { reset: true })), attempt(None)],
        None,
        200,
    );
    saved.attempts[1].first_byte = Some(Duration::from_millis(3));
    saved.path = "/über/\u{202e}?token=secret".to_owned();
    reporter.exchange(&saved);
    let mut failed = with(Vec::new(), Some(Failure::NameNotFound("app".to_owned())), 502);
    failed.method = Method::from_bytes(&[b'X'; 100]).unwrap();
    failed.path = format!("/{}", "ü".repeat(5000));
    failed.client = None;
    failed.version = Version::HTTP_2;
    reporter.exchange(&failed);
    reporter.refused(
        "[::1]:5".parse().unwrap(),
        Refusal {
            status: Some(StatusCode::BAD_REQUEST),
            why: "no HTTP".to_owned(),
            line: None,
        },
    );
    drop(reporter);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("secret") && !text.contains('\u{202e}'), "{text}");
    let schema = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema/guard-1.json");
    let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 3);
    for record in &records {
        let errors: Vec<String> = validator.iter_errors(record).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{record:#}");
        assert!(record.to_string().len() < 2000, "a line is bounded");
    }
    assert_eq!(records[0]["path"], "/über/\u{202e}");
    assert_eq!(records[0]["ending"], "saved-by-retry");
    assert_eq!(records[0]["attempts"][0]["proxy_error"], "connection_terminated");
    assert_eq!(records[0]["findings"][0]["confidence"], "undecided");
    assert_eq!(records[1]["path"].as_str().unwrap().len(), 199);
    assert_eq!(records[2]["method"], serde_json::Value::Null);
    // The schema holds what is written, and nothing that is not: else a field could be missing from the manual.
    let mut required: Vec<&str> = schema["required"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|key| key.as_str())
        .collect();
    required.sort_unstable();
    let keys: Vec<&String> = records[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, required);
}
