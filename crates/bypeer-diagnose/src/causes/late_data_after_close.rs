use std::time::Duration;

use bypeer_wire::Direction;

use crate::heard;
use crate::testimony::Side;
use crate::causes::proof;
use crate::story::{Stand, Story, response_head};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "late-data-after-close",
    title: "Data arrived after the other side had closed",
    manual: include_str!("late_data_after_close.md"),
    clauses: &["RFC 9293 §3.6.1", "RFC 1122 §4.2.2.13", "RFC 2525 §2.16", "RFC 9112 §9.6"],
    weigh,
    hear,
};

/// Pauses shorter than this lie within one request: a client that sends a body in pieces.
const WITHIN_A_REQUEST: Duration = Duration::from_secs(3);

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.passive_reset_by_server()?;
    let trigger = reset
        .trigger
        .as_ref()
        .filter(|trigger| trigger.len > 0)
        .or_else(|| story.client_data_after_fin())?;
    if story.only_alert_from(Direction::ToServer, trigger.seq) || story.tls_alert_at(Direction::ToServer, trigger.seq) {
        return None;
    }
    let exchange = story.request_at(trigger.seq)?;
    let response_begun = exchange.response.is_some();
    let strength = match story.server_fin() {
        // The FIN may still be queued behind the answer when the socket is closed: then none is seen.
        None if response_begun && matches!(story.stand(), Stand::Answering(_) | Stand::AnsweredEarly(_)) => {
            Strength::Fits
        }
        None => return None,
        Some(_) if story.understood(exchange) && (response_begun || exchange.index == 0) => Strength::Proven,
        Some(_) if story.understood(exchange) => return None,
        Some(_) => {
            // Turns: the rest of an upload is told from a new request by the pause before it.
            let pause = story.idle_before(exchange).unwrap_or_default();
            if pause > WITHIN_A_REQUEST {
                return None;
            }
            if exchange.index == 0 || response_begun || continues_sending(story, trigger.at.number) {
                Strength::Fits
            } else {
                return None;
            }
        }
    };
    let status = exchange.response.as_ref().and_then(response_head).map(|head| head.status);
    let verdict = match status {
        Some(status) => format!("the server answered {status} and closed; the rest of the request reached a closed socket"),
        None if response_begun => "the server answered and closed; more data of the client reached a closed socket".to_owned(),
        None => "the server closed without an answer; more data of the client reached a closed socket".to_owned(),
    };
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict)
            .and(proof::ending(story, Some(exchange)))
            .settled_by("TCP_TIMEWAIT_SOCKET or TCP_ABORT_ON_DATA in tcp:tcp_send_reset on the server"),
    )
}

/// The client had sent other data within a second before this packet.
fn continues_sending(story: &Story<'_>, number: u64) -> bool {
    let sent: Vec<_> = story
        .connection
        .timeline
        .iter()
        .filter(|note| note.direction == Direction::ToServer && note.len > 0 && note.at.number <= number)
        .collect();
    match sent.as_slice() {
        [.., before, last] => last.at.time.since(before.at.time) < Duration::from_secs(1),
        _ => false,
    }
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    if let Some((by, _)) = hearing.answer_to_the_unseen() {
        let text = "more of the client's data may have reached a socket that the server had closed";
        return (by.side != Some(Side::Client)).then(|| {
            Weighed::of(Strength::Possible, Party::ServerProgram, text)
                .and(heard::proof(hearing))
                .settled_by(heard::WITH_SEGMENT)
        });
    }
    let late = hearing.late().filter(|late| late.side == Side::Server && late.trigger.len > 0)?;
    if hearing.death().is_some() || late.closed_idle() && !late.may_be_a_good_bye() {
        return None;
    }
    let rest = hearing.request_rest();
    let strength = match rest {
        Some(rest) if rest > 0 => Strength::Proven,
        Some(_) => return None,
        None if late.closed.sent == 0 => Strength::Proven,
        None if late.repeats() || late.may_be_a_good_bye() && hearing.is_a_tls_port() => Strength::Possible,
        None => Strength::Fits,
    };
    let before = proof::time(late.after());
    let verdict = if late.closed.sent == 0 {
        format!("the server closed without an answer; {} more bytes of the client reached the closed socket {before} later", late.trigger.len)
    } else {
        format!("the server answered and closed; {} more bytes of the client reached the closed socket {before} later", late.trigger.len)
    };
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict)
            .and(heard::proof(hearing))
            .settled_by("whether these bytes belong to the request that was answered: `bypeer watch --payload`, or a capture"),
    )
}
