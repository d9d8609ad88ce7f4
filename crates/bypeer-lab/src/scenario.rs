//! Scenarios: TOML files that say what hosts and wire do and what is then true. `docs/scenarios.md` describes them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::path::{Component, Path};

use serde::{Deserialize, Deserializer};

use crate::ScriptError;
use crate::{actor, wire};

// `BUILT_IN`: names and texts of the built-in scenarios.
include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

/// Each has an address of its own in a /24.
const MOST_HOSTS: usize = 64;

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is not TOML, or not of the form described.
    #[error("{name}: line {line}: {why}")]
    Form {
        /// File or built-in name.
        name: String,
        /// 1-based.
        line: usize,
        /// What is wrong, and what would be right where that is known.
        why: String,
    },
    /// A line of a script.
    #[error("{name}: the script of {of}, {error}")]
    Script {
        /// File or built-in name.
        name: String,
        /// The host, or `wire`.
        of: String,
        /// Where and what.
        error: ScriptError,
    },
    /// Something in it contradicts the rest of it.
    #[error("{name}: {why}")]
    Contradiction {
        /// File or built-in name.
        name: String,
        /// What, and what would be right.
        why: String,
    },
}

impl ScenarioError {
    /// The same of a file: people look for its path, not for its stem.
    #[must_use]
    pub fn of_file(mut self, path: &str) -> ScenarioError {
        let (ScenarioError::Form { name, .. }
        | ScenarioError::Script { name, .. }
        | ScenarioError::Contradiction { name, .. }) = &mut self;
        path.clone_into(name);
        self
    }
}

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's stem.
    #[serde(skip)]
    pub id: String,
    /// One line.
    pub title: String,
    /// The cause that a round must show; none for an ending that is no fault, or whose cause bypeer does not know yet.
    #[serde(default)]
    pub cause: Option<String>,
    /// Which of the five incidents it is, if it is one.
    #[serde(default)]
    pub story: Option<u8>,
    /// Every round shows it; otherwise a rate is measured.
    #[serde(default = "yes")]
    pub deterministic: bool,
    /// What happens, and why.
    pub about: String,
    /// Longest that a round may take.
    #[serde(default = "ten_seconds")]
    pub deadline: String,
    /// How long the wire must have been quiet before a round is over.
    #[serde(default = "a_moment")]
    pub settle: String,
    /// Values for `{name}`.
    #[serde(default)]
    pub set: BTreeMap<String, Text>,
    /// The server, short for a host of that name.
    #[serde(default)]
    server: Option<HostScript>,
    /// The client, short for a host of that name.
    #[serde(default)]
    client: Option<HostScript>,
    /// All hosts, `client` and `server` included once the scenario is read.
    #[serde(default)]
    pub hosts: BTreeMap<String, HostScript>,
    /// What the wire does.
    #[serde(default)]
    pub wire: WireScript,
    /// Files for the hosts' commands, below `{dir}`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Commands without which it cannot run.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What is true of a round.
    pub truth: Truth,
    /// What people change, and what that is said to do.
    #[serde(default, rename = "fix")]
    pub fixes: Vec<Fix>,
    /// The same with real software in a role.
    #[serde(default, rename = "real")]
    pub reals: Vec<Real>,
}

/// What a host does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostScript {
    /// An actor's script.
    #[serde(default)]
    pub script: Option<String>,
    /// Any program, for `/bin/sh -c`.
    #[serde(default)]
    pub command: Option<String>,
    /// How many run side by side.
    #[serde(default)]
    pub count: Option<Text>,
    /// Names with dots, and values.
    #[serde(default)]
    pub sysctl: BTreeMap<String, Text>,
    /// Has the address of this host and is reached when the wire redirects.
    #[serde(default)]
    pub shares_address_of: Option<String>,
    /// Where its command starts: a user's own starts where the user is. None: in `{dir}`.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

/// What the wire does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireScript {
    /// Its rules.
    #[serde(default)]
    pub script: String,
}

/// What is true of a round that shows the cause.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// How the client's round ended: any of these; empty: not claimed.
    #[serde(default, deserialize_with = "one_or_many")]
    pub client: Vec<String>,
    /// Whether a response did not arrive whole.
    #[serde(default)]
    pub lost: Option<bool>,
    /// Resets that the kernels must have sent, each at least once.
    #[serde(default)]
    pub kernel: Vec<KernelClaim>,
    /// No kernel sent a reset.
    #[serde(default)]
    pub no_reset: bool,
    /// The kernels of these hosts sent no reset: whatever came in their name was forged.
    #[serde(default)]
    pub no_reset_by: Vec<String>,
    /// Counters that must have moved.
    #[serde(default)]
    pub counters: Vec<CounterClaim>,
    /// What must have lain unread in a socket when it died.
    #[serde(default)]
    pub unread: Option<UnreadClaim>,
    /// Findings that are right in place of `cause`, by capture; empty list: nothing to find.
    #[serde(default)]
    pub finds: BTreeMap<String, Vec<String>>,
    /// Findings that one capture alone may fairly make instead, by capture.
    #[serde(default)]
    pub also: BTreeMap<String, Vec<String>>,
    /// What the change that is tried puts in the cause's place, by capture: [`Fix::finds`].
    #[serde(skip)]
    pub finds_instead: BTreeMap<String, Vec<String>>,
}

