"""Servers that answer before they read, and what becomes of the upload."""

from recipes import *


def granian_wsgi(lab, host, *o, port=8080):
    return lab.start(
        host,
        [HOME / "python/bin/granian", "--interface", "wsgi", "--host", host.addr, "--port", port, *o, "wsgi_app:app"],
        port=port,
    )


def caddy_limit(lab, server_host):
    f = lab.temp / "Caddyfile"
    f.write_text(
        "{\n admin off\n auto_https off\n}\nhttp://%s:8080 {\n bind %s\n request_body {\n max_size 100KB\n }\n reverse_proxy %s:9001\n}\n"
        % (server_host.addr, server_host.addr, server_host.addr)
    )
    gunicorn(lab, server_host, "-k", "gthread", "--threads", "4", port=9001)
    return lab.start(
        server_host,
        ["caddy", "run", "--adapter", "caddyfile", "--config", f],
        port=8080,
        env={"XDG_DATA_HOME": str(lab.temp), "XDG_CONFIG_HOME": str(lab.temp)},
    )


def upload_clients(name, done, servers, start, delay=0, path="/413", body=700000):
    @case(
        name,
        "Go, node http.Agent, undici, aiohttp and httpx upload 700 kB; " + done,
        servers,
        "go|node|npm:undici|aiohttp|httpx",
    )
    def _(lab):
        if delay:
            client_host, server_host, wire = lab.wired(delay)
        else:
            client_host = server_host = lab.one()
        start(lab, server_host)
        lab.record(server_host, where=f"the server's end, {int(delay * 1000)} ms each way" if delay else None)
        u = http_url(server_host, path)
        for b in (150000, body):
            lab.client(client_host, [BUILT / "gotool", "get", "-n", "1", "-post", b, u])
            lab.client(client_host, ["node", PROGRAMS / "node_client.js", "agent", json.dumps(dict(url=u, body=b))])
            lab.client(client_host, ["node", PROGRAMS / "node_client.js", "undici", json.dumps(dict(url=u, body=b))])
            lab.py(client_host, "aiohttp", do="seq", url=u, n=1, body=b)
            lab.py(client_host, "httpx", do="seq", url=u, n=1, body=b)


