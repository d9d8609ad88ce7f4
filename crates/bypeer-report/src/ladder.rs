use std::time::Duration;

use bypeer_wire::packet::Segment;

use crate::Look;
use crate::escape::escape;
use crate::ladder::canvas::{Canvas, Lanes};
use crate::ladder::segment_text::{kind, segment_text};
use crate::layout::wrap;
use crate::look::Role;

mod canvas;
pub(crate) mod segment_text;

/// So many plain segments one way, or bare acknowledgements the other, in one run become one row each.
const FOLDED: usize = 4;

/// What happened between some hosts, as a ladder: time runs down, each host is an upright, packets are the rungs.
///
/// From top to bottom along one upright, everything stands in the order in which it happened to that host: a packet that
/// was under way while its receiver did something else is shown twice, where it left and where it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    /// Names, left to right.
    pub hosts: Vec<String>,
    /// In any order; those of one moment stay in the order given.
    pub rows: Vec<LadderRow>,
}

/// One thing that happened. Times count from the start of the round; hosts are indices into [`Ladder::hosts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LadderRow {
    /// A packet on the wire.
    Packet {
        /// When it was sent.
        at: Duration,
        /// By whom.
        from: usize,
        /// To whom.
        to: usize,
        /// When it was received; `None`: never.
        arrives: Option<Duration>,
        /// What it is; made safe to print here.
        text: String,
        /// What may be done to its row.
        kind: PacketKind,
    },
    /// Something that a program did.
    Deed {
        /// When it was done, or had failed.
        at: Duration,
        /// On which host.
        host: usize,
        /// `read: ECONNRESET`; made safe to print here.
        text: String,
        /// Whether it is to be shown as a failure.
        failed: bool,
    },
    /// Something that a host's kernel tells.
    Kernel {
        /// When.
        at: Duration,
        /// Which host's.
        host: usize,
        /// `TCP_ABORT_ON_CLOSE, 22 bytes unread`; made safe to print here.
        text: String,
    },
    /// A word across the whole width: what the wire did, where a round begins.
    Note {
        /// When.
        at: Duration,
        /// Made safe to print here.
        text: String,
    },
}

/// What a packet is, for its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// A reset: drawn heavily.
    Reset,
    /// So many bytes of payload of which nothing more is to be said: many in a row are folded into one.
    Data(u32),
    /// A bare acknowledgement: many in a row are folded into one.
    Ack,
    /// Anything else: always has a row of its own.
    Other,
}

impl LadderRow {
    /// The row of a captured segment.
    pub fn packet(at: Duration, from: usize, to: usize, arrives: Option<Duration>, segment: &Segment<'_>) -> LadderRow {
        LadderRow::Packet {
            at,
            from,
            to,
            arrives,
            text: segment_text(segment),
            kind: kind(segment),
        }
    }

    fn at(&self) -> Duration {
        match self {
            LadderRow::Packet { at, .. }
            | LadderRow::Deed { at, .. }
            | LadderRow::Kernel { at, .. }
            | LadderRow::Note { at, .. } => *at,
        }
    }
}

impl Ladder {
    /// As text, as wide as the look says. Hosts that do not exist are left out of the picture, not their words.
    pub fn render(&self, look: Look) -> String {
        let units = self.units();
        let mut strokes = strokes(&units);
        strokes.sort_by_key(|stroke| stroke.at);
        let latest = strokes
            .iter()
            .flat_map(|stroke| [Some(stroke.at), stroke.arrives])
            .flatten()
            .max();
        let time_width = millis(latest.unwrap_or_default()).len().max(NEVER.len());
        let lanes = Lanes::new(self.hosts.len(), time_width, look.columns());
        let mut canvas = Canvas::new(look, lanes);
        canvas.heading(&self.hosts);
        for stroke in &strokes {
            stroke.draw(&mut canvas);
        }
        canvas.finish()
    }

