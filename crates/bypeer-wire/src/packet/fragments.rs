use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;

use super::ip::Addresses;
use super::layer::Layer;
use crate::{Issue, Issues, Timestamp};

/// Packets in parts that are held at once.
const MOST_PACKETS: usize = 1024;
/// Bytes of fragments that are held at once.
const MOST_BYTES: usize = 16 << 20;
/// RFC 1122 §3.3.2 asks for 60 to 120 s; Linux takes 30.
const HELD_FOR: Duration = Duration::from_secs(30);
/// Copies of a finished packet's fragments (`-i any`, a mirror port) within this time are duplicates.
const COPIES_WITHIN: Duration = Duration::from_secs(1);
/// The largest IP payload.
const LARGEST: usize = 65_535;

/// One fragment as its header describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) addresses: Addresses,
    /// IPv4's or IPv6's identification.
    pub(super) id: u32,
    /// Of the payload; only that of the first fragment counts.
    pub(super) protocol: u8,
    /// Where the payload belongs, in bytes.
    pub(super) offset: usize,
    /// Whether it is not the last.
    pub(super) more: bool,
    pub(super) payload: Layer<'a>,
}

/// What became of a fragment.
#[derive(Debug)]
pub(super) enum Kept {
    /// Others are missing.
    Held,
    /// It was the last one missing.
    Whole {
        /// The packet's length on the wire.
        wire_len: usize,
        /// From the first fragment's header.
        addresses: Addresses,
        protocol: u8,
    },
}

/// Holds fragments until their packets are whole; bounded in packets, bytes and time.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    packets: HashMap<Key, Packet>,
    /// Keys by age, with the serial of the packet they meant.
    ages: VecDeque<(Timestamp, Key, u64)>,
    serial: u64,
    /// What all parts cost.
    bytes: usize,
    issues: Issues,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    /// IPv4's protocol; 0 in IPv6, where it does not belong to the key (RFC 8200 §4.5).
    protocol: u8,
}

#[derive(Debug, Default)]
struct Packet {
    serial: u64,
    /// Sorted by offset, without overlap.
    parts: Vec<Part>,
    /// Length of all parts on the wire.
    held: usize,
    /// Length of the whole, from the last fragment.
    total: Option<usize>,
    /// From the fragment with offset 0.
    first: Option<(Addresses, u8)>,
    /// Put together, or given up, at this time; nothing is held any more.
    done: Option<Timestamp>,
}

#[derive(Debug)]
struct Part {
    offset: usize,
    /// Length on the wire; `data` is shorter under a snap length.
    length: usize,
    data: Vec<u8>,
}

impl Fragments {
    /// What was found out later than at the fragment itself.
    pub(super) fn issues(&self) -> &Issues {
        &self.issues
    }

    /// Counts what is still held.
    pub(super) fn end(&mut self) {
        self.let_go(usize::MAX, Issue::FragmentIncomplete, |_| true);
    }

    /// Keeps one fragment, or writes the whole packet into `whole`.
    pub(super) fn keep(&mut self, fragment: &Fragment<'_>, now: Timestamp, whole: &mut Vec<u8>) -> Result<Kept, Issue> {
        let length = fragment.payload.wire_len;
        let end = fragment.offset + length;
        // All but the last carry a multiple of 8 bytes (RFC 791 §3.2).
        if end > LARGEST || length == 0 || (fragment.more && !length.is_multiple_of(8)) {
            return Err(Issue::Malformed);
        }
        self.let_go(usize::MAX, Issue::FragmentIncomplete, |started| {
            now.since(started) > HELD_FOR
        });
        let key = Key::of(fragment);
        let serial = self.begin(key, now);
        let Some(packet) = self.packets.get_mut(&key) else {
            return Err(Issue::FragmentsDropped);
        };
        if packet.done.is_some() {
            return Err(Issue::Duplicate);
        }
        match packet.add(fragment, end) {
            Added::New(bytes) => self.bytes += bytes,
            Added::Copy => return Err(Issue::Duplicate),
            Added::Contradiction => {
                // Overlaps are an attack or damage: nothing of the packet is used (RFC 5722, and Linux for IPv4 too).
                self.bytes -= packet.finish(now);
                return Err(Issue::Malformed);
            }
        }
        let Some((wire_len, addresses, protocol)) = packet.whole() else {
            self.make_room(serial);
            return Ok(Kept::Held);
        };
        packet.write(whole);
        self.bytes -= packet.finish(now);
        Ok(Kept::Whole {
            wire_len,
            addresses,
            protocol,
        })
    }

