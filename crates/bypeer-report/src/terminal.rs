use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use bypeer_diagnose::misdelivered::astray::Asked;
use bypeer_diagnose::{Confidence, Evidence, Finding, Insight, NotJudged, Owner, Retry, Source};

use crate::Look;
use crate::escape::escape;
use crate::group::{Group, Groups, retry_index};
use crate::heard;
use crate::layout::Page;
use crate::look::Role;
use crate::summary::{self, Summary, counted};
use crate::time::{relative, utc};

/// Groups told in full; of the rest, which only a scan or an outage of many servers makes, the counts.
const GROUPS_TOLD: usize = 40;
/// Packets shown as proof; a finding that cites more is cut in the middle.
const PROOF_LINES: usize = 12;
/// Characters of a display filter: more make a line that nobody can use.
const FILTER_LENGTH: usize = 84;
/// Characters of a list of streams that may retry in one way.
const RETRY_LENGTH: usize = 40;
/// Up to so many connections, clients are named with their ports.
const ENDS_LISTED: u64 = 6;
/// Client addresses named in a group.
const CLIENTS_LISTED: usize = 5;

/// Said once, under all groups.
const MANUAL: &str = "`bypeer causes ID` prints the manual page of a cause, with what the standards ask for.";

/// The whole report: the groups worst first, what only several connections show, and the summary. Harmless groups are
/// told only with `all`.
pub fn report(groups: &Groups, insights: &[Insight], summary: &Summary, all: bool, look: Look) -> String {
    let ranked = groups.ranked();
    let (shown, hidden): (Vec<&Group>, Vec<&Group>) =
        ranked.into_iter().partition(|group| all || !group.example.harmless);
    let mut page = Page::new(look);
    write_answers(&mut page, &summary.answers);
    if shown.is_empty() {
        write_answers(&mut page, &summary.endings);
    }
    if !summary.answers.is_empty() || (shown.is_empty() && !summary.endings.is_empty()) {
        page.blank();
    }
    // An insight stands with the findings of its cause, else with the worst group of its server, else by itself.
    let home = |insight: &Insight| {
        let of_cause = shown.iter().position(|group| belongs(insight, &group.example));
        let at_server = || shown.iter().position(|group| insight.server == group.example.server);
        of_cause.or_else(at_server)
    };
    let homes: Vec<Option<usize>> = insights.iter().map(home).collect();
    // What is said of a cause in general is said once.
    let mut told: Vec<&Finding> = Vec::new();
    for (index, group) in shown.iter().enumerate().take(GROUPS_TOLD) {
        let patterns: Vec<&Insight> = insights
            .iter()
            .zip(&homes)
            .filter(|(_, home)| **home == Some(index))
            .map(|(insight, _)| insight)
            .collect();
        let to_server = groups.connections_to(group.example.server);
        let before = told.iter().copied().find(|before| before.cause == group.example.cause);
        write_group(&mut page, group, to_server, &patterns, before);
        told.push(&group.example);
        page.blank();
    }
    write_further(&mut page, shown.get(GROUPS_TOLD..).unwrap_or_default(), groups);
    // With a selection, what belongs to findings that were not asked for stays out; so does what only harmless ones show.
    let is_hidden = |insight: &Insight| hidden.iter().any(|group| belongs(insight, &group.example));
    let homeless = insights
        .iter()
        .zip(&homes)
        .filter(|(insight, home)| home.is_none() && !is_hidden(insight));
    let homeless: Vec<&Insight> = homeless.map(|(insight, _)| insight).collect();
    if !homeless.is_empty() && summary.selection.is_none() {
        page.headline("pattern", Role::Label, "what only several connections together show");
        for insight in homeless {
            page.paragraph(
                2,
                None,
                &format!("{} at {}: {}", insight.cause.id, insight.server, pattern(insight)),
            );
        }
        page.blank();
    }
    if shown.is_empty() {
        if summary.answers.is_empty() && summary.endings.is_empty() {
            page.paragraph(0, Some(Role::Strong), &nothing_shown(summary));
            page.blank();
        }
    } else if !summary.endings.is_empty() {
        write_answers(&mut page, &summary.endings);
        page.blank();
    }
    if !shown.is_empty() {
        page.paragraph(0, Some(Role::Faint), MANUAL);
        page.blank();
    }
    summary::write(&mut page, summary, hidden.iter().map(|group| group.count).sum());
    page.finish()
}

