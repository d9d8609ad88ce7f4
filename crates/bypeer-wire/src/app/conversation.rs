use super::detect::{self, Detected};
use super::ear::Ear;
use super::exchange::{Application, Protocol};
use super::fastcgi::FastCgi;
use super::http1::{Http1, Step};
use super::ledger::Ledger;
use super::notice::{How, Noticed};
use super::record::Record;
use super::tls::TlsRecords;
use super::turns::Turns;
use crate::{Direction, PacketRef};

/// Turns of something unknown among which HTTP and TLS are looked for.
const UNSETTLED_TURNS_MAX: u32 = 4;

/// What is said on one connection, told in order per direction by the connection table.
///
/// Costs one pointer while nothing was said. Bodies are never copied and, where the table heeds [`Conversation::unwanted`],
/// never looked at.
#[derive(Debug, Default)]
pub struct Conversation {
    told: Option<Box<Told>>,
}

impl Conversation {
    /// Nothing was said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// In-order payload of one direction; `offset` is the stream offset of its first byte, `at` the packet that carried it.
    /// Each call is taken for a segment: after a loss of framing, messages are looked for where a segment begins.
    pub fn data(&mut self, direction: Direction, offset: u64, bytes: &[u8], at: PacketRef) {
        if bytes.is_empty() {
            return;
        }
        let told = self.told.get_or_insert_default();
        told.each(at, |told| told.data(direction, offset, bytes, at));
    }

    /// In-order bytes that are not available (snap length, packets the capture missed) or not wanted.
    pub fn skip(&mut self, direction: Direction, offset: u64, len: u64, at: PacketRef) {
        if len == 0 {
            return;
        }
        let told = self.told.get_or_insert_default();
        told.each(at, |told| told.skip(direction, offset, len, at));
    }

    /// How many of the next bytes of this direction need not be seen: `skip` may be called for them instead of `data`.
    pub fn unwanted(&self, direction: Direction) -> u64 {
        self.told.as_ref().map_or(0, |told| told.unwanted(direction))
    }

    /// The other side acknowledged `direction`'s stream up to `offset` (exclusive).
    pub fn acked(&mut self, direction: Direction, offset: u64, at: PacketRef) {
        if let Some(told) = &mut self.told {
            told.each(at, |told| told.acked(direction, offset, at));
        }
    }

    /// The offset whose acknowledgement is waited for; `u64::MAX` when none.
    pub fn next_ack_of_interest(&self, direction: Direction) -> u64 {
        self.told
            .as_ref()
            .map_or(u64::MAX, |told| told.record.ledger.next_ack(told.inner(direction)))
    }

    /// This direction's sender is done: its FIN came, in order.
    pub fn fin(&mut self, direction: Direction, at: PacketRef) {
        if let Some(told) = &mut self.told {
            told.each(at, |told| told.fin(direction, at));
        }
    }

    /// Somebody listens: what is said from now on is told ([`Conversation::take_told`]). To be called before each `data` and
    /// `skip`, with how much of the other side's stream the packet acknowledged that carries what follows. `key`: of hashes of words;
    /// `whole`: the connection was seen from its beginning; `spare`: memory for what is told, borrowed until that is taken.
    pub(crate) fn listen(&mut self, key: u64, whole: bool, acked: Option<u64>, spare: &mut Vec<(PacketRef, Noticed)>) {
        let told = self.told.get_or_insert_with(|| {
            let mut told = Box::<Told>::default();
            told.record.ear = Some(Box::new(Ear::new(key, whole)));
            told
        });
        let unlike = told.unlike.as_mut().and_then(|unlike| unlike.record.ear.as_mut());
        for ear in [told.record.ear.as_mut(), unlike].into_iter().flatten() {
            ear.carried(acked);
            ear.lend(spare);
        }
    }

    /// A FIN or reset `by` the sender of a direction.
    pub(crate) fn over(&mut self, at: PacketRef, by: Direction, how: How, acked: Option<u64>, sent: u64) {
        let Some(told) = &mut self.told else { return };
        let unlike = told.unlike.as_mut().and_then(|unlike| unlike.record.ear.as_mut());
        for ear in [told.record.ear.as_mut(), unlike].into_iter().flatten() {
            ear.over(at, by, how, acked, sent);
        }
    }

