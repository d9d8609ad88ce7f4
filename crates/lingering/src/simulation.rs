//! Every interleaving of what a peer may do, up to a depth, against the state machine and a model of the two kernels
//! between which it works.
//!
//! The model is a harsh one: any reset throws away what its receiver has not read yet (Linux keeps that readable, BSD and
//! Windows do not), and a kernel acknowledges only what finds room. Each sequence is also one with silence behind it.
//!
//! What is held, of every sequence:
//! - the response arrives whole, or the bound that cut it, or the peer's own reset, is what is reported;
//! - after `Eof` no reset of ours follows, whatever the peer does;
//! - `delivered()` is never wrong;
//! - the close ends when an oracle, which knows the whole sequence and nothing of states, says so, and for its reason.

use std::io;
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::outcome::{Ended, Outcome};
use crate::state::{Event, Next, State};

/// What a peer does in one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Nothing,
    Send(u64),
    ReadOne,
    ReadAll,
    HalfClose,
    Close,
    Reset,
}

const DEEDS: [Deed; 8] = [
    Deed::Nothing,
    Deed::Send(1),
    Deed::Send(3),
    Deed::ReadOne,
    Deed::ReadAll,
    Deed::HalfClose,
    Deed::Close,
    Deed::Reset,
];

/// What the peer's kernel holds for an application that does not read.
const ROOM: u64 = 1;
/// What our kernel holds that is not acknowledged.
const SEND_BUFFER: u64 = 2;
const RESPONSE: u64 = 4;
const TICK: Duration = Duration::from_secs(1);

/// Both ends of the connection.
#[derive(Clone, Debug, Default)]
struct World {
    /// In a layer above our socket: it enters the kernel before our FIN does.
    layered: u64,
    unacknowledged: u64,
    fin_queued: bool,
    received: u64,
    peer_unread: u64,
    peer_read: u64,
    peer_sends: bool,
    peer_is_there: bool,
    reset_by_peer: bool,
    reset_by_us: bool,
    closed: bool,
}

impl World {
    fn new(layered: bool) -> World {
        let in_kernel = if layered { SEND_BUFFER } else { RESPONSE };
        let mut world = World {
            layered: RESPONSE - in_kernel,
            unacknowledged: in_kernel,
            peer_sends: true,
            peer_is_there: true,
            ..World::default()
        };
        world.transfer();
        world
    }

    fn is_dead(&self) -> bool {
        self.reset_by_peer || self.reset_by_us
    }

    /// Our kernel sends what finds room.
    fn transfer(&mut self) {
        if self.is_dead() {
            return;
        }
        if !self.peer_is_there && self.unacknowledged > 0 {
            return self.peer_resets();
        }
        let moved = self.unacknowledged.min(ROOM.saturating_sub(self.peer_unread));
        self.unacknowledged -= moved;
        self.peer_unread += moved;
    }

    /// The layer hands over what finds room, and the FIN behind all of it.
    fn half_close(&mut self) -> bool {
        let moved = self.layered.min(SEND_BUFFER.saturating_sub(self.unacknowledged));
        self.layered -= moved;
        self.unacknowledged += moved;
        self.fin_queued = self.layered == 0;
        self.transfer();
        self.fin_queued
    }

    fn peer(&mut self, deed: Deed) {
        if self.is_dead() || !self.peer_is_there {
            return;
        }
        match deed {
            Deed::Nothing => {}
            Deed::Send(bytes) if self.peer_sends => {
                if self.closed {
                    self.we_reset();
                } else {
                    self.received += bytes;
                }
            }
            Deed::Send(_) => {}
            Deed::ReadOne => self.peer_reads_some(1),
            Deed::ReadAll => self.peer_reads_some(u64::MAX),
            Deed::HalfClose => self.peer_sends = false,
            Deed::Close if self.peer_unread > 0 => self.peer_resets(),
            Deed::Close => {
                self.peer_sends = false;
                self.peer_is_there = false;
                self.transfer();
            }
            Deed::Reset => self.peer_resets(),
        }
    }

