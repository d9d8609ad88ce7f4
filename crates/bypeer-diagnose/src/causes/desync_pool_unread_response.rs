use crate::causes::{cannot_be_heard, proof, swap};
use crate::misdelivered::astray::{Fate, Reuse, Swap};
use crate::story::Story;
use crate::{Cause, Evidence, Party, Source, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "desync-pool-unread-response",
    title: "A connection was used again while an answer was owed on it",
    manual: include_str!("desync_pool_unread_response.md"),
    clauses: &["RFC 9112 §9.2", "RFC 9112 §9.3.2", "RFC 9112 §9.3"],
    weigh,
    hear: cannot_be_heard,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let astray = &story.around.astray;
    match (&astray.reused, swap::of(story)) {
        (Some(reuse), _) => Some(reused(story, reuse)),
        (None, Some(swap)) => behind(story, swap),
        (None, None) => None,
    }
}

/// The client's own pool.
fn reused(story: &Story<'_>, reuse: &Reuse) -> Weighed {
    let clear = reuse.is_clear();
    let strength = if clear || reuse.may_be_a_slip() { Strength::Fits } else { Strength::Possible };
    let (owed, next) = (&reuse.owed, &reuse.next);
    let late = proof::time(reuse.answer.time.since(next.at.time));
    let gap = proof::time(reuse.gap);
    let way = if reuse.counts_wrong() {
        "as the first behind the new request, and every answer since stands one place off"
    } else if clear {
        "as the first behind the new request, and what came since may stand one place off"
    } else {
        "as the first behind the new request: the client gave up on it and takes it for the other's, or it pipelines, and all is well"
    };
    let verdict = format!(
        "the client sent {} on a connection on which the answer to {} was owed, {gap} after it; that came {late} later, {way}",
        next.route, owed.route
    );
    let ways = Evidence {
        source: Source::Group,
        number: 0,
        time: next.at.time,
        what: format!("this client sent {} requests to this server only when nothing was owed, and none at one go", reuse.alone),
    };
    let waits = Evidence {
        source: Source::Group,
        number: 0,
        time: next.at.time,
        what: format!("it waited {} times for at least {gap} for an answer, and sent nothing meanwhile", reuse.as_long),
    };
    let wrong = Evidence {
        source: Source::Group,
        number: 0,
        time: reuse.answer.time,
        what: format!("{} requests since were sent as soon as an answer had come, with another one owed", reuse.moved_on),
    };
    Weighed::of(strength, Party::ClientProgram, verdict)
        .may_be_no_fault(!clear)
        .because(owed.at, format!("the client asks {}", owed.route))
        .because(next.at, format!("it asks {}, with the answer before still owed", next.route))
        .because(reuse.answer, format!("the answer to {}, behind the request for {}", owed.route, next.route))
        .and(Some(ways).filter(|_| reuse.alone > 1))
        .and(Some(waits).filter(|_| reuse.as_long > 1))
        .and(Some(wrong).filter(|_| reuse.counts_wrong()))
        .and(proof::ending(story, None))
        .settled_by(
            "the client's log at that moment: a call that was cancelled or timed out, and a later one on the same connection; or an id that \
             answers repeat",
        )
}

/// A pool behind the server, which is then the client of another: a request whose client had left, and its answer with the next.
fn behind(story: &Story<'_>, swap: &Swap) -> Option<Weighed> {
    matches!(swap.fate, Fate::ClientLeft(_)).then(|| {
        let how = "that client had left, and what the server had asked for on its behalf was still to come: the next request got it";
        Weighed::of(Strength::Fits, Party::ServerProgram, swap::verdict(story, swap, how))
            .and(swap::proof(story, swap))
            .settled_by(swap::SETTLED)
    })
}
