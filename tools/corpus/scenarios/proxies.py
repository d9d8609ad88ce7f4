"""Proxies: who gave up, upstream or client."""

from recipes import *


def gave_up_judge(uport, patience):
    """upstream connections that lived at least as long as the proxy's time limit and that the proxy closed first"""

    def judge(connection):
        if (
            connection.sport == uport
            and connection.t_last - connection.t_syn >= patience - 0.05
            and any(x[1] == "client" and x[3] == "FIN_WAIT1" for x in connection.states)
        ):
            reset = first_reset(connection)
            return verdict(
                "client_abort",
                ["late_data_after_close"] if reset else ["clean"],
                "client",
                "the proxy gave up and closed before any answer; " + (reason_of(connection) or "no reset was sent"),
                lost=True,
            )
        if (
            connection.sport == uport
            and first_reset(connection)
            and first_reset(connection)["side"] == "client"
            and connection.t_last - connection.t_syn >= patience - 0.05
        ):
            return verdict(
                "client_abort",
                ["late_data_after_close", "linger_zero_abort", "clean"],
                "client",
                "the proxy gave up before any answer; " + reason_of(connection),
                lost=True,
            )
        return default_judge(connection)

    return judge


@case(
    "proxy_gives_up_haproxy_gunicorn",
    "haproxy timeout server 700ms before gunicorn that answers after 1.4 s: 504",
    "haproxy|gunicorn",
    "curl",
)
def proxy_gives_up_haproxy_gunicorn(lab):
    host = lab.one()
    gunicorn(lab, host, "-k", "gthread", "--threads", "6", port=9001)
    haproxy(lab, host, f"listen f\n bind {host.addr}:8080\n timeout server 700ms\n server a {host.addr}:9001\n")
    lab.record(host)
    for i in range(3):
        lab.curl(host, http_url(host, "/slow/1.4"))
        lab.curl(host, http_url(host, "/n/50"))
    time.sleep(1.2)
    return gave_up_judge(9001, 0.7)


@case(
    "proxy_gives_up_apache_puma",
    "apache mod_proxy ProxyTimeout 1 before puma that answers after 1.7 s",
    "apache2|puma",
    "curl",
)
def proxy_gives_up_apache_puma(lab):
    host = lab.one()
    puma(lab, host, "", 9001)
    apache(lab, host, f"ProxyTimeout 1\nProxyPass / http://{host.addr}:9001/\n", modules=("proxy", "proxy_http"))
    lab.record(host)
    for i in range(2):
        lab.curl(host, http_url(host, "/slow/1.7"))
        lab.curl(host, http_url(host, "/n/50"))
    time.sleep(1.5)
    return gave_up_judge(9001, 1)


@case(
    "proxy_client_aborts_through_nginx",
    "curl gives up after 500 ms on a slow upstream behind nginx; nginx closes its upstream connection too",
    "nginx|uvicorn",
    "curl",
)
def proxy_client_aborts_through_nginx(lab):
    host = lab.one()
    uvicorn(lab, host, port=9001)
    nginx(lab, host, nginx_site(host, f"proxy_pass http://{host.addr}:9001;"))
    lab.record(host)
    for i in range(3):
        lab.curl(host, "--max-time", ".5", http_url(host, "/slow/1.2"))
        lab.curl(host, http_url(host, "/n/60"))
    time.sleep(1.2)

    def judge(connection):
        if connection.sport == 8080:
            return abort_judge(connection)
        return gave_up_judge(9001, 0.45)(connection)

    return judge


@case(
    "proxy_upstream_killed_node",
    "nginx before node that is killed (-9) mid-answer: nginx passes the broken answer on",
    "nginx|node",
    "curl",
)
def proxy_upstream_killed_node(lab):
    host = lab.one()
    p = node(lab, host, port=9001)
    nginx(lab, host, nginx_site(host, f"proxy_pass http://{host.addr}:9001; proxy_buffering off;"))
    lab.record(host)
    lab.curl(host, http_url(host, "/n/50"))
    ts = [lab.bg(lab.curl, host, http_url(host, "/drip/40/50/2000")) for i in range(3)]
    time.sleep(0.7)
    lab.killtree(p)
    for t in ts:
        t.join()

    def judge(connection):
        tk = lab.marks["t_kill"]
        if connection.t_syn < tk < connection.t_last + 0.05:
            if connection.sport == 9001:
                return verdict(
                    "process_killed",
                    ["other"],
                    "server",
                    "SIGKILL; " + (reason_of(connection) or "no reset"),
                    lost=True,
                )
            return verdict(
                "other",
                ["process_killed"],
                "server",
                "the proxy ended the answer early because its upstream was killed; "
                + (reason_of(connection) or "no reset"),
                lost=True,
            )
        return default_judge(connection)

    return judge


