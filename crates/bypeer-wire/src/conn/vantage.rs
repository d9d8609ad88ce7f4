use std::collections::BTreeMap;
use std::time::Duration;

use super::SegmentNote;
use super::duplicates::{is_newer, is_same_segment, is_sent_once};
use super::half::Half;
use super::notes::Notes;

/// The interface that a connection is judged by, where a capture has several.
///
/// Interfaces can be vantage points on one path, and then each packet comes once from each of them: a connection is judged
/// by the one that saw its first packet, which is the client's as a rule, and the others are left out. Or they can share
/// the packets between them (bonded interfaces, an asymmetric route): then all of them are needed. One copy tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vantage {
    home: u32,
    sight: Sight,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sight {
    /// Only `home` showed anything.
    #[default]
    Alone,
    /// Others showed something too, and no copies so far.
    Shared,
    /// Others showed copies.
    Copied,
}

/// Connections that several interfaces of a capture saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vantages {
    /// How many connections there were.
    pub connections: u64,
    /// Packets of theirs that were left out, because another interface than the one they are judged by saw them.
    pub left_out: u64,
    /// By which interface how many of them are judged; of the first 64 such interfaces.
    pub judged_by: BTreeMap<u32, u64>,
}

/// Two interfaces see a packet at most this far apart; longer ways, and clocks that differ by more, are not recognised.
const APART: Duration = Duration::from_secs(2);
/// The same for a packet that carries no number of its own. Linux's shortest timeout is 200 ms.
const APART_UNNUMBERED: Duration = Duration::from_millis(100);

impl Vantage {
    pub(super) fn of(home: u32) -> Vantage {
        Vantage {
            home,
            sight: Sight::Alone,
        }
    }

    /// What a packet of `interface` is, is plain: it belongs to the connection. So it is for most.
    #[inline]
    pub(super) fn is_plain(self, interface: u32) -> bool {
        self.home == interface && self.sight != Sight::Shared
    }

    /// It is known that what `interface` shows is seen by the connection's own interface too.
    pub(super) fn leaves_out(self, interface: u32) -> bool {
        self.home != interface && self.sight == Sight::Copied
    }

    pub(super) fn is_copied(self) -> bool {
        self.sight == Sight::Copied
    }

    pub(super) fn is_home(self, interface: u32) -> bool {
        self.home == interface
    }

    pub(super) fn share(&mut self) {
        self.sight = Sight::Shared;
    }

    pub(super) fn copy(&mut self) {
        self.sight = Sight::Copied;
    }
}

impl Vantages {
    const MOST: usize = 64;

    pub(super) fn count(&mut self, vantage: Vantage) {
        self.connections += 1;
        if self.judged_by.len() < Self::MOST || self.judged_by.contains_key(&vantage.home) {
            *self.judged_by.entry(vantage.home).or_default() += 1;
        }
    }
}

/// Whether `candidate` was seen already by another interface. `elsewhere` says of a packet's number whether it came from
/// another interface than the candidate; `half` is the candidate's direction.
///
/// All header fields agree but for the TTL, of which hops between may have taken. A packet sent again has another IPv4
/// identification, or a later TCP timestamp; where there is neither, it comes later, and what may rightly be sent twice
/// in a row tells nothing.
pub(super) fn is_seen_elsewhere(
    candidate: &SegmentNote,
    timestamp: Option<u32>,
    half: &Half,
    notes: &Notes,
    elsewhere: impl Fn(u64) -> bool,
) -> bool {
    let earlier = notes
        .newest_first()
        .take_while(|note| candidate.at.time.since(note.at.time) <= APART)
        .find(|note| is_same_segment(candidate, note) && elsewhere(note.at.number));
    let Some(earlier) = earlier else { return false };
    if is_newer(timestamp, half) {
        return false;
    }
    if candidate.ip_id != 0 {
        return true;
    }
    let soon = candidate.at.time.since(earlier.at.time) <= APART_UNNUMBERED;
    is_sent_once(candidate) && (soon || timestamp.is_some())
}
