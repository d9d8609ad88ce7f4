//! Chores of the project: `cargo xtask score`, `bench explain`, `bench watch`, `bench guard`, `answers`, `hear`, `settings`, `guard`, `conformance`, `vm`,
//! `misdelivered`.

mod answers;
mod bench;
mod bypeer;
mod conformance;
mod guard;
mod hear;
mod misdelivered;
mod process;
mod proxy;
mod score;
mod settings;
mod vm;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Chores of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Hold what bypeer says of captures to what was done.
    Score(score::Arguments),
    /// Measure bypeer beside other tools.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Write docs/answers.md from measurements of the lab.
    Answers(answers::Arguments),
    /// Run bypeer as root on other kernels, in virtual machines.
    Vm(vm::Arguments),
    /// Hold what `bypeer watch` tells of the lab's rounds to what the lab knows.
    Hear(hear::Arguments),
    /// Write docs/settings.md: clients that fail, and what the settings of the probe's card make of it.
    Settings(settings::Arguments),
    /// Write docs/guard-stories.md: the five stories, directly and through `bypeer guard`, and restarts under load.
    Guard(guard::Arguments),
    /// Measure what bypeer says of answers on wrong requests.
    #[command(subcommand)]
    Misdelivered(misdelivered::Misdelivered),
    /// Run public suites of HTTP through `bypeer guard`, or another proxy.
    Conformance(conformance::Arguments),
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().chore {
        Chore::Score(arguments) => score::run(&arguments),
        Chore::Bench(bench::Bench::Explain(arguments)) => bench::run(&arguments),
        Chore::Bench(bench::Bench::Watch(arguments)) => bench::watch::run(&arguments),
        Chore::Bench(bench::Bench::Guard(arguments)) => bench::guard::run(&arguments),
        Chore::Answers(arguments) => answers::run(&arguments),
        Chore::Vm(arguments) => vm::run(&arguments),
        Chore::Hear(arguments) => hear::run(&arguments),
        Chore::Conformance(arguments) => conformance::run(&arguments),
        Chore::Misdelivered(what) => misdelivered::run(&what),
        Chore::Guard(arguments) => guard::run(&arguments),
        Chore::Settings(arguments) => settings::run(&arguments),
    }
}
