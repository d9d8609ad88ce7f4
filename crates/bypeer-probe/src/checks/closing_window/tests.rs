use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::*;
use crate::check::{Loses, Severity};
use crate::habit::Value;
use crate::testing::{Server, answer, ask, close_in_stages, read_head};

const LIMIT: Duration = Duration::from_millis(500);

fn options() -> Options {
    Options {
        longest_wait: Duration::from_secs(5),
        patience: Duration::from_secs(3),
        ..Options::default()
    }
}

/// Waits for a head; false when the limit is over or the client has gone.
fn next(stream: &mut TcpStream) -> bool {
    let _ = stream.set_read_timeout(Some(LIMIT));
    let mut byte = [0];
    match stream.peek(&mut byte) {
        Ok(1) => read_head(stream).is_some(),
        _ => false,
    }
}

fn word<'a>(outcome: &'a Outcome, habit: &Habit) -> Option<&'a str> {
    outcome.value(habit).and_then(Value::word)
}

#[test]
fn a_request_after_the_fin_of_a_plain_close_meets_a_reset() {
    let server = Server::start(|mut stream| while next(&mut stream) && answer(&mut stream, "200 OK", "", 5) {});
    let outcome = ask(&server.url(), "closing-window", options());
    assert_eq!(outcome.status, Status::Done);
    assert_eq!(word(&outcome, &LATE), Some("reset"), "{:?}", outcome.seen);
    assert!(
        outcome
            .seen
            .iter()
            .any(|line| line.starts_with("sent before the close: ")),
        "{:?}",
        outcome.seen
    );
    for risk in &outcome.risks {
        assert_eq!(risk.severity, Severity::Trap);
    }
}

#[test]
fn a_server_that_lingers_swallows_late_requests() {
    let server = Server::start(|mut stream| {
        while next(&mut stream) && answer(&mut stream, "200 OK", "", 5) {}
        let _ = stream.set_read_timeout(Some(Duration::from_secs(3)));
        close_in_stages(stream);
    });
    let outcome = ask(&server.url(), "closing-window", options());
    assert_eq!(word(&outcome, &LATE), Some("swallowed"), "{:?}", outcome.seen);
}

#[test]
fn a_server_that_stops_reading_before_it_closes_has_a_wide_window_of_resets() {
    let server = Server::start(|mut stream| {
        while next(&mut stream) && answer(&mut stream, "200 OK", "", 5) {}
        // What comes now is not read: close() makes it a reset.
        thread::sleep(Duration::from_millis(80));
    });
    let outcome = ask(&server.url(), "closing-window", options());
    assert_eq!(word(&outcome, &CROSSING), Some("reset"), "{:?}", outcome.seen);
    let width = outcome.value(&WIDTH).and_then(Value::spread).unwrap();
    assert!(
        width.count() >= 2 && width.high() < Duration::from_millis(400),
        "{width:?}"
    );
    let risk = &outcome.risks[0];
    assert_eq!(
        (risk.cause, risk.severity, risk.loses),
        ("keepalive-race-unannounced-close", Severity::Trap, Loses::Outcome)
    );
    assert_eq!(risk.sure, bypeer_diagnose::Confidence::Certain);
}

#[test]
fn a_request_that_is_answered_by_408_was_not_taken() {
    let server = Server::start(|mut stream| {
        while next(&mut stream) && answer(&mut stream, "200 OK", "", 5) {}
        thread::sleep(Duration::from_millis(80));
        answer(&mut stream, "408 Request Timeout", "Connection: close\r\n", 0);
        close_in_stages(stream);
    });
    let outcome = ask(&server.url(), "closing-window", options());
    assert_eq!(word(&outcome, &CROSSING), Some("answer-408"), "{:?}", outcome.seen);
    assert!(outcome.risks.is_empty());
}

#[test]
fn a_server_that_keeps_its_connections_is_left_alone() {
    let server =
        Server::start(|mut stream| while read_head(&mut stream).is_some() && answer(&mut stream, "200 OK", "", 5) {});
    let outcome = ask(
        &server.url(),
        "closing-window",
        Options {
            longest_wait: Duration::from_millis(1500),
            ..options()
        },
    );
    assert!(matches!(outcome.status, Status::Skipped(_)), "{outcome:?}");
}

#[test]
fn behind_each_answer_that_closes_unannounced_the_next_request_is_lost() {
    // The close comes a moment after the answer, so that the next request is there before it.
    let server = Server::start(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "", 5);
            thread::sleep(Duration::from_millis(60));
        }
    });
    let outcome = ask(&server.url(), "closing-window", options());
    let Some(Value::Share { of, had }) = outcome.value(&NEXT_LOST) else {
        panic!("{outcome:?}")
    };
    assert!(*had >= 8 && had <= of, "{outcome:?}");
    assert_eq!(word(&outcome, &CROSSING), Some("reset"));
    assert_eq!(outcome.risks[0].cause, "unannounced-close-each-response");
    assert_eq!(outcome.risks[0].severity, Severity::Fault);
}

#[test]
fn a_close_that_is_announced_accuses_nobody() {
    let server = Server::start(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "Connection: close\r\n", 5);
        }
    });
    let outcome = ask(&server.url(), "closing-window", options());
    assert!(matches!(outcome.status, Status::Skipped(_)), "{outcome:?}");
    assert!(outcome.risks.is_empty());
}

#[test]
fn a_server_that_answers_only_first_requests_is_not_accused_of_its_close() {
    let server = Server::start(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "", 5);
            let _ = stream.set_read_timeout(Some(LIMIT));
            let mut chunk = [0; 4096];
            loop {
                match stream.read(&mut chunk) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    _ => break,
                }
            }
            let _ = stream.flush();
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    let outcome = ask(&server.url(), "closing-window", options());
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn an_answer_that_ends_with_the_connection_announces_its_close() {
    let server = Server::start(|mut stream| {
        if read_head(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello");
        }
    });
    let outcome = ask(&server.url(), "closing-window", options());
    assert!(matches!(outcome.status, Status::Skipped(_)), "{outcome:?}");
    assert!(outcome.risks.is_empty());
}
