"""nginx: its own limits on slow clients, its lingering close, its reloads."""

from recipes import *


@case(
    "nginx_lingering_time_slow_body",
    "nginx 413, lingering_timeout 500ms: pieces come 0.8 s apart, after the lingering period",
    "nginx",
    "python",
)
def nginx_lingering_time_slow_body(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, pre="client_max_body_size 1k; lingering_timeout 500ms; lingering_time 3s;"))
    lab.record(host)
    for i in range(3):
        raw_client(
            lab,
            host,
            host.addr,
            8080,
            "send:POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 90000\\r\\n\\r\\n",
            "wait:.1",
            "send:{3000*x}",
            "wait:.9",
            "send:{3000*x}",
            "wait:.5",
            "send:{3000*x}",
            "read",
        )


@case(
    "nginx_lingering_off_upload",
    "nginx lingering_close off, 413 of uploads that come in pieces",
    "nginx",
    "curl|http.client",
)
def nginx_lingering_off_upload(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, pre="client_max_body_size 10k; lingering_close off;"))
    lab.record(host)
    (lab.temp / "m").write_bytes(b"u" * 900000)
    for i in range(3):
        lab.curl(host, "-H", "Expect:", "--limit-rate", "300k", "--data-binary", f"@{lab.temp}/m", http_url(host))
        lab.py(host, "httpclient", do="seq", url=http_url(host), n=1, body=160000, pieces=6, pgap=0.06)


@case(
    "nginx_client_header_timeout",
    "nginx client_header_timeout 1s: half a request, then the rest after 1.6 s",
    "nginx",
    "python",
)
def nginx_client_header_timeout(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, pre="client_header_timeout 1s; client_body_timeout 1s;"))
    lab.record(host)
    for i in range(2):
        raw_client(
            lab, host, host.addr, 8080, "send:GET / HTTP/1.1\\r\\nHo", "wait:1.6", "send:st: a\\r\\n\\r\\n", "read"
        )
        raw_client(
            lab,
            host,
            host.addr,
            8080,
            "send:POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 100\\r\\n\\r\\nabc",
            "wait:1.6",
            "send:{97*x}",
            "read",
        )

    def judge(connection):
        said = default_judge(connection)
        if said["label"] in ("late_data_after_close",):
            said["also_ok"] = ["idle_timeout_inversion", "unread_request_data_at_close"]
        if said["label"] == "other":
            said["also_ok"] = ["idle_timeout_inversion", "late_data_after_close", "clean"]
        return said

    return judge


@case(
    "nginx_reload_graceful",
    "nginx reload (HUP) while downloads and idle keep-alive connections live: old workers finish; the idle ones are closed",
    "nginx",
    "curl|requests",
)
def nginx_reload_graceful(lab):
    host = lab.one()
    p = nginx(
        lab,
        host,
        nginx_site(host, pre="keepalive_timeout 30s;").replace(
            "location / {", "location /big.bin { limit_rate 2000k; } location / {"
        ),
    )
    lab.record(host)
    ts = [lab.bg(lab.curl, host, http_url(host, "/big.bin")) for i in range(2)] + [
        lab.bg(lab.py, host, "urllib3", do="seq", url=http_url(host, "/small.txt"), n=2, gap=2)
    ]
    time.sleep(1)
    os.kill(int((p.root / "pid").read_text()), 1)
    for t in ts:
        t.join()


@case(
    "nginx_reset_lingering_tls",
    "nginx TLS: 413 of uploads over TLS, lingering_timeout 300ms, pieces 0.6 s apart",
    "nginx",
    "python",
)
def nginx_reset_lingering_tls(lab):
    host = lab.one()
    nginx(
        lab,
        host,
        nginx_site(host, ssl=True, pre="client_max_body_size 1k; lingering_timeout 300ms; lingering_time 2s;"),
    )
    lab.record(host)
    o = lab.run(
        host,
        [
            PYTHON,
            "-c",
            f"""
import socket,ssl,time,json
for k in range(3):
    c=ssl._create_unverified_context(); s=socket.create_connection(('{host.addr}',8080)); port=s.getsockname()[1]; t=time.time(); x=c.wrap_socket(s); err=None; n=0
    try:
        x.send(b'POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 90000\\r\\n\\r\\n')
        for i in range(4): x.send(b'p'*3000); time.sleep(.6)
        n=len(x.recv(4096))
    except Exception as e: err=type(e).__name__+': '+str(e)
    print(json.dumps(dict(port=port,t=t,client='python',status=0,bytes=n,error=err,ok=err is None))); x.close()
""",
        ],
    )
    lab.take(o)


@case(
    "nginx_worker_shutdown_timeout",
    "nginx worker_shutdown_timeout 700ms and a reload in the middle of throttled downloads: the old worker closes them",
    "nginx",
    "curl",
)
def nginx_worker_shutdown_timeout(lab):
    host = lab.one()
    p = nginx(lab, host, nginx_site(host, "limit_rate 300k;"), main="worker_shutdown_timeout 700ms;")
    lab.record(host)
    lab.curl(host, http_url(host, "/small.txt"))
    ts = [lab.bg(lab.curl, host, http_url(host, "/big.bin")) for i in range(3)]
    time.sleep(0.6)
    lab.marks["t_reload"] = time.time()
    os.kill(int((p.root / "pid").read_text()), 1)
    for t in ts:
        t.join()

    def judge(connection):
        if lost_by(connection):
            return verdict(
                "process_killed",
                ["other", "unread_request_data_at_close", "linger_zero_abort"],
                "server",
                "the old worker closed its connections at the shutdown timeout; "
                + (reason_of(connection) or "no reset"),
                lost=True,
            )
        return default_judge(connection)

    return judge


@case("nginx_limit_conn_503", "nginx limit_conn 1 and limit_req: 503 to many, whole and clean", "nginx", "curl|ab")
def nginx_limit_conn_503(lab):
    host = lab.one()
    nginx(
        lab,
        host,
        f"limit_conn_zone $binary_remote_addr zone=a:1m; limit_req_zone $binary_remote_addr zone=b:1m rate=5r/s; "
        + nginx_site(host, "limit_conn a 1; limit_req zone=b;"),
    )
    lab.record(host)
    lab.run(host, ["ab", "-q", "-n", "30", "-c", "5", http_url(host, "/small.txt")])
    lab.curl(host, http_url(host, "/small.txt"), http_url(host, "/small.txt"))


@case(
    "nginx_send_timeout_slow_reader",
    "nginx send_timeout 1s, clients that stop reading: nginx closes (no reset_timedout_connection)",
    "nginx",
    "python",
)
def nginx_send_timeout_slow_reader(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, "send_timeout 1s; sndbuf=4k;".replace("sndbuf=4k;", "")))
    lab.record(host)
    for i in range(2):
        raw_client(
            lab,
            host,
            host.addr,
            8080,
            "rcvbuf:4096",
            get_step("/big.bin"),
            "read:4000",
            "wait:2.5",
            "eof",
            "need:3000000",
        )
    lab.curl(host, http_url(host, "/small.txt"))

    def judge(connection):
        said = default_judge(connection)
        if lost_by(connection):
            return (
                verdict(
                    "other",
                    [
                        "linger_zero_abort",
                        "process_killed",
                        "client_abort",
                        "unread_request_data_at_close",
                        "late_data_after_close",
                    ],
                    "server",
                    "nginx closed at its send_timeout because the client did not read; "
                    + (reason_of(connection) or "no reset"),
                    lost=True,
                )
                if said["label"] in ("other", "clean")
                else said
            )
        return said

    return judge
