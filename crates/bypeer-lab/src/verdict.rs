//! Whether a round shows what its scenario claims: judged by the accounts of actors and kernels, never by bypeer's findings.

use crate::actor::Deed;
use crate::kernel::ResetPath;
use crate::round::{Account, Round};
use crate::scenario::{KernelClaim, Truth};

const WITHOUT_A_SOCKET: &str = "this kernel does not tell of those that no socket sends";

/// Of which resets the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Of all.
    All,
    /// Of those that a socket sends which is not in TIME_WAIT: Linux before 6.10.
    OfSockets,
    /// Its events cannot be read.
    Nothing,
}

/// What is true of a round.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What the scenario claims and did not come true; empty: the round shows its cause.
    pub complaints: Vec<String>,
    /// What it claims and could not be looked at here.
    pub unchecked: Vec<String>,
    /// How the clients' parts ended, one each.
    pub endings: Vec<String>,
    /// Responses that clients waited for.
    pub responses: u64,
    /// Responses that did not arrive whole.
    pub responses_lost: u64,
    /// Bytes of their bodies that did not arrive, where the length was declared.
    pub bytes_lost: u64,
    /// Bytes of bodies that did arrive, of responses that were cut.
    pub bytes_of_cut: Vec<u64>,
    /// Responses that belonged to another request.
    pub misdelivered: u64,
}

impl Verdict {
    /// Looks at a round.
    pub fn of(round: &Round, truth: &Truth, told: Told) -> Verdict {
        let mut verdict = Verdict::default();
        for account in round.accounts.iter().filter(|account| account.is_client()) {
            verdict.add(account);
        }
        verdict.check_clients(round, truth);
        verdict.check_kernel(round, truth, told);
        verdict.check_counts(round, truth);
        verdict
    }

    /// The round shows what its scenario claims, as far as could be looked at.
    pub fn shows(&self) -> bool {
        self.complaints.is_empty()
    }

    /// A client did not get what it asked for.
    pub fn failed(&self) -> bool {
        self.endings.iter().any(|ending| ending != "ok")
    }

    fn add(&mut self, account: &Account) {
        self.endings.push(account.ending());
        for deed in account.deeds.iter().filter(|deed| deed.counts && reads_an_answer(deed)) {
            self.responses += 1;
            if deed.error.is_none() {
                continue;
            }
            self.responses_lost += 1;
            self.misdelivered += u64::from(deed.error.as_deref() == Some("another's response"));
            if let Some(expected) = deed.expected {
                self.bytes_lost += expected.saturating_sub(deed.bytes);
                self.bytes_of_cut.push(deed.bytes);
            }
        }
    }

    fn check_clients(&mut self, round: &Round, truth: &Truth) {
        if let Some(unnamed) = unnamed_failure(round, truth) {
            self.unchecked.push(format!(
                "how the client failed: it is not one of ours and says {unnamed}"
            ));
        } else if !truth.client.is_empty() && !self.endings.iter().any(|ending| truth.client.contains(ending)) {
            let told = round
                .accounts
                .iter()
                .filter(|account| account.is_client())
                .find_map(what_went_wrong);
            self.complaints.push(format!(
                "the client ended with {}, not with {}{}",
                self.endings.join(", "),
                truth.client.join(" or "),
                told.map_or_else(String::new, |told| format!(" ({told})"))
            ));
        }
        let scripted = round
            .accounts
            .iter()
            .any(|account| account.is_client() && account.scripted);
        if let Some(lost) = truth.lost {
            if !scripted {
                self.unchecked
                    .push("whether a response was lost: the client is not one of ours".to_owned());
            } else if lost != (self.responses_lost > 0) {
                self.complaints
                    .push(format!("{} responses were lost", self.responses_lost));
            }
        }
        for account in round
            .accounts
            .iter()
            .filter(|account| !account.is_client() && account.scripted)
        {
            if let Some(deed) = account.deeds.iter().find(|deed| deed.counts && deed.error.is_some())
                && deed.what.starts_with("await")
            {
                let error = deed.error.as_deref().unwrap_or_default();
                self.complaints
                    .push(format!("{}: {:?} ended with {error}", account.host, deed.what));
            }
        }
    }

    fn check_kernel(&mut self, round: &Round, truth: &Truth, told: Told) {
        if told == Told::Nothing {
            if !truth.kernel.is_empty() || truth.no_reset || !truth.no_reset_by.is_empty() {
                self.unchecked
                    .push("the kernel's reasons: its reset events cannot be read here".to_owned());
            }
            return;
        }
        if round.lost_events > 0 {
            // That an event is missing proves nothing then.
            self.unchecked
                .push("the kernel's reasons: some of its events were lost".to_owned());
            return;
        }
        for claim in &truth.kernel {
            let fitting = round
                .resets
                .iter()
                .filter(|(host, event)| fits(claim, host, round, event));
            let mut unknown = fitting.map(|(_, event)| not_told(claim, event)).collect::<Vec<_>>();
            unknown.sort_by_key(Vec::len);
            if let Some(parts) = unknown.first()
                && !parts.is_empty()
            {
                self.unchecked.push(format!(
                    "{} of {}'s reset: this kernel does not tell",
                    parts.join(" and "),
                    claim.host
                ));
            }
            if round.resets.iter().any(|(host, event)| fits(claim, host, round, event)) {
                continue;
            }
            if told == Told::OfSockets && needs_no_socket(claim) {
                let host = &claim.host;
                self.unchecked.push(format!("{host}'s reset: {WITHOUT_A_SOCKET}"));
            } else {
                let seen: Vec<String> = round
                    .resets
                    .iter()
                    .map(|(host, event)| {
                        format!(
                            "{host} {} in {} ({})",
                            event.reason.as_deref().unwrap_or("without reason"),
                            event.state,
                            event.path().name()
                        )
                    })
                    .collect();
                self.complaints.push(format!(
                    "no reset by {} for {}; the kernels sent: {}",
                    claim.host,
                    if claim.reason.is_empty() {
                        "any reason".to_owned()
                    } else {
                        claim.reason.join(" or ")
                    },
                    if seen.is_empty() {
                        "none".to_owned()
                    } else {
                        seen.join(", ")
                    }
                ));
            }
        }
        for host in &truth.no_reset_by {
            if let Some((_, event)) = round.resets.iter().find(|(sender, _)| sender == host) {
                let reason = event.reason.as_deref().unwrap_or("no reason given");
                self.complaints
                    .push(format!("{host}'s kernel sent a reset itself ({reason})"));
            }
        }
        if truth.no_reset && !round.resets.is_empty() {
            self.complaints
                .push(format!("{} resets were sent, and none should be", round.resets.len()));
        }
        if told == Told::OfSockets && (truth.no_reset || !truth.no_reset_by.is_empty()) {
            self.unchecked
                .push(format!("that no reset was sent: {WITHOUT_A_SOCKET}"));
        }
    }

