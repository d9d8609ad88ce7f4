use bypeer_diagnose::{Accounts, NotJudged};
use bypeer_wire::{Issues, Timestamp};

use crate::escape::escape;
use crate::layout::Page;
use crate::look::Role;
use crate::time::utc;

/// What there is to say about a whole run: every connection accounted for, and what could not be used.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Every connection, accounted for.
    pub accounts: Accounts,
    /// Streams that ended abnormally in a way that no cause describes; perhaps only the first of them.
    pub unexplained: Vec<u32>,
    /// What in the input could not be used.
    pub issues: Issues,
    /// The input's names, in the order in which they were read.
    pub files: Vec<String>,
    /// Packets of the input, all kinds.
    pub packets: u64,
    /// Time of the first packet.
    pub first: Option<Timestamp>,
    /// Time of the last packet.
    pub last: Option<Timestamp>,
    /// Findings given out: all, or those that were asked for.
    pub findings: u64,
    /// Which findings were asked for, in words; `None` for all.
    pub selection: Option<String>,
    /// Reading was stopped before the input's end.
    pub interrupted: bool,
    /// How what was asked for was understood, and what of it there is: said first.
    pub answers: Vec<String>,
    /// What became of the connections asked for that have no finding: said after the findings.
    pub endings: Vec<String>,
    /// What else the reader should know about the input: said last.
    pub notes: Vec<String>,
}

/// What the exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: nothing found.
    Nothing,
    /// 1: findings that are not harmless, undecided ones included.
    Findings,
    /// 2: the input could not be used.
    Trouble,
}

impl Exit {
    /// The status.
    pub fn code(self) -> u8 {
        match self {
            Exit::Nothing => 0,
            Exit::Findings => 1,
            Exit::Trouble => 2,
        }
    }

    /// In words.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Nothing => "nothing found",
            Exit::Findings => "findings",
            Exit::Trouble => "trouble",
        }
    }
}

/// Writes the summary under the groups.
pub(crate) fn write(page: &mut Page, summary: &Summary, harmless_hidden: u64) {
    let accounts = &summary.accounts;
    let stopped = if summary.interrupted {
        ", stopped before the end"
    } else {
        ""
    };
    page.headline(
        "summary",
        Role::Label,
        &format!(
            "{} in {}{stopped}",
            counted(accounts.connections, "connection"),
            counted(summary.packets, "packet"),
        ),
    );
    if let (Some(first), Some(last)) = (summary.first, summary.last) {
        let seconds = last.since(first).as_secs_f64();
        page.paragraph(
            2,
            Some(Role::Faint),
            &format!("from {} to {} ({seconds:.3} s)", utc(first), utc(last)),
        );
    }
    page.blank();
    let mut row = |count: u64, role: Role, what: &str| {
        if count > 0 {
            page.verbatim(0, role, &format!("{count:>10}  {what}"));
        }
    };
    row(accounts.found, Role::Likely, "died of a cause that was found");
    row(
        accounts.undecided,
        Role::Undecided,
        "undecided: two or more causes remain",
    );
    let hidden = if harmless_hidden > 0 { " (--all shows them)" } else { "" };
    row(
        accounts.harmless,
        Role::Harmless,
        &format!("harmless: nobody lost anything{hidden}"),
    );
    row(accounts.ended_well, Role::Harmless, "ended well");
    for (reason, count) in &accounts.not_judged {
        let streams = match reason {
            NotJudged::NoCauseFits => unexplained(&summary.unexplained, *count),
            _ => String::new(),
        };
        row(*count, Role::Faint, &format!("not judged: {}{streams}", reason.what()));
    }
    if let Some(missing) = unaccounted(accounts) {
        row(
            missing,
            Role::Certain,
            "not accounted for: this is a fault of bypeer, please report it",
        );
    }

    let mut issues = summary.issues.iter().filter(|(_, count)| *count > 0).peekable();
    if issues.peek().is_some() {
        page.blank();
        page.paragraph(2, None, "Not used, or not fully:");
        for (issue, count) in issues {
            page.verbatim(0, Role::Faint, &format!("{count:>10}  {}", issue.what()));
        }
    }
    if let Some(selection) = &summary.selection {
        page.blank();
        page.paragraph(
            2,
            None,
            &format!(
                "Shown: {} {selection}. The counts above are of the whole capture.",
                counted(summary.findings, "finding")
            ),
        );
    }
    if !summary.notes.is_empty() {
        page.blank();
    }
    for note in &summary.notes {
        page.field("note", &escape(note));
    }
}

/// Streams named of those that no cause describes.
const UNEXPLAINED: usize = 10;

/// `: streams 4, 9 and 3 more` for those of `count` connections whose streams are known.
fn unexplained(streams: &[u32], count: u64) -> String {
    let named: Vec<String> = streams.iter().take(UNEXPLAINED).map(u32::to_string).collect();
    if named.is_empty() {
        return String::new();
    }
    let plural = if named.len() == 1 { "" } else { "s" };
    let more = match count.saturating_sub(named.len() as u64) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(": stream{plural} {}{more}", named.join(", "))
}

/// Connections that no line of the accounts holds.
fn unaccounted(accounts: &Accounts) -> Option<u64> {
    let not_judged: u64 = accounts.not_judged.iter().map(|(_, count)| count).sum();
    let held = accounts.ended_well + accounts.found + accounts.harmless + accounts.undecided + not_judged;
    accounts.connections.checked_sub(held).filter(|missing| *missing > 0)
}

/// `1 packet`, `2 packets`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Look;

    fn text(summary: &Summary, harmless_hidden: u64, look: Look) -> String {
        let mut page = Page::new(look);
        write(&mut page, summary, harmless_hidden);
        page.finish()
    }

    fn accounts() -> Accounts {
        Accounts {
            connections: 12_345,
            ended_well: 12_000,
            found: 300,
            harmless: 20,
            undecided: 5,
            not_judged: vec![(NotJudged::StillOpen, 15), (NotJudged::NoCauseFits, 5)],
        }
    }

    #[test]
    fn every_line_of_the_accounts_is_shown() {
        let summary = Summary {
            accounts: accounts(),
            packets: 1,
            ..Summary::default()
        };
        let text = text(&summary, 20, Look::PLAIN);
        for line in [
            "12345 connections in 1 packet",
            "300  died of a cause",
            "5  undecided",
            "20  harmless: nobody lost anything (--all shows them)",
            "12000  ended well",
            "15  not judged: still open",
            "5  not judged: ended abnormally",
        ] {
            assert!(text.contains(line), "{line:?} in\n{text}");
        }
        assert!(!text.contains("not accounted for"), "{text}");
    }

    #[test]
    fn what_no_cause_describes_is_named() {
        let mut summary = Summary {
            accounts: accounts(),
            unexplained: vec![4, 9],
            ..Summary::default()
        };
        let named = text(&summary, 0, Look::PLAIN);
        assert!(
            named.contains("no cause describes: streams 4, 9 and 3 more\n"),
            "{named}"
        );
        summary.unexplained = (1..=50).collect();
        summary.accounts.not_judged = vec![(NotJudged::NoCauseFits, 10)];
        let cut = text(&summary, 0, Look::PLAIN);
        assert!(cut.contains(": streams 1, 2, 3, 4, 5, 6, 7, 8, 9, 10\n"), "{cut}");
    }

    #[test]
    fn a_lost_connection_is_not_hidden() {
        let mut summary = Summary {
            accounts: accounts(),
            ..Summary::default()
        };
        summary.accounts.connections += 2;
        assert!(text(&summary, 0, Look::PLAIN).contains("2  not accounted for"));
    }
}
