//! A saved card against a new one: has the server changed its habits?

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::card::Card;
use crate::checks::CHECKS;
use crate::habit::{Habit, Tolerance};
use crate::json::{CARD, MeasuredRecord, ValueRecord};

/// What was measured at another time.
#[derive(Clone, Debug)]
pub struct Baseline {
    values: BTreeMap<String, ValueRecord>,
}

/// Why a file is no saved card.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// No JSON, or another.
    #[error("it holds no card that `bypeer probe --save` or `--format json` wrote: {0}")]
    NotACard(String),
    /// Of a later version.
    #[error("it is a record of {0}; this bypeer reads {CARD}")]
    Schema(String),
}

/// Then and now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Habits that are as they were.
    pub same: usize,
    /// Those that are not.
    pub changed: Vec<Change>,
    /// Measured then; now the check was done and did not come so far.
    pub failed_now: Vec<String>,
    /// Measured then; now the check was not done.
    pub not_measured_now: Vec<String>,
    /// Measured now, not then.
    pub not_measured_before: Vec<String>,
}

/// A habit that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub habit: String,
    /// Its value then.
    pub before: String,
    /// Its value now.
    pub now: String,
}

#[derive(Deserialize)]
struct Saved {
    schema: String,
    checks: Vec<SavedCheck>,
}

#[derive(Deserialize)]
struct SavedCheck {
    measured: Vec<MeasuredRecord>,
}

impl Baseline {
    /// Reads a saved card. Of JSON Lines, the last line that is one.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(text: &str) -> Result<Baseline, BaselineError> {
        let line = text
            .lines()
            .rfind(|line| line.contains("\"bypeer.probe/"))
            .unwrap_or(text);
        let not_a_card = |error: serde_json::Error| BaselineError::NotACard(error.to_string());
        let saved: Saved = serde_json::from_str(line).map_err(not_a_card)?;
        if saved.schema != CARD {
            return Err(BaselineError::Schema(saved.schema));
        }
        let measured = saved.checks.into_iter().flat_map(|check| check.measured);
        Ok(Baseline {
            values: measured.map(|measured| (measured.habit, measured.value)).collect(),
        })
    }

    /// Compares.
    pub fn against(&self, card: &Card) -> Comparison {
        let now: BTreeMap<&str, ValueRecord> = card
            .checks
            .iter()
            .flat_map(|done| &done.outcome.measured)
            .map(|measured| (measured.habit.name, ValueRecord::of(&measured.value)))
            .collect();
        let done: Vec<&str> = card.checks.iter().map(|done| done.check.id).collect();
        self.compare(&now, &done)
    }

    fn compare(&self, now: &BTreeMap<&str, ValueRecord>, done: &[&str]) -> Comparison {
        let mut comparison = Comparison::default();
        let was_asked = |name: &str| {
            let mut asked = CHECKS.iter().filter(|check| done.contains(&check.id));
            asked.any(|check| check.habits.iter().any(|habit| habit.name == name))
        };
        for (name, before) in &self.values {
            let habit = CHECKS
                .iter()
                .flat_map(|check| check.habits)
                .find(|habit| habit.name == name);
            if habit.is_some_and(|habit| habit.tolerance == Tolerance::Never) {
                continue;
            }
            match (habit, now.get(name.as_str())) {
                (Some(habit), Some(now)) if alike(habit, before, now) => comparison.same += 1,
                (Some(_), Some(now)) => comparison.changed.push(Change {
                    habit: name.clone(),
                    before: words(before),
                    now: words(now),
                }),
                (Some(_), None) if was_asked(name) => comparison.failed_now.push(name.clone()),
                _ => comparison.not_measured_now.push(name.clone()),
            }
        }
        comparison.not_measured_before = now
            .keys()
            .filter(|name| !self.values.contains_key(**name))
            .map(|name| (*name).to_owned())
            .collect();
        comparison
    }
}

fn alike(habit: &Habit, before: &ValueRecord, now: &ValueRecord) -> bool {
    use ValueRecord::{Count, LongerThan, MoreThan, Share, Time};
    let within = |apart: f64, larger: f64| match habit.tolerance {
        Tolerance::Exact => apart == 0.0,
        Tolerance::Within(time, share) => apart <= time.as_secs_f64().max(larger * share),
        Tolerance::Share(share) => apart <= larger * share,
        Tolerance::Never => true,
    };
    match (before, now) {
        (
            Time { low, high, .. },
            Time {
                low: low_now,
                high: high_now,
                ..
            },
        ) => {
            // Spreads that overlap are not apart.
            let apart = (low_now - high).max(low - high_now).max(0.0);
            within(apart, high.max(*high_now))
        }
        // Waited for less long then or now: nothing speaks against it.
        (LongerThan { .. }, LongerThan { .. }) | (MoreThan { .. }, MoreThan { .. }) => true,
        (LongerThan { value }, Time { high, .. }) | (Time { high, .. }, LongerThan { value }) => {
            high >= value || within(value - high, *value)
        }
        (Count { value }, Count { value: now }) => within(value.abs_diff(*now) as f64, *value.max(now) as f64),
        (MoreThan { value: bound }, Count { value }) | (Count { value }, MoreThan { value: bound }) => {
            value >= bound || within((bound - value) as f64, *bound as f64)
        }
        (
            Share { had, of },
            Share {
                had: had_now,
                of: of_now,
            },
        ) => {
            let share = |had: u64, of: u64| had as f64 / of.max(1) as f64;
            within((share(*had, *of) - share(*had_now, *of_now)).abs(), 1.0)
        }
        (before, now) => before == now,
    }
}

