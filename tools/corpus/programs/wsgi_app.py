import time


def _drain(env):
    try:
        n = int(env.get("CONTENT_LENGTH") or 0)
    except ValueError:
        n = 0
    f = env["wsgi.input"]
    while n > 0:
        d = f.read(min(n, 65536))
        if not d:
            break
        n -= len(d)


def app(env, start):
    p = env.get("PATH_INFO", "/").strip("/").split("/")
    k = p[0]
    a = p[1:]
    T = ("Content-Type", "text/plain")
    if k == "ignore":
        n = int(a[0])
        start("200 OK", [T, ("Content-Length", str(n))])
        return [b"i" * n]
    if k == "413":
        if int(env.get("CONTENT_LENGTH") or 0) > 100000:
            b = b"too large\n"
            start("413 Request Entity Too Large", [T, ("Content-Length", str(len(b)))])
            return [b]
    _drain(env)
    if k == "n":
        n = int(a[0])
        start("200 OK", [T, ("Content-Length", str(n))])
        return [b"n" * n]
    if k == "slow":
        time.sleep(float(a[0]))
        start("200 OK", [T, ("Content-Length", "5")])
        return [b"slow\n"]
    if k == "drip":
        c, ms, size = int(a[0]), float(a[1]) / 1000, int(a[2])
        start("200 OK", [T, ("Content-Length", str(c * size))])

        def g():
            for i in range(c):
                yield b"d" * size
                time.sleep(ms)

        return g()
    if k == "chunk":
        start("200 OK", [T])

        def g():
            for i in range(int(a[0])):
                yield b"c" * 1000
                time.sleep(0.02)

        return g()
    if k == "204":
        start("204 No Content", [])
        return [b""]
    if k == "304":
        start("304 Not Modified", [("ETag", '"x"')])
        return [b""]
    b = b"hello\n"
    start("200 OK", [T, ("Content-Length", str(len(b)))])
    return [b]


application = app
