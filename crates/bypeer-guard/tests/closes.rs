//! How connections end: early answers, announced and idle closes, slow and vanishing clients.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bypeer_guard::say::{Notice, Refusal, Why};
use lingering::Ended;
use support::backend::{Backend, pattern};
use support::client::{Answer, Client, End};
use support::{PATIENCE, Running, config};

/// Sends everything before it reads anything, as many clients do.
fn upload(running: &Running, head: &str, bytes: usize) -> Client {
    let mut client = Client::new(running.address());
    client.send(head);
    client.send(vec![b'x'; bytes]);
    client
}

#[test]
fn a_413_to_a_large_upload_arrives_whole() {
    const BYTES: usize = 8 << 20;
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.body = Some(1000);
    let running = Running::new(config);
    let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n");
    for _ in 0..100 {
        let mut client = upload(&running, &head, BYTES);
        let answer = client.answer();
        assert_eq!(answer.status, 413);
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(answer.text().contains("1000 bytes"));
        assert_eq!(client.rest(), (Vec::new(), End::Fin));
    }
    let said = running.recorder.until(|said| said.lingered.len() == 100);
    assert!(
        said.lingered.iter().all(|outcome| outcome.delivered() == Some(true)),
        "{said:#?}"
    );
}

#[test]
fn a_413_in_the_middle_of_chunks_arrives_whole() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.body = Some(100_000);
    let running = Running::new(config);
    for _ in 0..20 {
        let mut client = Client::new(running.address());
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("{:x}\r\n{}\r\n", 50_000, "y".repeat(50_000));
        for _ in 0..40 {
            client.send(&chunk);
        }
        client.send("0\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.status, 413, "{answer:?}");
        assert_eq!(client.rest(), (Vec::new(), End::Fin));
    }
}

#[test]
fn a_servers_early_answer_arrives_whole_though_it_reads_nothing_more() {
    // 1 MB is more than fits into the sockets between: it must be read and written at the same time.
    let answers = Arc::<AtomicUsize>::default();
    let backend = {
        let answers = answers.clone();
        Backend::new(move |mut peer| {
            if peer.head().is_some() {
                let before = answers.load(Ordering::SeqCst);
                peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000\r\n\r\n");
                peer.send(pattern(1_000_000));
                // Its close would destroy what of the answer is still in its own kernel.
                support::until(|| answers.load(Ordering::SeqCst) > before);
            }
        })
    };
    let running = Running::new(config(backend.address));
    for _ in 0..5 {
        let bytes = 8 << 20;
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n");
        let mut client = upload(&running, &head, bytes);
        let answer = client.answer();
        assert_eq!((answer.status, answer.body == pattern(1_000_000)), (403, true));
        answers.fetch_add(1, Ordering::SeqCst);
        assert_eq!(client.rest(), (Vec::new(), End::Fin));
    }
}

#[test]
fn behind_a_small_rest_the_connection_is_kept() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.body = Some(1000);
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    for _ in 0..10 {
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
        client.send(vec![b'z'; 20_000]);
        let answer = client.answer();
        assert_eq!(answer.status, 413);
        assert_ne!(answer.field("connection"), Some("close"));
        assert_eq!(client.get("/next").text(), "/next");
    }
}

#[test]
fn who_is_refused_before_100_continue_sends_nothing_and_sees_the_end() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.body = Some(1000);
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 413);
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
}

#[test]
fn the_last_answer_says_that_it_is_the_last() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.requests = Some(3);
    let running = Running::new(config);
    for _ in 0..50 {
        let mut client = Client::new(running.address());
        assert_ne!(client.get("/1").field("connection"), Some("close"));
        assert_ne!(client.get("/2").field("connection"), Some("close"));
        assert_eq!(client.get("/3").field("connection"), Some("close"));
        // Who does not listen is not reset over what it was given.
        let _ = client.stream.write_all(b"GET /4 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.rest(), (Vec::new(), End::Fin));
    }
    let said = running.recorder.until(|said| said.closed.len() == 50);
    assert!(said.closed.iter().all(|why| *why == Why::Announced), "{said:#?}");
}

#[test]
fn an_idle_connection_is_closed_at_its_limit_and_not_before() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.idle = Duration::from_secs(2);
    config.client.margin = Duration::ZERO;
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    let mut began = Instant::now();
    for _ in 0..3 {
        assert_eq!(client.get("/a").status, 200);
        began = Instant::now();
        std::thread::sleep(Duration::from_millis(700));
    }
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    let said = running.recorder.until(|said| said.closed.len() == 1);
    assert_eq!(said.closed, [Why::Idle]);
}