    /// Nothing more will be said: what is open is cut. Whether anything was ever told.
    pub(crate) fn close_ear(&mut self, at: PacketRef) -> bool {
        let Some(told) = &mut self.told else { return false };
        told.decide();
        let Some(ear) = &mut told.record.ear else { return false };
        ear.at = at;
        ear.cut_answer();
        ear.is_in_use()
    }

    /// What was told since this was called last; nothing while it is open which side is the client.
    pub(crate) fn take_told(&mut self) -> Vec<(PacketRef, Noticed)> {
        let Some(told) = self.told.as_mut().filter(|told| told.unlike.is_none()) else {
            return Vec::new();
        };
        told.record.ear.as_mut().map_or_else(Vec::new, |ear| ear.take_told())
    }

    /// The bytes show that the roles are the other way round. To be asked after each `data`, and answered by
    /// [`Conversation::swap_roles`] before the next packet where the roles were only guessed.
    pub fn roles_reversed(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.unlike.is_some())
    }

    /// The caller has swapped the roles: what it calls `ToServer` from now on, it called `ToClient` before.
    pub fn swap_roles(&mut self) {
        if let Some(told) = &mut self.told {
            match told.unlike.take() {
                // Read as reversed already: now the caller's names are right.
                Some(_) => told.mirrored = false,
                None => told.mirrored = !told.mirrored,
            }
        }
    }

    /// All that was said.
    pub fn finish(self) -> Application {
        self.told.map_or_else(Application::default, |mut told| {
            told.decide();
            if let Some(unlike) = told.unlike.take() {
                told = unlike;
            }
            told.record.into_application()
        })
    }
}

#[derive(Clone, Debug, Default)]
struct Told {
    record: Record,
    parser: Parser,
    /// Directions are read the other way round than the caller names them.
    mirrored: bool,
    /// The same, had the bytes not been read as reversed; kept until the caller swaps roles or goes on without.
    unlike: Option<Box<Told>>,
    /// The packet in which `unlike` was made.
    reversed_at: u64,
}

#[derive(Clone, Debug)]
enum Parser {
    Undecided(Box<Undecided>),
    Http1(Box<Http1>),
    Tls(Box<TlsRecords>),
    FastCgi(Box<FastCgi>),
    Turns(Turns),
}

impl Default for Parser {
    fn default() -> Parser {
        Parser::Undecided(Box::new(Undecided {
            direction: Direction::ToServer,
            start: 0,
            at: PacketRef::default(),
            bytes: Vec::new(),
        }))
    }
}

/// The first bytes, while they do not tell enough.
#[derive(Clone, Debug)]
struct Undecided {
    direction: Direction,
    start: u64,
    at: PacketRef,
    bytes: Vec<u8>,
}

impl Told {
    fn inner(&self, direction: Direction) -> Direction {
        if self.mirrored { direction.reverse() } else { direction }
    }

    /// Does something in both readings while it is open which one holds. When the caller comes with another packet and has
    /// not swapped the roles, it knows them: what looked like a reversed HTTP is something else.
    fn each(&mut self, at: PacketRef, act: impl Fn(&mut Told)) {
        match self.unlike.take() {
            Some(unlike) if self.reversed_at != at.number => *self = *unlike,
            Some(mut unlike) => {
                act(&mut unlike);
                act(self);
                self.unlike = Some(unlike);
                return;
            }
            None => {}
        }
        act(self);
    }

    /// Nobody can tell anything of what is spoken here.
    fn stop_listening(&mut self) {
        if let Some(ear) = &mut self.record.ear {
            ear.lose();
            if !ear.is_in_use() {
                self.record.ear = None;
            }
        }
    }

    fn data(&mut self, direction: Direction, offset: u64, bytes: &[u8], at: PacketRef) {
        let direction = self.inner(direction);
        if matches!(&self.parser, Parser::Undecided(undecided) if undecided.direction != direction) {
            self.decide();
        }
        if let Parser::Undecided(undecided) = &mut self.parser {
            let fresh = undecided.bytes.is_empty();
            if fresh {
                (undecided.direction, undecided.start, undecided.at) = (direction, offset, at);
            } else {
                undecided.bytes.extend_from_slice(bytes);
            }
            let view = if fresh { bytes } else { &undecided.bytes };
            match detect::detect(direction, view, false) {
                Some(detected) if fresh => return self.become_detected(detected, direction, offset, bytes, at),
                Some(_) => return self.decide(),
                None if fresh => undecided.bytes = bytes.to_vec(),
                None => {}
            }
            return;
        }
        if let Parser::Turns(turns @ Turns { settled: false }) = &mut self.parser {
            if let Some(detected) = detect::detect_segment(direction, bytes) {
                return self.become_detected(detected, direction, offset, bytes, at);
            }
            // What begins in a body, or with a proxy's greeting, shows itself soon. What does not is left alone.
            turns.settled = self.record.ledger.total() > UNSETTLED_TURNS_MAX;
            if turns.settled {
                self.stop_listening();
            }
        }
        self.read(direction, offset, bytes, at);
    }

