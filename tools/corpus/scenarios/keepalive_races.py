"""A request meets the close of an idle connection: unannounced, announced, by a short limit, by a deploy."""

from recipes import *


def waits_around(center, n=28, lo=-0.062, hi=0.022):
    return [round(center + lo + (hi - lo) * i / (n - 1), 4) for i in range(n)]


def waits_between(a, b, n=70):
    return [round(a + (b - a) * i / (n - 1), 4) for i in range(n)]


def idle_judge(connection):
    reset = first_reset(connection)
    if reset and reset["side"] == "server":
        return verdict(
            "idle_timeout_inversion",
            ["keepalive_race_unannounced_close", "late_data_after_close"],
            "server",
            reason_of(connection),
        )
    if lost_by(connection) and not reset:
        return verdict(
            "idle_timeout_inversion",
            ["keepalive_race_unannounced_close"],
            "server",
            "the client lost an answer on a connection that the server had closed idle; no reset",
        )
    return default_judge(connection)


def announced_judge(connection):
    reset = first_reset(connection)
    if connection.saw and any(not a["ok"] for a in connection.saw):
        return verdict(
            "keepalive_race_announced_close",
            ["late_data_after_close", "unread_request_data_at_close"] if reset else [],
            "client",
            reason_of(connection) or "requests sent after the announced close were never answered; no reset",
        )
    return default_judge(connection)


