//! The two clocks: kernels count from the start of the machine, people from 1970.

use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::time::Duration;

/// `CLOCK_MONOTONIC`, nanoseconds: the clock of the kernel's events.
pub fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)).unwrap_or(0)
}

/// Length of the kernel's tick, which the coarse clock counts in: 1 to 10 ms.
pub fn tick() -> Duration {
    let resolution = clock_getres(ClockId::MonotonicCoarse);
    let nanoseconds = u64::try_from(resolution.tv_nsec).unwrap_or(4_000_000);
    Duration::from_nanos(nanoseconds.clamp(1_000_000, 10_000_000))
}

/// What to add to `CLOCK_MONOTONIC` for `CLOCK_REALTIME`, in nanoseconds, as of now: the two are read within a microsecond.
pub fn monotonic_to_real() -> i64 {
    let nanoseconds = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
    };
    let sample = || {
        let before = nanoseconds(ClockId::Monotonic);
        let real = nanoseconds(ClockId::Realtime);
        let took = nanoseconds(ClockId::Monotonic).saturating_sub(before);
        (took, real.saturating_sub(before).saturating_sub(took / 2))
    };
    // Of several the one that nothing interrupted.
    (0..5).map(|_| sample()).min().map_or(0, |(_, offset)| offset)
}
