//! Clauses of standards and what to change, by cause and situation.

use std::sync::LazyLock;

use bypeer_wire::app::Protocol;

use super::software::Software;
use crate::{Clause, Fix, Owner};

/// Most fixes that one finding shows: more are not read.
const SHOWN: usize = 5;

/// What decides, beside the cause, whether a row of advice fits a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Situation {
    /// No handshake completed: nothing was idle, and no request was sent.
    pub handshake_only: bool,
    /// The client sent, or announced, a request body.
    pub has_body: bool,
    /// Status of the newest HTTP response.
    pub status: Option<u16>,
    /// What was spoken.
    pub protocol: Protocol,
    /// How long the server keeps idle connections, as measured, seconds.
    pub idle_limit_seconds: Option<f64>,
    /// The server had sent its FIN before it reset.
    pub fin_before_reset: bool,
    /// The client had taken nothing for a while: its window was 0.
    pub client_took_nothing: bool,
    /// Several causes remain.
    pub undecided: bool,
}

#[derive(serde::Deserialize)]
struct Clauses {
    clause: Vec<ClauseRow>,
}

#[derive(serde::Deserialize)]
struct ClauseRow {
    #[serde(flatten)]
    clause: Clause,
    #[serde(default)]
    when: Vec<Condition>,
}

#[derive(serde::Deserialize)]
struct Fixes {
    fix: Vec<FixRow>,
}

#[derive(serde::Deserialize)]
struct FixRow {
    cause: String,
    owner: OwnerRow,
    /// `{idle-limit}` stands for the measured limit in seconds.
    what: String,
    software: Option<String>,
    #[serde(default)]
    when: Vec<Condition>,
}

/// One condition of a row: a fact, or `not-` before it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(try_from = "String")]
struct Condition {
    fact: Fact,
    holds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fact {
    HandshakeOnly,
    HasBody,
    Status(u16),
    Http,
    Tls,
    FastCgi,
    Redis,
    Unrecognised,
    FinBeforeReset,
    ClientTookNothing,
    IdleLimitBelow(f64),
}

#[derive(Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum OwnerRow {
    Server,
    Client,
    Proxy,
    Network,
}

// The files are part of the program; a test parses each, so a table that does not parse never ships.
static CLAUSES: LazyLock<Vec<ClauseRow>> = LazyLock::new(|| {
    toml::from_str::<Clauses>(include_str!("../../facts/clauses.toml"))
        .map(|table| table.clause)
        .unwrap_or_default()
});
static FIXES: LazyLock<Vec<FixRow>> = LazyLock::new(|| {
    toml::from_str::<Fixes>(include_str!("../../facts/fixes.toml"))
        .map(|table| table.fix)
        .unwrap_or_default()
});

/// The clause with an id such as "RFC 9112 §9.6".
pub fn clause(id: &str) -> Option<&'static Clause> {
    CLAUSES.iter().map(|row| &row.clause).find(|clause| clause.id == id)
}

/// Those of a cause's clauses that bear on the situation, in the cause's order.
pub(crate) fn clauses(ids: &[&str], situation: &Situation) -> Vec<&'static Clause> {
    ids.iter()
        .filter_map(|id| CLAUSES.iter().find(|row| row.clause.id == *id))
        .filter(|row| row.when.iter().all(|condition| condition.met(situation)))
        .map(|row| &row.clause)
        .collect()
}

/// The fixes of a cause that a proxy in front of the server may name: HTTP is spoken, and the proxy knows what the request had and how long the
/// connection had been idle.
pub fn fixes_of_http(
    cause: &str,
    server: Option<&Software>,
    has_body: bool,
    status: Option<u16>,
    idle_limit: Option<std::time::Duration>,
) -> Vec<Fix> {
    let situation = Situation {
        has_body,
        status,
        protocol: Protocol::Http1,
        idle_limit_seconds: idle_limit.map(|limit| limit.as_secs_f64()),
        ..Situation::default()
    };
    fixes(cause, server, None, &situation)
}

/// The fixes of a cause that fit the situation: those for the recognised server and client first, then for each owner the
/// first general row that fits.
pub(crate) fn fixes(
    cause: &str,
    server: Option<&Software>,
    client: Option<&Software>,
    situation: &Situation,
) -> Vec<Fix> {
    let rows = || {
        FIXES
            .iter()
            .filter(|row| row.cause == cause && row.when.iter().all(|condition| condition.met(situation)))
    };
    let special = rows().filter(|row| !situation.undecided && row.is_for(server, client, situation.protocol));
    let mut owners = Vec::new();
    let general = rows().filter(|row| {
        let first = row.software.is_none() && !owners.contains(&row.owner);
        if first {
            owners.push(row.owner);
        }
        first
    });
    special
        .chain(general)
        .map(|row| row.fix(situation))
        .take(SHOWN)
        .collect()
}

