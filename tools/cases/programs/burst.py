"""Many connects at once, then a request on each: burst.py HOST PORT COUNT SECONDS [FILL]

FILL connections come first and are in the accept queue when the others connect.

An account with the error "queued" is a connection that stood, was not answered, and was left after SECONDS.
"""

import selectors
import socket
import sys
import time

from account import tell

host, port, count, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
selector = selectors.DefaultSelector()
state = {}
fill = int(sys.argv[5]) if len(sys.argv) > 5 else 0
for number in range(fill + count):
    if number == fill:
        time.sleep(0.2)
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((host, port))
    state[one] = "connecting"
    selector.register(one, selectors.EVENT_WRITE)
end = time.monotonic() + seconds
while time.monotonic() < end and selector.get_map():
    for key, _ in selector.select(0.1):
        one = key.fileobj
        local = one.getsockname()[1]
        try:
            if state[one] == "connecting":
                error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, "connect")
                one.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                state[one] = "sent"
                selector.modify(one, selectors.EVENT_READ)
                continue
            data = one.recv(65536)
            if data:
                state[one] = "answered"
                continue
            tell(local, state[one] == "answered", "" if state[one] == "answered" else "EOF before a response")
        except OSError as error:
            tell(local, False, error)
        selector.unregister(one)
        one.close()
        state.pop(one)
TCP_INFO_UNACKED = 24
for one, word in state.items():
    # tcpi_unacked: segments that nobody has acknowledged.
    unacked = int.from_bytes(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[TCP_INFO_UNACKED : TCP_INFO_UNACKED + 4], sys.byteorder)
    tell(one.getsockname()[1], False, "queued" if word == "sent" and unacked == 0 else f"timed out ({word})")
    one.close()
