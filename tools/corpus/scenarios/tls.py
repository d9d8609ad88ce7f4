"""TLS terminators and their closing."""

from recipes import *


@case(
    "tls_stunnel_gunicorn",
    "curl and requests over TLS to stunnel before gunicorn",
    "stunnel4|gunicorn",
    "curl|requests",
)
def tls_stunnel_gunicorn(lab):
    host = lab.one()
    gunicorn(lab, host, "-k", "gthread", "--threads", "4", port=9001)
    (lab.temp / "st").write_text(
        f"foreground=yes\npid=\n[s]\naccept={host.addr}:8443\nconnect={host.addr}:9001\ncert={BUILT}/tls.pem\n"
    )
    lab.start(host, ["stunnel4", lab.temp / "st"], port=8443)
    lab.record(host)
    for i in range(3):
        lab.curl(host, f"https://{host.addr}:8443/n/3000")
        lab.py(host, "requests", do="seq", url=f"https://{host.addr}:8443/n/900", n=2)


@case("tls_hitch_node", "curl, http.client over TLS to hitch before node", "hitch|node", "curl|http.client")
def tls_hitch_node(lab):
    host = lab.one()
    node(lab, host, port=9001)
    lab.start(
        host,
        [
            "hitch",
            "--user=nobody",
            f"--frontend=[{host.addr}]:8443",
            f"--backend=[{host.addr}]:9001",
            "--workers=1",
            BUILT / "tls.pem",
        ],
        port=8443,
    )
    lab.record(host)
    for i in range(3):
        lab.curl(host, f"https://{host.addr}:8443/n/3000")
        lab.py(host, "httpclient", do="seq", url=f"https://{host.addr}:8443/n/900", n=2)


@case("tls_haproxy_go_hey", "hey over TLS to haproxy before Go; ab over TLS to apache", "haproxy|go|apache2", "hey|ab")
def tls_haproxy_go_hey(lab):
    host = lab.one()
    go(lab, host, port=9001)
    haproxy(
        lab, host, f"listen f\n bind {host.addr}:8443 ssl crt {BUILT}/tls.pem\n server a {host.addr}:9001\n", port=8443
    )
    apache(
        lab,
        host,
        f"SSLEngine on\nSSLCertificateFile {BUILT}/tls.crt\nSSLCertificateKeyFile {BUILT}/tls.key\n",
        port=8444,
        modules=("ssl", "socache_shmcb"),
    )
    lab.record(host)
    lab.run(host, ["hey", "-n", "24", "-c", "4", f"https://{host.addr}:8443/n/3000"])
    lab.run(host, ["ab", "-q", "-n", "8", "-c", "2", f"https://{host.addr}:8444/small.txt"])


@case(
    "tls_s_client_gunicorn_node",
    "openssl s_client sends a request and leaves: gunicorn, node, haproxy over TLS 1.2 and 1.3",
    "gunicorn|node",
    "openssl",
)
def tls_s_client_gunicorn_node(lab):
    host = lab.one()
    gunicorn(lab, host, "--certfile", BUILT / "tls.crt", "--keyfile", BUILT / "tls.key")
    node(lab, host, port=8081, tls=str(BUILT / "tls"))
    lab.record(host)
    for p in (8080, 8081):
        for v in ("-tls1_2", "-tls1_3"):
            lab.run(
                host,
                [
                    "openssl",
                    "s_client",
                    "-quiet",
                    "-ign_eof" if p == 8080 else "-no_ign_eof",
                    v,
                    "-connect",
                    f"{host.addr}:{p}",
                ],
                stdin=b"GET /n/500 HTTP/1.0\r\n\r\n",
                sec=10,
            )
            lab.run(host, ["openssl", "s_client", v, "-connect", f"{host.addr}:{p}"], stdin=b"Q\n", sec=10)


@case(
    "tls_close_notify_late_answer",
    "a TLS client sends close_notify and FIN while node still answers: the late answer meets its closed socket",
    "node",
    "python",
)
def tls_close_notify_late_answer(lab):
    host = lab.one()
    node(lab, host, tls=str(BUILT / "tls"))
    lab.record(host)
    o = lab.run(
        host,
        [
            PYTHON,
            "-c",
            f"""
import socket,ssl,time,json
for path,w in (('/slow/0.6',.2),('/drip/20/50/3000',.4),('/slow/0.6',.2),('/n/300',.3)):
    c=ssl._create_unverified_context(); s=socket.create_connection(('{host.addr}',8080)); port=s.getsockname()[1]; t=time.time(); x=c.wrap_socket(s); x.send(b'GET %s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n'%path.encode()); time.sleep(w)
    n=0
    if path.startswith('/n'): n=len(x.recv(65536))
    x.settimeout(.001)
    try: x.unwrap()
    except Exception: pass
    x.close(); ok=path.startswith('/n'); print(json.dumps(dict(port=port,t=t,client='python',status=0,bytes=n,error=None if ok else 'gave up',ok=ok,gave_up=not ok))); time.sleep(1.2)
""",
        ],
        sec=30,
    )
    lab.take(o)
    return abort_judge


