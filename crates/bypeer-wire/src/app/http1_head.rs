use std::borrow::Cow;

use super::exchange::{Close, Framing, Method, Version};

/// Longest head that is collected; what is longer is treated as one whose end was not seen.
pub(super) const HEAD_MAX: usize = 64 * 1024;

/// Most fields that are read in a head; one with more is taken for none.
pub(super) const HEADERS_MAX: usize = 256;
const PATH_MAX: usize = 200;
const TEXT_MAX: usize = 80;
const TYPE_MAX: usize = 60;
const METHOD_MAX: usize = 24;

/// Methods that say HTTP by themselves. Others need the version behind them.
const METHODS: [(&str, Method); 10] = [
    ("GET", Method::Get),
    ("HEAD", Method::Head),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("DELETE", Method::Delete),
    ("CONNECT", Method::Connect),
    ("OPTIONS", Method::Options),
    ("TRACE", Method::Trace),
    ("PATCH", Method::Patch),
    ("QUERY", Method::Query),
];

/// What the first bytes of something say about its being a start line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Cannot be one.
    No,
    /// So far so good.
    Maybe,
    /// A whole start line, its LF included.
    Yes,
}

/// Whether `bytes` begin with a request line (RFC 9112 §3) of HTTP/1. Prefix-stable: `No` and `Yes` never change with more bytes.
pub(super) fn request_line(bytes: &[u8]) -> Line {
    let window = bytes.get(..METHOD_MAX + 1).unwrap_or(bytes);
    let method_end = window
        .iter()
        .position(|&byte| !(byte.is_ascii_uppercase() || byte == b'-' || byte == b'_'));
    let Some(method_end) = method_end else {
        return if bytes.len() > METHOD_MAX {
            Line::No
        } else {
            Line::Maybe
        };
    };
    if method_end == 0 || bytes.get(method_end) != Some(&b' ') {
        return Line::No;
    }
    match bytes.get(method_end + 1) {
        None => return Line::Maybe,
        Some(byte) if *byte <= b' ' || *byte == 0x7f => return Line::No,
        Some(_) => {}
    }
    let Some(line_end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() > HEAD_MAX { Line::No } else { Line::Maybe };
    };
    let line = trim_line(bytes.get(..line_end).unwrap_or_default());
    if line_version(line).is_some() {
        Line::Yes
    } else {
        Line::No
    }
}

/// Whether `bytes` begin with a status line (RFC 9112 §4) of HTTP/1. Prefix-stable.
pub(super) fn status_line(bytes: &[u8]) -> Line {
    const SHAPE: &[u8] = b"HTTP/1.v nnn";
    for (byte, shape) in bytes.iter().zip(SHAPE) {
        let fits = match shape {
            b'v' => matches!(byte, b'0' | b'1'),
            b'n' => byte.is_ascii_digit(),
            _ => byte == shape,
        };
        if !fits {
            return Line::No;
        }
    }
    match bytes.get(SHAPE.len()) {
        None => Line::Maybe,
        Some(b' ' | b'\r' | b'\n') => Line::Yes,
        Some(_) => Line::No,
    }
}

/// Whether `bytes`, which may have been cut short, begin with what is safely taken for a request line: the whole line, or
/// a well-known method and the beginning of a target.
pub(super) fn is_plain_request_line(bytes: &[u8]) -> bool {
    match request_line(bytes) {
        Line::Yes => true,
        Line::No => false,
        Line::Maybe => {
            let mut words = bytes.splitn(2, |&byte| byte == b' ');
            let method = words.next().unwrap_or_default();
            let target = words.next().unwrap_or_default();
            let known = METHODS.iter().any(|(name, _)| name.as_bytes() == method);
            known && (target.starts_with(b"/") || target.starts_with(b"http") || method == b"CONNECT")
        }
    }
}

/// Where the head that begins `bytes` ends (after its blank line), when all before `from` was searched already.
pub(super) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut position = from.saturating_sub(3);
    while let Some(found) = bytes.get(position..)?.iter().position(|&byte| byte == b'\n') {
        let line_end = position + found + 1;
        match (bytes.get(line_end), bytes.get(line_end + 1)) {
            (Some(b'\n'), _) => return Some(line_end + 1),
            (Some(b'\r'), Some(b'\n')) => return Some(line_end + 2),
            _ => position = line_end,
        }
    }
    None
}

/// A request head, its texts borrowed where they can be. See [`super::RequestHead`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestFacts<'a> {
    pub(super) method: Method,
    pub(super) path: Cow<'a, str>,
    pub(super) has_query: bool,
    pub(super) version: Version,
    pub(super) connection: Close,
    pub(super) expects_continue: bool,
    pub(super) upgrade: bool,
    pub(super) ambiguous_framing: bool,
    pub(super) user_agent: Option<Cow<'a, str>>,
    pub(super) idempotency_key: bool,
    /// As it was: with the query, of which nothing may be kept.
    pub(super) target: &'a str,
    pub(super) named: Named<'a>,
}

