use std::fmt;

use bypeer_wire::{Endpoint, PacketRef, Timestamp};

use crate::misdelivered::astray::Asked;
use crate::{Cause, Hearing};

/// What bypeer says about one connection: the cause, how sure it is, and why.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The cause; of an undecided finding the first of the candidates.
    pub cause: &'static Cause,
    /// How sure.
    pub confidence: Confidence,
    /// Causes that what was seen could not rule out. Never empty when undecided.
    pub rivals: Vec<Rival>,
    /// Nobody lost anything and nobody needs to change anything.
    pub harmless: bool,
    /// Who is to change something.
    pub blame: Party,
    /// One line in plain words, without addresses: "gunicorn closed while 36 of 414 request bytes were unread".
    pub verdict: String,
    /// Who closed, and whose kernel sent the reset: one line.
    pub closing: String,
    /// Wireshark's `tcp.stream` index.
    pub stream: u32,
    /// The client.
    pub client: Endpoint,
    /// The server.
    pub server: Endpoint,
    /// Method and path of the request it is about, where they are known.
    pub request: Option<String>,
    /// The server's software, as it calls itself or as its behaviour tells.
    pub server_software: Option<String>,
    /// Its first packet, or its first read or write; `None` where that is not known.
    pub opened: Option<Timestamp>,
    /// Its last packet.
    pub ended: Timestamp,
    /// What did not arrive.
    pub lost: Lost,
    /// May the client send the request again?
    pub retry: Retry,
    /// Why `retry` says so: one line.
    pub retry_reason: String,
    /// The proof, in time order.
    pub evidence: Vec<Evidence>,
    /// Clauses of standards, best first.
    pub clauses: Vec<&'static Clause>,
    /// What to change, by owner.
    pub fixes: Vec<Fix>,
    /// The server of this connection is the client of another one that broke off first: what happened here follows.
    pub follows: Option<Follows>,
    /// The one observation that would decide between the rivals, or make a likely finding certain.
    pub settle: Option<String>,
    /// It is about an answer that went to the wrong request: whose it was, and who was given it.
    pub misdelivered: Option<Box<Misdelivered>>,
    /// What the kernels said, when it was judged by that and not by packets. `stream` is then the connection's number in the order of
    /// telling.
    pub heard: Option<Box<Hearing>>,
}

impl Finding {
    /// When it began as far as that is known: its end at the latest.
    pub fn began(&self) -> Timestamp {
        self.opened.unwrap_or(self.ended)
    }
}

/// An answer on the wrong request: both sides of it, in the finding about either.
#[derive(Clone, Debug)]
pub struct Misdelivered {
    /// The request that it was the answer to.
    pub due: Asked,
    /// The request that was given it.
    pub given: Asked,
    /// Its first byte.
    pub answer: PacketRef,
    /// What was disclosed, and to whom: one line.
    pub disclosed: String,
}

/// The connection behind a proxy whose end brought this one down.
#[derive(Clone, Debug)]
pub struct Follows {
    /// Its `tcp.stream` index.
    pub stream: u32,
    /// The server that the proxy was connected to.
    pub server: Endpoint,
    /// Why that one ended.
    pub cause: &'static Cause,
}

/// A promise that is measured: see ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Confidence {
    /// Two or more causes remain.
    Undecided,
    /// The pattern fits and every rival was ruled out by something observed. Right nine times in ten.
    Likely,
    /// The deciding fact itself was observed. Practically never wrong.
    Certain,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Confidence::Undecided => "undecided",
            Confidence::Likely => "likely",
            Confidence::Certain => "certain",
        })
    }
}

/// A cause that could not be ruled out.
#[derive(Clone, Debug)]
pub struct Rival {
    /// The other cause.
    pub cause: &'static Cause,
    /// What speaks for it: one line.
    pub because: String,
}

/// Who did it, or who can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// The client's program or library.
    ClientProgram,
    /// The client's kernel.
    ClientKernel,
    /// The server's program or framework.
    ServerProgram,
    /// The server's kernel.
    ServerKernel,
    /// A firewall, NAT, load balancer or link between them.
    Between,
    /// A setting that an operator chose.
    Operator,
    /// Nobody.
    Nobody,
}

impl Party {
    /// As the JSON schema spells it.
    pub fn id(self) -> &'static str {
        match self {
            Party::ClientProgram => "client-program",
            Party::ClientKernel => "client-kernel",
            Party::ServerProgram => "server-program",
            Party::ServerKernel => "server-kernel",
            Party::Between => "between",
            Party::Operator => "operator",
            Party::Nobody => "nobody",
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Party::ClientProgram => "the client program",
            Party::ClientKernel => "the client's kernel",
            Party::ServerProgram => "the server program",
            Party::ServerKernel => "the server's kernel",
            Party::Between => "a box between client and server",
            Party::Operator => "a setting",
            Party::Nobody => "nobody",
        })
    }
}

