"""A path that drops in silence, and the timers that notice."""

from recipes import *


def blackhole(lab, w):
    lab.marks["t_act"] = time.time()
    w.drop = lambda p, s: True


def keepalive_judge(label="tcp_keepalive_timeout", also=("silent_drop",)):
    def mk(lab):
        def judge(connection):
            if connection.t_last > lab.marks["t_act"] - 0.3 and not (lost_by(connection) is False):
                rr = connection.resets
                return verdict(
                    label,
                    also,
                    "path",
                    "done to it on the path" + (f"; first kernel reset {rr[0]['reason']}" if rr else ""),
                    lost=True,
                )
            return default_judge(connection)

        return judge

    return mk


silent_drop(
    "silent_drop_both_uvicorn",
    "the router drops both directions in the middle of dripping answers; curl --max-time 5",
    "uvicorn",
    "curl",
    lambda lab, server_host: uvicorn(lab, server_host),
    "R tcp dport 8080 drop; R tcp sport 8080 drop",
)
silent_drop(
    "silent_drop_to_server_go_upload",
    "the router drops the client's segments only, mid-upload; the client gives up after 3 s",
    "go",
    "python",
    lambda lab, server_host: go(lab, server_host),
    "R tcp dport 8080 drop",
    raw=["timeout:3", "send:POST /n/10 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 100000\\r\\n\\r\\n"]
    + ["send:{10000*p}", "wait:.15"] * 10
    + ["read"],
    vantage="client",
)
silent_drop(
    "silent_drop_to_client_server_view",
    "the router drops the server's segments only; captured at the server",
    "gunicorn",
    "curl",
    lambda lab, server_host: gunicorn(lab, server_host, "-k", "gthread", "--threads", "4"),
    "R tcp sport 8080 drop",
    vantage="server",
)
silent_drop(
    "silent_drop_syn_input",
    "the server's own INPUT drops SYNs: curl --connect-timeout",
    "nginx",
    "curl",
    lambda lab, server_host: nginx(lab, server_host, nginx_site(server_host)),
    "R tcp dport 8080 tcp flags syn drop",
    url="/small.txt",
    new=True,
    host="v",
)
silent_drop(
    "silent_drop_synack",
    "the router drops the SYN-ACKs: the server resends them",
    "apache2",
    "curl",
    lambda lab, server_host: apache(lab, server_host),
    "R tcp sport 8080 tcp flags & (syn|ack) == syn|ack drop",
    url="/small.txt",
    new=True,
    vantage="router",
)
silent_drop(
    "silent_drop_redis_idle",
    "the path drops everything while a redis client idles; it sends again and times out",
    "redis",
    "python",
    lambda lab, server_host: redis(lab, server_host),
    "R tcp dport 6379 drop; R tcp sport 6379 drop",
    port=6379,
    raw=["timeout:3", "send:PING\\r\\n", "line", "wait:1.5", "send:PING\\r\\n", "line", "close"],
)
silent_drop(
    "silent_drop_big_segments",
    "the router drops segments of more than 600 bytes (an MTU black hole): downloads stall, small answers work",
    "node",
    "curl",
    lambda lab, server_host: node(lab, server_host),
    "R tcp sport 8080 meta length > 600 drop",
    url="/drip/60/50/2000",
    maxt="3.5",
)
silent_drop(
    "silent_drop_any_capture",
    "drop of both directions before the answer of puma, -i any on the router",
    "puma",
    "curl",
    lambda lab, server_host: puma(lab, server_host),
    "R tcp dport 8080 drop; R tcp sport 8080 drop",
    url="/slow/1.5",
    vantage="router",
    maxt="3",
)


