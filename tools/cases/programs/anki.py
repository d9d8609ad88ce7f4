"""A small hand-written HTTP/1.1 server, single-threaded: answers without Connection: close, then closes.

    anki.py ADDRESS PORT [announce]
"""

import select
import socket
import sys

announce = "Connection: close\r\n" if sys.argv[3:] == ["announce"] else ""
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((sys.argv[1], int(sys.argv[2])))
listener.listen(64)
buffers = {}


def complete(data):
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return True


while True:
    readable, _, _ = select.select([listener, *buffers], [], [])
    for one in readable:
        if one is listener:
            client, _ = listener.accept()
            buffers[client] = b""
            continue
        try:
            data = one.recv(1024)
        except OSError:
            data = b""
        buffers[one] += data
        if data and not complete(buffers[one]):
            continue
        if data:
            body = b'{"result": ["Default", "Spanish"], "error": null}'
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{announce}Content-Length: {len(body)}\r\n\r\n"
            one.sendall(head.encode() + body)
            print(f"closing client peer={one.getpeername()} reason=response fully sent", file=sys.stderr, flush=True)
        one.close()
        del buffers[one]
