//! The way of the data: frames to segments to connections to findings. No files, no printing: it can be driven from a test.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bypeer_diagnose::{Accounts, Finding, Insight, Judge};
use bypeer_report::{Groups, utc};
use bypeer_wire::capture::{Frame, Interface, LinkType};
use bypeer_wire::conn::{Connection, Ending, Limits, Table, Vantages};
use bypeer_wire::packet::{Decoded, Decoder};
use bypeer_wire::{Direction, Endpoint, Issue, Issues, Timestamp};

use crate::interfaces::Interfaces;
use crate::selection::{Fit, Selection};

/// Takes the packets of a capture, gives the findings that are asked for.
pub struct Engine {
    interfaces: Interfaces,
    decoder: Decoder,
    /// For packets of interfaces that are not asked for.
    passing: Decoder,
    table: Table,
    desk: Desk,
    issues: Issues,
    packets: u64,
    tcp_packets: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    unknown_link: Option<LinkType>,
}

/// What is known at the end.
pub struct Outcome {
    /// Findings not handed out before.
    pub findings: Vec<Finding>,
    /// What only several connections together show.
    pub insights: Vec<Insight>,
    /// Every connection.
    pub accounts: Accounts,
    /// Streams that ended abnormally in a way that no cause describes; perhaps only the first of them.
    pub unexplained: Vec<u32>,
    /// What the packets held that could not be used.
    pub issues: Issues,
    /// Connections counted by server.
    pub groups: Groups,
    /// What to say about the connections that were asked for.
    pub answers: Vec<String>,
    /// What became of those of which no finding tells.
    pub endings: Vec<String>,
    /// Connections were asked for, by name or by time, and none fits.
    pub nothing_fits: bool,
    /// The capture's interfaces.
    pub interfaces: Interfaces,
    /// Connections that several of them saw.
    pub vantages: Vantages,
    /// Packets, all kinds; of the interface asked for, if one is.
    pub packets: u64,
    /// TCP segments and ICMP errors about TCP.
    pub tcp_packets: u64,
    /// Time of the first and the last packet.
    pub span: Option<(Timestamp, Timestamp)>,
    /// The first link type that could not be decoded.
    pub unknown_link: Option<LinkType>,
}

/// How long a live connection that has ended is kept for late segments.
const LIVE_SETTLE: Duration = Duration::from_secs(2);

impl Engine {
    /// Has seen nothing.
    ///
    /// A live capture is read by somebody who waits: there a connection that has ended is told of after two seconds, not
    /// after ten; what straggles in later is counted as too little seen.
    pub fn new(selection: Selection, live: bool) -> Engine {
        let limits = Limits::default();
        let settle = if live { LIVE_SETTLE } else { limits.settle };
        Engine {
            interfaces: Interfaces::new(selection.interface()),
            decoder: Decoder::new(),
            passing: Decoder::new(),
            table: Table::new(Limits {
                settle,
                notices: true,
                ..limits
            }),
            desk: Desk {
                selection,
                judge: Judge::new(),
                groups: Groups::new(),
                over: 0,
                chosen: HashMap::new(),
                accounts: Vec::new(),
                lived_then: false,
                held: Vec::new(),
                far: 0,
            },
            issues: Issues::default(),
            packets: 0,
            tcp_packets: 0,
            first: None,
            last: None,
            unknown_link: None,
        }
    }

    /// Takes the next interface, before its first packet.
    pub fn interface(&mut self, interface: &Interface<'_>) {
        self.interfaces.take(interface);
    }

    /// Takes the next packet.
    pub fn frame(&mut self, frame: &Frame<'_>) {
        if !self.interfaces.count(frame.interface) {
            self.pass(frame);
            return;
        }
        let time = frame.at.time;
        self.packets += 1;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        match self.decoder.decode(frame.link, frame.data, frame.original_len, time) {
            Decoded::Tcp(segment) => {
                self.tcp_packets += 1;
                self.table
                    .push_from(frame.at, frame.interface, &segment, &mut |connection| {
                        self.desk.take(connection)
                    });
                self.hear();
            }
            Decoded::IcmpError(error) => {
                self.tcp_packets += 1;
                self.table.push_icmp_from(frame.at, frame.interface, &error);
            }
            Decoded::Held => {}
            Decoded::Unusable(issue) => {
                if issue == Issue::UnknownLinkType && self.unknown_link.is_none() {
                    self.unknown_link = Some(frame.link);
                }
                self.issues.note(issue);
            }
        }
    }

    /// Lets a packet pass whose interface is not asked for: streams are numbered over all packets.
    #[cold]
    fn pass(&mut self, frame: &Frame<'_>) {
        match self
            .passing
            .decode(frame.link, frame.data, frame.original_len, frame.at.time)
        {
            Decoded::Tcp(segment) => {
                self.table.pass(&segment, &mut |connection| self.desk.take(connection));
                self.hear();
            }
            Decoded::IcmpError(error) => self.table.pass_icmp(&error),
            Decoded::Held | Decoded::Unusable(_) => {}
        }
    }

    /// Hands on what was said.
    fn hear(&mut self) {
        for notice in self.table.notices() {
            self.desk.judge.notice(&notice);
        }
    }

