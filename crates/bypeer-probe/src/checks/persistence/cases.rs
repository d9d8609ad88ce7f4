//! The kinds of requests after which connections are looked at.

use bypeer_wire::app::{Method, Version};

use super::{
    BY_DEFAULT, CLOSE, HEAD, HTTP10, HTTP10_KEEP_ALIVE, KEEP_ALIVE, NOT_FOUND, NOT_MODIFIED, OPTIONS, UNKNOWN_EXPECT,
    UNKNOWN_METHOD,
};
use crate::habit::Habit;
use crate::http::Request;
use crate::prober::{NOBODYS_PATH, Prober};

/// A kind of request.
pub(super) struct Case {
    pub habit: &'static Habit,
    /// "after HEAD".
    pub words: &'static str,
    pub kind: Kind,
    /// What the client says about the connection.
    pub wants: Wants,
    /// The request; `None` where it cannot be made for this server.
    pub request: fn(&Prober<'_>) -> Option<Request>,
}

/// Who sends such requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everybody: the control of all others.
    Plain,
    /// Clients do.
    Everyday,
    /// Nobody does, but what the server does with it shows what it does with errors.
    Odd,
}

/// What a request says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// It persists: HTTP/1.1.
    Kept,
    /// It closes: `close`, or HTTP/1.0.
    Closed,
    /// It persists if the answer says so: HTTP/1.0 with `keep-alive`.
    KeptIfSaid,
}

pub(super) static CASES: &[Case] = &[
    Case {
        habit: &BY_DEFAULT,
        words: "HTTP/1.1",
        kind: Kind::Plain,
        wants: Wants::Kept,
        request: |prober| Some(prober.get()),
    },
    Case {
        habit: &CLOSE,
        words: "HTTP/1.1 with Connection: close",
        kind: Kind::Everyday,
        wants: Wants::Closed,
        request: |prober| Some(prober.get().with("Connection", "close")),
    },
    Case {
        habit: &KEEP_ALIVE,
        words: "HTTP/1.1 with Connection: keep-alive",
        kind: Kind::Everyday,
        wants: Wants::Kept,
        request: |prober| Some(prober.get().with("Connection", "keep-alive")),
    },
    Case {
        habit: &HTTP10,
        words: "HTTP/1.0",
        kind: Kind::Everyday,
        wants: Wants::Closed,
        request: |prober| Some(prober.get().version(Version::Http10)),
    },
    Case {
        habit: &HTTP10_KEEP_ALIVE,
        words: "HTTP/1.0 with Connection: keep-alive",
        kind: Kind::Everyday,
        wants: Wants::KeptIfSaid,
        request: |prober| Some(prober.get().version(Version::Http10).with("Connection", "keep-alive")),
    },
    Case {
        habit: &HEAD,
        words: "HEAD",
        kind: Kind::Everyday,
        wants: Wants::Kept,
        request: |prober| Some(prober.request(Method::Head, &prober.target.path)),
    },
    Case {
        habit: &NOT_MODIFIED,
        words: "conditional GET",
        kind: Kind::Everyday,
        wants: Wants::Kept,
        request: |prober| {
            let known = [("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")];
            let (field, value) = known
                .iter()
                .find_map(|(told, asks)| Some((*asks, prober.first.field(told)?)))?;
            Some(prober.get().with(field, value))
        },
    },
    Case {
        habit: &OPTIONS,
        words: "OPTIONS",
        kind: Kind::Everyday,
        wants: Wants::Kept,
        request: |prober| Some(prober.request(Method::Options, &prober.target.path)),
    },
    Case {
        habit: &NOT_FOUND,
        words: "a path that nobody has",
        kind: Kind::Everyday,
        wants: Wants::Kept,
        request: |prober| Some(prober.request(Method::Get, NOBODYS_PATH)),
    },
    Case {
        habit: &UNKNOWN_METHOD,
        words: "an unknown method",
        kind: Kind::Odd,
        wants: Wants::Kept,
        request: |prober| Some(prober.request(Method::Other("BYPEER".into()), NOBODYS_PATH)),
    },
    Case {
        habit: &UNKNOWN_EXPECT,
        words: "an unknown Expect",
        kind: Kind::Odd,
        wants: Wants::Kept,
        request: |prober| Some(prober.get().with("Expect", "bypeer-nothing")),
    },
];
