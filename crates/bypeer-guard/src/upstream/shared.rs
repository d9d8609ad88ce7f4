//! What all workers know of the server, and share of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::connect::Target;
use super::habits::Habits;
use super::tls;
use crate::config;

/// What all workers know of the server behind: what was learned of it, and how many connections there are.
pub struct Shared {
    /// Counts of what happened, for metrics.
    pub counters: Arc<Counters>,
    pub(super) targets: Vec<(Target, Arc<Habits>)>,
    pub(super) limit: Arc<Semaphore>,
    /// Requests of all workers that wait for a connection because of the limit.
    pub(super) waiting: AtomicUsize,
    pub(super) burst: Burst,
    destinations: Vec<config::Destination>,
    observer: Arc<dyn Observer>,
    keepers: Mutex<Vec<(Arc<AtomicBool>, Waker)>>,
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
    /// Answers that came whole although sending the request had failed, or would have: the server had reset the connection.
    pub saved: AtomicU64,
    next_connection: AtomicU64,
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
    /// A connection is no more, whoever closed it.
    Closed {
        /// The server's address.
        to: &'a str,
        /// The connection's number.
        connection: u64,
        /// Requests that it had carried.
        requests: u64,
    },
    /// The server closed an idle connection. `Closed` follows.
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
    /// A connection held bytes that no request had asked for (cause `desync-unsolicited-response`), and was given up. `Closed` follows.
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
    /// The system has no certificate authorities.
    #[error("the system has no certificate authorities: name one with `authority`")]
    NoRoots,
    /// The host is no name that a certificate could be for.
    #[error("{0:?} is no name that a certificate could be for")]
    Name(String),
    /// TLS cannot be had.
    #[error("TLS cannot be had: {0}")]
    Tls(String),
}

impl Shared {
    /// What will be learned of the server of `config`, and TLS as it will be spoken with it.
    pub fn new(
        config: &config::Upstream,
        retry: &config::Retry,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<Shared>, SetupError> {
        Shared::make(config, retry, observer, Arc::default(), None)
    }

    /// The same for a new configuration: what was learned of servers that stay is kept, and the counts go on.
    ///
    /// The limit of connections is a new one: connections of the old configuration are not counted while they last.
    pub fn renew(&self, config: &config::Upstream, retry: &config::Retry) -> Result<Arc<Shared>, SetupError> {
        Shared::make(config, retry, self.observer.clone(), self.counters.clone(), Some(self))
    }

    fn make(
        config: &config::Upstream,
        retry: &config::Retry,
        observer: Arc<dyn Observer>,
        counters: Arc<Counters>,
        before: Option<&Shared>,
    ) -> Result<Arc<Shared>, SetupError> {
        if config.to.is_empty() {
            return Err(SetupError::NoDestination);
        }
        let tls = match config.to.iter().any(|destination| destination.tls) {
            true => Some(tls::client_config(config)?),
            false => None,
        };
        let targets = config
            .to
            .iter()
            .map(|destination| {
                let known = before
                    .and_then(|before| before.habits_of(destination))
                    .filter(|habits| habits.is_given(config.idle));
                let habits = known.unwrap_or_else(|| Arc::new(Habits::new(config.idle)));
                Ok((Target::new(destination, tls.as_ref())?, habits))
            })
            .collect::<Result<_, SetupError>>()?;
        Ok(Arc::new(Shared {
            counters,
            targets,
            limit: Arc::new(Semaphore::new(config.most.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            burst: Burst::new(retry.burst),
            destinations: config.to.clone(),
            observer,
            keepers: Mutex::default(),
        }))
    }

    fn habits_of(&self, destination: &config::Destination) -> Option<Arc<Habits>> {
        let at = self.destinations.iter().position(|known| known == destination)?;
        Some(self.targets[at].1.clone())
    }

    /// What was learned of each address of the server, in the order of the configuration.
    pub fn habits(&self) -> impl Iterator<Item = (&str, &Habits)> {
        self.targets.iter().map(|(target, habits)| (&*target.name, &**habits))
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        self.observer.event(event);
    }

    pub(super) fn number_connection(&self) -> u64 {
        self.counters.next_connection.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A worker's keeper of idle connections, to be woken when connections are short.
    pub(super) fn add_keeper(&self, asked: Arc<AtomicBool>, waker: Waker) {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.retain(|(other, _)| Arc::strong_count(other) > 1);
        keepers.push((asked, waker));
    }

    /// Asks every worker to give up an idle connection.
    pub(super) fn ask_for_connections(&self) {
        for (asked, waker) in self.keepers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            asked.store(true, Ordering::Release);
            waker.wake_by_ref();
        }
    }
}

/// So many in a second, for all workers together.
#[derive(Debug)]
pub struct Burst {
    most: u32,
    began: Instant,
    /// The second, and how many were had in it.
    spent: Mutex<(u64, u32)>,
}

impl Burst {
    pub fn new(most: u32) -> Burst {
        Burst {
            most,
            began: Instant::now(),
            spent: Mutex::default(),
        }
    }

    /// Takes one; `false` if this second's are spent.
    pub fn take(&self) -> bool {
        self.take_in(self.began.elapsed().as_secs())
    }

    fn take_in(&self, second: u64) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.0 != second {
            *spent = (second, 0);
        }
        let allowed = spent.1 < self.most;
        spent.1 += u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_spent_and_comes_back_with_the_next_second() {
        let burst = Burst::new(2);
        let taken: Vec<bool> = [7, 7, 7, 8].into_iter().map(|second| burst.take_in(second)).collect();
        assert_eq!(taken, [true, true, false, true]);
        assert!(!Burst::new(0).take());
    }
}
