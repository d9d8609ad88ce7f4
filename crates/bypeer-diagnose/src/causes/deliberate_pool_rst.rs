use std::time::Duration;

use bypeer_wire::conn::ResetShape;

use crate::heard;
use crate::testimony::{ResetPath, Side, State, Told};
use crate::causes::proof;
use crate::story::{Stand, Story};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "deliberate-pool-rst",
    title: "A pool dropped an idle connection with a reset (harmless)",
    manual: include_str!("deliberate_pool_rst.md"),
    clauses: &["RFC 9293 §3.10.5", "RFC 9112 §9.5"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.reset().filter(|reset| reset.shape == ResetShape::Active)?;
    let own = story.connection.flow(reset.direction);
    let other = story.connection.flow(reset.direction.reverse());
    if own.unanswered_probes > 0 || !matches!(story.stand(), Stand::Idle) || other.unacked() > 0 && own.sent > 0 {
        return None;
    }
    if reset.sender_went_on.is_some() {
        return None;
    }
    let from_server = reset.direction == bypeer_wire::Direction::ToClient;
    let exchange = story.connection.app.exchanges.newest();
    let (strength, verdict) = match exchange {
        None if from_server || !story.connection.seen_from_start() => return None,
        None if own.sent > 0 => return None,
        None => (Strength::Fits, "the client connected and reset at once: a health check, or a probe of the port".to_owned()),
        Some(exchange) => {
            let spoken = own.last_data.max_by_time(other.last_data)?;
            let idle = reset.at.time.since(spoken.time);
            let whole = exchange.request.is_some() && story.understood(exchange);
            let settled = whole || (!from_server && story.is_tls());
            let quiet = idle > Duration::from_millis(100) && own.unacked() == 0 && settled;
            let side = proof::side(reset.direction);
            (
                if quiet { Strength::Fits } else { Strength::Possible },
                format!("the {side} threw the connection away with a reset after {} idle; nothing was owed", proof::time(idle)),
            )
        }
    };
    Some(Weighed::of(strength, Party::Nobody, verdict).and(proof::ending(story, exchange)).harmless(true))
}

trait MaxByTime {
    fn max_by_time(self, other: Self) -> Self;
}

impl MaxByTime for Option<bypeer_wire::PacketRef> {
    fn max_by_time(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(if a.number >= b.number { a } else { b }),
            (a, b) => a.or(b),
        }
    }
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    if hearing.death().is_some() {
        return None;
    }
    // Its own kernel tells that it owed nothing and was owed nothing; of a peer's reset that nothing was under way.
    let by = hearing.reset_sent().or(hearing.reset_from_elsewhere())?;
    let sent_it = by.told == Told::ResetSent;
    if sent_it && !(by.side == Some(Side::Client) && matches!(by.path, Some(ResetPath::LingerZero | ResetPath::Disconnected))) {
        return None;
    }
    let quiet = by.unread == Some(0) && by.unacked == Some(0) && by.unsent == Some(0);
    let untouched = by.acked == Some(0) && by.received == Some(0);
    if hearing.cut_off_client().is_some() {
        return None;
    }
    let idle = match by.side? {
        Side::Client => hearing.was_answered(by),
        Side::Server => by.acked? > 0 && by.since_sent < by.since_received,
    };
    if !quiet || by.state == Some(State::SynSent) || !(idle || sent_it && untouched) {
        return None;
    }
    let verdict = match (sent_it, untouched) {
        (true, true) => "the client connected and reset at once: a health check, or a probe of the port",
        (true, false) => "the client threw the connection away with a reset; nothing was owed",
        (false, _) => "the other side threw the connection away with a reset; nothing was under way",
    };
    Some(Weighed::of(Strength::Fits, Party::Nobody, verdict).and(heard::proof(hearing)).harmless(true))
}
