use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::assembler::Budget;
use super::expiry::{Handle, Settling, Silence};
use super::numbering::{Lineage, Remembered};
use super::tracker::{Taken, Tracker};
use super::vantage::{Vantage, Vantages};
use super::{Connection, Ending};
use crate::app::Notice;
use crate::packet::{IcmpError, Segment};
use crate::{Endpoint, Issue, Issues, PacketRef, Timestamp};

/// All TCP connections that live at one point of a capture.
///
/// Segments are pushed in capture order; a connection's record comes out once it is over. Memory grows with the
/// connections that live, never with the capture: everything else has a bound in [`Limits`].
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    hasher: DefaultHashBuilder,
    /// Slots of the live connections, by their endpoints.
    by_endpoints: HashTable<u32>,
    slots: Vec<Option<Box<Tracker>>>,
    free: Vec<u32>,
    settling: Settling,
    /// Made when the table is full for the first time.
    silence: Option<Silence>,
    remembered: Remembered,
    budget: Budget,
    next_stream: u32,
    next_serial: u32,
    newest: Option<Timestamp>,
    vantages: Vantages,
    issues: Issues,
    /// Of hashes of words, where notices are asked for.
    listening: Option<NonZeroU64>,
    /// Not yet fetched.
    notices: Vec<Notice>,
}

/// What a [`Table`] may hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; beyond it the one silent longest is put out.
    pub connections: usize,
    /// Bytes of payload that came out of order and wait, in one direction. Beyond it their place is kept, not they.
    pub reassembly_bytes_per_direction: usize,
    /// The same for all directions together.
    pub reassembly_bytes_total: usize,
    /// After both FINs or a reset: how long, in capture time, nothing more must come before the record is made.
    pub settle: Duration,
    /// Connections whose record was made and whose endpoints are still remembered, so that streams are numbered as
    /// Wireshark numbers them. 60 bytes each.
    pub remembered: usize,
    /// Tell of every message ([`Table::notices`]); bodies are then looked into, a little.
    pub notices: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 250_000,
            reassembly_bytes_per_direction: 1 << 20,
            reassembly_bytes_total: 32 << 20,
            settle: Duration::from_secs(10),
            remembered: 100_000,
            notices: false,
        }
    }
}

/// `wait` after `time`, and later by a nanosecond at least.
pub(super) fn later(time: Timestamp, wait: Duration) -> Timestamp {
    let wait = i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX).max(1);
    Timestamp(time.0.saturating_add(wait))
}

/// A step back in time beyond this is no reordering between queues.
const REORDERING: Duration = Duration::from_millis(100);