impl FixRow {
    /// It is about the software at one end of this connection. A proxy's settings towards servers matter where the proxy is
    /// the client; what a server does as a proxy of its own concerns another hop.
    fn is_for(&self, server: Option<&Software>, client: Option<&Software>, protocol: Protocol) -> bool {
        let Some(id) = self.software.as_deref() else {
            return false;
        };
        let at = |end: Option<&Software>| end.is_some_and(|end| end.id == id);
        match self.owner {
            // Redis does not name itself; its protocol does.
            OwnerRow::Server => at(server) || (id == "redis" && protocol == Protocol::Redis),
            OwnerRow::Client | OwnerRow::Proxy => at(client),
            OwnerRow::Network => at(server) || at(client),
        }
    }

    fn fix(&self, situation: &Situation) -> Fix {
        let what = match situation.idle_limit_seconds {
            Some(limit) => self.what.replace("{idle-limit}", &format!("{limit:.1}")),
            None => self.what.clone(),
        };
        Fix {
            owner: self.owner.into(),
            what,
        }
    }
}

impl Condition {
    fn met(self, situation: &Situation) -> bool {
        let fact = match self.fact {
            Fact::HandshakeOnly => situation.handshake_only,
            Fact::HasBody => situation.has_body,
            Fact::Status(status) => situation.status == Some(status),
            Fact::Http => matches!(situation.protocol, Protocol::Http1 | Protocol::Http2),
            Fact::Tls => situation.protocol == Protocol::Tls,
            Fact::FastCgi => situation.protocol == Protocol::FastCgi,
            Fact::Redis => situation.protocol == Protocol::Redis,
            Fact::Unrecognised => situation.protocol == Protocol::Unknown,
            Fact::FinBeforeReset => situation.fin_before_reset,
            Fact::ClientTookNothing => situation.client_took_nothing,
            Fact::IdleLimitBelow(seconds) => situation.idle_limit_seconds.is_some_and(|limit| limit < seconds),
        };
        fact == self.holds
    }
}

impl TryFrom<String> for Condition {
    type Error = String;

    fn try_from(text: String) -> Result<Condition, String> {
        let (name, holds) = match text.as_str() {
            "established" => ("handshake-only", false),
            "no-fin-before-reset" => ("fin-before-reset", false),
            other => other.strip_prefix("not-").map_or((other, true), |name| (name, false)),
        };
        let fact = match name.split_once(':') {
            None if name == "handshake-only" => Some(Fact::HandshakeOnly),
            None if name == "has-body" => Some(Fact::HasBody),
            None if name == "fin-before-reset" => Some(Fact::FinBeforeReset),
            None if name == "client-took-nothing" => Some(Fact::ClientTookNothing),
            Some(("status", status)) => status.parse().ok().map(Fact::Status),
            Some(("idle-limit-below", seconds)) => seconds.parse().ok().map(Fact::IdleLimitBelow),
            Some(("protocol", "http")) => Some(Fact::Http),
            Some(("protocol", "tls")) => Some(Fact::Tls),
            Some(("protocol", "fastcgi")) => Some(Fact::FastCgi),
            Some(("protocol", "redis")) => Some(Fact::Redis),
            Some(("protocol", "unrecognised")) => Some(Fact::Unrecognised),
            _ => None,
        };
        match fact {
            Some(fact) => Ok(Condition { fact, holds }),
            None => Err(format!("unknown condition {text:?}")),
        }
    }
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
    use crate::facts::software::{SOFTWARE, software};

