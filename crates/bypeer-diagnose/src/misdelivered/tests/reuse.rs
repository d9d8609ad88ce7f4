//! A connection used again while an answer was owed on it, against pipelining.

use super::*;
use crate::misdelivered::astray::Reuse;

impl Play {
    fn reused(&self, stream: u32) -> Option<Reuse> {
        self.deliveries.reused(stream)
    }
}

#[test]
fn a_connection_used_again_while_an_answer_was_owed() {
    let mut play = Play::new();
    play.connect(2);
    play.ask(2, "GET /slow");
    play.wait(200);
    play.ask(2, "GET /next");
    play.wait(300);
    play.answer(2, 0, "{slow}");
    play.answer(2, 1, "{next}");
    let reuse = play.reused(2).unwrap();
    assert_eq!((&*reuse.owed.route, &*reuse.next.route), ("GET /slow", "GET /next"));
    assert_eq!(reuse.gap, Duration::from_millis(200));
    assert!(!reuse.is_clear() && reuse.may_be_a_slip(), "it may also pipeline");
}

/// Ten requests on each of so many connections of a host, each answered after so long, and then a slip on the last.
fn slips_after(connections: u64, each: i64) -> Play {
    let mut play = Play::new();
    for back in (0..connections).rev() {
        let connection = 2 + 7 * back;
        play.connect(connection);
        for index in 0..10 {
            play.ask(connection, "GET /a");
            play.wait(each);
            play.answer(connection, index, "{a}");
        }
        if back > 0 {
            play.deliveries.count_client(connection);
        }
    }
    play.ask(2, "GET /slow");
    play.wait(200);
    play.ask(2, "GET /next");
    play.wait(300);
    play.answer(2, 10, "{slow}");
    play
}

#[test]
fn a_client_that_has_always_waited_for_its_answers() {
    let clear = |connections, each| slips_after(connections, each).reused(2).unwrap().is_clear();
    assert!(clear(1, 250));
    assert!(
        !clear(1, 2),
        "it never had to wait for as long: who pipelines may have had no cause to"
    );
    assert!(!clear(4, 2), "each may be that of a process whose callers share it");
}

/// He takes each answer for the one to his newest request, and sends the next while that one's is owed.
#[test]
fn who_moves_on_with_the_answer_before() {
    let goes_on = |pause: i64, requests: u32| {
        let mut play = slips_after(1, 2);
        for index in 0..requests {
            play.wait(pause);
            play.ask(2, "GET /next");
            play.wait(60);
            play.answer(2, 11 + index, "{next}");
        }
        play.reused(2).unwrap().is_clear()
    };
    assert!(goes_on(4, 5));
    assert!(!goes_on(4, 4));
    assert!(!goes_on(40, 5), "it was at no answer that he sent them");
}

#[test]
fn what_follows_a_slip_is_no_pipelining() {
    let mut play = slips_after(1, 250);
    // The answer to /next lies there when the next one is asked for, and one more is asked at once.
    play.answer(2, 11, "{next}");
    play.ask(2, "GET /third");
    play.wait(4);
    play.ask(2, "GET /fourth");
    assert!(play.reused(2).is_some_and(|reuse| reuse.is_clear()));
    play.ask(2, "GET /fifth");
    assert!(play.reused(2).is_none_or(|reuse| !reuse.is_clear()), "three are owed");
}

/// undici with `pipelining: 4`, asked for something every 150 ms, by a server that takes 200 ms.
#[test]
fn a_client_that_pipelines_and_is_seldom_asked() {
    let mut play = Play::new();
    play.connect(2);
    play.ask(2, "GET /item/0");
    for index in 0..4 {
        play.wait(150);
        play.ask(2, "GET /item/1");
        play.wait(50);
        play.answer(2, index, "{item}");
    }
    assert!(play.reused(2).is_none_or(|reuse| !reuse.is_clear()));
}

#[test]
fn a_client_that_pipelines_whenever_it_is_asked_to() {
    let mut play = Play::new();
    play.connect(2);
    for path in ["GET /a", "GET /b", "GET /c"] {
        play.ask(2, path);
        play.wait(50);
    }
    play.answer(2, 0, "{a}");
    play.answer(2, 1, "{b}");
    assert!(play.reused(2).is_none_or(|reuse| !reuse.is_clear()));
}

#[test]
fn a_pause_between_two_pipelined_requests() {
    let mut play = Play::new();
    play.connect(2);
    play.ask(2, "GET /a");
    play.wait(84);
    play.ask(2, "GET /b");
    play.wait(20);
    play.answer(2, 0, "{a}");
    play.answer(2, 1, "{b}");
    assert!(play.reused(2).is_none_or(|reuse| !reuse.is_clear()));
}

