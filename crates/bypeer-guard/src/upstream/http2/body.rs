//! The body of an answer over HTTP/2.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::Active;
use super::failure::failure_of;
use super::sending::{Progress, Waits};
use crate::failure::Failure;

/// How long a small body is held until it is whole; then it is passed on as it comes.
const HELD: Duration = Duration::from_secs(5);

/// The body of an answer over HTTP/2.
pub struct Http2Body {
    incoming: Incoming,
    /// What was read of it while it was held.
    begun: Option<Bytes>,
    /// The trailers, if they came while it was held.
    trailers: Option<HeaderMap>,
    given: u64,
    length: Option<u64>,
    silence: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    silent: Option<Instant>,
    progress: Rc<Progress>,
    _active: Active,
}

impl Http2Body {
    /// A body that nothing was read of. `silence`: how long the server may say nothing.
    pub fn new(incoming: Incoming, silence: Duration, progress: Rc<Progress>, active: Active) -> Http2Body {
        Http2Body {
            length: incoming.size_hint().exact(),
            incoming,
            begun: None,
            trailers: None,
            given: 0,
            silence,
            alarm: None,
            silent: None,
            progress,
            _active: active,
        }
    }

    /// Reads the body until it is whole, but not for ever.
    pub async fn hold(&mut self) -> Result<(), Failure> {
        let mut held = BytesMut::new();
        let until = tokio::time::sleep(HELD);
        tokio::pin!(until);
        let mut trailers = None;
        let whole = poll_fn(|cx| {
            loop {
                if until.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                match ready!(self.poll(cx)) {
                    None => return Poll::Ready(Ok(())),
                    Some(Err(failure)) => return Poll::Ready(Err(failure)),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => held.extend_from_slice(&data),
                        Err(frame) => trailers = frame.into_trailers().ok(),
                    },
                }
                if self.incoming.is_end_stream() {
                    return Poll::Ready(Ok(()));
                }
            }
        });
        whole.await?;
        self.trailers = trailers;
        self.begun = Some(held.freeze()).filter(|held| !held.is_empty());
        Ok(())
    }

    /// The next of it.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(begun) = self.begun.take() {
            return Poll::Ready(Some(Ok(Frame::data(begun))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.poll_alarm(cx);
        };
        self.silent = None;
        Poll::Ready(match frame {
            // RFC 9113, section 8.1: END_STREAM ends a message. To hyper RST_STREAM with NO_ERROR does so, too, and only a reset comes here
            // without it: an answer that was whole before it stays so.
            None if !self.incoming.is_end_stream() => Some(Err(self.cut(true))),
            None => None,
            Some(Ok(frame)) => {
                self.given += frame.data_ref().map_or(0, |data| data.len() as u64);
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(match failure_of(error).0 {
                failure @ (Failure::Malformed(_) | Failure::Overrun) => failure,
                failure => self.cut(matches!(failure, Failure::Reset { .. })),
            })),
        })
    }

    fn cut(&self, reset: bool) -> Failure {
        Failure::Incomplete {
            have: self.given,
            expected: self.length,
            reset,
        }
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let since = *self.silent.get_or_insert_with(Instant::now);
        let deadline = since + self.silence;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        while alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            // The server may be waiting for what the client has not given.
            let late = now >= deadline && !matches!(self.progress.waits.get(), Waits::Client);
            if late {
                return Poll::Ready(Some(Err(Failure::BodyTimeout)));
            }
            alarm
                .as_mut()
                .reset(if now >= deadline { now + self.silence } else { deadline }.into());
        }
        Poll::Pending
    }

    /// Whether there is no more.
    pub fn is_end_stream(&self) -> bool {
        self.begun.is_none() && self.trailers.is_none() && self.incoming.is_end_stream()
    }

    /// What is known of its length.
    pub fn size_hint(&self) -> SizeHint {
        match (&self.begun, self.incoming.size_hint().exact()) {
            (None, _) => self.incoming.size_hint(),
            (Some(begun), Some(left)) => SizeHint::with_exact(begun.len() as u64 + left),
            (Some(_), None) => SizeHint::default(),
        }
    }
}
