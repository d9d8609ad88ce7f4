"""Aborts, deaths, cancellations and answers that stop short."""

import os
import signal
import time

from lab import HOME, PROGRAMS, blame, clean, signal_group
from registry import case
from servers import (
    collect,
    go_client,
    go_server,
    gunicorn,
    haproxy,
    lighttpd,
    nginx,
    node,
    python_client,
    python_program,
    raw,
    redis,
    start_raw,
    uwsgi,
)

GET = "send:GET %s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"


@case(
    "trailing-crlf-http-server",
    "Two bytes after the body: http.server reads exactly Content-Length and closes",
    "Clients send a POST with CRLF after its body, as old browsers did. The server reads exactly Content-Length, answers 400 000 "
    "bytes and closes (HTTP/1.0) with the two bytes unread. Without the CRLF all is well. Wire of 10 ms.",
    ["python 3.11 http.server", "python 3.11 sockets"],
    vantage="client's interface, 10 ms from the server",
    shows={"unread-trailing-bytes": 2, "clean": 1},
)
def trailing(lab):
    client, server, _ = lab.wired(0.01)
    lab.start(server, ["/usr/bin/python3", PROGRAMS / "ignore_http.py", server.address, 8000, "read"], port=8000)
    lab.record(client)
    post = "send:POST /large HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 20\\r\\n\\r\\n{20*t}"
    for _ in range(2):
        raw(lab, client, server.address, 8000, post, "wait:0.004", "send:\\r\\n", "read")
    raw(lab, client, server.address, 8000, post, "read", "eof")
    return trailing_judge


def trailing_judge(connection):
    if connection.reset_by("server", "TCP_ABORT_ON_CLOSE"):
        return blame("unread-trailing-bytes", "bytes after the request were unread when the server closed")
    return clean("nothing was left unread") if not connection.resets else None


@case(
    "trailing-crlf-kept-alive",
    "Two bytes after the body to servers that keep the connection",
    "nginx gets a POST with CRLF after the body, and another request on the same connection: it skips the empty line "
    "(RFC 9112 2.2) and answers both.",
    ["nginx", "python 3.11 sockets"],
    shows={"clean": 2},
)
def trailing_nginx(lab):
    host = lab.one_host()
    nginx(lab, host, "server { listen 10.77.0.1:80; location / { return 200 ok; } }")
    lab.record(host)
    post = "send:POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 20\\r\\n\\r\\n{20*t}\\r\\n"
    for _ in range(2):
        raw(lab, host, "10.77.0.1", 80, post, "read", "wait:0.02", post, "read", "close")
    return trailing_judge


@case(
    "pipelined-to-closing-gunicorn",
    "A pipelined second request to a server that closes after the first",
    "The client sends a GET whose answer takes a second to gunicorn's sync worker, and 300 ms later another. The worker answers the first "
    "with Connection: close and closes; the second lies unread in its socket.",
    ["gunicorn-old sync", "python 3.11 sockets"],
    shows={"unread-trailing-bytes": 1},
)
def pipelined(lab):
    host = lab.one_host()
    gunicorn(lab, host, python=HOME / "python-old/bin/python", app="plain_wsgi:application")
    lab.record(host)
    for _ in range(3):
        raw(lab, host, "10.77.0.1", 8000, GET % "/slow", "wait:0.3", GET % "/small", "read", "read")
    raw(lab, host, "10.77.0.1", 8000, GET % "/slow", "read", "eof")

    def judge(connection):
        truth = trailing_judge(connection)
        if truth and truth.expect:
            truth.also = ["keepalive-race-announced-close"]
        return truth

    return judge


@case(
    "fastcgi-uwsgi-reads-to-the-end",
    "uWSGI reads FastCGI's STDIN to its end",
    "nginx passes GETs and POSTs by FastCGI to uwsgi --fastcgi-socket, which answers 300 000 bytes and closes. This version "
    "reads the empty STDIN record too, so that nothing is reset even where the application ignores the body.",
    ["nginx", "uwsgi", "curl"],
    shows={"clean": 10},
)
def fastcgi(lab):
    host = lab.one_host()
    uwsgi(lab, host, "--fastcgi-socket", "10.77.0.1:9000", port=9000)
    nginx(lab, host, FASTCGI)
    lab.record(host)
    for _ in range(2):
        lab.curl(host, "http://10.77.0.1/")
        lab.curl(host, "-d", "b" * 9000, "http://10.77.0.1/")
        lab.curl(host, "-d", "b" * 9000, "http://10.77.0.1/read")
    return trailing_judge


FASTCGI = (
    "server { listen 10.77.0.1:80; location / { include /etc/nginx/fastcgi_params; fastcgi_param PATH_INFO $uri;"
    " fastcgi_pass 10.77.0.1:9000; } }"
)


@case(
    "fastcgi-empty-stdin-unread",
    "A FastCGI responder leaves the empty STDIN record unread",
    "nginx passes requests by FastCGI to a responder that reads record by record and stops when it has CONTENT_LENGTH bytes. "
    "The empty STDIN record, eight bytes, is left in its socket when it closes, and the kernel resets: nginx gets 300 000 bytes, or "
    "only a part.",
    ["nginx", "python 3.11 sockets", "curl"],
    shows={"unread-trailing-bytes": 4},
)
def fastcgi_unread(lab):
    host = lab.one_host()
    python_program(lab, host, "fastcgi_responder.py", "exact", port=9000)
    nginx(lab, host, FASTCGI)
    lab.record(host)
    told = []
    for _ in range(2):
        told += lab.curl(host, "http://10.77.0.1/")
        told += lab.curl(host, "-d", "b" * 900, "http://10.77.0.1/")

    def judge(connection):
        truth = trailing_judge(connection)
        if connection.server_port == 9000 and truth:
            truth.lost = not (told[connection.index].ok and told[connection.index].received == 300_000)
        elif connection.failed:
            return blame("incomplete-response", "nginx had only a part of the answer to pass on")
        return truth

    return judge