/// A reset that a kernel sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelClaim {
    /// Whose kernel.
    pub host: String,
    /// The kernel's names for the reason, as `TCP_ABORT_ON_CLOSE`: any of these; empty: any.
    #[serde(default, deserialize_with = "one_or_many")]
    pub reason: Vec<String>,
    /// The socket's state, as `CLOSE`: any of these; empty: any.
    #[serde(default, deserialize_with = "one_or_many")]
    pub state: Vec<String>,
    /// The way through the kernel, as `close-unread`; empty: any.
    #[serde(default, deserialize_with = "one_or_many")]
    pub path: Vec<String>,
}

/// A counter of /proc/net/netstat or /proc/net/snmp that moved.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterClaim {
    /// Whose kernel.
    pub host: String,
    /// As `TCPAbortOnClose`.
    pub name: String,
    /// By how much at least.
    #[serde(default = "one")]
    pub by: u64,
}

/// Bytes unread in a socket when it died.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnreadClaim {
    /// Whose.
    pub host: String,
    /// At least.
    pub bytes: u32,
}

/// What somebody changes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fix {
    /// In words with hyphens.
    pub id: String,
    /// Who changes it: server, client, proxy, network, operator.
    pub owner: String,
    /// One line.
    pub title: String,
    /// What it is said to do.
    pub claim: Claim,
    /// What it sets.
    #[serde(default)]
    pub set: BTreeMap<String, Text>,
    /// Where it puts another trouble in the cause's place: the findings that are then right, by capture.
    #[serde(default)]
    pub finds: BTreeMap<String, Vec<String>>,
}

/// What a fix is said to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Claim {
    /// No round fails.
    Cures,
    /// Fewer rounds fail, or less is lost.
    Helps,
    /// It changes nothing.
    None,
    /// It makes it worse.
    Worsens,
}

impl Claim {
    /// In lower case, as in files.
    pub fn name(self) -> &'static str {
        match self {
            Claim::Cures => "cures",
            Claim::Helps => "helps",
            Claim::None => "none",
            Claim::Worsens => "worsens",
        }
    }
}

/// Real software in a role. What is no field of it is a host's name; [`Scenario::parse`] refuses one that is neither.
#[derive(Clone, Debug, Deserialize)]
pub struct Real {
    /// In words with hyphens.
    pub id: String,
    /// What software, for people; what it has of its own to say.
    #[serde(default)]
    pub title: String,
    /// Commands by host, in place of the host's script or command.
    #[serde(flatten)]
    pub commands: BTreeMap<String, Text>,
    /// Values for `{name}`.
    #[serde(default)]
    pub set: BTreeMap<String, Text>,
    /// Files, besides those of the scenario.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Commands without which it cannot run.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Every round shows it.
    #[serde(default)]
    pub deterministic: Option<bool>,
    /// What is true of it, where that differs.
    #[serde(default)]
    pub truth: Option<Truth>,
}

/// A string; numbers and booleans are taken as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Text(text)),
            value @ (toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_)) => {
                Ok(Text(value.to_string()))
            }
            other => Err(serde::de::Error::custom(format!(
                "expected text or a number, found {}",
                other.type_str()
            ))),
        }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::One(one) => vec![one],
        Either::Many(many) => many,
    })
}

fn yes() -> bool {
    true
}

fn one() -> u64 {
    1
}

fn ten_seconds() -> String {
    "10s".to_owned()
}

fn a_moment() -> String {
    "30ms".to_owned()
}

