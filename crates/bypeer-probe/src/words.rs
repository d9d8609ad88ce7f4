//! Plans and cards in words, for people.

use std::time::Duration;

use bypeer_diagnose::facts::Sure;
use bypeer_diagnose::{Confidence, Finding, Party};
use bypeer_report::{Look, Page, Role, escape};

use crate::advice::{Advice, Lines, is_beyond_clients, seconds};
use crate::baseline::Comparison;
use crate::card::{Card, Done};
use crate::check::{Check, Loses, Risk, Severity, Status, Turn};
use crate::prober::{Options, USER_AGENT};
use crate::run::FIRST_LOOK;
use crate::target::Target;

/// What will be done, before it is done.
pub fn plan(target: &Target, options: &Options, checks: &[&Check], look: Look) -> String {
    let mut page = Page::new(look);
    let plans: Vec<_> = checks.iter().map(|check| (check, (check.plan)(options))).collect();
    let connections: u32 = plans.iter().map(|(_, plan)| plan.connections).sum();
    let requests: u32 = plans.iter().map(|(_, plan)| plan.requests).sum();
    let (together, apart): (Vec<_>, Vec<_>) = plans
        .iter()
        .partition(|(check, _)| check.turn == Turn::Together && options.serial != Some(true));
    let together = together.iter().map(|(_, plan)| plan.longest).max().unwrap_or_default();
    let longest = together + apart.iter().map(|(_, plan)| plan.longest).sum::<Duration>() + options.patience * 3;
    page.headline("PLAN", Role::Strong, &escape(&format!("{target} at {}", target.place)));
    page.paragraph(
        2,
        None,
        &format!(
            "at most {} connections ({} at once) and {} requests as {USER_AGENT}, in at most {}, or until Ctrl-C",
            connections + FIRST_LOOK,
            options.at_once,
            requests + FIRST_LOOK,
            longest_words(longest)
        ),
    );
    for (check, plan) in plans {
        page.field_hanging("", &format!("{:<18} ", check.id), &plan.what);
    }
    page.finish()
}

