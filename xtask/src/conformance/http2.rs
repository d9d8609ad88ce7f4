//! HTTP/2: h2spec, by prior knowledge without TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// What one of its cases came to: its name, and what was wrong.
pub type Outcome = (String, Option<String>);

/// `None`: it is not here.
///
/// # Errors
/// When it says nothing that can be read.
pub fn run(h2spec: &Path, proxy: SocketAddr) -> Result<Option<Vec<Outcome>>> {
    let folder = tempfile::tempdir()?;
    let report = folder.path().join("report.xml");
    let mut command = Command::new(h2spec);
    command.args(["--host", &proxy.ip().to_string(), "--port", &proxy.port().to_string()]);
    command.args(["--timeout", "2", "--junit-report"]).arg(&report);
    match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // It ends with 1 when a case failed.
        output => output.context("h2spec")?,
    };
    let text = std::fs::read_to_string(&report).context("h2spec wrote no report")?;
    let outcomes = outcomes(&text);
    anyhow::ensure!(!outcomes.is_empty(), "h2spec's report names no case:\n{text}");
    Ok(Some(outcomes))
}

/// Of its report in JUnit's form: a `testcase` with `package` and `classname`, and `failure` or `error` in it where it failed.
fn outcomes(report: &str) -> Vec<Outcome> {
    let cases = report.split("<testcase ").skip(1);
    cases
        .filter(|case| {
            !case
                .split("</testcase>")
                .next()
                .unwrap_or_default()
                .contains("<skipped")
        })
        .map(|case| {
            let case = case.split("</testcase>").next().unwrap_or_default();
            let name = format!("{}: {}", attribute(case, "package"), attribute(case, "classname"));
            let failed = ["<failure", "<error"].iter().find_map(|tag| {
                let text = case.split_once(tag)?.1.split_once('>')?.1;
                let text = text.split("</").next().unwrap_or_default();
                Some(plain(text).lines().map(str::trim).collect::<Vec<_>>().join(" "))
            });
            (name, failed)
        })
        .collect()
}

fn attribute(case: &str, name: &str) -> String {
    let value = case.split_once(&format!("{name}=\"")).map_or("", |(_, rest)| rest);
    plain(value.split('"').next().unwrap_or_default())
}

fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for (name, character) in [
        ("&#xA;", "\n"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        text = text.replace(name, character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_h2spec_reports() {
        let report = r#"<testsuites><testsuite name="4.2. Frame Size" package="http2/4.2">
            <testcase package="http2/4.2" classname="Sends a &#34;large&#34; frame" time="0.1"></testcase>
            <testcase package="http2/4.3" classname="Sends x" time="0.1"><failure>GOAWAY Frame (Error Code: COMPRESSION_ERROR)&#xA;Timeout</failure></testcase>
            <testcase package="http2/4.4" classname="Sends y" time="0.1"><skipped></skipped></testcase>
            <testcase package="http2/4.5" classname="Sends z" time="0.1"><error>EOF</error></testcase></testsuite></testsuites>"#;
        let failed = |why: &str| Some(why.to_owned());
        assert_eq!(
            outcomes(report),
            [
                ("http2/4.2: Sends a \"large\" frame".to_owned(), None),
                (
                    "http2/4.3: Sends x".to_owned(),
                    failed("GOAWAY Frame (Error Code: COMPRESSION_ERROR) Timeout")
                ),
                ("http2/4.5: Sends z".to_owned(), failed("EOF")),
            ]
        );
    }
}
