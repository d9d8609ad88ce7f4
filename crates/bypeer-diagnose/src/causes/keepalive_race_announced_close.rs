use bypeer_wire::app::Head;

use crate::heard;
use crate::testimony::Side;
use crate::causes::{proof, reuse};
use crate::story::Story;
use crate::{Came, Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "keepalive-race-announced-close",
    title: "The client sent another request after an announced close",
    manual: include_str!("keepalive_race_announced_close.md"),
    clauses: &["RFC 9112 §9.6", "RFC 9112 §9.3", "RFC 9110 §7.6.1"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let (exchange, announced) = reuse::announced(story)?;
    // The server must have kept its word; a client that left by itself before that is another matter.
    let closed = story.server_fin().is_some() || story.active_reset_by_server().is_some();
    let request = exchange.request.as_ref()?;
    if !closed {
        return None;
    }
    let how = if request.begun.number < announced.number {
        "the client had sent another request before the answer that announced the close; it was never looked at"
    } else {
        "the client sent another request although the close had been announced"
    };
    // What was not captured may be anything.
    let seen = !matches!(request.head, Head::Partial);
    let strength = if seen { Strength::Proven } else { Strength::Fits };
    let mut weighed = Weighed::of(strength, Party::ClientProgram, how)
        .because(announced, "here the close is announced (Connection: close, or HTTP/1.0)");
    if let Some(answer) = story.before(exchange).and_then(|before| before.response.as_ref()) {
        weighed = weighed.because(answer.last, "the last answer ends");
    }
    Some(weighed.and(proof::ending(story, Some(exchange))))
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    // Whether the close was announced stands in a head that was not read.
    let perhaps = hearing.late().filter(|late| late.side == Side::Server && late.closed.sent > 0 && late.closed_right_after_speaking());
    if hearing.announced().is_none()
        && hearing.death().is_none()
        && perhaps.is_some_and(|late| late.trigger.len > 0 && !late.is_too_short_for_a_request() && !late.may_be_a_good_bye())
    {
        return Some(
            Weighed::of(
                Strength::Fits,
                Party::ClientProgram,
                "the client may have sent another request although the close had been announced",
            )
            .and(heard::proof(hearing))
            .settled_by("whether the server says Connection: close: a capture shows it"),
        );
    }
    if hearing.death().is_some() || hearing.announced() != Some(true) || hearing.request_rest().is_some_and(|rest| rest > 0) {
        return None;
    }
    let by_server = hearing.closed_unread().is_some_and(|unread| {
        // What came before the last of the answer was sent before its announcement could be read.
        unread.side == Side::Server && unread.wrote > 0 && unread.bytes > 2 && unread.came != Came::Before
    })
        || hearing.late().is_some_and(|late| late.side == Side::Server && late.closed.sent > 0 && late.trigger.len > 2);
    by_server.then(|| {
        Weighed::of(
            Strength::Proven,
            Party::ClientProgram,
            "the client sent another request although the close had been announced",
        )
        .and(heard::proof(hearing))
    })
}