@case(
    "proxy_keepalive_race_nginx_node",
    "nginx upstream keepalive 8 before node keepAliveTimeout 1000 without buffer, link of 15 ms between them: POSTs are lost at the deadline (502)",
    "nginx|node",
    "python",
)
def proxy_keepalive_race_nginx_node(lab):
    client_host, server_host, wire = lab.wired(0.015)
    node(lab, server_host, port=9001, keepAliveTimeout=1000, buffer=0)
    nginx(
        lab,
        client_host,
        f'upstream u {{ server {server_host.addr}:9001; keepalive 40; keepalive_timeout 60s; }} server {{ listen {client_host.addr}:8080; location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off; }} }}',
    )
    lab.record(server_host, where="the upstream's end of the link between proxy and upstream")
    lab.py(
        client_host,
        "httpclient",
        do="race",
        url=f"http://{client_host.addr}:8080/n/100",
        waits=[round(1.93 + i * 0.006, 3) for i in range(26)],
        method="POST",
    )
    lab.accounts.clear()

    def judge(x):
        reset = first_reset(x)
        if reset and reset["side"] == "server":
            return verdict(
                "keepalive_race_unannounced_close",
                ["idle_timeout_inversion", "late_data_after_close"],
                "server",
                reason_of(x),
                lost=True,
            )
        return default_judge(x)

    return judge


@case(
    "proxy_keepalive_race_haproxy_gunicorn",
    "haproxy http-reuse always before gunicorn gthread keep-alive 1, link of 15 ms between them",
    "haproxy|gunicorn",
    "python",
)
def proxy_keepalive_race_haproxy_gunicorn(lab):
    client_host, server_host, wire = lab.wired(0.015)
    gunicorn(lab, server_host, "-k", "gthread", "--threads", "20", "--keep-alive", "1", port=9001)
    haproxy(
        lab,
        client_host,
        f"listen f\n bind {client_host.addr}:8080\n timeout client 20s\n http-reuse always\n retries 0\n server a {server_host.addr}:9001 pool-purge-delay 60s\n",
    )
    lab.record(server_host, where="the upstream's end of the link")
    lab.py(
        client_host,
        "httpclient",
        do="race",
        url=f"http://{client_host.addr}:8080/n/100",
        waits=[round(0.95 + i * 0.03, 3) for i in range(36)],
        method="POST",
    )
    lab.accounts.clear()

    def judge(x):
        reset = first_reset(x)
        if reset and reset["side"] == "server":
            return verdict(
                "keepalive_race_unannounced_close",
                ["idle_timeout_inversion", "late_data_after_close"],
                "server",
                reason_of(x),
                lost=True,
            )
        return default_judge(x)

    return judge


@case(
    "proxy_413_nginx_unicorn",
    "nginx with request buffering off before unicorn that answers 413 without reading",
    "nginx|unicorn",
    "curl|requests",
)
def proxy_413_nginx_unicorn(lab):
    host = lab.one()
    unicorn(lab, host, "", 9001)
    nginx(
        lab,
        host,
        nginx_site(
            host,
            f"proxy_pass http://{host.addr}:9001; proxy_http_version 1.1; proxy_request_buffering off; client_max_body_size 0;",
        ),
    )
    lab.record(host)
    (lab.temp / "m").write_bytes(b"u" * 900000)
    for i in range(3):
        lab.curl(host, "-H", "Expect:", "--data-binary", f"@{lab.temp}/m", http_url(host, "/413"))
        lab.py(host, "requests", do="seq", url=http_url(host, "/413"), n=1, body=300000)


@case(
    "proxy_squid_forward_clean",
    "curl and requests through stunnel and varnish to gunicorn and nginx, all well",
    "varnish|gunicorn",
    "curl|requests",
)
def proxy_squid_forward_clean(lab):
    host = lab.one()
    gunicorn(lab, host, "-k", "gthread", "--threads", "4", port=9001)
    (lab.temp / "v.vcl").write_text(
        f'vcl 4.1; backend d {{ .host="{host.addr}"; .port="9001"; }} sub vcl_recv {{ return (pass); }}'
    )
    lab.start(
        host,
        [
            "varnishd",
            "-F",
            "-j",
            "none",
            "-n",
            lab.temp / "vn",
            "-a",
            f"{host.addr}:8080",
            "-f",
            lab.temp / "v.vcl",
            "-s",
            "malloc,20m",
        ],
        port=8080,
    )
    lab.record(host)
    for i in range(3):
        lab.curl(host, http_url(host, "/n/3000"), http_url(host, "/chunk/5"))
        lab.py(host, "requests", do="seq", url=http_url(host, "/n/500"), n=3, gap=0.1)


@case(
    "proxy_haproxy_queue_503",
    "haproxy maxconn 1 and timeout queue 400ms before a slow gunicorn: 503 to some, all clean",
    "haproxy|gunicorn",
    "curl",
)
def proxy_haproxy_queue_503(lab):
    host = lab.one()
    gunicorn(lab, host, "-k", "gthread", "--threads", "4", port=9001)
    haproxy(
        lab, host, f"listen f\n bind {host.addr}:8080\n timeout queue 400ms\n server a {host.addr}:9001 maxconn 1\n"
    )
    lab.record(host)
    ts = [lab.bg(lab.curl, host, http_url(host, "/slow/0.7")) for i in range(4)]
    for t in ts:
        t.join()


