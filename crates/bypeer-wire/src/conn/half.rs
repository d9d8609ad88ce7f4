use super::assembler::Assembler;
use super::{Fin, Flow};
use crate::packet::Checksum;
use crate::{PacketRef, Timestamp};

/// One direction while it lives: its sender's sequence space and what the other side acknowledged of it.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Sequence number of offset 0; meaningful once `base_known`.
    base: u32,
    pub(super) base_known: bool,
    /// `base` comes from a SYN of this side.
    pub(super) syn_seen: bool,
    /// `base` is only what the other side acknowledged: this side's first segment may still move it.
    pub(super) base_guessed: bool,
    /// This direction's packets were seen twice.
    pub(super) mirrored: bool,
    pub(super) window_closed: bool,
    pub(super) timestamps: bool,
    pub(super) ttl_varies: bool,
    ip_id_seen: bool,
    checksums_offloaded: bool,
    fin_delivered: bool,
    end_told: bool,
    pub(super) ttl: Option<u8>,
    pub(super) window_scale: Option<u8>,
    pub(super) mss: Option<u16>,
    pub(super) window: u32,
    /// Highest timestamp value sent.
    pub(super) timestamp: u32,
    /// The last few acknowledgement numbers this side sent before its newest, as on the wire.
    earlier_acks: [u32; 4],
    /// Highest offset seen + 1.
    pub(super) sent: u64,
    /// Payload up to here went to the application layer. `delivered <= sent` unless `acked` is beyond it.
    pub(super) delivered: u64,
    /// Offset that the other side acknowledged up to, the FIN counted; −1 before it acknowledged the SYN.
    pub(super) acked: i64,
    pub(super) packets: u64,
    pub(super) data_packets: u64,
    first_data: PacketRef,
    last_data: PacketRef,
    last_packet: PacketRef,
    last_ack_of_it: PacketRef,
    pub(super) fin: Option<Box<Fin>>,
    pub(super) disorder: Option<Box<Disorder>>,
}

/// What a direction without losses, probes and closed windows does not have.
#[derive(Debug, Default)]
pub(super) struct Disorder {
    pub(super) missed: u64,
    pub(super) retransmissions: u32,
    pub(super) unanswered_retransmissions: u32,
    pub(super) keep_alive_probes: u32,
    pub(super) unanswered_probes: u32,
    pub(super) window_probes: u32,
    pub(super) zero_windows: u32,
    /// ACKs that said nothing new while payload waits for what is missing.
    pub(super) duplicate_acks: u32,
    /// Since when the other side acknowledges bytes that were not seen.
    pub(super) hole_since: Option<Timestamp>,
    pub(super) assembler: Assembler,
}

/// Jumps further than this are not this connection's: an old one's segments, or a forger's guesses. RFC 7323 §2.3 bounds
/// the window by it.
const PLAUSIBLE: i64 = 1 << 30;

impl Half {
    /// Sets where offset 0 lies.
    pub(super) fn set_base(&mut self, base: u32) {
        self.base = base;
        self.base_known = true;
    }

    /// Sequence number of offset 0.
    pub(super) fn base(&self) -> u32 {
        self.base
    }

    /// Where a sequence number lies: the offset nearest to the highest one seen.
    pub(super) fn offset(&self, seq: u32) -> i64 {
        let newest = self.base.wrapping_add(self.sent as u32);
        (self.sent as i64).saturating_add(i64::from(seq.wrapping_sub(newest) as i32))
    }

    /// Whether an offset can belong to this connection.
    pub(super) fn plausible(&self, offset: i64) -> bool {
        (offset - self.sent as i64).abs() <= PLAUSIBLE
    }

    /// Offset that follows all that was sent, a FIN counted.
    pub(super) fn next(&self) -> i64 {
        match &self.fin {
            Some(fin) if fin.offset >= self.sent => fin.offset as i64 + 1,
            _ => self.sent as i64,
        }
    }

    /// Offset that follows all that was seen without a gap, a FIN counted.
    pub(super) fn contiguous(&self) -> i64 {
        match &self.fin {
            Some(fin) if fin.offset == self.delivered => fin.offset as i64 + 1,
            _ => self.delivered as i64,
        }
    }

    /// Nothing was sent, and nothing was given up as missed: offset 0 may still be moved.
    pub(super) fn nothing_told(&self) -> bool {
        self.sent == 0 && self.delivered == 0
    }

    /// Payload bytes acknowledged.
    pub(super) fn acked_payload(&self) -> u64 {
        let acked = self.acked.max(0) as u64;
        match &self.fin {
            Some(fin) if acked > fin.offset => fin.offset,
            _ => acked,
        }
    }

    /// One number beyond all that was seen is acknowledged, and nothing came after it: in all likelihood that of a FIN
    /// which the capture missed, and no byte that the application layer should be told of.
    pub(super) fn misses_only_its_fin(&self) -> bool {
        self.fin.is_none() && self.sent <= self.delivered && self.acked_payload() == self.delivered.saturating_add(1)
    }

