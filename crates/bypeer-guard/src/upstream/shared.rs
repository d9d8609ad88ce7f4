//! What all workers know of the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config;

/// What all workers know of the server behind: what was learned of it, and how many connections there are.
pub struct Shared {
    /// Counts of what happened, for metrics.
    pub counters: Counters,
    observer: Arc<dyn Observer>,
    next_connection: AtomicU64,
}

/// Sums over all workers.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections to the server that were opened.
    pub opened: AtomicU64,
    /// Connections to the server that were closed, whoever closed them.
    pub closed: AtomicU64,
    /// Requests that went on a connection that had been used before.
    pub reused: AtomicU64,
    /// Requests that were sent again.
    pub retried: AtomicU64,
    /// Retries that were allowed but for the budget.
    pub over_budget: AtomicU64,
    /// Idle connections that the server closed and no request was lost on.
    pub stale_avoided: AtomicU64,
    /// Idle connections that were retired before the server would close them.
    pub retired: AtomicU64,
    /// Connections that were given up because they held bytes that no request had asked for.
    pub unsolicited: AtomicU64,
    /// Answers that came whole although sending the request had failed.
    pub saved: AtomicU64,
}

/// Is told what happens between exchanges. Called from the workers' threads: it must not block.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

impl Observer for () {
    fn event(&self, _event: &Event<'_>) {}
}

/// What happens on connections to the server outside of an exchange, or behind one.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// A connection was opened.
    Opened {
        /// The server's address.
        to: &'a str,
        /// The connection's number.
        connection: u64,
    },
    /// The server closed an idle connection.
    ClosedIdle {
        /// The server's address.
        to: &'a str,
        /// The connection's number.
        connection: u64,
        /// How long it had been idle.
        idle: Duration,
        /// Requests that it had carried.
        requests: u64,
        /// By a reset; else by FIN.
        reset: bool,
    },
    /// A connection held bytes that no request had asked for (cause `desync-unsolicited-response`), and was given up.
    Unsolicited {
        /// The server's address.
        to: &'a str,
        /// The connection's number.
        connection: u64,
        /// How many bytes were seen.
        bytes: usize,
        /// Requests that it had carried.
        requests: u64,
    },
}

/// Why the guard cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No address of a server was given.
    #[error("no server is named: `to` is empty")]
    NoDestination,
    /// The file of the certificate authority cannot be read.
    #[error("the certificate authority {path} cannot be read: {reason}", path = path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The host is no name that a certificate could be for.
    #[error("{0:?} is no name that a certificate could be for")]
    Name(String),
}

impl Shared {
    /// What will be learned of the server of `config`, and TLS as it will be spoken with it.
    pub fn new(
        config: &config::Upstream,
        _retry: &config::Retry,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<Shared>, SetupError> {
        if config.to.is_empty() {
            return Err(SetupError::NoDestination);
        }
        Ok(Arc::new(Shared {
            counters: Counters::default(),
            observer,
            next_connection: AtomicU64::new(1),
        }))
    }

    /// The same for a new configuration: what was learned of servers that stay is kept, and the counts go on.
    pub fn renew(
        self: &Arc<Shared>,
        config: &config::Upstream,
        retry: &config::Retry,
    ) -> Result<Arc<Shared>, SetupError> {
        Shared::new(config, retry, self.observer.clone())
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        self.observer.event(event);
    }

    pub(super) fn number_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }
}
