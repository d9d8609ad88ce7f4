"""A plain HTTP/1.1 client over one socket, for what the polished clients will not do.

Usage: rawhttp.py HOST PORT [rcvbuf:BYTES] STEP…, where a step is
    send:TEXT          sends it (\\r, \\n and {N*x} for N times x are understood)
    wait:SECONDS       waits without looking at the socket
    read               reads one response by its Content-Length, or to EOF without one
    read:N             reads N bytes
    until:TEXT         reads until what was received so far ends with it
    need:N             fails unless so many bytes have come in all
    eof                reads until EOF
    half               shuts down writing
    close              closes the socket
    abort              closes with SO_LINGER zero
    timeout:SECONDS    from here on
It tells one account for the connection when it ends.
"""

import re
import socket
import struct
import sys
import time

from account import tell


def unescape(text):
    text = text.replace("\\r", "\r").replace("\\n", "\n")
    return re.sub(r"\{(\d+)\*(.)\}", lambda m: m.group(2) * int(m.group(1)), text).encode("latin-1")


class Connection:
    def __init__(self, host, port, receive_buffer):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect((host, port))
        self.port = self.socket.getsockname()[1]
        self.buffer = b""
        self.received = 0
        self.status = 0

    def more(self):
        data = self.socket.recv(65536)
        self.received += len(data)
        self.buffer += data
        return data

    def response(self):
        while b"\r\n\r\n" not in self.buffer:
            if not self.more():
                raise EOFError("EOF before a response")
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length is None:
            while self.more():
                pass
            return
        while len(self.buffer) < int(length.group(1)):
            if not self.more():
                raise EOFError("EOF within a response")
        self.buffer = self.buffer[int(length.group(1)) :]


def main():
    steps = sys.argv[3:]
    receive_buffer = int(steps.pop(0)[7:]) if steps[0].startswith("rcvbuf:") else 0
    connection = Connection(sys.argv[1], int(sys.argv[2]), receive_buffer)
    try:
        for step in steps:
            word, _, rest = step.partition(":")
            if word == "send":
                connection.socket.sendall(unescape(rest))
            elif word == "wait":
                time.sleep(float(rest))
            elif word == "timeout":
                connection.socket.settimeout(float(rest))
            elif word == "read" and rest:
                while connection.received < int(rest) and connection.more():
                    pass
            elif word == "read":
                connection.response()
            elif word == "until":
                connection.buffer = b""
                while not connection.buffer.endswith(unescape(rest)):
                    if not connection.more():
                        raise EOFError("EOF before the end of a response")
            elif word == "need":
                if connection.received < int(rest):
                    raise EOFError(f"EOF after {connection.received} bytes")
            elif word == "eof":
                while connection.more():
                    pass
            elif word == "half":
                connection.socket.shutdown(socket.SHUT_WR)
            elif word == "close":
                connection.socket.close()
            elif word == "abort":
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.socket.close()
            else:
                raise SystemExit(f"unknown step {step}")
    except (OSError, EOFError) as error:
        tell(connection.port, False, error, connection.status, connection.received)
    else:
        tell(connection.port, True, "", connection.status, connection.received)


main()
