//! The guard as a whole: its workers, and what they are told from outside.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{self, Child};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lingering::LingeringSet;
use tokio::sync::mpsc::UnboundedSender;

use crate::config::{Config, Listen};
pub use crate::descriptors::Needed;
use crate::descriptors::{self, Shortage};
use crate::front::{self, Presented};
use crate::handover::{self, Handover, HandoverError, Inherited};
use crate::listener::{self, Listeners};
use crate::say::{Notice, Sink};
use crate::upstream;
use crate::worker::{self, Command, Everyone, Listening, Plan, Totals};

/// Handshakes that run when a drain begins have so long to end: two round trips round the world.
const HANDSHAKES: Duration = Duration::from_millis(500);

/// A guard at work. Dropped, it stops at once; [`Guard::drain`] first.
pub struct Guard {
    addresses: Mutex<Vec<SocketAddr>>,
    workers: Vec<Running>,
    everyone: Arc<Everyone>,
    sink: Arc<dyn Sink>,
    state: Mutex<State>,
    drained: Arc<Drained>,
}

/// What changes with a reload.
struct State {
    config: Arc<Config>,
    shared: Arc<upstream::Shared>,
    certificates: BTreeMap<SocketAddr, i64>,
    /// By the address that was configured. Empty from the beginning of a drain: a socket that nobody accepts on must not stay.
    listeners: Vec<(SocketAddr, TcpListener)>,
    /// Another process has them too.
    others_use_them: bool,
    draining: bool,
}

