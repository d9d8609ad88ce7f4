"""Connects several times from one local port: same_port.py HOST PORT COUNT"""

import socket
import sys
import time

from account import tell

local = 0
for _ in range(int(sys.argv[3])):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("", local))
    one.settimeout(5)
    one.connect((sys.argv[1], int(sys.argv[2])))
    local = one.getsockname()[1]
    one.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
    received = 0
    while data := one.recv(65536):
        received += len(data)
    tell(local, received > 0, "" if received else "EOF before a response", 200, received)
    one.close()
    time.sleep(1.1)
