//! Drain, handover and reload under load: nothing is lost.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bypeer_guard::say::Notice;
use support::backend::{Backend, pattern};
use support::client::{Client, End};
use support::{PATIENCE, Running, config, listen};

/// Clients that ask again and again, some on kept connections, some with a new one for each request.
struct Load {
    stopped: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// A connection that is refused is not a lost request; with `refused_is_wrong` it is.
    fn new(address: SocketAddr, refused_is_wrong: bool) -> Load {
        let stopped = Arc::<AtomicBool>::default();
        let answers = Arc::<AtomicUsize>::default();
        let threads = (0..8).map(|number| {
            let (stopped, answers) = (stopped.clone(), answers.clone());
            std::thread::spawn(move || {
                let keeps = number % 2 == 0;
                while !stopped.load(Ordering::SeqCst) {
                    let Ok(stream) = TcpStream::connect(address) else {
                        assert!(!refused_is_wrong, "a connection was refused");
                        return;
                    };
                    let mut client = Client::of(stream);
                    loop {
                        let answer = client.get("/size/3000");
                        assert_eq!(answer.status, 200);
                        assert_eq!(answer.body, pattern(3000));
                        answers.fetch_add(1, Ordering::SeqCst);
                        if !keeps || answer.field("connection") == Some("close") {
                            break;
                        }
                        if stopped.load(Ordering::SeqCst) {
                            return;
                        }
                    }
                    if keeps {
                        // It said that it would.
                        assert_eq!(client.rest(), (Vec::new(), End::Fin));
                    }
                }
            })
        });
        Load {
            threads: threads.collect(),
            stopped,
            answers,
        }
    }

    fn more(&self, answers: usize) {
        let goal = self.answers.load(Ordering::SeqCst) + answers;
        support::until(|| {
            self.answers.load(Ordering::SeqCst) >= goal || self.threads.iter().all(JoinHandle::is_finished)
        });
    }

    /// Whether nobody lost anything.
    fn join(self) -> usize {
        self.stopped.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.answers.load(Ordering::SeqCst)
    }
}

#[test]
fn a_handover_under_load_loses_nothing() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.workers = 2;
    let mut running = Running::new(config.clone());
    config.listen[0].address = running.address();
    let load = Load::new(running.address(), true);
    for _ in 0..5 {
        load.more(300);
        let next = support::handed_over(&running, &config);
        running.guard.drain();
        assert!(running.guard.wait(PATIENCE));
        let finished = std::mem::replace(&mut running, next).guard.finish();
        assert_eq!(finished.cut, 0);
    }
    load.more(300);
    assert!(load.join() >= 1800);
}

#[test]
fn a_drain_under_load_loses_nothing() {
    for _ in 0..5 {
        let backend = Backend::plain();
        let mut config = config(backend.address);
        config.workers = 2;
        let running = Running::new(config);
        let load = Load::new(running.address(), false);
        load.more(200);
        running.guard.drain();
        assert!(running.guard.wait(PATIENCE));
        assert_eq!(running.guard.finish().cut, 0);
        assert!(load.join() >= 200);
    }
}

