"""Servers that close with request bytes unread, and the look-alikes that drain."""

import time

from lab import PROGRAMS, PYTHON_OLD, blame, clean
from registry import case
from servers import (
    apache,
    go_server,
    gunicorn,
    haproxy,
    java,
    java_plain,
    nginx,
    node,
    puma,
    python_program,
    raw,
    uwsgi,
)

def unread(connection, also=()):
    """The judge for a server that ignores the body: the kernel says if anything was unread."""
    if connection.reset_by("server", "TCP_ABORT_ON_CLOSE"):
        return blame("unread-request-body", "request body unread when the server closed", also=also)
    if connection.resets:
        return None
    return clean("the whole request had been read before the server closed")


@case(
    "nginx-gunicorn-ignored-body",
    "nginx in front of gunicorn whose view ignores the POST body",
    "curl posts small forms through nginx to a gunicorn sync worker whose Flask view never reads the body and answers "
    "614 400 bytes. From two slow clients the body follows the head after a moment, and nginx (proxy_request_buffering "
    "off) passes head and body on in two writes: then gunicorn has read the head alone, closes with the body unread, and its kernel resets the "
    "rest of the answer.",
    ["nginx", "gunicorn-old sync", "flask", "curl"],
    shows={"unread-request-body": 1, "clean": 4},
)
def nginx_gunicorn(lab):
    host = lab.one_host()
    gunicorn(lab, host, python=PYTHON_OLD)
    nginx(
        lab,
        host,
        "server { listen 10.77.0.1:80; location / { proxy_pass http://10.77.0.1:8000; proxy_request_buffering off;"
        " proxy_http_version 1.1; proxy_buffering off; proxy_set_header Connection close; } }",
    )
    lab.record(host)
    told = []
    for late in (False, False, True, False, True, False):
        if late:
            told += lab.client(
                host,
                ["/usr/bin/python3", PROGRAMS / "rawhttp.py", "10.77.0.1", 80, "rcvbuf:16000",
                 "send:POST / HTTP/1.1\\r\\nHost: shop.example\\r\\nContent-Type: application/x-www-form-urlencoded\\r\\n"
                 "Content-Length: 22\\r\\nConnection: close\\r\\n\\r\\n", "wait:0.0005", "send:name=alice&city=oslo+n", "read:2000", "wait:0.3", "read"],
            )
        else:
            told += lab.curl(host, "-d", "name=alice&city=oslo+n", "http://10.77.0.1/")
        time.sleep(0.15)

    def judge(connection):
        if connection.server_port == 8000:
            # Requests go one after the other: the n-th connection of nginx carries the n-th request.
            lost = not told[connection.index].ok
            truth = unread(connection)
            if truth:
                truth.lost = lost
            return truth
        if connection.failed:
            return blame(
                "incomplete-response",
                "nginx passed on the part of the answer that it got from gunicorn, and closed",
            )
        return clean("nginx passed on the whole answer")

    return judge


@case(
    "uwsgi-http-ignored-body",
    "uWSGI's own HTTP socket and an application that ignores the POST body",
    "curl posts 20 000 bytes, then 60, to uwsgi --http-socket; the application answers 300 000 bytes and reads nothing. uWSGI "
    "has the head and what came with it in its buffer; the rest of the large body lies unread when it closes.",
    ["uwsgi", "curl"],
    shows={"unread-request-body": 2, "clean": 2},
)
def uwsgi_ignored(lab):
    host = lab.one_host()
    uwsgi(lab, host, "--http-socket", "10.77.0.1:8000", "--processes", "1")
    body = lab.temp / "body"
    body.write_bytes(b"v" * 20_000)
    lab.record(host)
    for _ in range(3):
        lab.curl(host, "--data-binary", f"@{body}", "http://10.77.0.1:8000/")
    lab.curl(host, "-d", "name=alice", "http://10.77.0.1:8000/")
    lab.curl(host, "http://10.77.0.1:8000/")
    return unread


