//! What kernels said of one connection, and the questions that causes ask of it: the live counterpart of a [`Story`](crate::Story).

use std::time::Duration;

use bypeer_wire::app::{Close, Method};
use bypeer_wire::{Endpoint, Timestamp};

use crate::heard::errno::ETIMEDOUT;
use crate::story::RIGHT_AFTER;
use crate::testimony::{Act, Actor, Closed, DeedKind, ResetPath, Side, State, Testimony, Told, ToldToEnd, Trigger};

/// One connection as the kernels of its ends tell of its death. The methods each answer one question about sockets; none names a cause.
#[derive(Clone, Debug)]
pub struct Hearing {
    /// Its number, from 1, in the order of telling.
    pub number: u32,
    /// The client.
    pub client: Endpoint,
    /// The server.
    pub server: Endpoint,
    /// When it was first seen, where that is known.
    pub opened: Option<Timestamp>,
    /// What decides: of the end that sent the reset, where that was heard.
    pub deciding: Testimony,
    /// What the kernel of the other end said, where it is on the same machine.
    pub peer: Option<Testimony>,
}

/// Received payload that the program never read, at the moment it closed.
#[derive(Clone, Copy, Debug)]
pub struct Unread<'a> {
    /// The testimony.
    pub by: &'a Testimony,
    /// Which end closed.
    pub side: Side,
    /// How many bytes.
    pub bytes: u64,
    /// Bytes that it had read before.
    pub read: u64,
    /// Bytes that it had written, as far as the kernel still knows of them.
    pub wrote: u64,
    /// When the unread bytes came, against what the program wrote.
    pub came: Came,
}

/// When something came, against the last payload that the other way was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Nothing was ever sent.
    NothingSent,
    /// Before the last of it was sent.
    Before,
    /// This long after it.
    After(Duration),
    /// Within the same ticks of the kernel's clock, or the times are not told.
    CannotTell,
}

/// A segment that reached a socket which its program had closed.
#[derive(Clone, Copy, Debug)]
pub struct Late<'a> {
    /// The testimony.
    pub by: &'a Testimony,
    /// Which end had closed.
    pub side: Side,
    /// How it had closed.
    pub closed: &'a Closed,
    /// The segment.
    pub trigger: &'a Trigger,
    /// The FIN had been acknowledged: the peer's kernel knew of the close, whether its program did or not.
    pub fin_had_arrived: bool,
}

/// No HTTP/1.1 request on a kept connection is shorter: `GET / HTTP/1.1`, a `Host` and three line ends.
const SHORTEST_REQUEST: u64 = 25;

/// Records with an alert by cipher: ChaCha20, TLS 1.3, AES-GCM of 1.2, CBC with SHA-1, SHA-256 and SHA-384.
const TLS_ALERTS: [u64; 6] = [23, 24, 31, 53, 69, 85];

impl Hearing {
    /// The testimony of the end that sent the reset.
    pub fn reset_sent(&self) -> Option<&Testimony> {
        [Some(&self.deciding), self.peer.as_ref()]
            .into_iter()
            .flatten()
            .find(|testimony| testimony.told == Told::ResetSent)
    }

    /// A reset that came by this way through the kernel, and from which end.
    pub fn reset_by(&self, path: ResetPath) -> Option<(&Testimony, Option<Side>)> {
        let testimony = self.reset_sent().filter(|testimony| testimony.path == Some(path))?;
        Some((testimony, testimony.side))
    }

    /// A reset that was received and that no kernel that is heard here sent.
    pub fn reset_from_elsewhere(&self) -> Option<&Testimony> {
        let received = self.deciding.told == Told::ResetReceived;
        (received && self.reset_sent().is_none()).then_some(&self.deciding)
    }

    /// The client's end received a reset from elsewhere while an answer was due, or coming: all that its kernel can tell of the server's side.
    pub fn cut_off_client(&self) -> Option<&Testimony> {
        let by = self.reset_from_elsewhere().filter(|by| by.side == Some(Side::Client))?;
        let wrote = by.acked.unwrap_or(0) + by.unacked.unwrap_or(0) + by.unsent.unwrap_or(0);
        if by.state == Some(State::SynSent) || by.firewalled || by.peer_is_local || wrote == 0 {
            return None;
        }
        let waiting = by.received == Some(0) || by.since_sent <= by.since_received;
        let coming = by
            .since_received
            .is_some_and(|since| since <= RIGHT_AFTER + by.round_trip.unwrap_or_default() * 2);
        (waiting || coming).then_some(by)
    }

