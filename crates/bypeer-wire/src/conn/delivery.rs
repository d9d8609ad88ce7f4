//! What of a connection's payload goes to the application layer, and when.

use std::time::Duration;

use super::assembler::{Budget, after};
use super::tracker::Tracker;
use super::{Fin, Marks, SegmentNote};
use crate::packet::{Flags, Segment};
use crate::{Direction, PacketRef};

/// How long bytes that are acknowledged but were not seen may still turn up: captures swap packets of different queues.
const HOLE_PATIENCE: Duration = Duration::from_millis(1);

/// Bytes of one direction that may wait for what they answer. Where only one direction was captured, all of it would.
const AHEAD: usize = 64 << 10;

/// The packet that carried bytes, and how much of the other side's stream it acknowledged, where that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carrier {
    pub(super) at: PacketRef,
    pub(super) acked: Option<u64>,
}

impl Tracker {
    /// Takes a segment's payload and FIN in.
    pub(super) fn payload(&mut self, at: PacketRef, segment: &Segment<'_>, note: &SegmentNote, budget: &mut Budget) {
        let start = note.seq + i64::from(segment.flags.has(Flags::SYN));
        let end = start + i64::from(note.len);
        let half = &mut self.halves[note.direction.index()];
        let first_fin = segment.flags.has(Flags::FIN) && half.fin.is_none() && end >= 0;
        // A FIN tells where the bytes before it end, even unseen ones; the sequence number of a mere ACK counts the FIN.
        if first_fin || note.len > 0 && !note.marks.has(Marks::KEEP_ALIVE) {
            half.sent = half.sent.max(end.max(0) as u64);
        }
        if first_fin {
            let acked = (half.acked > end).then_some(at);
            let ack = note.ack.max(0) as u64;
            half.fin = Some(Box::new(Fin {
                at,
                offset: end as u64,
                ack,
                acked,
            }));
        }
        if note.len > 0 && end > half.delivered as i64 {
            let from = start.max(half.delivered as i64);
            let bytes = after(segment.payload, (from - start) as u64, (end - from) as u64);
            let acked = self.acked_by(note);
            let carrier = Carrier { at, acked };
            self.place(note.direction, from as u64, (end - from) as u64, bytes, carrier, budget);
        }
        self.tell_fin(note.direction);
    }

    /// Whether what a segment carries was sent upon bytes that have yet to turn up: it acknowledges them. Captures of several queues have
    /// an answer before its request.
    fn is_ahead(&self, direction: Direction, acked: Option<u64>) -> bool {
        let peer = &self.halves[direction.reverse().index()];
        let waits = peer
            .disorder
            .as_ref()
            .is_some_and(|disorder| disorder.hole_since.is_some());
        waits && acked.is_some_and(|acked| acked > peer.delivered) && !peer.misses_only_its_fin()
    }

    /// How much of the other side's payload a segment acknowledges.
    pub(super) fn acked_by(&self, note: &SegmentNote) -> Option<u64> {
        let peer = &self.halves[note.direction.reverse().index()];
        if !note.flags.has(Flags::ACK) || !peer.base_known {
            return None;
        }
        let acked = note.ack.max(0) as u64;
        Some(peer.fin.as_ref().map_or(acked, |fin| acked.min(fin.offset)))
    }

    /// Gives up on bytes that were acknowledged and did not turn up.
    pub(super) fn fill_holes(&mut self, at: PacketRef, budget: &mut Budget) {
        for direction in self.by_their_holes() {
            let half = &mut self.halves[direction.index()];
            let (delivered, acked) = (half.delivered, half.acked_payload());
            let Some(since) = half.disorder.as_ref().and_then(|disorder| disorder.hole_since) else {
                continue;
            };
            if delivered >= acked {
                half.disorder().hole_since = None;
            } else if half.misses_only_its_fin() {
                continue;
            } else if at.time.since(since) > HOLE_PATIENCE {
                half.disorder().hole_since = None;
                let told_by = half.last_ack_of_it();
                self.deliver_up_to(direction, acked, told_by, budget);
            }
        }
    }

    /// First the direction that misses bytes for longer: the other's may answer them.
    fn by_their_holes(&self) -> [Direction; 2] {
        let since = |direction: Direction| {
            let disorder = self.halves[direction.index()].disorder.as_ref();
            disorder.and_then(|disorder| disorder.hole_since)
        };
        match (since(Direction::ToServer), since(Direction::ToClient)) {
            (Some(to_server), Some(to_client)) if to_client < to_server => [Direction::ToClient, Direction::ToServer],
            (None, Some(_)) => [Direction::ToClient, Direction::ToServer],
            _ => [Direction::ToServer, Direction::ToClient],
        }
    }

    /// Hands on everything that was seen or acknowledged: nothing more will come.
    pub(super) fn deliver_all(&mut self, at: PacketRef, budget: &mut Budget) {
        for direction in self.by_their_holes() {
            let half = &mut self.halves[direction.index()];
            let mut end = half.sent.max(half.acked_payload());
            if half.misses_only_its_fin() {
                half.disorder().missed += 1;
                end = half.sent;
            }
            self.deliver_up_to(direction, end, at, budget);
            if let Some(disorder) = self.halves[direction.index()].disorder.as_mut() {
                disorder.assembler.release(budget);
            }
        }
    }

