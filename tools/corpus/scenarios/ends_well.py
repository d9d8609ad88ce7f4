"""Connections that end well, however odd they look."""

from recipes import *


class Jitter(Wire):
    @property
    def delay(self):
        return self.__dict__["delay"] + (random.random() * 0.006 if random.random() < 0.3 else 0)

    @delay.setter
    def delay(self, server_host):
        self.__dict__["delay"] = server_host


@case(
    "clean_half_close_nc_lighttpd",
    "nc -N and ncat send a request and half-close; lighttpd and python answer after the FIN; the client reads to the end",
    "lighttpd",
    "nc|python",
)
def clean_half_close_nc_lighttpd(lab):
    host = lab.one()
    lighttpd(lab, host)
    lab.record(host)
    for i in range(3):
        lab.run(host, ["nc", "-N", host.addr, 8080], stdin=b"GET /small.txt HTTP/1.0\r\n\r\n")
    for i in range(2):
        lab.client(
            host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                host.addr,
                8080,
                "send:GET /big.bin HTTP/1.0\\r\\n\\r\\n",
                "half",
                "eof",
                "need:3000000",
            ],
        )


@case(
    "clean_half_close_node_echo",
    "a node echo server with allowHalfOpen and a Go echo server: the client sends 200 kB, half-closes, and reads the echo to EOF",
    "node|go",
    "python|nc",
)
def clean_half_close_node_echo(lab):
    host = lab.one()
    node(lab, host, raw="echo", half=True)
    go_raw(lab, host, "echo", port=8081)
    lab.record(host)
    for p in (8080, 8081):
        lab.client(
            host, [PYTHON, PROGRAMS / "raw_client.py", host.addr, p, "send:{50000*z}", "half", "eof", "need:50000"]
        )
        lab.run(host, ["nc", "-N", host.addr, p], stdin=b"hello\n" * 500)


@case(
    "clean_413_drained_apache_jetty",
    "413-like refusals after which apache (LimitRequestBody) and jetty read the rest of the upload: nothing is reset",
    "apache2 prefork|jetty",
    "curl|http.client",
)
def clean_413_drained_apache_jetty(lab):
    host = lab.one()
    apache(lab, host, "LimitRequestBody 100000\n", mpm="prefork")
    jetty(lab, host, 10000, port=8081)
    lab.record(host)
    (lab.temp / "u").write_bytes(b"u" * 200000)
    for p in (8080, 8081):
        for i in range(2):
            lab.curl(host, "-H", "Expect:", "--data-binary", f"@{lab.temp}/u", http_url(host, "/small.txt", p))
        lab.py(host, "httpclient", do="seq", url=http_url(host, "/small.txt", p), n=2, body=150000)


@case(
    "clean_methods_go_ipv6",
    "curl over IPv6 on Go: HEAD, 204, chunked with trailers, several URLs on one connection",
    "go",
    "curl|go",
)
def clean_methods_go_ipv6(lab):
    host = lab.one(True)
    a = host.addr
    host.addr = f"[{host.addr6}]"
    go(lab, host)
    lab.record(host)
    b = f"http://[{host.addr6}]:8080"
    for i in range(2):
        lab.curl(host, "-I", b + "/n/100")
        lab.curl(host, b + "/204", b + "/trail", b + "/n/5000")
        lab.curl(host, "-X", "DELETE", b + "/204")
    lab.client(host, [BUILT / "gotool", "get", "-n", "4", "-gap", "50ms", b + "/trail", b + "/204"])
    host.addr = a


@case(
    "clean_node_trailers_longpoll",
    "node: chunked with trailers, server-sent events read to the end, a long poll of 2.5 s, 204; curl --max-time 4 just makes it",
    "node",
    "curl|npm:undici",
)
def clean_node_trailers_longpoll(lab):
    host = lab.one()
    node(lab, host)
    lab.record(host)
    lab.curl(host, http_url(host, "/trail"))
    lab.curl(host, "-N", http_url(host, "/sse/8/150"))
    lab.curl(host, "--max-time", "4", http_url(host, "/slow/2.5"))
    lab.curl(host, http_url(host, "/204"), http_url(host, "/trail"))
    lab.client(
        host,
        ["node", PROGRAMS / "node_client.js", "fetch", json.dumps(dict(url=http_url(host, "/trail"), n=3, gap=100))],
    )


@case(
    "clean_websocket_aiohttp",
    'websocket sessions with heartbeats on aiohttp: closed by the server after "bye", and by the client',
    "aiohttp",
    "websockets",
)
def clean_websocket_aiohttp(lab):
    host = lab.one()
    aiohttpd(lab, host)
    lab.record(host)
    lab.run(
        host,
        [
            PYTHON,
            "-c",
            f"""
import asyncio,websockets
async def m():
    for who in ('s','c','s'):
        async with websockets.connect('ws://{host.addr}:8080/ws',proxy=None) as w:
            for i in range(4): await w.send('m%d'%i); await w.recv(); await asyncio.sleep(.4)
            if who=='s':
                await w.send('bye')
                try: await w.recv()
                except websockets.ConnectionClosed: pass
asyncio.run(m())""",
        ],
    )
    if lab.code:
        raise Failed(lab.err)


@case(
    "clean_websocket_uvicorn",
    "websocket echo sessions on uvicorn, closed by either side with the closing handshake",
    "uvicorn",
    "websockets",
)
def clean_websocket_uvicorn(lab):
    host = lab.one()
    uvicorn(lab, host)
    lab.record(host)
    lab.run(
        host,
        [
            PYTHON,
            "-c",
            f"""
import asyncio,websockets
async def m():
    for who in 'scsc':
        async with websockets.connect('ws://{host.addr}:8080/x',proxy=None) as w:
            for i in range(3): await w.send('m%d'%i); await w.recv()
            if who=='s':
                await w.send('bye')
                try: await w.recv()
                except websockets.ConnectionClosed: pass
asyncio.run(m())""",
        ],
    )
    if lab.code:
        raise Failed(lab.err)


