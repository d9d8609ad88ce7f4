"""redis_client.py HOST PORT COMMANDS: redis-py, with pipelines, transactions, blocking calls that time out, cancelled calls, subscriptions,
pushes of RESP3, and replies that the server was told to leave out.
"""

import asyncio
import random
import socket
import sys
import threading

import redis
import redis.asyncio

HOST, PORT, COMMANDS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) // 6


def plain(count):
    client = redis.Redis(HOST, PORT)
    for number in range(count):
        key = f"key:{number % 50}"
        match number % 5:
            case 0:
                client.set(key, number)
            case 1:
                client.get(key)
            case 2:
                client.hset("hash:" + key, mapping={"a": number, "b": "x"})
            case 3:
                client.hgetall("hash:" + key)
            case 4:
                client.lpush("list", number)
    client.close()


def pipelines(count):
    client = redis.Redis(HOST, PORT)
    for number in range(count // 10):
        with client.pipeline(transaction=number % 2 == 0) as pipeline:
            for step in range(8):
                pipeline.incr(f"counter:{step}")
            pipeline.execute()
    client.close()


def given_up(count):
    client = redis.Redis(HOST, PORT, socket_timeout=0.02)
    for number in range(count // 20):
        try:
            # The server answers after a second; the library closes the connection.
            client.blpop("nobody", timeout=1)
        except redis.TimeoutError:
            pass
        for _ in range(19):
            client.get("key:1")
    client.close()


def subscribed(count):
    client = redis.Redis(HOST, PORT)
    listener = client.pubsub()
    listener.subscribe("news")
    heard = 0
    for number in range(count // 2):
        client.publish("news", number)
        while listener.get_message(timeout=0):
            heard += 1
        if number % 50 == 0:
            listener.ping()
    listener.close()
    client.close()


def raw(count):
    """What a library seldom sends: CLIENT REPLY, MONITOR, tracking, inline commands, commands in pieces."""
    for number in range(count // 20):
        with socket.create_connection((HOST, PORT), timeout=2) as connection:
            kind = number % 5
            if kind == 0:
                connection.sendall(b"CLIENT REPLY OFF\r\n" + b"SET quiet 1\r\n" * 10 + b"CLIENT REPLY ON\r\nPING\r\n")
            elif kind == 1:
                connection.sendall(b"CLIENT REPLY SKIP\r\nSET quiet 2\r\nPING\r\n")
            elif kind == 2:
                connection.sendall(b"HELLO 3\r\nCLIENT TRACKING ON\r\nGET key:1\r\n")
                with socket.create_connection((HOST, PORT), timeout=2) as other:
                    other.sendall(b"SET key:1 changed\r\n")
                    other.recv(100)
            elif kind == 3:
                connection.sendall(b"MONITOR\r\n")
            else:
                for piece in (b"*2\r\n$3\r\nG", b"ET\r\n$5\r", b"\nkey:1\r\n"):
                    connection.sendall(piece)
            connection.recv(4096)


async def cancelled(count):
    client = redis.asyncio.Redis(host=HOST, port=PORT)

    async def worker():
        for number in range(count // 8):
            try:
                if random.random() < 0.05:
                    await asyncio.wait_for(client.blpop("nobody", timeout=0.1), 0.01)
                else:
                    await asyncio.wait_for(client.get(f"key:{number % 50}"), 1)
            except (asyncio.TimeoutError, redis.RedisError):
                pass

    await asyncio.gather(*(worker() for _ in range(8)))
    await client.aclose()


threads = [threading.Thread(target=part, args=(COMMANDS,)) for part in (plain, pipelines, given_up, subscribed, raw)]
for thread in threads:
    thread.start()
asyncio.run(cancelled(COMMANDS))
for thread in threads:
    thread.join()
