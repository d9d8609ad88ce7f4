//! The guard as a whole: its workers, and what they are told from outside.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::handover::HandoverError;
use crate::listener::Listeners;
use crate::say::Sink;

/// A guard at work. Dropped, it stops at once; [`Guard::drain`] first.
pub struct Guard {
    addresses: Vec<SocketAddr>,
}

/// Why the guard cannot start, or not with this configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No address to listen on.
    #[error("there is no address to listen on")]
    NoAddress,
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A certificate or its key.
    #[error("{}: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What is configured for the server behind.
    #[error("{0}")]
    Upstream(String),
    /// No thread, or no event loop.
    #[error("a worker cannot be started: {0}")]
    Worker(io::Error),
}

/// How the guard stands, for metrics: summed over all workers.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Clients' connections.
    pub connections: u64,
    /// Exchanges that run.
    pub exchanges: u64,
    /// What the lingering sets have done, one for each worker.
    pub lingering: Vec<lingering::Counts>,
}

/// How it ended.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// Exchanges that were cut because the time was over.
    pub cut: u64,
    /// What the lingering sets have done, one for each worker.
    pub lingering: Vec<lingering::Counts>,
}

impl Guard {
    /// Checks what can be checked without listening or connecting: certificates, keys, addresses.
    pub fn check(_config: &Config) -> Result<(), StartError> {
        todo!()
    }

    /// Starts the workers. Privileges may be dropped between `Listeners::bind` and this.
    pub fn start(_config: Config, _listeners: Listeners, _sink: Arc<dyn Sink>) -> Result<Guard, StartError> {
        todo!()
    }

    /// Where clients are answered, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Uses another configuration for requests that come from now on. Connections stay. With an error everything is as before.
    /// The number of workers stays what it was.
    pub fn reload(&self, _config: Config) -> Result<(), StartError> {
        todo!()
    }

    /// Starts the new process, gives it the listening sockets, and waits until it says that it is ready, for `within` at most.
    /// Call [`Guard::drain`] after. `command` gets a socket as its standard input and an environment variable; the new process
    /// takes them with [`crate::handover::inherited`].
    pub fn hand_over(&self, _command: Command, _within: Duration) -> Result<Child, HandoverError> {
        todo!()
    }

    /// Accepts what is queued and nobody after; tells clients to leave; after `close.drain` whoever is still there is let go.
    /// Returns at once.
    pub fn drain(&self) {
        todo!()
    }

    /// Waits until the drained workers are done, for `within` at most. Whether they are.
    pub fn wait(&self, _within: Duration) -> bool {
        todo!()
    }

    /// Stops, also what still runs, and says how it went.
    pub fn finish(self) -> Finished {
        todo!()
    }

    /// How it stands.
    pub fn figures(&self) -> Figures {
        todo!()
    }
}
