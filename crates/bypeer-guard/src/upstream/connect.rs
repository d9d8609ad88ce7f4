//! A fresh connection to one address of the server.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, UnixStream};
use tokio_rustls::TlsConnector;

use super::shared::SetupError;
use super::stream::{Socket, Stream};
use super::tls;
use crate::config::Destination;
use crate::failure::Failure;

/// The receive buffer that sockets to a near server ask for, bytes. `net.core.rmem_max` is its bound (212 992 where nobody changed it), and Linux
/// doubles it: some 390 KB of an answer fit into the usual one, where they would be 128 KB to begin with.
///
/// A server that answers early and closes with the upload unread sends a reset, and what did not fit into our window by then is lost with
/// its send queue. The window in SYN is 64 KB whatever the buffer (`tcp_select_initial_window`); a larger buffer lets it grow with the first
/// segments (`tcp_grow_window`), without waiting until this process has read. To set it ends autotuning for the socket
/// (`SOCK_RCVBUF_LOCK`), so that the window is never larger: no matter where a round trip is short, too little where it is long.
const RECEIVE_NEAR: u32 = 512 << 10;
/// A server is near if to connect took no longer than this: a window of 390 KB is then more than 3 Gbit/s.
const NEAR: Duration = Duration::from_millis(1);
const UNKNOWN: u64 = u64::MAX;
/// How long an address that could not be connected to is tried after the others; then one request looks again.
const SHUNNED: Duration = Duration::from_secs(10);
/// A name has several addresses: the next is tried when one has not answered for so long (RFC 8305, section 5), as well as it.
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses of a name that are remembered to have failed.
const FAILED_MOST: usize = 16;

/// One address of the server, made ready for connecting.
pub struct Target {
    /// As logs name it.
    pub name: Arc<str>,
    /// As `Host` names it.
    pub host: String,
    kind: Kind,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// How long the last connection took to be there, nanoseconds; or `UNKNOWN`.
    took: AtomicU64,
    made: Instant,
    /// When it could not be connected to, nanoseconds since `made`; `UNKNOWN`: it could.
    failed: AtomicU64,
    /// Addresses of a name that lately were no good.
    shunned: Mutex<Vec<(SocketAddr, Instant)>>,
}

enum Kind {
    Address(SocketAddr),
    Name(String, u16),
    Unix(std::path::PathBuf),
}

impl Target {
    /// Errors if TLS is wanted and the host is no name that a certificate could be for.
    pub fn new(
        destination: &Destination,
        tls_config: Option<&Arc<rustls::ClientConfig>>,
    ) -> Result<Target, SetupError> {
        let host = destination.host.as_str();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let address: Option<IpAddr> = bare.parse().ok();
        let (kind, name) = match (&destination.unix, address) {
            (Some(path), _) => (Kind::Unix(path.clone()), format!("unix:{}", path.display())),
            (None, Some(address)) => {
                let address = SocketAddr::new(address, destination.port);
                (Kind::Address(address), address.to_string())
            }
            (None, None) => (
                Kind::Name(bare.to_owned(), destination.port),
                format!("{bare}:{}", destination.port),
            ),
        };
        let host = match &kind {
            Kind::Unix(_) if host.is_empty() => "localhost".to_owned(),
            Kind::Unix(_) => host.to_owned(),
            _ => name.clone(),
        };
        let tls = match (destination.tls, tls_config) {
            (true, Some(config)) => {
                let name = if bare.is_empty() { "localhost" } else { bare };
                Some((TlsConnector::from(config.clone()), tls::server_name(name)?))
            }
            _ => None,
        };
        Ok(Target {
            name: name.into(),
            host,
            kind,
            tls,
            took: AtomicU64::new(UNKNOWN),
            made: Instant::now(),
            failed: AtomicU64::new(UNKNOWN),
            shunned: Mutex::default(),
        })
    }

    /// Whether TLS is spoken with it.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// It could be connected to.
    pub fn works(&self) {
        // All workers look at it.
        if self.failed.load(Ordering::Relaxed) != UNKNOWN {
            self.failed.store(UNKNOWN, Ordering::Relaxed);
        }
    }

    /// It could not be connected to.
    pub fn fails(&self) {
        self.failed.store(nanos(self.made.elapsed()), Ordering::Relaxed);
    }

