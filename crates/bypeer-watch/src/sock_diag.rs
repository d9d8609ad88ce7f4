//! What may be heard without any privilege: the sockets that the kernel destroys (`sock_diag`, as `ss -E`), one network namespace's.
//!
//! The message has both ends, the cookie, the queues and `tcp_info`. User, inode and shutdown flags are 0 or missing in it, its state is
//! always CLOSE, and nothing says why or by whom. Asking /proc does not help: when the message comes, no process holds the socket any
//! more, and a scan every now and then misses what lives shorter than that. So no [`Actor`](bypeer_diagnose::testimony::Actor) is ever
//! given.
//!
//! But sequence numbers tell more than the queues. `acked + in flight - payload sent` counts what else the socket sent that takes a
//! number: the SYN of a client and the FIN. So 0 is a server that sent no FIN, 2 a client that did, and of 1 it depends on who listens. A
//! socket that is destroyed and never sent a FIN was not closed in order, whatever its queues say: that is how the end that *received* a
//! reset is told from one that is well.
//!
//! Tried on Linux 6.18, IPv4 and IPv6 (the tests below do each row but those with a firewall). "rq" and "wq" are the queues, "own" is the
//! sum above, of a server (S) and of a client (C):
//!
//! | what happened | rq | wq | own | told when | given as |
//! |---|---|---|---|---|---|
//! | S closes with 22 bytes unread; kill -9 of it; exit | 22 | 0 | 0 | at once | Destroyed, unread 22 |
//! | the same with SO_LINGER 0 (unread is looked at first) | 22 | 0 | 0 | at once | Destroyed, unread 22 |
//! | the same, C had sent its FIN too | 23 | 0 | 0 | at once | Destroyed, unread 23: the FIN counts |
//! | S closes with one byte unread | 1 | 0 | 0 | at once | Destroyed, unread unknown: a byte or a FIN |
//! | the same with its send queue full | 22 | n | 0 | at once | Destroyed, unread 22, unsent n |
//! | C's socket that received the reset, ECONNRESET read or not | 0 | 0 | 1 | when C closes | Destroyed, unread 0 |
//! | the same, with 9 bytes of the answer unread | 9 | 0 | 1 | when C closes | Destroyed, unread 9 (*not* the sender) |
//! | SO_LINGER 0, nothing unread; connect(AF_UNSPEC); listener closed over it | – | – | – | at once | ResetSent; the peer's port is lost |
//! | keep-alive ran out | 0 | 0 | 0 | when S closes | Destroyed, unread 0 |
//! | retransmissions ran out | 0 | 5 | 0 | when S closes | Destroyed, unacked 5, retransmits 3 |
//! | the same after S had closed | 0 | 6 | 1 | at once | Destroyed, unacked 5: the FIN is subtracted |
//! | S closes in order, C sends 4 more: S | 0 | 0 | 1 | when its FIN is acknowledged | nothing: the late data comes later |
//! | the same: C | 1 or 0 | 4 | 1 | when C closes | Destroyed, unacked 4 |
//! | S shut down both ways, C sends: S | 0 | 0 | 1 | when S closes | Destroyed: a segment came, nothing received |
//! | closed in order, by C or S first; half close | 0 or 1 | 0 | S 1, C 2 | FIN acknowledged and closed | nothing |
//! | a process that never read: FIN only, closed | 1 | 0 | S 1, C 2 | FIN acknowledged | nothing |
//! | kill -9, nothing unread | 0 | 0 | S 1, C 2 | FIN acknowledged | nothing: it is in order |
//! | C closes last, S's TIME_WAIT was dropped (`TCPTimeWaitOverflow`) and a reset answers the FIN | 0 | 1 | 2 | at once | nothing |
//! | C half-closed, closes with 6 bytes unread | 6 or 7 | 0 | 2 | at once | Destroyed, unread 6 |
//! | refused, SYN unanswered, never connected, a listener | | | | when closed | nothing |
//! | `ss -K` (needs CONFIG_INET_DIAG_DESTROY), 22 unread | 22 | 0 | 0 | when S closes | Destroyed, unread 22 |
//!
//! So: unread bytes mean that the close sent a reset (RFC 1122 4.2.2.13), unless the connection was dead before, by a reset that came or a
//! timer. This source cannot tell these apart; the other end's testimony can. And what a reset's receiver had unacknowledged may have
//! arrived all the same: the acknowledgment in a reset is not taken, and one that is delayed (40 ms) is overtaken by it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use bypeer_diagnose::Testimony;
use bypeer_diagnose::testimony::{Side, Told};
use rustix::time::{ClockId, clock_getres};

use crate::heard::{Heard, Hears};
use crate::kernel::{Death, Deaths, Listeners, TcpInfo};

/// What this source never tells.
pub const UNKNOWN: [&str; 5] = [
    "no process, no line of code",
    "no reason: whether this end sent the reset, received one or timed out",
    "not when a socket died, only when its program closed it",
    "not the peer's port after SO_LINGER 0",
    "resets that answer late data, or that no socket is behind",
];

