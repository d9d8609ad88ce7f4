//! A request's body on its way into a stream, and who waits for whom.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::failure::failure_of;
use crate::config;
use crate::failure::Failure;

/// A request's body, of whatever type it was.
pub enum Outgoing {
    /// It is here, and its trailers; `None`: there is none, or it was given.
    Whole(Option<Bytes>, Option<Box<HeaderMap>>),
    /// It comes as it comes.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = Failure>>>),
    /// One that notes who waits.
    Watched(Box<Watched>),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut *self {
            Outgoing::Whole(bytes, trailers) => {
                let data = bytes.take().map(Frame::data);
                let next = data.or_else(|| trailers.take().map(|trailers| Frame::trailers(*trailers)));
                Poll::Ready(next.map(Ok))
            }
            Outgoing::Stream(body) => body.as_mut().poll_frame(cx),
            Outgoing::Watched(watched) => watched.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Whole(bytes, trailers) => bytes.is_none() && trailers.is_none(),
            Outgoing::Stream(body) => body.is_end_stream(),
            Outgoing::Watched(watched) => watched.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Whole(bytes, _) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Outgoing::Stream(body) => body.size_hint(),
            Outgoing::Watched(watched) => watched.body.size_hint(),
        }
    }
}

/// A body that notes who waits for whom.
pub struct Watched {
    body: Outgoing,
    progress: Rc<Progress>,
}

impl Watched {
    /// A body, and where it notes.
    pub fn new(body: Outgoing, progress: Rc<Progress>) -> Watched {
        Watched { body, progress }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let waits = match &frame {
            Poll::Pending => Waits::Client,
            Poll::Ready(Some(Ok(_))) if !self.body.is_end_stream() => Waits::Server(Instant::now()),
            Poll::Ready(_) => Waits::Over(Instant::now()),
        };
        self.progress.waits.set(waits);
        match frame {
            // hyper takes no more than a word of it: what it was is kept for whoever tells of it.
            Poll::Ready(Some(Err(failure))) => {
                self.progress.client.replace(Some(failure));
                Poll::Ready(Some(Err(Failure::ClientGone)))
            }
            frame => frame,
        }
    }
}

/// Who waits for whom.
pub struct Progress {
    /// What it waits for now.
    pub waits: Cell<Waits>,
    /// What the client's body failed with.
    client: RefCell<Option<Failure>>,
}

/// What a request waits for.
#[derive(Clone, Copy)]
pub enum Waits {
    /// For the client, to give more of the body.
    Client,
    /// For the server, to take more of it.
    Server(Instant),
    /// For the answer.
    Over(Instant),
}

impl Progress {
    /// Of a body that is not yet sent.
    pub fn new(body: &Outgoing) -> Progress {
        let now = Instant::now();
        Progress {
            waits: Cell::new(if body.is_end_stream() {
                Waits::Over(now)
            } else {
                Waits::Server(now)
            }),
            client: RefCell::new(None),
        }
    }

    /// Waits for the head of an answer, and not too long.
    pub async fn wait<T>(&self, limits: &config::Upstream, answer: impl Future<Output = T>) -> Result<T, Failure> {
        let look_again = limits.answer.min(limits.silence);
        let mut answer = pin!(answer);
        let mut alarm = pin!(tokio::time::sleep(look_again));
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Ok(answer));
                }
                ready!(alarm.as_mut().poll(cx));
                let now = Instant::now();
                let (deadline, late) = match self.waits.get() {
                    Waits::Client => (now + look_again, None),
                    Waits::Server(since) => (since + limits.silence, Some(Failure::WriteTimeout)),
                    Waits::Over(since) => (since + limits.answer, Some(Failure::AnswerTimeout)),
                };
                match late {
                    Some(failure) if now >= deadline => return Poll::Ready(Err(failure)),
                    _ => alarm.as_mut().reset(deadline.into()),
                }
            }
        })
        .await
    }

    /// Why a request failed, and whether the server cannot have acted on it.
    pub fn failure(&self, error: hyper::Error) -> (Failure, bool) {
        match self.client.take() {
            Some(failure) => (failure, false),
            None => failure_of(error),
        }
    }
}
