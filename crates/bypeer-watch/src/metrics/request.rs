/// A request's head is read up to here.
const LARGEST_HEAD: usize = 8 << 10;

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The metrics; without body to a HEAD.
    Metrics { body: bool },
    /// 400.
    BadRequest,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408.
    TooSlow,
    /// 431.
    HeadTooLarge,
}

/// The answer to the request that `head` holds so far. `None`: its head is not complete.
pub(super) fn answer(head: &[u8]) -> Option<Answer> {
    let is_complete =
        head.windows(4).any(|bytes| bytes == b"\r\n\r\n") || head.windows(2).any(|bytes| bytes == b"\n\n");
    if head.len() > LARGEST_HEAD {
        return Some(Answer::HeadTooLarge);
    }
    is_complete.then(|| answer_line(head.split(|byte| *byte == b'\n').next().unwrap_or_default()))
}

fn answer_line(line: &[u8]) -> Answer {
    let line = std::str::from_utf8(line).unwrap_or_default().trim_end_matches('\r');
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Answer::BadRequest;
    };
    if method.is_empty() || !target.starts_with('/') || !version.starts_with("HTTP/1.") {
        return Answer::BadRequest;
    }
    match (target.split('?').next(), method) {
        (Some("/metrics"), "GET") => Answer::Metrics { body: true },
        (Some("/metrics"), "HEAD") => Answer::Metrics { body: false },
        (Some("/metrics"), _) => Answer::MethodNotAllowed,
        _ => Answer::NotFound,
    }
}

impl Answer {
    /// The whole response.
    pub(super) fn bytes(self, page: &dyn Fn() -> (&'static str, String)) -> Vec<u8> {
        let plain = |text: &str| ("text/plain; charset=utf-8", format!("{text}\n"));
        let mut more = "";
        let (status, (kind, body)) = match self {
            Answer::Metrics { .. } => ("200 OK", page()),
            Answer::BadRequest => ("400 Bad Request", plain("this is no HTTP/1.1 request")),
            Answer::NotFound => ("404 Not Found", plain("there is /metrics and nothing else")),
            Answer::MethodNotAllowed => {
                more = "Allow: GET, HEAD\r\n";
                ("405 Method Not Allowed", plain("/metrics is read with GET or HEAD"))
            }
            Answer::TooSlow => ("408 Request Timeout", plain("the request did not come in time")),
            Answer::HeadTooLarge => (
                "431 Request Header Fields Too Large",
                plain("a request's head may have 8 KiB"),
            ),
        };
        let length = body.len();
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n"
        )
        .into_bytes();
        if self != (Answer::Metrics { body: false }) {
            bytes.extend_from_slice(body.as_bytes());
        }
        bytes
    }
}