upload(
    "up_gunicorn20_sync_413",
    "gunicorn 20.1 sync answers 413 from the app",
    "gunicorn-old",
    lambda lab, server_host: gunicorn(lab, server_host, old=True),
)
upload(
    "up_gunicorn_gthread_413",
    "gunicorn gthread answers 413 from the app",
    "gunicorn",
    lambda lab, server_host: gunicorn(lab, server_host, "-k", "gthread", "--threads", "4"),
)
upload(
    "up_waitress_ignore",
    "waitress, app ignores the body",
    "waitress",
    lambda lab, server_host: waitress(lab, server_host),
    "/ignore/1000",
)
upload(
    "up_waitress_limit",
    "waitress --max-request-body-size",
    "waitress",
    lambda lab, server_host: waitress(lab, server_host, "--max-request-body-size=100000"),
)
upload(
    "up_werkzeug_413",
    "werkzeug threaded, 413 without reading",
    "werkzeug",
    lambda lab, server_host: werkzeug(lab, server_host),
)
upload(
    "up_wsgiref_413",
    "wsgiref simple_server, 413 without reading: closes after each answer",
    "python",
    lambda lab, server_host: wsgiref(lab, server_host),
)
upload("up_cheroot_413", "cheroot, 413 by the app", "cheroot", lambda lab, server_host: cheroot(lab, server_host))
upload("up_hypercorn_413", "hypercorn ASGI 413", "hypercorn", lambda lab, server_host: hypercorn(lab, server_host))
upload("up_daphne_413", "daphne ASGI 413", "daphne", lambda lab, server_host: daphne(lab, server_host))
upload(
    "up_uvicorn_h11_413",
    "uvicorn --http h11, 413 with connection: close",
    "uvicorn",
    lambda lab, server_host: uvicorn(lab, server_host, "--http", "h11"),
)
upload(
    "up_tornado_maxbody",
    "tornado max_body_size 100000",
    "tornado",
    lambda lab, server_host: tornado(lab, server_host, "max_body_size=100000"),
    "/x",
)
upload(
    "up_aiohttp_early",
    "aiohttp answers 401 without reading",
    "aiohttp",
    lambda lab, server_host: aiohttpd(lab, server_host),
    "/early",
)
upload(
    "up_express_limit",
    "express text({limit: 100kb})",
    "express|node",
    lambda lab, server_host: node(lab, server_host, express=1),
)
upload(
    "up_fastify_limit",
    "fastify bodyLimit 100000",
    "fastify|node",
    lambda lab, server_host: node(lab, server_host, fastify=1),
)
upload("up_node_413_keep", "node http 413 without closing", "node", lambda lab, server_host: node(lab, server_host))
upload(
    "up_go_ignore",
    "Go handler answers 413 and leaves the body to net/http",
    "go",
    lambda lab, server_host: go(lab, server_host),
)
upload(
    "up_go_maxbytes",
    "Go http.MaxBytesReader 100000",
    "go",
    lambda lab, server_host: go(lab, server_host, "-maxb", "100000"),
    ab=True,
)
upload(
    "up_jdk_413",
    "JDK com.sun.net.httpserver: 413, close of the exchange without reading",
    "java com.sun.net.httpserver",
    lambda lab, server_host: jdk(lab, server_host),
)
upload(
    "up_tomcat_413",
    "tomcat 10 maxSwallowSize 100000, 413 without reading",
    "tomcat",
    lambda lab, server_host: tomcat(lab, server_host, 20000, 100000),
)
upload(
    "up_jetty_ignore",
    "jetty handler ignores the body",
    "jetty",
    lambda lab, server_host: jetty(lab, server_host, 20000),
)
upload("up_puma_413", "puma, 413 without reading", "puma", lambda lab, server_host: puma(lab, server_host))
upload("up_unicorn_413", "unicorn, 413 without reading", "unicorn", lambda lab, server_host: unicorn(lab, server_host))
upload("up_thin_413", "thin, 413 by the app", "thin", lambda lab, server_host: thin(lab, server_host))
upload("up_php_cli_413", "php -S, 413 without reading", "php", lambda lab, server_host: php_builtin(lab, server_host))
upload(
    "up_lighttpd_limit",
    "lighttpd server.max-request-size 100 kB",
    "lighttpd",
    lambda lab, server_host: lighttpd(lab, server_host, "server.max-request-size=100\n"),
    "/small.txt",
)
upload(
    "up_haproxy_deny",
    "haproxy http-request deny 403 of uploads",
    "haproxy",
    lambda lab, server_host: haproxy(
        lab, server_host, f"frontend f\n bind {server_host.addr}:8080\n http-request deny deny_status 403\n"
    ),
)
upload(
    "up_nginx_limit",
    "nginx client_max_body_size 100k",
    "nginx",
    lambda lab, server_host: nginx(lab, server_host, nginx_site(server_host, pre="client_max_body_size 100k;")),
)
upload(
    "up_nginx_return",
    "nginx return 401 at once",
    "nginx",
    lambda lab, server_host: nginx(lab, server_host, nginx_site(server_host, "return 401;")),
)
upload(
    "up_uwsgi_http",
    "uwsgi --http router, app ignores the body",
    "uwsgi",
    lambda lab, server_host: uwsgi(
        lab, server_host, "--http-socket", f"{server_host.addr}:8080", "--post-buffering", "0"
    ),
    "/ignore/100000",
)
upload(
    "up_varnish_synth",
    "varnish answers synth(403) to POST",
    "varnish",
    lambda lab, server_host: varnish(lab, server_host),
)
upload(
    "upd_gunicorn_sync_413",
    "gunicorn sync over 10 ms each way",
    "gunicorn",
    lambda lab, server_host: gunicorn(lab, server_host),
    delay=0.01,
)
upload(
    "upd_gunicorn20_gthread_413",
    "gunicorn 20.1 gthread over 15 ms each way",
    "gunicorn-old",
    lambda lab, server_host: gunicorn(lab, server_host, "-k", "gthread", "--threads", "4", old=True),
    delay=0.015,
)
upload(
    "upd_unicorn_413",
    "unicorn over 8 ms each way",
    "unicorn",
    lambda lab, server_host: unicorn(lab, server_host),
    delay=0.008,
)
upload(
    "upd_tornado_early",
    "tornado finishes in prepare() over 12 ms each way",
    "tornado",
    lambda lab, server_host: tornado(lab, server_host),
    delay=0.012,
)
upload(
    "upd_go_ignore",
    "Go leaves the body, 10 ms each way",
    "go",
    lambda lab, server_host: go(lab, server_host),
    delay=0.01,
)
upload(
    "upd_node_destroy",
    "node req.destroy() after 413, 10 ms each way",
    "node",
    lambda lab, server_host: node(lab, server_host, early="destroy"),
    delay=0.01,
)
upload(
    "upd_uvicorn_413",
    "uvicorn, 20 ms each way, tcpdump -s 96",
    "uvicorn",
    lambda lab, server_host: uvicorn(lab, server_host),
    delay=0.02,
    snap=96,
)
upload(
    "upd_tomcat_413",
    "tomcat maxSwallowSize over 10 ms",
    "tomcat",
    lambda lab, server_host: tomcat(lab, server_host, 20000, 100000),
    delay=0.01,
)
upload("upd_puma_413", "puma over 8 ms each way", "puma", lambda lab, server_host: puma(lab, server_host), delay=0.008)
upload(
    "upd_haproxy_deny",
    "haproxy deny over 10 ms",
    "haproxy",
    lambda lab, server_host: haproxy(
        lab, server_host, f"frontend f\n bind {server_host.addr}:8080\n http-request deny deny_status 403\n"
    ),
    delay=0.01,
)
upload(
    "upd_nginx_limit",
    "nginx 413 over 10 ms",
    "nginx",
    lambda lab, server_host: nginx(lab, server_host, nginx_site(server_host, pre="client_max_body_size 100k;")),
    delay=0.01,
)
upload("upd_php_cli", "php -S over 10 ms", "php", lambda lab, server_host: php_builtin(lab, server_host), delay=0.01)


