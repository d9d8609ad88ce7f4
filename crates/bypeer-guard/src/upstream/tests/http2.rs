//! HTTP/2 behind, against a server made of h2, which can refuse, reset and leave at any moment.

use std::future::{Future, poll_fn};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::Answer;
use super::support::*;
use crate::config::UpstreamVersion;
use crate::failure::Failure;

type Responder = SendResponse<Bytes>;

/// Serves each request by `script`, which is told the connection's and the request's number, from 1 on.
async fn serve_h2<F, S>(most: u32, script: S) -> Server
where
    S: Fn(usize, usize, Request<RecvStream>, Responder) -> F + Clone + 'static,
    F: Future<Output = After> + 'static,
{
    serve(move |number, peer| {
        let script = script.clone();
        async move {
            let mut builder = h2::server::Builder::new();
            let Ok(mut connection) = builder.max_concurrent_streams(most).handshake(peer.stream).await else {
                return;
            };
            let (leave, mut left) = tokio::sync::mpsc::unbounded_channel();
            let mut count = 0;
            loop {
                tokio::select! {
                    request = connection.accept() => {
                        let Some(Ok((request, responder))) = request else { return };
                        count += 1;
                        let after = script(number, count, request, responder);
                        let leave = leave.clone();
                        tokio::task::spawn_local(async move { leave.send(after.await) });
                    }
                    after = left.recv() => match after {
                        Some(After::Close) => return,
                        Some(After::GoAway) => connection.graceful_shutdown(),
                        _ => {}
                    }
                }
            }
        }
    })
    .await
}

/// What becomes of the connection behind an answer.
enum After {
    Stay,
    Close,
    GoAway,
}

fn answer(responder: &mut Responder, body: &'static str) {
    let mut stream = responder.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
}

fn h2_client(server: &Server) -> Client {
    client_with(server, |upstream, _| {
        upstream.version = UpstreamVersion::Http2;
        upstream.answer = Duration::from_millis(500);
        upstream.silence = Duration::from_millis(500);
    })
}

