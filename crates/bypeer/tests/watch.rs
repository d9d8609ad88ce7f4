//! `bypeer watch` as one runs it: real resets on loopback, heard by the program.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// `nobody`.
const ORDINARY_USER: u32 = 65534;

/// A watch that listens.
struct Watch {
    child: Child,
    errors: BufReader<ChildStderr>,
    first: String,
}

/// What a watch said.
struct Heard {
    status: ExitStatus,
    first: String,
    records: Vec<Value>,
    errors: String,
}

impl Watch {
    /// Starts it, and waits until it says that it listens.
    fn start(mut command: Command) -> Watch {
        command.args(["watch", "--format", "json"]);
        Watch::listening(command)
    }

    fn listening(mut command: Command) -> Watch {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        while !first.contains("listening") {
            let mut line = String::new();
            assert!(errors.read_line(&mut line).unwrap() > 0, "it does not listen: {first}");
            first.push_str(&line);
        }
        Watch { child, errors, first }
    }

    /// Gives what happened a moment to be told, and ends it as Ctrl-C does.
    fn end(mut self) -> Heard {
        std::thread::sleep(Duration::from_millis(700));
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).unwrap();
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let mut errors = String::new();
        self.errors.read_to_string(&mut errors).unwrap();
        let status = self.child.wait().unwrap();
        let records = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
            .collect();
        Heard {
            status,
            first: self.first,
            records,
            errors,
        }
    }
}

impl Heard {
    /// The one record about the server on this port.
    fn of_server(&self, port: u16) -> &Value {
        let end = format!(":{port}");
        let is_its = |record: &&Value| record["server"].as_str().is_some_and(|server| server.ends_with(&end));
        let mut found = self.records.iter().filter(is_its);
        let one = found
            .next()
            .unwrap_or_else(|| panic!("nothing was heard of port {port}: {}", self.errors));
        assert!(found.next().is_none(), "told twice: {:#?}", self.records);
        one
    }

    fn summary(&self) -> &Value {
        let last = self.records.last().unwrap();
        assert_eq!(last["schema"], "bypeer.watch-summary/1");
        last
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bypeer"))
}

/// A copy of the program that any user may run.
fn for_everybody(folder: &Path) -> PathBuf {
    fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.join("bypeer");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_bypeer")).arg(&copy).status();
    assert!(copied.unwrap().success());
    copy
}

/// A server's end with `unread` bytes in its socket, the client's end, and the server's port.
fn pair(unread: usize) -> (TcpStream, TcpStream, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let server = listener.accept().unwrap().0;
    client.write_all(&vec![b'x'; unread]).unwrap();
    server.peek(&mut [0]).unwrap();
    (server, client, port)
}

/// The server of `tests/data/close_early.c`, built with its symbols, and its port.
fn close_early(folder: &Path) -> (Child, u16) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/close_early.c");
    let binary = folder.join("close_early");
    let built = Command::new("cc")
        .args(["-g", "-O2", "-fomit-frame-pointer", "-o"])
        .args([&binary, &source])
        .status();
    assert!(built.unwrap().success());
    let mut child = Command::new(&binary).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, line.trim().parse().unwrap())
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "needs root, cc"]
fn story_5_names_the_process_the_call_and_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let (server, port) = close_early(folder.path());
    let watch = Watch::start(program());
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(&[b'x'; 64 + 22]).unwrap();
    let mut answer = Vec::new();
    let read = client.read_to_end(&mut answer);
    let heard = watch.end();
    let pid = server.id();
    end(server);

    let finding = heard.of_server(port);
    assert_eq!(finding["cause"], "unread-request-body", "{finding:#}");
    assert_ne!(finding["confidence"], "undecided", "{finding:#}");
    let kernel = &finding["kernel"];
    assert_eq!(
        (&kernel["unread"], &kernel["received"]),
        (&22.into(), &86.into()),
        "{kernel:#}"
    );
    assert_eq!(kernel["path"], "close-unread");
    let process = &kernel["process"];
    assert_eq!(
        (&process["name"], &process["pid"]),
        (&"close_early".into(), &pid.into())
    );
    assert!(process["call"].as_str().unwrap().starts_with("close("), "{process:#}");
    let place = |function: &str| {
        let frames = process["stack"].as_array().unwrap();
        let frame = frames.iter().find(|frame| frame["function"] == function);
        let frame = frame.unwrap_or_else(|| panic!("no {function} in {process:#}"));
        let file = frame["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (file, frame["line"].as_u64().unwrap())
    };
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/close_early.c")).unwrap();
    let line_of = |text: &str| source.lines().position(|line| line.trim() == text).unwrap() as u64 + 1;
    assert_eq!(
        place("finish_response"),
        ("close_early.c".to_owned(), line_of("close(connection);"))
    );
    assert_eq!(
        place("handle_request"),
        ("close_early.c".to_owned(), line_of("finish_response(connection);"))
    );
    assert_eq!(
        place("main"),
        ("close_early.c".to_owned(), line_of("handle_request(connection);"))
    );
    // The client is this test, whatever became of its read.
    assert_eq!(
        kernel["peer"]["process"]["pid"],
        std::process::id(),
        "{read:?} {kernel:#}"
    );
    assert_eq!(heard.status.code(), Some(1));
}

