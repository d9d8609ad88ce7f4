//! Tallies in words, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::scenario::Scenario;
use crate::statistics::{Rate, median};
use crate::tally::{Explained, Tally};

/// All about one variant.
pub fn account(tally: &Tally) -> String {
    let mut out = format!("{}: {}\n", tally.variant.label(), tally.variant.title);
    if let Some((id, owner, title, _)) = &tally.variant.fix {
        line(&mut out, "change", &format!("{id} ({owner}): {title}"));
    }
    line(&mut out, "shown", &rate(&tally.shown_rate()));
    for (complaint, count) in &tally.complaints {
        line(&mut out, "not shown", &format!("{count}: {complaint}"));
    }
    line(
        &mut out,
        "client",
        &counts(tally.endings.iter().map(|(ending, count)| (ending.clone(), *count))),
    );
    if tally.responses_lost > 0 {
        let losses = tally.loss_rate();
        let mut text = format!(
            "{} of {} responses (95 %: {})",
            losses.events,
            losses.of,
            interval(&losses)
        );
        if let Some(bytes) = median(&tally.bytes_lost).filter(|bytes| *bytes > 0) {
            let _ = write!(text, "; median {bytes} bytes a round");
        }
        if tally.misdelivered > 0 {
            let _ = write!(text, "; {} belonged to another request", tally.misdelivered);
        }
        line(&mut out, "lost", &text);
    }
    let resets = tally
        .resets
        .iter()
        .map(|((host, reason, state), count)| (format!("{host} {reason} in {state}"), *count));
    let resets = counts(resets);
    line(
        &mut out,
        "resets",
        if resets.is_empty() {
            "none that the kernel told of"
        } else {
            &resets
        },
    );
    let telling = [
        "TCPAbortOnClose",
        "TCPAbortOnData",
        "TCPAbortOnTimeout",
        "TCPAbortOnLinger",
        "ListenOverflows",
        "ListenDrops",
        "TCPReqQFullDrop",
    ];
    let moved = counts(
        tally
            .counters
            .iter()
            .filter(|((_, name), _)| telling.contains(&name.as_str()))
            .map(|((host, name), by)| (format!("{host} {name}"), *by)),
    );
    if !moved.is_empty() {
        line(&mut out, "counters", &moved);
    }
    if let Some(unread) = median(&tally.unread).filter(|unread| *unread > 0) {
        line(
            &mut out,
            "unread",
            &format!("median {unread} bytes in the server's socket when it died"),
        );
    }
    for (host, explained) in &tally.explained {
        line(
            &mut out,
            "explain",
            &format!("{host}'s capture: {}", verdicts(explained)),
        );
    }
    for (words, count) in &tally.accusations {
        line(&mut out, "wrong", &format!("{count}: {words}"));
    }
    for (unchecked, count) in &tally.unchecked {
        line(&mut out, "unchecked", &format!("{count}: {unchecked}"));
    }
    out
}

/// A scenario with its changes, side by side: the first tally is the one without a change.
pub fn fixes(tallies: &[Tally]) -> String {
    let Some(without) = tallies.first() else {
        return String::new();
    };
    let base = median(&without.client_time);
    let mut rows = vec![
        [
            "change",
            "who",
            "failures",
            "95 %",
            "lost",
            "bytes lost",
            "client's time",
            "said to",
            "holds",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for tally in tallies {
        let (id, owner, claim) = match &tally.variant.fix {
            Some((id, owner, _, claim)) => (id.as_str(), owner.as_str(), claim.name()),
            None => ("(none)", "", ""),
        };
        let failures = tally.failure_rate();
        let time = median(&tally.client_time);
        rows.push(vec![
            id.to_owned(),
            owner.to_owned(),
            format!("{} of {}", failures.events, failures.of),
            interval(&failures),
            format!("{} of {}", tally.responses_lost, tally.responses),
            median(&tally.bytes_lost).map_or_else(String::new, |bytes| bytes.to_string()),
            match (time, base) {
                (Some(time), _) if tally.variant.fix.is_none() => milliseconds(time),
                (Some(time), Some(base)) => difference(time, base),
                _ => String::new(),
            },
            claim.to_owned(),
            match tally.claim_holds(without) {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            }
            .to_owned(),
        ]);
    }
    let mut out = table(&rows);
    for tally in tallies {
        let Some((id, ..)) = &tally.variant.fix else { continue };
        for (words, count) in &tally.accusations {
            line(&mut out, "wrong", &format!("{count} with {id}: {words}"));
        }
    }
    out
}

/// One variant in a line, or two where something is wrong.
pub fn overview_line(tally: &Tally) -> String {
    let explained: Vec<String> = tally
        .explained
        .iter()
        .map(|(host, explained)| format!("{host}'s capture {}", verdicts(explained)))
        .collect();
    let endings: Vec<&str> = tally.endings.keys().map(String::as_str).collect();
    let mut out = format!(
        "{:<42} {:>3} of {:<3}  {:<24} {}\n",
        tally.variant.label(),
        tally.shown,
        tally.rounds,
        endings.join(", "),
        explained.join(", ")
    );
    for (trouble, count) in tally.complaints.iter().chain(&tally.accusations) {
        line(&mut out, "", &format!("{count}: {trouble}"));
    }
    out
}

/// What there is: scenarios with their changes and software.
pub fn list(scenarios: &[Scenario]) -> String {
    let mut out = String::new();
    for scenario in scenarios {
        let _ = writeln!(out, "{}\n  {}", scenario.id, scenario.title);
        let mut facts = Vec::new();
        match &scenario.cause {
            Some(cause) if *cause != scenario.id => facts.push(format!("cause {cause}")),
            _ => {}
        }
        if let Some(story) = scenario.story {
            facts.push(format!("story {story}"));
        }
        if !scenario.deterministic {
            facts.push("by chance: a rate is measured".to_owned());
        }
        if !facts.is_empty() {
            let _ = writeln!(out, "  {}", facts.join("; "));
        }
        for fix in &scenario.fixes {
            let _ = writeln!(out, "    --fixes {}: {} ({})", fix.id, fix.title, fix.owner);
        }
        for real in &scenario.reals {
            let title = if real.title.is_empty() {
                real.needs.join(", ")
            } else {
                real.title.clone()
            };
            let _ = writeln!(out, "    --real {}: {title}", real.id);
        }
    }
    out
}

fn line(out: &mut String, label: &str, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  {label:<10} {text}");
}

fn counts(counted: impl Iterator<Item = (String, u64)>) -> String {
    counted
        .map(|(name, count)| format!("{name} {count}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn verdicts(explained: &BTreeMap<Explained, u64>) -> String {
    counts(
        explained
            .iter()
            .map(|(verdict, count)| (verdict.name().to_owned(), *count)),
    )
}

fn rate(rate: &Rate) -> String {
    format!("{} of {} rounds (95 %: {})", rate.events, rate.of, interval(rate))
}

/// As `72–100 %`.
pub fn interval(rate: &Rate) -> String {
    let (low, high) = rate.interval();
    let percent = |share: f64| {
        let percent = share * 100.0;
        if percent < 10.0 && percent.fract() > 0.05 {
            format!("{percent:.1}")
        } else {
            format!("{percent:.0}")
        }
    };
    format!("{}–{} %", percent(low), percent(high))
}

/// As `12.3 ms`.
pub fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 100.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

fn difference(time: Duration, base: Duration) -> String {
    if time >= base {
        format!("+{}", milliseconds(time - base))
    } else {
        format!("−{}", milliseconds(base - time))
    }
}

/// Columns, as wide as their widest cell.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
