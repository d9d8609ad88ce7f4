//! The guard at work: begun in the order that lets privileges go early, then told by signals.

use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bypeer_guard::config::read::Told;
use bypeer_guard::config::settings::{LogTo, Settings};
use bypeer_guard::config::{Listen, risks};
use bypeer_guard::guard::Guard;
use bypeer_guard::handover::{HandoverError, inherited};
use bypeer_guard::listener::Listeners;
use bypeer_guard::say::log::{AccessLog, Target};
use bypeer_guard::say::metrics::{CONTENT_TYPE, Metrics};
use bypeer_guard::say::reporter::Reporter;
use bypeer_guard::say::{Sink, summary};
use bypeer_report::Exit;
use bypeer_watch::metrics::{MetricsServer, ServeError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::arguments;
use super::notify::{self, READY, STOPPING, notify};
use super::privileges::Becomes;
use super::{complain, say, told, trouble};

/// How long a new process may take until it answers.
const HANDOVER: Duration = Duration::from_secs(30);
/// How soon a signal is heeded while requests finish, or a new process is waited for.
const GLANCE: Duration = Duration::from_millis(50);
/// Signals to end that come so soon after the first are the same: timeout(1), wrappers and terminals send it to the process and to its
/// group.
const SAME: Duration = Duration::from_secs(1);
/// For the log's last lines. Whoever reads it may take none.
const LAST_LINES: Duration = Duration::from_secs(5);
/// The same, and for the account of what is cut, where it is to end at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Beyond the time for draining and closing: nothing of the guard's takes longer.
const GRACE: Duration = Duration::from_secs(5);
/// How long the metrics' port of a process before may stay taken.
const METRICS: Duration = Duration::from_secs(10);

/// A guard that answers, and what is around it.
struct Running<'a> {
    arguments: &'a arguments::Guard,
    /// As it was when this process began.
    program: Command,
    settings: Settings,
    guard: Arc<Guard>,
    reporter: Arc<Reporter>,
    metrics: Option<MetricsServer>,
    began: Instant,
}

pub(super) fn run(arguments: &arguments::Guard, told: Told) -> anyhow::Result<Exit> {
    let program = program()?;
    let mut inherited = match inherited() {
        Ok(inherited) => inherited,
        Err(error) => return Ok(trouble(&error.to_string())),
    };
    // Before anything can send one: whoever sends SIGHUP too early must not end it.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2]).context("signals cannot be handled")?;
    let settings = told.settings.clone();
    // What root alone may open, while it still is.
    let becomes = settings
        .user
        .as_deref()
        .map(|user| Becomes::find(user, settings.group.as_deref()))
        .transpose()?;
    let log = match open_log(&settings) {
        Ok(log) => log,
        Err(error) => return Ok(trouble(&format!("{error:#}"))),
    };
    let listeners = match Listeners::bind(&settings.config.listen, &mut inherited) {
        Ok(listeners) => listeners,
        Err(error) => return Ok(trouble(&trouble::words(&error))),
    };
    match &becomes {
        Some(becomes) => {
            if let Some(log) = log.as_ref().filter(|_| nix::unistd::geteuid().is_root()) {
                let (user, group) = becomes.numbers();
                log.give_to(user, group)
                    .with_context(|| format!("the log cannot be given to {becomes}"))?;
            }
            becomes.become_it()?
        }
        None if nix::unistd::geteuid().is_root() => {
            say("careful: this runs as root; --user names whom to become once the sockets are open")
        }
        None => {}
    }
    risks(&told).iter().for_each(|risk| say(&format!("careful: {risk}")));
    let (expired, wrong) = trouble::certificates(&told);
    for risk in expired.into_iter().chain(trouble::log_risk(&settings.say.log)) {
        say(&format!("careful: {risk}"));
    }
    if !wrong.is_empty() {
        let reader = becomes.map_or_else(String::new, |becomes| {
            format!(" (as {becomes}, who reads it again at each SIGHUP)")
        });
        wrong.iter().for_each(|error| say(&format!("{error}{reader}")));
        return Ok(Exit::Trouble);
    }
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let log = log
        .map(|log| AccessLog::start(log, |complaint| say(&complaint)))
        .transpose()
        .context("the access log cannot be started")?;
    let tell = Box::new(|line: &str| say(line));
    let reporter = Arc::new(Reporter::new(
        log,
        Arc::clone(&metrics),
        &settings.config.upstream,
        tell,
    ));
    let sink: Arc<dyn Sink> = reporter.clone();
    let guard = match Guard::start(settings.config.clone(), listeners, sink) {
        Ok(guard) => Arc::new(guard),
        Err(error) => return Ok(trouble(&trouble::words(&error))),
    };
    let takes_over = inherited.is_from_process_before();
    let metrics = match takes_over {
        // The process before has the port until it is told to leave.
        true => {
            inherited.ready();
            serve_metrics(&settings, &metrics, &Arc::downgrade(&guard), METRICS).unwrap_or_else(|error| {
                say(&format!(
                    "{}; clients are answered all the same",
                    trouble::metrics(&error)
                ));
                None
            })
        }
        false => match serve_metrics(&settings, &metrics, &Arc::downgrade(&guard), Duration::ZERO) {
            Ok(metrics) => metrics,
            Err(error) => return Ok(trouble(&trouble::metrics(&error))),
        },
    };
    notify(READY);
    let running = Running {
        arguments,
        program,
        settings,
        guard,
        reporter,
        metrics,
        began: Instant::now(),
    };
    Ok(running.until_told(&mut signals))
}

