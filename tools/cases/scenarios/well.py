"""Connections that end well, and look at times as if they did not."""

import time

from lab import PROGRAMS, blame, clean
from registry import case
from servers import (
    apache,
    go_client,
    go_server,
    gunicorn,
    haproxy,
    nginx,
    node,
    python_client,
    python_program,
    raw,
    redis,
)

GET = "send:GET %s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"


def well(connection):
    """The judge where nothing went wrong and no reset was sent at all."""
    return clean() if not connection.resets and not connection.failed else None


@case(
    "haproxy-pool-purge",
    "HAProxy purges idle connections to its servers",
    "HAProxy (http-reuse always, pool-purge-delay 500 ms) keeps connections to nginx after a burst of six clients and closes them while "
    "they are idle, with a reset. Nothing was outstanding.",
    ["haproxy", "nginx", "curl"],
    shows={"deliberate-pool-rst": 1},
)
def pool_purge(lab):
    host = lab.one_host()
    nginx(lab, host, "keepalive_timeout 30s; server { listen 10.77.0.1:8000; location / { return 200 ok; } }", port=8000)
    haproxy(lab, host, "frontend f\n  bind 10.77.0.1:80\n  default_backend b\nbackend b\n  http-reuse always\n  option nolinger\n"
            "  server one 10.77.0.1:8000 pool-purge-delay 500ms")
    lab.record(host)
    lab.run(host, ["ab", "-q", "-n", "24", "-c", "6", "http://10.77.0.1/"])
    time.sleep(3)

    def judge(connection):
        if connection.server_port == 8000 and connection.reset_by("client"):
            return blame("deliberate-pool-rst", "an idle pooled connection was purged with a reset", also=["so-linger-zero"], lost=False)
        return clean() if not connection.reset_by("server") else None

    return judge


@case(
    "client-pool-resets-idle",
    "A client pool closes idle connections with SO_LINGER zero",
    "After whole exchanges and 200 ms of idleness the client closes with linger 0, to spare itself TIME_WAIT. Others close with FIN.",
    ["node", "python 3.11 sockets"],
    shows={"deliberate-pool-rst": 3, "clean": 1},
)
def client_pool(lab):
    host = lab.one_host()
    node(lab, host, "keepalive.js", "timeout", 20000)
    lab.record(host)
    for ending in ("abort", "abort", "abort", "close"):
        raw(lab, host, "10.77.0.1", 8000, GET % "/", "read", GET % "/", "read", "wait:0.2", ending)

    def judge(connection):
        if connection.reset_by("client", "TCP_STATE"):
            return blame("deliberate-pool-rst", "linger 0 on an idle connection", also=["so-linger-zero", "client-cancel"], lost=False)
        return clean() if not connection.resets else None

    return judge


