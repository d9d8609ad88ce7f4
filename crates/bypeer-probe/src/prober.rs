//! What every check works with: connections to the target, requests to it, and the bounds.

use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bypeer_wire::app::Method;

use crate::connection::{Buffers, Connection, Dial, OpenError, Roll, SLICE};
use crate::gate::Gate;
use crate::http::{Answer, Request};
use crate::progress::Progress;
use crate::stop::Stop;
use crate::target::Target;
use crate::tls::Trust;

/// What the user wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections for each situation that is measured.
    pub connections: u32,
    /// Connections open at once.
    pub at_once: u32,
    /// Longest wait for a server to close an idle connection.
    pub longest_wait: Duration,
    /// Longest wait for an answer.
    pub patience: Duration,
    /// Longest wait for a handshake.
    pub handshake_patience: Duration,
    /// One connection at a time; `None`: when the server turns out to need it.
    pub serial: Option<bool>,
    /// Whom TLS trusts.
    pub trust: Trust,
    /// Whom the certificate must name, where that is not the URL's host.
    pub server_name: Option<String>,
    /// Header fields for every request.
    pub fields: Vec<(String, String)>,
    /// Where a request body may be sent without harm; by default a path that nobody has.
    pub body_path: Option<String>,
    /// Where large uploads go; by default a path that nobody has.
    pub upload_path: Option<String>,
    /// Bytes of a large upload.
    pub upload_size: usize,
    /// A path that gives back what `{nonce}` in it stands for.
    pub echo_path: Option<String>,
    /// Our own addresses to connect from, for checks that want several.
    pub sources: Vec<IpAddr>,
    /// Only these checks, by id; all that are done by default when empty.
    pub only: Vec<String>,
    /// These too, which are not done by default.
    pub also: Vec<String>,
    /// Not these.
    pub without: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connections: 5,
            at_once: 64,
            longest_wait: Duration::from_secs(135),
            patience: Duration::from_secs(10),
            handshake_patience: Duration::from_secs(5),
            serial: None,
            trust: Trust::System,
            server_name: None,
            fields: Vec::new(),
            body_path: None,
            upload_path: None,
            upload_size: 4 << 20,
            echo_path: None,
            sources: Vec::new(),
            only: Vec::new(),
            also: Vec::new(),
            without: Vec::new(),
        }
    }
}

/// Who says that it is we.
pub const USER_AGENT: &str = concat!("bypeer/", env!("CARGO_PKG_VERSION"), " (probe)");
/// A path that nobody has, for requests that must do no harm.
pub const NOBODYS_PATH: &str = "/bypeer-probe-no-such-path";
/// Between the starts of connections that are opened side by side: not a divisor of any tick of a server.
pub(crate) const STAGGER: Duration = Duration::from_millis(37);

/// For one check, everything it needs.
pub struct Prober<'a> {
    /// Who is asked.
    pub target: &'a Target,
    /// What is wanted.
    pub options: &'a Options,
    /// The answer to the first request, made before all checks.
    pub first: &'a Answer,
    /// How long that took, from the request to the answer's last byte.
    pub first_took: Duration,
    /// The smallest handshake seen: about a round trip.
    pub round_trip: Duration,
    /// One connection at a time.
    pub serial: bool,
    /// The idle limit, told as soon as one connection shows it.
    pub idle: &'a Notice<Duration>,
    pub(crate) check: &'static str,
    pub(crate) dial: &'a Dial,
    pub(crate) gate: &'a Gate,
    pub(crate) stop: &'a Stop,
    pub(crate) roll: &'a Arc<Roll>,
    pub(crate) progress: &'a Progress,
}

/// Something that one check finds out and others wait for.
#[derive(Debug)]
pub struct Notice<T> {
    value: Mutex<Told<T>>,
    told: Condvar,
}

#[derive(Debug)]
enum Told<T> {
    NotYet,
    Is(T),
    Never,
}

