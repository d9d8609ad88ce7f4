use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use super::assembler::Budget;
use super::duplicates;
use super::half::{Half, seen};
use super::notes::{Notes, Place};
use super::numbering::Lineage;
use super::resets::Scene;
use super::table::later;
use super::vantage;
use super::{Connection, Ending, Handshake, IcmpNote, Marks, Reset, ResetValidity, Roles, SegmentNote};
use crate::app::{Conversation, How, Notice, Noticed};
use crate::packet::{Flags, IcmpError, Segment};
use crate::{Direction, Endpoint, PacketRef, Timestamp};

/// One connection while it lives.
#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) client: Endpoint,
    pub(super) server: Endpoint,
    pub(super) lineage: Lineage,
    /// Differs from that of every other tracker there ever was in the table (2^32 later it may not).
    pub(super) serial: u32,
    /// It waits for its end among the settling ones.
    pub(super) queued: bool,
    pub(super) reused_tuple: bool,
    roles: Roles,
    /// A reset came that its receiver had to believe, and nothing since belies it.
    dead: bool,
    newest: PacketRef,
    greeting: Greeting,
    pub(super) halves: [Half; 2],
    notes: Notes,
    pub(super) app: Conversation,
    /// Messages are told; words are hashed with this.
    pub(super) listening: Option<NonZeroU64>,
    /// What most connections do not have.
    rare: Option<Box<Rare>>,
}

/// A [`Handshake`] that takes less room.
#[derive(Debug, Default)]
struct Greeting {
    /// By [`Greeting::SYN`] and the like.
    places: [Place; 3],
    syns: u32,
    syn_acks: u32,
}

impl Greeting {
    const SYN: usize = 0;
    const SYN_ACK: usize = 1;
    const ACK: usize = 2;
}

#[derive(Debug, Default)]
struct Rare {
    resets: Vec<Reset>,
    resets_total: u32,
    icmp: Vec<IcmpNote>,
    syn_answered_by_ack: Option<PacketRef>,
    /// What of the greeting has its place later.
    greeted_later: [PacketRef; 3],
    /// The last SYN and the last SYN-ACK where there were several.
    last_syn: Option<PacketRef>,
    last_syn_ack: Option<PacketRef>,
    resets_ended: PacketRef,
    /// The newest packets that came from other interfaces than the first, and from which.
    from_elsewhere: VecDeque<(u64, u32)>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Counted,
    /// Another copy of one already counted.
    Copy,
}

/// Segments that fill a gap within this time were reordered on their way; later ones were sent again (as Wireshark has it).
const REORDERED: Duration = Duration::from_millis(3);

impl Tracker {
    /// Resets kept.
    const RESETS: usize = 16;
    /// ICMP errors kept.
    const ICMP: usize = 8;
    /// Notices for which memory is kept from one packet to the next.
    const SPARE: usize = 1024;
    /// Packets from other interfaces whose interface is kept.
    const FROM_ELSEWHERE: usize = 32;

    /// For a connection whose first segment is this one; the segment itself is still to be pushed.
    pub(super) fn new(at: PacketRef, segment: &Segment<'_>, lineage: Lineage, serial: u32) -> Self {
        let (there, back) = (
            (segment.source, segment.destination),
            (segment.destination, segment.source),
        );
        let ((client, server), roles) = match (segment.flags.has(Flags::SYN), segment.flags.has(Flags::ACK)) {
            (true, false) => (there, Roles::Handshake),
            (true, true) => (back, Roles::Handshake),
            _ if segment.destination.port <= segment.source.port => (there, Roles::Ports),
            _ => (back, Roles::Ports),
        };
        Self {
            client,
            server,
            lineage,
            serial,
            queued: false,
            reused_tuple: false,
            roles,
            dead: false,
            newest: at,
            greeting: Greeting::default(),
            halves: Default::default(),
            notes: Notes::new(at),
            app: Conversation::new(),
            listening: None,
            rare: None,
        }
    }

    /// When it was last heard of.
    pub(super) fn spoke(&self) -> Timestamp {
        self.newest.time
    }

