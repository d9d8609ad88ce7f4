//! Ratios of slices that lie side by side.

use std::fmt;

use super::Slice;
use crate::bench::median::Median;

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
        let of = |values: Vec<f64>| Median::of(values).expect("at least one pair");
        let ratio = of(pairs
            .iter()
            .map(|pair| cost(&pair.with) / cost(&pair.without))
            .collect());
        let without = of(pairs.iter().map(|pair| cost(&pair.without)).collect());
        Ratio {
            per_request: without.middle * ratio.middle * 1e6,
            median: ratio.middle,
            low: ratio.low,
            high: ratio.high,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
