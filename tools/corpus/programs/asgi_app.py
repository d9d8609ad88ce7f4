import asyncio


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            m = await receive()
            await send({"type": m["type"] + ".complete"})
            if m["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            m = await receive()
            if m["type"] == "websocket.disconnect":
                return
            t = m.get("text") or ""
            if t == "bye":
                await send({"type": "websocket.close", "code": 1000})
                return
            await send({"type": "websocket.send", "text": t})
    p = scope["path"].strip("/").split("/")
    k = p[0]
    a = p[1:]
    h = dict(scope["headers"])
    cl = int(h.get(b"content-length", b"0"))

    async def start(st, hd):
        await send({"type": "http.response.start", "status": st, "headers": hd})

    async def body(b, more=False):
        await send({"type": "http.response.body", "body": b, "more_body": more})

    if k == "ignore":
        n = int(a[0])
        await start(200, [(b"content-length", b"%d" % n)])
        await body(b"i" * n)
        return
    if k == "413" and cl > 100000:
        await start(413, [(b"content-length", b"4"), (b"connection", b"close")])
        await body(b"big\n")
        return
    while True:
        m = await receive()
        if m["type"] != "http.request" or not m.get("more_body"):
            break
    if k == "n":
        n = int(a[0])
        await start(200, [(b"content-length", b"%d" % n)])
        await body(b"n" * n)
        return
    if k == "slow":
        await asyncio.sleep(float(a[0]))
        await start(200, [(b"content-length", b"5")])
        await body(b"slow\n")
        return
    if k == "drip":
        c, ms, size = int(a[0]), float(a[1]) / 1000, int(a[2])
        await start(200, [(b"content-length", b"%d" % (c * size))])
        for i in range(c):
            await body(b"d" * size, i < c - 1)
            await asyncio.sleep(ms)
        return
    if k == "chunk":
        await start(200, [])
        for i in range(int(a[0])):
            await body(b"c" * 1000, True)
            await asyncio.sleep(0.02)
        await body(b"")
        return
    if k == "204":
        await start(204, [])
        await body(b"")
        return
    await start(200, [(b"content-length", b"6")])
    await body(b"hello\n")
