use std::time::{Duration, Instant};

use super::*;
use crate::habit::Spread;
use crate::testing::{Server, answer, ask, read_head};

fn options(longest_wait: Duration) -> Options {
    Options {
        longest_wait,
        ..Options::default()
    }
}

/// Closes connections at this age: between two requests, or with the next answer where that is announced.
fn mortal(age: Duration, announced: bool) -> Server {
    Server::start(move |mut stream| {
        let began = Instant::now();
        loop {
            let left = age.saturating_sub(began.elapsed());
            if !announced && left.is_zero() {
                return;
            }
            let wait = if announced { Duration::from_secs(20) } else { left };
            let _ = stream.set_read_timeout(Some(wait));
            if read_head(&mut stream).is_none() {
                return;
            }
            let old = began.elapsed() >= age;
            let fields = if announced && old { "Connection: close\r\n" } else { "" };
            if !answer(&mut stream, "200 OK", fields, 5) || announced && old {
                return;
            }
        }
    })
}

/// Closes after so many requests, whatever the age.
fn limited(most: u32) -> Server {
    Server::start(move |mut stream| {
        for _ in 0..most {
            if read_head(&mut stream).is_none() {
                return;
            }
            answer(&mut stream, "200 OK", "", 5);
        }
    })
}

/// Each of these takes its time: side by side they take it once.
#[test]
fn an_age_is_told_from_a_number_and_its_announcement_is_heard() {
    let age = Duration::from_secs(4);
    let servers = [mortal(age, false), mortal(age, true), limited(20)];
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let asked: Vec<_> = servers
            .iter()
            .map(|server| scope.spawn(|| ask(&server.url(), "lifetime", options(Duration::from_secs(9)))))
            .collect();
        asked
            .into_iter()
            .map(|thread| thread.join().expect("it does not panic"))
            .collect()
    });
    let [silent, announced, number] = &outcomes[..] else {
        panic!("three were asked")
    };
    for outcome in [silent, announced] {
        let age = outcome.value(&AGE).and_then(Value::spread).map(Spread::median);
        assert!(
            age.is_some_and(|age| age > Duration::from_millis(3800) && age < Duration::from_millis(5000)),
            "{outcome:?}"
        );
    }
    assert_eq!(silent.value(&ANNOUNCED), Some(&Value::Flag(false)));
    assert_eq!(silent.risks.len(), 1);
    assert_eq!(silent.risks[0].cause, "proxy-max-requests");
    assert_eq!(announced.value(&ANNOUNCED), Some(&Value::Flag(true)));
    assert!(announced.risks.is_empty());

    assert_eq!(number.value(&AGE), None, "{number:?}");
    assert!(number.risks.is_empty());
    assert!(number.seen[0].contains("number of requests"), "{number:?}");
}

#[test]
fn a_server_that_keeps_them_is_told_so_although_its_idle_limit_is_short() {
    let server = Server::start(|mut stream| {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(120)));
        while read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "", 5);
        }
    });
    let outcome = ask(&server.url(), "lifetime", options(Duration::from_secs(4)));
    assert!(matches!(outcome.value(&AGE), Some(Value::LongerThan(_))), "{outcome:?}");
    assert!(outcome.risks.is_empty());
}

#[test]
fn it_does_not_apply_where_connections_carry_one_request() {
    let server = Server::start(|mut stream| {
        if read_head(&mut stream).is_some() {
            answer(&mut stream, "200 OK", "Connection: close\r\n", 5);
        }
    });
    let outcome = ask(&server.url(), "lifetime", options(Duration::from_secs(4)));
    assert!(matches!(outcome.status, Status::Skipped(_)), "{outcome:?}");
}
