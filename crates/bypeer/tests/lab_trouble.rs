//! What can go wrong before and while a scenario runs is answered with what, where, and what to do.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

/// Runs `bypeer lab …`; it must end with status 2. Returns what it said.
fn trouble(arguments: &[&str]) -> String {
    refused(Command::new(env!("CARGO_BIN_EXE_bypeer")).arg("lab").args(arguments))
}

fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("bypeer: "), "{said}");
    said
}

fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn unknown_names_are_answered_with_those_that_exist() {
    assert_says(
        &trouble(&["run", "nosuch"]),
        &["nosuch: no scenario", "`bypeer lab list`"],
    );
    assert_says(&trouble(&["run", "so-linger"]), &["there is so-linger-zero"]);
    assert_says(
        &trouble(&["run", "client-cancel", "--fixes", "nosuch"]),
        &["--fixes nosuch: client-cancel has no such change", "wait-longer"],
    );
    assert_says(
        &trouble(&["run", "client-cancel", "--real", "nosuch"]),
        &["--real nosuch: client-cancel has no such software", "curl"],
    );
    assert_says(
        &trouble(&["run", "client-cancel", "--set", "nosuch=1"]),
        &["--set nosuch=1", "patience", "work"],
    );
    assert_says(
        &trouble(&["run", "client-cancel", "--set", "work"]),
        &["write NAME=VALUE"],
    );
    assert_says(
        &trouble(&["run", "client-cancel", "--set", "work=soon"]),
        &["the script of server, line 4", "soon"],
    );
    assert_says(
        &trouble(&["show", "client-cancel", "--at", "nosuch"]),
        &["--at nosuch", "it has client, server"],
    );
}

#[test]
fn a_scenario_file_is_told_where_it_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let said_of = |text: &str| {
        let path = folder.path().join("mine.toml");
        fs::write(&path, text).unwrap();
        let said = trouble(&["run", path.to_str().unwrap()]);
        assert_says(&said, &[&format!("{}: ", path.display())]);
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    let about = "title = \"x\"\nabout = \"x\"\n";
    assert_says(&said_of("title = \"x\"\nabout = \n"), &["mine.toml: line 2: "]);
    assert_says(
        &said_of("title = \"x\"\nabuot = \"x\"\n"),
        &["line 2: unknown field `abuot`", "`about`"],
    );
    assert_says(
        &said_of(&format!("{about}[server]\n[truth]\n")),
        &["there is no client; add [client]"],
    );
    assert_says(
        &said_of(&format!(
            "{about}[server]\n[truth]\n[client]\nscript = \"\"\"\nconnect\nreed head\n\"\"\"\n"
        )),
        &["the script of client, line 2", "did you mean `read`?", "\"reed head\""],
    );
    assert_says(
        &said_of(&format!(
            "{about}[server]\n[truth]\n[client]\n[wire]\nscript = \"dealy 2ms\"\n"
        )),
        &["the script of wire, line 1", "there is no rule \"dealy\"", "delay"],
    );
    assert_says(
        &said_of(&format!("{about}cause = \"closed-prt\"\n[server]\n[truth]\n[client]\n")),
        &["there is no cause \"closed-prt\"", "`bypeer causes`"],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_says(
        &trouble(&["run", path]),
        &[path, "is a folder; name a scenario file in it"],
    );
    let missing = format!("{path}/missing.toml");
    assert_says(&trouble(&["run", &missing]), &[&missing, "No such file"]);
}

#[test]
#[ignore = "needs namespaces"]
fn a_users_server_that_does_not_start_is_quoted() {
    let run = |server: &str| trouble(&["run", "client-cancel", "--rounds", "2", "--server", server]);
    let said = run("no-such-program {addr}");
    assert_says(
        &said,
        &[
            "server: it ended with exit 127 before it listened",
            "no-such-program 198.1",
            "no-such-program: ",
        ],
    );
    assert!(said.lines().count() > 2, "its output is on lines of its own: {said}");
    assert_says(
        &run("sh -c 'echo no config >&2; exit 3'"),
        &["it ended with exit 3", "no config"],
    );
    assert_says(&run("true"), &["it ended with exit 0", "It printed nothing."]);
    // What programs print is not obeyed by the terminal.
    assert!(!run("sh -c 'printf \"\\033[2Jgone\"; exit 3'").contains('\u{1b}'));
}

#[test]
#[ignore = "needs namespaces"]
fn a_users_client_that_does_not_start_is_quoted() {
    for verb in [&["run", "client-cancel"][..], &["show", "client-cancel"]] {
        let mut arguments = verb.to_vec();
        arguments.extend(["--client", "no-such-program {addr}"]);
        let said = trouble(&arguments);
        assert_says(
            &said,
            &[
                "client: its program could not be started",
                "no-such-program 198.1",
                "no-such-program: ",
            ],
        );
    }
}

#[test]
#[ignore = "long: waits 20 s for a server that does not listen (needs namespaces)"]
fn a_users_server_that_never_listens_is_not_waited_for_for_ever() {
    let said = trouble(&[
        "run",
        "client-cancel",
        "--rounds",
        "2",
        "--server",
        "echo starting; exec sleep 100",
    ]);
    assert_says(
        &said,
        &[
            "nothing listens on port",
            "after 20 s",
            "must listen on {addr}",
            "starting",
        ],
    );
}

#[test]
#[ignore = "needs root, setpriv"]
fn missing_capabilities_are_named() {
    let without = |capability: &str| {
        refused(Command::new("setpriv").args(["--bounding-set", capability]).args([
            env!("CARGO_BIN_EXE_bypeer"),
            "lab",
            "run",
            "closed-port",
        ]))
    };
    assert_says(
        &without("-net_raw"),
        &[
            "packet socket",
            "Operation not permitted",
            "CAP_NET_RAW",
            "`bypeer explain` and `bypeer lab list` work without",
        ],
    );
    assert_says(&without("-net_admin"), &["the link of client", "CAP_NET_ADMIN"]);
}

#[test]
#[ignore = "needs root, setpriv, unshare"]
fn no_user_namespaces_are_answered_with_the_settings_that_matter() {
    // The limit is that of a user namespace of the test's own.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --inh-caps -all \"$0\" lab run closed-port";
    let said = refused(Command::new("unshare").args(["-Ur", "sh", "-c", script, env!("CARGO_BIN_EXE_bypeer")]));
    assert_says(
        &said,
        &[
            "user namespace",
            "as many as user.max_user_namespaces allows",
            "run it as root",
            "`bypeer explain`",
        ],
    );
}

#[test]
#[ignore = "needs root, setpriv, userns"]
fn an_ordinary_user_is_told_once_what_could_not_be_looked_at() {
    use std::os::unix::fs::PermissionsExt;
    // Where anybody may read it.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("bypeer");
    fs::copy(env!("CARGO_BIN_EXE_bypeer"), &program).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .args(["lab", "run", "closed-port", "client-cancel", "--rounds", "3"])
        .current_dir("/")
        .env("TMPDIR", "/tmp")
        .output()
        .unwrap();
    let (printed, said) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(0), "{printed}{said}");
    assert_says(&printed, &["2 of 2 came true in every round"]);
    assert_eq!(said.matches("reset events").count(), 1, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