race(
    "race_nginx_1s_requests",
    "nginx keepalive_timeout 1s, requests",
    "nginx",
    lambda lab, server_host: nginx(lab, server_host, nginx_site(server_host, pre="keepalive_timeout 1s;")),
    "requests",
    waits_around(1),
    path="/small.txt",
)
race(
    "race_nginx_1s_go_post",
    "nginx keepalive_timeout 1s, Go POST",
    "nginx",
    lambda lab, server_host: nginx(
        lab, server_host, nginx_site(server_host, "return 200 ok;", pre="keepalive_timeout 1s;")
    ),
    "go",
    waits_around(1),
    "POST",
    path="/",
)
race(
    "race_nginx_1s_httpx",
    "nginx keepalive_timeout 1s, httpx; captured at the client",
    "nginx",
    lambda lab, server_host: nginx(lab, server_host, nginx_site(server_host, pre="keepalive_timeout 1s;")),
    "httpx",
    waits_around(1),
    path="/small.txt",
    vantage="client",
)
race(
    "race_node_1s_requests",
    "node keepAliveTimeout 1000 (+1 s)",
    "node",
    lambda lab, server_host: node(lab, server_host, keepAliveTimeout=1000),
    "requests",
    waits_between(1.9, 2.1, 50),
)
race(
    "race_node_1s_agent",
    "node keepAliveTimeout 1000, node http.Agent POST",
    "node",
    lambda lab, server_host: node(lab, server_host, keepAliveTimeout=1000),
    "agent",
    waits_between(0.9, 2.1, 60),
    "POST",
)
race(
    "race_express_aiohttp",
    "express behind keepAliveTimeout 1000 buffer 0, aiohttp POST",
    "express|node",
    lambda lab, server_host: node(lab, server_host, express=1, keepAliveTimeout=1000, buffer=0),
    "aiohttp",
    waits_between(1.93, 2.06, 45),
    "POST",
    path="/x",
)
race(
    "race_go_1s_httpclient",
    "Go IdleTimeout 1s, http.client",
    "go",
    lambda lab, server_host: go(lab, server_host, "-idle", "1s"),
    "httpclient",
    waits_around(1),
)
race(
    "race_go_1s_undici",
    "Go IdleTimeout 1s, undici POST",
    "go",
    lambda lab, server_host: go(lab, server_host, "-idle", "1s"),
    "undici",
    waits_around(1),
    "POST",
)
race(
    "race_haproxy_1s_requests",
    "haproxy timeout http-keep-alive 1s before Go",
    "haproxy|go",
    lambda lab, server_host: (
        go(lab, server_host, port=9001),
        haproxy(
            lab,
            server_host,
            f"listen f\n bind {server_host.addr}:8080\n timeout http-keep-alive 1s\n http-reuse never\n server a {server_host.addr}:9001\n",
        ),
    ),
    "requests",
    waits_around(1),
)
race(
    "race_uvicorn_1s_httpx",
    "uvicorn --timeout-keep-alive 1, httpx",
    "uvicorn",
    lambda lab, server_host: uvicorn(lab, server_host, "--timeout-keep-alive", "1"),
    "httpx",
    waits_around(1, 36),
)
race(
    "race_hypercorn_1s_urllib3",
    "hypercorn keep_alive_timeout 1, urllib3",
    "hypercorn",
    lambda lab, server_host: hypercorn(lab, server_host, cfg="keep_alive_timeout = 1\n"),
    "urllib3",
    waits_around(1, 36),
)
race(
    "race_puma_1s_agent",
    "puma persistent_timeout 1, node http.Agent",
    "puma",
    lambda lab, server_host: puma(lab, server_host, "persistent_timeout 1"),
    "agent",
    waits_between(0.92, 1.2, 60),
    "POST",
)
race(
    "race_jetty_1s_httpx",
    "jetty idleTimeout 1000, httpx POST",
    "jetty",
    lambda lab, server_host: jetty(lab, server_host, 1000),
    "httpx",
    waits_between(0.92, 1.1, 45),
    "POST",
    path="/x",
)
race(
    "race_tomcat_1s_httpclient",
    "tomcat 10 keepAliveTimeout 1000, http.client POST",
    "tomcat",
    lambda lab, server_host: tomcat(lab, server_host, 1000),
    "httpclient",
    waits_between(0.92, 2.1, 80),
    "POST",
    path="/x",
)
race(
    "race_apache_prefork_requests",
    "apache prefork KeepAliveTimeout 1, requests",
    "apache2 prefork",
    lambda lab, server_host: apache(
        lab,
        server_host,
        "KeepAliveTimeout 1\nMaxRequestWorkers 60\nStartServers 40\nMinSpareServers 30\n",
        mpm="prefork",
    ),
    "requests",
    waits_around(1, 30),
    path="/small.txt",
)
race(
    "race_lighttpd_2s_go_post",
    "lighttpd max-keep-alive-idle 1, Go POST",
    "lighttpd",
    lambda lab, server_host: lighttpd(lab, server_host, "server.max-keep-alive-idle=1\n"),
    "go",
    waits_between(0.9, 2.2, 70),
    "POST",
    path="/small.txt",
)
race(
    "race_tornado_1s_requests",
    "tornado idle_connection_timeout 1, requests",
    "tornado",
    lambda lab, server_host: tornado(lab, server_host, "idle_connection_timeout=1"),
    "requests",
    waits_around(1, 36),
)
race(
    "race_aiohttp_1s_requests",
    "aiohttp server keepalive_timeout 1, requests POST",
    "aiohttp",
    lambda lab, server_host: aiohttpd(lab, server_host, "keepalive_timeout=1"),
    "requests",
    waits_between(0.92, 1.6, 70),
    "POST",
)
race(
    "race_cheroot_1s_urllib3",
    "cheroot timeout 1, urllib3",
    "cheroot",
    lambda lab, server_host: cheroot(lab, server_host, "timeout=1"),
    "urllib3",
    waits_between(0.9, 2.0, 70),
)
race(
    "race_gunicorn_1s_aiohttp",
    "gunicorn gthread --keep-alive 1, aiohttp POST",
    "gunicorn",
    lambda lab, server_host: gunicorn(lab, server_host, "-k", "gthread", "--threads", "16", "--keep-alive", "1"),
    "aiohttp",
    waits_between(0.92, 2.0, 70),
    "POST",
)
race(
    "race_daphne_1s_requests",
    "daphne --http-timeout none, twisted idle 1 s is not set: no race",
    "daphne",
    lambda lab, server_host: daphne(lab, server_host, "--http-timeout", "2"),
    "requests",
    waits_between(1.9, 2.1, 20),
)
race(
    "race_jdk_2s_httpx",
    "JDK HttpServer idleInterval 1 s, httpx POST",
    "java com.sun.net.httpserver",
    lambda lab, server_host: jdk(
        lab, server_host, props=("sun.net.httpserver.idleInterval=1", "sun.net.httpserver.idleTimerScheduleMillis=1000")
    ),
    "httpx",
    waits_between(0.9, 2.3, 70),
    "POST",
)
race(
    "race_thin_1s_urllib3",
    "thin --timeout 1 --max-persistent-conns, urllib3",
    "thin",
    lambda lab, server_host: thin(lab, server_host, "--timeout", "1"),
    "urllib3",
    waits_between(0.93, 1.12, 36),
)
race(
    "race_caddy_1s_requests",
    "caddy idle timeout 1s, requests POST",
    "caddy",
    lambda lab, server_host: caddy(lab, server_host),
    "requests",
    waits_around(1, 30),
    "POST",
    path="/",
)
race(
    "race_uwsgi_http11_requests",
    "uwsgi --http with http-keepalive 1, requests",
    "uwsgi",
    lambda lab, server_host: uwsgi(
        lab,
        server_host,
        "--http11-socket",
        f"{server_host.addr}:8080",
        "--so-keepalive",
        "--socket-timeout",
        "1",
        "--enable-threads",
        "--processes",
        "30",
    ),
    "requests",
    waits_around(1, 30),
)
race(
    "race_lossy_nginx_urllib3",
    "nginx keepalive_timeout 1s, urllib3, 1.5 % loss",
    "nginx",
    lambda lab, server_host: nginx(lab, server_host, nginx_site(server_host, pre="keepalive_timeout 1s;")),
    "urllib3",
    waits_around(1, 40),
    path="/small.txt",
    loss=0.015,
)
race(
    "race_node_1s_snap96_httpclient",
    "node keepAliveTimeout 1000 buffer 0, http.client, tcpdump -s 96",
    "node",
    lambda lab, server_host: node(lab, server_host, keepAliveTimeout=1000, buffer=0),
    "httpclient",
    waits_between(1.93, 2.06, 45),
    snap=96,
)


