"""Connections that are used again while, or after, the server closes them."""

import time

from lab import HOME, PROGRAMS, PYTHON, blame, clean
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
    jars = ":".join(["/usr/share/java/*"])
    return lab.start(host, ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", jars, PROGRAMS / program, host.address, "8000"], port=8000)