/// The groups worst first, and what is not told in full, of findings that came one by one; whether there was any to show.
pub(crate) fn write_groups(page: &mut Page, groups: &Groups, insights: &[Insight], all: bool) -> bool {
    let ranked = groups.ranked();
    let shown: Vec<&Group> = ranked
        .into_iter()
        .filter(|group| all || !group.example.harmless)
        .collect();
    // An insight stands with the worst group of its server.
    let home = |insight: &Insight| shown.iter().position(|group| insight.server == group.example.server);
    let homes: Vec<Option<usize>> = insights.iter().map(home).collect();
    let mut told: Vec<&Finding> = Vec::new();
    for (index, group) in shown.iter().enumerate().take(GROUPS_TOLD) {
        let at_home = insights.iter().zip(&homes).filter(|(_, home)| **home == Some(index));
        let patterns: Vec<&Insight> = at_home.map(|(insight, _)| insight).collect();
        let to_server = groups.connections_to(group.example.server);
        let before = told.iter().copied().find(|before| before.cause == group.example.cause);
        write_group(page, group, to_server, &patterns, before);
        told.push(&group.example);
        page.blank();
    }
    write_further(page, shown.get(GROUPS_TOLD..).unwrap_or_default(), groups);
    if !shown.is_empty() {
        page.paragraph(0, Some(Role::Faint), MANUAL);
        page.blank();
    }
    !shown.is_empty()
}

fn write_answers(page: &mut Page, answers: &[String]) {
    for answer in answers {
        page.headline("•", Role::Label, &escape(answer));
    }
}

/// What is not told in full, by cause.
fn write_further(page: &mut Page, further: &[&Group], groups: &Groups) {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for group in further {
        let (servers, connections) = counts.entry(group.example.cause.id).or_default();
        *servers += 1;
        *connections += group.count;
    }
    for (cause, count) in groups.beyond() {
        counts.entry(cause).or_default().1 += count;
    }
    if counts.is_empty() {
        return;
    }
    page.headline(
        "further",
        Role::Label,
        "what is not told in full (--cause picks one, JSON has all)",
    );
    for (cause, (servers, connections)) in counts {
        let connections = counted(connections, "connection");
        page.paragraph(
            2,
            None,
            &format!("{cause}: {connections} to {servers} or more other servers"),
        );
    }
    page.blank();
}

/// One line about one finding, for a capture that is still being made.
pub fn brief(finding: &Finding, look: Look) -> String {
    let (tag, role) = tag(finding);
    let line = format!(
        " {} stream {} {} → {}: {}",
        finding.cause.id,
        finding.stream,
        finding.client,
        finding.server,
        escape(&finding.verdict)
    );
    format!(
        "{} {}{line}",
        look.paint(Role::Faint, &utc(finding.ended)),
        look.paint(role, tag)
    )
}

fn nothing_shown(summary: &Summary) -> String {
    let accounts = &summary.accounts;
    let unexplained: u64 = accounts
        .not_judged
        .iter()
        .filter(|(reason, _)| *reason == NotJudged::NoCauseFits)
        .map(|(_, count)| count)
        .sum();
    if summary.selection.is_some() {
        "No finding among those asked for.".to_owned()
    } else if unexplained > 0 {
        format!(
            "No cause was found, but {} abnormally: the summary names what to look at.",
            ended(unexplained)
        )
    } else if accounts.harmless > 0 {
        format!(
            "Nothing to complain about. {} in a harmless way.",
            ended(accounts.harmless)
        )
    } else if accounts.ended_well == accounts.connections {
        "Every connection ended well.".to_owned()
    } else {
        "Nothing found.".to_owned()
    }
}

fn ended(count: u64) -> String {
    format!("{} ended", counted(count, "connection"))
}

fn belongs(insight: &Insight, finding: &Finding) -> bool {
    insight.cause == finding.cause && insight.server == finding.server
}

