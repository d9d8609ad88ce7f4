//! What clients get, and what the server gets: fields, framing, refusals.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::backend::{Backend, pattern};
use support::client::{Client, End};
use support::{Running, config};

fn plain() -> (Backend, Running) {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    (backend, running)
}

fn holds(head: &str, fields: &[&str]) {
    for field in fields {
        assert!(head.contains(field), "{field} is not in {head}");
    }
}

fn lacks(head: &str, fields: &[&str]) {
    for field in fields {
        assert!(!head.contains(field), "{field} is in {head}");
    }
}

#[test]
fn requests_one_after_the_other() {
    let (_backend, running) = plain();
    let mut client = Client::new(running.address());
    for path in ["/a", "/size/100000", "/chunked/3000", "/size/0", "/b?secret=1"] {
        let answer = client.get(path);
        assert_eq!(answer.status, 200);
        match path {
            "/size/100000" => assert_eq!(answer.body, pattern(100_000)),
            "/chunked/3000" => assert_eq!(answer.body, pattern(3000)),
            "/size/0" => assert!(answer.body.is_empty()),
            _ => assert_eq!(answer.text(), path),
        }
        assert_eq!(answer.field("keep-alive"), Some("timeout=90"));
    }
    let said = running.recorder.until(|said| said.exchanges.len() == 5);
    assert_eq!(said.exchanges[4].path, "/b");
    assert_eq!(said.exchanges[1].response_bytes, 100_000);
    assert!(said.exchanges.iter().all(|told| told.failure.is_none()), "{said:#?}");
    drop(client);
    running.recorder.until(|said| said.closed.len() == 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_backend, running) = plain();
    let mut client = Client::new(running.address());
    let requests: String = (0..50)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n"))
        .collect();
    client.send(requests);
    for n in 0..50 {
        assert_eq!(client.answer().text(), format!("/{n}"));
    }
}

#[test]
fn the_server_sees_where_a_request_comes_from_and_no_field_of_the_connection() {
    let (_backend, running) = plain();
    let mut client = Client::new(running.address());
    client.send(
        "GET http://real.example/head HTTP/1.1\r\nHost: other\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\
         TE: trailers\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nX-Forwarded-For: 10.0.0.1\r\nVia: 1.0 before\r\nX-Kept: 1\r\n\r\n",
    );
    let head = client.answer();
    let head = head.text().to_ascii_lowercase();
    assert!(head.starts_with("get /head http/1.1\r\n"), "{head}");
    holds(
        &head,
        &[
            "host: real.example\r\n",
            "x-forwarded-for: 10.0.0.1, 127.0.0.1\r\n",
            "x-forwarded-proto: http\r\n",
            "x-forwarded-host: real.example\r\n",
            "via: 1.0 before\r\n",
            "via: 1.1 bypeer\r\n",
            "x-kept: 1\r\n",
        ],
    );
    lacks(
        &head,
        &[
            "x-mine",
            "\r\nkeep-alive",
            "\r\nte:",
            "proxy-connection",
            "upgrade",
            "h2c",
        ],
    );
}

const CLAIMS: &str = "GET /head HTTP/1.1\r\nHost: real.example\r\nConnection: x-forwarded-for\r\nX-Forwarded-For: 10.0.0.1\r\n\
    X-Forwarded-Proto: https\r\nX-Forwarded-Host: bank.example\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 10.0.0.2\r\nForwarded: for=10.0.0.3\r\n\
    X_Forwarded_For: 10.0.0.4\r\nX_Forwarded-Proto: https\r\nContent_Length: 7\r\nTransfer_Encoding: chunked\r\nOS_Token: kept\r\n\r\n";

#[test]
fn what_a_client_claims_of_itself_does_not_reach_the_server() {
    let (_backend, running) = plain();
    let mut client = Client::new(running.address());
    client.send(CLAIMS);
    let head = client.answer();
    let head = head.text().to_ascii_lowercase();
    holds(
        &head,
        &[
            "x-forwarded-for: 10.0.0.1, 127.0.0.1\r\n",
            "x-forwarded-proto: http\r\n",
            "x-forwarded-host: real.example\r\n",
            "os_token: kept\r\n",
        ],
    );
    lacks(
        &head,
        &[
            "https",
            "bank",
            "port",
            "real-ip",
            "\r\nforwarded",
            "x_forwarded",
            "content_",
            "transfer_",
        ],
    );
}

