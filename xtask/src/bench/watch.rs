//! `cargo xtask bench watch`: what `bypeer watch` costs traffic that is well, and what becomes of it in a storm of resets.
//!
//! Nothing is compared but slices that lie side by side: nothing, the watch, the watch, nothing; then the other way round. The same is
//! done with nothing in the watch's place, and where that differs from nothing, the other figures are worth no more.

mod account;
mod attached;
mod nginx;
mod paired;
mod ping_pong;
mod storm;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use self::account::Account;
use self::attached::Attached;
use self::nginx::Nginx;
use self::paired::{Pair, Ratio};
use self::ping_pong::PingPong;

/// What to measure, and how often.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each gives two pairs of slices for each way to watch
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Only this part; can be repeated
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Part>,
    /// Only this way to watch, beside nothing, which is always measured against itself; can be repeated
    #[arg(long, value_enum, value_name = "NAME")]
    condition: Vec<Condition>,
    /// Few and short slices: shows that everything runs, and gives no figures to rely on
    #[arg(long)]
    quick: bool,
    /// This program, in place of one built from the source
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Small requests and responses over one connection
    KeepAlive,
    /// A new connection for each request
    Connections,
    /// nginx under wrk, with keep-alive
    NginxKeepAlive,
    /// nginx under wrk, with Connection: close
    NginxConnections,
    /// Resets at rising rates, and 20 000 a second
    Storm,
}

/// What happened in a slice of time.
#[derive(Clone, Copy, Debug)]
struct Slice {
    requests: u64,
    elapsed: Duration,
    /// Processor time of server and client.
    processor: Duration,
}

impl Slice {
    fn elapsed_per_request(&self) -> f64 {
        self.elapsed.as_secs_f64() / self.requests.max(1) as f64
    }

    fn processor_per_request(&self) -> f64 {
        self.processor.as_secs_f64() / self.requests.max(1) as f64
    }
}

/// Something that is well, and busy.
trait Traffic {
    /// Keeps busy for so long.
    fn slice(&mut self, span: Duration) -> Result<Slice>;
}

impl Part {
    const ALL: [Part; 5] = [
        Part::KeepAlive,
        Part::Connections,
        Part::NginxKeepAlive,
        Part::NginxConnections,
        Part::Storm,
    ];

    fn title(self) -> &'static str {
        match self {
            Part::KeepAlive => "requests over one connection, client and server on one core",
            Part::Connections => "a new connection for each request, client and server on one core",
            Part::NginxKeepAlive => "nginx on one core, wrk with 32 connections on another, keep-alive",
            Part::NginxConnections => "nginx on one core, wrk with 32 connections on another, Connection: close",
            Part::Storm => "storms of resets",
        }
    }

    /// How much longer a request may take while the default watch listens.
    fn goal(self) -> f64 {
        match self {
            Part::KeepAlive | Part::NginxKeepAlive => 1.01,
            Part::Connections | Part::NginxConnections | Part::Storm => 1.04,
        }
    }

    fn span(self) -> Duration {
        match self {
            // wrk takes whole seconds.
            Part::NginxConnections => Duration::from_secs(1),
            Part::KeepAlive | Part::NginxKeepAlive | Part::Connections | Part::Storm => Duration::from_millis(250),
        }
    }

    /// `None` for what is no traffic that is well.
    fn traffic(self) -> Result<Option<Box<dyn Traffic>>> {
        Ok(Some(match self {
            Part::KeepAlive => Box::new(PingPong::over_one_connection()?),
            Part::Connections => Box::new(PingPong::over_a_connection_each()?),
            Part::NginxKeepAlive => Box::new(Nginx::start(true)?),
            Part::NginxConnections => Box::new(Nginx::start(false)?),
            Part::Storm => return Ok(None),
        }))
    }
}

/// Which of a slice's times is held to the goal: the first that the null control leaves. A machine that has other things to do lengthens
/// the time of a request, and hardly its processor time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judge {
    Elapsed,
    Processor,
}

impl Judge {
    fn name(self) -> &'static str {
        match self {
            Judge::Elapsed => "time",
            Judge::Processor => "processor time",
        }
    }

    fn cost(self) -> fn(&Slice) -> f64 {
        match self {
            Judge::Elapsed => Slice::elapsed_per_request,
            Judge::Processor => Slice::processor_per_request,
        }
    }

    fn of(self, elapsed: &Ratio, processor: &Ratio) -> Ratio {
        match self {
            Judge::Elapsed => *elapsed,
            Judge::Processor => *processor,
        }
    }
}

/// What is held to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Condition {
    /// Nothing: how much two slices differ that ought to be alike
    NothingAgain,
    /// `bypeer watch`
    Default,
    /// `bypeer watch --calls`
    Calls,
    /// `bypeer watch --payload`
    Payload,
    /// `bypeer watch --write`
    Write,
}

impl Condition {
    const ALL: [Condition; 5] = [
        Condition::NothingAgain,
        Condition::Default,
        Condition::Calls,
        Condition::Payload,
        Condition::Write,
    ];

    fn name(self) -> &'static str {
        match self {
            Condition::NothingAgain => "nothing again",
            Condition::Default => "watch",
            Condition::Calls => "watch --calls",
            Condition::Payload => "watch --payload",
            Condition::Write => "watch --write",
        }
    }

    /// Begins to listen, or lets the same time pass.
    fn begin(self, binary: &Path, folder: &Path) -> Result<Option<Attached>> {
        let file = folder.join("dead.pcapng");
        let options: Vec<&Path> = match self {
            Condition::NothingAgain => {
                std::thread::sleep(attached::TAKES_TO_START);
                return Ok(None);
            }
            Condition::Default => Vec::new(),
            Condition::Calls => vec![Path::new("--calls")],
            Condition::Payload => vec![Path::new("--payload")],
            Condition::Write => vec![Path::new("--write"), &file],
        };
        Attached::start(binary, &options).map(Some)
    }
}

