use std::collections::VecDeque;

use crate::{Direction, PacketRef};

/// What was recognised on a connection.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// The protocol.
    pub protocol: Protocol,
    /// Requests and responses, or turns.
    pub exchanges: Exchanges,
    /// TLS facts, where the protocol is TLS.
    pub tls: Option<Tls>,
    /// The bytes stopped making sense at this packet; exchanges after it are turns.
    pub lost_track: Option<PacketRef>,
    /// Bytes that say where a message of HTTP/1 ends were not captured: which answer is to which request is a guess from there on.
    pub unseen_bounds: bool,
    /// In a chunked answer came what is no chunk: that is where `lost_track` is.
    pub broken_chunk: bool,
    /// Response bytes beyond what any request asked for (no request outstanding, or past the declared end).
    pub surplus_response_bytes: u64,
    /// Client bytes after the last complete request that are not (yet) a whole request head: stray CRLF, the beginning
    /// of a pipelined request, rest of a body nobody declared. At most 8 of them are kept as they were.
    pub trailing_request_bytes: Vec<u8>,
    /// How many such bytes.
    pub trailing_request_len: u64,
}

/// The protocol on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// No payload was seen.
    #[default]
    Silent,
    /// HTTP/1.0 or 1.1 in the clear.
    Http1,
    /// HTTP/2 with prior knowledge; its exchanges are turns.
    Http2,
    /// TLS; its exchanges are turns of application data.
    Tls,
    /// FastCGI records.
    FastCgi,
    /// Redis serialisation protocol; turns.
    Redis,
    /// Something else: turns.
    Unknown,
}

/// The exchanges of a connection in order. The first and the last few are kept whole; all are counted.
#[derive(Clone, Debug, Default)]
pub struct Exchanges {
    /// The first exchange.
    pub first: Option<Box<Exchange>>,
    /// The last ones, at least two and at most [`Exchanges::LAST`], the first not repeated.
    pub last: VecDeque<Exchange>,
    /// How many there were.
    pub total: u32,
    /// How many were whole: request and response complete.
    pub complete: u32,
    /// How many responses said that the connection would close.
    pub announced: u32,
    /// Of one that is over, be it not among the kept, a head was not seen whole ([`Head::Partial`]): what follows may be misread.
    pub heads_cut: bool,
    /// Where the server first said what no request had asked for, however long ago.
    pub unasked: Option<Box<Unasked>>,
}

/// The first bytes of the server's that no request had asked for, and what they came behind.
#[derive(Clone, Debug)]
pub struct Unasked {
    /// The first of them.
    pub at: PacketRef,
    /// The newest exchange that had been answered by then.
    pub behind: Option<Exchange>,
    /// They are an answer: it, once it was over. Of one that is not over the exchange is still among the kept.
    pub answer: Option<Exchange>,
}

impl Exchanges {
    /// Exchanges kept from the end, at most. Of those that were over, two are kept while all is well.
    pub const LAST: usize = 4;

    /// The kept exchanges in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Exchange> + '_ {
        self.first.as_deref().into_iter().chain(self.last.iter())
    }

    /// The newest exchange.
    pub fn newest(&self) -> Option<&Exchange> {
        self.iter().next_back()
    }

    /// The one before the newest, when kept.
    pub fn before_newest(&self) -> Option<&Exchange> {
        self.iter().rev().nth(1)
    }

    /// The oldest exchange whose response is not complete: what the server owed first.
    pub fn owed(&self) -> Option<&Exchange> {
        self.iter().find(|exchange| !exchange.response_complete())
    }
}

/// A request and its response; for protocols that are not understood a turn of the client and the server's turn after it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// 0-based on its connection.
    pub index: u32,
    /// `None` when the server spoke unasked.
    pub request: Option<Message>,
    /// The final response; `None` while none has begun.
    pub response: Option<Message>,
    /// Interim (1xx) responses.
    pub interim: u8,
    /// A `100 Continue` was among them: this packet.
    pub continued: Option<PacketRef>,
}

impl Exchange {
    /// All of the request was seen.
    pub fn request_complete(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.complete)
    }

    /// All of the response was seen.
    pub fn response_complete(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.complete)
    }
}

/// One message, by its place in its direction's stream. Offsets as in [`crate::conn::Connection`].
#[derive(Clone, Debug)]
pub struct Message {
    /// Its first byte.
    pub start: u64,
    /// After the head (the blank line), once seen.
    pub head_end: Option<u64>,
    /// After its last byte *as declared* by its framing, or as seen once complete; `None` while that cannot be known.
    pub end: Option<u64>,
    /// After the last byte of it that was sent (retransmissions aside).
    pub seen: u64,
    /// All of it was seen: `seen == end`. A close-delimited response is complete when its FIN came.
    pub complete: bool,
    /// Packet that carried its first byte.
    pub begun: PacketRef,
    /// Packet that carried the newest byte of it.
    pub last: PacketRef,
    /// First packet of the other side that acknowledged it up to `end`.
    pub acked: Option<PacketRef>,
    /// How its end is told.
    pub framing: Framing,
    /// What its head said.
    pub head: Head,
}

/// How a message's end is told (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// `Content-Length`, or a record's length: this many body bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Ends with the connection.
    Close,
    /// Everything after the head belongs to another protocol (CONNECT, Upgrade).
    Tunnel,
    /// Not known: head incomplete, or an opaque turn.
    Unknown,
}

