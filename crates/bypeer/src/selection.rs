//! Which connections and findings are asked for.

use std::time::Duration;

use anyhow::{Context, bail};
use bypeer_diagnose::Finding;
use bypeer_report::utc;
use bypeer_wire::conn::Connection;
use bypeer_wire::{Endpoint, Timestamp};
use jiff::tz::TimeZone;

use crate::causes;
use crate::cli::Explain;
use crate::error_line::{self, ErrorLine};
use crate::interfaces::Which;
use crate::moment::Moment;

/// What is asked for; by default everything.
#[derive(Debug, Default)]
pub struct Selection {
    wanted: Option<Wanted>,
    causes: Vec<&'static str>,
    around: Option<(Moment, String)>,
    within: Duration,
    interface: Option<Which>,
}

#[derive(Debug)]
enum Wanted {
    Stream(u32),
    Pair(Endpoint, Endpoint),
    Line(ErrorLine),
}

impl Selection {
    /// What the command line asks for.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn of(arguments: &Explain) -> anyhow::Result<Selection> {
        let mut selection = Selection::default();
        if !(0.0..=1e9).contains(&arguments.within) {
            bail!("--within {}: not a number of seconds", arguments.within);
        }
        selection.within = Duration::from_secs_f64(arguments.within);
        if let Some(which) = &arguments.connection {
            selection.wanted = Some(connection(which)?);
        }
        if let Some(line) = &arguments.error {
            let line = ErrorLine::parse(line).context(
                "--error: the line tells neither an address, nor a time, nor a kind of failure, so it fits every connection; \
                 pick one with --connection, or a time with --around",
            )?;
            selection.wanted = Some(Wanted::Line(line));
        }
        for id in &arguments.cause {
            selection.causes.push(causes::named(id)?.id);
        }
        if let Some(text) = &arguments.around {
            let moment = Moment::parse(text).with_context(|| {
                format!("--around {text}: not a time; write 13:04:05, 2026-01-02T13:04:05Z, or seconds since the epoch")
            })?;
            selection.around = Some((moment, text.clone()));
        }
        selection.interface = arguments.interface.as_deref().map(Which::of);
        Ok(selection)
    }

    /// The only interface whose packets are judged.
    pub(crate) fn interface(&self) -> Option<Which> {
        self.interface.clone()
    }

    /// Whether single connections are asked for, so that it is said of each what became of it.
    pub(crate) fn names_connections(&self) -> bool {
        self.wanted.is_some()
    }

    /// Whether a connection is among those asked for by address, or by an error line without one.
    pub(crate) fn wants(&self, connection: &Connection) -> bool {
        match &self.wanted {
            None => true,
            Some(Wanted::Stream(stream)) => connection.stream == *stream,
            Some(Wanted::Pair(a, b)) => {
                let (client, server) = (connection.client, connection.server);
                (error_line::same(*a, client) && error_line::same(*b, server))
                    || (error_line::same(*a, server) && error_line::same(*b, client))
            }
            Some(Wanted::Line(line)) => {
                // A kind narrows what addresses fit; where it is all there is, it picks.
                let of_kind = || line.kind.is_none_or(|kind| kind.fits(connection));
                line.fits(connection) && (!line.tells_only_a_kind() || of_kind())
            }
        }
    }

    /// Whether a finding is asked for by cause and time.
    pub(crate) fn takes(&self, finding: &Finding) -> bool {
        let cause = self.causes.is_empty()
            || self.causes.contains(&finding.cause.id)
            || finding.rivals.iter().any(|rival| self.causes.contains(&rival.cause.id));
        cause && self.is_around(finding.began(), finding.ended)
    }

    /// Whether a connection's life is near the time asked for.
    pub(crate) fn is_around(&self, opened: Timestamp, ended: Timestamp) -> bool {
        match &self.around {
            None => true,
            Some((moment, _)) => moment.distance(opened, ended, &[TimeZone::system()]) <= self.within,
        }
    }

    /// Says that no connection asked for lived around the time asked for, with the time that the capture covers: a wrong
    /// zone must not look like a capture in which all went well.
    pub(crate) fn nothing_lived_then(&self, first: Timestamp, last: Timestamp) -> String {
        let Some((moment, text)) = &self.around else {
            return String::new();
        };
        let which = if self.names_connections() {
            "none of the connections asked for"
        } else {
            "no connection"
        };
        let zone = match moment {
            Moment::At(_) => "",
            _ => "; a time without a zone is taken in this machine's, and TZ=UTC in the environment sets another",
        };
        format!(
            "{which} lived within {} of {text}: the capture runs from {} to {}{zone}",
            self.window(),
            utc(first),
            utc(last)
        )
    }

    /// Whether an error line tells more than addresses: that narrows what they fit, once all that fits is known.
    pub(crate) fn narrows(&self) -> bool {
        self.line()
            .is_some_and(|line| line.time.is_some() || line.kind.is_some() || !line.paths.is_empty())
    }

    /// How far what the error line tells besides addresses fits a connection. A time in a line seldom has a zone: this
    /// machine's and UTC are both tried.
    pub(crate) fn fit(&self, connection: &Connection) -> Fit {
        let Some(line) = self.line() else {
            return Fit::default();
        };
        let zones = || [TimeZone::system(), TimeZone::UTC];
        let (opened, ended) = (connection.opened.time, connection.ended.time);
        Fit {
            time: line
                .time
                .as_ref()
                .is_none_or(|time| time.distance(opened, ended, &zones()) <= self.within),
            kind: line.kind.is_none_or(|kind| kind.fits(connection)),
            path: line.paths.is_empty() || line.carried(connection),
        }
    }

    /// What a pasted line told, in words.
    pub(crate) fn line(&self) -> Option<&ErrorLine> {
        match &self.wanted {
            Some(Wanted::Line(line)) => Some(line),
            _ => None,
        }
    }

    /// The server end that was asked for by address, for saying what else was seen there.
    pub(crate) fn ends(&self) -> Vec<Endpoint> {
        match &self.wanted {
            Some(Wanted::Pair(a, b)) => vec![*a, *b],
            Some(Wanted::Line(line)) => line.pair.map(|(a, b)| vec![a, b]).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// What is asked for, in words that follow "3 findings"; `None` for everything.
    pub(crate) fn describe(&self) -> Option<String> {
        let mut parts = Vec::new();
        match &self.wanted {
            None => {}
            Some(Wanted::Stream(stream)) => parts.push(format!("of stream {stream}")),
            Some(Wanted::Pair(a, b)) => parts.push(format!("of the connection between {a} and {b}")),
            Some(Wanted::Line(_)) => parts.push("that fit the error line".to_owned()),
        }
        if !self.causes.is_empty() {
            parts.push(format!("of the cause {}", self.causes.join(" or ")));
        }
        if let Some((_, text)) = &self.around {
            parts.push(format!("within {} s of {text}", self.within.as_secs_f64()));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// The time that narrows, in words.
    pub(crate) fn window(&self) -> String {
        format!("{} s", self.within.as_secs_f64())
    }
}

/// What an error line tells besides addresses, and whether it fits a connection; what it does not tell fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fit {
    /// The connection lived near the line's time.
    pub(crate) time: bool,
    /// It can have ended in the line's way.
    pub(crate) kind: bool,
    /// A request on it had the line's path.
    pub(crate) path: bool,
}

impl Fit {
    /// Everything fits.
    pub(crate) fn is_whole(self) -> bool {
        self.time && self.kind && self.path
    }

    /// What either fits: connections that used the same addresses one after the other can share a stream.
    pub(crate) fn or(self, other: Fit) -> Fit {
        Fit {
            time: self.time || other.time,
            kind: self.kind || other.kind,
            path: self.path || other.path,
        }
    }
}

/// Reads `--connection`.
fn connection(which: &str) -> anyhow::Result<Wanted> {
    if let Ok(stream) = which.trim().parse() {
        return Ok(Wanted::Stream(stream));
    }
    let pair = || {
        let (a, b) = which.split_once("->").or_else(|| which.split_once('-'))?;
        Some(Wanted::Pair(
            error_line::endpoint(a.trim())?,
            error_line::endpoint(b.trim())?,
        ))
    };
    pair().with_context(|| {
        format!("--connection {which}: neither a tcp.stream number nor two ends such as 10.0.0.7:49802-10.0.0.9:8765")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn connections_as_one_names_them() {
        let pair = |which: &str| match connection(which).unwrap() {
            Wanted::Pair(a, b) => format!("{a} {b}"),
            other => panic!("{other:?}"),
        };
        assert!(matches!(connection("17").unwrap(), Wanted::Stream(17)));
        assert_eq!(pair("10.0.0.7:1-10.0.0.9:2"), "10.0.0.7:1 10.0.0.9:2");
        assert_eq!(pair("[::1]:1 -> [2001:db8::9]:2"), "[::1]:1 [2001:db8::9]:2");
        for bad in ["", "-1", "10.0.0.7-10.0.0.9", "a:1-b:2", "10.0.0.7:1"] {
            assert!(connection(bad).is_err(), "{bad:?}");
        }
    }
}