/// With the number of connections, where the sentence does not name one itself.
fn pattern(insight: &Insight) -> String {
    let what = escape(&insight.what);
    if what.contains(" connections") {
        return what.into_owned();
    }
    format!(
        "{what} (from {})",
        counted(u64::from(insight.connections), "connection")
    )
}

pub(crate) fn tag(finding: &Finding) -> (&'static str, Role) {
    match finding.confidence {
        _ if finding.harmless => ("harmless", Role::Harmless),
        Confidence::Certain => ("certain", Role::Certain),
        Confidence::Likely => ("likely", Role::Likely),
        Confidence::Undecided => ("undecided", Role::Undecided),
    }
}

/// `before` is a finding of the same cause that was told already.
fn write_group(
    page: &mut Page,
    group: &Group,
    to_server: Option<u64>,
    patterns: &[&Insight],
    before: Option<&Finding>,
) {
    let finding = &group.example;
    let (tag, role) = tag(finding);
    page.headline(&format!("{tag}:"), role, &escape(&finding.verdict));
    page.items(2, Role::Faint, &subtitle(group, to_server));
    page.blank();
    page.field("closed", &escape(&finding.closing));
    heard::write_process(page, finding);
    write_rivals(page, finding);
    write_misdelivered(page, finding);
    page.field("lost", &lost(group));
    page.field("retry", &retry(group));
    match before.filter(|before| before.fixes == finding.fixes) {
        Some(before) if !finding.fixes.is_empty() => page.field("fix", &format!("as for {} above", before.server)),
        _ => write_fixes(page, finding),
    }
    write_proof(page, group);
    for insight in patterns {
        page.field("pattern", &pattern(insight));
    }
    if let Some(settle) = &finding.settle {
        page.field("confirm", &escape(settle));
    }
    write_connections(page, group);
    let same_clauses = |before: &Finding| ids(before) == ids(finding);
    if !before.is_some_and(same_clauses) {
        write_clauses(page, finding);
    }
}

/// Whose answer went to whom: both connections, whichever of them the finding is about.
fn write_misdelivered(page: &mut Page, finding: &Finding) {
    let Some(astray) = finding.misdelivered.as_deref() else {
        return;
    };
    let side = |asked: &Asked| {
        let (stream, packet) = (asked.stream, asked.at.number);
        format!(
            "{} from {} (stream {stream}, packet {packet})",
            escape(&asked.route),
            asked.client
        )
    };
    page.field("whose", &format!("the answer to {}", side(&astray.due)));
    page.field(
        "given",
        &format!("to {}, in packet {}", side(&astray.given), astray.answer.number),
    );
}

/// `unread-request-body at 127.0.0.1:8000 (gunicorn) · 7 of 42 connections · to change: the server program`
fn subtitle(group: &Group, to_server: Option<u64>) -> Vec<String> {
    let finding = &group.example;
    let software = finding
        .server_software
        .as_ref()
        .map(|name| format!(" ({})", escape(name)))
        .unwrap_or_default();
    let mut count = match to_server {
        Some(total) if total > group.count => {
            format!("{} of {} connections to it", group.count, total)
        }
        Some(_) if group.count == 1 => "the only connection to it".to_owned(),
        Some(_) if group.count == 2 => "both connections to it".to_owned(),
        Some(_) => format!("all {} connections to it", group.count),
        None => counted(group.count, "connection"),
    };
    if group.certain > 0 && group.certain < group.count {
        count.push_str(&format!(", {} of them certain", group.certain));
    }
    let mut items = vec![format!("{} at {}{software}", finding.cause.id, finding.server), count];
    // A note accuses nobody, and what is undecided had better not.
    if !finding.harmless && finding.confidence != Confidence::Undecided {
        items.push(format!("to blame: {}", finding.blame));
    }
    items
}

fn lost(group: &Group) -> String {
    let finding = &group.example;
    let what = escape(&finding.lost.what);
    if group.count == 1 || group.lost_requests == 0 {
        return what.into_owned();
    }
    let bytes = match group.lost_bytes {
        0 => String::new(),
        bytes => format!(", {} of responses", counted(bytes, "byte")),
    };
    let example = match finding.heard {
        Some(_) => "of the one below".to_owned(),
        None => format!("on stream {}", finding.stream),
    };
    format!(
        "{} without a whole answer{bytes}; {example}: {what}",
        counted(group.lost_requests, "request")
    )
}

