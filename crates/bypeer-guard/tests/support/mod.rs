//! Scripted servers and clients to the byte, and a sink that remembers.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

pub mod backend;
pub mod client;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bypeer_guard::account::Account;
use bypeer_guard::config::{ClientLimits, Close, Config, Destination, Listen, Retry, Upstream};
use bypeer_guard::guard::Guard;
use bypeer_guard::handover::Inherited;
use bypeer_guard::listener::Listeners;
use bypeer_guard::say::{Change, Notice, Refusal, Sink, Why};
use bypeer_guard::upstream::Event;

/// Longer than anything takes that is not stuck.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub struct Told {
    pub method: String,
    pub path: String,
    pub status: Option<u16>,
    pub failure: Option<String>,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

#[derive(Debug, Default, Clone)]
pub struct Said {
    pub exchanges: Vec<Told>,
    pub refusals: Vec<Refusal>,
    pub opened: usize,
    pub closed: Vec<Why>,
    pub lingered: Vec<lingering::Outcome>,
    pub notices: Vec<Notice>,
}

#[derive(Default)]
pub struct Recorder {
    said: Mutex<Said>,
    changed: Condvar,
}

impl Recorder {
    fn note(&self, note: impl FnOnce(&mut Said)) {
        note(&mut self.said.lock().unwrap());
        self.changed.notify_all();
    }

    pub fn said(&self) -> Said {
        self.said.lock().unwrap().clone()
    }

    /// Begins anew.
    pub fn forget(&self) {
        *self.said.lock().unwrap() = Said::default();
    }

    /// Waits until it is so.
    pub fn until(&self, so: impl Fn(&Said) -> bool) -> Said {
        let said = self.said.lock().unwrap();
        let (said, timeout) = self
            .changed
            .wait_timeout_while(said, PATIENCE, |said| !so(said))
            .unwrap();
        assert!(!timeout.timed_out(), "it was never so: {said:#?}");
        said.clone()
    }
}

impl Sink for Recorder {
    fn exchange(&self, account: &Account) {
        let told = Told {
            method: account.method.to_string(),
            path: account.path.clone(),
            status: account.status.map(|status| status.as_u16()),
            failure: account.failure.as_ref().map(ToString::to_string),
            request_bytes: account.request_bytes,
            response_bytes: account.response_bytes,
        };
        assert!(account.ended.is_some());
        self.note(|said| said.exchanges.push(told));
    }

    fn refused(&self, _: SocketAddr, refusal: Refusal) {
        self.note(|said| said.refusals.push(refusal));
    }

    fn client(&self, _: SocketAddr, change: Change) {
        self.note(|said| match change {
            Change::Opened => said.opened += 1,
            Change::Closed(why) => said.closed.push(why),
        });
    }

    fn server(&self, _: &Event<'_>) {}

    fn closed(&self, _: SocketAddr, outcome: &lingering::Outcome) {
        self.note(|said| said.lingered.push(*outcome));
    }

    fn notice(&self, notice: &Notice) {
        self.note(|said| said.notices.push(notice.clone()));
    }
}

/// A configuration for tests: one worker, a free port.
pub fn config(backend: SocketAddr) -> Config {
    Config {
        listen: vec![listen("127.0.0.1:0")],
        upstream: Upstream {
            to: vec![Destination {
                host: backend.ip().to_string(),
                port: backend.port(),
                tls: false,
                unix: None,
            }],
            ..Upstream::default()
        },
        client: ClientLimits::default(),
        close: Close::default(),
        retry: Retry::default(),
        workers: 1,
        proxy_status: false,
    }
}

pub fn listen(address: &str) -> Listen {
    Listen {
        address: address.parse().unwrap(),
        tls: None,
        backlog: 1024,
    }
}

pub struct Running {
    pub guard: Guard,
    pub recorder: Arc<Recorder>,
}

impl Running {
    pub fn new(config: Config) -> Running {
        Running::with(config, &mut Inherited::default())
    }

    pub fn with(config: Config, inherited: &mut Inherited) -> Running {
        let recorder = Arc::<Recorder>::default();
        let listeners = Listeners::bind(&config.listen, inherited).unwrap();
        let guard = Guard::start(config, listeners, recorder.clone()).unwrap();
        Running { guard, recorder }
    }

    pub fn address(&self) -> SocketAddr {
        self.guard.addresses()[0]
    }
}

/// Waits until it is so.
pub fn until(mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "it was never so");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Another guard on the same sockets, as a new process would have them.
pub fn handed_over(old: &Running, config: &Config) -> Running {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    old.guard.send_sockets(&ours).unwrap();
    let mut inherited = Inherited::receive(theirs).unwrap();
    let running = Running::with(config.clone(), &mut inherited);
    assert!(inherited.addresses().is_empty());
    inherited.ready();
    bypeer_guard::handover::wait_ready(&ours, PATIENCE).unwrap();
    running
}