impl Prober<'_> {
    /// Opens a connection, when there is room for it.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open(&self) -> Result<Connection, OpenError> {
        self.open_by(self.dial)
    }

    /// Opens a connection with kernel buffers of another size.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open_with(&self, buffers: Buffers) -> Result<Connection, OpenError> {
        self.open_by(&Dial {
            buffers,
            ..self.dial.clone()
        })
    }

    /// Opens a connection in another way: from another address, with another ALPN.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open_by(&self, dial: &Dial) -> Result<Connection, OpenError> {
        let permit = self.gate.enter(self.stop).ok_or(OpenError::Stopped)?;
        dial.open(self.check, permit, self.stop, self.roll)
    }

    /// How connections are opened.
    pub fn dial(&self) -> &Dial {
        self.dial
    }

    /// A GET for what the URL names.
    pub fn get(&self) -> Request {
        self.request(Method::Get, &self.target.path)
    }

    /// A request with the fields that every request has.
    pub fn request(&self, method: Method, path: &str) -> Request {
        request(self.target, self.options, method, path)
    }

    /// Where a request body may be sent without harm.
    pub fn body_path(&self) -> &str {
        self.options.body_path.as_deref().unwrap_or(NOBODYS_PATH)
    }

    /// Does something `count` times, side by side where the server allows it; the results in order. Starts are staggered.
    pub fn side_by_side<T: Send>(&self, count: u32, each: impl Fn(u32) -> T + Sync) -> Vec<T> {
        if self.serial {
            return (0..count).take_while(|_| !self.stop.is_set()).map(&each).collect();
        }
        thread::scope(|scope| {
            let each = &each;
            let started: Vec<_> = (0..count)
                .map(|index| {
                    scope.spawn(move || {
                        self.pause(STAGGER * index);
                        each(index)
                    })
                })
                .collect();
            // A thread that panics is a mistake of ours: it is not hidden.
            started
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// Waits; less when the user asks to stop, and then says false.
    pub fn pause(&self, time: Duration) -> bool {
        self.pause_until(Instant::now() + time)
    }

    /// Waits until then; less when the user asks to stop, and then says false.
    pub fn pause_until(&self, until: Instant) -> bool {
        loop {
            if self.stop.is_set() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(SLICE));
        }
    }

    /// The user asked to stop.
    pub fn stopped(&self) -> bool {
        self.stop.is_set()
    }

    /// For the progress display: what this check does now, and until when at most.
    pub fn doing(&self, what: &str, until: Instant) {
        self.progress.doing(self.check, what, until);
    }
}

/// A request with the fields that every request has.
pub(crate) fn request(target: &Target, options: &Options, method: Method, path: &str) -> Request {
    let mut request = Request::new(method, path);
    let given = |name: &str| options.fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(name));
    if !given("host") {
        request = request.with("Host", &target.authority());
    }
    if !given("user-agent") {
        request = request.with("User-Agent", USER_AGENT);
    }
    if !given("accept") {
        request = request.with("Accept", "*/*");
    }
    for (name, value) in &options.fields {
        request = request.with(name, value);
    }
    request
}

impl<T: Clone> Notice<T> {
    /// Nothing was told yet.
    pub fn new() -> Notice<T> {
        Notice {
            value: Mutex::new(Told::NotYet),
            told: Condvar::new(),
        }
    }

    /// Tells it; the first word counts.
    pub fn tell(&self, value: T) {
        self.set(Told::Is(value));
    }

    /// There will be nothing to tell.
    pub fn never(&self) {
        self.set(Told::Never);
    }

    fn set(&self, told: Told<T>) {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*value, Told::NotYet) {
            *value = told;
            self.told.notify_all();
        }
    }

    /// Waits for it; `None` when there is none until `until`, or never, or the user asks to stop.
    pub fn wait(&self, until: Instant, stop: &Prober<'_>) -> Option<T> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*value {
                Told::Is(told) => return Some(told.clone()),
                Told::Never => return None,
                Told::NotYet => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.stopped() {
                return None;
            }
            value = self
                .told
                .wait_timeout(value, left.min(SLICE))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl<T: Clone> Default for Notice<T> {
    fn default() -> Notice<T> {
        Notice::new()
    }
}