@case(
    "up_apache_limit_proxy",
    "apache mod_proxy before gunicorn 413: apache, curl uploads",
    "apache2|gunicorn",
    "curl|requests",
)
def up_apache_limit_proxy(lab):
    host = lab.one()
    gunicorn(lab, host, port=9001)
    apache(lab, host, f"ProxyPass / http://{host.addr}:9001/\n", modules=("proxy", "proxy_http"))
    lab.record(host)
    uploads(lab, host, host, "/413", big=900000)


@case(
    "up_nginx_proxy_gunicorn",
    "nginx (proxy_request_buffering off) before gunicorn sync that ignores the body",
    "nginx|gunicorn",
    "curl|requests",
)
def up_nginx_proxy_gunicorn(lab):
    host = lab.one()
    gunicorn(lab, host, port=9001)
    nginx(
        lab,
        host,
        nginx_site(host, f"proxy_pass http://{host.addr}:9001; proxy_request_buffering off; client_max_body_size 0;"),
    )
    lab.record(host)
    uploads(lab, host, host, "/ignore/5000", big=900000)


@case(
    "up_slow_pieces_unicorn_wsgiref",
    "http.client and requests send bodies in six pieces 60 ms apart to unicorn and wsgiref that answer at once",
    "unicorn|python",
    "http.client|requests",
)
def up_slow_pieces_unicorn_wsgiref(lab):
    host = lab.one()
    unicorn(lab, host)
    wsgiref(lab, host, 8081)
    lab.record(host)
    for p in (8080, 8081):
        for k in ("httpclient", "requests"):
            lab.py(host, k, do="seq", url=http_url(host, "/413", p), n=2, body=160000, pieces=6, pgap=0.06, fresh=1)


@case(
    "up_trailing_crlf",
    "POST with CRLF after the body, python wsgiref reads exactly Content-Length and closes; the bytes are left unread",
    "python",
    "python",
)
def up_trailing_crlf(lab):
    host = lab.one()
    wsgiref(lab, host)
    lab.record(host)
    for i in range(3):
        lab.client(
            host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                host.addr,
                8080,
                "send:POST /n/60000 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 10\\r\\n\\r\\n{10*b}\\r\\n",
                "read",
                "close",
            ],
        )
    lab.client(
        host,
        [
            PYTHON,
            PROGRAMS / "raw_client.py",
            host.addr,
            8080,
            "send:POST /n/60000 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 10\\r\\n\\r\\n{10*b}",
            "read",
            "close",
        ],
    )


