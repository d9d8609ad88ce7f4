//! Connections that end before, in and behind an answer.

use std::io::{Read, Write};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;

use super::super::Answer;
use super::support::*;
use crate::failure::Failure;

/// Makes the server one that has proved to keep connections, with one connection idle.
async fn prove(client: &Client) {
    client.get().await.unwrap();
    client.get().await.unwrap();
}

#[test]
fn a_fin_on_an_idle_connection_costs_no_request() {
    for reset in [false, true] {
        run(async move {
            let server = serve(move |number, mut peer| async move {
                peer.head().await;
                peer.answer("first").await;
                match (number, reset) {
                    (1, true) => peer.reset(),
                    (1, false) => {}
                    _ => peer.answer_all().await,
                }
            })
            .await;
            let client = client(&server);
            client.get().await.unwrap();
            client.until("closed idle after 1").await;
            let (account, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
            assert_eq!(outcome.unwrap().body, b"first");
            assert_eq!(account.borrow().attempts.len(), 1);
            assert_eq!(account.borrow().attempts[0].requests_before, 0);
            assert_eq!(client.shared.counters.stale_avoided.load(Ordering::Relaxed), 1);
            assert_eq!(client.shared.counters.retried.load(Ordering::Relaxed), 0);
            assert!(client.events().contains(&format!("closed idle after 1, reset {reset}")));
        });
    }
}

#[test]
fn a_fin_that_the_watch_has_not_seen_yet_is_seen_before_reuse() {
    run(async {
        let server = serve(|number, mut peer| async move {
            peer.head().await;
            peer.answer("x").await;
            match number {
                1 => drop(peer),
                _ => peer.answer_all().await,
            }
        })
        .await;
        let client = client(&server);
        client.get().await.unwrap();
        // The loop is not run here: no task hears of the FIN, which is there.
        std::thread::sleep(Duration::from_millis(50));
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        outcome.unwrap();
        assert_eq!(account.borrow().attempts.len(), 1);
        assert_eq!(server.connections.get(), 2);
    });
}

/// A server whose first connection answers twice and then ends when the third request is there.
async fn ends_at_third(reset: bool) -> Server {
    serve(move |number, mut peer| async move {
        if number > 1 {
            return peer.answer_all().await;
        }
        for _ in 0..2 {
            peer.head().await;
            peer.answer("x").await;
        }
        peer.head().await;
        if reset {
            peer.reset();
        }
    })
    .await
}

#[test]
fn a_stale_connection_is_retried_on_a_fresh_one() {
    for reset in [false, true] {
        run(async move {
            let server = ends_at_third(reset).await;
            let client = client(&server);
            prove(&client).await;
            let (account, outcome) = client.send(Method::PUT, TestBody::whole("again")).await;
            assert_eq!(outcome.unwrap().body, b"1");
            let account = account.borrow();
            assert_eq!(account.attempts.len(), 2);
            assert!(matches!(account.attempts[0].failure, Some(Failure::Stale { reset: seen }) if seen == reset));
            assert_eq!(
                (account.attempts[0].requests_before, account.attempts[1].requests_before),
                (2, 0)
            );
            assert!(account.attempts[0].idle.is_some() && account.attempts[1].idle.is_none());
            assert!(account.attempts[1].failure.is_none());
            assert_eq!(client.shared.counters.retried.load(Ordering::Relaxed), 1);
        });
    }
}

#[test]
fn what_may_have_been_processed_is_not_sent_again() {
    for reset in [false, true] {
        run(async move {
            let server = ends_at_third(reset).await;
            let client = client(&server);
            prove(&client).await;
            let (account, outcome) = client.send(Method::POST, TestBody::whole("once")).await;
            assert!(
                matches!(outcome, Err(Failure::Stale { reset: seen }) if seen == reset),
                "{outcome:?}"
            );
            assert_eq!(account.borrow().attempts.len(), 1);
            assert_eq!(server.connections.get(), 1);
        });
    }
}

#[test]
fn a_body_that_was_begun_cannot_be_sent_again() {
    run(async {
        let server = ends_at_third(true).await;
        let client = client(&server);
        prove(&client).await;
        let (feed, body) = TestBody::fed(None);
        feed.send(Ok(http_body::Frame::data("some".into()))).unwrap();
        drop(feed);
        let (account, outcome) = client.send(Method::PUT, body).await;
        assert!(matches!(outcome, Err(Failure::Stale { .. })), "{outcome:?}");
        assert_eq!(account.borrow().attempts.len(), 1);
    });
}

#[test]
fn a_fresh_connection_that_ends_unanswered_is_no_stale_one() {
    for reset in [false, true] {
        run(async move {
            let server = serve(move |_, mut peer| async move {
                peer.head().await;
                if reset {
                    peer.reset();
                }
            })
            .await;
            let client = client(&server);
            let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
            match reset {
                true => assert!(matches!(outcome, Err(Failure::Reset { .. })), "{outcome:?}"),
                false => assert!(matches!(outcome, Err(Failure::ClosedUnanswered)), "{outcome:?}"),
            }
            // Once more, and not more often than that.
            assert_eq!(account.borrow().attempts.len(), 2);
            assert_eq!(server.connections.get(), 2);

            let (account, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
            assert!(outcome.is_err());
            assert_eq!(account.borrow().attempts.len(), 1);
        });
    }
}

#[test]
fn a_small_answer_that_is_cut_is_no_answer() {
    for reset in [false, true] {
        run(async move {
            let server = serve(move |number, mut peer| async move {
                if number != 1 && number != 3 {
                    return peer.answer_all().await;
                }
                peer.head().await;
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
                if reset {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    peer.reset();
                }
            })
            .await;
            let client = client_with(&server, |upstream, _| upstream.keep = 0);
            let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
            assert_eq!(outcome.unwrap().body, b"1");
            assert!(matches!(
                account.borrow().attempts[0].failure,
                Some(Failure::Incomplete { have: 5, expected: Some(10), reset: seen }) if seen == reset
            ));
            let (_, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
            assert!(
                matches!(outcome, Err(Failure::Incomplete { have: 5, expected: Some(10), reset: seen }) if seen == reset),
                "{outcome:?}"
            );
        });
    }
}

#[test]
fn a_large_answer_that_is_cut_gives_what_came_and_says_so() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n").await;
            peer.say(vec![b'x'; 150_000]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            peer.reset();
        })
        .await;
        let client = client(&server);
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        let outcome = outcome.unwrap();
        assert_eq!(outcome.body.len(), 150_000);
        assert!(matches!(
            outcome.end,
            Err(Failure::Incomplete {
                have: 150_000,
                expected: Some(200_000),
                reset: true
            })
        ));
        assert_eq!(account.borrow().attempts.len(), 1);
    });
}

