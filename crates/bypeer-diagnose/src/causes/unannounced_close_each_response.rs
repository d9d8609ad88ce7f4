use crate::causes::reuse;
use crate::story::Story;
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "unannounced-close-each-response",
    title: "The server closes after each response without saying so",
    manual: include_str!("unannounced_close_each_response.md"),
    clauses: &["RFC 9112 §9.3"],
    weigh,
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
