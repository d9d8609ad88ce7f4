#![allow(clippy::unwrap_used)]

use http::Request;

use super::*;

fn read(method: Method, bytes: &[u8]) -> Result<Option<(ResponseHead, Vec<u8>)>, Failure> {
    let mut input = BytesMut::from(bytes);
    let head = HeadReader::default().read(&mut input, &method, 4096)?;
    Ok(head.map(|head| (head, input.to_vec())))
}

fn get(fields: &str) -> Result<ResponseHead, Failure> {
    let bytes = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    read(Method::GET, bytes.as_bytes()).map(|head| head.unwrap().0)
}

fn framing(method: Method, status: u16, fields: &str) -> Framing {
    let bytes = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
    read(method, bytes.as_bytes()).unwrap().unwrap().0.framing
}

fn written(request: Request<()>, framing: RequestFraming, close: bool) -> String {
    let (parts, ()) = request.into_parts();
    let mut output = Vec::new();
    write_request(&mut output, &parts, framing, "fallback:1", close);
    String::from_utf8(output).unwrap()
}

#[test]
fn a_request_is_written_to_the_byte() {
    let request = Request::get("http://elsewhere/a?b=c")
        .header("host", "h:1")
        .header("x-forwarded-for", "::1")
        .header("content-length", "99")
        .header("transfer-encoding", "gzip")
        .body(())
        .unwrap();
    assert_eq!(
        written(request, RequestFraming::None, false),
        "GET /a?b=c HTTP/1.1\r\nHost: h:1\r\nX-Forwarded-For: ::1\r\n\r\n"
    );
}

#[test]
fn names_are_written_as_they_usually_are() {
    let request = Request::get("/")
        .header("host", "h")
        .header("soapaction", "x")
        .header("sec-websocket-key", "k")
        .header("x-request-id", "1")
        .body(())
        .unwrap();
    assert_eq!(
        written(request, RequestFraming::None, false),
        "GET / HTTP/1.1\r\nHost: h\r\nSOAPAction: x\r\nSec-WebSocket-Key: k\r\nX-Request-Id: 1\r\n\r\n"
    );
}