#[test]
fn a_chunked_answer_without_its_end_is_cut_and_one_until_the_close_is_not() {
    run(async {
        let server = serve(|number, mut peer| async move {
            peer.head().await;
            match number {
                1 => {
                    peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                        .await
                }
                2 => peer.say("HTTP/1.1 200 OK\r\n\r\nhello").await,
                _ => {
                    peer.say("HTTP/1.1 200 OK\r\n\r\nhello").await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    peer.reset();
                }
            }
        })
        .await;
        let client = client(&server);
        let cut = client.get().await.unwrap();
        assert!(
            matches!(
                cut.end,
                Err(Failure::Incomplete {
                    have: 5,
                    expected: None,
                    reset: false
                })
            ),
            "{cut:?}"
        );
        let whole = client.get().await.unwrap();
        assert_eq!(whole.body, b"hello");
        whole.end.unwrap();
        let reset = client.get().await.unwrap();
        assert_eq!(reset.body, b"hello");
        assert!(
            matches!(
                reset.end,
                Err(Failure::Incomplete {
                    have: 5,
                    expected: None,
                    reset: true
                })
            ),
            "{reset:?}"
        );
    });
}

/// The server answers as soon as it has the head and closes with the body unread: the kernel sends a reset behind the answer.
#[test]
fn an_answer_that_overtakes_the_upload_is_saved_from_the_reset() {
    for round in 0..20 {
        run(async move {
            let server = serve(move |_, mut peer| async move {
                peer.head().await;
                peer.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
                    .await;
                // With the delay sending fails before the reading begins, without it at any moment.
                if round % 2 == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            let client = client(&server);
            let (account, outcome) = client.send(Method::POST, TestBody::whole(vec![0_u8; 8 << 20])).await;
            let outcome = outcome.unwrap();
            assert_eq!(
                (outcome.status.as_u16(), outcome.body.as_slice()),
                (413, &b"too large"[..])
            );
            outcome.end.unwrap();
            assert_eq!(account.borrow().attempts.len(), 1);
            assert_eq!(client.upstream.idle(), 0);
        });
    }
}

/// A body whose second piece comes late, and keeps the loop from reading until then.
struct Blocking(usize);

impl http_body::Body for Blocking {
    type Data = bytes::Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Failure>>> {
        self.0 += 1;
        if self.0 == 2 {
            std::thread::sleep(Duration::from_millis(300));
        }
        let piece = (self.0 <= 3).then(|| Ok(http_body::Frame::data(vec![0; 20_000].into())));
        Poll::Ready(piece)
    }
}

#[test]
fn an_answer_is_read_behind_a_send_that_failed_and_that_is_told() {
    for reads_all in [false, true] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // A server in a thread of its own: it must go on while the loop is kept.
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 10];
            stream.read_exact(&mut head).unwrap();
            stream
                .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\n\r\ntoo large")
                .unwrap();
            if reads_all {
                stream.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        });
        run(async move {
            let (upstream, retry) = settings(vec![destination(address)]);
            let client = client_of(&upstream, &retry);
            let account = account();
            let request = http::Request::post("/").header("host", "h").body(Blocking(0)).unwrap();
            let Ok(Answer::Response(response)) = client.upstream.send(request, &account).await else {
                panic!("no answer");
            };
            let outcome = collect(response).await;
            assert_eq!(
                (outcome.status.as_u16(), outcome.body.as_slice()),
                (413, &b"too large"[..])
            );
            outcome.end.unwrap();
            assert_eq!(account.borrow().attempts[0].send_failed, !reads_all);
            assert_eq!(
                client.shared.counters.saved.load(Ordering::Relaxed),
                u64::from(!reads_all)
            );
            // The rest was not sent to a server that refuses: it owes that, also where the server would have read it.
            assert_eq!(client.upstream.idle(), 0);
        });
        server.join().unwrap();
    }
}

