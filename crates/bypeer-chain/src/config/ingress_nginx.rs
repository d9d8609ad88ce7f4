//! ingress-nginx of Kubernetes: keys of its ConfigMap, and annotations of an Ingress, which go before them.

use std::time::Duration;

use bypeer_diagnose::facts::{Parameter, Repeats};

use super::yaml::{Id, Yaml};
use super::{Read, ambiguous, read_file};
use crate::assemble::Files;
use crate::hop::{Limit, Note, Told};
use crate::time::{Unit, parse};

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Reads manifests, or Helm values with `controller.config`. `part`: an Ingress, where there are several.
pub(super) fn read(file: &str, part: Option<&str>, files: &dyn Files) -> Result<Read, String> {
    let text = read_file(files, file)?;
    let yaml = Yaml::parse(&text).map_err(|error| format!("{file}: {error}"))?;
    let mut objects: Vec<Id> = Vec::new();
    for document in &yaml.documents {
        let items = yaml.get(*document, "items").map_or(&[][..], |items| yaml.items(items));
        objects.push(*document);
        objects.extend(items);
    }
    let of = |kind: &str| {
        let kind = kind.to_owned();
        objects
            .iter()
            .copied()
            .filter(|id| yaml.text_at(*id, &["kind"]) == Some(&kind))
            .collect::<Vec<_>>()
    };
    let mut config: Vec<(&str, Id)> = Vec::new();
    for map in of("ConfigMap") {
        let entries = yaml
            .get(map, "data")
            .map(|data| yaml.entries(data).collect::<Vec<_>>())
            .unwrap_or_default();
        config.extend(entries);
    }
    for document in &objects {
        if let Some(values) = yaml.at(*document, &["controller", "config"]) {
            config.extend(yaml.entries(values));
        }
    }
    let ingresses = of("Ingress");
    if config.is_empty() && ingresses.is_empty() {
        return Err(format!(
            "{file}: has neither a ConfigMap with data, nor an Ingress, nor Helm values with controller.config"
        ));
    }
    let mut reads: Vec<(String, Read)> = Vec::new();
    let named = |id: Id| yaml.text_at(id, &["metadata", "name"]).unwrap_or("ingress").to_owned();
    let chosen: Vec<Id> = ingresses
        .iter()
        .copied()
        .filter(|id| part.is_none_or(|part| named(*id) == part))
        .collect();
    if part.is_some() && chosen.is_empty() {
        let names: Vec<String> = ingresses.iter().take(12).map(|id| named(*id)).collect();
        return Err(format!(
            "{file}: has no Ingress {:?}; it has {}",
            part.unwrap_or_default(),
            names.join(", ")
        ));
    }
    for ingress in &chosen {
        let annotations = yaml.at(*ingress, &["metadata", "annotations"]);
        let annotations: Vec<(&str, Id)> = annotations.map(|id| yaml.entries(id).collect()).unwrap_or_default();
        let read = keys(file, &yaml, &config, &annotations);
        let same = |other: &Read| {
            other.opens.pool.as_ref().map(|told| told.value) == read.opens.pool.as_ref().map(|told| told.value)
                && other.opens.repeats.as_ref().map(|told| told.value)
                    == read.opens.repeats.as_ref().map(|told| told.value)
        };
        if !reads.iter().any(|(_, other)| same(other)) {
            reads.push((named(*ingress), read));
        }
    }
    if reads.len() > 1 {
        let told = |read: &Read| {
            read.opens
                .pool
                .as_ref()
                .map_or("default".to_owned(), |told| told.value.words())
        };
        let choices: Vec<(String, String)> = reads.iter().map(|(label, read)| (label.clone(), told(read))).collect();
        return Err(ambiguous(file, "ingress-nginx", &choices));
    }
    Ok(match reads.pop() {
        Some((label, mut read)) => {
            read.part = Some(format!("Ingress {label}"));
            read
        }
        None => keys(file, &yaml, &config, &[]),
    })
}

