//! What is learned of servers, and what follows from it for the next request.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;

use super::support::*;
use crate::failure::Failure;

fn learned(client: &Client) -> (Option<u64>, Option<Duration>, bool) {
    let (_, habits) = client.shared.habits().next().unwrap();
    (habits.learned_requests(), habits.learned_idle(), habits.is_proven())
}

#[test]
fn what_cannot_be_repeated_stays_off_connections_until_the_server_has_proved_to_keep_them() {
    run(async {
        let server = serve(|_, peer| peer.answer_all()).await;
        // The connection that was used last is used again, and rests for no trial.
        let client = client_with(&server, |upstream, _| upstream.trial = 0);
        client.post().await.unwrap();
        client.post().await.unwrap();
        assert_eq!(server.connections.get(), 2);
        // What can be repeated makes the proof.
        assert_eq!(client.get().await.unwrap().body, b"2");
        assert!(learned(&client).2);
        assert_eq!(client.post().await.unwrap().body, b"3");
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn an_idle_time_that_was_outlived_is_a_proof_too() {
    run(async {
        let server = serve(|_, peer| peer.answer_all()).await;
        let client = client(&server);
        client.post().await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(client.post().await.unwrap().body, b"2");
        assert_eq!(server.connections.get(), 1);
    });
}

/// Closes each connection behind its answer to request number `most`, without saying so.
async fn closes_after(most: usize) -> Server {
    serve(move |_, mut peer| async move {
        for number in 1..=most {
            if peer.head().await.is_empty() {
                return;
            }
            peer.answer(&number.to_string()).await;
        }
    })
    .await
}

#[test]
fn a_limit_of_requests_is_learned() {
    run(async {
        let server = closes_after(3).await;
        let client = client(&server);
        for _ in 0..3 {
            client.get().await.unwrap();
        }
        client.until("closed idle after 3").await;
        assert_eq!(learned(&client).0, Some(3));
        let closes = || {
            client
                .events()
                .iter()
                .filter(|event| event.starts_with("closed idle"))
                .count()
        };
        for _ in 0..30 {
            let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
            outcome.unwrap();
            assert_eq!(account.borrow().attempts.len(), 1);
            assert!(account.borrow().attempts[0].requests_before < 3);
        }
        assert_eq!(server.connections.get(), 11);
        assert!(closes() >= 1);
        assert_eq!(client.shared.counters.retried.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_server_that_closes_each_time_is_asked_to_and_never_catches_a_post() {
    run(async {
        let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
        let server = serve(move |_, mut peer| {
            let say = say.clone();
            async move {
                say.send(peer.head().await.contains("Connection: close")).unwrap();
                peer.answer("x").await;
            }
        })
        .await;
        let client = client(&server);
        for _ in 0..20 {
            let (account, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
            outcome.unwrap();
            assert_eq!(account.borrow().attempts.len(), 1);
            // So that the watch hears of the close, as it does where requests do not come at once.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(server.connections.get(), 20);
        assert_eq!(learned(&client).0, Some(1));
        let mut asked = 0;
        while let Ok(closes) = said.try_recv() {
            asked += usize::from(closes);
        }
        assert!(asked >= 15, "{asked}");
    });
}

#[test]
fn an_idle_limit_is_learned_and_kept() {
    run(async {
        let server = serve(|_, mut peer| async move {
            loop {
                match tokio::time::timeout(Duration::from_millis(600), peer.head()).await {
                    Ok(head) if !head.is_empty() => peer.answer("x").await,
                    _ => return,
                }
            }
        })
        .await;
        let client = client(&server);
        client.get().await.unwrap();
        client.until("closed idle").await;
        let limit = learned(&client).1.unwrap();
        assert!(
            limit >= Duration::from_millis(590) && limit < Duration::from_secs(3),
            "{limit:?}"
        );
        // Well before the limit it is used, shortly before the limit it is not.
        client.get().await.unwrap();
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        outcome.unwrap();
        assert_eq!(account.borrow().attempts[0].requests_before, 1);
        let wait = limit.mul_f64(0.9);
        tokio::time::sleep(wait).await;
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        outcome.unwrap();
        assert_eq!(account.borrow().attempts.len(), 1);
        assert_eq!(account.borrow().attempts[0].requests_before, 0);
    });
}

#[test]
fn a_request_that_the_server_always_closes_upon_teaches_nothing() {
    run(async {
        let server = serve(|_, mut peer| async move {
            loop {
                let head = peer.head().await;
                if head.is_empty() || head.starts_with("GET /crash") {
                    return;
                }
                peer.answer("ok").await;
            }
        })
        .await;
        let client = client(&server);
        client.get().await.unwrap();
        client.get().await.unwrap();
        // Longer than what is taken for right behind the answer.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let mut crash = request(Method::GET, TestBody::none());
        *crash.uri_mut() = "/crash".parse().unwrap();
        let (account, outcome) = client.send_request(crash).await;
        assert!(matches!(outcome, Err(Failure::ClosedUnanswered)), "{outcome:?}");
        let first = account.borrow().attempts[0].failure.as_ref().map(ToString::to_string);
        assert_eq!(first, Some(Failure::Stale { reset: false }.to_string()));
        assert_eq!((learned(&client).0, learned(&client).1), (None, None));
    });
}

#[test]
fn what_the_server_announces_is_kept() {
    run(async {
        let server = serve(|_, mut peer| async move {
            while !peer.head().await.is_empty() {
                peer.say("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2, max=100\r\nContent-Length: 1\r\n\r\nx")
                    .await;
            }
        })
        .await;
        let client = client(&server);
        client.get().await.unwrap();
        client.get().await.unwrap();
        assert_eq!(server.connections.get(), 1);
        tokio::time::sleep(Duration::from_millis(1700)).await;
        client.get().await.unwrap();
        assert_eq!(server.connections.get(), 2);
        assert_eq!(client.shared.counters.retired.load(Ordering::Relaxed), 1);
    });
    run(async {
        let server = serve(|_, mut peer| async move {
            for left in (0..3).rev() {
                peer.head().await;
                peer.say(format!(
                    "HTTP/1.1 200 OK\r\nKeep-Alive: max={left}\r\nContent-Length: 1\r\n\r\nx"
                ))
                .await;
            }
            peer.rest().await;
        })
        .await;
        let client = client(&server);
        for _ in 0..6 {
            client.get().await.unwrap();
        }
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn what_was_configured_is_kept() {
    run(async {
        let server = serve(|_, peer| peer.answer_all()).await;
        let client = client_with(&server, |upstream, _| upstream.idle = Some(Duration::from_secs(2)));
        client.get().await.unwrap();
        client.get().await.unwrap();
        assert_eq!(server.connections.get(), 1);
        // The margin is a fifth.
        tokio::time::sleep(Duration::from_millis(1700)).await;
        client.get().await.unwrap();
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn a_close_that_is_announced_teaches_nothing() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
                .await;
        })
        .await;
        let client = client(&server);
        for _ in 0..3 {
            client.get().await.unwrap();
            assert_eq!(client.upstream.idle(), 0);
        }
        assert_eq!(learned(&client), (None, None, false));
    });
}

#[test]
fn what_was_learned_outlives_a_new_configuration() {
    run(async {
        let server = closes_after(1).await;
        let client = client(&server);
        client.get().await.unwrap();
        client.until("closed idle after 1").await;
        let (mut upstream, retry) = settings(vec![destination(server.address)]);
        upstream.keep = 3;
        let renewed = client.shared.renew(&upstream, &retry).unwrap();
        let (_, habits) = renewed.habits().next().unwrap();
        assert_eq!(habits.learned_requests(), Some(1));
        upstream.idle = Some(Duration::from_secs(9));
        let renewed = client.shared.renew(&upstream, &retry).unwrap();
        let (_, habits) = renewed.habits().next().unwrap();
        assert_eq!(habits.learned_requests(), None);
    });
}
