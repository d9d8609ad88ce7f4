//! HTTP/2 as far as it takes to ask for one thing and to see how the connection ends (RFC 9113).

mod frame;
mod hpack;

use std::time::{Duration, Instant};

use self::frame::{Cut, Frame};
use crate::connection::{Broken, Connection, Step};
use crate::http::Request;
use crate::target::Scheme;

/// What `HTTP2-Settings` says in a request that offers h2c: the settings that we send, in base64url.
pub const UPGRADE_SETTINGS: &str = "AAEAAAAAAAIAAAAA";
/// No dynamic table, and no pushed answers.
const SETTINGS: [u8; 12] = [0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
/// Our only stream.
const STREAM: u32 = 1;
/// Taken of an answer's body; then it is cancelled, and the connection stays.
const BODY: u64 = 1 << 20;
/// The largest block of header fields.
const BLOCK: usize = 64 << 10;
const CANCEL: u32 = 8;
/// For what we send by ourselves: it is a few bytes, which the kernel takes at once.
const REPLY: Duration = Duration::from_secs(1);

/// A connection that speaks HTTP/2, and one request on it.
pub struct Session {
    connection: Connection,
    inbox: Vec<u8>,
    block: Vec<u8>,
    /// The block that is being collected ends the stream.
    block_ends_stream: bool,
    /// The server does not read: it gets no more replies.
    is_deaf: bool,
    seen: Seen,
}

/// What came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// SETTINGS came first, as it must.
    pub settings: bool,
    /// The answer's status.
    pub status: Option<u16>,
    /// Bytes of its body.
    pub body: u64,
    /// It came to its end, or was cancelled by us for its size.
    pub whole: bool,
    /// RST_STREAM's code, where that came instead.
    pub refused: Option<u32>,
    /// GOAWAY: when, and its error code; the first one counts.
    pub goaway: Option<(Instant, u32)>,
    /// PING frames that we answered.
    pub pings: u32,
}

/// How far it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Met {
    /// The answer is whole.
    Answer,
    /// The stream was reset, or GOAWAY came instead of the answer: its code.
    Refused(u32),
    /// FIN.
    Closed,
    /// A reset or another error.
    Broken(Broken),
    /// What came is no HTTP/2; its first bytes, at most 64.
    NotHttp2(Vec<u8>),
    /// TLS broke.
    TlsBroken(String),
    /// Nothing more came in time.
    TimedOut,
    /// The user asks to stop.
    Stopped,
}

impl Session {
    /// Speaks HTTP/2 at once and sends a request. Its version, `Host` and what concerns connections are HTTP/1's: they are left out.
    ///
    /// # Errors
    /// What kept it from being sent.
    pub fn ask(mut connection: Connection, request: &Request, scheme: Scheme, until: Instant) -> Result<Session, Met> {
        let mut out = preface();
        let block = block(request, scheme);
        let mut pieces = block.chunks(frame::LARGEST).peekable();
        let mut kind = frame::HEADERS;
        while let Some(piece) = pieces.next() {
            let mut flags = if kind == frame::HEADERS { frame::END_STREAM } else { 0 };
            if pieces.peek().is_none() {
                flags |= frame::END_HEADERS;
            }
            Frame::new(kind, flags, STREAM, piece).put(&mut out);
            kind = frame::CONTINUATION;
        }
        match connection.send_all(&out, until) {
            Ok(()) => Ok(Session::on(connection)),
            Err(step) => Err(ended(step)),
        }
    }

    /// Goes on in HTTP/2 after a 101: the answer to what was asked comes on the first stream.
    ///
    /// # Errors
    /// What kept the preface from being sent.
    pub fn upgraded(mut connection: Connection, until: Instant) -> Result<Session, Met> {
        match connection.send_all(&preface(), until) {
            Ok(()) => Ok(Session::on(connection)),
            Err(step) => Err(ended(step)),
        }
    }

    fn on(connection: Connection) -> Session {
        Session {
            connection,
            inbox: Vec::new(),
            block: Vec::new(),
            block_ends_stream: false,
            is_deaf: false,
            seen: Seen::default(),
        }
    }

    /// What came so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Until the answer is whole.
    pub fn answer(&mut self, until: Instant) -> Met {
        loop {
            if let Some(met) = self.frames() {
                return met;
            }
            if self.seen.whole {
                return Met::Answer;
            }
            if let Some(code) = self.seen.refused.or(self.seen.goaway.map(|(_, code)| code)) {
                return Met::Refused(code);
            }
            if let Some(met) = self.step(until) {
                return met;
            }
        }
    }

    /// Until the server ends the connection; PING is answered meanwhile.
    pub fn end(&mut self, until: Instant) -> Met {
        loop {
            if let Some(met) = self.frames() {
                return met;
            }
            if let Some(met) = self.step(until) {
                return met;
            }
        }
    }

    fn step(&mut self, until: Instant) -> Option<Met> {
        match self.connection.step(&[], until) {
            Step::Received(_) | Step::Sent(_) => None,
            step => Some(ended(step)),
        }
    }

