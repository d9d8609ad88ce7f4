use bypeer_wire::conn::ResetShape;

use crate::heard;
use crate::testimony::Side;
use crate::causes::proof;
use crate::story::{Maker, Stand, Story};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "netfilter-reject",
    title: "A firewall refused the packet with a reset",
    manual: include_str!("netfilter_reject.md"),
    clauses: &["RFC 9293 §3.5.2", "RFC 3360 §2"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let connection = story.connection;
    let reset = story.reset().filter(|reset| matches!(reset.shape, ResetShape::Passive | ResetShape::Refusal))?;
    let flow = connection.flow(reset.direction);
    if reset.after_own_fin || (reset.shape == ResetShape::Passive && reset.trigger.is_none()) {
        return None;
    }
    // A reject answers one segment with one reset, as the kernel's own reset does; forgers send several, or another IP-ID.
    if reset.ip_id.is_some_and(|id| id != 0) {
        return None;
    }
    let side = proof::side(reset.direction);
    let maker = story.maker(reset);
    let known = flow.sent > 0 || connection.handshake.syn_ack.is_some() || !connection.seen_from_start();
    let (strength, sign) = if maker == Maker::Firewall {
        (Strength::Proven, "its TCP checksum is the one that netfilter's REJECT writes, not the one of the host's own TCP")
    } else if maker == Maker::Kernel {
        return None;
    } else if reset.ttl_differs(flow) && known {
        (Strength::Fits, "its TTL differs from the host's own packets: it was made somewhere else")
    } else if reset.sender_went_on.is_some() {
        (Strength::Fits, "the host in whose name it came went on with the connection")
    } else if reset.shape == ResetShape::Refusal {
        let listens = story.around.accepted_before.is_some() && story.around.accepted_after.is_some();
        if !listens {
            return None;
        }
        // Where more than one was refused, the listener may have been away for a moment.
        let strength = if story.around.refused_near > 0 { Strength::Possible } else { Strength::Fits };
        (strength, "the same port accepted connections just before and just after")
    } else if known && flow.fin.is_none() && story.around.accepted_after.is_none() && !outage(story, reset.direction.reverse()) && !mid_answer(story, reset) {
        (Strength::Possible, "no FIN, no outage: a firewall may have answered in the host's name")
    } else {
        return None;
    };
    Some(
        Weighed::of(strength, Party::Operator, format!("a firewall rule answered in the {side}'s name with a reset (REJECT)"))
            .and(proof::unclaimed(proof::ending(story, story.unfinished())))
            .because(reset.at, sign)
            .settled_by("nft list ruleset or iptables -vnL (counters) on the hosts and boxes between; tcp:tcp_send_reset stays silent on the host"),
    )
}

fn outage(story: &Story<'_>, direction: bypeer_wire::Direction) -> bool {
    let flow = story.connection.flow(direction);
    flow.unanswered_retransmissions > 0 || flow.unanswered_probes > 0
}

/// In the middle of an answer a close may leave its FIN queued: then the reset is late data's. And who falls silent in the
/// middle of an answer has gone.
fn mid_answer(story: &Story<'_>, reset: &bypeer_wire::conn::Reset) -> bool {
    let flow = story.connection.flow(reset.direction);
    matches!(story.stand(), Stand::Answering(_) | Stand::AnsweredEarly(_)) || flow.unacked() > 0
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let by = hearing.reset_from_elsewhere().filter(|by| by.firewalled)?;
    let side = by.side.map_or("this", Side::name);
    Some(
        Weighed::of(
            Strength::Proven,
            Party::Operator,
            format!("a firewall rule of this machine dropped the {side}'s packet and answered it with a reset (REJECT)"),
        )
        .and(heard::proof(hearing)),
    )
}