@case(
    "keepalive-reuse-ends-well",
    "Keep-alive, HEAD, 204, 304, chunked and large answers on reused connections",
    "curl and requests make many kinds of requests to nginx and node on reused connections and leave with FIN.",
    ["nginx", "node", "curl", "requests"],
    shows={"clean": 4},
)
def reuse_well(lab):
    host = lab.one_host()
    files = lab.temp / "files"
    files.mkdir()
    (files / "page").write_bytes(b"6" * 90_000)
    nginx(lab, host, f"gzip on; server {{ listen 10.77.0.1:80; root {files}; location /none {{ return 204; }} location /away {{ return 302 /page; }} }}")
    node(lab, host, "chunks.js")
    lab.record(host)
    base = "http://10.77.0.1"
    lab.curl(host, f"{base}/page", f"{base}/none", f"{base}/missing", f"{base}/away", f"{base}/page")
    lab.curl(host, "-I", f"{base}/page", f"{base}/none")
    lab.curl(host, "-H", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", f"{base}/page", f"{base}/page")
    lab.curl(host, "-r", "10-99", f"{base}/page")
    lab.curl(host, f"{base}:8000/", f"{base}:8000/trailers", f"{base}:8000/")
    python_client(lab, host, "session.py", f"{base}:8000/", "4")
    return well


@case(
    "close-delimited-http10",
    "HTTP/1.0 answers that the close ends",
    "socat and Python's http.server answer without Content-Length and close: the FIN ends the body. Nothing is missing.",
    ["socat", "python 3.11 http.server", "curl", "wget"],
    vantage="client's interface, 5 ms from the server",
    shows={"clean": 4},
)
def close_delimited(lab):
    client, server, _ = lab.wired(0.005)
    page = lab.temp / "page"
    page.write_bytes(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"close ends this\n" * 3000)
    files = lab.temp / "files"
    files.mkdir()
    lab.start(server, ["socat", f"TCP-LISTEN:8000,bind={server.address},reuseaddr,fork",
                       f"SYSTEM:while read -r line; do [ \"$line\" = \"$(printf \\'\\\\r\\')\" ] && break; done; cat {page}"], port=8000)
    lab.start(server, ["/usr/bin/python3", "-m", "http.server", "--bind", server.address, "--directory", files, "8001"], port=8001)
    lab.record(client)
    for _ in range(2):
        lab.curl(client, "--http1.0", f"http://{server.address}:8000/")
    lab.curl(client, f"http://{server.address}:8001/")
    lab.run(client, ["wget", "-q", "-O", "/dev/null", f"http://{server.address}:8001/"])
    return well


@case(
    "stray-crlf-between-requests",
    "Clients that end a body with a line too many",
    "As old browsers did, clients send CRLF behind the body of a POST (RFC 9112 2.2: to be ignored), and ask again on the same connection. nginx "
    "and node skip it.",
    ["nginx", "node", "python 3.11 sockets"],
    shows={"clean": 4},
)
def stray_crlf(lab):
    host = lab.one_host()
    node(lab, host, "keepalive.js", "timeout", 20000)
    nginx(lab, host, "server { listen 10.77.0.1:80; location / { proxy_pass http://10.77.0.1:8000; proxy_http_version 1.1; } }")
    lab.record(host)
    post = "send:POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9\\r\\n\\r\\nname=anne"
    for port in (8000, 80):
        raw(lab, host, "10.77.0.1", port, post, "send:\\r\\n", "read", GET % "/", "read", post, "wait:0.05", "send:\\r\\n", "read", GET % "/", "read", "close")
        raw(lab, host, "10.77.0.1", port, post + "\\r\\n", "read", GET % "/", "read", "wait:0.1", GET % "/", "read", "close")
    return well


@case(
    "client-half-close",
    "Clients that shut down writing and still get their answer",
    "netcat -N and a Python client half-close after the request; gunicorn and Redis answer and close.",
    ["netcat", "gunicorn sync", "redis", "python 3.11 sockets"],
    shows={"clean": 3},
)
def half_close(lab):
    host = lab.one_host()
    gunicorn(lab, host, app="plain_wsgi:application")
    lab.start(host, ["redis-server", "--port", "6379", "--bind", host.address, "--save", "", "--dir", lab.temp, "--protected-mode", "no"], port=6379)
    lab.record(host)
    lab.run(host, ["nc", "-N", host.address, "8000"], stdin=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    lab.run(host, ["nc", "-N", host.address, "6379"], stdin=b"PING\r\nSET a 1\r\nGET a\r\nQUIT\r\n")
    raw(lab, host, host.address, 8000, GET % "/small", "half", "eof")
    return well


@case(
    "redis-cli-ends-well",
    "Redis with pipelines, pub/sub and redis-cli",
    "redis-cli runs commands and quits, a pipeline of a hundred commands, a subscriber that gets two messages and leaves.",
    ["redis", "redis-cli", "python 3.11 sockets"],
    shows={"clean": 4},
)
def redis_well(lab):
    host = lab.one_host()
    lab.start(host, ["redis-server", "--port", "6379", "--bind", host.address, "--save", "", "--dir", lab.temp, "--protected-mode", "no"], port=6379)
    lab.record(host)
    subscriber = lab.start(host, ["/usr/bin/python3", PROGRAMS / "rawhttp.py", host.address, 6379, "send:SUBSCRIBE news\\r\\n", "wait:1.2", "read:60", "close"])
    time.sleep(0.3)
    for command in (["SET", "a", "1"], ["PUBLISH", "news", "one"], ["PUBLISH", "news", "two"], ["GET", "a"]):
        lab.run(host, ["redis-cli", "-h", host.address, *command])
    raw(lab, host, host.address, 6379, "send:" + "INCR n\\r\\n" * 100, "until:100\\r\\n", "close")
    subscriber.wait(5)
    lab.take_accounts(subscriber.log.read_text())
    return well


@case(
    "ioredis-two-callers",
    "Two callers share one connection to Redis",
    "Three processes of one host ask for a hundred things one after the other over a connection of ioredis each; then, in one of them, a script of 250 ms runs, and another "
    "caller asks meanwhile. All answers come in order, and each caller has looked at its values: it is no connection that was put back with an answer owed.",
    ["redis", "ioredis"],
    shows={"clean": 3},
)
def shared_redis(lab):
    host = lab.one_host()
    redis(lab, host)
    lab.record(host)
    for callers in ("1", "1", "2"):
        lab.client(host, ["node", PROGRAMS / "shared.js", host.address, "6379", callers])

    def judge(connection):
        if connection.resets or connection.failed:
            return None
        if all(account.status == 1 for account in connection.accounts):
            return clean()
        # A capture cannot tell it from a command that was cancelled.
        return clean("the second caller asked while the first one's answer was owed, and each got its own", doubt=["desync-pool-unread-response"])

    return judge


@case(
    "idle-close-noticed",
    "Servers close idle connections, pools notice and connect anew",
    "node and nginx close after a second of idleness; Go and undici clients whose pools watch their sockets use new connections 2.5 s later.",
    ["node", "nginx", "go net/http client", "undici", "requests"],
    shows={"clean": 5},
)
def idle_noticed(lab):
    host = lab.one_host()
    node(lab, host, "keepalive.js", "timeout", 500)
    nginx(lab, host, "keepalive_timeout 1s; server { listen 10.77.0.1:80; location / { return 200 ok; } }")
    lab.record(host)
    go_client(lab, host, "-n", "2", "-gap", "2500ms", "-post", "10", "http://10.77.0.1:8000/")
    python_client(lab, host, "session.py", "http://10.77.0.1/", "2", "2.5")
    lab.client(host, ["node", PROGRAMS / "agent.js", "http://10.77.0.1:8000/", "POST", "undici", "2", "2500"])
    lab.client(host, ["node", PROGRAMS / "agent.js", "http://10.77.0.1/", "GET", "http", "2", "2500"])

    def judge(connection):
        if connection.failed:
            return None
        if connection.resets:
            return None
        return clean("the server closed an idle connection and its client noticed")

    return judge


@case(
    "client-pool-idle-close",
    "A client's pool closes idle connections with FIN",
    "Go's IdleConnTimeout of 500 ms ends idle connections to gunicorn gthread and Go; requests before were answered.",
    ["go net/http client", "go net/http", "gunicorn gthread"],
    shows={"clean": 4},
)
def pool_idle(lab):
    host = lab.one_host()
    go_server(lab, host)
    gunicorn(lab, host, "-k", "gthread", "--threads", "4", "--keep-alive", "20", app="plain_wsgi:application", port=8001)
    lab.record(host)
    for port in (8000, 8001):
        go_client(lab, host, "-n", "2", "-gap", "900ms", "-idle", "500ms", f"http://10.77.0.1:{port}/small")
    return well


@case(
    "long-poll",
    "Answers that take two seconds",
    "Long polls against a Go server: nothing for one or two seconds, then an answer. TCP keep-alive probes on one.",
    ["go net/http", "curl", "go net/http client"],
    vantage="client's interface, 5 ms from the server",
    shows={"clean": 2},
)
def long_poll(lab):
    client, server, _ = lab.wired(0.005)
    go_server(lab, server)
    lab.record(client)
    lab.curl(client, "--keepalive-time", "1", f"http://{server.address}:8000/slow?for=2500ms", f"http://{server.address}:8000/ok?n=10")
    go_client(lab, client, "-n", "2", "-post", "30", f"http://{server.address}:8000/slow?for=1200ms")
    return well


@case(
    "websocket",
    "WebSocket connections that end well",
    "aiohttp's client upgrades, exchanges messages both ways and closes with the closing handshake.",
    ["aiohttp"],
    shows={"clean": 2},
)
def websocket(lab):
    host = lab.one_host()
    python_program(lab, host, "websocket.py", "serve")
    lab.record(host)
    for _ in range(2):
        python_client(lab, host, "websocket.py", "10.77.0.1", 8000, "talk")
    return well


@case(
    "time-wait-port-reused",
    "The same four-tuple twice: a connection in place of one in TIME_WAIT",
    "A client binds one local port for three connections in a row to a server that closes first; each SYN meets TIME_WAIT and is taken.",
    ["gunicorn sync", "python 3.11 sockets"],
    shows={"clean": 3},
)
def time_wait(lab):
    host = lab.one_host()
    gunicorn(lab, host, app="plain_wsgi:application")
    lab.record(host)
    lab.client(host, ["/usr/bin/python3", PROGRAMS / "same_port.py", host.address, 8000, "3"])
    return well


@case(
    "load-tools-end-well",
    "ab and siege runs",
    "ab with and without keep-alive against nginx and Apache, siege with a fixed number of requests.",
    ["ab", "siege", "nginx", "apache"],
    shows={"clean": 10},
)
def load_tools(lab):
    host = lab.one_host()
    nginx(lab, host, "server { listen 10.77.0.1:8000; location / { return 200 'some text\n'; } }", port=8000)
    apache(lab, host, "KeepAlive On")
    lab.record(host)
    lab.run(host, ["ab", "-q", "-k", "-n", "12", "-c", "3", "http://10.77.0.1:8000/"])
    lab.run(host, ["ab", "-q", "-n", "6", "-c", "2", "http://10.77.0.1/"])
    lab.run(host, ["siege", "-q", "-b", "-r", "3", "-c", "2", "http://10.77.0.1:8000/"])
    return well


@case(
    "expect-100-refused",
    "Expect: 100-continue and a refusal before the body",
    "curl asks first; nginx answers 413 to two and curl does not send the body; a third upload within the limit gets 100 and is stored.",
    ["nginx", "curl"],
    shows={"clean": 3},
)
def expect_100(lab):
    host = lab.one_host()
    python_program(lab, host, "waitress_limit.py", port=8001)
    nginx(lab, host, "client_max_body_size 10k; server { listen 10.77.0.1:80; location / { proxy_pass http://10.77.0.1:8001/read; } }")
    lab.record(host)
    for size in (90_000, 50_000, 3_000):
        lab.curl(host, "-H", "Expect: 100-continue", "-d", "z" * size, "http://10.77.0.1/")
    return well


@case(
    "midstream-pick-up",
    "A capture that begins in the middle of connections",
    "Two keep-alive connections had two exchanges before tcpdump was started; it sees the third exchange and the ends.",
    ["nginx", "node", "python 3.11 sockets"],
    shows={"clean": 2},
)
def midstream(lab):
    host = lab.one_host()
    nginx(lab, host, "server { listen 10.77.0.1:80; location / { return 200 'some text\n'; } }")
    node(lab, host, "keepalive.js", "timeout", 20000)
    clients = [lab.start(host, ["/usr/bin/python3", PROGRAMS / "rawhttp.py", host.address, port, GET % "/", "read", GET % "/", "read", "wait:2", GET % "/", "read", "close"])
               for port in (80, 8000)]
    time.sleep(0.7)
    lab.record(host)
    for client in clients:
        client.wait(10)
        lab.take_accounts(client.log.read_text())
    return well


@case(
    "nginx-gives-up-on-upstream",
    "nginx gives up on a slow upstream (proxy_read_timeout)",
    "proxy_read_timeout 1s: nginx answers 504 and closes its connection to the Go server, which would have answered later. On the upstream's leg the "
    "client (nginx) left.",
    ["nginx", "go net/http", "curl"],
    shows={"client-cancel": 2, "clean": 3},
)
def gives_up(lab):
    host = lab.one_host()
    go_server(lab, host)
    nginx(lab, host, "proxy_read_timeout 1s; server { listen 10.77.0.1:80; location / { proxy_pass http://10.77.0.1:8000; } }")
    lab.record(host)
    for path in ("/slow?for=3s", "/ok?n=100", "/slow?for=2s"):
        lab.curl(host, f"http://10.77.0.1{path}")
    time.sleep(2)

    def judge(connection):
        if connection.server_port == 8000 and connection.index in (0, 2):
            return blame("client-cancel", "nginx's proxy_read_timeout ran out", lost=True)
        return clean() if not connection.resets else None

    return judge


@case(
    "snap-length-96-ignored-body",
    "A capture with a snap length of 96 bytes, on every interface",
    "tcpdump -i any -s 96 while http.server ignores a body of 9 000 bytes and answers 400 000; GETs end well. Heads are cut by the snap length.",
    ["python 3.11 http.server", "curl", "python 3.11 sockets"],
    vantage="any interface of the only host",
    shows={"unread-request-body": 2, "clean": 1},
)
def snapped(lab):
    host = lab.one_host()
    lab.start(host, ["/usr/bin/python3", PROGRAMS / "ignore_http.py", host.address, 8000, "ignore"], port=8000)
    lab.record(host, interface="any", snap=96)
    for _ in range(2):
        raw(lab, host, host.address, 8000, "rcvbuf:8000", "send:POST /large HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9000\\r\\n\\r\\n", "send:{9000*q}", "read")
    lab.curl(host, f"http://{host.address}:8000/small")

    def judge(connection):
        if connection.reset_by("server", "TCP_ABORT_ON_CLOSE"):
            return blame("unread-request-body", "the body was unread when the server closed",
                         also=["so-linger-zero", "incomplete-response", "unread-trailing-bytes"])
        return clean() if not connection.resets else None

    return judge