#[test]
fn the_budget_is_a_bound() {
    for (burst, saved) in [(0, false), (100, true)] {
        run(async move {
            let server = ends_at_third(false).await;
            let client = client_with(&server, |_, retry| {
                retry.percent = 0;
                retry.burst = burst;
            });
            prove(&client).await;
            let outcome = client.get().await;
            assert_eq!(outcome.is_ok(), saved, "{outcome:?}");
            let counters = &client.shared.counters;
            assert_eq!(counters.over_budget.load(Ordering::Relaxed), u64::from(!saved));
            assert_eq!(counters.retried.load(Ordering::Relaxed), u64::from(saved));
        });
    }
}

#[test]
fn retries_can_be_forbidden() {
    run(async {
        let server = ends_at_third(false).await;
        let client = client_with(&server, |_, retry| retry.enabled = false);
        prove(&client).await;
        assert!(matches!(client.get().await, Err(Failure::Stale { reset: false })));
        assert_eq!(client.shared.counters.over_budget.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_farewell_that_meets_a_request_is_no_answer_to_it() {
    run(async {
        let farewell = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let server = serve(move |number, mut peer| async move {
            peer.head().await;
            if number == 3 {
                return peer.say(farewell).await;
            }
            peer.answer("x").await;
            peer.head().await;
            match number {
                1 => peer.say(farewell).await,
                _ => peer.answer_all().await,
            }
        })
        .await;
        let client = client(&server);
        client.get().await.unwrap();
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        assert_eq!(outcome.unwrap().status.as_u16(), 200);
        assert!(matches!(
            account.borrow().attempts[0].failure,
            Some(Failure::Stale { reset: false })
        ));
        assert_eq!(client.shared.counters.retried.load(Ordering::Relaxed), 1);
        client.upstream.drain();
        // On a fresh connection it is the answer.
        assert_eq!(client.get().await.unwrap().status.as_u16(), 408);
    });
}

#[test]
fn a_retry_goes_to_another_address_than_the_one_that_failed() {
    run(async {
        let (asked, mut waits) = tokio::sync::mpsc::unbounded_channel();
        let (close, closes) = tokio::sync::watch::channel(false);
        let failing = serve(move |_, mut peer| {
            let (asked, mut closes) = (asked.clone(), closes.clone());
            async move {
                peer.head().await;
                asked.send(()).unwrap();
                closes.wait_for(|close| *close).await.unwrap();
            }
        })
        .await;
        let working = serve(|_, peer| peer.answer_all()).await;
        let to = vec![destination(failing.address), destination(working.address)];
        let (upstream, retry) = settings(to);
        let client = client_of(&upstream, &retry);
        let first = client.send(Method::GET, TestBody::none());
        let meanwhile = async {
            waits.recv().await.unwrap();
            // It is the other one's turn, and then that of the first again.
            client.get().await.unwrap();
            close.send(true).unwrap();
        };
        let ((account, outcome), ()) = tokio::join!(first, meanwhile);
        assert_eq!(outcome.unwrap().status, 200);
        assert_eq!(account.borrow().attempts.len(), 2);
        assert_eq!(failing.connections.get(), 1);
    });
}
