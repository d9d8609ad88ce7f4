//! Many rounds of one variant of a scenario, counted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::round::Round;
use crate::scenario::Claim;
use crate::statistics::{Rate, tends_below};

/// What `explain` said of one host's capture of a round, held against the scenario's truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Explained {
    /// The cause, certain or likely; or nothing, where there is nothing to find.
    Right,
    /// Another cause, which the scenario says that this capture alone may fairly name.
    Fair,
    /// Undecided, the cause among the candidates.
    Undecided,
    /// No finding about a connection that failed.
    Silent,
    /// A finding that is wrong.
    Wrong,
}

impl Explained {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Explained::Right => "right",
            Explained::Fair => "fair",
            Explained::Undecided => "undecided",
            Explained::Silent => "silent",
            Explained::Wrong => "wrong",
        }
    }
}

/// Which variant of a scenario was run.
#[derive(Clone, Debug, Default)]
pub struct Variant {
    /// The scenario.
    pub scenario: String,
    /// Its cause.
    pub cause: Option<String>,
    /// Its title.
    pub title: String,
    /// The change that was made, with its owner, title and claim.
    pub fix: Option<(String, String, String, Claim)>,
    /// The real software that took part.
    pub real: Option<String>,
    /// Values that were set by hand.
    pub set: BTreeMap<String, String>,
    /// Every round is expected to show the cause.
    pub deterministic: bool,
}

impl Variant {
    /// `scenario`, or `scenario with real`.
    pub fn label(&self) -> String {
        match &self.real {
            Some(real) => format!("{} with {real}", self.scenario),
            None => self.scenario.clone(),
        }
    }
}

/// The count.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// What was run.
    pub variant: Variant,
    /// How often.
    pub rounds: u64,
    /// Rounds that showed what the scenario claims.
    pub shown: u64,
    /// Rounds in which a client did not get what it asked for.
    pub failed: u64,
    /// Why rounds did not show it, with how many.
    pub complaints: BTreeMap<String, u64>,
    /// What could not be looked at.
    pub unchecked: BTreeMap<String, u64>,
    /// How clients ended.
    pub endings: BTreeMap<String, u64>,
    /// Resets by host, reason and state.
    pub resets: BTreeMap<(String, String, String), u64>,
    /// Counters that moved, by host and name, summed.
    pub counters: BTreeMap<(String, String), u64>,
    /// Per round: bytes of responses that did not arrive.
    pub bytes_lost: Vec<u64>,
    /// Per round: how long the clients took, from their first deed to their last.
    pub client_time: Vec<Duration>,
    /// Per round: how long the server's script took.
    pub server_time: Vec<Duration>,
    /// Per round: the most that lay unread in a server's socket when it died.
    pub unread: Vec<u64>,
    /// Responses that clients waited for.
    pub responses: u64,
    /// Responses that were not whole.
    pub responses_lost: u64,
    /// Responses that belonged to another request.
    pub misdelivered: u64,
    /// By host whose capture was explained, and what came of it.
    pub explained: BTreeMap<String, BTreeMap<Explained, u64>>,
    /// Wrong findings, in words.
    pub accusations: BTreeMap<String, u64>,
}

impl Tally {
    /// Nothing yet.
    pub fn new(variant: Variant) -> Tally {
        Tally {
            variant,
            ..Tally::default()
        }
    }

    /// Counts a round.
    pub fn add(&mut self, round: &Round) {
        let verdict = &round.verdict;
        self.rounds += 1;
        self.shown += u64::from(verdict.shows());
        self.failed += u64::from(verdict.failed());
        for complaint in &verdict.complaints {
            *self.complaints.entry(complaint.clone()).or_default() += 1;
        }
        for unchecked in &verdict.unchecked {
            *self.unchecked.entry(unchecked.clone()).or_default() += 1;
        }
        for ending in &verdict.endings {
            *self.endings.entry(ending.clone()).or_default() += 1;
        }
        for (host, event) in &round.resets {
            let reason = event.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
            *self
                .resets
                .entry((host.clone(), reason, event.state.clone()))
                .or_default() += 1;
        }
        for (host, counters) in &round.counters {
            for (name, by) in counters {
                *self.counters.entry((host.clone(), name.clone())).or_default() += by;
            }
        }
        self.bytes_lost.push(verdict.bytes_lost);
        self.responses += verdict.responses;
        self.responses_lost += verdict.responses_lost;
        self.misdelivered += verdict.misdelivered;
        self.client_time
            .extend(time_of(round, |host| host.starts_with("client")));
        self.server_time.extend(time_of(round, |host| host == "server"));
        let unread = round
            .deaths
            .iter()
            .filter(|(host, _)| host == "server")
            .filter_map(|(_, death)| death.unread);
        self.unread.push(u64::from(unread.max().unwrap_or(0)));
    }

