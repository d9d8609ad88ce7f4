use std::collections::VecDeque;
use std::time::Duration;

use bypeer_wire::app::Protocol;
use bypeer_wire::conn::{Connection, Ending, ResetShape};
use bypeer_wire::{Direction, Endpoint, Timestamp};
use hashbrown::HashMap;

use crate::misdelivered::astray::Astray;
use crate::story::{RIGHT_AFTER, Stand, Story, response_head, tls_closed_silently, tls_record_cut};

/// What other connections of the same server did around a connection: what a single story cannot know.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Other connections that the server's side ended within 60 ms of this one, in the middle of something.
    pub died_together: u32,
    /// Of those, the ones whose clients, like this one's, had been silent for a while, and for another time: one event ended them, not each
    /// its own request, nor a limit of time.
    pub died_together_unprompted: u32,
    /// Of those, the ones whose clients had been silent for as long as this one's: one event, or a limit that they ran into together.
    pub died_together_alike: u32,
    /// Connections that the server's side ended at other moments, after the same silence: a limit.
    pub died_alike_elsewhere: u32,
    /// Time from this connection's end to the first refused SYN to this server, when no handshake succeeded between.
    pub refused_after: Option<Duration>,
    /// A handshake with this server succeeded within 30 s after this connection's end, before any refusal.
    pub accepted_after: Option<Duration>,
    /// A handshake with this server succeeded within 30 s before this connection began.
    pub accepted_before: Option<Duration>,
    /// Connections of this server in this capture, this one included.
    pub connections: u32,
    /// Connections of this server on which it sent payload.
    pub answered: u32,
    /// How long this server waits before it closes an idle connection, when several connections agree.
    pub idle_limit: Option<Cluster>,
    /// Connections on which it answered something that a client had asked.
    pub replied: u32,
    /// Connections on which this server closed right after an answer that promised to go on.
    pub closed_after_answer: u32,
    /// Connections on which this server closed, or could have closed, after an answer that promised to go on.
    pub could_close_after_answer: u32,
    /// After how many requests this server closes, when several connections agree on a number above 1.
    pub request_limit: Option<(u32, u32)>,
    /// Connections, this one included, that were open and waiting for a first answer when this one began:
    /// the accept queue may have been full.
    pub waiting_then: u32,
    /// Handshakes with this server that it did not complete although the client did (SYN-ACK sent again).
    pub overflowed: u32,
    /// What else this server closed while it was idle.
    pub closes: Closes,
    /// Other refusals by this server within 30 s of this connection's end.
    pub refused_near: u32,
    /// Connections that were open before this one's end, and that the server kept open after it: whatever ended, not all of it did.
    pub outlived: u32,
    /// After this connection's end the server went on sending on connections that it had accepted before: it lived.
    pub spoke_after: bool,
    /// What the server calls itself on other connections.
    pub software: Option<String>,
    /// TLS connections on which this server said close_notify.
    pub tls_good_byes: u32,
    /// What is known of answers that went to the wrong request.
    pub astray: Astray,
}

/// Idle connections that the server closed without a word, beside one that it closed so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closes {
    /// Within 60 ms of it, after another time of silence.
    pub together: u32,
    /// The shortest silence of those.
    pub shortest: Option<Duration>,
    /// The shortest and the longest silence before closes of other moments.
    pub elsewhere: Option<(Duration, Duration)>,
}

impl Closes {
    /// At other moments connections were closed after such a silence: a limit, of a server that looks now and then perhaps.
    pub fn are_like(&self, idle: Duration) -> bool {
        let slack = TOGETHER.max(idle / 10);
        self.elsewhere
            .is_some_and(|(low, high)| low <= idle + slack && idle <= high + slack)
    }
}

/// Values that several connections agree on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cluster {
    /// The median.
    pub median: Duration,
    /// Half the distance between the first and the third quartile.
    pub spread: Duration,
    /// How many connections agree.
    pub count: u32,
}

impl Cluster {
    /// Whether a value belongs to it: within four spreads, and at least within 150 ms or a tenth of the median.
    pub fn holds(&self, value: Duration) -> bool {
        let tolerance = (self.spread * 4).max(Duration::from_millis(150)).max(self.median / 10);
        value.abs_diff(self.median) <= tolerance
    }
}

/// Deaths closer together than this were one event.
pub const TOGETHER: Duration = Duration::from_millis(60);

