//! As much of HTTP/1 as actors need: heads, where a body ends, and bodies that tell whose they are.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::failure::Failure;
use super::script::{Declared, Request, Respond};

/// The longest head that is read, and the longest line of a chunk's size.
const HEAD_LIMIT: usize = 256 * 1024;
const LINE_LIMIT: usize = 4096;

/// What was asked and answered on a connection, as this end knows it.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    /// Requests that were read here: method and path.
    pub(super) asked: Vec<(String, String)>,
    /// How many of them were answered.
    pub(super) answered: usize,
    /// Requests that were sent from here, and whose responses were not read yet.
    pub(super) outstanding: VecDeque<Arc<Request>>,
    /// The request that was sent last.
    pub(super) last: Option<Arc<Request>>,
    /// The body that belongs to the head that was read last, if it was not read with it.
    pub(super) body: Option<Framing>,
    /// The last response said that the connection will not be kept, or a request or response on it failed.
    pub(super) not_kept: bool,
    /// When the last response was read.
    pub(super) idle_since: Option<Instant>,
    /// What its `Keep-Alive: timeout=` said.
    pub(super) kept_for: Option<Duration>,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After that many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    ToEnd,
}

/// A head that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    first: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Reads one from the wire, exactly. A failure comes with the bytes that lay there.
    pub(super) fn read(connection: &Connection, deadline: Instant) -> Result<(Head, Vec<u8>), (Failure, usize)> {
        let bytes = connection.read_through(b"\r\n\r\n", HEAD_LIMIT, deadline)?;
        let head = Head::parse(&bytes).ok_or((Failure::Malformed, bytes.len()))?;
        Ok((head, bytes))
    }

    /// Looks at one that lies in the receive queue, within the time to `deadline`, and leaves it there.
    pub(super) fn peek(connection: &Connection, deadline: Instant) -> Result<(Head, usize), Failure> {
        let bytes = connection
            .peek_through(b"\r\n\r\n", HEAD_LIMIT, deadline)
            .map_err(|(failure, _)| failure)?;
        let head = Head::parse(&bytes).ok_or(Failure::Malformed)?;
        Ok((head, bytes.len()))
    }

    fn parse(bytes: &[u8]) -> Option<Head> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
        let first = lines.next()?.to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Some(Head {
            first,
            fields: fields.collect::<Option<_>>()?,
        })
    }

    /// A field's value; `name` in lower case.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|field| field.0 == name)
            .map(|field| field.1.as_str())
    }

    fn says(&self, name: &str, word: &str) -> bool {
        let mut words = self
            .fields
            .iter()
            .filter(|field| field.0 == name)
            .flat_map(|field| field.1.split(','));
        words.any(|found| found.trim().eq_ignore_ascii_case(word))
    }

    /// How long the peer says that it keeps an idle connection: `Keep-Alive: timeout=5`.
    pub(super) fn kept_for(&self) -> Option<Duration> {
        let parameters = self.field("keep-alive")?.split(',');
        let seconds = parameters.filter_map(|parameter| parameter.trim().strip_prefix("timeout="));
        seconds
            .filter_map(|seconds| seconds.parse().ok())
            .map(Duration::from_secs)
            .next()
    }

    /// A request's method and path.
    pub(super) fn request(&self) -> Option<(String, String)> {
        let mut words = self.first.split(' ');
        let (method, path, version) = (words.next()?, words.next()?, words.next()?);
        (version.starts_with("HTTP/") && words.next().is_none()).then(|| (method.to_owned(), path.to_owned()))
    }

    /// A response's status.
    pub(super) fn status(&self) -> Option<u16> {
        let rest = self.first.strip_prefix("HTTP/")?;
        let status = rest.split(' ').nth(1)?;
        (status.len() == 3).then(|| status.parse().ok()).flatten()
    }

    /// Whether the connection may be used again afterwards (RFC 9112 9.3).
    pub(super) fn is_kept(&self) -> bool {
        let old = self.first.starts_with("HTTP/1.0");
        !self.says("connection", "close") && (!old || self.says("connection", "keep-alive"))
    }

    /// Where a request's body ends (RFC 9112 6.3).
    pub(super) fn request_body(&self) -> Result<Framing, Failure> {
        Ok(self.declared()?.unwrap_or(Framing::Length(0)))
    }

    /// Where a response's body ends (RFC 9112 6.3).
    pub(super) fn response_body(&self, status: u16, method: Option<&str>) -> Result<Framing, Failure> {
        if !has_body(status) || method == Some("HEAD") {
            return Ok(Framing::Length(0));
        }
        Ok(self.declared()?.unwrap_or(Framing::ToEnd))
    }

    fn declared(&self) -> Result<Option<Framing>, Failure> {
        if self.says("transfer-encoding", "chunked") {
            return Ok(Some(Framing::Chunked));
        }
        let Some(length) = self.field("content-length") else {
            return Ok(None);
        };
        length
            .parse()
            .map(|length| Some(Framing::Length(length)))
            .map_err(|_| Failure::Malformed)
    }
}

