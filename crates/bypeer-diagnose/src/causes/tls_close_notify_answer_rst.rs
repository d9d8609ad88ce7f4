use bypeer_wire::conn::ResetShape;

use crate::heard;
use crate::testimony::Side;
use crate::causes::proof;
use crate::story::{Stand, Story};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "tls-close-notify-answer-rst",
    title: "A late TLS close_notify met a closed socket (harmless)",
    manual: include_str!("tls_close_notify_answer_rst.md"),
    clauses: &["RFC 8446 §6.1", "RFC 5246 §7.2.1", "RFC 9112 §9.8"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.reset().filter(|reset| reset.shape == ResetShape::Passive)?;
    let trigger = reset.trigger.as_ref()?;
    let late = reset.direction.reverse();
    if !story.only_alert_from(late, trigger.seq) || story.connection.flow(reset.direction).fin.is_none() {
        return None;
    }
    if matches!(story.stand(), Stand::Unanswered(_)) || story.tls_cut_short() {
        return None;
    }
    // It answers a good-bye; many programs close without one, and then only the size tells what this record is.
    let tls = story.connection.app.tls.as_ref()?;
    let said = tls.alerts.iter().any(|alert| alert.direction == reset.direction && alert.at.number < reset.at.number);
    let strength = if said { Strength::Proven } else { Strength::Fits };
    let (closer, other) = (proof::side(reset.direction), proof::side(late));
    Some(
        Weighed::of(
            strength,
            Party::Nobody,
            format!("the {closer} had closed; the {other}'s TLS good-bye (close_notify) met the closed socket"),
        )
        .and(proof::ending(story, None))
        .harmless(true),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let late = hearing.late().filter(|late| late.may_be_a_good_bye())?;
    if hearing.death().is_some() || hearing.status().is_some() || hearing.method().is_some() {
        return None;
    }
    let (closer, other) = match late.side {
        Side::Client => ("client", "server"),
        Side::Server => ("server", "client"),
    };
    Some(
        Weighed::of(
            Strength::Fits,
            Party::Nobody,
            format!(
                "the {closer} had closed; {} bytes of the {other}, as many as a TLS good-bye (close_notify) has, met the closed socket",
                late.trigger.len
            ),
        )
        .and(heard::proof(hearing))
        .harmless(late.side == Side::Client || hearing.is_a_tls_port())
        .settled_by("whether the connection speaks TLS: its port, or a capture"),
    )
}