/// Fields by which requests are told apart, and which some servers repeat: names of the request, none of who sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Named<'a>([Option<(&'a [u8], &'a [u8])>; 4]);

impl<'a> Named<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + '_ {
        self.0.iter().flatten().copied()
    }

    fn take(&mut self, name: &'a [u8], value: &'a [u8]) {
        let known = NAMED.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let own = !known && name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case(b"x-")) && !is_of_the_way(name);
        let free = self.0.iter_mut().find(|place| place.is_none());
        if let Some(place) = free.filter(|_| known || own) {
            *place = Some((name, value.trim_ascii()));
        }
    }
}

const NAMED: [&str; 6] = [
    "Request-Id",
    "Correlation-Id",
    "Idempotency-Key",
    "Traceparent",
    "Trace-Id",
    "ETag",
];

/// Fields that tell of proxies, browsers and credentials.
fn is_of_the_way(name: &[u8]) -> bool {
    const BEGINNINGS: [&str; 10] = [
        "x-forwarded",
        "x-real",
        "x-api",
        "x-auth",
        "x-csrf",
        "x-xsrf",
        "x-amz-security",
        "x-access",
        "x-session",
        "x-powered",
    ];
    BEGINNINGS.iter().any(|beginning| {
        name.get(..beginning.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(beginning.as_bytes()))
    })
}

/// A response head, its texts borrowed where they can be. See [`super::ResponseHead`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResponseFacts<'a> {
    pub(super) status: u16,
    pub(super) version: Version,
    pub(super) connection: Close,
    pub(super) keep_alive_timeout: Option<u32>,
    pub(super) keep_alive_max: Option<u32>,
    pub(super) server: Option<Cow<'a, str>>,
    pub(super) via: Option<Cow<'a, str>>,
    pub(super) content_type: Option<Cow<'a, str>>,
    pub(super) date: Option<&'a [u8]>,
    /// The body is compressed.
    pub(super) encoded: bool,
    /// There may be a body, and it is empty.
    pub(super) says_empty: bool,
    pub(super) named: Named<'a>,
}

/// A whole request head; `None` when it is not one after all.
pub(super) fn request(bytes: &[u8]) -> Option<(RequestFacts<'_>, Framing)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let mut config = httparse::ParserConfig::default();
    config.ignore_invalid_headers_in_requests(true);
    config.allow_multiple_spaces_in_request_line_delimiters(true);
    config
        .parse_request(&mut parsed, bytes)
        .ok()?
        .is_complete()
        .then_some(())?;
    let line = RequestLine {
        method: method(parsed.method?),
        target: parsed.path?,
        version: version(parsed.version?)?,
    };
    Some(line.understand(Fields::of(parsed.headers)))
}

/// A request line.
pub(super) struct RequestLine<'a> {
    pub(super) method: Method,
    pub(super) target: &'a str,
    pub(super) version: Version,
}

impl<'a> RequestLine<'a> {
    /// What it says together with the fields behind it.
    pub(super) fn understand(self, fields: Fields<'a>) -> (RequestFacts<'a>, Framing) {
        let RequestLine {
            method,
            target,
            version,
        } = self;
        let mut ambiguous = fields.lengths > 1 || fields.bad_length;
        let framing = if fields.transfer_encoding {
            ambiguous |= fields.lengths > 0 || !fields.chunked;
            if fields.chunked {
                Framing::Chunked
            } else {
                Framing::Unknown
            }
        } else if fields.bad_length {
            Framing::Unknown
        } else {
            fields
                .length
                .filter(|&length| length > 0)
                .map_or(Framing::None, Framing::Length)
        };
        let head = RequestFacts {
            path: path(target, &method),
            has_query: target.contains('?'),
            connection: fields.close(version),
            version,
            expects_continue: fields.expects_continue,
            upgrade: fields.upgrade,
            ambiguous_framing: ambiguous,
            user_agent: fields.user_agent,
            idempotency_key: fields.idempotency_key,
            method,
            target,
            named: fields.named,
        };
        (head, framing)
    }
}

/// What a response answers, as far as its framing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answers {
    /// Any request whose response has a body.
    #[default]
    Ordinary,
    /// HEAD: framing headers, no body.
    Head,
    /// CONNECT: a tunnel after 2xx.
    Connect,
}