#[test]
fn nothing_of_it_stays_when_it_ends_right_behind_a_body() {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    client.send("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    // It is told to go on when the body is waited for.
    let mut interim = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    client.stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    assert_eq!(client.answer().status, 200);
    let Running { guard, recorder } = running;
    guard.finish();
    assert_eq!(Arc::strong_count(&recorder), 1, "the sink is held by what is over");
}

#[test]
fn an_idle_connection_is_told_with_its_next_answer() {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    assert_ne!(client.get("/a").field("connection"), Some("close"));
    running.guard.drain();
    std::thread::sleep(Duration::from_millis(200));
    let answer = client.get("/b");
    assert_eq!((answer.text(), answer.field("connection")), ("/b", Some("close")));
    assert_eq!(client.rest(), (Vec::new(), End::Fin));
    drop(client);
    assert!(running.guard.wait(PATIENCE));
    assert!(TcpStream::connect(running.address()).is_err());
}

#[test]
fn who_runs_too_long_is_cut_and_counted() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.close.drain = Duration::from_millis(200);
    let running = Running::new(config);
    let mut idle = Client::new(running.address());
    assert_eq!(idle.get("/a").status, 200);
    let mut long = Client::new(running.address());
    long.send("GET /slow/5000 HTTP/1.1\r\nHost: a\r\n\r\n");
    running.recorder.until(|said| said.opened == 2);
    support::until(|| running.guard.figures().exchanges == 1);
    running.guard.drain();
    assert_eq!(idle.rest(), (Vec::new(), End::Fin));
    let answer = long.answer();
    assert_eq!((answer.status, answer.field("connection")), (503, Some("close")));
    assert!(answer.field("proxy-status").unwrap().contains("being stopped"));
    assert!(answer.text().ends_with("may have acted\n"));
    assert_eq!(long.rest(), (Vec::new(), End::Fin));
    drop((idle, long));
    let said = running.recorder.until(|said| said.exchanges.len() == 2);
    assert_eq!(said.exchanges[1].status, Some(503));
    assert_eq!(
        said.exchanges[1].failure.as_deref(),
        Some("the time for draining was over")
    );
    assert!(running.guard.wait(PATIENCE));
    assert_eq!(running.guard.finish().cut, 1);
}

#[test]
fn who_is_cut_in_an_answer_that_its_connection_ends_is_reset() {
    let backend = Backend::new(|mut peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 200 OK\r\n\r\nsome");
            let _ = peer.line();
        }
    });
    let mut config = config(backend.address);
    config.close.drain = Duration::from_millis(100);
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.head();
    running.guard.drain();
    assert_eq!(client.rest(), (b"some".to_vec(), End::Reset));
}

#[test]
fn a_reload_keeps_connections_and_changes_what_holds() {
    let (old, new) = (
        Backend::plain(),
        Backend::new(|mut peer| {
            while peer.request().is_some() {
                peer.answer(b"new");
            }
        }),
    );
    let mut settings = config(old.address);
    settings.workers = 2;
    let running = Running::new(settings.clone());
    let first = running.address();
    let mut client = Client::new(first);
    assert_eq!(client.get("/a").text(), "/a");
    let mut slow = Client::new(first);
    slow.send("GET /slow/300 HTTP/1.1\r\nHost: a\r\n\r\n");
    support::until(|| running.guard.figures().exchanges == 1);

    let mut wrong = settings.clone();
    wrong.listen[0].tls = Some(bypeer_guard::config::TlsFiles {
        certificate: "/nowhere".into(),
        key: "/nowhere".into(),
    });
    let error = running.guard.reload(wrong).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere: "), "{error}");
    assert_eq!(client.get("/b").text(), "/b");

    settings.upstream.to[0].port = new.address.port();
    settings.listen.push(listen("127.0.0.2:0"));
    running.guard.reload(settings.clone()).unwrap();
    running.recorder.until(|said| said.notices.contains(&Notice::Reloaded));
    support::until(|| client.get("/c").text() == "new");
    assert_eq!(slow.answer().text(), "/slow/300");
    let second = running.guard.addresses()[1];
    assert_eq!(Client::new(second).get("/d").text(), "new");

    // The first address goes, with nobody who is there.
    settings.listen.remove(0);
    running.guard.reload(settings).unwrap();
    assert_eq!(client.get("/e").text(), "new");
    support::until(|| TcpStream::connect(first).is_err());
    assert_eq!(Client::new(second).get("/f").text(), "new");
}

#[test]
fn one_socket_for_both_families() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: there is no IPv6 here");
        return;
    }
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.listen[0] = listen("[::]:0");
    let running = Running::new(config);
    let port = running.address().port();
    for address in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        let answer = Client::new(address).get("/head");
        let head = answer.text().to_ascii_lowercase();
        let from = format!("x-forwarded-for: {}\r\n", address.ip());
        assert!(head.contains(&from), "{head}");
    }
}
