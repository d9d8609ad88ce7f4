//! `bypeer lab show`: one round, as a ladder, and what explain makes of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::bail;
use bypeer_lab::round::{Bench, Round};
use bypeer_lab::wire::RecordedFrame;
use bypeer_report::{Exit, Groups, Ladder, LadderRow, PacketKind, Summary, report, segment_text};
use bypeer_wire::Timestamp;
use bypeer_wire::capture::LinkType;
use bypeer_wire::packet::{Decoded, Decoder, Segment};

use super::arguments::Show;
use super::run::{actor_program, capture_of, happened, keep};
use super::{Chosen, complain, examine, find, fix_of, real_of, stop};
use crate::cli::Color;
use crate::engine::Outcome;
use crate::output;

/// So many resets of a kind are shown.
const SIMILAR: usize = 3;

/// The one scenario that a command line asks for.
pub(super) fn choose(show: &Show) -> anyhow::Result<Chosen> {
    let scenarios = find(&show.which)?;
    let [scenario] = scenarios.as_slice() else {
        let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.id.as_str()).collect();
        bail!(
            "{} is shown by several scenarios; name one of {}",
            show.which,
            names.join(", ")
        );
    };
    if !scenario.hosts.contains_key(&show.at) {
        bail!(
            "--at {}: {} has no such host; it has {}",
            show.at,
            scenario.id,
            scenario.host_names().join(", ")
        );
    }
    let fix = show.fix.as_deref().map(|id| fix_of(scenario, id)).transpose()?;
    let real = show.real.as_deref().map(|id| real_of(scenario, id)).transpose()?;
    Chosen::new(scenario, fix, real, &show.change)
}

/// Shows it, in the lab's namespaces.
pub(super) fn run(show: &Show, number: u32, color: Color) -> anyhow::Result<Exit> {
    let chosen = choose(show)?;
    let missing = chosen.missing();
    if !missing.is_empty() {
        bail!(
            "{} needs {}, which is not in the PATH",
            chosen.variant.label(),
            missing.join(", ")
        );
    }
    let stop = stop()?;
    let played = Bench::new(chosen.plan.clone(), actor_program(), number, 1, stop)
        .and_then(|mut bench| Ok((bench.round(1, show.change.seed)?, bench)));
    let (round, bench) = match played {
        Ok(played) => played,
        Err(error) => {
            complain(&chosen.variant.label(), &error);
            return Ok(Exit::Trouble);
        }
    };
    let look = output::look(color);
    let mut out = output::stdout();

    writeln!(out, "{}: {}\n", chosen.variant.label(), chosen.variant.title)?;
    write!(out, "{}", ladder(&round).render(look))?;
    if let Some(why) = bench.no_trace() {
        writeln!(out, "\n{why}")?;
    }
    for account in round
        .accounts
        .iter()
        .filter(|account| !account.scripted && !account.output.trim().is_empty())
    {
        writeln!(
            out,
            "\n{} printed:\n{}",
            account.host,
            bypeer_report::escape(account.output.trim_end())
        )?;
    }
    writeln!(out, "\nIn truth")?;
    for line in truth(&round) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "\nexplain, of {}'s capture\n", show.at)?;
    let (verdict, wrong) = match capture_of(&round, &show.at) {
        None => bail!("{} saw nothing", show.at),
        Some(capture) => {
            let outcome = examine::explain(&capture);
            let cause = chosen.scenario.cause.as_deref();
            let verdict = examine::judge(&outcome, &show.at, cause, &chosen.plan.truth, happened(&round));
            write!(out, "{}", report_of(outcome, look))?;
            verdict
        }
    };
    out.flush()?;
    if let Some(folder) = &show.change.keep {
        keep(folder, &chosen, &round, &[(show.at.clone(), verdict)])?;
    }
    let came_true = round.verdict.shows() || chosen.users_own || chosen.variant.fix.is_some();
    Ok(if came_true && wrong.is_none() {
        Exit::Nothing
    } else {
        Exit::Findings
    })
}

