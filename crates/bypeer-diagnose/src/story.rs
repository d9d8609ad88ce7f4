use std::time::Duration;

use bypeer_wire::app::{
    Close, Exchange, Framing, Head, Message, Method, Protocol, RequestHead, ResponseHead, TlsAlert,
};
use bypeer_wire::conn::{Connection, Fin, Flow, Marks, Reset, ResetShape, ResetValidity, SegmentNote};
use bypeer_wire::packet::Checksum;
use bypeer_wire::{Direction, PacketRef};

use crate::Surroundings;
use crate::heard;
use crate::misdelivered::astray::Sign;

/// One connection, all that was seen of it, and what is known of its surroundings.
///
/// The methods here are the vocabulary of the causes: each answers one question about TCP or HTTP, none names a cause.
#[derive(Clone, Copy, Debug)]
pub struct Story<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// What other connections of the same server did around it.
    pub around: &'a Surroundings,
}

/// Where a connection stood in its conversation when it ended.
#[derive(Clone, Copy, Debug)]
pub enum Stand<'a> {
    /// Nothing was owed: every request that was begun had been answered.
    Idle,
    /// A request was begun (whole or in part) and no byte of its answer was seen.
    Unanswered(&'a Exchange),
    /// The answer had begun and was not complete.
    Answering(&'a Exchange),
    /// The answer was complete, but its request was not: the client was still sending the body.
    AnsweredEarly(&'a Exchange),
}

/// A server answers what it takes for a request within this.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A close within this after an answer belongs to the answer, not to an idle limit.
pub const RIGHT_AFTER: Duration = Duration::from_millis(100);

/// An HTTP/1.1 request cannot do with fewer bytes on the wire than this, its record header and tag included; an HTTP/2
/// control frame can.
const SHORTEST_TLS_REQUEST: u64 = 52;
/// The content type of a TLS record (RFC 8446 §5.1).
const TLS_APPLICATION_DATA: u8 = 23;

/// Whose code made a reset that answers a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The TCP of the host.
    Kernel,
    /// A firewall rule.
    Firewall,
    /// Cannot be told.
    Unknown,
}

impl<'a> Story<'a> {
    /// The reset that ended it: the first that its receiver had to believe; the first of all when none can be told.
    pub fn reset(&self) -> Option<&'a Reset> {
        let resets = &self.connection.resets;
        resets
            .iter()
            .find(|reset| matches!(reset.validity, ResetValidity::Exact | ResetValidity::Unknown))
            .or_else(|| resets.first())
    }

    /// The reset that ended it, when it came from this side in this shape.
    pub fn reset_of(&self, direction: Direction, shape: ResetShape) -> Option<&'a Reset> {
        self.reset()
            .filter(|reset| reset.direction == direction && reset.shape == shape)
    }

    /// RST,ACK of the server's own socket: `close()` with data unread, linger 0, an abort.
    pub fn active_reset_by_server(&self) -> Option<&'a Reset> {
        self.reset_of(Direction::ToClient, ResetShape::Active)
    }

    /// Bare RST in the server's name: a segment met no socket (any more), or somebody in between answered it.
    ///
    /// Each late segment draws a reset of its own, and only some of their sequence numbers still fit when they arrive: the
    /// first in the series tells most.
    pub fn passive_reset_by_server(&self) -> Option<&'a Reset> {
        let decisive = self.reset().filter(|reset| reset.direction == Direction::ToClient)?;
        let bare = decisive.ack.is_none() && decisive.window == 0 && !decisive.timestamps;
        let with_data = |reset: &Reset| reset.trigger.as_ref().is_some_and(|trigger| trigger.len > 0);
        match decisive.shape {
            ResetShape::Passive if with_data(decisive) => return Some(decisive),
            ResetShape::Passive => {}
            ResetShape::Other if bare && decisive.after_own_fin => {}
            _ => return None,
        }
        let series = self.connection.resets.iter();
        let mut series =
            series.filter(|reset| reset.direction == Direction::ToClient && reset.shape == ResetShape::Passive);
        series.find(|reset| with_data(reset)).or(Some(decisive))
    }

    /// Whose code made this reset, where its checksum tells.
    ///
    /// Linux leaves the checksums of a socket's own segments to hardware; on the sending host and across virtual links
    /// they are captured incomplete. Of the two that answer a segment without a socket, each sums by itself in one address
    /// family only: IPv4's TCP (`tcp_v4_send_reset`) does, netfilter's REJECT does not (`nf_reject_ip_tcphdr_put`); in IPv6
    /// it is the other way round (`tcp_v6_send_response`, `nf_reject_ip6_tcphdr_put`).
    pub fn maker(&self, reset: &Reset) -> Maker {
        let flow = self.connection.flow(reset.direction);
        let virtual_path = flow.checksums_offloaded;
        match (self.connection.server.addr.is_ipv4(), reset.checksum) {
            (true, Checksum::Partial) => Maker::Firewall,
            (false, Checksum::Partial) => Maker::Kernel,
            (true, Checksum::Valid) if virtual_path => Maker::Kernel,
            (false, Checksum::Valid) if virtual_path => Maker::Firewall,
            _ => Maker::Unknown,
        }
    }

    /// The server's FIN.
    pub fn server_fin(&self) -> Option<&'a Fin> {
        self.connection.to_client.fin.as_ref()
    }

    /// The client's FIN.
    pub fn client_fin(&self) -> Option<&'a Fin> {
        self.connection.to_server.fin.as_ref()
    }

    /// The server's FIN, when it came before any close of the client's. One that only ended its sending half is none.
    pub fn server_closed_first(&self) -> Option<&'a Fin> {
        let fin = self.server_fin()?;
        (self.client_fin().is_none_or(|other| is_before(fin, other)) || self.client_read_on()).then_some(fin)
    }

    /// The client's FIN, when it came before any of the server's, and was a close for all that is known.
    pub fn client_closed_first(&self) -> Option<&'a Fin> {
        self.client_ended_first().filter(|_| !self.client_read_on())
    }

    /// The client's FIN, when it came before any of the server's: a close, or the end of its sending half.
    pub fn client_ended_first(&self) -> Option<&'a Fin> {
        let fin = self.client_fin()?;
        self.server_fin()
            .is_none_or(|other| is_before(fin, other))
            .then_some(fin)
    }

    /// The client only ended its sending half: its TCP took more of the answer after its FIN, where that of a closed socket resets.
    pub fn client_read_on(&self) -> bool {
        let took_more = self
            .client_fin()
            .is_some_and(|fin| self.connection.to_client.acked > fin.ack);
        let refused = || {
            self.connection
                .resets
                .iter()
                .any(|reset| reset.direction == Direction::ToServer)
        };
        took_more && !refused()
    }

    /// Only one direction is in the capture (a `src` or `dst` filter, asymmetric routing at a mirror port): the other side is
    /// acknowledged, and never seen.
    pub fn one_sided(&self) -> bool {
        let (up, down) = (&self.connection.to_server, &self.connection.to_client);
        // Nobody sends data before the SYN-ACK, but with the SYN itself (RFC 7413).
        let answered_unseen = self.connection.handshake.last_syn.is_some_and(|syn| {
            let spoke = |note: &SegmentNote| {
                note.direction == Direction::ToServer && note.len > 0 && note.at.number > syn.number
            };
            self.connection.timeline.iter().any(spoke)
        });
        let client_only = down.last_packet.is_none() && (down.acked > 0 || down.missed > 0 || answered_unseen);
        let server_only = up.last_packet.is_none() && (up.acked > 0 || up.missed > 0 || down.sent > 0);
        client_only || server_only
    }

    /// The server made an answer to a request of this connection, and gave it to another.
    pub fn answer_was_given_away(&self) -> bool {
        self.around.astray.taken.is_some()
    }

    /// The client takes each answer for the one to another of its requests; whatever it does then is no judgement on the last of them.
    pub fn client_counts_wrong(&self) -> bool {
        self.around.astray.reused.as_ref().is_some_and(|reuse| reuse.is_clear())
    }

    /// It does, or may do so, or the server left one out: that a request is unanswered at the end is what comes of it.
    pub fn one_answer_is_missing(&self) -> bool {
        let astray = &self.around.astray;
        let slipped = astray
            .reused
            .as_ref()
            .is_some_and(|reuse| reuse.is_clear() || reuse.may_be_a_slip());
        slipped || astray.shifted.as_ref().is_some_and(|shift| shift.count > 1)
    }

    /// An answer on this connection is that to another connection's request: what else came may be its own.
    pub fn was_given_anothers_answer(&self) -> bool {
        let given = self.around.astray.given.as_ref();
        given.is_some_and(|swap| !matches!(swap.sign, Sign::Surplus))
    }

    /// More than its request had asked for came from the server because of how it matched requests and answers: what came is somebody's
    /// answer.
    pub fn answers_are_mixed_up(&self) -> bool {
        let astray = &self.around.astray;
        self.was_given_anothers_answer()
            || self.client_counts_wrong()
            || astray.shifted.is_some()
            || self.refusal_of_a_body().is_some()
    }

    /// What the client made of the server's answers was wrong from here on, by the server's doing: it had said what no request asked for, or broken a
    /// chunk. What a request looks like that is unanswered then is no judgement on the client.
    pub fn answers_made_no_sense(&self) -> Option<PacketRef> {
        let app = &self.connection.app;
        let behind_head = |exchange: &Exchange| {
            let head = exchange.request.as_ref().and_then(request_head);
            head.is_some_and(|head| head.method == Method::Head)
        };
        let said = app.exchanges.unasked.as_deref().filter(|_| self.counts_requests());
        let said = said.filter(|unasked| !unasked.behind.as_ref().is_some_and(behind_head));
        said.map(|unasked| unasked.at)
            .or_else(|| app.lost_track.filter(|_| app.broken_chunk))
    }

    /// The first answer that no request had asked for, and the exchange that it came behind.
    pub fn unasked_answer(&self) -> Option<(&'a Exchange, &'a Exchange)> {
        let exchanges = &self.connection.app.exchanges;
        let unasked = exchanges.unasked.as_deref()?;
        let kept = || {
            exchanges
                .iter()
                .find(|exchange| exchange.request.is_none() && exchange.response.is_some())
        };
        Some((unasked.answer.as_ref().or_else(kept)?, unasked.behind.as_ref()?))
    }

    /// A request with a body and its answer, and then, at once, another answer (with its status) that no request had asked for.
    pub fn second_answer_to_a_body(&self) -> Option<(&'a Exchange, PacketRef, u16)> {
        let app = &self.connection.app;
        if app.trailing_request_len > 0 || !self.counts_requests() {
            return None;
        }
        let (second, body) = self.unasked_answer().or_else(|| {
            // One that left before the next request had arrived stands for that by order alone.
            let early = self.around.astray.early?;
            let second = app.exchanges.iter().find(|exchange| exchange.index == early.index)?;
            Some((second, self.before(second)?))
        })?;
        let answer = second.response.as_ref()?;
        let status = response_head(answer)?.status;
        let (request, before) = (body.request.as_ref()?, body.response.as_ref()?);
        let kept = response_head(before).is_some_and(|head| !head.connection.closes());
        let since = answer.begun.time.since(request.last.time.max(before.last.time));
        // A request that ends in its middle is refused by right (RFC 9112, section 8).
        let cut_short = !request.complete && self.client_ended_first().is_some();
        (kept && has_body(request) && since <= AT_ONCE && !cut_short).then_some((body, answer.begun, status))
    }

    /// The same, and the second answer refuses as no HTTP what the server took for a request.
    pub fn refusal_of_a_body(&self) -> Option<(&'a Exchange, PacketRef, u16)> {
        self.second_answer_to_a_body()
            .filter(|(_, _, status)| matches!(status, 400 | 405 | 411 | 414 | 431 | 501 | 505))
    }

    /// What the server sent.
    pub fn response_flow(&self) -> &'a Flow {
        &self.connection.to_client
    }

    /// What the client sent.
    pub fn request_flow(&self) -> &'a Flow {
        &self.connection.to_server
    }

    /// Where the conversation stood at the end. For protocols that are not understood an answer that has begun counts as
    /// complete: nothing better is known.
    pub fn stand(&self) -> Stand<'a> {
        for exchange in self.connection.app.exchanges.iter() {
            if exchange.request.is_none() {
                continue;
            }
            if exchange.response.is_none() {
                return Stand::Unanswered(exchange);
            }
            if self.understood(exchange) {
                if !exchange.response_complete() {
                    return Stand::Answering(exchange);
                }
                if !exchange.request_complete() {
                    return Stand::AnsweredEarly(exchange);
                }
            }
        }
        Stand::Idle
    }

    /// The exchange that was not finished.
    pub fn unfinished(&self) -> Option<&'a Exchange> {
        match self.stand() {
            Stand::Idle => None,
            Stand::Unanswered(exchange) | Stand::Answering(exchange) | Stand::AnsweredEarly(exchange) => Some(exchange),
        }
    }

    /// Message boundaries of this exchange are known, not guessed from who spoke: the protocol is one that is read here,
    /// and no head was cut off by the snap length.
    pub fn understood(&self, exchange: &Exchange) -> bool {
        exchange
            .request
            .iter()
            .chain(&exchange.response)
            .all(|message| match message.head {
                Head::Opaque => false,
                Head::Request(_) | Head::Response(_) => message.framing != Framing::Unknown,
                Head::FastCgi { .. } => true,
                // Complete by guess: cut before its first line was whole.
                Head::Partial => !message.complete,
            })
    }

    /// A head on this HTTP/1 connection, or what else tells where a message ends, was cut off by the snap length or missed: lengths and
    /// announcements are not known.
    pub fn heads_were_cut(&self) -> bool {
        let exchanges = &self.connection.app.exchanges;
        let cut = |exchange: &Exchange| !in_tunnel(exchange) && !self.understood(exchange);
        let app = &self.connection.app;
        app.protocol == Protocol::Http1 && (app.unseen_bounds || exchanges.heads_cut || exchanges.iter().any(cut))
    }

    /// Every request of this HTTP/1 connection was seen, and where each message ends: an answer that is left over is nobody's.
    pub fn counts_requests(&self) -> bool {
        self.connection.seen_from_start()
            && self.request_flow().missed == 0
            && self.response_flow().missed == 0
            && !self.heads_were_cut()
    }

    /// Silence after this exchange's request is a failure: the protocol answers every request, and it is one.
    ///
    /// Bytes in a tunnel (WebSocket, CONNECT) owe nothing; nor does what is too short for a request under TLS: a last
    /// frame or a good-bye.
    pub fn answer_is_owed(&self, exchange: &Exchange) -> bool {
        match self.connection.app.protocol {
            Protocol::Http1 => !in_tunnel(exchange),
            Protocol::FastCgi | Protocol::Redis => true,
            // Under TLS only the server's habit tells a question from a log line.
            Protocol::Tls => {
                self.around.replied > 0
                    && exchange
                        .request
                        .as_ref()
                        .is_some_and(|request| request.seen.saturating_sub(request.start) >= SHORTEST_TLS_REQUEST)
            }
            Protocol::Http2 | Protocol::Silent | Protocol::Unknown => false,
        }
    }

    /// The exchange whose request holds this offset of the client's stream.
    pub fn request_at(&self, offset: i64) -> Option<&'a Exchange> {
        self.connection.app.exchanges.iter().rev().find(|exchange| {
            exchange.request.as_ref().is_some_and(|request| {
                let end = request.end.unwrap_or(request.seen).max(request.seen);
                request.start as i64 <= offset && offset < end as i64
            })
        })
    }

    /// The exchange before this one, when it was kept.
    pub fn before(&self, exchange: &Exchange) -> Option<&'a Exchange> {
        let index = exchange.index.checked_sub(1)?;
        self.connection.app.exchanges.iter().find(|other| other.index == index)
    }

    /// The server closed right after the answer before this exchange: a habit, or a limit, and not a death.
    pub fn closed_after_an_answer(&self, exchange: &Exchange, closed: PacketRef) -> bool {
        let answer = self.before(exchange).and_then(|before| before.response.as_ref());
        answer.is_some_and(|answer| closed.time.since(answer.last.time) <= RIGHT_AFTER)
    }

    /// Quiet time before this exchange's request: since the last byte of the answer before it.
    pub fn idle_before(&self, exchange: &Exchange) -> Option<Duration> {
        let request = exchange.request.as_ref()?;
        let answer = self.before(exchange)?.response.as_ref()?;
        Some(request.begun.time.since(answer.last.time))
    }

    /// The client itself had asked for the connection to be closed with this request.
    pub fn client_asked_to_close(&self, exchange: &Exchange) -> bool {
        exchange
            .request
            .as_ref()
            .and_then(request_head)
            .is_some_and(|head| matches!(head.connection, Close::Announced))
    }

    /// The server's FIN was under way to the client, or had arrived, when the client sent this packet; `None` without FIN.
    pub fn sent_after_fin_arrived(&self, note: &SegmentNote) -> Option<bool> {
        let fin = self.server_fin()?;
        Some(note.ack > fin.offset as i64)
    }

    /// Round trip as the handshake showed it, or 0.2 s when it was not seen.
    pub fn round_trip(&self) -> Duration {
        self.connection
            .handshake
            .round_trip()
            .unwrap_or(Duration::from_millis(200))
    }

    /// Bytes of the client's stream that a server's active reset says had arrived, as far as they are payload.
    pub fn arrived_at_reset(&self, reset: &Reset) -> Option<u64> {
        let ack = u64::try_from(reset.ack?).ok()?;
        Some(ack.min(self.connection.to_server.sent))
    }

    /// The side that answers late with this reset had repeated itself in vain and then stopped: its kernel had given the
    /// connection up. How often it tried, and the last try.
    pub fn gave_up_before(&self, reset: &Reset) -> Option<(u32, &'a SegmentNote)> {
        let trigger = reset.trigger.as_ref()?;
        let before = || {
            self.connection
                .timeline
                .iter()
                .rev()
                .filter(|note| note.at.number < trigger.at.number)
        };
        let own = before().take_while(|note| note.direction == reset.direction);
        let tries: Vec<&SegmentNote> = own.filter(|note| note.marks.has(Marks::RETRANSMISSION)).collect();
        let (last, earlier) = (*tries.first()?, *tries.get(1)?);
        // A wait is twice the one before (RFC 6298 5.5), or as long where it has reached its bound. When it is gone after one more such
        // wait, no FIN having been sent, it gave up.
        let next = last.at.time.since(earlier.at.time);
        let stopped = trigger.at.time.since(last.at.time) > next;
        stopped.then_some((u32::try_from(tries.len()).unwrap_or(u32::MAX), last))
    }

    /// The server had read all that arrived of the client's stream before this reset: a request without a body that it was
    /// answering, and nothing after it.
    pub fn everything_was_read(&self, exchange: &Exchange, arrived: u64) -> bool {
        self.understood(exchange)
            && exchange.response.is_some()
            && exchange
                .request
                .as_ref()
                .is_some_and(|request| request.complete && !has_body(request) && request.end == Some(arrived))
    }

    /// Response bytes that the client cannot have read: declared or sent, and not acknowledged by it.
    pub fn response_bytes_missing(&self, exchange: &Exchange) -> Option<u64> {
        let Some(response) = &exchange.response else {
            return None;
        };
        let acked = self.connection.to_client.acked;
        let end = response.end.unwrap_or(response.seen).max(response.seen);
        Some(end.saturating_sub(acked.max(response.start)))
    }

    /// A client's data segment after the server's FIN, when there was one.
    pub fn client_data_after_fin(&self) -> Option<&'a SegmentNote> {
        let fin = self.server_fin()?;
        self.connection.timeline.iter().find(|note| {
            note.direction == Direction::ToServer && note.len > 0 && note.at.number > fin.at.number && !is_probe(note)
        })
    }

    /// The client had completed its handshake and repeated its first data for a while before the server's kernel took any of
    /// it, while others were waiting for this server: it had dropped the handshake's last ACK, for want of room.
    pub fn taken_late(&self) -> Option<(PacketRef, Duration)> {
        const SOON: Duration = Duration::from_millis(500);
        let connection = self.connection;
        let others_wait = self.around.overflowed > 0 || self.around.waiting_then >= 2;
        let first = connection
            .to_server
            .first_data
            .filter(|_| connection.seen_from_start() && others_wait)?;
        let taken = connection
            .timeline
            .iter()
            .find(|note| note.direction == Direction::ToClient && note.ack > 0)?;
        let before = connection
            .timeline
            .iter()
            .take_while(|note| note.at.number < taken.at.number);
        let repeated =
            before.filter(|note| note.direction == Direction::ToServer && note.marks.has(Marks::RETRANSMISSION));
        let waited = taken.at.time.since(first.time);
        (waited > SOON && repeated.count() >= 2).then_some((taken.at, waited))
    }

    /// Data repeated three times and never acknowledged, whatever else the other side said meanwhile: it did not hear.
    pub fn repeated_in_vain(&self, flow: &Flow) -> bool {
        self.connection.resets_total == 0 && flow.unacked() > 0 && flow.retransmissions >= 3
    }

    /// What the server sent again and again before the client closed, of which the client's FIN acknowledges nothing: the attempts, the first
    /// of them and the last.
    pub fn unheard_by_client(&self) -> Option<(u32, &'a SegmentNote, &'a SegmentNote)> {
        const LONG: Duration = Duration::from_secs(1);
        let fin = self.client_fin()?;
        let unheard = || {
            self.connection.timeline.iter().filter(|note| {
                note.direction == Direction::ToClient
                    && note.len > 0
                    && note.at.number < fin.at.number
                    && note.seq >= fin.ack as i64
            })
        };
        let again: Vec<&SegmentNote> = unheard().filter(|note| note.marks.has(Marks::RETRANSMISSION)).collect();
        let (first, last) = (unheard().next()?, again.last()?);
        let tries = u32::try_from(again.len()).unwrap_or(u32::MAX);
        (tries >= 3 && last.at.time.since(first.at.time) >= LONG).then_some((tries, first, last))
    }

    /// Time from one packet to another, never negative.
    pub fn between(&self, from: PacketRef, to: PacketRef) -> Duration {
        to.time.since(from.time)
    }

    /// The client read nothing for a while: its window was 0, and the server asked whether it still is.
    pub fn client_took_nothing(&self) -> bool {
        self.request_flow().zero_windows > 0 && self.response_flow().window_probes > 0
    }

    /// The payload cannot be read: TLS.
    pub fn is_tls(&self) -> bool {
        self.connection.app.protocol == Protocol::Tls
    }

    /// A TLS record of this direction that begins at or covers `offset` and is an alert by type or size.
    pub fn tls_alert_at(&self, direction: Direction, offset: i64) -> bool {
        self.connection.app.tls.as_ref().is_some_and(|tls| {
            tls.alerts
                .iter()
                .any(|alert| alert.direction == direction && alert.start as i64 <= offset && offset < alert.end as i64)
        })
    }

    /// The server closed first under TLS, in the middle of a record, or without a close_notify, which it sends on other connections: the
    /// answer is cut short, or may be (RFC 8446 §6.1, RFC 9112 §9.8).
    pub fn tls_cut_short(&self) -> bool {
        tls_record_cut(self.connection) || self.around.tls_good_byes > 0 && tls_closed_silently(self.connection)
    }

    /// The server's TLS good-bye, when it came behind a request that had no answer, and the server gave none.
    pub fn good_bye_for_an_answer(&self) -> Option<PacketRef> {
        let Stand::Unanswered(exchange) = self.stand() else {
            return None;
        };
        let tls = self.connection.app.tls.as_ref().filter(|tls| tls.established)?;
        let said = self
            .small_word_behind(exchange)
            .filter(|_| self.answer_is_owed(exchange))?;
        // What is as small need not be one (a ping, MQTT's PINGRESP): the server must have said no more, and closed.
        let last = tls.last_record[Direction::ToClient.index()].is_some_and(|record| record.start == said.start);
        let closed = self.server_fin().map(|fin| fin.at);
        let closed = closed.or(self.active_reset_by_server().map(|reset| reset.at))?;
        let at_once = closed.time.since(said.at.time) <= RIGHT_AFTER + self.round_trip() * 2;
        (last && at_once).then_some(said.at)
    }

    /// Under TLS: what the server said behind a request, in a record as small as an alert's. It makes no answer, and need be no alert.
    pub fn small_word_behind(&self, exchange: &Exchange) -> Option<&'a TlsAlert> {
        let tls = self.connection.app.tls.as_ref()?;
        let request = exchange.request.as_ref()?;
        let said = |alert: &&TlsAlert| alert.direction == Direction::ToClient && alert.at.number > request.last.number;
        tls.alerts.iter().find(said)
    }

    /// An answer has no end, by the bytes themselves or by what the server says elsewhere.
    pub fn answer_was_cut(&self) -> bool {
        self.tls_cut_short() || self.chunk_was_broken()
    }

    /// The server had waited for so long before it closed, a whole number of seconds, and it did so after the same time at other moments.
    pub fn is_a_limit_of_time(&self, wait: Duration) -> bool {
        self.around.died_alike_elsewhere > 0 && self.around.died_together_unprompted == 0 && heard::is_a_timer(wait)
    }

    /// The last segment with data that was sent this way before a packet.
    pub fn last_data_before(&self, direction: Direction, at: PacketRef) -> Option<&'a SegmentNote> {
        let mut notes = self.connection.timeline.iter().rev();
        notes.find(|note| note.direction == direction && note.len > 0 && note.at.number < at.number)
    }

    /// In the middle of a chunked answer came what is no chunk, and one side closed.
    pub fn chunk_was_broken(&self) -> bool {
        let closed = self.server_fin().is_some() || self.client_fin().is_some() || self.connection.resets_total > 0;
        let all_seen = self.request_flow().missed == 0 && self.response_flow().missed == 0;
        self.connection.app.broken_chunk && all_seen && closed
    }

    /// The client's TLS good-bye, when it came before this packet: it had left, whatever its socket did.
    pub fn client_good_bye_before(&self, number: u64) -> Option<PacketRef> {
        let tls = self.connection.app.tls.as_ref().filter(|tls| tls.established)?;
        let said = |alert: &&TlsAlert| alert.direction == Direction::ToServer && alert.at.number < number;
        tls.alerts.iter().find(said).map(|alert| alert.at)
    }

    /// Everything the client sent from `offset` on is one TLS alert: the answer to a close_notify, or a good-bye.
    pub fn only_alert_from(&self, direction: Direction, offset: i64) -> bool {
        let sent = self.connection.flow(direction).sent as i64;
        self.connection.app.tls.as_ref().is_some_and(|tls| {
            tls.alerts
                .iter()
                .any(|alert| alert.direction == direction && alert.start as i64 <= offset && alert.end as i64 >= sent)
        })
    }
}

