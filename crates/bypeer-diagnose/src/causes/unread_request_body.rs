use std::time::Duration;

use bypeer_wire::app::Head;
use bypeer_wire::conn::Reset;

use crate::heard::{self, OTHER_END, WITH_HEADS, WITH_PROCESS};
use crate::testimony::{Side, Told};
use crate::causes::proof;
use crate::story::{Stand, Story, has_body, response_head};
use crate::{Came, Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "unread-request-body",
    title: "The server closed with request data unread",
    manual: include_str!("unread_request_body.md"),
    clauses: &["RFC 9112 §9.3", "RFC 9112 §9.6", "RFC 9293 §3.6.1", "RFC 1122 §4.2.2.13", "RFC 2525 §2.17"],
    weigh,
    hear,
};

/// The smallest room for a request's head among common servers, bytes: uWSGI's `buffer-size`. gunicorn reads 8192 at a time.
const SMALLEST_BUFFER: u64 = 4096;

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.active_reset_by_server()?;
    if story.response_flow().unanswered_probes > 0 {
        return None;
    }
    let exchange = match story.stand() {
        Stand::Unanswered(exchange) | Stand::Answering(exchange) | Stand::AnsweredEarly(exchange) => exchange,
        // The answer was complete and all of the body was sent: whether it was read is what the reset tells.
        Stand::Idle => story.connection.app.exchanges.newest()?,
    };
    let request = exchange.request.as_ref()?;
    let arrived = story.arrived_at_reset(reset)?;
    // A client that left in the middle of its request waits for no answer.
    if exchange.response.is_none() && !request.complete && story.understood(exchange) && story.client_closed_first().is_some() {
        return None;
    }
    if arrived <= request.start || matches!(request.head, Head::FastCgi { stdin_ended: true, .. }) {
        return None;
    }
    // Whoever says 100 has read the head, and there was no more to read.
    if exchange.interim > 0 && exchange.response.is_none() && request.head_end.is_some_and(|end| arrived <= end) {
        return None;
    }
    let mut strength = Strength::Fits;
    let status = exchange.response.as_ref().and_then(response_head).map(|head| head.status);
    // A server that refuses a head for its size (RFC 6585 §5, RFC 9110 §15.5.15) need not have read all of it.
    let large = request.head_end.is_some_and(|end| end - request.start > SMALLEST_BUFFER);
    let too_large = large && !has_body(request) && (exchange.response.is_none() || matches!(status, Some(400 | 414 | 431)));
    if story.understood(exchange) {
        // A request without a body that was answered had been read; only one that nobody answered can lie unread.
        let more_arrived = request.complete && story.connection.app.trailing_request_len > 0;
        // A server that closes what it has just accepted has read nothing.
        let at_once = exchange.response.is_none()
            && exchange.index == 0
            && reset.at.time.since(request.last.time) <= story.round_trip() * 2 + Duration::from_millis(50);
        let head_unread = exchange.response.is_none() && (story.around.answered == 0 || more_arrived || exchange.index > 0);
        let head_unread = head_unread || at_once || too_large;
        if !has_body(request) && !head_unread && request.head_end.is_some() {
            return None;
        }
        if !has_body(request) && !more_arrived && !at_once && !too_large {
            strength = Strength::Possible;
        }
    } else if story.heads_were_cut() {
        let left = exchange.response.is_none() && story.client_closed_first().is_some();
        if !has_body(request) || left {
            strength = Strength::Possible;
        }
    } else {
        // Without message boundaries: the client must have been in the middle of sending.
        let last = story.request_flow().last_data?;
        let busy = reset.at.time.since(last.time) <= story.round_trip() * 2 + Duration::from_millis(50);
        let cut = story.request_flow().sent > arrived;
        let quick_answer = exchange.response.is_some();
        if !(cut || (busy && quick_answer)) {
            strength = Strength::Possible;
        }
        if story.only_alert_from(bypeer_wire::Direction::ToServer, last_record_start(story)) {
            return None;
        }
    }
    // All was sent and answered, and then nothing for a while: an idle connection was thrown away.
    if matches!(story.stand(), Stand::Idle) && !reset.after_own_fin && quiet_before(story, reset) {
        strength = Strength::Possible;
    }
    if crate::causes::reuse::announced(story).is_some() {
        return None;
    }
    if exchange.response.is_none()
        && (exchange.index > 0 || story.around.ended_together() > 0) {
        strength = Strength::Possible;
    }
    // A server that does not want a request says so soon; one that hangs and is then reset was ended by something else.
    if exchange.response.is_none() && exchange.request_complete() {
        let waited = reset.at.time.since(request.last.time);
        if waited > story.round_trip() * 2 + Duration::from_millis(250) {
            strength = Strength::Possible;
        }
    }
    // More arrived than the request: that is unread for certain, the body perhaps not.
    if exchange.response.is_some() && request.complete && story.connection.app.trailing_request_len > 0 {
        strength = Strength::Possible;
    }
    if status.is_some_and(|status| status >= 400) && !too_large {
        strength = Strength::Possible;
    }
    let verdict = match (&exchange.response, exchange.request_complete()) {
        (None, false) if request.head_end.is_none() && request.seen > request.start && !story.heads_were_cut() => {
            "the server closed before the head of the request was complete"
        }
        (None, _) if too_large => "the server closed without answering while the request, whose head is large, lay unread in its socket",
        (None, _) => "the server closed without answering while the request lay unread in its socket",
        (Some(_), _) if too_large => "the server refused the request, whose head is large, and closed with the rest of it unread",
        (Some(_), true) => "the server answered and closed without reading all of the request body",
        (Some(_), false) => "the server answered and closed while the client was still sending the request body",
    };
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict)
            .and(proof::ending(story, Some(exchange)))
            .settled_by("strace of the server's close (bytes read against bytes received), or the kernel's reason: TCP_ABORT_ON_CLOSE in tcp:tcp_send_reset, TcpExtTCPAbortOnClose in nstat"),
    )
}

