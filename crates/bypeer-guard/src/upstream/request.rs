//! A request, from the connection that is chosen for it to the answer: tries, and what is done when one fails.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;

use super::Answer;
use super::body::ResponseBody;
use super::exchange::{Exchange, Failed};
use super::habits::Age;
use super::head::ResponseHead;
use super::retry::{is_idempotent, may_retry};
use super::sending::Source;
use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::account::SharedAccount;
use crate::failure::Failure;

/// Sends a request over HTTP/1.1.
pub async fn send<B>(worker: &Rc<Worker>, request: Request<B>, account: &SharedAccount) -> Result<Answer<B>, Failure>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    let (parts, body) = request.into_parts();
    let gather = match parts.headers.contains_key(http::header::EXPECT) {
        // The client waits to be asked for its body: only the server may do that.
        true => 0,
        false => worker.config.gather,
    };
    let mut source = Source::gather(body, gather).await?;
    worker.budget.earn();
    // The address at which it failed.
    let mut failed_at = None;
    let mut taught: Option<(usize, Age)> = None;
    loop {
        let repeatable = is_idempotent(&parts.method) && !matches!(source, Source::Stream(_));
        let (connection, now) = worker.acquire(repeatable, failed_at, account).await?;
        let target = connection.target;
        let exchange = Exchange::new(connection, now, &parts, source, worker, account);
        let failed = match attempt(worker, exchange, &parts, repeatable && failed_at.is_none()).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        if let Some((target, age)) = taught.take()
            && matches!(failed.failure, Failure::ClosedUnanswered | Failure::Reset { .. })
        {
            // It is the request that the server closes upon, whatever the connection's age.
            worker.shared.targets[target].1.was_mistaken(&age);
        }
        taught = failed.taught;
        let again = failed_at.is_none()
            && may_retry(
                &failed.failure,
                is_idempotent(&parts.method),
                failed.unprocessed,
                failed.reused,
            );
        source = match failed.source {
            Some(source) if again && (failed.granted || may_spend(worker)) => source,
            _ => return Err(failed.failure),
        };
        if let Some(attempt) = account.borrow_mut().attempts.last_mut() {
            attempt.failure = Some(failed.failure);
        }
        failed_at = Some(target);
    }
}

/// Whether there is a retry left, and takes it.
pub fn may_spend(worker: &Worker) -> bool {
    let counters = &worker.shared.counters;
    let may = worker.retries && worker.budget.take(&worker.shared.burst);
    if may {
        counters.retried.fetch_add(1, Ordering::Relaxed);
    } else if worker.retries {
        counters.over_budget.fetch_add(1, Ordering::Relaxed);
    }
    may
}

async fn attempt<B>(
    worker: &Rc<Worker>,
    mut exchange: Exchange<B>,
    parts: &Parts,
    may_repeat: bool,
) -> Result<Answer<B>, Failed<B>>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    let head = match poll_fn(|cx| exchange.poll_head(cx)).await {
        Ok(head) => head,
        Err(failure) => return Err(exchange.fail(failure)),
    };
    if may_repeat && exchange.is_farewell(&head) && may_spend(worker) {
        let mut failed = exchange.fail(Failure::Stale { reset: false });
        failed.granted = true;
        // It said that it closes, and nothing was learned of it.
        failed.taught = None;
        return Err(failed);
    }
    if switches(&head, parts) {
        let (connection, read) = exchange.into_tunnel();
        return Ok(Answer::Switched(response(head, ()), Tunnel::new(connection, read)));
    }
    let arrived = exchange.into_body(&head).await?;
    Ok(Answer::Response(response(head, ResponseBody::new(arrived))))
}

fn switches(head: &ResponseHead, parts: &Parts) -> bool {
    head.status == StatusCode::SWITCHING_PROTOCOLS
        || (parts.method == http::Method::CONNECT && head.status.is_success())
}

fn response<T>(head: ResponseHead, body: T) -> Response<T> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.version_mut() = head.version;
    *response.headers_mut() = head.fields;
    response
}
