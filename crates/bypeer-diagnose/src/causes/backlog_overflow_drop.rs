use std::time::Duration;

use bypeer_wire::{Direction, PacketRef};

use crate::heard;
use crate::testimony::{Queue, State, Told};
use crate::heard::errno::ETIMEDOUT;
use crate::causes::proof;
use crate::story::Story;
use crate::{Cause, Evidence, Hearing, Party, Source, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "backlog-overflow-drop",
    title: "The listen queue was full and the kernel dropped the connection",
    manual: include_str!("backlog_overflow_drop.md"),
    clauses: &["RFC 9293 §3.10.7.2", "RFC 9110 §15.6.5"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let connection = story.connection;
    let handshake = &connection.handshake;
    let syn = handshake.syn?;
    let settle = "nstat -az TcpExtListenOverflows TcpExtListenDrops on the server; ss -ltn (Recv-Q above Send-Q)";
    if handshake.syn_ack.is_none() {
        // SYNs in silence: only the queue's other signs tell it from a dead path.
        if handshake.syns < 2 || connection.resets_total > 0 || !connection.icmp.is_empty() {
            return None;
        }
        let full = story.around.overflowed > 0 || story.around.waiting_then >= 2;
        let strength = if full { Strength::Fits } else { Strength::Possible };
        let mut weighed = Weighed::of(
            strength,
            Party::Operator,
            format!("{} SYNs went unanswered while the server's accept queue was full", handshake.syns),
        )
        .because(syn, "the client's SYN; no answer")
        .settled_by(settle);
        if let Some(last) = handshake.last_syn {
            weighed = weighed.because(last, format!("SYN number {}; no answer", handshake.syns));
        }
        if full {
            weighed = weighed.and([Evidence {
                source: Source::Group,
                number: syn.number,
                time: syn.time,
                what: format!(
                    "{} connections to this server were waiting for an answer at that moment, {} had their handshake dropped",
                    story.around.waiting_then, story.around.overflowed
                ),
            }]);
        }
        return Some(weighed);
    }
    // The client believes that it is connected; the server goes on sending SYN-ACKs, because it threw the last ACK away.
    let ack = handshake.ack?;
    if let Some((taken, waited)) = story.taken_late() {
        return Some(taken_late(story, taken, waited, settle));
    }
    let crowded = story.around.overflowed >= 2 || story.around.waiting_then >= 2;
    let untouched = connection.to_client.sent == 0 && connection.to_server.acked == 0;
    if !untouched || connection.flow(Direction::ToClient).fin.is_some() {
        return None;
    }
    let again = handshake.last_syn_ack.filter(|last| handshake.syn_acks >= 2 && last.number > ack.number);
    // A SYN cookie keeps nothing: no SYN-ACK is repeated, and the data simply meets nobody.
    let in_vain = connection.to_server.unanswered_retransmissions >= 2;
    if again.is_none() && !(in_vain && crowded) {
        return None;
    }
    let mut weighed = Weighed::of(
        if crowded { Strength::Fits } else { Strength::Possible },
        Party::Operator,
        "the server's kernel threw away the end of the handshake: its accept queue was full",
    )
    .because(ack, "the client completes the handshake");
    if let Some(again) = again {
        let times = handshake.syn_acks;
        weighed = weighed.because(again, format!("the server sends its SYN-ACK again ({times} times in all): the client's ACK did not reach it, or was dropped"));
    }
    if crowded {
        weighed = weighed.and([Evidence {
            source: Source::Group,
            number: ack.number,
            time: ack.time,
            what: format!("{} connections to this server were waiting for an answer at that moment", story.around.waiting_then),
        }]);
    }
    Some(weighed.and(story.reset().map(|reset| proof::reset(story, reset))).settled_by(settle))
}

/// The socket came to be in the end, seconds after the client believed it had it.
fn taken_late(story: &Story<'_>, taken: PacketRef, waited: Duration, settle: &str) -> Weighed {
    let mut weighed = Weighed::of(
        Strength::Fits,
        Party::Operator,
        format!(
            "the server's kernel took no notice of the connected client for {}: its accept queue was full",
            proof::time(waited)
        ),
    );
    if let Some(ack) = story.connection.handshake.ack {
        weighed = weighed.because(ack, "the client completes the handshake");
    }
    let repeated = story.connection.to_server.retransmissions;
    weighed
        .because(taken, format!("only now the server's kernel acknowledges data, repeated {repeated} times"))
        .and(proof::ending(story, story.connection.app.exchanges.first.as_deref()))
        .settled_by(settle)
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let settle = "nstat -az TcpExtListenOverflows TcpExtListenDrops on the server; ss -ltn (Recv-Q above Send-Q)";
    let by = &hearing.deciding;
    if by.told == Told::Overflowed {
        let verdict = match by.queue {
            Some(Queue { waiting, backlog, dropped }) => {
                let dropped = dropped.map_or_else(|| "attempts".to_owned(), |dropped| format!("{dropped} attempts"));
                format!("the server's accept queue is full ({waiting} wait, with a backlog of {backlog}): its kernel dropped {dropped}")
            }
            None => "the server's accept queue was full: its kernel dropped the attempt".to_owned(),
        };
        return Some(Weighed::of(Strength::Proven, Party::Operator, verdict).and(heard::proof(hearing)));
    }
    // A half-open connection that the server's kernel gave up, and the client still believes in.
    if let Some((by, trigger)) = hearing.unknown_here()
        && by.overflowed
        && !trigger.syn
    {
        return Some(
            Weighed::of(
                Strength::Fits,
                Party::Operator,
                "the server's kernel had thrown away the end of the handshake: its accept queue was full",
            )
            .and(heard::proof(hearing))
            .settled_by(settle),
        );
    }
    let (failed, error) = hearing.failed()?;
    let silence = error == ETIMEDOUT && failed.state == Some(State::SynSent);
    silence.then(|| {
        let strength = if failed.overflowed { Strength::Proven } else { Strength::Possible };
        Weighed::of(strength, Party::Operator, "SYNs went unanswered: the server's accept queue may have been full")
            .and(heard::proof(hearing))
            .settled_by(settle)
    })
}
