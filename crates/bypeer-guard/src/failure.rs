//! What can go wrong on the way to an answer, as `Proxy-Status` (RFC 9209) and bypeer's causes name it.

use std::io;

use http::StatusCode;

/// Why there is no answer from the server, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server's name has no address.
    #[error("the name of the server was not found: {0}")]
    NameNotFound(String),
    /// Nobody listens, or a firewall says so.
    #[error("the server refused the connection")]
    Refused,
    /// A unix socket that is not there.
    #[error("{0}: there is no such file")]
    NoSocket(String),
    /// A unix socket that this process may not write to.
    #[error("{path} may not be opened by user {user}")]
    SocketForbidden {
        /// The socket.
        path: String,
        /// Who may not.
        user: u32,
    },
    /// No way to the server's address.
    #[error("there is no way to the server: {0}")]
    Unreachable(io::Error),
    /// No connection within the limit.
    #[error("the server did not accept a connection in time")]
    ConnectTimeout,
    /// A connection was there, and TLS on it was not agreed on within the limit.
    #[error("the server accepted the connection and was silent in the TLS handshake: does it speak TLS on this port?")]
    HandshakeTimeout,
    /// All connections that are allowed are in use, and none became free in time.
    #[error("all {limit} connections to the server are in use")]
    ConnectionLimit {
        /// How many are allowed.
        limit: usize,
    },
    /// No file descriptors are left.
    #[error("no file descriptor is left for a connection to the server")]
    Descriptors,
    /// TLS with the server failed.
    #[error("TLS with the server failed: {0}")]
    Tls(String),
    /// The server's certificate is not one that is trusted for its name.
    #[error("the certificate of the server is not trusted: {0}")]
    Certificate(String),
    /// A connection that had been used before was closed by the server while it was idle or as the request was sent.
    #[error("the server had closed the connection that was kept for reuse")]
    Stale {
        /// Whether it ended in a reset; else by FIN.
        reset: bool,
    },
    /// A fresh connection was closed without an answer.
    #[error("the server closed the connection without an answer")]
    ClosedUnanswered,
    /// The connection was reset before an answer.
    #[error("the server reset the connection before it answered{}", acknowledged_words(*.acknowledged))]
    Reset {
        /// Bytes of the request that the server's TCP had acknowledged, where that is known: over HTTP/1 without TLS.
        acknowledged: Option<u64>,
    },
    /// Over HTTP/2: the server ended the request's stream. Its connection is there.
    #[error("the server ended the stream of the request with {0:?} before it answered")]
    StreamReset(h2::Reason),
    /// Over HTTP/2: the server left the connection, with GOAWAY, before it acted on the request or answered it.
    #[error("the server left the connection with {0:?} (GOAWAY) before it answered")]
    GoAway(h2::Reason),
    /// Over HTTP/2: a connection was closed without an answer, as every one before it.
    #[error(
        "the server closed the connection without an answer, and has answered nothing over HTTP/2 so far; if it does not offer HTTP/2, set \
         upstream.version = \"1.1\""
    )]
    NoHttp2,
    /// The server did not begin to answer in time.
    #[error("the server did not answer in time")]
    AnswerTimeout,
    /// The server stopped in the middle of its answer.
    #[error("the answer of the server ended after {have} bytes of its body{}", reset_words(*.reset))]
    Incomplete {
        /// Bytes of the body that came.
        have: u64,
        /// Bytes that were announced, where a length was.
        expected: Option<u64>,
        /// Whether it ended in a reset.
        reset: bool,
    },
    /// The server said nothing for too long in the middle of its answer.
    #[error("the server said nothing for too long in the middle of its answer")]
    BodyTimeout,
    /// The server takes no more of the request.
    #[error("the server took no more of the request for too long")]
    WriteTimeout,
    /// What the server sent is not HTTP, or not one message.
    #[error("the answer of the server is not valid HTTP: {0}")]
    Malformed(&'static str),
    /// More small frames of HTTP/2 came than are held until clients take them, of this answer or of others on its connection.
    #[error(
        "the connection to the server was ended here: more small frames of HTTP/2 waited on it for clients than are held"
    )]
    Overrun,
    /// The head of the answer is too large.
    #[error("the head of the answer is larger than {limit} bytes")]
    HeadTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The server sent bytes that no request had asked for.
    #[error("the server sent {bytes} bytes that no request had asked for")]
    Unsolicited {
        /// How many were seen.
        bytes: usize,
    },
    /// The client went away.
    #[error("the client went away")]
    ClientGone,
    /// The client did not read its answer.
    #[error("the client took nothing of its answer for too long")]
    ClientStalled,
    /// Nothing was carried in a tunnel for too long.
    #[error("nothing was carried in the tunnel for too long")]
    TunnelIdle,
    /// The client's request is not one that is passed on, ended before it was whole, or was too slow.
    #[error("the request was not taken: {0}")]
    Request(String),
    /// The guard is being stopped, and the request took longer than that may.
    #[error("the time for draining was over")]
    DrainEnded,
    /// Anything else.
    #[error("{0}")]
    Other(io::Error),
}