@case(
    "proxy_socat_tunnel_redis",
    "socat between redis clients and redis; clients close, are killed while idle, and redis is asked to close (QUIT)",
    "socat|redis",
    "redis-cli|python",
)
def proxy_socat_tunnel_redis(lab):
    host = lab.one()
    redis(lab, host)
    lab.start(host, ["socat", f"TCP-LISTEN:9000,bind={host.addr},fork,reuseaddr", f"TCP:{host.addr}:6379"], port=9000)
    lab.record(host)
    for i in range(2):
        raw_client(
            lab, host, host.addr, 9000, "send:PING\\r\\n", "line", "wait:.3", "send:QUIT\\r\\n", "line", "eof", "close"
        )
        raw_client(lab, host, host.addr, 9000, "send:PING\\r\\n", "line", "close")
        lab.run(host, ["redis-cli", "-h", host.addr, "-p", "9000", "set", "a", "b"])
    time.sleep(0.7)


@case(
    "proxy_apache_keepalive_gunicorn",
    "apache mod_proxy with pooled connections before gunicorn gthread keep-alive 1, link of 15 ms",
    "apache2|gunicorn",
    "python",
)
def proxy_apache_keepalive_gunicorn(lab):
    client_host, server_host, wire = lab.wired(0.015)
    gunicorn(lab, server_host, "-k", "gthread", "--threads", "20", "--keep-alive", "1", port=9001)
    apache(
        lab,
        client_host,
        f"KeepAliveTimeout 20\nProxyPass / http://{server_host.addr}:9001/ disablereuse=Off\n",
        modules=("proxy", "proxy_http"),
    )
    lab.record(server_host, where="the upstream's end of the link")
    lab.py(
        client_host,
        "httpclient",
        do="race",
        url=f"http://{client_host.addr}:8080/n/100",
        waits=[round(0.95 + i * 0.03, 3) for i in range(30)],
        method="POST",
    )
    lab.accounts.clear()

    def judge(x):
        reset = first_reset(x)
        if reset and reset["side"] == "server":
            return verdict(
                "keepalive_race_unannounced_close",
                ["idle_timeout_inversion", "late_data_after_close"],
                "server",
                reason_of(x),
                lost=True,
            )
        return default_judge(x)

    return judge


@case(
    "proxy_client_aborts_through_haproxy",
    "curl gives up after 500 ms on slow puma behind haproxy (option abortonclose)",
    "haproxy|puma",
    "curl",
)
def proxy_client_aborts_through_haproxy(lab):
    host = lab.one()
    puma(lab, host, "", 9001)
    haproxy(lab, host, f"listen f\n bind {host.addr}:8080\n option abortonclose\n server a {host.addr}:9001\n")
    lab.record(host)
    for i in range(3):
        lab.curl(host, "--max-time", ".5", http_url(host, "/slow/1.2"))
        lab.curl(host, http_url(host, "/n/60"))
    time.sleep(1.6)

    return lambda connection: (
        abort_judge(connection) if connection.sport == 8080 else gave_up_judge(9001, 0.45)(connection)
    )


@case(
    "proxy_gives_up_nginx_fpm",
    "nginx fastcgi_read_timeout 700ms before php-fpm that answers after 1.5 s",
    "nginx|php php-fpm",
    "curl",
)
def proxy_gives_up_nginx_fpm(lab):
    host = lab.one()
    php_fpm(lab, host)
    nginx(
        lab,
        host,
        nginx_site(
            host,
            f"include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME {lab.php}/i.php; fastcgi_read_timeout 700ms; fastcgi_pass {host.addr}:9000;",
        ),
    )
    lab.record(host)
    for i in range(3):
        lab.curl(host, http_url(host, "/i.php?k=slow"))
        lab.curl(host, http_url(host, "/i.php"))
    time.sleep(1.8)

    return gave_up_judge(9000, 0.7)


@case(
    "proxy_gives_up_varnish_gunicorn",
    "varnish first_byte_timeout 700ms before slow gunicorn: 503",
    "varnish|gunicorn",
    "curl",
)
def proxy_gives_up_varnish_gunicorn(lab):
    host = lab.one()
    gunicorn(lab, host, "-k", "gthread", "--threads", "6", port=9001)
    (lab.temp / "v.vcl").write_text(
        f'vcl 4.1; backend d {{ .host="{host.addr}"; .port="9001"; .first_byte_timeout=700ms; }} sub vcl_recv {{ return (pass); }}'
    )
    lab.start(
        host,
        [
            "varnishd",
            "-F",
            "-j",
            "none",
            "-n",
            lab.temp / "vn",
            "-a",
            f"{host.addr}:8080",
            "-f",
            lab.temp / "v.vcl",
            "-s",
            "malloc,20m",
        ],
        port=8080,
    )
    lab.record(host)
    for i in range(2):
        lab.curl(host, http_url(host, "/slow/1.4"))
        lab.curl(host, http_url(host, "/n/50"))
    time.sleep(1.5)

    return gave_up_judge(9001, 0.7)
