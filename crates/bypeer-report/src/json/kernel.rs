//! What kernels said, as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use bypeer_diagnose::Hearing;
use bypeer_diagnose::testimony::{
    Act, Actor, Closed, Frame, Known, Predecessor, State, Testimony, Told, ToldToEnd, Trigger,
};
use serde::Serialize;

use super::{InsightRecord, write_record};
use crate::time::epoch_seconds;
use crate::{Exit, WatchSummary};

/// Schema of the record of a connection that died in a way that no cause describes.
pub const UNEXPLAINED: &str = "bypeer.unexplained/1";
/// Schema of the last record of a watch.
pub const WATCH_SUMMARY: &str = "bypeer.watch-summary/1";

/// Writes what was heard of a connection that no cause explains, and a newline.
pub fn write_unexplained(out: &mut dyn Write, hearing: &Hearing) -> io::Result<()> {
    write_record(
        out,
        &UnexplainedRecord {
            schema: UNEXPLAINED,
            client: hearing.client.to_string(),
            server: hearing.server.to_string(),
            ended: epoch_seconds(hearing.deciding.at),
            kernel: KernelRecord::of(hearing),
        },
    )
}

/// Writes the summary of a watch and a newline.
pub fn write_watch_summary(out: &mut dyn Write, summary: &WatchSummary, exit: Exit) -> io::Result<()> {
    write_record(
        out,
        &WatchSummaryRecord {
            schema: WATCH_SUMMARY,
            source: summary.source,
            tier: summary.tier,
            unknown: &summary.unknown,
            began: epoch_seconds(summary.began),
            ended: epoch_seconds(summary.ended),
            resets_sent: summary.resets_sent,
            resets_received: summary.resets_received,
            failed: summary.failed,
            follow_ups: summary.follow_ups,
            found: summary.found,
            harmless: summary.harmless,
            undecided: summary.undecided,
            unexplained: summary.unexplained,
            not_asked_for: summary.not_asked_for,
            by_cause: summary.by_cause.clone(),
            lost: summary.lost.iter().map(|(what, count)| (*what, *count)).collect(),
            insights: summary.insights.iter().map(InsightRecord::of).collect(),
            notes: &summary.notes,
            exit: exit.code(),
            exit_meaning: exit.meaning(),
        },
    )
}

#[derive(Serialize)]
struct UnexplainedRecord<'a> {
    schema: &'static str,
    client: String,
    server: String,
    ended: f64,
    kernel: KernelRecord<'a>,
}

#[derive(Serialize)]
struct WatchSummaryRecord<'a> {
    schema: &'static str,
    source: &'static str,
    tier: Option<&'static str>,
    unknown: &'a [String],
    began: f64,
    ended: f64,
    resets_sent: u64,
    resets_received: u64,
    failed: u64,
    follow_ups: u64,
    found: u64,
    harmless: u64,
    undecided: u64,
    unexplained: u64,
    not_asked_for: u64,
    by_cause: BTreeMap<&'static str, u64>,
    lost: BTreeMap<&'static str, u64>,
    insights: Vec<InsightRecord<'a>>,
    notes: &'a [String],
    exit: u8,
    exit_meaning: &'static str,
}

/// What the deciding kernel said, and the other end's where it is on the same machine.
#[derive(Serialize)]
pub(super) struct KernelRecord<'a> {
    #[serde(flatten)]
    deciding: TestimonyRecord<'a>,
    peer: Option<TestimonyRecord<'a>>,
}

#[derive(Serialize)]
struct TestimonyRecord<'a> {
    event: u64,
    time: f64,
    told: &'static str,
    side: Option<&'static str>,
    reason: Option<&'a str>,
    path: Option<&'static str>,
    state: Option<&'static str>,
    error: Option<i32>,
    unread: Option<u64>,
    unsent: Option<u64>,
    unacked: Option<u64>,
    received: Option<u64>,
    acked: Option<u64>,
    fin_received: Option<bool>,
    linger: Option<f64>,
    since_received: Option<f64>,
    since_sent: Option<f64>,
    tick: f64,
    retransmits: Option<u32>,
    request: Option<String>,
    status: Option<u16>,
    closed: Option<ClosedRecord>,
    predecessor: Option<PredecessorRecord<'a>>,
    trigger: Option<TriggerRecord>,
    process: Option<ProcessRecord<'a>>,
}

#[derive(Serialize)]
struct ClosedRecord {
    time: f64,
    received: u64,
    written: u64,
    since_received: f64,
    since_sent: f64,
    half: bool,
}

#[derive(Serialize)]
struct PredecessorRecord<'a> {
    local: String,
    remote: String,
    descriptor: u32,
    read: f64,
    closed: Option<f64>,
    process: Option<ProcessRecord<'a>>,
}

#[derive(Serialize)]
struct TriggerRecord {
    source: String,
    destination: String,
    bytes: u32,
    syn: bool,
    fin: bool,
}

#[derive(Serialize)]
struct ProcessRecord<'a> {
    pid: u32,
    tid: u32,
    uid: u32,
    name: &'a str,
    program: Option<&'a str>,
    container: Option<&'a str>,
    pod: Option<&'a str>,
    act: &'static str,
    signal: Option<u8>,
    status: Option<u8>,
    call: Option<&'a str>,
    told_to_end: Option<ToldToEndRecord<'a>>,
    known: &'static str,
    stack: Vec<FrameRecord<'a>>,
}

#[derive(Serialize)]
struct ToldToEndRecord<'a> {
    signal: u8,
    time: f64,
    pid: Option<u32>,
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct FrameRecord<'a> {
    address: String,
    function: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    module: Option<&'a str>,
}

