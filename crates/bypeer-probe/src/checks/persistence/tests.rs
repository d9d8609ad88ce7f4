use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use super::*;
use crate::testing::{Server, answer, ask, close_in_stages, content_length, read_body, read_head};

/// Serves requests, each with what `reply` makes of its head; false closes.
fn server(reply: impl Fn(&mut TcpStream, &str) -> bool + Send + Sync + 'static) -> Server {
    Server::start(move |mut stream| {
        let _ = stream.set_nodelay(true);
        while let Some(head) = read_head(&mut stream) {
            let whole = read_body(&mut stream, content_length(&head));
            if !whole || !reply(&mut stream, &head) {
                return close_in_stages(stream);
            }
        }
    })
}

/// As the standard has it.
fn well(stream: &mut TcpStream, head: &str) -> bool {
    let keep_alive = head.contains("Connection: keep-alive");
    let closes = head.contains("Connection: close") || head.contains(" HTTP/1.0") && !keep_alive;
    let fields = match () {
        () if closes => "Connection: close\r\n",
        () if keep_alive => "Connection: keep-alive\r\n",
        () => "",
    };
    let status = match () {
        () if head.starts_with("BYPEER") => "501 Not Implemented",
        () if head.contains("no-such-path") => "404 Not Found",
        () if head.contains("If-None-Match") => "304 Not Modified",
        () => "200 OK",
    };
    let bodiless = head.starts_with("HEAD") || status.starts_with("304");
    let done = if bodiless {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nETag: \"x\"\r\n{fields}Content-Length: 5\r\n\r\n"
        )
        .is_ok()
    } else {
        answer(stream, status, &format!("ETag: \"x\"\r\n{fields}"), 5)
    };
    done && !closes
}

fn options() -> Options {
    Options {
        patience: Duration::from_secs(2),
        ..Options::default()
    }
}

fn word<'a>(outcome: &'a Outcome, habit: &Habit) -> &'a str {
    outcome.value(habit).and_then(Value::word).unwrap_or("none")
}

fn causes(outcome: &Outcome) -> Vec<(&str, Severity)> {
    outcome.risks.iter().map(|risk| (risk.cause, risk.severity)).collect()
}

#[test]
fn a_server_that_does_what_it_says_has_no_risk() {
    let server = server(well);
    let outcome = ask(&server.url(), "persistence", options());
    assert!(outcome.risks.is_empty(), "{outcome:?}");
    for habit in CHECK.habits {
        let expected = match habit.name {
            "persistence.close" | "persistence.http10" => "closed-announced",
            _ => "kept",
        };
        assert_eq!(word(&outcome, habit), expected, "{outcome:?}");
    }
}

#[test]
fn errors_that_cost_the_connection_without_a_word_are_a_fault() {
    let server = server(|stream, head| well(stream, head) && !head.contains("no-such-path"));
    let outcome = ask(&server.url(), "persistence", options());
    assert_eq!(word(&outcome, &NOT_FOUND), "closed-unannounced", "{outcome:?}");
    assert_eq!(word(&outcome, &UNKNOWN_METHOD), "closed-unannounced");
    assert_eq!(word(&outcome, &BY_DEFAULT), "kept");
    assert_eq!(
        causes(&outcome),
        [("keepalive-race-unannounced-close", Severity::Fault)]
    );
    assert_eq!(outcome.risks[0].sure, Confidence::Certain);
}

