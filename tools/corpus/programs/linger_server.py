"""linger_server.py HOST PORT : socketserver, resets with SO_LINGER 0 at a moment named by the path"""

import socket, struct, sys, threading, time

s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen(50)


def rst(c):
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


def do(c):
    try:
        if len(sys.argv) > 3 and sys.argv[3] == "fresh":
            time.sleep(0.03)
            return rst(c)
        while True:
            q = b""
            while b"\r\n\r\n" not in q:
                d = c.recv(65536)
                if not d:
                    c.close()
                    return
                q += d
            p = q.split()[1].decode().strip("/").split("/")
            k = p[0]
            H = lambda n: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n
            if k == "none":
                time.sleep(0.05)
                return rst(c)
            if k == "head":
                c.sendall(H(50000))
                time.sleep(0.05)
                return rst(c)
            if k == "mid":
                c.sendall(H(50000) + b"m" * 20000)
                time.sleep(0.05)
                return rst(c)
            if k == "whole":
                c.sendall(H(int(p[1])) + b"w" * int(p[1]))
                time.sleep(0.05)
                return rst(c)
            if k == "chunk":
                c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                time.sleep(0.05)
                return rst(c)
            if k == "unread":
                time.sleep(0.15)
                c.close()
                return
            c.sendall(H(6) + b"hello\n")
    except OSError:
        pass


while True:
    threading.Thread(target=do, args=(s.accept()[0],), daemon=True).start()