@case(
    "silent_drop_nat_lost_long",
    "conntrack of the router forgets idle connections and drops what it does not know: http.client sends after the pause",
    "nginx|nftables",
    "python",
)
def silent_drop_nat_lost_long(lab):
    client_host, router_host, server_host = lab.routed()
    nginx(lab, server_host, nginx_site(server_host, pre="keepalive_timeout 60s;"))
    lab.sysctl(router_host, "net/netfilter/nf_conntrack_tcp_loose", 0)
    lab.ns(
        router_host,
        "nft",
        "add table inet f; add chain inet f i { type filter hook forward priority 0; }; add rule inet f i ct state invalid drop; add rule inet f i ct state new tcp flags & (fin|syn|rst|ack) != syn drop; add rule inet f i ct state established,related accept",
    )
    lab.record(client_host, where="the client's interface")
    g = get_step("/small.txt")
    ts = [
        lab.bg(
            raw_client, lab, client_host, server_host.addr, 8080, "timeout:3", g, "read", "wait:1.6", g, "read", "close"
        )
        for i in range(3)
    ] + [lab.bg(raw_client, lab, client_host, server_host.addr, 8080, g, "read", "wait:.3", g, "read", "close")]
    time.sleep(1.0)
    lab.marks["t_act"] = time.time()
    lab.ns(router_host, "conntrack", "-F")
    for t in ts:
        t.join()
    return victim(lab, "silent_drop", ["client_abort"])


@case(
    "keepalive_timeout_python_client",
    "python client with SO_KEEPALIVE (1 s, 1 s, 3) waits idle for redis pub/sub; the path drops everything: the client's kernel resets",
    "redis",
    "python",
)
def keepalive_timeout_python_client(lab):
    client_host, server_host, wire = lab.wired(0.005)
    redis(lab, server_host)
    lab.record(client_host, where="the client's end")
    ts = [
        lab.bg(
            raw_client,
            lab,
            client_host,
            server_host.addr,
            6379,
            *KEEPALIVE_OPTIONS,
            "timeout:12",
            "send:SUBSCRIBE a\\r\\n",
            "line",
            "eof",
        )
        for i in range(3)
    ]
    time.sleep(1.2)
    blackhole(lab, wire)
    for t in ts:
        t.join()
    return keepalive_judge()(lab)


@case(
    "keepalive_timeout_http_wait",
    "http client with TCP keepalive waits for a slow gunicorn answer; the path is lost",
    "gunicorn",
    "python",
)
def keepalive_timeout_http_wait(lab):
    client_host, server_host, wire = lab.wired(0.01)
    gunicorn(lab, server_host, "-k", "gthread", "--threads", "4")
    lab.record(client_host, where="the client's end")
    raw_client(lab, client_host, server_host.addr, 8080, get_step("/n/50"), "read", "close")
    ts = [
        lab.bg(
            raw_client,
            lab,
            client_host,
            server_host.addr,
            8080,
            *KEEPALIVE_OPTIONS,
            "timeout:15",
            get_step("/slow/9"),
            "read",
        )
        for i in range(2)
    ]
    time.sleep(0.8)
    blackhole(lab, wire)
    for t in ts:
        t.join()
    return keepalive_judge()(lab)


@case(
    "keepalive_timeout_nginx_server",
    "nginx so_keepalive=1:1:3 on its listener: idle keep-alive clients vanish, nginx's kernel resets",
    "nginx",
    "python",
)
def keepalive_timeout_nginx_server(lab):
    client_host, server_host, wire = lab.wired(0.005)
    nginx(
        lab,
        server_host,
        f"server {{ listen {server_host.addr}:8080 so_keepalive=1:1:3; keepalive_timeout 60s; location / {{ }} }}",
    )
    lab.record(server_host, where="the server's end")
    ps = [
        lab.start(
            client_host,
            [PYTHON, PROGRAMS / "raw_client.py", server_host.addr, 8080, get_step("/small.txt"), "read", "wait:30"],
        )
        for i in range(3)
    ]
    time.sleep(1)
    blackhole(lab, wire)
    time.sleep(6)
    return keepalive_judge()(lab)


