//! What became of a client's requests.

use std::collections::BTreeMap;

use bypeer_lab::statistics::Rate;
use serde::{Deserialize, Serialize};

/// What a client prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Account {
    pub requests: u64,
    /// Answered whole, and as they should be.
    pub right: u64,
    /// No whole answer, or a wrong one: how often, by error.
    pub lost: BTreeMap<String, u64>,
    /// Another status than the one expected: the status, and the error that `Proxy-Status` names, if it does.
    pub refused: BTreeMap<String, u64>,
}

impl Account {
    /// Requests that were neither answered nor refused with a reason.
    pub fn lost(&self) -> Rate {
        let silent = self.refused.iter().filter(|(words, _)| !has_reason(words));
        Rate {
            events: self.lost.values().sum::<u64>() + silent.map(|(_, count)| count).sum::<u64>(),
            of: self.requests,
        }
    }

    /// Requests that were refused with a reason.
    pub fn explained(&self) -> u64 {
        let explained = self.refused.iter().filter(|(words, _)| has_reason(words));
        explained.map(|(_, count)| count).sum()
    }

    /// Every request is in it once.
    pub fn is_whole(&self) -> bool {
        let all = self.lost.values().chain(self.refused.values()).sum::<u64>();
        self.requests > 0 && self.right + all == self.requests
    }

    /// `3 ECONNRESET, 12 × 502 connection_refused`
    pub fn ways(&self) -> String {
        let lost = self.lost.iter().map(|(error, count)| format!("{count} {error}"));
        let refused = self.refused.iter().map(|(words, count)| format!("{count} × {words}"));
        lost.chain(refused).collect::<Vec<_>>().join(", ")
    }
}

/// `502 connection_refused` has one, `502` has none.
fn has_reason(words: &str) -> bool {
    words.contains(' ')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn account() -> Account {
        serde_json::from_str(
            r#"{"requests": 100, "right": 80, "lost": {"ECONNRESET": 7, "cut short": 1},
                "refused": {"502": 2, "502 connection_terminated": 10}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_502_that_says_nothing_is_lost() {
        let account = account();
        assert!(account.is_whole());
        assert_eq!(account.lost(), Rate { events: 10, of: 100 });
        assert_eq!(account.explained(), 10);
        assert_eq!(
            account.ways(),
            "7 ECONNRESET, 1 cut short, 2 × 502, 10 × 502 connection_terminated"
        );
    }

    #[test]
    fn every_request_is_counted() {
        let missing = Account { right: 79, ..account() };
        assert!(!missing.is_whole());
        assert!(!Account::default().is_whole());
    }
}