@case(
    "go-setlinger-zero",
    "A Go server aborts with SetLinger(0)",
    "Handlers hijack the connection, write none, some or all of the head and 20 000 of 50 000 declared bytes, then SetLinger(0) "
    "and Close. Everything the client sent had been read.",
    ["go net/http", "curl"],
    shows={"so-linger-zero": 4, "clean": 2},
)
def go_linger(lab):
    host = lab.one_host()
    go_server(lab, host)
    lab.record(host)
    for path in ("/linger", "/linger?part=20000", "/linger?part=1000", "/linger"):
        lab.curl(host, f"http://10.77.0.1:8000{path}")
    for _ in range(2):
        lab.curl(host, "http://10.77.0.1:8000/ok?n=20000")

    def judge(connection):
        if connection.reset_by("server", "TCP_STATE"):
            return blame("so-linger-zero", "SetLinger(0), then Close", also=["process-killed", "unread-request-body"])
        return clean("ordinary responses") if not connection.resets else None

    return judge


@case(
    "nginx-reset-timedout",
    "nginx resets connections that time out (reset_timedout_connection)",
    "send_timeout 1s and reset_timedout_connection on: a client stops reading a 3 MB response and nginx aborts with linger 0. "
    "A client that reads gets it whole; one that sends half a request head is closed by header timeout with a reset too.",
    ["nginx", "python 3.11 sockets", "curl"],
    shows={"so-linger-zero": 1, "clean": 1},
)
def nginx_timedout(lab):
    host = lab.one_host()
    server = lab.temp / "files"
    server.mkdir()
    (server / "big").write_bytes(b"0" * 3_000_000)
    nginx(lab, host, "send_timeout 1s; client_header_timeout 1s; reset_timedout_connection on; server { listen 10.77.0.1:80 sndbuf=60k;"
          f" root {server}; }}")
    lab.record(host)
    raw(lab, host, "10.77.0.1", 80, "rcvbuf:20000", GET % "/big", "read:3000", "wait:3", "read")
    raw(lab, host, "10.77.0.1", 80, "send:GET / HTTP/1.1\\r\\nHost", "wait:2", "send:: a\\r\\n\\r\\n", "read")
    lab.curl(host, "http://10.77.0.1/big")

    def judge(connection):
        if connection.reset_by("server", "TCP_STATE"):
            return blame("so-linger-zero", "reset_timedout_connection", also=["process-killed"])
        if connection.reset_by("server"):
            return blame("so-linger-zero", "reset_timedout_connection", also=["process-killed", "late-data-after-close"])
        return clean("read in time") if not connection.failed else blame(
            ["upstream-no-response-close"], "closed after client_header_timeout", also=["late-data-after-close", "keepalive-race-unannounced-close"])

    return judge


@case(
    "gunicorn-killed-mid-response",
    "kill -9 of gunicorn while three downloads run",
    "gunicorn (gthread) drips 20 000 declared bytes to three clients; after 0.6 s its processes get SIGKILL. A "
    "request before the kill ended well; one after it is refused.",
    ["gunicorn gthread", "flask", "curl"],
    shows={"process-killed": 3, "clean": 1, "closed-port": 1},
)
def gunicorn_killed(lab):
    host = lab.one_host()
    server = gunicorn(lab, host, "-k", "gthread", "--threads", "8")
    lab.record(host)
    lab.curl(host, "http://10.77.0.1:8000/small")
    clients = [start_raw(lab, host, host.address, 8000, GET % "/drip?length=1", "read") for _ in range(3)]
    time.sleep(0.6)
    signal_group(server, signal.SIGKILL)
    collect(lab, clients)
    lab.curl(host, "http://10.77.0.1:8000/small")

    def judge(connection):
        if connection.reset_by("server", "NO_SOCKET") and connection.packets <= 2:
            return blame("closed-port", "no listener after the kill", lost=True)
        if connection.failed:
            return blame("process-killed", "SIGKILL in the middle of the response", also=["incomplete-response"])
        return clean("before the kill") if not connection.resets else None

    return judge




@case(
    "stopped-node-killed-unread",
    "kill -9 of a hung node server with unread requests in its sockets",
    "node is stopped (SIGSTOP, a hang). Clients connect and send requests; some had been served before on the same "
    "connection. Then kill -9: what was unread makes its kernel reset.",
    ["node", "curl", "python 3.11 sockets"],
    shows={"process-killed": 2, "clean": 1},
)
def node_killed(lab):
    host = lab.one_host()
    server = node(lab, host, "keepalive.js", "timeout", 20000)
    lab.record(host)
    lab.curl(host, "http://10.77.0.1:8000/")
    served = [start_raw(lab, host, host.address, 8000, GET % "/", "read", "wait:0.6", GET % "/", "read") for _ in range(2)]
    time.sleep(0.4)
    os.kill(server.pid, signal.SIGSTOP)
    fresh = [start_raw(lab, host, host.address, 8000, GET % "/", "read") for _ in range(2)]
    time.sleep(1)
    os.kill(server.pid, signal.SIGKILL)
    collect(lab, served + fresh)

    def judge(connection):
        if connection.failed and len(connection.accounts) == 1 and connection.accounts[0].received:
            return blame("process-killed", "SIGKILL of a stopped server, a second request unread", also=["keepalive-race-unannounced-close", "so-linger-zero"])
        if connection.failed:
            return blame(["listener-closed-pending-accept", "process-killed"], "SIGKILL of a stopped server that had not accepted it", also=["so-linger-zero"])
        return clean("before the stop") if not connection.resets else None

    return judge


