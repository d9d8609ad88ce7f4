//! Characters in columns: uprights, arrows between them, words beside them.

use super::{Leg, NEVER};
use crate::Look;
use crate::escape::escape;
use crate::layout::wrap;
use crate::look::Role;

/// Above the column on the right.
const ARRIVES: &str = "arrives";
/// Between an upright and the words beside it.
const MARGIN: usize = 2;
/// Line of an arrow on either side of its words, its head, and blanks.
const ARROW: usize = 8;
/// Narrower no words fit between two uprights, and the look's width gives way.
const NARROWEST_GAP: usize = 18;

/// Where everything stands.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    time_width: usize,
    /// Of the column on the right.
    arrives_width: usize,
    /// The column of each host's upright.
    uprights: Vec<usize>,
    /// Right of all uprights.
    end: usize,
}

impl Lanes {
    pub(super) fn new(hosts: usize, time_width: usize, columns: usize) -> Lanes {
        let left = time_width + 2;
        let arrives_width = time_width.max(ARRIVES.len());
        let right = arrives_width + 2;
        let gaps = hosts.saturating_sub(1).max(1);
        let last = columns.saturating_sub(right + 1).max(left + gaps * NARROWEST_GAP);
        let uprights = (0..hosts).map(|host| left + (last - left) * host / gaps).collect();
        Lanes {
            time_width,
            arrives_width,
            uprights,
            end: last + 1,
        }
    }

    /// The columns for words of a host: those to the right of its upright, for the last of several to the left. `towards` is
    /// the side for the rest of an arrow's words.
    fn beside(&self, host: usize, towards: Option<usize>) -> (usize, usize, bool) {
        let upright = self.uprights[host];
        let on_left = match towards {
            Some(to) => to < host,
            None => host > 0 && host + 1 == self.uprights.len(),
        };
        if on_left {
            let before = self.uprights[host - 1];
            (before + MARGIN, upright + 1 - MARGIN, true)
        } else {
            let after = self.uprights.get(host + 1).copied().unwrap_or(self.end);
            (upright + MARGIN, after + 1 - MARGIN, false)
        }
    }
}

/// The text, line by line.
#[derive(Debug)]
pub(super) struct Canvas {
    look: Look,
    lanes: Lanes,
    out: String,
}

impl Canvas {
    pub(super) fn new(look: Look, lanes: Lanes) -> Canvas {
        Canvas {
            look,
            lanes,
            out: String::new(),
        }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    /// The hosts' names above their uprights.
    pub(super) fn heading(&mut self, hosts: &[String]) {
        let mut line = Line::default();
        let width = self.lanes.time_width;
        line.put_right(width, "ms", Some(Role::Faint));
        let uprights = self.lanes.uprights.clone();
        let room = uprights
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .min()
            .unwrap_or(usize::MAX);
        for (host, name) in hosts.iter().enumerate() {
            // The outer two share their gaps with those in the middle.
            let name = cut(&escape(name), (room / 2).saturating_sub(1).max(NARROWEST_GAP / 2 - 1));
            let length = name.chars().count();
            let upright = uprights[host];
            let start = match host {
                0 => upright,
                _ if host + 1 == hosts.len() => (upright + 1).saturating_sub(length),
                _ => upright.saturating_sub(length / 2),
            };
            line.put(start, &name, Some(Role::Strong));
        }
        if hosts.len() > 1 {
            line.put_right(
                self.lanes.end + 2 + self.lanes.arrives_width,
                ARRIVES,
                Some(Role::Faint),
            );
        }
        self.push(&line);
    }

    /// Characters of words that an arrow holds.
    pub(super) fn room_in_arrow(&self, from: usize, to: usize) -> usize {
        let span = self.lanes.uprights[from].abs_diff(self.lanes.uprights[to]);
        span.saturating_sub(ARROW).max(1)
    }

    /// An arrow with words on it, near where it begins.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn arrow(
        &mut self,
        time: &str,
        from: usize,
        to: usize,
        text: &str,
        leg: Leg,
        is_reset: bool,
        arrives: &str,
    ) {
        let mut line = self.line(time);
        let role = is_reset.then_some(Role::Certain);
        let rightward = from < to;
        let (start, end) = (self.lanes.uprights[from], self.lanes.uprights[to]);
        let span = start.abs_diff(end);
        let text = cut(text, self.room_in_arrow(from, to));
        let shaft = if is_reset { '━' } else { '─' };
        // From the sender's upright (0) to the receiver's (span), whichever way that is.
        let column = |step: usize| if rightward { start + step } else { start - step };
        let words = text.chars().count();
        // `├── words ──▶│`: the words begin at 4, a blank before and behind them.
        let behind = 4 + words;
        let middle = ((behind + span) / 2).max(behind + 1);
        for step in 1..span {
            let is_far = step > middle;
            let character = match leg {
                Leg::Lost if is_far => continue,
                Leg::Lost if step == middle => '✗',
                Leg::Departure if is_far => '┄',
                Leg::Arrival if step < 3 => '┄',
                _ => shaft,
            };
            // Over the uprights of hosts between, which have no part in it.
            line.put_char(column(step), character, role);
        }
        match leg {
            Leg::Whole | Leg::Arrival => line.put_char(column(span - 1), if rightward { '▶' } else { '◀' }, role),
            Leg::Departure | Leg::Lost => {}
        }
        if leg != Leg::Arrival {
            let begin = match (rightward, is_reset) {
                (true, false) => '├',
                (true, true) => '┣',
                (false, false) => '┤',
                (false, true) => '┫',
            };
            line.put_char(start, begin, role);
        }
        let padded = format!(" {text} ");
        let first = if rightward { column(3) } else { column(4 + words) };
        if words > 0 {
            line.put(first, &padded, role);
        }
        let arrives_role = if arrives == NEVER { Role::Certain } else { Role::Faint };
        line.put_right(
            self.lanes.end + 2 + self.lanes.arrives_width,
            arrives,
            Some(arrives_role),
        );
        self.push(&line);
    }

