use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::SystemTime;

use bypeer_wire::Timestamp;
use netlink_packet_core::{NetlinkBuffer, Parseable as _};
use netlink_packet_sock_diag::SOCK_DIAG_BY_FAMILY;
use netlink_packet_sock_diag::inet::InetResponseHeader;
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};
use nix::errno::Errno;

use super::reset_event::unmapped;
use super::tcp_info::TcpInfo;

/// `enum sknetlink_groups` of `linux/sock_diag.h`: IPv4 and IPv6. A dual-stack socket that speaks IPv4 is told to the second.
const TCP_DESTROY: u32 = 1;
const TCP6_DESTROY: u32 = 3;
/// Length of `struct inet_diag_msg`, and the attribute with `struct tcp_info` (`linux/inet_diag.h`).
const HEADER: usize = 72;
const INET_DIAG_INFO: u16 = 2;
/// Of the netlink socket, for some 10 000 deaths; the kernel gives what `net.core.rmem_max` allows.
const BUFFER: usize = 4 << 20;

/// A TCP socket as it was when the kernel destroyed it.
///
/// When that happens (tried on Linux 6.18): at once for one that was reset; after the last of its data and FIN
/// were acknowledged for one that was closed in order (the kernel then goes on in TIME_WAIT, whose end is not told).
/// A socket that a process still holds is destroyed only when it is closed, however long ago its connection died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// When it was *read*: the kernel puts no time on it, so this is as good as [`Deaths::take`] is frequent.
    pub time: Timestamp,
    /// Its own end. IPv4 addresses of IPv6 sockets are unmapped.
    pub local: SocketAddr,
    /// Its peer. Port 0 when the socket was disconnected first, which wipes the port: `SO_LINGER` with 0, `connect` to
    /// `AF_UNSPEC`, a closed listener's queue. All zero for a listener.
    pub remote: SocketAddr,
    /// Its last state: `CLOSE`, but for rare cases.
    pub state: &'static str,
    /// Bytes that it had received and nobody had read, with one more for a FIN that nobody had read either (it has a
    /// sequence number too). `None` when the socket was disconnected first: that throws them away.
    pub unread: Option<u32>,
    /// Bytes that it was given to send and that its peer had not acknowledged. `None` when the socket was disconnected first:
    /// what the kernel then says is no amount of data.
    pub unsent: Option<u32>,
    /// The kernel's own number of the socket.
    pub cookie: u64,
    /// Its sums. The rest of what sock_diag could say (user, inode, shutdown flags) the kernel leaves out here, or says 0.
    pub info: Option<TcpInfo>,
}

impl Death {
    /// Whether it had no peer: a listener, or a socket that never connected.
    pub fn is_listener(&self) -> bool {
        self.remote.ip().is_unspecified() && self.remote.port() == 0
    }
}

/// The TCP sockets that are destroyed in one network namespace, as `ss -E` shows them. Needs no privilege.
#[derive(Debug)]
pub struct Deaths {
    socket: Socket,
}

