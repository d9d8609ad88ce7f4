use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bypeer_wire::Timestamp;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::engine::{Engine, Host, Output};
use super::recording::{RecordedFrame, Recording};
use super::script::Script;
use super::socket::PortSocket;
use super::strangers::Strangers;

/// Frames that are read from one port before the others have their turn.
const BATCH: usize = 64;
/// A frame that segmentation offload left whole, and its Ethernet header.
const LARGEST_FRAME: usize = (64 << 10) + 64;

/// One host's link to the wire.
#[derive(Debug)]
pub struct Port {
    /// The host's name.
    pub name: String,
    /// The host's address. Several hosts may share one: `redirect` says who has it.
    pub address: Ipv4Addr,
    /// Of the host's interface.
    pub host_mac: [u8; 6],
    /// Of the wire's end of the link.
    pub wire_mac: [u8; 6],
    /// The wire's end of the link.
    pub socket: PortSocket,
}

/// A running wire: a thread that forwards between the ports, also before the first round and between rounds.
///
/// It ends when this is dropped.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Makes the thread look at the state again.
    wake: OwnedFd,
    over: AtomicBool,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    hosts: Vec<Host>,
    own_address: Ipv4Addr,
    sockets: Vec<Line>,
    clock: Clock,
    recording: Recording,
    output: Output,
    /// Who is of no round; none between rounds, when leftovers may tidy up among themselves.
    strangers: Option<Strangers>,
    marks: Sender<String>,
    last_moved: Instant,
    buffer: Vec<u8>,
}

/// A port's socket, and how many frames the kernel dropped there as far as is known.
#[derive(Debug)]
struct Line {
    socket: PortSocket,
    dropped: u32,
    /// The interface is gone: it is not asked again.
    is_dead: bool,
}

impl Wire {
    /// Starts the thread. The wire's own address is where translated hosts appear to be, and where ICMP errors come from;
    /// hosts must send packets for it to their interface. Marks that rules reach go to `marks`.
    ///
    /// # Errors
    /// No thread, or no descriptor, is to be had.
    pub fn start(ports: Vec<Port>, own_address: Ipv4Addr, marks: Sender<String>) -> io::Result<Wire> {
        let hosts: Vec<Host> = ports
            .iter()
            .map(|port| Host {
                address: port.address,
                mac: port.host_mac,
                wire_mac: port.wire_mac,
            })
            .collect();
        // Descriptors of their own to wait on: the state is locked only while it works.
        let waits: Vec<OwnedFd> = ports
            .iter()
            .map(|port| std::os::fd::AsFd::as_fd(&port.socket).try_clone_to_owned())
            .collect::<io::Result<_>>()?;
        let sockets = ports
            .into_iter()
            .map(|port| Line {
                socket: port.socket,
                dropped: 0,
                is_dead: false,
            })
            .collect();
        let state = State {
            engine: Engine::new(hosts.clone(), own_address, Script::default(), 0),
            hosts,
            own_address,
            sockets,
            clock: Clock::start(),
            recording: Recording::default(),
            output: Output::default(),
            strangers: None,
            marks,
            last_moved: Instant::now(),
            buffer: vec![0; LARGEST_FRAME],
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            over: AtomicBool::new(false),
        });
        let thread = std::thread::Builder::new().name("wire".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(&waits)
        })?;
        Ok(Wire {
            shared,
            thread: Some(thread),
        })
    }

    /// Begins a round: rules, connections and the record of the one before are forgotten, and what it left on the links. Until its
    /// end, segments of connections that began before it are dropped and not recorded.
    pub fn begin(&self, script: Script, seed: u64) {
        let mut state = self.shared.lock();
        state.discard();
        let published = script.published(&state.hosts);
        state.engine = Engine::new(state.hosts.clone(), state.own_address, script, seed);
        state.strangers = Some(Strangers::new(state.own_address, published));
        state.recording = Recording::default();
        state.last_moved = Instant::now();
        drop(state);
        self.shared.wake();
    }

    /// Somebody reached a mark. What rules do about it is done when this returns, but for what they delay.
    pub fn mark(&self, name: &str) {
        let mut state = self.shared.lock();
        let now = state.clock.now();
        let State { engine, output, .. } = &mut *state;
        engine.mark(now, name, output);
        state.flush();
        drop(state);
        self.shared.wake();
    }

    /// How long no packet has moved; zero while any are on their way. Held ones do not count.
    pub fn quiet_for(&self) -> Duration {
        let state = self.shared.lock();
        match state.engine.is_busy() {
            true => Duration::ZERO,
            false => state.last_moved.elapsed(),
        }
    }

    /// Ends the round and returns its record. The wire forwards on, without rules, until the next one begins.
    pub fn end(&self) -> Recording {
        let mut state = self.shared.lock();
        state.strangers = None;
        let idle = Engine::new(state.hosts.clone(), state.own_address, Script::default(), 0);
        let engine = std::mem::replace(&mut state.engine, idle);
        let mut recording = std::mem::take(&mut state.recording);
        let counts = engine.counts();
        recording.unused_rules = engine.unused_rules();
        recording.lost += counts.overflowed;
        recording.limited = counts.limited;
        recording.untranslated = counts.untranslated;
        recording.unroutable = counts.unroutable;
        recording.thrown_away = engine.held() + engine.in_flight();
        recording
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been printed already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only where the counter is full, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn run(&self, waits: &[OwnedFd]) {
        // The kernel may otherwise wake a thread 50 us late, which is more than a packet needs to pass.
        let _ = nix::sys::prctl::set_timerslack(1);
        let mut dead = vec![false; waits.len()];
        while !self.over.load(Ordering::Acquire) {
            let timeout = {
                let state = self.lock();
                let now = state.clock.now();
                let deadline = state.engine.next_deadline();
                deadline.map(|deadline| deadline.since(now))
            };
            let living: Vec<usize> = (0..waits.len()).filter(|port| !dead[*port]).collect();
            let mut polled = vec![PollFd::new(&self.wake, PollFlags::IN)];
            polled.extend(living.iter().map(|port| PollFd::new(&waits[*port], PollFlags::IN)));
            let timeout = timeout.map(|timeout| Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(timeout.subsec_nanos()),
            });
            // An interrupted or failed wait is one that ended early.
            let _ = poll(&mut polled, timeout.as_ref());
            let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
            if ready[0] {
                let _ = rustix::io::read(&self.wake, &mut [0; 8]);
            }
            let mut state = self.lock();
            for (port, _) in living.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
                state.read(*port);
                dead[*port] = state.sockets[*port].is_dead;
            }
            let now = state.clock.now();
            let State { engine, output, .. } = &mut *state;
            engine.advance(now, output);
            state.flush();
        }
    }
}

