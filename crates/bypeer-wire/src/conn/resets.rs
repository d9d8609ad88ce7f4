use super::half::Half;
use super::notes::Notes;
use super::{Marks, Reset, ResetShape, ResetValidity, SegmentNote};
use crate::packet::{Flags, Segment};
use crate::{Direction, PacketRef};

/// What a reset is judged by: both directions as they were when it came.
pub(super) struct Scene<'a> {
    /// The direction of the reset.
    pub(super) own: &'a Half,
    /// The other one.
    pub(super) peer: &'a Half,
    pub(super) notes: &'a Notes,
    /// The reset's side has sent nothing else.
    pub(super) first_word: bool,
}

impl Scene<'_> {
    /// `seq` and `ack` are the reset's offsets.
    pub(super) fn judge(&self, at: PacketRef, segment: &Segment<'_>, note: &SegmentNote) -> Reset {
        let has_ack = segment.flags.has(Flags::ACK);
        let refusal = self.is_refusal(segment, note);
        let trigger = if refusal {
            self.newest(note.direction.reverse(), |other| other.flags.has(Flags::SYN))
        } else if has_ack {
            None
        } else {
            self.trigger(note)
        };
        Reset {
            at,
            direction: note.direction,
            shape: self.shape(segment, note, refusal, trigger.is_some()),
            seq: note.seq,
            ack: has_ack.then_some(note.ack),
            window: segment.window,
            timestamps: segment.options.timestamps.is_some(),
            ttl: segment.ttl,
            ip_id: segment.ip_id,
            checksum: segment.checksum,
            payload_len: segment.payload_len,
            validity: self.validity(segment, note, refusal),
            trigger,
            after_own_fin: self.own.fin.is_some(),
            after_peer_fin: self.peer.fin.is_some(),
            sender_went_on: None,
        }
    }

    /// Nothing came from this side yet, and it acknowledges the SYN (RFC 9293 §3.10.7.1).
    fn is_refusal(&self, segment: &Segment<'_>, note: &SegmentNote) -> bool {
        segment.flags.has(Flags::ACK)
            && self.first_word
            && self.peer.syn_seen
            && self.peer.acked < 0
            && (0..=self.peer.sent as i64).contains(&note.ack)
    }

    fn shape(&self, segment: &Segment<'_>, note: &SegmentNote, refusal: bool, triggered: bool) -> ResetShape {
        if segment.payload_len > 0 || segment.flags.0 & (Flags::SYN.0 | Flags::FIN.0) != 0 {
            return ResetShape::Other;
        }
        let bare = segment.window == 0 && segment.options.timestamps.is_none();
        if refusal {
            return if bare { ResetShape::Refusal } else { ResetShape::Other };
        }
        if !segment.flags.has(Flags::ACK) {
            // The trigger's ack, or, when the trigger itself was let go or missed, the newest ack of its sender.
            let answers = triggered
                || note.seq == self.own.acked
                || self.peer.acknowledged_with(segment.seq)
                || self.peer.packets == 0;
            return if bare && answers {
                ResetShape::Passive
            } else {
                ResetShape::Other
            };
        }
        let timestamps_as_agreed = self.first_word || segment.options.timestamps.is_some() == self.own.timestamps;
        if timestamps_as_agreed && (self.is_next(note.seq) || self.overtakes(segment, note)) {
            ResetShape::Active
        } else {
            ResetShape::Other
        }
    }

    /// Whether a reset made by the sender's own socket has this sequence number: `tcp_acceptable_seq`, that is, snd_nxt,
    /// or the window's end where the window shrank below it. A FIN may have been queued and not sent, or not been seen.
    fn is_next(&self, seq: i64) -> bool {
        let sent = self.own.sent as i64;
        let acked = self.own.acked;
        if self.first_word && !self.own.syn_seen {
            return true;
        }
        seq == self.own.next()
            || seq == sent
            || (seq == sent + 1 && acked > sent)
            || (acked > sent && seq == acked)
            || (seq < sent && seq == acked.saturating_add(i64::from(self.peer.window)))
    }

    /// A reset that came before the last of the data that it ends, which were lost or overtaken on the way: the sender's host may
    /// send from two processors at once. A forger knows neither timestamps nor window.
    fn overtakes(&self, segment: &Segment<'_>, reset: &SegmentNote) -> bool {
        // What is under way at once is bounded by the receiver's window.
        let most = self.own.acked.saturating_add(i64::from(self.peer.window).max(64 << 10));
        let ahead = reset.seq > self.own.sent as i64 && reset.seq <= most;
        let stamped = self.own.timestamps && segment.options.timestamps.is_some();
        segment.flags.has(Flags::ACK) && stamped && segment.window > 0 && ahead && reset.ack >= self.peer.acked
    }

    /// RFC 5961 §3.2, as seen from the capture point: what was sent without a gap counts as arrived, unless the receiver
    /// has not acknowledged it: then a number between says `Unknown`. So does one ahead of data that it overtook: they may be there
    /// when it comes, and where they are not, it is the sender's own all the same.
    fn validity(&self, segment: &Segment<'_>, note: &SegmentNote, refusal: bool) -> ResetValidity {
        if refusal {
            return ResetValidity::Exact;
        }
        if self.peer.syn_seen && self.peer.acked < 0 && self.first_word {
            // RFC 9293 §3.10.7.3: in SYN-SENT a reset counts only when it acknowledges the SYN.
            return ResetValidity::OutOfWindow;
        }
        if !self.own.base_known || self.own.base_guessed && !segment.flags.has(Flags::ACK) && self.peer.packets == 0 {
            return ResetValidity::Unknown;
        }
        let expected = self.own.contiguous().max(self.own.acked);
        let window_end = expected.saturating_add(i64::from(self.peer.window.max(1)));
        if note.seq == expected {
            ResetValidity::Exact
        } else if note.seq < expected {
            if note.seq >= self.own.acked {
                ResetValidity::Unknown
            } else {
                ResetValidity::OutOfWindow
            }
        } else if note.seq == self.own.next()
            || self.own.contiguous() < self.own.next()
            || self.overtakes(segment, note)
        {
            ResetValidity::Unknown
        } else if note.seq < window_end {
            ResetValidity::InWindow
        } else {
            ResetValidity::OutOfWindow
        }
    }

    /// The newest segment of the other side whose ack is the reset's sequence number. One that carries data or a FIN not
    /// yet acknowledged comes before one that carries none; what was acknowledged can have drawn it only if sent again.
    /// `None` when it is not kept (any more), and for most forged ones.
    fn trigger(&self, reset: &SegmentNote) -> Option<SegmentNote> {
        let side = reset.direction.reverse();
        let answered =
            |other: &SegmentNote| other.flags.has(Flags::ACK) && !other.flags.has(Flags::RST) && other.ack == reset.seq;
        let carries = |other: &SegmentNote| other.len > 0 || other.flags.has(Flags::FIN);
        let accepted = |other: &SegmentNote| {
            other.end() + i64::from(other.flags.has(Flags::FIN)) <= self.peer.acked
                && !other.marks.has(Marks::RETRANSMISSION)
                && !other.marks.has(Marks::KEEP_ALIVE)
        };
        // Whatever came before data that was accepted met a socket that lived.
        let after_the_accepted = || {
            let of_side = self.notes.newest_first().filter(|other| other.direction == side);
            of_side
                .take_while(|other| !(carries(other) && accepted(other)))
                .find(|other| answered(other))
        };
        self.newest(side, |other| answered(other) && carries(other) && !accepted(other))
            .or_else(after_the_accepted)
    }

    fn newest(&self, side: Direction, wanted: impl Fn(&SegmentNote) -> bool) -> Option<SegmentNote> {
        self.notes
            .newest_first()
            .find(|note| note.direction == side && wanted(note))
    }
}
