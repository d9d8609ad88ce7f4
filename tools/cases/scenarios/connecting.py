"""Connections that never come to be, or die before they are accepted."""

import signal
import time

from lab import PROGRAMS, blame, clean, signal_group
from registry import case
from servers import collect, go_client, gunicorn, haproxy, nginx, start_raw

GET = "send:GET %s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"




@case(
    "closed-port-curl",
    "Nothing listens on the port",
    "curl, a Go client and HAProxy's health check connect to ports on which nothing listens, over IPv4 and IPv6; nginx on "
    "another port answers.",
    ["curl", "go net/http client", "nginx"],
    shows={"closed-port": 4, "clean": 1},
)
def closed_port(lab):
    host = lab.one_host(ipv6=True)
    nginx(lab, host, "server { listen 10.77.0.1:80; location / { return 200 ok; } }")
    lab.record(host)
    for url in ("http://10.77.0.1:8000/", "http://[fd77::1]:8000/", "http://[fd77::1]:80/", "http://10.77.0.1/"):
        lab.curl(host, url)
    go_client(lab, host, "-n", "2", "http://10.77.0.1:8001/")

    def judge(connection):
        if connection.reset_by("server", "NO_SOCKET"):
            return blame("closed-port", "nothing listened there", lost=True)
        return clean() if not connection.resets else None

    return judge


@case(
    "haproxy-checks-down-server",
    "HAProxy checks a server that is down and one that is up",
    "HAProxy's health checks (every 300 ms) connect to a port without a listener and to nginx, where they leave after the "
    "handshake with a reset, by design.",
    ["haproxy", "nginx"],
    shows={"closed-port": 2, "clean": 1},
)
def haproxy_checks(lab):
    host = lab.one_host()
    nginx(lab, host, "server { listen 10.77.0.1:8000; location / { return 200 ok; } }", port=8000)
    lab.record(host)
    haproxy(lab, host, "frontend f\n  bind 10.77.0.1:80\n  default_backend b\nbackend b\n  server up 10.77.0.1:8000 check inter 300\n"
            "  server down 10.77.0.1:8001 check inter 300")
    lab.curl(host, "http://10.77.0.1/")
    time.sleep(1)

    def judge(connection):
        if connection.server_port == 8001:
            return blame("closed-port", "nothing listened there", lost=True)
        if connection.reset_by("client"):
            return clean("a health check that ends with a reset by design", also=["deliberate-pool-rst", "so-linger-zero"])
        return clean() if not connection.resets else None

    return judge


def hung_listener(lab, host, backlog, port=8000):
    """A server that listens and never accepts."""
    code = ("import socket,sys,time; s=socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=int(sys.argv[3]));"
            " time.sleep(60)")
    return lab.start(host, ["/usr/bin/python3", "-c", code, host.address, port, backlog], port=port)


@case(
    "listener-closed-pending-gunicorn",
    "gunicorn stops with connections in its accept queue",
    "gunicorn's only sync worker is busy; three more clients have connected and sent requests that nobody accepted. Then all its "
    "processes are killed: the kernel resets what was queued. The busy one's client gets FIN or reset.",
    ["gunicorn sync", "flask", "python 3.11 sockets"],
    shows={"listener-closed-pending-accept": 3, "clean": 1},
)
def listener_closed(lab):
    host = lab.one_host()
    server = gunicorn(lab, host)
    lab.record(host)
    lab.curl(host, "http://10.77.0.1:8000/small")
    busy = [start_raw(lab, host, host.address, 8000, GET % "/slow?s=8", "read")]
    time.sleep(0.3)
    busy += [start_raw(lab, host, host.address, 8000, GET % "/small", "read") for _ in range(3)]
    time.sleep(0.4)
    signal_group(server, signal.SIGKILL)
    collect(lab, busy)

    def judge(connection):
        if connection.index == 0:
            return clean() if not connection.resets else None
        if connection.index == 1:
            return blame(["upstream-no-response-close", "process-killed"], "killed while it worked on the request")
        if connection.reset_by("server", "TCP_STATE"):
            return blame("listener-closed-pending-accept", "the listener was closed before it was accepted", also=["process-killed", "so-linger-zero"])
        return None

    return judge


