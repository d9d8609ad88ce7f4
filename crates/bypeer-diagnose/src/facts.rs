//! Numbers and names of standards and products, from `facts/*.toml`, each with its source there.

use std::sync::LazyLock;

use crate::{Clause, Fix, Owner};

/// What is known of a server, proxy or client: its timeouts, closing habits and the settings that change them.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Software {
    /// Short name that fixes refer to.
    pub id: String,
    /// Its name, as people say it.
    pub name: String,
    /// Beginnings of the `Server:` values it sends.
    #[serde(default)]
    pub server_header: Vec<String>,
    /// Beginnings of the `User-Agent:` values it sends.
    #[serde(default)]
    pub user_agent: Vec<String>,
    /// Default idle limit of kept connections, seconds.
    pub idle_seconds: Option<f64>,
    /// The setting for it.
    pub idle_setting: Option<String>,
}

#[derive(serde::Deserialize)]
struct Clauses {
    clause: Vec<Clause>,
}

#[derive(serde::Deserialize)]
struct Programs {
    software: Vec<Software>,
}

#[derive(serde::Deserialize)]
struct Fixes {
    fix: Vec<FixRow>,
}

#[derive(serde::Deserialize)]
struct FixRow {
    cause: String,
    owner: OwnerRow,
    what: String,
    software: Option<String>,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum OwnerRow {
    Server,
    Client,
    Proxy,
    Network,
}

// The files are part of the program; a test parses each, so a table that does not parse never ships.
static CLAUSES: LazyLock<Vec<Clause>> = LazyLock::new(|| {
    toml::from_str::<Clauses>(include_str!("../facts/clauses.toml"))
        .map(|table| table.clause)
        .unwrap_or_default()
});
static SOFTWARE: LazyLock<Vec<Software>> = LazyLock::new(|| {
    toml::from_str::<Programs>(include_str!("../facts/software.toml"))
        .map(|table| table.software)
        .unwrap_or_default()
});
static FIXES: LazyLock<Vec<FixRow>> = LazyLock::new(|| {
    toml::from_str::<Fixes>(include_str!("../facts/fixes.toml"))
        .map(|table| table.fix)
        .unwrap_or_default()
});

/// The clause with an id such as "RFC 9112 §9.6".
pub fn clause(id: &str) -> Option<&'static Clause> {
    CLAUSES.iter().find(|clause| clause.id == id)
}

/// What is known of the server that calls itself so in `Server:`.
pub fn software(server_header: &str) -> Option<&'static Software> {
    named(server_header, |row| &row.server_header)
}

/// What is known of the client that calls itself so in `User-Agent:`.
pub fn client_software(user_agent: &str) -> Option<&'static Software> {
    named(user_agent, |row| &row.user_agent)
}

/// The row with the longest beginning that fits: `Apache-Coyote/1.1` is Tomcat, not httpd.
fn named(value: &str, names: fn(&Software) -> &Vec<String>) -> Option<&'static Software> {
    let fits = |name: &str| {
        value
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let longest = |row: &Software| names(row).iter().filter(|name| fits(name)).map(String::len).max();
    SOFTWARE
        .iter()
        .filter_map(|row| Some((longest(row)?, row)))
        .max_by_key(|(len, _)| *len)
        .map(|(_, row)| row)
}

/// The fixes of a cause by owner, those for the recognised server and client first.
pub(crate) fn fixes(cause: &str, server: Option<&Software>, client: Option<&Software>) -> Vec<Fix> {
    let rows = || FIXES.iter().filter(|row| row.cause == cause);
    let special = rows().filter(|row| {
        let of = |known: Option<&Software>| known.is_some_and(|known| row.software.as_deref() == Some(&known.id));
        of(server) && !matches!(row.owner, OwnerRow::Client) || of(client) && !matches!(row.owner, OwnerRow::Server)
    });
    let general = rows().filter(|row| row.software.is_none());
    special
        .chain(general)
        .map(|row| Fix {
            owner: row.owner.into(),
            what: row.what.clone(),
        })
        .collect()
}

impl From<OwnerRow> for Owner {
    fn from(row: OwnerRow) -> Owner {
        match row {
            OwnerRow::Server => Owner::Server,
            OwnerRow::Client => Owner::Client,
            OwnerRow::Proxy => Owner::Proxy,
            OwnerRow::Network => Owner::Network,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::causes::CAUSES;

    #[test]
    fn every_table_parses() {
        assert!(
            !toml::from_str::<Clauses>(include_str!("../facts/clauses.toml"))
                .unwrap()
                .clause
                .is_empty()
        );
        assert!(
            !toml::from_str::<Programs>(include_str!("../facts/software.toml"))
                .unwrap()
                .software
                .is_empty()
        );
        assert!(
            !toml::from_str::<Fixes>(include_str!("../facts/fixes.toml"))
                .unwrap()
                .fix
                .is_empty()
        );
    }

    #[test]
    fn every_cause_has_its_clauses_and_a_fix() {
        for cause in CAUSES {
            for id in cause.clauses {
                assert!(clause(id).is_some(), "{}: {id} is not in clauses.toml", cause.id);
            }
            assert!(
                !fixes(cause.id, None, None).is_empty(),
                "{}: no fix in fixes.toml",
                cause.id
            );
        }
    }

    #[test]
    fn every_fix_names_a_cause_and_software_that_exist() {
        for row in FIXES.iter() {
            assert!(
                crate::causes::find(&row.cause).is_some(),
                "fix for unknown cause {}",
                row.cause
            );
            if let Some(id) = &row.software {
                assert!(
                    SOFTWARE.iter().any(|known| known.id == *id),
                    "fix for unknown software {id}"
                );
            }
        }
    }
}