@case(
    "race_tls_node_1s_requests",
    "node TLS keepAliveTimeout 1000 buffer 0, requests over TLS without keys; link of 20 ms",
    "node",
    "requests",
)
def race_tls_node_1s_requests(lab):
    client_host, server_host, wire = lab.wired(0.02)
    node(lab, server_host, tls=str(BUILT / "tls"), keepAliveTimeout=1000, buffer=0)
    lab.record(server_host, where="the server's end of the link")
    race_requests(lab, client_host, f"https://{server_host.addr}:8080/n/300", waits_between(1.93, 2.06, 40), "requests")
    time.sleep(0.2)
    return race_judge


@case(
    "race_tls_nginx_1s_httpclient",
    "nginx TLS keepalive_timeout 1s, http.client over TLS; link of 15 ms",
    "nginx",
    "http.client",
)
def race_tls_nginx_1s_httpclient(lab):
    client_host, server_host, wire = lab.wired(0.015)
    nginx(lab, server_host, nginx_site(server_host, pre="keepalive_timeout 1s;", ssl=True))
    lab.record(server_host, where="the server's end of the link")
    race_requests(
        lab, client_host, f"https://{server_host.addr}:8080/small.txt", waits_around(1, 30, -0.05, 0.02), "httpclient"
    )
    time.sleep(0.2)
    return race_judge


@case("race_redis_timeout_py", "redis timeout 1, clients send PING around the close; link of 20 ms", "redis", "python")
def race_redis_timeout_py(lab):
    client_host, server_host, wire = lab.wired(0.02)
    redis(lab, server_host, "--timeout", "1")
    lab.record(server_host, where="the server's end of the link")
    ts = [
        lab.bg(
            lab.client,
            client_host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                server_host.addr,
                6379,
                "send:PING\\r\\n",
                "line",
                f"wait:{x}",
                "send:PING\\r\\n",
                "line",
                "close",
            ],
        )
        for x in waits_between(1.0, 2.3, 40)
    ]
    for t in ts:
        t.join()

    def judge(x):
        d = race_judge(x)
        if d["label"].startswith("keepalive"):
            d["label"] = "idle_timeout_inversion"
            d["also_ok"] = ["keepalive_race_unannounced_close", "late_data_after_close"]
        return d

    return judge