@case(
    "listener-closed-pending-python",
    "A server closes its listener with handshaken connections waiting",
    "A single-threaded Python server restarts: it closes its listening socket, orderly, while two clients that have sent "
    "nothing yet and two that have sent a request wait in the queue. A connection that it had accepted is answered.",
    ["python 3.11 sockets"],
    vantage="server's interface, 5 ms from the client",
    shows={"listener-closed-pending-accept": 4, "clean": 1},
)
def listener_restart(lab):
    client, server, _ = lab.wired(0.005)
    code = (
        "import socket,sys,time; s=socket.create_server((sys.argv[1], 8000), backlog=10); c,_=s.accept(); time.sleep(0.8);"
        " s.close(); c.recv(999); c.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 2\\r\\n\\r\\nok');"
        " c.close(); time.sleep(2)"
    )
    lab.start(server, ["/usr/bin/python3", "-c", code, server.address], port=8000)
    lab.record(server)
    clients = [start_raw(lab, client, server.address, 8000, GET % "/", "read", "close")]
    time.sleep(0.2)
    clients += [start_raw(lab, client, server.address, 8000, GET % "/", "read") for _ in range(2)]
    clients += [start_raw(lab, client, server.address, 8000, "wait:1.2", GET % "/", "read") for _ in range(2)]
    collect(lab, clients)

    def judge(connection):
        if connection.reset_by("server", "TCP_STATE"):
            return blame("listener-closed-pending-accept", "the listener was closed before it was accepted", also=["process-killed", "so-linger-zero"])
        return clean("accepted and answered") if not connection.resets else None

    return judge


@case(
    "backlog-overflow-drop",
    "The accept queue is full and the kernel drops",
    "A hung server with a backlog of 2. Three connections fill the queue; later clients' SYNs, or the last ACKs of their "
    "handshakes, are dropped: connects time out after 3 s, or a request is retransmitted without an answer.",
    ["python 3.11 sockets", "curl"],
    vantage="client's interface, 5 ms from the server",
    shows={"backlog-overflow-drop": 3},
)
def backlog_drop(lab):
    client, server, _ = lab.wired(0.005)
    hung_listener(lab, server, 2)
    lab.record(client)
    fill = [start_raw(lab, client, server.address, 8000, "timeout:5", "wait:4.5", "close") for _ in range(3)]
    time.sleep(0.3)
    for _ in range(3):
        lab.curl(client, "--connect-timeout", "1.5", f"http://{server.address}:8000/")
    collect(lab, fill)
    return overflow_drop


def overflow_drop(connection):
    if connection.index < 3:
        return clean("in the accept queue; its client left without a request", also=["listener-closed-pending-accept"])
    return blame("backlog-overflow-drop", "the accept queue was full", also=["silent-drop"], lost=True)


@case(
    "backlog-overflow-late-ack",
    "The accept queue fills between SYN and ACK: the client believes that it is connected",
    "A hung server with a backlog of 8, eight connections in it, and eight clients at once over a wire of 15 ms: all SYNs are answered, "
    "then most last ACKs are dropped. These clients send requests that nobody acknowledges while SYN-ACKs are repeated.",
    ["python 3.11 sockets"],
    vantage="client's interface, 15 ms from the server",
    shows={"backlog-overflow-drop": 5},
)
def backlog_late(lab):
    client, server, _ = lab.wired(0.015)
    lab.sysctl(server, "net/ipv4/tcp_synack_retries", 2)
    hung_listener(lab, server, 8)
    lab.record(client)
    lab.client(client, ["/usr/bin/python3", PROGRAMS / "burst.py", server.address, 8000, "8", "6", "8"])
    return burst_judge


def burst_judge(connection):
    if connection.rst_times["server"] and connection.reset_by("server", "INVALID_SYN"):
        return blame("backlog-overflow-rst", "the accept queue was full, tcp_abort_on_overflow=1", lost=True)
    if connection.error == "queued":
        return blame("client-cancel", "in the accept queue of a hung server until the client gave up",
                     also=["backlog-overflow-drop", "silent-drop"], lost=True)
    return blame("backlog-overflow-drop", "the accept queue was full when its last ACK came", also=["silent-drop"], lost=True)