#[test]
fn a_head_that_comes_byte_by_byte_is_bounded() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.head_time = Duration::from_millis(500);
    let running = Running::new(config);
    let mut slow = Client::new(running.address());
    let mut silent = Client::new(running.address());
    let mut second = Client::new(running.address());
    assert_eq!(second.get("/a").status, 200);
    let began = Instant::now();
    let (done, until) = mpsc::channel::<()>();
    let mut writer = slow.stream.try_clone().unwrap();
    let mut second_writer = second.stream.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat_n(&b'x', 1000)) {
            let _ = writer.write_all(&[*byte]);
            let _ = second_writer.write_all(&[*byte]);
            if until.recv_timeout(Duration::from_millis(50)) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
        }
    });
    for client in [&mut slow, &mut second] {
        assert_eq!(client.answer().status, 408);
    }
    assert_eq!(silent.rest(), (Vec::new(), End::Fin));
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(done);
    thread.join().unwrap();
    let said = running.recorder.until(|said| said.closed.len() == 3);
    assert!(said.closed.iter().all(|why| *why == Why::HeadTime), "{said:#?}");
    assert_eq!(said.refusals.len(), 2);
}

#[test]
fn a_body_that_stops_coming_is_answered_408() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.silence = Duration::from_millis(400);
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    let answer = client.answer();
    assert_eq!(answer.status, 408);
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
}

#[test]
fn who_does_not_read_its_answer_is_let_go() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.silence = Duration::from_millis(400);
    config.close.idle = Duration::from_millis(200);
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    client.send("GET /size/50000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let said = running.recorder.until(|said| said.closed.len() == 1);
    assert_eq!(said.closed, [Why::Silence]);
    let failure = said.exchanges[0].failure.as_deref();
    assert_eq!(failure, Some("the client took nothing of its answer for too long"));
    let said = running.recorder.until(|said| said.lingered.len() == 1);
    assert_eq!(said.lingered[0].ended, Ended::Idle);
}

#[test]
fn who_resets_in_the_middle_of_an_answer_is_gone_soon() {
    let gone = Arc::<AtomicBool>::default();
    let backend = {
        let gone = gone.clone();
        Backend::new(move |mut peer| {
            if peer.head().is_some() {
                // No answer, until the guard gives it up.
                gone.store(peer.head().is_none(), Ordering::SeqCst);
            }
        })
    };
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    client.reset();
    let said = running
        .recorder
        .until(|said| said.exchanges.len() == 1 && said.closed.len() == 1);
    assert_eq!(said.closed, [Why::PeerBroke]);
    assert_eq!(said.exchanges[0].failure.as_deref(), Some("the client went away"));
    support::until(|| gone.load(Ordering::SeqCst));
}

#[test]
fn who_has_left_before_its_answer_is_said_to_be_gone_and_who_half_closed_is_answered() {
    let (asked, asks) = mpsc::channel();
    let (leave, may_answer) = mpsc::channel::<()>();
    let may_answer = std::sync::Mutex::new(may_answer);
    let backend = Backend::new(move |mut peer| {
        while peer.head().is_some() {
            asked.send(()).unwrap();
            if may_answer.lock().unwrap().recv().is_ok() {
                // Nobody gives up sooner.
                std::thread::sleep(Duration::from_millis(20));
                peer.answer(b"answer");
            }
        }
    });
    let running = Running::new(config(backend.address));
    for (count, leaves) in [true, false, true].into_iter().enumerate() {
        let mut client = Client::new(running.address());
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        asks.recv_timeout(PATIENCE).unwrap();
        // Its kernel says the same of both.
        let stays = match leaves {
            true => {
                drop(client);
                None
            }
            false => {
                client.half_close();
                Some(client)
            }
        };
        leave.send(()).unwrap();
        if let Some(mut client) = stays {
            assert_eq!(client.answer().text(), "answer");
            assert_eq!(client.rest(), (Vec::new(), End::Fin));
        }
        let said = running.recorder.until(|said| said.exchanges.len() == count + 1);
        let gone = leaves.then(|| "the client went away".to_owned());
        assert_eq!(
            (said.exchanges[count].status, &said.exchanges[count].failure),
            (Some(200), &gone)
        );
    }
}

