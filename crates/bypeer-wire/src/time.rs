use std::time::Duration;

/// A moment as the capture recorded it: nanoseconds since the Unix epoch, UTC. May be negative or wrong; clocks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Seconds since the epoch, for display and JSON; keeps microseconds, not every nanosecond.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Time from `earlier` to `self`; zero when `earlier` is the later one (captures step backwards).
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

/// A packet of the capture: what every piece of evidence points at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PacketRef {
    /// 1-based, counted over all packets of the capture as Wireshark's `frame.number` counts them.
    pub number: u64,
    /// When it was captured.
    pub time: Timestamp,
}
