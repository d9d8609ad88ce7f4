use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvmsg, send,
    setsockopt, socket, sockopt,
};

/// `PACKET_OUTGOING` of linux/if_packet.h: a frame that this machine itself sends by the interface.
const OUTGOING: u8 = 4;
/// Bytes of frames that may wait to be read: what a sender has in flight at 500 Mbit/s while this thread does not run.
const RECEIVE_BUFFER: usize = 32 << 20;
const SEND_BUFFER: usize = 8 << 20;

/// The wire's end of one link: whole Ethernet frames, as they come and go.
#[derive(Debug)]
pub struct PortSocket {
    socket: OwnedFd,
    index: usize,
    /// Space for a control message: how many frames the kernel dropped.
    control: Vec<u8>,
}

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes in the buffer; `None`: a frame that is not for the wire.
    pub(super) length: Option<usize>,
    /// How many frames the kernel has dropped on this socket since it was opened, modulo 2^32.
    pub(super) dropped: Option<u32>,
}

impl PortSocket {
    /// Opens `interface` of the calling thread's network namespace. Does not block when read.
    ///
    /// # Errors
    /// There is no such interface, or the thread lacks CAP_NET_RAW in the namespace's user namespace.
    pub fn open(interface: &str) -> io::Result<PortSocket> {
        let address = link_address(interface)?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
        // Protocol 0 in the address keeps the socket's.
        bind(socket.as_raw_fd(), &address)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        // Without CAP_NET_ADMIN on the whole machine the kernel's own bound, net.core.rmem_max, holds.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
            setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER)?;
        }
        let mut control = nix::cmsg_space!(u32);
        control.resize(control.capacity(), 0);
        Ok(PortSocket {
            socket,
            index: address.ifindex(),
            control,
        })
    }

    /// Reads one frame. `None`: there is none now.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut slices = [IoSliceMut::new(buffer)];
        let message = recvmsg::<LinkAddr>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut self.control),
            MsgFlags::MSG_DONTWAIT,
        );
        let message = match message {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let dropped = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::RxqOvfl(dropped) => Some(dropped),
                _ => None,
            })
        });
        // Frames of other interfaces may have come between socket() and bind().
        let is_ours = message
            .address
            .is_some_and(|from| from.pkttype() != OUTGOING && from.ifindex() == self.index);
        let length = Some(message.bytes).filter(|_| is_ours);
        Ok(Some(Received { length, dropped }))
    }

    /// Writes one frame.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

impl AsFd for PortSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn link_address(interface: &str) -> io::Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()?
        .filter(|found| found.interface_name == interface)
        .find_map(|found| {
            found
                .address
                .as_ref()
                .and_then(|address| address.as_link_addr().copied())
        })
        .ok_or_else(|| {
            let why = format!("there is no interface {interface:?} in this network namespace");
            io::Error::new(io::ErrorKind::NotFound, why)
        })
}