@case(
    "keepalive_timeout_postgres",
    "postgres tcp_keepalives 1/1/3: the client host disappears while psql-like sessions idle",
    "postgresql",
    "psycopg2-binary",
)
def keepalive_timeout_postgres(lab):
    client_host, server_host, wire = lab.wired(0.005)
    postgres(lab, server_host, "tcp_keepalives_idle=1", "tcp_keepalives_interval=1", "tcp_keepalives_count=3")
    lab.record(server_host, where="the server's end")
    for i in range(2):
        lab.start(
            client_host,
            [
                PYTHON,
                "-c",
                f"import psycopg2,time\nc=psycopg2.connect(host='{server_host.addr}',user='postgres',dbname='postgres',keepalives=0);k=c.cursor();k.execute('select 1');time.sleep(40)",
            ],
        )
    time.sleep(1.5)
    blackhole(lab, wire)
    time.sleep(6)
    return keepalive_judge()(lab)


@case("keepalive_timeout_haproxy", "haproxy clitcpka 1s/1s/3 in TCP mode: clients vanish", "haproxy|redis", "python")
def keepalive_timeout_haproxy(lab):
    client_host, server_host, wire = lab.wired(0.005)
    redis(lab, server_host)
    haproxy(
        lab,
        server_host,
        f"listen t\n mode tcp\n timeout client 60s\n timeout server 60s\n option clitcpka\n clitcpka-cnt 3\n clitcpka-idle 1s\n clitcpka-intvl 1s\n bind {server_host.addr}:9000\n server a {server_host.addr}:6379\n",
        port=9000,
    )
    lab.record(server_host, where="the server's end")
    for i in range(3):
        lab.start(
            client_host,
            [PYTHON, PROGRAMS / "raw_client.py", server_host.addr, 9000, "send:PING\\r\\n", "line", "wait:30"],
        )
    time.sleep(1)
    blackhole(lab, wire)
    time.sleep(6)
    return keepalive_judge()(lab)


@case(
    "user_timeout_python_upload",
    "python client with TCP_USER_TIMEOUT 2500 ms uploads; the path drops everything: it gives up with ETIMEDOUT",
    "go",
    "python",
)
def user_timeout_python_upload(lab):
    client_host, server_host, wire = lab.wired(0.01)
    go(lab, server_host)
    lab.record(client_host, where="the client's end")
    ts = [
        lab.bg(
            raw_client,
            lab,
            client_host,
            server_host.addr,
            8080,
            "opt:6,18,2500",
            "timeout:15",
            "send:POST /n/10 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 200000\\r\\n\\r\\n",
            *(["send:{10000*p}", "wait:.15"] * 20),
            "read",
        )
        for i in range(3)
    ]
    time.sleep(0.8)
    blackhole(lab, wire)
    for t in ts:
        t.join()
    return keepalive_judge("user_timeout", ("silent_drop", "tcp_keepalive_timeout"))(lab)


@case(
    "user_timeout_idle_ping",
    "redis client with TCP_USER_TIMEOUT 2000 ms pings over a path that is lost",
    "redis",
    "python",
)
def user_timeout_idle_ping(lab):
    client_host, server_host, wire = lab.wired(0.01)
    redis(lab, server_host)
    lab.record(server_host, where="the server's end")
    lab.record(client_host, where="the client's end")
    lab.dumps.reverse()
    lab.capdesc.reverse()
    ts = [
        lab.bg(
            raw_client,
            lab,
            client_host,
            server_host.addr,
            6379,
            "opt:6,18,2000",
            "timeout:15",
            *(["send:PING\\r\\n", "line", "wait:.3"] * 8),
            "close",
        )
        for i in range(3)
    ]
    time.sleep(1)
    blackhole(lab, wire)
    for t in ts:
        t.join()
    return keepalive_judge("user_timeout", ("silent_drop", "tcp_keepalive_timeout"))(lab)