/// What actors and kernels say, in words.
fn truth(round: &Round) -> Vec<String> {
    let verdict = &round.verdict;
    let mut lines = Vec::new();
    let clients = round.accounts.iter().filter(|account| account.is_client());
    for (account, ending) in clients.zip(&verdict.endings) {
        let cut = account
            .deeds
            .iter()
            .rev()
            .find(|deed| deed.counts && deed.error.is_some());
        let got = cut.and_then(|deed| Some((deed.bytes, deed.expected?)));
        lines.push(match got {
            Some((bytes, expected)) => {
                format!(
                    "{} ended with {ending}, after {bytes} of {expected} bytes",
                    account.host
                )
            }
            None => format!("{} ended with {ending}", account.host),
        });
    }
    let mut resets: Vec<(String, u64)> = Vec::new();
    for (host, event) in &round.resets {
        let reason = event.reason.as_deref().unwrap_or("no reason given");
        let text = format!(
            "{host}'s kernel sent a reset: {reason} in {} ({})",
            event.state,
            event.path().name()
        );
        match resets.iter_mut().find(|(other, _)| *other == text) {
            Some((_, count)) => *count += 1,
            None => resets.push((text, 1)),
        }
    }
    lines.extend(resets.into_iter().map(|(text, count)| match count {
        1 => text,
        count => format!("{text}, {count} times"),
    }));
    for (host, death) in &round.deaths {
        if let Some(unread @ 1..) = death.unread
            && !death.is_listener()
        {
            lines.push(format!(
                "{host}: {unread} bytes lay unread in {} when it died",
                death.local
            ));
        }
    }
    lines.extend(
        verdict
            .complaints
            .iter()
            .map(|complaint| format!("not as the scenario claims: {complaint}")),
    );
    lines.extend(
        round
            .recording
            .unused_rules
            .iter()
            .map(|rule| format!("the wire had no use for its rule: {rule}")),
    );
    lines.extend(
        verdict
            .unchecked
            .iter()
            .map(|unchecked| format!("could not be looked at: {unchecked}")),
    );
    lines
}

fn report_of(outcome: Outcome, look: bypeer_report::Look) -> String {
    let mut groups = Groups::new();
    let findings = outcome.findings.len() as u64;
    for finding in outcome.findings {
        groups.add(finding);
    }
    groups.take_connections(outcome.groups);
    let summary = Summary {
        accounts: outcome.accounts,
        unexplained: outcome.unexplained,
        issues: outcome.issues,
        files: Vec::new(),
        packets: outcome.packets,
        first: outcome.span.map(|(first, _)| first),
        last: outcome.span.map(|(_, last)| last),
        findings,
        selection: None,
        interrupted: false,
        answers: outcome.answers,
        endings: outcome.endings,
        notes: Vec::new(),
    };
    report(&groups, &outcome.insights, &summary, true, look)
}

/// Packets, deeds and the kernels' words of a round, on one clock.
fn ladder(round: &Round) -> Ladder {
    let began = round
        .recording
        .frames
        .iter()
        .map(|frame| frame.time)
        .min()
        .unwrap_or(round.began);
    let at = |time: Timestamp| time.since(began);
    let hosts: Vec<String> = round.hosts.iter().map(|(name, _)| name.clone()).collect();
    let number = |name: &str| hosts.iter().position(|host| host == name).unwrap_or(usize::MAX);
    let mut rows = packets(&round.recording.frames, round, &at);
    for account in &round.accounts {
        for deed in &account.deeds {
            let text = match &deed.error {
                Some(error) => format!("{}: {error}", deed.what),
                None if deed.bytes > 0 && deed.what.starts_with("read") => {
                    format!("{}: {} bytes", deed.what, deed.bytes)
                }
                None => deed.what.clone(),
            };
            let host = number(&account.host);
            rows.push(LadderRow::Deed {
                at: at(Timestamp(deed.time)),
                host,
                text,
                failed: deed.error.is_some(),
            });
        }
    }
    let mut told: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (host, event) in &round.resets {
        let reason = event.reason.as_deref().unwrap_or("reset");
        let count = told.entry((host, reason)).or_default();
        *count += 1;
        if *count <= SIMILAR {
            rows.push(LadderRow::Kernel {
                at: at(event.time),
                host: number(host),
                text: reason.to_owned(),
            });
        }
    }
    for (time, name) in &round.marks {
        rows.push(LadderRow::Note {
            at: at(*time),
            text: format!("mark {name}"),
        });
    }
    let left_out = fold_resets(&mut rows);
    if left_out > 0 {
        let end = round
            .recording
            .frames
            .iter()
            .map(|frame| at(frame.time))
            .max()
            .unwrap_or_default();
        rows.push(LadderRow::Note {
            at: end,
            text: format!("{left_out} more resets like these are not shown"),
        });
    }
    Ladder { hosts, rows }
}

