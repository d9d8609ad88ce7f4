use std::io::{self, Write};

use bypeer_diagnose::{Answer, Inquiry, Odds};
use serde::Serialize;

use super::write_record;
use crate::inquiry::doubt;

/// Schema of what an inquiry came to.
pub const ASK: &str = "bypeer.ask/1";

/// Writes what an inquiry came to, and a newline.
pub fn write_inquiry(out: &mut dyn Write, inquiry: &Inquiry<'_>) -> io::Result<()> {
    let idle = inquiry.idle();
    let record = AskRecord {
        schema: ASK,
        about: "misdelivered",
        story: inquiry.has_story().then_some(4),
        entropy: inquiry.entropy(),
        doubt: doubt(inquiry),
        odds: inquiry
            .odds()
            .iter()
            .map(|odds| OddsRecord::of(inquiry, odds))
            .collect(),
        answers: inquiry
            .answers()
            .iter()
            .map(|(question, answer)| AnswerRecord {
                question: &question.id,
                answer: answer.name(),
                counts: *answer != Answer::Unknown && !idle.iter().any(|other| other.id == question.id),
            })
            .collect(),
        open: inquiry
            .open()
            .iter()
            .map(|next| OpenRecord {
                question: &next.question.id,
                ask: &next.question.ask,
                r#where: &next.question.r#where,
                bits: next.bits,
            })
            .collect(),
    };
    write_record(out, &record)
}

#[derive(Serialize)]
struct AskRecord<'a> {
    schema: &'static str,
    about: &'static str,
    story: Option<u8>,
    entropy: f64,
    doubt: Option<String>,
    odds: Vec<OddsRecord<'a>>,
    answers: Vec<AnswerRecord<'a>>,
    open: Vec<OpenRecord<'a>>,
}

#[derive(Serialize)]
struct OddsRecord<'a> {
    mechanism: &'a str,
    title: &'a str,
    probability: f64,
    prior: f64,
    causes: &'a [String],
    scenarios: &'a [String],
    settle: &'a [String],
    against: Vec<&'a str>,
}

#[derive(Serialize)]
struct AnswerRecord<'a> {
    question: &'a str,
    answer: &'static str,
    counts: bool,
}

#[derive(Serialize)]
struct OpenRecord<'a> {
    question: &'a str,
    ask: &'a str,
    r#where: &'a str,
    bits: f64,
}

impl<'a> OddsRecord<'a> {
    fn of(inquiry: &Inquiry<'a>, odds: &Odds<'a>) -> OddsRecord<'a> {
        let mechanism = odds.mechanism;
        OddsRecord {
            mechanism: &mechanism.id,
            title: &mechanism.title,
            probability: odds.probability,
            prior: mechanism.prior,
            causes: &mechanism.causes,
            scenarios: &mechanism.scenarios,
            settle: &mechanism.settle,
            against: inquiry
                .against(mechanism)
                .iter()
                .map(|(question, _)| question.id.as_str())
                .collect(),
        }
    }
}
