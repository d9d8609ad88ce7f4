//! HAProxy: which frontend and backend, what they take from their defaults, and how the backend keeps connections.

use std::time::Duration;

use bypeer_diagnose::facts::{self, Parameter, Repeats};

use super::haproxy_syntax::{Line, Section, lines_of, parse};
use super::{Read, ambiguous, read_file};
use crate::assemble::Files;
use crate::hop::{Limit, Note, Origin, Told};
use crate::time::{Unit, parse as parse_time};

/// Reads a configuration. `part`: a frontend, a backend, or `FRONTEND/BACKEND`.
pub(super) fn read(file: &str, part: Option<&str>, files: &dyn Files) -> Result<Read, String> {
    let text = read_file(files, file)?;
    let config = Config {
        file,
        sections: parse(&text),
    };
    let mut notes = Vec::new();
    let pairs = config.pairs(&mut notes);
    if pairs.is_empty() {
        return Err(format!("{file}: no frontend, backend or listen section in it"));
    }
    let mut reads: Vec<(String, Read)> = Vec::new();
    for (front, back) in &pairs {
        let label = config.label(*front, *back);
        let names = [*front, *back].map(|index| index.map_or("", |index| config.sections[index].name.as_str()));
        if part.is_none_or(|part| part == label || names.contains(&part)) {
            let read = config.read(*front, *back);
            if !reads.iter().any(|(_, other)| same(other, &read)) {
                reads.push((label, read));
            }
        }
    }
    if reads.len() > 1 {
        let limit = |told: &Option<Told<Limit>>| told.as_ref().map_or("default".to_owned(), |told| told.value.words());
        let choices: Vec<(String, String)> = reads
            .iter()
            .map(|(label, read)| {
                let told = format!("{} / {}", limit(&read.accepts.idle), limit(&read.opens.pool));
                (label.clone(), told)
            })
            .collect();
        return Err(ambiguous(file, "haproxy", &choices));
    }
    let Some((label, mut read)) = reads.pop() else {
        let labels: Vec<String> = pairs
            .iter()
            .take(12)
            .map(|(front, back)| config.label(*front, *back))
            .collect();
        return Err(format!(
            "{file}: has no frontend or backend {:?}; it has {}",
            part.unwrap_or_default(),
            labels.join(", ")
        ));
    };
    read.part = Some(label);
    notes.append(&mut read.notes);
    read.notes = notes;
    Ok(read)
}

fn same(left: &Read, right: &Read) -> bool {
    let of = |read: &Read| {
        (
            read.accepts.idle.as_ref().map(|told| told.value),
            read.opens.pool.as_ref().map(|told| told.value),
            read.opens.repeats.as_ref().map(|told| told.value),
        )
    };
    of(left) == of(right)
}

struct Config<'a> {
    file: &'a str,
    sections: Vec<Section>,
}

/// A frontend and a backend, either of which may be missing, or one listen section twice.
type Pair = (Option<usize>, Option<usize>);