@case("up_plain_http_to_tls_port", "curl http:// to TLS ports of node and Go and nginx", "node|go|nginx", "curl")
def up_plain_http_to_tls_port(lab):
    host = lab.one()
    node(lab, host, tls=str(BUILT / "tls"))
    go(lab, host, "-cert", BUILT / "tls", port=8081)
    nginx(lab, host, nginx_site(host, ssl=True, port=8082), port=8082)
    lab.record(host)
    (lab.temp / "m").write_bytes(b"u" * 200000)
    for p in (8080, 8081, 8082):
        lab.curl(host, http_url(host, "/n/1", p))
        lab.curl(host, "-H", "Expect:", "--data-binary", f"@{lab.temp}/m", http_url(host, "/n/1", p))


@case(
    "up_tls_gunicorn_413",
    "gunicorn over TLS (no keys for the reader) answers 413 without reading: curl and requests upload",
    "gunicorn",
    "curl|requests",
)
def up_tls_gunicorn_413(lab):
    host = lab.one()
    gunicorn(lab, host, "--certfile", BUILT / "tls.crt", "--keyfile", BUILT / "tls.key")
    lab.record(host)
    for n, s in (("s", 150000), ("b", 900000)):
        (lab.temp / n).write_bytes(b"u" * s)
    u = f"https://{host.addr}:8080/413"
    for f in "sb":
        lab.curl(host, "-H", "Expect:", "--data-binary", f"@{lab.temp}/{f}", u)
    for s in (150000, 900000):
        lab.py(host, "requests", do="seq", url=u, n=1, body=s)
        lab.py(host, "urllib3", do="seq", url=u, n=1, body=s)


@case(
    "up_memcached_too_large",
    "memcached: a value over the item size limit; redis: a request over proto-max-bulk-len and an inline flood",
    "memcached|redis",
    "python",
)
def up_memcached_too_large(lab):
    host = lab.one()
    memcached(lab, host)
    redis(lab, host, "--proto-max-bulk-len", "1mb")
    lab.record(host)
    for i in range(2):
        lab.client(
            host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                host.addr,
                6379,
                "send:*3\\r\\n$3\\r\\nSET\\r\\n$1\\r\\na\\r\\n$2000000\\r\\n",
                "wait:.05",
                "send:{2000000*v}",
                "eof",
            ],
        )
        lab.client(
            host,
            [
                PYTHON,
                PROGRAMS / "raw_client.py",
                host.addr,
                11211,
                "send:set k 0 0 3000000\\r\\n{3000000*v}\\r\\n",
                "line",
                "send:get k\\r\\n",
                "line",
                "send:quit\\r\\n",
                "eof",
            ],
        )


@case(
    "up_header_too_large",
    "curl with 20 kB to 100 kB of header to gunicorn, node, nginx, Go",
    "gunicorn|node|nginx|go",
    "curl",
)
def up_header_too_large(lab):
    host = lab.one()
    gunicorn(lab, host)
    node(lab, host, port=8081)
    nginx(lab, host, nginx_site(host, port=8082), port=8082)
    go(lab, host, port=8083)
    lab.record(host)
    for n in (12000, 90000):
        (lab.temp / "hd").write_text("X-Big: " + "h" * n + "\n")
        for p in (8080, 8081, 8082):
            lab.curl(host, "-H", f"@{lab.temp}/hd", http_url(host, "/", p))
    (lab.temp / "hd").write_text("".join(f"X-Big{i}: " + "h" * 60000 + "\n" for i in range(25)))
    lab.curl(host, "-H", f"@{lab.temp}/hd", http_url(host, "/", 8083))


@case(
    "gunicorn20_slow_body_pieces",
    "http.client and requests send bodies in eight pieces 60 ms apart to gunicorn 20.1 sync that answers at once",
    "gunicorn-old",
    "http.client|requests",
)
def gunicorn20_slow_body_pieces(lab):
    host = lab.one()
    gunicorn(lab, host, old=True)
    lab.record(host)
    for k in ("httpclient", "requests"):
        lab.py(host, k, do="seq", url=http_url(host, "/413"), n=3, body=160000, pieces=8, pgap=0.06, fresh=1)