fn trouble(what: &str) -> Exit {
    say(what);
    Exit::Trouble
}

/// This program with its arguments: by the path that it has now, at which a new version may stand later.
fn program() -> anyhow::Result<Command> {
    let path = std::env::current_exe().context("the path of this program is not known")?;
    let mut program = Command::new(path);
    program.args(std::env::args_os().skip(1));
    Ok(program)
}

fn open_log(settings: &Settings) -> anyhow::Result<Option<Target>> {
    match &settings.say.log {
        LogTo::Nowhere => Ok(None),
        LogTo::Stdout => Ok(Some(Target::stdout())),
        LogTo::File(path) => Target::file(path.clone())
            .map(Some)
            .with_context(|| format!("{}: the log cannot be opened", path.display())),
    }
}

fn serve_metrics(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    guard: &Weak<Guard>,
    patience: Duration,
) -> Result<Option<MetricsServer>, ServeError> {
    let Some(address) = settings.say.metrics else {
        return Ok(None);
    };
    let until = Instant::now() + patience;
    loop {
        let (metrics, guard) = (Arc::clone(metrics), Weak::clone(guard));
        let render = move || {
            let guard = guard.upgrade();
            metrics.render(guard.as_deref().map(|guard| (guard.figures(), guard.upstream())))
        };
        match MetricsServer::start(address, CONTENT_TYPE, render) {
            Ok(server) => {
                say(&format!("metrics at http://{}/metrics", server.address()));
                return Ok(Some(server));
            }
            Err(ServeError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < until =>
            {
                thread::sleep(GLANCE);
            }
            Err(error) => return Err(error),
        }
    }
}

impl Running<'_> {
    /// Until a signal ends it.
    fn until_told(mut self, signals: &mut Signals) -> Exit {
        let mut told = Vec::new();
        loop {
            if told.is_empty() {
                told.extend(signals.wait());
            }
            // To end goes before all else.
            if told.iter().any(ends) {
                notify(STOPPING);
                return self.finish(signals, true);
            }
            for signal in std::mem::take(&mut told) {
                match signal {
                    SIGUSR1 => self.reporter.reopen_log(),
                    SIGHUP => self.reload(),
                    SIGUSR2 if self.hand_over(signals, &mut told) => return self.finish(signals, false),
                    _ => {}
                }
            }
        }
    }

    /// Reads the file again. With an error everything is as before.
    fn reload(&mut self) {
        notify::reloading();
        let taken = match told(self.arguments) {
            Ok(told) => self.use_instead(told),
            Err(problems) => {
                complain(&problems);
                false
            }
        };
        self.reporter.metrics().reloaded(taken);
        if !taken {
            say("the configuration is as it was");
        }
        notify(READY);
    }

    /// Whether it can be used. If not, why is said.
    fn use_instead(&mut self, told: Told) -> bool {
        let (expired, wrong) = trouble::certificates(&told);
        for risk in risks(&told).iter().map(ToString::to_string).chain(expired) {
            say(&format!("careful: {risk}"));
        }
        if let Some(error) = wrong.first() {
            say(&error.to_string());
            return false;
        }
        match self.guard.reload(told.settings.config.clone()) {
            Ok(()) => {
                for key in fixed(&self.settings, &told.settings) {
                    say(&format!(
                        "{key} changed in the file; in use from the next handover (SIGUSR2) or restart"
                    ));
                }
                self.reporter.expect(&told.settings.config.upstream);
                // What needs a restart is compared with what is in use.
                let (used, new) = (&mut self.settings.config, told.settings.config);
                used.upstream = new.upstream;
                used.close.drain = new.close.drain;
                true
            }
            Err(error) => {
                say(&trouble::words(&error));
                false
            }
        }
    }

    /// Starts the program again and gives it the sockets. Whether it took them. What else is told meanwhile is left in `told`.
    fn hand_over(&self, signals: &mut Signals, told: &mut Vec<i32>) -> bool {
        match self.start_next(signals, told) {
            Ok(Some(next)) => {
                say(&format!("process {next} answers from now on"));
                notify(&format!("MAINPID={next}"));
                // It may have read the file, or opened the log, before that was changed.
                for (number, signal) in [(SIGHUP, Signal::SIGHUP), (SIGUSR1, Signal::SIGUSR1)] {
                    if told.contains(&number) {
                        let _ = kill(Pid::from_raw(next.cast_signed()), signal);
                    }
                }
                if told.contains(&SIGUSR1) {
                    self.reporter.reopen_log();
                }
                true
            }
            Ok(None) => {
                say("told to end before the new process was ready: it is ended, too");
                false
            }
            Err(error) => {
                say(&format!("{error}; this process goes on"));
                false
            }
        }
    }

    /// The process that has the sockets; `None`: this one was told to end first.
    fn start_next(&self, signals: &mut Signals, told: &mut Vec<i32>) -> Result<Option<u32>, HandoverError> {
        let mut program = Command::new(self.program.get_program());
        program.args(self.program.get_args());
        let mut next = self.guard.begin_hand_over(program)?;
        let until = Instant::now() + HANDOVER;
        while Instant::now() < until {
            if let Some(child) = self.guard.took_over(&mut next, GLANCE)? {
                return Ok(Some(child.id()));
            }
            told.extend(signals.pending());
            if told.iter().any(ends) {
                return Ok(None);
            }
        }
        Err(HandoverError::Late)
    }

    /// Lets requests finish, and says how it went. `told_to_end`: by a signal, not by a handover.
    fn finish(mut self, signals: &mut Signals, told_to_end: bool) -> Exit {
        // The port is the next one's.
        drop(self.metrics.take());
        self.guard.drain();
        let mut asked = Asked {
            first: told_to_end.then(Instant::now),
        };
        let close = &self.settings.config.close;
        let until = Instant::now() + close.drain + close.total + GRACE;
        while !self.guard.wait(GLANCE) && Instant::now() < until {
            for signal in signals.pending() {
                match signal {
                    SIGTERM | SIGINT => match asked.again(Instant::now()) {
                        Again::First => {
                            say("it is on its way out since the handover: another SIGTERM or SIGINT ends it at once")
                        }
                        Again::Same => {}
                        Again::Second => self.end_at_once(signal),
                    },
                    SIGUSR1 => self.reporter.reopen_log(),
                    _ => say("it is on its way out: this signal comes too late"),
                }
            }
        }
        let shared = self.guard.upstream();
        let cut = match Arc::into_inner(self.guard) {
            Some(guard) => guard.finish().cut,
            None => 0,
        };
        self.reporter.finish_log(LAST_LINES);
        eprint!(
            "{}",
            printable(&summary(&self.reporter, self.began.elapsed(), Some(&shared)))
        );
        if cut == 0 { Exit::Nothing } else { Exit::Findings }
    }

    /// Cuts what runs. Each request has its line in the log all the same, if that can be had soon.
    fn end_at_once(self, signal: i32) -> ! {
        say("ended at once: requests that were running are cut");
        let (guard, reporter) = (self.guard, self.reporter);
        let (done, ended) = channel();
        let last = thread::Builder::new().spawn(move || {
            drop(guard);
            reporter.finish_log(AT_ONCE);
            let _ = done.send(());
        });
        if last.is_ok() {
            let _ = ended.recv_timeout(AT_ONCE * 2);
        }
        std::process::exit(128 + signal)
    }
}

