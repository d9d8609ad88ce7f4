"""Applications that do not read the bodies of requests."""

PAGE = b"x" * 614400


def large(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


def refuses(environ, start_response):
    text = b"too large, not read\n"
    start_response("413 Content Too Large", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


def absent(environ, start_response):
    page = PAGE[:65536]
    start_response("404 Not Found", [("Content-Type", "text/html"), ("Content-Length", str(len(page)))])
    return [page]


def small(environ, start_response):
    """It does read."""
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"here you are\n"]
