use std::time::Duration;

use bypeer_wire::app::{Exchange, Message};
use bypeer_wire::conn::Fin;
use bypeer_wire::{Direction, PacketRef};

use crate::causes::{proof, reuse};
use crate::heard;
use crate::story::{Stand, Story};
use crate::testimony::Told;
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "upstream-no-response-close",
    title: "The server closed without answering",
    manual: include_str!("upstream_no_response_close.md"),
    clauses: &["RFC 9110 §15.6.3", "RFC 9112 §8", "RFC 9110 §9.2.2"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let Stand::Unanswered(exchange) = story.stand() else { return None };
    if let Some(good_bye) = story.good_bye_for_an_answer() {
        return good_bye_instead(story, exchange, good_bye);
    }
    let fin = story.server_closed_first()?;
    if story.answer_was_given_away() || story.client_counts_wrong() || story.small_word_behind(exchange).is_some() {
        return None;
    }
    if story.reset().is_some_and(|reset| reset.at.number < fin.at.number) || story.active_reset_by_server().is_some() {
        return None;
    }
    let request = exchange.request.as_ref()?;
    if reuse::announced(story).is_some() || story.client_good_bye_before(fin.at.number).is_some() {
        return None;
    }
    if !story.answer_is_owed(exchange) {
        return None;
    }
    let cut = !request.complete || request.end.is_some_and(|end| fin.ack < end && fin.ack > request.start);
    if cut && story.understood(exchange) {
        return in_its_middle(story, exchange, request, fin);
    }
    if story.only_alert_from(Direction::ToServer, request.start as i64) {
        return None;
    }
    // The whole request must have been in the server's kernel when it closed: otherwise it is a race.
    if fin.ack < request.end.unwrap_or(request.seen) {
        return None;
    }
    let around = story.around;
    let killed = around.died_together_unprompted > 0 || around.refused_after.is_some();
    let timer = reuse::find(story).is_some_and(|reuse| {
        reuse.by_a_timer(story) && reuse.waited <= story.round_trip() * 2 + Duration::from_millis(100)
    });
    // Picked up in the middle: it may be a kept connection, and this its race.
    let unknown_past = !story.connection.seen_from_start() && exchange.index == 0;
    let strength = if killed || timer || unknown_past { Strength::Possible } else { Strength::Fits };
    let waited = fin.at.time.since(request.last.time);
    let mut verdict = format!(
        "the server received the whole request and closed {} later without a byte of an answer",
        proof::time(waited)
    );
    let limit = story.is_a_limit_of_time(waited);
    if limit {
        verdict += &match around.died_alike_elsewhere {
            1 => "; it did so after the same time to another: a limit of time".to_owned(),
            others => format!("; it did so after the same time to {others} others: a limit of time"),
        };
    }
    Some(
        Weighed::of(strength, if limit { Party::Operator } else { Party::ServerProgram }, verdict)
            .and(proof::ending(story, Some(exchange)))
            .settled_by("the server's log at that moment: an exception, a worker that was stopped, a request it refused in silence"),
    )
}

/// The server closed upon a request that was still being sent. Who had fallen silent ran into a limit.
fn in_its_middle(story: &Story<'_>, exchange: &Exchange, request: &Message, fin: &Fin) -> Option<Weighed> {
    let last = story.last_data_before(Direction::ToServer, fin.at)?;
    let silent = fin.at.time.since(last.at.time);
    let waited = silent > story.round_trip() * 2 + Duration::from_millis(250);
    // What was under way met the close: another story. A head that is not whole was perhaps never a request, unless it was waited for.
    if !waited && (fin.ack < request.seen || request.head_end.is_none()) || fin.ack <= request.start {
        return None;
    }
    let around = story.around;
    let killed = around.died_together_unprompted > 0 || around.refused_after.is_some();
    let had = fin.ack.min(request.seen) - request.start;
    let of = request.end.map_or_else(String::new, |end| format!(" of {}", end - request.start));
    let (blame, after) = match waited {
        true => (Party::Operator, format!("after {} without more of it", proof::time(silent))),
        false => (Party::ServerProgram, format!("{} after the last of them", proof::time(silent))),
    };
    let (middle, bytes) = match request.head_end {
        Some(_) => ("the request", "without a byte of an answer, "),
        None => ("the head of a request", ""),
    };
    let verdict = format!("the server closed in the middle of {middle}, with {had}{of} bytes of it, {bytes}{after}");
    // Who never sent the rest of it missed nothing.
    let never_whole = request.head_end.is_none() && fin.ack >= request.seen;
    Some(
        Weighed::of(if killed { Strength::Possible } else { Strength::Fits }, blame, verdict)
            .and(proof::ending(story, Some(exchange)))
            .harmless(never_whole)
            .settled_by("the server's log at that moment: a limit of time or size for requests, an exception, a request it refused in silence"),
    )
}

/// Under TLS: the server said close_notify in place of an answer.
fn good_bye_instead(story: &Story<'_>, exchange: &Exchange, good_bye: PacketRef) -> Option<Weighed> {
    let request = exchange.request.as_ref()?;
    if !story.answer_is_owed(exchange) || story.client_good_bye_before(good_bye.number).is_some() {
        return None;
    }
    let waited = good_bye.time.since(request.last.time);
    // It may have crossed the request on the way.
    let strength = match waited > story.round_trip() && reuse::find(story).is_none() {
        true => Strength::Fits,
        false => Strength::Possible,
    };
    let verdict = format!("the server received the request and said good-bye (close_notify) {} later, without an answer", proof::time(waited));
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict)
            .because(good_bye, "the server's close_notify")
            .and(proof::ending(story, Some(exchange)))
            .settled_by("the server's log at that moment: an exception, a handler that was aborted, a request it refused in silence"),
    )
}

/// Of a connection that is told because the next one has its number: else its close without an answer makes no event.
fn hear(hearing: &Hearing) -> Option<Weighed> {
    let before = hearing.deciding.predecessor.as_ref()?;
    (hearing.deciding.told == Told::Retaken).then(|| {
        let verdict = format!(
            "another thread than its reader closed descriptor {}, which was the connection of {}, with a request read and before a byte of \
             an answer, on purpose perhaps: this connection has the number now, and the same reader",
            before.descriptor, before.remote,
        );
        let strength = if before.closed_as_a_file() { Strength::Possible } else { Strength::Fits };
        Weighed::of(strength, Party::ServerProgram, verdict)
            .and(heard::proof(hearing))
            .settled_by(heard::WHOSE_NUMBER)
    })
}
