//! One line of a script, from words to a statement.

use std::sync::Arc;
use std::time::Duration;

use super::{Declared, Message, Pause, Request, Respond, Side, SocketOption, Statement};
use crate::actor::protocol::Signal;
use crate::actor::words::{Words, nearest};

/// What a line is.
pub(super) enum Parsed {
    Whole(Statement),
    Opens(Statement),
    Ends,
}

/// The first words of all statements, for the error that names the nearest.
const KEYWORDS: &[&str] = &[
    "abort",
    "accept",
    "await",
    "close",
    "connect",
    "continue",
    "drain",
    "end",
    "exit",
    "forward",
    "give",
    "keepalive",
    "kill",
    "linger",
    "listen",
    "mark",
    "nodelay",
    "read",
    "receive",
    "receive-buffer",
    "reconnect",
    "repeat",
    "request",
    "respond",
    "retry",
    "run",
    "send-buffer",
    "serve",
    "shutdown",
    "sleep",
    "stop",
    "thread",
    "timeout",
    "try",
    "use",
    "user-timeout",
    "while",
    "write",
];

/// What `await` takes for itself, so that no mark can have these names.
const AWAITED: &[&str] = &["unread", "sent", "fin", "reset"];

/// Reads one line, behind its `try`. The error says what is wrong, and what would be right.
pub(super) fn parse_statement(words: &mut Words, hosts: &[String]) -> Result<Parsed, String> {
    use Statement as S;
    let quoted = words.is_quoted();
    let first = words.text("a statement")?;
    let statement = match first.as_str() {
        _ if quoted => return Err("a statement does not begin with a quote: `write \"…\"` sends text".to_owned()),
        "listen" => listen(words)?,
        "accept" => {
            let (port, name) = port_and_name(words)?;
            S::Accept { port, name }
        }
        "stop" if words.eat("listening") => S::StopListening,
        "connect" => connect(words, hosts)?,
        "use" => S::Use(words.name("a connection's name")?),
        "request" => S::Request(Arc::new(request(words)?)),
        "respond" => S::Respond(respond(words)?),
        "write" if words.is_quoted() => S::WriteText(words.bytes("a text")?),
        "write" => S::WriteSize(words.size()?),
        "read" if words.eat("head") => S::ReadHead,
        "read" if words.eat("body") => S::ReadBody,
        "read" if words.eat("request") => S::ReadRequest,
        "read" if words.eat("response") => S::ReadResponse,
        "read" if words.eat("to") => {
            words.expect("end")?;
            S::ReadToEnd
        }
        "read" if words.is_quoted() => S::ReadText(words.bytes("a text")?),
        "read" => S::Read(words.size().map_err(|why| {
            format!("{why}; or `read head`, `read body`, `read request`, `read response`, `read to end`")
        })?),
        "receive" => match words.size()? {
            0 => return Err("`receive` takes one byte at least".to_owned()),
            size => S::Receive(size),
        },
        "drain" => {
            let size = words.size()?;
            words.expect("within")?;
            S::Drain {
                size,
                within: words.duration()?,
            }
        }
        "await" if words.eat("unread") => S::AwaitUnread(words.size()?),
        "await" if words.eat("sent") => S::AwaitSent,
        "await" if words.eat("fin") => S::AwaitFin,
        "await" if words.eat("reset") => S::AwaitReset,
        "await" => S::Await(words.name("a mark's name, or `unread SIZE`, `sent`, `fin`, `reset`")?),
        "mark" => match words.name("a mark's name")? {
            name if AWAITED.contains(&name.as_str()) => {
                return Err(format!(
                    "`await {name}` means something else: give the mark another name"
                ));
            }
            name => S::Mark(name),
        },
        "sleep" if words.eat("about") => S::Sleep(Pause::About(words.duration()?)),
        "sleep" => {
            let least = words.duration()?;
            let most = if words.eat("to") { words.duration()? } else { least };
            if most < least {
                return Err("the second time is the longer one: `sleep 1ms to 5ms`".to_owned());
            }
            S::Sleep(Pause::Between(least, most))
        }
        "run" => S::Run {
            host: host(words, hosts)?,
            command: words.text("a command in quotes, for the shell")?,
        },
        "shutdown" => {
            S::Shutdown(words.one_of(&[("write", Side::Write), ("read", Side::Read), ("both", Side::Both)])?)
        }
        "close" if words.eat("fd") => {
            words.expect("of")?;
            S::CloseDescriptor(words.name("a connection's name")?)
        }
        "close" => S::Close,
        "abort" => S::Abort,
        "linger" | "nodelay" | "user-timeout" | "keepalive" | "receive-buffer" | "send-buffer" => {
            S::Set(socket_option(&first, words)?)
        }
        "timeout" => match words.duration()? {
            Duration::ZERO => return Err("a timeout of 0 leaves no time for anything: write `timeout 1ms`".to_owned()),
            timeout => S::Timeout(timeout),
        },
        "reconnect" => {
            words.expect("if")?;
            let not = words.eat("not");
            if !not && words.eat("idle") {
                words.expect("for")?;
                let announced = words.eat("announced");
                let time = if announced { None } else { Some(words.duration()?) };
                words.finish(&[])?;
                return Ok(Parsed::Whole(S::ReconnectIfIdle(time)));
            }
            let closed = [("closed", S::ReconnectIfClosed)];
            let kept = [("kept", S::ReconnectIfNotKept)];
            let choices = if not { &kept } else { &closed };
            words.expect(choices[0].0)?;
            choices[0].1.clone()
        }
        "give" => {
            words.expect("up")?;
            S::GiveUp
        }
        "retry" => S::Retry(words.number("how often, like `retry 2`")?),
        "kill" | "stop" | "continue" => {
            let signal = match first.as_str() {
                "kill" => Signal::Kill,
                "stop" => Signal::Stop,
                _ => Signal::Continue,
            };
            S::Signal {
                host: host(words, hosts)?,
                signal,
            }
        }
        "exit" if words.is_empty() => S::Exit(0),
        "exit" => match words.number("an exit status, 0 to 255")? {
            code @ 0..=255 => S::Exit(code),
            code => return Err(format!("an exit status is 0 to 255, not {code}")),
        },
        "repeat" => {
            let times = words.number("how often, like `repeat 3`")?;
            words.finish(&[])?;
            return Ok(Parsed::Opens(S::Repeat { times, block: vec![] }));
        }
        "while" => {
            words.expect("request")?;
            words.finish(&[])?;
            return Ok(Parsed::Opens(S::WhileRequest { block: vec![] }));
        }
        "serve" => {
            let (port, name) = port_and_name(words)?;
            words.finish(&["as", "port"])?;
            return Ok(Parsed::Opens(S::Serve {
                port,
                name,
                block: Arc::default(),
            }));
        }
        "thread" => {
            words.finish(&[])?;
            return Ok(Parsed::Opens(S::Thread { block: Arc::default() }));
        }
        "end" => {
            words.finish(&[])?;
            return Ok(Parsed::Ends);
        }
        "forward" => {
            let message = words.one_of(&[("request", Message::Request), ("response", Message::Response)])?;
            words.expect("from")?;
            let from = words.name("a connection's name")?;
            words.expect("to")?;
            S::Forward {
                message,
                from,
                to: words.name("a connection's name")?,
            }
        }
        unknown => {
            return Err(match nearest(unknown, KEYWORDS) {
                Some(name) => format!("there is no statement `{unknown}`: did you mean `{name}`?"),
                None => format!("there is no statement `{unknown}`: there are {}", KEYWORDS.join(", ")),
            });
        }
    };
    words.finish(followers(&statement))?;
    Ok(Parsed::Whole(statement))
}

