use std::time::Duration;

use crate::heard::{self, OTHER_END, WITH_PROCESS};
use crate::testimony::{Act, Side};
use crate::causes::{proof, reuse};
use crate::story::{Stand, Story};
use bypeer_wire::app::Exchange;

use crate::{Cause, Evidence, Hearing, Party, Source, Strength, Weighed};

pub static CAUSE: Cause = Cause {
    id: "process-killed",
    title: "The server's process died",
    manual: include_str!("process_killed.md"),
    clauses: &["RFC 9293 §3.6.1", "RFC 9112 §8", "RFC 9110 §9.2.2"],
    weigh,
    hear,
};

/// A refusal that comes later may have another reason.
const SOON: Duration = Duration::from_secs(1);

fn weigh(story: &Story<'_>) -> Option<Weighed> {
    let around = story.around;
    let reset = story.active_reset_by_server();
    if story.response_flow().unanswered_probes > 0 {
        return None;
    }
    let exchange = match story.stand() {
        Stand::Unanswered(exchange) | Stand::Answering(exchange) => Some(exchange),
        Stand::AnsweredEarly(_) => return None,
        // Nothing was asked, and it was reset all the same: its end must be explained by something else.
        Stand::Idle if reset.is_some() && story.response_flow().sent == 0 => None,
        Stand::Idle if story.tls_cut_short() => story.connection.app.exchanges.newest(),
        Stand::Idle => return None,
    };
    let at = match (reset, story.server_closed_first()) {
        (Some(reset), _) => reset.at,
        (None, Some(fin)) if story.reset().is_none_or(|reset| reset.at.number > fin.at.number) => fin.at,
        _ => return None,
    };
    if let (Some(exchange), Some(fin), None) = (exchange, story.server_fin(), reset)
        && exchange.request.as_ref().is_some_and(|request| fin.ack <= request.start)
    {
        return stopped(story, exchange);
    }
    if exchange.is_some_and(|exchange| exchange.response.is_none() && story.closed_after_an_answer(exchange, at)) {
        return None;
    }
    if reuse::announced(story).is_some() {
        return None;
    }
    // A kernel that cleans up after a process sends RST only where something lay unread.
    if let (Some(reset), Some(exchange)) = (reset, exchange)
        && story.arrived_at_reset(reset).is_some_and(|arrived| story.everything_was_read(exchange, arrived))
    {
        return None;
    }
    // A sink that closes owes nobody an answer.
    if reset.is_none() && exchange.is_some_and(|exchange| exchange.response.is_none() && !story.answer_is_owed(exchange)) {
        return None;
    }
    // A client that fell silent in the middle of its request runs into the server's time limit; many that began together do so together.
    if let (Some(fin), None, None, Some(exchange)) = (story.server_fin(), reset, around.refused_after, exchange)
        && exchange.request.as_ref().is_some_and(|request| {
            !request.complete && fin.at.time.since(request.last.time) > story.round_trip() * 2 + Duration::from_millis(250)
        })
    {
        return None;
    }
    // Whoever serves others after it had not died then.
    let gone = around.outlived == 0 && around.refused_after.is_some_and(|gap| gap < SOON);
    // Where others live on, time limits that run out together look the same as the end of one worker.
    let waited = exchange.and_then(|exchange| exchange.request.as_ref()).map(|request| at.time.since(request.last.time));
    let limit = waited.is_some_and(|waited| story.is_a_limit_of_time(waited));
    let together = (around.died_together_unprompted > 0 || around.died_together_alike > 0 && !limit) && around.outlived == 0;
    let sudden = exchange.is_some_and(|exchange| exchange.response.is_some());
    // A whole request, a long silence, and then a reset while it lies unread: nobody looked at it when the process ended.
    let hung = exchange.zip(reset).is_some_and(|(exchange, reset)| {
        let request = exchange.request.as_ref().filter(|request| request.complete && exchange.response.is_none());
        request.is_some_and(|request| {
            reset.at.time.since(request.last.time) > story.round_trip() * 2 + Duration::from_millis(250)
                && reuse::find(story).is_none()
        })
    });
    // Where nobody was ever answered, all of them may have waited for an accept that never came.
    let served = around.answered > 0 || reset.is_none();
    let later = around.refused_after.is_some();
    // Several at once, while the server kept another: they may have waited for an accept, and their listener went.
    let listener = around.died_together > 0 && around.outlived > 0;
    let strength = if served && (hung && !listener || together || (gone && exchange.is_some())) {
        Strength::Fits
    } else if sudden || hung || later || around.died_together > 0 {
        Strength::Possible
    } else {
        return None;
    };
    let mut evidence = proof::ending(story, exchange);
    if around.died_together > 0 {
        evidence.push(Evidence {
            source: Source::Group,
            number: at.number,
            time: at.time,
            what: format!(
                "{} other connection{} of this server ended at the same moment",
                around.died_together,
                if around.died_together == 1 { "" } else { "s" }
            ),
        });
    }
    if let Some(gap) = around.refused_after {
        evidence.push(Evidence {
            source: Source::Group,
            number: at.number,
            time: at.time,
            what: format!("the next connection to this server is refused, {} later", proof::time(gap)),
        });
    }
    let verdict = if sudden {
        "the server process ended in the middle of an answer; its kernel closed the connection for it"
    } else {
        "the server process ended before it had answered; its kernel closed the connection for it"
    };
    Some(Weighed::of(strength, Party::ServerProgram, verdict).and(evidence).settled_by(
        "the server's own log, dmesg (out of memory), sched:sched_process_exit at the time of the reset, or strace (exit without close)",
    ))
}

