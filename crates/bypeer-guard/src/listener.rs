//! Listening sockets: bound, or inherited from the process before or from systemd.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::Listen;
use crate::guard::StartError;
use crate::handover::Inherited;

/// A client that is gone without a word is found by probes of TCP: after so much silence, and so often then.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_AGAIN: Duration = Duration::from_secs(15);

/// Sockets that listen, one for each address.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(crate) listeners: Vec<(Listen, TcpListener)>,
}

impl Listeners {
    /// Takes each address from what was inherited, or binds it.
    pub fn bind(listen: &[Listen], inherited: &mut Inherited) -> Result<Listeners, StartError> {
        if listen.is_empty() {
            return Err(StartError::NoAddress);
        }
        let mut listeners = Listeners::default();
        for one in listen {
            let socket = match inherited.take(one.address) {
                Some(socket) => prepare(&socket2::SockRef::from(&socket)).map(|()| socket),
                None => bind(one, listen),
            };
            let socket = socket.map_err(|error| StartError::Listen {
                address: one.address,
                error,
            })?;
            listeners.listeners.push((one.clone(), socket));
        }
        Ok(listeners)
    }

    /// Their addresses, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|(_, listener)| listener.local_addr().ok())
            .collect()
    }
}

fn bind(one: &Listen, all: &[Listen]) -> io::Result<TcpListener> {
    let address = one.address;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let IpAddr::V6(ip) = address.ip() {
        // `[::]` is for IPv4 too, unless that has a socket of its own.
        let has_own = all
            .iter()
            .any(|other| other.address.is_ipv4() && other.address.port() == address.port());
        socket.set_only_v6(!ip.is_unspecified() || (has_own && address.port() != 0))?;
    }
    // Not SO_REUSEPORT: with that, who is queued at a socket is reset when it is closed, whoever else listens.
    socket.set_reuse_address(true)?;
    prepare(&socket2::SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(one.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// What accepted sockets inherit, so that it costs nothing for each (tcp(7); Linux).
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_AGAIN))
}