    /// The rows in order, long runs folded, those with hosts that do not exist made notes.
    fn units(&self) -> Vec<Unit> {
        let mut rows: Vec<&LadderRow> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.at());
        fold(rows.into_iter().map(|row| Unit::of(row, self.hosts.len())).collect())
    }
}

const NEVER: &str = "never";

/// `12.35`: milliseconds with hundredths.
fn millis(time: Duration) -> String {
    let hundredths = (time.as_nanos() + 5_000) / 10_000;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// One thing to draw: a row, or a folded run.
#[derive(Clone, Debug)]
enum Unit {
    Packet(Packet),
    Beside {
        at: Duration,
        host: usize,
        text: String,
        role: Option<Role>,
    },
    Note {
        at: Duration,
        text: String,
    },
}

#[derive(Clone, Debug)]
struct Packet {
    at: Duration,
    /// When the last of a run was sent; `at` for one alone.
    last_sent: Duration,
    /// When the first of a run arrived. `None`: never.
    first_arrives: Option<Duration>,
    arrives: Option<Duration>,
    from: usize,
    to: usize,
    text: String,
    kind: PacketKind,
}

impl Unit {
    fn of(row: &LadderRow, hosts: usize) -> Unit {
        let text = |text: &str| escape(text).into_owned();
        match row {
            LadderRow::Packet {
                at,
                from,
                to,
                arrives,
                text: words,
                kind,
            } if *from < hosts && *to < hosts && from != to => {
                // Clocks of one machine; but who mixes two gets no packet that arrives before it was sent.
                let arrives = arrives.map(|arrives| arrives.max(*at));
                Unit::Packet(Packet {
                    at: *at,
                    last_sent: *at,
                    first_arrives: arrives,
                    arrives,
                    from: *from,
                    to: *to,
                    text: text(words),
                    kind: *kind,
                })
            }
            LadderRow::Packet { at, text: words, .. } => Unit::Note {
                at: *at,
                text: text(words),
            },
            LadderRow::Deed {
                at,
                host,
                text: words,
                failed,
            } => Unit::Beside {
                at: *at,
                host: *host,
                text: format!("{}{}", if *failed { "✗ " } else { "" }, escape(words)),
                role: failed.then_some(Role::Certain),
            }
            .or_note(hosts),
            LadderRow::Kernel { at, host, text: words } => Unit::Beside {
                at: *at,
                host: *host,
                text: format!("kernel: {}", escape(words)),
                role: Some(Role::Copy),
            }
            .or_note(hosts),
            LadderRow::Note { at, text: words } => Unit::Note {
                at: *at,
                text: text(words),
            },
        }
    }

    fn or_note(self, hosts: usize) -> Unit {
        match self {
            Unit::Beside { at, host, text, .. } if host >= hosts => Unit::Note { at, text },
            other => other,
        }
    }
}

/// Folds runs of plain data between two hosts, with the acknowledgements between them.
fn fold(units: Vec<Unit>) -> Vec<Unit> {
    let overtaken = overtaken(&units);
    let mut folded = Vec::new();
    let mut run: Vec<Packet> = Vec::new();
    for (unit, overtaken) in units.into_iter().zip(overtaken) {
        match unit {
            Unit::Packet(packet) if is_plain(&packet) && !overtaken => {
                if !run.first().is_none_or(|first| is_same_talk(first, &packet)) {
                    close(&mut run, &mut folded);
                }
                run.push(packet);
            }
            unit => {
                close(&mut run, &mut folded);
                folded.push(unit);
            }
        }
    }
    close(&mut run, &mut folded);
    folded
}

fn is_plain(packet: &Packet) -> bool {
    packet.arrives.is_some() && matches!(packet.kind, PacketKind::Data(_) | PacketKind::Ack)
}

/// Between the same two hosts, and data only one way.
fn is_same_talk(first: &Packet, next: &Packet) -> bool {
    let forward = (first.from, first.to) == (next.from, next.to);
    let back = (first.from, first.to) == (next.to, next.from);
    let is_data = |packet: &Packet| matches!(packet.kind, PacketKind::Data(_));
    (forward && is_data(first) == is_data(next)) || (back && is_data(first) != is_data(next))
}

fn close(run: &mut Vec<Packet>, out: &mut Vec<Unit>) {
    let is_data = |packet: &Packet| matches!(packet.kind, PacketKind::Data(_));
    let data = run.iter().filter(|packet| is_data(packet)).count();
    if data.max(run.len() - data) < FOLDED {
        out.extend(run.drain(..).map(Unit::Packet));
        return;
    }
    let (data, acks): (Vec<Packet>, Vec<Packet>) = run.drain(..).partition(is_data);
    let mut rows: Vec<Packet> = [data, acks].into_iter().filter_map(merged).collect();
    rows.sort_by_key(|packet| packet.at);
    out.extend(rows.into_iter().map(Unit::Packet));
}

/// Several of one kind and way as one; one alone stays as it is.
fn merged(packets: Vec<Packet>) -> Option<Packet> {
    let count = packets.len();
    let bytes: u64 = packets
        .iter()
        .map(|packet| match packet.kind {
            PacketKind::Data(bytes) => u64::from(bytes),
            _ => 0,
        })
        .sum();
    let mut whole = packets.into_iter().reduce(|whole, packet| Packet {
        last_sent: packet.at,
        arrives: whole.arrives.max(packet.arrives),
        first_arrives: whole.first_arrives.min(packet.first_arrives),
        ..whole
    })?;
    if count > 1 {
        whole.text = match whole.kind {
            PacketKind::Data(_) => format!("{count} segments, {bytes} bytes"),
            _ => format!("{count} ACKs"),
        };
    }
    Some(whole)
}

/// Which packets arrive after one that the same host sent later.
fn overtaken(units: &[Unit]) -> Vec<bool> {
    let mut overtaken = vec![false; units.len()];
    // The earliest arrival among those sent later, for each way.
    let mut earliest: std::collections::HashMap<(usize, usize), Duration> = std::collections::HashMap::new();
    for (index, unit) in units.iter().enumerate().rev() {
        let Unit::Packet(Packet {
            from,
            to,
            arrives: Some(arrives),
            ..
        }) = unit
        else {
            continue;
        };
        let first = earliest.entry((*from, *to)).or_insert(*arrives);
        overtaken[index] = *first < *arrives;
        *first = (*first).min(*arrives);
    }
    overtaken
}

/// One or more lines of the picture.
#[derive(Clone, Debug)]
struct Stroke<'a> {
    at: Duration,
    /// For the column on the right.
    arrives: Option<Duration>,
    what: What<'a>,
}

