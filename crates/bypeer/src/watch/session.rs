//! One watch: a source, what it tells, and what becomes of it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bypeer_diagnose::testimony::{Actor, Frame, ResetPath};
use bypeer_diagnose::{Finding, Hearing, decide_heard};
use bypeer_report::Exit;
use bypeer_watch::backlog::{self, Backlogs};
use bypeer_watch::docket::{Counted, Docket};
use bypeer_watch::event::{Task, UserStack};
use bypeer_watch::heard::{Heard, Hears};
use bypeer_watch::sock_diag::SockDiag;
use bypeer_watch::tracefs::Tracefs;
use bypeer_watch::witness::Machine;
use bypeer_wire::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::bpf::Bpf;
use super::filter::Filter;
use super::printer::Printer;
use super::recorder::Recorder;
use crate::output;

/// How long to wait for something to come before looking at what has ripened.
const PATIENCE: u16 = 100;
/// The same when there is nothing that could ripen: how late a signal to end is heeded, and a full queue is looked for.
const IDLE: u16 = 250;

/// Where it is heard.
pub(super) enum Listening {
    /// From the kernel part.
    Bpf(Box<Bpf>),
    /// From a source that gives testimonies.
    Other(Box<dyn Source>),
}

/// What was lost on the way from the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    /// Events that found no room.
    pub(super) events: u64,
    /// Events that the kernel could not tell of, because it was telling of another on that processor.
    pub(super) missed: u64,
    /// Events that could not be read.
    pub(super) unreadable: u64,
    /// Stacks left out in a storm.
    pub(super) stacks: u64,
}

impl Lost {
    /// In words, what there is of it.
    fn words(self) -> Vec<(&'static str, u64)> {
        [
            ("events lost: they came faster than they were read", self.events),
            (
                "events missed: the kernel was telling of another at that moment",
                self.missed,
            ),
            ("events that could not be read", self.unreadable),
            ("stacks left out: too many events in a second", self.stacks),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
    }
}

/// A source that gives testimonies.
pub(super) trait Source: Hears {
    /// Readable when something has come; `None` where one has to ask.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

impl Source for SockDiag {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl Source for Tracefs {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Listening {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Listening::Bpf(bpf) => bpf.fd(),
            Listening::Other(source) => source.fd(),
        }
    }

    fn take(&mut self, docket: &mut Docket) -> anyhow::Result<()> {
        match self {
            Listening::Bpf(bpf) => bpf.take(docket),
            Listening::Other(source) => {
                let heard = source.take().context("the kernel tells no more")?;
                let now = monotonic();
                // A socket that was disconnected first says nothing of its peer; the other end's word follows.
                let nobody = |heard: &Heard| heard.remote.ip().is_unspecified() || heard.local.port() == 0;
                for heard in heard.into_iter().filter(|heard| !nobody(heard)) {
                    docket.hear(heard.local, heard.remote, heard.cookie, now, heard.testimony);
                }
            }
        }
        Ok(())
    }

    fn ripe(&mut self, docket: &mut Docket, now: u64) -> Vec<Hearing> {
        match self {
            Listening::Bpf(bpf) => bpf.ripe(docket, now),
            Listening::Other(_) => docket.ripe(now, &mut Nobody),
        }
    }

    fn lost(&self) -> Lost {
        match self {
            Listening::Bpf(bpf) => bpf.lost(),
            Listening::Other(source) => Lost {
                events: source.lost(),
                ..Lost::default()
            },
        }
    }

    /// Begins, now that there may be threads.
    fn start(&mut self) -> anyhow::Result<()> {
        match self {
            Listening::Bpf(bpf) => bpf
                .start()
                .context("there can be no thread to read the kernel's events"),
            Listening::Other(_) => Ok(()),
        }
    }

    /// All that the kernel counted: what was told of, and what the kernel part passed over.
    fn counted(&self, docket: &Docket) -> Counted {
        let mut counted = docket.counted();
        if let Listening::Bpf(bpf) = self {
            let passed_over = bpf.passed_over();
            counted.resets_sent += passed_over.resets_sent;
            counted.resets_received += passed_over.resets_received;
            counted.failures += passed_over.failures;
        }
        counted
    }

    /// What was not understood, in words.
    fn complaints(&self) -> Vec<String> {
        match self {
            Listening::Bpf(_) => Vec::new(),
            Listening::Other(source) => source.complaints(),
        }
    }
}

/// A source that gives testimonies has answered all that can be asked.
struct Nobody;

impl Machine for Nobody {
    fn real_time(&self, _: u64) -> Timestamp {
        Timestamp::default()
    }
    fn tick(&self) -> Duration {
        Duration::ZERO
    }
    fn reset_reason(&self, _: u32) -> Option<String> {
        None
    }
    fn drop_reason(&self, _: u32) -> Option<String> {
        None
    }
    fn reset_path(&self, _: &[u64]) -> ResetPath {
        ResetPath::Other
    }
    fn actor(&mut self, _: &Task, _: Option<ResetPath>) -> Actor {
        Actor::default()
    }
    fn owner(&mut self, _: u64) -> Option<Actor> {
        None
    }
    fn frames(&mut self, _: &Task, _: &UserStack) -> Vec<Frame> {
        Vec::new()
    }
    fn listening(&mut self, _: u32, _: SocketAddr) -> Option<bool> {
        None
    }
    fn listened(&self, _: u32, _: SocketAddr) -> bool {
        false
    }
}

/// Full accept queues, looked for every now and then.
struct Queues {
    backlogs: Option<Backlogs>,
    looked: Instant,
}

impl Queues {
    fn new() -> Queues {
        Queues {
            backlogs: Backlogs::open().ok(),
            looked: Instant::now(),
        }
    }

