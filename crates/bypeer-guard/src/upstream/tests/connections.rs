//! How connections are come by: addresses, limits, unix sockets, TLS.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::super::{SetupError, Shared, Upstream};
use super::support::*;
use crate::account::{Attempt, SharedAccount};
use crate::config::{self, Destination};
use crate::failure::Failure;
use crate::say::{Ending, How};

/// An address where nobody listens, and, with the socket that holds it, nobody else can begin to.
fn nobody() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn refused_is_told_after_some_patience_and_then_at_once() {
    run(async {
        let (_held, address) = nobody();
        let (mut upstream, retry) = settings(vec![destination(address)]);
        // The limit that is set is the patience; the last pause may not fit into it.
        for seconds in [1, 3] {
            upstream.connect = Duration::from_secs(seconds);
            let client = client_of(&upstream, &retry);
            let began = Instant::now();
            let outcome = client.get().await;
            assert!(matches!(outcome, Err(Failure::Refused)), "{outcome:?}");
            let patience = began.elapsed();
            assert!(patience >= Duration::from_millis(1000 * seconds - 250), "{patience:?}");
            let began = Instant::now();
            assert!(matches!(client.post().await, Err(Failure::Refused)));
            assert!(began.elapsed() < Duration::from_millis(700));
        }
    });
}

#[test]
fn a_server_that_restarts_loses_no_request() {
    run(async {
        let (held, address) = nobody();
        let (upstream, retry) = settings(vec![destination(address)]);
        let client = client_of(&upstream, &retry);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            held.listen(16).unwrap();
            held.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(held.into()).unwrap();
            serve_on(listener, |_, peer| peer.answer_all());
        });
        let (account, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
        assert_eq!(outcome.unwrap().body, b"1");
        // However often it refused, that is told once.
        assert_eq!(tries(&account), [(0, Some("connection_refused")), (1, None)]);
        assert_eq!(Ending::of(&account.borrow()), Ending::Saved(How::Retry));
    });
}

#[test]
fn an_address_that_refuses_is_passed_over_for_the_next() {
    run(async {
        let (_held, address) = nobody();
        let server = serve(|_, peer| peer.answer_all()).await;
        let (mut upstream, retry) = settings(vec![destination(address), destination(server.address)]);
        upstream.keep = 0;
        let client = client_of(&upstream, &retry);
        for _ in 0..4 {
            assert_eq!(client.post().await.unwrap().body, b"1");
        }
        assert_eq!(server.connections.get(), 4);
    });
}

/// The number of each try's connection, and why it failed.
fn tries(account: &SharedAccount) -> Vec<(u64, Option<&'static str>)> {
    let account = account.borrow();
    let told = |attempt: &Attempt| (attempt.connection, attempt.failure.as_ref().map(Failure::proxy_error));
    account.attempts.iter().map(told).collect()
}