/// What did not arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Response bytes that were declared or sent and that the client cannot have read; `None` when that cannot be told.
    pub response_bytes: Option<u64>,
    /// Requests that got no complete answer.
    pub requests: u32,
    /// In words: "the whole response", "at least 401 408 of 614 612 response bytes", "nothing".
    pub what: String,
}

/// Whether a request may be sent again (RFC 9110 §9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Idempotent, or provably not processed.
    Safe,
    /// It may have run, and running it twice is not the same as once.
    Unsafe,
    /// Cannot be told.
    Unknown,
    /// There is nothing to retry.
    NotNeeded,
}

impl Retry {
    /// As the JSON schema spells it; nothing to retry is `safe` there.
    pub fn id(self) -> &'static str {
        match self {
            Retry::Safe | Retry::NotNeeded => "safe",
            Retry::Unsafe => "unsafe",
            Retry::Unknown => "unknown",
        }
    }
}

/// One piece of proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Where it was seen.
    pub source: Source,
    /// Packet number (1-based), for packets.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// What it shows.
    pub what: String,
}

impl Evidence {
    /// A packet that shows something.
    pub fn packet(at: PacketRef, what: impl Into<String>) -> Evidence {
        Evidence {
            source: Source::Packet,
            number: at.number,
            time: at.time,
            what: what.into(),
        }
    }
}

/// Where evidence was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A packet of a capture.
    Packet,
    /// Other connections of the same capture, taken together.
    Group,
    /// A kernel that had one of the connection's sockets; `number` is that of the event.
    Kernel,
}

impl Source {
    /// As the JSON schema spells it.
    pub fn id(self) -> &'static str {
        match self {
            Source::Packet => "packet",
            Source::Group => "group",
            Source::Kernel => "kernel",
        }
    }
}

/// A clause of a standard, from `facts/clauses.toml`.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Clause {
    /// "RFC 9112 §9.6".
    pub id: String,
    /// Its heading.
    pub title: String,
    /// What it asks for, in our words.
    pub requires: String,
}

/// A change that mends or prevents it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Who can make the change.
    pub owner: Owner,
    /// The change, in the words of the software where that is known.
    pub what: String,
}

/// Who can make a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// Who owns the server program or its settings.
    Server,
    /// Who owns the client.
    Client,
    /// Who owns a proxy between them.
    Proxy,
    /// Who owns the network or the hosts.
    Network,
}

impl Owner {
    /// As the JSON schema spells it.
    pub fn id(self) -> &'static str {
        match self {
            Owner::Server => "server",
            Owner::Client => "client",
            Owner::Proxy => "proxy",
            Owner::Network => "network",
        }
    }
}

/// Something that only several connections together show.
#[derive(Clone, Debug)]
pub struct Insight {
    /// The cause it speaks about.
    pub cause: &'static Cause,
    /// The server it is about.
    pub server: Endpoint,
    /// One or two sentences: "server closes after 5.00 s idle ± 4 ms; …".
    pub what: String,
    /// Connections it was learnt from.
    pub connections: u32,
}

/// Every connection seen, accounted for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// All connections.
    pub connections: u64,
    /// Ended well.
    pub ended_well: u64,
    /// With a finding that is certain or likely and not harmless.
    pub found: u64,
    /// With a harmless finding.
    pub harmless: u64,
    /// Undecided.
    pub undecided: u64,
    /// Not judged, by reason.
    pub not_judged: Vec<(NotJudged, u64)>,
}

/// Why a connection was not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotJudged {
    /// Still open when the capture ended, nothing wrong until then.
    StillOpen,
    /// Only a few packets of it were captured.
    TooLittleSeen,
    /// It ended abnormally in a way that no cause describes.
    NoCauseFits,
    /// Put out of the table for lack of room.
    Evicted,
}

impl NotJudged {
    /// As the JSON schema spells it.
    pub fn id(self) -> &'static str {
        match self {
            NotJudged::StillOpen => "still-open",
            NotJudged::TooLittleSeen => "too-little-seen",
            NotJudged::NoCauseFits => "no-cause-fits",
            NotJudged::Evicted => "evicted",
        }
    }

    /// In words.
    pub fn what(self) -> &'static str {
        match self {
            NotJudged::StillOpen => "still open when the capture ended, nothing wrong until then",
            NotJudged::TooLittleSeen => "too little of it was captured: a few packets, or one direction only",
            NotJudged::NoCauseFits => "ended abnormally in a way that no cause describes",
            NotJudged::Evicted => "put out of memory for lack of room",
        }
    }
}
