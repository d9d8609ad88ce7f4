use bypeer_wire::conn::ResetShape;

use crate::causes::proof;
use crate::story::{Maker, Story};
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "closed-port",
    title: "Nobody listens on that port",
    manual: include_str!("closed_port.md"),
    clauses: &["RFC 9293 §3.10.7.1", "RFC 9293 §3.5.2"],
    weigh,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.connection.resets.iter().find(|reset| reset.shape == ResetShape::Refusal)?;
    let syn = story.connection.handshake.syn?;
    let maker = story.maker(reset);
    if maker == Maker::Firewall {
        return None;
    }
    // A listener that answers others just before and just after: somebody refuses this one in its name.
    let listens = story.around.accepted_before.is_some() && story.around.accepted_after.is_some();
    let strength = if maker == Maker::Kernel && !listens {
        Strength::Proven
    } else if listens {
        Strength::Possible
    } else {
        Strength::Fits
    };
    Some(
        Weighed::of(strength, Party::Operator, "the connection was refused: nobody listens on this address and port")
            .because(syn, "the client's SYN")
            .and([proof::reset(story, reset)])
            .settled_by("ss -ltn on the server"),
    )
}
