pub(crate) mod arguments;
mod ask;

use std::io::Write;

use anyhow::bail;
use bypeer_diagnose::Cause;
use bypeer_diagnose::causes::{CAUSES, find};
use bypeer_diagnose::facts::misdelivered;
use bypeer_report::{Exit, cause_table, manual_page, mechanisms_page};

use self::arguments::CausesArguments;
use crate::cli::Color;
use crate::output;

/// What has a page and questions, and is no cause of its own: several causes and what is none of them lead to it.
const MISDELIVERED: &str = "misdelivered";

/// `bypeer causes [ID]`.
pub(crate) fn run(arguments: &CausesArguments, color: Color) -> anyhow::Result<Exit> {
    if arguments.ask {
        return match arguments.id.as_deref() {
            Some(MISDELIVERED) => ask::run(arguments, color),
            _ => bail!("--ask has questions about {MISDELIVERED} alone"),
        };
    }
    let look = output::look(color);
    let text = match arguments.id.as_deref() {
        None => format!(
            "{}  `bypeer causes {MISDELIVERED}`: an answer on the wrong request, what can do that; --ask puts questions\n",
            cause_table(CAUSES, look)
        ),
        Some(MISDELIVERED) => manual_page(&mechanisms_page(misdelivered()), look),
        Some(id) => {
            let cause = named(id)?;
            manual_page(&format!("{}{}", cause.manual, standards(cause)), look)
        }
    };
    let mut out = output::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::Nothing)
}

/// What the cause's clauses ask for, as a list for the end of its manual page.
fn standards(cause: &Cause) -> String {
    let clauses = cause.clauses.iter().filter_map(|id| bypeer_diagnose::clause(id));
    let items: Vec<String> = clauses
        .map(|clause| format!("- {} {}: {}", clause.id, clause.title, clause.requires))
        .collect();
    match items.is_empty() {
        true => String::new(),
        false => format!("\n\nWhat these clauses ask for:\n\n{}\n", items.join("\n")),
    }
}

/// The cause with an id, or an error that names those one may have meant.
pub(crate) fn named(id: &str) -> anyhow::Result<&'static Cause> {
    // The facts spell ids with underscores; people do too.
    if let Some(cause) = find(&id.replace('_', "-").to_ascii_lowercase()) {
        return Ok(cause);
    }
    let near = nearest(id, CAUSES.iter().map(|cause| cause.id));
    if near.is_empty() {
        bail!("no cause is called {id:?}; `bypeer causes` lists them");
    }
    bail!(
        "no cause is called {id:?}; did you mean {}? `bypeer causes` lists them",
        near.join(" or ")
    );
}

/// At most three ids that look like `id`, best first.
fn nearest<'a>(id: &str, ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let id: String = id.chars().take(64).flat_map(char::to_lowercase).collect();
    let mut scored: Vec<(usize, &str)> = ids
        .map(|candidate| (strsim::levenshtein(&id, candidate), candidate))
        .collect();
    scored.sort();
    // A slip of the finger, or else a word in common.
    let slips: Vec<&str> = scored
        .iter()
        .filter(|(edits, _)| *edits <= 3)
        .map(|(_, candidate)| *candidate)
        .collect();
    let shares_a_word = |candidate: &str| {
        (id.len() > 3 && candidate.contains(&id))
            || candidate.split('-').any(|word| word.len() > 3 && id.contains(word))
    };
    let near = match slips.is_empty() {
        false => slips,
        true => scored
            .into_iter()
            .map(|(_, candidate)| candidate)
            .filter(|candidate| shares_a_word(candidate))
            .collect(),
    };
    near.into_iter().take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 4] = [
        "unread-request-body",
        "unread-trailing-bytes",
        "silent-drop",
        "closed-port",
    ];

    #[test]
    fn a_slip_finds_its_cause() {
        assert_eq!(nearest("silentdrop", IDS.into_iter()), ["silent-drop"]);
        assert_eq!(nearest("clsoed-port", IDS.into_iter()), ["closed-port"]);
        assert_eq!(
            nearest("unread", IDS.into_iter()),
            ["unread-request-body", "unread-trailing-bytes"]
        );
        assert!(nearest("teapot", IDS.into_iter()).is_empty());
    }
}
