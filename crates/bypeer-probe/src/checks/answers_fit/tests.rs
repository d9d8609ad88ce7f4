use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::tag::{Token, without_chunks};
use super::*;
use crate::check::Severity;
use crate::habit::Value;
use crate::testing::{Server, ask, content_length, read_body, read_head};

fn options() -> Options {
    Options {
        patience: Duration::from_secs(3),
        ..Options::default()
    }
}

fn echoing() -> Options {
    Options {
        echo_path: Some("/echo?q={nonce}".to_owned()),
        ..options()
    }
}

fn words(head: &str) -> (&str, &str) {
    let mut words = head.split(' ');
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

/// What a good server answers: the query of /echo, a page at /, and 404.
fn content(target: &str) -> (&'static str, String) {
    match target.split_once('?') {
        Some(("/echo", query)) => ("200 OK", query.to_owned()),
        _ if target == "/" => ("200 OK", "a page".to_owned()),
        _ => ("404 Not Found", "nothing".to_owned()),
    }
}

fn message(head: &str, (status, body): (&str, String)) -> Vec<u8> {
    let length = body.len();
    let body = if words(head).0 == "HEAD" { String::new() } else { body };
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn request(stream: &mut TcpStream) -> Option<String> {
    let head = read_head(stream)?;
    read_body(stream, content_length(&head)).then_some(head)
}

/// Answers each request with what `answer` makes of its head.
fn serve(answer: impl Fn(&mut TcpStream, &str) -> Vec<u8> + Send + Sync + 'static) -> Server {
    Server::start(move |mut stream| {
        while let Some(head) = request(&mut stream) {
            let bytes = answer(&mut stream, &head);
            if stream.write_all(&bytes).is_err() {
                break;
            }
        }
    })
}

fn good() -> Server {
    serve(|_, head| message(head, content(words(head).1)))
}

fn word<'a>(outcome: &'a Outcome, habit: &Habit) -> Option<&'a str> {
    outcome.value(habit).and_then(Value::word)
}

fn wrong(outcome: &Outcome) -> (u64, u64) {
    match outcome.value(&WRONG) {
        Some(Value::Share { of, had }) => (*had, *of),
        other => panic!("{other:?} {:?}", outcome.seen),
    }
}

fn assert_innocent(outcome: &Outcome) {
    assert_eq!(outcome.status, Status::Done, "{outcome:?}");
    assert!(outcome.risks.is_empty(), "{outcome:?}");
    assert_eq!(outcome.value(&SURPLUS), Some(&Value::Count(0)), "{outcome:?}");
}

fn assert_accused(outcome: &Outcome) {
    assert!(
        outcome.risks.iter().any(|risk| risk.severity == Severity::Fault),
        "{outcome:?}"
    );
}

#[test]
fn a_good_server_is_told_by_tokens_by_looks_or_only_counted() {
    let server = good();
    let outcome = ask(&server.url(), "answers-fit", echoing());
    assert_innocent(&outcome);
    assert_eq!(word(&outcome, &OWNER), Some("token"));
    assert_eq!(word(&outcome, &PIPELINING), Some("all-answered"));
    let (had, of) = wrong(&outcome);
    assert!(had == 0 && of >= 100, "{outcome:?}");

    let outcome = ask(&server.url(), "answers-fit", options());
    assert_innocent(&outcome);
    assert_eq!(word(&outcome, &OWNER), Some("shape"));
    assert_eq!(wrong(&outcome).0, 0);

    let alike = serve(|_, head| message(head, ("200 OK", "the same for all".to_owned())));
    let outcome = ask(&alike.url(), "answers-fit", options());
    assert_innocent(&outcome);
    assert_eq!(word(&outcome, &OWNER), Some("count"));
}

#[test]
fn a_404_that_names_its_path_gives_tokens_without_being_asked() {
    let server = serve(|_, head| {
        let target = words(head).1.to_owned();
        let (status, body) = content(&target);
        message(head, (status, body + &target))
    });
    let outcome = ask(&server.url(), "answers-fit", options());
    assert_innocent(&outcome);
    assert_eq!(word(&outcome, &OWNER), Some("token"));
}

