"""A WSGI application without a framework: answers 300 000 bytes and reads no body unless asked."""

import os
import time


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/read":
        environ["wsgi.input"].read()
    if path == "/exit":
        os._exit(1)
    if path == "/slow":
        time.sleep(1)
    size = 200 if path in ("/small", "/slow") else 300_000
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(size))])
    return [b"u" * size]