# unread / late on other protocols
@case(
    "up_redis_quit_pipelined",
    "redis QUIT followed by more pipelined commands; memcached quit followed by data",
    "redis|memcached",
    "python",
)
def up_redis_quit_pipelined(lab):
    host = lab.one()
    redis(lab, host)
    memcached(lab, host)
    lab.record(host)
    for i in range(2):
        raw_client(lab, host, host.addr, 6379, "send:PING\\r\\nQUIT\\r\\n{3000*x}\\r\\n", "wait:.1", "eof", "close")
        raw_client(lab, host, host.addr, 6379, "send:QUIT\\r\\n", "line", "wait:.1", "send:PING\\r\\n", "line", "close")
        raw_client(lab, host, host.addr, 11211, "send:quit\\r\\nget a\\r\\n", "wait:.1", "eof", "close")
        raw_client(
            lab, host, host.addr, 11211, "send:version\\r\\nquit\\r\\n", "wait:.15", "send:get b\\r\\n", "eof", "close"
        )

    def judge(connection):
        said = default_judge(connection)
        if said["label"] in ("unread_request_data_at_close", "late_data_after_close"):
            said["also_ok"] = [
                "keepalive_race_announced_close",
                "late_data_after_close",
                "unread_request_data_at_close",
                "clean",
            ]
        return said

    return judge


@case(
    "up_python_unread_small",
    "python server that closes with one request unread (no answer): SOCK close with data in its buffer",
    "python",
    "curl|python",
)
def up_python_unread_small(lab):
    host = lab.one()
    lab.start(host, [PYTHON, PROGRAMS / "linger_server.py", host.addr, 8080], port=8080)
    jdk(lab, host, "raw", port=8081)
    lab.record(host)
    for i in range(2):
        raw_client(lab, host, host.addr, 8080, get_step("/unread"), "wait:.05", "send:more data\\r\\n", "read")
        raw_client(lab, host, host.addr, 8081, get_step("/unread"), "wait:.01", "send:{500*m}", "read", "eof", "close")
        raw_client(lab, host, host.addr, 8080, get_step("/ok"), "read", "close")


@case(
    "up_ab_post_many_servers",
    "ab -p posts 300 kB to wsgiref, cheroot, tornado and unicorn that answer early",
    "python|cheroot|tornado|unicorn",
    "ab",
)
def up_ab_post_many_servers(lab):
    host = lab.one()
    wsgiref(lab, host)
    cheroot(lab, host, port=8081)
    tornado(lab, host, port=8082)
    lab.record(host)
    (lab.temp / "m").write_bytes(b"u" * 300000)
    for p in (8080, 8081, 8082):
        for i in range(2):
            try:
                lab.run(
                    host,
                    ["ab", "-q", "-s", "4", "-n", "1", "-c", "1", "-p", lab.temp / "m", http_url(host, "/413", p)],
                    sec=12,
                )
            except Failed:
                pass


@case("up_ipv6_node_destroy_requests", "node 413 and req.destroy over IPv6, -i any", "node", "curl|requests")
def up_ipv6_node_destroy_requests(lab):
    host = lab.one(True)
    a = host.addr
    lab.start(
        host, ["node", PROGRAMS / "node_server.js", host.addr6, 8080, json.dumps(dict(early="destroy"))], port=8080
    )
    lab.record(host, iface="any", where="-i any")
    (lab.temp / "m").write_bytes(b"u" * 700000)
    u = f"http://[{host.addr6}]:8080/413"
    for i in range(3):
        lab.curl(host, "-H", "Expect:", "--data-binary", f"@{lab.temp}/m", u)
        lab.py(host, "requests", do="seq", url=u, n=1, body=400000)