/// Silences that differ by no more than this (or a fiftieth) may be one limit's.
const SAME_WAIT: Duration = Duration::from_millis(30);

/// A close within this after the client's last bytes may be the server's answer to them.
const PROMPT: Duration = Duration::from_millis(30);

/// How far around a connection's end refusals and handshakes are looked for.
const NEARBY: Duration = Duration::from_secs(30);

/// Remembered moments of each kind for one server; older ones are let go.
const MOMENTS: usize = 2048;

/// Remembered moments of each kind for all servers together: many servers get less room each. At most 40 bytes each, of
/// nine kinds.
const ALL_MOMENTS: usize = 200_000;

/// Servers remembered; beyond this new ones go without a ledger.
const SERVERS: usize = 20_000;

/// What was learnt about every server so far. Bounded: see [`ALL_MOMENTS`].
#[derive(Debug, Default)]
pub struct Ledger {
    servers: HashMap<Endpoint, ServerNotes>,
}

#[derive(Debug, Default)]
struct ServerNotes {
    /// How many moments of each kind may be kept now.
    room: usize,
    connections: u32,
    answered: u32,
    replied: u32,
    deaths: VecDeque<Death>,
    refused: VecDeque<Timestamp>,
    accepted: VecDeque<Timestamp>,
    idle_closes: VecDeque<Close>,
    closed_after_answer: u32,
    could_close_after_answer: u32,
    requests_at_close: VecDeque<u32>,
    waits: VecDeque<(Timestamp, Timestamp)>,
    overflowed: u32,
    spoken: VecDeque<(Timestamp, Timestamp)>,
    /// From when to when connections were open at the server's side.
    lives: VecDeque<(Timestamp, Timestamp)>,
    software: Option<String>,
    tls_good_byes: u32,
}

/// The server closed an idle connection, and had not said so.
#[derive(Clone, Copy, Debug)]
struct Close {
    stream: u32,
    opened: Timestamp,
    at: Timestamp,
    /// Since its last answer.
    idle: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Death {
    stream: u32,
    opened: Timestamp,
    at: Timestamp,
    client_last_spoke: Timestamp,
    /// It is one only if the server says close_notify elsewhere.
    if_it_says_good_bye: bool,
}

impl Surroundings {
    /// Connections whose clients had been silent for a while, and that ended together with this one.
    pub fn ended_together(&self) -> u32 {
        self.died_together_unprompted + self.died_together_alike
    }
}

impl Ledger {
    /// Learns from a connection, whether it ended well or not.
    pub fn note(&mut self, connection: &Connection) {
        if self.servers.len() >= SERVERS && !self.servers.contains_key(&connection.server) {
            return;
        }
        let story = Story {
            connection,
            around: &Surroundings::default(),
        };
        let room = (ALL_MOMENTS / (self.servers.len() + 1)).clamp(8, MOMENTS);
        let notes = self.servers.entry(connection.server).or_default();
        notes.room = room;
        notes.connections = notes.connections.saturating_add(1);
        notes.note_handshake(&story);
        notes.note_death(&story);
        notes.note_habits(&story);
        notes.note_answers(connection);
        notes.note_life(connection);
    }