#[derive(Clone, Debug)]
enum What<'a> {
    Packet(&'a Packet, Leg),
    Beside(&'a Unit),
    Note(&'a str),
}

/// Which part of a packet's way one line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    Whole,
    /// It leaves and will arrive later.
    Departure,
    Arrival,
    /// It leaves and will never arrive.
    Lost,
}

fn strokes(units: &[Unit]) -> Vec<Stroke<'_>> {
    let moments = Moments::of(units);
    let mut strokes = Vec::new();
    for unit in units {
        match unit {
            Unit::Packet(packet) => {
                let stroke = |at, arrives, leg| Stroke {
                    at,
                    arrives,
                    what: What::Packet(packet, leg),
                };
                match packet.arrives {
                    None => strokes.push(stroke(packet.at, None, Leg::Lost)),
                    Some(arrives) if moments.are_between(packet) => {
                        strokes.push(stroke(packet.at, Some(arrives), Leg::Departure));
                        strokes.push(stroke(arrives, None, Leg::Arrival));
                    }
                    Some(arrives) => strokes.push(stroke(packet.at, Some(arrives), Leg::Whole)),
                }
            }
            Unit::Beside { at, .. } => strokes.push(Stroke {
                at: *at,
                arrives: None,
                what: What::Beside(unit),
            }),
            Unit::Note { at, text } => strokes.push(Stroke {
                at: *at,
                arrives: None,
                what: What::Note(text),
            }),
        }
    }
    strokes
}

