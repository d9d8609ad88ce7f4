"""Clients that give up."""

from recipes import *


def mark(lab):
    for a in lab.accounts:
        if not a["ok"]:
            a["gave_up"] = True


@case(
    "abort_curl_maxtime_drip",
    "curl --max-time 0.6 on dripping answers of uvicorn, node and gunicorn",
    "uvicorn|node|gunicorn",
    "curl",
)
def abort_curl_maxtime_drip(lab):
    host = lab.one()
    uvicorn(lab, host)
    node(lab, host, port=8081)
    gunicorn(lab, host, "-k", "gthread", "--threads", "4", port=8082)
    lab.record(host)
    for p in (8080, 8081, 8082):
        for i in range(2):
            lab.curl(host, "--max-time", "0.6", http_url(host, "/drip/30/60/2000", p))
        lab.curl(host, http_url(host, "/n/100", p))
    return abort_judge


@case(
    "abort_curl_timeout_before",
    "curl --max-time 0.5 before any answer of puma, waitress, jdk",
    "puma|waitress|java com.sun.net.httpserver",
    "curl",
)
def abort_curl_timeout_before(lab):
    host = lab.one()
    puma(lab, host)
    waitress(lab, host, port=8081)
    jdk(lab, host, port=8082)
    lab.record(host)
    for p in (8080, 8081, 8082):
        for i in range(2):
            lab.curl(host, "--max-time", "0.5", http_url(host, "/slow/1.2", p))
    time.sleep(1.3)
    return abort_judge


@case(
    "abort_requests_stream_closed",
    "requests with stream=True closes after the first chunk of a large download; nginx, lighttpd",
    "nginx|lighttpd",
    "requests",
)
def abort_requests_stream_closed(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host))
    lighttpd(lab, host, port=8081)
    lab.record(host)
    o = lab.run(
        host,
        [
            PYTHON,
            "-c",
            f"""
import requests,json,time
for p in (8080,8081,8080,8081):
    s=requests.Session(); r=s.get('http://{host.addr}:%d/big.bin'%p,stream=True); n=len(next(r.iter_content(20000))); port=r.raw.connection.sock.getsockname()[1] if r.raw.connection else 0; t=time.time()
    r.close(); s.close(); print(json.dumps(dict(port=port,t=t,client='requests',status=200,bytes=n,error='closed by the client',ok=False,gave_up=True)))
    time.sleep(.2)
""",
        ],
    )
    lab.take(o)
    return abort_judge


@case(
    "abort_killed_client_download",
    "SIGKILLed curl and wget and python in the middle of downloads",
    "nginx|go",
    "curl|wget|python",
)
def abort_killed_client_download(lab):
    client_host, server_host, wire = lab.wired(0.008)
    nginx(lab, server_host, nginx_site(server_host, "limit_rate 300k;"))
    go(lab, server_host, port=8081)
    lab.record(server_host, where="the server's end, 8 ms each way")
    ps = [
        lab.start(client_host, ["curl", "-s", "-o", "/dev/null", http_url(server_host, "/big.bin")]),
        lab.start(client_host, ["wget", "-q", "-O", "/dev/null", http_url(server_host, "/drip/60/50/4000", 8081)]),
        lab.start(
            client_host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                server_host.addr,
                8080,
                "rcvbuf:8000",
                get_step("/big.bin"),
                "read:2000",
                "wait:20",
            ],
        ),
        lab.start(
            client_host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                server_host.addr,
                8081,
                "rcvbuf:8000",
                get_step("/n/3000000"),
                "read:2000",
                "wait:20",
            ],
        ),
    ]
    time.sleep(1.2)
    for p in ps:
        lab.stop(p, 9)
    time.sleep(0.5)
    return lambda connection: verdict(
        "client_abort",
        ["late_data_after_close"] if connection.resets else ["clean"],
        "client",
        "the client was killed in the middle; " + (reason_of(connection) or "no reset"),
        lost=True,
    )


@case(
    "abort_go_context_download",
    "Go clients cancel by context 250 ms into dripping downloads, and read a part and close the body",
    "lighttpd|aiohttp",
    "go",
)
def abort_go_context_download(lab):
    host = lab.one()
    aiohttpd(lab, host)
    lighttpd(lab, host, port=8081)
    lab.record(host)
    for i in range(2):
        lab.client(host, [BUILT / "gotool", "get", "-timeout", "250ms", http_url(host, "/drip/30/50/3000")])
        lab.client(host, [BUILT / "gotool", "get", "-read", "30000", http_url(host, "/big.bin", 8081)])
    mark(lab)
    return abort_judge


