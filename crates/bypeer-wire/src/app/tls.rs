use super::exchange::{Tls, TlsAlert, TlsRecordNote};
use super::framed::Framed;
use super::record::Record;
use super::tls_hello as hello;
use super::turns::Turns;
use crate::{Direction, PacketRef};

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// RFC 5246 §6.2.3; TLS 1.3 allows less.
const FRAGMENT_MAX: u16 = (1 << 14) + 2048;
const ALERTS_MAX: usize = 8;
/// An encrypted alert of TLS 1.3: level, description, content type, tag of 16 (RFC 8446 §5.2, without padding).
const ALERT_13: u16 = 2 + 1 + 16;
/// An encrypted Finished of TLS 1.3: header of 4, hash of 32 or 48, content type, tag.
const FINISHED_13: [u16; 2] = [4 + 32 + 17, 4 + 48 + 17];
/// Records of TLS 1.3 that hold HTTP/2 control frames alone: SETTINGS acknowledged (9 bytes), WINDOW_UPDATE and RST_STREAM
/// (13), PING and GOAWAY (17), two of 13 (RFC 9113 §6). They are no turn of a dialogue.
const HTTP2_CONTROL_13: [u16; 4] = [9 + 17, 13 + 17, 17 + 17, 26 + 17];
/// Encrypted records of a client taken for its handshake at most, when none has the size of a Finished.
const CLIENT_HANDSHAKE_MAX: u8 = 4;
/// A hello larger than this is not collected to its end.
const HELLO_MAX: usize = 20 * 1024;

/// TLS records without keys (RFC 8446 §5, RFC 5246 §6).
///
/// Application data becomes turns. What is handshake in TLS 1.3 looks like application data too, and is told by place and
/// size: the server's records until the client's Finished, the client's until a record of a Finished's size, the server's
/// between that and the client's first data (session tickets), and two of one size right after it.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsRecords {
    sides: [Side; 2],
    /// The client's Finished (TLS 1.3) was seen, by its size.
    client_finished: bool,
    client_handshake_records: u8,
    client_spoke: bool,
    /// The client offered HTTP/2; whether the server chose it is encrypted in TLS 1.3.
    http2_offered: bool,
    /// First application record of the server after the client's Finished and first data: offset and length.
    first_answer: Option<(u64, u16)>,
    answers: u8,
}

#[derive(Clone, Debug, Default)]
struct Side {
    framed: Framed<5>,
    /// Bytes of the record belong to a turn.
    in_turn: bool,
    gather: Gather,
    gathered: Vec<u8>,
    hello_done: bool,
    /// TLS 1.2: what follows is encrypted.
    cipher_changed: bool,
    /// TLS 1.2: an encrypted handshake record, so the Finished, was seen.
    finished: bool,
    /// Record borders are lost until a segment begins with a record header.
    adrift: bool,
}

/// What of the current record is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gather {
    #[default]
    Nothing,
    Hello,
    Alert,
}

/// What an application-data record is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Turn,
    /// Handshake, ticket or control.
    Handshake,
    Alert,
}

impl TlsRecords {
    /// Reads bytes of a segment. `Err`: these are no records; how many bytes were taken before.
    pub(super) fn data(
        &mut self,
        record: &mut Record,
        direction: Direction,
        offset: u64,
        bytes: &[u8],
        at: PacketRef,
    ) -> Result<(), usize> {
        let mut position = 0;
        while let Some(rest) = bytes.get(position..).filter(|rest| !rest.is_empty()) {
            let here = offset.saturating_add(position as u64);
            let side = self.side(direction);
            if side.adrift {
                let resumes = position == 0 && rest.len() >= 5 && header(rest).is_some();
                if !resumes {
                    self.between_records(record, direction, here, rest.len() as u64, at);
                    return Ok(());
                }
                side.adrift = false;
            }
            if side.framed.left > 0 {
                let taken = side.framed.pass(rest.len() as u64);
                let body = rest.get(..taken as usize).unwrap_or_default();
                self.body(record, direction, here, body, at);
                position += body.len();
                continue;
            }
            let (taken, whole) = side.framed.take(here, rest, at);
            if let Some(whole) = whole {
                let Some((content_type, len)) = header(&whole) else {
                    let (start, begun) = (side.framed.start, side.framed.at);
                    side.framed.forget();
                    record.lost_track.get_or_insert(at);
                    note_open(record, direction, false);
                    // Bytes of this header that came with segments before.
                    Turns::spoken(record, direction, start, here.saturating_sub(start), begun);
                    return Err(position);
                };
                self.record(record, direction, content_type, len, at);
            }
            position += taken;
            note_open(record, direction, self.side(direction).framed.is_open());
        }
        note_open(record, direction, self.side(direction).framed.is_open());
        Ok(())
    }

