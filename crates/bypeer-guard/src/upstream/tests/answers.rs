//! Answers that do not fit, come early, late, slowly or not at all.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{Method, Request};
use http_body::Frame;
use tokio::net::TcpListener;

use super::support::*;
use crate::failure::Failure;
use crate::upstream::habits::REST;

/// Serves every connection by saying these bytes to its first request, and then staying open.
async fn says(bytes: impl AsRef<[u8]> + 'static) -> Server {
    let bytes: std::rc::Rc<[u8]> = bytes.as_ref().into();
    serve(move |_, mut peer| {
        let bytes = bytes.clone();
        async move {
            peer.head().await;
            peer.say(&bytes).await;
            peer.rest().await;
        }
    })
    .await
}

#[test]
fn fields_and_body_are_passed_on() {
    run(async {
        let server = says("HTTP/1.1 201 Created\r\nContent-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello").await;
        let client = client(&server);
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        let outcome = outcome.unwrap();
        assert_eq!((outcome.status.as_u16(), outcome.body.as_slice()), (201, &b"hello"[..]));
        assert_eq!(outcome.fields.get_all("x-a").iter().count(), 2);
        assert_eq!(account.borrow().attempts[0].to.as_ref(), server.address.to_string());
        assert!(account.borrow().attempts[0].first_byte.is_some());
        assert_eq!(client.upstream.idle(), 1);
    });
}

