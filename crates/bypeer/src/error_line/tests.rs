use super::*;

/// Messages as the programs print them, and what they tell: `A<->B` both ends, else the addresses with `s`, `c` or `?` for
/// the end.
const LINES: &[(&str, &str)] = &[
    // Go
    (
        r#"Post "http://localhost:8765": read tcp 127.0.0.1:49802->127.0.0.1:8765: read: connection reset by peer"#,
        "127.0.0.1:49802<->127.0.0.1:8765",
    ),
    (
        "write tcp [::1]:50412->[::1]:8080: write: broken pipe",
        "[::1]:50412<->[::1]:8080",
    ),
    (
        "read tcp [fe80::1%eth0]:50412->[fe80::2%eth0]:80: i/o timeout",
        "[fe80::1]:50412<->[fe80::2]:80",
    ),
    (
        r#"2026/01/02 13:04:05 Get "http://127.0.0.1:9/": dial tcp 127.0.0.1:9: connect: connection refused"#,
        "s127.0.0.1:9",
    ),
    (r#"Get "https://api.example.com/v1/x": EOF"#, "sapi.example.com:443"),
    // nginx
    (
        r#"2026/01/02 13:04:05 [error] 31#31: *57 recv() failed (104: Connection reset by peer) while reading response header from upstream, client: 172.18.0.1, server: example.com, request: "POST /submit HTTP/1.1", upstream: "http://127.0.0.1:8000/submit", host: "localhost:8080""#,
        "s127.0.0.1:8000",
    ),
    (
        r#"2026/01/02 13:04:05 [error] 7#7: *3 upstream prematurely closed connection while reading response header from upstream, client: 10.0.0.1, server: , request: "GET / HTTP/1.1", upstream: "fastcgi://[::1]:9000", host: "x""#,
        "s[::1]:9000",
    ),
    (
        r#"2026/01/02 13:04:05 [info] 7#7: *9 recv() failed (104: Connection reset by peer) while reading client request line, client: 203.0.113.9, server: 0.0.0.0:80"#,
        "c203.0.113.9",
    ),
    // HAProxy
    (
        "Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/-1/109 502 2750 - - SH-- 1/1/1/1/0 0/0 {1wt.eu} {} \"GET /index.html HTTP/1.1\"",
        "?10.0.1.2:33317",
    ),
    // Node
    (
        "Error: connect ECONNREFUSED 127.0.0.1:80\n    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1555:16) { errno: -111, code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port: 80 }",
        "s127.0.0.1:80",
    ),
    (
        "Error: connect ECONNREFUSED ::1:3000 { address: '::1', port: 3000 }",
        "s[::1]:3000",
    ),
    (
        "SocketError: other side closed { socket: { localAddress: '127.0.0.1', localPort: 56312, remoteAddress: '127.0.0.1', remotePort: 8080, bytesWritten: 120 } }",
        "127.0.0.1:56312<->127.0.0.1:8080",
    ),
    (
        "FetchError: request to http://localhost:3000/api failed, reason: read ECONNRESET",
        "slocalhost:3000",
    ),
    // Python
    (
        "requests.exceptions.ConnectionError: HTTPConnectionPool(host='127.0.0.1', port=8000): Max retries exceeded with url: / (Caused by ProtocolError('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer')))",
        "s127.0.0.1:8000",
    ),
    (
        "aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host 127.0.0.1:8080 ssl:default [Connect call failed ('127.0.0.1', 8080)]",
        "s127.0.0.1:8080",
    ),
    ("socket.send() raised to ('192.0.2.7', 5000)", "s192.0.2.7:5000"),
    (
        r#"psycopg2.OperationalError: connection to server at "10.0.0.5", port 5432 failed: Connection refused"#,
        "?10.0.0.5:5432",
    ),
    // Java
    (
        "org.apache.http.conn.HttpHostConnectException: Connect to localhost:8080 [localhost/127.0.0.1] failed: Connection refused",
        "slocalhost:8080",
    ),
    (
        "io.netty.channel.unix.Errors$NativeIoException: recvAddress(..) failed: Connection reset by peer [id: 0x5f0c, L:/10.0.0.1:41234 ! R:backend.local/10.0.0.2:8443]",
        "10.0.0.1:41234<->10.0.0.2:8443",
    ),
    (
        "java.net.ConnectException: Connection refused: no further information: backend.local/10.0.0.2:8443",
        "?10.0.0.2:8443",
    ),
    (
        "\tat com.example.Main.run(Main.java:42) SocketException: Connection reset https://10.0.0.9:8443/x",
        "s10.0.0.9:8443",
    ),
    // .NET
    (
        "System.Net.Http.HttpRequestException: Connection refused (localhost:5000)",
        "slocalhost:5000",
    ),
    (
        "System.Net.Sockets.SocketException (104): Connection reset by peer [::ffff:10.0.0.3]:443",
        "?[::ffff:10.0.0.3]:443",
    ),
    // curl
    (
        "curl: (7) Failed to connect to 127.0.0.1 port 8080 after 0 ms: Couldn't connect to server",
        "?127.0.0.1:8080",
    ),
    (
        "curl: (7) Failed to connect to example.com port 8080 after 12 ms: Connection refused",
        "sexample.com:8080",
    ),
    // Others
    (
        "Error while reading from server: redis://cache.internal/0 connection reset",
        "scache.internal:6379",
    ),
    (
        "hyper::Error(IncompleteMessage) at src/main.rs:33 peer 192.0.2.1:443",
        "?192.0.2.1:443",
    ),
    ("2026-01-02T13:04:05Z connection reset by peer", ""),
];

fn told(line: &ErrorLine) -> String {
    if let Some((a, b)) = line.pair {
        return format!("{a}<->{b}");
    }
    let one = |address: &Address| {
        let end = match address.end {
            End::Server => 's',
            End::Client => 'c',
            End::Either => '?',
        };
        match (&address.host, address.port) {
            (Host::Ip(addr), Some(port)) => format!("{end}{}", Endpoint { addr: *addr, port }),
            (Host::Ip(addr), None) => format!("{end}{addr}"),
            (Host::Name(name), Some(port)) => format!("{end}{name}:{port}"),
            (Host::Name(name), None) => format!("{end}{name}"),
        }
    };
    line.addresses.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn lines_of_many_programs() {
    for (line, expected) in LINES {
        let parsed = ErrorLine::parse(line).unwrap_or_else(|| panic!("nothing found in {line}"));
        assert_eq!(told(&parsed), *expected, "{line}");
    }
}

#[test]
fn times_are_found_beside_addresses() {
    for (line, has_time) in [
        (LINES[3].0, true),
        (LINES[5].0, true),
        (LINES[8].0, true),
        (LINES[0].0, false),
        (LINES[13].0, false),
    ] {
        assert_eq!(ErrorLine::parse(line).unwrap().time.is_some(), has_time, "{line}");
    }
}

#[test]
fn a_line_that_tells_nothing_is_refused() {
    for line in ["", "panic: index out of range", "main.go:33: oops", "geofence EOFX"] {
        assert_eq!(ErrorLine::parse(line), None, "{line}");
    }
}

#[test]
fn kinds_of_failure() {
    for (line, kind) in [
        (
            "requests.exceptions.ConnectionError: ('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))",
            Kind::Reset,
        ),
        ("java.net.SocketException: Connection reset", Kind::Reset),
        ("curl: (56) Recv failure: Connection reset by peer", Kind::Reset),
        ("java.net.ConnectException: Connection refused", Kind::Refused),
        ("java.net.SocketException: Broken pipe (Write failed)", Kind::BrokenPipe),
        ("write EPIPE", Kind::BrokenPipe),
        ("java.net.SocketTimeoutException: Read timed out", Kind::Timeout),
        ("context deadline exceeded", Kind::Timeout),
        (
            "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
            Kind::Eof,
        ),
        ("Error: socket hang up { code: 'ECONNRESET' }", Kind::Eof),
        (
            "org.apache.http.NoHttpResponseException: The target server failed to respond",
            Kind::Eof,
        ),
        ("curl: (52) Empty reply from server", Kind::Eof),
        ("main.go:33: EOF", Kind::Eof),
    ] {
        let parsed = ErrorLine::parse(line).unwrap_or_else(|| panic!("nothing found in {line}"));
        assert_eq!(parsed.kind, Some(kind), "{line}");
        assert!(parsed.tells_only_a_kind(), "{line}: {parsed:?}");
    }
    assert_eq!(
        ErrorLine::parse("java.net.SocketException: Connection reset")
            .unwrap()
            .to_string(),
        "the line names neither an address nor a time, only a reset"
    );
}

#[test]
fn paths_of_nginx() {
    let line =
        r#"[error] request: "POST /submit?token=1 HTTP/1.1", upstream: "http://127.0.0.1:8000/in/submit?token=1""#;
    assert_eq!(ErrorLine::parse(line).unwrap().paths, ["/submit", "/in/submit"]);
    assert_eq!(ErrorLine::parse(LINES[5].0).unwrap().paths, ["/submit"]);
    assert!(ErrorLine::parse(LINES[0].0).unwrap().paths.is_empty());
}

#[test]
fn what_was_found_is_said() {
    let said = |line: &str| ErrorLine::parse(line).unwrap().to_string();
    assert_eq!(
        said(LINES[0].0),
        "the line names both ends, 127.0.0.1:49802 and 127.0.0.1:8765"
    );
    assert_eq!(
        said(LINES[5].0),
        "the line names only the server 127.0.0.1:8000, and tells of a reset"
    );
    assert_eq!(
        said(LINES[7].0),
        "the line names only the client 203.0.113.9 without a port, and tells of a reset"
    );
    assert_eq!(
        said(LINES[4].0),
        "the line names only the server api.example.com:443 (a name, which is not looked up), and tells of a close before the answer was complete"
    );
}

#[test]
fn no_cut_of_a_line_is_fatal() {
    for (line, _) in LINES {
        for (end, _) in line.char_indices() {
            let _ = ErrorLine::parse(&line[..end]);
            let _ = ErrorLine::parse(&line[end..]);
            let _ = ErrorLine::parse(&format!("{}é\u{202e}{}", &line[..end], &line[end..]));
        }
    }
}
