//! `bypeer lab run`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use bypeer_lab::round::{Bench, Round, RoundError};
use bypeer_lab::scenario::Scenario;
use bypeer_lab::tally::{Explained, Tally};
use bypeer_lab::{ActorProgram, json, words};
use bypeer_report::Exit;

use super::arguments::Run;
use super::examine::Happened;
use super::{Chosen, complain, examine, find, fix_of, real_of, stop};
use crate::cli::Format;
use crate::output;

/// Everything that a command line asks for: by scenario, the variants in the order in which they are run.
pub(super) fn choose(run: &Run) -> anyhow::Result<Vec<Vec<Chosen>>> {
    let mut scenarios = Vec::new();
    if run.all {
        scenarios = Scenario::all()?;
    }
    for which in &run.which {
        scenarios.extend(find(which)?);
    }
    let mut chosen = Vec::new();
    for scenario in &scenarios {
        let mut variants = Vec::new();
        if run.real.is_empty() {
            variants.push(Chosen::new(scenario, None, None, &run.change)?);
        } else if run.real == ["all"] {
            for real in &scenario.reals {
                variants.push(Chosen::new(scenario, None, Some(real), &run.change)?);
            }
        } else {
            for id in &run.real {
                variants.push(Chosen::new(scenario, None, Some(real_of(scenario, id)?), &run.change)?);
            }
        }
        if run.fixes == ["all"] {
            for fix in &scenario.fixes {
                variants.push(Chosen::new(scenario, Some(fix), None, &run.change)?);
            }
        } else {
            for id in &run.fixes {
                variants.push(Chosen::new(scenario, Some(fix_of(scenario, id)?), None, &run.change)?);
            }
        }
        chosen.push(variants);
    }
    Ok(chosen)
}

/// Runs it, in the lab's namespaces.
pub(super) fn run(run: &Run, number: u32) -> anyhow::Result<Exit> {
    let stop = stop()?;
    let many = run.all || run.which.len() > 1 || !run.real.is_empty();
    let mut worst = Exit::Nothing;
    let mut overview = Vec::new();
    let mut skipped = Vec::new();
    let mut no_trace = None;
    let mut benches = 0;
    'all: for variants in choose(run)? {
        let mut tallies: Vec<Tally> = Vec::new();
        for chosen in variants {
            let missing = chosen.missing();
            if !missing.is_empty() {
                skipped.push(format!("{}: needs {}", chosen.variant.label(), missing.join(", ")));
                continue;
            }
            let (tally, trouble) = {
                benches += 1;
                rounds(run, &chosen, (number, benches), &stop, &mut no_trace)?
            };
            if let Some(trouble) = trouble {
                worst = Exit::Trouble;
                if matches!(trouble, RoundError::Stopped) {
                    eprintln!(
                        "bypeer: stopped; {} rounds of {} are counted",
                        tally.rounds,
                        tally.variant.label()
                    );
                    tallies.push(tally);
                    tell(run, &tallies)?;
                    break 'all;
                }
                complain(&chosen.variant.label(), &trouble);
                if tally.rounds == 0 {
                    continue;
                }
            }
            if worst == Exit::Nothing && disappoints(&chosen, &tally) {
                worst = Exit::Findings;
            }
            if many && run.format == Format::Text && run.fixes.is_empty() {
                // As it comes: --all takes minutes.
                let mut out = output::stdout();
                out.write_all(words::overview_line(&tally).as_bytes())?;
                out.flush()?;
            }
            tallies.push(tally);
        }
        if !many || run.format == Format::Json || !run.fixes.is_empty() {
            tell(run, &tallies)?;
        }
        overview.extend(tallies);
    }
    if many && run.format == Format::Text {
        let shown = overview.iter().filter(|tally| tally.shown == tally.rounds).count();
        let mut out = output::stdout();
        writeln!(out, "{shown} of {} came true in every round", overview.len())?;
        out.flush()?;
    }
    // It holds for all of them: said once.
    if let Some(why) = no_trace {
        eprintln!("bypeer: {why}");
    }
    for skipped in &skipped {
        eprintln!("bypeer: skipped: {skipped}");
    }
    if overview.is_empty() && worst == Exit::Nothing {
        // Nothing was run: that is no success.
        worst = Exit::Trouble;
    }
    Ok(worst)
}

/// Did something not come true that should have?
fn disappoints(chosen: &Chosen, tally: &Tally) -> bool {
    if tally.accused() {
        return true;
    }
    // What a change or a user's program does is measured, not demanded.
    if tally.variant.fix.is_some() || chosen.users_own {
        return false;
    }
    let needed = if tally.variant.deterministic {
        tally.rounds
    } else {
        tally.rounds.min(1)
    };
    tally.shown < needed
}

