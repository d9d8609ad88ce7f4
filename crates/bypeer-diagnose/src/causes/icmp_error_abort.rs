use bypeer_wire::Direction;
use bypeer_wire::packet::IcmpKind;

use crate::heard;
use crate::testimony::State;
use crate::heard::errno::{ENETUNREACH, EHOSTUNREACH, ECONNREFUSED, EPROTO, EHOSTDOWN};
use crate::causes::proof;
use crate::story::Story;
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "icmp-error-abort",
    title: "An ICMP error ended the attempt to connect",
    manual: include_str!("icmp_error_abort.md"),
    clauses: &["RFC 1122 §4.2.3.9", "RFC 5927 §4"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let connection = story.connection;
    let note = connection.icmp.iter().find(|note| {
        matches!(note.kind, IcmpKind::Unreachable | IcmpKind::PortUnreachable | IcmpKind::Prohibited | IcmpKind::TimeExceeded)
    })?;
    let said = match note.kind {
        IcmpKind::PortUnreachable => "port unreachable",
        IcmpKind::Prohibited => "administratively prohibited",
        IcmpKind::TimeExceeded => "time exceeded",
        _ => "host or network unreachable",
    };
    // Not by the missing SYN-ACK: that may not have been captured.
    let at_connect = note.about_syn && note.about == Direction::ToServer && connection.to_client.packets == 0;
    if !at_connect {
        // After the handshake it is only a hint (RFC 5927): it must be the last thing before the silence.
        let flow = connection.flow(note.about);
        let died = connection.resets_total == 0 && flow.unanswered_retransmissions >= 1 && flow.unacked() > 0;
        if !died {
            return None;
        }
    }
    let mut weighed = Weighed::of(
        if at_connect { Strength::Proven } else { Strength::Fits },
        if note.reporter == connection.server.addr { Party::Operator } else { Party::Between },
        format!("{} reported the server as {said} (ICMP)", if note.reporter == connection.server.addr { "the server's host" } else { "a router or firewall" }),
    );
    if let Some(syn) = connection.handshake.syn {
        weighed = weighed.because(syn, "the client's SYN");
    }
    Some(
        weighed
            .because(note.at, format!("ICMP type {} code {} from {}: {said}", note.icmp_type, note.icmp_code, note.reporter))
            .and(proof::ending(story, None))
            .settled_by("the routes and firewall rules of the host that reported it"),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let (failed, error) = hearing.failed()?;
    let icmp = matches!(error, ENETUNREACH | EHOSTUNREACH | ECONNREFUSED | EPROTO | EHOSTDOWN);
    let connecting = failed.state == Some(State::SynSent);
    icmp.then(|| {
        let what = if connecting { "an ICMP error ended the attempt to connect" } else { "an ICMP error, or a dead route, ended the connection" };
        Weighed::of(if connecting { Strength::Proven } else { Strength::Fits }, Party::Between, what)
            .and(heard::proof(hearing))
            .settled_by("a capture that includes ICMP: who sent the error")
    })
}
