"""client.py URL REQUESTS: requests, httpx (both kinds) and aiohttp, a quarter each, with calls that are given up or cancelled."""

import asyncio
import random
import sys
import threading

import aiohttp
import httpx
import requests

BASE, REQUESTS = sys.argv[1], int(sys.argv[2]) // 4
PATHS = ["account/1", "account/2", "transactions/1", "session", "list", "twin/a/1", "twin/b/2", "missing"]


def call():
    """Method, path, header fields, body, patience."""
    kind = random.randrange(12)
    if kind == 0:
        return "HEAD", random.choice(PATHS), {}, None, 5
    if kind == 1:
        return "POST", "json", {}, b"x" * 300, 5
    if kind == 2:
        return "GET", "cached", {"If-None-Match": '"v1"'}, None, 5
    if kind == 3:
        return "GET", "slow/200", {}, None, 0.001 + random.random() / 25
    if kind == 4:
        return "GET", "large", {}, None, 0.001 + random.random() / 150
    return "GET", random.choice(PATHS), {}, None, 5


def with_requests(count):
    with requests.Session() as session:
        for _ in range(count):
            method, path, headers, body, patience = call()
            try:
                session.request(method, BASE + path, headers=headers, data=body, timeout=patience)
            except requests.RequestException:
                pass


def with_httpx(count):
    with httpx.Client() as client:
        for _ in range(count):
            method, path, headers, body, patience = call()
            try:
                client.request(method, BASE + path, headers=headers, content=body, timeout=patience)
            except httpx.HTTPError:
                pass


async def cancelled(coroutine, patience):
    try:
        await asyncio.wait_for(coroutine, patience)
    except (asyncio.TimeoutError, httpx.HTTPError, aiohttp.ClientError):
        pass


async def asynchronous(count):
    async with httpx.AsyncClient() as first, aiohttp.ClientSession() as second:

        async def by_aiohttp(method, path, headers, body):
            async with second.request(method, BASE + path, headers=headers, data=body) as response:
                await response.read()

        async def worker(number):
            for _ in range(count // 8):
                method, path, headers, body, patience = call()
                if number % 2:
                    await cancelled(first.request(method, BASE + path, headers=headers, content=body), patience)
                else:
                    await cancelled(by_aiohttp(method, path, headers, body), patience)

        await asyncio.gather(*(worker(number) for number in range(8)))


threads = [threading.Thread(target=with_requests, args=(REQUESTS // 2,)) for _ in range(2)]
threads += [threading.Thread(target=with_httpx, args=(REQUESTS // 2,)) for _ in range(2)]
for thread in threads:
    thread.start()
asyncio.run(asynchronous(2 * REQUESTS))
for thread in threads:
    thread.join()