#[test]
fn chunks_and_trailers_are_passed_on_in_whatever_pieces_they_come() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n2\r\n, \r\n5\r\nworld\r\n0\r\nX-Sum: 1\r\n\r\n";
        let server = serve(move |number, mut peer| async move {
            loop {
                if peer.head().await.is_empty() {
                    return;
                }
                match number {
                    1 => peer.say(answer).await,
                    _ => {
                        for byte in answer.as_bytes() {
                            peer.say([*byte]).await;
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }
        })
        .await;
        for _ in 0..2 {
            let client = client(&server);
            for _ in 0..2 {
                let outcome = client.get().await.unwrap();
                assert_eq!(outcome.body, b"hello, world");
                assert_eq!(outcome.trailers.unwrap()["x-sum"], "1");
                assert!(!outcome.fields.contains_key("transfer-encoding"));
                outcome.end.unwrap();
            }
            assert_eq!(client.shared.counters.reused.load(Ordering::Relaxed), 1);
        }
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn surplus_behind_an_answer_costs_the_connection_and_is_told() {
    for (answer, method, body) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
            Method::GET,
            "ok",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\nHTTP/1.1 200 OK\r\n",
            Method::HEAD,
            "",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n", Method::GET, ""),
        ("HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\n", Method::GET, ""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
            Method::GET,
            "ok",
        ),
    ] {
        run(async move {
            let server = says(answer).await;
            let client = client(&server);
            let (account, outcome) = client.send(method, TestBody::none()).await;
            let outcome = outcome.unwrap();
            assert_eq!(outcome.body, body.as_bytes(), "{answer}");
            outcome.end.unwrap();
            assert_eq!(account.borrow().attempts[0].surplus, 17, "{answer}");
            assert!(client.events().contains(&"unsolicited 17".to_owned()));
            assert_eq!(client.upstream.idle(), 0);
        });
    }
}

/// What meets a request on its way cannot answer it: the server's TCP says that it has not one byte of it yet. Here it takes none, as its
/// socket is full of a body that nobody reads.
#[test]
fn an_answer_that_meets_its_request_is_another_ones() {
    for (method, reads, answered) in [
        (Method::GET, false, Ok("1 on 2")),
        (Method::POST, false, Err(())),
        (Method::GET, true, Ok("2 on 1")),
        (Method::POST, true, Ok("2 on 1")),
    ] {
        run(async move {
            let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            listener.set_recv_buffer_size(4096).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            listener.listen(16).unwrap();
            let server = serve_on(
                TcpListener::from_std(listener.into()).unwrap(),
                move |connection, mut peer| async move {
                    peer.head().await;
                    peer.answer(&format!("1 on {connection}")).await;
                    if reads {
                        peer.bytes(BODY).await;
                        peer.head().await;
                    } else {
                        tokio::time::sleep(Duration::from_millis(900)).await;
                    }
                    peer.answer(&format!("2 on {connection}")).await;
                    peer.rest().await;
                },
            );
            let client = client(&server);
            let (_, first) = client.send(Method::POST, TestBody::whole(vec![0_u8; BODY])).await;
            assert_eq!(first.unwrap().body, b"1 on 1");
            assert_eq!(client.upstream.idle(), 1);
            // What cannot be repeated goes only where a close would have come by now.
            tokio::time::sleep(Duration::from_millis(600)).await;
            let (account, second) = client.send(method.clone(), TestBody::none()).await;
            let case = format!("{method}, reads {reads}");
            let first_attempt = &account.borrow().attempts[0];
            assert_eq!(first_attempt.requests_before, 1, "{case}");
            match answered {
                Ok(body) => assert_eq!(second.unwrap().body, body.as_bytes(), "{case}"),
                Err(()) => assert!(matches!(second, Err(Failure::Unsolicited { .. })), "{case}: {second:?}"),
            }
            assert_eq!(
                client.events().contains(&"unsolicited 44".to_owned()),
                !reads,
                "{case}: {:?}",
                client.events()
            );
        });
    }
    const BODY: usize = 20_000;
}

#[test]
fn a_head_and_no_more_is_the_whole_answer_to_head() {
    run(async {
        let server = says("HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n").await;
        let client = client(&server);
        let (account, outcome) = client.send(Method::HEAD, TestBody::none()).await;
        assert_eq!(outcome.unwrap().fields["content-length"], "17");
        assert_eq!(account.borrow().attempts[0].surplus, 0);
        assert_eq!(client.upstream.idle(), 1);
    });
}

#[test]
fn bytes_on_an_idle_connection_cost_it_and_no_request() {
    run(async {
        let server = serve(|number, mut peer| async move {
            peer.head().await;
            peer.answer("first").await;
            if number == 1 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign").await;
            }
            peer.rest().await;
        })
        .await;
        let client = client(&server);
        client.get().await.unwrap();
        client.until("unsolicited").await;
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        assert_eq!(outcome.unwrap().body, b"first");
        assert_eq!(account.borrow().attempts.len(), 1);
        assert_eq!(server.connections.get(), 2);
        assert_eq!(client.shared.counters.unsolicited.load(Ordering::Relaxed), 1);
    });
}

/// What is written again some milliseconds late would meet the next request where that goes out at once. While a server is on trial it
/// does not.
#[test]
fn an_answer_written_again_late_meets_no_request_of_a_server_on_trial() {
    for (trial, answered, connections) in [(1, "1 on 2", 2), (0, "1 on 1", 1)] {
        run(async move {
            let answered_once = Rc::new(tokio::sync::Notify::new());
            let heard = answered_once.clone();
            let server = serve(move |connection, mut peer| {
                let heard = heard.clone();
                async move {
                    peer.head().await;
                    peer.answer(&format!("1 on {connection}")).await;
                    if connection == 1 {
                        heard.notified().await;
                        peer.answer(&format!("1 on {connection}")).await;
                    }
                    peer.rest().await;
                }
            })
            .await;
            let client = client_with(&server, |upstream, _| upstream.trial = trial);
            assert_eq!(client.get().await.unwrap().body, b"1 on 1");
            // All of it is one thread: the server goes on when the next request is sent, or rests.
            answered_once.notify_one();
            assert_eq!(client.get().await.unwrap().body, answered.as_bytes(), "trial {trial}");
            assert_eq!(server.connections.get(), connections, "trial {trial}");
        });
    }
}

#[test]
fn a_trial_costs_rests_and_no_connections() {
    run(async {
        let server = serve(|_, peer| peer.answer_all()).await;
        let client = client_with(&server, |upstream, _| upstream.trial = 3);
        let on_trial = || client.shared.habits().all(|(_, habits)| habits.is_on_trial(3));
        client.get().await.unwrap();
        for turn in 0..5 {
            assert_eq!(on_trial(), turn < 3, "turn {turn}");
            let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
            outcome.unwrap();
            let idle = account.borrow().attempts[0].idle.unwrap();
            assert!(turn >= 3 || idle >= REST, "turn {turn}: {idle:?}");
        }
        assert_eq!(server.connections.get(), 1);
    });
    run(async {
        // Side by side, each waits for the connection of one that came before.
        let server = serve(|_, peer| peer.answer_all()).await;
        let client = client(&server);
        for _ in 0..3 {
            let (first, second, third) = tokio::join!(client.get(), client.get(), client.get());
            assert!([first, second, third].iter().all(Result::is_ok));
        }
        assert_eq!(server.connections.get(), 3);
    });
}

#[test]
fn foreign_bytes_that_nobody_noticed_are_seen_before_reuse() {
    run(async {
        let (say, mut said) = tokio::sync::mpsc::channel::<()>(1);
        let server = serve(move |number, mut peer| {
            let say = say.clone();
            async move {
                if number == 1 {
                    peer.head().await;
                    peer.answer("a").await;
                    peer.answer("foreign").await;
                    say.send(()).await.unwrap();
                }
                peer.answer_all().await;
            }
        })
        .await;
        let client = client(&server);
        // Whatever of the foreign answer is here with the first: it is not the answer to the second.
        assert_eq!(client.get().await.unwrap().body, b"a");
        said.recv().await.unwrap();
        assert_eq!(client.get().await.unwrap().body, b"1");
        assert_eq!(client.shared.counters.unsolicited.load(Ordering::Relaxed), 1);
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn what_is_no_answer_is_refused_and_not_asked_for_again() {
    for (answer, wrong) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
            "it has several lengths that differ",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nabc",
            "it has both Content-Length and Transfer-Encoding",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
            "its Transfer-Encoding is not chunked",
        ),
        ("SSH-2.0-OpenSSH_9.2p1\r\n", "it does not begin with HTTP/1"),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "it switches protocols, and was not asked to",
        ),
    ] {
        run(async move {
            let server = says(answer).await;
            let client = client(&server);
            let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
            let failure = outcome.unwrap_err();
            match &failure {
                Failure::Malformed(reason) if wrong.starts_with("it does not begin") => assert!(!reason.is_empty()),
                Failure::Malformed(reason) => assert_eq!(*reason, wrong),
                other => panic!("{other:?}"),
            }
            assert_eq!(failure.status().as_u16(), 502);
            assert_eq!(account.borrow().attempts.len(), 1);
            assert_eq!(client.upstream.idle(), 0);
        });
    }
}

#[test]
fn what_does_not_fit_on_a_used_connection_is_asked_for_again() {
    run(async {
        let server = serve(|number, mut peer| async move {
            peer.head().await;
            peer.answer("x").await;
            if number == 1 {
                peer.head().await;
                // The rest of an answer to somebody else.
                peer.say("ar of another answer\r\n").await;
                peer.rest().await;
            }
        })
        .await;
        let client = client(&server);
        client.get().await.unwrap();
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        assert_eq!(outcome.unwrap().body, b"x");
        assert!(matches!(
            account.borrow().attempts[0].failure,
            Some(Failure::Malformed(_))
        ));
    });
}

#[test]
fn wrong_chunks_cut_the_answer() {
    run(async {
        let server = says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n").await;
        let client = client(&server);
        let outcome = client.get().await.unwrap();
        assert_eq!(outcome.body, b"hello");
        assert!(matches!(outcome.end, Err(Failure::Malformed(_))), "{outcome:?}");
        assert_eq!(client.upstream.idle(), 0);
    });
}

#[test]
fn endless_heads_have_an_end() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\n").await;
            for _ in 0..100_000 {
                peer.say("X-More: and more\r\n").await;
            }
        })
        .await;
        let client = client(&server);
        let outcome = client.get().await;
        assert!(
            matches!(
                outcome,
                Err(Failure::HeadTooLarge { limit: 65536 } | Failure::Malformed(_))
            ),
            "{outcome:?}"
        );
    });
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.head().await;
            loop {
                peer.say("HTTP/1.1 102 Processing\r\n\r\n").await;
                tokio::task::yield_now().await;
                if peer.stream.peer_addr().is_err() || peer.stream.try_write(b"").is_err() {
                    return;
                }
            }
        })
        .await;
        let outcome = client(&server).get().await;
        assert!(
            matches!(outcome, Err(Failure::Malformed("it has no end of interim answers"))),
            "{outcome:?}"
        );
    });
}

