//! What a witness saw of a round.

use std::fmt;

use serde::Serialize;

use crate::misdelivered::alarms::of_the_family;

/// Of one round. What is better comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// Nothing that tells of an answer on the wrong request.
    Unseen,
    /// That alone that the server died.
    Died,
    /// That there was one, by another way than this.
    Otherwise,
    /// Undecided, and it is among the candidates.
    Suspected,
    /// It, likely or certain.
    Found,
}

impl Sight {
    /// Of a finding.
    pub fn of(cause: &str, rivals: &[String], decided: bool, truth: &str) -> Sight {
        let named = |id: &str| cause == id || rivals.iter().any(|rival| rival == id);
        match decided {
            true if cause == truth => Sight::Found,
            true if of_the_family(cause) => Sight::Otherwise,
            false if named(truth) => Sight::Suspected,
            false if of_the_family(cause) || rivals.iter().any(|rival| of_the_family(rival)) => Sight::Otherwise,
            _ => Sight::Unseen,
        }
    }
}

/// Of many rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sights {
    pub found: u64,
    pub suspected: u64,
    pub otherwise: u64,
    pub died: u64,
    pub unseen: u64,
}

impl Sights {
    pub fn add(&mut self, sight: Sight) {
        match sight {
            Sight::Found => self.found += 1,
            Sight::Suspected => self.suspected += 1,
            Sight::Otherwise => self.otherwise += 1,
            Sight::Died => self.died += 1,
            Sight::Unseen => self.unseen += 1,
        }
    }

    fn all(self) -> u64 {
        self.found + self.suspected + self.otherwise + self.died + self.unseen
    }
}

impl fmt::Display for Sights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all();
        let parts = [
            (self.found, "found"),
            (self.suspected, "suspected"),
            (self.otherwise, "named otherwise"),
            (self.died, "told the server's death"),
        ];
        let told: Vec<String> = parts
            .iter()
            .filter(|(times, _)| *times > 0)
            .map(|(times, how)| format!("{how} {times}"))
            .collect();
        match told.is_empty() {
            true => write!(f, "unseen, {all} of {all}"),
            false => write!(f, "{} of {all}", told.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_found_suspected_named_otherwise_or_unseen() {
        let rivals = ["client-cancel".to_owned(), "desync-shared-state".to_owned()];
        let truth = "desync-shared-state";
        assert_eq!(Sight::of(truth, &[], true, truth), Sight::Found);
        assert_eq!(Sight::of("client-cancel", &rivals, false, truth), Sight::Suspected);
        assert_eq!(
            Sight::of("client-cancel", &rivals, false, "nat-entry-lost"),
            Sight::Otherwise
        );
        assert_eq!(Sight::of("nat-entry-lost", &[], true, truth), Sight::Otherwise);
        assert_eq!(Sight::of("client-cancel", &[], true, truth), Sight::Unseen);
    }

    #[test]
    fn the_table_says_how_often() {
        let mut sights = Sights::default();
        for sight in [Sight::Found, Sight::Found, Sight::Suspected, Sight::Died, Sight::Unseen] {
            sights.add(sight);
        }
        assert_eq!(
            sights.to_string(),
            "found 2, suspected 1, told the server's death 1 of 5"
        );
        let mut none = Sights::default();
        none.add(Sight::Unseen);
        assert_eq!(none.to_string(), "unseen, 1 of 1");
    }
}