/// The source: sockets that died in another way than in order.
#[derive(Debug)]
pub struct SockDiag {
    deaths: Deaths,
    facts: Surroundings,
    number: u64,
    lost: u64,
    /// Of `lost`, what no [`Heard`] has told yet.
    untold: u64,
}

/// What the kernel's message does not say and the verdict needs.
#[derive(Debug)]
pub(crate) struct Surroundings {
    listeners: Option<Listeners>,
    /// Ports that clients get, first and last.
    ephemeral: (u16, u16),
    tick: Duration,
}

impl SockDiag {
    /// Begins to listen in the calling thread's network namespace; it may be read from any other.
    pub fn open() -> io::Result<SockDiag> {
        Ok(SockDiag {
            deaths: Deaths::open()?,
            facts: Surroundings::read(),
            number: 0,
            lost: 0,
            untold: 0,
        })
    }
}

impl Hears for SockDiag {
    fn take(&mut self) -> io::Result<Vec<Heard>> {
        let (deaths, lost) = self.deaths.take()?;
        self.lost = self.lost.saturating_add(lost);
        self.untold = self.untold.saturating_add(lost);
        let endings = self.facts.endings(&deaths);
        let mut heard = Vec::new();
        for (death, ending) in deaths.iter().zip(endings) {
            let Ending::Broken(mut testimony) = ending else {
                continue;
            };
            self.number += 1;
            testimony.number = self.number;
            heard.push(Heard {
                local: death.local,
                remote: death.remote,
                cookie: death.cookie,
                testimony: *testimony,
                lost: std::mem::take(&mut self.untold),
            });
        }
        Ok(heard)
    }

    /// Times that the buffer was full: the kernel does not say how many deaths were lost each time.
    fn lost(&self) -> u64 {
        self.lost
    }
}

impl AsFd for SockDiag {
    /// Readable when there may be something to take.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.deaths.as_fd()
    }
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// There was none: a listener, a socket that never got an answer.
    Unconnected,
    /// This end's FIN was acknowledged and nothing was left.
    InOrder(Box<Testimony>),
    /// In any other way.
    Broken(Box<Testimony>),
}

impl Surroundings {
    pub(crate) fn read() -> Surroundings {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let tick = clock_getres(ClockId::MonotonicCoarse);
        Surroundings {
            listeners: Listeners::open().ok(),
            ephemeral: port_range(&range).unwrap_or((32768, 60999)),
            tick: Duration::new(
                u64::try_from(tick.tv_sec).unwrap_or(0),
                u32::try_from(tick.tv_nsec).unwrap_or(0),
            ),
        }
    }

    /// How each of these ended.
    pub(crate) fn endings(&mut self, deaths: &[Death]) -> Vec<Ending> {
        // Listeners first: a process that ends closes its own before its connections.
        if let Some(listeners) = &mut self.listeners {
            listeners.keep_up();
            for death in deaths.iter().filter(|death| death.is_listener()) {
                listeners.remember(death.local);
            }
            // Once for all of them, and only when there is somebody new: a client that was reset, a listener since the last time.
            let is_new = |death: &Death| is_ambiguous(death) && !listeners.listened(death.local);
            if deaths.iter().any(is_new) {
                let _ = listeners.ask();
            }
        }
        deaths.iter().map(|death| self.ending(death)).collect()
    }

    fn ending(&mut self, death: &Death) -> Ending {
        let listened = self.listeners.as_ref().map(|known| known.listened(death.local));
        let sums = Sums::of(death, self.side_by_port(listened, death.local));
        let Some(sums) = sums else { return Ending::Unconnected };
        let in_order = sums.is_in_order;
        let mut testimony = Box::new(sums.testify(death));
        testimony.tick = self.tick;
        if in_order {
            return Ending::InOrder(testimony);
        }
        testimony.listening = self.listening(death.local);
        Ending::Broken(testimony)
    }

    /// Whether somebody listens there now.
    pub(crate) fn listening(&mut self, local: SocketAddr) -> Option<bool> {
        self.listeners.as_mut()?.listening(local)
    }

    /// Length of the kernel's tick.
    pub(crate) fn tick(&self) -> Duration {
        self.tick
    }

    fn side_by_port(&self, listened: Option<bool>, local: SocketAddr) -> Option<Side> {
        let (first, last) = self.ephemeral;
        match listened {
            Some(true) => Some(Side::Server),
            // A listener that went before anybody looked has some other port: no client gets it by itself.
            Some(false) if (first..=last).contains(&local.port()) => Some(Side::Client),
            _ => None,
        }
    }
}

/// What the sums of a dead socket say.
#[derive(Clone, Debug, Default)]
struct Sums {
    /// The peer's port was gone.
    is_disconnected: bool,
    side: Option<Side>,
    unread: Option<u64>,
    unsent: Option<u64>,
    unacked: Option<u64>,
    received: Option<u64>,
    acked: Option<u64>,
    fin_received: Option<bool>,
    is_in_order: bool,
}