#[test]
fn interim_answers_are_passed_over() {
    run(async {
        let server = says(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
        let client = client(&server);
        assert_eq!(client.get().await.unwrap().body, b"ok");
        assert_eq!(client.upstream.idle(), 1);
    });
}

#[test]
fn every_wait_has_an_end() {
    let short = Duration::from_millis(150);
    // (what the server says, the failure's name)
    for (says_what, name) in [
        ("", "AnswerTimeout"),
        ("HTTP/1.1 103 Early Hints\r\n\r\n", "AnswerTimeout"),
        ("HTTP/1.1 200 O", "BodyTimeout"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx", "cut BodyTimeout"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "cut BodyTimeout",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "cut BodyTimeout"),
    ] {
        run(async move {
            let server = says(says_what).await;
            let client = client_with(&server, |upstream, _| {
                upstream.answer = short;
                upstream.silence = short;
            });
            let began = Instant::now();
            let told = match client.get().await {
                Ok(outcome) => format!("cut {:?}", outcome.end.unwrap_err()),
                Err(failure) => {
                    assert_eq!(failure.status().as_u16(), 504);
                    format!("{failure:?}")
                }
            };
            assert_eq!(told, name, "{says_what}");
            assert!(began.elapsed() >= short, "{says_what}");
            assert_eq!(client.upstream.idle(), 0);
        });
    }
}

#[test]
fn a_head_that_trickles_has_an_end() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nX: ").await;
            for _ in 0..500 {
                peer.say("a").await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let client = client_with(&server, |upstream, _| upstream.silence = Duration::from_millis(200));
        assert!(matches!(client.get().await, Err(Failure::BodyTimeout)));
    });
}

