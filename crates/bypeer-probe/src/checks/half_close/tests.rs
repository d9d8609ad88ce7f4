use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::*;
use crate::testing::{Server, Tls, answer, ask, close_in_stages, content_length, over_tls, read_body, read_head};
use crate::tls::Trust;

const LARGE: usize = 600_000;

fn options() -> Options {
    Options {
        trust: Trust::Anybody,
        patience: Duration::from_secs(4),
        longest_wait: Duration::from_millis(1500),
        ..Options::default()
    }
}

fn probe(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Outcome {
    let server = Server::start(serve);
    ask(&server.url(), "half-close", options())
}

fn probe_tls(serve: impl Fn(Tls) + Send + Sync + 'static) -> Outcome {
    let server = Server::start(over_tls(serve));
    ask(&server.url().replace("http:", "https:"), "half-close", options())
}

fn word<'a>(outcome: &'a Outcome, habit: &Habit) -> &'a str {
    outcome.value(habit).and_then(Value::word).unwrap_or("-")
}

/// Answers requests until the client closes.
fn serve(stream: &mut (impl Read + Write), size: usize) -> bool {
    while let Some(head) = read_head(stream) {
        let closes = head.contains("Connection: close");
        if !read_body(stream, content_length(&head)) {
            answer(stream, "400 Bad Request", "Connection: close\r\n", 3);
            return true;
        }
        let fields = if closes { "Connection: close\r\n" } else { "" };
        if !answer(stream, "200 OK", fields, size) || closes {
            return closes;
        }
    }
    false
}

#[test]
fn a_server_that_answers_in_spite_of_a_fin_is_well() {
    let outcome = probe(|mut stream| {
        serve(&mut stream, LARGE);
        close_in_stages(stream);
    });
    assert_eq!(
        [&AT_ONCE, &IN_ANSWER, &IN_BODY].map(|habit| word(&outcome, habit)),
        ["answered", "answered", "answer"],
        "{outcome:?}"
    );
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn a_server_that_takes_a_fin_for_an_abort_is_a_trap() {
    let outcome = probe(|mut stream| {
        while let Some(head) = read_head(&mut stream) {
            read_body(&mut stream, content_length(&head));
            // A handler that takes a while, and a look at the client before the answer.
            thread::sleep(Duration::from_millis(30));
            let _ = stream.set_nonblocking(true);
            let gone = matches!(stream.peek(&mut [0]), Ok(0));
            let _ = stream.set_nonblocking(false);
            if gone || !answer(&mut stream, "200 OK", "", 100) {
                break;
            }
        }
    });
    assert_eq!(word(&outcome, &AT_ONCE), "none", "{outcome:?}");
    assert_eq!(word(&outcome, &IN_BODY), "closed", "{outcome:?}");
    // The small answer was under way before the FIN could be seen.
    assert_eq!(word(&outcome, &IN_ANSWER), "answered", "{outcome:?}");
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.cause, risk.severity, risk.sure),
        ("client-cancel", Severity::Trap, Confidence::Certain)
    );
    assert_eq!(outcome.risks.len(), 1);
}

#[test]
fn a_server_that_never_answers_whole_is_not_accused_of_half_closes() {
    let outcome = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
        }
    });
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn tls_that_is_ended_properly_is_well() {
    let outcome = probe_tls(|mut tls| {
        if serve(&mut tls, 1000) {
            tls.conn.send_close_notify();
            let _ = tls.flush();
            let _ = tls.sock.shutdown(Shutdown::Write);
            let mut chunk = [0; 4096];
            while matches!(tls.sock.read(&mut chunk), Ok(1..)) {}
        }
    });
    assert_eq!(outcome.value(&ENDS_WITH_ALERT), Some(&Value::Flag(true)), "{outcome:?}");
    assert_eq!(outcome.value(&ALERT_RESET), Some(&Value::Flag(false)), "{outcome:?}");
    assert_eq!(
        [&AT_ONCE, &ALERT_ONLY, &FIN_ONLY].map(|habit| word(&outcome, habit)),
        ["answered"; 3],
        "{outcome:?}"
    );
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn a_close_that_does_not_wait_for_our_alert_is_noise() {
    let outcome = probe_tls(|mut tls| {
        if serve(&mut tls, 1000) {
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    assert_eq!(outcome.value(&ALERT_RESET), Some(&Value::Flag(true)), "{outcome:?}");
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.cause, risk.severity, risk.loses),
        ("tls-close-notify-answer-rst", Severity::Note, Loses::Nothing)
    );
    assert_eq!(outcome.risks.len(), 1, "{outcome:?}");
}

#[test]
fn tls_that_ends_without_alert_hides_a_truncation_only_where_no_length_is_told() {
    let with_length = probe_tls(|mut tls| {
        serve(&mut tls, 1000);
    });
    assert_eq!(
        with_length.value(&ENDS_WITH_ALERT),
        Some(&Value::Flag(false)),
        "{with_length:?}"
    );
    assert!(
        with_length.risks.iter().all(|risk| risk.severity == Severity::Note),
        "{with_length:?}"
    );
    let until_close = probe_tls(|mut tls| {
        if read_head(&mut tls).is_some() {
            let _ = tls.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello");
        }
    });
    let risk = until_close
        .risks
        .iter()
        .find(|risk| risk.cause == "incomplete-response")
        .unwrap();
    assert_eq!(
        (risk.severity, risk.loses),
        (Severity::Trap, Loses::Answer),
        "{until_close:?}"
    );
}

#[test]
fn an_idle_end_is_watched_too() {
    let outcome = probe_tls(|mut tls| {
        let _ = tls.sock.set_read_timeout(Some(Duration::from_millis(300)));
        if !serve(&mut tls, 1000) {
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    assert_eq!(
        outcome.value(&IDLE_ENDS_WITH_ALERT),
        Some(&Value::Flag(true)),
        "{outcome:?}"
    );
}

#[test]
fn a_close_notify_that_stays_unread_is_told_from_a_client_that_has_gone() {
    let outcome = probe_tls(|mut tls| {
        if let Some(head) = read_head(&mut tls) {
            let _ = read_body(&mut tls, content_length(&head));
            // Time for the alert to come.
            thread::sleep(Duration::from_millis(40));
            answer(&mut tls, "200 OK", "Connection: close\r\n", LARGE);
        }
    });
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.cause, risk.severity),
        ("unread-tls-record", Severity::Trap),
        "{outcome:?}"
    );
    // A record that is cut tells nothing: the answer may be lost to its first byte.
    assert_ne!(risk.loses, Loses::Nothing, "{outcome:?}");
    assert_eq!(word(&outcome, &FIN_ONLY), "answered", "{outcome:?}");
}
