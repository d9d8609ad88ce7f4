use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::testing::{Server, answer, ask, read_head};
use crate::tls::Trust;

const IDLE_LIMIT: Duration = Duration::from_millis(400);

fn options() -> Options {
    Options {
        patience: Duration::from_secs(2),
        longest_wait: Duration::from_secs(4),
        trust: Trust::Anybody,
        ..Options::default()
    }
}

fn word<'a>(outcome: &'a Outcome, habit: &Habit) -> &'a str {
    outcome.value(habit).and_then(Value::word).unwrap_or("none")
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

/// After "PRI * HTTP/2.0" and a blank line: one answer, a PING in the middle of the idle time, and the end.
fn speak_h2(stream: &mut (impl Read + Write), goaway: bool) {
    let mut rest = [0; 6];
    let _ = stream.read_exact(&mut rest);
    let mut out = frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]);
    // An interim answer, then the final one in two frames, with data in two, one of them padded.
    out.extend(frame(1, 4, 1, b"\x08\x03103"));
    out.extend(frame(1, 0, 1, b"\x20\x88"));
    out.extend(frame(9, 4, 1, b"\x00\x01a\x01b"));
    out.extend(frame(0, 8, 1, b"\x02hello\0\0"));
    out.extend(frame(0, 1, 1, b"hello"));
    let _ = stream.write_all(&out);
    thread::sleep(IDLE_LIMIT / 2);
    let _ = stream.write_all(&frame(6, 0, 0, &[7; 8]));
    // Everything that the client sends until it has answered the PING.
    let (mut seen, mut chunk) = (Vec::new(), [0; 1024]);
    let pong = frame(6, 1, 0, &[7; 8]);
    while !seen.windows(pong.len()).any(|window| window == pong) {
        match stream.read(&mut chunk) {
            Ok(read @ 1..) => seen.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    thread::sleep(IDLE_LIMIT / 2);
    if goaway {
        let _ = stream.write_all(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    }
}

/// HTTP/1, with keep-alive.
fn speak_h1(stream: &mut (impl Read + Write), mut head: String) {
    loop {
        let closes = head.contains(" HTTP/1.0");
        if !answer(stream, "200 OK", "", 5) || closes {
            return;
        }
        let Some(next) = read_head(stream) else { return };
        head = next;
    }
}

#[test]
fn a_server_of_http1_ignores_what_it_does_not_know() {
    let server = Server::start(|mut stream: TcpStream| {
        let Some(head) = read_head(&mut stream) else { return };
        if head.starts_with("PRI") {
            answer(&mut stream, "400 Bad Request", "Connection: close\r\n", 0);
        } else {
            speak_h1(&mut stream, head);
        }
    });
    let outcome = ask(&server.url(), "versions", options());
    assert_eq!(word(&outcome, &HTTP10), "1.1", "{outcome:?}");
    assert_eq!(word(&outcome, &HTTP11), "1.1");
    assert_eq!(word(&outcome, &PRIOR_KNOWLEDGE), "refused");
    assert_eq!(word(&outcome, &UPGRADE), "ignored");
    assert_eq!(outcome.value(&H2_IDLE), None);
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

/// HTTP/2 by prior knowledge, and HTTP/1.
fn both(goaway: bool) -> Server {
    Server::start(move |mut stream: TcpStream| {
        let Some(head) = read_head(&mut stream) else { return };
        if head.starts_with("PRI") {
            speak_h2(&mut stream, goaway);
        } else {
            speak_h1(&mut stream, head);
        }
    })
}

fn is_about_the_limit(outcome: &Outcome) -> bool {
    outcome
        .value(&H2_IDLE)
        .and_then(Value::spread)
        .is_some_and(|times| times.low() >= IDLE_LIMIT / 2 && times.high() < Duration::from_secs(3))
}

#[test]
fn an_idle_http2_connection_is_told_with_its_goaway() {
    let server = both(true);
    let outcome = ask(&server.url(), "versions", options());
    assert_eq!(word(&outcome, &PRIOR_KNOWLEDGE), "spoken", "{outcome:?}");
    assert_eq!(word(&outcome, &H2_ENDS_BY), "goaway");
    assert!(is_about_the_limit(&outcome), "{outcome:?}");
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn an_idle_http2_connection_that_closes_without_goaway_is_a_trap() {
    let server = both(false);
    let outcome = ask(&server.url(), "versions", options());
    assert_eq!(word(&outcome, &H2_ENDS_BY), "fin", "{outcome:?}");
    let causes: Vec<_> = outcome.risks.iter().map(|risk| (risk.cause, risk.severity)).collect();
    assert_eq!(causes, [("keepalive-race-unannounced-close", Severity::Trap)]);
}

#[test]
fn an_offer_that_is_taken_goes_on_in_http2() {
    let server = Server::start(|mut stream: TcpStream| {
        let Some(head) = read_head(&mut stream) else { return };
        if head.starts_with("PRI") {
            return;
        }
        if !head.contains("Upgrade: h2c") {
            return speak_h1(&mut stream, head);
        }
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
        if read_head(&mut stream).is_some_and(|head| head.starts_with("PRI")) {
            speak_h2(&mut stream, true);
        }
    });
    let outcome = ask(&server.url(), "versions", options());
    assert_eq!(word(&outcome, &PRIOR_KNOWLEDGE), "no-answer", "{outcome:?}");
    assert_eq!(word(&outcome, &UPGRADE), "spoken");
    assert!(is_about_the_limit(&outcome), "{outcome:?}");
}

#[test]
fn an_offer_that_gets_no_answer_is_a_trap() {
    let server = Server::start(|mut stream: TcpStream| {
        let Some(head) = read_head(&mut stream) else { return };
        if !head.contains("Upgrade") && !head.starts_with("PRI") {
            speak_h1(&mut stream, head);
        }
    });
    let outcome = ask(&server.url(), "versions", options());
    assert_eq!(word(&outcome, &UPGRADE), "no-answer", "{outcome:?}");
    let causes: Vec<_> = outcome.risks.iter().map(|risk| (risk.cause, risk.severity)).collect();
    assert_eq!(causes, [("upstream-no-response-close", Severity::Trap)]);
}

#[test]
fn chunks_for_http10_are_a_trap() {
    let server = Server::start(|mut stream: TcpStream| {
        while read_head(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        }
    });
    let outcome = ask(&server.url(), "versions", options());
    let causes: Vec<_> = outcome.risks.iter().map(|risk| (risk.cause, risk.severity)).collect();
    assert_eq!(causes, [("incomplete-response", Severity::Trap)], "{outcome:?}");
}

/// Over TLS, with these protocols by ALPN.
fn secure(protocols: &[&[u8]]) -> Server {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let config = Arc::new(config);
    Server::start(move |stream: TcpStream| {
        let connection = ServerConnection::new(config.clone()).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        let Some(head) = read_head(&mut stream) else { return };
        if stream.conn.alpn_protocol() == Some(b"h2") {
            speak_h2(&mut stream, true);
        } else {
            speak_h1(&mut stream, head);
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
    })
}

fn secure_url(server: &Server) -> String {
    format!("https://{}/", server.address)
}

#[test]
fn alpn_leads_to_http2() {
    let server = secure(&[b"h2", b"http/1.1"]);
    let outcome = ask(&secure_url(&server), "versions", options());
    assert_eq!(word(&outcome, &ALPN), "h2", "{outcome:?}");
    assert_eq!(word(&outcome, &NO_ALPN), "http/1.1");
    assert_eq!(word(&outcome, &H2_ENDS_BY), "goaway");
    assert!(is_about_the_limit(&outcome), "{outcome:?}");
    assert!(outcome.risks.is_empty(), "{outcome:?}");
}

#[test]
fn without_h2_alpn_leads_to_http1_or_to_nothing() {
    for (protocols, expected) in [(&[&b"http/1.1"[..]][..], "http/1.1"), (&[], "none")] {
        let server = secure(protocols);
        let outcome = ask(&secure_url(&server), "versions", options());
        assert_eq!(word(&outcome, &ALPN), expected, "{outcome:?}");
        assert_eq!(outcome.value(&H2_IDLE), None);
    }
}