@case(
    "idle_memcached_timeout",
    "memcached -o idle_timeout=1: the client sends get after the server closed",
    "memcached",
    "python",
)
def idle_memcached_timeout(lab):
    host = lab.one()
    memcached(lab, host, "-o", "idle_timeout=1")
    lab.record(host)
    ts = [
        lab.bg(
            lab.client,
            host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                host.addr,
                11211,
                "send:version\\r\\n",
                "line",
                f"wait:{x}",
                "send:version\\r\\n",
                "line",
                "close",
            ],
        )
        for x in (0.3, 0.8, 2.6, 3.3, 4, 4.6)
    ]
    for t in ts:
        t.join()
    return idle_judge


@case(
    "idle_node_net_timeout",
    "node http server with socket timeout 800 ms; raw client sends its next request 0.2 to 2 s later without looking",
    "node",
    "python",
)
def idle_node_net_timeout(lab):
    host = lab.one()
    node(lab, host, keepAliveTimeout=1)
    go(lab, host, "-idle", "700ms", port=8081)
    lab.record(host)
    g = "send:GET /n/100 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
    for p in (8080, 8081):
        ts = [
            lab.bg(
                lab.client,
                host,
                [PYTHON, PROGRAMS / "raw_client.py", host.addr, p, g, "read", f"wait:{x}", g, "read", "close"],
            )
            for x in (0.2, 0.5, 1.1, 1.6, 2.1)
        ]
        for t in ts:
            t.join()
    return idle_judge


@case(
    "idle_php_apache_long_idle",
    "apache event KeepAliveTimeout 1 and gunicorn gthread keep-alive 1: raw client sends 2.5 s later",
    "apache2|gunicorn",
    "python",
)
def idle_php_apache_long_idle(lab):
    host = lab.one()
    apache(lab, host, "KeepAliveTimeout 1\n")
    gunicorn(lab, host, "-k", "gthread", "--threads", "4", "--keep-alive", "1", port=8081)
    lab.record(host)
    ts = []
    for p, u in ((8080, "/small.txt"), (8081, "/n/10")):
        g = f"send:GET {u} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
        ts += [
            lab.bg(
                lab.client,
                host,
                [PYTHON, PROGRAMS / "raw_client.py", host.addr, p, g, "read", f"wait:{x}", g, "read", "close"],
            )
            for x in (0.3, 2.6, 3.6)
        ]
    for t in ts:
        t.join()
    return idle_judge


@case(
    "idle_haproxy_tunnel_timeout",
    "haproxy TCP mode timeout client/server 1s before redis: the client speaks again after 1.5 s",
    "haproxy|redis",
    "python",
)
def idle_haproxy_tunnel_timeout(lab):
    host = lab.one()
    redis(lab, host)
    haproxy(
        lab,
        host,
        f"listen t\n mode tcp\n bind {host.addr}:9000\n timeout client 1s\n timeout server 1s\n server a {host.addr}:6379\n",
        port=9000,
    )
    lab.record(host)
    ts = [
        lab.bg(
            lab.client,
            host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                host.addr,
                9000,
                "send:PING\\r\\n",
                "line",
                f"wait:{x}",
                "send:PING\\r\\n",
                "line",
                "close",
            ],
        )
        for x in (0.3, 0.6, 1.5, 2.2)
    ]
    for t in ts:
        t.join()
    return lambda connection: idle_judge(connection) if connection.sport == 9000 else default_judge(connection)


