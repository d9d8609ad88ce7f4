"""Ports closed and accept queues full."""

from recipes import *


def backlog_judge(connection):
    reset = first_reset(connection)
    srv = any(x[1] == "server" and x[3] == "ESTABLISHED" for x in connection.states)
    if not lost_by(connection):
        return verdict("clean") if not reset else default_judge(connection)
    if srv:
        return verdict(
            "other",
            ["client_abort", "backlog_overflow", "silent_drop"],
            "server",
            "in the accept queue of a stopped server until the client gave up",
            lost=True,
        )
    return verdict(
        "backlog_overflow",
        ["silent_drop"],
        "server",
        "the server's kernel never made the socket (accept queue full)",
        lost=True,
    )


def overflow_burst(
    name,
    done,
    servers,
    start,
    abort_on_overflow,
    n,
    port=8080,
    data=None,
    delay=0.012,
    vantage="server",
    patience="3.5",
    pre=0,
):
    @case(name, done, servers, "python")
    def _(lab):
        client_host, server_host, wire = lab.wired(delay)
        lab.sysctl(server_host, "net/ipv4/tcp_abort_on_overflow", abort_on_overflow)
        p = start(lab, server_host)
        lab.record(server_host if vantage == "server" else client_host, where=f"the {vantage}'s end")
        ps = [p.pid] + children(p.pid)
        for q in ps:
            os.kill(q, 19)
        lab.client(
            client_host, [PYTHON, PROGRAMS / "burst_client.py", server_host.addr, port, n, patience, data or "", pre]
        )
        lab.marks["t_cont"] = time.time()
        for q in ps:
            os.kill(q, 18)
        time.sleep(0.4)

        def judge(connection):
            reset = first_reset(connection)
            srv = any(
                x[1] == "server" and x[3] == "ESTABLISHED" and x[0] < lab.marks["t_cont"] for x in connection.states
            )
            connection.states_all = connection.states
            st2 = [x for x in connection.states if x[0] < lab.marks["t_cont"]]
            if lost_by(connection) and abort_on_overflow and not srv and any(t[1] == "server" for t in connection.rst):
                return verdict(
                    "abort_on_overflow",
                    ["backlog_overflow"],
                    "server",
                    reason_of(connection) or "tcp_abort_on_overflow; reset",
                    lost=True,
                )
            if lost_by(connection) and not srv:
                return verdict(
                    "backlog_overflow",
                    ["silent_drop"],
                    "server",
                    "the server's kernel never made the socket while the client waited (accept queue full)",
                    lost=True,
                )
            return backlog_judge(connection)

        return judge


def puma_backlog(lab, host):
    f = lab.temp / "puma.rb"
    f.write_text(
        f"bind 'tcp://{host.addr}:8080?backlog=3'\nthreads 1,6\nenvironment 'production'\nlog_requests false\n"
    )
    return lab.start(host, ["puma", "-C", f, PROGRAMS / "config.ru"], port=8080)


@case(
    "port_closed_many_clients_ipv6",
    "curl, wget, Go, node, nc -z to a port nobody listens on, IPv4 and IPv6",
    "",
    "curl|wget|go|node|nc",
)
def port_closed_many_clients_ipv6(lab):
    host = lab.one(True)
    lab.record(host)
    lab.curl(host, http_url(host))
    lab.curl(host, f"http://[{host.addr6}]:8080/")
    lab.run(host, ["wget", "-q", "-t", "1", "-O", "/dev/null", http_url(host)])
    lab.client(host, [BUILT / "gotool", "get", http_url(host)])
    lab.client(host, ["node", PROGRAMS / "node_client.js", "agent", json.dumps(dict(url=http_url(host)))])
    lab.run(host, ["nc", "-z", host.addr, 8081])
    return lambda connection: verdict("port_closed", [], "server", reason_of(connection), lost=True)


