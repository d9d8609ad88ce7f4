"""Connections that are used again while, or after, the server closes them."""

import pathlib
import time

from lab import GO, HOME, PROGRAMS, PYTHON, blame, clean
from registry import case
from servers import (
    apache, go_client, go_server, gunicorn, haproxy, nginx, node, python_client, python_program, raw, uwsgi,
)

DELAY = 0.015


# For servers that look for idle connections once a second: reuse in steps of 20 ms about that moment.
STAGGERED = [f"at:{0.96 + 0.02 * step:.2f}" for step in range(60)]
TICK = "This server looks for idle connections once a second, so the reuse is spread in steps of 20 ms instead."


def raced(connection):
    """The judge for connections of `race.py`: the account says whether the second request failed."""
    if connection.resets and not connection.reset_by("server", "TCP_TIMEWAIT_SOCKET", "TCP_ABORT_ON_CLOSE",
                                                     "TCP_ABORT_ON_DATA", "NO_SOCKET", "TCP_FLAGS"):
        return None
    if connection.failed or connection.resets:
        word = connection.first_reset.reason if connection.first_reset else "no reset: the late request was swallowed"
        return blame(
            "keepalive-race-unannounced-close", f"request and idle close crossed on a 15 ms wire ({word})",
            also=["idle-timeout-inversion"],
        )
    return clean("both requests were answered, or the server closed an idle connection")


def race(name, title, start, software, client="raw", method="GET", path="/", shows=1, earlier=(0.022, 0.015, 0.008, 0.2),
         port=8000, note=""):
    """Registers a race between the idle close of one server and the reuse of one client."""

    @case(
        name, title,
        "The client measures the server's idle limit on one connection (which the server closes, cleanly). Others are "
        "reused 8 to 22 ms before that limit over a wire of 15 ms one way, so that request and FIN cross; one is reused "
        f"200 ms before it and is answered. {note}".strip(),
        [*software, {"raw": "python 3.11 http.client"}.get(client, client)],
        vantage="client's interface, 15 ms from the server",
        shows={"keepalive-race-unannounced-close": shows, "clean": 1},
    )
    def run(lab):
        there, server, _ = lab.wired(DELAY)
        start(lab, server)
        lab.record(there)
        python_client(lab, there, "race.py", f"http://{server.address}:{port}{path}", client, method, *earlier)
        return raced

    return run


race("race-node-python", "node's keepAliveTimeout against a client that keeps connections longer",
     lambda lab, host: node(lab, host, "keepalive.js", "timeout", 500), ["node"], method="POST")
race("race-gunicorn-gthread-urllib3", "gunicorn gthread's keep-alive against a client pool",
     lambda lab, host: gunicorn(lab, host, "-k", "gthread", "--threads", "8", "--keep-alive", "1", app="plain_wsgi:application"),
     ["gunicorn gthread"], client="urllib3", path="/small", earlier=STAGGERED, note=TICK)
race("race-apache-swallowed", "Apache's KeepAliveTimeout swallows a late request without a reset",
     lambda lab, host: apache(lab, host, "KeepAlive On\nKeepAliveTimeout 1"), ["apache"], path="/", port=80,
     note="Apache lingers: it reads the late request, throws it away and only sends FIN.")
race("race-nginx-requests", "nginx's keepalive_timeout against Python requests",
     lambda lab, host: nginx(lab, host, f"keepalive_timeout 1s; server {{ listen {host.address}:80; location / {{ return 200 ok; }} }}"),
     ["nginx"], client="requests", method="POST", port=80)
race("race-uvicorn-httpx", "uvicorn's keep-alive limit against httpx",
     lambda lab, host: lab.start(host, [PYTHON, "-m", "uvicorn", "--host", host.address, "--port", "8000", "--timeout-keep-alive", "1",
                                        "--log-level", "warning", "asgi:app"], port=8000), ["uvicorn"], client="httpx")
race("race-haproxy-raw", "HAProxy's timeout http-keep-alive against a client pool",
     lambda lab, host: haproxy(lab, host, f"frontend f\n  timeout http-keep-alive 1s\n  bind {host.address}:80\n  http-request return "
                               "status 200 content-type text/plain string hello"), ["haproxy"], port=80)
race("race-go-server-raw", "Go's IdleTimeout against a client pool",
     lambda lab, host: go_server(lab, host, "1s"), ["go net/http"], path="/ok?n=100")
race("race-puma-python", "puma's persistent_timeout against a client pool",
     lambda lab, host: puma(lab, host), ["puma"], method="POST")
