"""Streaming load on one URL, in a process of its own: `python load.py URL USERS STOP_FILE` prints a
JSON line at its end.

A stream counts as whole when it ended with [DONE], a reason and the tokens that were asked for.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import aiohttp

TOKENS = 32
LIMIT_SECONDS = 300


async def user(
    session: aiohttp.ClientSession, url: str, stop: Path, counts: dict[str, int], deadline: float
) -> None:
    body = {
        "prompt": "The with statement",
        "max_length": TOKENS,
        "stream": True,
        "ignore_eos": True,
    }
    while not stop.exists() and time.monotonic() < deadline:
        counts["sent"] += 1
        try:
            async with session.post(f"{url}/generate", json=body) as response:
                text = await response.text()
                color = response.headers.get("x-greenlight-color", "")
        except (aiohttp.ClientError, TimeoutError) as error:
            counts["failed"] += 1
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            continue
        if response.status != 200:
            counts["failed"] += 1
            print(response.status, text[:200], file=sys.stderr)
            continue
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        whole = (
            text.rstrip().endswith("data: [DONE]")
            and sum(event.get("tokens", 0) for event in events) == TOKENS
        )
        counts["whole" if whole else "cut"] += 1
        counts[color] = counts.get(color, 0) + 1


async def main(url: str, users: int, stop: Path) -> None:
    counts = {"sent": 0, "whole": 0, "failed": 0, "cut": 0}
    deadline = time.monotonic() + LIMIT_SECONDS
    timeout = aiohttp.ClientTimeout(total=60)
    keeping = aiohttp.ClientSession(timeout=timeout)
    closing = aiohttp.ClientSession(
        timeout=timeout, connector=aiohttp.TCPConnector(force_close=True)
    )
    async with keeping, closing:
        await asyncio.gather(
            *(
                user((keeping, closing)[number % 2], url, stop, counts, deadline)
                for number in range(users)
            )
        )
    print(json.dumps(counts))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
