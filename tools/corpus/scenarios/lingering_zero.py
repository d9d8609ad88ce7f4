"""Programs that close with SO_LINGER 0, or destroy with a reset."""

from recipes import *


def linger_judge(connection):
    reset = first_reset(connection)
    if (
        reset
        and reset["side"] == "server"
        and reset["reason"] in ("TCP_STATE", "TCP_ABORT_ON_LINGER", "TCP_DISCONNECT_WITH_DATA")
    ):
        lost = lost_by(connection)
        return verdict("linger_zero_abort", [], "server", reason_of(connection), lost=lost)
    said = default_judge(connection)
    if reset and reset["side"] == "server" and said["label"] == "unread_request_data_at_close":
        said["also_ok"] = ["linger_zero_abort"]
    return said


@case(
    "linger_python_moments",
    "python server with SO_LINGER 0: before any answer, after the head, mid-body, chunked, after the whole answer",
    "python",
    "curl|http.client",
)
def linger_python_moments(lab):
    host = lab.one()
    lab.start(host, [PYTHON, PROGRAMS / "linger_server.py", host.addr, 8080], port=8080)
    lab.record(host)
    for p in ("/none", "/head", "/mid", "/chunk", "/whole/3000", "/ok"):
        lab.curl(host, http_url(host, p))
        raw_client(lab, host, host.addr, 8080, get_step(p), "read", "wait:.12", "close")
    return linger_judge


@case(
    "linger_python_fresh_ipv6",
    "python server accepts and resets with SO_LINGER 0 before any byte, IPv6",
    "python",
    "curl|nc",
)
def linger_python_fresh_ipv6(lab):
    host = lab.one(True)
    lab.start(host, [PYTHON, PROGRAMS / "linger_server.py", host.addr6, 8080, "fresh"], port=8080)
    lab.record(host)
    for i in range(3):
        raw_client(lab, host, host.addr6, 8080, "connect", "wait:.1", "eof")
    lab.curl(host, f"http://[{host.addr6}]:8080/")

    def judge(connection):
        said = linger_judge(connection)
        return said

    return judge


@case(
    "linger_java_setsolinger",
    "Java ServerSocket handler with setSoLinger(true,0): before, in the middle of, after the answer",
    "java",
    "curl|python",
)
def linger_java_setsolinger(lab):
    host = lab.one()
    jdk(lab, host, "raw")
    lab.record(host)
    for p in ("/linger", "/linger/15000/50000", "/linger/4000/4000", "/ok"):
        lab.curl(host, http_url(host, p))
        raw_client(lab, host, host.addr, 8080, get_step(p), "read", "wait:.12", "close")
    return linger_judge


@case(
    "linger_node_resetanddestroy",
    "node socket.resetAndDestroy(): before the answer, mid-answer, after it",
    "node",
    "curl|node",
)
def linger_node_resetanddestroy(lab):
    host = lab.one()
    node(lab, host)
    lab.record(host)
    for p in ("/reset/0", "/reset/20000/50000", "/whole/3000/80", "/n/10"):
        lab.curl(host, http_url(host, p))
        lab.client(host, ["node", PROGRAMS / "node_client.js", "agent", json.dumps(dict(url=http_url(host, p)))])
        raw_client(lab, host, host.addr, 8080, get_step(p), "read", "wait:.2", "close")
    return linger_judge


@case(
    "linger_node_net_line",
    'node line protocol (no HTTP): resetAndDestroy on "boom" and after a part of the answer',
    "node",
    "python|nc",
)
def linger_node_net_line(lab):
    host = lab.one()
    node(lab, host, raw="line")
    node(lab, host, raw="fresh", port=8081)
    lab.record(host)
    for i in range(2):
        raw_client(lab, host, host.addr, 8080, "send:hi\\r\\n", "line", "send:boom\\r\\n", "line")
        raw_client(lab, host, host.addr, 8080, "send:part\\r\\n", "read:2000", "wait:.1", "eof")
        raw_client(lab, host, host.addr, 8080, "send:hi\\r\\n", "line", "close")
        raw_client(lab, host, host.addr, 8081, "connect", "eof")
    return linger_judge


