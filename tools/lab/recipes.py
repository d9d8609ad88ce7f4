"""Which rounds of `bypeer lab` become cases, and what is right to say of each connection of theirs."""

from dataclasses import dataclass, field


@dataclass
class Truth:
    """Of one connection."""

    expect: list
    why: str
    also: list = field(default_factory=list)
    lost: bool = False


@dataclass
class Recipe:
    """Of one case."""

    scenario: str
    # The scenario's `[[real]]`; none: its own actors.
    real: str
    # The host at which the packets were seen.
    vantage: str
    title: str
    done: str
    made_with: list
    # By the client's host, or (client, server): the truths of its connections, in order.
    connections: dict


ORDINARY = [Truth([], "asked both kinds of requests in turn and was answered rightly")]
CLEAN = [Truth([], "one request, rightly answered")]


def swapped(cause, victim, receiver, also=(), receivers_also=()):
    """Two connections, both with the same cause: the one that was not answered, and the one that got its answer."""
    return {
        "client": [Truth([cause], victim, list(also), True)],
        "client-b": [Truth([cause], receiver, list(receivers_also), True)],
        "client-ordinary": ORDINARY,
        "client-old": CLEAN,
    }


DOUBLE = "desync-fd-reuse-double-close"
SHARED = "desync-shared-state"
POOL = "desync-pool-unread-response"