@case(
    "gunicorn-worker-timeout-answers-500",
    "gunicorn's master aborts a worker that is busy too long, and the client still gets an answer",
    "gunicorn sync --timeout 1 and views that take 4 s: the master aborts the worker, which answers 500 on its way out. A "
    "fast view answers.",
    ["gunicorn sync", "flask", "curl"],
    shows={"clean": 3},
)
def gunicorn_timeout(lab):
    host = lab.one_host()
    gunicorn(lab, host, "--timeout", "1", "-w", "2", app="views:flask_app")
    lab.record(host)
    for _ in range(2):
        lab.curl(host, "http://10.77.0.1:8000/slow?s=4")
    lab.curl(host, "http://10.77.0.1:8000/small")

    def judge(connection):
        return clean("a whole answer, if a sad one") if not connection.resets and not connection.failed else None

    return judge


@case(
    "worker-exits-nginx-uwsgi",
    "A uWSGI worker exits in the middle of a request behind nginx",
    "The application calls os._exit(1): nginx gets FIN without an answer and says 502 (upstream prematurely closed). Good "
    "requests before and after.",
    ["nginx", "uwsgi", "curl"],
    shows={"upstream-no-response-close": 2, "clean": 4},
)
def uwsgi_exit(lab):
    host = lab.one_host()
    uwsgi(lab, host, "--http-socket", "10.77.0.1:8000", "--processes", "2")
    nginx(lab, host, "server { listen 10.77.0.1:80; location / { proxy_pass http://10.77.0.1:8000; } }")
    lab.record(host)
    statuses = []
    for path in ("/small", "/exit", "/small", "/exit"):
        statuses.append(lab.curl(host, f"http://10.77.0.1{path}")[0].status)
        time.sleep(0.2)

    def judge(connection):
        if connection.server_port == 8000 and statuses[connection.index] == 502:
            return blame("upstream-no-response-close", "os._exit before any answer", also=["process-killed"], lost=True)
        return clean("answered") if not connection.resets else None

    return judge


@case(
    "go-handler-aborts",
    "A Go handler panics with ErrAbortHandler",
    "Read the request, no answer, FIN: curl says empty reply, a POST over a reused connection gets EOF.",
    ["go net/http", "curl"],
    shows={"upstream-no-response-close": 2, "clean": 1},
)
def go_abort(lab):
    host = lab.one_host()
    go_server(lab, host)
    lab.record(host)
    lab.curl(host, "http://10.77.0.1:8000/panic")
    lab.curl(host, "-d", "a=1", "http://10.77.0.1:8000/ok?n=10", "--next", "-sS", "-o", "/dev/null", "-d", "b=1", "http://10.77.0.1:8000/panic")
    raw(lab, host, "10.77.0.1", 8000, GET % "/ok?n=10", "read", "wait:0.2", "send:POST /panic HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 3\\r\\n\\r\\nabc", "read")
    lab.curl(host, "http://10.77.0.1:8000/ok?n=500")

    return lambda connection: (
        blame("upstream-no-response-close", "the handler aborted after 30 ms", lost=True)
        if connection.index in (0, 1, 2, 3) and not connection.resets
        else clean() if not connection.resets else None
    )


@case(
    "gunicorn-short-response",
    "A view declares more than it gives",
    "Content-Length 5000 and 1200 bytes, then gunicorn closes; and a chunked response whose generator fails in the middle.",
    ["gunicorn sync", "flask", "curl"],
    shows={"incomplete-response": 3, "clean": 1},
)
def short(lab):
    host = lab.one_host()
    gunicorn(lab, host)
    lab.record(host)
    for path in ("/short", "/breaks", "/short", "/small"):
        lab.curl(host, f"http://10.77.0.1:8000{path}")

    def judge(connection):
        if connection.failed:
            return blame("incomplete-response", "the server closed before the declared end of its response")
        return clean() if not connection.resets else None

    return judge


@case(
    "curl-max-time",
    "curl gives up after --max-time",
    "A Go server streams for one second, or answers after two; curl leaves after 0.35 s. Some responses were under way, "
    "others had not begun. A patient curl gets all.",
    ["go net/http", "curl"],
    shows={"client-cancel": 3, "clean": 1},
)
def curl_max_time(lab):
    host = lab.one_host()
    go_server(lab, host)
    lab.record(host)
    for path in ("/stream", "/slow?for=2s", "/stream"):
        lab.curl(host, "--max-time", "0.35", f"http://10.77.0.1:8000{path}")
    lab.curl(host, "http://10.77.0.1:8000/stream")
    time.sleep(1)
    return cancelled


def cancelled(connection):
    if connection.failed:
        return blame("client-cancel", "the client's own deadline", lost=True)
    return clean() if not connection.resets else None


