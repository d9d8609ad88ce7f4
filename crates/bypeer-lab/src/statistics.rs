//! Rates with their intervals, medians and spreads.

use std::fmt;

/// The 97.5 % quantile of the normal distribution: 95 % lie within it on both sides.
const Z: f64 = 1.959_963_984_540_054;

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Rounds in which it happened.
    pub events: u64,
    /// Of so many. `events <= of`; what is more counts as all.
    pub of: u64,
}

impl Rate {
    /// Counts one more round.
    pub fn count(&mut self, happened: bool) {
        self.events += u64::from(happened);
        self.of += 1;
    }

    /// The share, 0 to 1; `None` of nothing.
    pub fn share(&self) -> Option<f64> {
        (self.of > 0).then(|| self.events.min(self.of) as f64 / self.of as f64)
    }

    /// The 95 % interval of the true share, 0 to 1 (Wilson 1927, the score interval without continuity correction: good for
    /// few rounds too, and for shares of nought and all). Of no rounds: anything, (0, 1).
    pub fn interval(&self) -> (f64, f64) {
        let Some(share) = self.share() else { return (0.0, 1.0) };
        let of = self.of as f64;
        let spread = Z * Z / of;
        let middle = share + spread / 2.0;
        let reach = Z * (share * (1.0 - share) / of + spread / (4.0 * of)).sqrt();
        let low = (middle - reach) / (1.0 + spread);
        let high = (middle + reach) / (1.0 + spread);
        // Exact at the ends, where rounding would leave a trace.
        let low = if self.events == 0 { 0.0 } else { low.clamp(0.0, 1.0) };
        let high = if self.events >= self.of {
            1.0
        } else {
            high.clamp(0.0, 1.0)
        };
        (low, high)
    }

    /// The 95 % interval of this share less `other`'s, -1 to 1 (Newcombe 1998, method 10). Where 0 lies outside of it,
    /// the two differ by more than chance.
    pub fn less(&self, other: &Rate) -> (f64, f64) {
        let (Some(share), Some(other_share)) = (self.share(), other.share()) else {
            return (-1.0, 1.0);
        };
        let ((low, high), (other_low, other_high)) = (self.interval(), other.interval());
        let difference = share - other_share;
        (
            (difference - (share - low).hypot(other_high - other_share)).max(-1.0),
            (difference + (high - share).hypot(other_share - other_low)).min(1.0),
        )
    }
}

impl fmt::Display for Rate {
    /// `5 of 10 (23.7 … 76.3 %)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.interval();
        let percent = |share: f64| format!("{:.1}", share * 100.0);
        write!(
            f,
            "{} of {} ({} … {} %)",
            self.events,
            self.of,
            percent(low),
            percent(high)
        )
    }
}

/// Measured values, at least one: bytes, times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread<T> {
    /// Never empty.
    sorted: Vec<T>,
}

/// The median of a list, as [`Spread::median`].
pub fn median<T: Copy + Ord>(values: &[T]) -> Option<T> {
    Spread::of(values.iter().copied()).map(|spread| spread.median())
}

/// Whether the values of `mine` are smaller than those of `theirs` by more than chance (95 %; Mann and Whitney 1947, by the normal
/// approximation, with the correction for values that are equal). Never, if one list is empty or all values are the same.
pub fn tends_below<T: Copy + Ord>(mine: &[T], theirs: &[T]) -> bool {
    let count = |compare: fn(&T, &T) -> bool| -> usize {
        let of = |value: &T| theirs.iter().filter(|other| compare(value, other)).count();
        mine.iter().map(of).sum()
    };
    // Of all pairs, those in which mine is smaller; of equal ones half.
    let pairs = count(T::lt) as f64 + count(T::eq) as f64 / 2.0;
    let (m, n) = (mine.len() as f64, theirs.len() as f64);
    let all = m + n;
    let mut values: Vec<T> = mine.iter().chain(theirs).copied().collect();
    values.sort_unstable();
    let ties: f64 = values
        .chunk_by(T::eq)
        .map(|equal| (equal.len() as f64).powi(3) - equal.len() as f64)
        .sum();
    let variance = m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    variance > 0.0 && pairs - m * n / 2.0 > Z * variance.sqrt()
}

