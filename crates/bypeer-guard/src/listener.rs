//! Listening sockets: bound, or inherited from the process before or from systemd.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};

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
    /// Another process may have them too, and use them when this one is gone.
    pub(crate) others_use_them: bool,
}

impl Listeners {
    /// Takes each address from what was inherited, or binds it. What systemd passes must be among them: nobody would accept on it, and who
    /// connects would wait.
    pub fn bind(listen: &[Listen], inherited: &mut Inherited) -> Result<Listeners, StartError> {
        if listen.is_empty() {
            return Err(StartError::NoAddress);
        }
        let mut listeners = Listeners {
            others_use_them: inherited.is_systemds(),
            ..Listeners::default()
        };
        let taken: Vec<_> = listen.iter().map(|one| inherited.take(one.address)).collect();
        // Before the first is bound: often that fails because of it.
        if inherited.is_systemds()
            && let Some(address) = inherited.addresses().first()
        {
            return Err(StartError::Passed { address: *address });
        }
        for (one, socket) in listen.iter().zip(taken) {
            let socket = match socket {
                Some(socket) => prepare(&SockRef::from(&socket)).map(|()| socket),
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
    prepare(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(one.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// What accepted sockets inherit, so that it costs nothing for each (tcp(7); Linux).
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_linger(None)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_AGAIN))
}

/// Has the kernel ignore new clients, while those whose handshake runs can still end it.
///
/// Who is queued when a listening socket is closed, or has a handshake running, is reset. A queue can be emptied; but between the last
/// look and the close one more can come. So first SYNs are dropped, then handshakes get time to end. Who sends a SYN meanwhile sends it
/// again a second later, and is refused, or finds the next process.
///
/// The filter is the socket's, also for other processes that have it: it is for sockets that nobody else uses.
pub(crate) fn ignore_new_clients(listener: &TcpListener) -> io::Result<()> {
    // A classic BPF program over the TCP header (socket(7), SO_ATTACH_FILTER), in the words of linux/bpf_common.h.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN_OR_ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}