race("race-lighttpd-python", "lighttpd's keep-alive idle limit against a client pool",
     lambda lab, host: lighttpd(lab, host), ["lighttpd"], port=80)
race("race-jetty-python", "Jetty's idleTimeout against a client pool",
     lambda lab, host: java(lab, host, "JettyServer.java"), ["jetty", "java"])
race("race-tomcat-urllib3", "Tomcat's keepAliveTimeout against a client pool",
     lambda lab, host: java(lab, host, "TomcatServer.java"), ["tomcat", "java"], client="urllib3", method="POST", earlier=STAGGERED, note=TICK)


def puma(lab, host):
    config = lab.temp / "config.ru"
    config.write_text('run lambda { |env| [200, {"Content-Type" => "text/plain"}, ["hello from puma\\n"]] }\n')
    settings = lab.temp / "puma.rb"
    settings.write_text(f'bind "tcp://{host.address}:8000"\npersistent_timeout 1\nthreads 1, 4\nworkers 0\nenvironment "production"\n')
    return lab.start(host, ["puma", "-C", settings, config], port=8000)


def lighttpd(lab, host, extra=""):
    root = lab.temp / "lighttpd"
    root.mkdir()
    (root / "index.html").write_text("hello from lighttpd\n" * 20)
    conf = root / "lighttpd.conf"
    conf.write_text(
        f'server.document-root = "{root}"\nserver.port = 80\nserver.bind = "{host.address}"\nindex-file.names = ("index.html")\n'
        f'server.max-keep-alive-idle = 1\nserver.errorlog = "{root}/error.log"\n{extra}\n'
    )
    return lab.start(host, ["lighttpd", "-D", "-f", conf], port=80)


def java(lab, host, program):
    """Runs a program with the jars of its own server alone: others bring older classes of the same names."""
    names = ("tomcat9-",) if program.startswith("Tomcat") else ("jetty9-", "servlet-api", "tomcat9-servlet-api", "tomcat9-jsp-api")
    jars = ":".join(str(path) for path in sorted(pathlib.Path("/usr/share/java").glob("*.jar")) if path.name.startswith(names))
    return lab.start(host, ["java", "-XX:TieredStopAtLevel=1", "-cp", jars, PROGRAMS / program, host.address, "8000"], port=8000)


@case(
    "announced-close-ignored",
    "A client uses a connection again although the answer said Connection: close",
    "gunicorn's sync worker answers with Connection: close and closes. A client that does not parse the header sends its "
    "next request 100 ms later, to a closed socket; another honours it.",
    ["gunicorn sync", "curl", "python 3.11"],
    shows={"keepalive-race-announced-close": 3, "clean": 2},
)
def announced(lab):
    host = lab.one_host()
    gunicorn(lab, host, app="plain_wsgi:application")
    lab.record(host)
    get = "send:GET /small HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
    for pause in (0.03, 0.1, 0.5):
        raw(lab, host, "10.77.0.1", 8000, get, "read", f"wait:{pause}", get, "read")
    raw(lab, host, "10.77.0.1", 8000, get, "read", "eof")
    lab.curl(host, "http://10.77.0.1:8000/small", "http://10.77.0.1:8000/small")
    return announced_judge


def announced_judge(connection):
    if connection.reset_by("server", "TCP_TIMEWAIT_SOCKET", "NO_SOCKET", "TCP_FLAGS", "TCP_ABORT_ON_DATA") or connection.failed:
        return blame("keepalive-race-announced-close", "the client sent another request after Connection: close and FIN",
                     also=["late-data-after-close"])
    return clean("the client honoured Connection: close") if not connection.resets else None


@case(
    "announced-close-http10",
    "A client uses an HTTP/1.0 connection again",
    "Python's http.server answers HTTP/1.0 and closes; the client's pool keeps the connection and sends a POST later over a "
    "10 ms wire. Then a client that reads to EOF.",
    ["python 3.11 http.server", "curl"],
    vantage="client's interface, 10 ms from the server",
    shows={"keepalive-race-announced-close": 2, "clean": 2},
)
def announced_10(lab):
    client, server, _ = lab.wired(0.01)
    lab.start(server, ["/usr/bin/python3", PROGRAMS / "ignore_http.py", server.address, 8000, "read"], port=8000)
    lab.record(client)
    get = "send:POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 4\\r\\n\\r\\nabcd"
    for pause in (0.05, 0.2):
        raw(lab, client, server.address, 8000, get, "read", f"wait:{pause}", get, "read")
    raw(lab, client, server.address, 8000, get, "read", "eof")
    lab.curl(client, "-d", "a=1", f"http://{server.address}:8000/")
    return announced_judge