    /// When it may be let go if nothing more comes; `None` while it lives. One that was disturbed after its end, or whose
    /// last FIN was not acknowledged, waits longer: retransmissions come at growing intervals.
    pub(super) fn due(&self, settle: Duration) -> Option<Timestamp> {
        let [there, back] = &self.halves;
        let closed = there.closed() && back.closed();
        let closing = there.fin.is_some() && back.fin.is_some();
        let quiet = if self.dead {
            self.rare.as_ref().is_some_and(|rare| rare.resets_ended == self.newest)
        } else if closing {
            closed
        } else {
            return None;
        };
        let wait = if quiet { settle } else { settle.saturating_mul(6) };
        Some(later(self.newest.time, wait))
    }

    /// Whether a segment that `interface` saw is to be left out: another interface saw it too.
    #[cold]
    pub(super) fn is_seen_elsewhere(&mut self, at: PacketRef, interface: u32, segment: &Segment<'_>) -> bool {
        let vantage = self.lineage.vantage;
        if vantage.is_plain(interface) || vantage.leaves_out(interface) {
            return vantage.leaves_out(interface);
        }
        let direction = self.direction_of(segment.source);
        let note = self.describe(at, segment, direction);
        let from_elsewhere = self.rare.as_ref().map(|rare| &rare.from_elsewhere);
        let elsewhere = |number| {
            let known = from_elsewhere
                .and_then(|known| known.iter().find(|(known, _)| *known == number))
                .map(|(_, interface)| *interface);
            match known {
                Some(other) => other != interface,
                None => !vantage.is_home(interface),
            }
        };
        let timestamp = segment.options.timestamps.map(|(value, _)| value);
        let half = &self.halves[direction.index()];
        if vantage::is_seen_elsewhere(&note, timestamp, half, &self.notes, elsewhere) {
            self.lineage.vantage.copy();
            return true;
        }
        if !vantage.is_home(interface) {
            self.lineage.vantage.share();
            self.notes.keep_all();
            let known = &mut self.rare().from_elsewhere;
            if known.len() == Self::FROM_ELSEWHERE {
                known.pop_front();
            }
            known.push_back((at.number, interface));
        }
        false
    }

    /// Takes the next segment in.
    pub(super) fn push(&mut self, at: PacketRef, segment: &Segment<'_>, budget: &mut Budget) -> Taken {
        let direction = self.direction_of(segment.source);
        let mut note = self.describe(at, segment, direction);
        let timestamp = segment.options.timestamps.map(|(value, _)| value);
        if self.may_be_copy(&note, segment) {
            let half = &mut self.halves[direction.index()];
            if duplicates::is_copy(&note, timestamp, half, &self.notes) {
                self.notes.keep_all();
                return Taken::Copy;
            }
        }
        self.newest = at;
        let own = &mut self.halves[direction.index()];
        own.packets += 1;
        if let Some(value) = timestamp {
            own.note_clock(value);
        }
        if segment.flags.has(Flags::RST) {
            self.reset(at, segment, note, budget);
            return Taken::Counted;
        }
        own.note_packet(at, segment.ttl, segment.ip_id, segment.checksum);
        own.timestamps |= timestamp.is_some();
        if !self.belongs(segment, direction) {
            self.halves[direction.reverse().index()].note_answer();
            if !segment.flags.has(Flags::SYN) && segment.payload_len == 0 && direction == Direction::ToClient {
                self.rare().syn_answered_by_ack.get_or_insert(at);
            }
            self.notes.push(note);
            return Taken::Counted;
        }
        if !self.is_base_settled(segment, direction) {
            self.settle_base(segment, direction);
            // The bases may just have become known.
            note = self.describe(at, segment, direction);
        }
        if !self.halves[direction.index()].plausible(note.seq) {
            self.notes.push(note);
            return Taken::Counted;
        }
        if segment.flags.has(Flags::SYN) {
            self.greet(at, segment, direction);
        }
        self.mark(at, segment, &mut note);
        self.acknowledge(at, segment, &mut note);
        // A reset is no sign of life; nor does who repeats himself answer anything: both sides do when neither is heard.
        let repeats = note.marks.has(Marks::RETRANSMISSION) || note.marks.has(Marks::KEEP_ALIVE);
        if !repeats || note.marks.has(Marks::ACKS_NEW) {
            self.halves[direction.reverse().index()].note_answer();
        }
        self.advertise(segment, &mut note);
        self.watch_who_goes_on(&note);
        self.notes.push(note);
        self.payload(at, segment, &note, budget);
        self.fill_holes(at, budget);
        if self.roles == Roles::Ports && self.app.roles_reversed() {
            self.swap_roles();
        }
        self.tell_ends();
        Taken::Counted
    }

