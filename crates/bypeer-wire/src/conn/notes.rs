use std::collections::VecDeque;
use std::time::Duration;

use super::{Marks, SegmentNote, Timeline};
use crate::packet::Flags;
use crate::{Direction, PacketRef, Timestamp};

/// A timeline in the making: one allocation, small while the connection is, and packed.
///
/// A hundred thousand connections may live at once, nearly all of them in good health, and then their last few segments
/// are enough, and those of the last seconds: to them the next one may answer. Once there is trouble all is kept that a
/// [`Timeline`] has room for, and some of what came before it.
#[derive(Debug)]
pub(super) struct Notes {
    kept: Kept,
    /// The connection's first packet.
    opened: PacketRef,
    /// Index of the tail's oldest note, counted from the tail's beginning.
    oldest: u8,
    /// Notes since trouble began, the first troubled one included; 0 in good health.
    troubled: u8,
}

/// In the order of their coming, but the tail is a ring once it is full.
#[derive(Debug)]
enum Kept {
    Packed(Vec<Packed>),
    /// Some do not fit: 2 GB in one direction, days, or segments from elsewhere.
    Whole(Box<Whole>),
}

#[derive(Debug)]
struct Whole(Vec<SegmentNote>);

/// Where the note of a packet stands, if it is of those that are never let go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Place {
    /// There is no such packet.
    #[default]
    Nowhere,
    Head(u8),
    /// Among those that may be let go: somebody else has to know the packet.
    Later,
}

impl Notes {
    /// The tail of a connection in good health.
    const HEALTHY: usize = 8;
    /// Notes of the tail from before trouble began that are kept at least, as long as there is room.
    const BEFORE_TROUBLE: usize = 5;
    /// What is younger is not let go while there is room: round trips and the first repetitions are shorter.
    const RECENT: Duration = Duration::from_secs(2);

    /// For a connection that begins with this packet.
    pub(super) fn new(opened: PacketRef) -> Self {
        Self {
            kept: Kept::Packed(Vec::new()),
            opened,
            oldest: 0,
            troubled: 0,
        }
    }

    /// The connection's first packet.
    pub(super) fn opened(&self) -> PacketRef {
        self.opened
    }

    pub(super) fn push(&mut self, note: SegmentNote) {
        if self.troubled > 0 || is_trouble(&note) {
            self.troubled = self.troubled.saturating_add(1);
        }
        let len = self.len();
        if len < Timeline::HEAD + Timeline::TAIL && (len < self.wanted() || self.is_recent(&note)) {
            if self.oldest > 0 {
                self.unroll();
            }
            self.append(note);
            return;
        }
        let oldest = usize::from(self.oldest);
        self.replace(Timeline::HEAD + oldest, note);
        self.oldest = ((oldest + 1) % (len - Timeline::HEAD)) as u8;
    }

    /// How many notes are kept, however old.
    fn wanted(&self) -> usize {
        let tail = Self::BEFORE_TROUBLE + usize::from(self.troubled);
        Timeline::HEAD + tail.clamp(Self::HEALTHY, Timeline::TAIL)
    }

    /// The oldest note of the tail is not much older than this one.
    fn is_recent(&self, newest: &SegmentNote) -> bool {
        self.get(Timeline::HEAD + usize::from(self.oldest))
            .is_some_and(|oldest| newest.at.time.since(oldest.at.time) <= Self::RECENT)
    }

    /// Where the next note will stand.
    pub(super) fn next_place(&self) -> Place {
        match self.len() {
            len if len < Timeline::HEAD => Place::Head(len as u8),
            _ => Place::Later,
        }
    }

    /// The packet of a note that is never let go.
    pub(super) fn at(&self, head: u8) -> Option<PacketRef> {
        self.get(usize::from(head)).map(|note| note.at)
    }

    /// Packets come twice: the first ones must be kept until the second ones come.
    pub(super) fn keep_all(&mut self) {
        self.troubled = Timeline::TAIL as u8;
    }