/// The server closed first under TLS, in the middle of a record of application data: whatever that was to hold, the client cannot read it.
pub fn tls_record_cut(connection: &Connection) -> bool {
    let (Some(tls), Some(fin)) = (&connection.app.tls, &connection.to_client.fin) else {
        return false;
    };
    let open = Direction::ToClient.index();
    let of_data =
        tls.last_record[open].is_some_and(|record| record.content_type == TLS_APPLICATION_DATA && !record.alert_sized);
    let client_first = connection
        .to_server
        .fin
        .as_ref()
        .is_some_and(|other| is_before(other, fin));
    let client_left = tls
        .alerts
        .iter()
        .any(|alert| alert.direction == Direction::ToServer && alert.at.number < fin.at.number);
    let all_seen = connection.to_client.missed == 0;
    tls.record_open[open] && of_data && tls.established && all_seen && !client_first && !client_left
}

/// The server closed first under TLS, while it was speaking, and without a close_notify.
///
/// An idle connection is closed without one by many, and so is one whose client has said good-bye.
pub fn tls_closed_silently(connection: &Connection) -> bool {
    const SPEAKING: Duration = Duration::from_millis(500);
    let (Some(tls), Some(fin)) = (&connection.app.tls, &connection.to_client.fin) else {
        return false;
    };
    let before = |at: PacketRef| at.number < fin.at.number;
    let client_first = connection.to_server.fin.as_ref().is_some_and(|other| before(other.at));
    let speaking = connection
        .to_client
        .last_data
        .is_some_and(|last| fin.at.time.since(last.time) <= SPEAKING);
    let answering = connection
        .app
        .exchanges
        .newest()
        .is_some_and(|newest| newest.response.is_some());
    let good_bye = tls
        .alerts
        .iter()
        .any(|alert| alert.direction == Direction::ToClient || before(alert.at));
    speaking && answering && !client_first && !good_bye
}

