//! A request's body on its way from the client: counted, bounded in size and in silence.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::refusal::Refused;
use super::{drain, fields};
use crate::failure::Failure;
use crate::front::Client;
use crate::worker::{Millis, Settings};

/// So much of a request's body is read for a connection that is kept after an early answer; more is not worth it.
const WORTH_KEEPING: u64 = 64 << 10;

/// A request's body. Dropped before its end, the rest is read and thrown away within bounds, so that the client sees the answer.
pub(crate) struct RequestBody(Option<Begun>);

pub(super) struct Begun {
    pub(super) incoming: Incoming,
    pub(super) state: Rc<BodyState>,
}

/// What others know of it.
pub(crate) struct BodyState {
    pub(super) client: Rc<Client>,
    length: Option<u64>,
    limit: Option<u64>,
    /// Its size does not matter any more.
    limit_is_off: Cell<bool>,
    /// The client waits for `100 Continue`, which hyper sends when the body is first asked for.
    expects: bool,
    asked_for: Cell<bool>,
    bytes: Cell<u64>,
    whole: Cell<bool>,
    trouble: Cell<Option<Trouble>>,
    /// Nobody reads it any more.
    gone: Cell<bool>,
    listed: Cell<bool>,
    waits_since: Cell<Option<Millis>>,
    reader: RefCell<Option<Waker>>,
    closes_after_answer: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    TooLarge,
    Silent,
    Broken,
}

impl RequestBody {
    /// `expects`: its head has the expectation `100-continue`.
    pub(super) fn new(incoming: Incoming, expects: bool, client: &Rc<Client>, settings: &Settings) -> RequestBody {
        if incoming.is_end_stream() {
            return RequestBody(None);
        }
        let state = BodyState {
            client: client.clone(),
            length: incoming.size_hint().exact(),
            limit: settings.config.client.body,
            limit_is_off: Cell::new(false),
            expects,
            asked_for: Cell::new(false),
            bytes: Cell::new(0),
            whole: Cell::new(false),
            trouble: Cell::new(None),
            gone: Cell::new(false),
            listed: Cell::new(false),
            waits_since: Cell::new(None),
            reader: RefCell::new(None),
            closes_after_answer: Cell::new(false),
        };
        RequestBody(Some(Begun {
            incoming,
            state: Rc::new(state),
        }))
    }

    /// `None`: there is no body.
    pub(super) fn state(&self) -> Option<&Rc<BodyState>> {
        self.0.as_ref().map(|begun| &begun.state)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut self.get_mut().0 {
            Some(begun) => begun.poll(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|begun| begun.state.whole.get() || begun.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Some(begun) => begun.incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(begun) = self.0.take() {
            drain::rest(begun);
        }
    }
}

impl Begun {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let state = &*self.state;
        match state.trouble.get() {
            Some(Trouble::TooLarge) if state.limit_is_off.get() => {}
            Some(trouble) => return Poll::Ready(Some(Err(state.failure(trouble, None)))),
            None => {}
        }
        if state.whole.get() {
            return Poll::Ready(None);
        }
        state.asked_for.set(true);
        let result = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                state.wait(&self.state, cx);
                return Poll::Pending;
            }
        };
        state.waits_since.set(None);
        let trouble = |trouble, error| {
            state.trouble.set(Some(trouble));
            Poll::Ready(Some(Err(state.failure(trouble, error))))
        };
        match result {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    if !state.client.http2.get() {
                        // hyper takes a bare LF where the body ends for the beginning of trailers, and what comes behind it up to the
                        // next empty line for the rest of them: that may be a request, which nobody would answer.
                        if trailers.is_empty() {
                            return trouble(Trouble::Broken, None);
                        }
                        state.client.doubt_end();
                    }
                    fields::strip_trailers(trailers);
                }
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                state.bytes.set(state.bytes.get() + bytes);
                if !state.limit_is_off.get() && state.limit.is_some_and(|limit| state.bytes.get() > limit) {
                    return trouble(Trouble::TooLarge, None);
                }
                state.whole.set(frame.is_trailers() || self.incoming.is_end_stream());
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => trouble(Trouble::Broken, Some(error)),
            // RFC 9113, section 8.1: END_STREAM ends a message. To hyper RST_STREAM with NO_ERROR does so, too.
            None if state.client.http2.get() && !self.incoming.is_end_stream() => trouble(Trouble::Broken, None),
            None => {
                state.whole.set(true);
                Poll::Ready(None)
            }
        }
    }
}

