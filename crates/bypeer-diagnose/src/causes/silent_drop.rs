use std::time::Duration;

use bypeer_wire::Direction;

use bypeer_wire::conn::Ending;

use crate::heard;
use crate::testimony::State;
use crate::heard::errno::ETIMEDOUT;
use crate::causes::proof;
use crate::story::Story;
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "silent-drop",
    title: "Packets vanished without a word",
    manual: include_str!("silent_drop.md"),
    clauses: &["RFC 5382 REQ-5", "RFC 9293 §3.8.4", "RFC 9293 §3.8.3", "RFC 9110 §15.6.5"],
    weigh,
    hear,
};

/// Segments of this many bytes pass wherever IPv6 does (RFC 8200 §5: 1280 bytes with headers).
const SMALL: u32 = 1208;

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let connection = story.connection;
    let handshake = &connection.handshake;
    if handshake.syn.is_some() && handshake.syn_ack.is_none() {
        if connection.resets_total > 0 || !connection.icmp.is_empty() || handshake.syns < 2 {
            return None;
        }
        let strength = if story.around.overflowed > 0 || story.around.waiting_then >= 2 {
            Strength::Possible
        } else {
            Strength::Fits
        };
        return Some(
            Weighed::of(strength, Party::Between, format!("{} SYNs were sent and nothing ever came back", handshake.syns))
                .because(handshake.syn?, "the client's SYN; no answer")
                .because(handshake.last_syn?, format!("SYN number {}; no answer", handshake.syns))
                .settled_by("a capture on the server's side: did the SYNs arrive?"),
        );
    }
    if connection.resets_total == 0 && handshake.ack.is_none() && handshake.syns >= 2 && handshake.syn_acks >= 2 && connection.seen_from_start() {
        return Some(
            Weighed::of(
                Strength::Fits,
                Party::Between,
                format!(
                    "{} SYNs and {} SYN-ACKs were sent and the handshake never ended: neither side hears the other",
                    handshake.syns, handshake.syn_acks
                ),
            )
            .because(handshake.last_syn?, format!("SYN number {}", handshake.syns))
            .because(handshake.last_syn_ack?, format!("SYN-ACK number {}: the client does not take it", handshake.syn_acks))
            .settled_by("captures on both sides: where do the SYN-ACKs stop?"),
        );
    }
    if let Some(vanished) = vanished_answer(story) {
        return Some(vanished);
    }
    // One side spoke and spoke again, and was never heard.
    let (direction, flow) = [Direction::ToServer, Direction::ToClient]
        .into_iter()
        .map(|direction| (direction, connection.flow(direction)))
        .filter(|(_, flow)| flow.unanswered_retransmissions >= 2 || flow.unanswered_probes >= 2 || story.repeated_in_vain(flow))
        .max_by_key(|(_, flow)| flow.unanswered_retransmissions + flow.unanswered_probes)?;
    // A reset of the other side would be an answer.
    if connection.resets.iter().any(|reset| reset.direction != direction) {
        return None;
    }
    // Nothing of the client was ever taken: a full accept queue looks the same.
    let never_taken = connection.seen_from_start() && connection.to_client.sent == 0 && connection.to_server.acked == 0;
    let crowded = never_taken && (story.around.overflowed >= 2 || story.around.waiting_then >= 2);
    let heard = if story.repeated_in_vain(flow) { flow.last_ack_of_it.or(flow.first_data)? } else { connection.flow(direction.reverse()).last_packet? };
    let silence = flow.last_packet?.time.since(heard.time);
    if silence < Duration::from_millis(500) {
        return None;
    }
    // The capture ends in the middle of it: what came a moment later is not known.
    let still_trying = connection.ending == Ending::CaptureEnded
        && connection.watched_until.since(flow.last_packet?.time) < Duration::from_millis(500);
    let outcome = if still_trying { "was not answered before the capture ended" } else { "was never answered" };
    let tries = (flow.unanswered_retransmissions + flow.unanswered_probes).max(if story.repeated_in_vain(flow) { flow.retransmissions } else { 0 });
    let side = proof::side(direction);
    let given_up = connection.resets.iter().any(|reset| reset.direction == direction);
    let queue = crowded || never_taken && handshake.syn_acks > 1;
    let strength = if given_up && flow.unanswered_probes >= 2 || queue { Strength::Possible } else { Strength::Fits };
    Some(
        Weighed::of(
            strength,
            Party::Between,
            format!(
                "the {side} repeated itself {tries} times over {} and {outcome}: its packets, or the answers, are dropped on the way",
                proof::time(silence)
            ),
        )
        .because(connection.flow(direction.reverse()).last_packet.unwrap_or(heard), format!("the last sign of life of the {}", proof::side(direction.reverse())))
        .because(flow.last_packet?, format!("the {side}'s last attempt"))
        .and(proof::ending(story, story.unfinished()))
        .settled_by("captures on both sides: where do the packets stop? conntrack -S, nft counters, load balancer's idle timeout"),
    )
}

/// The server repeated its answer until the client gave up, which had heard none of it.
fn vanished_answer(story: &Story<'_>) -> Option<Weighed> {
    let (tries, first, last) = story.unheard_by_client()?;
    let fin = story.client_fin()?;
    let large = first.len.min(last.len);
    // What was smaller came through: the handshake, the acknowledgments.
    let size = match large > SMALL {
        true => format!(", in segments of {large} bytes where small ones pass: a path with a smaller MTU, whose ICMP is dropped?"),
        false => String::new(),
    };
    let verdict = format!(
        "the server sent a part of its answer again {tries} times over {}, and the client, which left after that, had none of that: it is dropped on the \
         way{size}",
        proof::time(last.at.time.since(first.at.time)),
    );
    Some(
        Weighed::of(Strength::Fits, Party::Between, verdict)
            .because(first.at, format!("the answer's first bytes that never arrived ({} bytes)", first.len))
            .because(last.at, "the server's last attempt before the client left")
            .because(fin.at, "the client closes: its FIN acknowledges none of them")
            .and(proof::ending(story, story.unfinished()))
            .settled_by("captures on both sides; ping with the size of the segments and without fragmentation (ping -M do -s 1472)"),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let (failed, error) = hearing.failed()?;
    if error != ETIMEDOUT || failed.overflowed {
        return None;
    }
    let (strength, verdict) = match (failed.state, failed.firewalled) {
        (_, true) => (Strength::Fits, "nothing came back, and a firewall of this machine dropped packets of the connection".to_owned()),
        (Some(State::SynSent), _) => (Strength::Possible, "SYNs were sent and nothing ever came back".to_owned()),
        _ => (Strength::Possible, "what was sent was never acknowledged: packets, or their answers, vanish on the way".to_owned()),
    };
    Some(
        Weighed::of(strength, Party::Between, verdict)
            .and(heard::proof(hearing))
            .settled_by("captures on both sides: where do the packets stop?"),
    )
}