@case(
    "gunicorn-ignored-upload-ipv6",
    "gunicorn answers an upload that its view ignores, over IPv6",
    "curl uploads 400 000 bytes to gunicorn (sync) whose Flask view answers 614 400 bytes without reading; and the same "
    "upload to a view that reads it.",
    ["gunicorn sync", "flask", "curl"],
    shows={"unread-request-body": 2, "clean": 1},
)
def gunicorn_upload(lab):
    host = lab.one_host(ipv6=True)
    gunicorn(lab, host, address="[fd77::1]")
    body = lab.temp / "body"
    body.write_bytes(b"w" * 400_000)
    lab.record(host)
    for _ in range(3):
        lab.curl(host, "-H", "Expect:", "--data-binary", f"@{body}", "http://[fd77::1]:8000/")
    lab.curl(host, "-H", "Expect:", "--data-binary", f"@{body}", "http://[fd77::1]:8000/read")
    lab.curl(host, "http://[fd77::1]:8000/small")
    return unread


@case(
    "http-server-ignored-post",
    "Python's http.server with a handler that ignores the POST body",
    "A small tool built on http.server answers 400 000 bytes to a POST whose 3 000 byte body it never reads, and closes "
    "(HTTP/1.0). Over a wire of 10 ms most of the answer is lost.",
    ["python 3.11 http.server", "curl"],
    vantage="client's interface, 10 ms from the server",
    shows={"unread-request-body": 2, "clean": 1},
)
def http_server_ignored(lab):
    client, server, _ = lab.wired(0.01)
    lab.start(server, ["/usr/bin/python3", PROGRAMS / "ignore_http.py", server.address, 8000, "ignore"], port=8000)
    lab.record(client)
    for _ in range(2):
        raw(lab, client, server.address, 8000, "send:POST /large HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 3000\\r\\n\\r\\n",
            "send:{3000*q}", "read")
    lab.curl(client, f"http://{server.address}:8000/large")
    return unread


def early(connection):
    """The judge for a server that refuses an upload while it comes."""
    server = next((reset for reset in connection.resets if reset.side == "server"), None)
    if server is None:
        return clean("the server read or discarded the upload and the client has the whole answer")
    if server.reason == "TCP_ABORT_ON_CLOSE":
        return blame("early-error-body-limit", "refused and closed with the upload unread", also=["unread-request-body"])
    return blame(
        ["late-data-after-close", "early-error-body-limit"], f"refused and closed, the upload went on ({server.reason})",
        also=["unread-request-body"],
    )


UPLOAD = "send:POST / HTTP/1.1\\r\\nHost: upload.example\\r\\nContent-Type: application/octet-stream\\r\\nContent-Length: %d\\r\\n\\r\\n"


@case(
    "node-413-destroy",
    "node answers 413 and destroys the request while the upload comes",
    "A node server counts the body and, over 100 000 bytes, answers 413 with Connection: close and destroys the request. "
    "Python and curl upload 600 000 bytes over a wire of 10 ms; small uploads are stored.",
    ["node", "curl", "python 3.11"],
    vantage="server's interface, 10 ms from the client",
    shows={"early-error-body-limit": 1, "clean": 1},
)
def node_413(lab):
    client, server, _ = lab.wired(0.01)
    node(lab, server, "limit.js", "destroy")
    body = lab.temp / "body"
    body.write_bytes(b"n" * 600_000)
    lab.record(server)
    for _ in range(2):
        lab.curl(client, "-H", "Expect:", "--data-binary", f"@{body}", f"http://{server.address}:8000/")
    for _ in range(3):
        raw(lab, client, server.address, 8000, UPLOAD % 600_000, "send:{600000*n}", "read")
    lab.curl(client, "-d", "small=1", f"http://{server.address}:8000/")

    def judge(connection):
        truth = early(connection)
        if truth.expect and truth.expect[0] == "late-data-after-close":
            truth.expect.reverse()
        return truth

    return judge


@case(
    "node-upload-given-up",
    "A client has its answer, and leaves before it has sent the body",
    "A node server answers 404 as soon as it has a request's head. Clients that had announced 64 bytes of body read the answer, and "
    "then close, or shut down writing, with none or half of the body sent: node answers the end in the middle of a request with 400. "
    "Others send the body 0.3 s later.",
    ["node", "python 3.11"],
    vantage="server's interface, 10 ms from the client",
    shows={"clean": 8},
)
def node_given_up(lab):
    client, server, _ = lab.wired(0.01)
    node(lab, server, "limit.js", "early")
    lab.record(server)
    head = "send:POST /upload HTTP/1.1\\r\\nHost: upload.example\\r\\nContent-Length: 64\\r\\n\\r\\n"
    for after in (["close"], ["half", "eof"], ["send:{32*b}", "half", "eof"], ["send:{64*b}", "wait:0.1", "half", "eof"]):
        for _ in range(2):
            raw(lab, client, server.address, 8000, head, "read", "wait:0.3", *after)
            time.sleep(0.1)
    return lambda connection: clean("the answer came whole; what node says to the end of a request in its middle (400) is its right")