impl KernelRecord<'_> {
    pub(super) fn of(hearing: &Hearing) -> KernelRecord<'_> {
        KernelRecord {
            deciding: TestimonyRecord::of(&hearing.deciding),
            peer: hearing.peer.as_ref().map(TestimonyRecord::of),
        }
    }
}

impl TestimonyRecord<'_> {
    fn of(testimony: &Testimony) -> TestimonyRecord<'_> {
        let seconds = |duration: Duration| duration.as_secs_f64();
        let wrote = testimony
            .acked
            .zip(testimony.unacked)
            .map(|(acked, unacked)| acked + unacked);
        TestimonyRecord {
            event: testimony.number,
            time: epoch_seconds(testimony.at),
            told: told(testimony.told),
            side: testimony.side.map(|side| side.name()),
            reason: testimony.reason.as_deref(),
            path: testimony.path.map(|path| path.name()),
            state: testimony.state.map(State::name),
            error: testimony.error,
            unread: testimony.unread,
            unsent: testimony.unsent,
            unacked: testimony.unacked,
            received: testimony.received,
            acked: testimony.acked,
            fin_received: testimony.fin_received,
            linger: testimony.linger.flatten().map(seconds),
            // Of what never came the kernel's clock tells nothing.
            since_received: testimony
                .since_received
                .filter(|_| testimony.received != Some(0))
                .map(seconds),
            since_sent: testimony.since_sent.filter(|_| wrote != Some(0)).map(seconds),
            tick: testimony.tick.as_secs_f64(),
            retransmits: testimony.retransmits,
            request: testimony
                .request
                .as_ref()
                .map(|request| format!("{} {}", request.head.method.as_str(), request.head.path)),
            status: testimony.response.as_ref().map(|response| response.head.status),
            closed: testimony.closed.as_ref().map(closed),
            predecessor: testimony.predecessor.as_ref().map(predecessor),
            trigger: testimony.trigger.as_ref().map(trigger),
            process: testimony.actor.as_ref().map(ProcessRecord::of),
        }
    }
}

impl ProcessRecord<'_> {
    fn of(actor: &Actor) -> ProcessRecord<'_> {
        ProcessRecord {
            pid: actor.pid,
            tid: actor.tid,
            uid: actor.uid,
            name: &actor.name,
            program: actor.program.as_deref(),
            container: actor.container.as_deref(),
            pod: actor.pod.as_deref(),
            act: act(actor.act),
            signal: match actor.act {
                Act::Killed(signal) => Some(signal),
                _ => None,
            },
            status: match actor.act {
                Act::Exit(status) => Some(status),
                _ => None,
            },
            call: actor.call.as_deref(),
            told_to_end: actor.told_to_end.as_ref().map(told_to_end),
            known: known(actor.known),
            stack: actor.frames.iter().map(frame).collect(),
        }
    }
}

fn told_to_end(told: &ToldToEnd) -> ToldToEndRecord<'_> {
    ToldToEndRecord {
        signal: told.signal,
        time: epoch_seconds(told.at),
        pid: told.by.as_ref().map(|(pid, _)| *pid),
        name: told.by.as_ref().map(|(_, name)| name.as_str()),
    }
}

fn frame(frame: &Frame) -> FrameRecord<'_> {
    FrameRecord {
        address: format!("{:#x}", frame.address),
        function: frame.function.as_deref(),
        file: frame.file.as_deref(),
        line: frame.line,
        module: frame.module.as_deref(),
    }
}

fn closed(closed: &Closed) -> ClosedRecord {
    ClosedRecord {
        time: epoch_seconds(closed.at),
        received: closed.received,
        written: closed.sent,
        since_received: closed.since_received.as_secs_f64(),
        since_sent: closed.since_sent.as_secs_f64(),
        half: closed.half,
    }
}

fn predecessor(before: &Predecessor) -> PredecessorRecord<'_> {
    PredecessorRecord {
        local: before.local.to_string(),
        remote: before.remote.to_string(),
        descriptor: before.descriptor,
        read: epoch_seconds(before.read_at),
        closed: before.closed.as_ref().map(|(at, _)| epoch_seconds(*at)),
        process: before.closed.as_ref().map(|(_, closer)| ProcessRecord::of(closer)),
    }
}

fn trigger(trigger: &Trigger) -> TriggerRecord {
    TriggerRecord {
        source: trigger.source.to_string(),
        destination: trigger.destination.to_string(),
        bytes: trigger.len,
        syn: trigger.syn,
        fin: trigger.fin,
    }
}

fn told(told: Told) -> &'static str {
    match told {
        Told::ResetSent => "reset-sent",
        Told::ResetReceived => "reset-received",
        Told::Failed => "failed",
        Told::Destroyed => "destroyed",
        Told::Overflowed => "overflowed",
        Told::Swapped => "swapped",
        Told::Retaken => "retaken",
    }
}

fn act(act: Act) -> &'static str {
    match act {
        Act::Unknown => "unknown",
        Act::Close => "close",
        Act::Shutdown => "shutdown",
        Act::Exit(_) => "exit",
        Act::Killed(_) => "killed",
        Act::Exec => "exec",
        Act::Disconnect => "disconnect",
        Act::Destroy => "destroy",
        Act::Owned => "owned",
    }
}

fn known(known: Known) -> &'static str {
    match known {
        Known::InCall => "in-call",
        Known::Remembered => "remembered",
        Known::Descriptor => "descriptor",
        Known::ClosedLater => "closed-later",
    }
}
