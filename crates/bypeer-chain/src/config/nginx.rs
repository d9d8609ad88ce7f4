//! nginx: which server and location, what they inherit, and the upstream that they pass to.

use std::collections::HashMap;
use std::time::Duration;

use bypeer_diagnose::facts::{self, Parameter, Repeats, Version};

use super::nginx_syntax::{self, Directive};
use super::{Read, ambiguous};
use crate::assemble::Files;
use crate::hop::{Accepts, Limit, Note, Opens, Origin, Told};
use crate::time::{Unit, parse};

/// What a block inherits from the one around it, unless it says otherwise.
const INHERITED: [&str; 10] = [
    "keepalive_timeout",
    "keepalive_requests",
    "keepalive_time",
    "proxy_http_version",
    "proxy_read_timeout",
    "proxy_next_upstream",
    "fastcgi_keep_conn",
    "fastcgi_read_timeout",
    "uwsgi_read_timeout",
    "grpc_read_timeout",
];

const PASSES: [&str; 5] = ["proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass"];

/// Reads a configuration. `part`: a server's name, `NAME/LOCATION`, or an upstream's name.
pub(super) fn read(
    file: &str,
    part: Option<&str>,
    version: Option<&Version>,
    files: &dyn Files,
) -> Result<Read, String> {
    let mut notes = Vec::new();
    let mut directives = nginx_syntax::read(file, files, &mut notes)?;
    let is_part = directives.iter().all(|directive| directive.name != "http")
        && directives.iter().any(|directive| directive.name == "server");
    if is_part {
        // A file of conf.d has no http block around it.
        notes.push(Note::assumed(
            file,
            0,
            "has no http block; nothing is known of what stands around it",
        ));
        directives = vec![Directive {
            file: file.into(),
            line: 1,
            name: "http".to_owned(),
            words: Vec::new(),
            block: directives,
        }];
    }
    let mut config = Config::default();
    for directive in directives.iter().filter(|directive| directive.name == "http") {
        config.http(directive, &Scope::default());
    }
    if config.places.is_empty() {
        return Err(format!("{file}: no http block with a server in it"));
    }
    let chosen: Vec<&Place<'_>> = config.places.iter().filter(|place| place.is(part)).collect();
    let passing: Vec<&Place<'_>> = chosen.iter().copied().filter(|place| place.pass.is_some()).collect();
    // Without any that passes on, nginx is the last hop.
    let chosen = if passing.is_empty() { chosen } else { passing };
    let mut reads: Vec<(String, Read)> = Vec::new();
    for place in &chosen {
        let read = place.read(&config, version);
        if !reads.iter().any(|(_, other)| same(other, &read)) {
            reads.push((place.label(), read));
        }
    }
    if reads.len() > 1 {
        let choices: Vec<(String, String)> = reads.iter().map(|(label, read)| (label.clone(), told(read))).collect();
        return Err(ambiguous(file, "nginx", &choices));
    }
    let Some((label, mut read)) = reads.pop() else {
        let names: Vec<String> = config.places.iter().map(Place::label).collect();
        return Err(format!(
            "{file}: has no server, location or upstream {:?}; it has {}",
            part.unwrap_or_default(),
            names.iter().take(12).cloned().collect::<Vec<_>>().join(", ")
        ));
    };
    read.part = Some(label);
    notes.append(&mut read.notes);
    read.notes = notes;
    Ok(read)
}

/// Whether two parts come to the same.
fn same(left: &Read, right: &Read) -> bool {
    let of = |read: &Read| {
        (
            read.accepts.idle.as_ref().map(|told| told.value),
            read.opens
                .pool
                .as_ref()
                .map(|told| (told.value, told.otherwise.clone())),
            read.opens.repeats.as_ref().map(|told| told.value),
        )
    };
    of(left) == of(right)
}

fn told(read: &Read) -> String {
    let limit = |told: &Option<Told<Limit>>| {
        told.as_ref()
            .map_or_else(|| "default".to_owned(), |told| told.value.words())
    };
    format!("{} / {}", limit(&read.accepts.idle), limit(&read.opens.pool))
}

#[derive(Default)]
struct Config<'a> {
    places: Vec<Place<'a>>,
    upstreams: HashMap<&'a str, &'a Directive>,
    maps: HashMap<&'a str, &'a Directive>,
}

#[derive(Clone, Default)]
struct Scope<'a> {
    inherited: HashMap<&'static str, &'a Directive>,
    /// As nginx has it: those of a block replace all that were around it.
    headers: Vec<&'a Directive>,
}

/// A server or location.
struct Place<'a> {
    names: Vec<&'a str>,
    location: Option<String>,
    scope: Scope<'a>,
    pass: Option<&'a Directive>,
    /// An `if` that passes on elsewhere.
    branches: Option<&'a Directive>,
}