/// Measures and prints.
///
/// # Errors
/// When the watch cannot be attached, or traffic fails. What is not installed is skipped, and said.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => crate::bypeer::build()?,
    };
    let folder = tempfile::tempdir().context("no temporary folder")?;
    // Before anything takes its time.
    Attached::start(&binary, &["--all"])?.end()?;
    let rounds = if arguments.quick { 2 } else { arguments.rounds };
    let is_wanted = |condition: &Condition| arguments.condition.is_empty() || arguments.condition.contains(condition);
    let conditions: Vec<Condition> = Condition::ALL
        .into_iter()
        .filter(|condition| *condition == Condition::NothingAgain || is_wanted(condition))
        .collect();
    println!("load at the beginning: {}", load());
    let mut trusted = true;
    for part in Part::ALL {
        if !arguments.only.is_empty() && !arguments.only.contains(&part) {
            continue;
        }
        println!("\n{}", part.title());
        match part.traffic() {
            Ok(Some(mut traffic)) => {
                trusted &= measure(part, traffic.as_mut(), &conditions, rounds, &binary, folder.path())?;
            }
            Ok(None) => storm::run(&binary, arguments.quick)?,
            Err(why) if why.is::<nginx::Missing>() => println!("skipped: {why}"),
            Err(why) => return Err(why),
        }
    }
    println!("\nload at the end: {}", load());
    Ok(if trusted || arguments.quick {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether the figures can be trusted.
fn measure(
    part: Part,
    traffic: &mut dyn Traffic,
    conditions: &[Condition],
    rounds: u32,
    binary: &Path,
    folder: &Path,
) -> Result<bool> {
    let resets_before = storm::resets_sent()?;
    // Until ports and caches are as they will be.
    for _ in 0..4 {
        traffic.slice(part.span())?;
    }
    let mut pairs: Vec<Vec<Pair>> = conditions.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds as usize {
        for turn in 0..conditions.len() {
            let index = (round + turn) % conditions.len();
            let more = quadruple(
                part,
                traffic,
                conditions[index],
                round.is_multiple_of(2),
                binary,
                folder,
            )?;
            pairs[index].extend(more);
        }
        if std::io::stderr().is_terminal() {
            eprint!("\rround {} of {rounds}\r", round + 1);
        }
    }
    println!(
        "{} pairs of {} ms; a watch is to cost less than {:.0} % by default",
        2 * rounds,
        part.span().as_millis(),
        (part.goal() - 1.0) * 100.0
    );
    println!(
        "{:<17}{:>12}{:>8}  {:<17}{:>12}{:>8}  95 % interval",
        "", "µs/request", "ratio", "95 % interval", "cpu µs", "ratio"
    );
    let mut judges = [Judge::Elapsed, Judge::Processor].to_vec();
    for (condition, pairs) in conditions.iter().zip(&pairs) {
        let [elapsed, processor] = [Judge::Elapsed, Judge::Processor].map(|judge| Ratio::of(pairs, judge.cost()));
        let verdict = match condition {
            Condition::NothingAgain => {
                judges.retain(|judge| !judge.of(&elapsed, &processor).is_off());
                match judges[..] {
                    [] => "off by more than 1 %: the figures below are not to be trusted".to_owned(),
                    [judge] => format!("off by more than 1 %: only {} is to be trusted", judge.name()),
                    _ => String::new(),
                }
            }
            Condition::Default => judges.first().map_or_else(String::new, |judge| {
                let verdict = judge.of(&elapsed, &processor).verdict(part.goal());
                format!("{verdict} (by {})", judge.name())
            }),
            _ => String::new(),
        };
        println!(
            "{}",
            format!("{:<17}{elapsed}{processor} {verdict}", condition.name()).trim_end()
        );
    }
    for condition in conditions {
        if let Some(attached) = condition.begin(binary, folder)? {
            match Account::of(&attached, traffic, part.span()) {
                Ok(account) => println!("by the kernel's account: {}: {account}", condition.name()),
                Err(why) => println!("the kernel's account of {} is not to be had: {why:#}", condition.name()),
            }
            attached.end()?;
        }
    }
    println!(
        "resets on this machine meanwhile: {}",
        storm::resets_sent()?.saturating_sub(resets_before)
    );
    Ok(!judges.is_empty())
}

/// Nothing, the watch, the watch, nothing; or the other way round.
fn quadruple(
    part: Part,
    traffic: &mut dyn Traffic,
    condition: Condition,
    nothing_first: bool,
    binary: &Path,
    folder: &Path,
) -> Result<[Pair; 2]> {
    let span = part.span();
    let begin = || condition.begin(binary, folder);
    let end = |attached: Option<Attached>| attached.map_or(Ok(()), |attached| attached.end().map(drop));
    if nothing_first {
        let before = traffic.slice(span)?;
        let attached = begin()?;
        let (first, second) = (traffic.slice(span)?, traffic.slice(span)?);
        end(attached)?;
        let after = traffic.slice(span)?;
        return Ok([Pair::of(before, first), Pair::of(after, second)]);
    }
    let attached = begin()?;
    let first = traffic.slice(span)?;
    end(attached)?;
    let (before, after) = (traffic.slice(span)?, traffic.slice(span)?);
    let attached = begin()?;
    let second = traffic.slice(span)?;
    end(attached)?;
    Ok([Pair::of(before, first), Pair::of(after, second)])
}

/// The load averages of the last 1, 5 and 15 minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
