//! What kernels said → a finding: the same causes and the same arbiter as for packets.

use std::time::Duration;

use bypeer_wire::Timestamp;
use bypeer_wire::app::Protocol;

use crate::arbiter::{Decision, compare};
use crate::causes::{CAUSES, proof};
use crate::facts::{self, Situation};
use crate::hearing::Hearing;
use crate::testimony::{Act, Actor, Predecessor, ResetPath, Side, State, Testimony, Told};
use crate::{Cause, Confidence, Evidence, Finding, Lost, Retry, Source, Weighed};

/// What would decide where requests end.
pub(crate) const WITH_HEADS: &str =
    "where requests end: `bypeer watch --payload` reads the heads, a capture shows them";

/// What would decide for a source that knows no processes.
pub(crate) const WITH_PROCESS: &str = "the process and the kernel's reason: `bypeer watch` as root";

/// What would decide for a source that does not tell what a reset answers.
pub(crate) const WITH_SEGMENT: &str =
    "the segment that drew the reset: `bypeer watch` by bpf tells it, and a capture shows it";

/// Causes that mean: the next request on a kept connection met its close.
const RACES: [&str; 5] = [
    "keepalive-race-announced-close",
    "keepalive-race-unannounced-close",
    "unannounced-close-each-response",
    "idle-timeout-inversion",
    "proxy-max-requests",
];

/// What would decide between the server's causes, where only the client's kernel was heard.
pub(crate) const OTHER_END: &str =
    "the same on the server's machine: `bypeer watch` there names the process and the reason";

/// What would decide whether a descriptor was closed by mistake.
pub(crate) const WHOSE_NUMBER: &str = "what this connection is sent: two answers to one request, or one that does not fit, shows in a capture, \
     in `bypeer watch --payload` and in `strace -yy`; and whether the code that closed (the call and its stack) is that of the connection";

