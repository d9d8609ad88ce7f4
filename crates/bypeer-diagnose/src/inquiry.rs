//! Answers to questions → odds of mechanisms.
//!
//! Naive Bayes over `facts/misdelivered.toml`, in logarithms: an answer multiplies each mechanism's odds by how likely it makes that
//! answer. What was told at second hand counts less (a fact's `trust`), and gives way to an answer to the same question. The
//! odds depend on what was answered, not on the order.

use std::collections::BTreeMap;

use crate::facts::{Mechanism, Mechanisms, Question, Said};

/// The lead of the leading mechanism is doubted when its answers are so many standard deviations less likely than it predicts.
const SURPRISE: f64 = -2.5;
/// An answer that a mechanism makes no likelier than this speaks against it.
const AGAINST: f64 = 0.2;
/// A question from which less than this is to be expected, in bits, is not worth asking.
const WORTH_ASKING: f64 = 0.005;

/// Answers so far.
#[derive(Clone, Debug)]
pub struct Inquiry<'t> {
    table: &'t Mechanisms,
    story: bool,
    /// Each question once, in the order in which they were answered.
    answers: Vec<(&'t Question, Answer)>,
}

/// An answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    Yes,
    /// It is not so.
    No,
    /// Nobody knows: changes no odds.
    Unknown,
}

impl Answer {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Unknown => "unknown",
        }
    }
}

/// A mechanism and its probability.
#[derive(Clone, Copy, Debug)]
pub struct Odds<'t> {
    /// Which.
    pub mechanism: &'t Mechanism,
    /// Of all of them, these sum to 1.
    pub probability: f64,
}

/// A question that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub struct Next<'t> {
    /// Which.
    pub question: &'t Question,
    /// How many bits of entropy its answer is expected to take away.
    pub bits: f64,
}

/// Whether the answers are such as the leading mechanism predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// They are, or there are none.
    Good,
    /// They are not.
    Poor,
    /// What is not listed leads.
    Unlisted,
}

impl<'t> Inquiry<'t> {
    /// Nothing is known but that an answer was on another request.
    pub fn new(table: &'t Mechanisms) -> Inquiry<'t> {
        Inquiry {
            table,
            story: false,
            answers: Vec::new(),
        }
    }

    /// What was told of story 4 is known, for what it is worth.
    pub fn of_the_story(table: &'t Mechanisms) -> Inquiry<'t> {
        Inquiry {
            story: true,
            ..Inquiry::new(table)
        }
    }

    /// The table that it reckons with.
    pub fn table(&self) -> &'t Mechanisms {
        self.table
    }

    /// Whether the facts of story 4 count.
    pub fn has_story(&self) -> bool {
        self.story
    }

    /// Takes an answer, in place of an earlier one to the same question. False: there is no such question.
    pub fn answer(&mut self, question: &str, answer: Answer) -> bool {
        let Some(question) = self.table.question(question) else {
            return false;
        };
        self.answers.retain(|(other, _)| other.id != question.id);
        self.answers.push((question, answer));
        true
    }

    /// Forgets the last answer, and says to which question it was.
    pub fn take_back(&mut self) -> Option<&'t Question> {
        self.answers.pop().map(|(question, _)| question)
    }

    /// The answers, in the order in which they were given.
    pub fn answers(&self) -> &[(&'t Question, Answer)] {
        &self.answers
    }

    /// Answers that count for nothing, because the question that theirs waits for was not answered with yes.
    pub fn idle(&self) -> Vec<&'t Question> {
        let idle = |(question, answer): &(&'t Question, Answer)| *answer != Answer::Unknown && !self.applies(question);
        self.answers
            .iter()
            .filter(|answer| idle(answer))
            .map(|(question, _)| *question)
            .collect()
    }

    /// The mechanisms, likeliest first; as likely ones in the table's order.
    pub fn odds(&self) -> Vec<Odds<'t>> {
        let mut odds: Vec<Odds<'t>> = self
            .table
            .mechanisms
            .iter()
            .zip(self.posterior())
            .map(|(mechanism, probability)| Odds { mechanism, probability })
            .collect();
        odds.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        odds
    }

    /// How much is not known yet: the entropy of the odds, in bits.
    pub fn entropy(&self) -> f64 {
        entropy(&self.posterior())
    }

