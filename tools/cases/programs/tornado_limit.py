"""tornado with a body limit: tornado_limit.py ADDRESS PORT"""

import asyncio
import sys

import tornado.httpserver
import tornado.web


class Upload(tornado.web.RequestHandler):
    def post(self):
        self.write("stored\n")


async def main():
    server = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Upload)]), max_body_size=50_000)
    server.listen(int(sys.argv[2]), sys.argv[1])
    await asyncio.Event().wait()


asyncio.run(main())
