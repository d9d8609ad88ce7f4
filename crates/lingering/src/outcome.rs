//! What became of a close.

use std::fmt;
use std::io;
use std::time::Duration;
#[cfg(any(feature = "tokio", test))]
use std::time::Instant;

#[cfg(any(feature = "tokio", test))]
use crate::state::State;

/// Why a lingering close ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// The peer closed too: its FIN came, everything before it was read, and its kernel has acknowledged everything that was
    /// written. Nothing can destroy anything now. Where the system does not say what is [`unsent`](crate::unsent) the FIN
    /// alone is waited for: nothing of ours can destroy anything.
    Eof,
    /// More than [`Limits::bytes`](crate::Limits::bytes) came.
    ByteBound,
    /// For [`Limits::idle`](crate::Limits::idle) nothing came and nothing was acknowledged. The peer's FIN may have come
    /// before that: who half-closes, and then takes nothing, is as silent as others.
    Idle,
    /// [`Limits::total`](crate::Limits::total) was over.
    Deadline,
    /// The peer's reset came (ECONNRESET, EPIPE, ECONNABORTED).
    Reset,
    /// The connection was over before the close began (ENOTCONN): both ends had closed, or a reset had been told of
    /// to an earlier read or write.
    Gone,
    /// Another error of the socket: the kernel gave up on the peer (`TimedOut`). `Other`: what lay on the socket panicked,
    /// and took it along.
    Failed(io::ErrorKind),
    /// The set was full, and this connection had been in it for longest.
    Crowded,
    /// The set was told to end by then, or was dropped.
    Stopped,
}

/// What became of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Why it ended.
    pub ended: Ended,
    /// Bytes that were read and thrown away.
    pub drained: u64,
    /// Bytes that were written and that the peer's kernel had not acknowledged right before the close (`SIOCOUTQ`,
    /// without our FIN). For unix sockets what the peer had not read, in kernel memory: some more than the bytes.
    /// `None` where the system does not say.
    pub unsent: Option<u64>,
    /// Bytes that lay unread right before the close (`FIONREAD`). More than 0: the kernel answered with a reset.
    pub unread: Option<u64>,
    /// What kept a layer on the socket from its good-bye (TLS's close_notify) and from what it still held, if anything did; a
    /// panic is `Other`. The socket below was half-closed and drained all the same, and `ended` tells of that.
    pub good_bye_failed: Option<io::ErrorKind>,
    /// From the half-close to the close.
    pub lasted: Duration,
    /// What is unsent lies in the peer's own queue, as with unix sockets: nothing takes it from there but the peer.
    pub(crate) unsent_is_there: bool,
}

impl Outcome {
    /// Of a close of which the system can be asked no more: what lay on the socket took it along.
    #[cfg(any(feature = "tokio", test))]
    pub(crate) fn without_socket(state: &State, ended: Ended, now: Instant) -> Outcome {
        Outcome {
            ended,
            drained: state.drained(),
            unsent: None,
            unread: None,
            good_bye_failed: state.good_bye_failed(),
            lasted: now.saturating_duration_since(state.began()),
            unsent_is_there: false,
        }
    }

    /// Whether the peer had everything that was written.
    ///
    /// - `Some(true)`: its kernel acknowledged everything (or it is a unix socket, whose peer has everything in its own queue),
    ///   its FIN came, and nothing lay unread. What it has not read yet no reset of ours will take from it.
    /// - `Some(false)`: bytes that had not been acknowledged were thrown away: by a reset of the peer, by ours, or because
    ///   the kernel gave up on the peer.
    /// - `None`: it cannot be said. That is so when a bound was reached with nothing unread: the kernel goes on
    ///   sending, but answers whatever the peer still sends with a reset. And when a layer could not say its good-bye: what
    ///   it held is not known.
    pub fn delivered(&self) -> Option<bool> {
        let is_lost = self.unsent? > 0 && !self.unsent_is_there;
        match self.ended {
            Ended::Eof if self.good_bye_failed.is_some() => None,
            Ended::Eof if !is_lost && self.unread == Some(0) => Some(true),
            Ended::Reset | Ended::Gone if is_lost => Some(false),
            // The kernel gave up on the peer, after silence, or after routers said why (tcp_write_err: sk_err_soft).
            Ended::Failed(
                io::ErrorKind::TimedOut
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::ConnectionRefused,
            ) if is_lost => Some(false),
            _ if is_lost && self.unread.is_some_and(|unread| unread > 0) => Some(false),
            _ => None,
        }
    }

