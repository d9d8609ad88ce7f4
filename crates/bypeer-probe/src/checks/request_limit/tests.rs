use std::time::{Duration, Instant};

use bypeer_diagnose::Confidence;

use super::*;
use crate::testing::{Server, answer, ask, read_head};

/// Answers so many requests on each connection, and closes.
fn limited(most: u32, announced: bool) -> Server {
    Server::start(move |mut stream| {
        for number in 1..=most {
            if read_head(&mut stream).is_none() {
                return;
            }
            let fields = if announced && number == most {
                "Connection: close\r\n"
            } else {
                ""
            };
            let left = format!("Keep-Alive: timeout=5, max={}\r\n{fields}", most - number + 1);
            if !answer(&mut stream, "200 OK", &left, 5) {
                return;
            }
        }
    })
}

fn options() -> Options {
    Options {
        longest_wait: Duration::from_secs(20),
        ..Options::default()
    }
}

#[test]
fn a_limit_that_nobody_announces_is_a_trap() {
    let server = limited(30, false);
    let outcome = ask(&server.url(), "request-limit", options());
    assert_eq!(outcome.value(&REQUESTS), Some(&Value::Count(30)), "{outcome:?}");
    assert_eq!(outcome.value(&ANNOUNCED), Some(&Value::Flag(false)));
    assert_eq!(outcome.value(&PROMISED), Some(&Value::Count(30)));
    let [risk] = &outcome.risks[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!((risk.cause, risk.severity), ("proxy-max-requests", Severity::Trap));
    assert_eq!(risk.sure, Confidence::Certain);
    assert!(risk.because.iter().any(|why| why.contains("promised more")), "{risk:?}");
}

#[test]
fn an_announced_limit_is_no_risk() {
    let server = limited(30, true);
    let outcome = ask(&server.url(), "request-limit", options());
    assert_eq!(outcome.value(&REQUESTS), Some(&Value::Count(30)));
    assert_eq!(outcome.value(&ANNOUNCED), Some(&Value::Flag(true)));
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn no_limit_is_told_as_more_than_was_asked() {
    let server = limited(u32::MAX, false);
    let outcome = ask(&server.url(), "request-limit", options());
    assert_eq!(outcome.value(&REQUESTS), Some(&Value::MoreThan(u64::from(MOST))));
    assert!(outcome.risks.is_empty());
}

#[test]
fn one_request_per_connection_is_the_business_of_another_check() {
    let server = limited(1, false);
    let outcome = ask(&server.url(), "request-limit", options());
    assert_eq!(outcome.value(&REQUESTS), Some(&Value::Count(1)));
    assert!(outcome.risks.is_empty());
}

#[test]
fn an_age_is_not_taken_for_a_number() {
    let server = Server::start(|mut stream| {
        let _ = stream.set_nodelay(true);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(600) && read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "", 5);
        }
    });
    let outcome = ask(&server.url(), "request-limit", options());
    assert_eq!(outcome.value(&REQUESTS), None, "{outcome:?}");
    assert!(outcome.risks.is_empty());
}

#[test]
fn a_server_that_asks_for_less_is_left_in_peace() {
    let server = Server::start(|mut stream| {
        for number in 0.. {
            if read_head(&mut stream).is_none() {
                return;
            }
            answer(
                &mut stream,
                if number < 9 { "200 OK" } else { "429 Too Many Requests" },
                "",
                5,
            );
        }
    });
    let outcome = ask(&server.url(), "request-limit", options());
    let Status::Cut(why) = &outcome.status else {
        panic!("{outcome:?}")
    };
    assert!(why.contains("429 after 10 requests"), "{why}");
    assert!(outcome.risks.is_empty());
}

#[test]
fn one_connection_after_the_other_is_enough() {
    let server = limited(10, false);
    let outcome = ask(
        &server.url(),
        "request-limit",
        Options {
            serial: Some(true),
            ..options()
        },
    );
    assert_eq!(outcome.value(&REQUESTS), Some(&Value::Count(10)), "{outcome:?}");
}

#[test]
fn an_answer_that_ends_with_the_connection_is_its_last() {
    let server = Server::start(|mut stream| {
        use std::io::Write;
        if read_head(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello");
        }
    });
    let outcome = ask(&server.url(), "request-limit", options());
    assert_eq!(outcome.value(&REQUESTS), Some(&Value::Count(1)), "{outcome:?}");
    assert_eq!(outcome.value(&ANNOUNCED), Some(&Value::Flag(true)));
    assert!(outcome.risks.is_empty());
}

#[test]
fn a_worker_that_is_retired_is_no_limit_of_a_connection() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    let answered = Arc::new(AtomicU32::new(0));
    let server = Server::start(move |mut stream| {
        // Those that wait for a request end with the worker, too.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
        while answered.load(Relaxed) < 60 && read_head(&mut stream).is_some() {
            answered.fetch_add(1, Relaxed);
            answer(&mut stream, "200 OK", "", 5);
        }
    });
    let outcome = ask(&server.url(), "request-limit", options());
    assert_eq!(outcome.value(&REQUESTS), None, "{outcome:?}");
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}