/// The words that may follow a statement that is complete.
fn followers(statement: &Statement) -> &'static [&'static str] {
    match statement {
        Statement::Listen { .. } => &["backlog", "port"],
        Statement::Accept { .. } => &["as", "port"],
        Statement::Connect { .. } => &["to", "port", "as", "within"],
        Statement::Request(_) => REQUEST,
        Statement::Respond(_) => RESPOND,
        _ => &[],
    }
}

const REQUEST: &[&str] = &[
    "version", "header", "body", "declare", "chunked", "split", "expect", "watching", "json",
];
const RESPOND: &[&str] = &[
    "version", "header", "size", "declare", "chunked", "for", "if", "json", "over",
];

fn listen(words: &mut Words) -> Result<Statement, String> {
    let (mut backlog, mut port) = (128, 0);
    loop {
        if words.eat("backlog") {
            backlog = words.number("a backlog, like `backlog 1`")?;
        } else if words.eat("port") {
            port = words.port()?;
        } else {
            return Ok(Statement::Listen { backlog, port });
        }
    }
}

fn port_and_name(words: &mut Words) -> Result<(Option<u16>, Option<String>), String> {
    let (mut port, mut name) = (None, None);
    loop {
        if words.eat("port") {
            port = Some(words.port()?);
        } else if words.eat("as") {
            name = Some(words.name("a connection's name")?);
        } else {
            return Ok((port, name));
        }
    }
}

fn connect(words: &mut Words, hosts: &[String]) -> Result<Statement, String> {
    let (mut to, mut port, mut name, mut within) = (None, 0, None, None);
    loop {
        if words.eat("to") {
            to = Some(host(words, hosts)?);
        } else if words.eat("port") {
            port = words.port()?;
        } else if words.eat("as") {
            name = Some(words.name("a connection's name")?);
        } else if words.eat("within") {
            within = Some(words.duration()?);
        } else {
            return Ok(Statement::Connect {
                host: to,
                port,
                name,
                within,
            });
        }
    }
}

fn host(words: &mut Words, hosts: &[String]) -> Result<String, String> {
    let name = words.name("a host's name")?;
    if hosts.contains(&name) {
        return Ok(name);
    }
    let known: Vec<&str> = hosts.iter().map(String::as_str).collect();
    Err(match nearest(&name, &known) {
        Some(near) => format!("there is no host `{name}`: did you mean `{near}`?"),
        None => format!("there is no host `{name}`: there are {}", known.join(", ")),
    })
}