@case(
    "abort_node_req_destroy",
    "node client destroys its request 300 ms into slow answers; undici AbortController",
    "tornado|puma",
    "node|npm:undici",
)
def abort_node_req_destroy(lab):
    host = lab.one()
    tornado(lab, host)
    puma(lab, host, "", 8081)
    lab.record(host)
    for p in (8080, 8081):
        for k in ("agent", "undici"):
            lab.client(
                host,
                [
                    "node",
                    PROGRAMS / "node_client.js",
                    k,
                    json.dumps(dict(url=http_url(host, "/slow/1.0", p), abort=300, workers=2)),
                ],
            )
            lab.client(
                host,
                [
                    "node",
                    PROGRAMS / "node_client.js",
                    k,
                    json.dumps(dict(url=http_url(host, "/drip/30/50/3000", p), abort=400)),
                ],
            )
    time.sleep(1.1)
    mark(lab)

    def judge(connection):
        if not connection.saw and not connection.bc:
            return verdict("clean", lost=None)
        if not connection.saw:
            return verdict(
                "client_abort",
                ["late_data_after_close"] if connection.resets else ["clean"],
                "client",
                "every client here cancels; " + (reason_of(connection) or "no reset"),
                lost=True,
            )
        return abort_judge(connection)

    return judge


@case(
    "abort_httpx_read_timeout",
    "httpx and aiohttp read timeouts of 0.4 s on hypercorn and daphne",
    "hypercorn|daphne",
    "httpx|aiohttp",
)
def abort_httpx_read_timeout(lab):
    host = lab.one()
    hypercorn(lab, host)
    daphne(lab, host, port=8081)
    lab.record(host)
    for p in (8080, 8081):
        for k in ("httpx", "aiohttp"):
            lab.py(host, k, do="seq", url=http_url(host, "/slow/1", p), n=1, workers=2, timeout=0.4)
    time.sleep(1)
    mark(lab)
    return abort_judge


@case("abort_java_timeout", "JDK HttpClient request timeout 1 s on a slow gunicorn; 10 ms each way", "gunicorn", "java")
def abort_java_timeout(lab):
    client_host, server_host, wire = lab.wired(0.01)
    gunicorn(lab, server_host, "-k", "gthread", "--threads", "4")
    lab.record(client_host, where="the client's end")
    lab.client(client_host, ["java", "-cp", BUILT, "JClient", http_url(server_host, "/slow/2"), "GET", "0.1,0.1", "1"])
    time.sleep(1.2)
    return lambda connection: verdict(
        "client_abort",
        ["late_data_after_close"] if connection.resets else ["clean"],
        "client",
        "every request here times out in the client; " + (reason_of(connection) or "no reset"),
        lost=True,
    )


@case(
    "abort_browserlike_many",
    "a client like a browser: six connections, cancels three downloads by close with unread data, finishes three",
    "nginx",
    "python",
)
def abort_browserlike_many(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host))
    lab.record(host)
    ts = [
        lab.bg(raw_client, lab, host, host.addr, 8080, get_step("/big.bin"), "read:300000", "wait:.1", "giveup")
        for i in range(3)
    ] + [lab.bg(raw_client, lab, host, host.addr, 8080, get_step("/mid.bin"), "read", "close") for i in range(3)]
    for t in ts:
        t.join()
    time.sleep(0.2)
    return abort_judge


@case(
    "abort_client_upload_stops",
    "clients stop in the middle of uploads: shutdown+close, close, killed; Go, gunicorn, node wait for the rest",
    "go|gunicorn|node",
    "python",
)
def abort_client_upload_stops(lab):
    host = lab.one()
    go(lab, host)
    gunicorn(lab, host, port=8081)
    node(lab, host, port=8082)
    lab.record(host)
    for p in (8080, 8081, 8082):
        raw_client(
            lab,
            host,
            host.addr,
            p,
            "send:POST /n/10 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 90000\\r\\n\\r\\n{30000*q}",
            "wait:.1",
            "giveup",
        )
        raw_client(
            lab,
            host,
            host.addr,
            p,
            "send:POST /n/10 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 90000\\r\\n\\r\\n{30000*q}",
            "wait:.1",
            "half",
            "wait:.2",
            "giveup",
        )
    time.sleep(0.3)

    def judge(connection):
        return verdict(
            "client_abort",
            ["clean", "late_data_after_close", "unread_request_data_at_close"],
            "client",
            "the client stopped in the middle of its upload; " + (reason_of(connection) or "no reset"),
            lost=True,
        )

    return judge


@case(
    "abort_tls_curl_maxtime",
    "curl --max-time over TLS in the middle of answers: nginx TLS throttled, Go TLS dripping",
    "nginx|go",
    "curl",
)
def abort_tls_curl_maxtime(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, "limit_rate 200k;", ssl=True))
    go(lab, host, "-cert", BUILT / "tls", port=8081)
    lab.record(host)
    for i in range(2):
        lab.curl(host, "--max-time", ".6", f"https://{host.addr}:8080/big.bin")
        lab.curl(host, "--max-time", ".6", "--http1.1", f"https://{host.addr}:8081/drip/40/50/2000")
    lab.curl(host, f"https://{host.addr}:8080/small.txt")
    return abort_judge


