//! One TOML file, and flags for the same things: flags go before the file, the file before the defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::contradictions::contradictions;
use super::keys::{KEYS, Key, key};
use super::nearest::nearest;
use super::settings::Settings;
use super::value::{Kind, Value};
use super::{Listen, TlsFiles};

/// The file is read up to here: a larger one is no configuration.
const LARGEST: u64 = 1 << 20;

/// What file and flags say, and where each of it was said.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// All values.
    pub settings: Settings,
    origins: BTreeMap<&'static str, Origin>,
}

impl Told {
    /// Where a key's value is from.
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::Default)
    }

    /// Whether somebody said it.
    pub fn is_said(&self, name: &str) -> bool {
        self.origins.contains_key(name)
    }
}

/// Where a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag(&'static str),
    /// A line of the file, from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// Nobody said it.
    Default,
}

/// Something wrong with what was said: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Flag(flag) => write!(f, "--{flag}: {}", self.what),
            Origin::File { path, line } => write!(f, "{}:{line}: {}", path.display(), self.what),
            Origin::Default => f.write_str(&self.what),
        }
    }
}

/// Reads the file, where there is one, and the flags.
///
/// # Errors
/// Everything that is wrong, in the order of the file and then of the flags.
pub fn read(file: Option<&Path>, flags: &[(&'static Key, String)]) -> Result<Told, Vec<Problem>> {
    let Some(path) = file else {
        return put_together(Vec::new(), Places::default(), flags, Vec::new());
    };
    let text = text(path).map_err(|what| {
        vec![Problem {
            origin: Origin::Default,
            what: format!("{}: {what}", path.display()),
        }]
    })?;
    read_text(path, &text, flags)
}

/// Reads the text of a file, and the flags. Paths in the file are relative to its folder.
///
/// # Errors
/// As [`read`].
pub fn read_text(path: &Path, text: &str, flags: &[(&'static Key, String)]) -> Result<Told, Vec<Problem>> {
    let mut file = File {
        path,
        text,
        given: Vec::new(),
        places: Places::default(),
        problems: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    match errors.is_empty() {
        true => file.root(table.get_ref()),
        false => {
            for error in errors {
                let span = error.span().unwrap_or_default();
                let what = match text.get(span.clone()) {
                    Some("listen") if error.message().contains("duplicate key") && text[..span.start].ends_with("[[") => {
                        "listen is there twice, as listen = and as [[listen]]; write each place as a [[listen]] with its address = \"…\", \
                         and leave listen = out"
                            .to_owned()
                    }
                    Some(key) if error.message().contains("duplicate key") => {
                        format!("{key:?} is there twice; leave one out")
                    }
                    _ => format!("this is not TOML: {}", error.message()),
                };
                file.problem(span, what);
            }
        }
    }
    put_together(file.given, file.places, flags, file.problems)
}

fn text(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err("is larger than 1 MiB: this is no configuration of the guard".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let right = error.utf8_error().valid_up_to();
        format!("byte {} is not UTF-8; save the file as UTF-8", right + 1)
    })
}

/// A value that was given.
struct Given {
    key: &'static Key,
    value: Value,
    origin: Origin,
}

/// Where clients are answered, as far as the file says.
#[derive(Default)]
struct Places(Vec<Place>);

struct Place {
    address: Option<SocketAddr>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    backlog: Option<u32>,
    origin: Origin,
}

/// The file, as it is read.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    given: Vec<Given>,
    places: Places,
    problems: Vec<Problem>,
}

impl File<'_> {
    fn root(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let word: &str = name.get_ref();
            let section = format!("{word}.");
            if word == "listen" {
                self.listen(value);
            } else if KEYS.iter().any(|key| key.name.starts_with(&section)) {
                self.section(word, value);
            } else {
                self.entry("", name, value);
            }
        }
    }

    fn section(&mut self, section: &str, value: &Spanned<DeValue<'_>>) {
        let DeValue::Table(table) = value.get_ref() else {
            let what = format!("{section} is a table; write [{section}] on a line of its own, and its keys below it");
            return self.problem(value.span(), what);
        };
        for (name, value) in table {
            self.entry(section, name, value);
        }
    }

    /// `name = value`, under `[section]`.
    fn entry(&mut self, section: &str, name: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let word: &str = name.get_ref();
        let full = if section.is_empty() {
            word.to_owned()
        } else {
            format!("{section}.{word}")
        };
        let Some(key) = key(&full) else {
            let what = unknown(section, word);
            return self.problem(name.span(), what);
        };
        let values: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(array) if key.many => array.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            match self.value(key, value) {
                Ok(read) => self.given.push(Given {
                    key,
                    value: read,
                    origin: self.origin(value.span()),
                }),
                Err(what) => self.problem(value.span(), format!("{word}: {what}")),
            }
        }
    }

    fn value(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
        let read = value_of(key.kind, value.get_ref())?;
        let folder = self.path.parent().unwrap_or(Path::new(""));
        match (key.kind, read) {
            (Kind::Path, Value::Text(path)) if path != "-" && path != "off" => {
                Ok(Value::Text(folder.join(path).to_string_lossy().into_owned()))
            }
            (_, read) => Ok(read),
        }
    }

    /// `listen = "…"`, `listen = ["…", …]`, `[listen]` or `[[listen]]`.
    fn listen(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Array(array) => array.iter().for_each(|value| self.place(value)),
            _ => self.place(value),
        }
    }

    fn place(&mut self, value: &Spanned<DeValue<'_>>) {
        let mut place = Place {
            address: None,
            certificate: None,
            key: None,
            backlog: None,
            origin: self.origin(value.span()),
        };
        if let DeValue::Table(table) = value.get_ref() {
            for (name, value) in table {
                let word: &str = name.get_ref();
                let Some(key) = key(&format!("listen.{word}")) else {
                    self.problem(name.span(), unknown("listen", word));
                    continue;
                };
                match self.value(key, value) {
                    Ok(read) => place.set(key.name, read),
                    Err(what) => self.problem(value.span(), format!("{word}: {what}")),
                }
            }
            if table.get("address").is_none() {
                self.problem(
                    value.span(),
                    "a place to listen has no address; write address = \"127.0.0.1:8080\"".to_owned(),
                );
            }
        } else {
            match value_of(Kind::Address, value.get_ref()) {
                Ok(read) => place.set("listen.address", read),
                Err(what) => self.problem(value.span(), format!("listen: {what}")),
            }
        }
        self.places.0.push(place);
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Origin::File {
            path: self.path.to_owned(),
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        }
    }

    fn problem(&mut self, span: Range<usize>, what: String) {
        let origin = self.origin(span);
        self.problems.push(Problem { origin, what });
    }
}

