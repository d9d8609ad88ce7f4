use bypeer_wire::{Direction, PacketRef};

use crate::causes::proof;
use crate::story::Story;
use crate::{Cause, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "unread-tls-record",
    title: "A side closed with a TLS record unread",
    manual: include_str!("unread_tls_record.md"),
    clauses: &["RFC 8446 §6.1", "RFC 8446 §4.6.1", "RFC 9112 §9.8", "RFC 9293 §3.6.1"],
    weigh,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let tls = story.connection.app.tls.as_ref()?;
    let reset = story.reset().filter(|reset| reset.shape == bypeer_wire::conn::ResetShape::Active)?;
    let other = reset.direction.reverse();
    let record = tls.last_record[other.index()]?;
    let good_bye = story.only_alert_from(other, record.start as i64);
    // The server's session tickets come unasked, before any answer.
    let tickets = other == Direction::ToClient && tls.application_records[0] == 0;
    if !(good_bye || tickets) || reset.ack? <= record.start as i64 {
        return None;
    }
    let side = proof::side(reset.direction);
    let what = if good_bye { "close_notify" } else { "session tickets" };
    let at: PacketRef = record.at;
    Some(
        Weighed::of(
            Strength::Fits,
            Party::Nobody,
            format!("the {side} closed without reading the other side's {what}; nothing else was unread"),
        )
        .because(at, format!("the {}'s {what} arrives", proof::side(other)))
        .because(reset.at, format!("the {side} resets: its kernel had received the {what}, the program had not read it"))
        .harmless(true),
    )
}
