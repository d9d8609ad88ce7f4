use crate::causes::{cannot_be_heard, swap};
use crate::misdelivered::astray::{Fate, Sign, Swap};
use crate::story::Story;
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "desync-shared-state",
    title: "Two connections shared what belongs to one: a parser, a response, a table of who waits",
    manual: include_str!("desync_shared_state.md"),
    clauses: &["RFC 9112 §9.2", "RFC 9112 §9.3.2"],
    weigh,
    hear: cannot_be_heard,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let swap = swap::of(story)?;
    let strength = strength(swap)?;
    let how = match swap.fate {
        Fate::Silent => "the server took one connection for the other; the first stayed open, and was never answered",
        Fate::Exchanged(_) => "the program took each connection for the other",
        _ => "the program took one connection for the other",
    };
    Some(
        Weighed::of(strength, Party::ServerProgram, swap::verdict(story, swap, how))
            .and(swap::proof(story, swap))
            .settled_by(swap::SETTLED),
    )
}

fn strength(swap: &Swap) -> Option<Strength> {
    match (&swap.sign, swap.fate) {
        (Sign::Surplus | Sign::Calls, _) => None,
        (_, Fate::Exchanged(_) | Fate::ClientLeft(_)) => Some(Strength::Fits),
        // Both answers on one connection: the program wrote each where it had read its request.
        (_, Fate::Silent) => swap.own_followed.is_none().then_some(Strength::Fits),
        (_, Fate::ClosedInHand(_)) if swap.receiver_was_served => Some(Strength::Fits),
        (_, Fate::ClosedInHand(_)) => Some(Strength::Possible),
    }
}
