use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::testing::{Server, answer, ask, read_head};

/// So many threads accept and serve, each one connection at a time, from a queue of so many.
struct Pool {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    workers: Vec<thread::JoinHandle<()>>,
}

impl Pool {
    fn start(workers: u32, backlog: i32) -> Pool {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(backlog).unwrap();
        let listener = Arc::new(TcpListener::from(socket));
        let address = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let workers = (0..workers)
            .map(|_| {
                let (listener, over) = (listener.clone(), over.clone());
                thread::spawn(move || {
                    while let Ok((mut stream, _)) = listener.accept() {
                        if over.load(Relaxed) {
                            break;
                        }
                        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                        if read_head(&mut stream).is_some() {
                            answer(&mut stream, "200 OK", "Connection: close\r\n", 5);
                        }
                    }
                })
            })
            .collect();
        Pool { address, over, workers }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        for _ in &self.workers {
            let _ = TcpStream::connect(self.address);
        }
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn options() -> Options {
    Options {
        at_once: 16,
        ..Options::default()
    }
}

fn word<'a>(outcome: &'a Outcome, habit: &Habit) -> Option<&'a str> {
    outcome.value(habit).and_then(Value::word)
}

#[test]
fn workers_are_counted_and_those_that_wait_are_answered_in_the_end() {
    let server = Pool::start(3, 128);
    let outcome = ask(&server.url(), "accept-queue", options());
    assert_eq!(outcome.status, Status::Done);
    assert_eq!(outcome.value(&HEADS), Some(&Value::Count(3)), "{:?}", outcome.seen);
    assert_eq!(word(&outcome, &OVERFLOW), Some("none"), "{:?}", outcome.seen);
    assert_eq!(outcome.value(&AGAIN), Some(&Value::Flag(true)));
    assert!(outcome.risks.is_empty(), "{:?}", outcome.risks);
}

#[test]
#[cfg(target_os = "linux")]
fn a_short_queue_drops_connections() {
    let server = Pool::start(2, 2);
    let outcome = ask(&server.url(), "accept-queue", options());
    assert_eq!(outcome.value(&HEADS), Some(&Value::Count(2)), "{:?}", outcome.seen);
    assert_eq!(word(&outcome, &OVERFLOW), Some("syn-dropped"), "{:?}", outcome.seen);
    assert_eq!(outcome.value(&AGAIN), Some(&Value::Flag(true)));
    assert_eq!(outcome.risks[0].cause, "backlog-overflow-drop", "{outcome:?}");
}

#[test]
fn a_server_with_room_for_all_is_left_alone() {
    let server =
        Server::start(|mut stream| while read_head(&mut stream).is_some() && answer(&mut stream, "200 OK", "", 5) {});
    let outcome = ask(&server.url(), "accept-queue", options());
    assert_eq!(outcome.value(&HEADS), Some(&Value::MoreThan(15)), "{:?}", outcome.seen);
    assert_eq!(word(&outcome, &OVERFLOW), Some("none"));
    assert!(outcome.risks.is_empty());
}

#[test]
fn one_connection_at_a_time_is_no_ground_for_it() {
    let server = Pool::start(1, 128);
    let outcome = ask(
        &server.url(),
        "accept-queue",
        Options {
            serial: Some(true),
            ..options()
        },
    );
    assert!(matches!(outcome.status, Status::Skipped(_)), "{outcome:?}");
}

#[test]
fn the_kernels_count_is_found_by_name() {
    let text = "TcpExt: A ListenOverflows B\nTcpExt: 1 22 3\nIpExt: X\nIpExt: 4\n";
    assert_eq!(listen_overflows(text), Some(22));
    assert_eq!(listen_overflows("IpExt: X\nIpExt: 4\n"), None);
}