@case(
    "anki-connect-unannounced",
    "A hand-written server closes after each response without saying so; a pooling Go client",
    "A single-threaded HTTP/1.1 server, in the manner of an add-on for flash cards, answers 200 with Content-Length, no "
    "Connection: close, and closes. A Go client with keep-alive posts from ten workers: now and then it takes the "
    "connection from its pool before it has seen the FIN.",
    ["python 3.11 sockets", "go net/http client"],
    shows={"unannounced-close-each-response": 2, "clean": 3},
)
def anki(lab):
    host = lab.one_host()
    python_program(lab, host, "anki.py", port=8765)
    lab.record(host)
    go_client(lab, host, "-n", "10", "-workers", "10", "-post", "60", "http://10.77.0.1:8765/")
    return unannounced


@case(
    "anki-connect-unannounced-far",
    "The same server 10 ms away: Python's requests reuses before the FIN has come",
    "A requests session (which does look at its socket before reuse) and a plain http.client post twice, at once, to the "
    "server that closes after each response without Connection: close, over a wire of 10 ms.",
    ["python 3.11 sockets", "python 3.11 http.client", "requests"],
    vantage="client's interface, 10 ms from the server",
    shows={"unannounced-close-each-response": 2},
)
def anki_far(lab):
    client, server, _ = lab.wired(0.01)
    python_program(lab, server, "anki.py", port=8765)
    lab.record(client)
    post = "send:POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 20\\r\\n\\r\\n{20*k}"
    raw(lab, client, server.address, 8765, post, "read", post, "read")
    raw(lab, client, server.address, 8765, post, "read", "wait:0.1", post, "read")
    raw(lab, client, server.address, 8765, post, "read", "wait:0.3", post, "read")
    raw(lab, client, server.address, 8765, post, "read", "eof")
    return unannounced


@case(
    "anki-connect-announced",
    "The same server with Connection: close: nothing goes wrong",
    "The server of the case before now sends Connection: close with each response; the same Go client posts the same way.",
    ["python 3.11 sockets", "go net/http client"],
    shows={"clean": 40},
)
def anki_announced(lab):
    host = lab.one_host()
    python_program(lab, host, "anki.py", "announce", port=8765)
    lab.record(host)
    go_client(lab, host, "-n", "12", "-workers", "4", "-post", "60", "http://10.77.0.1:8765/")
    return lambda connection: None if connection.resets else clean("closed as announced, not reused")


def unannounced(connection):
    if connection.resets:
        return blame("unannounced-close-each-response",
                     f"reused after a response without Connection: close ({connection.first_reset.reason})",
                     also=["keepalive-race-unannounced-close"])
    if connection.failed:
        # This server never drains: had the request reached the wire, there would be a reset.
        return clean("its client wanted to reuse it, but saw the FIN before a byte was sent", lost=True,
                     also=["unannounced-close-each-response"])
    return clean("one exchange, then the server's close; not reused")


@case(
    "redis-idle-timeout",
    "Redis closes idle clients; a pool that does not look uses them 2 s later",
    "redis-server with timeout 1. Clients send PING, are idle for 3 s and send SET on a connection that Redis has closed "
    "meanwhile. Others are idle for 300 ms only.",
    ["redis", "python 3.11 sockets"],
    shows={"idle-timeout-inversion": 3, "clean": 2},
)
def redis_idle(lab):
    host = lab.one_host()
    redis(lab, host, "--timeout", "1")
    lab.record(host)
    for pause in (3, 3.5, 4, 0.3, 0.3):
        lab.client(host, ["/usr/bin/python3", PROGRAMS / "rawhttp.py", host.address, 6379, "send:PING\\r\\n", "read:7",
                          f"wait:{pause}", "send:SET a 1\\r\\n", "read:12", "need:12"])
    return inverted


def inverted(connection):
    if connection.failed or connection.resets:
        return blame("idle-timeout-inversion", "the client was idle longer than the server's limit and did not look",
                     also=["keepalive-race-unannounced-close", "late-data-after-close"])
    return clean("used again within the limit")


def redis(lab, host, *options, port=6379):
    return lab.start(
        host, ["redis-server", "--port", port, "--bind", host.address, "--save", "", "--dir", lab.temp, "--protected-mode", "no",
               *options], port=port)


