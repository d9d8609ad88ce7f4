use std::io;
use std::net::Ipv4Addr;

use crate::sandbox::SandboxError;

/// Why a round could not be run. That a scenario did not come true is no such error.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The hosts could not be made.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The system refused something.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// The answer.
        error: io::Error,
    },
    /// A server never listened.
    #[error(
        "{host}: nothing listens on port {port} after {seconds} s; it was started as\n  {command}\nand must listen on {{addr}} (or {{port}}), which is replaced by {address}:{port}{output}"
    )]
    NeverListened {
        /// Whose.
        host: String,
        /// Where it should be.
        address: Ipv4Addr,
        /// Where it should be.
        port: u16,
        /// How long it was waited for.
        seconds: u64,
        /// What was started.
        command: String,
        /// What it printed.
        output: String,
    },
    /// A server ended before it listened.
    #[error("{host}: it ended with {status} before it listened on port {port}; it was started as\n  {command}{output}")]
    EndedEarly {
        /// Whose.
        host: String,
        /// Where it should have listened.
        port: u16,
        /// Its exit status, in words.
        status: String,
        /// What was started.
        command: String,
        /// What it printed.
        output: String,
    },
    /// A program that the shell did not find, or could not start.
    #[error("{host}: its program could not be started; the shell was given\n  {command}{output}")]
    NotStarted {
        /// Whose.
        host: String,
        /// What was to be started.
        command: String,
        /// What the shell said.
        output: String,
    },
    /// An actor could not do what its script says at all.
    #[error("{host}: {why}")]
    Actor {
        /// Whose.
        host: String,
        /// What it said.
        why: String,
    },
    /// Ctrl-C or SIGTERM.
    #[error("stopped")]
    Stopped,
}
