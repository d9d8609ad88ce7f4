//! One exchange: what a proxy must do to a request and to its answer, and the account of it.

mod answer_body;
mod drain;
mod fields;
mod forwarded;
mod refusal;
mod request;
mod request_body;
mod response;

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

pub(crate) use answer_body::AnswerBody;
pub(crate) use refusal::own_answer;
pub(crate) use request_body::{BodyState, RequestBody};

use crate::account::{Account, SharedAccount};
use crate::failure::Failure;
use crate::front::{self, Client, HeadLook, Order, Switched, Turn};
use crate::say::{Why, proxy_status};
use crate::upstream::Answer;
use crate::worker::Settings;
use refusal::Refused;

/// No client gives up sooner. Of answers that took no longer nobody asks whether the client has closed its side: that is a system call.
const IMPATIENT: Duration = Duration::from_millis(10);

/// An exchange that runs. When it is over, or dropped, its account goes to the sink.
pub(crate) struct Exchange {
    pub(crate) client: Rc<Client>,
    account: SharedAccount,
    /// The request's body, if it has one.
    body: Option<Rc<BodyState>>,
    /// HTTP/2: whose turn it is.
    turn: Option<Rc<Turn>>,
    over: bool,
}

/// Answers a request, in any case.
pub(crate) fn answer(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> {
    // What hyper's next step may depend on is done before the first poll.
    let look = client.begin();
    let exchange = Exchange::begin(client, &request);
    let settings = exchange.client.worker.settings();
    async move { Ok(exchange.run(request, &settings, look).await) }
}

impl Exchange {
    fn begin(client: Rc<Client>, request: &Request<Incoming>) -> Exchange {
        let turn = client.http2.get().then(|| {
            let turn = Rc::<Turn>::default();
            client.turns.borrow_mut().push(turn.clone());
            client.next_turn.replace(Some(turn.clone()));
            turn
        });
        let account = Account {
            began: Instant::now(),
            client: Some(client.address),
            client_requests_before: client.requests.get() - 1,
            method: request.method().clone(),
            path: match request.method() {
                &Method::CONNECT => request.uri().to_string(),
                _ => request.uri().path().to_owned(),
            },
            version: request.version(),
            status: None,
            attempts: Vec::new(),
            request_bytes: 0,
            response_bytes: 0,
            failure: None,
            ended: None,
        };
        Exchange {
            client,
            account: Rc::new(RefCell::new(account)),
            body: None,
            turn,
            over: false,
        }
    }

    async fn run(
        mut self,
        request: Request<Incoming>,
        settings: &Rc<Settings>,
        look: HeadLook,
    ) -> Response<AnswerBody> {
        let keeps = self.keeps(&request, look, settings);
        let (mut parts, incoming) = request.into_parts();
        let version = parts.version;
        // Over HTTP/2, of CONNECT: the stream that a tunnel goes through.
        let stream = parts.extensions.remove::<OnUpgrade>().filter(|_| self.is_http2());
        let expects = parts.headers.contains_key(header::EXPECT);
        let body = RequestBody::new(incoming, expects, &self.client, settings);
        self.body = body.state().cloned();
        let request = match request::check(parts, look.has_length(), settings) {
            Ok(parts) => Request::from_parts(parts, body),
            Err(refused) => return self.refuse(refused, body, version, keeps),
        };
        let request = request::rewrite(request, &self.client, settings);
        let method = request.method().clone();
        let turn = self.turn.clone();
        let sent = unless_left(turn.as_deref(), settings.upstream.send(request, &self.account));
        match sent.await {
            Ok(Answer::Response(response)) => self.pass_on(response, &method, version, keeps, settings),
            Ok(Answer::Switched(head, server)) => self.switch(head, server, stream),
            Err(failure) => self.fail(failure, version, keeps),
        }
    }

    /// Whether the client will use the connection again, by its request and our limits.
    fn keeps(&self, request: &Request<Incoming>, look: HeadLook, settings: &Settings) -> bool {
        let client = &self.client;
        let last = settings
            .config
            .client
            .requests
            .is_some_and(|most| client.requests.get() >= most);
        if client.http2.get() {
            if last {
                client.order(Order::Finish(Why::Announced));
            }
            return true;
        }
        let asked = match request.version() {
            Version::HTTP_10 => fields::has_token(request.headers(), header::CONNECTION, "keep-alive"),
            _ => true,
        };
        // It may have had a length, too: RFC 9112, section 6.1, has the connection closed behind such a request.
        let headers = request.headers();
        let unsure = headers.contains_key(header::TRANSFER_ENCODING) && !look.is_of(headers.len());
        asked && !last && !unsure && !fields::has_token(headers, header::CONNECTION, "close")
    }

    fn pass_on(
        self,
        response: Response<crate::upstream::ResponseBody<RequestBody>>,
        method: &Method,
        version: Version,
        keeps: bool,
        settings: &Settings,
    ) -> Response<AnswerBody> {
        let (mut parts, body) = response.into_parts();
        let keeps = keeps && !self.client.worker.draining() && !self.must_close();
        response::rewrite(&mut parts, &body, method, version, keeps, &self, settings);
        self.answers();
        self.account.borrow_mut().status = Some(parts.status);
        if settings.config.proxy_status {
            let said = proxy_status::of_answer(&self.account.borrow());
            parts.headers.append(proxy_status::PROXY_STATUS, said);
        }
        Response::from_parts(parts, AnswerBody::passed_on(body, self))
    }

    fn switch(
        self,
        mut head: Response<()>,
        server: crate::upstream::Tunnel,
        stream: Option<OnUpgrade>,
    ) -> Response<AnswerBody> {
        self.answers();
        self.account.borrow_mut().status = Some(head.status());
        response::rewrite_switch(head.headers_mut());
        let client = self.client.clone();
        let switched = Switched { server, exchange: self };
        match stream {
            Some(stream) => front::within_http2(stream, switched),
            None => *client.switched.borrow_mut() = Some(switched),
        }
        head.map(|()| AnswerBody::empty())
    }

    fn fail(self, failure: Failure, version: Version, keeps: bool) -> Response<AnswerBody> {
        let refused = match self.body.as_deref().and_then(BodyState::refusal) {
            Some(refused) => refused,
            None => Refused::failed(&failure),
        };
        self.account.borrow_mut().failure = Some(failure);
        self.say(refused, version, keeps)
    }

    /// An answer of our own to a request that goes nowhere.
    fn refuse(self, refused: Refused, body: RequestBody, version: Version, keeps: bool) -> Response<AnswerBody> {
        let failure = Failure::Request(refused.why.clone());
        if refused.is_fault() {
            self.account.borrow_mut().failure = Some(failure);
        }
        let closes = refused.closes;
        let response = self.say(refused, version, keeps && !closes);
        // After the answer's head is made: it says whether the rest will be read.
        drop(body);
        response
    }

    fn say(self, refused: Refused, version: Version, keeps: bool) -> Response<AnswerBody> {
        let keeps = keeps && !self.client.worker.draining() && !self.must_close();
        self.answers();
        self.account.borrow_mut().status = Some(refused.status);
        let (mut response, text) = refused.response();
        *response.version_mut() = response::spoken(version);
        let settings = self.client.worker.settings();
        response::say_whether_kept(response.headers_mut(), version, keeps, &self, &settings);
        if self.account.borrow().method == Method::HEAD {
            let length = HeaderValue::from(text.len());
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
            return response.map(|()| AnswerBody::of_our_own(Bytes::new(), self));
        }
        response.map(|()| AnswerBody::of_our_own(text, self))
    }

    /// Whether so much of the request is still to come that its connection is not worth keeping for it, or where it ended is not sure.
    fn must_close(&self) -> bool {
        let closes = match &self.body {
            Some(body) => !self.client.http2.get() && body.is_too_long_to_keep(),
            None => false,
        };
        if closes && let Some(body) = &self.body {
            body.close_after_answer();
        }
        closes || self.client.is_end_doubtful()
    }

    /// The answer's head is made.
    fn answers(&self) {
        self.client.answers();
        if let Some(turn) = &self.turn {
            turn.answers();
        }
    }

    /// HTTP/2: whose turn it is.
    pub(crate) fn turn(&self) -> Option<&Turn> {
        self.turn.as_deref()
    }

    /// Bytes of the answer were handed over.
    pub(crate) fn handed_over(&self, bytes: usize) {
        self.account.borrow_mut().response_bytes += bytes as u64;
        self.client.given();
    }

    /// Bytes that a tunnel carried.
    pub(crate) fn carried(&self, up: u64, down: u64) {
        let mut account = self.account.borrow_mut();
        account.request_bytes += up;
        account.response_bytes += down;
    }

    /// It is over. The failure, if the answer was not whole.
    pub(crate) fn over(mut self, failure: Option<Failure>) {
        match failure {
            Some(failure) => {
                self.account.borrow_mut().failure.get_or_insert(failure);
            }
            None => self.client.answered_whole(),
        }
        self.end();
    }

    /// Why it ends before its answer does.
    pub(crate) fn why_cut(&self) -> Failure {
        match &self.turn {
            Some(turn) if turn.is_cancelled() => Failure::ClientStalled,
            _ => self.client.why_cut(),
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.client.http2.get()
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let mut account = self.account.borrow_mut();
        if let Some(body) = &self.body {
            account.request_bytes = body.bytes();
        }
        let ended = Instant::now();
        account.ended = Some(ended);
        let is_sure = account.failure.is_some()
            || self.is_http2()
            || ended.saturating_duration_since(account.began) < IMPATIENT
            || !self.client.has_half_closed();
        match is_sure {
            true => self.client.worker.sink.exchange(&account),
            false => self.client.doubt(self.account.clone()),
        }
        drop(account);
        self.client.answered();
        self.client.leave();
    }
}

/// Waits for the server, until there is no more time for that. Over HTTP/1 the connection's task sees to it.
async fn unless_left<T>(turn: Option<&Turn>, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut answer = pin!(answer);
    poll_fn(|cx| match turn {
        Some(turn) if turn.is_left() => Poll::Ready(Err(Failure::DrainEnded)),
        _ => answer.as_mut().poll(cx),
    })
    .await
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.over {
            {
                let why = self.why_cut();
                let mut account = self.account.borrow_mut();
                account.failure.get_or_insert(why);
                account.status = account.status.or(self.client.told());
            }
            self.end();
        }
    }
}