    fn check_counts(&mut self, round: &Round, truth: &Truth) {
        for claim in &truth.counters {
            let moved = round
                .counters
                .get(&claim.host)
                .and_then(|counters| counters.get(&claim.name))
                .copied();
            if moved.unwrap_or(0) < claim.by {
                self.complaints.push(format!(
                    "{} on {} moved by {}, not {}",
                    claim.name,
                    claim.host,
                    moved.unwrap_or(0),
                    claim.by
                ));
            }
        }
        if let Some(claim) = &truth.unread {
            let most = round
                .deaths
                .iter()
                .filter(|(host, _)| *host == claim.host)
                .filter_map(|(_, death)| death.unread)
                .max();
            if most.unwrap_or(0) < claim.bytes {
                self.complaints.push(match most {
                    Some(most) => format!(
                        "{most} bytes lay unread in a socket of {}, not {}",
                        claim.host, claim.bytes
                    ),
                    None => format!("no socket of {} was seen to die", claim.host),
                });
            }
        }
    }
}

fn fits(claim: &KernelClaim, host: &str, round: &Round, event: &crate::kernel::ResetEvent) -> bool {
    let address = |name: &str| {
        round
            .hosts
            .iter()
            .find(|(host, _)| host == name)
            .map(|(_, address)| *address)
    };
    // Hosts may share an address.
    let same_host = claim.host == host || address(&claim.host).is_some_and(|wanted| Some(wanted) == address(host));
    let reason = event.reason.as_ref();
    same_host
        // Kernels before 6.10 give no reasons.
        && (claim.reason.is_empty() || reason.is_none_or(|reason| claim.reason.contains(reason)))
        && (claim.state.is_empty() || claim.state.contains(&event.state))
        // A kernel may give no stack.
        && (claim.path.is_empty() || event.stack.is_empty() || claim.path.iter().any(|path| path == event.path().name()))
}

/// Whether the reset that is claimed may be one that no socket sends, or one in TIME_WAIT.
fn needs_no_socket(claim: &KernelClaim) -> bool {
    let may_be = |claimed: &[String], names: &[&str]| {
        claimed.is_empty() || claimed.iter().any(|claimed| names.contains(&claimed.as_str()))
    };
    may_be(&claim.reason, &["NO_SOCKET", "TCP_TIMEWAIT_SOCKET"])
        && may_be(&claim.state, &["UNKNOWN", "TIME_WAIT"])
        && may_be(&claim.path, &[ResetPath::Answer.name()])
}

/// What a claim says that the kernel said nothing of.
fn not_told(claim: &KernelClaim, event: &crate::kernel::ResetEvent) -> Vec<&'static str> {
    let reason = !claim.reason.is_empty() && event.reason.is_none();
    let path = !claim.path.is_empty() && event.stack.is_empty();
    [(reason, "the reason"), (path, "the way")]
        .into_iter()
        .filter_map(|(unknown, what)| unknown.then_some(what))
        .collect()
}

/// `read response`, or `read SIZE` or `read "TEXT"` where the protocol is none of ours.
fn reads_an_answer(deed: &Deed) -> bool {
    let read = deed.what.split("read ").nth(1).unwrap_or_default();
    read == "response" || read.starts_with(|first: char| first.is_ascii_digit() || first == '"')
}

/// The exit status of a program that failed where the truth names the errno of an actor: which one it met cannot be told.
fn unnamed_failure(round: &Round, truth: &Truth) -> Option<String> {
    let names_errnos = !truth.client.is_empty()
        && !truth
            .client
            .iter()
            .any(|ending| ending == "ok" || ending.starts_with("exit "));
    let mut clients = round.accounts.iter().filter(|account| account.is_client());
    let failed = clients.find(|account| !account.scripted && account.ending().starts_with("exit "));
    failed.filter(|_| names_errnos).map(Account::ending)
}

/// The statement that did not end as wanted.
fn what_went_wrong(account: &Account) -> Option<String> {
    let deed = account.deeds.iter().find(|deed| deed.counts && deed.error.is_some());
    match deed {
        Some(deed) => Some(format!("{:?}", deed.what)),
        None if !account.scripted => account.output.lines().next_back().map(str::to_owned),
        None => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
