use bypeer_wire::Direction;
use bypeer_wire::conn::{Marks, ResetShape};

use crate::heard;
use crate::testimony::{Side, Testimony};
use crate::causes::proof;
use crate::story::Story;
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "keepalive-timeout",
    title: "Keep-alive probes stayed unanswered",
    manual: include_str!("keepalive_timeout.md"),
    clauses: &["RFC 9293 §3.8.4"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let connection = story.connection;
    let reset = story.reset().filter(|reset| matches!(reset.shape, ResetShape::Active | ResetShape::Other))?;
    let flow = connection.flow(reset.direction);
    if flow.unanswered_probes == 0 {
        return None;
    }
    let side = proof::side(reset.direction);
    let mut weighed = Weighed::of(
        Strength::Proven,
        Party::Between,
        format!(
            "the {side}'s kernel sent {} keep-alive probes, none was answered, and it reset the connection",
            flow.unanswered_probes
        ),
    );
    if let Some(heard) = connection.flow(reset.direction.reverse()).last_packet {
        weighed = weighed.because(heard, format!("the last sign of life of the {}", proof::side(reset.direction.reverse())));
    }
    for probe in connection.timeline.iter().filter(|note| {
        note.direction == reset.direction && note.marks.has(Marks::KEEP_ALIVE) && note.at.number < reset.at.number
    }) {
        weighed = weighed.because(probe.at, format!("keep-alive probe of the {side}"));
    }
    let other = if reset.direction == Direction::ToClient { "client" } else { "server" };
    Some(
        weighed
            .and([proof::reset(story, reset)])
            .settled_by(format!("a capture on the {other}'s side: did the probes arrive, did answers leave?")),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let told = |by: &&Testimony| by.reason.as_deref() == Some("TCP_KEEPALIVE_TIMEOUT");
    let by = match hearing.reset_sent().filter(told) {
        Some(by) => by,
        // Kernels before 6.12 give no reason.
        None => hearing.gave_up().filter(|by| by.probes_ran_out())?,
    };
    let told = told(&by);
    let side = by.side.map_or("this", Side::name);
    Some(
        Weighed::of(
            if told { Strength::Proven } else { Strength::Fits },
            Party::Between,
            format!("the {side}'s kernel sent keep-alive probes, none was answered, and it reset the connection"),
        )
        .and(heard::proof(hearing)),
    )
}