    /// Passes over bytes that are not there.
    pub(super) fn skip(&mut self, record: &mut Record, direction: Direction, offset: u64, len: u64, at: PacketRef) {
        let side = self.side(direction);
        let here = side.framed.pass(len);
        if here > 0 {
            if side.in_turn {
                self.speak(record, direction, offset, here, at);
            }
            let side = self.side(direction);
            if side.gather == Gather::Hello {
                self.hello(record, direction, true);
            }
        }
        let side = self.side(direction);
        if here < len {
            side.framed.forget();
            side.gather = Gather::Nothing;
            side.adrift = true;
            self.may_have_finished(record, direction, len - here);
            self.between_records(record, direction, offset.saturating_add(here), len - here, at);
        }
        note_open(record, direction, self.side(direction).framed.is_open());
    }

    /// Bytes ahead that need not be seen: the rest of a record.
    pub(super) fn unwanted(&self, direction: Direction) -> u64 {
        let side = &self.sides[direction.index()];
        if side.gather == Gather::Nothing {
            side.framed.left
        } else {
            0
        }
    }

    /// Unseen bytes of a client in its handshake, enough for a Finished: what comes next is in all likelihood no handshake any more.
    fn may_have_finished(&mut self, record: &Record, direction: Direction, unseen: u64) {
        let greeted = record.tls.as_ref().is_some_and(|tls| tls.server_hello.is_some());
        let room = unseen >= 5 + u64::from(FINISHED_13[0]);
        self.client_finished |= direction == Direction::ToServer && greeted && room;
    }

    /// Bytes in which record borders are not known: part of a turn, unless the handshake is not over.
    fn between_records(&mut self, record: &mut Record, direction: Direction, offset: u64, len: u64, at: PacketRef) {
        let tls = record.tls.get_or_insert_default();
        let hello_seen = tls.client_hello.is_some() || tls.server_hello.is_some();
        if !hello_seen || tls.established || self.client_spoke {
            Turns::spoken(record, direction, offset, len, at);
        }
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        &mut self.sides[direction.index()]
    }

    /// A record header is whole.
    fn record(&mut self, record: &mut Record, direction: Direction, content_type: u8, len: u16, at: PacketRef) {
        let tls = record.tls.get_or_insert_default();
        let version = tls.version;
        let handshake_seen = tls.client_hello.is_some() || tls.server_hello.is_some();
        // A ServerHello that was cut does not tell; but up to 1.2 an encrypted handshake record comes first.
        let client_finished = self.sides[Direction::ToServer.index()].finished;
        let is_cut_13 = version.is_none() && tls.server_hello.is_some() && !client_finished;
        let alert_sized =
            content_type == ALERT || (content_type == APPLICATION_DATA && is_13(version) && len == ALERT_13);
        let side = self.side(direction);
        side.framed.left = u64::from(len);
        side.in_turn = false;
        side.gather = Gather::Nothing;
        side.gathered = Vec::new();
        let (start, begun) = (side.framed.start, side.framed.at);
        let note = TlsRecordNote {
            content_type,
            len,
            alert_sized,
            at: begun,
            start,
        };
        tls.last_record[direction.index()] = Some(note);
        if alert_sized {
            if tls.alerts.len() == ALERTS_MAX {
                tls.alerts.remove(0);
            }
            let end = start.saturating_add(5 + u64::from(len));
            tls.alerts.push(TlsAlert {
                direction,
                at: begun,
                plain: None,
                start,
                end,
            });
        }
        match content_type {
            CHANGE_CIPHER_SPEC => side.cipher_changed = true,
            ALERT if len == 2 => side.gather = Gather::Alert,
            HANDSHAKE if side.cipher_changed && version.is_none_or(|version| version < 0x0304) => side.finished = true,
            HANDSHAKE if !side.hello_done => side.gather = Gather::Hello,
            APPLICATION_DATA => {
                let count = &mut tls.application_records[direction.index()];
                *count = count.saturating_add(1);
                let kind = if alert_sized {
                    Kind::Alert
                } else if handshake_seen && (version == Some(0x0304) || is_cut_13) {
                    self.kind_13(record, direction, len)
                } else {
                    Kind::Turn
                };
                if kind == Kind::Turn {
                    self.turn(record, direction, len, at);
                }
            }
            _ => {}
        }
        let both_finished = self.sides.iter().all(|side| side.finished);
        if let Some(tls) = &mut record.tls {
            tls.established |= both_finished || tls.application_records.iter().all(|&records| records > 0);
        }
    }

