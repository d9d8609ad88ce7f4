#![allow(clippy::unwrap_used)]

mod fastcgi;
mod http1;
mod notices;
mod splits;
mod tls;

use super::*;
use crate::{Direction, PacketRef, Timestamp};

/// A line of a dialogue.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Client(Vec<u8>),
    Server(Vec<u8>),
    ClientUnseen(u64),
    ServerUnseen(u64),
    ClientFin,
    ServerFin,
}

pub(super) fn c(bytes: impl AsRef<[u8]>) -> Said {
    Said::Client(bytes.as_ref().to_vec())
}

pub(super) fn s(bytes: impl AsRef<[u8]>) -> Said {
    Said::Server(bytes.as_ref().to_vec())
}

/// Feeds a conversation as the table does: by offset, heeding `unwanted`, packets numbered from 1.
pub(super) struct Feeder {
    pub(super) conversation: Conversation,
    pub(super) offsets: [u64; 2],
    pub(super) packet: u64,
    /// All packets alike, so that results of different splits can be compared.
    pub(super) anonymous: bool,
    pub(super) heeds_unwanted: bool,
    /// Notices are asked for.
    pub(super) listens: bool,
    /// How much of the other's stream the next segments acknowledge; all of it where `None`.
    pub(super) acks: Option<u64>,
    pub(super) told: Vec<(u64, Noticed)>,
}

impl Feeder {
    pub(super) fn new() -> Feeder {
        Feeder {
            conversation: Conversation::new(),
            offsets: [0; 2],
            packet: 0,
            anonymous: false,
            heeds_unwanted: true,
            listens: false,
            acks: None,
            told: Vec::new(),
        }
    }

    fn at(&self) -> PacketRef {
        if self.anonymous {
            return PacketRef::default();
        }
        PacketRef {
            number: self.packet,
            time: Timestamp(self.packet as i64),
        }
    }

    pub(super) fn segment(&mut self, direction: Direction, mut bytes: &[u8]) {
        self.packet += 1;
        let at = self.at();
        while !bytes.is_empty() {
            let offset = self.offsets[direction.index()];
            let unwanted = if self.heeds_unwanted {
                self.conversation.unwanted(direction)
            } else {
                0
            };
            let here = (bytes.len() as u64).min(unwanted) as usize;
            self.listen(direction);
            if here > 0 {
                self.conversation.skip(direction, offset, here as u64, at);
                self.offsets[direction.index()] = offset.saturating_add(here as u64);
                bytes = &bytes[here..];
            } else {
                self.conversation.data(direction, offset, bytes, at);
                self.offsets[direction.index()] = offset.saturating_add(bytes.len() as u64);
                bytes = &[];
            }
        }
        self.collect();
    }

    pub(super) fn unseen(&mut self, direction: Direction, len: u64) {
        let at = self.at();
        self.listen(direction);
        self.conversation
            .skip(direction, self.offsets[direction.index()], len, at);
        self.offsets[direction.index()] = self.offsets[direction.index()].saturating_add(len);
    }

    pub(super) fn fin(&mut self, direction: Direction) {
        self.packet += 1;
        let at = self.at();
        self.conversation.fin(direction, at);
        let acked = self.offsets[direction.reverse().index()];
        let sent = self.offsets[direction.index()];
        self.conversation.over(at, direction, How::Fin, Some(acked), sent);
        self.collect();
    }

    fn listen(&mut self, direction: Direction) {
        if self.listens {
            let acked = self.acks.unwrap_or(self.offsets[direction.reverse().index()]);
            self.conversation.listen(7, true, Some(acked));
        }
    }

    fn collect(&mut self) {
        let told = self.conversation.take_told();
        self.told.extend(told.into_iter().map(|(at, what)| (at.number, what)));
    }

    pub(super) fn say(&mut self, said: &Said) {
        match said {
            Said::Client(bytes) => self.segment(Direction::ToServer, bytes),
            Said::Server(bytes) => self.segment(Direction::ToClient, bytes),
            Said::ClientUnseen(len) => self.unseen(Direction::ToServer, *len),
            Said::ServerUnseen(len) => self.unseen(Direction::ToClient, *len),
            Said::ClientFin => self.fin(Direction::ToServer),
            Said::ServerFin => self.fin(Direction::ToClient),
        }
    }
}

/// The outcome of a dialogue, a segment a line.
pub(super) fn told(dialogue: &[Said]) -> Application {
    let mut feeder = Feeder::new();
    dialogue.iter().for_each(|said| feeder.say(said));
    let application = feeder.conversation.finish();
    let mut listened_to = Feeder::new();
    listened_to.listens = true;
    dialogue.iter().for_each(|said| listened_to.say(said));
    let listened_to = listened_to.conversation.finish();
    assert_eq!(
        format!("{application:?}"),
        format!("{listened_to:?}"),
        "listening changes nothing"
    );
    application
}

pub(super) fn request_head(exchange: &Exchange) -> &RequestHead {
    match &exchange.request.as_ref().unwrap().head {
        Head::Request(head) => head,
        other => panic!("no request head: {other:?}"),
    }
}

pub(super) fn response_head(exchange: &Exchange) -> &ResponseHead {
    match &exchange.response.as_ref().unwrap().head {
        Head::Response(head) => head,
        other => panic!("no response head: {other:?}"),
    }
}

/// Statuses of the kept exchanges, 0 where there is no response head.
pub(super) fn statuses(application: &Application) -> Vec<u16> {
    let status = |exchange: &Exchange| match exchange.response.as_ref().map(|response| &response.head) {
        Some(Head::Response(head)) => head.status,
        _ => 0,
    };
    application.exchanges.iter().map(status).collect()
}
