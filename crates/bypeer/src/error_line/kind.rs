use bypeer_wire::Direction;
use bypeer_wire::conn::{Connection, Flow};

/// What kind of failure a line tells of. The commonest lines of requests, Java and curl tell nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Connection reset by peer`.
    Reset,
    /// `Connection refused`.
    Refused,
    /// The other side closed before it had answered.
    Eof,
    /// `Broken pipe`: a write after the other side's reset.
    BrokenPipe,
    /// Nothing came for too long.
    Timeout,
}

/// Words of lines, lower case → what they tell. The first that is in a line decides: Node says ECONNRESET of a socket that
/// hung up, which is an end without an answer; requests wraps what happened in more general words.
const WORDS: &[(&str, Kind)] = &[
    ("socket hang up", Kind::Eof),
    ("refused", Kind::Refused),
    ("connection reset", Kind::Reset),
    ("reset by peer", Kind::Reset),
    ("connectionreset", Kind::Reset),
    ("econnreset", Kind::Reset),
    ("forcibly closed", Kind::Reset),
    ("os error 104", Kind::Reset),
    ("broken pipe", Kind::BrokenPipe),
    ("brokenpipe", Kind::BrokenPipe),
    ("epipe", Kind::BrokenPipe),
    ("prematurely closed", Kind::Eof),
    ("ended prematurely", Kind::Eof),
    ("premature close", Kind::Eof),
    ("premature end", Kind::Eof),
    ("remote end closed", Kind::Eof),
    ("remotedisconnected", Kind::Eof),
    ("server disconnected", Kind::Eof),
    ("server closed idle connection", Kind::Eof),
    ("other side closed", Kind::Eof),
    ("closed before message completed", Kind::Eof),
    ("empty reply from server", Kind::Eof),
    ("transfer closed with", Kind::Eof),
    ("failed to respond", Kind::Eof),
    ("incompletemessage", Kind::Eof),
    ("incompleteread", Kind::Eof),
    ("unexpected end of", Kind::Eof),
    ("unexpected eof", Kind::Eof),
    ("eofexception", Kind::Eof),
    ("eoferror", Kind::Eof),
    ("timed out", Kind::Timeout),
    ("timedout", Kind::Timeout),
    ("timeout", Kind::Timeout),
    ("deadline exceeded", Kind::Timeout),
];

impl Kind {
    /// The kind of failure that a line tells of.
    pub(super) fn find(line: &str) -> Option<Kind> {
        let lower = line.to_lowercase();
        let known = WORDS.iter().find(|(words, _)| lower.contains(words));
        // Go's bare EOF: not a part of a name.
        let eof = || {
            line.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "EOF")
        };
        known.map(|(_, kind)| *kind).or_else(|| eof().then_some(Kind::Eof))
    }

    /// Whether a connection can have ended in this way for one of its ends.
    pub(crate) fn fits(self, connection: &Connection) -> bool {
        let closed = |direction| connection.flow(direction).fin.is_some();
        let reset = connection.resets_total > 0;
        let unanswered = connection.app.exchanges.total > connection.app.exchanges.complete;
        match self {
            Kind::Reset | Kind::BrokenPipe => connection.established() && reset,
            Kind::Refused => !connection.established() && (reset || !connection.icmp.is_empty()),
            Kind::Eof => {
                let not_understood = connection.app.exchanges.total == 0;
                (unanswered || not_understood) && (closed(Direction::ToClient) || closed(Direction::ToServer))
            }
            Kind::Timeout => {
                let silent = |flow: &Flow| flow.unanswered_retransmissions > 0 || flow.unanswered_probes > 0;
                let reset_by = |direction| connection.resets.iter().any(|reset| reset.direction == direction);
                // A client that gives up is the first to leave.
                let left = |direction| closed(direction) || reset_by(direction);
                let client_gave_up = left(Direction::ToServer) && !left(Direction::ToClient);
                (!connection.established() && !reset)
                    || silent(&connection.to_server)
                    || silent(&connection.to_client)
                    || (unanswered && client_gave_up)
            }
        }
    }

    /// "a reset".
    pub(super) fn noun(self) -> &'static str {
        match self {
            Kind::Reset => "a reset",
            Kind::Refused => "a refused connection",
            Kind::Eof => "a close before the answer was complete",
            Kind::BrokenPipe => "a broken pipe",
            Kind::Timeout => "a timeout",
        }
    }

    /// What connections that fit did: "was reset".
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Kind::Reset => "was reset",
            Kind::Refused => "was refused",
            Kind::Eof => "was closed before the answer was complete",
            Kind::BrokenPipe => "was reset, as a broken pipe needs",
            Kind::Timeout => "fell silent or was given up",
        }
    }
}
