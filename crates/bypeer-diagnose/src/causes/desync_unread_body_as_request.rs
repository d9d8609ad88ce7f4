use bypeer_wire::app::Exchange;

use crate::causes::{cannot_be_heard, proof};
use crate::story::{Story, has_body, response_head};
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "desync-unread-body-as-request",
    title: "A body that the server had not read was parsed as the next request",
    manual: include_str!("desync_unread_body_as_request.md"),
    clauses: &["RFC 9112 §9.3", "RFC 9112 §9.2", "RFC 9112 §11.2"],
    weigh,
    hear: cannot_be_heard,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    if !story.connection.seen_from_start() || story.heads_were_cut() || story.was_given_anothers_answer() {
        return None;
    }
    if let Some((body, second, status)) = story.second_answer_to_a_body() {
        let verdict = format!(
            "the server answered {} and then, at once, answered again ({status}): it seems to have left the body unread, and taken it for a request",
            proof::request_name(story, body)
        );
        return Some(
            Weighed::of(Strength::Fits, Party::ServerProgram, verdict)
                .and(proof::request(story, body))
                .and(proof::response(story, body))
                .because(second, format!("a second answer ({status}), which no request had asked for"))
                .and(proof::ending(story, None))
                .settled_by(SETTLED),
        );
    }
    let misread = story.around.astray.misread?;
    let kept = |index: u32| story.connection.app.exchanges.iter().find(|exchange| exchange.index == index);
    let refused = kept(misread.index)?;
    let body = kept(misread.index.checked_sub(1)?).filter(|before: &&Exchange| before.request.as_ref().is_some_and(has_body))?;
    // A server may refuse what stands between the two, and a blank line does (RFC 9112, section 2.2, asks for more patience).
    let end = body.request.as_ref()?.end;
    if refused.request.as_ref()?.start != end? {
        return None;
    }
    // What parses no request cannot go on; a program that refuses what it has understood can.
    let closes = refused.response.as_ref().and_then(response_head).is_some_and(|head| head.connection.closes());
    let strength = if closes && misread.usual >= USUAL { Strength::Fits } else { Strength::Possible };
    let verdict = format!(
        "the server refused a sound request ({}), which it answers well elsewhere, behind the body of {}: it seems to have read what was left of \
         that body as the request's beginning",
        misread.status,
        proof::request_name(story, body)
    );
    Some(
        Weighed::of(strength, Party::ServerProgram, verdict)
            .and(proof::request(story, body))
            .and(proof::response(story, body))
            .and(proof::request(story, refused))
            .because(misread.at, format!("the server refuses it ({}) and closes", misread.status))
            .settled_by(SETTLED),
    )
}

/// Requests of the same kind that were answered well, before a refusal is strange.
const USUAL: u32 = 3;

const SETTLED: &str = "the body of that refusal, or the server's log: it names the line that it took for a request; then the same two requests on two \
     connections";
