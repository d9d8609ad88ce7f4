//! Medians, and how sure they are.

/// The median of measured values, and where the true one lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    /// Of an even number of values the mean of the two in the middle.
    pub middle: f64,
    /// The true median lies from here
    pub low: f64,
    /// to here with at least 95 %, whatever the distribution. Of fewer than six values: the smallest and the largest, which is less sure.
    pub high: f64,
}

impl Median {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Median> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let rank = rank_below_median(sorted.len());
        Some(Median {
            middle: f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2]),
            low: sorted[rank],
            high: sorted[last - rank],
        })
    }
}

/// From which place on (from 0) and up to which from the end the true median lies with at least 95 %, whatever the distribution: as
/// many values below it as heads among so many coins. 0 when there are too few values (under 6) to be so sure.
fn rank_below_median(count: usize) -> usize {
    let count = count as i32;
    let mut term = 0.5_f64.powi(count);
    let mut below = term;
    let mut rank = 0;
    while below <= 0.025 {
        term *= f64::from(count - rank) / f64::from(rank + 1);
        below += term;
        rank += 1;
    }
    usize::try_from(rank - 1).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Ranks as tables of the sign test have them (which count from 1).
    #[test]
    fn the_interval_of_the_median() {
        for (count, rank) in [(1, 0), (5, 0), (6, 1), (10, 2), (20, 6), (40, 14), (80, 31)] {
            assert_eq!(rank_below_median(count), usize::saturating_sub(rank, 1), "{count}");
        }
    }

    #[test]
    fn the_median_of_few_and_many() {
        assert_eq!(Median::of([]), None);
        let one = Median::of([7.0]).unwrap();
        assert_eq!((one.middle, one.low, one.high), (7.0, 7.0, 7.0));
        let even = Median::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((even.middle, even.low, even.high), (2.5, 1.0, 4.0));
        let ten = Median::of((1..=10).map(f64::from)).unwrap();
        assert_eq!((ten.middle, ten.low, ten.high), (5.5, 2.0, 9.0));
    }
}