@case(
    "clean_idle_close_by_server",
    "gunicorn gthread, puma and uvicorn close idle connections; the client pool notices and opens new ones",
    "gunicorn|puma|uvicorn",
    "urllib3|requests",
)
def clean_idle_close_by_server(lab):
    host = lab.one()
    gunicorn(lab, host, "-k", "gthread", "--threads", "4", "--keep-alive", "1")
    puma(lab, host, "persistent_timeout 1", 8081)
    uvicorn(lab, host, "--timeout-keep-alive", "1", port=8082)
    lab.record(host)
    for p in (8080, 8081, 8082):
        lab.py(host, "urllib3", do="seq", url=http_url(host, "/n/300", p), n=2, gap=3.2, workers=2)
    lab.py(host, "requests", do="seq", url=http_url(host, "/n/300", 8082), n=2, gap=2.2, workers=2)


@case(
    "clean_pool_closes_requests",
    "requests and httpx sessions against several python servers, closed by the client while idle",
    "waitress|hypercorn|cheroot",
    "requests|httpx",
)
def clean_pool_closes_requests(lab):
    host = lab.one()
    waitress(lab, host)
    hypercorn(lab, host, port=8081)
    cheroot(lab, host, port=8082)
    lab.record(host)
    for p in (8080, 8081, 8082):
        lab.py(host, "requests", do="seq", url=http_url(host, "/n/2000", p), n=3, gap=0.1, workers=2)
        lab.py(host, "httpx", do="seq", url=http_url(host, "/n/9000", p), n=3, gap=0.05, workers=2, hold=0.3)


@case(
    "clean_http10_wsgiref",
    "HTTP/1.0 servers that end the answer by closing: wsgiref, bottle, http.server, php -S",
    "python|bottle|php",
    "curl|wget|ab",
)
def clean_http10_wsgiref(lab):
    host = lab.one()
    wsgiref(lab, host)
    bottle(lab, host, 8081)
    lab.start(host, ["python3", "-m", "http.server", "--bind", host.addr, "8082", "-d", PROGRAMS], port=8082)
    php_builtin(lab, host, 8083)
    lab.record(host)
    for p, u in ((8080, "/n/70000"), (8081, "/x"), (8082, "/wsgi_app.py"), (8083, "/n/70000")):
        lab.curl(host, http_url(host, u, p))
        lab.curl(host, "-0", http_url(host, u, p))
        lab.run(host, ["wget", "-q", "-O", "/dev/null", http_url(host, u, p)])
        lab.run(host, ["ab", "-q", "-n", "4", "-c", "2", http_url(host, u, p)])


@case(
    "clean_pipelining",
    "pipelined GETs in one write that are all answered: nginx, node, Go; then the client closes",
    "nginx|node|go",
    "python",
)
def clean_pipelining(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host))
    node(lab, host, port=8081)
    go(lab, host, port=8082)
    lab.record(host)
    for p, u in ((8080, "/small.txt"), (8081, "/n/2000"), (8082, "/n/2000")):
        g = f"GET {u} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
        for i in range(2):
            lab.client(
                host,
                [
                    PYTHON,
                    PROGRAMS / "raw_client.py",
                    host.addr,
                    p,
                    "send:" + g * 4,
                    "read",
                    "read",
                    "read",
                    "read",
                    "wait:.1",
                    "send:" + g,
                    "read",
                    "close",
                ],
            )


@case(
    "clean_upload_expect100",
    "curl uploads 2 MB with Expect: 100-continue to gunicorn, node, Go, jdk: 100, then 200",
    "gunicorn|node|go|java com.sun.net.httpserver",
    "curl",
)
def clean_upload_expect100(lab):
    host = lab.one()
    gunicorn(lab, host)
    node(lab, host, port=8081)
    go(lab, host, port=8082)
    jdk(lab, host, port=8083)
    lab.record(host, snap=200)
    (lab.temp / "u").write_bytes(b"u" * 1200000)
    for p in (8080, 8081, 8082, 8083):
        lab.curl(host, "-H", "Expect: 100-continue", "-T", str(lab.temp / "u"), http_url(host, "/n/10", p))


@case(
    "clean_tls_node_python",
    "TLS to node, close_notify both ways: http.client, httpx, node agent; downloads and uploads",
    "node",
    "httpx|http.client|node",
)
def clean_tls_node_python(lab):
    host = lab.one()
    node(lab, host, tls=str(BUILT / "tls"))
    lab.record(host)
    u = f"https://{host.addr}:8080/n/40000"
    lab.py(host, "httpx", do="seq", url=u, n=3, workers=2)
    lab.py(host, "httpclient", do="seq", url=u, n=2, body=30000, workers=2)
    lab.client(host, ["node", PROGRAMS / "node_client.js", "agent", json.dumps(dict(url=u, n=3, workers=2))])


@case("clean_tls_go_to_go", "Go over TLS to Go, keep-alive and one by one", "go", "go|curl")
def clean_tls_go_to_go(lab):
    host = lab.one()
    go(lab, host, "-cert", BUILT / "tls")
    lab.record(host)
    u = f"https://{host.addr}:8080/n/20000"
    lab.client(host, [BUILT / "gotool", "get", "-n", "4", "-w", "2", "-gap", "50ms", u])
    lab.client(host, [BUILT / "gotool", "get", "-n", "3", "-close", u])
    lab.curl(host, "--http1.1", u)
    lab.curl(host, u, u)


