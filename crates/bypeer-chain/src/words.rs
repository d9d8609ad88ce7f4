//! A chain and its verdict in words, for people.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style as Paint};
use bypeer_diagnose::facts::Repeats;
use bypeer_report::escape;

use crate::drawing::{ascii, draw};
use crate::hop::{Hop, Limit, NoteKind, Origin, Told};
use crate::judge::{Chain, ClosesFirst, Finding, Level, Order, Pair, Report};
use crate::risk::Risk;
use crate::time::words;

/// How the text is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns to fill.
    pub width: usize,
    /// Whether to colour it.
    pub color: bool,
    /// Whether anything beyond ASCII can be shown.
    pub unicode: bool,
}

/// Columns of the labels.
const GUTTER: usize = 13;
/// Narrower than this no text fits; beyond [`WIDEST`] lines are hard to read.
const NARROWEST: usize = 60;
const WIDEST: usize = 110;

/// The whole report.
pub fn report(chain: &Chain, report: &Report, style: Style) -> String {
    let mut page = Page {
        style: Style {
            width: style.width.clamp(NARROWEST, WIDEST),
            ..style
        },
        out: String::new(),
    };
    for line in draw(chain, report, style.width.max(20), style.unicode) {
        page.line(&line);
    }
    page.line("");
    for pair in &report.pairs {
        page.pair(chain, pair);
    }
    page.sources(chain);
    page.notes(chain);
    page.summary(report);
    page.out
}

