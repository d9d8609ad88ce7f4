//! Where the body of an answer ends (RFC 9112, sections 6 and 7). Bytes in, pieces out; no IO.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The longest line with a chunk's size and extensions, bytes.
const CHUNK_LINE_MOST: usize = 4 << 10;
/// The largest trailer section, bytes.
const TRAILERS_MOST: usize = 16 << 10;
/// The most trailer fields.
const TRAILER_FIELDS_MOST: usize = 64;

/// How a body's end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// After so many bytes.
    Length(u64),
    /// By a last chunk.
    Chunked,
    /// By the end of the connection's stream.
    UntilClose,
}

/// Takes a body out of the bytes that arrive.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of the body that were given out.
    given: u64,
    length: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    /// CR LF behind a chunk's data.
    ChunkEnd,
    /// Behind the last chunk.
    Trailers,
    UntilClose,
    Ended,
}

/// The next piece of a body.
#[derive(Debug)]
pub enum Decoded {
    /// Nothing until more bytes arrive.
    More,
    /// Bytes of the body, never none.
    Data(Bytes),
    /// Trailer fields; the body has ended.
    Trailers(HeaderMap),
    /// The body has ended. What is left in the input is no part of it.
    End,
}

impl Decoder {
    /// A decoder for a body that has not begun.
    pub fn new(framing: Framing) -> Decoder {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        let length = match framing {
            Framing::Length(length) => Some(length),
            Framing::None => Some(0),
            Framing::Chunked | Framing::UntilClose => None,
        };
        Decoder {
            state,
            given: 0,
            length,
        }
    }

    /// Whether the body is whole.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the end of the stream is the end of the body.
    pub fn ends_with_stream(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Bytes of the body that were given out.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Bytes of the whole body, where that was announced.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Bytes that are yet to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Ended => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece from the front of `input`. The error says what is wrong with the framing.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, &'static str> {
        loop {
            match self.state {
                State::Ended => return Ok(Decoded::End),
                _ if input.is_empty() => return Ok(Decoded::More),
                State::UntilClose => {
                    self.given += input.len() as u64;
                    return Ok(Decoded::Data(input.split().freeze()));
                }
                State::Length(left) => {
                    let data = self.take(input, left);
                    self.state = match left - data.len() as u64 {
                        0 => State::Ended,
                        left => State::Length(left),
                    };
                    return Ok(Decoded::Data(data));
                }
                State::ChunkData(left) => {
                    let data = self.take(input, left);
                    self.state = match left - data.len() as u64 {
                        0 => State::ChunkEnd,
                        left => State::ChunkData(left),
                    };
                    self.end_if_here(input);
                    return Ok(Decoded::Data(data));
                }
                State::ChunkEnd => {
                    if !take_line_end(input, "a chunk does not end where its size says")? {
                        return Ok(Decoded::More);
                    }
                    self.state = State::ChunkSize;
                }
                State::ChunkSize => {
                    let Some(size) = take_chunk_line(input)? else {
                        return Ok(Decoded::More);
                    };
                    self.state = match size {
                        0 => State::Trailers,
                        size => State::ChunkData(size),
                    };
                }
                State::Trailers => {
                    if input[0] == b'\r' {
                        if !take_line_end(input, "the last chunk does not end with an empty line")? {
                            return Ok(Decoded::More);
                        }
                        self.state = State::Ended;
                        return Ok(Decoded::End);
                    }
                    let Some(trailers) = take_trailers(input)? else {
                        return Ok(Decoded::More);
                    };
                    self.state = State::Ended;
                    return Ok(Decoded::Trailers(trailers));
                }
            }
        }
    }

    /// Takes the end of a chunked body that lies right behind its last data, so that the end is known with them.
    fn end_if_here(&mut self, input: &mut BytesMut) {
        const END: &[u8] = b"\r\n0\r\n\r\n";
        if self.state == State::ChunkEnd && input.starts_with(END) {
            let _ = input.split_to(END.len());
            self.state = State::Ended;
        }
    }

