//! The packets themselves: bounded, and found by connection.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem::size_of;

use bypeer_wire::{Endpoint, Timestamp};

use super::head::Head;
use super::{Counts, Options, Packet};

/// Packets with SYN that are kept beyond the others: those of both ends, and each repeated once.
const OPENINGS: usize = 4;
/// A copy by another interface comes within this many packets of the connection.
const COPY_WITHIN: usize = 8;
/// What a connection takes beside its packets, roughly: its places in the table and in the order of age.
const CONNECTION: usize = 256;
/// What a packet takes beside its bytes: also what allocators add.
const PACKET: usize = size_of::<Kept>() + 16;

/// The two ends in an order that does not depend on the direction.
type Key = (Endpoint, Endpoint);

#[derive(Debug)]
pub(super) struct Store {
    packets_per_connection: usize,
    most_bytes: usize,
    connections: HashMap<Key, Connection>,
    /// Who was heard last when: the first is the one that has been silent the longest.
    by_age: BTreeMap<u64, Key>,
    /// Counts packets: a clock for `by_age`.
    now: u64,
    bytes: usize,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Connection {
    /// Where it stands in `by_age`.
    heard: u64,
    /// Packets with SYN that are older than `recent`.
    opening: Vec<Kept>,
    recent: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    packet: Packet,
    head: Head,
}

impl Store {
    pub(super) fn new(options: &Options) -> Store {
        Store {
            packets_per_connection: options.packets_per_connection.max(1),
            most_bytes: options.bytes,
            connections: HashMap::new(),
            by_age: BTreeMap::new(),
            now: 0,
            bytes: 0,
            counts: Counts::default(),
        }
    }

    pub(super) fn push(&mut self, head: &Head, packet: Packet) {
        self.counts.packets += 1;
        self.now += 1;
        let key = key(head.source, head.destination);
        let kept = Kept { packet, head: *head };
        let connection = self.connections.entry(key).or_insert_with(|| {
            self.bytes += CONNECTION;
            Connection::default()
        });
        self.by_age.remove(&connection.heard);
        connection.heard = self.now;
        self.by_age.insert(self.now, key);
        if connection
            .recent
            .iter()
            .rev()
            .take(COPY_WITHIN)
            .any(|other| kept.is_copy_of(other))
        {
            self.counts.copies += 1;
            return;
        }
        self.bytes += kept.cost();
        connection.recent.push_back(kept);
        while connection.recent.len() > self.packets_per_connection {
            self.bytes -= connection.let_go_of_oldest();
        }
        while self.bytes > self.most_bytes {
            self.let_go_of_oldest();
        }
    }

    pub(super) fn packets_of(&self, one: Endpoint, other: Endpoint, since: Timestamp) -> Vec<Packet> {
        let Some(connection) = self.connections.get(&key(one, other)) else {
            return Vec::new();
        };
        let kept = connection.opening.iter().chain(&connection.recent);
        let mut packets: Vec<Packet> = kept
            .map(|kept| kept.packet.clone())
            .filter(|packet| packet.time >= since)
            .collect();
        // Several processors do not hand them over in order.
        packets.sort_by_key(|packet| packet.time);
        packets
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What `bytes` must be, counted anew.
    #[cfg(test)]
    pub(super) fn recount(&self) -> usize {
        assert_eq!(self.by_age.len(), self.connections.len());
        self.connections
            .values()
            .map(|connection| CONNECTION + connection.cost())
            .sum()
    }

    fn let_go_of_oldest(&mut self) {
        let Some((_, key)) = self.by_age.pop_first() else {
            return;
        };
        let connection = self.connections.remove(&key).unwrap_or_default();
        self.bytes -= CONNECTION + connection.cost();
        self.counts.connections_let_go += 1;
    }
}

impl Connection {
    /// Moves the oldest packet to the opening, or lets it go. Returns the bytes that this sets free.
    fn let_go_of_oldest(&mut self) -> usize {
        let Some(oldest) = self.recent.pop_front() else {
            return 0;
        };
        if !oldest.head.has_syn() {
            return oldest.cost();
        }
        // Another connection between the same two ends began: the opening of the one before is of no use.
        let begins = oldest.head.opens()
            && self
                .opening
                .first()
                .is_some_and(|first| first.head.seq != oldest.head.seq);
        let mut freed = 0;
        if begins {
            freed += self.opening.drain(..).map(|kept| kept.cost()).sum::<usize>();
        }
        if self.opening.len() < OPENINGS {
            self.opening.push(oldest);
        } else {
            freed += oldest.cost();
        }
        freed
    }

    fn cost(&self) -> usize {
        self.opening.iter().chain(&self.recent).map(Kept::cost).sum()
    }
}

impl Kept {
    fn cost(&self) -> usize {
        PACKET + self.packet.bytes.len()
    }

    /// The same packet, seen by another interface: a bridge and its port, a bond and its link. A repetition is seen by the same one.
    fn is_copy_of(&self, other: &Kept) -> bool {
        self.head == other.head && self.packet.interface.index != other.packet.interface.index
    }
}

fn key(one: Endpoint, other: Endpoint) -> Key {
    (one.min(other), one.max(other))
}