@case(
    "waitress-413",
    "waitress refuses an upload over its limit",
    "waitress (max_request_body_size 50 000) answers 413 as soon as it sees the Content-Length and closes; the client "
    "still sends its 300 000 bytes.",
    ["waitress", "curl", "python 3.11"],
    shows={"early-error-body-limit": 1, "clean": 1},
)
def waitress_413(lab):
    host = lab.one_host()
    python_program(lab, host, "waitress_limit.py")
    body = lab.temp / "body"
    body.write_bytes(b"n" * 300_000)
    lab.record(host)
    for _ in range(2):
        lab.curl(host, "-H", "Expect:", "--data-binary", f"@{body}", "http://10.77.0.1:8000/read")
    for _ in range(2):
        raw(lab, host, "10.77.0.1", 8000, UPLOAD % 300_000, "send:{300000*n}", "read")
    lab.curl(host, "-H", "Connection: close", "-d", "small=1", "http://10.77.0.1:8000/small")
    return early


@case(
    "tornado-body-limit",
    "tornado closes on an upload over max_body_size",
    "tornado with max_body_size 50 000: it answers 400 (Content-Length too long) and closes while 250 000 bytes come.",
    ["tornado", "python 3.11", "curl"],
    shows={"early-error-body-limit": 1, "clean": 1},
)
def tornado_limit(lab):
    host = lab.one_host()
    python_program(lab, host, "tornado_limit.py")
    lab.record(host)
    for _ in range(3):
        raw(lab, host, "10.77.0.1", 8000, UPLOAD % 250_000, "send:{250000*n}", "read")
    lab.curl(host, "-d", "small=1", "http://10.77.0.1:8000/")
    return early


@case(
    "haproxy-deny-upload",
    "HAProxy denies an upload by rule",
    "http-request deny answers 403 at the head and closes; the client's 200 000 bytes come on, at first into the socket, "
    "then after it. GETs through the same frontend end well.",
    ["haproxy", "curl", "python 3.11"],
    vantage="server's interface, 5 ms from the client",
    shows={"early-error-body-limit": 1, "clean": 1},
)
def haproxy_deny(lab):
    client, server, _ = lab.wired(0.005)
    haproxy(
        lab, server,
        f"frontend f\n  bind {server.address}:80\n  http-request deny if METH_POST\n  http-request return status 200 "
        "content-type text/plain string hello",
    )
    lab.record(server)
    for _ in range(2):
        raw(lab, client, server.address, 80, UPLOAD % 200_000, "send:{200000*n}", "read")
    lab.curl(client, "-H", "Expect:", "-d", "x" * 90_000, f"http://{server.address}/")
    lab.curl(client, f"http://{server.address}/")

    def judge(connection):
        truth = early(connection)
        if truth.expect and truth.expect[0] == "late-data-after-close":
            truth.expect.reverse()
        return truth

    return judge


@case(
    "go-ignored-upload",
    "Go's net/http answers 403 without reading a large upload",
    "The handler answers 403 and returns. net/http reads up to 256 KiB, then answers Connection: close, half-closes, "
    "waits 500 ms and closes; a client that is still sending 4 MB is reset. A 100 kB upload is drained.",
    ["go net/http", "curl", "python 3.11"],
    vantage="server's interface, 5 ms from the client",
    shows={"clean": 1},
)
def go_ignored(lab):
    client, server, _ = lab.wired(0.005)
    go_server(lab, server)
    lab.record(server)
    steps = [UPLOAD.replace("POST /", "POST /ignore") % 3_000_000, "send:{600000*g}"]
    for _ in range(8):
        steps += ["wait:0.1", "send:{20000*g}"]
    raw(lab, client, server.address, 8000, *steps, "read")
    raw(lab, client, server.address, 8000, UPLOAD.replace("POST /", "POST /ignore") % 100_000, "send:{100000*g}", "read")
    return early


