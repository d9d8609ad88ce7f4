use std::path::{Path, PathBuf};
use std::time::Duration;

use super::certificates::{Holds, inspect, inspect_authority};
use super::keys::{KEYS, Key};
use super::read::{Origin, Told, read, read_text};
use super::settings::LogTo;
use super::*;

const PATH: &str = "/etc/guard.toml";

fn told(text: &str, flags: &[(&str, &str)]) -> Result<Told, Vec<String>> {
    let flags: Vec<(&'static Key, String)> = flags
        .iter()
        .map(|(flag, value)| (KEYS.iter().find(|key| key.flag == *flag).unwrap(), (*value).to_owned()))
        .collect();
    read_text(Path::new(PATH), text, &flags).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

const LEAST: &str = "listen = \"127.0.0.1:8080\"\nto = \"http://127.0.0.1:8000\"\n";

/// What is wrong with the least file and these lines more.
fn wrong(lines: &str) -> Vec<String> {
    told(&format!("{LEAST}{lines}"), &[]).unwrap_err()
}

#[test]
fn a_file_says_everything() {
    let text = r#"
        to = ["http://127.0.0.1:8000", "unix:/run/app.sock"]
        workers = 2
        user = 1000
        log = "access.log"
        metrics = "127.0.0.1:9753"
        proxy_status = "all"

        [[listen]]
        address = "127.0.0.1:8080"

        [[listen]]
        address = ":8443"
        certificate = "tls/chain.pem"
        key = "/secret/key.pem"
        backlog = 4096

        [client]
        idle = "2m"
        body = "8MiB"
        requests = 1000

        [upstream]
        version = 1.1
        idle = "4500ms"
        hold = 0

        [close]
        bytes = 0x1000_0000

        [retry]
        enabled = false
    "#;
    let told = told(text, &[]).unwrap();
    let settings = &told.settings;
    let config = &settings.config;
    assert_eq!(config.listen.len(), 2);
    assert_eq!((config.listen[0].tls.as_ref(), config.listen[0].backlog), (None, 1024));
    let files = config.listen[1].tls.as_ref().unwrap();
    assert_eq!(files.certificate, PathBuf::from("/etc/tls/chain.pem"));
    assert_eq!(files.key, PathBuf::from("/secret/key.pem"));
    assert_eq!(config.listen[1].backlog, 4096);
    assert_eq!(config.upstream.to[1].unix, Some(PathBuf::from("/run/app.sock")));
    assert_eq!(config.upstream.idle, Some(Duration::from_millis(4500)));
    assert_eq!((config.upstream.hold, config.workers), (0, 2));
    assert_eq!(
        (config.client.body, config.client.requests),
        (Some(8 << 20), Some(1000))
    );
    assert_eq!((config.close.bytes, config.retry.enabled), (1 << 28, false));
    assert_eq!(settings.user.as_deref(), Some("1000"));
    assert_eq!(settings.say.log, LogTo::File(PathBuf::from("/etc/access.log")));
    assert!(config.proxy_status);
    let expected = Origin::File {
        path: PATH.into(),
        line: 19,
    };
    assert_eq!(told.origin("client.idle"), expected);
    assert_eq!(told.origin("client.margin"), Origin::Default);
}

#[test]
fn flags_go_before_the_file() {
    let flags = [
        ("client-idle", "100s"),
        ("listen", "127.0.0.1:1"),
        ("listen", "127.0.0.1:2"),
        ("backlog", "7"),
        ("log", "off"),
    ];
    let told = told(&format!("{LEAST}log = \"x\"\n[client]\nidle = \"2m\"\n"), &flags).unwrap();
    let config = &told.settings.config;
    assert_eq!(config.client.idle, Duration::from_secs(100));
    let addresses: Vec<u16> = config.listen.iter().map(|listen| listen.address.port()).collect();
    assert_eq!(addresses, [1, 2]);
    assert!(config.listen.iter().all(|listen| listen.backlog == 7));
    assert_eq!(told.settings.say.log, LogTo::Nowhere);
    assert_eq!(told.origin("client.idle"), Origin::Flag("client-idle"));
}

#[test]
fn flags_alone_are_enough() {
    let flag = |name: &str| KEYS.iter().find(|key| key.flag == name).unwrap();
    let flags = [
        (flag("listen"), ":8080".to_owned()),
        (flag("to"), "http://127.0.0.1:8000".to_owned()),
    ];
    let told = read(None, &flags).unwrap();
    assert_eq!(told.settings.config.client, ClientLimits::default());
    assert_eq!(risks(&told), []);
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_to_do() {
    let cases = [
        (
            "[client]\nidel = \"5s\"",
            "guard.toml:4: there is no key \"idel\" in [client]; did you mean \"idle\"?",
        ),
        (
            "[cleint]\nidle = \"5s\"",
            "guard.toml:3: there is no key \"cleint\" outside of a table; did you mean \"client\"?",
        ),
        (
            "teapot = 1",
            "guard.toml:3: there is no key \"teapot\" outside of a table; there are",
        ),
        (
            "hold = \"1MiB\"",
            "guard.toml:3: there is no key \"hold\" outside of a table; there is one in [upstream]",
        ),
        (
            "[client]\nworkers = 2",
            "guard.toml:4: there is no key \"workers\" in [client]; it stands outside of a table",
        ),
        (
            "[client]\nidle = 5",
            "guard.toml:4: idle: 5 has no unit; write \"5s\" if these are seconds",
        ),
        ("[client]\nidle = \"5\"", "guard.toml:4: idle: \"5\" is no duration"),
        (
            "[client]\nidle = \"2h\"",
            "guard.toml:4: idle: 2h is out of range: 1s to 1h",
        ),
        ("[client]\nhead = \"64KB\"", "guard.toml:4: head: \"64KB\" is no size"),
        ("[client]\nhead = -1", "guard.toml:4: head: \"-1\" is no size"),
        (
            "[client]\nconnections = \"10\"",
            "guard.toml:4: connections: \"10\" is text; write the number without quotes: 10",
        ),
        (
            "[retry]\nenabled = \"false\"",
            "guard.toml:4: enabled: \"false\" is text; write false without quotes",
        ),
        (
            "[retry]\nenabled = 0",
            "guard.toml:4: enabled: 0 is neither true nor false",
        ),
        (
            "[retry]\nenabled = \"yes\"",
            "guard.toml:4: enabled: \"yes\" is neither true nor false; write true without quotes",
        ),
        (
            "[[listen]]\naddress = \":2\"",
            "listen is there twice, as listen = and as [[listen]]; write each place as a [[listen]]",
        ),
        (
            "[upstream]\nversion = \"3\"",
            "guard.toml:4: version: \"3\" is not allowed here; write 1.1 or 2",
        ),
        ("client = 5", "guard.toml:3: client is a table; write [client]"),
        (
            "metrics = \"10.0.0.1:9753\"",
            "guard.toml:3: 10.0.0.1:9753 is no loopback address",
        ),
        (
            "proxy_status = \"some\"",
            "guard.toml:3: proxy_status: \"some\" is not allowed here; write own or all",
        ),
        (
            "[upstream]\nauthority = 2026-01-01",
            "guard.toml:4: authority: 2026-01-01 is no file",
        ),
        ("user = [\"a\"]", "guard.toml:3: user: a list is no text"),
        ("workers = ", "guard.toml:3: this is not TOML"),
        (
            "workers = 1\nworkers = 2",
            "guard.toml:4: \"workers\" is there twice; leave one out",
        ),
    ];
    for (lines, expected) in cases {
        let said = wrong(lines);
        assert!(
            said.len() == 1 && said[0].contains(expected),
            "{lines}\n{said:#?}\n{expected}"
        );
        assert!(said[0].starts_with("/etc/"), "{said:?}");
    }
    let said = wrong("[client]\nidel = \"5s\"\nmargin = 3\n[retry]\npercent = 200");
    assert_eq!(said.len(), 3, "all are said at once: {said:#?}");
}

#[test]
fn what_is_not_utf8_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guard.toml");
    std::fs::write(&path, b"# caf\xe9\nlisten = \":1\"\n").unwrap();
    let said = read(Some(&path), &[]).unwrap_err();
    assert!(
        said.len() == 1
            && said[0]
                .to_string()
                .ends_with("guard.toml: byte 6 is not UTF-8; save the file as UTF-8"),
        "{said:?}"
    );
}

#[test]
fn values_that_contradict_each_other_are_said() {
    let cases = [
        (
            "[client]\nidle = \"3s\"",
            "guard.toml:4: client.margin (5s) must be shorter than client.idle (3s)",
        ),
        (
            "[client]\nidle = \"30s\"\nmargin = \"30s\"",
            "guard.toml:5: client.margin (30s) must be shorter",
        ),
        (
            "[close]\nidle = \"1m\"",
            "guard.toml:4: close.idle (60s) must not be longer than close.total (30s)",
        ),
        (
            "[upstream]\ninsecure = true",
            "guard.toml:4: upstream.insecure is about TLS",
        ),
        (
            "metrics = \"127.0.0.1:8080\"",
            "guard.toml:3: 127.0.0.1:8080 is where clients are answered",
        ),
        ("group = \"www\"", "guard.toml:3: a group is given and no user"),
    ];
    for (lines, expected) in cases {
        let said = wrong(lines);
        assert!(said.len() == 1 && said[0].contains(expected), "{lines}\n{said:#?}");
    }
    let whole = [
        ("", "where clients are to be answered is not said; give --listen"),
        (
            "listen = \":9753\"\nto = \"http://a\"\nmetrics = \"127.0.0.1:9753\"",
            "guard.toml:3: 127.0.0.1:9753 is where clients are answered, as listen has port 9753 of every address",
        ),
        (
            "listen = \"0.0.0.0:9753\"\nto = \"http://a\"\nmetrics = \"127.0.0.1:9753\"",
            "guard.toml:3: 127.0.0.1:9753 is where clients are answered, as listen has port 9753 of every address",
        ),
        (
            "listen = [\":1\"]\nto = \"http://localhost:1\"",
            "would ask itself without end",
        ),
        (
            "listen = [\":1\", \":1\"]\nto = \"http://a\"",
            "guard.toml:1: [::]:1 is there twice",
        ),
        (
            "to = \"http://a\"\n[[listen]]\naddress = \":1\"\nkey = \"k\"",
            "guard.toml:2: there is a key and no certificate",
        ),
        (
            "to = \"http://a\"\n[listen]\nbacklog = 5",
            "guard.toml:2: a place to listen has no address",
        ),
        (
            "listen = \":1\"\nto = [\"http://a\", \"https://b\"]\n[upstream]\nversion = 2",
            "guard.toml:2: HTTP/2 is agreed on",
        ),
    ];
    for (text, expected) in whole {
        let said = told(text, &[]).unwrap_err();
        assert!(said.iter().any(|line| line.contains(expected)), "{text}\n{said:#?}");
    }
    for listen in ["[\":9753\", \"10.0.0.1:9753\"]", "\"10.0.0.1:9753\"", "\"127.0.0.1:1\""] {
        let text = format!("listen = {listen}\nto = \"http://a\"\nmetrics = \"127.0.0.1:9753\"");
        assert!(told(&text, &[]).is_ok(), "{text}");
    }
    let said = told(LEAST, &[("client-margin", "95s")]).unwrap_err();
    assert!(
        said[0].starts_with("--client-margin: client.margin (95s) must be"),
        "{said:?}"
    );
}

#[test]
fn what_is_seldom_wise_is_said_and_allowed() {
    let cases = [
        ("[client]\nidle = \"20s\"", "client.idle", "promised 15s"),
        ("[client]\nidle = \"5m\"", "client.idle", "forget"),
        ("[close]\ndrain = \"0s\"", "close.drain", "are cut"),
        ("[close]\ndrain = \"2m\"", "close.drain", "TimeoutStopSec"),
        ("[close]\nbytes = 4096", "close.bytes", "reset"),
        ("[upstream]\nidle = \"90s\"", "upstream.idle", "bypeer probe"),
        ("[upstream]\nkeep = 0", "upstream.keep", "costs a connection"),
        ("[retry]\nenabled = false", "retry.enabled", "502"),
        ("log = \"off\"", "log", "neither"),
    ];
    for (lines, key, expected) in cases {
        let told = told(&format!("{LEAST}{lines}"), &[]).unwrap();
        let said = risks(&told);
        assert!(said.len() == 1 && said[0].what.contains(expected), "{lines}: {said:#?}");
        assert_eq!(said[0].origin, told.origin(key));
    }
}

#[test]
fn no_text_of_a_file_panics() {
    let whole = "listen = [\":1\"]\nto = \"http://a:1\"\n[client]\nidle = \"5s\"\nhead = 0x10\n[[x]]\n";
    for end in (0..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let _ = told(&whole[..end], &[]);
        let _ = told(&whole[end..], &[]);
    }
    for text in [
        "\u{feff}",
        "a.b.c = 1",
        "listen = {}",
        "listen = [[]]",
        "listen = 5",
        "client.idle = \"30s\"",
        "[a]\n[a]",
        "\"\" = 1",
        "é = 1",
    ] {
        let _ = told(text, &[]);
    }
    assert!(
        told(&format!("{LEAST}client.idle = \"30s\""), &[]).is_ok(),
        "dotted keys are TOML, too"
    );
}

struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn new() -> Made {
        Made {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate and its key, valid until the end of that year.
    fn pair(&self, name: &str, until: i32) -> TlsFiles {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(until, 12, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let files = TlsFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

#[test]
fn certificates_are_looked_at() {
    let made = Made::new();
    let good = made.pair("good", 2199);
    let looked = inspect(&good).unwrap();
    assert_eq!(looked.chain, 1);
    assert!(
        matches!(looked.holds, Holds::For(time) if time > Duration::from_secs(86_400)),
        "{looked:?}"
    );
    assert_eq!(inspect_authority(&good.certificate), Ok(1));

    let old = inspect(&made.pair("old", 2020)).unwrap();
    assert!(matches!(old.holds, Holds::Expired(_)) && old.holds.to_string().contains("clients will refuse it"));

    let other = made.pair("other", 2199);
    let crossed = |certificate: &Path, key: &Path| {
        let files = TlsFiles {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        inspect(&files).unwrap_err().to_string()
    };
    assert!(crossed(&good.certificate, &other.key).contains("is not the key of the certificate"));
    assert!(crossed(&good.key, &good.key).contains("holds no certificate in PEM"));
    assert!(crossed(&good.certificate, &good.certificate).contains("holds no private key"));
    assert!(crossed(&made.path("missing"), &good.key).contains("cannot be read: No such file"));
    let cut = made.path("cut.pem");
    let text = std::fs::read_to_string(&good.certificate).unwrap();
    std::fs::write(&cut, &text[..text.len() / 2]).unwrap();
    assert!(crossed(&cut, &good.key).contains("cut.pem: "));
    std::fs::write(&cut, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(crossed(&cut, &good.key).contains("cannot be used"));
    assert!(inspect_authority(&cut).is_err());
}
