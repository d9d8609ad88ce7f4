//! TLS, at both ends and on real sockets.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream as Blocking;
use std::sync::{Arc, mpsc};
use std::thread;

use lingering::{Ended, Limits, Lingering, LingeringSet, Outcome};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use support::{ANSWER, ENOUGH, UPLOAD, answer_early};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

struct Keys {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

fn keys() -> Keys {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = signed.cert.der().clone();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Keys {
        server: Arc::new(server),
        client: Arc::new(client),
    }
}

/// A peer that uploads all before it reads anything, gives up when it cannot send, and takes nothing for whole that ends
/// without a close_notify: rustls then gives UnexpectedEof.
fn upload_then_read(config: Arc<rustls::ClientConfig>, socket: Blocking, bytes: usize) -> io::Result<Vec<u8>> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, socket);
    stream.write_all(&vec![b'u'; bytes])?;
    stream.flush()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// A server's stream after the handshake, and what its peer comes to.
async fn uploading(bytes: usize) -> (TlsStream<TcpStream>, thread::JoinHandle<io::Result<Vec<u8>>>) {
    let keys = keys();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = Blocking::connect(listener.local_addr().unwrap()).unwrap();
    let peer = thread::spawn(move || upload_then_read(keys.client, socket, bytes));
    let (socket, _) = listener.accept().await.unwrap();
    (TlsAcceptor::from(keys.server).accept(socket).await.unwrap(), peer)
}

fn told(limits: Limits) -> (LingeringSet, mpsc::Receiver<Outcome>) {
    let (tell, told) = mpsc::channel();
    let set = LingeringSet::with_hook(limits, 10, move |(), outcome| tell.send(outcome).unwrap());
    (set, told)
}

#[tokio::test]
async fn an_early_answer_and_its_good_bye_arrive() {
    let (mut server, peer) = uploading(UPLOAD).await;
    let (set, told) = told(Limits::default());
    server.read_exact(&mut [0]).await.unwrap();
    server.write_all(ANSWER).await.unwrap();
    server.flush().await.unwrap();
    set.add(server, ());
    assert_eq!(set.finish(ENOUGH).await.eof, 1);
    assert_eq!(peer.join().unwrap().unwrap(), ANSWER);
    let outcome = told.try_recv().unwrap();
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Eof, Some(true)));
    assert!(
        outcome.drained > UPLOAD as u64 / 2,
        "what is drained is what lay on the wire: {outcome:?}"
    );
}

#[tokio::test]
async fn what_tls_still_holds_is_sent() {
    let (mut server, peer) = uploading(UPLOAD).await;
    let (set, _told) = told(Limits::default().idle(ENOUGH).total(ENOUGH));
    server.read_exact(&mut [0]).await.unwrap();
    // Until the kernel and rustls hold all they can: the peer reads nothing yet.
    let mut written = 0;
    let piece = vec![b'r'; 64 << 10];
    while let Ok(result) = tokio::time::timeout(std::time::Duration::from_millis(100), server.write(&piece)).await {
        written += result.unwrap();
    }
    set.add(server, ());
    assert_eq!(set.finish(ENOUGH).await.eof, 1);
    assert_eq!(peer.join().unwrap().unwrap().len(), written);
}

#[tokio::test]
async fn the_alert_of_a_handshake_that_fails_arrives() {
    let (set, told) = told(Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Blocking::connect(listener.local_addr().unwrap()).unwrap();
    let peer = thread::spawn(move || {
        // No TLS at all, and more of it than is read.
        peer.write_all(&vec![b'G'; UPLOAD])?;
        peer.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).map(|_| answer)
    });
    let (socket, _) = listener.accept().await.unwrap();
    let acceptor = TlsAcceptor::from(keys().server);
    let accepted = acceptor.accept(Lingering::with_set(socket, set.clone(), ())).await;
    assert!(accepted.is_err());
    assert_eq!(set.finish(ENOUGH).await.eof, 1);
    let answer = peer.join().unwrap().unwrap();
    // RFC 8446 5.1: an alert's record, of two bytes.
    assert_eq!((answer[0], answer.len()), (21, 7), "{answer:?}");
    assert_eq!(told.try_recv().unwrap().delivered(), Some(true));
}

#[tokio::test]
async fn who_breaks_off_says_no_good_bye() {
    let (mut server, peer) = uploading(UPLOAD).await;
    let (set, told) = told(Limits::default());
    server.read_exact(&mut [0]).await.unwrap();
    server.write_all(&ANSWER[..20]).await.unwrap();
    server.flush().await.unwrap();
    set.add_broken_off(server, ());
    assert_eq!(set.finish(ENOUGH).await.eof, 1);
    let error = peer.join().unwrap().expect_err("no close_notify");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(told.try_recv().unwrap().ended, Ended::Eof);
}

#[test]
fn a_blocking_server_says_good_bye_and_gives_the_socket() {
    let keys = keys();
    let (mut socket, peer) = support::pair();
    let client = keys.client.clone();
    let peer = thread::spawn(move || upload_then_read(client, peer, UPLOAD));
    let mut connection = rustls::ServerConnection::new(keys.server).unwrap();
    answer_early(&mut rustls::Stream::new(&mut connection, &mut socket));
    connection.send_close_notify();
    while connection.wants_write() {
        connection.write_tls(&mut socket).unwrap();
    }
    let outcome = lingering::close(socket, &Limits::default());
    assert_eq!((outcome.ended, outcome.delivered()), (Ended::Eof, Some(true)));
    assert_eq!(peer.join().unwrap().unwrap(), ANSWER);
}
