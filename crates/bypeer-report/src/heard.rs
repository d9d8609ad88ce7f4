//! Findings that kernels' words made, for a terminal: one line each, and the report at the end.

use std::collections::BTreeMap;

use bypeer_diagnose::testimony::{Actor, Frame, Known, Testimony, Told};
use bypeer_diagnose::{Finding, Hearing, Insight};
use bypeer_wire::Timestamp;

use crate::escape::escape;
use crate::group::Groups;
use crate::layout::Page;
use crate::look::{Look, Role};
use crate::summary::counted;
use crate::terminal::{self, tag};
use crate::time::utc;

/// Frames of a stack in one line; JSON has all.
const FRAMES_SHOWN: usize = 8;

/// A watch, from its beginning to its end.
#[derive(Clone, Debug, Default)]
pub struct WatchSummary {
    /// Where it was heard: "bpf", "tracefs", "sock-diag".
    pub source: &'static str,
    /// How much was recorded, where that can be chosen.
    pub tier: Option<&'static str>,
    /// What this source cannot tell, in words.
    pub unknown: Vec<String>,
    /// Its beginning.
    pub began: Timestamp,
    /// Its end.
    pub ended: Timestamp,
    /// Resets that this machine's kernel sent.
    pub resets_sent: u64,
    /// Resets that it received.
    pub resets_received: u64,
    /// Connections that failed without a reset.
    pub failed: u64,
    /// Events that belong to a connection that had been told of.
    pub follow_ups: u64,
    /// Findings that are certain or likely and not harmless.
    pub found: u64,
    /// Harmless findings.
    pub harmless: u64,
    /// Undecided findings.
    pub undecided: u64,
    /// Connections that died in a way that no cause describes.
    pub unexplained: u64,
    /// Findings that were not asked for (filters).
    pub not_asked_for: u64,
    /// Findings by cause.
    pub by_cause: BTreeMap<&'static str, u64>,
    /// What was lost on the way from the kernel, by kind.
    pub lost: Vec<(&'static str, u64)>,
    /// What only several connections together show.
    pub insights: Vec<Insight>,
    /// What else the reader should know.
    pub notes: Vec<String>,
}

/// One line about one finding.
pub fn heard_line(finding: &Finding, look: Look) -> String {
    let (tag, role) = tag(finding);
    let place = finding.heard.as_deref().map_or_else(String::new, place);
    format!(
        "{} {} {} {} → {}: {}{}",
        look.paint(Role::Faint, &utc(finding.ended)),
        look.paint(role, tag),
        finding.cause.id,
        finding.client,
        finding.server,
        escape(&finding.verdict),
        escape(&place),
    )
}

/// One line about a connection that died in a way that no cause describes.
pub fn unexplained_line(hearing: &Hearing, look: Look) -> String {
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    format!(
        "{} {} {} → {}: {}{}",
        look.paint(Role::Faint, &utc(by.at)),
        look.paint(Role::Undecided, "unexplained"),
        hearing.client,
        hearing.server,
        escape(&what(by)),
        escape(&place(hearing)),
    )
}

/// The event in the kernel's words: `reset sent (TCP_STATE, by other), state CLOSED`.
fn what(testimony: &Testimony) -> String {
    let told = match testimony.told {
        Told::ResetSent => "reset sent",
        Told::ResetReceived => "reset received",
        Told::Failed => "failed",
        Told::Destroyed => "destroyed",
        Told::Overflowed => "attempt dropped",
        Told::Swapped => "answer on another connection",
        Told::Retaken => "descriptor closed behind its reader and given away",
    };
    let mut words = vec![told.to_owned()];
    words.extend(testimony.reason.clone());
    words.extend(testimony.path.map(|path| path.name().to_owned()));
    words.extend(testimony.state.map(|state| state.name().to_owned()));
    words.join(", ")
}

/// `; gunicorn[4711] close(9) < finish_response srv.c:11 < main srv.c:30`.
fn place(hearing: &Hearing) -> String {
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    let Some(actor) = &by.actor else {
        return String::new();
    };
    let mut text = format!("; {}[{}]", actor.name, actor.pid);
    for (label, id) in [("container", &actor.container), ("pod", &actor.pod)] {
        if let Some(id) = id {
            text.push_str(&format!(" {label} {}", id.get(..12).unwrap_or(id)));
        }
    }
    if let Some(call) = &actor.call {
        text.push_str(&format!(" {call}"));
    }
    let stack = stack(&actor.frames);
    if !stack.is_empty() {
        text.push_str(&format!(" < {stack}"));
    }
    text
}

/// `finish_response srv.c:11 < handle_request srv.c:18 < main srv.c:40`, at most [`FRAMES_SHOWN`] of those that have a name.
///
/// The C library's own frames say what the call says already, and what calls `main` is nobody's.
pub(crate) fn stack(frames: &[Frame]) -> String {
    let is_main = |frame: &&Frame| matches!(frame.function.as_deref(), Some("main"));
    let end = frames
        .iter()
        .position(|frame| is_main(&frame))
        .map_or(frames.len(), |main| main + 1);
    let of_libc = |frame: &&Frame| {
        let module = frame.module.as_deref().unwrap_or_default();
        ["libc.so", "libc-", "libpthread", "ld-"]
            .iter()
            .any(|name| module.starts_with(name))
    };
    let named: Vec<String> = frames
        .iter()
        .take(end)
        .filter(|frame| !of_libc(frame) && !of_an_interpreter(frame))
        .filter_map(frame)
        .collect();
    let more = named.len().saturating_sub(FRAMES_SHOWN);
    let mut text = named.iter().take(FRAMES_SHOWN).cloned().collect::<Vec<_>>().join(" < ");
    if more > 0 {
        text.push_str(&format!(" < {more} more"));
    }
    text
}

/// What CPython calls between one of its own functions and the next, and what begins a program, says nothing of what it does.
fn of_an_interpreter(frame: &Frame) -> bool {
    const NAMES: [&str; 17] = [
        "_start",
        "__libc_start",
        "Py_RunMain",
        "Py_BytesMain",
        "pymain_",
        "_PyEval",
        "_PyObject",
        "_PyFunction",
        "_PyVectorcall",
        "_PyRun",
        "PyObject_",
        "PyEval_",
        "PyVectorcall",
        "method_vectorcall",
        "cfunction_",
        "vectorcall_",
        "slot_tp_",
    ];
    frame
        .function
        .as_deref()
        .is_some_and(|name| NAMES.iter().any(|begin| name.starts_with(begin)))
}

fn frame(frame: &Frame) -> Option<String> {
    let function = frame.function.as_deref()?;
    Some(match (&frame.file, frame.line, &frame.module) {
        (Some(file), Some(line), _) => format!("{function} {}:{line}", file.rsplit('/').next().unwrap_or(file)),
        (_, _, Some(module)) => format!("{function} ({module})"),
        _ => function.to_owned(),
    })
}

/// The fields of a group that only kernels can fill: who, and where in the program.
pub(crate) fn write_process(page: &mut Page, finding: &Finding) {
    let Some(hearing) = finding.heard.as_deref() else {
        return;
    };
    let by = hearing.reset_sent().unwrap_or(&hearing.deciding);
    if let Some(actor) = &by.actor {
        page.field("process", &escape(&process(actor)));
        let stack = stack(&actor.frames);
        if !stack.is_empty() {
            let call = actor.call.as_deref().unwrap_or("");
            let join = if call.is_empty() { "" } else { " < " };
            page.field("where", &escape(&format!("{call}{join}{stack}")));
        }
    }
    let others = hearing.peer.iter().chain([&hearing.deciding]);
    if let Some(actor) = others
        .filter(|other| other.number != by.number)
        .find_map(|other| other.actor.as_ref())
    {
        page.field("other end", &escape(&process(actor)));
    }
}

fn process(actor: &Actor) -> String {
    let mut text = format!("{} (pid {}, uid {})", actor.name, actor.pid, actor.uid);
    if let Some(program) = &actor.program {
        text.push_str(&format!(", {program}"));
    }
    for (label, id) in [("container", &actor.container), ("pod", &actor.pod)] {
        if let Some(id) = id {
            text.push_str(&format!(", {label} {id}"));
        }
    }
    match actor.known {
        Known::InCall | Known::Remembered => {}
        Known::Descriptor => text.push_str("; it holds a descriptor of the socket"),
        Known::ClosedLater => text.push_str("; it closed the socket afterwards"),
    }
    text
}

/// The report at the end of a watch: the groups worst first, and the summary.
pub fn watch_report(groups: &Groups, summary: &WatchSummary, all: bool, look: Look) -> String {
    let mut page = Page::new(look);
    let shown = terminal::write_groups(&mut page, groups, &summary.insights, all);
    if !shown && summary.unexplained == 0 {
        page.paragraph(0, Some(Role::Strong), "Nothing to complain about was heard.");
        page.blank();
    }
    write_summary(&mut page, summary);
    page.finish()
}

fn write_summary(page: &mut Page, summary: &WatchSummary) {
    let seconds = summary.ended.since(summary.began).as_secs_f64();
    let tier = summary.tier.map(|tier| format!(", tier {tier}")).unwrap_or_default();
    page.headline(
        "summary",
        Role::Label,
        &format!("{seconds:.1} s by {}{tier}", summary.source),
    );
    page.paragraph(
        2,
        Some(Role::Faint),
        &format!(
            "{} sent, {} received, {} failed without a reset",
            counted(summary.resets_sent, "reset"),
            summary.resets_received,
            counted(summary.failed, "connection"),
        ),
    );
    page.blank();
    let mut row = |count: u64, role: Role, what: &str| {
        if count > 0 {
            page.verbatim(0, role, &format!("{count:>10}  {what}"));
        }
    };
    row(summary.found, Role::Likely, "died of a cause that was found");
    row(
        summary.undecided,
        Role::Undecided,
        "undecided: two or more causes remain",
    );
    row(
        summary.harmless,
        Role::Harmless,
        "harmless: nobody lost anything (--all shows them)",
    );
    row(
        summary.unexplained,
        Role::Faint,
        "ended in a way that no cause describes",
    );
    row(summary.not_asked_for, Role::Faint, "not asked for");
    row(
        summary.follow_ups,
        Role::Faint,
        "events more about connections that were told of already",
    );
    for (what, count) in &summary.lost {
        row(*count, Role::Undecided, what);
    }
    if !summary.unknown.is_empty() || !summary.notes.is_empty() {
        page.blank();
    }
    for unknown in &summary.unknown {
        page.paragraph(
            2,
            Some(Role::Faint),
            &format!("not told by {}: {}", summary.source, escape(unknown)),
        );
    }
    for note in &summary.notes {
        page.paragraph(2, None, &escape(note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example::{heard_finding, hearing};

    #[test]
    fn one_line_names_process_call_and_line() {
        let line = heard_line(&heard_finding(), Look::PLAIN);
        assert!(!line.contains('\n'));
        assert!(
            line.ends_with("; gunicorn[4711] container 0123456789ab close(9) < finish_response srv.c:11"),
            "{line}"
        );
        assert!(!line.contains("hunter2"));
        let line = unexplained_line(&hearing(), Look::PLAIN);
        assert!(
            line.contains("reset sent, TCP_ABORT_ON_CLOSE, close-unread, CLOSED"),
            "{line}"
        );
    }

    #[test]
    fn the_report_tells_of_the_process_and_not_of_streams() {
        let mut groups = Groups::new();
        groups.add(heard_finding());
        let summary = WatchSummary {
            source: "bpf",
            resets_sent: 1,
            found: 1,
            lost: vec![("events lost", 7)],
            ..WatchSummary::default()
        };
        let report = watch_report(&groups, &summary, false, Look::PLAIN);
        assert!(
            report.contains("gunicorn (pid 4711, uid 33), /usr/bin/python3.11"),
            "{report}"
        );
        assert!(report.contains("close(9) < finish_response srv.c:11"), "{report}");
        assert!(report.contains("7  events lost"), "{report}");
        assert!(!report.contains("stream") && !report.contains("hunter2"), "{report}");
    }
}