@case(
    "idle_go_client_postgres_session_timeout",
    "postgres idle_session_timeout 1s: psql-like client sends a query after the server closed",
    "postgresql",
    "psycopg2-binary",
)
def idle_go_client_postgres_session_timeout(lab):
    host = lab.one()
    postgres(lab, host, "idle_session_timeout=1000")
    lab.record(host)
    lab.run(
        host,
        [
            PYTHON,
            "-c",
            f"""
import psycopg2,time,threading
def f(w):
    c=psycopg2.connect(host='{host.addr}',user='postgres',dbname='postgres'); c.autocommit=True; k=c.cursor(); k.execute('select 1'); time.sleep(w)
    try: k.execute('select 2'); print('ok')
    except Exception as e: print(w,e)
T=[threading.Thread(target=f,args=(w,)) for w in (.3,.6,1.5,2)]
[t.start() for t in T];[t.join() for t in T]""",
        ],
    )
    lab.output = [lab.err[-300:]]

    def judge(connection):
        reset = first_reset(connection)
        if reset and reset["side"] == "server":
            return verdict(
                "idle_timeout_inversion",
                ["keepalive_race_unannounced_close", "late_data_after_close"],
                "server",
                reason_of(connection),
                lost=True,
            )
        if connection.states and any(x[1] == "server" and x[3] == "FIN_WAIT1" for x in connection.states):
            return verdict(
                "idle_timeout_inversion",
                ["clean", "keepalive_race_unannounced_close"],
                "server",
                "the server said FATAL (57P05) and closed the idle session; no reset",
                lost=True,
            )
        return verdict("clean")

    return judge


for name, done, servers, start, u in (
    (
        "announced_nginx_requests_limit",
        "nginx keepalive_requests 1: every answer says Connection: close",
        "nginx",
        lambda lab, host: nginx(lab, host, nginx_site(host, pre="keepalive_requests 1;")),
        "/small.txt",
    ),
    (
        "announced_wsgiref_http10",
        "wsgiref answers HTTP/1.0 and closes",
        "python",
        lambda lab, host: wsgiref(lab, host),
        "/n/900",
    ),
    ("announced_unicorn", "unicorn says Connection: close", "unicorn", lambda lab, host: unicorn(lab, host), "/n/900"),
    (
        "announced_node_maxrequests",
        "node maxRequestsPerSocket 1",
        "node",
        lambda lab, host: node(lab, host, maxRequestsPerSocket=1),
        "/n/900",
    ),
    (
        "announced_apache_maxkeepalive",
        "apache KeepAlive Off",
        "apache2",
        lambda lab, host: apache(lab, host, "KeepAlive Off\n"),
        "/small.txt",
    ),
    (
        "announced_gunicorn_sync_pipelined",
        "gunicorn 20 sync closes after each answer",
        "gunicorn-old",
        lambda lab, host: gunicorn(lab, host, old=True),
        "/n/900",
    ),
    ("announced_php_cli", "php -S says Connection: close", "php", lambda lab, host: php_builtin(lab, host), "/n/900"),
    (
        "announced_haproxy_httpclose",
        "haproxy option httpclose before Go",
        "haproxy|go",
        lambda lab, host: (
            go(lab, host, port=9001),
            haproxy(lab, host, f"listen f\n bind {host.addr}:8080\n option httpclose\n server a {host.addr}:9001\n"),
        ),
        "/n/900",
    ),
):

    def mk(name, done, servers, start, u):
        @case(
            name,
            done
            + "; the client sends its next request on the same connection anyway, 0.2 s later, or in the same write",
            servers,
            "python|nc",
        )
        def _(lab):
            host = lab.one()
            start(lab, host)
            lab.record(host)
            g = f"GET {u} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
            for w in (0.05, 0.2, 0.4):
                lab.client(
                    host,
                    [
                        PYTHON,
                        PROGRAMS / "raw_client.py",
                        host.addr,
                        8080,
                        "send:" + g,
                        "read",
                        f"wait:{w}",
                        "send:" + g,
                        "wait:.05",
                        "read",
                        "close",
                    ],
                )
            for i in range(2):
                lab.client(
                    host,
                    [
                        PYTHON,
                        PROGRAMS / "raw_client.py",
                        host.addr,
                        8080,
                        "send:" + g * 2,
                        "read",
                        "wait:.1",
                        "read",
                        "close",
                    ],
                )
            lab.client(host, [PYTHON, PROGRAMS / "raw_client.py", host.addr, 8080, "send:" + g, "read", "close"])
            lab.curl(host, http_url(host, u), http_url(host, u))
            return lambda connection: (
                announced_judge(connection) if connection.sport == 8080 else default_judge(connection)
            )

    mk(name, done, servers, start, u)


