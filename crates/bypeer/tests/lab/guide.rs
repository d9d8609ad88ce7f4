//! The examples of `docs/lab.md`, run as they stand there: a block `sh`, and what it prints in the block `text` after it.

use super::*;

#[test]
#[ignore = "needs root, namespaces, tracefs"]
fn a_first_round() {
    check("## A first round");
}

#[test]
#[ignore = "needs root, namespaces, tracefs"]
fn scenarios_rounds_rates() {
    check("## Scenarios, rounds, rates");
}

#[test]
#[ignore = "needs root, namespaces, tracefs"]
fn what_helps() {
    check("## What helps");
}

#[test]
#[ignore = "needs root, namespaces, tracefs, gunicorn"]
fn gunicorn() {
    check("### gunicorn");
}

#[test]
#[ignore = "needs root, namespaces, tracefs, uwsgi"]
fn uwsgi() {
    check("### uWSGI");
}

#[test]
#[ignore = "needs root, namespaces, tracefs, nginx"]
fn nginx() {
    check("### nginx");
}

#[test]
#[ignore = "needs root, namespaces, tracefs, node"]
fn node() {
    check("### Node");
}

#[test]
#[ignore = "needs root, namespaces, tracefs, curl"]
fn curl() {
    check("### curl");
}

#[test]
#[ignore = "needs root, namespaces, tracefs"]
fn your_own_scenario() {
    check("## Your own scenario");
}

/// No example goes untested: each stands under a heading that a test above names, or shows no output.
#[test]
fn every_example_is_tested() {
    let tests = include_str!("guide.rs");
    let guide = guide();
    let mut complaints = Complaints::default();
    let mut seen = 0;
    for section in sections(&guide) {
        let heading = section.lines().next().unwrap_or_default();
        if section.contains("\n```text\n") {
            seen += 1;
            if !tests.contains(&format!("check({heading:?})")) {
                complaints.add(heading, "no test runs it");
            }
        }
    }
    assert!(seen >= 8, "{seen} examples");
    complaints.none();
}

fn guide() -> String {
    fs::read_to_string(repository().join("docs/lab.md")).unwrap()
}

/// From heading to heading; a `#` in a block is none.
fn sections(guide: &str) -> Vec<String> {
    let mut sections = vec![String::new()];
    let mut block = false;
    for line in guide.lines() {
        block ^= line.starts_with("```");
        if line.starts_with('#') && !block {
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            *section += &format!("{line}\n");
        }
    }
    sections
}

fn block<'a>(section: &'a str, kind: &str) -> &'a str {
    let (_, rest) = section
        .split_once(&format!("\n```{kind}\n"))
        .unwrap_or_else(|| panic!("no block {kind} in\n{section}"));
    rest.split_once("\n```").expect("the block ends").0
}

/// Runs the example under a heading and finds every line that is shown, in this order.
fn check(heading: &str) {
    let guide = guide();
    let section = sections(&guide)
        .into_iter()
        .find(|section| section.lines().next() == Some(heading))
        .unwrap_or_else(|| panic!("docs/lab.md has no {heading}"));
    let place = Place::new();
    let _alone = alone();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-e", "-c", block(&section, "sh")])
        .current_dir(place.folder.path())
        .env("PATH", format!("{}:{path}", place.folder.path().display()))
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = Ran::from(output);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let mut printed = ran.out.lines();
    for line in block(&section, "text").lines().filter(|line| line.trim() != "…") {
        assert!(
            printed.any(|printed| alike(line, printed)),
            "docs/lab.md shows under {heading} a line that is not printed, or not in this place:\n{line}\n\nprinted:\n{}{}",
            ran.out,
            ran.err
        );
    }
}

/// The same words; of numbers only those may differ that are measured.
fn alike(shown: &str, printed: &str) -> bool {
    // A packet's arrow is one line or two, as something happens while it is on its way.
    if shown.contains('│') {
        return labels(shown) == labels(printed);
    }
    let exact = ["shown ", "client ", "not shown ", "explain "];
    if exact.iter().any(|start| shown.trim_start().starts_with(start)) && !shown.contains(" ended with ") {
        return words(shown) == words(printed);
    }
    blurred(shown) == blurred(printed)
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The words of a line of the ladder.
fn labels(line: &str) -> Vec<&str> {
    let mut words = words(line);
    words.retain(|word| word.contains(|c: char| c.is_ascii_alphabetic()));
    words
}

/// Words with their numbers taken out.
fn blurred(line: &str) -> Vec<String> {
    let blur = |word: &str| {
        let word: String = word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let mut short = String::new();
        for c in word.replace(['−', '+'], "").chars() {
            // 12.3 and 1.2 and 1 are numbers all the same.
            if !(matches!(c, '0' | '.') && short.ends_with('0')) {
                short.push(c);
            }
        }
        short
    };
    words(line)
        .into_iter()
        .map(blur)
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn measured_numbers_may_differ_and_nothing_else() {
    for (shown, printed) in [
        (
            " 2.46  ├── POST /form, 67 bytes ─────▶│     3.60",
            "12.4 ├── POST /form, 67 bytes ──▶│ 113.60",
        ),
        (
            "a  client  0 of 20   0–16 %    0   +253 ms   cures  yes",
            "a  client  0 of 20   0–1.6 %    12   −2.5 ms   cures  yes",
        ),
        ("  shown   5 of 5 rounds", "  shown      5 of 5 rounds"),
    ] {
        assert!(alike(shown, printed), "{shown} {printed}");
    }
    for (shown, printed) in [
        ("  shown   5 of 5 rounds", "  shown   4 of 5 rounds"),
        ("  client   ECONNRESET 5", "  client   ECONNRESET 4, ok 1"),
        ("a  client  0 of 20   cures  yes", "a  client  0 of 20   cures  NO"),
        ("  resets   none", "  resets   server NO_SOCKET in UNKNOWN 1"),
    ] {
        assert!(!alike(shown, printed), "{shown} {printed}");
    }
}
