//! HTTP/2 and TLS with clients, by hyper's client.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bypeer_guard::config::TlsFiles;
use bypeer_guard::say::Why;
use bypeer_guard::say::metrics::Metrics;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use support::backend::{Backend, Peer, pattern};
use support::client::{Client, End};
use support::{PATIENCE, Running, config};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

/// A connection, and whether it ended well.
async fn http2<S>(stream: S) -> (SendRequest<Full<Bytes>>, tokio::task::JoinHandle<hyper::Result<()>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    (sender, tokio::spawn(connection))
}

async fn plain(address: SocketAddr) -> (SendRequest<Full<Bytes>>, tokio::task::JoinHandle<hyper::Result<()>>) {
    http2(TcpStream::connect(address).await.unwrap()).await
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://test.example{path}"))
        .body(Full::default())
        .unwrap()
}

async fn body(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[test]
fn many_requests_at_once_by_prior_knowledge() {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    run(async {
        let (sender, _connection) = plain(running.address()).await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..100_usize {
            let mut sender = sender.clone();
            tasks.spawn(async move {
                let path = format!("/size/{}", n * 1000);
                let response = sender.send_request(get(&path)).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                assert!(!response.headers().contains_key("connection"));
                assert!(!response.headers().contains_key("keep-alive"));
                assert_eq!(body(response).await, pattern(n * 1000));
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        let mut sender = sender;
        let request = Request::post("http://test.example/echo")
            .body(Full::from(pattern(500_000)))
            .unwrap();
        assert_eq!(
            body(sender.send_request(request).await.unwrap()).await,
            pattern(500_000)
        );
        let request = Request::get("http://test.example/head")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::default())
            .unwrap();
        let head = body(sender.send_request(request).await.unwrap()).await;
        let head = String::from_utf8(head.to_vec()).unwrap().to_ascii_lowercase();
        for field in ["host: test.example\r\n", "cookie: a=1; b=2\r\n", "via: 2.0 bypeer\r\n"] {
            assert!(head.contains(field), "{field} is not in {head}");
        }
    });
    let said = running.recorder.until(|said| said.exchanges.len() == 102);
    assert!(said.exchanges.iter().all(|told| told.failure.is_none()), "{said:#?}");
}

/// A body that counts what was asked of it.
struct Counted {
    left: usize,
    given: Arc<AtomicUsize>,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.given.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10])))))
    }
}

#[test]
fn behind_an_early_answer_the_rest_is_read_and_its_stream_is_not_reset() {
    // Clients are not to discard an answer for a reset that follows it (RFC 9113, section 8.1); curl 7.88 does.
    const PIECES: usize = 400;
    let backend = Backend::new(|mut peer: Peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        }
    });
    let running = Running::new(config(backend.address));
    run(async {
        let stream = TcpStream::connect(running.address()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake::<_, _, Counted>(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let given = Arc::<AtomicUsize>::default();
        let counted = Counted {
            left: PIECES,
            given: given.clone(),
        };
        let request = Request::post("http://a/").body(counted).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(body(response).await, "no");
        while given.load(Ordering::SeqCst) < PIECES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(sender);
        connection.await.unwrap().unwrap();
    });
}

#[test]
fn a_reset_without_an_error_ends_no_upload() {
    // As a proxy sends it whose own client went away.
    let (came, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::new(move |mut peer: Peer| {
        if peer.head().is_some() {
            came.send(peer.line().and_then(|_| peer.exactly(6))).unwrap();
            // Behind what came: nothing, or the last chunk.
            came.send(peer.line().map(String::into_bytes)).unwrap();
        }
    });
    let running = Running::new(config(backend.address));
    run(async {
        let stream = TcpStream::connect(running.address()).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..3 {
            let request = Request::put("http://a/file").body(()).unwrap();
            let (_answer, mut upload) = sender.send_request(request, false).unwrap();
            upload.send_data("half".into(), false).unwrap();
            assert_eq!(arrived.recv().await.unwrap().unwrap(), b"half\r\n");
            upload.send_reset(h2::Reason::NO_ERROR);
            assert_eq!(arrived.recv().await.unwrap(), None, "the server took it for whole");
        }
    });
    let said = running.recorder.until(|said| said.exchanges.len() == 3);
    assert!(said.exchanges.iter().all(|told| told.failure.is_some()), "{said:#?}");
}

/// A server of HTTP/2 that answers every request with `hello`, its length and trailers. It lives as long as the test.
fn with_trailers() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut responder))) = connection.accept().await {
                        let head = Response::builder().header("content-length", 5).body(()).unwrap();
                        let mut stream = responder.send_response(head, false).unwrap();
                        stream.send_data("hello".into(), false).unwrap();
                        let trailers = [("grpc-status", "13")].map(|(name, value)| {
                            let name = http::HeaderName::from_static(name);
                            (name, http::HeaderValue::from_static(value))
                        });
                        stream.send_trailers(trailers.into_iter().collect()).unwrap();
                    }
                });
            }
        });
    });
    address
}