    /// Reads what frames there are, and answers them.
    fn frames(&mut self) -> Option<Met> {
        self.inbox.extend_from_slice(&self.connection.take());
        loop {
            let frame = match frame::cut(&mut self.inbox) {
                Cut::Whole(frame) => frame,
                Cut::More => return None,
                Cut::No => return Some(self.not_http2()),
            };
            if !self.seen.settings && (frame.kind != frame::SETTINGS || frame.stream != 0) {
                let mut bytes = Vec::new();
                frame.put(&mut bytes);
                bytes.append(&mut self.inbox);
                self.inbox = bytes;
                return Some(self.not_http2());
            }
            let mut reply = Vec::new();
            if self.read(&frame, &mut reply).is_none() {
                return Some(Met::NotHttp2(frame.payload.iter().take(64).copied().collect()));
            }
            if reply.is_empty() || self.is_deaf {
                continue;
            }
            match self.connection.send_all(&reply, Instant::now() + REPLY) {
                Ok(()) => {}
                Err(Step::Stopped) => return Some(Met::Stopped),
                Err(_) => self.is_deaf = true,
            }
        }
    }

    fn not_http2(&self) -> Met {
        Met::NotHttp2(self.inbox.iter().take(64).copied().collect())
    }

    /// `None`: it breaks the protocol.
    fn read(&mut self, frame: &Frame, reply: &mut Vec<u8>) -> Option<()> {
        match frame.kind {
            frame::SETTINGS => {
                self.seen.settings = true;
                if !frame.has(frame::ACK) {
                    Frame::new(frame::SETTINGS, frame::ACK, 0, &[]).put(reply);
                }
            }
            frame::PING if !frame.has(frame::ACK) => {
                self.seen.pings += 1;
                Frame::new(frame::PING, frame::ACK, 0, &frame.payload).put(reply);
            }
            frame::GOAWAY => {
                let code = frame.number(4)?;
                let at = self.connection.log().last_received.unwrap_or_else(Instant::now);
                self.seen.goaway.get_or_insert((at, code));
            }
            frame::RST_STREAM if frame.stream == STREAM && !self.seen.whole => {
                self.seen.refused = Some(frame.number(0)?);
            }
            frame::HEADERS if frame.stream == STREAM => {
                self.block = frame.content()?.to_vec();
                self.block_ends_stream = frame.has(frame::END_STREAM);
                self.block_ended(frame);
            }
            frame::CONTINUATION if frame.stream == STREAM => {
                if self.block.len() + frame.payload.len() > BLOCK {
                    return None;
                }
                self.block.extend_from_slice(&frame.payload);
                self.block_ended(frame);
            }
            frame::DATA => self.data(frame, reply),
            frame::PUSH_PROMISE => return None,
            _ => {}
        }
        Some(())
    }

    fn block_ended(&mut self, frame: &Frame) {
        if !frame.has(frame::END_HEADERS) {
            return;
        }
        if self.seen.status.is_none() {
            // Interim answers come before the final one.
            self.seen.status = hpack::status(&self.block).filter(|status| *status >= 200);
        }
        self.seen.whole |= self.block_ends_stream;
        self.block = Vec::new();
    }

    /// What is taken is given back to the window; padding counts too.
    fn data(&mut self, frame: &Frame, reply: &mut Vec<u8>) {
        let length = frame.payload.len() as u32;
        if length > 0 {
            Frame::new(frame::WINDOW_UPDATE, 0, 0, &length.to_be_bytes()).put(reply);
        }
        if frame.stream != STREAM || self.seen.whole {
            return;
        }
        self.seen.body += u64::from(length);
        if frame.has(frame::END_STREAM) {
            self.seen.whole = true;
        } else if self.seen.body > BODY {
            self.seen.whole = true;
            Frame::new(frame::RST_STREAM, 0, STREAM, &CANCEL.to_be_bytes()).put(reply);
        } else if length > 0 {
            Frame::new(frame::WINDOW_UPDATE, 0, STREAM, &length.to_be_bytes()).put(reply);
        }
    }
}

fn preface() -> Vec<u8> {
    let mut out = frame::PREFACE.to_vec();
    Frame::new(frame::SETTINGS, 0, 0, &SETTINGS).put(&mut out);
    out
}

/// A step that is an end.
fn ended(step: Step) -> Met {
    match step {
        Step::Closed | Step::Over => Met::Closed,
        Step::Broken(broken) | Step::SendFailed(broken) => Met::Broken(broken),
        Step::TlsBroken(why) => Met::TlsBroken(why),
        Step::Stopped => Met::Stopped,
        Step::TimedOut | Step::Sent(_) | Step::Received(_) => Met::TimedOut,
    }
}

/// The fields of a request.
fn block(request: &Request, scheme: Scheme) -> Vec<u8> {
    // `:method GET` and `:scheme` stand in the static table whole.
    let mut block = vec![
        0x82,
        match scheme {
            Scheme::Http => 0x86,
            Scheme::Https => 0x87,
        },
    ];
    hpack::put_indexed_name(&mut block, 4, request.target.as_bytes());
    let host = request
        .fields
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("host"));
    if let Some((_, host)) = host {
        hpack::put_indexed_name(&mut block, 1, host.as_bytes());
    }
    for (name, value) in &request.fields {
        let name = name.to_ascii_lowercase();
        let of_connections = [
            "host",
            "connection",
            "proxy-connection",
            "keep-alive",
            "te",
            "transfer-encoding",
            "upgrade",
        ];
        if !of_connections.contains(&&*name) {
            hpack::put_field(&mut block, name.as_bytes(), value.as_bytes());
        }
    }
    block
}
