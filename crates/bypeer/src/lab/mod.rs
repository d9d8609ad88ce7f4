//! `bypeer lab`: namespaces first, then scenarios, rounds and what explain makes of them.

pub(crate) mod arguments;
mod examine;
mod run;
mod show;
mod signals;
mod story;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use bypeer_lab::actor;
use bypeer_lab::confine::{attend, confine, settle};
use bypeer_lab::kernel::{remove_instances_of, remove_leftovers};
use bypeer_lab::round::{RoundError, missing};
use bypeer_lab::scenario::{Fix, Plan, Real, Scenario, Text};
use bypeer_lab::tally::Variant;
use bypeer_lab::{json, remove_folders_of, remove_stale_folders, tripwire, words};
use bypeer_report::Exit;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use self::arguments::{Change, Lab, Runtime, Verb};
use crate::cli::{Color, Format};
use crate::output;

/// How long a lab that was told to stop may take to remove what it made.
const TIDY_WITHIN: Duration = Duration::from_millis(800);

/// `bypeer lab`.
pub(crate) fn run(lab: &Lab, color: Color) -> anyhow::Result<Exit> {
    match (&lab.verb, lab.inside) {
        (Verb::List { which, format }, _) => list(which.as_deref(), *format),
        (Verb::Tripwire { runtime: Runtime::Node }, _) => script(tripwire::NODE),
        (Verb::Story(story), _) if !story.run => story::tell(story, color),
        (Verb::Actor, _) => {
            let code = actor::act(std::io::BufReader::new(std::io::stdin()), std::io::stdout());
            // At once, with whatever is open: how a process ends is part of what it plays.
            std::process::exit(code)
        }
        (_, Some(number)) if !lab.staged => attended(number),
        (Verb::Run(run), Some(number)) => run::run(run, number),
        (Verb::Show(show), Some(number)) => show::run(show, number, color),
        (Verb::Story(story), Some(number)) => story::play(story, number),
        (Verb::Run(run), None) => {
            // What is wrong with the command line is said before anything is made.
            run::choose(run)?;
            confined()
        }
        (Verb::Show(show), None) => {
            show::choose(show)?;
            confined()
        }
        (Verb::Story(story), None) => {
            if story.format == Format::Text {
                story::tell(story, color)?;
            } else {
                story::choose(story)?;
            }
            confined()
        }
    }
}

