//! What the user says of a hop: `NAME[@VERSION][:FILE[#PART]][=IDLE[/POOL]]`, or a URL to measure.

use std::time::Duration;

use bypeer_diagnose::facts::Repeats;

use crate::hop::Limit;
use crate::time::{Unit, parse};

/// A hop as it was asked for; nothing has been looked up or read yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Its name: a product's, or any other.
    pub name: String,
    /// The product, where that is not the name.
    pub product: Option<String>,
    /// The product's version.
    pub version: Option<String>,
    /// The configuration file to read.
    pub file: Option<String>,
    /// Which part of it.
    pub part: Option<String>,
    /// Options of its command line.
    pub flags: Option<String>,
    /// Where to measure it.
    pub url: Option<String>,
    /// The limits that were given.
    pub limits: Limits,
    /// It announces its idle limit, with this time; `Some` of `None`: it announces none.
    pub announces: Option<Option<Duration>>,
    /// It says `close` in the last response.
    pub says_close: Option<bool>,
    /// It follows the other end's `Keep-Alive: timeout=`.
    pub honours: Option<bool>,
    /// It sees that the other end closed.
    pub checks: Option<bool>,
    /// Which requests it repeats.
    pub repeats: Option<Repeats>,
    /// Requests on a connection that it accepted.
    pub max_requests: Option<u64>,
    /// Requests on one that it opened.
    pub pool_max_requests: Option<u64>,
    /// Age of a connection that it accepted.
    pub lifetime: Option<Duration>,
    /// Age of one that it opened.
    pub pool_lifetime: Option<Duration>,
    /// How long it waits for a response.
    pub waits: Option<Duration>,
    /// Round trip to the next hop.
    pub round_trip: Option<Duration>,
}

/// The idle limits of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limits {
    /// None were given.
    #[default]
    Unsaid,
    /// One number: of a first hop its pool's, of others for connections that they accepted.
    One(Limit),
    /// Both, each of which may be unknown.
    Both {
        /// Of connections that it accepted.
        idle: Option<Limit>,
        /// Of those that it opened.
        pool: Option<Limit>,
    },
}

/// A hop that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no name before `=`, `@` or `:`.
    #[error("{0:?}: a hop begins with its name, as in nginx=75/60")]
    NoName(String),
    /// The name has characters that a name has not.
    #[error("{0:?}: a name is made of letters, digits, '-', '_' and '.'; a file comes after ':', limits after '='")]
    BadName(String),
    /// Nothing after `@`.
    #[error("{0:?}: a version comes after '@', as in nginx@1.28")]
    NoVersion(String),
    /// Nothing after `:`.
    #[error("{0:?}: a configuration file comes after ':', as in nginx:/etc/nginx/nginx.conf")]
    NoFile(String),
    /// What comes after `=` are no limits.
    #[error(
        "{hop:?}: {text:?} is no idle limit; write IDLE or IDLE/POOL, each a time (75, 500ms, 2m, 1h), `never`, `close` or `?`"
    )]
    BadLimits {
        /// The whole hop.
        hop: String,
        /// What is no limit.
        text: String,
    },
}

