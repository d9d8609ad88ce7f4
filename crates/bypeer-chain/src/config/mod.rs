//! Configuration files of products → what they say of idle limits. One product a file.
//!
//! A reader takes what bears on the chain, says with its line what it did not understand of that, and leaves out the rest: what
//! a file does not say stays `None` and becomes the product's default later.

mod apache;
mod envoy;
mod gunicorn;
mod haproxy;
mod haproxy_syntax;
mod ingress_nginx;
mod lines;
mod nginx;
mod nginx_syntax;
mod yaml;

use bypeer_diagnose::facts::Version;

use crate::assemble::Files;
use crate::hop::{Accepts, Note, Opens};
use crate::request::Request;

/// Largest configuration file that is read, bytes.
pub const MAX_FILE: usize = 8 << 20;
/// Most files that one configuration may include.
const MAX_FILES: usize = 1_000;
/// Deepest nesting of includes and of blocks.
const MAX_DEPTH: usize = 64;
/// Most that all included files together may have, bytes.
const MAX_TOTAL: usize = 4 * MAX_FILE;
/// Most notes that are kept of one configuration.
const MAX_NOTES: usize = 50;

/// What a configuration says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    pub accepts: Accepts,
    pub opens: Opens,
    /// Which part of the configuration it is.
    pub part: Option<String>,
    pub notes: Vec<Note>,
}

/// Reads what a request names: a file, options of a command line, or both. The error is a line for people.
pub(crate) fn read(
    kind: &str,
    request: &Request,
    version: Option<&Version>,
    files: &dyn Files,
) -> Result<Read, String> {
    let part = request.part.as_deref();
    let mut read = match (kind, &request.file, &request.flags) {
        ("gunicorn", file, flags) => gunicorn::read(file.as_deref(), flags.as_deref(), files)?,
        (_, None, Some(_)) => return Err("bypeer reads the command line of gunicorn only".to_owned()),
        ("nginx", Some(file), None) => nginx::read(file, part, version, files)?,
        ("haproxy", Some(file), None) => haproxy::read(file, part, files)?,
        ("envoy", Some(file), None) => envoy::read(file, part, files)?,
        ("apache" | "apache-proxy", Some(file), None) => apache::read(file, part, files)?,
        ("ingress-nginx", Some(file), None) => ingress_nginx::read(file, part, files)?,
        (_, Some(_), _) => {
            return Err(format!(
                "bypeer does not read configuration files of {kind}; it reads those of nginx, haproxy, envoy, apache, gunicorn and \
                 ingress-nginx. Give its limits instead, as in {}=60/30",
                request.name
            ));
        }
        (_, None, None) => Read::default(),
    };
    let more = read.notes.len().saturating_sub(MAX_NOTES);
    if more > 0 {
        read.notes.truncate(MAX_NOTES);
        read.notes.push(Note::known(format!("and {more} more such lines")));
    }
    Ok(read)
}

/// One file, no larger than it may be.
fn read_file(files: &dyn Files, path: &str) -> Result<String, String> {
    let text = files.read(path).map_err(|error| format!("{path}: {error}"))?;
    if text.len() > MAX_FILE {
        return Err(format!(
            "{path}: has {} bytes; more than {MAX_FILE} are not read",
            text.len()
        ));
    }
    Ok(text)
}

/// A path as a configuration means it: relative to a folder.
fn relative_to(folder: &str, path: &str) -> String {
    match folder {
        _ if path.starts_with('/') => path.to_owned(),
        "" => path.to_owned(),
        folder => format!("{}/{path}", folder.trim_end_matches('/')),
    }
}

/// The folder that a file is in; empty for the current one.
fn folder_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => "",
    }
}

/// A configuration with several parts that differ, of which one must be chosen.
fn ambiguous(file: &str, product: &str, choices: &[(String, String)]) -> String {
    let shown: Vec<String> = choices
        .iter()
        .take(12)
        .map(|(part, what)| format!("#{part} ({what})"))
        .collect();
    let more = match choices.len().saturating_sub(12) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{file} has parts that differ: {}{more}; name one, as in {product}:{file}#{}",
        shown.join(", "),
        choices.first().map_or("", |(part, _)| part)
    )
}