    /// Counts what `explain` said of a host's capture; `words`: the finding, where it is wrong.
    pub fn add_explained(&mut self, host: &str, explained: Explained, words: Option<String>) {
        *self
            .explained
            .entry(host.to_owned())
            .or_default()
            .entry(explained)
            .or_default() += 1;
        if let Some(words) = words {
            *self.accusations.entry(format!("{host}: {words}")).or_default() += 1;
        }
    }

    /// Rounds that showed it.
    pub fn shown_rate(&self) -> Rate {
        Rate {
            events: self.shown,
            of: self.rounds,
        }
    }

    /// Rounds that failed.
    pub fn failure_rate(&self) -> Rate {
        Rate {
            events: self.failed,
            of: self.rounds,
        }
    }

    /// Responses that were not whole, of those that were waited for.
    pub fn loss_rate(&self) -> Rate {
        Rate {
            events: self.responses_lost,
            of: self.responses,
        }
    }

    /// Did the change do what it is said to, next to `without` it? None: no change was made, or there was nothing to cure.
    ///
    /// What helps, what makes it worse and what changes nothing are held to chance (95 %): by the rounds that failed, the responses that were
    /// lost, and the bytes that each round lost.
    pub fn claim_holds(&self, without: &Tally) -> Option<bool> {
        let (_, _, _, claim) = self.variant.fix.as_ref()?;
        if self.rounds == 0 || without.rounds == 0 {
            return None;
        }
        Some(match claim {
            // Where no client notices, it is what the scenario shows that must not come: the kernel's reset, say.
            Claim::Cures if without.failed > 0 => self.failed == 0,
            Claim::Cures if without.shown > 0 => self.shown == 0 && self.failed == 0,
            // What never failed cannot be cured.
            Claim::Cures => return None,
            Claim::Helps => self.does_better_than(without),
            Claim::None => {
                let apart = |lower: Rate, higher: Rate| lower.interval().1 < higher.interval().0;
                let (mine, theirs) = (self.failure_rate(), without.failure_rate());
                !apart(mine, theirs) && !apart(theirs, mine)
            }
            Claim::Worsens => without.does_better_than(self),
        })
    }

    fn does_better_than(&self, other: &Tally) -> bool {
        let fewer = |mine: Rate, theirs: Rate| mine.less(&theirs).1 < 0.0;
        fewer(self.failure_rate(), other.failure_rate())
            || fewer(self.loss_rate(), other.loss_rate())
            || tends_below(&self.bytes_lost, &other.bytes_lost)
    }

    /// Any wrong finding?
    pub fn accused(&self) -> bool {
        self.explained
            .values()
            .any(|counts| counts.contains_key(&Explained::Wrong))
    }
}

/// From the first deed to the last, over the processes of some hosts.
fn time_of(round: &Round, chosen: impl Fn(&str) -> bool) -> Option<Duration> {
    let accounts = || round.accounts.iter().filter(|account| chosen(&account.host));
    let deeds = || accounts().flat_map(|account| &account.deeds);
    let first = deeds().map(|deed| deed.time - deed.took as i64).min();
    let last = deeds().map(|deed| deed.time).max();
    match first.zip(last) {
        Some((first, last)) => Some(Duration::from_nanos((last - first).max(0) as u64)),
        // A program: from its start to its end.
        None => accounts()
            .filter_map(|account| Some(account.lived.1?.since(account.lived.0)))
            .max(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
