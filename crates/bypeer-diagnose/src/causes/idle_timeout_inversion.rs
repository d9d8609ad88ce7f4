use crate::heard;
use crate::testimony::Side;
use crate::causes::{proof, reuse};
use crate::story::Story;
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "idle-timeout-inversion",
    title: "The server's idle timeout is shorter than the client's",
    manual: include_str!("idle_timeout_inversion.md"),
    clauses: &["RFC 9112 §9.5", "RFC 9112 §9.3.1", "RFC 9110 §9.2.2", "RFC 9110 §15.6.3"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reuse = reuse::find(story)?;
    if reuse.announced.is_some() || reuse.had_arrived || reuse.closed_right_after_answer() {
        return None;
    }
    let strength = if reuse.fin_had_arrived && !reuse.may_be_a_stop(story) { Strength::Fits } else { Strength::Possible };
    let verdict = format!(
        "the server closes after {} idle; the client reused the connection after {}; {}",
        proof::time(reuse.closed_after),
        proof::time(reuse.idle),
        reuse.meeting()
    );
    Some(Weighed::of(strength, Party::Operator, verdict).and(reuse.proof(story)))
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    if hearing.death().is_some() || hearing.announced() == Some(true) || hearing.request_rest().is_some_and(|rest| rest > 0) {
        return None;
    }
    let late = hearing.late().filter(|late| late.side == Side::Server && late.closed_idle() && late.trigger.len > 0)?;
    if late.may_be_a_good_bye() {
        return None;
    }
    // The client's kernel had acknowledged the FIN: only a client that does not look is caught.
    let strength = if late.fin_had_arrived { Strength::Fits } else { Strength::Possible };
    let after = late.closed.since_sent;
    let timer = if heard::is_a_timer(after) { ", a timer's length" } else { "" };
    Some(
        Weighed::of(
            strength,
            Party::Operator,
            format!(
                "the server closes after {} idle{timer}; the client sent its next request {} after that",
                proof::time(after),
                proof::time(late.after())
            ),
        )
        .and(heard::proof(hearing)),
    )
}
