"""A WebSocket with aiohttp: websocket.py ADDRESS PORT serve|talk"""

import asyncio
import sys

import aiohttp
from aiohttp import web

import account

ADDRESS, PORT, MANNER = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str("welcome")
    async for message in socket:
        await socket.send_str(message.data * 3)
    return socket


async def talk():
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"http://{ADDRESS}:{PORT}/") as socket:
            await socket.receive_str()
            for size in (1, 200, 5000):
                await socket.send_str("m" * size)
                await socket.receive_str()
                await asyncio.sleep(0.1)


if MANNER == "serve":
    app = web.Application()
    app.router.add_get("/", echo)
    web.run_app(app, host=ADDRESS, port=PORT, print=None)
else:
    asyncio.run(talk())
    account.tell(0, True)
