use std::time::Duration;

/// Most matches that one script may have: which of them a segment met is kept in the bits of a word.
pub(super) const MOST_MATCHES: usize = 64;

/// A rule of the wire, as written and as understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    /// The line.
    pub(super) text: String,
    pub(super) action: Action,
}

/// What a rule does. Hosts are numbered as the wire's ports.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Delay {
        least: Duration,
        /// `>= least`
        most: Duration,
        from: Option<usize>,
    },
    Limit {
        bits_per_second: u64,
        from: Option<usize>,
    },
    Lose {
        /// `0.0..=1.0`
        share: f64,
        matching: MatchId,
    },
    Drop {
        matching: MatchId,
        after: Option<EventId>,
        until: Option<EventId>,
    },
    Hold {
        matching: MatchId,
        until: Release,
    },
    Duplicate {
        matching: MatchId,
    },
    Swallow {
        above: u64,
        from: Option<usize>,
    },
    Forge {
        to: usize,
        with_ack: bool,
        ttl: u8,
        after: EventId,
    },
    Refuse {
        matching: MatchId,
        with: Refusal,
        after: Option<EventId>,
    },
    Translate {
        host: usize,
    },
    Publish {
        host: usize,
        at: usize,
    },
    Forget {
        host: usize,
        after: EventId,
    },
    ForgetIdle {
        host: usize,
        after: Duration,
    },
    Redirect {
        from: usize,
        to: usize,
        after: EventId,
    },
    Mark {
        name: String,
        when: MatchId,
    },
}

/// What ends a hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Release {
    Event(EventId),
    /// This long after the first packet was held.
    Time(Duration),
}

/// A place in the script's list of matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MatchId(pub(super) usize);

impl MatchId {
    pub(super) fn is_in(self, bits: u64) -> bool {
        bits >> self.0 & 1 == 1
    }
}

/// A place in the script's list of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId(pub(super) usize);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// A segment that meets this comes for the first time.
    Packet(MatchId),
    /// Somebody reached this mark.
    Mark(String),
}

/// Which packets a rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// 1-based.
    pub(super) nth: Option<u64>,
    pub(super) kind: Kind,
    pub(super) from: Option<usize>,
    pub(super) to: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Syn,
    SynAck,
    Fin,
    Rst,
    Ack,
    Data,
    Request,
    Response,
    Any,
}

impl Kind {
    pub(super) const NAMES: [(&str, Kind); 9] = [
        ("SYN", Kind::Syn),
        ("SYN-ACK", Kind::SynAck),
        ("FIN", Kind::Fin),
        ("RST", Kind::Rst),
        ("ACK", Kind::Ack),
        ("data", Kind::Data),
        ("request", Kind::Request),
        ("response", Kind::Response),
        ("any", Kind::Any),
    ];
}

/// The ICMP error that takes a packet's place: a code of "destination unreachable" (RFC 792, RFC 1812 5.2.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u8,
}

impl Refusal {
    pub(super) const NAMES: [(&str, Refusal); 4] = [
        ("net-unreachable", Refusal { code: 0 }),
        ("host-unreachable", Refusal { code: 1 }),
        ("port-unreachable", Refusal { code: 3 }),
        ("admin-prohibited", Refusal { code: 13 }),
    ];
}
