//! What was measured, as a table that is both Markdown and readable.

use std::fmt::Write as _;

use crate::bench::median::Median;

/// One thing that was measured of each of several, round by round: the same round at the same place.
#[derive(Clone, Debug)]
pub struct Row {
    pub what: String,
    /// In the order of the columns; empty where there is nothing to measure.
    pub values: Vec<Vec<f64>>,
    /// Digits after the point.
    pub digits: usize,
}

/// Columns by name, the last of them the null comparison.
#[derive(Clone, Debug)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

impl Table {
    /// Medians with their intervals.
    pub fn values(&self) -> String {
        let cell = |row: &Row, column: usize| cell(Median::of(row.values[column].iter().copied()), row.digits);
        self.text(&self.columns, |row| {
            (0..self.columns.len()).map(|column| cell(row, column)).collect()
        })
    }

    /// Ratios of pairs of columns: the median of the rounds' ratios. What is measured of both in a round lies side by side, and
    /// whatever slowed down the machine meanwhile slowed down both.
    pub fn ratios(&self, pairs: &[(usize, usize)]) -> String {
        let names: Vec<String> = pairs
            .iter()
            .map(|(one, other)| format!("{} / {}", self.columns[*one], self.columns[*other]))
            .collect();
        self.text(&names, |row| {
            let ratio = |(one, other): &(usize, usize)| {
                let both = row.values[*one].iter().zip(&row.values[*other]);
                cell(Median::of(both.map(|(one, other)| one / other)), 2)
            };
            pairs.iter().map(ratio).collect()
        })
    }

    fn text(&self, columns: &[String], cells: impl Fn(&Row) -> Vec<String>) -> String {
        let mut lines = vec![[vec![String::new()], columns.to_vec()].concat()];
        lines.extend(
            self.rows
                .iter()
                .map(|row| [vec![row.what.clone()], cells(row)].concat()),
        );
        aligned(&lines)
    }
}

/// Markdown whose columns are also straight when nobody renders it. The first line is the heading.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        })
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// `12.3 [12.1, 12.6]`
fn cell(median: Option<Median>, digits: usize) -> String {
    median.map_or_else(
        || "–".to_owned(),
        |Median { middle, low, high }| format!("{middle:.digits$} [{low:.digits$}, {high:.digits$}]"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            columns: vec!["guard".to_owned(), "nginx".to_owned()],
            rows: vec![
                Row {
                    what: "time".to_owned(),
                    values: vec![vec![3.0, 30.0, 300.0], vec![2.0, 20.0, 200.0]],
                    digits: 1,
                },
                Row {
                    what: "space".to_owned(),
                    values: vec![vec![1.0], vec![]],
                    digits: 0,
                },
            ],
        }
    }

    #[test]
    fn medians_stand_with_their_intervals() {
        assert_eq!(
            table().values(),
            "|       | guard             | nginx             |\n\
             |-------|-------------------|-------------------|\n\
             | time  | 30.0 [3.0, 300.0] | 20.0 [2.0, 200.0] |\n\
             | space | 1 [1, 1]          | –                 |\n"
        );
    }

    /// A machine that becomes ten times slower changes no ratio.
    #[test]
    fn ratios_are_of_the_same_round() {
        assert_eq!(
            table().ratios(&[(0, 1)]),
            "|       | guard / nginx     |\n\
             |-------|-------------------|\n\
             | time  | 1.50 [1.50, 1.50] |\n\
             | space | –                 |\n"
        );
    }
}