    /// With the bytes that are there: there will be no more of them alone.
    fn decide(&mut self) {
        let Parser::Undecided(undecided) = &mut self.parser else {
            return;
        };
        if undecided.bytes.is_empty() {
            return;
        }
        let Undecided {
            direction,
            start,
            at,
            bytes,
        } = *undecided.clone();
        let detected = detect::detect(direction, &bytes, true);
        let detected = detected.unwrap_or(Detected {
            protocol: Protocol::Unknown,
            reversed: false,
        });
        // An earlier packet carried these.
        let acked = self.record.ear.as_mut().and_then(|ear| ear.carried(None));
        self.become_detected(detected, direction, start, &bytes, at);
        if let Some(ear) = &mut self.record.ear {
            ear.carried(acked);
        }
    }

    fn become_detected(&mut self, detected: Detected, direction: Direction, offset: u64, bytes: &[u8], at: PacketRef) {
        if detected.reversed {
            let mut unlike = Box::new(self.clone());
            unlike.parser = Parser::Turns(Turns::settled());
            unlike.stop_listening();
            unlike.record.protocol = Protocol::Unknown;
            unlike.read(direction, offset, bytes, at);
            let forward = Detected {
                reversed: false,
                ..detected
            };
            self.mirrored = !self.mirrored;
            // What was said under the wrong names is dropped.
            self.record.ledger = Ledger::default();
            self.become_detected(forward, direction.reverse(), offset, bytes, at);
            self.unlike = Some(unlike);
            self.reversed_at = at.number;
            return;
        }
        self.record.protocol = detected.protocol;
        // The PROXY protocol's line is no part of the first request.
        let greeting = if detected.protocol == Protocol::Http1 {
            detect::proxy_line(bytes)
        } else {
            0
        };
        let (offset, bytes) = (
            offset.saturating_add(greeting as u64),
            bytes.get(greeting..).unwrap_or_default(),
        );
        let picked_up = matches!(self.parser, Parser::Turns(_));
        match (detected.protocol, &mut self.record.ear) {
            (Protocol::Unknown, _) | (_, None) => {}
            (protocol @ (Protocol::Http1 | Protocol::Redis), Some(ear)) => {
                ear.at = at;
                ear.begin(protocol, !picked_up);
            }
            _ => self.stop_listening(),
        }
        self.parser = match detected.protocol {
            Protocol::Http1 if picked_up => {
                self.record.unseen_bounds = true;
                self.pick_up(direction, at);
                Parser::Http1(Box::new(Http1::picked_up(direction.reverse())))
            }
            Protocol::Http1 => Parser::Http1(Box::default()),
            Protocol::Tls => Parser::Tls(Box::default()),
            Protocol::FastCgi => Parser::FastCgi(Box::default()),
            Protocol::Unknown => Parser::Turns(Turns { settled: false }),
            _ => Parser::Turns(Turns::settled()),
        };
        self.read(direction, offset, bytes, at);
    }

    /// HTTP begins after something else, in all likelihood the middle of a message from before the capture. That is no
    /// exchange; but when a response begins, what the client sent before is the request that it answers.
    fn pick_up(&mut self, direction: Direction, at: PacketRef) {
        let mut before = std::mem::take(&mut self.record.ledger);
        if direction == Direction::ToServer {
            return;
        }
        let Some(request) = before
            .newest()
            .filter(|newest| newest.response.is_none())
            .and_then(|e| e.request.take())
        else {
            return;
        };
        self.record.ledger.begin(Some(request), at);
    }

