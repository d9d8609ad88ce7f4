//! Full accept queues. No hook tells of them: the kernel drops the SYN, or the handshake's last ACK, and counts (`ListenOverflows`). So the
//! counter is looked at, and when it has grown, who listens with a full queue. Needs no privilege; one network namespace.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bypeer_diagnose::Testimony;
use bypeer_diagnose::testimony::{Queue, Side, State, Told};
use bypeer_wire::Timestamp;

use crate::kernel::{Listener, listeners};

/// Of the calling thread, so of its network namespace.
const COUNTERS: &str = "/proc/thread-self/net/netstat";

/// Looks for full accept queues in the calling thread's network namespace.
#[derive(Debug)]
pub struct Backlogs {
    overflows: u64,
    unattributed: u64,
}

/// A listener whose queue is full.
#[derive(Clone, Debug)]
pub struct Full {
    /// The listener.
    pub listener: Listener,
    /// What to say of it.
    pub testimony: Testimony,
}

impl Backlogs {
    /// Begins to count.
    ///
    /// # Errors
    /// The kernel's counters cannot be read.
    pub fn open() -> io::Result<Backlogs> {
        let overflows = overflows(&fs::read_to_string(COUNTERS)?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{COUNTERS} has no ListenOverflows")))?;
        Ok(Backlogs {
            overflows,
            unattributed: 0,
        })
    }

    /// The listeners with a full queue, when attempts were dropped since the last look.
    ///
    /// One that has come to accept again by the time of the look is not found: such attempts are only counted.
    pub fn look(&mut self, now: Timestamp) -> Vec<Full> {
        let Some(overflows) = fs::read_to_string(COUNTERS).ok().and_then(|text| overflows(&text)) else {
            return Vec::new();
        };
        let dropped = overflows.saturating_sub(self.overflows);
        self.overflows = overflows;
        if dropped == 0 {
            return Vec::new();
        }
        // A queue holds one more than its backlog.
        let full: Vec<Listener> = listeners()
            .unwrap_or_default()
            .into_iter()
            .filter(|listener| listener.waiting > listener.backlog)
            .collect();
        if full.is_empty() {
            self.unattributed += dropped;
        }
        let only = full.len() == 1;
        let told = |listener: Listener| Full {
            listener,
            testimony: Testimony {
                at: now,
                told: Told::Overflowed,
                side: Some(Side::Server),
                state: Some(State::Listen),
                queue: Some(Queue {
                    waiting: listener.waiting,
                    backlog: listener.backlog,
                    dropped: only.then_some(dropped),
                }),
                ..Testimony::default()
            },
        };
        full.into_iter().map(told).collect()
    }

    /// Attempts that were dropped by a queue which nobody saw full.
    pub fn unattributed(&self) -> u64 {
        self.unattributed
    }
}

/// The client of a dropped attempt, of whom nothing is known.
pub fn nobody() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)
}

/// `ListenOverflows` of `TcpExt`.
fn overflows(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    let (_, value) = pairs.find(|(name, _)| *name == "ListenOverflows")?;
    value.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_counter_is_found_by_its_name() {
        let text =
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 3 17 20\nIpExt: ListenOverflows\nIpExt: 5\n";
        assert_eq!(overflows(text), Some(17));
        for end in 0..text.len() {
            let _ = overflows(&text[..end]);
        }
        assert_eq!(overflows("IpExt: ListenOverflows\nIpExt: 5\n"), None);
    }

    #[test]
    fn a_full_queue_is_found_and_who_listens_there() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(1).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut backlogs = Backlogs::open().unwrap();
        let _held: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
        let third = std::thread::spawn(move || TcpStream::connect_timeout(&address, Duration::from_secs(2)));
        let start = Instant::now();
        let full = loop {
            let looked = backlogs.look(Timestamp(1));
            if let Some(full) = looked.into_iter().find(|full| full.listener.local == address) {
                break full;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "no queue was full");
            std::thread::sleep(Duration::from_millis(10));
        };
        let queue = full.testimony.queue.unwrap();
        assert_eq!((queue.waiting, queue.backlog), (2, 1));
        assert_eq!(full.testimony.told, Told::Overflowed);
        assert!(third.join().unwrap().is_err(), "the third attempt was dropped");
    }
}
