//! gunicorn, uvicorn, uWSGI, http.server.

use crate::hold::{Known, Limit, hold};
use crate::kernel::Left;
use crate::server::Server;

/// `http_server.py HOST PORT TIMEOUT [application]`: http.server that speaks HTTP/1.1. As an application behind a proxy it has threads and
/// reads the bodies of requests, which http.server leaves to its user.
pub const HTTP_SERVER: &str = r#"
import http.server, sys

APPLICATION = sys.argv[4:] == ['application']

class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    timeout = float(sys.argv[3])

    def do_GET(self):
        if APPLICATION:
            self.rfile.read(int(self.headers.get('Content-Length', 0)))
        body = b'hello from http.server\n'
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass

kind = http.server.ThreadingHTTPServer if APPLICATION else http.server.HTTPServer
kind.request_queue_size = 128
kind((sys.argv[1], int(sys.argv[2])), Hello).serve_forever()
"#;

const WSGI: &str = r#"
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '11')])
    # gunicorn and uWSGI send what they are given, to HEAD too.
    return [] if environ['REQUEST_METHOD'] == 'HEAD' else [b'hello WSGI\n']
"#;

const ASGI: &str = r#"
async def application(scope, receive, send):
    if scope['type'] != 'http':
        raise NotImplementedError
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'11')]})
    await send({'type': 'http.response.body', 'body': b'hello ASGI\n'})
"#;

/// gunicorn with options; its application reads no body.
pub fn gunicorn(options: &str) -> Server {
    gunicorn_with(WSGI, options)
}

/// gunicorn with an application of one's own.
pub fn gunicorn_with(application: &str, options: &str) -> Server {
    Server::new().file("app.py", application).start(&format!(
        "gunicorn --bind {{addr}} --chdir {{dir}} {options} app:application"
    ))
}

/// uvicorn with options.
pub fn uvicorn(options: &str) -> Server {
    Server::new().file("app.py", ASGI).start(&format!(
        "uvicorn --host {{host}} --port {{port}} --app-dir {{dir}} --log-level warning {options} app:application"
    ))
}

/// uWSGI with options, which name the socket.
pub fn uwsgi(options: &str) -> Server {
    Server::new().file("app.py", WSGI).start(&format!(
        "uwsgi --plugin python3 --master --die-on-term --need-app --disable-logging --wsgi-file {{dir}}/app.py {options}"
    ))
}

/// One connection at a time, HTTP/1.1, and this timeout, in seconds.
pub fn http_server(timeout: &str) -> Server {
    Server::new()
        .file("http_server.py", HTTP_SERVER)
        .start(&format!("python3 {{dir}}/http_server.py {{host}} {{port}} {timeout}"))
}

#[test]
#[ignore = "needs root, gunicorn"]
fn gunicorn_sync_keeps_nothing_and_says_so() {
    let server = gunicorn("--worker-class sync");
    hold(
        &server,
        &Known {
            name: "gunicorn sync",
            kept: "closed-announced",
            ends_by: None,
            promised: None,
            promised_if_asked: None,
            serial: true,
            limits: &[
                (Left::AfterOne, Limit::AtOnce),
                (Left::Unused, Limit::None),
                (Left::InHead, Limit::None),
                (Left::InBody, Limit::AtOnce),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}

#[test]
#[ignore = "needs root, gunicorn"]
fn gunicorn_gthread_is_as_configured() {
    let server = gunicorn("--worker-class gthread --threads 40 --keep-alive 2");
    hold(
        &server,
        &Known {
            name: "gunicorn gthread",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: None,
            serial: false,
            limits: &[
                (Left::AfterOne, Limit::Ticks(2000, 1100)),
                (Left::AfterSeveral, Limit::Ticks(2000, 1100)),
                (Left::Unused, Limit::None),
                (Left::InHead, Limit::None),
                (Left::InBody, Limit::AtOnce),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}

#[test]
#[ignore = "needs root, uvicorn"]
fn uvicorn_is_as_configured() {
    let server = uvicorn("--timeout-keep-alive 2");
    hold(
        &server,
        &Known {
            name: "uvicorn",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: None,
            serial: false,
            limits: &[
                (Left::AfterOne, Limit::Is(2000)),
                (Left::AfterSeveral, Limit::Is(2000)),
                (Left::Unused, Limit::None),
                (Left::InHead, Limit::None),
                (Left::InBody, Limit::AtOnce),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}

#[test]
#[ignore = "needs root, uwsgi"]
fn uwsgi_http_socket_keeps_nothing_and_says_nothing() {
    let server = uwsgi("--http-socket {addr} --socket-timeout 2 --threads 40");
    hold(
        &server,
        &Known {
            name: "uWSGI http-socket",
            kept: "closed-unannounced",
            ends_by: None,
            promised: None,
            promised_if_asked: None,
            serial: false,
            limits: &[
                (Left::AfterOne, Limit::AtOnce),
                // The kernel keeps them from it until the first byte comes: TCP_DEFER_ACCEPT.
                (Left::Unused, Limit::None),
                (Left::InHead, Limit::Is(2000)),
                (Left::InBody, Limit::AtOnce),
            ],
            faults: &["idle-timeout"],
            // On loopback a request rarely meets the close behind an answer.
            by_chance: &["closing-window"],
        },
    );
}

#[test]
#[ignore = "needs root, uwsgi"]
fn uwsgi_http11_socket_is_as_configured() {
    let server = uwsgi("--http11-socket {addr} --socket-timeout 2 --threads 40");
    hold(
        &server,
        &Known {
            name: "uWSGI http11-socket",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: None,
            serial: false,
            limits: &[
                (Left::AfterOne, Limit::Is(2000)),
                (Left::AfterSeveral, Limit::Is(2000)),
                // The kernel keeps them from it until the first byte comes: TCP_DEFER_ACCEPT.
                (Left::Unused, Limit::None),
                (Left::InHead, Limit::Is(2000)),
                (Left::InBody, Limit::AtOnce),
            ],
            faults: &[],
            by_chance: &[],
        },
    );
}

#[test]
#[ignore = "needs root, python3"]
fn http_server_serves_one_at_a_time_and_is_as_configured() {
    let server = http_server("1.5");
    hold(
        &server,
        &Known {
            name: "Python http.server",
            kept: "kept",
            ends_by: Some("fin"),
            promised: None,
            promised_if_asked: None,
            serial: true,
            limits: &[
                (Left::AfterOne, Limit::Is(1500)),
                // It writes head and body apart: Nagle's algorithm and the client's delayed acknowledgment hold back the body.
                (Left::AfterSeveral, Limit::Early(1500, 60)),
                (Left::Unused, Limit::Is(1500)),
                (Left::InHead, Limit::Is(1500)),
                (Left::InBody, Limit::AtOnce),
            ],
            // It takes a body that its user does not read for the next request.
            faults: &["unread-body"],
            by_chance: &[],
        },
    );
}