    #[test]
    fn every_table_parses() {
        assert!(
            !toml::from_str::<Clauses>(include_str!("../../facts/clauses.toml"))
                .unwrap()
                .clause
                .is_empty()
        );
        assert!(
            !toml::from_str::<Fixes>(include_str!("../../facts/fixes.toml"))
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
                !fixes(cause.id, None, None, &Situation::default()).is_empty(),
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

    #[test]
    fn every_cause_has_advice_for_everybody_in_every_situation() {
        use bypeer_wire::app::Protocol::{FastCgi, Http1, Redis, Tls, Unknown};
        for cause in CAUSES {
            for protocol in [Http1, Tls, FastCgi, Redis, Unknown] {
                for bits in 0..32 {
                    let situation = Situation {
                        handshake_only: bits & 1 != 0,
                        has_body: bits & 2 != 0,
                        fin_before_reset: bits & 4 != 0,
                        idle_limit_seconds: (bits & 8 != 0).then_some(2.0),
                        client_took_nothing: bits & 16 != 0,
                        undecided: true,
                        status: None,
                        protocol,
                    };
                    let shown = fixes(cause.id, None, None, &situation);
                    assert!(!shown.is_empty(), "{}: no fix for {situation:?}", cause.id);
                    for (index, fix) in shown.iter().enumerate() {
                        assert!(
                            shown[..index].iter().all(|other| other.owner != fix.owner),
                            "{}: {fix:?} is not the only one of its owner",
                            cause.id
                        );
                        assert!(!fix.what.contains('{'), "{}: {fix:?} has a gap", cause.id);
                    }
                }
            }
        }
    }

    #[test]
    fn conditions_parse_and_unknown_ones_do_not() {
        for good in [
            "handshake-only",
            "established",
            "has-body",
            "not-has-body",
            "status:413",
            "not-status:413",
            "protocol:http",
            "protocol:tls",
            "protocol:fastcgi",
            "not-protocol:redis",
            "protocol:unrecognised",
            "fin-before-reset",
            "no-fin-before-reset",
            "client-took-nothing",
            "idle-limit-below:3",
        ] {
            assert!(Condition::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "not-",
            "not-not-has-body",
            "has body",
            "status:",
            "status:many",
            "status",
            "protocol:gopher",
            "idle-limit-below:soon",
            "undecided",
        ] {
            assert!(Condition::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_condition_is_met_by_its_situation_and_its_opposite_is_not() {
        let nothing = Situation::default();
        let all = Situation {
            handshake_only: true,
            has_body: true,
            status: Some(413),
            protocol: Protocol::Http1,
            idle_limit_seconds: Some(2.9),
            fin_before_reset: true,
            client_took_nothing: true,
            undecided: false,
        };
        let met = |text: &str, situation: &Situation| Condition::try_from(text.to_owned()).unwrap().met(situation);
        for (positive, negative) in [
            ("handshake-only", "established"),
            ("has-body", "not-has-body"),
            ("status:413", "not-status:413"),
            ("protocol:http", "not-protocol:http"),
            ("fin-before-reset", "no-fin-before-reset"),
            ("client-took-nothing", "not-client-took-nothing"),
            ("idle-limit-below:3", "not-idle-limit-below:3"),
        ] {
            assert!(met(positive, &all) && !met(negative, &all), "{positive}");
            assert!(!met(positive, &nothing) && met(negative, &nothing), "{negative}");
        }
        assert!(!met("status:403", &all));
        assert!(!met("idle-limit-below:2.9", &all));
        assert!(!met("protocol:tls", &all) && !met("protocol:redis", &all) && !met("protocol:fastcgi", &all));
    }

    #[test]
    fn the_special_come_first_and_five_are_enough() {
        let nginx = software("nginx/1.28.0").unwrap();
        let situation = Situation {
            has_body: true,
            status: Some(413),
            protocol: Protocol::Http1,
            ..Situation::default()
        };
        let shown = fixes("early-error-body-limit", Some(nginx), None, &situation);
        assert_eq!(shown.len(), SHOWN);
        assert!(shown[..2].iter().all(|fix| fix.what.starts_with("nginx:")), "{shown:?}");
        assert!(shown[2..].iter().all(|fix| !fix.what.contains("nginx:")), "{shown:?}");
        let undecided = Situation {
            undecided: true,
            ..situation
        };
        let shown = fixes("early-error-body-limit", Some(nginx), None, &undecided);
        assert!(shown.iter().all(|fix| !fix.what.contains("nginx:")), "{shown:?}");
    }

    #[test]
    fn a_proxy_setting_is_advice_only_where_the_proxy_is_the_client() {
        let alb = SOFTWARE.iter().find(|known| known.id == "aws-alb").unwrap();
        let about = |server, client| {
            let shown = fixes(
                "keepalive-race-unannounced-close",
                server,
                client,
                &Situation::default(),
            );
            shown.iter().filter(|fix| fix.what.starts_with("AWS ALB")).count()
        };
        assert_eq!(about(Some(alb), None), 0);
        assert_eq!(about(None, Some(alb)), 1);
    }

    #[test]
    fn clauses_of_http_and_of_idle_connections_stay_where_they_belong() {
        let ids = |cause: &str, situation: &Situation| {
            let cause = crate::causes::find(cause).unwrap();
            let found = clauses(cause.clauses, situation);
            found.iter().map(|clause| clause.id.as_str()).collect::<Vec<_>>()
        };
        let refused = Situation {
            handshake_only: true,
            ..Situation::default()
        };
        assert!(!ids("silent-drop", &refused).contains(&"RFC 5382 REQ-5"));
        assert!(ids("silent-drop", &Situation::default()).contains(&"RFC 5382 REQ-5"));
        let of = |protocol| Situation {
            protocol,
            ..Situation::default()
        };
        let race = |protocol| ids("keepalive-race-unannounced-close", &of(protocol));
        assert!(race(Protocol::Http1).contains(&"RFC 9112 §9.5"));
        assert!(race(Protocol::Redis).iter().all(|id| !id.starts_with("RFC 911")));
        assert!(race(Protocol::FastCgi).iter().all(|id| !id.starts_with("RFC 9112")));
    }

    #[test]
    fn a_gunicorn_that_half_closed_is_not_told_to_be_newer() {
        let gunicorn = software("gunicorn").unwrap();
        let told = |fin_before_reset| {
            let situation = Situation {
                has_body: true,
                protocol: Protocol::Http1,
                fin_before_reset,
                ..Situation::default()
            };
            let shown = fixes("unread-request-body", Some(gunicorn), None, &situation);
            shown.iter().any(|fix| fix.what.contains("26.0 or later"))
        };
        assert!(told(false));
        assert!(!told(true));
    }

    #[test]
    fn a_limit_is_raised_only_after_413() {
        for known in SOFTWARE.iter() {
            for (status, raised) in [(413, true), (403, false)] {
                let situation = Situation {
                    has_body: true,
                    status: Some(status),
                    protocol: Protocol::Http1,
                    ..Situation::default()
                };
                let shown = fixes("early-error-body-limit", Some(known), None, &situation);
                let raises = shown.iter().any(|fix| {
                    ["the upload is legitimate", "raise the limit", "largest upload."]
                        .iter()
                        .any(|words| fix.what.contains(words))
                });
                assert_eq!(raises, raised, "{} {status}: {shown:?}", known.id);
            }
        }
    }

    #[test]
    fn redis_and_fastcgi_get_no_advice_about_http() {
        let words = [
            "Connection:",
            "Keep-Alive:",
            "Content-Length",
            "Expect:",
            "HEAD",
            "Range",
            "503",
            "response that ",
        ];
        for cause in CAUSES {
            // These are made of HTTP's own words.
            if ["early-error-body-limit", "keepalive-race-announced-close"].contains(&cause.id) {
                continue;
            }
            for protocol in [Protocol::Redis, Protocol::FastCgi] {
                let situation = Situation {
                    protocol,
                    has_body: true,
                    ..Situation::default()
                };
                for fix in fixes(cause.id, None, None, &situation) {
                    assert!(
                        words.iter().all(|word| !fix.what.contains(word)),
                        "{} {protocol:?}: {fix:?}",
                        cause.id
                    );
                }
            }
        }
        let redis = Situation {
            protocol: Protocol::Redis,
            ..Situation::default()
        };
        let shown = fixes("keepalive-race-unannounced-close", None, None, &redis);
        assert!(shown[0].what.starts_with("Redis: timeout 0"), "{shown:?}");
    }

    #[test]
    fn no_client_is_told_to_undercut_a_limit_of_two_seconds() {
        for known in std::iter::once(None).chain(SOFTWARE.iter().map(Some)) {
            for cause in ["keepalive-race-unannounced-close", "idle-timeout-inversion"] {
                let situation = Situation {
                    protocol: Protocol::Http1,
                    idle_limit_seconds: Some(2.004),
                    ..Situation::default()
                };
                let shown = fixes(cause, None, known, &situation);
                assert!(shown.iter().any(|fix| fix.what.contains("from 2.0 s")), "{shown:?}");
                assert!(
                    shown.iter().all(|fix| !fix.what.contains("below the server's")),
                    "{shown:?}"
                );
            }
        }
    }
}
