"""Processes killed at work."""

from recipes import *


def killed_judge(lab, ports=(8080,)):
    def judge(connection):
        tk = lab.marks["t_kill"]
        reset = first_reset(connection)
        alive = connection.t_syn < tk and connection.t_last > tk - 0.02
        if (
            connection.sport in ports
            and alive
            and (
                lost_by(connection)
                or (not connection.saw and connection in lab.victims if hasattr(lab, "victims") else False)
            )
        ):
            return verdict(
                "process_killed",
                ["other"]
                if not reset
                else (
                    ["unread_request_data_at_close"]
                    if reset["reason"] == "TCP_ABORT_ON_CLOSE"
                    else ["other"]
                    if reset["reason"] == "TCP_STATE"
                    else []
                ),
                "server",
                "SIGKILL; " + (f"first kernel reset {reset['reason']}" if reset else "no reset"),
            )
        if connection.t_syn > tk and reset and reset["reason"] in ("NO_SOCKET",):
            return verdict("port_closed", ["process_killed"], "server", reason_of(connection))
        return default_judge(connection)

    return judge


def killcase(
    name,
    done,
    server,
    clients,
    start,
    path,
    n=4,
    delay=0.7,
    after=0.3,
    client="curl",
    wired=0,
    stop=False,
    ok=2,
    okpath="/n/50",
    only_worker=False,
    tls=False,
    post=None,
    extra_after=0,
):
    @case(name, done, server, clients)
    def _(lab):
        if wired:
            client_host, server_host, wire = lab.wired(wired)
        else:
            client_host = server_host = lab.one()
        p = start(lab, server_host)
        lab.record(server_host)
        sch = "https" if tls else "http"
        u = lambda q: f"{sch}://{server_host.addr}:8080{q}"
        for i in range(ok):
            lab.curl(client_host, u(okpath))
        if stop:
            for q in [p.pid] + children(p.pid):
                os.kill(q, 19)
        ts = []
        for i in range(n):
            if client == "curl":
                ts.append(
                    lab.bg(
                        lab.curl,
                        client_host,
                        *(["-H", "Expect:", "--data-binary", "@" + str(lab.temp / "body")] if post else []),
                        u(path),
                    )
                )
            elif client == "go":
                ts.append(
                    lab.bg(
                        lab.client,
                        client_host,
                        [BUILT / "gotool", "get", *(["-post", str(post)] if post else []), u(path)],
                    )
                )
            elif client == "node":
                ts.append(
                    lab.bg(
                        lab.client,
                        client_host,
                        ["node", PROGRAMS / "node_client.js", "agent", json.dumps(dict(url=u(path), body=post))],
                    )
                )
            else:
                ts.append(lab.bg(lab.py, client_host, client, do="seq", url=u(path), n=1, body=post))
            time.sleep(0.03)
        time.sleep(delay + (0.4 if client in ("requests", "httpx", "aiohttp") else 0))
        if only_worker:
            lab.marks["t_kill"] = time.time()
            for q in children(p.pid):
                os.kill(q, 9)
        else:
            lab.killtree(p)
        for t in ts:
            t.join()
        for i in range(extra_after):
            lab.curl(client_host, u(okpath))
        return killed_judge(lab)


def make_body(lab):
    (lab.temp / "body").write_bytes(b"k" * 300000)


def terminated(name, done, servers, start, path, sig=15, wired=0):
    @case(name, done, servers, "curl")
    def _(lab):
        if wired:
            client_host, server_host, wire = lab.wired(wired)
        else:
            client_host = server_host = lab.one()
        p = start(lab, server_host)
        lab.record(server_host)
        lab.curl(client_host, http_url(server_host, "/n/50"))
        ts = [lab.bg(lab.curl, client_host, "--max-time", "9", http_url(server_host, path)) for i in range(3)]
        time.sleep(0.6)
        lab.marks["t_kill"] = time.time()
        os.kill(p.pid, sig)
        for t in ts:
            t.join()
        j0 = killed_judge(lab)

        def judge(connection):
            said = j0(connection)
            if said["label"] == "process_killed":
                said["why"] = said["why"].replace("SIGKILL", "the process was ended by a signal")
                said["also_ok"] = list(dict.fromkeys((said.get("also_ok") or []) + ["other"]))
            return said

        return judge


