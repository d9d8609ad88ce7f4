use crate::causes::reuse;
use crate::story::Story;
use crate::{Cause, Evidence, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "keepalive-race-announced-close",
    title: "The client reused a connection that the server had said it would close",
    manual: include_str!("keepalive_race_announced_close.md"),
    clauses: &["RFC 9112 §9.6", "RFC 9112 §9.3", "RFC 9110 §7.6.1"],
    weigh,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reuse = reuse::find(story)?;
    let announced = reuse.announced?;
    let verdict = format!("the client sent another request although the close had been announced; {}", reuse.meeting());
    Some(
        Weighed::of(Strength::Proven, Party::ClientProgram, verdict)
            .and([Evidence::packet(announced, "here the close was announced (Connection: close, or HTTP/1.0)")])
            .and(reuse.proof(story)),
    )
}