#[test]
fn requests_share_a_connection_and_bodies_and_trailers_pass() {
    run(async {
        let server = serve_h2(100, |_, _, request, mut responder| async move {
            assert_eq!(request.uri().to_string(), "http://test/path");
            assert!(!request.headers().contains_key("host") && !request.headers().contains_key("connection"));
            let mut body = request.into_body();
            let mut stream = responder.send_response(Response::new(()), false).unwrap();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                stream.send_data(data, false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "1".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
            After::Stay
        })
        .await;
        let client = h2_client(&server);
        let (feed, streamed) = TestBody::fed(None);
        tokio::task::spawn_local(async move {
            for _ in 0..3 {
                feed.send(Ok(Frame::data(vec![b'x'; 100_000].into()))).ok();
                tokio::task::yield_now().await;
            }
        });
        let (small, large, none) = tokio::join!(
            client.send(Method::POST, TestBody::whole("small")),
            client.send(Method::PUT, streamed),
            client.send(Method::GET, TestBody::none()),
        );
        assert_eq!(small.1.unwrap().body, b"small");
        let large = large.1.unwrap();
        assert_eq!(large.body.len(), 300_000);
        assert_eq!(large.trailers.unwrap()["x-sum"], "1");
        assert!(none.1.unwrap().body.is_empty());
        assert_eq!(server.connections.get(), 1);
        assert_eq!(client.shared.counters.reused.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn what_was_refused_was_not_processed() {
    run(async {
        let server = serve_h2(100, |connection, _, _, mut responder| async move {
            match connection {
                1 => responder.send_reset(Reason::REFUSED_STREAM),
                _ => answer(&mut responder, "ok"),
            }
            After::Stay
        })
        .await;
        let client = h2_client(&server);
        let (account, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
        assert_eq!(outcome.unwrap().body, b"ok");
        let account = account.borrow();
        assert_eq!(account.attempts.len(), 2);
        let refused = account.attempts[0].failure.as_ref().unwrap();
        assert_eq!(
            refused.to_string(),
            "the server ended the stream of the request with REFUSED_STREAM before it answered"
        );
    });
    // The near miss: any other reset may come behind the deed.
    run(async {
        let server = serve_h2(100, |connection, _, _, mut responder| async move {
            match connection {
                1 => responder.send_reset(Reason::INTERNAL_ERROR),
                _ => answer(&mut responder, "ok"),
            }
            After::Stay
        })
        .await;
        let client = h2_client(&server);
        let (_, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
        assert!(
            matches!(outcome, Err(Failure::StreamReset(Reason::INTERNAL_ERROR))),
            "{outcome:?}"
        );
        assert_eq!(client.shared.counters.retried.load(Ordering::Relaxed), 0);
        let client = h2_client(&server);
        assert_eq!(client.get().await.unwrap().body, b"ok");
    });
}

#[test]
fn a_connection_that_the_server_leaves_costs_no_request() {
    run(async {
        let server = serve_h2(100, |_, _, _, mut responder| async move {
            answer(&mut responder, "ok");
            After::GoAway
        })
        .await;
        let client = h2_client(&server);
        for number in 1..=3 {
            let (account, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
            assert_eq!(outcome.unwrap().body, b"ok");
            assert_eq!(account.borrow().attempts.len(), 1);
            while client.events().iter().filter(|event| *event == "closed").count() < number {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        assert_eq!(server.connections.get(), 3);
    });
}

#[test]
fn cut_answers_are_retried_or_told() {
    run(async {
        let server = serve_h2(100, |connection, _, _, mut responder| async move {
            if connection > 1 {
                answer(&mut responder, "whole");
                return After::Stay;
            }
            let head = Response::builder().header("content-length", "10").body(()).unwrap();
            let mut stream = responder.send_response(head, false).unwrap();
            stream.send_data("hello".into(), false).unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
            After::Stay
        })
        .await;
        let client = h2_client(&server);
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        assert_eq!(outcome.unwrap().body, b"whole");
        assert!(matches!(
            account.borrow().attempts[0].failure,
            Some(Failure::Incomplete {
                have: 5,
                expected: Some(10),
                // No TCP connection was reset.
                reset: false
            })
        ));
    });
    run(async {
        let server = serve_h2(100, |_, _, _, mut responder| async move {
            let mut stream = responder.send_response(Response::new(()), false).unwrap();
            stream.send_data("hello".into(), false).unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            After::Close
        })
        .await;
        let outcome = h2_client(&server).get().await.unwrap();
        assert_eq!(outcome.body, b"hello");
        assert!(
            matches!(
                outcome.end,
                Err(Failure::Incomplete {
                    have: 5,
                    expected: None,
                    ..
                })
            ),
            "{outcome:?}"
        );
    });
}

#[test]
fn every_wait_has_an_end() {
    run(async {
        let server = serve_h2(100, |_, count, request, mut responder| async move {
            if count == 2 {
                let mut stream = responder.send_response(Response::new(()), false).unwrap();
                stream.send_data("hello".into(), false).unwrap();
                tokio::time::sleep(Duration::from_secs(100)).await;
            }
            // Nothing is taken of a body: its window stays closed.
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(request);
            After::Stay
        })
        .await;
        let client = h2_client(&server);
        assert!(matches!(client.get().await, Err(Failure::AnswerTimeout)));
        let outcome = client.get().await.unwrap();
        assert!(matches!(outcome.end, Err(Failure::BodyTimeout)), "{outcome:?}");
        let (feed, body) = TestBody::fed(None);
        for _ in 0..20 {
            feed.send(Ok(Frame::data(vec![0; 64 << 10].into()))).unwrap();
        }
        let (_, outcome) = client.send(Method::POST, body).await;
        assert!(matches!(outcome, Err(Failure::WriteTimeout)), "{outcome:?}");
    });
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.rest().await;
        })
        .await;
        let outcome = h2_client(&server).get().await;
        assert!(matches!(outcome, Err(Failure::AnswerTimeout)), "{outcome:?}");
    });
    run(async {
        let server = serve(|_, peer| peer.answer_all()).await;
        assert!(h2_client(&server).get().await.is_err());
    });
}

#[test]
fn where_a_server_takes_few_at_once_there_are_more_connections() {
    run(async {
        let server = serve_h2(1, |_, _, _, mut responder| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer(&mut responder, "ok");
            After::Stay
        })
        .await;
        let client = h2_client(&server);
        client.get().await.unwrap();
        let (a, b) = tokio::join!(client.get(), client.get());
        assert_eq!([a.unwrap().body, b.unwrap().body], [b"ok", b"ok"]);
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn a_client_that_fails_is_the_clients_failure() {
    run(async {
        let server = serve_h2(100, |_, _, request, _responder| async move {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.data().await {}
            tokio::time::sleep(Duration::from_secs(100)).await;
            After::Stay
        })
        .await;
        let (feed, body) = TestBody::fed(None);
        feed.send(Ok(Frame::data("some".into()))).unwrap();
        feed.send(Err(Failure::Request("slow".to_owned()))).unwrap();
        let (_, outcome) = h2_client(&server).send(Method::PUT, body).await;
        assert!(
            matches!(&outcome, Err(Failure::Request(reason)) if reason == "slow"),
            "{outcome:?}"
        );
    });
}

#[test]
fn connect_makes_a_tunnel() {
    run(async {
        let server = serve_h2(100, |_, _, request, mut responder| async move {
            assert_eq!(request.uri().to_string(), "example.org:443");
            let mut stream = responder.send_response(Response::new(()), false).unwrap();
            let mut body = request.into_body();
            while let Some(Ok(data)) = body.data().await {
                stream.send_data(data, false).unwrap();
            }
            stream.send_data(Bytes::new(), true).unwrap();
            After::Stay
        })
        .await;
        let client = h2_client(&server);
        let request = Request::connect("example.org:443").body(TestBody::none()).unwrap();
        let (response, mut tunnel) = client.switch(request).await;
        assert_eq!(response.status().as_u16(), 200);
        tunnel.write_all(b"echo").await.unwrap();
        tunnel.shutdown().await.unwrap();
        let mut said = Vec::new();
        tunnel.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"echo");
    });
}

#[test]
fn a_server_without_http2_is_told_with_the_remedy() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.more().await;
        })
        .await;
        let failure = h2_client(&server).get().await.unwrap_err();
        assert!(
            failure.to_string().ends_with("set upstream.version = \"1.1\""),
            "{failure}"
        );
        // One that says what it thinks of the preface.
        let server = serve(|_, mut peer| async move {
            peer.more().await;
            peer.say("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            peer.rest().await;
        })
        .await;
        let failure = h2_client(&server).get().await.unwrap_err();
        assert!(
            failure.to_string().ends_with("set upstream.version = \"1.1\")"),
            "{failure}"
        );
    });
}

#[test]
fn for_an_address_that_is_not_there_no_more_connections_are_made() {
    run(async {
        let held = tokio::net::TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let server = serve_h2(100, |_, _, _, mut responder| async move {
            answer(&mut responder, "ok");
            After::Stay
        })
        .await;
        let (mut upstream, retry) = settings(vec![
            destination(held.local_addr().unwrap()),
            destination(server.address),
        ]);
        upstream.version = UpstreamVersion::Http2;
        let client = client_of(&upstream, &retry);
        for _ in 0..8 {
            assert_eq!(client.get().await.unwrap().body, b"ok");
        }
        assert_eq!(server.connections.get(), 1);
    });
}

/// A frame: what it is, its flags, its stream and what is in it.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Answers each request with frames, in one write, as `script` makes them for its stream.
async fn answer_in_frames(mut peer: Peer, script: impl Fn(u8) -> Vec<u8>) {
    const PREFACE: usize = 24;
    peer.bytes(PREFACE).await;
    peer.say(frame(4, 0, 0, &[])).await;
    loop {
        let header = peer.bytes(9).await;
        let &[high, middle, low, kind, _, _, _, _, stream] = header.as_slice() else {
            return;
        };
        peer.bytes(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
            .await;
        match kind {
            1 => peer.say(script(stream)).await,
            4 => peer.say(frame(4, 1, 0, &[])).await,
            _ => {}
        }
    }
}

#[test]
fn a_reset_without_an_error_ends_no_answer() {
    // `:status: 200`, and with `content-length: 10`.
    const HEAD: &[u8] = &[0x88];
    const HEAD_WITH_LENGTH: &[u8] = b"\x88\x0f\x0d\x0210";
    let cut = |head: &'static [u8], stream| {
        let reset = frame(3, 0, stream, &[0; 4]);
        [frame(1, 4, stream, head), frame(0, 0, stream, b"hello"), reset].concat()
    };
    run(async move {
        let server = serve(move |_, peer| answer_in_frames(peer, move |stream| cut(HEAD, stream))).await;
        // Nothing is known of its length, and it was begun.
        let outcome = h2_client(&server).get().await.unwrap();
        assert_eq!(outcome.body, b"hello");
        let end = outcome.end;
        assert!(
            matches!(
                end,
                Err(Failure::Incomplete {
                    have: 5,
                    expected: None,
                    reset: true
                })
            ),
            "{end:?}"
        );
    });
    run(async move {
        let server = serve(move |number, peer| {
            answer_in_frames(peer, move |stream| match number {
                1 => cut(HEAD_WITH_LENGTH, stream),
                _ => [frame(1, 4, stream, HEAD), frame(0, 1, stream, b"whole")].concat(),
            })
        })
        .await;
        let (account, outcome) = h2_client(&server).send(Method::GET, TestBody::none()).await;
        assert_eq!(outcome.unwrap().body, b"whole");
        assert_eq!(account.borrow().attempts.len(), 2);
    });
    // The near miss: an answer that was whole before (RFC 9113, section 8.1).
    run(async {
        let server = serve_h2(100, |_, _, request, mut responder| async move {
            answer(&mut responder, "early");
            // h2 resets a request that it does not read, without an error.
            drop(request);
            After::Stay
        })
        .await;
        let client = h2_client(&server);
        for _ in 0..20 {
            let (feed, body) = TestBody::fed(None);
            feed.send(Ok(Frame::data("some".into()))).unwrap();
            let (_, outcome) = client.send(Method::POST, body).await;
            let outcome = outcome.unwrap();
            assert_eq!(outcome.body, b"early");
            assert!(outcome.end.is_ok(), "{outcome:?}");
        }
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn trailers_behind_a_small_body_of_a_known_length_pass() {
    run(async {
        let server = serve_h2(100, |_, _, request, mut responder| async move {
            let mut body = request.into_body();
            while body.data().await.is_some() {}
            let sum = body.trailers().await.unwrap().unwrap()["x-sum"].clone();
            let head = Response::builder().header("content-length", "5").body(()).unwrap();
            let mut stream = responder.send_response(head, false).unwrap();
            stream.send_data("hello".into(), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", sum);
            stream.send_trailers(trailers).unwrap();
            After::Stay
        })
        .await;
        let (feed, body) = TestBody::fed(Some(4));
        feed.send(Ok(Frame::data("body".into()))).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "13".parse().unwrap());
        feed.send(Ok(Frame::trailers(trailers))).unwrap();
        drop(feed);
        let (_, outcome) = h2_client(&server).send(Method::POST, body).await;
        let outcome = outcome.unwrap();
        assert_eq!(outcome.body, b"hello");
        assert_eq!(outcome.trailers.unwrap()["grpc-status"], "13");
        assert!(outcome.end.is_ok());
    });
}

/// Sends so many frames of one byte, as the window allows, and the end of the answer.
async fn tiny_frames(responder: &mut Responder, count: usize) {
    let mut stream = responder.send_response(Response::new(()), false).unwrap();
    for _ in 0..count {
        stream.reserve_capacity(1);
        if !matches!(poll_fn(|cx| stream.poll_capacity(cx)).await, Some(Ok(_))) {
            return;
        }
        stream.send_data("x".into(), false).unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
}

#[test]
fn an_answer_that_is_not_read_costs_the_others_nothing() {
    // The whole window of a stream.
    const FRAMES: usize = 64 << 10;
    run(async {
        let (sent, mut all) = tokio::sync::mpsc::unbounded_channel();
        let server = serve_h2(100, move |_, count, _, mut responder| {
            let sent = sent.clone();
            async move {
                match count {
                    1 => {
                        tiny_frames(&mut responder, FRAMES).await;
                        sent.send(()).unwrap();
                    }
                    _ => answer(&mut responder, "ok"),
                }
                After::Stay
            }
        })
        .await;
        let client = client_with(&server, |upstream, _| upstream.version = UpstreamVersion::Http2);
        let request = request(Method::GET, TestBody::none());
        let Ok(Answer::Response(unread)) = client.upstream.send(request, &account()).await else {
            panic!("no answer");
        };
        all.recv().await.unwrap();
        assert_eq!(client.post().await.unwrap().body, b"ok");
        let outcome = collect(unread).await;
        assert!(outcome.end.is_ok(), "{:?}", outcome.end);
        assert_eq!(outcome.body.len(), FRAMES);
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn frames_that_nobody_can_hold_are_no_fault_of_the_server() {
    run(async {
        let server = serve_h2(10_000, |_, _, _, mut responder| async move {
            tiny_frames(&mut responder, 64 << 10).await;
            After::Stay
        })
        .await;
        let client = client_with(&server, |upstream, _| upstream.version = UpstreamVersion::Http2);
        let mut unread = Vec::new();
        for _ in 0..2 {
            let request = request(Method::GET, TestBody::none());
            match client.upstream.send(request, &account()).await {
                Ok(Answer::Response(answer)) => unread.push(answer),
                Ok(Answer::Switched(..)) => panic!("switched"),
                Err(failure) => panic!("{failure}"),
            }
        }
        client.until("closed").await;
        // The first was whole before.
        let outcome = collect(unread.pop().unwrap()).await;
        assert!(matches!(outcome.end, Err(Failure::Overrun)), "{:?}", outcome.end);
    });
}

#[test]
fn a_target_that_is_only_a_query_has_a_path() {
    run(async {
        let server = serve_h2(100, |_, _, request, mut responder| async move {
            // Written out, a URI has a path in any case.
            assert_eq!(request.uri().path_and_query().unwrap().as_str(), "/?query");
            answer(&mut responder, "ok");
            After::Stay
        })
        .await;
        let mut request = request(Method::GET, TestBody::none());
        *request.uri_mut() = http::uri::PathAndQuery::from_static("?query").into();
        let (_, outcome) = h2_client(&server).send_request(request).await;
        assert_eq!(outcome.unwrap().body, b"ok");
    });
}

#[test]
fn behind_what_has_no_body_there_is_none() {
    run(async {
        let server = serve_h2(100, |_, _, request, mut responder| async move {
            let mut head = Response::new(());
            if request.method() != Method::HEAD {
                *head.status_mut() = http::StatusCode::NO_CONTENT;
            }
            let mut stream = responder.send_response(head, false).unwrap();
            stream.send_data("no body".into(), true).unwrap();
            After::Stay
        })
        .await;
        let client = h2_client(&server);
        for method in [Method::HEAD, Method::GET] {
            let (_, outcome) = client.send(method, TestBody::none()).await;
            let outcome = outcome.unwrap();
            assert!(outcome.end.is_ok() && outcome.body.is_empty(), "{outcome:?}");
        }
        assert_eq!(server.connections.get(), 1);
    });
}
