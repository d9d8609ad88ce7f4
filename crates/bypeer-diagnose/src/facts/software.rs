//! What products are called, and call themselves.

use std::sync::LazyLock;

use super::recognise::Mark;

/// A server, proxy, client or middlebox, and how to know it.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Software {
    /// Short name that settings, defaults and fixes refer to.
    pub id: String,
    /// Its name, as people say it.
    pub name: String,
    /// What it does on a connection.
    pub role: Role,
    /// Other short names that people use for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The software inside it, by `id`, whose settings and defaults are also its own unless it has others.
    pub inside: Option<String>,
    /// Beginnings of the `Server:` values it sends.
    #[serde(default)]
    pub server_header: Vec<String>,
    /// Beginnings of the `User-Agent:` values it sends.
    #[serde(default)]
    pub user_agent: Vec<String>,
    /// What shows it, beside its name.
    #[serde(default)]
    pub(super) marks: Vec<Mark>,
    /// It half-closes and reads on before it closes, so that its last response arrives.
    pub lingers: Option<bool>,
    /// What else there is to know.
    pub notes: Option<String>,
    /// Where the row was read.
    pub source: String,
    /// It was read in the source or documentation, or measured; false: from memory.
    #[serde(default)]
    pub verified: bool,
}

/// What software does on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Accepts connections and answers itself.
    Server,
    /// Opens connections.
    Client,
    /// Both: answers by asking another.
    Proxy,
    /// Passes connections on, and forgets them when they are idle for too long.
    Middlebox,
}

#[derive(serde::Deserialize)]
pub(super) struct Programs {
    pub software: Vec<Software>,
}

// The file is part of the program; a test parses it, so a table that does not parse never ships.
pub(super) static SOFTWARE: LazyLock<Vec<Software>> = LazyLock::new(|| {
    toml::from_str::<Programs>(include_str!("../../facts/software.toml"))
        .map(|table| table.software)
        .unwrap_or_default()
});

/// The software of this `id` or alias, in any case of letters.
pub fn software_by_id(id: &str) -> Option<&'static Software> {
    let same = |name: &String| name.eq_ignore_ascii_case(id);
    SOFTWARE
        .iter()
        .find(|row| same(&row.id))
        .or_else(|| SOFTWARE.iter().find(|row| row.aliases.iter().any(same)))
}

/// All that is known.
pub fn all_software() -> impl Iterator<Item = &'static Software> {
    SOFTWARE.iter()
}

/// What is known of the server that calls itself so in `Server:`.
pub fn software(server_header: &str) -> Option<&'static Software> {
    named(server_header, |row| &row.server_header).map(|(row, _)| row)
}

/// What is known of the client that calls itself so in `User-Agent:`.
pub fn client_software(user_agent: &str) -> Option<&'static Software> {
    named(user_agent, |row| &row.user_agent).map(|(row, _)| row)
}

/// The row with the longest beginning that fits, and the length of that: `Apache-Coyote/1.1` is Tomcat, not httpd.
pub(super) fn named(value: &str, names: fn(&Software) -> &Vec<String>) -> Option<(&'static Software, usize)> {
    let fits = |name: &str| {
        value
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let longest = |row: &Software| names(row).iter().filter(|name| fits(name)).map(String::len).max();
    SOFTWARE
        .iter()
        .filter_map(|row| Some((row, longest(row)?)))
        .max_by_key(|(_, len)| *len)
}

impl Software {
    /// This and what is inside it, outermost first.
    pub(super) fn and_inside(&'static self) -> impl Iterator<Item = &'static Software> {
        // A ring of names ends after as many steps as there are rows.
        std::iter::successors(Some(self), |outer| outer.inside.as_deref().and_then(software_by_id)).take(SOFTWARE.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_table_parses() {
        let table: Programs = toml::from_str(include_str!("../../facts/software.toml")).unwrap();
        assert!(table.software.len() > 60);
    }

    #[test]
    fn names_are_given_once_and_lead_to_software_that_exists() {
        let mut seen = BTreeMap::new();
        for row in SOFTWARE.iter() {
            for name in std::iter::once(&row.id).chain(&row.aliases) {
                let name = name.to_ascii_lowercase();
                if let Some(other) = seen.insert(name.clone(), &row.id) {
                    panic!("{name} is {other} and {}", row.id);
                }
            }
            if let Some(inside) = &row.inside {
                assert!(SOFTWARE.iter().any(|known| known.id == *inside), "{}: {inside}", row.id);
            }
            let last = row.and_inside().last().unwrap();
            assert!(last.inside.is_none(), "{} is inside itself", row.id);
            assert!(!row.source.trim().is_empty(), "{} has no source", row.id);
            let from_memory = row.source.contains("memory");
            assert!(
                !(row.verified && row.source.starts_with("from memory")),
                "{}: {from_memory}",
                row.id
            );
        }
    }

    #[test]
    fn an_alias_leads_to_the_software() {
        for (alias, id) in [
            ("alb", "aws-alb"),
            ("ALB", "aws-alb"),
            ("requests", "python-requests"),
            ("nginx", "nginx"),
        ] {
            assert_eq!(software_by_id(alias).unwrap().id, id);
        }
        assert!(software_by_id("").is_none());
    }
}
