use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bypeer_wire::Timestamp;

/// Bytes that wait before a rate limit; beyond it packets are dropped.
pub(super) const LIMIT_QUEUE: u64 = 256 << 10;
/// Bytes that are on their way at once, over all paths.
const MOST_IN_FLIGHT: usize = 64 << 20;

pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    let nanoseconds = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
    Timestamp(time.0.saturating_add(nanoseconds))
}

/// The way from one host into the switch: what went in last, and when its line is free again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Path {
    /// When the last packet arrives at its receiver.
    last_arrival: Timestamp,
    /// When the rate limit lets the next bit go.
    free_at: Timestamp,
}

impl Path {
    /// When a packet of this length is through the rate limit. `None`: the queue is full.
    pub(super) fn limited(&mut self, now: Timestamp, length: usize, bits_per_second: u64) -> Option<Timestamp> {
        let rate = u128::from(bits_per_second.max(1));
        let waiting = self.free_at.since(now).as_nanos() * rate / 8_000_000_000;
        if waiting + length as u128 > u128::from(LIMIT_QUEUE) {
            return None;
        }
        let takes = (length as u128 * 8_000_000_000).div_ceil(rate);
        let begins = self.free_at.max(now);
        let takes = Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        self.free_at = later(begins, takes);
        Some(self.free_at)
    }

    /// When a packet arrives that would take until `wanted`: never before the one in front of it.
    pub(super) fn arrival(&mut self, wanted: Timestamp) -> Timestamp {
        self.last_arrival = self.last_arrival.max(wanted);
        self.last_arrival
    }
}

/// Frames that are on their way.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    frames: BinaryHeap<Reverse<Flying>>,
    bytes: usize,
    /// Of the next one: frames for the same moment leave as they came.
    number: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    arrives: Timestamp,
    number: u64,
    port: usize,
    frame: Vec<u8>,
}

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn next_arrival(&self) -> Option<Timestamp> {
        self.frames.peek().map(|Reverse(flying)| flying.arrives)
    }

    /// `false`: there is no room.
    pub(super) fn push(&mut self, arrives: Timestamp, port: usize, frame: Vec<u8>) -> bool {
        if self.bytes + frame.len() > MOST_IN_FLIGHT {
            return false;
        }
        self.bytes += frame.len();
        self.number += 1;
        self.frames.push(Reverse(Flying {
            arrives,
            number: self.number,
            port,
            frame,
        }));
        true
    }

    /// The first one, with the port that it leaves by.
    pub(super) fn pop(&mut self) -> Option<(usize, Vec<u8>)> {
        let Reverse(flying) = self.frames.pop()?;
        self.bytes -= flying.frame.len();
        Some((flying.port, flying.frame))
    }
}