#[test]
fn what_a_trusted_proxy_says_does() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.trusted = true;
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    client.send(CLAIMS);
    let head = client.answer();
    let head = head.text().to_ascii_lowercase();
    holds(
        &head,
        &[
            "x-forwarded-for: 10.0.0.1, 127.0.0.1\r\n",
            "x-forwarded-proto: https\r\n",
            "x-forwarded-host: bank.example\r\n",
            "x-forwarded-port: 443\r\n",
            "x-real-ip: 10.0.0.2\r\n",
            "forwarded: for=10.0.0.3\r\n",
        ],
    );
    for claim in ["x_forwarded", "content_", "transfer_"] {
        assert!(!head.contains(claim), "{claim} is in {head}");
    }
    client.send("GET /head HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.answer().text().to_ascii_lowercase();
    assert!(head.contains("x-forwarded-proto: http\r\n") && head.contains("x-forwarded-host: a\r\n"));
}

#[test]
fn trailers_say_nothing_that_belongs_into_the_head() {
    let backend = Backend::new(|mut peer| {
        while peer.head().is_some() {
            let mut lines = Vec::new();
            while lines.last().is_none_or(|line| line != "\r\n") {
                let Some(line) = peer.line() else { return };
                lines.push(line);
            }
            peer.answer(lines.concat().as_bytes());
        }
    });
    let mut config = config(backend.address);
    // Else the body is sent with its length, and trailers are left out.
    config.upstream.gather = 0;
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nHost: b\r\n",
    );
    client.send("X_Forwarded_For: c\r\nContent_Length: 4\r\n");
    client.send("Content-Length: 4\r\nX-Forwarded-For: c\r\nAuthorization: d\r\nCookie: e\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.answer().text(), "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
}

