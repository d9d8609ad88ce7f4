"""A Redis client that waits: idle_probe.py HOST PORT keepalive|user SECONDS

keepalive: PING, then waits SECONDS for the server to speak, with TCP keep-alive of 2 s, 1 s, 3 probes.
user: PING, waits SECONDS, then a command, with TCP_USER_TIMEOUT of 2 s.
"""

import select
import socket
import sys
import time

from account import tell

host, port, manner, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
connection = socket.create_connection((host, port), 5)
local = connection.getsockname()[1]
if manner == "keepalive":
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
else:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000)
connection.settimeout(10)
try:
    connection.sendall(b"PING\r\n")
    connection.recv(100)
    if manner == "keepalive":
        if select.select([connection], [], [], seconds)[0]:
            connection.recv(100)
    else:
        time.sleep(seconds)
        connection.sendall(b"SET a 1\r\n")
        if not connection.recv(100):
            raise EOFError("EOF before a reply")
except (OSError, EOFError) as error:
    tell(local, False, error)
else:
    tell(local, True)