@case(
    "go-context-cancel",
    "Go clients cancel by context",
    "Context deadlines of 300 ms and 250 ms against a Go server that streams for a second or answers after one; one request in time.",
    ["go net/http client", "go net/http"],
    vantage="server's interface, 10 ms from the client",
    shows={"client-cancel": 3, "clean": 1},
)
def go_cancel(lab):
    client, server, _ = lab.wired(0.01)
    go_server(lab, server)
    lab.record(server)
    base = f"http://{server.address}:8000"
    go_client(lab, client, "-timeout", "300ms", "-workers", "2", f"{base}/stream")
    go_client(lab, client, "-timeout", "250ms", "-post", "5000", f"{base}/slow?for=1s")
    go_client(lab, client, f"{base}/ok?n=4000")
    time.sleep(0.5)
    return cancelled


@case(
    "curl-killed-mid-download",
    "Killed clients: curl and wget get SIGKILL in the middle of a download",
    "nginx sends 3 MB at a limited rate to curl and wget, which are killed after 0.4 s. Their kernel resets, or closes and "
    "then resets what still comes.",
    ["nginx", "curl", "wget"],
    shows={"client-cancel": 2, "clean": 1},
)
def client_killed(lab):
    host = lab.one_host()
    files = lab.temp / "files"
    files.mkdir()
    (files / "big").write_bytes(b"1" * 600_000)
    nginx(lab, host, f"limit_rate 300k; server {{ listen 10.77.0.1:80; root {files}; }}")
    lab.record(host)
    clients = [lab.start(host, ["curl", "-s", "-o", "/dev/null", "http://10.77.0.1/big"]),
               lab.start(host, ["wget", "-q", "-O", "/dev/null", "http://10.77.0.1/big"])]
    time.sleep(0.5)
    for client in clients:
        os.kill(client.pid, signal.SIGKILL)
    lab.curl(host, "http://10.77.0.1/big")
    time.sleep(0.5)

    def judge(connection):
        if connection.index < 2:
            return blame("client-cancel", "the client was killed in the middle of its download", also=["process-killed"], lost=True)
        return clean() if not connection.resets else None

    return judge


@case(
    "go-undrained-response",
    "A Go client closes response bodies that it did not read",
    "Responses of 60 000 bytes have arrived whole (the client waits 100 ms), but it read 100 bytes and closes the body: its "
    "kernel resets. One client reads everything and its pool closes with FIN.",
    ["go net/http client", "go net/http"],
    shows={"client-undrained-response": 2, "clean": 1},
)
def go_undrained(lab):
    host = lab.one_host()
    go_server(lab, host)
    lab.record(host)
    base = "http://10.77.0.1:8000"
    go_client(lab, host, "-n", "3", "-read", "100", "-pause", "100ms", f"{base}/ok?n=60000")
    go_client(lab, host, "-n", "3", f"{base}/ok?n=60000")
    return undrained


def undrained(connection):
    if connection.reset_by("client", "TCP_ABORT_ON_CLOSE"):
        return blame("client-undrained-response", "the client closed with the rest of an arrived response unread", also=["client-cancel"],
                     lost=False)
    return clean() if not connection.resets else None


@case(
    "requests-stream-close",
    "Python requests with stream=True closes without reading",
    "stream=True, look at the status, close: 80 000 bytes from nginx and from apache lie unread in the client's socket. Then the "
    "same with the body read.",
    ["requests", "nginx", "python 3.11"],
    shows={"client-undrained-response": 2, "clean": 1},
)
def requests_stream(lab):
    host = lab.one_host()
    files = lab.temp / "files"
    files.mkdir()
    (files / "page").write_bytes(b"2" * 80_000)
    nginx(lab, host, f"server {{ listen 10.77.0.1:80; root {files}; }}")
    lab.record(host)
    python_client(lab, host, "stream_close.py", "http://10.77.0.1/page", "unread", "unread", "unread", "read")
    return undrained


@case(
    "curl-aborts-after-everything",
    "A client aborts when it already has everything it wanted",
    "The client reads the whole response, then closes with SO_LINGER zero: a reset, but nobody lost anything. Another says "
    "goodbye with FIN.",
    ["nginx", "python 3.11 sockets"],
    shows={"clean": 4},
)
def abort_after(lab):
    host = lab.one_host()
    nginx(lab, host, "server { listen 10.77.0.1:80; location / { return 200 'hello there\n'; } }")
    lab.record(host)
    for ending in ("abort", "abort", "close", "half"):
        raw(lab, host, "10.77.0.1", 80, GET % "/", "read", "wait:0.05", ending)
    return lambda connection: clean("the client had the whole answer", also=["deliberate-pool-rst", "so-linger-zero"] if connection.resets else [])


@case(
    "gunicorn-graceful-stop",
    "gunicorn stops gracefully",
    "SIGTERM while one request is being worked on and two keep-alive connections are idle: the request is answered, the idle ones get FIN, "
    "their clients notice.",
    ["gunicorn gthread", "flask", "python 3.11 sockets"],
    shows={"clean": 3},
)
def graceful(lab):
    host = lab.one_host()
    server = gunicorn(lab, host, "-k", "gthread", "--threads", "4", "--keep-alive", "30")
    lab.record(host)
    clients = [start_raw(lab, host, host.address, 8000, GET % "/slow?s=1.2", "read", "close")]
    clients += [start_raw(lab, host, host.address, 8000, GET % "/small", "read", "eof") for _ in range(2)]
    time.sleep(0.6)
    lab.stop(server, seconds=8)
    collect(lab, clients)
    return lambda connection: clean("drained") if not connection.resets and not connection.failed else None


