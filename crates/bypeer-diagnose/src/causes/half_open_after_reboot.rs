use bypeer_wire::Direction;
use bypeer_wire::conn::{Marks, ResetShape};

use crate::heard::{self, OTHER_END};
use crate::testimony::{Side, State};
use crate::causes::proof;
use crate::story::{Maker, Stand, Story};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "half-open-after-reboot",
    title: "The peer no longer knew the connection",
    manual: include_str!("half_open_after_reboot.md"),
    clauses: &["RFC 9293 §3.5.1", "RFC 9293 §3.5.2", "RFC 9293 §3.10.7.2", "RFC 9293 §3.8.4"],
    weigh,
    hear,
};

/// A host that spoke within this was neither started again, nor has another one its address.
const JUST_NOW: std::time::Duration = std::time::Duration::from_millis(100);

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let connection = story.connection;
    let reset = story.reset().filter(|reset| reset.shape == ResetShape::Passive)?;
    let flow = connection.flow(reset.direction);
    let maker = story.maker(reset);
    if reset.after_own_fin || flow.fin.is_some() || maker == Maker::Firewall || reset.sender_went_on.is_some() {
        return None;
    }
    // It had tried in vain before, and stopped: it gave the connection up.
    if story.gave_up_before(reset).is_some() {
        return None;
    }
    // A FIN that the capture missed: the other side acknowledged one more than this side's data.
    if flow.acked > flow.sent || flow.sent > 0 && reset.seq == flow.sent as i64 + 1 {
        return None;
    }
    // It must have known the connection once: it answered, or acknowledged something.
    // Picked up with nothing of this side before: it may have closed then, or never have known it.
    let unheard = !connection.seen_from_start() && flow.last_packet.is_none();
    let known = flow.sent > 0 || connection.flow(reset.direction.reverse()).acked > 0 || !connection.seen_from_start();
    if !known || reset.ttl_differs(flow) {
        return None;
    }
    let trigger = reset.trigger.as_ref()?;
    let silence = flow.last_packet.map(|last| trigger.at.time.since(last.time)).unwrap_or_default();
    let outage = connection.flow(reset.direction.reverse()).unanswered_retransmissions > 0
        || connection.flow(reset.direction.reverse()).unanswered_probes > 0;
    // The FIN of a socket that is closed in the middle of its answer can still be queued: then this is late data.
    let mid_answer = matches!(story.stand(), Stand::Answering(_) | Stand::AnsweredEarly(_)) || flow.unacked() > 0
        || story.heads_were_cut();
    let busy = mid_answer && silence < story.round_trip() * 4 + std::time::Duration::from_millis(300);
    let strength = match (outage, busy, maker) {
        _ if unheard => Strength::Possible,
        // Who repeated itself a moment ago had forgotten nothing.
        _ if silence < JUST_NOW && repeated_itself(story, reset.direction, trigger.at.number) => Strength::Possible,
        (true, _, _) => Strength::Fits,
        // A client may have left as well, or somebody have told it that the server had.
        (false, true, _) if reset.direction == Direction::ToServer && matches!(story.stand(), Stand::Answering(_)) => {
            Strength::Possible
        }
        (false, true, _) => return None,
        (false, false, Maker::Kernel) => Strength::Fits,
        // It fell silent in the middle of its answer: no rule does that, an outage does.
        (false, false, _) if mid_answer && !story.heads_were_cut() => Strength::Fits,
        // The same port took a new connection soon after: no rule refuses it.
        (false, false, _) if story.around.accepted_after.is_some() => Strength::Fits,
        (false, false, _) => Strength::Possible,
    };
    let side = proof::side(reset.direction);
    Some(
        Weighed::of(
            strength,
            if reset.direction == Direction::ToClient { Party::ServerKernel } else { Party::ClientKernel },
            format!(
                "the {side}'s host answered with a bare RST after {} of silence: it had forgotten the connection (restart, failover, address moved)",
                proof::time(silence)
            ),
        )
        .and(proof::ending(story, story.unfinished()))
        .settled_by(format!("uptime of the {side}'s host and container; a capture on its side")),
    )
}

/// The last that this side sent before this packet was something that it had sent before.
fn repeated_itself(story: &Story<'_>, side: Direction, before: u64) -> bool {
    let mut own = story.connection.timeline.iter().rev().filter(|note| note.direction == side && note.at.number < before);
    own.next().is_some_and(|note| note.marks.has(Marks::RETRANSMISSION))
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    if hearing.cut_off_client().is_some_and(|by| by.since_sent <= by.since_received) {
        return Some(
            Weighed::of(Strength::Possible, Party::ServerKernel, "the server's host may have forgotten the connection")
                .and(heard::proof(hearing))
                .settled_by(OTHER_END),
        );
    }
    if let Some((_, false)) = hearing.answer_to_the_unseen() {
        return Some(
            Weighed::of(Strength::Possible, Party::Operator, "it may have been a segment of a connection that this kernel does not know any more")
                .and(heard::proof(hearing))
                .settled_by(heard::WITH_SEGMENT),
        );
    }
    let (by, trigger) = hearing.unknown_here().filter(|(_, trigger)| !trigger.syn)?;
    let no_socket = by.state.is_none() || by.state == Some(State::Listen) && by.reason.as_deref() != Some("INVALID_SYN");
    if !no_socket || by.overflowed {
        return None;
    }
    let side = by.side.map_or("this", Side::name);
    let party = if by.side == Some(Side::Client) { Party::ClientKernel } else { Party::ServerKernel };
    let what = if trigger.len > 0 { format!("{} bytes", trigger.len) } else { "a segment".to_owned() };
    Some(
        Weighed::of(
            Strength::Fits,
            party,
            format!("{what} came for a connection that the {side}'s kernel does not know (any more): a restart, a failover, an address that moved"),
        )
        .and(heard::proof(hearing))
        // Nothing was lost with a segment that carries nothing.
        .harmless(trigger.len == 0)
        .settled_by(format!("uptime of the {side}'s host and container; what closed this connection before the watch began")),
    )
}