/// The head of an HTTP/1 request.
pub fn request_head(message: &Message) -> Option<&RequestHead> {
    match &message.head {
        Head::Request(head) => Some(head),
        _ => None,
    }
}

/// The head of an HTTP/1 response.
pub fn response_head(message: &Message) -> Option<&ResponseHead> {
    match &message.head {
        Head::Response(head) => Some(head),
        _ => None,
    }
}

/// Bytes on an HTTP/1 connection that belong to another protocol: a WebSocket, a CONNECT.
pub fn in_tunnel(exchange: &Exchange) -> bool {
    exchange
        .request
        .as_ref()
        .is_some_and(|request| matches!(request.head, Head::Opaque))
}

/// The message declares or shows a body; where the snap length cut its head, the method tells.
pub fn has_body(message: &Message) -> bool {
    match message.framing {
        Framing::None => false,
        Framing::Length(length) => length > 0,
        Framing::Chunked | Framing::Close | Framing::Tunnel => true,
        Framing::Unknown => {
            request_head(message).is_some_and(|head| matches!(head.method, Method::Post | Method::Put | Method::Patch))
        }
    }
}

fn is_probe(note: &SegmentNote) -> bool {
    note.marks.has(Marks::KEEP_ALIVE) || note.marks.has(Marks::WINDOW_PROBE)
}

/// Of two FINs, one of each side. What acknowledges the other was sent behind it, in whichever order they were recorded.
fn is_before(fin: &Fin, other: &Fin) -> bool {
    match (fin.ack > other.offset, other.ack > fin.offset) {
        (true, false) => false,
        (false, true) => true,
        _ => fin.at.number < other.at.number,
    }
}
