//! Who listens now: the kernel's answer to one question.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, Parseable as _};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{
    SOCK_DIAG_BY_FAMILY, SockDiagMessage,
    constants::{AF_INET, AF_INET6, INET_DIAG_SKV6ONLY, IPPROTO_TCP},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_SOCK_DIAG};
use nix::errno::Errno;

use super::reset_event::unmapped;

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
    /// Where connections must go to for it: an IPv6 socket for all addresses takes those to IPv4 ones too, unless it was told not to.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let own = unmapped(self.local);
        let takes_both = own.is_ipv6() && own.ip().is_unspecified() && self.only_ipv6 != Some(true);
        let over_ipv4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), own.port());
        std::iter::once(own).chain(takes_both.then_some(over_ipv4))
    }
}

/// Asks who listens in one network namespace. Needs no privilege.
#[derive(Debug)]
pub(super) struct Asking {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Asking {
    /// In the calling thread's network namespace; it may be asked from any other.
    pub(super) fn open() -> io::Result<Asking> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddress::new(0, 0))?;
        // The kernel makes the pieces of its answer as they are asked for: nothing is ever waited for.
        socket.set_non_blocking(true)?;
        Ok(Asking {
            socket,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// All of them.
    pub(super) fn listeners(&mut self) -> io::Result<Vec<Listener>> {
        let mut found = Vec::new();
        self.dump(AF_INET, &mut found)?;
        // A kernel without IPv6 has none there.
        let _ = self.dump(AF_INET6, &mut found);
        Ok(found)
    }

    fn dump(&mut self, family: u8, found: &mut Vec<Listener>) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(family, self.sequence), 0)?;
        loop {
            match self.socket.recv(&mut &mut self.buffer[..], 0) {
                Ok(length) => {
                    let bytes = self.buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
                    if !read(bytes, self.sequence, found)? {
                        return Ok(());
                    }
                }
                Err(error) if error.raw_os_error().map(Errno::from_raw) == Some(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The listeners of the calling thread's network namespace.
pub fn listeners() -> io::Result<Vec<Listener>> {
    Asking::open()?.listeners()
}

fn request(family: u8, sequence: u32) -> Vec<u8> {
    let socket_id = if family == AF_INET {
        SocketId::new_v4()
    } else {
        SocketId::new_v6()
    };
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The listeners of one piece of the answer to the question of this number; what is left of an earlier one is skipped. `false` after the
/// last piece.
fn read(mut bytes: &[u8], sequence: u32, listeners: &mut Vec<Listener>) -> io::Result<bool> {
    while let Ok(message) = NetlinkBuffer::new_checked(bytes) {
        match message.message_type() {
            _ if message.sequence_number() != sequence => {}
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
        let found = listeners().unwrap();
        let found = found.iter().find(|found| found.local == address).unwrap();
        assert_eq!(found.waiting, 2);
        assert!(found.backlog >= 128 && found.inode != 0, "{found:?}");
        assert_eq!(found.uid, rustix::process::geteuid().as_raw());
        drop(listener);
        assert!(!listeners().unwrap().iter().any(|found| found.local == address));
    }

    #[test]
    fn cut_messages_are_left_out() {
        let mut message = vec![0; 16 + HEADER + 8];
        message[0] = 96;
        message[4] = 20;
        message[8] = 7; // its question's number
        message[16] = 10; // AF_INET6
        message[17] = 10; // TCP_LISTEN
        message[20..22].copy_from_slice(&[0, 80]);
        message[88..93].copy_from_slice(&[5, 0, 11, 0, 1]);
        for end in 0..message.len() {
            let mut found = Vec::new();
            assert!(read(&message[..end], 7, &mut found).unwrap());
            assert_eq!(found, []);
        }
        let mut found = Vec::new();
        assert!(read(&message, 6, &mut found).unwrap());
        assert_eq!(found, [], "an answer to another question");
        assert!(read(&message, 7, &mut found).unwrap());
        assert_eq!((found[0].local.port(), found[0].only_ipv6), (80, Some(true)));
        for end in 0..8 {
            attribute(&message[88..88 + end], 11);
        }
        assert_eq!(attribute(&[0; 8], 11), None);
    }
}
