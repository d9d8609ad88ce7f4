use crate::causes::{cannot_be_heard, proof, swap};
use crate::misdelivered::astray::ShiftSign;
use crate::story::Story;
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "desync-pipeline-off-by-one",
    title: "Answers to pipelined requests came in the wrong order",
    manual: include_str!("desync_pipeline_off_by_one.md"),
    clauses: &["RFC 9112 §9.3.2", "RFC 9112 §9.2", "RFC 9112 §6.3"],
    weigh,
    hear: cannot_be_heard,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let shift = story.around.astray.shifted.as_deref()?;
    // One alone may be an answer that was never seen before.
    let strength = if shift.count >= 2 { Strength::Fits } else { Strength::Possible };
    let (given, due) = (&shift.given, &shift.due);
    let (in_short, shown) = match &shift.sign {
        ShiftSign::Shape(shape) => (
            format!("{} was answered in the form of {}", given.route, due.route),
            format!("at the place of {}: {shape}, the form of {}", given.route, due.route),
        ),
        ShiftSign::Echo { place, of } => {
            let place = swap::named(*place);
            (
                format!("the answer at the place of {} repeats the {place} of {}, and not its own", given.route, due.route),
                format!("an answer that repeats the {place} of the other request; {of} answers to {} repeated their own's", given.route),
            )
        }
    };
    let verdict = format!("{} pipelined requests were given each other's answers: {in_short}", shift.count);
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict)
            .because(given.at, format!("the client asks {}", given.route))
            .because(due.at, format!("the client asks {}", due.route))
            .because(shift.answer, shown)
            .and(proof::ending(story, None))
            .settled_by("an id for each request that its answer repeats, or the same requests one at a time"),
    )
}