    /// Hands bytes to the parser until all are taken.
    fn read(&mut self, direction: Direction, mut offset: u64, bytes: &[u8], at: PacketRef) {
        let mut rest = bytes;
        let mut segment_start = true;
        if let Some(ear) = &mut self.record.ear {
            ear.at = at;
        }
        while !rest.is_empty() {
            let step = match &mut self.parser {
                Parser::Http1(http1) => http1.data(&mut self.record, direction, offset, rest, at, segment_start),
                Parser::Tls(tls) => match tls.data(&mut self.record, direction, offset, rest, at) {
                    Ok(()) => Step::Took(rest.len()),
                    Err(taken) => Step::Turns(taken),
                },
                Parser::FastCgi(fastcgi) => match fastcgi.data(&mut self.record, direction, offset, rest, at) {
                    Ok(()) => Step::Took(rest.len()),
                    Err(taken) => Step::Turns(taken),
                },
                Parser::Turns(_) | Parser::Undecided(_) => {
                    if let Some(ear) = &mut self.record.ear {
                        ear.redis(direction, offset, Some(rest), rest.len() as u64);
                    }
                    Turns::spoken(&mut self.record, direction, offset, rest.len() as u64, at);
                    Step::Took(rest.len())
                }
            };
            let taken = match step {
                Step::Took(taken) => taken,
                Step::Turns(taken) => {
                    self.parser = Parser::Turns(Turns::settled());
                    self.record.lose();
                    taken
                }
            };
            if let Some(ear) = &mut self.record.ear {
                ear.heard(direction, offset, taken as u64);
            }
            offset = offset.saturating_add(taken as u64);
            rest = rest.get(taken..).unwrap_or_default();
            segment_start = false;
        }
    }

    fn skip(&mut self, direction: Direction, offset: u64, len: u64, at: PacketRef) {
        let direction = self.inner(direction);
        self.decide();
        if let Some(ear) = &mut self.record.ear {
            ear.at = at;
            ear.heard(direction, offset, len);
        }
        match &mut self.parser {
            Parser::Http1(http1) => {
                if http1.skip(&mut self.record, direction, offset, len, at) {
                    self.parser = Parser::Turns(Turns::settled());
                    self.record.lose();
                }
            }
            Parser::Tls(tls) => tls.skip(&mut self.record, direction, offset, len, at),
            Parser::FastCgi(fastcgi) => {
                if !fastcgi.skip(&mut self.record, direction, offset, len, at) {
                    self.parser = Parser::Turns(Turns::settled());
                    Turns::spoken(&mut self.record, direction, offset, len, at);
                }
            }
            Parser::Turns(_) => {
                if let Some(ear) = &mut self.record.ear {
                    ear.redis(direction, offset, None, len);
                }
                Turns::spoken(&mut self.record, direction, offset, len, at);
            }
            Parser::Undecided(_) => {
                self.record.protocol = Protocol::Unknown;
                self.parser = Parser::Turns(Turns::default());
                Turns::spoken(&mut self.record, direction, offset, len, at);
            }
        }
    }

    fn unwanted(&self, direction: Direction) -> u64 {
        match &self.parser {
            Parser::Undecided(_) => 0,
            Parser::Http1(http1) => http1.unwanted(&self.record, self.inner(direction)),
            Parser::Tls(tls) => tls.unwanted(self.inner(direction)),
            Parser::FastCgi(fastcgi) => fastcgi.unwanted(self.inner(direction)),
            Parser::Turns(Turns { settled: false }) => 0,
            Parser::Turns(_) => {
                let ear = self.record.ear.as_ref();
                ear.and_then(|ear| ear.redis_unwanted(self.inner(direction)))
                    .unwrap_or(u64::MAX)
            }
        }
    }

    fn acked(&mut self, direction: Direction, offset: u64, at: PacketRef) {
        let direction = self.inner(direction);
        self.record.ledger.acked(direction, offset, at);
    }

    fn fin(&mut self, direction: Direction, at: PacketRef) {
        let direction = self.inner(direction);
        self.decide();
        if let Some(ear) = &mut self.record.ear {
            ear.at = at;
        }
        match &mut self.parser {
            Parser::Http1(http1) => http1.fin(&mut self.record, direction),
            Parser::FastCgi(_) => {}
            Parser::Tls(_) | Parser::Turns(_) => Turns::fin(&mut self.record, direction),
            Parser::Undecided(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::draft::Draft;

    /// 250 000 connections may live at once. Texts of the heads and the queue of exchanges come on top.
    #[test]
    fn a_conversation_with_one_exchange_is_small() {
        let parts = [size_of::<Told>(), size_of::<Http1>(), size_of::<Draft>()];
        let total = parts.iter().sum::<usize>();
        assert!(total <= 560, "{total} = {parts:?}");
        assert!(size_of::<Conversation>() == size_of::<usize>());
    }
}
