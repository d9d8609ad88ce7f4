//! Switches of protocols: WebSocket-like upgrades and CONNECT.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::net::Shutdown;
use std::time::{Duration, Instant};

use bypeer_guard::say::Why;
use support::backend::{Backend, pattern};
use support::client::{Client, End};
use support::{PATIENCE, Running, config};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n";

#[test]
fn an_upgrade_is_passed_through_with_what_was_read_ahead_and_half_closes() {
    let backend = Backend::tunnels();
    let running = Running::new(config(backend.address));
    for _ in 0..20 {
        let mut client = Client::new(running.address());
        // The first bytes come right behind the request, before the answer.
        client.send(format!("{UPGRADE}early "));
        let head = client.head().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"),
            "{head}"
        );
        assert!(head.contains("x-mine: 1\r\n"));
        assert_eq!(client.exactly(12).unwrap(), b"hello early ");
        let sent = pattern(300_000);
        let mut writer = client.stream.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            std::io::Write::write_all(&mut writer, &sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(client.exactly(300_000).unwrap(), pattern(300_000));
        assert_eq!(client.rest(), (b" good-bye".to_vec(), End::Fin));
        thread.join().unwrap();
    }
    let said = running.recorder.until(|said| said.closed.len() == 20);
    assert!(said.closed.iter().all(|why| *why == Why::Tunnel), "{said:#?}");
    assert_eq!(said.exchanges[0].status, Some(101));
    assert_eq!(said.exchanges[0].request_bytes, 300_006);
    assert_eq!(said.exchanges[0].response_bytes, 300_021);
}

#[test]
fn connect_is_passed_through() {
    let backend = Backend::tunnels();
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    client.send("CONNECT inner.example:443 HTTP/1.1\r\nHost: inner.example:443\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("content-length"), "{head}");
    client.send("abc");
    let got = client.exactly(3);
    assert_eq!(got.as_deref(), Ok(&b"abc"[..]), "{:#?}", running.recorder.said());
    client.half_close();
    assert_eq!(client.rest(), (b" good-bye".to_vec(), End::Fin));
    let said = running.recorder.until(|said| !said.exchanges.is_empty());
    assert_eq!(said.exchanges[0].path, "inner.example:443");
}

#[test]
fn an_upgrade_that_is_refused_is_an_answer_like_any_other() {
    let backend = Backend::tunnels();
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    for _ in 0..3 {
        client.send(UPGRADE.replace("/ws", "/refused"));
        assert_eq!(client.answer().text(), "no");
    }
    client.send(UPGRADE.replace("/ws", "/refused").replace("keep-alive", "close"));
    assert_eq!(client.answer().text(), "no");
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
}

#[test]
fn who_leaves_a_tunnel_takes_the_other_end_along() {
    let backend = Backend::tunnels();
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    client.send(UPGRADE);
    client.head();
    client.reset();
    let said = running
        .recorder
        .until(|said| said.closed.len() == 1 && said.exchanges.len() == 1);
    assert_eq!(said.exchanges[0].failure.as_deref(), Some("the client went away"));
}

#[test]
fn a_tunnel_is_cut_when_the_time_for_draining_is_over() {
    let backend = Backend::tunnels();
    let mut config = config(backend.address);
    config.close.drain = Duration::from_millis(300);
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    client.send(UPGRADE);
    client.head();
    running.guard.drain();
    assert_eq!(client.rest(), (b"hello ".to_vec(), End::Fin));
    drop(client);
    assert!(running.guard.wait(PATIENCE));
    assert_eq!(running.guard.finish().cut, 1);
}

#[test]
fn no_tunnel_to_another_http() {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    for protocol in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.2, HTTP/1.1"] {
        let mut client = Client::new(running.address());
        client.send(format!(
            "GET /head HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMA\r\n\r\n"
        ));
        let head = client.answer().text().to_ascii_lowercase();
        assert!(!head.contains("upgrade") && !head.contains("settings"), "{head}");
    }
}

#[test]
fn a_tunnel_is_ended_when_nothing_was_carried_for_too_long() {
    let backend = Backend::tunnels();
    let mut config = config(backend.address);
    config.client.tunnel = Some(Duration::from_millis(600));
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    client.send(UPGRADE);
    client.head();
    assert_eq!(client.exactly(6).unwrap(), b"hello ");
    // Whatever is carried begins the time anew: this takes longer than the limit.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(900) {
        std::thread::sleep(Duration::from_millis(20));
        client.send("x");
        assert_eq!(client.exactly(1).unwrap(), b"x");
    }
    let silent = Instant::now();
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
    assert!(silent.elapsed() >= Duration::from_millis(500), "{:?}", silent.elapsed());
    drop(client);
    let said = running.recorder.until(|said| said.closed.len() == 1);
    assert_eq!(said.closed, [Why::TunnelIdle]);
    assert_eq!(said.exchanges[0].status, Some(101));
    assert_eq!(
        said.exchanges[0].failure.as_deref(),
        Some("nothing was carried in the tunnel for too long")
    );
}

#[test]
fn a_tunnel_without_a_limit_may_be_silent() {
    let backend = Backend::tunnels();
    let mut config = config(backend.address);
    config.client.tunnel = None;
    config.client.silence = Duration::from_millis(100);
    config.client.idle = Duration::from_millis(100);
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    client.send(UPGRADE);
    client.head();
    assert_eq!(client.exactly(6).unwrap(), b"hello ");
    std::thread::sleep(Duration::from_millis(700));
    client.send("x");
    assert_eq!(client.exactly(1).unwrap(), b"x");
}

#[test]
fn a_length_of_a_tunnel_is_not_passed_on() {
    let backend = Backend::new(|mut peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 200 Connected\r\nContent-Length: 3\r\n\r\n");
            let asked = peer.exactly(4).unwrap();
            peer.send(asked);
        }
    });
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    client.send("CONNECT inner.example:443 HTTP/1.1\r\nHost: inner.example:443\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("content-length"), "{head}");
    client.send("ping");
    assert_eq!(client.rest(), (b"ping".to_vec(), End::Fin));
}

#[test]
fn no_tunnel_of_a_protocol_that_was_not_asked_for() {
    let backend = Backend::new(|mut peer| {
        if let Some(request) = peer.head() {
            let upgrade = match request.target.as_str() {
                "/none" => "",
                "/another" => "Upgrade: other\r\n",
                "/both" => "Upgrade: other, websocket\r\n",
                _ => "Upgrade: WebSocket\r\n",
            };
            peer.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n{upgrade}\r\n"
            ));
        }
    });
    let running = Running::new(config(backend.address));
    for (path, status) in [("/none", 502), ("/another", 502), ("/both", 502), ("/asked", 101)] {
        let mut client = Client::new(running.address());
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo/2, websocket/13\r\n\r\n"
        ));
        let head = client.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {head}");
    }
}
