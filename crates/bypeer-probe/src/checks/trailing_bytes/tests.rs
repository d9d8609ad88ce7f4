use std::io::Read;
use std::net::TcpStream;

use super::*;
use crate::testing::{Server, answer, ask, close_in_stages, content_length, read_body, read_head};

const LARGE: usize = 600_000;

fn probe(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Outcome {
    let server = Server::start(serve);
    ask(&server.url(), "trailing-bytes", Options::default())
}

fn words(outcome: &Outcome) -> [&str; 4] {
    [&LINE_END, &SURPLUS, &PIPELINED, &BEHIND_CLOSE]
        .map(|habit| outcome.value(habit).and_then(Value::word).unwrap_or("-"))
}

/// Reads exactly one request and answers it.
fn serve_one(stream: &mut TcpStream, size: usize) -> Option<bool> {
    let head = read_head(stream)?;
    let closes = head.contains("Connection: close");
    let read = read_body(stream, content_length(&head));
    let fields = if closes { "Connection: close\r\n" } else { "" };
    (read && answer(stream, "200 OK", fields, size)).then_some(closes)
}

#[test]
fn a_server_that_reads_exactly_and_closes_cuts_its_answers() {
    let outcome = probe(|mut stream| {
        serve_one(&mut stream, LARGE);
    });
    assert_eq!(words(&outcome), ["cut"; 4], "{outcome:?}");
    assert_eq!(outcome.risks.len(), 4);
    for risk in &outcome.risks {
        assert_eq!(
            (risk.cause, risk.severity, risk.sure, risk.loses),
            (
                "unread-trailing-bytes",
                Severity::Trap,
                Confidence::Certain,
                Loses::Answer
            )
        );
    }
}

#[test]
fn small_answers_come_whole_with_a_reset_behind() {
    let outcome = probe(|mut stream| {
        serve_one(&mut stream, 100);
    });
    assert_eq!(words(&outcome), ["reset-behind"; 4], "{outcome:?}");
}

#[test]
fn a_server_that_keeps_the_connection_answers_both() {
    let outcome = probe(|mut stream| {
        while let Some(closes) = serve_one(&mut stream, LARGE) {
            if closes {
                return close_in_stages(stream);
            }
        }
    });
    // A byte too many becomes part of the next request, which never comes.
    assert_eq!(words(&outcome), ["whole", "whole", "both", "whole"], "{outcome:?}");
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn a_server_that_answers_one_and_lingers_is_well() {
    let outcome = probe(|mut stream| {
        serve_one(&mut stream, LARGE);
        close_in_stages(stream);
    });
    assert_eq!(
        words(&outcome),
        ["whole", "whole", "first-only", "whole"],
        "{outcome:?}"
    );
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn a_server_that_resets_everybody_is_not_accused_of_trailing_bytes() {
    let outcome = probe(|mut stream| {
        serve_one(&mut stream, LARGE);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
    });
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn what_comes_after_the_close_is_told_from_what_lay_unread() {
    let outcome = probe(|mut stream| {
        // All that is here is read, and nothing is waited for.
        let mut chunk = [0; 65536];
        if matches!(stream.read(&mut chunk), Ok(1..)) {
            answer(&mut stream, "200 OK", "Connection: close\r\n", LARGE);
        }
    });
    let causes: Vec<&str> = outcome.risks.iter().map(|risk| risk.cause).collect();
    // Not for who sends behind a request that says close.
    assert_eq!(causes, ["late-data-after-close"; 3], "{outcome:?}");
    assert!(
        outcome.risks.iter().all(|risk| risk.severity == Severity::Trap),
        "{outcome:?}"
    );
}
