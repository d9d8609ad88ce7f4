"""Judges and recipes that several families of scenarios use."""

from servers import *


def http_url(host, path="/", port=8080):
    return f"http://{host.addr}:{port}{path}"


def get_step(path):
    """A GET as a step of programs/raw_client.py."""
    return f"send:GET {path} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"


def raw_client(lab, host, address, port, *steps):
    return lab.client(host, [PYTHON, PROGRAMS / "raw_client.py", address, port, *steps])


def abort_judge(connection):
    reset = first_reset(connection)
    lost = lost_by(connection)
    if lost and (reset is None or reset["side"] == "client"):
        return verdict(
            "client_abort",
            ["clean"] if reset is None else ["late_data_after_close"],
            "client",
            reason_of(connection) or "the client gave up by its own account; no reset was sent",
        )
    if lost and reset["side"] == "server" and client_gave_up(connection):
        return verdict(
            "client_abort",
            ["unread_request_data_at_close", "clean", "late_data_after_close"],
            "client",
            f"the client gave up by its own account; {reason_of(connection)}",
        )
    return default_judge(connection)


def client_gave_up(connection):
    return any(a.get("gave_up") or a.get("exit") == 28 for a in connection.saw)


def backlog(lab, client_host, server_host, n, host_pid, path="/n/10", patience="4", port=8080):
    for q in [host_pid.pid] + children(host_pid.pid):
        os.kill(q, 19)
    ts = [lab.bg(lab.curl, client_host, "--max-time", patience, http_url(server_host, path, port)) for i in range(n)]
    for t in ts:
        t.join()
    for q in [host_pid.pid] + children(host_pid.pid):
        os.kill(q, 18)
    time.sleep(0.3)


RACE_ALSO = ["idle_timeout_inversion", "late_data_after_close"]


def race_judge(connection):
    reset = first_reset(connection)
    if reset and reset["side"] == "server":
        also = list(RACE_ALSO)
        if reset["reason"] == "TCP_ABORT_ON_CLOSE":
            also.append("unread_request_data_at_close")
        return verdict(
            "keepalive_race_unannounced_close", also, "server", reason_of(connection), lost=lost_by(connection)
        )
    if reset and reset["side"] == "client" and lost_by(connection):
        return verdict("client_abort", ["late_data_after_close"], "client", reason_of(connection))
    if reset and reset["side"] == "client":
        return verdict("late_data_after_close", ["clean", "client_abort"], "client", reason_of(connection))
    if lost_by(connection):
        return verdict(
            "keepalive_race_unannounced_close",
            RACE_ALSO,
            "server",
            "client lost the reply on a reused connection; no reset",
        )
    return verdict("clean")


def race_requests(lab, client_host, url, waits, client, method="GET"):
    if client in ("requests", "urllib3", "httpx", "httpclient", "aiohttp"):
        lab.py(client_host, client, do="race", url=url, waits=waits, method=method)
    elif client == "agent" or client == "undici":
        lab.client(
            client_host,
            [
                "node",
                PROGRAMS / "node_client.js",
                client,
                json.dumps(dict(do="race", url=url, waits=waits, method=method)),
            ],
        )
    elif client == "go":
        lab.client(
            client_host,
            [
                BUILT / "gotool",
                "get",
                "-waits",
                ",".join(map(str, waits)),
                *(["-post", "64"] if method == "POST" else []),
                url,
            ],
        )
    elif client == "java":
        lab.client(
            client_host,
            [
                "java",
                "-Xmx256m",
                "-Djdk.httpclient.enableAllMethodRetry=false",
                "-cp",
                BUILT,
                "JClient",
                url,
                method,
                ",".join(map(str, waits)),
            ],
        )


def race(
    name,
    done,
    server,
    start,
    client,
    waits,
    method="GET",
    delay=0.02,
    path="/n/300",
    port=8080,
    loss=0,
    vantage="server",
    snap=0,
):
    @case(
        name,
        done + f"; link of {int(delay * 1000)} ms each way, so a request sent at the deadline crosses the FIN",
        server,
        {"agent": "node", "java": "java", "undici": "node|npm:undici"}.get(client, client),
    )
    def _(lab):
        client_host, server_host, wire = lab.wired(delay, loss=loss)
        start(lab, server_host)
        lab.record(
            server_host if vantage == "server" else client_host, where=f"the {vantage}'s end of the link", snap=snap
        )
        race_requests(lab, client_host, http_url(server_host, path, port), waits, client, method)
        time.sleep(0.3)
        return race_judge


