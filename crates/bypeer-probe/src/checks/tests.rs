use std::collections::HashSet;

use super::*;
use crate::prober::Options;

/// What a check's manual must tell, in this order.
const SECTIONS: [&str; 4] = [
    "## What it asks",
    "## What it does",
    "## What it cannot tell",
    "## What to do",
];

#[test]
fn every_check_has_a_manual_and_a_plan() {
    let mut ids = HashSet::new();
    for check in CHECKS {
        assert!(ids.insert(check.id), "{} is there twice", check.id);
        assert!(
            check.manual.starts_with(&format!("# {}: {}\n", check.id, check.title)),
            "{}",
            check.id
        );
        let mut from = 0;
        for section in SECTIONS {
            let at = check.manual[from..].find(section);
            assert!(at.is_some(), "{}: {section} is missing, or not in its place", check.id);
            from += at.unwrap_or(0);
        }
        let plan = (check.plan)(&Options::default());
        assert!(!plan.what.is_empty() && plan.connections > 0, "{}", check.id);
        for habit in check.habits {
            assert!(
                check.manual.contains(habit.name),
                "{}: {} is not in the manual",
                check.id,
                habit.name
            );
        }
    }
    assert!(ids.contains(IDLE));
}

#[test]
fn no_two_habits_share_a_name() {
    let mut names = HashSet::new();
    for habit in CHECKS.iter().flat_map(|check| check.habits) {
        assert!(names.insert(habit.name), "{}", habit.name);
    }
}
