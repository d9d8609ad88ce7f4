use std::time::Duration;

use bypeer_wire::app::{Exchange, Framing, Version};
use bypeer_wire::conn::ResetShape;
use bypeer_wire::{Direction, PacketRef};

use crate::heard;
use crate::testimony::{ResetPath, Side};
use crate::causes::{proof, reuse};
use crate::story::{Stand, Story, request_head};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "client-cancel",
    title: "The client gave up before the response was complete",
    manual: include_str!("client_cancel.md"),
    clauses: &["RFC 9112 §9.5", "RFC 9293 §3.6.1", "RFC 9110 §9.2.2"],
    weigh,
    hear,
};

/// An answer that takes longer than this is slow, whoever gave up.
const SLOW: Duration = Duration::from_secs(1);

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    if story.taken_late().is_some() || story.answer_was_given_away() || story.one_answer_is_missing() {
        return None;
    }
    let (left, how) = left(story).or_else(|| vanished(story))?;
    if story.answers_made_no_sense().is_some_and(|since| since.number < left.number) {
        return None;
    }
    let mut strength = if vanished(story).is_some() { Strength::Possible } else { Strength::Fits };
    let flow = story.response_flow();
    let exchange = match story.stand() {
        Stand::Unanswered(exchange) | Stand::Answering(exchange) | Stand::AnsweredEarly(exchange) => exchange,
        Stand::Idle => {
            // Without message boundaries: an answer was still coming when the client left.
            let exchange = story.connection.app.exchanges.newest()?;
            let response = exchange.response.as_ref()?;
            let coming = response.last.number > left.number
                || !story.understood(exchange) && (flow.unacked() > 0 || open_record(story));
            // Where the head was cut off its length is not known: it may have been coming when it was last heard.
            let just_now = left.time.since(response.last.time) <= story.round_trip() * 2 + Duration::from_millis(100);
            let may_come = !coming && story.heads_were_cut() && just_now;
            if may_come {
                strength = Strength::Possible;
            }
            let coming = coming || may_come;
            if !coming || story.only_alert_from(Direction::ToClient, flow.acked as i64) {
                return None;
            }
            exchange
        }
    };
    if exchange.request.is_none() || reuse::announced(story).is_some() {
        return None;
    }
    // The server had closed first: whatever the client did then was an answer to that.
    if story.server_fin().is_some_and(|fin| fin.at.number < left.number) {
        return None;
    }
    if !story.understood(exchange) && exchange.response.is_none() {
        // A last word of the client (a GOAWAY, a QUIT) is no request: one that waits for an answer shows by its waiting.
        let waited = left.time.since(exchange.request.as_ref()?.last.time);
        // In a record as small as an alert's the server said something, and went on: it is no protocol of questions and answers.
        if !story.answer_is_owed(exchange) || story.small_word_behind(exchange).is_some() || waited < story.round_trip() * 2 + Duration::from_millis(50) {
            return None;
        }
    }
    let age = exchange.request.as_ref().map(|request| left.time.since(request.begun.time)).unwrap_or_default();
    let answer_begun = exchange.response.as_ref().is_some_and(|response| response.begun.number < left.number);
    let sent_all = exchange.request.as_ref().is_some_and(|request| request.last.number < left.number && request.complete)
        || !story.understood(exchange);
    let verdict = match (answer_begun, sent_all) {
        (true, _) if matches!(story.stand(), Stand::AnsweredEarly(_)) => {
            format!("the client stopped sending its request when the answer came; {how}")
        }
        (true, _) => format!("the client left {} after its request, in the middle of the answer; {how}", proof::time(age)),
        (false, true) if age >= SLOW => {
            format!("the server had not answered for {} when the client gave up; {how}", proof::time(age))
        }
        (false, true) => format!("the client gave up {} after its request, before any answer; {how}", proof::time(age)),
        (false, false) => format!("the client left in the middle of its own request; {how}"),
    };
    // The same in the middle of the answer.
    let heard = exchange.response.as_ref().filter(|response| response.last.number < left.number);
    // Only where more is known to come: a stream of events is silent as long as it likes.
    let heard = heard.filter(|response| matches!(response.framing, Framing::Length(_)));
    let stalled = heard.map(|response| left.time.since(response.last.time)).filter(|silence| *silence >= SLOW && !story.client_took_nothing());
    let verdict = match stalled {
        Some(silence) if !matches!(story.stand(), Stand::AnsweredEarly(_)) => format!(
            "the server had sent nothing for {} in the middle of its answer when the client gave up; {how}",
            proof::time(silence)
        ),
        _ => verdict,
    };
    // Who waits a second for nothing has a timeout to set, or a server to mend.
    let waited = !answer_begun && sent_all && age >= SLOW;
    let blame = if waited || stalled.is_some() { Party::Operator } else { Party::ClientProgram };
    let early = matches!(story.stand(), Stand::AnsweredEarly(_)) || is_health_check(exchange);
    Some(
        Weighed::of(strength, blame, verdict)
            .and(proof::ending(story, Some(exchange)))
            .harmless(early)
            .settled_by("the client's own account: a timeout it was given, a cancelled call, a user who left"),
    )
}

