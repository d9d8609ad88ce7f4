//! Sentences about packets: what each kind of evidence is called, so that all causes speak alike.

use bypeer_wire::Direction;
use bypeer_wire::app::{Exchange, Framing, Message, Protocol};
use bypeer_wire::conn::{Fin, Reset, ResetShape, SegmentNote};

use crate::Evidence;
use crate::story::{Story, request_head, response_head};

/// The request of an exchange: where it began, how much of it came, and its last part where that came later.
pub fn request(story: &Story<'_>, exchange: &Exchange) -> Vec<Evidence> {
    let Some(request) = exchange.request.as_ref() else {
        return Vec::new();
    };
    let name = request_name(story, exchange);
    let (have, whole) = extent(request);
    let extent = match whole {
        Some(whole) if have >= whole => format!("{whole} bytes, all sent"),
        Some(whole) => format!("{have} of {whole} bytes sent"),
        None => format!("{have} bytes sent"),
    };
    let body = match (request.head_end, request.end) {
        (Some(head_end), Some(end)) if end > head_end => format!(" ({} of them body)", end - head_end),
        _ => String::new(),
    };
    let mut all = vec![Evidence::packet(
        request.begun,
        format!("the client sends {name}: {extent}{body}"),
    )];
    if request.last.number != request.begun.number {
        let last = story.connection.timeline.find(request.last.number);
        let bytes = last.map_or(String::new(), |note| format!(" ({} bytes)", note.len));
        let what = if request.complete {
            "the request's last part"
        } else {
            "the last part of the request that was sent"
        };
        all.push(Evidence::packet(request.last, format!("{what}{bytes}")));
    }
    all
}

/// The response of an exchange, where it began, and how much of it came.
pub fn response(story: &Story<'_>, exchange: &Exchange) -> Option<Evidence> {
    let response = exchange.response.as_ref()?;
    let name = match response_head(response) {
        Some(head) => format!("answers {}", head.status),
        None if story.is_tls() => "sends encrypted data".to_owned(),
        None => "answers".to_owned(),
    };
    let (have, whole) = extent(response);
    let extent = match whole {
        Some(whole) if have >= whole => format!("{whole} bytes, all sent"),
        Some(whole) => format!("{have} of {whole} bytes sent"),
        None if response.framing == Framing::Close => format!("{have} bytes, until the connection closes"),
        None => format!("{have} bytes"),
    };
    Some(Evidence::packet(response.begun, format!("the server {name}: {extent}")))
}

/// "POST /upload (request 2 of this connection)", "request 2", "bytes 300 to 400".
pub fn request_name(story: &Story<'_>, exchange: &Exchange) -> String {
    let number = exchange.index + 1;
    let head = exchange.request.as_ref().and_then(request_head);
    let name = match head {
        Some(head) => format!("{} {}", head.method.as_str(), head.path),
        None => match story.connection.app.protocol {
            Protocol::Http1 => "a request".to_owned(),
            Protocol::Tls => "encrypted data".to_owned(),
            Protocol::Redis => "a command".to_owned(),
            Protocol::FastCgi => "a FastCGI request".to_owned(),
            _ => "data".to_owned(),
        },
    };
    if number == 1 {
        name
    } else {
        format!("{name} (number {number} on this connection)")
    }
}

/// A FIN of one side.
pub fn fin(direction: Direction, fin: &Fin) -> Evidence {
    Evidence::packet(
        fin.at,
        format!("the {} closes: FIN after {} bytes", side(direction), fin.offset),
    )
}

/// The reset, in the words of its shape.
pub fn reset(story: &Story<'_>, reset: &Reset) -> Evidence {
    let side = side(reset.direction);
    let what = match reset.shape {
        ResetShape::Active => {
            let arrived = reset.ack.unwrap_or(0).max(0);
            format!(
                "RST,ACK from the {side}'s own socket (TTL {}, window {}); its kernel had received {} of {} bytes",
                reset.ttl,
                reset.window,
                arrived.min(story.connection.flow(reset.direction.reverse()).sent as i64),
                story.connection.flow(reset.direction.reverse()).sent,
            )
        }
        ResetShape::Passive => {
            format!(
                "bare RST in the {side}'s name (TTL {}, window {}){NO_SOCKET}",
                reset.ttl, reset.window
            )
        }
        ResetShape::Refusal => format!("RST,ACK refuses the SYN (TTL {})", reset.ttl),
        ResetShape::Other => format!(
            "a reset in the {side}'s name, in a shape that Linux does not send (TTL {})",
            reset.ttl
        ),
    };
    Evidence::packet(reset.at, what)
}

/// The segment that drew a reset.
pub fn trigger(note: &SegmentNote) -> Evidence {
    let what = if note.len > 0 {
        format!(
            "the {} sends {} bytes (from byte {}): this draws the reset",
            side(note.direction),
            note.len,
            note.seq
        )
    } else {
        format!("the {}'s segment that draws the reset", side(note.direction))
    };
    Evidence::packet(note.at, what)
}

/// Request, response, FINs, trigger and reset of an ending, in time order: the proof that most causes share.
pub fn ending(story: &Story<'_>, exchange: Option<&Exchange>) -> Vec<Evidence> {
    let mut all = Vec::new();
    if let Some(exchange) = exchange {
        all.extend(request(story, exchange));
        all.extend(response(story, exchange));
    }
    all.extend(story.server_fin().map(|at| fin(Direction::ToClient, at)));
    all.extend(story.client_fin().map(|at| fin(Direction::ToServer, at)));
    if let Some(by) = story.reset() {
        if by.shape != ResetShape::Active {
            let known = |number| all.iter().any(|item: &Evidence| item.number == number);
            all.extend(by.trigger.as_ref().filter(|note| note.at.number != 0).map(|note| {
                if known(note.at.number) {
                    Evidence::packet(note.at, "this draws the reset")
                } else {
                    trigger(note)
                }
            }));
        }
        all.push(reset(story, by));
    }
    all
}

/// What a bare RST means when the host itself sent it.
const NO_SOCKET: &str = ": the segment met no open socket";

/// The same evidence without the claim that a socket was missing: for causes in which somebody else answered.
pub fn unclaimed(evidence: Vec<Evidence>) -> Vec<Evidence> {
    evidence
        .into_iter()
        .map(|item| Evidence {
            what: item.what.replace(NO_SOCKET, ""),
            ..item
        })
        .collect()
}

/// "client" or "server": who sends in this direction.
pub fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::ToServer => "client",
        Direction::ToClient => "server",
    }
}

/// A duration for people: "412 µs", "18.3 ms", "5.02 s".
pub fn time(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

/// (bytes seen, bytes in all when known).
fn extent(message: &Message) -> (u64, Option<u64>) {
    let seen = message.seen.saturating_sub(message.start);
    let whole = match message.framing {
        Framing::Close | Framing::Unknown | Framing::Tunnel => None,
        _ => message.end.map(|end| end.saturating_sub(message.start)),
    };
    (seen, whole)
}