/// A value, for people.
fn words(value: &ValueRecord) -> String {
    let seconds = |seconds: f64| crate::advice::seconds(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    match value {
        ValueRecord::Time { median, low, high, .. } if high - low > 0.05 => {
            format!("{} ({} to {})", seconds(*median), seconds(*low), seconds(*high))
        }
        ValueRecord::Time { median, .. } => seconds(*median),
        ValueRecord::LongerThan { value } => format!("longer than {}", seconds(*value)),
        ValueRecord::Count { value } => value.to_string(),
        ValueRecord::MoreThan { value } => format!("more than {value}"),
        ValueRecord::Share { had, of } => format!("{had} of {of}"),
        ValueRecord::Flag { value: true } => "yes".to_owned(),
        ValueRecord::Flag { value: false } => "no".to_owned(),
        ValueRecord::Word { value } => value.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn time(low: f64, high: f64) -> ValueRecord {
        ValueRecord::Time {
            median: (low + high) / 2.0,
            low,
            high,
            samples: 3,
        }
    }

    fn compared(before: ValueRecord, now: ValueRecord) -> Comparison {
        let baseline = Baseline {
            values: [("idle-timeout.after-one".to_owned(), before)].into(),
        };
        baseline.compare(&[("idle-timeout.after-one", now)].into(), &["idle-timeout"])
    }

    #[test]
    fn what_is_within_the_tolerance_is_the_same_habit() {
        let longer = |value| ValueRecord::LongerThan { value };
        for (before, now) in [
            (time(5.0, 5.0), time(5.9, 6.0)),
            (time(75.0, 75.0), time(72.0, 72.1)),
            (time(4.0, 6.0), time(6.5, 8.0)),
            (longer(8.0), longer(100.0)),
            (longer(8.0), time(60.0, 60.0)),
            (time(60.0, 60.0), longer(8.0)),
        ] {
            assert_eq!(compared(before.clone(), now.clone()).same, 1, "{before:?} {now:?}");
        }
    }

    #[test]
    fn what_is_beyond_it_is_a_change_that_is_told_both_ways() {
        let changed = compared(time(5.0, 5.0), time(60.0, 60.0)).changed;
        assert_eq!(changed[0].before, "5.0 s");
        assert_eq!(changed[0].now, "60 s");
        for (before, now) in [
            (time(75.0, 75.0), time(60.0, 60.0)),
            (ValueRecord::LongerThan { value: 135.0 }, time(5.0, 5.0)),
            (time(5.0, 5.0), ValueRecord::Word { value: "x".to_owned() }),
        ] {
            assert_eq!(
                compared(before.clone(), now.clone()).changed.len(),
                1,
                "{before:?} {now:?}"
            );
        }
    }

    #[test]
    fn what_was_measured_only_once_is_no_change() {
        let baseline = Baseline {
            values: [("gone".to_owned(), time(1.0, 1.0))].into(),
        };
        let comparison = baseline.compare(
            &[("idle-timeout.kept", ValueRecord::Flag { value: true })].into(),
            &["idle-timeout"],
        );
        assert_eq!(comparison.not_measured_now, ["gone"]);
        assert_eq!(comparison.not_measured_before, ["idle-timeout.kept"]);
        assert!(comparison.changed.is_empty());
    }

    #[test]
    fn what_cannot_be_measured_again_counts_only_where_the_check_was_done() {
        let baseline = Baseline {
            values: [("idle-timeout.after-one".to_owned(), time(5.0, 5.0))].into(),
        };
        let asked = baseline.compare(&BTreeMap::new(), &["idle-timeout"]);
        assert_eq!(asked.failed_now, ["idle-timeout.after-one"]);
        assert!(asked.not_measured_now.is_empty());
        let not_asked = baseline.compare(&BTreeMap::new(), &["lifetime"]);
        assert!(not_asked.failed_now.is_empty());
        assert_eq!(not_asked.not_measured_now, ["idle-timeout.after-one"]);
    }

    #[test]
    fn another_file_is_refused() {
        assert!(matches!(Baseline::read("{}"), Err(BaselineError::NotACard(_))));
        assert!(matches!(Baseline::read("\u{0}\u{1}"), Err(BaselineError::NotACard(_))));
        assert!(matches!(
            Baseline::read(r#"{"schema":"bypeer.probe/9","checks":[]}"#),
            Err(BaselineError::Schema(schema)) if schema == "bypeer.probe/9"
        ));
        let saved = r#"{"schema":"bypeer.probe/1","more":1,"checks":[{"measured":[{"habit":"a","kind":"flag","value":true}]}]}"#;
        assert_eq!(
            Baseline::read(&format!("{{\"schema\":\"x\"}}\n{saved}\n"))
                .unwrap()
                .values
                .len(),
            1
        );
    }
}
