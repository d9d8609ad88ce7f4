use crate::causes::cannot_be_heard;
use crate::causes::reuse;
use crate::story::Story;
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "proxy-max-requests",
    title: "The connection or worker had used up its budget",
    manual: include_str!("proxy_max_requests.md"),
    clauses: &["RFC 9112 §9.6", "RFC 9112 §9.3.1", "RFC 9113 §6.8"],
    weigh,
    hear: cannot_be_heard,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reuse = reuse::find(story)?;
    if reuse.announced.is_some() || reuse.had_arrived || !reuse.closed_right_after_answer() || reuse.exchange.index < 2 {
        return None;
    }
    let (limit, count) = story.around.request_limit?;
    if limit != reuse.exchange.index {
        return None;
    }
    let verdict = format!(
        "the server closed after {limit} requests, as on {count} connections, without announcing it; {}",
        reuse.meeting()
    );
    Some(Weighed::of(Strength::Fits, Party::Operator, verdict).and(reuse.proof(story)))
}
