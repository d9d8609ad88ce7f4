"""The site for Python's servers: `application` is WSGI, `asynchronous` ASGI. Bodies of requests are read whole."""

import asyncio
import itertools
import json
import time

COUNT = itertools.count()


def page(path, headers, received):
    """Status, further header fields, body."""
    count = next(COUNT)
    first, second, third = (path.lstrip("/").split("/") + ["", "", ""])[:3]
    if first == "account":
        return 200, [], {"kind": "account", "balance": count, "currency": "KES"}
    if first == "transactions":
        return 200, [], {"kind": "transactions", "items": [{"id": item, "amount": item * 3} for item in range(count % 7)]}
    if first == "session":
        return 200, [], {"status": "ok", "session": f"s{count}"}
    if first == "list":
        return 200, [], [count, 2, 3]
    if first == "twin":
        return 200, [], {"id": third, "value": count}
    if first == "echo":
        return 200, [], {"kind": "echo", "token": second}
    if first == "changing":
        return 200, [], {"rows": [1, 2], "next": None} if count % 5 else {"error": "busy"}
    if first == "deprecated":
        return 200, [], {"error": "gone"}
    if first == "private":
        return 401, [("WWW-Authenticate", "Basic")], {"error": "who are you"}
    if first == "large":
        return 200, [], "x" * 600000
    if first == "nothing":
        return 204, [], None
    if first == "cached":
        if headers.get("if-none-match") == '"v1"':
            return 304, [("ETag", '"v1"')], None
        return 200, [("ETag", '"v1"')], {"kind": "cached"}
    if first == "slow":
        return 200, [], {"slept": int(second)}
    if first == "json":
        return 200, [], {"received": received}
    return 404, [], {"error": "no such page"}


def waits(path):
    """Seconds of work. Who asks for /never has left long before."""
    _, first, *rest = path.split("/")
    return {"slow": int(rest[0]) / 1000 if rest else 0, "never": 1.5}.get(first, 0)


REASONS = {200: "OK", 204: "No Content", 304: "Not Modified", 401: "Unauthorized", 404: "Not Found"}


def rendered(path, headers, received):
    status, fields, value = page(path, headers, received)
    if value is None:
        return status, fields, None
    body = json.dumps(value).encode()
    # Two in three say how long they are, the others come in chunks.
    if next(COUNT) % 3:
        fields = fields + [("Content-Length", str(len(body)))]
    return status, fields + [("Content-Type", "application/json")], body


def application(environ, start_response):
    stream, received = environ["wsgi.input"], 0
    if environ.get("CONTENT_LENGTH") or environ.get("HTTP_TRANSFER_ENCODING"):
        received = len(stream.read(int(environ["CONTENT_LENGTH"])) if environ.get("CONTENT_LENGTH") else stream.read())
    path = environ["PATH_INFO"]
    time.sleep(waits(path))
    headers = {"if-none-match": environ.get("HTTP_IF_NONE_MATCH")}
    status, fields, body = rendered(path, headers, received)
    start_response(f"{status} {REASONS[status]}", fields)
    # They send what they are given, to HEAD too.
    return [] if body is None or environ["REQUEST_METHOD"] == "HEAD" else [body[:5], body[5:]]


async def asynchronous(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    received = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        received += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await asyncio.sleep(waits(scope["path"]))
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    status, fields, body = rendered(scope["path"], headers, received)
    fields = [(name.lower().encode(), value.encode()) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if body:
        await send({"type": "http.response.body", "body": body[:5], "more_body": True})
    await send({"type": "http.response.body", "body": (body or b"")[5:]})