    /// Newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = SegmentNote> + '_ {
        let len = self.len();
        let tail = len.saturating_sub(Timeline::HEAD);
        (0..len).rev().filter_map(move |place| {
            let index = match place.checked_sub(Timeline::HEAD) {
                Some(place) => Timeline::HEAD + (place + usize::from(self.oldest)) % tail,
                None => place,
            };
            self.get(index)
        })
    }

    /// Changes every note.
    pub(super) fn change(&mut self, change: impl Fn(&mut SegmentNote)) {
        for index in 0..self.len() {
            if let Some(mut note) = self.get(index) {
                change(&mut note);
                self.replace(index, note);
            }
        }
    }

    /// `packets` is how many notes there were.
    pub(super) fn into_timeline(mut self, packets: u64) -> Timeline {
        self.unroll();
        let len = self.len();
        let mut all = (0..len).filter_map(|index| self.get(index));
        // Thousands of records may wait for their verdict: no room to spare.
        let mut head = Vec::with_capacity(len.min(Timeline::HEAD));
        head.extend(all.by_ref().take(Timeline::HEAD));
        let mut tail = VecDeque::with_capacity(len - head.len());
        tail.extend(all);
        Timeline {
            head,
            tail,
            let_go: packets.saturating_sub(len as u64),
        }
    }

    fn len(&self) -> usize {
        match &self.kept {
            Kept::Packed(kept) => kept.len(),
            Kept::Whole(kept) => kept.0.len(),
        }
    }

    fn get(&self, index: usize) -> Option<SegmentNote> {
        match &self.kept {
            Kept::Packed(kept) => kept.get(index).map(|packed| packed.unpack(self.opened)),
            Kept::Whole(kept) => kept.0.get(index).copied(),
        }
    }

    /// Moves the tail's oldest note to its beginning.
    fn unroll(&mut self) {
        let by = usize::from(std::mem::take(&mut self.oldest));
        match &mut self.kept {
            Kept::Packed(kept) => unroll(kept, by),
            Kept::Whole(kept) => unroll(&mut kept.0, by),
        }
    }

    fn append(&mut self, note: SegmentNote) {
        if let Kept::Packed(kept) = &mut self.kept
            && let Some(packed) = Packed::of(&note, self.opened)
        {
            grow(kept);
            kept.push(packed);
            return;
        }
        let kept = self.whole();
        grow(kept);
        kept.push(note);
    }

    fn replace(&mut self, index: usize, note: SegmentNote) {
        if let Kept::Packed(kept) = &mut self.kept
            && let Some(packed) = Packed::of(&note, self.opened)
        {
            if let Some(place) = kept.get_mut(index) {
                *place = packed;
            }
        } else if let Some(place) = self.whole().get_mut(index) {
            *place = note;
        }
    }

    /// The notes, unpacked for good.
    fn whole(&mut self) -> &mut Vec<SegmentNote> {
        if let Kept::Packed(kept) = &self.kept {
            let whole = kept.iter().map(|packed| packed.unpack(self.opened)).collect();
            self.kept = Kept::Whole(Box::new(Whole(whole)));
        }
        match &mut self.kept {
            Kept::Whole(kept) => &mut kept.0,
            Kept::Packed(_) => unreachable!("unpacked above"),
        }
    }
}

/// What connections in good health do not have. Their FINs are told apart from other trouble only by what follows.
fn is_trouble(note: &SegmentNote) -> bool {
    const ENDS: u8 = Flags::FIN.0 | Flags::RST.0;
    const GOOD: u8 = Marks::ACKS_NEW.0 | Marks::DUPLICATE_ACK.0;
    note.flags.0 & ENDS != 0 || note.marks.0 & !GOOD != 0
}

/// A connection in good health grows once.
fn grow<T>(kept: &mut Vec<T>) {
    const HEALTHY: usize = Timeline::HEAD + Notes::HEALTHY;
    const FULL: usize = Timeline::HEAD + Timeline::TAIL;
    let len = kept.len();
    if len == kept.capacity() {
        let room = match len {
            // A handshake and a small exchange are seven.
            0 => 7,
            _ if len < HEALTHY => HEALTHY,
            _ => (len + 8).min(FULL),
        };
        kept.reserve_exact(room.saturating_sub(len).max(1));
    }
}

fn unroll<T>(kept: &mut [T], by: usize) {
    if let Some(tail) = kept.get_mut(Timeline::HEAD..)
        && by <= tail.len()
    {
        tail.rotate_left(by);
    }
}

/// A [`SegmentNote`] in 28 bytes instead of 48, without loss; most fit.
#[derive(Clone, Copy, Debug)]
struct Packed {
    seq: i32,
    ack: i32,
    /// Packets after the connection's first.
    number: u32,
    /// Nanoseconds after the connection's first packet, 48 bits in two's complement: 39 hours.
    time_low: u32,
    time_high: i16,
    len: u16,
    /// Of the window, the 16 bits from its highest on.
    window: u16,
    ip_id: u16,
    flags: Flags,
    ttl: u8,
    marks: Marks,
    /// By how much the window is shifted to the left; the highest bit is set for `ToClient`.
    shift_and_direction: u8,
}

/// `ToClient`
const BACK: u8 = 0x80;

