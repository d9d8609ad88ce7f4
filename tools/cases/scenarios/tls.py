"""TLS: what a capture without keys shows of closes, good and bad."""

import signal
import threading
import time

from lab import HOME, PROGRAMS, blame, clean, sh
from registry import case
from servers import apache, go_client, gunicorn, haproxy, nginx, node, python_client

def certificate(lab):
    """A throw-away key and certificate in the lab's temporary folder."""
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=shop.example",
       "-keyout", lab.temp / "key.pem", "-out", lab.temp / "cert.pem")
    return lab.temp / "cert.pem", lab.temp / "key.pem"


def nginx_tls(lab, host, extra="", location="return 200 'hello over tls\n';"):
    cert, key = certificate(lab)
    return nginx(lab, host, f"server {{ listen {host.address}:443 ssl; ssl_certificate {cert}; ssl_certificate_key {key}; {extra} location / {{ {location} }} }}",
                 port=443)


def answered_notify(connection):
    """The judge where the client answers the server's close_notify after the server's full close."""
    if connection.reset_by("server", "TCP_TIMEWAIT_SOCKET", "NO_SOCKET", "TCP_FLAGS", "TCP_ABORT_ON_DATA"):
        return blame("tls-close-notify-answer-rst", "only the client's close_notify came after the server's close", also=["late-data-after-close"], lost=False)
    if connection.reset_by("server", "TCP_ABORT_ON_CLOSE"):
        return clean("the client's unread close_notify made the server's kernel reset after a whole exchange", also=["tls-close-notify-answer-rst"])
    return clean() if not connection.resets else None


@case(
    "tls-nginx-close-notify-answered",
    "nginx closes a TLS connection and the client answers close_notify",
    "nginx (keepalive off) sends its answer, close_notify and FIN; Python's ssl reads to the end and then says close_notify as well "
    "(TLS 1.3 and 1.2). It meets a closed socket.",
    ["nginx", "openssl", "python 3.11 ssl", "curl"],
    shows={"tls-close-notify-answer-rst": 2},
)
def tls_nginx(lab):
    host = lab.one_host()
    nginx_tls(lab, host, "keepalive_timeout 0;")
    lab.record(host)
    for version in ("1.3", "1.2", "1.3"):
        lab.client(host, ["/usr/bin/python3", PROGRAMS / "tls_client.py", host.address, 443, version, "answer"])
    lab.curl(host, "-k", "https://10.77.0.1/")
    return answered_notify


@case(
    "tls-openssl-server-close-notify",
    "openssl s_server -www closes and the client answers close_notify 10 ms away",
    "s_server answers one page, sends close_notify and closes; curl and Python answer close_notify across a wire of 10 ms.",
    ["openssl", "python 3.11 ssl", "curl"],
    vantage="client's interface, 10 ms from the server",
    shows={},
)
def tls_openssl(lab):
    client, server, _ = lab.wired(0.01)
    cert, key = certificate(lab)
    lab.start(server, ["openssl", "s_server", "-quiet", "-www", "-accept", f"{server.address}:443", "-cert", cert, "-key", key], port=443)
    lab.record(client)
    for version in ("1.3", "1.2"):
        lab.client(client, ["/usr/bin/python3", PROGRAMS / "tls_client.py", server.address, 443, version, "answer"])
    lab.curl(client, "-k", f"https://{server.address}/")
    return answered_notify


@case(
    "tls-clean-close",
    "TLS connections that end well",
    "curl, Go and Python talk to nginx over TLS with keep-alive and leave: close_notify and FIN from the client first.",
    ["nginx", "curl", "go net/http client", "requests"],
    vantage="client's interface, 5 ms from the server",
    shows={"clean": 3},
)
def tls_clean(lab):
    client, server, _ = lab.wired(0.005)
    nginx_tls(lab, server)
    lab.record(client)
    lab.curl(client, "-k", f"https://{server.address}/", f"https://{server.address}/b")
    go_client(lab, client, "-n", "3", f"https://{server.address}/")
    python_client(lab, client, "session.py", f"https://{server.address}/", "3")
    return answered_notify


@case(
    "tls-idle-close",
    "A TLS server closes an idle connection, the client is idle too",
    "nginx with keepalive_timeout 1s over TLS: it sends close_notify and FIN to clients that read to the end and close.",
    ["nginx", "python 3.11 ssl"],
    shows={},
)
def tls_idle(lab):
    host = lab.one_host()
    nginx_tls(lab, host, "keepalive_timeout 1s;")
    lab.record(host)
    for version in ("1.3", "1.2"):
        lab.client(host, ["/usr/bin/python3", PROGRAMS / "tls_client.py", host.address, 443, version, "silent"])
    return answered_notify


