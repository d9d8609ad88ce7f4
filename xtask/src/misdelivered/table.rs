//! Which witness sees which way of an answer onto the wrong request.

mod lab;
mod probe;
mod sight;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

pub use self::sight::{Sight, Sights};
use super::page;

const PAGE: &str = "docs/misdelivered-table.md";
/// Runs of each, for the page.
const RUNS: u32 = 20;

/// The cause of a row in which nothing is to be found.
pub const NO_FAULT: &str = "none";

/// How many, of what.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds of each
    #[arg(long, value_name = "N", default_value_t = RUNS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Only scenarios, and faults of servers that are probed, with this name; can be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Where to keep the captures of the lab's rounds
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// A line of JSON for each row, and no page
    #[arg(long)]
    json: bool,
    /// This program, in place of one built from the source
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// One way, and what the witnesses saw of it.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The cause's id.
    pub cause: String,
    /// Scenario of the lab, or fault of a server of ours.
    pub scenario: String,
    /// Real software in it; `None`: actors and servers of ours.
    pub real: Option<String>,
    pub rounds: u64,
    /// Rounds in which it did not come to what the scenario claims; they are in no other count.
    pub not_shown: u64,
    /// `None`: not asked.
    pub server: Option<Sights>,
    pub client: Option<Sights>,
    pub both: Option<Sights>,
    pub live: Option<Sights>,
    pub probe: Option<Sights>,
    pub probe_load: Option<Sights>,
}

/// All rows.
#[derive(Debug, Default)]
pub struct Measured {
    pub rows: Vec<Row>,
    pub lacking: Vec<String>,
    /// Some of that could not be measured, though everything for it is here.
    pub failed: bool,
    pub took: std::time::Duration,
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

/// Plays all of it, prints, writes the page. Fails when something did not come to what it claims.
///
/// # Errors
/// When something cannot be run here.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let began = Instant::now();
    let binary = crate::bypeer::given(arguments.binary.as_deref())?;
    // Most of both is waiting.
    let (played, probed) = std::thread::scope(|scope| {
        let probed = scope.spawn(|| probe::play(arguments, &binary));
        let played = lab::play(arguments, &binary);
        let probed = probed
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread that probes panicked")));
        (played, probed)
    });
    // What one of them measured is told though the other failed.
    let mut measured = Measured::default();
    let mut failed = false;
    for part in [played, probed] {
        match part {
            Ok(part) => {
                measured.rows.extend(part.rows);
                measured.lacking.extend(part.lacking);
                failed |= part.failed;
            }
            Err(error) => {
                failed = true;
                measured.lacking.push(format!("all that was to follow: {error:#}"));
            }
        }
    }
    // Those of one cause together, the lab's before the probe's.
    measured.rows.sort_by(|one, other| one.cause.cmp(&other.cause));
    measured.took = began.elapsed();
    if arguments.json {
        for row in &measured.rows {
            println!("{}", serde_json::to_string(row)?);
        }
    } else {
        let page = page::table(&measured);
        println!("{page}");
        if !failed && arguments.only.is_empty() && arguments.runs >= RUNS {
            std::fs::write(crate::bypeer::root().join(PAGE), page).context(PAGE)?;
            eprintln!("wrote {PAGE}");
        }
    }
    for lacking in &measured.lacking {
        eprintln!("left out: {lacking}");
    }
    let as_claimed = !failed && !measured.rows.is_empty() && measured.rows.iter().all(|row| row.not_shown < row.rounds);
    Ok(ExitCode::from(u8::from(!as_claimed)))
}
