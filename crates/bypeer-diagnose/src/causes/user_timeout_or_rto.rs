use std::time::Duration;

use bypeer_wire::Direction;
use bypeer_wire::conn::ResetShape;

use crate::heard;
use crate::testimony::{Side, State};
use crate::causes::proof;
use crate::story::Story;
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "user-timeout-or-rto",
    title: "The sender's kernel gave up: data stayed unacknowledged",
    manual: include_str!("user_timeout_or_rto.md"),
    clauses: &["RFC 9293 §3.8.3", "RFC 5482 §3"],
    weigh,
    hear,
};

const SETTLE: &str = "TcpExtTCPAbortOnTimeout in nstat; TCP_USER_TIMEOUT of the program; net.ipv4.tcp_retries2";

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let connection = story.connection;
    if !connection.established() || connection.handshake.syn_ack.is_none() && connection.seen_from_start() {
        return None;
    }
    if let Some(weighed) = answered_too_late(story) {
        return Some(weighed);
    }
    let (direction, flow) = [Direction::ToServer, Direction::ToClient]
        .into_iter()
        .map(|direction| (direction, connection.flow(direction)))
        .filter(|(_, flow)| flow.unanswered_retransmissions >= 2)
        .max_by_key(|(_, flow)| flow.unanswered_retransmissions)?;
    let last = flow.last_packet?;
    let heard = connection.flow(direction.reverse()).last_packet?;
    // The sender itself must have gone: what the other side sends later meets no socket.
    let gone = connection
        .resets
        .iter()
        .find(|reset| reset.direction == direction && reset.shape == ResetShape::Passive);
    let silence = connection.watched_until.since(last.time);
    let tried = last.time.since(heard.time);
    let stopped = silence > tried * 2 + Duration::from_secs(1);
    if connection.resets.iter().any(|reset| reset.direction != direction) || (gone.is_none() && !stopped) {
        return None;
    }
    let strength = if gone.is_some() { Strength::Fits } else { Strength::Possible };
    let side = proof::side(direction);
    Some(
        Weighed::of(
            strength,
            if direction == Direction::ToServer { Party::ClientKernel } else { Party::ServerKernel },
            format!(
                "the {side}'s kernel retransmitted {} times over {}, was not answered, and gave the connection up",
                flow.unanswered_retransmissions,
                proof::time(tried)
            ),
        )
        .because(heard, format!("the last sign of life of the {}", proof::side(direction.reverse())))
        .because(last, format!("the {side}'s last attempt"))
        .and(gone.map(|reset| proof::reset(story, reset)))
        .settled_by(SETTLE),
    )
}

/// The answer came after all, when the side that had asked was gone.
fn answered_too_late(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.reset().filter(|reset| reset.shape == ResetShape::Passive && !reset.after_own_fin)?;
    let (tries, last) = story.gave_up_before(reset)?;
    let trigger = reset.trigger.as_ref()?;
    let side = proof::side(reset.direction);
    let verdict = format!(
        "the {side}'s kernel retransmitted {tries} times and gave the connection up; what came {} later met no socket",
        proof::time(trigger.at.time.since(last.at.time))
    );
    let party = if reset.direction == Direction::ToServer { Party::ClientKernel } else { Party::ServerKernel };
    Some(
        Weighed::of(Strength::Fits, party, verdict)
            .because(last.at, format!("the {side}'s last attempt"))
            .because(trigger.at, format!("the {} is heard again, too late", proof::side(reset.direction.reverse())))
            .and([proof::reset(story, reset)])
            .settled_by(SETTLE),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let gave_up = hearing.gave_up().filter(|by| !by.probes_ran_out() && by.state != Some(State::SynSent))?;
    let side = gave_up.side.map_or("this", Side::name);
    let party = if gave_up.side == Some(Side::Server) { Party::ServerKernel } else { Party::ClientKernel };
    let tries = gave_up.retransmits.filter(|tries| *tries > 0);
    let tries = tries.map_or_else(String::new, |tries| format!(" {tries} times"));
    Some(
        Weighed::of(Strength::Proven, party, format!("the {side}'s kernel retransmitted{tries}, was not answered, and gave the connection up"))
            .and(heard::proof(hearing)),
    )
}