#[test]
fn an_address_that_refuses_is_told_once_and_then_put_last() {
    run(async {
        let (_held, address) = nobody();
        let server = serve(|_, peer| peer.answer_all()).await;
        let (mut upstream, retry) = settings(vec![destination(address), destination(server.address)]);
        upstream.keep = 0;
        let client = client_of(&upstream, &retry);
        let mut told = Vec::new();
        for _ in 0..6 {
            let (account, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
            assert_eq!(outcome.unwrap().body, b"1");
            told.push(tries(&account));
        }
        assert_eq!(told[0], [(0, Some("connection_refused")), (1, None)]);
        assert!(told[1..].iter().all(|tries| tries.len() == 1), "{told:?}");
    });
}

#[test]
fn an_address_that_is_silent_leaves_time_for_the_next() {
    run(async {
        let (held, address) = nobody();
        held.listen(0).unwrap();
        let _fills = std::net::TcpStream::connect(address).unwrap();
        let server = serve(|_, peer| peer.answer_all()).await;
        let (mut upstream, retry) = settings(vec![destination(address), destination(server.address)]);
        upstream.connect = Duration::from_secs(2);
        upstream.keep = 0;
        let client = client_of(&upstream, &retry);
        let (account, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
        assert_eq!(outcome.unwrap().body, b"1");
        assert_eq!(tries(&account), [(0, Some("connection_timeout")), (1, None)]);
        for _ in 0..3 {
            let (account, outcome) = client.send(Method::POST, TestBody::whole("x")).await;
            assert_eq!(outcome.unwrap().body, b"1");
            assert_eq!(tries(&account).len(), 1, "it is put last");
        }
    });
}

#[test]
fn when_no_address_is_there_each_is_told() {
    run(async {
        let ((_one, first), (_other, second)) = (nobody(), nobody());
        let (mut upstream, retry) = settings(vec![destination(first), destination(second)]);
        upstream.connect = Duration::from_millis(200);
        let client = client_of(&upstream, &retry);
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        assert!(matches!(outcome, Err(Failure::Refused)), "{outcome:?}");
        let account = account.borrow();
        let to: Vec<&str> = account.attempts.iter().map(|attempt| &*attempt.to).collect();
        assert_eq!(to, [first.to_string(), second.to_string()]);
    });
}

#[test]
fn addresses_are_taken_in_turn() {
    run(async {
        let one = serve(|_, peer| peer.answer_all()).await;
        let other = serve(|_, peer| peer.answer_all()).await;
        let (upstream, retry) = settings(vec![destination(one.address), destination(other.address)]);
        let client = client_of(&upstream, &retry);
        // Each has one connection, and half of the requests.
        let concurrent = || async { tokio::join!(client.get(), client.get()) };
        let _ = concurrent().await;
        let bodies: Vec<Vec<u8>> = [concurrent().await, concurrent().await]
            .into_iter()
            .flat_map(|(a, b)| [a.unwrap().body, b.unwrap().body])
            .collect();
        assert_eq!(bodies, [b"2", b"2", b"3", b"3"]);
        assert_eq!((one.connections.get(), other.connections.get()), (1, 1));
    });
}

#[test]
fn a_name_that_is_none_is_told() {
    run(async {
        let nowhere = Destination {
            host: "nowhere.invalid".to_owned(),
            port: 80,
            tls: false,
            unix: None,
        };
        let (upstream, retry) = settings(vec![nowhere]);
        let outcome = client_of(&upstream, &retry).get().await;
        assert!(matches!(outcome, Err(Failure::NameNotFound(_))), "{outcome:?}");
    });
}

#[test]
fn a_name_of_several_addresses_is_tried_through() {
    run(async {
        let server = serve(|_, peer| peer.answer_all()).await;
        let mut local = destination(server.address);
        local.host = "localhost".to_owned();
        let (upstream, retry) = settings(vec![local]);
        assert_eq!(client_of(&upstream, &retry).get().await.unwrap().body, b"1");
    });
}

#[test]
fn a_server_whose_queue_is_full_has_an_end() {
    run(async {
        // Linux takes one more than the backlog says, and drops what comes then.
        let (held, address) = nobody();
        held.listen(0).unwrap();
        let _filled: Vec<std::net::TcpStream> =
            (0..1).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let (mut upstream, retry) = settings(vec![destination(address)]);
        upstream.connect = Duration::from_millis(300);
        let outcome = client_of(&upstream, &retry).get().await;
        assert!(matches!(outcome, Err(Failure::ConnectTimeout)), "{outcome:?}");
    });
}

#[test]
fn a_server_that_speaks_first_is_none() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.say("220 mail.example.org ESMTP\r\n").await;
            peer.rest().await;
        })
        .await;
        let outcome = client(&server).post().await;
        assert!(
            matches!(outcome, Err(Failure::Unsolicited { .. } | Failure::Malformed(_))),
            "{outcome:?}"
        );
    });
}

