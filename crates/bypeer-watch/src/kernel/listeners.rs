use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, Parseable as _,
};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DIAG_BY_FAMILY, SockDiagMessage};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_SOCK_DIAG};
use nix::errno::Errno;

use super::reset_event::unmapped;

/// For so long who listens is taken to go on doing so.
const FRESH: Duration = Duration::from_secs(1);
/// For so long who does not listen is taken not to begin. Clients that were reset come in bursts.
const FRESH_ABSENCE: Duration = Duration::from_millis(5);
/// Former listeners that are remembered.
const FORMER: usize = 4096;
/// `nlmsg_type`s of `linux/netlink.h`.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Who listens, and who has listened, in one network namespace. Needs no privilege.
#[derive(Debug)]
pub struct Listeners {
    socket: Socket,
    sequence: u32,
    now: HashSet<SocketAddr>,
    asked: Option<Instant>,
    /// Listeners that were seen at any time: connections outlive them.
    ever: HashSet<SocketAddr>,
    order: VecDeque<SocketAddr>,
}

impl Listeners {
    /// Of the calling thread's network namespace; it may be asked from any other.
    pub fn open() -> io::Result<Listeners> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddress::new(0, 0))?;
        // The kernel makes the pieces of its answer as they are asked for: nothing is ever waited for.
        socket.set_non_blocking(true)?;
        let mut listeners = Listeners {
            socket,
            sequence: 0,
            now: HashSet::new(),
            asked: None,
            ever: HashSet::new(),
            order: VecDeque::new(),
        };
        listeners.ask()?;
        Ok(listeners)
    }

    /// Whether somebody listens for connections to this address, as of a second ago at the most. `None` when the kernel gives no answer.
    pub fn listening(&mut self, local: SocketAddr) -> Option<bool> {
        let limit = if covers(&self.now, local) { FRESH } else { FRESH_ABSENCE };
        if self.asked.is_none_or(|asked| asked.elapsed() > limit) {
            self.ask().ok()?;
        }
        Some(covers(&self.now, local))
    }

    /// Whether somebody was ever seen to listen there.
    pub fn listened(&self, local: SocketAddr) -> bool {
        covers(&self.ever, local)
    }

    /// Asks when the last answer is more than a second old: listeners are to be known before they go.
    pub fn keep_up(&mut self) {
        if self.asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            // It is asked again when it matters.
            let _ = self.ask();
        }
    }

    /// A listener was seen.
    pub fn remember(&mut self, listener: SocketAddr) {
        if self.ever.insert(listener) {
            self.order.push_back(listener);
        }
        while self.order.len() > FORMER {
            let Some(oldest) = self.order.pop_front() else { return };
            if self.now.contains(&oldest) && self.now.len() < FORMER {
                self.order.push_back(oldest);
            } else {
                self.ever.remove(&oldest);
            }
        }
    }

    /// Asks the kernel now.
    pub fn ask(&mut self) -> io::Result<()> {
        let mut listeners = HashSet::new();
        self.dump(AF_INET, SocketId::new_v4(), &mut listeners)?;
        // A kernel without IPv6 answers with an error.
        let _ = self.dump(AF_INET6, SocketId::new_v6(), &mut listeners);
        self.now = listeners;
        self.asked = Some(Instant::now());
        for listener in self.now.clone() {
            self.remember(listener);
        }
        Ok(())
    }

    fn dump(&mut self, family: u8, socket_id: SocketId, listeners: &mut HashSet<SocketAddr>) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let request = SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id,
        });
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut buffer = vec![0; 32 << 10];
        loop {
            match self.socket.recv(&mut &mut buffer[..], 0) {
                Ok(length) => match read(&buffer[..length.min(buffer.len())], self.sequence, listeners) {
                    Answer::More => {}
                    Answer::Done => return Ok(()),
                    Answer::Refused => return Err(io::ErrorKind::Unsupported.into()),
                },
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

enum Answer {
    More,
    Done,
    Refused,
}

/// One piece of the answer; what is left of an earlier one is skipped.
fn read(mut bytes: &[u8], sequence: u32, listeners: &mut HashSet<SocketAddr>) -> Answer {
    while let Ok(message) = NetlinkBuffer::new_checked(bytes) {
        if message.sequence_number() == sequence {
            match message.message_type() {
                NLMSG_DONE => return Answer::Done,
                NLMSG_ERROR => return Answer::Refused,
                SOCK_DIAG_BY_FAMILY => {
                    if let Ok(header) = InetResponseHeader::parse(message.payload()) {
                        let id = header.socket_id;
                        listeners.insert(unmapped(SocketAddr::new(id.source_address, id.source_port)));
                    }
                }
                _ => {}
            }
        }
        let length = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Answer::More
}

/// Whether one of them takes connections to `local`. One on `[::]` is taken to speak IPv4 too: almost all do.
fn covers(listeners: &HashSet<SocketAddr>, local: SocketAddr) -> bool {
    use std::net::{Ipv4Addr, Ipv6Addr};
    listeners.contains(&SocketAddr::new(local.ip(), local.port()))
        || listeners.contains(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), local.port()))
        || (local.is_ipv4() && listeners.contains(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), local.port())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_known_and_remembered() {
        let mut listeners = Listeners::open().unwrap();
        for (bind, ask) in [
            ("127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", "127.0.0.9"),
            ("::", "127.0.0.1"),
            ("::1", "::1"),
        ] {
            let listener = TcpListener::bind((bind, 0)).unwrap();
            let local = SocketAddr::new(ask.parse().unwrap(), listener.local_addr().unwrap().port());
            listeners.ask().unwrap();
            assert_eq!(listeners.listening(local), Some(true), "{bind}");
            drop(listener);
            listeners.ask().unwrap();
            assert_eq!(listeners.listening(local), Some(false), "{bind}");
            assert!(listeners.listened(local), "{bind}");
        }
        assert!(!listeners.listened("127.0.0.1:1".parse().unwrap()));
    }

    #[test]
    fn memory_has_an_end_and_keeps_who_listens_now() {
        let mut listeners = Listeners::open().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listeners.ask().unwrap();
        for number in 0..10_000_u16 {
            listeners.remember(SocketAddr::new([10, 9, 8, 7].into(), number + 1));
        }
        assert!(listeners.ever.len() <= FORMER && listeners.order.len() == listeners.ever.len());
        assert!(listeners.listened(listener.local_addr().unwrap()));
        assert!(!listeners.listened("10.9.8.7:1".parse().unwrap()));
    }
}
