"""What boxes between, timers and lost state do to connections."""

import time

from lab import PROGRAMS, blame, clean, sh
from registry import case
from servers import collect, go_server, nginx, start_raw

GET = "send:GET %s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"




def hello(lab, host, port=80):
    return nginx(lab, host, f"keepalive_timeout 60s; server {{ listen {port}; location / {{ return 200 'hello there\n'; }} }}", port=port)


def big(lab, host, rate="300k", size=600_000):
    """nginx with a large file at a limited rate."""
    files = lab.temp / "files"
    files.mkdir()
    (files / "big").write_bytes(b"3" * size)
    (files / "small").write_bytes(b"4" * 300)
    return nginx(lab, host, f"server {{ listen 80; root {files}; location /big {{ limit_rate {rate}; }} }}")


@case(
    "half-open-server-replaced",
    "The server's machine is replaced by a fresh one with the same address",
    "Clients have keep-alive connections to nginx. The machine loses power (its link goes, its state with it) and another with the "
    "same address and a new nginx takes over. Requests on the old connections are answered with resets; new connections work.",
    ["nginx", "python 3.11 sockets", "curl"],
    vantage="client's interface, one hop from the server",
    shows={"half-open-after-reboot": 3, "clean": 1},
)
def half_open(lab):
    client, router, server = lab.routed()
    hello(lab, server)
    lab.record(client)
    clients = [start_raw(lab, client, server.address, 80, GET % "/", "read", f"wait:{pause}", GET % "/again", "read")
               for pause in (2.2, 2.4, 2.6)]
    time.sleep(0.6)
    sh("ip", "-n", router.name, "link", "del", "right")
    fresh = lab.host("fresh", server.address)
    lab.join(fresh, router, "eth0", "right2", "10.77.3.1/24", "10.77.3.254/24")
    sh("ip", "-n", fresh.name, "route", "add", "default", "via", "10.77.3.254")
    hello(lab, fresh)
    collect(lab, clients)
    lab.curl(client, f"http://{server.address}/")
    return half_open_judge


def half_open_judge(connection):
    if connection.rst_times["server"]:
        return blame("half-open-after-reboot", "the new machine knows nothing of the old connection", lost=True)
    return clean() if not connection.failed else None


@case(
    "half-open-no-listener",
    "The server's machine is back, its service is not: a Redis client's old connection",
    "The same with Redis and no new Redis on the fresh machine: the old connections' commands draw resets from a machine with "
    "no socket at all, and new connections are refused.",
    ["redis", "python 3.11 sockets"],
    vantage="client's interface, one hop from the server",
    shows={"half-open-after-reboot": 2, "closed-port": 1},
)
def half_open_redis(lab):
    client, router, server = lab.routed()
    lab.start(server, ["redis-server", "--port", "6379", "--bind", server.address, "--save", "", "--dir", lab.temp, "--protected-mode", "no"], port=6379)
    lab.record(client)
    clients = [start_raw(lab, client, server.address, 6379, "send:PING\\r\\n", "read:7", f"wait:{pause}", "send:GET a\\r\\n", "read:12", "need:12")
               for pause in (2.0, 2.3)]
    time.sleep(0.6)
    sh("ip", "-n", router.name, "link", "del", "right")
    fresh = lab.host("fresh", server.address)
    lab.join(fresh, router, "eth0", "right2", "10.77.3.1/24", "10.77.3.254/24")
    sh("ip", "-n", fresh.name, "route", "add", "default", "via", "10.77.3.254")
    time.sleep(0.3)
    collect(lab, clients)
    lab.curl(client, f"http://{server.address}:6379/")

    def judge(connection):
        if connection.packets <= 2:
            return blame("closed-port", "no service on the fresh machine", lost=True)
        return half_open_judge(connection)

    return judge