impl Sums {
    /// `None` when there was no connection. `by_port` is what the local port says of the side.
    fn of(death: &Death, by_port: Option<Side>) -> Option<Sums> {
        if death.is_listener() || !was_established(death) {
            return None;
        }
        if death.remote.port() == 0 {
            return Some(Sums {
                is_disconnected: true,
                side: by_port,
                ..Sums::default()
            });
        }
        let info = death.info.clone().unwrap_or_default();
        let own = own_numbers(death);
        let side = match own {
            Some(0) => Some(Side::Server),
            Some(2) => Some(Side::Client),
            _ => by_port,
        };
        let fin_sent = match (own, side) {
            (Some(own), Some(side)) => Some(own > u64::from(side == Side::Client)),
            _ => None,
        };
        let rq = u64::from(death.unread.unwrap_or(0));
        let wq = u64::from(death.unsent.unwrap_or(0));
        let unsent = u64::from(info.not_sent.unwrap_or(0)).min(wq);
        let fin_unacked = fin_sent == Some(true) && wq > unsent;
        let unacked = wq - unsent - u64::from(fin_unacked);
        // Before anything else can be said, the peer's FIN must not be taken for a byte.
        let fin_received = match (info.received, info.data_segments_in) {
            (Some(0), _) => Some(false),
            (Some(1), Some(0)) => Some(true),
            // With a byte unread its close would have sent a reset instead of the FIN (or after it, if it was half-closed).
            _ if rq == 1 && fin_sent == Some(true) => Some(true),
            _ => None,
        };
        let unread = match (rq, fin_received) {
            (0, _) => Some(0),
            (1, Some(true)) => Some(0),
            (1, None) => None,
            _ => Some(rq),
        };
        let refused_data = info.received == Some(0) && info.data_segments_in.is_some_and(|segments| segments > 0);
        // A FIN that nobody acknowledged is no loss: its peer may have been done and gone.
        let nothing_left = unsent + unacked == 0 && unread == Some(0);
        let is_in_order = match fin_sent {
            Some(sent) => sent && nothing_left && !refused_data,
            // An old kernel, or a port that may be either's: only what was left counts, without what may be a FIN.
            None => wq <= 1 && rq <= 1,
        };
        Some(Sums {
            is_disconnected: false,
            side,
            unread,
            unsent: info.not_sent.map(|_| unsent),
            unacked: info.not_sent.map(|_| unacked),
            received: info
                .received
                .map(|received| received - u64::from(fin_received == Some(true)).min(received)),
            acked: own.and_then(|_| payload_sent(&info)?.checked_sub(unacked)),
            fin_received,
            is_in_order,
        })
    }

    fn testify(&self, death: &Death) -> Testimony {
        let basics = Testimony {
            at: death.time,
            side: self.side,
            unread: self.unread,
            unsent: self.unsent,
            unacked: self.unacked,
            received: self.received,
            acked: self.acked,
            fin_received: self.fin_received,
            told: Told::Destroyed,
            ..Testimony::default()
        };
        if self.is_disconnected {
            // tcp_disconnect() sends a reset in every state in which the peer still waits, and wipes the sums.
            return Testimony {
                told: Told::ResetSent,
                ..basics
            };
        }
        let Some(info) = &death.info else { return basics };
        Testimony {
            since_received: (info.data_segments_in != Some(0)).then_some(info.last_data_received),
            since_sent: (info.data_segments_out != Some(0)).then_some(info.last_data_sent),
            round_trip: Some(info.round_trip).filter(|time| !time.is_zero()),
            retransmits: Some(info.retransmits.into()),
            segment_size: Some(info.receive_mss).filter(|size| *size > 0),
            ..basics
        }
    }
}

/// Payload up to what was sent last, each byte once.
fn payload_sent(info: &TcpInfo) -> Option<u64> {
    info.sent?.checked_sub(info.retransmitted?)
}

/// How many sequence numbers the socket sent that are no payload: SYN and FIN. `None` where the kernel is too old, and where the sums do
/// not fit (segments that this machine's own firewall dropped count as sent).
fn own_numbers(death: &Death) -> Option<u64> {
    let info = death.info.as_ref()?;
    let in_flight = u64::from(death.unsent?).checked_sub(info.not_sent?.into())?;
    let all = info.acked?.checked_add(in_flight)?;
    all.checked_sub(payload_sent(info)?).filter(|own| *own <= 2)
}

/// Whether who listens decides what it was.
fn is_ambiguous(death: &Death) -> bool {
    !death.is_listener() && was_established(death) && !matches!(own_numbers(death), Some(0 | 2))
}

fn was_established(death: &Death) -> bool {
    let Some(info) = &death.info else { return true };
    if death.remote.port() == 0 {
        // tcp_disconnect() wipes most, but not when the handshake's acknowledgment came. Without a handshake all of these count from the
        // start of the machine, as does the last of them once it is wiped.
        return info.last_ack_received != info.last_data_received;
    }
    info.acked != Some(0) || !info.round_trip.is_zero() || info.send_window.is_some_and(|window| window > 0)
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let mut ports = text.split_ascii_whitespace().map(str::parse);
    Some((ports.next()?.ok()?, ports.next()?.ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