/// The finding about what was heard; `None` when no cause has anything to say.
pub fn decide(hearing: &Hearing) -> Option<Finding> {
    let weighed: Vec<(&'static Cause, Weighed)> = CAUSES
        .iter()
        .filter_map(|cause| (cause.hear)(hearing).map(|weighed| (*cause, weighed)))
        .collect();
    let Decision {
        cause,
        weighed,
        confidence,
        rivals,
    } = compare(weighed)?;
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    let software = software(hearing);
    let known = software.as_deref().and_then(facts::software);
    let situation = situation(hearing, confidence);
    let mut evidence = weighed.evidence;
    // Of what has one time: a reset is sent before it is received, whichever was told first.
    let is_receipt = |number: u64| {
        let mut both = std::iter::once(&hearing.deciding).chain(&hearing.peer);
        both.any(|testimony| testimony.number == number && testimony.told == Told::ResetReceived)
    };
    evidence.sort_by_key(|item| (item.time, is_receipt(item.number), item.number));
    let (retry, retry_reason) = retry(hearing, cause, weighed.harmless);
    Some(Finding {
        cause,
        confidence,
        rivals,
        harmless: weighed.harmless,
        blame: weighed.blame,
        verdict: weighed.verdict,
        closing: closing(hearing),
        stream: hearing.number,
        client: hearing.client,
        server: hearing.server,
        request: request_line(hearing),
        server_software: software,
        fixes: if advice_fits(hearing, cause) {
            facts::fixes(cause.id, known, None, &situation)
        } else {
            Vec::new()
        },
        clauses: facts::clauses(cause.clauses, &situation),
        opened: hearing.opened,
        ended: by.at,
        lost: lost(hearing, cause, weighed.harmless),
        retry,
        retry_reason,
        evidence,
        follows: None,
        misdelivered: None,
        settle: weighed.settle.filter(|_| confidence != Confidence::Certain),
        heard: Some(Box::new(hearing.clone())),
    })
}

/// What is known to help is meant for programs that abort, and for servers that die: not for a socket that somebody else destroyed, nor for a
/// client that was killed.
fn advice_fits(hearing: &Hearing, cause: &Cause) -> bool {
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    let killed_client = cause.id == "process-killed" && by.side == Some(Side::Client);
    by.path != Some(ResetPath::Killed) && !killed_client
}

/// What the server calls itself in its response, or the name of its process.
fn software(hearing: &Hearing) -> Option<String> {
    let testimonies = [Some(&hearing.deciding), hearing.peer.as_ref()];
    let server = testimonies
        .into_iter()
        .flatten()
        .find(|testimony| testimony.side == Some(Side::Server))?;
    let header = server
        .response
        .as_ref()
        .and_then(|response| response.head.server.as_deref());
    header
        .map(str::to_owned)
        .or_else(|| server.actor.as_ref().map(|actor| actor.name.clone()))
}

fn request_line(hearing: &Hearing) -> Option<String> {
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    let head = &by.request.as_ref()?.head;
    Some(format!("{} {}", head.method.as_str(), head.path))
}

fn situation(hearing: &Hearing, confidence: Confidence) -> Situation {
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    let idle = hearing
        .late()
        .filter(|late| late.closed_idle())
        .map(|late| late.closed.since_sent);
    let http = by.request.is_some() || by.response.is_some();
    Situation {
        handshake_only: matches!(by.state, Some(State::SynSent | State::Listen | State::NewSynReceived)),
        has_body: hearing.closed_unread().is_some_and(|unread| unread.wrote > 0),
        status: hearing.status(),
        protocol: if http { Protocol::Http1 } else { Protocol::Unknown },
        idle_limit_seconds: idle.map(|idle| idle.as_secs_f64()),
        fin_before_reset: hearing.late().is_some(),
        client_took_nothing: false,
        undecided: confidence == Confidence::Undecided,
    }
}

/// "gunicorn (pid 4711) called close(9)", "a signal (9) ended sleep (pid 17)".
pub(crate) fn deed(actor: &Actor) -> String {
    let who = format!("{} (pid {})", actor.name, actor.pid);
    match (actor.act, &actor.call) {
        (Act::Killed(signal), _) => format!("signal {signal} ended {who}"),
        (Act::Exit(status), _) => format!("{who} exited with status {status}"),
        (Act::Exec, _) => format!("{who} executed another program"),
        (Act::Destroy, _) => format!("{who} destroyed the socket from outside"),
        (Act::Close | Act::Shutdown | Act::Disconnect, Some(call)) => format!("{who} called {call}"),
        (Act::Close, None) => format!("{who} closed it"),
        (Act::Shutdown, None) => format!("{who} shut it down"),
        (Act::Disconnect, None) => format!("{who} dissolved it"),
        (Act::Owned | Act::Unknown, _) => format!("{who} owned it"),
    }
}

/// Who closed, and whose kernel sent the reset.
fn closing(hearing: &Hearing) -> String {
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    let side = by.side.map_or("this", |side| side.name());
    let reason = by
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let who = by
        .actor
        .as_ref()
        .map_or_else(|| format!("the {side}'s program closed"), deed);
    match (by.told, by.path) {
        (Told::ResetSent, Some(ResetPath::Answer)) => match &by.closed {
            Some(closed) => {
                let before = proof::time(by.at.since(closed.at));
                format!("{who} {before} before; the {side}'s kernel answered what came later with RST{reason}")
            }
            None => format!("no socket of this machine was there for it; the kernel answered with RST{reason}"),
        },
        (Told::ResetSent, Some(ResetPath::Timer)) => format!("the {side}'s kernel gave up and sent RST{reason}"),
        (Told::ResetSent, _) => format!("{who}; its kernel sent RST instead of FIN{reason}"),
        (Told::ResetReceived, _) => {
            let owner = by.actor.as_ref().map_or_else(
                || format!("the {side}'s kernel"),
                |actor| format!("the {side}'s kernel, for {} (pid {}),", actor.name, actor.pid),
            );
            format!("{owner} received a RST that no kernel heard here sent")
        }
        (Told::Failed, _) => format!("the {side}'s kernel ended the connection by itself; it sent no reset"),
        (Told::Destroyed, _) => format!("the {side}'s socket was destroyed; who closed it is not told by this source"),
        (Told::Overflowed, _) => "nobody closed; the kernel dropped the attempt".to_owned(),
        (Told::Swapped, _) => "the descriptor had been closed and given to another connection".to_owned(),
        (Told::Retaken, _) => {
            format!("{who} on the connection that had the descriptor before; this one had not ended by then")
        }
    }
}

fn lost(hearing: &Hearing, cause: &Cause, harmless: bool) -> Lost {
    let nothing = |what: &str| Lost {
        response_bytes: Some(0),
        requests: 0,
        what: what.to_owned(),
    };
    if harmless {
        return nothing("nothing");
    }
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    let handshake = matches!(by.state, Some(State::SynSent | State::Listen | State::NewSynReceived));
    if handshake || by.told == Told::Overflowed || by.trigger.as_ref().is_some_and(|trigger| trigger.syn) {
        return nothing("the connection; no request was sent on it");
    }
    if let (Told::Retaken, Some(before)) = (by.told, &by.predecessor) {
        return Lost {
            response_bytes: None,
            requests: 1,
            what: format!(
                "the answer to the request of {}, whose connection was closed",
                before.remote
            ),
        };
    }
    let undelivered = by.unsent.unwrap_or(0) + by.unacked.unwrap_or(0);
    // Of the client's end, what it had in its hands and did not read.
    let client = hearing
        .peer
        .iter()
        .chain([&hearing.deciding])
        .find(|testimony| testimony.side == Some(Side::Client));
    match by.side {
        Some(Side::Server) if undelivered > 0 => Lost {
            response_bytes: Some(undelivered),
            requests: 1,
            what: format!("{undelivered} response bytes were written and not acknowledged when it ended"),
        },
        Some(Side::Server) if by.received == Some(0) && by.acked == Some(0) => {
            nothing("the connection; nothing had been said on it")
        }
        Some(Side::Server) if RACES.contains(&cause.id) => Lost {
            response_bytes: None,
            requests: 1,
            what: "the request that met the close: it had no answer".to_owned(),
        },
        Some(Side::Server) => {
            let unanswered = by.acked == Some(0) || hearing.late().is_some();
            let in_hand = client.and_then(|client| client.unread).filter(|unread| *unread > 0);
            match in_hand {
                Some(bytes) => Lost {
                    response_bytes: Some(0),
                    requests: u32::from(unanswered),
                    what: format!(
                        "{bytes} response bytes had reached the client's socket and its program had not read them: \
                         it may still, before it sees the reset"
                    ),
                },
                None if unanswered => Lost {
                    response_bytes: None,
                    requests: 1,
                    what: "the answer to what it did not read".to_owned(),
                },
                None => Lost {
                    response_bytes: None,
                    requests: 0,
                    what: "the answer had been acknowledged by the client's kernel; what its program read is not known"
                        .to_owned(),
                },
            }
        }
        _ => Lost {
            response_bytes: None,
            requests: 0,
            what: "cannot be told from this end".to_owned(),
        },
    }
}

/// RFC 9110 §9.2.2, and what the program had read.
fn retry(hearing: &Hearing, cause: &Cause, harmless: bool) -> (Retry, String) {
    let because = |retry, reason: &str| (retry, reason.to_owned());
    if harmless {
        return because(Retry::NotNeeded, "nothing was lost");
    }
    if cause.is_of_mixed_up_answers() || hearing.deciding.told == Told::Retaken {
        return because(
            Retry::Unknown,
            "answers may belong to other requests: distrust all of this process",
        );
    }
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    if matches!(by.state, Some(State::SynSent | State::Listen))
        || by.trigger.as_ref().is_some_and(|trigger| trigger.syn)
    {
        return because(Retry::Safe, "no connection came about: no request was sent");
    }
    if let Some(method) = hearing.method()
        && method.is_idempotent()
    {
        return (Retry::Safe, format!("{} is idempotent", method.as_str()));
    }
    if by.path == Some(ResetPath::ListenerClosed) {
        return because(Retry::Safe, "nobody had accepted the connection: no program read of it");
    }
    if let Some(unread) = hearing.closed_unread()
        && unread.side == Side::Server
    {
        if unread.never_looked() {
            return because(Retry::Safe, "the program never read a byte of it");
        }
        if RACES.contains(&cause.id) {
            return because(
                Retry::Safe,
                "the program had not read a byte of the request that lay unread",
            );
        }
        if let Some(method) = hearing.method().filter(|_| unread.wrote > 0) {
            return (
                Retry::Unsafe,
                format!(
                    "the server had begun to answer, and {} is not idempotent: it may have run",
                    method.as_str()
                ),
            );
        }
        return because(
            Retry::Unknown,
            "the program had read a part of what was sent: whether that was this request is not known without its head",
        );
    }
    match hearing.late() {
        Some(late) if late.side == Side::Server && late.closed_idle() => because(
            Retry::Safe,
            "the program had closed before the request reached its kernel",
        ),
        Some(late) if late.side == Side::Server => because(
            Retry::Unknown,
            "the program had closed before the last of it came; an earlier part may have run",
        ),
        _ => because(
            Retry::Unknown,
            "the kernel does not know requests: what was sent may have run",
        ),
    }
}

/// The event as evidence, in one sentence for each kind.
pub(crate) fn event(testimony: &Testimony) -> Evidence {
    let side = testimony.side.map_or("this end", |side| side.name());
    let reason = testimony.reason.as_deref();
    let mut what = match testimony.told {
        Told::ResetSent => match (reason, testimony.path) {
            (Some(reason), _) => format!("the {side}'s kernel sends RST: {reason}"),
            (None, Some(path)) if path != ResetPath::Other => {
                format!("the {side}'s kernel sends RST ({}; it gives no reason)", path.name())
            }
            _ => format!("the {side}'s kernel sends RST; it gives no reason"),
        },
        Told::ResetReceived => format!("the {side}'s kernel receives RST"),
        Told::Failed => format!(
            "the {side}'s kernel gives up: {}",
            testimony.error.map_or_else(|| "an error".to_owned(), errno::name)
        ),
        Told::Destroyed => format!("the {side}'s socket is destroyed"),
        Told::Overflowed => "the kernel drops the attempt: the listener's queue is full".to_owned(),
        Told::Swapped => {
            "a program writes to another connection than it had read from, under the same descriptor".to_owned()
        }
        Told::Retaken => {
            "the thread that had read that request reads from this connection, under the same descriptor".to_owned()
        }
    };
    if testimony.told == Told::ResetSent
        && testimony.path != Some(ResetPath::Answer)
        && let Some(actor) = &testimony.actor
        && actor.act != Act::Owned
    {
        what = format!("{}: {what}", deed(actor));
    }
    let sums: Vec<String> = [
        (testimony.unread, "unread"),
        (testimony.unsent, "unsent"),
        (testimony.unacked, "unacknowledged"),
    ]
    .into_iter()
    .filter_map(|(sum, word)| sum.filter(|sum| *sum > 0).map(|sum| format!("{sum} bytes {word}")))
    .collect();
    if !sums.is_empty() {
        what = format!("{what}; {}", sums.join(", "));
    }
    heard(testimony, testimony.at, what)
}

/// Evidence from a testimony at some moment.
pub(crate) fn heard(testimony: &Testimony, at: Timestamp, what: impl Into<String>) -> Evidence {
    Evidence {
        source: Source::Kernel,
        number: testimony.number,
        time: at,
        what: what.into(),
    }
}

/// How it had been closed, the segment that came too late, both ends' events: the proof that most causes share.
pub(crate) fn proof(hearing: &Hearing) -> Vec<Evidence> {
    let mut all = Vec::new();
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    if let Some(before) = &by.predecessor {
        all.extend(predecessor(by, before));
    }
    if let Some(closed) = &by.closed {
        let who = by.actor.as_ref().map_or_else(|| "its program closed".to_owned(), deed);
        let half = if closed.half { " (its sending half)" } else { "" };
        all.push(heard(
            by,
            closed.at,
            format!(
                "{who}{half}: {} bytes received, {} written, {} after the last was written",
                closed.received,
                closed.sent,
                proof::time(closed.since_sent),
            ),
        ));
    } else if let (Some(received), Some(since)) = (by.received.filter(|received| *received > 0), by.since_received) {
        let at = Timestamp(by.at.0.saturating_sub(i64::try_from(since.as_nanos()).unwrap_or(0)));
        let unread = by.unread.unwrap_or(0);
        let what = match (unread, by.path) {
            (0, _) | (_, Some(ResetPath::Answer)) => format!("the last of {received} bytes comes in"),
            _ => format!(
                "the last of {received} bytes comes in; {} of them are read",
                received.saturating_sub(unread)
            ),
        };
        all.push(heard(by, at, what));
        let wrote = by.acked.unwrap_or(0) + by.unacked.unwrap_or(0) + by.unsent.unwrap_or(0);
        if let Some(since) = by.since_sent.filter(|_| wrote > 0) {
            let at = Timestamp(by.at.0.saturating_sub(i64::try_from(since.as_nanos()).unwrap_or(0)));
            let what = match by.unsent.unwrap_or(0) {
                0 => format!("the last of {wrote} bytes that were written is sent"),
                unsent => format!(
                    "so far {} of {wrote} bytes that were written are sent",
                    wrote.saturating_sub(unsent)
                ),
            };
            all.push(heard(by, at, what));
        }
    }
    if let Some(trigger) = &by.trigger {
        let kind = match (trigger.syn, trigger.len, trigger.fin) {
            (true, _, _) => "a SYN".to_owned(),
            (_, 0, true) => "a FIN".to_owned(),
            (_, 0, false) => "an empty segment".to_owned(),
            (_, len, _) => format!("{len} bytes"),
        };
        all.push(heard(
            by,
            by.at,
            format!("{kind} from {} draws the reset", trigger.source),
        ));
    }
    all.push(event(by));
    all.extend(
        hearing
            .peer
            .iter()
            .chain([&hearing.deciding])
            .filter(|other| other.number != by.number)
            .map(event),
    );
    all
}

/// What became of the connection that had the descriptor before.
fn predecessor(by: &Testimony, before: &Predecessor) -> Vec<Evidence> {
    let read = format!(
        "a request is read from another connection, {} → {}, under descriptor {}",
        before.remote, before.local, before.descriptor
    );
    let mut all = vec![heard(by, before.read_at, read)];
    if let Some((at, actor)) = &before.closed {
        let thread = actor.tid;
        let stack: Vec<&str> = actor
            .frames
            .iter()
            .filter_map(|frame| frame.function.as_deref())
            .collect();
        let mut what = format!("{}, in thread {thread}: that connection is closed", deed(actor));
        if !stack.is_empty() {
            what = format!("{what}; {}", stack.join(" < "));
        }
        all.push(heard(by, *at, what));
    }
    all
}

/// Linux's numbers of the errors that end connections.
pub(crate) mod errno {
    pub const EPROTO: i32 = 71;
    pub const ENETUNREACH: i32 = 101;
    pub const ETIMEDOUT: i32 = 110;
    pub const ECONNREFUSED: i32 = 111;
    pub const EHOSTDOWN: i32 = 112;
    pub const EHOSTUNREACH: i32 = 113;

    /// As `strace` shows it.
    pub fn name(number: i32) -> String {
        match number {
            32 => "EPIPE",
            EPROTO => "EPROTO",
            ENETUNREACH => "ENETUNREACH",
            103 => "ECONNABORTED",
            104 => "ECONNRESET",
            ETIMEDOUT => "ETIMEDOUT",
            ECONNREFUSED => "ECONNREFUSED",
            EHOSTDOWN => "EHOSTDOWN",
            EHOSTUNREACH => "EHOSTUNREACH",
            _ => return format!("error {number}"),
        }
        .to_owned()
    }
}

/// A close within a fraction of a second of a whole number of seconds after the last word: a timer.
pub(crate) fn is_a_timer(after: Duration) -> bool {
    let nearest = Duration::from_secs((after.as_secs_f64() + 0.5) as u64);
    after > Duration::from_millis(900) && after.abs_diff(nearest) <= Duration::from_millis(25).max(after / 200)
}