impl State {
    /// Takes a batch of frames from a port and through the engine.
    fn read(&mut self, port: usize) {
        for _ in 0..BATCH {
            let line = &mut self.sockets[port];
            let received = match line.socket.receive(&mut self.buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return,
                // ENETDOWN is told once when the link goes down; it may come up again.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NETDOWN.raw_os_error()) => return,
                Err(_) => {
                    line.is_dead = true;
                    return;
                }
            };
            if let Some(dropped) = received.dropped {
                self.recording.lost += u64::from(dropped.wrapping_sub(line.dropped));
                line.dropped = dropped;
            }
            let Some(length) = received.length else {
                continue;
            };
            let now = self.clock.now();
            let frame = &self.buffer[..length];
            if self.strangers.as_mut().is_some_and(|strangers| strangers.is_one(frame)) {
                continue;
            }
            // Neither ARP nor IPv6 is the scenario's business.
            if frame.get(12..14) == Some(&[0x08, 0x00]) {
                self.recording.add(RecordedFrame {
                    time: now,
                    port,
                    sent_by_host: true,
                    bytes: frame.to_vec(),
                });
                self.last_moved = Instant::now();
            }
            self.engine.push(now, port, frame, &mut self.output);
            self.flush();
        }
    }

    /// Writes what the engine put out, and records it.
    fn flush(&mut self) {
        for (port, frame) in self.output.frames.drain(..) {
            // Before it is written: the receiver's answer may come while it is.
            let now = self.clock.now();
            let is_sent = self
                .sockets
                .get(port)
                .is_some_and(|line| line.socket.send(&frame).is_ok());
            if !is_sent {
                self.recording.lost += 1;
                continue;
            }
            self.last_moved = Instant::now();
            self.recording.add(RecordedFrame {
                time: now,
                port,
                sent_by_host: false,
                bytes: frame,
            });
        }
        for mark in self.output.marks.drain(..) {
            // Nobody listens any more: the round is over.
            let _ = self.marks.send(mark);
        }
    }

    /// Throws away what waits in the sockets.
    fn discard(&mut self) {
        self.output = Output::default();
        for line in &mut self.sockets {
            // Bounded: a host that goes on sending is not the last round's any more.
            for _ in 0..100_000 {
                match line.socket.receive(&mut self.buffer) {
                    Ok(Some(received)) => line.dropped = received.dropped.unwrap_or(line.dropped),
                    Ok(None) | Err(_) => break,
                }
            }
        }
    }
}

/// CLOCK_REALTIME as it was at the start, and counted on from there: it never steps back.
#[derive(Debug)]
struct Clock {
    start: i64,
    since: Instant,
}

impl Clock {
    fn start() -> Clock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock {
            start: i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX),
            since: Instant::now(),
        }
    }

    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.since.elapsed().as_nanos()).unwrap_or(i64::MAX);
        Timestamp(self.start.saturating_add(elapsed))
    }
}
