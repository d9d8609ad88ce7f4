//! What is true of a capture: our own cases (`case.toml`) and folders with the kernel's account (`truth.json`).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::labels::Labels;

/// A capture and what was done.
#[derive(Debug)]
pub struct Scenario {
    /// The folder's name.
    pub name: String,
    pub capture: PathBuf,
    pub connections: Vec<Connection>,
}

/// A connection and what may be said of it.
#[derive(Debug)]
pub struct Connection {
    pub client: String,
    pub server: String,
    /// First and last packet in seconds since the epoch; tells uses of the same 4-tuple apart.
    pub span: Option<(f64, f64)>,
    /// What it is counted under.
    pub label: String,
    /// Causes that are right; `*` at the end stands for any rest.
    pub causes: Vec<String>,
    /// It ended well: whatever is not harmless is an accusation.
    pub clean: bool,
    /// That it ended well may be said of it.
    pub may_be_clean: bool,
    /// Whatever is said of it is right.
    pub free: bool,
}

impl Connection {
    /// Whether a cause is right.
    pub fn allows(&self, cause: &str) -> bool {
        self.causes.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(start) => cause.starts_with(start),
            None => cause == allowed,
        })
    }
}

/// The scenarios in and below a folder, by path.
///
/// # Errors
/// When a folder cannot be read or a truth not be understood.
pub fn scenarios(path: &Path, labels: &Labels) -> Result<Vec<Scenario>> {
    let mut found = Vec::new();
    walk(path, labels, &mut found)?;
    if found.is_empty() {
        bail!(
            "{}: no folder with a truth.json or case.toml in it or below",
            path.display()
        );
    }
    Ok(found)
}

fn walk(folder: &Path, labels: &Labels, found: &mut Vec<Scenario>) -> Result<()> {
    let (truth, case) = (folder.join("truth.json"), folder.join("case.toml"));
    if truth.is_file() {
        let connections = read_truth(&truth, labels).with_context(|| truth.display().to_string())?;
        found.push(scenario(folder, connections)?);
    } else if case.is_file() {
        let connections = read_case(&case).with_context(|| case.display().to_string())?;
        found.push(scenario(folder, connections)?);
    }
    let mut below = std::fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>>>()?;
    below.retain(|path| path.is_dir());
    below.sort();
    below.iter().try_for_each(|path| walk(path, labels, found))
}

fn scenario(folder: &Path, connections: Vec<Connection>) -> Result<Scenario> {
    let capture = ["capture.pcap.zst", "capture.pcap"]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{}: no capture.pcap.zst and no capture.pcap", folder.display()))?;
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    Ok(Scenario {
        name: name.to_string_lossy().into_owned(),
        capture,
        connections,
    })
}

#[derive(Deserialize)]
struct Truth {
    connections: Vec<TrueConnection>,
}

#[derive(Deserialize)]
struct TrueConnection {
    client: String,
    server: String,
    t_syn: f64,
    t_last: f64,
    label: String,
    also_ok: Option<Vec<String>>,
}

fn read_truth(path: &Path, labels: &Labels) -> Result<Vec<Connection>> {
    let truth: Truth = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    truth
        .connections
        .into_iter()
        .map(|connection| {
            let also = connection.also_ok.unwrap_or_default();
            let mut causes = labels.causes(&connection.label)?.to_vec();
            // `other` beside a label means that the kernel's account has a second reading, not that anything goes.
            for label in also.iter().filter(|label| *label != "other") {
                causes.extend_from_slice(labels.causes(label)?);
            }
            let clean = connection.label == "clean";
            Ok(Connection {
                client: connection.client,
                server: connection.server,
                span: Some((connection.t_syn, connection.t_last)),
                may_be_clean: clean || also.iter().any(|label| label == "clean"),
                free: connection.label == "other",
                clean,
                causes,
                label: connection.label,
            })
        })
        .collect()
}

#[derive(Deserialize)]
struct Case {
    connection: Vec<CaseConnection>,
}

#[derive(Deserialize)]
struct CaseConnection {
    client: String,
    server: String,
    expect: Vec<String>,
    #[serde(default)]
    also: Vec<String>,
}

fn read_case(path: &Path) -> Result<Vec<Connection>> {
    let case: Case = toml::from_str(&std::fs::read_to_string(path)?)?;
    Ok(case
        .connection
        .into_iter()
        .map(|connection| {
            let clean = connection.expect.is_empty();
            Connection {
                client: connection.client,
                server: connection.server,
                span: None,
                label: connection.expect.first().map_or("clean", String::as_str).to_owned(),
                causes: [connection.expect, connection.also].concat(),
                clean,
                may_be_clean: clean,
                free: false,
            }
        })
        .collect())
}