@case(
    "nginx-413-drained",
    "nginx refuses an upload and discards what comes",
    "client_max_body_size 10k: nginx answers 413 at the head, goes on reading and throws away (lingering_close), and "
    "closes after the client did. No reset, nothing lost.",
    ["nginx", "curl", "python 3.11"],
    vantage="server's interface, 5 ms from the client",
    shows={"clean": 3},
)
def nginx_413(lab):
    client, server, _ = lab.wired(0.005)
    nginx(lab, server, f"server {{ listen {server.address}:80; client_max_body_size 10k; location / {{ return 200 ok; }}"
          " location /p { proxy_pass http://127.0.0.1:1; } }")
    lab.record(server)
    for _ in range(2):
        raw(lab, client, server.address, 80, UPLOAD.replace("POST /", "POST /p") % 150_000, "send:{150000*n}", "read", "close")
    lab.curl(client, "-H", "Expect:", "-d", "x" * 90_000, f"http://{server.address}/p")

    def judge(connection):
        return None if connection.resets else clean("nginx discarded the upload and closed last")

    return judge


@case(
    "apache-413-drained",
    "Apache refuses an upload and lingers",
    "LimitRequestBody 10000: Apache answers 413, half-closes and reads on until the client has closed.",
    ["apache", "curl", "python 3.11"],
    shows={"clean": 3},
)
def apache_413(lab):
    host = lab.one_host()
    apache(lab, host, "LimitRequestBody 10000")
    lab.record(host)
    for _ in range(2):
        raw(lab, host, host.address, 80, UPLOAD % 150_000, "send:{150000*n}", "read", "close")
    lab.curl(host, "-H", "Expect:", "-d", "x" * 90_000, f"http://{host.address}/")
    return lambda connection: None if connection.resets else clean("Apache read on and the client closed first")


@case(
    "express-413-drained",
    "express refuses a JSON body over its limit and drains it",
    "express.json with a limit of 1000 bytes answers 413; node reads the rest of the 80 000 bytes and keeps the "
    "connection.",
    ["express", "node", "curl"],
    shows={"clean": 2},
)
def express_413(lab):
    host = lab.one_host()
    node(lab, host, "limit.js", "express")
    lab.record(host)
    for size in (80_000, 80_000, 20):
        lab.curl(host, "-H", "Expect:", "-H", "Content-Type: application/json", "-d", '{"a":"' + "x" * size + '"}',
                 "http://10.77.0.1:8000/")
    return lambda connection: None if connection.resets else clean("the body was drained")


@case(
    "gunicorn21-slow-body",
    "Old gunicorn closes before a slow body has come",
    "gunicorn 21.2 (sync): the client sends the head, waits 300 ms, then sends the body. The view has answered and "
    "closed long before: the body meets a closed socket.",
    ["gunicorn-old sync", "flask", "python 3.11"],
    shows={"late-data-after-close": 2, "clean": 1},
)
def gunicorn_slow(lab):
    host = lab.one_host()
    gunicorn(lab, host, python=PYTHON_OLD)
    lab.record(host)
    head = "send:POST /small HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 3000\\r\\n\\r\\n"
    for _ in range(2):
        raw(lab, host, "10.77.0.1", 8000, head, "wait:0.3", "send:{1500*s}", "wait:0.1", "send:{1500*s}", "read")
    raw(lab, host, "10.77.0.1", 8000, head.replace("3000", "30") + "{30*s}", "read")

    def judge(connection):
        reset = connection.first_reset
        if reset is None:
            return clean("head and body came together and were read")
        if reset.reason in ("TCP_TIMEWAIT_SOCKET", "TCP_ABORT_ON_DATA"):
            return blame("late-data-after-close", "the body was sent 300 ms after the server's FIN", also=["unread-request-body"])
        return None

    return judge


@case(
    "nginx-lingering-timeout",
    "nginx stops lingering before a slow upload goes on",
    "client_max_body_size 10k, lingering_time 1s and lingering_timeout 500ms: nginx answers 413, discards, waits half a second and "
    "closes; the upload goes on after 1.5 s, to a closed socket. An upload without a pause ends well.",
    ["nginx", "python 3.11 sockets"],
    shows={"late-data-after-close": 2, "clean": 1},
)
def nginx_lingering(lab):
    host = lab.one_host()
    nginx(lab, host, "client_max_body_size 10k; lingering_time 1s; lingering_timeout 500ms; server { listen 10.77.0.1:80;"
          " location / { proxy_pass http://127.0.0.1:1; } }")
    lab.record(host)
    for _ in range(2):
        raw(lab, host, "10.77.0.1", 80, UPLOAD % 90_000, "send:{30000*l}", "wait:1.5", "send:{30000*l}", "wait:0.05", "send:{30000*l}", "read")
    raw(lab, host, "10.77.0.1", 80, UPLOAD % 90_000, "send:{90000*l}", "read", "close")

    def judge(connection):
        if connection.reset_by("server", "TCP_TIMEWAIT_SOCKET", "TCP_ABORT_ON_DATA", "NO_SOCKET", "TCP_FLAGS"):
            return blame(["late-data-after-close", "early-error-body-limit"], "the upload went on after lingering_timeout")
        return clean() if not connection.resets else None

    return judge


