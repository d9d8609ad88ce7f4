use std::time::Duration;

use crate::heard::{self, OTHER_END};
use crate::testimony::Side;
use crate::causes::{proof, reuse};
use crate::story::Story;
use crate::{Came, Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "keepalive-race-unannounced-close",
    title: "A request crossed the server's close of an idle connection",
    manual: include_str!("keepalive_race_unannounced_close.md"),
    clauses: &["RFC 9112 §9.5", "RFC 9112 §9.3.1", "RFC 9110 §9.2.2"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reuse = reuse::find(story)?;
    if reuse.announced.is_some() {
        return None;
    }
    let mut strength = Strength::Fits;
    if reuse.had_arrived {
        // A kernel that closes over what nobody read sends a reset. The program may have read it and given up, or a server that closes in
        // stages may have thrown it away: a timer that ran out at that moment does not tell the one from the other.
        if reuse.waited > story.round_trip() * 2 + Duration::from_millis(100) {
            return None;
        }
        strength = Strength::Possible;
    } else if reuse.fin.is_none() {
        // Between turns of an unknown protocol without a pause nothing speaks of a timer.
        if !story.understood(reuse.exchange) && reuse.idle < Duration::from_millis(400) && !reuse.by_a_timer(story) {
            return None;
        }
        // Only an active reset: the server may as well have aborted because of this very request. A timer that fires just
        // then shows by its length.
        if reuse.waited > story.round_trip() * 2 + Duration::from_millis(250) {
            strength = Strength::Possible;
        }
        if !reuse.by_a_timer(story) && reuse.idle < Duration::from_millis(400) {
            strength = Strength::Possible;
        }
    }
    if reuse.fin_had_arrived {
        strength = Strength::Possible;
    }
    if reuse.exchange.index == 1 && reuse.closed_right_after_answer() && story.around.closed_after_answer >= 2 {
        strength = Strength::Possible;
    }
    let verdict = format!(
        "the server closed the connection after {} idle while the client was sending the next request; {}",
        proof::time(reuse.closed_after),
        reuse.meeting()
    );
    Some(Weighed::of(strength, Party::Operator, verdict).and(reuse.proof(story)))
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    if hearing.cut_off_client().is_some_and(|by| by.received > Some(0) && by.since_sent <= by.since_received) {
        return Some(
            Weighed::of(Strength::Possible, Party::Operator, "the request may have met the server's close of an idle connection")
                .and(heard::proof(hearing))
                .settled_by(OTHER_END),
        );
    }
    if hearing.death().is_some() || hearing.announced() == Some(true) || hearing.request_rest().is_some_and(|rest| rest > 0) {
        return None;
    }
    if let Some((by, true)) = hearing.answer_to_the_unseen() {
        let text = "the next request may have reached a socket that the server had closed";
        return (by.side != Some(Side::Client)).then(|| {
            Weighed::of(Strength::Possible, Party::Operator, text)
                .and(heard::proof(hearing))
                .settled_by(heard::WITH_SEGMENT)
        });
    }
    let (strength, verdict) = unread_race(hearing).or_else(|| late_race(hearing))?;
    Some(
        Weighed::of(strength, Party::Operator, verdict)
            .and(heard::proof(hearing))
            .settled_by(heard::WITH_HEADS),
    )
}

/// A request that lay unread when the server closed.
fn unread_race(hearing: &Hearing) -> Option<(Strength, String)> {
    let unread = hearing.closed_unread().filter(|unread| unread.side == Side::Server)?;
    if unread.by.linger == Some(Some(Duration::ZERO)) {
        return None;
    }
    if unread.may_have_met_a_close() {
        let open = unread.by.since_sent.map(|open| format!(" after {}", proof::time(open)));
        let verdict = format!(
            "the server closed the unused connection{} while its first request ({} bytes) lay unread",
            open.unwrap_or_default(),
            unread.bytes
        );
        return Some((Strength::Fits, verdict));
    }
    if unread.read == 0 {
        return None;
    }
    let idle = match unread.came {
        Came::After(idle) => idle,
        Came::CannotTell => Duration::ZERO,
        Came::NothingSent | Came::Before => return None,
    };
    let known = hearing.request_rest() == Some(0);
    let strength = if unread.waited() || unread.is_too_short_for_a_request() || unread.may_be_a_good_bye() && !known {
        Strength::Possible
    } else if known || unread.is_one_segment() || unread.repeats() {
        Strength::Fits
    } else {
        Strength::Possible
    };
    let when = match unread.came {
        Came::After(_) => format!("{} after the last answer", proof::time(idle)),
        _ => "right after the last answer".to_owned(),
    };
    let verdict = format!("the server closed while the next request ({} bytes, {when}) lay unread", unread.bytes);
    Some((strength, verdict))
}

/// A request that reached the closed socket.
fn late_race(hearing: &Hearing) -> Option<(Strength, String)> {
    let late = hearing.late().filter(|late| late.side == Side::Server && late.trigger.len > 0)?;
    if late.closed.sent == 0 && !late.closed_idle() {
        return None;
    }
    let idle = late.closed.since_sent;
    let too_short = late.is_too_short_for_a_request() && !late.closed_idle();
    let strength = if too_short || late.may_be_a_good_bye() || late.closed_idle() && late.fin_had_arrived {
        Strength::Possible
    } else {
        Strength::Fits
    };
    let after = proof::time(late.after());
    let verdict = if late.closed_idle() {
        let idle = proof::time(idle);
        format!("the server closed the connection after {idle} idle; the next request reached the closed socket {after} later")
    } else {
        format!("the server closed the connection after its answer; the next request reached the closed socket {after} later")
    };
    Some((strength, verdict))
}