fn reset_words(reset: bool) -> &'static str {
    if reset { ", by a reset" } else { "" }
}

fn acknowledged_words(bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| {
        format!(", and had acknowledged {bytes} bytes of the request")
    })
}

impl Failure {
    /// The status of the answer that the client gets in place of the server's.
    pub fn status(&self) -> StatusCode {
        match self {
            Failure::ConnectTimeout
            | Failure::HandshakeTimeout
            | Failure::AnswerTimeout
            | Failure::BodyTimeout
            | Failure::WriteTimeout => StatusCode::GATEWAY_TIMEOUT,
            Failure::ConnectionLimit { .. } | Failure::Descriptors | Failure::DrainEnded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Failure::Request(_) | Failure::ClientGone | Failure::ClientStalled => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether it is one that no connection came of.
    pub fn is_of_connecting(&self) -> bool {
        matches!(
            self,
            Failure::NameNotFound(_)
                | Failure::Refused
                | Failure::NoSocket(_)
                | Failure::SocketForbidden { .. }
                | Failure::Unreachable(_)
                | Failure::ConnectTimeout
                | Failure::HandshakeTimeout
                | Failure::Tls(_)
                | Failure::Certificate(_)
        )
    }

    /// The type of error of RFC 9209, section 2.3.
    pub fn proxy_error(&self) -> &'static str {
        match self {
            Failure::NameNotFound(_) => "dns_error",
            Failure::Refused => "connection_refused",
            Failure::NoSocket(_) => "destination_unavailable",
            Failure::SocketForbidden { .. } => "proxy_configuration_error",
            Failure::Unreachable(_) => "destination_ip_unroutable",
            Failure::ConnectTimeout | Failure::HandshakeTimeout => "connection_timeout",
            Failure::ConnectionLimit { .. } | Failure::Descriptors => "connection_limit_reached",
            Failure::Tls(_) => "tls_protocol_error",
            Failure::Certificate(_) => "tls_certificate_error",
            Failure::Stale { .. } | Failure::ClosedUnanswered | Failure::Reset { .. } => "connection_terminated",
            Failure::GoAway(_) | Failure::NoHttp2 => "connection_terminated",
            Failure::AnswerTimeout => "http_response_timeout",
            Failure::Incomplete { .. } | Failure::StreamReset(_) => "http_response_incomplete",
            Failure::BodyTimeout | Failure::TunnelIdle => "connection_read_timeout",
            Failure::WriteTimeout => "connection_write_timeout",
            Failure::Malformed(_) | Failure::Unsolicited { .. } => "http_protocol_error",
            Failure::HeadTooLarge { .. } => "http_response_header_section_size",
            Failure::ClientGone | Failure::ClientStalled | Failure::Request(_) => "http_request_error",
            Failure::DrainEnded | Failure::Overrun | Failure::Other(_) => "proxy_internal_error",
        }
    }
}