def caddy(lab, server_host):
    f = lab.temp / "Caddyfile"
    f.write_text(
        '{\n admin off\n auto_https off\n servers {\n timeouts {\n idle 1s\n }\n }\n}\nhttp://%s:8080 {\n bind %s\n respond "hello caddy"\n}\n'
        % (server_host.addr, server_host.addr)
    )
    return lab.start(
        server_host,
        ["caddy", "run", "--adapter", "caddyfile", "--config", f],
        port=8080,
        env={"XDG_DATA_HOME": str(lab.temp), "XDG_CONFIG_HOME": str(lab.temp)},
    )


def uploads(lab, client_host, server_host, path, port=8080, big=1500000, slow=True, ab=False):
    for n, s in (("s", 150000), ("m", 600000), ("b", big)):
        (lab.temp / n).write_bytes(b"u" * s)
    for f in "smb":
        lab.curl(client_host, "-H", "Expect:", "--data-binary", f"@{lab.temp}/{f}", http_url(server_host, path, port))
    lab.curl(
        client_host, "-H", "Expect: 100-continue", "--data-binary", f"@{lab.temp}/m", http_url(server_host, path, port)
    )
    if slow:
        lab.curl(
            client_host,
            "-H",
            "Expect:",
            "--limit-rate",
            "400k",
            "--data-binary",
            f"@{lab.temp}/m",
            http_url(server_host, path, port),
        )
    for s in (150000, big):
        lab.py(client_host, "requests", do="seq", url=http_url(server_host, path, port), n=1, body=s)
        lab.py(client_host, "httpclient", do="seq", url=http_url(server_host, path, port), n=1, body=s)
    if ab:
        lab.run(
            client_host, ["ab", "-q", "-n", "2", "-c", "1", "-p", lab.temp / "m", http_url(server_host, path, port)]
        )


UPLOADS = (
    "curl, requests, http.client upload 150 kB to 1.5 MB at once, with Expect: 100-continue and at a limited rate; "
)


def upload(name, done, server, start, path="/413", delay=0, ipv6=False, extra=None, **kw):
    @case(name, UPLOADS + done, server, "curl|requests|http.client")
    def _(lab):
        if delay:
            client_host, server_host, wire = lab.wired(delay)
        else:
            client_host = server_host = lab.one()
        start(lab, server_host)
        lab.record(
            server_host,
            snap=kw.pop("snap", 0) if 0 else kw.get("snap", 0),
            where=("the server's end, link of %d ms each way" % (delay * 1000)) if delay else None,
        )
        uploads(
            lab,
            client_host,
            server_host,
            path,
            big=600000 if delay else 1500000,
            slow=not delay,
            ab=kw.get("ab", False),
        )
        if "tomcat" in name or "caddy" in name:
            time.sleep(2)


def varnish(lab, server_host):
    (lab.temp / "v.vcl").write_text(
        f'vcl 4.1; backend d {{ .host="{server_host.addr}"; .port="9999"; }} sub vcl_recv {{ return (synth(403)); }}'
    )
    return lab.start(
        server_host,
        [
            "varnishd",
            "-F",
            "-j",
            "none",
            "-n",
            lab.temp / "vn",
            "-a",
            f"{server_host.addr}:8080",
            "-f",
            lab.temp / "v.vcl",
            "-s",
            "malloc,20m",
        ],
        port=8080,
    )


def victim(lab, label, also, side="path", after=None, why="done to it on the path", losts=True):
    """connections that lived when the path was changed (t_act) or began after it"""

    def judge(connection):
        t = lab.marks.get("t_act", 0)
        if getattr(lab, "allnew", 0) and connection.t_syn >= t:
            return verdict(
                label,
                also,
                side,
                why + (f"; first kernel reset {first_reset(connection)['reason']}" if connection.resets else ""),
                lost=losts,
            )
        if (
            connection.t_last > t - 0.02
            and (lost_by(connection) or connection.sport in getattr(lab, "vports", ()))
            and (after is None or after(connection))
        ):
            reset = first_reset(connection)
            rr = [x for x in connection.resets if x["t"] > t - 0.05]
            return verdict(
                label, also, side, why + (f"; first kernel reset {rr[0]['reason']}" if rr else ""), lost=losts
            )
        return default_judge(connection)

    return judge