    /// Whether it could lately not be connected to.
    pub fn has_failed_lately(&self) -> bool {
        let failed = self.failed.load(Ordering::Relaxed);
        failed != UNKNOWN && nanos(self.made.elapsed()).saturating_sub(failed) < nanos(SHUNNED)
    }

    /// Whether others go before it, as it could not be connected to. After a while one whose turn it is at this address is told that it is as
    /// good as any, to see whether it is.
    pub fn is_to_be_last(&self, is_its_turn: bool) -> bool {
        let failed = self.failed.load(Ordering::Relaxed);
        if failed == UNKNOWN {
            return false;
        }
        if self.has_failed_lately() || !is_its_turn {
            return true;
        }
        let now = nanos(self.made.elapsed());
        self.failed
            .compare_exchange(failed, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
    }

    /// Connects within `limit`, TLS included. Also gives how long the socket took to connect: about a round trip.
    pub async fn connect(&self, limit: Duration) -> Result<(Stream, Duration), Failure> {
        let until = tokio::time::Instant::now() + limit;
        let (socket, round_trip) = match tokio::time::timeout_at(until, self.dial()).await {
            Ok(dialled) => dialled?,
            Err(_) => return Err(Failure::ConnectTimeout),
        };
        self.took.store(nanos(round_trip), Ordering::Relaxed);
        let Some((connector, name)) = &self.tls else {
            return Ok((Stream::Plain(socket), round_trip));
        };
        match tokio::time::timeout_at(until, connector.connect(name.clone(), socket)).await {
            Ok(Ok(stream)) => Ok((Stream::Tls(Box::new(stream)), round_trip)),
            Ok(Err(error)) => Err(tls::handshake_failure(error)),
            Err(_) => Err(Failure::HandshakeTimeout),
        }
    }

    async fn dial(&self) -> Result<(Socket, Duration), Failure> {
        match &self.kind {
            Kind::Address(address) => dial_address(*address, self.is_near(address)).await,
            Kind::Name(name, port) => self.dial_name(name, *port).await,
            Kind::Unix(path) => dial_unix(path).await,
        }
    }

    async fn dial_name(&self, name: &str, port: u16) -> Result<(Socket, Duration), Failure> {
        let not_found = |reason: String| Failure::NameNotFound(format!("{name} ({reason})"));
        let addresses = tokio::net::lookup_host((name, port))
            .await
            .map_err(|error| not_found(error.to_string()))?;
        self.dial_first(addresses.collect())
            .await
            .unwrap_or_else(|| Err(not_found("it has no address".to_owned())))
    }

    /// Dials one after the other, without waiting long for any, and takes the first that answers. `None`: there are none.
    async fn dial_first(&self, mut addresses: Vec<SocketAddr>) -> Option<Result<(Socket, Duration), Failure>> {
        addresses.sort_by_cached_key(|address| self.is_shunned(*address));
        let mut waiting = addresses.into_iter();
        let mut dials = Vec::new();
        let mut last = None;
        let mut next = pin!(tokio::time::sleep(Duration::ZERO));
        poll_fn(|cx| {
            loop {
                let mut at = 0;
                while at < dials.len() {
                    let (address, dial): &mut (SocketAddr, Pin<Box<dyn Future<Output = _>>>) = &mut dials[at];
                    match dial.as_mut().poll(cx) {
                        Poll::Pending => at += 1,
                        Poll::Ready(Ok(dialled)) => {
                            let winner = *address;
                            self.remember(winner, dials.iter().map(|(address, _)| *address));
                            return Poll::Ready(Some(Ok(dialled)));
                        }
                        Poll::Ready(Err(failure)) => {
                            self.shun(*address);
                            last = Some(Err(failure));
                            drop(dials.remove(at));
                            next.as_mut().reset(tokio::time::Instant::now());
                        }
                    }
                }
                if waiting.len() == 0 && dials.is_empty() {
                    return Poll::Ready(last.take());
                }
                if waiting.len() == 0 || next.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                next.as_mut().reset(tokio::time::Instant::now() + HEAD_START);
                dials.extend(waiting.next().map(|address| {
                    let near = self.is_near(&address);
                    let dial: Pin<Box<dyn Future<Output = _>>> = Box::pin(dial_address(address, near));
                    (address, dial)
                }));
            }
        })
        .await
    }

    fn is_shunned(&self, address: SocketAddr) -> bool {
        let mut shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.retain(|(_, since)| since.elapsed() < SHUNNED);
        shunned.iter().any(|(other, _)| *other == address)
    }

    fn shun(&self, address: SocketAddr) {
        let mut shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.retain(|(other, _)| *other != address);
        if shunned.len() < FAILED_MOST {
            shunned.push((address, Instant::now()));
        }
    }

    /// The winner of a race, and those that had begun before it.
    fn remember(&self, winner: SocketAddr, raced: impl Iterator<Item = SocketAddr>) {
        raced
            .take_while(|other| *other != winner)
            .for_each(|other| self.shun(other));
        let mut shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.retain(|(other, _)| *other != winner);
    }

    /// Whether a round trip to it is short, as far as that is known.
    fn is_near(&self, address: &SocketAddr) -> bool {
        address.ip().is_loopback() || u128::from(self.took.load(Ordering::Relaxed)) <= NEAR.as_nanos()
    }
}

async fn dial_address(address: SocketAddr, near: bool) -> Result<(Socket, Duration), Failure> {
    let began = Instant::now();
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(connect_failure)?;
    if near {
        socket.set_recv_buffer_size(RECEIVE_NEAR).map_err(connect_failure)?;
    }
    let stream = socket.connect(address).await.map_err(connect_failure)?;
    let round_trip = began.elapsed();
    // A request is written whole: there is nothing that Nagle's algorithm could put together.
    stream.set_nodelay(true).map_err(connect_failure)?;
    Ok((Socket::Tcp(stream), round_trip))
}

async fn dial_unix(path: &Path) -> Result<(Socket, Duration), Failure> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok((Socket::Unix(stream), began.elapsed())),
            // unix(7), connect(2): a full queue of a unix socket is EAGAIN, and nothing tells when it is no longer full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Failure::NoSocket(path.display().to_string()));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Failure::SocketForbidden {
                    path: path.display().to_string(),
                    user: rustix::process::geteuid().as_raw(),
                });
            }
            Err(error) => return Err(connect_failure(error)),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(UNKNOWN)
}