impl Scenario {
    /// Reads one and checks all that can be checked without running it.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(id: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let mut scenario: Scenario = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            ScenarioError::Form {
                name: id.to_owned(),
                line: before.matches('\n').count() + 1,
                // The parser's hints are lines of their own.
                why: error.message().trim().replace('\n', ", "),
            }
        })?;
        scenario.id = id.to_owned();
        for (name, host) in [("server", scenario.server.take()), ("client", scenario.client.take())] {
            if let Some(host) = host
                && scenario.hosts.insert(name.to_owned(), host).is_some()
            {
                return Err(scenario.contradiction(format!("[{name}] and [hosts.{name}] are the same host; keep one")));
            }
        }
        scenario.check()?;
        Ok(scenario)
    }

    /// A built-in one.
    pub fn built_in(id: &str) -> Option<Result<Scenario, ScenarioError>> {
        BUILT_IN
            .iter()
            .find(|(name, _)| *name == id)
            .map(|(name, text)| Scenario::parse(name, text))
    }

    /// All that are built in, in the order of their names.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn all() -> Result<Vec<Scenario>, ScenarioError> {
        BUILT_IN
            .iter()
            .map(|(name, text)| Scenario::parse(name, text))
            .collect()
    }

    /// The hosts' names: the clients first, the server last.
    pub fn host_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.hosts.keys().cloned().collect();
        names.sort_by_key(|name| (!name.starts_with("client"), name == "server", name.clone()));
        names
    }

    fn contradiction(&self, why: String) -> ScenarioError {
        ScenarioError::Contradiction {
            name: self.id.clone(),
            why,
        }
    }

    fn check(&self) -> Result<(), ScenarioError> {
        if !self.hosts.keys().any(|name| name.starts_with("client")) {
            return Err(self.contradiction("there is no client; add [client]".to_owned()));
        }
        if !self.hosts.contains_key("server") {
            return Err(self.contradiction("there is no server; add [server]".to_owned()));
        }
        if self.hosts.len() > MOST_HOSTS {
            return Err(self.contradiction(format!(
                "there are {} hosts; {MOST_HOSTS} at the most",
                self.hosts.len()
            )));
        }
        let files = self
            .files
            .keys()
            .chain(self.reals.iter().flat_map(|real| real.files.keys()));
        for file in files {
            let stays = Path::new(file)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            if file.is_empty() || !stays {
                return Err(self.contradiction(format!("the file {file:?} must lie below {{dir}}: no /, no ..")));
            }
        }
        for (name, host) in &self.hosts {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(self.contradiction(format!("the host {name:?}: a name is of small letters, digits and -")));
            }
            if let Some(key) = host
                .sysctl
                .keys()
                .find(|key| !key.starts_with("net.") || key.contains('/') || key.contains(".."))
            {
                return Err(self.contradiction(format!(
                    "the sysctl {key:?} of {name} is the machine's; only net.* is a host's own"
                )));
            }
            if host.script.is_some() && host.command.is_some() {
                return Err(self.contradiction(format!("{name} has a script and a command; keep one")));
            }
            if let Some(other) = &host.shares_address_of
                && !self.hosts.contains_key(other)
            {
                return Err(self.contradiction(format!("{name} shares the address of {other}, which is no host")));
            }
        }
        let hosts = |claims: &Truth| -> Vec<String> {
            let kernel = claims.kernel.iter().map(|claim| claim.host.clone());
            let counters = claims.counters.iter().map(|claim| claim.host.clone());
            kernel
                .chain(counters)
                .chain(claims.unread.iter().map(|claim| claim.host.clone()))
                .chain(claims.no_reset_by.iter().cloned())
                .chain(claims.finds.keys().cloned())
                .chain(claims.also.keys().cloned())
                .collect()
        };
        let truths = self.reals.iter().filter_map(|real| real.truth.as_ref());
        for truth in truths.chain([&self.truth]) {
            if let Some(unknown) = hosts(truth).into_iter().find(|host| !self.hosts.contains_key(host)) {
                return Err(self.contradiction(format!("the truth speaks of {unknown}, which is no host")));
            }
        }
        for real in &self.reals {
            if let Some(unknown) = real.commands.keys().find(|host| !self.hosts.contains_key(*host)) {
                return Err(self.contradiction(format!("[[real]] {} has {unknown:?}, which is no host", real.id)));
            }
        }
        for set in self
            .fixes
            .iter()
            .map(|fix| (&fix.id, &fix.set))
            .chain(self.reals.iter().map(|real| (&real.id, &real.set)))
        {
            if let Some(unknown) = set.1.keys().find(|key| !self.set.contains_key(*key)) {
                return Err(self.contradiction(format!("{} sets {unknown:?}, which [set] does not have", set.0)));
            }
        }
        self.plan(&BTreeMap::new(), None).map(drop)?;
        for fix in &self.fixes {
            if let Some(unknown) = fix.finds.keys().find(|host| !self.hosts.contains_key(*host)) {
                return Err(self.contradiction(format!("[[fix]] {} speaks of {unknown}, which is no host", fix.id)));
            }
            self.plan(&fix.set, None)?;
        }
        for real in &self.reals {
            self.plan(&BTreeMap::new(), Some(real))?;
        }
        Ok(())
    }

    /// The scenario with values in place of names, scripts read; addresses are still names.
    ///
    /// # Errors
    /// A script that cannot be read.
    pub fn plan(&self, set: &BTreeMap<String, Text>, real: Option<&Real>) -> Result<Plan, ScenarioError> {
        let mut values = self.set.clone();
        values.extend(real.iter().flat_map(|real| real.set.clone()));
        values.extend(set.clone());
        let fill = |text: &str| fill(text, &values);
        let names = self.host_names();
        let mut hosts = Vec::new();
        for name in &names {
            let Some(host) = self.hosts.get(name) else { continue };
            let command = real
                .and_then(|real| real.commands.get(name))
                .map(|text| &text.0)
                .or(host.command.as_ref());
            let does = match (command, &host.script) {
                (Some(command), _) => Does::Command(fill(command)),
                (None, Some(script)) => {
                    let script = fill(script);
                    // Addresses come later; here only the words count.
                    actor::Script::parse(&script, &names).map_err(|error| ScenarioError::Script {
                        name: self.id.clone(),
                        of: name.clone(),
                        error,
                    })?;
                    Does::Script(script)
                }
                (None, None) => Does::Nothing,
            };
            let count = host
                .count
                .as_ref()
                .map_or(Ok(1), |count| fill(&count.0).parse::<usize>());
            let count = count.map_err(|_| self.contradiction(format!("the count of {name} is no number")))?;
            hosts.push(HostDoes {
                name: name.clone(),
                does,
                count,
                sysctls: host
                    .sysctl
                    .iter()
                    .map(|(key, value)| (key.clone(), fill(&value.0)))
                    .collect(),
                shares_address_of: host.shares_address_of.clone(),
                folder: host.folder.clone(),
            });
        }
        let wire = fill(&self.wire.script);
        let wire = wire::Script::parse(&wire, &names).map_err(|error| ScenarioError::Script {
            name: self.id.clone(),
            of: "wire".to_owned(),
            error,
        })?;
        let files = self.files.iter().chain(real.iter().flat_map(|real| &real.files));
        Ok(Plan {
            hosts,
            wire,
            files: files.map(|(name, text)| (name.clone(), fill(text))).collect(),
            needs: self
                .needs
                .iter()
                .chain(real.iter().flat_map(|real| &real.needs))
                .cloned()
                .collect(),
            truth: real.and_then(|real| real.truth.as_ref()).unwrap_or(&self.truth).clone(),
            deadline: self.time("deadline", &self.deadline)?,
            settle: self.time("settle", &self.settle)?,
        })
    }

    fn time(&self, what: &str, text: &str) -> Result<std::time::Duration, ScenarioError> {
        crate::quantity::duration(text)
            .ok_or_else(|| self.contradiction(format!("{what} = {text:?} is no time; write 500ms or 2s")))
    }
}

