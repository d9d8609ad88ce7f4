//! One lingering close as a state machine: no socket, no clock. Whoever drives it says what happened and when, and is
//! told to go on until a moment, or to close.

use std::io;
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::outcome::Ended;

/// A close that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    began: Instant,
    /// When the peer last gave a sign of life. `began <= heard`.
    heard: Instant,
    drained: u64,
    /// What was unacknowledged when that was last asked.
    unsent: Option<u64>,
    /// The peer's kernel has everything but our FIN.
    acknowledged: bool,
    /// Our FIN is queued behind everything that was written.
    half_closed: bool,
    /// The peer's FIN was read.
    end_of_file: bool,
}

/// What happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything that was written is in the kernel's hands, and our FIN behind it.
    HalfClosed,
    /// So many bytes were read and thrown away.
    Received(u64),
    /// A read came to the end.
    EndOfFile,
    /// A read, or the half-close, failed for good. `NotConnected`: there is no connection any more.
    Failed(io::ErrorKind),
    /// Nothing; it is time to look, and so much is unacknowledged (`None`: not known).
    Looked(Option<u64>),
    /// It must end now.
    Stop,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on; at this moment at the latest, look. `None`: no bound is that near.
    Until(Option<Instant>),
    /// Close.
    Close(Ended),
}

impl State {
    /// A close that begins now, with so much unacknowledged. Nothing is half-closed yet.
    pub fn new(now: Instant, unsent: Option<u64>) -> State {
        State {
            began: now,
            heard: now,
            drained: 0,
            unsent,
            acknowledged: false,
            half_closed: false,
            end_of_file: false,
        }
    }

    /// The peer closed, our FIN is out, or a bound is reached: what is to be done after this event. A driver that was
    /// told to close asks no more.
    pub fn on(&mut self, event: Event, now: Instant, limits: &Limits) -> Next {
        match event {
            Event::HalfClosed => self.half_closed = true,
            Event::Received(bytes) => {
                self.drained = self.drained.saturating_add(bytes);
                self.heard = self.heard.max(now);
            }
            Event::EndOfFile => self.end_of_file = true,
            Event::Failed(kind) => return Next::Close(failed(kind)),
            Event::Looked(unsent) => {
                // A peer that only reads is silent and not idle.
                if self.unsent.zip(unsent).is_some_and(|(before, now)| now < before) {
                    self.heard = self.heard.max(now);
                }
                self.unsent = unsent;
            }
            Event::Stop => return Next::Close(Ended::Stopped),
        }
        self.next(now, limits)
    }

    fn next(&self, now: Instant, limits: &Limits) -> Next {
        let over = |since: Instant, bound: Duration| now.saturating_duration_since(since) >= bound;
        if self.end_of_file && self.half_closed {
            Next::Close(Ended::Eof)
        } else if self.drained > limits.bytes {
            Next::Close(Ended::ByteBound)
        } else if over(self.began, limits.total) {
            Next::Close(Ended::Deadline)
        } else if over(self.heard, limits.idle) {
            Next::Close(Ended::Idle)
        } else {
            Next::Until(self.due(limits))
        }
    }

    /// The moment at which a bound is reached if nothing happens. `None`: never, as far as an `Instant` reaches.
    pub fn due(&self, limits: &Limits) -> Option<Instant> {
        let idle = self.heard.checked_add(limits.idle);
        let total = self.began.checked_add(limits.total);
        idle.into_iter().chain(total).min()
    }

    /// How much the next read may take: one byte more than is allowed, which then tells that the bound is passed.
    pub fn allowance(&self, limits: &Limits) -> u64 {
        limits.bytes.saturating_sub(self.drained).saturating_add(1)
    }

    /// Nothing more is written but our FIN.
    pub fn writes_no_more(&mut self) {
        self.acknowledged = self.unsent == Some(0);
    }

    /// Whether it is known, and needs not be asked again, that nothing but our FIN is unacknowledged.
    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// Whether the peer may still send.
    pub fn reads(&self) -> bool {
        !self.end_of_file
    }

    /// Whether our FIN is queued.
    pub fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// The last sign of life.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// Bytes that were thrown away.
    pub fn drained(&self) -> u64 {
        self.drained
    }
}

fn failed(kind: io::ErrorKind) -> Ended {
    match kind {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => Ended::Reset,
        io::ErrorKind::NotConnected => Ended::Gone,
        kind => Ended::Failed(kind),
    }
}