@case(
    "tls-gunicorn-ignored-upload",
    "gunicorn over TLS answers an upload that its view ignores",
    "gunicorn 21.2 with a certificate; curl uploads 300 000 bytes, the Flask view answers 614 400 bytes without reading. The "
    "encrypted upload lies unread in the socket when it closes. A GET ends well.",
    ["gunicorn-old sync", "flask", "curl"],
    shows={"unread-request-body": 2},
)
def tls_upload(lab):
    host = lab.one_host()
    cert, key = certificate(lab)
    gunicorn(lab, host, "--certfile", cert, "--keyfile", key, python=HOME / "python-old/bin/python")
    body = lab.temp / "body"
    body.write_bytes(b"x" * 300_000)
    lab.record(host, snap=200)
    for _ in range(2):
        lab.curl(host, "-k", "-H", "Expect:", "--data-binary", f"@{body}", "https://10.77.0.1:8000/small")
    lab.curl(host, "-k", "https://10.77.0.1:8000/small")

    def judge(connection):
        if connection.index < 2:
            if connection.reset_by("server", "TCP_ABORT_ON_CLOSE"):
                return blame("unread-request-body", "the encrypted upload was unread when the server closed",
                             also=["early-error-body-limit", "late-data-after-close", "so-linger-zero"])
            return None
        return answered_notify(connection)

    return judge


@case(
    "tls-early-answer",
    "Uploads over TLS are refused while they come",
    "HAProxy denies POSTs with 403 at the head and closes; the client's 600 000 bytes come on, over a wire of 10 ms. nginx refuses the same upload "
    "with 413 and reads it to the end. Only sizes of records are seen: what follows the answer could be another request. GETs end well.",
    ["haproxy", "nginx", "curl"],
    vantage="client's interface, 10 ms from the server",
    shows={"early-error-body-limit": 1, "clean": 3},
)
def tls_early_answer(lab):
    client, server, _ = lab.wired(0.01)
    cert, key = certificate(lab)
    both = lab.temp / "both.pem"
    both.write_text(cert.read_text() + key.read_text())
    haproxy(lab, server, f"frontend f\n  bind {server.address}:443 ssl crt {both}\n  http-request deny if METH_POST\n"
            "  http-request return status 200 content-type text/plain string hello", port=443)
    nginx(lab, server, f"client_max_body_size 100k; server {{ listen {server.address}:8443 ssl; ssl_certificate {cert}; ssl_certificate_key {key};"
          " location / { return 200 ok; } }", port=8443)
    body = lab.temp / "body"
    body.write_bytes(b"t" * 600_000)
    lab.record(client, snap=200)
    for port in (443, 8443):
        for _ in range(1 if port == 443 else 2):
            lab.curl(client, "-k", "--http1.1", "-H", "Expect:", "--data-binary", f"@{body}", f"https://{server.address}:{port}/")
        lab.curl(client, "-k", "--http1.1", f"https://{server.address}:{port}/", f"https://{server.address}:{port}/again")

    def judge(connection):
        if connection.server_port == 443 and connection.reset_by("server"):
            return blame("early-error-body-limit", f"denied, and closed while the upload came ({connection.resets[0].reason})",
                         also=["unread-request-body", "late-data-after-close"], lost=connection.failed)
        if connection.reset_by("client") and not connection.failed:
            return clean("curl had its answers, and closed as HAProxy said close_notify")
        return answered_notify(connection)

    return judge


