//! What the reuse races have in common: a request on a connection that had already served one, sent while the server
//! closed it, and never answered.

use std::time::Duration;

use bypeer_wire::app::{Exchange, Message, Protocol};
use bypeer_wire::conn::{Fin, Reset, ResetShape, SegmentNote};
use bypeer_wire::{Direction, PacketRef, Timestamp};

use crate::Evidence;
use crate::causes::proof;
use crate::heard;
use crate::story::{RIGHT_AFTER, Stand, Story, in_tunnel, response_head};

/// No idle limit is usually shorter: most are set in whole seconds.
const SHORTEST_LIMIT: Duration = Duration::from_millis(950);

/// A request that fell into a closing connection.
pub struct Reuse<'a> {
    /// The request that got no answer.
    pub exchange: &'a Exchange,
    /// Quiet time before it.
    pub idle: Duration,
    /// The server's FIN, where one was seen.
    pub fin: Option<&'a Fin>,
    /// The reset that ended it, where there was one.
    pub reset: Option<&'a Reset>,
    /// From the end of the last answer to the server's FIN or active reset.
    pub closed_after: Duration,
    /// The client's kernel had acknowledged the FIN before the request was sent: only a client that does not look is caught.
    pub fin_had_arrived: bool,
    /// The server's FIN acknowledges the request: its kernel had it, its program closed without a look at it or an answer.
    pub had_arrived: bool,
    /// From the request's arrival to the server's close.
    pub waited: Duration,
    /// The last answer said that the connection would close, or the client had asked for it.
    pub announced: Option<PacketRef>,
    /// How long the last answer said that the connection would be kept (`Keep-Alive: timeout`).
    pub promised: Option<Duration>,
}

/// An answer before the unanswered request that said, or a request that asked, that the connection would close then.
pub fn announced<'a>(story: &Story<'a>) -> Option<(&'a Exchange, PacketRef)> {
    let Stand::Unanswered(unanswered) = story.stand() else {
        return None;
    };
    // What announced it was an answer to a body, which the server took for a request.
    if story.refusal_of_a_body().is_some() {
        return None;
    }
    let earlier = story
        .connection
        .app
        .exchanges
        .iter()
        .filter(|exchange| exchange.index < unanswered.index);
    let at = earlier
        .filter_map(|exchange| Some((exchange, exchange.response.as_ref()?)))
        .find_map(|(exchange, answer)| {
            let head = response_head(answer)?;
            if head.connection.closes() {
                return Some(answer.begun);
            }
            let request = exchange
                .request
                .as_ref()
                .filter(|_| story.client_asked_to_close(exchange))?;
            Some(request.begun)
        })?;
    Some((unanswered, at))
}

/// Finds it.
pub fn find<'a>(story: &Story<'a>) -> Option<Reuse<'a>> {
    let Stand::Unanswered(exchange) = story.stand() else {
        return None;
    };
    // The server closes because of what it took for a request, and not because it is idle.
    if story.refusal_of_a_body().is_some() {
        return None;
    }
    let request = exchange.request.as_ref()?;
    // Bytes in a tunnel are no requests that a pool sends over a kept connection.
    if story.connection.app.protocol == Protocol::Http1 && in_tunnel(exchange) {
        return None;
    }
    let before = story.before(exchange)?;
    let answer = before.response.as_ref()?;
    let reset = story.reset().filter(|reset| reset.direction == Direction::ToClient);
    let fin = story.server_closed_first();
    let active = reset.filter(|reset| reset.shape == ResetShape::Active);
    let had_arrived = active.is_none() && fin.is_some_and(|fin| fin.ack > request.start);
    if fin.is_none() && active.is_none() {
        return None;
    }
    if story.only_alert_from(Direction::ToServer, request.start as i64) {
        return None;
    }
    let closed_at = fin.map(|fin| fin.at).or(active.map(|reset| reset.at))?;
    let first = story
        .connection
        .timeline
        .iter()
        .find(|note| note.direction == Direction::ToServer && note.len > 0 && note.end() > request.start as i64);
    Some(Reuse {
        exchange,
        idle: request.begun.time.since(answer.last.time),
        fin,
        reset,
        had_arrived,
        waited: closed_at.time.since(request.begun.time),
        closed_after: closed_at.time.since(last_word(story, answer, closed_at)),
        fin_had_arrived: first
            .and_then(|note| story.sent_after_fin_arrived(note))
            .unwrap_or(false),
        announced: announced(story).map(|(_, at)| at),
        promised: response_head(answer)
            .and_then(|head| head.keep_alive_timeout)
            .map(|seconds| Duration::from_secs(u64::from(seconds))),
    })
}

