//! `bypeer watch`: every reset on this machine, as it happens, with the process and the line of code.

pub(crate) mod arguments;
mod bpf;
mod check;
mod filter;
mod printer;
mod recorder;
mod session;

use anyhow::{Context as _, anyhow, bail};
use bypeer_report::Exit;
use bypeer_watch::Tier;
use bypeer_watch::bpf::Settings;
use bypeer_watch::privileges::{Plan, drop_privileges};
use bypeer_watch::sock_diag::SockDiag;
use bypeer_watch::source::Source;
use bypeer_watch::tracefs::Tracefs;

use self::arguments::{SourceChoice, Watch};
use self::bpf::Bpf;
use self::filter::Filter;
use self::printer::Printer;
use self::recorder::Opened;
use self::session::{Listening, Session};
use crate::cli::Color;
use crate::interrupt;

/// `bypeer watch`.
pub(crate) fn run(arguments: &Watch, color: Color) -> anyhow::Result<Exit> {
    if arguments.check {
        return check::run();
    }
    let filter = Filter::of(arguments)?;
    let stop = interrupt::flag()?;
    // Packets first: what comes between belongs to connections that die later.
    let opened = Opened::of(arguments)?;
    let (listening, heard) = listen(arguments)?;
    let mut notes = Vec::new();
    if !arguments.keep_privileges {
        let held = drop_privileges(&Plan::of(heard.source))
            .context("privileges cannot be given up (--keep-privileges keeps them)")?;
        notes.extend(held.refused);
    }
    let recorder = opened.start(heard.source.name())?;
    if filter.asks_for_processes() && heard.source != Source::Bpf {
        bail!(
            "--pid and --cgroup need the kernel part: {} does not tell of all processes",
            heard.source.name()
        );
    }
    let mut printer = Printer::new(arguments, color);
    printer.summary.source = heard.source.name();
    printer.summary.tier = heard.tier;
    printer.summary.unknown = heard.unknown;
    printer.summary.notes = notes;
    eprintln!("{}", heard.words);
    let session = Session {
        filter,
        printer,
        recorder,
        how_long: arguments.how_long,
    };
    session.run(listening, &stop)
}

/// What is known of a source when it was opened.
struct Heard {
    source: Source,
    tier: Option<&'static str>,
    unknown: Vec<String>,
    /// Said first, to people.
    words: String,
}

/// Opens the source that was asked for, or the best that may be had.
fn listen(arguments: &Watch) -> anyhow::Result<(Listening, Heard)> {
    let mut refusals: Vec<String> = Vec::new();
    let wanted = |choice| arguments.source == SourceChoice::Auto || arguments.source == choice;
    let tier = match (arguments.payload, arguments.calls) {
        (true, _) => Tier::Payload,
        (false, true) => Tier::Calls,
        (false, false) => Tier::Resets,
    };
    if wanted(SourceChoice::Bpf) {
        let settings = Settings {
            tier,
            stacks: true,
            only_ports: Settings::ports(&arguments.port),
            ..Settings::default()
        };
        match Bpf::load(&settings) {
            Ok(bpf) => {
                let tier = tier_name(tier);
                let heard = Heard {
                    source: Source::Bpf,
                    tier: Some(tier),
                    unknown: bpf.unknown(),
                    words: format!("listening in the kernel (bpf, tier {tier}); Ctrl-C ends it"),
                };
                return Ok((Listening::Bpf(Box::new(bpf)), heard));
            }
            Err(error) => refusals.push(format!("bpf: {error}")),
        }
    }
    if tier != Tier::Resets {
        bail!(
            "--calls and --payload need the kernel part{}{}",
            if refusals.is_empty() {
                ""
            } else {
                ", which cannot be had: "
            },
            refusals.join("; ")
        );
    }
    if wanted(SourceChoice::Tracefs) {
        match Tracefs::open(std::process::id()) {
            Ok(source) => return Ok(other(Box::new(source), Source::Tracefs, &refusals)),
            Err(error) => refusals.push(format!("tracefs: {error}")),
        }
    }
    if wanted(SourceChoice::SockDiag) {
        match SockDiag::open() {
            Ok(source) => return Ok(other(Box::new(source), Source::SockDiag, &refusals)),
            Err(error) => refusals.push(format!("sock-diag: {error}")),
        }
    }
    Err(anyhow!("{}", refusals.join("; "))).context("nothing can be listened to here")
}

fn other(listening: Box<dyn session::Source>, source: Source, refusals: &[String]) -> (Listening, Heard) {
    let unknown = source.unknown();
    let mut words = format!(
        "listening by {}; Ctrl-C ends it. Not told: {}",
        source.name(),
        unknown.join("; ")
    );
    for refusal in refusals {
        words.push_str(&format!("\n(better, but not to be had: {refusal})"));
    }
    let heard = Heard {
        source,
        tier: None,
        unknown: unknown.iter().map(|text| (*text).to_owned()).collect(),
        words,
    };
    (Listening::Other(listening), heard)
}

fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Resets => "resets",
        Tier::Calls => "calls",
        Tier::Payload => "payload",
    }
}
