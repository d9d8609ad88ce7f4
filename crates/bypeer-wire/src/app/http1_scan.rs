//! The common head, read at once: all of it in one segment, printable ASCII, CRLF line ends, nothing folded, one space where
//! one belongs. Everything else is left to the thorough reading of [`super::http1_head`], which tells the same of these.

use super::exchange::{Method, Version};
use super::http1_head::{Fields, HEADERS_MAX, RequestLine, StatusLine};

/// A common request head at the beginning of `bytes`, and where it ends.
pub(super) fn request(bytes: &[u8]) -> Option<(RequestLine<'_>, Fields<'_>, usize)> {
    let line_end = plain_line(bytes, 0)?;
    let line = bytes.get(..line_end)?;
    let (line, version) = line.split_at_checked(line.len().checked_sub(9)?)?;
    let version = match version {
        b" HTTP/1.1" => Version::Http11,
        b" HTTP/1.0" => Version::Http10,
        _ => return None,
    };
    let method_end = line.iter().take(8).position(|&byte| byte == b' ')?;
    let method = match line.get(..method_end)? {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"DELETE" => Method::Delete,
        b"CONNECT" => Method::Connect,
        b"OPTIONS" => Method::Options,
        b"PATCH" => Method::Patch,
        _ => return None,
    };
    let target = line.get(method_end + 1..)?;
    if target.is_empty() || !target.iter().all(|&byte| is_common_in_target(byte)) {
        return None;
    }
    let target = std::str::from_utf8(target).ok()?;
    let (fields, end) = fields(bytes, line_end + 2)?;
    let line = RequestLine {
        method,
        target,
        version,
    };
    Some((line, fields, end))
}

/// A common response head at the beginning of `bytes`, and where it ends.
pub(super) fn response(bytes: &[u8]) -> Option<(StatusLine, Fields<'_>, usize)> {
    let line_end = plain_line(bytes, 0)?;
    let line = bytes.get(..line_end)?;
    let &[
        b'H',
        b'T',
        b'T',
        b'P',
        b'/',
        b'1',
        b'.',
        minor,
        b' ',
        hundreds,
        tens,
        ones,
        b' ',
        ..,
    ] = line
    else {
        return None;
    };
    let version = match minor {
        b'1' => Version::Http11,
        b'0' => Version::Http10,
        _ => return None,
    };
    if !matches!(hundreds, b'1'..=b'9') || !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return None;
    }
    let [hundreds, tens, ones] = [hundreds, tens, ones].map(|digit| u16::from(digit - b'0'));
    let status = hundreds * 100 + tens * 10 + ones;
    let (fields, end) = fields(bytes, line_end + 2)?;
    Some((StatusLine { status, version }, fields, end))
}

/// The fields from `at` to the blank line, and where that ends.
fn fields(bytes: &[u8], mut at: usize) -> Option<(Fields<'_>, usize)> {
    let mut fields = Fields::default();
    for _ in 0..HEADERS_MAX {
        let line_end = plain_line(bytes, at)?;
        let line = bytes.get(at..line_end)?;
        if line.is_empty() {
            return Some((fields, line_end + 2));
        }
        let name_end = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = line.split_at_checked(name_end)?;
        // A folded line, or a name that some trim.
        if matches!(name, [] | [b' ', ..] | [.., b' ']) {
            return None;
        }
        fields.take(name, value.get(1..)?);
        at = line_end + 2;
    }
    None
}

/// Where the line from `at` ends in CRLF; `None` when it does not, or has other bytes than printable ASCII in it.
fn plain_line(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let (words, tail) = rest.as_chunks::<8>();
    let in_words = words.iter().enumerate().find_map(|(word, bytes)| {
        let odd = odd_bytes(u64::from_le_bytes(*bytes));
        (odd != 0).then(|| word * 8 + odd.trailing_zeros() as usize / 8)
    });
    let odd = match in_words {
        Some(odd) => odd,
        None => words.len() * 8 + tail.iter().position(|byte| !matches!(byte, b' '..=b'~'))?,
    };
    let line_end = at + odd;
    (bytes.get(line_end..line_end + 2)? == b"\r\n").then_some(line_end)
}

/// The lowest bit that is set is the high bit of the first byte that is no printable ASCII; none is set where all are.
fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // Borrows only spoil bytes behind one that is marked already.
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    let delete = delete.wrapping_sub(ONES) & !delete;
    (control | delete | word) & HIGH
}

