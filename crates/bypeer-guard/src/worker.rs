//! A worker: a thread with an event loop of its own, its clients and its connections to the server.

mod accept;
mod sweep;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use lingering::{Limits, LingeringSet};
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_rustls::TlsAcceptor;

use crate::config::Config;
use crate::exchange::BodyState;
use crate::front::{self, Client, Order};
use crate::say::{Notice, Sink, Why};
use crate::upstream::{self, Upstream};
use accept::Place;
pub(crate) use accept::Seat;

/// Milliseconds since the worker began, as coarse as its sweep.
pub(crate) type Millis = u64;

/// After the time for draining, so long for tasks to end.
const LAST_STEPS: Duration = Duration::from_secs(1);

/// What all workers count together.
#[derive(Debug, Default)]
pub(crate) struct Everyone {
    /// Clients' connections, of all workers.
    pub(crate) connections: AtomicUsize,
    /// How many there may be.
    pub(crate) limit: AtomicUsize,
}

/// What one worker counts, for others to read.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    running: AtomicU64,
    cut: AtomicU64,
}

impl Totals {
    // Only the worker writes: there is no need for an atomic addition.

    pub(crate) fn exchange_began(&self) {
        self.running.store(self.running() + 1, Ordering::Relaxed);
    }

    pub(crate) fn exchange_ended(&self) {
        self.running.store(self.running().saturating_sub(1), Ordering::Relaxed);
    }

    /// Exchanges that run.
    pub(crate) fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    /// Exchanges that were cut because the time was over.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

/// What a worker is made of.
pub(crate) struct Plan {
    pub(crate) config: Arc<Config>,
    pub(crate) shared: Arc<upstream::Shared>,
    /// One socket for each address, all workers' sockets being the same in the kernel.
    pub(crate) places: Vec<Listening>,
}

/// A listening socket, and what is spoken on its connections.
pub(crate) struct Listening {
    /// As it was configured: by it the place is known over a reload.
    pub(crate) name: SocketAddr,
    /// `None`: the socket that is there already.
    pub(crate) socket: Option<std::net::TcpListener>,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// What a worker is told.
pub(crate) enum Command {
    Reload(Plan),
    /// After so long nobody more is accepted.
    Drain(Duration),
    Finish,
}

/// What a worker tells.
pub(crate) struct Report {
    pub(crate) lingering: LingeringSet<SocketAddr>,
}

/// What a worker's tasks share.
pub(crate) struct Worker {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) everyone: Arc<Everyone>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) lingering: LingeringSet<SocketAddr>,
    settings: RefCell<Rc<Settings>>,
    clients: RefCell<Vec<Rc<Client>>>,
    bodies: RefCell<Vec<Rc<BodyState>>>,
    /// Clients whose HTTP/1 stream hyper has, with buffers.
    pub(crate) warm: Cell<usize>,
    began: Instant,
    now: Cell<Millis>,
    draining: Cell<bool>,
    running: Cell<bool>,
    /// Places where clients are accepted.
    accepting: Cell<usize>,
    /// Something of what a drain waits for has ended.
    emptied: tokio::sync::Notify,
}

/// What holds for requests that come from now on.
pub(crate) struct Settings {
    pub(crate) config: Arc<Config>,
    pub(crate) upstream: Upstream,
    pub(crate) http1: hyper::server::conn::http1::Builder,
    /// What `Keep-Alive` says.
    pub(crate) keep_alive: Option<HeaderValue>,
}

impl Settings {
    fn new(config: Arc<Config>, shared: Arc<upstream::Shared>) -> Settings {
        let kept = config.client.idle.saturating_sub(config.client.margin).as_secs();
        let keep_alive = (kept > 0).then(|| HeaderValue::try_from(format!("timeout={kept}")).ok());
        Settings {
            upstream: Upstream::new(&config.upstream, &config.retry, shared),
            http1: front::http1_builder(config.client.head),
            keep_alive: keep_alive.flatten(),
            config,
        }
    }
}

/// Runs a worker until it is told to finish. `begun` is told what to know of it, `drained` when a drain is over.
pub(crate) fn run(
    plan: Plan,
    sink: Arc<dyn Sink>,
    everyone: Arc<Everyone>,
    totals: Arc<Totals>,
    commands: UnboundedReceiver<Command>,
    begun: impl FnOnce(std::io::Result<Report>),
    drained: impl Fn(),
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => return begun(Err(error)),
    };
    let worker = runtime.block_on(async {
        let worker = Worker::new(&plan, sink, everyone, totals);
        let mut places = Vec::new();
        begun(worker.listen(plan.places, &mut places).map(|()| Report {
            lingering: worker.lingering.clone(),
        }));
        tokio::task::spawn_local(sweep::run(worker.clone()));
        worker.obey(commands, places, drained).await;
        worker
    });
    // What tasks do when they are dropped with the runtime must not make new ones.
    worker.running.set(false);
    drop(runtime);
    // Bodies hold their clients, and those the worker: with what the sweep has not yet let go of, worker and sink would stay for ever.
    drop(worker.bodies.take());
}