@case(
    "clean_health_checks",
    "probes that connect and close at once (nc -z, haproxy tcp check, python connect/close) on nginx, redis, gunicorn",
    "nginx|redis|gunicorn|haproxy",
    "nc|python",
)
def clean_health_checks(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host))
    redis(lab, host)
    gunicorn(lab, host, port=8081)
    lab.record(host)
    for p in (8080, 6379, 8081):
        for i in range(2):
            lab.run(host, ["nc", "-z", host.addr, p])
            lab.client(host, [PYTHON, PROGRAMS / "raw_client.py", host.addr, p, "connect", "wait:.05", "close"])
    haproxy(
        lab,
        host,
        "".join(
            f"listen c{p}\n mode tcp\n bind {host.addr}:{q}\n server a {host.addr}:{p} check inter 500ms\n"
            for p, q in ((8080, 9001), (6379, 9002))
        ),
        port=9001,
    )
    time.sleep(1.4)

    def judge(connection):
        said = default_judge(connection)
        if first_reset(connection) and first_reset(connection)["side"] == "client":
            said = verdict(
                "linger_zero_abort" if first_reset(connection)["reason"] == "TCP_STATE" else "late_data_after_close",
                ["clean", "client_abort"],
                "client",
                reason_of(connection),
                lost=False,
            )
        return said

    return judge


@case(
    "clean_redis_pipeline_py",
    "redis-py: pipelines, a blocking BLPOP of 2 s, pub/sub with pauses, then QUIT-less close",
    "redis",
    "redis",
)
def clean_redis_pipeline_py(lab):
    host = lab.one()
    redis(lab, host)
    lab.record(host)
    lab.run(
        host,
        [
            PYTHON,
            "-c",
            f"""
import redis,time,threading
r=redis.Redis('{host.addr}',6379)
p=r.pipeline()
for i in range(300): p.set('k%d'%i,'v'*50)
p.execute(); print(r.blpop('none',2))
s=r.pubsub(); s.subscribe('c')
def pub():
    q=redis.Redis('{host.addr}',6379)
    for i in range(3): time.sleep(.7); q.publish('c','m%d'%i)
    q.close()
t=threading.Thread(target=pub);t.start();n=0
for m in s.listen():
    if m['type']=='message':
        n+=1
        if n==3: break
t.join(); s.close(); r.close()""",
        ],
    )
    if lab.code:
        raise Failed(lab.err)


@case(
    "clean_psql_sessions",
    "psql sessions: queries, COPY, pg_sleep; the client says Terminate and closes",
    "postgresql",
    "psql|psycopg2-binary",
)
def clean_psql_sessions(lab):
    host = lab.one()
    postgres(lab, host)
    lab.record(host)
    for q in (
        "select 1",
        "select pg_sleep(1.5)",
        "copy (select generate_series(1,20000)) to stdout",
        "select * from nosuch",
    ):
        lab.run(host, ["psql", "-h", host.addr, "-U", "postgres", "-c", q])
    lab.run(
        host,
        [
            PYTHON,
            "-c",
            f"import psycopg2,time\nc=psycopg2.connect(host='{host.addr}',user='postgres',dbname='postgres')\nk=c.cursor()\nfor i in range(4): k.execute('select %s',(i,)); k.fetchall(); time.sleep(.4)\nc.close()",
        ],
    )


@case(
    "clean_killed_client_after_end",
    "clients that get their whole answers and are killed (-9) while their connections idle",
    "nginx|node",
    "python",
)
def clean_killed_client_after_end(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host))
    node(lab, host, port=8081)
    lab.record(host)
    ps = [
        lab.start(
            host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                host.addr,
                p,
                f"send:GET {u} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
                "read",
                "wait:30",
            ],
        )
        for p, u in ((8080, "/mid.bin"), (8081, "/n/5000"), (8080, "/small.txt"))
    ]
    time.sleep(0.8)
    for p in ps:
        lab.stop(p, 9)
        time.sleep(0.05)
    time.sleep(0.3)
    return lambda connection: verdict("clean") if not connection.resets else default_judge(connection)


@case(
    "clean_memcached_pymemcache",
    "memcached: sets, gets, large values, quit and plain close",
    "memcached",
    "pymemcache|nc",
)
def clean_memcached_pymemcache(lab):
    host = lab.one()
    memcached(lab, host)
    lab.record(host)
    lab.run(
        host,
        [
            PYTHON,
            "-c",
            f"from pymemcache.client.base import Client\nfor i in range(3):\n c=Client(('{host.addr}',11211)); c.set('a','x'*90000); c.get('a'); c.stats(); (c.quit if i else c.close)()",
        ],
    )
    lab.run(host, ["nc", "-N", host.addr, 11211], stdin=b"set k 0 0 5\r\nhello\r\nget k\r\nquit\r\n")


@case(
    "clean_time_wait_reuse_node",
    "300 short connections from 12 client ports to node and thin: 4-tuples come again during TIME_WAIT",
    "node|thin",
    "ab",
)
def clean_time_wait_reuse_node(lab):
    client_host, server_host, wire = lab.wired(0.002)
    lab.tol = 0.004
    node(lab, server_host)
    thin(lab, server_host, port=8081)
    lab.sysctl(client_host, "net/ipv4/ip_local_port_range", '"40000 40011"')
    lab.sysctl(client_host, "net/ipv4/tcp_tw_reuse", 1)
    lab.record(server_host)
    for i in range(3):
        lab.run(client_host, ["ab", "-q", "-n", "20", "-c", "3", http_url(server_host, "/n/300")])
        lab.run(client_host, ["ab", "-q", "-n", "20", "-c", "3", http_url(server_host, "/n/300", 8081)])
        time.sleep(1.1)


