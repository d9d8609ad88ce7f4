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
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use request::Answer;

/// For a whole request head, for the answer, and for what the client still sends: each.
const PATIENCE: Duration = Duration::from_secs(2);
/// Clients that are served at once. Others wait in the listener's queue, and are served after them.
const MOST_CLIENTS: usize = 8;
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

/// How many are being served.
#[derive(Debug, Default)]
struct Clients {
    count: Mutex<usize>,
    one_left: Condvar,
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
        self.clients.wait_until_fewer_than(1, Some(PATIENCE * 3));
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
            self.accept();
            self.clients.wait_until_fewer_than(MOST_CLIENTS, None);
        }
        // Who is in the queue when the listener is closed would be reset.
        while self.accept() {
            self.clients.wait_until_fewer_than(MOST_CLIENTS, None);
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
        let served = Served::begin(&self.clients);
        let page = Arc::clone(&self.page);
        // When no thread can be had the stream is dropped with the closure, and the client sees a close.
        let _ = thread::Builder::new().name("metrics client".to_owned()).spawn(move || {
            let _served = served;
            let _ = serve(stream, &page);
        });
        true
    }
}

/// One client, until it is dropped.
struct Served(Arc<Clients>);

impl Served {
    fn begin(clients: &Arc<Clients>) -> Served {
        *clients.lock() += 1;
        Served(Arc::clone(clients))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.one_left.notify_all();
    }
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_fewer_than(&self, bound: usize, patience: Option<Duration>) {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut count = self.lock();
        while *count >= bound {
            let left = until.map_or(PATIENCE, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return;
            }
            count = self
                .one_left
                .wait_timeout(count, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// One request, one answer, and a close that resets nothing.
fn serve(mut stream: TcpStream, page: &Page) -> io::Result<()> {
    // Linux gives it none of the listener's flags, other systems do.
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(answer) = read_head(&mut stream)? else {
        return Ok(());
    };
    stream.write_all(&answer.bytes(page.as_ref()))?;
    stream.shutdown(Shutdown::Write)?;
    drain(&mut stream)
}

/// Reads the head of a request. `None`: the client said nothing.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<Answer>> {
    let until = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let read = match read_until(stream, &mut buffer, until) {
            Ok(0) if head.is_empty() => return Ok(None),
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
fn drain(stream: &mut TcpStream) -> io::Result<()> {
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

fn read_until(stream: &mut TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
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
