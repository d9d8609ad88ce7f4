//! Listening sockets that go from one process to the next.

use std::io;

/// Why a handover failed. The old process goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The new process could not be started, or spoken to.
    #[error("the new process could not be started: {0}")]
    Start(io::Error),
    /// It ended, or closed the socket, before it was ready.
    #[error("the new process ended before it was ready")]
    Ended,
    /// It was not ready in time, and was ended.
    #[error("the new process was not ready in time")]
    Late,
    /// What is on standard input is not what the process before should have given.
    #[error("the sockets of the process before could not be taken over: {0}")]
    Inherit(io::Error),
}

/// Listening sockets that this process was started with.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<std::net::TcpListener>,
}

/// What the process was started with: by `Guard::hand_over` of the one before, or by systemd (`LISTEN_FDS`). Empty if neither.
/// To be called once, before anything else is opened.
pub fn inherited() -> Result<Inherited, HandoverError> {
    todo!()
}

impl Inherited {
    /// Tells the process before that clients are answered here: it drains then. Sockets that were not taken are closed.
    pub fn ready(self) {}
}
