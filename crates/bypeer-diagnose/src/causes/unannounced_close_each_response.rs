use crate::heard;
use crate::causes::reuse;
use crate::story::Story;
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "unannounced-close-each-response",
    title: "The server closes after each response without saying so",
    manual: include_str!("unannounced_close_each_response.md"),
    clauses: &["RFC 9112 §9.3"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reuse = reuse::find(story)?;
    if reuse.announced.is_some() || reuse.had_arrived || !reuse.closed_right_after_answer() || reuse.exchange.index != 1 || !story.understood(reuse.exchange) {
        return None;
    }
    let around = story.around;
    // This connection is one of those that closed after an answer only when its FIN was seen first; count it in any case.
    let always = around.closed_after_answer >= 2 && around.closed_after_answer * 10 >= around.could_close_after_answer * 7;
    let strength = if always { Strength::Fits } else { Strength::Possible };
    let verdict = format!(
        "the server closed right after its answer, without Connection: close, as it did on {} of {} connections; {}",
        around.closed_after_answer,
        around.could_close_after_answer,
        reuse.meeting()
    );
    Some(Weighed::of(strength, Party::ServerProgram, verdict).and(reuse.proof(story)))
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    if hearing.death().is_some() || hearing.announced() == Some(true) || hearing.request_rest().is_some_and(|rest| rest > 0) {
        return None;
    }
    // One socket does not tell a habit from an accident: it never says more than that it may be one.
    (hearing.server_closed_right_after_its_answer() == Some(true)).then(|| {
        Weighed::of(
            Strength::Fits,
            Party::ServerProgram,
            "the server closed right after its answer, and the next request met the close",
        )
        .and(heard::proof(hearing))
        .settled_by("whether the server does so after every answer, and says Connection: close: `bypeer watch --payload`, or a capture")
    })
}
