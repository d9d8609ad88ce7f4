use crate::heard;
use crate::testimony::Told;
use crate::causes::proof;
use crate::story::{Story, request_head, response_head};
use crate::{Cause, Hearing, Party, Strength, Weighed};
use bypeer_wire::app::{Method, Protocol};

pub static CAUSE: Cause = Cause {
    id: "desync-unsolicited-response",
    title: "Response bytes that nobody had asked for",
    manual: include_str!("desync_unsolicited_response.md"),
    clauses: &["RFC 9112 §9.2", "RFC 9112 §6.3", "RFC 9112 §11.2", "RFC 9110 §15.5.9"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let app = &story.connection.app;
    if app.protocol != Protocol::Http1 || !story.connection.seen_from_start() || story.response_flow().missed > 0 {
        return None;
    }
    if story.request_flow().missed > 0 || story.heads_were_cut() {
        return None;
    }
    let unasked = app.exchanges.iter().find(|exchange| exchange.request.is_none() && exchange.response.is_some());
    let status = unasked.and_then(|exchange| exchange.response.as_ref()).and_then(response_head).map(|head| head.status);
    // 408 and 400 on an idle connection are good-byes that RFC 9110 §15.5.9 allows.
    if app.surplus_response_bytes == 0 || matches!(status, Some(400 | 408)) {
        return None;
    }
    let verdict = match status {
        Some(status) => format!("the server sent an answer ({status}) that no request had asked for"),
        None => format!("the server sent {} bytes beyond the end that its own head declared", app.surplus_response_bytes),
    };
    // A body behind the answer to a HEAD breaks RFC 9110 §9.3.2, but clients know it and throw it away.
    let after_head = app.exchanges.iter().filter_map(|exchange| exchange.request.as_ref()).filter_map(request_head).any(|head| head.method == Method::Head);
    let mut weighed = Weighed::of(Strength::Fits, Party::ServerProgram, verdict).harmless(after_head && unasked.is_none());
    if let Some(answer) = unasked.and_then(|exchange| exchange.response.as_ref()) {
        weighed = weighed.because(answer.begun, "bytes of the server with no request outstanding");
    }
    let exchange = app.exchanges.iter().find(|exchange| exchange.request.is_some());
    Some(weighed.and(proof::ending(story, exchange)))
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    (hearing.deciding.told == Told::Swapped).then(|| {
        Weighed::of(
            Strength::Proven,
            Party::ServerProgram,
            "the server wrote an answer to another connection than the one that it had read the request from: the descriptor's number had \
             been closed and given away in between",
        )
        .and(heard::proof(hearing))
    })
}
