//! An inquiry into an answer on the wrong request, as text: its page, a question, the odds, and what comes of it.

mod page;

use bypeer_diagnose::facts::{Fit, Fits, Mechanism, Mechanisms};
use bypeer_diagnose::{Agreement, Answer, Inquiry, Next, Odds};

use crate::layout::Page;
use crate::look::{Look, Role};

pub use page::mechanisms_page;

/// Columns of a bar that stands for certainty.
const BAR: usize = 40;
/// So many mechanisms are told of at the end, if they are likelier than [`LIKELY`].
const TOLD: usize = 3;
/// What is less likely is in the list of odds alone.
const LIKELY: f64 = 0.1;

/// A question, and how to find out.
pub fn inquiry_question(next: &Next<'_>, number: usize, look: Look) -> String {
    let mut page = Page::new(look);
    let tag = format!("{number}.");
    page.headline(&tag, Role::Label, &next.question.ask);
    page.paragraph(
        tag.len() + 1,
        Some(Role::Faint),
        &format!("({}) Where to look: {}", next.question.id, next.question.r#where),
    );
    page.finish()
}

/// The odds, likeliest first, each with a bar.
pub fn inquiry_odds(inquiry: &Inquiry<'_>, look: Look) -> String {
    let odds = inquiry.odds();
    let width = odds.iter().map(|odds| odds.mechanism.id.len()).max().unwrap_or(0);
    let mut page = Page::new(look);
    for Odds { mechanism, probability } in odds {
        let bar = "█".repeat((probability * BAR as f64).round() as usize);
        let line = format!("{:>8}  {:width$}  {bar}", percent(probability), mechanism.id);
        page.plain(line.trim_end());
    }
    page.finish()
}

/// What the answers come to: the odds, what to do next, and the answers themselves.
pub fn inquiry_verdict(inquiry: &Inquiry<'_>, look: Look) -> String {
    let mut page = Page::new(look);
    page.plain(&look.paint(Role::Strong, "The odds"));
    page.plain(inquiry_odds(inquiry, look).trim_end());
    if let Some(doubt) = doubt(inquiry) {
        page.apart();
        page.headline("doubt", Role::Undecided, &doubt);
    }
    let odds = inquiry.odds();
    let likely = odds.iter().take(TOLD).filter(|odds| odds.probability >= LIKELY);
    for Odds { mechanism, probability } in likely {
        page.apart();
        page.headline(&percent(*probability), Role::Likely, &mechanism.title);
        page.field("what", &mechanism.what);
        page.field("predicts", &format!("{}.", mechanism.predicts));
        for (index, against) in objections(inquiry, mechanism).iter().enumerate() {
            page.field(if index == 0 { "against" } else { "" }, against);
        }
        if inquiry.has_story() {
            page.field("disbelieve", &format!("{}.", mechanism.disbelieve));
        }
        for (index, command) in mechanism.settle.iter().enumerate() {
            page.field_to_copy(if index == 0 { "settled by" } else { "" }, command);
        }
    }
    page.apart();
    match inquiry.next_question() {
        Some(next) => {
            page.field("ask next", &format!("{} ({})", next.question.ask, next.question.id));
            page.field("", &format!("Where to look: {}", next.question.r#where));
        }
        None => page.field(
            "ask next",
            "nothing: no question that is left would change the odds by much",
        ),
    }
    page.apart();
    page.field("answers", &answers(inquiry));
    if inquiry.has_story() {
        page.field("told", "the facts of story 4, F1 to F10, for what each is worth");
    }
    page.field(
        "trust",
        "every probability is judgement; what they rest on is in `bypeer causes misdelivered`",
    );
    page.finish()
}

/// Why the leading mechanism is to be doubted, if it is.
pub(crate) fn doubt(inquiry: &Inquiry<'_>) -> Option<String> {
    match inquiry.agreement() {
        Agreement::Good => None,
        Agreement::Poor => Some(
            "The answers fit no mechanism well, not even the likeliest: look again at those that speak against it".to_owned(),
        ),
        Agreement::Unlisted => Some(
            "The answers fit no mechanism that is listed: either at least one is not what it seems, or something else did it"
                .to_owned(),
        ),
    }
}

/// As `35 %`; never 0 or 100.
pub(crate) fn percent(probability: f64) -> String {
    let percent = probability * 100.0;
    if percent < 0.1 {
        "<0.1 %".to_owned()
    } else if percent > 99.9 {
        ">99.9 %".to_owned()
    } else if !(9.95..99.0).contains(&percent) {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// Answers that speak against a mechanism, and facts of the story, where that counts.
fn objections(inquiry: &Inquiry<'_>, mechanism: &Mechanism) -> Vec<String> {
    let answers = inquiry
        .against(mechanism)
        .into_iter()
        .map(|(question, answer)| format!("{}={}: {}", question.id, answer.name(), question.source));
    let facts = [(Fit::Against, ":"), (Fit::Needs, " needs")]
        .into_iter()
        .flat_map(|(fit, words)| {
            let facts = inquiry.table().facts.iter().filter(|_| inquiry.has_story());
            facts.filter_map(move |fact| match mechanism.fits.get(&fact.id)? {
                Fits(other, _, why) if *other == fit => Some(format!("{}{words} {why}", fact.id)),
                _ => None,
            })
        });
    answers.chain(facts).collect()
}

fn answers(inquiry: &Inquiry<'_>) -> String {
    let told: Vec<String> = inquiry
        .answers()
        .iter()
        .map(|(question, answer)| {
            let answer = if *answer == Answer::Unknown { "?" } else { answer.name() };
            format!("{}={answer}", question.id)
        })
        .collect();
    let mut text = match told.is_empty() {
        true => "none".to_owned(),
        false => told.join(","),
    };
    for question in inquiry.idle() {
        let given = question.given.as_deref().unwrap_or_default();
        text += &format!("; {} counts only with {given}=yes", question.id);
    }
    text
}

/// How each mechanism stands to the facts of the story: rows are mechanisms, columns facts.
pub fn fits_table(table: &Mechanisms, look: Look) -> String {
    let width = table
        .mechanisms
        .iter()
        .map(|mechanism| mechanism.id.len())
        .max()
        .unwrap_or(0);
    let mut page = Page::new(look);
    let heads: String = table.facts.iter().map(|fact| format!("{:<8}", fact.id)).collect();
    page.plain(format!("  {:width$}  {heads}", "").trim_end());
    for mechanism in table.mechanisms.iter().filter(|mechanism| !mechanism.fits.is_empty()) {
        let cells: String = table
            .facts
            .iter()
            .map(|fact| {
                let fit = mechanism.fits.get(&fact.id).map_or(Fit::Silent, |Fits(fit, ..)| *fit);
                let (word, role) = match fit {
                    Fit::Yes => (fit.name(), Role::Harmless),
                    Fit::Needs => (fit.name(), Role::Likely),
                    Fit::Against => (fit.name(), Role::Certain),
                    Fit::Silent => ("-", Role::Faint),
                };
                format!("{}{}", look.paint(role, word), " ".repeat(8 - word.len()))
            })
            .collect();
        page.plain(format!("  {:width$}  {cells}", mechanism.id).trim_end());
    }
    page.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bypeer_diagnose::facts::misdelivered;

    use super::*;

    #[test]
    fn no_share_is_told_as_certain() {
        for (probability, told) in [
            (0.0, "<0.1 %"),
            (0.003, "0.3 %"),
            (0.0994, "9.9 %"),
            (0.0996, "10 %"),
            (0.35, "35 %"),
            (0.989, "99 %"),
            (0.9934, "99.3 %"),
            (1.0, ">99.9 %"),
        ] {
            assert_eq!(percent(probability), told);
        }
    }

    #[test]
    fn the_verdict_says_what_to_do_and_what_was_answered() {
        let mut inquiry = Inquiry::of_the_story(misdelivered());
        for (question, answer) in [
            ("same-port", Answer::Yes),
            ("port-of-client-1", Answer::Yes),
            ("same-bytes", Answer::No),
            ("exit-134", Answer::Unknown),
            ("second-ebadf", Answer::Yes),
        ] {
            assert!(inquiry.answer(question, answer));
        }
        let text = inquiry_verdict(&inquiry, Look::PLAIN);
        for part in [
            "same-port=yes,port-of-client-1=yes,same-bytes=no,exit-134=?,second-ebadf=yes; second-ebadf counts only with second-failed=yes",
            "bypeer watch --calls",
            "same-bytes=no: ",
            "F2: client 1 gets an end of file",
            "ask next",
        ] {
            assert!(
                text.contains(part) || text.replace("\n             ", " ").contains(part),
                "{part} in\n{text}"
            );
        }
        assert!(
            text.lines()
                .all(|line| line.chars().count() <= 100 || line.contains(",exit-134=?") || line.contains("tripwire")),
            "{text}"
        );
    }

    #[test]
    fn doubt_is_told() {
        let mut inquiry = Inquiry::new(misdelivered());
        assert_eq!(doubt(&inquiry), None);
        for question in [
            "same-port",
            "port-of-client-1",
            "conntrack-event",
            "cancelled-call",
            "unsolicited",
            "corrupt-bodies",
        ] {
            assert!(inquiry.answer(question, Answer::Yes));
        }
        assert!(doubt(&inquiry).is_some());
        assert!(inquiry_verdict(&inquiry, Look::PLAIN).contains("doubt The answers fit no mechanism"));
    }

    #[test]
    fn the_table_of_facts_has_a_row_for_each_mechanism() {
        let table = misdelivered();
        let text = fits_table(table, Look::PLAIN);
        assert_eq!(
            text.lines().count(),
            table.mechanisms.len(),
            "the unknown has none, the heads are one"
        );
        let row = text
            .lines()
            .find(|line| line.contains("descriptor-closed-twice"))
            .unwrap();
        let cells: Vec<&str> = row.split_whitespace().skip(1).collect();
        assert_eq!(cells[..5], ["fits", "against", "fits", "fits", "needs"]);
        assert_eq!(cells.len(), 10);
    }
}
