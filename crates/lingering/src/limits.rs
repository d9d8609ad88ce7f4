//! How long, and how much, a close may wait for its peer.

use std::time::Duration;

/// What bounds a lingering close. Each bound holds by itself; the first that is reached ends it.
///
/// ```
/// use std::time::Duration;
/// let limits = lingering::Limits::default().idle(Duration::from_secs(2)).bytes(1 << 20);
/// assert_eq!(limits.total, Duration::from_secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes that are read and thrown away; the close comes with the first beyond. 64 MiB.
    ///
    /// Neither nginx nor httpd has such a bound: at 10 Gbit/s their 30 s are 37 GB. It must be larger than what a peer
    /// that stops at the answer still has under way: its send buffer and our receive buffer, 4 MiB and 6 MiB at most as
    /// Linux comes (`tcp_wmem`, `tcp_rmem`). For a peer that reads the answer only after it has sent everything, and
    /// many clients do, it must be larger than the whole upload. 64 MiB is that for nearly every upload that is not
    /// a video, and, over 30 s, 18 Mbit/s of one connection.
    pub bytes: u64,
    /// The longest silence: nothing came, and nothing more of what was written was acknowledged. 5 s, as nginx's
    /// `lingering_timeout`; httpd waits 2 s (`SECONDS_TO_LINGER`).
    pub idle: Duration,
    /// The longest time in all. 30 s, as nginx's `lingering_time` and httpd's `MAX_SECS_TO_LINGER`.
    pub total: Duration,
}

impl Limits {
    /// The documented defaults.
    pub const DEFAULT: Limits = Limits {
        bytes: 64 << 20,
        idle: Duration::from_secs(5),
        total: Duration::from_secs(30),
    };

    /// With another bound of bytes.
    #[must_use]
    pub const fn bytes(self, bytes: u64) -> Limits {
        Limits { bytes, ..self }
    }

    /// With another longest silence.
    #[must_use]
    pub const fn idle(self, idle: Duration) -> Limits {
        Limits { idle, ..self }
    }

    /// With another longest time in all.
    #[must_use]
    pub const fn total(self, total: Duration) -> Limits {
        Limits { total, ..self }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
