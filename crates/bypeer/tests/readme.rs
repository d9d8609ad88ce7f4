//! The README shows real output: every line of it is printed, in this order, by the command above it. A line `…` stands for
//! lines left out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

const COMMAND: &str = "cargo run --release -- ";

#[test]
fn the_first_command_prints_what_the_readme_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, from_command) = readme.split_once(COMMAND).expect("the README has a first command");
    let (arguments, rest) = from_command.split_once('\n').unwrap();
    let (_, shown) = rest.split_once("```text\n").expect("its output is shown");
    let (shown, _) = shown.split_once("\n```").unwrap();

    let output = Command::new(env!("CARGO_BIN_EXE_bypeer"))
        .args(arguments.split_whitespace())
        .current_dir(&root)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "findings: {printed}");
    let mut lines = printed.lines();
    for line in shown.lines().filter(|line| line.trim() != "…") {
        assert!(
            lines.any(|printed| printed == line),
            "the README shows a line that is not printed, or not in this place:\n{line}\n\nprinted:\n{printed}"
        );
    }
}

#[test]
fn the_readme_lists_every_cause() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let missing: Vec<&str> = bypeer_diagnose::causes::CAUSES
        .iter()
        .map(|cause| cause.id)
        .filter(|id| !readme.contains(&format!("`{id}`")))
        .collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
}
