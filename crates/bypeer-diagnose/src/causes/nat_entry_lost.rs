use crate::causes::{cannot_be_heard, proof};
use crate::story::Story;
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "nat-entry-lost",
    title: "A translator forgot the connection: the answer came from an address that nobody had asked",
    manual: include_str!("nat_entry_lost.md"),
    clauses: &["RFC 5382 REQ-5", "RFC 9293 §3.5.2"],
    weigh,
    hear: cannot_be_heard,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let elsewhere = story.around.astray.elsewhere.as_deref()?;
    let (known, foreign) = (elsewhere.known, elsewhere.foreign);
    let waited = story.connection.app.exchanges.newest().and_then(|newest| newest.request.as_ref());
    let waited = waited.map(|request| elsewhere.answer.time.since(request.last.time)).unwrap_or_default();
    let verdict = format!(
        "the answer left from an address that the client had not asked, {} after the request; the client's kernel refused it, and from where it \
         had asked it got none",
        proof::time(waited)
    );
    Some(
        Weighed::of(Strength::Proven, Party::Between, verdict)
            .and(proof::ending(story, story.unfinished()))
            .because(
                elsewhere.answer,
                format!("stream {}: {} bytes from {} to the port from which the client had asked {}", foreign.0, elsewhere.bytes, foreign.1, known.1),
            )
            .because(elsewhere.refused, format!("stream {}: the client's kernel refuses them: it knows no such connection", foreign.0)),
    )
}
