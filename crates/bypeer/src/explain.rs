use std::collections::HashSet;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use bypeer_diagnose::Finding;
use bypeer_input::{Event, Input, InputError, Source};
use bypeer_report::{Exit, Groups, Look, Summary, brief, json, report};
use bypeer_wire::{Issue, Issues, Timestamp};

use crate::cli::{Color, Explain, Format};
use crate::engine::{Engine, Outcome};
use crate::progress::Progress;
use crate::selection::Selection;
use crate::{advice, interrupt, output};

/// Packets between two looks at the clock and at findings that may be handed out.
const STRIDE: u64 = 4096;
/// Of a pipe: how often, in the capture's time, findings are looked for.
const LIVE_INTERVAL: Duration = Duration::from_millis(200);

/// `bypeer explain`.
pub(crate) fn run(arguments: &Explain, color: Color) -> anyhow::Result<Exit> {
    if arguments.files.is_empty() {
        eprint!("{}", advice::CAPTURE);
        return Ok(Exit::Trouble);
    }
    let selection = Selection::of(arguments)?;
    if let Some(path) = given_twice(&arguments.files) {
        bail!("{}: given twice", path.display());
    }
    let described = selection.describe();
    let sources: Result<Vec<Source>, InputError> = arguments.files.iter().map(Source::open).collect();
    let stop = interrupt::flag()?;
    let input = Input::new(sources?)?.stopped_by(stop.clone());
    let live = input.meter().total().is_none();
    let mut printer = Printer::new(arguments, live, output::look(color));
    let mut progress = Progress::of(input.meter());
    let mut engine = Engine::new(selection, live);

    let mut clock = Clock::default();
    let read = input.for_each(|event| {
        let ripe = match event {
            Event::Interface(interface) => {
                engine.interface(interface);
                return ControlFlow::Continue(());
            }
            Event::Frame(frame) => {
                engine.frame(frame);
                let time = frame.at.time;
                if live && clock.is_due(time) {
                    engine.advance(time)
                } else if frame.at.number.is_multiple_of(STRIDE) {
                    progress.update(engine.over());
                    if live { Vec::new() } else { engine.overflow() }
                } else {
                    return ControlFlow::Continue(());
                }
            }
            Event::Quiet => match clock.quiet() {
                Some(now) => engine.advance(now),
                None => Vec::new(),
            },
        };
        printer.findings(ripe)
    });
    drop(progress);

    let outcome = engine.finish();
    let (read, trouble) = match read {
        Ok(read) => (read, None),
        Err(error) if outcome.packets == 0 => return Err(error.into()),
        // What was read before stays good.
        Err(error) => (bypeer_input::Summary::default(), Some(error)),
    };
    let files: Vec<String> = arguments.files.iter().map(|path| path.display().to_string()).collect();
    let nothing_fits = outcome.nothing_fits;
    let stopped = read.stopped || stop.load(Ordering::Relaxed);
    // One who stops a live capture knows that nothing has come yet; not that an interface has another name.
    let unusable = match outcome.interfaces.nothing_of_it() {
        Some(nothing) => Some(anyhow!("{}: {nothing}", files.join(", "))),
        None => unusable(&outcome, &read.issues, &files).filter(|_| !stopped),
    };
    let in_trouble = trouble.is_some() || unusable.is_some() || nothing_fits;
    let ending = Ending {
        read,
        files,
        selection: described,
        stopped,
        in_trouble,
    };
    let exit = printer.end(outcome, ending)?;
    if let Some(trouble) = trouble {
        return Err(anyhow::Error::new(trouble).context("the rest of the input was not used"));
    }
    match unusable {
        Some(unusable) => Err(unusable),
        None => Ok(exit),
    }
}

/// The first file that was named before, by whatever path.
fn given_twice(files: &[PathBuf]) -> Option<&Path> {
    let mut seen = HashSet::new();
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    files.iter().map(PathBuf::as_path).find(|path| !seen.insert(real(path)))
}

/// Why a capture that could be read is of no use.
fn unusable(outcome: &Outcome, read_issues: &Issues, files: &[String]) -> Option<anyhow::Error> {
    if outcome.tcp_packets > 0 {
        return None;
    }
    let name = files.join(", ");
    let packets = match outcome.packets {
        1 => "1 packet".to_owned(),
        packets => format!("{packets} packets"),
    };
    if outcome.packets == 0 {
        return Some(anyhow!(
            "{name}: it is a capture, but holds no packet; was the right interface captured, and did the filter fit? \
             `bypeer explain` without a file prints a command that does"
        ));
    }
    let mut issues = read_issues.clone();
    issues.merge(&outcome.issues);
    let held: Vec<String> = issues
        .iter()
        .map(|(issue, count)| format!("{count} {}", issue.what()))
        .collect();
    let held = if held.is_empty() {
        String::new()
    } else {
        format!(" ({})", held.join(", "))
    };
    let unknown = issues.iter().any(|(issue, _)| issue == Issue::UnknownLinkType);
    Some(match outcome.unknown_link.filter(|_| unknown) {
        Some(link) => anyhow!(
            "{name}: no TCP: {packets} of link type {}, which bypeer does not decode; capture on an IP interface, or with `tcpdump -i any`",
            link.0
        ),
        None => anyhow!("{name}: no TCP in its {packets}{held}; a filter for the capture is 'tcp or icmp or icmp6'"),
    })
}