#[test]
fn framing_and_close_are_written_once() {
    let request = |method: &str| {
        Request::builder()
            .method(method)
            .uri("/")
            .header("host", "h")
            .header("connection", "upgrade")
    };
    assert_eq!(
        written(request("POST").body(()).unwrap(), RequestFraming::None, false),
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(
        written(
            request("POST").body(()).unwrap(),
            RequestFraming::Length(1_234_567_890),
            true
        ),
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1234567890\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        written(request("DELETE").body(()).unwrap(), RequestFraming::Chunked, false),
        "DELETE / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
}

#[test]
fn targets_have_the_form_of_their_method() {
    let line = |request: Request<()>| {
        written(request, RequestFraming::None, false)
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        line(Request::connect("example.org:443").body(()).unwrap()),
        "CONNECT example.org:443 HTTP/1.1"
    );
    assert_eq!(line(Request::options("*").body(()).unwrap()), "OPTIONS * HTTP/1.1");
    assert_eq!(line(Request::get("http://h").body(()).unwrap()), "GET / HTTP/1.1");
    let hostless = written(Request::get("/").body(()).unwrap(), RequestFraming::None, false);
    assert_eq!(hostless, "GET / HTTP/1.1\r\nHost: fallback:1\r\n\r\n");
}

#[test]
fn chunk_sizes_and_decimals() {
    for size in [0, 1, 9, 10, 15, 16, 255, 256, 65536, 0xabc_def, usize::MAX] {
        let mut output = Vec::new();
        write_chunk_size(&mut output, size);
        assert_eq!(output, format!("{size:x}\r\n").as_bytes());
        output.clear();
        write_decimal(&mut output, size as u64);
        assert_eq!(output, size.to_string().as_bytes());
    }
}

#[test]
fn an_answer_is_read_and_what_follows_is_left() {
    let (head, rest) = read(
        Method::GET,
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nabc",
    )
    .unwrap()
    .unwrap();
    assert_eq!(
        (head.status.as_u16(), head.version, head.framing),
        (404, Version::HTTP_11, Framing::Length(3))
    );
    assert_eq!(head.fields.get_all("set-cookie").iter().count(), 2);
    assert!(head.keeps);
    assert_eq!(rest, b"abc");
}

#[test]
fn every_prefix_waits_and_every_split_gives_the_same() {
    let bytes = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 0\r\n\r\n";
    for at in 0..bytes.len() {
        let mut reader = HeadReader::default();
        let mut input = BytesMut::from(&bytes[..at]);
        assert!(reader.read(&mut input, &Method::GET, 4096).unwrap().is_none(), "{at}");
        input.extend_from_slice(&bytes[at..]);
        let head = reader.read(&mut input, &Method::GET, 4096).unwrap().unwrap();
        assert_eq!(
            (head.fields.len(), head.framing, input.len()),
            (2, Framing::Length(0), 0),
            "{at}"
        );
    }
    let mut reader = HeadReader::default();
    let mut input = BytesMut::new();
    for (at, &byte) in bytes.iter().enumerate() {
        input.extend_from_slice(&[byte]);
        let head = reader.read(&mut input, &Method::GET, 4096).unwrap();
        assert_eq!(head.is_some(), at == bytes.len() - 1, "{at}");
    }
}

#[test]
fn bodies_that_cannot_be_are_none() {
    assert_eq!(framing(Method::HEAD, 200, "Content-Length: 5\r\n"), Framing::None);
    assert_eq!(
        framing(Method::HEAD, 200, "Transfer-Encoding: chunked\r\n"),
        Framing::None
    );
    assert_eq!(framing(Method::GET, 304, "Content-Length: 5\r\n"), Framing::None);
    assert_eq!(framing(Method::GET, 204, ""), Framing::None);
    assert_eq!(framing(Method::CONNECT, 200, ""), Framing::None);
    assert_eq!(
        framing(Method::CONNECT, 407, "Content-Length: 5\r\n"),
        Framing::Length(5)
    );
    assert_eq!(framing(Method::GET, 200, "Content-Length: 5\r\n"), Framing::Length(5));
    assert_eq!(
        framing(Method::GET, 200, "Transfer-Encoding: Chunked\r\n"),
        Framing::Chunked
    );
    assert_eq!(framing(Method::GET, 200, ""), Framing::UntilClose);
    let (head, _) = read(Method::GET, b"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n")
        .unwrap()
        .unwrap();
    assert!(head.fields.is_empty());
}

#[test]
fn lengths_that_conflict_are_refused_and_their_near_misses_are_not() {
    for (wrong, right) in [
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
        ),
        ("Content-Length: 5, 6\r\n", "Content-Length: 5, 5\r\n"),
        ("Content-Length: +5\r\n", "Content-Length: 5\r\n"),
        ("Content-Length: -5\r\n", "Content-Length: 05\r\n"),
        ("Content-Length: 5x\r\n", "Content-Length:5 \r\n"),
        ("Content-Length: \r\n", "Content-Length: 5\r\n"),
        ("Content-Length: 18446744073709551616\r\n", "Content-Length: 5\r\n"),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\n",
        ),
    ] {
        assert!(matches!(get(wrong), Err(Failure::Malformed(_))), "{wrong}");
        let head = get(right).unwrap();
        assert_eq!(head.framing, Framing::Length(5), "{right}");
        // Clients get one number: over HTTP/2 more are an error.
        let lengths: Vec<_> = head.fields.get_all("content-length").iter().collect();
        assert!(
            matches!(lengths[..], [one] if !one.as_bytes().contains(&b',')),
            "{right}: {lengths:?}"
        );
    }
    for wrong in ["gzip, chunked", "identity", "chunked, chunked", "xchunked", ""] {
        assert!(
            matches!(
                get(&format!("Transfer-Encoding: {wrong}\r\n")),
                Err(Failure::Malformed(_))
            ),
            "{wrong}"
        );
    }
    assert!(get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n").is_err());
    let chunked = get("Transfer-Encoding: chunked\r\n").unwrap();
    assert!(chunked.fields.is_empty() && chunked.framing == Framing::Chunked);
}

#[test]
fn heads_that_are_no_http_are_refused_at_once() {
    for wrong in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 abc OK\r\n",
        b"\x15\x03\x01\x00\x02\x02\x0a",
        b"HTTP/1.1 200 OK\r\nNo Field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
    ] {
        assert!(
            matches!(read(Method::GET, wrong), Err(Failure::Malformed(_))),
            "{}",
            String::from_utf8_lossy(wrong)
        );
    }
    assert!(read(Method::GET, b"HTTP/1.1 200\r\n\r\n").unwrap().is_some());
    assert!(read(Method::GET, b"HTTP/1.1 999 X\r\n\r\n").unwrap().is_some());
}

