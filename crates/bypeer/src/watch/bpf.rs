//! The kernel part as a source, and this machine as its interpreter: names, owners, places in programs.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use bypeer_diagnose::Hearing;
use bypeer_diagnose::testimony::{Act, Actor, Frame, ResetPath, ToldToEnd};
use bypeer_watch::bpf::{Live, LoadError, PassedOver, Reader, Ring, Settings};
use bypeer_watch::docket::Docket;
use bypeer_watch::event::{Kind, Task, UserStack};
use bypeer_watch::kernel::Listeners;
use bypeer_watch::owner::{Owners, act};
use bypeer_watch::stack::Stacks;
use bypeer_watch::witness::Machine;
use bypeer_watch::{clock, kernel};
use bypeer_wire::Timestamp;

use super::session::Lost;

/// Stacks that are unwound in a second: more would keep the ring from being read. The first of a storm tell what the others would.
const STACKS_A_SECOND: usize = 200;

/// The source.
pub(super) struct Bpf {
    live: Live,
    /// Until the reading begins.
    ring: Option<Ring>,
    reader: Option<Reader>,
    host: Host,
}

/// What is asked of this machine.
struct Host {
    owners: Owners,
    stacks: Stacks,
    listeners: Option<Listeners>,
    /// Inode of the network namespace that `listeners` is of.
    netns: u32,
    /// What to add to `CLOCK_MONOTONIC` for real time.
    offset: i64,
    tick: Duration,
    /// When stacks were unwound, within the last second.
    unwound: VecDeque<u64>,
    not_unwound: u64,
}

impl Bpf {
    /// Loads the kernel part.
    pub(super) fn load(settings: &Settings) -> Result<Bpf, LoadError> {
        let (live, ring) = Live::load(settings)?;
        let netns = std::fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino());
        Ok(Bpf {
            live,
            ring: Some(ring),
            reader: None,
            host: Host {
                owners: Owners::new(),
                stacks: Stacks::new(),
                listeners: Listeners::open().ok(),
                netns: u32::try_from(netns).unwrap_or(0),
                offset: clock::monotonic_to_real(),
                tick: clock::tick(),
                unwound: VecDeque::new(),
                not_unwound: 0,
            },
        })
    }

    /// Begins to read. Not before privileges are given up: a thread keeps those that it begins with.
    pub(super) fn start(&mut self) -> io::Result<()> {
        if let Some(ring) = self.ring.take() {
            self.reader = Some(Reader::start(ring)?);
        }
        Ok(())
    }

    /// `None` before it reads.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(AsFd::as_fd)
    }

    /// What the source cannot tell here.
    pub(super) fn unknown(&self) -> Vec<String> {
        let capabilities = self.live.capabilities();
        let mut unknown: Vec<String> = capabilities.lost().map(str::to_owned).collect();
        unknown.extend(capabilities.notes.iter().map(ToString::to_string));
        if !self.host.owners.sees_processes_of_events() {
            unknown.push(
                "programs, containers and lines of code: /proc here is of another process namespace than the kernel's; run it in the \
                 host's (docker run --pid=host, hostPID: true)"
                    .to_owned(),
            );
        }
        unknown
    }

    /// Brings what has come before the docket.
    pub(super) fn take(&mut self, docket: &mut Docket) {
        let events = self.reader.as_mut().map_or_else(VecDeque::new, Reader::take);
        if events.is_empty() {
            return;
        }
        self.host.offset = clock::monotonic_to_real();
        if let Some(listeners) = &mut self.host.listeners {
            listeners.keep_up();
        }
        // A process that ends is known only to who looked at it before.
        for event in &events {
            if event.kind == Kind::Signalled {
                self.host.owners.signalled(event);
            } else if event.task.acting {
                self.host.owners.remember(&event.task);
            }
        }
        let mut interpreter = Interpreter {
            live: &self.live,
            host: &mut self.host,
        };
        for event in &events {
            docket.push(event, &mut interpreter);
        }
    }

    /// What is ripe, with owners that are known by now.
    pub(super) fn ripe(&mut self, docket: &mut Docket, now: u64) -> Vec<Hearing> {
        let mut interpreter = Interpreter {
            live: &self.live,
            host: &mut self.host,
        };
        docket.ripe(now, &mut interpreter)
    }

    /// A process that holds the socket with this inode.
    pub(super) fn owner(&mut self, inode: u64) -> Option<Actor> {
        self.host.owner(inode)
    }

    /// What was lost on the way.
    pub(super) fn lost(&self) -> Lost {
        let losses = self.live.losses();
        Lost {
            events: losses.events,
            missed: losses.nested,
            unreadable: self.reader.as_ref().map_or(0, Reader::unreadable),
            stacks: losses.stacks + self.host.not_unwound + self.reader.as_ref().map_or(0, Reader::stacks_left_out),
        }
    }

    /// What the kernel part passed over because it is of other ports.
    pub(super) fn passed_over(&self) -> PassedOver {
        self.live.passed_over()
    }
}

