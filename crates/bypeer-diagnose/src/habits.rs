//! What only several hearings together show. Kernels tell of connections that died alone: a habit is what all of a server's deaths have in
//! common, and nothing is known of those that ended well.

use std::collections::BTreeMap;

use bypeer_wire::Endpoint;

use crate::causes;
use crate::{Hearing, Insight};

/// Servers that are remembered.
const SERVERS: usize = 10_000;
/// Fewer deaths are no habit.
const SEVERAL: u32 = 3;

/// Notes about the connections of each server that it had closed, gathered as they are heard.
#[derive(Debug, Default)]
pub struct Habits {
    closes: BTreeMap<Endpoint, Closes>,
}

#[derive(Debug, Default)]
struct Closes {
    after_answer: u32,
    /// Of those, how many are known to have said so, or not to have.
    announced: u32,
    unannounced: u32,
    otherwise: u32,
}

impl Habits {
    /// Takes note of a connection.
    pub fn note(&mut self, hearing: &Hearing) {
        let Some(after_answer) = hearing.server_closed_right_after_its_answer() else {
            return;
        };
        if self.closes.len() >= SERVERS && !self.closes.contains_key(&hearing.server) {
            return;
        }
        let closes = self.closes.entry(hearing.server).or_default();
        if !after_answer {
            closes.otherwise += 1;
            return;
        }
        closes.after_answer += 1;
        match hearing.announced() {
            Some(true) => closes.announced += 1,
            Some(false) => closes.unannounced += 1,
            None => {}
        }
    }

    /// What they amount to.
    pub fn insights(&self) -> Vec<Insight> {
        let of_server = |(server, closes): (&Endpoint, &Closes)| {
            let all = closes.after_answer + closes.otherwise;
            let is_habit =
                closes.after_answer >= SEVERAL && closes.after_answer * 10 >= all * 8 && closes.announced == 0;
            let said = match closes.unannounced {
                0 => "; whether it says Connection: close is not known (--payload reads it)".to_owned(),
                all if all == closes.after_answer => ", and never said Connection: close".to_owned(),
                some => format!(", and did not say Connection: close on the {some} whose answer was read"),
            };
            let cause = causes::find("unannounced-close-each-response").filter(|_| is_habit)?;
            Some(Insight {
                cause,
                server: *server,
                what: format!(
                    "the server had closed right after its answer on {} of {all} connections that met its close{said}",
                    closes.after_answer
                ),
                connections: closes.after_answer,
            })
        };
        self.closes.iter().filter_map(of_server).collect()
    }
}