impl BodyState {
    /// Bytes that were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// What the client is told if this is why there is no answer.
    pub(super) fn refusal(&self) -> Option<Refused> {
        match self.trouble.get()? {
            Trouble::TooLarge => Some(Refused::too_large(self.limit.unwrap_or_default())),
            Trouble::Silent => Some(Refused::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body was not received in time",
            )),
            Trouble::Broken => Some(Refused::new(StatusCode::BAD_REQUEST, "the body was not received whole")),
        }
    }

    /// Whether after an answer now the connection is not worth keeping for what is still to come.
    pub(super) fn is_too_long_to_keep(&self) -> bool {
        if self.whole.get() {
            return false;
        }
        let rest = self.length.map(|length| length.saturating_sub(self.bytes.get()));
        self.is_unasked_for()
            || matches!(self.trouble.get(), Some(Trouble::Silent | Trouble::Broken))
            || rest.is_none_or(|rest| rest > WORTH_KEEPING)
    }

    /// Whether the client still waits to be told to send it, and may never (RFC 9110, section 10.1.1).
    fn is_unasked_for(&self) -> bool {
        self.expects && !self.asked_for.get()
    }

    /// The answer says that the connection is closed after it.
    pub(super) fn close_after_answer(&self) {
        self.closes_after_answer.set(true);
    }

    pub(super) fn closes_after_answer(&self) -> bool {
        self.closes_after_answer.get()
    }

    /// Whether there is something to drain.
    pub(super) fn has_rest(&self) -> bool {
        !self.whole.get()
            && !self.is_unasked_for()
            && matches!(self.trouble.get(), None | Some(Trouble::TooLarge))
            && !self.client.is_broken()
    }

    /// It is not for anybody from here on: its size does not matter any more.
    pub(super) fn forget_limit(&self) {
        self.limit_is_off.set(true);
    }

    pub(super) fn let_go(&self) {
        self.gone.set(true);
    }

    fn wait(&self, this: &Rc<BodyState>, cx: &Context<'_>) {
        if self.waits_since.get().is_none() {
            self.waits_since.set(Some(self.client.worker.now()));
        }
        *self.reader.borrow_mut() = Some(cx.waker().clone());
        if !self.listed.replace(true) {
            self.client.worker.watch_body(this);
        }
    }

    /// Gives it up if nothing has come for too long. Whether it is to be looked at again. Called now and then.
    pub(crate) fn look(&self, now: Millis, silence: Millis) -> bool {
        if self.whole.get() || self.gone.get() || matches!(self.trouble.get(), Some(Trouble::Silent | Trouble::Broken))
        {
            self.listed.set(false);
            return false;
        }
        if self
            .waits_since
            .get()
            .is_some_and(|since| now.saturating_sub(since) > silence)
        {
            self.trouble.set(Some(Trouble::Silent));
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
            self.listed.set(false);
            return false;
        }
        true
    }

    fn failure(&self, trouble: Trouble, error: Option<hyper::Error>) -> Failure {
        match trouble {
            Trouble::TooLarge => Failure::Request("its body is larger than is allowed".to_owned()),
            Trouble::Silent => Failure::Request("nothing came for too long".to_owned()),
            Trouble::Broken if self.client.is_broken() => Failure::ClientGone,
            Trouble::Broken => Failure::Request(error.map_or_else(
                || "it ended early".to_owned(),
                |error| match std::error::Error::source(&error) {
                    Some(source) => format!("{error}: {source}"),
                    None => error.to_string(),
                },
            )),
        }
    }
}
