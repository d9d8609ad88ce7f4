use std::net::{Shutdown, TcpStream};
use std::thread;

use super::*;
use crate::testing::{Server, answer, ask as probe_with, close_in_stages, read_body, read_head};

const LARGE: usize = 600_000;

fn probe(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Outcome {
    let server = Server::start(serve);
    probe_with(
        &server.url(),
        "close-manners",
        Options {
            patience: Duration::from_secs(3),
            ..Options::default()
        },
    )
}

fn word<'a>(outcome: &'a Outcome, habit: &Habit) -> &'a str {
    outcome.value(habit).and_then(Value::word).unwrap_or("none")
}

#[test]
fn a_close_in_one_step_is_told_and_no_risk_by_itself() {
    let outcome = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "Connection: close\r\n", LARGE);
        }
    });
    assert_eq!(
        [word(&outcome, &ENDS_BY), word(&outcome, &SLOW_READER)],
        ["fin", "whole"],
        "{outcome:?}"
    );
    assert_eq!(outcome.value(&LINGERS), Some(&Value::Flag(false)), "{outcome:?}");
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn a_lingering_close_is_measured() {
    let outcome = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "Connection: close\r\n", 100);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(1800)));
            let _ = stream.shutdown(Shutdown::Write);
            // As Apache does: a timeout per read.
            let _ = read_body(&mut stream, 1000);
        }
    });
    assert_eq!(outcome.value(&LINGERS), Some(&Value::Flag(true)), "{outcome:?}");
    assert_eq!(
        outcome.value(&LINGERS_FOR),
        Some(&Value::LongerThan(Duration::from_millis(1200))),
        "{outcome:?}"
    );
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn linger_zero_cuts_a_slow_reader() {
    let outcome = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "Connection: close\r\n", LARGE);
            // A client that reads at once has it by then.
            thread::sleep(Duration::from_millis(60));
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    });
    assert_eq!(word(&outcome, &ENDS_BY), "reset", "{outcome:?}");
    assert_eq!(word(&outcome, &SLOW_READER), "cut", "{outcome:?}");
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.cause, risk.severity, risk.sure),
        ("so-linger-zero", Severity::Fault, Confidence::Likely)
    );
}

#[test]
fn linger_zero_behind_a_small_answer_is_a_trap() {
    let outcome = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "Connection: close\r\n", 100);
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    });
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.cause, risk.severity),
        ("so-linger-zero", Severity::Trap),
        "{outcome:?}"
    );
}

#[test]
fn a_server_that_does_not_close_is_told() {
    let outcome = probe(|mut stream| {
        while read_head(&mut stream).is_some() && answer(&mut stream, "200 OK", "", 100) {}
        close_in_stages(stream);
    });
    assert_eq!(word(&outcome, &ENDS_BY), "kept", "{outcome:?}");
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn a_fin_with_an_abort_behind_it_is_an_abort() {
    let outcome = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "Connection: close\r\n", 100);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    });
    assert_eq!(word(&outcome, &ENDS_BY), "reset", "{outcome:?}");
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.cause, risk.severity, risk.sure),
        ("so-linger-zero", Severity::Trap, Confidence::Likely)
    );
}
