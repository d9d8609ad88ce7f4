use std::time::Duration;


use crate::heard;
use crate::testimony::State;
use crate::causes::proof;
use crate::story::{Maker, Story};
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "backlog-overflow-rst",
    title: "The listen queue was full and the kernel reset the connection",
    manual: include_str!("backlog_overflow_rst.md"),
    clauses: &["RFC 9293 §3.10.7.2"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let connection = story.connection;
    let reset = story.passive_reset_by_server()?;
    let ack = connection.handshake.ack?;
    let syn_ack = connection.handshake.syn_ack?;
    if connection.to_client.sent > 0
        || connection.to_server.acked > 0
        || connection.handshake.syn_acks > 1
        || reset.after_own_fin
        || reset.seq != 0
        || story.maker(reset) == Maker::Firewall
    {
        return None;
    }
    let quick = reset.at.time.since(ack.time) <= story.round_trip() * 2 + Duration::from_millis(50);
    let strength = if quick { Strength::Fits } else { Strength::Possible };
    Some(
        Weighed::of(
            strength,
            Party::Operator,
            "the server's kernel reset the connection at the end of the handshake: its accept queue was full and tcp_abort_on_overflow is on",
        )
        .because(syn_ack, "the server's SYN-ACK")
        .because(ack, "the client completes the handshake")
        .and(proof::unclaimed(vec![proof::reset(story, reset)]))
        .settled_by("sysctl net.ipv4.tcp_abort_on_overflow and nstat -az TcpExtListenOverflows on the server"),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    let (by, trigger) = hearing.unknown_here()?;
    let at_listener = matches!(by.state, Some(State::Listen | State::NewSynReceived)) && trigger.ack && !trigger.syn;
    if !at_listener || by.reason.as_deref() == Some("TCP_FLAGS") {
        return None;
    }
    let strength = if by.overflowed { Strength::Proven } else if by.reason.as_deref() == Some("INVALID_SYN") { Strength::Fits } else { return None };
    Some(
        Weighed::of(
            strength,
            Party::Operator,
            "the server's kernel reset the connection at the end of the handshake: its accept queue was full and tcp_abort_on_overflow is on",
        )
        .and(heard::proof(hearing))
        .settled_by("sysctl net.ipv4.tcp_abort_on_overflow and nstat -az TcpExtListenOverflows on the server"),
    )
}
