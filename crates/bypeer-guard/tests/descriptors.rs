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
            room: 86,
            descriptors: 200
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
    let (began, worked) = (Instant::now(), busy());
    std::thread::sleep(Duration::from_millis(1000));
    let (lasted, worked) = (began.elapsed(), busy() - worked);
    assert!(worked < lasted / 4, "{worked:?} of {lasted:?}");
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
