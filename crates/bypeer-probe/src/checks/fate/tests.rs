use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::Status;
use crate::prober::Options;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::testing::{Server, answer, ask, ask_until, close_in_stages, content_length, read_body, read_head};

const MINE: [&str; 5] = [
    "unread-body",
    "early-answer",
    "trailing-bytes",
    "half-close",
    "close-manners",
];

#[test]
fn a_server_that_answers_no_more_is_left_as_soon_as_the_user_stops() {
    for check in MINE {
        let silent = Arc::new(AtomicBool::new(false));
        let server = Server::start({
            let silent = silent.clone();
            move |mut stream| {
                if read_head(&mut stream).is_some() && !silent.load(Relaxed) {
                    answer(&mut stream, "200 OK", "", 10);
                }
                // Open, and silent.
                thread::sleep(Duration::from_secs(8));
            }
        });
        let (stop, progress) = (Stop::default(), Progress::default());
        let (outcome, took) = thread::scope(|scope| {
            let stopping = scope.spawn(|| {
                while !progress.now().iter().any(|doing| doing.check == check) {
                    thread::sleep(Duration::from_millis(5));
                }
                silent.store(true, Relaxed);
                thread::sleep(Duration::from_millis(300));
                stop.set();
                Instant::now()
            });
            let outcome = ask_until(&server.url(), check, Options::default(), &stop, &progress);
            let ended = Instant::now();
            (outcome, ended - stopping.join().expect("no panic"))
        });
        assert!(matches!(outcome.status, Status::Cut(_)), "{check}: {outcome:?}");
        assert!(outcome.risks.is_empty(), "{check}: {outcome:?}");
        // A tenth of a second, and what a loaded machine adds.
        assert!(took < Duration::from_secs(3), "{check}: {took:?}");
    }
}

#[test]
fn one_at_a_time_nothing_is_held_twice() {
    for check in MINE {
        let server = Server::start(move |mut stream| {
            while let Some(head) = read_head(&mut stream) {
                let closes = head.contains("Connection: close");
                let fields = if closes { "Connection: close\r\n" } else { "" };
                let read = read_body(&mut stream, content_length(&head));
                if !read || !answer(&mut stream, "200 OK", fields, 10) || closes {
                    return close_in_stages(stream);
                }
            }
        });
        let options = Options {
            serial: Some(true),
            upload_size: 100_000,
            patience: Duration::from_secs(2),
            longest_wait: Duration::from_millis(100),
            ..Options::default()
        };
        let outcome = ask(&server.url(), check, options);
        assert_eq!(outcome.status, Status::Done, "{check}: {outcome:?}");
        assert!(outcome.risks.is_empty(), "{check}: {outcome:?}");
    }
}
