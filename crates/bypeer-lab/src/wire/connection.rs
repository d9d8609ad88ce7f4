use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;

use super::packet::{ACK, FIN, Packet, RST, SYN};

/// Connections of one round beyond this are not followed: their retransmissions count as new.
const MOST_CONNECTIONS: usize = 65_536;
/// Stretches of a direction whose matches are remembered; the oldest go first.
const MOST_STRETCHES: usize = 4096;
/// Stretches behind a gap.
const MOST_PENDING: usize = 1024;

/// The two ends of a connection, the smaller one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(SocketAddrV4, SocketAddrV4);

impl Key {
    fn of(packet: &Packet) -> Option<(Key, usize)> {
        let (source, destination) = packet.is_tcp().then(|| packet.ends()).flatten()?;
        Some(match source <= destination {
            true => (Key(source, destination), 0),
            false => (Key(destination, source), 1),
        })
    }

    pub(super) fn ends(&self) -> [SocketAddrV4; 2] {
        [self.0, self.1]
    }
}

/// All connections of a round, by their addresses as the hosts behind a translation know them.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: HashMap<Key, Connection>,
}

impl Connections {
    /// What a segment that enters the wire brings. `None`: not TCP, or too many connections.
    pub(super) fn enter(&mut self, packet: &Packet) -> Option<Entered> {
        let (key, side) = Key::of(packet)?;
        if self.all.len() >= MOST_CONNECTIONS && !self.all.contains_key(&key) {
            return None;
        }
        let order = self.all.len();
        let connection = self.all.entry(key).or_insert_with(|| Connection::new(order));
        if packet.flags() & (SYN | FIN | RST) == SYN
            && connection.halves[side].isn.is_some_and(|isn| isn != packet.seq())
        {
            // A new connection between the same ports, or a host that began anew.
            match packet.flags() & ACK {
                0 => *connection = Connection::new(connection.order),
                _ => connection.halves[side] = Half::default(),
            }
        }
        let known = connection.halves[side].enter(packet);
        Some(Entered { key, side, known })
    }

    /// Remembers which matches a segment met.
    pub(super) fn remember(&mut self, entered: &Entered, packet: &Packet, met: u64) {
        if let Some(connection) = self.all.get_mut(&entered.key) {
            connection.halves[entered.side].remember(packet, met);
        }
    }

    /// Notes that a segment was sent on to its receiver.
    pub(super) fn forwarded(&mut self, packet: &Packet) {
        let Some((key, side)) = Key::of(packet) else {
            return;
        };
        if let Some(connection) = self.all.get_mut(&key) {
            connection.halves[side].forwarded(packet);
            connection.is_reset |= packet.flags() & RST != 0;
        }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Connection> {
        self.all.get_mut(&key)
    }

    /// Those that nobody reset, the oldest first.
    pub(super) fn living(&self) -> Vec<Key> {
        let mut living: Vec<(usize, Key)> = self
            .all
            .iter()
            .filter(|(_, connection)| !connection.is_reset)
            .map(|(key, connection)| (connection.order, *key))
            .collect();
        living.sort();
        living.into_iter().map(|(_, key)| key).collect()
    }
}

/// A segment among those before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entered {
    pub(super) key: Key,
    side: usize,
    pub(super) known: Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It, or a part of it, was never seen.
    New,
    /// A retransmission; the bits are the matches that its first copy met.
    Again(u64),
    /// A retransmission with something new behind it.
    Partly { met: u64, old_payload: usize },
}

#[derive(Debug)]
pub(super) struct Connection {
    /// How many came before it.
    order: usize,
    halves: [Half; 2],
    pub(super) is_reset: bool,
    /// To which of its ends a reset was forged.
    pub(super) forged: [bool; 2],
}

impl Connection {
    fn new(order: usize) -> Connection {
        Connection {
            order,
            halves: [Half::default(), Half::default()],
            is_reset: false,
            forged: [false; 2],
        }
    }

    /// The sequence number that end `side` (of [`Key::ends`]) expects next from the other one, 0 where it has heard nothing;
    /// and the one that the other expects from it.
    pub(super) fn expected_by(&self, side: usize) -> (u32, u32) {
        let (theirs, own) = (&self.halves[1 - side], &self.halves[side]);
        (theirs.next.unwrap_or(0), own.next.or(own.highest).unwrap_or(0))
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    isn: Option<u32>,
    /// Behind the last byte that entered the wire.
    highest: Option<u32>,
    /// In the order of sequence numbers but for what wraps; neighbours differ in `met`.
    stretches: VecDeque<Stretch>,
    /// What the receiver expects next, had it got all that was forwarded.
    next: Option<u32>,
    /// Forwarded behind a gap.
    pending: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: u32,
    end: u32,
    met: u64,
}

/// Whether `a` lies before `b`, in numbers that wrap.
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Half {
    fn enter(&mut self, packet: &Packet) -> Known {
        let (start, length) = (packet.seq(), packet.seq_len());
        if packet.flags() & SYN != 0 {
            self.isn = Some(start);
        }
        // A reset is no copy of what it stands at.
        if length == 0 || packet.flags() & RST != 0 {
            return Known::New;
        }
        let end = start.wrapping_add(length);
        let Some(highest) = self.highest else {
            self.highest = Some(end);
            return Known::New;
        };
        let met = self
            .stretches
            .iter()
            .rev()
            .find(|stretch| !is_before(start, stretch.start) && is_before(start, stretch.end))
            .map(|stretch| stretch.met);
        let reaches_on = is_before(highest, end);
        if reaches_on {
            self.highest = Some(end);
        }
        match (met, reaches_on) {
            // Behind a gap that others fill later, or from before the wire began to watch.
            (None, _) => Known::New,
            (Some(met), false) => Known::Again(met),
            (Some(met), true) => Known::Partly {
                met,
                old_payload: highest.wrapping_sub(start) as usize,
            },
        }
    }

    fn remember(&mut self, packet: &Packet, met: u64) {
        let (start, length) = (packet.seq(), packet.seq_len());
        if length == 0 || packet.flags() & RST != 0 {
            return;
        }
        let end = start.wrapping_add(length);
        match self.stretches.back_mut() {
            Some(last) if last.end == start && last.met == met => last.end = end,
            _ => self.stretches.push_back(Stretch { start, end, met }),
        }
        if self.stretches.len() > MOST_STRETCHES {
            self.stretches.pop_front();
        }
    }

    fn forwarded(&mut self, packet: &Packet) {
        let (start, length) = (packet.seq(), packet.seq_len());
        if length == 0 || packet.flags() & RST != 0 {
            return;
        }
        let end = start.wrapping_add(length);
        let Some(next) = self.next else {
            self.next = Some(end);
            return;
        };
        if is_before(next, start) {
            if self.pending.len() < MOST_PENDING {
                self.pending.push((start, end));
            }
            return;
        }
        let mut next = if is_before(next, end) { end } else { next };
        while let Some(at) = self.pending.iter().position(|(start, _)| !is_before(next, *start)) {
            let (_, end) = self.pending.swap_remove(at);
            if is_before(next, end) {
                next = end;
            }
        }
        self.next = Some(next);
    }
}