/// When the answer ended: its last byte, but not a good-bye that the server says when it closes after a long silence (a
/// message of PostgreSQL's, an alert).
fn last_word(story: &Story<'_>, answer: &Message, closed: PacketRef) -> Timestamp {
    const SILENCE: Duration = Duration::from_millis(500);
    let said = |note: &&SegmentNote| {
        note.direction == Direction::ToClient
            && note.len > 0
            && note.at.number <= closed.number
            && note.at.number >= answer.begun.number
    };
    let mut words = story.connection.timeline.iter().rev().filter(said);
    match (words.next(), words.next()) {
        (Some(last), Some(before))
            if closed.time.since(last.at.time) <= RIGHT_AFTER && last.at.time.since(before.at.time) >= SILENCE =>
        {
            before.at.time
        }
        _ => answer.last.time,
    }
}

impl Reuse<'_> {
    /// The close came when the server's idle limit ran out, as other connections or a round number of seconds tell, and
    /// not because of this request.
    pub fn by_a_timer(&self, story: &Story<'_>) -> bool {
        let after = self.closed_after;
        story.around.idle_limit.is_some_and(|limit| limit.holds(after)) || heard::is_a_timer(after)
    }

    /// How long the server had promised to keep it, where it closed much sooner, and not because it always does.
    pub fn broken_promise(&self, story: &Story<'_>) -> Option<Duration> {
        let habit = story
            .around
            .idle_limit
            .is_some_and(|limit| limit.holds(self.closed_after));
        let sooner = |promised: &Duration| self.closed_after + SHORTEST_LIMIT < *promised;
        self.promised
            .filter(sooner)
            .filter(|_| !habit && !story.around.closes.are_like(self.closed_after))
    }

    /// Nothing tells that it was an idle limit that closed it: it was shorter than any that is usual, or than the server's promise, or all that
    /// were open were closed at that moment, after different times of silence. A server that looks at its idle connections now and then closes several at once, too: what
    /// has just been used stays then, and it does the same again.
    pub fn may_be_a_stop(&self, story: &Story<'_>) -> bool {
        let around = story.around;
        let broken = self.broken_promise(story).is_some();
        broken
            || !self.by_a_timer(story)
                && !around.closes.are_like(self.closed_after)
                && (self.closed_after < SHORTEST_LIMIT || around.closes.together > 0 && around.outlived == 0)
    }

    /// All that were open were closed at that moment, one of them sooner than any usual limit.
    pub fn is_a_stop(&self, story: &Story<'_>) -> bool {
        let around = story.around;
        let shortest = around.closes.shortest.map(|shortest| shortest.min(self.closed_after));
        self.may_be_a_stop(story) && around.outlived == 0 && shortest.is_some_and(|shortest| shortest < SHORTEST_LIMIT)
    }

    /// The server closed right after its answer: not an idle limit.
    pub fn closed_right_after_answer(&self) -> bool {
        self.closed_after <= RIGHT_AFTER
    }

    /// Last answer, FIN, request, reset: the proof.
    pub fn proof(&self, story: &Story<'_>) -> Vec<Evidence> {
        let mut all = Vec::new();
        if let Some(answer) = story.before(self.exchange).and_then(|before| before.response.as_ref()) {
            all.push(Evidence::packet(
                answer.last,
                "the answer before ends; the connection is kept",
            ));
        }
        all.extend(proof::ending(story, Some(self.exchange)));
        all
    }

    /// How the client met the close, in words.
    pub fn meeting(&self) -> &'static str {
        match (self.fin, self.reset.map(|reset| reset.shape)) {
            (Some(_), Some(ResetShape::Active)) => "it lay unread when the server closed",
            (Some(_), Some(_)) if self.fin_had_arrived => "the client sent it after the FIN had reached its kernel",
            (Some(_), Some(_)) => "it crossed the server's FIN and met a closed socket",
            (Some(_), None) if self.had_arrived => "it had reached the server's kernel",
            (Some(_), None) if self.fin_had_arrived => {
                "the client sent it after the FIN had reached its kernel; no reset answered"
            }
            (Some(_), None) => "it crossed the server's FIN and was swallowed without a reset",
            (None, _) => "it had just arrived, unread, when the server closed",
        }
    }
}
