use super::exchange::Protocol;
use super::http1_head::{self as head, Line};
use crate::Direction;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Detected {
    pub(super) protocol: Protocol,
    /// Only the other side would say this.
    pub(super) reversed: bool,
}

/// Looks at the first bytes of whoever spoke first; `None`: more are needed. With `cut` there will be no more, so the
/// likeliest is taken. Apart from that the answer does not depend on how many bytes beyond the telling ones there are.
pub(super) fn detect(direction: Direction, bytes: &[u8], cut: bool) -> Option<Detected> {
    let mut undecided = false;
    for (protocol, speaker, test) in TESTS {
        let detected = Detected {
            protocol,
            reversed: speaker.is_some_and(|speaker| speaker != direction),
        };
        match test(bytes) {
            Line::Yes => return Some(detected),
            Line::Maybe if cut && protocol == Protocol::Http1 && is_likely_http1(bytes) => return Some(detected),
            Line::Maybe => undecided = true,
            Line::No => {}
        }
    }
    (cut || !undecided).then_some(Detected {
        protocol: Protocol::Unknown,
        reversed: false,
    })
}

/// Whether a segment in the middle of something unknown begins with what is certainly HTTP/1 or a TLS handshake.
pub(super) fn detect_segment(direction: Direction, bytes: &[u8]) -> Option<Detected> {
    let speaker = if head::is_plain_request_line(bytes) {
        Direction::ToServer
    } else if head::status_line(bytes) == Line::Yes {
        Direction::ToClient
    } else if client_hello(bytes) == Line::Yes {
        return Some(Detected {
            protocol: Protocol::Tls,
            reversed: direction == Direction::ToClient,
        });
    } else {
        return None;
    };
    Some(Detected {
        protocol: Protocol::Http1,
        reversed: speaker != direction,
    })
}

/// Each protocol, which side says it, and how it is told.
type Test = (Protocol, Option<Direction>, fn(&[u8]) -> Line);

const TESTS: [Test; 9] = [
    (Protocol::Http2, Some(Direction::ToServer), http2_preface),
    (Protocol::Http1, Some(Direction::ToServer), request_line),
    (Protocol::Http1, Some(Direction::ToClient), head::status_line),
    (Protocol::Tls, Some(Direction::ToServer), client_hello),
    (Protocol::Tls, Some(Direction::ToClient), server_hello),
    (Protocol::Tls, None, tls_record),
    (Protocol::FastCgi, Some(Direction::ToServer), fastcgi_begin),
    (Protocol::Redis, Some(Direction::ToServer), redis_command),
    (Protocol::Redis, Some(Direction::ToServer), redis_inline),
];

/// Length of the PROXY protocol's line (version 1) that begins `bytes`, 0 where none does. At most 107 bytes.
pub(super) fn proxy_line(bytes: &[u8]) -> usize {
    if !bytes.starts_with(b"PROXY ") {
        return 0;
    }
    bytes
        .iter()
        .take(107)
        .position(|&byte| byte == b'\n')
        .map_or(0, |line_end| line_end + 1)
}

/// Some clients send line ends before the request line, some proxies a line of their own.
fn request_line(bytes: &[u8]) -> Line {
    match before_request_line(bytes) {
        (blank, _) if blank > 4 => Line::No,
        (_, []) => Line::Maybe,
        (_, rest) => head::request_line(rest),
    }
}

fn is_likely_http1(bytes: &[u8]) -> bool {
    head::is_plain_request_line(before_request_line(bytes).1) || bytes.starts_with(b"HTTP/1.")
}

/// How many line ends there are before a request line, and what follows them.
fn before_request_line(bytes: &[u8]) -> (usize, &[u8]) {
    let bytes = bytes.get(proxy_line(bytes)..).unwrap_or_default();
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    (blank, bytes.get(blank..).unwrap_or_default())
}

/// RFC 9113 §3.4.
fn http2_preface(bytes: &[u8]) -> Line {
    begins(bytes, b"PRI * HTTP/2.0\r\n".map(Some).as_slice())
}

fn client_hello(bytes: &[u8]) -> Line {
    // Handshake record, version 3.x, two length bytes, handshake type 1.
    begins_tls(bytes, &[Some(22), Some(3), None, None, None, Some(1)])
}

fn server_hello(bytes: &[u8]) -> Line {
    begins_tls(bytes, &[Some(22), Some(3), None, None, None, Some(2)])
}

/// Any record: in the middle of a TLS connection.
fn tls_record(bytes: &[u8]) -> Line {
    match bytes.first() {
        // A handshake record is judged by what is in it.
        Some(20 | 21 | 23) | None => begins_tls(bytes, &[None, Some(3), None, None, None]),
        Some(_) => Line::No,
    }
}

/// RFC 8446 §5.1 and RFC 5246 §6.2.3: versions up to 3.4, fragments up to 2^14 + 2048 bytes.
fn begins_tls(bytes: &[u8], shape: &[Option<u8>]) -> Line {
    let version = bytes.get(2).is_none_or(|&minor| minor <= 4);
    let length = match (bytes.get(3), bytes.get(4)) {
        (Some(&high), Some(&low)) => {
            let length = u16::from_be_bytes([high, low]);
            length > 0 && length <= (1 << 14) + 2048
        }
        (Some(&high), None) => high <= 0x48,
        _ => true,
    };
    if version && length {
        begins(bytes, shape)
    } else {
        Line::No
    }
}

/// FCGI_BEGIN_REQUEST: version 1, type 1, any id, eight bytes of content.
fn fastcgi_begin(bytes: &[u8]) -> Line {
    begins(bytes, &[Some(1), Some(1), None, None, Some(0), Some(8), None, None])
}

/// A command as typed into netcat, of those that no other protocol's client begins with.
fn redis_inline(bytes: &[u8]) -> Line {
    const COMMANDS: [&[u8]; 7] = [
        b"PING\r\n",
        b"BLPOP ",
        b"BRPOP ",
        b"INCR ",
        b"LPUSH ",
        b"RPUSH ",
        b"SELECT ",
    ];
    let same = |command: &[u8]| bytes.iter().zip(command).all(|(a, b)| a.eq_ignore_ascii_case(b));
    match COMMANDS
        .iter()
        .filter(|command| same(command))
        .map(|command| bytes.len() >= command.len())
        .max()
    {
        Some(true) => Line::Yes,
        Some(false) => Line::Maybe,
        None => Line::No,
    }
}

/// A command as an array of bulk strings: `*2\r\n$`.
fn redis_command(bytes: &[u8]) -> Line {
    let Some((b'*', rest)) = bytes.split_first() else {
        return if bytes.is_empty() { Line::Maybe } else { Line::No };
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 7 || (digits == 0 && !rest.is_empty()) {
        return Line::No;
    }
    begins(rest.get(digits..).unwrap_or_default(), b"\r\n$".map(Some).as_slice())
}

fn begins(bytes: &[u8], shape: &[Option<u8>]) -> Line {
    let fits = bytes
        .iter()
        .zip(shape)
        .all(|(byte, wanted)| wanted.is_none_or(|wanted| wanted == *byte));
    match fits {
        false => Line::No,
        true if bytes.len() < shape.len() => Line::Maybe,
        true => Line::Yes,
    }
}
