"""Reuses idle connections just when the server closes them.

    race.py URL CLIENT METHOD WHEN…

Measures on one connection after how many idle seconds the server closes. Then, for each WHEN,
a connection of its own makes a request, is idle until so many seconds before that moment (or
"at:" so many seconds after its response), and is used again. CLIENT is raw (http.client, which
does not watch its socket), urllib3, requests or httpx.
"""

import http.client
import socket
import sys
import threading
import time
import urllib.parse

import account

URL, CLIENT, METHOD = sys.argv[1:4]
PARTS = urllib.parse.urlsplit(URL)


def idle_limit():
    """Seconds from the end of a response to the server's FIN, both seen here."""
    with socket.create_connection((PARTS.hostname, PARTS.port), 5) as probe:
        probe.settimeout(30)
        probe.sendall(f"GET {PARTS.path or '/'} HTTP/1.1\r\nHost: {PARTS.netloc}\r\n\r\n".encode())
        received = len(probe.recv(65536))
        while True:
            before = time.monotonic()
            data = probe.recv(65536)
            if not data:
                break
            received += len(data)
        account.tell(probe.getsockname()[1], True, "", 200, received)
        return time.monotonic() - before


def raw():
    connection = http.client.HTTPConnection(PARTS.hostname, PARTS.port, timeout=10)

    def once():
        connection.request(METHOD, PARTS.path or "/", body=b"a=1" if METHOD == "POST" else None)
        response = connection.getresponse()
        response.read()
        return response.status

    connection.connect()
    return once, connection.sock.getsockname()[1]


def pooled():
    """A pool with one connection, by library; its port is the one that the first request opened."""
    body = b"a=1" if METHOD == "POST" else None
    if CLIENT == "urllib3":
        import urllib3

        pool = urllib3.PoolManager(retries=False)
        return lambda: pool.request(METHOD, URL, body=body).status
    if CLIENT == "requests":
        import requests

        session = requests.Session()
        session.trust_env = False
        return lambda: session.request(METHOD, URL, data=body).status_code
    if CLIENT == "httpx":
        import httpx

        client = httpx.Client(trust_env=False, limits=httpx.Limits(keepalive_expiry=60))
        return lambda: client.request(METHOD, URL, content=body).status_code
    raise SystemExit(f"unknown client {CLIENT}")


def reuse(idle):
    if CLIENT == "raw":
        once, port = raw()
        status = once()
    else:
        once = pooled()
        status = once()
        port = account.port()
    answered = time.monotonic()
    account.tell(port, True, "", status)
    time.sleep(max(0.0, answered + idle - time.monotonic()))
    try:
        status = once()
        account.tell(port, True, "", status)
    except Exception as error:  # every library has its own class for this
        account.tell(port, False, f"{type(error).__name__}: {error}")


limit = idle_limit()
threads = []
for when in sys.argv[4:]:
    idle = float(when[3:]) if when.startswith("at:") else limit - float(when)
    threads.append(threading.Thread(target=reuse, args=(idle,)))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
