use bypeer_wire::conn::ResetShape;

use crate::heard;
use crate::testimony::State;
use crate::causes::proof;
use crate::story::{Maker, Story};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "closed-port",
    title: "Nobody listens on that port",
    manual: include_str!("closed_port.md"),
    clauses: &["RFC 9293 §3.10.7.1", "RFC 9293 §3.5.2"],
    weigh,
    hear,
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

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let verdict = "the connection was refused: nobody listens on this address and port";
    if let Some((by, trigger)) = hearing.unknown_here() {
        let refused = trigger.syn && !trigger.ack && by.listening != Some(true) && by.state.is_none();
        return refused.then(|| Weighed::of(Strength::Proven, Party::Operator, verdict).and(heard::proof(hearing)));
    }
    if let Some((by, false)) = hearing.answer_to_the_unseen() {
        // Where somebody listens it was no attempt to connect.
        return (by.listening != Some(true)).then(|| {
            Weighed::of(Strength::Possible, Party::Operator, "somebody may have tried to connect where nobody listens")
                .and(heard::proof(hearing))
                .settled_by(heard::WITH_SEGMENT)
        });
    }
    let by = hearing.reset_from_elsewhere().filter(|by| by.state == Some(State::SynSent))?;
    let strength = if by.firewalled { Strength::Possible } else { Strength::Fits };
    Some(Weighed::of(strength, Party::Operator, verdict).and(heard::proof(hearing)).settled_by("ss -ltn on the server"))
}
