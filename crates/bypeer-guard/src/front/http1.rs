//! HTTP/1.0 and 1.1 with a client.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::client::{Client, Order, Phase};
use super::cut;
use super::stream::{ClientLingering, Io};
use super::tunnel;
use crate::exchange;
use crate::say::Why;

/// To a client whose request is not whole in time: it has the right to be told, and may send it again.
const TOO_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: text/plain\r\n\
    Content-Length: 50\r\nProxy-Status: bypeer; error=http_request_error\r\n\r\n\
    The head of the request was not received in time.\n";

/// To a client whose request still runs when the time for draining is over.
const LEAVING: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: text/plain\r\n\
    Content-Length: 83\r\nProxy-Status: bypeer; error=proxy_internal_error; details=\"the proxy is being stopped\"\r\n\r\n\
    503 Service Unavailable: the proxy is being stopped, and the server may have acted\n";

/// Bytes that are read at once, and that wait to be written, at most.
const BUFFER: usize = 64 << 10;
/// hyper's most fields of a head.
const FIELDS_MOST: usize = 100;
/// hyper's least.
const LEAST_BUFFER: usize = 8 << 10;

/// How connections are served with these limits.
pub(crate) fn builder(head: usize) -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        // Who has nothing more to say may still wait for the answer.
        .half_close(true)
        // Clients that look for `content-length:` by its letters are found in the field.
        .title_case_headers(true)
        .max_header_size(head)
        .max_buf_size(BUFFER.max(head).max(LEAST_BUFFER));
    builder
}

/// Answers until the connection is over. Why it is.
///
/// Between two requests hyper holds buffers of 8 kB for reading and for writing. So it has a client's stream only while there is something
/// to be answered, and a little longer: see [`Client::is_to_rest`].
pub(super) async fn serve(client: &Rc<Client>, mut ahead: Bytes) -> Why {
    loop {
        // In a box, which is gone while the client rests.
        match Box::pin(answer(client, ahead)).await {
            Served::Over(why) => return why,
            Served::Rests(left) => ahead = left,
        }
        if ahead.is_empty()
            && let Some(why) = rest(client).await
        {
            return why;
        }
    }
}

/// What came of it that hyper had the stream.
enum Served {
    /// The connection is over.
    Over(Why),
    /// It is idle; these bytes came already.
    Rests(Bytes),
}

/// Waits, without a buffer, until the client says something. Why it is over if it is.
async fn rest(client: &Client) -> Option<Why> {
    poll_fn(|cx| {
        let order = client.poll_order(cx);
        if let Some(Order::Break(why)) = order {
            drop(client.stream.take());
            return Poll::Ready(Some(why));
        }
        // What came in the meantime is answered first.
        if client.poll_readable(cx).is_ready() {
            return Poll::Ready(None);
        }
        match order {
            Some(Order::Finish(why)) => {
                client.close(b"");
                Poll::Ready(Some(why))
            }
            _ => Poll::Pending,
        }
    })
    .await
}

