//! What is read of the records of lab and watch.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use serde::Deserialize;

/// What a line is.
#[derive(Deserialize)]
struct Heading {
    schema: String,
}

/// A round, of `bypeer.lab-round/1`.
#[derive(Clone, Debug, Deserialize)]
pub struct LabRound {
    pub scenario: String,
    pub cause: Option<String>,
    #[serde(default)]
    pub real: Option<String>,
    pub round: u32,
    pub began: f64,
    pub ended: f64,
    pub port: u16,
    pub hosts: Vec<Host>,
    pub shown: bool,
    pub failed: bool,
    pub accounts: Vec<Account>,
    /// That they were sent is all that is asked of them.
    pub kernel_resets: Vec<serde::de::IgnoredAny>,
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Host {
    pub name: String,
    pub address: IpAddr,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    pub host: String,
    pub scripted: bool,
    pub deeds: Vec<Deed>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Deed {
    pub error: Option<String>,
}

/// A connection that the watch told of, of `bypeer.finding/1` or `bypeer.unexplained/1`.
#[derive(Clone, Debug, Deserialize)]
pub struct Hearing {
    /// None: unexplained.
    #[serde(default)]
    pub cause: Option<String>,
    #[serde(default)]
    pub confidence: Option<String>,
    #[serde(default)]
    pub rivals: Vec<String>,
    #[serde(default)]
    pub harmless: bool,
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub kernel: Kernel,
}

/// What the kernels of both ends said.
#[derive(Clone, Debug, Deserialize)]
pub struct Kernel {
    #[serde(flatten)]
    pub deciding: Testimony,
    pub peer: Option<Testimony>,
}

/// What one kernel said.
#[derive(Clone, Debug, Deserialize)]
pub struct Testimony {
    pub time: f64,
    pub told: String,
    pub side: Option<String>,
    pub reason: Option<String>,
    pub path: Option<String>,
    pub state: Option<String>,
    pub error: Option<i32>,
    pub process: Option<Process>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    pub name: String,
}

impl Hearing {
    /// What the kernels of its ends said, that which decides first.
    pub fn testimonies(&self) -> impl Iterator<Item = &Testimony> {
        std::iter::once(&self.kernel.deciding).chain(self.kernel.peer.as_ref())
    }

    /// The end at which a testimony was given.
    pub fn end_of(&self, testimony: &Testimony) -> Option<SocketAddr> {
        match testimony.side.as_deref()? {
            "client" => Some(self.client),
            _ => Some(self.server),
        }
    }
}

/// The rounds among the lab's records.
///
/// # Errors
/// When a line is no record.
pub fn rounds(text: &str) -> Result<Vec<LabRound>> {
    read(text.lines(), &["bypeer.lab-round/1"])
}

/// The connections among the watch's records.
///
/// # Errors
/// When a line is no record.
pub fn hearings(lines: &[String]) -> Result<Vec<Hearing>> {
    read(
        lines.iter().map(String::as_str),
        &["bypeer.finding/1", "bypeer.unexplained/1"],
    )
}

fn read<'a, T: Deserialize<'a>>(lines: impl Iterator<Item = &'a str>, schemas: &[&str]) -> Result<Vec<T>> {
    let mut records = Vec::new();
    for line in lines {
        let heading: Heading = serde_json::from_str(line).with_context(|| format!("no record: {line}"))?;
        if schemas.contains(&heading.schema.as_str()) {
            records
                .push(serde_json::from_str(line).with_context(|| format!("a record of {}: {line}", heading.schema))?);
        }
    }
    Ok(records)
}