    /// The questions that may be asked now, that with the highest expected loss of entropy first; as good ones in the table's order.
    pub fn open(&self) -> Vec<Next<'t>> {
        let posterior = self.posterior();
        let before = entropy(&posterior);
        let mut open: Vec<Next<'t>> = self
            .table
            .questions
            .iter()
            .filter(|question| self.answer_to(&question.id).is_none() && self.applies(question))
            .map(|question| Next {
                question,
                bits: (before - self.expected_entropy(question, &posterior)).max(0.0),
            })
            .collect();
        open.sort_by(|a, b| b.bits.total_cmp(&a.bits));
        open
    }

    /// The question to ask now, unless none is worth it.
    pub fn next_question(&self) -> Option<Next<'t>> {
        self.open().into_iter().next().filter(|next| next.bits >= WORTH_ASKING)
    }

    /// The answers that speak against a mechanism, the worst first.
    pub fn against(&self, mechanism: &Mechanism) -> Vec<(&'t Question, Answer)> {
        let mut against: Vec<(f64, (&'t Question, Answer))> = self
            .counted()
            .map(|(question, answer)| {
                let yes = likelihood(question, mechanism);
                let likely = if answer == Answer::Yes { yes } else { 1.0 - yes };
                (likely, (question, answer))
            })
            .filter(|(likely, _)| *likely <= AGAINST)
            .collect();
        against.sort_by(|a, b| a.0.total_cmp(&b.0));
        against.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Whether the answers are such as the leading mechanism predicts. What was told of the story does not count here.
    pub fn agreement(&self) -> Agreement {
        let odds = self.odds();
        let Some(first) = odds.first() else {
            return Agreement::Good;
        };
        if self.counted().next().is_some() && first.mechanism.id == Mechanisms::UNKNOWN {
            return Agreement::Unlisted;
        }
        // The logarithm of an answer's likelihood has this mean and variance if the mechanism is the right one.
        let (mut surplus, mut variance) = (0.0, 0.0);
        for (question, answer) in self.counted() {
            let yes = likelihood(question, first.mechanism);
            let no = 1.0 - yes;
            let told = if answer == Answer::Yes { yes } else { no };
            surplus += told.ln() - (yes * yes.ln() + no * no.ln());
            variance += yes * no * (yes / no).ln().powi(2);
        }
        match surplus < SURPRISE * variance.sqrt() {
            true => Agreement::Poor,
            false => Agreement::Good,
        }
    }

    /// Answers that bear on the odds.
    fn counted(&self) -> impl Iterator<Item = (&'t Question, Answer)> + '_ {
        self.answers
            .iter()
            .filter(|(question, answer)| *answer != Answer::Unknown && self.applies(question))
            .copied()
    }

    fn answer_to(&self, question: &str) -> Option<Answer> {
        self.answers
            .iter()
            .find(|(other, _)| other.id == question)
            .map(|(_, answer)| *answer)
    }

    fn applies(&self, question: &Question) -> bool {
        question
            .given
            .as_deref()
            .is_none_or(|given| self.answer_to(given) == Some(Answer::Yes))
    }

    /// Probabilities in the table's order.
    fn posterior(&self) -> Vec<f64> {
        let told = self.told();
        let logarithms = self.table.mechanisms.iter().map(|mechanism| {
            let mut sum = mechanism.prior.ln();
            for question in self.table.questions.iter().filter(|question| self.applies(question)) {
                let yes = likelihood(question, mechanism);
                sum += match (self.answer_to(&question.id), told.get(question.id.as_str())) {
                    (Some(Answer::Yes), _) => yes.ln(),
                    (Some(Answer::No), _) => (1.0 - yes).ln(),
                    (_, Some(worth)) => (worth.if_yes * yes + worth.if_no * (1.0 - yes)).ln(),
                    (_, None) => 0.0,
                };
            }
            sum
        });
        normalised(logarithms.collect())
    }

    fn expected_entropy(&self, question: &Question, posterior: &[f64]) -> f64 {
        let told = self.told().get(question.id.as_str()).copied().unwrap_or_default();
        let mut yes = Vec::with_capacity(posterior.len());
        let mut no = Vec::with_capacity(posterior.len());
        for (mechanism, probability) in self.table.mechanisms.iter().zip(posterior) {
            let likely = likelihood(question, mechanism);
            // What was told of it stands in the posterior already: P(yes | mechanism, told).
            let (told_yes, told_no) = (told.if_yes * likely, told.if_no * (1.0 - likely));
            yes.push(probability * told_yes / (told_yes + told_no));
            no.push(probability * told_no / (told_yes + told_no));
        }
        [yes, no]
            .into_iter()
            .map(|joint| {
                let sum: f64 = joint.iter().sum();
                let conditional: Vec<f64> = joint.iter().map(|share| share / sum).collect();
                sum * entropy(&conditional)
            })
            .sum()
    }

    /// What was told, by question.
    fn told(&self) -> BTreeMap<&'t str, Worth> {
        let mut told: BTreeMap<&'t str, Worth> = BTreeMap::new();
        for speaks in self
            .table
            .facts
            .iter()
            .filter(|_| self.story)
            .flat_map(|fact| &fact.speaks)
        {
            let worth = told.entry(speaks.question.as_str()).or_default();
            let (right, wrong) = (speaks.trust, 1.0 - speaks.trust);
            let (if_yes, if_no) = match speaks.says {
                Said::Yes => (right, wrong),
                Said::No => (wrong, right),
            };
            worth.if_yes *= if_yes;
            worth.if_no *= if_no;
        }
        told
    }
}

/// How likely it is that something is told, by what is so.
#[derive(Clone, Copy, Debug)]
struct Worth {
    if_yes: f64,
    if_no: f64,
}

impl Default for Worth {
    fn default() -> Worth {
        Worth {
            if_yes: 1.0,
            if_no: 1.0,
        }
    }
}

/// P(yes | mechanism). A table that was parsed has one for each.
fn likelihood(question: &Question, mechanism: &Mechanism) -> f64 {
    question.yes.get(&mechanism.id).copied().unwrap_or(0.5)
}

/// Probabilities from logarithms of weights. The greatest is taken off first: what is left cannot all be too small for a number.
fn normalised(logarithms: Vec<f64>) -> Vec<f64> {
    let greatest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logarithms
        .iter()
        .map(|logarithm| (logarithm - greatest).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// In bits.
fn entropy(probabilities: &[f64]) -> f64 {
    probabilities
        .iter()
        .filter(|probability| **probability > 0.0)
        .map(|probability| -probability * probability.log2())
        .sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
