//! How an answer comes to be on another request: the mechanisms, what was told of the one incident that is known in full, and the
//! questions that tell the mechanisms apart. [`crate::Inquiry`] reckons with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

/// Everything in `facts/misdelivered.toml`, or in a table of its form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mechanisms {
    /// What may have done it; the priors sum to 1.
    #[serde(rename = "mechanism")]
    pub mechanisms: Vec<Mechanism>,
    /// What was told of story 4.
    #[serde(default, rename = "fact")]
    pub facts: Vec<ToldFact>,
    /// What to ask.
    #[serde(rename = "question")]
    pub questions: Vec<Question>,
}

/// One way in which an answer comes to be on another request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mechanism {
    /// Its name on the command line and in records.
    pub id: String,
    /// One line.
    pub title: String,
    /// The causes of findings that show it.
    pub causes: Vec<String>,
    /// The lab's scenarios that make it happen.
    pub scenarios: Vec<String>,
    /// P(it did it), before anything is known but that an answer was on another request. Judgement.
    pub prior: f64,
    /// What happens.
    pub what: String,
    /// What `what` rests on.
    pub basis: Basis,
    /// Where it was seen or read.
    pub source: String,
    /// What one must disbelieve of story 4 to believe it.
    pub disbelieve: String,
    /// What it alone predicts.
    pub predicts: String,
    /// Commands that would settle whether it was this one.
    pub settle: Vec<String>,
    /// How it stands to each fact of story 4, by the fact's id.
    pub fits: BTreeMap<String, Fits>,
}

/// How a mechanism stands to a fact, what that rests on, and why.
#[derive(Clone, Debug, Deserialize)]
pub struct Fits(pub Fit, pub Basis, pub String);

/// How a mechanism stands to a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// It produces it.
    Yes,
    /// It produces it if something more holds.
    Needs,
    /// It produces the contrary.
    Against,
    /// It says nothing of it.
    Silent,
}

impl Fit {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Fit::Yes => "fits",
            Fit::Needs => "needs",
            Fit::Against => "against",
            Fit::Silent => "silent",
        }
    }
}

/// What a statement rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Reproduced for this project.
    Measured,
    /// Read in a source or a report.
    Read,
    /// Somebody's judgement.
    Judgement,
}

impl Basis {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Measured => "measured",
            Basis::Read => "read",
            Basis::Judgement => "judgement",
        }
    }
}

/// What was told of story 4.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldFact {
    /// As `F2`.
    pub id: String,
    /// What was told.
    pub told: String,
    /// What that is worth.
    pub worth: String,
    /// The questions that it answers, none if it speaks for nobody.
    pub speaks: Vec<Speaks>,
}

/// What a fact says to a question.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speaks {
    /// The question's id.
    pub question: String,
    /// The answer.
    pub says: Said,
    /// P(it is so | it was told so), between 0.5 (worthless) and 1. Judgement.
    pub trust: f64,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// A question that tells mechanisms apart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its name on the command line and in records.
    pub id: String,
    /// It has a meaning only when this other one was answered with yes.
    pub given: Option<String>,
    /// The question; it can be answered with yes or no.
    pub ask: String,
    /// How to find out.
    pub r#where: String,
    /// What the direction of the likelihoods rests on; their figures are judgement.
    pub basis: Basis,
    /// Where that was seen or read.
    pub source: String,
    /// P(yes | mechanism) by the mechanism's id; never 0 or 1. Judgement.
    pub yes: BTreeMap<String, f64>,
}

// The file is part of the program; a test parses it, so a table that does not parse never ships.
static MISDELIVERED: LazyLock<Mechanisms> =
    LazyLock::new(|| Mechanisms::parse(include_str!("../../facts/misdelivered.toml")).unwrap_or_default());

/// The mechanisms, facts and questions that ship with the program.
pub fn misdelivered() -> &'static Mechanisms {
    &MISDELIVERED
}

impl Mechanisms {
    /// What stands for everything that is not listed.
    pub const UNKNOWN: &str = "unknown";

