//! Answers that the guard makes itself: short words for whoever reads them, `Proxy-Status` (RFC 9209) for whoever looks for a cause.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use crate::failure::Failure;
use crate::say::proxy_status::{self, PROXY_STATUS};

/// The client's fault (RFC 9209, section 2.3).
const OF_REQUEST: &str = "http_request_error";

/// An answer of the guard's own.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// What was wrong, in words that a client may read.
    pub(super) why: String,
    /// The type of error of RFC 9209, section 2.3; `None`: it is no error.
    error: Option<&'static str>,
    /// The connection is of no more use.
    pub(super) closes: bool,
    /// Methods that are allowed.
    allow: bool,
}

impl Refused {
    /// A request that goes nowhere.
    pub(super) fn new(status: StatusCode, why: &str) -> Refused {
        Refused {
            status,
            why: why.to_owned(),
            error: Some(OF_REQUEST),
            closes: false,
            allow: false,
        }
    }

    /// The same, and the connection is closed: where the request ends is not sure.
    pub(super) fn closing(status: StatusCode, why: &str) -> Refused {
        Refused {
            closes: true,
            ..Refused::new(status, why)
        }
    }

    pub(super) fn too_large(limit: u64) -> Refused {
        Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("the body is larger than the {limit} bytes that are allowed"),
        )
    }

    /// To OPTIONS that is not to be forwarded any further (RFC 9110, section 7.6.2).
    pub(super) fn options() -> Refused {
        Refused {
            error: None,
            allow: true,
            ..Refused::new(StatusCode::OK, "")
        }
    }

    /// In place of an answer of the server.
    pub(super) fn failed(failure: &Failure) -> Refused {
        Refused {
            error: Some(failure.proxy_error()),
            ..Refused::new(failure.status(), &words(failure))
        }
    }

    /// Whether it is somebody's fault.
    pub(super) fn is_fault(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn response(self) -> (Response<()>, Bytes) {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(error) = self.error {
            headers.insert(PROXY_STATUS, proxy_status::of_own(error, &self.why));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        if self.allow {
            headers.insert(
                header::ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"),
            );
        }
        let text = match self.error {
            Some(_) => Bytes::from(text(self.status, &self.why)),
            None => Bytes::new(),
        };
        (response, text)
    }
}

/// The whole answer to what is no request, as HTTP/1.1 has it. The connection is closed behind it.
pub(crate) fn own_answer(status: StatusCode, why: &str) -> Vec<u8> {
    let text = text(status, why);
    let mut out = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nProxy-Status: ",
        text.len()
    )
    .into_bytes();
    out.extend_from_slice(proxy_status::of_own(OF_REQUEST, why).as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(text.as_bytes());
    out
}

fn text(status: StatusCode, why: &str) -> String {
    format!("{status}: {why}\n")
}

/// What a client may know: no names and addresses of what is behind.
fn words(failure: &Failure) -> String {
    match failure {
        Failure::NameNotFound(_) => "the name of the server was not found".to_owned(),
        Failure::Unreachable(_) | Failure::NoSocket(_) | Failure::SocketForbidden { .. } => {
            "there is no way to the server".to_owned()
        }
        Failure::Tls(_) | Failure::HandshakeTimeout => "TLS with the server failed".to_owned(),
        Failure::Certificate(_) => "the certificate of the server is not trusted".to_owned(),
        Failure::NoHttp2 => "the server closed the connection without an answer".to_owned(),
        Failure::DrainEnded => "the proxy is being stopped, and the server may have acted".to_owned(),
        Failure::Other(_) => "the proxy failed".to_owned(),
        failure => failure.to_string(),
    }
}