@case(
    "abort_psql_cancelled_redis",
    "psql killed in a query; redis-cli killed in BLPOP",
    "postgresql|redis",
    "psql|redis-cli",
)
def abort_psql_cancelled_redis(lab):
    host = lab.one()
    postgres(lab, host)
    redis(lab, host)
    lab.record(host)
    a = lab.start(host, ["psql", "-h", host.addr, "-U", "postgres", "-c", "select pg_sleep(1.5)"])
    b = lab.start(host, ["redis-cli", "-h", host.addr, "BLPOP", "none", "2"])
    time.sleep(0.5)
    lab.stop(a, 9)
    lab.stop(b, 9)
    time.sleep(2)
    return lambda connection: verdict(
        "client_abort",
        ["clean", "late_data_after_close"],
        "client",
        "the client was killed while it waited for its answer; " + (reason_of(connection) or "no reset"),
        lost=True,
    )


@case(
    "abort_wget_timeout_siege",
    "wget -T 1 on slow answers of thin and php -S, siege with a 1 s timeout",
    "thin|php",
    "wget",
)
def abort_wget_timeout_siege(lab):
    host = lab.one()
    thin(lab, host)
    php_builtin(lab, host, 8081)
    lab.record(host)
    for p in (8080, 8081):
        for i in range(2):
            lab.run(host, ["wget", "-q", "-t", "1", "-T", "1", "-O", "/dev/null", http_url(host, "/slow/1.8", p)])
    time.sleep(2.4)
    return lambda connection: verdict(
        "client_abort",
        ["clean", "late_data_after_close"],
        "client",
        "wget gave up after 1 s; " + (reason_of(connection) or "no reset"),
        lost=True,
    )


@case(
    "abort_urllib3_unread_body_close",
    "http.client and urllib3 get the head and close with megabytes unread: uvicorn, hypercorn, cheroot",
    "uvicorn|hypercorn|cheroot",
    "python",
)
def abort_urllib3_unread_body_close(lab):
    host = lab.one()
    uvicorn(lab, host)
    hypercorn(lab, host, port=8081)
    cheroot(lab, host, port=8082)
    lab.record(host)
    for p in (8080, 8081, 8082):
        for i in range(2):
            raw_client(
                lab, host, host.addr, p, "rcvbuf:20000", get_step("/n/1500000"), "read:30000", "wait:.15", "giveup"
            )
    time.sleep(0.3)
    return abort_judge


@case(
    "abort_http10_head_only",
    "client sends its GET and closes at once without reading (fire and forget) to apache, lighttpd, node",
    "apache2|lighttpd|node",
    "python",
)
def abort_http10_head_only(lab):
    host = lab.one()
    apache(lab, host)
    lighttpd(lab, host, port=8081)
    node(lab, host, port=8082)
    lab.record(host)
    for p, u in ((8080, "/small.txt"), (8081, "/small.txt"), (8082, "/slow/0.3")):
        for i in range(2):
            raw_client(lab, host, host.addr, p, get_step(u), "giveup")
    time.sleep(0.6)
    return lambda connection: verdict(
        "client_abort",
        ["clean", "late_data_after_close"],
        "client",
        "the client left before the answer; " + (reason_of(connection) or "no reset"),
        lost=True,
    )


@case("abort_one_curl_maxtime", "one connection only: curl --max-time in mid-answer of hypercorn", "hypercorn", "curl")
def abort_one_curl_maxtime(lab):
    host = lab.one()
    hypercorn(lab, host)
    lab.record(host)
    lab.curl(host, "--max-time", ".7", http_url(host, "/drip/30/60/2000"))
    time.sleep(0.3)

    return abort_judge


@case(
    "abort_upload_curl_maxtime",
    "curl --max-time 0.7 in the middle of rate-limited uploads to node, nginx, uvicorn",
    "node|nginx|uvicorn",
    "curl",
)
def abort_upload_curl_maxtime(lab):
    host = lab.one()
    node(lab, host)
    nginx(
        lab,
        host,
        nginx_site(host, port=8081, pre="client_max_body_size 0;").replace(
            "location / { }", "location / { proxy_pass http://127.0.0.1:9; }"
        ),
        port=8081,
    )
    uvicorn(lab, host, port=8082)
    lab.record(host)
    (lab.temp / "m").write_bytes(b"u" * 900000)
    for p in (8080, 8082):
        for i in range(3):
            lab.curl(
                host,
                "--max-time",
                ".7",
                "--limit-rate",
                "200k",
                "-H",
                "Expect:",
                "--data-binary",
                f"@{lab.temp}/m",
                http_url(host, "/n/10", p),
            )
    lab.servers = ["node", "uvicorn"]
    return abort_judge
