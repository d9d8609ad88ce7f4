use std::sync::Arc;
use std::time::Duration;

use bypeer_wire::app::{Place, Protocol};
use bypeer_wire::{Endpoint, PacketRef, Timestamp};

/// What is known of answers that went astray, as one connection sees it.
#[derive(Clone, Debug, Default)]
pub struct Astray {
    /// A request of this connection was never answered here: another connection was given its answer.
    pub taken: Option<Box<Swap>>,
    /// A request of this connection was given the answer to another connection's request.
    pub given: Option<Box<Swap>>,
    /// The client sent a request while the answer to the one before was owed, and not as those do that pipeline.
    pub reused: Option<Box<Reuse>>,
    /// An answer left the server before its kernel had received the request that it stands for.
    pub early: Option<Early>,
    /// Answers to pipelined requests stand at the wrong places.
    pub shifted: Option<Box<Shift>>,
    /// The answer left from an address that the client had never talked to.
    pub elsewhere: Option<Box<Elsewhere>>,
    /// A request like those that are answered well was refused as no HTTP, behind one with a body.
    pub misread: Option<Misread>,
    /// The capture has an answer before its request, and their numbers show that they came in order: several queues or interfaces were
    /// recorded. Nothing is astray by that.
    pub is_disordered: bool,
}

impl Astray {
    /// Nothing of the kind is known.
    pub fn is_empty(&self) -> bool {
        self.taken.is_none()
            && self.given.is_none()
            && self.reused.is_none()
            && self.early.is_none()
            && self.shifted.is_none()
            && self.elsewhere.is_none()
            && self.misread.is_none()
    }
}

/// A request, as it is named in a finding about another connection.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its connection: `tcp.stream`.
    pub stream: u32,
    /// Who asked.
    pub client: Endpoint,
    /// Which kind of request: `GET /users/*`.
    pub route: Arc<str>,
    /// Its first byte.
    pub at: PacketRef,
}

/// An answer that was due to one request and was given to another, on another connection of the same server.
#[derive(Clone, Debug)]
pub struct Swap {
    /// The server.
    pub server: Endpoint,
    /// Whose answer it was.
    pub due: Asked,
    /// Who was given it.
    pub given: Asked,
    /// Its first byte.
    pub answer: PacketRef,
    /// What became of the request whose answer it was.
    pub fate: Fate,
    /// How that can be told.
    pub sign: Sign,
    /// How many requests of that kind were waiting: the answer may be any one's.
    pub waiting: u32,
    /// The answer that the receiver had asked for came as well, behind the wrong one.
    pub own_followed: Option<PacketRef>,
    /// It came before the other, which nobody was waiting for then.
    pub own_came_first: bool,
    /// It could have come: the wrong answer promised that the connection would go on, and it did go on, for so long.
    pub own_could_follow: Option<Duration>,
    /// The receiver's connection was opened; `None` when that was not seen.
    pub receiver_opened: Option<Timestamp>,
    /// The server had said something on the receiver's connection before it closed the other.
    pub receiver_was_served: bool,
}

/// What became of a request whose answer another was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server's kernel had all of it; then the server closed, without a byte of an answer.
    ClosedInHand(PacketRef),
    /// Its connection stayed open, and silent.
    Silent,
    /// Its client had given up before the answer was made.
    ClientLeft(PacketRef),
    /// It was given the other's answer in its turn.
    Exchanged(PacketRef),
    /// It was given a third one's answer, and its own went on to the next: a chain.
    GivenAnothers {
        /// The end of that answer.
        at: PacketRef,
        /// The chain began with a connection that was closed with the request in hand.
        closed_in_hand: bool,
    },
}

/// How it can be told whose answer it was.
#[derive(Clone, Debug)]
pub enum Sign {
    /// By its form.
    Shape {
        /// The form.
        shape: Arc<str>,
        /// How much better it fits the request that it was due to: a ratio of likelihoods.
        odds: f64,
        /// Answers to that kind of request from which its forms are known.
        of_due: u32,
        /// Answers to the kind of request that was given it.
        of_given: u32,
    },
    /// It repeats a word of that request; answers to this kind of request have always repeated their own's.
    Echo {
        /// Where in the request the word stands.
        place: Place,
        /// Answers that did.
        of: u32,
    },
    /// Two answers came to one request, and the connection took the place of one that had been closed with a request in hand.
    Surplus,
    /// The server's calls were seen.
    Calls,
}