#[test]
fn trailers_behind_a_length_pass_where_there_is_a_place_for_them() {
    let mut config = config(with_trailers());
    config.upstream.version = bypeer_guard::config::UpstreamVersion::Http2;
    let running = Running::new(config);
    run(async {
        let (mut sender, _connection) = plain(running.address()).await;
        let answer = sender.send_request(get("/")).await.unwrap();
        let answer = answer.into_body().collect().await.unwrap();
        assert_eq!(answer.trailers().unwrap()["grpc-status"], "13");
        assert_eq!(answer.to_bytes(), "hello");
    });
    let mut client = Client::new(running.address());
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "hello");
    }
    let said = running.recorder.until(|said| said.exchanges.len() == 3);
    assert!(said.exchanges.iter().all(|told| told.failure.is_none()), "{said:#?}");
}

#[test]
fn a_413_reaches_who_is_still_sending() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.body = Some(1000);
    let running = Running::new(config);
    run(async {
        let (mut sender, _connection) = plain(running.address()).await;
        for _ in 0..20 {
            let request = Request::post("http://a/echo")
                .body(Full::from(vec![0; 4 << 20]))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert!(body(response).await.starts_with(b"413"));
        }
        assert_eq!(sender.send_request(get("/a")).await.unwrap().status(), StatusCode::OK);
    });
}

#[test]
fn a_drain_says_goaway_and_loses_nothing() {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    run(async {
        let (mut sender, connection) = plain(running.address()).await;
        let slow = sender.send_request(get("/slow/300"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        running.guard.drain();
        let response = slow.await.unwrap();
        assert_eq!(body(response).await, "/slow/300");
        connection.await.unwrap().unwrap();
    });
    assert!(running.guard.wait(PATIENCE));
    assert_eq!(running.guard.finish().cut, 0);
}

#[test]
fn an_idle_connection_ends_with_goaway() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.idle = Duration::from_millis(300);
    let running = Running::new(config);
    run(async {
        let (mut sender, connection) = plain(running.address()).await;
        assert_eq!(sender.send_request(get("/a")).await.unwrap().status(), StatusCode::OK);
        connection.await.unwrap().unwrap();
    });
    assert_eq!(
        running.recorder.until(|said| said.closed.len() == 1).closed,
        [Why::Idle]
    );
}

#[test]
fn a_stream_whose_client_does_not_read_is_ended_and_the_others_go_on() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.silence = Duration::from_millis(300);
    let running = Running::new(config);
    run(async {
        let (mut sender, _connection) = plain(running.address()).await;
        let unread = sender.send_request(get("/size/30000000")).await.unwrap();
        // Others use the connection all the time.
        let mut ended = false;
        for _ in 0..200 {
            assert_eq!(body(sender.send_request(get("/a")).await.unwrap()).await, "/a");
            tokio::time::sleep(Duration::from_millis(20)).await;
            ended = running
                .recorder
                .said()
                .exchanges
                .iter()
                .any(|told| told.path == "/size/30000000");
            if ended {
                break;
            }
        }
        assert!(ended);
        assert!(unread.into_body().collect().await.is_err());
        assert_eq!(body(sender.send_request(get("/b")).await.unwrap()).await, "/b");
    });
}

struct Certificate {
    files: TlsFiles,
    roots: rustls::RootCertStore,
    _folder: tempfile::TempDir,
}

