//! What it may do as another user.

use super::*;

#[test]
#[ignore = "needs root"]
fn privileges_are_given_up_by_every_thread() {
    let backend = Backend::start();
    let mut guard = Running::start(&[
        "--listen",
        "127.0.0.1:0",
        "--to",
        &backend.url(),
        "--user",
        "nobody",
        "--workers",
        "3",
        "--metrics",
        "127.0.0.1:0",
    ]);
    let address = guard.address();
    guard.says("metrics at");
    assert!(get(address, "/").ends_with("hello"));
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let entry: Vec<&str> = passwd
        .lines()
        .find(|line| line.starts_with("nobody:"))
        .unwrap()
        .split(':')
        .collect();
    let (uid, gid) = (entry[2], entry[3]);
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{}/task", guard.child.id())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':')
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(field("Uid"), [uid; 4], "{status}");
        assert_eq!(field("Gid"), [gid; 4], "{status}");
        assert!(!field("Groups").contains(&"0".to_owned()), "{status}");
        for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(field(set), ["0000000000000000"], "{set}: {status}");
        }
        assert_eq!(field("NoNewPrivs"), ["1"], "{status}");
        threads += 1;
    }
    assert!(threads >= 5, "main, three workers, log, metrics: {threads}");
    guard.signal(Signal::SIGTERM);
    assert_eq!(guard.end().0.code(), Some(0));
}

#[test]
#[ignore = "needs root"]
fn a_key_that_the_user_may_not_read_is_said() {
    let folder = Folder::new();
    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let key = folder.write("key.pem", "x");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let certificate = folder.write("chain.pem", "x");
    fs::set_permissions(&certificate, fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--to",
        "http://127.0.0.1:1",
        "--certificate",
        &certificate,
        "--key",
        &key,
        "--user",
        "nobody",
    ];
    let output = once(&arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("Permission denied") && said.contains("(as user nobody"),
        "{said}"
    );
    let output = once(&[&arguments[..], &["--check"]].concat());
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(2) && said.contains("chain.pem: cannot be read: Permission denied"),
        "{said}{}",
        text(&output.stdout)
    );
}

#[test]
#[ignore = "needs root"]
fn a_log_that_the_user_cannot_open_again_is_said() {
    let folder = Folder::new();
    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let log = folder.path("log").to_str().unwrap().to_owned();
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--to",
        "http://127.0.0.1:1",
        "--user",
        "nobody",
        "--log",
        &log,
    ];
    let folder_is_closed = format!(
        "careful: {}: user nobody may not make files there, so the log cannot be opened again",
        folder.0.path().display()
    );
    let check = || once(&[&arguments[..], &["--check"]].concat());
    let output = check();
    let said = text(&output.stdout);
    assert!(
        output.status.code() == Some(1) && said.contains(&folder_is_closed),
        "{said}"
    );
    let mut guard = Running::start(&arguments);
    guard.address();
    guard.signal(Signal::SIGTERM);
    let said = guard.end().2;
    assert!(said.contains(&folder_is_closed), "{said}");

    fs::remove_file(&log).unwrap();
    fs::write(&log, "").unwrap();
    let said = text(&check().stdout);
    assert!(
        said.contains("user nobody may not write the log, so a handover (SIGUSR2) will fail"),
        "{said}"
    );

    fs::remove_file(&log).unwrap();
    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let said = text(&check().stdout);
    assert!(!said.contains("user nobody may not"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn a_log_that_root_made_is_written_by_the_user_after_a_handover() {
    let backend = Backend::start();
    let folder = Folder::new();
    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let log = folder.path("log").to_str().unwrap().to_owned();
    let mut guard = Running::start(&[
        "--listen",
        "127.0.0.1:0",
        "--to",
        &backend.url(),
        "--user",
        "nobody",
        "--log",
        &log,
    ]);
    let address = guard.address();
    assert!(get(address, "/").ends_with("hello"));
    guard.signal(Signal::SIGUSR2);
    let line = guard.says("answers from now on");
    let other: i32 = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    guard.other = Some(other);
    assert_eq!(guard.end().0.code(), Some(0));
    assert!(get(address, "/").ends_with("hello"));
    let written = || fs::read_to_string(&log).unwrap().lines().count();
    let began = Instant::now();
    while written() < 2 && began.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(written(), 2);
}