    /// Words beside a host's upright; `towards` for the words that an arrow to that host could not hold.
    pub(super) fn beside(&mut self, time: &str, host: usize, text: &str, role: Option<Role>, towards: Option<usize>) {
        let (start, end, is_right_aligned) = self.lanes.beside(host, towards);
        let width = end.saturating_sub(start).max(1);
        for (index, words) in wrap(text, width).iter().enumerate() {
            let words = cut(words, width);
            let mut line = self.line(if index == 0 { time } else { "" });
            match is_right_aligned {
                true => line.put_right(end, &words, role),
                false => line.put(start, &words, role),
            }
            self.push(&line);
        }
    }

    /// Words across all uprights.
    pub(super) fn note(&mut self, time: &str, text: &str) {
        let start = self.lanes.time_width + 2;
        let width = self.lanes.end.saturating_sub(start + 2).max(1);
        for (index, words) in wrap(text, width).iter().enumerate() {
            let mut line = Line::default();
            if index == 0 {
                line.put_right(self.lanes.time_width, time, Some(Role::Faint));
            }
            line.put(start, &format!("· {}", cut(words, width)), Some(Role::Faint));
            self.push(&line);
        }
    }

    /// A line with its time and its uprights.
    fn line(&self, time: &str) -> Line {
        let mut line = Line::default();
        line.put_right(self.lanes.time_width, time, Some(Role::Faint));
        for &upright in &self.lanes.uprights {
            line.put_char(upright, '│', None);
        }
        line
    }

    fn push(&mut self, line: &Line) {
        line.paint(self.look, &mut self.out);
        self.out.push('\n');
    }
}

/// At most `width` characters, with an ellipsis where some are missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[derive(Debug, Default)]
struct Line(Vec<(char, Option<Role>)>);

impl Line {
    fn put_char(&mut self, column: usize, character: char, role: Option<Role>) {
        if self.0.len() <= column {
            self.0.resize(column + 1, (' ', None));
        }
        self.0[column] = (character, role);
    }

    fn put(&mut self, start: usize, text: &str, role: Option<Role>) {
        for (index, character) in text.chars().enumerate() {
            self.put_char(start + index, character, role);
        }
    }

    /// So that the last character stands before column `end`.
    fn put_right(&mut self, end: usize, text: &str, role: Option<Role>) {
        self.put(end.saturating_sub(text.chars().count()), text, role);
    }

    /// Runs of one role painted together, without blanks at the end.
    fn paint(&self, look: Look, out: &mut String) {
        let length = self
            .0
            .iter()
            .rposition(|(character, _)| *character != ' ')
            .map_or(0, |last| last + 1);
        for run in self.0[..length].chunk_by(|one, next| one.1 == next.1) {
            let text: String = run.iter().map(|(character, _)| *character).collect();
            match run[0].1 {
                Some(role) => out.push_str(&look.paint(role, &text)),
                None => out.push_str(&text),
            }
        }
    }
}