    /// Whether a bound of ours cut it short: bytes, silence, time, or the set's size or end.
    pub fn is_cut(&self) -> bool {
        matches!(
            self.ended,
            Ended::ByteBound | Ended::Idle | Ended::Deadline | Ended::Crowded | Ended::Stopped
        )
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::Eof => "end of file",
            Ended::ByteBound => "byte bound",
            Ended::Idle => "idle",
            Ended::Deadline => "deadline",
            Ended::Reset => "reset by peer",
            Ended::Gone => "was over before",
            Ended::Failed(kind) => return write!(f, "failed: {kind}"),
            Ended::Crowded => "crowded out",
            Ended::Stopped => "stopped",
        })
    }
}

/// What a set has done so far. `added` is always `lingering` and all the ends together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Connections that were given to it.
    pub added: u64,
    /// Connections in it now.
    pub lingering: u64,
    /// Bytes thrown away, of connections that linger and of those that are closed.
    pub drained: u64,
    /// Connections that ended by [`Ended::Eof`].
    pub eof: u64,
    /// By [`Ended::ByteBound`].
    pub byte_bound: u64,
    /// By [`Ended::Idle`].
    pub idle: u64,
    /// By [`Ended::Deadline`].
    pub deadline: u64,
    /// By [`Ended::Reset`].
    pub reset: u64,
    /// By [`Ended::Gone`].
    pub gone: u64,
    /// By [`Ended::Failed`].
    pub failed: u64,
    /// By [`Ended::Crowded`].
    pub crowded: u64,
    /// By [`Ended::Stopped`].
    pub stopped: u64,
    /// Of all these, those whose layer could not say its good-bye ([`Outcome::good_bye_failed`]).
    pub good_byes_failed: u64,
    /// Those that were closed with bytes unsent ([`Outcome::unsent`]).
    pub with_unsent: u64,
    /// Those that were closed with bytes unread ([`Outcome::unread`]): the kernel answered with a reset, where the peer had not
    /// reset before.
    pub with_unread: u64,
}

impl Counts {
    /// Connections that a bound cut short: bytes, silence, time, or the set's size or end.
    pub fn cut(&self) -> u64 {
        self.byte_bound + self.idle + self.deadline + self.crowded + self.stopped
    }

    pub(crate) fn closed(&mut self, outcome: &Outcome) {
        self.good_byes_failed += u64::from(outcome.good_bye_failed.is_some());
        self.with_unsent += u64::from(outcome.unsent.is_some_and(|bytes| bytes > 0));
        self.with_unread += u64::from(outcome.unread.is_some_and(|bytes| bytes > 0));
    }

    pub(crate) fn ended(&mut self, ended: Ended) {
        self.lingering -= 1;
        *match ended {
            Ended::Eof => &mut self.eof,
            Ended::ByteBound => &mut self.byte_bound,
            Ended::Idle => &mut self.idle,
            Ended::Deadline => &mut self.deadline,
            Ended::Reset => &mut self.reset,
            Ended::Gone => &mut self.gone,
            Ended::Failed(_) => &mut self.failed,
            Ended::Crowded => &mut self.crowded,
            Ended::Stopped => &mut self.stopped,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_gave_up_on_is_not_delivered() {
        let outcome = |ended, unsent| Outcome {
            ended,
            drained: 0,
            unsent: Some(unsent),
            unread: Some(0),
            good_bye_failed: None,
            lasted: Duration::ZERO,
            unsent_is_there: false,
        };
        for kind in [
            io::ErrorKind::TimedOut,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::NetworkUnreachable,
        ] {
            assert_eq!(outcome(Ended::Failed(kind), 1).delivered(), Some(false), "{kind}");
            assert_eq!(outcome(Ended::Failed(kind), 0).delivered(), None, "{kind}");
        }
        // Of what lay on the socket nothing can be said.
        assert_eq!(outcome(Ended::Failed(io::ErrorKind::Other), 1).delivered(), None);
    }
}
