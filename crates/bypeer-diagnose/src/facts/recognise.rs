//! Which product answers, and which stands in front of it, from what a response shows.

use std::collections::BTreeMap;

use super::software::{SOFTWARE, Software, named};
use super::version::Version;

/// What was seen of a server's response.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs<'a> {
    /// The fields of the response's head, in their order and with their names' letters as they were sent.
    pub fields: &'a [(&'a str, &'a str)],
    /// Its status, if known.
    pub status: Option<u16>,
    /// The beginning of its body; of most use with an error answer that the server itself made.
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

/// How sure a product is recognised. None of these is certain: a name can be changed, a page can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sure {
    /// Others look the same.
    Perhaps,
    /// It has marks that no other known product has.
    Marked,
    /// It says so itself.
    Named,
}

/// Where a recognised product stands on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// It is the one that closes the connection, as far as can be seen.
    Front,
    /// Another stands in front of it: its limits are not those that a client sees.
    Behind,
}

/// What shows a product; all of it must hold.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Mark {
    /// For people.
    why: String,
    sure: Option<Sure>,
    /// It speaks as a proxy, or from the application's side; without it as whoever answers.
    place: Option<Place>,
    /// It is on answers of 4xx and 5xx only.
    error: bool,
    /// Names of fields that are there.
    fields: Vec<String>,
    /// Names of fields that are not.
    absent: Vec<String>,
    /// Field names, and what their value holds.
    values: BTreeMap<String, String>,
    /// Field names in these very letters.
    exact: Vec<String>,
    /// Field names in these very letters that follow each other at once.
    order: Vec<String>,
    /// What the body holds.
    body: Vec<String>,
    /// What it does not hold.
    absent_body: Vec<String>,
    /// Words in the body that the version follows.
    version_after: Option<String>,
}

/// The products that a response shows: those in front first, of these the surer first. Empty: unknown.
pub fn recognise(signs: &Signs<'_>) -> Vec<Recognised> {
    let mut claims: Vec<Claim> = signs.name_itself().into_iter().collect();
    for software in SOFTWARE.iter() {
        for mark in software.marks.iter().filter(|mark| mark.holds(signs)) {
            claims.push(Claim {
                software,
                version: mark.version(signs),
                why: mark.why.clone(),
                sure: mark.sure.unwrap_or(Sure::Perhaps),
                place: mark.place,
            });
        }
    }
    let claims = without_insides(merged(claims));
    placed(claims)
}

/// What one mark, or the field `Server`, says.
struct Claim {
    software: &'static Software,
    version: Option<Version>,
    why: String,
    sure: Sure,
    place: Option<Place>,
}

/// One claim for each product: what several say adds up.
fn merged(claims: Vec<Claim>) -> Vec<Claim> {
    let mut merged: Vec<Claim> = Vec::new();
    for claim in claims {
        match merged.iter_mut().find(|known| known.software.id == claim.software.id) {
            Some(known) => {
                if !known.why.contains(&claim.why) {
                    known.why = format!("{}; {}", known.why, claim.why);
                }
                known.version = known.version.take().or(claim.version);
                known.sure = known.sure.max(claim.sure);
                known.place = known.place.or(claim.place);
            }
            None => merged.push(claim),
        }
    }
    merged
}

/// Express is Node, too; it is enough to say Express.
fn without_insides(claims: Vec<Claim>) -> Vec<Claim> {
    let outer: Vec<&'static Software> = claims.iter().map(|claim| claim.software).collect();
    let is_inside = |claim: &Claim| {
        outer
            .iter()
            .any(|other| other.and_inside().skip(1).any(|inner| inner.id == claim.software.id))
    };
    claims.into_iter().filter(|claim| !is_inside(claim)).collect()
}

