"""What a client saw of each request, one JSON line each: {"port", "ok", "error", "status", "received"}."""

import json
import socket
import sys

ports = []
_connect = socket.socket.connect


def _remember(self, address):
    """Remembers the local port of every TCP connection in order; `ports[-1]` is the latest."""
    result = _connect(self, address)
    if self.type & socket.SOCK_STREAM and self.family in (socket.AF_INET, socket.AF_INET6):
        ports.append(self.getsockname()[1])
    return result


socket.socket.connect = _remember


def tell(port, ok, error="", status=0, received=0):
    """Prints one account."""
    line = {"port": port, "ok": ok, "error": str(error)[:160], "status": status, "received": received}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