impl Framing {
    /// The length that was announced.
    pub(super) fn length(self) -> Option<u64> {
        if let Framing::Length(length) = self {
            Some(length)
        } else {
            None
        }
    }

    /// Reads a body, exactly. `sink` gets every byte of it as it was on the wire. Returns the bytes of the body itself.
    pub(super) fn read(
        self,
        connection: &Connection,
        deadline: Instant,
        sink: &mut dyn FnMut(&[u8]),
    ) -> (u64, Result<(), Failure>) {
        match self {
            Framing::Length(length) => connection.read(length, deadline, sink),
            Framing::ToEnd => match connection.read(u64::MAX, deadline, sink) {
                (count, Err(Failure::EndOfFile)) => (count, Ok(())),
                other => other,
            },
            Framing::Chunked => {
                let mut count = 0;
                let result = read_chunks(connection, deadline, sink, &mut count);
                (count, result)
            }
        }
    }
}

fn read_chunks(
    connection: &Connection,
    deadline: Instant,
    sink: &mut dyn FnMut(&[u8]),
    count: &mut u64,
) -> Result<(), Failure> {
    let line = |sink: &mut dyn FnMut(&[u8])| -> Result<String, Failure> {
        let line = connection
            .read_through(b"\r\n", LINE_LIMIT, deadline)
            .map_err(|(failure, _)| failure)?;
        sink(&line);
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    };
    loop {
        let first = line(sink)?;
        let digits = first.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| Failure::Malformed)?;
        if size == 0 {
            // Trailers, to an empty line.
            while !line(sink)?.is_empty() {}
            return Ok(());
        }
        let (came, result) = connection.read(size, deadline, sink);
        *count += came;
        result?;
        if !line(sink)?.is_empty() {
            return Err(Failure::Malformed);
        }
    }
}

fn has_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// The head of a request to `server`.
pub(super) fn request_head(request: &Request, server: SocketAddrV4) -> Vec<u8> {
    let version = if request.old { "1.0" } else { "1.1" };
    let mut own = vec![("Host", server.to_string())];
    match request.framing {
        Declared::Truly if request.body > 0 => own.push(("Content-Length", request.body.to_string())),
        Declared::Length(length) => own.push(("Content-Length", length.to_string())),
        Declared::Chunked => own.push(("Transfer-Encoding", "chunked".to_owned())),
        Declared::Truly | Declared::Nothing => {}
    }
    if request.expects.is_some() {
        own.push(("Expect", "100-continue".to_owned()));
    }
    head(
        &format!("{} {} HTTP/{version}", request.method, request.path),
        &own,
        &request.headers,
    )
}

/// The head of a response with `size` bytes of body to a request for `path`.
pub(super) fn response_head(respond: &Respond, size: u64, path: Option<&str>) -> Vec<u8> {
    let version = if respond.old { "1.0" } else { "1.1" };
    let mut own = vec![];
    match respond.framing {
        Declared::Truly if has_body(respond.status) => own.push(("Content-Length", size.to_string())),
        Declared::Length(length) => own.push(("Content-Length", length.to_string())),
        Declared::Chunked => own.push(("Transfer-Encoding", "chunked".to_owned())),
        Declared::Truly | Declared::Nothing => {}
    }
    if respond.json {
        own.push(("Content-Type", "application/json".to_owned()));
    } else if let Some(path) = path {
        own.push(("X-Path", path.to_owned()));
    }
    head(
        &format!("HTTP/{version} {} {}", respond.status, reason(respond.status)),
        &own,
        &respond.headers,
    )
}

