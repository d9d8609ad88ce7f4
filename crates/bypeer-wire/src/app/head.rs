//! The head of one message by itself, for those who have no connection but the first bytes that a program read or wrote.

use super::exchange::{Framing, Method, RequestHead, ResponseHead};
use super::http1_head::{self as head, Answers};

/// A head and how long its message is.
#[derive(Clone, Debug)]
pub struct Sole<H> {
    /// The head.
    pub head: H,
    /// Bytes of the head, its blank line included.
    pub head_len: u64,
    /// Bytes of the whole message, head included, as the head declares them; `None` where only the body itself, or the connection's end,
    /// tells.
    pub length: Option<u64>,
    /// How the message's end is told.
    pub framing: Framing,
}

/// The HTTP/1 request whose whole head these bytes begin with; `None` when it is cut short, or is none.
pub fn sole_request(bytes: &[u8]) -> Option<Sole<RequestHead>> {
    let head_len = head::head_end(bytes, 0)? as u64;
    let (facts, framing) = head::request(bytes)?;
    let head = RequestHead {
        method: facts.method,
        path: facts.path.into(),
        has_query: facts.has_query,
        version: facts.version,
        connection: facts.connection,
        expects_continue: facts.expects_continue,
        upgrade: facts.upgrade,
        ambiguous_framing: facts.ambiguous_framing,
        user_agent: facts.user_agent.map(Into::into),
        idempotency_key: facts.idempotency_key,
    };
    Some(Sole {
        head,
        head_len,
        length: length(head_len, framing),
        framing,
    })
}

/// The HTTP/1 response whose whole head these bytes begin with, when it answers a request with this method.
pub fn sole_response(bytes: &[u8], to: Option<&Method>) -> Option<Sole<ResponseHead>> {
    let head_len = head::head_end(bytes, 0)? as u64;
    let answers = match to {
        Some(Method::Head) => Answers::Head,
        Some(Method::Connect) => Answers::Connect,
        _ => Answers::Ordinary,
    };
    let (facts, framing) = head::response(bytes, answers)?;
    let head = ResponseHead {
        status: facts.status,
        version: facts.version,
        connection: facts.connection,
        keep_alive_timeout: facts.keep_alive_timeout,
        keep_alive_max: facts.keep_alive_max,
        server: facts.server.map(Into::into),
        via: facts.via.map(Into::into),
        content_type: facts.content_type.map(Into::into),
    };
    Some(Sole {
        head,
        head_len,
        length: length(head_len, framing),
        framing,
    })
}

fn length(head_len: u64, framing: Framing) -> Option<u64> {
    match framing {
        Framing::None => Some(head_len),
        Framing::Length(body) => head_len.checked_add(body),
        Framing::Chunked | Framing::Close | Framing::Tunnel | Framing::Unknown => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_how_long_it_is() {
        let bytes = b"POST /upload?token=secret HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\nfirst bytes";
        let sole = sole_request(bytes).unwrap();
        assert_eq!((sole.head_len, sole.length), (67, Some(89)));
        assert_eq!((sole.head.method.as_str(), &*sole.head.path), ("POST", "/upload"));
        for end in 0..67 {
            assert!(sole_request(&bytes[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn a_response_is_as_long_as_its_request_lets_it_be() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
        assert_eq!(sole_response(bytes, None).unwrap().length, Some(62));
        assert_eq!(sole_response(bytes, Some(&Method::Head)).unwrap().length, Some(57));
        assert!(sole_response(bytes, None).unwrap().head.connection.closes());
        assert!(sole_response(b"\x16\x03\x01\r\n\r\n", None).is_none());
    }
}
