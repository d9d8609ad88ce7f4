use super::request::answer;
use super::*;

fn start() -> MetricsServer {
    MetricsServer::start("127.0.0.1:0".parse().unwrap(), "text/plain; version=0.0.4", || {
        "up 1\n".repeat(1000)
    })
    .unwrap()
}

fn connect(server: &MetricsServer) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends a request and reads until the server closes, which must not be by a reset.
fn ask(server: &MetricsServer, request: &[u8]) -> String {
    let mut stream = connect(server);
    stream.write_all(request).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn metrics_are_served() {
    let server = start();
    let response = ask(&server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for line in [
        "Content-Type: text/plain; version=0.0.4",
        "Content-Length: 5000",
        "Connection: close",
    ] {
        assert!(head.lines().any(|found| found == line), "{line}: {head}");
    }
    assert_eq!(body.len(), 5000);
    let head = ask(&server, b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(
        head.contains("Content-Length: 5000\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn requests_are_answered_by_their_first_line() {
    let cases = [
        (
            "GET /metrics?x=1 HTTP/1.0\r\n\r\n",
            Some(Answer::Metrics { body: true }),
        ),
        ("GET /metrics HTTP/1.1\n\n", Some(Answer::Metrics { body: true })),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n", None),
        ("POST /metrics HTTP/1.1\r\n\r\n", Some(Answer::MethodNotAllowed)),
        ("GET / HTTP/1.1\r\n\r\n", Some(Answer::NotFound)),
        ("POST /x HTTP/1.1\r\n\r\n", Some(Answer::NotFound)),
        ("GET /metrics\r\n\r\n", Some(Answer::BadRequest)),
        ("GET  /metrics HTTP/1.1\r\n\r\n", Some(Answer::BadRequest)),
        ("GET http://x/metrics HTTP/1.1\r\n\r\n", Some(Answer::BadRequest)),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Answer::BadRequest)),
        ("\r\n\r\n", Some(Answer::BadRequest)),
        ("", None),
    ];
    for (request, expected) in cases {
        assert_eq!(answer(request.as_bytes()), expected, "{request:?}");
    }
    assert_eq!(answer(&[0xff; 100]), None);
    assert_eq!(answer(&[b'x'; 8193]), Some(Answer::HeadTooLarge));
}

#[test]
fn a_client_that_is_refused_while_it_sends_reads_the_answer_and_no_reset() {
    let server = start();
    let mut upload = b"POST /metrics HTTP/1.1\r\nContent-Length: 300000\r\n\r\n".to_vec();
    upload.resize(upload.len() + 300_000, b'x');
    let mut large = b"GET /metrics HTTP/1.1\r\nCookie: ".to_vec();
    large.resize(large.len() + 100_000, b'x');
    for _ in 0..20 {
        let response = ask(&server, &upload);
        assert!(
            response.starts_with("HTTP/1.1 405 ") && response.contains("Allow: GET, HEAD\r\n"),
            "{response}"
        );
        assert!(ask(&server, &large).starts_with("HTTP/1.1 431 "));
    }
}

#[test]
fn a_slow_client_is_told_so_and_delays_nobody() {
    let server = start();
    let mut slow = connect(&server);
    slow.write_all(b"GET /met").unwrap();
    let began = Instant::now();
    assert!(ask(&server, b"GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    assert!(began.elapsed() < PATIENCE);
    // A byte now and then buys no time.
    for byte in b"rics HTTP" {
        thread::sleep(Duration::from_millis(300));
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
    }
    let mut response = String::new();
    slow.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(began.elapsed() < PATIENCE * 3);
}

#[test]
fn who_idles_makes_room_for_who_asks() {
    let server = start();
    // As those that keep a connection for the next time, before and after a request, and in the middle of one.
    let mut idle: Vec<TcpStream> = (0..5 * MOST_CLIENTS).map(|_| connect(&server)).collect();
    for (place, client) in idle.iter_mut().enumerate() {
        let words: &[u8] = [&b""[..], b"GET /metrics HTTP/1.1\r\n\r\n", b"GET /met"][place % 3];
        client.write_all(words).unwrap();
    }
    let waited = Instant::now();
    assert!(ask(&server, b"GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    // Each that had to make room had its tenth of a second, those of one row together.
    let most = PATIENCE.min(SEAT * 8);
    assert!(waited.elapsed() < most, "{:?}", waited.elapsed());
    assert!(server.clients.lock().len() <= MOST_CLIENTS);
    for (place, mut client) in idle.into_iter().enumerate() {
        let mut response = String::new();
        client.read_to_string(&mut response).unwrap();
        // Who never said a word is told of it where it had its full time.
        let expected: &[&str] = [&["", "HTTP/1.1 408 "][..], &["HTTP/1.1 200 "], &["HTTP/1.1 408 "]][place % 3];
        let status = response.get(..13).unwrap_or_default();
        assert!(expected.contains(&status), "{place}: {status}");
    }
}

#[test]
fn who_is_connected_when_it_stops_is_served() {
    let server = start();
    let mut clients: Vec<TcpStream> = (0..20).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    }
    let reading = thread::spawn(move || {
        for mut client in clients {
            let mut response = String::new();
            client.read_to_string(&mut response).unwrap();
            assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        }
    });
    drop(server);
    reading.join().unwrap();
}

#[test]
fn only_loopback_is_served() {
    let start = |address: &str| MetricsServer::start(loopback_address(address)?, "text/plain", String::new);
    for address in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464", "[2001:db8::1]:9464"] {
        let error = start(address).unwrap_err();
        assert!(matches!(error, ServeError::NotLoopback(_)), "{error}");
        assert!(error.to_string().contains("127.0.0.1:9464"), "{error}");
    }
    for address in ["9464", ":9464", "127.0.0.1", "localhost", "localhost:99999"] {
        let error = start(address).unwrap_err();
        assert!(matches!(error, ServeError::NotAnAddress(_)), "{error}");
    }
    for address in ["localhost:0", "127.0.0.53:0"] {
        assert!(start(address).unwrap().address().ip().is_loopback());
    }
    let taken = start("127.0.0.1:0").unwrap();
    let error = start(&taken.address().to_string()).unwrap_err();
    assert!(error.to_string().contains(&taken.address().to_string()), "{error}");
}
