//! How it ends, by signals, and what it says to the last.

use super::*;

#[test]
fn a_request_that_runs_is_finished_and_a_second_signal_cuts_it() {
    let slow = || {
        Backend::with(|stream| {
            thread::sleep(Duration::from_millis(700));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        })
    };
    let backend = slow();
    let mut guard = Running::start(&["--listen", "127.0.0.1:0", "--to", &backend.url()]);
    let address = guard.address();
    let asking = thread::spawn(move || get(address, "/"));
    wait_for_request(&backend);
    guard.signal(Signal::SIGTERM);
    let answer = asking.join().unwrap();
    assert!(
        answer.ends_with("hello") && answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
    assert_eq!(guard.end().0.code(), Some(0));

    let backend = Backend::with(|_| thread::sleep(PATIENCE * 2));
    let mut guard = Running::start(&["--listen", "127.0.0.1:0", "--to", &backend.url()]);
    let address = guard.address();
    let _asking = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let _ = stream.read(&mut [0; 100]);
    });
    wait_for_request(&backend);
    guard.signal(Signal::SIGTERM);
    guard.says("no new clients are accepted");
    guard.signal_until_it_ends(Signal::SIGTERM);
    assert_eq!(guard.end().0.code(), Some(143));
}

#[test]
fn what_is_ended_at_once_has_its_lines_in_the_log() {
    let folder = Folder::new();
    let log = folder.path("access.log");
    let backend = Backend::with(|_| thread::sleep(PATIENCE * 2));
    let mut guard = Running::logging(&backend, &log);
    let address = guard.address();
    let _asking: Vec<_> = ["/one", "/two"]
        .map(|path| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            stream
        })
        .into();
    wait_until(
        || backend.requests.load(SeqCst) == 2,
        "the requests did not reach the server",
    );
    guard.signal(Signal::SIGTERM);
    guard.says("no new clients are accepted");
    guard.signal_until_it_ends(Signal::SIGTERM);
    let (status, _, said) = guard.end();
    assert_eq!(status.code(), Some(143), "{said}");
    let lines = fs::read_to_string(&log).unwrap();
    assert!(
        lines.lines().count() == 2 && lines.contains("\"/one\"") && lines.contains("\"/two\""),
        "{lines}"
    );
}

#[test]
fn who_hands_over_is_not_cut_short_by_the_first_signal_to_end() {
    let answer = Arc::new(Barrier::new(2));
    let backend = {
        let answer = Arc::clone(&answer);
        Backend::with(move |stream| {
            answer.wait();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        })
    };
    let mut guard = Running::start(&["--listen", "127.0.0.1:0", "--to", &backend.url()]);
    let address = guard.address();
    let asking = thread::spawn(move || get(address, "/"));
    wait_for_request(&backend);
    guard.signal(Signal::SIGUSR2);
    let line = guard.says("answers from now on");
    guard.other = line.split_whitespace().find_map(|word| word.parse().ok());
    guard.signal(Signal::SIGTERM);
    guard.says("another SIGTERM or SIGINT ends it at once");
    answer.wait();
    assert!(asking.join().unwrap().ends_with("hello"));
    assert_eq!(guard.end().0.code(), Some(0));
}

/// A guard whose program is another when it is started again: a script.
struct Replaced {
    folder: Folder,
    guard: Running,
}

impl Replaced {
    fn start(backend: &Backend, script: &str) -> Replaced {
        // In the file system of the program, for a link to it.
        let folder = Folder(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        let program = folder.path("guard");
        fs::hard_link(BYPEER, &program).unwrap();
        let file = folder.write(
            "guard.toml",
            &format!("listen = \"127.0.0.1:0\"\nto = \"{}\"\n", backend.url()),
        );
        let mut command = Command::new(&program);
        command.args(["guard", "--config", &file]).current_dir(folder.0.path());
        let mut guard = Running::spawn(command);
        guard.address();
        let script = folder.write("script", &format!("#!/bin/sh\ntouch begun\n{script}\n"));
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&script, &program).unwrap();
        guard.signal(Signal::SIGUSR2);
        wait_until(|| folder.path("begun").exists(), "the new program was not started");
        Replaced { folder, guard }
    }
}

#[test]
fn a_signal_to_end_is_heeded_while_a_new_process_is_waited_for() {
    let backend = Backend::start();
    let mut replaced = Replaced::start(&backend, "exec sleep 600");
    let began = Instant::now();
    replaced.guard.signal(Signal::SIGTERM);
    let (status, _, said) = replaced.guard.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("told to end before the new process was ready"), "{said}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it waited for the new process"
    );
}

#[test]
fn what_is_told_while_a_new_process_is_waited_for_is_done_after() {
    let backend = Backend::start();
    let mut replaced = Replaced::start(&backend, "until test -e end; do sleep 0.05; done");
    replaced.guard.signal(Signal::SIGHUP);
    replaced.folder.write("end", "");
    replaced
        .guard
        .says("the new process ended before it was ready; this process goes on");
    replaced.guard.says("the new configuration is in use");
    replaced.guard.signal(Signal::SIGTERM);
    assert_eq!(replaced.guard.end().0.code(), Some(0));
}

#[test]
fn a_reader_of_the_log_that_hangs_does_not_keep_it_from_ending() {
    let backend = Backend::start();
    let mut guard = Running::start(&["--listen", "127.0.0.1:0", "--to", &backend.url()]);
    let address = guard.address();
    // Its standard output is a pipe that nobody reads: what that holds is filled.
    let path = format!("/{}", "x".repeat(190));
    let lines = 400;
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || (0..lines / 4).for_each(|_| assert!(get(address, &path).ends_with("hello"))))
        })
        .collect();
    asking.into_iter().for_each(|asking| asking.join().unwrap());
    guard.signal(Signal::SIGTERM);
    let line = guard.says("lines of the access log are lost");
    let lost: usize = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!(lost > 0 && lost < lines, "{line}");
    assert_eq!(guard.end().0.code(), Some(0));
}

#[test]
fn what_was_answered_right_before_the_end_is_in_the_log() {
    let backend = Backend::start();
    let folder = Folder::new();
    let log = folder.path("access.log");
    // Of others' sockets nothing is waited for at the end.
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    let mut command = with_passed(passed, &address.to_string(), &backend.url());
    command.arg("--log").arg(&log);
    let mut guard = Running::spawn(command);
    guard.address();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    // The body is waited for from here on.
    assert!(head(&mut stream).unwrap().starts_with("HTTP/1.1 100 "));
    stream.write_all(b"abc").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(stream);
    guard.signal(Signal::SIGTERM);
    assert_eq!(guard.end().0.code(), Some(0));
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 1);
}
