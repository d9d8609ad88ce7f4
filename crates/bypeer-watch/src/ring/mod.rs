//! The last packets of each connection, so that a finding can be shown with them.
//!
//! A packet socket sees every packet of the network namespace it was opened in. A filter in the kernel lets TCP through, of certain
//! ports if wanted, and cuts off the payload there: unless it is asked for, it never comes into this process. A thread of its own
//! reads, with the kernel's times, into a bounded store.
//!
//! Packets begin at their IP header, whatever the link: an interface without one (a tunnel) and one with (Ethernet) are alike, and no
//! hardware addresses are kept. What is not seen: TCP inside of IPsec, MPLS or another tunnel that ends in no interface of this
//! namespace; all but the first fragment of a packet.

mod file;
mod filter;
mod head;
mod socket;
mod store;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::io::PipeWriter;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use bypeer_wire::capture::PacketDirection;
use bypeer_wire::{Endpoint, Timestamp};

pub use file::{CaptureFile, FileError, LARGEST_FILE, Written};

use socket::PacketSocket;
use store::Store;

/// How long after its end a connection's last packets may still come: the kernel's events overtake them. Ask again until then.
pub const LATE: Duration = Duration::from_millis(200);

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Only packets from or to one of these ports; all when empty.
    pub ports: Vec<u16>,
    /// Keep payload too. Otherwise packets end behind their TCP header, and only their lengths tell of it.
    pub payload: bool,
    /// Packets of one connection; then its oldest goes. Those with SYN stay, up to 4 more.
    pub packets_per_connection: usize,
    /// Bytes in all, what keeps them included; then the connection that has been silent the longest goes.
    pub bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ports: Vec::new(),
            payload: false,
            packets_per_connection: 64,
            bytes: 64 << 20,
        }
    }
}

/// A packet as an interface saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When, by the kernel's clock.
    pub time: Timestamp,
    /// Where.
    pub interface: Arc<Interface>,
    /// Which way. On loopback, where each packet goes out and comes in, always inbound: one copy is kept.
    pub direction: PacketDirection,
    /// Bytes on the wire from the IP header on; at least `bytes.len()`.
    pub original_len: u32,
    /// From the IP header on, without link-layer padding; without payload unless that was asked for.
    pub bytes: Box<[u8]>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name when it was first seen; `if7` where it has none any more.
    pub name: String,
}

/// What became of the packets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that were read and are TCP of a wanted port.
    pub packets: u64,
    /// Packets that the kernel dropped because this process read too slowly. It tells of them with the next packet that it does give.
    pub dropped: u64,
    /// Copies of packets that another interface had shown (a bridge, a bond, a VLAN).
    pub copies: u64,
    /// Packets that the filter let through and that are not what it is for.
    pub unusable: u64,
    /// Connections whose packets were let go for lack of room.
    pub connections_let_go: u64,
}

/// Why no packets can be had.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// CAP_NET_RAW is missing.
    #[error(
        "packets can be recorded only with CAP_NET_RAW, which this process does not have in its network namespace: run it as root, or \
         add it to the capabilities that setcap gave the program (cap_net_raw; in a container --cap-add NET_RAW). Without it all but the \
         packets themselves still works: leave --write out"
    )]
    NotAllowed,
    /// The kernel was built without them.
    #[error(
        "this kernel has no packet sockets (CONFIG_PACKET); all but the packets themselves still works: leave --write out"
    )]
    NotSupported,
    /// Anything else.
    #[error("a packet socket cannot be had: {0}")]
    Socket(#[source] io::Error),
}

/// Records until it is dropped.
#[derive(Debug)]
pub struct Ring {
    shared: Arc<Shared>,
    /// Its end tells the thread to stop.
    stop: Option<PipeWriter>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    dropped: AtomicU64,
    unusable: AtomicU64,
    failure: Mutex<Option<io::Error>>,
}

/// Packets that come from now on wait in the kernel until [`Prepared::start`] reads them: to be opened with privileges that are given up
/// before there are threads.
#[derive(Debug)]
pub struct Prepared {
    socket: PacketSocket,
    options: Options,
}

impl Prepared {
    /// Opens the socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// It is refused, most often for want of CAP_NET_RAW.
    pub fn open(options: &Options) -> Result<Prepared, RingError> {
        let socket = PacketSocket::open(options).map_err(|error| match error.raw_os_error() {
            Some(nix::libc::EPERM | nix::libc::EACCES) => RingError::NotAllowed,
            Some(nix::libc::EAFNOSUPPORT | nix::libc::EPROTONOSUPPORT) => RingError::NotSupported,
            _ => RingError::Socket(error),
        })?;
        Ok(Prepared {
            socket,
            options: options.clone(),
        })
    }

    /// Begins to read, in a thread of its own.
    ///
    /// # Errors
    /// No thread or pipe can be had.
    pub fn start(self) -> Result<Ring, RingError> {
        let Prepared { mut socket, options } = self;
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new(&options)),
            dropped: AtomicU64::new(0),
            unusable: AtomicU64::new(0),
            failure: Mutex::new(None),
        });
        let (stopped, stop) = io::pipe().map_err(RingError::Socket)?;
        let theirs = Arc::clone(&shared);
        let reader = thread::Builder::new()
            .name("packets".to_owned())
            .spawn(move || {
                if let Err(error) = theirs.read(&mut socket, &stopped) {
                    *lock(&theirs.failure) = Some(error);
                }
            })
            .map_err(RingError::Socket)?;
        Ok(Ring {
            shared,
            stop: Some(stop),
            reader: Some(reader),
        })
    }
}

impl Ring {
    /// Begins to record in the calling thread's network namespace.
    ///
    /// # Errors
    /// The socket is refused, most often for want of CAP_NET_RAW.
    pub fn start(options: &Options) -> Result<Ring, RingError> {
        Prepared::open(options)?.start()
    }

    /// The packets that are kept of the connection between two ends, from `since` on, in order of time. Addresses are those on the wire.
    ///
    /// The same two ends may have had another connection before: `since` tells them apart. Ask again until [`LATE`] after the event.
    pub fn packets_of(&self, local: Endpoint, remote: Endpoint, since: Timestamp) -> Vec<Packet> {
        lock(&self.shared.store).packets_of(local, remote, since)
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> Counts {
        Counts {
            dropped: self.shared.dropped.load(Relaxed),
            unusable: self.shared.unusable.load(Relaxed),
            ..lock(&self.shared.store).counts()
        }
    }

    /// Why recording ended, if it has; told once.
    pub fn failure(&self) -> Option<io::Error> {
        lock(&self.shared.failure).take()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Shared {
    /// Reads until the other end of `stopped` is closed.
    fn read(&self, socket: &mut PacketSocket, stopped: &io::PipeReader) -> io::Result<()> {
        while socket.wait(stopped)? {
            // A bounded run, so that a flood cannot keep the thread from being stopped.
            for _ in 0..1024 {
                let Some(received) = socket.receive()? else {
                    break;
                };
                if let Some(dropped) = received.dropped {
                    self.dropped.store(dropped, Relaxed);
                }
                match received.packet {
                    Some((head, packet)) => lock(&self.store).push(&head, packet),
                    None if received.unusable => {
                        self.unusable.fetch_add(1, Relaxed);
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }
}

/// What a thread that panicked left behind is whole: nothing here stops half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