/// Says who is in front. A proxy's own marks put it there; then whatever else was found is behind it. Otherwise it is whoever
/// names itself, before whoever is only marked.
fn placed(mut claims: Vec<Claim>) -> Vec<Recognised> {
    claims.sort_by_key(|claim| (claim.place == Some(Place::Behind), std::cmp::Reverse(claim.sure)));
    let is_proxy = |claim: &Claim| claim.place == Some(Place::Front) && claim.sure > Sure::Perhaps;
    let has_proxy = claims.iter().any(is_proxy);
    // What may be of many helps only where nothing better is known of that side.
    let knows_front = claims
        .iter()
        .any(|claim| claim.place != Some(Place::Behind) && claim.sure > Sure::Perhaps);
    let is_idle_guess =
        |claim: &Claim| claim.sure == Sure::Perhaps && claim.place.is_none() && (knows_front || has_proxy);
    // X-Powered-By: PHP may be said by anything that speaks FastCGI behind a server that hides its name.
    let may_be_first = |claim: &Claim| !(claim.place == Some(Place::Behind) && claim.sure == Sure::Perhaps);
    let first = claims
        .iter()
        .find(|claim| !is_proxy(claim) && may_be_first(claim))
        .map(|claim| (claim.software.id.clone(), claim.sure));
    let mut found: Vec<Recognised> = claims
        .into_iter()
        .filter(|claim| !is_idle_guess(claim))
        .map(|claim| {
            let is_first = first.as_ref().is_some_and(|(id, sure)| {
                // Several that may be are equals.
                *id == claim.software.id || (*sure == Sure::Perhaps && may_be_first(&claim))
            });
            let in_front = is_proxy(&claim) || (!has_proxy && (is_first || claim.place == Some(Place::Front)));
            Recognised {
                software: claim.software,
                version: claim.version,
                why: claim.why,
                sure: claim.sure,
                place: if in_front { Place::Front } else { Place::Behind },
            }
        })
        .collect();
    found.sort_by_key(|found| (found.place, std::cmp::Reverse(found.sure)));
    found
}

impl Signs<'_> {
    fn values_of(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    fn has(&self, name: &str) -> bool {
        self.values_of(name).next().is_some()
    }

    fn body_holds(&self, words: &str) -> bool {
        after_in(self.body, words).is_some()
    }

    fn name_itself(&self) -> Option<Claim> {
        self.values_of("server").find_map(|server| {
            let (software, len) = named(server, |row| &row.server_header)?;
            let (name, rest) = server.split_at_checked(len)?;
            // `Python/3.11 aiohttp/3.14` and `Tengine/3.1` tell of other versions than those that the tables speak of.
            let has_version = name.ends_with(['/', '(']);
            Some(Claim {
                software,
                version: Version::parse(rest).filter(|_| has_version),
                why: format!("Server: {server}"),
                sure: Sure::Named,
                place: None,
            })
        })
    }
}

impl Mark {
    fn holds(&self, signs: &Signs<'_>) -> bool {
        (!self.error || signs.status.is_none_or(|status| status >= 400))
            && self.fields.iter().all(|name| signs.has(name))
            && !self.absent.iter().any(|name| signs.has(name))
            && self.values.iter().all(|(name, part)| {
                let part = part.to_ascii_lowercase();
                signs
                    .values_of(name)
                    .any(|value| value.to_ascii_lowercase().contains(&part))
            })
            && self
                .exact
                .iter()
                .all(|name| signs.fields.iter().any(|(field, _)| field == name))
            && self.follow(signs)
            && self.body.iter().all(|words| signs.body_holds(words))
            && !self.absent_body.iter().any(|words| signs.body_holds(words))
    }

    fn follow(&self, signs: &Signs<'_>) -> bool {
        self.order.is_empty()
            || signs
                .fields
                .windows(self.order.len())
                .any(|fields| fields.iter().zip(&self.order).all(|((field, _), name)| field == name))
    }

    fn version(&self, signs: &Signs<'_>) -> Option<Version> {
        let words = self.version_after.as_deref()?;
        let values = self.values.keys().flat_map(|name| signs.values_of(name));
        let texts = std::iter::once(signs.body).chain(values.map(str::as_bytes));
        let after = texts.filter_map(|text| after_in(text, words)).next()?;
        let end = after
            .iter()
            .position(|byte| !byte.is_ascii_digit() && *byte != b'.')
            .unwrap_or(after.len());
        Version::parse(std::str::from_utf8(&after[..end]).ok()?)
    }
}

/// What follows the words in a text.
fn after_in<'a>(text: &'a [u8], words: &str) -> Option<&'a [u8]> {
    let words = words.as_bytes();
    let at = text.windows(words.len().max(1)).position(|bytes| bytes == words)?;
    Some(&text[at + words.len()..])
}

#[cfg(test)]
mod tests;