impl<'a> Scope<'a> {
    fn inner(&self, block: &'a [Directive]) -> Scope<'a> {
        let mut scope = self.clone();
        for directive in block {
            if let Some(name) = INHERITED.iter().find(|name| **name == directive.name) {
                scope.inherited.insert(name, directive);
            }
        }
        let headers = || block.iter().filter(|directive| directive.name == "proxy_set_header");
        if headers().next().is_some() {
            scope.headers = headers().collect();
        }
        scope
    }

    fn get(&self, name: &str) -> Option<&'a Directive> {
        self.inherited.get(name).copied()
    }
}

impl<'a> Config<'a> {
    fn http(&mut self, http: &'a Directive, around: &Scope<'a>) {
        let scope = around.inner(&http.block);
        for directive in &http.block {
            match directive.name.as_str() {
                "upstream" => {
                    self.upstreams.insert(directive.word(0), directive);
                }
                "map" => {
                    self.maps.insert(directive.word(1), directive);
                }
                "server" => self.server(directive, &scope),
                _ => {}
            }
        }
    }

    fn server(&mut self, server: &'a Directive, around: &Scope<'a>) {
        let scope = around.inner(&server.block);
        let names: Vec<&str> = server
            .block
            .iter()
            .filter(|directive| directive.name == "server_name")
            .flat_map(|directive| directive.words.iter().map(String::as_str))
            .collect();
        let before = self.places.len();
        self.locations(&server.block, &scope, &names);
        if self.places[before..].iter().all(|place| place.pass.is_none()) {
            self.places.truncate(before);
            self.places.push(Place {
                names,
                location: None,
                scope,
                pass: None,
                branches: None,
            });
        }
    }

    /// Nests no deeper than the syntax does.
    fn locations(&mut self, block: &'a [Directive], around: &Scope<'a>, names: &[&'a str]) {
        for directive in block.iter().filter(|directive| directive.name == "location") {
            let scope = around.inner(&directive.block);
            let pass = directive
                .block
                .iter()
                .find(|inner| PASSES.contains(&inner.name.as_str()));
            let branches = directive.block.iter().find(|inner| {
                inner.name == "if" && inner.block.iter().any(|deep| PASSES.contains(&deep.name.as_str()))
            });
            self.places.push(Place {
                names: names.to_vec(),
                location: Some(directive.words.join(" ")),
                scope: scope.clone(),
                pass,
                branches,
            });
            self.locations(&directive.block, &scope, names);
        }
    }
}

impl Place<'_> {
    fn label(&self) -> String {
        let name = self
            .names
            .iter()
            .find(|name| **name != "_")
            .copied()
            .unwrap_or_default();
        match &self.location {
            Some(location) if location.starts_with('/') || name.is_empty() => format!("{name}{location}"),
            Some(location) => format!("{name} {location}"),
            None if name.is_empty() => "server".to_owned(),
            None => name.to_owned(),
        }
    }

    fn is(&self, part: Option<&str>) -> bool {
        let Some(part) = part else {
            return true;
        };
        if self.label() == part || self.names.contains(&part) || self.location.as_deref() == Some(part) {
            return true;
        }
        let (host, location) = part
            .find('/')
            .map_or((part, None), |at| (&part[..at], Some(&part[at..])));
        let named =
            self.names.contains(&host) && location.is_none_or(|location| self.location.as_deref() == Some(location));
        named || self.target().is_some_and(|target| target == part)
    }

    /// The name of the group that it passes to, or a host.
    fn target(&self) -> Option<&str> {
        let address = self.pass?.word(0);
        let after = address.split_once("://").map_or(address, |(_, after)| after);
        Some(after.split('/').next().unwrap_or(after))
    }

    fn read(&self, config: &Config<'_>, version: Option<&Version>) -> Read {
        let mut read = Read::default();
        self.accepts(&mut read.accepts, &mut read.notes);
        if let Some(pass) = self.pass {
            self.opens(pass, config, version, &mut read.opens, &mut read.notes);
        }
        if let Some(branch) = self.branches {
            let text = "an `if` passes on elsewhere; what it does is not followed";
            read.notes.push(Note::not_understood(&branch.file, branch.line, text));
        }
        read
    }

    fn accepts(&self, accepts: &mut Accepts, notes: &mut Vec<Note>) {
        if let Some(directive) = self.scope.get("keepalive_timeout") {
            let limit = idle(directive, Parameter::Idle, notes);
            accepts.idle = limit.map(|limit| Told::at(limit, &directive.file, directive.line));
            // The second word is what goes into the header.
            let announced = match directive.word(1) {
                "" => Some(None),
                text => time(text).map(|time| Some(time).filter(|time| !time.is_zero())),
            };
            match announced {
                Some(announced) => {
                    accepts.announces_idle = Some(Told::at(announced, &directive.file, directive.line));
                }
                None => notes.push(not_read(directive, 1).about(Parameter::AnnounceIdle)),
            }
        }
        if let Some(directive) = self.scope.get("keepalive_requests") {
            accepts.max_requests = count(directive, Parameter::MaxRequests, notes)
                .map(|count| Told::at(Some(count), &directive.file, directive.line));
        }
        if let Some(directive) = self.scope.get("keepalive_time") {
            accepts.lifetime =
                told_time(directive, Parameter::Lifetime, notes).map(|told| told.map(|time| Some(*time)));
        }
    }

