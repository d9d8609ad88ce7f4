//! The actor's language: `docs/scenarios.md` describes it.

mod parse;

use std::sync::Arc;
use std::time::Duration;

use super::protocol::Signal;
use super::words::Words;
use crate::ScriptError;
use parse::{Parsed, parse_statement};

/// What an actor is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// In order.
    pub lines: Vec<Line>,
}

/// One statement, with its place in the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As it was written, without indentation.
    pub text: String,
    /// It begins with `try`: a failure does not end the script.
    pub tried: bool,
    /// What to do.
    pub statement: Statement,
}

/// A statement of the language. Each is described in `docs/scenarios.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Statement {
    Listen {
        backlog: i32,
        port: u16,
    },
    Accept {
        port: Option<u16>,
        name: Option<String>,
    },
    StopListening,
    Connect {
        host: Option<String>,
        port: u16,
        name: Option<String>,
        within: Option<Duration>,
    },
    Use(String),
    Request(Arc<Request>),
    Respond(Respond),
    WriteSize(u64),
    WriteText(Vec<u8>),
    ReadHead,
    ReadBody,
    ReadRequest,
    ReadResponse,
    Read(u64),
    /// As many bytes, which must be these.
    ReadText(Vec<u8>),
    Receive(u64),
    ReadToEnd,
    Drain {
        size: u64,
        within: Duration,
    },
    AwaitUnread(u64),
    AwaitSent,
    AwaitFin,
    AwaitReset,
    Await(String),
    Mark(String),
    Sleep(Pause),
    Run {
        host: String,
        command: String,
    },
    WhileRequest {
        block: Vec<Line>,
    },
    Shutdown(Side),
    Close,
    Abort,
    Set(SocketOption),
    Timeout(Duration),
    ReconnectIfClosed,
    ReconnectIfNotKept,
    /// Idle for as long; none: for as long as the last response's `Keep-Alive: timeout=` says.
    ReconnectIfIdle(Option<Duration>),
    Retry(u32),
    GiveUp,
    CloseDescriptor(String),
    Signal {
        host: String,
        signal: Signal,
    },
    Exit(i32),
    Repeat {
        times: u64,
        block: Vec<Line>,
    },
    Serve {
        port: Option<u16>,
        name: Option<String>,
        block: Arc<Vec<Line>>,
    },
    Thread {
        block: Arc<Vec<Line>>,
    },
    Forward {
        message: Message,
        from: String,
        to: String,
    },
}

/// How long `sleep` sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Evenly random from the first to the second, which may be the same.
    Between(Duration, Duration),
    /// Exponentially random with this mean: what lies between requests that come at random at a steady rate.
    About(Duration),
}

/// `request …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// What is asked for.
    pub path: String,
    /// It says HTTP/1.0 in place of HTTP/1.1.
    pub old: bool,
    /// `Name: value`.
    pub headers: Vec<String>,
    /// Bytes of body that are sent.
    pub body: u64,
    /// The body itself, `body` bytes of it; none: a line with the path, again and again.
    pub text: Option<Vec<u8>>,
    /// The answer is an object whose first key is the path's first part: another one is somebody else's.
    pub json: bool,
    /// How the head says where the body ends.
    pub framing: Declared,
    /// Head and body in two writes, this long apart.
    pub split: Option<Duration>,
    /// It says `Expect: 100-continue`, and the body waits this long for an answer.
    pub expects: Option<Duration>,
    /// The body stops where it is when an answer comes.
    pub watching: bool,
}

/// `respond …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// 100 to 999.
    pub status: u16,
    /// It says HTTP/1.0 in place of HTTP/1.1.
    pub old: bool,
    /// `Name: value`.
    pub headers: Vec<String>,
    /// Bytes of body that are sent.
    pub size: u64,
    /// How the head says where the body ends.
    pub framing: Declared,
    /// The 1-based number of the request on this connection that is answered.
    pub to: Option<usize>,
    /// Only if a request that was read has no answer.
    pub if_unanswered: bool,
    /// The body is an object whose first key is the path's first part, and no field names the path.
    pub json: bool,
    /// It is written to the connection of this name, whoever's request it answers.
    pub over: Option<String>,
}

/// How a head says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// A Content-Length of what is sent.
    Truly,
    /// Another Content-Length.
    Length(u64),
    /// Not at all: the end of the connection is the end of the body.
    Nothing,
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// Whose direction is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Side {
    Write,
    Read,
    Both,
}

/// What a proxy passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Message {
    Request,
    Response,
}

/// An option of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// SO_LINGER, in whole seconds; none: off.
    Linger(Option<Duration>),
    /// TCP_NODELAY.
    NoDelay(bool),
    /// TCP_USER_TIMEOUT.
    UserTimeout(Duration),
    /// SO_KEEPALIVE with its three numbers; idle time and interval in whole seconds.
    KeepAlive {
        /// TCP_KEEPIDLE.
        idle: Duration,
        /// TCP_KEEPINTVL.
        interval: Duration,
        /// TCP_KEEPCNT.
        count: u32,
    },
    /// SO_RCVBUF, in bytes, before the kernel doubles it.
    ReceiveBuffer(usize),
    /// SO_SNDBUF, in bytes, before the kernel doubles it.
    SendBuffer(usize),
}