@case(
    "port_closed_after_stop",
    "gunicorn is stopped with SIGTERM: what comes later is refused; over a router",
    "gunicorn",
    "requests|curl",
)
def port_closed_after_stop(lab):
    client_host, router_host, server_host = lab.routed()
    p = gunicorn(lab, server_host)
    lab.record(client_host)
    lab.py(client_host, "requests", do="seq", url=http_url(server_host, "/n/40"), n=2)
    lab.stop(p, 15)
    time.sleep(0.2)
    for i in range(3):
        lab.curl(client_host, http_url(server_host))
    lab.py(client_host, "requests", do="seq", url=http_url(server_host, "/n/40"), n=2, gap=0.1)
    return lambda x: default_judge(x)


@case(
    "port_closed_upstream_apache_nginx",
    "apache mod_proxy and nginx before a dead upstream: 502, 503",
    "apache2|nginx",
    "curl",
)
def port_closed_upstream_apache_nginx(lab):
    host = lab.one()
    apache(lab, host, f"ProxyPass / http://{host.addr}:9009/\n", modules=("proxy", "proxy_http"))
    nginx(lab, host, nginx_site(host, f"proxy_pass http://{host.addr}:9009;", port=8081), port=8081)
    lab.record(host)
    for i in range(2):
        lab.curl(host, http_url(host))
        lab.curl(host, http_url(host, "/", 8081))

    def judge(connection):
        if connection.sport == 9009:
            return verdict("port_closed", [], "server", reason_of(connection))
        return default_judge(connection)

    return judge


for name, done, servers, start in (
    (
        "backlog_overflow_node",
        "node listen backlog 3, SIGSTOPped, 10 curls",
        "node",
        lambda lab, server_host: node(lab, server_host, backlog=3),
    ),
    (
        "backlog_overflow_redis",
        "redis --tcp-backlog 2, SIGSTOPped, 8 curls speak to it",
        "redis",
        lambda lab, server_host: redis(lab, server_host, "--tcp-backlog", "2"),
    ),
    (
        "backlog_overflow_python_socketserver",
        "http.server-like with listen(5), SIGSTOPped",
        "python",
        lambda lab, server_host: wsgiref(lab, server_host),
    ),
    (
        "backlog_overflow_unicorn",
        "unicorn :backlog => 4, SIGSTOPped",
        "unicorn",
        lambda lab, server_host: unicorn(lab, server_host, ", :backlog => 4"),
    ),
):

    def mk(name, done, servers, start):
        @case(name, done + ", 10 ms each way, tcp_abort_on_overflow 0", servers, "curl")
        def _(lab):
            client_host, server_host, wire = lab.wired(0.01)
            p = start(lab, server_host)
            lab.record(
                client_host if "node" in name else server_host,
                where="the client's end" if "node" in name else "the server's end",
            )
            port = 6379 if servers == "redis" else 8080
            if servers != "redis":
                lab.curl(client_host, http_url(server_host, "/n/10"))
            backlog(lab, client_host, server_host, 14 if servers != "redis" else 9, p, port=port)
            return backlog_judge

    mk(name, done, servers, start)


@case(
    "backlog_overflow_abort_gunicorn",
    "gunicorn --backlog 2 SIGSTOPped, 8 curls, tcp_abort_on_overflow 1: the kernel resets",
    "gunicorn",
    "curl",
)
def backlog_overflow_abort_gunicorn(lab):
    client_host, server_host, wire = lab.wired(0.01)
    lab.sysctl(server_host, "net/ipv4/tcp_abort_on_overflow", 1)
    p = gunicorn(lab, server_host, "--backlog", "2")
    lab.record(server_host, where="the server's end")
    lab.curl(client_host, http_url(server_host, "/n/10"))
    for q in [p.pid] + children(p.pid):
        os.kill(q, 19)
    ts = [lab.bg(lab.curl, client_host, "--max-time", "3", http_url(server_host, "/n/10")) for i in range(9)]
    for t in ts:
        t.join()
    for q in [p.pid] + children(p.pid):
        os.kill(q, 18)
    time.sleep(0.3)

    def judge(connection):
        reset = first_reset(connection)
        srv = any(x[1] == "server" and x[3] == "ESTABLISHED" for x in connection.states)
        if reset and reset["side"] == "server" and lost_by(connection):
            return verdict("abort_on_overflow", ["backlog_overflow"], "server", reason_of(connection), lost=True)
        if lost_by(connection) and any(t[1] == "server" for t in connection.rst):
            return verdict(
                "abort_on_overflow",
                ["backlog_overflow"],
                "server",
                "tcp_abort_on_overflow; reset without a kernel event",
                lost=True,
            )
        return backlog_judge(connection)

    return judge