#[test]
fn the_limit_makes_requests_wait_and_not_for_ever() {
    run(async {
        let server = serve(|_, mut peer| async move {
            let mut count = 0;
            while !peer.head().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(30)).await;
                count += 1;
                peer.answer(&count.to_string()).await;
            }
        })
        .await;
        let client = client_with(&server, |upstream, _| upstream.most = 1);
        let (a, b, c) = tokio::join!(client.get(), client.get(), client.get());
        assert_eq!([a.unwrap().body, b.unwrap().body, c.unwrap().body], [b"1", b"2", b"3"]);
        assert_eq!(server.connections.get(), 1);
    });
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.rest().await;
        })
        .await;
        let client = client_with(&server, |upstream, _| {
            upstream.most = 1;
            upstream.connect = Duration::from_millis(200);
            upstream.answer = Duration::from_secs(5);
        });
        let (first, second) = tokio::join!(client.post(), client.post());
        assert!(matches!(first, Err(Failure::AnswerTimeout)), "{first:?}");
        let failure = second.unwrap_err();
        assert!(matches!(failure, Failure::ConnectionLimit { limit: 1 }), "{failure:?}");
        assert_eq!(failure.status().as_u16(), 503);
    });
}

#[test]
fn at_the_limit_an_idle_connection_makes_room() {
    run(async {
        // The second request may not go on the first one's connection: nothing is proved yet.
        let server = serve(|_, peer| peer.answer_all()).await;
        let client = client_with(&server, |upstream, _| upstream.most = 1);
        client.post().await.unwrap();
        assert_eq!(client.upstream.idle(), 1);
        client.post().await.unwrap();
        assert_eq!(server.connections.get(), 2);
    });
    run(async {
        // Two workers share the limit.
        let server = serve(|_, peer| peer.answer_all()).await;
        let (mut upstream, retry) = settings(vec![destination(server.address)]);
        upstream.most = 1;
        let one = client_of(&upstream, &retry);
        let other = Client {
            upstream: Rc::new(Upstream::new(&upstream, &retry, one.shared.clone())),
            shared: one.shared.clone(),
            events: one.events.clone(),
        };
        for _ in 0..3 {
            one.get().await.unwrap();
            other.get().await.unwrap();
        }
        assert_eq!(server.connections.get(), 6);
    });
}

#[test]
fn no_more_wait_than_are_kept() {
    run(async {
        let server = serve(|_, peer| peer.answer_all()).await;
        let client = client_with(&server, |upstream, _| upstream.keep = 2);
        let _ = tokio::join!(client.get(), client.get(), client.get(), client.get());
        assert_eq!(server.connections.get(), 4);
        assert_eq!(client.upstream.idle(), 2);
        client.upstream.drain();
        assert_eq!(client.upstream.idle(), 0);
        client.get().await.unwrap();
        assert_eq!(client.upstream.idle(), 0);
        client.until("closed").await;
    });
}

#[test]
fn unix_sockets() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server");
        let unix = Destination {
            host: String::new(),
            port: 0,
            tls: false,
            unix: Some(path.clone()),
        };
        let (mut upstream, mut retry) = settings(vec![unix]);
        retry.enabled = false;
        let absent = client_of(&upstream, &retry).get().await;
        let absent = absent.unwrap_err();
        assert_eq!(absent.to_string(), format!("{}: there is no such file", path.display()));
        assert_eq!(absent.proxy_error(), "destination_unavailable");

        let listener = UnixListener::bind(&path).unwrap();
        tokio::task::spawn_local(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::task::spawn_local(async move {
                    let mut bytes = [0; 4096];
                    while stream.read(&mut bytes).await.unwrap() > 0 {
                        stream
                            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                            .await
                            .unwrap();
                        if number == 1 {
                            return;
                        }
                    }
                });
            }
        });
        upstream.keep = 8;
        let client = client_of(&upstream, &retry);
        for _ in 0..3 {
            assert_eq!(client.get().await.unwrap().body, b"ok");
        }
        assert_eq!(client.events(), ["opened"]);
        client.upstream.drain();
        let client = client_of(&upstream, &retry);
        client.get().await.unwrap();
        client.until("closed idle after 1").await;
    });
}

/// A certificate for `name`, its key, and the file of its authority.
struct Certified {
    server: Arc<rustls::ServerConfig>,
    authority: tempfile::NamedTempFile,
}

fn certify(name: &str) -> Certified {
    certify_as(name, rcgen::IsCa::NoCa)
}