fn certificate() -> Certificate {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    std::fs::write(path("chain.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    Certificate {
        files: TlsFiles {
            certificate: path("chain.pem"),
            key: path("key.pem"),
        },
        roots,
        _folder: folder,
    }
}

#[test]
fn when_what_is_presented_expires_is_told() {
    let backend = Backend::plain();
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("chain.pem"),
        key: folder.path().join("key.pem"),
    };
    let renew = |until: i32| {
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(until, 12, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&files.certificate, parameters.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
    };
    renew(2199);
    let mut config = config(backend.address);
    config.listen[0].tls = Some(files.clone());
    let address = config.listen[0].address;
    let running = Running::new(config.clone());
    let expiry = || running.guard.figures().certificates[&address];
    assert_eq!(expiry(), 7_258_032_000);
    renew(2200);
    assert_eq!(expiry(), 7_258_032_000, "it is not presented yet");
    running.guard.reload(config).unwrap();
    assert_eq!(expiry(), 7_289_568_000);
    let page = Metrics::new("0").render(Some((running.guard.figures(), running.guard.upstream())));
    let line = "bypeer_guard_certificate_expiry_timestamp_seconds{listen=\"127.0.0.1:0\"} 7289568000\n";
    assert!(page.contains(line), "{page}");
}

async fn tls(
    address: SocketAddr,
    roots: &rustls::RootCertStore,
    alpn: &[&str],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = TcpStream::connect(address).await.unwrap();
    connector
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap()
}

#[test]
fn tls_with_http2_by_alpn_and_http1_without() {
    let backend = Backend::plain();
    let certificate = certificate();
    let mut config = config(backend.address);
    config.listen[0].tls = Some(certificate.files.clone());
    config.client.requests = Some(2);
    let running = Running::new(config);
    run(async {
        let stream = tls(running.address(), &certificate.roots, &["h2", "http/1.1"]).await;
        let (mut sender, connection) = http2(stream).await;
        let head = body(sender.send_request(get("/head")).await.unwrap()).await;
        let head = String::from_utf8(head.to_vec()).unwrap().to_ascii_lowercase();
        assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
        // The second is the last one.
        assert_eq!(
            body(sender.send_request(get("/size/200000")).await.unwrap()).await,
            pattern(200_000)
        );
        connection.await.unwrap().unwrap();

        for alpn in [&["http/1.1"][..], &[]] {
            let mut stream = tls(running.address(), &certificate.roots, alpn).await;
            stream
                .write_all(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut answer = Vec::new();
            // rustls gives an error here if there is no close_notify.
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(answer.ends_with(b"/a"), "{answer:?}");
        }
    });
    // Who does not speak TLS is told in TLS, and not reset.
    let mut client = Client::new(running.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.rest().1, End::Fin);
    let said = running.recorder.until(|said| said.closed.len() == 4);
    assert!(said.closed.contains(&Why::Tls), "{said:#?}");
}

fn connect() -> Request<Full<Bytes>> {
    Request::connect("inner.example:443").body(Full::default()).unwrap()
}

/// A tunnel to `inner.example:443`.
async fn tunnel(sender: &mut SendRequest<Full<Bytes>>) -> TokioIo<hyper::upgrade::Upgraded> {
    let response = sender.send_request(connect()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    TokioIo::new(hyper::upgrade::on(response).await.unwrap())
}

#[test]
fn connect_is_passed_through_in_a_stream_of_its_own() {
    let backend = Backend::tunnels();
    let running = Running::new(config(backend.address));
    run(async {
        let (mut sender, _connection) = plain(running.address()).await;
        // Two at once: they do not know of each other.
        let mut first = tunnel(&mut sender).await;
        let second = tunnel(&mut sender).await;
        drop(second);
        let (mut reader, mut writer) = tokio::io::split(&mut first);
        let sent = pattern(300_000);
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (read, ()) = tokio::join!(reader.read_to_end(&mut got), write);
        read.unwrap();
        assert!(got.starts_with(&sent) && got.ends_with(b" good-bye"), "{}", got.len());
        assert_eq!(got.len(), 300_009);
    });
    let said = running.recorder.until(|said| said.exchanges.len() == 2);
    let whole = said
        .exchanges
        .iter()
        .find(|told| told.request_bytes == 300_000)
        .unwrap();
    assert_eq!((whole.method.as_str(), whole.status), ("CONNECT", Some(200)));
    assert_eq!(whole.response_bytes, 300_009);
    assert_eq!(whole.failure, None);
}

#[test]
fn a_silent_tunnel_in_a_stream_ends_and_the_connection_goes_on() {
    let backend = Backend::tunnels();
    let mut config = config(backend.address);
    config.client.tunnel = Some(Duration::from_millis(300));
    let running = Running::new(config);
    run(async {
        let (mut sender, _connection) = plain(running.address()).await;
        let mut stream = tunnel(&mut sender).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        let _another = tunnel(&mut sender).await;
    });
    let said = running.recorder.until(|said| !said.exchanges.is_empty());
    assert_eq!(
        said.exchanges[0].failure.as_deref(),
        Some("nothing was carried in the tunnel for too long")
    );
}

#[test]
fn a_tunnel_in_a_stream_is_cut_when_the_time_for_draining_is_over() {
    let backend = Backend::tunnels();
    let mut config = config(backend.address);
    config.close.drain = Duration::from_millis(300);
    let running = Running::new(config);
    run(async {
        let (mut sender, _connection) = plain(running.address()).await;
        let mut stream = tunnel(&mut sender).await;
        running.guard.drain();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    assert!(running.guard.wait(PATIENCE));
    assert_eq!(
        running.recorder.said().exchanges[0].failure.as_deref(),
        Some("the time for draining was over")
    );
    assert_eq!(running.guard.finish().cut, 1);
}

#[test]
fn who_still_waits_when_the_time_for_draining_is_over_is_told_503() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.close.drain = Duration::from_millis(500);
    let running = Running::new(config);
    run(async {
        let (mut sender, connection) = plain(running.address()).await;
        let soon = sender.send_request(get("/slow/200"));
        let waiting: Vec<_> = (0..3).map(|_| sender.send_request(get("/slow/5000"))).collect();
        // They are with the server before anybody is told to leave.
        while running.guard.figures().exchanges < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.guard.drain();
        assert_eq!(body(soon.await.unwrap()).await, "/slow/200");
        for response in waiting {
            let response = response.await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            let status = response.headers()["proxy-status"].to_str().unwrap().to_owned();
            assert!(status.contains("error=proxy_internal_error"), "{status}");
            let text = body(response).await;
            assert!(text.ends_with(b"the server may have acted\n"), "{text:?}");
        }
        // By GOAWAY, and all of it was read.
        connection.await.unwrap().unwrap();
    });
    assert!(running.guard.wait(PATIENCE));
    let said = running.recorder.said();
    let left = said.exchanges.iter().filter(|told| told.status == Some(503));
    assert_eq!(left.count(), 3, "{said:#?}");
    assert_eq!(running.guard.finish().cut, 3);
}

#[test]
fn an_answer_that_is_cut_ends_behind_everything_that_came_of_it() {
    const CAME: usize = 100_000;
    let backend = Backend::new(|mut peer: Peer| {
        if peer.head().is_some() {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CAME:x}\r\n"
            ));
            peer.send(pattern(CAME));
            peer.send("\r\n");
        }
    });
    let running = Running::new(config(backend.address));
    run(async {
        let (mut sender, _connection) = plain(running.address()).await;
        for round in 0..50 {
            let mut answer = sender.send_request(get("/cut")).await.unwrap().into_body();
            let mut got = Vec::new();
            let end = loop {
                match answer.frame().await {
                    Some(Ok(frame)) => got.extend_from_slice(&frame.into_data().unwrap()),
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            };
            // It is not to be taken for whole: hyper's client does so behind NO_ERROR and CANCEL.
            assert!(end.is_some(), "{round}");
            assert_eq!(got.len(), CAME, "{round}");
        }
    });
    let said = running.recorder.until(|said| said.exchanges.len() == 50);
    assert!(
        said.exchanges.iter().all(|told| told.response_bytes == CAME as u64),
        "{said:#?}"
    );
}

#[test]
fn an_answer_that_is_cut_right_behind_its_head_has_its_head() {
    let backend = Backend::new(|mut peer: Peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n");
        }
    });
    let running = Running::new(config(backend.address));
    run(async {
        let (mut sender, _connection) = plain(running.address()).await;
        for _ in 0..20 {
            let response = sender.send_request(get("/cut")).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert!(response.into_body().collect().await.is_err());
        }
    });
}

