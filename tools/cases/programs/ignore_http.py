"""http.server as many small tools use it: ignore_http.py ADDRESS PORT ignore|read [HTTP/1.1]

`ignore` never reads a POST's body; `read` reads exactly Content-Length bytes.
"""

import http.server
import sys

MANNER = sys.argv[3]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = sys.argv[4] if len(sys.argv) > 4 else "HTTP/1.0"

    def do_POST(self):
        if MANNER == "read":
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"r" * (400_000 if self.path == "/large" else 300)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST


http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