    /// The connection failed without a reset, with this error.
    pub fn failed(&self) -> Option<(&Testimony, i32)> {
        let failed = Some(&self.deciding).filter(|testimony| testimony.told == Told::Failed)?;
        Some((failed, failed.error?))
    }

    /// The kernel of this end gave the connection up, with a reset or without: it had not heard from its peer for too long.
    pub fn gave_up(&self) -> Option<&Testimony> {
        match self.failed() {
            Some((failed, ETIMEDOUT)) => Some(failed),
            Some(_) => None,
            None => self.reset_by(ResetPath::Timer).map(|(by, _)| by),
        }
    }

    /// A close over received bytes that nobody had read.
    ///
    /// The destruction of a socket tells it without the reset: the kernel must have sent one (RFC 1122 §4.2.2.13), unless the
    /// connection was dead already.
    pub fn closed_unread(&self) -> Option<Unread<'_>> {
        let by = match self.reset_by(ResetPath::CloseUnread) {
            Some((testimony, _)) => testimony,
            None => Some(&self.deciding).filter(|testimony| testimony.told == Told::Destroyed)?,
        };
        let bytes = by.unread.filter(|unread| *unread > 0)?;
        let received = by.received.unwrap_or(bytes).max(bytes);
        let wrote = by.acked.unwrap_or(0) + by.unacked.unwrap_or(0) + by.unsent.unwrap_or(0);
        Some(Unread {
            by,
            side: by.side?,
            bytes,
            read: received - bytes,
            wrote,
            came: came(by, wrote),
        })
    }

    /// A segment that met a socket which had been closed, and is remembered.
    pub fn late(&self) -> Option<Late<'_>> {
        let by = self
            .reset_sent()
            .filter(|testimony| testimony.path == Some(ResetPath::Answer))?;
        let fin_had_arrived = matches!(by.state, Some(State::TimeWait | State::FinWait2));
        Some(Late {
            by,
            side: by.side?,
            closed: by.closed.as_ref()?,
            trigger: by.trigger.as_ref()?,
            fin_had_arrived,
        })
    }

    /// Whether the server had closed right after its answer when the next request met the close; `None` where no close of the server's is
    /// behind it.
    pub fn server_closed_right_after_its_answer(&self) -> Option<bool> {
        match (self.closed_unread(), self.late()) {
            (Some(unread), _) if unread.side == Side::Server => {
                let soon = unread
                    .closed_after()
                    .is_some_and(|after| after <= RIGHT_AFTER + unread.by.tick);
                let after_answer = matches!(unread.came, Came::After(_) | Came::CannotTell);
                let is_request = !unread.is_too_short_for_a_request()
                    && !unread.may_be_a_good_bye()
                    && !unread.waited()
                    && unread.is_one_segment();
                Some(unread.read > 0 && after_answer && soon && is_request)
            }
            (None, Some(late)) if late.side == Side::Server => {
                let is_request =
                    late.trigger.len > 0 && !late.is_too_short_for_a_request() && !late.may_be_a_good_bye();
                Some(late.closed.sent > 0 && late.closed_right_after_speaking() && is_request)
            }
            _ => None,
        }
    }

    /// The answer to a segment for which there was no socket, and no close is remembered.
    pub fn unknown_here(&self) -> Option<(&Testimony, &Trigger)> {
        let by = self
            .reset_sent()
            .filter(|testimony| testimony.path == Some(ResetPath::Answer))?;
        if by.closed.is_some() {
            return None;
        }
        Some((by, by.trigger.as_ref()?))
    }

    /// The answer to a segment of which the source tells nothing (tracefs): to one for a socket that had been closed (`true`), as far as that
    /// is known, or for none.
    pub fn answer_to_the_unseen(&self) -> Option<(&Testimony, bool)> {
        let by = self
            .reset_sent()
            .filter(|testimony| testimony.path == Some(ResetPath::Answer) && testimony.trigger.is_none())?;
        let was_closed = by.closed.is_some() || by.state == Some(State::TimeWait);
        (was_closed || by.state.is_none()).then_some((by, was_closed))
    }

    /// The process that ended the connection died itself: by a signal, or because it had been told to end.
    pub fn death(&self) -> Option<(&Actor, Act)> {
        let actor = self.reset_sent().unwrap_or(&self.deciding).actor.as_ref()?;
        let obeyed = matches!(actor.act, Act::Exit(_)) && self.told_to_end().is_some();
        (obeyed || matches!(actor.act, Act::Killed(_))).then_some((actor, actor.act))
    }

    /// The process that ended the connection had been told to end before that, and how long before.
    pub fn told_to_end(&self) -> Option<(&ToldToEnd, Duration)> {
        // Who goes on for longer after it has other reasons to close.
        const OBEYS_WITHIN: Duration = Duration::from_secs(120);
        let by = self.reset_sent().unwrap_or(&self.deciding);
        let ended = by.closed.as_ref().map_or(by.at, |closed| closed.at);
        let told = by.actor.as_ref()?.told_to_end.as_ref()?;
        let before = ended.since(told.at);
        (told.at <= ended && before <= OBEYS_WITHIN).then_some((told, before))
    }

    /// Whether the process closed the connection or ended with it open is not told: no process is named, or one that was ending, and not how.
    pub fn may_have_ended(&self) -> bool {
        let by = self.reset_sent().unwrap_or(&self.deciding);
        match &by.actor {
            None => by.told == Told::Destroyed,
            Some(actor) => actor.act == Act::Unknown,
        }
    }

    /// The process that ended the connection exited by itself, with this status.
    pub fn exited(&self) -> Option<u8> {
        match self.reset_sent().unwrap_or(&self.deciding).actor.as_ref()?.act {
            Act::Exit(status) => Some(status),
            _ => None,
        }
    }

    /// The last response announced the close, or the last request had asked for it; `None` where no head was recorded.
    pub fn announced(&self) -> Option<bool> {
        let by = self.reset_sent().unwrap_or(&self.deciding);
        let response = by.response.as_ref().map(|response| response.head.connection.closes());
        let request = by
            .request
            .as_ref()
            .map(|request| matches!(request.head.connection, Close::Announced));
        match (request, response) {
            (None, None) => None,
            (request, response) => Some(request.unwrap_or(false) || response.unwrap_or(false)),
        }
    }

    /// How much of the last request the program had not read when it closed, by the request's own head; `None` where no head was recorded,
    /// or the head declares no length.
    pub fn request_rest(&self) -> Option<u64> {
        let by = self.reset_sent().unwrap_or(&self.deciding);
        let request = by.request.as_ref()?;
        Some(request.length?.saturating_sub(request.passed))
    }

    /// The last thing that this client's end saw was an answer: it came after its request, or, as on fast paths, in the same tick.
    pub fn was_answered(&self, by: &Testimony) -> bool {
        let tick = by.tick;
        let after = by
            .since_received
            .zip(by.since_sent)
            .is_some_and(|(received, sent)| received <= sent + tick);
        by.received.is_some_and(|received| received > 0) && (by.response.is_some() || after)
    }

    /// The server's port is one at which TLS is spoken from the first byte.
    pub fn is_a_tls_port(&self) -> bool {
        const PORTS: [u16; 10] = [443, 465, 563, 636, 853, 989, 990, 993, 995, 8443];
        PORTS.contains(&self.server.port)
    }

    /// Status of the last response, where its head was recorded.
    pub fn status(&self) -> Option<u16> {
        let by = self.reset_sent().unwrap_or(&self.deciding);
        Some(by.response.as_ref()?.head.status)
    }

    /// Method of the last request, where its head was recorded.
    pub fn method(&self) -> Option<&Method> {
        let by = self.reset_sent().unwrap_or(&self.deciding);
        Some(&by.request.as_ref()?.head.method)
    }
}

