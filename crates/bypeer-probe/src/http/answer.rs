//! Bytes to an answer, as they come.

use std::time::Instant;

use bypeer_wire::app::{Chunked, ChunkedRead, Framing, Method, ResponseHead, sole_response};

/// The largest head that is read.
const HEAD_MAX: usize = 64 << 10;
/// The most that interim answers may take together, beside their head's own bound.
const INTERIM_MAX: usize = 256 << 10;
/// Kept of a body.
const BODY_KEPT: usize = 16 << 10;

/// An answer, as far as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its head.
    pub head: ResponseHead,
    /// Its header fields in order; names as they were spelt.
    pub fields: Vec<Field>,
    /// Statuses of the interim answers (1xx) before it.
    pub interim: Vec<u16>,
    /// Bytes of its head.
    pub head_len: u64,
    /// Bytes of its body that came, chunked framing included.
    pub body_len: u64,
    /// Bytes that its head declares for the body; `None` for chunked and close-delimited ones.
    pub declared: Option<u64>,
    /// How its end is told.
    pub framing: Framing,
    /// The first bytes of the body as they came, at most 16 KiB.
    pub body: Vec<u8>,
    /// All of it came.
    pub complete: bool,
    /// When its first byte came.
    pub began: Instant,
    /// When its last byte so far came.
    pub last: Instant,
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value; what is not UTF-8 is replaced.
    pub value: String,
}

/// Takes the bytes of one answer.
#[derive(Debug)]
pub struct AnswerReader {
    method: Method,
    head: Vec<u8>,
    began: Option<Instant>,
    interim: Vec<u16>,
    /// Bytes of them.
    interim_len: usize,
    body: Option<Body>,
    answer: Option<Answer>,
    /// What came is no answer: nothing more is taken.
    broken: bool,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Left(u64),
    Chunked(Chunked),
    UntilClose,
}

/// What became of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fed {
    /// All were taken, and more are to come.
    More,
    /// The answer ended after so many of them.
    Whole(usize),
    /// They are no HTTP/1 answer, or break its framing.
    NotHttp,
}

impl Answer {
    /// The value of the first field with this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.as_str())
    }

    /// 2xx or 3xx.
    pub fn is_good(&self) -> bool {
        (200..400).contains(&self.head.status)
    }
}

impl AnswerReader {
    /// Of the answer to a request with this method.
    pub fn new(method: &Method) -> AnswerReader {
        AnswerReader {
            method: method.clone(),
            head: Vec::new(),
            began: None,
            interim: Vec::new(),
            interim_len: 0,
            body: None,
            answer: None,
            broken: false,
        }
    }

    /// Takes bytes that came at `at`. What was no answer once is none whatever follows, and is not kept.
    pub fn feed(&mut self, bytes: &[u8], at: Instant) -> Fed {
        if self.broken {
            return Fed::NotHttp;
        }
        if bytes.is_empty() {
            return Fed::More;
        }
        let fed = self.feed_head(bytes, at);
        self.broken = fed == Fed::NotHttp;
        fed
    }

    fn feed_head(&mut self, bytes: &[u8], at: Instant) -> Fed {
        let began = *self.began.get_or_insert(at);
        let mut used = 0;
        while self.answer.is_none() {
            let before = self.head.len();
            self.head.extend_from_slice(&bytes[used..]);
            // Servers may send line ends behind what they answered before.
            let blank = self
                .head
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            if !b"HTTP/1.".starts_with(&self.head[blank..self.head.len().min(blank + 7)]) {
                return Fed::NotHttp;
            }
            let Some(sole) = sole_response(&self.head[blank..], Some(&self.method)) else {
                let is_whole = self.head[blank..].windows(4).any(|end| end == b"\r\n\r\n");
                if is_whole || self.head.len() > HEAD_MAX {
                    return Fed::NotHttp;
                }
                return Fed::More;
            };
            let head_len = blank + sole.head_len as usize;
            used += head_len - before;
            if (100..200).contains(&sole.head.status) && sole.head.status != 101 {
                self.interim.push(sole.head.status);
                self.interim_len += head_len;
                if self.interim_len > INTERIM_MAX {
                    return Fed::NotHttp;
                }
                self.head.clear();
                if used == bytes.len() {
                    return Fed::More;
                }
                continue;
            }
            self.body = match sole.framing {
                Framing::None | Framing::Tunnel => None,
                Framing::Length(length) => Some(Body::Left(length)),
                Framing::Chunked => Some(Body::Chunked(Chunked::new())),
                Framing::Close | Framing::Unknown => Some(Body::UntilClose),
            };
            let declared = match sole.framing {
                Framing::Length(length) => Some(length),
                Framing::None | Framing::Tunnel => Some(0),
                Framing::Chunked | Framing::Close | Framing::Unknown => None,
            };
            self.answer = Some(Answer {
                head: sole.head,
                fields: fields(&self.head[blank..head_len]),
                interim: std::mem::take(&mut self.interim),
                head_len: sole.head_len,
                body_len: 0,
                declared,
                framing: sole.framing,
                body: Vec::new(),
                complete: self.body.is_none(),
                began,
                last: at,
            });
        }
        self.feed_body(bytes, used, at)
    }

