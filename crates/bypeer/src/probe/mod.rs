//! `bypeer probe`: asks a server how it keeps, closes and resets connections.

pub(crate) mod arguments;

use std::io::Write;

use anyhow::{Context, bail};
use bypeer_probe::checks::CHECKS;
use bypeer_probe::prober::Options;
use bypeer_probe::progress::Progress;
use bypeer_probe::stop::Stop;
use bypeer_probe::target::{Instead, Target};
use bypeer_probe::tls::Trust;
use bypeer_probe::{check::Severity, chosen, run as probe, words};
use bypeer_report::Exit;

use self::arguments::Probe;
use crate::cli::Color;
use crate::{interrupt, output};

/// `bypeer probe`.
pub(crate) fn run(arguments: &Probe, _color: Color) -> anyhow::Result<Exit> {
    let mut out = output::stdout();
    if arguments.list {
        for check in CHECKS {
            let when = if check.opt_in { " (only with --also)" } else { "" };
            writeln!(out, "{:<20} {}{when}", check.id, check.title)?;
        }
        out.flush()?;
        return Ok(Exit::Nothing);
    }
    if let Some(id) = &arguments.manual {
        let Some(check) = CHECKS.iter().find(|check| check.id == id) else {
            bail!("there is no check {id:?}; `bypeer probe --list` names them");
        };
        write!(out, "{}", check.manual)?;
        out.flush()?;
        return Ok(Exit::Nothing);
    }
    let options = options(arguments);
    let checks = chosen(&options)?;
    let instead = match (&arguments.connect, &arguments.unix_socket) {
        (_, Some(path)) => Instead::Unix(path.clone()),
        (Some(host), None) => Instead::Host(host.clone()),
        (None, None) => Instead::Name,
    };
    let url = arguments.url.as_deref().context("no URL")?;
    let target = Target::find(url, &instead)?;
    eprint!("{}", words::plan(&target, &options, &checks));
    if arguments.plan {
        return Ok(Exit::Nothing);
    }
    let stop = Stop::at(interrupt::flag()?);
    let progress = Progress::default();
    let card = probe(&target, &options, &stop, &progress)?;
    write!(out, "{}", words::card(&card))?;
    out.flush()?;
    let faults = card.risks().iter().any(|(_, risk)| risk.severity == Severity::Fault);
    Ok(if faults { Exit::Findings } else { Exit::Nothing })
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