fn list(which: Option<&str>, format: Format) -> anyhow::Result<Exit> {
    let scenarios = match which {
        Some(which) => find(which)?,
        None => Scenario::all()?,
    };
    let mut out = output::stdout();
    match format {
        Format::Text => out.write_all(words::list(&scenarios).as_bytes())?,
        Format::Json => {
            for scenario in &scenarios {
                json::write_scenario(&mut out, scenario)?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Nothing)
}

fn script(text: &str) -> anyhow::Result<Exit> {
    let mut out = output::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::Nothing)
}

/// Runs this same command line again, in namespaces of its own, and passes on what becomes of it.
fn confined() -> anyhow::Result<Exit> {
    let number = std::process::id();
    remove_stale_folders();
    // Here, where the processes of other labs can be seen: an instance that was just made is not busy yet.
    remove_leftovers();
    remove_instances_of(number);
    confine()?;
    let stop = signals::passed_on()?;
    let mut child = Command::new("/proc/self/exe")
        .args(arguments_with(&["--inside", &number.to_string()]))
        .spawn()
        .context("cannot start the lab's own process")?;
    let inside = Pid::from_raw(child.id() as i32);
    let mut told = None;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for the lab's own process")? {
            break status;
        }
        if stop.load(Ordering::Relaxed) {
            let since = *told.get_or_insert_with(|| {
                // Ctrl-C reached it too; SIGTERM came to this process alone. It may have ended meanwhile.
                let _ = kill(inside, Signal::SIGTERM);
                Instant::now()
            });
            if since.elapsed() > TIDY_WITHIN {
                // The kernel ends everything in its process namespace with it.
                let _ = kill(inside, Signal::SIGKILL);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    // It removes what it made, unless it was killed.
    remove_instances_of(number);
    remove_folders_of(number);
    exit_of(status)
}

/// The first process of the lab's process namespace: sets it up, runs the lab in another process and reaps.
fn attended(number: u32) -> anyhow::Result<Exit> {
    if std::process::id() != 1 {
        bail!("--inside is for the lab's own processes")
    }
    settle().context("cannot set up the lab's own process namespace")?;
    let stop = signals::passed_on()?;
    let mut lab = Command::new("/proc/self/exe");
    lab.args(arguments_with(&["--staged"]));
    match attend(&mut lab, &stop).with_context(|| format!("cannot run the lab (number {number})"))? {
        WaitStatus::Exited(_, 0) => Ok(Exit::Nothing),
        WaitStatus::Exited(_, 1) => Ok(Exit::Findings),
        // It has said what.
        WaitStatus::Exited(..) => Ok(Exit::Trouble),
        ended => Err(anyhow!(
            "the lab's own process ended otherwise than it should: {ended:?}"
        )),
    }
}

/// This command line with more options behind the verb: at its end they could stand behind a `--`.
fn arguments_with(more: &[&str]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let verb = arguments
        .iter()
        .position(|argument| argument == "lab")
        .map_or(0, |at| at + 1);
    arguments.splice(verb..verb, more.iter().map(OsString::from));
    arguments
}

fn exit_of(status: ExitStatus) -> anyhow::Result<Exit> {
    match status.code() {
        Some(0) => Ok(Exit::Nothing),
        Some(1) => Ok(Exit::Findings),
        // It has said what.
        Some(_) => Ok(Exit::Trouble),
        None => Err(anyhow!("the lab's own process ended with {status}")),
    }
}

/// A scenario by its name, those of a cause, or one in a file.
fn find(which: &str) -> anyhow::Result<Vec<Scenario>> {
    if let Some(scenario) = Scenario::built_in(which) {
        return Ok(vec![scenario?]);
    }
    let of_cause: Vec<Scenario> = Scenario::all()?
        .into_iter()
        .filter(|scenario| scenario.cause.as_deref() == Some(which))
        .collect();
    if !of_cause.is_empty() {
        return Ok(of_cause);
    }
    let path = Path::new(which);
    if path.extension().is_some_and(|extension| extension == "toml") || path.exists() {
        if path.is_dir() {
            bail!("{which}: is a folder; name a scenario file in it, as {which}/my-scenario.toml");
        }
        let text = fs::read_to_string(path).with_context(|| format!("{which}: cannot be read"))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let scenario = Scenario::parse(&stem, &text).map_err(|error| error.of_file(which))?;
        check_causes(which, &scenario)?;
        return Ok(vec![scenario]);
    }
    if bypeer_diagnose::causes::find(which).is_some() {
        bail!("no scenario shows {which} yet; `bypeer lab list` shows what there is");
    }
    let alike: Vec<String> = Scenario::all()?
        .into_iter()
        .map(|scenario| scenario.id)
        .filter(|id| id.contains(which) || which.contains(id.as_str()))
        .collect();
    if alike.is_empty() {
        bail!("{which}: no scenario, cause or file has this name; `bypeer lab list` shows what there is");
    }
    bail!(
        "{which}: no scenario, cause or file has this name; there is {}",
        alike.join(", ")
    );
}

/// A cause that does not exist would never be found, and explain would be blamed for it.
fn check_causes(file: &str, scenario: &Scenario) -> anyhow::Result<()> {
    let truths = scenario.reals.iter().filter_map(|real| real.truth.as_ref());
    let named = truths
        .chain([&scenario.truth])
        .flat_map(|truth| truth.finds.values().chain(truth.also.values()).flatten());
    match named
        .chain(&scenario.cause)
        .find(|id| bypeer_diagnose::causes::find(id).is_none())
    {
        None => Ok(()),
        Some(unknown) => bail!("{file}: there is no cause {unknown:?}; `bypeer causes` lists them"),
    }
}

/// A scenario's change by its name.
fn fix_of<'a>(scenario: &'a Scenario, id: &str) -> anyhow::Result<&'a Fix> {
    scenario.fixes.iter().find(|fix| fix.id == id).ok_or_else(|| {
        let known: Vec<&str> = scenario.fixes.iter().map(|fix| fix.id.as_str()).collect();
        anyhow!(
            "--fixes {id}: {} has no such change; it has {}",
            scenario.id,
            names(&known)
        )
    })
}