#[test]
fn a_request_with_two_lengths_is_refused() {
    let (backend, running) = plain();
    for (what, request) in [
        (
            "both",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "both, turned",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        ),
        (
            "both, behind empty lines",
            "\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "differing",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        ),
        (
            "a list",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd",
        ),
        ("signed", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd"),
        (
            "not chunked",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
        ),
        (
            "hidden",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "twice",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "space",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "folded",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ("bad host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("letters behind a port", "GET / HTTP/1.1\r\nHost: a:80x\r\n\r\n"),
        ("no such port", "GET / HTTP/1.1\r\nHost: a:999999\r\n\r\n"),
        ("letters behind an address", "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"),
        (
            "CONNECT with a length",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 4\r\n\r\nabcd",
        ),
        (
            "CONNECT in chunks",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("user in host", "GET / HTTP/1.1\r\nHost: u@b\r\n\r\n"),
        ("no path", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("star", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("carriage return", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
        ("no http", "\x16\x03\x01\x02\x00"),
    ] {
        let mut client = Client::new(running.address());
        client.send(request);
        client.half_close();
        let answer = client.answer();
        assert!(matches!(answer.status, 400 | 501), "{what}: {answer:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{what}");
        assert_eq!(client.rest(), (Vec::new(), End::Fin), "{what}");
    }
    assert_eq!(
        backend.connections.load(std::sync::atomic::Ordering::SeqCst),
        0,
        "something went through"
    );
}

#[test]
fn behind_a_head_that_came_too_early_to_be_looked_at_the_connection_ends() {
    let (_backend, running) = plain();
    let chunked = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let both = chunked.replace("Transfer", "Content-Length: 90\r\nTransfer");
    // All of it, and only the beginning.
    for early in [both.len(), both.find("Transfer").unwrap()] {
        let mut client = Client::new(running.address());
        client.send(format!("GET /a HTTP/1.1\r\nHost: a\r\n\r\n{}", &both[..early]));
        assert_eq!(client.answer().text(), "/a");
        client.send(&both[early..]);
        let answer = client.answer();
        assert_eq!((answer.text(), answer.field("connection")), ("abc", Some("close")));
        client.half_close();
        assert_eq!(client.rest(), (Vec::new(), End::Fin));
    }
    // Who waits for each answer keeps the connection.
    let mut client = Client::new(running.address());
    for _ in 0..3 {
        client.send(chunked);
        let answer = client.answer();
        assert_ne!(answer.field("connection"), Some("close"));
        assert_eq!(answer.text(), "abc");
    }
}

#[test]
fn hosts_of_all_kinds() {
    let (_backend, running) = plain();
    let mut client = Client::new(running.address());
    for host in ["a", "a:", "a:80", "[::1]", "[::1]:8080", "127.0.0.1:65535", ""] {
        client.send(format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.answer().status, 200, "{host}");
    }
}

#[test]
fn a_chunked_request_whose_end_is_not_sure_is_the_last_one() {
    let (_backend, running) = plain();
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    // hyper takes the next request for trailers.
    for (end, status) in [("\n", 400), ("X: 1\n\n", 200), ("X: 1\r\n\r\n", 200)] {
        let mut client = Client::new(running.address());
        client.send(format!("{post}{end}{next}"));
        client.half_close();
        let answer = client.answer();
        assert_eq!(answer.status, status, "{end:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{end:?}");
        assert_eq!(client.rest(), (Vec::new(), End::Fin), "{end:?}");
    }
    let mut client = Client::new(running.address());
    client.send(format!("{post}\r\n{next}"));
    assert_eq!(client.answer().text(), "abc");
    assert_eq!(client.answer().text(), "/next");
}

#[test]
fn who_is_to_upgrade_is_told_to_what() {
    let backend = Backend::new(|mut peer| {
        while peer.head().is_some() {
            peer.send("HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.field("upgrade")), (426, Some("websocket")));
        assert_eq!(answer.field("connection"), Some("keep-alive, upgrade"));
    }
}

#[test]
fn what_the_guard_answers_itself_says_why() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let running = Running::new(config(closed));
    let mut client = Client::new(running.address());
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.status, 502);
        let status = answer.field("proxy-status").unwrap();
        assert!(
            status.starts_with("bypeer; error=connection_refused; details=\""),
            "{status}"
        );
        assert!(answer.text().contains("refused"), "{}", answer.text());
    }
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 502"));
    assert_eq!(client.answer().status, 200);
    let said = running.recorder.until(|said| said.exchanges.len() == 4);
    assert!(
        said.exchanges[2].failure.as_deref().unwrap().contains("refused"),
        "{said:#?}"
    );
    assert_eq!(said.exchanges[3].failure, None);
}

#[test]
fn clients_of_http_1_0() {
    let (_backend, running) = plain();
    let mut client = Client::new(running.address());
    client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert!(answer.head.starts_with("HTTP/1.0 200"));
    assert_eq!(answer.field("connection"), Some("keep-alive"));
    client.send("GET /chunked/500000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(answer.body, pattern(500_000));
    let mut client = Client::new(running.address());
    client.send("GET /a HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().text(), "/a");
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
}

#[test]
fn what_is_here_whole_has_a_length() {
    let backend = Backend::new(|mut peer| {
        while let Some(request) = peer.head() {
            let end = match request.target.as_str() {
                "/trailers" => "0\r\nX-Sum: 0\r\n\r\n",
                _ => "0\r\n\r\n",
            };
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n1\r\nf\r\n{end}"
            ));
        }
    });
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    for version in ["1.0", "1.1"] {
        client.send(format!(
            "GET / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
        ));
        let answer = client.answer();
        assert_eq!((answer.text(), answer.field("content-length")), ("abcdef", Some("6")));
    }
    client.send("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    client.head();
    let rest = client.until_text("0\r\nX-Sum: 0\r\n\r\n");
    assert!(rest.contains("abc"), "{rest}");
}

#[test]
fn heads_and_bodies_of_all_kinds() {
    let (_backend, running) = plain();
    let mut client = Client::new(running.address());
    client.send("HEAD /size/1234 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.head().to_ascii_lowercase().contains("content-length: 1234"));
    let body = pattern(300_000);
    client.send(format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    client.send(&body);
    assert_eq!(client.answer().body, body);
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    client.send("2;x=y\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.answer().text(), "abcde");
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 100"));
    client.send("xyz");
    assert_eq!(client.answer().text(), "xyz");
    let said = running.recorder.until(|said| said.exchanges.len() == 4);
    assert_eq!(said.exchanges[1].request_bytes, 300_000);
    assert_eq!(said.exchanges[1].failure, None);
    assert_eq!(said.exchanges[0].failure, None, "{said:#?}");
}

#[test]
fn who_half_closes_gets_the_answer() {
    let (_backend, running) = plain();
    for _ in 0..20 {
        let mut client = Client::new(running.address());
        client.send("GET /slow/20 HTTP/1.1\r\nHost: a\r\n\r\n");
        client.half_close();
        assert_eq!(client.answer().text(), "/slow/20");
        assert_eq!(client.rest().1, End::Fin);
    }
}

#[test]
fn a_status_without_a_name_has_no_phrase() {
    let backend = Backend::new(|mut peer| {
        while let Some(request) = peer.request() {
            let status = request.target.trim_start_matches('/').to_owned();
            peer.send(format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    for (status, line) in [(404, "404 Not Found"), (600, "600 "), (999, "999 ")] {
        let answer = client.get(&format!("/{status}"));
        assert!(
            answer.head.starts_with(&format!("HTTP/1.1 {line}\r\n")),
            "{}",
            answer.head
        );
    }
}