impl Script {
    /// Reads a script. `hosts` are the names that `connect to` and the signals may say.
    ///
    /// # Errors
    /// The first line that means nothing.
    pub fn parse(text: &str, hosts: &[String]) -> Result<Script, ScriptError> {
        let mut open: Vec<Open> = vec![];
        let mut lines = vec![];
        let mut named: Vec<String> = vec![];
        let mut uses: Vec<(usize, &str, String)> = vec![];
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let raw = raw.trim();
            let error = |why| ScriptError {
                line,
                text: raw.to_owned(),
                why,
            };
            let mut words = Words::cut(raw).map_err(error)?;
            if words.is_empty() {
                continue;
            }
            let tried = words.eat("try");
            match parse_statement(&mut words, hosts).map_err(error)? {
                Parsed::Opens(statement) if tried => {
                    return Err(error(format!(
                        "`try` stands before one statement, not before `{}`",
                        keyword(&statement)
                    )));
                }
                Parsed::Opens(Statement::Serve { .. }) if open.iter().any(|open| open.serves()) => {
                    return Err(error(
                        "there is no `serve` within a `serve`: say `accept`, or listen first".to_owned(),
                    ));
                }
                Parsed::Opens(statement) => {
                    named.extend(names(&statement));
                    open.push(Open {
                        line,
                        text: raw.to_owned(),
                        statement,
                        block: vec![],
                    });
                }
                Parsed::Ends => {
                    let Some(Open {
                        text, statement, block, ..
                    }) = open.pop()
                    else {
                        return Err(error(
                            "there is no `repeat`, `while`, `thread` or `serve` that this `end` could end".to_owned(),
                        ));
                    };
                    if block.is_empty() {
                        return Err(error(format!(
                            "`{text}` has nothing to do: put statements before its `end`"
                        )));
                    }
                    let statement = match statement {
                        Statement::Repeat { times, .. } => Statement::Repeat { times, block },
                        Statement::WhileRequest { .. } => Statement::WhileRequest { block },
                        Statement::Serve { port, name, .. } => Statement::Serve {
                            port,
                            name,
                            block: Arc::new(block),
                        },
                        Statement::Thread { .. } => Statement::Thread { block: Arc::new(block) },
                        other => other,
                    };
                    lines_of(&mut open, &mut lines).push(Line {
                        text,
                        tried: false,
                        statement,
                    });
                }
                Parsed::Whole(statement) => {
                    named.extend(names(&statement));
                    uses.extend(wanted(&statement).into_iter().map(|name| (line, raw, name)));
                    lines_of(&mut open, &mut lines).push(Line {
                        text: raw.to_owned(),
                        tried,
                        statement,
                    });
                }
            }
        }
        if let Some(open) = open.pop() {
            return Err(ScriptError {
                line: open.line,
                text: open.text,
                why: "its `end` is missing".to_owned(),
            });
        }
        for (line, text, name) in uses {
            if !named.contains(&name) {
                let text = text.to_owned();
                let why =
                    format!("no connection has the name `{name}`: `accept as {name}` or `connect as {name}` gives it");
                return Err(ScriptError { line, text, why });
            }
        }
        Ok(Script { lines })
    }
}

/// A block that has not ended yet.
struct Open {
    line: usize,
    text: String,
    statement: Statement,
    block: Vec<Line>,
}

impl Open {
    fn serves(&self) -> bool {
        matches!(self.statement, Statement::Serve { .. })
    }
}

/// Where the next statement goes.
fn lines_of<'a>(open: &'a mut [Open], lines: &'a mut Vec<Line>) -> &'a mut Vec<Line> {
    match open.last_mut() {
        Some(open) => &mut open.block,
        None => lines,
    }
}

fn keyword(statement: &Statement) -> &'static str {
    match statement {
        Statement::Repeat { .. } => "repeat",
        Statement::WhileRequest { .. } => "while",
        Statement::Thread { .. } => "thread",
        _ => "serve",
    }
}

/// The names that a statement gives.
fn names(statement: &Statement) -> Option<String> {
    match statement {
        Statement::Accept { name, .. } | Statement::Connect { name, .. } | Statement::Serve { name, .. } => {
            name.clone()
        }
        _ => None,
    }
}

/// The names that a statement needs.
fn wanted(statement: &Statement) -> Vec<String> {
    match statement {
        Statement::Use(name) | Statement::CloseDescriptor(name) => vec![name.clone()],
        Statement::Respond(respond) => respond.over.iter().cloned().collect(),
        Statement::Forward { from, to, .. } => vec![from.clone(), to.clone()],
        _ => vec![],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