/// Has hyper answer until the connection is over, or idle for so long that it rests.
async fn answer(client: &Rc<Client>, ahead: Bytes) -> Served {
    let _warm = client.warm();
    let io = TokioIo::new(Io::new(client.clone(), ahead));
    let service = {
        let client = client.clone();
        service_fn(move |request| exchange::answer(client.clone(), request))
    };
    let mut connection = client.worker.settings().http1.serve_connection(io, service);
    let mut finishing = None;
    let end = poll_fn(|cx| {
        let order = client.poll_order(cx);
        if let Some(Order::Break(why)) = order {
            return Poll::Ready(End::Broken(why));
        }
        let result = Pin::new(&mut connection).poll(cx);
        if let (Poll::Pending, Some(Order::Finish(why))) = (&result, order)
            // What came in the meantime is answered first.
            && client.phase() == Phase::Idle
        {
            finishing = Some(why);
            Pin::new(&mut connection).graceful_shutdown();
            return Pin::new(&mut connection).poll(cx).map(End::Over);
        }
        if result.is_pending() && client.is_to_rest(order) {
            return Poll::Ready(End::Idle);
        }
        result.map(End::Over)
    })
    .await;
    Served::Over(match end {
        End::Idle => {
            let parts = connection.into_parts();
            return Served::Rests(joined(parts.read_buf, parts.io.into_inner().leave()));
        }
        End::Broken(Why::HeadTime) => {
            let begun = client.phase() == Phase::Head && !client.is_blocked();
            client.close(if begun { TOO_LATE } else { b"" });
            if begun {
                client.refused(Some(StatusCode::REQUEST_TIMEOUT), "the head was not received in time");
            }
            Why::HeadTime
        }
        End::Broken(why) => {
            if why == Why::DrainEnded && client.is_unanswered() {
                client.tell(StatusCode::SERVICE_UNAVAILABLE);
                client.close(LEAVING);
            } else if client.would_seem_whole()
                && let Some(stream) = client.stream.take()
            {
                drop(connection);
                cut::reset(client, stream).await;
            }
            why
        }
        End::Over(Ok(())) => {
            if let Some(switched) = client.switched.take() {
                let stream = client.stream.take().and_then(ClientLingering::into_inner);
                let mut parts = connection.into_parts();
                let ahead = [parts.read_buf, parts.io.inner_mut().take_ahead()];
                return Served::Over(match stream {
                    Some(stream) => tunnel::run(client, stream, ahead, switched).await,
                    None => Why::PeerBroke,
                });
            }
            // hyper does not shut down behind a request to switch protocols that was answered with something else.
            client.close(b"");
            finishing.unwrap_or(match client.is_announced() {
                true => Why::Announced,
                false => Why::Peer,
            })
        }
        End::Over(Err(error)) => {
            if error.is_parse() {
                refuse(client, &error);
                return Served::Over(Why::NotHttp);
            }
            if error.is_incomplete_message() && client.phase() == Phase::Head {
                client.refused(None, "the connection ended in the middle of the head");
                return Served::Over(Why::PeerBroke);
            }
            if client.would_seem_whole()
                && let Some(stream) = client.stream.take()
            {
                cut::reset(client, stream).await;
            }
            match error.is_user() || !client.is_broken() {
                true => Why::AnswerBroke,
                false => Why::PeerBroke,
            }
        }
    })
}

enum End {
    Over(hyper::Result<()>),
    Broken(Why),
    Idle,
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        // Not one of them: an empty piece of hyper's buffer would keep all of that while the client rests.
        (true, true) => Bytes::new(),
        (false, true) => first,
        (true, false) => second,
        (false, false) => [first, second].concat().into(),
    }
}

/// Answers what is no request, in place of hyper.
fn refuse(client: &Client, error: &hyper::Error) {
    let status = client.withheld().unwrap_or(match error.is_parse_too_large() {
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    });
    let why = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => format!(
            "its head is larger than {} bytes, or has more than {FIELDS_MOST} fields",
            client.worker.settings().config.client.head
        ),
        StatusCode::BAD_REQUEST if client.has_odd_line() => {
            "its target has one of \" < > ` in it, which must be percent-encoded in a URI (RFC 3986)".to_owned()
        }
        _ => format!("it is not valid HTTP: {error}"),
    };
    let status = match (client.withheld(), client.is_shut_down()) {
        // An answer was under way when it came, and hyper has put its own behind.
        (None, true) => Some(status),
        // There is no telling where it would end.
        (None, false) if client.running() > 0 || !client.is_flushed() => None,
        _ => {
            client.close(&exchange::own_answer(status, &why));
            Some(status)
        }
    };
    client.refused(status, &why);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Buf;

    use super::*;

    struct Buffer(Arc<[u8; 3]>);

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }

    #[test]
    fn of_a_buffer_that_was_read_nothing_is_kept() {
        let there = Arc::new(*b"abc");
        let mut read = Bytes::from_owner(Buffer(there.clone()));
        read.advance(3);
        let left = joined(read, Bytes::new());
        assert!(left.is_empty());
        assert_eq!(
            Arc::strong_count(&there),
            1,
            "the buffer is gone while what is left of it is there"
        );
    }

    #[test]
    fn what_is_left_keeps_its_order() {
        let bytes = Bytes::from_static;
        for (first, second) in [("", "abc"), ("ab", "c"), ("abc", "")] {
            assert_eq!(joined(bytes(first.as_bytes()), bytes(second.as_bytes())), "abc");
        }
    }
}