@case(
    "linger_go_line_and_idle",
    'Go TCP server: SetLinger(0) on "boom", on a fresh connection, and when a client idles for 700 ms',
    "go",
    "python",
)
def linger_go_line_and_idle(lab):
    host = lab.one()
    go_raw(lab, host, "line")
    go_raw(lab, host, "fresh", port=8081)
    go_raw(lab, host, "idle", "700ms", port=8082)
    lab.record(host)
    for i in range(2):
        raw_client(lab, host, host.addr, 8080, "send:hi\\r\\n", "line", "send:boom\\r\\n", "line")
        raw_client(lab, host, host.addr, 8081, "connect", "eof")
        raw_client(lab, host, host.addr, 8082, "send:hi\\r\\n", "line", "eof")
    return linger_judge


@case(
    "linger_go_hijack_parts",
    "Go handlers hijack, write a part or the whole, SetLinger(0), over 10 ms each way",
    "go",
    "curl|go",
)
def linger_go_hijack_parts(lab):
    client_host, server_host, wire = lab.wired(0.01)
    go(lab, server_host)
    lab.record(client_host, where="the client's end, 10 ms each way")
    for p in ("/linger/0", "/linger/20000/50000", "/linger/900/900", "/n/100"):
        lab.curl(client_host, http_url(server_host, p))
        lab.client(client_host, [BUILT / "gotool", "get", http_url(server_host, p)])
    return linger_judge


@case(
    "linger_c_fork_server",
    "C fork server: SO_LINGER 0 before the answer and after a third of it; also connect(AF_UNSPEC)",
    "c",
    "curl|wget",
)
def linger_c_fork_server(lab):
    host = lab.one()
    lab.start(host, [BUILT / "linger_fork", host.addr, 8080], port=8080)
    lab.record(host)
    for p in ("/none", "/part", "/disconnect", "/ok"):
        lab.curl(host, http_url(host, p))
        lab.run(host, ["wget", "-q", "-t", "1", "-O", "/dev/null", http_url(host, p)])

    def judge(connection):
        reset = first_reset(connection)
        return linger_judge(connection)

    return judge


@case(
    "linger_nginx_444_reset",
    "nginx reset_timedout_connection with return 444, and 444 without it",
    "nginx",
    "curl|python",
)
def linger_nginx_444_reset(lab):
    host = lab.one()
    nginx(
        lab,
        host,
        nginx_site(host, "return 444;", pre="reset_timedout_connection on; location /ok { return 200 ok; }")
        + nginx_site(host, "return 444;", port=8081),
    )
    lab.record(host)
    for i in range(3):
        lab.curl(host, http_url(host))
        lab.curl(host, http_url(host, "/", 8081))
    lab.curl(host, http_url(host, "/ok"))

    def judge(connection):
        if connection.sport == 8081:
            return (
                verdict(
                    "other",
                    ["linger_zero_abort", "process_killed"],
                    "server",
                    "return 444: the server closed without an answer; no reset",
                    lost=True,
                )
                if not connection.resets
                else default_judge(connection)
            )
        return linger_judge(connection)

    return judge


@case(
    "linger_client_python",
    "the client itself closes with SO_LINGER 0: after the answer, in the middle of it, before it",
    "nginx|go",
    "python",
)
def linger_client_python(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host))
    go(lab, host, port=8081)
    lab.record(host)
    tags = {}
    for p, u in ((8080, "/small.txt"), (8081, "/n/3000")):
        for i in range(2):
            raw_client(lab, host, host.addr, p, get_step(u), "read", "wait:.05", "abort")
    mid = []
    for i in range(2):
        mid += raw_client(lab, host, host.addr, 8081, get_step("/drip/20/50/2000"), "read:6000", "abort")
        mid += raw_client(lab, host, host.addr, 8081, get_step("/slow/1"), "wait:.2", "abort")
    for a in mid:
        a["ok"] = False
        a["gave_up"] = True
        a["error"] = "aborted with SO_LINGER 0 by the client"

    def judge(connection):
        if first_reset(connection) and first_reset(connection)["side"] == "client":
            return (
                verdict("client_abort", ["linger_zero_abort"], "client", reason_of(connection))
                if lost_by(connection)
                else verdict("linger_zero_abort", ["clean", "client_abort"], "client", reason_of(connection))
            )
        return default_judge(connection)

    return judge