killcase(
    "killed_uvicorn_drip",
    "kill -9 of uvicorn (one process) in the middle of dripping answers",
    "uvicorn",
    "requests",
    lambda lab, host: uvicorn(lab, host),
    "/drip/40/50/3000",
    client="requests",
)
killcase(
    "killed_node_before_answer",
    "kill -9 of node before it answers",
    "node",
    "curl",
    lambda lab, host: node(lab, host),
    "/slow/3",
)
killcase(
    "killed_go_drip_one",
    "kill -9 of Go with one connection only, mid-answer",
    "go",
    "go",
    lambda lab, host: go(lab, host),
    "/drip/40/50/2000",
    n=1,
    client="go",
    ok=0,
)
killcase(
    "killed_java_tomcat",
    "kill -9 of JDK HttpServer mid-chunked answer and of waiting requests",
    "java com.sun.net.httpserver",
    "curl",
    lambda lab, host: jdk(lab, host),
    "/chunk",
    delay=0.25,
)
killcase(
    "killed_puma_before_answer",
    "kill -9 of puma (one process, threads) before the answers; later connections are refused",
    "puma",
    "curl",
    lambda lab, host: puma(lab, host),
    "/slow/3",
    n=3,
    extra_after=2,
)
killcase(
    "killed_unicorn_workers",
    "kill -9 of unicorn workers (the master lives and forks new ones) with slow requests",
    "unicorn",
    "http.client",
    lambda lab, host: unicorn(lab, host),
    "/slow/3",
    n=4,
    client="httpclient",
    only_worker=True,
)
killcase(
    "killed_gunicorn_worker_queue",
    "kill -9 of the one gunicorn sync worker with one request in work, others in the queue are served by the next worker",
    "gunicorn",
    "curl",
    lambda lab, host: gunicorn(lab, host, "-w", "1"),
    "/slow/2",
    n=3,
    only_worker=True,
)
killcase(
    "killed_apache_prefork",
    "kill -9 of all of apache prefork during downloads with a limited rate by the server",
    "apache2 prefork",
    "curl",
    lambda lab, host: apache(
        lab, host, "SetOutputFilter RATE_LIMIT\nSetEnv rate-limit 400\n", mpm="prefork", modules=("ratelimit", "env")
    ),
    "/big.bin",
    okpath="/small.txt",
)
killcase(
    "killed_lighttpd_download",
    "kill -9 of lighttpd during throttled downloads",
    "lighttpd",
    "http.client",
    lambda lab, host: lighttpd(lab, host, "connection.kbytes-per-second=300\n"),
    "/big.bin",
    client="httpclient",
    okpath="/small.txt",
)
killcase(
    "killed_stopped_node",
    "SIGSTOPped node: requests queue, then kill -9",
    "node",
    "curl",
    lambda lab, host: node(lab, host),
    "/n/100",
    stop=True,
    n=4,
)
killcase(
    "killed_stopped_gunicorn_all",
    "SIGSTOPped gunicorn (master and workers): requests wait in the accept queue, then kill -9 of all",
    "gunicorn",
    "urllib3",
    lambda lab, host: gunicorn(lab, host, "-w", "2"),
    "/n/100",
    stop=True,
    n=5,
    client="urllib3",
)
killcase(
    "killed_stopped_uvicorn_one",
    "SIGSTOPped uvicorn, one request only, then kill -9",
    "uvicorn",
    "curl",
    lambda lab, host: uvicorn(lab, host),
    "/n/100",
    stop=True,
    n=1,
    ok=0,
)
killcase(
    "killed_waitress_delay",
    "kill -9 of waitress before the answer, 10 ms each way",
    "waitress",
    "requests",
    lambda lab, host: waitress(lab, host),
    "/slow/3",
    client="requests",
    wired=0.01,
)
killcase(
    "killed_node_tls",
    "kill -9 of node TLS server mid-answer (no close_notify)",
    "node",
    "curl",
    lambda lab, host: node(lab, host, tls=str(BUILT / "tls")),
    "/drip/40/50/3000",
    tls=True,
)
killcase(
    "killed_php_cli",
    "kill -9 of php -S before the answer, one connection",
    "php",
    "curl",
    lambda lab, host: php_builtin(lab, host),
    "/slow/3",
    n=1,
)


@case(
    "killed_upload_unread_go",
    "kill -9 of a stopped Go server while uploads of 300 kB fill its buffers",
    "go",
    "http.client",
)
def killed_upload_unread_go(lab):
    host = lab.one()
    p = go(lab, host)
    lab.record(host)
    lab.curl(host, http_url(host, "/n/10"))
    for q in [p.pid] + children(p.pid):
        os.kill(q, 19)
    ts = [
        lab.bg(lab.py, host, "httpclient", do="seq", url=http_url(host, "/n/10"), n=1, body=6000000) for i in range(3)
    ]
    time.sleep(1)
    lab.killtree(p)
    for t in ts:
        t.join()
    return killed_judge(lab)


