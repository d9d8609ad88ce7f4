#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::*;
use crate::testing::{Server, answer, ask, read_head};

const IDLE: Duration = Duration::from_millis(500);

fn options() -> Options {
    Options {
        connections: 3,
        longest_wait: Duration::from_secs(4),
        ..Options::default()
    }
}

fn seen_of(server: &Server) -> Outcome {
    ask(&server.url(), super::super::IDLE, options())
}

/// Answers every head with these fields, and closes after [`IDLE`] without one.
fn keeping(fields: &'static str) -> Server {
    Server::start(move |mut stream| {
        stream.set_read_timeout(Some(IDLE)).unwrap();
        while read_head(&mut stream).is_some() && answer(&mut stream, "200 OK", fields, 3) {}
    })
}

/// Answers one head with these bytes, and closes.
fn once(bytes: &'static [u8]) -> Server {
    Server::start(move |mut stream| {
        if read_head(&mut stream).is_some() {
            let _ = stream.write_all(bytes);
        }
    })
}

fn word(outcome: &Outcome, habit: &Habit) -> Option<String> {
    outcome.value(habit).and_then(Value::word).map(str::to_owned)
}

#[test]
fn an_idle_limit_is_measured_and_is_a_trap_however_it_is_announced() {
    for (fields, promised) in [("", None), ("Keep-Alive: timeout=1\r\n", Some(1))] {
        let outcome = seen_of(&keeping(fields));
        let limit = outcome.value(&AFTER_ONE).and_then(Value::spread).unwrap();
        assert!(limit.low() >= IDLE / 2 && limit.high() < IDLE * 3, "{limit:?}");
        assert_eq!(word(&outcome, &KEPT).as_deref(), Some("kept"));
        assert_eq!(outcome.value(&PROMISED), promised.map(Value::Count).as_ref());
        assert_eq!(outcome.risks.len(), 1);
        assert_eq!(
            (outcome.risks[0].cause, outcome.risks[0].severity),
            ("idle-timeout-inversion", Severity::Trap)
        );
        let lies = outcome.seen.iter().any(|line| line.contains("promises more"));
        assert_eq!(
            lies,
            promised.is_some(),
            "half a second is less than one: {:?}",
            outcome.seen
        );
    }
}

