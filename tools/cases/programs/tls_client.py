"""A TLS client: tls_client.py HOST PORT 1.2|1.3 answer|silent|slow:BYTES|websocket|again:SECONDS

answer: one GET, reads to EOF, then says close_notify. silent: the same, but closes without a word.
slow: reads 200 bytes each 50 ms into a small buffer, then all there is; fails unless so many bytes came.
websocket: an upgrade, two messages that nobody answers, and the close 0.8 s behind the last one.
again: a second GET after SECONDS of idleness on the same connection.
"""

import socket
import ssl
import sys
import time

from account import tell

host, port, version, manner = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if version == "1.2":
    context.maximum_version = ssl.TLSVersion.TLSv1_2
plain = socket.socket()
if manner.startswith("slow"):
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
plain.settimeout(5)
plain.connect((host, port))
plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
local = plain.getsockname()[1]
received = 0
try:
    secure = context.wrap_socket(plain, suppress_ragged_eofs=True)
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    if manner == "websocket":
        request = request.replace(b"\r\n\r\n", b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    secure.sendall(request)
    if manner == "websocket":
        received += len(secure.recv(65536))
        for _ in range(2):
            secure.sendall(b"\x82\x7e" + b"m" * 200)
            time.sleep(0.8)
    elif manner.startswith("again:"):
        received += len(secure.recv(65536))
        time.sleep(float(manner[6:]))
        secure.sendall(request)
        data = secure.recv(65536)
        if not data:
            raise EOFError("EOF before a response")
        received += len(data)
    else:
        for _ in range(30 if manner.startswith("slow") else 0):
            received += len(secure.recv(200))
            time.sleep(0.05)
        while True:
            data = secure.recv(65536)
            received += len(data)
            if not data:
                break
    if manner.startswith("slow") and received < int(manner[5:]):
        raise EOFError(f"EOF after {received} bytes")
    if manner == "answer":
        time.sleep(0.01)
        try:
            secure.unwrap()
        except (OSError, ssl.SSLError):
            pass
    secure.close()
except (OSError, EOFError) as error:
    tell(local, False, f"{type(error).__name__}: {error}", 0, received)
else:
    tell(local, True, "", 200, received)