impl Request {
    /// Reads a hop as it stands on the command line.
    pub fn parse(text: &str) -> Result<Request, RequestError> {
        if is_url(text) {
            return Ok(Request {
                name: authority(text).to_owned(),
                url: Some(text.to_owned()),
                ..Request::default()
            });
        }
        let end = text.find(['@', ':', '=']).unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        let whole = || text.to_owned();
        if name.is_empty() {
            return Err(RequestError::NoName(whole()));
        }
        if !name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) {
            return Err(RequestError::BadName(whole()));
        }
        let mut request = Request {
            name: name.to_owned(),
            ..Request::default()
        };
        if let Some(after) = rest.strip_prefix('@') {
            let end = after.find([':', '=']).unwrap_or(after.len());
            let (version, after) = after.split_at(end);
            if version.is_empty() {
                return Err(RequestError::NoVersion(whole()));
            }
            request.version = Some(version.to_owned());
            rest = after;
        }
        let mut values = rest.strip_prefix('=');
        if let Some(after) = rest.strip_prefix(':') {
            let (file, limits) = file_and_values(after);
            let (file, part) = file
                .split_once('#')
                .map_or((file, None), |(file, part)| (file, Some(part)));
            if file.is_empty() {
                return Err(RequestError::NoFile(whole()));
            }
            request.file = Some(file.to_owned());
            request.part = part.filter(|part| !part.is_empty()).map(str::to_owned);
            values = limits;
        }
        match values {
            None => {}
            Some(url) if is_url(url) => request.url = Some(url.to_owned()),
            Some(flags) if flags.starts_with('-') => request.flags = Some(flags.to_owned()),
            Some(limits) => {
                request.limits = parse_limits(limits).ok_or_else(|| RequestError::BadLimits {
                    hop: whole(),
                    text: limits.to_owned(),
                })?;
            }
        }
        Ok(request)
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Host and port of a URL, without a user's name and password.
fn authority(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    after[..end].rsplit('@').next().unwrap_or_default()
}

/// A file's name may hold `=`: what stands behind the last one counts when it can be limits, and `=-` begins options.
fn file_and_values(text: &str) -> (&str, Option<&str>) {
    if let Some((file, _)) = text.split_once("=-") {
        return (file, Some(&text[file.len() + 1..]));
    }
    match text.rsplit_once('=') {
        Some((file, values)) if parse_limits(values).is_some() => (file, Some(values)),
        _ => (text, None),
    }
}

fn parse_limits(text: &str) -> Option<Limits> {
    match text.split_once('/') {
        None if text.is_empty() => None,
        None => match parse_limit(text)? {
            Some(limit) => Some(Limits::One(limit)),
            None => Some(Limits::Both { idle: None, pool: None }),
        },
        Some((idle, pool)) => Some(Limits::Both {
            idle: parse_limit(idle)?,
            pool: parse_limit(pool)?,
        }),
    }
}

/// One limit; `Some` of `None`: said to be unknown.
pub(crate) fn parse_limit(text: &str) -> Option<Option<Limit>> {
    let limit = match text {
        "" | "?" => None,
        "never" | "none" | "unlimited" => Some(Limit::Never),
        "close" | "0" => Some(Limit::AtOnce),
        times => {
            let (earliest, latest) = times.split_once("..").unwrap_or((times, times));
            let (earliest, latest) = (parse(earliest, Unit::Seconds)?, parse(latest, Unit::Seconds)?);
            if latest < earliest {
                return None;
            }
            Some(if latest.is_zero() {
                Limit::AtOnce
            } else {
                Limit::After { earliest, latest }
            })
        }
    };
    Some(limit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Limit {
        Limit::exactly(Duration::from_secs(number))
    }

    #[test]
    fn hops_are_read_as_they_are_written() {
        let read = |text| Request::parse(text).unwrap();
        assert_eq!(read("client=90").limits, Limits::One(seconds(90)));
        let nginx = read("nginx@1.28=75/500ms");
        assert_eq!((nginx.name.as_str(), nginx.version.as_deref()), ("nginx", Some("1.28")));
        let pool = Some(Limit::exactly(Duration::from_millis(500)));
        assert_eq!(
            nginx.limits,
            Limits::Both {
                idle: Some(seconds(75)),
                pool
            }
        );
        assert_eq!(
            read("proxy=60/?").limits,
            Limits::Both {
                idle: Some(seconds(60)),
                pool: None
            }
        );
        assert_eq!(
            read("a=close/never").limits,
            Limits::Both {
                idle: Some(Limit::AtOnce),
                pool: Some(Limit::Never)
            }
        );
        let after = Limit::After {
            earliest: Duration::from_secs(2),
            latest: Duration::from_secs(3),
        };
        assert_eq!(read("g=2..3").limits, Limits::One(after));
        assert_eq!(read("go").limits, Limits::Unsaid);
    }

    #[test]
    fn files_parts_flags_and_addresses() {
        let read = |text| Request::parse(text).unwrap();
        let nginx = read("nginx@1.22:/etc/nginx/nginx.conf#example.com/api=75/60");
        assert_eq!(nginx.file.as_deref(), Some("/etc/nginx/nginx.conf"));
        assert_eq!(nginx.part.as_deref(), Some("example.com/api"));
        assert_ne!(nginx.limits, Limits::Unsaid);
        assert_eq!(read("nginx:a=b.conf").file.as_deref(), Some("a=b.conf"));
        let flags = read("gunicorn=--keep-alive=75 -k gthread");
        assert_eq!(flags.flags.as_deref(), Some("--keep-alive=75 -k gthread"));
        let both = read("gunicorn:gunicorn.conf.py=--threads 4");
        assert_eq!(
            (both.file.as_deref(), both.flags.as_deref()),
            (Some("gunicorn.conf.py"), Some("--threads 4"))
        );
        let url = read("http://me:secret@127.0.0.1:8000/path?a=b");
        assert_eq!((url.name.as_str(), url.url.is_some()), ("127.0.0.1:8000", true));
        assert_eq!(
            read("app=http://[::1]:8000/").url.as_deref(),
            Some("http://[::1]:8000/")
        );
    }

    #[test]
    fn what_is_no_hop_is_said() {
        for bad in [
            "",
            "=5",
            "@1",
            ":f",
            "a b=5",
            "a=5s5x",
            "a=5/6/7",
            "a=",
            "a@=5",
            "a:",
            "a:#x",
            "a=3..2",
            "a=forever",
        ] {
            let parsed = Request::parse(bad);
            assert!(parsed.is_err(), "{bad}: {parsed:?}");
        }
        let error = Request::parse("nginx=soon").unwrap_err().to_string();
        assert!(error.contains("\"soon\"") && error.contains("IDLE/POOL"), "{error}");
    }

    #[test]
    fn every_beginning_of_a_hop_is_read_or_refused() {
        for text in [
            "nginx@1.22:/etc/nginx.conf#a/b=75s/60ms",
            "http://u@h:1/p",
            "g=--keep-alive 2 ✓",
            "µ@é:ü#ö=1.5..2h",
        ] {
            for (at, _) in text.char_indices() {
                let _ = Request::parse(&text[..at]);
                let _ = Request::parse(&text[at..]);
            }
        }
    }
}
