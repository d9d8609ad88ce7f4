use std::time::Duration;

use bypeer_wire::Direction;
use bypeer_wire::conn::ResetShape;

use crate::heard;
use crate::testimony::Side;
use crate::causes::proof;
use crate::story::{Stand, Story};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "client-undrained-response",
    title: "The client threw the rest of the response away",
    manual: include_str!("client_undrained_response.md"),
    clauses: &["RFC 9112 §9.3", "RFC 9293 §3.6.1"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.reset_of(Direction::ToServer, ResetShape::Active)?;
    if story.request_flow().unanswered_probes > 0 {
        return None;
    }
    if !matches!(story.stand(), Stand::Idle | Stand::AnsweredEarly(_)) {
        return None;
    }
    let exchange = story.connection.app.exchanges.newest()?;
    let answer = exchange.response.as_ref()?;
    if answer.last.number > reset.at.number {
        return None;
    }
    // Under TLS a good-bye may be all that was unread.
    let record = story.connection.app.tls.as_ref().and_then(|tls| tls.last_record[Direction::ToClient.index()]);
    if record.is_some_and(|record| story.only_alert_from(Direction::ToClient, record.start as i64)) {
        return None;
    }
    let since = reset.at.time.since(answer.last.time);
    let soon = since <= Duration::from_millis(100) || story.response_flow().unacked() > 0;
    let strength = if soon && !story.heads_were_cut() { Strength::Fits } else { Strength::Possible };
    let verdict = match story.heads_were_cut() {
        true => "the client closed without reading all that had been sent; whether that was the whole answer is not in the capture",
        false => "the client closed after the whole answer had been sent, without reading all of it",
    };
    Some(
        Weighed::of(strength, Party::ClientProgram, verdict)
        .and(proof::ending(story, Some(exchange)))
        .harmless(!story.heads_were_cut()),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let unread = hearing.closed_unread().filter(|unread| unread.side == Side::Client)?;
    if hearing.death().is_some() {
        return None;
    }
    Some(
        Weighed::of(
            Strength::Fits,
            Party::ClientProgram,
            format!("the client closed without reading {} bytes that it had received", unread.bytes),
        )
        .and(heard::proof(hearing))
        .harmless(true),
    )
}
