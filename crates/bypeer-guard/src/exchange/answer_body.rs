//! An answer's body on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::request_body::RequestBody;
use super::{Exchange, fields};
use crate::failure::Failure;
use crate::upstream::ResponseBody;

/// The body that hyper sends. With it goes the exchange: it is over when the body is, or is dropped.
pub(crate) struct AnswerBody {
    source: Source,
    exchange: Option<Exchange>,
    /// Why it breaks off, until what came before is written.
    broken: Option<Failure>,
    /// HTTP/2: how often everything had been written when it broke off.
    flushes: Option<u64>,
}

enum Source {
    Server(ResponseBody<RequestBody>),
    Text(Bytes),
    Empty,
}

impl AnswerBody {
    /// None.
    pub(super) fn empty() -> AnswerBody {
        AnswerBody {
            source: Source::Empty,
            exchange: None,
            broken: None,
            flushes: None,
        }
    }

    /// The server's.
    pub(super) fn passed_on(body: ResponseBody<RequestBody>, exchange: Exchange) -> AnswerBody {
        AnswerBody {
            source: Source::Server(body),
            exchange: Some(exchange),
            broken: None,
            flushes: None,
        }
    }

    /// Our own.
    pub(super) fn of_our_own(text: Bytes, exchange: Exchange) -> AnswerBody {
        AnswerBody {
            source: match text.is_empty() {
                true => Source::Empty,
                false => Source::Text(text),
            },
            exchange: Some(exchange),
            broken: None,
            flushes: None,
        }
    }

    fn turn(&self, is_clients: bool) {
        if let Some(exchange) = &self.exchange
            && let Some(turn) = exchange.turn()
        {
            turn.clients(is_clients.then(|| exchange.client.worker.now()));
        }
    }

    fn over(&mut self, failure: Option<Failure>) {
        // What the server's body still has of the request is let go first: it may have to be drained.
        self.source = Source::Empty;
        if let Some(exchange) = self.exchange.take() {
            exchange.over(failure);
        }
    }

    /// What came before is written before the connection ends, or the stream: h2 drops what waits in it for a reset.
    fn poll_break(&mut self, cx: &Context<'_>, failure: Failure) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let waits = match &self.exchange {
            // hyper flushes when there is nothing to be had here, and comes back after.
            Some(exchange) if !exchange.is_http2() => !exchange.client.is_flushed(),
            Some(exchange) => {
                let client = &exchange.client;
                let before = *self.flushes.get_or_insert(client.flushes());
                // Others may have given more in the meantime.
                let written = client.is_flushed() || client.flushes() > before;
                let waits = !written || client.is_blocked();
                if waits {
                    client.wait_for_flush(cx);
                }
                waits
            }
            None => false,
        };
        if waits {
            self.broken = Some(failure);
            return Poll::Pending;
        }
        let words = failure.to_string();
        self.over(Some(failure));
        Poll::Ready(Some(Err(Failure::Other(std::io::Error::other(words)))))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(failure) = self.broken.take() {
            return self.poll_break(cx, failure);
        }
        let result = match &mut self.source {
            Source::Server(body) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    self.turn(false);
                    return Poll::Pending;
                }
            },
            Source::Text(text) => {
                let text = std::mem::take(text);
                self.source = Source::Empty;
                Some(Ok(Frame::data(text)))
            }
            Source::Empty => None,
        };
        match result {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    fields::strip_trailers(trailers);
                }
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                if let Some(exchange) = &self.exchange {
                    exchange.handed_over(bytes);
                }
                self.turn(true);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(failure)) => self.poll_break(cx, failure),
            None => {
                self.over(None);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Server(body) => self.broken.is_none() && body.is_end_stream(),
            Source::Text(_) => false,
            Source::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Server(body) => body.size_hint(),
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Empty => SizeHint::with_exact(0),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        let failure = match self.broken.take() {
            Some(failure) => Some(failure),
            None if self.is_end_stream() => None,
            // Over HTTP/1 a length leaves no place for trailers: hyper does not ask for them.
            None if !exchange.is_http2() && self.size_hint().exact() == Some(0) => None,
            None => Some(exchange.why_cut()),
        };
        self.over(failure);
    }
}