    fn look(&mut self, docket: &mut Docket, listening: &mut Listening) {
        const EVERY: Duration = Duration::from_millis(250);
        let Some(backlogs) = self.backlogs.as_mut().filter(|_| self.looked.elapsed() >= EVERY) else {
            return;
        };
        self.looked = Instant::now();
        for full in backlogs.look(output::now()) {
            let mut testimony = full.testimony;
            if let Listening::Bpf(bpf) = listening {
                testimony.actor = bpf.owner(full.listener.inode);
            }
            let local = SocketAddr::new(full.listener.local.ip().to_canonical(), full.listener.local.port());
            docket.hear(local, backlog::nobody(), 0, monotonic(), testimony);
        }
    }

    fn note(&self) -> Option<String> {
        let count = self.backlogs.as_ref()?.unattributed();
        (count > 0).then(|| format!("{count} connection attempts more were dropped because a listener's queue was full; which one's is not known"))
    }
}

/// Everything that a watch has besides its source.
pub(super) struct Session {
    pub(super) filter: Filter,
    pub(super) printer: Printer,
    pub(super) recorder: Recorder,
    pub(super) how_long: Option<Duration>,
}

impl Session {
    /// Listens until it is told to stop, its time is over, or nobody reads the output.
    pub(super) fn run(mut self, mut listening: Listening, stop: &Arc<AtomicBool>) -> anyhow::Result<Exit> {
        let end = self.how_long.map(|how_long| Instant::now() + how_long);
        let mut docket = Docket::new();
        let mut queues = Queues::new();
        self.printer.summary.began = output::now();
        listening.start()?;
        let outcome = loop {
            let over = stop.load(Ordering::Relaxed) || end.is_some_and(|end| Instant::now() >= end);
            if over {
                break self.last(&mut listening, &mut docket);
            }
            let patience = if listening.fd().is_some() && docket.is_empty() && !self.recorder.is_waiting() {
                IDLE
            } else {
                PATIENCE
            };
            let left = end.map_or(patience, |end| {
                u16::try_from(end.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u16::MAX)
            });
            let fd = listening.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let mut fds: Vec<PollFd<'_>> = fd.into_iter().collect();
            match poll(&mut fds, PollTimeout::from(left.clamp(1, patience))) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => break Err(error).context("the kernel's events cannot be waited for"),
            }
            queues.look(&mut docket, &mut listening);
            // Before what may take long: a hearing must not ripen while the other end's word lies in the ring.
            let now = monotonic();
            if let Err(error) = listening
                .take(&mut docket)
                .and_then(|()| self.tell(listening.ripe(&mut docket, now), &listening, &docket))
            {
                break Err(error);
            }
        };
        match outcome {
            Ok(()) => {}
            // The reader has what it wanted: `| head`.
            Err(error) if output::is_broken_pipe(&error) => return Ok(self.printer.exit()),
            Err(error) => return Err(error),
        }
        let counted = listening.counted(&docket);
        let summary = &mut self.printer.summary;
        summary.ended = output::now();
        summary.resets_sent = counted.resets_sent;
        summary.resets_received = counted.resets_received;
        summary.failed = counted.failures;
        summary.follow_ups = counted.follow_ups;
        summary.lost = listening.lost().words();
        let passed_over = counted.since(&docket.counted());
        if passed_over > 0 {
            summary.notes.push(format!(
                "{passed_over} resets and failures on other ports were only counted: the kernel part passed them over"
            ));
        }
        summary.notes.extend(listening.complaints());
        summary.notes.extend(queues.note());
        summary.notes.extend(self.recorder.end()?);
        match self.printer.end() {
            Ok(exit) => Ok(exit),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Findings),
            Err(error) => Err(error).context("standard output"),
        }
    }

    /// What is still on its way, and what had to wait.
    fn last(&mut self, listening: &mut Listening, docket: &mut Docket) -> anyhow::Result<()> {
        listening.take(docket)?;
        let ripe = listening.ripe(docket, u64::MAX);
        self.tell(ripe, listening, docket)
    }

    fn tell(&mut self, hearings: Vec<Hearing>, listening: &Listening, docket: &Docket) -> anyhow::Result<()> {
        for hearing in hearings {
            let finding: Option<Finding> = decide_heard(&hearing);
            if !self.filter.wants(&hearing) || !self.filter.wants_cause(finding.as_ref()) {
                self.printer.summary.not_asked_for += 1;
                continue;
            }
            self.recorder.note(&hearing, finding.as_ref());
            self.printer.tell(&hearing, finding).context("standard output")?;
        }
        self.recorder.write(false)?;
        if self.recorder.wants_counts() {
            self.recorder.counted(&listening.counted(docket), &listening.lost());
        }
        self.printer.flush().context("standard output")
    }
}

/// `CLOCK_MONOTONIC`, nanoseconds: the clock of the kernel's events.
pub(super) fn monotonic() -> u64 {
    bypeer_watch::clock::monotonic()
}
