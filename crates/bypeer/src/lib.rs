//! The program `bypeer`: arguments, files, printing. What it knows of TCP stands in the crates below it.

mod advice;
mod causes;
mod chain;
pub mod cli;
mod duration;
pub mod engine;
pub mod error_line;
mod explain;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(not(target_os = "linux"))]
#[path = "guard_elsewhere.rs"]
mod guard;
pub mod interfaces;
mod interrupt;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(not(target_os = "linux"))]
#[path = "lab_elsewhere.rs"]
mod lab;
mod moment;
mod output;
mod probe;
mod progress;
pub mod selection;
#[cfg(target_os = "linux")]
mod watch;
#[cfg(not(target_os = "linux"))]
#[path = "watch_elsewhere.rs"]
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use bypeer_report::Exit;
use clap::Parser;

use crate::cli::{Arguments, Command};

/// Runs the program with its arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to standard output and are no trouble. A closed pipe is none of our business.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Trouble.code() } else { 0 });
        }
    };
    match dispatch(&arguments) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bypeer: {}", bypeer_report::escape(&message(&error)));
            ExitCode::from(Exit::Trouble.code())
        }
    }
}

/// An error and its causes on one line. Messages that hold their cause's already are not said twice.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn dispatch(arguments: &Arguments) -> anyhow::Result<Exit> {
    let color = arguments.color;
    match &arguments.command {
        Command::Explain(explain) => explain::run(explain, color),
        Command::Lab(lab) => lab::run(lab, color),
        Command::Probe(arguments) => probe::run(arguments, color),
        Command::Watch(watch) => watch::run(watch, color),
        Command::Chain(chain) => chain::run(chain, color),
        Command::Guard(arguments) => guard::run(arguments, color),
        Command::Causes(arguments) => causes::run(arguments, color),
        Command::Completions { shell } => cli::completions(*shell),
        Command::Man { page } => cli::manual_page(page),
    }
}