@case(
    "redis-killed-blocked-clients",
    "kill -9 of Redis with blocked clients",
    "Clients wait in BLPOP and SUBSCRIBE when Redis gets SIGKILL: FIN to all of them in the same moment. One client had left before.",
    ["redis", "python 3.11 sockets", "redis-cli"],
    shows={"process-killed": 3, "clean": 1},
)
def redis_killed(lab):
    host = lab.one_host()
    server = redis(lab, host)
    lab.record(host)
    lab.run(host, ["redis-cli", "-h", host.address, "PING"])
    clients = [start_raw(lab, host, host.address, 6379, "send:BLPOP queue 20\\r\\n", "read:5", "need:5") for _ in range(3)]
    time.sleep(0.6)
    signal_group(server, signal.SIGKILL)
    collect(lab, clients)

    def judge(connection):
        if connection.failed:
            return blame(["process-killed", "upstream-no-response-close"], "SIGKILL while its command was pending")
        return clean() if not connection.resets else None

    return judge


@case(
    "nginx-killed-mid-download",
    "kill -9 of nginx in the middle of downloads",
    "nginx sends 600 000 bytes at a limited rate to three clients; worker and master get SIGKILL. Everything that nginx had been sent was read.",
    ["nginx", "python 3.11 sockets", "curl"],
    vantage="client's interface, 5 ms from the server",
    shows={"process-killed": 3, "clean": 1},
)
def nginx_killed(lab):
    client, host, _ = lab.wired(0.005)
    files = lab.temp / "files"
    files.mkdir()
    (files / "big").write_bytes(b"1" * 600_000)
    (files / "small").write_bytes(b"1" * 600)
    server = nginx(lab, host, f"server {{ listen 80; root {files}; location /big {{ limit_rate 50k; }} }}")
    lab.record(client)
    lab.curl(client, f"http://{host.address}/small")
    clients = [lab.start(client, ["/usr/bin/python3", PROGRAMS / "rawhttp.py", host.address, 80, GET % "/big", "read"]) for _ in range(3)]
    time.sleep(0.8)
    signal_group(server, signal.SIGKILL)
    collect(lab, clients)

    def judge(connection):
        if connection.failed:
            return blame("process-killed", "SIGKILL in the middle of the response", also=["incomplete-response"])
        return clean() if not connection.resets else None

    return judge


@case(
    "curl-cancel-upload",
    "curl gives up in the middle of its own upload",
    "curl uploads 400 000 bytes at 100 kB/s and leaves after 0.6 s; the server had read all that came. Another upload completes.",
    ["gunicorn gthread", "curl"],
    shows={"client-cancel": 2, "clean": 1},
)
def cancel_upload(lab):
    host = lab.one_host()
    gunicorn(lab, host, "-k", "gthread", "--threads", "4")
    body = lab.temp / "body"
    body.write_bytes(b"w" * 400_000)
    lab.record(host)
    for _ in range(2):
        lab.curl(host, "-H", "Expect:", "--limit-rate", "100k", "--max-time", "0.6", "--data-binary", f"@{body}", "http://10.77.0.1:8000/read")
    lab.curl(host, "-H", "Expect:", "--data-binary", f"@{body}", "http://10.77.0.1:8000/read")
    time.sleep(0.5)
    return cancelled


@case(
    "node-reset-and-destroy",
    "A node server calls resetAndDestroy() in the middle of its answers",
    "3 000 of 9 000 declared bytes, then socket.resetAndDestroy(); the requests (GET and POST) had been read to the end.",
    ["node", "curl"],
    vantage="client's interface, 5 ms from the server",
    shows={"so-linger-zero": 3, "clean": 1},
)
def node_reset(lab):
    client, server, _ = lab.wired(0.005)
    node(lab, server, "abort.js")
    lab.record(client)
    base = f"http://{server.address}:8000"
    lab.curl(client, f"{base}/reset")
    lab.curl(client, "-d", "a=1", f"{base}/reset")
    lab.curl(client, f"{base}/", f"{base}/reset")
    lab.curl(client, "-d", "a=1", f"{base}/")

    def judge(connection):
        if connection.reset_by("server", "TCP_STATE"):
            return blame("so-linger-zero", "resetAndDestroy()", also=["process-killed", "unread-request-body", "incomplete-response"])
        return clean() if not connection.resets else None

    return judge


@case(
    "half-close-reads-on",
    "Clients shut down writing and read on; one answer ends in its middle",
    "Clients ask node for an answer that takes 400 ms, and shut down writing at once, as programs do that send to EOF. They read to the end. "
    "Twice the server destroys its socket when half of the answer is sent, with a FIN: it is not the client that left.",
    ["node", "python 3.11 sockets"],
    vantage="server's interface, 10 ms from the client",
    shows={"incomplete-response": 2, "clean": 3},
)
def half_close_reads_on(lab):
    client, server, _ = lab.wired(0.01)
    node(lab, server, "manners.js")
    lab.record(server)
    for path in ("/slow", "/cut", "/slow", "/cut", "/slow"):
        raw(lab, client, server.address, 8000, GET % path, "half", "read")

    def judge(connection):
        if connection.resets:
            return None
        if connection.failed:
            return blame("incomplete-response", "the server destroyed its socket in the middle of the answer")
        return clean("the client only ended its sending half, and has the whole answer")

    return judge


