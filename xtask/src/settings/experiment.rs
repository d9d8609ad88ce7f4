//! A server, a client, and the card between them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bypeer_lab::statistics::Rate;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::Lab;

const CLIENT: &str = include_str!("programs/client.go");
/// Where a setting of `http.Transport` goes in it.
const PLACE: &str = "// SETTINGS";
/// What Go's DefaultTransport sets.
const DEFAULT: &str = "IdleConnTimeout: 90 * time.Second,";

/// What is played.
pub(super) struct Experiment {
    pub story: u8,
    /// What it is, for the table.
    pub server: &'static str,
    pub client: &'static str,
    /// One way over the wire.
    delay: &'static str,
    program: (&'static str, &'static str),
    /// `{port}` and `{host}` are filled in by the lab.
    command: &'static str,
    /// After URL and requests.
    arguments: &'static str,
    /// Options of the probe.
    probe: &'static [&'static str],
}

pub(super) const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        story: 1,
        server: "written by hand in Python, single-threaded, HTTP/1.1; it closes after each answer and does not say so",
        client: "Go's net/http: ten at work over one pool, each sends again 2 ms after its last answer, on average",
        delay: "100us",
        program: ("closes.py", include_str!("programs/closes.py")),
        command: "python3 closes.py {host} {port}",
        arguments: "10 2ms shared",
        probe: &["--longest-wait", "3s"],
    },
    Experiment {
        story: 3,
        server: "Node's http.Server with `keepAliveTimeout = 500`, which its answers keep to themselves",
        client: "Go's net/http: 200 clients with a pool each, which send again after 1 s, on average",
        delay: "10ms",
        program: ("silent.js", include_str!("programs/silent.js")),
        command: "node silent.js {host} {port} 500",
        arguments: "200 1s",
        probe: &["--longest-wait", "4s"],
    },
];

/// What came of it.
#[derive(Serialize)]
pub(super) struct Measured {
    pub story: u8,
    pub server: &'static str,
    pub client: &'static str,
    /// Both ways over the wire, milliseconds, as the probe saw it.
    pub round_trip_ms: f64,
    /// Worst risk of the card: its cause, how bad, and what it says.
    pub cause: String,
    pub severity: String,
    pub what: String,
    /// What the card's rule for clients is because of.
    pub because: Vec<String>,
    pub line_before: &'static str,
    pub before: Account,
    /// Of the card, as pasted.
    pub line_after: String,
    pub after: Account,
}

/// What a client prints.
#[derive(Deserialize, Serialize)]
pub(super) struct Account {
    pub requests: u64,
    /// How often, by error.
    pub failures: BTreeMap<String, u64>,
}

impl Experiment {
    /// The client as it is by default, the card, the client as the card says.
    pub(super) fn run(&self, binary: &Path, requests: u32) -> Result<Measured> {
        let lab = Lab::new(binary, self.delay)?;
        let (name, text) = self.program;
        fs::write(lab.folder().join(name), text)?;
        let ask = |client: &str| -> Result<Account> {
            let said = lab.meet(
                self.command,
                &format!("./{client} http://{{addr}}/ {requests} {}", self.arguments),
            )?;
            serde_json::from_str(&said).with_context(|| format!("the client said {said:?}"))
        };
        build(lab.folder(), "before", DEFAULT)?;
        let before = ask("before")?;

        let probe = format!(
            "{} probe http://{{addr}}/ --format json {}",
            binary.display(),
            self.probe.join(" ")
        );
        let said = lab.meet(self.command, &probe)?;
        let card: Value = serde_json::from_str(said.lines().last().context("the probe printed nothing")?)?;
        let line_after = lines(&card, "go-client")?;

        build(lab.folder(), "after", &line_after)?;
        let after = ask("after")?;
        let risk = worst(&card).context("the card names no risk")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Measured {
            story: self.story,
            server: self.server,
            client: self.client,
            round_trip_ms: card["round_trip_seconds"].as_f64().unwrap_or_default() * 1000.0,
            cause: text(&risk["cause"]),
            severity: text(&risk["severity"]),
            what: text(&risk["what"]),
            because: card["client_rule"]["because"]
                .as_array()
                .map(|all| all.iter().map(text).collect())
                .unwrap_or_default(),
            line_before: DEFAULT,
            before,
            line_after,
            after,
        })
    }
}

impl Measured {
    /// It failed without the settings, and not once with them.
    pub(super) fn is_right(&self) -> bool {
        self.before.failed().events > 0 && self.after.failed().events == 0
    }
}

impl Account {
    pub(super) fn failed(&self) -> Rate {
        Rate {
            events: self.failures.values().sum(),
            of: self.requests,
        }
    }
}

/// The lines that the card has for a client.
fn lines(card: &Value, client: &str) -> Result<String> {
    let clients = card["client_settings"]
        .as_array()
        .context("the card has no client settings")?;
    let lines: Vec<&str> = clients
        .iter()
        .filter(|settings| settings["software"] == client)
        .flat_map(|settings| settings["lines"].as_array().into_iter().flatten())
        .filter_map(|line| line["text"].as_str())
        .collect();
    ensure!(!lines.is_empty(), "the card has no line for {client}: {card:#}");
    Ok(lines.join("\n"))
}

/// Of the risks that are traps or faults the first: the card has the worst first within a check.
fn worst(card: &Value) -> Option<&Value> {
    let checks = card["checks"].as_array()?;
    let risks = || checks.iter().filter_map(|check| check["risks"].as_array()).flatten();
    let of = |severity: &'static str| move |risk: &&Value| risk["severity"] == severity;
    risks().find(of("fault")).or_else(|| risks().find(of("trap")))
}

/// Builds the client with these lines in its transport.
fn build(folder: &Path, name: &str, lines: &str) -> Result<()> {
    let source = format!("{name}.go");
    fs::write(folder.join(&source), CLIENT.replace(PLACE, lines))?;
    let output = Command::new("go")
        .args(["build", "-o", name, &source])
        .current_dir(folder)
        .output()
        .context("go build")?;
    ensure!(
        output.status.success(),
        "the client cannot be built with {lines:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
