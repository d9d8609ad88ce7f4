//! `bypeer causes misdelivered --ask`.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use bypeer_diagnose::facts::{Mechanisms, misdelivered};
use bypeer_diagnose::{Answer, Inquiry};
use bypeer_report::json::write_inquiry;
use bypeer_report::{Exit, Look, escape, inquiry_odds, inquiry_question, inquiry_verdict};

use super::arguments::CausesArguments;
use super::nearest;
use crate::cli::{Color, Format};
use crate::output;

/// The incident of which facts are kept.
const STORY: u8 = 4;
/// A longer line is no answer, in bytes.
const LONGEST_LINE: u64 = 1000;
/// So many lines are read: with every answer taken back and given again there is an end.
const MOST_LINES: usize = 1000;
/// So many lines in a row may be no answer.
const PATIENCE: usize = 20;

const WORDS: &str = "y, n, ? (not known), b (back), l (odds), q (result), or QUESTION=y, =n, =?";

/// Asks, or takes the answers that were given, and says what they come to.
pub(super) fn run(arguments: &CausesArguments, color: Color) -> anyhow::Result<Exit> {
    let table = misdelivered();
    let mut inquiry = match arguments.story {
        None => Inquiry::new(table),
        Some(STORY) => Inquiry::of_the_story(table),
        Some(other) => bail!("--story {other}: no facts are kept of it; {STORY} is the one"),
    };
    let look = output::look(color);
    match (&arguments.answers, arguments.format) {
        (Some(answers), _) => take(&mut inquiry, answers)?,
        (None, Format::Text) => ask(&mut inquiry, &mut io::stdin().lock(), &mut output::stdout(), look)?,
        (None, Format::Json) => ask(
            &mut inquiry,
            &mut io::stdin().lock(),
            &mut io::stderr().lock(),
            Look::PLAIN,
        )?,
    }
    let mut out = output::stdout();
    match arguments.format {
        Format::Text => out.write_all(inquiry_verdict(&inquiry, look).as_bytes())?,
        Format::Json => write_inquiry(&mut out, &inquiry)?,
    }
    out.flush()?;
    Ok(Exit::Nothing)
}

/// `--answers`.
fn take(inquiry: &mut Inquiry<'_>, answers: &str) -> anyhow::Result<()> {
    for given in answers.split(',').map(str::trim).filter(|given| !given.is_empty()) {
        let Some((question, answer)) = given.split_once('=') else {
            bail!("--answers {given}: write QUESTION=yes, QUESTION=no or QUESTION=?");
        };
        let (question, answer) = assigned(inquiry.table(), question, answer).context("--answers")?;
        let before = inquiry.answers().iter().find(|(other, _)| other.id == question);
        if before.is_some_and(|(_, before)| *before != answer) {
            bail!("--answers: {question} is answered twice, and not alike");
        }
        inquiry.answer(question, answer);
    }
    Ok(())
}

/// Puts the questions.
fn ask(inquiry: &mut Inquiry<'_>, input: &mut impl BufRead, out: &mut impl Write, look: Look) -> anyhow::Result<()> {
    // What a terminal's user types is on the screen already.
    let echo = !io::stdin().is_terminal();
    let count = inquiry.table().questions.len();
    writeln!(
        out,
        "An answer was on the wrong request: which mechanism did it? Up to {count} questions, the most telling first.\n\
         Answer {WORDS}.\n"
    )?;
    out.write_all(inquiry_odds(inquiry, look).as_bytes())?;
    let mut misunderstood = 0;
    let mut lines = 0;
    let mut repeat = false;
    while let Some(next) = inquiry.next_question() {
        if !repeat {
            let number = inquiry.answers().len() + 1;
            write!(out, "\n{}", inquiry_question(&next, number, look))?;
        }
        write!(out, "> ")?;
        out.flush()?;
        lines += 1;
        if lines > MOST_LINES {
            writeln!(out)?;
            bail!("{MOST_LINES} lines were read and there is no end: stopped");
        }
        let Some(line) = line(input)? else {
            writeln!(out)?;
            break;
        };
        if echo {
            writeln!(out, "{}", escape(&line))?;
        }
        repeat = false;
        match said(inquiry.table(), &line) {
            Ok(Line::Here(answer)) => {
                inquiry.answer(&next.question.id, answer);
            }
            Ok(Line::Of(question, answer)) => {
                inquiry.answer(question, answer);
            }
            Ok(Line::Back) => match inquiry.take_back() {
                Some(question) => writeln!(out, "{} is open again", question.id)?,
                None => writeln!(out, "there is no answer to take back")?,
            },
            Ok(Line::List) => {}
            Ok(Line::Quit) => break,
            Err(error) => {
                misunderstood += 1;
                if misunderstood == PATIENCE {
                    bail!("{PATIENCE} lines in a row were no answer, the last: {error:#}");
                }
                writeln!(out, "{}", escape(&format!("{error:#}")))?;
                repeat = true;
                continue;
            }
        }
        misunderstood = 0;
        out.write_all(inquiry_odds(inquiry, look).as_bytes())?;
    }
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// What a line says.
enum Line<'t> {
    /// The answer to the question that was put.
    Here(Answer),
    /// The answer to another.
    Of(&'t str, Answer),
    Back,
    List,
    Quit,
}

fn said<'t>(table: &'t Mechanisms, line: &str) -> anyhow::Result<Line<'t>> {
    let line = line.trim();
    if let Some((question, answer)) = line.split_once('=') {
        let (question, answer) = assigned(table, question, answer)?;
        return Ok(Line::Of(question, answer));
    }
    if let Some(answer) = answer(line) {
        return Ok(Line::Here(answer));
    }
    match line.to_ascii_lowercase().as_str() {
        "b" | "back" => Ok(Line::Back),
        "l" | "list" | "odds" => Ok(Line::List),
        "q" | "quit" | "exit" => Ok(Line::Quit),
        "" => bail!("an empty line is no answer: {WORDS}"),
        _ => bail!("{line:?} is no answer: {WORDS}"),
    }
}

