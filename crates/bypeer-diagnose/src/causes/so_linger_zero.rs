use std::time::Duration;

use bypeer_wire::Direction;

use crate::causes::{proof, reuse};
use crate::story::{Stand, Story, has_body};
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "so-linger-zero",
    title: "A program aborted the connection on purpose",
    manual: include_str!("so_linger_zero.md"),
    clauses: &["RFC 9293 §3.10.5", "RFC 9293 §3.6"],
    weigh,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.active_reset_by_server()?;
    if story.response_flow().unanswered_probes > 0 || reset.after_own_fin {
        return None;
    }
    let sent = story.request_flow().sent;
    let arrived = story.arrived_at_reset(reset)?;
    if arrived < sent {
        return None;
    }
    let (strength, exchange) = match story.stand() {
        // The server was answering a request without a body: it had read all there was.
        Stand::Answering(exchange) => {
            let read_all = story.everything_was_read(exchange, arrived);
            (if read_all { Strength::Fits } else { Strength::Possible }, Some(exchange))
        }
        Stand::Unanswered(exchange) => {
            let request = exchange.request.as_ref()?;
            let whole = request.end.is_some_and(|end| end == arrived) && !has_body(request);
            // A server that answers others and aborts this one had read it; the same abort could leave it unread. On a kept
            // connection it may as well have come too late to be read.
            let chosen = whole && exchange.index == 0 && story.around.answered > 0 && story.around.died_together_unprompted == 0;
            let timer = reuse::find(story).is_some_and(|reuse| reuse.idle > Duration::from_millis(400));
            (if chosen && !timer { Strength::Fits } else { Strength::Possible }, Some(exchange))
        }
        Stand::AnsweredEarly(exchange) => (Strength::Possible, Some(exchange)),
        Stand::Idle => match story.connection.app.exchanges.newest() {
            None if sent == 0 => (
                if story.around.refused_after.is_some() || story.around.died_together > 0 {
                    Strength::Possible
                } else {
                    Strength::Fits
                },
                None,
            ),
            None => (Strength::Possible, None),
            Some(exchange) => {
                let answer = exchange.response.as_ref()?;
                let read_all = story.everything_was_read(exchange, arrived);
                let soon = reset.at.time.since(answer.last.time) < Duration::from_secs(1);
                (if read_all && soon { Strength::Fits } else { Strength::Possible }, Some(exchange))
            }
        },
    };
    // What came before the capture began may lie unread.
    let strength = if story.connection.seen_from_start() { strength } else { Strength::Possible };
    let unsent = story.connection.flow(Direction::ToClient).unacked();
    let verdict = if exchange.is_none() {
        "the server accepted the connection and aborted it before anything was said".to_owned()
    } else if unsent > 0 || matches!(story.stand(), Stand::Answering(_)) {
        "the server aborted the connection in the middle of its answer, with nothing of the request unread".to_owned()
    } else {
        "the server aborted the connection after it had received the whole request".to_owned()
    };
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict).and(proof::ending(story, exchange)).settled_by(
            "strace of the server (setsockopt SO_LINGER {1,0} before close), or the kernel's word: reason TCP_STATE and TcpExtTCPAbortOnData",
        ),
    )
}