    fn peer_reads_some(&mut self, most: u64) {
        for _ in 0..most.min(RESPONSE) {
            let read = self.peer_unread.min(1);
            self.peer_unread -= read;
            self.peer_read += read;
            self.transfer();
        }
    }

    fn peer_resets(&mut self) {
        self.reset_by_peer = true;
        self.peer_unread = 0;
    }

    fn we_reset(&mut self) {
        self.reset_by_us = true;
        self.peer_unread = 0;
        self.unacknowledged = 0;
    }

    fn close(&mut self) {
        self.closed = true;
        if !self.is_dead() && self.received > 0 {
            self.we_reset();
        }
    }

    /// What the driver finds: it reads as a driver does.
    fn read(&mut self, most: u64) -> Option<Event> {
        if self.received > 0 {
            let bytes = self.received.min(most);
            self.received -= bytes;
            Some(Event::Received(bytes))
        } else if self.reset_by_peer {
            Some(Event::Failed(io::ErrorKind::ConnectionReset))
        } else if !self.peer_sends {
            Some(Event::EndOfFile)
        } else {
            None
        }
    }

    /// Everything was read, or waits in the peer's kernel for whoever reads.
    fn arrived_whole(&self) -> bool {
        self.peer_read + self.peer_unread == RESPONSE
    }
}

/// One sequence under way.
#[derive(Clone, Debug)]
struct Run {
    world: World,
    state: State,
    now: Instant,
    limits: Limits,
    outcome: Option<(Outcome, u64)>,
    whole_at_close: bool,
    deeds: Vec<Deed>,
    /// For the oracle: seconds in which the peer gave a sign of life, by what it did to the model.
    lives: Vec<u64>,
    oracle: Option<(Ended, u64)>,
    sent: u64,
    unsent_at_look: u64,
}

impl Run {
    fn new(limits: Limits, layered: bool, now: Instant) -> Run {
        let world = World::new(layered);
        let state = State::new(now, Some(world.unacknowledged));
        let mut run = Run {
            unsent_at_look: world.unacknowledged,
            world,
            state,
            now,
            limits,
            outcome: None,
            whole_at_close: false,
            deeds: Vec::new(),
            lives: vec![0],
            oracle: None,
            sent: 0,
        };
        run.drive();
        run
    }

    fn second(&self) -> u64 {
        (self.now - self.state.began()).as_secs()
    }

    fn step(&mut self, deed: Deed) {
        self.now += TICK;
        self.deeds.push(deed);
        let sends = self.world.peer_sends && self.world.peer_is_there && !self.world.is_dead();
        self.world.peer(deed);
        if let Deed::Send(bytes) = deed
            && sends
            && self.outcome.is_none()
        {
            self.sent += bytes;
            self.lives.push(self.second());
        }
        self.drive();
    }

    /// As the drivers do: what there is to read first, and the clock after it.
    fn drive(&mut self) {
        while self.outcome.is_none() {
            let event = if !self.state.is_half_closed() && !self.world.is_dead() && self.world.half_close() {
                Event::HalfClosed
            } else if let Some(event) = self.next_read() {
                event
            } else if !self.state.is_half_closed() && self.world.reset_by_peer {
                Event::Failed(io::ErrorKind::BrokenPipe)
            } else if self.state.due(&self.limits).is_some_and(|due| due <= self.now) {
                self.look()
            } else {
                break;
            };
            match self.state.on(event, self.now, &self.limits) {
                Next::Close(ended) => self.close(ended),
                Next::Until(due) => assert_eq!(due, self.state.due(&self.limits)),
            }
        }
        self.ask_the_oracle();
    }

    fn next_read(&mut self) -> Option<Event> {
        let most = self.state.allowance(&self.limits);
        self.state.reads().then(|| self.world.read(most)).flatten()
    }

