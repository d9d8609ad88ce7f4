use std::sync::Arc;

use super::Protocol;
use crate::{Direction, Endpoint, PacketRef};

/// What was said on one connection, message by message, as it became known: for those who compare connections with each other.
///
/// Notices come out in the order in which they became known, over all connections. That is capture order but for what waits
/// for bytes before it (segments out of order, a status line in two segments): then `at` is earlier than that of the notice before.
///
/// Requests are counted from 0 on each connection, and so they are named: `index`. The answer that stands for a request *by order* bears
/// its index, as RFC 9112 §9.3.2 and the Redis protocol have it; whether it is that request's is for others to say. Where the framing
/// is not known beyond doubt, nothing is guessed: [`Noticed::Lost`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The connection, by Wireshark's `tcp.stream`. It may come again after [`Noticed::Gone`]: with late segments, and then not
    /// whole, or (4 billion streams later) as another one.
    pub stream: u32,
    /// The client, as far as known by now.
    pub client: Endpoint,
    /// The server.
    pub server: Endpoint,
    /// The packet that showed it: the first transmission that the capture has of that byte.
    pub at: PacketRef,
    /// What.
    pub what: Noticed,
}

/// See [`Notice`]. Offsets are those of [`crate::conn::Connection`]: bytes of payload since the connection began.
///
/// Of one connection: `Begun`, then the others, then `Gone`. Of one request: `Asking`, `Asked`, `AskedAll`, in this order, the last ones
/// perhaps never; of one answer: `Answering`, `Answered`. An answer may come between them (an early 413, a streamed body).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// It speaks a protocol in which answers stand for requests by order.
    Begun {
        /// [`Protocol::Http1`] or [`Protocol::Redis`].
        protocol: Protocol,
        /// Seen from its handshake on, and from its first byte on. Where not, requests may be owed an answer that were not seen, and the first
        /// answers may stand for those: `index` is then only a guess, and an answer without a request means nothing.
        whole: bool,
    },
    /// The first byte of a request. Of bytes that turn out to be none (stray ones after a request), nothing is told.
    Asking {
        /// Its number.
        index: u32,
        /// Its first byte.
        start: u64,
    },
    /// Its head is known; of a Redis command, all of it.
    Asked {
        /// Its number.
        index: u32,
        /// After its head.
        head_end: u64,
        /// What it asks for.
        request: Request,
    },
    /// All of it was seen; a body too.
    AskedAll {
        /// Its number.
        index: u32,
        /// After its last byte.
        end: u64,
    },
    /// The first byte of a final answer; told once its first line shows that it is one. Interim (1xx) answers, and what servers say by design unasked
    /// (Redis' pushes, messages of subscriptions, lines of MONITOR) are not told.
    Answering {
        /// The oldest request without a final answer. `None`: there was none.
        ///
        /// Where the capture has an answer before its request, and the answer's ACK shows that, it is the index that the next request will have;
        /// the notices of that one come later.
        index: Option<u32>,
        /// Its first byte.
        start: u64,
        /// How much of the client's stream the segment acknowledged that *first* carried this byte: what the server's kernel had received by then.
        /// A copy sent again later has a higher one, and does not count; where only such a copy was captured, this is its ACK, which is too high,
        /// never too low. `None`: its stream's beginning is not known.
        acked: Option<u64>,
    },
    /// The answer is over, or cut.
    Answered {
        /// As in its `Answering`.
        index: Option<u32>,
        /// After its last byte that was seen.
        end: u64,
        /// It was whole. One that ends with the connection is, when its FIN came.
        complete: bool,
        /// How it looked.
        look: Look,
    },
    /// A FIN or a reset, each side's first of each; comes after what its segment carried.
    Over {
        /// `ToClient`: from the server.
        by: Direction,
        /// How.
        how: How,
        /// How much of the other's stream it acknowledged; where it acknowledges nothing (a bare RST), how much its side had acknowledged before. `None`: nothing, or not known.
        acked: Option<u64>,
        /// How much payload its side had sent.
        sent: u64,
    },
    /// Bytes are missing where they decide, the framing makes no sense, or what follows is another protocol. Of this connection
    /// only `Over` and `Gone` follow.
    Lost,
    /// Its record was made, or its memory given to others: whoever keeps something of it may forget it. Not told at the end of the capture.
    Gone,
}

