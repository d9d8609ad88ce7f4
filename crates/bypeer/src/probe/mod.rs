//! `bypeer probe`: asks a server how it keeps, closes and resets connections.

pub(crate) mod arguments;
mod progress;
#[cfg(target_os = "linux")]
mod stories;
#[cfg(not(target_os = "linux"))]
#[path = "stories_elsewhere.rs"]
mod stories;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::{Context, bail};
use bypeer_probe::baseline::{Baseline, Comparison};
use bypeer_probe::check::Severity;
use bypeer_probe::checks::{CHECKS, add_packets};
use bypeer_probe::json::write_card;
use bypeer_probe::prober::Options;
use bypeer_probe::progress::Progress;
use bypeer_probe::stop::Stop;
use bypeer_probe::target::{Instead, Target};
use bypeer_probe::tls::Trust;
use bypeer_probe::{Advice, Card, chosen, run as probe, words};
use bypeer_report::json::write_finding;
use bypeer_report::{Exit, Look};

use self::arguments::{Client, Probe};
use self::stories::Recording;
use crate::cli::{Color, Format};
use crate::{interrupt, output};

/// `bypeer probe`.
pub(crate) fn run(arguments: &Probe, color: Color) -> anyhow::Result<Exit> {
    let look = output::look(color);
    if arguments.list {
        return list();
    }
    if let Some(id) = &arguments.manual {
        return manual(id);
    }
    let options = options(arguments);
    let checks = chosen(&options)?;
    let baseline = arguments.against.as_deref().map(read_baseline).transpose()?;
    let instead = match (&arguments.connect, &arguments.unix_socket) {
        (_, Some(path)) => Instead::Unix(path.clone()),
        (Some(host), None) => Instead::Host(host.clone()),
        (None, None) => Instead::Name,
    };
    let url = arguments.url.as_deref().context("there is no URL to probe")?;
    let target = Target::find(url, &instead)?;
    let plan = words::plan(
        &target,
        &options,
        &checks,
        if arguments.plan {
            look
        } else {
            Look { color: false, ..look }
        },
    );
    if arguments.plan {
        let mut out = output::stdout();
        write!(out, "{plan}")?;
        out.flush()?;
        return Ok(Exit::Nothing);
    }
    eprint!("{plan}");

    let stop = Stop::at(interrupt::flag()?);
    let recording = Recording::start(&target);
    if let (Some(why), true) = (&recording.why_not, arguments.write.is_some()) {
        bail!("--write: {why}");
    }
    let mut card = with_progress(|progress| probe(&target, &options, &stop, progress))?;
    let why_not = recording.why_not.clone();
    let stories = recording.judge(&card, arguments.write.as_deref())?;
    add_packets(&mut card.checks, &stories.findings);
    let advice = Advice::of(&card);
    let comparison = baseline.map(|baseline| baseline.against(&card));
    let exit = exit(&card, comparison.as_ref());
    let meaning = meaning(exit, comparison.is_some());

    if let Some(path) = arguments.save.as_deref().filter(|_| card.stopped) {
        // What is half a card would take the place of a whole one.
        eprintln!(
            "{}: not written, because the probe was stopped before its end",
            path.display()
        );
    } else if let Some(path) = &arguments.save {
        let mut record = Vec::new();
        write_card(&mut record, &card, &advice, None, (exit.code(), meaning))?;
        fs::write(path, record).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    let mut out = output::stdout();
    match arguments.format {
        Format::Json => {
            for (_, finding) in &stories.findings {
                write_finding(&mut out, finding)?;
            }
            write_card(&mut out, &card, &advice, comparison.as_ref(), (exit.code(), meaning))?;
        }
        Format::Text => {
            write!(
                out,
                "{}",
                words::card(&card, &advice, &clients(arguments, &advice), look)
            )?;
            write!(
                out,
                "{}",
                words::deaths(&card, &stories.findings, why_not.as_deref(), look)
            )?;
            if let Some(comparison) = &comparison {
                write!(out, "{}", words::comparison(comparison, look))?;
            }
        }
    }
    out.flush()?;
    if let Some(path) = &arguments.write {
        eprintln!("{} packets are in {}", stories.written, path.display());
    }
    Ok(exit)
}

/// The clients whose settings are to be shown in full.
fn clients(arguments: &Probe, advice: &Advice) -> Vec<&'static str> {
    let all = arguments
        .client
        .contains(&Client::All)
        .then(|| advice.clients.iter().map(|lines| lines.software));
    let named = arguments.client.iter().filter_map(|client| match client {
        Client::One(id) => Some(*id),
        Client::All => None,
    });
    let mut clients: Vec<&str> = all.into_iter().flatten().collect();
    for name in named {
        if !clients.contains(&name) {
            clients.push(name);
        }
    }
    clients
}

