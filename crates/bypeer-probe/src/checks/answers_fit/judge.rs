//! What came of all requests, and whose the answers were.

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::lane::Due;
use super::shape::{Ask, Ways};
use super::tag::{Token, tokens};
use crate::http::Answer;

/// What was done when something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum During {
    Steady,
    Pipelined,
    Single,
    Abort,
    AfterAbort,
    SlowBody,
    AfterHead,
    Idle,
}

/// What the lanes share.
pub(super) struct Work {
    until: Instant,
    keys: RandomState,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    connections_left: u32,
    requests_left: u32,
    lanes: u32,
    tokens: u64,
    owners: HashMap<Token, Owner>,
    seen: Seen,
}

/// Who sent a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    connection: u32,
    source: Option<IpAddr>,
    aborted: bool,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Requests sent.
    pub(super) requests: u32,
    /// Connections opened.
    pub(super) connections: u32,
    /// Answers that came whole.
    pub(super) answers: u32,
    /// Of those, with their own token.
    pub(super) own: u32,
    /// Answers that belonged to another request.
    pub(super) wrong: Vec<(Wrong, During)>,
    /// Answers to the URL that looked like those to the other path.
    pub(super) page_as_other: u32,
    /// The reverse.
    pub(super) other_as_page: u32,
    /// What came unasked.
    pub(super) surplus: Vec<(Surplus, During)>,
    /// 4xx that came unasked, as servers say goodbye to idle connections.
    pub(super) goodbyes: u32,
    /// Requests without a whole answer that were not aborted by us: closed, reset, silent.
    pub(super) unanswered: [u32; 3],
    /// Pipelined pairs whose second request was answered, and all.
    pub(super) pairs: (u32, u32),
    /// Connections that could not be had, and why first.
    pub(super) unopened: (u32, Option<String>),
    /// Of those, refused: nobody listens any more.
    pub(super) refused: u32,
    /// Lines for people.
    pub(super) notes: Vec<String>,
}

/// Whose answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Of another request of the same connection.
    SameConnection,
    /// Of another connection from the same address.
    SameSource,
    /// Of a connection from another address.
    OtherSource,
    /// Of a request that its client had given up.
    Aborted,
}

/// What came unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surplus {
    /// An answer.
    Answer(u16),
    /// Bytes that are no answer.
    Bytes(usize),
}

impl Work {
    pub(super) fn new(connections: u32, requests: u32, until: Instant) -> Work {
        Work {
            until,
            keys: RandomState::new(),
            inside: Mutex::new(Inside {
                connections_left: connections,
                requests_left: requests,
                ..Inside::default()
            }),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen(&self) -> Seen {
        self.inside().seen.clone()
    }

    /// Changes what was seen.
    pub(super) fn see(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.inside().seen);
    }

    pub(super) fn note(&self, line: String) {
        self.see(|seen| seen.notes.push(line));
    }

    /// No more may be done.
    pub(super) fn is_over(&self) -> bool {
        let inside = self.inside();
        inside.requests_left == 0 || Instant::now() >= self.until
    }

    /// A number for a connection, when one more may be opened.
    pub(super) fn connection(&self) -> Option<u32> {
        let mut inside = self.inside();
        inside.connections_left = inside.connections_left.checked_sub(1)?;
        inside.lanes += 1;
        inside.seen.connections += 1;
        Some(inside.lanes)
    }

    /// Whether so many requests more may be sent; counts them.
    pub(super) fn requests(&self, count: u32) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        let mut inside = self.inside();
        match inside.requests_left.checked_sub(count) {
            Some(left) => {
                inside.requests_left = left;
                inside.seen.requests += count;
                true
            }
            None => {
                inside.requests_left = 0;
                false
            }
        }
    }

    /// A new token, for a request of this connection.
    pub(super) fn token(&self, connection: u32, source: Option<IpAddr>) -> Token {
        let mut inside = self.inside();
        inside.tokens += 1;
        let token = Token::of(&self.keys, inside.tokens);
        let owner = Owner {
            connection,
            source,
            aborted: false,
        };
        inside.owners.insert(token, owner);
        token
    }

    /// Its request is given up.
    pub(super) fn aborted(&self, token: Token) {
        if let Some(owner) = self.inside().owners.get_mut(&token) {
            owner.aborted = true;
        }
    }

    /// A whole answer came to a request of this connection.
    pub(super) fn judge(
        &self,
        ways: &Ways,
        due: &Due,
        (connection, source): (u32, Option<IpAddr>),
        answer: &Answer,
        during: During,
    ) {
        let found = tokens(answer);
        let mut inside = self.inside();
        inside.seen.answers += 1;
        if due.marked && found.contains(&due.token) {
            inside.seen.own += 1;
            return;
        }
        // Pages that list what others ask for hold their tokens by right: only where its own was due does another one prove anything.
        let foreign = found.iter().find_map(|found| inside.owners.get(found).copied());
        if let Some(owner) = foreign.filter(|_| due.marked) {
            let wrong = if owner.aborted {
                Wrong::Aborted
            } else if owner.connection == connection {
                Wrong::SameConnection
            } else if owner.source == source {
                Wrong::SameSource
            } else {
                Wrong::OtherSource
            };
            inside.seen.wrong.push((wrong, during));
            return;
        }
        match due.ask.filter(|ask| ways.looks_swapped(*ask, answer)) {
            Some(Ask::Page) => inside.seen.page_as_other += 1,
            Some(Ask::Other) => inside.seen.other_as_page += 1,
            None => {}
        }
    }
}
