use std::collections::BTreeMap;

use bypeer_wire::conn::{Connection, Ending};

use crate::{Accounts, Confidence, Finding, NotJudged};

/// Counts every connection exactly once.
#[derive(Debug, Default)]
pub struct Counter {
    connections: u64,
    ended_well: u64,
    found: u64,
    harmless: u64,
    undecided: u64,
    not_judged: BTreeMap<NotJudged, u64>,
}

impl Counter {
    pub fn seen(&mut self) {
        self.connections += 1;
    }

    /// Nothing is wrong with it: it ended well, or is still open, or too little was seen to say so.
    pub fn well(&mut self, connection: &Connection) {
        let closed = connection.to_server.fin.is_some() || connection.to_client.fin.is_some();
        let reason = match connection.ending {
            _ if connection.reused_tuple && !connection.seen_from_start() => Some(NotJudged::TooLittleSeen),
            _ if closed => None,
            Ending::Evicted => Some(NotJudged::Evicted),
            Ending::CaptureEnded if connection.to_server.packets + connection.to_client.packets < 3 => {
                Some(NotJudged::TooLittleSeen)
            }
            Ending::CaptureEnded => Some(NotJudged::StillOpen),
            Ending::Ended => None,
            Ending::TupleReused => Some(NotJudged::TooLittleSeen),
        };
        match reason {
            None => self.ended_well += 1,
            Some(reason) => *self.not_judged.entry(reason).or_default() += 1,
        }
    }

    /// No cause had anything to say.
    pub fn no_cause(&mut self, connection: &Connection, abnormal: Option<NotJudged>) {
        match abnormal {
            Some(reason) => *self.not_judged.entry(reason).or_default() += 1,
            None => self.well(connection),
        }
    }

    pub fn finding(&mut self, finding: &Finding) {
        if finding.harmless {
            self.harmless += 1;
        } else if finding.confidence == Confidence::Undecided {
            self.undecided += 1;
        } else {
            self.found += 1;
        }
    }

    pub fn into_accounts(self) -> Accounts {
        Accounts {
            connections: self.connections,
            ended_well: self.ended_well,
            found: self.found,
            harmless: self.harmless,
            undecided: self.undecided,
            not_judged: self.not_judged.into_iter().collect(),
        }
    }
}
