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
    let newer_clock = timestamp.is_some_and(|value| value.wrapping_sub(half.timestamp) as i32 > 0);
    if newer_clock {
        return false;
    }
    let flags = candidate.flags;
    let sent_once = candidate.len > 0 || flags.has(Flags::FIN) || flags.has(Flags::SYN) && !flags.has(Flags::ACK);
    if candidate.ip_id != 0 || sent_once {
        half.mirrored = true;
        return true;
    }
    half.mirrored || earlier.ttl != candidate.ttl
}

fn looks_like(one: &SegmentNote, other: &SegmentNote) -> bool {
    one.direction == other.direction
        && one.seq == other.seq
        && one.ack == other.ack
        && one.len == other.len
        && one.flags == other.flags
        && one.window == other.window
        && one.ip_id == other.ip_id
        && one.ttl.abs_diff(other.ttl) <= HOPS
}
