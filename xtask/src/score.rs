//! `cargo xtask score`: what bypeer says of captures, held to what was done.

mod board;
mod compare;
mod explained;
mod labels;
mod truth;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use self::board::Board;
use self::labels::Labels;

/// Folders with truths.
#[derive(clap::Args)]
pub struct Arguments {
    /// Folders that hold, themselves or below, a capture.pcap.zst or capture.pcap with a truth.json or case.toml beside it
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Score this binary, in place of one built from the source
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Scores, prints, and fails when the score is not good.
///
/// # Errors
/// When the truths cannot be read or bypeer cannot be built. A capture that bypeer fails on is a failed scenario.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let labels = Labels::load()?;
    let mut scenarios = Vec::new();
    for path in &arguments.paths {
        scenarios.extend(truth::scenarios(path, &labels)?);
    }
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => crate::bypeer::build()?,
    };
    let mut board = Board::default();
    for scenario in &scenarios {
        match explained::explain(&binary, &scenario.capture) {
            Ok(explained) => board.count(scenario, &explained),
            Err(error) => board.fail(&scenario.name, format!("{error:#}")),
        }
    }
    print!("{}", board.print());
    Ok(match board.complaints().is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
