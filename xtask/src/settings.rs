//! `cargo xtask settings`: what the settings of `bypeer probe`'s card are worth. A real client and a real server meet over the lab's wire;
//! the client fails now and then. The probe is asked, the lines of its card are put into the client's source, and they meet again.

mod experiment;
mod page;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use self::experiment::{EXPERIMENTS, Measured};

const PAGE: &str = "docs/settings.md";

/// How many, and with what.
#[derive(clap::Args)]
pub struct Arguments {
    /// Requests of each client. The record is made with 10000
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: u32,
    /// Only this story
    #[arg(long, value_name = "STORY")]
    only: Option<u8>,
    /// A line of JSON for each experiment, and no page
    #[arg(long)]
    json: bool,
    /// This program, in place of one built from the source
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Measures, and writes docs/settings.md. Fails when a client did not fail without the settings, or did with them.
///
/// # Errors
/// When the lab cannot run something, the card names no setting, or the client cannot be built with it.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let binary = match &arguments.binary {
        Some(binary) => binary.canonicalize().with_context(|| binary.display().to_string())?,
        None => crate::bypeer::build()?,
    };
    let mut measured: Vec<Measured> = Vec::new();
    for experiment in EXPERIMENTS {
        if arguments.only.is_some_and(|story| story != experiment.story) {
            continue;
        }
        eprintln!("story {}: {}", experiment.story, experiment.server);
        let found = experiment.run(&binary, arguments.requests)?;
        if arguments.json {
            println!("{}", serde_json::to_string(&found)?);
        } else {
            println!("{}", page::section(&found));
        }
        measured.push(found);
    }
    if !arguments.json && arguments.only.is_none() {
        fs::write(crate::bypeer::root().join(PAGE), page::page(&measured)).context(PAGE)?;
        eprintln!("wrote {PAGE}");
    }
    let right = measured.iter().all(Measured::is_right);
    Ok(ExitCode::from(u8::from(!right)))
}
