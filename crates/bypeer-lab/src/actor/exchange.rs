//! Messages as an actor writes and reads them, with account kept of what was asked and answered on a connection.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use super::connection::Connection;
use super::failure::Failure;
use super::http::{Body, Dialogue, Framing, Head, request_head, response_head};
use super::locked;
use super::script::{Declared, Message, Request, Respond, SocketOption};

/// What came of a statement, beside success or failure.
#[derive(Default)]
pub(super) struct Outcome {
    /// The statement is about a connection: it is told even if all went well.
    pub(super) told: bool,
    /// The connection's ends, if they are not those of the current one afterwards.
    pub(super) ends: Option<(Option<SocketAddrV4>, SocketAddrV4)>,
    pub(super) bytes: u64,
    pub(super) expected: Option<u64>,
    pub(super) status: Option<u16>,
    /// The failure is how a kept connection ends, and no failure of the server.
    pub(super) expected_end: bool,
}

/// Adds what was read or written to the outcome.
pub(super) fn counted((bytes, result): (u64, Result<(), Failure>), outcome: &mut Outcome) -> Result<(), Failure> {
    outcome.bytes += bytes;
    result
}

pub(super) fn write_bytes(
    connection: &Connection,
    bytes: &[u8],
    deadline: Instant,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    *outcome.expected.get_or_insert(0) += bytes.len() as u64;
    let mut rest = Some(bytes);
    let mut fill = |buffer: &mut Vec<u8>| buffer.extend_from_slice(rest.take().unwrap_or_default());
    counted(connection.write(deadline, &mut fill), outcome)
}

/// Writes head and body together.
fn write_message(
    connection: &Connection,
    head: &[u8],
    mut body: Body,
    deadline: Instant,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    outcome.expected = Some(head.len() as u64 + body.wire_size());
    let mut head = Some(head);
    let mut fill = |buffer: &mut Vec<u8>| {
        buffer.extend_from_slice(head.take().unwrap_or_default());
        body.fill(buffer);
    };
    counted(connection.write(deadline, &mut fill), outcome)
}

pub(super) fn write_request(
    connection: &Connection,
    request: &Arc<Request>,
    server: SocketAddrV4,
    deadline: Instant,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    write_one_request(connection, request, server, deadline, outcome)
        .inspect_err(|_| locked(&connection.dialogue).not_kept = true)
}

fn write_one_request(
    connection: &Connection,
    request: &Arc<Request>,
    server: SocketAddrV4,
    deadline: Instant,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let mut dialogue = locked(&connection.dialogue);
    dialogue.outstanding.push_back(Arc::clone(request));
    dialogue.last = Some(Arc::clone(request));
    drop(dialogue);
    let head = request_head(request, server);
    let line = request
        .text
        .clone()
        .unwrap_or_else(|| format!("{}\n", request.path).into_bytes());
    let mut body = Body::new(&line, request.body, request.framing == Declared::Chunked);
    if request.split.is_none() && request.expects.is_none() && !request.watching {
        return write_message(connection, &head, body, deadline, outcome);
    }
    connection.set(&SocketOption::NoDelay(true))?;
    write_bytes(connection, &head, deadline, outcome)?;
    outcome.expected = Some(head.len() as u64 + body.wire_size());
    let after = request.split.unwrap_or_default();
    std::thread::sleep(after);
    let deadline = deadline + after;
    if let Some(time) = request.expects
        && !may_continue(connection, deadline.min(Instant::now() + time))?
    {
        return Ok(());
    }
    let mut fill = |buffer: &mut Vec<u8>| body.fill(buffer);
    let written = if request.watching {
        connection.write_until_answered(deadline, &mut fill)
    } else {
        connection.write(deadline, &mut fill)
    };
    counted(written, outcome)
}

/// Whether the body may be sent: `100 Continue` came, or nothing before the deadline (RFC 9110 10.1.1: a client does not wait for ever).
/// A final answer is left for the statement that reads it.
fn may_continue(connection: &Connection, deadline: Instant) -> Result<bool, Failure> {
    loop {
        match Head::peek(connection, deadline) {
            Ok((head, size)) => match head.status() {
                Some(status @ 100..=199) => {
                    connection.read(size as u64, deadline, &mut |_| {}).1?;
                    if status == 100 {
                        return Ok(true);
                    }
                }
                _ => return Ok(false),
            },
            Err(Failure::Timeout) => return Ok(true),
            Err(failure) => return Err(failure),
        }
    }
}

