"""pooled_client.py KIND JSON : many threads, each with one pooled connection; prints one account a request"""

import json, sys, threading, time, socket, struct, warnings

warnings.simplefilter("ignore")
tl = threading.local()
lock = threading.Lock()
_c = socket.socket.connect


def connect(self, addr):
    tl.port = 0
    r = _c(self, addr)
    tl.port = self.getsockname()[1]
    tl.sock = self
    return r


socket.socket.connect = connect


def tell(**k):
    with lock:
        print(json.dumps(k), flush=True)


kind = sys.argv[1]
o = json.loads(sys.argv[2])
timeout = o.get("timeout", 10)


def session():
    if kind == "requests":
        import requests

        s = requests.Session()
        s.trust_env = False
        s.verify = False

        def go(m, u, b, h):
            r = s.request(m, u, data=b, headers=h, timeout=timeout)
            return r.status_code, len(r.content)

        return go, s.close
    if kind == "urllib3":
        import urllib3

        s = urllib3.PoolManager(cert_reqs="CERT_NONE", retries=o.get("retries", False))

        def go(m, u, b, h):
            r = s.request(m, u, body=b, headers=h, timeout=timeout)
            return r.status, len(r.data)

        return go, s.clear
    if kind == "httpx":
        import httpx

        s = httpx.Client(
            verify=False, trust_env=False, timeout=timeout, limits=httpx.Limits(keepalive_expiry=o.get("expiry", 60))
        )

        def go(m, u, b, h):
            r = s.request(m, u, content=b, headers=h)
            return r.status_code, len(r.content)

        return go, s.close
    if kind == "httpclient":
        import http.client, urllib.parse, ssl

        st = {}

        def go(m, u, b, h):
            x = urllib.parse.urlsplit(u)
            if "c" not in st:
                st["c"] = (
                    http.client.HTTPSConnection(
                        x.hostname, x.port, timeout=timeout, context=ssl._create_unverified_context()
                    )
                    if x.scheme == "https"
                    else http.client.HTTPConnection(x.hostname, x.port, timeout=timeout)
                )
            try:
                st["c"].request(m, x.path + ("?" + x.query if x.query else ""), b, h or {})
                r = st["c"].getresponse()
                d = r.read()
                return r.status, len(d)
            except Exception:
                st.pop("c").close()
                raise

        return go, lambda: st.get("c") and st["c"].close()


def one(go, m, u, b=None, h=None, **k):
    t = time.time()
    tl.port = getattr(tl, "port", 0)
    try:
        st, n = go(m, u, b, h)
        e = None
    except Exception as x:
        st, n, e = 0, 0, f"{type(x).__name__}: {x}"[:200]
    tell(port=tl.port, t=t, client=kind, status=st, bytes=n, error=e, ok=e is None, secs=round(time.time() - t, 4), **k)
    return e


def gen(b, pieces, gap):
    n = len(b) // pieces
    for i in range(pieces):
        if i:
            time.sleep(gap)
        yield b[i * n : (i + 1) * n if i < pieces - 1 else len(b)]


def worker(w):
    tl.port = 0
    go, close = session()
    try:
        if o["do"] == "race":  # first request, wait, second request
            one(go, "GET", o["url"], what="first")
            time.sleep(w)
            m = o.get("method", "GET")
            one(go, m, o["url"], b"x" * o.get("body", 64) if m == "POST" else None, what="second", wait=w)
        elif o["do"] == "seq":
            for i in range(o.get("n", 3)):
                if i:
                    time.sleep(o.get("gap", 0))
                u = o["url"] if isinstance(o["url"], str) else o["url"][i % len(o["url"])]
                b = b"x" * o["body"] if o.get("body") else None
                h = dict(o.get("headers") or {})
                if o.get("expect"):
                    h["Expect"] = "100-continue"
                if b and o.get("pieces"):
                    h["Content-Length"] = str(len(b))
                    b = gen(b, o["pieces"], o.get("pgap", 0.05))
                one(go, o.get("method", "POST" if o.get("body") else "GET"), u, b, h)
                if o.get("fresh"):
                    close()
                    go, close = session()
            time.sleep(o.get("hold", 0))
    finally:
        time.sleep(o.get("before_close", 0.05))
        try:
            close()
        except Exception:
            pass


def main():
    th = []
    W = o.get("waits") or [0] * o.get("workers", 1)
    for w in W:
        t = threading.Thread(target=worker, args=(w,))
        t.start()
        th.append(t)
        time.sleep(o.get("stagger", 0.005))
    for t in th:
        t.join()


if kind == "aiohttp":
    import asyncio, aiohttp

    async def aw(w):
        port = [0]
        tc = aiohttp.TraceConfig()
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False, limit=1, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=timeout),
        ) as s:
            conn = s.connector
            orig = conn._create_connection

            async def cc(*a, **k):
                p = await orig(*a, **k)
                port[0] = p.transport.get_extra_info("sockname")[1]
                return p

            conn._create_connection = cc

            async def one(m, u, b=None, **k):
                t = time.time()
                try:
                    async with s.request(m, u, data=b) as r:
                        d = await r.read()
                        st, n, e = r.status, len(d), None
                except Exception as x:
                    st, n, e = 0, 0, f"{type(x).__name__}: {x}"[:200]
                tell(
                    port=port[0],
                    t=t,
                    client=kind,
                    status=st,
                    bytes=n,
                    error=e,
                    ok=e is None,
                    secs=round(time.time() - t, 4),
                    **k,
                )

            if o["do"] == "race":
                await one("GET", o["url"], what="first")
                await asyncio.sleep(w)
                await one(
                    o.get("method", "GET"),
                    o["url"],
                    b"x" * o.get("body", 64) if o.get("method") == "POST" else None,
                    what="second",
                    wait=w,
                )
            else:
                for i in range(o.get("n", 3)):
                    if i:
                        await asyncio.sleep(o.get("gap", 0))
                    u = o["url"] if isinstance(o["url"], str) else o["url"][i % len(o["url"])]
                    await one("POST" if o.get("body") else "GET", u, b"x" * o["body"] if o.get("body") else None)
                await asyncio.sleep(o.get("hold", 0))
        await asyncio.sleep(0.05)

    async def am():
        await asyncio.gather(*[aw(w) for w in (o.get("waits") or [0] * o.get("workers", 1))])

    asyncio.run(am())
else:
    main()