impl Testimony {
    /// Probes went unanswered, and nothing else was under way: the connection was idle.
    pub fn probes_ran_out(&self) -> bool {
        let told = self.reason.as_deref() == Some("TCP_KEEPALIVE_TIMEOUT");
        told || self.probes.is_some_and(|probes| probes > 0) && self.unacked == Some(0) && self.unsent == Some(0)
    }
}

impl Unread<'_> {
    /// Nothing of what this side was sent was ever read, and nothing was ever written: it did not look.
    pub fn never_looked(&self) -> bool {
        self.wrote == 0 && self.read == 0
    }

    /// What lies unread is no whole request of HTTP/1.1: too short.
    pub fn is_too_short_for_a_request(&self) -> bool {
        self.bytes < SHORTEST_REQUEST
    }

    /// As long as what was read before, or what was read is a multiple of it: the same request once more.
    pub fn repeats(&self) -> bool {
        self.bytes >= SHORTEST_REQUEST && self.read > 0 && self.read.is_multiple_of(self.bytes)
    }

    /// About as long as what was read before: a request like the one before it.
    pub fn resembles_a_request(&self) -> bool {
        self.bytes >= SHORTEST_REQUEST && (self.repeats() || self.bytes.abs_diff(self.read) <= self.bytes / 4)
    }

    /// As long as a TLS record that holds an alert, so perhaps a close_notify.
    pub fn may_be_a_good_bye(&self) -> bool {
        self.read > 0 && TLS_ALERTS.contains(&self.bytes)
    }

    /// It lay there for longer than a close takes that happens at the same time: nobody came to read it.
    pub fn waited(&self) -> bool {
        let limit = self.by.round_trip.unwrap_or_default() * 2 + Duration::from_millis(250) + self.by.tick;
        self.by.since_received.is_some_and(|since| since > limit)
    }

    /// The first request, on a connection that had been open for a while, and the close came right behind it: a limit may have run out that
    /// did not know of it. Until something is sent, the kernel counts from the handshake.
    pub fn may_have_met_a_close(&self) -> bool {
        let at_once = self.by.round_trip.unwrap_or_default() * 2 + Duration::from_millis(100) + self.by.tick;
        let open = self.by.since_sent.zip(self.by.since_received);
        let came_at_once = open.is_some_and(|(open, received)| open.saturating_sub(received) <= at_once);
        self.never_looked() && self.is_one_segment() && !self.waited() && !came_at_once
    }

    /// It may have come in one segment.
    pub fn is_one_segment(&self) -> bool {
        self.bytes <= u64::from(self.by.segment_size.unwrap_or(1460).max(536))
    }

    /// From the last payload that was sent to the close; `None` where nothing was sent or the kernel does not tell.
    pub fn closed_after(&self) -> Option<Duration> {
        self.by.since_sent.filter(|_| self.wrote > 0)
    }

    /// More may have been on its way: the last came within two round trips.
    pub fn was_still_coming(&self) -> bool {
        let round_trip = self.by.round_trip.unwrap_or_default();
        self.by
            .since_received
            .is_none_or(|since| since <= round_trip * 2 + self.by.tick + Duration::from_millis(20))
    }
}