/// The request had not arrived when the server closed: a race. It may have closed because it was stopped or reloaded, where no timer's length
/// speaks for an idle limit.
fn stopped(story: &Story<'_>, exchange: &Exchange) -> Option<Weighed> {
    let reuse = reuse::find(story).filter(|reuse| reuse.announced.is_none() && reuse.may_be_a_stop(story))?;
    let (strength, was) = match reuse.is_a_stop(story) {
        true => (Strength::Fits, "was"),
        false => (Strength::Possible, "may have been"),
    };
    let beside = match story.around.closes.together {
        0 if reuse.broken_promise(story).is_some() => "it closed before the time for which it had promised to keep the connection".to_owned(),
        0 => "as the next request was sent".to_owned(),
        1 => "it closed another connection at the same moment, after another time of silence".to_owned(),
        others => format!("it closed {others} other connections at the same moment, after other times of silence"),
    };
    let verdict = format!("the server {was} stopped or reloaded: {beside}");
    Some(
        Weighed::of(strength, Party::Operator, verdict)
            .and(proof::ending(story, Some(exchange)))
            .settled_by("the server's log, or systemd's, at that moment: a reload, a deployment, a worker that was replaced"),
    )
}

fn hear(hearing: &Hearing) -> Option<Weighed> {
    if hearing.cut_off_client().is_some() {
        return Some(
            Weighed::of(Strength::Possible, Party::ServerProgram, "the server process may have died")
                .and(heard::proof(hearing))
                .settled_by(OTHER_END),
        );
    }
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    let side = by.side?;
    let party = if side == Side::Server { Party::ServerProgram } else { Party::ClientProgram };
    let name = side.name();
    if let Some((actor, Act::Killed(signal))) = hearing.death() {
        let from = hearing.told_to_end().filter(|(told, _)| told.signal == signal);
        let from = from.map_or_else(String::new, |(told, _)| format!(" ({})", told.words()));
        let verdict = format!("signal {signal}{from} ended the {name}'s process; its kernel closed the connection for it");
        // What came later to a connection that owed nothing did not die of it.
        let idle = hearing.late().is_some_and(|late| late.closed_idle() && late.side == Side::Client);
        let strength = if idle { Strength::Possible } else { Strength::Proven };
        let _ = actor;
        return Some(Weighed::of(strength, party, verdict).and(heard::proof(hearing)));
    }
    if let Some((told, before)) = hearing.told_to_end() {
        let (words, before) = (told.words(), proof::time(before));
        let exited = hearing.exited();
        let verdict = match exited {
            Some(status) => format!(
                "the {name}'s process was told to end ({words}), and exited with status {status} {before} later with the connection open"
            ),
            None => format!("the {name}'s process was told to end ({words}), and closed the connection {before} later"),
        };
        // One that closes may have done so anyway.
        let strength = if exited.is_some() { Strength::Proven } else { Strength::Fits };
        return Some(
            Weighed::of(strength, Party::Operator, verdict)
                .and(heard::proof(hearing))
                .settled_by("who stopped or restarted it: a deployment, a reload, a supervisor"),
        );
    }
    // A source that names no process cannot tell a close from a death, where nobody had looked at the request.
    let nobody_looked = hearing.closed_unread().is_some_and(|unread| unread.side == Side::Server && unread.never_looked());
    let ending = by.actor.as_ref().is_some_and(|actor| actor.act == Act::Unknown);
    if hearing.may_have_ended() && (nobody_looked || ending) && hearing.closed_unread().is_some() {
        return Some(
            Weighed::of(Strength::Fits, party, "the server's process may have ended with the request unread")
                .and(heard::proof(hearing))
                .settled_by(WITH_PROCESS),
        );
    }
    let status = hearing.exited().filter(|status| *status != 0)?;
    let verdict = format!("the {name}'s process exited with status {status} with the connection open");
    Some(
        Weighed::of(Strength::Fits, party, verdict)
            .and(heard::proof(hearing))
            .settled_by("the program's own log at that moment: an exception, a failed assertion"),
    )
}