    /// How many connections are over.
    pub fn over(&self) -> u64 {
        self.desk.over
    }

    /// Time of the latest packet.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Findings that wait no longer, when it is `now` in the capture: of a pipe, now and then.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Finding> {
        self.table.advance(now, &mut |connection| self.desk.take(connection));
        self.hear();
        self.desk.ripe(now)
    }

    /// Findings that are too many to be held until the end: of a file, now and then.
    pub fn overflow(&mut self) -> Vec<Finding> {
        self.desk.ripe(Timestamp(i64::MIN))
    }

    /// The capture is over.
    pub fn finish(mut self) -> Outcome {
        self.decoder.end();
        self.table.finish(&mut |connection| self.desk.take(connection));
        self.hear();
        self.issues.merge(self.decoder.issues());
        self.issues.merge(self.table.issues());
        let mut desk = self.desk;
        let verdicts = std::mem::take(&mut desk.judge).finish();
        let mut findings = desk.select(verdicts.findings);
        let mut answers = Vec::new();
        if desk.selection.narrows() {
            findings = desk.narrow(&mut answers);
        }
        let nothing_fits = desk.selection.names_connections() && desk.accounts.is_empty() && findings.is_empty();
        desk.tell_fitting(&mut answers);
        let endings = desk.endings(&findings);
        let span = self.first.zip(self.last);
        let outside = !nothing_fits && desk.over > 0 && !desk.lived_then;
        if let (true, Some((first, last))) = (outside, span) {
            answers.insert(0, desk.selection.nothing_lived_then(first, last));
        }
        Outcome {
            findings,
            insights: verdicts.insights,
            accounts: verdicts.accounts,
            unexplained: verdicts.unexplained,
            issues: self.issues,
            groups: desk.groups,
            answers,
            endings,
            nothing_fits: nothing_fits || outside,
            vantages: self.table.vantages().clone(),
            interfaces: self.interfaces,
            packets: self.packets,
            tcp_packets: self.tcp_packets,
            span,
            unknown_link: self.unknown_link,
        }
    }
}

/// Where connections go when they are over.
struct Desk {
    selection: Selection,
    judge: Judge,
    groups: Groups,
    over: u64,
    /// Streams asked for, where single connections are, and how the error line fits them.
    chosen: HashMap<u32, Fit>,
    /// What became of them.
    accounts: Vec<Account>,
    /// A connection among them lived around the time asked for.
    lived_then: bool,
    /// Where an error line tells more than addresses: the findings that fit all of it, and the first that do not, in case
    /// none does.
    held: Vec<(Fit, Finding)>,
    /// How many of `held` do not fit.
    far: usize,
}

/// What became of a connection, in short.
struct Account {
    stream: u32,
    client: Endpoint,
    server: Endpoint,
    opened: Timestamp,
    ended: Timestamp,
    what: String,
    fit: Fit,
}

/// Accounts kept; an error line that names only a server may fit all there is.
const ACCOUNTS: usize = 10_000;
/// Findings kept that do not fit all of an error line.
const FAR: usize = 1000;
/// Accounts told one by one.
const ACCOUNTS_TOLD: usize = 3;

impl Desk {
    fn take(&mut self, connection: Connection) {
        self.over += 1;
        self.groups.count_connection(connection.server);
        let wanted = self.selection.wants(&connection);
        self.lived_then |= wanted && self.selection.is_around(connection.opened.time, connection.ended.time);
        if self.selection.names_connections() && wanted {
            let fit = self.selection.fit(&connection);
            let known = self.chosen.entry(connection.stream).or_insert(fit);
            *known = known.or(fit);
            if self.accounts.len() < ACCOUNTS {
                self.accounts.push(Account {
                    stream: connection.stream,
                    client: connection.client,
                    server: connection.server,
                    opened: connection.opened.time,
                    ended: connection.ended.time,
                    what: what_became_of(&connection),
                    fit,
                });
            }
        }
        self.judge.push(connection);
    }

    fn ripe(&mut self, now: Timestamp) -> Vec<Finding> {
        let findings = self.judge.ripe(now);
        self.select(findings)
    }

    /// Those of `findings` that are asked for; none yet where an error line may still put them out.
    fn select(&mut self, mut findings: Vec<Finding>) -> Vec<Finding> {
        if self.selection.names_connections() {
            findings.retain(|finding| self.chosen.contains_key(&finding.stream));
        }
        findings.retain(|finding| self.selection.takes(finding));
        if !self.selection.narrows() {
            return findings;
        }
        for finding in findings {
            let fit = self.chosen.get(&finding.stream).copied().unwrap_or_default();
            if !fit.is_whole() {
                if self.far == FAR {
                    continue;
                }
                self.far += 1;
            }
            self.held.push((fit, finding));
        }
        Vec::new()
    }

