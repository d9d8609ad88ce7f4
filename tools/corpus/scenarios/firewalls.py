"""Firewalls that reject."""

from recipes import *


def firewall(
    name,
    done,
    server,
    client,
    act,
    start,
    url="/n/50",
    vantage="client",
    n=3,
    new=False,
    gap=1.2,
    mid=False,
    port=8080,
    raw=None,
    where=None,
):
    @case(name, done, server + ("|nftables" if "nft" in done else "|iptables"), client)
    def _(lab):
        client_host, router_host, server_host = lab.routed()
        start(lab, server_host)
        host = {"client": client_host, "router": router_host, "server": server_host}[vantage]
        lab.record(
            host,
            iface="any" if vantage == "router" else None,
            where={
                "client": "the client's interface",
                "router": "the router, -i any",
                "server": "the server's interface",
            }[vantage],
            expr="tcp or icmp",
        )
        lab.curl(client_host, http_url(server_host, url, port)) if not raw else None
        if new:
            lab.marks["t_act"] = time.time()
            act(lab, client_host, router_host, server_host)
            lab.allnew = True
            for i in range(n):
                lab.curl(client_host, "--connect-timeout", "4", http_url(server_host, url, port))
            if client != "curl":
                lab.client(client_host, [BUILT / "gotool", "get", "-timeout", "4s", http_url(server_host, url, port)])
        else:
            if raw:
                ts = [lab.bg(raw_client, lab, client_host, server_host.addr, port, *raw) for i in range(n)]
            elif mid:
                ts = [
                    lab.bg(lab.curl, client_host, "--max-time", "6", http_url(server_host, url, port)) for i in range(n)
                ]
            elif client in ("requests", "httpx", "urllib3", "httpclient"):
                ts = [
                    lab.bg(
                        lab.py, client_host, client, do="seq", url=http_url(server_host, url, port), n=2, gap=gap + 1
                    )
                    for i in range(n)
                ]
            else:
                ts = [
                    lab.bg(
                        lab.client,
                        client_host,
                        [
                            BUILT / "gotool",
                            "get",
                            "-n",
                            "2",
                            "-gap",
                            f"{gap + 0.6}s",
                            "-post",
                            "40",
                            "-timeout",
                            "5s",
                            http_url(server_host, url, port),
                        ],
                    )
                    for i in range(n)
                ]
            time.sleep(1.3 if client in ("requests", "httpx", "urllib3", "httpclient") else 0.7)
            lab.marks["t_act"] = time.time()
            act(lab, client_host, router_host, server_host)
            for t in ts:
                t.join()
        return victim(
            lab,
            "firewall_reject",
            ["injected_rst", "port_closed"]
            + (["silent_drop", "client_abort"] if "OUTPUT" in done or "to the server only" in done else []),
        )


