//! One client's connection, as everybody sees it who has a part in it: what it is doing, since when, and what is to become of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use lingering::{SocketRef, Transport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::head::{self, HeadLook};
use super::http2::Turn;
use super::stream::{ClientLingering, ClientStream};
use super::tunnel::Switched;
use crate::account::SharedAccount;
use crate::config::ClientLimits;
use crate::failure::Failure;
use crate::say::{Refusal, Why};
use crate::worker::{Millis, Worker};

/// A client's connection. It ends with its task.
pub(crate) struct Client {
    /// Who it is.
    pub(crate) address: SocketAddr,
    pub(crate) worker: Rc<Worker>,
    /// Where it stands in the worker's list.
    pub(crate) place: Cell<usize>,
    /// The stream, until it lingers.
    pub(crate) stream: RefCell<Option<ClientLingering>>,
    /// Whether it speaks TLS.
    pub(crate) tls: Cell<bool>,
    /// Whether it speaks HTTP/2.
    pub(crate) http2: Cell<bool>,
    /// Requests that were begun.
    pub(crate) requests: Cell<u64>,
    /// The connection behind, after a switch of protocols.
    pub(crate) switched: RefCell<Option<Switched>>,
    /// HTTP/2: whose turn it is, for each exchange.
    pub(crate) turns: RefCell<Vec<Rc<Turn>>>,
    /// HTTP/2: the exchange whose task is made next.
    pub(crate) next_turn: RefCell<Option<Rc<Turn>>>,
    /// hyper has its HTTP/1 stream, and buffers for it.
    warm: Cell<bool>,
    phase: Cell<Phase>,
    since: Cell<Millis>,
    /// When the last byte was read or written.
    moved: Cell<Millis>,
    /// A write waits for the client.
    blocked: Cell<bool>,
    /// HTTP/1: answers to a client that had closed its side before them. Whether it only has nothing more to say, or has left, its kernel tells.
    doubted: RefCell<Vec<SharedAccount>>,
    /// Until when it has time for that, and when is looked again.
    settling: RefCell<Option<(Instant, Pin<Box<Sleep>>)>>,
    /// Everything that was given to hyper is in the kernel's hands.
    flushed: Cell<bool>,
    /// How often that became so.
    flushes: Cell<u64>,
    /// HTTP/2: who waits for the next time.
    flush_waiters: RefCell<Vec<Waker>>,
    /// The last answer was given to hyper, whole or not.
    answered: Cell<bool>,
    /// The answer to the last request was begun.
    answering: Cell<bool>,
    /// What it was told in place of an answer when it was broken off.
    told: Cell<Option<StatusCode>>,
    /// The status of an answer that hyper made itself and that was kept from the client.
    withheld: Cell<Option<StatusCode>>,
    /// hyper has shut down the stream.
    shut_down: Cell<bool>,
    /// Exchanges that run, and bodies that are drained.
    running: Cell<u32>,
    /// The peer's reset was seen.
    broken: Cell<bool>,
    /// The last answer said that it is the last one.
    announced: Cell<bool>,
    /// HTTP/1.0: only the connection's end tells the client where the answer ends.
    ends_answer: Cell<bool>,
    /// The last answer was given to hyper, whole.
    whole: Cell<bool>,
    /// Where its last request ended is not sure.
    end_is_doubtful: Cell<bool>,
    look: Cell<HeadLook>,
    /// Method and path of a request whose target hyper will not take.
    odd_line: Cell<Option<Box<(String, String)>>>,
    order: Cell<Option<Order>>,
    /// It was told to finish because it was idle.
    finishing: Cell<bool>,
    /// Why it was broken off from here.
    broken_off: Cell<Option<Why>>,
    task: RefCell<Option<Waker>>,
    drainer: RefCell<Option<Waker>>,
    forwarded_for: OnceCell<HeaderValue>,
}

/// What the connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing was read yet, or TLS is being agreed on.
    Opening,
    /// A request's head is being read.
    Head,
    /// It waits for a request.
    Idle,
    /// At least one exchange runs.
    Exchange,
    /// It is a stream of bytes.
    Tunnel,
}

/// What its task is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// To end when what runs is over.
    Finish(Why),
    /// To end now.
    Break(Why),
    /// To let go of its buffers, if it is idle.
    Rest,
}