    /// Puts out what the error line's time, kind and path speak against, each unless it speaks against all.
    fn narrow(&mut self, answers: &mut Vec<String>) -> Vec<Finding> {
        let Some(line) = self.selection.line().cloned() else {
            return Vec::new();
        };
        if line.time.is_some() && !self.keep(|fit| fit.time) {
            answers.push(format!(
                "no connection that fits the line was open, or ended, within {} of the line's time; its time was left aside \
                 (a log's clock or zone may differ: --within widens)",
                self.selection.window()
            ));
        }
        if let Some(kind) = line.kind
            && !self.keep(|fit| fit.kind)
        {
            answers.push(format!(
                "none of them {}; what the line tells of the failure was left aside",
                kind.verb()
            ));
        }
        if let Some(kind) = line.kind
            && line.tells_only_a_kind()
            && self.chosen.is_empty()
        {
            answers.push(format!("no connection of the capture {}", kind.verb()));
        }
        if !line.paths.is_empty() {
            let path = line.paths.join(" or ");
            if self.keep(|fit| fit.path) {
                answers.push(format!("those with a request for {path} are told"));
            } else {
                answers.push(format!(
                    "no request for {path} was seen on them; the path was left aside"
                ));
            }
        }
        if self.held.iter().any(|(fit, _)| !fit.is_whole()) && self.far == FAR {
            answers.push(format!("only the first {FAR} findings that fit in part were looked at"));
        }
        self.held.drain(..).map(|(_, finding)| finding).collect()
    }

    /// Keeps what `fits`, if anything does or there is nothing to keep; says whether it did.
    fn keep(&mut self, fits: fn(&Fit) -> bool) -> bool {
        let any = self.accounts.iter().any(|account| fits(&account.fit)) || self.held.iter().any(|(fit, _)| fits(fit));
        if any {
            self.accounts.retain(|account| fits(&account.fit));
            self.held.retain(|(fit, _)| fits(fit));
        }
        any || self.accounts.is_empty()
    }

    /// Says how many connections fit what was asked for.
    fn tell_fitting(&self, answers: &mut Vec<String>) {
        if !self.selection.names_connections() {
            return;
        }
        let count = self.accounts.len();
        if let Some(line) = self.selection.line() {
            let fit = match count {
                0 => "no connection of the capture fits".to_owned(),
                1 => "one connection fits".to_owned(),
                _ => format!("{count} connections fit"),
            };
            answers.insert(0, format!("{line}; {fit}"));
        } else if count == 0 {
            answers.push("no such connection is in the capture".to_owned());
        }
        if count == 0 {
            for end in self.selection.ends() {
                if let Some(seen) = self.groups.connections_to(end) {
                    answers.push(format!(
                        "the capture holds {seen} connections to {end}, none of them from the other end asked for"
                    ));
                }
            }
        }
    }

    /// What became of the connections asked for of which no finding tells.
    fn endings(&self, findings: &[Finding]) -> Vec<String> {
        let told: HashSet<u32> = findings.iter().map(|finding| finding.stream).collect();
        let untold: Vec<&Account> = self
            .accounts
            .iter()
            .filter(|account| !told.contains(&account.stream))
            .collect();
        let mut endings = Vec::new();
        for account in untold.iter().take(ACCOUNTS_TOLD) {
            let Account {
                stream,
                client,
                server,
                opened,
                ended,
                what,
                fit: _,
            } = account;
            let lasted = ended.since(*opened).as_secs_f64();
            endings.push(format!(
                "stream {stream}, {client} → {server}, opened {}, lasted {lasted:.3} s: {what}",
                utc(*opened)
            ));
        }
        match untold.len().saturating_sub(ACCOUNTS_TOLD) {
            0 => {}
            1 => endings.push("1 more connection fits and has no finding that was asked for".to_owned()),
            more => endings.push(format!(
                "{more} more connections fit and have no finding that was asked for"
            )),
        }
        endings
    }
}

/// What became of a connection, by what its ends did; whether that was well is for the judge.
fn what_became_of(connection: &Connection) -> String {
    let exchanges = &connection.app.exchanges;
    let said = match exchanges.total {
        0 => String::new(),
        1 if exchanges.complete == 1 => " after one whole exchange".to_owned(),
        1 => " after one exchange that was not whole".to_owned(),
        total if total == exchanges.complete => format!(" after {total} whole exchanges"),
        total => format!(" after {total} exchanges, {} of them whole", exchanges.complete),
    };
    let fins = [Direction::ToServer, Direction::ToClient].map(|direction| connection.flow(direction).fin.is_some());
    let (end, why) = match (connection.resets_total, fins) {
        (0, [true, true]) if exchanges.total == exchanges.complete => {
            ("it ended well", ": both sides closed, nobody reset it")
        }
        (0, [true, true]) => (
            "both sides closed it",
            ", nobody reset it, and there is no finding about it that was asked for",
        ),
        (0, _) if connection.ending == Ending::CaptureEnded => ("it was still open when the capture ended", ""),
        (0, _) if connection.ending == Ending::TupleReused => {
            ("its addresses were used again before its end was seen", "")
        }
        (0, _) if connection.ending == Ending::Evicted => ("it was put out of memory before its end was seen", ""),
        (0, _) => ("nobody reset it", ""),
        _ => ("it was reset", ", but there is no finding about it that was asked for"),
    };
    format!("{end}{said}{why}")
}