fn ends(signal: &i32) -> bool {
    matches!(*signal, SIGTERM | SIGINT)
}

/// When it was first asked to end.
#[derive(Debug, Default)]
struct Asked {
    first: Option<Instant>,
}

/// What a signal to end is to who drains.
#[derive(Debug, PartialEq, Eq)]
enum Again {
    /// It drained without having been asked to end.
    First,
    /// The one that it has heard.
    Same,
    /// Whoever sent it does not want to wait.
    Second,
}

impl Asked {
    fn again(&mut self, now: Instant) -> Again {
        match self.first {
            None => {
                self.first = Some(now);
                Again::First
            }
            Some(first) if now.saturating_duration_since(first) < SAME => Again::Same,
            Some(_) => Again::Second,
        }
    }
}

/// Each line made safe to print: paths come from clients.
fn printable(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", bypeer_report::escape(line)))
        .collect()
}

/// Keys whose values differ and cannot be changed while it runs.
fn fixed(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let (a, b) = (&old.config, &new.config);
    let backlog = |listen: &Listen| {
        let before = a.listen.iter().find(|other| other.address == listen.address);
        before.is_none_or(|before| before.backlog == listen.backlog)
    };
    let pairs = [
        ("listen.backlog", b.listen.iter().all(backlog)),
        ("workers", a.workers == b.workers),
        ("close.bytes", a.close.bytes == b.close.bytes),
        ("close.idle", a.close.idle == b.close.idle),
        ("close.total", a.close.total == b.close.total),
        ("close.most", a.close.most == b.close.most),
        ("user", old.user == new.user),
        ("group", old.group == new.group),
        ("log", old.say.log == new.say.log),
        ("metrics", old.say.metrics == new.say.metrics),
    ];
    pairs
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(key, _)| key)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_twice_is_one_wish() {
        let now = Instant::now();
        let mut asked = Asked { first: Some(now) };
        assert_eq!(asked.again(now + Duration::from_millis(999)), Again::Same);
        assert_eq!(asked.again(now + SAME), Again::Second);

        let mut handed_over = Asked::default();
        assert_eq!(handed_over.again(now), Again::First);
        assert_eq!(handed_over.again(now), Again::Same);
        assert_eq!(handed_over.again(now + SAME), Again::Second);
    }
}
