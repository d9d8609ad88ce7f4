use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, Parseable as _};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{
    SOCK_DIAG_BY_FAMILY, SockDiagMessage,
    constants::{AF_INET, AF_INET6, INET_DIAG_SKV6ONLY, IPPROTO_TCP},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

/// `NLMSG_DONE`, `NLMSG_ERROR`
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// `struct inet_diag_msg`, before the attributes.
const HEADER: usize = 72;
/// A dump sends up to 32 KiB at once.
const BUFFER: usize = 64 << 10;

/// A TCP socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where. IPv4 addresses of IPv6 sockets are as they are.
    pub local: SocketAddr,
    /// An IPv6 socket that takes no IPv4; `None` where the kernel does not tell (before Linux 4.6).
    pub only_ipv6: Option<bool>,
    /// Inode of its file: what `/proc/PID/fd` shows.
    pub inode: u64,
    /// How many connections may wait for `accept`.
    pub backlog: u32,
    /// How many do.
    pub waiting: u32,
    /// User that made it.
    pub uid: u32,
}

impl Listener {
    /// Whether connections to an address are its.
    pub fn serves(&self, address: SocketAddr) -> bool {
        if self.local.port() != address.port() {
            return false;
        }
        let (own, asked) = (self.local.ip(), address.ip().to_canonical());
        match own {
            _ if own.to_canonical() == asked => true,
            IpAddr::V4(own) => own.is_unspecified() && asked.is_ipv4(),
            IpAddr::V6(own) => own.is_unspecified() && (asked.is_ipv6() || self.only_ipv6 != Some(true)),
        }
    }
}

/// The listeners on a port in the calling thread's network namespace. Needs no privilege.
pub fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let mut found = dump(port, AF_INET)?;
    // A kernel without IPv6 has none there.
    found.extend(dump(port, AF_INET6).unwrap_or_default());
    Ok(found)
}

/// Whether somebody listens for connections to an address of this machine, in the calling thread's network namespace; `None` when the
/// kernel does not tell.
pub fn listening(address: SocketAddr) -> Option<bool> {
    let listeners = listeners(address.port()).ok()?;
    Some(listeners.iter().any(|listener| listener.serves(address)))
}

fn dump(port: u16, family: u8) -> io::Result<Vec<Listener>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.send(&request(port, family), 0)?;
    let mut listeners = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = socket.recv(&mut &mut buffer[..], 0)?;
        let bytes = buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
        if !read(bytes, &mut listeners)? {
            return Ok(listeners);
        }
    }
}

fn request(port: u16, family: u8) -> Vec<u8> {
    let any = if family == AF_INET {
        SocketId::new_v4()
    } else {
        SocketId::new_v6()
    };
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        // The kernel leaves out those on other ports.
        socket_id: SocketId {
            source_port: port,
            ..any
        },
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The listeners of one datagram; `false` after the last of a dump.
fn read(mut bytes: &[u8], listeners: &mut Vec<Listener>) -> io::Result<bool> {
    while let Ok(message) = NetlinkBuffer::new_checked(bytes) {
        match message.message_type() {
            DONE => return Ok(false),
            ERROR => {
                let code = message.payload().get(..4).and_then(|code| code.try_into().ok());
                let code = i32::from_ne_bytes(code.unwrap_or_default()).saturating_neg();
                return Err(io::Error::from_raw_os_error(code));
            }
            SOCK_DIAG_BY_FAMILY => {
                if let Ok(header) = InetResponseHeader::parse(message.payload()) {
                    let attributes = message.payload().get(HEADER..).unwrap_or_default();
                    listeners.push(Listener {
                        local: SocketAddr::new(header.socket_id.source_address, header.socket_id.source_port),
                        only_ipv6: attribute(attributes, INET_DIAG_SKV6ONLY).map(|flag| flag.first() == Some(&1)),
                        inode: header.inode.into(),
                        backlog: header.send_queue,
                        waiting: header.recv_queue,
                        uid: header.uid,
                    });
                }
            }
            _ => {}
        }
        let length = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(true)
}

/// What an attribute holds: length, kind, value, padded to 4 bytes.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let number = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let (length, found) = (usize::from(number(0)?), number(2)?);
        let value = bytes.get(4..length)?;
        if found == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_listener_tells_who_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (_first, _second) = (
            TcpStream::connect(address).unwrap(),
            TcpStream::connect(address).unwrap(),
        );
        let found = listeners(address.port()).unwrap();
        let found = found.iter().find(|found| found.local == address).unwrap();
        assert_eq!(found.waiting, 2);
        assert!(found.backlog >= 128 && found.inode != 0, "{found:?}");
        assert_eq!(found.uid, rustix::process::geteuid().as_raw());
        assert_eq!(listening(address), Some(true));
        let elsewhere = SocketAddr::new("10.0.0.1".parse().unwrap(), address.port());
        assert!(!found.serves(elsewhere));
        drop(listener);
        assert_eq!(listening(address), Some(false));
    }

    #[test]
    fn ipv6_sockets_take_ipv4_unless_told_not_to() {
        use socket2::{Domain, Socket, Type};
        for only in [false, true] {
            let Ok(socket) = Socket::new(Domain::IPV6, Type::STREAM, None) else {
                println!("skipped: IPv6 listeners: no IPv6 here");
                return;
            };
            socket.set_only_v6(only).unwrap();
            let any: SocketAddr = "[::]:0".parse().unwrap();
            socket.bind(&any.into()).unwrap();
            socket.listen(5).unwrap();
            let port = socket.local_addr().unwrap().as_socket().unwrap().port();
            let [over_v4, over_v6] = ["127.0.0.1", "::1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
            assert_eq!(listening(over_v4), Some(!only));
            assert_eq!(listening(over_v6), Some(true));
            assert_eq!(listeners(port).unwrap()[0].backlog, 5);
        }
    }

    #[test]
    fn cut_messages_are_left_out() {
        let mut message = vec![0; 16 + HEADER + 8];
        message[0] = 96;
        message[4] = 20;
        message[16] = 10; // AF_INET6
        message[17] = 10; // TCP_LISTEN
        message[20..22].copy_from_slice(&[0, 80]);
        message[88..93].copy_from_slice(&[5, 0, 11, 0, 1]);
        for end in 0..message.len() {
            let mut found = Vec::new();
            assert!(read(&message[..end], &mut found).unwrap());
            assert_eq!(found, []);
        }
        let mut found = Vec::new();
        assert!(read(&message, &mut found).unwrap());
        assert_eq!((found[0].local.port(), found[0].only_ipv6), (80, Some(true)));
        for end in 0..8 {
            attribute(&message[88..88 + end], 11);
        }
        assert_eq!(attribute(&[0; 8], 11), None);
    }
}