/// When a pipe's findings are looked for: by the capture's clock, and by ours while nothing comes.
#[derive(Default)]
struct Clock {
    looked: Option<Timestamp>,
    newest: Option<Timestamp>,
    silent_since: Option<Instant>,
}

impl Clock {
    fn is_due(&mut self, time: Timestamp) -> bool {
        self.newest = self.newest.max(Some(time));
        self.silent_since = None;
        let due = self.looked.is_none_or(|looked| time.since(looked) >= LIVE_INTERVAL);
        if due {
            self.looked = Some(time);
        }
        due
    }

    /// How late it is in the capture while nothing comes.
    fn quiet(&mut self) -> Option<Timestamp> {
        let passed = self.silent_since.get_or_insert_with(Instant::now).elapsed();
        let passed = i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX);
        Some(Timestamp(self.newest?.0.saturating_add(passed)))
    }
}

/// What is known of a run besides its findings.
struct Ending {
    read: bypeer_input::Summary,
    files: Vec<String>,
    selection: Option<String>,
    stopped: bool,
    in_trouble: bool,
}

/// Prints findings as they come and the rest at the end.
struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    format: Format,
    all: bool,
    live: bool,
    look: Look,
    /// Lines were printed before the report.
    told: bool,
    printed: u64,
    accusing: u64,
    groups: Groups,
    failed: Option<io::Error>,
}

impl Printer {
    fn new(arguments: &Explain, live: bool, look: Look) -> Printer {
        Printer {
            out: output::stdout(),
            format: arguments.format,
            all: arguments.all,
            live,
            look,
            told: false,
            printed: 0,
            accusing: 0,
            groups: Groups::new(),
            failed: None,
        }
    }

    /// Takes findings; breaks off when they can no longer be printed.
    fn findings(&mut self, findings: Vec<Finding>) -> ControlFlow<()> {
        let any = !findings.is_empty();
        let result = findings.into_iter().try_for_each(|finding| self.finding(finding));
        let result = if any && self.live {
            result.and_then(|()| self.out.flush())
        } else {
            result
        };
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn finding(&mut self, finding: Finding) -> io::Result<()> {
        self.printed += 1;
        self.accusing += u64::from(!finding.harmless);
        match self.format {
            Format::Json => json::write_finding(&mut self.out, &finding),
            Format::Text => {
                let told = self.live && (self.all || !finding.harmless);
                self.told |= told;
                let printed = if told {
                    writeln!(self.out, "{}", brief(&finding, self.look))
                } else {
                    Ok(())
                };
                self.groups.add(finding);
                printed
            }
        }
    }

    /// Prints what is left, the report and the summary.
    fn end(mut self, outcome: Outcome, ending: Ending) -> anyhow::Result<Exit> {
        if self.failed.is_none() {
            let _ = self.findings(outcome.findings);
        }
        let mut issues = ending.read.issues;
        issues.merge(&outcome.issues);
        let mut notes = Vec::new();
        for torn in &ending.read.torn {
            notes.push(format!(
                "{}: the compressed stream breaks off ({}); what came before was used",
                torn.name, torn.what
            ));
        }
        if ending.read.decryption_secrets > 0 {
            notes.push(
                "the capture holds TLS keys; bypeer does not use them yet, TLS is judged from the outside".to_owned(),
            );
        }
        notes.extend(outcome.interfaces.note(&outcome.vantages));
        let exit = match (ending.in_trouble, self.accusing) {
            (true, _) => Exit::Trouble,
            (false, 0) => Exit::Nothing,
            (false, _) => Exit::Findings,
        };
        let summary = Summary {
            accounts: outcome.accounts,
            unexplained: outcome.unexplained,
            issues,
            files: ending.files,
            packets: outcome.packets,
            first: outcome.span.map(|(first, _)| first),
            last: outcome.span.map(|(_, last)| last),
            findings: self.printed,
            selection: ending.selection,
            interrupted: ending.stopped,
            answers: outcome.answers,
            endings: outcome.endings,
            notes,
        };
        let printed = match (self.failed.take(), self.format) {
            (Some(error), _) => Err(error),
            (None, Format::Json) => json::write_summary(&mut self.out, &summary, &outcome.insights, exit),
            (None, Format::Text) if outcome.tcp_packets == 0 && !ending.stopped => Ok(()),
            (None, Format::Text) => {
                self.groups.take_connections(outcome.groups);
                let began = if self.told { "\n" } else { "" };
                let text = report(&self.groups, &outcome.insights, &summary, self.all, self.look);
                write!(self.out, "{began}{text}")
            }
        };
        match printed.and_then(|()| self.out.flush()) {
            Ok(()) => Ok(exit),
            // The reader has what it wanted: `| head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit),
            Err(error) => Err(error).context("standard output"),
        }
    }
}
