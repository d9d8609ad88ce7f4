use bypeer_wire::app::Framing;

use crate::causes::cannot_be_heard;
use crate::causes::proof;
use crate::story::{Stand, Story, tls_record_cut};
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "incomplete-response",
    title: "The response ended before its declared length",
    manual: include_str!("incomplete_response.md"),
    clauses: &["RFC 9112 §8", "RFC 9112 §6.3", "RFC 9112 §9.8"],
    weigh,
    hear: cannot_be_heard,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    if story.chunk_was_broken() {
        return broken_chunk(story);
    }
    let fin = story.server_closed_first()?;
    if matches!(story.stand(), Stand::Idle) && story.tls_cut_short() {
        return cut_short_under_tls(story);
    }
    let Stand::Answering(exchange) = story.stand() else { return None };
    if story.reset().is_some_and(|reset| reset.at.number < fin.at.number) || story.active_reset_by_server().is_some() {
        return None;
    }
    let response = exchange.response.as_ref()?;
    let short = match response.framing {
        Framing::Length(_) => response.end?.saturating_sub(response.seen),
        Framing::Chunked => 0,
        _ => return None,
    };
    // A FIN beyond what the capture holds says nothing about what was sent.
    if story.response_flow().missed > 0 && response.framing == Framing::Chunked {
        return None;
    }
    let around = story.around;
    let killed = around.died_together_unprompted > 0 || around.refused_after.is_some();
    let strength = if killed { Strength::Possible } else { Strength::Fits };
    let verdict = match response.framing {
        Framing::Chunked => "the server closed in the middle of a chunked response".to_owned(),
        _ => format!("the server closed {short} bytes before the end that its Content-Length declared"),
    };
    // Who takes nothing runs into the server's limit for sending.
    if story.client_took_nothing() {
        let verdict = format!("{verdict}; the client had taken nothing for a while (its window was 0), and the server may have a limit for that");
        return Some(
            Weighed::of(strength, Party::Operator, verdict)
                .and(proof::ending(story, Some(exchange)))
                .settled_by("the server's limit for sending (send_timeout, Timeout, WriteTimeout, timeout client) beside how long the window was 0"),
        );
    }
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict)
            .and(proof::ending(story, Some(exchange)))
            .settled_by("the server's log at that moment: an exception in a generator, a worker timeout, a full disk"),
    )
}

/// An error page, or a log line, that was written into the body: the client finds no size of a chunk there, and gives up.
fn broken_chunk(story: &Story<'_>) -> Option<Weighed> {
    let exchange = story.connection.app.exchanges.newest()?;
    Some(
        Weighed::of(
            Strength::Fits,
            Party::ServerProgram,
            "the server sent what is no chunk in the middle of a chunked response",
        )
        .because(story.connection.app.lost_track?, "no size of a chunk: the response cannot be read from here on")
        .and(proof::ending(story, Some(exchange)))
        .settled_by("the server's log at that moment: an exception after the head had been sent"),
    )
}

fn cut_short_under_tls(story: &Story<'_>) -> Option<Weighed> {
    let exchange = story.connection.app.exchanges.newest()?;
    let killed = story.around.died_together_unprompted > 0 || story.around.refused_after.is_some();
    let strength = if killed { Strength::Possible } else { Strength::Fits };
    let (verdict, settled_by) = if tls_record_cut(story.connection) {
        (
            "the server closed in the middle of a TLS record: its answer is cut short".to_owned(),
            "the server's log at that moment: a worker that was killed, a timeout, an exception while it streamed",
        )
    } else {
        let others = story.around.tls_good_byes;
        (
            format!("the server closed without the TLS good-bye (close_notify) that it sent on {others} other connections: its answer may be cut short"),
            "the keys of the TLS session, or the client's log: a read that ended without close_notify",
        )
    };
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict)
            .and(proof::ending(story, Some(exchange)))
            .settled_by(settled_by),
    )
}
