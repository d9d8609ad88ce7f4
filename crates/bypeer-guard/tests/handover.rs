//! Listening sockets from the process before, and from systemd: with real processes. This test is started again as the new process.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bypeer_guard::handover::{HandoverError, inherited};
use support::backend::Backend;
use support::client::Client;
use support::{PATIENCE, Running, config, listen};

const ROLE: &str = "BYPEER_TEST_BACKEND";
const ADDRESS: &str = "BYPEER_TEST_ADDRESS";

/// The new process: it answers until it is killed, or until whoever started it is gone.
fn new_process(backend: &str) -> ! {
    let mut inherited = inherited().unwrap();
    let address = std::env::var(ADDRESS).unwrap();
    let mut config = config(backend.parse().unwrap());
    config.listen[0] = listen(&address);
    assert_eq!(inherited.addresses(), [config.listen[0].address]);
    let running = Running::with(config, &mut inherited);
    inherited.ready();
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(running);
    std::process::exit(0)
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn this_test(name: &str, backend: SocketAddr, address: SocketAddr) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", name, "--nocapture"])
        .env(ROLE, backend.to_string())
        .env(ADDRESS, address.to_string())
        .stdout(Stdio::null());
    command
}

#[test]
fn a_new_process_takes_over() {
    if let Ok(backend) = std::env::var(ROLE) {
        new_process(&backend);
    }
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    let address = running.address();
    let mut client = Client::new(address);
    assert_eq!(client.get("/a").text(), "/a");

    let error = running
        .guard
        .hand_over(Command::new("/bin/true"), PATIENCE)
        .unwrap_err();
    assert!(matches!(error, HandoverError::Ended), "{error}");
    let mut sleeps = Command::new("sleep");
    sleeps.arg("60");
    let error = running.guard.hand_over(sleeps, Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, HandoverError::Late), "{error}");
    let error = running.guard.hand_over(Command::new("/nowhere"), PATIENCE).unwrap_err();
    assert!(matches!(error, HandoverError::Start(_)), "{error}");

    let command = this_test("a_new_process_takes_over", backend.address, address);
    let _new = Killed(running.guard.hand_over(command, PATIENCE).unwrap());
    running.guard.drain();
    // Who was there is told to go, and finds the new process.
    assert_eq!(client.get("/b").field("connection"), Some("close"));
    drop(client);
    assert!(running.guard.wait(PATIENCE));
    assert_eq!(running.guard.finish().cut, 0);
    for _ in 0..20 {
        assert_eq!(Client::new(address).get("/c").text(), "/c");
    }
}

#[test]
fn a_socket_of_systemd_is_taken() {
    if let Ok(backend) = std::env::var(ROLE) {
        new_process(&backend);
    }
    let backend = Backend::plain();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let test = this_test("a_socket_of_systemd_is_taken", backend.address, address);
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "export LISTEN_PID=$$ LISTEN_FDS=1; exec 3<&0 </dev/null; exec \"$@\"",
            "sh",
        ])
        .arg(test.get_program())
        .args(test.get_args())
        .envs(test.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdout(Stdio::null())
        .stdin(Stdio::from(OwnedFd::from(socket)));
    let _new = Killed(command.spawn().unwrap());
    drop(command);
    assert_eq!(Client::new(address).get("/a").text(), "/a");
}
