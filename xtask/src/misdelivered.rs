//! `cargo xtask misdelivered`: how often bypeer speaks of an answer on the wrong request, where there is none (`clean`), and where
//! there is one (`table`).

mod alarms;
mod capture;
mod clean;
mod clients;
mod confined;
mod damage;
mod page;
mod servers;
mod table;
mod traffic;

use std::process::ExitCode;

use anyhow::Result;

/// What is measured.
#[derive(clap::Subcommand)]
pub enum Misdelivered {
    /// Write docs/misdelivered-clean.md: real servers and clients that do everything odd and legal, and what `explain` says of it.
    Clean(clean::Arguments),
    /// Write docs/misdelivered-table.md: each way in which an answer comes to the wrong request, and which witness sees it.
    Table(table::Arguments),
}

/// Measures it.
///
/// # Errors
/// When something cannot be run.
pub fn run(what: &Misdelivered) -> Result<ExitCode> {
    match what {
        Misdelivered::Clean(arguments) => clean::run(arguments),
        Misdelivered::Table(arguments) => table::run(arguments),
    }
}