/// When and how the client left without waiting.
fn left(story: &Story<'_>) -> Option<(PacketRef, &'static str)> {
    let connection = story.connection;
    // It had heard nothing of the answer: the path's doing.
    if story.unheard_by_client().is_some() {
        return None;
    }
    if let Some(reset) = story.reset().filter(|reset| reset.direction == Direction::ToServer) {
        match reset.shape {
            ResetShape::Active if connection.to_server.unanswered_probes == 0 => {
                return Some((reset.at, "its kernel reset the connection"));
            }
            // A bare RST: its socket was gone. The FIN tells when it left.
            ResetShape::Passive | ResetShape::Other => {
                let fin = story.client_closed_first().filter(|fin| fin.at.number < reset.at.number)?;
                return Some((fin.at, "what the server sent afterwards met a closed socket"));
            }
            _ => return None,
        }
    }
    if let Some(reset) = story.active_reset_by_server()
        && let Stand::Unanswered(exchange) = story.stand()
        && exchange.request.as_ref().is_some_and(|request| !request.complete && request.head_end.is_some())
        && let Some(fin) = story.client_closed_first().filter(|fin| fin.at.number < reset.at.number)
    {
        return Some((fin.at, "the server closed later, with what it had sent unread"));
    }
    if story.reset().is_some() {
        return None;
    }
    if let Some(fin) = story.server_closed_first()
        && let Some(said) = story.client_good_bye_before(fin.at.number)
    {
        return Some((said, "it said good-bye (close_notify), and the server closed without finishing"));
    }
    let fin = story.client_closed_first()?;
    if story.heads_were_cut() {
        return None;
    }
    // A close that the other side never heard of, or that cut off one who is never heard, is the path's doing.
    let unheard = |direction| {
        let flow = story.connection.flow(direction);
        flow.unanswered_retransmissions >= 2 || story.repeated_in_vain(flow)
    };
    if unheard(Direction::ToServer) || unheard(Direction::ToClient) {
        return None;
    }
    // A client that only closes its sending half does so right after its request, and goes on reading.
    let newest = story.connection.app.exchanges.newest()?;
    if newest.response.as_ref().is_some_and(|response| response.complete) {
        return None;
    }
    let server_closed = story.server_fin().is_some();
    let asked = newest.response.as_ref().or(newest.request.as_ref())?;
    let waited = fin.at.time.since(asked.last.time) >= story.round_trip() * 2 + Duration::from_millis(200);
    if server_closed {
        Some((fin.at, "it closed, and the server closed without finishing"))
    } else if waited {
        Some((fin.at, "it closed, and no answer came until the capture ended"))
    } else {
        None
    }
}