#[test]
fn a_head_that_is_too_large_is_answered_431_and_the_connection_goes_on() {
    let backend = Backend::plain();
    let mut config = config(backend.address);
    config.client.head = 10_000;
    let running = Running::new(config);
    let with = |bytes: usize| {
        Request::get("http://a/size/1")
            .header("x", "x".repeat(bytes))
            .body(Full::default())
            .unwrap()
    };
    run(async {
        let (mut sender, connection) = plain(running.address()).await;
        for bytes in [9_900, 10_000, 30_000] {
            let response = sender.send_request(with(bytes)).await.unwrap();
            if bytes == 9_900 {
                assert_eq!(response.status(), StatusCode::OK);
                continue;
            }
            assert_eq!(
                response.status(),
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "{bytes}"
            );
            let status = response.headers()["proxy-status"].to_str().unwrap().to_owned();
            assert!(status.contains("larger than 10000 bytes"), "{status}");
        }
        // h2 answers by itself, and says nothing to anybody.
        let response = sender.send_request(with(60_000)).await.unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert!(!response.headers().contains_key("proxy-status"));
        assert_eq!(sender.send_request(get("/a")).await.unwrap().status(), StatusCode::OK);
        // That is an attack, and ends the connection.
        assert!(sender.send_request(with(1_000_000)).await.is_err());
        assert!(connection.await.unwrap().is_err());
    });
    let said = running.recorder.until(|said| said.closed.len() == 1);
    let told: Vec<_> = said.exchanges.iter().map(|told| told.status.unwrap()).collect();
    assert_eq!(told, [200, 431, 431, 200]);
    assert_eq!(said.refusals.len(), 1, "{said:#?}");
    assert!(
        said.refusals[0].why.starts_with("it is not valid HTTP/2: "),
        "{said:#?}"
    );
    assert_eq!((said.refusals[0].status, said.closed[0]), (None, Why::NotHttp));
}