fn certify_as(name: &str, is_ca: rcgen::IsCa) -> Certified {
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = is_ca;
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&signing_key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), certificate.pem()).unwrap();
    Certified {
        server: Arc::new(server),
        authority,
    }
}

/// Speaks TLS, answers each request with 2 bytes; how it ends is told by the request's path.
async fn serve_tls(certified: &Certified) -> Server {
    let acceptor = tokio_rustls::TlsAcceptor::from(certified.server.clone());
    serve(move |_, peer| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(peer.stream).await else {
                return;
            };
            let mut bytes = [0; 4096];
            loop {
                let count = stream.read(&mut bytes).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&bytes[..count]).into_owned();
                if count == 0 {
                    return;
                }
                if request.contains("/until-close") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
                } else {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .await
                        .unwrap();
                }
                if request.contains("/until-close/notified") || request.contains("/close") {
                    stream.shutdown().await.unwrap();
                    return;
                }
                if request.contains("/until-close/cut") {
                    stream.flush().await.unwrap();
                    return;
                }
                if request.contains("/foreign") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                }
            }
        }
    })
    .await
}

fn tls_client(server: &Server, change: impl FnOnce(&mut config::Upstream)) -> Client {
    let mut to = destination(server.address);
    to.tls = true;
    let (mut upstream, retry) = settings(vec![to]);
    change(&mut upstream);
    client_of(&upstream, &retry)
}

fn get_path(path: &str) -> http::Request<TestBody> {
    http::Request::get(path)
        .header("host", "h")
        .body(TestBody::none())
        .unwrap()
}

