use std::fmt::Write;

use bypeer_diagnose::facts::{Fit, Fits, Mechanism, Mechanisms, Question};

use super::percent;

/// The page of an answer on the wrong request, as Markdown: mechanisms, what was told of story 4, questions.
pub fn mechanisms_page(table: &Mechanisms) -> String {
    let mut out = String::from(HEAD);
    // Writing to a String cannot fail.
    for mechanism in &table.mechanisms {
        let _ = write!(out, "\n{}", of_mechanism(mechanism));
    }
    out += "\n## What was told of story 4, and what it is worth\n\n";
    for fact in &table.facts {
        let _ = writeln!(out, "- **{}** {}. {}.", fact.id, fact.told, fact.worth);
        for (fit, words) in [(Fit::Needs, "Needs more"), (Fit::Against, "Against")] {
            let stand: Vec<String> = table
                .mechanisms
                .iter()
                .filter_map(|mechanism| match mechanism.fits.get(&fact.id)? {
                    Fits(other, basis, why) if *other == fit => {
                        Some(format!("{} ({}; {})", mechanism.id, why, basis.name()))
                    }
                    _ => None,
                })
                .collect();
            if !stand.is_empty() {
                let _ = writeln!(out, "  - {words}: {}.", stand.join("; "));
            }
        }
    }
    out += "\n## Questions\n\n";
    for question in &table.questions {
        out += &of_question(table, question);
    }
    out + TRUST
}

const HEAD: &str = "\
# An answer on another request

A client gets an answer that is well-formed, and is another's. Several mechanisms do that; they differ in what else they leave behind. \
`bypeer causes misdelivered --ask` puts the questions one by one, the most telling first, and gives the odds; `--story 4` begins with what was \
told of that incident. docs/misdelivered.md tells how to lie in wait for it.

## What may have done it
";

const TRUST: &str = "
## How far to trust this

What a sentence rests on stands behind it: measured (reproduced for this project), read (in a source or a report), judgement. The direction of \
each question rests on that, too. The probabilities are judgement, all of them: nobody has a sample of such incidents. Questions count as \
independent once the mechanism is given, which they are not quite: take 99 % for \"look there first\".
";

fn of_mechanism(mechanism: &Mechanism) -> String {
    let mut out = format!("### {}: {}\n\n{}\n\n", mechanism.id, mechanism.title, mechanism.what);
    let mut item = |label: &str, text: &str| {
        if !text.is_empty() {
            let _ = writeln!(out, "- {label}: {text}.");
        }
    };
    item("It alone predicts", &mechanism.predicts);
    item("Of story 4 it must disbelieve", &mechanism.disbelieve);
    item("Beforehand", &format!("{} (judgement)", percent(mechanism.prior)));
    item(
        "Rests on",
        &format!("{} ({})", mechanism.source, mechanism.basis.name()),
    );
    item("Findings", &mechanism.causes.join(", "));
    item("Scenarios of the lab", &mechanism.scenarios.join(", "));
    out += "\nSettled by:\n\n```\n";
    for command in &mechanism.settle {
        let _ = writeln!(out, "{command}");
    }
    out + "```\n"
}

fn of_question(table: &Mechanisms, question: &Question) -> String {
    let likely: Vec<String> = table
        .mechanisms
        .iter()
        .filter_map(|mechanism| Some(format!("{} {}", mechanism.id, question.yes.get(&mechanism.id)?)))
        .collect();
    let given = match &question.given {
        Some(given) => format!(" (asked after {given}=yes)"),
        None => String::new(),
    };
    format!(
        "- **{}**{given} {}\n  - Where to look: {}.\n  - P(yes): {}. {}: {}.\n",
        question.id,
        question.ask,
        question.r#where,
        likely.join(", "),
        question.basis.name(),
        question.source
    )
}
