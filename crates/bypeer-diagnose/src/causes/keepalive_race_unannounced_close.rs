use std::time::Duration;

use crate::causes::{proof, reuse};
use crate::story::Story;
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "keepalive-race-unannounced-close",
    title: "A request crossed the server's close of an idle connection",
    manual: include_str!("keepalive_race_unannounced_close.md"),
    clauses: &["RFC 9112 §9.5", "RFC 9112 §9.3.1", "RFC 9110 §9.2.2"],
    weigh,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reuse = reuse::find(story)?;
    if reuse.announced.is_some() {
        return None;
    }
    let mut strength = Strength::Fits;
    if reuse.had_arrived {
        // The program may have read it and given up; only a timer that ran out at that moment speaks for a race.
        if reuse.waited > story.round_trip() * 2 + Duration::from_millis(100) {
            return None;
        }
        if !reuse.by_a_timer(story) {
            strength = Strength::Possible;
        }
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
