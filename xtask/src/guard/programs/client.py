"""client.py URL REQUESTS CLIENTS --status STATUS [--length BYTES] [--body BYTES] [--keep] [--echo]

Python's own http.client, which sends head and body in two writes. CLIENTS processes send REQUESTS requests in all. An answer is right if it
is whole and has this status, this length (--length), and the request's own mark (--echo). A connection is kept (--keep) until something
goes wrong that http.client sees; an answer that is somebody else's is not.
Prints what became of the requests.
"""

import argparse
import collections
import errno
import http.client
import json
import multiprocessing
import urllib.parse


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("url", type=urllib.parse.urlsplit)
    parser.add_argument("requests", type=int)
    parser.add_argument("clients", type=int)
    parser.add_argument("--status", type=int, required=True)
    parser.add_argument("--length", type=int)
    parser.add_argument("--body", type=int, default=0)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--echo", action="store_true")
    return parser.parse_args()


def name(error):
    if isinstance(error, http.client.RemoteDisconnected):
        return "EOF"
    if isinstance(error, http.client.IncompleteRead):
        return "cut short"
    if isinstance(error, http.client.BadStatusLine):
        return "no HTTP"
    if isinstance(error, OSError) and error.errno:
        return errno.errorcode[error.errno]
    return type(error).__name__


def why(proxy_status):
    """The error parameter of RFC 9209."""
    parts = [part.strip() for part in (proxy_status or "").split(";")]
    return " ".join(part[len("error="):] for part in parts if part.startswith("error="))


def ask(connection, wanted, mark):
    """What became of one request, and whether the connection may be kept."""
    body = b"x" * wanted.body if wanted.body else None
    try:
        method = "POST" if body else "GET"
        connection.request(method, wanted.url.path or "/", body, {"X-Mark": mark} if wanted.echo else {})
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return ("lost", name(error)), False
    if answer.status != wanted.status:
        return ("refused", f"{answer.status} {why(answer.headers['Proxy-Status'])}".strip()), not answer.will_close
    if wanted.length is not None and len(text) != wanted.length:
        return ("lost", "of another length"), not answer.will_close
    if wanted.echo and mark.encode() not in text:
        return ("lost", "another request's answer"), not answer.will_close
    return ("right", ""), not answer.will_close


def client(number, wanted):
    ends = collections.Counter()
    connection = None
    for request in range(wanted.requests // wanted.clients):
        if connection is None:
            connection = http.client.HTTPConnection(wanted.url.hostname, wanted.url.port, timeout=30)
        end, kept = ask(connection, wanted, f"<{number}.{request}>")
        ends[end] += 1
        if not (kept and wanted.keep):
            connection.close()
            connection = None
    return ends


def main():
    wanted = arguments()
    with multiprocessing.Pool(wanted.clients) as pool:
        ends = sum(pool.starmap(client, [(number, wanted) for number in range(wanted.clients)]), collections.Counter())
    of = lambda kind: {why: count for (other, why), count in ends.items() if other == kind}
    account = {"requests": sum(ends.values()), "right": ends[("right", "")], "lost": of("lost"), "refused": of("refused")}
    print(json.dumps(account))


main()
