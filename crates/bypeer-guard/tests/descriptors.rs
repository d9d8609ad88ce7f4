//! No file descriptor is left. In a process of its own, because the limit is the process's.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs::File;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bypeer_guard::say::Notice;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};
use support::backend::Backend;
use support::client::Client;
use support::{Running, config};

#[test]
fn without_descriptors_nobody_is_accepted_and_nothing_spins() {
    let limit = Some(200);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    )
    .unwrap();
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.upstream.most = 50;
    config.upstream.keep = 10;
    let running = Running::new(config);
    let said = running.recorder.said();
    let fewer = said
        .notices
        .iter()
        .find(|notice| matches!(notice, Notice::FewerConnections { .. }));
    assert_eq!(
        fewer,
        Some(&Notice::FewerConnections {
            configured: 10_000,
            room: 96,
            descriptors: 200,
            server: 50
        })
    );
    let address: SocketAddr = running.address();
    // The sockets are made before the descriptors are gone.
    let clients: Vec<Socket> = (0..5)
        .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
        .collect();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    for client in &clients {
        client.connect(&address.into()).unwrap();
    }
    running.recorder.until(|said| {
        said.notices
            .iter()
            .any(|notice| matches!(notice, Notice::Descriptors { .. }))
    });
    let busy = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
    };
    // What spins does so all the time; a machine that is short of processors charges us for its own delays now and then.
    let least = (0..5).map(|_| {
        let (began, before) = (Instant::now(), busy());
        std::thread::sleep(Duration::from_millis(250));
        (busy() - before).as_secs_f64() / began.elapsed().as_secs_f64()
    });
    let least = least.fold(f64::INFINITY, f64::min);
    assert!(least < 0.1, "it is busy for {least} of the time");
    drop(taken);
    for client in clients {
        assert_eq!(Client::of(client.into()).get("/a").text(), "/a");
    }
    let said = running.recorder.said();
    let told = said
        .notices
        .iter()
        .filter(|notice| matches!(notice, Notice::Descriptors { .. }));
    assert_eq!(told.count(), 1, "the same is told again and again");
}
