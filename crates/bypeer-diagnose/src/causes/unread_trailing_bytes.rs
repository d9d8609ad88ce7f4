use std::time::Duration;

use bypeer_wire::app::{Head, Protocol};

use crate::heard;
use crate::testimony::Side;
use crate::causes::proof;
use crate::story::{Stand, Story};
use crate::{Came, Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "unread-trailing-bytes",
    title: "The server closed with bytes after the request unread",
    manual: include_str!("unread_trailing_bytes.md"),
    clauses: &["RFC 9112 §9.6", "RFC 9112 §2.2", "RFC 9112 §9.3.2", "FastCGI 1.0 §3.3", "RFC 9293 §3.6.1"],
    weigh,
    hear,
};

const SETTLE: &str =
    "strace of the server: its last read returned less than had arrived; TCP_ABORT_ON_CLOSE in tcp:tcp_send_reset";

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.active_reset_by_server()?;
    let arrived = story.arrived_at_reset(reset)?;
    let app = &story.connection.app;
    let exchange = app.exchanges.iter().rev().find(|exchange| exchange.response.is_some())?;
    if matches!(story.stand(), Stand::Unanswered(_) | Stand::AnsweredEarly(_)) {
        return None;
    }
    let request = exchange.request.as_ref()?;
    let weighed = match app.protocol {
        Protocol::Http1 => {
            let end = request.end.filter(|_| request.complete)?;
            let extra = arrived.saturating_sub(end);
            let pipelined = app.exchanges.iter().any(|later| {
                later.index > exchange.index && later.request.as_ref().is_some_and(|later| later.start < arrived)
            });
            if extra == 0 || (app.trailing_request_len == 0 && !pipelined) {
                return None;
            }
            if pipelined {
                let verdict = format!(
                    "the server closed during its answer with {extra} bytes after the request unread: the client had sent its next \
                     request already"
                );
                return Some(
                    Weighed::of(Strength::Fits, Party::ServerProgram, verdict)
                        .and(proof::ending(story, Some(exchange)))
                        .settled_by(SETTLE),
                );
            }
            // Anything but a line break may be a piece of a body: not shown.
            let line_break = app.trailing_request_bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            let verdict = format!(
                "the server read the whole request and closed with {extra} byte{} after it unread{}",
                if extra == 1 { "" } else { "s" },
                if line_break { " (a line break)" } else { "" }
            );
            Weighed::of(Strength::Fits, Party::ClientProgram, verdict)
        }
        Protocol::FastCgi => {
            let Head::FastCgi { keep_connection: false, .. } = request.head else { return None };
            let verdict = "the FastCGI application answered and closed without reading the record that ends the request";
            Weighed::of(Strength::Fits, Party::ServerProgram, verdict)
        }
        _ => return None,
    };
    Some(weighed.and(proof::ending(story, Some(exchange))).settled_by(SETTLE))
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let unread = hearing.closed_unread().filter(|unread| unread.side == Side::Server && unread.wrote > 0)?;
    if hearing.death().is_some() || unread.by.linger == Some(Some(Duration::ZERO)) {
        return None;
    }
    let strength = match hearing.request_rest() {
        Some(0) if unread.bytes <= 2 => Strength::Proven,
        Some(0) if unread.came == Came::Before => Strength::Fits,
        Some(_) => return None,
        // A line end, or the padding of an empty FastCGI record (8 bytes).
        None if matches!(unread.bytes, 1 | 2 | 8) && unread.came != Came::NothingSent => Strength::Fits,
        // As long as the request before it: perhaps the next one, sent before the answer was read.
        None if unread.came == Came::Before && unread.resembles_a_request() => Strength::Fits,
        None => return None,
    };
    let verdict = format!("the server answered and closed with {} bytes after the request unread", unread.bytes);
    Some(Weighed::of(strength, Party::ClientProgram, verdict).and(heard::proof(hearing)).settled_by(SETTLE))
}
