use std::collections::HashMap;
use std::io::{self, IoSliceMut, PipeReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::SystemTime;

use bypeer_wire::Timestamp;
use bypeer_wire::capture::PacketDirection;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeSpec;
use rustix::net::netdevice::index_to_name;

use super::filter::{LOOPBACK, OUTGOING};
use super::head::{Head, untagged};
use super::{Interface, Options, Packet, filter};

/// Bytes of packets that may wait to be read. One without payload takes about 1 KiB of it.
const RECEIVE_BUFFER: usize = 32 << 20;
/// The largest packet that is read whole: what an IP header can tell, and a tag.
const LARGEST: usize = (64 << 10) + 64;
/// Names of interfaces that are remembered.
const MOST_INTERFACES: usize = 4096;

/// A packet socket on all interfaces of a network namespace.
#[derive(Debug)]
pub(super) struct PacketSocket {
    socket: OwnedFd,
    ports: Vec<u16>,
    payload: bool,
    buffer: Box<[u8]>,
    /// Space for control messages: the time, and how many packets were dropped.
    control: Vec<u8>,
    interfaces: HashMap<u32, Arc<Interface>>,
    /// The kernel counts in 32 bits.
    dropped: u64,
}

/// What one read gave.
#[derive(Debug)]
pub(super) struct Received {
    /// A packet, if it is one that is wanted.
    pub(super) packet: Option<(Head, Packet)>,
    /// It is no TCP packet that can be read.
    pub(super) unusable: bool,
    /// How many packets the kernel has dropped on this socket since it was opened, if it said.
    pub(super) dropped: Option<u64>,
}

impl PacketSocket {
    /// Opens one in the calling thread's network namespace.
    pub(super) fn open(options: &Options) -> io::Result<PacketSocket> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        // Datagram: the kernel takes the link layer's header off. Not bound: all interfaces, also those that come later.
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)?;
        socket2::SockRef::from(&socket).attach_filter(&filter::program(options))?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        // A read of PACKET_STATISTICS would be unsafe; this is the same count.
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        // Without CAP_NET_ADMIN on the whole machine the kernel's own bound, net.core.rmem_max, holds.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        let mut control = nix::cmsg_space!(u32, TimeSpec);
        control.resize(control.capacity(), 0);
        Ok(PacketSocket {
            socket,
            ports: options.ports.clone(),
            payload: options.payload,
            buffer: vec![0; LARGEST].into(),
            control,
            interfaces: HashMap::new(),
            dropped: 0,
        })
    }

    /// Waits for a packet; `false` when the other end of `stopped` is closed.
    pub(super) fn wait(&self, stopped: &PipeReader) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => Ok(fds[1].revents().is_none_or(|events| events.is_empty())),
            Err(Errno::EINTR) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads one packet. `None`: there is none now.
    pub(super) fn receive(&mut self) -> io::Result<Option<Received>> {
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        // With MSG_TRUNC the length is the packet's even where the buffer is shorter.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let message = recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut slices, Some(&mut self.control), flags);
        let message = match message {
            Ok(message) => message,
            // An interface went down: told once, to all.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let (mut time, mut dropped) = (None, None);
        for control in message.cmsgs().into_iter().flatten() {
            match control {
                ControlMessageOwned::ScmTimestampns(at) => time = Some(at),
                ControlMessageOwned::RxqOvfl(count) => dropped = Some(count),
                _ => {}
            }
        }
        let (length, from) = (message.bytes, message.address);
        let dropped = dropped.map(|low| self.count_dropped(low));
        let mut received = Received {
            packet: None,
            unusable: false,
            dropped,
        };
        let Some(from) = from else {
            return Ok(Some(received));
        };
        let is_outgoing = from.pkttype() == OUTGOING;
        if is_outgoing && from.hatype() == LOOPBACK {
            return Ok(Some(received));
        }
        let time = time.map_or_else(now, |at| {
            Timestamp(at.tv_sec().saturating_mul(1_000_000_000).saturating_add(at.tv_nsec()))
        });
        let data = untagged(u16::from_be(from.protocol()), &self.buffer[..length.min(LARGEST)]);
        let tag = length.min(LARGEST) - data.len();
        let Some(head) = Head::parse(data) else {
            received.unusable = true;
            return Ok(Some(received));
        };
        let ports = [head.source.port, head.destination.port];
        if !self.ports.is_empty() && !ports.iter().any(|port| self.ports.contains(port)) {
            return Ok(Some(received));
        }
        let original_len = head.total.unwrap_or(length - tag);
        let kept = if self.payload { original_len } else { head.len };
        let packet = Packet {
            time,
            direction: match is_outgoing {
                true => PacketDirection::Outbound,
                false => PacketDirection::Inbound,
            },
            original_len: u32::try_from(original_len).unwrap_or(u32::MAX),
            bytes: data[..kept.min(data.len())].into(),
            interface: self.interface(from.ifindex()),
        };
        received.packet = Some((head, packet));
        Ok(Some(received))
    }

    fn interface(&mut self, index: usize) -> Arc<Interface> {
        let index = u32::try_from(index).unwrap_or_default();
        if let Some(known) = self.interfaces.get(&index) {
            return Arc::clone(known);
        }
        if self.interfaces.len() >= MOST_INTERFACES {
            self.interfaces.clear();
        }
        let name = index_to_name(&self.socket, index).unwrap_or_else(|_| format!("if{index}"));
        let interface = Arc::new(Interface { index, name });
        self.interfaces.insert(index, Arc::clone(&interface));
        interface
    }

    /// The count in full, of which the kernel tells the low 32 bits.
    fn count_dropped(&mut self, low: u32) -> u64 {
        self.dropped += u64::from(low.wrapping_sub(self.dropped as u32));
        self.dropped
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)))
}
