//! `bypeer guard`: the reverse proxy as a program. What it does to requests stands in `bypeer-guard`.

pub(crate) mod arguments;
mod check;
mod notify;
mod privileges;
mod run;
mod trouble;

use bypeer_guard::config::read::{Problem, Told, read};
use bypeer_report::{Exit, escape};

use self::arguments::Guard;
use crate::cli::Color;

/// `bypeer guard`.
pub(crate) fn run(arguments: &Guard, _: Color) -> anyhow::Result<Exit> {
    let told = match told(arguments) {
        Ok(told) => told,
        Err(problems) => {
            complain(&problems);
            return Ok(Exit::Trouble);
        }
    };
    match arguments.check {
        true => check::run(arguments, &told),
        false => run::run(arguments, told),
    }
}

/// What file and flags say.
fn told(arguments: &Guard) -> Result<Told, Vec<Problem>> {
    read(arguments.config.as_deref(), &arguments.flags.0)
}

/// Each on a line of its own, with its place.
fn complain(problems: &[Problem]) {
    for problem in problems {
        say(&problem.to_string());
    }
}

/// A line for whoever runs it: the log has standard output.
fn say(line: &str) {
    eprintln!("bypeer: {}", escape(line));
}