impl Worker {
    fn new(plan: &Plan, sink: Arc<dyn Sink>, everyone: Arc<Everyone>, totals: Arc<Totals>) -> Rc<Worker> {
        let close = &plan.config.close;
        let limits = Limits::default().bytes(close.bytes).idle(close.idle).total(close.total);
        let told = sink.clone();
        let lingering = LingeringSet::with_hook(limits, close.most, move |client, outcome| {
            told.closed(client, &outcome);
        });
        Rc::new(Worker {
            sink,
            everyone,
            totals,
            lingering,
            settings: RefCell::new(Rc::new(Settings::new(plan.config.clone(), plan.shared.clone()))),
            clients: RefCell::new(Vec::new()),
            bodies: RefCell::new(Vec::new()),
            warm: Cell::new(0),
            began: Instant::now(),
            now: Cell::new(0),
            draining: Cell::new(false),
            running: Cell::new(true),
            accepting: Cell::new(0),
            emptied: tokio::sync::Notify::new(),
        })
    }

    /// What holds now.
    pub(crate) fn settings(&self) -> Rc<Settings> {
        self.settings.borrow().clone()
    }

    pub(crate) fn now(&self) -> Millis {
        self.now.get()
    }

    /// Whether clients are told to leave.
    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether tasks may be made.
    pub(crate) fn is_running(&self) -> bool {
        self.running.get()
    }

    /// A client is there.
    pub(crate) fn list(&self, client: &Rc<Client>) {
        let mut clients = self.clients.borrow_mut();
        client.place.set(clients.len());
        clients.push(client.clone());
    }

    /// It is gone.
    pub(crate) fn unlist(&self, client: &Client) {
        let mut clients = self.clients.borrow_mut();
        let place = client.place.get();
        clients.swap_remove(place);
        if let Some(moved) = clients.get(place) {
            moved.place.set(place);
        }
        if clients.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// A request's body is waited for.
    pub(crate) fn watch_body(&self, body: &Rc<BodyState>) {
        self.bodies.borrow_mut().push(body.clone());
    }

    async fn obey(
        self: &Rc<Worker>,
        mut commands: UnboundedReceiver<Command>,
        mut places: Vec<Rc<Place>>,
        drained: impl Fn(),
    ) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Reload(plan) => self.reload(plan, &mut places),
                Command::Drain(closing) => {
                    self.draining.set(true);
                    let drain = async {
                        tokio::time::sleep(closing).await;
                        places.drain(..).for_each(|place| place.stop());
                        self.drain().await;
                    };
                    tokio::select! {
                        biased;
                        () = self.finished(&mut commands) => return,
                        () = drain => drained(),
                    }
                }
                Command::Finish => return,
            }
        }
    }

    /// Until the drain is to be cut short. Who drains does not reload.
    async fn finished(&self, commands: &mut UnboundedReceiver<Command>) {
        while let Some(command) = commands.recv().await {
            if matches!(command, Command::Finish) {
                return;
            }
        }
    }

    fn listen(self: &Rc<Worker>, listening: Vec<Listening>, places: &mut Vec<Rc<Place>>) -> std::io::Result<()> {
        for listening in listening {
            let Some(socket) = listening.socket else {
                if let Some(place) = places.iter().find(|place| place.name == listening.name) {
                    place.tls.replace(listening.tls);
                }
                continue;
            };
            let socket = tokio::net::TcpListener::from_std(socket)?;
            let place = Rc::new(Place::new(listening.name, listening.tls));
            places.push(place.clone());
            self.accepting.set(self.accepting.get() + 1);
            tokio::task::spawn_local(accept::run(self.clone(), socket, place));
        }
        Ok(())
    }

    fn reload(self: &Rc<Worker>, plan: Plan, places: &mut Vec<Rc<Place>>) {
        let (config, shared) = (plan.config, plan.shared);
        places.retain(|place| {
            let stays = plan.places.iter().any(|listening| listening.name == place.name);
            if !stays {
                place.stop();
            }
            stays
        });
        if let Err(error) = self.listen(plan.places, places) {
            self.sink.notice(&Notice::AcceptFailed(error.to_string()));
        }
        let settings = Rc::new(Settings::new(config, shared));
        let old = self.settings.replace(settings);
        // Requests that run with it have it still.
        old.upstream.drain();
    }

    async fn drain(self: &Rc<Worker>) {
        let close = self.settings().config.close.clone();
        for client in &*self.clients.borrow() {
            if client.http2.get() {
                client.order(Order::Finish(Why::Announced));
            }
        }
        let _ = tokio::time::timeout(close.drain, self.empty()).await;
        let mut cut = 0;
        for client in &*self.clients.borrow() {
            let running = u64::from(client.running());
            cut += match client.http2.get() {
                true => client.leave_unanswered(),
                false => running,
            };
            client.order(match running {
                // Of its streams some are told; then it is broken off.
                1.. if !client.http2.get() => Order::Break(Why::DrainEnded),
                _ => Order::Finish(Why::DrainEnded),
            });
        }
        self.totals.cut.store(cut, Ordering::Relaxed);
        if tokio::time::timeout(LAST_STEPS, self.empty()).await.is_err() {
            for client in &*self.clients.borrow() {
                if client.http2.get() {
                    cut += u64::from(client.running());
                }
                client.order(Order::Break(Why::DrainEnded));
            }
            self.totals.cut.store(cut, Ordering::Relaxed);
            let _ = tokio::time::timeout(LAST_STEPS, self.empty()).await;
        }
        self.settings().upstream.drain();
        self.lingering.finish(close.total).await;
    }

    /// Nobody more is accepted at one of the places, and who was queued there is a client now.
    fn closed(&self) {
        self.accepting.set(self.accepting.get() - 1);
        self.emptied.notify_waiters();
    }

    /// Waits until nobody is there and nobody can come.
    async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.accepting.get() == 0 && self.clients.borrow().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}