    /// What is known around this connection.
    pub fn around(&self, connection: &Connection) -> Surroundings {
        let Some(notes) = self.servers.get(&connection.server) else {
            return Surroundings::default();
        };
        let story = Story {
            connection,
            around: &Surroundings::default(),
        };
        let end = death_of(&story).map_or(connection.ended.time, |death| death.at);
        let spoke = last_client_payload(connection);
        let mut around = Surroundings {
            connections: notes.connections,
            answered: notes.answered,
            replied: notes.replied,
            closed_after_answer: notes.closed_after_answer,
            could_close_after_answer: notes.could_close_after_answer,
            idle_limit: idle_limit(&notes.idle_closes),
            request_limit: request_limit(&notes.requests_at_close),
            overflowed: notes.overflowed,
            spoke_after: notes
                .spoken
                .iter()
                .any(|(from, to)| *from < end && *to > end && to.since(end) > TOGETHER),
            outlived: notes.outlived(notes.idle_close(connection).map_or(end, |close| close.at)),
            closes: notes.closes_around(connection),
            refused_near: notes.refused_near(connection),
            software: notes.software.clone(),
            tls_good_byes: notes.tls_good_byes,
            ..Surroundings::default()
        };
        let wait = end.since(spoke);
        let unprompted = |death: &Death| death.at.since(death.client_last_spoke) > PROMPT && wait > PROMPT;
        let same_wait = |death: &Death| {
            let other = death.at.since(death.client_last_spoke);
            wait.abs_diff(other) <= (wait / 50).max(SAME_WAIT)
        };
        for death in notes.deaths.iter().filter(|death| death.stream != connection.stream) {
            // Both must have been open at that moment: quick failures one after the other are no burst.
            if death.if_it_says_good_bye && notes.tls_good_byes == 0 {
                continue;
            }
            let both_open = death.opened < end && connection.opened.time < death.at;
            if both_open && distance(death.at, end) <= TOGETHER {
                around.died_together += 1;
                match (unprompted(death), same_wait(death)) {
                    (true, false) => around.died_together_unprompted += 1,
                    (true, true) => around.died_together_alike += 1,
                    _ => {}
                }
            } else if unprompted(death) && same_wait(death) {
                around.died_alike_elsewhere += 1;
            }
        }
        let began = connection.opened.time;
        let after = |moments: &VecDeque<Timestamp>| {
            moments
                .iter()
                .filter(|at| **at > end)
                .map(|at| at.since(end))
                .filter(|gap| *gap <= NEARBY)
                .min()
        };
        let (refused, accepted) = (after(&notes.refused), after(&notes.accepted));
        around.refused_after = refused.filter(|refused| accepted.is_none_or(|accepted| *refused < accepted));
        around.accepted_after = accepted.filter(|accepted| refused.is_none_or(|refused| *accepted < refused));
        around.accepted_before = notes
            .accepted
            .iter()
            .filter(|at| **at < began)
            .map(|at| began.since(*at))
            .filter(|gap| *gap <= NEARBY)
            .min();
        around.waiting_then = notes
            .waits
            .iter()
            .filter(|(from, to)| *from <= began && began < *to)
            .count()
            .try_into()
            .unwrap_or(u32::MAX);
        around
    }

    /// Servers in the order of their addresses, with what they agree on: for insights.
    pub fn limits(&self) -> impl Iterator<Item = (Endpoint, Surroundings)> + '_ {
        let mut servers: Vec<_> = self.servers.iter().collect();
        servers.sort_by_key(|(endpoint, _)| **endpoint);
        servers.into_iter().map(|(endpoint, notes)| {
            let around = Surroundings {
                connections: notes.connections,
                answered: notes.answered,
                replied: notes.replied,
                closed_after_answer: notes.closed_after_answer,
                could_close_after_answer: notes.could_close_after_answer,
                idle_limit: idle_limit(&notes.idle_closes),
                request_limit: request_limit(&notes.requests_at_close),
                overflowed: notes.overflowed,
                ..Surroundings::default()
            };
            (*endpoint, around)
        })
    }
}

impl ServerNotes {
    fn note_handshake(&mut self, story: &Story<'_>) {
        let connection = story.connection;
        let handshake = &connection.handshake;
        if let Some(refusal) = refusal_of(connection) {
            remember(&mut self.refused, refusal, self.room);
        } else if let Some(syn_ack) = handshake.syn_ack {
            remember(&mut self.accepted, syn_ack.time, self.room);
        }
        let never_taken = connection.established() && connection.to_client.sent == 0;
        if never_taken && handshake.syn_acks > 1 && connection.to_server.retransmissions > 0 {
            self.overflowed = self.overflowed.saturating_add(1);
        }
        if connection
            .app
            .exchanges
            .iter()
            .any(|exchange| exchange.request.is_some() && exchange.response.is_some())
        {
            self.replied = self.replied.saturating_add(1);
        }
        if connection.to_client.sent > 0 {
            self.answered = self.answered.saturating_add(1);
        }
        if let Some(first) = connection.to_server.first_data
            && connection.established()
        {
            // One that is open when the capture ends waits until then, however quietly.
            let silent_until = match connection.ending {
                Ending::CaptureEnded => connection.watched_until,
                _ => connection.ended.time,
            };
            let until = connection.to_client.first_data.map_or(silent_until, |at| at.time);
            if until.since(first.time) > Duration::from_millis(200) {
                remember(&mut self.waits, (connection.opened.time, until), self.room);
            }
        }
    }