@case(
    "silent-drop-mid-download",
    "A firewall starts to drop a flow in the middle of a download",
    "The router drops everything of port 80 after 0.7 s. The server retransmits into nothing; curl gives up after 3 s. A download before "
    "ended well.",
    ["nginx", "nftables", "curl"],
    vantage="server's interface, one hop from the client",
    shows={"silent-drop": 2, "clean": 1},
)
def silent_mid(lab):
    client, router, server = lab.routed()
    big(lab, server)
    lab.record(server)
    lab.curl(client, f"http://{server.address}/small")
    clients = [lab.start(client, ["curl", "-s", "-o", "/dev/null", "--max-time", "4", f"http://{server.address}/big"]) for _ in range(2)]
    time.sleep(0.7)
    lab.nft(router, "add table ip f; add chain ip f forward { type filter hook forward priority 0; }; add rule ip f forward tcp dport 80 drop;"
            " add rule ip f forward tcp sport 80 drop")
    for one in clients:
        one.wait(10)
    time.sleep(0.3)

    def judge(connection):
        if connection.index == 0:
            return clean() if not connection.resets else None
        return blame("silent-drop", "the router dropped the flow", also=["user-timeout-or-rto"], lost=True)

    return judge


@case(
    "mtu-black-hole",
    "Large packets vanish, small ones pass",
    "The wire drops every packet over 1400 bytes towards the client, and nobody sends ICMP. nginx repeats the first segments of a page of 60 KB; curl "
    "gives up after 6 s and had none of it. A small page arrives.",
    ["nginx", "curl"],
    vantage="server's interface, 5 ms from the client",
    shows={"silent-drop": 2, "clean": 1},
)
def mtu_black_hole(lab):
    client, server, wire = lab.wired(0.005)
    files = lab.temp / "files"
    files.mkdir()
    (files / "large").write_bytes(b"m" * 60_000)
    (files / "small").write_bytes(b"m" * 600)
    nginx(lab, server, f"server {{ listen {server.address}:80; root {files}; }}")
    sh("ip", "netns", "exec", server.name, "sysctl", "-q", "-w", "net.ipv4.tcp_mtu_probing=0")
    wire.drop = lambda packet, to_server: not to_server and len(packet) > 1400
    lab.record(server)
    for path in ("small", "large", "large"):
        lab.curl(client, "-m", "6", f"http://{server.address}/{path}")

    def judge(connection):
        if connection.failed:
            return blame("silent-drop", "the wire drops large packets", also=["user-timeout-or-rto"])
        return clean() if not connection.resets else None

    return judge


@case(
    "silent-drop-idle-flow",
    "A stateful box forgets idle flows and drops them",
    "The router lets through what belongs to a known flow and forgets flows that are idle for 2 s (conntrack timeout), then drops. Pool "
    "connections used again after 3 s get nothing but their own retransmissions; one that is used every second lives.",
    ["nginx", "nftables", "python 3.11 sockets"],
    vantage="client's interface, one hop from the server",
    shows={"silent-drop": 3, "clean": 1},
)
def silent_idle(lab):
    client, router, server = lab.routed()
    hello(lab, server)
    lab.sysctl(router, "net/netfilter/nf_conntrack_tcp_loose", 0)
    lab.nft(router, "add table ip f; add chain ip f forward { type filter hook forward priority 0; policy drop; };"
            " add rule ip f forward ct state established accept; add rule ip f forward tcp flags & (syn | ack) == syn ct state new accept")
    lab.sysctl(router, "net/netfilter/nf_conntrack_tcp_timeout_established", 2)
    lab.record(client)
    clients = [start_raw(lab, client, server.address, 80, GET % "/", "read", f"wait:{pause}", "timeout:4", GET % "/", "read") for pause in (3.0, 3.3, 3.6)]
    clients.append(start_raw(lab, client, server.address, 80, *[GET % "/", "read", "wait:1"] * 4, "close"))
    collect(lab, clients)

    def judge(connection):
        if connection.failed:
            return blame("silent-drop", "the box had forgotten the idle flow", also=["user-timeout-or-rto"], lost=True)
        return clean() if not connection.resets else None

    return judge


