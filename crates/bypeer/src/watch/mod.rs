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
use bypeer_watch::sock_diag::{self, SockDiag};
use bypeer_watch::tracefs::{self, Tracefs};

use self::arguments::{SourceChoice, Watch};
use self::bpf::Bpf;
use self::filter::Filter;
use self::printer::Printer;
use self::recorder::Recorder;
use self::session::{Listening, Session};
use crate::cli::{Color, Format};
use crate::interrupt;

/// `bypeer watch`.
pub(crate) fn run(arguments: &Watch, color: Color) -> anyhow::Result<Exit> {
    if arguments.check {
        return check::run(color);
    }
    let filter = Filter::of(arguments)?;
    let stop = interrupt::flag()?;
    // Packets first: what comes between belongs to connections that die later.
    let recorder = Recorder::of(arguments)?;
    let (listening, heard) = listen(arguments)?;
    if filter.asks_for_processes() && heard.source != "bpf" {
        bail!(
            "--pid and --cgroup need the kernel part: {} does not tell of processes",
            heard.source
        );
    }
    let mut printer = Printer::new(arguments, color);
    printer.summary.source = heard.source;
    printer.summary.tier = heard.tier;
    printer.summary.unknown = heard.unknown;
    if arguments.format == Format::Text {
        eprintln!("{}", heard.words);
    }
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
    source: &'static str,
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
            netns: None,
            stacks: true,
        };
        match Bpf::load(&settings) {
            Ok(bpf) => {
                let tier = tier_name(tier);
                let heard = Heard {
                    source: "bpf",
                    tier: Some(tier),
                    unknown: bpf.unknown(),
                    words: format!("listening in the kernel (bpf, tier {tier}); Ctrl-C ends it"),
                };
                return Ok((Listening::Bpf(Box::new(bpf)), heard));
            }
            Err(error) => refusals.push(format!("bpf: {error}")),
        }
    }
    if tier != Tier::Resets && arguments.source == SourceChoice::Auto {
        bail!(
            "--calls and --payload need the kernel part, which cannot be had: {}",
            refusals.join("; ")
        );
    }
    if wanted(SourceChoice::Tracefs) {
        match Tracefs::open(std::process::id()) {
            Ok(source) => return Ok(other(Box::new(source), "tracefs", &tracefs::UNKNOWN, &refusals)),
            Err(error) => refusals.push(format!("tracefs: {error}")),
        }
    }
    if wanted(SourceChoice::SockDiag) {
        match SockDiag::open() {
            Ok(source) => return Ok(other(Box::new(source), "sock-diag", &sock_diag::UNKNOWN, &refusals)),
            Err(error) => refusals.push(format!("sock-diag: {error}")),
        }
    }
    Err(anyhow!("{}", refusals.join("; "))).context("nothing can be listened to here")
}

fn other(
    source: Box<dyn session::Source>,
    name: &'static str,
    unknown: &[&str],
    refusals: &[String],
) -> (Listening, Heard) {
    let mut words = format!("listening by {name}; Ctrl-C ends it. Not told: {}", unknown.join("; "));
    for refusal in refusals {
        words.push_str(&format!("\n(better, but not to be had: {refusal})"));
    }
    let heard = Heard {
        source: name,
        tier: None,
        unknown: unknown.iter().map(|text| (*text).to_owned()).collect(),
        words,
    };
    (Listening::Other(source), heard)
}

fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Resets => "resets",
        Tier::Calls => "calls",
        Tier::Payload => "payload",
    }
}
