use std::time::Duration;

use bypeer_wire::Direction;
use bypeer_wire::app::Exchange;

use crate::heard::{self, OTHER_END};
use crate::testimony::{ResetPath, Side};
use crate::causes::{proof, reuse};
use crate::story::{Stand, Story, has_body};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "so-linger-zero",
    title: "A program aborted the connection on purpose",
    manual: include_str!("so_linger_zero.md"),
    clauses: &["RFC 9293 §3.10.5", "RFC 9293 §3.6"],
    weigh,
    hear,
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
            let chosen = whole && exchange.index == 0 && story.around.answered > 0 && story.around.ended_together() == 0;
            let timer = reuse::find(story).is_some_and(|reuse| reuse.idle > Duration::from_millis(400));
            // Whoever says 100 has read the head, and nothing came behind it.
            let said_100 = exchange.interim > 0
                && request.head_end.is_some_and(|end| end == arrived)
                && story.around.ended_together() == 0;
            (if chosen && !timer || said_100 { Strength::Fits } else { Strength::Possible }, Some(exchange))
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
    let said_100 = |exchange: &Exchange| exchange.interim > 0 && exchange.response.is_none();
    let verdict = if exchange.is_none() {
        "the server accepted the connection and aborted it before anything was said".to_owned()
    } else if unsent > 0 || matches!(story.stand(), Stand::Answering(_)) {
        "the server aborted the connection in the middle of its answer, with nothing of the request unread".to_owned()
    } else if exchange.is_some_and(said_100) {
        "the server said 100 (Continue), and aborted the connection in place of an answer".to_owned()
    } else {
        "the server aborted the connection after it had received the whole request".to_owned()
    };
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict).and(proof::ending(story, exchange)).settled_by(
            "strace of the server (setsockopt SO_LINGER {1,0} before close), or the kernel's word: reason TCP_STATE and TcpExtTCPAbortOnData",
        ),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    if hearing.cut_off_client().is_some() {
        return Some(
            Weighed::of(Strength::Possible, Party::ServerProgram, "the server may have aborted on purpose")
                .and(heard::proof(hearing))
                .settled_by(OTHER_END),
        );
    }
    if hearing.death().is_some() {
        return None;
    }
    let by = hearing.reset_sent()?;
    let set = by.linger == Some(Some(Duration::ZERO));
    let verdict = match by.path? {
        ResetPath::LingerZero => "closed with SO_LINGER set to 0 seconds: an abort",
        ResetPath::CloseUnread if set => "closed with SO_LINGER set to 0 seconds, with data unread besides: an abort",
        ResetPath::Disconnected => "dissolved the connection by connect() to AF_UNSPEC: an abort",
        ResetPath::Killed => "had its connection destroyed from outside (ss -K, tcp_abort)",
        _ => return None,
    };
    // A client that throws away what owes it nothing does no harm.
    let nothing_owed = by.unread == Some(0) && by.unacked == Some(0) && by.unsent == Some(0);
    let answered = hearing.was_answered(by)
        || by.acked == Some(0) && by.received == Some(0);
    if by.side == Some(Side::Client) && by.path != Some(ResetPath::Killed) && nothing_owed && answered {
        return None;
    }
    // What a client leaves is a cause of its own: that it used SO_LINGER tells how.
    let strength = if by.side == Some(Side::Server) || by.path == Some(ResetPath::Killed) { Strength::Proven } else { Strength::Possible };
    let (party, who) = match (by.side, by.path) {
        (side, Some(ResetPath::Killed)) => (Party::Operator, side.map_or("one end", Side::name)),
        (Some(Side::Client), _) => (Party::ClientProgram, "client"),
        (Some(Side::Server), _) => (Party::ServerProgram, "server"),
        (None, _) => (Party::ServerProgram, "program"),
    };
    Some(Weighed::of(strength, party, format!("the {who} {verdict}")).and(heard::proof(hearing)))
}
