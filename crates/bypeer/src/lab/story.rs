//! `bypeer lab story`: an incident by the scenarios that show it.

use std::io::Write;

use anyhow::bail;
use bypeer_diagnose::facts::{Fit, Fits, Mechanism, Mechanisms, misdelivered};
use bypeer_lab::json;
use bypeer_lab::scenario::Scenario;
use bypeer_lab::story::Story;
use bypeer_report::{Exit, Look, Page, Role, fits_table};

use super::arguments::{Change, Run, StoryArguments};
use super::run;
use crate::cli::{Color, Format};
use crate::output;

/// The one that was never explained: its scenarios are mechanisms, which are held to its facts.
const UNEXPLAINED: u8 = 4;

/// The story that a command line asks for.
pub(super) fn choose(arguments: &StoryArguments) -> anyhow::Result<&'static Story> {
    match Story::all().iter().find(|story| story.number == arguments.number) {
        Some(story) => Ok(story),
        None => {
            let titles = Story::all()
                .iter()
                .map(|story| format!("{} {}", story.number, story.title));
            bail!(
                "there is no story {}; there are: {}",
                arguments.number,
                titles.collect::<Vec<_>>().join(", ")
            )
        }
    }
}

/// Tells it.
pub(super) fn tell(arguments: &StoryArguments, color: Color) -> anyhow::Result<Exit> {
    let story = choose(arguments)?;
    let scenarios = story.scenarios()?;
    let mut out = output::stdout();
    match arguments.format {
        Format::Text => out.write_all(text(story, &scenarios, output::look(color)).as_bytes())?,
        Format::Json => {
            for (scenario, _) in &scenarios {
                json::write_scenario(&mut out, scenario)?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Nothing)
}

/// Runs its scenarios once each, in the lab's namespaces.
pub(super) fn play(arguments: &StoryArguments, number: u32) -> anyhow::Result<Exit> {
    let scenarios = choose(arguments)?.scenarios()?;
    let run = Run {
        which: scenarios.into_iter().map(|(scenario, _)| scenario.id).collect(),
        all: false,
        rounds: Some(1),
        fixes: Vec::new(),
        real: Vec::new(),
        change: Change {
            set: Vec::new(),
            server: None,
            client: None,
            keep: arguments.keep.clone(),
            seed: 1,
        },
        format: arguments.format,
    };
    run::run(&run, number)
}

fn text(story: &Story, scenarios: &[(Scenario, &str)], look: Look) -> String {
    let mut page = Page::new(look);
    page.headline(&format!("{}.", story.number), Role::Label, &story.title);
    page.blank();
    page.paragraph(2, None, &story.told);
    page.blank();
    if story.number == UNEXPLAINED {
        let table = misdelivered();
        facts(&mut page, table, look);
        for mechanism in &table.mechanisms {
            of_mechanism(&mut page, mechanism, scenarios);
        }
        let told = |scenario: &Scenario| {
            let mut mechanisms = table.mechanisms.iter();
            mechanisms.any(|mechanism| mechanism.scenarios.contains(&scenario.id))
        };
        for (scenario, shows) in scenarios.iter().filter(|(scenario, _)| !told(scenario)) {
            of_scenario(&mut page, scenario, shows);
        }
        page.apart();
        page.paragraph(
            0,
            None,
            "`bypeer causes misdelivered --ask --story 4` begins with these facts and puts the questions that tell the mechanisms \
             apart; docs/misdelivered.md tells how to lie in wait for it.",
        );
    } else {
        for (scenario, shows) in scenarios {
            of_scenario(&mut page, scenario, shows);
        }
    }
    page.apart();
    page.paragraph(
        0,
        None,
        &format!(
            "`bypeer lab story {} --run` runs each once; `bypeer lab show SCENARIO` shows a round packet by packet.",
            story.number
        ),
    );
    page.finish()
}

/// What was told, and how each mechanism stands to it.
fn facts(page: &mut Page, table: &Mechanisms, look: Look) {
    for fact in &table.facts {
        page.field(&fact.id, &format!("{}.", fact.told));
    }
    page.blank();
    for line in fits_table(table, look).lines() {
        page.plain(line);
    }
    page.blank();
}

fn of_mechanism(page: &mut Page, mechanism: &Mechanism, scenarios: &[(Scenario, &str)]) {
    if mechanism.fits.is_empty() {
        return;
    }
    page.apart();
    page.headline(&mechanism.id, Role::Label, &mechanism.title);
    for (fit, word) in [(Fit::Against, "against"), (Fit::Needs, "needs more for")] {
        for (fact, Fits(_, _, why)) in mechanism.fits.iter().filter(|(_, Fits(other, ..))| *other == fit) {
            page.paragraph(2, None, &format!("{word} {fact}: {why}."));
        }
    }
    page.paragraph(2, None, &format!("It alone predicts: {}.", mechanism.predicts));
    let shown = scenarios
        .iter()
        .filter(|(scenario, _)| mechanism.scenarios.contains(&scenario.id));
    let mut some = false;
    for (scenario, shows) in shown {
        of_scenario(page, scenario, shows);
        some = true;
    }
    if !some {
        page.paragraph(2, Some(Role::Faint), "No scenario makes it happen.");
    }
}

fn of_scenario(page: &mut Page, scenario: &Scenario, shows: &str) {
    page.verbatim(2, Role::Copy, &scenario.id);
    page.paragraph(4, None, &scenario.title);
    if !shows.is_empty() {
        page.paragraph(4, Some(Role::Faint), &format!("shows: {shows}"));
    }
}