    /// Until the server's side closed; where it was open to the end of the capture, until then.
    fn note_life(&mut self, connection: &Connection) {
        if !connection.established() {
            return;
        }
        let closed = connection.to_client.fin.as_ref().map(|fin| fin.at.time);
        let until = closed.unwrap_or(match connection.ending {
            Ending::CaptureEnded => connection.watched_until,
            _ => connection.ended.time,
        });
        remember(&mut self.lives, (connection.opened.time, until), self.room);
    }

    fn idle_close(&self, connection: &Connection) -> Option<&Close> {
        self.idle_closes
            .iter()
            .rev()
            .find(|close| close.stream == connection.stream)
    }

    /// What else was closed while idle, when this connection was.
    fn closes_around(&self, connection: &Connection) -> Closes {
        let mut closes = Closes::default();
        let Some(mine) = self.idle_close(connection) else {
            return closes;
        };
        for other in self.idle_closes.iter().filter(|other| other.stream != mine.stream) {
            if distance(other.at, mine.at) > TOGETHER {
                let (low, high) = closes.elsewhere.unwrap_or((other.idle, other.idle));
                closes.elsewhere = Some((low.min(other.idle), high.max(other.idle)));
            } else if other.opened < mine.at && mine.opened < other.at && is_apart(mine.idle, other.idle) {
                closes.together += 1;
                closes.shortest = Some(closes.shortest.map_or(other.idle, |shortest| shortest.min(other.idle)));
            }
        }
        closes
    }

    fn refused_near(&self, connection: &Connection) -> u32 {
        let Some(refusal) = refusal_of(connection) else {
            return 0;
        };
        let near = |at: &&Timestamp| **at != refusal && distance(**at, refusal) <= NEARBY;
        self.refused.iter().filter(near).count().try_into().unwrap_or(u32::MAX)
    }

    /// Connections that were open before this moment and well after it.
    fn outlived(&self, end: Timestamp) -> u32 {
        let outlive = |(from, to): &&(Timestamp, Timestamp)| {
            end.since(*from) > TOGETHER && *from < end && to.since(end) > TOGETHER && *to > end
        };
        self.lives.iter().filter(outlive).count().try_into().unwrap_or(u32::MAX)
    }

    /// From when to when the server spoke, and what it calls itself.
    fn note_answers(&mut self, connection: &Connection) {
        let flow = &connection.to_client;
        if let (Some(first), Some(last)) = (flow.first_data, flow.last_data) {
            remember(&mut self.spoken, (first.time, last.time), self.room);
        }
        if let Some(tls) = &connection.app.tls
            && tls.alerts.iter().any(|alert| alert.direction == Direction::ToClient)
        {
            self.tls_good_byes = self.tls_good_byes.saturating_add(1);
        }
        if self.software.is_none() {
            let responses = connection
                .app
                .exchanges
                .iter()
                .filter_map(|exchange| exchange.response.as_ref());
            self.software = responses
                .filter_map(response_head)
                .find_map(|head| head.server.as_deref().map(str::to_owned));
        }
    }

    fn note_death(&mut self, story: &Story<'_>) {
        if let Some(death) = death_of(story) {
            remember(&mut self.deaths, death, self.room);
        }
    }

    /// When and after how many requests the server closes of its own accord.
    fn note_habits(&mut self, story: &Story<'_>) {
        let connection = story.connection;
        let Some(newest) = connection.app.exchanges.newest() else {
            return;
        };
        // The last answer before the server's FIN, and whether anything was asked after it.
        let answered = connection
            .app
            .exchanges
            .iter()
            .rev()
            .find_map(|exchange| exchange.response.as_ref());
        let Some(answer) = answered else { return };
        // What is not seen may have said that it closes.
        if story.one_sided() || story.heads_were_cut() {
            return;
        }
        let promised =
            response_head(answer).is_some_and(|head| !head.connection.closes()) && !story.client_asked_to_close(newest);
        let http = connection.app.protocol == Protocol::Http1;
        if http && !promised {
            return;
        }
        let closed = story.server_closed_first();
        if http && answer.complete {
            self.could_close_after_answer = self.could_close_after_answer.saturating_add(1);
        }
        let Some(fin) = closed else { return };
        let gap = fin.at.time.since(answer.last.time);
        if gap <= RIGHT_AFTER {
            if http && answer.complete {
                let answers = connection.app.exchanges.complete.max(1);
                // One that answered more had kept it: that is a limit, of requests or of a very short time.
                if answers == 1 {
                    self.closed_after_answer = self.closed_after_answer.saturating_add(1);
                }
                remember(&mut self.requests_at_close, answers, self.room);
            }
        } else {
            let close = Close {
                stream: connection.stream,
                opened: connection.opened.time,
                at: fin.at.time,
                idle: gap,
            };
            remember(&mut self.idle_closes, close, self.room);
        }
    }
}

