//! Each rule against what it is for, and against what only looks like it. Times are milliseconds.

use std::sync::Arc;

use bypeer_wire::app::{How, Place, Shape, Token};

use super::*;
use astray::Sign;

mod ids;
mod reuse;

/// A server and its clients, told as a capture tells them.
struct Play {
    deliveries: Deliveries,
    packet: u64,
    now: i64,
    offsets: HashMap<u64, (u64, u32)>,
}

const SERVER: &str = "10.0.0.9:80";

fn endpoint(text: &str) -> Endpoint {
    let at: std::net::SocketAddr = text.parse().unwrap();
    Endpoint {
        addr: at.ip(),
        port: at.port(),
    }
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn route(text: &str) -> Route {
    Route {
        key: hash(text),
        text: Arc::from(text),
    }
}

fn words(tokens: &[&str]) -> Box<[u64]> {
    let mut words: Vec<u64> = tokens.iter().map(|token| hash(token)).collect();
    words.sort_unstable();
    words.into()
}

/// An answer: `{…}` is JSON, which has names to tell by.
fn look(status: u16, form: &str, tokens: &[&str]) -> Look {
    Look {
        status: Some(status),
        is_error: false,
        shape: Shape {
            key: hash(form),
            text: Arc::from(form),
            is_detailed: form.starts_with('{'),
            is_cut: false,
            is_bodiless: form.is_empty(),
        },
        date: None,
        tokens: words(tokens),
        tokens_cut: false,
    }
}

impl Play {
    fn new() -> Play {
        Play {
            deliveries: Deliveries::default(),
            packet: 0,
            now: 0,
            offsets: HashMap::new(),
        }
    }

    fn tell(&mut self, connection: u64, what: What<'_>) {
        self.packet += 1;
        let event = Event {
            connection,
            client: endpoint(&format!(
                "10.0.0.{}:{}",
                connection % 7 + 1,
                40_000 + connection % 20_000
            )),
            server: endpoint(SERVER),
            at: PacketRef {
                number: self.packet,
                time: Timestamp(self.now * 1_000_000),
            },
            what,
        };
        self.deliveries.take(&event);
    }

    fn say(&mut self, connection: u64, said: &Noticed) {
        self.tell(connection, What::Said(said));
    }

    fn wait(&mut self, milliseconds: i64) {
        self.now += milliseconds;
    }

    fn connect(&mut self, connection: u64) {
        self.begin(connection, Protocol::Http1);
    }

    fn begin(&mut self, connection: u64, protocol: Protocol) {
        self.say(connection, &Noticed::Begun { protocol, whole: true });
        self.offsets.insert(connection, (0, 0));
    }

    fn ask(&mut self, connection: u64, what: &str) -> u32 {
        self.ask_with(connection, what, &[], 0)
    }

    /// A request with words in its header fields and so many bytes of a body.
    fn ask_with(&mut self, connection: u64, what: &str, tokens: &[&str], body: u64) -> u32 {
        let (start, index) = self.offsets.get(&connection).copied().unwrap();
        let (head_end, end) = (start + 100, start + 100 + body);
        self.offsets.insert(connection, (end, index + 1));
        self.say(connection, &Noticed::Asking { index, start });
        let tokens = tokens.iter().enumerate().map(|(field, token)| Token {
            place: Place::Field(u16::try_from(field).unwrap()),
            word: hash(token),
        });
        let request = Request {
            route: route(what),
            is_head: what.starts_with("HEAD"),
            expects_continue: false,
            blocking: what == "BLPOP",
            tokens: tokens.collect(),
        };
        self.say(
            connection,
            &Noticed::Asked {
                index,
                head_end,
                request,
            },
        );
        self.say(connection, &Noticed::AskedAll { index, end });
        index
    }

    fn answer(&mut self, connection: u64, index: u32, form: &str) {
        self.answer_with(connection, Some(index), look(200, form, &[]));
    }

    fn answer_with(&mut self, connection: u64, index: Option<u32>, look: Look) {
        let acked = self.offsets.get(&connection).map(|(end, _)| *end);
        self.say(connection, &Noticed::Answering { index, start: 0, acked });
        let complete = true;
        self.say(
            connection,
            &Noticed::Answered {
                index,
                end: 1,
                complete,
                look,
            },
        );
    }

    fn over(&mut self, connection: u64, by: Direction, acked: u64) {
        let (how, acked) = (How::Fin, Some(acked));
        self.say(
            connection,
            &Noticed::Over {
                by,
                how,
                acked,
                sent: 0,
            },
        );
    }

    /// The server closes, and has received everything.
    fn closed_in_hand(&mut self, connection: u64) {
        let end = self.offsets.get(&connection).map_or(0, |(end, _)| *end);
        self.over(connection, Direction::ToClient, end);
    }

    /// Clean traffic: so many requests, each on its own connection, and their answers.
    fn clean(&mut self, what: &str, form: &str, count: u64) {
        for _ in 0..count {
            let connection = 1_000_000 + self.packet;
            self.connect(connection);
            self.ask(connection, what);
            self.wait(1);
            self.answer(connection, 0, form);
            self.over(connection, Direction::ToServer, 1);
            self.say(connection, &Noticed::Gone);
            self.wait(1);
        }
    }

    /// `GET /a` and `GET /b` as they are answered usually.
    fn usual(&mut self) {
        self.clean("GET /a", "{a}", 60);
        self.clean("GET /b", "{b}", 60);
    }

    /// `GET /a` on 1, upon which the server closes.
    fn closed_upon() -> Play {
        let mut play = Play::new();
        play.usual();
        play.connect(1);
        play.ask(1, "GET /a");
        play.wait(10);
        play.closed_in_hand(1);
        play
    }

    /// `GET /a` on 1, then `GET /b` on 2.
    fn two_ask(&mut self) {
        self.connect(1);
        self.ask(1, "GET /a");
        self.wait(50);
        self.connect(2);
        self.ask(2, "GET /b");
        self.wait(50);
    }

    fn swap(mut self) -> Option<Swap> {
        self.deliveries.finish();
        assert!(self.deliveries.watched.is_empty() && self.deliveries.concerned.is_empty());
        let given = self.deliveries.given.remove(&2).map(|swap| *swap);
        assert_eq!(
            self.deliveries.given.len(),
            0,
            "accused of another: {:?}",
            self.deliveries.given
        );
        given
    }
}

#[test]
fn a_request_in_hand_at_a_close_and_a_younger_one_with_its_answer() {
    let mut play = Play::closed_upon();
    play.wait(50);
    play.connect(2);
    let asked = play.ask(2, "GET /b");
    play.wait(400);
    play.answer(2, asked, "{a}");
    play.wait(400);
    play.answer_with(2, None, look(200, "{b}", &[]));
    let swap = play.swap().unwrap();
    assert!(matches!(swap.fate, Fate::ClosedInHand(_)));
    assert!(matches!(swap.sign, Sign::Shape { odds, .. } if odds > 100.0));
    assert!(swap.own_followed.is_some());
    assert_eq!((swap.due.stream, swap.given.stream), (1, 2));
}

/// Another process answers than the one that had the request in hand.
#[test]
fn nobody_answers_for_a_process_that_is_gone() {
    let swap = |refused: i64| {
        let mut play = Play::closed_upon();
        let closed = play.now;
        play.wait(50);
        let opened = play.now;
        play.connect(2);
        play.ask(2, "GET /b");
        play.wait(400);
        play.answer(2, 0, "{a}");
        let suspicion = play.deliveries.suspicions.values_mut().next().unwrap();
        suspicion.receiver_opened = Some(Timestamp(opened * 1_000_000));
        let refused = Timestamp((closed + refused) * 1_000_000);
        play.deliveries.absences.refused(suspicion.server, refused);
        play.swap()
    };
    assert!(swap(20).is_none());
    assert!(swap(450).is_some(), "it was refused after the answer");
    assert!(swap(120).is_some(), "it was refused after the receiver had connected");
}

#[test]
fn a_silent_victim() {
    let mut play = Play::new();
    play.usual();
    play.two_ask();
    play.answer(2, 0, "{a}");
    play.wait(3000);
    play.over(1, Direction::ToServer, 0);
    let swap = play.swap().unwrap();
    assert_eq!(swap.fate, Fate::Silent);
    assert!(swap.own_followed.is_none());
}

#[test]
fn what_is_usual_may_be_learnt_afterwards() {
    let mut play = Play::new();
    play.two_ask();
    play.answer(2, 0, "{a}");
    assert!(play.deliveries.is_open(1) && play.deliveries.is_open(2));
    play.usual();
    assert!(play.swap().is_some());
}

#[test]
fn both_are_given_each_other_s() {
    let mut play = Play::new();
    play.usual();
    play.two_ask();
    play.answer(2, 0, "{a}");
    play.answer(1, 0, "{b}");
    assert!(matches!(play.swap().unwrap().fate, Fate::Exchanged(_)));
}

#[test]
fn a_client_that_had_left() {
    let mut play = Play::new();
    play.usual();
    play.connect(1);
    play.ask(1, "GET /a");
    play.wait(50);
    play.over(1, Direction::ToServer, 0);
    play.connect(2);
    play.ask(2, "GET /b");
    play.wait(50);
    play.answer(2, 0, "{a}");
    assert!(matches!(play.swap().unwrap().fate, Fate::ClientLeft(_)));
}

/// What follows looks like a swap in all but one thing.
#[test]
fn an_older_request_that_is_answered_after_all_is_no_victim() {
    let mut play = Play::new();
    play.usual();
    play.two_ask();
    play.answer(2, 0, "{a}");
    play.wait(50);
    play.answer(1, 0, "{a}");
    assert!(play.swap().is_none());
}

#[test]
fn an_older_request_that_is_refused_after_all_is_no_victim() {
    let mut play = Play::new();
    play.usual();
    play.two_ask();
    play.answer(2, 0, "{a}");
    play.answer_with(1, Some(0), look(503, "{error}", &[]));
    assert!(play.swap().is_none());
}

#[test]
fn a_form_that_nobody_waits_for_is_a_new_form() {
    let mut play = Play::new();
    play.usual();
    play.two_ask();
    play.answer(2, 0, "{c}");
    assert!(play.swap().is_none());
}

#[test]
fn without_a_victim_nothing_is_said() {
    let mut play = Play::new();
    play.usual();
    play.connect(2);
    play.ask(2, "GET /b");
    play.answer(2, 0, "{a}");
    assert!(play.swap().is_none());
}

#[test]
fn a_younger_request_is_no_victim() {
    let mut play = Play::new();
    play.usual();
    play.connect(2);
    play.ask(2, "GET /b");
    play.wait(10);
    play.connect(1);
    play.ask(1, "GET /a");
    play.wait(10);
    play.answer(2, 0, "{a}");
    assert!(play.swap().is_none());
}

#[test]
fn too_few_answers_tell_nothing() {
    let mut play = Play::new();
    play.clean("GET /a", "{a}", 8);
    play.clean("GET /b", "{b}", 8);
    play.two_ask();
    play.answer(2, 0, "{a}");
    assert!(play.swap().is_none());
}

#[test]
fn forms_that_change_with_a_deployment_tell_nothing() {
    let mut play = Play::new();
    play.usual();
    play.two_ask();
    play.answer(2, 0, "{a}");
    play.clean("GET /b", "{a}", 10);
    assert!(play.swap().is_none());

    let mut play = Play::new();
    play.usual();
    play.clean("GET /b", "{b, new}", 15);
    play.two_ask();
    play.answer(2, 0, "{a}");
    assert!(play.swap().is_none(), "the forms of /b had just changed");
}

#[test]
fn one_kind_of_request_cannot_be_told_from_itself() {
    let mut play = Play::new();
    play.usual();
    play.connect(1);
    play.ask(1, "GET /a");
    play.wait(10);
    play.connect(2);
    play.ask(2, "GET /a");
    play.answer(2, 0, "{a}");
    assert!(play.swap().is_none());
}

#[test]
fn an_envelope_that_all_kinds_have_tells_nothing() {
    let mut play = Play::new();
    play.usual();
    for other in ["GET /c", "GET /d"] {
        play.clean(other, "{a}", 30);
    }
    play.two_ask();
    play.answer(2, 0, "{a}");
    assert!(play.swap().is_none());
}

#[test]
fn a_page_without_names_is_as_good_as_any_other() {
    let mut play = Play::new();
    play.clean("GET /a", "text/html <", 60);
    play.clean("GET /b", "{b}", 60);
    play.two_ask();
    play.answer(2, 0, "text/html <");
    assert!(play.swap().is_none(), "a page of maintenance, perhaps");
}

#[test]
fn a_form_that_is_rare_for_the_victim_too() {
    let mut play = Play::new();
    play.clean("GET /a", "{a}", 40);
    play.clean("GET /a", "{error}", 6);
    play.clean("GET /a", "{a}", 40);
    play.clean("GET /b", "{b}", 600);
    play.two_ask();
    play.answer(2, 0, "{error}");
    assert!(play.swap().is_none(), "an outage, in which errors have status 200");
}

#[test]
fn error_pages_are_no_answers_of_another() {
    let mut play = Play::new();
    play.usual();
    play.two_ask();
    play.answer_with(2, Some(0), look(502, "{a}", &[]));
    assert!(play.swap().is_none());
}

#[test]
fn a_close_before_the_request_arrived_is_a_race() {
    let mut play = Play::new();
    play.usual();
    play.connect(1);
    play.ask(1, "GET /a");
    play.over(1, Direction::ToClient, 40);
    play.wait(10);
    play.connect(2);
    play.ask(2, "GET /b");
    play.answer(2, 0, "{a}");
    assert!(play.swap().is_none());
}

#[test]
fn a_close_long_ago_is_forgotten() {
    let mut play = Play::new();
    play.usual();
    play.connect(1);
    play.ask(1, "GET /a");
    play.closed_in_hand(1);
    play.wait(121_000);
    play.connect(2);
    play.ask(2, "GET /b");
    play.answer(2, 0, "{a}");
    assert!(play.swap().is_none());
}

#[test]
fn a_hole_in_the_victim_s_stream() {
    let mut play = Play::new();
    play.usual();
    play.two_ask();
    play.say(1, &Noticed::Lost);
    play.answer(2, 0, "{a}");
    assert!(play.swap().is_none());
}

#[test]
fn long_polls_and_event_streams_wait_by_design() {
    let mut play = Play::new();
    play.clean("GET /events", "{event}", 60);
    play.usual();
    for poll in 10..40 {
        play.connect(poll);
        play.ask(poll, "GET /events");
    }
    play.clean("GET /b", "{b}", 100);
    play.connect(2);
    play.ask(2, "GET /b");
    play.answer(2, 0, "{b}");
    assert!(play.swap().is_none());
}

#[test]
fn an_echo_of_another_s_id() {
    let mut play = Play::new();
    for id in 0..30_u64 {
        let (connection, word) = (100 + id, format!("request-{id}"));
        play.connect(connection);
        play.ask_with(connection, "GET /a", &[&word], 0);
        play.answer_with(connection, Some(0), look(200, "text", &[&word]));
    }
    play.connect(1);
    play.ask_with(1, "GET /a", &["request-of-1"], 0);
    play.wait(10);
    play.connect(2);
    play.ask_with(2, "GET /a", &["request-of-2"], 0);
    play.wait(10);
    play.answer_with(2, Some(0), look(200, "text", &["request-of-1"]));
    let swap = play.swap().unwrap();
    assert!(matches!(swap.sign, Sign::Echo { of: 30, .. }), "{:?}", swap.sign);
}

#[test]
fn a_chain_in_which_each_is_given_the_one_before() {
    let mut play = Play::new();
    for id in 0..30_u64 {
        let (connection, word) = (100 + id, format!("request-{id}"));
        play.connect(connection);
        play.ask_with(connection, "GET /a", &[&word], 0);
        play.answer_with(connection, Some(0), look(200, "text", &[&word]));
    }
    play.connect(1);
    play.ask_with(1, "GET /a", &["request-of-1"], 0);
    play.closed_in_hand(1);
    for (connection, given) in [(2, "request-of-1"), (3, "request-of-2"), (4, "request-of-3")] {
        play.wait(10);
        play.connect(connection);
        play.ask_with(connection, "GET /a", &[&format!("request-of-{connection}")], 0);
        play.wait(10);
        play.answer_with(connection, Some(0), look(200, "text", &[given]));
    }
    play.deliveries.finish();
    let fate = |connection: u64| play.deliveries.given.get(&connection).unwrap().fate;
    assert!(matches!(fate(2), Fate::ClosedInHand(_)));
    assert!(matches!(
        fate(3),
        Fate::GivenAnothers {
            closed_in_hand: true,
            ..
        }
    ));
    assert!(matches!(
        fate(4),
        Fate::GivenAnothers {
            closed_in_hand: true,
            ..
        }
    ));
}

#[test]
fn an_id_that_a_cache_repeats_is_of_one_that_was_answered() {
    let mut play = Play::new();
    for id in 0..30_u64 {
        let (connection, word) = (100 + id, format!("request-{id}"));
        play.connect(connection);
        play.ask_with(connection, "GET /a", &[&word], 0);
        play.answer_with(connection, Some(0), look(200, "text", &[&word]));
    }
    play.connect(2);
    play.ask_with(2, "GET /a", &["request-of-2"], 0);
    play.answer_with(2, Some(0), look(200, "text", &["request-7"]));
    assert!(play.swap().is_none());
}

#[test]
fn an_answer_that_names_others_now_and_then_has_no_such_habit() {
    let mut play = Play::new();
    for id in 0..30_u64 {
        let (connection, word) = (100 + id, format!("request-{id}"));
        play.connect(connection);
        play.ask_with(connection, "GET /list", &[&word], 0);
        let tokens: &[&str] = if id % 3 == 0 { &[&word] } else { &["somebody"] };
        play.answer_with(connection, Some(0), look(200, "text", tokens));
    }
    play.connect(1);
    play.ask_with(1, "GET /a", &["request-of-1"], 0);
    play.wait(10);
    play.connect(2);
    play.ask_with(2, "GET /list", &["request-of-2"], 0);
    play.answer_with(2, Some(0), look(200, "text", &["request-of-1"]));
    assert!(play.swap().is_none());
}

#[test]
fn calls_prove_it_without_any_profile() {
    let mut play = Play::new();
    play.connect(1);
    play.ask(1, "GET /a");
    play.tell(1, What::Called(Call::StrayClose));
    play.wait(10);
    play.connect(2);
    play.tell(2, What::Called(Call::NumberFrom { of: 1 }));
    play.ask(2, "GET /b");
    play.wait(10);
    play.answer(2, 0, "{a}");
    assert!(matches!(play.swap().unwrap().sign, Sign::Calls));
}

#[test]
fn a_number_that_was_closed_in_order_proves_nothing() {
    let mut play = Play::new();
    play.connect(1);
    play.ask(1, "GET /a");
    play.wait(10);
    play.connect(2);
    play.tell(2, What::Called(Call::NumberFrom { of: 1 }));
    play.ask(2, "GET /b");
    play.wait(10);
    play.answer(2, 0, "{a}");
    assert!(play.swap().is_none());
}

impl Play {
    fn early(&mut self, status: u16, acked: u64) -> bool {
        self.connect(2);
        self.ask(2, "GET /a");
        let (index, start) = (Some(0), 0);
        self.say(
            2,
            &Noticed::Answering {
                index,
                start,
                acked: Some(acked),
            },
        );
        let look = look(status, "{a}", &[]);
        self.say(
            2,
            &Noticed::Answered {
                index,
                end: 1,
                complete: true,
                look,
            },
        );
        self.deliveries.early.contains_key(&2)
    }
}

#[test]
fn an_answer_from_before_its_request() {
    assert!(Play::new().early(200, 0));
    assert!(Play::new().early(200, 99));
    assert!(!Play::new().early(200, 100), "the head was there");
    assert!(!Play::new().early(408, 0), "a good-bye");
    assert!(!Play::new().early(503, 0), "a good-bye");
}

#[test]
fn a_streamed_answer_to_a_body_is_not_early() {
    let mut play = Play::new();
    play.connect(2);
    let (index, head_end) = (0, 100);
    play.say(2, &Noticed::Asking { index, start: 0 });
    let request = Request {
        route: route("POST /a"),
        is_head: false,
        expects_continue: false,
        blocking: false,
        tokens: Box::default(),
    };
    play.say(
        2,
        &Noticed::Asked {
            index,
            head_end,
            request,
        },
    );
    let look = look(200, "{a}", &[]);
    let index = Some(index);
    play.say(
        2,
        &Noticed::Answering {
            index,
            start: 0,
            acked: Some(100),
        },
    );
    play.say(
        2,
        &Noticed::Answered {
            index,
            end: 1,
            complete: true,
            look,
        },
    );
    assert!(!play.deliveries.early.contains_key(&2));
}

#[test]
fn two_answers_to_one_request_after_a_close_in_hand() {
    let surplus = |closed: bool| {
        let mut play = Play::new();
        play.connect(1);
        play.ask(1, "GET /b");
        if closed {
            play.closed_in_hand(1);
        } else {
            play.answer(1, 0, "{b}");
        }
        play.wait(50);
        play.connect(2);
        play.ask(2, "GET /b");
        play.wait(50);
        play.answer(2, 0, "{a}");
        play.answer_with(2, None, look(200, "{b}", &[]));
        let opened = Timestamp(play.now * 1_000_000 - 60_000_000);
        for suspicion in play.deliveries.suspicions.values_mut() {
            suspicion.receiver_opened = Some(opened);
        }
        play.deliveries.finish();
        assert!(play.deliveries.taken.is_empty(), "a surplus does not say whose it was");
        play.deliveries.given.remove(&2)
    };
    assert!(matches!(surplus(true).unwrap().sign, Sign::Surplus));
    assert!(surplus(false).is_none());
}

/// The number went to a connection whose own answer was ready before the other's.
#[test]
fn behind_its_own_answer_comes_that_of_one_who_was_closed_upon() {
    let swap = |second: &str| {
        let mut play = Play::closed_upon();
        play.wait(50);
        play.connect(2);
        play.ask(2, "GET /b");
        play.wait(5);
        play.answer(2, 0, "{b}");
        play.wait(400);
        play.answer_with(2, None, look(200, second, &[]));
        play.swap()
    };
    let found = swap("{a}").unwrap();
    assert!(found.own_came_first && matches!(found.fate, Fate::ClosedInHand(_)));
    assert!(matches!(found.sign, Sign::Shape { .. }));
    assert!(swap("{b}").is_none(), "it answered twice");
}

#[test]
fn answers_to_pipelined_requests_at_each_other_s_place() {
    let shifted = |forms: [&str; 2]| {
        let mut play = Play::new();
        play.clean("GET /a", "{a}", 120);
        play.clean("GET /b", "{b}", 120);
        play.connect(2);
        play.ask(2, "GET /a");
        play.ask(2, "GET /b");
        play.wait(20);
        play.answer(2, 0, forms[0]);
        play.answer(2, 1, forms[1]);
        play.deliveries.finish();
        play.deliveries.shifted(2, endpoint(SERVER))
    };
    assert_eq!(shifted(["{b}", "{a}"]).unwrap().count, 2);
    assert!(shifted(["{a}", "{b}"]).is_none());
    assert_eq!(shifted(["{b}", "{b}"]).unwrap().count, 1);
    assert!(shifted(["{c}", "{d}"]).is_none());
}

/// What came from beside it on its own connection did not come from another.
#[test]
fn one_off_on_its_own_connection_is_not_sought_elsewhere() {
    let mut play = Play::new();
    play.clean("GET /a", "{a}", 120);
    play.clean("GET /b", "{b}", 120);
    play.connect(1);
    play.ask(1, "GET /b");
    play.wait(5);
    play.connect(2);
    for what in ["GET /a", "GET /b", "GET /a"] {
        play.ask(2, what);
    }
    play.wait(20);
    play.answer(2, 0, "{b}");
    play.answer(2, 1, "{a}");
    assert!(play.swap().is_none());
}

#[test]
fn a_sound_request_refused_behind_a_body() {
    let misread = |body: u64, status: u16, refused_alone: bool| {
        let mut play = Play::new();
        play.usual();
        if refused_alone {
            play.connect(5);
            play.ask(5, "GET /a");
            play.answer_with(5, Some(0), look(status, "text", &[]));
        }
        play.connect(2);
        play.ask_with(2, "POST /b", &[], body);
        play.answer(2, 0, "{b}");
        play.ask(2, "GET /a");
        play.answer_with(2, Some(1), look(status, "text", &[]));
        let profile = play.deliveries.profiles.of(endpoint(SERVER), &route("GET /a")).unwrap();
        play.deliveries.misread.contains_key(&2) && profile.refused_only_behind_bodies()
    };
    assert!(misread(6, 501, false));
    assert!(!misread(0, 501, false), "no body before it");
    assert!(!misread(6, 404, false), "a refusal of what was understood");
    assert!(!misread(6, 400, true), "it is refused elsewhere, too");
}

#[test]
fn live_it_waits_for_the_older_request() {
    let mut play = Play::new();
    play.usual();
    play.two_ask();
    play.answer(2, 0, "{a}");
    play.over(2, Direction::ToServer, 0);
    let after = |milliseconds: i64, play: &Play| Timestamp((play.now + milliseconds) * 1_000_000);
    play.deliveries.advance(Timestamp(i64::MIN));
    play.deliveries.advance(after(5000, &play));
    assert!(play.deliveries.is_open(2), "1 still waits");
    play.over(1, Direction::ToServer, 0);
    play.deliveries.advance(after(5000, &play));
    assert!(!play.deliveries.is_open(2));
    assert!(play.deliveries.given.contains_key(&2) && play.deliveries.taken.contains_key(&1));

    let mut play = Play::new();
    play.usual();
    play.two_ask();
    play.answer(2, 0, "{a}");
    play.deliveries.advance(after(121_000, &play));
    assert!(play.deliveries.given.contains_key(&2), "but not for ever");
}

#[test]
fn what_it_keeps_is_bounded() {
    let mut play = Play::new();
    play.connect(1);
    play.ask(1, "GET /never");
    for connection in 10..20_010 {
        play.wait(1);
        play.connect(connection);
        play.ask(connection, &format!("GET /{connection}"));
        play.answer(connection, 0, &format!("{{{connection}}}"));
        play.over(connection, Direction::ToServer, 0);
        play.say(connection, &Noticed::Gone);
    }
    assert!(play.deliveries.suspicions.len() <= SUSPICIONS);
    assert!(play.deliveries.concerned.len() <= SUSPICIONS + 1);
    assert!(play.deliveries.receivers.len() <= SUSPICIONS);
    assert_eq!(play.deliveries.waiting_total, 1);
    assert_eq!(play.deliveries.lines.len(), 1);
}

#[test]
fn an_answer_that_was_recorded_before_its_request() {
    for (acked, disordered) in [(100, true), (0, false)] {
        let mut play = Play::new();
        play.connect(2);
        let (index, start) = (Some(0), 0);
        play.say(
            2,
            &Noticed::Answering {
                index,
                start,
                acked: Some(acked),
            },
        );
        play.ask(2, "GET /a");
        assert_eq!(play.deliveries.disordered.contains(&2), disordered, "{acked}");
    }
}
