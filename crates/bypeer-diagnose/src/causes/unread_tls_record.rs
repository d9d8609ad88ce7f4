use bypeer_wire::Direction;
use bypeer_wire::app::{Tls, TlsAlert};
use bypeer_wire::conn::ResetShape;

use crate::heard;
use crate::causes::proof;
use crate::story::Story;
use crate::{Came, Cause, Hearing, Party, Strength, Unread, Weighed};

pub static CAUSE: Cause = Cause {
    id: "unread-tls-record",
    title: "A side closed with a TLS record unread",
    manual: include_str!("unread_tls_record.md"),
    clauses: &["RFC 8446 §6.1", "RFC 8446 §4.6.1", "RFC 9112 §9.8", "RFC 9293 §3.6.1"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    if story.good_bye_for_an_answer().is_some() {
        return None;
    }
    let tls = story.connection.app.tls.as_ref()?;
    let reset = story.reset().filter(|reset| reset.shape == ResetShape::Active)?;
    let (side, other) = (proof::side(reset.direction), reset.direction.reverse());
    let record = tls.last_record[other.index()]?;
    if reset.ack? <= record.start as i64 {
        return None;
    }
    let refusal = fatal_alert(tls, reset.direction).filter(|alert| alert.at.number < reset.at.number);
    let (unread, why) = if let Some(alert) = refusal {
        let (_, description) = alert.plain?;
        ("handshake", format!("refused the TLS handshake (alert {description}, {})", alert_name(description)))
    } else if story.only_alert_from(other, record.start as i64) {
        ("close_notify", "closed".to_owned())
    } else if other == Direction::ToClient && tls.application_records[Direction::ToServer.index()] == 0 {
        // The server's session tickets come unasked, before any answer.
        ("session tickets", "closed".to_owned())
    } else {
        return None;
    };
    // Its own kernel threw away the rest of a record: somebody misses it.
    let cut = reset.direction == Direction::ToClient && tls.record_open[reset.direction.index()];
    let outcome = if cut { "the reset cut its answer in the middle of a TLS record" } else { "nothing else was unread" };
    let mut weighed = Weighed::of(
        Strength::Fits,
        if cut { Party::ServerProgram } else { Party::Nobody },
        format!("the {side} {why} without reading the other side's {unread}; {outcome}"),
    );
    if let Some(alert) = refusal {
        weighed = weighed.because(alert.at, format!("the {side}'s alert: it will not go on"));
    }
    Some(
        weighed
            .because(record.at, format!("the {}'s last record ({unread}) arrives", proof::side(other)))
            .because(reset.at, format!("the {side} resets: its kernel had received the record, the program had not read it"))
            .harmless(!cut),
    )
}

/// A fatal alert of this side in the clear.
fn fatal_alert(tls: &Tls, direction: Direction) -> Option<&TlsAlert> {
    tls.alerts.iter().find(|alert| alert.direction == direction && alert.plain.is_some_and(|(level, _)| level == 2))
}

/// RFC 8446 §6: the alerts that end handshakes.
fn alert_name(description: u8) -> &'static str {
    match description {
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        70 => "protocol_version",
        80 => "internal_error",
        112 => "unrecognized_name",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "see RFC 8446 §6",
    }
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let unread = hearing.closed_unread().filter(Unread::may_be_a_good_bye)?;
    if hearing.death().is_some() || unread.wrote == 0 || hearing.status().is_some() || hearing.method().is_some() {
        return None;
    }
    let side = unread.side.name();
    Some(
        Weighed::of(
            Strength::Fits,
            Party::Nobody,
            format!("the {side} closed with {} bytes unread, as many as a TLS good-bye (close_notify) has", unread.bytes),
        )
        .and(heard::proof(hearing))
        .harmless(hearing.is_a_tls_port() || matches!(unread.came, Came::After(_)))
        .settled_by("whether the connection speaks TLS: its port, or a capture"),
    )
}
