//! Compares what the causes say about one story and makes the finding.

use std::time::Duration;

use bypeer_wire::Direction;
use bypeer_wire::app::{Exchange, Protocol};
use bypeer_wire::conn::ResetShape;

use crate::causes::CAUSES;
use crate::causes::proof;
use crate::causes::reuse;
use crate::causes::swap;
use crate::facts::{self, Situation};
use crate::story::{Stand, has_body, request_head, response_head, tls_record_cut};
use crate::{Cause, Confidence, Evidence, Finding, Lost, Misdelivered, Retry, Rival, Source, Story, Strength, Weighed};

/// The finding about a story; `None` when no cause has anything to say.
pub fn decide(story: &Story<'_>) -> Option<Finding> {
    let mut weighed: Vec<(&'static Cause, Weighed)> = CAUSES
        .iter()
        .filter_map(|cause| (cause.weigh)(story).map(|weighed| (*cause, weighed)))
        .collect();
    if story.one_sided() {
        return None;
    }
    if story.connection.to_server.missed + story.connection.to_client.missed > 0 {
        weighed.retain_mut(|(_, weighed)| doubt(story, weighed));
    }
    let Decision {
        cause,
        weighed,
        confidence,
        rivals,
    } = compare(weighed)?;
    let mut finding = finding(story, cause, weighed, confidence, rivals);
    doubt_the_request(story, &mut finding);
    Some(finding)
}

/// What is left when the causes have been compared.
pub(crate) struct Decision {
    pub cause: &'static Cause,
    pub weighed: Weighed,
    pub confidence: Confidence,
    pub rivals: Vec<Rival>,
}

/// Compares what the causes say, in the order of their table; `None` when nothing is left to say.
pub(crate) fn compare(mut weighed: Vec<(&'static Cause, Weighed)>) -> Option<Decision> {
    // Stable: of equals the first in the table leads. A fault is not excused by a harmless note that fits as well.
    weighed.sort_by_key(|(_, weighed)| (std::cmp::Reverse(weighed.strength), weighed.harmless));
    let (best, harmless, may_be_no_fault) = weighed
        .first()
        .map(|(_, weighed)| (weighed.strength, weighed.harmless, weighed.may_be_no_fault))?;
    let equals = weighed
        .iter()
        .take_while(|(_, weighed)| weighed.strength == best && weighed.harmless == harmless)
        .count();
    let confidence = match (best, equals) {
        (Strength::Proven, 1) => Confidence::Certain,
        (Strength::Fits, 1) if may_be_no_fault => Confidence::Undecided,
        (Strength::Fits, 1) => Confidence::Likely,
        // Alone, but nothing speaks for it in particular: a note where it is harmless, and no accusation otherwise.
        (Strength::Possible, 1) if harmless => Confidence::Likely,
        (Strength::Possible, 1) => return None,
        _ => Confidence::Undecided,
    };
    let mut candidates = weighed.into_iter();
    let (cause, weighed) = candidates.next()?;
    let rivals: Vec<Rival> = if confidence == Confidence::Undecided {
        candidates
            .filter(|(_, other)| other.strength == best && other.harmless == harmless)
            .map(|(cause, other)| Rival {
                cause,
                because: other.verdict,
            })
            .collect()
    } else {
        Vec::new()
    };
    Some(Decision {
        cause,
        weighed,
        confidence,
        rivals,
    })
}

/// Under TLS nobody sees where a request ends. What the client sends right after an answer began may be the rest of the request that was
/// answered early, and then nothing more was due.
fn doubt_the_request(story: &Story<'_>, finding: &mut Finding) {
    let answered = story
        .unfinished()
        .filter(|_| story.connection.app.protocol == Protocol::Tls);
    let at_once = answered
        .filter(|exchange| exchange.response.is_none() && exchange.request.is_some())
        .is_some_and(|exchange| {
            let begun = story.before(exchange).and_then(|before| before.response.as_ref());
            let request = exchange.request.as_ref();
            begun.zip(request).is_some_and(|(answer, request)| {
                request.begun.time.since(answer.begun.time) <= story.round_trip() * 2 + REST_COMES
            })
        });
    let (true, false, Confidence::Likely) = (at_once, finding.harmless, finding.confidence) else {
        return;
    };
    let early = CAUSES
        .iter()
        .find(|cause| cause.id == EARLY && finding.cause.id != EARLY);
    if let Some(cause) = early {
        finding.confidence = Confidence::Undecided;
        finding.rivals.push(Rival {
            cause,
            because: "what the client sent right after the answer may be the rest of the request that was answered: then none is missing"
                .to_owned(),
        });
        finding.settle = Some(
            "the keys of the TLS session (SSLKEYLOGFILE), or the client's own account: how many answers it had"
                .to_owned(),
        );
    }
}

/// The rest of a request that was answered early comes within this, and two round trips.
const REST_COMES: Duration = Duration::from_millis(50);
const EARLY: &str = "early-error-body-limit";

/// Where the capture has holes, what was not seen may have been there: absence accuses nobody, and nothing is proven.
fn doubt(story: &Story<'_>, weighed: &mut Weighed) -> bool {
    weighed.strength = weighed.strength.min(Strength::Fits);
    weighed.harmless || story.connection.resets_total > 0
}

fn finding(
    story: &Story<'_>,
    cause: &'static Cause,
    weighed: Weighed,
    confidence: Confidence,
    rivals: Vec<Rival>,
) -> Finding {
    let connection = story.connection;
    let software = server_software(story);
    let known = software.as_deref().and_then(facts::software);
    let client = client_software(story);
    let situation = situation(story, confidence);
    let mut evidence = weighed.evidence;
    evidence.sort_by_key(|item| (item.time, item.number, item.source.id()));
    let evidence = joined(evidence);
    let (retry, retry_reason) = retry(story, cause, weighed.harmless);
    Finding {
        cause,
        confidence,
        rivals,
        harmless: weighed.harmless,
        blame: weighed.blame,
        verdict: weighed.verdict,
        closing: closing(story),
        stream: connection.stream,
        client: connection.client,
        server: connection.server,
        request: request_line(story),
        fixes: facts::fixes(cause.id, known, client, &situation),
        server_software: software,
        opened: Some(connection.opened.time),
        ended: connection.ended.time,
        lost: lost(story, cause, weighed.harmless),
        retry,
        retry_reason,
        evidence,
        clauses: facts::clauses(cause.clauses, &situation),
        follows: None,
        misdelivered: misdelivered(story, cause),
        settle: weighed.settle.filter(|_| confidence != Confidence::Certain),
        heard: None,
    }
}

/// What is said twice is said once, and what is said of one packet stands in one place.
fn joined(sorted: Vec<Evidence>) -> Vec<Evidence> {
    let mut all: Vec<Evidence> = Vec::with_capacity(sorted.len());
    for item in sorted {
        match all
            .iter_mut()
            .find(|other| other.number == item.number && other.source == item.source)
        {
            Some(other) if item.source == Source::Group && other.what != item.what => all.push(item),
            Some(other) if other.what.contains(&item.what) => {}
            Some(other) => other.what = format!("{}; {}", other.what, item.what),
            None => all.push(item),
        }
    }
    all
}

/// The `Server` header of the newest answer that has one.
fn server_software(story: &Story<'_>) -> Option<String> {
    story
        .connection
        .app
        .exchanges
        .iter()
        .rev()
        .filter_map(|exchange| exchange.response.as_ref().and_then(response_head))
        .find_map(|head| head.server.as_deref().map(str::to_owned))
        .or_else(|| story.around.software.clone())
}

/// Method and path of the request that was not finished, or of the newest one.
fn request_line(story: &Story<'_>) -> Option<String> {
    let exchange = story.unfinished().or_else(|| story.connection.app.exchanges.newest())?;
    let head = request_head(exchange.request.as_ref()?)?;
    Some(format!("{} {}", head.method.as_str(), head.path))
}

/// The client, as its newest request names it.
fn client_software(story: &Story<'_>) -> Option<&'static facts::Software> {
    let requests = story
        .connection
        .app
        .exchanges
        .iter()
        .rev()
        .filter_map(|exchange| exchange.request.as_ref());
    requests
        .filter_map(request_head)
        .find_map(|head| facts::client_software(head.user_agent.as_deref()?))
}

/// What of the story decides which advice fits.
fn situation(story: &Story<'_>, confidence: Confidence) -> Situation {
    let exchanges = &story.connection.app.exchanges;
    let timed = || reuse::find(story).filter(|reuse| reuse.by_a_timer(story));
    let idle_limit = match story.around.idle_limit {
        Some(limit) => Some(limit.median),
        None => timed().map(|reuse| reuse.closed_after),
    };
    Situation {
        handshake_only: !story.connection.established(),
        // The refused body may be that of the request before a pipelined one.
        has_body: exchanges
            .iter()
            .rev()
            .take(2)
            .any(|exchange| exchange.request.as_ref().is_some_and(has_body)),
        status: exchanges
            .iter()
            .rev()
            .find_map(|exchange| Some(response_head(exchange.response.as_ref()?)?.status)),
        protocol: story.connection.app.protocol,
        idle_limit_seconds: idle_limit.map(|limit| limit.as_secs_f64()),
        fin_before_reset: story
            .reset()
            .is_some_and(|reset| reset.direction == Direction::ToClient && reset.after_own_fin),
        client_took_nothing: story.client_took_nothing(),
        undecided: confidence == Confidence::Undecided,
    }
}

/// Who closed, and whose kernel sent the reset.
fn closing(story: &Story<'_>) -> String {
    let Some(reset) = story.reset() else {
        return match (story.server_closed_first(), story.client_closed_first()) {
            (Some(_), _) => "the server closed with FIN; no reset was sent".to_owned(),
            (_, Some(_)) => "the client closed with FIN; no reset was sent".to_owned(),
            _ => "nobody closed and no reset was sent".to_owned(),
        };
    };
    let side = proof::side(reset.direction);
    match reset.shape {
        ResetShape::Active if reset.after_own_fin => {
            format!("the {side} half-closed with FIN, then closed; its kernel sent RST,ACK")
        }
        ResetShape::Active => format!("the {side} closed; its kernel sent RST,ACK instead of FIN"),
        ResetShape::Passive if reset.after_own_fin => {
            format!("the {side} had closed with FIN; its kernel answered what came later with a bare RST")
        }
        ResetShape::Passive => format!("nobody was seen to close; a bare RST came in the {side}'s name"),
        ResetShape::Refusal => format!("a reset in the {side}'s name refused the connection"),
        ResetShape::Other => format!("a reset of unusual shape came in the {side}'s name"),
    }
}

/// Whose answer went to whom, where the cause is about that.
fn misdelivered(story: &Story<'_>, cause: &Cause) -> Option<Box<Misdelivered>> {
    if !cause.is_of_mixed_up_answers() {
        return None;
    }
    let astray = &story.around.astray;
    let (due, given, answer) = match (swap::of(story), &astray.reused, &astray.shifted) {
        (_, Some(reuse), _) => (&reuse.owed, &reuse.next, reuse.answer),
        (Some(swap), ..) => (&swap.due, &swap.given, swap.answer),
        (_, _, Some(shift)) => (&shift.due, &shift.given, shift.answer),
        _ => return None,
    };
    Some(Box::new(Misdelivered {
        due: due.clone(),
        given: given.clone(),
        answer,
        disclosed: swap::disclosed(due, given),
    }))
}

fn lost(story: &Story<'_>, cause: &Cause, harmless: bool) -> Lost {
    if harmless {
        return Lost {
            response_bytes: Some(0),
            requests: 0,
            what: "nothing".to_owned(),
        };
    }
    let connection = story.connection;
    if let Some(swap) = swap::of(story).filter(|_| cause.is_of_mixed_up_answers())
        && swap.given.stream == connection.stream
    {
        if swap.own_came_first {
            return Lost {
                response_bytes: None,
                requests: 1,
                what: format!(
                    "the next answer on this connection: behind that to {} came another's, which the client may take for it",
                    swap.given.route
                ),
            };
        }
        let own = if swap.own_followed.is_some() {
            "its own came behind it"
        } else {
            "it never got its own"
        };
        return Lost {
            response_bytes: None,
            requests: 1,
            what: format!(
                "the right answer to {}: it was given another's, and {own}",
                swap.given.route
            ),
        };
    }
    if !connection.established() || (connection.to_server.sent == 0 && connection.to_client.sent == 0) {
        return Lost {
            response_bytes: Some(0),
            requests: 0,
            what: "the connection; no request was sent on it".to_owned(),
        };
    }
    match story.stand() {
        Stand::Unanswered(exchange) => Lost {
            response_bytes: None,
            requests: 1,
            what: format!("the whole answer to {}", proof::request_name(story, exchange)),
        },
        Stand::Answering(exchange) => {
            let missing = story.response_bytes_missing(exchange);
            let whole = exchange
                .response
                .as_ref()
                .and_then(|response| Some(response.end? - response.start));
            let what = match (missing, whole) {
                (Some(missing), Some(whole)) => format!("{missing} of {whole} response bytes"),
                _ => "the rest of the response".to_owned(),
            };
            Lost {
                response_bytes: missing,
                requests: 1,
                what,
            }
        }
        Stand::AnsweredEarly(exchange) => unacknowledged_answer(story, exchange),
        Stand::Idle if story.answer_was_cut() => Lost {
            response_bytes: None,
            requests: 1,
            what: match tls_record_cut(connection) || story.chunk_was_broken() {
                true => "the rest of the answer, of unknown length",
                false => "perhaps the rest of the answer, of unknown length",
            }
            .to_owned(),
        },
        Stand::Idle => match connection.app.exchanges.newest() {
            Some(exchange) => unacknowledged_answer(story, exchange),
            None => Lost {
                response_bytes: None,
                requests: 0,
                what: "cannot be told".to_owned(),
            },
        },
    }
}

/// The answer was sent whole; whether the client read it depends on its last bytes having arrived before the reset, and on
/// its program: one that is still sending usually fails before it reads.
fn unacknowledged_answer(story: &Story<'_>, exchange: &Exchange) -> Lost {
    let missing = story.response_bytes_missing(exchange).unwrap_or(0);
    if missing > 0 {
        return Lost {
            response_bytes: Some(missing),
            requests: 1,
            what: format!(
                "the last {missing} response bytes were not acknowledged when {}",
                if story.reset().is_some() {
                    "the reset came"
                } else {
                    "the capture ended"
                }
            ),
        };
    }
    let what = if matches!(story.stand(), Stand::AnsweredEarly(_)) {
        "the answer reached the client's machine; a client that is still sending usually fails before it reads it"
    } else if story.heads_were_cut() {
        "nothing of what had been sent; where the answer ends is not in the capture"
    } else {
        "nothing: every answer had arrived"
    };
    Lost {
        response_bytes: Some(0),
        requests: 0,
        what: what.to_owned(),
    }
}

/// RFC 9110 §9.2.2 and what the server's kernel had received. `Safe` needs positive evidence: silence proves nothing.
fn retry(story: &Story<'_>, cause: &Cause, harmless: bool) -> (Retry, String) {
    let because = |retry, reason: &str| (retry, reason.to_owned());
    if harmless {
        return because(Retry::NotNeeded, "nothing was lost");
    }
    let connection = story.connection;
    if cause.is_of_mixed_up_answers() {
        return because(
            Retry::Unknown,
            "answers may belong to other requests: distrust all on this connection",
        );
    }
    if !connection.established() {
        return because(Retry::Safe, "no connection came about: no request was sent");
    }
    if connection.to_server.sent == 0 {
        return because(Retry::Safe, "no request was sent");
    }
    let Some(exchange) = story.unfinished() else {
        let newest = connection.app.exchanges.newest();
        if let Some(newest) = newest.filter(|_| story.answer_was_cut()) {
            return answered(newest);
        }
        return match newest.filter(|newest| story.response_bytes_missing(newest).unwrap_or(0) > 0) {
            Some(newest) => answered(newest),
            None if story.heads_were_cut() => because(Retry::Unknown, "where the answer ends is not in the capture"),
            None => because(Retry::NotNeeded, "every request had its answer"),
        };
    };
    let Some(request) = exchange.request.as_ref() else {
        return because(Retry::Unknown, "no request was seen");
    };
    let status = exchange
        .response
        .as_ref()
        .and_then(response_head)
        .map(|head| head.status);
    if let Some(status @ 400..=499) = status {
        return (
            Retry::Safe,
            format!("the server refused it ({status}): the same request will be refused again"),
        );
    }
    if let Some(head) = request_head(request)
        && head.method.is_idempotent()
    {
        return (Retry::Safe, format!("{} is idempotent", head.method.as_str()));
    }
    if exchange.response.is_some() {
        return answered(exchange);
    }
    let server_reset = story.reset().filter(|reset| reset.direction == Direction::ToClient);
    if connection.seen_from_start() && connection.to_server.acked == 0 && connection.to_client.sent == 0 {
        let never_a_socket = server_reset.is_some_and(|reset| reset.shape == ResetShape::Passive && reset.seq == 0);
        if never_a_socket {
            return because(
                Retry::Safe,
                "the server's kernel had no socket for it: no program saw the request",
            );
        }
        if server_reset.is_none() {
            return because(
                Retry::Unknown,
                "no acknowledgement was seen; it may have arrived and run",
            );
        }
    }
    // The end of a request is known only where its protocol is.
    let known_end = request.end.filter(|_| story.understood(exchange));
    match (server_reset, story.server_fin()) {
        (Some(reset), _) if reset.shape == ResetShape::Active => match (known_end, reset.ack) {
            (Some(end), Some(ack)) if ack >= 0 && (ack as u64) < end => because(
                Retry::Safe,
                "the reset's ack does not cover the request: it never reached the program whole",
            ),
            (Some(_), Some(_)) => because(
                Retry::Unsafe,
                "the reset's ack covers the whole request: it may have run",
            ),
            _ => because(
                Retry::Unknown,
                "a part of it had arrived: what was in that part may have run",
            ),
        },
        (_, Some(fin)) if fin.ack <= request.start => {
            because(Retry::Safe, "the server had closed before the request reached it")
        }
        (_, Some(_))
            if request.head_end.is_none() && connection.app.protocol == Protocol::Http1 && !story.heads_were_cut() =>
        {
            because(
                Retry::Safe,
                "the head of the request was not whole when the server closed: it cannot have run",
            )
        }
        (_, Some(fin)) if known_end.is_some_and(|end| fin.ack < end) => because(
            Retry::Unknown,
            "only a part of the request had reached the server when it closed: what was in that part may have run",
        ),
        (_, Some(_)) => because(
            Retry::Unsafe,
            "the server had received the request when it closed: it may have run",
        ),
        (_, None) => because(
            Retry::Unknown,
            "a bare RST, or silence, does not tell whether the request had run",
        ),
    }
}

/// The answer had begun, or was whole, and its end may not have arrived.
fn answered(exchange: &Exchange) -> (Retry, String) {
    let idempotent = exchange
        .request
        .as_ref()
        .and_then(request_head)
        .filter(|head| head.method.is_idempotent());
    let status = exchange
        .response
        .as_ref()
        .and_then(response_head)
        .map(|head| head.status);
    match (idempotent, status) {
        (Some(head), _) => (Retry::Safe, format!("{} is idempotent", head.method.as_str())),
        // What stands behind a gateway may have had it, or not.
        (None, Some(status @ 502..=504)) => (
            Retry::Unknown,
            format!("the server answered {status}: whether the request reached the one behind it is not told"),
        ),
        (None, Some(status)) if exchange.response_complete() => (
            Retry::Unsafe,
            format!("the server had answered ({status}): the request has run"),
        ),
        _ => (
            Retry::Unsafe,
            "the server had begun to answer: the request may have run".to_owned(),
        ),
    }
}
