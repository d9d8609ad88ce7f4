//! `cargo xtask bench explain`: bypeer beside the tools that people use today, on the same captures, in one run. `bench watch`: what
//! listening costs. `bench guard`: what the guard costs.

mod captures;
pub mod core;
mod flow;
pub mod guard;
mod measure;
pub mod median;
mod packet;
mod replay;
mod transfer;
pub mod watch;
mod wrk;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use self::captures::Kind;
use self::measure::{Tool, Usage};

/// Benchmarks.
#[derive(clap::Subcommand)]
pub enum Bench {
    /// `bypeer explain` beside tcpdump, capinfos and tshark.
    Explain(Arguments),
    /// What `bypeer watch` costs traffic that is well, and what becomes of it in a storm of resets.
    Watch(watch::Arguments),
    /// What `bypeer guard` costs, beside nginx and HAProxy.
    Guard(guard::Arguments),
}

/// What to measure, and how often.
#[derive(clap::Args)]
pub struct Arguments {
    /// Runs of each tool; the median counts. tshark is run once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Size of the captures of large and of small packets
    #[arg(long, default_value_t = 1000, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..))]
    size: u64,
    /// Leave a tool out; can be repeated
    #[arg(long, value_name = "TOOL")]
    without: Vec<String>,
    /// Make the captures and stop
    #[arg(long)]
    make_only: bool,
}

/// Makes the captures where they are not there yet, measures and prints.
///
/// # Errors
/// When the captures cannot be made or bypeer fails on one.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let files: Vec<_> = Kind::ALL
        .into_iter()
        .map(|kind| Ok((kind, captures::make(kind, arguments.size)?)))
        .collect::<Result<_>>()?;
    if arguments.make_only {
        return Ok(ExitCode::SUCCESS);
    }
    let tools = tools(&crate::bypeer::build()?);
    let tools: Vec<Tool> = tools
        .into_iter()
        .filter(|tool| !arguments.without.contains(&tool.name))
        .collect();
    for (kind, file) in &files {
        let content = measure::warm(file)?;
        println!("\n{}: {}", file.display(), kind.what());
        println!("{content}");
        print_table(&measure::run(&tools, file, arguments.rounds)?);
        println!("goal: {}", kind.goal());
    }
    Ok(ExitCode::SUCCESS)
}

fn tools(bypeer: &Path) -> Vec<Tool> {
    vec![
        Tool::new("bypeer", bypeer, &["explain"], &[]).with_good_status(1),
        Tool::new("tcpdump", "tcpdump", &["-nn", "-r"], &["tcp[tcpflags] & tcp-rst != 0"]),
        Tool::new("capinfos", "capinfos", &[], &[]),
        Tool::new("tshark", "tshark", &["-r"], &["-Y", "tcp.flags.reset==1"]).once(),
    ]
}

fn print_table(rows: &[(String, Result<Usage>)]) {
    let reference = rows
        .iter()
        .find(|(name, _)| name == "tcpdump")
        .and_then(|(_, usage)| usage.as_ref().ok());
    println!(
        "{:<10}{:>10}{:>10}{:>12}{:>14}{:>16}",
        "", "wall s", "cpu s", "peak MB", "wall/tcpdump", "cpu/tcpdump"
    );
    for (name, usage) in rows {
        match usage {
            Err(why) => println!("{name:<10}skipped: {why:#}"),
            Ok(usage) => {
                let (wall, cpu) = (usage.wall.as_secs_f64(), usage.cpu.as_secs_f64());
                // A busy machine stretches the wall time of some runs; processor time shows it.
                let ratios = reference.map_or(String::new(), |tcpdump| {
                    let of = |own: f64, its: f64| own / its.max(1e-6);
                    let (wall, cpu) = (of(wall, tcpdump.wall.as_secs_f64()), of(cpu, tcpdump.cpu.as_secs_f64()));
                    format!("{wall:>14.2}{cpu:>16.2}")
                });
                println!(
                    "{name:<10}{wall:>10.2}{cpu:>10.2}{:>12.1}{ratios}",
                    usage.peak_bytes as f64 / 1e6
                );
            }
        }
    }
}
