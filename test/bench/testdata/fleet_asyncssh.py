"""One command on many hosts with asyncssh, 50 at a time.

fleet_asyncssh.py cold|warm ROUNDS PORT USER KEY KNOWN_HOSTS COMMAND HOST...

cold connects to each host, runs the command and disconnects, once. warm connects to
all first, and then prints how many seconds each of ROUNDS took.
"""
import asyncio
import sys
import time

import asyncssh

FANOUT = 50


async def main():
    how, rounds, port, user, key, known_hosts, command, *hosts = sys.argv[1:]
    gate = asyncio.Semaphore(FANOUT)
    options = {"port": int(port), "username": user, "client_keys": [key], "known_hosts": known_hosts, "config": None, "agent_path": None}

    async def once(host):
        async with gate, asyncssh.connect(host, **options) as conn:
            await conn.run(command, check=True)

    async def connect(host):
        async with gate:
            return await asyncssh.connect(host, **options)

    async def again(conn):
        async with gate:
            await conn.run(command, check=True)

    if how == "cold":
        await asyncio.gather(*map(once, hosts))
        return
    conns = await asyncio.gather(*map(connect, hosts))
    for _ in range(int(rounds)):
        start = time.monotonic()
        await asyncio.gather(*map(again, conns))
        print(time.monotonic() - start, flush=True)
    for conn in conns:
        conn.close()


asyncio.run(main())
