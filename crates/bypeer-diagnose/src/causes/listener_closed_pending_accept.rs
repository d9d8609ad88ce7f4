use std::time::Duration;

use crate::heard;
use crate::testimony::ResetPath;
use crate::causes::proof;
use crate::story::Story;
use crate::{Cause, Hearing, Party, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "listener-closed-pending-accept",
    title: "The listener was closed while connections waited in its queue",
    manual: include_str!("listener_closed_pending_accept.md"),
    clauses: &["RFC 9293 §3.6", "RFC 9110 §9.2.2"],
    weigh,
    hear,
};

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let reset = story.active_reset_by_server()?;
    if story.response_flow().sent > 0 || !story.connection.seen_from_start() || reset.after_own_fin {
        return None;
    }
    let around = story.around;
    let gone = around.refused_after.is_some_and(|gap| gap < Duration::from_secs(10));
    if !gone && around.died_together == 0 {
        return None;
    }
    // Others that were being served went on: the process lived, only its listener went.
    let strength = if gone && around.spoke_after { Strength::Fits } else { Strength::Possible };
    let exchange = story.unfinished();
    Some(
        Weighed::of(
            strength,
            Party::ServerProgram,
            "the server closed its listening socket while this connection waited to be accepted",
        )
        .and(proof::ending(story, exchange))
        .settled_by("strace of the server (no accept for this connection), or reason TCP_STATE without TcpExtTCPAbortOnData"),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    hearing.reset_by(ResetPath::ListenerClosed)?;
    let strength = if hearing.death().is_some() { Strength::Possible } else { Strength::Proven };
    Some(
        Weighed::of(
            strength,
            Party::ServerProgram,
            "the server closed its listening socket while this connection waited to be accepted",
        )
        .and(heard::proof(hearing)),
    )
}