#[test]
fn what_is_no_http2_is_told() {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    // SETTINGS, then DATA in no stream (RFC 9113, section 6.1).
    let mut client = Client::new(running.address());
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\0\0\0\0\0\0x");
    let (frames, end) = client.rest();
    // GOAWAY is of type 7.
    assert!(frames.windows(5).any(|header| header == [7, 0, 0, 0, 0]) && end == End::Fin);
    // Who leaves has done nothing wrong.
    let mut gone = Client::new(running.address());
    gone.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    gone.half_close();
    assert_eq!(gone.rest().1, End::Fin);
    let said = running.recorder.until(|said| said.closed.len() == 2);
    assert_eq!(said.refusals.len(), 1, "{said:#?}");
    assert!(
        said.closed.contains(&Why::NotHttp) && said.closed.contains(&Why::Peer),
        "{said:#?}"
    );
}

#[test]
fn a_target_that_is_no_uri_has_its_line() {
    let backend = Backend::plain();
    let running = Running::new(config(backend.address));
    let mut client = Client::new(running.address());
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    for (stream, path) in [(1, "/a?q={\"app\"}"), (3, "/b")] {
        // RFC 7541: GET, http, the authority and the path as they are.
        let mut block = b"\x82\x86\x01\x01a\x04".to_vec();
        block.push(path.len() as u8);
        block.extend_from_slice(path.as_bytes());
        client.send([&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, stream], &*block].concat());
    }
    let said = running
        .recorder
        .until(|said| !said.refusals.is_empty() && !said.exchanges.is_empty());
    assert_eq!((said.refusals.len(), said.exchanges.len()), (1, 1), "{said:#?}");
    assert!(said.refusals[0].why.contains("PROTOCOL_ERROR"), "{said:#?}");
    assert_eq!((&*said.exchanges[0].path, said.exchanges[0].status), ("/b", Some(200)));
}

/// A frame: what it is, its flags, its stream and what is in it.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

#[test]
fn small_frames_that_wait_for_the_server_cost_the_others_nothing() {
    let (came, asked) = std::sync::mpsc::channel();
    let (go_on, may) = std::sync::mpsc::channel();
    let may = std::sync::Mutex::new(may);
    let number = AtomicUsize::new(0);
    let backend = Backend::new(move |mut peer| {
        while peer.request().is_some() {
            if number.fetch_add(1, Ordering::SeqCst) == 0 {
                came.send(()).unwrap();
                may.lock().unwrap().recv().unwrap();
            }
            peer.answer(b"ok");
        }
    });
    let mut config = config(backend.address);
    // So the second waits for the first, and nothing is read of its body.
    config.upstream.most = 1;
    config.upstream.connect = PATIENCE;
    let running = Running::new(config);
    let mut client = Client::new(running.address());
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(frame(4, 0, 0, &[]));
    // GET and POST of http://a/
    client.send(frame(1, 5, 1, b"\x82\x86\x84\x01\x01a"));
    asked.recv_timeout(PATIENCE).unwrap();
    client.send(frame(1, 4, 3, b"\x83\x86\x84\x01\x01a"));
    client.send(frame(0, 0, 3, b"0123456789").repeat(3000));
    client.send(frame(0, 1, 3, b"the end"));
    // PING, which is answered when everything before it was read.
    client.send(frame(6, 0, 0, b"all read"));
    let answer = frame(6, 1, 0, b"all read");
    let mut read = Vec::new();
    while !read.windows(answer.len()).any(|window| window == answer) {
        let mut bytes = [0; 4096];
        let count = std::io::Read::read(&mut client.stream, &mut bytes).unwrap();
        assert!(count > 0, "the connection was ended");
        read.extend_from_slice(&bytes[..count]);
    }
    go_on.send(()).unwrap();
    let said = running.recorder.until(|said| said.exchanges.len() == 2);
    assert!(said.exchanges.iter().all(|told| told.failure.is_none()), "{said:#?}");
    assert_eq!(said.exchanges[1].request_bytes, 30_007);
}