#[test]
fn who_leaves_in_the_middle_of_a_body_is_said_to_be_gone() {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    std::thread::sleep(Duration::from_millis(50));
    client.reset();
    let said = running
        .recorder
        .until(|said| said.exchanges.len() == 1 && said.closed.len() == 1);
    assert!(said.exchanges[0].failure.is_some(), "{said:#?}");
    // Who half-closes in the middle of a body is told.
    let mut client = Client::new(running.address());
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    client.half_close();
    assert_eq!(client.answer().status, 400);
}

#[test]
fn a_cut_answer_is_visibly_short_and_no_reset() {
    let backend = Backend::new(|mut peer| {
        if let Some(request) = peer.head() {
            match request.target.as_str() {
                "/length" => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n"),
                _ => peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n"),
            }
            peer.send(pattern(200_000));
        }
    });
    let running = Running::new(config(backend.address));
    for path in ["/length", "/chunked"] {
        for _ in 0..20 {
            let mut client = Client::new(running.address());
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let head = client.head();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let (body, end) = client.rest();
            assert_eq!(end, End::Fin);
            // Everything that came before the cut is there.
            assert!(body.len() >= 200_000, "{}", body.len());
            assert!(!body.ends_with(b"0\r\n\r\n"));
        }
    }
    let said = running
        .recorder
        .until(|said| said.exchanges.len() == 40 && said.closed.len() == 40);
    assert!(said.exchanges.iter().all(|told| told.failure.is_some()), "{said:#?}");
    assert!(said.closed.iter().all(|why| *why == Why::AnswerBroke), "{said:#?}");
}

#[test]
fn a_cut_answer_that_its_connection_ends_is_no_whole_one() {
    let backend = Backend::new(|mut peer| {
        while let Some(request) = peer.head() {
            match request.target.as_str() {
                "/whole" => {
                    peer.answer(b"whole");
                    continue;
                }
                "/chunked" => peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n"),
                "/garbage" => peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n"),
                _ => peer.send("HTTP/1.1 200 OK\r\n\r\n"),
            }
            peer.send(pattern(200_000));
            match request.target.as_str() {
                "/garbage" => peer.send("\r\nZZ\r\n"),
                "/reset" => {
                    // Once it was taken, a reset takes nothing back.
                    support::until(|| lingering::unsent(&peer.stream) == Some(0));
                    Client::of(peer.stream).reset();
                }
                _ => {}
            }
            return;
        }
    });
    let running = Running::new(config(backend.address));
    for (path, cut) in [("/chunked", true), ("/garbage", true), ("/close", false)] {
        for _ in 0..10 {
            let mut client = Client::new(running.address());
            // One that is whole is not lost by the one behind it.
            client.send("GET /whole HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
            assert_eq!(client.answer().text(), "whole");
            client.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
            assert!(client.head().starts_with("HTTP/1.0 200"));
            let (body, end) = client.rest();
            assert_eq!(body.len(), 200_000, "{path}");
            assert_eq!(end, if cut { End::Reset } else { End::Fin }, "{path}");
        }
    }
    let mut client = Client::new(running.address());
    client.send("GET /reset HTTP/1.0\r\n\r\n");
    assert_eq!(client.rest().1, End::Reset);
    let said = running.recorder.until(|said| said.closed.len() == 31);
    let cut = said.closed.iter().filter(|why| **why == Why::AnswerBroke).count();
    assert_eq!(cut, 21, "{said:#?}");
}

#[test]
fn connections_over_the_limit_wait_and_are_answered() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.connections = 2;
    let running = Running::new(config);
    let mut first = Client::new(running.address());
    let mut second = Client::new(running.address());
    assert_eq!(first.get("/1").status, 200);
    assert_eq!(second.get("/2").status, 200);
    let mut third = Client::new(running.address());
    third.send("GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    third.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let waits = std::io::Read::read(&mut &third.stream, &mut [0]).unwrap_err();
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
    third.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(first);
    assert_eq!(third.answer().text(), "/3");
    let said = running.recorder.said();
    assert!(
        said.notices
            .iter()
            .any(|notice| notice.to_string().contains("all 2 connections")),
        "{said:#?}"
    );
}

#[test]
fn the_limit_of_connections_is_that_of_all_workers_together() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.connections = 3;
    config.workers = 4;
    let running = Running::new(config);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::new(running.address())).collect();
    running.recorder.until(|said| said.opened == 3);
    clients.extend((0..8).map(|_| Client::new(running.address())));
    // Each worker finds that there is no room.
    let said = running.recorder.until(|said| {
        let full = said
            .notices
            .iter()
            .filter(|notice| matches!(notice, Notice::ConnectionLimit { .. }));
        full.count() == 4
    });
    assert_eq!(said.opened, 3);
    // And who waits has his turn.
    for mut client in clients {
        assert_eq!(client.get("/a").text(), "/a");
    }
}