@case(
    "continue-then-reset",
    "A server says 100 Continue, and resets",
    "Clients announce 20 000 bytes with Expect: 100-continue. node says 100 and, 60 ms later, resets the connection (resetAndDestroy): twice "
    "before any of the body was sent, twice with the body in the socket, which it does not read. Another request is answered.",
    ["node", "python 3.11 sockets", "curl"],
    vantage="server's interface, 10 ms from the client",
    shows={"so-linger-zero": 2, "unread-request-body": 2, "clean": 1},
)
def continue_then_reset(lab):
    client, server, _ = lab.wired(0.01)
    node(lab, server, "manners.js")
    lab.record(server)
    head = ("send:POST /upload HTTP/1.1\\r\\nHost: a\\r\\nContent-Type: text/plain\\r\\nContent-Length: 20000\\r\\n"
            "Expect: 100-continue\\r\\n\\r\\n")
    for body in ([], ["send:{20000*b}"], [], ["send:{20000*b}"]):
        raw(lab, client, server.address, 8000, head, "until:\\r\\n\\r\\n", *body, "wait:0.2", "read")
    lab.curl(client, f"http://{server.address}:8000/slow")

    def judge(connection):
        if connection.reset_by("server", "TCP_STATE"):
            return blame("so-linger-zero", "resetAndDestroy() behind 100 Continue", also=["process-killed", "upstream-no-response-close"])
        if connection.reset_by("server", "TCP_ABORT_ON_CLOSE"):
            return blame("unread-request-body", "the body lay unread behind 100 Continue", also=["so-linger-zero"])
        return clean() if not connection.resets and not connection.failed else None

    return judge


@case(
    "client-takes-nothing",
    "Clients stop reading, and run into the server's limit for sending",
    "nginx (send_timeout 1s) sends a file of 3 MB to clients with small buffers that read some and then nothing for 4 s. nginx gives up; what its "
    "kernel still had is delivered when the client reads again, and the end is missing. One reads on after 0.4 s and gets all.",
    ["nginx", "python 3.11 sockets"],
    vantage="server's interface, 5 ms from the client",
    shows={"incomplete-response": 2, "clean": 1},
)
def takes_nothing(lab):
    client, server, _ = lab.wired(0.005)
    files = lab.temp / "files"
    files.mkdir()
    (files / "large").write_bytes(b"l" * 3_000_000)
    nginx(lab, server, f"send_timeout 1s; server {{ listen {server.address}:80 sndbuf=32k; root {files}; }}")
    lab.record(server, snap=400)
    for pause in ("4", "0.4", "4"):
        raw(lab, client, server.address, 80, "rcvbuf:8000", GET % "/large", "read:4000", f"wait:{pause}", "read")

    def judge(connection):
        if connection.reset_by("client"):
            return None
        if connection.failed:
            return blame("incomplete-response", "nginx gave up (send_timeout) on a client that took nothing")
        return clean("the client paused for less than the limit")

    return judge


@case(
    "node-timeout-of-many",
    "A time limit ends several requests at once",
    "Four clients at a time ask node for an answer that never comes; server.setTimeout(1000) closes each connection a second after its request. "
    "It happens twice. The process goes on and answers others.",
    ["node", "curl"],
    shows={"upstream-no-response-close": 8, "clean": 1},
)
def timeout_of_many(lab):
    host = lab.one_host()
    node(lab, host, "limits.js", "timeout")
    lab.record(host)
    base = f"http://{host.address}:8000"
    for _ in range(2):
        lab.curl(host, "-Z", "--parallel-immediate", *[f"{base}/hang"] * 4)
        time.sleep(0.7)
    lab.curl(host, f"{base}/ok")

    def judge(connection):
        if connection.failed:
            return blame("upstream-no-response-close", "server.setTimeout ended it")
        return clean() if not connection.resets else None

    return judge


@case(
    "node-no-more-connections",
    "A server closes what it has just accepted",
    "node with maxConnections 1: while one client keeps its connection, others are accepted and closed at once. Their requests lie unread, or come "
    "later. Nobody sets SO_LINGER.",
    ["node", "python 3.11 sockets", "curl"],
    shows={"unread-request-body": 1, "clean": 1},
)
def no_more_connections(lab):
    host = lab.one_host()
    node(lab, host, "limits.js", "one")
    lab.record(host)
    kept = start_raw(lab, host, host.address, 8000, GET % "/ok", "read", "wait:1.5", "close")
    time.sleep(0.4)
    for _ in range(2):
        lab.curl(host, f"http://{host.address}:8000/ok")
    collect(lab, [kept])
    lab.curl(host, f"http://{host.address}:8000/ok")

    def judge(connection):
        if connection.reset_by("server", "TCP_ABORT_ON_CLOSE"):
            return blame("unread-request-body", "closed as soon as it was accepted, with the request unread")
        if connection.resets or connection.failed:
            return blame("late-data-after-close", "closed as soon as it was accepted, before the request came",
                         also=["upstream-no-response-close", "unread-request-body"])
        return clean()

    return judge