@case(
    "node-idle-inversion",
    "node closes after its idle limit, a client that does not watch reuses seconds later",
    "keepAliveTimeout 500 ms (node adds a second of its own). A client posts on connections that were idle for 2.5 to 3.1 s: "
    "the FIN came long before. Some are idle for 600 ms and are answered.",
    ["node", "python 3.11"],
    shows={"idle-timeout-inversion": 4, "clean": 2},
)
def node_inversion(lab):
    host = lab.one_host()
    node(lab, host, "keepalive.js", "timeout", 500)
    lab.record(host)
    python_client(lab, host, "race.py", "http://10.77.0.1:8000/", "raw", "POST", "at:2.5", "at:2.7", "at:2.9", "at:3.1", "at:0.6", "at:0.5")
    return inverted


@case(
    "nginx-keepalive-requests-announced",
    "nginx ends a connection after keepalive_requests and says so; a client goes on",
    "keepalive_requests 5: the fifth answer carries Connection: close. A client that counts on the connection sends a sixth "
    "request; ab, which knows, does not.",
    ["nginx", "ab", "python 3.11"],
    shows={"keepalive-race-announced-close": 2, "clean": 2},
)
def nginx_requests(lab):
    host = lab.one_host()
    nginx(lab, host, "lingering_close off; keepalive_requests 5; server { listen 10.77.0.1:80; location / { return 200 ok; } }")
    lab.record(host)
    get = "send:GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
    for _ in range(2):
        raw(lab, host, "10.77.0.1", 80, *[get, "read"] * 5, "wait:0.05", get, "read")
    lab.run(host, ["ab", "-q", "-k", "-n", "20", "-c", "2", "http://10.77.0.1/"])

    def judge(connection):
        truth = announced_judge(connection)
        if truth and truth.expect:
            truth.also.append("proxy-max-requests")
        return truth

    return judge


@case(
    "node-max-requests-unannounced",
    "A node server ends each connection after 4 requests without saying so",
    "The server calls destroySoon() after the fourth response, which said Connection: keep-alive. A pool that uses the "
    "connection again at once, over a wire of 15 ms, loses every fifth request; one that stops after four does not.",
    ["node", "python 3.11"],
    vantage="client's interface, 15 ms from the server",
    shows={"proxy-max-requests": 4, "clean": 2},
)
def node_requests(lab):
    client, server, _ = lab.wired(DELAY)
    node(lab, server, "keepalive.js", "requests", 4)
    lab.record(client)
    post = "send:POST /order HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 4\\r\\n\\r\\nabcd"
    for _ in range(4):
        raw(lab, client, server.address, 8000, *[post, "read"] * 5)
    for count in (4, 3):
        raw(lab, client, server.address, 8000, *[post, "read"] * count, "close")

    def judge(connection):
        if connection.failed or connection.resets:
            word = connection.first_reset.reason if connection.first_reset else "no reset"
            return blame("proxy-max-requests", f"the server closed after its fourth response, unannounced ({word})",
                         also=["keepalive-race-unannounced-close"])
        return clean("no more requests than the server takes")

    return judge


@case(
    "gunicorn-max-requests-recycle",
    "gunicorn recycles a worker after --max-requests while another connection is in use",
    "gunicorn gthread --max-requests 12 with two keep-alive connections to its worker: requests on the one make the worker "
    "leave, which closes the other without a word; its client posts at that moment, over a wire of 15 ms.",
    ["gunicorn gthread", "python 3.11"],
    vantage="client's interface, 15 ms from the server",
    shows={"keepalive-race-unannounced-close": 1},
)
def gunicorn_recycle(lab):
    client, server, _ = lab.wired(DELAY)
    gunicorn(lab, server, "-k", "gthread", "--threads", "4", "--keep-alive", "30", "--max-requests", "12", app="plain_wsgi:application")
    lab.record(client)
    lab.client(client, ["/usr/bin/python3", PROGRAMS / "busy_idle.py", server.address, 8000])

    def judge(connection):
        if connection.failed or connection.resets:
            word = connection.first_reset.reason if connection.first_reset else "no reset"
            return blame("keepalive-race-unannounced-close", f"the recycled worker closed while a request came ({word})",
                         also=["proxy-max-requests", "upstream-no-response-close"])
        return clean("announced by Connection: close, or idle, when the worker left")

    return judge


race("race-aiohttp-server", "aiohttp's keepalive_timeout against a client pool",
     lambda lab, host: python_program(lab, host, "aiohttp_server.py"), ["aiohttp"], method="POST")
race("race-waitress-requests", "waitress's channel_timeout against requests",
     lambda lab, host: python_program(lab, host, "waitress_idle.py"), ["waitress"], client="requests", path="/small", earlier=STAGGERED, note=TICK)


