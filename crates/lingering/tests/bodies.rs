//! Draining of bodies.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, SizeHint};
use lingering::{Ended, Limits, drain_body, drain_http_body};

/// A reader that gives these one after the other, and then the end.
struct Script(Vec<io::Result<usize>>);

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.is_empty() {
            true => Ok(0),
            false => self.0.remove(0).map(|bytes| bytes.min(buffer.len())),
        }
    }
}

#[test]
fn a_reader_is_read_to_its_end_or_to_a_bound() {
    let limits = Limits::default().bytes(1000);
    let cases = [
        (vec![], 0, Ended::Eof),
        (vec![Ok(400), Ok(600)], 1000, Ended::Eof),
        (vec![Ok(400), Ok(600), Ok(600)], 1001, Ended::ByteBound),
        (vec![Ok(10), Err(io::ErrorKind::Interrupted), Ok(10)], 20, Ended::Eof),
        (vec![Ok(10), Err(io::ErrorKind::WouldBlock)], 10, Ended::Idle),
        (vec![Ok(10), Err(io::ErrorKind::TimedOut)], 10, Ended::Idle),
        (vec![Ok(10), Err(io::ErrorKind::ConnectionReset)], 10, Ended::Reset),
        (
            vec![Ok(10), Err(io::ErrorKind::UnexpectedEof)],
            10,
            Ended::Failed(io::ErrorKind::UnexpectedEof),
        ),
    ];
    for (reads, bytes, ended) in cases {
        let what = format!("{reads:?}");
        let reads = reads.into_iter().map(|read| read.map_err(io::Error::from));
        let drained = drain_body(&mut Script(reads.collect()), &limits);
        assert_eq!((drained.bytes, drained.ended), (bytes, ended), "{what}");
        assert_eq!(drained.is_complete(), ended == Ended::Eof);
    }
}

#[test]
fn a_reader_that_goes_on_ends_with_the_total() {
    let limits = Limits::default().bytes(u64::MAX).total(Duration::from_millis(20));
    let drained = drain_body(&mut io::repeat(0), &limits);
    assert_eq!(drained.ended, Ended::Deadline);
    assert!(drained.bytes > 0);
}

#[cfg(unix)]
#[test]
fn a_silent_socket_ends_with_its_own_timeout() {
    let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
    one.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    other.write_all(&[0; 77]).unwrap();
    let drained = drain_body(&mut &one, &Limits::default());
    assert_eq!((drained.bytes, drained.ended), (77, Ended::Idle));
}

/// Frames, and then silence.
struct Silent(Option<Frame<Bytes>>);

impl Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .take()
            .map_or(Poll::Pending, |frame| Poll::Ready(Some(Ok(frame))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Frames without end.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 1000])))))
    }
}

fn broken() -> BoxBody<Bytes, io::Error> {
    Full::new(Bytes::from_static(b"0123456789"))
        .map_err(|never| match never {})
        .with_trailers(async { Some(Err(io::Error::from(io::ErrorKind::InvalidData))) })
        .boxed()
}

#[tokio::test]
async fn a_body_is_read_to_its_end_or_to_a_bound() {
    let limits = Limits::default().bytes(10_000);
    let full = Full::new(Bytes::from_static(&[0; 10_000]));
    let drained = drain_http_body(full, &limits).await;
    assert_eq!((drained.bytes, drained.ended), (10_000, Ended::Eof));

    // By reference, as a request's body is had.
    let mut endless = Endless;
    let drained = drain_http_body(&mut endless, &limits).await;
    assert_eq!((drained.bytes, drained.ended), (11_000, Ended::ByteBound));

    let idle = Limits::default().idle(Duration::from_millis(20));
    let drained = drain_http_body(Silent(Some(Frame::data(Bytes::from_static(b"abc")))), &idle).await;
    assert_eq!((drained.bytes, drained.ended), (3, Ended::Idle));

    let drained = drain_http_body(broken(), &limits).await;
    assert_eq!(
        (drained.bytes, drained.ended),
        (10, Ended::Failed(io::ErrorKind::Other))
    );
    assert!(!drained.is_complete());
}

#[tokio::test]
async fn trailers_are_no_bytes() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("a", http::HeaderValue::from_static("b"));
    let full = Full::new(Bytes::from_static(b"abc"));
    let body = full.with_trailers(async { Some(Ok(trailers)) });
    let drained = drain_http_body(body, &Limits::default()).await;
    assert_eq!((drained.bytes, drained.ended), (3, Ended::Eof));
}
