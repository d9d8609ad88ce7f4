//! Heads of HTTP/1 messages: the request's to bytes, the answer's from bytes, and what an answer's fields say of its framing.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, StatusCode, Version};

use super::framing::Framing;
use crate::failure::Failure;

/// The most fields of an answer.
const FIELDS_MOST: usize = 256;
/// As many as nearly every answer has: what is noted of more lies on the heap.
const FIELDS_FEW: usize = 24;

/// How a request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFraming {
    /// No body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Writes the head of a request behind what `output` holds.
///
/// Names are written with capitals, as the servers that this is for (written by hand, some of them) have seen them all their lives.
pub fn write_request(output: &mut Vec<u8>, parts: &Parts, framing: RequestFraming, host: &str, close: bool) {
    output.extend_from_slice(parts.method.as_str().as_bytes());
    output.push(b' ');
    write_target(output, parts, host);
    output.extend_from_slice(b" HTTP/1.1\r\n");
    // RFC 9112, section 3.2: a request without Host is refused by every server.
    if !parts.headers.contains_key(HOST) {
        let host = parts.uri.authority().map_or(host, |authority| authority.as_str());
        write_field(output, b"host", host.as_bytes());
    }
    for (name, value) in &parts.headers {
        let ours = *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING || (close && *name == CONNECTION);
        if !ours {
            write_field(output, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    match framing {
        // RFC 9110, section 8.6: methods that anticipate content say that there is none.
        RequestFraming::None if anticipates_content(&parts.method) => {
            output.extend_from_slice(b"Content-Length: 0\r\n")
        }
        RequestFraming::None => {}
        RequestFraming::Length(length) => {
            output.extend_from_slice(b"Content-Length: ");
            write_decimal(output, length);
            output.extend_from_slice(b"\r\n");
        }
        RequestFraming::Chunked => output.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if close {
        output.extend_from_slice(b"Connection: close\r\n");
    }
    output.extend_from_slice(b"\r\n");
}

fn anticipates_content(method: &Method) -> bool {
    *method == Method::POST || *method == Method::PUT || *method == Method::PATCH
}

fn write_target(output: &mut Vec<u8>, parts: &Parts, host: &str) {
    if parts.method == Method::CONNECT {
        let authority = parts.uri.authority().map_or(host, |authority| authority.as_str());
        return output.extend_from_slice(authority.as_bytes());
    }
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    if !target.starts_with('/') && target != "*" {
        output.push(b'/');
    }
    output.extend_from_slice(target.as_bytes());
}

/// Writes a field; also used for trailers.
pub fn write_field(output: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let begin = output.len();
    output.extend_from_slice(usual(name));
    let mut first = true;
    for byte in &mut output[begin..] {
        if first {
            byte.make_ascii_uppercase();
        }
        first = *byte == b'-';
    }
    output.extend_from_slice(b": ");
    output.extend_from_slice(value);
    output.extend_from_slice(b"\r\n");
}

/// The name as it is usually written, where that is not with a capital at each word alone.
fn usual(name: &[u8]) -> &[u8] {
    match name {
        b"dnt" => b"DNT",
        b"te" => b"TE",
        b"content-md5" => b"Content-MD5",
        b"soapaction" => b"SOAPAction",
        b"sec-websocket-extensions" => b"Sec-WebSocket-Extensions",
        b"sec-websocket-key" => b"Sec-WebSocket-Key",
        b"sec-websocket-protocol" => b"Sec-WebSocket-Protocol",
        b"sec-websocket-version" => b"Sec-WebSocket-Version",
        other => other,
    }
}

fn write_decimal(output: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[at..]);
}

/// The line that begins a chunk of `size` bytes.
pub fn write_chunk_size(output: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        output.push(b"0123456789abcdef"[(size >> (place * 4)) & 15]);
    }
    output.extend_from_slice(b"\r\n");
}

/// The head of an answer.
#[derive(Debug)]
pub struct ResponseHead {
    /// 1.0 or 1.1.
    pub version: Version,
    /// The status.
    pub status: StatusCode,
    /// The fields, without `Transfer-Encoding`.
    pub fields: HeaderMap,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the server keeps the connection, as far as it says.
    pub keeps: bool,
    /// `Keep-Alive: timeout=`.
    pub timeout: Option<Duration>,
    /// `Keep-Alive: max=`.
    pub max: Option<u64>,
}

/// Looks for heads in what arrives, and at no byte more often than it must.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// Bytes that hold no end of a head.
    scanned: usize,
}

impl HeadReader {
    /// Takes a head from the front of `input`, if it is there whole. `method`: of the request that is answered.
    pub fn read(
        &mut self,
        input: &mut BytesMut,
        method: &Method,
        limit: usize,
    ) -> Result<Option<ResponseHead>, Failure> {
        // The first bytes are parsed as they are, so that what is no HTTP is known at once. After that only what may be whole.
        let unparsed = self.scanned == 0;
        if !unparsed && !self.may_be_whole(input) {
            return match input.len() > limit {
                true => Err(Failure::HeadTooLarge { limit }),
                false => Ok(None),
            };
        }
        let mut slots = [MaybeUninit::<httparse::Header<'_>>::uninit(); FIELDS_MOST];
        let mut response = httparse::Response::new(&mut []);
        let parsed =
            httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, &input[..], &mut slots);
        let length = match parsed {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if input.len() > limit => return Err(Failure::HeadTooLarge { limit }),
            Ok(httparse::Status::Partial) => {
                self.scanned = input.len().saturating_sub(3).max(1);
                return Ok(None);
            }
            Err(httparse::Error::TooManyHeaders) => return Err(Failure::Malformed("it has too many fields")),
            Err(httparse::Error::Version) => return Err(Failure::Malformed("it does not begin with HTTP/1")),
            Err(httparse::Error::Status) => return Err(Failure::Malformed("its status line is not valid")),
            Err(_) => return Err(Failure::Malformed("its head is not valid")),
        };
        if length > limit {
            return Err(Failure::HeadTooLarge { limit });
        }
        self.scanned = 0;
        let version = match response.version {
            Some(0) => Version::HTTP_10,
            _ => Version::HTTP_11,
        };
        let status = response
            .code
            .and_then(|code| StatusCode::from_u16(code).ok())
            .ok_or(Failure::Malformed("its status is not a status"))?;
        let base = input.as_ptr() as usize;
        let count = response.headers.len();
        let mut few = [(0_u32, 0_u32, 0_u32, 0_u32); FIELDS_FEW];
        let mut many = Vec::new();
        let places = match few.get_mut(..count) {
            Some(few) => few,
            None => {
                many.resize(count, (0, 0, 0, 0));
                &mut many[..]
            }
        };
        for (place, field) in places.iter_mut().zip(response.headers.iter()) {
            // A head is no longer than its limit, which `usize` in `config` may set above 4 GiB only in theory.
            *place = (
                (field.name.as_ptr() as usize - base) as u32,
                field.name.len() as u32,
                (field.value.as_ptr() as usize - base) as u32,
                field.value.len() as u32,
            );
        }
        let bytes = input.split_to(length).freeze();
        read_fields(version, status, places, &bytes, method).map(Some)
    }

    fn may_be_whole(&mut self, input: &BytesMut) -> bool {
        let begin = self.scanned.saturating_sub(3);
        let whole = input[begin..]
            .iter()
            .enumerate()
            .filter(|&(_, &byte)| byte == b'\n')
            .any(|(at, _)| matches!(input[begin + at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]));
        if !whole {
            self.scanned = input.len().max(1);
        }
        whole
    }
}

fn read_fields(
    version: Version,
    status: StatusCode,
    places: &[(u32, u32, u32, u32)],
    bytes: &Bytes,
    method: &Method,
) -> Result<ResponseHead, Failure> {
    let mut fields = HeaderMap::with_capacity(places.len());
    let mut length = None;
    let mut chunked = None;
    let (mut closes, mut keeps_alive) = (false, false);
    let (mut timeout, mut max) = (None, None);
    for &(name_at, name_length, value_at, value_length) in places {
        let name = &bytes[name_at as usize..(name_at + name_length) as usize];
        let name = HeaderName::from_bytes(name).map_err(|_| Failure::Malformed("the name of a field is not valid"))?;
        let value = bytes.slice(value_at as usize..(value_at + value_length) as usize);
        if name == CONTENT_LENGTH {
            length = Some(one_length(length, &value)?);
        } else if name == TRANSFER_ENCODING {
            if chunked.is_some() || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Failure::Malformed("its Transfer-Encoding is not chunked"));
            }
            chunked = Some(());
            continue;
        } else if name == CONNECTION {
            for option in list(&value) {
                closes |= option.eq_ignore_ascii_case(b"close");
                keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name.as_str() == "keep-alive" {
            for parameter in list(&value) {
                timeout = number_after(parameter, b"timeout=").or(timeout);
                max = number_after(parameter, b"max=").or(max);
            }
        }
        let value = HeaderValue::from_maybe_shared(value)
            .map_err(|_| Failure::Malformed("the value of a field is not valid"))?;
        fields.append(name, value);
    }
    // RFC 9112, section 6.3: such a message ought to be handled as an error.
    if chunked.is_some() && length.is_some() {
        return Err(Failure::Malformed("it has both Content-Length and Transfer-Encoding"));
    }
    let empty = *method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || (*method == Method::CONNECT && status.is_success());
    if (status.is_informational() || status == StatusCode::NO_CONTENT) && length.is_some() {
        // RFC 9110, section 8.6: not there, and the client's side must not see it.
        fields.remove(CONTENT_LENGTH);
    }
    // The same number over and over is no field of HTTP/2 (RFC 9113, section 8.1.1), and nothing that clients should have to understand.
    if let Some(length) = length
        && let Some(first) = fields.get(CONTENT_LENGTH)
        && (fields.get_all(CONTENT_LENGTH).iter().count() > 1 || first.as_bytes().contains(&b','))
    {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let framing = match (empty, chunked, length) {
        (true, _, _) => Framing::None,
        (_, Some(()), _) => Framing::Chunked,
        (_, _, Some(length)) => Framing::Length(length),
        (_, None, None) => Framing::UntilClose,
    };
    // RFC 9112, section 6.1: chunked from a server that says 1.0 is handled once, and the connection is not used again.
    let keeps = match version {
        Version::HTTP_10 => keeps_alive && !closes && chunked.is_none(),
        _ => !closes,
    } && framing != Framing::UntilClose;
    Ok(ResponseHead {
        version,
        status,
        fields,
        framing,
        keeps,
        timeout: timeout.map(Duration::from_secs),
        max,
    })
}

/// RFC 9110, section 8.6: digits; a list of the same number over and over is let pass as that number.
fn one_length(before: Option<u64>, value: &[u8]) -> Result<u64, Failure> {
    let mut length = before;
    for number in list(value) {
        let number = decimal(number).ok_or(Failure::Malformed("its Content-Length is not a number"))?;
        if length.is_some_and(|length| length != number) {
            return Err(Failure::Malformed("it has several lengths that differ"));
        }
        length = Some(number);
    }
    length.ok_or(Failure::Malformed("its Content-Length is not a number"))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number <= u64::MAX / 4).then_some(number)
}

fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

fn number_after(parameter: &[u8], name: &[u8]) -> Option<u64> {
    let (begin, number) = parameter.split_at_checked(name.len())?;
    // More than that many seconds or requests is no limit that anybody comes to.
    begin
        .eq_ignore_ascii_case(name)
        .then(|| decimal(number.trim_ascii()))?
        .map(|number| number.min(u64::from(u32::MAX)))
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
