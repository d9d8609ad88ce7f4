//! What is measured of a server, by name, so that it can be kept and compared.

use std::time::Duration;

/// A kind of measurement. Each is a static beside the check that makes it.
#[derive(Debug)]
pub struct Habit {
    /// Its name in JSON and in saved files: `idle-timeout.after-one`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// How far two measurements may lie apart and still be the same habit.
    pub tolerance: Tolerance,
}

/// How alike is the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Only the same value is.
    Exact,
    /// So much apart, or this share of the larger value, whichever is more; spreads count in favour.
    Within(Duration, f64),
    /// Numbers may differ by this share.
    Share(f64),
    /// It is told, and never compared.
    Never,
}

/// A habit and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Which.
    pub habit: &'static Habit,
    /// How much.
    pub value: Value,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A time, over several samples.
    Time(Spread),
    /// It was longer than this: nothing happened until then.
    LongerThan(Duration),
    /// A number.
    Count(u64),
    /// At least this many: nothing happened until then.
    MoreThan(u64),
    /// So many of so many.
    Share {
        /// Of those, these many.
        of: u64,
        /// Had it.
        had: u64,
    },
    /// Yes or no.
    Flag(bool),
    /// One of a few words that the check's manual lists.
    Word(&'static str),
    /// Words in the server's own spelling, as a product's name.
    Text(String),
}

/// Times of several samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// In order.
    samples: Vec<Duration>,
}

impl PartialEq for Habit {
    fn eq(&self, other: &Habit) -> bool {
        self.name == other.name
    }
}

impl Spread {
    /// Of samples in any order; `None` without one.
    pub fn of(samples: impl IntoIterator<Item = Duration>) -> Option<Spread> {
        let mut samples: Vec<Duration> = samples.into_iter().collect();
        samples.sort_unstable();
        (!samples.is_empty()).then_some(Spread { samples })
    }

    /// The middle one; of an even number the mean of the two in the middle.
    pub fn median(&self) -> Duration {
        let middle = self.samples.len() / 2;
        match self.samples.len() % 2 {
            0 => (self.samples[middle - 1] + self.samples[middle]) / 2,
            _ => self.samples[middle],
        }
    }

    /// The shortest.
    pub fn low(&self) -> Duration {
        self.samples[0]
    }

    /// The longest.
    pub fn high(&self) -> Duration {
        self.samples[self.samples.len() - 1]
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.samples.len()
    }

    /// In order.
    pub fn samples(&self) -> &[Duration] {
        &self.samples
    }
}

impl Value {
    /// The times, where it is that.
    pub fn spread(&self) -> Option<&Spread> {
        match self {
            Value::Time(spread) => Some(spread),
            _ => None,
        }
    }

    /// Yes or no, where it is that.
    pub fn flag(&self) -> Option<bool> {
        match self {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The word, where it is one.
    pub fn word(&self) -> Option<&str> {
        match self {
            Value::Word(word) => Some(word),
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_a_middle_and_two_ends() {
        let of = |millis: &[u64]| Spread::of(millis.iter().map(|millis| Duration::from_millis(*millis)));
        assert!(of(&[]).is_none());
        let spread = of(&[30, 10, 20]).unwrap();
        assert_eq!(
            [spread.low(), spread.median(), spread.high()].map(|time| time.as_millis()),
            [10, 20, 30]
        );
        assert_eq!(of(&[10, 20]).unwrap().median(), Duration::from_millis(15));
        assert_eq!(of(&[7]).unwrap().median(), Duration::from_millis(7));
    }
}