impl Late<'_> {
    /// The program had closed right after its last word.
    pub fn closed_right_after_speaking(&self) -> bool {
        self.closed.since_sent <= RIGHT_AFTER + self.by.tick
    }

    /// It had closed while nobody had said anything for a while, or at all: an idle limit.
    pub fn closed_idle(&self) -> bool {
        let nothing_owed = self.closed.sent > 0 || self.closed.received == 0;
        nothing_owed && !self.closed_right_after_speaking() && self.closed.since_received > RIGHT_AFTER
    }

    /// From the close to the segment.
    pub fn after(&self) -> Duration {
        self.by.at.since(self.closed.at)
    }

    /// The segment is too short for a request.
    pub fn is_too_short_for_a_request(&self) -> bool {
        u64::from(self.trigger.len) < SHORTEST_REQUEST
    }

    /// As long as what had been received, or that is a multiple of it: the same request once more.
    pub fn repeats(&self) -> bool {
        let len = u64::from(self.trigger.len);
        len >= SHORTEST_REQUEST && self.closed.received > 0 && self.closed.received.is_multiple_of(len)
    }

    /// As long as a TLS record that holds an alert.
    pub fn may_be_a_good_bye(&self) -> bool {
        self.closed.received > 0 && TLS_ALERTS.contains(&u64::from(self.trigger.len))
    }
}

/// When what lies unread came, against the last payload that this side sent: by the recorded deeds where there are any, else by the socket's
/// own clocks.
fn came(by: &Testimony, wrote: u64) -> Came {
    if wrote == 0 {
        return Came::NothingSent;
    }
    let last = |is: fn(DeedKind) -> bool| by.history.iter().rev().find(|deed| is(deed.what)).map(|deed| deed.at);
    let arrived = last(|what| matches!(what, DeedKind::Arrived(_)));
    let written = last(|what| matches!(what, DeedKind::Wrote(_)));
    if let (Some(arrived), Some(written)) = (arrived, written) {
        return if arrived <= written {
            Came::Before
        } else {
            Came::After(arrived.since(written))
        };
    }
    match (by.since_received, by.since_sent) {
        (Some(received), Some(sent)) if received > sent + by.tick => Came::Before,
        (Some(received), Some(sent)) if sent > received + by.tick => Came::After(sent - received),
        _ => Came::CannotTell,
    }
}