def silent_drop(
    name,
    done,
    server,
    client,
    start,
    rule,
    url="/drip/60/50/2000",
    vantage="client",
    n=3,
    raw=None,
    new=False,
    port=8080,
    host="r",
    maxt="5",
    label="silent_drop",
    also=("client_abort",),
):
    @case(name, done, server + "|nftables", client)
    def _(lab):
        client_host, router_host, server_host = lab.routed()
        start(lab, server_host)
        hs = {"c": client_host, "r": router_host, "v": server_host}
        lab.record(
            {"client": client_host, "server": server_host, "router": router_host}[vantage],
            iface="any" if vantage == "router" else None,
            where={
                "client": "the client's interface",
                "router": "the router, -i any",
                "server": "the server's interface",
            }[vantage],
        )
        if not raw:
            lab.curl(client_host, http_url(server_host, "/n/50" if "drip" in url else url, port))
        act = lambda: (
            lab.marks.__setitem__("t_act", time.time()),
            lab.ns(
                hs[host],
                "nft",
                "add table inet f; add chain inet f i { type filter hook %s priority 0; }; %s"
                % ("forward" if host == "r" else "input", rule.replace("R ", "add rule inet f i ")),
            ),
        )
        if new:
            act()
            lab.allnew = True
            for i in range(n):
                lab.curl(client_host, "--connect-timeout", "2.5", http_url(server_host, url, port))
        else:
            if raw:
                ts = [lab.bg(raw_client, lab, client_host, server_host.addr, port, *raw) for i in range(n)]
            else:
                ts = [
                    lab.bg(lab.curl, client_host, "--max-time", maxt, http_url(server_host, url, port))
                    for i in range(n)
                ]
            time.sleep(0.8)
            act()
            for t in ts:
                t.join()
        return victim(lab, label, list(also) + (["backlog_overflow"] if new else []))


KEEPALIVE_OPTIONS = "opt:1,9,1;opt:6,4,1;opt:6,5,1;opt:6,6,3".split(";")  # SO_KEEPALIVE, IDLE 1, INTVL 1, CNT 3


def upstream(
    port,
    label="client_abort",
    also=("clean", "late_data_after_close"),
    why="the proxy gave up and closed before any answer",
):
    def judge(connection):
        if connection.sport != port:
            return default_judge(connection)
        reset = first_reset(connection)
        if reset and reset["side"] == "client":
            return verdict(
                "client_abort", ["late_data_after_close", "clean"], "client", reason_of(connection), lost=True
            )
        start = [x for x in connection.states if x[3] in ("FIN_WAIT1", "CLOSE_WAIT")]
        return None

    return judge


def deploy(name, done, server, start, client, sig=15, path="/n/300", method="POST"):
    @case(name, done + "; link of 20 ms each way", server, client)
    def _(lab):
        client_host, server_host, wire = lab.wired(0.02)
        p = start(lab, server_host)
        lab.record(server_host, where="the server's end of the link")
        n = 26
        t = lab.bg(
            race_requests,
            lab,
            client_host,
            http_url(server_host, path),
            [round(1.15 + i * 0.012, 3) for i in range(n)],
            client,
            method,
        )
        t0 = time.time()
        while (
            len(
                [
                    1
                    for x in open(f"/proc/{p.pid}/net/tcp").read().splitlines()
                    if " 01 " in x and ":1F90" in x.split()[1]
                ]
            )
            < n
            and time.time() - t0 < 6
        ):
            time.sleep(0.02)
        time.sleep(1.2)
        lab.marks["t_stop"] = time.time()
        for q in [p.pid]:
            os.kill(q, sig)
        t.join()

        def judge(connection):
            reset = first_reset(connection)
            if reset and reset["reason"] == "NO_SOCKET" and connection.t_syn > lab.marks["t_stop"]:
                return verdict("port_closed", [], "server", reason_of(connection))
            said = race_judge(connection)
            if said["label"].startswith("keepalive"):
                said["also_ok"] = ["late_data_after_close", "idle_timeout_inversion", "process_killed"]
            return said

        return judge


def granian(lab, host, *o, port=8080):
    return lab.start(
        host,
        [HOME / "python/bin/granian", "--interface", "asgi", "--host", host.addr, "--port", port, *o, "asgi_app:app"],
        port=port,
    )


def twisted(lab, host):
    return code(
        lab,
        host,
        f"""
from twisted.web import server,resource
from twisted.internet import reactor
class R(resource.Resource):
    isLeaf=True
    def render_POST(self,r): r.setResponseCode(413); return b'big'
    def render_GET(self,r): return b'hello'
reactor.listenTCP(8080,server.Site(R()),interface='{host.addr}'); reactor.run()""",
    )
