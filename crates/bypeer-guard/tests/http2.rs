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
