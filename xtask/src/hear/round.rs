//! Which of the watch's connections belong to a round.

use std::net::IpAddr;

use super::records::{Hearing, LabRound};

/// From one round's port to the next: `port +N` of a script lies between.
const PORTS: u16 = 16;
/// The watch's times are the kernel's monotonic ones, brought to real time: a round trip between two clocks off.
const SLACK: f64 = 0.0002;

/// What was heard of a round.
#[derive(Debug, Default)]
pub struct Heard<'a> {
    pub hearings: Vec<&'a Hearing>,
}

impl<'a> Heard<'a> {
    /// Those between hosts of the round, with a port of its own at one end, that died while it lasted.
    pub fn of(round: &LabRound, hearings: &'a [Hearing]) -> Heard<'a> {
        let hearings = hearings
            .iter()
            .filter(|hearing| belongs(round, hearing))
            .collect::<Vec<_>>();
        Heard { hearings }
    }
}

fn belongs(round: &LabRound, hearing: &Hearing) -> bool {
    let ends = [hearing.client, hearing.server];
    let time = hearing.kernel.deciding.time;
    // What listens on all addresses may be told without one.
    let ours = |address: IpAddr| address.is_unspecified() || !round.hosts_at(address).is_empty();
    time >= round.began - SLACK
        && time <= round.ended
        && ends.iter().all(|end| ours(end.ip()))
        && ends
            .iter()
            .any(|end| end.port().checked_sub(round.port).is_some_and(|by| by < PORTS))
}

impl LabRound {
    /// The hosts with this address: some share one.
    pub fn hosts_at(&self, address: IpAddr) -> Vec<&str> {
        let there = self.hosts.iter().filter(|host| host.address == address);
        there.map(|host| host.name.as_str()).collect()
    }
}