fn retry(group: &Group) -> String {
    let finding = &group.example;
    let word = match finding.retry {
        Retry::Safe => "safe",
        Retry::Unsafe => "unsafe",
        Retry::Unknown => "cannot be told",
        Retry::NotNeeded => "nothing to retry",
    };
    let reason = escape(&finding.retry_reason);
    let reason = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    let kinds = group.retries.iter().filter(|count| **count > 0).count();
    if kinds <= 1 {
        return format!("{word}{reason}");
    }
    let kinds = [
        (Retry::Safe, "safe"),
        (Retry::Unsafe, "unsafe"),
        (Retry::Unknown, "cannot be told"),
        (Retry::NotNeeded, "nothing to retry"),
    ];
    if finding.heard.is_some() {
        let counts = kinds.iter().filter_map(|(kind, name)| {
            let count = group.retries[retry_index(*kind)];
            (count > 0).then(|| format!("{name} on {count}"))
        });
        let counts: Vec<String> = counts.collect();
        return format!("{}; here {word}{reason}", counts.join(", "));
    }
    let mut split = Vec::new();
    for (kind, name) in kinds {
        let count = group.retries[retry_index(kind)];
        if count == 0 {
            continue;
        }
        let of_kind = group.seen.iter().filter(|seen| seen.retry == kind);
        let (runs, shown) = runs(of_kind.map(|seen| seen.stream).collect(), RETRY_LENGTH);
        let more = match count.saturating_sub(shown) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        split.push(match shown {
            0 => format!("{name} on {}", counted(count, "connection")),
            1 if more.is_empty() => format!("{name} on stream {runs}"),
            _ => format!("{name} on streams {runs}{more}"),
        });
    }
    format!("{}; on stream {} {word}{reason}", split.join("; "), finding.stream)
}

fn write_proof(page: &mut Page, group: &Group) {
    let finding = &group.example;
    let one_of = if group.count > 1 {
        format!(", one of {}", group.count)
    } else {
        String::new()
    };
    let opened = utc(finding.began());
    let which = if finding.heard.is_some() {
        format!("from {}, at {}{one_of}", finding.client, utc(finding.ended))
    } else {
        format!(
            "stream {} from {}, opened {opened}{one_of}",
            finding.stream, finding.client
        )
    };
    page.field("proof", &which);
    let evidence = &finding.evidence;
    let cut = evidence.len().saturating_sub(PROOF_LINES);
    let head = if cut > 0 { PROOF_LINES / 2 } else { evidence.len() };
    let widths = ProofWidths::of(finding);
    for (index, item) in evidence.iter().enumerate() {
        if index >= head && index < head + cut {
            if index == head {
                page.field("", &format!("({cut} more)"));
            }
            continue;
        }
        page.field_hanging("", &widths.lead(item, finding), &escape(&item.what));
    }
}

/// Column widths of a proof, so that its numbers stand in line.
struct ProofWidths {
    number: usize,
    time: usize,
}

impl ProofWidths {
    fn of(finding: &Finding) -> ProofWidths {
        let packets = || finding.evidence.iter().filter(|item| item.source != Source::Group);
        ProofWidths {
            number: packets().map(|item| item.number.to_string().len()).max().unwrap_or(1),
            time: packets()
                .map(|item| relative(item.time, finding.began()).len())
                .max()
                .unwrap_or(1),
        }
    }

    fn lead(&self, item: &Evidence, finding: &Finding) -> String {
        let (number, time) = (self.number, self.time);
        match item.source {
            Source::Packet => format!(
                "#{:<number$}  {:>time$}  ",
                item.number,
                relative(item.time, finding.began())
            ),
            Source::Kernel => format!("{:>time$}  ", relative(item.time, finding.began())),
            Source::Group => format!("{:<width$}", "others", width = number + time + 5),
        }
    }
}