    /// Reads a table and holds it to its form.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Mechanisms, String> {
        let table: Mechanisms = toml::from_str(text).map_err(|error| error.to_string())?;
        match table.fault() {
            None => Ok(table),
            Some(fault) => Err(fault),
        }
    }

    /// A question by its id.
    pub fn question(&self, id: &str) -> Option<&Question> {
        self.questions.iter().find(|question| question.id == id)
    }

    fn fault(&self) -> Option<String> {
        let mechanisms: BTreeSet<&str> = self.mechanisms.iter().map(|mechanism| mechanism.id.as_str()).collect();
        let questions: BTreeSet<&str> = self.questions.iter().map(|question| question.id.as_str()).collect();
        let facts: BTreeSet<&str> = self.facts.iter().map(|fact| fact.id.as_str()).collect();
        if mechanisms.len() < self.mechanisms.len() || questions.len() < self.questions.len() {
            return Some("an id is there twice".to_owned());
        }
        let sum: f64 = self.mechanisms.iter().map(|mechanism| mechanism.prior).sum();
        if (sum - 1.0).abs() > 1e-9 {
            return Some(format!("the priors sum to {sum}"));
        }
        let certain = |probability: f64| !(probability > 0.0 && probability < 1.0);
        for mechanism in &self.mechanisms {
            if certain(mechanism.prior) {
                return Some(format!("{}: its prior is certain", mechanism.id));
            }
            if let Some(fact) = mechanism.fits.keys().find(|fact| !facts.contains(fact.as_str())) {
                return Some(format!("{}: there is no fact {fact}", mechanism.id));
            }
        }
        for Question { id, given, yes, .. } in &self.questions {
            if yes.keys().map(String::as_str).collect::<BTreeSet<_>>() != mechanisms {
                return Some(format!("{id}: not one likelihood for each mechanism"));
            }
            if yes.values().any(|probability| certain(*probability)) {
                return Some(format!("{id}: a likelihood is certain"));
            }
            if given
                .as_deref()
                .is_some_and(|given| given == id || self.question(given).is_none_or(|other| other.given.is_some()))
            {
                return Some(format!("{id}: waits for what is not asked, or waits itself"));
            }
        }
        self.facts.iter().find_map(|fact| {
            let wrong =
                |speaks: &Speaks| !questions.contains(speaks.question.as_str()) || !(0.5..1.0).contains(&speaks.trust);
            let speaks = fact.speaks.iter().find(|speaks| wrong(speaks))?;
            Some(format!(
                "{}: speaks of {} with {}",
                fact.id, speaks.question, speaks.trust
            ))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shipped() -> Mechanisms {
        Mechanisms::parse(include_str!("../../facts/misdelivered.toml")).unwrap()
    }

    #[test]
    fn what_ships_is_complete() {
        let table = shipped();
        let facts: Vec<String> = (1..=10).map(|number| format!("F{number}")).collect();
        assert_eq!(
            table.facts.iter().map(|fact| fact.id.clone()).collect::<Vec<_>>(),
            facts
        );
        for mechanism in &table.mechanisms {
            let id = &mechanism.id;
            for text in [
                &mechanism.title,
                &mechanism.what,
                &mechanism.source,
                &mechanism.disbelieve,
                &mechanism.predicts,
            ] {
                assert!(!text.trim().is_empty(), "{id}");
            }
            assert!(!mechanism.settle.is_empty(), "{id}");
            if id == Mechanisms::UNKNOWN {
                assert!(mechanism.fits.is_empty(), "what is unknown predicts nothing");
                continue;
            }
            assert_eq!(mechanism.fits.len(), facts.len(), "{id}: every fact is spoken of");
            for (fact, Fits(_, _, why)) in &mechanism.fits {
                assert!(!why.trim().is_empty(), "{id} {fact}");
            }
        }
        for question in &table.questions {
            assert!(question.ask.ends_with('?'), "{}", question.id);
            assert!(
                !question.r#where.is_empty() && !question.source.is_empty(),
                "{}",
                question.id
            );
            let (least, most) = question
                .yes
                .values()
                .fold((1.0_f64, 0.0_f64), |(least, most), p| (least.min(*p), most.max(*p)));
            assert!(most - least >= 0.2, "{}: it tells nothing apart", question.id);
        }
    }

    #[test]
    fn a_faulty_table_is_refused() {
        let good = include_str!("../../facts/misdelivered.toml");
        for (from, to, told) in [
            ("prior = 0.08", "prior = 0.09", "the priors sum to 1.0"),
            ("unknown = 0.25", "unknown = 1.0", "a likelihood is certain"),
            ("unknown = 0.25\n", "", "not one likelihood for each mechanism"),
            (
                "given = \"same-port\"",
                "given = \"no-such\"",
                "waits for what is not asked",
            ),
            ("trust = 0.65", "trust = 0.2", "speaks of same-bytes with 0.2"),
            ("id = \"exit-134\"", "id = \"same-port\"", "an id is there twice"),
            ("F1 = [", "F11 = [", "there is no fact F11"),
            ("basis = \"measured\"", "basis = \"guessed\"", "guessed"),
        ] {
            assert!(good.contains(from), "{from}");
            let fault = Mechanisms::parse(&good.replacen(from, to, 1)).unwrap_err();
            assert!(fault.contains(told), "{from} → {to}: {fault}");
        }
    }
}