/// How a side ended its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// FIN.
    Fin,
    /// A reset that its receiver must believe.
    Reset,
    /// A reset that its receiver must not believe, by its numbers.
    ResetInVain,
}

/// What a request asks for, with nothing secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which kind of request this is.
    pub route: Route,
    /// The answer has no body whatever its head says (HEAD).
    pub is_head: bool,
    /// `Expect: 100-continue`: its body may never come.
    pub expects_continue: bool,
    /// The server may take its time by design (BLPOP, XREAD BLOCK).
    pub blocking: bool,
    /// Distinctive words of it, at most [`Request::TOKENS`].
    pub tokens: Box<[Token]>,
}

impl Request {
    /// Most tokens kept of a request.
    pub const TOKENS: usize = 16;
}

/// A kind of request: `GET /users/*/orders`, or a Redis command's name in capitals.
///
/// The path's segments that look like values are `*`: numbers, hexadecimal ones of 8 digits and more, UUIDs, long ones
/// of mixed characters, and those with percent-encoding; so are all behind the twelfth. No query. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Route {
    /// Of `text`, the same in all runs.
    pub key: u64,
    /// At most 160 bytes, printable ASCII without blanks but the one behind the method.
    pub text: Arc<str>,
}

impl PartialEq for Route {
    fn eq(&self, other: &Route) -> bool {
        self.key == other.key
    }
}

impl Eq for Route {}

impl std::hash::Hash for Route {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// A distinctive word of a request, and its place there.
///
/// Words are the longest runs of letters, digits, `-` and `_`, without regard to case; distinctive are those of 6 bytes and more
/// with a digit, and those of 12 and more. Of an answer they are taken from the values, not from a JSON object's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Where in the request: the same for the same path segment, query parameter, header field or argument, whatever its value.
    pub place: Place,
    /// Keyed hash of the word: equal for equal words of one [`crate::conn::Table`], and of no use without its key.
    pub word: u64,
}

/// A place in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A segment of the path, counted from 0.
    Segment(u8),
    /// A parameter of the query, by a hash of its name.
    Query(u16),
    /// A header field, by a hash of its name.
    Field(u16),
    /// An argument of a Redis command, counted from 0.
    Argument(u8),
}

/// How an answer looked. No value of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// HTTP's status code. `None` for Redis.
    pub status: Option<u16>,
    /// Redis answered with an error.
    pub is_error: bool,
    /// Form of the body, or Redis' type.
    pub shape: Shape,
    /// `Date`, in seconds since 1970.
    pub date: Option<i64>,
    /// Distinctive words in the head's fields and the first [`Look::SAMPLE`] bytes of the body, as keyed hashes (see [`Token`]): sorted, none
    /// twice, at most [`Look::TOKENS`].
    pub tokens: Box<[u64]>,
    /// There were more of them, or more of the body: a word that is not among `tokens` may be in the answer all the same.
    pub tokens_cut: bool,
}

impl Look {
    /// Bytes of a body, without chunk framing, that are looked at.
    pub const SAMPLE: usize = 4096;
    /// Most tokens kept of an answer.
    pub const TOKENS: usize = 64;
}

/// The form of an answer, by which answers of different requests can be told apart. Cheap to clone.
///
/// HTTP: the content type, and of JSON the names in its object with the types of their values, down to two levels; arrays are
/// opaque, and names that look like values are `*`. The order of names does not matter. Of everything else, of what kind the first byte is;
/// whether there is a body at all. Redis: the type; of an array its length, roughly, and its elements' types; of a string as of a body.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The same for the same form, in all runs.
    pub key: u64,
    /// For people: at most 200 bytes, printable ASCII.
    pub text: Arc<str>,
    /// There is a form to tell by: JSON names or a Redis array. Where not, only the content type and the first byte speak.
    pub is_detailed: bool,
    /// Longer than what is looked at, or incomplete: another answer of the same kind may show more, or less.
    pub is_cut: bool,
    /// There can be no body (HEAD, 204, 304): says nothing of the request.
    pub is_bodiless: bool,
}

impl PartialEq for Shape {
    fn eq(&self, other: &Shape) -> bool {
        self.key == other.key
    }
}

impl Eq for Shape {}

impl std::hash::Hash for Shape {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}