/// The moment at which the server's side ended a connection in the middle of something.
fn death_of(story: &Story<'_>) -> Option<Death> {
    let connection = story.connection;
    let mut if_it_says_good_bye = false;
    let at = if let Some(reset) = story.active_reset_by_server() {
        reset.at.time
    } else {
        let fin = story.server_closed_first()?;
        match story.stand() {
            Stand::Idle if tls_record_cut(connection) => {}
            Stand::Idle if tls_closed_silently(connection) => if_it_says_good_bye = true,
            Stand::Idle | Stand::AnsweredEarly(_) if connection.to_client.sent > 0 => return None,
            Stand::Unanswered(exchange) if story.closed_after_an_answer(exchange, fin.at) => return None,
            _ => {}
        }
        fin.at.time
    };
    Some(Death {
        stream: connection.stream,
        opened: connection.opened.time,
        at,
        client_last_spoke: last_client_payload(connection),
        if_it_says_good_bye,
    })
}

fn refusal_of(connection: &Connection) -> Option<Timestamp> {
    let refusal = connection
        .resets
        .iter()
        .find(|reset| reset.shape == ResetShape::Refusal);
    refusal.map(|reset| reset.at.time)
}

/// When the client last sent payload; when it opened the connection if it never did.
fn last_client_payload(connection: &Connection) -> Timestamp {
    connection
        .flow(Direction::ToServer)
        .last_data
        .map_or(connection.opened.time, |at| at.time)
}

fn distance(a: Timestamp, b: Timestamp) -> Duration {
    a.since(b).max(b.since(a))
}

/// Keeps the newest.
fn remember<T>(moments: &mut VecDeque<T>, moment: T, room: usize) {
    while moments.len() >= room.max(1) {
        moments.pop_front();
    }
    moments.push_back(moment);
}

/// What idle closes agree on. Those of one moment are one: a limit may close many at once, and so does a stop or a reload.
fn idle_limit(closes: &VecDeque<Close>) -> Option<Cluster> {
    let mut sorted: Vec<(Timestamp, Duration)> = closes.iter().map(|close| (close.at, close.idle)).collect();
    sorted.sort_unstable();
    let bursts = sorted.chunk_by(|(at, _), (next, _)| distance(*at, *next) <= TOGETHER);
    // Of a burst after different times nothing is learnt.
    let one = |burst: &[(Timestamp, Duration)]| {
        let (_, idle) = *burst.first()?;
        let agree = burst.iter().all(|(_, other)| !is_apart(idle, *other));
        agree.then_some(idle)
    };
    cluster(&bursts.filter_map(one).collect(), 2)
}

/// Two times of silence that no one limit gives.
fn is_apart(idle: Duration, other: Duration) -> bool {
    idle.abs_diff(other) > TOGETHER.max(idle / 20)
}

/// The median of values that mostly agree: half of them must lie within a tenth (at least 150 ms) of it.
fn cluster(values: &VecDeque<Duration>, least: usize) -> Option<Cluster> {
    let mut sorted: Vec<Duration> = values.iter().copied().collect();
    sorted.sort_unstable();
    let count = sorted.len();
    let median = *sorted.get(count / 2)?;
    let close = median / 10;
    let agreeing = sorted
        .iter()
        .filter(|value| value.abs_diff(median) <= close.max(Duration::from_millis(150)))
        .count();
    if count < least || agreeing < least || agreeing * 2 < count {
        return None;
    }
    let spread = sorted.get(count * 3 / 4)?.saturating_sub(*sorted.get(count / 4)?) / 2;
    Some(Cluster {
        median,
        spread,
        count: agreeing as u32,
    })
}

/// A number of requests above 1 after which at least three connections were closed, and most of all that were.
fn request_limit(values: &VecDeque<u32>) -> Option<(u32, u32)> {
    let mut counts: HashMap<u32, u32> = HashMap::new();
    for value in values.iter().filter(|value| **value > 1) {
        *counts.entry(*value).or_default() += 1;
    }
    let (limit, count) = counts.into_iter().max_by_key(|(limit, count)| (*count, *limit))?;
    (count >= 3 && count as usize * 2 > values.len()).then_some((limit, count))
}