impl Host {
    fn owner(&mut self, inode: u64) -> Option<Actor> {
        let pid = *self.owners.of_inode(inode).first()?;
        let actor = self.owners.of_pid(pid)?;
        Some(Actor {
            act: Act::Owned,
            ..actor
        })
    }
}

/// The machine as the docket asks it.
struct Interpreter<'a> {
    live: &'a Live,
    host: &'a mut Host,
}

impl Machine for Interpreter<'_> {
    fn real_time(&self, monotonic: u64) -> Timestamp {
        let monotonic = i64::try_from(monotonic).unwrap_or(i64::MAX);
        Timestamp(monotonic.saturating_add(self.host.offset))
    }

    fn tick(&self) -> Duration {
        self.host.tick
    }

    fn reset_reason(&self, number: u32) -> Option<String> {
        self.live.names().reset_reason(number).map(str::to_owned)
    }

    fn drop_reason(&self, number: u32) -> Option<String> {
        self.live.names().drop_reason(number).map(str::to_owned)
    }

    fn reset_path(&self, kernel_stack: &[u64]) -> ResetPath {
        kernel::path(&self.live.kernel_functions(kernel_stack))
    }

    fn actor(&mut self, task: &Task, path: Option<ResetPath>) -> Actor {
        let (act, call) = act(task, path);
        let told_to_end = self.host.owners.signal(task).map(|signal| ToldToEnd {
            signal: signal.number,
            at: self.real_time(signal.at),
            by: signal.by,
        });
        Actor {
            act,
            call,
            told_to_end,
            ..self.host.owners.process(task)
        }
    }

    fn owner(&mut self, inode: u64) -> Option<Actor> {
        self.host.owner(inode)
    }

    fn frames(&mut self, task: &Task, stack: &UserStack) -> Vec<Frame> {
        if !self.host.owners.sees_processes_of_events() {
            return Vec::new();
        }
        let now = clock::monotonic();
        while self
            .host
            .unwound
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > 1_000_000_000)
        {
            self.host.unwound.pop_front();
        }
        if self.host.unwound.len() >= STACKS_A_SECOND {
            // One that the kernel part left out is counted there.
            self.host.not_unwound += u64::from(!stack.bytes.is_empty());
            return Vec::new();
        }
        self.host.unwound.push_back(now);
        self.host.stacks.frames(task.pid, stack)
    }

    fn listening(&mut self, netns: u32, local: SocketAddr) -> Option<bool> {
        let listeners = self.host.listeners.as_mut().filter(|_| netns == self.host.netns)?;
        listeners.listening(local)
    }

    fn listened(&self, netns: u32, local: SocketAddr) -> bool {
        let listeners = self.host.listeners.as_ref().filter(|_| netns == self.host.netns);
        listeners.is_some_and(|listeners| listeners.listened(local))
    }
}