#[test]
fn a_server_that_says_that_it_closes_is_innocent() {
    let announced = once(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
    let by_version = once(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    // Its end is the connection's: there is nothing that a client could wait for.
    let by_framing = once(b"HTTP/1.1 200 OK\r\n\r\nhi");
    for server in [announced, by_version, by_framing] {
        let outcome = seen_of(&server);
        assert_eq!(word(&outcome, &KEPT).as_deref(), Some("closed-announced"));
        assert!(outcome.risks.is_empty(), "{:?}", outcome.risks);
    }
}

#[test]
fn a_server_that_closes_without_a_word_is_at_fault() {
    let outcome = seen_of(&once(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
    assert_eq!(word(&outcome, &KEPT).as_deref(), Some("closed-unannounced"));
    assert_eq!(outcome.risks.len(), 1);
    assert_eq!(outcome.risks[0].cause, "unannounced-close-each-response");
    assert_eq!(
        (outcome.risks[0].severity, outcome.risks[0].sure),
        (Severity::Fault, Confidence::Certain)
    );
}

#[test]
fn a_server_that_keeps_connections_for_longer_is_not_accused() {
    let server = Server::start(
        |mut stream| {
            while read_head(&mut stream).is_some() && answer(&mut stream, "200 OK", "", 3) {}
        },
    );
    let longest = Duration::from_millis(800);
    let outcome = ask(
        &server.url(),
        super::super::IDLE,
        Options {
            longest_wait: longest,
            ..options()
        },
    );
    assert_eq!(outcome.value(&AFTER_ONE), Some(&Value::LongerThan(longest)));
    assert_eq!(word(&outcome, &KEPT).as_deref(), Some("kept"));
    assert_eq!(word(&outcome, &ENDS_BY), None);
    assert!(outcome.risks.is_empty(), "{:?}", outcome.risks);
}

#[test]
fn an_end_by_reset_or_by_an_answer_is_told_as_such() {
    let resets = Server::start(|mut stream| {
        stream.set_read_timeout(Some(IDLE)).unwrap();
        while read_head(&mut stream).is_some() && answer(&mut stream, "200 OK", "", 3) {}
        abort(stream);
    });
    assert_eq!(word(&seen_of(&resets), &ENDS_BY).as_deref(), Some("reset"));
    let says_408 = Server::start(|mut stream| {
        stream.set_read_timeout(Some(IDLE)).unwrap();
        while read_head(&mut stream).is_some() && answer(&mut stream, "200 OK", "", 3) {}
        answer(&mut stream, "408 Request Timeout", "Connection: close\r\n", 3);
    });
    assert_eq!(word(&seen_of(&says_408), &ENDS_BY).as_deref(), Some("answer"));
}

#[test]
fn half_a_body_has_a_limit_of_its_own() {
    let server = Server::start(|mut stream| {
        while let Some(head) = read_head(&mut stream) {
            if head.starts_with("POST") {
                stream.set_read_timeout(Some(IDLE / 2)).unwrap();
                let _ = stream.read_exact(&mut [0; 64]);
                return;
            }
            if !answer(&mut stream, "200 OK", "", 3) {
                return;
            }
            thread::sleep(IDLE * 3);
        }
    });
    let outcome = seen_of(&server);
    let limit = outcome.value(&IN_BODY).and_then(Value::spread).unwrap();
    assert!(limit.high() < IDLE * 2, "{limit:?}");
    assert!(
        outcome
            .value(&AFTER_ONE)
            .and_then(Value::spread)
            .is_none_or(|after| after.low() > limit.high())
    );
}

#[test]
fn answers_that_say_they_are_the_last_among_others_are_no_idle_limit() {
    let server = Server::start(|mut stream| {
        stream.set_read_timeout(Some(IDLE)).unwrap();
        for fields in ["", "", "Connection: close\r\n"] {
            if read_head(&mut stream).is_none() || !answer(&mut stream, "200 OK", fields, 3) {
                return;
            }
        }
    });
    let outcome = seen_of(&server);
    assert_eq!(word(&outcome, &KEPT).as_deref(), Some("kept"), "{outcome:?}");
    let limit = outcome.value(&AFTER_ONE).and_then(Value::spread).unwrap();
    assert!(limit.low() >= IDLE / 2, "{limit:?}");
    assert_eq!(outcome.value(&AFTER_SEVERAL), None);
}

/// Closes with a reset.
fn abort(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    let _ = socket.set_linger(Some(Duration::ZERO));
}

#[test]
fn an_end_of_all_at_once_is_no_certain_limit() {
    let over = std::sync::OnceLock::new();
    let restarted = Server::start(move |mut stream| {
        let over: &Instant = over.get_or_init(|| Instant::now() + Duration::from_millis(2500));
        let left = |over: &Instant| {
            over.saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1))
        };
        stream.set_read_timeout(Some(left(over))).unwrap();
        while read_head(&mut stream).is_some() && answer(&mut stream, "200 OK", "", 3) {
            stream.set_read_timeout(Some(left(over))).unwrap();
        }
        thread::sleep(left(over));
    });
    for (server, sure) in [(restarted, Confidence::Likely), (keeping(""), Confidence::Certain)] {
        let outcome = seen_of(&server);
        let told = outcome
            .seen
            .iter()
            .any(|line| line.contains("or something ended all of them"));
        assert_eq!(told, sure == Confidence::Likely, "{:?}", outcome.seen);
        assert_eq!(outcome.risks.len(), 1);
        assert_eq!(outcome.risks[0].sure, sure);
    }
}