struct Page {
    style: Style,
    out: String,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        match self.style.color {
            true => format!("{}{text}{}", paint.render(), paint.render_reset()),
            false => text.to_owned(),
        }
    }

    fn shown(&self, text: &str) -> String {
        let text = escape(text);
        match self.style.unicode {
            true => text.into_owned(),
            false => ascii(&text),
        }
    }

    /// Text that wraps beside a label.
    fn field(&mut self, label: &str, text: &str) {
        let text = self.shown(text);
        for (index, line) in wrap(&text, self.style.width - GUTTER).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            let padded = format!("  {label:<width$}", width = GUTTER - 2);
            let painted = self.paint(AnsiColor::Blue.on_default().bold(), &padded);
            self.line(&format!("{}{line}", if label.is_empty() { padded } else { painted }));
        }
    }

    /// What one copies: as it is.
    fn copy(&mut self, text: &str) {
        for line in text.lines() {
            let line = self.paint(AnsiColor::Cyan.on_default(), &self.shown(line));
            self.line(&format!("{:GUTTER$}{line}", ""));
        }
    }

    fn pair(&mut self, chain: &Chain, pair: &Pair) {
        let (opener, acceptor) = (&chain.hops[pair.opener], &chain.hops[pair.opener + 1]);
        let (tag, paint) = match &pair.order {
            Order::Right => ("right", AnsiColor::Green.on_default()),
            Order::NotReused => ("right", AnsiColor::Green.on_default()),
            Order::Tight => ("too near", AnsiColor::Yellow.on_default().bold()),
            Order::Wrong => ("wrong", AnsiColor::Red.on_default().bold()),
            Order::CannotTell(_) => ("cannot be told", AnsiColor::Magenta.on_default().bold()),
        };
        let names = self.shown(&format!("{} → {}", opener.name, acceptor.name));
        let tag = self.paint(paint, tag);
        let names = self.paint(Paint::new().bold(), &names);
        self.line(&format!("{names}: {tag}"));
        let has_fault = pair.findings.iter().any(|finding| finding.level == Level::Fault);
        if !has_fault && !matches!(pair.order, Order::CannotTell(_)) {
            self.field("", &who_closes(pair, opener, acceptor));
        }
        if let Order::CannotTell(missing) = &pair.order {
            for missing in missing {
                self.field("unknown", &missing.what);
                self.field("find out", &missing.how);
            }
        }
        for finding in &pair.findings {
            self.finding(finding);
        }
        for note in &pair.notes {
            self.field("note", note);
        }
        self.line("");
    }

    fn finding(&mut self, finding: &Finding) {
        let label = if finding.level == Level::Fault { "" } else { "note" };
        self.field(label, &finding.what);
        self.field("cause", &format!("{0}; `bypeer causes {0}` tells more", finding.cause));
        if let Some(risk) = &finding.risk {
            self.field("cost", &cost(risk));
        }
        if let Some(repeats) = finding.repeats {
            self.field("repeats", &repeated(repeats));
        }
        if let Some(cause) = bypeer_diagnose::causes::find(finding.cause)
            && finding.level == Level::Fault
        {
            self.field("standards", &cause.clauses.join(", "));
        }
        for (index, mend) in finding.mends.iter().enumerate() {
            self.field(if index == 0 { "change" } else { "or" }, &mend.what);
            if let Some(line) = &mend.line {
                if let Some(place) = &mend.place {
                    self.field("", &format!("{place}:"));
                }
                self.copy(line);
            } else if let Some(place) = &mend.place {
                self.field("", place);
            }
        }
        if finding.level == Level::Fault && finding.mends.is_empty() {
            self.field(
                "change",
                "no single setting mends it without breaking another pair: change both",
            );
        }
    }

    fn sources(&mut self, chain: &Chain) {
        let last = chain.hops.len().saturating_sub(1);
        let mut shown = Vec::new();
        for (index, hop) in chain.hops.iter().enumerate() {
            let mut lines = Vec::new();
            if let Some(part) = &hop.part {
                lines.push(format!("read: {part}"));
            }
            if index > 0 {
                lines.extend(hop.accepts.idle.as_ref().map(|told| source("accepted", told)));
            }
            if index < last {
                lines.extend(hop.opens.pool.as_ref().map(|told| source("opened", told)));
            }
            shown.push((hop.name.clone(), lines));
        }
        self.headline("Where the numbers are from");
        for (name, lines) in shown {
            if lines.is_empty() {
                self.field(&short(&name), "nothing is known");
            }
            for (index, line) in lines.iter().enumerate() {
                self.field(
                    if index == 0 { &name } else { "" }
                        .chars()
                        .take(GUTTER - 3)
                        .collect::<String>()
                        .as_str(),
                    line,
                );
            }
        }
        self.line("");
    }

    fn notes(&mut self, chain: &Chain) {
        let of = |kind: NoteKind| {
            let notes = chain.hops.iter().flat_map(|hop| &hop.notes);
            notes
                .filter(|note| note.kind == kind)
                .map(|note| note.words())
                .collect::<Vec<_>>()
        };
        for (kind, headline) in [
            (NoteKind::NotUnderstood, "Not understood"),
            (NoteKind::Assumed, "Taken to be so"),
            (NoteKind::Known, "Good to know"),
        ] {
            let notes = of(kind);
            if notes.is_empty() {
                continue;
            }
            self.headline(headline);
            for note in notes {
                self.paragraph(&note);
            }
            self.line("");
        }
    }

    fn headline(&mut self, text: &str) {
        let text = self.paint(Paint::new().bold(), text);
        self.line(&text);
    }

    fn paragraph(&mut self, text: &str) {
        let text = self.shown(text);
        for (index, line) in wrap(&text, self.style.width - 4).iter().enumerate() {
            let indent = if index == 0 { 2 } else { 4 };
            self.line(&format!("{:indent$}{line}", ""));
        }
    }

    fn summary(&mut self, report: &Report) {
        let count = |is: fn(&Order) -> bool| report.pairs.iter().filter(|pair| is(&pair.order)).count();
        let mut parts = Vec::new();
        let counts = [
            (count(|order| matches!(order, Order::Right | Order::NotReused)), "right"),
            (count(|order| matches!(order, Order::Wrong)), "wrong"),
            (count(|order| matches!(order, Order::Tight)), "too near"),
            (report.untold(), "cannot be told"),
        ];
        for (count, what) in counts {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        let pairs = match report.pairs.len() {
            1 => "1 pair".to_owned(),
            pairs => format!("{pairs} pairs"),
        };
        self.line(&format!("{pairs}: {}", parts.join(", ")));
    }
}

fn short(name: &str) -> String {
    name.chars().take(GUTTER - 3).collect()
}

