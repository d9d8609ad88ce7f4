//! What is heard, as lines or records while it comes, and the report at the end.

use std::io::{self, BufWriter, StdoutLock, Write};

use bypeer_diagnose::{Confidence, Finding, Habits, Hearing};
use bypeer_report::{Exit, Groups, Look, WatchSummary, heard_line, json, unexplained_line, watch_report};

use super::arguments::Watch;
use crate::cli::{Color, Format};
use crate::output;

/// Lines in one second; of what comes beyond, only the number is told. JSON has all.
const LINES_A_SECOND: u64 = 100;

/// Prints and counts.
pub(super) struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    format: Format,
    all: bool,
    look: Look,
    groups: Groups,
    habits: Habits,
    /// Counts of findings; the rest is filled in at the end.
    pub(super) summary: WatchSummary,
    second: i64,
    lines: u64,
    withheld: u64,
    printed: bool,
}

impl Printer {
    pub(super) fn new(arguments: &Watch, color: Color) -> Printer {
        Printer {
            out: output::stdout(),
            format: arguments.format,
            all: arguments.all,
            look: output::look(color),
            groups: Groups::new(),
            habits: Habits::default(),
            summary: WatchSummary::default(),
            second: i64::MIN,
            lines: 0,
            withheld: 0,
            printed: false,
        }
    }

    /// Tells of a connection that died, whether a cause was found or not.
    pub(super) fn tell(&mut self, hearing: &Hearing, finding: Option<Finding>) -> io::Result<()> {
        self.habits.note(hearing);
        let Some(finding) = finding else {
            self.summary.unexplained += 1;
            return match self.format {
                Format::Json => json::write_unexplained(&mut self.out, hearing),
                Format::Text => {
                    let line = unexplained_line(hearing, self.look);
                    self.line(hearing, &line)
                }
            };
        };
        *self.summary.by_cause.entry(finding.cause.id).or_default() += 1;
        match finding.confidence {
            _ if finding.harmless => self.summary.harmless += 1,
            Confidence::Undecided => self.summary.undecided += 1,
            Confidence::Certain | Confidence::Likely => self.summary.found += 1,
        }
        match self.format {
            Format::Json => json::write_finding(&mut self.out, &finding),
            Format::Text => {
                let told = if self.all || !finding.harmless {
                    let line = heard_line(&finding, self.look);
                    self.line(hearing, &line)
                } else {
                    Ok(())
                };
                self.groups.add(finding);
                told
            }
        }
    }

    /// A line, unless this second has had enough of them.
    fn line(&mut self, hearing: &Hearing, line: &str) -> io::Result<()> {
        let second = hearing.deciding.at.0.div_euclid(1_000_000_000);
        if second != self.second {
            self.withheld_line()?;
            (self.second, self.lines) = (second, 0);
        }
        self.lines += 1;
        if self.lines > LINES_A_SECOND {
            self.withheld += 1;
            return Ok(());
        }
        self.printed = true;
        writeln!(self.out, "{line}")
    }

    fn withheld_line(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.withheld) {
            0 => Ok(()),
            count => writeln!(self.out, "… and {count} more in that second; the report counts them"),
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// What the exit status says.
    pub(super) fn exit(&self) -> Exit {
        match self.summary.found + self.summary.undecided + self.summary.unexplained {
            0 => Exit::Nothing,
            _ => Exit::Findings,
        }
    }

    /// The report, or the last record.
    pub(super) fn end(mut self) -> io::Result<Exit> {
        let exit = self.exit();
        self.summary.insights = self.habits.insights();
        match self.format {
            Format::Json => json::write_watch_summary(&mut self.out, &self.summary, exit)?,
            Format::Text => {
                self.withheld_line()?;
                let text = watch_report(&self.groups, &self.summary, self.all, self.look);
                let began = if self.printed { "\n" } else { "" };
                write!(self.out, "{began}{text}")?;
            }
        }
        self.out.flush()?;
        Ok(exit)
    }
}
