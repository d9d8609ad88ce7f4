//! `bypeer chain`: hops from arguments and files, judged and printed.

pub(crate) mod arguments;
mod files;
mod probed;

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};
use bypeer_chain::{Chain, ChainFile, Request, Style, Traffic, assemble, json, judge};
use bypeer_probe::stop::Stop;
use bypeer_report::Exit;

use self::arguments::ChainArguments;
use self::files::Disk;
use self::probed::Probed;
use crate::cli::{Color, Format};
use crate::{interrupt, output};

/// `bypeer chain`.
pub(crate) fn run(arguments: &ChainArguments, color: Color) -> anyhow::Result<Exit> {
    let asked = asked(arguments)?;
    let probed = Probed {
        longest_wait: arguments.longest_wait,
        stop: Stop::at(interrupt::flag()?),
    };
    let hops = assemble(&asked.hops, &Disk, &probed)?;
    let chain = Chain {
        hops,
        traffic: Traffic {
            rate: arguments.rate.or(asked.rate),
            connections: arguments.connections.or(asked.connections),
        },
        round_trip: arguments.round_trip.or(asked.round_trip),
    };
    let report = judge(&chain);
    let mut out = output::stdout();
    match arguments.format {
        Format::Json => json::write(&mut out, &chain, &report)?,
        Format::Text => out.write_all(bypeer_chain::report(&chain, &report, style(color)).as_bytes())?,
    }
    out.flush()?;
    Ok(if report.has_faults() {
        Exit::Findings
    } else {
        Exit::Nothing
    })
}

fn asked(arguments: &ChainArguments) -> anyhow::Result<ChainFile> {
    let Some(path) = &arguments.file else {
        if arguments.hops.is_empty() {
            bail!(
                "name the hops, from the client to the last server, as in `bypeer chain client=90 nginx=75/60 gunicorn=2`, or \
                 --file chain.toml; `bypeer chain --help` tells more"
            );
        }
        let hops = arguments.hops.iter().map(|hop| Request::parse(hop));
        return Ok(ChainFile {
            hops: hops.collect::<Result<_, _>>()?,
            ..ChainFile::default()
        });
    };
    let shown = path.display();
    let text = files::read(path)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("{shown}"))?;
    let mut file = ChainFile::parse(&text).with_context(|| format!("{shown}"))?;
    // What the file names lies where the file does.
    let folder = path.parent().unwrap_or(Path::new(""));
    for config in file.hops.iter_mut().filter_map(|hop| hop.file.as_mut()) {
        *config = folder.join(&*config).to_string_lossy().into_owned();
    }
    Ok(file)
}

fn style(color: Color) -> Style {
    let look = output::look(color);
    Style {
        width: look.width,
        color: look.color,
        unicode: std::io::stdout().is_terminal() && speaks_utf8(),
    }
}

/// Whether the locale says that the terminal shows UTF-8.
fn speaks_utf8() -> bool {
    let value = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(std::env::var_os)
        .find(|value| !value.is_empty());
    value.is_some_and(|value| {
        let value = value.to_string_lossy().to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}
