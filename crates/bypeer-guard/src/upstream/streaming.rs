//! The body of an answer on its way.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;

use super::exchange::Exchange;
use super::framing::{Decoded, Decoder};
use super::sending::Waits;
use super::stream::is_reset;
use crate::failure::Failure;

/// The body of an answer on its way.
pub struct Streaming<B> {
    /// `None`: the answer is whole, or was cut.
    pub exchange: Option<Exchange<B>>,
    /// What was taken of the body already.
    pub first: Option<Bytes>,
    /// The same of the trailers, behind it.
    pub trailers: Option<HeaderMap>,
    /// Where the body ends.
    pub decoder: Decoder,
}

/// The next of a body.
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// Trailer fields, the last of it.
    Trailers(HeaderMap),
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin> Streaming<B> {
    /// The next piece, and the rest of the request sent.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Piece::Data(first))));
        }
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(self.trailers.take().map(|trailers| Ok(Piece::Trailers(trailers))));
        };
        let piece = ready!(poll_piece(exchange, &mut self.decoder, cx));
        if self.decoder.is_ended() || !matches!(piece, Some(Ok(_))) {
            let exchange = self.exchange.take();
            match (&piece, exchange) {
                (Some(Err(_)), Some(exchange)) => {
                    exchange.note_failed_send();
                }
                (_, Some(exchange)) => exchange.finish(),
                _ => {}
            }
        }
        Poll::Ready(piece)
    }

    /// Whether there is no more.
    pub fn is_over(&self) -> bool {
        self.exchange.is_none() && self.first.is_none() && self.trailers.is_none()
    }

    /// Bytes that are yet to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.decoder.length() {
            Some(_) => self.decoder.left(),
            // Where there are trailers they are the end.
            None => None,
        }
    }
}

fn poll_piece<B: Body<Data = Bytes, Error = Failure> + Unpin>(
    exchange: &mut Exchange<B>,
    decoder: &mut Decoder,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Piece, Failure>>> {
    loop {
        match decoder.decode(&mut exchange.connection.input) {
            Ok(Decoded::Data(data)) => {
                // An answer without a pause is no reason for the request not to go on.
                exchange.poll_rest(cx);
                return Poll::Ready(Some(Ok(Piece::Data(data))));
            }
            Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Piece::Trailers(trailers)))),
            Ok(Decoded::End) => return Poll::Ready(None),
            Ok(Decoded::More) => {}
            Err(wrong) => return Poll::Ready(Some(Err(Failure::Malformed(wrong)))),
        }
        let room = decoder
            .left()
            .map_or(0, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let end = match exchange.connection.poll_read(cx, room) {
            Poll::Ready(Ok(0)) => None,
            Poll::Ready(Err(error)) => Some(error),
            Poll::Ready(Ok(_)) => {
                exchange.silent = None;
                exchange.sending.heard();
                continue;
            }
            Poll::Pending => {
                let (since, late) = match exchange.poll_rest(cx) {
                    // The server may be waiting for what the client has not given.
                    Waits::Client | Waits::Look => return Poll::Pending,
                    Waits::Server(since) => (since, Failure::WriteTimeout),
                    Waits::Leave | Waits::Over | Waits::Answer(_) => {
                        (*exchange.silent.get_or_insert_with(Instant::now), Failure::BodyTimeout)
                    }
                };
                return match exchange.connection.is_past(cx, since + exchange.worker.config.silence) {
                    true => Poll::Ready(Some(Err(late))),
                    false => Poll::Pending,
                };
            }
        };
        return Poll::Ready(end_of_stream(exchange, decoder, end));
    }
}

/// What the end of the server's stream means for a body.
fn end_of_stream<B: Body<Data = Bytes, Error = Failure> + Unpin>(
    exchange: &Exchange<B>,
    decoder: &Decoder,
    end: Option<io::Error>,
) -> Option<Result<Piece, Failure>> {
    // A failed send took the error that told of a reset: the end that follows is no proof that the body is whole.
    let whole = end.is_none() && decoder.ends_with_stream() && exchange.sending.failed() != Some(true);
    if whole {
        return None;
    }
    let reset = end.is_some_and(|error| is_reset(&error));
    Some(Err(exchange.cut(decoder.given(), decoder.length(), reset)))
}