@case(
    "puma-upload-read",
    "puma reads bodies before the application sees them",
    "A Rack application that ignores the body of POSTs: puma has read it all first. Nothing is reset.",
    ["puma", "curl"],
    shows={"clean": 3},
)
def puma_upload(lab):
    host = lab.one_host()
    puma(lab, host)
    lab.record(host)
    for size in (100, 40_000, 90_000):
        lab.curl(host, "-H", "Expect:", "-d", "x" * size, "http://10.77.0.1:8000/")
    return unread


@case(
    "jetty-upload-consumed",
    "Jetty consumes what a handler left of a body",
    "A Jetty handler that ignores the body of POSTs; Jetty reads the rest, or closes after it. curl and Python get their answers.",
    ["jetty", "java", "curl", "python 3.11 sockets"],
    shows={"clean": 2},
)
def jetty_upload(lab):
    host = lab.one_host()
    java(lab, host, "JettyServer.java")
    lab.record(host)
    for size in (100, 40_000):
        lab.curl(host, "-H", "Expect:", "-d", "x" * size, "http://10.77.0.1:8000/")
    raw(lab, host, "10.77.0.1", 8000, UPLOAD % 60_000, "send:{60000*l}", "read", "close")
    return early


@case(
    "jdk-httpserver-ignored-upload",
    "The JDK's HTTP server and a handler that ignores the upload",
    "com.sun.net.httpserver drains a part of an ignored body, then closes: uploads of 400 000 bytes are reset, one of 20 000 is drained.",
    ["java com.sun.net.httpserver", "python 3.11 sockets"],
    shows={"early-error-body-limit": 2, "clean": 1},
)
def jdk_upload(lab):
    host = lab.one_host()
    java_plain(lab, host, "JdkServer.java")
    lab.record(host)
    for _ in range(3):
        raw(lab, host, "10.77.0.1", 8000, (UPLOAD % 400_000).replace("POST /", "POST /ignore"), "send:{400000*j}", "read")
    raw(lab, host, "10.77.0.1", 8000, (UPLOAD % 20_000).replace("POST /", "POST /ignore"), "send:{20000*j}", "read", "close")
    return early


@case(
    "haproxy-gunicorn-ignored-body",
    "HAProxy in front of gunicorn whose view ignores the POST body",
    "HAProxy streams bodies of 200 000 bytes to gunicorn (old, sync), whose view answers 614 400 bytes without reading: HAProxy's "
    "clients get a cut answer or 502. Both legs are in the capture.",
    ["haproxy", "gunicorn-old sync", "flask", "curl"],
    shows={"unread-request-body": 1},
)
def haproxy_gunicorn(lab):
    host = lab.one_host()
    gunicorn(lab, host, python=PYTHON_OLD)
    haproxy(lab, host, "frontend f\n  bind 10.77.0.1:80\n  default_backend b\nbackend b\n  server one 10.77.0.1:8000")
    body = lab.temp / "body"
    body.write_bytes(b"w" * 200_000)
    lab.record(host)
    told = []
    for kind in ("large", "small", "large"):
        data = ["--data-binary", f"@{body}"] if kind == "large" else ["-d", "a=1"]
        told += lab.curl(host, "-H", "Expect:", *data, "http://10.77.0.1/")
        time.sleep(0.2)

    def judge(connection):
        if connection.server_port == 8000:
            lost = not told[connection.index].ok or told[connection.index].status >= 500
            if connection.reset_by("client") and not connection.reset_by("server"):
                return None if lost else clean("HAProxy had the whole answer and cut off the rest of the upload",
                                               also=["client-cancel", "so-linger-zero", "deliberate-pool-rst"])
            truth = unread(connection)
            if truth:
                truth.lost = lost
            return truth
        if connection.failed:
            return blame("incomplete-response", "HAProxy passed on the part of the answer that it got, and closed", lost=True)
        if connection.resets:
            return early(connection)
        return clean("HAProxy answered in full")

    return judge