    fn opens(
        &self,
        pass: &Directive,
        config: &Config<'_>,
        version: Option<&Version>,
        opens: &mut Opens,
        notes: &mut Vec<Note>,
    ) {
        let protocol = pass.name.trim_end_matches("_pass");
        let waits = self.scope.get(&format!("{protocol}_read_timeout"));
        opens.waits = waits
            .and_then(|directive| told_time(directive, Parameter::ResponseTimeout, notes))
            .map(|told| told.map(|time| Some(*time)));
        if let Some(directive) = self.scope.get("proxy_next_upstream").filter(|_| protocol == "proxy") {
            let words = &directive.words;
            let repeats = if words.iter().any(|word| word == "off") {
                Repeats::Nothing
            } else if words.iter().any(|word| word == "non_idempotent") {
                Repeats::Any
            } else if words.iter().any(|word| word == "error") {
                Repeats::Idempotent
            } else {
                Repeats::Nothing
            };
            opens.repeats = Some(Told::at(repeats, &directive.file, directive.line));
        }
        let never = |why: &str| Some(Told::new(Limit::AtOnce, Origin::Follows(why.to_owned())));
        match protocol {
            "uwsgi" | "scgi" => {
                opens.pool = never("nginx keeps no connections to uwsgi and SCGI servers");
                return;
            }
            "fastcgi"
                if self
                    .scope
                    .get("fastcgi_keep_conn")
                    .is_none_or(|keep| keep.word(0) != "on") =>
            {
                opens.pool = never("fastcgi_keep_conn is off");
                return;
            }
            _ => {}
        }
        let target = self.target().unwrap_or_default();
        if target.contains('$') {
            let text = format!("{} goes where a variable says; its pool is not known", pass.name);
            notes.push(Note::not_understood(&pass.file, pass.line, text).about(Parameter::PoolIdle));
            return;
        }
        let group = config.upstreams.get(target).copied();
        self.pool(pass, protocol, group, config, version, opens, notes);
    }

    /// How long an upstream connection is kept: it takes the group's `keepalive`, HTTP/1.1 and an empty `Connection`.
    #[allow(clippy::too_many_arguments)]
    fn pool(
        &self,
        pass: &Directive,
        protocol: &str,
        group: Option<&Directive>,
        config: &Config<'_>,
        version: Option<&Version>,
        opens: &mut Opens,
        notes: &mut Vec<Note>,
    ) {
        let newest = facts::defaults("nginx", None).pool_idle;
        let find = |name: &str| group.and_then(|group| group.block.iter().rev().find(|inner| inner.name == name));
        let default = newest.as_ref().and_then(|known| match known.value {
            facts::Limit::Time(time) => Some(Limit::exactly(time)),
            _ => None,
        });
        let kept = match find("keepalive_timeout") {
            Some(directive) => match idle(directive, Parameter::PoolIdle, notes) {
                Some(limit) => Some(Told::at(limit, &directive.file, directive.line)),
                None => return,
            },
            None => default.map(|limit| match find("keepalive") {
                Some(directive) => {
                    let mut told = Told::at(limit, &directive.file, directive.line);
                    told.origin = Origin::Default {
                        source: newest.as_ref().map_or("", |known| known.source),
                        verified: true,
                        note: Some("default of keepalive_timeout in the upstream block"),
                    };
                    told
                }
                None => Told::new(
                    limit,
                    Origin::Default {
                        source: newest.as_ref().map_or("", |known| known.source),
                        verified: true,
                        note: Some("on by default"),
                    },
                ),
            }),
        };
        let connection = self.connection(config, notes);
        // Of versions that keep connections by default, and of those that do not.
        let keeps = |by_default: bool| {
            let cached = find("keepalive").map_or(by_default, |directive| directive.word(0) != "0");
            let http = self.scope.get("proxy_http_version").map(|directive| directive.word(0));
            let persistent = protocol != "proxy"
                || match (connection.as_deref(), http) {
                    (Some(value), _) if value.eq_ignore_ascii_case("close") => false,
                    (Some(value), _) if value.eq_ignore_ascii_case("keep-alive") => true,
                    (Some(_), Some(http)) => http != "1.0",
                    (None, Some(http)) => by_default && http != "1.0",
                    (Some(_) | None, None) => by_default,
                };
            cached && persistent
        };
        let since = newest.as_ref().and_then(|known| known.since);
        let (new, old) = (keeps(true), keeps(false));
        let not_kept = || {
            let missing = missing(
                find("keepalive").is_some(),
                self.scope.get("proxy_http_version"),
                connection.as_deref(),
            );
            Told::new(
                Limit::AtOnce,
                Origin::Follows(format!("{}:{}: {missing}", pass.file, pass.line)),
            )
        };
        let is_new = version.zip(since).map(|(version, since)| version >= since);
        opens.pool = match (is_new, new, old) {
            (Some(true), true, _) | (Some(false), _, true) | (None, true, true) => kept,
            (None, true, false) => kept.map(|mut told| {
                let before = since.map_or_else(|| "older".to_owned(), |since| format!("before {since}"));
                told.otherwise = vec![(before, Limit::AtOnce)];
                told
            }),
            _ => Some(not_kept()),
        };
        for (name, slot) in [("keepalive_requests", true), ("keepalive_time", false)] {
            let Some(directive) = find(name) else {
                continue;
            };
            if slot {
                opens.max_requests = count(directive, Parameter::PoolMaxRequests, notes)
                    .map(|count| Told::at(Some(count), &directive.file, directive.line));
            } else {
                opens.lifetime =
                    told_time(directive, Parameter::PoolLifetime, notes).map(|told| told.map(|time| Some(*time)));
            }
        }
    }

