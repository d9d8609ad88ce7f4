//! What the guard is told: plain values with safe defaults. Reading them from flags and a file is `config/read.rs`'s.

pub mod certificates;
mod contradictions;
pub mod keys;
mod nearest;
pub mod read;
mod server;
pub mod settings;
mod validity;
pub mod value;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use contradictions::risks;

/// Everything that the guard is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where clients are answered.
    pub listen: Vec<Listen>,
    /// The server behind.
    pub upstream: Upstream,
    /// Bounds on clients.
    pub client: ClientLimits,
    /// How connections are closed.
    pub close: Close,
    /// When a request is sent again.
    pub retry: Retry,
    /// Threads, each with an event loop. 0: one for each processor.
    pub workers: usize,
    /// `Proxy-Status` also on answers that came from the server, not only on the guard's own.
    pub proxy_status: bool,
}

/// A place where clients are answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificate chain and key; `None`: plain.
    pub tls: Option<TlsFiles>,
    /// Connections that the kernel keeps until they are accepted.
    pub backlog: u32,
}

/// Where a certificate lies.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsFiles {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
}

/// The server behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its addresses; more than one: taken in turn, and the next one if a connection is refused.
    pub to: Vec<Destination>,
    /// HTTP/1.1, or 2 (by prior knowledge, or by ALPN with TLS).
    pub version: UpstreamVersion,
    /// TLS: the file of its certificate authority (PEM); `None`: the system's.
    pub authority: Option<PathBuf>,
    /// TLS: accept any certificate.
    pub insecure: bool,
    /// How long the server keeps an idle connection, where that is known. Learned otherwise.
    pub idle: Option<Duration>,
    /// Idle connections that each worker keeps. 0: each request has a connection of its own.
    pub keep: usize,
    /// Rests of its connections in which the server must have sent nothing, before one is used again at once. 0: from the first on.
    pub trial: u64,
    /// Connections at once, all workers together.
    pub most: usize,
    /// Until a connection must be there.
    pub connect: Duration,
    /// Until the answer must begin, from the last byte of the request sent.
    pub answer: Duration,
    /// Silence in the middle of an answer, or of a request that is being sent.
    pub silence: Duration,
    /// The largest head of an answer, bytes.
    pub head: usize,
    /// A request's body up to this many bytes is read whole before the server hears of it, and is sent in one write with the head.
    pub gather: usize,
    /// A response's body of a known length up to this many bytes is held until it is whole, so that a cut one is no half answer.
    pub hold: usize,
}

/// One address of the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// A unix socket in place of host and port.
    pub unix: Option<PathBuf>,
}

/// What is spoken with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Bounds on clients.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientLimits {
    /// Connections at once, all workers together.
    pub connections: usize,
    /// How long an idle connection is kept. Announced to the client, shorter by `margin`.
    pub idle: Duration,
    /// How much earlier than `idle` the client is told to stop using a connection.
    pub margin: Duration,
    /// Until a request's head must be whole, from its first byte, or from the connection's beginning.
    pub head_time: Duration,
    /// The largest head, bytes.
    pub head: usize,
    /// The largest body, bytes; larger ones are answered 413. `None`: any.
    pub body: Option<u64>,
    /// Silence in the middle of a body, or of an answer that the client does not read.
    pub silence: Duration,
    /// Silence in both directions of a tunnel, after which it is ended. `None`: any.
    pub tunnel: Option<Duration>,
    /// Requests on one connection; the last one's answer says `Connection: close`. `None`: any.
    pub requests: Option<u64>,
    /// Clients are proxies, and what they say of where a request comes from is passed on.
    pub trusted: bool,
}

/// How connections are closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Close {
    /// Bytes that are read and thrown away after the last answer.
    pub bytes: u64,
    /// Silence after which the peer is given up.
    pub idle: Duration,
    /// How long it may take in all.
    pub total: Duration,
    /// Connections that may linger at once, each worker.
    pub most: usize,
    /// SIGTERM: how long requests may still run, and idle connections wait to be told.
    pub drain: Duration,
}

/// When a request is sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Whether at all.
    pub enabled: bool,
    /// Retries for each hundred requests.
    pub percent: u32,
    /// Retries in a second that are allowed beyond that.
    pub burst: u32,
}

impl Default for Upstream {
    fn default() -> Upstream {
        Upstream {
            to: Vec::new(),
            version: UpstreamVersion::Http1,
            authority: None,
            insecure: false,
            idle: None,
            keep: 64,
            trial: 1000,
            most: 1024,
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(60),
            silence: Duration::from_secs(60),
            head: 64 << 10,
            gather: 64 << 10,
            hold: 64 << 10,
        }
    }
}

impl Default for ClientLimits {
    fn default() -> ClientLimits {
        ClientLimits {
            connections: 10_000,
            idle: Duration::from_secs(95),
            margin: Duration::from_secs(5),
            head_time: Duration::from_secs(30),
            head: 64 << 10,
            body: None,
            silence: Duration::from_secs(60),
            tunnel: Some(Duration::from_secs(3600)),
            requests: None,
            trusted: false,
        }
    }
}

impl Default for Close {
    fn default() -> Close {
        Close {
            bytes: 64 << 20,
            idle: Duration::from_secs(5),
            total: Duration::from_secs(30),
            most: 4096,
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            enabled: true,
            percent: 20,
            burst: 10,
        }
    }
}
