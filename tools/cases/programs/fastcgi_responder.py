"""A FastCGI responder that reads record by record: fastcgi_responder.py ADDRESS PORT exact|drain

`exact` stops reading when CONTENT_LENGTH bytes of STDIN have come, and leaves the empty STDIN record
that ends the stream in its socket; `drain` reads that record too. Both answer 300 000 bytes and close.
"""

import socket
import struct
import sys

EXACT = sys.argv[3] == "exact"


def take(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def record(connection):
    _, kind, number, length, padding, _ = struct.unpack("!BBHHBB", take(connection, 8))
    return kind, number, take(connection, length + padding)[:length]


def content_length(parameters):
    at = 0
    while at < len(parameters):
        sizes = []
        for _ in range(2):
            size = parameters[at]
            if size & 0x80:
                size = struct.unpack("!I", parameters[at : at + 4])[0] & 0x7FFFFFFF
                at += 3
            at += 1
            sizes.append(size)
        name = parameters[at : at + sizes[0]]
        value = parameters[at + sizes[0] : at + sum(sizes)]
        at += sum(sizes)
        if name == b"CONTENT_LENGTH" and value:
            return int(value)
    return 0


def answer(connection):
    parameters, got, wanted = b"", 0, None
    while True:
        kind, number, content = record(connection)
        if kind == 4 and content:
            parameters += content
        elif kind == 4:
            wanted = content_length(parameters)
        elif kind == 5:
            got += len(content)
            if not content or (EXACT and got >= wanted):
                break
        if EXACT and wanted == 0:
            break
    body = b"Content-Type: text/plain\r\n\r\n" + b"f" * 300_000
    out = b"".join(
        struct.pack("!BBHHBB", 1, 6, number, len(body[at : at + 60_000]), 0, 0) + body[at : at + 60_000]
        for at in range(0, len(body), 60_000)
    )
    connection.sendall(out + struct.pack("!BBHHBB", 1, 6, number, 0, 0, 0) + struct.pack("!BBHHBBIB3x", 1, 3, number, 8, 0, 0, 0, 0))


listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    peer, _ = listener.accept()
    try:
        answer(peer)
    except (EOFError, OSError):
        pass
    peer.close()
