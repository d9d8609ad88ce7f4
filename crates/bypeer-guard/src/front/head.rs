//! A look at the head of a request as it comes: whether it has a length, and how many fields there are.
//!
//! hyper takes a request with both `Content-Length` and `Transfer-Encoding` for chunked, drops the length and says nothing of it.
//! RFC 9112, section 6.3 allows that, and says that it ought to be handled as an error, because the two are how requests are
//! smuggled past others on the way. So the bytes are looked at here, on their way to hyper.
//!
//! What comes while another request is answered is not looked at, for most of it is that one's body. Who sends a head then, or the beginning
//! of one, is found out by the fields: hyper has more of them than were seen.

/// Where the look stands. It ends with the head that it began with: of a second request in the same read it sees nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HeadLook {
    line: Line,
    has_length: bool,
    fields: u16,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Line {
    /// Before the request line. Empty lines may stand there (RFC 9112, section 2.2), and hyper takes any number of them.
    #[default]
    Before,
    /// In the request line, or in the middle of a line of no interest.
    Other,
    /// So many bytes of the name that is sought, from the line's beginning.
    Matched(u8),
    /// The head is over.
    Over,
}

const NAME: &[u8] = b"content-length";

impl HeadLook {
    /// Looks at more bytes.
    pub(crate) fn on(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.line {
                Line::Over => return,
                Line::Before if matches!(first, b'\r' | b'\n') => bytes = rest,
                Line::Before => self.line = Line::Other,
                Line::Other => match memchr::memchr(b'\n', bytes) {
                    Some(end) => {
                        bytes = &bytes[end + 1..];
                        self.line = Line::Matched(0);
                    }
                    None => return,
                },
                // An empty line.
                Line::Matched(0) if first == b'\r' => bytes = rest,
                Line::Matched(0) if first == b'\n' => self.line = Line::Over,
                Line::Matched(matched) if first.to_ascii_lowercase() == NAME[usize::from(matched)] => {
                    bytes = rest;
                    self.fields = self.fields.saturating_add(u16::from(matched == 0));
                    self.line = Line::Matched(matched + 1);
                    if usize::from(matched) + 1 == NAME.len() {
                        // No other field of HTTP begins so.
                        self.has_length = true;
                        self.line = Line::Other;
                    }
                }
                Line::Matched(matched) => {
                    self.fields = self.fields.saturating_add(u16::from(matched == 0));
                    self.line = Line::Other;
                }
            }
        }
    }

    /// Whether the head has a length, as far as was seen.
    pub(crate) fn has_length(self) -> bool {
        self.has_length
    }

    /// Whether all of a head was seen that has so many fields, none of which hyper has dropped.
    pub(crate) fn is_of(self, fields: usize) -> bool {
        self.line == Line::Over && usize::from(self.fields) == fields
    }
}

/// Method and path (without its query) of a request line with a target that hyper refuses for one of its characters, where that line is here
/// whole. hyper says neither.
///
/// RFC 3986 has `"`, `<`, `>` and the backtick in no URI. The http crate takes a backtick in a query only.
pub(crate) fn odd_line(bytes: &[u8]) -> Option<Box<(String, String)>> {
    let line = &bytes[..memchr::memchr(b'\n', bytes)?];
    if memchr::memchr3(b'"', b'<', b'>', line).is_none() && memchr::memchr(b'`', line).is_none() {
        return None;
    }
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split(|byte| *byte == b'?').next()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some(Box::new((text(method), text(path))))
}

#[cfg(test)]
mod tests {
    use super::{HeadLook, odd_line};

    #[test]
    fn a_target_that_is_none_is_kept_without_its_query() {
        let kept = |line: &str| odd_line(line.as_bytes()).map(|line| *line);
        let odd = |method: &str, path: &str| Some((method.to_owned(), path.to_owned()));
        assert_eq!(
            kept("GET /a?q={\"secret\":1} HTTP/1.1\r\nHost: a\r\n\r\n"),
            odd("GET", "/a")
        );
        assert_eq!(kept("PUT /a<b> HTTP/1.1\r\n"), odd("PUT", "/a<b>"));
        assert_eq!(kept("GET /`ls` HTTP/1.1\r\n"), odd("GET", "/`ls`"));
        // Fields may have what they like.
        assert_eq!(kept("GET /a HTTP/1.1\r\nX: \"<`\r\n\r\n"), None);
        assert_eq!(kept("GET /a<b"), None);
    }

    fn look(parts: &[&str]) -> bool {
        let mut look = HeadLook::default();
        for part in parts {
            look.on(part.as_bytes());
        }
        look.has_length()
    }

    #[test]
    fn a_length_is_seen_wherever_the_reads_end() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\ncOntent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(look(&[head]));
        for cut in 0..head.len() {
            assert!(look(&[&head[..cut], &head[cut..]]), "{cut}");
        }
        for_each_byte(head);
    }

    fn for_each_byte(head: &str) {
        let bytes: Vec<String> = head.chars().map(String::from).collect();
        let parts: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert!(look(&parts));
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        assert!(!look(&[
            "POST /content-length: HTTP/1.1\r\nX: content-length: 5\r\nX-Content-Length: 5\r\n\r\n"
        ]));
        assert!(!look(&["GET / HTTP/1.1\r\n\r\n", "\r\ncontent-length: 5\r\n"]));
        assert!(!look(&["GET / HTTP/1.1\n\ncontent-length: 5\r\n"]));
        assert!(look(&["GET / HTTP/1.1\ncontent-length: 5\n\n"]));
    }

    #[test]
    fn empty_lines_before_the_request_are_no_end() {
        for before in ["\r\n", "\r\n\r\n", "\n\n\n"] {
            assert!(look(&[before, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"]));
        }
    }

    #[test]
    fn a_head_that_was_not_seen_whole_has_other_fields() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: b\r\nC: d\r\nTransfer-Encoding: chunked\r\n\r\n";
        for seen in 0..=head.len() {
            let mut look = HeadLook::default();
            look.on(&head.as_bytes()[seen..]);
            // As long as the request line is not over, none of the fields is missed.
            assert_eq!(look.is_of(4), seen < "POST / HTTP/1.1".len(), "{seen}");
        }
        let mut look = HeadLook::default();
        look.on(&head.as_bytes()[..head.len() - 1]);
        assert!(!look.is_of(4), "it is not over");
    }
}