fn keys(file: &str, yaml: &Yaml, config: &[(&str, Id)], annotations: &[(&str, Id)]) -> Read {
    let mut read = Read::default();
    let keys = Keys {
        file,
        yaml,
        config,
        annotations,
    };
    let notes = &mut read.notes;
    if let Some(idle) = keys.time("keep-alive", Parameter::Idle, notes) {
        read.accepts.idle = Some(idle.map(|time| {
            if time.is_zero() {
                Limit::AtOnce
            } else {
                Limit::exactly(*time)
            }
        }));
    }
    read.accepts.max_requests = keys.count("keep-alive-requests", Parameter::MaxRequests, notes);
    if let Some(pool) = keys.time("upstream-keepalive-timeout", Parameter::PoolIdle, notes) {
        read.opens.pool = Some(pool.map(|time| {
            if time.is_zero() {
                Limit::AtOnce
            } else {
                Limit::exactly(*time)
            }
        }));
    }
    let none = keys.count("upstream-keepalive-connections", Parameter::PoolIdle, notes);
    if let Some(told) = none.filter(|told| told.value == Some(0)) {
        read.opens.pool = Some(told.map(|_| Limit::AtOnce));
    }
    if let Some(id) = keys
        .get("proxy-http-version")
        .filter(|id| yaml.text(*id) == Some("1.0"))
    {
        read.opens.pool = Some(Told::at(Limit::AtOnce, file, yaml.line(id)));
    }
    read.opens.max_requests = keys.count("upstream-keepalive-requests", Parameter::PoolMaxRequests, notes);
    let lifetime = keys.time("upstream-keepalive-time", Parameter::PoolLifetime, notes);
    read.opens.lifetime = lifetime.map(|told| told.map(|time| Some(*time)));
    let waits = keys.time("proxy-read-timeout", Parameter::ResponseTimeout, notes);
    read.opens.waits = waits.map(|told| told.map(|time| Some(*time)));
    let words = |key: &str| {
        keys.get(key)
            .map(|id| (yaml.text(id).unwrap_or_default(), yaml.line(id)))
    };
    if let Some((text, line)) = words("proxy-next-upstream") {
        let has = |word: &str| text.split_whitespace().any(|found| found == word);
        let repeats = match () {
            () if has("off") => Repeats::Nothing,
            () if has("non_idempotent") => Repeats::Any,
            () if has("error") => Repeats::Idempotent,
            () => Repeats::Nothing,
        };
        read.opens.repeats = Some(Told::at(repeats, file, line));
    }
    if let Some((_, line)) = words("retry-non-idempotent").filter(|(text, _)| *text == "true") {
        read.opens.repeats = Some(Told::at(Repeats::Any, file, line));
    }
    for key in [
        "http-snippet",
        "server-snippet",
        "location-snippet",
        "configuration-snippet",
        "main-snippet",
    ] {
        let Some((text, line)) = words(key) else {
            continue;
        };
        if ["keepalive", "Connection", "proxy_http_version", "proxy_next_upstream"]
            .iter()
            .any(|word| text.contains(word))
        {
            notes.push(Note::not_understood(
                file,
                line,
                format!("{key} is not read, and speaks of connections"),
            ));
        }
    }
    read
}

struct Keys<'a> {
    file: &'a str,
    yaml: &'a Yaml,
    config: &'a [(&'a str, Id)],
    annotations: &'a [(&'a str, Id)],
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<Id> {
        let annotation = self.annotations.iter().rev();
        let annotation = annotation
            .filter_map(|(name, id)| Some((name.strip_prefix(PREFIX)?, id)))
            .find(|(name, _)| *name == key);
        let of_map = || {
            self.config
                .iter()
                .rev()
                .find(|(name, _)| *name == key)
                .map(|(_, id)| *id)
        };
        annotation.map(|(_, id)| *id).or_else(of_map)
    }

    fn time(&self, key: &str, about: Parameter, notes: &mut Vec<Note>) -> Option<Told<Duration>> {
        self.value(key, about, notes, |text| parse(text, Unit::Seconds))
    }

    fn count(&self, key: &str, about: Parameter, notes: &mut Vec<Note>) -> Option<Told<Option<u64>>> {
        self.value(key, about, notes, |text| text.parse().ok().map(Some))
    }

    fn value<T>(
        &self,
        key: &str,
        about: Parameter,
        notes: &mut Vec<Note>,
        read: fn(&str) -> Option<T>,
    ) -> Option<Told<T>> {
        let id = self.get(key)?;
        let (text, line) = (self.yaml.text(id).unwrap_or_default(), self.yaml.line(id));
        match read(text.trim()) {
            Some(value) => Some(Told::at(value, self.file, line)),
            None => {
                let text = format!("{key}: {text:?} is not understood");
                notes.push(Note::not_understood(self.file, line, text).about(about));
                None
            }
        }
    }
}