impl Place {
    fn set(&mut self, name: &str, value: Value) {
        match (name, value) {
            ("listen.address", Value::Address(address)) => self.address = Some(address),
            ("listen.certificate", Value::Text(path)) => self.certificate = Some(PathBuf::from(path)),
            ("listen.key", Value::Text(path)) => self.key = Some(PathBuf::from(path)),
            ("listen.backlog", Value::Number(backlog)) => self.backlog = u32::try_from(backlog).ok(),
            _ => {}
        }
    }
}

/// What the file has, as the key's kind.
fn value_of(kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
    let wrong = |found: &str| Err(kind.refusal(found));
    match (kind, value) {
        (Kind::Count { word, .. }, DeValue::String(text)) if word != Some(text.as_ref()) => match text.parse::<u64>() {
            Ok(number) => Err(format!("{text:?} is text; write the number without quotes: {number}")),
            Err(_) => wrong(&format!("{text:?}")),
        },
        (Kind::Bool, DeValue::String(text)) => match text.parse::<bool>() {
            Ok(holds) => Err(format!("{text:?} is text; write {holds} without quotes")),
            Err(_) => Err(format!(
                "{}; write {} without quotes",
                kind.refusal(&format!("{text:?}")),
                meant(text)
            )),
        },
        (_, DeValue::String(text)) => kind.parse(text),
        (Kind::Bool, DeValue::Boolean(holds)) => Ok(Value::Bool(*holds)),
        (Kind::Duration { .. }, DeValue::Integer(number)) => Err(format!(
            "{number} has no unit; write \"{number}s\" if these are seconds"
        )),
        (Kind::Count { .. } | Kind::Size { .. }, DeValue::Integer(number)) => {
            match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => kind.parse(&number.to_string()),
                Err(_) => wrong(number.as_str()),
            }
        }
        (Kind::Choice(_) | Kind::Text, DeValue::Integer(number)) => kind.parse(number.as_str()),
        (Kind::Choice(_), DeValue::Float(number)) => kind.parse(number.as_str()),
        (_, DeValue::Integer(number)) => wrong(number.as_str()),
        (_, DeValue::Float(number)) => wrong(number.as_str()),
        (_, DeValue::Boolean(holds)) => wrong(&holds.to_string()),
        (_, DeValue::Datetime(date)) => wrong(&date.to_string()),
        (_, DeValue::Array(_)) => wrong("a list"),
        (_, DeValue::Table(_)) => wrong("a table"),
    }
}

