//! What was heard of a round, held to its scenario's truth.

use bypeer_lab::scenario::{KernelClaim, Truth};

use super::records::{Hearing, LabRound, Testimony};
use super::round::Heard;

/// How it stands to the truth. What is worse comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The cause, or nothing where there is nothing to find.
    Right,
    /// Another that one end alone may fairly name.
    Fair,
    /// Undecided, with the cause among the candidates.
    Undecided,
    /// Nothing, and there was nothing for a kernel to tell.
    NothingToTell,
    /// It died in a way that no cause describes.
    Unexplained,
    /// Nothing was heard, or only what is harmless.
    Silent,
    /// Undecided, without the cause among the candidates.
    Astray,
    /// Another cause, or an accusation where there is nothing to find.
    Wrong,
}

impl Verdict {
    pub const ALL: [Verdict; 8] = [
        Verdict::Right,
        Verdict::Fair,
        Verdict::Undecided,
        Verdict::NothingToTell,
        Verdict::Unexplained,
        Verdict::Silent,
        Verdict::Astray,
        Verdict::Wrong,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Verdict::Right => "right",
            Verdict::Fair => "fair",
            Verdict::Undecided => "undecided",
            Verdict::NothingToTell => "nothing for a kernel to tell",
            Verdict::Unexplained => "unexplained",
            Verdict::Silent => "silent",
            Verdict::Astray => "astray",
            Verdict::Wrong => "wrong",
        }
    }
}

/// Judges a round.
pub fn judge(round: &LabRound, truth: &Truth, heard: &Heard<'_>) -> Verdict {
    let verdicts = heard.hearings.iter().map(|hearing| of_one(round, truth, hearing));
    let mut verdicts: Vec<Verdict> = verdicts.collect();
    verdicts.sort_unstable();
    if let Some(bad) = verdicts.last().filter(|worst| **worst >= Verdict::Astray) {
        return *bad;
    }
    match verdicts.first().copied() {
        Some(Verdict::Silent) | None if nothing_to_find(round, truth) => Verdict::Right,
        Some(Verdict::Silent) | None if nothing_to_tell(round) => Verdict::NothingToTell,
        Some(best) => best,
        None => Verdict::Silent,
    }
}

/// Judges one connection.
pub fn of_one(round: &LabRound, truth: &Truth, hearing: &Hearing) -> Verdict {
    let Some(cause) = hearing.cause.as_deref() else {
        return Verdict::Unexplained;
    };
    let hosts: Vec<&str> = [hearing.client, hearing.server]
        .iter()
        .flat_map(|end| round.hosts_at(end.ip()))
        .collect();
    let spared = !round.failed && !round.shown && round.kernel_resets.is_empty();
    let is_right = |id: &str| {
        !spared
            && hosts.iter().any(|host| match truth.finds.get(*host) {
                Some(finds) => finds.iter().any(|find| find == id),
                None => round.cause.as_deref() == Some(id),
            })
    };
    let is_fair = |id: &str| {
        let also = hosts.iter().filter_map(|host| truth.also.get(*host)).flatten();
        !spared && also.into_iter().any(|also| also == id)
    };
    if hearing.confidence.as_deref() == Some("undecided") {
        let candidates = || std::iter::once(cause).chain(hearing.rivals.iter().map(String::as_str));
        return match candidates().any(|id| is_right(id) || is_fair(id)) {
            true => Verdict::Undecided,
            false if hearing.harmless => Verdict::Silent,
            false => Verdict::Astray,
        };
    }
    match cause {
        id if is_right(id) => Verdict::Right,
        id if is_fair(id) => Verdict::Fair,
        _ if hearing.harmless => Verdict::Silent,
        _ => Verdict::Wrong,
    }
}

/// The truth is that nothing is to be found at any end, or the round was spared.
fn nothing_to_find(round: &LabRound, truth: &Truth) -> bool {
    let nothing = |host: &str| match truth.finds.get(host) {
        Some(finds) => finds.is_empty(),
        None => round.cause.is_none(),
    };
    !round.failed && !round.shown || round.hosts.iter().all(|host| nothing(&host.name))
}

/// By the round's own record: no kernel sent a reset, none gave a program an error, and none counted a failure.
fn nothing_to_tell(round: &LabRound) -> bool {
    let errors = round
        .accounts
        .iter()
        .flat_map(|account| &account.deeds)
        .filter_map(|deed| deed.error.as_deref());
    let counted = round.counters.values().flatten().any(|(name, by)| {
        let failure = matches!(
            name.as_str(),
            "EstabResets" | "AttemptFails" | "ListenOverflows" | "ListenDrops" | "TCPAbortOnTimeout"
        );
        failure && *by > 0
    });
    round.kernel_resets.is_empty() && !counted && !errors.into_iter().any(is_a_death)
}

/// What a kernel tells a program whose connection it ended or could not make. `EOF` and `timeout` are the actor's own words.
fn is_a_death(error: &str) -> bool {
    const DEATHS: [&str; 9] = [
        "ECONNABORTED",
        "ECONNREFUSED",
        "ECONNRESET",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "EPIPE",
        "EPROTO",
        "ETIMEDOUT",
    ];
    DEATHS.contains(&error)
}

/// How many of the truth's claims about resets were heard: with the host's kernel, the reason and the way through it.
pub fn reasons(round: &LabRound, truth: &Truth, heard: &Heard<'_>) -> (usize, usize) {
    let told = |claim: &&KernelClaim| {
        heard.hearings.iter().any(|hearing| {
            hearing
                .testimonies()
                .any(|testimony| fits(round, claim, hearing, testimony))
        })
    };
    (truth.kernel.iter().filter(told).count(), truth.kernel.len())
}

fn fits(round: &LabRound, claim: &KernelClaim, hearing: &Hearing, testimony: &Testimony) -> bool {
    let Some(end) = hearing.end_of(testimony) else {
        return false;
    };
    let among = |claimed: &[String], told: &Option<String>| {
        claimed.is_empty() || told.as_ref().is_some_and(|told| claimed.contains(told))
    };
    testimony.told == "reset-sent"
        && round.hosts_at(end.ip()).contains(&claim.host.as_str())
        && among(&claim.reason, &testimony.reason)
        && among(&claim.path, &testimony.path)
}
