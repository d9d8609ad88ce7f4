//! A small HTTP server that Prometheus reads counters from: `GET /metrics`, on this machine alone.
//!
//! It does to its clients none of what it counts: every connection ends as RFC 9112 §9.6 wants it: the answer, a FIN, and what the client still
//! sends is read for a while before the socket is closed, so that no reset of ours overtakes the answer.

mod request;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use request::Answer;

/// For a whole request head, for the answer, and for what the client still sends: each.
const PATIENCE: Duration = Duration::from_secs(2);
/// Clients that are served at once. Others wait in the listener's queue until one is done, or makes room.
const MOST_CLIENTS: usize = 8;
/// Who has not said for so long what it wants, or has its answer, makes room for others.
const SEAT: Duration = Duration::from_millis(100);
/// Bytes that are read behind the answer.
const DRAIN: usize = 1 << 20;

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It is not an address and a port.
    #[error("{0:?} is not an address to serve metrics on: give address and port, such as 127.0.0.1:9464 or [::1]:9464")]
    NotAnAddress(String),
    /// Others could read them.
    #[error(
        "metrics are served on loopback addresses only, because they have no access control, and {0} is none: use 127.0.0.1:{port}, and \
         a proxy or a tunnel (ssh -L) for a Prometheus on another machine", port = .0.port()
    )]
    NotLoopback(SocketAddr),
    /// The system refused.
    #[error("metrics cannot be served on {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    stop: Option<PipeWriter>,
    acceptor: Option<JoinHandle<()>>,
    clients: Arc<Clients>,
}

/// Who is being served.
#[derive(Debug, Default)]
struct Clients {
    /// In the order in which they came.
    seats: Mutex<Vec<Arc<Seat>>>,
    one_left: Condvar,
}

/// One client.
#[derive(Debug)]
struct Seat {
    stream: TcpStream,
    since: Instant,
    /// Its answer is being written.
    answering: AtomicBool,
    /// Nothing more is read of it.
    pressed: AtomicBool,
}

impl MetricsServer {
    /// Serves what `render` gives at each request, as `content_type`, on `address`: a loopback address and a port; 0 is any free one.
    ///
    /// # Errors
    /// It is no such address, or is taken.
    pub fn start(
        address: SocketAddr,
        content_type: &'static str,
        render: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<MetricsServer, ServeError> {
        if !address.ip().to_canonical().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
        let refused = |source| ServeError::Io { address, source };
        let listener = TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let (stopped, stop) = io::pipe().map_err(refused)?;
        let clients = Arc::new(Clients::default());
        let acceptor = Acceptor {
            listener,
            clients: Arc::clone(&clients),
            page: Arc::new(move || (content_type, render())),
        };
        let acceptor = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || acceptor.run(&stopped))
            .map_err(refused)?;
        Ok(MetricsServer {
            address: bound,
            stop: Some(stop),
            acceptor: Some(acceptor),
            clients,
        })
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    /// Serves those who are connected already, which takes a few seconds at most.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.clients.wait_until_empty(PATIENCE * 3);
    }
}

/// What is served, and its type.
type Page = Arc<dyn Fn() -> (&'static str, String) + Send + Sync>;

struct Acceptor {
    listener: TcpListener,
    clients: Arc<Clients>,
    page: Page,
}

impl Acceptor {
    fn run(self, stopped: &PipeReader) {
        while self.wait(stopped) {
            self.clients.make_room();
            self.accept();
        }
        // Who is in the queue when the listener is closed would be reset.
        while self.accept() {
            self.clients.make_room();
        }
    }

    /// Waits for a client; `false`: it is time to stop.
    fn wait(&self, stopped: &PipeReader) -> bool {
        let mut fds = [
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => fds[1].revents().is_none_or(|events| events.is_empty()),
            Err(errno) => errno == Errno::EINTR,
        }
    }

    /// Takes one client, and says whether there was one.
    fn accept(&self) -> bool {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => {
                // Mostly no descriptor is free: that passes, and until then the listener stays readable.
                thread::sleep(Duration::from_millis(50));
                return false;
            }
        };
        let served = Served::begin(&self.clients, stream);
        let page = Arc::clone(&self.page);
        // When no thread can be had the stream is dropped with the closure, and the client sees a close.
        let _ = thread::Builder::new().name("metrics client".to_owned()).spawn(move || {
            let _ = serve(&served.seat, &page);
        });
        true
    }
}

