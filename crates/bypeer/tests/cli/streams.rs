use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_pipe_gives_a_line_a_finding_and_then_the_report() {
    let mut child = command()
        .args(["explain", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&raw(RACE)).unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 1);
    let (live, report) = ran.out.split_once("\n\n").unwrap();
    assert_eq!(live.lines().count(), 9, "{live}");
    assert!(
        live.lines()
            .all(|line| line.starts_with("2026-11-20 17:03:5") && line.contains(" stream ")),
        "{live}"
    );
    assert!(report.contains("summary 37 connections"), "{report}");
}

#[test]
fn a_pipe_says_what_a_file_says() {
    let mut child = command()
        .args(["explain", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&raw(RACE)).unwrap();
    let (from_pipe, _) = records(&child.wait_with_output().unwrap().into());
    let (from_file, _) = records(&explain(&data(RACE), &["--format", "json"]));
    let key = |findings: &[Value]| {
        let mut keys: Vec<String> = findings
            .iter()
            .map(|finding| format!("{} {}", finding["stream"], finding["cause"]))
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(key(&from_pipe), key(&from_file));
}

#[test]
fn a_reader_that_goes_away_is_no_trouble() {
    for options in [&["--format", "json"][..], &[]] {
        let mut command = command();
        command.arg("explain").arg(data(RACE)).args(options);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(err, "", "{options:?}");
        assert_eq!(child.wait().unwrap().code(), Some(1), "{options:?}");
    }
}

#[test]
fn colours_only_when_asked_for() {
    let plain = explain(&data(RACE), &[]);
    assert!(!plain.out.contains('\x1b'), "no terminal, no colours");
    let colored = explain(&data(RACE), &["--color", "always"]);
    assert!(colored.out.contains("\x1b["));
    assert!(!explain(&data(RACE), &["--color", "never"]).out.contains('\x1b'));
    let json = explain(&data(RACE), &["--color", "always", "--format", "json"]);
    assert!(!json.out.contains('\x1b'), "JSON has no colours");
}

/// Ctrl-C while the pipe is still open: the report comes, and the exit status tells of the findings.
#[cfg(unix)]
#[test]
fn an_interrupt_ends_reading_and_reports() {
    let mut command = command();
    command.args(["explain", "-", "--format", "json"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Twice the capture, the second time an hour later: what the first one holds is over then and printed, which tells
    // that reading has begun and signals are handled.
    let bytes = raw(RACE);
    stdin.write_all(&bytes).unwrap();
    stdin.write_all(&later(&bytes[24..], 3600)).unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert!(first.starts_with('{'), "{first:?}");

    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let since = Instant::now();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(
        since.elapsed() < Duration::from_secs(20),
        "it took {:?}",
        since.elapsed()
    );
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        out: first + &rest,
        err: String::from_utf8(output.stderr).unwrap(),
    };
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let (_, summary) = records(&ran);
    assert_eq!(summary["interrupted"], true);
}

/// The records of a little-endian pcap, moved by some seconds.
fn later(records: &[u8], seconds: u32) -> Vec<u8> {
    let mut moved = records.to_vec();
    let mut at = 0;
    while at + 16 <= moved.len() {
        let word = |at: usize| u32::from_le_bytes(moved[at..at + 4].try_into().unwrap());
        let (time, length) = (word(at) + seconds, word(at + 8));
        moved[at..at + 4].copy_from_slice(&time.to_le_bytes());
        at += 16 + length as usize;
    }
    moved
}