    fn look(&mut self) -> Event {
        if self.world.unacknowledged < self.unsent_at_look {
            self.lives.push(self.second());
        }
        self.unsent_at_look = self.world.unacknowledged;
        // Of a reset behind the peer's FIN no read tells.
        if !self.state.reads() && self.world.reset_by_peer {
            return Event::Failed(io::ErrorKind::ConnectionReset);
        }
        Event::Looked(Some(self.world.unacknowledged))
    }

    fn close(&mut self, ended: Ended) {
        let outcome = Outcome {
            ended,
            drained: self.state.drained(),
            unsent: Some(self.world.unacknowledged + self.world.layered),
            unread: Some(self.world.received),
            good_bye_failed: self.state.good_bye_failed(),
            unsent_is_there: false,
            lasted: self.now - self.state.began(),
        };
        self.outcome = Some((outcome, self.second()));
        self.whole_at_close = self.world.arrived_whole();
        self.world.close();
    }

    /// The end, from the record of the whole sequence alone. What happens in the same second is told in this order.
    fn ask_the_oracle(&mut self) {
        let second = self.second();
        if self.oracle.is_some() {
            return;
        }
        let silence = second - self.lives.iter().max().copied().unwrap_or(0);
        let world = &self.world;
        let delivered_to_kernel = world.layered == 0;
        let late = second >= self.limits.total.as_secs();
        let came_now = self.lives.last() == Some(&second) && matches!(self.deeds.last(), Some(Deed::Send(_)));
        let ended = if self.sent > self.limits.bytes {
            Some(Ended::ByteBound)
        } else if came_now && late {
            Some(Ended::Deadline)
        } else if world.reset_by_peer {
            Some(Ended::Reset)
        } else if !world.peer_sends && delivered_to_kernel && world.unacknowledged == 0 {
            Some(Ended::Eof)
        } else if late {
            Some(Ended::Deadline)
        } else if silence >= self.limits.idle.as_secs() {
            Some(Ended::Idle)
        } else {
            None
        };
        self.oracle = ended.map(|ended| (ended, second));
    }

    /// Holds the properties, with nothing but silence behind this sequence, and then a peer that reads what there is.
    fn check(mut self) {
        while self.outcome.is_none() {
            self.step(Deed::Nothing);
            assert!(
                self.second() <= self.limits.total.as_secs(),
                "it does not end: {self:?}"
            );
        }
        let (outcome, second) = self.outcome.unwrap_or_else(|| unreachable!());
        assert_eq!(self.oracle, Some((outcome.ended, second)), "the oracle: {self:?}");
        self.world.peer(Deed::ReadAll);
        let whole = self.world.arrived_whole();
        let at_fault = outcome.is_cut() || self.world.reset_by_peer;
        assert!(whole || at_fault, "a response was lost in silence: {self:?}");
        if outcome.ended == Ended::Eof {
            assert!(!self.world.reset_by_us, "a reset after the peer's end: {self:?}");
            assert!(self.whole_at_close, "an end before all was acknowledged: {self:?}");
        }
        match outcome.delivered() {
            // The peer's kernel had it, and what the peer itself does afterwards is its own affair.
            Some(true) => assert!(
                self.whole_at_close && !self.world.reset_by_us,
                "not delivered: {self:?}"
            ),
            Some(false) => assert!(!whole, "delivered: {self:?}"),
            None => {}
        }
        assert!(
            outcome.drained <= self.limits.bytes.saturating_add(1),
            "the bound of bytes: {self:?}"
        );
    }
}

/// All sequences of so many deeds. How many, and how often each end was met.
fn explore(run: &Run, depth: u32, ends: &mut Vec<(Ended, u64)>) -> u64 {
    run.clone().check();
    if let Some((outcome, _)) = run.outcome {
        match ends.iter_mut().find(|(ended, _)| *ended == outcome.ended) {
            Some((_, count)) => *count += 1,
            None => ends.push((outcome.ended, 1)),
        }
    }
    if depth == 0 {
        return 1;
    }
    let sequences = DEEDS.iter().map(|deed| {
        let mut next = run.clone();
        next.step(*deed);
        explore(&next, depth - 1, ends)
    });
    1 + sequences.sum::<u64>()
}