    /// Notes an ICMP error about it.
    pub(super) fn push_icmp(&mut self, at: PacketRef, error: &IcmpError) {
        let about = self.direction_of(error.source);
        let half = &self.halves[about.index()];
        let about_syn = half.syn_seen && half.base().wrapping_sub(1) == error.seq;
        let rare = self.rare();
        if rare.icmp.len() < Self::ICMP {
            rare.icmp.push(IcmpNote {
                at,
                reporter: error.reporter,
                kind: error.kind,
                icmp_type: error.icmp_type,
                icmp_code: error.icmp_code,
                about,
                about_syn,
            });
        }
    }

    /// Makes the record, when it was wound up. `ending` is what the table knows; at the capture's end a connection that had ended says so.
    pub(super) fn finish(self, ending: Ending, watched_until: Timestamp) -> Connection {
        let [syn, syn_ack, ack] = [Greeting::SYN, Greeting::SYN_ACK, Greeting::ACK].map(|which| self.greeted(which));
        let ended = self.dead || self.halves.iter().all(Half::closed);
        let rare = self.rare.map(|rare| *rare).unwrap_or_default();
        let [to_server, to_client] = self.halves;
        let packets = to_server.packets.saturating_add(to_client.packets);
        Connection {
            stream: self.lineage.stream,
            client: self.client,
            server: self.server,
            roles: self.roles,
            opened: self.notes.opened(),
            ended: self.newest,
            watched_until,
            ending: if ending == Ending::CaptureEnded && ended {
                Ending::Ended
            } else {
                ending
            },
            handshake: Handshake {
                syn,
                syns: self.greeting.syns,
                last_syn: rare.last_syn.or(syn),
                syn_ack,
                syn_acks: self.greeting.syn_acks,
                last_syn_ack: rare.last_syn_ack.or(syn_ack),
                ack,
                syn_answered_by_ack: rare.syn_answered_by_ack,
            },
            to_server: to_server.into_flow(),
            to_client: to_client.into_flow(),
            resets: rare.resets,
            resets_total: rare.resets_total,
            icmp: rare.icmp,
            timeline: self.notes.into_timeline(packets),
            app: self.app.finish(),
            reused_tuple: self.reused_tuple,
        }
    }

    fn direction_of(&self, source: Endpoint) -> Direction {
        if source == self.client {
            Direction::ToServer
        } else {
            Direction::ToClient
        }
    }