    /// What is sent as `Connection` to the server; `None`: what nginx sends if nobody says otherwise.
    fn connection(&self, config: &Config<'_>, notes: &mut Vec<Note>) -> Option<String> {
        let header = self
            .scope
            .headers
            .iter()
            .rev()
            .find(|directive| directive.word(0).eq_ignore_ascii_case("Connection"))?;
        let value = header.word(1);
        let Some(variable) = value.strip_prefix('$') else {
            return Some(value.to_owned());
        };
        if variable == "http_connection" {
            let text = "Connection is passed on as the client sends it; taken as one that allows keeping";
            notes.push(Note::assumed(&header.file, header.line, text));
            return Some(String::new());
        }
        // The usual map for WebSockets: what it gives for requests without Upgrade.
        let map = config.maps.get(value).filter(|map| map.word(0) == "$http_upgrade");
        let entry = |key: &str| map.and_then(|map| map.block.iter().find(|entry| entry.name == key));
        match entry("").or_else(|| entry("default")) {
            Some(entry) => Some(entry.word(0).to_owned()),
            None => {
                let text = format!("{value} is not known; taken as a Connection that allows keeping");
                notes.push(Note::assumed(&header.file, header.line, text));
                Some(String::new())
            }
        }
    }
}

/// Why connections are not kept, in nginx's words.
fn missing(cached: bool, http: Option<&Directive>, connection: Option<&str>) -> String {
    let mut missing = Vec::new();
    if !cached {
        missing.push("no keepalive in the upstream block".to_owned());
    }
    match http.map(|directive| directive.word(0)) {
        None => missing.push("no proxy_http_version 1.1".to_owned()),
        Some("1.0") => missing.push("proxy_http_version 1.0".to_owned()),
        Some(_) => {}
    }
    match connection {
        None => missing.push("no proxy_set_header Connection \"\"".to_owned()),
        Some(value) if value.eq_ignore_ascii_case("close") => missing.push("Connection close is sent".to_owned()),
        Some(_) => {}
    }
    missing.join(", ")
}

fn idle(directive: &Directive, about: Parameter, notes: &mut Vec<Note>) -> Option<Limit> {
    match time(directive.word(0)) {
        Some(time) if time.is_zero() => Some(Limit::AtOnce),
        Some(time) => Some(Limit::exactly(time)),
        None => {
            notes.push(not_read(directive, 0).about(about));
            None
        }
    }
}

fn told_time(directive: &Directive, about: Parameter, notes: &mut Vec<Note>) -> Option<Told<Duration>> {
    match time(&directive.words.concat()) {
        Some(time) => Some(Told::at(time, &directive.file, directive.line)),
        None => {
            notes.push(not_read(directive, 0).about(about));
            None
        }
    }
}

fn count(directive: &Directive, about: Parameter, notes: &mut Vec<Note>) -> Option<u64> {
    let count = directive.word(0).parse().ok();
    if count.is_none() {
        notes.push(not_read(directive, 0).about(about));
    }
    count
}

/// nginx writes months as `M`, which nobody uses here.
fn time(text: &str) -> Option<Duration> {
    parse(text, Unit::Seconds)
}

fn not_read(directive: &Directive, word: usize) -> Note {
    let text = format!("{}: {:?} is not understood", directive.name, directive.word(word));
    Note::not_understood(&directive.file, directive.line, text)
}