#[test]
fn a_server_that_takes_no_more_has_an_end() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.head().await;
            tokio::time::sleep(Duration::from_secs(100)).await;
        })
        .await;
        let client = client_with(&server, |upstream, _| upstream.silence = Duration::from_millis(200));
        let (_, outcome) = client.send(Method::POST, TestBody::whole(vec![0; 32 << 20])).await;
        assert!(matches!(outcome, Err(Failure::WriteTimeout)), "{outcome:?}");
    });
}

#[test]
fn slow_is_not_too_slow() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                peer.say(vec![b'x'; 10_000]).await;
            }
            peer.rest().await;
        })
        .await;
        let client = client_with(&server, |upstream, _| upstream.silence = Duration::from_millis(700));
        let outcome = client.get().await.unwrap();
        outcome.end.unwrap();
        assert_eq!(outcome.body.len(), 100_000);
        assert_eq!(client.upstream.idle(), 1);
    });
}

#[test]
fn an_answer_may_come_before_the_request_is_whole() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            // An echo: each side waits for the other.
            loop {
                let piece = peer.bytes("3\r\nabc\r\n".len()).await;
                if piece.len() < 8 {
                    return peer.say("0\r\n\r\n").await;
                }
                peer.say(piece).await;
            }
        })
        .await;
        let client = client(&server);
        let (feed, body) = TestBody::fed(None);
        let account = account();
        let answer = client.upstream.send(request(Method::POST, body), &account).await;
        let Ok(super::super::Answer::Response(response)) = answer else {
            panic!("no answer");
        };
        let mut body = response.into_body();
        for _ in 0..3 {
            feed.send(Ok(Frame::data("abc".into()))).unwrap();
            let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)).await;
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "abc");
        }
        drop(feed);
    });
}

#[test]
fn an_early_answer_does_not_wait_for_the_client() {
    run(async {
        let server = says("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").await;
        let client = client(&server);
        let (feed, body) = TestBody::fed(Some(1 << 20));
        feed.send(Ok(Frame::data("some".into()))).unwrap();
        let (_, outcome) = client.send(Method::POST, body).await;
        let outcome = outcome.unwrap();
        assert_eq!((outcome.status.as_u16(), outcome.body.as_slice()), (401, &b"no"[..]));
        // It owes the server the rest of the body.
        assert_eq!(client.upstream.idle(), 0);
        drop(feed);
    });
}

