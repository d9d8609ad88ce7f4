"""closes.py HOST PORT: hand-written, single-threaded, HTTP/1.1. It closes when its answer is sent, and says nothing of that."""

import select
import socket
import sys

ANSWER = b'{"result": ["Default", "Spanish"], "error": null}'
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/json\r\nContent-Length: {}\r\n\r\n".format(len(ANSWER)).encode()


def whole(request):
    head, end, body = request.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return bool(end) and len(body) >= sum(lengths)


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((sys.argv[1], int(sys.argv[2])))
listener.listen(128)
clients = {}
log = open("closes.log", "w")
while True:
    for one in select.select([listener, *clients], [], [])[0]:
        if one is listener:
            client, _ = listener.accept()
            clients[client] = b""
            continue
        try:
            piece = one.recv(1024)
            clients[one] += piece
            if piece and not whole(clients[one]):
                continue
            if piece:
                one.sendall(HEAD + ANSWER)
                print("closing client", one.getpeername(), "response fully sent", file=log, flush=True)
        except OSError as error:
            print("lost client", error, file=log, flush=True)
        one.close()
        del clients[one]