    /// Makes sure that there is a packet for `key`; returns its serial.
    fn begin(&mut self, key: Key, now: Timestamp) -> u64 {
        let reusable = |packet: &Packet| packet.done.is_none_or(|done| now.since(done) <= COPIES_WITHIN);
        if let Some(packet) = self.packets.get(&key).filter(|packet| reusable(packet)) {
            return packet.serial;
        }
        self.serial += 1;
        self.packets.insert(
            key,
            Packet {
                serial: self.serial,
                ..Packet::default()
            },
        );
        self.ages.push_back((now, key, self.serial));
        self.serial
    }

    /// Keeps to the bounds, without letting go of the packet with this serial unless it is alone.
    fn make_room(&mut self, serial: u64) {
        let mut tries = self.ages.len();
        while (self.packets.len() > MOST_PACKETS || self.bytes > MOST_BYTES) && tries > 0 {
            tries -= 1;
            let newest = self.ages.front().is_some_and(|(_, _, oldest)| *oldest == serial);
            match newest {
                true => self.ages.rotate_left(1),
                false => self.let_go(1, Issue::FragmentsDropped, |_| true),
            }
        }
    }

    /// Lets go of at most `count` packets, the oldest first, while `old` says so of the time when they began.
    fn let_go(&mut self, count: usize, issue: Issue, old: impl Fn(Timestamp) -> bool) {
        for _ in 0..count {
            let Some((_, key, serial)) = self.ages.pop_front_if(|(started, _, _)| old(*started)) else {
                return;
            };
            if self.packets.get(&key).is_none_or(|packet| packet.serial != serial) {
                continue;
            }
            let packet = self.packets.remove(&key).unwrap_or_default();
            self.bytes -= packet.bytes();
            packet.parts.iter().for_each(|_| self.issues.note(issue));
        }
    }
}

impl Key {
    fn of(fragment: &Fragment<'_>) -> Key {
        let Addresses {
            source, destination, ..
        } = fragment.addresses;
        let protocol = if source.is_ipv4() { fragment.protocol } else { 0 };
        Key {
            source,
            destination,
            id: fragment.id,
            protocol,
        }
    }
}

enum Added {
    /// This many bytes are held more.
    New(usize),
    /// The same part came before.
    Copy,
    /// It overlaps, or does not fit the length.
    Contradiction,
}

impl Packet {
    fn add(&mut self, fragment: &Fragment<'_>, end: usize) -> Added {
        let length = fragment.payload.wire_len;
        let index = self.parts.partition_point(|part| part.offset < fragment.offset);
        let following = self.parts.get(index);
        if following.is_some_and(|part| part.offset == fragment.offset && part.length == length) {
            return Added::Copy;
        }
        let before = index.checked_sub(1).and_then(|before| self.parts.get(before));
        let overlaps = before.is_some_and(|part| part.offset + part.length > fragment.offset)
            || following.is_some_and(|part| part.offset < end);
        let beyond = self.total.is_some_and(|total| end > total || !fragment.more)
            || (!fragment.more && self.parts.last().is_some_and(|last| last.offset + last.length > end));
        if overlaps || beyond {
            return Added::Contradiction;
        }
        if !fragment.more {
            self.total = Some(end);
        }
        if fragment.offset == 0 {
            self.first = Some((fragment.addresses, fragment.protocol));
        }
        let part = Part {
            offset: fragment.offset,
            length,
            data: fragment.payload.data.to_vec(),
        };
        let cost = part.cost();
        self.held += length;
        self.parts.insert(index, part);
        Added::New(cost)
    }

    /// Length, addresses and protocol, when nothing is missing.
    fn whole(&self) -> Option<(usize, Addresses, u8)> {
        let (total, (addresses, protocol)) = (self.total?, self.first?);
        (self.held == total).then_some((total, addresses, protocol))
    }

    /// Writes the parts one after the other, up to where the snap length cut one.
    fn write(&self, whole: &mut Vec<u8>) {
        whole.clear();
        for part in &self.parts {
            whole.extend_from_slice(&part.data);
            if part.data.len() < part.length {
                return;
            }
        }
    }

    /// Lets go of the parts; returns how many bytes they were.
    fn finish(&mut self, now: Timestamp) -> usize {
        let bytes = self.bytes();
        self.parts = Vec::new();
        self.done = Some(now);
        bytes
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(Part::cost).sum()
    }
}

impl Part {
    /// Bytes of memory.
    fn cost(&self) -> usize {
        self.data.len() + size_of::<Part>()
    }
}
