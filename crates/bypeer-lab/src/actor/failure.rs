//! How a statement can end otherwise than it wants.

use std::fmt;

use nix::errno::Errno;

/// What went wrong. Its text is [`super::Deed::error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The kernel said so.
    Errno(Errno),
    /// The peer's FIN came before everything was there.
    EndOfFile,
    /// The actor's own patience ended, not the kernel's (`ETIMEDOUT`).
    Timeout,
    /// A gateway answered, because the server did not: 502, 503, 504.
    Gateway(u16),
    /// The response is of a path that was not asked for, or other bytes came than the script wants.
    AnothersResponse,
    /// What was read is no HTTP, or the body that came is another than the head announced.
    Malformed,
    /// The statement needs a connection, and there is none.
    NoConnection,
    /// The statement needs a listener, and there is none.
    NotListening,
    /// There is no request, or no head, that the statement could be about.
    NoRequest,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Errno(errno) => return write!(f, "{errno:?}"),
            Failure::Gateway(status) => return write!(f, "{status}"),
            Failure::EndOfFile => "EOF",
            Failure::Timeout => "timeout",
            Failure::AnothersResponse => "another's response",
            Failure::Malformed => "malformed",
            Failure::NoConnection => "no connection",
            Failure::NotListening => "not listening",
            Failure::NoRequest => "no request",
        })
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::Errno(errno)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Errno(Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO)))
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Self {
        Failure::Errno(Errno::from_raw(errno.raw_os_error()))
    }
}