/// Now and then two requests that are worked on at the same moment get each other's answers.
fn swapping(period: u32) -> Server {
    type Waiting = (TcpStream, Vec<u8>, Sender<()>);
    let count = AtomicU32::new(0);
    let waiting: Mutex<Option<Waiting>> = Mutex::new(None);
    let waiting = Arc::new(waiting);
    serve(move |stream, head| {
        let mine = message(head, content(words(head).1));
        if words(head).0 == "HEAD" || !count.fetch_add(1, Relaxed).is_multiple_of(period) {
            return mine;
        }
        let other = waiting.lock().unwrap().take();
        if let Some((mut theirs, answer, told)) = other {
            let _ = theirs.write_all(&mine);
            let _ = told.send(());
            return answer;
        }
        let (told, hears) = channel();
        *waiting.lock().unwrap() = Some((stream.try_clone().unwrap(), mine.clone(), told));
        if hears.recv_timeout(Duration::from_millis(200)).is_ok() {
            return Vec::new();
        }
        match waiting.lock().unwrap().take() {
            Some(_) => mine,
            // It was taken in this very moment.
            None => Vec::new(),
        }
    })
}

#[test]
fn answers_that_two_connections_swap_now_and_then_are_found() {
    let server = swapping(5);
    let outcome = ask(&server.url(), "answers-fit", echoing());
    assert_accused(&outcome);
    assert!(wrong(&outcome).0 >= 2, "{outcome:?}");
    assert!(
        outcome
            .seen
            .iter()
            .any(|line| line.contains("of another address's connection")),
        "{:?}",
        outcome.seen
    );
}

#[test]
fn pipelined_answers_in_the_wrong_order_are_found() {
    let server = Server::start(|mut stream| {
        while let Some(first) = request(&mut stream) {
            let mut answer = message(&first, content(words(&first).1));
            stream.set_nonblocking(true).unwrap();
            let more = matches!(stream.peek(&mut [0]), Ok(1));
            stream.set_nonblocking(false).unwrap();
            if more && let Some(second) = request(&mut stream) {
                answer.splice(0..0, message(&second, content(words(&second).1)));
            }
            if stream.write_all(&answer).is_err() {
                break;
            }
        }
    });
    let outcome = ask(&server.url(), "answers-fit", echoing());
    assert_accused(&outcome);
    assert!(
        outcome
            .seen
            .iter()
            .any(|line| line.contains("of the same connection (pipelined)")),
        "{:?}",
        outcome.seen
    );
    // Without tokens, too: each looks like the other.
    let outcome = ask(&server.url(), "answers-fit", options());
    assert_accused(&outcome);
    assert_eq!(word(&outcome, &OWNER), Some("shape"));
}

