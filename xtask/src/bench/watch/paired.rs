//! Ratios of slices that lie side by side.

use std::fmt;

use super::Slice;

/// With nothing, and while something listens.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    without: Slice,
    with: Slice,
}

impl Pair {
    pub fn of(without: Slice, with: Slice) -> Pair {
        Pair { without, with }
    }
}

/// How much more a request takes: the median of the pairs' ratios.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// Microseconds, the median with nothing times the ratio.
    per_request: f64,
    median: f64,
    low: f64,
    high: f64,
}

impl Ratio {
    /// Of what `cost` says of a slice. At least one pair.
    pub fn of(pairs: &[Pair], cost: impl Fn(&Slice) -> f64) -> Ratio {
        let ratios = sorted(pairs.iter().map(|pair| cost(&pair.with) / cost(&pair.without)));
        let without = sorted(pairs.iter().map(|pair| cost(&pair.without)));
        let rank = rank_below_median(ratios.len());
        let median = median(&ratios);
        Ratio {
            per_request: self::median(&without) * median * 1e6,
            median,
            low: ratios[rank],
            high: ratios[ratios.len() - 1 - rank],
        }
    }

    /// Whether a control differs from what it should be, 1.
    pub fn is_off(&self) -> bool {
        (self.median - 1.0).abs() > 0.01
    }

    pub fn verdict(&self, goal: f64) -> &'static str {
        if self.high <= goal {
            "goal met"
        } else if self.median <= goal {
            "goal met by the median, the interval reaches beyond"
        } else if self.low <= goal {
            "above the goal by the median, the interval reaches below"
        } else {
            "above the goal"
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = format!("[{:.3}, {:.3}]", self.low, self.high);
        write!(
            formatter,
            "{:>12.2}{:>8.3}  {interval:<17}",
            self.per_request, self.median
        )
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
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
mod tests {
    use std::time::Duration;

    use super::*;

    /// Ranks as tables of the sign test have them (which count from 1).
    #[test]
    fn the_interval_of_the_median() {
        for (count, rank) in [(1, 0), (5, 0), (6, 1), (10, 2), (20, 6), (40, 14), (80, 31)] {
            assert_eq!(rank_below_median(count), usize::saturating_sub(rank, 1), "{count}");
        }
    }

    #[test]
    fn a_ratio_is_of_neighbours() {
        let slice = |micros| Slice {
            requests: 1,
            elapsed: Duration::from_micros(micros),
            processor: Duration::ZERO,
        };
        // The machine slows down by half; the ratio stays.
        let pairs: Vec<Pair> = (1..=40)
            .map(|step| Pair::of(slice(step * 1000), slice(step * 1030)))
            .collect();
        let ratio = Ratio::of(&pairs, Slice::elapsed_per_request);
        assert!((ratio.median - 1.03).abs() < 1e-9 && ratio.high < 1.031, "{ratio}");
        assert!(ratio.is_off());
        assert_eq!(ratio.verdict(1.04), "goal met");
        assert_eq!(ratio.verdict(1.01), "above the goal");
    }
}