@case(
    "node-breaks-its-promise",
    "A server that promised to keep connections closes all of them",
    "node says Keep-Alive: timeout=60; after 2.1 s of silence closeAllConnections() is called, as programs do that reload. A client asks again on a "
    "connection that is closed. It is no idle limit of the server.",
    ["node", "python 3.11 sockets"],
    vantage="server's interface, 5 ms from the client",
    shows={"keepalive-race-unannounced-close": 1, "clean": 1},
)
def broken_promise(lab):
    client, server, _ = lab.wired(0.005)
    running = node(lab, server, "limits.js", "promise")
    lab.record(server)
    asks = start_raw(lab, client, server.address, 8000, GET % "/ok", "read", "wait:3", GET % "/ok", "read", "close")
    time.sleep(2.3)
    running.send_signal(signal.SIGUSR2)
    collect(lab, [asks])
    raw(lab, client, server.address, 8000, GET % "/ok", "read", GET % "/ok", "read", "close")

    def judge(connection):
        if connection.failed:
            return blame("keepalive-race-unannounced-close", "closeAllConnections() ended idle connections, and the clients did not look",
                         also=["process-killed", "late-data-after-close"])
        return clean() if not connection.resets else None

    return judge


@case(
    "large-head-then-purged",
    "A request with a large cookie is answered 404, and its idle connection purged",
    "Clients with a cookie of 5 KB ask node for what there is not; the answer is whole, and 1.2 s later the server resets the idle connection "
    "(resetAndDestroy). The head was read to its end: nothing was refused for its size.",
    ["node", "python 3.11 sockets"],
    shows={"deliberate-pool-rst": 2},
)
def large_head_purged(lab):
    host = lab.one_host()
    node(lab, host, "limits.js")
    lab.record(host)
    large = "send:GET /missing HTTP/1.1\\r\\nHost: a\\r\\nCookie: session={5000*c}\\r\\n\\r\\n"
    for _ in range(2):
        raw(lab, host, host.address, 8000, large, "read", "wait:1.5", "close")

    def judge(connection):
        if connection.reset_by("server", "TCP_STATE"):
            return blame("deliberate-pool-rst", "an idle connection was reset", also=["so-linger-zero"], lost=False)
        return clean() if not connection.resets else None

    return judge


@case(
    "crash-after-the-same-time",
    "A server crashes at the same request, after the same time",
    "A node worker is killed 350 ms after it got /crash, three times; another one takes its place. It is no limit of time. A good request is answered.",
    ["node", "curl"],
    shows={"upstream-no-response-close": 3, "clean": 1},
)
def same_crash(lab):
    host = lab.one_host()
    node(lab, host, "limits.js", "supervised")
    lab.record(host)
    base = f"http://{host.address}:8000"
    for _ in range(3):
        lab.curl(host, f"{base}/crash")
        time.sleep(0.6)
    lab.curl(host, f"{base}/ok")

    def judge(connection):
        if connection.failed:
            return blame("upstream-no-response-close", "its process was killed, one connection at a time", also=["process-killed"])
        return clean() if not connection.resets else None

    return judge


@case(
    "page-in-a-chunk",
    "An error page is written into a chunked answer",
    "A node program writes an error page to the socket in the middle of a chunked answer, and closes, as servers do whose handler fails when the "
    "head has gone out. Clients find no size of a chunk. Another answer is whole.",
    ["node", "curl"],
    shows={"incomplete-response": 2, "clean": 1},
)
def page_in_a_chunk(lab):
    host = lab.one_host()
    node(lab, host, "limits.js")
    lab.record(host)
    base = f"http://{host.address}:8000"
    for path in ("broken", "ok", "broken"):
        lab.curl(host, f"{base}/{path}")

    def judge(connection):
        if connection.failed:
            return blame("incomplete-response", "an error page stands where a chunk's size should")
        return clean() if not connection.resets else None

    return judge


@case(
    "client-gives-up-its-upload",
    "Clients leave in the middle of an upload, and a busy server closes later",
    "Clients announce 3 MB to a node program that does not read, send 30 000 bytes and close after 0.4 s. 0.5 s later the server closes with what had "
    "come unread: its kernel resets. It is the client that left.",
    ["node", "python 3.11 sockets", "curl"],
    vantage="server's interface, 5 ms from the client",
    shows={"client-cancel": 2, "clean": 1},
)
def gives_up_upload(lab):
    client, server, _ = lab.wired(0.005)
    node(lab, server, "limits.js")
    lab.record(server)
    head = "send:POST /busy HTTP/1.1\\r\\nHost: a\\r\\nContent-Type: text/plain\\r\\nContent-Length: 3000000\\r\\n\\r\\n"
    left = []
    for _ in range(2):
        left += raw(lab, client, server.address, 8000, head, "send:{30000*u}", "wait:0.4", "close")
        time.sleep(0.8)
    lab.curl(client, f"http://{server.address}:8000/ok")

    def judge(connection):
        if connection.index < len(left):
            return blame("client-cancel", "the client closed in the middle of its upload", lost=False)
        return clean() if not connection.resets else None

    return judge


@case(
    "haproxy-tcp-reject",
    "HAProxy rejects requests without an answer",
    "http-request reject for one path: HAProxy closes the connection with FIN and says nothing. Others are answered.",
    ["haproxy", "curl"],
    shows={"clean": 1, "upstream-no-response-close": 2},
)
def haproxy_reject(lab):
    host = lab.one_host()
    haproxy(lab, host, "frontend f\n  bind 10.77.0.1:80\n  http-request reject if { path /no }\n  http-request return status 200 content-type text/plain string hello")
    lab.record(host)
    for path in ("/no", "/", "/no"):
        lab.curl(host, f"http://10.77.0.1{path}")

    def judge(connection):
        if connection.reset_by("server", "TCP_STATE"):
            return blame("so-linger-zero", "http-request reject aborts with linger 0", also=["upstream-no-response-close", "process-killed"], lost=True)
        if connection.reset_by("server"):
            return None
        if connection.failed:
            return blame("upstream-no-response-close", "http-request reject closed without an answer", lost=True)
        return clean()

    return judge


