"""forge_resets.py IFACE CLIENT SERVER PORT MODE TTL AFTER : sniffs on IFACE and forges RST segments. MODE: client, server, both (who receives); AFTER: seconds after SYN"""

import socket, struct, sys, time

iface, client, server, port, mode, ttl, after = sys.argv[1:8]
port = int(port)
ttl = int(ttl)
after = float(after)
rstack = len(sys.argv) > 8 and "ack" in sys.argv[8]
only = int(sys.argv[9]) if len(sys.argv) > 9 else 10**9
rx = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
rx.bind((iface, 0))
tx = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def ck(b):
    if len(b) % 2:
        b += b"\0"
    s = sum(struct.unpack(f"!{len(b) // 2}H", b))
    s = (s >> 16) + (s & 65535)
    s += s >> 16
    return ~s & 65535


def forge(src, dst, sp, dp, seq, ack):
    a, b = socket.inet_aton(src), socket.inet_aton(dst)
    fl = 0x14 if rstack else 4
    t = struct.pack("!HHIIBBHHH", sp, dp, seq, ack if rstack else 0, 0x50, fl, 0, 0, 0)
    c = ck(a + b + struct.pack("!BBH", 0, 6, 20) + t)
    t = t[:16] + struct.pack("!H", c) + t[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 54321, 0, ttl, 6, 0, a, b)
    tx.sendto(ip + t, (dst, 0))


st = {}
done = set()
print("ready", flush=True)
rx.settimeout(0.02)
while True:
    try:
        p, ad = rx.recvfrom(65536)
    except socket.timeout:
        p = None
    if p and p[12:14] == b"\x08\0" and p[23] == 6:
        ip = p[14:]
        ih = (ip[0] & 15) * 4
        n = struct.unpack("!H", ip[2:4])[0]
        q = ip[ih:n]
        sp, dp, seq, ack, off, fl = struct.unpack("!HHIIBB", q[:14])
        ln = n - ih - (off >> 4) * 4
        s, d = socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])
        if dp == port and d == server:
            k = sp
            me = "c"
        elif sp == port and s == server:
            k = dp
            me = "s"
        else:
            continue
        e = st.setdefault(k, dict(t=time.time(), n=len(st)))
        if fl & 2 and me == "c" and not fl & 16:
            st[k] = e = dict(t=time.time(), n=e["n"])
            done.discard(k)
        e[me] = (seq + ln + (1 if fl & 3 else 0)) & 0xFFFFFFFF
        if fl & 16:
            e["ack_of_" + ("s" if me == "c" else "c")] = ack
    for k, e in st.items():
        if k in done or time.time() - e["t"] < after or "s" not in e or "c" not in e or e["n"] >= only:
            continue
        done.add(k)
        for _ in range(2 if after < 5 else 1):
            if mode in ("client", "both"):
                forge(server, client, port, k, e.get("ack_of_s", e["s"]), e["c"])
            if mode in ("server", "both"):
                forge(client, server, k, port, e.get("ack_of_c", e["c"]), e["s"])