fn explore_all(depth: u32) -> u64 {
    let began = Instant::now();
    let second = Duration::from_secs(1);
    let limits = [
        // Each bound is the nearest in one of them, and in one two are met at once.
        Limits::default().bytes(4).idle(3 * second).total(6 * second),
        Limits::default().bytes(2).idle(6 * second).total(6 * second),
        Limits::default().bytes(u64::MAX).idle(2 * second).total(5 * second),
        Limits::default().bytes(1).idle(2 * second).total(3 * second),
    ];
    let mut sequences = 0;
    let mut ends = Vec::new();
    for limits in limits {
        for layered in [false, true] {
            sequences += explore(&Run::new(limits, layered, began), depth, &mut ends);
        }
    }
    println!("{sequences} sequences, ends: {ends:?}");
    for ended in [Ended::Eof, Ended::ByteBound, Ended::Idle, Ended::Deadline, Ended::Reset] {
        assert!(ends.iter().any(|(met, _)| *met == ended), "{ended:?} was never met");
    }
    sequences
}

#[test]
fn every_sequence_of_six_deeds_keeps_the_promise() {
    assert_eq!(explore_all(6), 8 * (8_u64.pow(7) - 1) / 7);
}

#[test]
#[ignore = "long: 153 million sequences, some minutes"]
fn every_sequence_of_eight_deeds_keeps_the_promise() {
    assert_eq!(explore_all(8), 8 * (8_u64.pow(9) - 1) / 7);
}

#[test]
fn limits_of_zero_end_at_once_and_huge_ones_never() {
    let now = Instant::now();
    let zero = Limits::default().total(Duration::ZERO);
    assert_eq!(
        State::new(now, None).on(Event::HalfClosed, now, &zero),
        Next::Close(Ended::Deadline)
    );
    let idle = Limits::default().idle(Duration::ZERO);
    assert_eq!(
        State::new(now, None).on(Event::HalfClosed, now, &idle),
        Next::Close(Ended::Idle)
    );
    let huge = Limits::default()
        .idle(Duration::MAX)
        .total(Duration::MAX)
        .bytes(u64::MAX);
    let mut state = State::new(now, None);
    assert_eq!(state.on(Event::HalfClosed, now, &huge), Next::Until(None));
    assert_eq!(state.on(Event::Received(u64::MAX), now, &huge), Next::Until(None));
    assert_eq!(state.on(Event::Received(1), now, &huge), Next::Until(None), "saturated");
    assert_eq!(state.allowance(&huge), 1);
    // No byte is allowed, and none comes.
    let none = Limits::default().bytes(0);
    let mut state = State::new(now, None);
    assert_eq!(state.allowance(&none), 1);
    state.on(Event::HalfClosed, now, &none);
    assert_eq!(state.on(Event::EndOfFile, now, &none), Next::Close(Ended::Eof));
}

#[test]
fn a_peer_that_only_reads_is_not_idle() {
    let now = Instant::now();
    let limits = Limits::default();
    let mut state = State::new(now, Some(1000));
    state.on(Event::HalfClosed, now, &limits);
    let mut later = now;
    for unsent in [900, 899, 1] {
        later += limits.idle;
        assert_eq!(
            state.on(Event::Looked(Some(unsent)), later, &limits),
            Next::Until(Some(later + limits.idle))
        );
    }
    later += limits.idle;
    assert_eq!(
        state.on(Event::Looked(Some(1)), later, &limits),
        Next::Close(Ended::Idle)
    );
    // Where the system does not say what is unsent, silence is all there is.
    let mut state = State::new(now, None);
    assert_eq!(
        state.on(Event::Looked(None), now + limits.idle, &limits),
        Next::Close(Ended::Idle)
    );
}