/// What a message's head said.
#[derive(Clone, Debug)]
pub enum Head {
    /// An HTTP/1 request.
    Request(Box<RequestHead>),
    /// An HTTP/1 response.
    Response(Box<ResponseHead>),
    /// A FastCGI request or response; `keep_connection` is FCGI_KEEP_CONN of the request.
    FastCgi {
        /// The web server keeps the connection open after the response.
        keep_connection: bool,
        /// The empty `FCGI_STDIN` record that ends the request was seen.
        stdin_ended: bool,
    },
    /// A turn of bytes that were not understood.
    Opaque,
    /// A head that was not (yet) whole, or was cut by the snap length.
    Partial,
}

/// Head of an HTTP/1 request. Holds nothing secret: no query, no cookies, no credentials.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Path without its query, at most 200 bytes; authority for CONNECT.
    pub path: Box<str>,
    /// The target had a query.
    pub has_query: bool,
    /// Protocol version.
    pub version: Version,
    /// What it said about the connection.
    pub connection: Close,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// `Upgrade` was asked for.
    pub upgrade: bool,
    /// Both `Content-Length` and `Transfer-Encoding`, or several lengths: framing that two parties may read differently.
    pub ambiguous_framing: bool,
    /// `User-Agent`, at most 80 bytes.
    pub user_agent: Option<Box<str>>,
    /// `Idempotency-Key` is present.
    pub idempotency_key: bool,
}

/// Head of an HTTP/1 response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// Status code, 100–999.
    pub status: u16,
    /// Protocol version.
    pub version: Version,
    /// What it said about the connection.
    pub connection: Close,
    /// `Keep-Alive: timeout=`, seconds.
    pub keep_alive_timeout: Option<u32>,
    /// `Keep-Alive: max=`.
    pub keep_alive_max: Option<u32>,
    /// `Server`, at most 80 bytes.
    pub server: Option<Box<str>>,
    /// `Via`, at most 80 bytes: a proxy answered.
    pub via: Option<Box<str>>,
    /// `Content-Type` without parameters, at most 60 bytes.
    pub content_type: Option<Box<str>>,
}

/// HTTP/1 version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// What a head says about the connection after this message (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// `Connection: close`.
    Announced,
    /// HTTP/1.0 without `keep-alive`: closes by default.
    ByVersion,
    /// Persists: HTTP/1.1 by default.
    Persistent,
    /// `Connection: keep-alive` in so many words.
    KeepAlive,
}

impl Close {
    /// The connection ends after this message, by its own words or its version.
    pub fn closes(self) -> bool {
        matches!(self, Close::Announced | Close::ByVersion)
    }
}

/// HTTP request method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// CONNECT
    Connect,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// PATCH
    Patch,
    /// QUERY (RFC 10008)
    Query,
    /// Any other, at most 24 bytes.
    Other(Box<str>),
}

impl Method {
    /// RFC 9110 §9.2.2: a client may repeat it after a lost connection.
    pub fn is_idempotent(&self) -> bool {
        matches!(
            self,
            Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace | Method::Query
        )
    }

    /// As on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Query => "QUERY",
            Method::Other(name) => name,
        }
    }
}

/// TLS as seen without keys.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// ClientHello.
    pub client_hello: Option<PacketRef>,
    /// Server name asked for.
    pub server_name: Option<Box<str>>,
    /// ServerHello.
    pub server_hello: Option<PacketRef>,
    /// 0x0303 for TLS 1.2, 0x0304 for 1.3 (from supported_versions), once the ServerHello was seen.
    pub version: Option<u16>,
    /// ALPN the server chose, where it is in the clear (TLS 1.2).
    pub alpn: Option<Box<str>>,
    /// Both sides have sent application data or, in TLS 1.2, an encrypted Finished.
    pub established: bool,
    /// Alerts in the clear, and encrypted records that by type (1.2) or size (1.3) are alerts; at most 8.
    pub alerts: Vec<TlsAlert>,
    /// The last record of the client and of the server.
    pub last_record: [Option<TlsRecordNote>; 2],
    /// Application-data records per direction (client, server).
    pub application_records: [u32; 2],
    /// A record of this direction (client, server) was still incomplete at the end.
    pub record_open: [bool; 2],
}

/// An alert, or what looks like one.
#[derive(Clone, Copy, Debug)]
pub struct TlsAlert {
    /// Which way.
    pub direction: Direction,
    /// The packet.
    pub at: PacketRef,
    /// (level, description) when it was in the clear.
    pub plain: Option<(u8, u8)>,
    /// Offset of the record in its stream.
    pub start: u64,
    /// Offset after the record.
    pub end: u64,
}

/// One TLS record.
#[derive(Clone, Copy, Debug)]
pub struct TlsRecordNote {
    /// Content type: 20 change_cipher_spec, 21 alert, 22 handshake, 23 application data.
    pub content_type: u8,
    /// Length of its fragment.
    pub len: u16,
    /// By type or size (TLS 1.3: application-data record of 19 bytes: alert + type + tag) it is an alert, so close_notify.
    pub alert_sized: bool,
    /// Packet of its first byte.
    pub at: PacketRef,
    /// Offset of its first byte.
    pub start: u64,
}