/// The rounds of one variant; what ended them early, if something did.
fn rounds(
    run: &Run,
    chosen: &Chosen,
    (lab, number): (u32, u32),
    stop: &Arc<AtomicBool>,
    no_trace: &mut Option<String>,
) -> anyhow::Result<(Tally, Option<RoundError>)> {
    let mut tally = Tally::new(chosen.variant.clone());
    let mut bench = match Bench::new(chosen.plan.clone(), actor_program(), lab, number, Arc::clone(stop)) {
        Ok(bench) => bench,
        Err(error) => return Ok((tally, Some(error))),
    };
    for round in 1..=run.rounds.unwrap_or(if run.all { 1 } else { 10 }) {
        let seed = run.change.seed.wrapping_add(u64::from(round - 1));
        let round = match bench.round(round, seed) {
            Ok(round) => round,
            Err(error) => return Ok((tally, Some(error))),
        };
        if let Some(why) = bench.no_trace() {
            no_trace.get_or_insert_with(|| why.to_owned());
        }
        tally.add(&round);
        let mut explained = Vec::new();
        for host in examine::hosts(&chosen.plan.truth) {
            if let Some(capture) = capture_of(&round, host) {
                let outcome = examine::explain(&capture);
                let cause = chosen.scenario.cause.as_deref();
                let (verdict, words) = examine::judge(&outcome, host, cause, &chosen.plan.truth, happened(&round));
                tally.add_explained(host, verdict, words);
                explained.push((host.to_owned(), verdict));
            }
        }
        if let Some(folder) = &run.change.keep {
            keep(folder, chosen, &round, &explained)?;
        }
        if run.format == Format::Json {
            let mut out = output::stdout();
            json::write_round(&mut out, &chosen.variant, &round, &explained)?;
            out.flush()?;
        }
    }
    Ok((tally, None))
}

/// Is there anything that a finding could be about?
pub(super) fn happened(round: &Round) -> Happened {
    Happened {
        failed: round.verdict.failed(),
        shown: round.verdict.shows(),
        reset: round.recording.saw_reset(),
    }
}

/// What one host saw, as a capture.
pub(super) fn capture_of(round: &Round, host: &str) -> Option<Vec<u8>> {
    let names: Vec<String> = round.hosts.iter().map(|(name, _)| name.clone()).collect();
    let port = names.iter().position(|name| name == host)?;
    Some(round.recording.pcapng_of(&names, port))
}

/// Actors are this program.
pub(super) fn actor_program() -> ActorProgram {
    ActorProgram {
        path: "/proc/self/exe".into(),
        arguments: vec!["lab".to_owned(), "actor".to_owned()],
    }
}

/// Writes everything about a round below a folder.
pub(super) fn keep(
    folder: &Path,
    chosen: &Chosen,
    round: &Round,
    explained: &[(String, Explained)],
) -> anyhow::Result<()> {
    let mut name = chosen.variant.scenario.clone();
    for part in [
        chosen.variant.real.as_ref(),
        chosen.variant.fix.as_ref().map(|fix| &fix.0),
    ]
    .into_iter()
    .flatten()
    {
        name = format!("{name}+{part}");
    }
    let folder = folder.join(name).join(round.number.to_string());
    fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("{}: cannot be written", path.display()))
    };
    let names: Vec<String> = round.hosts.iter().map(|(name, _)| name.clone()).collect();
    write("capture.pcapng", &round.recording.pcapng(&names))?;
    for (port, name) in names.iter().enumerate() {
        write(&format!("{name}.pcapng"), &round.recording.pcapng_of(&names, port))?;
    }
    for (number, account) in round
        .accounts
        .iter()
        .enumerate()
        .filter(|(_, account)| !account.output.is_empty())
    {
        write(&format!("{}-{number}.log", account.host), account.output.as_bytes())?;
    }
    let mut record = Vec::new();
    json::write_round(&mut record, &chosen.variant, round, explained)?;
    write("round.json", &record)
}

fn tell(run: &Run, tallies: &[Tally]) -> anyhow::Result<()> {
    // None where it could not be run: then there is nothing to measure a change against.
    let without = tallies.iter().find(|tally| tally.variant.fix.is_none());
    let mut out = output::stdout();
    match (run.format, without) {
        (Format::Json, _) => {
            for tally in tallies {
                json::write_tally(&mut out, tally, without)?;
            }
        }
        (Format::Text, Some(without)) => {
            out.write_all(words::account(without).as_bytes())?;
            if tallies.len() > 1 {
                out.write_all(b"\n")?;
                out.write_all(words::fixes(tallies).as_bytes())?;
            }
        }
        (Format::Text, None) => {
            for tally in tallies {
                out.write_all(words::account(tally).as_bytes())?;
            }
        }
    }
    out.flush()?;
    Ok(())
}