#[test]
#[ignore = "needs root"]
fn healthy_connections_are_not_told_of() {
    let watch = Watch::start(program());
    let mut ports = Vec::new();
    for round in 0..20 {
        let (mut server, mut client, port) = pair(10);
        server.read_exact(&mut [0; 10]).unwrap();
        server.write_all(b"an answer").unwrap();
        client.read_exact(&mut [0; 9]).unwrap();
        if round % 2 == 0 {
            drop(server);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        } else {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(server.read(&mut [0]).unwrap(), 0);
        }
        ports.push(port);
    }
    // One that is not: the watch hears.
    let (server, client, broken) = pair(10);
    drop(server);
    std::thread::sleep(Duration::from_millis(50));
    drop(client);
    let heard = watch.end();
    assert_eq!(heard.of_server(broken)["cause"], "unread-request-body");
    for record in &heard.records {
        let server = record["server"].as_str().unwrap_or_default();
        assert!(
            ports.iter().all(|port| !server.ends_with(&format!(":{port}"))),
            "{record:#}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn filters_choose_and_the_summary_counts_the_rest() {
    let mut command = program();
    let (server, client, wanted) = pair(5);
    command.args(["watch", "--format", "json", "--port", &wanted.to_string()]);
    let watch = Watch::listening(command);
    let (other_server, other_client, other) = pair(5);
    drop((server, other_server));
    std::thread::sleep(Duration::from_millis(50));
    drop((client, other_client));
    let heard = watch.end();
    assert_eq!(heard.of_server(wanted)["cause"], "unread-request-body");
    assert!(heard.records.iter().all(|record| {
        record["server"]
            .as_str()
            .is_none_or(|server| !server.ends_with(&format!(":{other}")))
    }));
    assert_eq!(heard.summary()["source"], "bpf");
    // What is of other ports the kernel part only counted.
    assert!(heard.summary()["resets_sent"].as_u64().unwrap() >= 2);
    let notes = heard.summary()["notes"].to_string();
    assert!(notes.contains("on other ports were only counted"), "{notes}");

    // What is of other causes was looked at.
    let mut command = program();
    command.args(["watch", "--format", "json", "--cause", "so-linger-zero"]);
    let watch = Watch::listening(command);
    let (server, client, _) = pair(5);
    drop(server);
    std::thread::sleep(Duration::from_millis(50));
    drop(client);
    assert!(watch.end().summary()["not_asked_for"].as_u64().unwrap() >= 1);
}

#[test]
#[ignore = "needs root"]
fn privileges_are_given_up_once_it_listens() {
    let watch = Watch::start(program());
    let status = fs::read_to_string(format!("/proc/{}/status", watch.child.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().to_owned()
    };
    // CAP_DAC_READ_SEARCH is 2, CAP_SYS_PTRACE is 19.
    assert_eq!(
        u64::from_str_radix(&field("CapEff:"), 16).unwrap() & !(1 << 2 | 1 << 19),
        0
    );
    assert!(
        field("Uid:")
            .split_whitespace()
            .all(|uid| uid == ORDINARY_USER.to_string())
    );
    assert_eq!(field("NoNewPrivs:"), "1");
    watch.end();
}

/// Without privileges: what was not read and not sent is told, and what is not known is said.
#[test]
#[ignore = "needs root"]
fn nobody_hears_of_unread_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(for_everybody(folder.path()));
    // The standard library drops root's supplementary groups with this.
    command.uid(ORDINARY_USER).gid(ORDINARY_USER);
    let watch = Watch::start(command);
    // The listener stays, so that the server's end is known for one.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::sleep(Duration::from_millis(1100));
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let server = listener.accept().unwrap().0;
    client.write_all(&[b'x'; 22]).unwrap();
    server.peek(&mut [0]).unwrap();
    drop(server);
    let heard = watch.end();
    drop(client);
    let finding = heard.of_server(port);
    assert_eq!(finding["cause"], "unread-request-body", "{finding:#}");
    assert_eq!(finding["kernel"]["unread"], 22);
    assert_eq!(finding["kernel"]["process"], Value::Null);
    assert_ne!(
        finding["confidence"], "certain",
        "this source does not see the reset itself"
    );
    let summary = heard.summary();
    assert_eq!(summary["source"], "sock-diag");
    assert!(
        summary["unknown"]
            .as_array()
            .unwrap()
            .iter()
            .any(|unknown| { unknown.as_str().is_some_and(|unknown| unknown.contains("no process")) })
    );
    let said = format!("{}{}", heard.first, heard.errors);
    assert!(said.contains("cap_bpf"), "it says what would be better: {said}");
}

/// Many resets at once: each is told or counted as lost.
#[test]
#[ignore = "needs root"]
fn in_a_storm_each_reset_is_told_or_counted() {
    const RESETS: usize = 3000;
    let watch = Watch::start(program());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for _ in 0..RESETS {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let server = listener.accept().unwrap().0;
        client.write_all(b"unread").unwrap();
        server.peek(&mut [0]).unwrap();
        drop(server);
    }
    // The listener stays, so that the server's end is known for one in the last of them, too.
    let heard = watch.end();
    drop(listener);
    let end = format!(":{port}");
    let told = heard
        .records
        .iter()
        .filter(|record| record["server"].as_str().is_some_and(|server| server.ends_with(&end)))
        .count();
    let lost: u64 = heard.summary()["lost"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(what, _)| what.starts_with("events"))
        .map(|(_, count)| count.as_u64().unwrap())
        .sum();
    assert!(
        told + usize::try_from(lost).unwrap() >= RESETS,
        "{told} told, {lost} lost, of {RESETS}"
    );
}

#[test]
#[ignore = "needs root"]
fn the_last_packets_are_written_without_payload() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dead.pcapng");
    let mut command = program();
    command.args(["watch", "--format", "json", "--write"]).arg(&file);
    let watch = Watch::listening(command);
    let (server, mut client, _) = pair(10);
    client.write_all(b"hunter2hunter2").unwrap();
    drop(server);
    std::thread::sleep(Duration::from_millis(50));
    drop(client);
    watch.end();
    let bytes = fs::read(&file).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"unread-request-body"), "the finding is a comment");
    assert!(!holds(b"hunter2"), "payload was not asked for");
    let explained = program().arg("explain").arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&explained.stdout);
    assert!(text.contains("unread-request-body"), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let say = |arguments: &[&str]| {
        let output = program().arg("watch").args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (status, text) = say(&["--for", "soon"]);
    assert!(status == Some(2) && text.contains("60s"), "{text}");
    let (status, text) = say(&["--cause", "gremlins"]);
    assert!(status == Some(2) && text.contains("bypeer causes"), "{text}");
    let (status, text) = say(&["--source", "sock-diag", "--pid", "1"]);
    assert!(status == Some(2) && text.contains("kernel part"), "{text}");
    let (status, text) = say(&["--source", "sock-diag", "--metrics", "192.0.2.1:9753", "--for", "1s"]);
    assert!(status == Some(2) && text.contains("loopback"), "{text}");
}

/// The screen of docs/watch.md: the same words for `respond.c`, and the same lines.
#[test]
#[ignore = "needs root, cc"]
fn the_guides_c_server_is_told_of_as_it_stands_there() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("respond");
    let built = Command::new("cc")
        .args(["-g", "-O1", "-o"])
        .args([&binary, &manifest.join("tests/data/respond.c")])
        .status();
    assert!(built.unwrap().success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new(&binary).arg(port.to_string()).spawn().unwrap();
    let mut command = program();
    command.args(["watch", "--for", "2s", "--color", "never", "--port", &port.to_string()]);
    let mut watch = Watch::listening(command);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client
        .write_all(b"POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Length: 22\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(20));
    client.write_all(b"name=value&other=value").unwrap();
    let _ = client.read_to_end(&mut Vec::new());
    let mut text = String::new();
    watch.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    watch.child.wait().unwrap();
    end(server);
    let guide = fs::read_to_string(manifest.join("../../docs/watch.md")).unwrap();
    for shown in [
        "the server answered and closed with 22 bytes unread, after it had read 60; respond[",
        "  where      close(4) < respond respond.c:32 < main respond.c:48",
    ] {
        assert!(guide.contains(shown), "the guide shows no {shown}");
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
}
