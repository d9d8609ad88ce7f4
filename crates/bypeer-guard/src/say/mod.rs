//! Telling what happened: the one thing that the parts which do the work know of log, metrics and findings.

mod ending;
mod found;
pub mod log;
pub mod metrics;
mod own_socket;
pub mod proxy_status;
mod record;
pub mod reporter;
mod summary;
mod tally;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;

use crate::account::Account;
use crate::upstream;
#[cfg(test)]
use crate::upstream::Event;

pub use ending::{Ending, How};
pub use found::{Found, found};
pub use record::SCHEMA;
pub use summary::summary;
pub use tally::{Kind, Tally};

/// Is told what happens, on the worker's thread, and must not block for long.
pub trait Sink: Send + Sync {
    /// An exchange is over: its answer was handed over whole, was cut, or its client is gone. Called once for each request
    /// whose head was understood.
    fn exchange(&self, account: &Account);

    /// A request was refused before its head was understood: there is no account of it.
    fn refused(&self, client: SocketAddr, refusal: Refusal);

    /// A client's connection was opened, or is no longer used. Lingering comes after, and [`Sink::closed`] then.
    fn client(&self, client: SocketAddr, change: Change);

    /// What happened on connections to the server outside of an exchange, or behind one.
    fn server(&self, event: &upstream::Event<'_>);

    /// A client's connection has lingered, and is closed.
    fn closed(&self, client: SocketAddr, outcome: &lingering::Outcome);

    /// Something that whoever runs the guard should know.
    fn notice(&self, notice: &Notice);
}

/// What became of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is there.
    Opened,
    /// It is used no more.
    Closed(Why),
}

/// Why a connection is used no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The peer closed it between two exchanges.
    Peer,
    /// The peer reset it, or was gone in the middle of an exchange.
    PeerBroke,
    /// As was announced with the last answer, or asked for with its request.
    Announced,
    /// It was idle for as long as was allowed.
    Idle,
    /// The head of a request was not whole in time.
    HeadTime,
    /// The peer sent or took nothing for too long in the middle of an exchange.
    Silence,
    /// What the peer sent is not HTTP.
    NotHttp,
    /// TLS could not be agreed on.
    Tls,
    /// An answer broke off, and with it the connection.
    AnswerBroke,
    /// It became a tunnel, and both ends are done.
    Tunnel,
    /// It became a tunnel, in which nothing was carried for too long.
    TunnelIdle,
    /// The time for draining was over.
    DrainEnded,
    /// Anything else.
    Other,
}

/// A request that was refused before it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer, where there was one.
    pub status: Option<StatusCode>,
    /// What was wrong.
    pub why: String,
    /// Method and path of its first line, without the query, where these were seen.
    pub line: Option<Box<(String, String)>>,
}

/// Something that whoever runs the guard should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Clients are answered at this address.
    Listening(SocketAddr),
    /// Clients are no longer accepted at this address.
    NoLongerListening(SocketAddr),
    /// No file descriptor is left: nobody is accepted for so long.
    Descriptors {
        /// The pause.
        pause: Duration,
    },
    /// As many clients are connected as is allowed: the others wait in the kernel's backlog.
    ConnectionLimit {
        /// How many are allowed.
        limit: usize,
    },
    /// The limit on file descriptors leaves room for fewer clients than is configured.
    FewerConnections {
        /// How many are configured.
        configured: usize,
        /// How many there is room for.
        room: usize,
        /// The limit on file descriptors.
        descriptors: u64,
        /// Connections to the server that are configured, for which room is kept.
        server: usize,
    },
    /// A connection could not be accepted.
    AcceptFailed(String),
    /// A new configuration is in use.
    Reloaded,
    /// No new clients are accepted, and those that are there are told to leave.
    Draining,
    /// The time for draining is over, with so many exchanges still running.
    DrainEnded {
        /// Exchanges that were cut.
        cut: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Listening(address) => write!(f, "listening on {address}"),
            Notice::NoLongerListening(address) => write!(f, "no longer listening on {address}"),
            Notice::Descriptors { pause } => write!(
                f,
                "no file descriptor is left: no client is accepted for {} ms; raise the limit (ulimit -n, LimitNOFILE=) \
                 or lower client.connections",
                pause.as_millis()
            ),
            Notice::ConnectionLimit { limit } => write!(
                f,
                "all {limit} connections that clients may have are in use: others wait in the backlog (client.connections)"
            ),
            Notice::FewerConnections {
                configured,
                room,
                descriptors,
                server,
            } => write!(
                f,
                "the limit of {descriptors} file descriptors leaves room for {room} clients, not for {configured} \
                 (client.connections); raise it (LimitNOFILE=, ulimit -Hn) or lower upstream.most ({server})"
            ),
            Notice::AcceptFailed(error) => write!(f, "a connection could not be accepted: {error}"),
            Notice::Reloaded => f.write_str("the new configuration is in use"),
            Notice::Draining => f.write_str("no new clients are accepted; those that are connected are told to leave"),
            Notice::DrainEnded { cut: 0 } => f.write_str("drained: no exchange was cut"),
            Notice::DrainEnded { cut: 1 } => f.write_str("the time for draining is over: 1 exchange was cut"),
            Notice::DrainEnded { cut } => write!(f, "the time for draining is over: {cut} exchanges were cut"),
        }
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Sink for Silent {
    fn exchange(&self, _: &Account) {}
    fn refused(&self, _: SocketAddr, _: Refusal) {}
    fn client(&self, _: SocketAddr, _: Change) {}
    fn server(&self, _: &upstream::Event<'_>) {}
    fn closed(&self, _: SocketAddr, _: &lingering::Outcome) {}
    fn notice(&self, _: &Notice) {}
}
