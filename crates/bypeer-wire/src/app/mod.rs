//! What was said on a connection: protocol, exchanges, and what was owed when it ended.

mod chunked;
mod conversation;
mod date;
mod detect;
mod draft;
mod ear;
mod exchange;
mod fastcgi;
mod framed;
mod head;
mod http1;
mod http1_head;
mod http1_scan;
mod json;
mod ledger;
mod notice;
mod record;
mod redis;
mod resp;
mod route;
mod sample;
mod short;
mod texts;
mod tls;
mod tls_hello;
mod turns;
mod words;

pub use chunked::{Chunked, ChunkedRead};
pub use conversation::Conversation;
pub use exchange::{
    Application, Close, Exchange, Exchanges, Framing, Head, Message, Method, Protocol, RequestHead, ResponseHead, Tls,
    TlsAlert, TlsRecordNote, Unasked, Version,
};
pub use head::{Sole, sole_request, sole_response};
pub use notice::{How, Look, Notice, Noticed, Place, Request, Route, Shape, Token};

#[cfg(test)]
mod tests;
