//! The body of an answer, as the front passes it on.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::exchange::Arrived;
use super::http2::Http2Body;
use super::streaming::{Piece, Streaming};
use crate::failure::Failure;

/// The body of an answer.
pub struct ResponseBody<B> {
    kind: Kind<B>,
}

enum Kind<B> {
    /// What is left to be given.
    Whole(Bytes),
    Streaming(Box<Streaming<B>>),
    Http2(Box<Http2Body>),
}

impl<B> ResponseBody<B> {
    pub(super) fn http2(body: Http2Body) -> ResponseBody<B> {
        ResponseBody {
            kind: Kind::Http2(Box::new(body)),
        }
    }

    /// None.
    pub(super) fn none() -> ResponseBody<B> {
        ResponseBody {
            kind: Kind::Whole(Bytes::new()),
        }
    }

    pub(super) fn new(arrived: Arrived<B>) -> ResponseBody<B> {
        let kind = match arrived {
            Arrived::Whole(bytes) => Kind::Whole(bytes),
            Arrived::Streaming(streaming) => Kind::Streaming(streaming),
        };
        ResponseBody { kind }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut self.kind {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Streaming(streaming) => Poll::Ready(ready!(streaming.poll(cx)).map(|piece| {
                piece.map(|piece| match piece {
                    Piece::Data(data) => Frame::data(data),
                    Piece::Trailers(trailers) => Frame::trailers(trailers),
                })
            })),
            Kind::Http2(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Streaming(streaming) => streaming.is_over(),
            Kind::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Streaming(streaming) => streaming.left().map(SizeHint::with_exact).unwrap_or_default(),
            Kind::Http2(body) => body.size_hint(),
        }
    }
}

impl<B> Unpin for ResponseBody<B> {}