#[test]
fn closing_after_every_answer_is_measured_here_and_judged_elsewhere() {
    let server = server(|stream, head| {
        well(stream, head);
        false
    });
    let outcome = ask(&server.url(), "persistence", options());
    assert_eq!(word(&outcome, &BY_DEFAULT), "closed-unannounced", "{outcome:?}");
    assert_eq!(word(&outcome, &NOT_FOUND), "closed-unannounced");
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn keep_alive_that_is_said_and_not_done_is_a_fault() {
    let server = server(|stream, head| well(stream, head) && !head.contains("Connection: keep-alive"));
    let outcome = ask(&server.url(), "persistence", options());
    assert_eq!(word(&outcome, &KEEP_ALIVE), "closed-though-keep-alive", "{outcome:?}");
    assert_eq!(word(&outcome, &HTTP10_KEEP_ALIVE), "closed-though-keep-alive");
    assert_eq!(causes(&outcome), [("unannounced-close-each-response", Severity::Fault)]);
}

#[test]
fn a_body_behind_head_reaches_the_next_request() {
    let server =
        server(|stream, head| well(stream, head) && (!head.starts_with("HEAD") || stream.write_all(b"hello").is_ok()));
    let outcome = ask(&server.url(), "persistence", options());
    assert_eq!(word(&outcome, &HEAD), "surplus", "{outcome:?}");
    assert_eq!(causes(&outcome), [("desync-unsolicited-response", Severity::Fault)]);
    assert_eq!(outcome.risks[0].loses, Loses::Identity);
}

#[test]
fn close_that_is_said_and_not_done_keeps_clients_waiting() {
    let server = server(|stream, head| {
        well(stream, head);
        true
    });
    let outcome = ask(&server.url(), "persistence", options());
    assert_eq!(word(&outcome, &CLOSE), "open-though-close", "{outcome:?}");
    assert_eq!(word(&outcome, &HTTP10), "open-though-close");
    assert_eq!(causes(&outcome), [("keepalive-race-announced-close", Severity::Trap)]);
}

#[test]
fn close_that_is_done_late_is_a_note() {
    let server = server(|stream, head| {
        let kept = well(stream, head);
        if !kept {
            std::thread::sleep(Duration::from_millis(900));
        }
        kept
    });
    let outcome = ask(&server.url(), "persistence", options());
    assert_eq!(word(&outcome, &CLOSE), "closed-late", "{outcome:?}");
    assert_eq!(causes(&outcome), [("keepalive-race-announced-close", Severity::Note)]);
}

#[test]
fn http10_needs_no_announcement() {
    let server = server(|stream, head| {
        let closes = head.contains(" HTTP/1.0") || head.contains("Connection: close");
        answer(stream, "200 OK", "", 5) && !closes
    });
    // HEAD gets a body from this one; it is not what is asked here.
    let outcome = ask(&server.url(), "persistence", options());
    for habit in [&CLOSE, &HTTP10, &HTTP10_KEEP_ALIVE] {
        assert_eq!(word(&outcome, habit), "closed-as-asked", "{outcome:?}");
    }
}

#[test]
fn head_that_nobody_answers_loses_the_request() {
    let server = server(|stream, head| !head.starts_with("HEAD") && !head.starts_with("BYPEER") && well(stream, head));
    let outcome = ask(&server.url(), "persistence", options());
    assert_eq!(word(&outcome, &HEAD), "no-answer", "{outcome:?}");
    assert_eq!(word(&outcome, &UNKNOWN_METHOD), "no-answer");
    // Nobody sends unknown methods.
    assert_eq!(causes(&outcome), [("upstream-no-response-close", Severity::Trap)]);
    assert!(outcome.risks[0].what.starts_with("HEAD:"), "{outcome:?}");
}

#[test]
fn an_answer_that_ends_with_the_connection_has_closed_it() {
    let server = server(|stream, head| {
        let closes = head.contains(" HTTP/1.0") || head.starts_with("BYPEER");
        if closes {
            // No length: only the end tells.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");
            return false;
        }
        well(stream, head)
    });
    let outcome = ask(&server.url(), "persistence", options());
    for habit in [&HTTP10, &HTTP10_KEEP_ALIVE, &UNKNOWN_METHOD] {
        assert_eq!(word(&outcome, habit), "closed-announced", "{outcome:?}");
    }
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn errors_that_do_not_say_what_other_answers_say_are_a_fault() {
    let server = server(|stream, head| {
        let fields = if head.contains("no-such-path") {
            ""
        } else {
            "Connection: close\r\n"
        };
        if head.starts_with("HEAD") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n");
        } else {
            answer(stream, "200 OK", fields, 5);
        }
        false
    });
    let outcome = ask(&server.url(), "persistence", options());
    assert_eq!(word(&outcome, &BY_DEFAULT), "closed-announced", "{outcome:?}");
    assert_eq!(word(&outcome, &NOT_FOUND), "closed-unannounced");
    assert_eq!(
        causes(&outcome),
        [("keepalive-race-unannounced-close", Severity::Fault)]
    );
}

#[test]
fn what_nobody_sends_is_a_note() {
    let server = server(|stream, head| well(stream, head) && !head.contains("Expect:"));
    let outcome = ask(&server.url(), "persistence", options());
    assert_eq!(word(&outcome, &UNKNOWN_EXPECT), "closed-unannounced", "{outcome:?}");
    assert_eq!(causes(&outcome), [("keepalive-race-unannounced-close", Severity::Note)]);
}

#[test]
fn one_connection_at_a_time_is_enough() {
    let server = server(well);
    let outcome = ask(
        &server.url(),
        "persistence",
        Options {
            serial: Some(true),
            ..options()
        },
    );
    assert_eq!(word(&outcome, &BY_DEFAULT), "kept", "{outcome:?}");
    assert!(outcome.risks.is_empty());
}
