//! Findings by cause and server: counted, with the first as an example. Bounded, whatever happens.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bypeer_diagnose::{Cause, Confidence};

use super::found::Found;
use crate::account::Account;

/// Kinds of findings that are kept: causes times servers, and no more.
const MOST: usize = 256;
/// Bytes of a method, and of a path, in an example.
const LONGEST_METHOD: usize = 32;
const LONGEST_PATH: usize = 200;

/// What was found so far.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<(usize, Option<String>), Kind>>);

/// Findings of one cause about one server.
#[derive(Debug, Clone)]
pub struct Kind {
    /// The cause.
    pub cause: &'static Cause,
    /// Whose server it is about; `None`: the clients' doing.
    pub server: Option<String>,
    /// How many.
    pub count: u64,
    /// Of these, exchanges whose answer the client got whole all the same.
    pub saved: u64,
    /// The surest of them.
    pub surest: Found,
    /// The request of the first: method and path.
    pub example: String,
    /// When the first was.
    pub first: SystemTime,
    /// When the last was.
    pub last: SystemTime,
}

impl Tally {
    /// Counts a finding. What is to be said of it now: the first of its kind, then each tenfold.
    pub(super) fn add(&self, account: &Account, found: &Found) -> Option<u64> {
        let now = SystemTime::now();
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = bypeer_diagnose::causes::CAUSES
            .iter()
            .position(|cause| *cause == found.cause)?;
        let key = (place, found.server.clone());
        if kinds.len() >= MOST && !kinds.contains_key(&key) {
            return None;
        }
        let kind = kinds.entry(key).or_insert_with(|| Kind {
            cause: found.cause,
            server: found.server.clone(),
            count: 0,
            saved: 0,
            surest: found.clone(),
            example: example(account),
            first: now,
            last: now,
        });
        kind.count += 1;
        kind.saved += u64::from(found.saved);
        kind.last = now;
        if found.confidence > kind.surest.confidence {
            kind.surest = found.clone();
        }
        is_told(kind.count).then_some(kind.count)
    }

    /// All kinds: the surest first, of those the most frequent first.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        let weight = |kind: &Kind| {
            let sure = match kind.surest.confidence {
                Confidence::Certain => 0,
                Confidence::Likely => 1,
                Confidence::Undecided => 2,
            };
            // What clients do is their right: last.
            (kind.server.is_none(), sure, std::cmp::Reverse(kind.count))
        };
        kinds.sort_by_key(weight);
        kinds
    }
}

/// Whether the so manieth of a kind is told of: the first, and each tenfold.
pub(super) fn is_told(count: u64) -> bool {
    std::iter::successors(Some(1_u64), |power| power.checked_mul(10)).any(|power| power == count)
}

fn example(account: &Account) -> String {
    let path = account.path.split('?').next().unwrap_or_default();
    let path = &path[..path.floor_char_boundary(LONGEST_PATH)];
    let method = account.method.as_str();
    let method = &method[..method.floor_char_boundary(LONGEST_METHOD)];
    format!("{method} {path}")
}
