//! TLS and unix sockets: what a probe needs of them, and what it says when it cannot have it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bypeer_probe::checks::{AFTER_ONE, ENDS_BY, KEPT};
use bypeer_probe::habit::Value;
use bypeer_probe::prober::Options;
use bypeer_probe::progress::Progress;
use bypeer_probe::stop::Stop;
use bypeer_probe::target::{Instead, Target};
use bypeer_probe::tls::Trust;
use bypeer_probe::{Card, ProbeError, run};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const IDLE: Duration = Duration::from_millis(400);

/// Answers requests without bodies until nothing comes for [`IDLE`].
fn serve(stream: &mut (impl Read + Write)) {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        head.extend_from_slice(&chunk[..read]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                return;
            }
        }
    }
}

/// A TLS server whose certificate names `localhost`, and the PEM file of it.
fn tls_server() -> (SocketAddr, PathBuf, tempfile::TempDir) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("ca.pem");
    std::fs::write(&pem, cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let config = config.clone();
            thread::spawn(move || {
                connection.set_read_timeout(Some(IDLE)).unwrap();
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), connection);
                serve(&mut stream);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            });
        }
    });
    (address, pem, folder)
}

fn probe(url: &str, instead: &Instead, options: Options) -> Result<Card, ProbeError> {
    let options = Options {
        only: vec!["idle-timeout".to_owned()],
        connections: 2,
        longest_wait: Duration::from_secs(5),
        ..options
    };
    let target = Target::find(url, instead).unwrap();
    run(&target, &options, &Stop::default(), &Progress::default())
}

fn is_kept_for_the_limit(card: &Card) {
    assert_eq!(card.value(&KEPT), Some(&Value::Word("kept")));
    assert_eq!(card.value(&ENDS_BY), Some(&Value::Word("fin")));
    let median = card
        .value(&AFTER_ONE)
        .and_then(Value::spread)
        .map(|spread| spread.median())
        .unwrap();
    // On a busy machine the answer is seen late, and the wait looks shorter.
    assert!(median >= IDLE / 2 && median < IDLE * 3, "{median:?}");
}

#[test]
fn a_server_is_probed_over_tls_with_its_own_authority() {
    let (address, pem, _folder) = tls_server();
    let options = Options {
        trust: Trust::File(pem),
        ..Options::default()
    };
    let url = format!("https://localhost:{}/", address.port());
    let card = probe(&url, &Instead::Host(address.to_string()), options).unwrap();
    is_kept_for_the_limit(&card);
    assert!(
        card.logs.iter().all(|log| log.secured.is_some()),
        "every connection spoke TLS"
    );
}

#[test]
fn a_certificate_that_does_not_fit_is_said_with_what_to_do() {
    let (address, pem, _folder) = tls_server();
    let url = format!("https://{address}/");
    let refused = |options: Options| match probe(&url, &Instead::Name, options) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it must not be trusted"),
    };
    // The right authority, for another name.
    let wrong_name = refused(Options {
        trust: Trust::File(pem.clone()),
        ..Options::default()
    });
    assert!(wrong_name.contains("--server-name"), "{wrong_name}");
    let named = Options {
        trust: Trust::File(pem.clone()),
        server_name: Some("localhost".to_owned()),
        ..Options::default()
    };
    is_kept_for_the_limit(&probe(&url, &Instead::Name, named).unwrap());
    // Another's authority.
    let (_, other, _other_folder) = tls_server();
    let unknown = refused(Options {
        trust: Trust::File(other),
        ..Options::default()
    });
    assert!(
        unknown.contains("--cacert") && unknown.contains("--insecure"),
        "{unknown}"
    );
    let anybody = Options {
        trust: Trust::Anybody,
        ..Options::default()
    };
    is_kept_for_the_limit(&probe(&url, &Instead::Name, anybody).unwrap());
    // No file, and a file that holds none.
    let missing = refused(Options {
        trust: Trust::File("/no/such/file".into()),
        ..Options::default()
    });
    assert!(missing.contains("/no/such/file"), "{missing}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = refused(Options {
        trust: Trust::File(empty.path().to_owned()),
        ..Options::default()
    });
    assert!(empty.contains("PEM"), "{empty}");
}

#[test]
fn the_wrong_scheme_is_said_both_ways() {
    let (address, _, _folder) = tls_server();
    let plain = probe(&format!("http://{address}/"), &Instead::Name, Options::default());
    let plain = plain.unwrap_err().to_string();
    assert!(plain.contains("https://"), "{plain}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.read(&mut [0; 1024]);
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let options = Options {
        trust: Trust::Anybody,
        ..Options::default()
    };
    let tls = probe(&format!("https://{address}/"), &Instead::Name, options);
    let tls = tls.unwrap_err().to_string();
    assert!(tls.contains("http://"), "{tls}");
}

#[test]
fn a_server_is_probed_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            thread::spawn(move || {
                connection.set_read_timeout(Some(IDLE)).unwrap();
                serve(&mut connection);
            });
        }
    });
    let card = probe("http://app/", &Instead::Unix(path), Options::default()).unwrap();
    is_kept_for_the_limit(&card);
    assert!(card.logs.iter().all(|log| log.remote.is_none()));
    let none = probe(
        "http://app/",
        &Instead::Unix("/no/such/socket".into()),
        Options::default(),
    );
    assert!(none.unwrap_err().to_string().contains("/no/such/socket"));
}