impl Table {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        let budget = Budget {
            per_direction: limits.reassembly_bytes_per_direction,
            total: limits.reassembly_bytes_total,
            used: 0,
        };
        let hasher = DefaultHashBuilder::default();
        let listening = limits.notices.then(|| hasher.hash_one(limits.connections) | 1);
        Self {
            remembered: Remembered::new(limits.remembered),
            limits,
            hasher,
            listening: listening.and_then(NonZeroU64::new),
            by_endpoints: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            settling: Settling::default(),
            silence: None,
            budget,
            next_stream: 0,
            next_serial: 0,
            newest: None,
            vantages: Vantages::default(),
            issues: Issues::default(),
            notices: Vec::new(),
        }
    }

    /// Takes the next segment in, of a capture with one interface. Records of connections that are over go to `ended`.
    pub fn push(&mut self, at: PacketRef, segment: &Segment<'_>, ended: &mut dyn FnMut(Connection)) {
        self.push_from(at, 0, segment, ended);
    }

    /// Takes the next segment in, which `interface` saw.
    ///
    /// Interfaces may be vantage points on one path, so that each shows the same packets. A connection of which that turns
    /// out is judged by the interface that saw its first packet; what the others show of it is left out and counted in
    /// [`Table::vantages`].
    pub fn push_from(
        &mut self,
        at: PacketRef,
        interface: u32,
        segment: &Segment<'_>,
        ended: &mut dyn FnMut(Connection),
    ) {
        self.advance(at.time, ended);
        let side = usize::from(segment.source > segment.destination);
        let hash = self.hash(segment.source, segment.destination);
        let mut slot = self.find(hash, segment.source, segment.destination);
        let mut reused_tuple = false;
        if let Some(old) = slot
            && let Some(tracker) = self.tracker(old)
            && tracker.lineage.is_broken_by(side, segment.flags, segment.seq)
        {
            self.remove(old, Ending::TupleReused, ended);
            slot = None;
            reused_tuple = true;
        }
        let slot = match slot {
            Some(slot) => slot,
            None if !reused_tuple && self.is_left_out(hash, interface, side, segment) => return,
            None => self.open(at, interface, segment, hash, side, reused_tuple, ended),
        };
        let Some(tracker) = self.slots.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        tracker.lineage.note(side, segment.flags, segment.seq, segment.ack);
        if !tracker.lineage.vantage.is_plain(interface) {
            let known = tracker.lineage.vantage.is_copied();
            if tracker.is_seen_elsewhere(at, interface, segment) {
                self.vantages.left_out += 1;
                if !known {
                    self.vantages.count(tracker.lineage.vantage);
                }
                return;
            }
        }
        let taken = tracker.push(at, segment, &mut self.budget);
        if self.listening.is_some() {
            tracker.tell(&mut self.notices);
        }
        if taken == Taken::Copy {
            self.issues.note(Issue::Duplicate);
        } else if !tracker.queued
            && let Some(due) = tracker.due(self.limits.settle)
        {
            tracker.queued = true;
            self.settling.push(
                due.min(later(at.time, self.limits.settle)),
                Handle {
                    slot,
                    serial: tracker.serial,
                },
            );
        }
    }

    /// Ties an ICMP error to its connection. One about a connection that is not in the table only counts for the numbering
    /// of streams: Wireshark takes the quoted header for a segment.
    pub fn push_icmp(&mut self, at: PacketRef, error: &IcmpError) {
        self.push_icmp_from(at, 0, error);
    }

    /// The same for an error that `interface` saw, of several.
    pub fn push_icmp_from(&mut self, at: PacketRef, interface: u32, error: &IcmpError) {
        self.note_time(at.time);
        let hash = self.hash(error.source, error.destination);
        if let Some(slot) = self.find(hash, error.source, error.destination) {
            let Some(tracker) = self.tracker_mut(slot) else { return };
            if tracker.lineage.vantage.leaves_out(interface) {
                self.vantages.left_out += 1;
            } else {
                tracker.push_icmp(at, error);
            }
        } else {
            self.number_quoted(hash);
        }
    }

    /// Lets a segment pass that an interface saw which is not asked for: it only counts for the numbering of streams, which
    /// goes over all packets of a capture. A connection that it puts an end to goes to `ended`.
    pub fn pass(&mut self, segment: &Segment<'_>, ended: &mut dyn FnMut(Connection)) {
        let side = usize::from(segment.source > segment.destination);
        let hash = self.hash(segment.source, segment.destination);
        if let Some(slot) = self.find(hash, segment.source, segment.destination)
            && let Some(tracker) = self.tracker_mut(slot)
        {
            if !tracker.lineage.is_broken_by(side, segment.flags, segment.seq) {
                tracker.lineage.note(side, segment.flags, segment.seq, segment.ack);
                return;
            }
            self.remove(slot, Ending::TupleReused, ended);
        }
        let mut begun = false;
        if let Some(lineage) = self.remembered.get_mut(hash) {
            if !lineage.is_broken_by(side, segment.flags, segment.seq) {
                lineage.note(side, segment.flags, segment.seq, segment.ack);
                return;
            }
            begun = lineage.begun;
        }
        let mut lineage = Lineage::new(self.number());
        lineage.begun = begun;
        lineage.note(side, segment.flags, segment.seq, segment.ack);
        self.remembered.put(hash, lineage);
    }

    /// The same for an ICMP error.
    pub fn pass_icmp(&mut self, error: &IcmpError) {
        let hash = self.hash(error.source, error.destination);
        if self.find(hash, error.source, error.destination).is_none() {
            self.number_quoted(hash);
        }
    }

    /// Says how late it is in the capture: connections that settled go to `ended`. [`Table::push`] does it itself.
    pub fn advance(&mut self, now: Timestamp, ended: &mut dyn FnMut(Connection)) {
        self.note_time(now);
        let settle = self.limits.settle;
        while let Some(handle) = self.settling.pop(now) {
            let Some(tracker) = self.held(handle) else { continue };
            tracker.queued = false;
            match tracker.due(settle) {
                Some(due) if due <= now => self.remove(handle.slot, Ending::Ended, ended),
                Some(due) => {
                    tracker.queued = true;
                    // It may be due sooner by then: a last FIN gets acknowledged.
                    self.settling.push(due.min(later(now, settle)), handle);
                }
                None => {}
            }
        }
    }

    /// The capture is over: all connections left go to `ended`, in the order of their streams.
    pub fn finish(&mut self, ended: &mut dyn FnMut(Connection)) {
        let mut slots: Vec<(u32, u32)> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(slot, tracker)| Some((tracker.as_ref()?.lineage.stream, slot as u32)))
            .collect();
        slots.sort_unstable();
        for (_, slot) in slots {
            self.remove(slot, Ending::CaptureEnded, ended);
        }
    }

    /// What was said since this was asked last, where [`Limits::notices`] asks for it. To be fetched after each push, and after
    /// [`Table::advance`] and [`Table::finish`]; what is not fetched waits, and takes memory.
    pub fn notices(&mut self) -> impl Iterator<Item = Notice> + '_ {
        self.notices.drain(..)
    }

    /// How many connections are in the table now.
    pub fn live(&self) -> usize {
        self.by_endpoints.len()
    }

    /// Connections that several interfaces saw.
    pub fn vantages(&self) -> &Vantages {
        &self.vantages
    }

    /// What could not be used, and how often.
    pub fn issues(&self) -> &Issues {
        &self.issues
    }

    /// Bytes of payload that wait for those before them; at most [`Limits::reassembly_bytes_total`].
    pub fn reassembly_bytes(&self) -> usize {
        self.budget.used
    }

    fn note_time(&mut self, now: Timestamp) {
        let newest = self.newest.get_or_insert(now);
        if newest.since(now) > REORDERING {
            self.issues.note(Issue::TimeWentBack);
        }
        *newest = (*newest).max(now);
    }

    fn hash(&self, one: Endpoint, other: Endpoint) -> u64 {
        hash_of(&self.hasher, one, other)
    }

    fn find(&self, hash: u64, one: Endpoint, other: Endpoint) -> Option<u32> {
        self.by_endpoints
            .find(hash, |slot| {
                self.tracker(*slot).is_some_and(|tracker| {
                    (tracker.client == one && tracker.server == other)
                        || (tracker.client == other && tracker.server == one)
                })
            })
            .copied()
    }

    fn tracker(&self, slot: u32) -> Option<&Tracker> {
        self.slots.get(slot as usize)?.as_deref()
    }

    fn tracker_mut(&mut self, slot: u32) -> Option<&mut Tracker> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// The connection of a handle, if it still lives.
    fn held(&mut self, handle: Handle) -> Option<&mut Tracker> {
        self.tracker_mut(handle.slot)
            .filter(|tracker| tracker.serial == handle.serial)
    }

    fn number(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream = stream.wrapping_add(1);
        stream
    }

    /// A quoted segment of endpoints never seen gets a stream.
    fn number_quoted(&mut self, hash: u64) {
        if !self.remembered.knows(hash) {
            let lineage = Lineage::new(self.number());
            self.remembered.put(hash, lineage);
        }
    }

    /// Whether it belongs to a connection whose record was made, and which is judged by another interface.
    fn is_left_out(&mut self, hash: u64, interface: u32, side: usize, segment: &Segment<'_>) -> bool {
        let left_out = self.remembered.get_mut(hash).is_some_and(|lineage| {
            lineage.vantage.leaves_out(interface) && !lineage.is_broken_by(side, segment.flags, segment.seq)
        });
        self.vantages.left_out += u64::from(left_out);
        left_out
    }

    /// Makes room for a new connection and puts it in.
    #[expect(clippy::too_many_arguments, reason = "all that the caller found out already")]
    fn open(
        &mut self,
        at: PacketRef,
        interface: u32,
        segment: &Segment<'_>,
        hash: u64,
        side: usize,
        reused_tuple: bool,
        ended: &mut dyn FnMut(Connection),
    ) -> u32 {
        while self.live() >= self.limits.connections.max(1) {
            self.evict(ended);
        }
        let before = self.remembered.take(hash);
        let mut lineage = match before {
            Some(lineage) if !lineage.is_broken_by(side, segment.flags, segment.seq) => lineage,
            _ => Lineage::new(self.number()),
        };
        lineage.begun = true;
        if !lineage.vantage.is_copied() {
            lineage.vantage = Vantage::of(interface);
        }
        let serial = self.next_serial;
        self.next_serial = serial.wrapping_add(1);
        let mut tracker = Box::new(Tracker::new(at, segment, lineage, serial));
        tracker.listening = self.listening;
        tracker.reused_tuple = reused_tuple || before.is_some_and(|lineage| lineage.begun);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(tracker);
        }
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_endpoints.insert_unique(hash, slot, |slot| {
            slots
                .get(*slot as usize)
                .and_then(Option::as_ref)
                .map_or(0, |tracker| hash_of(hasher, tracker.client, tracker.server))
        });
        if let Some(silence) = self.silence.as_mut() {
            silence.push(at.time, Handle { slot, serial });
        }
        slot
    }

    /// Puts out the connection that was silent longest.
    fn evict(&mut self, ended: &mut dyn FnMut(Connection)) {
        let mut silence = self.silence.take().unwrap_or_default();
        let mut evicted = None;
        while evicted.is_none() {
            let Some((spoke, handle)) = silence.pop() else {
                silence.rebuild(self.handles());
                continue;
            };
            let Some(tracker) = self.held(handle) else { continue };
            if tracker.spoke() > spoke {
                silence.push(tracker.spoke(), handle);
            } else {
                evicted = Some(handle.slot);
            }
        }
        if silence.len() > 2 * self.live() + 1024 {
            silence.rebuild(self.handles());
        }
        self.silence = Some(silence);
        if let Some(slot) = evicted {
            self.issues.note(Issue::Evicted);
            self.remove(slot, Ending::Evicted, ended);
        }
    }

    fn handles(&self) -> impl Iterator<Item = (Timestamp, Handle)> + '_ {
        self.slots.iter().enumerate().filter_map(|(slot, tracker)| {
            let tracker = tracker.as_ref()?;
            Some((
                tracker.spoke(),
                Handle {
                    slot: slot as u32,
                    serial: tracker.serial,
                },
            ))
        })
    }

    fn remove(&mut self, slot: u32, ending: Ending, ended: &mut dyn FnMut(Connection)) {
        let Some(mut tracker) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        let hash = self.hash(tracker.client, tracker.server);
        if let Ok(entry) = self.by_endpoints.find_entry(hash, |candidate| *candidate == slot) {
            entry.remove();
        }
        self.free.push(slot);
        if ending != Ending::CaptureEnded {
            self.remembered.put(hash, tracker.lineage);
        }
        let watched_until = self.newest.unwrap_or_default();
        tracker.wind_up(ending != Ending::CaptureEnded, &mut self.budget, &mut self.notices);
        ended(tracker.finish(ending, watched_until));
    }
}

/// Of the endpoints in either order.
fn hash_of(hasher: &DefaultHashBuilder, one: Endpoint, other: Endpoint) -> u64 {
    let mut hasher = hasher.build_hasher();
    if let (IpAddr::V4(first), IpAddr::V4(second)) = (one.addr, other.addr) {
        let first = u64::from(u32::from(first)) << 16 | u64::from(one.port);
        let second = u64::from(u32::from(second)) << 16 | u64::from(other.port);
        hasher.write_u64(first.min(second));
        hasher.write_u64(first.max(second));
        return hasher.finish();
    }
    let (low, high) = if one <= other { (one, other) } else { (other, one) };
    for addr in [low.addr, high.addr] {
        match addr {
            IpAddr::V4(addr) => hasher.write_u32(addr.into()),
            IpAddr::V6(addr) => hasher.write_u128(addr.into()),
        }
    }
    hasher.write_u32(u32::from(low.port) << 16 | u32::from(high.port));
    hasher.finish()
}