#[test]
fn the_body_is_not_asked_for_before_the_server_asks() {
    for (says_what, status, asked) in [
        (
            "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
            417,
            false,
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n", 200, true),
        ("", 200, true),
    ] {
        run(async move {
            let server = serve(move |_, mut peer| async move {
                let head = peer.head().await;
                assert!(head.contains("Expect: 100-continue\r\n"), "{head}");
                peer.say(says_what).await;
                if asked {
                    assert_eq!(peer.bytes(4).await, b"body");
                    peer.answer("ok").await;
                }
                peer.rest().await;
            })
            .await;
            let client = client(&server);
            let body = TestBody::whole("body");
            let polled = body.polled.clone();
            let request = Request::post("/")
                .header("host", "x")
                .header("expect", "100-continue")
                .body(body)
                .unwrap();
            let (_, outcome) = client.send_request(request).await;
            assert_eq!(outcome.unwrap().status.as_u16(), status);
            assert_eq!(polled.get(), asked);
            assert_eq!(client.upstream.idle(), usize::from(asked));
        });
    }
}

#[test]
fn a_body_that_is_not_read_gives_up_the_connection() {
    run(async {
        let server = says("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx").await;
        let client = client(&server);
        let account = account();
        let answer = client
            .upstream
            .send(request(Method::GET, TestBody::none()), &account)
            .await;
        drop(answer);
        assert_eq!(client.events(), ["opened", "closed"]);
    });
}

#[test]
fn after_foreign_bytes_each_request_has_a_connection_that_says_close() {
    run(async {
        let heads = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let seen = heads.clone();
        let server = serve(move |number, mut peer| {
            let seen = seen.clone();
            async move {
                loop {
                    let head = peer.head().await;
                    if head.is_empty() {
                        return;
                    }
                    seen.borrow_mut().push((number, head.to_ascii_lowercase()));
                    peer.answer("a").await;
                    if seen.borrow().len() == 2 {
                        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign").await;
                    }
                }
            }
        })
        .await;
        let client = client(&server);
        for _ in 0..2 {
            client.get().await.unwrap();
        }
        client.until("unsolicited").await;
        for _ in 0..3 {
            assert_eq!(client.get().await.unwrap().body, b"a");
        }
        let heads = heads.borrow();
        let connections: Vec<usize> = heads.iter().map(|(number, _)| *number).collect();
        assert_eq!(connections, [1, 1, 2, 3, 4]);
        for (number, head) in heads.iter() {
            assert_eq!(head.contains("connection: close"), *number > 1, "{head}");
        }
    });
}

#[test]
fn a_good_bye_on_an_idle_connection_is_no_foreign_answer() {
    run(async {
        let server = serve(|number, mut peer| async move {
            peer.head().await;
            peer.answer("a").await;
            if number == 1 {
                // Late enough to be the idle time's, and not the answer's.
                tokio::time::sleep(Duration::from_millis(700)).await;
                peer.say("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                    .await;
                return;
            }
            peer.answer_all().await;
        })
        .await;
        let client = client(&server);
        client.get().await.unwrap();
        client.until("closed idle").await;
        assert_eq!(client.shared.counters.unsolicited.load(Ordering::Relaxed), 0);
        for _ in 0..2 {
            client.get().await.unwrap();
        }
        assert_eq!(server.connections.get(), 2, "connections are still used again");
    });
}

/// Heads that parsers read differently (RFC 9112, sections 2.2 and 5.2): none is passed on, and none takes a neighbour's place.
#[test]
fn heads_that_could_be_read_in_two_ways_are_refused() {
    for head in [
        "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: a\rContent-Length: 5\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: a\r\n folded: b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: empty\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\0: a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1,\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ] {
        run(async move {
            let server = says(head).await;
            let client = client(&server);
            let outcome = client.get().await;
            assert!(matches!(outcome, Err(Failure::Malformed(_))), "{head:?}: {outcome:?}");
            assert_eq!(client.upstream.idle(), 0, "{head:?}");
        });
    }
}

/// A client that goes away, at whatever moment, gives its connection back to nobody and its leave to the next.
#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let states = [
        "",
        "HTTP/1.1 1",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
        "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\nX: ",
        "HTTP/1.1 200 OK\r\n\r\n12345",
    ];
    for said in states {
        for upload in [false, true] {
            run(async move {
                let server = says(said).await;
                let client = client_with(&server, |upstream, _| upstream.most = 1);
                let (feed, mut body) = TestBody::fed(Some(1 << 20));
                feed.send(Ok(Frame::data(vec![0; 1000].into()))).unwrap();
                if !upload {
                    body = TestBody::none();
                }
                let exchange = client.send(Method::POST, body);
                let gone = tokio::time::timeout(Duration::from_millis(20), exchange).await;
                assert!(gone.is_err(), "{said:?}");
                assert_eq!(client.upstream.idle(), 0, "{said:?}");
                assert_eq!(client.shared.limit.available_permits(), 1, "{said:?}");
            });
        }
    }
}