@case("killed_redis_blocked", "kill -9 of redis with clients in BLPOP and SUBSCRIBE", "redis", "redis-cli|python")
def killed_redis_blocked(lab):
    host = lab.one()
    p = redis(lab, host)
    lab.record(host)
    lab.run(host, ["redis-cli", "-h", host.addr, "ping"])
    ts = [
        lab.bg(raw_client, lab, host, host.addr, 6379, "send:BLPOP none 0\\r\\n", "read:4", "need:4") for i in range(3)
    ]
    time.sleep(0.6)
    lab.killtree(p)
    for t in ts:
        t.join()
    return killed_judge(lab, (6379,))


@case(
    "killed_postgres_backend",
    "kill -9 of a postgres backend in pg_sleep (and the postmaster ends the others)",
    "postgresql",
    "psql",
)
def killed_postgres_backend(lab):
    host = lab.one()
    p = postgres(lab, host)
    lab.record(host)
    lab.run(host, ["psql", "-h", host.addr, "-U", "postgres", "-c", "select 1"])
    ts = [
        lab.bg(lab.run, host, ["psql", "-h", host.addr, "-U", "postgres", "-c", "select pg_sleep(8)"]) for i in range(2)
    ]
    time.sleep(0.9)
    lab.marks["t_kill"] = time.time()
    k = [
        int(x.split()[0])
        for x in command("ps", "-eo", "pid,args").splitlines()
        if "pg_sleep" in x or ("SELECT" in x and "postgres: postgres" in x)
    ]
    k = [q for q in children(p.pid) if b"SELECT" in open(f"/proc/{q}/cmdline", "rb").read()]
    if not k:
        raise Failed("no backend")
    os.kill(k[0], 9)
    for t in ts:
        t.join()

    def judge(connection):
        if (
            connection.t_syn < lab.marks["t_kill"] < connection.t_last + 0.05
            and connection.t_last > lab.marks["t_kill"] - 0.05
        ):
            return verdict(
                "process_killed",
                ["other", "unread_request_data_at_close"],
                "server",
                "SIGKILL of a backend; " + (reason_of(connection) or "no reset"),
                lost=True,
            )
        return default_judge(connection)

    return judge


@case(
    "killed_fpm_worker_nginx",
    "php-fpm children kill themselves (-9) in the middle of answers; nginx passes 502 or a part on",
    "php php-fpm|nginx",
    "curl",
)
def killed_fpm_worker_nginx(lab):
    host = lab.one()
    php_fpm(lab, host)
    nginx(
        lab,
        host,
        nginx_site(
            host,
            f"include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME {lab.php}/i.php; fastcgi_pass {host.addr}:9000;",
        ),
    )
    lab.record(host)
    for q in ("", "?k=slow"):
        lab.curl(host, http_url(host, "/i.php" + q))
    lab.marks["t_kill"] = time.time()
    ks = []
    for i in range(3):
        n0 = time.time()
        t = lab.bg(lab.curl, host, http_url(host, "/i.php?k=slow"))
        time.sleep(0.5)
        b = [q for q in children(lab.procs[0].pid)]
        # the child that is in work sleeps in nanosleep
        for q in b:
            try:
                if "nanosleep" in open(f"/proc/{q}/wchan").read():
                    os.kill(q, 9)
                    ks.append(time.time())
            except OSError:
                pass
        t.join()
    if len(ks) < 3:
        raise Failed(f"killed {len(ks)}")

    def judge(connection):
        if connection.sport == 9000 and any(connection.t_syn < k < connection.t_last + 0.1 for k in ks):
            return verdict(
                "process_killed",
                ["other", "unread_request_data_at_close"],
                "server",
                "SIGKILL of the php-fpm child; " + (reason_of(connection) or "no reset"),
                lost=True,
            )
        said = default_judge(connection)
        return said

    return judge


@case(
    "gunicorn_worker_timeout",
    "gunicorn --timeout 1: the arbiter kills the sync worker (SIGABRT) in a slow request",
    "gunicorn",
    "curl",
)
def gunicorn_worker_timeout(lab):
    host = lab.one()
    gunicorn(lab, host, "--timeout", "1")
    lab.record(host)
    lab.curl(host, http_url(host, "/n/60"))
    for i in range(2):
        lab.curl(host, http_url(host, "/slow/6"))

    def judge(connection):
        if lost_by(connection):
            return verdict(
                "process_killed",
                ["other"],
                "server",
                "the worker was killed by its master at its time limit; " + (reason_of(connection) or "no reset"),
                lost=True,
            )
        return default_judge(connection)

    return judge