/// When something happened at a host that must not be shown on the wrong side of an arrival.
struct Moments {
    /// Of each host, in order.
    own: Vec<Vec<Duration>>,
    /// Arrivals at each host: when sent, when received; in order of arrival.
    arrivals: Vec<Vec<(Duration, Duration)>>,
}

impl Moments {
    fn of(units: &[Unit]) -> Moments {
        let hosts = units
            .iter()
            .map(|unit| match unit {
                Unit::Packet(packet) => packet.from.max(packet.to) + 1,
                Unit::Beside { host, .. } => host + 1,
                Unit::Note { .. } => 0,
            })
            .max()
            .unwrap_or(0);
        let mut moments = Moments {
            own: vec![Vec::new(); hosts],
            arrivals: vec![Vec::new(); hosts],
        };
        for unit in units {
            match unit {
                // Whether an acknowledgement left before or after an arrival is of no interest, and they are many.
                Unit::Packet(packet) if packet.kind != PacketKind::Ack => {
                    moments.own[packet.from].push(packet.at);
                    if let Some(arrives) = packet.first_arrives {
                        moments.arrivals[packet.to].push((packet.at, arrives));
                    }
                }
                Unit::Beside { at, host, .. } => moments.own[*host].push(*at),
                Unit::Packet(_) | Unit::Note { .. } => {}
            }
        }
        moments.own.iter_mut().for_each(|own| own.sort_unstable());
        moments
            .arrivals
            .iter_mut()
            .for_each(|arrivals| arrivals.sort_unstable_by_key(|(_, arrives)| *arrives));
        moments
    }

    /// Whether the receiver did something, or got something that was sent later, while all of it was under way.
    fn are_between(&self, packet: &Packet) -> bool {
        let Some(arrives) = packet.first_arrives else {
            return false;
        };
        if packet.kind == PacketKind::Ack {
            return false;
        }
        let sent = packet.last_sent;
        let own = &self.own[packet.to];
        let next = own.partition_point(|at| *at <= sent);
        if own.get(next).is_some_and(|at| *at < arrives) {
            return true;
        }
        let arrivals = &self.arrivals[packet.to];
        let next = arrivals.partition_point(|(_, at)| *at <= sent);
        let meanwhile = arrivals[next..].iter().take_while(|(_, at)| *at < arrives);
        meanwhile.into_iter().any(|(other_sent, _)| *other_sent > sent)
    }
}

impl Stroke<'_> {
    fn draw(&self, canvas: &mut Canvas) {
        let time = millis(self.at);
        match &self.what {
            What::Packet(packet, leg) => {
                let text = match leg {
                    Leg::Arrival => format!("{} (sent {})", packet.text, millis(packet.at)),
                    _ => packet.text.clone(),
                };
                let arrives = match leg {
                    Leg::Lost => NEVER.to_owned(),
                    _ => self.arrives.map(millis).unwrap_or_default(),
                };
                let room = canvas.room_in_arrow(packet.from, packet.to);
                let mut lines = wrap(&text, room).into_iter();
                let first = lines.next().unwrap_or_default();
                let is_reset = packet.kind == PacketKind::Reset;
                canvas.arrow(&time, packet.from, packet.to, &first, *leg, is_reset, &arrives);
                let rest: Vec<String> = lines.collect();
                let role = is_reset.then_some(Role::Certain);
                if !rest.is_empty() {
                    canvas.beside("", packet.from, &rest.join(" "), role, Some(packet.to));
                }
            }
            What::Beside(Unit::Beside { host, text, role, .. }) => canvas.beside(&time, *host, text, *role, None),
            What::Beside(_) => {}
            What::Note(text) => canvas.note(&time, text),
        }
    }
}

#[cfg(test)]
mod tests;