fn list() -> anyhow::Result<Exit> {
    let mut out = output::stdout();
    for check in CHECKS {
        let when = if check.opt_in { " (only with --also)" } else { "" };
        writeln!(out, "{:<18} {}{when}", check.id, check.title)?;
    }
    out.flush()?;
    Ok(Exit::Nothing)
}

fn manual(id: &str) -> anyhow::Result<Exit> {
    let Some(check) = CHECKS.iter().find(|check| check.id == id) else {
        bail!("there is no check {id:?}; `bypeer probe --list` names them");
    };
    let mut out = output::stdout();
    write!(out, "{}", check.manual)?;
    out.flush()?;
    Ok(Exit::Nothing)
}

fn with_progress<T>(probe: impl FnOnce(&Progress) -> T) -> T {
    let progress = Progress::default();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _shown = progress::Shown::start(scope, &progress, &over);
        probe(&progress)
    })
}

fn read_baseline(path: &Path) -> anyhow::Result<Baseline> {
    /// A card with every check has some tens of kilobytes.
    const LARGEST: u64 = 16 << 20;
    let name = || path.display().to_string();
    let size = fs::metadata(path).with_context(name)?.len();
    if size > LARGEST {
        bail!("{}: {size} bytes are no saved card", path.display());
    }
    let text = fs::read_to_string(path).with_context(name)?;
    Baseline::read(&text).with_context(name)
}

/// Faults count, unless the question is whether anything changed.
fn exit(card: &Card, comparison: Option<&Comparison>) -> Exit {
    let found = match comparison {
        Some(comparison) => !comparison.changed.is_empty() || !comparison.failed_now.is_empty(),
        None => card.risks().iter().any(|(_, risk)| risk.severity == Severity::Fault),
    };
    if found { Exit::Findings } else { Exit::Nothing }
}

fn meaning(exit: Exit, compared: bool) -> &'static str {
    match (exit, compared) {
        (Exit::Findings, true) => "a habit changed, or could not be measured again",
        (Exit::Findings, false) => "faults",
        (_, true) => "no habit changed",
        (_, false) => "no faults",
    }
}

fn options(arguments: &Probe) -> Options {
    let trust = match &arguments.cacert {
        Some(path) => Trust::File(path.clone()),
        None if arguments.insecure => Trust::Anybody,
        None => Trust::System,
    };
    Options {
        connections: arguments.connections,
        at_once: arguments.at_once,
        longest_wait: arguments.longest_wait,
        patience: arguments.patience,
        serial: arguments.serial.then_some(true),
        trust,
        server_name: arguments.server_name.clone(),
        fields: arguments.header.clone(),
        body_path: arguments.body_path.clone(),
        upload_path: arguments.upload_path.clone(),
        upload_size: arguments.upload_size,
        echo_path: arguments.echo_path.clone(),
        sources: arguments.source.clone(),
        only: arguments.only.clone(),
        also: arguments.also.clone(),
        without: arguments.without.clone(),
        ..Options::default()
    }
}