/// What the script says takes the place of what would be said otherwise.
fn head(first: &str, own: &[(&str, String)], headers: &[String]) -> Vec<u8> {
    let said = |name: &str| {
        let mut names = headers.iter().filter_map(|header| header.split_once(':'));
        names.any(|(said, _)| said.trim().eq_ignore_ascii_case(name))
    };
    let mut text = format!("{first}\r\n");
    for (name, value) in own.iter().filter(|(name, _)| !said(name)) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// A body of any size that is never in memory as a whole: a line repeated, cut at the end.
pub(super) struct Body {
    pattern: Vec<u8>,
    at: u64,
    size: u64,
    chunked: bool,
    finished: bool,
}

/// Bytes that are handed to the kernel at once.
const PIECE: u64 = 256 * 1024;

impl Body {
    pub(super) fn new(line: &[u8], size: u64, chunked: bool) -> Self {
        let repeats = (PIECE as usize).div_ceil(line.len().max(1));
        Body {
            pattern: line.repeat(repeats),
            at: 0,
            size,
            chunked,
            finished: false,
        }
    }

    /// Bytes on the wire that it will be, with the lines between chunks.
    pub(super) fn wire_size(&self) -> u64 {
        if !self.chunked {
            return self.size;
        }
        let frame = |payload: u64| format!("{payload:x}").len() as u64 + 4 + payload;
        let (whole, rest) = (self.size / PIECE, self.size % PIECE);
        whole * frame(PIECE) + if rest > 0 { frame(rest) } else { 0 } + 5
    }

    /// Puts the next piece behind what is in `buffer`; nothing if there is no more.
    pub(super) fn fill(&mut self, buffer: &mut Vec<u8>) {
        let count = (self.size - self.at).min(PIECE);
        if self.chunked && count > 0 {
            buffer.extend_from_slice(format!("{count:x}\r\n").as_bytes());
        }
        let mut left = count as usize;
        while left > 0 && !self.pattern.is_empty() {
            let from = (self.at % self.pattern.len() as u64) as usize;
            let piece = &self.pattern[from..self.pattern.len().min(from + left)];
            buffer.extend_from_slice(piece);
            self.at += piece.len() as u64;
            left -= piece.len();
        }
        if self.chunked && count > 0 {
            buffer.extend_from_slice(b"\r\n");
        }
        if self.chunked && self.at == self.size && !self.finished {
            self.finished = true;
            buffer.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_size_and_tells_its_line() {
        for (size, chunked) in [
            (0, false),
            (5, false),
            (700_001, false),
            (0, true),
            (7, true),
            (PIECE * 2, true),
            (700_001, true),
        ] {
            let mut body = Body::new(b"/a #1\n", size, chunked);
            let announced = body.wire_size();
            let mut whole = vec![];
            loop {
                let before = whole.len();
                body.fill(&mut whole);
                if whole.len() == before {
                    break;
                }
            }
            assert_eq!(whole.len() as u64, announced, "{size} {chunked}");
            if !chunked {
                assert!(whole.iter().zip(b"/a #1\n".iter().cycle()).all(|(a, b)| a == b));
            }
        }
    }

    #[test]
    fn what_will_be_kept() {
        let kept = |text: &str| Head::parse(text.as_bytes()).unwrap().is_kept();
        assert!(kept("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!kept("HTTP/1.1 200 OK\r\nconnection: Close\r\n\r\n"));
        assert!(!kept("HTTP/1.0 200 OK\r\n\r\n"));
        assert!(kept("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn where_bodies_end() {
        let head = |text: &str| Head::parse(text.as_bytes()).unwrap();
        assert_eq!(head("GET / HTTP/1.1\r\n\r\n").request_body(), Ok(Framing::Length(0)));
        assert_eq!(
            head("HTTP/1.1 200 OK\r\n\r\n").response_body(200, Some("GET")),
            Ok(Framing::ToEnd)
        );
        assert_eq!(
            head("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").response_body(200, Some("HEAD")),
            Ok(Framing::Length(0))
        );
        assert_eq!(
            head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").response_body(200, None),
            Ok(Framing::Chunked)
        );
        assert_eq!(
            head("HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n").response_body(200, None),
            Err(Failure::Malformed)
        );
        assert_eq!(Head::parse(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), None);
    }
}