impl Config<'_> {
    fn pairs(&self, notes: &mut Vec<Note>) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = Vec::new();
        let backend = |name: &str| {
            self.sections
                .iter()
                .position(|section| ["backend", "listen"].contains(&section.kind.as_str()) && section.name == name)
        };
        for (index, section) in self.sections.iter().enumerate() {
            if section.kind == "listen" && section.lines.iter().any(|line| line.word(0) == "server") {
                pairs.push((Some(index), Some(index)));
            }
            if !["frontend", "listen"].contains(&section.kind.as_str()) {
                continue;
            }
            let own = section.lines.iter();
            let uses = own.filter(|line| line.word(0) == "use_backend");
            let default = lines_of(&self.sections, index).find(|line| line.word(0) == "default_backend");
            for line in uses.chain(default) {
                match backend(line.word(1)) {
                    Some(back) if pairs.contains(&(Some(index), Some(back))) => {}
                    Some(back) => pairs.push((Some(index), Some(back))),
                    None => {
                        let text = format!("{} {:?}: no backend of this name", line.word(0), line.word(1));
                        notes.push(Note::not_understood(self.file, line.number, text));
                    }
                }
            }
        }
        if pairs.is_empty() {
            let of = |kind: &str| self.sections.iter().position(|section| section.kind == kind);
            if let (None, None) = (of("frontend"), of("backend")) {
                return pairs;
            }
            pairs.push((of("frontend"), of("backend")));
        }
        pairs
    }

    fn label(&self, front: Option<usize>, back: Option<usize>) -> String {
        let name = |index: Option<usize>| index.map_or("", |index| self.sections[index].name.as_str());
        match (name(front), name(back)) {
            (front, back) if front == back => front.to_owned(),
            (front, "") => front.to_owned(),
            ("", back) => back.to_owned(),
            (front, back) => format!("{front}/{back}"),
        }
    }

    fn read(&self, front: Option<usize>, back: Option<usize>) -> Read {
        let mut read = Read::default();
        if let Some(front) = front {
            self.accepts(front, back, &mut read);
        }
        if let Some(back) = back {
            self.opens(front, back, &mut read);
        }
        read
    }

    fn find<'s>(&'s self, section: usize, words: &[&str]) -> Option<&'s Line> {
        lines_of(&self.sections, section).find(|line| words.iter().enumerate().all(|(at, word)| line.word(at) == *word))
    }

    /// An option that is set, unless a nearer line takes it back.
    fn option(&self, section: usize, name: &str) -> Option<&Line> {
        let line = lines_of(&self.sections, section).find(|line| {
            let at = usize::from(line.word(0) == "no");
            line.word(at) == "option" && line.word(at + 1) == name
        })?;
        (line.word(0) != "no").then_some(line)
    }

    /// `timeout NAME`; zero is no timeout.
    fn timeout(&self, section: usize, name: &str, notes: &mut Vec<Note>) -> Option<Told<Duration>> {
        let line = self.find(section, &["timeout", name])?;
        match parse_time(line.word(2), Unit::Milliseconds) {
            Some(time) if time.is_zero() => None,
            Some(time) => Some(Told::at(time, self.file, line.number)),
            None => {
                let text = format!("timeout {name}: {:?} is not understood", line.word(2));
                let about = if name == "server" {
                    Parameter::ResponseTimeout
                } else {
                    Parameter::Idle
                };
                notes.push(Note::not_understood(self.file, line.number, text).about(about));
                None
            }
        }
    }

    fn accepts(&self, front: usize, back: Option<usize>, read: &mut Read) {
        let notes = &mut read.notes;
        if let Some(line) = self.find(front, &["mode", "tcp"]) {
            let text =
                "mode tcp: bytes are passed on, connections are not shared; only timeout client is taken from it";
            notes.push(Note::assumed(self.file, line.number, text));
        }
        let closes = [Some(front), back]
            .into_iter()
            .flatten()
            .find_map(|section| self.option(section, "httpclose").or(self.option(section, "forceclose")));
        if let Some(line) = closes {
            read.accepts.idle = Some(Told::at(Limit::AtOnce, self.file, line.number));
            read.accepts.announces_close = Some(Told::at(true, self.file, line.number));
            return;
        }
        let tcp = self.find(front, &["mode", "tcp"]).is_some();
        let names: &[&str] = if tcp {
            &["client"]
        } else {
            &["http-keep-alive", "http-request", "client"]
        };
        let idle = names.iter().find_map(|name| self.timeout(front, name, notes));
        if notes.iter().any(|note| note.about == Some(Parameter::Idle)) {
            return;
        }
        read.accepts.idle = Some(match idle {
            Some(idle) => idle.map(|time| Limit::exactly(*time)),
            None => Told::new(
                Limit::Never,
                Origin::Follows(format!(
                    "{}: no timeout http-keep-alive, http-request or client",
                    self.file
                )),
            ),
        });
        read.accepts.announces_idle = Some(Told::new(
            None,
            Origin::Follows("HAProxy announces no idle limit".to_owned()),
        ));
    }

    fn opens(&self, front: Option<usize>, back: usize, read: &mut Read) {
        let waits = self.timeout(back, "server", &mut read.notes);
        read.opens.waits = Some(match waits {
            Some(waits) => waits.map(|time| Some(*time)),
            None => Told::new(None, Origin::Follows(format!("{}: no timeout server", self.file))),
        });
        self.repeats(back, read);
        if front
            .into_iter()
            .chain([back])
            .any(|section| self.find(section, &["mode", "tcp"]).is_some())
        {
            return;
        }
        let options = ["httpclose", "forceclose", "http-server-close"];
        let closes = front
            .into_iter()
            .chain([back])
            .find_map(|section| options.iter().find_map(|name| self.option(section, name)));
        if let Some(line) = closes {
            read.opens.pool = Some(Told::at(Limit::AtOnce, self.file, line.number));
            return;
        }
        if let Some(line) = self.find(back, &["http-reuse", "never"]) {
            // Then a connection to a server belongs to one of a client, and ends with it.
            read.opens.pool = read.accepts.idle.as_ref().map(|idle| {
                let why = format!(
                    "{}:{}: http-reuse never: as long as the client's connection, idle {}",
                    self.file,
                    line.number,
                    idle.value.words()
                );
                Told::new(idle.value, Origin::Follows(why))
            });
            return;
        }
        read.opens.pool = self.purge_delay(back, &mut read.notes);
    }

    /// The longest of the backend's servers.
    fn purge_delay(&self, back: usize, notes: &mut Vec<Note>) -> Option<Told<Limit>> {
        let servers: Vec<&Line> = self.sections[back]
            .lines
            .iter()
            .filter(|line| ["server", "server-template"].contains(&line.word(0)))
            .collect();
        let mut longest: Option<Told<Limit>> = None;
        for server in servers {
            let defaults = || lines_of(&self.sections, back).filter(|line| line.word(0) == "default-server");
            let value = |name: &str| {
                std::iter::once(server)
                    .chain(defaults())
                    .find_map(|line| Some((line, line.after(name)?)))
            };
            let told = match (value("pool-max-conn"), value("pool-purge-delay")) {
                (Some((line, "0")), _) => Told::at(Limit::AtOnce, self.file, line.number),
                (_, Some((line, delay))) => match parse_time(delay, Unit::Milliseconds) {
                    Some(delay) if delay.is_zero() => Told::at(Limit::AtOnce, self.file, line.number),
                    Some(delay) => Told::at(Limit::exactly(delay), self.file, line.number),
                    None => {
                        let text = format!("pool-purge-delay {delay:?} is not understood");
                        notes.push(Note::not_understood(self.file, line.number, text).about(Parameter::PoolIdle));
                        continue;
                    }
                },
                _ => match default_delay() {
                    Some(told) => told,
                    None => continue,
                },
            };
            if longest
                .as_ref()
                .is_none_or(|other| length(other.value) < length(told.value))
            {
                longest = Some(told);
            }
        }
        longest
    }

    fn repeats(&self, back: usize, read: &mut Read) {
        let Some(line) = self.find(back, &["retry-on"]) else {
            return;
        };
        let telling = ["all-retryable-errors", "empty-response", "junk-response"];
        let repeats = if !line.words.iter().any(|word| telling.contains(&word.as_str())) {
            Repeats::Nothing
        } else {
            let no_post = lines_of(&self.sections, back).any(|line| {
                line.words.iter().any(|word| word == "disable-l7-retry")
                    && line.words.iter().any(|word| word == "METH_POST")
            });
            if no_post { Repeats::Idempotent } else { Repeats::Any }
        };
        read.opens.repeats = Some(Told::at(repeats, self.file, line.number));
    }
}

/// What is not set, and is the same for all versions.
fn default_delay() -> Option<Told<Limit>> {
    let habits = facts::habits("haproxy")?;
    Some(Told::new(
        Limit::exactly(habits.pool_setting()?),
        Origin::Default {
            source: &habits.source,
            verified: habits.verified,
            note: habits.pool_line.as_deref(),
        },
    ))
}

fn length(limit: Limit) -> Duration {
    match limit {
        Limit::AtOnce => Duration::ZERO,
        Limit::After { latest, .. } => latest,
        Limit::Never => Duration::MAX,
    }
}
