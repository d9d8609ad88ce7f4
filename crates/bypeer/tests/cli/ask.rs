//! `bypeer causes misdelivered --ask`, and the guide that tells of it.

use std::io::Seek;

use bypeer_diagnose::causes::CAUSES;
use bypeer_diagnose::facts::misdelivered;

use super::*;

fn ask(options: &[&str]) -> Ran {
    run(&[&["causes", "misdelivered", "--ask"], options].concat())
}

/// From a file: a pipe would have to be filled while what is printed is read.
fn ask_with_input(options: &[&str], input: &[u8]) -> Ran {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    file.rewind().unwrap();
    command()
        .args(["causes", "misdelivered", "--ask"])
        .args(options)
        .stdin(file)
        .output()
        .unwrap()
        .into()
}

fn record(ran: &Ran) -> Value {
    let schema: Value = serde_json::from_str(include_str!("../../../../docs/schema/ask-1.json")).unwrap();
    let record: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        schema_check::faults(&schema, &record),
        Vec::<String>::new(),
        "{record:#}"
    );
    record
}

fn guide() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/misdelivered.md")).unwrap()
}

#[test]
fn the_page_names_every_mechanism_and_question() {
    let page = run(&["causes", "misdelivered"]);
    assert_eq!(page.code, 0);
    let table = misdelivered();
    let ids = table.mechanisms.iter().map(|mechanism| &mechanism.id);
    for id in ids.chain(table.questions.iter().map(|question| &question.id)) {
        assert!(page.out.contains(id.as_str()), "{id}");
    }
    assert!(!page.out.contains("**") && page.out.contains("judgement, all of them"));
    assert!(run(&["causes"]).out.contains("bypeer causes misdelivered"));
}

#[test]
fn answers_come_at_once_or_line_by_line() {
    let at_once = ask(&["--answers", "same-port=yes,port-of-client-1=no,exit-134=?"]);
    assert_eq!((at_once.code, at_once.err.as_str()), (0, ""));
    let by_line = ask_with_input(&[], b"same-port=y\nport-of-client-1=n\nexit-134=?\nq\n");
    assert_eq!((by_line.code, by_line.err.as_str()), (0, ""));
    let (_, verdict) = by_line.out.rsplit_once("The odds").unwrap();
    assert_eq!(format!("The odds{verdict}"), at_once.out);
    assert!(
        at_once.out.lines().nth(1).unwrap().contains("shared-parser"),
        "{}",
        at_once.out
    );
}

#[test]
fn json_is_one_record_by_the_schema() {
    let ran = ask_with_input(&["--format", "json", "--story", "4"], b"y\nperhaps\n?\n");
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("Where to look"), "questions go elsewhere: {}", ran.err);
    let told = record(&ran);
    assert_eq!(told["story"], 4);
    assert_eq!(told["answers"][0]["answer"], "yes");
    assert_eq!(told["answers"].as_array().unwrap().len(), 2);
    let sum: f64 = told["odds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|odds| odds["probability"].as_f64().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 1e-9);
    assert_eq!(told["odds"].as_array().unwrap().len(), misdelivered().mechanisms.len());
    let nothing = record(&ask(&["--format", "json"]));
    assert_eq!(nothing["answers"], serde_json::json!([]));
    assert_eq!(nothing["story"], Value::Null);
}

#[test]
fn what_cannot_be_meant_is_trouble_and_says_what_can() {
    for (options, told) in [
        (&["--answers", "same-prot=yes"][..], "did you mean same-port?"),
        (&["--answers", "same-port=maybe"], "an answer is yes, no or ?"),
        (&["--answers", "\u{1b}[2J=yes"], "no question is called"),
        (&["--story", "3"], "4 is the one"),
    ] {
        let ran = ask(options);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{options:?}");
        assert!(ran.err.contains(told) && !ran.err.contains('\u{1b}'), "{}", ran.err);
    }
    let ran = run(&["causes", "silent-drop", "--ask"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("misdelivered alone"), "{}", ran.err);
    for input in [
        vec![b'y'; 1 << 20],
        b"\xff\xfe\n".repeat(1000),
        b"y\nb\n".repeat(100_000),
    ] {
        let ran = ask_with_input(&[], &input);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(!ran.err.is_empty());
    }
    assert_eq!(
        ask_with_input(&[], b"").code,
        0,
        "no input: the odds without any answer"
    );
}

/// Each block `sh` that a block `text` follows prints what that shows, in its order.
#[test]
fn the_guide_shows_what_is_printed() {
    let guide = guide();
    let mut shown = 0;
    for part in guide.split("```sh\n").skip(1) {
        let (script, rest) = part.split_once("\n```").unwrap();
        let Some(text) = rest.strip_prefix("\n\n```text\n") else {
            continue;
        };
        let (text, _) = text.split_once("\n```").unwrap();
        let words: Vec<&str> = script
            .strip_prefix("bypeer ")
            .unwrap()
            .split_whitespace()
            .map(|word| word.trim_matches('\''))
            .collect();
        let ran = run(&words);
        let mut lines = ran.out.lines();
        for line in text.lines() {
            assert!(lines.any(|printed| printed == line), "{script}: {line}\n{}", ran.out);
        }
        shown += 1;
    }
    assert_eq!(shown, 2);
}

#[test]
fn the_guide_speaks_of_what_there_is() {
    let guide = guide();
    let told = record(&ask(&["--format", "json", "--story", "4", "--answers", ""]));
    for odds in told["odds"].as_array().unwrap() {
        let percent = odds["probability"].as_f64().unwrap() * 100.0;
        let share = if percent < 1.0 {
            "<1".to_owned()
        } else {
            format!("{percent:.0}")
        };
        let row = format!("| `{}` | {share} % |", odds["mechanism"].as_str().unwrap());
        assert!(guide.contains(&row), "{row}");
    }
    for fact in &misdelivered().facts {
        assert!(guide.contains(&format!("| {} | ", fact.id)), "{}", fact.id);
    }
    let (_, questions) = guide.split_once("## The questions that decide").unwrap();
    let (questions, _) = questions.split_once("Two answers are often enough").unwrap();
    for id in questions
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| !word.starts_with("--") && *word != "?")
    {
        let known = ["Date"].contains(&id) || misdelivered().question(id).is_some();
        assert!(known, "no question is called {id}");
    }
    for mechanism in &misdelivered().mechanisms {
        for id in &mechanism.causes {
            assert!(CAUSES.iter().any(|cause| cause.id == id), "no cause is called {id}");
        }
    }
}
