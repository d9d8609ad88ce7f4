//! `cargo xtask hear`: every scenario of the lab while `bypeer watch` listens, and what it tells held to what the lab knows.

mod judge;
mod loopback;
mod owners;
pub mod records;
pub mod round;
mod table;
pub mod watch;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use bypeer_lab::scenario::Scenario;

use self::records::LabRound;
use self::round::Heard;
use self::table::Table;
use self::watch::Watch;

/// What to play, and how to listen.
#[derive(clap::Args)]
pub struct Arguments {
    /// Built-in scenarios of the lab; all of them unless said
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Rounds of each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// `bypeer watch --calls`
    #[arg(long)]
    calls: bool,
    /// `bypeer watch --payload`
    #[arg(long)]
    payload: bool,
    /// Also play the actors' scripts on loopback, to see whose sockets the watch says they were
    #[arg(long)]
    loopback: bool,
    /// Real software in a role, as `bypeer lab run --real`
    #[arg(long, value_name = "NAME")]
    real: Option<String>,
    /// Where to keep the lab's and the watch's records, to look at what is wrong
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// A line of JSON for each round in place of the table
    #[arg(long)]
    json: bool,
    /// This program, in place of one built from the source
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Plays, listens, prints, and fails when something is wrong.
///
/// # Errors
/// When the watch cannot listen or the lab cannot play.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let scenarios = chosen(&arguments.scenarios)?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => crate::bypeer::build()?,
    };
    let tier = match (arguments.payload, arguments.calls) {
        (true, _) => Some("--payload"),
        (false, true) => Some("--calls"),
        (false, false) => None,
    };
    let watch = Watch::start(&binary, tier)?;
    let mut rounds: Vec<(&Scenario, LabRound)> = Vec::new();
    let mut kept = String::new();
    for (number, scenario) in scenarios.iter().enumerate() {
        eprintln!("{} of {}: {}", number + 1, scenarios.len(), scenario.id);
        let text = play(&binary, scenario, arguments)?;
        rounds.extend(records::rounds(&text)?.into_iter().map(|round| (scenario, round)));
        kept.push_str(&text);
    }
    let mut on_loopback = Vec::new();
    if arguments.loopback {
        for (number, scenario) in scenarios.iter().filter(|scenario| loopback::fits(scenario)).enumerate() {
            eprintln!("on loopback: {}", scenario.id);
            let round = loopback::play(&binary, scenario, u16::try_from(number)?)
                .with_context(|| format!("{} on loopback", scenario.id))?;
            on_loopback.push(round);
        }
    }
    let told = watch.end()?;
    if let Some(folder) = &arguments.keep {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("lab.jsonl"), kept)?;
        std::fs::write(folder.join("watch.jsonl"), told.join("\n") + "\n")?;
    }
    let hearings = records::hearings(&told)?;
    let mut table = Table::default();
    for (scenario, round) in &rounds {
        let truth = match &round.real {
            Some(real) => real_truth(scenario, real),
            None => &scenario.truth,
        };
        let heard = Heard::of(round, &hearings);
        table.add(round, truth, &heard);
    }
    for round in &on_loopback {
        table.add_owners(round, &Heard::of(round, &hearings));
    }
    print!("{}", if arguments.json { table.json()? } else { table.text() });
    Ok(if table.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(names: &[String]) -> Result<Vec<Scenario>> {
    if names.is_empty() {
        return Ok(Scenario::all()?);
    }
    let find = |name: &String| {
        let scenario = Scenario::built_in(name).with_context(|| format!("the lab has no scenario {name}"))?;
        Ok(scenario?)
    };
    names.iter().map(find).collect()
}

fn real_truth<'a>(scenario: &'a Scenario, real: &str) -> &'a bypeer_lab::scenario::Truth {
    let real = scenario.reals.iter().find(|other| other.id == real);
    real.and_then(|real| real.truth.as_ref()).unwrap_or(&scenario.truth)
}

/// The lab's records of a scenario's rounds.
fn play(binary: &PathBuf, scenario: &Scenario, arguments: &Arguments) -> Result<String> {
    let mut lab = Command::new(binary);
    lab.args(["lab", "run", &scenario.id, "--format", "json", "--rounds"])
        .arg(arguments.rounds.to_string());
    if let Some(real) = &arguments.real {
        lab.args(["--real", real]);
    }
    let output = lab
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("the lab cannot be started")?;
    // 1: something did not come true. The record says so. 2: it cannot be run here, for want of a program, as the lab has just said.
    let code = output.status.code();
    ensure!(
        matches!(code, Some(0..=2)),
        "bypeer lab run {}: {}",
        scenario.id,
        output.status
    );
    if code == Some(2) {
        eprintln!("{} was not run, and is in no count", scenario.id);
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