upload("up_granian_asgi_413", "granian ASGI 413", "granian", granian)
upload("up_granian_wsgi_ignore", "granian WSGI, app ignores the body", "granian", granian_wsgi, "/ignore/2000")
upload("up_caddy_limit_gunicorn", "caddy request_body max_size before gunicorn", "caddy|gunicorn", caddy_limit, "/n/10")
upload("up_twisted_413", "twisted.web 413", "twisted", twisted)
upload(
    "up_unicorn_bigreply",
    "unicorn ignores the body and answers 300 kB",
    "unicorn",
    lambda lab, server_host: unicorn(lab, server_host),
    "/ignore/300000",
)
upload(
    "up_gunicorn20_bigreply",
    "gunicorn 20.1 sync ignores the body and answers 300 kB",
    "gunicorn-old",
    lambda lab, server_host: gunicorn(lab, server_host, old=True),
    "/ignore/300000",
)
upload(
    "up_gunicorn_sync_bigreply_snap",
    "gunicorn sync ignores the body and answers 200 kB, tcpdump -s 96",
    "gunicorn",
    lambda lab, server_host: gunicorn(lab, server_host),
    "/ignore/200000",
    snap=96,
)
upload(
    "up_cheroot_bigreply",
    "cheroot ignores the body and answers 200 kB",
    "cheroot",
    lambda lab, server_host: cheroot(lab, server_host),
    "/ignore/200000",
)
upload("upd_granian_413", "granian over 10 ms each way", "granian", granian, delay=0.01)
upload(
    "upd_wsgiref_413",
    "wsgiref over 15 ms each way",
    "python",
    lambda lab, server_host: wsgiref(lab, server_host),
    delay=0.015,
)
upload(
    "upd_jdk_413",
    "JDK HttpServer over 10 ms each way",
    "java com.sun.net.httpserver",
    lambda lab, server_host: jdk(lab, server_host),
    delay=0.01,
)
upload(
    "upd_cheroot_bigreply",
    "cheroot ignores the body, 60 kB answer, 10 ms each way",
    "cheroot",
    lambda lab, server_host: cheroot(lab, server_host),
    "/ignore/60000",
    delay=0.01,
)
upload(
    "upd_fastify_limit",
    "fastify bodyLimit over 12 ms each way",
    "fastify|node",
    lambda lab, server_host: node(lab, server_host, fastify=1),
    delay=0.012,
)
upload(
    "upd_hypercorn_413",
    "hypercorn over 8 ms each way",
    "hypercorn",
    lambda lab, server_host: hypercorn(lab, server_host),
    delay=0.008,
)
upload("upd_thin_413", "thin over 10 ms each way", "thin", lambda lab, server_host: thin(lab, server_host), delay=0.01)
upload_clients("up_clients_unicorn", "unicorn 413", "unicorn", lambda lab, server_host: unicorn(lab, server_host))
upload_clients(
    "up_clients_tornado", "tornado finishes in prepare()", "tornado", lambda lab, server_host: tornado(lab, server_host)
)
upload_clients(
    "up_clients_gunicorn_gthread",
    "gunicorn gthread 413",
    "gunicorn",
    lambda lab, server_host: gunicorn(lab, server_host, "-k", "gthread", "--threads", "4"),
)
upload_clients(
    "up_clients_waitress_limit",
    "waitress --max-request-body-size",
    "waitress",
    lambda lab, server_host: waitress(lab, server_host, "--max-request-body-size=100000"),
)
upload_clients(
    "up_clients_apache_drained",
    "apache LimitRequestBody 100000 (it drains)",
    "apache2",
    lambda lab, server_host: apache(lab, server_host, "LimitRequestBody 100000\n"),
    path="/small.txt",
)
upload_clients(
    "upd_clients_haproxy",
    "haproxy deny, 8 ms each way",
    "haproxy",
    lambda lab, server_host: haproxy(
        lab, server_host, f"frontend f\n bind {server_host.addr}:8080\n http-request deny deny_status 403\n"
    ),
    delay=0.008,
    body=400000,
)
upload_clients(
    "upd_clients_node_destroy",
    "node 413 and req.destroy(), 12 ms each way",
    "node",
    lambda lab, server_host: node(lab, server_host, early="destroy"),
    delay=0.012,
    body=400000,
)
upload_clients(
    "upd_clients_go_maxbytes",
    "Go MaxBytesReader, 10 ms each way",
    "go",
    lambda lab, server_host: go(lab, server_host, "-maxb", "100000"),
    delay=0.01,
    body=400000,
)
