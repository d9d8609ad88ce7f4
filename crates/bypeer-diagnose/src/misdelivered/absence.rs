//! Times at which nobody listened: what a process had in hand before, none that came after can answer.

use std::collections::VecDeque;
use std::time::Duration;

use bypeer_wire::conn::{Connection, ResetShape};
use bypeer_wire::{Endpoint, Timestamp};
use hashbrown::HashMap;

/// Servers that are remembered; of more nothing is.
const SERVERS: usize = 4096;

/// Times of one server, the newest.
const KEPT: usize = 64;

/// Refusals as close as this are of one time.
const ONE: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Default)]
pub struct Absences {
    servers: HashMap<Endpoint, VecDeque<(Timestamp, Timestamp)>>,
}

impl Absences {
    /// Looks at a connection's record: was it refused?
    pub fn note(&mut self, connection: &Connection) {
        if let Some(reset) = connection
            .resets
            .iter()
            .find(|reset| reset.shape == ResetShape::Refusal)
        {
            self.refused(connection.server, reset.at.time);
        }
    }

    /// Nobody listened then.
    pub fn refused(&mut self, server: Endpoint, at: Timestamp) {
        if self.servers.len() >= SERVERS && !self.servers.contains_key(&server) {
            return;
        }
        let times = self.servers.entry(server).or_default();
        match times.back_mut() {
            // Records are made a little out of order.
            Some((first, last)) if at.since(*last) <= ONE && first.since(at) <= ONE => {
                (*first, *last) = ((*first).min(at), (*last).max(at));
            }
            _ => {
                if times.len() >= KEPT {
                    times.pop_front();
                }
                times.push_back((at, at));
            }
        }
    }

    /// Whether nobody listened at some time between these two.
    pub fn between(&self, server: Endpoint, from: Timestamp, until: Timestamp) -> bool {
        let times = self.servers.get(&server);
        times.is_some_and(|times| times.iter().any(|(first, last)| *last > from && *first < until))
    }
}
