use std::time::Duration;

use crate::causes::swap;
use crate::heard;
use crate::misdelivered::astray::{Fate, Sign, Swap};
use crate::story::Story;
use crate::testimony::Told;
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "desync-fd-reuse-double-close",
    title: "A descriptor's number was closed and given away under a request in work",
    manual: include_str!("desync_fd_reuse_double_close.md"),
    clauses: &["RFC 9112 §9.2", "RFC 9112 §9.3.2"],
    weigh,
    hear,
};

/// The receiver's own answer would have come by then, behind the wrong one: with one descriptor for two connections both are
/// written to it.
const IN_TIME: Duration = Duration::from_secs(1);

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let swap = swap::of(story)?;
    let strength = strength(swap)?;
    let how = match swap.fate {
        Fate::ClosedInHand(_) => "the server closed that connection with the request in hand, and a later one was given its number",
        Fate::ClientLeft(_) => "that client had left, its connection was closed, and a later one was given its number",
        Fate::GivenAnothers { .. } => "that one had been given a third one's: a number went from connection to connection",
        _ if swap.own_followed.is_some() => "both answers went to one descriptor, and something else held the other connection open",
        _ => "the server took one connection for the other; the first stayed open, and was never answered",
    };
    Some(
        Weighed::of(strength, Party::ServerProgram, swap::verdict(story, swap, how))
            .and(swap::proof(story, swap))
            .settled_by(swap::SETTLED),
    )
}

fn strength(swap: &Swap) -> Option<Strength> {
    // The number is free only once the connection is closed: who was accepted before has another.
    let opened_after = |closed| swap.receiver_opened.is_none_or(|opened| opened > closed);
    match (&swap.sign, swap.fate) {
        (Sign::Calls, _) => Some(Strength::Proven),
        (_, Fate::Exchanged(_)) => None,
        (_, Fate::GivenAnothers { closed_in_hand: true, .. }) => Some(Strength::Fits),
        (_, Fate::GivenAnothers { .. }) => Some(Strength::Possible),
        (_, Fate::ClosedInHand(_)) => (!swap.receiver_was_served).then_some(Strength::Fits),
        (_, Fate::ClientLeft(at)) => (!swap.receiver_was_served && opened_after(at.time)).then_some(Strength::Fits),
        // A process that holds a copy of the socket keeps the client waiting; then the connection's own answer follows the wrong one.
        (_, Fate::Silent) if swap.own_followed.is_some() => Some(Strength::Fits),
        (_, Fate::Silent) if !opened_after(swap.due.at.time) => None,
        (_, Fate::Silent) if swap.own_could_follow.is_some_and(|open| open > IN_TIME) => Some(Strength::Possible),
        (_, Fate::Silent) => Some(Strength::Fits),
    }
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    match hearing.deciding.told {
        Told::Swapped => Some(
            Weighed::of(
                Strength::Proven,
                Party::ServerProgram,
                "the server wrote an answer to another connection than the one that it had read the request from: the descriptor's number \
                 had been closed and given away in between",
            )
            .and(heard::proof(hearing)),
        ),
        Told::Retaken => {
            let before = hearing.deciding.predecessor.as_ref()?;
            let how = if before.closed_as_a_file() { "as if it were a file, " } else { "" };
            let verdict = format!(
                "descriptor {} was closed, {how}by another thread than the one that had read a request of {} there, before a byte of an \
                 answer; that thread now reads this connection under the same number, and would write the other's answer to it",
                before.descriptor, before.remote,
            );
            Some(
                Weighed::of(Strength::Fits, Party::ServerProgram, verdict)
                    .and(heard::proof(hearing))
                    .settled_by(heard::WHOSE_NUMBER),
            )
        }
        _ => None,
    }
}
