use super::*;

/// A stream of the race capture with a finding, and its client.
fn victim() -> (u64, String) {
    let (findings, _) = records(&explain(&data(RACE), &["--format", "json"]));
    let finding = &findings[0];
    (
        finding["stream"].as_u64().unwrap(),
        finding["client"].as_str().unwrap().to_owned(),
    )
}

fn select(options: &[&str]) -> (Ran, Vec<Value>, Value) {
    let ran = explain(&data(RACE), &[&["--format", "json"], options].concat());
    let (findings, summary) = records(&ran);
    (ran, findings, summary)
}

fn answers(summary: &Value) -> String {
    summary["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer.as_str().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn by_stream_and_by_ends() {
    let (stream, client) = victim();
    let both = format!("10.80.89.2:8080-{client}");
    for which in [stream.to_string(), both] {
        let (ran, findings, summary) = select(&["--connection", &which]);
        assert_eq!((ran.code, findings.len()), (1, 1), "{which}");
        assert_eq!(findings[0]["stream"], stream);
        assert_eq!(summary["connections"], 37, "the counts stay those of the capture");
    }
}

#[test]
fn a_connection_that_ended_well_is_said_to_have() {
    let (ran, findings, summary) = select(&["--connection", "0"]);
    assert_eq!((ran.code, findings.len()), (0, 0));
    assert!(
        answers(&summary).contains("it ended well after 2 whole exchanges"),
        "{summary:#}"
    );
    let text = explain(&data(RACE), &["--connection", "0"]).out;
    assert!(text.starts_with("• stream 0, "), "{text}");
}

#[test]
fn what_is_not_there_is_trouble() {
    let (ran, findings, summary) = select(&["--connection", "192.0.2.1:5-10.80.89.2:8080"]);
    assert_eq!((ran.code, findings.len()), (2, 0));
    assert!(
        answers(&summary).contains("the capture holds 37 connections to 10.80.89.2:8080"),
        "{summary:#}"
    );
}

#[test]
fn by_an_error_line_with_both_ends() {
    let (stream, client) = victim();
    let line = format!(r#"Post "http://x:8080": read tcp {client}->10.80.89.2:8080: read: connection reset by peer"#);
    let (ran, findings, summary) = select(&["--error", &line]);
    assert_eq!((ran.code, findings.len()), (1, 1));
    assert_eq!(findings[0]["stream"], stream);
    assert!(
        answers(&summary).contains("names both ends") && answers(&summary).contains("one connection fits"),
        "{summary:#}"
    );
}

#[test]
fn by_an_error_line_with_the_server_only() {
    let (_, findings, summary) = select(&[
        "--error",
        r#"recv() failed, upstream: "http://10.80.89.2:8080/x", host: "y""#,
    ]);
    assert_eq!(findings.len(), 9);
    assert!(
        answers(&summary).contains("the line names only the server 10.80.89.2:8080; 37 connections fit"),
        "{summary:#}"
    );
}

#[test]
fn the_time_in_an_error_line_narrows() {
    // The races are within 0.2 s of 17:03:50.7; the connections began two seconds before.
    let near = r#"2026/11/20 17:03:50 [error] upstream: "http://10.80.89.2:8080/x""#;
    let (_, findings, _) = select(&["--error", near]);
    assert_eq!(findings.len(), 9);
    let far = r#"2026/11/20 09:00:00 [error] upstream: "http://10.80.89.2:8080/x""#;
    let (_, findings, summary) = select(&["--error", far]);
    assert_eq!(findings.len(), 9, "a time that fits nothing is left aside");
    assert!(answers(&summary).contains("its time was left aside"), "{summary:#}");
}

#[test]
fn around_a_time() {
    for time in [
        "17:03:50",
        "2026-11-20T17:03:50Z",
        "2026-11-20 18:03:50+01:00",
        "1795194230",
    ] {
        let (ran, findings, _) = select(&["--around", time]);
        assert_eq!((ran.code, findings.len()), (1, 9), "{time}");
    }
}

#[test]
fn a_time_outside_of_the_capture_is_trouble() {
    let (ran, findings, summary) = select(&["--around", "17:03:40", "--within", "2"]);
    assert_eq!((ran.code, findings.len()), (2, 0));
    assert_eq!(summary["selection"], "within 2 s of 17:03:40");
    assert!(
        answers(&summary)
            .starts_with("no connection lived within 2 s of 17:03:40: the capture runs from 2026-11-20 17:03:4"),
        "{summary:#}"
    );
    // The slip of a zone.
    let ran = explain(&data(RACE), &["--around", "18:03:50"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.out.starts_with("• no connection lived within 5 s of 18:03:50"),
        "{}",
        ran.out
    );
    // Connections lived then, and none of them has a finding.
    let ran = explain(&data(RACE), &["--around", "17:03:50", "--cause", "closed-port"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    let ran = explain(&data(RACE), &["--connection", "0", "--around", "09:00:00"]);
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(
        ran.out.contains("none of the connections asked for lived within 5 s"),
        "{}",
        ran.out
    );
}

#[test]
fn by_cause() {
    let (_, all, _) = select(&[]);
    let cause = all[0]["cause"].as_str().unwrap();
    let (ran, findings, _) = select(&["--cause", cause, "--cause", "closed-port"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        findings.len(),
        all.iter().filter(|finding| finding["cause"] == cause).count()
    );
    let (ran, findings, _) = select(&["--cause", "closed-port"]);
    assert_eq!((ran.code, findings.len()), (0, 0));
}

#[test]
fn what_cannot_be_understood_is_trouble() {
    for (options, part) in [
        (["--connection", "here"], "neither a tcp.stream number nor two ends"),
        (["--error", "EOF"], "neither an address nor a time"),
        (["--around", "noon"], "not a time"),
        (["--cause", "silent-dorp"], "did you mean silent-drop"),
        (["--within", "-1"], "unexpected argument"),
        (["--within", "nan"], "--within"),
    ] {
        let ran = explain(&data(RACE), &options);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{options:?}");
        assert!(ran.err.contains(part), "{options:?}: {}", ran.err);
    }
}
