//! `cargo xtask answers`: writes docs/answers.md from measurements. `docs/answers.in.md` holds its prose, and for each sentence that
//! depends on a measurement a claim; where a claim is not true, nothing is written and the sentence is named.

mod expression;
#[cfg(test)]
mod fits;
mod lexer;
mod measure;
mod measured;
mod metric;
mod render;
mod spec;
mod template;

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use jiff::Timestamp;

use self::measure::Measurement;
use self::template::Template;

const TEMPLATE: &str = "docs/answers.in.md";
const TEXT: &str = "docs/answers.md";

/// How often, and what not to do.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds of each run. The record is made with 100; a few are enough for a trial
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Take what the last call measured, where the program is the same; measure the rest
    ///
    /// For when a sentence was rewritten, or the last call was interrupted.
    #[arg(long)]
    reuse: bool,
    /// Only runs of scenarios with this in their name, and write nothing
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Say what would be run
    #[arg(long)]
    plan: bool,
}

/// Measures, checks and writes.
///
/// # Errors
/// When the template is wrong, or the lab cannot run something.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let text = fs::read_to_string(crate::bypeer::root().join(TEMPLATE)).context(TEMPLATE)?;
    let template = Template::parse(&text).context(TEMPLATE)?;
    let mut specs = template.specs();
    if let Some(only) = &arguments.only {
        specs.retain(|spec| spec.run.scenario.contains(only.as_str()));
    }
    let calls = measure::plan(&specs, arguments.rounds);
    if arguments.plan {
        for call in &calls {
            let quoted = |argument: String| match argument.contains(char::is_whitespace) {
                true => format!("$'{}'", argument.replace('\'', "\\'").replace('\n', "\\n")),
                false => argument,
            };
            let words: Vec<String> = call.arguments().into_iter().map(quoted).collect();
            println!("bypeer {}", words.join(" "));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let program = crate::bypeer::build()?;
    let measurement = Measurement::make(&program, &calls, arguments.reuse)?;
    let contradictions = render::contradictions(&template, &measurement, arguments.only.is_some());
    for contradiction in &contradictions {
        eprintln!("{TEMPLATE}: {contradiction}");
    }
    if arguments.only.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    let made = made(&measurement, &template, arguments.rounds)?;
    let text = render::render(&template, &measurement, &made).map_err(anyhow::Error::msg)?;
    if !contradictions.is_empty() {
        // To rewrite a sentence one wants to see its table.
        let draft = program.with_file_name("answers-draft.md");
        fs::write(&draft, text).with_context(|| draft.display().to_string())?;
        eprintln!(
            "{} of {} claims do not hold; {TEXT} is left as it was, the tables are in {}.\n\
             Rewrite the sentences, then: cargo xtask answers --rounds {} --reuse",
            contradictions.len(),
            template.guards.len(),
            draft.display(),
            arguments.rounds
        );
        return Ok(ExitCode::FAILURE);
    }
    fs::write(crate::bypeer::root().join(TEXT), text).context(TEXT)?;
    eprintln!("{TEXT}: written; {} claims hold", template.guards.len());
    Ok(ExitCode::SUCCESS)
}

/// When, where and how.
fn made(measurement: &Measurement, template: &Template, rounds: u32) -> Result<String> {
    let day = |seconds: i64| Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d").to_string());
    let (first, last) = measurement.span.context("nothing was measured")?;
    let (first, last) = (day(first)?, day(last)?);
    let days = if first == last {
        first
    } else {
        format!("{first} to {last}")
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?;
    // What follows is the builder's.
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    let (all_rounds, runs) = measurement.extent();
    Ok(format!(
        "Measured on {days} on Linux {kernel} with {cpus} CPUs, {}, by `cargo xtask answers --rounds {rounds}`:\n\
         {all_rounds} rounds of {runs} runs in {:.0} minutes, with bypeer {}. {} claims of the text were held against the numbers.",
        if root { "as root" } else { "without root" },
        (measurement.took / 60.0).ceil(),
        env!("CARGO_PKG_VERSION"),
        template.guards.len()
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bypeer_lab::scenario::{Scenario, Text};

    use super::*;

    fn read(name: &str) -> String {
        fs::read_to_string(crate::bypeer::root().join(name)).unwrap()
    }

    #[test]
    fn the_text_is_what_the_template_gives() {
        let template = Template::parse(&read(TEMPLATE)).unwrap_or_else(|wrong| panic!("{TEMPLATE}: {wrong}"));
        let text = read(TEXT);
        fits::fits(&template, &text).unwrap_or_else(|why| panic!("{TEXT}: {why}\ncargo xtask answers writes it"));
        let headings = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(headings(&text), headings(&read(TEMPLATE)));
        for left in ["{{", "}}", "<!--", "-->"] {
            assert!(!text.contains(left), "{TEXT} holds {left}");
        }
        let claims = format!("{} claims of the text were held", template.guards.len());
        assert!(
            text.contains(&claims),
            "{TEXT} was not made with these claims: {claims}"
        );
    }

    #[test]
    fn the_template_asks_for_what_the_scenarios_have() {
        let template = Template::parse(&read(TEMPLATE)).unwrap();
        for spec in template.specs() {
            let run = &spec.run;
            let scenario = Scenario::built_in(&run.scenario).unwrap_or_else(|| panic!("no scenario {}", run.scenario));
            let scenario = scenario.unwrap();
            let mut set = std::collections::BTreeMap::new();
            if let Some(fix) = &run.fix {
                let fix = scenario.fixes.iter().find(|other| other.id == *fix);
                set.extend(fix.unwrap_or_else(|| panic!("no change {run}")).set.clone());
            }
            for (key, value) in &run.set {
                assert!(scenario.set.contains_key(key), "{run}: [set] has no {key}");
                set.insert(key.clone(), Text(value.clone()));
            }
            let real = run.real.as_ref().map(|id| {
                let real = scenario.reals.iter().find(|real| real.id == *id);
                real.unwrap_or_else(|| panic!("no software {run}"))
            });
            scenario
                .plan(&set, real)
                .unwrap_or_else(|error| panic!("{run}: {error}"));
        }
    }
}