/// Its socket was gone in the middle of an answer, and nothing tells when it went: the reset that said so may be lost, forged or
/// never sent.
fn vanished(story: &Story<'_>) -> Option<(PacketRef, &'static str)> {
    let reset = story.reset().filter(|reset| reset.direction == Direction::ToServer)?;
    let gone = reset.shape == ResetShape::Passive && !reset.after_own_fin && !reset.after_peer_fin;
    let coming = matches!(story.stand(), Stand::Answering(_)) && story.gave_up_before(reset).is_none();
    (gone && coming && story.client_closed_first().is_none()).then_some((reset.at, "its socket was gone, and no FIN of it was seen"))
}

fn open_record(story: &Story<'_>) -> bool {
    story.connection.app.tls.as_ref().is_some_and(|tls| tls.record_open[Direction::ToClient.index()])
}

/// A probe that looks at the status line and leaves: a bare HTTP/1.0 head of a few bytes that names no client.
fn is_health_check(exchange: &Exchange) -> bool {
    let Some(request) = exchange.request.as_ref().filter(|_| exchange.response.is_some()) else { return false };
    let bare = request.end.is_some_and(|end| end - request.start <= 80);
    bare && request_head(request).is_some_and(|head| head.version == Version::Http10 && head.user_agent.is_none())
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    // Who was told to end did not choose to give up.
    if hearing.death().is_some() || hearing.told_to_end().is_some() {
        return None;
    }
    let settle = "the client's own account: a timeout it was given, a cancelled call, a user who left";
    let say = |strength, verdict: String| {
        Some(Weighed::of(strength, Party::ClientProgram, verdict).and(heard::proof(hearing)).settled_by(settle))
    };
    if let Some(unread) = hearing.closed_unread().filter(|unread| unread.side == Side::Client) {
        let all_there = unread.by.fin_received == Some(true);
        if all_there || !unread.was_still_coming() {
            return None;
        }
        let server = hearing.peer.as_ref();
        let owed = server.is_some_and(|server| server.unsent.unwrap_or(0) > 0);
        let strength = if owed { Strength::Proven } else { Strength::Possible };
        return say(strength, format!("the client closed in the middle of the answer, with {} bytes of it unread", unread.bytes));
    }
    // An abort of its own, or data of the server that met its closed socket.
    let by = hearing.reset_sent().filter(|by| by.side == Some(Side::Client));
    if let Some(by) = by
        && matches!(by.path, Some(ResetPath::LingerZero | ResetPath::Disconnected))
    {
        let waits = by.acked.unwrap_or(0) + by.unacked.unwrap_or(0) > 0 && !hearing.was_answered(by);
        return if waits { say(Strength::Fits, "the client gave up before any answer, and aborted".to_owned()) } else { None };
    }
    if let Some(late) = hearing.late().filter(|late| late.side == Side::Client && late.trigger.len > 0) {
        if late.may_be_a_good_bye() {
            return None;
        }
        let waited = proof::time(late.closed.since_sent);
        if let Some(status) = hearing.exited() {
            let verdict = format!(
                "the client's process exited (status {status}) with the connection open, {waited} after it had last sent; {} bytes of the answer met its \
                 closed socket",
                late.trigger.len
            );
            return say(Strength::Fits, verdict);
        }
        let verdict = if late.closed.received == 0 {
            format!("the client gave up {waited} after its request, before any answer; {} bytes of the answer met its closed socket", late.trigger.len)
        } else {
            format!("the client closed before it had the whole answer; {} bytes more met its closed socket", late.trigger.len)
        };
        return say(Strength::Fits, verdict);
    }
    let from = hearing.reset_from_elsewhere().filter(|by| by.side == Some(Side::Server))?;
    let undelivered = from.unsent.unwrap_or(0) + from.unacked.unwrap_or(0);
    if undelivered > 0 {
        return say(Strength::Fits, format!("the client reset the connection while {undelivered} bytes of the answer were on their way"));
    }
    let waiting = from.received.unwrap_or(0) > 0 && from.since_received < from.since_sent;
    if waiting { say(Strength::Fits, "the client reset the connection while it waited for an answer".to_owned()) } else { None }
}