fn write_rivals(page: &mut Page, finding: &Finding) {
    if finding.rivals.is_empty() {
        return;
    }
    if finding.confidence == Confidence::Undecided {
        page.field("either", &format!("{}: {}", finding.cause.id, finding.cause.title));
    }
    let label = if finding.confidence == Confidence::Undecided {
        "or"
    } else {
        "perhaps"
    };
    for rival in &finding.rivals {
        page.field(label, &format!("{}: {}", rival.cause.id, escape(&rival.because)));
    }
}

fn ids(finding: &Finding) -> Vec<&str> {
    finding.clauses.iter().map(|clause| clause.id.as_str()).collect()
}

/// Names of clauses only, the best by its heading too: what they ask for stands in the manual page.
fn write_clauses(page: &mut Page, finding: &Finding) {
    let Some((first, others)) = finding.clauses.split_first() else {
        return;
    };
    let mut text = format!("{} {}", first.id, first.title);
    if !others.is_empty() {
        let others: Vec<&str> = others.iter().map(|clause| clause.id.as_str()).collect();
        text.push_str(&format!("; also {}", others.join(", ")));
    }
    page.field("standard", &text);
}

fn write_fixes(page: &mut Page, finding: &Finding) {
    let mut label = "fix";
    for owner in [Owner::Server, Owner::Proxy, Owner::Client, Owner::Network] {
        for fix in finding.fixes.iter().filter(|fix| fix.owner == owner) {
            page.field(label, &format!("{}: {}", owner.id(), escape(&fix.what)));
            label = "";
        }
    }
}

fn write_connections(page: &mut Page, group: &Group) {
    if group.example.heard.is_none() {
        let (filter, shown) = display_filter(group.seen.iter().map(|seen| seen.stream).collect());
        page.field_to_copy("wireshark", &filter);
        let beyond = group.count.saturating_sub(shown);
        if beyond > 0 {
            page.field("", &format!("and {} more", counted(beyond, "connection")));
        }
    }
    if group.count > 1 {
        page.field("clients", &clients(group));
    }
}

/// `tcp.stream in {1, 5..9}`, of a length that one can use, and how many of the connections it shows.
fn display_filter(streams: Vec<u32>) -> (String, u64) {
    const BEGIN: &str = "tcp.stream in {";
    if let (Some(first), true) = (
        streams.first(),
        streams.iter().all(|stream| Some(stream) == streams.first()),
    ) {
        return (format!("tcp.stream eq {first}"), streams.len() as u64);
    }
    let (runs, shown) = runs(streams, FILTER_LENGTH - BEGIN.len());
    (format!("{BEGIN}{runs}}}"), shown)
}

/// `1, 5..9` in at most `length` characters or so, and how many of the streams that holds. Connections that used the same
/// addresses one after the other can share a stream.
fn runs(mut streams: Vec<u32>, length: usize) -> (String, u64) {
    streams.sort_unstable();
    let mut text = String::new();
    let mut shown = 0;
    for run in streams.chunk_by(|stream, next| next - stream <= 1) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        let numbers = match last - first {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first}..{last}"),
        };
        if text.len() + numbers.len() > length {
            break;
        }
        if shown > 0 {
            text.push_str(", ");
        }
        text.push_str(&numbers);
        shown += run.len() as u64;
    }
    (text, shown)
}

/// Clients with their ports where they are few, else by address: `10.0.0.1 (4), 10.0.0.2 (3) and 5 others`.
fn clients(group: &Group) -> String {
    if group.count <= ENDS_LISTED {
        let ends: Vec<String> = group.seen.iter().map(|seen| seen.client.to_string()).collect();
        return ends.join(", ");
    }
    let mut counts: HashMap<IpAddr, u64> = HashMap::new();
    for seen in &group.seen {
        *counts.entry(seen.client.addr).or_default() += 1;
    }
    let mut counts: Vec<(IpAddr, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(addr, count)| (std::cmp::Reverse(*count), *addr));
    let named: Vec<String> = counts
        .iter()
        .take(CLIENTS_LISTED)
        .map(|(addr, count)| format!("{addr} ({count})"))
        .collect();
    let mut text = named.join(", ");
    if counts.len() > CLIENTS_LISTED {
        text.push_str(&format!(" and {} others", counts.len() - CLIENTS_LISTED));
    }
    text
}

#[cfg(test)]
pub(crate) mod example;
#[cfg(test)]
mod tests;