@case(
    "clean_lossy_upload_go",
    "uploads and downloads of 400 kB over a link of 10 ms that loses 3 of 100 segments: Go, retransmissions only",
    "go",
    "curl|go",
)
def clean_lossy_upload_go(lab):
    client_host, server_host, wire = lab.wired(0.01, loss=0.03)
    go(lab, server_host)
    lab.record(server_host)
    (lab.temp / "u").write_bytes(b"u" * 400000)
    for i in range(2):
        lab.curl(client_host, "-H", "Expect:", "--data-binary", f"@{lab.temp}/u", http_url(server_host, "/n/100"))
        lab.curl(client_host, http_url(server_host, "/n/400000"))
    lab.client(client_host, [BUILT / "gotool", "get", "-n", "4", "-post", "30000", http_url(server_host, "/n/30000")])


@case(
    "clean_slow_reader_nginx",
    "curl --limit-rate reads slowly with zero windows, to the end; -i any capture",
    "nginx",
    "curl",
)
def clean_slow_reader_nginx(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host))
    lab.record(host, iface="any", where="-i any", expr="tcp")
    for i in range(2):
        lab.curl(host, "--limit-rate", "900k", http_url(host, "/big.bin"))
    lab.client(
        host,
        [
            PYTHON,
            PROGRAMS / "raw_client.py",
            host.addr,
            8080,
            "rcvbuf:4096",
            "send:GET /mid.bin HTTP/1.0\\r\\n\\r\\n",
            "wait:1.5",
            "eof",
            "need:60000",
        ],
    )


@case("clean_ssh_session", "ssh sessions with commands and idle pauses, closed by the client", "openssh", "openssh")
def clean_ssh_session(lab):
    host = lab.one()
    d = lab.temp
    command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d / "hk")
    command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d / "ck")
    os.makedirs("/run/sshd", exist_ok=True)
    os.chmod(d, 0o755)
    shutil.copy(d / "ck.pub", d / "ak")
    lab.start(
        host,
        [
            "/usr/sbin/sshd",
            "-D",
            "-e",
            "-f",
            "/dev/null",
            "-h",
            d / "hk",
            "-o",
            f"ListenAddress={host.addr}:2222",
            "-o",
            f"AuthorizedKeysFile={d}/ak",
            "-o",
            "StrictModes=no",
            "-o",
            "UsePAM=no",
            "-o",
            "PermitRootLogin=yes",
            "-o",
            f"PidFile={d}/pid",
        ],
        port=2222,
    )
    lab.record(host)
    for cmd in ("echo hi", "sleep 1.5; seq 1 20000", "head -c 300000 /dev/zero"):
        lab.run(
            host,
            [
                "ssh",
                "-F",
                "none",
                "-i",
                d / "ck",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "BatchMode=yes",
                "-p",
                "2222",
                f"root@{host.addr}",
                cmd,
            ],
        )
    if lab.code:
        raise Failed(lab.err)


@case(
    "clean_fpm_nginx_apache",
    "php-fpm behind nginx (new connection each, and keepalive) and apache mod_proxy_fcgi; bodies read and not",
    "php php-fpm|nginx|apache2",
    "curl|requests",
)
def clean_fpm_nginx_apache(lab):
    host = lab.one()
    php_fpm(lab, host)
    loc = "include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME %s/i.php; fastcgi_pass %s;"
    nginx(
        lab,
        host,
        f"upstream k {{ server {host.addr}:9000; keepalive 1; }} "
        + nginx_site(host, loc % (lab.php, f"{host.addr}:9000"))
        + nginx_site(host, "fastcgi_keep_conn on; " + loc % (lab.php, "k"), port=8081),
    )
    apache(
        lab,
        host,
        f"ProxyPassMatch ^/(.*\\.php)$ fcgi://{host.addr}:9000{lab.php}/$1\n",
        port=8082,
        modules=("proxy", "proxy_fcgi"),
    )
    lab.record(host)
    for p in (8080, 8081, 8082):
        for q in ("", "?k=big", "?k=body"):
            lab.curl(host, http_url(host, "/i.php" + q, p))
            lab.curl(host, "-d", "x" * 3000, http_url(host, "/i.php" + q, p))

    def judge(connection):
        said = default_judge(connection)
        return said

    return judge


@case(
    "clean_chunked_hypercorn_daphne",
    "chunked answers and downloads of hypercorn and daphne to curl, aiohttp and requests; tcpdump -s 96",
    "hypercorn|daphne",
    "curl|aiohttp|requests",
)
def clean_chunked_hypercorn_daphne(lab):
    host = lab.one()
    hypercorn(lab, host)
    daphne(lab, host, port=8081)
    lab.record(host, snap=96, where="loopback, tcpdump -s 96")
    for p in (8080, 8081):
        lab.curl(host, http_url(host, "/chunk/10", p), http_url(host, "/204", p))
        lab.py(host, "aiohttp", do="seq", url=http_url(host, "/chunk/6", p), n=3, workers=2)
        lab.py(host, "requests", do="seq", url=http_url(host, "/n/30000", p), n=3)


@case(
    "clean_wrk_go_end_of_run",
    "wrk -d 1 -c 6 on Go, and hey -n 200 on node: what wrk has in flight at the end is its own business",
    "go|node",
    "wrk|hey",
)
def clean_wrk_go_end_of_run(lab):
    host = lab.one()
    go(lab, host)
    node(lab, host, port=8081)
    lab.record(host, snap=128)
    lab.run(host, ["wrk", "-d", "1", "-c", "4", "-t", "1", http_url(host, "/slow/0.01")])
    lab.run(host, ["hey", "-n", "200", "-c", "4", http_url(host, "/n/100", 8081)])

    def judge(connection):
        said = default_judge(connection)
        if said["label"] == "clean" and connection.sport == 8080:
            said["also_ok"] = ["client_abort"]
        elif connection.sport == 8080:
            said = verdict("client_abort", ["clean", "late_data_after_close"], "client", reason_of(connection))
        return said

    return judge