/// Neither side had said anything for longer than a close takes to follow an answer.
pub fn quiet_before(story: &Story<'_>, reset: &Reset) -> bool {
    let spoke = [story.request_flow().last_data, story.response_flow().last_data];
    let last = spoke.into_iter().flatten().max_by_key(|at| at.number);
    last.is_some_and(|last| reset.at.time.since(last.time) > story.round_trip() * 2 + Duration::from_millis(250))
}

fn last_record_start(story: &Story<'_>) -> i64 {
    story
        .connection
        .app
        .tls
        .as_ref()
        .and_then(|tls| tls.last_record[0])
        .map_or(i64::MAX, |record| record.start as i64)
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    if hearing.cut_off_client().is_some() {
        return Some(
            Weighed::of(Strength::Possible, Party::ServerProgram, "the server may have closed with the request, or a part of it, unread")
                .and(heard::proof(hearing))
                .settled_by(OTHER_END),
        );
    }
    let unread = hearing.closed_unread().filter(|unread| unread.side == Side::Server)?;
    if hearing.death().is_some() || unread.by.linger == Some(Some(Duration::ZERO)) || hearing.announced() == Some(true) && hearing.request_rest() == Some(0) {
        return None;
    }
    let rest = hearing.request_rest();
    let refused = hearing.status().is_some_and(|status| status >= 400);
    let strength = match (unread.came, rest) {
        // The head says that a body is missing, and as much lies unread.
        (_, Some(rest)) if rest > 0 && unread.wrote > 0 && unread.bytes <= rest && !refused => Strength::Proven,
        (_, Some(rest)) if rest > 0 => Strength::Possible,
        // Another whole request, that nobody came to read.
        (Came::After(_), Some(_)) if unread.waited() => Strength::Fits,
        // The program had read the whole request: what lies there is something else.
        (_, Some(_)) if unread.wrote > 0 => return None,
        (Came::NothingSent, _) if unread.may_have_met_a_close() => Strength::Fits,
        (Came::NothingSent, _) => Strength::Proven,
        (Came::Before, _) if unread.bytes <= 2 => Strength::Possible,
        // Nobody came to read it for so long: it met no close, it was not looked at.
        (Came::After(_), None) if unread.waited() && !unread.may_be_a_good_bye() => Strength::Fits,
        (Came::After(_), _) if unread.may_be_a_good_bye() => Strength::Possible,
        (Came::Before, _) => Strength::Fits,
        (Came::After(_), _) if unread.is_one_segment() => Strength::Possible,
        _ if unread.repeats() => Strength::Possible,
        _ => Strength::Fits,
    };
    // Without the kernel's word that it sent a reset for this, the connection may have been dead before.
    let not_sure = unread.by.told == Told::Destroyed || hearing.may_have_ended();
    let strength = if not_sure { strength.min(Strength::Fits) } else { strength };
    let verdict = match (unread.wrote, unread.read) {
        (0, 0) => format!("the server closed without reading a byte of the {} that it had received", unread.bytes),
        (0, read) => format!("the server closed without an answer after it had read {read} bytes, with {} more unread", unread.bytes),
        (_, read) => format!("the server answered and closed with {} bytes unread, after it had read {read}", unread.bytes),
    };
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict)
            .and(heard::proof(hearing))
            .settled_by(if unread.by.told == Told::Destroyed { WITH_PROCESS } else { WITH_HEADS }),
    )
}
