//! Clients that rest between two requests, without buffers of the guard's, and what they may do then.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use bypeer_guard::say::Why;
use support::backend::Backend;
use support::client::{Client, End};
use support::{Running, config};

/// Longer than two looks of the sweep at the idle limit of these tests: who asked once rests by then. If not, the tests tell less,
/// and hold all the same.
const RESTS: Duration = Duration::from_millis(700);

fn running(backend: &Backend) -> Running {
    let mut config = config(backend.address);
    config.client.idle = Duration::from_secs(4);
    Running::new(config)
}

#[test]
fn who_rests_is_answered_again_and_again() {
    let backend = Backend::plain();
    let running = running(&backend);
    let mut client = Client::new(running.address());
    for _ in 0..3 {
        assert_eq!(client.get("/a").status, 200);
        std::thread::sleep(RESTS);
    }
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.answer().text(), "hello");
    std::thread::sleep(RESTS);
    // What is not HTTP is refused as ever.
    client.send("this is no request\r\n\r\n");
    assert_eq!(client.answer().status, 400);
}

#[test]
fn many_clients_at_once_rest_at_once_and_keep_their_connections() {
    // More than may keep their buffers.
    const CLIENTS: usize = 400;
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.idle = Duration::from_secs(60);
    let running = Running::new(config);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::new(running.address())).collect();
    for round in 0..4 {
        for client in &mut clients {
            // With the second request there is the beginning of a third.
            client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HT");
        }
        for client in &mut clients {
            assert_eq!(client.answer().status, 200);
            assert_eq!(client.answer().status, 200);
            client.send(format!("TP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{round}"));
            assert_eq!(client.answer().text(), round.to_string());
        }
    }
    drop(clients);
    let said = running.recorder.until(|said| said.lingered.len() == CLIENTS);
    assert_eq!(said.exchanges.len(), 12 * CLIENTS);
    assert!(said.exchanges.iter().all(|exchange| exchange.failure.is_none()));
}

#[test]
fn who_leaves_while_it_rests_leaves_in_peace() {
    let backend = Backend::plain();
    let running = running(&backend);
    let mut client = Client::new(running.address());
    assert_eq!(client.get("/a").status, 200);
    std::thread::sleep(RESTS);
    client.half_close();
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
    let said = running.recorder.until(|said| !said.lingered.is_empty());
    assert_eq!(said.closed, [Why::Peer]);
    assert_eq!(said.lingered[0].delivered(), Some(true));
}

#[test]
fn a_request_that_begins_after_a_rest_is_bounded_in_time() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.idle = Duration::from_secs(60);
    config.client.head_time = Duration::from_millis(500);
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    assert_eq!(client.get("/a").status, 200);
    std::thread::sleep(RESTS);
    client.send("GET /a HTTP/1.1\r\n");
    assert_eq!(client.answer().status, 408);
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
}
