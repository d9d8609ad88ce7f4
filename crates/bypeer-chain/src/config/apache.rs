//! Apache httpd: keep-alive of the server or virtual host, and the workers that it passes to.

use std::time::Duration;

use super::lines::words;
use super::{MAX_DEPTH, MAX_FILES, MAX_TOTAL, Read, ambiguous, folder_of, read_file, relative_to};
use crate::assemble::Files;
use crate::hop::{Limit, Note, Origin, Told};
use crate::time::{Unit, parse};
use bypeer_diagnose::facts::Parameter;

/// Most lines of one configuration.
const MAX_LINES: usize = 500_000;

/// A directive and the containers around it, outermost first.
struct Item {
    file: std::rc::Rc<str>,
    line: u32,
    words: Vec<String>,
    /// Indices of [`Config::containers`].
    inside: Vec<usize>,
}

/// `<VirtualHost *:80>` and its kind.
struct Container {
    kind: String,
    name: String,
}

struct Config<'a> {
    files: &'a dyn Files,
    root: String,
    items: Vec<Item>,
    containers: Vec<Container>,
    stack: Vec<String>,
    read: usize,
    bytes: usize,
    lines: usize,
    notes: Vec<Note>,
    defined: std::collections::HashMap<String, String>,
}

/// Reads a configuration. `part`: a virtual host's `ServerName`, or a path that is passed on, or both.
pub(super) fn read(file: &str, part: Option<&str>, files: &dyn Files) -> Result<Read, String> {
    let mut config = Config {
        files,
        root: folder_of(file).to_owned(),
        items: Vec::new(),
        containers: Vec::new(),
        stack: Vec::new(),
        read: 0,
        bytes: 0,
        lines: 0,
        notes: Vec::new(),
        defined: std::collections::HashMap::new(),
    };
    config.file(file, &mut Vec::new())?;
    let places = config.places();
    let chosen: Vec<&Place<'_>> = places
        .iter()
        .filter(|place| part.is_none_or(|part| place.is(part)))
        .collect();
    let passing: Vec<&Place<'_>> = chosen.iter().copied().filter(|place| place.pass.is_some()).collect();
    let chosen = if passing.is_empty() { chosen } else { passing };
    let mut reads: Vec<(String, Read)> = Vec::new();
    for place in chosen {
        let read = config.read(place);
        let same = |other: &Read| {
            other.accepts.idle.as_ref().map(|told| told.value) == read.accepts.idle.as_ref().map(|told| told.value)
                && other.opens.pool.as_ref().map(|told| told.value) == read.opens.pool.as_ref().map(|told| told.value)
        };
        if !reads.iter().any(|(_, other)| same(other)) {
            reads.push((place.label(), read));
        }
    }
    if reads.len() > 1 {
        let limit = |told: &Option<Told<Limit>>| told.as_ref().map_or("default".to_owned(), |told| told.value.words());
        let told = |read: &Read| format!("{} / {}", limit(&read.accepts.idle), limit(&read.opens.pool));
        let choices: Vec<(String, String)> = reads.iter().map(|(label, read)| (label.clone(), told(read))).collect();
        return Err(ambiguous(file, "apache", &choices));
    }
    let Some((label, mut read)) = reads.pop() else {
        let labels: Vec<String> = places.iter().take(12).map(Place::label).collect();
        return Err(format!(
            "{file}: has no part {:?}; it has {}",
            part.unwrap_or_default(),
            labels.join(", ")
        ));
    };
    read.part = Some(label);
    let mut notes = std::mem::take(&mut config.notes);
    notes.append(&mut read.notes);
    read.notes = notes;
    Ok(read)
}

/// A virtual host, or the main server, and what it passes on.
struct Place<'a> {
    host: Option<usize>,
    name: String,
    path: String,
    pass: Option<&'a Item>,
}

impl Place<'_> {
    fn label(&self) -> String {
        match (self.name.as_str(), self.path.as_str()) {
            ("", "") => "main server".to_owned(),
            (name, path) => format!("{name}{path}"),
        }
    }

    fn is(&self, part: &str) -> bool {
        self.label() == part || self.name == part || (!self.path.is_empty() && self.path == part)
    }
}