@case(
    "gunicorn_max_requests",
    "gunicorn gthread --max-requests 5: workers end and start anew under keep-alive clients",
    "gunicorn",
    "requests|curl",
)
def gunicorn_max_requests(lab):
    host = lab.one()
    gunicorn(lab, host, "-k", "gthread", "--threads", "4", "--max-requests", "5", "-w", "2")
    lab.record(host)
    lab.py(host, "requests", do="seq", url=http_url(host, "/n/60"), n=12, gap=0.03, workers=2)

    def judge(connection):
        reset = first_reset(connection)
        if reset and reset["side"] == "server":
            return verdict(
                "keepalive_race_unannounced_close",
                ["process_killed", "late_data_after_close", "keepalive_race_announced_close"],
                "server",
                reason_of(connection),
            )
        if lost_by(connection):
            return verdict(
                "keepalive_race_unannounced_close",
                ["process_killed", "other"],
                "server",
                "client lost the reply on a reused connection; no reset",
            )
        return verdict("clean")

    return judge


deploy(
    "race_deploy_uvicorn_sigterm",
    "uvicorn gets SIGTERM (a deploy) under idle keep-alive connections, requests POST at that moment",
    "uvicorn",
    lambda lab, server_host: uvicorn(lab, server_host, "--timeout-keep-alive", "30"),
    "requests",
)
deploy(
    "race_deploy_node_sigterm",
    "node gets SIGTERM (ends at once) under idle keep-alive connections, http.client POSTs",
    "node",
    lambda lab, server_host: node(lab, server_host, keepAliveTimeout=30000),
    "httpclient",
)
deploy(
    "race_deploy_gunicorn_gthread",
    "gunicorn gthread gets SIGTERM under idle keep-alive connections, httpx POSTs",
    "gunicorn",
    lambda lab, server_host: gunicorn(lab, server_host, "-k", "gthread", "--threads", "30", "--keep-alive", "30"),
    "httpx",
)
deploy(
    "race_deploy_nginx_quit",
    "nginx gets SIGQUIT under idle keep-alive connections, urllib3",
    "nginx",
    lambda lab, server_host: nginx(
        lab, server_host, nginx_site(server_host, "return 200 ok;", pre="keepalive_timeout 30s;")
    ),
    "urllib3",
    sig=3,
)


@case(
    "idle_firewall_timeout_reject_go",
    "the router forgets idle connections and rejects by reset (an LB idle timeout): Go client sends after the pause",
    "go|nftables",
    "go|python",
)
def idle_firewall_timeout_reject_go(lab):
    client_host, router_host, server_host = lab.routed()
    go(lab, server_host)
    lab.sysctl(router_host, "net/netfilter/nf_conntrack_tcp_loose", 0)
    lab.ns(
        router_host,
        "nft",
        "add table inet f; add chain inet f i { type filter hook forward priority 0; }; add rule inet f i ct state invalid meta l4proto tcp reject with tcp reset; add rule inet f i ct state new tcp flags & (fin|syn|rst|ack) != syn reject with tcp reset; add rule inet f i ct state established,related accept",
    )
    lab.record(client_host, where="the client's interface")
    ts = [
        lab.bg(
            raw_client,
            lab,
            client_host,
            server_host.addr,
            8080,
            "timeout:4",
            get_step("/n/60"),
            "read",
            "wait:1.6",
            get_step("/n/60"),
            "read",
            "close",
        )
        for i in range(3)
    ] + [
        lab.bg(
            raw_client,
            lab,
            client_host,
            server_host.addr,
            8080,
            get_step("/n/60"),
            "read",
            "wait:.3",
            get_step("/n/60"),
            "read",
            "close",
        )
    ]
    time.sleep(1.0)
    lab.marks["t_act"] = time.time()
    lab.ns(router_host, "conntrack", "-F")
    for t in ts:
        t.join()

    def judge(connection):
        if lost_by(connection):
            return verdict(
                "firewall_reject",
                ["idle_timeout_inversion", "injected_rst"],
                "path",
                "done to it on the path" + ("; " + reason_of(connection) if connection.resets else ""),
                lost=True,
            )
        return default_judge(connection)

    return judge


