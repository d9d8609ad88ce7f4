"""Hosts that have forgotten a connection."""

from recipes import *


def half_open(
    name,
    done,
    server,
    client,
    start,
    raw,
    back,
    wired_delay=0.005,
    vantage="client",
    n=3,
    down=0.9,
    port=8080,
    side="server",
):
    @case(name, done, server, client)
    def _(lab):
        client_host, server_host, wire = lab.wired(wired_delay)
        p = start(lab, server_host)
        if vantage != "client":
            raise Failed("vantage")
        lab.record(client_host, where="the client's end")
        ts = [lab.bg(raw_client, lab, client_host, server_host.addr, port, *raw) for i in range(n)]
        time.sleep(down)
        # the host loses power: nothing leaves it any more, its kernel's memory is gone
        wire.drop = lambda p, s: True
        lab.marks["t_act"] = time.time()
        lab.stop(p, 9)
        command("ip", "netns", "del", server_host.name)
        lab.nss.remove(server_host.name)
        time.sleep(0.05)
        old = wire.fds[1]
        v2 = lab.host("server2", server_host.addr)
        v2.iface = "eth0"
        fd = in_ns(v2.name, lambda: open_tun("eth0"))
        lab.ofds.append(fd)
        command("ip", "-n", v2.name, "addr", "add", v2.addr + "/24", "dev", "eth0")
        command("ip", "-n", v2.name, "link", "set", "eth0", "up")
        if back:
            # not all of what start wants is anew: temp folders
            lab.temp2 = lab.temp
            sub = lab.temp / "again"
            sub.mkdir()
            os.chmod(sub, 0o777)
            t0 = lab.temp
            lab.temp = sub
            try:
                start(lab, v2)
            finally:
                lab.temp = t0
        wire.fds[1] = fd
        wire.drop = None
        lab.marks["t_back"] = time.time()
        lab.notes.append("resets of the old kernel that never left it are not listed")
        for t in ts:
            t.join()
        if back:
            lab.curl(client_host, http_url(v2, "/n/50", port)) if port == 8080 else None

        def judge(x):
            x.resets = [r for r in x.resets if r["t"] >= lab.marks["t_back"] - 0.02 or r["side"] == "client"]
            if x.t_syn < lab.marks["t_act"]:
                return verdict(
                    "half_open_after_restart",
                    ["late_data_after_close"] if back else ["port_closed", "late_data_after_close"],
                    "server",
                    reason_of(x) or "the host lost its memory of it; no reset seen",
                    lost=lost_by(x),
                )
            return default_judge(x)

        return judge


half_open(
    "half_open_redis_idle_back",
    "the redis host loses power while clients idle and comes back with redis: the next command meets a kernel that knows nothing",
    "redis",
    "python",
    lambda lab, server_host: redis(lab, server_host),
    ["send:PING\\r\\n", "line", "wait:2.2", "send:PING\\r\\n", "line", "close"],
    True,
    port=6379,
)
half_open(
    "half_open_node_idle_nolistener",
    "the node host loses power while keep-alive clients idle and comes back without node",
    "node",
    "python",
    lambda lab, server_host: node(lab, server_host, keepAliveTimeout=60000),
    [get_step("/n/90"), "read", "wait:2.2", get_step("/n/90"), "read", "close"],
    False,
)
half_open(
    "half_open_uvicorn_upload_back",
    "the uvicorn host loses power in the middle of slow uploads and comes back with uvicorn",
    "uvicorn",
    "python",
    lambda lab, server_host: uvicorn(lab, server_host),
    ["send:POST /n/10 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 120000\\r\\n\\r\\n"]
    + ["send:{10000*p}", "wait:.3"] * 12
    + ["read"],
    True,
    wired_delay=0.01,
)
half_open(
    "half_open_nginx_upload_nolistener",
    "the nginx host loses power in the middle of uploads and comes back without a listener",
    "nginx",
    "python",
    lambda lab, server_host: nginx(lab, server_host, nginx_site(server_host)),
    ["send:POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 120000\\r\\n\\r\\n"]
    + ["send:{10000*p}", "wait:.3"] * 12
    + ["read"],
    False,
    wired_delay=0.01,
)
half_open(
    "half_open_wait_answer_keepalive",
    "clients wait for a slow answer with TCP keepalive probes; the host restarts, a probe gets the reset",
    "gunicorn",
    "python",
    lambda lab, server_host: gunicorn(lab, server_host, "-k", "gthread", "--threads", "4"),
    KEEPALIVE_OPTIONS + ["timeout:10", get_step("/slow/20"), "read"],
    True,
)
half_open(
    "half_open_pipelined_ping_back",
    "redis pings every 300 ms; the host is gone for a second, then back with redis",
    "redis",
    "python",
    lambda lab, server_host: redis(lab, server_host),
    ["timeout:8"] + ["send:PING\\r\\n", "line", "wait:.3"] * 10 + ["close"],
    True,
    port=6379,
    wired_delay=0.015,
)


@case(
    "half_open_client_gone_sse",
    "the client host loses power during server-sent events of node and comes back: its kernel resets what comes",
    "node",
    "python",
)
def half_open_client_gone_sse(lab):
    client_host, server_host, wire = lab.wired(0.008)
    node(lab, server_host)
    lab.record(server_host, where="the server's end")
    ps = [
        lab.start(
            client_host,
            [PYTHON, PROGRAMS / "raw_client.py", server_host.addr, 8080, get_step("/sse/60/150"), "timeout:20", "eof"],
        )
        for i in range(3)
    ]
    time.sleep(1.2)
    wire.drop = lambda p, s: True
    lab.marks["t_act"] = time.time()
    for p in ps:
        lab.stop(p, 9)
    command("ip", "netns", "del", client_host.name)
    lab.nss.remove(client_host.name)
    time.sleep(0.3)
    c2 = lab.host("client2", client_host.addr)
    fd = in_ns(c2.name, lambda: open_tun("eth0"))
    lab.ofds.append(fd)
    command("ip", "-n", c2.name, "addr", "add", client_host.addr + "/24", "dev", "eth0")
    command("ip", "-n", c2.name, "link", "set", "eth0", "up")
    wire.fds[0] = fd
    wire.drop = None
    lab.marks["t_back"] = time.time()
    time.sleep(2.5)

    def judge(x):
        x.resets = [r for r in x.resets if r["t"] >= lab.marks["t_back"] - 0.02 or r["side"] == "server"]
        return verdict(
            "half_open_after_restart",
            ["client_abort", "late_data_after_close"],
            "client",
            reason_of(x) or "the host lost its memory of it; no reset seen",
            lost=True,
        )

    return judge


half_open(
    "half_open_memcached_nolistener",
    "the memcached host loses power while clients idle and comes back without memcached",
    "memcached",
    "python",
    lambda lab, server_host: memcached(lab, server_host),
    ["send:version\\r\\n", "line", "wait:2.2", "send:version\\r\\n", "line", "close"],
    False,
    port=11211,
)
half_open(
    "half_open_puma_idle_back",
    "the puma host loses power while keep-alive clients idle, and comes back with puma",
    "puma",
    "python",
    lambda lab, server_host: puma(lab, server_host, "persistent_timeout 60"),
    [get_step("/n/90"), "read", "wait:4", get_step("/n/90"), "read", "close"],
    True,
)
