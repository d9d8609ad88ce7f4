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
    /// What was unacknowledged when that was last asked: `SIOCOUTQ` is an int.
    unsent: Option<u32>,
    /// The peer's kernel has everything but our FIN.
    acknowledged: bool,
    /// Our FIN is queued behind everything that was written.
    half_closed: bool,
    /// The peer's FIN was read.
    end_of_file: bool,
    /// What kept a layer on the socket from its good-bye.
    good_bye_failed: Option<io::ErrorKind>,
    /// Both ends are there, and acknowledgements are waited for: one more than it was looked for them.
    looks: u8,
    /// Then: when to look again, in nanoseconds after `began`, which are half as long as an `Instant`.
    look: u64,
}

/// How long after the first look for acknowledgements the second comes; then twice as long each time, nine times. A round
/// trip is waited for at most twice as long as it takes, and a peer that takes nothing costs two looks a second.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// What happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Everything that was written is in the kernel's hands, and our FIN behind it.
    HalfClosed,
    /// A layer on the socket could not say its good-bye, and the connection is still there: the bare socket is half-closed
    /// next, and drained all the same.
    GoodByeFailed(io::ErrorKind),
    /// So many bytes were read and thrown away.
    Received(u64),
    /// A read came to the end.
    EndOfFile,
    /// A read, or the half-close, failed for good. `NotConnected`: there is no connection any more.
    Failed(io::ErrorKind),
    /// Nothing; it is time to look, and so much is unacknowledged (`None`: not known, or no matter, as with a unix
    /// socket, whose peer has it all). Where nothing is read any more, `SO_ERROR` is to be asked first.
    Looked(Option<u64>),
    /// It must end now.
    Stop,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
            unsent: unsent.map(saturated),
            acknowledged: false,
            half_closed: false,
            end_of_file: false,
            good_bye_failed: None,
            looks: 0,
            look: 0,
        }
    }

    /// The peer closed, our FIN is out and everything before it acknowledged, or a bound is reached: what is to be done
    /// after this event. A driver that was told to close asks no more.
    pub fn on(&mut self, event: Event, now: Instant, limits: &Limits) -> Next {
        match event {
            Event::HalfClosed => self.half_closed = true,
            Event::GoodByeFailed(kind) => self.good_bye_failed = Some(kind),
            Event::Received(bytes) => {
                self.drained = self.drained.saturating_add(bytes);
                self.heard = self.heard.max(now);
            }
            Event::EndOfFile => self.end_of_file = true,
            Event::Failed(kind) => return Next::Close(failed(kind)),
            Event::Looked(unsent) => {
                let unsent = unsent.map(saturated);
                // A peer that only reads is silent and not idle.
                if self.unsent.zip(unsent).is_some_and(|(before, now)| now < before) {
                    self.heard = self.heard.max(now);
                }
                self.unsent = unsent;
                self.acknowledged |= self.half_closed && unsent == Some(0);
                if self.looks > 0 {
                    self.look_again(FIRST_PAUSE * (1 << (self.looks - 1)), now);
                    self.looks = State::RANKS.min(self.looks + 1);
                }
            }
            Event::Stop => return Next::Close(Ended::Stopped),
        }
        self.next(now, limits)
    }

    fn next(&mut self, now: Instant, limits: &Limits) -> Next {
        if self.end_of_file && self.half_closed {
            if self.acknowledged || self.unsent.is_none() {
                return Next::Close(Ended::Eof);
            }
            if self.looks == 0 {
                // At once, and before any bound: it may be over.
                self.looks = 1;
                self.look_again(Duration::ZERO, now);
                return Next::Until(self.due(limits));
            }
        }
        let over = |since: Instant, bound: Duration| now.saturating_duration_since(since) >= bound;
        if self.drained > limits.bytes {
            Next::Close(Ended::ByteBound)
        } else if over(self.began, limits.total) {
            Next::Close(Ended::Deadline)
        } else if over(self.heard, limits.idle) {
            Next::Close(Ended::Idle)
        } else {
            Next::Until(self.due(limits))
        }
    }

    fn look_again(&mut self, pause: Duration, now: Instant) {
        let moment = now.saturating_duration_since(self.began) + pause;
        self.look = u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX);
    }

    /// The moment at which a bound is reached if nothing happens, or acknowledgements are looked for. `None`: never, as far
    /// as an `Instant` reaches.
    pub fn due(&self, limits: &Limits) -> Option<Instant> {
        let idle = self.heard.checked_add(limits.idle);
        let total = self.began.checked_add(limits.total);
        let look = self.look().map(|(_, moment)| moment);
        [idle, total, look].into_iter().flatten().min()
    }

    /// How many ranks of looks there are.
    pub(crate) const RANKS: u8 = 9;

    /// The moment at which acknowledgements are looked for, if both ends are there and they are waited for. Looks of one
    /// rank, below `RANKS`, all come equally long after what they follow.
    pub(crate) fn look(&self) -> Option<(usize, Instant)> {
        let moment = self.began.checked_add(Duration::from_nanos(self.look))?;
        let rank = self.looks.checked_sub(1)?;
        Some((usize::from(rank), moment))
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

    /// What kept a layer on the socket from its good-bye.
    pub fn good_bye_failed(&self) -> Option<io::ErrorKind> {
        self.good_bye_failed
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

fn saturated(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn failed(kind: io::ErrorKind) -> Ended {
    match kind {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => Ended::Reset,
        io::ErrorKind::NotConnected => Ended::Gone,
        kind => Ended::Failed(kind),
    }
}