fn longest_words(time: Duration) -> String {
    match time.as_secs() {
        ..120 => format!("{} s", time.as_secs().max(1)),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

/// The card.
///
/// `clients`: ids of software whose settings are shown in full; of others those that fit on a line.
pub fn card(card: &Card, advice: &Advice, clients: &[&str], look: Look) -> String {
    let mut page = Page::new(look);
    heading(&mut page, card, advice);
    let mut told = Vec::new();
    for (check, risk) in card.risks() {
        page.apart();
        tell_risk(&mut page, check, risk, &mut told);
    }
    page.apart();
    page.paragraph(0, Some(Role::Strong), "What was seen");
    for done in &card.checks {
        tell_check(&mut page, done);
    }
    settings(&mut page, card, advice, clients);
    page.finish()
}

fn heading(page: &mut Page, card: &Card, advice: &Advice) {
    page.paragraph(
        0,
        Some(Role::Strong),
        &escape(&format!("{} at {}", card.target, card.place)),
    );
    let mut facts = Vec::new();
    match advice.products.as_slice() {
        [] => facts.push("product unknown".to_owned()),
        products => facts.extend(products.iter().map(|found| {
            let version = found
                .version
                .as_ref()
                .map_or_else(String::new, |version| format!(" {version}"));
            let perhaps = if found.sure == Sure::Perhaps { "perhaps " } else { "" };
            format!("{perhaps}{}{version} ({})", found.software.name, escape(&found.why))
        })),
    }
    facts.push(format!("round trip {:.1} ms", card.round_trip.as_secs_f64() * 1000.0));
    facts.push(format!("{} connections in {}", card.connections, seconds(card.took)));
    page.items(2, Role::Faint, &facts);
    if let Some(workers) = card.workers {
        let at_once = match workers {
            1 => "one connection at a time: a second one waits until the first is closed".to_owned(),
            more => format!("{more} connections at a time: others wait until one of them is closed"),
        };
        page.paragraph(
            2,
            None,
            &format!("It works on {at_once}. So it was asked over one after the other."),
        );
    }
    let status = card.first.head.status;
    if let (300..=399, Some(place)) = (status, card.first.field("location")) {
        let place = place.split('?').next().unwrap_or_default();
        page.paragraph(
            2,
            None,
            &escape(&format!("It redirects ({status}) to {place}; what was probed is the answer that redirects. Give that URL to probe where it leads.")),
        );
    } else if status >= 400 {
        page.paragraph(2, None, &format!("The URL is answered with {status}: what was probed are answers like that. Give a path that is there to probe others."));
    }
    if card.stopped {
        page.paragraph(
            2,
            Some(Role::Undecided),
            "Stopped before the end: what is told was seen until then.",
        );
    }
    let count = |severity| {
        card.risks()
            .iter()
            .filter(|(_, risk)| risk.severity == severity)
            .count()
    };
    if count(Severity::Fault) + count(Severity::Trap) == 0 {
        page.paragraph(
            2,
            Some(Role::Harmless),
            "Nothing was found by which a request or an answer can be lost.",
        );
    }
}

/// `told`: clauses whose words stand above already.
fn tell_risk(page: &mut Page, check: &Check, risk: &Risk, told: &mut Vec<&'static str>) {
    let role = match (risk.severity, risk.sure) {
        (Severity::Note, _) => Role::Harmless,
        (_, Confidence::Undecided) => Role::Undecided,
        (Severity::Trap, _) => Role::Likely,
        (Severity::Fault, _) => Role::Certain,
    };
    page.headline(&risk.severity.name().to_uppercase(), role, &escape(&risk.what));
    page.field("cause", &format!("{} ({}), by {}", risk.cause, risk.sure, check.id));
    if risk.loses != Loses::Nothing {
        page.field("loses", risk.loses.words());
    }
    for (index, why) in risk.because.iter().enumerate() {
        page.field(if index == 0 { "seen" } else { "" }, &escape(why));
    }
    if is_beyond_clients(risk) {
        page.field(
            "mended by",
            "the server's owner; no setting of a client keeps it from happening",
        );
    }
    let (again, new): (Vec<&str>, Vec<&str>) = risk.clauses.iter().partition(|clause| told.contains(*clause));
    let mut lines: Vec<String> = new.iter().map(|clause| in_words(clause)).collect();
    if !again.is_empty() {
        lines.push(format!("{} (above)", again.join(", ")));
    }
    for (index, line) in lines.iter().enumerate() {
        page.field(if index == 0 { "standard" } else { "" }, line);
    }
    told.extend(new);
}

/// A clause and what it asks for.
fn in_words(clause: &str) -> String {
    bypeer_diagnose::clause(clause).map_or_else(|| clause.to_owned(), |known| format!("{clause}: {}", known.requires))
}

fn tell_check(page: &mut Page, done: &Done) {
    let mut lines = Vec::new();
    match &done.outcome.status {
        Status::Done => {}
        Status::Cut(why) => lines.push(format!("not to its end: {why}")),
        Status::Skipped(why) => lines.push(format!("not done: {why}")),
        Status::Failed(why) => lines.push(format!("could not be done: {why}")),
    }
    lines.extend(done.outcome.seen.iter().cloned());
    if lines.is_empty() {
        lines.push("nothing to tell".to_owned());
    }
    page.paragraph(
        2,
        Some(Role::Label),
        &format!("{}: {}", done.check.id, done.check.title),
    );
    for line in lines {
        page.paragraph(6, None, &escape(&line));
    }
}

fn settings(page: &mut Page, card: &Card, advice: &Advice, clients: &[&str]) {
    let rule = &advice.client;
    page.apart();
    page.paragraph(0, Some(Role::Strong), "What clients are to be set to");
    let mut rules = Vec::new();
    if rule.no_reuse {
        rules.push("use no connection twice".to_owned());
    }
    if let Some(limit) = rule.pool_idle {
        rules.push(format!(
            "do not reuse a connection that was idle for more than {}",
            seconds(limit)
        ));
    }
    if let Some(requests) = rule.pool_requests {
        rules.push(format!("use a connection for at most {requests} requests"));
    }
    if let Some(lifetime) = rule.pool_lifetime {
        rules.push(format!(
            "do not reuse a connection that is older than {}",
            seconds(lifetime)
        ));
    }
    let because = rule.because.join("; ");
    match (rules.is_empty(), because.is_empty()) {
        (true, true) => page.paragraph(2, None, "Nothing that was measured asks for a setting."),
        (true, false) => page.paragraph(2, None, &format!("Nothing: {because}.")),
        (false, _) => page.paragraph(2, None, &format!("{}: {because}.", capitalised(&rules.join("; ")))),
    }
    if clients.is_empty() {
        tell_short(page, &advice.clients);
    }
    for client in clients {
        match advice.for_client(client) {
            Some(lines) => tell_lines(page, &lines),
            None => page.paragraph(
                2,
                None,
                &format!("{client}: no setting of it is known that would do this."),
            ),
        }
    }
    if advice.beyond_clients {
        page.paragraph(
            2,
            Some(Role::Certain),
            "No client setting helps against the faults that say so above: they are the server's to mend.",
        );
    }
    if !advice.server.is_empty() {
        page.apart();
        page.paragraph(0, Some(Role::Strong), "What the server can be set to instead");
        for lines in &advice.server {
            tell_lines(page, lines);
        }
    }
    if card
        .checks
        .iter()
        .any(|done| done.outcome.risks.iter().any(|risk| risk.severity > Severity::Note))
    {
        page.apart();
        page.paragraph(0, Some(Role::Faint), "`bypeer causes CAUSE` tells how each comes about and what else mends it; `bypeer probe --manual CHECK` what a check asks.");
    }
}

/// Columns of a client's name.
const NAME: usize = 28;

/// Settings that fit on a line each, and the names of the others.
fn tell_short(page: &mut Page, clients: &[Lines]) {
    let is_short = |lines: &&Lines| lines.lines.iter().all(|line| !line.text.contains('\n'));
    for lines in clients.iter().filter(is_short) {
        for (index, line) in lines.lines.iter().enumerate() {
            let name = if index == 0 {
                lines.name.split(" (").next().unwrap_or(lines.name)
            } else {
                ""
            };
            page.verbatim(4, Role::Copy, &format!("{name:<NAME$} {}", line.text));
        }
    }
    let longer: Vec<&str> = clients
        .iter()
        .filter(|lines| !is_short(lines))
        .map(|lines| lines.software)
        .collect();
    if !longer.is_empty() {
        page.paragraph(4, None, &format!("with more lines: {}", longer.join(", ")));
    }
    if !clients.is_empty() {
        page.paragraph(
            2,
            Some(Role::Faint),
            "`--client NAME` shows where a client's lines go, and what else to know; `--client all` shows it of all.",
        );
    }
}

fn tell_lines(page: &mut Page, lines: &Lines) {
    let perhaps = if lines.perhaps { "if it is " } else { "" };
    for line in &lines.lines {
        page.paragraph(
            2,
            Some(Role::Label),
            &format!("{perhaps}{} · {} ({})", lines.name, line.place, line.purpose),
        );
        for text in line.text.lines() {
            page.verbatim(6, Role::Copy, text);
        }
        if let Some(note) = line.note {
            page.paragraph(6, Some(Role::Faint), note);
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What became of connections of the probe that died, by findings about them, each with the check that opened it. `why_not`: there is
/// no recording of their packets, for this reason.
pub fn deaths(card: &Card, findings: &[(&'static str, Finding)], why_not: Option<&str>, look: Look) -> String {
    let mut page = Page::new(look);
    let reset = card.logs.iter().filter(|log| log.was_reset()).count();
    if reset == 0 && findings.is_empty() {
        return String::new();
    }
    page.blank();
    page.paragraph(0, Some(Role::Strong), "What became of the probe's own connections");
    let resets = match reset {
        0 => "none was reset".to_owned(),
        1 => "1 was reset".to_owned(),
        more => format!("{more} were reset"),
    };
    page.paragraph(
        2,
        None,
        &format!("Of {} connections {resets}; the others were closed.", card.logs.len()),
    );
    if let Some(why) = why_not.filter(|_| reset > 0) {
        page.paragraph(
            2,
            None,
            &escape(&format!(
                "Their packets were not recorded, so what is told of them is what this end's sockets saw: {why}"
            )),
        );
    }
    let mut groups: Vec<(&str, &Finding, usize)> = Vec::new();
    let own = |finding: &Finding| matches!(finding.blame, Party::ClientProgram | Party::ClientKernel);
    let ours = findings.iter().filter(|(_, finding)| own(finding)).count();
    for (check, finding) in findings.iter().filter(|(_, finding)| !own(finding)) {
        let same = |(known, other, _): &&mut (&str, &Finding, usize)| {
            known == check && other.cause.id == finding.cause.id && other.confidence == finding.confidence
        };
        match groups.iter_mut().find(same) {
            Some((_, _, count)) => *count += 1,
            None => groups.push((check, finding, 1)),
        }
    }
    for (check, finding, count) in groups {
        page.field_hanging(
            "",
            &format!("{count:>3} × "),
            &escape(&format!(
                "{} ({}), by {check}; one of them: {}",
                finding.cause.id, finding.confidence, finding.verdict
            )),
        );
    }
    if ours > 0 {
        page.paragraph(
            2,
            Some(Role::Faint),
            &format!("{ours} more were the probe's own doing: it left in the middle, to see what happens."),
        );
    }
    page.finish()
}

/// Then and now.
pub fn comparison(comparison: &Comparison, look: Look) -> String {
    let mut page = Page::new(look);
    page.blank();
    page.paragraph(0, Some(Role::Strong), "Against the saved card");
    for change in &comparison.changed {
        page.field_hanging(
            "changed",
            "",
            &escape(&format!("{}: {} → {}", change.habit, change.before, change.now)),
        );
    }
    page.field("same", &format!("{} habits", comparison.same));
    for (label, names) in [
        ("not now", &comparison.failed_now),
        ("only then", &comparison.not_measured_now),
        ("only now", &comparison.not_measured_before),
    ] {
        if !names.is_empty() {
            page.field(label, &escape(&names.join(", ")));
        }
    }
    page.finish()
}