@case(
    "clean_tomcat_urllib3_jdk",
    "tomcat 10 and JDK HttpServer with urllib3, JDK HttpClient, siege",
    "tomcat|java",
    "urllib3|java|siege",
)
def clean_tomcat_urllib3_jdk(lab):
    host = lab.one()
    tomcat(lab, host, 20000)
    jdk(lab, host, port=8081)
    lab.record(host)
    for p in (8080, 8081):
        lab.py(host, "urllib3", do="seq", url=http_url(host, "/x", p), n=4, gap=0.05, workers=2)
        lab.client(host, ["java", "-cp", BUILT, "JClient", http_url(host, "/x", p), "POST", "0.1,0.4"])
        lab.run(host, ["siege", "-q", "-r", "3", "-c", "2", http_url(host, "/x", p)])


@case(
    "clean_router_any_duplicates",
    "downloads and keep-alive of node and nginx over a router, captured with -i any on the router: every segment twice",
    "node|nginx",
    "curl|requests",
)
def clean_router_any_duplicates(lab):
    client_host, router_host, server_host = lab.routed()
    node(lab, server_host)
    nginx(lab, server_host, nginx_site(server_host, port=8081), port=8081)
    lab.record(router_host, iface="any", where="the router, -i any")
    for i in range(2):
        lab.curl(client_host, http_url(server_host, "/n/60000"), http_url(server_host, "/n/100"))
        lab.curl(client_host, http_url(server_host, "/mid.bin", 8081))
        lab.py(client_host, "requests", do="seq", url=http_url(server_host, "/small.txt", 8081), n=3, gap=0.2)


@case(
    "clean_midstream_capture",
    "the capture begins in the middle of keep-alive sessions and downloads: no SYN is seen",
    "go|uvicorn",
    "http.client|curl",
)
def clean_midstream_capture(lab):
    host = lab.one()
    go(lab, host)
    uvicorn(lab, host, port=8081)
    ts = [
        lab.bg(lab.py, host, "httpclient", do="seq", url=http_url(host, "/n/300", p), n=7, gap=0.4)
        for p in (8080, 8081)
    ] + [lab.bg(lab.curl, host, http_url(host, "/drip/40/50/2000"))]
    time.sleep(1)
    lab.record(host)
    for t in ts:
        t.join()


@case(
    "clean_reordered_path",
    "a path of 8 to 14 ms that reorders segments: uploads and downloads are complete",
    "gunicorn|node",
    "curl|requests",
)
def clean_reordered_path(lab):
    client_host, server_host, wire = lab.wired(0.008)
    rng = random.Random(5)
    wire.__class__ = Jitter
    wire.rng2 = rng
    gunicorn(lab, server_host, "-k", "gthread", "--threads", "4")
    node(lab, server_host, port=8081)
    lab.record(client_host, where="the client's end")
    (lab.temp / "u").write_bytes(b"u" * 300000)
    for p in (8080, 8081):
        lab.curl(client_host, http_url(server_host, "/n/200000", p))
        lab.curl(client_host, "-H", "Expect:", "--data-binary", f"@{lab.temp}/u", http_url(server_host, "/n/10", p))
        lab.py(client_host, "requests", do="seq", url=http_url(server_host, "/n/5000", p), n=4)


@case(
    "clean_blackout_recovers",
    "the path drops everything for 1.2 s in the middle of answers and uploads, then works again: retransmissions, all complete",
    "uvicorn|go",
    "curl",
)
def clean_blackout_recovers(lab):
    client_host, server_host, wire = lab.wired(0.005)
    uvicorn(lab, server_host)
    go(lab, server_host, port=8081)
    lab.record(server_host, where="the server's end")
    (lab.temp / "u").write_bytes(b"u" * 300000)
    ts = [
        lab.bg(lab.curl, client_host, http_url(server_host, "/drip/40/50/2000")),
        lab.bg(lab.curl, client_host, http_url(server_host, "/drip/40/50/2000", 8081)),
        lab.bg(
            lab.curl,
            client_host,
            "--limit-rate",
            "150k",
            "-H",
            "Expect:",
            "--data-binary",
            f"@{lab.temp}/u",
            http_url(server_host, "/n/10", 8081),
        ),
    ]
    time.sleep(0.8)
    wire.drop = lambda p, s: True
    time.sleep(1.2)
    wire.drop = None
    for t in ts:
        t.join()


@case(
    "clean_first_syn_lost",
    "the first SYN (and once the SYN-ACK) is lost: connections come up after a second",
    "lighttpd|redis",
    "curl|python",
)
def clean_first_syn_lost(lab):
    client_host, server_host, wire = lab.wired(0.005)
    lighttpd(lab, server_host)
    redis(lab, server_host)
    lab.record(client_host, where="the client's end")
    seen = set()

    def drop(p, s):
        ih = (p[0] & 15) * 4
        fl = p[ih + 13]
        k = (p[ih : ih + 4], s)
        if fl & 2 and k not in seen and (s or p[ih + 3] % 2):
            seen.add(k)
            return True
        return False

    wire.drop = drop
    for i in range(2):
        lab.curl(client_host, http_url(server_host, "/small.txt"))
        raw_client(lab, client_host, server_host.addr, 6379, "send:PING\\r\\n", "line", "close")


@case(
    "clean_backlog_recovers",
    "node with backlog 2 stopped for a second: SYNs are dropped and resent, then all is answered",
    "node",
    "curl",
)
def clean_backlog_recovers(lab):
    client_host, server_host, wire = lab.wired(0.005)
    p = node(lab, server_host, backlog=2)
    lab.record(server_host, where="the server's end")
    for q in [p.pid] + children(p.pid):
        os.kill(q, 19)
    ts = [lab.bg(lab.curl, client_host, "--max-time", "15", http_url(server_host, "/n/100")) for i in range(6)]
    time.sleep(0.7)
    for q in [p.pid] + children(p.pid):
        os.kill(q, 18)
    for t in ts:
        t.join()
    return lambda connection: (
        verdict("clean", ["backlog_overflow"], None, lost=lost_by(connection))
        if not connection.resets and not lost_by(connection)
        else default_judge(connection)
    )


