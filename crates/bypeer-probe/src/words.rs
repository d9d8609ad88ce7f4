//! A card in words, for people.

use std::fmt::Write as _;

use crate::card::Card;
use crate::check::{Check, Status};
use crate::prober::Options;
use crate::target::Target;

/// What will be done, before it is done.
pub fn plan(target: &Target, options: &Options, checks: &[&Check]) -> String {
    let mut out = format!("{target} at {}: {} checks\n", target.place, checks.len());
    for check in checks {
        let plan = (check.plan)(options);
        let _ = writeln!(out, "  {:<20} {}", check.id, plan.what);
    }
    out
}

/// The card.
pub fn card(card: &Card) -> String {
    let mut out = String::new();
    for done in &card.checks {
        let _ = writeln!(out, "{} ({:.1} s)", done.check.title, done.took.as_secs_f64());
        match &done.outcome.status {
            Status::Done => {}
            Status::Cut(why) => {
                let _ = writeln!(out, "  not to its end: {why}");
            }
            Status::Skipped(why) => {
                let _ = writeln!(out, "  not done: {why}");
            }
            Status::Failed(why) => {
                let _ = writeln!(out, "  could not be done: {why}");
            }
        }
        for line in &done.outcome.seen {
            let _ = writeln!(out, "  {line}");
        }
        for risk in &done.outcome.risks {
            let _ = writeln!(
                out,
                "  {} ({}, {}): {}; {}",
                risk.severity.name(),
                risk.cause,
                risk.sure,
                risk.what,
                risk.loses.words()
            );
            for why in &risk.because {
                let _ = writeln!(out, "    {why}");
            }
        }
    }
    out
}