/// A request on a connection on which an answer was owed.
#[derive(Clone, Debug)]
pub struct Reuse {
    /// HTTP/1 or Redis.
    pub protocol: Protocol,
    /// The request whose answer was owed.
    pub owed: Asked,
    /// The one that was sent in spite of that, so long after it.
    pub next: Asked,
    /// Time between them.
    pub gap: Duration,
    /// Where the answer that was owed came after all.
    pub answer: PacketRef,
    /// Requests of this client to this server that it sent only when nothing was owed.
    pub alone: u32,
    /// Those that it sent while something was owed, at other times.
    pub late: u32,
    /// Requests that it sent while two answers or more were owed: it does not wait for answers at all.
    pub deep: u32,
    /// How often it waited for an answer at least so long as this time, with nothing sent meanwhile.
    pub as_long: u32,
    /// Requests on this connection since then that it sent as soon as an answer had come, with one owed.
    pub moved_on: u32,
    /// Others.
    pub otherwise: u32,
    /// The request whose answer was owed is one for which the server takes its time by design.
    pub blocking: bool,
}

/// Requests that a client sent one at a time before it is believed to do so as a rule. Clients of Redis that many callers share are as common
/// as those that wait; with HTTP there are undici and others that pipeline when they are told to.
const ONE_AT_A_TIME: u32 = 10;

/// Who waited for an answer so often for as long, and sent nothing meanwhile, does not send the next because it pipelines. Short waits tell
/// nothing: most callers of a shared connection find nothing owed, and send what they have. Nor do several connections of a host: each process
/// may have one that its callers share.
const WAITED: u32 = 20;

/// The same for HTTP, where few pipeline.
const WAITED_HTTP: u32 = 3;

/// Requests in a row of one who takes each answer for the one to its newest request.
const MOVED_ON: u32 = 5;

/// Nobody gives up on an answer sooner; a sender that pipelines may be held up for as long, between two requests, where its machine is busy.
pub const GIVEN_UP: Duration = Duration::from_millis(100);

impl Reuse {
    /// It is no pipelining: this client waits for its answers.
    pub fn is_clear(&self) -> bool {
        let waited = match self.protocol {
            Protocol::Http1 => WAITED_HTTP,
            _ => WAITED,
        };
        let waits = self.as_long >= waited || self.counts_wrong();
        self.sends_one_at_a_time() && waits && !self.blocking
    }

    /// It has gone on with an answer in hand while one was owed, ever since.
    pub fn counts_wrong(&self) -> bool {
        self.moved_on >= MOVED_ON && self.otherwise == 0
    }

    fn sends_one_at_a_time(&self) -> bool {
        self.deep == 0 && self.late == 0 && self.alone >= ONE_AT_A_TIME
    }

    /// It may be, by how seldom it is pipelined and how long the client had waited; it may as well be a client that pipelines.
    pub fn may_be_a_slip(&self) -> bool {
        let gave_up = self.gap >= GIVEN_UP;
        let waits = self.sends_one_at_a_time();
        match self.protocol {
            Protocol::Http1 => self.deep == 0 && (gave_up || waits && !self.blocking),
            _ => gave_up && waits,
        }
    }
}

/// An answer from before its request.
#[derive(Clone, Copy, Debug)]
pub struct Early {
    /// Number of the request, from 0.
    pub index: u32,
    /// First byte of the answer.
    pub at: PacketRef,
    /// Bytes of the client's that the server's kernel had received when it sent that.
    pub acked: u64,
    /// Where the request's head ends.
    pub head_end: u64,
}

/// Answers to pipelined requests at the wrong places.
#[derive(Clone, Debug)]
pub struct Shift {
    /// The first request that was given another's.
    pub given: Asked,
    /// Whose it was.
    pub due: Asked,
    /// First byte of the answer.
    pub answer: PacketRef,
    /// How that can be told.
    pub sign: ShiftSign,
    /// Answers on this connection at a wrong place.
    pub count: u32,
}

/// How it can be told that an answer stands at a wrong place.
#[derive(Clone, Debug)]
pub enum ShiftSign {
    /// By its form.
    Shape(Arc<str>),
    /// It repeats a word of the other request; answers to this kind of request repeat their own's.
    Echo {
        /// Where in the request the word stands.
        place: Place,
        /// Answers that did.
        of: u32,
    },
}

/// An answer from an address that the client had never talked to.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// The client's connection to the address that it knows.
    pub known: (u32, Endpoint),
    /// The stream of the answer, and where that came from.
    pub foreign: (u32, Endpoint),
    /// The client.
    pub client: Endpoint,
    /// The answer.
    pub answer: PacketRef,
    /// The client's kernel refused it.
    pub refused: PacketRef,
    /// Bytes of it.
    pub bytes: u64,
}

/// A sound request that was refused as if it were none, behind a request with a body.
#[derive(Clone, Copy, Debug)]
pub struct Misread {
    /// Number of the request, from 0.
    pub index: u32,
    /// The refusal's status.
    pub status: u16,
    /// Its first byte.
    pub at: PacketRef,
    /// Requests of this kind that the server answered well.
    pub usual: u32,
}
