//! A hop: what it does with connections that it accepted, and with those that it opened. Each value knows where it is from.

use std::time::Duration;

use bypeer_diagnose::facts::{Parameter, Repeats, Software, Version};

use crate::time::words;

/// One hop of a chain.
#[derive(Clone, Debug, Default)]
pub struct Hop {
    /// What the user calls it.
    pub name: String,
    /// What it is, if that is known.
    pub software: Option<&'static Software>,
    /// Its version, if that was given.
    pub version: Option<Version>,
    /// Which part of its configuration was taken: `server app.example.com, location /`.
    pub part: Option<String>,
    /// What it does as the one that accepts.
    pub accepts: Accepts,
    /// What it does as the one that opens.
    pub opens: Opens,
    /// Round trip to the next hop.
    pub round_trip: Option<Duration>,
    /// What was not understood, or was assumed.
    pub notes: Vec<Note>,
}

/// What a hop does with connections that it accepted. `None`: not known.
#[derive(Clone, Debug, Default)]
pub struct Accepts {
    /// How long they may be idle before it closes them.
    pub idle: Option<Told<Limit>>,
    /// It says `Keep-Alive: timeout=` with this time; `Some` of `None`: it says nothing of the kind.
    pub announces_idle: Option<Told<Option<Duration>>>,
    /// It says `Connection: close` in the last response before it closes on its own count.
    pub announces_close: Option<Told<bool>>,
    /// How many requests one carries; `Some` of `None`: no limit.
    pub max_requests: Option<Told<Option<u64>>>,
    /// How old one becomes; `Some` of `None`: no limit.
    pub lifetime: Option<Told<Option<Duration>>>,
}

/// What a hop does with connections that it opened. `None`: not known.
#[derive(Clone, Debug, Default)]
pub struct Opens {
    /// How long they may be idle and are still used again.
    pub pool: Option<Told<Limit>>,
    /// It gives a connection up within the time that the other end announced.
    pub honours_idle: Option<Told<bool>>,
    /// It sees that the other end closed before it uses a connection again.
    pub checks: Option<Told<bool>>,
    /// Which requests it repeats when a connection that it used again turns out to be closed.
    pub repeats: Option<Told<Repeats>>,
    /// How many requests it sends over one; `Some` of `None`: no limit.
    pub max_requests: Option<Told<Option<u64>>>,
    /// How old one becomes; `Some` of `None`: no limit.
    pub lifetime: Option<Told<Option<Duration>>>,
    /// How long it waits for a response; `Some` of `None`: for ever.
    pub waits: Option<Told<Option<Duration>>>,
}

/// How long a connection may be idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It is closed between these times. Invariant: `earliest <= latest`.
    After {
        /// It may be closed so early.
        earliest: Duration,
        /// It is closed by then.
        latest: Duration,
    },
    /// It is kept until the other end closes.
    Never,
    /// It is not kept: one request, and it is closed.
    AtOnce,
}

/// A value, and where it is from.
#[derive(Clone, Debug, PartialEq)]
pub struct Told<T> {
    /// The value.
    pub value: T,
    /// Where it is from.
    pub origin: Origin,
    /// What it would be in versions that it may be, as ("before 26", the value): the version is not known.
    pub otherwise: Vec<(String, T)>,
}

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Given,
    /// A line of a configuration file.
    File {
        /// Its name.
        file: String,
        /// The line, from 1.
        line: u32,
    },
    /// The product's default.
    Default {
        /// Where the default was read.
        source: &'static str,
        /// It was read there, or measured; false: from memory.
        verified: bool,
        /// What else there is to know.
        note: Option<&'static str>,
    },
    /// Follows from the configuration as a whole.
    Follows(String),
    /// It was measured.
    Measured(String),
}

/// Something that the reader must know about how a hop was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where: a file and its line from 1; 0 for the whole file.
    pub place: Option<(String, u32)>,
    /// What kind of note.
    pub kind: NoteKind,
    /// What there is to say.
    pub text: String,
    /// What is not known because of it: the product's default does not hold.
    pub about: Option<Parameter>,
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteKind {
    /// Something in a file bears on the answer and was not understood.
    NotUnderstood,
    /// Something was taken to be so.
    Assumed,
    /// Something of the product that is good to know here.
    Known,
}

impl Limit {
    /// Exactly so long.
    pub fn exactly(time: Duration) -> Limit {
        Limit::After {
            earliest: time,
            latest: time,
        }
    }

    /// As people say it.
    pub fn words(self) -> String {
        match self {
            Limit::After { earliest, latest } if earliest == latest => words(earliest),
            Limit::After { earliest, latest } => {
                let (low, high) = (words(earliest), words(latest));
                match (low.split_once(' '), high.split_once(' ')) {
                    (Some((number, unit)), Some((_, same))) if unit == same => format!("{number}–{high}"),
                    _ => format!("{low} to {high}"),
                }
            }
            Limit::Never => "no limit".to_owned(),
            Limit::AtOnce => "not kept".to_owned(),
        }
    }
}

impl<T> Told<T> {
    /// A value from somewhere, the same in all versions.
    pub fn new(value: T, origin: Origin) -> Told<T> {
        Told {
            value,
            origin,
            otherwise: Vec::new(),
        }
    }

    /// From the command line.
    pub fn given(value: T) -> Told<T> {
        Told::new(value, Origin::Given)
    }

    /// From a line of a file.
    pub fn at(value: T, file: &str, line: u32) -> Told<T> {
        let file = file.to_owned();
        Told::new(value, Origin::File { file, line })
    }

    /// Another value from the same place.
    pub fn map<U>(&self, change: impl Fn(&T) -> U) -> Told<U> {
        Told {
            value: change(&self.value),
            origin: self.origin.clone(),
            otherwise: self
                .otherwise
                .iter()
                .map(|(when, value)| (when.clone(), change(value)))
                .collect(),
        }
    }
}

impl Note {
    /// What was not understood in a file.
    pub fn not_understood(file: &str, line: u32, text: impl Into<String>) -> Note {
        Note {
            place: Some((file.to_owned(), line)),
            kind: NoteKind::NotUnderstood,
            text: text.into(),
            about: None,
        }
    }

    /// What was taken to be so, because of a line of a file.
    pub fn assumed(file: &str, line: u32, text: impl Into<String>) -> Note {
        Note {
            place: Some((file.to_owned(), line)),
            kind: NoteKind::Assumed,
            text: text.into(),
            about: None,
        }
    }

    /// What is good to know.
    pub fn known(text: impl Into<String>) -> Note {
        Note {
            place: None,
            kind: NoteKind::Known,
            text: text.into(),
            about: None,
        }
    }

    /// Because of it this is not known.
    pub fn about(self, parameter: Parameter) -> Note {
        Note {
            about: Some(parameter),
            ..self
        }
    }

    /// With its place in front.
    pub fn words(&self) -> String {
        match &self.place {
            Some((file, 0)) => format!("{file}: {}", self.text),
            Some((file, line)) => format!("{file}:{line}: {}", self.text),
            None => self.text.clone(),
        }
    }
}

impl Hop {
    /// What facts call it, or what the user does.
    pub fn product(&self) -> &str {
        self.software.map_or(&self.name, |software| &software.id)
    }

    /// As [`Hop::product`], for what concerns connections that it opened: Apache's proxy has facts of its own.
    pub fn product_as_opener(&self) -> &str {
        match self.product() {
            "apache" => "apache-proxy",
            product => product,
        }
    }
}