/// A whole response head; `None` when it is not one after all.
pub(super) fn response(bytes: &[u8], answers: Answers) -> Option<(ResponseFacts<'_>, Framing)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let mut config = httparse::ParserConfig::default();
    config.ignore_invalid_headers_in_responses(true);
    config.allow_spaces_after_header_name_in_responses(true);
    config.allow_obsolete_multiline_headers_in_responses(true);
    config.allow_multiple_spaces_in_response_status_delimiters(true);
    config
        .parse_response(&mut parsed, bytes)
        .ok()?
        .is_complete()
        .then_some(())?;
    let line = StatusLine {
        status: parsed.code?,
        version: version(parsed.version?)?,
    };
    Some(line.understand(Fields::of(parsed.headers), answers))
}

/// A status line.
pub(super) struct StatusLine {
    pub(super) status: u16,
    pub(super) version: Version,
}

impl StatusLine {
    /// What it says together with the fields behind it.
    pub(super) fn understand(self, fields: Fields<'_>, answers: Answers) -> (ResponseFacts<'_>, Framing) {
        let StatusLine { status, version } = self;
        // RFC 9112 §6.3, in its order.
        let framing = match status {
            101 => Framing::Tunnel,
            100..=199 | 204 | 304 => Framing::None,
            _ if answers == Answers::Head => Framing::None,
            200..=299 if answers == Answers::Connect => Framing::Tunnel,
            _ if fields.chunked => Framing::Chunked,
            _ if fields.transfer_encoding || fields.bad_length => Framing::Close,
            _ => match fields.length {
                Some(0) => Framing::None,
                Some(length) => Framing::Length(length),
                None => Framing::Close,
            },
        };
        let head = ResponseFacts {
            status,
            connection: fields.close(version),
            version,
            keep_alive_timeout: fields.keep_alive_timeout,
            keep_alive_max: fields.keep_alive_max,
            server: fields.server,
            via: fields.via,
            content_type: fields.content_type,
            date: fields.date,
            encoded: fields.encoded,
            says_empty: answers == Answers::Ordinary && !matches!(status, 100..=199 | 204 | 304),
            named: fields.named,
        };
        (head, framing)
    }
}

/// A head that was cut short: framing is never known.
pub(super) struct CutHead {
    /// Its whole lines and a blank one.
    lines: Vec<u8>,
    /// Its start line and a blank one.
    start_line: Vec<u8>,
}

impl CutHead {
    pub(super) fn of(bytes: &[u8]) -> CutHead {
        let closed = |line_end: Option<usize>| {
            let lines = line_end.and_then(|line_end| bytes.get(..=line_end));
            [lines.unwrap_or_default(), b"\r\n"].concat()
        };
        // That a response is an interim one shows in its status already; the fields of a final one say too much to be guessed.
        let interim = bytes
            .get(..12)
            .filter(|line| line.starts_with(b"HTTP/1.") && line.get(9) == Some(&b'1'));
        let line_end = bytes.iter().position(|&byte| byte == b'\n');
        CutHead {
            lines: closed(bytes.iter().rposition(|&byte| byte == b'\n')),
            start_line: match interim {
                Some(status) if line_end.is_none() => [status, b"\r\n\r\n"].concat(),
                _ => closed(line_end),
            },
        }
    }

    /// What is known of a request head.
    pub(super) fn request(&self) -> Option<RequestFacts<'_>> {
        let head = request(&self.lines).or_else(|| request(&self.start_line));
        head.map(|(head, _)| head)
    }

    /// What is known of a response head.
    pub(super) fn response(&self) -> Option<ResponseFacts<'_>> {
        let read = |lines| response(lines, Answers::Ordinary);
        let head = read(&self.lines).or_else(|| read(&self.start_line));
        head.map(|(head, _)| head)
    }
}

/// The header fields that matter, gathered in one pass.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    /// `Content-Length` values, list members counted.
    lengths: u32,
    length: Option<u64>,
    bad_length: bool,
    transfer_encoding: bool,
    /// The last transfer coding is chunked.
    chunked: bool,
    close: bool,
    keep_alive: bool,
    keep_alive_timeout: Option<u32>,
    keep_alive_max: Option<u32>,
    expects_continue: bool,
    upgrade: bool,
    idempotency_key: bool,
    user_agent: Option<Cow<'a, str>>,
    server: Option<Cow<'a, str>>,
    via: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    date: Option<&'a [u8]>,
    encoded: bool,
    named: Named<'a>,
}