/// Each late segment draws a reset of its own: the first few tell it all. Returns how many it took out.
fn fold_resets(rows: &mut Vec<LadderRow>) -> usize {
    let mut told: BTreeMap<(usize, String), usize> = BTreeMap::new();
    let before = rows.len();
    rows.retain(|row| match row {
        LadderRow::Packet {
            from,
            text,
            kind: PacketKind::Reset,
            ..
        } => {
            let count = told.entry((*from, text.clone())).or_default();
            *count += 1;
            *count <= SIMILAR
        }
        _ => true,
    });
    before - rows.len()
}

/// Each frame that a host sent with its arrival elsewhere, if it arrived; those that the wire made have no sender.
fn packets(frames: &[RecordedFrame], round: &Round, at: &impl Fn(Timestamp) -> Duration) -> Vec<LadderRow> {
    let identities: Vec<Option<Identity>> = frames.iter().map(|frame| with_segment(frame, Identity::of)).collect();
    let mut arrived = vec![false; frames.len()];
    let mut rows = Vec::new();
    for (index, frame) in frames.iter().enumerate().filter(|(_, frame)| frame.sent_by_host) {
        let Some(identity) = identities[index] else { continue };
        let arrival = (index..frames.len()).find(|other| {
            let candidate = &frames[*other];
            !candidate.sent_by_host
                && !arrived[*other]
                && candidate.port != frame.port
                && identities[*other].is_some_and(|other| other.same(&identity))
        });
        let addressed = || {
            round
                .hosts
                .iter()
                .position(|(_, address)| IpAddr::from(*address) == identity.destination)
        };
        let to = arrival.map_or_else(|| addressed().unwrap_or(usize::MAX), |other| frames[other].port);
        let arrives = arrival.map(|other| at(frames[other].time));
        if let Some(other) = arrival {
            arrived[other] = true;
        }
        rows.extend(with_segment(frame, |segment| {
            LadderRow::packet(at(frame.time), frame.port, to, arrives, segment)
        }));
    }
    for (index, frame) in frames.iter().enumerate() {
        if frame.sent_by_host || arrived[index] {
            continue;
        }
        let host = round.hosts.get(frame.port).map_or("?", |(name, _)| name.as_str());
        let what = with_segment(frame, segment_text).unwrap_or_else(|| "an ICMP error".to_owned());
        rows.push(LadderRow::Note {
            at: at(frame.time),
            text: format!("the wire sends {host}: {what}"),
        });
    }
    rows
}

/// What a segment keeps on its way, also through a NAT.
#[derive(Clone, Copy)]
struct Identity {
    numbers: (u32, u32, u8, u32),
    destination: IpAddr,
}

impl Identity {
    fn of(segment: &Segment<'_>) -> Identity {
        Identity {
            numbers: (segment.seq, segment.ack, segment.flags.0, segment.payload_len),
            destination: segment.destination.addr,
        }
    }

    fn same(&self, other: &Identity) -> bool {
        self.numbers == other.numbers
    }
}

/// Hands a frame's TCP segment on, if it is one. The wire carries no fragments: each frame can be decoded by itself.
fn with_segment<T>(frame: &RecordedFrame, work: impl FnOnce(&Segment<'_>) -> T) -> Option<T> {
    let length = u32::try_from(frame.bytes.len()).ok()?;
    match Decoder::new().decode(LinkType::ETHERNET, &frame.bytes, length, frame.time) {
        Decoded::Tcp(segment) => Some(work(&segment)),
        _ => None,
    }
}