@case(
    "nginx-uwsgi-protocol-ignored-body",
    "nginx passes an upload by the uwsgi protocol to an application that ignores it",
    "uwsgi_pass: nginx sends 150 000 bytes behind the packet of variables, the application answers 300 000 bytes and reads nothing; uWSGI closes "
    "with the body unread. The capture shows a protocol that is not HTTP. A GET and a view that reads end well.",
    ["nginx", "uwsgi", "curl"],
    shows={"unread-request-body": 2, "clean": 3},
)
def uwsgi_protocol(lab):
    host = lab.one_host()
    uwsgi(lab, host, "--socket", "10.77.0.1:3031", port=3031)
    nginx(lab, host, "server { listen 10.77.0.1:80; location / { include /etc/nginx/uwsgi_params; uwsgi_pass 10.77.0.1:3031; } }")
    body = lab.temp / "body"
    body.write_bytes(b"w" * 150_000)
    lab.record(host)
    told = []
    for path, data in (("/", True), ("/", False), ("/read", True), ("/", True)):
        told += lab.curl(host, "-H", "Expect:", *(["--data-binary", f"@{body}"] if data else []), f"http://10.77.0.1{path}")
        time.sleep(0.1)

    def judge(connection):
        if connection.server_port == 3031:
            truth = unread(connection, also=["so-linger-zero", "process-killed", "incomplete-response", "unread-trailing-bytes"])
            if truth:
                truth.lost = told[connection.index].received != 300_000
            return truth
        if connection.failed:
            return blame("incomplete-response", "nginx passed on the part of the answer that it got", lost=True)
        return clean()

    return judge


@case(
    "tomcat-swallow-limit",
    "Tomcat swallows 2 MB of an ignored upload, and no more",
    "A servlet answers without reading: Tomcat reads on up to maxSwallowSize (2 MB) and closes. Of an upload of 3 MB the rest is reset; one of "
    "100 000 bytes is swallowed.",
    ["tomcat", "java", "curl", "python 3.11 sockets"],
    shows={"early-error-body-limit": 1, "clean": 1},
)
def tomcat_swallow(lab):
    host = lab.one_host()
    java(lab, host, "TomcatServer.java")
    lab.record(host)
    for size in (3_000_000, 100_000, 3_000_000):
        raw(lab, host, "10.77.0.1", 8000, (UPLOAD % size).replace("POST /", "POST /ignore"), "send:{%d*t}" % size, "read", "close")
    # Tomcat closes a second after its client did.
    time.sleep(1.5)

    def judge(connection):
        truth = early(connection)
        if truth.expect and truth.expect[0] == "late-data-after-close":
            truth.expect.reverse()
        return truth

    return judge


@case(
    "apache-proxy-gunicorn-ignored-body",
    "Apache's mod_proxy in front of gunicorn whose view ignores the POST body",
    "Apache passes bodies of 120 000 bytes on to gunicorn (old, sync), which answers 614 400 bytes without reading and closes. Small forms fit "
    "into gunicorn's first read.",
    ["apache mod_proxy_http", "gunicorn-old sync", "flask", "curl"],
    shows={"unread-request-body": 1, "clean": 2},
)
def apache_proxy(lab):
    host = lab.one_host()
    gunicorn(lab, host, python=PYTHON_OLD)
    apache(lab, host, "ProxyPass / http://10.77.0.1:8000/\nProxyPassReverse / http://10.77.0.1:8000/", modules=("proxy", "proxy_http"))
    body = lab.temp / "body"
    body.write_bytes(b"w" * 120_000)
    lab.record(host)
    told = []
    for data in (["--data-binary", f"@{body}"], [], ["-d", "a=1"], ["--data-binary", f"@{body}"]):
        told += lab.curl(host, "-H", "Expect:", *data, "http://10.77.0.1/")
        time.sleep(0.1)

    def judge(connection):
        if connection.server_port == 8000:
            truth = unread(connection)
            if truth:
                truth.lost = not told[connection.index].ok
            return truth
        if connection.failed:
            return blame("incomplete-response", "Apache passed on the part of the answer that it got", lost=True)
        return clean() if not connection.resets else None

    return judge
