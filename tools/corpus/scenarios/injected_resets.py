"""Resets forged on the path."""

from recipes import *


def injected(
    name,
    done,
    server,
    client,
    start,
    mode,
    ttl,
    after,
    url="/drip/40/60/2000",
    n=3,
    tcpkill=False,
    vantage="client",
    ack=False,
    raw=None,
    port=8080,
    only=None,
):
    @case(name, done, server + ("|tcpkill" if tcpkill else ""), client)
    def _(lab):
        client_host, router_host, server_host = lab.routed()
        start(lab, server_host)
        host = {"client": client_host, "router": router_host, "server": server_host}[vantage]
        if not tcpkill:
            lab.start(
                router_host,
                [
                    "python3",
                    PROGRAMS / "forge_resets.py",
                    "left",
                    client_host.addr,
                    server_host.addr,
                    port,
                    mode,
                    ttl,
                    after,
                    *(["ack"] if ack else ["plain"]),
                    *([only] if only is not None else []),
                ],
                ready="ready",
            )
        lab.record(
            host,
            iface={"router": "any"}.get(vantage),
            where={
                "client": "the client's interface",
                "router": "the router, -i any",
                "server": "the server's interface",
            }[vantage],
        )
        if raw:
            ts = [lab.bg(raw_client, lab, client_host, server_host.addr, port, *raw) for i in range(n)]
        elif client == "curl":
            ts = [lab.bg(lab.curl, client_host, "--max-time", "6", http_url(server_host, url, port)) for i in range(n)]
        elif client == "go":
            ts = [
                lab.bg(lab.client, client_host, [BUILT / "gotool", "get", http_url(server_host, url, port)])
                for i in range(n)
            ]
        else:
            ts = [
                lab.bg(lab.py, client_host, client, do="seq", url=http_url(server_host, url, port), n=2, gap=1.6)
                for i in range(n)
            ]
        if tcpkill:
            time.sleep(0.6)
            k = lab.start(router_host, ["tcpkill", "-i", "left", "-9", f"port {port}"])
            time.sleep(1.2)
        for t in ts:
            t.join()

        def judge(connection):
            if lost_by(connection):
                return verdict(
                    "injected_rst",
                    ["firewall_reject"],
                    "path",
                    "done to it on the path"
                    + (f"; first kernel reset {first_reset(connection)['reason']}" if connection.resets else ""),
                    lost=True,
                )
            return (
                default_judge(connection)
                if not connection.rst
                else verdict("injected_rst", ["firewall_reject", "clean"], "path", "done to it on the path")
            )

        return judge