/// Exchanges that are shorter are not looked at for a reset: most are over by then.
const LOOK_FOR_RESET_AFTER: Millis = 1000;
/// How long the kernel of a client that had closed its side has for taking the answer, or resetting, and how often is looked.
const SETTLED: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// So many clients of a worker may keep their buffers while they wait for a request: those that ask all the time need no new ones. With
/// more, who waits lets go of them at once, so that they are not there for as many as come between two looks of the sweep.
const WARM_MOST: usize = 256;

impl Client {
    pub(crate) fn new(worker: &Rc<Worker>, stream: ClientStream, address: SocketAddr) -> Rc<Client> {
        let now = worker.now();
        Rc::new(Client {
            address,
            worker: worker.clone(),
            place: Cell::new(0),
            stream: RefCell::new(Some(ClientLingering::with_set(
                stream,
                worker.lingering.clone(),
                address,
            ))),
            tls: Cell::new(false),
            http2: Cell::new(false),
            requests: Cell::new(0),
            switched: RefCell::new(None),
            turns: RefCell::new(Vec::new()),
            next_turn: RefCell::new(None),
            warm: Cell::new(false),
            phase: Cell::new(Phase::Opening),
            since: Cell::new(now),
            moved: Cell::new(now),
            blocked: Cell::new(false),
            doubted: RefCell::new(Vec::new()),
            settling: RefCell::new(None),
            flushed: Cell::new(true),
            flushes: Cell::new(0),
            flush_waiters: RefCell::new(Vec::new()),
            answered: Cell::new(false),
            answering: Cell::new(false),
            told: Cell::new(None),
            withheld: Cell::new(None),
            shut_down: Cell::new(false),
            running: Cell::new(0),
            broken: Cell::new(false),
            announced: Cell::new(false),
            ends_answer: Cell::new(false),
            whole: Cell::new(false),
            end_is_doubtful: Cell::new(false),
            look: Cell::new(HeadLook::default()),
            odd_line: Cell::new(None),
            order: Cell::new(None),
            finishing: Cell::new(false),
            broken_off: Cell::new(None),
            task: RefCell::new(None),
            drainer: RefCell::new(None),
            forwarded_for: OnceCell::new(),
        })
    }

    /// Keeps another stream, which lingers when it is let go.
    pub(crate) fn keep(&self, stream: ClientStream) {
        let stream = ClientLingering::with_set(stream, self.worker.lingering.clone(), self.address);
        *self.stream.borrow_mut() = Some(stream);
    }

    // What its stream tells.

    /// Bytes came, or with none its FIN.
    pub(crate) fn read(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.moved.set(self.worker.now());
        if self.http2.get() {
            return;
        }
        match self.phase.get() {
            Phase::Opening => {
                self.phase.set(Phase::Head);
                self.odd_line.set(head::odd_line(bytes));
            }
            Phase::Idle => {
                self.enter_phase(Phase::Head);
                self.odd_line.set(head::odd_line(bytes));
            }
            Phase::Head => {}
            Phase::Exchange | Phase::Tunnel => return,
        }
        let mut look = self.look.get();
        look.on(bytes);
        self.look.set(look);
    }

