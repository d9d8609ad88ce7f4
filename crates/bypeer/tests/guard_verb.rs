//! `bypeer guard` as a program: what it says, how it is told by signals, and what becomes of its privileges.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[path = "guard_verb/ends.rs"]
mod ends;
#[path = "guard_verb/privileges.rs"]
mod privileges;

const BYPEER: &str = env!("CARGO_BIN_EXE_bypeer");
/// For what must happen at once, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that answers every request with `hello` and keeps its connections. It never ends before the test does.
struct Backend {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Backend {
    fn start() -> Backend {
        Backend::with(|stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        })
    }

    fn with(answer: impl Fn(&mut TcpStream) + Clone + Send + 'static) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answer, counted) = (stream.unwrap(), answer.clone(), Arc::clone(&counted));
                thread::spawn(move || {
                    while head(&mut stream).is_some() {
                        counted.fetch_add(1, SeqCst);
                        answer(&mut stream);
                    }
                });
            }
        });
        Backend { address, requests }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A message's head; `None` where the connection ends.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

/// A guard that runs, and ends with the test.
struct Running {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    /// Of a process that took over.
    other: Option<i32>,
}

impl Running {
    /// In front of a server, with its log in a file.
    fn logging(backend: &Backend, log: &Path) -> Running {
        Running::start(&[
            "--listen",
            "127.0.0.1:0",
            "--to",
            &backend.url(),
            "--log",
            log.to_str().unwrap(),
        ])
    }

    fn start(arguments: &[&str]) -> Running {
        let mut command = Command::new(BYPEER);
        command.arg("guard").args(arguments);
        Running::spawn(command)
    }

    fn spawn(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = child.stderr.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Running {
            child,
            lines,
            said: Vec::new(),
            other: None,
        }
    }