impl Config<'_> {
    fn file(&mut self, path: &str, inside: &mut Vec<usize>) -> Result<(), String> {
        let text = read_file(self.files, path)?;
        self.read += 1;
        self.bytes += text.len();
        if self.read > MAX_FILES || self.bytes > MAX_TOTAL {
            return Err(format!(
                "{path}: too many files are included; {MAX_FILES} are read, and {MAX_TOTAL} bytes"
            ));
        }
        self.stack.push(path.to_owned());
        let file: std::rc::Rc<str> = path.into();
        let around = inside.len();
        let mut joined = String::new();
        let mut began = 1;
        for (index, line) in text.lines().enumerate() {
            if joined.is_empty() {
                began = u32::try_from(index + 1).unwrap_or(u32::MAX);
            }
            if let Some(start) = line.strip_suffix('\\') {
                joined.push_str(start);
                joined.push(' ');
                continue;
            }
            joined.push_str(line);
            let logical = std::mem::take(&mut joined);
            self.line(logical.trim(), &file, began, inside, around)?;
        }
        if let Some(open) = inside.get(around) {
            return Err(format!("{path}: <{}> is not closed", self.containers[*open].kind));
        }
        self.stack.pop();
        Ok(())
    }

    fn line(
        &mut self,
        line: &str,
        file: &std::rc::Rc<str>,
        number: u32,
        inside: &mut Vec<usize>,
        around: usize,
    ) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(format!("{file}:{number}: more than {MAX_LINES} lines"));
        }
        let line = self.expanded(line);
        if let Some(kind) = line.strip_prefix("</") {
            let kind = kind.trim_end_matches('>').trim();
            let closes = inside.len() > around
                && inside
                    .pop()
                    .is_some_and(|open| self.containers[open].kind.eq_ignore_ascii_case(kind));
            return match closes {
                true => Ok(()),
                false => Err(format!("{file}:{number}: </{kind}> closes nothing")),
            };
        }
        if let Some(opened) = line.strip_prefix('<') {
            if inside.len() >= MAX_DEPTH {
                return Err(format!("{file}:{number}: containers nest deeper than {MAX_DEPTH}"));
            }
            let (kind, name) = opened
                .trim_end_matches('>')
                .split_once(char::is_whitespace)
                .unwrap_or((opened.trim_end_matches('>'), ""));
            let condition = ["IfDefine", "IfVersion", "IfFile", "If", "ElseIf", "Else"];
            if condition.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
                let text = format!("<{kind} {}> is taken as true", name.trim());
                self.notes.push(Note::assumed(file, number, text));
            }
            inside.push(self.containers.len());
            self.containers.push(Container {
                kind: kind.to_owned(),
                name: words(name, false).into_iter().next().unwrap_or_default(),
            });
            return Ok(());
        }
        let words = words(&line, false);
        let Some(first) = words.first() else {
            return Ok(());
        };
        match first.to_ascii_lowercase().as_str() {
            "include" | "includeoptional" => return self.include(&words, file, number, inside),
            "serverroot" => {
                if let Some(root) = words.get(1) {
                    // A copy of the configuration elsewhere is read where it is.
                    let readable = self
                        .files
                        .glob(&format!("{root}/*"))
                        .is_ok_and(|found| !found.is_empty());
                    if readable {
                        self.root = root.clone();
                    }
                }
            }
            "define" => {
                if let Some(name) = words.get(1) {
                    self.defined
                        .insert(name.clone(), words.get(2).cloned().unwrap_or_default());
                }
            }
            _ => {}
        }
        self.items.push(Item {
            file: file.clone(),
            line: number,
            words,
            inside: inside.clone(),
        });
        Ok(())
    }

    /// With `${NAME}` of `Define` filled in; once, so that nothing grows without end.
    fn expanded(&self, line: &str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let known = after
                .split_once('}')
                .and_then(|(name, tail)| Some((self.defined.get(name)?, tail)));
            match known {
                Some((value, tail)) if out.len() < 1 << 16 => {
                    out.push_str(value);
                    rest = tail;
                }
                _ => {
                    out.push_str("${");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    fn include(
        &mut self,
        words: &[String],
        file: &std::rc::Rc<str>,
        number: u32,
        inside: &mut Vec<usize>,
    ) -> Result<(), String> {
        let pattern = relative_to(&self.root, words.get(1).map_or("", String::as_str));
        let paths = self.files.glob(&pattern).unwrap_or_default();
        if paths.is_empty() && words[0].eq_ignore_ascii_case("include") && !pattern.contains('*') {
            self.notes.push(Note::not_understood(
                file,
                number,
                format!("{pattern}: what it includes is not there"),
            ));
        }
        for path in paths {
            if self.stack.contains(&path) || self.stack.len() >= MAX_DEPTH {
                return Err(format!("{file}:{number}: {path} includes itself"));
            }
            if self.files.read(&path).is_ok() {
                self.file(&path, inside)?;
            } else {
                self.notes.push(Note::not_understood(
                    file,
                    number,
                    format!("{path}: what it includes cannot be read"),
                ));
            }
        }
        Ok(())
    }

    fn host_of(&self, item: &Item) -> Option<usize> {
        let is_host = |index: &&usize| self.containers[**index].kind.eq_ignore_ascii_case("VirtualHost");
        item.inside.iter().find(is_host).copied()
    }

    fn places(&self) -> Vec<Place<'_>> {
        let is_host = |container: &Container| container.kind.eq_ignore_ascii_case("VirtualHost");
        let hosts = self
            .containers
            .iter()
            .enumerate()
            .filter(|(_, container)| is_host(container));
        let hosts: Vec<Option<usize>> = std::iter::once(None)
            .chain(hosts.map(|(index, _)| Some(index)))
            .collect();
        let mut places = Vec::new();
        for host in &hosts {
            let name = match host {
                Some(index) => self
                    .items
                    .iter()
                    .find(|item| item.inside.contains(index) && item.is("ServerName"))
                    .and_then(|item| item.words.get(1).cloned())
                    .unwrap_or_else(|| self.containers[*index].name.clone()),
                None => String::new(),
            };
            let before = places.len();
            for item in self
                .items
                .iter()
                .filter(|item| item.is("ProxyPass") && self.host_of(item) == *host)
            {
                let (path, url) = self.passed(item);
                if url != "!" {
                    places.push(Place {
                        host: *host,
                        name: name.clone(),
                        path,
                        pass: Some(item),
                    });
                }
            }
            let is_needed = host.is_some() || hosts.len() == 1;
            if places.len() == before && is_needed {
                places.push(Place {
                    host: *host,
                    name,
                    path: String::new(),
                    pass: None,
                });
            }
        }
        places
    }

    /// Path and URL of a `ProxyPass`; in `<Location>` the path is that of the container.
    fn passed(&self, item: &Item) -> (String, String) {
        let location = item.inside.iter().rev().find(|index| {
            let kind = &self.containers[**index].kind;
            ["Location", "LocationMatch"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(kind))
        });
        let word = |at: usize| item.words.get(at).cloned().unwrap_or_default();
        match location {
            Some(index) => (self.containers[*index].name.clone(), word(1)),
            None => (word(1), word(2)),
        }
    }

    /// The directive that holds for a host: its own, or the main server's. The last one wins.
    fn get(&self, host: Option<usize>, name: &str) -> Option<&Item> {
        let of = |host: Option<usize>| {
            self.items
                .iter()
                .rev()
                .find(|item| item.is(name) && self.host_of(item) == host)
        };
        of(host).or_else(|| of(None))
    }

    fn read(&self, place: &Place<'_>) -> Read {
        let mut read = Read::default();
        self.accepts(place, &mut read);
        let Some(pass) = place.pass else {
            return read;
        };
        let (_, url) = self.passed(pass);
        let mut options: Vec<(&Item, &str)> = pass.words.iter().map(|word| (pass, word.as_str())).collect();
        if url.starts_with("balancer://") {
            options.extend(self.balancer(&url, &mut read.notes));
        }
        self.opens(place, &url, &options, &mut read);
        read
    }

    fn accepts(&self, place: &Place<'_>, read: &mut Read) {
        if let Some(item) = self
            .get(place.host, "KeepAlive")
            .filter(|item| item.word(1).eq_ignore_ascii_case("off"))
        {
            read.accepts.idle = Some(Told::at(Limit::AtOnce, &item.file, item.line));
            read.accepts.announces_close = Some(Told::at(true, &item.file, item.line));
            return;
        }
        if let Some(item) = self.get(place.host, "KeepAliveTimeout") {
            match parse(item.word(1), Unit::Seconds) {
                Some(time) => {
                    read.accepts.idle = Some(Told::at(Limit::exactly(time), &item.file, item.line));
                    read.accepts.announces_idle = Some(Told::at(Some(time), &item.file, item.line));
                }
                None => read.notes.push(item.not_read().about(Parameter::Idle)),
            }
        }
        if let Some(item) = self.get(place.host, "MaxKeepAliveRequests") {
            match item.word(1).parse::<u64>() {
                Ok(0) => read.accepts.max_requests = Some(Told::at(None, &item.file, item.line)),
                Ok(count) => read.accepts.max_requests = Some(Told::at(Some(count), &item.file, item.line)),
                Err(_) => read.notes.push(item.not_read().about(Parameter::MaxRequests)),
            }
        }
    }

    /// `key=value` of the members of a balancer, and of `ProxySet` in its container.
    fn balancer<'s>(&'s self, url: &str, notes: &mut Vec<Note>) -> Vec<(&'s Item, &'s str)> {
        let name = url
            .trim_start_matches("balancer://")
            .split('/')
            .next()
            .unwrap_or_default();
        let is_it = |text: &str| text.trim_start_matches("balancer://").trim_end_matches('/') == name;
        let inside = |item: &&Item| {
            item.inside.iter().any(|index| {
                self.containers[*index].kind.eq_ignore_ascii_case("Proxy") && is_it(&self.containers[*index].name)
            })
        };
        let of = |item: &&Item| {
            let telling = item.is("BalancerMember") || item.is("ProxySet");
            telling && (inside(item) || is_it(item.word(1)))
        };
        let found: Vec<&Item> = self.items.iter().filter(of).collect();
        if found.is_empty() {
            notes.push(Note::known(format!("no members of {url} were found")));
        }
        found
            .into_iter()
            .flat_map(|item| item.words.iter().map(move |word| (item, word.as_str())))
            .collect()
    }

    fn opens(&self, place: &Place<'_>, url: &str, options: &[(&Item, &str)], read: &mut Read) {
        let value = |name: &str| {
            options.iter().rev().find_map(|(item, word)| {
                let (key, value) = word.split_once('=')?;
                key.eq_ignore_ascii_case(name).then_some((*item, value))
            })
        };
        let waits = value("timeout")
            .or_else(|| self.get(place.host, "ProxyTimeout").map(|item| (item, item.word(1))))
            .or_else(|| self.get(place.host, "Timeout").map(|item| (item, item.word(1))));
        if let Some((item, text)) = waits {
            match parse(text, Unit::Seconds) {
                Some(time) => read.opens.waits = Some(Told::at(Some(time), &item.file, item.line)),
                None => read.notes.push(item.not_read().about(Parameter::ResponseTimeout)),
            }
        }
        let on = |value: Option<(&Item, &str)>| value.is_some_and(|(_, value)| value.eq_ignore_ascii_case("on"));
        if let Some((item, _)) = value("disablereuse").filter(|value| on(Some(*value))) {
            read.opens.pool = Some(Told::at(Limit::AtOnce, &item.file, item.line));
            return;
        }
        if url.starts_with("fcgi://") && !on(value("enablereuse")) {
            let why = "mod_proxy_fcgi reuses nothing without enablereuse=on".to_owned();
            read.opens.pool = Some(Told::new(Limit::AtOnce, Origin::Follows(why)));
            return;
        }
        let no_keep_alive = self
            .items
            .iter()
            .find(|item| item.is("SetEnv") && item.word(1) == "proxy-nokeepalive");
        if let Some(item) = no_keep_alive {
            read.opens.pool = Some(Told::at(Limit::AtOnce, &item.file, item.line));
            return;
        }
        read.opens.pool = match value("ttl") {
            None => {
                let (item, _) = options.first().copied().unzip();
                let why = item.map_or(String::new(), |item| format!("{}:{}: ", item.file, item.line));
                Some(Told::new(Limit::Never, Origin::Follows(format!("{why}no ttl= is set"))))
            }
            Some((item, text)) => match parse(text, Unit::Seconds) {
                Some(time) => Some(Told::at(ttl(time), &item.file, item.line)),
                None => {
                    read.notes.push(item.not_read().about(Parameter::PoolIdle));
                    None
                }
            },
        };
    }
}

/// Zero is no limit.
fn ttl(time: Duration) -> Limit {
    if time.is_zero() {
        Limit::Never
    } else {
        Limit::exactly(time)
    }
}

impl Item {
    fn is(&self, name: &str) -> bool {
        self.word(0).eq_ignore_ascii_case(name)
    }

    fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    fn not_read(&self) -> Note {
        let text: String = self.words.join(" ").chars().take(80).collect();
        Note::not_understood(&self.file, self.line, format!("{text:?} is not understood"))
    }
}