@case(
    "reject-forward-mid-flow",
    "A router rejects a flow with tcp-reset in the middle",
    "nginx sends at a limited rate; after 0.6 s the router rejects packets of the client with tcp reset (nft forward). A download before "
    "ended well.",
    ["nginx", "nftables", "curl"],
    vantage="client's interface, one hop from the server",
    shows={"netfilter-reject": 2, "clean": 1},
)
def reject_forward(lab):
    client, router, server = lab.routed()
    big(lab, server)
    lab.record(client)
    lab.curl(client, f"http://{server.address}/small")
    clients = [lab.start(client, ["curl", "-s", "-o", "/dev/null", "--max-time", "4", f"http://{server.address}/big"]) for _ in range(2)]
    time.sleep(0.6)
    lab.nft(router, "add table ip f; add chain ip f forward { type filter hook forward priority 0; }; add rule ip f forward tcp dport 80"
            " reject with tcp reset")
    for one in clients:
        one.wait(10)
    time.sleep(0.3)

    def judge(connection):
        if connection.index == 0:
            return clean() if not connection.resets else None
        if connection.rst_times["server"]:
            return blame("netfilter-reject", "the router answered the client's segments with a reset", also=["injected-rst"], lost=True)
        return None

    return judge


@case(
    "reject-input-idle-flow",
    "The server's own firewall rejects a request on an idle connection",
    "iptables -j REJECT --reject-with tcp-reset is added on the server while connections are idle; the next request on each is "
    "answered with a bare reset. New connections are refused the same way.",
    ["nginx", "iptables", "python 3.11 sockets", "curl"],
    vantage="client's interface, one hop from the server",
    shows={"netfilter-reject": 3},
)
def reject_input(lab):
    client, router, server = lab.routed()
    hello(lab, server)
    lab.record(client)
    clients = [start_raw(lab, client, server.address, 80, GET % "/", "read", "wait:1", GET % "/", "read") for _ in range(2)]
    time.sleep(0.6)
    sh("ip", "netns", "exec", server.name, "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "80", "-j", "REJECT", "--reject-with", "tcp-reset")
    collect(lab, clients)
    lab.curl(client, f"http://{server.address}/")

    def judge(connection):
        if connection.packets <= 2:
            return blame(["netfilter-reject", "closed-port"], "the firewall refused the SYN", lost=True)
        return blame("netfilter-reject", "the server's firewall answered the request with a reset", also=["half-open-after-reboot", "injected-rst"],
                     lost=True)

    return judge


@case(
    "injected-rst-tcpkill",
    "tcpkill in a router kills downloads",
    "dsniff's tcpkill on the router forges resets to both ends when it sees segments of port 80; neither host's kernel sent them. A "
    "download before ended well.",
    ["nginx", "dsniff", "curl"],
    vantage="client's interface, two hops from the server",
    shows={"injected-rst": 2, "clean": 1},
)
def tcpkill(lab):
    client, router, server = lab.routed()
    big(lab, server, "40k", 60_000)
    lab.record(client)
    lab.curl(client, f"http://{server.address}/small")
    clients = [lab.start(client, ["curl", "-s", "-o", "/dev/null", "--max-time", "4", f"http://{server.address}/big"]) for _ in range(2)]
    time.sleep(0.4)
    killer = lab.start(router, ["tcpkill", "-i", "left", "-3", "port", "80"], ready="listening")
    for one in clients:
        one.wait(10)
    lab.stop(killer)

    def judge(connection):
        if connection.index == 0:
            return clean() if not connection.resets else None
        if connection.rst_times["server"] or connection.rst_times["client"]:
            return blame("injected-rst", "forged by tcpkill in the router", also=["netfilter-reject"], lost=True)
        return None

    return judge


@case(
    "injected-rst-after-request",
    "A box forges one reset to the client as soon as it sees a request for one host",
    "A middlebox (an AF_PACKET program on the router) answers requests that name a forbidden host with a forged reset of its own TTL; "
    "the server works on its answer for 100 ms and sends it all the same. Requests for another host pass.",
    ["go net/http", "python 3.11 AF_PACKET", "curl"],
    vantage="client's interface, two hops from the server",
    shows={"injected-rst": 2, "clean": 1},
)
def censor(lab):
    client, router, server = lab.routed()
    go_server(lab, server)
    lab.start(router, ["/usr/bin/python3", PROGRAMS / "censor.py", "left", "forbidden.example"], ready="watching")
    lab.record(client)
    for name in ("forbidden.example", "allowed.example", "forbidden.example"):
        lab.curl(client, "-H", f"Host: {name}", f"http://{server.address}:8000/slow?for=100ms")

    def judge(connection):
        if connection.index == 1:
            return clean() if not connection.resets else None
        return blame("injected-rst", "forged by the box", also=["netfilter-reject"], lost=True) if connection.failed else None

    return judge


@case(
    "injected-rst-too-late",
    "A forged reset comes too late and is not accepted",
    "The same box in front of a server that answers at once: the forged reset's sequence number is no longer what the client expects, its "
    "kernel ignores it (RFC 5961) and everything ends well.",
    ["nginx", "python 3.11 AF_PACKET", "curl"],
    vantage="client's interface, two hops from the server",
    shows={"clean": 3},
)
def censor_late(lab):
    client, router, server = lab.routed()
    hello(lab, server)
    lab.start(router, ["/usr/bin/python3", PROGRAMS / "censor.py", "left", "forbidden.example"], ready="watching")
    lab.record(client)
    for name in ("forbidden.example", "allowed.example", "forbidden.example"):
        lab.curl(client, "-H", f"Host: {name}", f"http://{server.address}/")

    def judge(connection):
        if connection.failed:
            return None
        return clean("the forged reset was ignored and the client had its answer", also=["injected-rst"] if connection.rst_times["server"] else [],
                     forged=True)

    return judge


@case(
    "keepalive-timeout-path-drop",
    "TCP keep-alive probes find the path dead",
    "A client with SO_KEEPALIVE (2 s idle, 1 s apart, 3 probes) is idle on a Redis connection; the path drops everything after the first "
    "exchange. After three probes its kernel resets. With a live path the probes are answered.",
    ["redis", "nftables", "python 3.11 sockets"],
    vantage="client's interface, one hop from the server",
    shows={"keepalive-timeout": 2, "clean": 1},
)
def keepalive(lab):
    client, router, server = lab.routed()
    lab.start(server, ["redis-server", "--port", "6379", "--bind", server.address, "--save", "", "--dir", lab.temp, "--protected-mode", "no",
                       "--tcp-keepalive", "0"], port=6379)
    lab.record(client)
    lab.client(client, ["/usr/bin/python3", PROGRAMS / "idle_probe.py", server.address, 6379, "keepalive", "4"])
    clients = [lab.start(client, ["/usr/bin/python3", PROGRAMS / "idle_probe.py", server.address, 6379, "keepalive", "12"]) for _ in range(2)]
    time.sleep(0.6)
    lab.nft(router, "add table ip f; add chain ip f forward { type filter hook forward priority 0; }; add rule ip f forward drop")
    collect(lab, clients)

    def judge(connection):
        if connection.reset_by("client", "TCP_KEEPALIVE_TIMEOUT"):
            return blame("keepalive-timeout", "three keep-alive probes went unanswered", also=["silent-drop"], lost=True)
        return clean("its probes were answered") if not connection.resets else None

    return judge


@case(
    "user-timeout-path-drop",
    "TCP_USER_TIMEOUT ends connections whose data nobody acknowledges",
    "Clients with TCP_USER_TIMEOUT 2 s send a command after the path has begun to drop: retransmissions, then silence; the client "
    "gets ETIMEDOUT. One client on a live path is answered.",
    ["redis", "nftables", "python 3.11 sockets"],
    vantage="client's interface, one hop from the server",
    shows={"user-timeout-or-rto": 2, "clean": 1},
)
def user_timeout(lab):
    client, router, server = lab.routed()
    lab.start(server, ["redis-server", "--port", "6379", "--bind", server.address, "--save", "", "--dir", lab.temp, "--protected-mode", "no"], port=6379)
    lab.record(client)
    lab.client(client, ["/usr/bin/python3", PROGRAMS / "idle_probe.py", server.address, 6379, "user", "0"])
    clients = [lab.start(client, ["/usr/bin/python3", PROGRAMS / "idle_probe.py", server.address, 6379, "user", "1"]) for _ in range(2)]
    time.sleep(0.6)
    lab.nft(router, "add table ip f; add chain ip f forward { type filter hook forward priority 0; }; add rule ip f forward drop")
    collect(lab, clients)
    return timed_out


def timed_out(connection):
    if connection.failed:
        return blame("user-timeout-or-rto", f"its data was never acknowledged: {connection.error}", also=["silent-drop"], lost=True)
    return clean() if not connection.resets else None


@case(
    "rto-peer-comes-back",
    "Retransmissions run out (tcp_retries2), then the other end speaks again",
    "tcp_retries2=3 on the server, whose download is cut by a dropping path for 5 s: its kernel gives up in silence. When the path is back, "
    "the client's next request on the dead connection draws a bare reset.",
    ["nginx", "python 3.11 sockets"],
    vantage="server's interface, on a wire of 5 ms",
    shows={"user-timeout-or-rto": 1},
)
def rto(lab):
    client, server, wire = lab.wired(0.005)
    lab.sysctl(server, "net/ipv4/tcp_retries2", 3)
    big(lab, server, "60k", 400_000)
    lab.record(server)
    one = start_raw(lab, client, server.address, 80, GET % "/big", "wait:8", "send:GET /small HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n", "read")
    time.sleep(0.7)
    wire.drop = lambda packet, to_server: True
    time.sleep(6)
    wire.drop = None
    collect(lab, [one])

    def judge(connection):
        if connection.failed or connection.resets:
            return blame("user-timeout-or-rto", "the server's retransmissions ran out", also=["silent-drop", "half-open-after-reboot"], lost=True)
        return None

    return judge


@case(
    "lossy-path-ends-well",
    "A lossy path: retransmissions, and everything arrives",
    "A wire that loses every twelfth packet: uploads to and downloads from nginx and gunicorn are retransmitted and end well.",
    ["nginx", "curl"],
    vantage="server's interface, on a wire of 5 ms",
    shows={"clean": 4},
)
def lossy(lab):
    client, server, wire = lab.wired(0.005)
    files = lab.temp / "files"
    files.mkdir()
    (files / "page").write_bytes(b"5" * 150_000)
    nginx(lab, server, f"server {{ listen 80; root {files}; location /ok {{ return 200 fine; }} }}")
    lab.record(server)
    count = [0]

    def drop(packet, to_server):
        del to_server
        count[0] += 1
        return count[0] % 12 == 0 and len(packet) > 0

    wire.drop = drop
    for _ in range(3):
        lab.curl(client, f"http://{server.address}/page")
    lab.curl(client, "-H", "Expect:", "-d", "y" * 60_000, f"http://{server.address}/ok")
    return lambda connection: clean("lost segments were sent again") if not connection.resets and not connection.failed else None


@case(
    "outage-recovers",
    "A path is out for two seconds and comes back",
    "The wire drops everything for two seconds in the middle of a download and of an idle keep-alive connection: retransmissions, then all goes on.",
    ["nginx", "curl", "python 3.11 sockets"],
    vantage="server's interface, on a wire of 5 ms",
    shows={"clean": 3},
)
def outage(lab):
    client, server, wire = lab.wired(0.005)
    big(lab, server, "80k", 150_000)
    lab.record(server)
    started = [start_raw(lab, client, server.address, 80, GET % "/big", "read", "close"),
               start_raw(lab, client, server.address, 80, GET % "/small", "read", "wait:1", GET % "/small", "read", "close")]
    time.sleep(0.6)
    wire.drop = lambda packet, to_server: True
    time.sleep(2)
    wire.drop = None
    collect(lab, started)
    lab.curl(client, f"http://{server.address}/small")
    return lambda connection: clean("retransmitted until the path was back") if not connection.resets and not connection.failed else None


@case(
    "syn-lost-once",
    "A first SYN, or SYN-ACK, is lost and everything else is well",
    "The wire loses the first SYN of one connection and the first SYN-ACK of another: both begin a second late.",
    ["nginx", "curl"],
    vantage="client's interface, on a wire of 5 ms",
    shows={"clean": 3},
)
def syn_lost(lab):
    client, server, wire = lab.wired(0.005)
    hello(lab, server)
    lab.record(client)
    for direction in (True, False):
        gone = []

        def drop(packet, to_server, direction=direction, gone=gone):
            is_syn = packet[0] >> 4 == 4 and packet[9] == 6 and packet[(packet[0] & 15) * 4 + 13] & 2
            if is_syn and to_server == direction and not gone:
                gone.append(True)
                return True
            return False

        wire.drop = drop
        lab.curl(client, f"http://{server.address}/")
    wire.drop = None
    lab.curl(client, f"http://{server.address}/")
    return lambda connection: clean("a late start") if not connection.resets and not connection.failed else None


@case(
    "path-mtu-icmp",
    "ICMP fragmentation needed is no error",
    "The router's link to the server has an MTU of 1000: it answers large segments with ICMP fragmentation needed, the hosts send smaller ones. "
    "Uploads and downloads end well.",
    ["nginx", "curl"],
    vantage="client's interface, one hop from the server",
    shows={"clean": 2},
)
def mtu(lab):
    client, router, server = lab.routed()
    hello(lab, server)
    sh("ip", "-n", router.name, "link", "set", "right", "mtu", "1000")
    lab.record(client)
    for _ in range(2):
        lab.curl(client, "-H", "Expect:", "-d", "u" * 30_000, f"http://{server.address}/")
    return lambda connection: clean() if not connection.resets and not connection.failed else None


@case(
    "reject-idle-conntrack",
    "A stateful firewall forgets an idle flow and rejects what comes after",
    "The router forgets flows idle for 2 s and rejects unknown segments with tcp reset. Pool connections reused after 3 s are reset by the router; "
    "one in steady use lives.",
    ["nginx", "nftables", "python 3.11 sockets"],
    vantage="client's interface, one hop from the server",
    shows={"netfilter-reject": 3, "clean": 1},
)
def reject_idle(lab):
    client, router, server = lab.routed()
    hello(lab, server)
    lab.sysctl(router, "net/netfilter/nf_conntrack_tcp_loose", 0)
    lab.nft(router, "add table ip f; add chain ip f forward { type filter hook forward priority 0; };"
            " add rule ip f forward ct state established accept; add rule ip f forward tcp flags & (syn | ack) == syn ct state new accept;"
            " add rule ip f forward meta l4proto tcp reject with tcp reset")
    lab.sysctl(router, "net/netfilter/nf_conntrack_tcp_timeout_established", 2)
    lab.record(client)
    clients = [start_raw(lab, client, server.address, 80, GET % "/", "read", f"wait:{pause}", "timeout:4", GET % "/", "read") for pause in (3.0, 3.3, 3.6)]
    clients.append(start_raw(lab, client, server.address, 80, *[GET % "/", "read", "wait:1"] * 4, "close"))
    collect(lab, clients)

    def judge(connection):
        if connection.failed:
            return blame("netfilter-reject", "the router had forgotten the idle flow and rejected the request",
                         also=["injected-rst", "half-open-after-reboot"], lost=True)
        return clean() if not connection.resets else None

    return judge


@case(
    "keepalive-timeout-redis-server",
    "Redis' own TCP keep-alive finds a client gone",
    "redis-server with tcp-keepalive 3; the path to two idle clients drops everything (their machine lost its network). Redis' kernel probes in "
    "vain and resets. Another client's probes are answered.",
    ["redis", "nftables", "python 3.11 sockets"],
    vantage="server's interface, one hop from the clients",
    shows={"keepalive-timeout": 2, "clean": 1},
)
def keepalive_server(lab):
    client, router, server = lab.routed()
    lab.start(server, ["redis-server", "--port", "6379", "--bind", server.address, "--save", "", "--dir", lab.temp, "--protected-mode", "no",
                       "--tcp-keepalive", "3"], port=6379)
    lab.record(server)
    start_raw(lab, client, server.address, 6379, "send:PING\\r\\n", "read:7", "wait:4", "close").wait(10)
    for _ in range(2):
        start_raw(lab, client, server.address, 6379, "send:PING\\r\\n", "read:7", "wait:30", "close")
    time.sleep(0.6)
    lab.nft(router, "add table ip f; add chain ip f forward { type filter hook forward priority 0; }; add rule ip f forward drop")
    time.sleep(8)

    def judge(connection):
        if connection.reset_by("server", "TCP_KEEPALIVE_TIMEOUT"):
            return blame("keepalive-timeout", "the server's keep-alive probes went unanswered", also=["silent-drop"], lost=False)
        return clean("its probes were answered") if not connection.resets else None

    return judge


@case(
    "half-open-upload",
    "A server is replaced in the middle of uploads",
    "Clients upload slowly to a Go server; its machine is replaced by a fresh one with the same address. The next piece of each upload draws a bare "
    "reset.",
    ["go net/http", "python 3.11 sockets"],
    vantage="client's interface, one hop from the server",
    shows={"half-open-after-reboot": 2},
)
def half_open_upload(lab):
    client, router, server = lab.routed()
    go_server(lab, server)
    lab.record(client)
    head = "send:POST /ok?n=5 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 60000\\r\\n\\r\\n"
    clients = [start_raw(lab, client, server.address, 8000, head, "send:{20000*u}", "wait:1.8", "send:{20000*u}", "wait:0.2", "send:{20000*u}", "read")
               for _ in range(2)]
    time.sleep(0.6)
    sh("ip", "-n", router.name, "link", "del", "right")
    fresh = lab.host("fresh", server.address)
    lab.join(fresh, router, "eth0", "right2", "10.77.3.1/24", "10.77.3.254/24")
    sh("ip", "-n", fresh.name, "route", "add", "default", "via", "10.77.3.254")
    go_server(lab, fresh)
    collect(lab, clients)
    return half_open_judge


@case(
    "silent-drop-syn",
    "A firewall drops SYNs",
    "The router drops what goes to one port: connects time out after repeated SYNs, with no answer at all. Another port is open.",
    ["nginx", "nftables", "curl"],
    vantage="client's interface, one hop from the server",
    shows={"silent-drop": 2, "clean": 1},
)
def silent_syn(lab):
    client, router, server = lab.routed()
    hello(lab, server)
    lab.nft(router, "add table ip f; add chain ip f forward { type filter hook forward priority 0; }; add rule ip f forward tcp dport 8443 drop")
    lab.record(client)
    started = [lab.start(client, ["curl", "-s", "--connect-timeout", "4", f"http://{server.address}:8443/"]) for _ in range(2)]
    lab.curl(client, f"http://{server.address}/")
    for one in started:
        one.wait(10)

    def judge(connection):
        if connection.server_port == 8443:
            return blame("silent-drop", "the router dropped the SYNs", also=["backlog-overflow-drop", "user-timeout-or-rto"], lost=True)
        return clean() if not connection.resets else None

    return judge


@case(
    "reject-syn-in-router",
    "A router rejects SYNs with tcp-reset in the server's name",
    "The router answers SYNs to one port with RST,ACK (its own TTL) although nginx listens there; the server's kernel sends nothing. On a "
    "port that is closed, the server itself refuses.",
    ["nginx", "nftables", "curl"],
    vantage="client's interface, one hop from the server",
    shows={"netfilter-reject": 2, "closed-port": 1, "clean": 1},
)
def reject_syn(lab):
    client, router, server = lab.routed()
    hello(lab, server)
    lab.nft(router, "add table ip f; add chain ip f forward { type filter hook forward priority 0; }; add rule ip f forward ip saddr 10.77.2.1"
            " tcp dport 8080 reject with tcp reset")
    lab.record(client)
    for port in (80, 8080, 8080, 8081):
        lab.curl(client, f"http://{server.address}:{port}/")

    def judge(connection):
        if connection.server_port == 8080:
            return blame("netfilter-reject", "the router refused the SYN", also=["closed-port", "injected-rst"], lost=True)
        if connection.server_port == 8081:
            return blame("closed-port", "nothing listened there", also=["netfilter-reject"], lost=True)
        return clean() if not connection.resets else None

    return judge


@case(
    "icmp-unreachable-soft",
    "ICMP host unreachable in the middle of a connection is no end",
    "The router has no route to the server for a second and says so by ICMP; established connections go on retransmitting, the route comes back "
    "and all ends well (RFC 1122 4.2.3.9: a soft error).",
    ["nginx", "python 3.11 sockets"],
    vantage="client's interface, one hop from the server",
    shows={"clean": 2},
)
def icmp_soft(lab):
    client, router, server = lab.routed()
    hello(lab, server)
    lab.record(client)
    clients = [start_raw(lab, client, server.address, 80, GET % "/", "read", f"wait:{pause}", GET % "/", "read", "close") for pause in (1.0, 1.2)]
    time.sleep(0.7)
    sh("ip", "-n", router.name, "route", "add", "unreachable", f"{server.address}/32")
    time.sleep(1.2)
    sh("ip", "-n", router.name, "route", "del", "unreachable", f"{server.address}/32")
    collect(lab, clients)
    return lambda connection: clean("the path came back") if not connection.resets and not connection.failed else None