#[test]
fn an_answer_left_over_from_an_aborted_request_is_found() {
    let left_over: Arc<Mutex<Vec<u8>>> = Arc::default();
    let server = Server::start(move |mut stream| {
        while let Some(head) = request(&mut stream) {
            let answer = message(&head, content(words(&head).1));
            thread::sleep(Duration::from_millis(10));
            stream.set_nonblocking(true).unwrap();
            let gone =
                matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset);
            stream.set_nonblocking(false).unwrap();
            if gone {
                *left_over.lock().unwrap() = answer;
                return;
            }
            let mut bytes = std::mem::take(&mut *left_over.lock().unwrap());
            bytes.extend(answer);
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    let outcome = ask(&server.url(), "answers-fit", echoing());
    assert_accused(&outcome);
    assert!(
        outcome.seen.iter().any(|line| line.contains("that had been given up")),
        "{:?}",
        outcome.seen
    );
}

#[test]
fn an_answer_that_comes_twice_is_found() {
    let count = AtomicU32::new(0);
    let server = serve(move |_, head| {
        let answer = message(head, content(words(head).1));
        let twice = words(head).0 == "GET" && count.fetch_add(1, Relaxed) % 20 == 19;
        if twice { answer.repeat(2) } else { answer }
    });
    let outcome = ask(&server.url(), "answers-fit", options());
    assert_accused(&outcome);
    assert!(
        matches!(outcome.value(&SURPLUS), Some(Value::Count(2..))),
        "{outcome:?}"
    );
}

#[test]
fn a_body_after_head_is_found() {
    let server = serve(|_, head| message("GET", content(words(head).1)));
    let outcome = ask(&server.url(), "answers-fit", echoing());
    assert_accused(&outcome);
    assert_eq!(wrong(&outcome).0, 0);
}

#[test]
fn a_cache_that_ignores_the_query_is_no_swap() {
    let cached: Mutex<Option<String>> = Mutex::new(None);
    let server = serve(move |_, head| {
        let (status, body) = content(words(head).1);
        let body = match status {
            "200 OK" if body != "a page" => cached.lock().unwrap().get_or_insert(body).clone(),
            _ => body,
        };
        message(head, (status, body))
    });
    let outcome = ask(&server.url(), "answers-fit", echoing());
    assert_innocent(&outcome);
    assert_eq!(word(&outcome, &OWNER), Some("shape"));
}

#[test]
fn a_page_that_lists_what_others_ask_is_no_swap() {
    let latest: Mutex<String> = Mutex::new(String::new());
    let server = serve(move |_, head| {
        let target = words(head).1;
        let (status, body) = content(target);
        if target == "/" {
            return message(head, (status, format!("requests: {}", latest.lock().unwrap())));
        }
        *latest.lock().unwrap() = target.to_owned();
        message(head, (status, body))
    });
    let outcome = ask(&server.url(), "answers-fit", echoing());
    assert_innocent(&outcome);
}

#[test]
fn a_408_on_an_idle_connection_is_leave_and_no_surplus() {
    let server = Server::start(|mut stream| {
        loop {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(60)));
            let Ok(1) = stream.peek(&mut [0]) else { break };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let Some(head) = request(&mut stream) else { break };
            if stream.write_all(&message(&head, content(words(&head).1))).is_err() {
                break;
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let outcome = ask(&server.url(), "answers-fit", echoing());
    assert_innocent(&outcome);
}

#[test]
fn a_server_that_closes_after_each_answer_is_not_asked_more_than_was_planned() {
    let opened = Arc::new(AtomicU32::new(0));
    let counted = opened.clone();
    let server = Server::start(move |mut stream| {
        counted.fetch_add(1, Relaxed);
        if let Some(head) = request(&mut stream) {
            let _ = stream.write_all(&message(&head, content(words(&head).1)));
        }
    });
    let outcome = ask(&server.url(), "answers-fit", echoing());
    assert_innocent(&outcome);
    // The first look's are two.
    assert!(opened.load(Relaxed) <= GENTLE.connections + 2);
}

#[test]
fn one_connection_at_a_time_is_enough() {
    let server = good();
    let outcome = ask(
        &server.url(),
        "answers-fit",
        Options {
            serial: Some(true),
            ..echoing()
        },
    );
    assert_innocent(&outcome);
    assert!(wrong(&outcome).1 >= 10, "{outcome:?}");
}

#[test]
#[ignore = "long: ten thousand requests"]
fn many_requests_find_what_few_may_miss_and_accuse_no_good_server() {
    let outcome = ask(&good().url(), "answers-fit-load", echoing());
    assert!(outcome.risks.is_empty(), "{outcome:?}");
    assert!(
        matches!(outcome.value(&LOAD_WRONG), Some(Value::Share { of: 2000.., had: 0 })),
        "{outcome:?}"
    );
    let outcome = ask(&swapping(151).url(), "answers-fit-load", echoing());
    assert_accused(&outcome);
}

#[test]
fn tokens_are_found_across_chunks() {
    let keys = std::hash::RandomState::new();
    assert_ne!(Token::of(&keys, 1), Token::of(&keys, 2));
    assert_eq!(without_chunks(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), b"abcde");
    assert_eq!(without_chunks(b"ff\r\nabc"), b"abc");
    assert_eq!(without_chunks(b"zz\r\nabc"), b"");
}

#[test]
fn little_room_for_connections_is_enough() {
    for at_once in 1..=5 {
        let server = good();
        let outcome = ask(&server.url(), "answers-fit", Options { at_once, ..options() });
        assert_eq!(outcome.status, Status::Done, "{at_once}: {outcome:?}");
        assert!(outcome.risks.is_empty(), "{at_once}: {outcome:?}");
    }
}
