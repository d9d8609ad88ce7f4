use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::*;
use crate::testing::{Server, answer, ask, close_in_stages, content_length, read_body, read_head};

const LARGE: usize = 600_000;

fn options() -> Options {
    Options {
        connections: 4,
        ..Options::default()
    }
}

fn probe(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Outcome {
    let server = Server::start(serve);
    ask(&server.url(), "unread-body", options())
}

fn word(outcome: &Outcome) -> &str {
    outcome.value(&ANSWER).and_then(Value::word).unwrap_or("none")
}

#[test]
fn a_server_that_reads_once_and_closes_loses_its_answer() {
    let outcome = probe(|mut stream| {
        let mut chunk = [0; 8192];
        let _ = stream.read(&mut chunk);
        answer(&mut stream, "200 OK", "Connection: close\r\n", LARGE);
    });
    assert_eq!(word(&outcome), "cut", "{outcome:?}");
    let risk = outcome
        .risks
        .iter()
        .find(|risk| risk.cause == "unread-request-body")
        .unwrap();
    assert_eq!(
        (risk.severity, risk.sure, risk.loses),
        (Severity::Fault, Confidence::Certain, Loses::Answer)
    );
    assert_eq!(risk.remedy, Remedy::Server);
    // Both places, with 4 rounds each: whole in one write unless the body was larger than the read.
    assert_eq!(outcome.value(&LOST_LATE), Some(&Value::Share { of: 4, had: 4 }));
    assert_eq!(outcome.value(&LOST_AT_ONCE), Some(&Value::Share { of: 4, had: 1 }));
}

#[test]
fn a_small_answer_with_a_reset_behind_it_is_a_trap() {
    let outcome = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            // The body is here by then, and is not read.
            thread::sleep(LATE + Duration::from_millis(60));
            answer(&mut stream, "200 OK", "Connection: close\r\n", 100);
        }
    });
    assert_eq!(word(&outcome), "reset-behind", "{outcome:?}");
    assert!(
        outcome.risks.iter().all(|risk| risk.severity == Severity::Trap),
        "{outcome:?}"
    );
    assert!(outcome.risks.iter().any(|risk| risk.sure == Confidence::Certain));
}

#[test]
fn a_reset_for_a_body_after_the_whole_answer_and_its_fin_is_a_note() {
    let outcome = probe(|mut stream| {
        let mut chunk = [0; 65536];
        let _ = stream.read(&mut chunk);
        // A body that is on its way is read; one that is late is not waited for.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(15)));
        while matches!(stream.read(&mut chunk), Ok(1..)) {}
        answer(&mut stream, "200 OK", "Connection: close\r\n", 100);
    });
    assert_eq!(word(&outcome), "reset-after-fin", "{outcome:?}");
    assert!(
        outcome
            .risks
            .iter()
            .all(|risk| risk.severity == Severity::Note && risk.loses == Loses::Nothing)
    );
}

#[test]
fn servers_that_read_drain_or_linger_are_well() {
    let reads = probe(|mut stream| {
        while let Some(head) = read_head(&mut stream) {
            if !read_body(&mut stream, content_length(&head)) || !answer(&mut stream, "200 OK", "", LARGE) {
                break;
            }
        }
    });
    let lingers = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "Connection: close\r\n", LARGE);
            close_in_stages(stream);
        }
    });
    for outcome in [reads, lingers] {
        assert_eq!(word(&outcome), "whole", "{outcome:?}");
        assert!(outcome.risks.is_empty(), "{outcome:?}");
    }
}

#[test]
fn a_server_that_resets_everybody_is_not_accused_of_bodies() {
    let outcome = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "Connection: close\r\n", LARGE);
            thread::sleep(Duration::from_millis(20));
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    });
    assert!(outcome.risks.is_empty(), "{outcome:?}");
    assert!(
        outcome.seen.iter().any(|line| line.contains("without a body either")),
        "{outcome:?}"
    );
}

#[test]
fn a_body_that_is_parsed_as_the_next_request_is_a_fault() {
    let outcome = probe(|mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let known = head.starts_with("GET ") || head.starts_with("POST ");
            let status = if known { "200 OK" } else { "501 Not Implemented" };
            if !answer(&mut stream, status, "", 100) {
                break;
            }
        }
    });
    let risk = outcome
        .risks
        .iter()
        .find(|risk| risk.cause == "desync-unsolicited-response")
        .unwrap();
    assert_eq!(
        (risk.severity, risk.loses),
        (Severity::Fault, Loses::Identity),
        "{outcome:?}"
    );
    assert_eq!(outcome.value(&NEXT).and_then(Value::word), Some("misread"));
}

#[test]
fn a_proxy_that_turns_its_servers_reset_into_a_fin_shows_a_fault_behind_it() {
    let outcome = probe(|mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let length = content_length(&head);
            if !read_body(&mut stream, length) {
                break;
            }
            if length > 0 {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
                return close_in_stages(stream);
            }
            answer(&mut stream, "200 OK", "", 100);
        }
    });
    assert_eq!(word(&outcome), "short", "{outcome:?}");
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.severity, risk.sure),
        (Severity::Fault, Confidence::Likely),
        "{outcome:?}"
    );
}

#[test]
fn a_server_whose_answers_are_always_short_is_not_accused_of_bodies() {
    let outcome = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
            close_in_stages(stream);
        }
    });
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn a_gateway_that_fails_now_and_then_is_not_accused_of_bodies() {
    let turn = std::sync::atomic::AtomicU32::new(0);
    let outcome = probe(move |mut stream| {
        while let Some(head) = read_head(&mut stream) {
            // Each third request goes to a server that is down.
            let failed = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3 == 2;
            let status = if failed { "502 Bad Gateway" } else { "200 OK" };
            if !read_body(&mut stream, content_length(&head)) || !answer(&mut stream, status, "", 100) {
                break;
            }
        }
    });
    assert!(
        outcome.risks.iter().all(|risk| risk.severity < Severity::Fault),
        "{outcome:?}"
    );
}

#[test]
fn a_server_that_refuses_bodies_by_a_fin_is_no_fault() {
    let outcome = probe(|mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let length = content_length(&head);
            if !read_body(&mut stream, length) {
                break;
            }
            if length > 0 {
                return close_in_stages(stream);
            }
            answer(&mut stream, "200 OK", "", 100);
        }
    });
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.severity, risk.sure),
        (Severity::Trap, Confidence::Undecided),
        "{outcome:?}"
    );
}
