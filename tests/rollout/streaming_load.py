"""A bounded load of streaming requests, as a process of its own: `streaming_load.py URL CONNECTIONS
TOKENS keepalive|new STOP_FILE`.

Sends until STOP_FILE exists (60 s at most), then prints one JSON line. A stream that ends without
all its tokens and [DONE] is cut; an answer other than 200, or none, is failed.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

import aiohttp

LONGEST_S = 60
TOKENS = re.compile(rb'"tokens": (\d+)')


async def worker(
    session: aiohttp.ClientSession, url: str, tokens: int, stop: Path, count: Counter, order: list
) -> None:
    request = {
        "prompt": "Hello",
        "max_length": tokens,
        "temperature": 0.0,
        "stream": True,
        "ignore_eos": True,
    }
    began = time.monotonic()
    while not stop.exists() and time.monotonic() - began < LONGEST_S:
        count["requests"] += 1
        sent = time.time()
        try:
            async with session.post(f"{url}/generate", json=request) as response:
                color = response.headers.get("x-greenlight-color", "none")
                if response.status != 200:
                    count["failed"] += 1
                    order.append((sent, f"{response.status} {(await response.text())[:200]}"))
                    continue
                try:
                    body = await response.read()
                except aiohttp.ClientError as error:
                    count["cut"] += 1
                    order.append((sent, repr(error)))
                    continue
                whole = (
                    body.endswith(b"data: [DONE]\n\n")
                    and sum(map(int, TOKENS.findall(body))) == tokens
                )
                count["whole" if whole else "cut"] += 1
                order.append((sent, color if whole else body[-300:].decode()))
        except (aiohttp.ClientError, OSError) as error:
            count["failed"] += 1
            order.append((sent, repr(error)))


async def main() -> None:
    url, connections, tokens, how, stop = sys.argv[1:]
    connector = aiohttp.TCPConnector(limit=0, force_close=how == "new")
    count: Counter = Counter(requests=0, failed=0, cut=0, whole=0)
    order: list = []
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=None, sock_read=30)
    ) as session:
        print("started", flush=True)
        await asyncio.gather(
            *(
                worker(session, url, int(tokens), Path(stop), count, order)
                for _ in range(int(connections))
            )
        )
    print(json.dumps({**count, "order": sorted(order)}))


asyncio.run(main())