injected(
    "injected_forger_both_download",
    "own raw-socket forger in the router, TTL 243, both directions in the middle of downloads",
    "uvicorn",
    "curl",
    lambda lab, server_host: uvicorn(lab, server_host),
    "both",
    243,
    0.5,
)
injected(
    "injected_forger_to_client",
    "forger, TTL 31, towards the client only, mid-download of Go; captured at the client",
    "go",
    "go",
    lambda lab, server_host: go(lab, server_host),
    "client",
    31,
    0.5,
)
injected(
    "injected_forger_to_server",
    "forger, TTL 100, towards the server only; captured at the server",
    "node",
    "curl",
    lambda lab, server_host: node(lab, server_host),
    "server",
    100,
    0.5,
    vantage="server",
)
injected(
    "injected_forger_rstack_idle",
    "forger sends RST,ACK with TTL 120 to both ends while requests sessions idle",
    "gunicorn",
    "requests",
    lambda lab, server_host: gunicorn(lab, server_host, "-k", "gthread", "--threads", "4", "--keep-alive", "20"),
    "both",
    120,
    0.9,
    url="/n/100",
    ack=True,
)
injected(
    "injected_forger_handshake",
    "forger resets 30 ms after the SYN (before the answer), both ways",
    "lighttpd",
    "curl",
    lambda lab, server_host: lighttpd(lab, server_host, "connection.kbytes-per-second=200\n"),
    "both",
    250,
    0.03,
    url="/big.bin",
)
injected(
    "injected_tcpkill_redis_idle",
    "tcpkill -9 in the router; redis-like ping traffic of python clients",
    "redis",
    "python",
    lambda lab, server_host: redis(lab, server_host),
    "",
    0,
    0,
    tcpkill=True,
    port=6379,
    raw=["send:PING\\r\\n", "line"] + ["wait:.25", "send:PING\\r\\n", "line"] * 10 + ["close"],
)
injected(
    "injected_tcpkill_upload",
    "tcpkill -9 in the router during slow uploads to gunicorn; captured at the server",
    "gunicorn",
    "python",
    lambda lab, server_host: gunicorn(lab, server_host, "-k", "gthread", "--threads", "4"),
    "",
    0,
    0,
    tcpkill=True,
    vantage="server",
    raw=["send:POST /n/10 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 100000\\r\\n\\r\\n"]
    + ["send:{10000*p}", "wait:.2"] * 10
    + ["read", "close"],
)
injected(
    "injected_tls_forger",
    "forger with the server-like TTL 60 towards the client, TLS download of node",
    "node",
    "curl",
    lambda lab, server_host: node(lab, server_host),
    "client",
    60,
    0.6,
    vantage="router",
)
injected(
    "injected_forger_mid_upload_server_view",
    "forger (TTL 200, RST,ACK) both ways in the middle of slow uploads to hypercorn, captured at the server",
    "hypercorn",
    "python",
    lambda lab, server_host: hypercorn(lab, server_host),
    "both",
    200,
    0.6,
    vantage="server",
    ack=True,
    raw=["send:POST /n/10 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 100000\\r\\n\\r\\n"]
    + ["send:{10000*p}", "wait:.2"] * 10
    + ["read", "close"],
)
injected(
    "injected_tcpkill_download_nginx_any",
    "tcpkill -9 in the router, throttled lighttpd downloads, -i any on the router",
    "lighttpd",
    "curl",
    lambda lab, server_host: lighttpd(lab, server_host, "connection.kbytes-per-second=200\n"),
    "",
    0,
    0,
    url="/big.bin",
    tcpkill=True,
    vantage="router",
)
injected(
    "injected_waiting_for_answer",
    "forger (TTL 128) to the client while it waits for a slow answer of waitress",
    "waitress",
    "curl",
    lambda lab, server_host: waitress(lab, server_host),
    "client",
    128,
    0.4,
    url="/slow/1.5",
)


@case(
    "injected_bogus_ignored",
    "own forger sends resets with wrong sequence numbers: challenge ACKs or nothing; everything is complete",
    "go|node",
    "curl",
)
def injected_bogus_ignored(lab):
    client_host, router_host, server_host = lab.routed()
    go(lab, server_host)
    src = (
        (PROGRAMS / "forge_resets.py")
        .read_text()
        .replace("e.get('ack_of_s',e['s'])", "(e['s']+20000)&0xffffffff")
        .replace("e.get('ack_of_c',e['c'])", "(e['c']+3000)&0xffffffff")
    )
    (lab.temp / "f2.py").write_text(src)
    lab.start(
        router_host,
        ["python3", lab.temp / "f2.py", "left", client_host.addr, server_host.addr, 8080, "both", 99, 0.4],
        ready="ready",
    )
    lab.record(client_host, where="the client's interface")
    lab.servers = ["go"]
    ts = [lab.bg(lab.curl, client_host, http_url(server_host, "/drip/20/60/2000")) for i in range(3)]
    for t in ts:
        t.join()
    return lambda x: (
        verdict("clean", ["injected_rst"], None, "forged resets out of sequence, ignored by both kernels", lost=False)
        if not lost_by(x)
        else verdict("injected_rst", [], "path", "done to it on the path")
    )
