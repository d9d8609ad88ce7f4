//! How long somebody waited, and how often.

use std::time::Duration;

/// A wait that is shorter tells nothing: what is sent within it is sent at one go.
const SHORTEST: f64 = 0.016;

/// Steps of a third of an octave, from [`SHORTEST`] to 3 s; the last holds all that are longer.
const STEPS: usize = 24;

/// Waits, counted by their length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits([u16; STEPS]);

impl Waits {
    /// One more.
    pub fn waited(&mut self, time: Duration) {
        let step = steps(time).floor();
        if step >= 0.0
            && let Some(count) = self.0.get_mut((step as usize).min(STEPS - 1))
        {
            *count = count.saturating_add(1);
        }
    }

    /// All of the others.
    pub fn add(&mut self, other: &Waits) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// How many were at least so long, and none that was shorter. Of very long ones those count that are of more than 3 s.
    pub fn as_long_as(&self, time: Duration) -> u32 {
        let step = (steps(time).ceil().max(0.0) as usize).min(STEPS - 1);
        self.0.iter().skip(step).map(|count| u32::from(*count)).sum()
    }
}

fn steps(time: Duration) -> f64 {
    (time.as_secs_f64() / SHORTEST).log2() * 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_count_that_were_as_long() {
        let mut waits = Waits::default();
        for ms in [1, 15, 30, 60, 60, 400, 10_000] {
            waits.waited(Duration::from_millis(ms));
        }
        let of = |ms| waits.as_long_as(Duration::from_millis(ms));
        assert_eq!(
            [of(0), of(31), of(50), of(61), of(1000), of(60_000)],
            [5, 4, 4, 2, 1, 1]
        );
        let mut all = waits;
        all.add(&waits);
        assert_eq!(all.as_long_as(Duration::from_millis(50)), 8);
    }
}