impl Deaths {
    /// Begins to listen in the calling thread's network namespace; it may be read from any other.
    pub fn open() -> io::Result<Deaths> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        socket.set_rx_buf_sz(i32::try_from(BUFFER).unwrap_or(i32::MAX))?;
        socket.add_membership(TCP_DESTROY)?;
        // A kernel without IPv6 has nothing to tell there.
        let _ = socket.add_membership(TCP6_DESTROY);
        Ok(Deaths { socket })
    }

    /// Those since the last call, without waiting, and how often some were lost between two of them because the buffer was
    /// full (the kernel does not say how many).
    pub fn take(&mut self) -> io::Result<(Vec<Death>, u64)> {
        let mut deaths = Vec::new();
        let mut lost: u64 = 0;
        // One message is 300 bytes with tcp_info; nothing else is sent here.
        let mut buffer = vec![0; 8 << 10];
        loop {
            match self.socket.recv(&mut &mut buffer[..], 0) {
                Ok(length) => read(&buffer[..length.min(buffer.len())], now(), &mut deaths),
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => return Ok((deaths, lost)),
                    Some(Errno::ENOBUFS) => lost = lost.saturating_add(1),
                    Some(Errno::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl AsFd for Deaths {
    /// Readable when there is something to take.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// All messages of one datagram.
fn read(mut bytes: &[u8], time: Timestamp, deaths: &mut Vec<Death>) {
    while let Ok(message) = NetlinkBuffer::new_checked(bytes) {
        if message.message_type() == SOCK_DIAG_BY_FAMILY
            && let Ok(header) = InetResponseHeader::parse(message.payload())
        {
            let id = header.socket_id;
            // tcp_disconnect() moves write_seq beyond the window and copied_seq to what came.
            let has_sums = id.destination_port != 0;
            deaths.push(Death {
                time,
                local: unmapped(SocketAddr::new(id.source_address, id.source_port)),
                remote: unmapped(SocketAddr::new(id.destination_address, id.destination_port)),
                state: state(header.state),
                unread: has_sums.then_some(header.recv_queue),
                unsent: has_sums.then_some(header.send_queue),
                cookie: u64::from_ne_bytes(id.cookie),
                info: attribute(message.payload(), INET_DIAG_INFO).and_then(TcpInfo::parse),
            });
        }
        let length = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
    }
}

/// An attribute (`struct nlattr`) behind `struct inet_diag_msg`.
fn attribute(message: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = message.get(HEADER..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let has_kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        if has_kind == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// Names of `net/tcp_states.h`, as the reset events have them.
fn state(number: u8) -> &'static str {
    const NAMES: [&str; 13] = [
        "UNKNOWN",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
    ];
    NAMES.get(usize::from(number)).copied().unwrap_or("UNKNOWN")
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    fn pair() -> (u16, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (
            listener.local_addr().unwrap().port(),
            client,
            listener.accept().unwrap().0,
        )
    }

    /// Waits for the death of the one connection with this local port. Others run tests on this machine at the same time.
    fn of_port(deaths: &mut Deaths, port: u16) -> Death {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            let (taken, lost) = deaths.take().unwrap();
            assert_eq!(lost, 0);
            let is_its = |death: &Death| death.local.port() == port && !death.is_listener();
            if let Some(death) = taken.into_iter().find(is_its) {
                return death;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the socket with port {port} has not died");
    }

    /// Bytes of `client` lie in `server`'s queue.
    fn give(client: &mut TcpStream, server: &TcpStream, bytes: usize) {
        client.write_all(&vec![0; bytes]).unwrap();
        let start = Instant::now();
        while server.peek(&mut vec![0; bytes]).unwrap() < bytes {
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn a_close_with_unread_data_tells_how_much() {
        let mut deaths = Deaths::open().unwrap();
        let (port, mut client, mut server) = pair();
        give(&mut client, &server, 22);
        server.read_exact(&mut [0; 2]).unwrap();
        let before = now();
        drop(server);
        let death = of_port(&mut deaths, port);
        assert_eq!((death.unread, death.unsent), (Some(20), Some(0)));
        assert_eq!(death.remote, client.local_addr().unwrap());
        assert_eq!(death.state, "CLOSE");
        assert!(death.time >= before);
    }

    #[test]
    fn a_fin_counts_as_one_byte() {
        let mut deaths = Deaths::open().unwrap();
        let (port, mut client, server) = pair();
        give(&mut client, &server, 22);
        client.shutdown(Shutdown::Write).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        drop(server);
        assert_eq!(of_port(&mut deaths, port).unread, Some(23));
    }

    #[test]
    fn what_was_not_sent_is_told() {
        let mut deaths = Deaths::open().unwrap();
        let (port, mut client, mut server) = pair();
        server.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(length) = server.write(&[0; 1 << 16]) {
            written += length;
        }
        server.set_nonblocking(false).unwrap();
        give(&mut client, &server, 22);
        drop(server);
        let unsent = of_port(&mut deaths, port).unsent.unwrap() as usize;
        assert!(unsent > 0 && unsent <= written, "{unsent} of {written}");
    }

    #[test]
    fn a_killed_process_leaves_what_it_had_not_read() {
        let mut deaths = Deaths::open().unwrap();
        let (port, mut client, server) = pair();
        give(&mut client, &server, 22);
        let mut command = Command::new("sleep");
        command.arg("60").stdin(OwnedFd::from(server));
        let mut child = command.spawn().unwrap();
        // It holds our end too.
        drop(command);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of_port(&mut deaths, port).unread, Some(22));
    }

    #[test]
    fn after_so_linger_zero_neither_port_nor_sums_are_left() {
        let mut deaths = Deaths::open().unwrap();
        let (port, client, server) = pair();
        socket2::SockRef::from(&server)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(server);
        let death = of_port(&mut deaths, port);
        assert_eq!(
            (death.remote.ip(), death.remote.port()),
            (client.local_addr().unwrap().ip(), 0)
        );
        assert_eq!((death.unread, death.unsent), (None, None));
    }

    #[test]
    fn an_orderly_close_is_told_once_when_its_fin_is_acknowledged() {
        let mut deaths = Deaths::open().unwrap();
        let (port, mut client, server) = pair();
        let (client_port, start) = (client.local_addr().unwrap().port(), Instant::now());
        drop(server);
        let death = of_port(&mut deaths, port);
        assert_eq!((death.unread, death.unsent), (Some(0), Some(0)));
        // The client's FIN takes the server's end from FIN_WAIT2 to TIME_WAIT; nothing is told of it.
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        assert_eq!(of_port(&mut deaths, client_port).unread, Some(0), "its FIN was read");
        while start.elapsed() < Duration::from_millis(500) {
            let (taken, _) = deaths.take().unwrap();
            let of_connection = |death: &&Death| death.local.port() == port && !death.is_listener();
            assert_eq!(taken.iter().find(of_connection), None);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn an_overflow_is_a_loss() {
        let mut deaths = Deaths::open().unwrap();
        deaths.socket.set_rx_buf_sz(2048).unwrap();
        for _ in 0..200 {
            drop(pair());
        }
        let start = Instant::now();
        loop {
            if deaths.take().unwrap().1 > 0 {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "200 deaths fit into 2 KiB");
            drop(pair());
        }
    }

    #[test]
    fn cut_messages_are_left_out() {
        let mut message = vec![0; 16 + 72];
        message[0] = 88;
        message[4] = 20;
        message[16] = 2; // AF_INET
        message[17] = 7; // TCP_CLOSE
        message[20..24].copy_from_slice(&[0, 80, 0x10, 0]);
        message[24..28].copy_from_slice(&[10, 0, 0, 1]);
        message[40..44].copy_from_slice(&[10, 0, 0, 2]);
        message[72..76].copy_from_slice(&22u32.to_ne_bytes());
        let twice = [message.clone(), message.clone()].concat();
        for end in 0..twice.len() {
            let mut deaths = Vec::new();
            read(&twice[..end], Timestamp(1), &mut deaths);
            assert_eq!(deaths.len(), end / message.len());
        }
        let mut deaths = Vec::new();
        read(&twice, Timestamp(1), &mut deaths);
        let expected = Death {
            time: Timestamp(1),
            local: "10.0.0.1:80".parse().unwrap(),
            remote: "10.0.0.2:4096".parse().unwrap(),
            state: "CLOSE",
            unread: Some(22),
            unsent: Some(0),
            cookie: 0,
            info: None,
        };
        assert_eq!(deaths, [expected.clone(), expected]);
    }

    /// Cut anywhere, with any bytes behind the header: no panic, and no sums that are not there.
    #[test]
    fn any_bytes_are_survived() {
        let deaths = Deaths::open().unwrap();
        let (_, client, server) = pair();
        drop((client, server));
        let mut buffer = vec![0; 8 << 10];
        let length = loop {
            if let Ok(length) = deaths.socket.recv(&mut &mut buffer[..], 0) {
                break length;
            }
        };
        let message = &buffer[..length];
        let mut whole = Vec::new();
        read(message, Timestamp(1), &mut whole);
        assert!(whole[0].info.is_some() && whole[0].cookie != 0, "{whole:?}");
        for end in 0..length {
            let mut bytes = message[..end].to_vec();
            read(&bytes, Timestamp(1), &mut Vec::new());
            // The same with a length that fits: the attributes are what is cut.
            if end >= 16 {
                bytes[..4].copy_from_slice(&u32::try_from(end).unwrap().to_ne_bytes());
                let mut cut = Vec::new();
                read(&bytes, Timestamp(1), &mut cut);
                assert_eq!(cut.len(), usize::from(end >= 16 + HEADER), "{end}");
                assert!(cut.iter().all(|death| death.info.is_none() || end == length), "{end}");
            }
        }
        let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
        for round in 0..20_000 {
            let mut bytes = message.to_vec();
            for _ in 0..1 + round % 8 {
                // xorshift64
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let at = (seed >> 16) as usize % bytes.len();
                bytes[at] = seed as u8;
            }
            read(&bytes, Timestamp(1), &mut Vec::new());
        }
    }
}