#[test]
fn tls_is_reused_and_its_closes_are_seen() {
    run(async {
        let certified = certify("127.0.0.1");
        let server = serve_tls(&certified).await;
        let client = tls_client(&server, |upstream| {
            upstream.authority = Some(certified.authority.path().to_owned())
        });
        for _ in 0..3 {
            assert_eq!(client.get().await.unwrap().body, b"ok");
        }
        assert_eq!(server.connections.get(), 1);
        // A large body, both ways of ending.
        let (_, outcome) = client.send(Method::PUT, TestBody::whole("x")).await;
        outcome.unwrap();
        client.send_request(get_path("/close")).await.1.unwrap();
        client.until("closed idle").await;
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        outcome.unwrap();
        assert_eq!(account.borrow().attempts.len(), 1);
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn without_close_notify_the_end_of_tls_is_no_end_of_a_body() {
    run(async {
        let certified = certify("127.0.0.1");
        let server = serve_tls(&certified).await;
        let client = tls_client(&server, |upstream| {
            upstream.authority = Some(certified.authority.path().to_owned())
        });
        let whole = client.send_request(get_path("/until-close/notified")).await.1.unwrap();
        assert_eq!(whole.body, b"hello");
        whole.end.unwrap();
        let cut = client.send_request(get_path("/until-close/cut")).await.1.unwrap();
        assert_eq!(cut.body, b"hello");
        assert!(matches!(cut.end, Err(Failure::Incomplete { have: 5, .. })), "{cut:?}");
    });
}

#[test]
fn foreign_bytes_in_tls_are_seen() {
    run(async {
        let certified = certify("127.0.0.1");
        let server = serve_tls(&certified).await;
        let client = tls_client(&server, |upstream| {
            upstream.authority = Some(certified.authority.path().to_owned())
        });
        client.send_request(get_path("/foreign")).await.1.unwrap();
        client.until("unsolicited").await;
        client.get().await.unwrap();
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn certificates_that_are_not_trusted_are_refused() {
    run(async {
        let certified = certify("127.0.0.1");
        let other = certify("127.0.0.1");
        let elsewhere = certify("elsewhere.example");
        let server = serve_tls(&certified).await;
        // Signed by somebody else.
        let client = tls_client(&server, |upstream| {
            upstream.authority = Some(other.authority.path().to_owned())
        });
        let (account, outcome) = client.send(Method::GET, TestBody::none()).await;
        let failure = outcome.unwrap_err();
        assert!(matches!(failure, Failure::Certificate(_)), "{failure:?}");
        assert_eq!(
            (failure.status().as_u16(), failure.proxy_error()),
            (502, "tls_certificate_error")
        );
        assert_eq!(tries(&account), [(0, None)]);
        // For another name.
        let server = serve_tls(&elsewhere).await;
        let authority = elsewhere.authority.path().to_owned();
        let client = tls_client(&server, |upstream| upstream.authority = Some(authority));
        assert!(matches!(client.get().await, Err(Failure::Certificate(_))));
        // An authority's own.
        let authority = certify_as("127.0.0.1", rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        let server = serve_tls(&authority).await;
        let client = tls_client(&server, |upstream| {
            upstream.authority = Some(authority.authority.path().to_owned())
        });
        let failure = client.get().await.unwrap_err();
        assert!(failure.to_string().contains("CA:FALSE"), "{failure}");
        // Of a server that has no HTTP/2.
        let client = tls_client(&server, |upstream| {
            upstream.insecure = true;
            upstream.version = config::UpstreamVersion::Http2;
        });
        let failure = client.get().await.unwrap_err().to_string();
        assert!(failure.ends_with("set upstream.version = \"1.1\""), "{failure}");
        // Where that does not matter.
        let client = tls_client(&server, |upstream| upstream.insecure = true);
        assert_eq!(client.get().await.unwrap().body, b"ok");
    });
}

#[test]
fn a_handshake_that_is_none_is_told_and_has_an_end() {
    run(async {
        let plain = serve(|number, mut peer| async move {
            match number {
                1 => peer.say("HTTP/1.1 400 Bad Request\r\n\r\n").await,
                2 => {}
                _ => {
                    peer.rest().await;
                }
            }
        })
        .await;
        let client = tls_client(&plain, |upstream| {
            upstream.insecure = true;
            upstream.connect = Duration::from_millis(300);
        });
        let spoken = client.get().await.unwrap_err().to_string();
        assert!(
            spoken.ends_with("does not speak TLS on this port; write http://"),
            "{spoken}"
        );
        assert!(matches!(client.get().await, Err(Failure::Tls(_))));
        let silent = client.get().await;
        assert!(matches!(silent, Err(Failure::HandshakeTimeout)), "{silent:?}");
    });
}

#[test]
fn what_cannot_work_is_said_before_it_begins() {
    let (upstream, retry) = settings(Vec::new());
    assert!(matches!(
        Shared::new(&upstream, &retry, Arc::new(())),
        Err(SetupError::NoDestination)
    ));
    let mut to = destination("127.0.0.1:1".parse().unwrap());
    to.tls = true;
    let (mut upstream, retry) = settings(vec![to]);
    upstream.authority = Some("/nowhere/to/be/found.pem".into());
    assert!(matches!(
        Shared::new(&upstream, &retry, Arc::new(())),
        Err(SetupError::Authority { .. })
    ));
    let empty = tempfile::NamedTempFile::new().unwrap();
    upstream.authority = Some(empty.path().to_owned());
    assert!(matches!(
        Shared::new(&upstream, &retry, Arc::new(())),
        Err(SetupError::Authority { .. })
    ));
    let certified = certify("127.0.0.1");
    upstream.authority = Some(certified.authority.path().to_owned());
    upstream.to[0].host = "no name".to_owned();
    assert!(matches!(
        Shared::new(&upstream, &retry, Arc::new(())),
        Err(SetupError::Name(_))
    ));
    upstream.to[0].host = "name.example".to_owned();
    assert!(Shared::new(&upstream, &retry, Arc::new(())).is_ok());
}

#[test]
fn a_server_that_refused_long_ago_gets_its_time_again() {
    run(async {
        let (held, address) = nobody();
        let (mut upstream, retry) = settings(vec![destination(address)]);
        upstream.connect = Duration::from_millis(400);
        let client = client_of(&upstream, &retry);
        assert!(matches!(client.get().await, Err(Failure::Refused)));
        tokio::time::sleep(Duration::from_millis(600)).await;
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            held.listen(16).unwrap();
            held.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(held.into()).unwrap();
            serve_on(listener, |_, peer| peer.answer_all());
        });
        assert_eq!(client.get().await.unwrap().body, b"1");
    });
}
