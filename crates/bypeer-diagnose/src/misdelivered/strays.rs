//! Answers that leave from an address which their client never talked to: a NAT's entry was lost while the request waited.

use std::collections::VecDeque;
use std::time::Duration;

use bypeer_wire::conn::{Connection, Ending, ResetShape};
use bypeer_wire::{Direction, Endpoint, PacketRef, Timestamp};

use super::astray::Elsewhere;

/// Of each kind, remembered.
const KEPT: usize = 1024;

/// The client's kernel refuses what it does not know at once; a far one within this.
const AT_ONCE: Duration = Duration::from_secs(2);

/// What only a NAT that lost its entry would show, of each half of it.
#[derive(Debug, Default)]
pub struct Strays {
    /// Answers without a connection, refused by whom they were sent to.
    foreign: VecDeque<Foreign>,
    /// Connections whose client waits for an answer.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Foreign {
    stream: u32,
    client: Endpoint,
    from: Endpoint,
    answer: PacketRef,
    refused: PacketRef,
    bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    stream: u32,
    client: Endpoint,
    server: Endpoint,
    since: Timestamp,
    until: Timestamp,
}

impl Strays {
    /// Looks at a connection's record.
    pub fn note(&mut self, connection: &Connection) {
        if let Some(foreign) = foreign(connection) {
            remember(&mut self.foreign, foreign);
        } else if let Some(waiting) = waiting(connection) {
            remember(&mut self.waiting, waiting);
        }
    }

    /// The other half of it, for a connection that has one.
    pub fn of(&self, connection: &Connection) -> Option<Elsewhere> {
        if let Some(foreign) = foreign(connection) {
            let known = self.waiting.iter().find(|waiting| belong(&foreign, waiting))?;
            return Some(elsewhere(&foreign, known));
        }
        let waiting = waiting(connection)?;
        let foreign = self.foreign.iter().find(|foreign| belong(foreign, &waiting))?;
        Some(elsewhere(foreign, &waiting))
    }
}

fn elsewhere(foreign: &Foreign, known: &Waiting) -> Elsewhere {
    Elsewhere {
        known: (known.stream, known.server),
        foreign: (foreign.stream, foreign.from),
        client: known.client,
        answer: foreign.answer,
        refused: foreign.refused,
        bytes: foreign.bytes,
    }
}

fn belong(foreign: &Foreign, waiting: &Waiting) -> bool {
    foreign.client == waiting.client
        && foreign.from != waiting.server
        && foreign.answer.time > waiting.since
        && foreign.answer.time < waiting.until
}

/// Data without a handshake from one side, refused by the other's kernel, which has no socket for it and never sent anything else.
fn foreign(connection: &Connection) -> Option<Foreign> {
    if connection.seen_from_start() {
        return None;
    }
    // Who is the client of such a stream is a guess: it is the one that refuses.
    let reset = connection
        .resets
        .iter()
        .find(|reset| reset.shape == ResetShape::Passive)?;
    let refuses = reset.direction;
    let (said, refused) = (connection.flow(refuses.reverse()), connection.flow(refuses));
    let answer = said.first_data?;
    if refused.sent > 0 || refused.last_packet.is_some() || reset.at.time.since(answer.time) > AT_ONCE {
        return None;
    }
    let (client, from) = match refuses {
        Direction::ToServer => (connection.client, connection.server),
        Direction::ToClient => (connection.server, connection.client),
    };
    Some(Foreign {
        stream: connection.stream,
        client,
        from,
        answer,
        refused: reset.at,
        bytes: said.sent,
    })
}

/// The client asked, its request arrived, and nothing came back.
fn waiting(connection: &Connection) -> Option<Waiting> {
    let request = connection
        .app
        .exchanges
        .newest()
        .filter(|newest| newest.response.is_none())?;
    let asked = request.request.as_ref()?;
    let until = match connection.ending {
        Ending::CaptureEnded => connection.watched_until.max(connection.ended.time),
        _ => connection.ended.time,
    };
    (connection.seen_from_start() && connection.to_server.acked > asked.start).then_some(Waiting {
        stream: connection.stream,
        client: connection.client,
        server: connection.server,
        since: asked.begun.time,
        until,
    })
}

fn remember<T>(kept: &mut VecDeque<T>, item: T) {
    if kept.len() >= KEPT {
        kept.pop_front();
    }
    kept.push_back(item);
}