@case(
    "clean_server_408_idle",
    "clients connect and send nothing, or half a request: haproxy, apache and node answer 408 or just close; the client closes",
    "haproxy|apache2|node",
    "python",
)
def clean_server_408_idle(lab):
    host = lab.one()
    haproxy(
        lab, host, f"frontend f\n bind {host.addr}:8080\n timeout http-request 600ms\n http-request return status 200\n"
    )
    apache(lab, host, "RequestReadTimeout header=1\n", port=8081, modules=("reqtimeout",))
    node(lab, host, port=8082, keepAliveTimeout=500)
    lab.record(host)
    ts = []
    for p in (8080, 8081, 8082):
        ts += [
            lab.bg(
                raw_client,
                lab,
                host,
                host.addr,
                p,
                "connect",
                "timeout:8",
                *([] if p != 8082 else [get_step("/n/10"), "read"]),
                "eof",
                "wait:.2",
                "close",
            ),
            lab.bg(
                raw_client,
                lab,
                host,
                host.addr,
                p,
                "send:GET / HT" if p != 8082 else get_step("/n/10"),
                *(["read"] if p == 8082 else []),
                "timeout:8",
                "eof",
                "close",
            ),
        ]
    for t in ts:
        t.join()


@case(
    "clean_bad_requests",
    "malformed requests: 400 and close by nginx, node, Go, gunicorn, puma; the client reads to the end",
    "nginx|node|go|gunicorn|puma",
    "python",
)
def clean_bad_requests(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host))
    node(lab, host, port=8081)
    go(lab, host, port=8082)
    gunicorn(lab, host, port=8083)
    puma(lab, host, "", 8084)
    lab.record(host)
    for p in range(8080, 8085):
        raw_client(lab, host, host.addr, p, "send:GARBAGE\\r\\n\\r\\n", "eof", "close")
        raw_client(
            lab, host, host.addr, p, "send:GET / HTTP/1.1\\r\\nBad Header\\r\\nHost: a\\r\\n\\r\\n", "eof", "close"
        )


@case(
    "clean_tls_python_unwrap",
    "python ssl client that closes with unwrap() on both sides: nginx, haproxy over TLS",
    "nginx|haproxy",
    "python",
)
def clean_tls_python_unwrap(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, ssl=True))
    haproxy(
        lab,
        host,
        f"frontend f\n bind {host.addr}:8081 ssl crt {BUILT}/tls.pem\n http-request return status 200 content-type text/plain string hello\n",
        port=8081,
    )
    lab.record(host)
    o = lab.run(
        host,
        [
            PYTHON,
            "-c",
            f"""
import socket,ssl,time,json
for p in (8080,8081)*3:
    c=ssl._create_unverified_context(); s=socket.create_connection(('{host.addr}',p)); port=s.getsockname()[1]; t=time.time(); x=c.wrap_socket(s); x.send(b'GET /small.txt HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n')
    n=0
    while True:
        d=x.recv(65536)
        if not d: break
        n+=len(d)
    try: x.unwrap().close()
    except (OSError,ssl.SSLError): x.close()
    print(json.dumps(dict(port=port,t=t,client='python',status=200,bytes=n,error=None,ok=True)))
""",
        ],
    )
    lab.take(o)


@case(
    "clean_keepalive_requests_obeyed",
    "nginx keepalive_requests 3 and apache MaxKeepAliveRequests 3, node maxRequestsPerSocket 3: pools obey Connection: close",
    "nginx|apache2|node",
    "requests|urllib3|node",
)
def clean_keepalive_requests_obeyed(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, pre="keepalive_requests 3;"))
    apache(lab, host, "MaxKeepAliveRequests 3\n", port=8081)
    node(lab, host, port=8082, maxRequestsPerSocket=3)
    lab.record(host)
    for p, u in ((8080, "/small.txt"), (8081, "/small.txt"), (8082, "/n/200")):
        lab.py(host, "requests", do="seq", url=http_url(host, u, p), n=8, gap=0.02)
        lab.client(
            host, ["node", PROGRAMS / "node_client.js", "agent", json.dumps(dict(url=http_url(host, u, p), n=8))]
        )


@case(
    "clean_simultaneous_close",
    "both ends close at the same moment over 20 ms: a line server and its client",
    "go|node",
    "python",
)
def clean_simultaneous_close(lab):
    client_host, server_host, wire = lab.wired(0.02)
    lab.start(
        server_host,
        [
            PYTHON,
            "-c",
            f"""
import socket,threading,time
s=socket.create_server(('{server_host.addr}',8080))
def f(c):
    d=c.recv(100); c.sendall(b'ok\\n'); time.sleep(.3); c.close()
while True: threading.Thread(target=f,args=(s.accept()[0],)).start()""",
        ],
        port=8080,
    )
    lab.record(client_host, where="the client's end")
    lab.servers = ["python"]
    for w_ in (0.25, 0.26, 0.255, 0.5):
        raw_client(lab, client_host, server_host.addr, 8080, "send:hi\\n", "line", f"wait:{w_}", "close")