impl Packed {
    #[inline]
    fn of(note: &SegmentNote, opened: PacketRef) -> Option<Packed> {
        let time = note.at.time.0.checked_sub(opened.time.0)?;
        let shift = 16_u32.saturating_sub(note.window.leading_zeros());
        let window = (note.window >> shift) as u16;
        if u32::from(window) << shift != note.window {
            return None;
        }
        Some(Packed {
            seq: note.seq.try_into().ok()?,
            ack: note.ack.try_into().ok()?,
            number: note.at.number.checked_sub(opened.number)?.try_into().ok()?,
            time_low: time as u32,
            time_high: (time >> 32).try_into().ok()?,
            len: note.len.try_into().ok()?,
            window,
            ip_id: note.ip_id,
            flags: note.flags,
            ttl: note.ttl,
            marks: note.marks,
            shift_and_direction: shift as u8
                | match note.direction {
                    Direction::ToServer => 0,
                    Direction::ToClient => BACK,
                },
        })
    }

    fn unpack(&self, opened: PacketRef) -> SegmentNote {
        let time = i64::from(self.time_high) << 32 | i64::from(self.time_low);
        SegmentNote {
            at: PacketRef {
                number: opened.number.wrapping_add(u64::from(self.number)),
                time: Timestamp(opened.time.0.wrapping_add(time)),
            },
            seq: i64::from(self.seq),
            ack: i64::from(self.ack),
            len: u32::from(self.len),
            window: u32::from(self.window) << (self.shift_and_direction & !BACK),
            ip_id: self.ip_id,
            flags: self.flags,
            direction: if self.shift_and_direction & BACK == 0 {
                Direction::ToServer
            } else {
                Direction::ToClient
            },
            ttl: self.ttl,
            marks: self.marks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 250 000 connections may live at once.
    #[test]
    fn notes_are_small() {
        assert!(size_of::<Packed>() == 28);
        assert!(size_of::<Notes>() <= 48);
    }

    /// Fields of every size, most of which fit.
    fn note(random: &mut Random, at: PacketRef, odd: bool) -> SegmentNote {
        let mut any = |below: u64| random.below(below);
        let wild = if odd { 40 } else { 31 };
        SegmentNote {
            at,
            seq: any(1 << wild) as i64 - any(1 << 20) as i64,
            ack: any(1 << wild) as i64 - 1,
            len: any(if odd { 1 << 20 } else { 65_536 }) as u32,
            window: (any(65_536) as u32) << any(15),
            ip_id: any(65_536) as u16,
            flags: Flags(any(256) as u8 & !(Flags::FIN.0 | Flags::RST.0)),
            direction: if any(2) == 0 {
                Direction::ToServer
            } else {
                Direction::ToClient
            },
            ttl: any(256) as u8,
            marks: if any(2) == 0 { Marks::ACKS_NEW } else { Marks::default() },
        }
    }

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ mixed >> 31) % bound
        }
    }

    /// Against a plain list: what is kept are the beginning and enough of the end, unchanged.
    #[test]
    fn what_is_kept_is_the_beginning_and_the_end() {
        for seed in 0..600 {
            let mut random = Random(seed);
            let count = random.below(150) as usize;
            let [trouble_at, odd_at, turned_at] = [160, 400, 150].map(|below| random.below(below) as usize);
            let pause = [1 << 20, 1 << 29, 1 << 36, 1 << 50][random.below(4) as usize];
            let opened = PacketRef {
                number: 1000,
                time: Timestamp(1_700_000_000_000_000_000),
            };
            let (mut at, mut notes) = (opened, Notes::new(opened));
            let (mut head, mut tail) = (Vec::new(), Vec::new());
            for index in 0..count {
                let mut note = note(&mut random, at, index == odd_at);
                at.number += random.below(1000);
                at.time.0 += random.below(pause) as i64 - 1000;
                if index == trouble_at {
                    note.marks.set(Marks::RETRANSMISSION);
                }
                notes.push(note);
                let enough = (Notes::BEFORE_TROUBLE + (index + 1).saturating_sub(trouble_at)).max(Notes::HEALTHY);
                if head.len() < Timeline::HEAD {
                    head.push(note);
                } else {
                    let old = |oldest: &SegmentNote| note.at.time.since(oldest.at.time) > Notes::RECENT;
                    if tail.len() == Timeline::TAIL || tail.len() >= enough && old(&tail[0]) {
                        tail.remove(0);
                    }
                    tail.push(note);
                }
                if index == turned_at {
                    let turn = |note: &mut SegmentNote| {
                        note.direction = note.direction.reverse();
                        note.seq -= 1 << 20;
                    };
                    notes.change(turn);
                    head.iter_mut().chain(&mut tail).for_each(turn);
                }
            }
            let expected = format!("{:?}", head.iter().chain(&tail).collect::<Vec<_>>());
            let mut turned: Vec<_> = notes.newest_first().collect();
            turned.reverse();
            assert_eq!(format!("{turned:?}"), expected, "seed {seed}");
            let timeline = notes.into_timeline(count as u64);
            assert_eq!(
                format!("{:?}", timeline.iter().collect::<Vec<_>>()),
                expected,
                "seed {seed}"
            );
            assert_eq!(timeline.let_go, (count - head.len() - tail.len()) as u64, "seed {seed}");
        }
    }
}