@case(
    "tls-download-cut",
    "A server is killed in the middle of a download over TLS",
    "nginx sends a file of 90 KB over TLS to a client that reads slowly into a small buffer. When a second has passed nginx gets SIGKILL: its "
    "kernel delivers what it had, and a FIN, in the middle of a record. No alert is among it, and no other connection shows that nginx says "
    "close_notify. A smaller answer comes whole before.",
    ["nginx", "python 3.11 ssl", "curl"],
    vantage="client's interface, 5 ms from the server",
    shows={"incomplete-response": 1, "clean": 1},
)
def tls_download_cut(lab):
    client, server, _ = lab.wired(0.005)
    cert, key = certificate(lab)
    files = lab.temp / "files"
    files.mkdir()
    (files / "large").write_bytes(b"d" * 90_000)
    (files / "small").write_bytes(b"s" * 500)
    running = nginx(lab, server, f"server {{ listen {server.address}:443 ssl sndbuf=8k; ssl_certificate {cert}; ssl_certificate_key {key}; root {files};"
                    " location = / { try_files /large =404; } }", port=443)
    lab.record(client)
    lab.curl(client, "-k", "--http1.1", f"https://{server.address}/small")
    killer = threading.Timer(1, lambda: lab.stop(running, signal.SIGKILL))
    killer.start()
    lab.client(client, ["/usr/bin/python3", PROGRAMS / "tls_client.py", server.address, 443, "1.3", "slow:90000"])
    killer.join()

    def judge(connection):
        if connection.failed:
            return blame("incomplete-response", "nginx was killed while it sent", also=["process-killed"])
        return answered_notify(connection)

    return judge


@case(
    "tls-websocket-pings",
    "A WebSocket over TLS, whose pings are as small as an alert",
    "Python sends messages of 200 bytes over a WebSocket that node never answers but for pings (two bytes), and closes 0.8 s behind the last one. "
    "Nobody gave up. Others get their pages.",
    ["node", "python 3.11 ssl", "curl"],
    vantage="server's interface, 5 ms from the client",
    shows={"clean": 2},
)
def tls_websocket(lab):
    client, server, _ = lab.wired(0.005)
    cert, key = certificate(lab)
    node(lab, server, "https.js", cert, key)
    lab.record(server)
    for _ in range(2):
        lab.curl(client, "-k", "--http1.1", f"https://{server.address}:8000/")
    for _ in range(2):
        lab.client(client, ["/usr/bin/python3", PROGRAMS / "tls_client.py", server.address, 8000, "1.3", "websocket"])

    def judge(connection):
        if connection.index < 2:
            return answered_notify(connection)
        return clean("its client had said what it had to say") if not connection.failed else None

    return judge


@case(
    "tls-race-nginx",
    "A TLS request and an idle close cross",
    "nginx with keepalive_timeout 1s over TLS, a wire of 15 ms: the client sends its second request 8 to 15 ms before the close arrives. "
    "Only record sizes tell a request from a close_notify.",
    ["nginx", "python 3.11 ssl"],
    vantage="client's interface, 15 ms from the server",
    shows={"keepalive-race-unannounced-close": 2, "clean": 1},
)
def tls_race(lab):
    client, server, _ = lab.wired(0.015)
    nginx_tls(lab, server, "keepalive_timeout 1s; lingering_close off;")
    lab.record(client)
    # Idle seconds counted from the response's arrival, 15 ms after it was sent; the FIN arrives 1 s after the response.
    for idle in ("0.985", "0.992", "0.5"):
        lab.client(client, ["/usr/bin/python3", PROGRAMS / "tls_client.py", server.address, 443, "1.3", f"again:{idle}"])

    def judge(connection):
        if connection.failed:
            return blame("keepalive-race-unannounced-close", "the second request crossed the idle close", also=["idle-timeout-inversion", "late-data-after-close"])
        return answered_notify(connection)

    return judge


@case(
    "tls-apache-and-node-close",
    "Apache and node close TLS connections, the client answers close_notify late",
    "Apache (KeepAlive Off) lingers and takes the client's close_notify; node with Connection: close ends its side. Python's ssl answers "
    "close_notify after both, 10 ms away.",
    ["apache mod_ssl", "node", "python 3.11 ssl", "curl"],
    vantage="client's interface, 10 ms from the server",
    shows={"clean": 1},
)
def tls_others(lab):
    client, server, _ = lab.wired(0.01)
    cert, key = certificate(lab)
    apache(lab, server, f"KeepAlive Off\nSSLEngine on\nSSLCertificateFile {cert}\nSSLCertificateKeyFile {key}", port=443, modules=("socache_shmcb", "ssl"))
    node(lab, server, "https.js", cert, key)
    lab.record(client)
    for port in (443, 8000):
        for version in ("1.3", "1.2"):
            lab.client(client, ["/usr/bin/python3", PROGRAMS / "tls_client.py", server.address, port, version, "answer"])
    lab.curl(client, "-k", f"https://{server.address}/")
    lab.curl(client, "-k", f"https://{server.address}:8000/")
    time.sleep(1)
    return answered_notify