@case(
    "clean_uwsgi_lighttpd_fcgi",
    "nginx uwsgi_pass to uwsgi, lighttpd FastCGI to php-fpm, with and without bodies",
    "nginx|uwsgi|lighttpd|php php-fpm",
    "curl",
)
def clean_uwsgi_lighttpd_fcgi(lab):
    host = lab.one()
    uwsgi(lab, host, "--uwsgi-socket", f"{host.addr}:9001", port=9001)
    nginx(lab, host, nginx_site(host, f"include /etc/nginx/uwsgi_params; uwsgi_pass {host.addr}:9001;"))
    php_fpm(lab, host)
    lighttpd(
        lab,
        host,
        f'fastcgi.server=("/"=>(("host"=>"{host.addr}","port"=>9000,"check-local"=>"disable","docroot"=>"{lab.php}")))\n',
        8081,
        ("mod_fastcgi",),
    )
    lab.record(host)
    for i in range(2):
        lab.curl(host, http_url(host, "/n/4000"))
        lab.curl(host, "-d", "x" * 5000, http_url(host, "/n/30"))
        lab.curl(host, http_url(host, "/i.php", 8081))
        lab.curl(host, "-d", "x" * 900, http_url(host, "/i.php?k=body", 8081))
        lab.curl(host, "-d", "x" * 900, http_url(host, "/ignore/70000"))


@case(
    "clean_curl_ranges_304_apache",
    "curl ranges, conditional GETs (304), HEAD, redirects to itself on apache worker and lighttpd",
    "apache2 worker|lighttpd",
    "curl",
)
def clean_curl_ranges_304_apache(lab):
    host = lab.one()
    apache(lab, host, "", mpm="worker")
    lighttpd(lab, host, port=8081)
    lab.record(host)
    for p in (8080, 8081):
        lab.curl(host, "-r", "100-2000", http_url(host, "/big.bin", p))
        lab.curl(host, "-z", "2030-01-01", http_url(host, "/small.txt", p))
        lab.curl(host, "-I", http_url(host, "/big.bin", p), http_url(host, "/small.txt", p))
        lab.curl(host, "-C", "3200000", http_url(host, "/big.bin", p))
        lab.curl(host, http_url(host, "/nosuch", p))


@case(
    "clean_server_closes_client_lingers",
    "the server answers with Connection: close and FIN; the client keeps its half open for two seconds and then closes",
    "unicorn|gunicorn",
    "python",
)
def clean_server_closes_client_lingers(lab):
    host = lab.one()
    unicorn(lab, host)
    gunicorn(lab, host, port=8081)
    lab.record(host)
    ts = [
        lab.bg(raw_client, lab, host, host.addr, p, get_step("/n/9000"), "read", "eof", f"wait:{w}", "close")
        for p in (8080, 8081)
        for w in (0.5, 2)
    ]
    for t in ts:
        t.join()


@case(
    "clean_mtu_small_ipv4",
    "a link of 6 ms with MTU 600: many small segments, downloads by wget and Go",
    "puma|hypercorn",
    "wget|go",
)
def clean_mtu_small_ipv4(lab):
    client_host, server_host, wire = lab.wired(0.006, mtu=600)
    puma(lab, server_host)
    hypercorn(lab, server_host, port=8081)
    lab.record(server_host, where="the server's end")
    for p in (8080, 8081):
        lab.run(client_host, ["wget", "-q", "-O", "/dev/null", http_url(server_host, "/n/90000", p)])
        lab.client(
            client_host, [BUILT / "gotool", "get", "-n", "3", "-gap", "100ms", http_url(server_host, "/n/20000", p)]
        )


@case(
    "clean_granian_hypercorn_h2load",
    "HTTP/1.1 by h2load --h1 and wrk-like loads on granian, puma, caddy",
    "granian",
    "h2load|ab",
)
def clean_granian_hypercorn_h2load(lab):
    host = lab.one()
    granian(lab, host)
    lab.record(host, snap=200)
    lab.run(host, ["h2load", "--h1", "-n", "40", "-c", "4", http_url(host, "/n/500")])
    lab.run(host, ["ab", "-q", "-k", "-n", "60", "-c", "3", http_url(host, "/n/500")])


@case(
    "clean_axios_got_node",
    "axios and got with keep-alive agents to express and fastify",
    "express|fastify|node",
    "npm:axios|npm:got",
)
def clean_axios_got_node(lab):
    host = lab.one()
    node(lab, host, express=1)
    node(lab, host, port=8081, fastify=1)
    lab.record(host)
    for p in (8080, 8081):
        lab.run(
            host,
            [
                "node",
                "-e",
                f"const a=require('axios'),http=require('http'),got=require('got');const ag=new http.Agent({{keepAlive:true}});(async()=>{{for(let i=0;i<4;i++)await a.get('http://{host.addr}:{p}/x',{{httpAgent:ag}});for(let i=0;i<3;i++)await got('http://{host.addr}:{p}/y');await a.post('http://{host.addr}:{p}/z','x'.repeat(5000),{{httpAgent:ag,headers:{{'Content-Type':'text/plain'}}}});ag.destroy()}})()",
            ],
        )
    if lab.code:
        raise Failed(lab.err)


@case("clean_curl_parallel_thin", "curl -Z with many URLs to thin, puma and lighttpd; multi-range", "thin|puma", "curl")
def clean_curl_parallel_thin(lab):
    host = lab.one()
    thin(lab, host)
    puma(lab, host, "", 8081)
    lab.record(host)
    for p in (8080, 8081):
        lab.curl(host, "-Z", *[x for i in range(8) for x in ("-o", "/dev/null", http_url(host, f"/n/{1000 + i}", p))])


@case(
    "clean_nc_chat_line_server",
    "a line protocol server and nc sessions with long idle pauses, either side says goodbye",
    "go",
    "nc|python",
)
def clean_nc_chat_line_server(lab):
    host = lab.one()
    go_raw(lab, host, "line")
    lab.record(host)
    ts = [
        lab.bg(
            raw_client,
            lab,
            host,
            host.addr,
            8080,
            "send:hello\\n",
            "line",
            f"wait:{w}",
            "send:again\\n",
            "line",
            "wait:.2",
            "close",
        )
        for w in (0.5, 2, 3.5)
    ]
    for t in ts:
        t.join()


