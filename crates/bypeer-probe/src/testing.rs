//! Small servers with exact manners, and a probe with one check, for tests.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::check::Outcome;
use crate::prober::Options;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::target::{Instead, Target};

/// A server on loopback that gives each connection to a thread of its own.
pub(crate) struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts one.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let over = Arc::new(AtomicBool::new(false));
        let accepting = {
            let over = over.clone();
            let serve = Arc::new(serve);
            thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    if over.load(Relaxed) {
                        break;
                    }
                    // A test that fails must not hang on what a thread waits for.
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                    let serve = serve.clone();
                    thread::spawn(move || serve(stream));
                }
            })
        };
        Server {
            address,
            over,
            accepting: Some(accepting),
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Does one check against a URL, and holds it to its plan.
pub(crate) fn ask(url: &str, check: &str, options: Options) -> Outcome {
    ask_until(url, check, options, &Stop::default(), &Progress::default())
}

/// The same, until somebody who looks at the progress asks to stop.
pub(crate) fn ask_until(url: &str, check: &str, options: Options, stop: &Stop, progress: &Progress) -> Outcome {
    let target = Target::find(url, &Instead::Name).expect("a URL");
    let options = Options {
        only: vec![check.to_owned()],
        serial: options.serial.or(Some(false)),
        ..options
    };
    let mut card = crate::run(&target, &options, stop, progress).expect("a card");
    assert_eq!(card.checks.len(), 1);
    let done = card.checks.remove(0);
    let plan = (done.check.plan)(&options);
    let opened = card.logs.iter().filter(|log| log.check == done.check.id).count();
    assert!(
        opened <= plan.connections as usize,
        "{opened} connections, and the plan has {}",
        plan.connections
    );
    assert!(
        done.took <= plan.longest,
        "{:?}, and the plan has {:?}",
        done.took,
        plan.longest
    );
    done.outcome
}

/// Reads a head to its blank line and no byte more; `None` at the end of the connection.
pub(crate) fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// What a head says about the length of its body; 0 where it says nothing.
pub(crate) fn content_length(head: &str) -> usize {
    let field = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    field.map_or(0, |value| value.parse().expect("a number"))
}

/// Reads so many bytes; false at the end of the connection.
pub(crate) fn read_body(stream: &mut impl Read, bytes: usize) -> bool {
    stream.read_exact(&mut vec![0; bytes]).is_ok()
}

/// Sends an answer with a body of so many bytes and these field lines.
pub(crate) fn answer(stream: &mut impl Write, status: &str, fields: &str, bytes: usize) -> bool {
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {bytes}\r\n\r\n");
    let mut all = head.into_bytes();
    all.resize(all.len() + bytes, b'y');
    stream.write_all(&all).is_ok()
}

/// FIN, then whatever comes until the other side's; then closes.
pub(crate) fn close_in_stages(mut stream: TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let mut chunk = [0; 4096];
    while matches!(stream.read(&mut chunk), Ok(1..)) {}
}

/// TLS as the server speaks it.
pub(crate) type Tls = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

/// Wraps what serves TLS; the certificate is nobody's.
pub(crate) fn over_tls(serve: impl Fn(Tls) + Send + Sync + 'static) -> impl Fn(TcpStream) + Send + Sync + 'static {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a configuration");
    let config = Arc::new(config);
    move |stream| {
        let tls = rustls::ServerConnection::new(config.clone()).expect("a session");
        serve(rustls::StreamOwned::new(tls, stream));
    }
}
