//! What products do around their idle limits that is not a setting.

use std::sync::LazyLock;
use std::time::Duration;

use super::defaults::Span;
use super::software::software_by_id;

/// A product's habits.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Habits {
    software: String,
    late: Option<Span>,
    /// It gives an opened connection up within the time that the other end announced. `None`: unknown.
    pub honours: Option<bool>,
    /// One setting for the connections that it accepted and those that it opened.
    #[serde(default)]
    pub one_limit: bool,
    pool_setting: Option<Span>,
    /// The name of that setting.
    pub pool_line: Option<String>,
    /// An opened connection lives between so many times the value of what governs its pool and is no limit.
    pub pool_times: Option<(u32, u32)>,
    /// Where it was read.
    pub source: String,
    /// It was read in the source, or measured; false: from memory.
    pub verified: bool,
}

#[derive(serde::Deserialize)]
struct Table {
    habit: Vec<Habits>,
}

// The file is part of the program; a test parses it, so a table that does not parse never ships.
static HABITS: LazyLock<Vec<Habits>> = LazyLock::new(|| {
    toml::from_str::<Table>(include_str!("../../facts/habits.toml"))
        .map(|table| table.habit)
        .unwrap_or_default()
});

/// The habits of a product, or of what is inside it.
pub fn habits(software: &str) -> Option<&'static Habits> {
    software_by_id(software)?
        .and_inside()
        .find_map(|known| HABITS.iter().find(|row| row.software == known.id))
}

impl Habits {
    /// A connection that it accepted is closed between its idle limit and so much later.
    pub fn late(&self) -> Duration {
        self.late.map_or(Duration::ZERO, |Span(late)| late)
    }

    /// The default of what governs its pool and is no limit.
    pub fn pool_setting(&self) -> Option<Duration> {
        self.pool_setting.map(|Span(time)| time)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_habit_is_that_of_known_software() {
        let table: Table = toml::from_str(include_str!("../../facts/habits.toml")).unwrap();
        for row in &table.habit {
            assert_eq!(software_by_id(&row.software).unwrap().id, row.software);
            assert!(!row.source.is_empty());
            assert!(
                row.pool_times.is_none_or(|(least, most)| 0 < least && least <= most),
                "{}",
                row.software
            );
        }
        assert_eq!(habits("node").unwrap().late(), Duration::from_secs(1));
        assert_eq!(
            habits("EXPRESS").unwrap().late(),
            Duration::from_secs(1),
            "Node is inside"
        );
        assert!(habits("alb").unwrap().one_limit);
        assert!(habits("no such thing").is_none());
    }
}