    /// Its FIN was acknowledged.
    pub(super) fn closed(&self) -> bool {
        self.fin.as_ref().is_some_and(|fin| fin.acked.is_some())
    }

    /// A packet of this direction that is no reset.
    pub(super) fn note_packet(&mut self, at: PacketRef, ttl: u8, ip_id: Option<u16>, checksum: Checksum) {
        self.checksums_offloaded |= checksum == Checksum::Partial;
        self.last_packet = at;
        match self.ttl {
            None => self.ttl = Some(ttl),
            Some(first) => self.ttl_varies |= first != ttl,
        }
        self.ip_id_seen |= ip_id.is_some_and(|ip_id| ip_id != 0);
    }

    /// New payload came.
    pub(super) fn note_data(&mut self, at: PacketRef) {
        if self.first_data.number == 0 {
            self.first_data = at;
        }
        self.last_data = at;
    }

    /// When payload or the FIN last came that had not been sent before.
    pub(super) fn last_new(&self) -> Timestamp {
        let data = self.last_data.time;
        self.fin.as_ref().map_or(data, |fin| fin.at.time.max(data))
    }

    /// Keeps the highest timestamp value.
    pub(super) fn note_clock(&mut self, value: u32) {
        if self.packets == 1 || value.wrapping_sub(self.timestamp) as i32 > 0 {
            self.timestamp = value;
        }
    }

    pub(super) fn last_packet(&self) -> Option<PacketRef> {
        seen(self.last_packet)
    }

    pub(super) fn note_ack(&mut self, at: PacketRef) {
        self.last_ack_of_it = at;
    }

    pub(super) fn last_ack_of_it(&self) -> PacketRef {
        self.last_ack_of_it
    }

    /// This side acknowledges more from now on than with `ack`.
    pub(super) fn note_earlier_ack(&mut self, ack: u32) {
        self.earlier_acks.rotate_right(1);
        self.earlier_acks[0] = ack;
    }

    /// This side acknowledged exactly up to `ack` before it acknowledged more.
    pub(super) fn acknowledged_with(&self, ack: u32) -> bool {
        ack != 0 && self.earlier_acks.contains(&ack)
    }

    /// The segment at `start` is what the other side keeps asking for (RFC 5681 §3.2; two, as Wireshark has it).
    pub(super) fn is_asked_for(&self, start: i64) -> bool {
        start == self.acked
            && self
                .disorder
                .as_ref()
                .is_some_and(|disorder| disorder.duplicate_acks >= 2)
    }

    pub(super) fn disorder(&mut self) -> &mut Disorder {
        self.disorder.get_or_insert_default()
    }

    /// The other side spoke.
    pub(super) fn note_answer(&mut self) {
        if let Some(disorder) = self.disorder.as_mut() {
            disorder.unanswered_retransmissions = 0;
            disorder.unanswered_probes = 0;
        }
    }

    /// Whether all bytes from `offset` to `end` wait for those before them.
    pub(super) fn holds(&self, offset: u64, end: u64) -> bool {
        self.disorder
            .as_ref()
            .is_some_and(|disorder| disorder.assembler.covers(offset, end))
    }

    /// The FIN, the first time that everything before it was delivered.
    pub(super) fn take_fin(&mut self) -> Option<PacketRef> {
        let fin = self
            .fin
            .as_ref()
            .filter(|fin| fin.offset <= self.delivered && !self.fin_delivered)?;
        self.fin_delivered = true;
        Some(fin.at)
    }

    /// The FIN, once, after it was delivered.
    pub(super) fn take_end(&mut self) -> Option<&Fin> {
        let first = self.fin_delivered && !self.end_told;
        self.end_told |= first;
        self.fin.as_deref().filter(|_| first)
    }

    pub(super) fn into_flow(self) -> Flow {
        let acked = self.acked_payload();
        let disorder = self.disorder.unwrap_or_default();
        Flow {
            sent: self.sent,
            acked,
            missed: disorder.missed,
            packets: self.packets,
            data_packets: self.data_packets,
            retransmissions: disorder.retransmissions,
            unanswered_retransmissions: disorder.unanswered_retransmissions,
            keep_alive_probes: disorder.keep_alive_probes,
            unanswered_probes: disorder.unanswered_probes,
            window_probes: disorder.window_probes,
            zero_windows: disorder.zero_windows,
            window_closed: self.window_closed,
            window: self.window,
            first_data: seen(self.first_data),
            last_data: seen(self.last_data),
            last_packet: seen(self.last_packet),
            last_ack_of_it: seen(self.last_ack_of_it),
            fin: self.fin.map(|fin| *fin),
            ttl: self.ttl,
            ttl_varies: self.ttl_varies,
            timestamps: self.timestamps,
            window_scale: self.window_scale,
            mss: self.mss,
            ip_id_always_zero: !self.ip_id_seen,
            checksums_offloaded: self.checksums_offloaded,
        }
    }
}

/// Packets count from 1: number 0 stands for none, which saves a word per field.
pub(super) fn seen(at: PacketRef) -> Option<PacketRef> {
    (at.number != 0).then_some(at)
}