    /// A write went so.
    pub(crate) fn wrote(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(_)) => {
                self.moved.set(self.worker.now());
                self.blocked.set(false);
            }
            Poll::Ready(Err(_)) => self.broken(),
            Poll::Pending => self.blocked.set(true),
        }
    }

    /// A flush went so.
    pub(crate) fn flushed(&self, result: &Poll<io::Result<()>>) {
        match result {
            Poll::Ready(Ok(())) => {
                self.blocked.set(false);
                if !self.flushed.replace(true) {
                    self.flushes.set(self.flushes.get() + 1);
                    if let Some(drainer) = self.drainer.take() {
                        drainer.wake();
                    }
                    self.flush_waiters.take().into_iter().for_each(Waker::wake);
                }
            }
            Poll::Ready(Err(_)) => self.broken(),
            Poll::Pending => self.blocked.set(true),
        }
    }

    /// The stream failed.
    pub(crate) fn broken(&self) {
        self.broken.set(true);
    }

    // What its exchanges tell.

    /// An exchange begins. What was seen of its head.
    pub(crate) fn begin(&self) -> HeadLook {
        self.requests.set(self.requests.get() + 1);
        self.flushed.set(false);
        self.answered.set(false);
        self.answering.set(false);
        // It was taken after all.
        self.odd_line.take();
        self.enter();
        self.look.take()
    }

    /// Something runs that is not to be taken for idleness.
    pub(crate) fn enter(&self) {
        let running = self.running.get();
        self.running.set(running + 1);
        if running == 0 {
            self.enter_phase(Phase::Exchange);
        }
        self.worker.totals.exchange_began();
    }

    /// It is over.
    pub(crate) fn leave(&self) {
        let running = self.running.get().saturating_sub(1);
        self.running.set(running);
        if running == 0 && self.phase.get() == Phase::Exchange {
            self.enter_phase(Phase::Idle);
        }
        self.worker.totals.exchange_ended();
    }

    /// The answer's head is made.
    pub(crate) fn answers(&self) {
        self.answering.set(true);
        self.flushed.set(false);
    }

    /// Whether it waits for an answer of which it has nothing.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.phase.get() == Phase::Exchange && !self.answering.get() && !self.blocked.get()
    }

    /// It was told this in place of an answer.
    pub(crate) fn tell(&self, status: StatusCode) {
        self.told.set(Some(status));
    }

    /// HTTP/2: has whoever waits for an answer be told that there will be none. How many that are.
    pub(crate) fn leave_unanswered(&self) -> u64 {
        self.turns.borrow().iter().filter(|turn| turn.leave()).count() as u64
    }

    /// What it was told in place of an answer.
    pub(crate) fn told(&self) -> Option<StatusCode> {
        self.told.get()
    }

    /// Whether what hyper is about to write is an answer of its own, to what is no request: nothing that it was given is still to be written.
    /// It is withheld: it says nothing of why. See `http1::refuse`.
    pub(super) fn withholds(&self, bytes: &[u8]) -> bool {
        if self.withheld.get().is_some() {
            return true;
        }
        if self.http2.get() || self.running.get() > 0 || !self.flushed.get() || self.phase.get() == Phase::Tunnel {
            return false;
        }
        // HTTP/1.1 400 Bad Request
        let status = bytes.get(9..12).and_then(|status| StatusCode::from_bytes(status).ok());
        self.withheld.set(status);
        status.is_some()
    }

    /// The status of what was withheld.
    pub(super) fn withheld(&self) -> Option<StatusCode> {
        self.withheld.get()
    }

    /// hyper shuts down the stream. Whether that waits for an answer in place of the one that was withheld.
    pub(super) fn shuts_down(&self) -> bool {
        self.shut_down.set(self.withheld.get().is_none());
        self.shut_down.get()
    }

    /// Whether hyper has shut down the stream.
    pub(super) fn is_shut_down(&self) -> bool {
        self.shut_down.get()
    }

    /// Bytes of the answer were given to hyper.
    pub(crate) fn given(&self) {
        self.flushed.set(false);
    }

    /// The answer was given to hyper, whole or not.
    pub(crate) fn answered(&self) {
        self.flushed.set(false);
        self.answered.set(true);
    }

    /// The answer was given to hyper, whole.
    pub(crate) fn answered_whole(&self) {
        self.whole.set(true);
    }

    /// Where its request ended is not sure to everybody.
    pub(crate) fn doubt_end(&self) {
        self.end_is_doubtful.set(true);
    }

    /// Whether the connection is not to be used behind the answer: there may be something in it that was not seen.
    pub(crate) fn is_end_doubtful(&self) -> bool {
        self.end_is_doubtful.get()
    }

    /// The client was told that the connection will be closed.
    pub(crate) fn announce(&self) {
        self.announced.set(true);
    }

    /// The answer that begins has no other end than the connection's.
    pub(crate) fn end_answer_by_close(&self) {
        self.ends_answer.set(true);
        self.whole.set(false);
    }

    /// Whether a FIN now would have the client take a part of an answer for the whole.
    pub(super) fn would_seem_whole(&self) -> bool {
        self.ends_answer.get() && !(self.whole.get() && self.flushed.get()) && !self.broken.get()
    }

    /// It waits for a request.
    pub(crate) fn wait(&self) {
        self.enter_phase(Phase::Idle);
    }

    /// hyper has the stream, until what is returned is dropped.
    pub(super) fn warm(&self) -> Warm<'_> {
        self.warm.set(true);
        self.worker.warm.set(self.worker.warm.get() + 1);
        Warm(self)
    }

    /// Whether hyper is to let go of the stream: nothing is under way on it, the connection is kept, and it has been idle since the last look
    /// of the sweep, or many others have buffers.
    pub(super) fn is_to_rest(&self, order: Option<Order>) -> bool {
        (order == Some(Order::Rest) || self.worker.warm.get() > WARM_MOST) && self.may_rest()
    }

    fn may_rest(&self) -> bool {
        self.phase.get() == Phase::Idle
            && self.flushed.get()
            && !self.blocked.get()
            && !self.announced.get()
            && !self.broken.get()
            && self.switched.borrow().is_none()
    }

    /// Ready when there is something to be read, or the end, or an error. Nothing of it is held above the socket: hyper had read all.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let stream = self.stream.borrow();
        match stream.as_ref().and_then(ClientLingering::get_ref) {
            Some(ClientStream::Plain(socket)) => socket.poll_read_ready(cx).map(drop),
            Some(ClientStream::Tls(stream)) => stream.get_ref().0.poll_read_ready(cx).map(drop),
            None => Poll::Ready(()),
        }
    }

    /// Why an exchange ends before its answer does.
    pub(crate) fn why_cut(&self) -> Failure {
        match self.broken_off.get() {
            Some(Why::Silence) => Failure::ClientStalled,
            Some(Why::DrainEnded) => Failure::DrainEnded,
            None if !self.worker.is_running() => Failure::Other(io::Error::other("the guard was stopped")),
            _ => Failure::ClientGone,
        }
    }

    /// It is a stream of bytes from here on.
    pub(crate) fn tunnel(&self) {
        self.enter_phase(Phase::Tunnel);
    }

    /// Whether everything that was given to hyper is in the kernel's hands.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.get()
    }

    /// Whether all of the answer is in the kernel's hands; else `cx` is woken when it is.
    pub(crate) fn poll_answer_flushed(&self, cx: &Context<'_>) -> bool {
        let flushed = self.answered.get() && self.flushed.get();
        if !flushed {
            *self.drainer.borrow_mut() = Some(cx.waker().clone());
        }
        flushed
    }

    /// How often everything that was given to hyper was in the kernel's hands.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.get()
    }

    /// `cx` is woken when everything that was given to hyper is in the kernel's hands.
    pub(crate) fn wait_for_flush(&self, cx: &Context<'_>) {
        self.flush_waiters.borrow_mut().push(cx.waker().clone());
    }

    /// Whether a write waits for the client.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.announced.get()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Exchanges that run, and bodies that are drained.
    pub(crate) fn running(&self) -> u32 {
        self.running.get()
    }

    /// Its address as `X-Forwarded-For` has it.
    pub(crate) fn forwarded_for(&self) -> &HeaderValue {
        self.forwarded_for.get_or_init(|| {
            let text = self.address.ip().to_canonical().to_string();
            HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
        })
    }

    /// What it sent was refused before it was understood, with this status where there was an answer.
    pub(super) fn refused(&self, status: Option<StatusCode>, why: &str) {
        let (why, line) = (why.to_owned(), self.odd_line.take());
        self.worker.sink.refused(self.address, Refusal { status, why, line });
    }

    /// Whether the request that is being read has a target that is none.
    pub(super) fn has_odd_line(&self) -> bool {
        let line = self.odd_line.take();
        let has = line.is_some();
        self.odd_line.set(line);
        has
    }

    // Orders.

    /// Tells its task what to do. To break off goes before all else.
    pub(crate) fn order(&self, order: Order) {
        if !matches!(self.order.get(), Some(Order::Break(_))) {
            self.order.set(Some(order));
        }
        if let Order::Break(why) = order {
            self.broken_off.set(Some(why));
        }
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// The order, if there is one. `cx` is woken by the next.
    pub(crate) fn poll_order(&self, cx: &Context<'_>) -> Option<Order> {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        self.order.take()
    }

    /// What is to become of it at this moment. Called now and then, so that a limit is kept to a tick of the worker, and
    /// never before its time.
    pub(crate) fn overdue(&self, now: Millis, limits: &ClientLimits, tick: Millis) -> Option<Order> {
        let over = |since: Millis, limit: std::time::Duration| {
            u128::from(now.saturating_sub(since)) > limit.as_millis() + u128::from(tick)
        };
        let silent = self.blocked.get() && over(self.moved.get(), limits.silence);
        match self.phase.get() {
            Phase::Opening | Phase::Head => {
                over(self.since.get(), limits.head_time).then_some(Order::Break(Why::HeadTime))
            }
            Phase::Idle | Phase::Exchange if silent => Some(Order::Break(Why::Silence)),
            Phase::Idle if self.blocked.get() => None,
            Phase::Idle if !over(self.since.get(), limits.idle) => {
                let rests = self.warm.get()
                    && self.may_rest()
                    && over(self.since.get(), std::time::Duration::ZERO)
                    && self.has_no_order();
                rests.then_some(Order::Rest)
            }
            // HTTP/2 waits for a word of the client.
            Phase::Idle if over(self.since.get(), limits.idle.saturating_add(limits.head_time)) => {
                Some(Order::Break(Why::Idle))
            }
            Phase::Idle => (!self.finishing.replace(true)).then_some(Order::Finish(Why::Idle)),
            Phase::Exchange => {
                for turn in &*self.turns.borrow() {
                    if turn.clients_since().is_some_and(|since| over(since, limits.silence)) {
                        turn.cancel();
                    }
                }
                let looked_for = now.saturating_sub(self.since.get()) > LOOK_FOR_RESET_AFTER;
                (looked_for && self.was_reset()).then_some(Order::Break(Why::PeerBroke))
            }
            Phase::Tunnel => None,
        }
    }

    fn has_no_order(&self) -> bool {
        self.order.get().is_none()
    }

    /// Takes the stream out of the hands of hyper, and lets it go: after so many more bytes, if the socket takes them at once.
    pub(crate) fn close(&self, last_words: &[u8]) {
        use tokio::io::AsyncWrite;
        self.settle();
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        let mut cx = Context::from_waker(Waker::noop());
        if !last_words.is_empty() {
            let _ = std::pin::Pin::new(&mut stream).poll_write(&mut cx, last_words);
            let _ = std::pin::Pin::new(&mut stream).poll_flush(&mut cx);
        }
        let _ = std::pin::Pin::new(&mut stream).poll_shutdown(&mut cx);
    }

    /// hyper does not read while it answers, and so does not see a reset. Nor a FIN, and that is right: who half-closes may still wait
    /// for the answer.
    fn was_reset(&self) -> bool {
        self.is(PollFlags::ERR)
    }

    /// Whether the client has closed its side.
    pub(crate) fn has_half_closed(&self) -> bool {
        self.is(PollFlags::RDHUP)
    }

    fn is(&self, what: PollFlags) -> bool {
        let asked = |socket: &TcpStream| {
            let mut fds = [PollFd::new(socket, what & PollFlags::RDHUP)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0 && fds[0].revents().contains(what))
        };
        self.with_socket(asked).unwrap_or(false)
    }

    fn with_socket<T>(&self, ask: impl FnOnce(&TcpStream) -> T) -> Option<T> {
        let stream = self.stream.borrow();
        match stream.as_ref()?.get_ref()?.socket() {
            SocketRef::Tcp(socket) => Some(ask(socket)),
            _ => None,
        }
    }

    /// Bytes that its kernel has not taken.
    fn unsent(&self) -> Option<u64> {
        self.with_socket(|socket| lingering::unsent(socket)).flatten()
    }

    // Answers to clients that had closed their side.

    /// An answer is whole, and its client had closed its side before. It is told of when it is known whether the client took it.
    pub(crate) fn doubt(&self, account: SharedAccount) {
        self.doubted.borrow_mut().push(account);
    }

    /// Waits until the client's kernel has taken all of such answers, or has answered one with a reset: then the client was gone.
    pub(super) fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.doubted.borrow().is_empty() {
            return Poll::Ready(());
        }
        let mut settling = self.settling.borrow_mut();
        let (until, again) = settling.get_or_insert_with(|| (Instant::now() + SETTLED, Box::pin(sleep(LOOK_AGAIN))));
        while !self.was_reset() && self.unsent() > Some(0) && Instant::now() < *until {
            ready!(again.as_mut().poll(cx));
            again.as_mut().reset(tokio::time::Instant::now() + LOOK_AGAIN);
        }
        drop(settling);
        self.settle();
        Poll::Ready(())
    }

    /// Tells of such answers by what is known now.
    pub(super) fn settle(&self) {
        let doubted = self.doubted.take();
        if doubted.is_empty() {
            return;
        }
        let gone = self.broken.get() || self.was_reset();
        for account in doubted {
            let mut account = account.borrow_mut();
            if gone {
                account.failure = Some(Failure::ClientGone);
            }
            self.worker.sink.exchange(&account);
        }
    }

    fn enter_phase(&self, phase: Phase) {
        self.phase.set(phase);
        self.finishing.set(false);
        self.since.set(self.worker.now());
    }
}

/// hyper has a client's stream.
pub(super) struct Warm<'a>(&'a Client);

impl Drop for Warm<'_> {
    fn drop(&mut self) {
        self.0.warm.set(false);
        self.0.worker.warm.set(self.0.worker.warm.get() - 1);
    }
}