fn connect_failure(error: io::Error) -> Failure {
    match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Failure::Descriptors,
        Some(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::CONNRESET) => Failure::Refused,
        Some(rustix::io::Errno::TIMEDOUT) => Failure::ConnectTimeout,
        _ => Failure::Unreachable(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn target() -> Target {
        let destination = Destination {
            host: "name.example".to_owned(),
            port: 80,
            tls: false,
            unix: None,
        };
        Target::new(&destination, None).unwrap()
    }

    /// An address that answers no SYN: with a backlog of 0 Linux takes one connection and drops what comes then.
    async fn silent() -> (tokio::net::TcpListener, tokio::net::TcpStream, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let fills = tokio::net::TcpStream::connect(address).await.unwrap();
        (listener, fills, address)
    }

    #[tokio::test]
    async fn an_address_of_a_name_that_is_silent_does_not_keep_the_next_from_being_tried() {
        let (_listens, _fills, silent) = silent().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let target = target();
        for order in [[silent, there], [there, silent], [silent, there]] {
            let dialled = tokio::time::timeout(Duration::from_secs(60), target.dial_first(order.to_vec())).await;
            assert!(matches!(dialled, Ok(Some(Ok(_)))), "the next one was not tried");
            let (stream, _) = listener.accept().await.unwrap();
            drop(stream);
            // And is not waited for again.
            assert!(target.is_shunned(silent) && !target.is_shunned(there));
        }
    }

    #[tokio::test]
    async fn of_a_name_without_a_good_address_the_last_failure_is_told() {
        let target = target();
        assert!(target.dial_first(Vec::new()).await.is_none());
        let held = TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refuses = held.local_addr().unwrap();
        let dialled = target.dial_first(vec![refuses, refuses]).await;
        assert!(matches!(dialled, Some(Err(Failure::Refused))));
    }

    #[test]
    fn an_address_that_failed_is_last_until_it_works_or_one_looks_again() {
        let mut target = target();
        assert!(!target.is_to_be_last(true));
        target.fails();
        assert!(target.is_to_be_last(true));
        target.works();
        assert!(!target.is_to_be_last(true));
        target.fails();
        target.made = target.made.checked_sub(2 * SHUNNED).unwrap();
        assert!(target.is_to_be_last(false));
        assert!(!target.is_to_be_last(true), "one looks again");
        assert!(target.is_to_be_last(true), "and no other");
    }
}