@case(
    "wrk-ends-mid-request",
    "wrk stops after its time with requests under way",
    "wrk runs for one second against a Go handler that takes 400 ms and then leaves: what was under way is cancelled.",
    ["wrk", "go net/http"],
    shows={"client-cancel": 3},
)
def wrk(lab):
    host = lab.one_host()
    go_server(lab, host)
    lab.record(host)
    lab.run(host, ["wrk", "-t", "1", "-c", "4", "-d", "1s", "http://10.77.0.1:8000/slow?for=400ms"])
    time.sleep(0.6)
    lab.curl(host, "http://10.77.0.1:8000/ok?n=10")

    def judge(connection):
        if connection.index == 0 or connection.accounts:
            # wrk first tries one connection and closes it unused.
            return clean("nothing was under way") if not connection.resets else None
        return blame("client-cancel", "wrk's time was over", also=["client-undrained-response"], lost=True)

    return judge


@case(
    "nginx-reload-idle-clients",
    "nginx is reloaded while connections are idle",
    "Four clients have an answer each, at different moments, and keep their connections. nginx is reloaded (SIGHUP): its old worker closes "
    "them all at once. 0.4 s later each client sends its next request without a look. Another two stay within keepalive_timeout 1 s "
    "of the new worker and are closed by that; they do not ask again.",
    ["nginx", "python 3.11 sockets"],
    shows={"process-killed": 4, "clean": 2},
)
def reload_idle(lab):
    host = lab.one_host()
    process = nginx(lab, host, "keepalive_timeout 60s; server { listen 10.77.0.1:80; location / { return 200 ok; } }")
    lab.record(host)
    waiting = []
    for _ in range(4):
        waiting.append(start_raw(lab, host, "10.77.0.1", 80, GET % "/", "read", f"wait:{2.2 - 0.3 * len(waiting)}", GET % "/next", "read"))
        time.sleep(0.3)
    time.sleep(0.6)
    os.kill(int((process.root / "pid").read_text()), signal.SIGHUP)
    time.sleep(0.2)
    collect(lab, waiting)
    for _ in range(2):
        raw(lab, host, "10.77.0.1", 80, GET % "/", "read", "close")

    def judge(connection):
        if connection.failed:
            return blame("process-killed", "the reload closed it; the next request met the close", also=["keepalive-race-unannounced-close"])
        return clean()

    return judge


@case(
    "nginx-drops-after-idle",
    "nginx drops a request without an answer, on a connection that was idle",
    "Clients have an answer, pause for 0.5 to 3 s, and ask for a location with `return 444`: nginx reads the request and closes. Its idle limit "
    "is 60 s.",
    ["nginx", "python 3.11 sockets"],
    shows={"upstream-no-response-close": 4, "clean": 1},
)
def drops_after_idle(lab):
    host = lab.one_host()
    nginx(
        lab,
        host,
        "keepalive_timeout 60s; server { listen 10.77.0.1:80; location / { return 200 ok; } location = /drop { return 444; } }",
    )
    lab.record(host)
    for pause in (0.5, 1, 2, 3):
        raw(lab, host, "10.77.0.1", 80, GET % "/", "read", f"wait:{pause}", GET % "/drop", "read")
    raw(lab, host, "10.77.0.1", 80, GET % "/", "read", "wait:1", GET % "/", "read", "close")
    return lambda connection: (
        blame("upstream-no-response-close", "return 444", lost=True) if connection.failed else clean()
    )


@case(
    "listener-away-for-a-moment",
    "A server is stopped and started again: what comes between is refused",
    "nginx answers two clients, is ended (SIGTERM), refuses five clients by not being there, is started again and answers two more.",
    ["nginx", "python 3.11 sockets"],
    shows={"closed-port": 5, "clean": 4},
)
def away(lab):
    host = lab.one_host()
    body = "server { listen 10.77.0.1:80; location / { return 200 ok; } }"
    first = nginx(lab, host, body)
    lab.record(host)
    ask = lambda: raw(lab, host, "10.77.0.1", 80, GET % "/", "read", "close")
    for _ in range(2):
        ask()
    lab.stop(first)
    for _ in range(5):
        ask()
        time.sleep(0.05)
    nginx(lab, host, body)
    for _ in range(2):
        ask()

    def judge(connection):
        if connection.resets:
            return blame("closed-port", "nobody listened", lost=True)
        return clean()

    return judge


@case(
    "lighttpd-sweeps-idle",
    "lighttpd looks at its idle connections once a second",
    "lighttpd (server.max-keep-alive-idle 1) closes several connections at one moment after different idle times. Eight clients have an answer "
    "each, 0.17 s apart, and ask again 2.6 s later without a look.",
    ["lighttpd", "python 3.11 sockets"],
    shows={"idle-timeout-inversion": 6},
)
def sweeps(lab):
    host = lab.one_host()
    lighttpd(lab, host)
    lab.record(host)
    clients = []
    for _ in range(8):
        clients.append(start_raw(lab, host, host.address, 80, GET % "/", "read", "wait:2.6", GET % "/next", "read"))
        time.sleep(0.17)
    collect(lab, clients)

    def judge(connection):
        if connection.failed:
            return blame("idle-timeout-inversion", "max-keep-alive-idle ran out", also=["keepalive-race-unannounced-close"])
        return clean()

    return judge