fn request(words: &mut Words) -> Result<Request, String> {
    let method = words.name("a method, like `GET`")?;
    let path = words.text("a path, like `/form`")?;
    if path.is_empty() || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "a path is one word, not {path:?}; `write \"…\"` sends what is no HTTP"
        ));
    }
    let framing = Declared::Truly;
    let mut request = Request {
        method,
        path,
        old: false,
        headers: vec![],
        body: 0,
        text: None,
        json: false,
        framing,
        split: None,
        expects: None,
        watching: false,
    };
    loop {
        if words.eat("version") {
            request.old = version(words)?;
        } else if words.eat("header") {
            request.headers.push(header(words)?);
        } else if words.eat("body") {
            request.text = words.is_quoted().then(|| words.bytes("a text")).transpose()?;
            request.body = match &request.text {
                Some(text) => text.len() as u64,
                None => words.size()?,
            };
        } else if words.eat("declare") {
            request.framing = declared(words)?;
        } else if words.eat("chunked") {
            request.framing = Declared::Chunked;
        } else if words.eat("split") {
            let after = if words.eat("after") {
                words.duration()?
            } else {
                Duration::ZERO
            };
            request.split = Some(after);
        } else if words.eat("expect") {
            words.expect("100")?;
            words.expect("within")?;
            request.expects = Some(words.duration()?);
        } else if words.eat("watching") {
            request.watching = true;
        } else if words.eat("json") {
            request.json = true;
        } else {
            return Ok(request);
        }
    }
}

fn respond(words: &mut Words) -> Result<Respond, String> {
    let status = match words.number("a status, like `200`")? {
        status @ 100..=999 => status,
        status => return Err(format!("a status is 100 to 999, not {status}")),
    };
    let framing = Declared::Truly;
    let mut respond = Respond {
        status,
        old: false,
        headers: vec![],
        size: 0,
        framing,
        to: None,
        if_unanswered: false,
        json: false,
        over: None,
    };
    loop {
        if words.eat("version") {
            respond.old = version(words)?;
        } else if words.eat("header") {
            respond.headers.push(header(words)?);
        } else if words.eat("size") {
            respond.size = words.size()?;
        } else if words.eat("declare") {
            respond.framing = declared(words)?;
        } else if words.eat("chunked") {
            respond.framing = Declared::Chunked;
        } else if words.eat("if") {
            words.expect("unanswered")?;
            respond.if_unanswered = true;
        } else if words.eat("json") {
            respond.json = true;
        } else if words.eat("over") {
            respond.over = Some(words.name("a connection's name")?);
        } else if words.eat("for") {
            respond.to = match words.number("a request's number")? {
                0 => return Err("requests are numbered from 1".to_owned()),
                number => Some(number),
            };
        } else {
            return Ok(respond);
        }
    }
}

fn declared(words: &mut Words) -> Result<Declared, String> {
    if words.eat("nothing") {
        Ok(Declared::Nothing)
    } else {
        Ok(Declared::Length(words.size()?))
    }
}

/// Whether it is HTTP/1.0.
fn version(words: &mut Words) -> Result<bool, String> {
    words.one_of(&[("1.0", true), ("1.1", false)])
}

fn header(words: &mut Words) -> Result<String, String> {
    let header = words.text("a header, like `header \"Connection: close\"`")?;
    if header.contains(['\r', '\n']) || header.split_once(':').is_none_or(|(name, _)| name.trim().is_empty()) {
        return Err(format!("a header is `Name: value` on one line, not {header:?}"));
    }
    Ok(header)
}

fn socket_option(name: &str, words: &mut Words) -> Result<SocketOption, String> {
    Ok(match name {
        "linger" if words.eat("off") => SocketOption::Linger(None),
        "linger" => SocketOption::Linger(Some(whole_seconds(words)?)),
        "nodelay" => SocketOption::NoDelay(words.one_of(&[("on", true), ("off", false)])?),
        "user-timeout" => SocketOption::UserTimeout(words.duration()?),
        "keepalive" => {
            words.expect("idle")?;
            let idle = whole_seconds(words)?;
            words.expect("interval")?;
            let interval = whole_seconds(words)?;
            words.expect("count")?;
            SocketOption::KeepAlive {
                idle,
                interval,
                count: words.number("a number of probes")?,
            }
        }
        "receive-buffer" => SocketOption::ReceiveBuffer(buffer_size(words)?),
        _ => SocketOption::SendBuffer(buffer_size(words)?),
    })
}

/// The kernel takes these in seconds; a fraction would be lost.
fn whole_seconds(words: &mut Words) -> Result<Duration, String> {
    let time = words.duration()?;
    if time.subsec_nanos() != 0 || time.as_secs() > 32767 {
        return Err(format!(
            "the kernel takes this in whole seconds, to 32767, not {time:?}"
        ));
    }
    Ok(time)
}

fn buffer_size(words: &mut Words) -> Result<usize, String> {
    let size = words.size()?;
    let limit = 1 << 30;
    if size > limit {
        Err(format!("a buffer is {limit} bytes at most"))
    } else {
        Ok(size as usize)
    }
}