overflow_burst(
    "backlog_overflow_abort_node_burst",
    "node backlog 9 SIGSTOPped, 7 connections, then 8 in one burst over 12 ms each way, tcp_abort_on_overflow 1",
    "node",
    lambda lab, server_host: node(lab, server_host, backlog=9),
    1,
    15,
    pre=7,
)
overflow_burst(
    "backlog_overflow_abort_redis_burst",
    "redis --tcp-backlog 12 SIGSTOPped, 10 connections, then 10 in one burst, tcp_abort_on_overflow 1; captured at the client",
    "redis",
    lambda lab, server_host: redis(lab, server_host, "--tcp-backlog", "12"),
    1,
    20,
    pre=10,
    port=6379,
    data="PING\\r\\n",
    vantage="client",
)
overflow_burst(
    "backlog_overflow_burst_gunicorn",
    "gunicorn --backlog 4 SIGSTOPped, 16 connections in one burst over 12 ms each way, tcp_abort_on_overflow 0",
    "gunicorn",
    lambda lab, server_host: gunicorn(lab, server_host, "--backlog", "4"),
    0,
    16,
)
overflow_burst(
    "backlog_overflow_burst_puma_client",
    "puma backlog 3 SIGSTOPped, 12 connections in one burst, tcp_abort_on_overflow 0; captured at the client",
    "puma",
    lambda lab, server_host: puma_backlog(lab, server_host),
    0,
    12,
    vantage="client",
)
overflow_burst(
    "backlog_overflow_slow_accept_short",
    "lighttpd backlog 2 SIGSTOPped for 2 s only, 8 connections in one burst: some overflow and recover",
    "lighttpd",
    lambda lab, server_host: lighttpd(lab, server_host, "server.listen-backlog=2\n"),
    0,
    8,
    patience="2",
)


@case("port_closed_one_ipv6_node", "one SYN, IPv6, nobody listens", "", "node")
def port_closed_one_ipv6_node(lab):
    host = lab.one(True)
    lab.record(host)
    lab.client(
        host, ["node", PROGRAMS / "node_client.js", "agent", json.dumps(dict(url=f"http://[{host.addr6}]:8080/"))]
    )
    return lambda connection: verdict("port_closed", [], "server", reason_of(connection), lost=True)


overflow_burst(
    "backlog_overflow_abort_unicorn_prefilled",
    "unicorn backlog 8 SIGSTOPped, 6 connections, then 7 in one burst, tcp_abort_on_overflow 1; captured at the client",
    "unicorn",
    lambda lab, server_host: unicorn(lab, server_host, ", :backlog => 8"),
    1,
    13,
    pre=6,
    vantage="client",
)
overflow_burst(
    "backlog_overflow_abort_syncookies",
    "node backlog 3 SIGSTOPped, 12 connections in one burst, tcp_abort_on_overflow 1: SYN cookies are sent, and the last ACKs are dropped without a reset",
    "node",
    lambda lab, server_host: node(lab, server_host, backlog=3),
    1,
    12,
)


@case("port_closed_then_open", "curl --retry-connrefused finds nobody, then the server starts", "gunicorn", "curl")
def port_closed_then_open(lab):
    host = lab.one()
    lab.record(host)
    t = lab.bg(
        lab.run,
        host,
        [
            "curl",
            "-sS",
            "--retry",
            "4",
            "--retry-connrefused",
            "--retry-delay",
            "1",
            "-o",
            "/dev/null",
            http_url(host, "/n/40"),
        ],
    )
    time.sleep(1.3)
    gunicorn(lab, host)
    t.join()
    return lambda connection: (
        verdict("port_closed", [], "server", reason_of(connection), lost=None)
        if first_reset(connection) and first_reset(connection)["reason"] == "NO_SOCKET"
        else default_judge(connection)
    )
