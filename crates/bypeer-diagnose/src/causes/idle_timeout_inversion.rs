use crate::causes::{proof, reuse};
use crate::story::Story;
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "idle-timeout-inversion",
    title: "The server's idle timeout is shorter than the client's",
    manual: include_str!("idle_timeout_inversion.md"),
    clauses: &["RFC 9112 §9.5", "RFC 9112 §9.3.1", "RFC 9110 §9.2.2", "RFC 9110 §15.6.3"],
    weigh,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reuse = reuse::find(story)?;
    if reuse.announced.is_some() || reuse.had_arrived || reuse.closed_right_after_answer() {
        return None;
    }
    let strength = if reuse.fin_had_arrived { Strength::Fits } else { Strength::Possible };
    let verdict = format!(
        "the server closes after {} idle; the client reused the connection after {}; {}",
        proof::time(reuse.closed_after),
        proof::time(reuse.idle),
        reuse.meeting()
    );
    Some(Weighed::of(strength, Party::Operator, verdict).and(reuse.proof(story)))
}
