//! Answers that come while the request is on its way, and ends that come before it.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;

use super::super::Answer;
use super::super::exchange::Exchange;
use super::super::sending::Source;
use super::super::stream::Held;
use super::support::*;
use crate::failure::Failure;

/// A server in a thread, as a loop that is kept from reading must not keep it from closing.
fn blocking<T: Send + 'static>(
    script: impl FnOnce(std::net::TcpStream) -> T + Send + 'static,
) -> (SocketAddr, std::thread::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || script(listener.accept().unwrap().0));
    (address, thread)
}

fn client_to(address: SocketAddr) -> Client {
    let (upstream, retry) = settings(vec![destination(address)]);
    client_of(&upstream, &retry)
}

/// 1 MB is on its way, the server reads a part, answers, and closes: a reset. The loop reads only after that, so that all of the answer must
/// have fitted into the window. 128 KB do without a larger buffer.
#[test]
fn an_answer_larger_than_the_first_window_is_there_before_the_reset() {
    const BODY: usize = 160 << 10;
    for _ in 0..10 {
        let (asked, until_asked) = std::sync::mpsc::channel();
        let (closed, until_closed) = std::sync::mpsc::channel();
        let (address, thread) = blocking(move |mut stream| {
            stream.read_exact(&mut [0; 100]).unwrap();
            asked.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            let head = format!("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: {BODY}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&vec![b'x'; BODY]).unwrap();
            // A busy kernel takes its time to deliver what the window has room for; what it has none for stays here.
            let late = Instant::now() + Duration::from_secs(5);
            while lingering::unsent(&stream).is_some_and(|bytes| bytes > 0) && Instant::now() < late {
                std::thread::yield_now();
            }
            drop(stream);
            closed.send(()).unwrap();
        });
        run(async move {
            let client = client_to(address);
            let (feed, body) = TestBody::fed(Some(1 << 20));
            feed.send(Ok(Frame::data(vec![0; 1 << 20].into()))).unwrap();
            let account = account();
            let mut sending = Box::pin(client.upstream.send(request(Method::POST, body), &account));
            while until_asked.try_recv().is_err() {
                let early = tokio::time::timeout(Duration::from_millis(1), &mut sending).await;
                assert!(early.is_err(), "an answer to no request");
            }
            until_closed.recv_timeout(Duration::from_secs(10)).unwrap();
            let Ok(Answer::Response(response)) = sending.await else {
                panic!("no answer");
            };
            let outcome = collect(response).await;
            assert_eq!(outcome.status.as_u16(), 404);
            outcome.end.unwrap();
            assert_eq!(outcome.body.len(), BODY);
        });
        thread.join().unwrap();
    }
}

/// Feeds a body until the answer's head is there, and gives what was fed and the answer.
async fn feed_until_answered(client: &Client) -> (Feed, http::Response<super::super::ResponseBody<TestBody>>) {
    let (feed, body) = TestBody::fed(Some(1 << 20));
    feed.send(Ok(Frame::data(Bytes::from_static(&[0; 1000])))).unwrap();
    match client.upstream.send(request(Method::POST, body), &account()).await {
        Ok(Answer::Response(response)) => (feed, response),
        _ => panic!("no answer"),
    }
}

#[test]
fn a_refusal_that_closes_ends_the_upload_and_lets_the_client_go() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n")
                .await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let came = peer.taken().len();
            peer.say(vec![b'x'; 100_000 - 7]).await;
            peer.say(format!("{came:07}")).await;
            peer.rest().await;
        })
        .await;
        let client = client(&server);
        let (feed, response) = feed_until_answered(&client).await;
        // The client's body is let go of at once, not when the answer, which may be waiting for the client, is at its end.
        feed.closed().await;
        let outcome = collect(response).await;
        outcome.end.unwrap();
        assert_eq!(outcome.body.len(), 100_000);
        assert_eq!(client.upstream.idle(), 0);
    });
}