fn assigned<'t>(table: &'t Mechanisms, question: &str, word: &str) -> anyhow::Result<(&'t str, Answer)> {
    let (question, word) = (question.trim(), word.trim());
    let Some(known) = table.question(&question.replace('_', "-").to_ascii_lowercase()) else {
        let near = nearest(question, table.questions.iter().map(|question| question.id.as_str()));
        let near = match near.is_empty() {
            true => String::new(),
            false => format!(" did you mean {}?", near.join(" or ")),
        };
        bail!("no question is called {question:?};{near} `bypeer causes misdelivered` lists them");
    };
    let Some(answer) = answer(word) else {
        bail!("{}={word}: an answer is yes, no or ?", known.id);
    };
    Ok((&known.id, answer))
}

fn answer(word: &str) -> Option<Answer> {
    match word.to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(Answer::Yes),
        "n" | "no" => Some(Answer::No),
        "?" | "unknown" => Some(Answer::Unknown),
        _ => None,
    }
}

/// A line without its end; none at the end of the input. What is no UTF-8 is shown as such, and is no answer.
fn line(input: &mut impl BufRead) -> anyhow::Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = io::Read::take(&mut *input, LONGEST_LINE + 1)
        .read_until(b'\n', &mut bytes)
        .context("standard input cannot be read")?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if bytes.len() as u64 > LONGEST_LINE {
        bail!("a line of more than {LONGEST_LINE} bytes is no answer: {WORDS}");
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn asked(input: &str) -> (Vec<(String, Answer)>, String, anyhow::Result<()>) {
        let mut inquiry = Inquiry::new(misdelivered());
        let mut out = Vec::new();
        let end = ask(&mut inquiry, &mut input.as_bytes(), &mut out, Look::PLAIN);
        let answers = inquiry.answers().iter();
        let answers = answers
            .map(|(question, answer)| (question.id.clone(), *answer))
            .collect();
        (answers, String::from_utf8(out).unwrap(), end)
    }

    #[test]
    fn answers_go_to_the_question_that_was_put_or_to_one_by_name() {
        let first = Inquiry::new(misdelivered())
            .next_question()
            .unwrap()
            .question
            .id
            .clone();
        let (answers, out, end) = asked("Y\nexit_134 = no\nb\n?\nquit\nn\n");
        end.unwrap();
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert_eq!(answers[0], (first, Answer::Yes));
        assert_eq!(answers[1].1, Answer::Unknown);
        assert!(out.contains("exit-134 is open again"), "{out}");
        let (answers, out, end) = asked("b\n");
        end.unwrap();
        assert!(
            answers.is_empty() && out.contains("there is no answer to take back"),
            "{out}"
        );
    }

    #[test]
    fn what_is_no_answer_is_said_and_asked_again() {
        let (answers, out, end) = asked("perhaps\n\nsame-prot=yes\nsame-port=perhaps\n\u{1b}[31m\n");
        end.unwrap();
        assert!(answers.is_empty());
        for part in [
            "\"perhaps\" is no answer: y, n,",
            "an empty line is no answer",
            "did you mean same-port?",
            "same-port=perhaps: an answer is yes, no or ?",
        ] {
            assert!(out.contains(part), "{part} in\n{out}");
        }
        assert!(!out.contains('\u{1b}'));
        assert_eq!(
            out.matches("Where to look").count(),
            1,
            "the question is not put again in full"
        );
    }

    #[test]
    fn input_without_an_end_ends() {
        let (_, _, end) = asked(&"never\n".repeat(100));
        assert!(end.unwrap_err().to_string().contains("20 lines in a row"));
        let (_, _, end) = asked(&"y\nb\n".repeat(10_000));
        assert!(end.unwrap_err().to_string().contains("1000 lines"));
        let (_, _, end) = asked(&"y".repeat(100_000));
        assert!(end.unwrap_err().to_string().contains("more than 1000 bytes"));
        let questions = misdelivered().questions.len();
        for word in ["y\n", "n\n", "?\n"] {
            let (answers, _, end) = asked(&word.repeat(10_000));
            end.unwrap();
            assert!(!answers.is_empty() && answers.len() <= questions, "{word}");
        }
    }

    #[test]
    fn answers_given_at_once_are_held_to_the_table() {
        let take =
            |answers: &str| take(&mut Inquiry::new(misdelivered()), answers).map_err(|error| format!("{error:#}"));
        assert_eq!(take(""), Ok(()));
        assert_eq!(take(" same-port=Yes , exit-134=?,,same-port=y"), Ok(()));
        for (answers, told) in [
            ("same-port", "write QUESTION=yes"),
            ("teapot=yes", "no question is called \"teapot\""),
            ("same-port=1", "an answer is yes, no or ?"),
            ("same-port=yes,same-port=no", "answered twice"),
        ] {
            assert!(take(answers).unwrap_err().contains(told), "{answers}");
        }
    }
}
