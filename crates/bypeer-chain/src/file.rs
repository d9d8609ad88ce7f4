//! A chain in a file, in TOML.

use std::time::Duration;

use bypeer_diagnose::facts::Repeats;
use serde::Deserialize;

use crate::request::{Limits, Request, parse_limit};
use crate::time::{Unit, parse};

/// A file with a chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChainFile {
    /// The hops, from the client to the last server.
    pub hops: Vec<Request>,
    /// Requests a second, over all connections.
    pub rate: Option<f64>,
    /// How many connections share them.
    pub connections: Option<f64>,
    /// Round trip between hops that do not say their own.
    pub round_trip: Option<Duration>,
}

/// A file that is no chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFileError {
    /// It is not TOML, or has a key that is not known.
    #[error("{0}")]
    Toml(String),
    /// A hop's value cannot be understood.
    #[error("hop {name:?}: {key} = {value:?} {wanted}")]
    Value {
        /// The hop.
        name: String,
        /// The key.
        key: &'static str,
        /// What stands there.
        value: String,
        /// What should.
        wanted: &'static str,
    },
    /// There are no hops.
    #[error("no [[hop]] in it; a chain has at least two")]
    Empty,
}

impl ChainFile {
    /// Reads it.
    pub fn parse(text: &str) -> Result<ChainFile, ChainFileError> {
        let table: Table =
            toml::from_str(text).map_err(|error| ChainFileError::Toml(error.to_string().trim().to_owned()))?;
        if table.hop.is_empty() {
            return Err(ChainFileError::Empty);
        }
        Ok(ChainFile {
            hops: table.hop.into_iter().map(Row::request).collect::<Result<_, _>>()?,
            rate: table.rate,
            connections: table.connections,
            round_trip: time("chain", "round_trip", table.round_trip)?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    rate: Option<f64>,
    connections: Option<f64>,
    round_trip: Option<Text>,
    #[serde(default)]
    hop: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    is: Option<String>,
    version: Option<Text>,
    idle: Option<Text>,
    pool: Option<Text>,
    config: Option<String>,
    part: Option<String>,
    flags: Option<String>,
    url: Option<String>,
    announces: Option<Text>,
    says_close: Option<bool>,
    honours: Option<bool>,
    checks: Option<bool>,
    repeats: Option<Repeats>,
    max_requests: Option<u64>,
    pool_max_requests: Option<u64>,
    lifetime: Option<Text>,
    pool_lifetime: Option<Text>,
    waits: Option<Text>,
    round_trip: Option<Text>,
}

/// A string, a number or `false`, as one writes times and versions.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    String(String),
    Integer(u64),
    Float(f64),
    Bool(bool),
}

impl Text {
    fn text(self) -> String {
        match self {
            Text::String(text) => text,
            Text::Integer(number) => number.to_string(),
            Text::Float(number) => number.to_string(),
            Text::Bool(holds) => holds.to_string(),
        }
    }
}

impl Row {
    fn request(self) -> Result<Request, ChainFileError> {
        let name = self.name;
        let limit = |key, value: Option<Text>| match value.map(Text::text) {
            None => Ok(None),
            Some(value) => parse_limit(&value).ok_or_else(|| ChainFileError::Value {
                name: name.clone(),
                key,
                value,
                wanted: "is no limit: a time (75, \"500ms\", \"2m\"), \"never\", \"close\" or \"?\"",
            }),
        };
        let limits = match (limit("idle", self.idle)?, limit("pool", self.pool)?) {
            (None, None) => Limits::Unsaid,
            (idle, pool) => Limits::Both { idle, pool },
        };
        let announces = match self.announces.map(Text::text).as_deref() {
            None => None,
            Some("false") => Some(None),
            Some(value) => Some(time(&name, "announces", Some(Text::String(value.to_owned())))?),
        };
        Ok(Request {
            product: self.is,
            version: self.version.map(Text::text),
            file: self.config,
            part: self.part,
            flags: self.flags,
            url: self.url,
            limits,
            announces,
            says_close: self.says_close,
            honours: self.honours,
            checks: self.checks,
            repeats: self.repeats,
            max_requests: self.max_requests,
            pool_max_requests: self.pool_max_requests,
            lifetime: time(&name, "lifetime", self.lifetime)?,
            pool_lifetime: time(&name, "pool_lifetime", self.pool_lifetime)?,
            waits: time(&name, "waits", self.waits)?,
            round_trip: time(&name, "round_trip", self.round_trip)?,
            name,
        })
    }
}

fn time(name: &str, key: &'static str, value: Option<Text>) -> Result<Option<Duration>, ChainFileError> {
    let Some(value) = value.map(Text::text) else {
        return Ok(None);
    };
    match parse(&value, Unit::Seconds) {
        Some(time) => Ok(Some(time)),
        None => Err(ChainFileError::Value {
            name: name.to_owned(),
            key,
            value,
            wanted: "is no time: write 75, \"500ms\" or \"2m\"",
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::hop::Limit;

    const EXAMPLE: &str = "rate = 50\nconnections = 20\nround_trip = \"2ms\"\n\n[[hop]]\nname = \"client\"\npool = 90\nrepeats = \"safe\"\n\n\
        [[hop]]\nname = \"edge\"\nis = \"nginx\"\nversion = 1.28\nidle = \"75s\"\npool = \"1m\"\nround_trip = \"20ms\"\n\n\
        [[hop]]\nname = \"app\"\nidle = 2\nannounces = false\nsays_close = true\nmax_requests = 1000\nwaits = \"30s\"\n";

    #[test]
    fn a_chain_is_read() {
        let chain = ChainFile::parse(EXAMPLE).unwrap();
        assert_eq!((chain.rate, chain.connections), (Some(50.0), Some(20.0)));
        assert_eq!(chain.round_trip, Some(Duration::from_millis(2)));
        let [client, edge, app] = chain.hops.as_slice() else {
            panic!("{:?}", chain.hops)
        };
        let pool = Some(Limit::exactly(Duration::from_secs(90)));
        assert_eq!(client.limits, Limits::Both { idle: None, pool });
        assert_eq!(client.repeats, Some(Repeats::Safe));
        assert_eq!(
            (edge.product.as_deref(), edge.version.as_deref()),
            (Some("nginx"), Some("1.28"))
        );
        assert_eq!(edge.round_trip, Some(Duration::from_millis(20)));
        assert_eq!(
            (app.announces, app.says_close, app.max_requests),
            (Some(None), Some(true), Some(1000))
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = |text| ChainFile::parse(text).unwrap_err().to_string();
        assert!(error("[[hop]]\nname = \"a\"\nidel = 5\n").contains("idel"));
        assert!(error("[[hop]]\nname = \"a\"\nidle = \"soon\"\n").contains("hop \"a\": idle = \"soon\""));
        assert!(error("rate = 5\n").contains("no [[hop]]"));
        assert!(error("[[hop]\n").contains("line 1"), "{}", error("[[hop]\n"));
    }

    #[test]
    fn every_beginning_of_a_file_is_read_or_refused() {
        for end in 0..EXAMPLE.len() {
            let _ = ChainFile::parse(&EXAMPLE[..end]);
        }
    }
}
