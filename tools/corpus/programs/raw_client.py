"""raw_client.py HOST PORT STEP...  one socket"""

import re, socket, struct, sys, time, json


def un(t):
    t = t.replace("\\r", "\r").replace("\\n", "\n")
    return re.sub(r"\{(\d+)\*(.)\}", lambda m: m[2] * int(m[1]), t).encode("latin-1")


host, port, steps = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
t0 = time.time()
rb = [x for x in steps if x.startswith("rcvbuf:")]
if rb:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(rb[0][7:]))
s.settimeout(10)
got = 0
buf = b""
st = 0
err = None
p = 0
gave = False


def more():
    global buf, got
    d = s.recv(65536)
    got += len(d)
    buf += d
    return d


def head():
    global buf, st
    while b"\r\n\r\n" not in buf:
        if not more():
            raise EOFError("EOF before a response")
    h, buf = buf.split(b"\r\n\r\n", 1)
    st = int(h.split()[1])
    return h


try:
    for x in steps:
        w, _, r = x.partition(":")
        if w == "rcvbuf":
            continue
        if w == "opt":
            l, n, v = map(int, r.split(","))
            s.setsockopt(l, n, v)
            continue
        if p == 0:
            s.connect((host, port))
            p = s.getsockname()[1]
        if w == "connect":
            pass
        elif w == "send":
            s.sendall(un(r))
        elif w == "wait":
            time.sleep(float(r))
        elif w == "timeout":
            s.settimeout(float(r))
        elif w == "read" and r:
            k = int(r)
            while got < k and more():
                pass
        elif w == "read":
            h = head()
            m = re.search(rb"(?i)\r\ncontent-length: *(\d+)", h)
            n = int(m[1]) if m else None
            if st in (204, 304) or st < 200:
                continue
            if n is None and re.search(rb"(?i)chunked", h):
                while b"0\r\n\r\n" not in buf:
                    if not more():
                        raise EOFError("EOF within chunks")
                buf = b""
                continue
            if n is None:
                while more():
                    pass
                continue
            while len(buf) < n:
                if not more():
                    raise EOFError(f"EOF within a response ({len(buf)} of {n})")
            buf = buf[n:]
        elif w == "head":
            head()
        elif w == "line":
            while b"\n" not in buf:
                if not more():
                    raise EOFError("EOF")
            buf = buf.split(b"\n", 1)[1]
        elif w == "need":
            if got < int(r):
                raise EOFError(f"EOF after {got} bytes")
        elif w == "eof":
            while more():
                pass
        elif w == "half":
            s.shutdown(socket.SHUT_WR)
        elif w == "close":
            s.close()
        elif w == "giveup":
            gave = True
            err = "gave up"
            s.close()
        elif w == "abort":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        else:
            sys.exit("unknown step " + x)
except (OSError, EOFError) as e:
    err = f"{type(e).__name__}: {e}"
print(
    json.dumps(dict(port=p, t=t0, client="python", status=st, bytes=got, error=err, ok=err is None, gave_up=gave)),
    flush=True,
)
try:
    s.close()
except OSError:
    pass