    fn take(&mut self, input: &mut BytesMut, most: u64) -> Bytes {
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
        self.given += count as u64;
        input.split_to(count).freeze()
    }
}

/// Takes CR LF; `false` if they have not arrived whole.
fn take_line_end(input: &mut BytesMut, wrong: &'static str) -> Result<bool, &'static str> {
    match input[..] {
        [b'\r', b'\n', ..] => {
            let _ = input.split_to(2);
            Ok(true)
        }
        [b'\r'] | [] => Ok(false),
        _ => Err(wrong),
    }
}

/// Takes the line that begins a chunk, and gives the chunk's size.
fn take_chunk_line(input: &mut BytesMut) -> Result<Option<u64>, &'static str> {
    let window = &input[..input.len().min(CHUNK_LINE_MOST)];
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        // What is wrong with a size is said before the line is whole: a server that talks another protocol may send no line at all.
        chunk_size(window.strip_suffix(b"\r").unwrap_or(window), false)?;
        return match window.len() {
            CHUNK_LINE_MOST => Err("the line of a chunk's size is too long"),
            _ => Ok(None),
        };
    };
    let line = window[..end]
        .strip_suffix(b"\r")
        .ok_or("the line of a chunk's size ends without CR")?;
    let size = chunk_size(line, true)?;
    let _ = input.split_to(end + 1);
    Ok(Some(size))
}

/// RFC 9112, section 7.1: `chunk-size [ chunk-ext ]`. Blanks behind the size are let pass: servers pad with them.
fn chunk_size(line: &[u8], whole: bool) -> Result<u64, &'static str> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let mut size: u64 = 0;
    for &digit in &line[..digits] {
        let value = (digit as char).to_digit(16).unwrap_or(0);
        size = size
            .checked_mul(16)
            .and_then(|size| size.checked_add(u64::from(value)))
            .ok_or("a chunk's size is too large")?;
    }
    // As a body's length is counted in `u64` too, a chunk that could overflow it with one other is refused.
    if size > u64::MAX / 4 {
        return Err("a chunk's size is too large");
    }
    let rest = &line[digits..];
    if digits == 0 && (whole || !rest.is_empty()) {
        return Err("a chunk has no size");
    }
    let extension = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    match extension.map(|at| &rest[at..]) {
        None => Ok(size),
        Some([b';', extension @ ..])
            if extension
                .iter()
                .all(|&byte| byte == b'\t' || byte >= b' ' && byte != 0x7f) =>
        {
            Ok(size)
        }
        Some(_) => Err("a chunk's size is not a number"),
    }
}

