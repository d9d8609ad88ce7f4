//! What happened in one exchange: what log, metrics, `Proxy-Status` and findings are made from.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Version};

use crate::failure::Failure;

/// One exchange, written to by everybody who has a part in it. An event loop's own.
pub type SharedAccount = Rc<RefCell<Account>>;

/// One exchange between a client and the server behind the guard.
#[derive(Debug)]
pub struct Account {
    /// When the head of the request was read.
    pub began: Instant,
    /// Who asked.
    pub client: Option<SocketAddr>,
    /// Requests on the client's connection before this one.
    pub client_requests_before: u64,
    /// The request's method.
    pub method: Method,
    /// The request's path, without its query.
    pub path: String,
    /// The version the client speaks.
    pub version: Version,
    /// The status that the client got.
    pub status: Option<StatusCode>,
    /// Every try to get an answer, in order.
    pub attempts: Vec<Attempt>,
    /// Bytes of the request's body that were read from the client.
    pub request_bytes: u64,
    /// Bytes of the response's body that were handed over for sending to the client.
    pub response_bytes: u64,
    /// What made the last attempt fail, or cut the answer short. `None`: the answer was whole.
    pub failure: Option<Failure>,
    /// When it was over: the answer was handed over whole, or there was nothing more to come.
    pub ended: Option<Instant>,
}

/// One try to get an answer from the server.
#[derive(Debug)]
pub struct Attempt {
    /// The server's address.
    pub to: Arc<str>,
    /// The connection's number, unique in this process; 0: none came about.
    pub connection: u64,
    /// Requests on the connection before this one.
    pub requests_before: u64,
    /// How long the connection had been idle, where it was not fresh.
    pub idle: Option<Duration>,
    /// From the first byte of the request written to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// An error on sending that did not keep the answer from coming: the answer was saved. Also a reset that came while the rest of the
    /// request was held back, as the answer did not want it.
    pub send_failed: bool,
    /// Bytes behind the answer that no request had asked for. The connection was given up.
    pub surplus: usize,
    /// Why it failed, where another try followed.
    pub failure: Option<Failure>,
}

impl Attempt {
    /// A try that has only begun, on the connection of that number.
    pub fn new(to: Arc<str>, connection: u64) -> Attempt {
        Attempt {
            to,
            connection,
            requests_before: 0,
            idle: None,
            first_byte: None,
            send_failed: false,
            surplus: 0,
            failure: None,
        }
    }
}
