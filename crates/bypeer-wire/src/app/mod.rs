//! What was said on a connection: protocol, exchanges, and what was owed when it ended.

mod conversation;
mod exchange;

pub use conversation::Conversation;
pub use exchange::{
    Application, Close, Exchange, Exchanges, Framing, Head, Message, Method, Protocol, RequestHead, ResponseHead, Tls,
    TlsAlert, TlsRecordNote, Version,
};
