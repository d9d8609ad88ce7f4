//! Accepting clients at one address.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Everyone, Worker};
use crate::front;
use crate::say::Notice;

/// Without file descriptors or memory: nobody is accepted for so long.
const PAUSE: Duration = Duration::from_millis(100);
/// With all connections in use: so often is looked whether one is free.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(20);
/// The same trouble is not told more often.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// So many are accepted before others have their turn.
const AT_ONCE: u32 = 32;

/// An address at which clients are accepted.
pub(super) struct Place {
    pub(super) name: SocketAddr,
    pub(super) tls: RefCell<Option<TlsAcceptor>>,
    stopped: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Place {
    pub(super) fn new(name: SocketAddr, tls: Option<TlsAcceptor>) -> Place {
        Place {
            name,
            tls: RefCell::new(tls),
            stopped: Cell::new(false),
            task: RefCell::new(None),
        }
    }

    /// Takes whoever is queued already, and then nobody.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

/// Accepts until the place is stopped.
pub(super) async fn run(worker: Rc<Worker>, listener: TcpListener, place: Rc<Place>) {
    let mut told = Told::default();
    let mut in_a_row = 0;
    loop {
        let accepted = poll_fn(|cx| {
            if place.stopped.get() {
                return Poll::Ready(Next::Stopped);
            }
            // Before the client is accepted: other workers count in the same number.
            let Some(seat) = Seat::take(&worker.everyone) else {
                return Poll::Ready(Next::NoRoom);
            };
            let accepted = listener.poll_accept(cx);
            if accepted.is_pending() {
                *place.task.borrow_mut() = Some(cx.waker().clone());
            }
            accepted.map(|accepted| match accepted {
                Ok((stream, address)) => Next::Client(seat, stream, address),
                Err(error) => Next::Trouble(error),
            })
        });
        match accepted.await {
            Next::Client(seat, stream, address) => {
                welcome(&worker, &place, seat, stream, address);
                in_a_row += 1;
                if in_a_row >= AT_ONCE {
                    in_a_row = 0;
                    tokio::task::yield_now().await;
                }
            }
            Next::NoRoom => {
                let limit = worker.everyone.limit.load(Ordering::Relaxed);
                told.tell(&worker, Notice::ConnectionLimit { limit });
                while !has_room(&worker) && !place.stopped.get() {
                    tokio::time::sleep(LOOK_FOR_ROOM).await;
                }
            }
            Next::Trouble(error) => match Trouble::of(&error) {
                Trouble::TheirsOnly => {}
                Trouble::Shortage => {
                    told.tell(&worker, Notice::Descriptors { pause: PAUSE });
                    tokio::time::sleep(PAUSE).await;
                }
                Trouble::Other => {
                    told.tell(&worker, Notice::AcceptFailed(error.to_string()));
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Next::Stopped => break,
        }
    }
    take_the_queued(&worker, listener, &place);
    worker.closed();
}

/// What becomes of a look at a place.
enum Next {
    Client(Seat, TcpStream, SocketAddr),
    /// As many clients are there as is allowed.
    NoRoom,
    Trouble(io::Error),
    Stopped,
}

/// One client among those that all workers count. Dropped, it is another's.
pub(crate) struct Seat(Arc<Everyone>);

impl Seat {
    /// `None`: all are taken.
    fn take(everyone: &Arc<Everyone>) -> Option<Seat> {
        let limit = everyone.limit.load(Ordering::Relaxed);
        everyone
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < limit).then_some(taken + 1)
            })
            .ok()
            .map(|_| Seat(everyone.clone()))
    }

    /// For who is a client already, whatever the limit.
    fn beyond(everyone: &Arc<Everyone>) -> Seat {
        everyone.connections.fetch_add(1, Ordering::Relaxed);
        Seat(everyone.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts whoever the kernel has accepted already: with the socket's close it would reset them.
fn take_the_queued(worker: &Rc<Worker>, listener: TcpListener, place: &Place) {
    // tokio asks the kernel only where it was told of somebody.
    let Ok(listener) = listener.into_std() else {
        return;
    };
    loop {
        match listener.accept() {
            Ok((stream, address)) => {
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = stream {
                    welcome(worker, place, Seat::beyond(&worker.everyone), stream, address);
                }
            }
            Err(error) if matches!(Trouble::of(&error), Trouble::TheirsOnly) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => return worker.sink.notice(&Notice::AcceptFailed(error.to_string())),
        }
    }
}

fn welcome(worker: &Rc<Worker>, place: &Place, seat: Seat, stream: TcpStream, address: SocketAddr) {
    let tls = place.tls.borrow().clone();
    tokio::task::spawn_local(front::serve(worker, seat, stream, address, tls));
}

fn has_room(worker: &Worker) -> bool {
    let everyone = &worker.everyone;
    everyone.connections.load(Ordering::Relaxed) < everyone.limit.load(Ordering::Relaxed)
}

/// What went wrong on accepting (accept(2)).
enum Trouble {
    /// With that one connection.
    TheirsOnly,
    /// There are not enough of something.
    Shortage,
    Other,
}

impl Trouble {
    fn of(error: &io::Error) -> Trouble {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(
                Errno::CONNABORTED
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::PERM,
            ) => Trouble::TheirsOnly,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Trouble::Shortage,
            _ => Trouble::Other,
        }
    }
}

/// Tells the same only now and then.
#[derive(Default)]
struct Told(Option<(Notice, Instant)>);

impl Told {
    fn tell(&mut self, worker: &Worker, notice: Notice) {
        let lately = self
            .0
            .as_ref()
            .is_some_and(|(told, when)| *told == notice && when.elapsed() < TELL_AGAIN);
        if !lately {
            worker.sink.notice(&notice);
            self.0 = Some((notice, Instant::now()));
        }
    }
}