@case(
    "user_timeout_haproxy_tcp_ut",
    "haproxy tcp-ut 2s: a client vanishes in the middle of a download",
    "haproxy|go",
    "curl",
)
def user_timeout_haproxy_tcp_ut(lab):
    client_host, server_host, wire = lab.wired(0.01)
    go(lab, server_host, port=9001)
    haproxy(lab, server_host, f"listen f\n bind {server_host.addr}:8080 tcp-ut 2s\n server a {server_host.addr}:9001\n")
    lab.record(server_host, where="the server's end")
    ts = [lab.bg(lab.curl, client_host, "--max-time", "6", http_url(server_host, "/drip/80/60/3000")) for i in range(2)]
    time.sleep(1)
    blackhole(lab, wire)
    for t in ts:
        t.join()
    return keepalive_judge("user_timeout", ("silent_drop", "tcp_keepalive_timeout", "client_abort"))(lab)


silent_drop(
    "silent_drop_postgres_like_memcached",
    "drop of both directions while memcached clients idle",
    "memcached",
    "python",
    lambda lab, server_host: memcached(lab, server_host),
    "R tcp dport 11211 drop; R tcp sport 11211 drop",
    port=11211,
    raw=["timeout:3", "send:version\\r\\n", "line", "wait:1.5", "send:version\\r\\n", "line", "close"],
    vantage="client",
)
silent_drop(
    "silent_drop_fin_only",
    "the router drops everything from the client after the answer began, hypercorn; -s 0 at the client",
    "hypercorn",
    "curl",
    lambda lab, server_host: hypercorn(lab, server_host),
    "R tcp dport 8080 drop",
    maxt="4",
)


@case(
    "keepalive_timeout_redis_server",
    "redis --tcp-keepalive 1: subscribers vanish; redis's kernel resets; captured at the client's end",
    "redis",
    "python",
)
def keepalive_timeout_redis_server(lab):
    client_host, server_host, wire = lab.wired(0.01)
    redis(lab, server_host, "--tcp-keepalive", "1")
    lab.record(server_host, where="the server's end")
    for i in range(2):
        lab.start(
            client_host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                server_host.addr,
                6379,
                "send:SUBSCRIBE a\\r\\n",
                "line",
                "timeout:30",
                "eof",
            ],
        )
    time.sleep(1)
    blackhole(lab, wire)
    time.sleep(5)
    return keepalive_judge()(lab)


@case(
    "user_timeout_nginx_slow",
    "nginx-like server with TCP_USER_TIMEOUT (haproxy tcp-ut 1500) streams while the client vanishes; captured at the client",
    "haproxy|node",
    "curl",
)
def user_timeout_nginx_slow(lab):
    client_host, server_host, wire = lab.wired(0.01)
    node(lab, server_host, port=9001)
    haproxy(
        lab, server_host, f"listen f\n bind {server_host.addr}:8080 tcp-ut 1500\n server a {server_host.addr}:9001\n"
    )
    lab.record(server_host, where="the server's end")
    ts = [lab.bg(lab.curl, client_host, "--max-time", "5", http_url(server_host, "/drip/90/50/2000")) for i in range(3)]
    time.sleep(0.9)
    blackhole(lab, wire)
    for t in ts:
        t.join()
    return keepalive_judge("user_timeout", ("silent_drop", "tcp_keepalive_timeout", "client_abort"))(lab)


@case(
    "silent_drop_go_deadline",
    "Go clients (TCP keepalive 15 s) wait for an answer over a lost path with a deadline of 4 s: they give up",
    "gunicorn",
    "go",
)
def silent_drop_go_deadline(lab):
    client_host, server_host, wire = lab.wired(0.01)
    gunicorn(lab, server_host, "-k", "gthread", "--threads", "4")
    lab.record(client_host, where="the client's end")
    ts = [
        lab.bg(lab.client, client_host, [BUILT / "gotool", "get", "-timeout", "4s", http_url(server_host, "/slow/2")])
        for i in range(3)
    ]
    time.sleep(0.6)
    lab.marks["t_act"] = time.time()
    wire.drop = lambda p, s: True
    for t in ts:
        t.join()
    return lambda x: verdict("silent_drop", ["client_abort"], "path", "done to it on the path", lost=True)