    /// Waits for a line on standard error that has this in it.
    fn says(&mut self, part: &str) -> String {
        if let Some(line) = self.said.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("it did not say {part:?} in time: {:#?}", self.said),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without saying {part:?}: {:#?}", self.said),
            }
        }
    }

    fn address(&mut self) -> SocketAddr {
        let line = self.says("listening on");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn metrics(&mut self) -> SocketAddr {
        let line = self.says("metrics at http://");
        let (_, address) = line.split_once("http://").unwrap();
        address.trim_end_matches("/metrics").parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Again and again: signals to end that follow each other at once are one.
    fn signal_until_it_ends(&mut self, signal: Signal) {
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it does not end: {:#?}", self.said);
            self.signal(signal);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until it ends: how, and everything that it wrote.
    fn end(&mut self) -> (ExitStatus, String, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end: {:#?}", self.said);
            thread::sleep(Duration::from_millis(10));
        };
        let mut out = String::new();
        if self.other.is_none() {
            self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
            self.said.extend(self.lines.iter());
        }
        (status, out, self.said.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(other) = self.other {
            let _ = kill(Pid::from_raw(other), Signal::SIGKILL);
        }
    }
}

fn get(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nCookie: secret\r\nAuthorization: secret\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn once(arguments: &[&str]) -> Output {
    Command::new(BYPEER)
        .arg("guard")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema/guard-1.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn requests_are_answered_and_told_of_until_it_is_asked_to_end() {
    let backend = Backend::start();
    let mut guard = Running::start(&[
        "--listen",
        "127.0.0.1:0",
        "--to",
        &backend.url(),
        "--metrics",
        "127.0.0.1:0",
        "--proxy-status",
        "all",
    ]);
    let address = guard.address();
    let metrics = guard.metrics();
    let answer = get(address, "/cards?token=secret");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"),
        "{answer}"
    );
    assert!(
        answer
            .to_lowercase()
            .contains("proxy-status: bypeer; received-status=200"),
        "{answer}"
    );
    let page = get(metrics, "/metrics");
    assert!(
        page.contains("\nbypeer_guard_requests_total{status=\"2xx\"} 1\n"),
        "{page}"
    );
    assert!(
        page.contains("\nbypeer_guard_server_connections_opened_total 1\n"),
        "{page}"
    );
    guard.signal(Signal::SIGTERM);
    let (status, log, said) = guard.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(
        said.contains("1 requests in ") && said.contains("         1  answered by the server at the first try"),
        "{said}"
    );
    assert!(!log.contains("secret") && !said.contains("secret"), "{log}{said}");
    let record: Value = serde_json::from_str(log.trim()).unwrap();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&record).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{record:#}");
    assert_eq!(
        (&record["path"], &record["status"], &record["ending"]),
        (&"/cards".into(), &200.into(), &"answered".into())
    );
    assert_eq!(record["attempts"][0]["to"], backend.address.to_string());
}

#[test]
fn a_server_that_is_not_there_is_a_502_that_says_so() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut guard = Running::start(&["--listen", "127.0.0.1:0", "--to", &format!("http://{nobody}")]);
    let address = guard.address();
    let answer = get(address, "/");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(
        answer
            .to_lowercase()
            .contains("proxy-status: bypeer; error=connection_refused"),
        "{answer}"
    );
    guard.says("closed-port at");
    guard.signal(Signal::SIGINT);
    let (status, log, said) = guard.end();
    assert_eq!(
        status.code(),
        Some(0),
        "what the server does is no trouble of the guard's: {said}"
    );
    let record: Value = serde_json::from_str(log.trim()).unwrap();
    assert_eq!(record["findings"][0]["cause"], "closed-port");
    assert_eq!(record["proxy_error"], "connection_refused");
    assert!(said.contains("  fix "), "{said}");
}

#[test]
fn check_says_what_would_be_done() {
    let folder = Folder::new();
    let file = folder.write(
        "guard.toml",
        "listen = \"127.0.0.1:8080\"\nto = \"http://nowhere.invalid:1\"\nlog = \"access.log\"\n",
    );
    let output = once(&["--config", &file, "--check", "--client-connections", "10"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    for line in [
        "listens on  127.0.0.1:8080 (plain)",
        "passes on to http://nowhere.invalid:1 (HTTP/1.1)",
        "at most 10 connections; idle ones are kept 95s, and told 90s",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(!folder.path("access.log").exists(), "a check opens nothing");

    let output = once(&[
        "--config",
        &file,
        "--check",
        "--client-connections",
        "10",
        "--close-drain",
        "0s",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("careful: --close-drain: close.drain is 0"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn check_says_everything_that_is_wrong_with_its_place() {
    let folder = Folder::new();
    let file = folder.write(
        "guard.toml",
        "listen = \"127.0.0.1:8080\"\nto = \"http://a\"\n[client]\nidel = \"5s\"\nhead = 3\n",
    );
    let output = once(&["--config", &file, "--check"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains(":4: there is no key \"idel\" in [client]; did you mean \"idle\"?"),
        "{said}"
    );
    assert!(said.contains(":5: head: 3 is out of range: 8KiB to 1MiB"), "{said}");

    let key = folder.write("key.pem", "no key");
    let least = ["--listen", "127.0.0.1:0", "--to", "http://127.0.0.1:1", "--check"];
    let here = folder.0.path().to_str().unwrap();
    let cases: [(&[&str], &str); 7] = [
        (
            &["--certificate", "/nowhere/chain.pem", "--key", &key],
            "/nowhere/chain.pem: cannot be read: No such file",
        ),
        (
            &["--certificate", &key, "--key", &key],
            "key.pem: holds no certificate in PEM",
        ),
        (
            &["--certificate", &key],
            "--listen: there is a certificate and no key to it",
        ),
        (
            &["--user", "no-such-user"],
            "there is no user \"no-such-user\" on this machine",
        ),
        (&["--log", "/nowhere/at/all/log"], "the folder of the log is not there"),
        (&["--log", here], ": is a folder; give a file in it"),
        (
            &["--config", "/nowhere/guard.toml"],
            "/nowhere/guard.toml: cannot be opened: No such file",
        ),
    ];
    for (more, expected) in cases {
        let output = once(&[&least[..], more].concat());
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(2) && said.contains(expected),
            "{more:?}\n{said}"
        );
    }
}

#[test]
fn flags_are_read_as_the_file_is() {
    for (arguments, expected) in [
        (vec!["--listen", "127.0.0.1"], "has no port; write \"127.0.0.1:8080\""),
        (vec!["--client-idle", "5"], "did you mean \"5s\"?"),
        (
            vec!["--to", "127.0.0.1:8000", "--listen", ":1"],
            "--to: \"127.0.0.1:8000\" has no scheme; write \"http://127.0.0.1:8000\"",
        ),
        (vec![], "where clients are to be answered is not said; give --listen"),
        (vec!["--retry=perhaps"], "is neither true nor false"),
    ] {
        let output = once(&arguments);
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(2) && said.contains(expected),
            "{arguments:?}\n{said}"
        );
    }
    let help = text(&Command::new(BYPEER).args(["guard", "--help"]).output().unwrap().stdout);
    let manual = text(&Command::new(BYPEER).args(["man", "guard"]).output().unwrap().stdout);
    for key in bypeer_guard::config::keys::KEYS {
        assert!(help.contains(&format!("--{}", key.flag)), "{}", key.flag);
        assert!(manual.contains(&key.flag.replace('-', "\\-")), "{}", key.flag);
    }
}

#[test]
fn an_address_that_is_taken_is_said_with_how_to_find_who_has_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = once(&["--listen", &address, "--to", "http://127.0.0.1:1"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("another program has it, and `ss -ltnp sport = :"),
        "{said}"
    );
    // TEST-NET-1: of no machine.
    let output = once(&["--listen", "192.0.2.1:8080", "--to", "http://127.0.0.1:1"]);
    assert!(
        text(&output.stderr).contains("this machine has no such address"),
        "{}",
        text(&output.stderr)
    );
    // Metrics, too, and before anybody is answered.
    let output = once(&[
        "--listen",
        "127.0.0.1:0",
        "--to",
        "http://127.0.0.1:1",
        "--metrics",
        &address,
    ]);
    assert!(
        output.status.code() == Some(2)
            && text(&output.stderr).contains(&format!(
                "metrics cannot be served on {address}: another program has it, and `ss -ltnp sport = :"
            )),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_file_is_read_again_and_a_bad_one_is_refused() {
    let (one, other) = (Backend::start(), Backend::start());
    let folder = Folder::new();
    let file = folder.write(
        "guard.toml",
        &format!("listen = \"127.0.0.1:0\"\nto = \"{}\"\n", one.url()),
    );
    let mut guard = Running::start(&["--config", &file, "--metrics", "127.0.0.1:0"]);
    let address = guard.address();
    let metrics = guard.metrics();
    let read = |name: &str| -> f64 {
        let page = get(metrics, "/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name}\n{page}")).parse().unwrap()
    };
    let was_taken = || read("bypeer_guard_config_last_reload_successful");
    let taken = || read("bypeer_guard_config_last_reload_success_timestamp_seconds");
    let first = taken();
    assert!(was_taken() == 1.0 && read("process_start_time_seconds") == first);
    get(address, "/");
    assert_eq!(one.requests.load(SeqCst), 1);

    folder.write("guard.toml", "listen = 5\n");
    guard.signal(Signal::SIGHUP);
    guard.says("guard.toml:1: listen: 5 is no address and port");
    guard.says("the configuration is as it was");
    get(address, "/");
    assert_eq!(one.requests.load(SeqCst), 2);
    assert_eq!((was_taken(), taken()), (0.0, first));

    folder.write(
        "guard.toml",
        &format!(
            "to = \"{}\"\nworkers = 7\n[[listen]]\naddress = \"127.0.0.1:0\"\nbacklog = 7\n[close]\nidle = \"7s\"\n",
            other.url()
        ),
    );
    guard.signal(Signal::SIGHUP);
    guard.says("the new configuration is in use");
    for key in ["listen.backlog", "workers", "close.idle"] {
        guard.says(&format!(
            "{key} changed in the file; in use from the next handover (SIGUSR2) or restart"
        ));
    }
    wait_until(|| was_taken() == 1.0, "the new configuration does not count as taken");
    assert!(taken() > first);
    get(address, "/");
    assert_eq!((one.requests.load(SeqCst), other.requests.load(SeqCst)), (2, 1));
    guard.signal(Signal::SIGTERM);
    assert_eq!(guard.end().0.code(), Some(0));
}

#[test]
fn the_time_for_draining_is_that_of_the_file_as_it_was_read_last() {
    // Longer than the first file, and what is added to it, would let it run.
    let backend = Backend::with(|stream| {
        thread::sleep(Duration::from_secs(8));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    });
    let folder = Folder::new();
    let write = |drain: &str| {
        let to = backend.url();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nto = \"{to}\"\n[close]\nidle = \"100ms\"\ntotal = \"100ms\"\ndrain = \"{drain}\"\n"
        );
        folder.write("guard.toml", &text)
    };
    let file = write("100ms");
    let mut guard = Running::start(&["--config", &file]);
    let address = guard.address();
    write("30s");
    guard.signal(Signal::SIGHUP);
    guard.says("the new configuration is in use");
    let asked = thread::spawn(move || get(address, "/"));
    while backend.requests.load(SeqCst) == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    guard.signal(Signal::SIGTERM);
    assert!(asked.join().unwrap().ends_with("hello"));
    assert_eq!(guard.end().0.code(), Some(0));
}

#[test]
fn the_log_is_opened_again_by_its_name() {
    let backend = Backend::start();
    let folder = Folder::new();
    let (log, old) = (folder.path("access.log"), folder.path("access.log.1"));
    let mut guard = Running::logging(&backend, &log);
    let address = guard.address();
    get(address, "/before");
    fs::rename(&log, &old).unwrap();
    guard.signal(Signal::SIGUSR1);
    let until = Instant::now() + PATIENCE;
    while !log.exists() {
        assert!(Instant::now() < until, "it was not opened again");
        thread::sleep(Duration::from_millis(10));
    }
    get(address, "/after");
    guard.signal(Signal::SIGTERM);
    assert_eq!(guard.end().0.code(), Some(0));
    let (before, after) = (fs::read_to_string(&old).unwrap(), fs::read_to_string(&log).unwrap());
    assert!(before.contains("/before") && !before.contains("/after"), "{before}");
    assert!(after.contains("/after") && !after.contains("/before"), "{after}");
}

fn wait_for_request(backend: &Backend) {
    wait_until(|| backend.requests.load(SeqCst) > 0, "no request reached the server");
}

fn wait_until(so: impl Fn() -> bool, otherwise: &str) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "{otherwise}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_request_that_outlasts_the_drain_is_told_of_by_the_exit_status() {
    let backend = Backend::with(|_| thread::sleep(PATIENCE * 2));
    let mut guard = Running::start(&[
        "--listen",
        "127.0.0.1:0",
        "--to",
        &backend.url(),
        "--close-drain",
        "300ms",
        "--close-total",
        "1s",
        "--close-idle",
        "1s",
    ]);
    let address = guard.address();
    let _asking = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let _ = stream.read(&mut [0; 100]);
    });
    wait_for_request(&backend);
    guard.signal(Signal::SIGTERM);
    let (status, _, said) = guard.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("the time for draining is over: 1 exchange was cut"),
        "{said}"
    );
}

#[test]
fn a_new_process_takes_over_and_no_request_is_lost() {
    let backend = Backend::start();
    let folder = Folder::new();
    let log = folder.path("access.log");
    let mut guard = Running::logging(&backend, &log);
    let address = guard.address();
    let stop = Arc::new(AtomicUsize::new(0));
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut asked = 0;
                while stop.load(SeqCst) == 0 {
                    assert!(get(address, "/").ends_with("hello"), "a request was lost");
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    get(address, "/");
    guard.signal(Signal::SIGUSR2);
    let line = guard.says("answers from now on");
    let other: i32 = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    guard.other = Some(other);
    let (status, ..) = guard.end();
    assert_eq!(status.code(), Some(0));
    // The old one is gone: these are the new one's.
    let before = backend.requests.load(SeqCst);
    (0..10).for_each(|_| assert!(get(address, "/new").ends_with("hello")));
    stop.store(1, SeqCst);
    let asked: usize = asking.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(asked > 0 && backend.requests.load(SeqCst) >= before + 10);
    kill(Pid::from_raw(other), Signal::SIGTERM).unwrap();
    let written = || fs::read_to_string(&log).unwrap().lines().count();
    wait_until(|| written() >= asked + 11, "not each request has its line");
    assert_eq!(written(), asked + 11);
}

#[test]
fn a_service_manager_is_told() {
    let backend = Backend::start();
    let folder = Folder::new();
    let path = folder.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut buffer = [0; 256];
        let read = socket.recv(&mut buffer).unwrap();
        text(&buffer[..read])
    };
    let mut command = Command::new(BYPEER);
    command
        .args(["guard", "--listen", "127.0.0.1:0", "--to", &backend.url()])
        .env("NOTIFY_SOCKET", &path);
    let mut guard = Running::spawn(command);
    assert_eq!(hear(), "READY=1");
    let address = guard.address();
    assert!(get(address, "/").ends_with("hello"));
    guard.signal(Signal::SIGHUP);
    assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(hear(), "READY=1");
    guard.signal(Signal::SIGTERM);
    assert_eq!(hear(), "STOPPING=1");
    assert_eq!(guard.end().0.code(), Some(0));
}

#[test]
fn a_socket_of_the_service_manager_is_used() {
    let backend = Backend::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut guard = Running::spawn(with_passed(listener, &address.to_string(), &backend.url()));
    assert_eq!(guard.address(), address);
    assert!(get(address, "/").ends_with("hello"));
    guard.signal(Signal::SIGTERM);
    assert_eq!(guard.end().0.code(), Some(0));
}

/// A guard to which a descriptor is passed as systemd does it.
fn with_passed(passed: impl Into<OwnedFd>, listen: &str, to: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"",
            "sh",
        ])
        .args([BYPEER, "guard", "--listen", listen, "--to", to])
        .stdin(Stdio::from(passed.into()));
    command
}

#[test]
fn a_socket_that_nobody_would_accept_on_is_said() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    // Of another port, of other addresses at the same port: that could not be bound.
    for listen in ["[::1]:0".to_owned(), format!("0.0.0.0:{}", address.port())] {
        let passed = passed.try_clone().unwrap();
        let mut guard = Running::spawn(with_passed(passed, &listen, "http://127.0.0.1:1"));
        let line = guard.says(&format!("passes a socket that listens on {address} (LISTEN_FDS)"));
        let remedy = format!("write --listen {address}, or listen = \"{address}\"");
        assert!(line.contains(&remedy), "{line}");
        assert_eq!(guard.end().0.code(), Some(2));
    }
    let connected = TcpStream::connect(address).unwrap();
    let mut guard = Running::spawn(with_passed(connected, &address.to_string(), "http://127.0.0.1:1"));
    guard.says("descriptor 3 of LISTEN_FDS is no TCP socket that listens");
    assert_eq!(guard.end().0.code(), Some(2));
}

#[test]
fn too_few_file_descriptors_are_said() {
    let backend = Backend::start();
    let limited = |limit: u32, more: &[&str]| {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh", BYPEER, "guard"])
            .args(["--listen", "127.0.0.1:0", "--to", &backend.url(), "--workers", "2"])
            .args(more);
        command
    };
    let mut guard = Running::spawn(limited(1500, &[]));
    let line = guard.says("the limit of 1500 file descriptors leaves room for 417 clients, not for 10000");
    assert!(
        line.ends_with("; raise it (LimitNOFILE=, ulimit -Hn) or lower upstream.most (1024)"),
        "{line}"
    );
    guard.signal(Signal::SIGTERM);
    guard.end();

    let output = limited(1500, &["--check"]).output().unwrap();
    let said = text(&output.stdout);
    assert!(
        output.status.code() == Some(1) && said.contains("and 11083 are needed for client.connections"),
        "{said}"
    );
    for more in [&[][..], &["--check"]] {
        let output = limited(60, more).output().unwrap();
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(2)
                && said.contains("at most 60 file descriptors may be had here, and 91 are needed at least"),
            "{said}"
        );
    }
    // What it says is enough is enough.
    let mut guard = Running::spawn(limited(91, &["--metrics", "127.0.0.1:0"]));
    let address = guard.address();
    let clients: Vec<TcpStream> = (0..16)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            write!(stream, "GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for mut client in clients {
        assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 200 "));
    }
    guard.signal(Signal::SIGTERM);
    let said = guard.end().2;
    assert!(!said.contains("no file descriptor is left"), "{said}");
}
