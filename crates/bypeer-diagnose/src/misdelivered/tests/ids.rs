//! Answers that repeat something of their request, and wrong ones that come more than once.

use super::*;

/// `GET /item/*` is answered with the id that its field bears; two at once on connections 1 and 2.
fn ids() -> Play {
    let mut play = Play::new();
    for id in 0..40 {
        let connection = 900_000 + id;
        let word = format!("id-{id}");
        play.connect(connection);
        play.ask_with(connection, "GET /item/*", &[&word], 0);
        play.wait(1);
        play.answer_with(connection, Some(0), look(200, "{item}", &[&word]));
        play.over(connection, Direction::ToServer, 1);
        play.say(connection, &Noticed::Gone);
    }
    for (connection, word) in [(1, "one"), (2, "two")] {
        play.connect(connection);
        play.ask_with(connection, "GET /item/*", &[word], 0);
        play.wait(10);
    }
    play
}

#[test]
fn two_answers_that_repeat_each_other_s_ids() {
    let mut play = ids();
    play.answer_with(2, Some(0), look(200, "{item}", &["one"]));
    play.answer_with(1, Some(0), look(200, "{item}", &["two"]));
    play.deliveries.finish();
    let given = |stream| play.deliveries.given.get(&stream).unwrap();
    assert!(matches!(
        (given(2).fate, &given(2).sign),
        (Fate::Exchanged(_), Sign::Echo { .. })
    ));
    assert_eq!((given(2).due.stream, given(1).due.stream), (1, 2));
}

/// One reply was lost: each waits for its own, and gets that of the next.
#[test]
fn a_younger_one_s_answer_goes_to_an_older_request() {
    let mut play = ids();
    play.answer_with(1, Some(0), look(200, "{item}", &["two"]));
    play.wait(2000);
    play.over(2, Direction::ToServer, 0);
    play.deliveries.finish();
    let swap = play.deliveries.given.get(&1).unwrap();
    assert_eq!((swap.due.stream, swap.fate), (2, Fate::Silent));
}

/// A cache that asks once for both.
#[test]
fn the_same_answer_for_two_is_no_swap() {
    let mut play = ids();
    play.answer_with(1, Some(0), look(200, "{item}", &["one"]));
    play.answer_with(2, Some(0), look(200, "{item}", &["one"]));
    assert!(play.swap().is_none());
}

/// The same kind of request, and ids tell.
#[test]
fn pipelined_answers_that_repeat_each_other_s_ids() {
    let shifted = |answers: [&str; 2]| {
        let mut play = ids();
        play.connect(3);
        play.ask_with(3, "GET /item/*", &["three"], 0);
        play.ask_with(3, "GET /item/*", &["four"], 0);
        play.wait(20);
        play.answer_with(3, Some(0), look(200, "{item}", &[answers[0]]));
        play.answer_with(3, Some(1), look(200, "{item}", &[answers[1]]));
        play.deliveries.finish();
        play.deliveries.shifted(3, endpoint(SERVER))
    };
    assert_eq!(shifted(["four", "three"]).unwrap().count, 2);
    assert!(shifted(["three", "four"]).is_none());
    assert!(shifted(["five", "six"]).is_none());
}

/// The second wrong answer is no news that would make the first doubtful.
#[test]
fn wrong_answers_do_not_hide_each_other() {
    let mut play = Play::new();
    play.usual();
    for round in 0..3 {
        let (one, two) = (1 + 10 * round, 2 + 10 * round);
        play.connect(one);
        play.ask(one, "GET /a");
        play.wait(10);
        play.closed_in_hand(one);
        play.connect(two);
        play.ask(two, if round == 1 { "GET /c" } else { "GET /b" });
        play.wait(400);
        play.answer(two, 0, "{a}");
        play.over(two, Direction::ToServer, 1);
        play.clean("GET /c", "{c}", if round == 0 { 80 } else { 0 });
    }
    play.deliveries.finish();
    let mut given: Vec<u64> = play.deliveries.given.keys().copied().collect();
    given.sort_unstable();
    assert_eq!(given, [2, 12, 22]);
}
