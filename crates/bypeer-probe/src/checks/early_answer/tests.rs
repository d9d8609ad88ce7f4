use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::*;
use crate::testing::{Server, answer, ask, close_in_stages, content_length, read_body, read_head};

fn probe(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Outcome {
    let server = Server::start(serve);
    let options = Options {
        upload_size: 4 << 20,
        patience: Duration::from_secs(4),
        ..Options::default()
    };
    ask(&server.url(), "early-answer", options)
}

fn word<'a>(outcome: &'a Outcome, habit: &Habit) -> &'a str {
    outcome.value(habit).and_then(Value::word).unwrap_or("none")
}

/// Refuses uploads over a limit as soon as it has their head.
fn refuse(stream: &mut TcpStream, size: usize) -> Option<bool> {
    let head = read_head(stream)?;
    let length = content_length(&head);
    if length <= 1000 {
        let read = read_body(stream, length);
        return (read && answer(stream, "200 OK", "Connection: close\r\n", 10)).then_some(false);
    }
    answer(stream, "413 Content Too Large", "Connection: close\r\n", size);
    Some(true)
}

#[test]
fn a_small_refusal_that_can_still_be_read_is_a_trap() {
    let outcome = probe(|mut stream| {
        let _ = refuse(&mut stream, 200);
    });
    assert_eq!(outcome.value(&STATUS), Some(&Value::Count(413)), "{outcome:?}");
    assert_eq!(outcome.value(&EARLY), Some(&Value::Flag(true)));
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.cause, risk.severity),
        ("early-error-body-limit", Severity::Trap),
        "{outcome:?}"
    );
    assert_eq!(word(&outcome, &EXPECT), "final");
}

#[test]
fn a_large_refusal_that_is_destroyed_is_lost_to_who_writes_on() {
    let outcome = probe(|mut stream| {
        // More than the client's kernel takes while nobody reads.
        let _ = refuse(&mut stream, 2 << 20);
    });
    let risk = outcome.risks.first().unwrap();
    assert_eq!(risk.cause, "early-error-body-limit", "{outcome:?}");
    assert!(
        risk.severity >= Severity::Trap && risk.sure >= Confidence::Likely,
        "{outcome:?}"
    );
    assert!(
        matches!(outcome.value(&LOST_WRITES_ON), Some(Value::Share { of: 3, had: 3 })),
        "{outcome:?}"
    );
}

#[test]
fn a_refusal_with_a_lingering_close_is_well() {
    let outcome = probe(|mut stream| {
        if refuse(&mut stream, 200) == Some(true) {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(400)));
            close_in_stages(stream);
        }
    });
    assert!(outcome.risks.is_empty(), "{outcome:?}");
    assert_eq!(outcome.value(&LOST_WRITES_ON), Some(&Value::Share { of: 3, had: 0 }));
    assert!(matches!(outcome.value(&TAKES), Some(Value::MoreThan(_))), "{outcome:?}");
    assert!(word(&outcome, &ENDS_BY).starts_with("fin"), "{outcome:?}");
}

#[test]
fn a_server_that_reads_all_of_it_is_well_and_not_early() {
    let outcome = probe(|mut stream| {
        while let Some(head) = read_head(&mut stream) {
            if head.contains("Expect: 100-continue") {
                use std::io::Write;
                let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if !read_body(&mut stream, content_length(&head)) || !answer(&mut stream, "404 Not Found", "", 100) {
                break;
            }
        }
    });
    assert!(outcome.risks.is_empty(), "{outcome:?}");
    assert_eq!(outcome.value(&EARLY), Some(&Value::Flag(false)));
    assert_eq!(word(&outcome, &EXPECT), "continue");
}

#[test]
fn an_expectation_that_nobody_answers_is_told() {
    let outcome = probe(|mut stream| {
        while let Some(head) = read_head(&mut stream) {
            if !read_body(&mut stream, content_length(&head)) || !answer(&mut stream, "200 OK", "", 100) {
                break;
            }
        }
    });
    assert_eq!(word(&outcome, &EXPECT), "silence", "{outcome:?}");
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn a_server_that_resets_without_a_body_too_is_not_accused_of_uploads() {
    let outcome = probe(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "404 Not Found", "Connection: close\r\n", 100);
            thread::sleep(Duration::from_millis(10));
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    });
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn a_refusal_that_stops_reading_before_the_end_loses_only_the_late_ones() {
    let outcome = probe(|mut stream| {
        if refuse(&mut stream, 200) == Some(true) {
            let _ = stream.shutdown(Shutdown::Write);
            // Drains a bounded part only.
            let _ = read_body(&mut stream, 64 << 10);
            let _ = stream.read(&mut [0]);
        }
    });
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.cause, risk.severity),
        ("early-error-body-limit", Severity::Trap),
        "{outcome:?}"
    );
}

#[test]
fn a_server_that_resets_uploads_without_an_answer_may_be_refusing_them() {
    let outcome = probe(|mut stream| {
        let Some(head) = read_head(&mut stream) else { return };
        if content_length(&head) > 1000 {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        } else {
            answer(&mut stream, "200 OK", "Connection: close\r\n", 10);
        }
    });
    let risk = outcome.risks.first().unwrap();
    assert_eq!(
        (risk.severity, risk.sure, risk.loses),
        (Severity::Trap, Confidence::Undecided, Loses::Outcome),
        "{outcome:?}"
    );
}
