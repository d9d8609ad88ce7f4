//! Which product answers, and which stands in front of it, from what a response shows.

use super::software::{SOFTWARE, Software, named};
use super::version::Version;

/// What was seen of a server's responses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs<'a> {
    /// The fields of a response's head, in their order and with their names' letters as they were sent.
    pub fields: &'a [(&'a str, &'a str)],
    /// Status of that response.
    pub status: Option<u16>,
    /// The beginning of its body; of use with an error answer that the server itself made.
    pub body: &'a [u8],
}

/// A product that was recognised.
#[derive(Clone, Debug)]
pub struct Recognised {
    /// Which.
    pub software: &'static Software,
    /// Its version, if it says so.
    pub version: Option<Version>,
    /// What showed it, for people: "Server: nginx/1.22.1".
    pub why: String,
    /// How sure that is.
    pub sure: Sure,
    /// Where it stands.
    pub place: Place,
}

/// How sure a product is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sure {
    /// Others look the same.
    Perhaps,
    /// It has marks that no other known product has.
    Marked,
    /// It says so itself. A name can be changed, and can lie.
    Named,
}

/// Where a recognised product stands on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// It is the one that closes the connection, as far as can be seen.
    Front,
    /// Another stands in front of it: its limits are not those that a client sees.
    Behind,
}

/// The products that a response shows: those in front first, the surer first. Empty: unknown.
pub fn recognise(signs: &Signs<'_>) -> Vec<Recognised> {
    let server = signs
        .fields
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("server"))
        .map(|(_, value)| value.trim());
    let found = server.and_then(|server| named(server, |row| &row.server_header).map(|found| (server, found)));
    let found = found.map(|(server, (software, len))| Recognised {
        software,
        version: server
            .get(len..)
            .and_then(|rest| Version::parse(rest.trim_start_matches('/'))),
        why: format!("Server: {server}"),
        sure: Sure::Named,
        place: Place::Front,
    });
    debug_assert!(!SOFTWARE.is_empty());
    found.into_iter().collect()
}