    /// What a record that says application data is in TLS 1.3.
    fn kind_13(&mut self, record: &mut Record, direction: Direction, len: u16) -> Kind {
        match direction {
            Direction::ToServer if !self.client_finished => {
                self.client_handshake_records += 1;
                self.client_finished =
                    FINISHED_13.contains(&len) || self.client_handshake_records == CLIENT_HANDSHAKE_MAX;
                Kind::Handshake
            }
            _ if self.http2_offered && self.client_finished && HTTP2_CONTROL_13.contains(&len) => Kind::Handshake,
            Direction::ToServer => Kind::Turn,
            Direction::ToClient if !self.client_finished || !self.client_spoke => Kind::Handshake,
            Direction::ToClient => {
                self.answers = self.answers.saturating_add(1);
                match self.first_answer {
                    None => {
                        self.first_answer = Some((self.sides[direction.index()].framed.start, len));
                        Kind::Turn
                    }
                    // OpenSSL, BoringSSL and rustls send two tickets of one size before all else.
                    Some((start, first)) if self.answers == 2 && first == len => {
                        take_back_response(record, start);
                        Kind::Handshake
                    }
                    Some(_) => Kind::Turn,
                }
            }
        }
    }

    /// A record of application data begins.
    fn turn(&mut self, record: &mut Record, direction: Direction, len: u16, at: PacketRef) {
        self.client_spoke |= direction == Direction::ToServer;
        let side = self.side(direction);
        side.in_turn = len > 0;
        let (start, begun) = (side.framed.start, side.framed.at);
        self.speak(record, direction, start, 1, begun);
        self.speak(record, direction, start.saturating_add(1), 4, at);
    }

    fn speak(&mut self, record: &mut Record, direction: Direction, offset: u64, len: u64, at: PacketRef) {
        Turns::spoken(record, direction, offset, len, at);
        let other = self.side(direction.reverse());
        if other.in_turn && other.framed.left > 0 {
            // Its record is not whole, so the guess that its turn is over is wrong.
            if let Some(newest) = record.ledger.newest() {
                let message = match direction {
                    Direction::ToServer => newest.response.as_mut(),
                    Direction::ToClient => newest.request.as_mut(),
                };
                if let Some(message) = message {
                    message.reopen();
                }
            }
        }
    }

    /// Bytes behind a header.
    fn body(&mut self, record: &mut Record, direction: Direction, offset: u64, bytes: &[u8], at: PacketRef) {
        let side = self.side(direction);
        if side.in_turn {
            self.speak(record, direction, offset, bytes.len() as u64, at);
            return;
        }
        match side.gather {
            Gather::Nothing => {}
            Gather::Alert => {
                side.gathered.extend_from_slice(bytes);
                if let &[level, description] = side.gathered.as_slice() {
                    let start = side.framed.start;
                    side.gathered = Vec::new();
                    let alerts = record.tls.iter_mut().flat_map(|tls| tls.alerts.iter_mut());
                    for alert in alerts.filter(|alert| alert.direction == direction && alert.start == start) {
                        alert.plain = Some((level, description));
                    }
                }
            }
            Gather::Hello => {
                side.gathered.extend_from_slice(bytes);
                self.hello(record, direction, false);
            }
        }
    }

    /// Reads the hello gathered so far, when it is whole or there will be no more of it.
    fn hello(&mut self, record: &mut Record, direction: Direction, cut: bool) {
        let side = self.side(direction);
        let whole = hello::message_len(&side.gathered).is_some_and(|len| side.gathered.len() >= len);
        if !whole && !cut && side.gathered.len() < HELLO_MAX {
            return;
        }
        let gathered = std::mem::take(&mut side.gathered);
        let at = side.framed.at;
        side.hello_done = true;
        side.gather = Gather::Nothing;
        let tls = record.tls.get_or_insert_default();
        match gathered.first() {
            Some(&hello::CLIENT_HELLO) => {
                tls.client_hello.get_or_insert(at);
                tls.server_name = hello::server_name(&gathered);
                self.http2_offered = hello::offers_http2(&gathered);
            }
            Some(&hello::SERVER_HELLO) => {
                tls.server_hello.get_or_insert(at);
                tls.version = hello::version(&gathered);
                tls.alpn = hello::chosen_protocol(&gathered);
            }
            _ => {}
        }
    }
}

/// Content type and fragment length of a record header.
fn header(bytes: &[u8]) -> Option<(u8, u16)> {
    let &[content_type, 3, minor, high, low, ..] = bytes else {
        return None;
    };
    let len = u16::from_be_bytes([high, low]);
    let plausible = (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&content_type) && minor <= 4;
    (plausible && len <= FRAGMENT_MAX).then_some((content_type, len))
}

/// Known to be, or (picked up in the middle) not known not to be.
fn is_13(version: Option<u16>) -> bool {
    version.is_none_or(|version| version >= 0x0304)
}

fn note_open(record: &mut Record, direction: Direction, open: bool) {
    let tls: &mut Tls = record.tls.get_or_insert_default();
    tls.record_open[direction.index()] = open;
}

/// The response that began at `start` was a session ticket.
fn take_back_response(record: &mut Record, start: u64) {
    let Some(newest) = record.ledger.newest() else { return };
    if newest.request.is_some() && newest.response.as_ref().is_some_and(|response| response.start == start) {
        newest.response = None;
        if let Some(request) = &mut newest.request {
            request.reopen();
        }
    }
}
