//! Whose socket it was, by what the watch says and by what the lab knows: each end is an actor's, whose process is named after its host.

use std::ops::AddAssign;

use bypeer_lab::actor::process_name;
use bypeer_lab::scenario::Truth;

use super::records::{Hearing, LabRound, Testimony};

/// Owners that were told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    pub right: usize,
    /// Nobody was named where there was somebody.
    pub unknown: usize,
    /// What was told, and what is true.
    pub wrong: Vec<String>,
}

impl AddAssign for Owners {
    fn add_assign(&mut self, other: Owners) {
        self.right += other.right;
        self.unknown += other.unknown;
        self.wrong.extend(other.wrong);
    }
}

/// Of both ends of a connection.
pub fn owners(round: &LabRound, hearing: &Hearing) -> Owners {
    let mut owners = Owners::default();
    for testimony in hearing.testimonies() {
        owners += of_one(round, hearing, testimony);
    }
    owners
}

/// A reset that is the scenario's own must be that of the host which the truth says sent it; the words tell of another.
pub fn wrong_end(round: &LabRound, truth: &Truth, hearing: &Hearing) -> Option<String> {
    let by = &hearing.kernel.deciding;
    if by.told != "reset-sent" || truth.kernel.is_empty() {
        return None;
    }
    let end = hearing.end_of(by)?;
    let hosts = round.hosts_at(end.ip());
    let claimed = truth.kernel.iter().any(|claim| hosts.contains(&claim.host.as_str()));
    (!claimed).then(|| format!("the reset was {}'s, not {}'s", hosts.join(" or "), truth.kernel[0].host))
}

fn of_one(round: &LabRound, hearing: &Hearing, testimony: &Testimony) -> Owners {
    let mut owners = Owners::default();
    let hosts = hearing
        .end_of(testimony)
        .map_or_else(Vec::new, |end| round.hosts_at(end.ip()));
    // Programs that are no actors of the lab have any name.
    let names: Vec<String> = hosts
        .iter()
        .filter(|host| {
            let mut accounts = round.accounts.iter().filter(|account| account.host == **host);
            accounts.all(|account| account.scripted)
        })
        .map(|host| process_name(host).to_string_lossy().into_owned())
        .collect();
    if names.len() < hosts.len() {
        return owners;
    }
    match &testimony.process {
        // A kernel that refuses where no socket is speaks for nobody.
        None if testimony.state.is_none() => {}
        None => owners.unknown = 1,
        Some(process) if names.contains(&process.name) => owners.right = 1,
        Some(process) => owners.wrong.push(format!(
            "{} at {}, not {}",
            process.name,
            hearing
                .end_of(testimony)
                .map_or_else(|| "an unknown end".to_owned(), |end| end.to_string()),
            names.join(" or ")
        )),
    }
    owners
}
