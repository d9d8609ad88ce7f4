//! gunicorn: literal assignments of `gunicorn.conf.py`, and options of its command line, which go before them.

use std::collections::HashMap;

use bypeer_diagnose::facts::{self, Parameter};

use super::lines::words;
use super::{Read, read_file};
use crate::assemble::Files;
use crate::hop::{Limit, Note, Origin, Told};
use crate::time::{Unit, parse};

/// What bears on the chain: the setting, and the command line's names for it.
const SETTINGS: [(&str, &[&str]); 6] = [
    ("keepalive", &["--keep-alive"]),
    ("worker_class", &["-k", "--worker-class"]),
    ("threads", &["--threads"]),
    ("timeout", &["-t", "--timeout"]),
    ("max_requests", &["--max-requests"]),
    ("bind", &["-b", "--bind"]),
];

/// A setting's value and where it stands; line 0: the command line.
struct Value {
    text: String,
    line: u32,
}

/// Reads a file, options, or both.
pub(super) fn read(file: Option<&str>, flags: Option<&str>, files: &dyn Files) -> Result<Read, String> {
    let mut read = Read::default();
    let mut values: HashMap<&str, Value> = HashMap::new();
    if let Some(file) = file {
        let text = read_file(files, file)?;
        assignments(&text, file, &mut values, &mut read.notes);
    }
    options(flags.unwrap_or_default(), &mut values)?;
    let place = file.unwrap_or_default();
    let told = |value: &Value, limit: Limit| match value.line {
        0 => Told::given(limit),
        line => Told::at(limit, place, line),
    };
    // What the command line says goes before the file, so that what was not understood there does not matter.
    let is_unsure = |read: &Read, name: &str| {
        !values.contains_key(name) && read.notes.iter().any(|note| note.text.starts_with(name))
    };
    if is_unsure(&read, "worker_class") || is_unsure(&read, "threads") {
        return Ok(read);
    }
    let threads = values.get("threads").and_then(|value| value.text.parse::<u64>().ok());
    let class = values.get("worker_class").map_or("sync", |value| value.text.as_str());
    let class = class.rsplit('.').next().unwrap_or(class);
    read.part = Some(match (class, threads) {
        ("sync", Some(threads)) if threads > 1 => "worker gthread, as threads is more than 1".to_owned(),
        _ => format!("worker {class}"),
    });
    match class {
        "sync" | "SyncWorker" if threads.is_none_or(|threads| threads <= 1) => {
            let why = "the sync worker answers one request a connection, whatever keepalive says".to_owned();
            read.accepts.idle = Some(Told::new(Limit::AtOnce, Origin::Follows(why.clone())));
            read.accepts.announces_close = Some(Told::new(true, Origin::Follows(why)));
            return Ok(read);
        }
        "sync" | "gthread" | "gevent" | "eventlet" | "gaiohttp" | "tornado" | "SyncWorker" | "ThreadWorker"
        | "GeventWorker" => {}
        // Its own timeout is set from keepalive (UvicornWorker passes it on).
        "UvicornWorker" | "UvicornH11Worker" => {}
        other => {
            let line = values.get("worker_class").map_or(0, |value| value.line);
            let text = format!("worker_class {other:?} is not known; taken as one that keeps connections");
            read.notes.push(Note::assumed(place, line, text));
        }
    }
    if let Some(value) = values.get("keepalive") {
        match parse(&value.text, Unit::Seconds) {
            Some(time) if time.is_zero() => read.accepts.idle = Some(told(value, Limit::AtOnce)),
            Some(time) => read.accepts.idle = Some(told(value, Limit::exactly(time))),
            None => {
                let text = format!("keepalive = {:?} is not a number", value.text);
                read.notes
                    .push(Note::not_understood(place, value.line, text).about(Parameter::Idle));
            }
        }
    } else if !read.notes.iter().any(|note| note.about == Some(Parameter::Idle)) {
        // Its default is that of workers that keep connections.
        if let Some(known) = facts::defaults("gunicorn", None).idle
            && let facts::Limit::Time(time) = known.value
        {
            let origin = Origin::Default {
                source: known.source,
                verified: known.verified,
                note: None,
            };
            read.accepts.idle = Some(Told::new(Limit::exactly(time), origin));
        }
    }
    Ok(read)
}

/// `name = value` at the beginning of a line, with a literal.
fn assignments(text: &str, file: &str, values: &mut HashMap<&str, Value>, notes: &mut Vec<Note>) {
    // What a function sets is its own.
    let mut in_function = false;
    for (index, line) in text.lines().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let indented = line.starts_with([' ', '\t']);
        if !indented && !line.is_empty() {
            in_function = ["def ", "class ", "async def "]
                .iter()
                .any(|word| line.starts_with(word));
        }
        if indented && in_function {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        // `: int` may stand behind the name.
        let name = name.split(':').next().unwrap_or(name).trim();
        let Some((setting, _)) = SETTINGS.iter().find(|(setting, _)| *setting == name) else {
            continue;
        };
        if value.starts_with('=') {
            continue;
        }
        let about = |note: Note| match *setting {
            "keepalive" | "worker_class" | "threads" => note.about(Parameter::Idle),
            _ => note,
        };
        if indented {
            values.remove(setting);
            let text = format!("{name} is set under a condition; only lines without indent are read");
            notes.push(about(Note::not_understood(file, number, text)));
            continue;
        }
        match literal(value) {
            Some(text) => {
                values.insert(setting, Value { text, line: number });
            }
            None if *setting == "bind" => {}
            None => {
                values.remove(setting);
                let text = format!(
                    "{name} = {} is an expression, not a number or string",
                    short(value.trim())
                );
                notes.push(about(Note::not_understood(file, number, text)));
            }
        }
    }
}

/// A number or a string of Python, and perhaps a comment.
fn literal(text: &str) -> Option<String> {
    let text = text.trim();
    let quote = text.chars().next().filter(|c| ['"', '\''].contains(c));
    if let Some(quote) = quote {
        let (inner, rest) = text[1..].split_once(quote)?;
        return is_comment(rest).then(|| inner.to_owned());
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (!number.is_empty() && is_comment(rest)).then(|| number.replace('_', ""))
}

fn is_comment(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#')
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn options(flags: &str, values: &mut HashMap<&str, Value>) -> Result<(), String> {
    let words = words(flags, false);
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (name, inline) = word
            .split_once('=')
            .map_or((word, None), |(name, value)| (name, Some(value)));
        let known = SETTINGS.iter().find(|(_, names)| names.contains(&name));
        let Some((setting, _)) = known else {
            // `-kgthread`
            let glued = SETTINGS.iter().find_map(|(setting, names)| {
                let short = names
                    .iter()
                    .find(|name| name.len() == 2 && word.len() > 2 && word.starts_with(**name))?;
                Some((setting, &word[short.len()..]))
            });
            if let Some((setting, text)) = glued.filter(|_| !word.starts_with("--")) {
                values.insert(
                    setting,
                    Value {
                        text: text.to_owned(),
                        line: 0,
                    },
                );
            }
            continue;
        };
        let text = match inline {
            Some(text) => text,
            None => words.next().ok_or_else(|| format!("{name}: its value is missing"))?,
        };
        values.insert(
            setting,
            Value {
                text: text.to_owned(),
                line: 0,
            },
        );
    }
    Ok(())
}