/// One client, until it is dropped.
struct Served {
    clients: Arc<Clients>,
    seat: Arc<Seat>,
}

impl Served {
    fn begin(clients: &Arc<Clients>, stream: TcpStream) -> Served {
        let seat = Arc::new(Seat {
            stream,
            since: Instant::now(),
            answering: AtomicBool::new(false),
            pressed: AtomicBool::new(false),
        });
        clients.lock().push(Arc::clone(&seat));
        Served {
            clients: Arc::clone(clients),
            seat,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.clients.lock().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        self.clients.one_left.notify_all();
    }
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more. Who idles makes room, the oldest first.
    fn make_room(&self) {
        let mut seats = self.lock();
        while seats.len() >= MOST_CLIENTS {
            let idle = seats
                .iter()
                .find(|seat| !seat.answering.load(Ordering::Relaxed) && !seat.pressed.load(Ordering::Relaxed));
            let wait = match idle {
                Some(seat) => SEAT.saturating_sub(seat.since.elapsed()),
                None => SEAT,
            };
            if let Some(seat) = idle
                && wait.is_zero()
            {
                seat.press();
            }
            seats = self.wait(seats, wait.max(Duration::from_millis(1)));
        }
    }

    /// Waits until everybody has left, for so long at most.
    fn wait_until_empty(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut seats = self.lock();
        while !seats.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            seats = self.wait(seats, left);
        }
    }

    /// Waits until one has left, for so long at most.
    fn wait<'a>(&self, seats: MutexGuard<'a, Vec<Arc<Seat>>>, most: Duration) -> MutexGuard<'a, Vec<Arc<Seat>>> {
        let woken = self.one_left.wait_timeout(seats, most);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Seat {
    /// Has its thread see the end of what the client sends.
    fn press(&self) {
        self.pressed.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(Shutdown::Read);
    }
}

/// One request, one answer, and a close that resets nothing.
fn serve(seat: &Seat, page: &Page) -> io::Result<()> {
    let mut stream = &seat.stream;
    // Linux gives it none of the listener's flags, other systems do.
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(answer) = read_head(seat)? else {
        return Ok(());
    };
    seat.answering.store(true, Ordering::Relaxed);
    stream.write_all(&answer.bytes(page.as_ref()))?;
    stream.shutdown(Shutdown::Write)?;
    seat.answering.store(false, Ordering::Relaxed);
    drain(stream)
}

/// Reads the head of a request. `None`: the client said nothing.
fn read_head(seat: &Seat) -> io::Result<Option<Answer>> {
    let until = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let read = match read_until(&seat.stream, &mut buffer, until) {
            Ok(0) if head.is_empty() => return Ok(None),
            Ok(0) if seat.pressed.load(Ordering::Relaxed) => return Ok(Some(Answer::TooSlow)),
            Ok(0) => return Ok(Some(Answer::BadRequest)),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(Some(Answer::TooSlow));
            }
            Err(error) => return Err(error),
        };
        head.extend_from_slice(&buffer[..read]);
        if let Some(answer) = request::answer(&head) {
            return Ok(Some(answer));
        }
    }
}

/// Reads what the client still sends, until it closes, too.
fn drain(stream: &TcpStream) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut left = DRAIN;
    let mut buffer = [0; 8192];
    while left > 0 {
        match read_until(stream, &mut buffer, until)? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

fn read_until(mut stream: &TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// A loopback address and a port; also `NAME:PORT`, where the machine knows the name for loopback addresses alone: of several the first IPv4
/// one.
///
/// # Errors
/// [`ServeError::NotAnAddress`], [`ServeError::NotLoopback`].
pub fn loopback_address(text: &str) -> Result<SocketAddr, ServeError> {
    let not_an_address = |_| ServeError::NotAnAddress(text.to_owned());
    let addresses: Vec<SocketAddr> = text.to_socket_addrs().map_err(not_an_address)?.collect();
    let is_loopback = |address: &&SocketAddr| address.ip().to_canonical().is_loopback();
    if let Some(elsewhere) = addresses.iter().find(|address| !is_loopback(address)) {
        return Err(ServeError::NotLoopback(*elsewhere));
    }
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.copied().ok_or_else(|| ServeError::NotAnAddress(text.to_owned()))
}