#[test]
fn a_head_that_is_too_large_is_answered_431() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.head = 10_000;
    let running = Running::new(config);
    for _ in 0..20 {
        let mut client = Client::new(running.address());
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n", "x".repeat(30_000)));
        let answer = client.answer();
        assert_eq!(answer.status, 431, "{answer:?}");
        assert_says_why(&answer, "larger than 10000 bytes");
        assert_eq!(client.rest(), (Vec::new(), End::Fin));
    }
    let said = running.recorder.until(|said| said.refusals.len() == 20);
    assert!(
        said.refusals.iter().all(|refusal| is(refusal, 431, "10000 bytes")),
        "{said:#?}"
    );
    let mut client = Client::new(running.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100)));
    assert_says_why(&client.answer(), "more than 100 fields");
}

fn assert_says_why(answer: &Answer, why: &str) {
    let status = answer.field("proxy-status").unwrap();
    assert!(
        status.starts_with("bypeer; error=http_request_error; details=\""),
        "{status}"
    );
    assert!(status.contains(why) && answer.text().contains(why), "{answer:?}");
    assert_eq!(answer.field("connection"), Some("close"));
}

fn is(refusal: &Refusal, status: u16, why: &str) -> bool {
    refusal.status.is_some_and(|told| told.as_u16() == status) && refusal.why.contains(why)
}

#[test]
fn what_is_no_request_is_answered_by_the_guard_and_told() {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    let cases = [
        ("this is no request\r\n\r\n", "version"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "header"),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", "version"),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "method"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n",
            "content-length",
        ),
        ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "version"),
    ];
    for (count, (bytes, why)) in cases.into_iter().enumerate() {
        // As the first of a connection, behind another, and in one read with another.
        let mut first = Client::new(running.address());
        first.send(bytes);
        let mut second = Client::new(running.address());
        assert_eq!(second.get("/a").status, 200);
        second.send(bytes);
        let mut third = Client::new(running.address());
        third.send(format!("GET /a HTTP/1.1\r\nHost: a\r\n\r\n{bytes}"));
        assert_eq!(third.answer().text(), "/a");
        for client in [&mut first, &mut second, &mut third] {
            let answer = client.answer();
            assert_eq!(answer.status, 400, "{bytes:?}: {answer:?}");
            assert_says_why(&answer, why);
            assert_eq!(client.rest(), (Vec::new(), End::Fin), "{bytes:?}");
        }
        let said = running.recorder.until(|said| said.refusals.len() == 3 * (count + 1));
        let last = &said.refusals[3 * count..];
        assert!(last.iter().all(|refusal| is(refusal, 400, why)), "{last:?}");
    }
}

#[test]
fn a_target_that_is_no_uri_is_told_with_its_path() {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    for (target, path) in [("/a?q={\"secret\"}", "/a"), ("/a<b>", "/a<b>"), ("/`", "/`")] {
        let mut client = Client::new(running.address());
        assert_eq!(client.get("/before").status, 200);
        let answer = client.get(target);
        assert_says_why(&answer, "must be percent-encoded");
        let said = running.recorder.until(|said| !said.refusals.is_empty());
        assert_eq!(
            said.refusals[0].line.as_deref(),
            Some(&("GET".to_owned(), path.to_owned()))
        );
        running.recorder.forget();
    }
}

#[test]
fn what_is_no_request_costs_the_answer_before_it_nothing() {
    const SIZE: usize = 30_000_000;
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    client.send(format!("GET /size/{SIZE} HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n"));
    // Until nothing more of it fits anywhere.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(client.answer().body, pattern(SIZE));
    assert_eq!(client.answer().status, 400);
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
    let said = running.recorder.until(|said| said.refusals.len() == 1);
    assert!(is(&said.refusals[0], 400, "not valid HTTP"), "{said:#?}");
}