impl<T: Copy + Ord> Spread<T> {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = T>) -> Option<Spread<T>> {
        let mut sorted: Vec<T> = values.into_iter().collect();
        sorted.sort_unstable();
        (!sorted.is_empty()).then_some(Spread { sorted })
    }

    /// How many values.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest.
    pub fn min(&self) -> T {
        self.sorted[0]
    }

    /// The largest.
    pub fn max(&self) -> T {
        self.sorted[self.sorted.len() - 1]
    }

    /// The smallest measured value that at least half of all do not exceed.
    pub fn median(&self) -> T {
        self.quantile(0.5)
    }

    /// The smallest measured value that at least this share (0 to 1) of all do not exceed: nearest rank, so that it is
    /// always one that was measured. Outside of 0 to 1, the smallest or the largest.
    pub fn quantile(&self, share: f64) -> T {
        // Without the slack 0.07 of 100 would be the 8th: 0.07 * 100.0 is 7.000000000000001.
        let rank = (share * self.sorted.len() as f64 - 1e-9).ceil();
        // `as` saturates, and takes what is no number for 0.
        let index = (rank as usize).clamp(1, self.sorted.len()) - 1;
        self.sorted[index]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn percent((low, high): (f64, f64)) -> (f64, f64) {
        ((low * 1000.0).round() / 10.0, (high * 1000.0).round() / 10.0)
    }

    #[test]
    fn wilsons_interval() {
        let cases = [
            (0, 100, (0.0, 3.7)),
            (100, 100, (96.3, 100.0)),
            (5, 10, (23.7, 76.3)),
            (0, 1, (0.0, 79.3)),
            // Newcombe 1998, table I, method 3.
            (81, 263, (25.5, 36.6)),
            (15, 148, (6.2, 16.0)),
            (0, 20, (0.0, 16.1)),
            (1, 29, (0.6, 17.2)),
            (0, 0, (0.0, 100.0)),
            (3, 2, (34.2, 100.0)),
        ];
        for (events, of, expected) in cases {
            assert_eq!(percent(Rate { events, of }.interval()), expected, "{events} of {of}");
        }
    }

    #[test]
    fn an_interval_holds_its_share_and_shrinks_with_more_rounds() {
        for of in 1..200 {
            for events in 0..=of {
                let rate = Rate { events, of };
                let (low, high) = rate.interval();
                let share = rate.share().unwrap();
                assert!(0.0 <= low && low <= share && share <= high && high <= 1.0, "{rate}");
                let (more_low, more_high) = Rate {
                    events: events * 4,
                    of: of * 4,
                }
                .interval();
                assert!(more_high - more_low < high - low, "{rate}");
            }
        }
    }

    #[test]
    fn the_difference_of_two_rates() {
        // Newcombe 1998 (Interval estimation for the difference between independent proportions), table II, method 10.
        let rounded = |(low, high): (f64, f64)| ((low * 1e4).round() / 1e4, (high * 1e4).round() / 1e4);
        let (many, few) = (Rate { events: 56, of: 70 }, Rate { events: 48, of: 80 });
        assert_eq!(rounded(many.less(&few)), (0.0524, 0.3339));
        assert_eq!(rounded(few.less(&many)), (-0.3339, -0.0524));
        let (nine, three) = (Rate { events: 9, of: 10 }, Rate { events: 3, of: 10 });
        assert_eq!(rounded(nine.less(&three)), (0.1705, 0.8090));
        assert_eq!(many.less(&Rate::default()), (-1.0, 1.0));
    }

    #[test]
    fn what_tends_below_does_so_by_more_than_chance() {
        let low: Vec<u64> = (0..15).collect();
        let high: Vec<u64> = (10..25).collect();
        assert!(tends_below(&low, &high) && !tends_below(&high, &low));
        assert!(!tends_below(&low, &low), "the same");
        assert!(!tends_below(&low, &[0, 15]), "too few");
        assert!(!tends_below(&[0; 15], &[0; 15]) && !tends_below::<u64>(&[], &high) && !tends_below::<u64>(&[1], &[]));
        // Of 5 and 5: 2 of 25 pairs the other way round are within 5 % (critical value of U: 2), 3 are not.
        assert!(tends_below(&[1, 2, 3, 4, 7], &[5, 6, 8, 9, 10]));
        assert!(!tends_below(&[1, 2, 3, 6, 8], &[4, 5, 7, 9, 10]));
        // One that is otherwise among many that are equal is nothing; six are.
        let rest = |count: usize| [vec![1_u64; count], vec![5; 15 - count]].concat();
        assert!(!tends_below(&rest(1), &[5; 15]) && tends_below(&rest(6), &[5; 15]));
    }

    #[test]
    fn a_rate_counts_and_shows_itself() {
        let mut rate = Rate::default();
        (0..10).for_each(|round| rate.count(round % 2 == 0));
        assert_eq!(rate.to_string(), "5 of 10 (23.7 … 76.3 %)");
    }

    #[test]
    fn quantiles_are_measured_values() {
        assert_eq!(Spread::<u64>::of([]), None);
        let one = Spread::of([7u64]).unwrap();
        assert_eq!((one.min(), one.median(), one.max(), one.quantile(0.99)), (7, 7, 7, 7));
        let even = Spread::of([4u64, 1, 3, 2]).unwrap();
        assert_eq!((even.min(), even.median(), even.max(), even.count()), (1, 2, 4, 4));
        let hundred = Spread::of((1..=100).map(Duration::from_millis)).unwrap();
        for percent in 1..=100u32 {
            let expected = Duration::from_millis(u64::from(percent));
            assert_eq!(hundred.quantile(f64::from(percent) / 100.0), expected, "{percent} %");
        }
        for (share, expected) in [
            (0.0, 1),
            (-1.0, 1),
            (0.001, 1),
            (2.0, 100),
            (f64::NAN, 1),
            (f64::INFINITY, 100),
        ] {
            assert_eq!(hundred.quantile(share), Duration::from_millis(expected), "{share}");
        }
    }
}