#[test]
fn who_counts_wrong_sends_at_each_answer_and_does_not_pipeline() {
    let mut play = Play::new();
    play.connect(2);
    play.ask(2, "GET /slow");
    play.wait(200);
    for index in 0..5 {
        play.ask(2, "GET /next");
        play.wait(if index == 0 { 300 } else { 1 });
        play.answer(2, index, "{next}");
    }
    assert!(play.reused(2).is_some());
}

#[test]
fn pipelining_is_at_one_go() {
    let mut play = Play::new();
    play.connect(2);
    play.ask(2, "GET /a");
    play.wait(1);
    play.ask(2, "GET /b");
    play.wait(300);
    play.answer(2, 0, "{a}");
    play.answer(2, 1, "{b}");
    assert!(play.reused(2).is_none());
}

#[test]
fn a_client_that_pipelines_elsewhere_may_do_so_late() {
    let mut play = Play::new();
    play.connect(9);
    play.ask(9, "GET /a");
    play.ask(9, "GET /b");
    play.answer(9, 0, "{a}");
    play.answer(9, 1, "{b}");
    play.deliveries.count_client(9);
    play.connect(2);
    play.ask(2, "GET /a");
    play.wait(100);
    play.ask(2, "GET /b");
    play.wait(100);
    play.answer(2, 0, "{a}");
    assert!(play.reused(2).is_none(), "2 and 9 are of one client");
}

#[test]
fn packets_may_be_captured_in_another_order_than_they_were_sent() {
    let mut play = Play::new();
    play.connect(2);
    play.ask(2, "GET /a");
    play.wait(100);
    play.ask(2, "GET /b");
    play.wait(1);
    play.answer(2, 0, "{a}");
    assert!(play.reused(2).is_none());
}

#[test]
fn an_answer_that_never_came_is_nobody_s() {
    let mut play = Play::new();
    play.connect(2);
    play.ask(2, "GET /a");
    play.wait(100);
    play.ask(2, "GET /b");
    play.over(2, Direction::ToServer, 0);
    assert!(play.reused(2).is_none());
}

/// Commands one at a time, and then one while another is owed.
fn redis(play: &mut Play, alone: u32, first: &str) -> Option<Reuse> {
    play.begin(2, Protocol::Redis);
    for index in 0..alone {
        play.ask(2, "GET");
        play.wait(1);
        play.answer_with(2, Some(index), look(200, "bulk", &[]));
        play.wait(1);
    }
    play.ask(2, first);
    play.wait(50);
    play.ask(2, "HGETALL");
    play.wait(50);
    play.answer_with(2, Some(alone), look(200, "bulk", &[]));
    play.answer_with(2, Some(alone + 1), look(200, "array", &[]));
    play.deliveries.finish();
    play.reused(2)
}

#[test]
fn a_cancelled_command() {
    let reuse = redis(&mut Play::new(), 30, "GET").unwrap();
    assert_eq!((reuse.protocol, reuse.alone, reuse.late), (Protocol::Redis, 31, 0));
    assert!(
        !reuse.is_clear(),
        "nothing it had asked took so long: many callers may share the connection"
    );
}

/// Now and then one of them asks while another waits.
#[test]
fn callers_who_share_a_connection_more_than_once() {
    let mut play = Play::new();
    redis(&mut play, 30, "GET").unwrap();
    for round in 0..4 {
        play.wait(500);
        play.ask(2, "EVAL");
        play.wait(120);
        play.ask(2, "GET");
        play.wait(60);
        for index in [32, 33] {
            play.answer_with(2, Some(index + 2 * round), look(200, "bulk", &[]));
        }
    }
    assert!(play.reused(2).is_none());
}

#[test]
fn a_blocking_command_is_waited_for_by_design() {
    let reuse = redis(&mut Play::new(), 30, "BLPOP").unwrap();
    assert!(!reuse.is_clear());
}

#[test]
fn a_client_that_many_callers_share() {
    let mut play = Play::new();
    play.begin(9, Protocol::Redis);
    for index in 0..40 {
        play.ask(9, "GET");
        play.wait(if index % 4 == 0 { 50 } else { 0 });
        if index % 4 == 3 {
            (0..4).for_each(|back| play.answer_with(9, Some(index - 3 + back), look(200, "bulk", &[])));
        }
    }
    let reuse = redis(&mut play, 30, "GET").unwrap();
    assert!(
        !reuse.is_clear() && !reuse.may_be_a_slip(),
        "the same client, on another connection"
    );
}

#[test]
fn behind_an_answer_that_is_coming_in_it_is_pipelining() {
    let mut play = Play::new();
    play.connect(2);
    play.ask(2, "GET /large");
    let at = Noticed::Answering {
        index: Some(0),
        start: 0,
        acked: None,
    };
    play.say(2, &at);
    play.wait(500);
    play.ask(2, "GET /next");
    play.wait(300);
    play.answer(2, 0, "{large}");
    play.answer(2, 1, "{next}");
    assert!(play.reused(2).is_none());
}
