use std::time::Duration;

use bypeer_wire::conn::{Reset, ResetShape};

use crate::heard::{self, OTHER_END};
use crate::testimony::{Side, State};
use crate::causes::proof;
use crate::story::{Stand, Story};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "injected-rst",
    title: "A third party forged the reset",
    manual: include_str!("injected_rst.md"),
    clauses: &["RFC 5961 §3.2", "RFC 9293 §3.5.3", "RFC 3360 §2"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let connection = story.connection;
    let reset = story.reset().filter(|reset| reset.shape != ResetShape::Refusal)?;
    let flow = connection.flow(reset.direction);
    let mut signs: Vec<(bypeer_wire::PacketRef, String)> = Vec::new();
    let side = proof::side(reset.direction);
    let mut weight = 0;
    let went_on = story.connection.resets.iter().filter(|other| other.direction == reset.direction);
    if let Some(on) = went_on.filter_map(|other| other.sender_went_on).next() {
        // In the shape of an answer to one segment it is a firewall's rather than a forger's.
        let answers = reset.shape == ResetShape::Passive && reset.trigger.is_some() && reset.ip_id.is_none_or(|id| id == 0);
        weight += if answers { 1 } else { 2 };
        signs.push((on, format!("the {side}, in whose name the reset came, goes on with the connection: it did not send it")));
    }
    if reset.ttl_differs(flow) && !reset.after_own_fin {
        weight += 1;
        let ttl = flow.ttl.unwrap_or_default();
        signs.push((reset.at, format!("its TTL is {}, the {side}'s other packets have {ttl}", reset.ttl)));
    }
    // After a socket's own reset whatever still arrives draws more of them.
    let stepped = if reset.shape == ResetShape::Active { 0 } else { stepped(story, reset) };
    if stepped >= 2 {
        weight += 2;
        signs.push((reset.at, format!("at least {stepped} resets with different sequence numbers follow each other: a guess, not a socket's answer")));
    }
    if reset.shape == ResetShape::Passive && reset.ip_id.is_some_and(|id| id != 0) && !flow.ip_id_always_zero {
        weight += 1;
        signs.push((reset.at, "a bare RST with an IP identification: Linux sends it with zero".to_owned()));
    }
    let bare = reset.ack.is_none();
    if bare && (reset.window != 0 || reset.timestamps) {
        weight += 1;
        signs.push((reset.at, format!("a bare RST with a window of {}: no socket of Linux sends one", reset.window)));
    }
    if !bare && reset.shape == ResetShape::Other && flow.timestamps && !reset.timestamps && flow.unanswered_probes == 0 {
        weight += 1;
        signs.push((reset.at, "RST,ACK without the timestamps that this connection uses".to_owned()));
    }
    if let Some(other) = both_at_once(story) {
        weight += 2;
        signs.push((other, "resets in both directions at the same moment".to_owned()));
    }
    if weight == 0 {
        return None;
    }
    let strength = match weight {
        1 => Strength::Possible,
        2 | 3 => Strength::Fits,
        _ => Strength::Proven,
    };
    // Whoever tried, both sides went on and closed as they should.
    let ignored = story.server_fin().is_some() && story.client_fin().is_some() && matches!(story.stand(), Stand::Idle);
    let verdict = if ignored {
        format!("somebody tried to reset the connection in the {side}'s name; it was ignored")
    } else {
        format!("a reset in the {side}'s name that the {side} did not send")
    };
    let mut weighed = Weighed::of(strength, Party::Between, verdict).harmless(ignored)
    .and(proof::unclaimed(proof::ending(story, story.unfinished())));
    for (at, sign) in signs {
        weighed = weighed.because(at, sign);
    }
    Some(weighed.settled_by("a capture on the other side: did this reset leave that host? tcp:tcp_send_reset stays silent on both"))
}

/// Resets of the same direction within a moment whose sequence numbers differ and that no segment of the other side explains.
fn stepped(story: &Story<'_>, first: &Reset) -> usize {
    let mut numbers: Vec<i64> = story
        .connection
        .resets
        .iter()
        .filter(|reset| reset.direction == first.direction && reset.shape != ResetShape::Active)
        .filter(|reset| reset.at.time.since(first.at.time) < Duration::from_millis(200) && reset.trigger.is_none())
        .map(|reset| reset.seq)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.len()
}

/// A reset of each side within 2 ms, neither of them an answer to the other.
fn both_at_once(story: &Story<'_>) -> Option<bypeer_wire::PacketRef> {
    let first = story.reset()?;
    let other = story.connection.resets.iter().find(|reset| reset.direction != first.direction)?;
    let close = other.at.time.since(first.at.time).max(first.at.time.since(other.at.time)) < Duration::from_millis(2);
    (close && !first.after_own_fin && !first.after_peer_fin).then_some(other.at)
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    if hearing.cut_off_client().is_some() {
        return Some(
            Weighed::of(Strength::Possible, Party::Between, "somebody in between may have forged the reset")
                .and(heard::proof(hearing))
                .settled_by(OTHER_END),
        );
    }
    // Where all kernels of a connection are heard and none sent it, somebody else did.
    let by = hearing.reset_from_elsewhere().filter(|by| by.peer_is_local && !by.firewalled && by.state != Some(State::SynSent))?;
    let side = by.side.map_or("this", |side| if side == Side::Client { "server" } else { "client" });
    Some(
        Weighed::of(
            Strength::Fits,
            Party::Between,
            format!("a reset in the {side}'s name that the {side}'s kernel, on this same machine, did not send"),
        )
        .and(heard::proof(hearing))
        .settled_by("a capture of the reset: its TTL and IP identification against those of other packets"),
    )
}
