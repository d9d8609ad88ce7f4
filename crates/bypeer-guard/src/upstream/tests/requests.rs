//! What the server sees of a request.

use std::time::Duration;

use http::{HeaderMap, Method, Request};
use http_body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::*;
use crate::failure::Failure;

/// What the server's first read gives, and what comes until the client closes.
async fn recorded(client_of: impl Fn(&Server) -> Client, request: Request<TestBody>) -> (String, String) {
    let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
    let server = serve(move |_, mut peer| {
        let say = say.clone();
        async move {
            let mut first = vec![0; 1 << 20];
            let count = peer.stream.read(&mut first).await.unwrap();
            let first = String::from_utf8_lossy(&first[..count]).into_owned();
            let mut all = first.clone().into_bytes();
            while !(all.ends_with(b"\r\n\r\n") || all.ends_with(b"end")) && peer.more().await {
                all.extend(peer.taken());
            }
            peer.answer("ok").await;
            say.send((first, String::from_utf8_lossy(&all).into_owned())).unwrap();
            peer.rest().await;
        }
    })
    .await;
    let client = client_of(&server);
    client.send_request(request).await.1.unwrap();
    said.recv().await.unwrap()
}

fn post(body: TestBody) -> Request<TestBody> {
    Request::post("/a?b").header("host", "h").body(body).unwrap()
}

#[test]
fn head_and_small_body_are_one_write() {
    for size in [3, 20_000, 60_000] {
        run(async move {
            let mut body = vec![b'x'; size - 3];
            body.extend_from_slice(b"end");
            let (first, _) = recorded(client, post(TestBody::whole(body))).await;
            assert!(
                first.starts_with(&format!(
                    "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n"
                )),
                "{size}"
            );
            assert!(
                first.ends_with("end"),
                "{size}: {} bytes in the first read",
                first.len()
            );
        });
    }
}

#[test]
fn a_small_body_that_comes_in_pieces_is_gathered() {
    run(async {
        let (feed, body) = TestBody::fed(Some(6));
        tokio::task::spawn_local(async move {
            for piece in ["abc", "", "end"] {
                tokio::time::sleep(Duration::from_millis(20)).await;
                feed.send(Ok(Frame::data(piece.into()))).unwrap();
            }
        });
        let (first, _) = recorded(client, post(body)).await;
        assert_eq!(
            first,
            "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabcend"
        );
    });
}

#[test]
fn a_body_of_unknown_length_is_chunked_with_its_trailers() {
    run(async {
        let (feed, body) = TestBody::fed(None);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        for frame in [
            Frame::data("hello".into()),
            Frame::data("".into()),
            Frame::data(vec![b'y'; 5000].into()),
            Frame::trailers(trailers),
        ] {
            feed.send(Ok(frame)).unwrap();
        }
        drop(feed);
        let (_, all) = recorded(client, post(body)).await;
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with("Transfer-Encoding: chunked"), "{head}");
        assert_eq!(
            body,
            format!("5\r\nhello\r\n1388\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n", "y".repeat(5000))
        );
    });
}

#[test]
fn the_head_does_not_wait_for_a_body_that_streams() {
    run(async {
        let (feed, body) = TestBody::fed(None);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            feed.send(Ok(Frame::data("late".into()))).unwrap();
        });
        let (first, _) = recorded(client, post(body)).await;
        assert!(first.ends_with("\r\n\r\n"), "{first}");
    });
}

#[test]
fn a_client_that_fails_or_lies_about_its_body_is_the_clients_failure() {
    let cut: fn() -> TestBody = || {
        let (feed, body) = TestBody::fed(None);
        feed.send(Ok(Frame::data("some".into()))).unwrap();
        feed.send(Err(Failure::ClientGone)).unwrap();
        body
    };
    let short: fn() -> TestBody = || {
        let (feed, body) = TestBody::fed(Some(100_000));
        feed.send(Ok(Frame::data("some".into()))).unwrap();
        body
    };
    let long: fn() -> TestBody = || {
        let (feed, body) = TestBody::fed(Some(100_000));
        for _ in 0..2 {
            feed.send(Ok(Frame::data(vec![0; 60_000].into()))).unwrap();
        }
        body
    };
    let short_small: fn() -> TestBody = || {
        let (feed, body) = TestBody::fed(Some(100));
        feed.send(Ok(Frame::data("some".into()))).unwrap();
        body
    };
    for (number, make) in [cut, short, long, short_small].into_iter().enumerate() {
        run(async move {
            let server = serve(|_, mut peer| async move {
                peer.rest().await;
            })
            .await;
            let client = client(&server);
            let (_, outcome) = client.send(Method::PUT, make()).await;
            let failure = outcome.unwrap_err();
            assert_eq!(failure.proxy_error(), "http_request_error", "{number}: {failure:?}");
            assert_eq!(client.upstream.idle(), 0);
            assert!(server.connections.get() <= 1);
        });
    }
}

#[test]
fn connections_for_one_request_say_so() {
    run(async {
        let (first, _) = recorded(
            |server| client_with(server, |upstream, _| upstream.keep = 0),
            post(TestBody::whole("end")),
        )
        .await;
        assert!(first.contains("Connection: close\r\n"), "{first}");
        let (first, _) = recorded(client, post(TestBody::whole("end"))).await;
        assert!(!first.contains("Connection"), "{first}");
    });
}

#[test]
fn a_switch_of_protocols_gives_the_stream_with_what_came_behind_the_head() {
    run(async {
        let server = serve(|_, mut peer| async move {
            let head = peer.head().await;
            assert!(head.contains("Connection: upgrade\r\nUpgrade: echo\r\n"), "{head}");
            peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nhello")
                .await;
            let said = peer.rest().await;
            peer.say(said).await;
        })
        .await;
        let client = client(&server);
        let request = Request::get("/")
            .header("host", "h")
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(TestBody::none())
            .unwrap();
        let (response, mut tunnel) = client.switch(request).await;
        assert_eq!(response.status().as_u16(), 101);
        assert_eq!(response.headers()["upgrade"], "echo");
        let mut begin = [0; 5];
        tunnel.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"hello");
        tunnel.write_all(b"and back").await.unwrap();
        // The end of our stream, not of the other.
        tunnel.shutdown().await.unwrap();
        let mut rest = Vec::new();
        tunnel.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"and back");
        drop(tunnel);
        assert_eq!(client.events(), ["opened", "closed"]);
    });
}

#[test]
fn a_switch_that_is_refused_is_an_answer_like_others() {
    run(async {
        let server = serve(|_, peer| peer.answer_all()).await;
        let client = client(&server);
        let request = Request::get("/")
            .header("host", "h")
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(TestBody::none())
            .unwrap();
        assert_eq!(client.send_request(request).await.1.unwrap().body, b"1");
        assert_eq!(client.upstream.idle(), 1);
    });
}

#[test]
fn connect_makes_a_tunnel_of_2xx_and_an_answer_of_others() {
    run(async {
        let server = serve(|number, mut peer| async move {
            assert!(
                peer.head()
                    .await
                    .starts_with("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n")
            );
            if number == 1 {
                peer.say("HTTP/1.1 200 Connected\r\nContent-Length: 99\r\n\r\nx").await;
            } else {
                peer.say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
            }
            peer.rest().await;
        })
        .await;
        let client = client(&server);
        let request = || Request::connect("example.org:443").body(TestBody::none()).unwrap();
        let (_, mut tunnel) = client.switch(request()).await;
        assert_eq!(tunnel.read_u8().await.unwrap(), b'x');
        assert_eq!(client.send_request(request()).await.1.unwrap().body, b"no");
    });
}