RECIPES = {
    "node14-tmp-double-close": Recipe(
        "double-close", "node14-tmp", "server",
        "The npm package tmp closes a file's number twice, the second time it is a connection's",
        "A server on Node 14 writes a temporary file by tmp.file() and a stream on its descriptor, which the stream closes; the clean-up half a second "
        "later closes the number again. Meanwhile it was given to the connection of GET /orders/1. That client sees an end of file; the next connection, "
        "of GET /accounts/2, gets the number, the answer to /orders/1, and then its own.",
        ["node14", "tmp 0.1.0"],
        swapped(DOUBLE, "its descriptor was closed by tmp's clean-up while the request was in work", "was accepted with that number and was sent the other's answer, then its own",
                also=["upstream-no-response-close"], receivers_also=["desync-unsolicited-response"]),
    ),
    "node14-filehandle-collected": Recipe(
        "double-close", "node14-filehandle", "server",
        "Node's garbage collector closes a FileHandle whose number is a connection's by now",
        "A server on Node 14 opened a file as a FileHandle and closed it by its number. The number went to the connection of GET /orders/1. When the object "
        "was collected, Node closed the number (with a warning). The next connection, of GET /accounts/2, was sent the answer to /orders/1, then its own.",
        ["node14"],
        swapped(DOUBLE, "its descriptor was closed by the collector while the request was in work", "was accepted with that number and was sent the other's answer, then its own",
                also=["upstream-no-response-close"], receivers_also=["desync-unsolicited-response"]),
    ),
    "python-double-close-held": Recipe(
        "double-close", "python-held", "server",
        "A double close of a socket of which a child has a copy: no FIN, a silent client",
        "A thread of a Python server closed a number twice, the second time that of GET /orders/1's connection. A child process had inherited the socket: no FIN "
        "was sent. The next connection, of GET /accounts/2, got the number and the other's answer. The first client gave up after a second.",
        ["python3 sockets and threads"],
        swapped(DOUBLE, "its descriptor was closed, but a child held a copy: its client waited in vain", "was accepted with that number and was sent the other's answer",
                also=[SHARED, "client-cancel"], receivers_also=[SHARED]),
    ),
    "node12-shared-parser": Recipe(
        "shared-response-object", "node12-parser", "server",
        "Node 12.22.12, unmodified, gives two connections one HTTP parser",
        "A server on Node 12.22.12 with a `data` listener on incoming sockets wrote three times to a pooled outbound connection that the upstream had reset: "
        "three errors in one turn of the loop put its parser into the list of free ones three times. Two clients connected; both their connections got "
        "that parser. The answers to GET /orders/1 and to GET /accounts/2 both went to the second; the first stayed open and silent until its client gave up.",
        ["node12"],
        {
            **swapped(SHARED, "its parser spoke of the other connection: nothing was ever written to it", "was sent the answer to the other's request, then its own",
                      also=["client-cancel"], receivers_also=["desync-unsolicited-response"]),
            # GET /refresh came first on a connection of its own.
            "client": [CLEAN[0], Truth([SHARED], "its parser spoke of the other connection: nothing was ever written to it", ["client-cancel"], True)],
            ("server", "upstream"): [Truth(["deliberate-pool-rst"], "the upstream reset an idle connection; the next request was begun on it, and failed where it was sent", ["so-linger-zero", "keepalive-race-unannounced-close"])],
        },
    ),
    "node-response-in-one-slot": Recipe(
        "shared-response-object", "node-slot", "server",
        "A handler in Node that keeps `the` response in one variable",
        "A server on Node does its work one at a time and answers to `current`, which the latest request has set. GET /orders/1 was in work when GET /accounts/2 came "
        "from another host: that one was sent the answer to /orders/1; its own met ERR_HTTP_HEADERS_SENT. The first client gave up.",
        ["node"],
        swapped(SHARED, "its response object was no longer the current one", "was sent the answer to the other's request", also=["client-cancel"]),
    ),
    "python-ids-unique-per-host": Recipe(
        "ids-unique-per-host", "", "server",
        "Two hosts number their jobs alike, and the server keeps who waits by that number",
        "A server in Python keeps connections that wait by the X-Job of their request. Two hosts sent the same one. The answer to GET /orders/1 went to the second "
        "host's connection; GET /accounts/2 was done later and nobody was registered any more. Both clients gave up.",
        ["python3 sockets and threads"],
        swapped(SHARED, "the other's connection stood under its number when it was done", "was sent the other's answer; its own found nobody", also=["client-cancel"]),
    ),
    "redis-py-cancelled-command": Recipe(
        "redis-cancelled-command", "redis-py-4.5.1", "client",
        "redis-py 4.5.1: a cancelled command's answer goes to the next one (CVE-2023-28858)",
        "An asyncio task that waited for GET user was cancelled 30 ms after it had been sent; the connection went back to the pool. GET plan was sent on it at once and "
        "was given user's value, and so on with each command that followed.",
        ["redis-py 4.5.1 asyncio", "redis-server"],
        {"client": [Truth([POOL], "GET plan was sent while GET user's answer was owed, and took it", ["client-undrained-response"], True)]},
    ),
    "redis-py-cancelled-command-mended": Recipe(
        "redis-cancelled-command", "redis-py-5.2.1", "client",
        "redis-py 5.2.1 in the same place: the connection is closed",
        "The same program with redis-py 5.2.1: the connection of the command that was cancelled was closed with the answer owed, and the next command went over another.",
        ["redis-py 5.2.1 asyncio", "redis-server"],
        {"client": [
            Truth(["client-cancel"], "the task was cancelled, and its connection closed with the answer owed", [], True),
            Truth([], "the commands after it, each rightly answered"),
        ]},
    ),
    "python-pool-after-timeout": Recipe(
        "pool-unread-response", "python-pool", "client",
        "A pool takes a connection back after a timeout, and the next request reads the late answer",
        "A pool in Python puts connections back whatever happened. GET /orders/1 timed out after 100 ms; GET /accounts/2 was sent on the same connection and read the "
        "answer to /orders/1; GET /stock/3 read that to /accounts/2. The program ended with the third answer owed.",
        ["python3 sockets", "bypeer lab: server"],
        {"client": [Truth([POOL], "GET /accounts/2 was sent while GET /orders/1's answer was owed, and took it", ["client-cancel"], True)]},
    ),
    "python-skips-pipelined-requests": Recipe(
        "pipeline-off-by-one", "", "server",
        "A server that answers one request for each read skips the one behind it",
        "A server in Python answers the first request of what a recv() gave it and throws the rest away. Two requests came together: the second was never answered, and "
        "every later answer on that connection stood one place too early.",
        ["python3 sockets", "bypeer lab: clients"],
        {
            "client": [Truth(["desync-pipeline-off-by-one"], "GET /accounts/2 was thrown away with the buffer; each answer after it is the next request's", ["client-cancel"], True)],
            "client-ordinary": ORDINARY,
        },
    ),
    "http-server-body-as-request": Recipe(
        "unread-body-as-request", "python-http.server", "server",
        "Python's http.server takes a form that nobody read for the next request's method",
        "http.server with protocol_version HTTP/1.1 and a do_POST that does not read. POST /form was answered 200; of GET /orders/1 behind it the request line began with the form's "
        "text, and it was answered 501 Unsupported method.",
        ["python3 http.server", "bypeer lab: clients"],
        {
            "client": [Truth(["desync-unread-body-as-request"], "the form lay unread before the second request and became its method", [], True)],
            "client-ordinary": ORDINARY,
        },
    ),
    "nat-entry-lost": Recipe(
        "nat-entry-lost", "", "client",
        "A NAT's entry expires while the client waits: the answer comes from an address it never talked to",
        "The server is published at another address; the wire's translation forgets what was idle for 1.5 s. The server answers GET /orders/1 after 2.3 s, from its own address: the "
        "client's kernel resets that (NO_SOCKET), and the client waits until its patience of 3.5 s ends.",
        ["bypeer lab: client, server, wire"],
        {
            ("client", "gateway"): [Truth(["nat-entry-lost"], "its answer left from the server's own address", ["client-cancel", "half-open-after-reboot"], True)],
            # The other half of it: no connection of its own.
            ("client", "server"): [Truth([], "the answer, and the reset of a kernel that knows no such connection", ["nat-entry-lost", "half-open-after-reboot"], True)],
        },
    ),
}
