//! One connection after the other, from one address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bypeer_wire::app::Method;

use super::judge::{During, Surplus, Work};
use super::shape::{Ask, Ways};
use super::tag::Token;
use crate::connection::{Connection, Dial, OpenError, Step};
use crate::http::{Answer, Ending, Exchange, Request, Writing};
use crate::prober::{NOBODYS_PATH, Prober};

/// What comes unasked comes whole within this time, as far as it is counted.
const MORE_COMES: Duration = Duration::from_millis(20);
/// Read of it at most, bytes.
const STRAY_MAX: usize = 64 << 10;

/// Asks on one connection as long as that is kept.
pub(super) struct Lane<'a> {
    prober: &'a Prober<'a>,
    work: &'a Work,
    ways: Option<&'a Ways>,
    source: Option<IpAddr>,
    connection: Option<Connection>,
    /// Its last answer said that it closes.
    closing: bool,
    id: u32,
}

/// A request, and how its answer is known.
pub(super) struct Due {
    pub(super) request: Request,
    pub(super) token: Token,
    /// What it asks for, where the answer's look is known.
    pub(super) ask: Option<Ask>,
    /// Another request's token in its answer proves that it is that request's.
    pub(super) marked: bool,
}

/// How a request is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abort {
    /// A reset as soon as it was sent.
    AtOnce,
    /// A reset when the first bytes of its answer came.
    InAnswer,
    /// A reset in the middle of its head.
    InRequest,
    /// A FIN, and no look at the answer.
    Abandoned,
    /// Two in one write, and a reset when the first was answered.
    InPair,
}

impl Abort {
    pub(super) const ALL: [Abort; 5] = [
        Abort::AtOnce,
        Abort::InAnswer,
        Abort::InRequest,
        Abort::Abandoned,
        Abort::InPair,
    ];
}

