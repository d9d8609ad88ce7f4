//! What happened to a connection, and when.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// Logs that are kept; of more only the number is known.
const KEPT: usize = 20_000;

/// An end by error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// ECONNRESET: a reset came.
    Reset,
    /// EPIPE: on sending, after a FIN, or after a reset that reading has told of already.
    Pipe,
    /// ETIMEDOUT: nothing of what was sent was acknowledged.
    TimedOut,
    /// EHOSTUNREACH, ENETUNREACH: an ICMP error.
    Unreachable,
    /// Another error of connect(2), read(2) or write(2).
    Other(i32),
}

/// One connection's life. Counts are of what the application sent and received: without TLS's own bytes.
#[derive(Clone, Debug)]
pub struct Log {
    /// The check that opened it.
    pub check: &'static str,
    /// Our address; `None` for unix sockets.
    pub local: Option<SocketAddr>,
    /// The server's address; `None` for unix sockets.
    pub remote: Option<SocketAddr>,
    /// connect(2) was called.
    pub began: Instant,
    /// The handshake was over.
    pub opened: Instant,
    /// TLS's handshake was over.
    pub secured: Option<Instant>,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// When the last of them were sent.
    pub last_sent: Option<Instant>,
    /// When the last of them came.
    pub last_received: Option<Instant>,
    /// TLS's close_notify came.
    pub close_notify: Option<Instant>,
    /// The peer's FIN came.
    pub fin: Option<Instant>,
    /// The kernel reported an end in both directions.
    pub hung_up: Option<Instant>,
    /// A reset, or another end by error, came.
    pub reset: Option<(Instant, Broken)>,
    /// Sending failed.
    pub send_failed: Option<(Instant, Broken)>,
    /// We closed.
    pub closed: Option<Instant>,
}

/// All connections of a probe that are over.
#[derive(Debug, Default)]
pub struct Roll {
    kept: Mutex<Vec<Log>>,
}

impl Log {
    pub(super) fn received(&mut self, bytes: usize, at: Instant) {
        self.received += bytes as u64;
        self.last_received = Some(at);
    }

    pub(super) fn sent(&mut self, bytes: usize, at: Instant) {
        self.sent += bytes as u64;
        self.last_sent = Some(at);
    }

    pub(super) fn note_reset(&mut self, at: Instant, errno: Errno) -> Broken {
        let broken = Broken::of(errno);
        self.reset.get_or_insert((at, broken));
        broken
    }

    /// How long connect(2) took: about one round trip.
    pub fn handshake(&self) -> Duration {
        self.opened.duration_since(self.began)
    }

    /// When the server ended it, by FIN or reset, whichever came first.
    pub fn ended_by_server(&self) -> Option<Instant> {
        let reset = self.reset.map(|(at, _)| at);
        match (self.fin, reset) {
            (Some(fin), Some(reset)) => Some(fin.min(reset)),
            (fin, reset) => fin.or(reset),
        }
    }

    /// It was reset, or failed otherwise.
    pub fn was_reset(&self) -> bool {
        self.reset.is_some()
    }
}

impl Roll {
    pub(super) fn add(&self, log: Log) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(log);
        }
    }

    /// Those that are over.
    pub fn logs(&self) -> Vec<Log> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Broken {
    pub(super) fn of(errno: Errno) -> Broken {
        match errno {
            Errno::CONNRESET => Broken::Reset,
            Errno::PIPE => Broken::Pipe,
            Errno::TIMEDOUT => Broken::TimedOut,
            Errno::HOSTUNREACH | Errno::NETUNREACH => Broken::Unreachable,
            other => Broken::Other(other.raw_os_error()),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Reset => f.write_str("ECONNRESET"),
            Broken::Pipe => f.write_str("EPIPE"),
            Broken::TimedOut => f.write_str("ETIMEDOUT"),
            Broken::Unreachable => f.write_str("EHOSTUNREACH"),
            Broken::Other(number) => write!(f, "{}", std::io::Error::from_raw_os_error(*number)),
        }
    }
}