/// A scenario that is ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clients first, the server last.
    pub hosts: Vec<HostDoes>,
    /// The wire's rules.
    pub wire: wire::Script,
    /// Files below `{dir}`.
    pub files: BTreeMap<String, String>,
    /// Commands that must exist.
    pub needs: Vec<String>,
    /// What is then true.
    pub truth: Truth,
    /// Longest that a round may take.
    pub deadline: std::time::Duration,
    /// How long the wire must be quiet before it is over.
    pub settle: std::time::Duration,
}

/// A host of a plan.
#[derive(Clone, Debug)]
pub struct HostDoes {
    /// Its name.
    pub name: String,
    /// What runs on it.
    pub does: Does,
    /// How many run side by side.
    pub count: usize,
    /// Names with dots, and values.
    pub sysctls: Vec<(String, String)>,
    /// Has this host's address.
    pub shares_address_of: Option<String>,
    /// Where its command starts; none: in `{dir}`.
    pub folder: Option<PathBuf>,
}

/// What runs on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Does {
    /// An actor.
    Script(String),
    /// A program.
    Command(String),
    /// Nothing; its kernel is there all the same.
    Nothing,
}

impl Does {
    /// Whether others may connect to it once it is ready. Of a program it is taken for granted.
    pub fn listens(&self) -> bool {
        match self {
            Does::Script(script) => script.lines().any(|line| line.trim_start().starts_with("listen")),
            Does::Command(_) => true,
            Does::Nothing => false,
        }
    }
}

/// Replaces `{name}` by values, which may hold names themselves. Braces around anything else stay: configuration files have them.
fn fill(text: &str, values: &BTreeMap<String, Text>) -> String {
    let mut text = text.to_owned();
    // A value may name another; deeper than this it is a circle.
    for _ in 0..4 {
        let before = text.clone();
        for (name, value) in values {
            text = text.replace(&format!("{{{name}}}"), &value.0);
        }
        if text == before {
            break;
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