/// A worker's thread.
struct Running {
    commands: UnboundedSender<Command>,
    totals: Arc<Totals>,
    lingering: LingeringSet<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

/// Workers that have drained.
#[derive(Default)]
struct Drained {
    count: Mutex<usize>,
    changed: Condvar,
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
    /// systemd passes a socket that is not among the addresses to listen on.
    #[error(
        "the service manager passes a socket that listens on {address} (LISTEN_FDS), and listen does not name it: clients there would wait \
         without end; write --listen {address}, or listen = \"{address}\" in the file"
    )]
    Passed {
        /// Where the socket listens.
        address: SocketAddr,
    },
    /// A certificate or its key.
    #[error("{}: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There may be too few file descriptors.
    #[error(
        "at most {limit} file descriptors may be had here, and {needed} are needed at least; raise the limit (LimitNOFILE=, ulimit -Hn)"
    )]
    Descriptors {
        /// How many there may be.
        limit: u64,
        /// How many are needed.
        needed: u64,
    },
    /// What is configured for the server behind.
    #[error("{0}")]
    Upstream(String),
    /// It is on its way out.
    #[error("the guard drains already")]
    Draining,
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
    /// When the certificate that clients are shown expires, in seconds since the epoch, by the address that was configured.
    pub certificates: BTreeMap<SocketAddr, i64>,
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
    pub fn check(config: &Config) -> Result<(), StartError> {
        if config.listen.is_empty() {
            return Err(StartError::NoAddress);
        }
        for listen in &config.listen {
            listen.tls.as_ref().map(front::acceptor).transpose()?;
        }
        upstream::Shared::new(&config.upstream, &config.retry, Arc::new(()))
            .map(drop)
            .map_err(|error| StartError::Upstream(error.to_string()))
    }

    /// File descriptors that it needs with this configuration.
    pub fn descriptors(config: &Config) -> Needed {
        descriptors::needed(config, workers(config))
    }

    /// Starts the workers. Privileges may be dropped between `Listeners::bind` and this.
    pub fn start(config: Config, listeners: Listeners, sink: Arc<dyn Sink>) -> Result<Guard, StartError> {
        let config = Arc::new(config);
        let observer = Arc::new(ToSink(sink.clone()));
        let shared = upstream::Shared::new(&config.upstream, &config.retry, observer)
            .map_err(|error| StartError::Upstream(error.to_string()))?;
        let addresses = listeners.addresses();
        let tls = acceptors(&config)?;
        let everyone = Arc::new(Everyone::default());
        let mut guard = Guard {
            addresses: Mutex::new(addresses.clone()),
            workers: Vec::new(),
            everyone,
            sink,
            state: Mutex::new(State {
                config: config.clone(),
                shared: shared.clone(),
                certificates: expiries(&config, &tls),
                listeners: Vec::new(),
                others_use_them: listeners.others_use_them,
                draining: false,
            }),
            drained: Arc::default(),
        };
        if let Some(shortage) = descriptors::shortage(&config, workers(&config))
            && shortage.is_too_large
        {
            return Err(StartError::Descriptors {
                limit: shortage.limit,
                needed: Guard::descriptors(&config).least,
            });
        }
        guard.limit_connections(&config);
        let sockets: Vec<_> = listeners
            .listeners
            .into_iter()
            .map(|(listen, socket)| (listen.address, socket))
            .collect();
        for number in 0..workers(&config) {
            let places = sockets
                .iter()
                .zip(&tls)
                .map(|((name, socket), tls)| {
                    Ok(Listening {
                        name: *name,
                        socket: Some(socket.try_clone()?),
                        tls: tls.as_ref().map(|tls| tls.acceptor.clone()),
                    })
                })
                .collect::<io::Result<_>>()
                .map_err(StartError::Worker)?;
            let plan = Plan {
                config: config.clone(),
                shared: shared.clone(),
                places,
            };
            let running = guard.start_worker(number, plan).map_err(StartError::Worker)?;
            guard.workers.push(running);
        }
        lock(&guard.state).listeners = sockets;
        for address in addresses {
            guard.sink.notice(&Notice::Listening(address));
        }
        Ok(guard)
    }

    fn start_worker(&self, number: usize, plan: Plan) -> io::Result<Running> {
        let (commands, receiver) = tokio::sync::mpsc::unbounded_channel();
        let (begun, report) = std::sync::mpsc::sync_channel(1);
        let totals = Arc::new(Totals::default());
        let thread = {
            let (sink, everyone, totals) = (self.sink.clone(), self.everyone.clone(), totals.clone());
            let drained = self.drained.clone();
            std::thread::Builder::new()
                .name(format!("guard-{number}"))
                .spawn(move || {
                    let begun = move |report| {
                        let _ = begun.send(report);
                    };
                    worker::run(plan, sink, everyone, totals, receiver, begun, || {
                        *lock(&drained.count) += 1;
                        drained.changed.notify_all();
                    });
                })?
        };
        let report = report.recv().map_err(|_| io::Error::other("its thread ended"))??;
        Ok(Running {
            commands,
            totals,
            lingering: report.lingering,
            thread: Some(thread),
        })
    }

    /// Where clients are answered, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        lock(&self.addresses).clone()
    }

    /// What is known of the server behind, and counted of it.
    pub fn upstream(&self) -> Arc<upstream::Shared> {
        lock(&self.state).shared.clone()
    }

    /// Uses another configuration for requests that come from now on. Connections stay; addresses that are new are bound, and at those
    /// that are no longer named nobody more is accepted. With an error everything is as before. The number of workers stays what
    /// it was, and so do the bounds of lingering (`close.bytes`, `idle`, `total`, `most`).
    pub fn reload(&self, config: Config) -> Result<(), StartError> {
        let mut state = lock(&self.state);
        if state.draining {
            return Err(StartError::Draining);
        }
        if config.listen.is_empty() {
            return Err(StartError::NoAddress);
        }
        let tls = acceptors(&config)?;
        let shared = state
            .shared
            .renew(&config.upstream, &config.retry)
            .map_err(|error| StartError::Upstream(error.to_string()))?;
        let (old, new): (Vec<Listen>, Vec<Listen>) = config
            .listen
            .iter()
            .cloned()
            .partition(|listen| state.listeners.iter().any(|(name, _)| *name == listen.address));
        let bound = match new.is_empty() {
            true => Listeners::default(),
            false => Listeners::bind(&new, &mut Inherited::default())?,
        };
        let config = Arc::new(config);
        let mut plans = Vec::new();
        for _ in &self.workers {
            let places = config.listen.iter().zip(&tls).map(|(listen, tls)| {
                let new = bound
                    .listeners
                    .iter()
                    .find(|(other, _)| other.address == listen.address);
                Ok(Listening {
                    name: listen.address,
                    socket: new.map(|(_, socket)| socket.try_clone()).transpose()?,
                    tls: tls.as_ref().map(|tls| tls.acceptor.clone()),
                })
            });
            plans.push(Plan {
                config: config.clone(),
                shared: shared.clone(),
                places: places.collect::<io::Result<_>>().map_err(StartError::Worker)?,
            });
        }
        // Nothing can fail from here on.
        for (worker, plan) in self.workers.iter().zip(plans) {
            let _ = worker.commands.send(Command::Reload(plan));
        }
        state.listeners.retain(|(name, listener)| {
            let stays = old.iter().any(|listen| listen.address == *name);
            if !stays && let Ok(address) = listener.local_addr() {
                self.sink.notice(&Notice::NoLongerListening(address));
            }
            stays
        });
        for address in bound.addresses() {
            self.sink.notice(&Notice::Listening(address));
        }
        let bound = bound
            .listeners
            .into_iter()
            .map(|(listen, socket)| (listen.address, socket));
        state.listeners.extend(bound);
        *lock(&self.addresses) = state
            .listeners
            .iter()
            .filter_map(|(_, listener)| listener.local_addr().ok())
            .collect();
        self.limit_connections(&config);
        state.certificates = expiries(&config, &tls);
        state.config = config;
        state.shared = shared;
        self.sink.notice(&Notice::Reloaded);
        Ok(())
    }

    /// Starts the new process and gives it the listening sockets. `command` gets a socket as its standard input and an environment
    /// variable; the new process takes them with [`crate::handover::inherited`].
    pub fn begin_hand_over(&self, command: process::Command) -> Result<Handover, HandoverError> {
        handover::start(command, &self.sockets()?)
    }

    /// Waits until the new process says that it is ready, for `within` at most; `None`: it has not yet. Call [`Guard::drain`] after, or
    /// drop it to end the new process.
    pub fn took_over(&self, new: &mut Handover, within: Duration) -> Result<Option<Child>, HandoverError> {
        let child = new.wait(within)?;
        if child.is_some() {
            lock(&self.state).others_use_them = true;
        }
        Ok(child)
    }

    /// Both at once, for who has nothing else to do meanwhile.
    pub fn hand_over(&self, command: process::Command, within: Duration) -> Result<Child, HandoverError> {
        let mut new = self.begin_hand_over(command)?;
        self.took_over(&mut new, within)?.ok_or(HandoverError::Late)
    }

    /// Gives the listening sockets to whoever has the other end of this socket, and takes them with [`Inherited::receive`].
    pub fn send_sockets(&self, to: &UnixStream) -> Result<(), HandoverError> {
        let sockets = self.sockets()?;
        handover::send(to, &sockets).map_err(HandoverError::Start)?;
        lock(&self.state).others_use_them = true;
        Ok(())
    }

    fn sockets(&self) -> Result<Vec<TcpListener>, HandoverError> {
        let state = lock(&self.state);
        if state.listeners.is_empty() {
            return Err(HandoverError::Nothing);
        }
        let sockets = state.listeners.iter().map(|(_, socket)| socket.try_clone());
        sockets.collect::<io::Result<_>>().map_err(HandoverError::Start)
    }

    /// Accepts what is queued and nobody after; tells clients to leave; after `close.drain` whoever is still there is let go.
    /// Returns at once.
    pub fn drain(&self) {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.draining, true) {
            return;
        }
        let mut closing = Duration::ZERO;
        if !state.others_use_them {
            for (_, listener) in &state.listeners {
                if listener::ignore_new_clients(listener).is_ok() {
                    closing = HANDSHAKES;
                }
            }
        }
        // Before the workers close theirs: the last to be closed must be one whose queue was just emptied.
        state.listeners.clear();
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Drain(closing));
        }
        self.sink.notice(&Notice::Draining);
    }

    /// Waits until the drained workers are done, for `within` at most. Whether they are.
    pub fn wait(&self, within: Duration) -> bool {
        let count = lock(&self.drained.count);
        let (count, _) = self
            .drained
            .changed
            .wait_timeout_while(count, within, |count| *count < self.workers.len())
            .unwrap_or_else(PoisonError::into_inner);
        *count >= self.workers.len()
    }

    /// Stops, also what still runs, and says how it went.
    pub fn finish(mut self) -> Finished {
        let drained = *lock(&self.drained.count) >= self.workers.len();
        let cut = self
            .workers
            .iter()
            .map(|worker| match drained {
                true => worker.totals.cut(),
                false => worker.totals.running(),
            })
            .sum();
        self.stop();
        self.sink.notice(&Notice::DrainEnded { cut });
        Finished {
            cut,
            lingering: self.workers.iter().map(|worker| worker.lingering.counts()).collect(),
        }
    }

    fn stop(&mut self) {
        lock(&self.state).listeners.clear();
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Finish);
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
    }

    /// How it stands.
    pub fn figures(&self) -> Figures {
        Figures {
            connections: self.everyone.connections.load(Ordering::Relaxed) as u64,
            exchanges: self.workers.iter().map(|worker| worker.totals.running()).sum(),
            lingering: self.workers.iter().map(|worker| worker.lingering.counts()).collect(),
            certificates: lock(&self.state).certificates.clone(),
        }
    }

    /// As many as are configured, if there are file descriptors for so many.
    fn limit_connections(&self, config: &Config) {
        let configured = config.client.connections;
        let limit = match descriptors::shortage(config, workers(config)) {
            Some(Shortage { limit, room, .. }) if room < configured => {
                self.sink.notice(&Notice::FewerConnections {
                    configured,
                    room,
                    descriptors: limit,
                    server: config.upstream.most,
                });
                room
            }
            _ => configured,
        };
        self.everyone.limit.store(limit, Ordering::Relaxed);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

struct ToSink(Arc<dyn Sink>);

impl upstream::Observer for ToSink {
    fn event(&self, event: &upstream::Event<'_>) {
        self.0.server(event);
    }
}

fn acceptors(config: &Config) -> Result<Vec<Option<Presented>>, StartError> {
    let one = |listen: &Listen| listen.tls.as_ref().map(front::acceptor).transpose();
    config.listen.iter().map(one).collect()
}

/// When what is presented at each address expires.
fn expiries(config: &Config, tls: &[Option<Presented>]) -> BTreeMap<SocketAddr, i64> {
    let places = config.listen.iter().zip(tls);
    places
        .filter_map(|(listen, tls)| Some((listen.address, tls.as_ref()?.until?)))
        .collect()
}

fn workers(config: &Config) -> usize {
    match config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