iptables = lambda host, *a: (
    lambda lab, client_host, router_host, server_host: lab.ns(
        {"c": client_host, "r": router_host, "v": server_host}[host], "iptables", *a
    )
)
REJECT = ["-j", "REJECT", "--reject-with", "tcp-reset"]
firewall(
    "fw_reject_forward_iptables",
    "the router (iptables FORWARD REJECT tcp-reset) while keep-alive clients are idle; they send again",
    "nginx",
    "requests",
    iptables("r", "-A", "FORWARD", "-p", "tcp", "--dport", "8080", *REJECT),
    lambda lab, server_host: nginx(lab, server_host, nginx_site(server_host)),
    url="/small.txt",
)
firewall(
    "fw_reject_input_nft_new",
    "nft on the server: reject with tcp reset for new SYNs",
    "go",
    "curl|go",
    lambda lab, client_host, router_host, server_host: lab.ns(
        server_host,
        "nft",
        "add table inet f; add chain inet f i { type filter hook input priority 0; }; add rule inet f i tcp dport 8080 reject with tcp reset",
    ),
    lambda lab, server_host: go(lab, server_host),
    new=True,
)
firewall(
    "fw_reject_input_nft_idle",
    "nft on the server rejects with tcp reset, rule added while Go clients idle",
    "node",
    "go",
    lambda lab, client_host, router_host, server_host: lab.ns(
        server_host,
        "nft",
        "add table inet f; add chain inet f i { type filter hook input priority 0; }; add rule inet f i tcp dport 8080 reject with tcp reset",
    ),
    lambda lab, server_host: node(lab, server_host, keepAliveTimeout=60000),
    vantage="server",
)
firewall(
    "fw_reject_output_iptables",
    "iptables OUTPUT REJECT tcp-reset on the server itself: its answers are refused in mid-download",
    "gunicorn",
    "curl",
    iptables("v", "-A", "OUTPUT", "-p", "tcp", "--sport", "8080", *REJECT),
    lambda lab, server_host: gunicorn(lab, server_host, "-k", "gthread", "--threads", "4"),
    url="/drip/40/50/2000",
    mid=True,
)
firewall(
    "fw_reject_forward_back_nft",
    "nft on the router rejects the server's segments (reset to the server only) in mid-download",
    "uvicorn",
    "curl",
    lambda lab, client_host, router_host, server_host: lab.ns(
        router_host,
        "nft",
        "add table inet f; add chain inet f i { type filter hook forward priority 0; }; add rule inet f i tcp sport 8080 reject with tcp reset",
    ),
    lambda lab, server_host: uvicorn(lab, server_host),
    url="/drip/40/50/2000",
    mid=True,
    vantage="router",
)
firewall(
    "fw_reject_new_forward_iptables",
    "router rejects new SYNs by tcp-reset",
    "apache2",
    "curl",
    iptables("r", "-A", "FORWARD", "-p", "tcp", "--dport", "8080", "--syn", *REJECT),
    lambda lab, server_host: apache(lab, server_host),
    url="/small.txt",
    new=True,
)
firewall(
    "fw_reject_icmp_port_unreachable",
    "router REJECTs new SYNs with icmp-port-unreachable",
    "lighttpd",
    "curl",
    iptables(
        "r", "-A", "FORWARD", "-p", "tcp", "--dport", "8080", "-j", "REJECT", "--reject-with", "icmp-port-unreachable"
    ),
    lambda lab, server_host: lighttpd(lab, server_host),
    url="/small.txt",
    new=True,
)
firewall(
    "fw_reject_redis_idle",
    "router rejects the port of redis while a python client idles between commands",
    "redis",
    "python",
    iptables("r", "-A", "FORWARD", "-p", "tcp", "--dport", "6379", *REJECT),
    lambda lab, server_host: redis(lab, server_host),
    raw=["send:PING\\r\\n", "line", "wait:1.4", "send:PING\\r\\n", "line", "close"],
    port=6379,
)
firewall(
    "fw_reject_mid_upload_router",
    "router rejects in the middle of slow uploads",
    "go",
    "python",
    iptables("r", "-A", "FORWARD", "-p", "tcp", "--dport", "8080", *REJECT),
    lambda lab, server_host: go(lab, server_host),
    raw=["send:POST /n/10 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 100000\\r\\n\\r\\n"]
    + ["send:{10000*p}", "wait:.2"] * 10
    + ["read", "close"],
    vantage="server",
)
firewall(
    "fw_reject_snap96_idle",
    "router rejects (iptables FORWARD tcp-reset) idle uvicorn clients",
    "uvicorn",
    "httpclient",
    iptables("r", "-A", "FORWARD", "-p", "tcp", "--dport", "8080", *REJECT),
    lambda lab, server_host: uvicorn(lab, server_host, "--timeout-keep-alive", "60"),
    vantage="client",
)
firewall(
    "fw_reject_router_view_postgres_like",
    "nft on the router rejects while memcached clients idle; seen on the router, -i any",
    "memcached",
    "python",
    lambda lab, client_host, router_host, server_host: lab.ns(
        router_host,
        "nft",
        "add table inet f; add chain inet f i { type filter hook forward priority 0; }; add rule inet f i tcp dport 11211 reject with tcp reset",
    ),
    lambda lab, server_host: memcached(lab, server_host),
    raw=["send:version\\r\\n", "line", "wait:1.4", "send:version\\r\\n", "line", "close"],
    port=11211,
    vantage="router",
)
