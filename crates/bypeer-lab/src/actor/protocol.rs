//! What the lab and an actor say to each other: one JSON object a line, over the actor's standard input and output.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

/// The first line that an actor reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its host's name, after which its process is named.
    #[serde(default)]
    pub host: String,
    /// What to do; all `{names}` are replaced already.
    pub script: String,
    /// Its own address, and the port that servers listen on.
    pub own: SocketAddrV4,
    /// Where `connect` goes without a name.
    pub server: SocketAddrV4,
    /// Where `connect to HOST` goes.
    pub hosts: BTreeMap<String, SocketAddrV4>,
    /// Of its random pauses.
    #[serde(default)]
    pub seed: u64,
}

/// From the lab to an actor, after the [`Job`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToActor {
    /// Somebody (the wire, another actor, this one) reached this point.
    Marked(String),
    /// The round is over: exit at once. End of file on standard input means the same.
    Over,
}

/// From an actor to the lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromActor {
    /// It listens: clients may begin.
    Listening,
    /// It reached a point with this name. It goes on when the lab has answered with [`ToActor::Marked`].
    Mark(String),
    /// It asks for a signal to another host's process, and goes on when [`ToActor::Marked`] with `signal HOST` came.
    Signal {
        /// Whose.
        host: String,
        /// Which.
        signal: Signal,
    },
    /// It asks for a command to be run on a host, to its end, and goes on when [`ToActor::Marked`] with `run HOST` came.
    Run {
        /// Where.
        host: String,
        /// For the shell.
        command: String,
    },
    /// Something that it did, or that happened to it.
    Did(Deed),
    /// It cannot do its job: the job or the script means nothing, or the address cannot be listened on. Says what, and why.
    Unable(String),
    /// Its script has ended, well or not; it waits for [`ToActor::Over`].
    Ended,
}

/// A signal that a script may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

/// One statement's outcome, as the actor saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// Nanoseconds since the Unix epoch when the statement ended (CLOCK_REALTIME, as in the capture).
    pub time: i64,
    /// How long it took, in nanoseconds.
    pub took: u64,
    /// The statement, as in the script.
    pub what: String,
    /// The connection's own end, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub local: Option<SocketAddrV4>,
    /// Its other end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<SocketAddrV4>,
    /// Bytes that it read or wrote.
    pub bytes: u64,
    /// Bytes that it should have been, where that is known: of a response's body, of a write.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected: Option<u64>,
    /// A response's status.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// How it ended otherwise than wanted: an errno's name (`ECONNRESET`), `EOF`, `timeout`, `another's response`, `malformed`,
    /// `no connection`, `not listening`, `no request`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// It is part of the outcome: a client's `read response` (the last try), or what ended the script.
    #[serde(default)]
    pub counts: bool,
}
