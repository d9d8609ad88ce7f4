"""aiohttp with a keep-alive limit of one second: aiohttp_server.py ADDRESS PORT"""

import sys

from aiohttp import web


async def hello(request):
    await request.read()
    return web.Response(text="hello\n")


app = web.Application()
app.router.add_route("*", "/", hello)
web.run_app(app, host=sys.argv[1], port=int(sys.argv[2]), keepalive_timeout=1, print=None)