@case(
    "backlog-overflow-syn-cookies",
    "The accept queue is full and SYNs are answered with cookies",
    "A hung server with a backlog of 1 and ten clients at once: the kernel answers the SYNs with cookies and keeps nothing, then "
    "drops most last ACKs. Their clients believe to be connected; their requests are never acknowledged, no SYN-ACK is repeated.",
    ["python 3.11 sockets"],
    vantage="client's interface, 15 ms from the server",
    shows={"backlog-overflow-drop": 5},
)
def backlog_cookies(lab):
    client, server, _ = lab.wired(0.015)
    hung_listener(lab, server, 1)
    lab.record(client)
    lab.client(client, ["/usr/bin/python3", PROGRAMS / "burst.py", server.address, 8000, "10", "4"])
    return burst_judge


@case(
    "backlog-overflow-rst",
    "The accept queue is full and tcp_abort_on_overflow is on",
    "The same burst with net.ipv4.tcp_abort_on_overflow=1: the last ACK of the handshake is answered with a reset at once.",
    ["python 3.11 sockets"],
    vantage="client's interface, 15 ms from the server",
    shows={"backlog-overflow-rst": 4},
)
def backlog_rst(lab):
    client, server, _ = lab.wired(0.015)
    lab.sysctl(server, "net/ipv4/tcp_abort_on_overflow", 1)
    hung_listener(lab, server, 8)
    lab.record(client)
    lab.client(client, ["/usr/bin/python3", PROGRAMS / "burst.py", server.address, 8000, "8", "2", "8"])
    return burst_judge


@case(
    "backlog-large-enough",
    "The same burst with a backlog that holds it",
    "Ten clients at once to a server which is slow to accept, but whose backlog is 50: all are answered after half a second.",
    ["python 3.11 http.server", "python 3.11 sockets"],
    vantage="client's interface, 15 ms from the server",
    shows={"clean": 10},
)
def backlog_fits(lab):
    client, server, _ = lab.wired(0.015)
    code = (
        "import socket,sys,time\ns=socket.create_server((sys.argv[1], 8000), backlog=50)\n"
        "while True:\n  c,_=s.accept(); time.sleep(0.05); c.recv(999)\n"
        "  c.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 2\\r\\n\\r\\nok'); c.close()"
    )
    lab.start(server, ["/usr/bin/python3", "-c", code, server.address], port=8000)
    lab.record(client)
    lab.client(client, ["/usr/bin/python3", PROGRAMS / "burst.py", server.address, 8000, "10", "5"])
    return lambda connection: clean("answered after a while") if not connection.resets else None


@case(
    "icmp-rejected-connect",
    "A firewall answers SYNs with ICMP",
    "The router rejects one port with admin-prohibited, one with port-unreachable and has no route to a third address. A "
    "fourth is let through.",
    ["nftables", "nginx", "curl"],
    vantage="client's interface, two hops from the server",
    shows={"icmp-error-abort": 3, "clean": 1},
)
def icmp(lab):
    client, router, server = lab.routed()
    nginx(lab, server, f"server {{ listen {server.address}:80; location / {{ return 200 ok; }} }}")
    lab.nft(router, "add table ip f; add chain ip f forward { type filter hook forward priority 0; };"
            " add rule ip f forward tcp dport 8001 reject with icmp type admin-prohibited;"
            " add rule ip f forward tcp dport 8002 reject with icmp type port-unreachable;")
    lab.record(client)
    for url in (f"http://{server.address}:8001/", f"http://{server.address}:8002/", "http://10.99.9.9:80/", f"http://{server.address}/"):
        lab.curl(client, "--connect-timeout", "3", url)

    def judge(connection):
        if connection.server.endswith("3.1:80"):
            return clean() if not connection.resets else None
        return blame("icmp-error-abort", "the router answered the SYN with an ICMP error", lost=True)

    return judge
