//! What is said at the end: what was saved, what was not, why, and what to change.

use std::fmt::Write as _;
use std::time::Duration;

use super::ending::{Ending, How};
use super::reporter::Reporter;
use super::tally::Kind;
use crate::upstream::Shared;

/// The summary, for people: some lines, each at most about a screen wide, the first without indentation.
pub fn summary(reporter: &Reporter, ran: Duration, shared: Option<&Shared>) -> String {
    let metrics = reporter.metrics();
    let count = |ending| metrics.ended(ending);
    let mut out = String::new();
    let _ = writeln!(out, "{} requests in {:.0} s", metrics.exchanges(), ran.as_secs_f64());
    let lines = [
        (count(Ending::Answered), "answered by the server at the first try"),
        (
            count(Ending::Saved(How::Retry)),
            "saved: tried again, because the first try could not have reached the server's program, or may be repeated",
        ),
        (
            count(Ending::Saved(How::ReadOn)),
            "saved: the answer was read although sending had failed",
        ),
        (
            count(Ending::Failed),
            "not answered by the server: the guard said so with a status and Proxy-Status",
        ),
        (count(Ending::Cut), "broke off in the middle of the server's answer"),
        (
            count(Ending::ClientGone),
            "left by the client before the answer was there",
        ),
        (count(Ending::Refused), "refused: the request could not be taken"),
    ];
    for (count, what) in lines.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(out, "{count:>10}  {what}");
    }
    let beside = [
        (
            metrics.kept_from_reset(),
            "closes during which clients still sent: a plain close would have reset them over their answers",
        ),
        (
            metrics.closed_idle(),
            "idle connections that the server closed, without harm",
        ),
        (
            metrics.unsolicited(),
            "idle connections that held bytes that no request had asked for (desync-unsolicited-response, or a good-bye)",
        ),
    ];
    if beside.iter().any(|(count, _)| *count > 0) {
        let _ = writeln!(out, "and");
    }
    for (count, what) in beside.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(out, "{count:>10}  {what}");
    }
    for (to, habits) in shared.into_iter().flat_map(Shared::habits) {
        let idle = habits.learned_idle().map(|idle| match habits.saw_idle_once() {
            true => format!("closed an idle connection after {:.1} s, once", idle.as_secs_f64()),
            false => format!("closes idle connections after {:.1} s", idle.as_secs_f64()),
        });
        let requests = habits
            .learned_requests()
            .map(|requests| format!("allows {requests} requests on a connection"));
        let life = habits
            .learned_lifetime()
            .map(|life| format!("closes connections after {:.0} s of life", life.as_secs_f64()));
        let learned: Vec<String> = [idle, requests, life].into_iter().flatten().collect();
        if learned.is_empty() {
            continue;
        }
        let _ = match habits.is_steady() {
            true => writeln!(out, "learned of {to}: it {}", learned.join(", and ")),
            false => writeln!(
                out,
                "{to} closed connections of many ages, as restarts do: no limit is known of it, and for a time they were used as if it {}",
                learned.join(", and ")
            ),
        };
    }
    for kind in reporter.tally().kinds() {
        tell(&mut out, &kind);
    }
    out
}

fn tell(out: &mut String, kind: &Kind) {
    let found = &kind.surest;
    let _ = writeln!(out, "\n{}: {}", found.confidence, found.verdict);
    let server = kind
        .server
        .as_deref()
        .map_or_else(String::new, |server| format!(" at {server}"));
    let lost = kind.count - kind.saved;
    let times = match kind.count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    let _ = writeln!(
        out,
        "  {}{server} · {times}: {} saved, {lost} not · the first was {}",
        kind.cause.id, kind.saved, kind.example
    );
    for rival in &found.rivals {
        let _ = writeln!(out, "  or       {}: {}", rival.id, rival.title);
    }
    for fix in &found.fixes {
        let _ = writeln!(out, "  fix      {}: {}", fix.owner.id(), fix.what);
    }
    if let Some(settle) = &found.settle {
        let _ = writeln!(out, "  confirm  {settle}");
    }
}
