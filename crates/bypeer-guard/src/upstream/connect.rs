//! A fresh connection to one address of the server.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
        })
    }

    /// Whether TLS is spoken with it.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects within `limit`, TLS included. Also gives how long the socket took to connect: about a round trip.
    pub async fn connect(&self, limit: Duration) -> Result<(Stream, Duration), Failure> {
        match tokio::time::timeout(limit, self.dial()).await {
            Ok(dialled) => dialled,
            Err(_) => Err(Failure::ConnectTimeout),
        }
    }

    async fn dial(&self) -> Result<(Stream, Duration), Failure> {
        let (socket, round_trip) = match &self.kind {
            Kind::Address(address) => dial_address(*address, self.is_near(address)).await?,
            Kind::Name(name, port) => self.dial_name(name, *port).await?,
            Kind::Unix(path) => dial_unix(path).await?,
        };
        let took = u64::try_from(round_trip.as_nanos()).unwrap_or(UNKNOWN);
        self.took.store(took, Ordering::Relaxed);
        let Some((connector, name)) = &self.tls else {
            return Ok((Stream::Plain(socket), round_trip));
        };
        let stream = connector
            .connect(name.clone(), socket)
            .await
            .map_err(tls::handshake_failure)?;
        Ok((Stream::Tls(Box::new(stream)), round_trip))
    }

    async fn dial_name(&self, name: &str, port: u16) -> Result<(Socket, Duration), Failure> {
        let not_found = |reason: String| Failure::NameNotFound(format!("{name} ({reason})"));
        let addresses = tokio::net::lookup_host((name, port))
            .await
            .map_err(|error| not_found(error.to_string()))?;
        let mut last = not_found("it has no address".to_owned());
        for address in addresses {
            match dial_address(address, self.is_near(&address)).await {
                Ok(dialled) => return Ok(dialled),
                Err(failure) => last = failure,
            }
        }
        Err(last)
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
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Failure::Refused),
            Err(error) => return Err(connect_failure(error)),
        }
    }
}

fn connect_failure(error: io::Error) -> Failure {
    match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Failure::Descriptors,
        Some(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::CONNRESET) => Failure::Refused,
        Some(rustix::io::Errno::TIMEDOUT) => Failure::ConnectTimeout,
        _ => Failure::Unreachable(error),
    }
}