/// Writes a response to a request of `connection`; to another connection where it says so.
pub(super) fn write_response(
    connection: &Connection,
    over: &Connection,
    respond: &Respond,
    deadline: Instant,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let mut dialogue = locked(&connection.dialogue);
    // The oldest request without an answer; if all were answered, the last one once more.
    let number = respond
        .to
        .unwrap_or((dialogue.answered + 1).min(dialogue.asked.len().max(1)));
    let asked = dialogue.asked.get(number - 1).cloned();
    if respond.if_unanswered && dialogue.answered >= dialogue.asked.len() {
        outcome.told = false;
        return Ok(());
    }
    if respond.to.is_some() && asked.is_none() {
        return Err(Failure::NoRequest);
    }
    if respond.status >= 200 {
        dialogue.answered = dialogue.answered.max(number);
    }
    drop(dialogue);
    outcome.status = Some(respond.status);
    let path = asked.as_ref().map(|(_, path)| path.as_str());
    let line = match respond.json {
        true => json_answer(path.unwrap_or("/"), number),
        false => format!("{} #{number}\n", path.unwrap_or("-")),
    };
    let whole = if respond.json { line.len() as u64 } else { respond.size };
    let head = response_head(respond, whole, path);
    let size = if asked.as_ref().is_some_and(|(method, _)| method == "HEAD") {
        0
    } else {
        whole
    };
    let body = Body::new(line.as_bytes(), size, respond.framing == Declared::Chunked);
    write_message(over, &head, body, deadline, outcome)
}

/// What is looked at of a body that is an object.
const LOOKED_AT: usize = 256;

/// An answer whose shape tells the endpoint that was asked, and not the path: `/orders/17` is answered `{"orders":{"number":1}}`.
fn json_answer(path: &str, number: usize) -> String {
    format!("{}{{\"number\":{number}}}}}\n", json_begins(path))
}

/// With what such an answer begins.
fn json_begins(path: &str) -> String {
    let first = path
        .trim_start_matches('/')
        .split(['/', '?'])
        .next()
        .unwrap_or_default();
    let key: String = first
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    format!("{{\"{key}\":")
}

/// Notes a request that was read. Returns where its body ends.
pub(super) fn note_request(head: &Head, dialogue: &mut Dialogue) -> Result<Framing, Failure> {
    dialogue.asked.push(head.request().ok_or(Failure::Malformed)?);
    head.request_body()
}

/// Reads a response and checks it: whole, and of the path that was asked for.
pub(super) fn read_one_response(
    connection: &Connection,
    deadline: Instant,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let read = read_and_check(connection, deadline, outcome);
    let mut dialogue = locked(&connection.dialogue);
    dialogue.not_kept |= !matches!(read, Ok(()) | Err(Failure::Gateway(_)));
    dialogue.idle_since = Some(Instant::now());
    read
}

fn read_and_check(connection: &Connection, deadline: Instant, outcome: &mut Outcome) -> Result<(), Failure> {
    let asked = locked(&connection.dialogue).outstanding.pop_front();
    let (head, status) = loop {
        let (head, _) = Head::read(connection, deadline).map_err(|(failure, _)| failure)?;
        match head.status() {
            // An interim response (RFC 9110 15.2).
            Some(100 | 102..=199) => {}
            Some(status) => break (head, status),
            None => return Err(Failure::Malformed),
        }
    };
    outcome.status = Some(status);
    let framing = head.response_body(status, asked.as_ref().map(|request| request.method.as_str()))?;
    outcome.expected = framing.length();
    {
        let mut dialogue = locked(&connection.dialogue);
        dialogue.not_kept = !head.is_kept() || framing == Framing::ToEnd;
        dialogue.kept_for = head.kept_for();
    }
    let mut beginning = Vec::new();
    let mut look = |bytes: &[u8]| {
        let room = LOOKED_AT.saturating_sub(beginning.len());
        beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
    };
    counted(framing.read(connection, deadline, &mut look), outcome)?;
    let anothers = |asked: &Request| match head.field("x-path") {
        Some(path) => asked.path != path,
        None => asked.json && !beginning.starts_with(json_begins(&asked.path).as_bytes()),
    };
    match asked {
        Some(asked) if anothers(&asked) => Err(Failure::AnothersResponse),
        _ if (502..=504).contains(&status) => Err(Failure::Gateway(status)),
        _ => Ok(()),
    }
}

/// Reads a whole message as it is on the wire.
pub(super) fn read_whole(
    connection: &Connection,
    message: Message,
    deadline: Instant,
    outcome: &mut Outcome,
) -> Result<Vec<u8>, Failure> {
    let (head, mut bytes) = Head::read(connection, deadline).map_err(|(failure, _)| failure)?;
    let framing = match message {
        Message::Request => note_request(&head, &mut locked(&connection.dialogue))?,
        Message::Response => {
            let status = head.status().ok_or(Failure::Malformed)?;
            outcome.status = Some(status);
            let asked = locked(&connection.dialogue).outstanding.pop_front();
            head.response_body(status, asked.as_ref().map(|request| request.method.as_str()))?
        }
    };
    framing
        .read(connection, deadline, &mut |piece| bytes.extend_from_slice(piece))
        .1?;
    Ok(bytes)
}

/// Keeps account of a message that goes from one connection to another.
pub(super) fn pass_on(from: &Connection, to: &Connection, message: Message) {
    if message == Message::Response {
        locked(&to.dialogue).answered += 1;
        return;
    }
    let Some((method, path)) = locked(&from.dialogue).asked.last().cloned() else {
        return;
    };
    let framing = Declared::Truly;
    let request = Request {
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
    // Not `last`: a proxy's retry would send what it only knows in part.
    locked(&to.dialogue).outstanding.push_back(Arc::new(request));
}