/// A scenario's real software by its name.
fn real_of<'a>(scenario: &'a Scenario, id: &str) -> anyhow::Result<&'a Real> {
    scenario.reals.iter().find(|real| real.id == id).ok_or_else(|| {
        let known: Vec<&str> = scenario.reals.iter().map(|real| real.id.as_str()).collect();
        anyhow!(
            "--real {id}: {} has no such software; it has {}",
            scenario.id,
            names(&known)
        )
    })
}

fn names(known: &[&str]) -> String {
    if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    }
}

/// `--set NAME=VALUE`, checked against the scenario.
fn values(scenario: &Scenario, change: &Change) -> anyhow::Result<BTreeMap<String, Text>> {
    let mut values = BTreeMap::new();
    for set in &change.set {
        let (name, value) = set
            .split_once('=')
            .ok_or_else(|| anyhow!("--set {set}: write NAME=VALUE"))?;
        if !scenario.set.contains_key(name) {
            let known: Vec<&str> = scenario.set.keys().map(String::as_str).collect();
            bail!(
                "--set {set}: {} has no value {name:?}; it has {}",
                scenario.id,
                names(&known)
            );
        }
        values.insert(name.to_owned(), Text(value.to_owned()));
    }
    Ok(values)
}

/// A scenario with a change, with software, with programs of the user's.
struct Chosen {
    scenario: Scenario,
    plan: Plan,
    variant: Variant,
    /// The scenario's own claims may not hold: the user's program plays a role.
    users_own: bool,
}

impl Chosen {
    fn new(scenario: &Scenario, fix: Option<&Fix>, real: Option<&Real>, change: &Change) -> anyhow::Result<Chosen> {
        let by_hand = values(scenario, change)?;
        let mut set = fix.map(|fix| fix.set.clone()).unwrap_or_default();
        set.extend(by_hand.clone());
        let mut scenario = scenario.clone();
        for (name, command) in [("server", &change.server), ("client", &change.client)] {
            if let (Some(command), Some(host)) = (command, scenario.hosts.get_mut(name)) {
                host.script = None;
                host.command = Some(command.clone());
                host.folder = std::env::current_dir().ok();
            }
        }
        let mut plan = scenario.plan(&set, real)?;
        plan.truth.finds_instead = fix.map(|fix| fix.finds.clone()).unwrap_or_default();
        let variant = Variant {
            scenario: scenario.id.clone(),
            cause: scenario.cause.clone(),
            title: scenario.title.clone(),
            fix: fix.map(|fix| (fix.id.clone(), fix.owner.clone(), fix.title.clone(), fix.claim)),
            real: real.map(|real| real.id.clone()),
            set: by_hand.into_iter().map(|(name, Text(value))| (name, value)).collect(),
            deterministic: real
                .and_then(|real| real.deterministic)
                .unwrap_or(scenario.deterministic),
        };
        let users_own = change.server.is_some() || change.client.is_some();
        Ok(Chosen {
            scenario,
            plan,
            variant,
            users_own,
        })
    }

    /// Commands that it needs and that are not here.
    fn missing(&self) -> Vec<String> {
        missing(&self.plan.needs)
    }
}

/// What is to end everything, once true.
fn stop() -> anyhow::Result<Arc<AtomicBool>> {
    signals::flag_of_a_child()
}

/// Says what went wrong. A message may have several lines, the last of them what a program printed.
fn complain(label: &str, error: &RoundError) {
    let message = format!("{label}: {error}");
    let lines: Vec<_> = message.lines().map(bypeer_report::escape).collect();
    eprintln!("bypeer: {}", lines.join("\n"));
}