/// Takes a trailer section with at least one field.
fn take_trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, &'static str> {
    let window = &input[..input.len().min(TRAILERS_MOST)];
    let mut slots = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MOST];
    let (length, fields) = match httparse::parse_headers(window, &mut slots) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) if window.len() == TRAILERS_MOST => return Err("the trailers are too large"),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err("the trailers are not valid"),
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "the trailers are not valid")?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| "the trailers are not valid")?;
        trailers.append(name, value);
    }
    let _ = input.split_to(length);
    Ok(Some(trailers))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a body gave when it was fed piece by piece, with what was left over.
    #[derive(Debug, PartialEq, Clone)]
    struct Fed {
        data: Vec<u8>,
        trailers: Vec<(String, Vec<u8>)>,
        ended: bool,
        left: Vec<u8>,
    }

    fn feed(framing: Framing, pieces: &[&[u8]]) -> Result<Fed, &'static str> {
        let mut decoder = Decoder::new(framing);
        let mut input = BytesMut::new();
        let mut fed = Fed {
            data: Vec::new(),
            trailers: Vec::new(),
            ended: false,
            left: Vec::new(),
        };
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut input)? {
                    Decoded::More => break,
                    Decoded::Data(data) => {
                        assert!(!data.is_empty());
                        fed.data.extend_from_slice(&data);
                    }
                    Decoded::Trailers(fields) => {
                        for (name, value) in &fields {
                            fed.trailers.push((name.to_string(), value.as_bytes().to_vec()));
                        }
                    }
                    Decoded::End => {
                        fed.ended = true;
                        break;
                    }
                }
            }
        }
        fed.left = input.to_vec();
        assert_eq!(decoder.given(), fed.data.len() as u64);
        assert_eq!(decoder.is_ended(), fed.ended);
        Ok(fed)
    }

    fn chunked(bytes: &[u8]) -> Result<Fed, &'static str> {
        feed(Framing::Chunked, &[bytes])
    }

    #[test]
    fn a_length_ends_after_its_bytes_and_leaves_the_rest() {
        let fed = feed(Framing::Length(5), &[b"hel", b"lo, world"]).unwrap();
        assert_eq!(
            (fed.data.as_slice(), fed.ended, fed.left.as_slice()),
            (&b"hello"[..], true, &b", world"[..])
        );
        let short = feed(Framing::Length(5), &[b"hell"]).unwrap();
        assert!(!short.ended);
    }

    #[test]
    fn no_body_leaves_every_byte() {
        for framing in [Framing::None, Framing::Length(0)] {
            let fed = feed(framing, &[b"x"]).unwrap();
            assert_eq!((fed.data.len(), fed.ended, fed.left.as_slice()), (0, true, &b"x"[..]));
        }
    }

    #[test]
    fn until_close_never_ends_by_itself() {
        let fed = feed(Framing::UntilClose, &[b"ab", b"c"]).unwrap();
        assert_eq!((fed.data.as_slice(), fed.ended), (&b"abc"[..], false));
    }

    #[test]
    fn chunks_with_extensions_padding_and_trailers() {
        let fed = chunked(b"5;a=\"b\"\r\nhello\r\n1  \r\n,\r\n00A\r\n 123456789\r\n0\r\nX-Sum: 7\r\n\r\nnext").unwrap();
        assert_eq!(fed.data, b"hello, 123456789");
        assert_eq!(fed.trailers, [("x-sum".to_owned(), b"7".to_vec())]);
        assert!(fed.ended);
        assert_eq!(fed.left, b"next");
    }

    #[test]
    fn wrong_chunks_are_refused_and_their_near_misses_are_not() {
        for (wrong, right) in [
            (&b"5\r\nhelloX\r\n0\r\n\r\n"[..], &b"6\r\nhelloX\r\n0\r\n\r\n"[..]),
            (b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
            (b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
            (b"\r\nhello", b"1\r\nh\r\n0\r\n\r\n"),
            (b"0x5\r\nhello\r\n0\r\n\r\n", b"05\r\nhello\r\n0\r\n\r\n"),
            (b"-1\r\n", b"1\r\nx\r\n0\r\n\r\n"),
            (b"+5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
            (b"5 5\r\nhello\r\n0\r\n\r\n", b"5 ;5\r\nhello\r\n0\r\n\r\n"),
            (b"5;a\x01\r\nhello\r\n0\r\n\r\n", b"5;a\t\r\nhello\r\n0\r\n\r\n"),
            (b"5;a\x7f\r\nhello\r\n0\r\n\r\n", b"5;a~\r\nhello\r\n0\r\n\r\n"),
            (b"0\r\nno field\r\n\r\n", b"0\r\na-field: x\r\n\r\n"),
            (b"0\r\n\rX", b"0\r\n\r\n"),
            (b"HTTP/1.1 200 OK\r\n", b"A;TP/1.1\r\n0123456789\r\n0\r\n\r\n"),
        ] {
            assert!(chunked(wrong).is_err(), "{:?}", String::from_utf8_lossy(wrong));
            assert!(chunked(right).unwrap().ended, "{:?}", String::from_utf8_lossy(right));
        }
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        for size in [
            "ffffffffffffffff",
            "10000000000000000",
            "fffffffffffffffffffffffff",
            "8000000000000000",
        ] {
            assert!(chunked(format!("{size}\r\n").as_bytes()).is_err(), "{size}");
        }
        let large = chunked(b"3fffffffffffffff\r\nabc").unwrap();
        assert_eq!((large.data.as_slice(), large.ended), (&b"abc"[..], false));
        let padded = chunked(b"00000000000000000000000000000000003\r\nabc\r\n0\r\n\r\n").unwrap();
        assert!(padded.ended);
    }

    #[test]
    fn endless_lines_and_trailers_are_refused_at_their_bound() {
        let mut line = b"5;".to_vec();
        line.resize(CHUNK_LINE_MOST - 1, b'a');
        assert!(chunked(&line).is_ok());
        line.push(b'a');
        assert!(chunked(&line).is_err());

        let mut trailers = b"0\r\nx: ".to_vec();
        trailers.resize(3 + TRAILERS_MOST - 1, b'a');
        assert!(chunked(&trailers).is_ok());
        trailers.push(b'a');
        assert!(chunked(&trailers).is_err());
    }

    #[test]
    fn the_end_is_known_with_the_last_data_where_it_is_there() {
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut input = BytesMut::from(&b"2\r\nhi\r\n0\r\n\r\n"[..]);
        assert!(matches!(decoder.decode(&mut input), Ok(Decoded::Data(data)) if data == "hi"));
        assert!(decoder.is_ended() && input.is_empty());

        let mut decoder = Decoder::new(Framing::Chunked);
        let mut input = BytesMut::from(&b"2\r\nhi\r\n0\r\n\r"[..]);
        assert!(matches!(decoder.decode(&mut input), Ok(Decoded::Data(_))));
        assert!(!decoder.is_ended());
    }

    /// The slow oracle: the whole encoding at once, written down by its rule.
    fn encode(chunks: &[Vec<u8>], trailer: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(if trailer { b"0\r\nt: v\r\n\r\n" } else { b"0\r\n\r\n" });
        bytes
    }

    #[test]
    fn every_split_of_a_body_in_two_gives_the_same() {
        let mut bytes = encode(&[b"hello".to_vec(), b"\r\n0\r\n\r\n".to_vec(), b"x".to_vec()], true);
        bytes.extend_from_slice(b"HTTP/1.1 200");
        let whole = chunked(&bytes).unwrap();
        assert!(whole.ended);
        assert_eq!(whole.left, b"HTTP/1.1 200");
        for at in 0..=bytes.len() {
            assert_eq!(
                feed(Framing::Chunked, &[&bytes[..at], &bytes[at..]]).unwrap(),
                whole,
                "split at {at}"
            );
        }
        for at in 0..bytes.len() - b"HTTP/1.1 200".len() {
            assert!(!chunked(&bytes[..at]).unwrap().ended, "ended after {at}");
        }
    }

    proptest! {
        #[test]
        fn chunked_bodies_come_out_as_they_went_in(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            trailer: bool,
            surplus in prop::collection::vec(any::<u8>(), 0..10),
        ) {
            let mut bytes = encode(&chunks, trailer);
            bytes.extend_from_slice(&surplus);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let fed = feed(Framing::Chunked, &pieces).unwrap();
            prop_assert!(fed.ended);
            prop_assert_eq!(fed.data, chunks.concat());
            prop_assert_eq!(fed.trailers.len(), usize::from(trailer));
            prop_assert_eq!(fed.left, surplus);
        }

        #[test]
        fn any_bytes_in_any_split_give_the_same_and_no_panic(
            bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), Just(b';'), Just(b' '), Just(b'a'), any::<u8>()], 0..60),
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(bytes.len() + 1);
            let whole = chunked(&bytes);
            let split = feed(Framing::Chunked, &[&bytes[..at], &bytes[at..]]);
            prop_assert_eq!(whole.is_ok(), split.is_ok());
            if let (Ok(whole), Ok(split)) = (whole, split) {
                prop_assert_eq!(whole, split);
            }
        }
    }
}