/// How long a server waits for the rest of an upload behind an answer's head that makes it chunked.
async fn waits_behind(head: &'static str) -> Duration {
    let (waited, until_waited) = tokio::sync::oneshot::channel();
    let waited = std::cell::RefCell::new(Some(waited));
    let server = serve(move |_, mut peer| {
        let waited = waited.take();
        async move {
            peer.head().await;
            peer.bytes(1000).await;
            peer.say(format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
            let began = Instant::now();
            assert_eq!(peer.bytes(4000).await.len(), 4000);
            waited.unwrap().send(began.elapsed()).unwrap();
            peer.say("2\r\nok\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let client = client(&server);
    let (feed, response) = feed_until_answered(&client).await;
    feed.send(Ok(Frame::data(Bytes::from_static(&[0; 4000])))).unwrap();
    let outcome = collect(response).await;
    outcome.end.unwrap();
    assert_eq!(outcome.body, b"ok");
    until_waited.await.unwrap()
}

#[test]
fn only_a_refusal_makes_the_upload_wait_and_not_for_ever() {
    run(async {
        for head in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n"] {
            let waited = waits_behind(head).await;
            assert!(waited < Duration::from_millis(900), "{head}: {waited:?}");
        }
        // This one goes on only when it has the rest.
        let waited = waits_behind("HTTP/1.1 401 Unauthorized\r\n").await;
        assert!(waited >= Duration::from_millis(900), "{waited:?}");
    });
}

#[test]
fn a_switch_of_protocols_within_a_request_is_none() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
                .await;
            peer.rest().await;
        })
        .await;
        let client = client(&server);
        let (feed, body) = TestBody::fed(Some(1 << 20));
        feed.send(Ok(Frame::data(Bytes::from_static(b"GET / HTTP/1.1"))))
            .unwrap();
        let request = Request::post("/")
            .header("host", "h")
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(body)
            .unwrap();
        let answer = client.upstream.send(request, &account()).await;
        assert!(matches!(answer, Err(Failure::Malformed(_))));
        assert_eq!(client.upstream.idle(), 0);
    });
}

/// How the server's side ends, around a request that is written when the end has come.
async fn ends(end: impl FnOnce(std::net::TcpStream) -> Option<std::net::TcpStream> + Send + 'static) -> bool {
    let (address, thread) = blocking(move |stream| {
        let kept = end(stream);
        std::thread::sleep(Duration::from_millis(200));
        drop(kept);
    });
    let client = client_to(address);
    let worker = &client.upstream.worker;
    let (connection, now) = worker.acquire(false, Some(0), &account()).await.unwrap();
    while connection.peek() == Held::Nothing {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (parts, body) = request(Method::POST, TestBody::whole("once")).into_parts();
    let source = Source::gather(body, 1000).await.unwrap();
    let mut exchange = Exchange::new(connection, now, &parts, source, worker, &account());
    let failure = poll_fn(|cx| exchange.poll_head(cx)).await.unwrap_err();
    let failed = exchange.fail(failure);
    assert!(matches!(
        failed.failure,
        Failure::ClosedUnanswered | Failure::Reset { .. }
    ));
    thread.join().unwrap();
    failed.unprocessed
}

#[test]
fn a_server_that_had_closed_before_the_request_came_has_not_processed_it() {
    run(async {
        assert!(
            ends(|stream| {
                drop(stream);
                None
            })
            .await
        );
    });
}

/// The request came, was read, and acknowledged by the FIN or not at all: that it was not processed cannot be known.
#[test]
fn one_that_ends_behind_the_request_may_have_processed_it() {
    for (reset, half) in [(false, false), (true, false), (false, true)] {
        run(async move {
            let (address, thread) = blocking(move |mut stream| {
                let mut read = Vec::new();
                while !read.ends_with(b"once") {
                    let mut bytes = [0; 100];
                    let count = stream.read(&mut bytes).unwrap();
                    read.extend_from_slice(&bytes[..count]);
                }
                if reset {
                    socket2::SockRef::from(&stream)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                }
                if half {
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                }
            });
            let client = client_to(address);
            let (account, outcome) = client.send(Method::POST, TestBody::whole("once")).await;
            match outcome {
                Err(Failure::Reset { .. }) => assert!(reset),
                Err(Failure::ClosedUnanswered) => assert!(!reset),
                other => panic!("{other:?}"),
            }
            assert_eq!(account.borrow().attempts.len(), 1);
            drop(client);
            thread.join().unwrap();
        });
    }
}

#[test]
fn a_reset_tells_how_much_of_the_request_was_acknowledged() {
    run(async {
        let (address, thread) = blocking(|mut stream| {
            let mut bytes = [0; 1000];
            let mut read = 0;
            while !bytes[..read].ends_with(b"once") {
                read += stream.read(&mut bytes[read..]).unwrap();
            }
            // Longer than Linux delays an acknowledgment (TCP_DELACK_MAX, 200 ms).
            std::thread::sleep(Duration::from_millis(400));
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(stream);
            read as u64
        });
        let client = client_to(address);
        let (_, outcome) = client.send(Method::POST, TestBody::whole("once")).await;
        let failure = outcome.unwrap_err();
        let read = thread.join().unwrap();
        assert!(
            matches!(failure, Failure::Reset { acknowledged: Some(bytes) } if bytes == read),
            "{failure:?}"
        );
        assert!(
            failure
                .to_string()
                .ends_with(&format!("had acknowledged {read} bytes of the request"))
        );
    });
}