impl<'a> Fields<'a> {
    fn of(headers: &[httparse::Header<'a>]) -> Fields<'a> {
        let mut fields = Fields::default();
        for header in headers {
            fields.take(header.name.as_bytes(), header.value);
        }
        fields
    }

    /// One more field. Blanks around its value do not matter.
    pub(super) fn take(&mut self, name: &'a [u8], value: &'a [u8]) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        // By length first, then by the first letter: most fields are none of these.
        let Some(first) = name.first().map(|letter| letter | 0x20) else {
            return;
        };
        match name.len() {
            3 if first == b'v' && is("via") => self.via = text(value, TEXT_MAX),
            4 if first == b'd' && is("date") => self.date = Some(value.trim_ascii()),
            4 if first == b'e' && is("etag") => self.named.take(name, value),
            6 if first == b's' && is("server") => self.server = text(value, TEXT_MAX),
            6 if first == b'e' && is("expect") => {
                self.expects_continue = value.trim_ascii().eq_ignore_ascii_case(b"100-continue")
            }
            7 if first == b'u' && is("upgrade") => self.upgrade = true,
            10 if first == b'c' && is("connection") => {
                for option in list(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            10 if first == b'k' && is("keep-alive") => {
                for parameter in list(value) {
                    let mut parts = parameter.splitn(2, |&byte| byte == b'=');
                    let name = parts.next().unwrap_or_default().trim_ascii();
                    let number = parts.next().and_then(|value| decimal(value.trim_ascii()));
                    let number = number.and_then(|number| u32::try_from(number).ok());
                    if name.eq_ignore_ascii_case(b"timeout") {
                        self.keep_alive_timeout = number;
                    } else if name.eq_ignore_ascii_case(b"max") {
                        self.keep_alive_max = number;
                    }
                }
            }
            10 if first == b'u' && is("user-agent") => self.user_agent = text(value, TEXT_MAX),
            12 if first == b'c' && is("content-type") => {
                self.content_type = text(value.split(|&byte| byte == b';').next().unwrap_or_default(), TYPE_MAX);
            }
            14 if first == b'c' && is("content-length") => self.take_length(value),
            15 if first == b'i' && is("idempotency-key") => {
                self.idempotency_key = true;
                self.named.take(name, value);
            }
            16 if first == b'c' && is("content-encoding") => {
                self.encoded = !value.trim_ascii().eq_ignore_ascii_case(b"identity")
            }
            17 if first == b't' && is("transfer-encoding") => {
                self.transfer_encoding = true;
                if let Some(last) = list(value).last() {
                    self.chunked = last.eq_ignore_ascii_case(b"chunked");
                }
            }
            _ if matches!(first, b'x' | b'r' | b't') || (first == b'c' && name.len() == 14) => {
                self.named.take(name, value)
            }
            _ => {}
        }
    }

    fn take_length(&mut self, value: &[u8]) {
        // An empty value is one bad member.
        for member in value.split(|&byte| byte == b',') {
            self.lengths = self.lengths.saturating_add(1);
            match (decimal(member.trim_ascii()), self.length) {
                (Some(length), None) => self.length = Some(length),
                (Some(length), Some(before)) if length == before => {}
                _ => self.bad_length = true,
            }
        }
    }

    fn close(&self, version: Version) -> Close {
        match version {
            _ if self.close => Close::Announced,
            _ if self.keep_alive => Close::KeepAlive,
            Version::Http10 => Close::ByVersion,
            Version::Http11 => Close::Persistent,
        }
    }
}

fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Digits only: no sign, no blank (RFC 9110 §8.6).
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn text(value: &[u8], max: usize) -> Option<Cow<'_, str>> {
    let value = value.trim_ascii();
    let value = value.get(..max).unwrap_or(value);
    let text = std::str::from_utf8(value).map_or_else(|_| String::from_utf8_lossy(value), Cow::Borrowed);
    match text {
        _ if text.is_empty() => None,
        Cow::Borrowed(text) => Some(cut(text, max).into()),
        Cow::Owned(text) => Some(cut(&text, max).to_string().into()),
    }
}

/// The longest beginning of at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn method(name: &str) -> Method {
    let known = METHODS.iter().find(|(known, _)| *known == name);
    known.map_or_else(
        || Method::Other(cut(name, METHOD_MAX).into()),
        |(_, method)| method.clone(),
    )
}

/// The target without query, fragment and user information.
fn path<'a>(target: &'a str, method: &Method) -> Cow<'a, str> {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let scheme = match target.starts_with('/') {
        true => None,
        false => target.find("://"),
    };
    let (scheme, rest) = match scheme {
        Some(colon) => target.split_at(colon + 3),
        None if *method == Method::Connect => ("", target),
        None => return cut(target, PATH_MAX).into(),
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    cut(&format!("{scheme}{host}{path}"), PATH_MAX).to_string().into()
}

fn version(minor: u8) -> Option<Version> {
    match minor {
        0 => Some(Version::Http10),
        1 => Some(Version::Http11),
        _ => None,
    }
}

fn line_version(line: &[u8]) -> Option<Version> {
    match line.get(line.len().checked_sub(9)?..)? {
        b" HTTP/1.0" => Some(Version::Http10),
        b" HTTP/1.1" => Some(Version::Http11),
        _ => None,
    }
}

fn trim_line(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_end()
}