killcase(
    "killed_hypercorn_drip",
    "kill -9 of hypercorn and its workers mid-answer",
    "hypercorn",
    "httpx",
    lambda lab, host: hypercorn(lab, host, "-w", "2"),
    "/drip/60/50/3000",
    client="httpx",
    n=3,
)
killcase(
    "killed_daphne_before",
    "kill -9 of daphne before the answer, one connection",
    "daphne",
    "curl",
    lambda lab, host: daphne(lab, host),
    "/slow/3",
    n=1,
    ok=1,
)
killcase(
    "killed_thin_before",
    "kill -9 of thin: requests wait behind one slow one",
    "thin",
    "curl",
    lambda lab, host: thin(lab, host),
    "/slow/2",
    n=3,
)
killcase(
    "killed_jetty_stopped",
    "SIGSTOPped jetty with queued requests, kill -9, 8 ms each way",
    "jetty",
    "curl",
    lambda lab, host: jetty(lab, host, 20000),
    "/x",
    okpath="/x",
    stop=True,
    n=3,
    wired=0.008,
)
killcase(
    "killed_tornado_drip_delay",
    "kill -9 of tornado mid-answer, 15 ms each way",
    "tornado",
    "curl",
    lambda lab, host: tornado(lab, host),
    "/drip/60/50/3000",
    wired=0.015,
)
killcase(
    "killed_aiohttp_upload",
    "kill -9 of aiohttp while it waits for the rest of slow uploads",
    "aiohttp",
    "go",
    lambda lab, host: aiohttpd(lab, host, size=10**9),
    "/slow/3",
    client="go",
    post=200000,
    n=3,
)
killcase(
    "killed_haproxy_proxying",
    "kill -9 of haproxy in the middle of proxied answers of Go",
    "haproxy|go",
    "curl",
    lambda lab, host: (
        go(lab, host, port=9001),
        haproxy(lab, host, f"listen f\n bind {host.addr}:8080\n server a {host.addr}:9001\n"),
    )[1],
    "/drip/60/50/3000",
    n=3,
)
killcase(
    "killed_uwsgi_worker",
    "kill -9 of the uwsgi worker in a slow request",
    "uwsgi",
    "curl",
    lambda lab, host: uwsgi(lab, host, "--http-socket", f"{host.addr}:8080"),
    "/slow/3",
    n=2,
    only_worker=True,
)
killcase(
    "killed_gunicorn_stopped_upload",
    "SIGSTOPped gunicorn, uploads of 300 kB in its queue, kill -9 of all",
    "gunicorn",
    "curl",
    lambda lab, host: (make_body(lab), gunicorn(lab, host))[1],
    "/n/10",
    stop=True,
    post=1,
    n=3,
)


@case("killed_memcached_idle_clients", "kill -9 of memcached with idle and asking clients", "memcached", "python")
def killed_memcached_idle_clients(lab):
    host = lab.one()
    p = memcached(lab, host)
    lab.record(host)
    raw_client(lab, host, host.addr, 11211, "send:version\\r\\n", "line", "close")
    ts = [
        lab.bg(
            raw_client,
            lab,
            host,
            host.addr,
            11211,
            "send:version\\r\\n",
            "line",
            "send:set a 0 0 100\\r\\n",
            "read:1000",
            "need:1000",
        )
        for i in range(2)
    ]
    time.sleep(0.5)
    lab.killtree(p)
    for t in ts:
        t.join()
    return killed_judge(lab, (11211,))


@case(
    "killed_one_node_idle_keepalive",
    "kill -9 of node while its only connection idles after a whole answer: nobody lost anything",
    "node",
    "python",
)
def killed_one_node_idle_keepalive(lab):
    host = lab.one()
    p = node(lab, host, keepAliveTimeout=60000)
    lab.record(host)
    t = lab.bg(raw_client, lab, host, host.addr, 8080, get_step("/n/500"), "read", "wait:1", "eof", "close")
    time.sleep(0.7)
    lab.killtree(p)
    t.join()
    return lambda connection: verdict(
        "clean", ["process_killed"], None, "SIGKILL of the server while idle; no answer was lost", lost=False
    )


terminated(
    "killed_sigterm_node",
    "node without a handler gets SIGTERM in the middle of answers (a deploy): it ends at once",
    "node",
    lambda lab, host: node(lab, host),
    "/drip/40/50/2000",
)
terminated(
    "killed_sigterm_go",
    "Go without a handler gets SIGTERM before its answers, 10 ms each way",
    "go",
    lambda lab, host: go(lab, host),
    "/slow/3",
    wired=0.01,
)
terminated(
    "killed_sigabrt_java",
    "JDK HttpServer gets SIGKILL-like SIGABRT in chunked answers",
    "java com.sun.net.httpserver",
    lambda lab, host: jdk(lab, host, props=()),
    "/slow/2",
    sig=9,
)