@case(
    "tls_verify_fails",
    "clients that refuse the certificate: curl without -k, requests verify, Go",
    "nginx|node",
    "curl|openssl",
)
def tls_verify_fails(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, ssl=True))
    node(lab, host, port=8081, tls=str(BUILT / "tls"))
    lab.record(host)
    for p in (8080, 8081):
        for i in range(2):
            lab.run(host, ["curl", "-sS", "--noproxy", "*", "-o", "/dev/null", f"https://{host.addr}:{p}/"])
        lab.run(
            host,
            [
                PYTHON,
                "-c",
                f"import urllib.request\ntry: urllib.request.urlopen('https://{host.addr}:{p}/')\nexcept Exception as e: print(e)",
            ],
        )

    def judge(connection):
        reset = first_reset(connection)
        if reset and reset["side"] == "client":
            return verdict(
                "client_abort",
                ["clean", "late_data_after_close", "other"],
                "client",
                "the client refused the certificate and left; " + reason_of(connection),
                lost=True,
            )
        if reset:
            return verdict(
                default_judge(connection)["label"],
                ["client_abort", "clean", "other"],
                "client",
                "the client refused the certificate and left; " + reason_of(connection),
                lost=True,
            )
        return verdict(
            "clean",
            ["client_abort", "other"],
            "client",
            "the client refused the certificate and left; no reset",
            lost=True,
        )

    return judge


@case(
    "h2_goaway_go_h2load",
    "Go over TLS with HTTP/2, h2load and curl --http2; nginx h2 keepalive_requests 8 with GOAWAY",
    "go|nginx",
    "h2load|curl",
)
def h2_goaway_go_h2load(lab):
    host = lab.one()
    go(lab, host, "-cert", BUILT / "tls")
    nginx(
        lab,
        host,
        nginx_site(host, ssl=True, port=8081, pre="http2 on; keepalive_requests 8;")
        .replace("http2 on;", "")
        .replace(" ssl;", " ssl http2;"),
        port=8081,
    )
    lab.record(host)
    lab.run(host, ["h2load", "-n", "60", "-c", "2", "-m", "4", f"https://{host.addr}:8080/n/500"])
    lab.run(host, ["h2load", "-n", "60", "-c", "2", "-m", "4", f"https://{host.addr}:8081/small.txt"])
    lab.curl(host, "--http2", f"https://{host.addr}:8080/n/500", f"https://{host.addr}:8080/n/500")
    return lambda connection: (
        lambda d: (
            {**d, "also_ok": ["keepalive_race_announced_close", "clean", "client_abort"]}
            if d["label"] != "clean"
            else d
        )
    )(default_judge(connection))


@case(
    "tls_uvicorn_gunicorn_curl",
    "uvicorn and hypercorn over TLS with curl, requests, httpx; one by one and kept alive",
    "uvicorn|hypercorn",
    "curl|requests|httpx",
)
def tls_uvicorn_gunicorn_curl(lab):
    host = lab.one()
    uvicorn(lab, host, "--ssl-certfile", BUILT / "tls.crt", "--ssl-keyfile", BUILT / "tls.key")
    hypercorn(lab, host, "--certfile", BUILT / "tls.crt", "--keyfile", BUILT / "tls.key", port=8081)
    lab.record(host)
    for p in (8080, 8081):
        lab.curl(host, "--http1.1", f"https://{host.addr}:{p}/n/3000")
        lab.py(host, "requests", do="seq", url=f"https://{host.addr}:{p}/n/900", n=3, gap=0.1)
        lab.py(host, "httpx", do="seq", url=f"https://{host.addr}:{p}/n/900", n=2)


@case("tls_wget_siege_apache", "wget and siege over TLS to apache, nginx (TLS 1.2 only)", "apache2|nginx", "wget|siege")
def tls_wget_siege_apache(lab):
    host = lab.one()
    apache(
        lab,
        host,
        f"SSLEngine on\nSSLCertificateFile {BUILT}/tls.crt\nSSLCertificateKeyFile {BUILT}/tls.key\n",
        modules=("ssl", "socache_shmcb"),
    )
    nginx(lab, host, nginx_site(host, ssl=True, port=8081, pre="ssl_protocols TLSv1.2;"), port=8081)
    lab.record(host)
    for p in (8080, 8081):
        for i in range(2):
            lab.run(
                host, ["wget", "-q", "--no-check-certificate", "-O", "/dev/null", f"https://{host.addr}:{p}/small.txt"]
            )
        lab.run(host, ["siege", "-q", "-r", "3", "-c", "2", f"https://{host.addr}:{p}/small.txt"])


@case(
    "tls_server_idle_close_nginx",
    "nginx TLS keepalive_timeout 1s closes idle connections; the pool notices later and closes",
    "nginx|node",
    "requests|http.client",
)
def tls_server_idle_close_nginx(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, ssl=True, pre="keepalive_timeout 1s;"))
    node(lab, host, port=8081, tls=str(BUILT / "tls"), keepAliveTimeout=300)
    lab.record(host)
    for p, u in ((8080, "/small.txt"), (8081, "/n/20")):
        lab.py(host, "requests", do="seq", url=f"https://{host.addr}:{p}{u}", n=2, gap=2.4, workers=2)
        lab.py(host, "urllib3", do="seq", url=f"https://{host.addr}:{p}{u}", n=1, hold=2.2)


@case(
    "tls_alpn_sslv3_versions",
    "openssl s_client with versions and ciphers that the server refuses (alerts), then a good one: nginx, Go",
    "nginx|go",
    "openssl",
)
def tls_alpn_sslv3_versions(lab):
    host = lab.one()
    nginx(lab, host, nginx_site(host, ssl=True, pre="ssl_protocols TLSv1.3;"))
    go(lab, host, "-cert", BUILT / "tls", port=8081)
    lab.record(host)
    for p in (8080, 8081):
        lab.run(
            host, ["openssl", "s_client", "-tls1_2", "-cipher", "AES128-SHA", "-connect", f"{host.addr}:{p}"], stdin=b""
        )
        lab.run(host, ["openssl", "s_client", "-tls1_3", "-connect", f"{host.addr}:{p}"], stdin=b"Q\n")

    def judge(connection):
        said = default_judge(connection)
        if said["label"] != "clean":
            said["also_ok"] = list(set((said.get("also_ok") or []) + ["clean", "client_abort", "other"]))
        return said

    return judge