    /// The halves as the sender of `direction` sees them: its own and the other's.
    fn split(&mut self, direction: Direction) -> (&mut Half, &mut Half) {
        let [to_server, to_client] = &mut self.halves;
        match direction {
            Direction::ToServer => (to_server, to_client),
            Direction::ToClient => (to_client, to_server),
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn describe(&self, at: PacketRef, segment: &Segment<'_>, direction: Direction) -> SegmentNote {
        let own = &self.halves[direction.index()];
        let peer = &self.halves[direction.reverse().index()];
        let unscaled = segment.flags.0 & (Flags::SYN.0 | Flags::RST.0) != 0;
        let shift = if unscaled { 0 } else { self.window_shift(direction) };
        SegmentNote {
            at,
            seq: if own.base_known { own.offset(segment.seq) } else { 0 },
            ack: if segment.flags.has(Flags::ACK) && peer.base_known {
                peer.offset(segment.ack)
            } else {
                0
            },
            len: segment.payload_len,
            window: u32::from(segment.window) << shift.min(14),
            ip_id: segment.ip_id.unwrap_or(0),
            flags: segment.flags,
            direction,
            ttl: segment.ttl,
            marks: Marks::default(),
        }
    }

    /// RFC 7323 §2.2: windows are scaled when both SYNs offered it. A SYN-ACK alone tells that the SYN did.
    fn window_shift(&self, direction: Direction) -> u8 {
        let own = &self.halves[direction.index()];
        let peer = &self.halves[direction.reverse().index()];
        match (own.window_scale, peer.window_scale) {
            (Some(shift), Some(_)) => shift,
            (Some(shift), None) if !peer.syn_seen => shift,
            _ => 0,
        }
    }

    /// Whatever brings something new is no copy; this spares most segments the search.
    fn may_be_copy(&self, note: &SegmentNote, segment: &Segment<'_>) -> bool {
        let own = &self.halves[note.direction.index()];
        let peer = &self.halves[note.direction.reverse().index()];
        if segment.flags.has(Flags::RST) {
            return true;
        }
        let new_bytes = note.len > 0 && note.end() > own.sent as i64;
        let new_fin = segment.flags.has(Flags::FIN) && own.fin.is_none();
        let new_ack = segment.flags.has(Flags::ACK) && note.ack > peer.acked;
        !new_bytes && !new_fin && !new_ack && own.packets > 0
    }

    /// Whether a segment belongs to this connection and not to an older one of the same addresses and ports, whose end
    /// answers a SYN with its own numbers (RFC 5961 §4: a challenge ACK).
    fn belongs(&self, segment: &Segment<'_>, direction: Direction) -> bool {
        let own = &self.halves[direction.index()];
        let peer = &self.halves[direction.reverse().index()];
        let answers_syn = peer.syn_seen && peer.acked < 0 && !own.base_known && segment.flags.has(Flags::ACK);
        !answers_syn || (0..=peer.sent as i64).contains(&peer.offset(segment.ack))
    }

    /// This segment cannot tell anything about where offset 0 lies: so it is for most.
    fn is_base_settled(&self, segment: &Segment<'_>, direction: Direction) -> bool {
        let own = &self.halves[direction.index()];
        let peer = &self.halves[direction.reverse().index()];
        own.base_known && !own.base_guessed && peer.base_known && !segment.flags.has(Flags::SYN)
    }

    /// Finds out, or corrects, where offset 0 lies in either direction.
    fn settle_base(&mut self, segment: &Segment<'_>, direction: Direction) {
        let is_syn = segment.flags.has(Flags::SYN);
        let (own, peer) = self.split(direction);
        if segment.flags.has(Flags::ACK) && !peer.base_known {
            peer.set_base(segment.ack);
            peer.base_guessed = true;
        }
        if is_syn {
            if !own.base_known || (!own.syn_seen && own.nothing_told()) {
                let base = segment.seq.wrapping_add(1);
                // Where the SYN-ACK was captured before its SYN, that is acknowledged already.
                if !own.base_known || own.base() != base {
                    own.acked = -1;
                }
                own.set_base(base);
                own.base_guessed = false;
                own.syn_seen = true;
            }
        } else if !own.base_known {
            own.set_base(segment.seq);
        } else if own.base_guessed {
            own.base_guessed = false;
            // One before what was acknowledged: a keep-alive probe; the guess was right.
            let distance = segment.seq.wrapping_sub(own.base()) as i32;
            let is_probe = distance == -1 && segment.payload_len <= 1;
            // Bytes acknowledged since the guess that did not turn up stay counted as missed.
            let missed = own.acked > 0 && distance > 0;
            // Sent again, or recorded behind its answer: that began the record.
            let answered = distance < 0 && peer.sent > 0;
            if distance != 0 && !is_probe && !missed && !answered && own.nothing_told() {
                self.rebase(direction, i64::from(distance));
            }
        }
    }

    /// Moves offset 0 of a direction in which nothing was sent yet.
    fn rebase(&mut self, direction: Direction, by: i64) {
        let half = &mut self.halves[direction.index()];
        half.set_base(half.base().wrapping_add(by as u32));
        half.acked = half.acked.saturating_sub(by);
        self.notes.change(|note| {
            if note.direction == direction {
                note.seq = note.seq.saturating_sub(by);
            } else if note.flags.has(Flags::ACK) {
                note.ack = note.ack.saturating_sub(by);
            }
        });
        for reset in self.rare.iter_mut().flat_map(|rare| &mut rare.resets) {
            if reset.direction == direction {
                reset.seq = reset.seq.saturating_sub(by);
            } else {
                reset.ack = reset.ack.map(|ack| ack.saturating_sub(by));
            }
        }
    }

    fn greet(&mut self, at: PacketRef, segment: &Segment<'_>, direction: Direction) {
        self.dead = false;
        match (direction, segment.flags.has(Flags::ACK)) {
            (Direction::ToServer, false) => {
                self.greeting.syns += 1;
                if self.greeting.syns == 1 {
                    self.greets(Greeting::SYN, at);
                } else {
                    self.rare().last_syn = Some(at);
                }
            }
            (Direction::ToClient, true) => {
                self.greeting.syn_acks += 1;
                if self.greeting.syn_acks == 1 {
                    self.greets(Greeting::SYN_ACK, at);
                } else {
                    self.rare().last_syn_ack = Some(at);
                }
            }
            // The second SYN of a simultaneous open, or its SYN-ACK.
            _ => {}
        }
        let half = &mut self.halves[direction.index()];
        half.mss = segment.options.mss;
        half.window_scale = segment.options.window_scale;
    }

    /// The packet that is noted next is a part of the greeting.
    fn greets(&mut self, which: usize, at: PacketRef) {
        let place = self.notes.next_place();
        self.greeting.places[which] = place;
        if matches!(place, Place::Later) {
            self.rare().greeted_later[which] = at;
        }
    }

    fn greeted(&self, which: usize) -> Option<PacketRef> {
        match self.greeting.places[which] {
            Place::Nowhere => None,
            Place::Head(place) => self.notes.at(place),
            Place::Later => seen(self.rare.as_ref()?.greeted_later[which]),
        }
    }

    /// Retransmission, probe, out of order.
    fn mark(&mut self, at: PacketRef, segment: &Segment<'_>, note: &mut SegmentNote) {
        let is_syn = segment.flags.has(Flags::SYN);
        let is_fin = segment.flags.has(Flags::FIN);
        let start = note.seq + i64::from(is_syn);
        let end = start + i64::from(note.len);
        let seen_syn = self.greeting_repeats(note.direction);
        let (own, peer) = self.split(note.direction);
        let next = own.next();

        if !is_syn && !is_fin && note.len <= 1 {
            let idle = own.acked >= next;
            if peer.window_closed && (note.len == 0 && start == own.acked - 1 || note.len == 1 && start == next) {
                note.marks.set(Marks::WINDOW_PROBE);
                let disorder = own.disorder();
                disorder.window_probes = disorder.window_probes.saturating_add(1);
            } else if idle && start == next - 1 {
                note.marks.set(Marks::KEEP_ALIVE);
                let disorder = own.disorder();
                disorder.keep_alive_probes = disorder.keep_alive_probes.saturating_add(1);
                disorder.unanswered_probes = disorder.unanswered_probes.saturating_add(1);
                return;
            }
        }

        let from = start.max(own.delivered as i64);
        let has_new = note.len > 0 && end > from && (end > own.sent as i64 || !own.holds(from as u64, end as u64));
        if note.len > 0 && start > own.delivered as i64 && !own.holds(own.delivered, start as u64) {
            note.marks.set(Marks::OUT_OF_ORDER);
        }
        let repeats_all = !(has_new || is_syn && !seen_syn || is_fin && own.fin.is_none());
        let late = at.time.since(own.last_new()) > REORDERED || own.is_asked_for(start);
        let fills_late = has_new && end <= own.sent as i64 && late && !is_syn;
        if (repeats_all && (note.len > 0 || is_syn || is_fin)) || fills_late {
            note.marks.set(Marks::RETRANSMISSION);
            let disorder = own.disorder();
            disorder.retransmissions = disorder.retransmissions.saturating_add(1);
            disorder.unanswered_retransmissions = disorder.unanswered_retransmissions.saturating_add(1);
        } else if note.len > 0 {
            own.data_packets += 1;
        }
        if has_new {
            own.note_data(at);
        }
    }

    /// A SYN of this side was seen before the newest one.
    fn greeting_repeats(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.greeting.syns > 1,
            Direction::ToClient => self.greeting.syn_acks > 1,
        }
    }

    fn acknowledge(&mut self, at: PacketRef, segment: &Segment<'_>, note: &mut SegmentNote) {
        if !segment.flags.has(Flags::ACK) {
            return;
        }
        if self.shows_probe(note) {
            self.rebase(note.direction.reverse(), 1);
            note.ack -= 1;
        }
        let (own, peer) = self.split(note.direction);
        if !peer.base_known || !peer.plausible(note.ack) {
            return;
        }
        if note.ack > peer.acked {
            let before = peer.acked_payload();
            own.note_earlier_ack(peer.base().wrapping_add(peer.acked as u32));
            peer.acked = note.ack;
            note.marks.set(Marks::ACKS_NEW);
            if peer.acked_payload() > before {
                peer.note_ack(at);
            }
            if let Some(fin) = peer.fin.as_mut().filter(|fin| note.ack > fin.offset as i64) {
                fin.acked.get_or_insert(at);
            }
            if peer.acked_payload() > peer.delivered {
                if !peer.holds(peer.delivered, peer.acked_payload()) {
                    note.marks.set(Marks::ACKS_MISSED);
                }
                peer.disorder().hole_since.get_or_insert(at.time);
            }
            if let Some(disorder) = peer.disorder.as_mut() {
                disorder.duplicate_acks = 0;
            }
        } else if note.ack == peer.acked
            && note.len == 0
            && let Some(disorder) = peer
                .disorder
                .as_mut()
                .filter(|disorder| disorder.assembler.first().is_some())
        {
            disorder.duplicate_acks = disorder.duplicate_acks.saturating_add(1);
        }
        if !note.marks.has(Marks::ACKS_NEW)
            && note.len == 0
            && segment.flags.0 & (Flags::SYN.0 | Flags::FIN.0) == 0
            && note.marks == Marks::default()
            && note.ack == peer.acked
            && note.window == own.window
        {
            note.marks.set(Marks::DUPLICATE_ACK);
        }
        if note.direction == Direction::ToServer && matches!(self.greeting.places[Greeting::ACK], Place::Nowhere) {
            let server = &self.halves[Direction::ToClient.index()];
            if server.syn_seen && server.acked >= 0 {
                self.greets(Greeting::ACK, at);
            }
        }
        self.tell_acked(note.direction.reverse());
    }

    /// A connection picked up idle: the other side's first words, without payload, were keep-alive probes one byte before
    /// what is acknowledged now.
    fn shows_probe(&self, note: &SegmentNote) -> bool {
        let peer = &self.halves[note.direction.reverse().index()];
        note.ack == 1 && !peer.syn_seen && peer.base_known && peer.fin.is_none() && peer.next() == 0 && peer.acked == 0
    }

    fn advertise(&mut self, segment: &Segment<'_>, note: &mut SegmentNote) {
        let own = &mut self.halves[note.direction.index()];
        own.window = note.window;
        own.window_closed = segment.window == 0 && !segment.flags.has(Flags::SYN);
        if own.window_closed {
            note.marks.set(Marks::ZERO_WINDOW);
            let disorder = own.disorder();
            disorder.zero_windows = disorder.zero_windows.saturating_add(1);
        }
    }

    /// A side in whose name a reset came and that goes on as if nothing were did not send it. What a reset's own numbers
    /// cover may merely have been captured late.
    fn watch_who_goes_on(&mut self, note: &SegmentNote) {
        if self.rare.is_none() {
            return;
        }
        let syn_ack = self.greeted(Greeting::SYN_ACK).map_or(0, |at| at.number);
        let Some(rare) = self.rare.as_mut() else { return };
        let half = &self.halves[note.direction.index()];
        let sends = note.len > 0 && note.end() > half.sent as i64;
        let acks = note.marks.has(Marks::ACKS_NEW);
        let closes = note.flags.has(Flags::FIN) && half.fin.is_none();
        if !sends && !acks && !closes {
            return;
        }
        for reset in &mut rare.resets {
            // A reset before the SYN-ACK answered an older connection's segment: its sender rightly goes on.
            let of_this = syn_ack < reset.at.number;
            let goes_on = sends && note.end() > reset.seq
                || closes && note.end() >= reset.seq
                || acks && reset.ack.is_none_or(|ack| note.ack > ack);
            if of_this && goes_on && reset.direction == note.direction && reset.sender_went_on.is_none() {
                reset.sender_went_on = Some(note.at);
                self.dead = false;
            }
        }
    }

    fn reset(&mut self, at: PacketRef, segment: &Segment<'_>, mut note: SegmentNote, budget: &mut Budget) {
        let (own, peer) = self.split(note.direction);
        let first_word = own.last_packet().is_none();
        // Picked up with the reset itself: its numbers are all there is.
        if !own.base_known && !peer.syn_seen {
            own.set_base(segment.seq);
            own.base_guessed = true;
        }
        if segment.flags.has(Flags::ACK) && !peer.base_known && !own.syn_seen {
            peer.set_base(segment.ack);
            peer.base_guessed = true;
        }
        if !own.base_known && !segment.flags.has(Flags::ACK) {
            // Answers a segment of an older connection.
            note.seq = i64::from(segment.seq);
        }
        let scene = Scene {
            own: &self.halves[note.direction.index()],
            peer: &self.halves[note.direction.reverse().index()],
            notes: &self.notes,
            first_word,
        };
        let reset = scene.judge(at, segment, &note);
        self.notes.push(note);
        let believed = matches!(reset.validity, ResetValidity::Exact | ResetValidity::Unknown);
        self.dead |= believed;
        self.fill_holes(at, budget);
        self.tell_ends();
        self.tell_over(&note, if believed { How::Reset } else { How::ResetInVain });
        let rare = self.rare();
        rare.resets_total = rare.resets_total.saturating_add(1);
        rare.resets_ended = at;
        if rare.resets.len() < Self::RESETS {
            rare.resets.push(reset);
        }
    }

    /// Says to who listens that a side has ended its stream, once all of that was handed on.
    fn tell_ends(&mut self) {
        if self.listening.is_none() {
            return;
        }
        for direction in [Direction::ToServer, Direction::ToClient] {
            let (own, peer) = self.split(direction);
            let sent = own.sent;
            let Some(fin) = own.take_end() else { continue };
            let acked = peer.fin.as_ref().map_or(fin.ack, |end| fin.ack.min(end.offset));
            let acked = peer.base_known.then_some(acked);
            let at = fin.at;
            self.app.over(at, direction, How::Fin, acked, sent);
        }
    }

    /// Says to who listens that a reset was sent.
    fn tell_over(&mut self, note: &SegmentNote, how: How) {
        if self.listening.is_none() {
            return;
        }
        let [own, peer] = [note.direction, note.direction.reverse()].map(|side| &self.halves[side.index()]);
        let before = (peer.base_known && peer.acked >= 0).then(|| peer.acked_payload());
        let acked = self.acked_by(note).or(before);
        self.app.over(note.at, note.direction, how, acked, own.sent);
    }

    /// What was said since this was called last goes to `notices`.
    pub(super) fn tell(&mut self, budget: &mut Budget, notices: &mut Vec<Notice>) {
        let mut told = self.app.take_told();
        let (stream, client, server) = (self.lineage.stream, self.client, self.server);
        notices.extend(told.drain(..).map(|(at, what)| Notice {
            stream,
            client,
            server,
            at,
            what,
        }));
        if told.capacity() > budget.told.capacity() && told.capacity() <= Self::SPARE {
            budget.told = told;
        }
    }

    /// Nothing more will come: hands on what was held, and tells all that is left to tell, `gone`: and that it is forgotten.
    pub(super) fn wind_up(&mut self, gone: bool, budget: &mut Budget, notices: &mut Vec<Notice>) {
        self.deliver_all(self.newest, budget);
        if self.roles == Roles::Ports && self.app.roles_reversed() {
            self.swap_roles();
        }
        if self.listening.is_none() {
            return;
        }
        self.tell_ends();
        let told = self.app.close_ear(self.newest);
        self.tell(budget, notices);
        if told && gone {
            notices.push(Notice {
                stream: self.lineage.stream,
                client: self.client,
                server: self.server,
                at: self.newest,
                what: Noticed::Gone,
            });
        }
    }

    fn swap_roles(&mut self) {
        self.roles = Roles::Protocol;
        std::mem::swap(&mut self.client, &mut self.server);
        self.halves.swap(0, 1);
        self.app.swap_roles();
        self.notes.change(|note| note.direction = note.direction.reverse());
        let Some(rare) = self.rare.as_mut() else { return };
        for reset in &mut rare.resets {
            reset.direction = reset.direction.reverse();
            if let Some(trigger) = reset.trigger.as_mut() {
                trigger.direction = trigger.direction.reverse();
            }
        }
        for icmp in &mut rare.icmp {
            icmp.about = icmp.about.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 250 000 connections may live at once.
    #[test]
    fn a_tracker_is_small() {
        let size = size_of::<Tracker>();
        assert!(size <= 520, "{size}");
    }
}