/// What other files have for true and false.
fn meant(text: &str) -> &'static str {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => "true",
        "false" | "no" | "off" | "0" => "false",
        _ => "true or false",
    }
}

/// What is said of a key that is none.
fn unknown(section: &str, word: &str) -> String {
    let prefix = if section.is_empty() {
        String::new()
    } else {
        format!("{section}.")
    };
    let of_section = |key: &&Key| key.name.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('.'));
    let mut here: Vec<&str> = KEYS
        .iter()
        .filter(of_section)
        .map(|key| &key.name[prefix.len()..])
        .collect();
    if section.is_empty() {
        here.extend(["listen", "client", "upstream", "close", "retry"]);
    }
    let place = if section.is_empty() {
        "outside of a table".to_owned()
    } else {
        format!("in [{section}]")
    };
    if let Some(near) = nearest(word, here.iter().copied()) {
        return format!("there is no key {word:?} {place}; did you mean {near:?}?");
    }
    // The right word in the wrong place.
    let elsewhere = KEYS.iter().find(|key| key.name.rsplit('.').next() == Some(word));
    if let Some((section, word)) = elsewhere.and_then(|key| key.name.split_once('.')) {
        return format!("there is no key {word:?} {place}; there is one in [{section}]");
    }
    if let Some(near) = elsewhere {
        return format!(
            "there is no key {word:?} {place}; it stands outside of a table, before the first [table]: {}",
            near.name
        );
    }
    format!("there is no key {word:?} {place}; there are {}", here.join(", "))
}

/// Flags before the file, and all of it into settings.
fn put_together(
    file: Vec<Given>,
    places: Places,
    flags: &[(&'static Key, String)],
    mut problems: Vec<Problem>,
) -> Result<Told, Vec<Problem>> {
    let mut flagged = Vec::new();
    for (key, text) in flags {
        let origin = Origin::Flag(key.flag);
        match key.kind.parse(text) {
            Ok(value) => flagged.push(Given { key, value, origin }),
            Err(what) => problems.push(Problem { origin, what }),
        }
    }
    let is_flagged = |key: &Key| flagged.iter().any(|given| given.key.name == key.name);
    let mut given: Vec<Given> = file.into_iter().filter(|given| !is_flagged(given.key)).collect();
    let places = flag_places(places, &flagged);
    given.append(&mut flagged);

    let mut told = Told {
        settings: Settings::default(),
        origins: BTreeMap::new(),
    };
    for given in given {
        let origin = given.origin.clone();
        if let Err(what) = (given.key.set)(&mut told.settings, given.value) {
            problems.push(Problem { origin, what });
        }
        told.origins.insert(given.key.name, given.origin);
    }
    for place in places.0 {
        told.origins
            .entry("listen.address")
            .or_insert_with(|| place.origin.clone());
        match listen(place) {
            Ok(Some(place)) => told.settings.config.listen.push(place),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    // What was not understood may be what another part contradicts.
    if problems.is_empty() {
        problems.extend(contradictions(&told));
    }
    match problems.is_empty() {
        true => Ok(told),
        false => Err(problems),
    }
}

/// Places of the command line in place of the file's; a certificate of the command line is for all of them.
fn flag_places(mut places: Places, flagged: &[Given]) -> Places {
    let of = |name: &'static str| flagged.iter().filter(move |given| given.key.name == name);
    if of("listen.address").next().is_some() {
        let place = |given: &Given| {
            let mut place = Place {
                address: None,
                certificate: None,
                key: None,
                backlog: None,
                origin: given.origin.clone(),
            };
            place.set("listen.address", given.value.clone());
            place
        };
        places = Places(of("listen.address").map(place).collect());
    }
    for name in ["listen.certificate", "listen.key", "listen.backlog"] {
        for given in of(name) {
            places
                .0
                .iter_mut()
                .for_each(|place| place.set(name, given.value.clone()));
        }
    }
    places
}

fn listen(place: Place) -> Result<Option<Listen>, Problem> {
    const BACKLOG: u32 = 1024;
    let problem = |what: &str| Problem {
        origin: place.origin.clone(),
        what: what.to_owned(),
    };
    let tls = match (place.certificate, place.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (Some(_), None) => {
            return Err(problem(
                "there is a certificate and no key to it; give the file of its key (key, --key)",
            ));
        }
        (None, Some(_)) => {
            return Err(problem(
                "there is a key and no certificate to it; give its file (certificate, --certificate)",
            ));
        }
    };
    Ok(place.address.map(|address| Listen {
        address,
        tls,
        backlog: place.backlog.unwrap_or(BACKLOG),
    }))
}
