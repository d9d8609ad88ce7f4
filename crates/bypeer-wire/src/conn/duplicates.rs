use std::time::Duration;

use super::SegmentNote;
use super::half::Half;
use super::notes::Notes;
use crate::packet::Flags;

/// Copies of one packet (`-i any` on a router, a mirror port that sees both ways) lie this close together. A
/// retransmission comes later: Linux's shortest timeout is 200 ms, its fast ones wait for a round trip.
const APART: Duration = Duration::from_millis(1);

/// Hops that may lie between two copies.
const HOPS: u8 = 4;

/// Whether `candidate` is another copy of a packet already seen.
///
/// All header fields agree, the TTL aside. Where the sender numbers its packets the IPv4 identification decides. Where it
/// does not (IPv6; Linux's resets, its SYN-ACKs and its ACKs without a socket), a SYN, a FIN or payload sent twice within
/// a millisecond is a copy, but equal ACKs, resets and SYN-ACKs (each SYN that comes again is answered again) are
/// legitimate: these count as copies only once the direction has shown that its packets come twice, or when the TTL
/// tells of a hop between.
pub(super) fn is_copy(candidate: &SegmentNote, timestamp: Option<u32>, half: &mut Half, notes: &Notes) -> bool {
    let earlier = notes
        .newest_first()
        .take_while(|note| candidate.at.time.since(note.at.time) <= APART)
        .find(|note| looks_like(candidate, note));
    let Some(earlier) = earlier else { return false };
    if is_newer(timestamp, half) {
        return false;
    }
    if candidate.ip_id != 0 || is_sent_once(candidate) {
        half.mirrored = true;
        return true;
    }
    half.mirrored || earlier.ttl != candidate.ttl
}

/// Its sender's clock is ahead of all that was seen in this direction: no copy has that.
pub(super) fn is_newer(timestamp: Option<u32>, half: &Half) -> bool {
    timestamp.is_some_and(|value| value.wrapping_sub(half.timestamp) as i32 > 0)
}

/// A packet that nobody sends twice within a round trip.
pub(super) fn is_sent_once(note: &SegmentNote) -> bool {
    let flags = note.flags;
    note.len > 0 || flags.has(Flags::FIN) || flags.has(Flags::SYN) && !flags.has(Flags::ACK)
}

fn looks_like(one: &SegmentNote, other: &SegmentNote) -> bool {
    is_same_segment(one, other) && one.ttl.abs_diff(other.ttl) <= HOPS
}

/// All header fields agree, the TTL aside.
pub(super) fn is_same_segment(one: &SegmentNote, other: &SegmentNote) -> bool {
    one.direction == other.direction
        && one.seq == other.seq
        && one.ack == other.ack
        && one.len == other.len
        && one.flags == other.flags
        && one.window == other.window
        && one.ip_id == other.ip_id
}