    /// Tells the application layer how far a direction was acknowledged, if it wants to know.
    pub(super) fn tell_acked(&mut self, direction: Direction) {
        let half = &self.halves[direction.index()];
        let acked = half.acked_payload();
        if acked > 0 && acked >= self.app.next_ack_of_interest(direction) {
            self.app.acked(direction, acked, half.last_ack_of_it());
        }
    }

    /// Hands bytes on that are next, keeps those that are not, or that answer what has yet to turn up.
    fn place(
        &mut self,
        direction: Direction,
        offset: u64,
        len: u64,
        bytes: &[u8],
        carrier: Carrier,
        budget: &mut Budget,
    ) {
        let ahead = self.is_ahead(direction, carrier.acked);
        let half = &mut self.halves[direction.index()];
        let held = half.disorder.as_ref().map_or(0, |disorder| disorder.assembler.held());
        let waits = ahead && held.saturating_add(bytes.len()) <= AHEAD;
        if waits || offset > half.delivered {
            half.disorder().assembler.insert(offset, len, bytes, carrier, budget);
            return;
        }
        self.hand_on(direction, offset, len, bytes, carrier, budget);
        self.drain(direction, budget);
        if self.halves[direction.reverse().index()].disorder.is_some() {
            self.tell_fin(direction.reverse());
        }
        // Normally nothing of it can be acknowledged yet; where packets were captured out of order it is.
        if self.halves[direction.index()].acked > offset as i64 {
            self.tell_acked(direction);
        }
    }

    fn hand_on(
        &mut self,
        direction: Direction,
        offset: u64,
        len: u64,
        bytes: &[u8],
        carrier: Carrier,
        budget: &mut Budget,
    ) {
        let Carrier { at, acked } = carrier;
        self.halves[direction.index()].delivered = offset + len;
        self.listen(acked, budget);
        let unwanted = self.app.unwanted(direction).min(len);
        if unwanted > 0 {
            self.app.skip(direction, offset, unwanted, at);
        }
        let wanted = after(bytes, unwanted, len - unwanted);
        if !wanted.is_empty() {
            self.app.data(direction, offset + unwanted, wanted, at);
        }
        let told = unwanted + wanted.len() as u64;
        if told < len {
            self.app.skip(direction, offset + told, len - told, at);
        }
    }

    /// Says to who listens what carries the next bytes.
    fn listen(&mut self, acked: Option<u64>, budget: &mut Budget) {
        if let Some(key) = self.listening {
            let whole = self.halves.iter().any(|half| half.syn_seen);
            self.app.listen(key.get(), whole, acked, &mut budget.told);
        }
    }

    /// Hands on what was held and is next now, in this direction and then in the other.
    fn drain(&mut self, direction: Direction, budget: &mut Budget) {
        let mut turn = direction;
        // What one hands on may be what the other waits for.
        while self.drain_one(turn, budget) || turn == direction {
            turn = turn.reverse();
            if self.halves[turn.index()].disorder.is_none() {
                return;
            }
        }
    }

    /// The same in one direction. True when there was something.
    fn drain_one(&mut self, direction: Direction, budget: &mut Budget) -> bool {
        let mut drained = false;
        loop {
            let half = &self.halves[direction.index()];
            let next = half
                .disorder
                .as_ref()
                .and_then(|disorder| disorder.assembler.next(half.delivered));
            if next.is_none_or(|range| self.is_ahead(direction, range.carrier.acked)) {
                return drained;
            }
            self.hand_on_next(direction, budget);
            drained = true;
        }
    }

    /// Hands on the first of what was held, if that is next.
    fn hand_on_next(&mut self, direction: Direction, budget: &mut Budget) {
        let half = &mut self.halves[direction.index()];
        let delivered = half.delivered;
        let taken = half
            .disorder
            .as_mut()
            .and_then(|disorder| disorder.assembler.take_at(delivered, budget));
        if let Some((start, range)) = taken {
            let end = start + range.len;
            if end > delivered {
                let bytes = after(&range.bytes, delivered - start, end - delivered);
                self.hand_on(direction, delivered, end - delivered, bytes, range.carrier, budget);
            }
        }
    }

    /// Hands on everything before `end`, what is missing as skipped.
    fn deliver_up_to(&mut self, direction: Direction, end: u64, at: PacketRef, budget: &mut Budget) {
        while self.halves[direction.index()].delivered < end {
            let half = &mut self.halves[direction.index()];
            let (delivered, acked) = (half.delivered, half.acked_payload());
            let disorder = half.disorder();
            let until = disorder.assembler.first().unwrap_or(end).clamp(delivered, end);
            disorder.missed += acked.min(until).saturating_sub(delivered);
            if until > delivered {
                half.delivered = until;
                self.listen(None, budget);
                self.app.skip(direction, delivered, until - delivered, at);
            }
            self.drain(direction, budget);
            if self.halves[direction.index()].delivered == until {
                // What it answers has not turned up, and this is waited for.
                self.hand_on_next(direction, budget);
            }
        }
        self.drain(direction, budget);
        self.tell_acked(direction);
        self.tell_fin(direction);
        self.tell_fin(direction.reverse());
    }

    fn tell_fin(&mut self, direction: Direction) {
        if let Some(at) = self.halves[direction.index()].take_fin() {
            self.app.fin(direction, at);
        }
    }
}