#[test]
fn endless_heads_are_refused_at_their_bound() {
    let mut bytes = b"HTTP/1.1 200 OK\r\nA: ".to_vec();
    let mut reader = HeadReader::default();
    let mut input = BytesMut::from(&bytes[..]);
    assert!(reader.read(&mut input, &Method::GET, 4096).unwrap().is_none());
    input.resize(4096, b'a');
    assert!(reader.read(&mut input, &Method::GET, 4096).unwrap().is_none());
    input.extend_from_slice(b"a");
    assert!(matches!(
        reader.read(&mut input, &Method::GET, 4096),
        Err(Failure::HeadTooLarge { limit: 4096 })
    ));

    bytes.resize(4096, b'a');
    bytes.extend_from_slice(b"\r\n\r\n");
    assert!(matches!(read(Method::GET, &bytes), Err(Failure::HeadTooLarge { .. })));

    let many = "A: b\r\n".repeat(FIELDS_MOST + 1);
    assert!(matches!(get(&many), Err(Failure::Malformed(_))));
    assert_eq!(get(&"A: b\r\n".repeat(FIELDS_MOST)).unwrap().fields.len(), FIELDS_MOST);
}

#[test]
fn what_the_server_says_of_the_connection() {
    assert!(get("Content-Length: 0\r\n").unwrap().keeps);
    assert!(!get("").unwrap().keeps);
    assert!(!get("Content-Length: 0\r\nConnection: foo, Close\r\n").unwrap().keeps);
    let old = |fields: &str| {
        let bytes = format!("HTTP/1.0 200 OK\r\n{fields}\r\n");
        read(Method::GET, bytes.as_bytes()).unwrap().unwrap().0.keeps
    };
    assert!(!old("Content-Length: 0\r\n"));
    assert!(old("Content-Length: 0\r\nConnection: Keep-Alive\r\n"));
    assert!(!old("Transfer-Encoding: chunked\r\nConnection: Keep-Alive\r\n"));
    let told = get("Content-Length: 0\r\nKeep-Alive: timeout=5, max=100\r\n").unwrap();
    assert_eq!((told.timeout, told.max), (Some(Duration::from_secs(5)), Some(100)));
    let untold = get("Content-Length: 0\r\nKeep-Alive: timeout=x, maximum=3\r\n").unwrap();
    assert_eq!((untold.timeout, untold.max), (None, None));
}

proptest::proptest! {
    #[test]
    fn any_bytes_in_any_split_give_the_same_and_no_panic(
        tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        at in proptest::prelude::any::<proptest::sample::Index>(),
        begin in proptest::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1", "HTTP/1.1 "]),
    ) {
        let mut bytes = begin.as_bytes().to_vec();
        bytes.extend_from_slice(&tail);
        let at = at.index(bytes.len() + 1);
        let whole = read(Method::GET, &bytes);
        let mut reader = HeadReader::default();
        let mut input = BytesMut::from(&bytes[..at]);
        let split = match reader.read(&mut input, &Method::GET, 4096) {
            Ok(None) => {
                input.extend_from_slice(&bytes[at..]);
                reader.read(&mut input, &Method::GET, 4096)
            }
            early => early,
        };
        match (whole, split) {
            (Ok(whole), Ok(split)) => proptest::prop_assert_eq!(whole.is_some(), split.is_some()),
            // What is wrong may be noticed late by the reader that was fed in pieces: at the end of the head.
            (Err(_), Err(_) | Ok(None)) => {}
            (whole, split) => proptest::prop_assert!(false, "{whole:?} {split:?}"),
        }
    }
}