race(
    "race_puma_1s_requests",
    "puma persistent_timeout 1, requests",
    "puma",
    lambda lab, server_host: puma(lab, server_host, "persistent_timeout 1"),
    "requests",
    waits_between(0.92, 1.2, 60),
)
race(
    "race_tornado_1s_undici",
    "tornado idle_connection_timeout 1, undici POST",
    "tornado",
    lambda lab, server_host: tornado(lab, server_host, "idle_connection_timeout=1"),
    "undici",
    waits_around(1, 36),
    "POST",
)
race(
    "race_hypercorn_1s_go_post",
    "hypercorn keep_alive_timeout 1, Go POST",
    "hypercorn",
    lambda lab, server_host: hypercorn(lab, server_host, cfg="keep_alive_timeout = 1\n"),
    "go",
    waits_around(1, 36),
    "POST",
)
race(
    "race_go_1s_aiohttp",
    "Go IdleTimeout 1s, aiohttp POST; captured at the client",
    "go",
    lambda lab, server_host: go(lab, server_host, "-idle", "1s"),
    "aiohttp",
    waits_around(1, 32),
    "POST",
    vantage="client",
)
race(
    "race_uvicorn_1s_undici",
    "uvicorn --timeout-keep-alive 1, undici POST, tcpdump -s 96",
    "uvicorn",
    lambda lab, server_host: uvicorn(lab, server_host, "--timeout-keep-alive", "1"),
    "undici",
    waits_around(1, 36),
    "POST",
    snap=96,
)
race(
    "race_haproxy_1s_httpclient",
    "haproxy timeout http-keep-alive 1s, http.client; captured at the client",
    "haproxy",
    lambda lab, server_host: haproxy(
        lab,
        server_host,
        f"frontend f\n bind {server_host.addr}:8080\n timeout http-keep-alive 1s\n http-request return status 200 content-type text/plain string hello\n",
    ),
    "httpclient",
    waits_around(1, 32),
    vantage="client",
)
race(
    "race_node_2s_urllib3",
    "node keepAliveTimeout 1000 (+1 s), urllib3, 10 ms each way",
    "node",
    lambda lab, server_host: node(lab, server_host, keepAliveTimeout=1000),
    "urllib3",
    waits_between(1.93, 2.06, 50),
    delay=0.01,
)
race(
    "race_fastify_aiohttp",
    "fastify keepAliveTimeout 1000 (+1 s), aiohttp",
    "fastify|node",
    lambda lab, server_host: node(lab, server_host, fastify=1, keepAliveTimeout=1000),
    "aiohttp",
    waits_between(1.93, 2.06, 50),
    path="/x",
)
race(
    "race_apache_event_httpclient",
    "apache event KeepAliveTimeout 1, http.client",
    "apache2 event",
    lambda lab, server_host: apache(lab, server_host, "KeepAliveTimeout 1\n"),
    "httpclient",
    waits_between(0.93, 1.2, 40),
    path="/small.txt",
)
race(
    "race_granian_keepalive_requests",
    "granian keep-alive of its own default, requests: no race",
    "granian",
    granian,
    "requests",
    [0.3, 0.6, 1.0, 1.5],
)
race(
    "race_daphne_2s_httpx",
    "daphne --http-timeout 2 idle, httpx POST",
    "daphne",
    lambda lab, server_host: daphne(lab, server_host, "--http-timeout", "1"),
    "httpx",
    waits_between(0.93, 1.06, 36),
    "POST",
)
race(
    "race_lighttpd_1s_requests",
    "lighttpd max-keep-alive-idle 1, requests",
    "lighttpd",
    lambda lab, server_host: lighttpd(lab, server_host, "server.max-keep-alive-idle=1\n"),
    "requests",
    waits_between(0.9, 2.2, 70),
    path="/small.txt",
)


# announced with libraries of our own
@case(
    "announced_uvicorn_limit_raw",
    "uvicorn, app-made Connection: close (413 path) then the client goes on",
    "uvicorn|hypercorn",
    "python",
)
def announced_uvicorn_limit_raw(lab):
    host = lab.one()
    uvicorn(lab, host)
    lab.record(host)

    p = "send:POST /413 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 100001\\r\\nExpect: 100-continue\\r\\n\\r\\n"
    for w in (0.1, 0.3):
        raw_client(lab, host, host.addr, 8080, p, "read", f"wait:{w}", get_step("/n/10"), "wait:.05", "read", "close")
    raw_client(lab, host, host.addr, 8080, get_step("/n/10"), "read", "close")
    lab.servers = ["uvicorn"]

    def judge(connection):
        said = announced_judge(connection)
        if said["label"].startswith("keepalive_race_ann"):
            said["also_ok"] = ["late_data_after_close", "unread_request_data_at_close"]
        return said

    return judge


