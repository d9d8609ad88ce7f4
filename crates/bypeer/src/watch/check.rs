//! `bypeer watch --check`: what this kernel and this caller allow.

use std::io::Write as _;

use bypeer_report::{Exit, escape};
use bypeer_watch::bpf::{Capabilities, HookState};
use bypeer_watch::kernel::Deaths;
use bypeer_watch::ring::{Options, Prepared};
use bypeer_watch::source::{Availability, Facts, Obstacle, Source, availabilities, best, refuse};
use bypeer_watch::tracefs::Tracefs;

use crate::output;

/// Prints it. The exit status is that of trouble only when nothing at all can be listened to.
pub(super) fn run() -> anyhow::Result<Exit> {
    let facts = Facts::read();
    let mut sources = availabilities(&facts);
    // Who tries knows better than any list of conditions.
    let hooks = Capabilities::probe();
    if let Err(error) = &hooks
        && sources.iter().any(|of| of.source == Source::Bpf && of.is_available())
    {
        refuse(&mut sources, Source::Bpf, &error.to_string());
    }
    let known = |source| {
        sources
            .iter()
            .any(|of: &Availability| of.source == source && !of.is_available())
    };
    if !known(Source::Tracefs)
        && let Err(error) = Tracefs::open(std::process::id())
    {
        refuse(&mut sources, Source::Tracefs, &error.to_string());
    }
    if let Err(error) = Deaths::open() {
        refuse(&mut sources, Source::SockDiag, &error.to_string());
    }
    let mut lines = vec![format!("Linux {}", facts.release.trim()), String::new()];
    for availability in &sources {
        describe(availability, &mut lines);
        if let (Source::Bpf, Ok(capabilities)) = (availability.source, &hooks) {
            describe_hooks(capabilities, &mut lines);
        }
    }
    lines.push(match Prepared::open(&Options::default()) {
        Ok(_) => "--write    can be had: packets of this network namespace".to_owned(),
        Err(error) => format!("--write    not to be had: {}", escape(&error.to_string())),
    });
    let best = best(&sources);
    lines.push(String::new());
    lines.push(match best {
        Some(source) => format!("`bypeer watch` listens by {}", source.name()),
        None => "`bypeer watch` cannot listen to anything here".to_owned(),
    });
    let mut out = output::stdout();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(best.map_or(Exit::Trouble, |_| Exit::Nothing))
}

fn describe(availability: &Availability, lines: &mut Vec<String>) {
    let name = availability.source.name();
    if availability.is_available() {
        lines.push(format!("{name:<10} can be had"));
        let unknown = availability.source.unknown().iter();
        lines.extend(unknown.map(|unknown| format!("           not told: {unknown}")));
        let limits = availability.limits.iter();
        lines.extend(limits.map(|limit| format!("           limited: {limit}")));
        return;
    }
    lines.push(format!("{name:<10} not to be had"));
    let obstacles = availability.obstacles.iter();
    lines.extend(obstacles.map(|obstacle| format!("           {}", escape(&obstacle.to_string()))));
    let mut helps: Vec<String> = availability.obstacles.iter().filter_map(Obstacle::help).collect();
    helps.dedup();
    lines.extend(helps.iter().map(|help| format!("           what helps: {help}")));
}

/// The places in the kernel where the kernel part looks.
fn describe_hooks(capabilities: &Capabilities, lines: &mut Vec<String>) {
    for hook in &capabilities.hooks {
        let state = match &hook.state {
            HookState::Attached => "looks there".to_owned(),
            HookState::NotWanted => "not needed: another hook tells it".to_owned(),
            HookState::Missing => format!("this kernel has none; lost: {}", hook.lost),
            HookState::Refused(words) => format!("refused ({}); lost: {}", escape(words), hook.lost),
        };
        lines.push(format!("           {:<22} {state}", hook.name));
    }
    let notes = capabilities.notes.iter();
    lines.extend(notes.map(|note| format!("           note: {}", escape(&note.to_string()))));
}