    fn feed_body(&mut self, bytes: &[u8], used: usize, at: Instant) -> Fed {
        let Some(answer) = &mut self.answer else {
            return Fed::More;
        };
        answer.last = at;
        let rest = &bytes[used..];
        let (taken, fed) = match &mut self.body {
            None => (0, Fed::Whole(used)),
            Some(Body::Left(left)) => {
                let taken = (*left).min(rest.len() as u64) as usize;
                *left -= taken as u64;
                (
                    taken,
                    if *left == 0 {
                        Fed::Whole(used + taken)
                    } else {
                        Fed::More
                    },
                )
            }
            Some(Body::Chunked(chunked)) => match chunked.read(rest) {
                ChunkedRead::More => (rest.len(), Fed::More),
                ChunkedRead::End(end) => (end, Fed::Whole(used + end)),
                ChunkedRead::Invalid => (0, Fed::NotHttp),
            },
            Some(Body::UntilClose) => (rest.len(), Fed::More),
        };
        answer.body_len += taken as u64;
        let room = BODY_KEPT - answer.body.len();
        answer.body.extend_from_slice(&rest[..taken.min(room)]);
        answer.complete |= matches!(fed, Fed::Whole(_));
        fed
    }

    /// The server closed. A close-delimited answer is whole with that.
    pub fn closed(&mut self) {
        if let (Some(answer), Some(Body::UntilClose)) = (&mut self.answer, &self.body) {
            answer.complete = true;
        }
    }

    /// The answer, as far as it came; `None` before its head was whole.
    pub fn finish(self) -> Option<Answer> {
        self.answer
    }

    /// Its final head is here.
    pub fn has_head(&self) -> bool {
        self.answer.is_some()
    }

    /// An interim answer came, and no final one yet.
    pub fn has_interim(&self) -> bool {
        !self.interim.is_empty()
    }

    /// The first bytes of what is no head, or not yet, at most 64, for a message.
    pub fn beginning(&self) -> &[u8] {
        &self.head[..self.head.len().min(64)]
    }
}

fn fields(head: &[u8]) -> Vec<Field> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Response::new(&mut headers);
    let mut config = httparse::ParserConfig::default();
    config.ignore_invalid_headers_in_responses(true);
    config.allow_spaces_after_header_name_in_responses(true);
    // What is in it was read once already; where there are too many fields, none is told.
    let _ = config.parse_response(&mut parsed, head);
    parsed
        .headers
        .iter()
        .filter(|header| !header.name.is_empty())
        .map(|header| Field {
            name: header.name.to_owned(),
            value: String::from_utf8_lossy(header.value).trim().to_owned(),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(method: &Method, bytes: &[u8], piece: usize) -> (Fed, Option<Answer>) {
        let mut reader = AnswerReader::new(method);
        let mut position = 0;
        for piece in bytes.chunks(piece) {
            match reader.feed(piece, Instant::now()) {
                Fed::More => position += piece.len(),
                Fed::Whole(used) => return (Fed::Whole(position + used), reader.finish()),
                Fed::NotHttp => return (Fed::NotHttp, reader.finish()),
            }
        }
        (Fed::More, reader.finish())
    }

    #[test]
    fn an_answer_ends_where_its_framing_says_however_it_comes() {
        let length: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhelloHTTP";
        let chunked: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP";
        let none: &[u8] = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nHTTP";
        for bytes in [length, chunked, none] {
            for piece in 1..=bytes.len() {
                let (fed, answer) = read(&Method::Get, bytes, piece);
                assert_eq!(fed, Fed::Whole(bytes.len() - 4), "{piece}");
                assert!(answer.unwrap().complete);
            }
        }
        let (fed, answer) = read(&Method::Head, length, 1000);
        assert_eq!(fed, Fed::Whole(length.len() - 9));
        assert_eq!(answer.unwrap().field("server"), Some("x"));
        let (_, answer) = read(&Method::Get, chunked, 1000);
        assert_eq!(answer.unwrap().interim, [100]);
    }

    #[test]
    fn an_answer_that_ends_with_the_connection_is_whole_when_that_closes() {
        let mut reader = AnswerReader::new(&Method::Get);
        assert_eq!(reader.feed(b"HTTP/1.0 200 OK\r\n\r\nabc", Instant::now()), Fed::More);
        reader.closed();
        let answer = reader.finish().unwrap();
        assert!(answer.complete);
        assert_eq!((answer.body_len, &*answer.body), (3, &b"abc"[..]));
        let mut reader = AnswerReader::new(&Method::Get);
        reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Instant::now());
        reader.closed();
        assert!(!reader.finish().unwrap().complete);
    }

    #[test]
    fn interim_answers_without_an_end_are_no_http() {
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100);
        let mut reader = AnswerReader::new(&Method::Get);
        let fed = (0..1000).map(|_| reader.feed(&interim, Instant::now()));
        assert_eq!(fed.filter(|fed| *fed == Fed::More).count(), INTERIM_MAX / interim.len());
    }

    #[test]
    fn another_protocol_is_told_as_soon_as_it_shows() {
        for bytes in [
            &b"SSH-2.0-OpenSSH"[..],
            b"HTTP/2.0 200",
            b"\x15\x03\x01",
            b"HTTP/1.1 abc\r\n\r\n",
            b"220 mail\r\n",
        ] {
            assert_eq!(read(&Method::Get, bytes, 3).0, Fed::NotHttp, "{bytes:?}");
        }
        assert_eq!(
            read(
                &Method::Get,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",
                5
            )
            .0,
            Fed::NotHttp
        );
    }
}