@case(
    "clean_postgres_pgbench",
    "pgbench -C (a connection for each transaction) and a long session",
    "postgresql",
    "pgbench",
)
def clean_postgres_pgbench(lab):
    host = lab.one()
    postgres(lab, host)
    lab.run(host, ["pgbench", "-i", "-q", "-h", host.addr, "-U", "postgres", "postgres"])
    lab.record(host)
    lab.run(host, ["pgbench", "-C", "-S", "-t", "6", "-c", "3", "-h", host.addr, "-U", "postgres", "postgres"])
    lab.run(host, ["pgbench", "-S", "-t", "40", "-c", "2", "-h", host.addr, "-U", "postgres", "postgres"])


@case(
    "clean_http_server_downloads_loss",
    "wget and httpx downloads from werkzeug and tornado over 12 ms with 2 % loss",
    "werkzeug|tornado",
    "wget|httpx",
)
def clean_http_server_downloads_loss(lab):
    client_host, server_host, wire = lab.wired(0.012, loss=0.02)
    werkzeug(lab, server_host)
    tornado(lab, server_host, port=8081)
    lab.record(client_host, where="the client's end")
    for p in (8080, 8081):
        lab.run(client_host, ["wget", "-q", "-O", "/dev/null", http_url(server_host, "/n/150000", p)])
        lab.py(client_host, "httpx", do="seq", url=http_url(server_host, "/n/30000", p), n=3)


@case(
    "clean_head_and_no_body",
    "HEAD, 204, 304, OPTIONS to gunicorn, waitress, werkzeug, puma on kept connections",
    "gunicorn|waitress|werkzeug",
    "http.client|curl",
)
def clean_head_and_no_body(lab):
    host = lab.one()
    gunicorn(lab, host, "-k", "gthread", "--threads", "4")
    waitress(lab, host, port=8081)
    werkzeug(lab, host, 8082)
    lab.record(host)
    for p in (8080, 8081, 8082):
        lab.curl(host, "-I", http_url(host, "/n/500", p), http_url(host, "/n/900", p))
        lab.py(
            host,
            "httpclient",
            do="seq",
            url=[http_url(host, "/204", p), http_url(host, "/304", p), http_url(host, "/n/40", p)],
            n=6,
            gap=0.02,
        )
        lab.py(host, "httpclient", do="seq", url=http_url(host, "/n/40", p), n=2, method="OPTIONS")


@case(
    "clean_expect100_refused_then_ok",
    "curl Expect: 100-continue that is refused with 413/401 before the body: nothing is sent",
    "nginx|aiohttp",
    "curl",
)
def clean_expect100_refused_then_ok(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, pre="client_max_body_size 1k;"))
    lab.record(host)
    (lab.temp / "m").write_bytes(b"u" * 3000000)
    for i in range(3):
        lab.curl(host, "-H", "Expect: 100-continue", "--data-binary", f"@{lab.temp}/m", http_url(host))
    lab.servers = ["nginx"]


@case(
    "clean_slowhttp_longpoll_puma_httping",
    "httping-like repeated short connections and long polls on puma, thin, jetty over 5 ms",
    "puma|thin|jetty",
    "curl|nc",
)
def clean_slowhttp_longpoll_puma_httping(lab):
    client_host, server_host, wire = lab.wired(0.005)
    puma(lab, server_host)
    thin(lab, server_host, port=8081)
    jetty(lab, server_host, 20000, port=8082)
    lab.record(client_host, where="the client's end")
    ts = [lab.bg(lab.curl, client_host, http_url(server_host, "/slow/2.2", p)) for p in (8080, 8081)]
    for i in range(3):
        lab.run(client_host, ["nc", "-z", server_host.addr, "8082"])
        lab.curl(client_host, http_url(server_host, "/x", 8082))
    for t in ts:
        t.join()


@case(
    "clean_tcp_keepalive_probes",
    "idle connections with TCP keepalive probes every second that are answered; redis and a Go line server, 5 ms",
    "redis|go",
    "python",
)
def clean_tcp_keepalive_probes(lab):
    client_host, server_host, wire = lab.wired(0.005)
    redis(lab, server_host, "--tcp-keepalive", "1")
    go_raw(lab, server_host, "line")
    lab.record(client_host, where="the client's end")
    ts = [
        lab.bg(
            raw_client,
            lab,
            client_host,
            server_host.addr,
            p,
            *KEEPALIVE_OPTIONS,
            f"send:PING\\r\\n",
            "line",
            "wait:4.5",
            "send:PING\\r\\n",
            "line",
            "close",
        )
        for p in (6379, 8080)
    ]
    for t in ts:
        t.join()


@case(
    "clean_zero_window_pause",
    "clients that stop reading for 3 s in the middle of downloads (zero window probes), then read to the end: lighttpd, node",
    "lighttpd|node",
    "python",
)
def clean_zero_window_pause(lab):
    client_host, server_host, wire = lab.wired(0.005)
    lighttpd(lab, server_host)
    node(lab, server_host, port=8081)
    lab.record(server_host, where="the server's end", snap=120)
    ts = [
        lab.bg(
            raw_client,
            lab,
            client_host,
            server_host.addr,
            8080,
            "rcvbuf:6000",
            "send:GET /big.bin HTTP/1.0\\r\\n\\r\\n",
            "read:20000",
            "wait:3",
            "read:400000",
            "close",
        ),
        lab.bg(
            raw_client,
            lab,
            client_host,
            server_host.addr,
            8081,
            "rcvbuf:6000",
            get_step("/n/300000"),
            "wait:3",
            "read",
            "close",
        ),
    ]
    for t in ts[1:]:
        t.join()
    ts[0].join()

    def judge(x):
        if x.sport == 8080:
            return verdict(
                "client_abort",
                ["clean"],
                "client",
                "the client stopped reading for 3 s and then left in the middle; " + (reason_of(x) or "no reset"),
                lost=True,
            )
        return default_judge(x)

    return judge