/// One line about a pair that is not at fault.
fn who_closes(pair: &Pair, opener: &Hop, acceptor: &Hop) -> String {
    let (left, right) = (&opener.name, &acceptor.name);
    let limit = |told: &Option<Told<Limit>>| told.as_ref().map_or("?".to_owned(), |told| told.value.words());
    let (pool, idle) = (limit(&opener.opens.pool), limit(&acceptor.accepts.idle));
    match pair.closes_first {
        ClosesFirst::Opener => match pair.margin.filter(|margin| *margin > 0.0) {
            Some(margin) => format!(
                "{left} closes first, after {pool}; {right} would after {idle}: {} of room, {} are needed",
                words(Duration::from_secs_f64(margin)),
                words(pair.needed)
            ),
            None => format!("{left} closes first, after {pool}; {right}: {idle}"),
        },
        ClosesFirst::Acceptor => format!("{right} closes first, after {idle}; {left} would after {pool}"),
        ClosesFirst::Either => format!("now {left} closes first (after {pool}), now {right} (after {idle})"),
        ClosesFirst::Nobody => "neither closes idle connections".to_owned(),
        ClosesFirst::EachResponse => match opener.opens.pool.as_ref().map(|told| told.value) {
            Some(Limit::AtOnce) => format!("{left} uses no connection to {right} twice"),
            _ => format!("{right} closes after each response"),
        },
        ClosesFirst::Unknown => format!("{left} keeps what it opened: {pool}; {right} keeps what it accepted: {idle}"),
    }
}

/// A share as people grasp it: `1 in 13 600 (0.0074 %)`.
fn share(share: f64) -> String {
    if share <= 0.0 {
        return "none".to_owned();
    }
    let one_in = (1.0 / share).round();
    let digits = if one_in < 1000.0 {
        one_in
    } else {
        let scale = 10f64.powf(one_in.log10().floor() - 1.0);
        (one_in / scale).round() * scale
    };
    format!("1 in {}", grouped(digits))
}

fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (index, c) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

fn cost(risk: &Risk) -> String {
    let mut text = match risk.checks {
        true => format!(
            "a request is lost when it is sent in the last {} before the close is seen",
            words(risk.window)
        ),
        false => {
            "every request on a connection that was closed meanwhile is lost: it is not looked at before use".to_owned()
        }
    };
    if let (Some(rate), Some(found)) = (risk.rate, risk.share) {
        let _ = write!(
            text,
            ". At {rate} requests a second on each connection: {} of all requests",
            share(found)
        );
    }
    let _ = write!(
        text,
        ". At worst {}, with one request in {} on each connection; more when many come at once after a pause",
        share(risk.worst_share),
        words(Duration::from_secs_f64((10.0 / risk.worst_rate).round() / 10.0))
    );
    text
}

fn repeated(repeats: Repeats) -> String {
    match repeats {
        Repeats::Nothing => "none: each of these requests fails".to_owned(),
        Repeats::Unsent => "only what it had not begun to send".to_owned(),
        Repeats::Bodyless => "those without a body; one with a body fails".to_owned(),
        Repeats::Safe => "GET, HEAD, OPTIONS, TRACE; a POST, PUT or DELETE fails".to_owned(),
        Repeats::Idempotent => "GET, HEAD, PUT, DELETE and the like; a POST or PATCH fails".to_owned(),
        Repeats::Any => "all requests, POST too: nothing fails, but one may be done twice".to_owned(),
    }
}

fn source(what: &str, told: &Told<Limit>) -> String {
    let value = told.value.words();
    let origin = match &told.origin {
        Origin::Given => "given".to_owned(),
        Origin::File { file, line } => format!("{file}:{line}"),
        Origin::Default { source, verified, note } => {
            let memory = if *verified { "" } else { ", from memory" };
            let note = note.map_or(String::new(), |note| format!(" ({note})"));
            format!("default{note}; {source}{memory}")
        }
        Origin::Follows(why) => why.clone(),
        Origin::Measured(url) => format!("measured at {url}"),
    };
    format!("{what}: {value}: {origin}")
}

/// Breaks text at spaces so that no line is longer than `width`; a word that is longer by itself stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut columns = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if columns > 0 && columns + 1 + length > width {
            lines.push(String::new());
            columns = 0;
        }
        if let Some(line) = lines.last_mut() {
            if columns > 0 {
                line.push(' ');
                columns += 1;
            }
            line.push_str(word);
            columns += length;
        }
    }
    lines
}
