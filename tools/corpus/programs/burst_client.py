import socket, select, sys, time, json

host, port, n, tmo = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
data = (
    (
        sys.argv[5]
        if len(sys.argv) > 5 and sys.argv[5]
        else "GET /n/10 HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n"
    )
    .replace("\\r", "\r")
    .replace("\\n", "\n")
    .encode()
)
S = {}
t0 = time.time()
pre = int(sys.argv[6]) if len(sys.argv) > 6 else 0
for i in range(n):
    if pre and i == pre:
        time.sleep(0.3)
    s = socket.socket()
    s.setblocking(False)
    try:
        s.connect((host, port))
    except BlockingIOError:
        pass
    S[s] = dict(port=s.getsockname()[1], t=t0, client="python", status=0, bytes=0, error=None, ok=False, st=0)
end = time.time() + tmo
live = set(S)
while live and time.time() < end:
    r, w, _ = select.select([s for s in live if S[s]["st"] == 1], [s for s in live if S[s]["st"] == 0], [], 0.05)
    for s in w:
        e = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if e:
            S[s]["error"] = f"errno {e}"
            live.discard(s)
            continue
        try:
            s.send(data)
            S[s]["st"] = 1
        except OSError as x:
            S[s]["error"] = str(x)
            live.discard(s)
    for s in r:
        try:
            d = s.recv(65536)
        except OSError as x:
            S[s]["error"] = str(x)
            live.discard(s)
            continue
        if d:
            S[s]["bytes"] += len(d)
            S[s]["ok"] = True
        if not d or b"\r\n" in d and b"hello" in d or d[:1] == b"+":
            live.discard(s)
        if not d and not S[s]["ok"]:
            S[s]["error"] = "EOF"
for s, a in S.items():
    if not a["ok"] and not a["error"]:
        a["error"] = "timed out"
        a["gave_up"] = True
    a.pop("st")
    print(json.dumps(a))
    s.close()