@case(
    "announced_delay_gunicorn_20ms",
    "gunicorn sync closes after each answer; the client pipelines its next request 5 to 60 ms after the first; 10 ms each way",
    "gunicorn",
    "python",
)
def announced_delay_gunicorn_20ms(lab):
    client_host, server_host, wire = lab.wired(0.01)
    gunicorn(lab, server_host, "-w", "2")
    lab.record(client_host, where="the client's end")

    for x in (0.005, 0.03, 0.06, 0.12):
        raw_client(
            lab,
            client_host,
            server_host.addr,
            8080,
            "send:GET /n/300 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
            "read",
            f"wait:{x}",
            get_step("/n/300"),
            "read",
            "close",
        )
    lab.curl(client_host, http_url(server_host, "/n/10"), http_url(server_host, "/n/10"))
    return announced_judge


@case(
    "announced_tomcat_lighttpd",
    "clients ask for Connection: close and then send another request anyway: lighttpd, jetty, node",
    "lighttpd|jetty|node",
    "python",
)
def announced_tomcat_lighttpd(lab):
    host = lab.one()
    lighttpd(lab, host)
    jetty(lab, host, 9000, port=8081)
    node(lab, host, port=8082)
    lab.record(host)

    for p, u in ((8080, "/small.txt"), (8081, "/x"), (8082, "/n/30")):
        for x in (0.1, 0.3):
            raw_client(
                lab,
                host,
                host.addr,
                p,
                f"send:GET {u} HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n",
                "read",
                f"wait:{x}",
                get_step(u),
                "wait:.05",
                "read",
                "close",
            )
        raw_client(
            lab,
            host,
            host.addr,
            p,
            f"send:GET {u} HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n",
            "read",
            "eof",
            "close",
        )
    return announced_judge


for name, done, servers, start, gap, client in (
    (
        "idle_repeat_uvicorn_requests",
        "requests reuses every 1.0 s what uvicorn closes after 1 s",
        "uvicorn",
        lambda lab, server_host: uvicorn(lab, server_host, "--timeout-keep-alive", "1"),
        0.985,
        "requests",
    ),
    (
        "idle_repeat_go_httpclient",
        "http.client reuses every 0.97 s what Go closes after 1 s",
        "go",
        lambda lab, server_host: go(lab, server_host, "-idle", "1s"),
        0.972,
        "httpclient",
    ),
    (
        "idle_repeat_nginx_aiohttp",
        "aiohttp reuses about every second what nginx closes after 1 s",
        "nginx",
        lambda lab, server_host: nginx(
            lab, server_host, nginx_site(server_host, "return 200 ok;", pre="keepalive_timeout 1s;")
        ),
        0.97,
        "aiohttp",
    ),
):

    def mk(name, done, servers, start, gap, client):
        @case(name, done + "; link of 20 ms", servers, client)
        def _(lab):
            client_host, server_host, wire = lab.wired(0.02)
            start(lab, server_host)
            lab.record(server_host, where="the server's end")
            lab.py(client_host, client, do="seq", url=http_url(server_host, "/n/50"), n=5, gap=gap, workers=8, body=40)
            return race_judge

    mk(name, done, servers, start, gap, client)


@case(
    "race_proxy_like_requests_gunicorn_many",
    "gunicorn gthread keep-alive 1, http.client in 90 threads from 1.0 to 2.4 s; link of 20 ms",
    "gunicorn",
    "http.client",
)
def race_proxy_like_requests_gunicorn_many(lab):

    client_host, server_host, wire = lab.wired(0.02)
    gunicorn(lab, server_host, "-k", "gthread", "--threads", "30", "--keep-alive", "1")
    lab.record(server_host, where="the server's end of the link")
    race_requests(lab, client_host, http_url(server_host, "/n/100"), waits_between(1.0, 2.4, 90), "httpclient", "POST")
    return race_judge