fn is_common_in_target(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'A'..=b'Z' | b'/' | b'-' | b'.' | b'_' | b'~' | b'?' | b'=' | b'&' | b'%' | b':' | b'+' | b',' | b'@' | b'#' | b';' | b'!' | b'*' | b'$' | b'(' | b')')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::http1_head::{self as head, Answers, Line};
    use super::*;

    #[test]
    fn odd_bytes_are_found_where_they_are() {
        for place in 0..8 {
            for other in [
                0x00, 0x0a, 0x0d, 0x1f, 0x20, 0x21, 0x40, 0x7e, 0x7f, 0x80, 0x9f, 0xa0, 0xff,
            ] {
                for byte in 0..=255u8 {
                    let mut word = [b'~'; 8];
                    word[place..].fill(other);
                    word[place] = byte;
                    let expected = word.iter().position(|byte| !(0x20..0x7f).contains(byte));
                    let odd = odd_bytes(u64::from_le_bytes(word));
                    let found = (odd != 0).then(|| odd.trailing_zeros() as usize / 8);
                    assert_eq!(found, expected, "{word:?}");
                }
            }
        }
    }

    #[test]
    fn common_heads_are_read_at_once() {
        let heads = [
            "GET /a/b?c=d HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n",
            "POST / HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
            "CONNECT db.example:443 HTTP/1.1\r\nHost: db.example:443\r\n\r\n",
        ];
        for bytes in heads {
            assert!(request(bytes.as_bytes()).is_some(), "{bytes:?}");
        }
        let bytes = "HTTP/1.1 404 Not Found\r\nServer: nginx\r\nKeep-Alive: timeout=5\r\n\r\nbody";
        assert!(response(bytes.as_bytes()).is_some());
        let uncommon = [
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n",
            "GET /\u{e9} HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        ];
        for bytes in uncommon {
            assert!(request(bytes.as_bytes()).is_none(), "{bytes:?}");
        }
    }

    /// xorshift64*.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
        }

        fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
            choices[self.below(choices.len())]
        }
    }

    const NAMES: &[&str] = &[
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Expect",
        "Upgrade",
        "Via",
        "Server",
        "User-Agent",
        "Content-Type",
        "Idempotency-Key",
        "Host",
        "X",
        "",
        "Content-Length ",
        " Via",
        "X Y",
        "X(",
        "Con\u{e9}",
        "\tVia",
        "Server\t",
    ];
    const VALUES: &[&str] = &[
        "",
        " ",
        "5",
        " 5",
        "5 ",
        "5, 5",
        "5,6",
        "+5",
        "18446744073709551616",
        "chunked",
        "gzip, chunked",
        "chunked, gzip",
        "close",
        "keep-alive",
        "Close, Upgrade",
        "timeout=5, max=100",
        "timeout = 7",
        "max=x",
        "100-continue",
        "h2c",
        "nginx/1.2 (x)",
        "text/html; charset=utf-8",
        ": a:b",
        "a\tb",
        "caf\u{e9}",
        "a\0b",
        "a\rb",
        "a\u{7f}",
    ];
    const ENDS: &[&str] = &[
        "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n",
        "\r\n ", "\r\r\n",
    ];

    fn generated(random: &mut Random, start_line: &str) -> Vec<u8> {
        let mut text = start_line.to_string() + random.of(ENDS);
        for _ in 0..random.below(5) {
            text += random.of(NAMES);
            text += random.of(&[":", ":", ":", ": ", ": ", ": ", "", " :", ":  "]);
            text += random.of(VALUES);
            text += random.of(ENDS);
        }
        text += random.of(&["\r\n", "\r\n", "\r\n", "\n", ""]);
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(random.of(&["", "body", "\r\n", "GET / HTTP/1.1\r\n\r\n"]).as_bytes());
        if random.below(4) == 0 {
            let place = random.below(bytes.len());
            bytes[place] = random.below(256) as u8;
        }
        bytes
    }

    #[test]
    fn what_is_read_at_once_is_what_the_thorough_reading_tells() {
        let seed = 0x9e37_79b9_7f4a_7c15;
        let mut random = Random(seed);
        let mut read = [0; 2];
        for round in 0..100_000 {
            let line = [
                random.of(&[
                    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "PATCH", "QUERY", "FOO", "get",
                ]),
                random.of(&[" ", " ", " ", "  ", ""]),
                random.of(&[
                    "/",
                    "/a?b=c",
                    "*",
                    "http://u:p@h/x?y",
                    "h:443",
                    "/\"",
                    "/a b",
                    "/a|b",
                    "/%20#f",
                    "/\u{e9}",
                    "",
                ]),
                random.of(&[" ", " ", " ", "  "]),
                random.of(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/1.1 "]),
            ];
            let bytes = generated(&mut random, &line.concat());
            if let Some((line, fields, end)) = request(&bytes) {
                let whole = &bytes[..end];
                let told = format!("seed {seed:#x}, round {round}: {:?}", String::from_utf8_lossy(&bytes));
                assert_eq!(head::request_line(&bytes), Line::Yes, "{told}");
                assert_eq!(head::head_end(&bytes, 0), Some(end), "{told}");
                assert_eq!(Some(line.understand(fields)), head::request(whole), "{told}");
                read[0] += 1;
            }
            let line = [
                random.of(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2"]),
                random.of(&[" ", " ", " ", "  "]),
                random.of(&[
                    "200", "204", "304", "404", "500", "101", "100", "099", "999", "20", "2000",
                ]),
                random.of(&[" OK", " Not Found", " ", "", "  x", " \u{e9}", "\tOK"]),
            ];
            let bytes = generated(&mut random, &line.concat());
            if let Some((line, fields, end)) = response(&bytes) {
                let whole = &bytes[..end];
                let answers = [Answers::Ordinary, Answers::Head, Answers::Connect][random.below(3)];
                let told = format!("seed {seed:#x}, round {round}: {:?}", String::from_utf8_lossy(&bytes));
                assert_eq!(head::status_line(&bytes), Line::Yes, "{told}");
                assert_eq!(head::head_end(&bytes, 0), Some(end), "{told}");
                assert_eq!(
                    Some(line.understand(fields, answers)),
                    head::response(whole, answers),
                    "{told}"
                );
                read[1] += 1;
            }
        }
        assert!(read.iter().all(|&read| read > 1_000), "{read:?}");
    }
}