impl<'a> Lane<'a> {
    pub(super) fn new(prober: &'a Prober<'a>, work: &'a Work, ways: &'a Ways, source: Option<IpAddr>) -> Lane<'a> {
        Lane {
            prober,
            work,
            ways: Some(ways),
            source,
            connection: None,
            closing: false,
            id: 0,
        }
    }

    /// One that knows nothing of the answers yet.
    pub(super) fn plain(prober: &'a Prober<'a>, work: &'a Work) -> Lane<'a> {
        Lane {
            prober,
            work,
            ways: None,
            source: None,
            connection: None,
            closing: false,
            id: 0,
        }
    }

    /// The number of its connection.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn source(&self) -> Option<IpAddr> {
        self.source
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// One request, and its whole answer. A connection that ended meanwhile is replaced once.
    pub(super) fn once(&mut self, path: &str) -> Result<Answer, String> {
        let request = self.prober.request(Method::Get, path);
        let patience = self.prober.options.patience;
        for _ in 0..2 {
            let is_new = self.connection.is_none() || self.closing;
            if !self.work.requests(1) {
                break;
            }
            let Some(connection) = self.opened() else { break };
            let exchange = connection.exchange(&request, Writing::AtOnce, patience);
            match self.keep(exchange) {
                Ok(answer) => return Ok(answer),
                Err(ending) if is_new => return Err(format!("a request got no whole answer ({ending})")),
                Err(_) => {}
            }
        }
        let why = self.work.seen().unopened.1;
        Err(why.unwrap_or_else(|| "the server closes so often that the bounds were reached".to_owned()))
    }

    /// Requests in one write, and their answers; false when no more can be asked.
    pub(super) fn ask(&mut self, asks: &[Ask], during: During) -> bool {
        let Some(ways) = self.ways else { return false };
        if self.prober.stopped() || self.opened().is_none() {
            return false;
        }
        // What came before anything was asked.
        self.stray(Duration::ZERO, during);
        if self.opened().is_none() || !self.work.requests(asks.len() as u32) {
            return false;
        }
        let dues: Vec<Due> = asks.iter().map(|ask| self.due(ways, *ask)).collect();
        let bytes: Vec<u8> = dues.iter().flat_map(|due| due.request.bytes()).collect();
        let until = Instant::now() + self.prober.options.patience;
        if let Some(connection) = &mut self.connection {
            // Reading tells what became of it, whatever became of sending.
            let _ = connection.send_all(&bytes, until);
        }
        let mut answered = 0;
        for due in &dues {
            let Some(connection) = &mut self.connection else { break };
            let exchange = connection.answer(&Method::Get, until);
            match self.keep(exchange) {
                Ok(answer) => {
                    answered += 1;
                    self.work.judge(ways, due, (self.id, self.source), &answer, during);
                }
                Err(Ending::Stopped) => return false,
                // That pipelined requests are left is the server's right.
                Err(ending) if answered == 0 => self.unanswered(&ending, during),
                Err(_) => {}
            }
        }
        if asks.len() > 1 && answered > 0 {
            self.work.see(|seen| {
                seen.pairs.0 += u32::from(answered == asks.len());
                seen.pairs.1 += 1;
            });
        }
        self.stray(Duration::ZERO, during);
        true
    }

    /// HEAD, whose answer has no body; whether one comes all the same.
    pub(super) fn head(&mut self, quiet: Duration) {
        let request = self.prober.request(Method::Head, &self.prober.target.path);
        let patience = self.prober.options.patience;
        if !self.work.requests(1) {
            return;
        }
        let Some(connection) = self.opened() else { return };
        let exchange = connection.exchange(&request, Writing::AtOnce, patience);
        if self.keep(exchange).is_ok() {
            self.stray(quiet, During::AfterHead);
        }
    }

    /// A request whose body comes so much later than its head.
    pub(super) fn slow(&mut self, pause: Duration) {
        if !self.work.requests(1) || self.opened().is_none() {
            return;
        }
        let token = self.work.token(self.id, self.source);
        let given = self.prober.options.body_path.as_deref();
        let path = given.map_or_else(|| format!("{NOBODYS_PATH}/{}", token.text()), str::to_owned);
        let due = Due {
            request: self.prober.request(Method::Post, &path).with_body(64),
            token,
            ask: None,
            marked: given.is_none(),
        };
        let patience = self.prober.options.patience;
        let Some(connection) = self.opened() else { return };
        let exchange = connection.exchange(&due.request, Writing::Apart(pause), patience);
        if let (Ok(answer), Some(ways)) = (self.keep(exchange), self.ways) {
            self.work
                .judge(ways, &due, (self.id, self.source), &answer, During::SlowBody);
        }
        self.stray(Duration::ZERO, During::SlowBody);
    }

    /// Asks, and gives up.
    pub(super) fn abort(&mut self, abort: Abort) {
        let Some(ways) = self.ways else { return };
        let asks: &[Ask] = match abort {
            Abort::InPair => &[ways.ask(0), ways.ask(1)],
            _ => &[ways.ask(0)],
        };
        if self.opened().is_none() || !self.work.requests(asks.len() as u32) {
            return;
        }
        let dues: Vec<Due> = asks.iter().map(|ask| self.due(ways, *ask)).collect();
        for due in &dues {
            self.work.aborted(due.token);
        }
        let mut bytes: Vec<u8> = dues.iter().flat_map(|due| due.request.bytes()).collect();
        if abort == Abort::InRequest {
            bytes.truncate(bytes.len() / 2);
        }
        let until = Instant::now() + self.prober.options.patience;
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if connection.send_all(&bytes, until).is_err() {
            return;
        }
        match abort {
            Abort::AtOnce | Abort::InRequest => connection.abort(),
            Abort::Abandoned => drop(connection),
            Abort::InAnswer => {
                let _ = connection.step(&[], until);
                connection.abort();
            }
            Abort::InPair => {
                let exchange = connection.answer(&Method::Get, until);
                if let (Some(answer), Some(due)) = (exchange.answer.filter(|answer| answer.complete), dues.first()) {
                    self.work
                        .judge(ways, due, (self.id, self.source), &answer, During::Abort);
                }
                connection.abort();
            }
        }
    }

    /// Whether something comes that nobody asked for. Such a connection is given up.
    pub(super) fn stray(&mut self, quiet: Duration, during: During) -> bool {
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let until = Instant::now() + quiet;
        if connection.holds() == 0 {
            match connection.step(&[], until) {
                Step::Received(_) => {}
                Step::TimedOut | Step::Sent(_) => return false,
                _ => {
                    self.connection = None;
                    return false;
                }
            }
        }
        let mut bytes = connection.take();
        let until = Instant::now() + MORE_COMES;
        while bytes.len() < STRAY_MAX
            && let Step::Received(_) = connection.step(&[], until)
        {
            bytes.extend(connection.take());
        }
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank == bytes.len() {
            return false;
        }
        self.connection = None;
        let surplus = Surplus::of(&bytes[blank..]);
        self.work.see(|seen| match surplus {
            Surplus::Answer(400 | 408) => seen.goodbyes += 1,
            surplus => seen.surplus.push((surplus, during)),
        });
        true
    }

    /// Its connection, a new one where there is none.
    fn opened(&mut self) -> Option<&mut Connection> {
        if self.closing {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.id = self.work.connection()?;
            let dial = Dial {
                source: self.source,
                ..self.prober.dial().clone()
            };
            self.connection = match self.prober.open_by(&dial) {
                Ok(connection) => Some(connection),
                Err(OpenError::Stopped) => None,
                Err(error) => {
                    self.work.see(|seen| {
                        seen.unopened.0 += 1;
                        seen.refused += u32::from(matches!(error, OpenError::Refused(_)));
                        seen.unopened.1.get_or_insert(error.to_string());
                    });
                    None
                }
            };
            self.closing = false;
        }
        self.connection.as_mut()
    }

    /// The whole answer; the connection stays where it can be used again.
    fn keep(&mut self, exchange: Exchange) -> Result<Answer, Ending> {
        match (exchange.ending, exchange.answer) {
            (Ending::Whole, Some(answer)) => {
                self.closing |= answer.head.connection.closes();
                Ok(answer)
            }
            (ending, _) => {
                self.connection = None;
                Err(ending)
            }
        }
    }

    fn due(&self, ways: &Ways, ask: Ask) -> Due {
        let token = self.work.token(self.id, self.source);
        Due {
            request: self.prober.request(Method::Get, &ways.path(ask, &token.text())),
            token,
            ask: Some(ask),
            marked: ask == Ask::Other && ways.tagged,
        }
    }

    fn unanswered(&self, ending: &Ending, during: During) {
        self.work.see(|seen| match ending {
            Ending::Closed | Ending::Whole => seen.unanswered[0] += 1,
            Ending::TimedOut => seen.unanswered[2] += 1,
            // What came in place of an answer belongs to none.
            Ending::NotHttp(bytes) => seen.surplus.push((Surplus::Bytes(bytes.len()), during)),
            Ending::Broken(_) | Ending::TlsBroken(_) | Ending::Stopped => seen.unanswered[1] += 1,
        });
    }
}

impl Surplus {
    fn of(bytes: &[u8]) -> Surplus {
        let status = bytes
            .strip_prefix(b"HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok());
        status.map_or(Surplus::Bytes(bytes.len()), Surplus::Answer)
    }
}
