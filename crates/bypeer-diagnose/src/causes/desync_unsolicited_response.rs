use crate::causes::{cannot_be_heard, proof};
use crate::misdelivered::astray::Early;
use crate::story::{Story, request_head, response_head};
use crate::{Cause, Party, Strength, Weighed};
use bypeer_wire::app::{Method, Protocol};

pub static CAUSE: Cause = Cause {
    id: "desync-unsolicited-response",
    title: "Response bytes that nobody had asked for",
    manual: include_str!("desync_unsolicited_response.md"),
    clauses: &["RFC 9112 §9.2", "RFC 9112 §6.3", "RFC 9112 §11.2", "RFC 9110 §15.5.9"],
    weigh,
    hear: cannot_be_heard,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let app = &story.connection.app;
    if app.protocol != Protocol::Http1 || !story.counts_requests() {
        return None;
    }
    if story.answers_are_mixed_up() || story.around.astray.is_disordered {
        return None;
    }
    if let Some(early) = story.around.astray.early {
        return Some(before_its_request(story, early));
    }
    let first = app.exchanges.unasked.as_deref();
    let behind = first.and_then(|first| first.behind.as_ref());
    let unasked = first
        .and_then(|first| first.answer.as_ref())
        .or_else(|| app.exchanges.iter().find(|exchange| exchange.request.is_none() && exchange.response.is_some()));
    let status = unasked.and_then(|exchange| exchange.response.as_ref()).and_then(response_head).map(|head| head.status);
    // 408 and 400 on an idle connection are good-byes that RFC 9110 §15.5.9 allows.
    if app.surplus_response_bytes == 0 || matches!(status, Some(400 | 408)) {
        return None;
    }
    let answered = behind.and_then(|exchange| exchange.response.as_ref()).and_then(response_head).map(|head| head.status);
    let bytes = app.surplus_response_bytes;
    let verdict = match (status, answered) {
        (Some(status), _) => format!("the server sent an answer ({status}) that no request had asked for"),
        (None, Some(bodiless @ (204 | 304))) => {
            format!("the server sent {bytes} bytes behind the head of a {bodiless}, which has no body whatever its head declares")
        }
        (None, _) => format!("the server sent {bytes} bytes beyond the end that its own head declared"),
    };
    // A body behind the answer to a HEAD breaks RFC 9110 §9.3.2, but clients know it and throw it away.
    let after_head = behind
        .and_then(|exchange| exchange.request.as_ref())
        .and_then(request_head)
        .is_some_and(|head| head.method == Method::Head);
    let mut weighed = Weighed::of(Strength::Fits, Party::ServerProgram, verdict).harmless(after_head && unasked.is_none());
    if let Some(behind) = behind {
        weighed = weighed.and(proof::request(story, behind)).and(proof::response(story, behind));
    }
    if let Some(first) = first {
        weighed = weighed.because(first.at, "bytes of the server with no request outstanding");
    }
    Some(weighed.and(proof::ending(story, None)))
}

/// An ACK is cumulative: what it does not cover, its sender had not received when it sent this.
fn before_its_request(story: &Story<'_>, early: Early) -> Weighed {
    let verdict = format!(
        "an answer left the server before its kernel had received the request that it stands for: it had {} of the {} bytes up to the end of \
         that request's head",
        early.acked, early.head_end
    );
    let exchange = story.connection.app.exchanges.iter().find(|exchange| exchange.index == early.index);
    let request = exchange.map(|exchange| proof::request(story, exchange)).unwrap_or_default();
    // It was not that request's; whose it was is another question.
    Weighed::of(Strength::Fits, Party::ServerProgram, verdict)
        .and(request)
        .because(early.at, format!("the answer's first byte; this segment acknowledges {} bytes of the client's", early.acked))
        .and(proof::ending(story, None))
}