def java_plain(lab, host, program, *options):
    return lab.start(host, ["java", "-XX:TieredStopAtLevel=1", *options, PROGRAMS / program, host.address, "8000"], port=8000)


@case(
    "race-node-undici",
    "node's idle limit against undici with a longer one, 15 ms apart",
    "undici keeps connections for a minute, node closes after 1.5 s: requests after 1.485 s of idleness cross the FIN.",
    ["node", "undici"],
    vantage="server's interface, 15 ms from the client",
    shows={"keepalive-race-unannounced-close": 1},
)
def race_undici(lab):
    client, server, _ = lab.wired(DELAY)
    node(lab, server, "keepalive.js", "timeout", 500)
    lab.record(server)
    for gap in ("1478", "1486", "1492", "600"):
        lab.client(client, ["node", PROGRAMS / "agent.js", f"http://{server.address}:8000/", "POST", "undici", "2", gap])
    return raced


@case(
    "race-gunicorn-go-post",
    "gunicorn gthread closes an idle connection, Go posts on it 15 ms away",
    "gunicorn gthread with keep-alive 1: Go's pool holds connections for 90 s and posts on them about when the worker closes them. Go sees "
    "the FIN in time, or loses the request.",
    ["gunicorn gthread", "go net/http client"],
    vantage="client's interface, 15 ms from the server",
    shows={"clean": 4},
)
def race_go(lab):
    client, server, _ = lab.wired(DELAY)
    gunicorn(lab, server, "-k", "gthread", "--threads", "40", "--keep-alive", "1", app="plain_wsgi:application")
    lab.record(client)
    started = [lab.start(client, [GO, "get", "-n", "2", "-gap", f"{1000 + 25 * step}ms", "-post", "5", f"http://{server.address}:8000/small"])
               for step in range(24)]
    for one in started:
        one.wait(15)
        lab.take_accounts(one.log.read_text())
    return raced


@case(
    "haproxy-node-idle-limits",
    "HAProxy in front of node: the pool notices node's idle close",
    "HAProxy keeps server connections for reuse; node closes them after 1.5 s idle with FIN, HAProxy closes its side and opens new ones. All "
    "requests are answered.",
    ["haproxy", "node", "curl"],
    shows={"clean": 6},
)
def haproxy_node(lab):
    host = lab.one_host()
    node(lab, host, "keepalive.js", "timeout", 500)
    haproxy(lab, host, "frontend f\n  bind 10.77.0.1:80\n  default_backend b\nbackend b\n  http-reuse always\n  server one 10.77.0.1:8000")
    lab.record(host)
    for pause in (0.2, 1.8, 0.1, 1.9):
        lab.curl(host, "-d", "a=1", "http://10.77.0.1/")
        time.sleep(pause)

    return lambda connection: None if connection.failed or connection.reset_by("server") else clean(
        also=["deliberate-pool-rst"] if connection.resets else [])


@case(
    "nginx-upstream-node-race",
    "nginx reuses an upstream connection that node is closing",
    "nginx with upstream keepalive in front of node 15 ms away, whose idle limit is 1.5 s: POSTs after about 1.485 s of idleness cross "
    "node's FIN and end as 502. The capture shows the upstream's leg.",
    ["nginx", "node", "curl"],
    vantage="nginx's interface towards node, 15 ms away",
    shows={"keepalive-race-unannounced-close": 1},
)
def nginx_node(lab):
    client, server, _ = lab.wired(DELAY)
    node(lab, server, "keepalive.js", "timeout", 500)
    nginx(lab, client, f"upstream app {{ server {server.address}:8000; keepalive 8; }} server {{ listen 127.0.0.1:80; location / {{ proxy_pass http://app;"
          " proxy_http_version 1.1; proxy_set_header Connection ''; } }")
    lab.record(client)
    statuses = []
    for pause in (1.47, 1.478, 1.464, 0.5):
        lab.curl(client, "-d", "a=1", "http://127.0.0.1/")
        time.sleep(pause)
        statuses.append(lab.curl(client, "-d", "b=1", "http://127.0.0.1/")[0].status)
        time.sleep(2)
    # These accounts are of connections to nginx, which are not in the capture.
    lab.accounts.clear()

    def judge(connection):
        if connection.resets:
            return blame("keepalive-race-unannounced-close", f"nginx's request crossed node's idle close ({connection.first_reset.reason})",
                         also=["idle-timeout-inversion"], lost=True)
        return clean()

    return judge
