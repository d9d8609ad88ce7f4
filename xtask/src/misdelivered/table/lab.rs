//! The lab's rounds of story 4, in their captures and live.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use bypeer_lab::scenario::Scenario;

use super::sight::{Sight, Sights};
use super::{Arguments, Measured, NO_FAULT, Row};
use crate::hear::records::{self, Hearing, LabRound};
use crate::hear::round::Heard;
use crate::hear::watch::Watch;
use crate::misdelivered::alarms;
use crate::misdelivered::servers::{has, search_path};

/// The incident of the answer on the wrong request.
const STORY: u8 = 4;
/// Capture of both ends, and of those between.
const BOTH: &str = "capture";

/// Plays them while the watch listens, and judges.
///
/// # Errors
/// When the lab cannot play, or a capture cannot be read.
pub fn play(arguments: &Arguments, binary: &Path) -> Result<Measured> {
    let mut measured = Measured::default();
    let scenarios: Vec<Scenario> = Scenario::all()?
        .into_iter()
        .filter(|scenario| scenario.story == Some(STORY) && scenario.cause.is_some() && arguments.wants(&scenario.id))
        .collect();
    if scenarios.is_empty() {
        return Ok(measured);
    }
    let own = tempfile::tempdir()?;
    let folder = arguments.keep.as_deref().unwrap_or(own.path());
    fs::create_dir_all(folder)?;
    let watch = match Watch::start(binary, Some("--calls")) {
        Ok(watch) => Some(watch),
        Err(error) => {
            measured.lacking.push(format!("the live witness: {error:#}"));
            None
        }
    };
    let mut played = Vec::new();
    for (number, scenario) in scenarios.iter().enumerate() {
        eprintln!("{} of {}: {}", number + 1, scenarios.len(), scenario.id);
        let lacking = lacking(scenario);
        measured
            .lacking
            .extend(lacking.iter().map(|(what, why)| format!("{what}: lacks {why}")));
        for real in std::iter::once(None).chain(scenario.reals.iter().map(|real| Some(real.id.as_str()))) {
            let label = label(scenario, real);
            if lacking.iter().any(|(what, _)| *what == label || *what == scenario.id) {
                continue;
            }
            let rounds = rounds(binary, scenario, real, arguments.runs, folder).with_context(|| label.clone())?;
            played.push((scenario, real, rounds));
        }
    }
    let told = watch.map(Watch::end).transpose()?;
    let hearings = told.map(|told| records::hearings(&told)).transpose()?;
    for (scenario, real, rounds) in &played {
        measured
            .rows
            .push(row(binary, scenario, *real, rounds, folder, hearings.as_deref())?);
    }
    Ok(measured)
}

fn label(scenario: &Scenario, real: Option<&str>) -> String {
    real.map_or_else(|| scenario.id.clone(), |real| format!("{}+{real}", scenario.id))
}

/// What cannot be played here, and for want of what.
fn lacking(scenario: &Scenario) -> Vec<(String, String)> {
    let missing = |needs: &[String]| needs.iter().find(|need| !has(need)).cloned();
    let own = missing(&scenario.needs).map(|why| (scenario.id.clone(), why));
    let reals = scenario
        .reals
        .iter()
        .filter_map(|real| Some((label(scenario, Some(&real.id)), missing(&real.needs)?)));
    own.into_iter().chain(reals).collect()
}

fn rounds(binary: &Path, scenario: &Scenario, real: Option<&str>, runs: u32, folder: &Path) -> Result<Vec<LabRound>> {
    let mut lab = Command::new(binary);
    lab.args([
        "lab",
        "run",
        &scenario.id,
        "--format",
        "json",
        "--rounds",
        &runs.to_string(),
        "--keep",
    ])
    .arg(folder);
    if let Some(real) = real {
        lab.args(["--real", real]);
    }
    let output = lab
        .env("PATH", search_path())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("the lab")?;
    // 1: something did not come true. The records say what.
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "bypeer lab run: {}",
        output.status
    );
    records::rounds(&String::from_utf8(output.stdout)?)
}

fn row(
    binary: &Path,
    scenario: &Scenario,
    real: Option<&str>,
    rounds: &[LabRound],
    folder: &Path,
    hearings: Option<&[Hearing]>,
) -> Result<Row> {
    // Software in which the fault is mended, as a scenario has it for comparison.
    let found = real
        .and_then(|id| scenario.reals.iter().find(|real| real.id == id))
        .and_then(|real| real.truth.as_ref());
    let mended = found.is_some_and(|truth| truth.client.iter().any(|end| end == "ok"));
    let truth = if mended {
        NO_FAULT.to_owned()
    } else {
        scenario.cause.clone().context("a cause")?
    };
    let [mut server, mut client, mut both, mut live] = [Sights::default(); 4];
    let shown: Vec<&LabRound> = rounds.iter().filter(|round| round.shown).collect();
    for round in &shown {
        let captures = folder.join(label(scenario, real)).join(round.round.to_string());
        let seen_in = |name: &str| -> Result<Sight> {
            let findings = alarms::findings(binary, &captures.join(name).with_extension("pcapng"))?;
            let sights = findings.iter().filter(|finding| !finding.harmless);
            Ok(sights
                .map(|finding| finding.sight(&truth))
                .max()
                .unwrap_or(Sight::Unseen))
        };
        server.add(seen_in("server")?);
        both.add(seen_in(BOTH)?);
        // The one of them who saw most.
        let clients = round
            .hosts
            .iter()
            .map(|host| host.name.as_str())
            .filter(|name| name.starts_with("client"));
        let clients = clients.map(seen_in).collect::<Result<Vec<_>>>()?;
        client.add(clients.into_iter().max().unwrap_or(Sight::Unseen));
        if let Some(hearings) = hearings {
            let heard = Heard::of(round, hearings);
            live.add(
                heard
                    .hearings
                    .iter()
                    .filter(|hearing| !hearing.harmless)
                    .map(|hearing| sight(hearing, &truth))
                    .max()
                    .unwrap_or(Sight::Unseen),
            );
        }
    }
    Ok(Row {
        cause: truth,
        scenario: scenario.id.clone(),
        real: real.map(str::to_owned),
        rounds: rounds.len() as u64,
        not_shown: (rounds.len() - shown.len()) as u64,
        server: Some(server),
        client: Some(client),
        both: Some(both),
        live: hearings.map(|_| live),
        probe: None,
        probe_load: None,
    })
}

fn sight(hearing: &Hearing, truth: &str) -> Sight {
    let Some(cause) = &hearing.cause else {
        return Sight::Unseen;
    };
    Sight::of(
        cause,
        &hearing.rivals,
        hearing.confidence.as_deref() != Some("undecided"),
        truth,
    )
}