@case(
    "linger_haproxy_silent_checks",
    "haproxy http health checks close with linger 0; its traffic is clean",
    "haproxy|gunicorn",
    "curl",
)
def linger_haproxy_silent_checks(lab):
    host = lab.one()
    gunicorn(lab, host, "-k", "gthread", "--threads", "4", port=9001)
    haproxy(
        lab,
        host,
        f"listen f\n bind {host.addr}:8080\n option httpchk GET /n/10\n server a {host.addr}:9001 check inter 400ms\n",
    )
    lab.record(host)
    time.sleep(1.3)
    for i in range(3):
        lab.curl(host, http_url(host, "/n/500"))
    return lambda connection: (
        verdict("linger_zero_abort", ["clean"], "client", reason_of(connection), lost=False)
        if first_reset(connection)
        and first_reset(connection)["side"] == "client"
        and first_reset(connection)["reason"] == "TCP_STATE"
        else default_judge(connection)
    )


@case(
    "linger_java_tcp_delay_any",
    "Java setSoLinger(0) over 12 ms each way, captured with -i any at the client",
    "java",
    "python|curl",
)
def linger_java_tcp_delay_any(lab):
    client_host, server_host, wire = lab.wired(0.012)
    jdk(lab, server_host, "raw")
    lab.record(client_host, iface="any", where="the client, -i any")
    for p in ("/linger", "/linger/9000/50000", "/ok"):
        lab.curl(client_host, http_url(server_host, p))
        raw_client(lab, client_host, server_host.addr, 8080, get_step(p), "read", "wait:.1", "close")

    return linger_judge


@case(
    "linger_python_pool_first_second",
    "python server answers the first request, resets the second on the same connection (SO_LINGER 0)",
    "python",
    "requests|http.client",
)
def linger_python_pool_first_second(lab):
    host = lab.one()
    lab.start(host, [PYTHON, PROGRAMS / "linger_server.py", host.addr, 8080], port=8080)
    lab.record(host)
    for k in ("requests", "httpclient", "urllib3"):
        lab.py(
            host, k, do="seq", url=[http_url(host, "/ok"), http_url(host, "/ok"), http_url(host, "/none")], n=3, gap=0.2
        )
        lab.py(host, k, do="seq", url=[http_url(host, "/ok"), http_url(host, "/mid")], n=2, gap=0.1)

    return linger_judge


@case("linger_one_before_answer_node", "one connection only: node resets before the answer", "node", "curl")
def linger_one_before_answer_node(lab):
    host = lab.one()
    node(lab, host)
    lab.record(host)
    lab.curl(host, http_url(host, "/reset/0"))

    return linger_judge


@case(
    "linger_go_proxy_nginx",
    "nginx before a Go handler that resets (SetLinger 0): 502 or a broken answer to curl",
    "nginx|go",
    "curl",
)
def linger_go_proxy_nginx(lab):
    host = lab.one()
    go(lab, host, port=9001)
    nginx(lab, host, nginx_site(host, f"proxy_pass http://{host.addr}:9001; proxy_next_upstream off;"))
    lab.record(host)
    for u in ("/linger/0", "/linger/20000/50000", "/n/50"):
        lab.curl(host, http_url(host, u))
        lab.curl(host, http_url(host, u))

    def judge(connection):
        reset = first_reset(connection)
        if connection.sport == 9001:
            return (
                verdict("linger_zero_abort", [], "server", reason_of(connection), lost=True)
                if reset and reset["side"] == "server"
                else default_judge(connection)
            )
        if lost_by(connection):
            return verdict(
                "other",
                ["process_killed"],
                "server",
                "the proxy ended the answer early because its upstream reset; " + (reason_of(connection) or "no reset"),
                lost=True,
            )
        return default_judge(connection)

    return judge
