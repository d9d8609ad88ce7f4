//! A request and what came of it.

use std::fmt;
use std::time::{Duration, Instant};

use bypeer_wire::app::Method;

use super::answer::{Answer, AnswerReader, Fed};
use super::request::Request;
use crate::connection::{Broken, Connection, Step};

/// What came of a request.
#[derive(Debug)]
pub struct Exchange {
    /// When its first byte was handed to the kernel.
    pub began: Instant,
    /// When its last byte was; `None` when that did not happen.
    pub sent: Option<Instant>,
    /// Bytes of it that were.
    pub sent_bytes: u64,
    /// Sending failed.
    pub send_failed: Option<Broken>,
    /// The answer, as far as it came.
    pub answer: Option<Answer>,
    /// How it ended.
    pub ending: Ending,
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The whole answer came.
    Whole,
    /// The server closed before that: a FIN.
    Closed,
    /// A reset, or another error, before that.
    Broken(Broken),
    /// What came is no HTTP/1; its first bytes, at most 64.
    NotHttp(Vec<u8>),
    /// TLS broke.
    TlsBroken(String),
    /// Nothing more came in time.
    TimedOut,
    /// The user asked to stop.
    Stopped,
}

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Head and body in one write, as far as the kernel takes it.
    AtOnce,
    /// The head by itself, and the body so much later.
    Apart(Duration),
}

impl fmt::Display for Ending {
    /// In a few words, without what came.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Whole => f.write_str("it was answered"),
            Ending::Closed => f.write_str("closed"),
            Ending::Broken(broken) => write!(f, "broken off ({broken})"),
            Ending::NotHttp(_) => f.write_str("what came is no HTTP/1"),
            Ending::TlsBroken(why) => write!(f, "TLS broke: {why}"),
            Ending::TimedOut => f.write_str("nothing more came in time"),
            Ending::Stopped => f.write_str("stopped"),
        }
    }
}

impl Exchange {
    /// The status, where the whole answer came.
    pub fn status(&self) -> Option<u16> {
        self.answer
            .as_ref()
            .filter(|answer| answer.complete)
            .map(|answer| answer.head.status)
    }

    /// The whole answer came.
    pub fn is_whole(&self) -> bool {
        self.ending == Ending::Whole
    }
}

impl Connection {
    /// Sends a request and reads its answer at the same time, for `patience` at most.
    pub fn exchange(&mut self, request: &Request, writing: Writing, patience: Duration) -> Exchange {
        let until = Instant::now() + patience;
        let began = Instant::now();
        let bytes = match writing {
            Writing::AtOnce => request.bytes(),
            Writing::Apart(pause) => {
                let head = request.head();
                let body = request.body.clone().unwrap_or_default();
                let mut exchange = self.talk(&head, None, until);
                exchange.began = began;
                if exchange.sent.is_none() || body.is_empty() {
                    return self.await_rest(exchange, &request.method, until);
                }
                self.hold(Instant::now() + pause);
                let mut rest = self.talk(&body, Some(&request.method), until);
                rest.began = began;
                rest.sent_bytes += exchange.sent_bytes;
                return rest;
            }
        };
        self.talk(&bytes, Some(&request.method), until)
    }

    /// Reads the next answer, to a request that was sent already.
    pub fn answer(&mut self, method: &Method, until: Instant) -> Exchange {
        self.talk(&[], Some(method), until)
    }

    fn await_rest(&mut self, sent: Exchange, method: &Method, until: Instant) -> Exchange {
        let mut rest = self.answer(method, until);
        rest.began = sent.began;
        rest.sent = sent.sent;
        rest.sent_bytes = sent.sent_bytes;
        rest.send_failed = rest.send_failed.or(sent.send_failed);
        rest
    }

    /// Sends `out`; reads the answer to `method` meanwhile and afterwards, or nothing.
    fn talk(&mut self, out: &[u8], method: Option<&Method>, until: Instant) -> Exchange {
        let mut exchange = Exchange {
            began: Instant::now(),
            sent: None,
            sent_bytes: 0,
            send_failed: None,
            answer: None,
            ending: Ending::TimedOut,
        };
        let Some(method) = method else {
            match self.send_all(out, until) {
                Ok(()) => {
                    exchange.sent = Some(Instant::now());
                    exchange.sent_bytes = out.len() as u64;
                }
                Err(Step::SendFailed(broken)) => exchange.send_failed = Some(broken),
                Err(_) => {}
            }
            return exchange;
        };
        let mut reader = AnswerReader::new(method);
        let mut rest = out;
        if rest.is_empty() {
            exchange.sent = Some(exchange.began);
        }
        exchange.ending = loop {
            if self.holds() > 0
                && let Some(ending) = self.feed(&mut reader)
            {
                break ending;
            }
            match self.step(rest, until) {
                Step::Sent(sent) => {
                    rest = &rest[sent..];
                    exchange.sent_bytes += sent as u64;
                    if rest.is_empty() {
                        exchange.sent = Some(Instant::now());
                    }
                }
                Step::Received(_) => {}
                Step::Closed | Step::Over => {
                    // Whoever read before met the reset.
                    if let (Some((_, broken)), None) = (self.log().reset, self.log().fin) {
                        break Ending::Broken(broken);
                    }
                    reader.closed();
                    break Ending::Closed;
                }
                Step::Broken(broken) => break Ending::Broken(broken),
                Step::SendFailed(broken) => {
                    exchange.send_failed = Some(broken);
                    rest = &[];
                }
                Step::TlsBroken(why) => break Ending::TlsBroken(why),
                Step::TimedOut => break Ending::TimedOut,
                Step::Stopped => break Ending::Stopped,
            }
        };
        exchange.answer = reader.finish();
        if exchange.ending == Ending::Closed && exchange.answer.as_ref().is_some_and(|answer| answer.complete) {
            exchange.ending = Ending::Whole;
        }
        exchange
    }

    /// Gives what came to the reader; what belongs to a next answer stays.
    fn feed(&mut self, reader: &mut AnswerReader) -> Option<Ending> {
        let bytes = self.take();
        let at = self.log().last_received.unwrap_or_else(Instant::now);
        match reader.feed(&bytes, at) {
            Fed::More => None,
            Fed::Whole(used) => {
                self.put_back(&bytes[used..]);
                Some(Ending::Whole)
            }
            Fed::NotHttp => {
                let beginning = match reader.beginning() {
                    [] => &bytes[..bytes.len().min(64)],
                    beginning => beginning,
                };
                Some(Ending::NotHttp(beginning.to_vec()))
            }
        }
    }
}
