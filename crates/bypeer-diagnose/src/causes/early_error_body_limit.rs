use std::time::Duration;

use crate::heard;
use crate::testimony::Side;
use crate::causes::proof;
use crate::causes::unread_request_body::quiet_before;
use crate::story::{Stand, Story, has_body, response_head};
use crate::{Came, Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "early-error-body-limit",
    title: "The server refused the upload early and closed under it",
    manual: include_str!("early_error_body_limit.md"),
    clauses: &["RFC 9110 §15.5.14", "RFC 9112 §9.5", "RFC 9112 §9.6", "RFC 9110 §10.1.1"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.active_reset_by_server()?;
    let arrived = story.arrived_at_reset(reset)?;
    let exchange = story
        .connection
        .app
        .exchanges
        .iter()
        .rev()
        .find(|exchange| exchange.response.is_some() && exchange.request.is_some())?;
    let (request, response) = (exchange.request.as_ref()?, exchange.response.as_ref()?);
    let status = response_head(response)?.status;
    // A head that never ended is refused like a body: 431, 414, 400.
    let endless_head = request.head_end.is_none() && request.seen.saturating_sub(request.start) > 4096;
    if status < 400 || !(has_body(request) || endless_head) || arrived <= request.start {
        return None;
    }
    // The answer to a later request on the same connection is another matter.
    if story.connection.app.exchanges.newest()?.index > exchange.index + 1 {
        return None;
    }
    let idle = matches!(story.stand(), Stand::Idle) && !reset.after_own_fin && quiet_before(story, reset);
    let strength = if idle { Strength::Possible } else { Strength::Fits };
    let verdict = if exchange.request_complete() {
        format!("the server refused the request ({status}) and closed without reading its body")
    } else {
        format!("the server refused the request ({status}) and closed while the client was still sending its body")
    };
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict)
            .and(proof::ending(story, Some(exchange)))
            .settled_by("strace of the server's close, or TCP_ABORT_ON_CLOSE in tcp:tcp_send_reset"),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let unread = hearing.closed_unread().filter(|unread| unread.side == Side::Server && unread.wrote > 0)?;
    if hearing.death().is_some() || unread.by.linger == Some(Some(Duration::ZERO)) {
        return None;
    }
    let strength = match (hearing.status(), hearing.request_rest()) {
        (Some(status), rest) if status >= 400 => match rest {
            Some(rest) if rest > 0 && unread.bytes <= rest => Strength::Proven,
            Some(0) => return None,
            _ => Strength::Fits,
        },
        (Some(_), _) => return None,
        // An upload that went on after the answer: more than one segment of it, and the last just now.
        (None, _) if matches!(unread.came, Came::After(_) | Came::CannotTell) && !unread.is_one_segment() => Strength::Fits,
        (None, _) => return None,
    };
    let status = hearing.status().map_or_else(String::new, |status| format!(" ({status})"));
    Some(
        Weighed::of(
            strength,
            Party::ServerProgram,
            format!("the server answered{status} while the client was still sending, and closed with {} bytes of it unread", unread.bytes),
        )
        .and(heard::proof(hearing))
        .settled_by("the status of the answer: `bypeer watch --payload` reads the heads"),
    )
}
